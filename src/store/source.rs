//! The store as the source of zones and commits, for whoever keeps a copy of them.
//!
//! **Invariant:** what is read of a zone is of one view, its digest that of its RRsets; a disabled
//! zone is as none. In a view of another store, or of none, no zone is missing: that is an error.
//! **Not here:** the commits themselves (`store::commits`), listings for people (`store::read`).

use std::ops::Bound;

use async_trait::async_trait;
use tokio::sync::watch;

use super::commits::{failed, lost_or_failed, unread};
use super::dns_store::DnsStore;
use super::history::{
    CommitSource, Freeze, History, SourceError, ZoneContents, ZoneSource, ZoneState,
};
use super::journal::Entry;
use super::keys;
use super::kv::{Cursor, KeyRange, KvError, KvSnapshot, Page, Versioned};
use super::operation::StoreError;
use super::read::{read_rows, stored_zone};
use super::zone_object::ZoneObject;
use crate::feed::digest::DigestKey;
use crate::feed::segment::Position;
use crate::limits::{LISTING_ITEMS_MAX, ZONE_PAGE_RRSETS};
use crate::name::Name;
use crate::record::Rrset;

#[async_trait]
impl ZoneSource for DnsStore {
    async fn history(&self) -> Result<History, SourceError> {
        Self::history(self).await.map_err(failed)
    }

    async fn begin_history(&self, was: &History, above: u64) -> Result<History, SourceError> {
        Self::begin_history(self, was, above).await.map_err(failed)
    }

    fn histories(&self) -> watch::Receiver<u64> {
        self.lineage.begun.subscribe()
    }

    fn freeze(&self) -> watch::Receiver<Option<Freeze>> {
        Self::freeze(self)
    }

    async fn frozen_at(&self, feed: &str, freeze: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.read_frozen_at(feed, freeze).await.map_err(failed)
    }

    async fn note_frozen_at(
        &self,
        feed: &str,
        freeze: u64,
        mark: &[u8],
    ) -> Result<(), SourceError> {
        Self::note_frozen_at(self, feed, freeze, mark).await.map_err(failed)
    }

    async fn revision(&self) -> Result<u64, SourceError> {
        Self::revision(self).await.map_err(failed)
    }

    async fn newest(&self) -> Result<Position, SourceError> {
        let found = self.kv.get(keys::JOURNAL).await.map_err(failed)?;
        let Some(found) = found else { return Ok(Position::default()) };
        let Entry { tag, .. } = Entry::decode(&found.value).map_err(failed)?;
        Ok(Position { revision: found.revision, tag })
    }

    async fn zones(&self) -> Result<Vec<ZoneState>, SourceError> {
        self.zone_states(Bound::Unbounded, u32::MAX).await.map_err(unread)
    }

    async fn zone_contents(&self, apex: &Name) -> Result<Option<ZoneContents>, SourceError> {
        let contents = self.read_contents(std::slice::from_ref(apex)).await;
        contents.map(|contents| contents.into_iter().next()).map_err(unread)
    }

    async fn zones_contents(&self, apexes: &[Name]) -> Result<Vec<ZoneContents>, SourceError> {
        self.read_contents(apexes).await.map_err(unread)
    }

    async fn commits(&self, after: u64) -> Result<Box<dyn CommitSource>, SourceError> {
        match Self::commits(self, after).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(lost_or_failed(error, after)),
        }
    }
}

/// A zone that is to be read.
struct FoundZone {
    /// The object.
    object: ZoneObject,
    /// The state, its digest still to be told if the object has none.
    state: ZoneState,
}

impl DnsStore {
    /// Returns what the first `limit` zones from `from` on, by name, come to, of one view.
    ///
    /// # Errors
    /// Those of the engine, and of rows that cannot be read.
    pub(crate) async fn zone_states(
        &self,
        from: Bound<&Name>,
        limit: u32,
    ) -> Result<Vec<ZoneState>, StoreError> {
        let mut range = keys::zone_range();
        match from {
            Bound::Included(apex) => range.start = keys::zone_key(apex),
            // The key after it.
            Bound::Excluded(apex) => range.start = [&keys::zone_key(apex)[..], &[0]].concat(),
            Bound::Unbounded => {}
        }
        let view = self.kv.snapshot().await?;
        let history = view.get_many(&[keys::HISTORY.to_vec()]).await?;
        self.own_history(history.into_iter().flatten().next())?;
        let (mut states, mut cursor, key) = (Vec::new(), None, self.digest_key);
        loop {
            let wanted = limit.saturating_sub(states.len() as u32).min(LISTING_ITEMS_MAX);
            let page = view.range(&range, cursor.as_ref(), wanted).await?;
            let found = page.entries.into_iter().map(|(_, found)| found).collect();
            for found in blocking(move || read_served(found, &key)).await? {
                let mut state = found.state;
                if found.object.digest.is_none() {
                    // An older version that shares the store wrote it a moment ago.
                    let rrsets = read_whole(&*view, &found.object, None).await?;
                    state.digest = key.rrsets(rrsets);
                }
                states.push(state);
            }
            cursor = page.next;
            if cursor.is_none() || states.len() >= limit as usize {
                return Ok(states);
            }
        }
    }

    /// Reads zones with their RRsets, of one view.
    async fn read_contents(&self, apexes: &[Name]) -> Result<Vec<ZoneContents>, StoreError> {
        let view = self.kv.snapshot().await?;
        let found = view.get_many(&[keys::JOURNAL.to_vec(), keys::HISTORY.to_vec()]).await?;
        let mut found = found.into_iter();
        let revision = found.next().flatten().map_or(0, |found| found.revision);
        self.own_history(found.next().flatten())?;
        let (mut contents, key) = (Vec::with_capacity(apexes.len()), self.digest_key);
        for apexes in apexes.chunks(TRIP_ZONES_MAX) {
            let zone_keys: Vec<Vec<u8>> = apexes.iter().map(keys::zone_key).collect();
            let found = view.get_many(&zone_keys).await?.into_iter().flatten().collect();
            let zones = blocking(move || read_served(found, &key)).await?;
            let generation = |zone: &FoundZone| keys::rows_of_generation(zone.object.generation);
            let ranges: Vec<KeyRange> = zones.iter().map(generation).collect();
            let pages = view.ranges(&ranges, ZONE_PAGE_RRSETS).await?;
            let small = blocking(move || read_small(zones, pages, revision)).await?;
            for (mut zone, object, cursor) in small {
                if cursor.is_some() {
                    zone.rrsets.extend(read_whole(&*view, &object, cursor).await?);
                }
                if object.digest.is_none() {
                    zone.zone.digest = key.rrsets(zone.rrsets.iter().cloned());
                }
                contents.push(zone);
            }
        }
        Ok(contents)
    }
}

/// Does what takes long on a thread where that harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KvError> + Send + 'static,
) -> Result<T, KvError> {
    tokio::task::spawn_blocking(work).await.map_err(KvError::engine)?
}

/// Reads zone objects and leaves those of disabled zones out.
fn read_served(found: Vec<Versioned>, key: &DigestKey) -> Result<Vec<FoundZone>, KvError> {
    let mut served = Vec::with_capacity(found.len());
    for found in found {
        let (zone, object) = stored_zone(&found)?;
        if !zone.settings.is_enabled {
            continue;
        }
        let state = ZoneState {
            revision: zone.revision,
            serial: zone.serial,
            digest: object.served_digest(key).unwrap_or_default(),
            apex: zone.settings.apex,
        };
        served.push(FoundZone { object, state });
    }
    Ok(served)
}

/// Makes zones of their objects and the first pages of their rows; with each where its rows go on.
fn read_small(
    zones: Vec<FoundZone>,
    pages: Vec<Page>,
    revision: u64,
) -> Result<Vec<(ZoneContents, ZoneObject, Option<Cursor>)>, KvError> {
    let mut read = Vec::with_capacity(zones.len());
    for (FoundZone { object, state }, page) in zones.into_iter().zip(pages) {
        let mut rrsets = Vec::with_capacity(page.entries.len() + 2);
        rrsets.push(object.soa_rrset());
        rrsets.extend(object.synthesized_ns());
        read_rows(&page.entries, &state.apex, &mut rrsets)?;
        read.push((ZoneContents { revision, zone: state, rrsets }, object, page.next));
    }
    Ok(read)
}

/// Reads the rows of a zone from `cursor` on; without one all its RRsets.
async fn read_whole(
    view: &dyn KvSnapshot,
    object: &ZoneObject,
    mut cursor: Option<Cursor>,
) -> Result<Vec<Rrset>, KvError> {
    let mut rrsets = Vec::new();
    if cursor.is_none() {
        rrsets.push(object.soa_rrset());
        rrsets.extend(object.synthesized_ns());
    }
    let range = keys::rows_of_generation(object.generation);
    loop {
        let page = view.range(&range, cursor.as_ref(), ZONE_PAGE_RRSETS).await?;
        read_rows(&page.entries, &object.settings.apex, &mut rrsets)?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(rrsets);
        }
    }
}

/// Zones of one trip to the engine: enough that trips cost little, few enough that what one brings
/// stays small.
const TRIP_ZONES_MAX: usize = 512;
