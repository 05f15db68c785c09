//! Writes zones and commits of a source into an iroh-docs namespace.
//!
//! The namespace is a copy in a form that travels well (`feed`): packs for the bulk, live changes
//! for what happened since, a heartbeat for what an edge must know besides. One exporter writes
//! one namespace, as its one author. Several feeds, each with its own subset of the zones, are
//! several exporters: whoever holds a ticket can read all of its namespace.
//!
//! **Invariant:** the source is the truth. Whatever a crash, a lost commit stream or a peer left
//! in the namespace, the exporter writes what is missing until it says the same.
//! **Not here:** the layout of entries (`feed`), connections (`mesh`), edges (`client`).

mod build;
mod delta;
mod doc;
mod identity;
mod pack;
mod repair;
mod task;
mod zone;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::feed::Revision;
use crate::mesh::Mesh;
use crate::name::Name;
use crate::octets::DecodeError;
use crate::store::history::{SourceError, ZoneSource};
use crate::ticket::{DnsClientTicket, TicketPeer};
use doc::FeedDoc;
use identity::Identity;
use task::ExportTask;

/// What a feed carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedConfig {
    /// The feed's name on this node; it names the file with the feed's keys.
    pub name: String,
    /// The name of the cluster, for people.
    pub cluster_id: String,
    /// The zones that it carries; `None` is all.
    pub zones: Option<Vec<Name>>,
}

impl Default for FeedConfig {
    /// Returns the feed "main" with all zones.
    fn default() -> Self {
        Self { name: "main".to_owned(), cluster_id: "aspen".to_owned(), zones: None }
    }
}

impl FeedConfig {
    /// Whether the feed carries the zone `apex`.
    fn carries(&self, apex: &Name) -> bool {
        self.zones.as_ref().is_none_or(|zones| zones.contains(apex))
    }
}

/// Why a feed cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file with the feed's keys cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file with the feed's keys holds something else.
    #[error("{}: not the two keys of a feed", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
    },
    /// The document engine refused.
    #[error("the namespace cannot be written: {reason}")]
    Docs {
        /// What it said.
        reason: String,
    },
    /// The blob store refused.
    #[error("a content cannot be stored: {reason}")]
    Blobs {
        /// What it said.
        reason: String,
    },
    /// A zone fits no manifest.
    #[error("the zone {apex} cannot be exported: {error}")]
    Manifest {
        /// The zone.
        apex: Name,
        /// The limit that it breaks.
        error: DecodeError,
    },
    /// The source failed or lost commits.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// How far an exporter has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExportStatus {
    /// The newest revision of which the namespace has everything.
    pub revision: Revision,
    /// Zones in the namespace, removed ones not counted.
    pub zone_count: u64,
    /// Live entries written since the start.
    pub live_written: u64,
    /// Manifests written since the start.
    pub manifests_written: u64,
    /// How often the exporter began anew after an error or a lost commit stream.
    pub restarts: u64,
    /// Writes that waited because the clock had stepped back.
    pub clock_waits: u64,
}

/// An exporter that runs.
#[derive(Debug)]
pub struct DocsExporter {
    /// The namespace's public key.
    namespace: [u8; 32],
    /// The author's public key.
    author: [u8; 32],
    /// What the feed carries.
    config: FeedConfig,
    /// The peer that serves it.
    mesh: Arc<Mesh>,
    /// How far it has come.
    status: watch::Receiver<ExportStatus>,
    /// The task that writes.
    task: JoinHandle<()>,
}

impl DocsExporter {
    /// Opens the feed's namespace and starts the task that writes it, until `stop`.
    ///
    /// # Errors
    /// [`ExportError::File`], [`ExportError::Identity`], [`ExportError::Docs`],
    /// [`ExportError::Blobs`]. Later errors are logged and retried by the task.
    pub async fn spawn(
        mesh: Arc<Mesh>,
        source: Arc<dyn ZoneSource>,
        config: FeedConfig,
        stop: CancellationToken,
    ) -> Result<Self, ExportError> {
        let identity = Identity::load_or_create(mesh.dir(), &config.name)?;
        let doc = FeedDoc::open(&mesh, &identity).await?;
        doc.serve().await?;
        let (status_sender, status) = watch::channel(ExportStatus::default());
        let (namespace, author) = (*doc.namespace().as_bytes(), *doc.author().as_bytes());
        let blobs = mesh.blobs().clone();
        let task = ExportTask::new(doc, blobs, source, config.clone(), status_sender);
        let task = tokio::spawn(task.run(stop));
        Ok(Self { namespace, author, config, mesh, status, task })
    }

    /// Returns a ticket for this feed with this node as its peer.
    pub fn ticket(&self) -> DnsClientTicket {
        DnsClientTicket {
            cluster_id: self.config.cluster_id.clone(),
            namespace: self.namespace,
            author: self.author,
            peers: vec![own_peer(&self.mesh)],
            zone_filter: None,
        }
    }

    /// How far the exporter has come, now and in future.
    pub fn status(&self) -> watch::Receiver<ExportStatus> {
        self.status.clone()
    }

    /// Waits until the task has ended after its `stop`.
    pub async fn ended(&mut self) {
        if self.task.is_finished() {
            return;
        }
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the exporter ended badly");
        }
    }
}

/// Returns this node as a ticket names it.
pub fn own_peer(mesh: &Mesh) -> TicketPeer {
    let addr = mesh.addr();
    TicketPeer {
        id: *addr.id.as_bytes(),
        addrs: addr.ip_addrs().copied().take(crate::limits::TICKET_ADDRS_MAX).collect(),
        relay: addr.relay_urls().next().map(ToString::to_string),
    }
}
