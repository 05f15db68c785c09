//! How often a write asks the engine: one that is far away takes a round trip for each question.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aspen_dns::store::DnsStore;
use aspen_dns::store::kv::{
    ChangeStream, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, PendingCommit,
};
use aspen_dns::store::redb::RedbStore;
use async_trait::async_trait;

use crate::fixture::apply;
use crate::shared::CountedView;

/// The embedded engine, with its questions counted.
struct Counted {
    engine: Arc<RedbStore>,
    asked: Arc<AtomicU32>,
}

#[async_trait]
impl KeyValueStore for Counted {
    fn limits(&self) -> KvLimits {
        self.engine.limits()
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        let (view, asked) = (Arc::from(self.engine.snapshot().await?), self.asked.clone());
        Ok(Box::new(CountedView { view, asked, has_no_pages: Arc::default() }))
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.engine.submit(commit).await
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.engine.changes(after).await
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.engine.revision().await
    }
}

#[tokio::test]
async fn a_write_asks_as_often_however_many_records_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Counted { engine: engine.clone(), asked: asked.clone() };
    let store = DnsStore::open(Arc::new(counted)).await.unwrap();
    apply(&store, "+zone one.example\n+zone two.example").await.unwrap();
    // The first write that does not name its zone finds out which it is, and begins anew.
    apply(&store, "+ a.one.example A 192.0.2.1\n+ a.two.example A 192.0.2.1").await.unwrap();
    let many: String =
        (0..100).map(|at| format!("+ n{at}.x.one.example A 192.0.2.{at}\n")).collect();
    let digest = "ab".repeat(32);
    // Zones, owners and what may be above names that are put; the commit.
    for (text, wanted) in [
        ("+ b.one.example A 192.0.2.2", 2),
        ("+ b.one.example A 192.0.2.3", 2),
        ("- a.one.example A", 2),
        (&many, 2),
        ("+ c.one.example A 192.0.2.2\n+ c.two.example A 192.0.2.3", 2),
        (&format!("+ sub.one.example NS ns.example\n+ sub.one.example DS 1 13 2 {digest}"), 2),
        ("+zone three.example\n+ a.three.example A 192.0.2.3", 2),
    ] {
        asked.store(0, Ordering::Relaxed);
        apply(&store, text).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), wanted, "{text:.40}");
    }
    // Made anew by another process, the zone has another generation than is remembered: what stands under
    // it is read in a second trip, once.
    let other = DnsStore::open(engine).await.unwrap();
    apply(&other, "-zone two.example\n+zone two.example").await.unwrap();
    for wanted in [3, 2] {
        asked.store(0, Ordering::Relaxed);
        apply(&store, "+ c.two.example A 192.0.2.4").await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), wanted);
    }
}
