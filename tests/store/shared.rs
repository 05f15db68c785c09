//! Stores of several processes over one engine: what one remembers of a zone, others may have changed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aspen_dns::store::DnsStore;
use aspen_dns::store::kv::{
    ChangeStream, Cursor, KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, Page,
    PendingCommit, Versioned,
};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::rules::RuleError;
use async_trait::async_trait;

use crate::fixture::{apply, contents, rule};

/// The embedded engine as if it were far away and had members that lag: what is not asked to be fresh is as it
/// was before the newest commit.
pub struct Shared {
    engine: RedbStore,
    /// What the members that lag have.
    old: Mutex<Arc<dyn KvSnapshot>>,
    /// How often it was asked something, commits left out.
    asked: Arc<AtomicU32>,
    /// Whether nothing is read page by page.
    has_no_pages: Arc<AtomicBool>,
}

/// A view of an engine, whose questions are counted.
pub struct CountedView {
    pub view: Arc<dyn KvSnapshot>,
    pub asked: Arc<AtomicU32>,
    pub has_no_pages: Arc<AtomicBool>,
}

impl Shared {
    pub async fn open(dir: &tempfile::TempDir) -> Arc<Self> {
        let engine = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        let old = Mutex::new(Arc::from(engine.snapshot().await.unwrap()));
        Arc::new(Self { engine, old, asked: Arc::default(), has_no_pages: Arc::default() })
    }

    fn view(&self, view: Arc<dyn KvSnapshot>) -> Box<dyn KvSnapshot> {
        let (asked, has_no_pages) = (self.asked.clone(), self.has_no_pages.clone());
        Box::new(CountedView { view, asked, has_no_pages })
    }
}

#[async_trait]
impl KeyValueStore for Shared {
    fn limits(&self) -> KvLimits {
        self.engine.limits()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        Ok(self.view(Arc::from(self.engine.snapshot().await?)))
    }

    async fn glimpse(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        Ok(self.view(self.old.lock().unwrap().clone()))
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        let old = Arc::from(self.engine.snapshot().await?);
        let (reply, pending) = PendingCommit::channel();
        let _ = reply.send(self.engine.commit(commit).await);
        *self.old.lock().unwrap() = old;
        Ok(pending)
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.engine.changes(after).await
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.engine.revision().await
    }
}

#[async_trait]
impl KvSnapshot for CountedView {
    async fn revision(&self) -> Result<u64, KvError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.view.revision().await
    }

    async fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.view.get_many(keys).await
    }

    async fn range(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, KvError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.has_no_pages.load(Ordering::Relaxed) {
            return Err(KvError::Unavailable { reason: "planted".into() });
        }
        self.view.range(range, cursor, limit).await
    }

    async fn look(
        &self,
        keys: &[Vec<u8>],
        ranges: &[KeyRange],
        limit: u32,
    ) -> Result<(Vec<Option<Versioned>>, Vec<Page>), KvError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.view.look(keys, ranges, limit).await
    }
}

/// Two stores of one engine, each with the zone `one.example`, which the first has written often.
struct Fixture {
    ours: Arc<DnsStore>,
    theirs: Arc<DnsStore>,
    asked: Arc<AtomicU32>,
    has_no_pages: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Shared::open(&dir).await;
        let (asked, has_no_pages) = (engine.asked.clone(), engine.has_no_pages.clone());
        let ours = DnsStore::open(engine.clone()).await.unwrap();
        let theirs = DnsStore::open(engine).await.unwrap();
        apply(&ours, "+zone one.example").await.unwrap();
        let f = Self { ours, theirs, asked, has_no_pages, _dir: dir };
        f.write_often("often").await;
        f
    }

    /// Writes so often that the zone is remembered, whatever was before.
    async fn write_often(&self, label: &str) {
        for index in 0..64 {
            let text = format!("+ {label}.one.example A 192.0.2.{index}");
            apply(&self.ours, &text).await.unwrap();
        }
    }

    /// Applies what must be made, and returns how often the engine was asked for it.
    async fn asked_by(&self, text: &str) -> u32 {
        self.asked.store(0, Ordering::Relaxed);
        apply(&self.ours, text).await.unwrap();
        self.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_zone_that_is_written_often_is_asked_for_no_more() {
    let f = Fixture::new().await;
    for text in [
        "+ new.one.example A 192.0.2.1",
        "+ deep.below.new.one.example A 192.0.2.1",
        "+ new.one.example A 192.0.2.2",
        "- new.one.example A",
        "+ new.one.example CNAME often.one.example",
        "+ one.example MX 10 often.one.example",
    ] {
        assert_eq!(f.asked_by(text).await, 0, "{text}");
    }
    // What is refused, or changes nothing, is looked at before that is said.
    f.asked.store(0, Ordering::Relaxed);
    assert!(apply(&f.ours, "+ new.one.example A 192.0.2.3").await.is_err());
    assert!(f.asked.load(Ordering::Relaxed) > 0);
    assert!(f.asked_by("- never.one.example A").await > 0);
    assert_eq!(f.asked_by("+ x.one.example A 192.0.2.1").await, 0);
}

#[tokio::test]
async fn what_others_have_written_meanwhile_is_seen() {
    let f = Fixture::new().await;
    // A name that is remembered as absent gets its CNAME elsewhere; one that is there loses what it had.
    apply(&f.theirs, "+ new.one.example CNAME often.one.example").await.unwrap();
    let refused = rule(apply(&f.ours, "+ new.one.example A 192.0.2.1").await);
    assert!(matches!(refused, RuleError::CnameNotAlone { .. }), "{refused}");
    f.write_often("often").await;
    apply(&f.theirs, "- often.one.example A").await.unwrap();
    apply(&f.ours, "+ often.one.example CNAME new.one.example").await.unwrap();
    // A zone that is made below takes what is at its names.
    f.write_often("x").await;
    apply(&f.theirs, "+zone sub.one.example").await.unwrap();
    apply(&f.ours, "+ a.sub.one.example A 192.0.2.1").await.unwrap();
    let shown = contents(&f.ours, "sub.one.example").await;
    assert!(shown.iter().any(|rrset| rrset.starts_with("a.sub.one.example A")), "{shown:?}");
    let shown = contents(&f.ours, "one.example").await;
    assert!(!shown.iter().any(|rrset| rrset.starts_with("a.sub.")), "{shown:?}");
}

#[tokio::test]
async fn a_zone_that_is_made_below_one_that_others_have_just_made_is_known_to_those_who_write_that()
{
    let f = Fixture::new().await;
    apply(&f.theirs, "+zone three.example").await.unwrap();
    // Ours does not see it yet.
    apply(&f.ours, "+zone sub.three.example").await.unwrap();
    apply(&f.theirs, "+ sub.three.example TXT \"t\"").await.unwrap();
    let shown = contents(&f.theirs, "three.example").await;
    assert!(!shown.iter().any(|rrset| rrset.contains("TXT")), "{shown:?}");
}

#[tokio::test]
async fn what_one_step_of_several_does_not_find_is_looked_for_again() {
    let f = Fixture::new().await;
    apply(&f.ours, "+zone two.example").await.unwrap();
    apply(&f.theirs, "+ x.one.example A 192.0.2.9").await.unwrap();
    // Ours does not see it yet, and changes another zone in the same batch.
    apply(&f.ours, "- x.one.example A\n+ y.two.example A 192.0.2.1").await.unwrap();
    let shown = contents(&f.ours, "one.example").await;
    assert!(!shown.iter().any(|rrset| rrset.starts_with("x.")), "{shown:?}");
}

#[tokio::test]
async fn a_zone_that_cannot_be_read_whole_is_written_on() {
    let f = Fixture::new().await;
    apply(&f.ours, "+zone two.example").await.unwrap();
    f.has_no_pages.store(true, Ordering::Relaxed);
    for index in 0..32 {
        apply(&f.ours, &format!("+ a.two.example A 192.0.2.{index}")).await.unwrap();
    }
    assert!(f.asked_by("+ a.two.example A 192.0.2.99").await > 0);
    f.has_no_pages.store(false, Ordering::Relaxed);
    let shown = contents(&f.ours, "two.example").await;
    assert!(shown.contains(&"a.two.example A 192.0.2.99".to_owned()), "{shown:?}");
}

#[tokio::test]
async fn a_zone_that_others_have_just_made_below_one_that_a_batch_makes_keeps_its_names() {
    let f = Fixture::new().await;
    apply(&f.theirs, "+zone sub.three.example").await.unwrap();
    // Ours does not see it yet.
    apply(&f.ours, "+zone three.example\n+ sub.three.example TXT \"t\"").await.unwrap();
    for (apex, has) in [("three.example", false), ("sub.three.example", true)] {
        let shown = contents(&f.ours, apex).await;
        assert_eq!(shown.iter().any(|rrset| rrset.contains("TXT")), has, "{shown:?}");
    }
}
