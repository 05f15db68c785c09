//! Octets of names taken word by word: names are short, and a few words in place are done before a
//! call into the C library would be.
//!
//! **Invariant:** the results are those of the same work octet by octet.

/// Whether two names, or parts of names, are the same octets.
#[inline]
pub(crate) fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let (left_words, left_tail) = left.as_chunks::<8>();
    let (right_words, right_tail) = right.as_chunks::<8>();
    for (left, right) in left_words.iter().zip(right_words) {
        if u64::from_ne_bytes(*left) != u64::from_ne_bytes(*right) {
            return false;
        }
    }
    // What is left, perhaps with octets in front of it once more.
    if let (Some(left), Some(right)) = (left.last_chunk::<8>(), right.last_chunk::<8>()) {
        return u64::from_ne_bytes(*left) == u64::from_ne_bytes(*right);
    }
    if let (Some(left), Some(right)) = (left_tail.first_chunk::<4>(), right_tail.first_chunk::<4>())
        && u32::from_ne_bytes(*left) != u32::from_ne_bytes(*right)
    {
        return false;
    }
    match (left_tail.last_chunk::<4>(), right_tail.last_chunk::<4>()) {
        (Some(left), Some(right)) => u32::from_ne_bytes(*left) == u32::from_ne_bytes(*right),
        _ => left_tail.iter().eq(right_tail),
    }
}

/// Reads up to seven octets as one little-endian word with zeros behind them.
#[inline]
pub(crate) fn tail_word(tail: &[u8]) -> u64 {
    debug_assert!(tail.len() < 8);
    if let (Some(front), Some(back)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let back = u64::from(u32::from_le_bytes(*back)) << (8 * (tail.len() - 4));
        return u64::from(u32::from_le_bytes(*front)) | back;
    }
    match *tail {
        [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a] => u64::from(a),
        _ => 0,
    }
}

/// Reads the eight octets from `at` on; zero if there are not so many.
#[inline]
pub(crate) fn word_at(octets: &[u8], at: usize) -> u64 {
    let word = octets.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>);
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_the_same_only_if_all_are() {
        let octets: Vec<u8> = (0..40).collect();
        for len in 0..40 {
            let mut other = octets[..len].to_vec();
            assert!(is_same(&octets[..len], &other));
            assert!(!is_same(&octets[..len + 1], &other));
            for at in 0..len {
                other[at] ^= 0x80;
                assert!(!is_same(&octets[..len], &other), "octet {at} of {len}");
                other[at] ^= 0x80;
            }
        }
    }

    #[test]
    fn a_tail_is_the_word_that_zeros_would_fill() {
        for len in 0..8 {
            let mut word = [0; 8];
            word[..len].copy_from_slice(&[0xf1, 2, 3, 4, 5, 6, 0xf7][..len]);
            assert_eq!(tail_word(&word[..len]), u64::from_le_bytes(word), "{len}");
            assert_eq!(word_at(&[&[9], &word[..]].concat(), 1), u64::from_le_bytes(word));
        }
    }
}
