//! The nodes of one shard under construction: RRsets that are equal stand there once.
//!
//! Parked names have one address, customers of one host the same MX, delegations the same name servers.
//! A shard's arena therefore remembers the entries that it got last, and a node whose entry is one
//! of them gets a reference to it (`zone::node`). The memory is small and forgets: an entry that
//! stands twice costs octets and nothing else.
//!
//! **Invariant:** a node reads as it was written, whatever the memory holds.
//! **Not here:** where in the table a node belongs (`zone::table`).

use super::hash::extend_hash;
use super::node::{Entries, EntryView, HAS_CHILDREN, NodeView, write_reference};
use crate::limits::ARENA_RECENT_ENTRIES;

/// The nodes of one shard under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    /// The nodes.
    octets: Vec<u8>,
    /// Where equal entries may be found.
    recent: RecentRrsets,
}

/// The entries written last, each in the place that its hash names; no places before the first.
///
/// An arena is moved a few times while its zone is built, and of small zones there are many.
#[derive(Clone, Debug, Default)]
struct RecentRrsets(Vec<RecentEntry>);

/// An entry that stands in the arena; all zero if none does.
#[derive(Clone, Copy, Debug, Default)]
struct RecentEntry {
    /// The low half of its hash.
    tag: u32,
    /// Where it stands. No entry is the first thing in an arena.
    at: u32,
}

impl RecentRrsets {
    /// Returns the place that a hash names.
    fn place(&mut self, hash: u64) -> &mut RecentEntry {
        if self.0.is_empty() {
            self.0 = vec![RecentEntry::default(); ARENA_RECENT_ENTRIES];
        }
        &mut self.0[(hash >> 32) as usize % ARENA_RECENT_ENTRIES]
    }
}

impl Arena {
    /// Begins with a copy of a finished arena, to which about `room` octets will be added.
    ///
    /// Of the entries in the copy none is remembered.
    pub(crate) fn copy_of(octets: &[u8], room: usize) -> Self {
        let mut copy = Vec::with_capacity(octets.len() + room);
        copy.extend_from_slice(octets);
        Self { octets: copy, recent: RecentRrsets::default() }
    }

    /// Begins with nothing, and room for about `len` octets.
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self { octets: Vec::with_capacity(len), recent: RecentRrsets::default() }
    }

    /// Returns how many octets the nodes take.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Makes room for `len` octets in all.
    pub(crate) fn reserve_to(&mut self, len: usize) {
        self.octets.reserve_exact(len.saturating_sub(self.octets.len()));
    }

    /// Views the node that starts at `at`.
    pub(crate) fn node(&self, at: u32) -> NodeView<'_> {
        NodeView::new(&self.octets, at as usize)
    }

    /// Returns the octets of all nodes.
    pub(crate) fn into_octets(self) -> Box<[u8]> {
        self.octets.into_boxed_slice()
    }

    /// Appends all nodes of another arena; each is then as many octets further back as there were.
    pub(crate) fn append(&mut self, other: &Self) {
        self.octets.extend_from_slice(&other.octets);
    }

    /// Appends a node; its entries are copied, or referred to where they stand already.
    pub(crate) fn write_node(
        &mut self,
        prefix: &[u8],
        flags: u8,
        children: u32,
        mut entries: Entries<'_>,
    ) {
        debug_assert!(prefix.len() < 255);
        let parent = if children > 0 { HAS_CHILDREN } else { 0 };
        self.octets.extend_from_slice(&[flags & !HAS_CHILDREN | parent, prefix.len() as u8]);
        self.octets.extend_from_slice(prefix);
        if children > 0 {
            self.octets.extend_from_slice(&children.to_le_bytes());
        }
        self.octets.extend_from_slice(&entries.types().to_le_bytes());
        while let Some((entry, octets)) = entries.next_with_octets() {
            self.write_entry(&entry, octets);
        }
    }

    /// Appends an entry, or a reference to an equal one.
    fn write_entry(&mut self, entry: &EntryView<'_>, octets: &[u8]) {
        // Signatures are made over the owner's name: no other has the same.
        if entry.sigs.is_empty() {
            let hash = extend_hash(0, octets);
            let recent = self.recent.place(hash);
            let (tag, at) = (hash as u32, recent.at as usize);
            let is_equal = |there: &[u8]| there.starts_with(octets);
            if recent.tag == tag && self.octets.get(at..).is_some_and(is_equal) {
                let distance = self.octets.len() - at;
                if write_reference(&mut self.octets, entry.rtype, distance) {
                    return;
                }
            }
            if let Ok(at) = u32::try_from(self.octets.len()) {
                *recent = RecentEntry { tag, at };
            }
        }
        self.octets.extend_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{CUT, OCCLUDED, write_entry};
    use super::*;
    use crate::record::RecordType;

    /// Writes entries in the form that [`Entries::over`] reads.
    fn entries(of: &[EntryView<'_>]) -> Vec<u8> {
        let mut octets = Vec::new();
        of.iter().for_each(|entry| write_entry(&mut octets, entry));
        octets
    }

    /// An RRset of one record, of which only the octets matter here.
    fn entry<'a>(rtype: RecordType, body: &'a [u8], sigs: &'a [u8]) -> EntryView<'a> {
        let records = u16::from(!body.is_empty());
        EntryView { rtype, records, body, sigs, pointers: b"\x01\0" }
    }

    /// Returns the entries of a node as [`entries`] has them.
    fn read(node: &NodeView<'_>) -> Vec<u8> {
        let mut all = node.entries();
        std::iter::from_fn(|| all.next_with_octets())
            .flat_map(|(_, octets)| octets)
            .copied()
            .collect()
    }

    #[test]
    fn a_node_reads_back_as_written_and_again_when_it_refers_to_another() {
        let a = entry(RecordType::A, b"body", b"");
        let mx = entry(RecordType::MX, b"another body", b"");
        let orphan = entry(RecordType::TXT, b"", b"signature");
        let written = entries(&[a, mx, orphan]);
        let mut arena = Arena::default();
        let mut starts = Vec::new();
        for children in [0, 1, 70_000] {
            starts.push((arena.len() as u32, children));
            arena.write_node(b"\x01a", CUT, children, Entries::over(&written, 3));
        }
        let ends = starts.iter().skip(1).map(|start| start.0).chain([arena.len() as u32]);
        let lens: Vec<usize> =
            ends.zip(&starts).map(|(end, start)| (end - start.0) as usize).collect();
        let references = lens[0] - (2 * 14 + 4 + 12 + 2 * 2) + 2 * 6;
        assert_eq!(lens, [lens[0], references + 4, references + 4]);
        for ((at, children), len) in starts.into_iter().zip(lens) {
            let node = arena.node(at);
            assert_eq!((node.prefix(), node.children()), (&b"\x01a"[..], children));
            assert_eq!(node.octets_len(), len);
            assert!(node.has(CUT) && !node.has(OCCLUDED) && node.has_records());
            assert_eq!(node.rrset(RecordType::A).map(|e| e.body), Some(&b"body"[..]));
            assert_eq!(node.rrset(RecordType::MX).map(|e| e.body), Some(&b"another body"[..]));
            assert!(node.rrset(RecordType::TXT).is_none() && node.entry(RecordType::NS).is_none());
            assert_eq!(node.entry(RecordType::TXT).map(|e| e.sigs), Some(&b"signature"[..]));
            assert_eq!(node.entries().map(|entry| entry.rtype.0).collect::<Vec<_>>(), [1, 15, 16]);
            assert_eq!(read(&node), written);
        }
    }

    #[test]
    fn only_what_is_equal_in_every_octet_is_shared() {
        let base = entry(RecordType::A, b"body", b"");
        let others = [
            EntryView { rtype: RecordType::AAAA, ..base },
            EntryView { records: 2, ..base },
            EntryView { body: b"bodz", ..base },
            EntryView { body: b"body\x01\0", pointers: b"", ..base },
            EntryView { pointers: b"\x02\0", ..base },
            EntryView { sigs: b"signature", ..base },
        ];
        for other in others {
            let (first, second) = (entries(&[base]), entries(&[other]));
            let mut arena = Arena::default();
            for written in [&first, &second, &second] {
                arena.write_node(b"", 0, 0, Entries::over(written, 1));
            }
            let second_at = arena.node(0).octets_len();
            let third_at = second_at + arena.node(second_at as u32).octets_len();
            assert_eq!(second_at, 4 + first.len());
            assert_eq!(third_at - second_at, 4 + second.len());
            // Signatures are never looked for; all else is found when it comes again.
            let again = if other.sigs.is_empty() { 6 } else { second.len() };
            assert_eq!(arena.len() - third_at, 4 + again);
            assert_eq!(read(&arena.node(second_at as u32)), second);
            assert_eq!(read(&arena.node(third_at as u32)), second);
        }
    }

    #[test]
    fn more_entries_than_are_remembered_read_back_all_the_same() {
        let body = |index: usize| (index % 1_000).to_be_bytes();
        let (mut arena, mut other) = (Arena::default(), Arena::default());
        let mut starts = Vec::new();
        for index in 0..3_000 {
            let arena = if index < 1_500 { &mut arena } else { &mut other };
            let written = entries(&[entry(RecordType::A, &body(index), b"")]);
            starts.push(arena.len());
            arena.write_node(b"\x01a", 0, 0, Entries::over(&written, 1));
        }
        let moved = arena.len();
        arena.append(&other);
        let copy = Arena::copy_of(&arena.clone().into_octets(), 0);
        for (index, start) in starts.into_iter().enumerate() {
            let at = if index < 1_500 { start } else { start + moved };
            for arena in [&arena, &copy] {
                let found = arena.node(at as u32).rrset(RecordType::A).map(|entry| entry.body);
                assert_eq!(found, Some(&body(index)[..]), "{index}");
            }
        }
    }
}
