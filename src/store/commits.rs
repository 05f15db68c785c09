//! The store's commits in order, zone by zone, as an exporter follows them.
//!
//! **Invariant:** every commit once, in order, or an error that asks for a rescan. For each zone,
//! `prev_revision` of a commit is the `revision` of the one before it.
//! **Not here:** reading a zone as a whole (`store::read`, `store::source`).

use std::sync::Arc;

use async_trait::async_trait;

use super::dns_store::DnsStore;
use super::history::{Commit, CommitSource, SourceError, ZoneCommit};
use super::journal::{Entry, JournalZone};
use super::keys;
use super::kv::{ChangeEvent, ChangeStream, KeyRange, KeyValueStore, KvError};
use super::operation::StoreError;

/// A feed of commits.
pub struct CommitStream {
    /// The engine.
    kv: Arc<dyn KeyValueStore>,
    /// The engine's feed.
    changes: ChangeStream,
    /// The newest revision that came out of it.
    after: u64,
    /// The tag of that commit, once one came.
    tag: Option<u64>,
}

impl DnsStore {
    /// Opens the feed of all commits with a revision above `after`; 0 is the very beginning.
    ///
    /// # Errors
    /// [`KvError::Compacted`], [`KvError::Ahead`] or [`KvError::Replaced`], as [`StoreError::Kv`]: rescan
    /// with [`DnsStore::list_zones`] and [`DnsStore::open_zone`], then follow from the revision
    /// that [`DnsStore::revision`] had *before* the rescan, and skip, zone by zone, the commits
    /// that the contents already had.
    pub async fn commits(&self, after: u64) -> Result<CommitStream, StoreError> {
        let kv = Arc::clone(&self.kv);
        Ok(CommitStream { changes: open(&*kv, after, None).await?, kv, after, tag: None })
    }
}

/// Opens the engine's feed behind the commit `after`.
///
/// An engine that others write to as well, or that counts what is no commit of ours, may have compacted more than
/// our commits reach: where none was made since, the feed goes on behind what was read. `tag` is that of
/// the commit `after`, if it is known: an engine that was put back has another one there, or none.
///
/// # Errors
/// Those of the engine.
async fn open(
    kv: &dyn KeyValueStore,
    after: u64,
    tag: Option<u64>,
) -> Result<ChangeStream, KvError> {
    let mut tries = 0;
    let mut from = after;
    loop {
        let compacted = match kv.changes(from).await {
            Err(compacted @ KvError::Compacted { .. }) => compacted,
            opened => return opened,
        };
        let journal =
            KeyRange { start: keys::JOURNAL.to_vec(), end: [keys::JOURNAL, &[0]].concat() };
        let page = kv.range(&journal, None, 1).await?;
        let newest = page.entries.first().map_or(0, |(_, found)| found.revision);
        if let Some(tag) = tag {
            let entry = page.entries.first().map(|(_, found)| Entry::decode(&found.value));
            let found = entry.transpose()?.map(|entry| entry.tag);
            if newest < after || (newest == after && found != Some(tag)) {
                return Err(KvError::Replaced { after });
            }
        }
        tries += 1;
        // Who compacts faster than this reads must end sometime.
        if newest > after || page.revision <= from || tries > REOPENS_MAX {
            return Err(compacted);
        }
        from = page.revision;
    }
}

impl CommitStream {
    /// Returns the next commit; waits until there is one. Safe to cancel.
    ///
    /// # Errors
    /// [`KvError::Compacted`] as [`StoreError::Kv`] if the caller fell behind what is kept,
    /// [`KvError::Ahead`] and [`KvError::Replaced`] if the store was put back to an older state: rescan;
    /// and those of the engine.
    pub async fn next(&mut self) -> Result<Commit, StoreError> {
        loop {
            let event = match self.changes.next().await {
                Err(KvError::Compacted { .. }) => {
                    // As at the beginning: perhaps nothing of ours was lost.
                    self.changes = open(&*self.kv, self.after, self.tag).await?;
                    continue;
                }
                event => event?,
            };
            if let Some(commit) = read_event(&event)? {
                (self.after, self.tag) = (commit.revision, Some(commit.tag));
                return Ok(commit);
            }
        }
    }
}

#[async_trait]
impl CommitSource for CommitStream {
    async fn next(&mut self) -> Result<Commit, SourceError> {
        let next = Self::next(self).await;
        next.map_err(|error| lost_or_failed(error, self.after))
    }
}

impl std::fmt::Debug for CommitStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitStream").finish_non_exhaustive()
    }
}

/// Tells a lost stream from a store that failed.
pub(super) fn lost_or_failed(error: StoreError, after: u64) -> SourceError {
    match error {
        StoreError::Kv(KvError::Compacted { .. }) => SourceError::Compacted { after },
        StoreError::Kv(KvError::Ahead { .. } | KvError::Replaced { .. }) => {
            SourceError::Replaced { after }
        }
        error => unread(error),
    }
}

/// Gives an error of the store the type of a source's.
pub(super) fn failed(error: impl std::fmt::Display) -> SourceError {
    SourceError::Failed { reason: error.to_string() }
}

/// Gives an error of reading zones the type of a source.
pub(super) fn unread(error: StoreError) -> SourceError {
    match error {
        StoreError::Kv(error @ (KvError::Damaged { .. } | KvError::Unreadable { .. })) => {
            SourceError::Damaged { reason: error.to_string() }
        }
        error => failed(error),
    }
}

/// Reads the journal entry of a commit; `None` if it was none of a [`DnsStore`].
fn read_event(event: &ChangeEvent) -> Result<Option<Commit>, KvError> {
    let entry = event.changes.iter().find(|change| change.key == keys::JOURNAL);
    let Some(entry) = entry.and_then(|change| change.value.as_ref()) else { return Ok(None) };
    let with_revision = |zone: JournalZone| {
        let key = keys::zone_key(&zone.apex);
        let object = event.changes.iter().find(|change| change.key == key);
        ZoneCommit {
            apex: zone.apex,
            prev_revision: object.and_then(|change| change.prev_revision),
            serial: zone.serial,
            digest: zone.digest,
            change: zone.change,
        }
    };
    let Entry { tag, zones } = Entry::decode(entry)?;
    let zones = zones.into_iter().map(with_revision).collect();
    Ok(Some(Commit { revision: event.revision, tag, zones }))
}

/// How often a feed is tried behind a compaction that has gone on meanwhile.
const REOPENS_MAX: u32 = 8;
