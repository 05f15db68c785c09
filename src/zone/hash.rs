//! Hashes of names, label by label from the root, so that one pass over a query's name gives the
//! hash of every suffix: of its zone's apex, of each ancestor, and of the name itself.
//!
//! The seed is drawn once for all zones that are served together, so that nobody can prepare names
//! which collide.
//!
//! **Not here:** tables (`zone::table`, `catalog`).

use crate::name::words::{tail_word, word_at};

/// The secret that every name hash begins with. A catalog and its zones have one; tests use any constant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HashSeed(pub u64);

impl HashSeed {
    /// Draws a seed from the system: once for all zones that are served together.
    ///
    /// Whoever may write a zone or ask for its names could fill one bucket of a table whose seed they
    /// guessed. So it waits, early in the boot of a machine, until the system has something to draw from.
    ///
    /// # Panics
    /// The system has no source of randomness at all, without which no key of this process is safe either.
    ///
    /// # Examples
    ///
    /// ```
    /// use aspen_dns::publish::Publisher;
    /// use aspen_dns::zone::HashSeed;
    ///
    /// let publisher = Publisher::new(HashSeed::random());
    /// let seed = publisher.catalog().seed(); // that of every zone that is published there
    /// assert_ne!(seed, HashSeed::random());
    /// ```
    pub fn random() -> Self {
        Self(getrandom::u64().expect("an operating system has a source of randomness"))
    }

    /// Returns the hash of the root name: the secret itself, which every label goes over.
    #[inline]
    pub(crate) fn root_hash(self) -> u64 {
        self.0
    }
}

/// Returns the hash of the name that has the canonical `label` in front of `parent`'s name.
#[inline]
pub(crate) fn extend_hash(parent: u64, label: &[u8]) -> u64 {
    let mut hash = begin_label(parent, label.len());
    let mut rest = label;
    while let (Some((word, more)), true) = (rest.split_first_chunk::<8>(), rest.len() > 8) {
        hash = fold(hash ^ u64::from_le_bytes(*word), MULTIPLIERS[1]);
        rest = more;
    }
    let word = rest.first_chunk::<8>().map_or_else(|| tail_word(rest), |w| u64::from_le_bytes(*w));
    end_label(hash, word, rest.len())
}

/// Returns what [`extend_hash`] does, for the canonical label `octets[start..end]`.
///
/// `octets` go on for seven octets behind `end`, which are read but do not count.
#[inline(always)] // for each label of each query
pub(crate) fn extend_hash_within(parent: u64, octets: &[u8], start: usize, end: usize) -> u64 {
    debug_assert!(start < end && end + 7 <= octets.len());
    let (mut at, mut left) = (start, end - start);
    let mut hash = begin_label(parent, left);
    if left <= 8 {
        return end_label(hash, word_at(octets, at), left);
    }
    while left > 8 {
        hash = fold(hash ^ word_at(octets, at), MULTIPLIERS[1]);
        (at, left) = (at + 8, left - 8);
    }
    end_label(hash, word_at(octets, at), left)
}

/// Begins with the label's length, so that no label is the front of another.
#[inline]
fn begin_label(parent: u64, len: usize) -> u64 {
    parent ^ (len as u64).wrapping_mul(MULTIPLIERS[2])
}

/// Ends with the first `len` octets of a word, 1 to 8 of them.
#[inline]
fn end_label(hash: u64, word: u64, len: usize) -> u64 {
    debug_assert!((1..=8).contains(&len));
    // As the upper octets: what stands behind them is shifted out. A label is never empty.
    let upper = word << (8 * 8_usize.wrapping_sub(len) as u32 % 64);
    fold(hash ^ upper, MULTIPLIERS[3])
}

/// Multiplies to 128 bits and folds the halves together.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Odd constants with an even spread of bits (digits of pi).
const MULTIPLIERS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn many_similar_names_hash_apart_in_all_bits() {
        let root = HashSeed(7).root_hash();
        let hashes: Vec<u64> =
            (0..100_000).map(|i| extend_hash(root, format!("h{i}").as_bytes())).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        for bit in 0..64 {
            let ones = hashes.iter().filter(|hash| **hash >> bit & 1 == 1).count();
            assert!((45_000..55_000).contains(&ones), "bit {bit}: {ones}");
        }
    }

    #[test]
    fn drawn_seeds_differ_in_every_bit() {
        let seeds: Vec<u64> = (0..128).map(|_| HashSeed::random().0).collect();
        // A bit that is the same in 128 of them: once in 2^127 runs.
        assert_eq!(seeds.iter().fold(0, |seen, seed| seen | seed), u64::MAX);
        assert_eq!(seeds.iter().fold(u64::MAX, |seen, seed| seen & seed), 0);
        assert_eq!(seeds.iter().collect::<HashSet<_>>().len(), seeds.len());
    }

    #[test]
    fn a_label_within_a_name_hashes_as_by_itself() {
        let octets: Vec<u8> = (0..90).map(|i| (i * 7 + 3) as u8).collect();
        for start in [0, 1, 5] {
            for end in start + 1..start + 64 {
                let alone = extend_hash(9, &octets[start..end]);
                assert_eq!(extend_hash_within(9, &octets, start, end), alone, "{start}..{end}");
            }
        }
    }

    #[test]
    fn the_seed_and_every_octet_count() {
        let label = b"0123456789abcdef0123";
        for len in 1..label.len() {
            let base = extend_hash(1, &label[..len]);
            assert_ne!(base, extend_hash(2, &label[..len]));
            for at in 0..len {
                let mut other = label[..len].to_vec();
                other[at] ^= 1;
                assert_ne!(base, extend_hash(1, &other), "octet {at} of {len}");
            }
        }
    }
}
