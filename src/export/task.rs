//! The task that keeps a namespace saying what its source says.
//!
//! It starts by comparing both, then follows the commits: those that wait are taken together, so
//! that a burst becomes few entries. Zones that must be read as a whole are read beside it, a few
//! at a time. Any error ends the round; the next begins with a comparison again.
//!
//! **Invariant:** the heartbeat never names a revision that some zone lacks.
//! **Not here:** how a zone is written (`zone`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use iroh_blobs::api::Store as BlobStore;
use iroh_docs::engine::LiveEvent;
use n0_future::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::build::build;
use super::doc::FeedDoc;
use super::zone::{BuiltBase, Need, ZoneFeed};
use super::{ExportError, ExportStatus, FeedConfig, repair};
use crate::feed::Revision;
use crate::feed::beat::{Beat, Header};
use crate::feed::key::{self, FeedKey};
use crate::limits::{
    BEAT_AFTER_CHANGE_MS, BEAT_MS, BUILDS_MAX, EXPORT_COMMITS_MAX, EXPORT_RETRY_MS_MAX,
    EXPORT_RETRY_MS_MIN, EXPORT_TICK_MS,
};
use crate::name::Name;
use crate::record::Change;
use crate::store::history::{
    Commit, CommitSource, SourceError, ZoneChange, ZoneCommit, ZoneSource,
};

/// The task of one feed.
pub(super) struct ExportTask {
    /// The namespace.
    doc: FeedDoc,
    /// Where contents are kept.
    blobs: BlobStore,
    /// The truth.
    source: Arc<dyn ZoneSource>,
    /// What the feed carries.
    config: FeedConfig,
    /// Tells others how far we are.
    status_sender: watch::Sender<ExportStatus>,
    /// How far we are.
    status: ExportStatus,
    /// Which history of the source is exported.
    epoch: u64,
    /// The newest commit that was looked at.
    seen: u64,
    /// Every zone of the namespace, removed ones too.
    zones: HashMap<Name, ZoneFeed>,
    /// Zones to be read as a whole.
    queue: VecDeque<Name>,
    /// Zones that are being read.
    builds: JoinSet<(Name, Result<Option<BuiltBase>, ExportError>)>,
    /// When the heartbeat is due next.
    beat_due: Instant,
    /// When the last heartbeat was written.
    beat_at: Instant,
}

impl ExportTask {
    /// A task that has not begun.
    pub(super) fn new(
        doc: FeedDoc,
        blobs: BlobStore,
        source: Arc<dyn ZoneSource>,
        config: FeedConfig,
        status_sender: watch::Sender<ExportStatus>,
    ) -> Self {
        Self {
            doc,
            blobs,
            source,
            config,
            status_sender,
            status: ExportStatus::default(),
            epoch: 0,
            seen: 0,
            zones: HashMap::new(),
            queue: VecDeque::new(),
            builds: JoinSet::new(),
            beat_due: Instant::now(),
            beat_at: Instant::now(),
        }
    }

    /// Works until `stop`, whatever happens.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut retry_ms = EXPORT_RETRY_MS_MIN;
        loop {
            let began = Instant::now();
            let Some(ended) = stop.run_until_cancelled(self.round()).await else { return };
            let Err(error) = ended;
            tracing::warn!(%error, feed = %self.config.name, "the export begins anew");
            self.status.restarts += 1;
            if began.elapsed() > Duration::from_millis(EXPORT_RETRY_MS_MAX) {
                retry_ms = EXPORT_RETRY_MS_MIN;
            }
            let wait = tokio::time::sleep(Duration::from_millis(retry_ms));
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
            retry_ms = (retry_ms * 2).min(EXPORT_RETRY_MS_MAX);
        }
    }

    /// Compares, then follows the commits; ends with an error only.
    async fn round(&mut self) -> Result<std::convert::Infallible, ExportError> {
        self.builds.shutdown().await;
        self.queue.clear();
        let mut returned = returned(self.doc.events().await?);
        let mut commits = self.begin().await?;
        let mut tick = tokio::time::interval(Duration::from_millis(EXPORT_TICK_MS));
        loop {
            self.start_builds();
            tokio::select! {
                commit = commits.recv() => {
                    let Some(commit) = commit else {
                        let reason = "the stream of commits ended".to_owned();
                        return Err(SourceError::Failed { reason }.into());
                    };
                    self.take_commits(commit?, &mut commits).await?;
                }
                Some(built) = self.builds.join_next() => {
                    if let Ok((apex, base)) = built {
                        self.take_base(apex, base?).await?;
                    }
                }
                Some(apex) = returned.recv() => self.take_returned(apex).await?,
                _ = tick.tick() => self.fold_due().await?,
            }
            if Instant::now() >= self.beat_due {
                self.beat().await?;
            }
            self.tell();
        }
    }

    /// Compares namespace and source, and subscribes to the commits after what is there.
    async fn begin(&mut self) -> Result<mpsc::Receiver<Result<Commit, SourceError>>, ExportError> {
        let found = repair::find(&self.doc).await?;
        let newest = self.source.revision().await?;
        let mut term = 1;
        let mut is_known = false;
        if let Some(header) = found.header {
            term = header.term + 1;
            self.epoch = header.epoch;
            // A source behind the namespace is another history: an old backup, or a new store.
            is_known = found.revision <= newest;
        }
        if !is_known {
            self.epoch = now_ms().max(self.epoch + 1);
        }
        self.zones = found.zones;
        let mut after = found.revision;
        let stream = match self.source.commits(after).await {
            Ok(stream) if is_known => stream,
            Ok(_) | Err(SourceError::Compacted { .. }) => {
                is_known = false;
                after = newest;
                self.source.commits(newest).await?
            }
            Err(error) => return Err(error.into()),
        };
        self.seen = after;
        let header = Header { cluster_id: self.config.cluster_id.clone(), epoch: self.epoch, term };
        self.doc.put(key::terminate(key::HEADER_KEY), header.to_octets()).await?;
        self.compare_zones(found.broken, is_known, newest).await?;
        self.beat_due = Instant::now();
        Ok(pump(stream))
    }

    /// Asks for a base of every zone that the namespace lacks, and removes those that are gone.
    async fn compare_zones(
        &mut self,
        broken: Vec<Name>,
        is_known: bool,
        newest: u64,
    ) -> Result<(), ExportError> {
        let zones = self.source.zones().await?;
        let carried: HashMap<Name, _> = zones
            .into_iter()
            .filter(|zone| self.config.carries(&zone.apex))
            .map(|zone| (zone.apex.clone(), zone))
            .collect();
        for apex in carried.keys() {
            let zone = self.zones.get_mut(apex);
            if is_known && zone.as_ref().is_some_and(|zone| zone.is_present()) {
                continue;
            }
            let zone = self
                .zones
                .entry(apex.clone())
                .or_insert_with_key(|apex| ZoneFeed::absent(apex.clone()));
            if !is_known {
                zone.forget_history();
            }
            if zone.want_base(newest) == Need::Base {
                self.queue.push_back(apex.clone());
            }
        }
        let revision = Revision::new(self.epoch, newest);
        for apex in broken {
            self.zones.entry(apex.clone()).or_insert_with(|| ZoneFeed::absent(apex));
        }
        for (apex, zone) in &mut self.zones {
            let is_gone = zone.manifest().is_none() || zone.is_present();
            if !carried.contains_key(apex) && is_gone {
                zone.remove(&mut self.doc, revision).await?;
            }
        }
        Ok(())
    }

    /// Starts to read zones that wait for it.
    fn start_builds(&mut self) {
        while self.builds.len() < BUILDS_MAX as usize {
            let Some(apex) = self.queue.pop_front() else { return };
            let (source, blobs) = (Arc::clone(&self.source), self.blobs.clone());
            self.builds.spawn(async move {
                let built = build(source, blobs, apex.clone()).await;
                (apex, built)
            });
        }
    }

    /// Writes a commit together with those that wait behind it.
    async fn take_commits(
        &mut self,
        first: Commit,
        commits: &mut mpsc::Receiver<Result<Commit, SourceError>>,
    ) -> Result<(), ExportError> {
        let mut waiting: Vec<(Name, u64, Vec<Change>)> = Vec::new();
        let mut index: HashMap<Name, usize> = HashMap::new();
        let mut next = Some(first);
        let mut count = 0;
        let mut last = self.seen;
        while let Some(commit) = next.take() {
            last = commit.revision;
            for ZoneCommit { apex, change, .. } in commit.zones {
                if !self.config.carries(&apex) {
                    continue;
                }
                match change {
                    ZoneChange::Changes(changes) => {
                        let at = *index.entry(apex.clone()).or_insert_with(|| {
                            waiting.push((apex, 0, Vec::new()));
                            waiting.len() - 1
                        });
                        waiting[at].1 = last;
                        waiting[at].2.extend(changes);
                    }
                    ZoneChange::Replaced => {
                        if let Some(at) = index.get(&apex) {
                            waiting[*at].2.clear();
                        }
                        self.want_base(apex, last);
                    }
                    ZoneChange::Removed => {
                        if let Some(at) = index.get(&apex) {
                            waiting[*at].2.clear();
                        }
                        self.remove(&apex, last).await?;
                    }
                }
            }
            count += 1;
            if count < EXPORT_COMMITS_MAX {
                next = commits.try_recv().ok().transpose()?;
            }
        }
        for (apex, number, changes) in waiting {
            if !changes.is_empty() {
                self.write_changes(apex, number, changes).await?;
            }
        }
        self.seen = last;
        let soon = Instant::now() + Duration::from_millis(BEAT_AFTER_CHANGE_MS);
        self.beat_due = soon.min(self.beat_at + Duration::from_millis(BEAT_MS));
        Ok(())
    }

    /// Writes the changes of one zone.
    async fn write_changes(
        &mut self,
        apex: Name,
        number: u64,
        changes: Vec<Change>,
    ) -> Result<(), ExportError> {
        let zone = self
            .zones
            .entry(apex.clone())
            .or_insert_with_key(|apex| ZoneFeed::absent(apex.clone()));
        let revision = Revision::new(self.epoch, number);
        let before = zone.revision();
        let manifest = zone.manifest().map(|manifest| manifest.revision);
        let need = zone.write_changes(&mut self.doc, revision, changes).await?;
        if zone.manifest().map(|manifest| manifest.revision) != manifest {
            self.status.manifests_written += 1;
        } else if zone.revision() > before {
            self.status.live_written += 1;
        }
        if need == Need::Base {
            self.queue.push_back(apex);
        }
        Ok(())
    }

    /// Asks for a zone to be read as a whole.
    fn want_base(&mut self, apex: Name, number: u64) {
        let zone = self
            .zones
            .entry(apex.clone())
            .or_insert_with_key(|apex| ZoneFeed::absent(apex.clone()));
        if zone.want_base(number) == Need::Base {
            self.queue.push_back(apex);
        }
    }

    /// Takes a zone out of the namespace.
    async fn remove(&mut self, apex: &Name, number: u64) -> Result<(), ExportError> {
        let Some(zone) = self.zones.get_mut(apex) else { return Ok(()) };
        zone.remove(&mut self.doc, Revision::new(self.epoch, number)).await?;
        self.status.manifests_written += 1;
        Ok(())
    }

    /// Writes a base that was read.
    async fn take_base(&mut self, apex: Name, base: Option<BuiltBase>) -> Result<(), ExportError> {
        let Some(zone) = self.zones.get_mut(&apex) else { return Ok(()) };
        let Some(base) = base else {
            // The zone is gone; the commit that removed it says so, unless it came before.
            zone.give_up_base();
            if zone.pending_since().is_some_and(|number| number <= self.seen) {
                return self.remove(&apex, self.seen).await;
            }
            return Ok(());
        };
        let need = zone.write_base(&mut self.doc, self.epoch, base).await?;
        if need == Need::Base {
            self.queue.push_back(apex);
        } else {
            self.status.manifests_written += 1;
            self.beat_due = Instant::now();
        }
        Ok(())
    }

    /// Writes a zone's manifest again: a peer gave back one that we had lost in a crash, whose
    /// packs we have lost too.
    async fn take_returned(&mut self, apex: Name) -> Result<(), ExportError> {
        let Some(zone) = self.zones.get_mut(&apex) else { return Ok(()) };
        if zone.pending_since().is_some() || zone.is_building() {
            return Ok(());
        }
        let revision = Revision::new(self.epoch, zone.revision());
        if zone.is_present() {
            if zone.fold(&mut self.doc, revision).await? == Need::Base {
                self.queue.push_back(apex);
            }
        } else {
            zone.remove(&mut self.doc, revision).await?;
        }
        self.status.manifests_written += 1;
        Ok(())
    }

    /// Folds the zones whose live entries have become many or old.
    async fn fold_due(&mut self) -> Result<(), ExportError> {
        let now = Instant::now();
        for (apex, zone) in &mut self.zones {
            if !zone.is_fold_due(now) {
                continue;
            }
            let revision = Revision::new(self.epoch, zone.revision());
            if zone.fold(&mut self.doc, revision).await? == Need::Base {
                self.queue.push_back(apex.clone());
            }
            self.status.manifests_written += 1;
        }
        Ok(())
    }

    /// Writes the heartbeat.
    async fn beat(&mut self) -> Result<(), ExportError> {
        let number = self.complete_number();
        let present = self.zones.values().filter(|zone| zone.is_present());
        let beat = Beat {
            revision: Revision::new(self.epoch, number),
            time_ms: now_ms(),
            zone_digest: self
                .zones
                .values()
                .fold(0_u64, |digest, zone| digest.wrapping_add(zone.mark(self.epoch))),
            zone_count: present.count() as u64,
        };
        self.doc.put_or_skip(key::terminate(key::BEAT_KEY), beat.to_octets()).await?;
        self.beat_at = Instant::now();
        self.status.zone_count = beat.zone_count;
        self.beat_due = self.beat_at + Duration::from_millis(BEAT_MS);
        Ok(())
    }

    /// The newest commit up to which the namespace lacks nothing.
    fn complete_number(&self) -> u64 {
        let pending = self.zones.values().filter_map(ZoneFeed::pending_since).min();
        pending.map_or(self.seen, |number| self.seen.min(number.saturating_sub(1)))
    }

    /// Tells others how far we are.
    fn tell(&mut self) {
        self.status.revision = Revision::new(self.epoch, self.complete_number());
        self.status.clock_waits = self.doc.clock_waits();
        let status = self.status;
        self.status_sender.send_if_modified(|told| std::mem::replace(told, status) != status);
    }
}

/// Picks out of the namespace's events the zones whose manifest came from a peer. It reads
/// whatever happens: an unread subscription would stop the document engine.
fn returned(
    mut events: impl Stream<Item = anyhow::Result<LiveEvent>> + Send + Unpin + 'static,
) -> mpsc::UnboundedReceiver<Name> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => return,
            };
            let Some(event) = event else { return };
            let Ok(LiveEvent::InsertRemote { entry, .. }) = event else { continue };
            if let Ok(FeedKey::Zone { apex }) = key::parse_feed_key(entry.key())
                && sender.send(apex).is_err()
            {
                return;
            }
        }
    });
    receiver
}

/// Reads a stream of commits ahead, in a task that ends with the receiver.
fn pump(mut stream: Box<dyn CommitSource>) -> mpsc::Receiver<Result<Commit, SourceError>> {
    let (sender, receiver) = mpsc::channel(EXPORT_COMMITS_MAX);
    tokio::spawn(async move {
        loop {
            let commit = tokio::select! {
                commit = stream.next() => commit,
                () = sender.closed() => return,
            };
            let is_end = commit.is_err();
            if sender.send(commit).await.is_err() || is_end {
                return;
            }
        }
    });
    receiver
}

/// The clock, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
