//! The test bed of the benches that measure whole servers: zones, servers, questions, clocks.
//!
//! Every server, this crate's own included, runs in processes of its own, reads the same master
//! files, and is configured as an operator would tune it for speed: one worker where CPU time is
//! compared, the shortest answers that it can be told to give, no logs of queries, no rate limit
//! ([`config`] has all of it).
//!
//! **Not here:** what is measured, and how often.

#![allow(dead_code)] // each bench takes what it needs of it

pub mod ask;
pub mod change;
pub mod config;
pub mod corpus;
pub mod cpu;
pub mod mmsg;
pub mod peers;
pub mod rate;
pub mod serve;
pub mod stamp;
pub mod table;
pub mod veth;
pub mod wait;

use std::error::Error;

/// What may go wrong; it ends the bench.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The first server's port; the others follow.
pub const FIRST_PORT: u16 = 26_000;
/// Where the load comes from.
pub const CLIENT_CPU: usize = 1;

/// Returns the value behind a flag of the command line, or its default.
pub fn flag(arguments: &[String], name: &str, default: &str) -> String {
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)).map_or(default, String::as_str).to_owned()
}

/// Runs the servers of this crate, which are processes of their own made of the bench's program;
/// says whether it was one. Without `--bench` there is nothing to do either:
/// `cargo test --all-targets` runs benches so.
///
/// # Errors
/// Whatever ends that server.
pub fn is_done(arguments: &[String]) -> Result<bool> {
    match arguments.first().map(String::as_str) {
        Some("serve") => serve::serve(&arguments[1..]).map(|()| true),
        Some("echo") => serve::echo(&arguments[1..]).map(|()| true),
        _ => Ok(!arguments.iter().any(|argument| argument == "--bench")),
    }
}
