//! A disk in memory that fails when it is told to.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aspen_dns::store::kv::KvError;
use aspen_dns::store::redb::{LogBounds, RedbStore, Storage};
use redb::{Builder, Database, DatabaseError, StorageBackend};

/// Octets in memory whose writes, and reads if asked, fail from the n-th call on.
#[derive(Clone, Debug)]
pub struct Disk {
    pub octets: Arc<Mutex<Vec<u8>>>,
    /// Calls until the first failure; negative once it failed, [`NEVER`] for good calls.
    left: Arc<AtomicI64>,
    /// What a failing call says.
    error: io::ErrorKind,
    /// Whether a read counts, too.
    has_bad_reads: bool,
    /// Whether it is good again after one failure.
    pub is_once: bool,
    /// How many calls failed.
    pub failures: Arc<AtomicU64>,
}

pub const NEVER: i64 = i64::MAX;

impl Disk {
    pub fn new(error: io::ErrorKind, has_bad_reads: bool) -> Self {
        let (octets, left) = (Arc::default(), Arc::new(AtomicI64::new(NEVER)));
        Self { octets, left, error, has_bad_reads, is_once: false, failures: Arc::default() }
    }

    /// Fails the `n`-th call from now and all after it; [`NEVER`] mends the disk.
    pub fn fail_from(&self, n: i64) {
        self.left.store(n, Ordering::SeqCst);
    }

    /// Opens the store that is on it, or makes one.
    pub fn open(&self) -> Result<RedbStore, KvError> {
        RedbStore::open_storage(Arc::new(self.clone()), LogBounds::default())
    }

    fn call(&self) -> io::Result<()> {
        if self.left.load(Ordering::SeqCst) == NEVER {
            return Ok(());
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            return Ok(());
        }
        self.failures.fetch_add(1, Ordering::SeqCst);
        if self.is_once {
            self.fail_from(NEVER);
        }
        Err(self.error.into())
    }
}

impl Storage for Disk {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }

    fn octets(&self) -> u64 {
        self.octets.lock().unwrap().len() as u64
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.octets.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.has_bad_reads {
            self.call()?;
        }
        let (octets, start) = (self.octets.lock().unwrap(), offset as usize);
        let found = octets.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call()?;
        self.octets.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let failed = self.call();
        // A write that fails may have been made by half.
        let len = if failed.is_ok() { data.len() } else { data.len() / 2 };
        let start = offset as usize;
        self.octets.lock().unwrap()[start..start + len].copy_from_slice(&data[..len]);
        failed
    }
}
