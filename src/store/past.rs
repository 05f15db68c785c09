//! What zones were at a revision of the past, from what the commits after it took away.
//!
//! Commits are taken in their order from that revision on: what the first of them took away is what was there. Of
//! an RRset that none of them touched, and of settings, it is what there is now. Rows of a generation change only
//! while a zone has it, so that one that a zone has left since (an import, a deletion) still has what it had then,
//! but for what was changed before it was left.
//!
//! **Invariant:** a commit that does not say what it took away is a gap, and nothing is said of what was before it.
//! **Not here:** how commits are read (`store::past_read`), making zones so again (`store::rollback`).

use std::collections::{BTreeMap, BTreeSet};

use super::generation::Generation;
use super::undo::{Before, UndoRow, UndoZone};
use super::zone_object::ZoneObject;
use crate::limits::PAST_RRSETS_MAX;
use crate::name::Name;
use crate::record::serial::is_newer;
use crate::record::{RdataList, RecordType};

/// What zones were at a revision.
#[derive(Debug)]
pub(super) struct Past {
    /// The revision.
    revision: u64,
    /// The zones that are asked for; none: all.
    wanted: Option<BTreeSet<Name>>,
    /// The zones that were changed since.
    zones: BTreeMap<Name, PastZone>,
    /// All commits up to this revision were taken.
    at: u64,
    /// RRsets of all zones that were something else, and these zones.
    count: usize,
    /// How many there may be.
    count_max: usize,
    /// The newest commit that does not say what it took away.
    gap: Option<u64>,
}

/// What one zone was that was changed since.
#[derive(Clone, Debug)]
pub(super) struct PastZone {
    /// What it was; none if there was no such zone.
    pub(super) was: Option<PastState>,
    /// The newest serial that it is known to have had since; 0 if none is.
    pub(super) serial: u32,
}

/// A zone as it was.
#[derive(Clone, Debug)]
pub(super) struct PastState {
    /// The generation that its rows stood under.
    pub(super) generation: Generation,
    /// Its settings and its SOA; none if they are those of now.
    pub(super) object: Option<Box<ZoneObject>>,
    /// RRsets that are something else under this generation now, as they were; none: there was none.
    pub(super) rows: PastRows,
    /// The object with which the zone left the generation last, and the revision.
    pub(super) left: Option<(Box<ZoneObject>, u64)>,
}

/// RRsets as they were, each its TTL in seconds and its records; none: there was none.
pub(super) type PastRows = BTreeMap<(Name, RecordType), Option<(u32, RdataList)>>;

/// Why it is not known what zones were.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PastFault {
    /// It is known from this revision on.
    NotKept(u64),
    /// More than [`PAST_RRSETS_MAX`] RRsets and zones were changed since.
    TooMany,
}

impl Past {
    /// Begins at a revision, for some zones or for all.
    pub(super) fn new(revision: u64, wanted: Option<BTreeSet<Name>>) -> Self {
        let (zones, count_max) = (BTreeMap::new(), PAST_RRSETS_MAX);
        Self { revision, wanted, zones, at: revision, count: 0, count_max, gap: None }
    }

    /// The revision up to which all commits were taken.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Takes the next commit, with what it took away, if it says so.
    pub(super) fn take(&mut self, revision: u64, undo: Option<Vec<UndoZone>>) {
        debug_assert!(revision > self.at, "commits come in their order, each once");
        self.at = revision;
        let Some(undo) = undo else {
            self.gap = Some(revision);
            self.zones.clear();
            self.count = 0;
            return;
        };
        // Behind a gap it is only of interest whether there is another one.
        if self.gap.is_some() || self.count > self.count_max {
            return;
        }
        for zone in undo {
            let is_wanted = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&zone.apex));
            if is_wanted {
                self.count += take_zone(&mut self.zones, revision, zone);
            }
        }
    }

    /// Passes over commits that are none of zones, up to a revision.
    pub(super) fn pass(&mut self, revision: u64) {
        self.at = self.at.max(revision);
    }

    /// The zones that were changed since, each as it was.
    ///
    /// # Errors
    /// Every [`PastFault`].
    pub(super) fn zones(&self) -> Result<&BTreeMap<Name, PastZone>, PastFault> {
        debug_assert!(self.at >= self.revision, "commits are taken forwards");
        match self.gap {
            Some(gap) => Err(PastFault::NotKept(gap)),
            None if self.count > self.count_max => Err(PastFault::TooMany),
            None => Ok(&self.zones),
        }
    }
}

impl PastState {
    /// Takes RRsets that a commit took away under a generation; returns how many were not known before.
    fn take_rows(&mut self, generation: Generation, rows: Vec<UndoRow>) -> usize {
        if generation != self.generation {
            return 0;
        }
        let known = self.rows.len();
        for UndoRow { owner, rtype, was } in rows {
            self.rows.entry((owner, rtype)).or_insert(was);
        }
        self.rows.len() - known
    }
}

/// Takes what a commit took away from one zone; returns how many RRsets that are, the zone counted as one.
fn take_zone(zones: &mut BTreeMap<Name, PastZone>, revision: u64, undo: UndoZone) -> usize {
    let UndoZone { apex, before, generation, rows } = undo;
    let (object, is_left) = match before {
        Before::Absent | Before::Same => (None, false),
        Before::Changed(ref object) => (Some(object), false),
        Before::Left(ref object) => (Some(object), true),
    };
    let known = zones.len();
    let zone = zones.entry(apex).or_insert_with(|| {
        let generation = object.map_or(generation, |object| object.generation);
        let state = PastState { generation, object: None, rows: PastRows::new(), left: None };
        PastZone { was: (before != Before::Absent).then_some(state), serial: 0 }
    });
    if let Some(object) = object
        && (zone.serial == 0 || is_newer(object.serial, zone.serial))
    {
        zone.serial = object.serial;
    }
    let Some(state) = &mut zone.was else { return zones.len() - known };
    if let Some(object) = object {
        // Without one before, it is the first that says what settings and SOA were.
        if state.object.is_none() {
            state.object = Some(object.clone());
        }
        if is_left && object.generation == state.generation {
            state.left = Some((object.clone(), revision));
        }
    }
    state.take_rows(generation, rows) + zones.len() - known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::zone_settings::ZoneSettings;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A zone of a commit; rows are owners with the last octet of an address, or none.
    fn zone(before: Before, generation: u64, rows: &[(&str, Option<u8>)]) -> UndoZone {
        let row = |(owner, was): &(&str, Option<u8>)| {
            let was = was.map(|last| (60, RdataList::new([[192, 0, 2, last]]).unwrap()));
            UndoRow { owner: name(owner), rtype: RecordType::A, was }
        };
        let rows = rows.iter().map(row).collect();
        UndoZone { apex: name("example"), before, generation: Generation::loose(generation), rows }
    }

    /// The object of the zone.
    fn object(generation: u64, serial: u32) -> Box<ZoneObject> {
        let settings = ZoneSettings::new(name("example"));
        let object = ZoneObject::new(settings, Generation::loose(generation), 7);
        Box::new(ZoneObject { serial, ..object })
    }

    /// What the zone was at revision 10, of commits from 11 on.
    fn past(commits: Vec<UndoZone>) -> PastZone {
        let mut past = Past::new(10, None);
        for (revision, zone) in (11..).zip(commits) {
            past.take(revision, Some(vec![zone]));
        }
        past.zones().unwrap()[&name("example")].clone()
    }

    /// The rows of a zone, as [`zone`] takes them.
    fn rows(state: &PastState) -> Vec<(String, Option<u8>)> {
        let last = |was: &(u32, RdataList)| *was.1.first().last().unwrap();
        state
            .rows
            .iter()
            .map(|((owner, _), was)| (owner.to_string(), was.as_ref().map(last)))
            .collect()
    }

    #[test]
    fn what_the_first_commit_took_away_is_what_was_there() {
        let zone = past(vec![
            zone(Before::Same, 1, &[("a.example", Some(1)), ("b.example", None)]),
            zone(Before::Same, 1, &[("a.example", Some(2)), ("b.example", Some(7))]),
            zone(Before::Changed(object(1, 5)), 1, &[("c.example", Some(3))]),
            zone(Before::Changed(object(1, 9)), 1, &[]),
        ]);
        let state = zone.was.unwrap();
        let expected = [("a.example", Some(1)), ("b.example", None), ("c.example", Some(3))];
        assert_eq!(rows(&state), expected.map(|(owner, was)| (owner.to_owned(), was)));
        assert_eq!((state.object.unwrap().serial, zone.serial), (5, 9));
        assert!(state.left.is_none() && state.generation == Generation::loose(1));
    }

    #[test]
    fn rows_of_another_generation_are_none_of_the_zone_and_those_of_its_own_are_also_later() {
        let zone = past(vec![
            zone(Before::Same, 1, &[("a.example", Some(1))]),
            zone(Before::Left(object(1, 5)), 2, &[]),
            zone(Before::Same, 2, &[("a.example", Some(2)), ("b.example", Some(2))]),
            // It is brought back, and a row of it changes by that.
            zone(Before::Left(object(2, 6)), 1, &[("c.example", Some(1))]),
            zone(Before::Same, 1, &[("d.example", None)]),
            zone(Before::Left(object(1, 8)), 3, &[]),
        ]);
        let state = zone.was.unwrap();
        let expected = [("a.example", Some(1)), ("c.example", Some(1)), ("d.example", None)];
        assert_eq!(rows(&state), expected.map(|(owner, was)| (owner.to_owned(), was)));
        let (left, at) = state.left.unwrap();
        assert_eq!((left.serial, at, zone.serial), (8, 16, 8));
    }

    #[test]
    fn a_zone_that_was_made_since_was_not_there_whatever_became_of_it() {
        let zone = past(vec![
            zone(Before::Absent, 1, &[]),
            zone(Before::Same, 1, &[("a.example", None)]),
            zone(Before::Left(object(1, 9)), 0, &[]),
        ]);
        assert!(zone.was.is_none());
        assert_eq!(zone.serial, 9);
    }

    #[test]
    fn nothing_is_said_of_what_was_before_a_gap() {
        let mut past = Past::new(10, None);
        past.take(11, Some(vec![zone(Before::Same, 1, &[("a.example", None)])]));
        assert!(past.zones().is_ok());
        past.take(15, None);
        past.take(18, None);
        past.take(19, Some(vec![zone(Before::Same, 1, &[("a.example", None)])]));
        assert_eq!(past.zones().unwrap_err(), PastFault::NotKept(18));
        assert_eq!(past.at(), 19);
    }

    #[test]
    fn more_than_memory_is_there_for_is_not_said() {
        let rows = [("a.example", None), ("b.example", None)];
        for (count_max, is_said) in [(2, false), (3, true), (4, true)] {
            let mut past = Past { count_max, ..Past::new(10, None) };
            past.take(11, Some(vec![zone(Before::Same, 1, &rows)]));
            past.take(12, Some(vec![zone(Before::Same, 1, &rows)]));
            assert_eq!(past.zones().err(), (!is_said).then_some(PastFault::TooMany), "{count_max}");
        }
    }

    #[test]
    fn zones_that_are_not_asked_for_are_passed_over() {
        let mut past = Past::new(10, Some([name("other")].into()));
        past.take(11, Some(vec![zone(Before::Same, 1, &[("a.example", None)])]));
        assert!(past.zones().unwrap().is_empty());
    }
}
