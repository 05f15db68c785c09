//! A walk over all nodes of a table that can be left and taken up again.
//!
//! **Invariant:** a cursor belongs to one version of a table; there it meets every node once.
//! **Not here:** what is done with the nodes (`responder::transfer`).

use super::Table;
use crate::zone::node::NodeView;

/// Where a walk stands: in front of the first node, by default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct NodeCursor {
    /// The branch.
    branch: usize,
    /// The shard in it.
    shard: usize,
    /// The place of the next node's slot, or one in front of it.
    slot: usize,
}

impl Table {
    /// Returns the next node, in no order, and moves the cursor behind it.
    pub(crate) fn next_node(&self, cursor: &mut NodeCursor) -> Option<NodeView<'_>> {
        while let Some(branch) = self.branches.get(cursor.branch) {
            while let Some(shard) = branch.get(cursor.shard) {
                if let Some((index, slot)) = shard.slots.at_or_behind(cursor.slot) {
                    cursor.slot = index + 1;
                    return Some(shard.node_at(slot.at));
                }
                (cursor.shard, cursor.slot) = (cursor.shard + 1, 0);
            }
            (cursor.branch, cursor.shard) = (cursor.branch + 1, 0);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::TableBuilder;
    use super::*;
    use crate::zone::node::Entries;

    #[test]
    fn a_walk_meets_every_node_once() {
        for nodes in [0_u64, 1, 500, 20_000] {
            let mut builder = TableBuilder::new(nodes);
            for index in 0..nodes {
                let hash = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let prefix = [&[8][..], &index.to_be_bytes()].concat();
                let none = Entries::over(&[], 0);
                builder.insert(hash, |arena| arena.write_node(&prefix, 0, 0, none));
            }
            let table = builder.finish();
            let mut cursor = NodeCursor::default();
            let mut met = Vec::new();
            while let Some(node) = table.next_node(&mut cursor) {
                met.push(node.prefix().to_vec());
            }
            assert_eq!(table.next_node(&mut cursor).map(|node| node.flags()), None);
            let all: Vec<_> = table.nodes().map(|node| node.prefix().to_vec()).collect();
            assert_eq!(met, all);
            assert_eq!(met.len() as u64, nodes);
        }
    }
}
