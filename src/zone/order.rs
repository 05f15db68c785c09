//! Owner names in canonical order: keys that sort as names do, and sets of keys that share.
//!
//! A set is kept in chunks, so that an edit copies one of them. RFC 4034 section 6.1.
//!
//! **Invariant:** keys rise strictly, within a chunk and from one to the next; no chunk is empty.
//! **Not here:** which names are kept in order (`zone::denial`), hashed names (`zone::nsec3`).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::limits::NAME_OCTETS_MAX;
use crate::name::words::tail_word;

/// Sorted keys in chunks.
#[derive(Clone, Debug)]
pub struct Order<K> {
    /// The chunks.
    chunks: Box<[Arc<[K]>]>,
    /// What the first key of each begins with, side by side, so that a search stays among them.
    fronts: Box<[u64]>,
}

/// A key of an order of names.
pub(crate) type Key = Box<[u8]>;
/// A key under construction.
pub(crate) type KeyDraft = ArrayVec<u8, { 2 * NAME_OCTETS_MAX }>;
/// Labels in front of an apex.
pub(crate) type Prefix = ArrayVec<u8, NAME_OCTETS_MAX>;

impl<K> Default for Order<K> {
    fn default() -> Self {
        Self { chunks: Box::default(), fronts: Box::default() }
    }
}

impl<K: Borrow<[u8]> + Clone + Ord> Order<K> {
    /// Returns the greatest key that is not greater than `key`, else the greatest of all.
    pub fn at_or_before(&self, key: &[u8]) -> Option<&[u8]> {
        let Some(index) = self.chunk_of(key) else {
            return self.chunks.last().and_then(|chunk| chunk.last()).map(Borrow::borrow);
        };
        let chunk = &self.chunks[index];
        let after = chunk.partition_point(|other| other.borrow() <= key);
        debug_assert!(after > 0);
        Some(chunk[after - 1].borrow())
    }

    /// Returns the last chunk that does not begin behind `key`.
    fn chunk_of(&self, key: &[u8]) -> Option<usize> {
        let front = front_of(key);
        let first = self.fronts.partition_point(|other| *other < front);
        let alike = self.fronts[first..].partition_point(|other| *other == front);
        let chunks = &self.chunks[first..first + alike];
        let after = first + chunks.partition_point(|chunk| chunk[0].borrow() <= key);
        after.checked_sub(1)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Makes an order of keys that rise strictly.
    pub(super) fn from_sorted(keys: Vec<K>) -> Self {
        debug_assert!(keys.is_sorted_by(|a, b| a < b));
        let mut draft = OrderDraft::default();
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            draft.push(keys.by_ref().take(CHUNK_KEYS).collect());
        }
        draft.finish()
    }

    /// Returns the order with keys added (`true`) and removed (`false`).
    pub fn with_changes(&self, changes: &BTreeMap<K, bool>) -> Self {
        if changes.is_empty() {
            return self.clone();
        }
        if self.chunks.is_empty() {
            let keys = changes.iter().filter(|change| *change.1).map(|change| change.0.clone());
            return Self::from_sorted(keys.collect());
        }
        let mut by_chunk: BTreeMap<usize, Vec<(&K, bool)>> = BTreeMap::new();
        for (key, is_added) in changes {
            let index = self.chunk_of(key.borrow()).unwrap_or(0);
            by_chunk.entry(index).or_default().push((key, *is_added));
        }
        let mut draft = OrderDraft::default();
        for (index, (chunk, front)) in self.chunks.iter().zip(&self.fronts).enumerate() {
            let Some(changes) = by_chunk.get(&index) else {
                draft.chunks.push(Arc::clone(chunk));
                draft.fronts.push(*front);
                continue;
            };
            let mut keys = chunk.to_vec();
            for (key, is_added) in changes {
                match (keys.binary_search(key), is_added) {
                    (Err(at), true) => keys.insert(at, (*key).clone()),
                    (Ok(at), false) => drop(keys.remove(at)),
                    _ => {}
                }
            }
            // A chunk that has grown is cut; one that is empty goes.
            keys.chunks(CHUNK_KEYS * 2).for_each(|chunk| draft.push(Arc::from(chunk)));
        }
        draft.finish()
    }
}

/// An order under construction.
struct OrderDraft<K> {
    /// The chunks.
    chunks: Vec<Arc<[K]>>,
    /// What the first key of each begins with.
    fronts: Vec<u64>,
}

impl<K> Default for OrderDraft<K> {
    fn default() -> Self {
        Self { chunks: Vec::new(), fronts: Vec::new() }
    }
}

impl<K: Borrow<[u8]>> OrderDraft<K> {
    /// Appends a chunk, which is not empty.
    fn push(&mut self, chunk: Arc<[K]>) {
        self.fronts.push(front_of(chunk[0].borrow()));
        self.chunks.push(chunk);
    }

    /// Ends the order.
    fn finish(self) -> Order<K> {
        debug_assert!(self.fronts.is_sorted());
        Order { chunks: self.chunks.into(), fronts: self.fronts.into() }
    }
}

/// Returns the first eight octets of a key as a number that rises as the keys do.
fn front_of(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(front) => u64::from_be_bytes(*front),
        None => u64::from_be_bytes(tail_word(key).to_le_bytes()),
    }
}

/// Makes a key that compares octet by octet as labels compare in canonical order.
///
/// `prefix` are labels in wire form without the root label. A zero octet ends each label of the
/// key, the rightmost first; octets 0 and 1 inside labels are written as two.
pub(crate) fn order_key(prefix: &[u8]) -> KeyDraft {
    let mut starts = arrayvec::ArrayVec::<usize, 128>::new();
    let mut at = 0;
    while at < prefix.len() {
        let _ = starts.try_push(at);
        at += usize::from(prefix[at]) + 1;
    }
    // A name's octets at most twice fit; what does not fit is no name.
    let mut key = KeyDraft::new();
    for &start in starts.iter().rev() {
        for &octet in &prefix[start + 1..=start + usize::from(prefix[start])] {
            if octet < 2 {
                let _ = key.try_push(1);
            }
            let _ = key.try_push(if octet < 2 { octet + 1 } else { octet });
        }
        let _ = key.try_push(0);
    }
    key
}

/// Returns the labels that [`order_key`] made a key of.
pub(crate) fn key_prefix(key: &[u8]) -> Prefix {
    let mut prefix = Prefix::new();
    // No zero octet stands inside a label of a key, so zeros part them.
    let labels = key.strip_suffix(&[0]).unwrap_or_default().split(|octet| *octet == 0);
    for label in labels.rev().filter(|_| !key.is_empty()) {
        let len_at = prefix.len();
        let _ = prefix.try_push(0);
        let mut octets = label.iter();
        while let Some(&octet) = octets.next() {
            let plain = if octet == 1 { octets.next().map_or(0, |octet| octet - 1) } else { octet };
            let _ = prefix.try_push(plain);
        }
        prefix[len_at] = (prefix.len() - len_at - 1) as u8;
    }
    prefix
}

/// Keys of a chunk when an order is built.
const CHUNK_KEYS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::seeded::Seeded;

    #[test]
    fn keys_order_as_names_do_and_read_back() {
        let names = [
            "a",
            "yljkjljk.a",
            "Z.a",
            "zABC.a",
            "z",
            "\\000.z",
            "\\001.z",
            "\\001\\000.z",
            "\\002.z",
            "*.z",
            "\\200.z",
            "z\\000",
        ];
        let prefixes: Vec<Vec<u8>> = names
            .iter()
            .map(|text| Name::from_text(text).expect(text).as_wire().to_vec())
            .map(|wire| wire[..wire.len() - 1].to_vec())
            .collect();
        let keys: Vec<KeyDraft> = prefixes.iter().map(|prefix| order_key(prefix)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        for (prefix, key) in prefixes.iter().zip(&keys) {
            assert_eq!(&key_prefix(key)[..], prefix);
        }
        assert_eq!((&order_key(b"")[..], &key_prefix(b"")[..]), (&b""[..], &b""[..]));
    }

    #[test]
    fn orders_change_as_a_set_does() {
        let key = |number: u32| -> Key { number.to_be_bytes().into() };
        let mut order = Order::<Key>::default();
        let mut expected = std::collections::BTreeSet::new();
        let mut random = Seeded(1);
        for _ in 0..300 {
            let mut changes = BTreeMap::new();
            for _ in 0..40 {
                changes.insert(key(random.below(4_096) as u32), random.percent(75));
            }
            for (key, is_added) in &changes {
                if *is_added {
                    expected.insert(key.clone())
                } else {
                    expected.remove(key)
                };
            }
            order = order.with_changes(&changes);
            assert_eq!(order.len(), expected.len());
        }
        for number in 0..4_200 {
            let before = expected.range(..=key(number)).next_back().or(expected.last());
            assert_eq!(order.at_or_before(&key(number)), before.map(|key| &**key));
        }
        let none = expected.iter().map(|key| (key.clone(), false)).collect();
        assert!(order.with_changes(&none).is_empty());
    }
}
