//! Canonical order of names as numbers, to sort many of them without looking at each again and again.
//!
//! **Not here:** the order of whole names (`name::compare_canonical`).

/// Makes two words of labels in front of an apex. Where they differ, they compare as the names do
/// in canonical order (RFC 4034 section 6.1).
///
/// The rightmost label comes first; a zero octet ends each, and octets 0 and 1 are written as two.
pub(super) fn sort_key(labels: &[u8]) -> [u64; 2] {
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::name::Name;

    #[test]
    fn keys_that_differ_compare_as_names_do() {
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
        ];
        let names: Vec<Name> = texts.iter().map(|text| Name::from_text(text).unwrap()).collect();
        let key = |name: &Name| sort_key(&name.as_wire()[..name.as_wire().len() - 1]);
        for left in &names {
            for right in &names {
                let order = key(left).cmp(&key(right));
                assert!(order.is_eq() || order == left.cmp(right), "{left} {right}");
            }
        }
        let distinct: HashSet<[u64; 2]> = names.iter().map(key).collect();
        assert_eq!(distinct.len(), names.len() - 3, "only names of 16 octets and more share keys");
    }
}
