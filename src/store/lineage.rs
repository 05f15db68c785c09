//! Which line of commits the engine of a [`DnsStore`] holds.
//!
//! What a cluster keeps can be put back, emptied or filled by others while we run. Put back, it is the same
//! store with another history (`store::history`), which whoever has told of the lost commits begins. Without
//! the key of its digests it is not the same store: an empty one followed would take every zone from every
//! edge, and another one's digests come to nothing that ours do.
//!
//! **Invariant:** a history is never begun in another store than the one that was opened.
//! **Not here:** how it is found out (`store::etcd`, `export`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::dns_store::DnsStore;
use super::history::History;
use super::keys;
use super::kv::{KvError, Precondition, Versioned};
use super::operation::StoreError;
use crate::limits::BATCH_ATTEMPTS_MAX;

/// What is known of the line of commits.
#[derive(Debug)]
pub(super) struct Lineage {
    /// Counts the histories that were begun.
    pub(super) begun: watch::Sender<u64>,
    /// When the last one was.
    begun_at: Mutex<Option<Instant>>,
    /// Whether the engine was found to hold another store, or none.
    is_other: AtomicBool,
}

impl Default for Lineage {
    /// Nothing has happened yet.
    fn default() -> Self {
        Self { begun: watch::channel(0).0, begun_at: Mutex::default(), is_other: false.into() }
    }
}

impl Lineage {
    /// Says whether the engine holds the store that was opened, as far as is known.
    ///
    /// # Errors
    /// [`KvError::OtherStore`].
    pub(super) fn check(&self) -> Result<(), KvError> {
        if self.is_other.load(Ordering::Relaxed) { Err(KvError::OtherStore) } else { Ok(()) }
    }

    /// Notes which store the engine was found to hold.
    fn note_store(&self, is_other: bool) {
        match (self.is_other.swap(is_other, Ordering::Relaxed), is_other) {
            (false, true) => tracing::error!(
                "the store is empty, or another one stands in its place: nothing of it is followed, and nothing \
                 written to it, until what it held is put back, or the node is started anew"
            ),
            (true, false) => tracing::info!("the store is the one of before again"),
            _ => {}
        }
    }

    /// Notes that a history was begun.
    fn note_begun(&self) {
        *self.begun_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.begun.send_modify(|count| *count += 1);
    }
}

impl DnsStore {
    /// Returns the history as it is now.
    ///
    /// # Errors
    /// [`KvError::OtherStore`] as [`StoreError::Kv`]; those of the engine.
    pub async fn history(&self) -> Result<History, StoreError> {
        Ok(self.own_history(self.kv.get(keys::HISTORY).await?)?)
    }

    /// Returns the history that was found, if it is one of the store that was opened.
    ///
    /// # Errors
    /// [`KvError::OtherStore`]; [`KvError::Unreadable`].
    pub(super) fn own_history(&self, found: Option<Versioned>) -> Result<History, KvError> {
        let history = found.map(|found| History::decode(&found.value)).transpose()?;
        let own = history.filter(|history| history.digest_key == self.digest_key);
        self.lineage.note_store(own.is_none());
        own.ok_or(KvError::OtherStore)
    }

    /// Begins a new history with an epoch above the present one and above `above`, and returns it
    /// once it is durable.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if others begin histories all the time; as [`DnsStore::history`].
    pub async fn begin_history(&self, was: &History, above: u64) -> Result<History, StoreError> {
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let before = self.history().await?;
            if before.id != was.id && before.epoch > above {
                // Another feed of this store has left the same one.
                return Ok(before);
            }
            let epoch = before.epoch.max(above).saturating_add(1);
            let history = History { epoch, id: rand::random(), ..before };
            let value = before.encode();
            let expected = Precondition::HasValue { key: keys::HISTORY.to_vec(), value };
            match self.kv.commit(history.commit(expected)).await {
                Ok(_) => {
                    self.lineage.note_begun();
                    return Ok(history);
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended { attempts: BATCH_ATTEMPTS_MAX })
    }

    /// How many histories were begun since the start, each because the store was found to be put back.
    pub fn histories_begun(&self) -> u64 {
        *self.lineage.begun.borrow()
    }

    /// How long ago the last of them was begun.
    pub fn history_begun_ago(&self) -> Option<Duration> {
        let at = *self.lineage.begun_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed())
    }
}
