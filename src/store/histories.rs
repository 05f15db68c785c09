//! The histories of a store: which one it has, and how another one begins.
//!
//! **Invariant:** a history is never begun in another store than the one that was opened.
//! **Not here:** what is remembered of them (`store::lineage`), what they are (`store::history`).

use std::time::Duration;

use super::dns_store::DnsStore;
use super::history::History;
use super::keys;
use super::kv::{KvError, Precondition, Versioned};
use super::operation::StoreError;
use crate::limits::BATCH_ATTEMPTS_MAX;

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
        self.lineage.begun_ago()
    }
}
