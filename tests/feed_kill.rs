//! An authority and an edge that are killed at any moment, under writes.
//!
//! The nodes are processes of their own: this program again, told by its environment which node
//! to be. They obey lines on their input and answer with lines that begin with `@`.

mod feed;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aspen_dns::export::{DocsExporter, FeedConfig};
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::replica::AspenDnsClient;
use aspen_dns::store::DnsStore;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::ticket::DnsClientTicket;
use feed::{PATIENCE, name};
use tokio_util::sync::CancellationToken;

/// How often each node is killed.
const KILLS: u32 = 20;

#[test]
fn no_acknowledged_commit_is_lost_and_no_edge_goes_back_over_twenty_kills_of_each() {
    let dirs = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let mut authority = Node::start("authority", &dirs.path().join("a"), port, "");
    let ticket = authority.ask("ticket");
    let mut edge = Node::start("edge", &dirs.path().join("e"), 0, &ticket);
    let mut written = 0;
    let mut slowest = Duration::ZERO;
    for round in 0..KILLS {
        for _ in 0..(5 + round * 3) {
            written += 1;
            assert_eq!(authority.ask(&format!("set {written}")), "ok");
        }
        authority.kill();
        let served = edge.value();
        assert!(served <= written, "nobody wrote {served}");
        authority = Node::start("authority", &dirs.path().join("a"), port, "");
        let back = Instant::now();
        edge.wait(written);
        slowest = slowest.max(back.elapsed());

        written += 1;
        assert_eq!(authority.ask(&format!("set {written}")), "ok");
        edge.wait(written);
        edge.kill();
        edge = Node::start("edge", &dirs.path().join("e"), 0, &ticket);
        let served = edge.first_value();
        assert!(served >= written, "round {round}: served {written} before and {served} now");
    }
    println!("the edge had everything at most {slowest:?} after the authority's return");
    edge.kill();
    authority.kill();
}

/// A node in a process of its own.
struct Node {
    /// The process.
    child: Child,
    /// Where it is told what to do.
    input: ChildStdin,
    /// Where it answers.
    output: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a node and waits until it answers.
    fn start(role: &str, dir: &Path, port: u16, ticket: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "node_in_a_process_of_its_own", "--nocapture"])
            .env("ASPEN_TEST_ROLE", role)
            .env("ASPEN_TEST_DIR", dir)
            .env("ASPEN_TEST_PORT", port.to_string())
            .env("ASPEN_TEST_TICKET", ticket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut node = Self { child, input, output };
        assert_eq!(node.answer(), "ready");
        node
    }

    /// Tells the node something and returns its answer.
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the node runs");
        self.answer()
    }

    /// Returns the next answer.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("lines");
            assert!(read > 0, "the node has ended");
            // The test harness begins a line of its own.
            if let Some((_, answer)) = line.split_once('@') {
                return answer.trim().to_owned();
            }
        }
    }

    /// Returns the value that an edge serves.
    fn value(&mut self) -> u32 {
        self.ask("get").parse().expect("a number")
    }

    /// Returns the first value that a started edge serves.
    fn first_value(&mut self) -> u32 {
        let started = Instant::now();
        loop {
            let value = self.value();
            if value > 0 {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "the edge serves nothing");
        }
    }

    /// Waits until an edge serves a value, and sees that it never goes back.
    fn wait(&mut self, wanted: u32) {
        let started = Instant::now();
        let mut before = 0;
        while before < wanted {
            let value = self.value();
            assert!(value >= before, "{before} was served, then {value}");
            before = value;
            assert!(started.elapsed() < PATIENCE, "{wanted} is not served, but {value}");
        }
    }

    /// Kills the node as `kill -9` does.
    fn kill(&mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}

/// Is a node when the environment says so, and nothing otherwise.
#[test]
fn node_in_a_process_of_its_own() {
    let Ok(role) = std::env::var("ASPEN_TEST_ROLE") else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        if role == "authority" { be_authority().await } else { be_edge().await }
    });
}

/// Starts the mesh of this node.
async fn mesh() -> Arc<Mesh> {
    let dir = std::env::var("ASPEN_TEST_DIR").expect("a directory");
    let port: u16 = std::env::var("ASPEN_TEST_PORT").expect("a port").parse().expect("a number");
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let config = MeshConfig { dir: Some(dir.into()), listen, ..MeshConfig::default() };
    Arc::new(Mesh::start(config).await.expect("a mesh"))
}

/// Obeys lines until there are no more.
async fn obey<F: AsyncFnMut(&str) -> String>(mut answer: F) {
    println!("@ready");
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&line.expect("a line")).await;
        println!("@{answer}");
    }
}

/// Is an authority of one zone with one record, a number.
async fn be_authority() {
    let mesh = mesh().await;
    let path = Path::new(&std::env::var("ASPEN_TEST_DIR").expect("a directory")).join("store.redb");
    let engine = Arc::new(RedbStore::open(&path).expect("the store opens"));
    let store = DnsStore::open(engine).await.expect("the store opens");
    if store.get_zone(&name("example")).await.expect("a look").is_none() {
        store.create_zone(ZoneSettings::new(name("example"))).await.expect("a zone");
    }
    let (source, stop) = (Arc::clone(&store), CancellationToken::new());
    let exporter = DocsExporter::spawn(mesh, source, FeedConfig::default(), stop).await;
    let exporter = exporter.expect("the exporter starts");
    obey(async |line| match line.strip_prefix("set ") {
        Some(number) => {
            let number: u32 = number.parse().expect("a number");
            let rdata = [number.to_be_bytes()];
            let rrset = Rrset::new(name("n.example"), RecordType::A, 60, rdata);
            store.set_record(rrset.expect("a record")).await.expect("a commit");
            "ok".to_owned()
        }
        None => exporter.ticket().to_text().expect("a ticket"),
    })
    .await;
}

/// Is an edge that tells the number it serves.
async fn be_edge() {
    let mesh = mesh().await;
    let ticket = std::env::var("ASPEN_TEST_TICKET").expect("a ticket");
    let ticket: DnsClientTicket = ticket.parse().expect("a ticket");
    let client = AspenDnsClient::builder().ticket(ticket).build().expect("a client");
    let _following = client.follow(&mesh).await.expect("the feed is followed");
    obey(async |_| {
        let found = client.lookup_a(&name("n.example"));
        found.first().map_or(0, |address| u32::from(*address)).to_string()
    })
    .await;
}
