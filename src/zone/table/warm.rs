//! Reads ahead of many look-ups at once, so that they wait for memory together and not in turn.
//!
//! A look-up in a large table waits for memory about three times, each time to learn where to look
//! next. Done for a batch step by step, the waits of all its names overlap: every step is a short
//! loop of loads that do not depend on each other, which the processor starts ahead by itself.
//!
//! **Invariant:** changes nothing and decides nothing; an answer is the same without it.
//! **Not here:** which names a batch asks for (`responder::batch`).

use std::hint::black_box;

use super::{Shard, Table};

/// One look-up on its way through the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warming<'z> {
    /// The table that the name would be in.
    table: &'z Table,
    /// The name's hash.
    hash: u64,
    /// The shard that it would be in.
    shard: Option<&'z Shard>,
    /// Where its node starts, or another's with half the same hash.
    at: Option<u32>,
}

impl<'z> Warming<'z> {
    /// Begins a look-up.
    #[inline]
    pub(crate) fn new(table: &'z Table, hash: u64) -> Self {
        Self { table, hash, shard: None, at: None }
    }

    /// Takes all look-ups one step after the other.
    pub(crate) fn warm(batch: &mut [Self]) {
        let mut octets = 0;
        for warming in &*batch {
            octets ^= warming.table.touch_branch(warming.hash);
        }
        for warming in &mut *batch {
            warming.shard = Some(warming.table.shard(warming.hash));
        }
        for warming in &*batch {
            octets ^= warming.shard.map_or(0, |shard| shard.slots.len() as u8);
        }
        for warming in &*batch {
            octets ^= warming.shard.map_or(0, |shard| shard.slots.touch(warming.hash as u32));
        }
        for warming in &mut *batch {
            warming.at = warming.shard.and_then(|shard| shard.slots.first(warming.hash as u32));
        }
        for warming in &*batch {
            let (Some(shard), Some(at)) = (warming.shard, warming.at) else { continue };
            // A node spans a line or two.
            octets ^= shard.arena.get(at as usize).copied().unwrap_or_default();
            octets ^= shard.arena.get(at as usize + 63).copied().unwrap_or_default();
        }
        for warming in &*batch {
            let (Some(shard), Some(at)) = (warming.shard, warming.at) else { continue };
            octets ^= shard.node_at(at).touch_shared();
        }
        black_box(octets);
    }
}
