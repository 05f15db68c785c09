//! The feeds of an authority: one with all zones, and one for each set of zones that a ticket was made for.
//!
//! Whoever holds a ticket can read all of its namespace, so a partner who may see two zones gets
//! a feed that holds these two. Which feeds there are is kept in `DATA_DIR/feeds.json`, or in the store
//! where several authorities write them in turn (`sharing`).
//!
//! **Invariant:** a feed for which a ticket was given out is written again after a restart; one that is
//! shared is written in our turn only.
//! **Not here:** how a feed is written (`export`), whose turn it is (`store::lease`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use sha1::Digest as _;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::feed_list::{FeedListError, LIST, read_list, write_list};
use super::sharing::Sharing;
use crate::clock::now_ms;
use crate::export::shared::{FeedKeys, ShareError, settle_alone};
use crate::export::{DocsExporter, ExportError, ExportStatus, FeedConfig};
use crate::limits::FEEDS_MAX;
use crate::mesh::{FollowerInfo, Mesh};
use crate::name::Name;
use crate::store::DnsStore;
use crate::store::history::ZoneSource;
use crate::store::lease::{LeaseHeld, LeaseState};
use crate::ticket::{DnsClientTicket, TicketPeer};

/// The feeds of one authority.
#[derive(Debug)]
pub struct Feeds {
    /// The peer that serves them.
    mesh: Arc<Mesh>,
    /// What they are made from.
    store: Arc<DnsStore>,
    /// The directory of the node.
    dir: PathBuf,
    /// What other authorities on the store are told, if they are.
    pub(super) sharing: Option<Sharing>,
    /// The feed with all zones.
    main: Feed,
    /// Feeds with some zones, by their zones.
    partial: Mutex<BTreeMap<Vec<Name>, Feed>>,
    /// Our turn to write them.
    turn: std::sync::Mutex<Turn>,
    /// When an exporter began last.
    began: std::sync::Mutex<Option<Instant>>,
    /// Ends all exporters.
    stop: CancellationToken,
}

/// A feed, written by this node or by another authority on the same store.
#[derive(Debug)]
pub struct Feed {
    /// What it carries.
    config: FeedConfig,
    /// The peer that serves it.
    mesh: Arc<Mesh>,
    /// Its keys.
    keys: FeedKeys,
    /// Who writes it here, while that is so.
    exporter: std::sync::Mutex<Option<Arc<DocsExporter>>>,
    /// What is shown while nobody does.
    idle: watch::Sender<ExportStatus>,
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

/// What an exporter shows.
#[derive(Clone, Debug)]
pub struct ExporterAnswer {
    /// Its feed.
    pub feed: String,
    /// Whether its task has ended.
    pub has_ended: bool,
    /// Whether it works, and does not wait for its next try.
    pub is_working: bool,
    /// Changes whenever it goes around its loop.
    pub alive_ms: u64,
    /// How often it began anew.
    pub restarts: u64,
    /// For how many milliseconds no version of its document could be written.
    pub document_failing_ms: u64,
    /// How often peers have shown lately that the feed is written elsewhere.
    pub partings: u64,
    /// How many zones of its document edges could not build.
    pub wrong_zones: u64,
}

/// Why there is no feed.
#[derive(Debug, thiserror::Error)]
pub enum FeedsError {
    /// An exporter does not start.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The keys of a feed are not shared as they must be.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The list of feeds is of no use.
    #[error(transparent)]
    List(#[from] FeedListError),
    /// So many feeds would keep the node from its work.
    #[error("there are {FEEDS_MAX} feeds with sets of zones of their own already")]
    TooMany,
    /// Nobody would write a feed any more.
    #[error("the node is stopping")]
    Stopped,
}

impl Feeds {
    /// Prepares the feed with all zones and those that tickets were made for; starts them, unless they are
    /// shared.
    ///
    /// # Errors
    /// Every [`FeedsError`] but [`FeedsError::TooMany`] and [`FeedsError::Stopped`].
    pub(super) async fn start(
        mesh: Arc<Mesh>,
        store: Arc<DnsStore>,
        data_dir: &Path,
        sharing: Option<Sharing>,
    ) -> Result<Self, FeedsError> {
        let (dir, feeds_dir) = (data_dir.to_owned(), data_dir.join("mesh"));
        let place = (&mesh, &*store, feeds_dir.as_path());
        let main = Feed::prepare(place, sharing.as_ref(), FeedConfig::default()).await?;
        let mut lists = read_list(&dir.join(LIST))?;
        if let Some(sharing) = &sharing {
            lists = sharing.share_list(&lists).await?;
        }
        let mut partial = BTreeMap::new();
        for zones in lists {
            let feed = Feed::prepare(place, sharing.as_ref(), config_of(&zones)).await?;
            partial.insert(zones, feed);
        }
        let (partial, stop) = (Mutex::new(partial), CancellationToken::new());
        let turn = Turn { held: None, began_ms: now_ms(), stop: stop.child_token() };
        let turn = std::sync::Mutex::new(turn);
        let began = std::sync::Mutex::default();
        let feeds = Self { mesh, store, dir, sharing, main, partial, turn, began, stop };
        if feeds.sharing.is_none() {
            feeds.begin_all().await?;
        }
        Ok(feeds)
    }

    /// Returns a ticket of the feed with exactly `zones` (sorted, each once), or with all zones.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn ticket(&self, zones: Option<Vec<Name>>) -> Result<DnsClientTicket, FeedsError> {
        let others = match &self.sharing {
            Some(sharing) => sharing.authorities().await?,
            None => Vec::new(),
        };
        let Some(zones) = zones else { return Ok(self.main.ticket(others)) };
        debug_assert!(zones.is_sorted());
        let mut partial = self.partial.lock().await;
        if self.stop.is_cancelled() {
            return Err(FeedsError::Stopped);
        }
        if let Some(feed) = partial.get(&zones) {
            return Ok(feed.ticket(others));
        }
        if partial.len() >= FEEDS_MAX as usize {
            return Err(FeedsError::TooMany);
        }
        let feed = self.prepare(&zones).await?;
        // Only a feed that will be there after a restart is worth a ticket.
        if let Some(sharing) = &self.sharing {
            sharing.share_list(std::slice::from_ref(&zones)).await?;
        }
        write_list(&self.dir.join(LIST), partial.keys().chain([&zones]))?;
        self.begin(&feed).await?;
        let ticket = feed.ticket(others);
        partial.insert(zones, feed);
        Ok(ticket)
    }

    /// Returns the feed with all zones.
    pub fn main(&self) -> &Feed {
        &self.main
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
        self.main.exporter()?;
        *self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all feeds, with their namespaces.
    pub async fn namespaces(&self) -> Vec<(String, [u8; 32])> {
        let partial = self.partial.lock().await;
        let feeds = std::iter::once(&self.main).chain(partial.values());
        feeds.map(|feed| (feed.config.name.clone(), feed.namespace())).collect()
    }

    /// What the exporters show, for the watchdog; those of partial feeds not while one is being made.
    pub fn answers(&self) -> Vec<ExporterAnswer> {
        let mut answers: Vec<ExporterAnswer> = self.main.answer().into_iter().collect();
        let turn = self.turn().clone();
        if answers.is_empty() && turn.held.is_some() {
            answers.push(self.main.awaited(turn.began_ms));
        }
        if let Ok(partial) = self.partial.try_lock() {
            answers.extend(partial.values().filter_map(Feed::answer));
        }
        answers
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
        let mut results = vec![self.begin(&self.main).await];
        results.push(sharing.announce().await.map_err(FeedsError::from));
        match sharing.share_list(&[]).await {
            Ok(lists) => {
                for zones in lists {
                    results.push(self.take_partial(zones).await);
                }
            }
            Err(error) => results.push(Err(error.into())),
        }
        results.push(self.begin_all().await);
        let authorities = match sharing.authorities().await {
            Ok(authorities) => authorities,
            Err(error) => {
                results.push(Err(error.into()));
                return results.into_iter().collect();
            }
        };
        for namespace in self.namespaces().await.into_iter().map(|(_, namespace)| namespace) {
            self.mesh.hub().stand_by(namespace, authorities.clone());
        }
        for exporter in self.exporters().await {
            exporter.know_authorities(&authorities);
            let followers = exporter.followers_known();
            let told = sharing.tell_followers(exporter.ticket().namespace, &followers).await;
            results.push(told.map_err(FeedsError::from));
        }
        results.into_iter().collect()
    }

    /// Prepares the feed of a set of zones that another authority has made.
    async fn take_partial(&self, zones: Vec<Name>) -> Result<(), FeedsError> {
        let mut partial = self.partial.lock().await;
        if !partial.contains_key(&zones) && partial.len() < FEEDS_MAX as usize {
            let feed = self.prepare(&zones).await?;
            // The store may be put back to where it knows nothing of it.
            write_list(&self.dir.join(LIST), partial.keys().chain([&zones]))?;
            partial.insert(zones, feed);
        }
        Ok(())
    }

    /// Ends all exporters, and waits until they have ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.end_all().await;
    }

    /// Prepares the feed of a set of zones.
    async fn prepare(&self, zones: &[Name]) -> Result<Feed, FeedsError> {
        let dir = self.dir.join("mesh");
        let place = (&self.mesh, &*self.store, dir.as_path());
        Feed::prepare(place, self.sharing.as_ref(), config_of(zones)).await
    }

    /// Starts the exporters of all feeds that have none.
    async fn begin_all(&self) -> Result<(), FeedsError> {
        let mut first = self.begin(&self.main).await;
        for feed in self.partial.lock().await.values() {
            let begun = self.begin(feed).await;
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
        let tenure = match tenure {
            Some((sharing, held)) => {
                Some(sharing.tenure(&feed.config.name, feed.keys, held).await?)
            }
            None => None,
        };
        let config = FeedConfig { tenure, ..feed.config.clone() };
        // As it is now, not as it was when somebody else wrote them.
        self.store.look_at_freeze().await.map_err(ShareError::from)?;
        let source: Arc<dyn ZoneSource> = self.store.clone();
        let (mesh, stop) = (Arc::clone(&self.mesh), turn.stop.child_token());
        let exporter = Arc::new(DocsExporter::spawn(mesh, source, config, stop).await?);
        if turn.stop.is_cancelled() {
            exporter.end().await;
            return Ok(());
        }
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        *feed.slot() = Some(exporter);
        Ok(())
    }

    /// Ends all exporters.
    async fn end_all(&self) {
        self.main.end().await;
        for feed in self.partial.lock().await.values() {
            feed.end().await;
        }
    }

    /// The exporters that work.
    async fn exporters(&self) -> Vec<Arc<DocsExporter>> {
        let partial = self.partial.lock().await;
        partial.values().chain([&self.main]).filter_map(Feed::exporter).collect()
    }

    /// Our turn.
    fn turn(&self) -> std::sync::MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// A feed that nobody writes yet; its keys are the shared ones, if it is.
    async fn prepare(
        (mesh, store, dir): (&Arc<Mesh>, &DnsStore, &Path),
        sharing: Option<&Sharing>,
        config: FeedConfig,
    ) -> Result<Self, FeedsError> {
        let keys = match sharing {
            Some(sharing) => sharing.settle(&config.name).await?,
            None => settle_alone(store, dir, &config.name).await?,
        };
        let (exporter, idle) =
            (std::sync::Mutex::default(), watch::channel(ExportStatus::default()).0);
        Ok(Self { config, mesh: Arc::clone(mesh), keys, exporter, idle })
    }

    /// How far it is written here.
    pub fn status(&self) -> watch::Receiver<ExportStatus> {
        self.exporter().map_or_else(|| self.idle.subscribe(), |exporter| exporter.status())
    }

    /// The public key of its namespace.
    pub(super) fn namespace(&self) -> [u8; 32] {
        self.keys.namespace
    }

    /// Who follows it at this node.
    pub fn followers(&self) -> Vec<FollowerInfo> {
        self.exporter().map_or_else(Vec::new, |exporter| exporter.followers())
    }

    /// Returns a ticket with this node and others as its peers.
    pub(super) fn ticket(&self, others: Vec<TicketPeer>) -> DnsClientTicket {
        DnsClientTicket {
            cluster_id: self.config.cluster_id.clone(),
            namespace: self.keys.namespace,
            author: self.keys.author,
            peers: std::iter::once(self.mesh.own_peer()).chain(others).collect(),
            zone_filter: None,
        }
    }

    /// Who writes it here.
    fn exporter(&self) -> Option<Arc<DocsExporter>> {
        self.slot().clone()
    }

    /// Ends who writes it here, and waits for that.
    async fn end(&self) {
        let Some(exporter) = self.slot().take() else { return };
        exporter.end().await;
    }

    /// Reads what its exporter shows.
    fn answer(&self) -> Option<ExporterAnswer> {
        let exporter = self.exporter().filter(|exporter| !exporter.is_ending())?;
        let status = *exporter.status().borrow();
        Some(ExporterAnswer {
            feed: exporter.name().to_owned(),
            has_ended: exporter.has_ended(),
            is_working: status.is_working,
            alive_ms: status.alive_ms,
            restarts: status.restarts,
            document_failing_ms: status.document_failing_ms,
            partings: status.partings_lately,
            wrong_zones: status.wrong_zones,
        })
    }

    /// What is shown of a feed that is to be written since `began_ms`, and is not.
    fn awaited(&self, began_ms: u64) -> ExporterAnswer {
        ExporterAnswer {
            feed: self.config.name.clone(),
            has_ended: false,
            is_working: true,
            alive_ms: began_ms,
            restarts: 0,
            document_failing_ms: 0,
            partings: 0,
            wrong_zones: 0,
        }
    }

    /// Where who writes it stands.
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<DocsExporter>>> {
        self.exporter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the feed of a set of zones; its name on this node follows from the set.
fn config_of(zones: &[Name]) -> FeedConfig {
    let mut text = String::new();
    for zone in zones {
        text.push_str(&zone.to_fqdn());
        text.push('\n');
    }
    let digest = sha1::Sha1::digest(text.as_bytes());
    let name = format!("zones-{}", data_encoding::HEXLOWER.encode(&digest));
    FeedConfig { name, zones: Some(zones.to_vec()), ..FeedConfig::default() }
}
