//! The next version of a table: the shards that change are copied, all others shared.
//!
//! A changed node is appended to its shard's arena and its slot led there; what it replaces is stale,
//! and when an eighth of the arena is, the shard is written anew. What is stale may still hold
//! an RRset that other nodes refer to, so this is an upper bound, never too low: an arena is at most
//! a seventh longer than the same nodes written anew, but for RRsets that they then share again.
//! Of new nodes, which share only with what came in the same edit, a quarter counts as stale, so that
//! a shard that has doubled is written anew too.
//!
//! **Invariant:** the base table is never touched; a probe never stops short of a node; no node refers
//! to another arena than its own.
//! **Not here:** which nodes change (`zone::edit`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Shard, Table, offset};
use crate::zone::arena::Arena;
use crate::zone::node::NodeView;
use crate::zone::slots::{Slot, Slots};

/// Changes to a table, shard by shard, that make its next version.
#[derive(Debug)]
pub(crate) struct TableEdit<'t> {
    /// What the changes start from.
    base: &'t Table,
    /// The shards that change, by branch and place in it.
    shards: BTreeMap<(usize, usize), ShardEdit>,
}

/// A shard that changes: nodes are appended, what they replace becomes garbage.
#[derive(Debug)]
struct ShardEdit {
    /// As in the shard.
    slots: Slots,
    /// As in the shard, with room to grow.
    arena: Arena,
    /// As in the shard.
    stale: usize,
}

impl<'t> TableEdit<'t> {
    /// Begins to change a table.
    pub(crate) fn new(base: &'t Table) -> Self {
        Self { base, shards: BTreeMap::new() }
    }

    /// Looks a node up, changes included.
    pub(crate) fn find(&self, hash: u64, prefix: &[u8]) -> Option<NodeView<'_>> {
        let Some(shard) = self.shards.get(&self.base.place(hash)) else {
            return self.base.find(hash, prefix);
        };
        let slot = shard.slot_of(hash, prefix)?;
        Some(shard.arena.node(shard.slots.at(slot)))
    }

    /// Lets `write` append the node of an owner, in place of the one that was there.
    pub(crate) fn put(&mut self, hash: u64, prefix: &[u8], write: impl FnOnce(&mut Arena)) {
        let shard = self.open(hash);
        let at = offset(shard.arena.len());
        write(&mut shard.arena);
        match shard.slot_of(hash, prefix) {
            Some(slot) => {
                shard.stale += shard.node_len(slot);
                shard.slots.set_at(slot, at);
            }
            None => {
                shard.stale += (shard.arena.len() - at as usize) / 4;
                shard.slots.insert(Slot { tag: hash as u32, at });
            }
        }
    }

    /// Removes the node of an owner, if there is one.
    pub(crate) fn remove(&mut self, hash: u64, prefix: &[u8]) {
        let shard = self.open(hash);
        if let Some(slot) = shard.slot_of(hash, prefix) {
            shard.stale += shard.node_len(slot);
            shard.slots.remove(slot);
        }
    }

    /// Calls `see` with every node, changes included.
    pub(crate) fn for_each(&self, mut see: impl FnMut(NodeView<'_>)) {
        for (branch_index, branch) in self.base.branches.iter().enumerate() {
            for (shard_index, shard) in branch.iter().enumerate() {
                match self.shards.get(&(branch_index, shard_index)) {
                    None => shard.nodes().for_each(&mut see),
                    Some(edit) => {
                        edit.slots.iter().for_each(|slot| see(edit.arena.node(slot.at)));
                    }
                }
            }
        }
    }

    /// Makes the table's next version.
    pub(crate) fn finish(self) -> Table {
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
                let before = branch[shard].slots.len() as u64;
                table.nodes = table.nodes + edit.slots.len() as u64 - before;
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
            ShardEdit {
                slots: shard.slots.clone(),
                arena: Arena::copy_of(&shard.arena, 256),
                stale: shard.stale as usize,
            }
        })
    }
}

impl ShardEdit {
    /// Returns the slot that leads to an owner's node.
    fn slot_of(&self, hash: u64, prefix: &[u8]) -> Option<usize> {
        self.slots.find(hash as u32, |at| self.arena.node(at).prefix() == prefix)
    }

    /// Returns how many octets the node of a slot takes.
    fn node_len(&self, slot: usize) -> usize {
        self.arena.node(self.slots.at(slot)).octets_len()
    }

    /// Ends the shard; an arena of which an eighth is stale is written anew.
    fn finish(self) -> Shard {
        let Self { mut slots, mut arena, mut stale } = self;
        if stale * 8 > arena.len() {
            let mut anew = Arena::with_capacity(arena.len());
            for at in slots.iter_mut() {
                let node = arena.node(*at);
                *at = offset(anew.len());
                anew.write_node(node.prefix(), node.flags(), node.children(), node.entries());
            }
            (arena, stale) = (anew, 0);
        }
        slots.shrink();
        Shard { slots, arena: arena.into_octets(), stale: stale as u32 }
    }
}
