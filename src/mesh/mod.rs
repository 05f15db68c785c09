//! The peer-to-peer side of a node: one endpoint, and over it gossip, blobs and documents.
//!
//! A [`Mesh`] is what exporter and edge have in common. Its identity (the secret key), its blobs
//! and its replicas lie in one directory, so a restarted node is the same peer with the same
//! data. A mesh without a directory keeps all of it in memory.
//!
//! **Invariant:** a blob that no replica names any more is removed within
//! [`BLOB_GC_INTERVAL_S`]; a peer that is gone is noticed within [`QUIC_IDLE_MS`].
//! **Not here:** what stands in a namespace (`feed`), who writes it (`export`), who reads it
//! (`client`).

mod secret;

pub use secret::write_secret_file;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iroh::endpoint::{QuicTransportConfig, VarInt, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode, RelayUrl};
use iroh_blobs::api::Store as BlobStore;
use iroh_blobs::store::GcConfig;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options as BlobOptions;
use iroh_blobs::store::mem::{MemStore, Options as MemOptions};
use iroh_blobs::{ALPN as BLOBS_ALPN, BlobsProtocol};
use iroh_docs::ALPN as DOCS_ALPN;
use iroh_docs::engine::ProtectCallbackHandler;
use iroh_docs::protocol::Docs;
use iroh_gossip::ALPN as GOSSIP_ALPN;
use iroh_gossip::net::Gossip;

use crate::limits::{
    BLOB_GC_INTERVAL_S, GOSSIP_MESSAGE_OCTETS_MAX, MESH_SHUTDOWN_MS, QUIC_IDLE_MS,
    QUIC_KEEP_ALIVE_MS,
};

/// Which relay servers help two peers behind address translation to meet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RelayChoice {
    /// None: peers must reach each other's addresses directly.
    #[default]
    Off,
    /// The public relays of the iroh project.
    Default,
    /// The operator's own relay.
    Url(RelayUrl),
}

/// What a [`Mesh`] is started with.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Where identity, blobs and replicas are kept. None keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// The UDP address to listen on. A fixed port lets peers find a restarted node again.
    pub listen: SocketAddr,
    /// Relay servers.
    pub relay: RelayChoice,
}

impl Default for MeshConfig {
    /// Returns a mesh in memory on a free port of the loopback address, without relays.
    fn default() -> Self {
        Self { dir: None, listen: SocketAddr::from(([127, 0, 0, 1], 0)), relay: RelayChoice::Off }
    }
}

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

/// A running peer.
#[derive(Debug)]
pub struct Mesh {
    /// The transport; its id is the public half of the persisted key.
    endpoint: Endpoint,
    /// Replicas.
    docs: Docs,
    /// Contents.
    blobs: BlobStore,
    /// Accepts what peers ask for.
    router: Router,
    /// Where the mesh keeps its files.
    dir: Option<PathBuf>,
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
        let endpoint = bind(&config, secret_key).await?;
        let gossip = Gossip::builder()
            .max_message_size(GOSSIP_MESSAGE_OCTETS_MAX as usize)
            .spawn(endpoint.clone());
        let (protect_handler, protect) = ProtectCallbackHandler::new();
        let gc = GcConfig {
            interval: Duration::from_secs(BLOB_GC_INTERVAL_S),
            add_protected: Some(protect),
        };
        let blobs = open_blobs(config.dir.as_deref(), gc).await?;
        let docs = match &config.dir {
            Some(dir) => {
                let docs_dir = dir.join("docs");
                create_dir(&docs_dir)?;
                Docs::persistent(docs_dir)
            }
            None => Docs::memory(),
        };
        let docs = docs
            .protect_handler(protect_handler)
            .spawn(endpoint.clone(), blobs.clone(), gossip.clone())
            .await
            .map_err(|error| MeshError::Docs { reason: format!("{error:#}") })?;
        let router = Router::builder(endpoint.clone())
            .accept(BLOBS_ALPN, BlobsProtocol::new(&blobs, None))
            .accept(GOSSIP_ALPN, gossip)
            .accept(DOCS_ALPN, docs.clone())
            .spawn();
        Ok(Self { endpoint, docs, blobs, router, dir: config.dir })
    }

    /// The transport, for own connections to peers.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The replicas.
    pub fn docs(&self) -> &Docs {
        &self.docs
    }

    /// The contents that replicas name by hash.
    pub fn blobs(&self) -> &BlobStore {
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

    /// Ends replication, writes the stores out and closes the endpoint.
    ///
    /// Takes [`MESH_SHUTDOWN_MS`] at most: a peer that does not answer must not keep us.
    pub async fn shutdown(&self) {
        let limit = Duration::from_millis(MESH_SHUTDOWN_MS);
        match tokio::time::timeout(limit, self.router.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a protocol of the mesh ended badly"),
            Err(_) => tracing::warn!("the mesh did not close in time and is dropped"),
        }
    }
}

/// Opens the blob store below `dir`, or one in memory.
async fn open_blobs(dir: Option<&Path>, gc: GcConfig) -> Result<BlobStore, MeshError> {
    let Some(dir) = dir else {
        let options = MemOptions { gc_config: Some(gc) };
        return Ok((*MemStore::new_with_opts(options)).clone());
    };
    let root = dir.join("blobs");
    create_dir(&root)?;
    let mut options = BlobOptions::new(&root);
    options.gc = Some(gc);
    let store = FsStore::load_with_opts(root.join("blobs.db"), options)
        .await
        .map_err(|error| MeshError::Blobs { reason: format!("{error:#}") })?;
    Ok((*store).clone())
}

/// Creates `dir` and what is missing above it.
fn create_dir(dir: &Path) -> Result<(), MeshError> {
    std::fs::create_dir_all(dir).map_err(|source| MeshError::File { path: dir.into(), source })
}

/// Binds the endpoint; where any port will do, the one of the last run, so that peers find a
/// restarted node where their tickets say.
async fn bind(config: &MeshConfig, secret_key: iroh::SecretKey) -> Result<Endpoint, MeshError> {
    let port_file = config.dir.as_deref().map(|dir| dir.join("port"));
    let last = port_file.as_deref().filter(|_| config.listen.port() == 0).and_then(last_port);
    if let Some(port) = last {
        let listen = SocketAddr::new(config.listen.ip(), port);
        if let Ok(endpoint) = bind_to(config, listen, secret_key.clone()).await {
            return Ok(endpoint);
        }
        tracing::warn!(%listen, "the port of the last run is taken: tickets made then lead nowhere");
    }
    let endpoint = bind_to(config, config.listen, secret_key).await?;
    if let (Some(path), Some(socket)) = (port_file, endpoint.bound_sockets().first()) {
        let text = format!("{}\n", socket.port());
        std::fs::write(&path, text).map_err(|source| MeshError::File { path, source })?;
    }
    Ok(endpoint)
}

/// Reads the port of the last run, if there was one.
fn last_port(path: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|port| *port != 0)
}

/// Binds the endpoint to one address.
async fn bind_to(
    config: &MeshConfig,
    listen: SocketAddr,
    secret_key: iroh::SecretKey,
) -> Result<Endpoint, MeshError> {
    let failed = |reason: String| MeshError::Bind { address: listen, reason };
    Endpoint::builder(presets::Minimal)
        .relay_mode(relay_mode(&config.relay))
        .clear_ip_transports()
        .bind_addr(listen)
        .map_err(|error| failed(error.to_string()))?
        .secret_key(secret_key)
        .transport_config(transport_config())
        .bind()
        .await
        .map_err(|error| failed(error_chain(&error)))
}

/// Returns the transport's word for our choice of relays.
fn relay_mode(choice: &RelayChoice) -> RelayMode {
    match choice {
        RelayChoice::Off => RelayMode::Disabled,
        RelayChoice::Default => RelayMode::Default,
        RelayChoice::Url(url) => RelayMode::custom([url.clone()]),
    }
}

/// Returns the QUIC settings of every connection: short idle times, so that a peer that was
/// killed is noticed in seconds, not in half a minute.
fn transport_config() -> QuicTransportConfig {
    let keep_alive = Duration::from_millis(QUIC_KEEP_ALIVE_MS);
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(VarInt::from_u32(QUIC_IDLE_MS).into()))
        .keep_alive_interval(keep_alive)
        .default_path_keep_alive_interval(keep_alive)
        .default_path_max_idle_timeout(Duration::from_millis(u64::from(QUIC_IDLE_MS)))
        .build()
}

/// Returns an error with its causes, on one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
