//! A name taken apart once: canonical octets, where its labels start, and the hash of each suffix.
//!
//! Depth counts labels from the root: the root has depth 0, `example.com` depth 2.
//!
//! **Invariant:** as many hashes as labels plus one; never allocates.

use arrayvec::ArrayVec;

use super::hash::{HashSeed, extend_hash};
use crate::limits::{LABEL_OCTETS_MAX, NAME_LABELS_MAX, NAME_OCTETS_MAX};

/// The labels and suffix hashes of one canonical name.
#[derive(Clone, Debug, Default)]
pub struct NamePath {
    /// Canonical wire form.
    wire: ArrayVec<u8, NAME_OCTETS_MAX>,
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
    pub fn set_any_case(&mut self, wire: &[u8], seed: HashSeed) {
        let len = self.read(wire, seed);
        debug_assert_eq!(len, Some(wire.len()));
    }

    /// Takes the uncompressed wire name at the front of `octets` apart; returns its length.
    ///
    /// `None`, and a path that means nothing, if there is no such name (RFC 1035 section 3.1).
    #[inline]
    pub fn read(&mut self, octets: &[u8], seed: HashSeed) -> Option<usize> {
        self.wire.clear();
        self.starts.clear();
        let mut at = 0;
        loop {
            let len = usize::from(*octets.get(at)?);
            if len > LABEL_OCTETS_MAX || at >= NAME_OCTETS_MAX {
                return None;
            }
            self.starts.try_push(at as u8).ok()?;
            at += len + 1;
            if len == 0 {
                break;
            }
        }
        self.wire.try_extend_from_slice(octets.get(..at)?).ok()?;
        // Length octets are below 64, so they are no letters: the whole name is folded at once.
        self.wire.make_ascii_lowercase();
        self.hash_labels(seed);
        Some(at)
    }

    /// Hashes each suffix, the root's first.
    #[inline]
    fn hash_labels(&mut self, seed: HashSeed) {
        self.hashes.clear();
        let mut hash = seed.root_hash();
        let _ = self.hashes.try_push(hash);
        let mut end = self.wire.len() - 1;
        for &start in self.starts.iter().rev().skip(1) {
            let start = usize::from(start);
            hash = extend_hash(hash, &self.wire[start + 1..end]);
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
        &self.wire
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
        &self.wire[self.start_at(depth)..]
    }
}

#[cfg(test)]
mod tests {
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
    fn the_deepest_and_the_longest_name_fit() {
        let mut path = NamePath::new();
        let mut wire = b"\x01a".repeat(127);
        wire.push(0);
        path.set_canonical(&wire, HashSeed(1));
        assert_eq!((path.depth(), path.wire().len()), (127, 255));
    }
}
