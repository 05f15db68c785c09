//! How quickly an edge follows: fresh, restarted, and live, each node a process of its own.
//!
//! ```text
//! cargo bench --bench edge -- [NAMES [RATE COUNT]]     # 1,000,000 names, 100 changes/s, 1,000 of them
//! ```
//!
//! An authority imports a zone of NAMES names. An edge starts with nothing, then again from its
//! disk with no peer, then follows COUNT changes made at RATE a second. Live latency is from the
//! store's acknowledgment to the edge's event after publishing, by the machine's one clock.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aspen_dns::export::{DocsExporter, FeedConfig};
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::replica::{AspenDnsClient, DnsEvent, spawn_dns_sync_listener};
use aspen_dns::store::DnsStore;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::ticket::DnsClientTicket;
use tokio_util::sync::CancellationToken;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|text| text != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var("ASPEN_BENCH_ROLE").as_deref() {
        Ok("authority") => runtime.block_on(be_authority()),
        Ok("edge") => runtime.block_on(be_edge()),
        _ => measure(&arguments[1..]),
    }
}

/// Starts the nodes and prints what they took.
fn measure(arguments: &[String]) {
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(default, |text| text.parse().expect("a number"))
    };
    let (names, rate, count) = (number(0, 1_000_000), number(1, 100), number(2, 1_000));
    let dir = tempfile::tempdir().expect("a directory");
    let plan = format!("{names} {rate} {count}");
    let mut authority = Node::start("authority", &dir.path().join("a"), &plan, "");
    println!("authority: {}", authority.line("imported"));
    println!("authority: {}", authority.line("exported"));
    let ticket = authority.line("ticket");
    let mut fresh = Node::start("edge", &dir.path().join("e"), &plan, &ticket);
    println!("fresh edge: {}", fresh.line("answers"));
    fresh.line("synced");
    writeln!(authority.child.stdin.as_mut().expect("piped"), "go").expect("it listens");
    let set = authority.times(count);
    let seen = fresh.times(count);
    let mut waits: Vec<i64> = set.iter().zip(&seen).map(|(set, seen)| seen - set).collect();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!(
        "{count} changes at {rate}/s, acknowledged to published: p50 {:.2} p90 {:.2} p99 {:.2} max {:.2} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    drop(fresh);
    drop(authority);
    let mut restarted = Node::start("edge", &dir.path().join("e"), &plan, &ticket);
    println!("restarted edge, no peer: {}", restarted.line("answers"));
}

/// A node in a process of its own.
struct Node {
    /// The process.
    child: Child,
    /// What it says.
    output: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a node.
    fn start(role: &str, dir: &Path, plan: &str, ticket: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env("ASPEN_BENCH_ROLE", role)
            .env("ASPEN_BENCH_DIR", dir)
            .env("ASPEN_BENCH_PLAN", plan)
            .env("ASPEN_BENCH_TICKET", ticket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output }
    }

    /// Waits for a line that begins with `word` and returns the rest.
    fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("lines") > 0, "no line {word}");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Reads a time in microseconds for each of `count` changes.
    fn times(&mut self, count: u64) -> Vec<i64> {
        let mut times = vec![0; usize::try_from(count).expect("few")];
        for _ in 0..count {
            let line = self.line("at");
            let (index, time) = line.split_once(' ').expect("two numbers");
            let index: usize = index.parse().expect("a number");
            times[index] = time.parse().expect("a number");
        }
        times
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a variable of the environment.
fn variable(name: &str) -> String {
    std::env::var(format!("ASPEN_BENCH_{name}")).expect("set by the parent")
}

/// Returns names, rate and count.
fn plan() -> [u64; 3] {
    let numbers: Vec<u64> =
        variable("PLAN").split(' ').map(|text| text.parse().expect("a number")).collect();
    numbers.try_into().expect("three numbers")
}

/// The clock in microseconds.
fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

/// The owner name of one host.
fn host(index: u64) -> Name {
    format!("h{index:07}.example").parse().expect("a name")
}

/// An address record whose address is a number.
fn record(index: u64, value: u64) -> Rrset {
    let octets = [(value as u32).to_be_bytes()];
    Rrset::new(host(index), RecordType::A, 300, octets).expect("one record")
}

/// Starts the mesh of this node.
async fn mesh() -> Arc<Mesh> {
    let dir = Some(PathBuf::from(variable("DIR")).join("mesh"));
    Arc::new(Mesh::start(MeshConfig { dir, ..MeshConfig::default() }).await.expect("a mesh"))
}

/// Imports, exports, and makes changes when it is told to.
async fn be_authority() {
    let [names, rate, count] = plan();
    let mesh = mesh().await;
    let path = Path::new(&variable("DIR")).join("store.redb");
    let engine = Arc::new(RedbStore::open(&path).expect("the store opens"));
    let store = DnsStore::open(engine).await.expect("the store opens");
    let apex: Name = "example".parse().expect("a name");
    let hosts = (0..names).flat_map(|index| {
        let third = Rrset::new(host(index), RecordType::AAAA, 300, [[index as u8; 16]]);
        let third = (index % 3 == 0).then(|| third.expect("one record"));
        std::iter::once(record(index, index)).chain(third)
    });
    let rrsets: Vec<Rrset> = hosts.collect();
    let (began, rrset_count) = (Instant::now(), rrsets.len());
    let settings = Some(ZoneSettings::new(apex.clone()));
    store.import_zone(&apex, rrsets, settings, &|_| {}).await.expect("imported");
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
    std::io::stdin().lock().lines().next();
    let mut changes = tokio::task::JoinSet::new();
    let began = Instant::now();
    for index in 0..count {
        let due = began + Duration::from_micros(1_000_000 * index / rate);
        tokio::time::sleep_until(due.into()).await;
        let store = Arc::clone(&store);
        changes.spawn(async move {
            let changed = record(index % names, CHANGED + index);
            store.set_record(changed).await.expect("a commit");
            println!("at {index} {}", now_us());
        });
    }
    changes.join_all().await;
    tokio::time::sleep(PATIENCE).await;
}

/// Follows, and tells when it saw what.
async fn be_edge() {
    let began = Instant::now();
    let [names, _, count] = plan();
    let mesh = mesh().await;
    let ticket: DnsClientTicket = variable("TICKET").parse().expect("a ticket");
    let client = AspenDnsClient::builder().ticket(ticket.clone()).build().expect("a client");
    let mut events = client.subscribe();
    let listener = spawn_dns_sync_listener(Arc::clone(&client), &mesh, &ticket).await;
    let _listener = listener.expect("the listener starts");
    let last = host(names - 1);
    while client.lookup_a(&last).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("answers the last name after {:?}, peak {}", began.elapsed(), peak_memory());
    client.wait_synced(PATIENCE).await.expect("synced");
    println!("synced");
    let mut seen = 0;
    while seen < count {
        let Ok(event) = events.recv().await else { continue };
        let DnsEvent::RecordUpdated { new, .. } = event else { continue };
        let Some(address) = new.rdata.first().first_chunk::<4>() else { continue };
        let value = u64::from(u32::from(Ipv4Addr::from(*address)));
        if let Some(index) = value.checked_sub(CHANGED).filter(|_| new.rtype == RecordType::A) {
            println!("at {index} {}", now_us());
            seen += 1;
        }
    }
    tokio::time::sleep(PATIENCE).await;
}

/// The most memory that this process has had.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.trim_start_matches("VmHWM:").trim().to_owned()
}

/// Addresses from here on are changes.
const CHANGED: u64 = 0x8000_0000;
