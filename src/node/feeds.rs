//! The feeds that an authority writes: one with all zones, and one for each set of zones that a
//! ticket was made for.
//!
//! Whoever holds a ticket can read all of its namespace, so a partner who may see two zones gets
//! a feed that holds these two. Which feeds there are is kept in `DATA_DIR/feeds.json`.
//!
//! **Invariant:** a feed for which a ticket was given out is written again after a restart.
//! **Not here:** how a feed is written (`export`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use sha1::Digest as _;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::durable;
use crate::export::{DocsExporter, ExportError, FeedConfig};
use crate::limits::FEEDS_MAX;
use crate::mesh::Mesh;
use crate::name::{Name, NameError};
use crate::store::DnsStore;
use crate::store::history::ZoneSource;
use crate::ticket::DnsClientTicket;

/// The feeds of one authority.
#[derive(Debug)]
pub struct Feeds {
    /// The peer that serves them.
    mesh: Arc<Mesh>,
    /// What they are made from.
    store: Arc<DnsStore>,
    /// Where the list of feeds is kept.
    path: PathBuf,
    /// The feed with all zones.
    main: DocsExporter,
    /// Feeds with some zones, by their zones.
    partial: Mutex<BTreeMap<Vec<Name>, DocsExporter>>,
    /// Ends all exporters.
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
    /// Starts the feed with all zones and those that tickets were made for.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn start(
        mesh: Arc<Mesh>,
        store: Arc<DnsStore>,
        data_dir: &Path,
    ) -> Result<Self, FeedsError> {
        let stop = CancellationToken::new();
        let path = data_dir.join("feeds.json");
        let main = spawn(&mesh, &store, FeedConfig::default(), &stop).await?;
        let mut partial = BTreeMap::new();
        for zones in read_list(&path)? {
            let config = config_of(&zones);
            partial.insert(zones, spawn(&mesh, &store, config, &stop).await?);
        }
        Ok(Self { mesh, store, path, main, partial: Mutex::new(partial), stop })
    }

    /// Returns a ticket of the feed with exactly `zones` (sorted, each once), or with all zones.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn ticket(&self, zones: Option<Vec<Name>>) -> Result<DnsClientTicket, FeedsError> {
        let Some(zones) = zones else { return Ok(self.main.ticket()) };
        debug_assert!(zones.is_sorted());
        let mut partial = self.partial.lock().await;
        if self.stop.is_cancelled() {
            return Err(FeedsError::Stopped);
        }
        if let Some(exporter) = partial.get(&zones) {
            return Ok(exporter.ticket());
        }
        if partial.len() >= FEEDS_MAX as usize {
            return Err(FeedsError::TooMany);
        }
        let exporter = spawn(&self.mesh, &self.store, config_of(&zones), &self.stop).await?;
        let ticket = exporter.ticket();
        partial.insert(zones, exporter);
        // Only a feed that will be there after a restart is worth a ticket.
        write_list(&self.path, partial.keys())?;
        Ok(ticket)
    }

    /// Returns the exporter of the feed with all zones.
    pub fn main(&self) -> &DocsExporter {
        &self.main
    }

    /// What the exporters show, for the watchdog; those of partial feeds not while one is being made.
    pub fn answers(&self) -> Vec<ExporterAnswer> {
        let mut answers = vec![answer_of(&self.main)];
        if let Ok(partial) = self.partial.try_lock() {
            answers.extend(partial.values().map(answer_of));
        }
        answers
    }

    /// Ends all exporters, and waits until they have ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.main.ended().await;
        for exporter in self.partial.lock().await.values() {
            exporter.ended().await;
        }
    }
}

/// Reads what an exporter shows.
fn answer_of(exporter: &DocsExporter) -> ExporterAnswer {
    let status = *exporter.status().borrow();
    ExporterAnswer {
        feed: exporter.name().to_owned(),
        has_ended: exporter.has_ended(),
        is_working: status.is_working,
        alive_ms: status.alive_ms,
        restarts: status.restarts,
        document_failing_ms: status.document_failing_ms,
        partings: status.partings_lately,
        wrong_zones: status.wrong_zones,
    }
}

/// Starts one exporter.
async fn spawn(
    mesh: &Arc<Mesh>,
    store: &Arc<DnsStore>,
    config: FeedConfig,
    stop: &CancellationToken,
) -> Result<DocsExporter, ExportError> {
    let source: Arc<dyn ZoneSource> = store.clone();
    DocsExporter::spawn(Arc::clone(mesh), source, config, stop.clone()).await
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
