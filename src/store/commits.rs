//! The store's commits in order, zone by zone, as an exporter follows them.
//!
//! **Invariant:** every commit once, in order, or an error that asks for a rescan. For each zone,
//! `prev_revision` of a commit is the `revision` of the one before it.
//! **Not here:** reading a zone as a whole (`store::read`).

use super::dns_store::DnsStore;
use super::journal::{self, ZoneCommitKind};
use super::keys;
use super::kv::{ChangeEvent, ChangeStream, KvError};
use super::operation::StoreError;
use crate::name::Name;

/// What one commit did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreCommit {
    /// Its revision.
    pub revision: u64,
    /// The zones that it touched and that are, or were, served.
    pub zones: Vec<ZoneCommit>,
}

/// What one commit did to one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneCommit {
    /// The apex.
    pub apex: Name,
    /// The revision of the commit that touched the zone before; `None` if the zone is new.
    ///
    /// Commits to a disabled zone are not told, but count here.
    pub prev_revision: Option<u64>,
    /// The serial after the commit; 0 if the zone was deleted.
    pub serial: u32,
    /// Whether settings changed, too.
    pub is_settings_changed: bool,
    /// What became of the records.
    pub kind: ZoneCommitKind,
}

/// A feed of commits.
pub struct CommitStream {
    /// The engine's feed.
    changes: ChangeStream,
}

impl DnsStore {
    /// Opens the feed of all commits with a revision above `after`; 0 is the very beginning.
    ///
    /// # Errors
    /// [`KvError::Compacted`] or [`KvError::Ahead`], as [`StoreError::Kv`]: rescan with
    /// [`DnsStore::list_zones`] and [`DnsStore::zone_contents`], then follow from the revision
    /// that [`DnsStore::revision`] had *before* the rescan, and skip, zone by zone, the commits
    /// that the contents already had.
    pub async fn commits(&self, after: u64) -> Result<CommitStream, StoreError> {
        Ok(CommitStream { changes: self.kv.changes(after).await? })
    }
}

impl CommitStream {
    /// Returns the next commit; waits until there is one. Safe to cancel.
    ///
    /// # Errors
    /// [`KvError::Compacted`] as [`StoreError::Kv`] if the caller fell behind what is kept:
    /// rescan; and those of the engine.
    pub async fn next(&mut self) -> Result<StoreCommit, StoreError> {
        loop {
            let event = self.changes.next().await?;
            if let Some(commit) = read_event(&event)? {
                return Ok(commit);
            }
        }
    }
}

impl std::fmt::Debug for CommitStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitStream").finish_non_exhaustive()
    }
}

/// Reads the journal entry of a commit; `None` if it was none of a [`DnsStore`].
fn read_event(event: &ChangeEvent) -> Result<Option<StoreCommit>, KvError> {
    let entry = event.changes.iter().find(|change| change.key == keys::JOURNAL);
    let Some(entry) = entry.and_then(|change| change.value.as_ref()) else { return Ok(None) };
    let with_revision = |zone: journal::JournalZone| {
        let key = keys::zone_key(&zone.apex);
        let object = event.changes.iter().find(|change| change.key == key);
        ZoneCommit {
            apex: zone.apex,
            prev_revision: object.and_then(|change| change.prev_revision),
            serial: zone.serial,
            is_settings_changed: zone.is_settings_changed,
            kind: zone.kind,
        }
    };
    let zones = journal::decode(entry)?.into_iter().map(with_revision).collect();
    Ok(Some(StoreCommit { revision: event.revision, zones }))
}
