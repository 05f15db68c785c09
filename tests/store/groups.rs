//! Batches that wait for the same zones are made together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aspen_dns::store::kv::{
    ChangeStream, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, PendingCommit,
};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::rules::RuleError;
use aspen_dns::store::{Batch, Committed, DnsStore, Expectation, StoreError};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::fixture::{apply, listing, name, operation, show_commit};

/// The embedded engine, which makes a commit when it is let, and says so when it is made.
struct Gated {
    engine: Arc<RedbStore>,
    gate: Arc<Semaphore>,
    asked: Arc<AtomicU32>,
    /// Whether others get ahead of every commit that expects more than one thing.
    is_contended: Arc<AtomicBool>,
}

#[async_trait]
impl KeyValueStore for Gated {
    fn limits(&self) -> KvLimits {
        // As an engine with small transactions.
        KvLimits { operations_max: 40, ..self.engine.limits() }
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        self.engine.snapshot().await
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        commit.check(self.limits())?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        let (reply, pending) = PendingCommit::channel();
        let is_late = self.is_contended.load(Ordering::Relaxed) && commit.preconditions.len() > 1;
        let _ = reply.send(match is_late {
            true => Err(KvError::Conflict { index: 0 }),
            false => self.engine.commit(commit).await,
        });
        Ok(pending)
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.engine.changes(after).await
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.engine.revision().await
    }
}

/// A store with the zones `one.example` and `two.example`, each known to it, behind a gate that is shut.
struct Fixture {
    store: Arc<DnsStore>,
    engine: Arc<RedbStore>,
    gate: Arc<Semaphore>,
    asked: Arc<AtomicU32>,
    is_contended: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
        let (gate, asked) = (Arc::new(Semaphore::new(100)), Arc::new(AtomicU32::new(0)));
        let is_contended = Arc::new(AtomicBool::new(false));
        let gated = Gated {
            engine: engine.clone(),
            gate: gate.clone(),
            asked: asked.clone(),
            is_contended: is_contended.clone(),
        };
        let store = DnsStore::open(Arc::new(gated)).await.unwrap();
        let fixture = Self { store, engine, gate, asked, is_contended, _dir: dir };
        for text in ["+zone one.example", "+zone two.example", "+ a.one.example A 192.0.2.1"] {
            fixture.apply(text).await.unwrap().unwrap();
        }
        fixture.gate.forget_permits(1_000);
        fixture.asked.store(0, Ordering::Relaxed);
        fixture
    }

    /// Begins to apply operations, divided by semicolons, and those that are to hold before.
    fn apply_if(
        &self,
        text: &str,
        preconditions: Vec<Expectation>,
    ) -> JoinHandle<Result<Committed, StoreError>> {
        let operations = text.split(';').map(|text| operation(text.trim())).collect();
        let store = self.store.clone();
        tokio::spawn(async move { store.apply(Batch { operations, preconditions }).await })
    }

    fn apply(&self, text: &str) -> JoinHandle<Result<Committed, StoreError>> {
        self.apply_if(text, Vec::new())
    }

    /// Waits until the engine was asked for so many commits.
    async fn wait_asked(&self, count: u32) {
        let asked = async {
            while self.asked.load(Ordering::Relaxed) < count {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.expect("it is asked");
    }

    /// Begins a batch and waits until its commit is on its way.
    async fn occupy(&self) -> JoinHandle<Result<Committed, StoreError>> {
        let first = self.apply("+ first.one.example A 192.0.2.1");
        self.wait_asked(1).await;
        first
    }
}

async fn ended(batch: JoinHandle<Result<Committed, StoreError>>) -> Result<Committed, StoreError> {
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, batch).await.expect("an answer").unwrap()
}

/// Lets tasks that were begun come to where they wait.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_for_a_commit_goes_with_the_next_and_each_is_told_its_own() {
    let fixture = Fixture::new().await;
    let mut commits = fixture.store.commits(fixture.store.revision().await.unwrap()).await.unwrap();
    let first = fixture.occupy().await;
    let texts = [
        ("+ b.one.example A 192.0.2.2", Some(1)),
        ("+ b.one.example AAAA 2001:db8::1; + c.one.example A 192.0.2.3", Some(2)),
        ("- b.one.example A", Some(1)),
        ("- absent.one.example A", Some(0)),
        // These break a rule by what those before them have made.
        ("+ c.one.example CNAME d.one.example", None),
        ("+ one.example DNAME two.example", None),
        ("- a.one.example A; + a.one.example CNAME d.one.example", Some(2)),
        ("+ x.nowhere.example A 192.0.2.1", None),
    ];
    let waiting: Vec<_> = texts.iter().map(|(text, _)| fixture.apply(text)).collect();
    settle().await;
    fixture.gate.add_permits(1);
    let first = ended(first).await.unwrap();
    fixture.wait_asked(2).await;
    fixture.gate.add_permits(1);
    for ((text, changed), batch) in texts.iter().zip(waiting) {
        match (ended(batch).await, changed) {
            (Ok(made), Some(changed)) => {
                assert_eq!(made.changed, *changed, "{text}");
                assert!(made.revision > first.revision, "{text}");
                let serials: Vec<u32> = made.zones.iter().map(|(_, serial)| *serial).collect();
                let wanted = first.zones[0].1 + 1;
                assert_eq!(serials, vec![wanted; usize::from(*changed > 0)], "{text}");
            }
            (Err(StoreError::Rule(rule)), None) => println!("{text}: {rule}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(fixture.asked.load(Ordering::Relaxed), 2);
    let found = listing(&fixture.store, "one.example", 100).await;
    let found: Vec<&str> = found.iter().map(String::as_str).skip(2).collect();
    let wanted = [
        "a.one.example CNAME d.one.example.",
        "b.one.example AAAA 2001:db8::1",
        "c.one.example A 192.0.2.3",
        "first.one.example A 192.0.2.1",
    ];
    assert_eq!(found, wanted);
    commits.next().await.unwrap();
    let told = show_commit(&commits.next().await.unwrap());
    assert!(told.contains("+b.one.example AAAA") && !told.contains("b.one.example A "), "{told}");
    assert!(told.contains("-a.one.example A, ") || told.contains("-a.one.example A;"), "{told}");
}

#[tokio::test]
async fn what_expects_something_or_is_about_a_zone_itself_is_made_alone() {
    let fixture = Fixture::new().await;
    let first = fixture.occupy().await;
    let owner = name("b.one.example");
    let absent =
        || vec![Expectation::RrsetAbsent { owner: owner.clone(), rtype: "A".parse().unwrap() }];
    let waiting = [
        fixture.apply("+ b.one.example A 192.0.2.2"),
        fixture.apply_if("+ b.one.example A 192.0.2.3", absent()),
        fixture.apply("+ one.example SOA ns.one.example. h.one.example. 1 2 3 4 5"),
        fixture.apply("+ c.one.example A 192.0.2.2"),
    ];
    settle().await;
    fixture.gate.add_permits(100);
    ended(first).await.unwrap();
    let [plain, expecting, soa, other] = waiting;
    let (plain, soa) = (ended(plain).await.unwrap(), ended(soa).await.unwrap());
    let other = ended(other).await.unwrap();
    let refused = ended(expecting).await;
    assert!(matches!(refused, Err(StoreError::PreconditionFailed { index: 0 })), "{refused:?}");
    assert_eq!(plain.revision, other.revision, "they waited together");
    assert_ne!(plain.revision, soa.revision);
}

#[tokio::test]
async fn a_group_is_as_large_as_the_engine_takes() {
    let fixture = Fixture::new().await;
    let first = fixture.occupy().await;
    let waiting: Vec<_> =
        (0..60).map(|at| fixture.apply(&format!("+ n{at}.one.example A 192.0.2.1"))).collect();
    let large: Vec<String> = (0..39).map(|at| format!("+ l{at}.one.example A 192.0.2.1")).collect();
    let large = fixture.apply(&large.join(";"));
    let last = fixture.apply("+ last.one.example A 192.0.2.1");
    settle().await;
    fixture.gate.add_permits(100);
    ended(first).await.unwrap();
    let mut revisions = Vec::new();
    for batch in waiting {
        revisions.push(ended(batch).await.unwrap().revision);
    }
    assert!(revisions.is_sorted());
    revisions.dedup();
    assert_eq!(revisions.len(), 3, "24 each: 40 without what the zones and the journal take");
    assert_eq!(ended(large).await.unwrap().changed, 39, "made alone, in more than one commit");
    ended(last).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_no_commit_holds_is_made_as_a_whole_or_not_at_all() {
    let fixture = Fixture::new().await;
    fixture.gate.add_permits(1_000);
    ended(fixture.apply("+ one.example SOA ns.one.example. h.one.example. 7 2 3 4 5"))
        .await
        .unwrap();
    let puts = |zone: &str, count: u32| {
        let put = |at| format!("+ n{at}.{zone}.example A 192.0.2.1");
        (0..count).map(put).collect::<Vec<_>>().join(";")
    };
    let mut commits = fixture.store.commits(fixture.store.revision().await.unwrap()).await.unwrap();
    let before = listing(&fixture.store, "one.example", 500).await;
    // One name of many breaks a rule.
    let refused = format!("{};+ a.one.example CNAME b.one.example", puts("one", 200));
    let refused = ended(fixture.apply(&refused)).await;
    let is_refused = matches!(refused, Err(StoreError::Rule(RuleError::CnameNotAlone { .. })));
    assert!(is_refused, "{refused:?}");
    assert_eq!(listing(&fixture.store, "one.example", 500).await, before);
    let all = format!("{};{};- a.one.example A", puts("one", 200), puts("two", 90));
    let made = ended(fixture.apply(&all)).await.unwrap();
    let zones: Vec<String> = made.zones.iter().map(|(apex, _)| apex.to_string()).collect();
    assert_eq!(
        (made.changed, zones),
        (291, vec!["one.example".to_owned(), "two.example".to_owned()])
    );
    let told = commits.next().await.unwrap();
    assert_eq!(told.revision, made.revision, "it is one commit");
    assert_eq!(show_commit(&told), "one.example: replaced; two.example: replaced");
    let found = listing(&fixture.store, "one.example", 500).await;
    assert!(found.len() == 202 && !found.join(" ").contains(" a.one.example"), "{}", found.len());
    let soa = found.iter().find(|text| text.contains(" SOA ")).unwrap();
    assert_eq!(soa, "one.example SOA 8", "the SOA stays, its serial rises");
    for zone in ["one.example", "two.example"] {
        assert!(!fixture.store.recount(&name(zone)).await.unwrap(), "{zone} is counted right");
    }
    // And on from there.
    ended(fixture.apply("- n7.one.example A")).await.unwrap();
    assert_eq!(listing(&fixture.store, "one.example", 500).await.len(), 201);
}

#[tokio::test]
async fn a_batch_that_one_commit_holds_is_one_commit_though_each_name_was_looked_up() {
    let fixture = Fixture::new().await;
    fixture.gate.add_permits(1_000);
    let puts: Vec<String> = (0..30).map(|i| format!("+ n{i}.one.example A 192.0.2.1")).collect();
    let expected = Expectation::ZoneAbsent { apex: name("three.example") };
    let made = ended(fixture.apply_if(&puts.join(";"), vec![expected])).await.unwrap();
    assert_eq!((made.changed, fixture.asked.load(Ordering::Relaxed)), (30, 1));
}

#[tokio::test]
async fn a_batch_over_more_zones_than_one_commit_switches_is_refused_before_anything_is_written() {
    let fixture = Fixture::new().await;
    fixture.gate.add_permits(1_000);
    for zone in 0..8 {
        ended(fixture.apply(&format!("+zone z{zone}.example"))).await.unwrap();
        ended(fixture.apply(&format!("+ a.z{zone}.example A 192.0.2.1"))).await.unwrap();
    }
    let asked = fixture.asked.load(Ordering::Relaxed);
    let put = |i: u32| format!("+ n{i}.z{}.example A 192.0.2.1", i % 8);
    let puts: Vec<String> = (0..48).map(put).collect();
    let refused = ended(fixture.apply(&puts.join(";"))).await;
    let is_refused = matches!(refused, Err(StoreError::Kv(KvError::TooManyOperations { .. })));
    assert!(is_refused, "{refused:?}");
    assert_eq!(fixture.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn zones_are_written_anew_a_few_times_only_where_others_get_ahead_every_time() {
    let fixture = Fixture::new().await;
    fixture.gate.add_permits(1_000);
    fixture.is_contended.store(true, Ordering::Relaxed);
    let puts: Vec<String> = (0..50).map(|i| format!("+ n{i}.one.example A 192.0.2.1")).collect();
    let refused = ended(fixture.apply(&puts.join(";"))).await;
    assert!(matches!(refused, Err(StoreError::Contended { attempts: 4 })), "{refused:?}");
    fixture.is_contended.store(false, Ordering::Relaxed);
    assert_eq!(ended(fixture.apply(&puts.join(";"))).await.unwrap().changed, 50);
}

#[tokio::test]
async fn one_that_waits_and_goes_away_is_not_made_and_keeps_nobody() {
    let fixture = Fixture::new().await;
    let first = fixture.occupy().await;
    let gone = fixture.apply("+ gone.one.example A 192.0.2.2");
    let other = fixture.apply("+ other.one.example A 192.0.2.2");
    settle().await;
    gone.abort();
    // The one that is on its way is made all the same.
    first.abort();
    settle().await;
    fixture.gate.add_permits(2);
    ended(other).await.unwrap();
    let found = listing(&fixture.store, "one.example", 100).await.join("\n");
    assert!(found.contains("first.") && found.contains("other.") && !found.contains("gone."));
}

#[tokio::test]
async fn a_group_that_another_process_gets_ahead_of_is_judged_anew() {
    let fixture = Fixture::new().await;
    let first = fixture.occupy().await;
    let refused = fixture.apply("+ b.one.example A 192.0.2.2");
    let made = fixture.apply("+ c.one.example A 192.0.2.2");
    settle().await;
    fixture.gate.add_permits(1);
    ended(first).await.unwrap();
    fixture.wait_asked(2).await;
    // A store of its own over the same engine, as in another process.
    let other = DnsStore::open(fixture.engine.clone()).await.unwrap();
    let revision = apply(&other, "+ b.one.example CNAME d.one.example").await.unwrap();
    fixture.gate.add_permits(10);
    assert!(ended(made).await.unwrap().revision > revision);
    let refused = ended(refused).await;
    let is_refused = matches!(refused, Err(StoreError::Rule(RuleError::CnameNotAlone { .. })));
    assert!(is_refused, "{refused:?}");
    assert_eq!(fixture.asked.load(Ordering::Relaxed), 3);
}
