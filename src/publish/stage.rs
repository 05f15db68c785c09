//! What each source has of every apex, and which of it is served.
//!
//! A node has zones from files, from a store, from a feed. Where two sources have the same apex, the zone
//! of the higher [`Rank`] is served, and that of the lower one waits behind it: a file that goes uncovers
//! the store's zone as it is by then. An apex that a source has and cannot serve is held, unless
//! another source has a zone there.
//!
//! Nothing is kept here of an apex that one source alone has, if that is the usual one: the catalog has it.
//!
//! **Invariant:** what the catalog has at an apex is the zone of the highest rank that has one, else the hold
//! of the highest that holds; changes of one call become visible together, or not at all.
//! **Not here:** the pointer that readers load ([`Publisher`]), what a source reads and when.

use std::collections::HashMap;
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
    /// Apexes that another source has, too or alone; the lock makes deciding serial.
    shared: Mutex<HashMap<Name, [Option<StagedEntry>; RANKS]>>,
}

/// What a source has at an apex.
#[derive(Clone, Debug)]
enum StagedEntry {
    /// A zone.
    Zone(Arc<Zone>),
    /// Nothing that it can serve.
    Held(HoldReason),
}

impl Stage {
    /// An empty stage, of which most apexes will be of the `usual` source: of those nothing is kept beside
    /// the catalog.
    pub fn new(seed: HashSeed, usual: Rank) -> Self {
        Self { publisher: Publisher::new(seed), usual, shared: Mutex::default() }
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
                Some(StagedEntry::Zone(zone)) => Some(Arc::clone(zone)),
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
            let entries = shared.entry(apex.clone()).or_insert_with(|| {
                let mut entries = [const { None }; RANKS];
                entries[self.usual as usize] = catalog.at(&apex).map(StagedEntry::of);
                entries
            });
            touched.push(apex.clone());
            let before = served(entries).cloned();
            entries[rank as usize] = match change {
                CatalogChange::Put(zone) => Some(StagedEntry::Zone(zone)),
                CatalogChange::Hold(_, reason) => Some(StagedEntry::Held(reason)),
                CatalogChange::Remove(_) => None,
            };
            let after = served(entries).cloned();
            if !is_same(before.as_ref(), after.as_ref()) {
                visible_count += change_count;
                visible.push(match after {
                    Some(StagedEntry::Zone(zone)) => CatalogChange::Put(zone),
                    Some(StagedEntry::Held(reason)) => CatalogChange::Hold(apex, reason),
                    None => CatalogChange::Remove(apex),
                });
            }
        }
        self.publisher.publish_edits(visible, visible_count);
        for apex in &touched {
            assert!(self.shows(apex, shared.get(apex)), "{apex}: not what is to be served");
        }
        // Only now the catalog says again what the usual source has.
        for apex in touched {
            if shared.get(&apex).is_some_and(|entries| self.is_usual(entries)) {
                shared.remove(&apex);
            }
        }
    }

    /// Whether the catalog has at an apex what is served of the sources' entries.
    fn shows(&self, apex: &Name, entries: Option<&[Option<StagedEntry>; RANKS]>) -> bool {
        let shown = self.publisher.catalog().at(apex).map(StagedEntry::of);
        is_same(shown.as_ref(), entries.and_then(served))
    }

    /// Whether no source but the usual one has something.
    fn is_usual(&self, entries: &[Option<StagedEntry>; RANKS]) -> bool {
        let mut others = entries.iter().enumerate().filter(|(at, _)| *at != self.usual as usize);
        others.all(|(_, entry)| entry.is_none())
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
}

/// Returns which of what the sources have is served.
fn served(entries: &[Option<StagedEntry>; RANKS]) -> Option<&StagedEntry> {
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
        (Some(StagedEntry::Held(before)), Some(StagedEntry::Held(after))) => before == after,
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
