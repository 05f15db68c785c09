//! The writer thread: takes the commits that wait, as one redb transaction with one fsync.
//!
//! After an I/O error (a full disk, a failing one) redb answers nothing more until the file is
//! opened anew. The writer does that: at once and then at growing intervals, so that reads are
//! served again as soon as they can be; commits are refused meanwhile and for a moment after, so
//! that a disk that stays full does not close the file with every commit.
//!
//! **Invariant:** commits are judged and numbered in the order of the queue; a reply is sent after
//! the transaction is durable; a commit that is refused leaves no trace. A file that was opened
//! again is served only if it holds all that was acknowledged.
//! **Not here:** reading (`store::redb`), the form of log entries (`redb::log`).

use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableTable, Table, WriteTransaction};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::handle::Handle;
use super::job::{Job, Reply};
use super::layout::{
    DATA, LOG, META, META_COMPACTED, META_LOG_OCTETS, META_REVISION, Prepared, entry_octets,
    open_value, seal_entry, seal_value,
};
use super::open::{Storage, catch_panic, open_database};
use super::{LogBounds, engine};
use crate::limits::{
    REDB_GROUP_COMMITS_MAX, REDB_GROUP_OCTETS_MAX, REDB_HEAL_MS_MAX, REDB_HEAL_MS_MIN,
    REDB_HEAL_STEP_MS, REDB_LOG_DROP_MAX,
};
use crate::store::kv::{KeyChange, KvCommit, KvError, Precondition, is_quiet};

/// Commits that share a transaction.
#[derive(Default)]
struct CommitGroup {
    /// What to do.
    commits: Vec<KvCommit>,
    /// Where to say how each went.
    replies: Vec<Reply>,
    /// Octets of all commits.
    octets: u64,
    /// A reader's error that came with them.
    failed: Option<(u64, KvError)>,
}

/// Why a group was not made durable.
enum GroupError {
    /// It was not made.
    NotMade(KvError),
    /// It may have been made: the engine failed in the middle of making it last.
    Unknown {
        /// What the engine said.
        error: KvError,
        /// The revision that the store then has.
        revision: u64,
    },
}

/// The state of the writer thread.
pub(super) struct Writer {
    /// The open file.
    handle: Arc<Handle>,
    /// What is opened again.
    storage: Arc<dyn Storage>,
    /// The commits that wait.
    jobs: mpsc::Receiver<Job>,
    /// Tells followers the newest durable revision.
    revision: watch::Sender<u64>,
    /// How much of the log is kept.
    bounds: LogBounds,
    /// How long commits are refused after the next failure.
    rest: Duration,
    /// A reader's error that came while commits were refused, and of which opening.
    failed: Option<(u64, KvError)>,
}

/// The counters of one transaction, as they change while commits are applied.
struct WriterCounters {
    /// The newest revision.
    revision: u64,
    /// Octets in the log.
    log_octets: u64,
    /// The newest revision that the log has dropped.
    compacted: u64,
}

impl Writer {
    /// Makes a writer; [`Writer::run`] is its life.
    pub(super) fn new(
        handle: Arc<Handle>,
        storage: Arc<dyn Storage>,
        jobs: mpsc::Receiver<Job>,
        revision: watch::Sender<u64>,
        bounds: LogBounds,
    ) -> Self {
        Self { handle, storage, jobs, revision, bounds, rest: REST_MIN, failed: None }
    }

    /// Writes until every sender of the queue is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let group = self.collect_group(first);
            let failed = group.failed.clone();
            if !group.commits.is_empty() {
                self.write_group(group);
            }
            if let Some((opened, error)) = failed
                && opened == self.handle.opened()
            {
                tracing::error!(%error, "the store could not read");
                self.heal(&error, false);
            }
        }
    }

    /// Takes what else waits now, within the bounds of one transaction.
    fn collect_group(&mut self, first: Job) -> CommitGroup {
        let mut group = CommitGroup::default();
        group.add(first);
        while group.commits.len() < REDB_GROUP_COMMITS_MAX && group.octets < REDB_GROUP_OCTETS_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            group.add(job);
        }
        group
    }

    /// Makes a group durable and tells everyone.
    fn write_group(&mut self, group: CommitGroup) {
        let CommitGroup { commits, replies, .. } = group;
        match self.apply_group(&commits) {
            // One commit touches a damaged value; those beside it have nothing to do with that.
            Err(GroupError::NotMade(KvError::Damaged { .. })) if commits.len() > 1 => {
                for (commit, reply) in commits.into_iter().zip(replies) {
                    self.write_group(CommitGroup::of(commit, reply));
                }
            }
            Ok((revision, outcomes)) => {
                self.rest = REST_MIN;
                // Followers first: they wake while the replies are being sent.
                self.tell_revision(revision);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                }
            }
            Err(failed) => {
                let (mut outcome, reason, made) = match failed {
                    GroupError::NotMade(error) => (error.clone(), error, 0),
                    GroupError::Unknown { error, revision } => {
                        (KvError::OutcomeUnknown, error, revision)
                    }
                };
                tracing::error!(%reason, commits = commits.len(), "the store could not write");
                let reason = unavailable(&reason);
                let is_unknown = matches!(outcome, KvError::OutcomeUnknown);
                let is_lost = is_unknown
                    || matches!(outcome, KvError::Unavailable { .. } | KvError::Unreadable { .. });
                let mut is_open = false;
                if is_lost {
                    // Before anyone asks again: nothing is served from a file in doubt.
                    self.handle.close(&reason);
                    is_open = self.reopen().is_ok();
                }
                // A file without the group goes on without it: that much is known. One with it may
                // yet lose it, for the disk did not say that it has it.
                if is_unknown && is_open && *self.revision.borrow() < made {
                    outcome = reason.clone();
                }
                for reply in replies {
                    let _ = reply.send(Err(outcome.clone()));
                }
                if is_lost {
                    self.heal(&reason, is_open);
                }
            }
        }
    }

    /// Tells followers of a revision that is durable.
    fn tell_revision(&self, revision: u64) {
        self.revision.send_if_modified(|current| std::mem::replace(current, revision) != revision);
    }

    /// Opens the file again, as often as it takes, and refuses commits meanwhile and for a while.
    fn heal(&mut self, reason: &KvError, mut is_open: bool) {
        let mut failed = Some(reason.clone());
        while let Some(reason) = failed {
            if !is_open {
                self.handle.close(&reason);
                is_open = self.reopen_at_last();
            }
            if !is_open || !self.rest() {
                return;
            }
            is_open = false;
            // A reader may have met the next error before a commit could.
            let opened = self.handle.opened();
            failed = self.failed.take().filter(|(failed, _)| *failed == opened).map(|last| last.1);
        }
        self.handle.take_commits();
        tracing::info!(revision = *self.revision.borrow(), "the store takes commits again");
    }

    /// Opens the file again, as often as it takes; says whether it is served.
    fn reopen_at_last(&mut self) -> bool {
        loop {
            match self.reopen() {
                Ok(()) => return true,
                Err(error @ KvError::WentBack { .. }) => {
                    tracing::error!(%error, "the store is not the one that was open before");
                    self.handle.give_up(&error);
                    return false;
                }
                Err(error) => {
                    tracing::error!(%error, "the store does not open again yet");
                    self.handle.say(&unavailable(&error));
                }
            }
            if !self.rest() {
                return false;
            }
        }
    }

    /// Opens the file and serves reads from it, if it holds all that was acknowledged.
    fn reopen(&self) -> Result<(), KvError> {
        let (database, Prepared { revision: found, .. }) = open_database(&self.storage)?;
        let acknowledged = *self.revision.borrow();
        if found < acknowledged {
            return Err(KvError::WentBack { acknowledged, found });
        }
        self.handle.serve(database);
        // A commit whose outcome was not known may have been made after all.
        self.tell_revision(found);
        Ok(())
    }

    /// Refuses commits for a while, the next time for longer; says whether anybody is left.
    fn rest(&mut self) -> bool {
        let mut left = self.rest;
        self.rest = (self.rest * 2).min(Duration::from_millis(REDB_HEAL_MS_MAX));
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(REDB_HEAL_STEP_MS));
            std::thread::sleep(step);
            left -= step;
            loop {
                match self.jobs.try_recv() {
                    Ok(Job::Write { reply, .. }) => {
                        let refusal = self.handle.health().err().unwrap_or(KvError::Closed);
                        let _ = reply.send(Err(refusal));
                    }
                    Ok(Job::Heal { opened, error }) => self.failed = Some((opened, error)),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return false,
                }
            }
        }
        true
    }

    /// Applies a group in one transaction; returns the newest revision and each one's outcome.
    fn apply_group(
        &self,
        commits: &[KvCommit],
    ) -> Result<(u64, Vec<Result<u64, KvError>>), GroupError> {
        let apply_all = |database: &Database| {
            let transaction = database.begin_write().map_err(engine)?;
            let mut outcomes = Vec::with_capacity(commits.len());
            let counters = {
                let mut data = transaction.open_table(DATA).map_err(engine)?;
                let mut log = transaction.open_table(LOG).map_err(engine)?;
                let mut counters = read_counters(&transaction)?;
                for commit in commits {
                    outcomes.push(apply(commit, &mut data, &mut log, &mut counters)?);
                }
                self.trim_log(&mut log, &mut counters)?;
                write_counters(&transaction, &counters)?;
                counters
            };
            let committed = catch_panic(|| transaction.commit().map_err(engine));
            let revision = counters.revision;
            Ok(match committed {
                Ok(()) => Ok((revision, outcomes)),
                Err(error) => Err(GroupError::Unknown { error, revision }),
            })
        };
        let applied = self.handle.with(|database| catch_panic(|| apply_all(database)));
        applied.map_err(GroupError::NotMade)?
    }

    /// Drops the oldest of the log while it is over its bounds.
    fn trim_log(
        &self,
        log: &mut Table<'_, u64, &'static [u8]>,
        counters: &mut WriterCounters,
    ) -> Result<(), KvError> {
        use redb::ReadableTableMetadata;
        let mut count = log.len().map_err(engine)?;
        let mut dropped = 0;
        while count > self.bounds.commits_max || counters.log_octets > self.bounds.octets_max {
            let Some((revision, event)) = log.pop_first().map_err(engine)? else { break };
            counters.compacted = revision.value();
            counters.log_octets = counters.log_octets.saturating_sub(entry_octets(event.value()));
            count -= 1;
            dropped += 1;
            if dropped >= REDB_LOG_DROP_MAX {
                break;
            }
        }
        Ok(())
    }
}

impl CommitGroup {
    /// Makes a group of one.
    fn of(commit: KvCommit, reply: Reply) -> Self {
        Self { octets: commit.octets(), commits: vec![commit], replies: vec![reply], failed: None }
    }

    /// Adds what was asked for.
    fn add(&mut self, job: Job) {
        match job {
            Job::Write { commit, reply } => {
                self.octets += commit.octets();
                self.commits.push(commit);
                self.replies.push(reply);
            }
            Job::Heal { opened, error } => self.failed = Some((opened, error)),
        }
    }
}

/// Makes any error one that is mended.
fn unavailable(error: &KvError) -> KvError {
    match error {
        error @ KvError::Unavailable { .. } => error.clone(),
        other => KvError::Unavailable { reason: other.to_string().into() },
    }
}

/// Judges one commit and writes it; the outer error is the engine's, the inner the commit's.
fn apply(
    commit: &KvCommit,
    data: &mut Table<'_, &'static [u8], &'static [u8]>,
    log: &mut Table<'_, u64, &'static [u8]>,
    counters: &mut WriterCounters,
) -> Result<Result<u64, KvError>, KvError> {
    for (index, precondition) in commit.preconditions.iter().enumerate() {
        if !holds(precondition, data, counters.revision)? {
            return Ok(Err(KvError::Conflict { index }));
        }
    }
    let revision = counters.revision + 1;
    let mut changes = Vec::new();
    for (key, value) in &commit.puts {
        let stored = seal_value(key, revision, value);
        let old = data.insert(key.as_slice(), stored.as_slice()).map_err(engine)?;
        if !is_quiet(key) {
            let prev_revision = old.map(|old| revision_of(key, old.value())).transpose()?;
            changes.push(KeyChange { key: key.clone(), value: Some(value.clone()), prev_revision });
        }
    }
    for key in &commit.deletes {
        let Some(old) = data.remove(key.as_slice()).map_err(engine)? else { continue };
        if !is_quiet(key) {
            let prev_revision = Some(revision_of(key, old.value())?);
            changes.push(KeyChange { key: key.clone(), value: None, prev_revision });
        }
    }
    if !changes.is_empty() {
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let event = super::log::encode(&changes);
        log.insert(revision, seal_entry(revision, &event).as_slice()).map_err(engine)?;
        counters.log_octets += event.len() as u64;
    }
    counters.revision = revision;
    Ok(Ok(revision))
}

/// Whether a precondition holds now.
fn holds(
    precondition: &Precondition,
    data: &Table<'_, &'static [u8], &'static [u8]>,
    revision_now: u64,
) -> Result<bool, KvError> {
    let find = |key: &Vec<u8>| data.get(key.as_slice()).map_err(engine);
    Ok(match precondition {
        Precondition::Absent { key } => find(key)?.is_none(),
        Precondition::AtRevision { key, revision } => match find(key)? {
            Some(guard) => revision_of(key, guard.value())? == *revision,
            None => false,
        },
        Precondition::HasValue { key, value } => match find(key)? {
            Some(guard) => open_value(key, guard.value())?.1 == value.as_slice(),
            None => false,
        },
        Precondition::UnchangedSince { revision } => revision_now <= *revision,
    })
}

/// Returns the revision of a stored value.
fn revision_of(key: &[u8], stored: &[u8]) -> Result<u64, KvError> {
    open_value(key, stored).map(|(revision, _)| revision)
}

/// Reads the counters as the last transaction left them.
fn read_counters(transaction: &WriteTransaction) -> Result<WriterCounters, KvError> {
    let meta = transaction.open_table(META).map_err(engine)?;
    let read = |name: &str| {
        meta.get(name).map(|found| found.map_or(0, |guard| guard.value())).map_err(engine)
    };
    Ok(WriterCounters {
        revision: read(META_REVISION)?,
        log_octets: read(META_LOG_OCTETS)?,
        compacted: read(META_COMPACTED)?,
    })
}

/// Writes the counters for the next transaction.
fn write_counters(
    transaction: &WriteTransaction,
    counters: &WriterCounters,
) -> Result<(), KvError> {
    let mut meta = transaction.open_table(META).map_err(engine)?;
    meta.insert(META_REVISION, counters.revision).map_err(engine)?;
    meta.insert(META_LOG_OCTETS, counters.log_octets).map_err(engine)?;
    meta.insert(META_COMPACTED, counters.compacted).map_err(engine)?;
    Ok(())
}

/// How long commits are refused after a first failure.
const REST_MIN: Duration = Duration::from_millis(REDB_HEAL_MS_MIN);
