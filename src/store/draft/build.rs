//! Ends a draft: the last checks, the new serials, and the keys of the commit.
//!
//! **Invariant:** a zone's counts and digest are those of its rows.
//! **Not here:** the steps of a batch (`store::draft`).

use super::zone::ZoneDraft;
use super::{Draft, ZoneSlot};
use crate::feed::digest::{Digest, DigestKey};
use crate::name::Name;
use crate::record::{Change, RecordType, RrsetRef};
use crate::store::generation::Generation;
use crate::store::history::ZoneChange;
use crate::store::journal::{Entry, JournalZone};
use crate::store::keys;
use crate::store::kv::{KvCommit, KvLimits, Precondition};
use crate::store::row::Row;
use crate::store::serial::next_serial;
use crate::store::undo::{UndoKind, UndoWriter};
use crate::store::zone_object::written_serial;

/// A commit, ready to be handed over.
#[derive(Debug, Default)]
pub(in crate::store) struct Built {
    /// The commit; without puts and deletes there is nothing to do.
    pub(in crate::store) commit: KvCommit,
    /// The zones that it touches, and their serials.
    pub(in crate::store) zones: Vec<(Name, u32)>,
    /// Whether it leaves rows behind that are to be swept.
    pub(in crate::store) has_swept: bool,
    /// Whether it is built on what is remembered of zones.
    pub(in crate::store) is_recalled: bool,
}

impl Draft<'_> {
    /// Returns the zones that the draft touches or expects to be as they were.
    pub(in crate::store) fn touched(&self) -> Vec<Name> {
        let touched = self.slots.iter().filter(|(_, slot)| slot.is_in_commit());
        touched.map(|(apex, _)| apex.clone()).collect()
    }

    /// Remembers the zones that the draft touches, for the next guess.
    pub(in crate::store) fn remember(&self, touched: &[Name]) {
        let zone = |apex: &Name| self.slots.get(apex).and_then(|slot| slot.zone.as_ref());
        let generation = |apex: &Name| zone(apex).map(|zone| zone.object.generation);
        let zones: Vec<(Name, Generation)> =
            touched.iter().filter_map(|apex| Some((apex.clone(), generation(apex)?))).collect();
        self.hints.remember(zones.into_iter());
    }

    /// Returns the zones that the draft writes and of whose rows no digest is known: an older
    /// version made them. The draft is of use once they have one.
    pub(in crate::store) fn undigested(&self) -> Vec<Name> {
        let lacks = |slot: &ZoneSlot| {
            (slot.is_touched || slot.is_guarded)
                && slot.zone.as_ref().is_some_and(|zone| zone.object.digest.is_none())
        };
        let found = self.slots.iter().filter(|(_, slot)| lacks(slot));
        found.map(|(apex, _)| apex.clone()).collect()
    }

    /// Makes the commit of what was settled, for an engine with these limits.
    pub(in crate::store) fn build(mut self, limits: KvLimits) -> Built {
        let mut built = Built { is_recalled: self.is_recalled, ..Built::default() };
        let mut undo = UndoWriter::new();
        let mut journal_zones = Vec::new();
        let slots = std::mem::take(&mut self.slots);
        // What the batch makes itself is expected to be absent as it is.
        let is_in_commit = |apex: &Name| slots.get(apex).is_some_and(ZoneSlot::is_in_commit);
        let absent = std::mem::take(&mut self.absent).into_iter();
        let absent = absent.filter(|apex| !is_in_commit(apex)).map(|apex| keys::zone_key(&apex));
        built.commit.preconditions.extend(absent.map(|key| Precondition::Absent { key }));
        for (apex, slot) in slots {
            if !slot.is_in_commit() {
                continue;
            }
            build_precondition(&mut built.commit, &apex, &slot);
            if !slot.is_touched && !slot.is_guarded {
                continue;
            }
            slot.write_undo(&apex, &mut undo);
            built.has_swept |= !slot.swept.is_empty();
            for (generation, rrsets) in &slot.swept {
                let value = keys::kept_marker(self.now_ms, *rrsets);
                built.commit.puts.push((keys::generation_key(generation.number), value));
            }
            let entry = match slot.zone {
                Some(zone) => {
                    let before = (slot.base.is_none(), slot.was_enabled);
                    self.build_zone(&mut built, zone, slot.is_touched, before)
                }
                None if slot.base.is_some() => {
                    built.commit.deletes.push(keys::zone_key(&apex));
                    slot.was_enabled.then(|| JournalZone::removed(apex, 0))
                }
                None => None,
            };
            journal_zones.extend(entry);
        }
        let is_empty = built.commit.puts.is_empty() && built.commit.deletes.is_empty();
        if !is_empty {
            let entry = Entry::new(journal_zones);
            built.commit.puts.push((keys::JOURNAL.to_vec(), entry.encode()));
            push_undo(&mut built.commit, undo, limits);
        }
        built
    }

    /// Ends one zone that exists after the commit. One that is only guarded keeps its serial.
    fn build_zone(
        &self,
        built: &mut Built,
        mut zone: ZoneDraft,
        is_touched: bool,
        (is_absent, was_enabled): (bool, bool),
    ) -> Option<JournalZone> {
        debug_assert!(zone.looked_at.is_empty(), "what is built was settled");
        let apex = zone.object.settings.apex.clone();
        let mut changes = Vec::new();
        build_rows(&mut built.commit, &mut zone, &mut changes, &self.digest_key);
        if let Some((generation, marker)) = &zone.brought_back {
            let key = keys::generation_key(generation.number);
            let value = marker.clone();
            built.commit.preconditions.push(Precondition::HasValue { key: key.clone(), value });
            // Where the zone was written anew from it, it stays what it was.
            if zone.replaced_by.is_none() {
                built.commit.deletes.push(key);
            }
        }
        if let Some(staged) = &zone.replaced_by {
            let key = keys::generation_key(staged.generation.number);
            let value = staged.marker.clone();
            built.commit.preconditions.push(Precondition::HasValue { key: key.clone(), value });
            built.commit.deletes.push(key);
        }
        zone.object.has_apex_ns = match zone.owners.get(&apex) {
            Some(owner) => owner.after.contains_key(&RecordType::NS),
            None => zone.object.has_apex_ns,
        };
        if is_touched {
            zone.object.serial = self.serial_after(&zone);
            zone.object.modified_at_ms = self.now_ms;
        }
        zone.object.version += 1;
        built.zones.push((apex.clone(), zone.object.serial));
        built.commit.puts.push((keys::zone_key(&apex), zone.object.encode()));
        let serial = zone.object.serial;
        // Settings travel with the zone as a whole.
        let is_whole = is_absent || !was_enabled || zone.is_settings_changed;
        let change = match (zone.object.settings.is_enabled, was_enabled) {
            (false, false) => return None,
            (false, true) => return Some(JournalZone::removed(apex, serial)),
            (true, _) if is_whole || zone.replaced_by.is_some() => ZoneChange::Replaced,
            (true, _) => {
                if zone.had_apex_ns
                    && let Some(ns) = zone.object.synthesized_ns()
                {
                    changes.retain(|change| {
                        *change.owner() != apex || change.rtype() != RecordType::NS
                    });
                    changes.push(Change::Put(ns));
                }
                changes.push(Change::Put(zone.object.soa_rrset()));
                ZoneChange::Changes(changes)
            }
        };
        let digest = zone.object.served_digest(&self.digest_key);
        debug_assert!(digest.is_some(), "a draft of a zone without a digest is not built");
        Some(JournalZone { apex, serial, digest: digest.unwrap_or_default(), change })
    }

    /// Returns the serial that the zone has after the commit.
    fn serial_after(&self, zone: &ZoneDraft) -> u32 {
        let (object, policy) = (&zone.object, zone.object.settings.serial_policy);
        match zone.written_serial {
            // Without a serial before, there is none to be newer than.
            Some(written) if object.serial == 0 => written,
            Some(written) => written_serial(object.serial, written)
                .unwrap_or_else(|| next_serial(object.serial, policy, self.now_ms)),
            None => next_serial(object.serial, policy, self.now_ms),
        }
    }
}

impl ZoneSlot {
    /// Says what the commit takes away from the zone, if it changes it.
    fn write_undo(&self, apex: &Name, undo: &mut UndoWriter) {
        let base = self.base.as_ref().map(|base| base.value.as_slice());
        if !self.is_touched || (base.is_none() && self.zone.is_none()) {
            return;
        }
        let Some(zone) = &self.zone else {
            return undo.put_zone(apex, (UndoKind::Left, base), NO_GENERATION, 0);
        };
        // A row that is new with its generation was never anything else.
        let has_rows = !zone.is_new && zone.replaced_by.is_none();
        let kind = match base {
            None => UndoKind::Absent,
            Some(_) if !has_rows || zone.brought_back.is_some() => UndoKind::Left,
            Some(_) if zone.is_object_changed() => UndoKind::Changed,
            Some(_) => UndoKind::Same,
        };
        let object = base.filter(|_| matches!(kind, UndoKind::Changed | UndoKind::Left));
        let owners = || zone.owners.iter().filter(|_| has_rows);
        let count = owners().map(|(_, draft)| draft.touched.len()).sum();
        undo.put_zone(apex, (kind, object), zone.object.generation, count);
        for (owner, draft) in owners() {
            for rtype in &draft.touched {
                let was = draft.before.get(rtype).map(|(row, _)| (row.ttl_s, &row.rdata));
                undo.put_row(owner, *rtype, was);
            }
        }
    }
}

/// Adds what the commit takes away, if there is room for it: what was before is then not known.
fn push_undo(commit: &mut KvCommit, undo: UndoWriter, limits: KvLimits) {
    let key = keys::UNDO.to_vec();
    let room = limits.octets_max.saturating_sub(commit.octets() + key.len() as u64);
    if commit.operations() < u64::from(limits.operations_max)
        && let Some(undo) = undo.end(room)
    {
        commit.puts.push((key, undo));
    }
}

/// Expects the zone object to be as it was read.
fn build_precondition(commit: &mut KvCommit, apex: &Name, slot: &ZoneSlot) {
    let key = keys::zone_key(apex);
    commit.preconditions.push(match &slot.base {
        Some(base) => Precondition::HasValue { key, value: base.value.clone() },
        None => Precondition::Absent { key },
    });
}

/// Writes and deletes the rows of the owners that changed, and notes the changes.
fn build_rows(
    commit: &mut KvCommit,
    zone: &mut ZoneDraft,
    changes: &mut Vec<Change>,
    digest_key: &DigestKey,
) {
    let apex = zone.object.settings.apex.clone();
    let generation = zone.object.generation;
    for (owner, draft) in &zone.owners {
        for rtype in &draft.touched {
            let (before, after) = (draft.before.get(rtype), draft.after.get(rtype));
            let key = keys::row_key(generation, &apex, owner, *rtype);
            let digest = |row: &Row| row_digest(digest_key, owner, *rtype, row);
            let object = &mut zone.object;
            if let Some((row, _)) = before {
                object.digest = object.digest.map(|sum| sum.minus(digest(row)));
                object.rrset_count = object.rrset_count.saturating_sub(1);
                object.record_count = object.record_count.saturating_sub(row.record_count());
            }
            match after {
                Some(row) => {
                    object.digest = object.digest.map(|sum| sum.plus(digest(row)));
                    object.rrset_count += 1;
                    object.record_count += row.record_count();
                    commit.puts.push((key, row.encode()));
                    changes.push(Change::Put(row.clone().into_rrset(owner.clone(), *rtype)));
                }
                // Put and deleted in the same batch: there is nothing to tell.
                None if before.is_none() => continue,
                None => {
                    match generation.is_packed {
                        // In a pack there may be one.
                        true => commit.puts.push((key, Vec::new())),
                        false => commit.deletes.push(key),
                    }
                    changes.push(Change::Delete { owner: owner.clone(), rtype: *rtype });
                }
            }
        }
    }
}

/// Returns what one row comes to.
pub(super) fn row_digest(key: &DigestKey, owner: &Name, rtype: RecordType, row: &Row) -> Digest {
    let (owner, rdata) = (owner.as_wire(), row.rdata.as_octets());
    key.rrset(&RrsetRef { owner, rtype, ttl_s: row.ttl_s, rdata })
}

/// The generation of no rows.
const NO_GENERATION: Generation = Generation { number: 0, is_packed: false };
