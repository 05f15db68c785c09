//! One sample: the CPU time of a server under load, and whether anything disturbed it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::bed::Result;
use crate::bed::cpu::{busy_time, own_time};
use crate::bed::peers::Peer;
use crate::load::{Load, Outcome};

/// What one load on one server showed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The server.
    server: String,
    /// CPU time of all its threads for each answered query, in microseconds.
    pub us_a_query: f64,
    /// Answered queries a second.
    pub rate: f64,
    /// How much of a CPU it used.
    server_share: f64,
    /// How much of a CPU anything else used but the load.
    other_share: f64,
    /// Replies.
    outcome: Outcome,
}

impl Sample {
    /// Loads a server for some time.
    pub fn take(server: &Peer, load: &mut Load, duration: Duration) -> Result<Self> {
        // A moment of load first, so that caches are what they are under load.
        load.warm(server, duration)?;
        let (own, all) = (own_time()?, busy_time()?);
        let (before, start) = (server.cpu_time()?, Instant::now());
        let outcome = load.run(server, duration)?;
        let server_time = server.cpu_time()? - before;
        let elapsed = start.elapsed().as_secs_f64();
        let (own, all) = (own_time()? - own, busy_time()? - all);
        let other = all.saturating_sub(own).saturating_sub(server_time);
        Ok(Self {
            server: server.name.clone(),
            us_a_query: server_time.as_secs_f64() * 1e6 / outcome.answered.max(1) as f64,
            rate: outcome.answered as f64 / elapsed,
            server_share: server_time.as_secs_f64() / elapsed,
            other_share: other.as_secs_f64() / elapsed,
            outcome,
        })
    }

    /// Whether nothing disturbed it and everything was answered as it should be.
    pub fn is_good(&self, other_share_max: f64) -> bool {
        let outcome = &self.outcome;
        self.other_share <= other_share_max
            && outcome.wrong == 0
            && outcome.answered > 0
            && outcome.lost * 1_000 < outcome.answered
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6} {:6.2} us/query {:7.0} queries/s, server {:3.0} %, other {:3.0} %, lost {}, wrong {}",
            self.server,
            self.us_a_query,
            self.rate,
            self.server_share * 100.0,
            self.other_share * 100.0,
            self.outcome.lost,
            self.outcome.wrong
        )
    }
}
