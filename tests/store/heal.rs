//! The embedded engine over storage that fails: what was acknowledged stays, and it serves again.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aspen_dns::store::kv::{KeyValueStore, KvError};
use aspen_dns::store::redb::{LogBounds, RedbStore};
use redb::StorageBackend;

use crate::contract::puts;

/// Octets in memory whose writes, and reads if asked, fail from the n-th call on.
#[derive(Clone, Debug)]
struct Disk {
    octets: Arc<Mutex<Vec<u8>>>,
    /// Calls until the first failure; negative once it failed, [`NEVER`] for good calls.
    left: Arc<AtomicI64>,
    /// What a failing call says.
    error: io::ErrorKind,
    /// Whether a read counts, too.
    has_bad_reads: bool,
    /// How many calls failed.
    failures: Arc<AtomicU64>,
}

const NEVER: i64 = i64::MAX;

impl Disk {
    fn new(error: io::ErrorKind, has_bad_reads: bool) -> Self {
        let (octets, left) = (Arc::default(), Arc::new(AtomicI64::new(NEVER)));
        Self { octets, left, error, has_bad_reads, failures: Arc::default() }
    }

    /// Fails the `n`-th call from now and all after it; [`NEVER`] mends the disk.
    fn fail_from(&self, n: i64) {
        self.left.store(n, Ordering::SeqCst);
    }

    fn call(&self) -> io::Result<()> {
        if self.left.load(Ordering::SeqCst) == NEVER {
            return Ok(());
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            return Ok(());
        }
        self.failures.fetch_add(1, Ordering::SeqCst);
        Err(self.error.into())
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

fn open(disk: &Disk) -> Result<RedbStore, KvError> {
    let disk = disk.clone();
    let open = move |builder: &redb::Builder| builder.create_with_backend(disk.clone());
    RedbStore::open_from(Box::new(open), LogBounds::default())
}

/// Commits until it works, for some seconds.
async fn commit_again(store: &RedbStore, key: &str) -> u64 {
    let trying = async {
        loop {
            match store.commit(puts(&[(key, "again")])).await {
                Ok(revision) => return revision,
                Err(KvError::Unavailable { .. } | KvError::OutcomeUnknown) => {}
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), trying).await.expect("it serves again")
}

/// Fails from the `n`-th call on while commits are made, then mends the disk.
async fn fail_and_mend(disk: Disk, n: i64) {
    let store = Arc::new(open(&disk).unwrap());
    let mut feed = store.changes(0).await.unwrap();
    let followed = tokio::spawn(async move {
        let mut followed = Vec::new();
        loop {
            let event = feed.next().await.unwrap();
            followed.push(event.revision);
            if event.changes[0].key == b"LAST" {
                return followed;
            }
        }
    });
    let mut outcomes = Vec::new();
    for index in 0..20_u32 {
        if index == 4 {
            disk.fail_from(n);
        }
        let key = format!("K{index:02}");
        let value = "v".repeat(3_000);
        outcomes.push((key.clone(), store.commit(puts(&[(&key, &value)])).await));
    }
    let is_told = outcomes.iter().any(|(_, outcome)| outcome.is_err());
    assert!(is_told || disk.failures.load(Ordering::SeqCst) == 0, "{n}: a failure was not told");
    disk.fail_from(NEVER);
    let last = commit_again(&store, "LAST").await;
    assert!(store.health().is_ok(), "{n}");
    let followed = tokio::time::timeout(Duration::from_secs(10), followed).await.unwrap().unwrap();
    assert!(followed.is_sorted_by(|a, b| a < b), "{n}: {followed:?}");
    assert_eq!(followed.last(), Some(&last));
    check(&store, &outcomes, &followed, n).await;
    drop(store);
    // The same after a restart, which sees only what is on the disk.
    let store = open(&disk).unwrap();
    assert_eq!(store.revision().await.unwrap(), last, "{n}");
    check(&store, &outcomes, &followed, n).await;
}

/// Compares what is there with what was said.
async fn check(
    store: &RedbStore,
    outcomes: &[(String, Result<u64, KvError>)],
    followed: &[u64],
    n: i64,
) {
    for (key, outcome) in outcomes {
        let found = store.get(key.as_bytes()).await.unwrap().map(|found| found.revision);
        match outcome {
            Ok(revision) => {
                assert_eq!(found, Some(*revision), "{n}: {key} was acknowledged");
                assert!(followed.contains(revision), "{n}: {key} was not followed");
            }
            Err(KvError::Unavailable { .. }) => assert_eq!(found, None, "{n}: {key}"),
            Err(KvError::OutcomeUnknown) => {
                let is_followed = found.is_none_or(|found| followed.contains(&found));
                assert!(is_followed, "{n}: {key} was made, and not followed");
            }
            Err(other) => panic!("{n}: {key}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_went_back_is_not_served() {
    let disk = Disk::new(io::ErrorKind::Other, false);
    let store = open(&disk).unwrap();
    store.commit(puts(&[("A", "1")])).await.unwrap();
    let older = disk.octets.lock().unwrap().clone();
    store.commit(puts(&[("A", "2")])).await.unwrap();
    let mut feed = store.changes(2).await.unwrap();
    disk.fail_from(1);
    assert!(store.commit(puts(&[("A", "3")])).await.is_err());
    assert!(matches!(store.health(), Err(KvError::Unavailable { .. })));
    // What a disk that lost its last writes would show.
    *disk.octets.lock().unwrap() = older;
    disk.fail_from(NEVER);
    let told = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match store.commit(puts(&[("A", "4")])).await {
                Err(KvError::Unavailable { .. } | KvError::OutcomeUnknown) => {}
                other => return other,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let told = told.await.unwrap();
    assert!(matches!(told, Err(KvError::WentBack { acknowledged: 2, found: 1 })), "{told:?}");
    assert!(matches!(store.health(), Err(KvError::WentBack { .. })));
    assert!(matches!(store.snapshot().await.err(), Some(KvError::WentBack { .. })));
    let next = tokio::time::timeout(Duration::from_millis(200), feed.next()).await;
    assert!(next.is_err() || matches!(next, Ok(Err(KvError::WentBack { .. }))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_serves_again_after_a_failure_at_any_call() {
    let mut cases = tokio::task::JoinSet::new();
    for error in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for n in 1..=60 {
            cases.spawn(fail_and_mend(Disk::new(error, error == io::ErrorKind::Other), n));
        }
    }
    while let Some(done) = cases.join_next().await {
        done.unwrap();
    }
}
