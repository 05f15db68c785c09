//! Whatever an authority does and however it arrives, an edge ends in the authority's state.
//!
//! The input makes every choice of the model in `tests/feed_model`, an octet or two at a time; when
//! it ends, a fixed seed goes on.
#![no_main]

#[path = "../../tests/feed_model/mod.rs"]
#[allow(dead_code)] // the tests use the rest
mod feed_model;

use aspen_dns::sync::core::SyncConfig;
use feed_model::{Choose, Seeded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choose = Chosen { rest: octets, then: Seeded(octets.len() as u64) };
    feed_model::edge::run(&mut choose, SyncConfig::default());
});

/// Choices from the fuzzer's octets, then from a seed.
struct Chosen<'a> {
    /// What is not yet used.
    rest: &'a [u8],
    /// What follows.
    then: Seeded,
}

impl Choose for Chosen<'_> {
    fn below(&mut self, count: usize) -> usize {
        match self.rest {
            [choice, rest @ ..] => {
                self.rest = rest;
                usize::from(*choice) % count
            }
            [] => self.then.below(count),
        }
    }
}
