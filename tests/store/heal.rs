//! The embedded engine over storage that fails: what was acknowledged stays, and it serves again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aspen_dns::store::kv::{KeyValueStore, KvError};
use aspen_dns::store::redb::RedbStore;

use crate::contract::puts;
use crate::disk::{Disk, NEVER};

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
    let store = Arc::new(disk.open().unwrap());
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
    assert!(
        is_told || disk.is_once || disk.failures.load(Ordering::SeqCst) == 0,
        "{n}: a failure was not told"
    );
    disk.fail_from(NEVER);
    let last = commit_again(&store, "LAST").await;
    assert!(store.health().is_ok(), "{n}");
    let followed = tokio::time::timeout(Duration::from_secs(10), followed).await.unwrap().unwrap();
    assert!(followed.is_sorted_by(|a, b| a < b), "{n}: {followed:?}");
    assert_eq!(followed.last(), Some(&last));
    check(&store, &outcomes, &followed, n).await;
    drop(store);
    // The same after a restart, which sees only what is on the disk.
    let store = disk.open().unwrap();
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
    // Reads fail, too, so that no opening sees both what was and what will be there.
    let disk = Disk::new(io::ErrorKind::Other, true);
    let store = disk.open().unwrap();
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
            for is_once in [false, true] {
                let mut disk = Disk::new(error, error == io::ErrorKind::Other);
                disk.is_once = is_once;
                cases.spawn(fail_and_mend(disk, n));
            }
        }
    }
    while let Some(done) = cases.join_next().await {
        done.unwrap();
    }
}
