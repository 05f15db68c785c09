//! The history of a store: which line of commits its revisions count.
//!
//! A store that was restored from a backup, or begun anew, counts revisions that others may have
//! seen with another content. Whoever keeps what it has read notes the history beside the
//! revision: of two histories the one with the higher epoch is newer.
//!
//! **Invariant:** a store has one history at a time and its epoch only rises; the key of its
//! digests is drawn once and stays.
//! **Not here:** digests (`feed::digest`), reading what a commit did (`store::commits`).

use serde::{Deserialize, Serialize};

use super::dns_store::DnsStore;
use super::keys;
use super::kv::{self, KeyValueStore, KvError, Precondition};
use super::operation::StoreError;
use crate::feed::digest::DigestKey;
use crate::limits::BATCH_ATTEMPTS_MAX;

/// A line of commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct History {
    /// Rises with every history of a store, from 1.
    pub epoch: u64,
    /// A random number: two histories never have the same, whatever their epochs.
    pub id: u128,
    /// The key of all digests.
    pub digest_key: DigestKey,
}

/// The stored history, JSON.
#[derive(Serialize, Deserialize)]
struct StoredHistory {
    /// The epoch.
    epoch: u64,
    /// The number, 32 hexadecimal digits.
    id: String,
    /// The key, 32 hexadecimal digits.
    digest_key: String,
}

impl DnsStore {
    /// Returns the history as it is now.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn history(&self) -> Result<History, StoreError> {
        Ok(History::read_or_begin(&*self.kv).await?)
    }

    /// Begins a new history with an epoch above the present one and above `above`, and returns it
    /// once it is durable.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if others begin histories all the time; those of the engine.
    pub async fn begin_history(&self, above: u64) -> Result<History, StoreError> {
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let before = self.history().await?;
            let epoch = before.epoch.max(above).saturating_add(1);
            let history = History { epoch, id: rand::random(), ..before };
            let value = before.encode();
            let expected = Precondition::HasValue { key: keys::HISTORY.to_vec(), value };
            match self.kv.commit(history.commit(expected)).await {
                Ok(_) => return Ok(history),
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended { attempts: BATCH_ATTEMPTS_MAX })
    }
}

impl History {
    /// Reads the history of a store, and begins one if it has none. Of several who do so at once
    /// one draws it, and all return the same.
    pub(super) async fn read_or_begin(kv: &dyn KeyValueStore) -> Result<Self, KvError> {
        if let Some(found) = kv.get(keys::HISTORY).await? {
            return Self::decode(&found.value);
        }
        let history = Self { epoch: 1, id: rand::random(), digest_key: DigestKey(rand::random()) };
        let expected = Precondition::Absent { key: keys::HISTORY.to_vec() };
        match kv.commit(history.commit(expected)).await {
            Ok(_) => Ok(history),
            // Another opener was faster; a history is never deleted.
            Err(KvError::Conflict { .. }) => match kv.get(keys::HISTORY).await? {
                Some(found) => Self::decode(&found.value),
                None => Err(KvError::Unreadable { what: "the history" }),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes the commit that writes it.
    fn commit(&self, expected: Precondition) -> kv::Commit {
        let puts = vec![(keys::HISTORY.to_vec(), self.encode())];
        kv::Commit { preconditions: vec![expected], puts, deletes: Vec::new() }
    }

    /// Returns the stored octets.
    fn encode(&self) -> Vec<u8> {
        let stored = StoredHistory {
            epoch: self.epoch,
            id: data_encoding::HEXLOWER.encode(&self.id.to_be_bytes()),
            digest_key: data_encoding::HEXLOWER.encode(&self.digest_key.0),
        };
        serde_json::to_vec(&stored).expect("a history has string keys and no failing field")
    }

    /// Reads the stored octets.
    fn decode(octets: &[u8]) -> Result<Self, KvError> {
        let hex = |text: &str| -> Option<[u8; 16]> {
            data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
        };
        let parse = || {
            let stored: StoredHistory = serde_json::from_slice(octets).ok()?;
            let id = u128::from_be_bytes(hex(&stored.id)?);
            let digest_key = DigestKey(hex(&stored.digest_key)?);
            Some(Self { epoch: stored.epoch, id, digest_key })
        };
        parse().ok_or(KvError::Unreadable { what: "the history" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_reads_back_and_rubbish_is_an_error() {
        let digest_key = DigestKey(*b"0123456789abcdef");
        let history = History { epoch: u64::MAX, id: 7, digest_key };
        assert_eq!(History::decode(&history.encode()).unwrap(), history);
        for octets in [&b"{}"[..], b"", br#"{"epoch":1,"id":"00","digest_key":"00"}"#] {
            assert!(History::decode(octets).is_err());
        }
    }
}
