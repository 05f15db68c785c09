//! Answers from the store itself: every commit goes straight into the published zones.
//!
//! The role `authority` uses it: what it has acknowledged it answers, with no replica between.
//!
//! **Invariant:** commits are applied in order, each to every zone it touches; a zone never goes
//! back to an older revision; after a gap all zones are read anew.
//! **Not here:** the edge's way, through the feed (`client`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::state::Progress;
use crate::catalog::CatalogChange;
use crate::export::source::{FeedSource, SourceChange, SourceCommit, SourceError, ZoneContents};
use crate::limits::{FOLLOW_RETRY_MS, FREE_RETIRED_MS};
use crate::name::Name;
use crate::publish::Publisher;
use crate::record::Change;
use crate::zone::{BuildError, Zone};

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

impl<S: FeedSource> Follower<S> {
    /// Makes a follower that has published nothing yet.
    pub fn new(source: Arc<S>, publisher: Arc<Publisher>, progress: Progress) -> Self {
        // What is published before the follower begins comes from files.
        let statics = publisher.catalog().zones().map(|zone| zone.apex().clone()).collect();
        Self { source, publisher, progress, statics, revisions: HashMap::new() }
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
        for zone in zones {
            if !self.statics.contains(&zone.apex) {
                self.reload(&zone.apex).await?;
            }
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
            tokio::select! {
                commit = commits.next() => {
                    let commit = commit?;
                    *revision = commit.revision;
                    self.apply(commit).await?;
                }
                _ = tick.tick() => {
                    self.publisher.free_retired();
                }
            }
        }
    }

    /// Applies one commit; all its zones become visible together.
    async fn apply(&mut self, commit: SourceCommit) -> Result<(), FollowError> {
        self.progress.heard(commit.revision);
        let mut edits = Vec::new();
        for (apex, change) in commit.zones {
            let is_known = self.revisions.get(&apex).is_some_and(|at| *at >= commit.revision);
            if is_known || self.statics.contains(&apex) {
                continue;
            }
            match change {
                SourceChange::Changes(changes) => {
                    self.revisions.insert(apex.clone(), commit.revision);
                    edits.extend(self.edit(&apex, &changes));
                }
                SourceChange::Replaced => self.reload(&apex).await?,
                SourceChange::Removed => {
                    self.revisions.remove(&apex);
                    edits.push(CatalogChange::Remove(apex));
                }
            }
        }
        if !edits.is_empty() {
            self.publisher.publish(edits);
        }
        self.progress.served(commit.revision);
        Ok(())
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

    /// Reads a zone anew and publishes it.
    async fn reload(&mut self, apex: &Name) -> Result<(), FollowError> {
        let Some(contents) = self.source.zone_contents(apex).await? else {
            self.revisions.remove(apex);
            self.publisher.publish(vec![CatalogChange::Remove(apex.clone())]);
            return Ok(());
        };
        self.revisions.insert(apex.clone(), contents.revision);
        if !contents.zone.is_enabled {
            self.publisher.publish(vec![CatalogChange::Remove(apex.clone())]);
            return Ok(());
        }
        match self.build(contents).await {
            Ok(zone) => self.publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]),
            // One zone that does not build must not keep the others back.
            Err(error @ FollowError::Build { .. }) => tracing::error!(%error, "not answered"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Builds a zone on a thread that may be busy for long.
    async fn build(&self, contents: ZoneContents) -> Result<Zone, FollowError> {
        let seed = self.publisher.catalog().seed();
        let build = move || {
            let apex = contents.zone.apex;
            crate::zone::build(apex.clone(), seed, contents.rrsets)
                .map_err(|source| FollowError::Build { apex, source })
        };
        tokio::task::spawn_blocking(build).await.map_err(|_| FollowError::ThreadLost)?
    }
}
