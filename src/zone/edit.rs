//! Makes a zone's next version from its predecessor and a list of changes.
//!
//! Only the shards of the nodes that change are copied. What the builder knows from the order of
//! its input is kept up here: empty non-terminals come and go with their descendants, a first
//! child `*` marks its parent, and a new cut occludes what lies below it.
//!
//! **Invariant:** the result answers exactly as a zone built from the resulting RRsets.
//! **Not here:** rules between RRsets (`record::master::lint`, `dnssec`): a change is taken as the
//! store made it.

use std::collections::BTreeMap;

use super::denial::keys_of;
use super::hash::HashSeed;
use super::node::{CNAME, CUT, DNAME, Entries, HAS_WILDCARD, NSEC3_ONLY, NodeView, OCCLUDED};
use super::nsec3::{Hashing, NameHash};
use super::order::Key;
use super::path::NamePath;
use super::sets::{NodeSets, canonical, check_rrset};
use super::table::TableBuilder;
use super::table::edit::TableEdit;
use super::{InsertError, NegativeSoa, Totals, Zone, read_soa};
use crate::name::{Name, is_at_or_below};
use crate::record::{Change, RecordType, RrsetRef};

/// What became of a list of changes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EditReport {
    /// How many changes were taken, those that changed nothing included.
    pub applied: u64,
    /// The changes that break a rule, by their place in the list; they were left out.
    pub refused: Vec<(usize, InsertError)>,
}

impl Zone {
    /// Returns the zone with `changes` made in order, and which of them were refused.
    pub fn edit(&self, changes: &[Change]) -> (Self, EditReport) {
        let mut report = EditReport::default();
        // All changes of one owner are made together, each owner's in their order.
        let mut by_owner: BTreeMap<&Name, Vec<&Change>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            match self.check_change(change) {
                Ok(()) => {
                    report.applied += 1;
                    by_owner.entry(change.owner()).or_default().push(change);
                }
                Err(error) => report.refused.push((index, error)),
            }
        }
        let mut edit = ZoneEdit::new(self);
        for (owner, changes) in by_owner {
            edit.change_owner(owner, &changes);
        }
        (edit.finish(), report)
    }

    /// Checks one change for itself.
    fn check_change(&self, change: &Change) -> Result<(), InsertError> {
        let (owner, rtype) = (change.owner(), change.rtype());
        let is_soa = rtype == RecordType::SOA && *owner == self.apex;
        match change {
            Change::Put(rrset) if is_soa && rrset.rdata.count() != 1 => {
                Err(InsertError::SoaNeeded { apex: self.apex.clone() })
            }
            Change::Put(rrset) => check_rrset(&self.apex, &rrset.as_ref()),
            Change::Delete { .. } if is_soa => {
                Err(InsertError::SoaNeeded { apex: self.apex.clone() })
            }
            Change::Delete { .. } => {
                // One octet of RDATA stands for none: only owner and type count here.
                let rrset = RrsetRef { owner: owner.as_wire(), rtype, ttl_s: 0, rdata: &[0, 0] };
                match check_rrset(&self.apex, &rrset) {
                    Err(InsertError::BadRdata { .. }) | Ok(()) => Ok(()),
                    error => error,
                }
            }
        }
    }
}

/// A zone's next version under construction.
struct ZoneEdit<'z> {
    /// What it starts from.
    base: &'z Zone,
    /// The nodes.
    table: TableEdit<'z>,
    /// Counts, kept up.
    totals: Totals,
    /// Owners that gain or lose an NSEC record.
    nsec: BTreeMap<Key, bool>,
    /// Owners that gain or lose an NSEC3 record.
    nsec3: BTreeMap<NameHash, bool>,
    /// The path of the owner that changes.
    path: NamePath,
    /// Its RRsets.
    sets: NodeSets,
    /// Its entries.
    entries: Vec<u8>,
}

impl<'z> ZoneEdit<'z> {
    /// Begins with no change.
    fn new(base: &'z Zone) -> Self {
        Self {
            base,
            table: TableEdit::new(&base.table),
            totals: base.totals,
            nsec: BTreeMap::new(),
            nsec3: BTreeMap::new(),
            path: NamePath::new(),
            sets: NodeSets::default(),
            entries: Vec::new(),
        }
    }

    /// Makes all changes of one owner.
    fn change_owner(&mut self, owner: &Name, changes: &[&Change]) {
        self.path.set_canonical(owner.as_wire(), self.base.seed);
        let depth = self.path.depth();
        let (hash, prefix) = self.place(depth);
        let before = self.table.find(hash, &prefix);
        let (mut flags, children) = before.map_or((0, 0), |node| (node.flags(), node.children()));
        let is_new = before.is_none();
        self.sets.clear();
        if let Some(node) = &before {
            self.sets.read(node, owner);
            Self::uncount(&mut self.totals, node);
            Self::note_keys(&mut self.nsec, &mut self.nsec3, node, false);
        }
        for change in changes {
            match change {
                Change::Put(rrset) => {
                    self.sets.put(rrset.rtype, rrset.ttl_s, rrset.rdata.as_octets());
                }
                Change::Delete { rtype, .. } => drop(self.sets.remove(*rtype)),
            }
        }
        if self.sets.is_empty() && children == 0 && depth > self.base.apex_depth() {
            if !is_new {
                self.table.remove(hash, &prefix);
                self.unlink(depth);
            }
            return;
        }
        if is_new {
            flags = self.link(depth);
        }
        let covered_before = flags & (CUT | DNAME);
        self.entries.clear();
        let written = self.sets.write(owner.as_wire(), &mut self.entries);
        flags = flags & !(CUT | DNAME | CNAME | NSEC3_ONLY) | written.flags;
        if written.has_ns && depth > self.base.apex_depth() {
            flags |= CUT;
        }
        let entries = &self.entries;
        self.table.put(hash, &prefix, |arena| {
            arena.write_node(&prefix, flags, children, Entries::over(entries, written.types));
        });
        self.totals.names += u64::from(written.types > 0);
        self.totals.rrsets += written.rrsets;
        self.totals.records += written.records;
        if let Some(node) = self.table.find(hash, &prefix) {
            Self::note_keys(&mut self.nsec, &mut self.nsec3, &node, true);
        }
        if children > 0 && covered_before != flags & (CUT | DNAME) {
            self.mark_below(owner);
        }
    }

    /// Makes sure that all ancestors of a new node exist; returns the flags that it inherits.
    fn link(&mut self, depth: usize) -> u8 {
        self.totals.depth = self.totals.depth.max(depth as u8);
        let mut missing = depth;
        loop {
            debug_assert!(missing > self.base.apex_depth(), "the apex has a node");
            let (hash, prefix) = self.place(missing - 1);
            let Some(parent) = self.table.find(hash, &prefix) else {
                missing -= 1;
                continue;
            };
            let is_covering = parent.has(CUT | DNAME | OCCLUDED);
            let (mut flags, children) = (parent.flags(), parent.children() + 1);
            if self.is_wildcard(missing) {
                flags |= HAS_WILDCARD;
            }
            self.rewrite(hash, &prefix, flags, children);
            let inherited = if is_covering { OCCLUDED } else { 0 };
            // What is missing between the parent and the node are empty non-terminals.
            for between in missing..depth {
                let (hash, prefix) = self.place(between);
                let wildcard = if self.is_wildcard(between + 1) { HAS_WILDCARD } else { 0 };
                self.table.put(hash, &prefix, |arena| {
                    arena.write_node(&prefix, inherited | wildcard, 1, Entries::over(&[], 0));
                });
            }
            return inherited;
        }
    }

    /// Takes a removed node off its parent, and removes ancestors that are left with nothing.
    fn unlink(&mut self, mut depth: usize) {
        while depth > self.base.apex_depth() {
            let (hash, prefix) = self.place(depth - 1);
            let Some(parent) = self.table.find(hash, &prefix) else {
                debug_assert!(false, "every node but the apex has a parent");
                return;
            };
            debug_assert!(parent.children() > 0);
            let (mut flags, children) = (parent.flags(), parent.children().saturating_sub(1));
            if self.is_wildcard(depth) {
                flags &= !HAS_WILDCARD;
            }
            let is_empty = parent.entries().next().is_none();
            if children == 0 && is_empty && depth - 1 > self.base.apex_depth() {
                self.table.remove(hash, &prefix);
                depth -= 1;
                continue;
            }
            self.rewrite(hash, &prefix, flags, children);
            return;
        }
    }

    /// Writes a node again with other flags and another count of children.
    fn rewrite(&mut self, hash: u64, prefix: &[u8], flags: u8, children: u32) {
        let Some(node) = self.table.find(hash, prefix) else { return };
        self.entries.clear();
        let mut entries = node.entries();
        let types = entries.types();
        while let Some((_, octets)) = entries.next_with_octets() {
            self.entries.extend_from_slice(octets);
        }
        let entries = Entries::over(&self.entries, types);
        self.table.put(hash, prefix, |arena| arena.write_node(prefix, flags, children, entries));
    }

    /// Marks the nodes below `owner` as occluded or not, after its cut or DNAME came or went.
    ///
    /// This looks at every node; it is needed only when a name that has descendants changes so.
    fn mark_below(&mut self, owner: &Name) {
        let mut below = Vec::new();
        let apex = &self.base.apex;
        self.table.for_each(|node| {
            let wire = [node.prefix(), apex.as_wire()].concat();
            if wire.len() > owner.as_wire().len() && is_at_or_below(&wire, owner.as_wire()) {
                below.push((wire, node.flags()));
            }
        });
        for (wire, flags) in below {
            self.path.set_canonical(&wire, self.base.seed);
            let is_occluded = (self.base.apex_depth()..self.path.depth()).any(|depth| {
                let (hash, prefix) = self.place(depth);
                self.table.find(hash, &prefix).is_some_and(|node| node.has(CUT | DNAME))
            });
            if is_occluded == (flags & OCCLUDED != 0) {
                continue;
            }
            let (hash, prefix) = self.place(self.path.depth());
            let Some(node) = self.table.find(hash, &prefix) else { continue };
            let children = node.children();
            Self::note_keys(&mut self.nsec, &mut self.nsec3, &node, false);
            self.rewrite(hash, &prefix, flags ^ OCCLUDED, children);
            if let Some(node) = self.table.find(hash, &prefix) {
                Self::note_keys(&mut self.nsec, &mut self.nsec3, &node, true);
            }
        }
    }

    /// Notes the keys that a node has in the orders of denial, as added or as removed.
    fn note_keys(
        nsec: &mut BTreeMap<Key, bool>,
        nsec3: &mut BTreeMap<NameHash, bool>,
        node: &NodeView<'_>,
        is_added: bool,
    ) {
        let keys = keys_of(node);
        nsec.extend(keys.0.map(|key| (key, is_added)));
        nsec3.extend(keys.1.map(|key| (key, is_added)));
    }

    /// Takes a node's records off the counts.
    fn uncount(totals: &mut Totals, node: &NodeView<'_>) {
        let (mut rrsets, mut records, mut sigs) = (0, 0, 0);
        for entry in node.entries() {
            rrsets += u64::from(entry.records > 0);
            records += u64::from(entry.records);
            sigs += super::prepare::records(entry.sigs).count() as u64;
        }
        totals.names -= u64::from(node.entries().next().is_some());
        totals.rrsets -= rrsets + u64::from(sigs > 0);
        totals.records -= records + sigs;
    }

    /// Returns hash and labels in front of the apex of the path's suffix of `depth` labels.
    fn place(&self, depth: usize) -> (u64, Vec<u8>) {
        let end = self.path.start_at(self.base.apex_depth());
        let prefix = self.path.wire()[self.path.start_at(depth)..end].to_vec();
        (self.path.hash_at(depth), prefix)
    }

    /// Whether the path's suffix of `depth` labels begins with `*`.
    fn is_wildcard(&self, depth: usize) -> bool {
        self.path.suffix_at(depth).starts_with(b"\x01*")
    }

    /// Ends the version.
    fn finish(self) -> Zone {
        let mut zone = self.base.clone();
        zone.table = self.table.finish();
        zone.totals = self.totals;
        zone.denial.nsec = zone.denial.nsec.with_changes(&self.nsec);
        zone.denial.nsec3 = zone.denial.nsec3.with_changes(&self.nsec3);
        if zone.table.is_out_of_shape() {
            zone.table = reshape(&zone, zone.seed);
        }
        let apex = zone.apex_node();
        let hashing = Hashing::of(zone.apex.as_wire(), &apex, zone.denial.hashing.as_ref());
        let soa = apex.rrset(RecordType::SOA).filter(|soa| soa.records == 1);
        let soa = soa.expect("no change that takes the SOA away, or adds another, was let in");
        (zone.serial, zone.negative) = (read_soa(&soa).serial, NegativeSoa::of(&soa));
        assert!(zone.totals.names <= zone.table.node_count(), "every owner has a node");
        assert!(zone.totals.rrsets <= zone.totals.records, "no RRset is empty");
        zone.denial.hashing = hashing;
        zone
    }
}

/// Cuts a table that has outgrown its shards anew.
fn reshape(zone: &Zone, seed: HashSeed) -> super::Table {
    let mut builder = TableBuilder::new(zone.table.node_count());
    let mut path = NamePath::new();
    for node in zone.table.nodes() {
        let wire = [node.prefix(), zone.apex.as_wire()].concat();
        path.set_canonical(canonical(&wire).as_wire(), seed);
        builder.insert(path.hash(), |arena| {
            arena.write_node(node.prefix(), node.flags(), node.children(), node.entries());
        });
    }
    let table = builder.finish();
    assert!(table.node_count() == zone.table.node_count(), "every node has found its shard");
    table
}
