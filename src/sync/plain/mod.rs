//! A feed without header: one entry per RRset, as the original system writes them.
//!
//! There is no revision in it, so the replica's own rule decides: of one key the newest entry, and
//! an entry removes every older one of its author whose key begins with its key. An empty value,
//! or one octet 0x00, is a delete. Zones are those that have a zone entry, and the names of the
//! zone filter; a record belongs to the longest of them that its owner name is at or below.
//! A zone without SOA or NS records gets them made up.
//!
//! **Invariant:** the zones given out depend on the entries, not on their order of arrival; a
//! record of a disabled zone, or of none, is not served.
//! **Not here:** what an entry is about (`value`), the JSON of records (`record::document`).

mod value;

use std::collections::{BTreeMap, BTreeSet};

use crate::feed::Revision;
use crate::limits::{BATCH_CHANGES_MAX, PLAIN_ENTRIES_MAX, PLAIN_WAIT_MS};
use crate::name::Name;
use crate::record::{Change, RecordType, Rrset, Soa};
use crate::sync::batch::{ZoneBatch, ZoneStep};
use crate::sync::complaint::EntryError;
use crate::sync::entry::FeedEntry;
use value::{PlainValue, parse_key, read_value};

/// Everything known of a feed without header.
#[derive(Debug, Default)]
pub(super) struct PlainFeed {
    /// Zones that are served though no entry says so.
    static_zones: Vec<Name>,
    /// The newest entry of each key.
    entries: BTreeMap<Box<[u8]>, PlainEntry>,
    /// The keys that hold each RRset; more than one only if somebody wrote one name in two forms.
    keys_of: BTreeMap<RrsetPlace, BTreeSet<Box<[u8]>>>,
    /// RRsets that changed since the last batch.
    changed: BTreeSet<RrsetPlace>,
    /// Whether the set of zones may have changed since the last batch.
    has_zone_change: bool,
    /// The zones given out, with the last serial.
    served: BTreeMap<Name, u32>,
    /// Counts batches; stands for a revision.
    number: u64,
    /// When zones are given out though content is missing.
    deadline_ms: Option<u64>,
    /// Whether anything was given out.
    has_begun: bool,
    /// Zones that could not be built as they were given out last.
    refused: BTreeSet<Name>,
    /// Whether these are to be given out anew.
    is_retry_due: bool,
    /// Whether entries were dropped, by the last listing of all of them and since.
    has_dropped: bool,
    /// Whether entries were dropped since the last listing began.
    has_dropped_lately: bool,
    /// Entries that are kept.
    pub(super) entries_max: usize,
}

/// Where an RRset stands.
type RrsetPlace = (Name, RecordType);

/// The newest entry of a key.
#[derive(Debug)]
struct PlainEntry {
    /// Who wrote it.
    author: [u8; 32],
    /// When, by the replica.
    timestamp_us: u64,
    /// Its content.
    hash: [u8; 32],
    /// What it says.
    value: PlainValue,
}

/// Why a name is the apex of a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ApexReason {
    /// A zone entry says so.
    Enabled,
    /// A zone entry says that it is not served.
    Disabled,
    /// The zone filter names it; it is served so long as it has records.
    Filter,
}

/// What became of an entry.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Whether its content is needed.
    pub needs_content: bool,
    /// Whether the filter kept it out.
    pub is_filtered: bool,
    /// Keys whose entries are gone or replaced, so that their content is not needed.
    pub passed: Vec<Box<[u8]>>,
}

impl PlainFeed {
    /// Begins with no entries.
    pub(super) fn new(static_zones: Vec<Name>) -> Self {
        let entries_max = PLAIN_ENTRIES_MAX;
        Self { static_zones, has_zone_change: true, entries_max, ..Self::default() }
    }

    /// Whether an entry says that its key is gone.
    fn is_delete(entry: &FeedEntry<'_>) -> bool {
        entry.len == 0 || (entry.len == 1 && entry.hash == ZERO_OCTET_HASH)
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// [`EntryError::BadKey`], [`EntryError::TooLong`] or [`EntryError::TooManyEntries`].
    pub(super) fn handle_entry(
        &mut self,
        entry: &FeedEntry<'_>,
        filter: Option<&[Name]>,
    ) -> Result<Taken, EntryError> {
        let mut taken = Taken::default();
        let is_delete = Self::is_delete(entry);
        let parsed = parse_key(entry.key);
        // A delete may be of a prefix; every other key must say what it is about.
        if let (Err(error), false) = (&parsed, is_delete) {
            return Err(EntryError::BadKey(error.clone()));
        }
        if let (Ok(subject), Some(filter)) = (&parsed, filter) {
            let name = subject.name();
            if !filter.iter().any(|zone| name.is_at_or_below(zone)) {
                return Ok(Taken { is_filtered: true, ..taken });
            }
        }
        if entry.len > DOCUMENT_OCTETS_MAX {
            return Err(EntryError::TooLong { len: entry.len, max: DOCUMENT_OCTETS_MAX });
        }
        if self.is_passed(entry) {
            return Ok(taken);
        }
        let below = self.keys_below(entry);
        let count = self.entries.len() - below.len();
        if count >= self.entries_max && !self.entries.contains_key(entry.key) {
            (self.has_dropped, self.has_dropped_lately) = (true, true);
            return Err(EntryError::TooManyEntries { max: self.entries_max as u64 });
        }
        for key in below.iter().map(AsRef::as_ref).chain([entry.key]) {
            self.set(key, None);
            taken.passed.push(key.into());
        }
        let value = if is_delete { PlainValue::Gone } else { PlainValue::Unknown };
        self.set(
            entry.key,
            Some(PlainEntry {
                author: entry.author,
                timestamp_us: entry.timestamp_us,
                hash: entry.hash,
                value,
            }),
        );
        taken.needs_content = !is_delete;
        Ok(taken)
    }

    /// Whether a known entry of this key, or of a key that this one begins with, is newer.
    fn is_passed(&self, entry: &FeedEntry<'_>) -> bool {
        let at = |known: &PlainEntry| (known.timestamp_us, known.hash);
        let new = (entry.timestamp_us, entry.hash);
        if self.entries.get(entry.key).is_some_and(|known| at(known) >= new) {
            return true;
        }
        (0..entry.key.len()).any(|len| {
            let known = self.entries.get(&entry.key[..len]);
            known.is_some_and(|known| known.author == entry.author && at(known) > new)
        })
    }

    /// Returns the keys of older entries of the same author that begin with the entry's key.
    fn keys_below(&self, entry: &FeedEntry<'_>) -> Vec<Box<[u8]>> {
        let range = self
            .entries
            .range::<[u8], _>((std::ops::Bound::Excluded(entry.key), std::ops::Bound::Unbounded));
        range
            .take_while(|(key, _)| key.starts_with(entry.key))
            .filter(|(_, known)| known.author == entry.author)
            .filter(|(_, known)| {
                (known.timestamp_us, known.hash) < (entry.timestamp_us, entry.hash)
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Takes the content of the newest entry of a key.
    ///
    /// # Errors
    /// [`EntryError`]; the entry then says nothing.
    pub(super) fn handle_value(&mut self, key: &[u8], octets: &[u8]) -> Result<(), EntryError> {
        let value = read_value(key, octets)?;
        if let Some(mut entry) = self.entries.remove(key) {
            entry.value = value;
            self.set(key, Some(entry));
        }
        Ok(())
    }

    /// Replaces what is known of a key, and notes what changes by that.
    fn set(&mut self, key: &[u8], entry: Option<PlainEntry>) {
        if let Some(before) = self.entries.remove(key) {
            match before.value {
                PlainValue::Record { rrset, .. } => {
                    let place = (rrset.owner, rrset.rtype);
                    if let Some(keys) = self.keys_of.get_mut(&place) {
                        keys.remove(key);
                    }
                    self.changed.insert(place);
                }
                PlainValue::Zone { .. } => self.has_zone_change = true,
                PlainValue::Unknown | PlainValue::Gone => {}
            }
        }
        let Some(entry) = entry else { return };
        match &entry.value {
            PlainValue::Record { rrset, .. } => {
                let place = (rrset.owner.clone(), rrset.rtype);
                self.keys_of.entry(place.clone()).or_default().insert(key.into());
                self.changed.insert(place);
            }
            PlainValue::Zone { .. } => self.has_zone_change = true,
            PlainValue::Unknown | PlainValue::Gone => {}
        }
        self.entries.insert(key.into(), entry);
    }

    /// Whether any entry was seen.
    pub(super) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether all that there is was given out, and nothing of it refused.
    pub(super) fn is_idle(&self) -> bool {
        let has_more = !self.changed.is_empty() || self.has_zone_change;
        self.has_begun && !has_more && self.refused.is_empty() && !self.has_dropped
    }

    /// Whether entries are missing that were dropped.
    pub(super) fn has_dropped(&self) -> bool {
        self.has_dropped
    }

    /// Notes that a zone could not be built. It is given out anew when one of its records changes, or all
    /// entries were handed in again.
    pub(super) fn note_refused(&mut self, apex: Name) {
        self.refused.insert(apex);
    }

    /// Whether a zone could not be built as it was given out last.
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Notes that all entries are about to be handed in.
    pub(super) fn note_scan_started(&mut self) {
        self.has_dropped_lately = false;
    }

    /// Notes that all entries were handed in.
    pub(super) fn note_scan_complete(&mut self) {
        self.has_dropped = self.has_dropped_lately;
        self.is_retry_due = !self.refused.is_empty();
    }

    /// Returns how many zones are served.
    pub(super) fn zone_count(&self) -> u64 {
        self.served.len() as u64
    }

    /// Begins to give out zones: when all content is here, or after a while without.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.deadline_ms = Some(now_ms.saturating_add(PLAIN_WAIT_MS));
    }

    /// Returns when zones are given out though content is missing.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        self.deadline_ms.filter(|_| !self.has_begun)
    }

    /// Forgets all entries: the feed has a header. Zones stay until the feed replaces them, or is known and
    /// has none of that name.
    pub(super) fn become_headed(&mut self) {
        let (served, number) = (std::mem::take(&mut self.served), self.number);
        *self = Self { served, number, ..Self::default() };
    }

    /// Forgets zones that were given out: the feed with a header has them.
    pub(super) fn forget(&mut self, is_known: impl Fn(&Name) -> bool) {
        self.served.retain(|apex, _| !is_known(apex));
    }

    /// Forgets the zones given out; returns the steps that take them away.
    pub(super) fn remove_all(&mut self) -> Vec<ZoneBatch> {
        let served = std::mem::take(&mut self.served);
        self.number_steps(served.into_keys().map(|apex| (apex, ZoneStep::Remove)).collect())
    }

    /// Returns what to publish.
    pub(super) fn poll_batch(&mut self, is_whole: bool, now_ms: u64) -> Vec<ZoneBatch> {
        let is_due = self.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms);
        if !self.has_begun && !is_whole && !is_due {
            return Vec::new();
        }
        self.has_begun = true;
        if std::mem::take(&mut self.has_zone_change) {
            return self.rebuild_all();
        }
        let zones = self.zones();
        if self.is_retry_due || self.has_change_of_refused(&zones) {
            // What would be edited of such a zone is not there.
            self.is_retry_due = false;
            let refused = std::mem::take(&mut self.refused);
            return self.rebuild(&zones, |apex| refused.contains(apex));
        }
        let mut edits: BTreeMap<Name, Vec<Change>> = BTreeMap::new();
        let mut count = 0;
        while count < BATCH_CHANGES_MAX
            && let Some(place) = self.changed.pop_first()
        {
            count += 1;
            let rrset = self.rrset_at(&place).map(|(rrset, _)| rrset.clone());
            let Some((apex, origin)) = zone_of(&zones, &place.0) else { continue };
            match origin {
                ApexReason::Disabled => continue,
                // Its first record makes such a zone, its last one takes it away.
                ApexReason::Filter if rrset.is_none() || !self.served.contains_key(&apex) => {
                    return self.rebuild_all();
                }
                ApexReason::Enabled | ApexReason::Filter => {}
            }
            let (owner, rtype) = place;
            let change = rrset.map_or(Change::Delete { owner, rtype }, Change::Put);
            edits.entry(apex).or_default().push(change);
        }
        let step = |(apex, mut edits): (Name, Vec<Change>)| {
            let made_up = self.made_up(&apex);
            edits.retain(|edit| !made_up.iter().any(|rrset| is_at(edit, rrset)));
            edits.extend(made_up.into_iter().map(Change::Put));
            (apex, ZoneStep::Edit(edits))
        };
        let steps: Vec<_> = edits.into_iter().map(step).collect();
        self.number_steps(steps)
    }

    /// Whether a record of a zone that was refused has changed.
    fn has_change_of_refused(&self, zones: &BTreeMap<Name, ApexReason>) -> bool {
        let is_refused = |place: &RrsetPlace| {
            zone_of(zones, &place.0).is_some_and(|(apex, _)| self.refused.contains(&apex))
        };
        !self.refused.is_empty() && self.changed.iter().any(is_refused)
    }

    /// Gives every zone out anew, and takes away those that are none any more.
    fn rebuild_all(&mut self) -> Vec<ZoneBatch> {
        self.changed.clear();
        self.refused.clear();
        self.is_retry_due = false;
        self.rebuild(&self.zones(), |_| true)
    }

    /// Gives zones out anew, and takes away those of them that are none any more.
    fn rebuild(
        &mut self,
        zones: &BTreeMap<Name, ApexReason>,
        is_due: impl Fn(&Name) -> bool,
    ) -> Vec<ZoneBatch> {
        let is_enabled =
            |(apex, origin): &(&Name, &ApexReason)| **origin == ApexReason::Enabled && is_due(apex);
        let enabled = zones.iter().filter(is_enabled).map(|(apex, _)| (apex.clone(), Vec::new()));
        let mut contents: BTreeMap<Name, Vec<Change>> = enabled.collect();
        for place in self.keys_of.keys() {
            let Some((apex, origin)) = zone_of(zones, &place.0) else { continue };
            if !is_due(&apex) {
                continue;
            }
            let rrset = self.rrset_at(place).map(|(rrset, _)| rrset.clone());
            if let (Some(rrset), ApexReason::Enabled | ApexReason::Filter) = (rrset, origin) {
                contents.entry(apex).or_default().push(Change::Put(rrset));
            }
        }
        let is_gone = |apex: &&Name| is_due(apex) && !contents.contains_key(*apex);
        let gone: Vec<Name> = self.served.keys().filter(is_gone).cloned().collect();
        let mut steps: Vec<(Name, ZoneStep)> = Vec::new();
        for apex in gone {
            self.served.remove(&apex);
            steps.push((apex, ZoneStep::Remove));
        }
        for (apex, mut edits) in contents {
            self.served.entry(apex.clone()).or_default();
            edits.extend(self.made_up(&apex).into_iter().map(Change::Put));
            let name_count = edits.len() as u64;
            steps.push((apex, ZoneStep::Rebuild { packs: Vec::new(), name_count, edits }));
        }
        self.number_steps(steps)
    }

    /// Gives steps a revision.
    fn number_steps(&mut self, steps: Vec<(Name, ZoneStep)>) -> Vec<ZoneBatch> {
        self.number += 1;
        let revision = Revision::new(0, self.number);
        let batch = |(apex, step)| ZoneBatch { apex, revision, step, proof: None };
        steps.into_iter().map(batch).collect()
    }

    /// Returns every zone, and why it is one.
    fn zones(&self) -> BTreeMap<Name, ApexReason> {
        let from_filter = self.static_zones.iter().map(|apex| (apex.clone(), ApexReason::Filter));
        let mut zones: BTreeMap<Name, ApexReason> = from_filter.collect();
        for entry in self.entries.values() {
            if let PlainValue::Zone { apex, is_enabled } = &entry.value {
                let origin = if *is_enabled { ApexReason::Enabled } else { ApexReason::Disabled };
                zones.insert(apex.clone(), origin);
            }
        }
        zones
    }

    /// Returns the RRset at a place and when it was written; of two keys that hold it, by the
    /// later time and then the lower key.
    fn rrset_at(&self, place: &RrsetPlace) -> Option<(&Rrset, u32)> {
        let keys = self.keys_of.get(place)?.iter().rev();
        let held = keys.filter_map(|key| match &self.entries.get(key)?.value {
            PlainValue::Record { rrset, updated_s } => Some((rrset, *updated_s)),
            _ => None,
        });
        held.max_by_key(|(_, updated_s)| *updated_s)
    }

    /// Returns the SOA and NS RRsets of a zone that has none.
    fn made_up(&mut self, apex: &Name) -> Vec<Rrset> {
        let has = |rtype| self.rrset_at(&(apex.clone(), rtype)).is_some();
        let (has_soa, has_ns) = (has(RecordType::SOA), has(RecordType::NS));
        let newest_s = self.entries.values().filter_map(|entry| match &entry.value {
            PlainValue::Record { updated_s, .. } => Some(*updated_s),
            _ => None,
        });
        let newest_s = newest_s.max().unwrap_or(1);
        let serial = self.served.entry(apex.clone()).or_default();
        *serial = newest_s.max(serial.wrapping_add(1));
        let soa = soa_rdata(apex, *serial);
        let mut made_up = Vec::new();
        let mut add = |rtype, rdata: Option<Vec<u8>>| {
            let rrset = rdata.map(|rdata| Rrset::new(apex.clone(), rtype, MADE_UP_TTL_S, [rdata]));
            made_up.extend(rrset.and_then(Result::ok));
        };
        if !has_soa {
            add(RecordType::SOA, soa);
        }
        if !has_ns {
            let server = apex.with_label(b"ns").ok();
            add(RecordType::NS, server.map(|server| server.as_wire().to_vec()));
        }
        made_up
    }
}

/// Returns the longest zone that `owner` is at or below, and why it is one.
fn zone_of(zones: &BTreeMap<Name, ApexReason>, owner: &Name) -> Option<(Name, ApexReason)> {
    let mut candidate = Some(owner.clone());
    while let Some(name) = candidate {
        if let Some(origin) = zones.get(&name) {
            return Some((name, *origin));
        }
        candidate = name.parent();
    }
    None
}

/// Whether a change is of the RRset's place.
fn is_at(change: &Change, rrset: &Rrset) -> bool {
    *change.owner() == rrset.owner && change.rtype() == rrset.rtype
}

/// Writes the RDATA of a made-up SOA, if its names are not too long.
fn soa_rdata(apex: &Name, serial: u32) -> Option<Vec<u8>> {
    let (mname, rname) = (apex.with_label(b"ns").ok()?, apex.with_label(b"hostmaster").ok()?);
    let soa = Soa {
        names: &[mname.as_wire(), rname.as_wire()].concat(),
        serial,
        refresh_s: 3_600,
        retry_s: 600,
        expire_s: 604_800,
        minimum_s: 300,
    };
    Some(soa.to_rdata())
}

/// TTL in seconds of made-up records.
const MADE_UP_TTL_S: u32 = 3_600;
/// Octets of a record's or zone's JSON: the original's limit of a value.
const DOCUMENT_OCTETS_MAX: u64 = 1 << 20;
/// BLAKE3 of one octet 0x00, the original's sign of a delete.
const ZERO_OCTET_HASH: [u8; 32] = [
    0x2d, 0x3a, 0xde, 0xdf, 0xf1, 0x1b, 0x61, 0xf1, 0x4c, 0x88, 0x6e, 0x35, 0xaf, 0xa0, 0x36, 0x73,
    0x6d, 0xcd, 0x87, 0xa7, 0x4d, 0x27, 0xb5, 0xc1, 0x51, 0x02, 0x25, 0xd0, 0xf5, 0x92, 0xe2, 0x13,
];
