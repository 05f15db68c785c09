//! A name taken apart once: canonical octets, where its labels start, and the hash of each suffix.
//!
//! Depth counts labels from the root: the root has depth 0, `example.com` depth 2.
//!
//! **Invariant:** as many hashes as labels plus one; never allocates.

use arrayvec::ArrayVec;

use super::hash::{HashSeed, extend_hash_within};
use crate::limits::{LABEL_OCTETS_MAX, NAME_LABELS_MAX, NAME_OCTETS_MAX};
use crate::name::words::{lower_case, tail_word};

/// The labels and suffix hashes of one canonical name.
#[derive(Clone, Debug, Default)]
pub struct NamePath {
    /// Canonical wire form in words; what stands behind it, one word at least, means nothing.
    words: ArrayVec<[u8; 8], { NAME_OCTETS_MAX.div_ceil(8) + 1 }>,
    /// Octets of the wire form.
    len: u8,
    /// Where each label starts, from the left, then where the root label stands.
    starts: ArrayVec<u8, { NAME_LABELS_MAX + 1 }>,
    /// The hash of the suffix of each depth, the root first.
    hashes: ArrayVec<u64, { NAME_LABELS_MAX + 1 }>,
}

impl NamePath {
    /// Makes an empty path, to be set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a canonical wire name apart.
    pub fn set_canonical(&mut self, wire: &[u8], seed: HashSeed) {
        debug_assert!(!wire.iter().any(u8::is_ascii_uppercase));
        self.set_any_case(wire, seed);
    }

    /// Takes a wire name in any case apart.
    #[inline(never)]
    pub fn set_any_case(&mut self, wire: &[u8], seed: HashSeed) {
        let len = self.read(wire, seed);
        debug_assert_eq!(len, Some(wire.len()));
    }

    /// Takes the uncompressed wire name at the front of `octets` apart; returns its length.
    ///
    /// `None`, and a path that means nothing, if there is no such name (RFC 1035 section 3.1).
    #[inline(always)] // the one call on the answer path
    pub fn read(&mut self, octets: &[u8], seed: HashSeed) -> Option<usize> {
        let octets = &octets[..octets.len().min(NAME_OCTETS_MAX)];
        self.starts.clear();
        let mut at = 0;
        loop {
            let len = usize::from(*octets.get(at)?);
            if len > LABEL_OCTETS_MAX {
                return None;
            }
            self.starts.try_push(at as u8).ok()?;
            at += len + 1;
            if len == 0 {
                break;
            }
        }
        self.fold_case(octets.get(..at)?);
        self.hash_labels(seed);
        Some(at)
    }

    /// Takes the octets of a name in lower case, word by word.
    ///
    /// Length octets are below 64, so they are no letters: the whole name is folded at once.
    #[inline]
    fn fold_case(&mut self, wire: &[u8]) {
        self.len = wire.len() as u8;
        self.words.clear();
        let (words, tail) = wire.as_chunks::<8>();
        for word in words {
            let _ = self.words.try_push(lower_case(u64::from_le_bytes(*word)).to_le_bytes());
        }
        let _ = self.words.try_push(lower_case(tail_word(tail)).to_le_bytes());
        let _ = self.words.try_push([0; 8]);
    }

    /// Hashes each suffix, the root's first.
    #[inline]
    fn hash_labels(&mut self, seed: HashSeed) {
        self.hashes.clear();
        let mut hash = seed.root_hash();
        let _ = self.hashes.try_push(hash);
        let Some((root, starts)) = self.starts.split_last() else { return };
        let octets = self.words.as_flattened();
        let mut end = usize::from(*root);
        for &start in starts.iter().rev() {
            let start = usize::from(start);
            hash = extend_hash_within(hash, octets, start + 1, end);
            let _ = self.hashes.try_push(hash);
            end = start;
        }
        debug_assert_eq!(self.hashes.len(), self.starts.len());
    }

    /// Returns how many labels the name has, the root label not counted.
    #[inline]
    pub fn depth(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the canonical wire form.
    #[inline]
    pub fn wire(&self) -> &[u8] {
        &self.words.as_flattened()[..usize::from(self.len)]
    }

    /// Returns the hash of the whole name.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hashes[self.depth()]
    }

    /// Returns the hash of the suffix of `depth` labels.
    #[inline]
    pub fn hash_at(&self, depth: usize) -> u64 {
        self.hashes[depth]
    }

    /// Returns where in the wire form the suffix of `depth` labels starts.
    #[inline]
    pub fn start_at(&self, depth: usize) -> usize {
        usize::from(self.starts[self.depth() - depth])
    }

    /// Returns the wire form of the suffix of `depth` labels.
    #[inline]
    pub fn suffix_at(&self, depth: usize) -> &[u8] {
        &self.wire()[self.start_at(depth)..]
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::extend_hash;
    use super::*;

    #[test]
    fn suffixes_are_numbered_from_the_root() {
        let mut path = NamePath::new();
        path.set_any_case(b"\x03WWW\x07Example\x03com\0", HashSeed(1));
        assert_eq!(path.depth(), 3);
        assert_eq!(path.wire(), b"\x03www\x07example\x03com\0");
        assert_eq!(path.suffix_at(0), b"\0");
        assert_eq!(path.suffix_at(2), b"\x07example\x03com\0");
        assert_eq!(path.hash_at(2), HashSeed(1).name_hash(b"\x07example\x03com\0"));
        path.set_canonical(b"\0", HashSeed(1));
        assert_eq!((path.depth(), path.hash()), (0, HashSeed(1).root_hash()));
    }

    #[test]
    fn names_of_every_length_are_taken_whole() {
        for len in 1..=60_usize {
            let label: Vec<u8> = (0..len).map(|i| b'A' + (i % 26) as u8).collect();
            let wire = [&[len as u8][..], &label, b"\x04TEST\0", b"octets behind"].concat();
            let mut path = NamePath::new();
            assert_eq!(path.read(&wire, HashSeed(1)), Some(len + 7));
            let lower = wire[..len + 7].to_ascii_lowercase();
            assert_eq!(path.wire(), lower);
            let parent = HashSeed(1).name_hash(b"\x04test\0");
            assert_eq!((path.hash_at(1), path.suffix_at(1)), (parent, &b"\x04test\0"[..]));
            assert_eq!(path.hash(), extend_hash(parent, &lower[1..=len]));
        }
    }

    #[test]
    fn the_deepest_and_the_longest_name_fit() {
        let mut path = NamePath::new();
        let mut wire = b"\x01a".repeat(127);
        wire.push(0);
        path.set_canonical(&wire, HashSeed(1));
        assert_eq!((path.depth(), path.wire().len()), (127, 255));
    }
}
