//! Answers from the store itself: every commit goes straight into the published zones.
//!
//! The role `authority` uses it: what it has acknowledged it answers, with no replica between.
//! Commits that are there at once are published together, at the pace of [`Pace`].
//!
//! **Invariant:** commits are applied in order, each to every zone it touches; a zone never goes
//! back to an older revision of its history; after a gap, or in another history, all zones are read anew.
//! **Not here:** the edge's way, through the feed (`replica`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::catalog::{CatalogChange, HoldReason};
use crate::limits::{
    BATCH_CHANGES_MAX, FOLLOW_RETRY_MS, FREE_RETIRED_MS, READ_TOGETHER_RECORDS_MAX,
    READ_TOGETHER_ZONES_MAX,
};
use crate::name::Name;
use crate::publish::pace::Pace;
use crate::publish::stage::{Rank, Stage};
use crate::record::Change;
use crate::store::history::{
    Commit, CommitsAhead, SourceError, ZoneChange, ZoneCommit, ZoneContents, ZoneSource, read_ahead,
};

/// Puts commits into what is published.
#[derive(Debug)]
pub(crate) struct Follower<S> {
    /// Where the zones come from.
    source: Arc<S>,
    /// Where they go.
    stage: Arc<Stage>,
    /// Says how far it is.
    progress: Progress,
    /// The revision of each zone that is staged, or was found to be disabled.
    revisions: HashMap<Name, u64>,
    /// When the next commits may be published.
    pace: Pace,
    /// The beginning of the pace's clock.
    began: Instant,
}

/// A source whose zones were published, as they were at a revision.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The last commit that is published.
    revision: u64,
    /// Those after it.
    commits: CommitsAhead,
}

/// Why a zone cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The source does not give what is needed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The thread that builds zones is gone.
    #[error("the thread that builds zones is gone")]
    ThreadLost,
}

impl<S: ZoneSource> Follower<S> {
    /// Makes a follower that has published nothing yet.
    pub(crate) fn new(source: Arc<S>, stage: Arc<Stage>, progress: Progress) -> Self {
        let (revisions, pace, began) = (HashMap::new(), Pace::default(), Instant::now());
        Self { source, stage, progress, revisions, pace, began }
    }

    /// Takes zones for its own that somebody else has published: those that are not there any more are removed.
    pub(crate) fn take_over(&mut self, apexes: Vec<Name>) {
        self.revisions.extend(apexes.into_iter().map(|apex| (apex, 0)));
    }

    /// The zones that it has read.
    pub(crate) fn zones(&self) -> Vec<Name> {
        self.revisions.keys().cloned().collect()
    }

    /// Publishes all zones as they are, at once, and returns how to go on.
    ///
    /// # Errors
    /// Every [`FollowError`] but those of one zone, which are logged.
    pub(crate) async fn load(&mut self) -> Result<Loaded, FollowError> {
        let revision = self.source.revision().await?;
        // Before the zones are read: a source that is put back meanwhile ends the stream.
        let commits = read_ahead(self.source.commits(revision).await?);
        let zones = self.source.zones().await?;
        let gone: Vec<Name> = {
            let there: HashSet<&Name> = zones.iter().map(|zone| &zone.apex).collect();
            self.revisions.keys().filter(|apex| !there.contains(apex)).cloned().collect()
        };
        let wanted = zones.into_iter().map(|zone| (zone.apex, zone.digest.records)).collect();
        let mut changes = self.reload(wanted).await?;
        for apex in gone {
            self.revisions.remove(&apex);
            changes.push(CatalogChange::Remove(apex));
        }
        self.stage.publish(Rank::Store, changes);
        self.progress.begin(revision);
        Ok(Loaded { revision, commits })
    }

    /// Applies commits after what was loaded until `stop`; after a gap, or an error, it reads all anew.
    pub(crate) async fn run(mut self, mut loaded: Loaded, stop: CancellationToken) {
        let follow = async {
            loop {
                match self.follow(&mut loaded).await {
                    Err(error @ FollowError::Source(SourceError::Replaced { .. })) => {
                        tracing::error!(%error, "all zones are read anew, and answered as they are now");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the zones are read anew from the store");
                    }
                    Ok(()) => {}
                }
                loaded = self.load_again().await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    }

    /// Publishes all zones, as soon as they can be read.
    async fn load_again(&mut self) -> Loaded {
        let mut said_at: Option<Instant> = None;
        loop {
            tokio::time::sleep(Duration::from_millis(FOLLOW_RETRY_MS)).await;
            let error = match self.load().await {
                Ok(loaded) => return loaded,
                Err(error) => error,
            };
            if said_at.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                tracing::error!(%error, "the store cannot be read: what was answered last is answered on");
                said_at = Some(Instant::now());
            }
        }
    }

    /// Applies commits until the source has no more.
    async fn follow(&mut self, loaded: &mut Loaded) -> Result<(), FollowError> {
        let Loaded { revision, commits } = loaded;
        let mut tick = tokio::time::interval(Duration::from_millis(FREE_RETIRED_MS));
        loop {
            let rest_us = self.pace.rest_us(self.now_us());
            tokio::select! {
                commit = commits.recv(), if rest_us == 0 => {
                    let first = commit.unwrap_or(Err(SourceError::Compacted { after: *revision }))?;
                    let (gathered, ended) = gather(first, commits).await;
                    for commit in &gathered {
                        self.progress.heard(commit.revision);
                    }
                    self.apply_all(gathered, revision).await?;
                    ended?;
                }
                () = tokio::time::sleep(Duration::from_micros(rest_us)), if rest_us > 0 => {}
                _ = tick.tick() => {
                    self.stage.free_retired();
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
        let changed = edits.iter().filter_map(|(apex, changes)| self.edit(apex, changes)).collect();
        self.stage.publish_edits(Rank::Store, changed);
        let ended_us = self.now_us();
        self.pace.note_publish(ended_us.saturating_sub(began_us), ended_us);
        self.progress.served(last);
        *revision = last;
    }

    /// Applies one commit; what it removes and what it changes become visible together.
    async fn apply(&mut self, commit: Commit) -> Result<(), FollowError> {
        let (mut edits, mut replaced) = (Vec::new(), Vec::new());
        for ZoneCommit { apex, change, digest, .. } in commit.zones {
            if self.is_applied(&apex, commit.revision) {
                continue;
            }
            match change {
                ZoneChange::Changes(changes) => {
                    self.revisions.insert(apex.clone(), commit.revision);
                    edits.extend(self.edit(&apex, &changes));
                }
                ZoneChange::Replaced => replaced.push((apex, digest.records)),
                ZoneChange::Removed => {
                    self.revisions.remove(&apex);
                    edits.push((CatalogChange::Remove(apex), 1));
                }
            }
        }
        edits.extend(self.reload(replaced).await?.into_iter().map(|change| (change, 1)));
        self.stage.publish_edits(Rank::Store, edits);
        self.progress.served(commit.revision);
        Ok(())
    }

    /// Whether a zone has a commit already.
    fn is_applied(&self, apex: &Name, revision: u64) -> bool {
        self.revisions.get(apex).is_some_and(|at| *at >= revision)
    }

    /// Microseconds since the follower was made.
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Edits a zone that is staged, and says how many changes that were; one that is disabled stays away.
    fn edit(&self, apex: &Name, changes: &[Change]) -> Option<(CatalogChange, u64)> {
        let zone = self.stage.zone(Rank::Store, apex)?;
        let (zone, report) = zone.edit(changes);
        for (index, error) in &report.refused {
            tracing::error!(%apex, index, %error, "a change of the store is not answered");
        }
        Some((CatalogChange::Put(Arc::new(zone)), changes.len() as u64))
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

    /// Reads and builds zones, all of one view, on a thread that may be busy for long. One that is damaged
    /// is held, and keeps no other from being answered.
    async fn read(&mut self, apexes: Vec<Name>) -> Result<Vec<CatalogChange>, FollowError> {
        let (contents, held) = match self.source.zones_contents(&apexes).await {
            Ok(contents) => (contents, Vec::new()),
            Err(SourceError::Damaged { .. }) => self.read_each(&apexes).await?,
            Err(error) => return Err(error.into()),
        };
        let mut gone: HashSet<Name> = apexes.into_iter().collect();
        for ZoneContents { revision, zone, .. } in &contents {
            gone.remove(&zone.apex);
            self.revisions.insert(zone.apex.clone(), *revision);
        }
        for apex in &gone {
            self.revisions.remove(apex);
        }
        gone.retain(|apex| !held.contains(apex));
        let seed = self.stage.catalog().seed();
        let build = move |contents: ZoneContents| {
            let apex = contents.zone.apex;
            let built = crate::zone::build(apex.clone(), seed, contents.rrsets);
            built.map_err(|error| (apex, error))
        };
        let building = tokio::task::spawn_blocking(move || {
            contents.into_iter().map(build).collect::<Vec<_>>()
        });
        let hold = |apex| CatalogChange::Hold(apex, HoldReason::Broken);
        let mut changes: Vec<_> = gone.into_iter().map(CatalogChange::Remove).collect();
        changes.extend(held.into_iter().map(hold));
        for built in building.await.map_err(|_| FollowError::ThreadLost)? {
            match built {
                Ok(zone) => changes.push(CatalogChange::Put(Arc::new(zone))),
                Err((apex, error)) => {
                    tracing::error!(%apex, %error, "a zone of the store is answered with SERVFAIL");
                    changes.push(hold(apex));
                }
            }
        }
        Ok(changes)
    }

    /// Reads zones one by one; returns those that can be read, and the names of the others.
    async fn read_each(
        &self,
        apexes: &[Name],
    ) -> Result<(Vec<ZoneContents>, Vec<Name>), FollowError> {
        let (mut contents, mut held) = (Vec::new(), Vec::new());
        for apex in apexes {
            match self.source.zone_contents(apex).await {
                Ok(found) => contents.extend(found),
                Err(error @ SourceError::Damaged { .. }) => {
                    tracing::error!(%apex, %error, "a zone of the store is answered with SERVFAIL");
                    held.push(apex.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((contents, held))
    }
}

/// Returns a commit with those that are there already, and how the stream ended if it did.
async fn gather(
    first: Commit,
    commits: &mut CommitsAhead,
) -> (Vec<Commit>, Result<(), SourceError>) {
    let mut change_count = changes_in(&first);
    let mut gathered = vec![first];
    while change_count < BATCH_CHANGES_MAX {
        if commits.is_empty() {
            // Whoever reads ahead may have more than there was room for.
            tokio::task::yield_now().await;
        }
        let Ok(next) = commits.try_recv() else { break };
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

/// How often it is said that a store cannot be read.
const SAY_AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
