//! The exporter of the simulation: the real task, of which the simulation decides when it does what,
//! and a depot in memory.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use iroh_docs::Author;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::super::{ExportTask, Round, made};
use super::NAMESPACE;
use super::store::Store;
use crate::export::audit::{Audit, Count, audited};
use crate::export::book::Built;
use crate::export::depot::Depot;
use crate::export::parts::Parts;
use crate::export::{ExportError, ExportStatus, FeedConfig};
use crate::feed::Hash;
use crate::feed::root::Root;
use crate::limits::{FOLD_MS, LOG_COMMIT_ZONES_MAX};
use crate::mesh::hub::Evidence;
use crate::mesh::log::Log;
use crate::name::Name;
use crate::seeded::Seeded;

/// Contents in memory.
#[derive(Default)]
pub(super) struct MemoryDepot {
    /// All that ever was.
    all: Mutex<HashMap<Hash, Bytes>>,
    /// What is there, and whether it outlives a crash.
    here: Mutex<HashMap<Hash, bool>>,
    /// What was put last.
    last: Mutex<Bytes>,
    /// The roots that were written, oldest first.
    roots: Mutex<Vec<Bytes>>,
    /// Whether putting fails now.
    is_failing: AtomicBool,
}

impl MemoryDepot {
    /// The octets of a content, wherever it is.
    pub(super) fn octets(&self, hash: &Hash) -> Option<Bytes> {
        self.all.lock().expect("not poisoned").get(hash).cloned()
    }

    /// Whether a content is there.
    pub(super) fn is_here(&self, hash: &Hash) -> bool {
        self.here.lock().expect("not poisoned").contains_key(hash)
    }
}

#[async_trait]
impl Depot for MemoryDepot {
    async fn put(&self, octets: Bytes) -> Result<Hash, ExportError> {
        if self.is_failing.load(Ordering::Relaxed) {
            return Err(ExportError::Blobs { reason: "planted".to_owned() });
        }
        let hash = *iroh_blobs::Hash::new(&octets).as_bytes();
        self.all.lock().expect("not poisoned").insert(hash, octets.clone());
        self.here.lock().expect("not poisoned").entry(hash).or_insert(false);
        *self.last.lock().expect("not poisoned") = octets;
        Ok(hash)
    }

    async fn get(&self, hash: Hash) -> Result<Option<Bytes>, ExportError> {
        Ok(self.octets(&hash).filter(|_| self.is_here(&hash)))
    }

    async fn has(&self, hash: Hash) -> Result<bool, ExportError> {
        Ok(self.is_here(&hash))
    }

    async fn look_at(&self, hashes: Vec<Hash>) -> Result<HashSet<Hash>, ExportError> {
        Ok(hashes.into_iter().filter(|hash| !self.is_here(hash)).collect())
    }

    async fn sync(&self) -> Result<(), ExportError> {
        self.here.lock().expect("not poisoned").values_mut().for_each(|is_safe| *is_safe = true);
        let last = self.last.lock().expect("not poisoned").clone();
        if Root::from_octets(&last).is_ok() {
            self.roots.lock().expect("not poisoned").push(last);
        }
        Ok(())
    }

    fn keep(&self, hashes: HashSet<Hash>) {
        self.here.lock().expect("not poisoned").retain(|hash, _| hashes.contains(hash));
    }

    /// A new exporter begins after each loss, which the exporter then sees for itself.
    fn generation(&self) -> u64 {
        0
    }
}

/// The exporter.
pub(super) struct Exporter {
    /// Runs what it spawns.
    runtime: Runtime,
    /// The store.
    store: Arc<Store>,
    /// Where contents are put.
    pub(super) depot: Arc<MemoryDepot>,
    /// What edges follow.
    pub(super) log: Arc<Log>,
    /// Signs.
    author: Author,
    /// The task, and what it is doing; none between an error and the next try.
    task: ExportTask,
    /// What it is doing.
    round: Option<Round>,
    /// Where a root is laid for an opening to find.
    dir: tempfile::TempDir,
    /// Zones that a commit of the log may have.
    pub(super) commit_zones_max: u64,
    /// A zone of the document that was not what its row says.
    pub(super) wrong: Option<String>,
}

impl Exporter {
    /// One that has not begun.
    pub(super) fn new(store: Arc<Store>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (depot, log) = (Arc::<MemoryDepot>::default(), Arc::new(Log::new(NAMESPACE)));
        let author = Author::new(&mut rand::rng());
        let task = task(&store, &depot, &log, &author);
        let dir = tempfile::tempdir().expect("a directory");
        let commit_zones_max = LOG_COMMIT_ZONES_MAX;
        Self {
            runtime,
            store,
            depot,
            log,
            author,
            task,
            round: None,
            dir,
            commit_zones_max,
            wrong: None,
        }
    }

    /// Has the feed carry these zones alone, from the next round on.
    pub(super) fn carry(&mut self, zones: Vec<Name>) {
        self.task.parts.config.zones = Some(zones);
    }

    /// Lets time pass until a version may be made again; says whether one is.
    pub(super) fn makes_when_due(&mut self) -> bool {
        let round = self.round.as_mut().expect("it works");
        let (task, pause) = (&self.task, Duration::from_millis(2 * FOLD_MS));
        round.made_at = round.made_at.checked_sub(pause).expect("the machine runs that long");
        self.runtime.block_on(async { task.start_due(round) });
        round.making.is_some()
    }

    /// Where the newest version holds, and where the log begins.
    pub(super) fn version_and_log(&self) -> (u64, u64) {
        let round = self.round.as_ref().expect("it works");
        (round.doc_at.revision, self.log.base().revision)
    }

    /// Whether a round is on its way.
    pub(super) fn is_working(&self) -> bool {
        self.round.is_some()
    }

    /// The history that is exported, and the revision up to which.
    pub(super) fn at(&self) -> Option<u64> {
        self.round.as_ref().map(|round| round.chronicle.at().revision)
    }

    /// The zones that the log leads to, and their revisions.
    pub(super) fn heads(&self) -> Vec<(String, u64, u64)> {
        let Some(round) = &self.round else { return Vec::new() };
        let mut heads: Vec<_> = round
            .book
            .apexes()
            .filter(|apex| round.book.head(apex).is_there)
            .map(|apex| {
                (apex.to_string(), round.book.head(apex).revision, round.book.doc(apex).revision)
            })
            .collect();
        heads.sort_unstable();
        heads
    }

    /// Ends as by a crash. Of the last versions some may be lost, and of their contents.
    pub(super) fn crash(&mut self, lost_roots: usize, random: &mut Seeded) {
        self.end();
        let mut roots = self.depot.roots.lock().expect("not poisoned");
        let kept = roots.len().saturating_sub(lost_roots);
        roots.truncate(kept);
        let loses_more = random.percent(10);
        let mut here = self.depot.here.lock().expect("not poisoned");
        let mut hashes: Vec<(Hash, bool)> =
            here.iter().map(|(hash, safe)| (*hash, *safe)).collect();
        hashes.sort_unstable();
        for (hash, is_safe) in hashes {
            if (!is_safe && random.percent(50)) || (loses_more && random.percent(10)) {
                here.remove(&hash);
            }
        }
    }

    /// Ends as a process that is stopped.
    pub(super) fn end(&mut self) {
        self.round = None;
        self.log.close();
        self.task = task(&self.store, &self.depot, &self.log, &self.author);
    }

    /// Makes versions until the document has what the log has.
    pub(super) fn finish_making(&mut self) {
        while self.is_behind() {
            self.make(false);
        }
    }

    /// Begins a round: compares, as after a start or an error. See [`Exporter::make`].
    pub(super) fn begin(&mut self, reads_early: bool) {
        let file = self.dir.path().join("root");
        match self.depot.roots.lock().expect("not poisoned").last() {
            Some(root) => std::fs::write(&file, root).expect("a directory that is ours"),
            None => drop(std::fs::remove_file(&file)),
        }
        self.task.parts.root_file = Some(file);
        // The root that is announced again is written again: into memory.
        let opened = self.runtime.block_on(async {
            let begun = self.task.begin().await;
            if reads_early {
                tokio::task::yield_now().await;
            }
            begun
        });
        self.task.parts.root_file = None;
        self.round = opened.ok().map(|(round, _)| round);
    }

    /// Writes commits into the log.
    pub(super) fn take_commits(&mut self, count_max: usize) {
        let Some(round) = &mut self.round else { return };
        round.chronicle.zones_max = self.commit_zones_max;
        let after = round.chronicle.at().revision;
        let Some(commits) = self.store.commits_after(after, count_max) else {
            self.round = None;
            return;
        };
        if commits.is_empty() {
            return;
        }
        self.runtime.block_on(round.chronicle.take(&mut round.book, commits));
    }

    /// Whether the document lacks something, or a version is being made.
    pub(super) fn is_behind(&self) -> bool {
        self.round.as_ref().is_none_or(|round| round.making.is_some() || round.book.is_behind())
    }

    /// Starts to make a version, or goes on with one. What is read for it is read at once where it
    /// `reads_early`, before whatever is done next, or when that is done.
    pub(super) fn make(&mut self, reads_early: bool) {
        let Some(round) = &mut self.round else { return };
        let (task, runtime) = (&mut self.task, &self.runtime);
        let made = runtime.block_on(async {
            if round.making.is_none() {
                task.start_making(round);
                if reads_early {
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
            let made = made(&mut round.making).await;
            task.take_made(round, made)
        });
        self.wrong = self.wrong.take().or_else(|| self.wrong_zone());
        if made.is_err() {
            self.round = None;
        }
    }

    /// Has the row of a zone say what another state of it comes to.
    pub(super) fn plant_wrong_row(&mut self) {
        let book = &mut self.round.as_mut().expect("it works").book;
        let apex = book.apexes().filter(|apex| book.is_in_doc(apex)).min().expect("one").clone();
        let mut doc = book.doc(&apex);
        doc.digest.records += 1;
        let places = book.places(&apex);
        book.put_doc(Built { apex, doc, names: None, places });
    }

    /// Reads the document again, each zone once; returns how many were wrong.
    pub(super) fn audit(&mut self) -> u64 {
        let round = self.round.as_mut().expect("it works");
        round.audit = Audit::new();
        self.runtime.block_on(async {
            round.audit.start(&round.book, &self.task.parts.depot);
            let wrong = audited(&mut round.audit).await;
            round.audit.take(&mut round.book, wrong)
        })
    }

    /// A zone whose packs do not come to what its row says.
    pub(super) fn wrong_zone(&self) -> Option<String> {
        let book = &self.round.as_ref()?.book;
        let wrong = book.apexes().find(|apex| {
            let (mut places, mut count) = (book.places(apex), Count::new(book.key()));
            places.sort_by_key(|place| !place.is_delta);
            for place in &places {
                let bundle = self.depot.octets(&place.bundle.hash).expect("it was put");
                count.take(&bundle[place.offset as usize..(place.offset + place.len) as usize]);
            }
            // One that could not be built has no packs.
            !places.is_empty() && count.end() != Some(book.doc(apex).digest)
        })?;
        Some(format!("{wrong} of the document is not what its row says: {:?}", book.doc(wrong)))
    }

    /// Lets contents of older versions go.
    pub(super) fn retire(&mut self) {
        if let Some(round) = &mut self.round {
            round.retired.clear();
        }
    }

    /// Has putting contents fail, or not.
    pub(super) fn set_failing(&self, is_failing: bool) {
        self.depot.is_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Writes a heartbeat.
    pub(super) fn beat(&mut self) {
        if let Some(round) = &mut self.round {
            self.task.write_beat(round);
        }
    }

    /// Looks at what somebody shows.
    pub(super) fn judge(&mut self, shown: &Evidence) {
        let Some(round) = &mut self.round else { return };
        if self.runtime.block_on(self.task.judge(round, shown)).is_err() {
            self.round = None;
        }
    }
}

/// A task that has not begun.
fn task(
    store: &Arc<Store>,
    depot: &Arc<MemoryDepot>,
    log: &Arc<Log>,
    author: &Author,
) -> ExportTask {
    let parts = Parts {
        source: Arc::clone(store) as _,
        depot: Arc::clone(depot) as _,
        log: Arc::clone(log),
        config: FeedConfig::default(),
        namespace: NAMESPACE,
        author: author.clone(),
        root_file: None,
    };
    let (_, evidence) = mpsc::channel(1);
    let (status, _) = watch::channel(ExportStatus::default());
    ExportTask::new(parts, None, evidence, status)
}
