//! The embedded engine: the contract suite, and what only it promises.

use std::sync::Arc;

use aspen_dns::store::kv::{KeyRange, KeyValueStore, KvError};
use aspen_dns::store::redb::{LogBounds, RedbStore};

use redb::ReadableTable as _;

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

#[tokio::test]
async fn a_value_that_is_not_what_was_put_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    for key in ["A", "B", "C"] {
        store.commit(puts(&[(key, "value")])).await.unwrap();
    }
    drop(store);
    // What a disk may do under redb's own checksums: one bit of a value and of a log entry.
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let turn = |stored: &[u8]| {
            let mut turned = stored.to_vec();
            *turned.last_mut().unwrap() ^= 1;
            turned
        };
        let data = redb::TableDefinition::<&[u8], &[u8]>::new("data2");
        let mut data = transaction.open_table(data).unwrap();
        let turned = turn(data.get(&b"B"[..]).unwrap().unwrap().value());
        data.insert(&b"B"[..], turned.as_slice()).unwrap();
        let log = redb::TableDefinition::<u64, &[u8]>::new("log2");
        let mut log = transaction.open_table(log).unwrap();
        let turned = turn(log.get(2).unwrap().unwrap().value());
        log.insert(2, turned.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let store = RedbStore::open(&path).unwrap();
    let is_damaged = |error: Option<KvError>, key: &[u8]| matches!(&error, Some(KvError::Damaged { key: found, .. }) if found == key);
    assert!(is_damaged(store.get(b"B").await.err(), b"B"));
    let all = KeyRange::prefix(b"");
    assert!(is_damaged(store.range(&all, None, 10).await.err(), b"B"));
    assert!(is_damaged(store.changes(0).await.err(), b"2"));
    assert!(store.changes(2).await.is_ok());
    assert_eq!(store.get(b"C").await.unwrap().unwrap().revision, 3);
    // A commit that would build on it fails, alone; those beside it are made.
    let bad = store.submit(puts(&[("B", "new")])).await.unwrap();
    let good = store.submit(puts(&[("C", "new")])).await.unwrap();
    assert!(is_damaged(bad.wait().await.err(), b"B"));
    assert_eq!(good.wait().await.unwrap(), 4);
    assert!(store.health().is_ok());
}
