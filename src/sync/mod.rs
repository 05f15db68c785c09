//! The edge's half of the feed without I/O: entries and content go in, batches of zone changes,
//! wishes for content and a status come out.
//!
//! The shell around it (`replica`) moves events in, fetches what is wanted, builds and publishes
//! what comes out, and says when that is done. Nothing here waits, locks or reads a clock.
//!
//! **Invariant:** any order of arrival, with anything lost and told again, ends in the same state;
//! no zone ever goes back to a lower revision; a commit becomes visible whole, per zone.
//! **Not here:** building zones (`zone`), sockets and tasks (`replica`, `mesh`).

pub mod batch;
pub mod complaint;
pub mod core;
pub mod entry;
mod headed;
pub(crate) mod history;
pub(crate) mod inbox;
mod intake;
pub mod mirror;
mod outbox;
mod plain;
mod progress;
pub mod status;
