//! Reading the store: single RRsets, listings by page, whole zones.
//!
//! **Invariant:** each call reads one view; what does not parse is an error, never "not there".
//! **Not here:** the answer to a query: that is `responder`'s, from a published snapshot.

use super::dns_store::DnsStore;
use super::keys;
use super::kv::{Cursor, KeyRange, KvError, KvSnapshot, Versioned};
use super::operation::StoreError;
use super::row::Row;
use super::zone_object::ZoneObject;
use super::zone_settings::ZoneSettings;
use crate::limits::{LISTING_ITEMS_MAX, ZONE_PAGE_RRSETS};
use crate::name::Name;
use crate::record::{RecordType, Rrset};

/// A zone as the store has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredZone {
    /// What the operator said.
    pub settings: ZoneSettings,
    /// The serial.
    pub serial: u32,
    /// The revision of the newest commit that touched the zone.
    pub revision: u64,
    /// RRsets, SOA and NS included, written or synthesized.
    pub rrset_count: u64,
    /// Records of these RRsets.
    pub record_count: u64,
    /// When the newest commit was made, in milliseconds since 1970.
    pub modified_at_ms: u64,
}

/// An RRset as the store has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredRrset {
    /// The RRset.
    pub rrset: Rrset,
    /// The apex of the zone that it belongs to.
    pub apex: Name,
    /// The revision that wrote it; for an SOA or a synthesized NS RRset the zone's.
    pub revision: u64,
    /// When it was written, in milliseconds since 1970.
    pub updated_at_ms: u64,
    /// Whether nobody wrote it and the zone's settings made it.
    pub is_synthesized: bool,
}

/// Where the next page of a listing begins. The text form is for URLs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PageCursor(Vec<u8>);

/// One page of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing<T> {
    /// The items, in canonical order of their names.
    pub items: Vec<T>,
    /// Where to go on; `None` exactly when there is nothing further.
    pub next: Option<PageCursor>,
    /// The revision of the view that the page was read from. Pages of one listing may differ in
    /// it; an item that is there throughout appears exactly once.
    pub revision: u64,
}

/// One zone's RRsets, all of one view, page by page.
pub struct ZoneReader {
    /// The zone.
    pub zone: StoredZone,
    /// The view.
    snapshot: Box<dyn KvSnapshot>,
    /// The rows that are still to be read.
    range: KeyRange,
    /// Where the next page begins; `None` at the end.
    cursor: Option<Cursor>,
    /// The SOA and a synthesized NS RRset, which come first.
    first: Vec<Rrset>,
}

/// Behind the SOA, which is no row, and before an NS RRset that is none either; before all rows, whose keys go on
/// with a name or a type that is not 0.
const BEHIND_SOA: &[u8] = &[0];
/// Behind both.
const BEHIND_SPECIAL: &[u8] = &[0, 0];

impl PageCursor {
    /// The engine's cursor.
    pub(super) fn as_cursor(&self) -> Cursor {
        Cursor(self.0.clone())
    }
}

impl From<Cursor> for PageCursor {
    fn from(cursor: Cursor) -> Self {
        Self(cursor.0)
    }
}

impl DnsStore {
    /// Returns the zone, or `None` if there is none of that name.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn get_zone(&self, apex: &Name) -> Result<Option<StoredZone>, StoreError> {
        let found = self.kv.get(&keys::zone_key(apex)).await?;
        Ok(found.map(|found| stored_zone(&found)).transpose()?.map(|(zone, _)| zone))
    }

    /// Lists the zones, up to `limit` (at least 1) from `cursor` on.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn list_zones(
        &self,
        cursor: Option<&PageCursor>,
        limit: u32,
    ) -> Result<Listing<StoredZone>, StoreError> {
        let cursor = cursor.map(PageCursor::as_cursor);
        let limit = limit.clamp(1, LISTING_ITEMS_MAX);
        let page = self.kv.range(&keys::zone_range(), cursor.as_ref(), limit).await?;
        let read = |(_, found): &(Vec<u8>, Versioned)| stored_zone(found).map(|(zone, _)| zone);
        let items = page.entries.iter().map(read).collect::<Result<_, _>>()?;
        let next = page.next.map(PageCursor::from);
        Ok(Listing { items, next, revision: page.revision })
    }

    /// Returns one RRset of the deepest zone that holds the owner.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn get_record(
        &self,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<Option<StoredRrset>, StoreError> {
        let snapshot = self.kv.snapshot().await?;
        let Some(mut zone) = find_zone(&*snapshot, owner).await? else { return Ok(None) };
        let is_parents = rtype == RecordType::DS && *owner == zone.0.settings.apex;
        if is_parents
            && let Some(above) = owner.parent()
            && let Some(parent) = find_zone(&*snapshot, &above).await?
        {
            zone = parent;
        }
        let (object, revision) = zone;
        if let Some(found) = special(&object, revision, owner, rtype) {
            return Ok(Some(found));
        }
        let apex = &object.settings.apex;
        let key = keys::row_key(object.generation, apex, owner, rtype);
        let found = snapshot.get_many(std::slice::from_ref(&key)).await?.into_iter().next();
        let found = found.flatten().map(|found| stored_rrset(&key, &found, apex)).transpose()?;
        Ok(found)
    }

    /// Returns all RRsets of one owner, of the deepest zone that holds it.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn records_at(&self, owner: &Name) -> Result<Vec<StoredRrset>, StoreError> {
        let snapshot = self.kv.snapshot().await?;
        let Some((object, revision)) = find_zone(&*snapshot, owner).await? else {
            return Ok(Vec::new());
        };
        Ok(rrsets_at(&*snapshot, &object, revision, owner).await?)
    }

    /// Returns all RRsets of some owners in one zone, of one view.
    ///
    /// # Errors
    /// [`StoreError::ZoneUnknown`], or those of the engine.
    ///
    /// # Panics
    /// If an owner is neither the apex nor below it.
    pub async fn records_in(
        &self,
        apex: &Name,
        owners: &[Name],
    ) -> Result<Vec<StoredRrset>, StoreError> {
        let snapshot = self.kv.snapshot().await?;
        let (object, revision) = read_zone(&*snapshot, apex).await?;
        let mut rrsets = Vec::new();
        for owner in owners {
            rrsets.extend(rrsets_at(&*snapshot, &object, revision, owner).await?);
        }
        Ok(rrsets)
    }

    /// Lists the RRsets of one zone, up to `limit` (at least 1) from `cursor` on, in canonical
    /// order of their owners. Across an import the listing goes on in the new contents.
    ///
    /// # Errors
    /// [`StoreError::ZoneUnknown`], or those of the engine.
    pub async fn records(
        &self,
        apex: &Name,
        cursor: Option<&PageCursor>,
        limit: u32,
    ) -> Result<Listing<StoredRrset>, StoreError> {
        let snapshot = self.kv.snapshot().await?;
        let (object, zone_revision) = read_zone(&*snapshot, apex).await?;
        let prefix = keys::rows_of_generation(object.generation).start;
        let limit = limit.clamp(1, LISTING_ITEMS_MAX) as usize;
        let first: &[RecordType] = match cursor.map(|cursor| cursor.0.as_slice()) {
            None => &[RecordType::SOA, RecordType::NS],
            Some(BEHIND_SOA) => &[RecordType::NS],
            Some(_) => &[],
        };
        let first = first.iter().filter_map(|t| special(&object, zone_revision, apex, *t));
        let mut items: Vec<StoredRrset> = first.collect();
        let range = KeyRange::prefix(&prefix);
        if items.len() >= limit {
            let page = snapshot.range(&range, None, 1).await?;
            let behind = if items.len() > limit { BEHIND_SOA } else { BEHIND_SPECIAL };
            let has_more = items.len() > limit || !page.entries.is_empty();
            let next = has_more.then(|| PageCursor(behind.to_vec()));
            items.truncate(limit);
            return Ok(Listing { items, next, revision: page.revision });
        }
        let rows = u32::try_from(limit - items.len()).unwrap_or(LISTING_ITEMS_MAX);
        let cursor = cursor.map(|cursor| Cursor([&prefix[..], &cursor.0].concat()));
        let page = snapshot.range(&range, cursor.as_ref(), rows).await?;
        for (key, found) in &page.entries {
            items.push(stored_rrset(key, found, apex)?);
        }
        let next = page.next.map(|cursor| PageCursor(cursor.0[keys::ROW_NAME_AT..].to_vec()));
        Ok(Listing { items, next, revision: page.revision })
    }

    /// Returns the RRset that a query for (`qname`, `qtype`) would find in the store: its own, a
    /// CNAME in its place, or a wildcard's, under the wildcard's name (RFC 4592).
    ///
    /// Looks at the deepest zone only and follows neither aliases nor delegations.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn resolve(
        &self,
        qname: &Name,
        qtype: RecordType,
    ) -> Result<Option<StoredRrset>, StoreError> {
        let snapshot = self.kv.snapshot().await?;
        let Some((object, revision)) = find_zone(&*snapshot, qname).await? else {
            return Ok(None);
        };
        let at = rrsets_at(&*snapshot, &object, revision, qname).await?;
        if !at.is_empty() {
            return Ok(choose(at, qtype));
        }
        // A name without data but with names below it exists, so no wildcard stands for it
        // (RFC 4592 section 2.2.2).
        if exists(&*snapshot, &object, qname).await? {
            return Ok(None);
        }
        let mut encloser = qname.parent();
        while let Some(name) = &encloser
            && !exists(&*snapshot, &object, name).await?
        {
            encloser = name.parent();
        }
        let wildcard = encloser.and_then(|encloser| encloser.with_label(b"*").ok());
        let Some(wildcard) = wildcard else { return Ok(None) };
        let at = rrsets_at(&*snapshot, &object, revision, &wildcard).await?;
        Ok(choose(at, qtype))
    }

    /// Opens the contents of a zone: every RRset of one view, in canonical order of the owners,
    /// the RRsets of an owner together, SOA and NS first.
    ///
    /// # Errors
    /// [`StoreError::ZoneUnknown`], or those of the engine.
    pub async fn open_zone(&self, apex: &Name) -> Result<ZoneReader, StoreError> {
        let snapshot = self.kv.snapshot().await?;
        let key = keys::zone_key(apex);
        let found = snapshot.get_many(&[key]).await?.into_iter().next().flatten();
        let found = found.ok_or_else(|| StoreError::ZoneUnknown { apex: apex.clone() })?;
        let (zone, object) = stored_zone(&found)?;
        let mut first = vec![object.soa_rrset()];
        first.extend(object.synthesized_ns());
        let range = keys::rows_of_generation(object.generation);
        let cursor = Some(Cursor(range.start.clone()));
        Ok(ZoneReader { zone, snapshot, range, cursor, first })
    }
}

impl ZoneReader {
    /// Returns the next RRsets, or `None` at the end.
    ///
    /// # Errors
    /// Those of the engine; [`KvError::Compacted`] if the view became too old: begin anew.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Rrset>>, StoreError> {
        let mut rrsets = std::mem::take(&mut self.first);
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let page = self.snapshot.range(&self.range, Some(&cursor), ZONE_PAGE_RRSETS).await?;
        self.cursor = page.next;
        read_rows(&page.entries, &self.zone.settings.apex, &mut rrsets)?;
        Ok(Some(rrsets))
    }
}

impl std::fmt::Debug for ZoneReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZoneReader").field("zone", &self.zone).finish_non_exhaustive()
    }
}

impl PageCursor {
    /// Writes the cursor as URL-safe text.
    pub fn to_text(&self) -> String {
        data_encoding::BASE64URL_NOPAD.encode(&self.0)
    }

    /// Reads what [`PageCursor::to_text`] wrote; `None` if the text is none.
    pub fn from_text(text: &str) -> Option<Self> {
        data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok().map(Self)
    }
}

/// Reads the rows of a page of a zone's generation, and appends them.
pub(super) fn read_rows(
    entries: &[(Vec<u8>, Versioned)],
    apex: &Name,
    rrsets: &mut Vec<Rrset>,
) -> Result<(), KvError> {
    rrsets.reserve(entries.len());
    for (key, found) in entries {
        let (owner, rtype) = keys::parse_row_key(key, apex)?;
        rrsets.push(Row::decode(&found.value)?.into_rrset(owner, rtype));
    }
    Ok(())
}

/// Returns the deepest zone that holds `owner`, and its revision.
async fn find_zone(
    snapshot: &dyn KvSnapshot,
    owner: &Name,
) -> Result<Option<(ZoneObject, u64)>, KvError> {
    let apexes = std::iter::successors(Some(owner.clone()), Name::parent);
    let zone_keys: Vec<Vec<u8>> = apexes.map(|apex| keys::zone_key(&apex)).collect();
    let found = snapshot.get_many(&zone_keys).await?.into_iter().flatten().next();
    found.map(|found| Ok((ZoneObject::decode(&found.value)?, found.revision))).transpose()
}

/// Returns the zone of that name.
async fn read_zone(
    snapshot: &dyn KvSnapshot,
    apex: &Name,
) -> Result<(ZoneObject, u64), StoreError> {
    let found = snapshot.get_many(&[keys::zone_key(apex)]).await?.into_iter().next().flatten();
    let found = found.ok_or_else(|| StoreError::ZoneUnknown { apex: apex.clone() })?;
    Ok((ZoneObject::decode(&found.value)?, found.revision))
}

/// Whether a name exists in a zone: it is the apex, has data, or has names below it.
async fn exists(
    snapshot: &dyn KvSnapshot,
    object: &ZoneObject,
    name: &Name,
) -> Result<bool, KvError> {
    let apex = &object.settings.apex;
    let range = KeyRange::prefix(&keys::rows_at_or_below(object.generation, apex, name));
    Ok(name == apex || !snapshot.range(&range, None, 1).await?.entries.is_empty())
}

/// Returns all RRsets of an owner in a zone.
async fn rrsets_at(
    snapshot: &dyn KvSnapshot,
    object: &ZoneObject,
    revision: u64,
    owner: &Name,
) -> Result<Vec<StoredRrset>, KvError> {
    let apex = &object.settings.apex;
    let first = [RecordType::SOA, RecordType::NS];
    let mut found: Vec<StoredRrset> =
        first.iter().filter_map(|rtype| special(object, revision, owner, *rtype)).collect();
    let range = KeyRange::prefix(&keys::rows_at(object.generation, apex, owner));
    let mut cursor = None;
    loop {
        let page = snapshot.range(&range, cursor.as_ref(), LISTING_ITEMS_MAX).await?;
        for (key, value) in &page.entries {
            found.push(stored_rrset(key, value, apex)?);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Returns the RRset of an apex that is no row: the SOA, or a synthesized NS RRset.
fn special(
    object: &ZoneObject,
    revision: u64,
    owner: &Name,
    rtype: RecordType,
) -> Option<StoredRrset> {
    let apex = &object.settings.apex;
    if owner != apex {
        return None;
    }
    let (rrset, is_synthesized) = match rtype {
        RecordType::SOA => (object.soa_rrset(), object.soa.is_none()),
        RecordType::NS => (object.synthesized_ns()?, true),
        _ => return None,
    };
    let updated_at_ms = object.modified_at_ms;
    Some(StoredRrset { rrset, apex: apex.clone(), revision, updated_at_ms, is_synthesized })
}

/// Makes the RRset of a row.
fn stored_rrset(key: &[u8], found: &Versioned, apex: &Name) -> Result<StoredRrset, KvError> {
    let (owner, rtype) = keys::parse_row_key(key, apex)?;
    let row = Row::decode(&found.value)?;
    Ok(StoredRrset {
        apex: apex.clone(),
        revision: found.revision,
        updated_at_ms: row.updated_at_ms,
        is_synthesized: false,
        rrset: row.into_rrset(owner, rtype),
    })
}

/// Makes the zone of a zone object.
pub(super) fn stored_zone(found: &Versioned) -> Result<(StoredZone, ZoneObject), KvError> {
    let object = ZoneObject::decode(&found.value)?;
    let ns_count = object.synthesized_ns().map(|ns| ns.rdata.count() as u64);
    let zone = StoredZone {
        settings: object.settings.clone(),
        serial: object.serial,
        revision: found.revision,
        rrset_count: object.rrset_count + 1 + u64::from(ns_count.is_some()),
        record_count: object.record_count + 1 + ns_count.unwrap_or(0),
        modified_at_ms: object.modified_at_ms,
    };
    Ok((zone, object))
}

/// Chooses what answers a question for `qtype` of the RRsets of one owner.
fn choose(mut at: Vec<StoredRrset>, qtype: RecordType) -> Option<StoredRrset> {
    let of = |rtype| move |found: &StoredRrset| found.rrset.rtype == rtype;
    let index = at.iter().position(of(qtype)).or_else(|| at.iter().position(of(RecordType::CNAME)));
    index.map(|index| at.swap_remove(index))
}
