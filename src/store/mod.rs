//! The store: zones and records, with one revision per atomic commit.
//!
//! [`DnsStore`] keeps the rules of DNS over any engine that keeps the contract of
//! [`kv::KeyValueStore`].
//!
//! **Invariant:** what was acknowledged is durable; a reader sees whole commits; revisions rise.
//! **Not here:** the feed into a namespace (`export`).

pub mod backup;
pub mod check;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod history;
pub mod kv;
pub mod lease;
pub mod redb;
mod remembered;
pub mod report;
pub mod rules;
pub(crate) mod serial;
pub mod zone_settings;

mod commits;
mod digests;
mod dns_store;
mod draft;
mod freeze;
mod generation;
mod group;
mod group_worker;
mod hints;
mod histories;
mod import;
mod journal;
mod keys;
mod large;
mod left;
mod lineage;
mod notes;
mod operation;
mod packs;
mod past;
mod past_read;
mod read;
mod recounts;
mod restore;
mod rollback;
mod rollback_report;
mod row;
mod source;
mod sweep;
mod sweep_call;
mod unchanged;
mod undo;
mod view;
mod zone_object;

pub use commits::CommitStream;
pub use dns_store::DnsStore;
pub(crate) use dns_store::has_commits;
pub use operation::{Batch, Committed, Expectation, Operation, StoreError};
pub(crate) use read::ZoneReader;
pub use read::{Listing, PageCursor, StoredRrset, StoredZone};
pub use restore::{RestoreOptions, RestoreReport};
pub use rollback::RollbackError;
pub use rollback_report::{RollbackReport, RollbackStep, RolledZone};
