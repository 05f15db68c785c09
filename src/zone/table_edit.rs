//! The next version of a table: the shards that change are copied, all others shared.
//!
//! A changed node is appended to its shard's arena and its slot led there; what it replaces is garbage
//! until an eighth of the arena is, and then the shard is written anew.
//!
//! **Invariant:** the base table is never touched; a probe never stops short of a node.
//! **Not here:** which nodes change (`zone::edit`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::NodeView;
use super::table::{FREE, Shard, Slot, Table, home, offset, place_slot, spread};

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
