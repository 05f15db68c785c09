//! Finds the place of a name in one zone.
//!
//! The builder has marked every zone cut, wildcard child and occluded name, so that the name
//! itself is the only thing looked up when it exists.
//! RFC 1034 section 4.3.2 steps 3a-3c; RFC 4592 section 3.3.1 for wildcards; RFC 6672 for DNAME.
//!
//! **Invariant:** never allocates, never fails; every name in the zone has a closest encloser.
//! **Not here:** following CNAMEs (`answer`), glue (`answer::referral`).

use arrayvec::ArrayVec;

use super::Zone;
use super::hash::extend_hash;
use super::node::{CUT, DNAME, HAS_CHILDREN, HAS_WILDCARD, NSEC3_ONLY, NodeView, OCCLUDED};
use super::path::NamePath;
use crate::limits::{LABEL_OCTETS_MAX, NAME_LABELS_MAX};

/// What a zone knows of a name.
#[derive(Clone, Copy, Debug)]
pub enum Found<'z> {
    /// The name exists here, perhaps without records.
    Node(NodeView<'z>),
    /// The name is at or below a zone cut: this one, at this depth.
    Cut(NodeView<'z>, usize),
    /// The name is below the owner of a DNAME, at this depth.
    Dname(NodeView<'z>, usize),
    /// The name does not exist, but this source of synthesis below the closest encloser, whose
    /// depth follows, does.
    Wildcard(NodeView<'z>, usize),
    /// The name does not exist; the depth of its closest encloser.
    Missing(usize),
}

impl Zone {
    /// Finds the place of a name that is at or below the apex.
    #[inline(always)]
    pub fn find(&self, path: &NamePath) -> Found<'_> {
        debug_assert!(path.depth() >= self.apex_depth());
        if let Some(node) = self.node_at(path, path.depth()) {
            // Most names have none of these flags.
            match node.flags() & (OCCLUDED | CUT | NSEC3_ONLY) {
                0 => return Found::Node(node),
                _ if !is_name(&node) => {}
                flags if flags & OCCLUDED != 0 => return self.find_above(path, path.depth()),
                flags if flags & CUT != 0 => return Found::Cut(node, path.depth()),
                _ => return Found::Node(node),
            }
        }
        self.find_missing(path)
    }

    /// Finds what stands for a name that does not exist.
    #[inline(never)]
    fn find_missing(&self, path: &NamePath) -> Found<'_> {
        // The apex always exists, so the search ends; names deeper than any of ours do not.
        let mut depth = (path.depth() - 1).min(usize::from(self.totals().depth));
        let encloser = loop {
            match self.node_at(path, depth).filter(is_name) {
                Some(node) => break node,
                None if depth <= self.apex_depth() => return Found::Missing(depth),
                None => depth -= 1,
            }
        };
        let flags = encloser.flags();
        match flags & (CUT | OCCLUDED) {
            0 => {}
            // Nothing above occludes it: it is the highest cut.
            CUT => return Found::Cut(encloser, depth),
            _ => return self.find_above(path, depth),
        }
        if flags & DNAME != 0 {
            return Found::Dname(encloser, depth);
        }
        if flags & HAS_WILDCARD != 0 {
            let hash = extend_hash(path.hash_at(depth), b"*");
            if let Some(node) = self.table().find_child(hash, b"\x01*", encloser.prefix()) {
                return Found::Wildcard(node, depth);
            }
        }
        Found::Missing(depth)
    }

    /// Finds what occludes a name: the highest cut or DNAME, down to an existing ancestor.
    fn find_above(&self, path: &NamePath, depth_max: usize) -> Found<'_> {
        for depth in self.apex_depth()..=depth_max {
            let Some(node) = self.node_at(path, depth) else { break };
            if node.has(CUT) {
                return Found::Cut(node, depth);
            }
            if node.has(DNAME) && depth < path.depth() {
                return Found::Dname(node, depth);
            }
        }
        debug_assert!(false, "an occluded name has a cut or a DNAME above it");
        Found::Missing(self.apex_depth())
    }

    /// Looks up the node that has the canonical labels `prefix` in front of the apex.
    pub(crate) fn node_of(&self, prefix: &[u8]) -> Option<NodeView<'_>> {
        let mut starts = ArrayVec::<usize, NAME_LABELS_MAX>::new();
        let mut at = 0;
        while at < prefix.len() {
            starts.try_push(at).ok()?;
            at += usize::from(prefix[at]) + 1;
        }
        let mut hash = self.apex_hash;
        for start in starts.into_iter().rev() {
            let end = start + 1 + usize::from(prefix[start]);
            hash = extend_hash(hash, prefix.get(start + 1..end)?);
        }
        self.table().find(hash, prefix)
    }

    /// Looks up the child of a node, whose name has the hash `hash`, by a label in any case.
    pub(crate) fn child_of(
        &self,
        node: &NodeView<'_>,
        hash: u64,
        label: &[u8],
    ) -> Option<NodeView<'_>> {
        let mut lower = ArrayVec::<u8, { LABEL_OCTETS_MAX + 1 }>::new();
        lower.try_push(label.len() as u8).ok()?;
        lower.try_extend_from_slice(label).ok()?;
        lower.make_ascii_lowercase();
        self.table().find_child(extend_hash(hash, &lower[1..]), &lower, node.prefix())
    }

    /// Looks up the node of the suffix of `depth` labels.
    #[inline(always)]
    pub(crate) fn node_at(&self, path: &NamePath, depth: usize) -> Option<NodeView<'_>> {
        let prefix_end = path.start_at(self.apex_depth());
        self.table().find(path.hash_at(depth), &path.wire()[path.start_at(depth)..prefix_end])
    }
}

/// Whether a node exists as a name: the owner of an NSEC3 record does not by this alone (RFC 5155
/// section 7.2.8).
#[inline]
fn is_name(node: &NodeView<'_>) -> bool {
    node.flags() & (NSEC3_ONLY | HAS_CHILDREN) != NSEC3_ONLY
}
