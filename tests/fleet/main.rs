//! A fleet under faults: members of etcd, authorities and edges as processes in a network of their own, killed,
//! paused, cut off, starved of room and with clocks that step, at random, beside writers and askers.
//!
//! **Invariant:** whatever happens, no acknowledged commit is lost, no answer is out of date for longer than
//! `checker::STALE_MAX` of contact, none shows half a commit, and what runs answers.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::missing_docs_in_private_items, clippy::unwrap_used)]

#[allow(dead_code)] // not all of it is asked here
#[path = "../replication/asker.rs"]
mod asker;
mod cast;
mod checker;
mod contact;
mod faults;
mod history;
mod planted;
mod record;
mod run;
#[path = "../seeded/mod.rs"]
mod seeded;
mod traffic;
mod ways;
