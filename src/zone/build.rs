//! Builds a zone from a stream of RRsets in canonical order of their owners.
//!
//! Names arrive after all their ancestors, so one stack of open ancestors is enough to know, when
//! a node is written, whether it is below a cut, has children, or a child `*`.
//! RFC 4034 section 6.1 (order); RFC 4592 section 2.2.2 (empty non-terminals).
//!
//! **Invariant:** every proper ancestor of an owner, up to the apex, has a node.
//! **Not here:** rules that a served zone may break (`record::master::lint`, `dnssec`).

use super::denial::DenialBuilder;
use super::hash::{HashSeed, extend_hash};
use super::node::{CUT, DNAME, Entries, HAS_WILDCARD, OCCLUDED};
use super::sets::{NodeSets, Written, canonical, check_rrset};
use super::table::TableBuilder;
use super::{BuildError, InsertError, Zone};
use crate::name::{Name, is_at_or_below};
use crate::record::{Rrset, RrsetRef};

/// Takes RRsets owner by owner and makes a zone.
#[derive(Debug)]
pub struct ZoneBuilder {
    /// The apex.
    apex: Name,
    /// Begins every hash.
    seed: HashSeed,
    /// Takes the finished nodes.
    table: TableBuilder,
    /// The apex, then each ancestor of the current owner, then this itself.
    open: Vec<OpenNode>,
    /// How many of `open` are in use; the rest keep their buffers.
    open_count: usize,
    /// The RRsets of the current owner so far.
    sets: NodeSets,
    /// What is known of the zone as a whole.
    totals: Totals,
    /// Owners of NSEC and NSEC3 records.
    denial: DenialBuilder,
    /// Labels of the apex.
    apex_depth: usize,
    /// The first label that was opened below the apex.
    first_child: Vec<u8>,
}

/// Counts over all nodes of a zone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    /// Owners with records.
    pub names: u64,
    /// RRsets.
    pub rrsets: u64,
    /// Records.
    pub records: u64,
    /// Labels of the deepest name, the apex if there is no other.
    pub depth: u8,
}

/// A node whose descendants are still coming.
#[derive(Debug, Default)]
struct OpenNode {
    /// Canonical wire form.
    owner: Vec<u8>,
    /// Its hash.
    hash: u64,
    /// Its entries.
    entries: Vec<u8>,
    /// What the entries say.
    written: Written,
    /// What is known of its flags.
    flags: u8,
    /// Children so far.
    children: u32,
}

impl ZoneBuilder {
    /// Begins a zone of about `names_expected` names; another number only costs speed.
    pub fn new(apex: Name, seed: HashSeed, names_expected: u64) -> Self {
        let root = OpenNode {
            owner: apex.as_wire().to_vec(),
            hash: seed.name_hash(apex.as_wire()),
            ..OpenNode::default()
        };
        let apex_depth = apex.label_count();
        Self {
            apex_depth,
            apex,
            seed,
            table: TableBuilder::new(names_expected),
            open: vec![root],
            open_count: 1,
            sets: NodeSets::default(),
            totals: Totals { depth: apex_depth as u8, ..Totals::default() },
            denial: DenialBuilder::default(),
            first_child: Vec::new(),
        }
    }

    /// Begins to build, for another thread, what comes later in the same zone: about
    /// `names_expected` names. [`Self::append`] takes it back.
    ///
    /// Returns `None` as long as the apex may still get RRsets, and where a DNAME there occludes
    /// all that follows.
    pub fn sibling(&self, names_expected: u64) -> Option<Self> {
        if self.open_count == 1 || self.open[0].flags & DNAME != 0 {
            return None;
        }
        let apex = self.apex.clone();
        let root = OpenNode {
            owner: apex.as_wire().to_vec(),
            hash: self.open[0].hash,
            ..OpenNode::default()
        };
        Some(Self {
            apex_depth: self.apex_depth,
            apex,
            seed: self.seed,
            table: self.table.sibling(names_expected),
            open: vec![root],
            open_count: 1,
            sets: NodeSets::default(),
            totals: Totals { depth: self.apex_depth as u8, ..Totals::default() },
            denial: DenialBuilder::default(),
            first_child: Vec::new(),
        })
    }

    /// Takes all that a [`Self::sibling`] was given. Of the names right below the apex none may be
    /// in both, and all of ours come before all of its own.
    ///
    /// # Errors
    /// [`InsertError::OutOfOrder`]; the zone is then good for nothing.
    pub fn append(&mut self, mut next: Self) -> Result<(), InsertError> {
        next.end_owner();
        if next.open_count == 1 && next.open[0].children == 0 && next.totals.names == 0 {
            return Ok(()); // it was given nothing
        }
        let last = self.open[..self.open_count].get(1).and_then(|node| child_label(&node.owner, 0));
        let is_later = last.is_some_and(|last| *last < next.first_child[..]);
        if !is_later || next.open[0].written != Written::default() {
            return Err(InsertError::OutOfOrder { owner: self.apex.clone() });
        }
        self.end_owner();
        while self.open_count > 1 {
            self.close();
        }
        // The last name of the other stays open, as ours would if it had been given here.
        while next.open_count > 2 {
            next.close();
        }
        let (root, next_root) = (&mut self.open[0], &next.open[0]);
        root.children += next_root.children;
        root.flags |= next_root.flags;
        self.open.truncate(1);
        self.open.extend(next.open.drain(1..2));
        self.open_count = self.open.len();
        self.table.append(next.table);
        self.totals.names += next.totals.names;
        self.totals.rrsets += next.totals.rrsets;
        self.totals.records += next.totals.records;
        self.totals.depth = self.totals.depth.max(next.totals.depth);
        self.denial.append(next.denial);
        Ok(())
    }

    /// Takes the next RRset: of the same owner as the one before, or of a later one.
    ///
    /// # Errors
    /// [`InsertError`]; the RRset is then left out and the zone goes on without it.
    pub fn push(&mut self, rrset: RrsetRef<'_>) -> Result<(), InsertError> {
        let current = &self.open[self.open_count - 1];
        check_rrset(&self.apex, &rrset)?;
        if current.owner != rrset.owner {
            let parent = self.parent_of(rrset.owner)?;
            self.end_owner();
            while self.open_count > parent + 1 {
                self.close();
            }
            self.begin_owner(rrset.owner);
        }
        self.sets.put(rrset.rtype, rrset.ttl_s, rrset.rdata);
        Ok(())
    }

    /// Returns which open node the next owner goes below: the closest that is its ancestor.
    ///
    /// # Errors
    /// [`InsertError::OutOfOrder`] if the owner, or something below it, has been there already.
    fn parent_of(&self, owner: &[u8]) -> Result<usize, InsertError> {
        let open = &self.open[..self.open_count];
        let below = |node: &OpenNode| is_at_or_below(owner, &node.owner);
        // The apex, which is the first, is an ancestor of all.
        let parent = open[1..].iter().rposition(below).map_or(0, |index| index + 1);
        // The open child of that node came last; the new one's label must be greater.
        if let Some(last) = open.get(parent + 1) {
            let child = child_label(owner, open[parent].owner.len());
            if child.is_none_or(|child| child <= child_label(&last.owner, 0).unwrap_or_default()) {
                return Err(InsertError::OutOfOrder { owner: canonical(owner) });
            }
        }
        Ok(parent)
    }

    /// Ends the zone.
    ///
    /// # Errors
    /// [`BuildError::NoSoa`] or [`BuildError::SoaNotSingle`].
    pub fn finish(mut self) -> Result<Zone, BuildError> {
        self.end_owner();
        while self.open_count > 0 {
            self.close();
        }
        Zone::assemble(self.apex, self.seed, self.table.finish(), self.totals, self.denial)
    }

    /// Encodes the RRsets of the current owner.
    fn end_owner(&mut self) {
        let is_apex = self.open_count == 1;
        let node = &mut self.open[self.open_count - 1];
        if self.sets.is_empty() {
            return;
        }
        let written = self.sets.write(&node.owner, &mut node.entries);
        self.sets.clear();
        node.written = written;
        node.flags |= written.flags;
        if written.has_ns && !is_apex {
            node.flags |= CUT;
        }
        self.totals.names += 1;
        self.totals.rrsets += written.rrsets;
        self.totals.records += written.records;
    }

    /// Opens the node of a new owner, and of the empty non-terminals above it.
    fn begin_owner(&mut self, owner: &[u8]) {
        let parent_len = self.open[self.open_count - 1].owner.len();
        let mut starts = arrayvec::ArrayVec::<usize, 128>::new();
        let mut at = 0;
        while owner.len() - at > parent_len {
            let _ = starts.try_push(at);
            at += usize::from(owner[at]) + 1;
        }
        for &start in starts.iter().rev() {
            self.open_child(&owner[start..]);
        }
        debug_assert!(self.open[self.open_count - 1].owner == owner, "the owner is open itself");
        let depth = self.apex_depth + self.open_count - 1;
        self.totals.depth = self.totals.depth.max(depth as u8);
    }

    /// Opens a child of the innermost open node.
    fn open_child(&mut self, owner: &[u8]) {
        if self.first_child.is_empty() {
            // Names come after their ancestors: the first to be opened is right below the apex.
            self.first_child.extend_from_slice(&owner[1..=usize::from(owner[0])]);
        }
        let parent = &mut self.open[self.open_count - 1];
        parent.children += 1;
        if owner.starts_with(b"\x01*") {
            parent.flags |= HAS_WILDCARD;
        }
        let hash = extend_hash(parent.hash, &owner[1..=usize::from(owner[0])]);
        let flags = if parent.flags & (CUT | DNAME | OCCLUDED) == 0 { 0 } else { OCCLUDED };
        if self.open.len() == self.open_count {
            self.open.push(OpenNode::default());
        }
        let node = &mut self.open[self.open_count];
        node.owner.clear();
        node.owner.extend_from_slice(owner);
        node.entries.clear();
        (node.hash, node.flags, node.children) = (hash, flags, 0);
        node.written = Written::default();
        self.open_count += 1;
    }

    /// Writes the innermost open node.
    fn close(&mut self) {
        self.open_count -= 1;
        let node = &self.open[self.open_count];
        debug_assert!(node.owner.ends_with(self.apex.as_wire()), "a node is in its zone");
        let has_something = node.children > 0 || node.written != Written::default();
        debug_assert!(self.open_count == 0 || has_something, "no node is there for nothing");
        let prefix = &node.owner[..node.owner.len() - self.apex.as_wire().len()];
        let OpenNode { flags, children, written, entries, .. } = node;
        self.table.insert(node.hash, |arena| {
            let start = arena.len();
            arena.write_node(prefix, *flags, *children, Entries::over(entries, written.types));
            if written.has_denial {
                self.denial.push(&arena.node(start as u32));
            }
        });
    }
}

/// Returns the label of `owner` that stands in front of its last `parent_len` octets; with 0, its first.
fn child_label(owner: &[u8], parent_len: usize) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let end = at + usize::from(*owner.get(at)?) + 1;
        if parent_len == 0 || end + parent_len == owner.len() {
            return owner.get(at + 1..end);
        }
        at = end;
    }
}

/// Builds a zone from RRsets in any order.
///
/// Of two RRsets of one owner and type the later one counts.
///
/// # Errors
/// [`BuildError`]: the first rule that an RRset, or the zone as a whole, breaks.
pub fn build(apex: Name, seed: HashSeed, mut rrsets: Vec<Rrset>) -> Result<Zone, BuildError> {
    rrsets.sort_by(|a, b| a.owner.cmp(&b.owner));
    let mut builder = ZoneBuilder::new(apex, seed, rrsets.len() as u64);
    for rrset in &rrsets {
        builder.push(rrset.as_ref()).map_err(BuildError::Rrset)?;
    }
    builder.finish()
}
