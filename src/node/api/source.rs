//! Where the API reads zones: the store, or what is published on a node that has none.
//!
//! **Invariant:** a listing page by page shows everything that is there throughout, once.
//! **Not here:** the shape of answers (`api::powerdns`, `api::records`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::error::ApiError;
use crate::limits::{API_CHUNKS_WAITING_MAX, API_PAGE_RRSETS};
use crate::name::Name;
use crate::publish::Reader;
use crate::record::{RecordType, Rrset};
use crate::store::zone_settings::ZoneSettings;
use crate::store::{
    DnsStore, Expectation, PageCursor, StoreError, StoredRrset, StoredZone, ZoneReader,
};
use crate::zone::Zone;

/// Where zones are.
#[derive(Clone)]
pub(crate) enum Zones {
    /// In the store; they can be written.
    Store(Arc<DnsStore>),
    /// In what is published; they come from elsewhere.
    Catalog(Reader),
}

impl std::fmt::Debug for Zones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Store(_) => "Zones::Store",
            Self::Catalog(_) => "Zones::Catalog",
        })
    }
}

/// A zone without its records.
#[derive(Clone, Debug)]
pub(crate) struct ZoneFacts {
    /// Its apex.
    pub(crate) apex: Name,
    /// Its serial.
    pub(crate) serial: u32,
    /// The revision that changed it last, where that is known.
    pub(crate) revision: Option<u64>,
    /// Its settings, where they are known.
    pub(crate) settings: Option<ZoneSettings>,
    /// Its RRsets.
    pub(crate) rrset_count: u64,
    /// Its records.
    pub(crate) record_count: u64,
}

/// Some of the zones.
#[derive(Debug)]
pub(crate) struct ZonePage {
    /// They, by name.
    pub(crate) zones: Vec<ZoneFacts>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<String>,
}

/// Some RRsets of a zone.
#[derive(Debug)]
pub(crate) struct RecordPage {
    /// They, by owner name.
    pub(crate) records: Vec<StoredRrset>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<String>,
}

/// All RRsets of a zone, page by page, of one view.
#[derive(Debug)]
pub(crate) enum RrsetPages {
    /// From the store.
    Store(Box<ZoneReader>),
    /// From a published zone.
    Catalog(mpsc::Receiver<Vec<Rrset>>),
}

impl Zones {
    /// Returns the store, to write.
    ///
    /// # Errors
    /// [`ApiError::ReadOnly`].
    pub(crate) fn store(&self) -> Result<&Arc<DnsStore>, ApiError> {
        match self {
            Self::Store(store) => Ok(store),
            Self::Catalog(_) => Err(ApiError::ReadOnly),
        }
    }

    /// Returns a zone.
    ///
    /// # Errors
    /// [`ApiError::NoSuchZone`], and those of the store.
    pub(crate) async fn zone(&self, apex: &Name) -> Result<ZoneFacts, ApiError> {
        let found = match self {
            Self::Store(store) => store.get_zone(apex).await?.map(ZoneFacts::from),
            Self::Catalog(reader) => reader.load().zone(apex).map(ZoneFacts::of),
        };
        found.ok_or_else(|| ApiError::NoSuchZone { apex: apex.clone() })
    }

    /// Returns up to `limit` zones from `cursor` on.
    ///
    /// # Errors
    /// [`ApiError::BadValue`] for a cursor that was not given out, and those of the store.
    pub(crate) async fn list(
        &self,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<ZonePage, ApiError> {
        match self {
            Self::Store(store) => {
                let cursor = cursor.map(|text| parse_cursor(&text)).transpose()?;
                let page = store.list_zones(cursor.as_ref(), limit).await?;
                let zones = page.items.into_iter().map(ZoneFacts::from).collect();
                Ok(ZonePage { zones, next: page.next.map(|next| next.to_text()) })
            }
            Self::Catalog(reader) => {
                let after = cursor.map(|text| parse_name_cursor(&text)).transpose()?;
                let mut names = BTreeMap::new();
                for zone in reader.load().zones() {
                    keep_lowest(&mut names, zone.apex().clone(), after.as_ref(), limit, || {
                        ZoneFacts::of(zone)
                    });
                }
                let next = next_cursor(&mut names, limit).map(|name| name.to_fqdn());
                Ok(ZonePage { zones: names.into_values().collect(), next })
            }
        }
    }

    /// Returns one RRset.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn rrset(
        &self,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<Option<StoredRrset>, ApiError> {
        match self {
            Self::Store(store) => Ok(store.get_record(owner, rtype).await?),
            Self::Catalog(_) => {
                let found = self.rrsets_at(owner).await?;
                Ok(found.into_iter().find(|stored| stored.rrset.rtype == rtype))
            }
        }
    }

    /// Returns the RRsets of one owner name in one zone.
    ///
    /// # Errors
    /// [`ApiError::NoSuchZone`], and those of the store.
    pub(crate) async fn rrsets_in(
        &self,
        apex: &Name,
        owner: &Name,
    ) -> Result<Vec<StoredRrset>, ApiError> {
        if !owner.is_at_or_below(apex) {
            return Ok(Vec::new());
        }
        match self {
            Self::Store(store) => Ok(store.records_in(apex, std::slice::from_ref(owner)).await?),
            Self::Catalog(reader) => {
                let catalog = reader.load();
                let zone = catalog.zone(apex);
                let zone = zone.ok_or_else(|| ApiError::NoSuchZone { apex: apex.clone() })?;
                let rrsets = zone.rrsets_at(owner).into_iter();
                Ok(rrsets.map(|rrset| published(apex, rrset)).collect())
            }
        }
    }

    /// Returns all RRsets of one owner, of the deepest zone that holds it.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn rrsets_at(&self, owner: &Name) -> Result<Vec<StoredRrset>, ApiError> {
        match self {
            Self::Store(store) => Ok(store.records_at(owner).await?),
            Self::Catalog(reader) => {
                let catalog = reader.load();
                let mut apexes = std::iter::successors(Some(owner.clone()), Name::parent);
                let zone = apexes.find_map(|apex| catalog.zone(&apex));
                let at = |zone: &Arc<Zone>| {
                    let rrsets = zone.rrsets_at(owner).into_iter();
                    rrsets.map(|rrset| published(zone.apex(), rrset)).collect()
                };
                Ok(zone.map_or_else(Vec::new, at))
            }
        }
    }

    /// Returns up to `limit` RRsets of a zone from `cursor` on.
    ///
    /// # Errors
    /// As [`Zones::list`], and [`ApiError::NoSuchZone`].
    pub(crate) async fn records(
        &self,
        apex: &Name,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<RecordPage, ApiError> {
        match self {
            Self::Store(store) => {
                let cursor = cursor.map(|text| parse_cursor(&text)).transpose()?;
                let page = store.records(apex, cursor.as_ref(), limit).await?;
                let next = page.next.map(|next| next.to_text());
                Ok(RecordPage { records: page.items, next })
            }
            Self::Catalog(reader) => {
                let zone = reader.load().zone(apex).cloned();
                let zone = zone.ok_or_else(|| ApiError::NoSuchZone { apex: apex.clone() })?;
                let after = cursor.map(|text| parse_record_cursor(&text)).transpose()?;
                let mut found = BTreeMap::new();
                for rrset in zone.rrsets() {
                    let place = (rrset.owner.clone(), rrset.rtype);
                    keep_lowest(&mut found, place, after.as_ref(), limit, || {
                        published(apex, rrset)
                    });
                }
                let next = next_cursor(&mut found, limit)
                    .map(|(owner, rtype)| format!("{}/{rtype}", owner.to_fqdn()));
                Ok(RecordPage { records: found.into_values().collect(), next })
            }
        }
    }

    /// Returns all RRsets of a zone, of one view.
    ///
    /// # Errors
    /// [`ApiError::NoSuchZone`], and those of the store.
    pub(crate) async fn rrsets(&self, apex: &Name) -> Result<RrsetPages, ApiError> {
        match self {
            Self::Store(store) => match store.open_zone(apex).await {
                Ok(contents) => Ok(RrsetPages::Store(Box::new(contents))),
                Err(StoreError::ZoneUnknown { apex }) => Err(ApiError::NoSuchZone { apex }),
                Err(error) => Err(error.into()),
            },
            Self::Catalog(reader) => {
                let zone = reader.load().zone(apex).cloned();
                let zone = zone.ok_or_else(|| ApiError::NoSuchZone { apex: apex.clone() })?;
                let (pages, receiver) = mpsc::channel(API_CHUNKS_WAITING_MAX);
                tokio::spawn(send_pages(zone, pages));
                Ok(RrsetPages::Catalog(receiver))
            }
        }
    }
}

impl RrsetPages {
    /// Returns the next RRsets, or `None` at the end.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Rrset>>, ApiError> {
        match self {
            Self::Store(contents) => Ok(contents.next_page().await?),
            Self::Catalog(pages) => Ok(pages.recv().await),
        }
    }
}

impl From<StoredZone> for ZoneFacts {
    fn from(zone: StoredZone) -> Self {
        Self {
            apex: zone.settings.apex.clone(),
            serial: zone.serial,
            revision: Some(zone.revision),
            settings: Some(zone.settings),
            rrset_count: zone.rrset_count,
            record_count: zone.record_count,
        }
    }
}

impl ZoneFacts {
    /// Returns what is known of a published zone.
    fn of(zone: &Arc<Zone>) -> Self {
        Self {
            apex: zone.apex().clone(),
            serial: zone.serial(),
            revision: None,
            settings: None,
            rrset_count: zone.rrset_count(),
            record_count: zone.record_count(),
        }
    }
}

/// Returns the condition that an RRset is as `revision` left it, or that there is none.
pub(crate) fn expect_rrset(owner: Name, rtype: RecordType, revision: Option<u64>) -> Expectation {
    match revision {
        Some(revision) => Expectation::RrsetAtRevision { owner, rtype, revision },
        None => Expectation::RrsetAbsent { owner, rtype },
    }
}

/// Sends a published zone's RRsets as fast as they are taken.
async fn send_pages(zone: Arc<Zone>, pages: mpsc::Sender<Vec<Rrset>>) {
    let mut page = Vec::with_capacity(API_PAGE_RRSETS);
    for rrset in zone.rrsets() {
        page.push(rrset);
        if page.len() == API_PAGE_RRSETS {
            let full = std::mem::replace(&mut page, Vec::with_capacity(API_PAGE_RRSETS));
            if pages.send(full).await.is_err() {
                return; // nobody reads any more
            }
        }
    }
    let _ = pages.send(page).await;
}

/// Shows a published RRset; when it was written is not known here.
fn published(apex: &Name, rrset: Rrset) -> StoredRrset {
    StoredRrset { rrset, apex: apex.clone(), revision: 0, updated_at_ms: 0, is_synthesized: false }
}

/// Keeps the `limit` + 1 lowest of what comes after `after`.
fn keep_lowest<K: Ord, V>(
    kept: &mut BTreeMap<K, V>,
    key: K,
    after: Option<&K>,
    limit: u32,
    value: impl FnOnce() -> V,
) {
    if after.is_some_and(|after| key <= *after) {
        return;
    }
    let is_full = kept.len() > limit as usize;
    if is_full && kept.last_key_value().is_some_and(|(last, _)| *last <= key) {
        return;
    }
    if is_full {
        kept.pop_last();
    }
    kept.insert(key, value());
}

/// Cuts what was kept to `limit`; returns the last key of the page if there is more.
pub(super) fn next_cursor<K: Ord + Clone, V>(kept: &mut BTreeMap<K, V>, limit: u32) -> Option<K> {
    if kept.len() <= limit as usize {
        return None;
    }
    kept.pop_last();
    kept.last_key_value().map(|(key, _)| key.clone())
}

/// Reads a cursor of the store.
fn parse_cursor(text: &str) -> Result<PageCursor, ApiError> {
    PageCursor::from_text(text).ok_or_else(|| bad_cursor(text))
}

/// Reads a cursor that is a name.
pub(super) fn parse_name_cursor(text: &str) -> Result<Name, ApiError> {
    text.parse().map_err(|_| bad_cursor(text))
}

/// Reads a cursor that is an owner name and a type.
fn parse_record_cursor(text: &str) -> Result<(Name, RecordType), ApiError> {
    let (owner, rtype) = text.rsplit_once('/').ok_or_else(|| bad_cursor(text))?;
    let rtype = rtype.parse().map_err(|_| bad_cursor(text))?;
    Ok((parse_name_cursor(owner)?, rtype))
}

/// Returns the error about something that is no cursor.
fn bad_cursor(text: &str) -> ApiError {
    let value = text.chars().take(40).collect();
    ApiError::BadValue { field: "cursor", value, wanted: "the \"next\" of a page before" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_lowest_keys_cover_everything_once() {
        let keys = [7, 3, 9, 1, 5, 8, 2];
        for limit in 1..9 {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let mut kept = BTreeMap::new();
                for key in keys {
                    keep_lowest(&mut kept, key, after.as_ref(), limit, || ());
                }
                let next = next_cursor(&mut kept, limit);
                assert!(kept.len() <= limit as usize);
                seen.extend(kept.into_keys());
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, [1, 2, 3, 5, 7, 8, 9], "limit {limit}");
        }
    }
}
