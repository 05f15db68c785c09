//! The peer-to-peer side of a node: one endpoint, and over it gossip, blobs and documents.
//!
//! A [`Mesh`] is what exporter and edge have in common. Its identity (the secret key) and its blobs lie
//! in one directory, so a restarted node is the same peer with the same data; replicas are kept in memory,
//! but for those that an older version has left there ([`Documents`]). A mesh without a directory keeps
//! all of it in memory. [`Mesh::start`] binds the endpoint;
//! [`Mesh::with_endpoint`] takes that of a program which has protocols of its own beside the mesh's.
//!
//! **Invariant:** a blob that no replica names any more is removed within
//! [`BLOB_GC_INTERVAL_S`].
//! **Not here:** the QUIC settings (`mesh::endpoint`), what stands in a namespace (`feed`), who writes
//! it (`export`), who reads it (`replica`).

pub(crate) mod access;
pub(crate) mod author;
pub(crate) mod blobs;
mod config;
mod contents;
pub(crate) mod dial;
mod documents;
pub(crate) mod endpoint;
pub(crate) mod fleet;
mod gate;
pub(crate) mod hub;
mod keep;
pub(crate) mod log;
pub(crate) mod peers;
mod protocols;
pub(crate) mod relay;
mod secret;
mod stream;

pub use access::{Ended, Refusals};
pub use blobs::Blobs;
pub use config::{Documents, MeshConfig, RelayChoice};
pub use fleet::{FleetMember, Forgotten};
pub use hub::{FleetState, FollowerInfo};
pub(crate) use keep::Keep;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::QuicTransportConfig;
use iroh::protocol::{IncomingFilter, Router, RouterBuilder};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayUrl};
use iroh_blobs::store::GcConfig;
use iroh_docs::AuthorId;
use iroh_docs::actor::SyncHandle;
use iroh_docs::engine::{DefaultAuthorStorage, Engine, ProtectCallbackHandler};
use iroh_docs::protocol::Docs;
use iroh_docs::store::Store as DocsStore;
use iroh_gossip::net::Gossip;
use n0_future::task::AbortOnDropHandle;

use crate::limits::{
    BLOB_GC_INTERVAL_S, GOSSIP_MESSAGE_OCTETS_MAX, MESH_SHUTDOWN_MS, TICKET_ADDRS_MAX,
};
use crate::ticket::TicketPeer;
use access::Access;
use contents::BlobsServer;
use documents::DocumentServer;
use hub::Hub;
use keep::Keeps;
use protocols::Protocols;

/// Why a mesh does not start.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A file or directory of the mesh cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of the secret key does not hold 64 hexadecimal digits.
    #[error("{}: a secret key is 64 hexadecimal digits", path.display())]
    SecretKey {
        /// The file.
        path: PathBuf,
    },
    /// The file of the secret key is gone, though peers know the node by it.
    #[error(
        "{} is gone, and edges know this authority by the key in it: put it back; or, to begin as another \
         peer whom no ticket of before leads to, remove {} too",
        path.display(),
        feeds.display()
    )]
    SecretKeyGone {
        /// The file.
        path: PathBuf,
        /// The directory of the feeds that the node has written.
        feeds: PathBuf,
    },
    /// The listen address is not one of this machine, or is in use.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the transport said.
        reason: String,
    },
    /// The blob store does not open.
    #[error("the blob store does not open: {reason}")]
    Blobs {
        /// What the store said.
        reason: String,
    },
    /// The document store does not open.
    #[error("the document store does not open: {reason}")]
    Docs {
        /// What the store said.
        reason: String,
    },
}

/// A running peer; clones are the same one.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// The transport; its id is the public half of the persisted key.
    endpoint: Endpoint,
    /// Replicas.
    docs: Docs,
    /// The engine below them, for entries with a time of our own.
    sync: SyncHandle,
    /// Which contents are spared.
    keeps: Keeps,
    /// The logs that are offered.
    hub: Hub,
    /// Contents.
    blobs: Blobs,
    /// What peers are answered with.
    protocols: Protocols,
    /// Accepts what peers ask for; none if the program does.
    router: Option<Router>,
    /// Where the mesh keeps its files.
    dir: Option<PathBuf>,
    /// Whether replicas lie on the disk.
    had_documents: bool,
    /// Looks after the store of contents; ends with the last clone.
    healer: Arc<AbortOnDropHandle<()>>,
}

impl Mesh {
    /// Starts a peer: opens the stores, binds the endpoint, answers other peers.
    ///
    /// # Errors
    /// [`MeshError::File`] and [`MeshError::SecretKey`] for the files below `config.dir`,
    /// [`MeshError::Bind`] for an address in use, [`MeshError::Blobs`] and [`MeshError::Docs`]
    /// when a store does not open.
    pub async fn start(config: MeshConfig) -> Result<Self, MeshError> {
        let secret_key = match &config.dir {
            Some(dir) => {
                create_dir(dir)?;
                secret::load_or_create(&dir.join("secret-key"))?
            }
            None => iroh::SecretKey::generate(),
        };
        let endpoint = endpoint::bind(&config, secret_key).await?;
        let mut mesh = Self::over(endpoint.clone(), config.dir, config.documents).await?;
        let router = Router::builder(endpoint).incoming_filter(mesh.protocols.filter());
        mesh.router = Some(mesh.protocols.add_to(router).spawn());
        Ok(mesh)
    }

    /// Starts a peer on an endpoint that the program has itself, for protocols of its own too.
    ///
    /// The identity is the endpoint's: give it the same secret key at each start, and a fixed port, so that
    /// tickets lead to it. Blobs are kept in `dir`, which is to be the mesh's alone, or in memory; replicas in
    /// memory. Nothing else has to be set: who is where, the mesh tells the endpoint as it learns of it. With [`Mesh::transport_config`] as the
    /// endpoint's, the mesh bounds what strangers can make it hold, and soon notices peers that are gone.
    ///
    /// The program has the one router of the endpoint: [`Mesh::add_to`] adds the mesh's protocols there. Until
    /// that is spawned the mesh follows others, and nobody reaches it. [`Mesh::shutdown`] ends the mesh's
    /// part; router and endpoint stay open until the program ends them, which is to be after it.
    ///
    /// # Errors
    /// [`MeshError::File`], [`MeshError::Blobs`] and [`MeshError::Docs`], also where the endpoint is closed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use aspen_dns::mesh::Mesh;
    /// use aspen_dns::replica::AspenDnsClient;
    /// use iroh::endpoint::{Connection, Endpoint, presets};
    /// use iroh::protocol::{AcceptError, ProtocolHandler, Router};
    ///
    /// #[derive(Debug)]
    /// struct Mine;
    ///
    /// impl ProtocolHandler for Mine {
    ///     async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
    ///         connection.closed().await;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # async fn run(secret_key: iroh::SecretKey) -> Result<(), Box<dyn std::error::Error>> {
    /// let endpoint = Endpoint::builder(presets::Minimal)
    ///     .secret_key(secret_key)
    ///     .transport_config(Mesh::transport_config())
    ///     .bind()
    ///     .await?;
    /// let mesh = Mesh::with_endpoint(endpoint.clone(), Some("edge-data".into())).await?;
    /// let router = mesh.add_to(Router::builder(endpoint)).accept("mine/1", Mine).spawn();
    ///
    /// let client = AspenDnsClient::builder().ticket(std::env::var("TICKET")?.parse()?).build()?;
    /// let following = client.follow(&mesh).await?;
    /// // … until the program ends:
    /// following.stop().await;
    /// mesh.shutdown().await;
    /// router.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with_endpoint(
        endpoint: Endpoint,
        dir: Option<PathBuf>,
    ) -> Result<Self, MeshError> {
        dir.as_deref().map_or(Ok(()), create_dir)?;
        Self::over(endpoint, dir, Documents::InMemory).await
    }

    /// Opens the stores and everything that runs over an endpoint, but the router.
    async fn over(
        endpoint: Endpoint,
        dir: Option<PathBuf>,
        documents: Documents,
    ) -> Result<Self, MeshError> {
        let documents = documents.settle(dir.as_deref());
        let gossip = Gossip::builder()
            .max_message_size(GOSSIP_MESSAGE_OCTETS_MAX as usize)
            .spawn(endpoint.clone());
        let (protect_handler, protect) = ProtectCallbackHandler::new();
        let keeps = Keeps::default();
        let gc = GcConfig {
            interval: Duration::from_secs(BLOB_GC_INTERVAL_S),
            add_protected: Some(blobs::protect(keeps.clone(), protect)),
        };
        let blobs = Blobs::open(dir.as_deref(), gc).await?;
        let (store, author) = open_documents(dir.as_deref(), documents)?;
        let downloader = blobs.store().downloader(&endpoint);
        let (ep, swarm, contents) = (endpoint.clone(), gossip.clone(), blobs.store());
        let engine =
            Engine::spawn(ep, swarm, store, contents, downloader, author, Some(protect_handler));
        let engine =
            engine.await.map_err(|error| MeshError::Docs { reason: format!("{error:#}") })?;
        let sync = engine.sync.clone();
        let (docs, hub) = (Docs::new(engine), Hub::default());
        let document_server = DocumentServer::new(docs.clone(), sync.clone(), hub.access().clone());
        let contents = BlobsServer::new(blobs.clone(), keeps.clone(), hub.access().clone());
        let protocols = Protocols::new(hub.clone(), contents, gossip, document_server);
        let healer = Arc::new(AbortOnDropHandle::new(tokio::spawn(blobs.clone().heal())));
        let had_documents = documents == Documents::OnDisk;
        Ok(Self {
            endpoint,
            docs,
            sync,
            keeps,
            hub,
            blobs,
            protocols,
            router: None,
            dir,
            had_documents,
            healer,
        })
    }

    /// Adds the protocols of the mesh to the router of a program whose endpoint it uses; in the place of
    /// handlers of the same protocols: iroh's gossip, blobs and documents are at the program's disposal as
    /// far as the mesh has them ([`Mesh::blobs`], [`Mesh::docs`]).
    ///
    /// How many handshakes begin is for the program to bound, whose protocols they may be for:
    /// [`Mesh::handshake_filter`] does it as the mesh does on an endpoint of its own.
    #[must_use]
    pub fn add_to(&self, router: RouterBuilder) -> RouterBuilder {
        self.protocols.add_to(router)
    }

    /// What judges handshakes on an endpoint of the mesh's own: some a second from each address, and none
    /// from addresses that are not proven when there are many of these.
    pub fn handshake_filter(&self) -> IncomingFilter {
        self.protocols.filter()
    }

    /// The QUIC settings of an endpoint of the mesh's own.
    pub fn transport_config() -> QuicTransportConfig {
        endpoint::transport_config()
    }

    /// The transport, for own connections to peers.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The replicas.
    pub fn docs(&self) -> &Docs {
        &self.docs
    }

    /// The engine below the replicas.
    #[cfg(feature = "node")] // who writes a feed
    pub(crate) fn sync(&self) -> &SyncHandle {
        &self.sync
    }

    /// Makes a set of contents of a feed that the collector spares.
    pub(crate) fn keep(&self, namespace: [u8; 32]) -> Keep {
        self.keeps.keep(namespace)
    }

    /// Who may have what of which feed.
    pub(crate) fn access(&self) -> &Access {
        self.hub.access()
    }

    /// What was refused of a feed to endpoints that may not have it.
    pub fn refusals(&self, namespace: &[u8; 32]) -> Refusals {
        self.access().refusals(namespace)
    }

    /// How often an endpoint was refused anything of any feed.
    pub fn refusal_count(&self) -> u64 {
        self.access().refusal_count()
    }

    /// Whether replicas of an older version lie on the disk.
    pub(crate) fn has_old_documents(&self) -> bool {
        self.had_documents
    }

    /// The logs that this node offers.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Who follows a feed at this node now.
    pub fn followers(&self, namespace: &[u8; 32]) -> Vec<FollowerInfo> {
        self.hub.followers(namespace)
    }

    /// The fleet of a feed that this node writes or follows: the edges that follow it here, and those behind them;
    /// none of another feed.
    pub fn fleet(&self, namespace: &[u8; 32]) -> Option<FleetState> {
        self.hub.fleet_state(namespace)
    }

    /// Hears of every change of what an edge serves, of whatever feed.
    #[cfg(feature = "node")] // who waits for edges
    pub(crate) fn watch_fleet(&self) -> tokio::sync::watch::Receiver<u64> {
        self.hub.watch_fleet()
    }

    /// Forgets an edge of a feed that is silent.
    pub fn forget_edge(&self, namespace: &[u8; 32], id: &[u8; 32]) -> Forgotten {
        self.hub.forget(*namespace, *id)
    }

    /// Whether the mesh still accepts what peers ask for; with a router of the program's, as far as it is
    /// for the mesh to accept it.
    pub fn is_alive(&self) -> bool {
        match &self.router {
            Some(router) => !router.is_shutdown(),
            None => self.protocols.is_open() && !self.endpoint.is_closed(),
        }
    }

    /// Whether the document engine answers a question; one that is gone or stuck does not.
    pub(crate) async fn ask_documents(&self) -> bool {
        self.sync.export_author(AuthorId::from(&NOBODY)).await.is_ok()
    }

    /// Whether the store of contents answers a question.
    ///
    /// One that does not is being opened again.
    pub(crate) async fn ask_contents(&self) -> bool {
        let answers = self.blobs.store().blobs().status(NOBODY).await.is_ok();
        if !answers || !self.blobs.has_files() {
            self.blobs.suspect();
        }
        answers
    }

    /// The contents that replicas name by hash.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The directory with the files of this mesh, if it keeps any.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// The address under which other peers reach this one now.
    pub fn addr(&self) -> EndpointAddr {
        self.endpoint.addr()
    }

    /// Returns this node as a ticket names it.
    pub fn own_peer(&self) -> TicketPeer {
        let addr = self.addr();
        TicketPeer {
            id: *addr.id.as_bytes(),
            addrs: addr.ip_addrs().copied().take(TICKET_ADDRS_MAX).collect(),
            relay: addr.relay_urls().next().map(ToString::to_string),
        }
    }

    /// Ends replication, writes the stores out and closes the endpoint, if it is the mesh's own.
    ///
    /// Takes [`MESH_SHUTDOWN_MS`] at most: a peer that does not answer must not keep us.
    pub async fn shutdown(&self) {
        // Nothing is to be opened again of what ends now.
        self.healer.abort();
        let ending = async {
            match &self.router {
                Some(router) => router.shutdown().await,
                None => {
                    self.protocols.shut().await;
                    Ok(())
                }
            }
        };
        let limit = Duration::from_millis(MESH_SHUTDOWN_MS);
        match tokio::time::timeout(limit, ending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a protocol of the mesh ended badly"),
            Err(_) => tracing::warn!("the mesh did not close in time and is dropped"),
        }
        self.protocols.close();
    }
}

/// Returns the public key of the mesh whose files lie in `dir`, in hexadecimal digits; makes its secret key where
/// there is none.
///
/// # Errors
/// [`MeshError::File`], [`MeshError::SecretKey`] and [`MeshError::SecretKeyGone`].
pub fn endpoint_key(dir: &Path) -> Result<String, MeshError> {
    create_dir(dir)?;
    let key = secret::load_or_create(&dir.join("secret-key"))?;
    Ok(data_encoding::HEXLOWER.encode(key.public().as_bytes()))
}

/// Opens the store of documents, and where the engine keeps its own author, whom nobody asks for.
fn open_documents(
    dir: Option<&Path>,
    documents: Documents,
) -> Result<(DocsStore, DefaultAuthorStorage), MeshError> {
    let dir = dir.map(|dir| dir.join("docs"));
    let Some(dir) = dir.filter(|_| documents == Documents::OnDisk) else {
        return Ok((DocsStore::memory(), DefaultAuthorStorage::Mem));
    };
    create_dir(&dir)?;
    let file = dir.join("docs.redb");
    let opened = std::panic::catch_unwind(|| DocsStore::persistent(&file));
    let failed = |reason: String| MeshError::Docs { reason };
    match opened {
        Ok(Ok(store)) => Ok((store, DefaultAuthorStorage::Mem)),
        Ok(Err(error)) => Err(failed(format!("{}: {error:#}", file.display()))),
        Err(_) => Err(failed(format!("{}: the file is damaged", file.display()))),
    }
}

/// Creates `dir` and what is missing above it.
fn create_dir(dir: &Path) -> Result<(), MeshError> {
    crate::durable::create_dir(dir).map_err(|source| MeshError::File { path: dir.into(), source })
}

/// Returns a peer as the transport names it; none if its key or relay is no such thing.
pub(crate) fn endpoint_addr(peer: &TicketPeer) -> Option<EndpointAddr> {
    let mut addr = EndpointAddr::new(EndpointId::from_bytes(&peer.id).ok()?);
    for ip in &peer.addrs {
        addr = addr.with_ip_addr(*ip);
    }
    if let Some(relay) = &peer.relay {
        addr = addr.with_relay_url(relay.parse::<RelayUrl>().ok()?);
    }
    Some(addr)
}

/// Returns an error with its causes, on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The key of no author and the hash of no content.
const NOBODY: [u8; 32] = [0; 32];
