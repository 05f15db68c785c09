//! Answers from the store itself: every commit goes straight into the published zones.
//!
//! The role `authority` uses it: what it has acknowledged it answers, with no replica between.
//! Commits that are there at once are published together, at the pace of [`Pace`].
//!
//! **Invariant:** commits are applied in order, each to every zone it touches; a zone never goes
//! back to an older revision; after a gap all zones are read anew.
//! **Not here:** the edge's way, through the feed (`replica`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::state::Progress;
use crate::catalog::CatalogChange;
use crate::limits::{
    BATCH_CHANGES_MAX, FOLLOW_RETRY_MS, FREE_RETIRED_MS, READ_TOGETHER_RECORDS_MAX,
    READ_TOGETHER_ZONES_MAX,
};
use crate::name::Name;
use crate::publish::Publisher;
use crate::publish::pace::Pace;
use crate::record::Change;
use crate::store::history::{
    Commit, CommitSource, SourceError, ZoneChange, ZoneCommit, ZoneContents, ZoneSource,
};
use crate::zone::BuildError;

/// Puts commits into what is published.
#[derive(Debug)]
pub struct Follower<S> {
    /// Where the zones come from.
    source: Arc<S>,
    /// Where they go.
    publisher: Arc<Publisher>,
    /// Says how far it is.
    progress: Progress,
    /// Apexes of zones from files, which are served in the place of the store's.
    statics: HashSet<Name>,
    /// The revision of each zone that is published, or was found to be disabled.
    revisions: HashMap<Name, u64>,
    /// When the next commits may be published.
    pace: Pace,
    /// The beginning of the pace's clock.
    began: Instant,
}

/// Why a zone cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The source does not give what is needed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What the store holds makes no zone.
    #[error("zone {apex}: {source}")]
    Build {
        /// Its apex.
        apex: Name,
        /// The rule.
        source: BuildError,
    },
    /// The thread that builds zones is gone.
    #[error("the thread that builds zones is gone")]
    ThreadLost,
}

impl<S: ZoneSource> Follower<S> {
    /// Makes a follower that has published nothing yet.
    pub fn new(source: Arc<S>, publisher: Arc<Publisher>, progress: Progress) -> Self {
        // What is published before the follower begins comes from files.
        let catalog = publisher.catalog();
        let zones = catalog.zones().map(|zone| zone.apex().clone());
        let statics = zones.chain(catalog.held().map(|hold| hold.apex.clone())).collect();
        let (revisions, pace, began) = (HashMap::new(), Pace::default(), Instant::now());
        Self { source, publisher, progress, statics, revisions, pace, began }
    }

    /// Publishes all zones as they are, and returns the revision from which to go on.
    ///
    /// # Errors
    /// Every [`FollowError`] but those of one zone, which are logged.
    pub async fn load(&mut self) -> Result<u64, FollowError> {
        let revision = self.source.revision().await?;
        let zones = self.source.zones().await?;
        let gone: Vec<Name> = {
            let there: HashSet<&Name> = zones.iter().map(|zone| &zone.apex).collect();
            self.revisions.keys().filter(|apex| !there.contains(apex)).cloned().collect()
        };
        for apex in gone {
            self.revisions.remove(&apex);
            self.publisher.publish(vec![CatalogChange::Remove(apex)]);
        }
        let wanted = zones.into_iter().filter(|zone| !self.statics.contains(&zone.apex));
        let mut wanted: Vec<_> = wanted.map(|zone| (zone.apex, zone.digest.records)).collect();
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(LOAD_ZONES_MAX));
            let changes = self.reload(std::mem::replace(&mut wanted, rest)).await?;
            self.publisher.publish(changes);
        }
        self.progress.heard(revision);
        self.progress.served(revision);
        Ok(revision)
    }

    /// Applies commits after `revision` until `stop`; after a gap, or an error, it reads all anew.
    pub async fn run(mut self, mut revision: u64, stop: CancellationToken) {
        let follow = async {
            loop {
                if let Err(error) = self.follow(&mut revision).await {
                    tracing::warn!(%error, "the zones are read anew from the store");
                }
                tokio::time::sleep(Duration::from_millis(FOLLOW_RETRY_MS)).await;
                match self.load().await {
                    Ok(loaded) => revision = loaded,
                    Err(error) => tracing::error!(%error, "the store cannot be read"),
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    }

    /// Applies commits until the source has no more.
    async fn follow(&mut self, revision: &mut u64) -> Result<(), FollowError> {
        let mut commits = self.source.commits(*revision).await?;
        let mut tick = tokio::time::interval(Duration::from_millis(FREE_RETIRED_MS));
        loop {
            let rest_us = self.pace.rest_us(self.now_us());
            tokio::select! {
                commit = commits.next(), if rest_us == 0 => {
                    let (gathered, ended) = gather(commit?, commits.as_mut()).await;
                    for commit in &gathered {
                        self.progress.heard(commit.revision);
                    }
                    self.apply_all(gathered, revision).await?;
                    ended?;
                }
                () = tokio::time::sleep(Duration::from_micros(rest_us)), if rest_us > 0 => {}
                _ = tick.tick() => {
                    self.publisher.free_retired();
                }
            }
        }
    }

    /// Applies commits, all that only change records at once; `revision` is the last one applied.
    async fn apply_all(
        &mut self,
        commits: Vec<Commit>,
        revision: &mut u64,
    ) -> Result<(), FollowError> {
        let mut edits = Vec::new();
        for commit in commits {
            if commit.zones.iter().all(|zone| matches!(zone.change, ZoneChange::Changes(_))) {
                edits.push(commit);
                continue;
            }
            // A zone is read as it is now: what came before must not be applied to it afterwards.
            self.apply_edits(std::mem::take(&mut edits), revision);
            let number = commit.revision;
            self.apply(commit).await?;
            *revision = number;
        }
        self.apply_edits(edits, revision);
        Ok(())
    }

    /// Publishes what commits change in the zones' records; `revision` is the last one applied.
    fn apply_edits(&mut self, commits: Vec<Commit>, revision: &mut u64) {
        let Some(last) = commits.last().map(|commit| commit.revision) else { return };
        let began_us = self.now_us();
        let mut edits: Vec<(Name, Vec<Change>)> = Vec::new();
        let mut indexes: HashMap<Name, usize> = HashMap::new();
        for commit in commits {
            for ZoneCommit { apex, change, .. } in commit.zones {
                let ZoneChange::Changes(changes) = change else { continue };
                if self.is_applied(&apex, commit.revision) {
                    continue;
                }
                self.revisions.insert(apex.clone(), commit.revision);
                match indexes.get(&apex).and_then(|index| edits.get_mut(*index)) {
                    Some((_, before)) => before.extend(changes),
                    None => {
                        indexes.insert(apex.clone(), edits.len());
                        edits.push((apex, changes));
                    }
                }
            }
        }
        let change_count = edits.iter().map(|edit| edit.1.len() as u64).sum();
        let changed = edits.iter().filter_map(|(apex, changes)| self.edit(apex, changes)).collect();
        self.publisher.publish_edits(changed, change_count);
        let ended_us = self.now_us();
        self.pace.note_publish(ended_us.saturating_sub(began_us), ended_us);
        self.progress.served(last);
        *revision = last;
    }

    /// Applies one commit; what it removes and what it changes become visible together.
    async fn apply(&mut self, commit: Commit) -> Result<(), FollowError> {
        let (mut edits, mut replaced) = (Vec::new(), Vec::new());
        let mut change_count = 0;
        for ZoneCommit { apex, change, digest, .. } in commit.zones {
            if self.is_applied(&apex, commit.revision) {
                continue;
            }
            match change {
                ZoneChange::Changes(changes) => {
                    self.revisions.insert(apex.clone(), commit.revision);
                    edits.extend(self.edit(&apex, &changes));
                    change_count += changes.len() as u64;
                }
                ZoneChange::Replaced => replaced.push((apex, digest.records)),
                ZoneChange::Removed => {
                    self.revisions.remove(&apex);
                    edits.push(CatalogChange::Remove(apex));
                    change_count += 1;
                }
            }
        }
        change_count += replaced.len() as u64;
        edits.extend(self.reload(replaced).await?);
        self.publisher.publish_edits(edits, change_count);
        self.progress.served(commit.revision);
        Ok(())
    }

    /// Whether a zone has a commit already, or is not the store's.
    fn is_applied(&self, apex: &Name, revision: u64) -> bool {
        self.revisions.get(apex).is_some_and(|at| *at >= revision) || self.statics.contains(apex)
    }

    /// Microseconds since the follower was made.
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Edits a zone that is published; one that is disabled stays away.
    fn edit(&self, apex: &Name, changes: &[Change]) -> Option<CatalogChange> {
        let catalog = self.publisher.catalog();
        let zone = catalog.zone(apex)?;
        let (zone, report) = zone.edit(changes);
        for (index, error) in &report.refused {
            tracing::error!(%apex, index, %error, "a change of the store is not answered");
        }
        Some(CatalogChange::Put(Arc::new(zone)))
    }

    /// Reads zones anew, each with about how many records it has (0 if that is not known), and returns
    /// what becomes of them. Small ones are read together.
    async fn reload(&mut self, zones: Vec<(Name, u64)>) -> Result<Vec<CatalogChange>, FollowError> {
        let mut changes = Vec::with_capacity(zones.len());
        let (mut together, mut together_records) = (Vec::new(), 0);
        for (apex, records) in zones {
            if records == 0 || records > READ_TOGETHER_RECORDS_MAX {
                changes.extend(self.read(vec![apex]).await?);
                continue;
            }
            together.push(apex);
            together_records += records;
            let is_full = together.len() >= READ_TOGETHER_ZONES_MAX
                || together_records >= READ_TOGETHER_RECORDS_MAX * 8;
            if is_full {
                changes.extend(self.read(std::mem::take(&mut together)).await?);
                together_records = 0;
            }
        }
        if !together.is_empty() {
            changes.extend(self.read(together).await?);
        }
        Ok(changes)
    }

    /// Reads and builds zones, all of one view, on a thread that may be busy for long.
    async fn read(&mut self, apexes: Vec<Name>) -> Result<Vec<CatalogChange>, FollowError> {
        let contents = self.source.zones_contents(&apexes).await?;
        let mut gone: HashSet<Name> = apexes.into_iter().collect();
        for ZoneContents { revision, zone, .. } in &contents {
            gone.remove(&zone.apex);
            self.revisions.insert(zone.apex.clone(), *revision);
        }
        for apex in &gone {
            self.revisions.remove(apex);
        }
        let seed = self.publisher.catalog().seed();
        let build = move |contents: ZoneContents| {
            let apex = contents.zone.apex;
            crate::zone::build(apex.clone(), seed, contents.rrsets)
                .map_err(|source| FollowError::Build { apex, source })
        };
        let building = tokio::task::spawn_blocking(move || {
            contents.into_iter().map(build).collect::<Vec<_>>()
        });
        let mut changes: Vec<_> = gone.into_iter().map(CatalogChange::Remove).collect();
        for built in building.await.map_err(|_| FollowError::ThreadLost)? {
            match built {
                Ok(zone) => changes.push(CatalogChange::Put(Arc::new(zone))),
                // One zone that does not build must not keep the others back.
                Err(error) => tracing::error!(%error, "not answered"),
            }
        }
        Ok(changes)
    }
}

/// Returns a commit with those that are there already, and how the stream ended if it did.
async fn gather(
    first: Commit,
    commits: &mut dyn CommitSource,
) -> (Vec<Commit>, Result<(), SourceError>) {
    let mut change_count = changes_in(&first);
    let mut gathered = vec![first];
    while change_count < BATCH_CHANGES_MAX {
        let next = tokio::select! {
            biased;
            next = commits.next() => next,
            () = std::future::ready(()) => break,
        };
        match next {
            Ok(commit) => {
                change_count += changes_in(&commit);
                gathered.push(commit);
            }
            Err(error) => return (gathered, Err(error)),
        }
    }
    (gathered, Ok(()))
}

/// Returns how many changes a commit counts for, at least one.
fn changes_in(commit: &Commit) -> usize {
    let count = |zone: &ZoneCommit| match &zone.change {
        ZoneChange::Changes(changes) => changes.len(),
        ZoneChange::Replaced | ZoneChange::Removed => 1,
    };
    commit.zones.iter().map(count).sum::<usize>().max(1)
}

/// Zones that become visible together in a load.
const LOAD_ZONES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use crate::feed::digest::{Digest, DigestKey};
    use crate::record::{RecordType, Rrset};
    use crate::store::history::{History, ZoneState};
    use crate::zone::HashSeed;

    /// A source of one zone, whose commits are all there at once.
    struct Source {
        /// What a whole zone holds.
        rrsets: Mutex<Vec<Rrset>>,
        /// Commits that were not given out.
        commits: Mutex<VecDeque<Commit>>,
    }

    /// What is left of the commits, and then an error.
    struct Commits(VecDeque<Commit>);

    #[async_trait]
    impl CommitSource for Commits {
        async fn next(&mut self) -> Result<Commit, SourceError> {
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
            Ok(Box::new(Commits(std::mem::take(&mut *self.commits.lock().unwrap()))))
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
        let rdata = [&[0, 0, 0, 0, 0, 1][..], &[0; 16]].concat();
        Rrset::new(Name::from_text("example").unwrap(), RecordType::SOA, 1, [rdata]).unwrap()
    }

    /// Follows commits, numbered from 2; returns the follower, and how often and at which revision
    /// it had published when they were over.
    async fn follow(changes: Vec<ZoneChange>) -> (Follower<Source>, u64, u64) {
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
        let source = Source { rrsets: Mutex::new(vec![soa(), a("old.example", 1)]), commits };
        let publisher = Arc::new(Publisher::new(HashSeed(1)));
        let progress = Progress::default();
        let mut follower = Follower::new(Arc::new(source), publisher, progress);
        let mut revision = follower.load().await.unwrap();
        let before = follower.publisher.reader().stats().publishes;
        follower.follow(&mut revision).await.expect_err("the commits end with an error");
        let after = follower.publisher.reader().stats().publishes;
        assert_eq!(follower.progress.now().served, revision);
        (follower, after - before, revision)
    }

    /// Returns the last octet of the address of a name, 0 if it has none.
    fn address(follower: &Follower<Source>, owner: &str) -> u8 {
        let catalog = follower.publisher.catalog();
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
        assert_eq!(follower.publisher.reader().stats().changes, 1 + 9);
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
}
