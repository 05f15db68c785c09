//! Canonical order of names below one apex, without the apex (RFC 4034 section 6.1).
//!
//! **Invariant:** the order of labels here is that of the whole names; any octets give an order.
//! **Not here:** whole names (`name::compare_canonical`).

use std::cmp::Ordering;

/// Compares labels in front of one apex in canonical order (RFC 4034 section 6.1).
pub(super) fn compare_labels(left: &[u8], right: &[u8]) -> Ordering {
    if let ([left_len, left_label @ ..], [right_len, right_label @ ..]) = (left, right)
        && usize::from(*left_len) == left_label.len()
        && usize::from(*right_len) == right_label.len()
    {
        return left_label.cmp(right_label);
    }
    let mut left = LabelsBack::new(left);
    let mut right = LabelsBack::new(right);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) => return left.cmp(right),
        }
    }
}

/// Labels from the right.
struct LabelsBack<'a> {
    /// All labels, no root label.
    labels: &'a [u8],
    /// Where each begins.
    starts: [u8; 128],
    /// How many are left.
    left: usize,
}

impl<'a> LabelsBack<'a> {
    /// Finds where the labels begin.
    fn new(labels: &'a [u8]) -> Self {
        let (mut starts, mut count, mut at) = ([0_u8; 128], 0, 0);
        while at < labels.len() && count < starts.len() {
            starts[count] = at as u8;
            count += 1;
            at += usize::from(labels[at]) + 1;
        }
        Self { labels, starts, left: count }
    }
}

impl<'a> Iterator for LabelsBack<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let start = usize::from(self.starts[self.left]);
        let len = usize::from(*self.labels.get(start)?);
        self.labels.get(start + 1..start + 1 + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn labels(text: &str) -> Vec<u8> {
        let name = Name::from_text(text).expect(text);
        name.as_wire()[..name.as_wire().len() - 1].to_vec()
    }

    #[test]
    fn labels_compare_as_names_do() {
        let texts =
            [".", "a", "b", "a.a", "b.a", "a.b", "ab", "aa.ab", "*", "a.*", "\\000", "\\255.a"];
        for left in texts {
            for right in texts {
                let names = Name::from_text(left).unwrap().cmp(&Name::from_text(right).unwrap());
                assert_eq!(compare_labels(&labels(left), &labels(right)), names, "{left} {right}");
            }
        }
    }
}
