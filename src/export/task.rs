//! The task that keeps a feed saying what its source says.
//!
//! It begins by comparing both (`opening`), then writes every commit into the log at once, and
//! version after version of the document behind it. A version is made beside the loop, so that no
//! import holds up a change. Any error ends the round; the next begins with a comparison again.
//!
//! **Invariant:** what is told of the log is in it; a version that is announced is put as a whole.
//! **Not here:** commits to segments (`chronicle`), packs (`fold`), indexes (`shelf`).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iroh_docs::Author;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::book::{Book, Work};
use super::chronicle::Chronicle;
use super::depot::Depot;
use super::doc::FeedDoc;
use super::evidence;
use super::fold::{Folded, Folder};
use super::opening::{Opened, open};
use super::shelf::{Shelf, ShelfPlan};
use super::{ExportError, ExportStatus, FeedConfig};
use crate::clock::now_ms;
use crate::durable;
use crate::feed::root::{IndexRef, Root};
use crate::feed::segment::{Position, VersionRef};
use crate::feed::{Hash, HistoryId};
use crate::limits::{
    EXPORT_COMMITS_MAX, EXPORT_RETRY_MS_MAX, EXPORT_RETRY_MS_MIN, EXPORT_TICK_MS, FEED_BEAT_MS,
    FOLD_MS, FOLD_URGENT_MS, RETIRED_S,
};
use crate::mesh::hub::Evidence;
use crate::mesh::log::Log;
use crate::name::Name;
use crate::store::history::{Commit, CommitSource, SourceError, ZoneSource};

/// A stream of commits that is read ahead.
pub(super) type Commits = mpsc::Receiver<Result<Commit, SourceError>>;

/// What an export is made of.
pub(super) struct Parts {
    /// The truth.
    pub(super) source: Arc<dyn ZoneSource>,
    /// Where contents are put.
    pub(super) depot: Arc<dyn Depot>,
    /// Where segments are kept for those who follow.
    pub(super) log: Arc<Log>,
    /// What the feed carries.
    pub(super) config: FeedConfig,
    /// The feed.
    pub(super) namespace: [u8; 32],
    /// Its author.
    pub(super) author: Author,
    /// Where the last root is kept.
    pub(super) root_file: Option<PathBuf>,
}

/// The task of one feed.
pub(super) struct ExportTask {
    /// What it works with.
    parts: Parts,
    /// The namespace; `None` without a mesh.
    doc: Option<FeedDoc>,
    /// What peers show who know more than we do.
    evidence: mpsc::Receiver<Evidence>,
    /// Tells others how far we are.
    status_sender: watch::Sender<ExportStatus>,
    /// How far we are.
    status: ExportStatus,
    /// The newest history that peers have shown, until one above it has begun.
    seen: Option<HistoryId>,
}

/// A round of the task: the state of one export.
struct Round {
    /// What the feed says.
    book: Book,
    /// The indexes.
    shelf: Shelf,
    /// The log.
    chronicle: Chronicle,
    /// The number of the newest version.
    number: u64,
    /// Where the newest version holds.
    doc_at: Position,
    /// The version that is being made.
    making: Option<Making>,
    /// When the making of the newest version began.
    made_at: Instant,
    /// Since when a version is wanted without delay.
    urgent_since: Option<Instant>,
    /// The depot's generation when its contents were last known to be there.
    generation: u64,
    /// Zones with rows that no version has yet.
    changed: BTreeSet<Name>,
    /// When a version may be made again after one came to nothing, and how long to wait after that.
    retry: Option<(Instant, u64)>,
    /// Whether zones of the version that is being made could not be built.
    has_failed: bool,
    /// Contents that are of no use any more, and since when: some may be fetching them.
    retired: VecDeque<(Instant, HashSet<Hash>)>,
    /// Contents of the newest version.
    kept: HashSet<Hash>,
    /// When the last heartbeat was written.
    beat_at: Instant,
}

/// A version that is being made.
enum Making {
    /// Its packs are being laid.
    Packs {
        /// Where it will hold.
        at: Position,
        /// Its zones.
        apexes: Vec<Name>,
        /// The task.
        task: JoinHandle<Folded>,
    },
    /// Its indexes are being put.
    Indexes {
        /// Where it will hold.
        at: Position,
        /// What becomes of the shelf.
        plan: ShelfPlan,
        /// The task: the names of the indexes, and those of the root.
        task: JoinHandle<Result<Put, ExportError>>,
    },
}

/// Indexes and root that were put.
struct Put {
    /// The indexes, in order.
    indexes: Vec<IndexRef>,
}

/// What came of a version's making.
enum Made {
    /// Its packs.
    Packs(Position, Vec<Name>, Folded),
    /// Its indexes.
    Indexes(Position, ShelfPlan, Result<Put, ExportError>),
    /// Nothing: the task ended badly. These zones are to be built again.
    Nothing(Vec<Name>, String),
}

impl ExportTask {
    /// A task that has not begun.
    pub(super) fn new(
        parts: Parts,
        doc: Option<FeedDoc>,
        evidence: mpsc::Receiver<Evidence>,
        status_sender: watch::Sender<ExportStatus>,
    ) -> Self {
        let status = ExportStatus::default();
        Self { parts, doc, evidence, status_sender, status, seen: None }
    }

    /// Works until `stop`, whatever happens.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut retry_ms = EXPORT_RETRY_MS_MIN;
        loop {
            let began = Instant::now();
            let Some(ended) = stop.run_until_cancelled(self.round()).await else {
                return self.parts.log.close();
            };
            let Err(error) = ended;
            tracing::warn!(%error, feed = %self.parts.config.name, "the export begins anew");
            self.status.restarts += 1;
            self.status.is_working = false;
            self.tell();
            if began.elapsed() > Duration::from_millis(EXPORT_RETRY_MS_MAX) {
                retry_ms = EXPORT_RETRY_MS_MIN;
            }
            let wait = tokio::time::sleep(Duration::from_millis(retry_ms));
            if stop.run_until_cancelled(wait).await.is_none() {
                return self.parts.log.close();
            }
            retry_ms = (retry_ms * 2).min(EXPORT_RETRY_MS_MAX);
        }
    }

    /// Compares, then follows the commits; ends with an error only.
    async fn round(&mut self) -> Result<std::convert::Infallible, ExportError> {
        let Opened { book, shelf, chronicle, root, number, mut commits } =
            open(&self.parts, self.seen).await?;
        self.seen = None;
        let now = Instant::now();
        let mut round = Round {
            book,
            shelf,
            doc_at: root.as_ref().map_or_else(Position::default, |root| root.at),
            chronicle,
            number,
            making: None,
            made_at: now,
            urgent_since: None,
            generation: self.parts.depot.generation(),
            changed: BTreeSet::new(),
            retry: None,
            has_failed: false,
            retired: VecDeque::new(),
            kept: HashSet::new(),
            beat_at: now,
        };
        match root.filter(|_| !round.book.is_behind()) {
            Some(root) => {
                if let Err(error) = self.put_root(&mut round, &root).await {
                    self.fail_version(&mut round, &error);
                }
            }
            None => self.start_making(&mut round),
        }
        self.write_beat(&mut round);
        let mut returned = match &self.doc {
            Some(doc) => Some(doc.returned().await?),
            None => None,
        };
        let mut tick = tokio::time::interval(Duration::from_millis(EXPORT_TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                commit = commits.recv() => {
                    let Some(commit) = commit else {
                        let reason = "the stream of commits ended".to_owned();
                        return Err(SourceError::Failed { reason }.into());
                    };
                    let mut together = vec![commit?];
                    while together.len() < EXPORT_COMMITS_MAX
                        && let Ok(commit) = commits.try_recv()
                    {
                        together.push(commit?);
                    }
                    round.chronicle.take(&mut round.book, together).await?;
                }
                made = made(&mut round.making) => {
                    // What the document lacks, the log has: it goes on whatever becomes of that.
                    if let Err(error) = self.take_made(&mut round, made).await {
                        self.fail_version(&mut round, &error);
                    }
                }
                Some(shown) = self.evidence.recv() => self.judge(&round, &shown).await?,
                Some(number) = returned_number(&mut returned) => {
                    self.take_returned(&mut round, number).await?;
                }
                _ = tick.tick() => {}
            }
            if self.parts.depot.generation() != round.generation {
                self.look_for_lost(&mut round).await;
            }
            self.start_due(&mut round);
            if round.beat_at.elapsed() >= Duration::from_millis(FEED_BEAT_MS) {
                self.write_beat(&mut round);
            }
            self.note(&round);
            self.tell();
        }
    }

    /// Starts to make a version if one is due.
    fn start_due(&self, round: &mut Round) {
        let now = Instant::now();
        if !round.book.is_urgent() {
            round.urgent_since = None;
        } else if round.urgent_since.is_none() {
            round.urgent_since = Some(now);
        }
        let is_too_soon = round.retry.is_some_and(|(at, _)| now < at);
        if round.making.is_some() || is_too_soon {
            return;
        }
        let is_urgent = round
            .urgent_since
            .is_some_and(|since| now - since >= Duration::from_millis(FOLD_URGENT_MS));
        let is_old = now - round.made_at >= Duration::from_millis(FOLD_MS);
        let is_behind = round.book.is_behind() || !round.changed.is_empty();
        if is_urgent || round.retry.is_some() || (is_old && is_behind) {
            self.start_making(round);
        }
    }

    /// Asks for all anew that the depot has lost.
    async fn look_for_lost(&self, round: &mut Round) {
        round.generation = self.parts.depot.generation();
        let depot = &self.parts.depot;
        let mut lost = HashSet::new();
        for hash in round.book.bundles() {
            if !depot.has(*hash).await.unwrap_or(false) {
                lost.insert(*hash);
            }
        }
        let zones = round.book.zones_in(&lost);
        zones.iter().for_each(|apex| round.book.want(apex));
        for index in round.shelf.indexes() {
            if !depot.has(index.hash).await.unwrap_or(false) {
                round.shelf = Shelf::default();
                break;
            }
        }
        // Even where nothing is lost, the root may be.
        round.wait_longer();
    }

    /// Notes that a version came to nothing: it is made again, a little later each time.
    fn fail_version(&mut self, round: &mut Round, error: &ExportError) {
        if round.retry.is_none() {
            tracing::warn!(%error, feed = %self.parts.config.name,
                "the document cannot be written: the log goes on, and it is tried again");
        }
        self.status.document_faults += 1;
        round.making = None;
        round.wait_longer();
    }

    /// Starts to make a version of all that the log has.
    fn start_making(&self, round: &mut Round) {
        round.book.compact();
        let works: Vec<Work> = round.book.plan();
        let apexes = works.iter().map(|work| work.apex.clone()).collect();
        let (source, depot) = (Arc::clone(&self.parts.source), Arc::clone(&self.parts.depot));
        let folder = Folder::new(source, depot, round.book.key());
        let at = round.chronicle.at();
        round.made_at = Instant::now();
        round.urgent_since = None;
        round.making = Some(Making::Packs { at, apexes, task: tokio::spawn(folder.fold(works)) });
    }

    /// Goes on with a version whose packs or indexes are there.
    async fn take_made(&mut self, round: &mut Round, made: Made) -> Result<(), ExportError> {
        match made {
            Made::Packs(at, apexes, folded) => self.take_packs(round, at, apexes, folded),
            Made::Indexes(at, plan, put) => {
                let put = put?;
                for apex in &plan.gone {
                    round.book.forget(apex);
                }
                round.shelf.take(plan, put.indexes);
                round.changed.clear();
                self.announce(round, at).await?;
                if !round.has_failed {
                    round.retry = None;
                }
            }
            Made::Nothing(apexes, reason) => {
                round.book.fail(apexes);
                return Err(ExportError::Blobs { reason });
            }
        }
        Ok(())
    }

    /// Takes the packs of a version into the book and begins to put its indexes.
    fn take_packs(&mut self, round: &mut Round, at: Position, apexes: Vec<Name>, folded: Folded) {
        let Folded { built, failed, differing, octets } = folded;
        self.status.octets_written += octets;
        for (apex, counted, found) in differing {
            self.status.digest_faults += 1;
            tracing::error!(%apex, %counted, %found, "the records of a zone do not come to what the store counted");
        }
        for built in built {
            round.changed.insert(built.apex.clone());
            round.book.put_doc(built);
        }
        if !failed.is_empty() {
            let (apex, error) = &failed[0];
            tracing::warn!(zones = failed.len(), %apex, %error, "zones of a version are tried again");
        }
        let has_failed = !failed.is_empty();
        round.book.fail(failed.into_iter().map(|(apex, _)| apex));
        // A version lacks what failed: it holds no further than the one before.
        let at = if has_failed { round.doc_at } else { at };
        debug_assert!(!has_failed || !apexes.is_empty());
        round.has_failed = has_failed;
        if has_failed {
            round.wait_longer();
        }
        let plan = round.shelf.plan(&round.book, round.changed.clone());
        let depot = Arc::clone(&self.parts.depot);
        let indexes: Vec<(Bytes, u32)> = plan
            .indexes
            .iter()
            .map(|(_, octets, rows)| (Bytes::copy_from_slice(octets), *rows))
            .collect();
        let task = tokio::spawn(async move {
            let mut put = Vec::with_capacity(indexes.len());
            for (octets, rows) in indexes {
                let len = octets.len() as u32;
                put.push(IndexRef { hash: depot.put(octets).await?, len, rows });
            }
            Ok(Put { indexes: put })
        });
        round.making = Some(Making::Indexes { at, plan, task });
    }

    /// Puts the root of a version and announces it.
    async fn announce(&mut self, round: &mut Round, at: Position) -> Result<(), ExportError> {
        let (sum, zones) = round.book.doc_sum();
        round.number += 1;
        let signer = &round.chronicle.signer;
        let root = Root {
            namespace: self.parts.namespace,
            cluster_id: self.parts.config.cluster_id.clone(),
            history: signer.history,
            term: signer.term,
            number: round.number,
            at,
            digest_key: round.book.key(),
            time_ms: now_ms(),
            zones,
            sum,
            indexes: round.shelf.indexes(),
        };
        self.status.versions_written += 1;
        self.put_root(round, &root).await
    }

    /// Puts a root, says what is kept, and tells everybody.
    async fn put_root(&mut self, round: &mut Round, root: &Root) -> Result<(), ExportError> {
        let octets = root.to_octets();
        let len = octets.len() as u32;
        let hash = self.parts.depot.put(octets.clone().into()).await?;
        // A root that is kept names nothing that a crash could take.
        self.parts.depot.sync().await?;
        if let Some(file) = &self.parts.root_file {
            durable::write(file, &octets)
                .map_err(|source| ExportError::File { path: file.clone(), source })?;
        }
        let version = VersionRef { number: root.number, hash, len };
        let segment = round.chronicle.signer.version(root.at, version);
        let mut kept: HashSet<Hash> = round.book.bundles().copied().collect();
        kept.extend(root.indexes.iter().map(|index| index.hash));
        kept.insert(hash);
        self.keep(round, kept);
        round.doc_at = root.at;
        self.parts.log.set_version(version, root.at, &segment);
        if let Some(doc) = &mut self.doc {
            doc.put(root.number, segment).await?;
        }
        Ok(())
    }

    /// Spares the contents of the newest version, and for a while those of older ones.
    fn keep(&self, round: &mut Round, kept: HashSet<Hash>) {
        let now = Instant::now();
        let before = std::mem::replace(&mut round.kept, kept);
        let gone: HashSet<Hash> =
            before.into_iter().filter(|hash| !round.kept.contains(hash)).collect();
        if !gone.is_empty() {
            round.retired.push_back((now, gone));
        }
        let limit = Duration::from_secs(RETIRED_S);
        while round.retired.front().is_some_and(|(since, _)| now - *since > limit) {
            round.retired.pop_front();
        }
        let mut all = round.kept.clone();
        all.extend(round.retired.iter().flat_map(|(_, hashes)| hashes));
        self.parts.depot.keep(all);
    }

    /// Writes a heartbeat.
    fn write_beat(&self, round: &mut Round) {
        round.beat_at = Instant::now();
        let at = round.chronicle.at();
        let beat = round.chronicle.signer.beat(at, &round.book, round.number);
        self.parts.log.set_beat(at, &beat);
    }

    /// Looks at what a peer shows who claims to know more than this feed says.
    async fn judge(&mut self, round: &Round, shown: &Evidence) -> Result<(), ExportError> {
        let own = round.chronicle.signer.history;
        let newest = self.parts.source.revision().await?;
        let author = *self.parts.author.id().as_bytes();
        let (namespace, log) = (self.parts.namespace, &self.parts.log);
        let found = evidence::judge(shown, &namespace, &author, own, newest, log);
        let Some(found) = found else { return Ok(()) };
        self.seen = Some(found);
        Err(ExportError::OtherHistory { epoch: found.epoch })
    }

    /// Writes the entry of the namespace again if what a peer brought has taken its place.
    async fn take_returned(&mut self, round: &mut Round, number: u64) -> Result<(), ExportError> {
        self.status.returned += 1;
        let Some(doc) = &self.doc else { return Ok(()) };
        let newest = doc.newest().await?.map_or(0, |(_, number)| number).max(number);
        if newest >= round.number && round.making.is_none() {
            tracing::warn!(
                newest,
                own = round.number,
                "peers have a later version of this feed than its author"
            );
            round.number = newest;
            self.start_making(round);
        }
        Ok(())
    }

    /// Notes how far the round is.
    fn note(&mut self, round: &Round) {
        let (_, zones) = round.book.log_sum();
        self.status.history = round.chronicle.signer.history;
        self.status.revision = round.chronicle.at();
        self.status.document = round.doc_at;
        self.status.version = round.number;
        self.status.zone_count = zones;
        self.status.is_working = true;
        self.status.alive_ms = now_ms();
    }

    /// Tells others how far we are.
    fn tell(&self) {
        let status = self.status;
        self.status_sender.send_if_modified(|told| std::mem::replace(told, status) != status);
    }
}

impl Round {
    /// Has the next version wait, each time twice as long.
    fn wait_longer(&mut self) {
        let wait_ms = match self.retry {
            Some((_, wait_ms)) => (wait_ms * 2).min(EXPORT_RETRY_MS_MAX),
            None => EXPORT_RETRY_MS_MIN,
        };
        self.retry = Some((Instant::now() + Duration::from_millis(wait_ms), wait_ms));
    }
}

/// Waits for the version that is being made.
async fn made(making: &mut Option<Making>) -> Made {
    let Some(now) = making else { return std::future::pending().await };
    let done = match now {
        Making::Packs { task, .. } => task.await.map(Done::Packs),
        Making::Indexes { task, .. } => task.await.map(Done::Indexes),
    };
    match (making.take(), done) {
        (Some(Making::Packs { at, apexes, .. }), Ok(Done::Packs(folded))) => {
            Made::Packs(at, apexes, folded)
        }
        (Some(Making::Indexes { at, plan, .. }), Ok(Done::Indexes(put))) => {
            Made::Indexes(at, plan, put)
        }
        (Some(Making::Packs { apexes, .. }), Err(error)) => {
            Made::Nothing(apexes, error.to_string())
        }
        (_, Err(error)) => Made::Nothing(Vec::new(), error.to_string()),
        _ => Made::Nothing(Vec::new(), "a version came to nothing".to_owned()),
    }
}

/// What a task of a version's making returned.
enum Done {
    /// Packs.
    Packs(Folded),
    /// Indexes.
    Indexes(Result<Put, ExportError>),
}

/// Waits for an entry that a peer brings.
async fn returned_number(returned: &mut Option<mpsc::Receiver<u64>>) -> Option<u64> {
    match returned {
        Some(returned) => match returned.recv().await {
            Some(number) => Some(number),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Reads a stream of commits ahead, in a task that ends with the receiver.
pub(super) fn pump(mut stream: Box<dyn CommitSource>) -> Commits {
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
