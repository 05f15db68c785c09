//! The feeds of an authority: one with all zones, and others, each with its zones, its list of endpoints and its time.
//!
//! Whoever holds a ticket can read all of its namespace, so a partner who may see two zones gets
//! a feed that holds these two. Which feeds there are stands in a book (`feed_book`), in `DATA_DIR/feeds.json`, or in
//! the store where several authorities write them in turn (`sharing`). The book is changed first; then what runs
//! is made what the book says.
//!
//! **Invariant:** a feed for which a ticket was given out is written again after a restart; one that is
//! shared is written in our turn only; of one that has ended nothing is served.
//! **Not here:** how a feed is written (`export`), one feed (`feed`), whose turn it is (`store::lease`), the verbs on
//! feeds (`feed_verbs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::feed::{ExporterAnswer, Feed};
use super::feed_book::{EndedReason, FeedBook, FeedBookError, FeedRecord, MAIN};
use super::feed_error::FeedsError;
use super::feed_list::{BOOK_FILE, read_book, write_book};
use super::sharing::Sharing;
use crate::clock::now_ms;
use crate::export::shared::{ShareError, forget};
use crate::export::{DocsExporter, FeedConfig};
use crate::limits::WRITER_FAILING_MS_MAX;
use crate::mesh::access::Audience;
use crate::mesh::{Ended, Mesh};
use crate::store::DnsStore;
use crate::store::history::ZoneSource;
use crate::store::lease::{LeaseHeld, LeaseState};
use crate::ticket::TicketPeer;

/// The feeds of one authority.
#[derive(Debug)]
pub struct Feeds {
    /// The peer that serves them.
    pub(super) mesh: Arc<Mesh>,
    /// What they are made from.
    store: Arc<DnsStore>,
    /// The directory of the node.
    dir: PathBuf,
    /// What other authorities on the store are told, if they are.
    pub(super) sharing: Option<Sharing>,
    /// The feed with all zones.
    main: std::sync::Mutex<Arc<Feed>>,
    /// All feeds.
    pub(super) kept: Mutex<KeptFeeds>,
    /// Our turn to write them.
    turn: std::sync::Mutex<Turn>,
    /// When an exporter began last.
    began: std::sync::Mutex<Option<Instant>>,
    /// Ends all exporters.
    stop: CancellationToken,
}

/// All feeds, and the book that says so.
#[derive(Debug)]
pub(super) struct KeptFeeds {
    /// The book.
    pub(super) book: FeedBook,
    /// The feeds, by what their keys are called.
    pub(super) feeds: BTreeMap<String, Arc<Feed>>,
}

/// A turn to write feeds that are shared; one that never ends, where they are not.
#[derive(Clone, Debug)]
struct Turn {
    /// The holding of the lease; none if it is not ours, or there is none.
    held: Option<LeaseHeld>,
    /// When it began, in milliseconds since 1970.
    began_ms: u64,
    /// Ends what is written in it.
    stop: CancellationToken,
}

impl Feeds {
    /// Prepares the feed with all zones and those that tickets were made for; starts them, unless they are
    /// shared.
    ///
    /// # Errors
    /// Every [`FeedsError`] but [`FeedsError::Book`] and [`FeedsError::Stopped`].
    pub(super) async fn start(
        mesh: Arc<Mesh>,
        store: Arc<DnsStore>,
        data_dir: &Path,
        sharing: Option<Sharing>,
    ) -> Result<Self, FeedsError> {
        let (dir, feeds_dir) = (data_dir.to_owned(), data_dir.join("mesh"));
        let mut own = read_book(&dir.join(BOOK_FILE))?.with_main();
        let book = match &sharing {
            Some(sharing) => {
                sharing.drop_forgotten(&mut own).await?;
                let merged = |book: &mut FeedBook| {
                    merge(book, &own);
                    Ok(())
                };
                sharing.change_book(merged).await?.0
            }
            None => own,
        };
        let place = (&mesh, &*store, feeds_dir.as_path());
        let mut feeds = BTreeMap::new();
        for record in &book.feeds {
            match Feed::prepare(place, sharing.as_ref(), record.clone()).await {
                Ok(feed) => drop(feeds.insert(record.key.clone(), Arc::new(feed))),
                // A book of an authority that was away for long has brought it back.
                Err(FeedsError::Share(ShareError::Forgotten { .. })) if !record.is_main() => {
                    tracing::warn!(feed = %record.name, "a feed that has ended is in the list: it is not written");
                }
                Err(error) => return Err(error),
            }
        }
        for ended in &book.ended {
            let why = Audience::Nobody(ended.reason.into());
            mesh.access().set(ended.namespace.0, why);
            // A node that was killed while it ended the feed has left them.
            forget(&feeds_dir, &ended.key);
        }
        let kept = KeptFeeds { book, feeds };
        let main = kept.named(MAIN)?;
        let (main, kept, stop) =
            (std::sync::Mutex::new(main), Mutex::new(kept), CancellationToken::new());
        let turn = Turn { held: None, began_ms: now_ms(), stop: stop.child_token() };
        let turn = std::sync::Mutex::new(turn);
        let began = std::sync::Mutex::default();
        let feeds = Self { mesh, store, dir, sharing, main, kept, turn, began, stop };
        if feeds.sharing.is_none() {
            feeds.end_expired().await?;
            feeds.begin_all().await?;
        }
        Ok(feeds)
    }

    /// Returns the feed with all zones.
    pub fn main(&self) -> Arc<Feed> {
        self.main.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whose turn it is, if the feeds are shared.
    pub(super) fn turn_state(&self) -> Option<LeaseState> {
        self.sharing.as_ref().map(|sharing| sharing.turn().borrow().clone())
    }

    /// Hears of every change of whose turn it is, if the feeds are shared.
    pub(super) fn watch_turn(&self) -> Option<watch::Receiver<LeaseState>> {
        self.sharing.as_ref().map(Sharing::turn)
    }

    /// When an exporter began last; none while nobody writes the feed with all zones here.
    pub(super) fn began_at(&self) -> Option<Instant> {
        self.main().exporter()?;
        *self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all feeds, with their namespaces.
    pub async fn namespaces(&self) -> Vec<(String, [u8; 32])> {
        let kept = self.kept.lock().await;
        kept.book
            .feeds
            .iter()
            .filter_map(|record| {
                let feed = kept.feeds.get(&record.key)?;
                Some((record.name.clone(), feed.namespace()))
            })
            .collect()
    }

    /// What the exporters show, for the watchdog; those of partial feeds not while one is being made.
    pub fn answers(&self) -> Vec<ExporterAnswer> {
        let main = self.main();
        let mut answers: Vec<ExporterAnswer> = main.answer().into_iter().collect();
        let turn = self.turn().clone();
        if answers.is_empty() && turn.held.is_some() {
            answers.push(main.awaited(turn.began_ms));
        }
        if let Ok(kept) = self.kept.try_lock() {
            let others = kept.feeds.values().filter(|feed| !Arc::ptr_eq(feed, &main));
            answers.extend(others.filter_map(|feed| feed.answer()));
        }
        answers
    }

    /// Whether it is our turn to write feeds that are shared.
    pub(super) fn has_turn(&self) -> bool {
        self.turn().held.is_some()
    }

    /// Whether it is our turn, and the feed with all zones is not written here yet.
    pub(super) fn awaits_writer(&self) -> bool {
        self.has_turn() && self.main().exporter().is_none()
    }

    /// Lets another authority write the feeds where this one has failed to for some time, as with a disk that is
    /// full: what is imported reaches no edge meanwhile.
    pub(super) async fn give_way_if_failing(&self) {
        let failing_ms = self.main().answer().map_or(0, |answer| answer.document_failing_ms);
        if let Some(sharing) = self.sharing.as_ref().filter(|_| failing_ms > WRITER_FAILING_MS_MAX)
        {
            sharing.give_way(failing_ms).await;
        }
    }

    /// Ends the exporters of a turn that is over, or not ours.
    pub(super) async fn keep_turn(&self, held: Option<LeaseHeld>) {
        {
            let mut turn = self.turn();
            if turn.held == held {
                return;
            }
            // First of all, and without waiting for anybody: all that is written in it ends.
            turn.stop.cancel();
            *turn = Turn { held, began_ms: now_ms(), stop: self.stop.child_token() };
        }
        self.end_all().await;
    }

    /// Starts what is to be written in our turn and is not yet, feeds that others have made among it, and tells
    /// those others who follows.
    ///
    /// # Errors
    /// Every [`FeedsError`]; what has begun goes on.
    pub(super) async fn refresh(&self) -> Result<(), FeedsError> {
        let Some(sharing) = &self.sharing else { return Ok(()) };
        // One thing that fails keeps no other from being done, the feed with all zones least of all.
        let mut results = vec![self.begin(&self.main()).await];
        results.push(sharing.announce().await.map_err(FeedsError::from));
        results.push(self.end_expired().await);
        // What others have changed.
        results.push(self.change(|_| Ok(())).await);
        results.push(self.begin_all().await);
        let authorities = match sharing.authorities().await {
            Ok(authorities) => authorities,
            Err(error) => {
                results.push(Err(error.into()));
                return results.into_iter().collect();
            }
        };
        for feed in self.feeds().await {
            self.mesh.hub().stand_by(feed.namespace(), authorities.clone());
            feed.take_record(&feed.record(), &authorities);
            let Some(exporter) = feed.exporter() else { continue };
            exporter.know_authorities(&authorities);
            let followers = exporter.followers_known();
            let told = sharing.tell_followers(feed.namespace(), &followers).await;
            results.push(told.map_err(FeedsError::from));
        }
        results.push(self.tell().await);
        results.into_iter().collect()
    }

    /// Changes the book, and makes what runs what it says then.
    ///
    /// # Errors
    /// Every [`FeedsError`]; where it is not a rule of the book, the book may be changed all the same, and what runs
    /// follows it with the next change or the next start.
    pub(super) async fn change<T>(
        &self,
        change: impl Fn(&mut FeedBook) -> Result<T, FeedBookError> + Send + Sync,
    ) -> Result<T, FeedsError> {
        let mut kept = self.kept.lock().await;
        self.change_kept(&mut kept, change).await
    }

    /// As [`Feeds::change`], of feeds that nobody else changes meanwhile.
    pub(super) async fn change_kept<T>(
        &self,
        kept: &mut KeptFeeds,
        change: impl Fn(&mut FeedBook) -> Result<T, FeedBookError> + Send + Sync,
    ) -> Result<T, FeedsError> {
        if self.stop.is_cancelled() {
            return Err(FeedsError::Stopped);
        }
        let (book, changed) = match &self.sharing {
            Some(sharing) => {
                let own = kept.book.clone();
                let merged = |book: &mut FeedBook| {
                    merge(book, &own);
                    change(book)
                };
                sharing.change_book(merged).await?
            }
            None => {
                let mut book = kept.book.clone();
                let changed = change(&mut book)?;
                (book, changed)
            }
        };
        if book != kept.book {
            // The store may be put back to where it knows nothing of it.
            write_book(&self.dir.join(BOOK_FILE), &book)?;
            kept.book = book;
            self.follow_book(kept).await?;
        } else if kept.book.feeds.len() != kept.feeds.len() {
            // What could not be done the last time.
            self.follow_book(kept).await?;
        }
        Ok(changed)
    }

    /// Makes what runs what the book says; one feed that fails keeps no other from it.
    async fn follow_book(&self, kept: &mut KeptFeeds) -> Result<(), FeedsError> {
        let mut results = Vec::new();
        let gone: Vec<String> =
            kept.feeds.keys().filter(|key| kept.book.by_key(key).is_none()).cloned().collect();
        for key in gone {
            let Some(feed) = kept.feeds.remove(&key) else { continue };
            let ended = kept.book.ended.iter().find(|ended| ended.key == key);
            let why = ended.map_or(EndedReason::Revoked, |ended| ended.reason);
            tracing::info!(feed = %feed.record().name, ?why, "a feed has ended");
            feed.close(Ended::from(why)).await;
            forget(&self.dir.join("mesh"), &key);
            if let Some(sharing) = &self.sharing {
                results.push(sharing.forget(&key).await.map_err(FeedsError::from));
            }
        }
        let authorities = self.authorities().await?;
        for record in &kept.book.feeds {
            if let Some(feed) = kept.feeds.get(&record.key) {
                feed.take_record(record, &authorities);
                continue;
            }
            match self.prepare(record.clone()).await {
                Ok(feed) => {
                    let feed = Arc::new(feed);
                    feed.take_record(record, &authorities);
                    kept.feeds.insert(record.key.clone(), Arc::clone(&feed));
                    results.push(self.begin(&feed).await);
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let main = kept.named(MAIN)?;
        *self.main.lock().unwrap_or_else(PoisonError::into_inner) = main;
        results.into_iter().collect()
    }

    /// Ends all exporters, and waits until they have ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.end_all().await;
    }

    /// Prepares a feed.
    pub(super) async fn prepare(&self, record: FeedRecord) -> Result<Feed, FeedsError> {
        let dir = self.dir.join("mesh");
        let place = (&self.mesh, &*self.store, dir.as_path());
        Feed::prepare(place, self.sharing.as_ref(), record).await
    }

    /// Starts the exporters of all feeds that have none.
    async fn begin_all(&self) -> Result<(), FeedsError> {
        let mut first = self.begin(&self.main()).await;
        for feed in self.feeds().await {
            let begun = self.begin(&feed).await;
            first = first.and(begun);
        }
        first
    }

    /// Starts the exporter of a feed that has none, if it is to be written here.
    async fn begin(&self, feed: &Feed) -> Result<(), FeedsError> {
        let turn = self.turn().clone();
        let tenure = match (&self.sharing, turn.held) {
            (Some(_), None) => return Ok(()),
            (Some(sharing), Some(held)) => Some((sharing, held)),
            (None, _) => None,
        };
        if feed.exporter().is_some() {
            return Ok(());
        }
        let key = feed.record().key;
        let tenure = async {
            match tenure {
                Some((sharing, held)) => sharing.tenure(&key, feed.keys(), held).await.map(Some),
                None => Ok(None),
            }
        };
        // As it is now, not as it was when somebody else wrote them.
        let freeze = async { self.store.look_at_freeze().await.map_err(ShareError::from) };
        let (tenure, _) = tokio::try_join!(tenure, freeze)?;
        let config = FeedConfig { tenure, ..feed.config() };
        let source: Arc<dyn ZoneSource> = self.store.clone();
        let (mesh, stop) = (Arc::clone(&self.mesh), turn.stop.child_token());
        let exporter = Arc::new(DocsExporter::spawn(mesh, source, config, stop).await?);
        if turn.stop.is_cancelled() {
            exporter.end().await;
            return Ok(());
        }
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        feed.set_exporter(exporter);
        Ok(())
    }

    /// Ends all exporters.
    async fn end_all(&self) {
        self.main().end().await;
        for feed in self.feeds().await {
            feed.end().await;
        }
    }

    /// All feeds.
    pub(super) async fn feeds(&self) -> Vec<Arc<Feed>> {
        self.kept.lock().await.feeds.values().cloned().collect()
    }

    /// Where the other authorities on the store are.
    pub(super) async fn authorities(&self) -> Result<Vec<TicketPeer>, FeedsError> {
        match &self.sharing {
            Some(sharing) => Ok(sharing.authorities().await?),
            None => Ok(Vec::new()),
        }
    }

    /// Our turn.
    fn turn(&self) -> std::sync::MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptFeeds {
    /// The feed of a name.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`].
    pub(super) fn named(&self, name: &str) -> Result<Arc<Feed>, FeedBookError> {
        let found = self.book.find(name).and_then(|record| self.feeds.get(&record.key));
        let none = || FeedBookError::NoSuchFeed { name: name.chars().take(80).collect() };
        found.cloned().ok_or_else(none)
    }
}

/// Adds to the book of the store what this node alone knows of.
fn merge(book: &mut FeedBook, own: &FeedBook) {
    book.take(own);
    *book = std::mem::take(book).with_main();
}
