//! Why an engine does not do what it is asked for.
//!
//! **Invariant:** an error says whether anything was written, or that it is not known.

use std::sync::Arc;

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KvError {
    /// A precondition does not hold; nothing was written.
    #[error("precondition {index} of a commit does not hold")]
    Conflict {
        /// Which of the commit's preconditions, from zero; the first that failed, where the
        /// engine can tell.
        index: usize,
    },
    /// A key stands twice in one commit.
    #[error("a key stands twice in one commit")]
    DuplicateKey,
    /// More puts, deletes and preconditions than the engine takes.
    #[error("a commit of {operations} operations, {operations_max} at most")]
    TooManyOperations {
        /// How many there were.
        operations: u64,
        /// How many there may be.
        operations_max: u32,
    },
    /// More octets than the engine takes.
    #[error("a commit of {octets} octets, {octets_max} at most")]
    TooManyOctets {
        /// How many there were.
        octets: u64,
        /// How many there may be.
        octets_max: u64,
    },
    /// The change log no longer reaches back to what was asked; rescan, then go on from there.
    #[error("the change log begins after revision {compacted}; rescan")]
    Compacted {
        /// The newest revision whose changes are gone.
        compacted: u64,
    },
    /// The feed was asked to go on after a revision that the store has not reached, so it is not
    /// the store that the caller followed (an older backup, for instance); rescan.
    #[error("revision {after} lies ahead of the store's revision {revision}; rescan")]
    Ahead {
        /// What was asked.
        after: u64,
        /// The store's revision.
        revision: u64,
    },
    /// The store has other commits than the feed has told: it was put back to an older state, and has
    /// gone on from there; rescan.
    #[error(
        "the store has other commits up to revision {after} than were told: it was put back; rescan"
    )]
    Replaced {
        /// Up to where they were told.
        after: u64,
    },
    /// What was kept is gone, or another store stands in its place: it is not followed, nor written to.
    #[error("the store is empty, or another one stands in its place: put it back, or start anew")]
    OtherStore,
    /// Another process has the store's file open.
    #[error("another process has the store open")]
    InUse,
    /// Whatever fills the engine would soon keep it from taking anything.
    #[error(
        "the store has {octets} octets, and imports end at 80 % of its quota of {quota_octets}: let etcd compact \
         and defragment, or give it a greater quota and say so by --etcd-quota-mib"
    )]
    NearlyFull {
        /// What it has, with what was to come.
        octets: u64,
        /// How many it may have.
        quota_octets: u64,
    },
    /// The connection broke and it could not be found out whether the commit was made.
    #[error("whether the commit was made is not known: the engine was lost in the middle of it")]
    OutcomeUnknown,
    /// The engine was stopped or no longer answers.
    #[error("the storage engine is not running")]
    Closed,
    /// The engine cannot reach what it keeps; it tries again by itself. A commit was not made.
    #[error("the store is not available at present, it is tried again: {reason}")]
    Unavailable {
        /// What the engine met.
        reason: Arc<str>,
    },
    /// The store was opened again and has lost what was acknowledged. It is not served.
    #[error("the store is at revision {found}, but {acknowledged} was acknowledged: not served")]
    WentBack {
        /// The newest revision that was acknowledged.
        acknowledged: u64,
        /// The revision that was found.
        found: u64,
    },
    /// What is stored is not what this version writes.
    #[error("the store holds data that this version cannot read: {what}")]
    Unreadable {
        /// Which part.
        what: &'static str,
    },
    /// A stored value is not the one that was put: its checksum is wrong. It is not returned.
    #[error("the store's file is damaged: {what} {} has a wrong checksum", key.escape_ascii())]
    Damaged {
        /// What stands there.
        what: &'static str,
        /// Where.
        key: Vec<u8>,
    },
    /// The engine failed; nothing was acknowledged.
    #[error("the storage engine failed: {0}")]
    Engine(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl KvError {
    /// Wraps an engine's own error.
    pub fn engine(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Engine(Arc::new(error))
    }
}
