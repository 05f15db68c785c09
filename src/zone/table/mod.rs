//! The nodes of one zone by hash of their owner name: a persistent table in two levels.
//!
//! A table is a few dozen branches of a few dozen shards each; a shard is one array by hash
//! (`zone::slots`) over one arena of nodes. A new version copies one shard, one branch and the root array,
//! and shares all the rest, so an edit costs the same few microseconds in a zone of a thousand
//! names and of a million.
//!
//! **Invariant:** a node stands in the shard that the top bits of its hash name; the slot array of a shard
//! always has a free slot, so that every probe ends.
//! **Not here:** the next version (`table::edit`), what a node means (`zone::find`).

pub(crate) mod edit;
pub(crate) mod walk;
pub(crate) mod warm;

use std::sync::Arc;

use crate::name::words::is_same;
use crate::zone::arena::Arena;
use crate::zone::node::NodeView;
use crate::zone::slots::{Slot, Slots};

/// The nodes of a zone.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Branches of shards; both counts are powers of two.
    branches: Box<[Branch]>,
    /// How many bits of a hash name the branch.
    branch_bits: u32,
    /// How many further bits name the shard in it.
    shard_bits: u32,
    /// Nodes in all shards.
    nodes: u64,
}

/// Neighboring shards.
type Branch = Arc<[Arc<Shard>]>;

/// Some hundred nodes.
#[derive(Clone, Debug, Default)]
struct Shard {
    /// Where each node stands.
    slots: Slots,
    /// The nodes, see `zone::node`.
    arena: Box<[u8]>,
    /// Octets that the arena would lose if it were written anew, about.
    stale: u32,
}

impl Table {
    /// Looks a node up by its owner's hash and its labels in front of the apex.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, prefix: &[u8]) -> Option<NodeView<'_>> {
        self.shard(hash).find(hash, |node| is_same(node.prefix(), prefix))
    }

    /// Looks up the child of the node whose labels in front of the apex are `prefix`, by its hash
    /// and its label, length octet included.
    pub(crate) fn find_child(
        &self,
        hash: u64,
        label: &[u8],
        prefix: &[u8],
    ) -> Option<NodeView<'_>> {
        self.shard(hash).find(hash, |node| {
            let parts = node.prefix().split_at_checked(label.len());
            parts.is_some_and(|(front, rest)| is_same(front, label) && is_same(rest, prefix))
        })
    }

    /// Returns how many nodes there are, empty non-terminals included.
    pub(crate) fn node_count(&self) -> u64 {
        self.nodes
    }

    /// Iterates over all nodes in no order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.branches.iter().flat_map(|branch| branch.iter()).flat_map(|shard| shard.nodes())
    }

    /// Returns how many octets the table holds in memory.
    pub(crate) fn memory_octets(&self) -> u64 {
        let shards = self.branches.iter().flat_map(|branch| branch.iter());
        let octets: usize = shards
            .map(|shard| shard.arena.len() + shard.slots.memory_octets() + size_of::<Shard>() + 24)
            .sum();
        octets as u64 + 24 * self.branches.len() as u64
    }

    /// Whether so many nodes have come or gone that the shards should be cut anew.
    pub(crate) fn is_out_of_shape(&self) -> bool {
        let shards = 1_u64 << (self.branch_bits + self.shard_bits);
        self.nodes > shards * SHARD_NODES * 4
            || (shards > 1 && self.nodes * 8 < shards * SHARD_NODES)
    }

    /// Reads the branch in which a hash belongs, to have it in the caches.
    #[inline]
    fn touch_branch(&self, hash: u64) -> u8 {
        self.branches[self.place(hash).0].len() as u8
    }

    /// Returns the shard in which a hash belongs.
    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        let (branch, shard) = self.place(hash);
        &self.branches[branch][shard]
    }

    /// Returns in which branch, and which of its shards, a hash belongs.
    #[inline]
    fn place(&self, hash: u64) -> (usize, usize) {
        let index = shard_index(hash, self.branch_bits + self.shard_bits);
        (index >> self.shard_bits, index & ((1 << self.shard_bits) - 1))
    }
}

impl Shard {
    /// Looks a node up.
    #[inline(always)] // a third of its instructions would be the call
    fn find(&self, hash: u64, is_it: impl Fn(&NodeView<'_>) -> bool) -> Option<NodeView<'_>> {
        let tag = hash as u32;
        for slot in self.slots.run_at_home(tag) {
            if slot.tag < tag {
                continue;
            }
            if slot.tag > tag || slot.is_gap() {
                break;
            }
            let node = self.node_at(slot.at);
            if is_it(&node) {
                return Some(node);
            }
        }
        None
    }

    /// Views the node that starts at an offset.
    #[inline]
    fn node_at(&self, at: u32) -> NodeView<'_> {
        NodeView::new(&self.arena, at as usize)
    }

    /// Iterates over the nodes.
    fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.slots.iter().map(|slot| self.node_at(slot.at))
    }
}

/// A table under construction, filled node by node.
#[derive(Debug)]
pub(crate) struct TableBuilder {
    /// How many bits of a hash name the branch.
    branch_bits: u32,
    /// How many further bits name the shard in it.
    shard_bits: u32,
    /// The shards, all branches in a row.
    shards: Vec<ShardDraft>,
    /// About how many nodes there will be.
    expected: u64,
    /// How many there are.
    inserted: u64,
}

/// A shard under construction.
#[derive(Clone, Debug, Default)]
struct ShardDraft {
    /// The nodes.
    arena: Arena,
    /// Where each stands.
    slots: Vec<Slot>,
}

impl TableBuilder {
    /// Begins a table for about `nodes` nodes; more or fewer only cost speed.
    pub(crate) fn new(nodes: u64) -> Self {
        let shards = (nodes / SHARD_NODES).next_power_of_two().min(SHARDS_MAX);
        let bits = shards.trailing_zeros();
        let branch_bits = bits / 2;
        Self {
            branch_bits,
            shard_bits: bits - branch_bits,
            shards: vec![ShardDraft::default(); shards as usize],
            expected: nodes,
            inserted: 0,
        }
    }

    /// Begins a table of the same shape for about `nodes` other nodes of the same zone.
    pub(crate) fn sibling(&self, nodes: u64) -> Self {
        Self {
            branch_bits: self.branch_bits,
            shard_bits: self.shard_bits,
            shards: vec![ShardDraft::default(); self.shards.len()],
            expected: nodes,
            inserted: 0,
        }
    }

    /// Takes all nodes of a [`Self::sibling`]. No owner must be in both.
    pub(crate) fn append(&mut self, other: Self) {
        assert_eq!(self.shards.len(), other.shards.len(), "siblings have one shape");
        for (shard, other) in self.shards.iter_mut().zip(other.shards) {
            // All ends below 4 GiB, or offset() stops it, as with a node that is inserted.
            let start = offset(shard.arena.len());
            offset(shard.arena.len() + other.arena.len());
            shard.arena.append(&other.arena);
            let moved = other.slots.iter().map(|slot| Slot { tag: slot.tag, at: slot.at + start });
            shard.slots.extend(moved);
        }
        self.inserted += other.inserted;
    }

    /// Lets `write` append one node, whose owner has this hash, to the arena where it belongs.
    ///
    /// The owner must not be in the table yet.
    pub(crate) fn insert(&mut self, hash: u64, write: impl FnOnce(&mut Arena)) {
        let shard = &mut self.shards[shard_index(hash, self.branch_bits + self.shard_bits)];
        shard.slots.push(Slot { tag: hash as u32, at: offset(shard.arena.len()) });
        write(&mut shard.arena);
        self.inserted += 1;
        if self.inserted == self.expected / 16 {
            self.reserve();
        }
    }

    /// Makes room for all nodes to come, which are taken to be as long as those that came.
    ///
    /// Arenas that grow by doubling would leave as much memory in holes as they end up using.
    fn reserve(&mut self) {
        let octets: usize = self.shards.iter().map(|shard| shard.arena.len()).sum();
        let each = self.expected as usize / self.shards.len();
        // An eighth more holds all but a few shards: counts of nodes differ by a twentieth.
        let nodes = each + each / 8;
        let arena = nodes * (octets / self.inserted as usize + 1);
        for shard in &mut self.shards {
            shard.slots.reserve_exact(nodes.saturating_sub(shard.slots.len()));
            shard.arena.reserve_to(arena);
        }
    }

    /// Ends the table.
    pub(crate) fn finish(self) -> Table {
        let nodes = self.shards.iter().map(|shard| shard.slots.len() as u64).sum();
        let mut drafts = self.shards.into_iter();
        let branches = (0..1_usize << self.branch_bits)
            .map(|_| {
                let shards = drafts.by_ref().take(1 << self.shard_bits);
                shards.map(|draft| Arc::new(draft.finish())).collect()
            })
            .collect();
        Table { branches, branch_bits: self.branch_bits, shard_bits: self.shard_bits, nodes }
    }
}

impl ShardDraft {
    /// Cuts the arena to size and spreads the slots.
    fn finish(self) -> Shard {
        let slots = Slots::spread(self.slots.into_iter());
        Shard { slots, arena: self.arena.into_octets(), stale: 0 }
    }
}

/// Returns which of a table's shards a hash belongs in: what its top `bits` say.
#[inline]
fn shard_index(hash: u64, bits: u32) -> usize {
    // In two steps, so that a count of no bits needs no special case.
    (hash >> 1 >> (63 - bits)) as usize
}

/// Turns an arena's length into an offset.
fn offset(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|at| *at != u32::MAX).expect("a shard's arena stays below 4 GiB")
}

/// Nodes of a shard, at least, when a table is cut: small enough to be copied in microseconds.
const SHARD_NODES: u64 = 256;
/// Shards of a table. Beyond 2^24 the pointers to them would outweigh what they save.
const SHARDS_MAX: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::edit::TableEdit;
    use super::*;
    use crate::record::RecordType;
    use crate::seeded::Seeded;
    use crate::zone::hash::extend_hash;
    use crate::zone::node::{Entries, EntryView, write_entry};
    use std::collections::BTreeMap;

    fn prefix(index: u64) -> Vec<u8> {
        let label = format!("h{index}");
        [&[label.len() as u8], label.as_bytes()].concat()
    }

    fn hash(index: u64) -> u64 {
        extend_hash(1, &prefix(index)[1..])
    }

    /// The RRset of nodes with these flags: one of three bodies.
    fn body(flags: u8) -> Vec<u8> {
        vec![flags % 3; 40]
    }

    /// Writes a node that has an RRset in common with a third of all others.
    fn write(index: u64, flags: u8) -> impl FnOnce(&mut Arena) {
        let (mut entries, body) = (Vec::new(), body(flags));
        let (rtype, sigs, pointers) = (RecordType::A, &[][..], &[][..]);
        write_entry(&mut entries, &EntryView { rtype, records: 1, body: &body, sigs, pointers });
        move |arena| arena.write_node(&prefix(index), flags, 0, Entries::over(&entries, 1))
    }

    fn check(table: &Table, expected: &BTreeMap<u64, u8>, absent: std::ops::Range<u64>) {
        assert_eq!(table.node_count(), expected.len() as u64);
        assert_eq!(table.nodes().count(), expected.len());
        for (&index, &flags) in expected {
            let node = table.find(hash(index), &prefix(index)).expect("was put");
            assert_eq!(node.flags(), flags, "h{index}");
            let found = node.rrset(RecordType::A).map(|entry| entry.body.to_vec());
            assert_eq!(found, Some(body(flags)), "h{index}");
        }
        for index in absent {
            assert_eq!(
                table.find(hash(index), &prefix(index)).is_some(),
                expected.contains_key(&index)
            );
        }
    }

    /// Returns the octets of all arenas.
    fn arena_octets(table: &Table) -> usize {
        let shards = table.branches.iter().flat_map(|branch| branch.iter());
        shards.map(|shard| shard.arena.len()).sum()
    }

    #[test]
    fn tables_of_any_size_find_what_was_put_and_nothing_else() {
        for count in [0, 1, 2, 127, 128, 129, 1_000, 70_000] {
            let mut builder = TableBuilder::new(count);
            (0..count).for_each(|index| builder.insert(hash(index), write(index, 1)));
            let table = builder.finish();
            check(&table, &(0..count).map(|index| (index, 1)).collect(), 0..count + 100);
        }
    }

    #[test]
    fn siblings_share_each_in_its_own_part_and_read_back() {
        let flags = |index: u64| (index % 5) as u8;
        let mut builder = TableBuilder::new(3_000);
        let mut siblings = [builder.sibling(1_000), builder.sibling(1_000)];
        for index in 0..3_000 {
            let part = match index / 1_000 {
                0 => &mut builder,
                part => &mut siblings[part as usize - 1],
            };
            part.insert(hash(index), write(index, flags(index)));
        }
        siblings.into_iter().for_each(|sibling| builder.append(sibling));
        let table = builder.finish();
        check(&table, &(0..3_000).map(|index| (index, flags(index))).collect(), 0..3_100);
        assert!(arena_octets(&table) < 3_000 * (4 + 5 + 6 + 8));
    }

    #[test]
    fn a_table_cut_for_too_few_still_works() {
        let mut builder = TableBuilder::new(0);
        (0..5_000).for_each(|index| builder.insert(hash(index), write(index, 2)));
        let table = builder.finish();
        assert!(table.is_out_of_shape());
        check(&table, &(0..5_000).map(|index| (index, 2)).collect(), 0..5_100);
    }

    #[test]
    fn the_node_that_holds_what_others_refer_to_may_go() {
        let mut builder = TableBuilder::new(20);
        (0..20).for_each(|index| builder.insert(hash(index), write(index, 1)));
        let mut table = builder.finish();
        let mut expected: BTreeMap<u64, u8> = (0..20).map(|index| (index, 1)).collect();
        // The first one, whichever holds the octets after that, and so on to the last.
        for index in 0..20 {
            let mut edit = TableEdit::new(&table);
            edit.remove(hash(index), &prefix(index));
            expected.remove(&index);
            table = edit.finish();
            check(&table, &expected, 0..20);
        }
        assert_eq!(arena_octets(&table), 0);
    }

    #[test]
    fn edits_without_end_leave_a_table_about_as_long_as_one_built() {
        let mut builder = TableBuilder::new(200);
        (0..200).for_each(|index| builder.insert(hash(index), write(index, 1)));
        let built = builder.finish();
        let mut table = built.clone();
        for round in 0..2_000_u64 {
            let mut edit = TableEdit::new(&table);
            // One node again and again, and all in turn.
            for index in [7, round % 200] {
                edit.put(hash(index), &prefix(index), write(index, 1));
            }
            table = edit.finish();
            assert!(arena_octets(&table) < 2 * arena_octets(&built), "round {round}");
        }
        check(&table, &(0..200).map(|index| (index, 1)).collect(), 0..200);
    }

    #[test]
    fn nodes_that_only_come_share_in_the_end() {
        let mut table = TableBuilder::new(0).finish();
        for index in 0..1_000 {
            let mut edit = TableEdit::new(&table);
            edit.put(hash(index), &prefix(index), write(index, 1));
            table = edit.finish();
        }
        check(&table, &(0..1_000).map(|index| (index, 1)).collect(), 0..1_000);
        // A node is 8 to 9 octets and a reference, or an entry of 54; half of them may be new.
        assert!(arena_octets(&table) < 1_000 * (9 + (6 + 54) / 2), "{}", arena_octets(&table));
    }

    #[test]
    fn edits_in_any_order_equal_a_map() {
        let mut random = Seeded(1);
        let mut table = TableBuilder::new(600).finish();
        let mut expected = BTreeMap::new();
        for round in 0..200 {
            let before = (table.clone(), expected.clone());
            let mut edit = TableEdit::new(&table);
            for _ in 0..random.below(40) {
                let index = random.below(700) as u64;
                if random.below(3) == 0 {
                    edit.remove(hash(index), &prefix(index));
                    expected.remove(&index);
                } else {
                    let flags = (round % 32) as u8 & !8;
                    edit.put(hash(index), &prefix(index), write(index, flags));
                    expected.insert(index, flags);
                    assert!(edit.find(hash(index), &prefix(index)).is_some());
                }
            }
            let mut seen = 0;
            edit.for_each(|_| seen += 1);
            assert_eq!(seen, expected.len());
            table = edit.finish();
            check(&table, &expected, 0..700);
            check(&before.0, &before.1, 0..0); // the version before is untouched
        }
    }
}
