//! What several authorities on one store tell each other of the feeds that they write in turn.
//!
//! | note | what stands there |
//! |---|---|
//! | `feed/NAME` | the keys of a feed, sealed (`export::shared`) |
//! | `feeds` | which feeds there are, and which have ended (`feed_book`), JSON |
//! | `authority/ID` | where an authority is, by the key of its endpoint |
//! | `followers/ID` | where those are who follow a feed, by its namespace |
//! | `turn/NAME` | the terms and numbers of versions that turns at a feed have taken, JSON |
//!
//! **Invariant:** what stands in the store decides; what this node knows is added to it.
//! **Not here:** whose turn it is (`store::lease`), the exporters (`feeds`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::feed_book::{FeedBook, FeedBookError};
use super::feed_error::FeedsError;
use super::feed_list::{book_of, book_text};
use crate::export::Tenure;
use crate::export::seal::SealKey;
use crate::export::shared::{self, FeedKeys, ShareError};
use crate::limits::{ANNOUNCE_MS, BATCH_ATTEMPTS_MAX, TICKET_PEERS_MAX, WRITER_REST_MS};
use crate::mesh::{Mesh, peers};
use crate::store::kv::KvError;
use crate::store::lease::{LeaseHeld, LeaseState, LeaseTask, LeaseTimes};
use crate::store::{DnsStore, StoreError};
use crate::ticket::TicketPeer;

/// This node as one of several authorities.
#[derive(Debug)]
pub(crate) struct Sharing {
    /// The store.
    store: Arc<DnsStore>,
    /// The peer.
    mesh: Arc<Mesh>,
    /// Opens the keys of feeds.
    key: SealKey,
    /// The directory of this node's own copies.
    dir: PathBuf,
    /// Tries for the turn; taken by who waits for it.
    lease: std::sync::Mutex<Option<LeaseTask>>,
    /// Whose turn it is.
    turn: watch::Receiver<LeaseState>,
    /// Has others take their turn.
    yields: Arc<Notify>,
    /// When that was asked for last.
    yielded_at: std::sync::Mutex<Option<Instant>>,
    /// Where this node has said that it is, and when.
    told: std::sync::Mutex<Option<(Instant, TicketPeer)>>,
}

impl Sharing {
    /// One of the authorities on a store.
    pub(super) fn new(
        store: Arc<DnsStore>,
        mesh: Arc<Mesh>,
        key: SealKey,
        times: LeaseTimes,
        dir: PathBuf,
    ) -> Self {
        let (lease, turn) = store.lease("feeds", &own_id(&mesh), times);
        let yields = lease.yields();
        Self {
            store,
            mesh,
            key,
            dir,
            lease: std::sync::Mutex::new(Some(lease)),
            turn,
            yields,
            yielded_at: std::sync::Mutex::default(),
            told: std::sync::Mutex::default(),
        }
    }

    /// Lets another authority take its turn, if there is one, and not again soon.
    pub(super) async fn give_way(&self, failing_ms: u64) {
        let others = self.authorities().await.unwrap_or_default();
        let rest = Duration::from_millis(WRITER_REST_MS);
        let mut at = self.yielded_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if others.is_empty() || at.is_some_and(|at| at.elapsed() < rest) {
            return;
        }
        *at = Some(Instant::now());
        tracing::error!(
            failing_ms,
            "the document of the feed cannot be written here: another authority is let to write it"
        );
        self.yields.notify_one();
    }

    /// Takes what tries for the turn; none if it was taken before.
    pub(super) fn take_lease(&self) -> Option<LeaseTask> {
        self.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Whose turn it is, now and in future.
    pub(super) fn turn(&self) -> watch::Receiver<LeaseState> {
        self.turn.clone()
    }

    /// Sees to it that this node has the keys of a feed.
    pub(super) async fn settle(&self, feed: &str) -> Result<FeedKeys, ShareError> {
        shared::settle(&self.store, &self.key, &self.dir, feed).await
    }

    /// Changes the book of feeds that all authorities have; `change` is given the book as it is, and may be asked
    /// again if that was not it any more. A book that stays as it is is not written.
    pub(super) async fn change_book<T>(
        &self,
        change: impl Fn(&mut FeedBook) -> Result<T, FeedBookError> + Send + Sync,
    ) -> Result<(FeedBook, T), FeedsError> {
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let was = self.store.note(BOOK_NOTE).await.map_err(ShareError::from)?;
            let read = was.as_deref().map(book_of).transpose();
            let book = read
                .map_err(|_| ShareError::from(KvError::Unreadable { what: "the list of feeds" }))?;
            let mut book = book.unwrap_or_default();
            let before = book.clone();
            let changed = change(&mut book)?;
            if book == before {
                return Ok((book, changed));
            }
            let written = self.store.put_note(BOOK_NOTE, was, book_text(&book)).await;
            if written.map_err(ShareError::from)? {
                return Ok((book, changed));
            }
        }
        let reason = "the list of feeds is changed all the time".into();
        Err(ShareError::from(KvError::Unavailable { reason }).into())
    }

    /// Takes feeds out of a book that have ended so long ago that the shared book does not say so any more.
    pub(super) async fn drop_forgotten(&self, book: &mut FeedBook) -> Result<(), FeedsError> {
        let mut ended = BTreeSet::new();
        for feed in book.feeds.iter().filter(|feed| !feed.is_main()) {
            if shared::is_forgotten(&self.store, &feed.key).await? {
                ended.insert(feed.key.clone());
            }
        }
        book.feeds.retain(|feed| !ended.contains(&feed.key));
        Ok(())
    }

    /// Has the keys of a feed that has ended stand in the store no more.
    pub(super) async fn forget(&self, feed: &str) -> Result<(), ShareError> {
        shared::forget_shared(&self.store, feed).await
    }

    /// Tells others where this node is: when it has started, when it has moved, and now and then.
    pub(super) async fn announce(&self) -> Result<(), ShareError> {
        let here = self.mesh.own_peer();
        let is_told = self.told().as_ref().is_some_and(|(at, told)| {
            *told == here && at.elapsed() < Duration::from_millis(ANNOUNCE_MS)
        });
        if is_told {
            return Ok(());
        }
        let name = format!("{AUTHORITY}{}", own_id(&self.mesh));
        let was = self.store.note(&name).await?;
        // Never the same octets twice: it is when it was written that tells it from one that is gone.
        let mark: [u8; MARK_LEN] = rand::random();
        let octets = [&mark[..], &peers::write(std::slice::from_ref(&here))].concat();
        if self.store.put_note(&name, was, octets).await? {
            *self.told() = Some((Instant::now(), here));
        }
        Ok(())
    }

    /// What was told, and when.
    fn told(&self) -> std::sync::MutexGuard<'_, Option<(Instant, TicketPeer)>> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where the other authorities are, those first that have said so last.
    pub(super) async fn authorities(&self) -> Result<Vec<TicketPeer>, ShareError> {
        let own = own_id(&self.mesh);
        let notes = self.store.notes(AUTHORITY).await?;
        let others = notes.into_iter().filter(|(id, _)| *id != own);
        let read = |(_, octets): (String, Vec<u8>)| peers::read(octets.get(MARK_LEN..)?);
        let mut found: Vec<TicketPeer> = others.filter_map(read).flatten().collect();
        found.truncate(AUTHORITIES_MAX);
        Ok(found)
    }

    /// Tells others who follows a feed.
    pub(super) async fn tell_followers(
        &self,
        namespace: [u8; 32],
        followers: &[TicketPeer],
    ) -> Result<(), ShareError> {
        if followers.is_empty() {
            return Ok(());
        }
        self.put(&followers_note(namespace), peers::write(followers)).await
    }

    /// Begins a turn at a feed: it takes terms and numbers above those of all turns before, also of those that
    /// only this node knows of, as where the store was put back.
    pub(super) async fn tenure(
        &self,
        name: &str,
        feed: FeedKeys,
        held: LeaseHeld,
    ) -> Result<Tenure, ShareError> {
        let note = format!("turn/{name}");
        let local = shared::terms_below(&self.dir, name);
        let by_lease = feed.term_base.saturating_add(held.term.saturating_mul(TURN_TERMS));
        let newest = async {
            self.store.revision().await.map_err(|error| match error {
                StoreError::Kv(error) => ShareError::from(error),
                error => KvError::engine(error).into(),
            })
        };
        let taken = async { self.store.note(&note).await.map_err(ShareError::from) };
        // At once: nobody writes the feed meanwhile, and a store may be far away.
        let read =
            tokio::try_join!(newest, taken, self.authorities(), self.followers(feed.namespace));
        let (newest, mut was, authorities, followers) = read?;
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let taken: Taken = match &was {
                Some(octets) => serde_json::from_slice(octets)
                    .map_err(|_| KvError::Unreadable { what: "the turns at a feed" })?,
                None => Taken::default(),
            };
            let term_above = taken.terms.max(local).max(by_lease);
            let number_above = taken.versions.max(newest);
            let is = Taken {
                terms: term_above.saturating_add(TURN_TERMS),
                versions: number_above.saturating_add(TURN_VERSIONS),
            };
            let octets = serde_json::to_vec(&is).map_err(KvError::engine)?;
            if self.store.put_note(&note, was, octets).await? {
                return Ok(Tenure { term_above, number_above, authorities, followers });
            }
            was = self.store.note(&note).await?;
        }
        Err(KvError::Unavailable { reason: "turns at a feed begin all the time".into() }.into())
    }

    /// Who followed a feed, as its last writer has told.
    async fn followers(&self, namespace: [u8; 32]) -> Result<Vec<TicketPeer>, ShareError> {
        let note = self.store.note(&followers_note(namespace)).await?;
        Ok(note.map_or_else(Vec::new, |octets| {
            peers::read(&octets).unwrap_or_else(|| {
                tracing::warn!(
                    "the note of those who follow a feed does not read: they look for the writer"
                );
                Vec::new()
            })
        }))
    }

    /// Writes a note, if something else stands there.
    async fn put(&self, name: &str, octets: Vec<u8>) -> Result<(), ShareError> {
        let was = self.store.note(name).await?;
        if was.as_ref() != Some(&octets) {
            // Who was faster knows as much; what it lacks is told with the next look.
            self.store.put_note(name, was, octets).await?;
        }
        Ok(())
    }
}

/// What turns at a feed have taken.
#[derive(Default, Serialize, Deserialize)]
struct Taken {
    /// No term is above it.
    terms: u64,
    /// No number of a version is, unless a turn has made more without a commit than are left for it.
    versions: u64,
}

/// The key of this node's endpoint, as text.
fn own_id(mesh: &Mesh) -> String {
    HEXLOWER.encode(&mesh.own_peer().id)
}

/// The name of the note of those who follow a feed.
fn followers_note(namespace: [u8; 32]) -> String {
    format!("followers/{}", HEXLOWER.encode(&namespace))
}

/// Octets in front of where an authority is.
const MARK_LEN: usize = 8;
/// Other authorities that tickets and welcomes name, those that have been heard of last.
const AUTHORITIES_MAX: usize = TICKET_PEERS_MAX / 2;
/// The note of the book of feeds.
const BOOK_NOTE: &str = "feeds";
/// What the notes of authorities begin with.
const AUTHORITY: &str = "authority/";
/// Numbers of versions that a turn may take beyond those that commits bring.
const TURN_VERSIONS: u64 = 1 << 10;
/// Terms of one turn: an exporter that begins anew takes the next of them.
const TURN_TERMS: u64 = 1 << 24;
