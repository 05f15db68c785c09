//! Nodes as child processes: the API as its clients use it, the command line, start and stop.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::missing_docs_in_private_items, clippy::unwrap_used)]

mod api;
mod api_writes;
#[cfg(feature = "etcd")]
mod authorities;
mod behind;
mod cli;
#[allow(dead_code)] // nothing is killed here
#[cfg(feature = "etcd")]
#[path = "../etcd/mod.rs"]
mod cluster;
mod feeds;
mod fleet;
mod freeze;
mod health;
mod https;
mod lost;
mod private;
mod process;
#[cfg(feature = "etcd")]
mod put_back;
mod rollback;
mod signed;
#[allow(dead_code)] // not every signer is needed here
#[path = "../dnssec/signers.rs"]
mod signers;
#[cfg(feature = "etcd")]
mod silent;
mod start;
mod status;
mod store;
mod verify;
mod whole;
