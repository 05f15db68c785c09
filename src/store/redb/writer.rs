//! The writer thread: takes the commits that wait, as one redb transaction with one fsync.
//!
//! **Invariant:** commits are judged and numbered in the order of the queue; a reply is sent after
//! the transaction is durable; a commit that is refused leaves no trace.
//! **Not here:** reading (`store::redb`), the form of log entries (`redb::log`).

use std::sync::Arc;

use redb::{Database, ReadableTable, Table, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::{DATA, LOG, LogBounds, META, META_COMPACTED, META_LOG_OCTETS, META_REVISION, engine};
use crate::limits::{REDB_GROUP_COMMITS_MAX, REDB_GROUP_OCTETS_MAX, REDB_LOG_DROP_MAX};
use crate::store::kv::{Commit, KeyChange, KvError, Precondition, is_quiet};

/// A commit and where its outcome goes.
#[derive(Debug)]
pub(super) struct Job {
    /// What to do.
    pub(super) commit: Commit,
    /// Where to say how it went; the asker may be gone.
    pub(super) reply: oneshot::Sender<Result<u64, KvError>>,
}

/// The state of the writer thread.
pub(super) struct Writer {
    /// The open file.
    database: Arc<Database>,
    /// The commits that wait.
    jobs: mpsc::Receiver<Job>,
    /// Tells followers the newest durable revision.
    revision: watch::Sender<u64>,
    /// How much of the log is kept.
    bounds: LogBounds,
}

/// The counters of one transaction, as they change while commits are applied.
struct Counters {
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
        database: Arc<Database>,
        jobs: mpsc::Receiver<Job>,
        revision: watch::Sender<u64>,
        bounds: LogBounds,
    ) -> Self {
        Self { database, jobs, revision, bounds }
    }

    /// Writes until every sender of the queue is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let group = self.collect_group(first);
            self.write_group(group);
        }
    }

    /// Takes what else waits now, within the bounds of one transaction.
    fn collect_group(&mut self, first: Job) -> Vec<Job> {
        let mut octets = first.commit.octets();
        let mut group = vec![first];
        while group.len() < REDB_GROUP_COMMITS_MAX && octets < REDB_GROUP_OCTETS_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            octets += job.commit.octets();
            group.push(job);
        }
        group
    }

    /// Makes a group durable and tells everyone.
    fn write_group(&self, group: Vec<Job>) {
        let (commits, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|job| (job.commit, job.reply)).unzip();
        match self.apply_group(&commits) {
            Ok((revision, outcomes)) => {
                // Followers first: they wake while the replies are being sent.
                self.revision
                    .send_if_modified(|current| std::mem::replace(current, revision) != revision);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, commits = commits.len(), "the store could not write");
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Applies a group in one transaction; returns the newest revision and each one's outcome.
    fn apply_group(&self, commits: &[Commit]) -> Result<(u64, Vec<Result<u64, KvError>>), KvError> {
        let transaction = self.database.begin_write().map_err(engine)?;
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
        transaction.commit().map_err(engine)?;
        Ok((counters.revision, outcomes))
    }

    /// Drops the oldest of the log while it is over its bounds.
    fn trim_log(
        &self,
        log: &mut Table<'_, u64, &'static [u8]>,
        counters: &mut Counters,
    ) -> Result<(), KvError> {
        use redb::ReadableTableMetadata;
        let mut count = log.len().map_err(engine)?;
        let mut dropped = 0;
        while count > self.bounds.commits_max || counters.log_octets > self.bounds.octets_max {
            let Some((revision, event)) = log.pop_first().map_err(engine)? else { break };
            counters.compacted = revision.value();
            counters.log_octets = counters.log_octets.saturating_sub(event.value().len() as u64);
            count -= 1;
            dropped += 1;
            if dropped >= REDB_LOG_DROP_MAX {
                break;
            }
        }
        Ok(())
    }
}

/// Judges one commit and writes it; the outer error is the engine's, the inner the commit's.
fn apply(
    commit: &Commit,
    data: &mut Table<'_, &'static [u8], &'static [u8]>,
    log: &mut Table<'_, u64, &'static [u8]>,
    counters: &mut Counters,
) -> Result<Result<u64, KvError>, KvError> {
    for (index, precondition) in commit.preconditions.iter().enumerate() {
        if !holds(precondition, data, counters.revision)? {
            return Ok(Err(KvError::Conflict { index }));
        }
    }
    let revision = counters.revision + 1;
    let mut changes = Vec::new();
    let mut stored = Vec::new();
    for (key, value) in &commit.puts {
        stored.clear();
        stored.extend_from_slice(&revision.to_be_bytes());
        stored.extend_from_slice(value);
        let old = data.insert(key.as_slice(), stored.as_slice()).map_err(engine)?;
        if !is_quiet(key) {
            let prev_revision = old.map(|guard| revision_of(guard.value()));
            changes.push(KeyChange { key: key.clone(), value: Some(value.clone()), prev_revision });
        }
    }
    for key in &commit.deletes {
        let Some(old) = data.remove(key.as_slice()).map_err(engine)? else { continue };
        if !is_quiet(key) {
            let prev_revision = Some(revision_of(old.value()));
            changes.push(KeyChange { key: key.clone(), value: None, prev_revision });
        }
    }
    if !changes.is_empty() {
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let event = super::log::encode(&changes);
        log.insert(revision, event.as_slice()).map_err(engine)?;
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
        Precondition::AtRevision { key, revision } => {
            find(key)?.is_some_and(|guard| revision_of(guard.value()) == *revision)
        }
        Precondition::HasValue { key, value } => {
            find(key)?.is_some_and(|guard| guard.value().get(8..) == Some(value.as_slice()))
        }
        Precondition::UnchangedSince { revision } => revision_now <= *revision,
    })
}

/// Returns the revision in front of a stored value.
fn revision_of(stored: &[u8]) -> u64 {
    stored.first_chunk::<8>().map_or(0, |octets| u64::from_be_bytes(*octets))
}

/// Reads the counters as the last transaction left them.
fn read_counters(transaction: &WriteTransaction) -> Result<Counters, KvError> {
    let meta = transaction.open_table(META).map_err(engine)?;
    let read = |name: &str| {
        meta.get(name).map(|found| found.map_or(0, |guard| guard.value())).map_err(engine)
    };
    Ok(Counters {
        revision: read(META_REVISION)?,
        log_octets: read(META_LOG_OCTETS)?,
        compacted: read(META_COMPACTED)?,
    })
}

/// Writes the counters for the next transaction.
fn write_counters(transaction: &WriteTransaction, counters: &Counters) -> Result<(), KvError> {
    let mut meta = transaction.open_table(META).map_err(engine)?;
    meta.insert(META_REVISION, counters.revision).map_err(engine)?;
    meta.insert(META_LOG_OCTETS, counters.log_octets).map_err(engine)?;
    meta.insert(META_COMPACTED, counters.compacted).map_err(engine)?;
    Ok(())
}
