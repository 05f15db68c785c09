//! One zone of a draft: its object and the owners that the batch has to do with.
//!
//! **Invariant:** an owner is read as a whole before it changes, so its rules can be judged.
//! **Not here:** which zone a record belongs to (`store::draft`).

use std::collections::{BTreeMap, BTreeSet};

use super::Staged;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::store::generation::Generation;
use crate::store::keys;
use crate::store::kv::{KeyRange, KvError};
use crate::store::row::Row;
use crate::store::view::{Seen, View};
use crate::store::zone_object::{StoredSoa, ZoneObject};
use crate::store::zone_settings::ZoneSettings;

/// A zone as it becomes.
#[derive(Clone)]
pub(super) struct ZoneDraft {
    /// The object; serial, version and counts are brought up to date at the end.
    pub(super) object: ZoneObject,
    /// The owners that were read.
    pub(super) owners: BTreeMap<Name, OwnerDraft>,
    /// The owners that the batch has looked at, of those.
    pub(super) looked_at: BTreeSet<Name>,
    /// Whether a name has a DNAME row, of those that were read for nothing else.
    pub(super) dnames: BTreeMap<Name, bool>,
    /// Whether the batch makes the zone, so that it has no rows in the store.
    pub(super) is_new: bool,
    /// Whether the batch switches the zone to the rows of an import.
    pub(super) replaced_by: Option<Staged>,
    /// The generation that the zone has left and goes back to, and the value of its key.
    pub(super) brought_back: Option<(Generation, Vec<u8>)>,
    /// Whether settings changed.
    pub(super) is_settings_changed: bool,
    /// The serial of an SOA that the batch puts.
    pub(super) written_serial: Option<u32>,
    /// Whether the batch drops an SOA that was written, and puts no other.
    pub(super) is_soa_dropped: bool,
    /// Whether the SOA becomes what it was, its serial left aside.
    pub(super) is_soa_put_back: bool,
    /// Whether the apex had an NS RRset of its own.
    pub(super) had_apex_ns: bool,
}

/// One owner as it was and as it becomes, without the SOA.
#[derive(Clone, Default)]
pub(super) struct OwnerDraft {
    /// The rows before, each with its revision if it is durable.
    pub(super) before: BTreeMap<RecordType, (Row, Option<u64>)>,
    /// The rows after.
    pub(super) after: BTreeMap<RecordType, Row>,
    /// The types that were put or deleted.
    pub(super) touched: BTreeSet<RecordType>,
    /// Those of the batch alone, and whether they were there before it.
    pub(super) by_batch: BTreeMap<RecordType, bool>,
}

impl ZoneDraft {
    /// Begins with a zone that exists.
    pub(super) fn existing(object: ZoneObject) -> Self {
        let had_apex_ns = object.has_apex_ns;
        Self {
            object,
            owners: BTreeMap::new(),
            looked_at: BTreeSet::new(),
            dnames: BTreeMap::new(),
            is_new: false,
            replaced_by: None,
            brought_back: None,
            is_settings_changed: false,
            written_serial: None,
            is_soa_dropped: false,
            is_soa_put_back: false,
            had_apex_ns,
        }
    }

    /// Begins with a zone that the batch makes.
    pub(super) fn new(settings: ZoneSettings, now_ms: u64) -> Self {
        let object = ZoneObject::new(settings, Generation::new(false), now_ms);
        Self { is_new: true, is_settings_changed: true, ..Self::existing(object) }
    }

    /// Takes other settings.
    pub(super) fn put_settings(&mut self, settings: ZoneSettings) {
        self.object.settings = settings;
        self.is_settings_changed = true;
    }

    /// Takes an SOA.
    pub(super) fn put_soa(&mut self, soa: StoredSoa, serial: u32) {
        self.object.soa = Some(soa);
        self.written_serial = Some(serial);
        self.is_soa_dropped = false;
    }

    /// Drops the SOA that was written; whether there was one.
    pub(super) fn delete_soa(&mut self) -> bool {
        self.written_serial = None;
        let was_there = self.object.soa.take().is_some();
        self.is_soa_dropped |= was_there;
        was_there
    }

    /// Switches to the rows of an import.
    pub(super) fn replace(&mut self, staged: &Staged, now_ms: u64) {
        self.take_rows(staged);
        let object = &mut self.object;
        let soa = staged.soa.as_ref().and_then(|rrset| StoredSoa::new(rrset, now_ms));
        self.written_serial = soa.as_ref().map(|(_, serial)| *serial).or(staged.serial);
        object.soa = soa.map(|(soa, _)| soa);
    }

    /// Switches to rows that were written under another generation; the SOA stays.
    pub(super) fn take_rows(&mut self, staged: &Staged) {
        self.owners.clear();
        self.looked_at.clear();
        self.dnames.clear();
        let object = &mut self.object;
        object.generation = staged.generation;
        object.has_apex_ns = staged.has_apex_ns;
        object.rrset_count = staged.rrset_count;
        object.record_count = staged.record_count;
        object.digest = Some(staged.digest);
        self.replaced_by = Some(staged.clone());
    }

    /// Whether settings or SOA become others.
    pub(super) fn is_object_changed(&self) -> bool {
        let is_soa_changed = self.written_serial.is_some() || self.is_soa_dropped;
        self.is_settings_changed || is_soa_changed || self.is_soa_put_back
    }

    /// Whether steps have put or deleted RRsets.
    pub(super) fn has_changed_rows(&self) -> bool {
        self.owners.values().any(|owner| !owner.touched.is_empty())
    }

    /// Returns an owner at or below the apex, read from the view the first time.
    pub(super) async fn owner(
        &mut self,
        view: &View,
        owner: &Name,
    ) -> Result<&mut OwnerDraft, KvError> {
        if !self.owners.contains_key(owner) {
            let entries = match self.has_no_rows() {
                true => BTreeMap::new(),
                false => view.read_range(&self.owner_range(owner)).await?,
            };
            self.take_owner(owner.clone(), entries)?;
        }
        self.looked_at.insert(owner.clone());
        Ok(self.owners.entry(owner.clone()).or_default())
    }

    /// Returns an RRset as it stands in the draft, with what settings synthesize at the apex.
    pub(super) async fn rrset(
        &mut self,
        view: &View,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<Option<Rrset>, KvError> {
        let is_apex = *owner == self.object.settings.apex;
        if is_apex && rtype == RecordType::SOA {
            return Ok(Some(self.object.soa_rrset()));
        }
        let row = self.owner(view, owner).await?.after.get(&rtype).cloned();
        Ok(match row {
            Some(row) => Some(row.into_rrset(owner.clone(), rtype)),
            None if is_apex && rtype == RecordType::NS => {
                Some(self.object.settings.synthesized_ns())
            }
            None => None,
        })
    }

    /// Returns the revision of an RRset if there is one: the inner `None` while it is in flight.
    ///
    /// The SOA and a synthesized NS RRset have the zone's, `zone_revision`, as they do for readers.
    pub(super) async fn find(
        &mut self,
        view: &View,
        owner: &Name,
        rtype: RecordType,
        zone_revision: Option<u64>,
    ) -> Result<Option<Option<u64>>, KvError> {
        if !owner.is_at_or_below(&self.object.settings.apex) {
            return Ok(None);
        }
        let is_apex = *owner == self.object.settings.apex;
        if is_apex && rtype == RecordType::SOA {
            return Ok(Some(zone_revision));
        }
        let found = self.owner(view, owner).await?.before.get(&rtype);
        let found = found.map(|(_, revision)| *revision);
        // An apex without an NS RRset of its own has a synthesized one.
        Ok(found.or((is_apex && rtype == RecordType::NS).then_some(zone_revision)))
    }

    /// Whether the zone has no rows in the store that the batch may have to do with.
    pub(super) fn has_no_rows(&self) -> bool {
        self.is_new && self.replaced_by.is_none()
    }

    /// Returns the range of the rows of an owner.
    pub(super) fn owner_range(&self, owner: &Name) -> KeyRange {
        let apex = &self.object.settings.apex;
        KeyRange::prefix(&keys::rows_at(self.object.generation, apex, owner))
    }

    /// Returns the key of a name's DNAME row.
    pub(super) fn dname_key(&self, name: &Name) -> Vec<u8> {
        let apex = &self.object.settings.apex;
        keys::row_key(self.object.generation, apex, name, RecordType::DNAME)
    }

    /// Takes the rows of an owner, as they were read.
    pub(super) fn take_owner(
        &mut self,
        owner: Name,
        entries: BTreeMap<Vec<u8>, Seen>,
    ) -> Result<(), KvError> {
        let mut draft = OwnerDraft::default();
        for (key, seen) in entries {
            let (_, rtype) = keys::parse_row_key(&key, &self.object.settings.apex)?;
            let row = Row::decode(&seen.value)?;
            draft.after.insert(rtype, row.clone());
            draft.before.insert(rtype, (row, seen.revision));
        }
        self.owners.insert(owner, draft);
        Ok(())
    }
}

impl OwnerDraft {
    /// Puts an RRset.
    pub(super) fn put(&mut self, rtype: RecordType, row: Row) {
        let was_there = self.after.insert(rtype, row).is_some();
        self.touch(rtype, was_there);
    }

    /// Deletes an RRset; whether it was there.
    pub(super) fn delete(&mut self, rtype: RecordType) -> bool {
        let was_there = self.after.remove(&rtype).is_some();
        if was_there {
            self.touch(rtype, was_there);
        }
        was_there
    }

    /// Whether the batch has made the owner.
    pub(super) fn is_new(&self) -> bool {
        let is_of_batch = |rtype| self.by_batch.get(rtype) == Some(&false);
        let was_there = self.by_batch.values().any(|was_there| *was_there);
        !self.after.is_empty() && !was_there && self.after.keys().all(is_of_batch)
    }

    /// Notes that the batch has put or deleted an RRset.
    fn touch(&mut self, rtype: RecordType, was_there: bool) {
        self.touched.insert(rtype);
        self.by_batch.entry(rtype).or_insert(was_there);
    }
}
