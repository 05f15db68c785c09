//! A commit in the making: what a batch does to each zone, checked and turned into keys.
//!
//! **Invariant:** every zone that is touched is expected to be as it was read, gets a new serial
//! once, and has its new SOA in the journal. Making or deleting a zone guards the zone around it,
//! so that a record cannot slip into the wrong one of the two; its contents and serial stay. Where there is
//! none around it, there must still be none when it is made.
//! **Not here:** reading (`store::view`), retries (`store::dns_store`).

mod ahead;
mod build;
mod past;
mod recall;
mod records;
mod restage;
mod settle;
mod zone;

use std::collections::{BTreeMap, BTreeSet};

use super::generation::Generation;
use super::hints::ZoneHints;
use super::keys;
use super::kv::KvError;
use super::operation::{Expectation, Operation, StoreError};
use super::row::Row;
use super::rules::{RuleError, check_rrset};
use super::view::{Seen, View};
use super::zone_object::{StoredSoa, ZoneObject};
use super::zone_settings::ZoneSettings;
use crate::clock::now_ms;
use crate::feed::digest::{Digest, DigestKey};
use crate::name::Name;
use crate::record::{RecordType, Rrset};

pub(super) use build::Built;
pub(super) use past::{PutBack, PutBackError};
pub(super) use settle::Settled;
use zone::ZoneDraft;

/// A commit in the making.
pub(super) struct Draft<'a> {
    /// What was before.
    view: &'a View,
    /// The time of the commit, in milliseconds since 1970.
    now_ms: u64,
    /// The key of the digests.
    digest_key: DigestKey,
    /// What is remembered of zones.
    hints: &'a ZoneHints,
    /// The zones that were looked up, whether they exist or not.
    slots: BTreeMap<Name, ZoneSlot>,
    /// Zones that were not there and must not have been made meanwhile.
    absent: BTreeSet<Name>,
    /// Whether something was taken from what is remembered of zones.
    is_recalled: bool,
}

/// What is known of a zone, or of the absence of one.
#[derive(Clone, Default)]
struct ZoneSlot {
    /// The zone object before the commit.
    base: Option<Seen>,
    /// The zone as it becomes; `None` if there is none.
    zone: Option<ZoneDraft>,
    /// The generations that the zone leaves, each with how many RRsets stand there.
    swept: Vec<(Generation, u64)>,
    /// Whether the commit writes or deletes the zone object.
    is_touched: bool,
    /// Whether the commit writes the zone object anew though its records stay: no other commit can
    /// then have read the zone before it and write after it.
    is_guarded: bool,
    /// Whether the commit expects the zone object to be as it was read, even if it writes none.
    is_expected: bool,
    /// Whether the zone was served before the commit.
    was_enabled: bool,
}

impl ZoneSlot {
    /// Whether the commit has anything of the zone; else it was only read.
    fn is_in_commit(&self) -> bool {
        self.is_touched || self.is_guarded || self.is_expected
    }
}

/// A draft as it was.
pub(super) struct DraftMark(BTreeMap<Name, ZoneSlot>);

/// Why a draft did not come about.
pub(super) enum DraftError {
    /// The asker must be told.
    Refused(StoreError),
    /// What an expectation is about is in flight: its revision is not known yet.
    Unsettled,
}

impl<E: Into<StoreError>> From<E> for DraftError {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// The rows that an import has written under a new generation.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// The generation.
    pub(super) generation: Generation,
    /// The value of its key, which the commit expects.
    pub(super) marker: Vec<u8>,
    /// The SOA, if one was imported.
    pub(super) soa: Option<Rrset>,
    /// The serial that the zone is to have at least, where there is no such SOA.
    pub(super) serial: Option<u32>,
    /// Whether there is an NS RRset at the apex.
    pub(super) has_apex_ns: bool,
    /// RRsets that stand as rows.
    pub(super) rrset_count: u64,
    /// Their records.
    pub(super) record_count: u64,
    /// What these come to.
    pub(super) digest: Digest,
}

impl<'a> Draft<'a> {
    /// Begins a draft.
    pub(super) fn new(view: &'a View, digest_key: DigestKey, hints: &'a ZoneHints) -> Self {
        let (slots, absent, is_recalled) = (BTreeMap::new(), BTreeSet::new(), false);
        Self { view, now_ms: now_ms(), digest_key, hints, slots, absent, is_recalled }
    }

    /// Returns the draft as it is now, to come back to.
    pub(super) fn mark(&self) -> DraftMark {
        DraftMark(self.slots.clone())
    }

    /// Goes back to what the draft was.
    pub(super) fn go_back(&mut self, mark: DraftMark) {
        self.slots = mark.0;
    }

    /// Judges what the asker takes to be so; comes before the first step.
    pub(super) async fn expect(&mut self, expected: &[Expectation]) -> Result<(), DraftError> {
        for (index, expectation) in expected.iter().enumerate() {
            if !self.holds(expectation).await? {
                return Err(StoreError::PreconditionFailed { index }.into());
            }
        }
        Ok(())
    }

    /// Whether one expectation holds. The engine judges it again with the commit, by the zone
    /// object.
    async fn holds(&mut self, expectation: &Expectation) -> Result<bool, DraftError> {
        let apex = match expectation {
            Expectation::ZoneSerial { apex, .. }
            | Expectation::ZoneAtRevision { apex, .. }
            | Expectation::ZoneAbsent { apex } => Some(apex.clone()),
            Expectation::RrsetAtRevision { owner, rtype, .. }
            | Expectation::RrsetAbsent { owner, rtype } => self.holder(owner, *rtype).await?,
        };
        let Some(apex) = apex else {
            return Ok(matches!(expectation, Expectation::RrsetAbsent { .. }));
        };
        self.load(std::slice::from_ref(&apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        slot.is_expected = true;
        let Some(zone) = &mut slot.zone else {
            return Ok(matches!(
                expectation,
                Expectation::ZoneAbsent { .. } | Expectation::RrsetAbsent { .. }
            ));
        };
        let revision = slot.base.as_ref().and_then(|base| base.revision);
        Ok(match expectation {
            Expectation::ZoneAbsent { .. } => false,
            Expectation::ZoneSerial { serial, .. } => zone.object.serial == *serial,
            Expectation::ZoneAtRevision { revision: expected, .. } => {
                revision.ok_or(DraftError::Unsettled)? == *expected
            }
            Expectation::RrsetAbsent { owner, rtype } => {
                zone.find(self.view, owner, *rtype, revision).await?.is_none()
            }
            Expectation::RrsetAtRevision { owner, rtype, revision: expected } => {
                match zone.find(self.view, owner, *rtype, revision).await? {
                    Some(found) => found.ok_or(DraftError::Unsettled)? == *expected,
                    None => false,
                }
            }
        })
    }

    /// Takes one step.
    pub(super) async fn apply(&mut self, operation: &Operation) -> Result<(), DraftError> {
        match operation {
            Operation::PutRrset(rrset) => {
                let holder = self.holder(&rrset.owner, rrset.rtype).await?;
                let owner = &rrset.owner;
                let apex = holder.ok_or_else(|| RuleError::NoZone { owner: owner.clone() })?;
                self.put_rrset(&apex, rrset).await
            }
            Operation::PutRrsetIn { apex, rrset } => self.put_rrset(apex, rrset).await,
            Operation::DeleteRrset { owner, rtype } => {
                let Some(apex) = self.holder(owner, *rtype).await? else {
                    self.absent.extend(std::iter::successors(Some(owner.clone()), Name::parent));
                    return Ok(());
                };
                self.delete_rrset(&apex, owner, *rtype).await
            }
            Operation::DeleteRrsetIn { apex, owner, rtype } => {
                self.delete_rrset(apex, owner, *rtype).await
            }
            Operation::ExtendRrsetIn { apex, owner, rtype, ttl_s, records } => {
                self.extend_rrset(apex, (owner, *rtype), *ttl_s, records).await
            }
            Operation::PruneRrsetIn { apex, owner, rtype, records } => {
                self.prune_rrset(apex, (owner, *rtype), records).await
            }
            Operation::PutZone(settings) => self.put_zone(settings).await,
            Operation::DeleteZone { apex } => Ok(self.delete_zone(apex).await?),
        }
    }

    /// Switches a zone to the rows of an import, and makes it if there is none.
    pub(super) async fn replace(
        &mut self,
        settings: Option<&ZoneSettings>,
        apex: &Name,
        staged: &Staged,
    ) -> Result<(), DraftError> {
        match settings {
            Some(settings) => self.put_zone(settings).await?,
            None => self.load(std::slice::from_ref(apex)).await?,
        }
        if self.slots.get(apex).is_none_or(|slot| slot.zone.is_none()) {
            self.put_zone(&ZoneSettings::new(apex.clone())).await?;
        }
        let slot = self.slots.entry(apex.clone()).or_default();
        let Some(zone) = &mut slot.zone else {
            return Err(StoreError::ZoneUnknown { apex: apex.clone() }.into());
        };
        if slot.base.is_some() {
            slot.swept.push((zone.object.generation, zone.object.rrset_count));
        }
        slot.is_touched = true;
        zone.replace(staged, self.now_ms);
        Ok(())
    }

    /// Puts an RRset into a zone.
    async fn put_rrset(&mut self, apex: &Name, rrset: &Rrset) -> Result<(), DraftError> {
        self.load(std::slice::from_ref(apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        let Some(zone) = &mut slot.zone else {
            return Err(StoreError::ZoneUnknown { apex: apex.clone() }.into());
        };
        let plain = rrset.without_doubles();
        let rrset = &*plain;
        check_rrset(rrset, apex, zone.object.settings.rrset_records_max)?;
        slot.is_touched = true;
        if rrset.rtype == RecordType::SOA {
            if let Some((soa, serial)) = StoredSoa::new(rrset, self.now_ms) {
                zone.put_soa(soa, serial);
            }
            return Ok(());
        }
        let owner = zone.owner(self.view, &rrset.owner).await?;
        owner.put(rrset.rtype, Row::new(rrset, self.now_ms));
        Ok(())
    }

    /// Deletes an RRset of a zone; touches the zone only if it was there. A written SOA or NS RRset of
    /// the apex makes room for the synthesized one, which cannot be deleted.
    async fn delete_rrset(
        &mut self,
        apex: &Name,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<(), DraftError> {
        self.load(std::slice::from_ref(apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        let Some(zone) = &mut slot.zone else {
            return Err(StoreError::ZoneUnknown { apex: apex.clone() }.into());
        };
        if !owner.is_at_or_below(apex) {
            let (owner, apex) = (owner.clone(), apex.clone());
            return Err(RuleError::OutOfZone { owner, apex }.into());
        }
        let was_there = match rtype {
            RecordType::SOA => owner == apex && zone.delete_soa(),
            _ => zone.owner(self.view, owner).await?.delete(rtype),
        };
        let is_synthesized = matches!(rtype, RecordType::SOA | RecordType::NS) && owner == apex;
        if is_synthesized && !was_there {
            return Err(RuleError::Synthesized { owner: owner.clone(), rtype }.into());
        }
        slot.is_touched |= was_there;
        // That there is nothing to delete must be so, should another step change a zone.
        slot.is_expected |= !was_there;
        Ok(())
    }

    /// Makes a zone, or gives it other settings.
    async fn put_zone(&mut self, settings: &ZoneSettings) -> Result<(), DraftError> {
        settings.check()?;
        let apex = &settings.apex;
        self.load(std::slice::from_ref(apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        slot.is_touched = true;
        if let Some(zone) = &mut slot.zone {
            zone.put_settings(settings.clone());
            return Ok(());
        }
        let mut zone = ZoneDraft::new(settings.clone(), self.now_ms);
        // A zone that the same batch deletes and makes again keeps its serial rising.
        if let Some(base) = &slot.base {
            zone.object.serial = ZoneObject::decode(&base.value)?.serial;
        }
        slot.zone = Some(zone);
        Ok(self.guard_around(apex).await?)
    }

    /// Deletes a zone if there is one.
    async fn delete_zone(&mut self, apex: &Name) -> Result<(), KvError> {
        self.load(std::slice::from_ref(apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        let Some(zone) = slot.zone.take() else {
            slot.is_expected = true;
            return Ok(());
        };
        slot.is_touched = true;
        if !zone.is_new {
            slot.swept.push((zone.object.generation, zone.object.rrset_count));
        }
        self.guard_around(apex).await
    }

    /// Guards the zone around `apex`; if there is none, expects that nobody makes one at the same time.
    async fn guard_around(&mut self, apex: &Name) -> Result<(), KvError> {
        let Some(above) = apex.parent() else { return Ok(()) };
        match self.deepest(&above).await? {
            Some(around) => self.slots.entry(around).or_default().is_guarded = true,
            None => self.absent.extend(std::iter::successors(Some(above), Name::parent)),
        }
        Ok(())
    }

    /// Returns the apex of the zone that takes the records of (`owner`, `rtype`).
    async fn holder(&mut self, owner: &Name, rtype: RecordType) -> Result<Option<Name>, KvError> {
        let deepest = self.deepest(owner).await?;
        // A DS belongs to the parent's side of the cut (RFC 4035 section 2.4).
        if rtype == RecordType::DS
            && deepest.as_ref() == Some(owner)
            && let Some(above) = owner.parent()
            && let Some(parent) = self.deepest(&above).await?
        {
            return Ok(Some(parent));
        }
        Ok(deepest)
    }

    /// Returns the apex of the deepest zone that holds `owner`.
    async fn deepest(&mut self, owner: &Name) -> Result<Option<Name>, KvError> {
        let apexes: Vec<Name> = std::iter::successors(Some(owner.clone()), Name::parent).collect();
        // What is above the zone need not be known.
        let mut known = apexes.iter().map_while(|apex| self.slots.get(apex));
        let mut found = known.position(|slot| slot.zone.is_some());
        if found.is_none() {
            self.load(&apexes).await?;
            let exists = |apex: &Name| self.slots.get(apex).is_some_and(|slot| slot.zone.is_some());
            found = apexes.iter().position(exists);
        }
        let Some(at) = found else { return Ok(None) };
        // Who has made a zone below one that the batch makes had nothing to guard.
        if self.slots.get(&apexes[at]).is_some_and(|slot| slot.base.is_none()) {
            self.absent.extend(apexes[..at].iter().cloned());
        }
        Ok(Some(apexes[at].clone()))
    }

    /// Reads the zone objects that were not read yet.
    async fn load(&mut self, apexes: &[Name]) -> Result<(), KvError> {
        let missing: Vec<&Name> =
            apexes.iter().filter(|apex| !self.slots.contains_key(*apex)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = missing.iter().map(|apex| keys::zone_key(apex)).collect();
        let found = self.view.read(&keys).await?;
        let missing: Vec<Name> = missing.into_iter().cloned().collect();
        missing.into_iter().zip(found).try_for_each(|(apex, base)| self.take_zone(apex, base))
    }

    /// Takes a zone object as it was read.
    fn take_zone(&mut self, apex: Name, base: Option<Seen>) -> Result<(), KvError> {
        let object = base.as_ref().map(|seen| ZoneObject::decode(&seen.value)).transpose()?;
        let was_enabled = object.as_ref().is_some_and(|object| object.settings.is_enabled);
        let zone = object.map(ZoneDraft::existing);
        let slot = ZoneSlot { base, zone, was_enabled, ..ZoneSlot::default() };
        self.slots.insert(apex, slot);
        Ok(())
    }
}
