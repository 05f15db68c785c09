//! Versions of the document: when one is made, and the steps in which that is done.
//!
//! First the packs of all zones that changed are laid, in a task beside the loop; then the indexes
//! that tell of them are put, in another; then the root, which is announced; at last the namespace
//! names it. A step that fails leaves the log as it is: the version is made again, a little later each
//! time.
//!
//! **Invariant:** one version is made at a time; what fails of it is known until one was whole.
//! **Not here:** the loop and the log (`task`), packs (`fold`), indexes (`shelf`), roots (`root`).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use super::ExportError;
use super::audit::Audit;
use super::book::{Book, Work};
use super::chronicle::Chronicle;
use super::fold::{Folded, Folder};
use super::parts::ExportTask;
use super::shelf::{Shelf, ShelfPlan};
use crate::feed::Hash;
use crate::feed::root::{IndexRef, Root};
use crate::feed::segment::{Position, VersionRef};
use crate::limits::{
    CONTENTS_LOOK_MS, EXPORT_RETRY_MS_MAX, EXPORT_RETRY_MS_MIN, FOLD_MS, FOLD_URGENT_MS,
    UNBUILT_MS, UNBUILT_MS_FIRST, VERSION_LOG_OCTETS_MAX,
};
use crate::name::Name;

/// A round of the task: the state of one export.
pub(super) struct Round {
    /// What the feed says.
    pub(super) book: Book,
    /// The indexes.
    pub(super) shelf: Shelf,
    /// The log.
    pub(super) chronicle: Chronicle,
    /// The number of the newest version.
    pub(super) number: u64,
    /// Where the newest version holds.
    pub(super) doc_at: Position,
    /// Tells when another feed of the source has begun another history.
    pub(super) histories: watch::Receiver<u64>,
    /// The version that is being made.
    pub(super) making: Option<Making>,
    /// When the making of the newest version began.
    pub(super) made_at: Instant,
    /// Octets of the log by then.
    pub(super) made_behind: u64,
    /// Since when a version is wanted without delay.
    pub(super) urgent_since: Option<Instant>,
    /// The depot's generation when its contents were last known to be there.
    pub(super) generation: u64,
    /// When they were looked at last.
    pub(super) looked_at: Instant,
    /// The task that looks which of them are there.
    pub(super) looking: Option<JoinHandle<Looked>>,
    /// Whether the next version begins its indexes anew: one of them was lost.
    pub(super) is_shelf_lost: bool,
    /// Whether a version is wanted though nothing has changed: something of the last was lost.
    pub(super) is_remake_due: bool,
    /// The depot's generation when the making of the newest version began.
    pub(super) made_in: u64,
    /// Zones with rows that no version has yet.
    pub(super) changed: BTreeSet<Name>,
    /// When a version may be made again after one came to nothing, and how long to wait after that.
    pub(super) retry: Option<(Instant, u64)>,
    /// Whether zones of the version that is being made could not be built.
    pub(super) has_failed: bool,
    /// Contents that are of no use any more, and since when: some may be fetching them.
    pub(super) retired: VecDeque<(Instant, HashSet<Hash>)>,
    /// How far what is written is read again.
    pub(super) audit: Audit,
    /// Contents of the newest version.
    pub(super) kept: HashSet<Hash>,
    /// When the last heartbeat was written.
    pub(super) beat_at: Instant,
    /// How many there were.
    pub(super) beats: u64,
}

/// A version that is being made.
pub(super) enum Making {
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
        /// The task: the names of the indexes, in order.
        task: JoinHandle<Result<Vec<IndexRef>, ExportError>>,
    },
    /// Its root is being put.
    Root {
        /// The root.
        root: Root,
        /// The task: what the version is called.
        task: JoinHandle<Result<VersionRef, ExportError>>,
    },
    /// The namespace is being told of it.
    Entry {
        /// The number of the version.
        number: u64,
        /// The task: the number of the entry that stands there then.
        task: JoinHandle<Result<u64, ExportError>>,
    },
}

/// What of the contents of a version is not there, in which generation of the depot.
pub(super) type Looked = Result<(u64, HashSet<Hash>), ExportError>;

/// What came of a version's making.
pub(super) enum Made {
    /// Its packs.
    Packs(Position, Folded),
    /// Its indexes.
    Indexes(Position, ShelfPlan, Result<Vec<IndexRef>, ExportError>),
    /// Its root.
    Root(Root, Result<VersionRef, ExportError>),
    /// The entry of the namespace: the number of the version, and of the entry that stands there.
    Entry(u64, Result<u64, ExportError>),
    /// Nothing: the task ended badly. These zones are to be built again.
    Nothing(Vec<Name>, String),
}

impl ExportTask {
    /// Starts to make a version if one is due.
    pub(super) fn start_due(&self, round: &mut Round) {
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
        let is_wanted = round.retry.is_some() || round.is_remake_due;
        if is_urgent || is_wanted || (is_old && (is_behind || self.is_version_far(round))) {
            self.start_making(round);
        }
    }

    /// Whether the log has gone on so far behind the newest version that nobody finds from there into it, or
    /// that edges keep too much of it. Commits to zones of which the feed carries none do so.
    fn is_version_far(&self, round: &Round) -> bool {
        let log = &self.parts.log;
        let is_apart = log.base().revision > round.doc_at.revision;
        is_apart || log.pushed().saturating_sub(round.made_behind) >= VERSION_LOG_OCTETS_MAX
    }

    /// Begins to look for what the depot has lost, if it may have lost anything, and from time to time.
    pub(super) fn start_looking(&self, round: &mut Round) {
        let generation = self.parts.depot.generation();
        let is_due = generation != round.generation
            || round.looked_at.elapsed() >= Duration::from_millis(CONTENTS_LOOK_MS);
        if !is_due || round.looking.is_some() {
            return;
        }
        round.looked_at = Instant::now();
        // What the newest version has, its root among it, and what the next one will have.
        let mut hashes = round.kept.clone();
        hashes.extend(round.book.bundles().copied());
        hashes.extend(round.shelf.indexes().iter().map(|index| index.hash));
        let hashes = hashes.into_iter().collect();
        let depot = Arc::clone(&self.parts.depot);
        round.looking =
            Some(tokio::spawn(async move { Ok((generation, depot.look_at(hashes).await?)) }));
    }

    /// Asks for all anew that the depot has lost. One that did not answer is asked again.
    pub(super) fn take_lost(&self, round: &mut Round, looked: Looked) {
        let Ok((generation, lost)) = looked else { return };
        let before = std::mem::replace(&mut round.generation, generation);
        let is_renewed = before != generation && before != NEVER_LOOKED;
        if lost.is_empty() && !is_renewed {
            return;
        }
        // What was collected meanwhile is of no use any more.
        let used: HashSet<Hash> = round.book.bundles().copied().collect();
        let lost: HashSet<Hash> = lost
            .into_iter()
            .filter(|hash| {
                used.contains(hash) || round.shelf.indexes().iter().any(|index| index.hash == *hash)
            })
            .collect();
        let zones = round.book.zones_in(&lost);
        zones.iter().for_each(|apex| round.book.want(apex));
        // Not here: a version that is being made goes on with the shelf that it was planned for.
        round.is_shelf_lost |= round.shelf.indexes().iter().any(|index| lost.contains(&index.hash));
        // Even where nothing is lost, the root may be.
        round.is_remake_due = true;
    }

    /// Notes that a version came to nothing: it is made again, a little later each time.
    pub(super) fn fail_version(&mut self, round: &mut Round, error: &ExportError) {
        if round.retry.is_none() {
            tracing::warn!(%error, feed = %self.parts.config.name,
                "the document cannot be written: the log goes on, and it is tried again");
        }
        self.status.document_faults += 1;
        self.failing_since.get_or_insert_with(Instant::now);
        round.making = None;
        round.wait_longer();
    }

    /// Starts to make a version of all that the log has.
    pub(super) fn start_making(&self, round: &mut Round) {
        if std::mem::take(&mut round.is_shelf_lost) {
            round.shelf = Shelf::default();
        }
        round.is_remake_due = false;
        round.made_in = self.parts.depot.generation();
        round.book.compact();
        let works: Vec<Work> = round.book.plan();
        let apexes = works.iter().map(|work| work.apex.clone()).collect();
        let (source, depot) = (Arc::clone(&self.parts.source), Arc::clone(&self.parts.depot));
        let folder = Folder::new(source, depot, round.book.key());
        let at = round.chronicle.at();
        round.made_at = Instant::now();
        round.made_behind = self.parts.log.pushed();
        round.urgent_since = None;
        round.making = Some(Making::Packs { at, apexes, task: tokio::spawn(folder.fold(works)) });
    }

    /// Goes on with a version of which one step is done.
    pub(super) fn take_made(&mut self, round: &mut Round, made: Made) -> Result<(), ExportError> {
        match made {
            Made::Packs(at, folded) => self.take_packs(round, at, folded)?,
            Made::Indexes(at, plan, put) => {
                let indexes = put?;
                for apex in &plan.gone {
                    round.book.forget(apex);
                }
                round.shelf.take(plan, indexes);
                round.changed.clear();
                self.start_new_root(round, at)?;
            }
            Made::Root(root, put) => self.take_root(round, &root, put)?,
            Made::Entry(number, put) => {
                // Peers have shown a later one meanwhile, or the namespace has one.
                let newest = put?.max(round.number);
                if newest > number {
                    self.pass_version(round, newest);
                } else {
                    self.end_version(round);
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
    fn take_packs(
        &mut self,
        round: &mut Round,
        at: Position,
        folded: Folded,
    ) -> Result<(), ExportError> {
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
        let failed: Vec<Name> = failed.into_iter().map(|(apex, _)| apex).collect();
        round.has_failed = !failed.is_empty();
        let mut at = at;
        if round.has_failed {
            round.wait_longer();
            let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
            // Without an earlier version of this history rows of another would be in it; a zone of which the
            // document has nothing, though the feed has it, would be taken for gone.
            let is_absent = |apex| round.book.head(apex).is_there && !round.book.is_in_doc(apex);
            let is_first = round.doc_at == Position::default() || failed.iter().any(is_absent);
            let patience_ms = if is_first { UNBUILT_MS_FIRST } else { UNBUILT_MS };
            if failing_since.elapsed() >= Duration::from_millis(patience_ms) {
                // One zone keeps the others no longer. Its row says what it is, though nobody can build
                // that from what the document has: who has it goes on, and who has not knows.
                round.changed.extend(round.book.put_unbuilt(&failed));
            } else if is_first {
                round.book.fail(failed);
                return Ok(());
            } else if failed.iter().any(|apex| round.book.is_lacking(apex)) {
                // It holds no further than the one before.
                at = round.doc_at;
            }
            round.book.fail(failed);
        }
        let plan = round.shelf.plan(&round.book, round.changed.clone())?;
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
            Ok(put)
        });
        round.making = Some(Making::Indexes { at, plan, task });
        Ok(())
    }
}

impl Round {
    /// Ends what is being done beside the loop, so that nothing of this round is written in the next.
    pub(super) async fn end(mut self) {
        if let Some(looking) = self.looking.take() {
            looking.abort();
        }
        self.audit.stop();
        match &self.making {
            Some(Making::Packs { task, .. }) => task.abort(),
            Some(Making::Indexes { task, .. }) => task.abort(),
            Some(Making::Entry { task, .. }) => task.abort(),
            // It may be writing the file; that ends as it may.
            Some(Making::Root { .. }) | None => {}
        }
        if self.making.is_some() {
            made(&mut self.making).await;
        }
    }

    /// Has the next version wait, each time twice as long.
    fn wait_longer(&mut self) {
        let wait_ms = match self.retry {
            Some((_, wait_ms)) => (wait_ms * 2).min(EXPORT_RETRY_MS_MAX),
            None => EXPORT_RETRY_MS_MIN,
        };
        self.retry = Some((Instant::now() + Duration::from_millis(wait_ms), wait_ms));
    }
}

/// Waits for the task that looks what was lost.
pub(super) async fn looked(looking: &mut Option<JoinHandle<Looked>>) -> Looked {
    let Some(task) = looking else { return std::future::pending().await };
    let looked = task.await;
    *looking = None;
    looked.unwrap_or_else(|error| Err(ExportError::Blobs { reason: error.to_string() }))
}

/// Waits for the version that is being made.
pub(super) async fn made(making: &mut Option<Making>) -> Made {
    let Some(now) = making else { return std::future::pending().await };
    let nothing = |error: JoinError| Made::Nothing(Vec::new(), error.to_string());
    let made = match now {
        Making::Packs { at, apexes, task } => match task.await {
            Ok(folded) => Made::Packs(*at, folded),
            Err(error) => Made::Nothing(std::mem::take(apexes), error.to_string()),
        },
        Making::Indexes { at, plan, task } => match task.await {
            Ok(put) => Made::Indexes(*at, std::mem::take(plan), put),
            Err(error) => nothing(error),
        },
        Making::Root { root, task } => match task.await {
            Ok(put) => Made::Root(std::mem::take(root), put),
            Err(error) => nothing(error),
        },
        Making::Entry { number, task } => {
            let number = *number;
            task.await.map_or_else(nothing, |put| Made::Entry(number, put))
        }
    };
    *making = None;
    made
}

/// The generation of a depot that was not looked at yet.
pub(super) const NEVER_LOOKED: u64 = u64::MAX;
