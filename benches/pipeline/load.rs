//! Changes at one end, questions at the other.

use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::nodes::Node;

/// Connections that changes are sent over, so that one slow commit delays no other.
const SENDERS: u32 = 16;
/// Names asked for in one round.
const ROUND: usize = 32;

/// What a run of changes gave.
pub struct Lags {
    /// Seconds from the API's reply to the new answer, one for each change that was seen.
    lags_s: Vec<f64>,
    /// Seconds that the API took.
    commits_s: Vec<f64>,
    /// Changes that were never seen.
    lost: usize,
    /// Seconds from the first change to the last reply of the API.
    sent_s: f64,
}

impl Lags {
    /// Prints medians and tails in milliseconds.
    pub fn print(mut self) {
        let line = |name: &str, values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let at = |share: f64| {
                let index = (values.len() as f64 * share) as usize;
                values.get(index.min(values.len().saturating_sub(1))).map_or(0.0, |s| s * 1e3)
            };
            println!(
                "{name}: p50 {:.2} p90 {:.2} p99 {:.2} max {:.2} ms",
                at(0.5),
                at(0.9),
                at(0.99),
                at(1.0)
            );
        };
        line("reply -> answer at the edge", &mut self.lags_s);
        line("commit (the API call)", &mut self.commits_s);
        let rate = self.commits_s.len() as f64 / self.sent_s;
        println!("sent in {:.2} s ({rate:.0}/s), lost {}", self.sent_s, self.lost);
    }
}

/// A change on its way.
struct Pending {
    /// Its number.
    index: u32,
    /// When the API replied.
    acknowledged: Instant,
}

/// Makes a query for `h{name}.example.com A`.
fn query(id: u16, name: u32) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut packet = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    aspen_dns::name::parse_labels(format!("h{name}.example.com.").as_bytes(), &mut packet)
        .expect("a name");
    packet.extend_from_slice(&[0, 1, 0, 1]);
    packet
}

/// Waits until a node answers the name with an address; returns when.
pub fn wait_answer(node: &Node, name: u32, limit: Duration) -> Option<Instant> {
    let socket = socket(node);
    let deadline = Instant::now() + limit;
    let mut reply = [0; 512];
    while Instant::now() < deadline {
        let _ = socket.send(&query(1, name));
        std::thread::sleep(Duration::from_micros(500));
        if let Ok(len) = socket.recv(&mut reply)
            && len > 12
            && reply[7] > 0
        {
            return Some(Instant::now());
        }
    }
    None
}

/// Opens a socket towards a node.
fn socket(node: &Node) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(node.dns).expect("an address");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

/// Makes `count` changes at `rate` a second and watches the edge for each.
pub fn changes(authority: &Node, edge: &Node, names: u32, rate: f64, count: u32) -> Lags {
    let pending = Mutex::new(Vec::<Pending>::new());
    let commits = Mutex::new(Vec::new());
    let (next, ended) = (AtomicU32::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let mut sent_s = 0.0;
    let (mut lags_s, mut lost) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(edge, names, count, &pending, &ended));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope
                    .spawn(|| send(authority, names, rate, count, start, &next, &pending, &commits))
            })
            .collect();
        for sender in senders {
            sender.join().expect("a sender ends");
        }
        sent_s = start.elapsed().as_secs_f64();
        ended.store(true, Ordering::Release);
        (lags_s, lost) = watcher.join().expect("the watcher ends");
    });
    let commits_s = commits.into_inner().expect("no sender panicked");
    Lags { lags_s, commits_s, lost, sent_s }
}

/// Returns the name that a change changes: each another one, spread over the zone.
fn name_of(index: u32, names: u32) -> u32 {
    (u64::from(index) * 2_654_435_761 % u64::from(names)) as u32
}

/// Sends changes until there are no more.
#[allow(clippy::too_many_arguments)] // one thread's whole world
fn send(
    authority: &Node,
    names: u32,
    rate: f64,
    count: u32,
    start: Instant,
    next: &AtomicU32,
    pending: &Mutex<Vec<Pending>>,
    commits: &Mutex<Vec<f64>>,
) {
    let mut api = authority.connect();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= count {
            return;
        }
        let due = start + Duration::from_secs_f64(f64::from(index) / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let name = name_of(index, names);
        let [a, b, c, d] = address(index);
        let body = format!("{{\"ttl_seconds\":300,\"rdata\":[\"{a}.{b}.{c}.{d}\"]}}");
        let path = format!("/api/v1/aspen/records/h{name}.example.com./A");
        let before = Instant::now();
        api.request("PUT", &path, body.as_bytes());
        let acknowledged = Instant::now();
        commits.lock().expect("no sender panicked").push((acknowledged - before).as_secs_f64());
        let mut pending = pending.lock().expect("no sender panicked");
        pending.push(Pending { index, acknowledged });
    }
}

/// Returns the address that a change sets.
fn address(index: u32) -> [u8; 4] {
    let [_, b, c, d] = index.to_be_bytes();
    [11, b, c, d]
}

/// Asks the edge for what is pending; returns the lags and how many changes were never seen.
fn watch(
    edge: &Node,
    names: u32,
    count: u32,
    pending: &Mutex<Vec<Pending>>,
    ended: &AtomicBool,
) -> (Vec<f64>, usize) {
    let socket = socket(edge);
    let mut lags_s = Vec::with_capacity(count as usize);
    let mut deadline = None;
    let mut reply = [0; 512];
    loop {
        let round: Vec<u32> = {
            let pending = pending.lock().expect("no sender panicked");
            pending.iter().take(ROUND).map(|change| change.index).collect()
        };
        if round.is_empty() && ended.load(Ordering::Acquire) {
            return (lags_s, 0);
        }
        for (id, index) in round.iter().enumerate() {
            let _ = socket.send(&query(id as u16, name_of(*index, names)));
        }
        std::thread::sleep(Duration::from_micros(150));
        while let Ok(len) = socket.recv(&mut reply) {
            let now = Instant::now();
            let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
            let Some(&index) = round.get(id) else { continue };
            if len < 16 || reply[len - 4..len] != address(index) {
                continue;
            }
            let mut pending = pending.lock().expect("no sender panicked");
            if let Some(at) = pending.iter().position(|change| change.index == index) {
                let change = pending.remove(at);
                lags_s.push(now.saturating_duration_since(change.acknowledged).as_secs_f64());
            }
        }
        if ended.load(Ordering::Acquire) {
            let end = *deadline.get_or_insert_with(|| Instant::now() + Duration::from_secs(30));
            if Instant::now() > end {
                let lost = pending.lock().expect("no sender panicked").len();
                return (lags_s, lost);
            }
        }
    }
}
