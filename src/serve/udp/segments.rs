//! Which replies of a batch leave together: those of one size to one asker, as the segments of one
//! message.
//!
//! A load balancer in front of this server has many queries in a batch; the network stack is then
//! passed once for all of their replies. Of resolvers each query comes from a port of its own: for
//! them it does nothing. The last segment of a message may be shorter than the others
//! (UDP_SEGMENT of udp(7)).
//!
//! **Invariant:** every reply leaves exactly once, whatever the order.
//! **Not here:** what a message is made of (`mmsg`), what is one asker (the caller says).

use crate::limits::{UDP_SEGMENTS_MAX, UDP_SEGMENTS_OCTETS_MAX};

/// The replies of a batch in the order in which they leave.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// From the top: the asker's digest, 65,535 less the reply's octets, and its index; sorted,
    /// replies to one asker are neighbors and the longest is the first.
    keys: Vec<u64>,
}

impl Outgoing {
    /// Makes room for `slots` replies.
    pub(super) fn new(slots: usize) -> Self {
        assert!(slots <= 1 << INDEX_BITS, "an index has its place in a key");
        Self { keys: Vec::with_capacity(slots) }
    }

    /// Forgets all replies.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }

    /// Adds the reply at `index` of the batch. Replies to one asker have one digest; others may
    /// have it too.
    pub(super) fn push(&mut self, index: usize, digest: u32, reply_len: usize) {
        debug_assert!(self.keys.len() < self.keys.capacity());
        let missing_len = u64::from(u16::MAX).saturating_sub(reply_len as u64);
        self.keys.push(u64::from(digest) << 32 | missing_len << INDEX_BITS | index as u64);
    }

    /// Brings together what may leave together.
    pub(super) fn sort(&mut self) {
        self.keys.sort_unstable();
    }

    /// Returns how many replies there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the index in the batch of the reply at `place` in the order.
    pub(super) fn index(&self, place: usize) -> usize {
        (self.keys[place] & ((1 << INDEX_BITS) - 1)) as usize
    }

    /// Iterates over the indices in the batch from `place` in the order on.
    pub(super) fn indices(&self, place: usize) -> impl Iterator<Item = usize> {
        (place..self.keys.len()).map(|place| self.index(place))
    }

    /// Returns how many replies, from `place` in the order on, leave together. `is_same_way` says
    /// of two indices whether both replies go to one asker, from one address; `len` the octets of
    /// one.
    pub(super) fn run(
        &self,
        place: usize,
        is_same_way: impl Fn(usize, usize) -> bool,
        len: impl Fn(usize) -> usize,
    ) -> usize {
        let first = self.index(place);
        let segment_len = len(first);
        let (mut count, mut octets) = (1, segment_len);
        for index in self.indices(place + 1).take(UDP_SEGMENTS_MAX - 1) {
            let reply_len = len(index);
            octets += reply_len;
            if reply_len > segment_len
                || octets > UDP_SEGMENTS_OCTETS_MAX
                || !is_same_way(first, index)
            {
                break;
            }
            count += 1;
            if reply_len < segment_len {
                break;
            }
        }
        count
    }
}

/// Bits of a key for the index of a reply, and for its length.
const INDEX_BITS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of replies `(asker, octets)`, as lists of indices; all askers have one digest.
    fn runs(replies: &[(u8, usize)], digest: impl Fn(u8) -> u32) -> Vec<Vec<usize>> {
        let mut outgoing = Outgoing::new(replies.len());
        for (index, (asker, len)) in replies.iter().enumerate() {
            outgoing.push(index, digest(*asker), *len);
        }
        outgoing.sort();
        let (mut runs, mut place) = (Vec::new(), 0);
        while place < outgoing.len() {
            let is_same_way = |left: usize, right: usize| replies[left].0 == replies[right].0;
            let run = outgoing.run(place, is_same_way, |index| replies[index].1);
            runs.push(outgoing.indices(place).take(run).collect());
            place += run;
        }
        runs
    }

    #[test]
    fn replies_of_one_size_to_one_asker_leave_together_and_one_shorter_ends_them() {
        let check = |replies: &[(u8, usize)], expected: &[&[usize]]| {
            assert_eq!(runs(replies, u32::from), expected, "{replies:?}");
        };
        check(&[], &[]);
        check(&[(1, 70)], &[&[0]]);
        check(&[(1, 70), (1, 70), (1, 70)], &[&[0, 1, 2]]);
        check(&[(2, 70), (1, 70), (2, 70), (1, 70)], &[&[1, 3], &[0, 2]]);
        check(&[(1, 60), (1, 70), (1, 60), (1, 70), (1, 50)], &[&[1, 3, 0], &[2, 4]]);
        check(&[(1, 70), (1, 69), (1, 68)], &[&[0, 1], &[2]]);
    }

    #[test]
    fn askers_with_one_digest_are_told_apart() {
        let runs = runs(&[(1, 70), (2, 70), (2, 70), (1, 70)], |_| 7);
        assert_eq!(runs, [vec![0], vec![1, 2], vec![3]]);
    }

    #[test]
    fn a_message_has_room_for_so_many_segments_and_octets() {
        let many = vec![(1, 20); 2 * UDP_SEGMENTS_MAX + 1];
        let counts: Vec<usize> = runs(&many, u32::from).iter().map(Vec::len).collect();
        assert_eq!(counts, [UDP_SEGMENTS_MAX, UDP_SEGMENTS_MAX, 1]);
        let half = UDP_SEGMENTS_OCTETS_MAX / 2;
        let long = [(1, half), (1, half), (1, half)];
        assert_eq!(runs(&long, u32::from), [vec![0, 1], vec![2]]);
        assert_eq!(runs(&[(1, half + 1), (1, half)], u32::from).len(), 2);
        // Longer than any datagram: each by itself, to be refused by itself.
        assert_eq!(runs(&[(1, 70_000), (1, 80_000)], u32::from).len(), 2);
    }
}
