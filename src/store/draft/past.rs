//! Makes a zone of a draft what it was.
//!
//! What a zone once was broke no rule then, of a change or of an import, and is not judged anew. A zone whose rows
//! stand under another generation now goes back to the one that it had, as long as that is kept.
//!
//! **Invariant:** the serial that the zone gets is newer than the one it has, and than those that it had since
//! where that is possible; a zone that is what it was is not touched.
//! **Not here:** what zones were (`store::past`), the commit (`store::rollback`).

use std::collections::BTreeSet;

use super::Draft;
use super::build::row_digest;
use super::zone::ZoneDraft;
use crate::feed::digest::DigestKey;
use crate::name::Name;
use crate::record::serial::is_newer;
use crate::store::keys;
use crate::store::kv::{KeyRange, KvError};
use crate::store::past::{PastRows, PastState, PastZone};
use crate::store::row::Row;
use crate::store::serial::next_serial;
use crate::store::view::View;
use crate::store::zone_object::ZoneObject;

/// What making a zone what it was comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::store) struct PutBack {
    /// The zone as it stands in the store; none if there is none.
    pub(in crate::store) now: Option<Box<ZoneObject>>,
    /// The zone as it becomes, its counts still to be brought up to date; none if there is none.
    pub(in crate::store) then: Option<Box<ZoneObject>>,
    /// RRsets that are put under the generation that the zone gets.
    pub(in crate::store) put: u64,
    /// RRsets that are removed there.
    pub(in crate::store) removed: u64,
    /// RRsets that stand there then.
    pub(in crate::store) rrsets: u64,
}

/// Why a zone is not made what it was.
#[derive(Debug)]
pub(in crate::store) enum PutBackError {
    /// The rows that it had until this revision are not kept any more.
    NotKept(u64),
    /// It has changed since it was looked at what was changed.
    Unsettled,
    /// The engine says no.
    Kv(KvError),
}

impl From<KvError> for PutBackError {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

impl Draft<'_> {
    /// Makes a zone what it was; `at` is the revision up to which it is known what was changed. Returns none if it
    /// is so already.
    ///
    /// # Errors
    /// Every [`PutBackError`].
    pub(in crate::store) async fn put_back(
        &mut self,
        apex: &Name,
        past: &PastZone,
        at: u64,
    ) -> Result<Option<PutBack>, PutBackError> {
        self.load(std::slice::from_ref(apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        let is_settled = |revision: Option<u64>| revision.is_some_and(|revision| revision <= at);
        if slot.base.as_ref().is_some_and(|base| !is_settled(base.revision)) {
            return Err(PutBackError::Unsettled);
        }
        let now = slot.zone.as_ref().map(|zone| zone.object.clone());
        let Some(state) = &past.was else {
            if now.is_none() {
                return Ok(None);
            }
            self.delete_zone(apex).await?;
            let now = now.map(Box::new);
            return Ok(Some(PutBack { now, then: None, put: 0, removed: 0, rrsets: 0 }));
        };
        let mut zone = match &now {
            Some(object) if object.generation == state.generation => as_it_is(object, state),
            _ => bring_back(self.view, now.as_ref(), state).await?.ok_or_else(|| {
                PutBackError::NotKept(state.left.as_ref().map_or(at, |(_, left_at)| *left_at))
            })?,
        };
        let put_rows = put_rows_back(self.view, &mut zone, &state.rows, self.now_ms).await?;
        if now.as_ref().is_some_and(|now| is_equal(&zone, now, &self.digest_key)) {
            return Ok(None);
        }
        zone.object.serial = serial_before(now.as_ref(), &zone, past.serial, self.now_ms);
        let PutRows { put, added, removed } = put_rows;
        let rrsets = (zone.object.rrset_count + added).saturating_sub(removed);
        let then = Some(Box::new(zone.object.clone()));
        let slot = self.slots.entry(apex.clone()).or_default();
        slot.is_touched = true;
        let left = slot.zone.replace(zone).filter(|_| brought_back(slot.zone.as_ref()));
        slot.swept.extend(left.map(|left| (left.object.generation, left.object.rrset_count)));
        if now.is_none() {
            self.guard_around(apex).await?;
        }
        Ok(Some(PutBack { now: now.map(Box::new), then, put, removed, rrsets }))
    }
}

/// Whether a zone goes back to a generation that it has left.
fn brought_back(zone: Option<&ZoneDraft>) -> bool {
    zone.is_some_and(|zone| zone.brought_back.is_some())
}

/// Begins with the zone as it is, with settings and SOA as they were.
fn as_it_is(object: &ZoneObject, state: &PastState) -> ZoneDraft {
    let mut zone = ZoneDraft::existing(object.clone());
    if let Some(was) = &state.object {
        if was.settings != object.settings {
            zone.put_settings(was.settings.clone());
        }
        if !was.has_soa_of(object) {
            zone.object.soa.clone_from(&was.soa);
            zone.is_soa_put_back = true;
        }
    }
    zone
}

/// Begins with the generation that the zone has left, if it is kept.
async fn bring_back(
    view: &View,
    now: Option<&ZoneObject>,
    state: &PastState,
) -> Result<Option<ZoneDraft>, KvError> {
    let (Some((left, _)), Some(was)) = (&state.left, &state.object) else { return Ok(None) };
    let key = keys::generation_key(state.generation.number);
    let marker = view.read(&[key]).await?.pop().flatten().map(|seen| seen.value);
    let Some(marker) = marker.filter(|marker| keys::kept_rrsets(marker).is_some()) else {
        return Ok(None);
    };
    if left.digest.is_none() {
        return Ok(None); // an older version made it, and nobody has counted it
    }
    let mut zone = ZoneDraft::existing((**left).clone());
    zone.put_settings(was.settings.clone());
    zone.object.soa.clone_from(&was.soa);
    zone.object.version = left.version.max(now.map_or(0, |now| now.version));
    zone.brought_back = Some((state.generation, marker));
    Ok(Some(zone))
}

/// How many RRsets are made what they were.
#[derive(Default)]
struct PutRows {
    /// Those that are put.
    put: u64,
    /// Those of them that are not there now.
    added: u64,
    /// Those that are removed.
    removed: u64,
}

/// Makes RRsets what they were.
async fn put_rows_back(
    view: &View,
    zone: &mut ZoneDraft,
    rows: &PastRows,
    now_ms: u64,
) -> Result<PutRows, KvError> {
    let owners: BTreeSet<&Name> = rows.keys().map(|(owner, _)| owner).collect();
    let owners: Vec<&Name> = owners.into_iter().collect();
    for owners in owners.chunks(OWNERS_AT_ONCE) {
        let ranges: Vec<KeyRange> = owners.iter().map(|owner| zone.owner_range(owner)).collect();
        let (_, found) = view.look(&[], &ranges).await?;
        for (owner, entries) in owners.iter().zip(found) {
            zone.take_owner((*owner).clone(), entries)?;
        }
    }
    let mut counts = PutRows::default();
    for ((owner, rtype), was) in rows {
        let Some(draft) = zone.owners.get_mut(owner) else { continue };
        let is = draft.after.get(rtype);
        match was {
            Some((ttl_s, rdata)) => {
                if is.is_some_and(|is| is.ttl_s == *ttl_s && is.rdata == *rdata) {
                    continue;
                }
                let row = Row { ttl_s: *ttl_s, updated_at_ms: now_ms, rdata: rdata.clone() };
                counts.added += u64::from(draft.after.insert(*rtype, row).is_none());
                counts.put += 1;
            }
            None => {
                if draft.after.remove(rtype).is_none() {
                    continue;
                }
                counts.removed += 1;
            }
        }
        draft.touched.insert(*rtype);
    }
    Ok(counts)
}

/// Whether the zone, as it becomes, is what it is.
fn is_equal(zone: &ZoneDraft, now: &ZoneObject, key: &DigestKey) -> bool {
    let then = &zone.object;
    if then.settings != now.settings || !then.has_soa_of(now) {
        return false;
    }
    if zone.brought_back.is_none() {
        return !zone.has_changed_rows();
    }
    let mut digest = then.digest;
    for (owner, draft) in &zone.owners {
        for rtype in &draft.touched {
            let sum = |row: &Row| row_digest(key, owner, *rtype, row);
            if let Some((row, _)) = draft.before.get(rtype) {
                digest = digest.map(|all| all.minus(sum(row)));
            }
            if let Some(row) = draft.after.get(rtype) {
                digest = digest.map(|all| all.plus(sum(row)));
            }
        }
    }
    digest.is_some() && digest == now.digest
}

/// Returns the serial from which on the policy decides: the one that the zone has, or a newer one that it had
/// since, if what follows on that is newer than both.
fn serial_before(now: Option<&ZoneObject>, zone: &ZoneDraft, since: u32, now_ms: u64) -> u32 {
    let Some(now) = now else { return since };
    let next = next_serial(since, zone.object.settings.serial_policy, now_ms);
    match is_newer(since, now.serial) && is_newer(next, now.serial) {
        true => since,
        false => now.serial,
    }
}

/// Owners that are read in one trip.
const OWNERS_AT_ONCE: usize = 256;
