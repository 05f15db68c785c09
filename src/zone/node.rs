//! One node of a zone: an owner name, its flags, and its RRsets ready to be sent.
//!
//! Layout in the table's arena, octet by octet, integers little-endian:
//!
//! ```text
//! len u8, owner's labels in front of the apex (no apex, no root label)
//! flags u8
//! children u32                       only with HAS_CHILDREN
//! types u16                          how many entries follow
//! entry: rtype u16, records u16, body_len u32, sigs_len u32, pointers u16
//!        body      the records as an answer section has them, see `zone::prepare`
//!        sigs      the RRSIG records that cover this type, in the same form
//!        pointers  u16 each: where in the body a compression pointer inside RDATA stands
//! ```
//!
//! **Invariant:** what the writer wrote the view reads; octets from outside never come here.

use crate::record::RecordType;

/// The node is a zone cut: it has NS records and is not the apex.
pub const CUT: u8 = 1;
/// A proper ancestor is a zone cut or owns a DNAME: the node's data are never answered as such.
pub const OCCLUDED: u8 = 2;
/// A child `*` exists (RFC 4592 section 2.2.1).
pub const HAS_WILDCARD: u8 = 4;
/// The node has children; their count follows the flags.
pub const HAS_CHILDREN: u8 = 8;
/// The node owns a DNAME RRset (RFC 6672).
pub const DNAME: u8 = 16;
/// The node owns a CNAME RRset.
pub const CNAME: u8 = 32;

/// The node owns nothing but NSEC3 records: as a name it does not exist (RFC 5155 section 7.2.8).
pub const NSEC3_ONLY: u8 = 64;

/// Octets of an entry before its body.
const ENTRY_LEN: usize = 14;

/// A node in a table's arena.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// From the node's first octet on, possibly beyond its end.
    octets: &'a [u8],
}

/// One RRset of a node, with its signatures.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    /// The type; of signatures without data, the type that they cover.
    pub rtype: RecordType,
    /// How many records the body holds; 0 if there are only signatures.
    pub records: u16,
    /// The records, see `zone::prepare`.
    pub body: &'a [u8],
    /// The RRSIG records that cover the type.
    pub sigs: &'a [u8],
    /// Where in the body compression pointers inside RDATA stand, as u16 little-endian.
    pub pointers: &'a [u8],
}

impl<'a> NodeView<'a> {
    /// Views the node that starts at the first of `octets`.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets }
    }

    /// Returns the owner's labels in front of the apex; empty for the apex.
    #[inline]
    pub fn prefix(&self) -> &'a [u8] {
        &self.octets[1..=usize::from(self.octets[0])]
    }

    /// Returns the flags.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.octets[1 + usize::from(self.octets[0])]
    }

    /// Whether one of `flags` is set.
    #[inline]
    pub fn has(&self, flags: u8) -> bool {
        self.flags() & flags != 0
    }

    /// Returns how many children the node has.
    pub fn children(&self) -> u32 {
        if self.has(HAS_CHILDREN) { u32_at(self.octets, self.flags_at() + 1) } else { 0 }
    }

    /// Iterates over the RRsets.
    pub fn entries(&self) -> Entries<'a> {
        let at = self.types_at();
        Entries { left: u16_at(self.octets, at), rest: &self.octets[at + 2..] }
    }

    /// Returns the RRset of a type, or the signatures that stand alone for it.
    #[inline(always)]
    pub fn entry(&self, rtype: RecordType) -> Option<EntryView<'a>> {
        let at = self.types_at();
        let mut left = u16_at(self.octets, at);
        let mut rest = &self.octets[at + 2..];
        while left > 0 {
            let (head, _) = split_head(rest);
            if head.rtype == rtype {
                return Some(read_entry(rest).0);
            }
            rest = &rest[head.entry_len()..];
            left -= 1;
        }
        None
    }

    /// Returns the RRset of a type, if it has records.
    #[inline(always)]
    pub fn rrset(&self, rtype: RecordType) -> Option<EntryView<'a>> {
        self.entry(rtype).filter(|entry| entry.records > 0)
    }

    /// Whether the node has records of any type.
    pub fn has_records(&self) -> bool {
        self.entries().any(|entry| entry.records > 0)
    }

    /// Returns the octets of the entries, for a copy of the node with other flags.
    pub fn entry_octets(&self) -> &'a [u8] {
        let at = self.types_at() + 2;
        &self.octets[at..self.octets_len()]
    }

    /// Returns how many octets the node takes.
    pub fn octets_len(&self) -> usize {
        let at = self.types_at();
        let mut end = at + 2;
        for _ in 0..u16_at(self.octets, at) {
            end += split_head(&self.octets[end..]).0.entry_len();
        }
        end
    }

    /// Returns where the flags stand.
    #[inline]
    fn flags_at(&self) -> usize {
        1 + usize::from(self.octets[0])
    }

    /// Returns where the count of entries stands.
    #[inline]
    fn types_at(&self) -> usize {
        let at = self.flags_at();
        if self.octets[at] & HAS_CHILDREN != 0 { at + 5 } else { at + 1 }
    }
}

/// The RRsets of a node.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    /// How many are not yet given out.
    left: u16,
    /// From the next one on.
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = EntryView<'a>;

    fn next(&mut self) -> Option<EntryView<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (entry, len) = read_entry(self.rest);
        self.rest = &self.rest[len..];
        Some(entry)
    }
}

/// Appends a node to an arena.
///
/// `entries` are `types` entries as [`write_entry`] wrote them.
pub fn write_node(
    arena: &mut Vec<u8>,
    prefix: &[u8],
    flags: u8,
    children: u32,
    types: u16,
    entries: &[u8],
) {
    debug_assert!(prefix.len() < 255);
    debug_assert_eq!(Entries { left: types, rest: entries }.count(), usize::from(types));
    arena.push(prefix.len() as u8);
    arena.extend_from_slice(prefix);
    if children > 0 {
        arena.push(flags | HAS_CHILDREN);
        arena.extend_from_slice(&children.to_le_bytes());
    } else {
        arena.push(flags & !HAS_CHILDREN);
    }
    arena.extend_from_slice(&types.to_le_bytes());
    arena.extend_from_slice(entries);
}

/// Appends one entry.
pub fn write_entry(entries: &mut Vec<u8>, entry: &EntryView<'_>) {
    debug_assert_eq!(entry.records == 0, entry.body.is_empty());
    debug_assert!(entry.pointers.len().is_multiple_of(2));
    entries.extend_from_slice(&entry.rtype.0.to_le_bytes());
    entries.extend_from_slice(&entry.records.to_le_bytes());
    entries.extend_from_slice(&(entry.body.len() as u32).to_le_bytes());
    entries.extend_from_slice(&(entry.sigs.len() as u32).to_le_bytes());
    entries.extend_from_slice(&((entry.pointers.len() / 2) as u16).to_le_bytes());
    entries.extend_from_slice(entry.body);
    entries.extend_from_slice(entry.sigs);
    entries.extend_from_slice(entry.pointers);
}

/// Reads the entry at the front, and how many octets it takes.
#[inline]
fn read_entry(octets: &[u8]) -> (EntryView<'_>, usize) {
    let (head, rest) = split_head(octets);
    let (body, rest) = rest.split_at(head.body_len);
    let (sigs, rest) = rest.split_at(head.sigs_len);
    let pointers = &rest[..head.pointers_len];
    let entry = EntryView { rtype: head.rtype, records: head.records, body, sigs, pointers };
    (entry, head.entry_len())
}

/// The fixed part of an entry.
#[derive(Clone, Copy, Debug)]
struct EntryHead {
    /// The type.
    rtype: RecordType,
    /// How many records the body holds.
    records: u16,
    /// Octets of the body.
    body_len: usize,
    /// Octets of the signatures.
    sigs_len: usize,
    /// Octets of the pointers.
    pointers_len: usize,
}

impl EntryHead {
    /// Returns how many octets the entry takes.
    #[inline]
    fn entry_len(&self) -> usize {
        ENTRY_LEN + self.body_len + self.sigs_len + self.pointers_len
    }
}

/// Reads the fixed part of the entry at the front.
#[inline]
fn split_head(octets: &[u8]) -> (EntryHead, &[u8]) {
    let (head, rest) = octets.split_first_chunk::<ENTRY_LEN>().expect("entries were written whole");
    let head = EntryHead {
        rtype: RecordType(u16::from_le_bytes([head[0], head[1]])),
        records: u16::from_le_bytes([head[2], head[3]]),
        body_len: u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize,
        sigs_len: u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize,
        pointers_len: usize::from(u16::from_le_bytes([head[12], head[13]])) * 2,
    };
    (head, rest)
}

/// Reads a 16-bit integer.
#[inline]
fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([octets[at], octets[at + 1]])
}

/// Reads a 32-bit integer.
#[inline]
fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_back_as_written() {
        let mut entries = Vec::new();
        let a = EntryView {
            rtype: RecordType::A,
            records: 2,
            body: b"body",
            sigs: b"",
            pointers: b"\x01\0",
        };
        let orphan = EntryView {
            rtype: RecordType::TXT,
            records: 0,
            body: b"",
            sigs: b"signature",
            pointers: b"",
        };
        write_entry(&mut entries, &a);
        write_entry(&mut entries, &orphan);
        for children in [0, 1, 70_000] {
            let mut arena = Vec::new();
            write_node(&mut arena, b"\x01a", CUT, children, 2, &entries);
            let len = arena.len();
            arena.extend_from_slice(b"the next node");
            let node = NodeView::new(&arena);
            assert_eq!(
                (node.prefix(), node.children(), node.octets_len()),
                (&b"\x01a"[..], children, len)
            );
            assert!(node.has(CUT) && !node.has(OCCLUDED) && node.has_records());
            assert_eq!(node.rrset(RecordType::A).map(|e| e.body), Some(&b"body"[..]));
            assert!(node.rrset(RecordType::TXT).is_none());
            assert_eq!(node.entry(RecordType::TXT).map(|e| e.sigs), Some(&b"signature"[..]));
            assert_eq!(node.entry_octets(), entries);
            assert_eq!(node.entries().count(), 2);
        }
    }
}
