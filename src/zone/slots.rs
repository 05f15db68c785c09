//! Where the nodes of a shard stand, by hash: an array in the order of the hashes, with gaps.
//!
//! Each tag has a home, its part of the way through the array; a slot stands there or, behind the
//! others that wanted the same few places, a little further on. Since homes rise with the tags, the
//! tags rise all along the array: a look-up starts at the home and ends at the first tag that is not
//! smaller, whether the name is there or not.
//!
//! **Invariant:** tags never fall along the array, there is no gap between a home and a slot that belongs
//! there, and the last place is a gap.
//! **Not here:** the nodes (`zone::arena`), which shard a name belongs to (`zone::table`).

/// Where a node stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Slot {
    /// The low half of the hash.
    pub(super) tag: u32,
    /// Where in the arena the node starts.
    pub(super) at: u32,
}

impl Slot {
    /// Whether no node starts there: a gap's tag says that no tag is greater.
    #[inline(always)]
    pub(super) fn is_gap(self) -> bool {
        self.at == GAP.at
    }
}

/// A gap: no tag is greater, and no node starts there.
const GAP: Slot = Slot { tag: u32::MAX, at: u32::MAX };

/// The slots of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    /// Slots and gaps; empty if there is no slot.
    places: Vec<Slot>,
    /// How many homes there are: places but for those that follow the last home.
    homes: u32,
    /// How many slots there are.
    used: u32,
}

impl Slots {
    /// Spreads slots over an array of four homes for each three.
    pub(super) fn spread(slots: impl ExactSizeIterator<Item = Slot>) -> Self {
        let used = slots.len();
        let mut spread = Self::with_homes(used);
        slots.for_each(|slot| spread.place(slot));
        spread.places.shrink_to_fit();
        debug_assert_eq!(spread.len(), used);
        spread
    }

    /// Returns how many slots there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.used as usize
    }

    /// Returns how many octets the array takes in memory.
    pub(super) fn memory_octets(&self) -> usize {
        self.places.capacity() * size_of::<Slot>()
    }

    /// Iterates over the slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.places.iter().copied().filter(|slot| !slot.is_gap())
    }

    /// Iterates over where the nodes start, to change it.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut u32> {
        self.places.iter_mut().filter(|slot| !slot.is_gap()).map(|slot| &mut slot.at)
    }

    /// Returns the first slot from a place on, and its place.
    pub(super) fn at_or_behind(&self, index: usize) -> Option<(usize, Slot)> {
        let mut places = self.places.iter().copied().enumerate().skip(index);
        places.find(|(_, slot)| !slot.is_gap())
    }

    /// Returns the places from the home of a tag on: smaller tags, those of this tag, others.
    #[inline]
    pub(super) fn run_at_home(&self, tag: u32) -> &[Slot] {
        self.places.get(self.home(tag)..).unwrap_or_default()
    }

    /// Returns where the first node of a tag starts.
    #[inline]
    pub(super) fn first(&self, tag: u32) -> Option<u32> {
        self.find(tag, |_| true).map(|index| self.at(index))
    }

    /// Looks for the node of a tag that `is_it` knows by where it starts; returns its place.
    #[inline]
    pub(super) fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let places = self.places.iter().enumerate().skip(self.home(tag));
        places
            .skip_while(|(_, slot)| slot.tag < tag)
            .take_while(|(_, slot)| slot.tag == tag && !slot.is_gap())
            .find_map(|(index, slot)| is_it(slot.at).then_some(index))
    }

    /// Reads the home of a tag, to have it in the caches.
    #[inline]
    pub(super) fn touch(&self, tag: u32) -> u8 {
        self.places.get(self.home(tag)).map_or(0, |slot| slot.at as u8)
    }

    /// Returns where the node of the slot in a place starts.
    pub(super) fn at(&self, index: usize) -> u32 {
        debug_assert_ne!(self.places[index], GAP);
        self.places[index].at
    }

    /// Has the slot in a place lead to a node that starts at `at`.
    pub(super) fn set_at(&mut self, index: usize, at: u32) {
        debug_assert_ne!(self.places[index], GAP);
        self.places[index].at = at;
    }

    /// Adds a slot, with more homes first where too few would be free.
    pub(super) fn insert(&mut self, slot: Slot) {
        if self.used as usize * 7 >= self.homes as usize * 6 {
            self.cut_anew(self.len() + 1);
        }
        self.place(slot);
    }

    /// Removes the slot in a place; those behind it that are not at home move up.
    pub(super) fn remove(&mut self, mut index: usize) {
        debug_assert_ne!(self.places[index], GAP);
        while let Some(&next) = self.places.get(index + 1) {
            if next == GAP || self.home(next.tag) > index {
                break;
            }
            self.places[index] = next;
            index += 1;
        }
        self.places[index] = GAP;
        self.used -= 1;
    }

    /// Cuts the array anew if most of it is gaps, and to size.
    pub(super) fn shrink(&mut self) {
        if self.len() * 3 < self.homes as usize {
            self.cut_anew(self.len());
        }
        self.places.shrink_to_fit();
    }

    /// Spreads all slots over an array that is right for `count`.
    fn cut_anew(&mut self, count: usize) {
        let mut anew = Self::with_homes(count);
        self.iter().for_each(|slot| anew.place(slot));
        *self = anew;
    }

    /// Makes an array with room for `count` slots; none for none.
    fn with_homes(count: usize) -> Self {
        if count == 0 {
            return Self::default();
        }
        let homes = count + count / 3 + 1;
        let homes_u32 = u32::try_from(homes).expect("a shard's arena stays below 4 GiB");
        Self { places: vec![GAP; homes + 1], homes: homes_u32, used: 0 }
    }

    /// Puts a slot behind all of smaller tags; those of greater ones make room for it.
    fn place(&mut self, slot: Slot) {
        debug_assert_ne!(slot, GAP);
        let mut index = self.home(slot.tag);
        while self.places[index].tag < slot.tag {
            index += 1;
        }
        let mut moved = slot;
        while moved != GAP {
            std::mem::swap(&mut self.places[index], &mut moved);
            index += 1;
            if index == self.places.len() {
                self.places.push(GAP);
            }
        }
        self.used += 1;
    }

    /// Returns where to look for a tag first: the tag spread over the homes.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * u64::from(self.homes)) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::seeded::Seeded;

    /// Whether the module's invariant holds.
    fn check(slots: &Slots, expected: &BTreeMap<u32, u32>) {
        let all: Vec<Slot> = slots.iter().collect();
        assert!(all.windows(2).all(|pair| pair[0].tag <= pair[1].tag));
        assert_eq!((all.len(), slots.len()), (expected.len(), expected.len()));
        assert!(slots.places.last().is_none_or(|slot| *slot == GAP));
        for (index, slot) in slots.places.iter().enumerate().filter(|(_, slot)| !slot.is_gap()) {
            let home = slots.home(slot.tag);
            assert!(home <= index && slots.places[home..index].iter().all(|slot| *slot != GAP));
        }
        for (&at, &tag) in expected {
            let found = slots.find(tag, |there| there == at).map(|index| slots.at(index));
            assert_eq!(found, Some(at), "tag {tag}");
            assert_eq!(slots.find(tag, |_| false), None);
        }
    }

    #[test]
    fn slots_come_and_go_and_are_found_by_their_tags() {
        let mut random = Seeded(1);
        // Tags of all kinds: far apart, equal ones, and all of them at either end.
        for (mask, base) in [(u32::MAX, 0), (7, 0), (7, u32::MAX - 7), (0xff, u32::MAX / 2)] {
            let (mut slots, mut expected) = (Slots::default(), BTreeMap::new());
            for at in 0..3_000 {
                if random.below(5) < 3 {
                    let tag = base + (random.word() as u32 & mask);
                    slots.insert(Slot { tag, at });
                    expected.insert(at, tag);
                } else if let Some((&at, &tag)) = expected.iter().next() {
                    let index = slots.find(tag, |there| there == at).expect("was put");
                    slots.remove(index);
                    expected.remove(&at);
                }
                if at % 97 == 0 {
                    slots.shrink();
                    check(&slots, &expected);
                }
            }
            let again = expected.iter().map(|(at, tag)| Slot { tag: *tag, at: *at });
            check(&Slots::spread(again), &expected);
            while let Some((at, tag)) = expected.pop_first() {
                slots.remove(slots.find(tag, |there| there == at).expect("was put"));
            }
            slots.shrink();
            check(&slots, &expected);
            assert_eq!(slots.memory_octets(), 0);
        }
    }

    #[test]
    fn a_look_up_takes_few_steps_whether_the_tag_is_there_or_not() {
        let tags = (0..1_000_u32).map(|index| index.wrapping_mul(0x9e37_79b9) ^ index << 7);
        let slots = Slots::spread(
            tags.clone().map(|tag| Slot { tag, at: 1 }).collect::<Vec<_>>().into_iter(),
        );
        let steps = |tag: u32| {
            let places = &slots.places[slots.home(tag)..];
            places.iter().take_while(|slot| slot.tag < tag).count()
        };
        let there: usize = tags.map(steps).sum();
        let absent: usize =
            (0..1_000).map(|index: u32| steps(index.wrapping_mul(0x85eb_ca6b))).sum();
        assert!(there < 3_000 && absent < 3_000, "{there} {absent}");
    }
}
