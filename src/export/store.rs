//! The store as the source of a feed.
//!
//! **Invariant:** a disabled zone is in the feed as one that is not answered; its records are not.
//! **Not here:** the store itself (`store`).

use async_trait::async_trait;

use super::source::{
    CommitSource, FeedSource, SourceChange, SourceCommit, SourceError, SourceZone, ZoneContents,
};
use crate::limits::LISTING_ITEMS_MAX;
use crate::name::Name;
use crate::store::kv::KvError;
use crate::store::zone_settings::ZoneSettings;
use crate::store::{CommitStream, DnsStore, StoreError, ZoneCommitKind};

#[async_trait]
impl FeedSource for DnsStore {
    async fn revision(&self) -> Result<u64, SourceError> {
        Self::revision(self).await.map_err(|error| failed(&error))
    }

    async fn zones(&self) -> Result<Vec<SourceZone>, SourceError> {
        let mut zones = Vec::new();
        let mut cursor = None;
        loop {
            let page = self
                .list_zones(cursor.as_ref(), LISTING_ITEMS_MAX)
                .await
                .map_err(|error| failed(&error))?;
            zones.extend(page.items.iter().map(|zone| source_zone(&zone.settings)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(zones.into_iter().filter(|zone| zone.is_enabled).collect());
            }
        }
    }

    async fn zone_contents(&self, apex: &Name) -> Result<Option<ZoneContents>, SourceError> {
        // Whatever the view has besides, it has every commit up to here.
        let revision = Self::revision(self).await.map_err(|error| failed(&error))?;
        let mut contents = match Self::zone_contents(self, apex).await {
            Ok(contents) => contents,
            Err(StoreError::ZoneUnknown { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let zone = source_zone(&contents.zone.settings);
        if !zone.is_enabled {
            return Ok(None);
        }
        let revision = revision.max(contents.zone.revision);
        let mut rrsets = Vec::with_capacity(contents.zone.rrset_count as usize);
        while let Some(page) = contents.next_page().await.map_err(|error| failed(&error))? {
            rrsets.extend(page);
        }
        Ok(Some(ZoneContents { revision, zone, rrsets }))
    }

    async fn commits(&self, after: u64) -> Result<Box<dyn CommitSource>, SourceError> {
        match Self::commits(self, after).await {
            Ok(stream) => Ok(Box::new(StoreCommits { stream, after })),
            Err(error) => Err(lost_or_failed(error, after)),
        }
    }
}

/// The store's commits.
struct StoreCommits {
    /// The stream.
    stream: CommitStream,
    /// The newest revision that came out of it.
    after: u64,
}

#[async_trait]
impl CommitSource for StoreCommits {
    async fn next(&mut self) -> Result<SourceCommit, SourceError> {
        let after = self.after;
        let commit = self.stream.next().await.map_err(|error| lost_or_failed(error, after))?;
        self.after = commit.revision;
        let zones = commit.zones.into_iter().map(|zone| {
            let change = match zone.kind {
                // A manifest carries the settings, and is written with the zone as a whole.
                ZoneCommitKind::Changes(_) if zone.is_settings_changed => SourceChange::Replaced,
                ZoneCommitKind::Changes(changes) => SourceChange::Changes(changes),
                ZoneCommitKind::Replaced => SourceChange::Replaced,
                ZoneCommitKind::Removed => SourceChange::Removed,
            };
            (zone.apex, change)
        });
        Ok(SourceCommit { revision: commit.revision, zones: zones.collect() })
    }
}

/// Returns a zone as the feed shows it.
fn source_zone(settings: &ZoneSettings) -> SourceZone {
    SourceZone {
        apex: settings.apex.clone(),
        is_enabled: settings.is_enabled,
        settings: serde_json::to_vec(settings).unwrap_or_default(),
    }
}

/// Tells a lost stream from a store that failed.
fn lost_or_failed(error: StoreError, after: u64) -> SourceError {
    match error {
        StoreError::Kv(KvError::Compacted { .. } | KvError::Ahead { .. }) => {
            SourceError::Compacted { after }
        }
        error => failed(&error),
    }
}

/// Gives the store's errors our type.
fn failed(error: &StoreError) -> SourceError {
    SourceError::Failed { reason: error.to_string() }
}
