//! Authorities and edges as processes that are killed, put back, moved and starved: whatever
//! happens to them, what was acknowledged is answered in the end, and nothing ever goes back.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::missing_docs_in_private_items, clippy::unwrap_used)]

mod asker;
mod clocks;
mod disks;
mod edges;
mod fleet;
mod histories;
mod kills;
mod migration;
mod model;
mod node;
mod partitions;
mod relay;
#[path = "../seeded/mod.rs"]
mod seeded;
mod soak;
