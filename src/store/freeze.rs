//! Whether the feeds of the store are frozen: nothing that is committed from then on goes out to edges.
//!
//! It is a note of the store, so that every authority on it knows, whoever writes the feeds. The writer of each
//! feed leaves a note of where it stood, so that another one, or the same after a restart, goes on saying so.
//!
//! **Invariant:** a note of another freeze than the one that holds counts for nothing.
//! **Not here:** what a writer of a feed does then (`export::frozen`).

use tokio::sync::watch;

use super::dns_store::DnsStore;
use super::history::Freeze;
use super::kv::KvError;
use super::operation::StoreError;
use crate::clock::now_ms;
use crate::limits::BATCH_ATTEMPTS_MAX;

impl DnsStore {
    /// Whether the feeds are frozen, as it was read last, and in future.
    pub(crate) fn freeze(&self) -> watch::Receiver<Option<Freeze>> {
        self.freezing.subscribe()
    }

    /// Reads whether the feeds are frozen.
    ///
    /// # Errors
    /// Those of the engine; what was known stays.
    pub(crate) async fn look_at_freeze(&self) -> Result<Option<Freeze>, KvError> {
        let freeze = read(self.note(FREEZE).await?.as_deref())?;
        self.freezing.send_if_modified(|known| std::mem::replace(known, freeze) != freeze);
        Ok(freeze)
    }

    /// Freezes the feeds, or thaws them; what is so already stays as it is. Returns what holds then.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) async fn set_freeze(&self, is_wanted: bool) -> Result<Option<Freeze>, StoreError> {
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let was = self.note(FREEZE).await?;
            let before = read(was.as_deref())?;
            if before.is_some() == is_wanted {
                return Ok(self.look_at_freeze().await?);
            }
            let (id, since_ms, revision) = (rand::random(), now_ms(), self.revision().await?);
            let freeze = is_wanted.then_some(Freeze { id, since_ms, revision });
            let is = serde_json::to_vec(&freeze).map_err(KvError::engine)?;
            if self.put_note(FREEZE, was, is).await? {
                return Ok(self.look_at_freeze().await?);
            }
        }
        let reason = "the feeds are frozen and thawed all the time".into();
        Err(KvError::Unavailable { reason }.into())
    }

    /// Returns where a feed stood at a freeze, if its writer has noted it.
    pub(super) async fn read_frozen_at(
        &self,
        feed: &str,
        freeze: u64,
    ) -> Result<Option<Vec<u8>>, KvError> {
        let Some(note) = self.note(&mark_name(feed)).await? else { return Ok(None) };
        let (id, mark) = note.split_first_chunk::<8>().unzip();
        Ok(mark.filter(|_| id == Some(&freeze.to_be_bytes())).map(<[u8]>::to_vec))
    }

    /// Notes where a feed stands at a freeze.
    pub(super) async fn note_frozen_at(
        &self,
        feed: &str,
        freeze: u64,
        mark: &[u8],
    ) -> Result<(), KvError> {
        let name = mark_name(feed);
        let is = [&freeze.to_be_bytes()[..], mark].concat();
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let was = self.note(&name).await?;
            if was.as_ref() == Some(&is) || self.put_note(&name, was, is.clone()).await? {
                return Ok(());
            }
        }
        Err(KvError::Unavailable { reason: "the note is changed all the time".into() })
    }
}

/// The note of where a feed stood.
fn mark_name(feed: &str) -> String {
    format!("frozen/{feed}")
}

/// Reads the note of a freeze.
fn read(note: Option<&[u8]>) -> Result<Option<Freeze>, KvError> {
    let Some(octets) = note else { return Ok(None) };
    serde_json::from_slice(octets).map_err(|_| KvError::Unreadable { what: "the freeze of feeds" })
}

/// The note of a freeze, JSON; null once it is over.
const FREEZE: &str = "freeze";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::redb::RedbStore;

    #[tokio::test]
    async fn a_freeze_is_known_to_whoever_opens_the_store_and_marks_are_of_one_freeze() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
        let store = DnsStore::open(engine.clone()).await.unwrap();
        let freeze = store.set_freeze(true).await.unwrap().unwrap();
        assert_eq!(store.set_freeze(true).await.unwrap(), Some(freeze), "it is so already");
        store.note_frozen_at("main", freeze.id, b"here").await.unwrap();
        let other = DnsStore::open(engine).await.unwrap();
        assert_eq!(*other.freeze().borrow(), None, "it has not looked yet");
        assert_eq!(other.look_at_freeze().await.unwrap(), Some(freeze));
        assert_eq!(*other.freeze().borrow(), Some(freeze));
        let mark = other.read_frozen_at("main", freeze.id).await.unwrap();
        assert_eq!(mark.as_deref(), Some(&b"here"[..]));
        assert_eq!(other.read_frozen_at("zones-1", freeze.id).await.unwrap(), None);
        assert_eq!(other.set_freeze(false).await.unwrap(), None);
        assert_eq!(store.look_at_freeze().await.unwrap(), None);
        let again = store.set_freeze(true).await.unwrap().unwrap();
        assert_eq!(store.read_frozen_at("main", again.id).await.unwrap(), None);
    }
}
