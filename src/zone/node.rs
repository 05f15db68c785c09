//! One node of a zone: an owner name, its flags, and its RRsets ready to be sent.
//!
//! Layout in a shard's arena, octet by octet, integers little-endian:
//!
//! ```text
//! flags u8
//! len u8, owner's labels in front of the apex (no apex, no root label)
//! children u32                       only with HAS_CHILDREN
//! types u16                          how many entries follow
//! entry: rtype u16, body_len u32, records u16, sigs_len u32, pointers u16
//!        body      the records as an answer section has them, see `zone::prepare`
//!        sigs      the RRSIG records that cover this type, in the same form
//!        pointers  u16 each: where in the body a compression pointer inside RDATA stands
//! or:    rtype u16, SHARED + distance u32
//!                  the entry is the one that stands so many octets in front of this one
//! ```
//!
//! Of the nodes of a shard that have the same RRset one holds it and the others refer to it
//! (`zone::arena` writes them so). It is shared RRset by RRset and not node by node, since the
//! delegations of a signed zone have their NS records in common but never their DS records.
//!
//! **Invariant:** what the writer wrote the view reads; octets from outside never come here. A
//! reference leads backwards, within the arena, to an entry that is none.

use crate::limits::{RRSET_OCTETS_MAX, RRSET_RECORDS_MAX};
use crate::record::RecordType;

/// The node is a zone cut: it has NS records and is not the apex.
pub(crate) const CUT: u8 = 1;
/// A proper ancestor is a zone cut or owns a DNAME: the node's data are never answered as such.
pub(crate) const OCCLUDED: u8 = 2;
/// A child `*` exists (RFC 4592 section 2.2.1).
pub(crate) const HAS_WILDCARD: u8 = 4;
/// The node has children; their count follows the flags.
pub(crate) const HAS_CHILDREN: u8 = 8;
/// The node owns a DNAME RRset (RFC 6672).
pub(crate) const DNAME: u8 = 16;
/// The node owns a CNAME RRset.
pub(crate) const CNAME: u8 = 32;

/// The node owns nothing but NSEC3 records: as a name it does not exist (RFC 5155 section 7.2.8).
pub(crate) const NSEC3_ONLY: u8 = 64;

/// In the place of `body_len`: the entry stands elsewhere.
const SHARED: u32 = 1 << 31;
/// Octets of an entry before its body.
const ENTRY_LEN: usize = 14;
/// Octets of an entry up to the distance; a reference has no more.
const REFERENCE_LEN: usize = 6;
/// An RRset's body is far shorter than what the flag leaves.
const _: () = assert!(RRSET_OCTETS_MAX + 12 * (RRSET_RECORDS_MAX as usize) < SHARED as usize);

/// A node in a shard's arena.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// All nodes of the shard.
    arena: &'a [u8],
    /// Where the node starts.
    at: usize,
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
    /// Views the node that starts at `at` of an arena.
    #[inline]
    pub fn new(arena: &'a [u8], at: usize) -> Self {
        Self { arena, at }
    }

    /// Returns the owner's labels in front of the apex; empty for the apex.
    #[inline]
    pub fn prefix(&self) -> &'a [u8] {
        let octets = self.octets();
        &octets[2..2 + usize::from(octets[1])]
    }

    /// Returns the flags.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.arena[self.at]
    }

    /// Whether one of `flags` is set.
    #[inline]
    pub fn has(&self, flags: u8) -> bool {
        self.flags() & flags != 0
    }

    /// Returns how many children the node has.
    pub fn children(&self) -> u32 {
        let octets = self.octets();
        if self.has(HAS_CHILDREN) { u32_at(octets, 2 + usize::from(octets[1])) } else { 0 }
    }

    /// Iterates over the RRsets.
    #[inline]
    pub fn entries(&self) -> Entries<'a> {
        let octets = self.octets();
        let children_at = 2 + usize::from(octets[1]);
        let types_at = children_at + if octets[0] & HAS_CHILDREN == 0 { 0 } else { 4 };
        let (types, rest) = octets[types_at..].split_first_chunk().expect(WHOLE);
        Entries { arena: self.arena, rest, left: u16::from_le_bytes(*types) }
    }

    /// Returns the RRset of a type, or the signatures that stand alone for it.
    #[inline(always)]
    pub fn entry(&self, rtype: RecordType) -> Option<EntryView<'a>> {
        let Entries { arena, mut rest, mut left } = self.entries();
        while left > 0 {
            let head = NodeHead::new(rest);
            if head.rtype == rtype {
                return Some(head.resolve(arena).entry());
            }
            rest = &rest[head.octets_len()..];
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

    /// Returns how many octets the node takes, those of entries that it refers to apart.
    pub fn octets_len(&self) -> usize {
        let mut entries = self.entries();
        while entries.next_with_octets().is_some() {}
        self.octets().len() - entries.rest.len()
    }

    /// Reads an octet of the entry that the node's first one refers to, to have it in the caches.
    #[inline]
    pub(super) fn touch_shared(&self) -> u8 {
        let entries = self.entries();
        if entries.left == 0 {
            return 0;
        }
        let head = NodeHead::new(entries.rest);
        if head.link & SHARED == 0 { 0 } else { self.arena[head.target(self.arena)] }
    }

    /// Returns the octets from the node's first one on, beyond its end.
    #[inline(always)]
    fn octets(&self) -> &'a [u8] {
        &self.arena[self.at..]
    }
}

/// The RRsets of a node.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    /// All nodes of the shard.
    arena: &'a [u8],
    /// Its end, from the next entry on.
    rest: &'a [u8],
    /// How many are not yet given out.
    left: u16,
}

impl<'a> Entries<'a> {
    /// Iterates over entries that [`write_entry`] wrote, one after the other.
    pub fn over(octets: &'a [u8], types: u16) -> Self {
        Self { arena: octets, rest: octets, left: types }
    }

    /// Returns how many are left.
    pub fn types(&self) -> u16 {
        self.left
    }

    /// Returns the next RRset, and its octets as [`write_entry`] writes them.
    #[inline]
    pub fn next_with_octets(&mut self) -> Option<(EntryView<'a>, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let own = NodeHead::new(self.rest);
        let head = own.resolve(self.arena);
        self.rest = &self.rest[own.octets_len()..];
        Some((head.entry(), &head.octets[..head.octets_len()]))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = EntryView<'a>;

    #[inline]
    fn next(&mut self) -> Option<EntryView<'a>> {
        self.next_with_octets().map(|(entry, _)| entry)
    }
}

/// Appends one entry.
pub(crate) fn write_entry(entries: &mut Vec<u8>, entry: &EntryView<'_>) {
    debug_assert_eq!(entry.records == 0, entry.body.is_empty());
    debug_assert!(entry.pointers.len().is_multiple_of(2));
    debug_assert!(entry.body.len() < SHARED as usize);
    entries.extend_from_slice(&entry.rtype.0.to_le_bytes());
    entries.extend_from_slice(&(entry.body.len() as u32).to_le_bytes());
    entries.extend_from_slice(&entry.records.to_le_bytes());
    entries.extend_from_slice(&(entry.sigs.len() as u32).to_le_bytes());
    entries.extend_from_slice(&((entry.pointers.len() / 2) as u16).to_le_bytes());
    entries.extend_from_slice(entry.body);
    entries.extend_from_slice(entry.sigs);
    entries.extend_from_slice(entry.pointers);
}

/// Appends a reference to an entry of this type that stands `distance` octets in front; says
/// whether it reaches so far.
pub(super) fn write_reference(arena: &mut Vec<u8>, rtype: RecordType, distance: usize) -> bool {
    let Some(distance) = u32::try_from(distance).ok().filter(|far| *far < SHARED) else {
        return false;
    };
    debug_assert!(distance as usize >= ENTRY_LEN);
    arena.extend_from_slice(&rtype.0.to_le_bytes());
    arena.extend_from_slice(&(SHARED | distance).to_le_bytes());
    true
}

/// The first octets of an entry, which all entries have.
#[derive(Clone, Copy, Debug)]
struct NodeHead<'a> {
    /// The type.
    rtype: RecordType,
    /// Octets of the body, or [`SHARED`] and how far in front the entry stands.
    link: u32,
    /// The entry's octets and those behind it.
    octets: &'a [u8],
}

impl<'a> NodeHead<'a> {
    /// Reads the entry at the front.
    #[inline(always)]
    fn new(octets: &'a [u8]) -> Self {
        let head = octets.first_chunk::<REFERENCE_LEN>().expect(WHOLE);
        let rtype = RecordType(u16::from_le_bytes([head[0], head[1]]));
        let link = head.last_chunk().map_or(0, |link| u32::from_le_bytes(*link));
        Self { rtype, link, octets }
    }

    /// Whether the entry stands elsewhere.
    #[inline(always)]
    fn is_reference(&self) -> bool {
        self.link >= SHARED
    }

    /// Returns the entry itself where this is a reference, which stands in `arena`.
    #[inline(always)]
    fn resolve(self, arena: &'a [u8]) -> Self {
        if !self.is_reference() {
            return self;
        }
        let entry = Self::new(&arena[self.target(arena)..]);
        debug_assert_eq!((entry.rtype, entry.link & SHARED), (self.rtype, 0));
        entry
    }

    /// Returns where in `arena` the entry stands that this reference leads to.
    #[inline(always)]
    fn target(&self, arena: &[u8]) -> usize {
        arena.len() - self.octets.len() - (self.link & !SHARED) as usize
    }

    /// Returns how many octets the entry takes where it is, a reference only its own.
    #[inline(always)]
    fn octets_len(&self) -> usize {
        if self.is_reference() {
            return REFERENCE_LEN;
        }
        let lens = self.octets.first_chunk::<ENTRY_LEN>().expect(WHOLE);
        let pointers_len = usize::from(u16::from_le_bytes([lens[12], lens[13]])) * 2;
        ENTRY_LEN + self.link as usize + u32_at(lens, 8) as usize + pointers_len
    }

    /// Views the entry, which is no reference.
    #[inline(always)]
    fn entry(self) -> EntryView<'a> {
        debug_assert_eq!(self.link & SHARED, 0);
        let (lens, rest) = self.octets.split_first_chunk::<ENTRY_LEN>().expect(WHOLE);
        // Records, octets of the signatures, pointers: one read.
        let word = lens.last_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let (body, rest) = rest.split_at(self.link as usize);
        let (sigs, rest) = rest.split_at((word >> 16) as u32 as usize);
        let pointers = &rest[..(word >> 48) as usize * 2];
        let records = word as u16;
        EntryView { rtype: self.rtype, records, body, sigs, pointers }
    }
}

/// Reads a 32-bit integer.
#[inline]
fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

/// Why the octets of an entry are there.
const WHOLE: &str = "entries were written whole";
