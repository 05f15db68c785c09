//! Finds owners among the groups of a zone, and what hides them.
//!
//! The key of every eighth group lies in a list of its own, so short that it stays in the processor's
//! caches: of the groups themselves, which do not, a look-up touches a few neighbors.
//!
//! **Invariant:** a look-up allocates nothing.
//! **Not here:** what a name that is found, or not, means (`master::lint`, `master::hosts`).

use std::num::NonZeroUsize;

use super::groups::{Groups, Place};
use super::order::{self, Key, is_whole, sort_key};
use crate::name::{compare_canonical, is_at_or_below};

/// The groups by owner.
#[derive(Debug)]
pub(super) struct Owners<'a> {
    /// All groups, sorted.
    groups: &'a Groups,
    /// The apex in wire form.
    apex: &'a [u8],
    /// One for every [`STEP`] groups.
    marks: Vec<OwnerMark>,
}

/// What is known of a group whose index in order is a multiple of [`STEP`].
#[derive(Clone, Copy, Debug)]
struct OwnerMark {
    /// What it is sorted by.
    key: Key,
    /// Index of the last group before it that hides what is below it and is not hidden.
    cover: Option<NonZeroUsize>,
    /// Which of the groups from this one to the next mark are such groups; the lowest bit is this.
    covers: u8,
}

/// A name that is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'n> {
    /// Wire form in lower case.
    name: &'n [u8],
    /// What it is sorted by.
    key: Key,
}

impl<'a> Owners<'a> {
    /// Takes sorted groups, and those among them that hide what is below them and are not hidden,
    /// by their indices in order, ascending.
    pub(super) fn new(groups: &'a Groups, apex: &'a [u8], covers: &[usize]) -> Self {
        debug_assert!(covers.is_sorted());
        let (mut covers, mut cover) = (covers.iter().copied().peekable(), None);
        let marks = groups.order().chunks(STEP).enumerate().map(|(nth, places)| {
            let mut mark = OwnerMark { key: places[0].key, cover, covers: 0 };
            while let Some(index) = covers.next_if(|index| *index < (nth + 1) * STEP) {
                mark.covers |= 1 << (index % STEP);
                // The SOA comes before a DNAME beside it, so this is never the first of all.
                debug_assert!(index > 0);
                cover = NonZeroUsize::new(index);
            }
            mark
        });
        let marks = marks.collect();
        Self { groups, apex, marks }
    }

    /// Returns the apex in wire form.
    pub(super) fn apex(&self) -> &'a [u8] {
        self.apex
    }

    /// Makes ready to look for a name of the zone, in wire form and lower case.
    pub(super) fn sought<'n>(&self, name: &'n [u8]) -> Sought<'n> {
        debug_assert!(is_at_or_below(name, self.apex));
        Sought { name, key: sort_key(&name[..name.len() - self.apex.len()]) }
    }

    /// Returns the index in order of the first group whose owner is not before a name.
    pub(super) fn first_at(&self, sought: &Sought<'_>) -> usize {
        // The first mark that is not before it, and the first behind all that may share its key.
        let low = self.marks.partition_point(|mark| mark.key < sought.key);
        let high = match is_whole(sought.key) {
            true => low,
            false => low + self.marks[low..].partition_point(|mark| mark.key == sought.key),
        };
        let order = self.groups.order();
        let from = low.saturating_sub(1) * STEP;
        let to = (high * STEP).min(order.len());
        let is_before = |place: &Place| {
            let by_key = place.key.cmp(&sought.key);
            by_key.then_with(|| self.compare_names(place, sought)).is_lt()
        };
        let places = &order[from..to];
        from + match places.len() {
            // One after the other: the processor fetches all of them at once.
            ..=STEP => places.iter().position(|place| !is_before(place)).unwrap_or(places.len()),
            _ => places.partition_point(is_before),
        }
    }

    /// Compares the owner of a group with a name that has its key.
    fn compare_names(&self, place: &Place, sought: &Sought<'_>) -> std::cmp::Ordering {
        if is_whole(sought.key) {
            return std::cmp::Ordering::Equal;
        }
        compare_canonical(self.owner(place), sought.name)
    }

    /// Returns the groups of a name, of which [`Self::first_at`] has given the first.
    pub(super) fn places_at(&self, first: usize, sought: &Sought<'_>) -> &'a [Place] {
        let places = &self.groups.order()[first..];
        let is_same =
            |place: &&Place| place.key == sought.key && self.compare_names(place, sought).is_eq();
        &places[..places.iter().take_while(is_same).count()]
    }

    /// Whether there is a group at or below a name, whose [`Self::first_at`] is given.
    pub(super) fn exists_at(&self, first: usize, sought: &Sought<'_>) -> bool {
        let place = self.groups.order().get(first);
        place.is_some_and(|place| {
            order::is_at_or_below(place.key, sought.key)
                .unwrap_or_else(|| is_at_or_below(self.owner(place), sought.name))
        })
    }

    /// Returns what hides a name, whose [`Self::first_at`] is given: the NS or DNAME records of the
    /// ancestor next to the apex.
    pub(super) fn cover_at(&self, first: usize, sought: &Sought<'_>) -> Option<&'a Place> {
        let last = first.checked_sub(1)?;
        let mark = self.marks.get(last / STEP)?;
        let covers = mark.covers & (u8::MAX >> (STEP - 1 - last % STEP));
        let index = match covers.checked_ilog2() {
            Some(nth) => last / STEP * STEP + nth as usize,
            None => mark.cover?.get(),
        };
        // Of two that are not hidden none is below the other, so no earlier one is an ancestor.
        let place = &self.groups.order()[index];
        order::is_at_or_below(sought.key, place.key)
            .unwrap_or_else(|| is_at_or_below(sought.name, self.owner(place)))
            .then_some(place)
    }

    /// Returns a group's owner name in wire form.
    fn owner(&self, place: &Place) -> &'a [u8] {
        self.groups.owner(self.groups.at(place))
    }
}

impl<'n> Sought<'n> {
    /// Returns the name in wire form.
    pub(super) fn name(&self) -> &'n [u8] {
        self.name
    }
}

/// Groups between two marks: their places fill a few lines of the processor's caches.
const STEP: usize = 8;
const _: () = assert!(STEP == u8::BITS as usize, "a bit of a mark for each");

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::fmt::Write as _;

    use super::*;
    use crate::name::Name;
    use crate::record::RecordType;
    use crate::record::master::{MasterOptions, MasterReader};

    /// Names below the apex: many in a row, many that share a key, some in each other.
    fn labels() -> Vec<String> {
        let numbers = (0..40).map(|i| format!("a{i}"));
        let shared = (0..60).map(|i| format!("a-name-of-sixteen-octets-and-{i}"));
        let below = (0..50).map(|i| format!("{}.b{}", "x.".repeat(i % 3) + "y", i / 3));
        let others = ["\\000", "\\001.c", "0123456789abcde", "0123456789abcd", "z"];
        numbers.chain(shared).chain(below).chain(others.map(str::to_owned)).collect()
    }

    /// Reads a zone where every name has two RRsets and every third is delegated.
    fn groups(labels: &[String]) -> (Groups, Name) {
        let apex = Name::from_text("example.").unwrap();
        let mut text = "@ SOA ns h 1 2 3 4 5\n@ NS ns.test.\n".to_owned();
        for (nth, label) in labels.iter().enumerate() {
            let _ = writeln!(text, "{label} A 192.0.2.1\n{label} TXT x");
            if nth % 3 == 0 {
                let _ = writeln!(text, "{label} NS ns.test.");
            }
        }
        let mut groups = Groups::new("f".to_owned(), text.len());
        let mut reader = MasterReader::new(text.as_bytes(), &apex, MasterOptions::default());
        while let Some(head) = reader.read().unwrap() {
            groups.push(head, &reader).unwrap();
        }
        groups.settle().unwrap();
        (groups, apex)
    }

    #[test]
    fn what_is_found_is_what_a_walk_over_all_groups_finds() {
        let labels = labels();
        let (groups, apex) = groups(&labels);
        let owner = |place: &Place| groups.owner(groups.at(place));
        let order = groups.order();
        let mut covers: Vec<usize> = Vec::new();
        for (index, place) in order.iter().enumerate().skip(2) {
            let is_below = |cover: &usize| is_at_or_below(owner(place), owner(&order[*cover]));
            if place.rtype() == RecordType::NS && !covers.iter().any(is_below) {
                covers.push(index);
            }
        }
        assert!(covers.len() > 2 * STEP);
        let owners = Owners::new(&groups, apex.as_wire(), &covers);
        let more = ["{}", "below.{}", "a.b.{}", "{}x", "x{}", "{}\\000"];
        let texts =
            more.iter().flat_map(|more| labels.iter().map(|label| more.replace("{}", label)));
        let names = texts.map(|text| Name::from_text(&format!("{text}.example.")).unwrap());
        for name in names.chain([apex.clone()]) {
            let wire = name.as_wire();
            let sought = owners.sought(wire);
            let first = order
                .iter()
                .position(|place| compare_canonical(owner(place), wire) != Ordering::Less)
                .unwrap_or(order.len());
            assert_eq!(owners.first_at(&sought), first, "{name}");
            let count = order.iter().filter(|place| owner(place) == wire).count();
            assert_eq!(owners.places_at(first, &sought).len(), count, "{name}");
            let exists = order.iter().any(|place| is_at_or_below(owner(place), wire));
            assert_eq!(owners.exists_at(first, &sought), exists, "{name}");
            let hides = |cover: &&usize| {
                owner(&order[**cover]) != wire && is_at_or_below(wire, owner(&order[**cover]))
            };
            let cover = covers.iter().find(hides).map(|cover| order[*cover].index());
            let found = owners.cover_at(first, &sought).map(Place::index);
            assert_eq!(found, cover, "{name}");
        }
    }
}
