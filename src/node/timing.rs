//! How soon a node answers with the commits that it has made.
//!
//! **Invariant:** no commit is timed twice, nor is what made none; [`COMMITS_TIMED_MAX`] are timed at once, and of
//! replies that overtake each other only the newer.
//! **Not here:** the text that a monitoring system reads (`metrics`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;

use super::progress::Progress;
use crate::limits::{COMMIT_WAIT_S_MAX, COMMITS_TIMED_MAX};

/// How soon this node answers with its own commits.
#[derive(Debug)]
pub struct CommitTimes {
    /// Seconds from the end of a commit until this node answers with it.
    commit_to_answer_s: Histogram,
    /// Commits that are being timed: their revision, and when they ended.
    timed: Mutex<VecDeque<(u64, Instant)>>,
    /// The newest revision of them all.
    newest: AtomicU64,
}

impl Default for CommitTimes {
    /// Returns metrics that have measured nothing.
    fn default() -> Self {
        let commit_to_answer_s = Histogram::new(COMMIT_BUCKETS_S);
        Self { commit_to_answer_s, timed: Mutex::default(), newest: AtomicU64::new(0) }
    }
}

impl CommitTimes {
    /// Returns metrics for a node that starts with a store of this revision: what says no newer one made no commit.
    pub fn since(revision: u64) -> Self {
        Self { newest: AtomicU64::new(revision), ..Self::default() }
    }

    /// Measures how long it takes until this node answers with a commit that was made just now. One that is not newer
    /// than what was measured before is none: the write changed nothing.
    pub fn observe(&self, progress: &Progress, revision: u64) {
        if self.newest.fetch_max(revision, Ordering::Relaxed) >= revision {
            return;
        }
        {
            let mut timed = self.timed.lock().unwrap_or_else(PoisonError::into_inner);
            // Under a flood of commits some are not measured; the others tell enough.
            if timed.len() < COMMITS_TIMED_MAX as usize {
                timed.push_back((revision, Instant::now()));
            }
        }
        // It may be answered already, and nothing newer may come for long.
        self.take(progress.now().served);
    }

    /// Takes the time of commits as they are answered.
    pub async fn run(&self, progress: &Progress) {
        let mut served = 0;
        loop {
            served = progress.past(served).await;
            self.take(served);
        }
    }

    /// Takes the time of commits up to a revision that is answered now.
    fn take(&self, served: u64) {
        let mut timed = self.timed.lock().unwrap_or_else(PoisonError::into_inner);
        timed.retain(|(revision, ended_at)| {
            let waited = ended_at.elapsed();
            if *revision <= served {
                self.commit_to_answer_s.observe(waited.as_secs_f64());
            }
            *revision > served && waited.as_secs() < COMMIT_WAIT_S_MAX
        });
    }

    /// Returns what was measured so far.
    pub fn histogram(&self) -> Histogram {
        self.commit_to_answer_s.clone()
    }
}

/// Bounds of the histogram from commit to answer, in seconds.
const COMMIT_BUCKETS_S: [f64; 14] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    /// How many commits were timed.
    fn timed(metrics: &CommitTimes) -> String {
        let (mut registry, mut out) = (Registry::default(), String::new());
        registry.register("commits", "", metrics.commit_to_answer_s.clone());
        encode(&mut out, &registry).expect("a string takes it");
        let count = out.lines().find_map(|line| line.strip_prefix("commits_count "));
        count.expect("a histogram has a count").to_owned()
    }

    #[test]
    fn a_write_that_changes_nothing_after_a_start_is_not_timed() {
        let (metrics, progress) = (CommitTimes::since(7), Progress::default());
        progress.served(8);
        metrics.observe(&progress, 7);
        assert_eq!(timed(&metrics), "0");
        metrics.observe(&progress, 8);
        assert_eq!(timed(&metrics), "1");
    }

    #[tokio::test]
    async fn a_commit_is_timed_once_whether_it_is_answered_before_or_after() {
        let (metrics, progress) = (Arc::new(CommitTimes::default()), Progress::default());
        progress.served(3);
        metrics.observe(&progress, 3);
        assert_eq!(timed(&metrics), "1", "it was answered when it was told of");
        metrics.observe(&progress, 3);
        assert_eq!(timed(&metrics), "1", "a write that changed nothing made no commit");
        metrics.observe(&progress, 4);
        metrics.observe(&progress, 5);
        assert_eq!(timed(&metrics), "1");
        let task = tokio::spawn({
            let (metrics, progress) = (Arc::clone(&metrics), progress.clone());
            async move { metrics.run(&progress).await }
        });
        progress.served(4);
        while timed(&metrics) != "2" {
            tokio::task::yield_now().await;
        }
        progress.served(9);
        while timed(&metrics) != "3" {
            tokio::task::yield_now().await;
        }
        assert!(metrics.timed.lock().expect("no panic").is_empty());
        task.abort();
    }
}
