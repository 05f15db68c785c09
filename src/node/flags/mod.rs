//! Flags and `ASPEN_…` environment variables, and the configuration that they make.
//!
//! clap reads single values; [`Flags::into_config`] then refuses combinations that make no sense, so that
//! nothing after it asks about flags again.
//!
//! **Not here:** what the values mean to a node (`config`).

mod edge;
pub mod etcd;
mod transfer;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::FalseyValueParser;
use clap::{Parser, ValueEnum};
use iroh::RelayUrl;

use self::edge::EdgeFlags;
use self::etcd::{EtcdFlags, StoreChoice};
pub use self::transfer::TransferNetworks;
use super::config::{ApiConfig, Config, DnsConfig, FilesConfig, Plan, StoreConfig, StoreEngine};
use crate::feed::frame::fleet::ALL_EDGES;
use crate::limits::{
    CPUS_MAX, EDGE_NAME_OCTETS_MAX, ETCD_PREFIX_OCTETS_MAX, READY_LAG_MS, UDP_WORKERS_MAX,
};
use crate::mesh::RelayChoice;
use crate::responder::ResponderConfig;
use crate::responder::transfer::TransferPolicy;
use crate::serve::udp::UdpSteering;
use crate::store::lease::LeaseTimeError;
use crate::ticket::DnsClientTicket;

/// The flags of `aspen-node`.
#[derive(Clone, Debug, Parser)]
#[command(name = "aspen-node", version, about = ABOUT, after_help = EXAMPLES)]
pub struct Flags {
    /// Directory of store, replicas, keys. Created when it is missing.
    #[arg(long, env = "ASPEN_DATA_DIR", default_value = "./aspen-data", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// What the node does: write zones and answer (authority, all), or follow a ticket (edge).
    /// Without it: edge if there is a ticket, a plain server of zone files if there are only
    /// those, all otherwise.
    #[arg(long, env = "ASPEN_ROLE", value_enum)]
    pub role: Option<Role>,

    /// Address to answer DNS on, UDP and TCP; may be given several times. [default: 127.0.0.1:5300]
    #[arg(long, env = "ASPEN_DNS_LISTEN", value_name = "IP:PORT", value_delimiter = ',')]
    pub dns_listen: Vec<SocketAddr>,

    /// Address of the HTTP API, or "off". [default: 127.0.0.1:8053]
    #[arg(long, env = "ASPEN_API_LISTEN", value_name = "IP:PORT")]
    pub api_listen: Option<ApiListen>,

    /// UDP address for other nodes. A fixed port lets edges find a restarted authority again.
    #[arg(
        long,
        env = "ASPEN_IROH_LISTEN",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:0",
        hide_default_value = true
    )]
    pub iroh_listen: SocketAddr,

    /// Relay that helps nodes behind address translation to meet: off, default, or a URL.
    #[arg(long, env = "ASPEN_RELAY", value_name = "off|default|URL", default_value = "off")]
    pub relay: RelayFlag,

    /// Ticket of the feed that an edge follows (`aspen-dns ticket create` prints one).
    #[arg(long, env = "ASPEN_TICKET", value_name = "TICKET", hide_env_values = true)]
    pub ticket: Option<DnsClientTicket>,

    /// What an edge is called, and what it does on its own.
    #[command(flatten)]
    pub edge: EdgeFlags,

    /// Print the key of this node's endpoint, which lists of feeds name (`aspen-dns feed allow`), and end: made now
    /// where there is none, so that an edge can be let in before it starts. Needs nothing but --data-dir.
    #[arg(long)]
    pub show_endpoint: bool,

    /// Directory whose NAME.zone master files are served as static zones. SIGHUP reads those that
    /// have changed.
    #[arg(long, env = "ASPEN_ZONE_DIR", value_name = "DIR")]
    pub zone_dir: Option<PathBuf>,

    /// Master file to serve as a static zone; may be given several times.
    #[arg(long, env = "ASPEN_ZONE_FILE", value_name = "FILE", value_delimiter = ',')]
    pub zone_file: Vec<PathBuf>,

    /// Where an authority keeps its records: redb (one file below the data directory) or etcd.
    #[arg(long, env = "ASPEN_STORE", value_name = "redb|etcd=URL[,URL…]")]
    pub store: Option<StoreChoice>,

    /// Who this node is to an etcd cluster.
    #[command(flatten)]
    pub etcd: EtcdFlags,

    /// Begin with an empty store although this node has fed edges from one that is gone: they lose
    /// every zone that is not made anew. A store that is there stays as it is.
    #[arg(long, env = "ASPEN_NEW_STORE", value_parser = FalseyValueParser::new())]
    pub new_store: bool,

    /// Networks whose addresses may transfer zones (AXFR, IXFR), or off.
    #[arg(
        long,
        env = "ASPEN_ALLOW_TRANSFER",
        value_name = "off|CIDR[,CIDR…]",
        default_value = TRANSFER_DEFAULT
    )]
    pub allow_transfer: TransferNetworks,

    /// UDP threads for each DNS address. [default: one for each processor]
    #[arg(long, env = "ASPEN_UDP_WORKERS", value_name = "N", value_parser = parse_udp_workers)]
    pub udp_workers: Option<u16>,

    /// CPUs that the UDP threads of each DNS address stay on, one after the other.
    #[arg(
        long,
        env = "ASPEN_UDP_CPUS",
        value_name = "CPU",
        value_delimiter = ',',
        value_parser = parse_cpu
    )]
    pub udp_cpus: Vec<usize>,

    /// Which UDP thread gets a query: one by the asker's address and port (hash), or that of the
    /// CPU that received it (cpu; for network cards that spread queries over all those CPUs).
    #[arg(long, env = "ASPEN_UDP_STEERING", value_enum, default_value = "hash")]
    pub udp_steering: Steering,

    /// Milliseconds that answers may be behind the store, or the feed, while `/readyz` says ready.
    #[arg(
        long,
        env = "ASPEN_READY_LAG_MS",
        value_name = "MS",
        default_value_t = READY_LAG_MS
    )]
    pub ready_lag_ms: u64,

    /// Text that answers an NSID option (RFC 5001); at most 64 octets.
    #[arg(long, env = "ASPEN_NSID", value_name = "TEXT", value_parser = parse_short_text)]
    pub nsid: Option<String>,

    /// Text that answers `version.bind. CH TXT`; without it that question is refused.
    #[arg(long, env = "ASPEN_VERSION_TXT", value_name = "TEXT", value_parser = parse_short_text)]
    pub version_txt: Option<String>,

    /// Lets each record of an RRset be the first of an answer in its turn.
    #[arg(long, env = "ASPEN_ROTATE", value_parser = FalseyValueParser::new())]
    pub rotate: bool,

    /// Adds the zone's NS records, and addresses of the hosts that an answer names.
    #[arg(long, env = "ASPEN_FULL_REPLIES", value_parser = FalseyValueParser::new())]
    pub full_replies: bool,

    /// What to log to stderr: error, warn, info, debug, trace or off, or TARGET=LEVEL for a part,
    /// with commas.
    #[arg(
        long,
        env = "ASPEN_LOG",
        value_name = "LEVEL",
        default_value = LOG_DEFAULT,
        hide_default_value = true
    )]
    pub log: String,
}

/// What a node does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Role {
    /// Store, export and answer from the store; an empty store gets a zone to try.
    All,
    /// Store, export and answer from the store.
    Authority,
    /// Follow a ticket and answer.
    Edge,
}

/// Which UDP thread of an address gets a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Steering {
    /// One by the asker's address and port.
    Hash,
    /// The one of the CPU that received the query.
    Cpu,
}

/// Where the API listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ApiListen {
    /// Nowhere.
    Off,
    /// On this address.
    On(SocketAddr),
}

/// Which relay servers are used, as the flag spells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayFlag(pub RelayChoice);

/// Why the text of a flag has no meaning.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlagError {
    /// `--api-listen`.
    #[error("neither IP:PORT nor \"off\"")]
    ApiListen,
    /// `--relay`.
    #[error("neither \"off\", \"default\" nor the URL of a relay")]
    Relay,
    /// `--store`.
    #[error("neither \"redb\" nor \"etcd=URL[,URL…]\" with http:// or https:// URLs")]
    Store,
    /// `--store`, with a user in a URL, where everybody who lists processes reads it.
    #[error("a user in a URL: give --etcd-user and --etcd-password-file instead")]
    StoreUser,
    /// `--lease-ms`.
    #[error("not a number of milliseconds")]
    LeaseMs,
    /// `--lease-ms`.
    #[error(transparent)]
    Lease(#[from] LeaseTimeError),
    /// `--etcd-prefix`.
    #[error("not 1 to {ETCD_PREFIX_OCTETS_MAX} octets")]
    EtcdPrefix,
    /// `--allow-transfer`.
    #[error("neither \"off\" nor networks like 192.0.2.0/24,2001:db8::/32")]
    Transfer,
    /// `--udp-workers`.
    #[error("not a number from 1 to {UDP_WORKERS_MAX}")]
    UdpWorkers,
    /// `--udp-cpus`.
    #[error("not a CPU's number, from 0 to {}", CPUS_MAX - 1)]
    Cpu,
    /// `--edge-name`.
    #[error(
        "not 1 to {EDGE_NAME_OCTETS_MAX} letters, digits, dots, hyphens and underscores, a letter first, nor \
         \"{ALL_EDGES}\""
    )]
    EdgeName,
    /// `--ready-silence` and other spans of time.
    #[error("not a time like 30s, 10m, 2h or 1d")]
    Time,
    /// `--expire`.
    #[error("neither \"soa\" nor a time like 30s, 10m, 2h or 1d")]
    Expire,
    /// `--nsid`, `--version-txt`.
    #[error("not 1 to {SHORT_TEXT_OCTETS_MAX} octets")]
    ShortText,
}

/// Why the flags cannot be meant together.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// An edge needs something to follow.
    #[error("--role edge needs a --ticket")]
    EdgeWithoutTicket,
    /// Only an edge follows a ticket.
    #[error("--ticket is for --role edge only")]
    TicketWithoutEdge,
    /// Only an edge is listed by an authority.
    #[error("--edge-name is for a node with a --ticket")]
    EdgeNameWithoutEdge,
    /// Only an edge may lose its author.
    #[error(
        "--ready-silence, --stale-ede, --expire and --follow-behind are for a node with a --ticket"
    )]
    EdgeFlagsWithoutEdge,
    /// An edge has no store.
    #[error("--store is for the roles all and authority only")]
    EdgeWithStore,
    /// Only a store in etcd has these.
    #[error("--etcd-…, --seal-key-file and --lease-ms are for --store etcd=URL[,URL…]")]
    EtcdFlagsWithoutEtcd,
    /// Neither is of use alone.
    #[error("--etcd-user and --etcd-password-file are given together")]
    EtcdUserWithoutPassword,
    /// Neither is of use alone.
    #[error("--etcd-cert and --etcd-key are given together")]
    EtcdCertWithoutKey,
    /// Only those who share feeds write them in turn.
    #[error("--lease-ms is of use with --seal-key-file only")]
    LeaseWithoutSealKey,
    /// Only a store can be new.
    #[error("--new-store is for a node with a store: --role all or authority")]
    NewStoreWithoutStore,
    /// Two flags name the same address.
    #[error("--dns-listen {address} is given twice")]
    AddressTwice {
        /// The address.
        address: SocketAddr,
    },
}

impl Flags {
    /// Returns what a node is to be started with.
    ///
    /// # Errors
    /// Every [`PlanError`].
    pub fn into_config(self) -> Result<Config, PlanError> {
        let mut seen = HashSet::new();
        for &address in &self.dns_listen {
            if address.port() != 0 && !seen.insert(address) {
                return Err(PlanError::AddressTwice { address });
            }
        }
        let plan = self.plan()?;
        let responder = ResponderConfig {
            version: self.version_txt,
            identity: self.nsid,
            has_rotation: self.rotate,
            has_full_replies: self.full_replies,
            transfers: TransferPolicy::new(self.allow_transfer.0),
            ..ResponderConfig::default()
        };
        let addresses = match self.dns_listen.as_slice() {
            [] => vec![DNS_LISTEN_DEFAULT],
            _ => self.dns_listen,
        };
        let steering = match self.udp_steering {
            Steering::Hash => UdpSteering::Hash,
            Steering::Cpu => UdpSteering::Cpu,
        };
        let (workers, cpus) = (self.udp_workers, self.udp_cpus);
        let is_asked_for = self.api_listen.is_some();
        let api = match self.api_listen.unwrap_or(ApiListen::On(API_LISTEN_DEFAULT)) {
            ApiListen::Off => None,
            ApiListen::On(address) => Some(ApiConfig { address, is_asked_for }),
        };
        Ok(Config {
            data_dir: self.data_dir,
            plan,
            dns: DnsConfig { addresses, workers, cpus, steering, responder },
            api,
            mesh_listen: self.iroh_listen,
            relay: self.relay.0,
            files: FilesConfig { dir: self.zone_dir, named: self.zone_file },
            ready_lag_ms: self.ready_lag_ms,
            edge: self.edge.config(),
        })
    }

    /// Decides what has to start.
    fn plan(&self) -> Result<Plan, PlanError> {
        let has_files = self.zone_dir.is_some() || !self.zone_file.is_empty();
        let engine = match self.store.clone() {
            Some(StoreChoice::Etcd(endpoints)) => {
                StoreEngine::Etcd(Box::new(self.etcd.clone().cluster(endpoints)?))
            }
            _ if self.etcd != EtcdFlags::default() => return Err(PlanError::EtcdFlagsWithoutEtcd),
            Some(StoreChoice::Redb) | None => StoreEngine::Redb,
        };
        let store = || StoreConfig { engine: engine.clone(), is_new_allowed: self.new_store };
        let plan = match (self.role, &self.ticket) {
            (Some(Role::Edge), None) => Err(PlanError::EdgeWithoutTicket),
            (Some(Role::All | Role::Authority), Some(_)) => Err(PlanError::TicketWithoutEdge),
            (Some(Role::Edge) | None, Some(_)) if self.store.is_some() => {
                Err(PlanError::EdgeWithStore)
            }
            (Some(Role::Edge) | None, Some(ticket)) => Ok(Plan::Edge(Box::new(ticket.clone()))),
            (Some(Role::Authority), None) => Ok(Plan::Authority(store())),
            (None, None) if has_files && self.store.is_none() => Ok(Plan::Static),
            (Some(Role::All) | None, None) => Ok(Plan::All(store())),
        };
        match plan? {
            Plan::Edge(_) | Plan::Static if self.new_store => Err(PlanError::NewStoreWithoutStore),
            Plan::All(_) | Plan::Authority(_) | Plan::Static if self.edge.edge_name.is_some() => {
                Err(PlanError::EdgeNameWithoutEdge)
            }
            Plan::All(_) | Plan::Authority(_) | Plan::Static
                if self.edge != EdgeFlags::default() =>
            {
                Err(PlanError::EdgeFlagsWithoutEdge)
            }
            plan => Ok(plan),
        }
    }
}

/// Reads flags and environment as `main` gets them.
///
/// # Errors
/// clap's error, of which [`one_line`] makes what a user should see.
pub fn parse_flags(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Flags, clap::Error> {
    Flags::try_parse_from(arguments)
}

/// Returns one line for an error about a flag's value; other errors are clap's to print.
pub fn one_line(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg)?.split_whitespace().next()?;
    let value = text(ContextKind::InvalidValue)?;
    let reason = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        // So clap says that a value is empty where none may be.
        _ if value.is_empty() => "a value is missing".to_owned(),
        (None, Some(ContextValue::Strings(valid))) => format!("not one of {}", valid.join(", ")),
        (None, _) => "not a value for it".to_owned(),
    };
    let shown: String = value.chars().take(SHOWN_CHARACTERS_MAX).collect();
    let dots = if shown.len() < value.len() { "…" } else { "" };
    Some(format!("{flag} {shown:?}{dots}: {reason}"))
}

impl FromStr for ApiListen {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::On).map_err(|_| FlagError::ApiListen),
        }
    }
}

impl FromStr for RelayFlag {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        match text {
            "off" => Ok(Self(RelayChoice::Off)),
            "default" => Ok(Self(RelayChoice::Default)),
            url if url.starts_with("http://") || url.starts_with("https://") => {
                let url = url.parse::<RelayUrl>().map_err(|_| FlagError::Relay)?;
                Ok(Self(RelayChoice::Url(url)))
            }
            _ => Err(FlagError::Relay),
        }
    }
}

/// Reads the number of UDP threads.
fn parse_udp_workers(text: &str) -> Result<u16, FlagError> {
    text.parse()
        .ok()
        .filter(|workers| (1..=UDP_WORKERS_MAX).contains(workers))
        .ok_or(FlagError::UdpWorkers)
}

/// Reads the number of a CPU.
fn parse_cpu(text: &str) -> Result<usize, FlagError> {
    text.parse().ok().filter(|cpu| *cpu < CPUS_MAX).ok_or(FlagError::Cpu)
}

/// Reads a text that goes into one character string or EDNS option.
fn parse_short_text(text: &str) -> Result<String, FlagError> {
    match text.len() {
        1..=SHORT_TEXT_OCTETS_MAX => Ok(text.to_owned()),
        _ => Err(FlagError::ShortText),
    }
}

/// Where DNS is answered if nothing is said.
const DNS_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_300);
/// Where the API listens if nothing is said.
const API_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8_053);
/// Who may transfer zones if nothing is said: this machine.
const TRANSFER_DEFAULT: &str = "127.0.0.0/8,::1/128";
/// What is logged if nothing is said: of the transport only what went wrong for good.
const LOG_DEFAULT: &str = "error,aspen_dns=info";
/// Octets of the texts that replies carry: they must not push an answer out of a reply.
const SHORT_TEXT_OCTETS_MAX: usize = 64;
/// Characters of a bad value that its error line repeats.
const SHOWN_CHARACTERS_MAX: usize = 60;
/// The first line of the help.
const ABOUT: &str = "Authoritative DNS server whose zones are replicated documents";
/// The end of the help.
const EXAMPLES: &str = "\
Examples:
  aspen-node
      An authority with a zone to try, in ./aspen-data: dig @127.0.0.1 -p 5300 www.example.test
  aspen-node --zone-dir zones/ --dns-listen 0.0.0.0:53
      A plain server of master files.
  aspen-node --ticket aspendns… --data-dir /var/lib/aspen --dns-listen 0.0.0.0:53
      An edge that follows an authority's feed.

Every flag is also an environment variable: --dns-listen is ASPEN_DNS_LISTEN (lists with commas).";

#[cfg(test)]
mod tests;
