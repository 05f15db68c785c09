//! What a feed says of every zone, in its log and in its document, and what is to be written next.
//!
//! Two states are kept of a zone: the one that the log leads to, and the one of the document. What
//! lies between is remembered until a version of the document has it, as a delta or, when that
//! would cost more or is not known, as a base that is read from the source.
//!
//! **Invariant:** a zone's remembered changes lead from the document's revision to the log's;
//! every pack of the document lies in a bundle that is counted as in use.
//! **Not here:** reading and writing (`fold`), indexes (`shelf`), commits to segments (`chronicle`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::feed::Hash;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::index::{BundleRef, IndexRow, PackPlace, ZoneRow};
use crate::limits::{COMPACT_OCTETS_MAX, ZONE_RECENT_MAX};
use crate::name::Name;
use crate::record::{Change, RecordType};

/// What a zone is at a revision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Head {
    /// The revision.
    pub(super) revision: u64,
    /// The serial; 0 of a zone that is gone.
    pub(super) serial: u32,
    /// What its records come to.
    pub(super) digest: Digest,
    /// Whether there is such a zone.
    pub(super) is_there: bool,
}

/// Where a pack of the document lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The bundle.
    pub(super) bundle: BundleRef,
    /// Where it begins there.
    pub(super) offset: u32,
    /// Its length in octets.
    pub(super) len: u32,
    /// Whether it is a delta.
    pub(super) is_delta: bool,
}

/// One zone.
#[derive(Debug, Default)]
struct ZoneBook {
    /// Where the log leads.
    head: Head,
    /// What the document says.
    doc: Head,
    /// About how many owner names the document's state has.
    names: u64,
    /// The document's packs: bases, then deltas.
    places: Vec<Place>,
    /// Changes behind the document's state, the newest of each RRset, with the commit's revision.
    recent: BTreeMap<(Name, RecordType), (u64, Change)>,
    /// The revision from which they lead on.
    recent_from: u64,
}

/// A bundle of the document.
#[derive(Clone, Copy, Debug, Default)]
struct BundleBook {
    /// Its length.
    len: u32,
    /// Octets of packs in it that zones name.
    live: u64,
}

/// What is to be done for one zone in a version.
#[derive(Debug)]
pub(super) struct Work {
    /// The zone.
    pub(super) apex: Name,
    /// What it is in the log.
    pub(super) head: Head,
    /// What to do.
    pub(super) kind: WorkKind,
}

/// What to do for a zone.
#[derive(Debug)]
pub(super) enum WorkKind {
    /// Read it from the source, as a whole.
    Base,
    /// Put these changes into a delta behind the packs that the zone has.
    Delta {
        /// The changes, in canonical order.
        changes: Vec<Change>,
        /// The packs that it has.
        places: Vec<Place>,
    },
    /// Take it out.
    Remove,
}

/// What became of the work for one zone.
#[derive(Debug)]
pub(super) struct Built {
    /// The zone.
    pub(super) apex: Name,
    /// What it is in the document now.
    pub(super) doc: Head,
    /// About how many owner names it has; `None` as many as before.
    pub(super) names: Option<u64>,
    /// Where all its packs lie.
    pub(super) places: Vec<Place>,
}

/// What a feed says.
#[derive(Debug)]
pub(super) struct Book {
    /// The key of all digests.
    key: DigestKey,
    /// The zones, and those that are gone and that an index still tells of.
    zones: HashMap<Name, ZoneBook>,
    /// The bundles that zones name.
    bundles: HashMap<Hash, BundleBook>,
    /// Zones whose changes are to go into a version.
    dirty: BTreeSet<Name>,
    /// Zones that must be read as a whole, or taken out.
    urgent: BTreeSet<Name>,
    /// The sum of all zones in the log.
    sum: u128,
    /// How many zones there are in the log.
    count: u64,
    /// The sum of all zones in the document.
    doc_sum: u128,
    /// How many zones there are in the document.
    doc_count: u64,
}

impl ZoneBook {
    /// Whether the changes that are remembered lead on from the document, so that none is missing.
    fn is_recent_whole(&self) -> bool {
        !self.recent.is_empty() && self.recent_from <= self.doc.revision
    }
}

impl Book {
    /// An empty book.
    pub(super) fn new(key: DigestKey) -> Self {
        Self {
            key,
            zones: HashMap::new(),
            bundles: HashMap::new(),
            dirty: BTreeSet::new(),
            urgent: BTreeSet::new(),
            sum: 0,
            count: 0,
            doc_sum: 0,
            doc_count: 0,
        }
    }

    /// The key of all digests.
    pub(super) fn key(&self) -> DigestKey {
        self.key
    }

    /// The sum of all zones in the log, and how many there are.
    pub(super) fn log_sum(&self) -> (u128, u64) {
        (self.sum, self.count)
    }

    /// The sum of all zones in the document, and how many there are.
    pub(super) fn doc_sum(&self) -> (u128, u64) {
        (self.doc_sum, self.doc_count)
    }

    /// What a zone is in the log.
    pub(super) fn head(&self, apex: &Name) -> Head {
        self.zones.get(apex).map_or_else(Head::default, |zone| zone.head)
    }

    /// Whether the document has a zone.
    pub(super) fn is_in_doc(&self, apex: &Name) -> bool {
        self.zones.get(apex).is_some_and(|zone| zone.doc.is_there)
    }

    /// What a zone is in the document.
    pub(super) fn doc(&self, apex: &Name) -> Head {
        self.zones.get(apex).map_or_else(Head::default, |zone| zone.doc)
    }

    /// Where the packs of a zone lie.
    pub(super) fn places(&self, apex: &Name) -> Vec<Place> {
        self.zones.get(apex).map(|zone| zone.places.clone()).unwrap_or_default()
    }

    /// Every zone that is in the log or the document.
    pub(super) fn apexes(&self) -> impl Iterator<Item = &Name> {
        self.zones.keys()
    }

    /// How many zones there are in log or document, those included that are gone.
    pub(super) fn len(&self) -> usize {
        self.zones.len()
    }

    /// Takes a row of a version that was written before and holds at the revision `at`.
    pub(super) fn adopt(&mut self, row: IndexRow, bundles: &[BundleRef], at: u64) {
        let Some(zone) = row.zone else { return };
        let doc = Head {
            revision: row.revision,
            serial: zone.serial,
            digest: zone.digest,
            is_there: true,
        };
        let places = zone.packs.iter().filter_map(|place| {
            let bundle = *bundles.get(place.bundle as usize)?;
            let PackPlace { offset, len, is_delta, .. } = *place;
            Some(Place { bundle, offset, len, is_delta })
        });
        let built = Built {
            apex: row.apex.clone(),
            doc,
            names: Some(zone.names),
            places: places.collect(),
        };
        // A zone that was read later is further than the log: those who follow it are not, and must be
        // told how to get there.
        if doc.revision <= at {
            self.set_head(&row.apex, doc);
        }
        if built.places.is_empty() {
            // It could not be built.
            self.want(&row.apex);
        }
        self.put_doc(built);
    }

    /// Notes where the log leads for a zone.
    pub(super) fn set_head(&mut self, apex: &Name, head: Head) {
        let zone = self.zones.entry(apex.clone()).or_default();
        if zone.head.is_there {
            self.sum =
                self.sum.wrapping_sub(self.key.zone(apex, zone.head.revision, zone.head.digest));
            self.count -= 1;
        }
        if head.is_there {
            self.sum = self.sum.wrapping_add(self.key.zone(apex, head.revision, head.digest));
            self.count += 1;
        }
        zone.head = head;
    }

    /// Remembers changes of a zone that lead to its head from the one `before`, until a version has them.
    pub(super) fn remember(&mut self, apex: &Name, before: u64, changes: Vec<Change>) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let revision = zone.head.revision;
        if revision <= zone.doc.revision {
            return;
        }
        if zone.recent.is_empty() {
            zone.recent_from = before;
        }
        for change in changes {
            zone.recent.insert((change.owner().clone(), change.rtype()), (revision, change));
        }
        if zone.recent.len() > ZONE_RECENT_MAX {
            self.urgent.insert(apex.clone());
        } else {
            self.dirty.insert(apex.clone());
        }
    }

    /// Notes that what the document says of a zone is of another history: its revision is no measure for
    /// those of this one.
    pub(super) fn disown(&mut self, apex: &Name) {
        let doc = Head { revision: 0, ..self.doc(apex) };
        if doc.is_there {
            self.put_doc(Built { apex: apex.clone(), doc, names: None, places: self.places(apex) });
        }
    }

    /// Notes that a zone must be read as a whole, or taken out if it is gone.
    pub(super) fn want(&mut self, apex: &Name) {
        self.urgent.insert(apex.clone());
    }

    /// Whether a version should be written without delay.
    pub(super) fn is_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Whether the document lacks something that the log has.
    pub(super) fn is_behind(&self) -> bool {
        self.is_urgent() || !self.dirty.is_empty()
    }

    /// Returns all that the next version is to have.
    pub(super) fn plan(&mut self) -> Vec<Work> {
        let mut works = Vec::with_capacity(self.urgent.len() + self.dirty.len());
        for apex in std::mem::take(&mut self.urgent) {
            self.dirty.remove(&apex);
            let head = self.head(&apex);
            let kind = if head.is_there { WorkKind::Base } else { WorkKind::Remove };
            works.push(Work { apex, head, kind });
        }
        for apex in std::mem::take(&mut self.dirty) {
            let Some(zone) = self.zones.get_mut(&apex) else { continue };
            let head = zone.head;
            if zone.doc.is_there && zone.doc.revision >= head.revision {
                // It was read later than its last change: the document is further than the log.
                continue;
            }
            let kind = match (head.is_there, zone.doc.is_there) {
                (false, _) => WorkKind::Remove,
                (true, true) if zone.is_recent_whole() => {
                    let recent = std::mem::take(&mut zone.recent);
                    let changes = recent.into_values().map(|(_, change)| change).collect();
                    WorkKind::Delta { changes, places: zone.places.clone() }
                }
                (true, _) => WorkKind::Base,
            };
            works.push(Work { apex, head, kind });
        }
        works
    }

    /// Notes that the work for some zones came to nothing: their changes are not known any more.
    pub(super) fn fail(&mut self, apexes: impl IntoIterator<Item = Name>) {
        self.urgent.extend(apexes);
    }

    /// Whether the document is behind the log in a zone.
    pub(super) fn is_lacking(&self, apex: &Name) -> bool {
        self.zones.get(apex).is_some_and(|zone| {
            zone.doc.revision < zone.head.revision || zone.doc.is_there != zone.head.is_there
        })
    }

    /// Has the document say of zones what the log says, though they could not be built; returns of which.
    /// They have no packs then: whoever builds them finds that they differ.
    pub(super) fn put_unbuilt(&mut self, apexes: &[Name]) -> Vec<Name> {
        let lacking = apexes.iter().filter(|apex| self.is_lacking(apex));
        let lacking: Vec<Name> = lacking.cloned().collect();
        for apex in &lacking {
            let doc = self.head(apex);
            self.put_doc(Built { apex: apex.clone(), doc, names: None, places: Vec::new() });
        }
        lacking
    }

    /// Takes what was built into the document.
    pub(super) fn put_doc(&mut self, built: Built) {
        let Built { apex, doc, names, places } = built;
        let zone = self.zones.entry(apex.clone()).or_default();
        let before = std::mem::replace(&mut zone.doc, doc);
        zone.names = names.unwrap_or(zone.names);
        let old = std::mem::replace(&mut zone.places, places);
        zone.recent.retain(|_, (revision, _)| *revision > doc.revision);
        if before.is_there {
            let mark = self.key.zone(&apex, before.revision, before.digest);
            self.doc_sum = self.doc_sum.wrapping_sub(mark);
            self.doc_count -= 1;
        }
        if doc.is_there {
            self.doc_sum =
                self.doc_sum.wrapping_add(self.key.zone(&apex, doc.revision, doc.digest));
            self.doc_count += 1;
        }
        for place in &zone.places {
            let bundle = self.bundles.entry(place.bundle.hash).or_default();
            bundle.len = place.bundle.len;
            bundle.live += u64::from(place.len);
        }
        if zone.head.revision > doc.revision {
            let rest = if zone.is_recent_whole() { &mut self.dirty } else { &mut self.urgent };
            rest.insert(apex);
        }
        for place in old {
            self.release(&place);
        }
    }

    /// Notes that a pack is of no use any more.
    fn release(&mut self, place: &Place) {
        let Some(bundle) = self.bundles.get_mut(&place.bundle.hash) else { return };
        bundle.live = bundle.live.saturating_sub(u64::from(place.len));
        if bundle.live == 0 {
            self.bundles.remove(&place.bundle.hash);
        }
    }

    /// Forgets a zone that is gone and that no index tells of any more.
    pub(super) fn forget(&mut self, apex: &Name) {
        if self.zones.get(apex).is_some_and(|zone| !zone.head.is_there && !zone.doc.is_there) {
            self.zones.remove(apex);
        }
    }

    /// Asks for new bases of zones in bundles that are of little use, some at a time.
    pub(super) fn compact(&mut self) {
        let mut wasted: HashMap<Hash, u32> = HashMap::new();
        let mut octets = 0;
        for (hash, bundle) in &self.bundles {
            let is_wasted = bundle.live * 2 < u64::from(bundle.len);
            if is_wasted && octets < COMPACT_OCTETS_MAX {
                octets += bundle.live;
                wasted.insert(*hash, bundle.len);
            }
        }
        if wasted.is_empty() {
            return;
        }
        for (apex, zone) in &self.zones {
            // A new base of a large zone costs more than what is left of a delta: its next change replaces
            // that.
            let bases = zone.places.iter().filter(|place| !place.is_delta);
            let is_large =
                bases.map(|place| u64::from(place.len)).sum::<u64>() > COMPACT_OCTETS_MAX;
            let is_wasted = |place: &Place| {
                wasted.contains_key(&place.bundle.hash) && !(place.is_delta && is_large)
            };
            if zone.places.iter().any(is_wasted) {
                self.urgent.insert(apex.clone());
            }
        }
    }

    /// The bundles that are in use.
    pub(super) fn bundles(&self) -> impl Iterator<Item = &Hash> {
        self.bundles.keys()
    }

    /// Returns the zones of which some pack lies in one of these bundles.
    pub(super) fn zones_in(&self, bundles: &std::collections::HashSet<Hash>) -> Vec<Name> {
        let is_in =
            |zone: &ZoneBook| zone.places.iter().any(|place| bundles.contains(&place.bundle.hash));
        self.zones.iter().filter(|(_, zone)| is_in(zone)).map(|(apex, _)| apex.clone()).collect()
    }

    /// Writes the row of a zone; bundles that it names are put into the list if they are not there.
    pub(super) fn row(
        &self,
        apex: &Name,
        bundles: &mut Vec<BundleRef>,
        known: &mut HashMap<Hash, u32>,
    ) -> IndexRow {
        let Some(zone) = self.zones.get(apex).filter(|zone| zone.doc.is_there) else {
            let revision = self.zones.get(apex).map_or(0, |zone| zone.doc.revision);
            return IndexRow { apex: apex.clone(), revision, zone: None };
        };
        let packs = zone.places.iter().map(|place| {
            let bundle = *known.entry(place.bundle.hash).or_insert_with(|| {
                bundles.push(place.bundle);
                bundles.len() as u32 - 1
            });
            let Place { offset, len, is_delta, .. } = *place;
            PackPlace { bundle, offset, len, is_delta }
        });
        let row = ZoneRow {
            serial: zone.doc.serial,
            digest: zone.doc.digest,
            names: zone.names,
            packs: packs.collect(),
        };
        IndexRow { apex: apex.clone(), revision: zone.doc.revision, zone: Some(row) }
    }
}
