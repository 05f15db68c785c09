//! A name taken apart once: canonical octets, where its labels start, and the hash of each suffix.
//!
//! Depth counts labels from the root: the root has depth 0, `example.com` depth 2.
//!
//! **Invariant:** as many hashes as labels plus one; never allocates.

use arrayvec::ArrayVec;

use super::hash::{HashSeed, extend_hash_within};
use crate::limits::{LABEL_OCTETS_MAX, NAME_LABELS_MAX, NAME_OCTETS_MAX};

/// The labels and suffix hashes of one canonical name.
#[derive(Clone, Debug)]
pub struct NamePath {
    /// Canonical wire form in blocks; what stands behind it, eight octets at least, means nothing.
    blocks: ArrayVec<[u8; BLOCK_OCTETS], BLOCKS_MAX>,
    /// Octets of the wire form.
    len: u8,
    /// How many labels there are, the root label not counted.
    depth: u8,
    /// Where each label starts, from the left, then where the root label stands.
    starts: [u8; NAME_LABELS_MAX + 1],
    /// The hash of the suffix of each depth, the root first.
    hashes: ArrayVec<u64, { NAME_LABELS_MAX + 1 }>,
}

impl Default for NamePath {
    /// Makes an empty path, to be set.
    #[inline]
    fn default() -> Self {
        let (blocks, hashes) = (ArrayVec::new(), ArrayVec::new());
        Self { blocks, len: 0, depth: 0, starts: [0; NAME_LABELS_MAX + 1], hashes }
    }
}

impl NamePath {
    /// Makes an empty path, to be set.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a canonical wire name apart.
    pub(crate) fn set_canonical(&mut self, wire: &[u8], seed: HashSeed) {
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
        let name = &octets[..octets.len().min(NAME_OCTETS_MAX)];
        let (mut at, mut depth) = (0, 0);
        loop {
            let len = usize::from(*name.get(at)?);
            *self.starts.get_mut(depth)? = at as u8;
            at += len + 1;
            if len == 0 {
                break;
            }
            if len > LABEL_OCTETS_MAX {
                return None;
            }
            depth += 1;
        }
        self.depth = depth as u8;
        self.fold_case(octets, at)?;
        self.hash_labels(seed);
        Some(at)
    }

    /// Takes the name that is the first `len` of `octets` in lower case, block by block.
    ///
    /// Length octets are below 64, so they are no letters: whole blocks are folded at once. A query
    /// goes on behind the name for long enough in nearly all cases.
    #[inline(always)] // as `read`
    fn fold_case(&mut self, octets: &[u8], len: usize) -> Option<()> {
        self.len = len as u8;
        let Some(from) = octets.get(..blocks_of(len) * BLOCK_OCTETS) else {
            return self.fold_case_to_end(octets.get(..len)?);
        };
        self.blocks.clear();
        for from in from.as_chunks().0 {
            let mut block = *from;
            block.make_ascii_lowercase();
            self.blocks.try_push(block).ok()?;
        }
        Some(())
    }

    /// Does what [`Self::fold_case`] does for a name that too little stands behind.
    #[inline(never)]
    fn fold_case_to_end(&mut self, wire: &[u8]) -> Option<()> {
        self.blocks.clear();
        for _ in 0..blocks_of(wire.len()) {
            self.blocks.try_push([0; BLOCK_OCTETS]).ok()?;
        }
        let octets = self.blocks.as_flattened_mut().get_mut(..wire.len())?;
        octets.copy_from_slice(wire);
        octets.make_ascii_lowercase();
        Some(())
    }

    /// Hashes each suffix, the root's first.
    #[inline]
    fn hash_labels(&mut self, seed: HashSeed) {
        let octets = self.blocks.as_flattened();
        let (mut hash, mut end) = (seed.root_hash(), self.len - 1);
        self.hashes.clear();
        let _ = self.hashes.try_push(hash);
        for &start in self.starts[..usize::from(self.depth)].iter().rev() {
            hash = extend_hash_within(hash, octets, usize::from(start) + 1, usize::from(end));
            let _ = self.hashes.try_push(hash);
            end = start;
        }
        debug_assert_eq!(self.hashes.len(), self.depth() + 1);
    }

    /// Returns how many labels the name has, the root label not counted.
    #[inline]
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// Returns the canonical wire form.
    #[inline]
    pub fn wire(&self) -> &[u8] {
        &self.blocks.as_flattened()[..usize::from(self.len)]
    }

    /// Returns the hash of the whole name.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hashes[self.depth()]
    }

    /// Returns the hash of the suffix of `depth` labels.
    #[inline]
    pub(crate) fn hash_at(&self, depth: usize) -> u64 {
        self.hashes[depth]
    }

    /// Returns where in the wire form the suffix of `depth` labels starts.
    #[inline]
    pub(crate) fn start_at(&self, depth: usize) -> usize {
        usize::from(self.starts[self.depth() - depth])
    }

    /// Returns the wire form of the suffix of `depth` labels.
    #[inline]
    pub(crate) fn suffix_at(&self, depth: usize) -> &[u8] {
        &self.wire()[self.start_at(depth)..]
    }
}

impl HashSeed {
    /// Returns the hash of a canonical name in wire form.
    pub(crate) fn name_hash(self, wire: &[u8]) -> u64 {
        let mut path = NamePath::new();
        path.set_canonical(wire, self);
        path.hash()
    }
}

/// Returns how many blocks hold a name of `len` octets and the eight behind it.
const fn blocks_of(len: usize) -> usize {
    (len + 8).div_ceil(BLOCK_OCTETS)
}

/// Octets that are folded at once.
const BLOCK_OCTETS: usize = 16;
/// Blocks of the longest name.
const BLOCKS_MAX: usize = blocks_of(NAME_OCTETS_MAX);

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
