//! Reads the commits that the engine still has, for who wants to know what zones were before them.
//!
//! **Invariant:** every commit behind the revision that is asked for was taken, or it is said from which revision
//! on it is known.
//! **Not here:** what zones were, from that (`store::past`).

use std::time::Duration;

use super::dns_store::DnsStore;
use super::keys;
use super::kv::{ChangeEvent, ChangeStream, KeyChange, KvError};
use super::past::{Past, PastFault};
use super::undo;
use crate::limits::PAST_READ_MS_MAX;

/// Why commits of the past were not read.
#[derive(Debug)]
pub(super) enum PastError {
    /// It is not known any more what was.
    Fault(PastFault),
    /// The engine says no.
    Kv(KvError),
}

impl From<KvError> for PastError {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

impl DnsStore {
    /// Takes the commits up to `newest`, the revision of the newest one.
    ///
    /// # Errors
    /// [`PastFault::NotKept`] if the engine does not have all of them; those of the engine, and
    /// [`KvError::Unavailable`] if it says nothing for [`PAST_READ_MS_MAX`].
    pub(super) async fn read_past(&self, past: &mut Past, newest: u64) -> Result<(), PastError> {
        let after = past.at();
        if newest <= after {
            return Ok(());
        }
        let (mut changes, from) = in_time(self.open_past(after)).await?;
        if newest <= from {
            // The newest one is gone, and with it what it took away.
            return Err(PastError::Fault(PastFault::NotKept(newest)));
        }
        // What is gone may have been none of ours.
        let mut is_whole = from == after;
        while past.at() < newest {
            let event = in_time(changes.next()).await?;
            let Some(commit) = find_commit(&event) else {
                past.pass(event.revision.min(newest));
                continue;
            };
            let before = commit.prev_revision.unwrap_or(0);
            if !is_whole && before > after {
                return Err(PastError::Fault(PastFault::NotKept(before)));
            }
            is_whole = true;
            let undo = find(&event, keys::UNDO).and_then(|change| change.value.as_deref());
            past.take(event.revision, undo.map(undo::decode).transpose()?);
        }
        Ok(())
    }

    /// Opens the feed of changes behind a revision, or as soon behind as the engine can; says where.
    async fn open_past(&self, after: u64) -> Result<(ChangeStream, u64), KvError> {
        let mut from = after;
        for _ in 0..OPENS_MAX {
            match self.kv.changes(from).await {
                Ok(changes) => return Ok((changes, from)),
                Err(KvError::Compacted { compacted }) => from = compacted.max(from + 1),
                Err(error) => return Err(error),
            }
        }
        Err(KvError::Compacted { compacted: from })
    }
}

/// Waits for what the engine says, and not for ever.
async fn in_time<T>(asking: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
    let asked = tokio::time::timeout(Duration::from_millis(PAST_READ_MS_MAX), asking).await;
    asked.unwrap_or_else(|_| {
        Err(KvError::Unavailable { reason: "it does not say what was changed".into() })
    })
}

/// Returns what a commit says of zones; none of one that has nothing to do with them.
fn find_commit(event: &ChangeEvent) -> Option<&KeyChange> {
    let zones = keys::zone_range();
    let of_zone = || event.changes.iter().find(|change| zones.contains(&change.key));
    find(event, keys::JOURNAL).or_else(of_zone)
}

/// Returns what became of a key.
fn find<'e>(event: &'e ChangeEvent, key: &[u8]) -> Option<&'e KeyChange> {
    event.changes.iter().find(|change| change.key == key)
}

/// How often the feed is opened behind a compaction that goes on meanwhile.
const OPENS_MAX: u32 = 8;
