//! Followers over sources whose commits are given.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::feed::digest::{Digest, DigestKey};
use crate::record::{RecordType, Rrset, Soa};
use crate::store::history::{CommitSource, History, ZoneState};
use crate::zone::HashSeed;

/// A source of one zone, whose commits are all there at once.
struct Source {
    /// What a whole zone holds.
    rrsets: Mutex<Vec<Rrset>>,
    /// Commits that were not given out.
    commits: Mutex<VecDeque<Commit>>,
    /// How long each of them is waited for.
    delay: Duration,
}

/// What is left of the commits, and then an error.
struct Commits(VecDeque<Commit>, Duration);

#[async_trait]
impl CommitSource for Commits {
    async fn next(&mut self) -> Result<Commit, SourceError> {
        // As an engine far away that begins to listen anew each time.
        if !self.1.is_zero() {
            tokio::time::sleep(self.1).await;
        }
        self.0.pop_front().ok_or(SourceError::Compacted { after: 0 })
    }
}

#[async_trait]
impl ZoneSource for Source {
    async fn history(&self) -> Result<History, SourceError> {
        Ok(History { epoch: 1, id: 1, digest_key: DigestKey::default() })
    }

    async fn begin_history(&self, _: &History, _: u64) -> Result<History, SourceError> {
        self.history().await
    }

    async fn revision(&self) -> Result<u64, SourceError> {
        Ok(1)
    }

    async fn zones(&self) -> Result<Vec<ZoneState>, SourceError> {
        Ok(vec![zone()])
    }

    async fn zone_contents(&self, _: &Name) -> Result<Option<ZoneContents>, SourceError> {
        let rrsets = self.rrsets.lock().unwrap().clone();
        Ok(Some(ZoneContents { revision: 1, zone: zone(), rrsets }))
    }

    async fn zones_contents(&self, _: &[Name]) -> Result<Vec<ZoneContents>, SourceError> {
        Ok(self.zone_contents(&zone().apex).await?.into_iter().collect())
    }

    async fn commits(&self, _: u64) -> Result<Box<dyn CommitSource>, SourceError> {
        Ok(Box::new(Commits(std::mem::take(&mut *self.commits.lock().unwrap()), self.delay)))
    }
}

fn zone() -> ZoneState {
    let apex = Name::from_text("example").unwrap();
    ZoneState { apex, revision: 1, serial: 1, digest: Digest::default() }
}

fn a(owner: &str, last: u8) -> Rrset {
    let owner = Name::from_text(owner).unwrap();
    Rrset::new(owner, RecordType::A, 60, [[192, 0, 2, last]]).unwrap()
}

fn soa() -> Rrset {
    let rdata = Soa { serial: 1, ..Soa::default() }.to_rdata();
    Rrset::new(Name::from_text("example").unwrap(), RecordType::SOA, 1, [rdata]).unwrap()
}

/// Follows commits, numbered from 2; returns the follower, and how often and at which revision
/// it had published when they were over.
async fn follow(changes: Vec<ZoneChange>) -> (Follower<Source>, u64, u64) {
    follow_slowly(changes, Duration::ZERO).await
}

/// The same, where each commit is waited for.
async fn follow_slowly(changes: Vec<ZoneChange>, delay: Duration) -> (Follower<Source>, u64, u64) {
    let apex = zone().apex;
    let commits = (2..).zip(changes).map(|(revision, change)| Commit {
        revision,
        tag: revision,
        zones: vec![ZoneCommit {
            apex: apex.clone(),
            prev_revision: Some(revision - 1),
            serial: 1,
            digest: Digest::default(),
            change,
        }],
    });
    let commits = Mutex::new(commits.collect());
    let source = Source { rrsets: Mutex::new(vec![soa(), a("old.example", 1)]), commits, delay };
    let stage = Arc::new(Stage::new(HashSeed(1), Rank::Store));
    let progress = Progress::default();
    let mut follower = Follower::new(Arc::new(source), stage, progress);
    let mut loaded = follower.load().await.unwrap();
    let before = follower.stage.reader().stats().publishes;
    follower.follow(&mut loaded).await.expect_err("the commits end with an error");
    let after = follower.stage.reader().stats().publishes;
    assert_eq!(follower.progress.now().served, loaded.revision);
    (follower, after - before, loaded.revision)
}

/// Returns the last octet of the address of a name, 0 if it has none.
fn address(follower: &Follower<Source>, owner: &str) -> u8 {
    let catalog = follower.stage.catalog();
    let zone = catalog.zone(&zone().apex).expect("published");
    let rrset = zone.rrset(&Name::from_text(owner).unwrap(), RecordType::A);
    rrset.and_then(|rrset| rrset.rdata.iter().next().map(|rdata| rdata[3])).unwrap_or(0)
}

#[tokio::test]
async fn commits_that_are_there_at_once_share_a_publish_in_their_order() {
    let changes =
        (1..=9).map(|last| ZoneChange::Changes(vec![Change::Put(a("www.example", last))]));
    let (follower, publishes, revision) = follow(changes.collect()).await;
    assert_eq!((publishes, revision), (1, 10));
    assert_eq!(address(&follower, "www.example"), 9);
    assert_eq!(follower.stage.reader().stats().changes, 1 + 9);
}

#[tokio::test]
async fn what_precedes_a_replaced_zone_is_published_before_it() {
    let put = |last| ZoneChange::Changes(vec![Change::Put(a("www.example", last))]);
    let changes = vec![put(1), put(2), ZoneChange::Replaced, put(3)];
    let (follower, publishes, revision) = follow(changes).await;
    assert_eq!((publishes, revision), (3, 5));
    assert_eq!(address(&follower, "www.example"), 3);
    assert_eq!(address(&follower, "old.example"), 1);
}

#[tokio::test]
async fn more_than_a_batch_goes_in_batches_and_none_is_left_behind() {
    let count = BATCH_CHANGES_MAX + 1;
    let changes = (0..count)
        .map(|index| ZoneChange::Changes(vec![Change::Put(a("www.example", index as u8))]));
    let (follower, publishes, revision) = follow(changes.collect()).await;
    assert_eq!((publishes, revision), (2, 1 + count as u64));
    assert_eq!(address(&follower, "www.example"), (count - 1) as u8);
}

#[tokio::test]
async fn a_source_that_is_slower_than_the_followers_own_chores_is_followed() {
    let put = |last| ZoneChange::Changes(vec![Change::Put(a("www.example", last))]);
    let following =
        follow_slowly(vec![put(1), put(2)], Duration::from_millis(FREE_RETIRED_MS * 3 / 2));
    let followed = tokio::time::timeout(Duration::from_secs(20), following).await;
    let (follower, _, revision) = followed.expect("it goes on");
    assert_eq!((address(&follower, "www.example"), revision), (2, 3));
}
