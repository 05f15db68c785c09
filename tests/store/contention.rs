//! Several writers of one zone beside writers of others: nothing that is acknowledged may be undone.

use std::sync::Arc;
use std::time::Duration;

use aspen_dns::record::RecordType;
use aspen_dns::store::kv::{
    ChangeStream, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, PendingCommit,
};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::{Batch, DnsStore, Expectation, StoreError, StoredRrset};
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use crate::fixture::{apply, fixture, name, operation};

/// Writers of the counter.
const COUNTERS: u32 = 4;
/// Writers of other zones.
const OTHERS: u32 = 6;
/// Changes of each.
const CHANGES: u32 = 250;

/// The value of the counter: the last octets of its address.
fn value_of(found: &StoredRrset) -> u32 {
    let address = found.rrset.rdata.iter().next().unwrap();
    u32::from_be_bytes(address[12..].try_into().unwrap())
}

/// Raises the counter by one as often as nobody else gets ahead; returns how often that was acknowledged.
async fn count(store: Arc<DnsStore>) -> u32 {
    let owner = name("c.one.example");
    let mut acknowledged = 0;
    for _ in 0..CHANGES {
        let found = store.get_record(&owner, RecordType::AAAA).await.unwrap().unwrap();
        let value = value_of(&found);
        let expected = Expectation::RrsetAtRevision {
            owner: owner.clone(),
            rtype: RecordType::AAAA,
            revision: found.revision,
        };
        let operations = vec![operation(&format!(
            "+ c.one.example AAAA 2001:db8::{:x}:{:x}",
            (value + 1) >> 16,
            (value + 1) & 0xffff
        ))];
        match store.apply(Batch { operations, preconditions: vec![expected] }).await {
            Ok(_) => acknowledged += 1,
            Err(StoreError::PreconditionFailed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_under_preconditions_lose_nothing_beside_writers_of_other_zones() {
    let f = fixture().await;
    apply(&f.store, "+zone one.example\n+ c.one.example AAAA 2001:db8::0").await.unwrap();
    let mut tasks = Vec::new();
    for at in 0..OTHERS {
        let store = f.store.clone();
        apply(&store, &format!("+zone o{at}.example")).await.unwrap();
        tasks.push(tokio::spawn(async move {
            for change in 0..CHANGES {
                let text = format!("+ n{}.o{at}.example A 192.0.2.{}", change % 50, change % 250);
                apply(&store, &text).await.unwrap();
            }
            0
        }));
    }
    tasks.extend((0..COUNTERS).map(|_| tokio::spawn(count(f.store.clone()))));
    let mut acknowledged = 0;
    for task in tasks {
        acknowledged += task.await.unwrap();
    }
    let found = f.store.get_record(&name("c.one.example"), RecordType::AAAA).await.unwrap();
    assert!(acknowledged > 0);
    assert_eq!(value_of(&found.unwrap()), acknowledged);
    assert!(!f.store.recount(&name("one.example")).await.unwrap(), "a digest is wrong");
}

/// A commit in the queue, and who waits for it.
type Queued = (KvCommit, oneshot::Sender<Result<u64, KvError>>);

/// The embedded engine behind a disk that stands still while it is told to.
struct Slow {
    engine: Arc<RedbStore>,
    queue: mpsc::UnboundedSender<Queued>,
    queued: watch::Sender<usize>,
}

impl Slow {
    /// Opens the engine; commits are made while `is_open`.
    fn open(dir: &tempfile::TempDir, mut is_open: watch::Receiver<bool>) -> Arc<Self> {
        let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
        let (queue, mut commits) = mpsc::unbounded_channel::<Queued>();
        let below = engine.clone();
        tokio::spawn(async move {
            while let Some((commit, outcome)) = commits.recv().await {
                is_open.wait_for(|is_open| *is_open).await.unwrap();
                let _ = outcome.send(below.commit(commit).await);
            }
        });
        Arc::new(Self { engine, queue, queued: watch::Sender::new(0) })
    }
}

#[async_trait]
impl KeyValueStore for Slow {
    fn limits(&self) -> KvLimits {
        self.engine.limits()
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        self.engine.snapshot().await
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        let (outcome, pending) = PendingCommit::channel();
        self.queue.send((commit, outcome)).map_err(|_| KvError::Closed)?;
        self.queued.send_modify(|count| *count += 1);
        Ok(pending)
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.engine.changes(after).await
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.engine.revision().await
    }
}

/// What is written by a client that hangs up is seen by those who build on it, all of it.
#[tokio::test]
async fn rules_are_judged_by_commits_on_their_way_whose_client_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, is_open) = watch::channel(true);
    let engine = Slow::open(&dir, is_open);
    let store = DnsStore::open(engine.clone()).await.unwrap();
    apply(&store, "+zone one.example\n+ b.one.example A 192.0.2.1").await.unwrap();
    let mut queued = engine.queued.subscribe();
    let before = *queued.borrow();
    gate.send(false).unwrap();
    let begin = |text: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { apply(&store, text).await })
    };
    let gone = begin("+ a.one.example CNAME b.one.example");
    queued.wait_for(|count| *count == before + 1).await.unwrap();
    let built_on_it = begin("+ c.one.example A 192.0.2.2");
    queued.wait_for(|count| *count == before + 2).await.unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let refused = begin("+ a.one.example A 192.0.2.3");
    tokio::select! {
        _ = queued.wait_for(|count| *count == before + 3) => {}
        () = tokio::time::sleep(Duration::from_secs(1)), if !refused.is_finished() => {}
    }
    gate.send(true).unwrap();
    built_on_it.await.unwrap().unwrap();
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Err(StoreError::Rule(_))), "{refused:?}");
    let owner = name("a.one.example");
    assert!(store.get_record(&owner, RecordType::CNAME).await.unwrap().is_some());
    assert!(store.get_record(&owner, RecordType::A).await.unwrap().is_none());
    assert!(!store.recount(&name("one.example")).await.unwrap(), "a digest is wrong");
}
