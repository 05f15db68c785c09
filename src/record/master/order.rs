//! Canonical order of names as numbers, to sort many of them without looking at each again and again.
//!
//! Most names are so short that the number tells all of them, and the name itself, which lies far
//! away in memory, need not be looked at.
//!
//! **Not here:** the order of whole names (`name::compare_canonical`).

/// What a name in front of an apex is sorted by; see [`sort_key`].
pub(super) type Key = [u64; 2];

/// Makes two words of labels in front of an apex. Where they differ, they compare as the names do
/// in canonical order (RFC 4034 section 6.1).
///
/// The rightmost label comes first; a zero octet ends each, and octets 0 and 1 are written as two.
pub(super) fn sort_key(labels: &[u8]) -> Key {
    let mut starts = arrayvec::ArrayVec::<u8, 128>::new();
    let mut at = 0;
    while at < labels.len() {
        let _ = starts.try_push(at as u8);
        at += usize::from(labels[at]) + 1;
    }
    let mut key = arrayvec::ArrayVec::<u8, 16>::new();
    for start in starts.iter().rev().map(|start| usize::from(*start)) {
        for &octet in &labels[start + 1..=start + usize::from(labels[start])] {
            if octet < 2 {
                let _ = key.try_push(1);
            }
            let _ = key.try_push(if octet < 2 { octet + 1 } else { octet });
        }
        let _ = key.try_push(0);
        if key.is_full() {
            break;
        }
    }
    // What lacks at the end is zero, as a name that ends sorts before one that goes on.
    let mut whole = [0; 16];
    whole[..key.len()].copy_from_slice(&key);
    let number = u128::from_be_bytes(whole);
    [(number >> 64) as u64, number as u64]
}

/// Whether a key tells all of its name, so that no other name has it.
pub(super) fn is_whole(key: Key) -> bool {
    // Labels are not empty: two zeros in a row are behind the end of the name.
    key[1] & 0xffff == 0
}

/// Whether the name of a key is at or below that of `ancestor`; `None` where the keys do not tell.
pub(super) fn is_at_or_below(key: Key, ancestor: Key) -> Option<bool> {
    if !is_whole(ancestor) {
        // What is below begins with all that is in the key of what is above.
        return (key != ancestor).then_some(false);
    }
    let number = |key: Key| u128::from(key[0]) << 64 | u128::from(key[1]);
    let zeros = number(ancestor).trailing_zeros() / 8;
    debug_assert!(zeros >= 2);
    // The first of the zeros ends the last label; the apex has no label to end.
    let shared = if ancestor == [0; 2] { 0 } else { 16 - zeros + 1 };
    let apart = number(key) ^ number(ancestor);
    Some(apart.leading_zeros() >= 8 * shared)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::name::Name;

    /// Names whose keys are short, as long as a key is, and cut off.
    fn names() -> Vec<Name> {
        let texts = [
            ".",
            "a",
            "b",
            "a.a",
            "b.a",
            "a.b",
            "ab",
            "aa.ab",
            "*",
            "a.*",
            "\\000",
            "\\001",
            "\\000\\000.a",
            "\\001.a",
            "\\002",
            "\\255.a",
            "0123456789abcde",
            "0123456789abcdef",
            "0123456789abcdefg",
            "x.0123456789abcde",
            "x.0123456789abcdef",
            "0123456789abcd",
            "x.0123456789abcd",
            "\\000.0123456789abcd",
            "xyz.0123456789abcd",
            "b.a.0123456789abc",
            "a.0123456789abc",
            "a.0123456789ab\\000",
            "0123456789ab\\000",
            "0123456789abc\\001",
        ];
        texts.iter().map(|text| Name::from_text(text).unwrap()).collect()
    }

    /// Returns the key of a name below the root.
    fn key(name: &Name) -> Key {
        sort_key(&name.as_wire()[..name.as_wire().len() - 1])
    }

    #[test]
    fn keys_that_differ_compare_as_names_do() {
        let names = names();
        for left in &names {
            for right in &names {
                let order = key(left).cmp(&key(right));
                assert!(order.is_eq() || order == left.cmp(right), "{left} {right}");
            }
        }
        let distinct: HashSet<Key> = names.iter().map(key).collect();
        assert!(distinct.len() < names.len(), "some are cut off");
    }

    #[test]
    fn a_whole_key_is_that_of_one_name_alone() {
        let names = names();
        for name in &names {
            let others = names.iter().filter(|other| *other != name && key(other) == key(name));
            assert!(!is_whole(key(name)) || others.count() == 0, "{name}");
        }
        let whole = |text: &str| is_whole(key(&Name::from_text(text).unwrap()));
        assert!(whole(".") && whole("0123456789abcd") && whole("a.0123456789ab"));
        assert!(whole("0123456789ab\\000") && !whole("0123456789abc\\000"));
        assert!(!whole("0123456789abcde") && !whole("x.0123456789abcde"));
    }

    #[test]
    fn keys_tell_what_is_below_or_that_they_do_not() {
        let names = names();
        let mut untold = 0;
        for name in &names {
            for ancestor in &names {
                match is_at_or_below(key(name), key(ancestor)) {
                    Some(told) => {
                        assert_eq!(told, name.is_at_or_below(ancestor), "{name} {ancestor}");
                    }
                    None => {
                        assert!(!is_whole(key(ancestor)), "{ancestor}");
                        untold += 1;
                    }
                }
            }
        }
        assert!(untold > 0);
    }
}
