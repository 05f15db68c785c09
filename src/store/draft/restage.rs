//! Turns the changes of a draft into whole zones under new generations, where one commit cannot hold them.
//!
//! **Invariant:** what is staged of a zone is what its rows and the changes of the draft come to.
//! **Not here:** when that is done (`store::large`).

use std::collections::BTreeMap;

use super::build::row_digest;
use super::{Draft, Staged, ZoneSlot};
use crate::feed::digest::Digest;
use crate::limits::PACKED_RRSETS_MIN;
use crate::name::Name;
use crate::record::RecordType;
use crate::store::generation::Generation;
use crate::store::keys;
use crate::store::kv::KvError;
use crate::store::packs::pack_rows;
use crate::store::row::Row;
use crate::store::view::Seen;

/// Keys and values of rows, or of the packs that they stand in.
pub(in crate::store) type StagedRows = Vec<(Vec<u8>, Vec<u8>)>;

impl Draft<'_> {
    /// Returns how many operations and octets the commit has, or somewhat more.
    pub(in crate::store) fn size(&self) -> (u64, u64) {
        let (mut operations, mut octets) = (self.fixed_operations(), 0);
        for slot in self.slots.values() {
            operations += slot_operations(slot);
            let Some(zone) = &slot.zone else { continue };
            octets += if slot.is_in_commit() { ZONE_OCTETS } else { 0 };
            for (owner, draft) in &zone.owners {
                operations += draft.touched.len() as u64;
                let after = draft.touched.iter().filter_map(|rtype| draft.after.get(rtype));
                let rdata: usize = after.map(|row| row.rdata.as_octets().len()).sum();
                let before = draft.touched.iter().filter_map(|rtype| draft.before.get(rtype));
                let undone: usize = before.map(|(row, _)| row.rdata.as_octets().len()).sum();
                let rows = draft.touched.len() * (owner.as_wire().len() + ROW_OCTETS);
                // The row, what the journal says of it, and what was there before.
                octets += (2 * (rdata + rows) + undone + rows) as u64;
            }
        }
        (operations, octets)
    }

    /// Returns how many operations the commit has once all zones of which RRsets change are staged.
    pub(in crate::store) fn switch_operations(&self) -> u64 {
        let of_slot = |slot: &ZoneSlot| {
            let changed = slot.zone.as_ref().filter(|zone| zone.has_changed_rows());
            // The generation that was filled is expected and ends, and the one before is swept.
            let more = changed.map_or(0, |zone| match (&zone.replaced_by, zone.is_new) {
                (Some(_), _) => 0,
                (None, true) => 2,
                (None, false) => 3,
            });
            slot_operations(slot) + more
        };
        self.fixed_operations() + self.slots.values().map(of_slot).sum::<u64>()
    }

    /// Returns how many operations the commit has that are of no zone: what it did, what it took away, that there
    /// was no other commit, and the zones that must not be there.
    fn fixed_operations(&self) -> u64 {
        3 + self.absent.len() as u64
    }

    /// The zones of which RRsets change, each with the generation that it has in the store, if it has one, and
    /// how many RRsets it has.
    pub(in crate::store) fn changed_zones(&self) -> Vec<(Name, Option<Generation>, u64)> {
        let zones = self.slots.iter().filter_map(|(apex, slot)| Some((apex, slot.zone.as_ref()?)));
        let changed = zones.filter(|(_, zone)| zone.has_changed_rows());
        let of_zone = |(apex, zone): (&Name, &super::ZoneDraft)| {
            let generation = (!zone.has_no_rows()).then_some(zone.object.generation);
            (apex.clone(), generation, zone.object.rrset_count)
        };
        changed.map(of_zone).collect()
    }

    /// Returns all rows that a zone has with the changes of the draft, under another generation, and what a
    /// switch to it needs to know.
    ///
    /// # Errors
    /// [`KvError::Unreadable`] if a row does not read.
    pub(in crate::store) fn restage(
        &self,
        apex: &Name,
        before: BTreeMap<Vec<u8>, Seen>,
    ) -> Result<(StagedRows, Staged), KvError> {
        let owners =
            self.slots.get(apex).and_then(|slot| slot.zone.as_ref()).map(|zone| &zone.owners);
        let mut all: Vec<(Name, RecordType, Row)> = Vec::with_capacity(before.len());
        for (key, seen) in before {
            let (owner, rtype) = keys::parse_row_key(&key, apex)?;
            let draft = owners.and_then(|owners| owners.get(&owner));
            if draft.is_none_or(|draft| !draft.touched.contains(&rtype)) {
                all.push((owner, rtype, Row::decode(&seen.value)?));
            }
        }
        for (owner, draft) in owners.into_iter().flatten() {
            let rows = draft.touched.iter().filter_map(|rtype| draft.after.get_key_value(rtype));
            all.extend(rows.map(|(rtype, row)| (owner.clone(), *rtype, row.clone())));
        }
        let generation = Generation::new(all.len() >= PACKED_RRSETS_MIN);
        let mut staged = Staged {
            generation,
            marker: Vec::new(),
            soa: None,
            serial: None,
            has_apex_ns: false,
            rrset_count: all.len() as u64,
            record_count: 0,
            digest: Digest::default(),
        };
        let mut rows = Vec::with_capacity(all.len());
        for (owner, rtype, row) in all {
            staged.has_apex_ns |= rtype == RecordType::NS && owner == *apex;
            staged.record_count += row.record_count();
            staged.digest = staged.digest.plus(row_digest(&self.digest_key, &owner, rtype, &row));
            rows.push((keys::row_key(generation, apex, &owner, rtype), row.encode()));
        }
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok((pack_rows(generation, rows), staged))
    }

    /// Takes what was staged of a zone in the place of its changes.
    pub(in crate::store) fn take_restaged(&mut self, apex: &Name, staged: &Staged) {
        let Some(slot) = self.slots.get_mut(apex) else { return };
        let Some(zone) = &mut slot.zone else { return };
        let is_own = !zone.is_new && zone.replaced_by.is_none() && zone.brought_back.is_none();
        if is_own {
            slot.swept.push((zone.object.generation, zone.object.rrset_count));
        }
        zone.take_rows(staged);
    }
}

/// Returns how many operations a zone adds to the commit besides those of its rows. One that was only read adds
/// none, and every step reads the names above its owner, whether there is a zone or not.
fn slot_operations(slot: &ZoneSlot) -> u64 {
    if !slot.is_in_commit() {
        return 0;
    }
    if !slot.is_touched && !slot.is_guarded {
        return 1;
    }
    let ends_marker =
        |zone: &super::ZoneDraft| zone.replaced_by.is_some() || zone.brought_back.is_some();
    let ends_marker = slot.zone.as_ref().is_some_and(ends_marker);
    let is_written = slot.zone.is_some() || slot.base.is_some();
    1 + u64::from(is_written) + slot.swept.len() as u64 + if ends_marker { 2 } else { 0 }
}

/// Octets of a zone object that is written and expected, and of the zone in the journal, more or less.
const ZONE_OCTETS: u64 = 2_048;
/// Octets of a row besides owner and RDATA.
const ROW_OCTETS: usize = 64;
