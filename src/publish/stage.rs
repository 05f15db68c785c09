//! What each source has of every apex, and which of it is served.
//!
//! A node has zones from files, from a store, from a feed. Where two sources have the same apex, the zone
//! of the higher [`Rank`] is served, and that of the lower one waits behind it: a file that goes uncovers
//! the store's zone as it is by then. An apex that a source has and cannot serve is held, unless
//! another source has a zone there.
//!
//! Nothing is kept here of an apex that one source alone has, if that is the usual one: the catalog has it.
//!
//! Of the usual source it may be said that nobody is there who knows whether its zones are old: they are stale,
//! and single ones of them expire, which are held as they go on, until they are revived.
//!
//! **Invariant:** what the catalog has at an apex is the zone of the highest rank that has one, else the hold
//! of the highest that holds; changes of one call become visible together, or not at all.
//! **Not here:** the pointer that readers load ([`Publisher`]), what a source reads and when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Publisher, Reader};
use crate::catalog::{AtApex, Catalog, CatalogChange, HoldReason};
use crate::name::Name;
use crate::zone::{HashSeed, Zone};

/// A source of zones; a later one precedes those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rank {
    /// Zones of a feed.
    Feed,
    /// Zones of the store.
    Store,
    /// Zones of files.
    File,
}

/// How many ranks there are.
const RANKS: usize = 3;

/// Decides what is served.
#[derive(Debug)]
pub struct Stage {
    /// Serves it.
    publisher: Publisher,
    /// The source of all apexes that are not in `shared`.
    usual: Rank,
    /// Apexes that another source has, too or alone, or of which the usual one's zone has expired; the lock makes
    /// deciding serial.
    shared: Mutex<HashMap<Name, Entries>>,
    /// Whether the usual source's zones are stale; changed under that lock.
    is_stale: AtomicBool,
}

/// What every source has at an apex.
type Entries = [Option<StagedEntry>; RANKS];

/// What a source has at an apex.
#[derive(Clone, Debug)]
enum StagedEntry {
    /// A zone.
    Zone(Arc<Zone>),
    /// Nothing that it can serve.
    Held(HoldReason),
    /// A zone that is too old to be served.
    Expired(Arc<Zone>),
}

impl Stage {
    /// An empty stage, of which most apexes will be of the `usual` source: of those nothing is kept beside
    /// the catalog.
    pub fn new(seed: HashSeed, usual: Rank) -> Self {
        let (publisher, shared) = (Publisher::new(seed), Mutex::default());
        Self { publisher, usual, shared, is_stale: AtomicBool::new(false) }
    }

    /// Makes a reader of what is served.
    pub fn reader(&self) -> Reader {
        self.publisher.reader()
    }

    /// Returns what is served.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.publisher.catalog()
    }

    /// Returns the zone that a source has at an apex, served or not, to derive the next one from.
    pub fn zone(&self, rank: Rank, apex: &Name) -> Option<Arc<Zone>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.get(apex) {
            Some(entries) => match &entries[rank as usize] {
                Some(StagedEntry::Zone(zone) | StagedEntry::Expired(zone)) => {
                    Some(Arc::clone(zone))
                }
                Some(StagedEntry::Held(_)) | None => None,
            },
            None if rank == self.usual => self.publisher.catalog().zone(apex).cloned(),
            None => None,
        }
    }

    /// Takes what a source has from now on, and serves what is to be served then: all at once.
    pub fn publish(&self, rank: Rank, changes: Vec<CatalogChange>) {
        let whole = |change| (change, 1);
        self.publish_edits(rank, changes.into_iter().map(whole).collect());
    }

    /// Does so with changes in each of which so many changes of RRsets or zones were made. Those of an
    /// apex that another source covers are not counted: nobody sees them.
    pub fn publish_edits(&self, rank: Rank, changes: Vec<(CatalogChange, u64)>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = self.publisher.catalog();
        let (mut visible, mut touched) = (Vec::with_capacity(changes.len()), Vec::new());
        let mut visible_count = 0;
        for (change, change_count) in changes {
            let apex = change.apex();
            let is_alone = rank == self.usual && !shared.contains_key(apex);
            if is_alone {
                visible_count += change_count;
                visible.push(change);
                continue;
            }
            let apex = apex.clone();
            touched.push(apex.clone());
            let entries = self.entries_at(&mut shared, &catalog, &apex);
            let made = change_entries(entries, &apex, |entries| {
                let own = &mut entries[rank as usize];
                *own = match change {
                    // It is no younger for having been built anew.
                    CatalogChange::Put(zone) if matches!(own, Some(StagedEntry::Expired(_))) => {
                        Some(StagedEntry::Expired(zone))
                    }
                    CatalogChange::Put(zone) => Some(StagedEntry::Zone(zone)),
                    CatalogChange::Hold(_, reason) => Some(StagedEntry::Held(reason)),
                    CatalogChange::Remove(_) => None,
                };
            });
            if let Some(made) = made {
                visible_count += change_count;
                visible.push(made);
            }
        }
        self.settle(&mut shared, (visible, visible_count), touched);
    }

    /// Says whether the zones of the usual source are stale.
    pub fn set_stale(&self, is_stale: bool) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stale.swap(is_stale, Ordering::Relaxed) != is_stale {
            self.publisher.publish_staleness(is_stale.then(|| self.fresh(&shared)));
        }
    }

    /// Holds zones of the usual source that are too old to be served: what it makes of them from now on is held,
    /// too, until [`Stage::revive`].
    pub fn expire(&self, apexes: Vec<Name>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = self.publisher.catalog();
        let mut visible = Vec::new();
        for apex in &apexes {
            let entries = self.entries_at(&mut shared, &catalog, apex);
            visible.extend(change_entries(entries, apex, |entries| {
                let own = &mut entries[self.usual as usize];
                if let Some(StagedEntry::Zone(zone)) = own {
                    *own = Some(StagedEntry::Expired(Arc::clone(zone)));
                }
            }));
        }
        self.settle(&mut shared, (visible, 0), apexes);
    }

    /// Serves again what has expired; returns how many zones that were.
    pub fn revive(&self) -> usize {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut visible, mut touched) = (Vec::new(), Vec::new());
        for (apex, entries) in shared.iter_mut() {
            let Some(StagedEntry::Expired(zone)) = &entries[self.usual as usize] else { continue };
            let zone = Arc::clone(zone);
            touched.push(apex.clone());
            visible.extend(change_entries(entries, apex, |entries| {
                entries[self.usual as usize] = Some(StagedEntry::Zone(zone));
            }));
        }
        let count = touched.len();
        self.settle(&mut shared, (visible, 0), touched);
        count
    }

    /// Returns what the sources have at an apex.
    fn entries_at<'s>(
        &self,
        shared: &'s mut HashMap<Name, Entries>,
        catalog: &Catalog,
        apex: &Name,
    ) -> &'s mut Entries {
        shared.entry(apex.clone()).or_insert_with(|| {
            let mut entries = [const { None }; RANKS];
            entries[self.usual as usize] = catalog.at(apex).map(StagedEntry::of);
            entries
        })
    }

    /// Makes visible what has come of changes at some apexes, in which so many changes were made.
    fn settle(
        &self,
        shared: &mut HashMap<Name, Entries>,
        (visible, visible_count): (Vec<CatalogChange>, u64),
        touched: Vec<Name>,
    ) {
        self.publisher.publish_edits(visible, visible_count);
        for apex in &touched {
            assert!(self.shows(apex, shared.get(apex)), "{apex}: not what is to be served");
        }
        let has_touched = !touched.is_empty();
        // Only now the catalog says again what the usual source has.
        for apex in touched {
            if shared.get(&apex).is_some_and(|entries| self.is_usual(entries)) {
                shared.remove(&apex);
            }
        }
        if has_touched && self.is_stale.load(Ordering::Relaxed) {
            self.publisher.publish_staleness(Some(self.fresh(shared)));
        }
    }

    /// The hashes of the apexes of which another source than the usual one is served.
    fn fresh(&self, shared: &HashMap<Name, Entries>) -> Vec<u64> {
        let is_other = |entries: &Entries| {
            let mut others =
                entries.iter().enumerate().filter(|(at, _)| *at != self.usual as usize);
            let is_served = |entry: &Option<StagedEntry>| is_same(entry.as_ref(), served(entries));
            others.any(|(_, entry)| entry.is_some() && is_served(entry))
        };
        let seed = self.publisher.catalog().seed();
        let others = shared.iter().filter(|(_, entries)| is_other(entries));
        others.map(|(apex, _)| seed.name_hash(apex.as_wire())).collect()
    }

    /// Whether the catalog has at an apex what is served of the sources' entries.
    fn shows(&self, apex: &Name, entries: Option<&Entries>) -> bool {
        let shown = self.publisher.catalog().at(apex).map(StagedEntry::of);
        is_same(shown.as_ref(), entries.and_then(served))
    }

    /// Whether no source but the usual one has something, and the catalog has all of that.
    fn is_usual(&self, entries: &Entries) -> bool {
        let mut others = entries.iter().enumerate().filter(|(at, _)| *at != self.usual as usize);
        let is_expired = matches!(entries[self.usual as usize], Some(StagedEntry::Expired(_)));
        !is_expired && others.all(|(_, entry)| entry.is_none())
    }

    /// Frees replaced catalogs that no reader holds; returns how many are still held.
    pub fn free_retired(&self) -> usize {
        self.publisher.free_retired()
    }
}

impl StagedEntry {
    /// What a catalog has.
    fn of(at: &AtApex) -> Self {
        match at {
            AtApex::Zone(zone) => Self::Zone(Arc::clone(zone)),
            AtApex::Held(hold) => Self::Held(hold.reason),
        }
    }

    /// Why it cannot be served, if it cannot.
    fn hold_reason(&self) -> Option<HoldReason> {
        match self {
            Self::Zone(_) => None,
            Self::Held(reason) => Some(*reason),
            Self::Expired(_) => Some(HoldReason::Expired),
        }
    }
}

/// Changes what the sources have at an apex; returns what that changes of what is served.
fn change_entries(
    entries: &mut Entries,
    apex: &Name,
    change: impl FnOnce(&mut Entries),
) -> Option<CatalogChange> {
    let before = served(entries).cloned();
    change(entries);
    let after = served(entries);
    if is_same(before.as_ref(), after) {
        return None;
    }
    let apex = apex.clone();
    Some(match after {
        Some(StagedEntry::Zone(zone)) => CatalogChange::Put(Arc::clone(zone)),
        Some(StagedEntry::Held(reason)) => CatalogChange::Hold(apex, *reason),
        Some(StagedEntry::Expired(_)) => CatalogChange::Hold(apex, HoldReason::Expired),
        None => CatalogChange::Remove(apex),
    })
}

/// Returns which of what the sources have is served.
fn served(entries: &Entries) -> Option<&StagedEntry> {
    let highest_first = || entries.iter().rev().flatten();
    let zone = highest_first().find(|entry| matches!(entry, StagedEntry::Zone(_)));
    zone.or_else(|| highest_first().next())
}

/// Whether nothing changes.
fn is_same(before: Option<&StagedEntry>, after: Option<&StagedEntry>) -> bool {
    match (before, after) {
        (Some(StagedEntry::Zone(before)), Some(StagedEntry::Zone(after))) => {
            Arc::ptr_eq(before, after)
        }
        (Some(StagedEntry::Zone(_)), _) | (_, Some(StagedEntry::Zone(_))) => false,
        (Some(before), Some(after)) => before.hold_reason() == after.hold_reason(),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::{RecordType, Rrset, Soa};
    use crate::zone::build;

    const RANK_LIST: [Rank; RANKS] = [Rank::Feed, Rank::Store, Rank::File];

    fn zone(apex: &Name, serial: u8) -> Arc<Zone> {
        let rdata = Soa { serial: serial.into(), ..Soa::default() }.to_rdata();
        let soa = Rrset::new(apex.clone(), RecordType::SOA, 1, [rdata]).expect("one record");
        Arc::new(build(apex.clone(), HashSeed(1), vec![soa]).expect("has an SOA"))
    }

    /// What somebody who knows all sources would serve: serials of zones, or why there is none.
    type Known = BTreeMap<(Name, Rank), Result<u32, HoldReason>>;

    fn expected(known: &Known, apex: &Name) -> Option<Result<u32, HoldReason>> {
        let here = RANK_LIST.iter().rev().filter_map(|rank| known.get(&(apex.clone(), *rank)));
        here.clone().find(|entry| entry.is_ok()).or_else(|| here.clone().next()).copied()
    }

    fn shown(stage: &Stage, apex: &Name) -> Option<Result<u32, HoldReason>> {
        stage.catalog().at(apex).map(|at| match at {
            AtApex::Zone(zone) => Ok(zone.serial()),
            AtApex::Held(hold) => Err(hold.reason),
        })
    }

    /// Random words (SplitMix64).
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 8) as usize
    }

    #[test]
    fn whatever_three_sources_do_the_highest_zone_is_served() {
        let names = ["example", "a.example", "b.example", "test"];
        let apexes: Vec<Name> =
            names.iter().map(|name| Name::from_text(name).expect("a name")).collect();
        for usual in RANK_LIST {
            let (stage, mut known, mut random) =
                (Stage::new(HashSeed(1), usual), Known::new(), 7 + usual as u64);
            for step in 0..3_000_usize {
                let rank = RANK_LIST[next(&mut random) % RANKS];
                let mut changes = Vec::new();
                for _ in 0..1 + next(&mut random) % 3 {
                    let apex = &apexes[next(&mut random) % apexes.len()];
                    let serial = (step % 250) as u8;
                    let place = (apex.clone(), rank);
                    changes.push(match next(&mut random) % 4 {
                        0 => {
                            known.remove(&place);
                            CatalogChange::Remove(apex.clone())
                        }
                        1 => {
                            known.insert(place, Err(HoldReason::Broken));
                            CatalogChange::Hold(apex.clone(), HoldReason::Broken)
                        }
                        _ => {
                            known.insert(place, Ok(u32::from(serial)));
                            CatalogChange::Put(zone(apex, serial))
                        }
                    });
                }
                stage.publish(rank, changes);
                for apex in &apexes {
                    assert_eq!(shown(&stage, apex), expected(&known, apex), "{apex} {step}");
                    for rank in RANK_LIST {
                        let its = known.get(&(apex.clone(), rank));
                        let serial = stage.zone(rank, apex).map(|zone| zone.serial());
                        assert_eq!(serial, its.and_then(|its| its.ok()), "{apex} {rank:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_has_expired_is_held_and_goes_on_until_it_is_revived() {
        let names = ["example", "b.example", "test"];
        let [apex, covered, other] = names.map(|name| Name::from_text(name).expect("a name"));
        let stage = Stage::new(HashSeed(1), Rank::Feed);
        let put = |apex: &Name, serial| CatalogChange::Put(zone(apex, serial));
        stage.publish(Rank::Feed, vec![put(&apex, 1), put(&covered, 1), put(&other, 1)]);
        stage.publish(Rank::File, vec![put(&covered, 50)]);
        let none = Name::from_text("none").expect("a name");
        stage.expire(vec![apex.clone(), covered.clone(), none.clone()]);
        assert_eq!(shown(&stage, &apex), Some(Err(HoldReason::Expired)));
        assert_eq!(shown(&stage, &covered), Some(Ok(50)), "a file has no age");
        assert_eq!((shown(&stage, &other), shown(&stage, &none)), (Some(Ok(1)), None));
        // What the feed makes of them is there when they are back.
        stage.publish(Rank::Feed, vec![put(&apex, 2)]);
        assert_eq!(shown(&stage, &apex), Some(Err(HoldReason::Expired)));
        stage.publish(Rank::File, vec![CatalogChange::Remove(covered.clone())]);
        assert_eq!(shown(&stage, &covered), Some(Err(HoldReason::Expired)));
        assert_eq!(stage.zone(Rank::Feed, &apex).map(|zone| zone.serial()), Some(2));
        assert_eq!((stage.revive(), stage.revive()), (2, 0));
        assert_eq!((shown(&stage, &apex), shown(&stage, &covered)), (Some(Ok(2)), Some(Ok(1))));
        assert!(stage.shared.lock().expect("no panic").is_empty(), "nothing is kept of it");
    }

    #[test]
    fn zones_of_files_are_never_stale() {
        let [feed, file] = ["example", "test"].map(|name| Name::from_text(name).expect("a name"));
        let stage = Stage::new(HashSeed(1), Rank::Feed);
        let put = |apex: &Name| vec![CatalogChange::Put(zone(apex, 1))];
        stage.publish(Rank::Feed, put(&feed));
        stage.set_stale(true);
        stage.publish(Rank::File, put(&file));
        let is_stale = |apex: &Name| {
            let catalog = stage.catalog();
            catalog.has_stale() && catalog.is_stale(catalog.seed().name_hash(apex.as_wire()))
        };
        assert_eq!((is_stale(&feed), is_stale(&file)), (true, false));
        stage.publish(Rank::File, put(&feed));
        assert!(!is_stale(&feed), "a file covers it");
        stage.publish(Rank::File, vec![CatalogChange::Remove(feed.clone())]);
        assert!(is_stale(&feed));
        stage.set_stale(false);
        assert!(!stage.catalog().has_stale());
    }

    #[test]
    fn a_zone_that_is_covered_goes_on_and_is_there_when_it_is_uncovered() {
        let apex = Name::from_text("example").expect("a name");
        let stage = Stage::new(HashSeed(1), Rank::Store);
        stage.publish(Rank::Store, vec![CatalogChange::Put(zone(&apex, 1))]);
        stage.publish(Rank::File, vec![CatalogChange::Put(zone(&apex, 50))]);
        let publishes = stage.reader().stats().publishes;
        stage.publish(Rank::Store, vec![CatalogChange::Put(zone(&apex, 2))]);
        assert_eq!(stage.reader().stats().publishes, publishes, "nobody sees it");
        let other = Name::from_text("test").expect("a name");
        let changes = stage.reader().stats().changes;
        let put = |apex, count| (CatalogChange::Put(zone(apex, 2)), count);
        stage.publish_edits(Rank::Store, vec![put(&apex, 100), put(&other, 7)]);
        assert_eq!(stage.reader().stats().changes, changes + 7, "nobody sees the others");
        assert_eq!(shown(&stage, &apex), Some(Ok(50)));
        stage.publish(Rank::File, vec![CatalogChange::Remove(apex.clone())]);
        assert_eq!(shown(&stage, &apex), Some(Ok(2)));
        assert!(stage.shared.lock().expect("no panic").is_empty(), "nothing is kept of it");
    }
}
