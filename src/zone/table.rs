//! The nodes of one zone by hash of their owner name: a persistent table in two levels.
//!
//! A table is a few dozen branches of a few dozen shards each; a shard is one open-addressing
//! array over one arena of nodes. A new version copies one shard, one branch and the root array,
//! and shares all the rest, so an edit costs the same few microseconds in a zone of a thousand
//! names and of a million.
//!
//! **Invariant:** a node stands in the shard that the top bits of its hash name; the slot array of a shard
//! always has a free slot, so that every probe ends.
//! **Not here:** what a node means (`zone::find`), when it is written (`zone::edit`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::NodeView;

/// The nodes of a zone.
#[derive(Clone, Debug)]
pub struct Table {
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
    /// Open addressing, linear probing.
    slots: Box<[Slot]>,
    /// The nodes, see `zone::node`.
    arena: Box<[u8]>,
    /// Octets of the arena that no slot leads to.
    garbage: u32,
    /// Slots in use.
    nodes: u32,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The low half of the hash.
    tag: u32,
    /// Where in the arena the node starts; [`FREE`] in a free slot.
    at: u32,
}

impl Table {
    /// Looks a node up by its owner's hash and its labels in front of the apex.
    #[inline]
    pub fn find(&self, hash: u64, prefix: &[u8]) -> Option<NodeView<'_>> {
        self.shard(hash).find(hash, |node| node.prefix() == prefix)
    }

    /// Looks up the child `*` of the node whose labels in front of the apex are `prefix`.
    pub fn find_wildcard(&self, hash: u64, prefix: &[u8]) -> Option<NodeView<'_>> {
        self.shard(hash).find(hash, |node| {
            node.prefix().strip_prefix(b"\x01*").is_some_and(|rest| rest == prefix)
        })
    }

    /// Returns how many nodes there are, empty non-terminals included.
    pub fn node_count(&self) -> u64 {
        self.nodes
    }

    /// Iterates over all nodes in no order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.branches.iter().flat_map(|branch| branch.iter()).flat_map(|shard| shard.nodes())
    }

    /// Returns how many octets the table holds in memory.
    pub fn memory_octets(&self) -> u64 {
        let shards = self.branches.iter().flat_map(|branch| branch.iter());
        let octets: usize = shards
            .map(|shard| {
                shard.arena.len() + size_of_val::<[Slot]>(&shard.slots) + size_of::<Shard>() + 24
            })
            .sum();
        octets as u64 + 24 * self.branches.len() as u64
    }

    /// Whether so many nodes have come or gone that the shards should be cut anew.
    pub fn is_out_of_shape(&self) -> bool {
        let shards = 1_u64 << (self.branch_bits + self.shard_bits);
        self.nodes > shards * SHARD_NODES * 4
            || (shards > 1 && self.nodes * 8 < shards * SHARD_NODES)
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
        // Rotating brings the top bits down; a count of no bits needs no special case.
        let branch = hash.rotate_left(self.branch_bits) & ((1 << self.branch_bits) - 1);
        let both = hash.rotate_left(self.branch_bits + self.shard_bits);
        (branch as usize, (both & ((1 << self.shard_bits) - 1)) as usize)
    }
}

impl Shard {
    /// Looks a node up.
    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(&NodeView<'_>) -> bool) -> Option<NodeView<'_>> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = home(hash as u32, self.slots.len());
        loop {
            // The slot behind the last one is the first.
            let Some(&Slot { tag, at }) = self.slots.get(slot) else {
                slot = 0;
                continue;
            };
            if tag == hash as u32 && at != FREE {
                let node = self.node_at(at);
                if is_it(&node) {
                    return Some(node);
                }
            } else if at == FREE {
                return None;
            }
            slot += 1;
        }
    }

    /// Views the node that starts at an offset.
    #[inline]
    fn node_at(&self, at: u32) -> NodeView<'_> {
        NodeView::new(&self.arena[at as usize..])
    }

    /// Iterates over the nodes.
    fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.slots.iter().filter(|slot| slot.at != FREE).map(|slot| self.node_at(slot.at))
    }
}

/// Returns the first slot to look at: the tag spread over the array's length.
#[inline]
fn home(tag: u32, slots: usize) -> usize {
    ((u64::from(tag) * slots as u64) >> 32) as usize
}

/// A table under construction, filled node by node.
#[derive(Debug)]
pub struct TableBuilder {
    /// How many bits of a hash name the branch.
    branch_bits: u32,
    /// How many further bits name the shard in it.
    shard_bits: u32,
    /// The shards, all branches in a row.
    shards: Vec<ShardDraft>,
}

/// A shard under construction.
#[derive(Clone, Debug, Default)]
struct ShardDraft {
    /// The nodes.
    arena: Vec<u8>,
    /// Where each stands.
    slots: Vec<Slot>,
}

impl TableBuilder {
    /// Begins a table for about `nodes` nodes; more or fewer only cost speed.
    pub fn new(nodes: u64) -> Self {
        let shards = (nodes / SHARD_NODES).next_power_of_two().min(SHARDS_MAX);
        let bits = shards.trailing_zeros();
        let branch_bits = bits / 2;
        Self {
            branch_bits,
            shard_bits: bits - branch_bits,
            shards: vec![ShardDraft::default(); shards as usize],
        }
    }

    /// Lets `write` append one node, whose owner has this hash, to the arena where it belongs.
    ///
    /// The owner must not be in the table yet.
    pub fn insert(&mut self, hash: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let bits = self.branch_bits + self.shard_bits;
        let index = hash.rotate_left(bits) & ((1 << bits) - 1);
        let shard = &mut self.shards[index as usize];
        shard.slots.push(Slot { tag: hash as u32, at: offset(shard.arena.len()) });
        write(&mut shard.arena);
    }

    /// Ends the table.
    pub fn finish(self) -> Table {
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
        Shard {
            nodes: self.slots.len() as u32,
            slots: spread(&self.slots),
            arena: self.arena.into_boxed_slice(),
            garbage: 0,
        }
    }
}

/// Spreads slots over an array of four for each three.
fn spread(used: &[Slot]) -> Box<[Slot]> {
    if used.is_empty() {
        return Box::default();
    }
    let mut slots = vec![Slot { tag: 0, at: FREE }; used.len() + used.len() / 3 + 1];
    for &new in used {
        place_slot(&mut slots, new);
    }
    slots.into_boxed_slice()
}

/// Puts a slot in the first free place at or after its home.
fn place_slot(slots: &mut [Slot], new: Slot) {
    let mut slot = home(new.tag, slots.len());
    while slots[slot].at != FREE {
        slot = (slot + 1) % slots.len();
    }
    slots[slot] = new;
}

/// Changes to a table, shard by shard, that make its next version.
#[derive(Debug)]
pub struct TableEdit<'t> {
    /// What the changes start from.
    base: &'t Table,
    /// The shards that change, by branch and place in it.
    shards: BTreeMap<(usize, usize), ShardEdit>,
}

/// A shard that changes: nodes are appended, what they replace becomes garbage.
#[derive(Debug)]
struct ShardEdit {
    /// As in the shard.
    slots: Vec<Slot>,
    /// As in the shard, with room to grow.
    arena: Vec<u8>,
    /// As in the shard.
    garbage: usize,
    /// As in the shard.
    nodes: usize,
}

impl<'t> TableEdit<'t> {
    /// Begins to change a table.
    pub fn new(base: &'t Table) -> Self {
        Self { base, shards: BTreeMap::new() }
    }

    /// Looks a node up, changes included.
    pub fn find(&self, hash: u64, prefix: &[u8]) -> Option<NodeView<'_>> {
        let Some(shard) = self.shards.get(&self.base.place(hash)) else {
            return self.base.find(hash, prefix);
        };
        let slot = shard.slot_of(hash, prefix)?;
        Some(NodeView::new(&shard.arena[shard.slots[slot].at as usize..]))
    }

    /// Lets `write` append the node of an owner, in place of the one that was there.
    pub fn put(&mut self, hash: u64, prefix: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let shard = self.open(hash);
        let at = offset(shard.arena.len());
        write(&mut shard.arena);
        match shard.slot_of(hash, prefix) {
            Some(slot) => {
                shard.garbage += shard.node_len(slot);
                shard.slots[slot].at = at;
            }
            None => shard.add(Slot { tag: hash as u32, at }),
        }
    }

    /// Removes the node of an owner, if there is one.
    pub fn remove(&mut self, hash: u64, prefix: &[u8]) {
        let shard = self.open(hash);
        if let Some(slot) = shard.slot_of(hash, prefix) {
            shard.garbage += shard.node_len(slot);
            shard.free(slot);
        }
    }

    /// Calls `see` with every node, changes included.
    pub fn for_each(&self, mut see: impl FnMut(NodeView<'_>)) {
        for (branch_index, branch) in self.base.branches.iter().enumerate() {
            for (shard_index, shard) in branch.iter().enumerate() {
                match self.shards.get(&(branch_index, shard_index)) {
                    None => shard.nodes().for_each(&mut see),
                    Some(edit) => {
                        for slot in edit.slots.iter().filter(|slot| slot.at != FREE) {
                            see(NodeView::new(&edit.arena[slot.at as usize..]));
                        }
                    }
                }
            }
        }
    }

    /// Makes the table's next version.
    pub fn finish(self) -> Table {
        let mut table = self.base.clone();
        let mut edits = self.shards.into_iter().peekable();
        while let Some(((branch_index, shard_index), edit)) = edits.next() {
            let mut shards = vec![(shard_index, edit)];
            while let Some(((_, shard), edit)) =
                edits.next_if(|((branch, _), _)| *branch == branch_index)
            {
                shards.push((shard, edit));
            }
            let mut branch: Vec<Arc<Shard>> = table.branches[branch_index].to_vec();
            for (shard, edit) in shards {
                table.nodes = table.nodes + edit.nodes as u64 - u64::from(branch[shard].nodes);
                branch[shard] = Arc::new(edit.finish());
            }
            table.branches[branch_index] = branch.into();
        }
        table
    }

    /// Returns the copy of a shard that takes the changes.
    fn open(&mut self, hash: u64) -> &mut ShardEdit {
        let place = self.base.place(hash);
        self.shards.entry(place).or_insert_with(|| {
            let shard = self.base.shard(hash);
            let mut arena = Vec::with_capacity(shard.arena.len() + 256);
            arena.extend_from_slice(&shard.arena);
            ShardEdit {
                slots: shard.slots.to_vec(),
                arena,
                garbage: shard.garbage as usize,
                nodes: shard.nodes as usize,
            }
        })
    }
}

impl ShardEdit {
    /// Returns the slot that leads to an owner's node.
    fn slot_of(&self, hash: u64, prefix: &[u8]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = home(hash as u32, self.slots.len());
        loop {
            let Slot { tag, at } = self.slots[slot];
            if at == FREE {
                return None;
            }
            if tag == hash as u32 && NodeView::new(&self.arena[at as usize..]).prefix() == prefix {
                return Some(slot);
            }
            slot = (slot + 1) % self.slots.len();
        }
    }

    /// Returns how many octets the node of a slot takes.
    fn node_len(&self, slot: usize) -> usize {
        NodeView::new(&self.arena[self.slots[slot].at as usize..]).octets_len()
    }

    /// Adds a slot, with more room first where too few would stay free.
    fn add(&mut self, new: Slot) {
        self.nodes += 1;
        if self.nodes * 7 >= self.slots.len() * 6 {
            let used: Vec<Slot> =
                self.slots.iter().copied().filter(|slot| slot.at != FREE).collect();
            self.slots = vec![Slot { tag: 0, at: FREE }; self.nodes + self.nodes / 3 + 1];
            for slot in used {
                place_slot(&mut self.slots, slot);
            }
        }
        place_slot(&mut self.slots, new);
    }

    /// Frees a slot, and moves the ones behind it up so that no probe stops short of them.
    fn free(&mut self, mut hole: usize) {
        self.nodes -= 1;
        let len = self.slots.len();
        self.slots[hole].at = FREE;
        let mut next = (hole + 1) % len;
        while self.slots[next].at != FREE {
            let home = home(self.slots[next].tag, len);
            let (from_home, from_hole) = ((next + len - home) % len, (next + len - hole) % len);
            if from_home >= from_hole {
                self.slots.swap(hole, next);
                hole = next;
            }
            next = (next + 1) % len;
        }
    }

    /// Ends the shard; an arena that is an eighth garbage is written anew.
    fn finish(self) -> Shard {
        let Self { mut slots, mut arena, mut garbage, nodes } = self;
        if garbage * 8 > arena.len() {
            let mut compact = Vec::with_capacity(arena.len() - garbage);
            for slot in slots.iter_mut().filter(|slot| slot.at != FREE) {
                let node = &arena[slot.at as usize..];
                let node = &node[..NodeView::new(node).octets_len()];
                slot.at = offset(compact.len());
                compact.extend_from_slice(node);
            }
            debug_assert_eq!(compact.len(), arena.len() - garbage);
            (arena, garbage) = (compact, 0);
        }
        if nodes * 3 < slots.len() {
            let used: Vec<Slot> = slots.into_iter().filter(|slot| slot.at != FREE).collect();
            slots = spread(&used).into_vec();
        }
        Shard {
            slots: slots.into_boxed_slice(),
            arena: arena.into_boxed_slice(),
            garbage: garbage as u32,
            nodes: nodes as u32,
        }
    }
}

/// Turns an arena's length into an offset.
fn offset(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|at| *at != FREE).expect("a shard's arena stays below 4 GiB")
}

/// The offset of a free slot.
const FREE: u32 = u32::MAX;
/// Nodes of a shard, at least, when a table is cut: small enough to be copied in microseconds.
const SHARD_NODES: u64 = 128;
/// Shards of a table. Beyond 2^24 the pointers to them would outweigh what they save.
const SHARDS_MAX: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::super::hash::extend_hash;
    use super::super::node::write_node;
    use super::*;
    use std::collections::BTreeMap;

    fn prefix(index: u64) -> Vec<u8> {
        let label = format!("h{index}");
        [&[label.len() as u8], label.as_bytes()].concat()
    }

    fn hash(index: u64) -> u64 {
        extend_hash(1, &prefix(index)[1..])
    }

    fn write(index: u64, flags: u8) -> impl FnOnce(&mut Vec<u8>) {
        move |arena| write_node(arena, &prefix(index), flags, 0, 0, &[])
    }

    fn check(table: &Table, expected: &BTreeMap<u64, u8>, absent: std::ops::Range<u64>) {
        assert_eq!(table.node_count(), expected.len() as u64);
        assert_eq!(table.nodes().count(), expected.len());
        for (&index, &flags) in expected {
            let node = table.find(hash(index), &prefix(index)).expect("was put");
            assert_eq!(node.flags(), flags, "h{index}");
        }
        for index in absent {
            assert_eq!(
                table.find(hash(index), &prefix(index)).is_some(),
                expected.contains_key(&index)
            );
        }
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
    fn a_table_cut_for_too_few_still_works() {
        let mut builder = TableBuilder::new(0);
        (0..5_000).for_each(|index| builder.insert(hash(index), write(index, 2)));
        let table = builder.finish();
        assert!(table.is_out_of_shape());
        check(&table, &(0..5_000).map(|index| (index, 2)).collect(), 0..5_100);
    }

    #[test]
    fn edits_in_any_order_equal_a_map() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut table = TableBuilder::new(600).finish();
        let mut expected = BTreeMap::new();
        for round in 0..200 {
            let before = (table.clone(), expected.clone());
            let mut edit = TableEdit::new(&table);
            for _ in 0..next() % 40 {
                let index = next() % 700;
                if next() % 3 == 0 {
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
