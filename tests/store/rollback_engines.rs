//! Going back to a revision over engines of their own kinds: small transactions, one that is full, a short log, etcd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aspen_dns::name::Name;
#[cfg(feature = "etcd")]
use aspen_dns::store::etcd::EtcdStore;
use aspen_dns::store::kv::{
    ChangeStream, KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, PendingCommit,
};
use aspen_dns::store::redb::{LogBounds, RedbStore};
use aspen_dns::store::{DnsStore, RollbackError};
use async_trait::async_trait;

use crate::fixture::{apply, name};
use crate::rollback::{KEPT_MS, check_back, check_zones_of_all_kinds, import, shown};

/// The embedded engine with small transactions, which has no room when it is told so.
struct Small {
    engine: RedbStore,
    is_full: AtomicBool,
}

#[async_trait]
impl KeyValueStore for Small {
    fn limits(&self) -> KvLimits {
        KvLimits { operations_max: 40, ..self.engine.limits() }
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        self.engine.snapshot().await
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        commit.check(self.limits())?;
        self.engine.submit(commit).await
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.engine.changes(after).await
    }

    fn check_room(&self, octets: u64) -> Result<(), KvError> {
        match self.is_full.load(Ordering::Relaxed) {
            true => Err(KvError::NearlyFull { octets, quota_octets: 0 }),
            false => Ok(()),
        }
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.engine.revision().await
    }
}

/// A store over it.
async fn small(dir: &tempfile::TempDir) -> (Arc<DnsStore>, Arc<Small>) {
    let engine = RedbStore::open(&dir.path().join("store.redb")).unwrap();
    let engine = Arc::new(Small { engine, is_full: false.into() });
    (DnsStore::open_keeping(engine.clone(), KEPT_MS).await.unwrap(), engine)
}

/// How many generations stand in an engine that no zone has.
async fn left(engine: &dyn KeyValueStore) -> usize {
    engine.range(&KeyRange::prefix(b"g"), None, 100).await.unwrap().entries.len()
}

/// Waits until nothing is kept of what zones have left.
async fn wait_swept(engine: &dyn KeyValueStore) {
    let waiting = async {
        while left(engine).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

/// A commit that had no room for what it took away would leave nothing to go back to.
#[tokio::test]
async fn a_batch_that_just_fills_a_transaction_is_undone_and_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _engine) = small(&dir).await;
    apply(&store, "+zone one.example\n+zone two.example").await.unwrap();
    for count in 30..=40 {
        for zones in [&["one"][..], &["one", "two"]] {
            let (before, then) = (store.revision().await.unwrap(), shown(&store).await);
            let line = |n| format!("+ s{count}n{n}.{}.example A 192.0.2.1", zones[n % zones.len()]);
            let lines: Vec<String> = (0..count).map(line).collect();
            apply(&store, &lines.join("\n")).await.unwrap();
            let (after, now) = (store.revision().await.unwrap(), shown(&store).await);
            check_back(&store, before, &then).await;
            check_back(&store, after, &now).await;
            check_back(&store, before, &then).await;
        }
    }
}

#[tokio::test]
async fn what_no_transaction_holds_is_written_anew_and_too_many_zones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, engine) = small(&dir).await;
    check_zones_of_all_kinds(&store).await;
    import(&store, "example.com", 300, 1).await;
    let revision = store.revision().await.unwrap();
    let then = shown(&store).await;
    for part in 0..3 {
        let lines: Vec<String> =
            (0..30).map(|n| format!("+ n{}.example.com A 192.0.2.9", part * 30 + n)).collect();
        apply(&store, &lines.join("\n")).await.unwrap();
    }
    let changed = store.revision().await.unwrap();
    let changed_shown = shown(&store).await;
    check_back(&store, revision, &then).await;
    // From another generation, of which so many rows were something else.
    import(&store, "example.com", 10, 3).await;
    check_back(&store, changed, &changed_shown).await;
    import(&store, "example.com", 10, 4).await;
    check_back(&store, revision, &then).await;
    let before = store.revision().await.unwrap();
    for n in 0..25 {
        apply(&store, &format!("+zone z{n}.example.net")).await.unwrap();
    }
    let newest = store.revision().await.unwrap();
    for is_dry_run in [true, false] {
        let refused = store.rollback(before, None, is_dry_run).await.unwrap_err();
        assert!(matches!(refused, RollbackError::TooLarge { zones: 25, .. }), "{refused}");
    }
    assert_eq!(store.revision().await.unwrap(), newest);
    let some: Vec<Name> = (0..5).map(|n| name(&format!("z{n}.example.net"))).collect();
    let made = store.rollback(before, Some(&some), false).await.unwrap();
    assert_eq!(made.zones.len(), 5);
    assert!(left(&*engine).await > 0, "it is kept");
    engine.is_full.store(true, Ordering::Relaxed);
    apply(&store, "-zone z9.example.net").await.unwrap();
    wait_swept(&*engine).await;
}

#[tokio::test]
async fn what_the_log_no_longer_leads_back_to_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = LogBounds { commits_max: 4, ..LogBounds::default() };
    let open = async || {
        let opening = async {
            loop {
                match RedbStore::open_with(&dir.path().join("store.redb"), bounds) {
                    Ok(engine) => return Arc::new(engine),
                    Err(_) => tokio::task::yield_now().await, // the sweep holds it for a moment
                }
            }
        };
        let engine = tokio::time::timeout(Duration::from_secs(20), opening).await.unwrap();
        (DnsStore::open_keeping(engine.clone(), KEPT_MS).await.unwrap(), engine)
    };
    let (store, engine) = open().await;
    import(&store, "example.com", 3, 1).await;
    import(&store, "example.com", 3, 2).await;
    for last in 3..6 {
        apply(&store, &format!("+ n1.example.com A 192.0.2.{last}")).await.unwrap();
    }
    drop((store, engine));
    let (store, engine) = open().await;
    let oldest = store.revision().await.unwrap() - 4;
    store.rollback(oldest, None, true).await.unwrap();
    assert_eq!(left(&*engine).await, 1);
    for last in 6..8 {
        apply(&store, &format!("+ n1.example.com A 192.0.2.{last}")).await.unwrap();
    }
    drop((store, engine));
    let (_store, engine) = open().await;
    wait_swept(&*engine).await;
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_gone_back_in_as_far_as_it_has_not_compacted() {
    let Some(cluster) = crate::cluster::Cluster::start(1) else { return };
    let config = cluster.config("p/");
    let connect = async || Arc::new(EtcdStore::connect(config.clone()).await.unwrap());
    let store = DnsStore::open_keeping(connect().await, KEPT_MS).await.unwrap();
    check_zones_of_all_kinds(&store).await;
    let first = store.revision().await.unwrap();
    let mut states = Vec::new();
    for last in 1..=4 {
        apply(&store, &format!("+ a.small.example A 192.0.2.{last}")).await.unwrap();
        states.push((store.revision().await.unwrap(), shown(&store).await));
        // Another authority, which has what this one has left.
        let other = DnsStore::open_keeping(connect().await, KEPT_MS).await.unwrap();
        import(&other, "large.example", 300, last).await;
        states.push((store.revision().await.unwrap(), shown(&store).await));
    }
    let (oldest, oldest_shown) = states[4].clone();
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    // What follows is the beginning of an import, and none of a commit of zones.
    client.compact(i64::try_from(oldest).unwrap() + 1, None).await.unwrap();
    let refused = store.rollback(first, None, false).await.unwrap_err();
    assert!(
        matches!(refused, RollbackError::NotKept { kept_from, .. } if kept_from == oldest),
        "{refused}"
    );
    check_back(&store, oldest, &oldest_shown).await;
    let (last, last_shown) = states.pop().unwrap();
    check_back(&store, last, &last_shown).await;
}
