//! Aspen DNS: an authoritative DNS server whose data is a replicated document.
//!
//! # Architecture
//!
//! A module uses only floors below its own; `tests/tidy.rs` holds the table.
//!
//! | floor | modules |
//! |---|---|
//! | 0 words | `limits` `name` `octets` `record` `ticket` |
//! | 1 data | `zone` `catalog` `feed` |
//! | 2 protocol | `answer` `wire` `responder` |
//! | 3 publish | `publish` `sync` |
//! | 4 shells | `serve` `store` `mesh` `export` `client` |
//! | 5 whole | `node`, the binaries |

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
pub mod name;
pub mod octets;
pub mod record;
pub mod ticket;

pub mod catalog;
pub mod feed;
pub mod zone;

pub mod answer;
pub mod responder;
pub mod wire;

pub mod publish;
pub mod sync;

pub mod serve;

#[cfg(feature = "node")]
pub mod client;
#[cfg(feature = "node")]
pub mod export;
#[cfg(feature = "node")]
pub mod mesh;
#[cfg(feature = "node")]
pub mod store;

#[cfg(feature = "node")]
pub mod node;
