//! An authority and an edge, each with a mesh of its own, for tests over the network.

#![allow(dead_code)] // each test file uses its part

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aspen_dns::export::{DocsExporter, FeedConfig};
use aspen_dns::lookup::Outcome;
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::replica::{AspenDnsClient, Following};
use aspen_dns::store::DnsStore;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::ticket::DnsClientTicket;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A node with a store that exports it.
pub struct Authority {
    /// Its files.
    pub dir: TempDir,
    /// The truth.
    pub store: Arc<DnsStore>,
    /// Its peer.
    pub mesh: Arc<Mesh>,
    /// What writes the feed.
    pub exporter: DocsExporter,
    /// Ends the exporter.
    pub stop: CancellationToken,
}

impl Authority {
    /// Starts with nothing.
    pub async fn start() -> Self {
        Self::start_with(FeedConfig::default()).await
    }

    /// Starts with a feed of its own.
    pub async fn start_with(config: FeedConfig) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = RedbStore::open(&dir.path().join("store.redb")).expect("the store opens");
        let store = DnsStore::open(Arc::new(engine)).await.expect("the store opens");
        let mesh = mesh(&dir).await;
        let stop = CancellationToken::new();
        let source = Arc::clone(&store);
        let exporter = DocsExporter::spawn(Arc::clone(&mesh), source, config, stop.clone());
        let exporter = exporter.await.expect("the exporter starts");
        Self { dir, store, mesh, exporter, stop }
    }

    /// The ticket of its feed.
    pub fn ticket(&self) -> DnsClientTicket {
        self.exporter.ticket()
    }

    /// Makes a zone.
    pub async fn create_zone(&self, apex: &str) -> u64 {
        self.store.create_zone(ZoneSettings::new(name(apex))).await.expect("a new zone")
    }

    /// Enables or disables a zone.
    pub async fn set_enabled(&self, apex: &str, is_enabled: bool) -> u64 {
        let settings = ZoneSettings { is_enabled, ..ZoneSettings::new(name(apex)) };
        self.store.set_zone(settings).await.expect("settings")
    }

    /// Sets a record and returns its revision.
    pub async fn set(&self, rrset: Rrset) -> u64 {
        self.store.set_record(rrset).await.expect("a commit")
    }

    /// Waits until log and document have a revision.
    pub async fn wait_exported(&self, revision: u64) {
        let mut status = self.exporter.status();
        let reached = status.wait_for(|status| {
            status.revision.revision >= revision && status.document.revision >= revision
        });
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.expect("exported in time").expect("the exporter runs");
    }

    /// Stops the exporter; the peer stays.
    pub async fn stop_exporter(&self) {
        self.stop.cancel();
        self.exporter.ended().await;
    }

    /// Stops the exporter and starts another over the same namespace.
    pub async fn restart_exporter(&mut self) {
        self.stop_exporter().await;
        self.stop = CancellationToken::new();
        let (mesh, source) = (Arc::clone(&self.mesh), Arc::clone(&self.store));
        let exporter =
            DocsExporter::spawn(mesh, source, FeedConfig::default(), self.stop.clone()).await;
        self.exporter = exporter.expect("the exporter starts again");
    }

    /// Stops.
    pub async fn stop(self) {
        self.stop_exporter().await;
        self.mesh.shutdown().await;
    }
}

/// A node that follows a feed.
pub struct Edge {
    /// Its files.
    pub dir: TempDir,
    /// What it serves.
    pub client: Arc<AspenDnsClient>,
    /// Its peer.
    pub mesh: Arc<Mesh>,
    /// Its feed.
    pub following: Following,
}

impl Edge {
    /// Starts with nothing.
    pub async fn start(ticket: &DnsClientTicket) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), ticket).await
    }

    /// Starts with what a former one left.
    pub async fn start_in(dir: TempDir, ticket: &DnsClientTicket) -> Self {
        let mesh = mesh(&dir).await;
        let client = AspenDnsClient::builder().ticket(ticket.clone()).build().expect("a client");
        let following = client.follow(&mesh).await.expect("the feed is followed");
        Self { dir, client, mesh, following }
    }

    /// A ticket for the same feed with this edge as its only peer.
    pub fn ticket(&self, authority: &Authority) -> DnsClientTicket {
        DnsClientTicket { peers: vec![self.mesh.own_peer()], ..authority.ticket() }
    }

    /// Waits until a name has an address.
    pub async fn wait_address(&self, owner: &str, octet: u8) {
        let what = format!("{owner} has {}", address(octet));
        let owner = name(owner);
        wait_until(&what, || self.client.lookup_a(&owner) == [address(octet)]).await;
    }

    /// Waits until the A record of a name is answered so.
    pub async fn wait_outcome(&self, owner: &str, outcome: &Outcome) {
        let what = format!("{owner} is {outcome:?}");
        let owner = name(owner);
        let is_so = || self.client.resolve(&owner, RecordType::A).outcome == *outcome;
        wait_until(&what, is_so).await;
    }

    /// Stops and returns the directory, for another start.
    pub async fn stop(self) -> TempDir {
        self.following.stop().await;
        self.mesh.shutdown().await;
        self.dir
    }
}

/// Starts a mesh on the loopback address.
async fn mesh(dir: &TempDir) -> Arc<Mesh> {
    let config = MeshConfig { dir: Some(dir.path().join("mesh")), ..MeshConfig::default() };
    Arc::new(Mesh::start(config).await.expect("a mesh"))
}

/// Waits until a condition holds.
pub async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().expect(text)
}

/// A documentation address.
pub fn address(octet: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, octet)
}

/// An A record with a documentation address.
pub fn a(owner: &str, octet: u8) -> Rrset {
    Rrset::new(name(owner), RecordType::A, 60, [address(octet).octets()]).expect("one record")
}
