//! Opening the file, whatever is in it.
//!
//! redb trusts a file that was closed in order, and may panic over one that was changed since. So
//! every opening has it check all pages (it reads the whole file), in a thread of its own, which
//! may panic or never end without taking the node along.
//!
//! **Invariant:** opening ends, in time, with a file whose pages are whole or with an error.
//! **Not here:** checksums of values (`redb::layout`), when to open again (`redb::writer`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use redb::{Builder, Database, DatabaseError};

use super::layout::{Prepared, prepare};
use crate::limits::{REDB_CACHE_OCTETS, REDB_OPEN_OCTETS_PER_S, REDB_OPEN_S_MIN};
use crate::store::kv::KvError;

/// What is opened, now and again: the file, or what stands for it in a test.
#[doc(hidden)]
pub trait Storage: Send + Sync + 'static {
    /// Opens it with a builder that has been set up.
    ///
    /// # Errors
    /// redb's.
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError>;

    /// Returns about how many octets it has: so long may opening it take.
    fn octets(&self) -> u64;
}

/// A file.
pub(super) struct StoreFile {
    /// Where it is.
    path: PathBuf,
    /// Whether it was opened before.
    is_made: AtomicBool,
}

impl StoreFile {
    /// Names a file, which the first opening makes if it is not there.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), is_made: AtomicBool::new(false) }
    }
}

impl Storage for StoreFile {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        // Later on an empty file in its place is not the store.
        match self.is_made.swap(true, Ordering::Relaxed) {
            false => builder.create(&self.path),
            true => builder.open(&self.path),
        }
    }

    fn octets(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |found| found.len())
    }
}

/// Opens the store and makes it what this version reads and writes.
///
/// # Errors
/// [`KvError::InUse`] if a process has it open; [`KvError::Unreadable`] if a later version wrote it
/// or nothing can be made of it; else the engine's.
pub(super) fn open_database(storage: &Arc<dyn Storage>) -> Result<(Database, Prepared), KvError> {
    let (sender, receiver) = sync_channel(1);
    let patience = REDB_OPEN_S_MIN + storage.octets() / REDB_OPEN_OCTETS_PER_S;
    let storage = Arc::clone(storage);
    std::thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            let opened = catch_panic(|| {
                let mut builder = Database::builder();
                builder.set_cache_size(REDB_CACHE_OCTETS).set_check_integrity_on_open(true);
                let database = storage.open(&builder).map_err(|error| match error {
                    DatabaseError::DatabaseAlreadyOpen => KvError::InUse,
                    other => KvError::engine(redb::Error::from(other)),
                })?;
                let prepared = prepare(&database)?;
                Ok((database, prepared))
            });
            // Who waited may have given up; the file is then closed here.
            let _ = sender.send(opened);
        })
        .map_err(KvError::engine)?;
    match receiver.recv_timeout(Duration::from_secs(patience)) {
        Ok(opened) => opened,
        Err(RecvTimeoutError::Timeout) => {
            Err(KvError::Unreadable { what: "a file that does not open in time" })
        }
        Err(RecvTimeoutError::Disconnected) => Err(PANICKED),
    }
}

/// Does something with redb, which panics over some damaged pages.
///
/// # Errors
/// What `work` returns, or [`KvError::Unreadable`].
pub(super) fn catch_panic<T>(work: impl FnOnce() -> Result<T, KvError>) -> Result<T, KvError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(PANICKED))
}

/// Says that redb panicked.
const PANICKED: KvError = KvError::Unreadable { what: "pages that the storage engine panics over" };
