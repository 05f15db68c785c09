//! The embedded engine: one redb file, one writer thread, group commit.
//!
//! Commits queue up for the writer thread, which takes all that wait into one redb transaction:
//! each is judged and applied in order with a revision of its own, and one fsync makes all of them
//! durable. Only then are they acknowledged, and only then do followers of the feed wake.
//!
//! After an I/O error the writer opens the file again by itself (`redb::writer`). Every value
//! carries a checksum (`redb::layout`), and every opening checks all pages (`redb::open`).
//!
//! **Invariant:** data, change log and revision are written in one transaction; what was
//! acknowledged survives a crash at any moment. One process has the file open.
//! **Not here:** the contract (`store::kv`), the transaction (`redb::writer`), the log
//! (`redb::log`).

pub(super) mod check;
mod handle;
mod job;
mod layout;
mod log;
mod open;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadOnlyTable, ReadableDatabase as _};
use tokio::sync::{mpsc, watch};

use self::handle::{Handle, Reporter};
use self::layout::{DATA, META, META_REVISION, Prepared, read_value};
#[doc(hidden)]
pub use self::open::Storage;
use self::open::{StoreFile, catch_panic, open_database};
use super::kv::{
    ChangeStream, Cursor, KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, Page,
    PendingCommit, Versioned,
};
use super::report::EngineReport;
use crate::limits::{
    KV_COMMIT_OCTETS_MAX, KV_COMMIT_OPERATIONS_MAX, KV_PAGE_OCTETS_MAX, KV_QUEUE_COMMITS_MAX,
};

/// The embedded engine. Dropping it lets the writer finish what is queued, then closes the file.
#[derive(Debug)]
pub struct RedbStore {
    /// The open file.
    handle: Arc<Handle>,
    /// The way to the writer; `None` only while dropping.
    queue: Option<mpsc::Sender<job::Job>>,
    /// What tells this store from every other one.
    identity: u64,
    /// The newest durable revision.
    revision: watch::Receiver<u64>,
    /// The writer, joined on drop so that the file is closed when the store is gone.
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How far back the change log reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogBounds {
    /// Commits kept at most.
    pub commits_max: u64,
    /// Octets kept at most.
    pub octets_max: u64,
}

impl RedbStore {
    /// Opens the store at `path`, or makes it, and starts the writer thread.
    ///
    /// redb first checks all pages of the file, which takes time with its size (blocking).
    ///
    /// # Errors
    /// [`KvError::InUse`] if a process has it open, [`KvError::Unreadable`] if a later version
    /// wrote it or the file is damaged, [`KvError::Engine`] for everything that redb or the disk says.
    pub fn open(path: &Path) -> Result<Self, KvError> {
        Self::open_with(path, LogBounds::default())
    }

    /// Opens the store with a change log of other bounds.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open_with(path: &Path, bounds: LogBounds) -> Result<Self, KvError> {
        Self::open_storage(Arc::new(StoreFile::new(path)), bounds)
    }

    /// Opens any storage, now and again after an I/O error.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    #[doc(hidden)]
    pub fn open_storage(storage: Arc<dyn Storage>, bounds: LogBounds) -> Result<Self, KvError> {
        let opened = open_database(&storage).map_err(|error| match error {
            // Nobody tries again: that is for who starts the node.
            KvError::Unavailable { reason } => {
                KvError::engine(std::io::Error::other(reason.to_string()))
            }
            other => other,
        });
        let (database, Prepared { revision, identity }) = opened?;
        let (queue, jobs) = mpsc::channel(KV_QUEUE_COMMITS_MAX);
        let (revision_sender, revision) = watch::channel(revision);
        let handle = Arc::new(Handle::new(database, queue.downgrade()));
        let writer =
            writer::Writer::new(Arc::clone(&handle), storage, jobs, revision_sender, bounds);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(KvError::engine)?;
        Ok(Self { handle, queue: Some(queue), identity, revision, thread: Some(thread) })
    }

    /// Returns the number that tells this store from every other one, copies of it excepted.
    pub fn identity(&self) -> u64 {
        self.identity
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
    }
}

impl Default for LogBounds {
    fn default() -> Self {
        Self {
            commits_max: crate::limits::REDB_LOG_COMMITS_MAX,
            octets_max: crate::limits::REDB_LOG_OCTETS_MAX,
        }
    }
}

#[async_trait]
impl KeyValueStore for RedbStore {
    fn limits(&self) -> KvLimits {
        KvLimits { operations_max: KV_COMMIT_OPERATIONS_MAX, octets_max: KV_COMMIT_OCTETS_MAX }
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        Ok(Box::new(RedbSnapshot::open(&self.handle)?))
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        commit.check(self.limits())?;
        self.handle.health()?;
        let (reply, pending) = PendingCommit::channel();
        let queue = self.queue.as_ref().ok_or(KvError::Closed)?;
        queue.send(job::Job::Write { commit, reply }).await.map_err(|_| KvError::Closed)?;
        Ok(pending)
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        let feed = log::LogFeed::open(Arc::clone(&self.handle), self.revision.clone(), after)?;
        Ok(Box::new(feed))
    }

    fn health(&self) -> Result<(), KvError> {
        self.handle.health()
    }

    fn report(&self) -> EngineReport {
        EngineReport { engine: "redb", ..EngineReport::default() }
    }

    async fn revision(&self) -> Result<u64, KvError> {
        Ok(*self.revision.borrow())
    }
}

/// A redb read transaction: it costs nothing to take and keeps replaced pages while it lives. It
/// ends with [`KvError::Unavailable`] when the file is opened again.
struct RedbSnapshot {
    /// The newest revision in the view.
    revision: u64,
    /// The data of the view.
    data: Arc<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    /// Tells the writer of errors.
    reporter: Reporter,
}

impl RedbSnapshot {
    /// Begins a read transaction.
    fn open(handle: &Handle) -> Result<Self, KvError> {
        handle.with(|database| {
            let transaction = database.begin_read().map_err(engine)?;
            let meta = transaction.open_table(META).map_err(engine)?;
            let revision =
                meta.get(META_REVISION).map_err(engine)?.map_or(0, |guard| guard.value());
            let data = Arc::new(transaction.open_table(DATA).map_err(engine)?);
            Ok(Self { revision, data, reporter: handle.reporter() })
        })
    }
}

#[async_trait]
impl KvSnapshot for RedbSnapshot {
    async fn revision(&self) -> Result<u64, KvError> {
        Ok(self.revision)
    }

    // Some ten keys from the page cache take microseconds: less than a hop to another thread.
    async fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Versioned>>, KvError> {
        let found = if keys.len() <= PAGE_INLINE_ENTRIES_MAX as usize {
            catch_panic(|| read_keys(&self.data, keys))
        } else {
            let (data, keys) = (self.data.clone(), keys.to_vec());
            tokio::task::spawn_blocking(move || catch_panic(|| read_keys(&data, &keys)))
                .await
                .map_err(KvError::engine)?
        };
        found.inspect_err(|error| self.reporter.tell(error))
    }

    async fn range(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, KvError> {
        let (range, revision) = (range.beyond(cursor), self.revision);
        let page = if limit <= PAGE_INLINE_ENTRIES_MAX {
            catch_panic(|| read_page(&self.data, &range, limit, revision))
        } else {
            let data = self.data.clone();
            tokio::task::spawn_blocking(move || read_page(&data, &range, limit, revision))
                .await
                .map_err(KvError::engine)?
        };
        page.inspect_err(|error| self.reporter.tell(error))
    }

    async fn look(
        &self,
        keys: &[Vec<u8>],
        ranges: &[KeyRange],
        limit: u32,
    ) -> Result<(Vec<Option<Versioned>>, Vec<Page>), KvError> {
        let (data, revision) = (self.data.clone(), self.revision);
        let (keys, ranges) = (keys.to_vec(), ranges.to_vec());
        let read = move || {
            let page = |range: &KeyRange| read_page(&data, range, limit, revision);
            catch_panic(|| {
                let values = read_keys(&data, &keys)?;
                Ok((values, ranges.iter().map(page).collect::<Result<_, _>>()?))
            })
        };
        let found = tokio::task::spawn_blocking(read).await.map_err(KvError::engine)?;
        found.inspect_err(|error| self.reporter.tell(error))
    }
}

/// Reads the values of `keys`, in their order.
fn read_keys(
    data: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    keys: &[Vec<u8>],
) -> Result<Vec<Option<Versioned>>, KvError> {
    let find = |key: &Vec<u8>| match data.get(key.as_slice()).map_err(engine)? {
        Some(guard) => read_value(key, guard.value()).map(Some),
        None => Ok(None),
    };
    keys.iter().map(find).collect()
}

/// Reads up to `limit` entries of `range`, or fewer if they are large.
fn read_page(
    data: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    range: &KeyRange,
    limit: u32,
    revision: u64,
) -> Result<Page, KvError> {
    let mut page = Page { entries: Vec::new(), next: None, revision };
    if range.start >= range.end {
        return Ok(page);
    }
    let mut octets = 0;
    let found = data.range::<&[u8]>(range.start.as_slice()..range.end.as_slice());
    for entry in found.map_err(engine)? {
        let (key, value) = entry.map_err(engine)?;
        let is_full = page.entries.len() >= limit.max(1) as usize || octets >= KV_PAGE_OCTETS_MAX;
        if is_full {
            page.next = Some(Cursor(key.value().to_vec()));
            break;
        }
        octets += key.value().len() + value.value().len();
        page.entries.push((key.value().to_vec(), read_value(key.value(), value.value())?));
    }
    Ok(page)
}

/// Wraps any of redb's errors; those that a new opening may mend are [`KvError::Unavailable`].
fn engine(error: impl Into<redb::Error>) -> KvError {
    use redb::Error;
    match error.into() {
        error @ (Error::Io(_)
        | Error::Backend(_)
        | Error::PreviousIo
        | Error::DatabaseClosed
        | Error::LockPoisoned(_)) => KvError::Unavailable { reason: error.to_string().into() },
        other => KvError::engine(other),
    }
}

/// Entries of a page that are read without a hop to another thread.
const PAGE_INLINE_ENTRIES_MAX: u32 = 256;
