//! What is known of the cluster without asking it.
//!
//! **Invariant:** what is told of the cluster is told from memory.
//! **Not here:** who asks (`etcd::upkeep`), requests and the choice of a member (`etcd::connection`).

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use etcd_client::StatusResponse;

use crate::store::report::EngineReport;

/// What is known of the cluster.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<Known>);

/// See [`Pulse`].
#[derive(Debug)]
struct Known {
    /// When a member has answered last.
    answered_at: Instant,
    /// What it has said of the cluster.
    report: EngineReport,
}

impl Pulse {
    /// Begins with a member that has answered just now.
    pub(super) fn new(member: &str) -> Self {
        let report = EngineReport {
            engine: "etcd",
            member: Some(member.to_owned()),
            ..EngineReport::default()
        };
        Self(Mutex::new(Known { answered_at: Instant::now(), report }))
    }

    /// Notes that a member has answered.
    pub(super) fn beat(&self) {
        self.change(|_| ());
    }

    /// Notes that another member is asked from now on.
    pub(super) fn goes_to(&self, member: &str) {
        self.change(|report| report.member = Some(member.to_owned()));
    }

    /// Notes what a member has said.
    pub(super) fn note(&self, status: &StatusResponse) {
        let has_no_space = status.errors().iter().any(|error| error.contains("NOSPACE"));
        self.change(|report| {
            let leader = Some(status.leader()).filter(|leader| *leader != 0);
            report.leader = leader.map(|leader| format!("{leader:x}"));
            report.database_octets = u64::try_from(status.db_size()).ok();
            report.alarm = has_no_space.then_some("NOSPACE");
        });
    }

    /// Returns what is known.
    pub(super) fn report(&self) -> EngineReport {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age_ms = u64::try_from(known.answered_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        EngineReport { answered_ms_ago: Some(age_ms), ..known.report.clone() }
    }

    /// Changes what is known, now that a member has answered.
    fn change(&self, change: impl FnOnce(&mut EngineReport)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.answered_at = Instant::now();
        change(&mut known.report);
    }
}
