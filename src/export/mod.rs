//! Writes zones and commits of a source into an iroh-docs namespace.
//!
//! The namespace is a copy in a form that travels well (`feed`): packs for the bulk, live changes
//! for what happened since, a heartbeat for what an edge must know besides. One exporter writes
//! one namespace, as its one author. Several feeds, each with its own subset of the zones, are
//! several exporters: whoever holds a ticket can read all of its namespace.
//!
//! **Invariant:** the source is the truth. Whatever a crash, a lost commit stream or a peer left
//! in the namespace, the exporter writes what is missing until it says the same.
//! **Not here:** the layout of entries (`feed`), connections (`mesh`), edges (`replica`).

mod audit;
mod board;
mod book;
mod bundle;
mod chronicle;
mod delta;
mod depot;
mod doc;
mod evidence;
mod fold;
mod frozen;
mod identity;
mod opening;
mod pack;
mod parts;
mod root;
pub mod seal;
pub mod shared;
mod shelf;
mod task;
mod term;
mod version;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::feed::HistoryId;
use crate::feed::notice::Notice;
use crate::feed::segment::Position;
use crate::limits::{SAY_HERE_MS_MAX, SAY_HERE_MS_MIN};
use crate::mesh::hub::Offer;
use crate::mesh::log::Log;
use crate::mesh::peers::Peers;
use crate::mesh::{FollowerInfo, Mesh};
use crate::name::Name;
use crate::octets::DecodeError;
use crate::store::history::{SourceError, ZoneSource};
use crate::ticket::{DnsClientTicket, TicketPeer};
use board::NoticeBoard;
use depot::BlobDepot;
use doc::FeedDoc;
use identity::Identity;
use parts::{ExportTask, Parts};

/// What a feed carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedConfig {
    /// The feed's name, for people.
    pub name: String,
    /// What the files with the feed's keys are called on this node; as the feed if it is `None`.
    pub key: Option<String>,
    /// The name of the cluster, for people.
    pub cluster_id: String,
    /// The zones that it carries; `None` is all.
    pub zones: Option<Vec<Name>>,
    /// Where several exporters of the feed take turns: what this one begins with.
    pub tenure: Option<Tenure>,
    /// What those who follow are told first of all of the feed itself.
    pub notice: Option<Notice>,
}

/// The turn of one of several exporters of a feed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tenure {
    /// Its terms are above this one, and those of later turns above all of them.
    pub term_above: u64,
    /// So are the numbers of its versions above this one.
    pub number_above: u64,
    /// Who else may write the feed.
    pub authorities: Vec<TicketPeer>,
    /// Who followed it before.
    pub followers: Vec<TicketPeer>,
}

impl Default for FeedConfig {
    /// Returns the feed "main" with all zones.
    fn default() -> Self {
        let (name, cluster_id) = ("main".to_owned(), "aspen".to_owned());
        Self { name, key: None, cluster_id, zones: None, tenure: None, notice: None }
    }
}

impl FeedConfig {
    /// What the files with the feed's keys are called.
    fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.name)
    }

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
    /// The file with the feed's keys is gone, though the feed was written before.
    #[error(
        "{} is gone, and every ticket of the feed names the keys in it: put it back; or, to begin \
         another feed that no ticket of before leads to, remove {}",
        path.display(),
        rest.display()
    )]
    IdentityGone {
        /// The file.
        path: PathBuf,
        /// What the feed has written.
        rest: PathBuf,
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
    /// Nobody could read what is to be written.
    #[error("the document would be such as no edge reads: {0}")]
    Unreadable(#[from] DecodeError),
    /// A zone is larger than the document can hold.
    #[error("the zone takes {packs} packs, {packs_max} at most")]
    ZoneTooLarge {
        /// The packs that it takes.
        packs: u64,
        /// How many it may take.
        packs_max: u64,
    },
    /// Peers have seen another history of this feed: this one must not go on.
    #[error(
        "peers have seen a history of this feed (epoch {epoch}) that the store knows nothing of"
    )]
    OtherHistory {
        /// Its epoch.
        epoch: u64,
    },
    /// Another feed of the source has found that it is an older copy.
    #[error("another history of the store has begun (epoch {epoch}): this feed goes to it, too")]
    HistoryBegun {
        /// Its epoch.
        epoch: u64,
    },
    /// The source failed or lost commits.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// How far an exporter has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExportStatus {
    /// The history that is exported.
    pub history: HistoryId,
    /// The newest commit that is in the log, and so out.
    pub revision: Position,
    /// The newest commit that the document has everything of.
    pub document: Position,
    /// The number of the document's newest version.
    pub version: u64,
    /// Zones in the feed.
    pub zone_count: u64,
    /// Versions written since the start.
    pub versions_written: u64,
    /// Octets of bundles written since the start.
    pub octets_written: u64,
    /// Times a version of the document could not be written.
    pub document_faults: u64,
    /// For how many milliseconds no version of the document could be written; 0 if all is well.
    pub document_failing_ms: u64,
    /// Zones whose records did not come to what the store counted, or whose packs did not.
    pub digest_faults: u64,
    /// Zones of the document that did not come to what they must when they were read last.
    pub wrong_zones: u64,
    /// Times that peers have shown a history or an exporter of this feed that is not ours.
    pub partings: u64,
    /// How many of these were in the last [`PARTINGS_S`](crate::limits::PARTINGS_S) seconds.
    pub partings_lately: u64,
    /// Entries of the namespace that peers brought back.
    pub returned: u64,
    /// How often the exporter began anew after an error or a lost commit stream.
    pub restarts: u64,
    /// Whether it works: false between an error and the next try.
    pub is_working: bool,
    /// Whether the feed is frozen, and that it is outlives this process.
    pub is_frozen: bool,
    /// When it last went around its loop, in milliseconds since 1970.
    pub alive_ms: u64,
}

/// An exporter that runs, until it is told to stop or dropped.
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
    /// The log, which is offered while the exporter is there.
    log: Arc<Log>,
    /// Who else can be followed.
    peers: Arc<Peers>,
    /// What those who follow are told of the feed itself.
    board: NoticeBoard,
    /// Ends the task that writes.
    stop: CancellationToken,
    /// The task that writes.
    task: AbortOnDropHandle<()>,
    /// The task that tells former followers of us.
    _saying: AbortOnDropHandle<()>,
}

impl DocsExporter {
    /// Opens the feed's namespace and starts the task that writes it, until `stop`.
    ///
    /// # Errors
    /// [`ExportError::File`], [`ExportError::Identity`], [`ExportError::IdentityGone`],
    /// [`ExportError::Docs`], [`ExportError::Blobs`]. Later errors are logged and retried by the task.
    pub async fn spawn(
        mesh: Arc<Mesh>,
        source: Arc<dyn ZoneSource>,
        config: FeedConfig,
        stop: CancellationToken,
    ) -> Result<Self, ExportError> {
        let identity = Identity::load_or_create(mesh.dir(), config.key())?;
        let doc = FeedDoc::open(&mesh, &identity).await?;
        let (namespace, author) = (identity.namespace.id(), identity.author.id());
        let (namespace, author) = (*namespace.as_bytes(), *author.as_bytes());
        let log = Arc::new(Log::new(namespace));
        let file = |suffix: &str| {
            mesh.dir().map(|dir| dir.join("feeds").join(format!("{}.{suffix}", config.key())))
        };
        let board = NoticeBoard::new(&mesh, identity.clone(), Arc::clone(&log));
        if let Some(notice) = &config.notice {
            // Before anybody can follow: who hands the feed on must know its list by then.
            board.tell(notice).await?;
        }
        let tenure = config.tenure.clone().unwrap_or_default();
        let own = *mesh.endpoint().id().as_bytes();
        let peers = Arc::new(Peers::load(own, &tenure.authorities, file("peers")));
        peers.hear(tenure.followers);
        let (evidence_sender, evidence) = mpsc::channel(crate::limits::EVIDENCE_WAITING_MAX);
        mesh.hub().offer(Offer {
            log: Arc::clone(&log),
            peers: Arc::clone(&peers),
            evidence: Some(evidence_sender),
        });
        let offered = Arc::clone(&log);
        let depot = BlobDepot::new(mesh.blobs().clone(), mesh.keep(namespace));
        let parts = Parts {
            source,
            depot,
            log,
            config: config.clone(),
            namespace,
            author: identity.author.clone(),
            root_file: file("root"),
        };
        let (status_sender, status) = watch::channel(ExportStatus::default());
        let task = ExportTask::new(parts, Some(doc), evidence, status_sender);
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(stop.clone())));
        let saying = say_where_we_are(Arc::clone(&mesh), Arc::clone(&peers), stop.clone());
        let saying = tokio::spawn(saying);
        let _saying = AbortOnDropHandle::new(saying);
        Ok(Self {
            namespace,
            author,
            config,
            mesh,
            status,
            log: offered,
            peers,
            board,
            stop,
            task,
            _saying,
        })
    }

    /// Returns a ticket for this feed with this node as its peer.
    pub fn ticket(&self) -> DnsClientTicket {
        DnsClientTicket {
            cluster_id: self.config.cluster_id.clone(),
            namespace: self.namespace,
            author: self.author,
            peers: vec![self.mesh.own_peer()],
            zone_filter: None,
        }
    }

    /// How far the exporter has come, now and in future.
    pub fn status(&self) -> watch::Receiver<ExportStatus> {
        self.status.clone()
    }

    /// The feed's name on this node.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The feed's namespace.
    pub fn namespace(&self) -> [u8; 32] {
        self.namespace
    }

    /// Whether the task that writes was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether the task that writes has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Who follows the feed at this node.
    pub fn followers(&self) -> Vec<FollowerInfo> {
        self.mesh.followers(&self.namespace)
    }

    /// Takes who else may write the feed; if that is news, those who follow are told.
    pub(crate) fn know_authorities(&self, authorities: &[TicketPeer]) {
        if self.peers.set_fixed(authorities) {
            self.mesh.hub().welcome_anew(&self.namespace);
        }
    }

    /// Tells those who follow, and those who come later, who may have the feed and what becomes of it, if nothing
    /// of such a number was told.
    ///
    /// # Errors
    /// [`ExportError::Blobs`] and [`ExportError::Docs`].
    pub(crate) async fn tell(&self, notice: &Notice) -> Result<(), ExportError> {
        self.board.tell(notice).await
    }

    /// Whether the feed can be read as a whole: a version of its document is out.
    pub(crate) fn is_whole(&self) -> bool {
        let status = self.status.borrow();
        status.is_working && (status.versions_written > 0 || status.document != Position::default())
    }

    /// Where those are who follow the feed, the newest first, as far as it is known.
    pub(crate) fn followers_known(&self) -> Vec<TicketPeer> {
        self.peers.split().1
    }

    /// Ends the task that writes, and waits for that: nothing is written any more.
    pub async fn end(&self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Waits until the task that writes has ended, as it does after its `stop`.
    pub async fn ended(&self) {
        let mut status = self.status.clone();
        // The task has the sender: with the one, the other is gone.
        while status.changed().await.is_ok() {}
    }
}

impl Drop for DocsExporter {
    /// Whoever asks for the log is sent on to others.
    fn drop(&mut self) {
        self.mesh.hub().withdraw(&self.log);
    }
}

/// Tells those who followed before where this node is now, each once: it may have moved. Who is not
/// there is told later.
async fn say_where_we_are(mesh: Arc<Mesh>, peers: Arc<Peers>, stop: CancellationToken) {
    let (authorities, mut untold) = peers.split();
    untold.extend(authorities);
    let mut wait_ms = SAY_HERE_MS_MIN;
    while !untold.is_empty() {
        // All at once: one that is gone keeps no other waiting.
        let mut saying = tokio::task::JoinSet::new();
        for peer in untold {
            let (mesh, here) = (Arc::clone(&mesh), mesh.own_peer());
            saying.spawn(async move {
                let addr = crate::mesh::endpoint_addr(&peer)?;
                let said = crate::mesh::dial::LogStream::say_here(mesh.endpoint(), addr, here);
                said.await.is_err().then_some(peer)
            });
        }
        let Some(said) = stop.run_until_cancelled(saying.join_all()).await else { return };
        let absent: Vec<TicketPeer> = said.into_iter().flatten().collect();
        if !absent.is_empty() {
            tracing::debug!(count = absent.len(), "former followers were not told where we are");
        }
        let wait = tokio::time::sleep(Duration::from_millis(wait_ms));
        if stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
        wait_ms = (wait_ms * 2).min(SAY_HERE_MS_MAX);
        untold = absent;
    }
}
