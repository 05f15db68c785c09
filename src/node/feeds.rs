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

use serde_json::json;
use sha1::Digest as _;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::sharing::Sharing;
use crate::durable;
use crate::export::shared::{FeedKeys, ShareError, settle_alone};
use crate::export::{DocsExporter, ExportError, ExportStatus, FeedConfig};
use crate::limits::FEEDS_MAX;
use crate::mesh::{FollowerInfo, Mesh};
use crate::name::{Name, NameError};
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
    /// Our turn to write them; none if they are written for ever.
    turn: std::sync::Mutex<Option<LeaseHeld>>,
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
    /// The list of feeds cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The list of feeds is no list of lists of names.
    #[error("{}: not a list of feeds: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A name in the list of feeds does not read.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The rule.
        source: NameError,
    },
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
        let (partial, turn) = (Mutex::new(partial), std::sync::Mutex::default());
        let stop = CancellationToken::new();
        let feeds = Self { mesh, store, dir, sharing, main, partial, turn, stop };
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
        match &self.sharing {
            Some(sharing) => drop(sharing.share_list(std::slice::from_ref(&zones)).await?),
            None => write_list(&self.dir.join(LIST), partial.keys().chain([&zones]))?,
        }
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

    /// The names of all feeds, with their namespaces.
    pub async fn namespaces(&self) -> Vec<(String, [u8; 32])> {
        let partial = self.partial.lock().await;
        let feeds = std::iter::once(&self.main).chain(partial.values());
        feeds.map(|feed| (feed.config.name.clone(), feed.namespace())).collect()
    }

    /// What the exporters show, for the watchdog; those of partial feeds not while one is being made.
    pub fn answers(&self) -> Vec<ExporterAnswer> {
        let mut answers: Vec<ExporterAnswer> = self.main.answer().into_iter().collect();
        if let Ok(partial) = self.partial.try_lock() {
            answers.extend(partial.values().filter_map(Feed::answer));
        }
        answers
    }

    /// Ends the exporters of a turn that is over, or not ours.
    pub(super) async fn keep_turn(&self, held: Option<LeaseHeld>) {
        let was = std::mem::replace(&mut *self.turn(), held);
        if was != held {
            self.end_all().await;
        }
    }

    /// Starts what is to be written in our turn and is not yet, feeds that others have made among it, and tells
    /// those others who follows.
    ///
    /// # Errors
    /// Every [`FeedsError`]; what has begun goes on.
    pub(super) async fn refresh(&self) -> Result<(), FeedsError> {
        let Some(sharing) = &self.sharing else { return Ok(()) };
        sharing.announce().await?;
        for zones in sharing.share_list(&[]).await? {
            let mut partial = self.partial.lock().await;
            if !partial.contains_key(&zones) {
                let feed = self.prepare(&zones).await?;
                partial.insert(zones, feed);
            }
        }
        self.begin_all().await?;
        let exporters: Vec<Arc<DocsExporter>> = self.exporters().await;
        for exporter in exporters {
            sharing.tell_followers(exporter.ticket().namespace, &exporter.peers()).await?;
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
        self.begin(&self.main).await?;
        for feed in self.partial.lock().await.values() {
            self.begin(feed).await?;
        }
        Ok(())
    }

    /// Starts the exporter of a feed that has none, if it is to be written here.
    async fn begin(&self, feed: &Feed) -> Result<(), FeedsError> {
        let tenure = match (&self.sharing, *self.turn()) {
            (Some(_), None) => return Ok(()),
            (Some(sharing), Some(held)) => Some((sharing, held)),
            (None, _) => None,
        };
        if feed.exporter().is_some() {
            return Ok(());
        }
        let tenure = match tenure {
            Some((sharing, held)) => Some(sharing.tenure(feed.keys, held).await?),
            None => None,
        };
        let config = FeedConfig { tenure, ..feed.config.clone() };
        let source: Arc<dyn ZoneSource> = self.store.clone();
        let (mesh, stop) = (Arc::clone(&self.mesh), self.stop.child_token());
        let exporter = DocsExporter::spawn(mesh, source, config, stop).await?;
        *feed.slot() = Some(Arc::new(exporter));
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
    fn turn(&self) -> std::sync::MutexGuard<'_, Option<LeaseHeld>> {
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
        let exporter = self.exporter()?;
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

/// Reads the list of feeds; there is none at first.
fn read_list(path: &Path) -> Result<Vec<Vec<Name>>, FeedsError> {
    let file = |source| FeedsError::File { path: path.into(), source };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file(error)),
    };
    let lists: Vec<Vec<String>> = serde_json::from_slice(&text)
        .map_err(|source| FeedsError::List { path: path.into(), source })?;
    let name = |source| FeedsError::Name { path: path.into(), source };
    lists
        .iter()
        .map(|names| names.iter().map(|text| text.parse().map_err(name)).collect())
        .collect()
}

/// Writes the list of feeds.
fn write_list<'a>(
    path: &Path,
    feeds: impl Iterator<Item = &'a Vec<Name>>,
) -> Result<(), FeedsError> {
    let file = |source| FeedsError::File { path: path.into(), source };
    let lists: Vec<Vec<String>> =
        feeds.map(|zones| zones.iter().map(Name::to_fqdn).collect()).collect();
    durable::write(path, json!(lists).to_string().as_bytes()).map_err(file)
}

/// The file of the list of feeds.
const LIST: &str = "feeds.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_feeds_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feeds.json");
        assert_eq!(read_list(&path).unwrap(), Vec::<Vec<Name>>::new());
        let zones: Vec<Name> = vec!["a.example".parse().unwrap(), "b\\.c.example".parse().unwrap()];
        write_list(&path, [&zones].into_iter()).unwrap();
        assert_eq!(read_list(&path).unwrap(), std::slice::from_ref(&zones));
        assert_ne!(config_of(&zones).name, config_of(&zones[..1]).name);
    }
}
