//! The embedded engine: the contract suite, and what only it promises.

use std::sync::Arc;

use aspen_dns::store::kv::{KeyValueStore, KvError};
use aspen_dns::store::redb::{LogBounds, RedbStore};

use crate::contract::{CASES, puts, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redb_keeps_the_contract() {
    for case in CASES {
        println!("{case}");
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
        run(case, store).await;
    }
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut last = 0;
    for round in 0..3_u64 {
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.revision().await.unwrap(), last);
        for index in 0..10 {
            last = store.commit(puts(&[("A", &format!("{round} {index}"))])).await.unwrap();
        }
        let mut feed = store.changes(0).await.unwrap();
        for revision in 1..=last {
            assert_eq!(feed.next().await.unwrap().revision, revision);
        }
    }
    assert_eq!(last, 30);
}

#[tokio::test]
async fn the_log_is_bounded_and_says_when_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    for (bounds, kept) in [
        (LogBounds { commits_max: 10, octets_max: u64::MAX }, 10),
        // An entry of one key of one octet and a value of 100: 1 + 4 + 1 + (8) + 4 + 100 octets.
        (LogBounds { commits_max: u64::MAX, octets_max: 1_180 }, 10),
    ] {
        let store = RedbStore::open_with(&path, bounds).unwrap();
        let mut slow = store.changes(store.revision().await.unwrap()).await.unwrap();
        let value = "v".repeat(100);
        let mut last = 0;
        for _ in 0..30 {
            last = store.commit(puts(&[("A", &value)])).await.unwrap();
        }
        assert!(store.changes(last - kept).await.is_ok(), "{bounds:?}");
        let cut = store.changes(last - kept - 1).await;
        assert!(
            matches!(cut.err(), Some(KvError::Compacted { compacted }) if compacted == last - kept)
        );
        // Who was slower than the log is long is told, too.
        assert!(matches!(slow.next().await, Err(KvError::Compacted { .. })), "{bounds:?}");
    }
}

#[tokio::test]
async fn a_file_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path).err(), Some(KvError::InUse)));
    drop(store);
    assert!(RedbStore::open(&path).is_ok());
    assert!(matches!(RedbStore::open(dir.path()).err(), Some(KvError::Engine(_))));
}
