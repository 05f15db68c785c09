//! What the nodes do: an authority that imports, exports and makes changes, and edges that follow.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aspen_dns::export::{DocsExporter, FeedConfig};
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::replica::{AspenDnsClient, DnsEvent, Following};
use aspen_dns::store::DnsStore;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::ticket::DnsClientTicket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::process::{dir, variable};
use crate::{PATIENCE, Plan};

/// Imports, exports, and makes changes when it is told to.
pub async fn be_authority() {
    let plan = Plan::of_environment();
    let mesh = mesh(&dir()).await;
    let engine = RedbStore::open(&dir().join("store.redb")).expect("the store opens");
    let store = DnsStore::open(Arc::new(engine)).await.expect("the store opens");
    let (began, mut rrset_count) = (Instant::now(), 0);
    for zone in 0..plan.zones {
        let apex = apex(zone);
        let rrsets = rrsets(zone, plan.names);
        rrset_count += rrsets.len();
        let settings = Some(ZoneSettings::new(apex.clone()));
        store.import_zone(&apex, rrsets, settings, &|_| {}).await.expect("imported");
    }
    println!("imported {rrset_count} RRsets in {:?}", began.elapsed());
    let began = Instant::now();
    let (source, stop) = (Arc::clone(&store), CancellationToken::new());
    let exporter = DocsExporter::spawn(mesh, source, FeedConfig::default(), stop).await;
    let exporter = exporter.expect("the exporter starts");
    let revision = store.revision().await.expect("a revision");
    let mut status = exporter.status();
    status.wait_for(|status| status.revision.revision >= revision).await.expect("it runs");
    println!("exported in {:?}", began.elapsed());
    println!("ticket {}", exporter.ticket().to_text().expect("a ticket"));
    for line in std::io::stdin().lines() {
        let first: u64 = line.expect("a line").parse().expect("a number");
        make_changes(&store, &plan, first).await;
    }
}

/// Makes the changes from `first` on, each when it is due, and says when each was acknowledged.
async fn make_changes(store: &Arc<DnsStore>, plan: &Plan, first: u64) {
    let mut changes = tokio::task::JoinSet::new();
    let began = Instant::now();
    for index in 0..plan.count {
        let due = began + Duration::from_micros(1_000_000 * index / plan.rate);
        tokio::time::sleep_until(due.into()).await;
        let (store, index) = (Arc::clone(store), first + index);
        let zone = index % plan.zones;
        let changed = record(zone, index / plan.zones % plan.names, CHANGED + index);
        changes.spawn(async move {
            store.set_record(changed).await.expect("a commit");
            println!("at {index} {}", now_us());
        });
    }
    changes.join_all().await;
}

/// Follows, as so many edges as the plan says, and tells when a change was seen by all of them.
pub async fn be_edges() {
    let (began, plan) = (Instant::now(), Plan::of_environment());
    let ticket: DnsClientTicket = variable("TICKET").parse().expect("a ticket");
    let (seen, mut all_seen) = mpsc::unbounded_channel();
    let (mut edges, mut peer) = (Vec::new(), None);
    for number in 0..plan.edges {
        let mesh = mesh(&dir().join(number.to_string())).await;
        peer = peer.or_else(|| Some(mesh.own_peer()));
        edges.push((follow(&mesh, &ticket, &plan, seen.clone()).await, mesh));
    }
    let peak = peak_memory();
    println!("answer the last name of each zone after {:?}, peak {peak}", began.elapsed());
    for ((client, _), _) in &edges {
        client.wait_synced(PATIENCE).await.expect("synced");
    }
    let ticket = DnsClientTicket { peers: peer.into_iter().collect(), ..ticket };
    println!("ticket {}", ticket.to_text().expect("a ticket"));
    let mut left = std::collections::HashMap::new();
    while let Some(index) = all_seen.recv().await {
        let left = left.entry(index).or_insert(plan.edges);
        *left -= 1;
        if *left == 0 {
            println!("at {index} {}", now_us());
        }
    }
}

/// Starts one edge, waits until it answers the last name of each zone, and goes on telling what it sees.
async fn follow(
    mesh: &Mesh,
    ticket: &DnsClientTicket,
    plan: &Plan,
    seen: mpsc::UnboundedSender<u64>,
) -> (Arc<AspenDnsClient>, Following) {
    let client = AspenDnsClient::builder().ticket(ticket.clone()).build().expect("a client");
    let mut events = client.subscribe();
    let following = client.follow(mesh).await.expect("it follows");
    for zone in 0..plan.zones {
        let last = host(zone, plan.names - 1);
        while client.lookup_a(&last).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    tokio::spawn(async move {
        loop {
            let Ok(event) = events.recv().await else { continue };
            let DnsEvent::RecordUpdated { new, .. } = event else { continue };
            let Some(address) = new.rdata.first().first_chunk::<4>() else { continue };
            let value = u64::from(u32::from(Ipv4Addr::from(*address)));
            if let Some(index) = value.checked_sub(CHANGED).filter(|_| new.rtype == RecordType::A) {
                let _ = seen.send(index);
            }
        }
    });
    (client, following)
}

/// Starts the mesh of a node.
async fn mesh(dir: &Path) -> Arc<Mesh> {
    let dir = Some(dir.join("mesh"));
    Arc::new(Mesh::start(MeshConfig { dir, ..MeshConfig::default() }).await.expect("a mesh"))
}

/// The apex of a zone.
fn apex(zone: u64) -> Name {
    format!("z{zone}.example").parse().expect("a name")
}

/// The owner name of one host.
fn host(zone: u64, index: u64) -> Name {
    format!("h{index:07}.z{zone}.example").parse().expect("a name")
}

/// An address record whose address is a number.
fn record(zone: u64, index: u64, value: u64) -> Rrset {
    let octets = [(value as u32).to_be_bytes()];
    Rrset::new(host(zone, index), RecordType::A, 300, octets).expect("one record")
}

/// The RRsets of a zone: of three names each has an A, and one an AAAA.
fn rrsets(zone: u64, names: u64) -> Vec<Rrset> {
    let hosts = (0..names).flat_map(|index| {
        let third = Rrset::new(host(zone, index), RecordType::AAAA, 300, [[index as u8; 16]]);
        let third = (index % 3 == 0).then(|| third.expect("one record"));
        std::iter::once(record(zone, index, index)).chain(third)
    });
    hosts.collect()
}

/// The clock in microseconds.
fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

/// The most memory that this process has had.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.trim_start_matches("VmHWM:").trim().to_owned()
}

/// Addresses from here on are changes.
const CHANGED: u64 = 0x8000_0000;
