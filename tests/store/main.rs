//! The store: one contract suite over every engine, and `DnsStore` over them.

#![allow(clippy::unwrap_used, clippy::missing_docs_in_private_items, missing_docs, unreachable_pub)]

mod backup;
#[allow(dead_code)] // nothing is stopped here
#[cfg(feature = "etcd")]
#[path = "../etcd/mod.rs"]
mod cluster;
mod contention;
mod contract;
mod crash;
mod damage;
mod digest;
mod disk;
mod dns_store;
#[cfg(feature = "etcd")]
mod etcd_engine;
#[cfg(feature = "etcd")]
mod etcd_silent;
mod fixture;
mod groups;
mod heal;
mod left_over;
mod model;
mod redb_engine;
mod rollback;
mod rollback_engines;
mod rules;
#[path = "../seeded/mod.rs"]
mod seeded;
mod shared;
mod trips;
