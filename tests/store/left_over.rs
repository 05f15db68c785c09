//! What imports and deleted zones leave behind, and who may take it away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aspen_dns::store::DnsStore;
use aspen_dns::store::check::check_file;
use aspen_dns::store::kv::{
    ChangeStream, KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, PendingCommit,
};
use aspen_dns::store::redb::RedbStore;
use async_trait::async_trait;

use crate::fixture::{apply, contents, name, rrset};

/// An engine that has no room to sweep while it is full.
struct Full {
    engine: RedbStore,
    is_full: AtomicBool,
    refused: AtomicU64,
}

#[async_trait]
impl KeyValueStore for Full {
    fn limits(&self) -> KvLimits {
        self.engine.limits()
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        self.engine.snapshot().await
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        if commit.puts.is_empty() && self.is_full.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(KvError::Unavailable { reason: "no space".into() });
        }
        self.engine.submit(commit).await
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.engine.changes(after).await
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.engine.revision().await
    }
}

fn engine(dir: &tempfile::TempDir, is_full: bool) -> Arc<Full> {
    let engine = RedbStore::open(&dir.path().join("store.redb")).unwrap();
    Arc::new(Full { engine, is_full: is_full.into(), refused: AtomicU64::new(0) })
}

/// Returns the first octets of the quiet keys that there are.
async fn quiet(engine: &Full) -> String {
    let range = KeyRange { start: vec![b'a'], end: vec![u8::MAX] };
    let page = engine.range(&range, None, 9).await.unwrap();
    page.entries.iter().map(|(key, _)| char::from(key[0])).collect()
}

async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what);
}

#[tokio::test]
async fn a_sweep_that_failed_is_tried_again_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&dir, true);
    let store = DnsStore::open(engine.clone()).await.unwrap();
    apply(&store, "+zone example.com\n+ www.example.com A 192.0.2.1").await.unwrap();
    apply(&store, "-zone example.com").await.unwrap();
    wait("a sweep that fails", async || engine.refused.load(Ordering::Relaxed) > 0).await;
    assert_eq!(quiet(&engine).await, "gr");
    engine.is_full.store(false, Ordering::Relaxed);
    // Nobody writes any more.
    wait("a sweep", async || quiet(&engine).await.is_empty()).await;
}

#[tokio::test]
async fn an_import_of_one_whose_clock_is_far_behind_is_not_taken_for_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&dir, false);
    // What another authority has written a moment ago, by its clock in 1970.
    let generation = 7_u64.to_be_bytes();
    let marker = ([b"g", &generation[..]].concat(), [b"f", &0_u64.to_be_bytes()[..]].concat());
    let row = ([b"r", &generation[..], b"\0\0\x01"].concat(), b"a row".to_vec());
    let puts = vec![marker, row];
    engine.commit(KvCommit { puts, ..KvCommit::default() }).await.unwrap();
    let store = DnsStore::open(engine.clone()).await.unwrap();
    apply(&store, "+zone example.com\n+ www.example.com A 192.0.2.1").await.unwrap();
    assert_eq!(quiet(&engine).await, "grr");
    apply(&store, "-zone example.com").await.unwrap();
    wait("a sweep of the zone's, not of the import's", async || quiet(&engine).await == "gr").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_go_with_their_zone_and_the_check_reads_what_stands_in_and_over_them() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&dir, false);
    let store = DnsStore::open(engine.clone()).await.unwrap();
    let apex = name("example.com");
    for round in 0..2 {
        let rrsets = (0..2_000).map(|n| rrset(&format!("n{n}.example.com A 192.0.2.{round}")));
        store.import_zone(&apex, rrsets.collect(), None, &|_| {}).await.unwrap();
    }
    apply(
        &store,
        "+ n7.example.com A 192.0.2.9\n- n8.example.com A\n+ new.example.com A 192.0.2.1",
    )
    .await
    .unwrap();
    let (zone, read) =
        (store.get_zone(&apex).await.unwrap().unwrap(), contents(&store, "example.com").await);
    assert_eq!((zone.rrset_count, read.len()), (2_002, 2_002));
    assert!(read.contains(&"n7.example.com A 192.0.2.9".to_owned()));
    // The directory, three rows and some packs of the newest import.
    wait("a sweep of the first import's", async || quiet(&engine).await == "dooopp").await;
    drop((store, engine));
    let file = dir.path().join("store.redb");
    let report = async || tokio::task::block_in_place(|| check_file(&file));
    let report = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            // The sweep may hold the store open for a moment.
            match report().await {
                Err(KvError::InUse) => tokio::time::sleep(Duration::from_millis(5)).await,
                checked => return checked.unwrap(),
            }
        }
    });
    let report = report.await.unwrap();
    assert_eq!((report.finding_count, report.rrsets), (0, 2_000), "{:?}", report.findings);
    let engine = crate::left_over::engine(&dir, false);
    let store = DnsStore::open(engine.clone()).await.unwrap();
    apply(&store, "-zone example.com").await.unwrap();
    wait("a sweep of packs", async || quiet(&engine).await.is_empty()).await;
}
