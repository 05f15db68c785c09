//! Builds a zone from a stream of RRsets in canonical order of their owners.
//!
//! Names arrive after all their ancestors, so one stack of open ancestors is enough to know, when
//! a node is written, whether it is below a cut, has children, or a child `*`.
//! RFC 4034 section 6.1 (order); RFC 4592 section 2.2.2 (empty non-terminals).
//!
//! **Invariant:** every proper ancestor of an owner, up to the apex, has a node.
//! **Not here:** rules that a served zone may break (`zone::check`).

use super::denial::DenialBuilder;
use super::hash::{HashSeed, extend_hash};
use super::node::{CUT, DNAME, HAS_WILDCARD, NodeView, OCCLUDED, write_node};
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
}

/// Counts over all nodes of a zone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
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
        }
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
        // The apex is an ancestor of all, so one is found.
        let parent = open.iter().rposition(below).unwrap_or(0);
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
        let depth = self.apex_depth + self.open_count - 1;
        self.totals.depth = self.totals.depth.max(depth as u8);
    }

    /// Opens a child of the innermost open node.
    fn open_child(&mut self, owner: &[u8]) {
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
        let prefix = &node.owner[..node.owner.len() - self.apex.as_wire().len()];
        let OpenNode { flags, children, written, entries, .. } = node;
        self.table.insert(node.hash, |arena| {
            let start = arena.len();
            write_node(arena, prefix, *flags, *children, written.types, entries);
            if written.has_denial {
                self.denial.push(&NodeView::new(&arena[start..]));
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
