//! Commits that wait for a version of the document that leads to them.
//!
//! **Invariant:** the runs stand by rising epochs and revisions, and each leads on by itself; the steps
//! counted are those of all commits in them.
//! **Not here:** when what waits is too much (`mirror`).

use std::collections::VecDeque;

use crate::feed::HistoryId;
use crate::feed::segment::{LogCommit, Position};

/// Commits that wait: runs between which something is missing.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The runs, by rising epochs and revisions.
    runs: VecDeque<CommitRun>,
    /// Commits in them, and their steps of zones.
    steps: usize,
}

/// Commits that follow on each other.
#[derive(Debug)]
struct CommitRun {
    /// Their history.
    history: HistoryId,
    /// The position that the first follows on.
    from: Position,
    /// The commits.
    commits: VecDeque<LogCommit>,
}

impl Line {
    /// Whether no run waits.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns how many commits wait, and steps of zones in them.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The newest history of the commits, and the position that those of it lead to.
    pub(super) fn last(&self) -> Option<(HistoryId, Position)> {
        let history = self.runs.back()?.history;
        Some((history, self.last_of(history)?))
    }

    /// The position that the commits of a history lead to.
    pub(super) fn last_of(&self, history: HistoryId) -> Option<Position> {
        let runs = self.runs.iter().filter(|run| run.history == history);
        runs.map(CommitRun::last).max_by_key(|last| last.revision)
    }

    /// The position that the first commits of a history follow on, if any wait.
    pub(super) fn from(&self, history: HistoryId) -> Option<Position> {
        self.runs.iter().find(|run| run.history == history).map(|run| run.from)
    }

    /// Returns the next commit of a history behind a position, if all before it are known; forgets those of
    /// older histories. Where several runs have it, the one that begins last: an author that has begun
    /// anew tells again what it told before, from further back and in less detail.
    pub(super) fn poll(&mut self, history: HistoryId, position: Position) -> Option<LogCommit> {
        loop {
            let key = (history.epoch, position.revision);
            let reached = |run: &CommitRun| (run.history.epoch, run.from.revision) <= key;
            let last = self.runs.partition_point(reached).checked_sub(1)?;
            let run = self.runs.get_mut(last)?;
            while run.history == history
                && let Some(commit) = run.commits.pop_front()
            {
                self.steps -= steps_of(&commit);
                if commit.at.revision > position.revision {
                    return Some(commit);
                }
            }
            let run = self.runs.remove(last)?;
            self.steps -= run.steps();
        }
    }

    /// Takes commits, in whatever order they come. Those that follow on none wait as a run of their
    /// own: what lies before them may come yet, and a version leads over it otherwise. Those of another
    /// history wait behind: a restart may find the beginning of it behind what was served.
    pub(super) fn push(&mut self, history: HistoryId, before: Position, commits: Vec<LogCommit>) {
        let key = (history.epoch, before.revision);
        let place = self.runs.partition_point(|run| (run.history.epoch, run.from.revision) <= key);
        let known = place.checked_sub(1).and_then(|known| self.runs.get_mut(known));
        let run = match known {
            Some(run) if run.history == history && before.revision <= run.last().revision => run,
            _ => {
                let commits = VecDeque::new();
                self.runs.insert(place, CommitRun { history, from: before, commits });
                &mut self.runs[place]
            }
        };
        for commit in commits {
            if commit.at.revision > run.last().revision {
                self.steps += steps_of(&commit);
                run.commits.push_back(commit);
            }
        }
        let key = |run: &CommitRun| (run.history.epoch, run.from.revision);
        debug_assert!(self.runs.iter().is_sorted_by_key(key), "runs stand in order");
        debug_assert!(
            self.steps == self.runs.iter().map(CommitRun::steps).sum::<usize>(),
            "steps are counted"
        );
    }
}

/// What a commit that waits counts for: those without zones wait, too.
fn steps_of(commit: &LogCommit) -> usize {
    1 + commit.zones.len()
}

impl CommitRun {
    /// How many commits there are, and steps of zones in them.
    fn steps(&self) -> usize {
        self.commits.iter().map(steps_of).sum()
    }

    /// The position that the commits lead to.
    fn last(&self) -> Position {
        self.commits.back().map_or(self.from, |commit| commit.at)
    }
}
