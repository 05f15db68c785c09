//! What a node is started with, as plain data.
//!
//! Flags and environment are one way to fill it in (`flags`); a program that runs a node in itself does so
//! by hand.
//!
//! **Invariant:** nothing here depends on how it was read; a plan that exists can be started.
//! **Not here:** opening sockets and files (`prepare`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::mesh::RelayChoice;
use crate::replica::Expiry;
use crate::responder::ResponderConfig;
use crate::serve::udp::UdpSteering;
use crate::store::lease::LeaseTimes;
use crate::ticket::DnsClientTicket;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of store, replicas and keys. Made if it is missing.
    pub data_dir: PathBuf,
    /// What has to start.
    pub plan: Plan,
    /// The front ends.
    pub dns: DnsConfig,
    /// The HTTP API; none if it is off.
    pub api: Option<ApiConfig>,
    /// The UDP address for other nodes.
    pub mesh_listen: SocketAddr,
    /// The relay that helps nodes behind address translation to meet.
    pub relay: RelayChoice,
    /// What an edge does on its own; nothing to other nodes.
    pub edge: EdgeConfig,
    /// Zones from files.
    pub files: FilesConfig,
    /// Milliseconds that answers may be behind the store, or the feed, on a node that is ready.
    pub ready_lag_ms: u64,
}

/// What an edge is called, and what it does when it does not hear its feed's author.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EdgeConfig {
    /// Its name in its authority's list of edges.
    pub name: Option<String>,
    /// For how long the author may not be heard while the node says that it is ready; none is for ever.
    pub ready_silence: Option<Duration>,
    /// Whether answers say that they are stale.
    pub tells_stale: bool,
    /// For how long zones are answered.
    pub expiry: Expiry,
    /// For how long what comes is held back; none is not at all.
    pub follow_behind: Option<Duration>,
}

/// What has to start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Plan {
    /// Zones from files only: no store, no replication.
    Static,
    /// A store with its feeds; answers come from what the store commits. An empty one gets an example.
    All(StoreConfig),
    /// A store with its feeds; answers come from what the store commits.
    Authority(StoreConfig),
    /// A replica of the ticket's feed.
    Edge(Box<DnsClientTicket>),
}

impl Plan {
    /// Returns what it makes of a node: `static`, `all`, `authority` or `edge`.
    pub(crate) fn role_name(&self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::All(_) => "all",
            Self::Authority(_) => "authority",
            Self::Edge(_) => "edge",
        }
    }
}

/// Where records are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreConfig {
    /// The engine.
    pub engine: StoreEngine,
    /// Whether it may be another, empty one than edges were fed from.
    pub is_new_allowed: bool,
}

/// Which engine keeps the records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreEngine {
    /// One file below the data directory.
    Redb,
    /// An etcd cluster.
    Etcd(Box<EtcdCluster>),
}

/// An etcd cluster, and who this node is to it. Secrets stay in their files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EtcdCluster {
    /// The members' client URLs, http or https.
    pub endpoints: Vec<String>,
    /// What all keys of this store begin with; none is `aspen-dns/`.
    pub prefix: Option<String>,
    /// Octets that a member's database may have; none are etcd's default.
    pub quota_octets: Option<u64>,
    /// The user, and the file whose first line is the password.
    pub user: Option<(String, PathBuf)>,
    /// A PEM file of the authorities that vouch for the members; none are the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of the certificate that this node shows, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How the feeds are written in turn with other authorities; none if this one writes feeds of its own.
    pub sharing: Option<SharingConfig>,
}

/// How several authorities on one store write its feeds in turn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharingConfig {
    /// The file of the key that the keys of feeds are sealed with: 64 hexadecimal digits.
    pub seal_key_file: PathBuf,
    /// How long who writes them may be silent.
    pub lease: LeaseTimes,
}

/// How DNS is answered.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// The addresses, UDP and TCP.
    pub addresses: Vec<SocketAddr>,
    /// UDP threads for each address; one for each processor if it is not said.
    pub workers: Option<u16>,
    /// CPUs that the UDP threads of each address stay on, one after the other.
    pub cpus: Vec<usize>,
    /// Which UDP thread of an address gets a query.
    pub steering: UdpSteering,
    /// What answers depend on.
    pub responder: ResponderConfig,
}

/// Where the API listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ApiConfig {
    /// The address.
    pub address: SocketAddr,
    /// Whether somebody asked for it: else a server of plain zone files can do without.
    pub is_asked_for: bool,
}

/// Which files are served as zones.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FilesConfig {
    /// A directory of `NAME.zone` master files.
    pub dir: Option<PathBuf>,
    /// Master files.
    pub named: Vec<PathBuf>,
}

impl FilesConfig {
    /// Whether there is anything to read.
    pub fn is_empty(&self) -> bool {
        self.dir.is_none() && self.named.is_empty()
    }
}
