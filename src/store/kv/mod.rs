//! The contract of a storage engine: an ordered map with one revision per atomic commit.
//!
//! Two engines keep it: `store::redb` (embedded, one file) and `store::etcd` (Raft, feature
//! `etcd`). `tests/store/contract.rs` runs the same cases over both.
//!
//! **Invariant:** revisions rise with every commit and never return; a commit that was
//! acknowledged is durable; readers see whole commits only.
//! **Not here:** what the keys mean (`store::keys`), rules of DNS (`store::rules`).
//!
//! # Quiet keys
//! A key whose first octet is [`QUIET_FIRST`] or above is *quiet*: it is stored like any other but
//! the change feed does not carry it. A bulk import writes its rows there without a second copy of
//! them in the log, and says what it did under one key that is not quiet.
//!
//! # The lead key
//! A commit that no follower may miss puts [`LEAD_KEY`], with a value that no other commit ever has: an
//! open feed tells by it whether what the engine keeps was replaced by another line of commits.

mod error;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::report::EngineReport;

pub use error::KvError;

/// The first octet from which keys are quiet: kept, but left out of the change feed.
pub const QUIET_FIRST: u8 = 0x60;

/// The key whose values tell two lines of commits apart.
pub const LEAD_KEY: &[u8] = b"J";

/// A value and the revision of the commit that wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned {
    /// The octets.
    pub value: Vec<u8>,
    /// The revision of the commit that put them.
    pub revision: u64,
}

/// The keys from `start` up to but without `end`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRange {
    /// The first key that belongs to the range.
    pub start: Vec<u8>,
    /// The first key that no longer does.
    pub end: Vec<u8>,
}

/// Where the next page of a range begins; opaque to callers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor(pub Vec<u8>);

/// A part of a range.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Keys and values by rising key.
    pub entries: Vec<(Vec<u8>, Versioned)>,
    /// Where to go on; `None` exactly when the range has no further key.
    pub next: Option<Cursor>,
    /// The revision of the view that the page was read from.
    pub revision: u64,
}

/// What must hold for a commit to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Precondition {
    /// The key has no value.
    Absent {
        /// The key.
        key: Vec<u8>,
    },
    /// The key has a value, and this commit wrote it.
    AtRevision {
        /// The key.
        key: Vec<u8>,
        /// The revision of its value.
        revision: u64,
    },
    /// The key has exactly this value.
    HasValue {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// No commit was made after this revision.
    UnchangedSince {
        /// The revision of the whole store.
        revision: u64,
    },
}

/// Puts and deletes that happen together or not at all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KvCommit {
    /// All must hold, judged at the moment of the commit.
    pub preconditions: Vec<Precondition>,
    /// Keys and their new values. No key stands twice in a commit.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys that shall have no value; one that has none is no error.
    pub deletes: Vec<Vec<u8>>,
}

/// What one commit did to one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyChange {
    /// The key.
    pub key: Vec<u8>,
    /// The new value, or `None` for a delete.
    pub value: Option<Vec<u8>>,
    /// The revision of the value that was there before, or `None` if there was none.
    pub prev_revision: Option<u64>,
}

/// What one commit did to the keys that are not quiet, by rising key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangeEvent {
    /// The commit's revision.
    pub revision: u64,
    /// At least one change.
    pub changes: Vec<KeyChange>,
}

/// What an engine takes in one commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KvLimits {
    /// Puts, deletes and preconditions of one commit.
    pub operations_max: u32,
    /// Octets of all keys and values of one commit.
    pub octets_max: u64,
}

/// A commit on its way: judged after all that were submitted before it, not yet durable.
#[derive(Debug)]
pub struct PendingCommit(oneshot::Receiver<Result<u64, KvError>>);

/// A view of all keys at one revision. It stays as it was when other commits are made.
///
/// A view costs the engine something (redb keeps replaced pages, etcd must not compact), so hold
/// one for seconds, not for hours. An old view may end with [`KvError::Compacted`].
#[async_trait]
pub trait KvSnapshot: Send + Sync {
    /// Returns the revision of the newest commit in the view.
    async fn revision(&self) -> Result<u64, KvError>;

    /// Returns the values of `keys`, in their order.
    async fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Versioned>>, KvError>;

    /// Returns up to `limit` (at least 1) entries of `range`, from `cursor` on.
    ///
    /// A page may be shorter than `limit`; the range's end is where [`Page::next`] is `None`.
    async fn range(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, KvError>;

    /// Returns the values of `keys` and the first page of each of `ranges`, in their order: up to `limit`
    /// (at least 1) entries. An engine makes few trips of many keys and small ranges, and one of few.
    async fn look(
        &self,
        keys: &[Vec<u8>],
        ranges: &[KeyRange],
        limit: u32,
    ) -> Result<(Vec<Option<Versioned>>, Vec<Page>), KvError>;

    /// The same without keys.
    async fn ranges(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Page>, KvError> {
        Ok(self.look(&[], ranges, limit).await?.1)
    }
}

/// Commits in order, each once, from where the caller left off, then live.
#[async_trait]
pub trait ChangeFeed: Send {
    /// Returns the next commit that changed a key that is not quiet; waits until there is one.
    ///
    /// A waiting caller is woken when the commit is durable; nothing polls. Safe to cancel: what
    /// was not returned comes with the next call. But a feed that is being connected again begins
    /// that anew with each call: whoever cancels often reads ahead in a task
    /// (`history::read_ahead`).
    ///
    /// # Errors
    /// [`KvError::Compacted`] when the caller was slower than the log is long, [`KvError::Ahead`] and
    /// [`KvError::Replaced`] when the store is not the one that was followed. The feed is then at its end.
    async fn next(&mut self) -> Result<ChangeEvent, KvError>;
}

/// A feed of changes of any engine.
pub type ChangeStream = Box<dyn ChangeFeed>;

/// An ordered map with a 64-bit revision per atomic commit.
#[async_trait]
pub trait KeyValueStore: Send + Sync + 'static {
    /// Returns what the engine takes in one commit.
    fn limits(&self) -> KvLimits;

    /// Whether other processes may have the store open, too.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns a view of all commits that were acknowledged before the call.
    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError>;

    /// Returns a view that may lack the newest commits, for less. What is refused by it may be allowed; what is
    /// allowed by it stands in a commit that expects all of it to be as it was read.
    async fn glimpse(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        self.snapshot().await
    }

    /// Hands over a commit; it is judged after all that were handed over before it returned.
    ///
    /// Waits while the engine's queue is full. An engine may finish the commit before it returns.
    ///
    /// # Errors
    /// [`KvError::DuplicateKey`], [`KvError::TooManyOperations`], [`KvError::TooManyOctets`],
    /// [`KvError::Unavailable`] or [`KvError::Closed`]; the commit was then not made. What happens to one that was handed over
    /// is told by [`PendingCommit::wait`].
    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError>;

    /// Opens the feed of all commits with a revision above `after`; 0 is the very beginning.
    ///
    /// # Errors
    /// [`KvError::Compacted`] or [`KvError::Ahead`] if there would be a gap: rescan.
    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError>;

    /// Says whether commits are taken at present.
    ///
    /// # Errors
    /// Why they are not: [`KvError::Unavailable`] while the engine mends itself.
    fn health(&self) -> Result<(), KvError> {
        Ok(())
    }

    /// Says whether so many octets may be brought in at once, without asking anybody.
    ///
    /// # Errors
    /// [`KvError::NearlyFull`].
    fn check_room(&self, octets: u64) -> Result<(), KvError> {
        let _ = octets;
        Ok(())
    }

    /// Says how the engine is, without asking anybody.
    fn report(&self) -> EngineReport {
        EngineReport::default()
    }

    /// Returns the revision of the newest durable commit, 0 if there was none.
    async fn revision(&self) -> Result<u64, KvError>;

    /// Makes a commit and returns its revision once it is durable.
    ///
    /// # Errors
    /// As [`KeyValueStore::submit`] and [`PendingCommit::wait`].
    async fn commit(&self, commit: KvCommit) -> Result<u64, KvError> {
        self.submit(commit).await?.wait().await
    }

    /// Returns the value of one key.
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, KvError> {
        let values = self.snapshot().await?.get_many(&[key.to_vec()]).await?;
        Ok(values.into_iter().next().flatten())
    }

    /// Returns a page of a range, from a view of its own.
    ///
    /// Pages of one listing may so be of different revisions, and each says its own; a key that
    /// keeps its value throughout appears exactly once. Take a [`KvSnapshot`] for one view over all.
    async fn range(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, KvError> {
        self.snapshot().await?.range(range, cursor, limit).await
    }
}

impl PendingCommit {
    /// Makes the two ends: the engine's and the caller's.
    pub fn channel() -> (oneshot::Sender<Result<u64, KvError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Returns the commit's revision once it is durable.
    ///
    /// # Errors
    /// [`KvError::Conflict`], [`KvError::OutcomeUnknown`], [`KvError::Unavailable`],
    /// [`KvError::Engine`] or [`KvError::Closed`].
    pub async fn wait(self) -> Result<u64, KvError> {
        self.0.await.unwrap_or(Err(KvError::Closed))
    }
}

impl KeyRange {
    /// Returns the range of all keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        // The first key behind the prefix: the last octet that can rise, raised.
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        if end.is_empty() {
            end = vec![u8::MAX; 1 + prefix.len()];
        }
        Self { start: prefix.to_vec(), end }
    }

    /// Whether the key belongs to the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && key < self.end.as_slice()
    }

    /// Returns the range without the keys before `cursor`.
    pub(crate) fn beyond(&self, cursor: Option<&Cursor>) -> Self {
        let start = match cursor {
            Some(Cursor(key)) if *key > self.start => key.clone().min(self.end.clone()),
            _ => self.start.clone(),
        };
        Self { start, end: self.end.clone() }
    }
}

impl Cursor {
    /// Returns the cursor behind `key`: the least key that is greater.
    pub fn behind(key: &[u8]) -> Self {
        Self([key, &[0]].concat())
    }
}

impl KvCommit {
    /// Returns how many puts, deletes and preconditions there are.
    pub fn operations(&self) -> u64 {
        (self.puts.len() + self.deletes.len() + self.preconditions.len()) as u64
    }

    /// Returns the octets of all keys and values.
    pub fn octets(&self) -> u64 {
        let puts: usize = self.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
        let deletes: usize = self.deletes.iter().map(Vec::len).sum();
        let preconditions: usize = self.preconditions.iter().map(Precondition::octets).sum();
        (puts + deletes + preconditions) as u64
    }

    /// Checks the commit against the engine's limits.
    ///
    /// # Errors
    /// [`KvError::DuplicateKey`], [`KvError::TooManyOperations`] or [`KvError::TooManyOctets`].
    pub fn check(&self, limits: KvLimits) -> Result<(), KvError> {
        let (operations, octets) = (self.operations(), self.octets());
        if operations > u64::from(limits.operations_max) {
            let operations_max = limits.operations_max;
            return Err(KvError::TooManyOperations { operations, operations_max });
        }
        if octets > limits.octets_max {
            return Err(KvError::TooManyOctets { octets, octets_max: limits.octets_max });
        }
        let mut seen = std::collections::HashSet::with_capacity(self.puts.len());
        let keys = self.puts.iter().map(|(key, _)| key).chain(&self.deletes);
        for key in keys {
            if !seen.insert(key.as_slice()) {
                return Err(KvError::DuplicateKey);
            }
        }
        Ok(())
    }
}

impl Precondition {
    /// Returns the octets of key and value.
    fn octets(&self) -> usize {
        match self {
            Self::Absent { key } | Self::AtRevision { key, .. } => key.len(),
            Self::HasValue { key, value } => key.len() + value.len(),
            Self::UnchangedSince { .. } => 0,
        }
    }
}

/// Whether the change feed leaves the key out.
pub(crate) fn is_quiet(key: &[u8]) -> bool {
    key.first().is_some_and(|first| *first >= QUIET_FIRST)
}

#[cfg(test)]
mod tests;
