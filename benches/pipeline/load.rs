//! Changes at one end, questions at the other.

use std::net::UdpSocket;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::nodes::{Api, Node};

/// Connections that changes are sent over, so that one slow commit delays no other.
const SENDERS: u32 = 16;
/// Names asked for in one round.
const ROUND: usize = 32;
/// The pause after questions.
const QUESTION_PAUSE: Duration = Duration::from_micros(150);

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
        print_times("reply -> answer at the edge", &mut self.lags_s);
        print_times("commit (the API call)", &mut self.commits_s);
        let rate = self.commits_s.len() as f64 / self.sent_s;
        println!("sent in {:.2} s ({rate:.0}/s), lost {}", self.sent_s, self.lost);
    }
}

/// Prints the median and the tail of seconds, in milliseconds.
pub fn print_times(what: &str, seconds: &mut [f64]) {
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (seconds.len() as f64 * share) as usize;
        seconds.get(index.min(seconds.len().saturating_sub(1))).map_or(0.0, |s| s * 1e3)
    };
    println!(
        "{what}: p50 {:.2} p90 {:.2} p99 {:.2} max {:.2} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// A change on its way.
struct Pending {
    /// Its number.
    index: u32,
    /// When the API replied.
    acknowledged: Instant,
}

/// Makes a query for `h{name}.example.com A`.
pub fn query(id: u16, name: u32) -> Vec<u8> {
    query_of(id, &format!("h{name}.example.com."))
}

/// Makes a query for the A records of an owner name.
pub fn query_of(id: u16, owner: &str) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut packet = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    aspen_dns::name::parse_labels(owner.as_bytes(), &mut packet).expect("a name");
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

/// Waits until a node has answered all queries with a record each; returns when the last was.
pub fn wait_all(node: &Node, mut queries: Vec<Vec<u8>>, limit: Duration) -> Option<Instant> {
    let socket = socket(node);
    let deadline = Instant::now() + limit;
    let mut reply = [0; 512];
    while !queries.is_empty() {
        let asked = queries.len().saturating_sub(ROUND);
        for (id, query) in queries[asked..].iter_mut().enumerate() {
            query[..2].copy_from_slice(&(id as u16).to_be_bytes());
            let _ = socket.send(query);
        }
        std::thread::sleep(Duration::from_micros(150));
        let mut answered = Vec::new();
        while let Ok(len) = socket.recv(&mut reply) {
            let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
            // The question is compared, too: a late reply of a round before has the same numbers.
            if let Some(query) = queries.get(asked + id)
                && len > query.len()
                && reply[7] > 0
                && reply[12..query.len()] == query[12..]
            {
                answered.push(asked + id);
            }
        }
        answered.sort_unstable();
        answered.dedup();
        answered.into_iter().rev().for_each(|index| drop(queries.swap_remove(index)));
        if Instant::now() > deadline {
            return None;
        }
    }
    Some(Instant::now())
}

/// Opens a socket toward a node.
fn socket(node: &Node) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(node.dns).expect("an address");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

/// Makes `count` changes at `rate` a second and watches the edge for each.
pub fn changes(authority: &Node, edge: &Node, names: u32, rate: f64, count: u32) -> Lags {
    let sender = Sender::new(authority, names, rate, 0..count);
    let ended = AtomicBool::new(false);
    let mut sent_s = 0.0;
    let (mut lags_s, mut lost) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(edge, names, &sender.pending, &ended));
        sent_s = sender.send_all();
        ended.store(true, Ordering::Release);
        (lags_s, lost) = watcher.join().expect("the watcher ends");
    });
    let commits_s = sender.commits.into_inner().expect("no sender panicked");
    Lags { lags_s, commits_s, lost, sent_s }
}

/// Makes these changes at `rate` a second, and looks for them only then, so that nobody but the
/// measurement asks the edge meanwhile. Returns how many were not seen, and the rate that was
/// reached.
pub fn changes_unwatched(
    authority: &Node,
    edge: &Node,
    names: u32,
    rate: f64,
    range: Range<u32>,
) -> (usize, f64) {
    let count = f64::from(range.end - range.start);
    let sender = Sender::new(authority, names, rate, range);
    let sent_s = sender.send_all();
    let (_, lost) = watch(edge, names, &sender.pending, &AtomicBool::new(true));
    (lost, count / sent_s)
}

/// Returns the name that a change changes: each another one, spread over the zone.
fn name_of(index: u32, names: u32) -> u32 {
    (u64::from(index) * 2_654_435_761 % u64::from(names)) as u32
}

/// Changes that are to be made.
struct Sender<'a> {
    /// Where they are made.
    authority: &'a Node,
    /// Names of the zone.
    names: u32,
    /// Changes a second.
    rate: f64,
    /// When the first is due.
    start: Instant,
    /// The number of the first, and of the one after the last.
    range: Range<u32>,
    /// The number of the next.
    next: AtomicU32,
    /// Those that are committed and have not been seen.
    pending: Mutex<Vec<Pending>>,
    /// Seconds that each commit took.
    commits: Mutex<Vec<f64>>,
}

impl<'a> Sender<'a> {
    /// Will make these changes, the first now.
    fn new(authority: &'a Node, names: u32, rate: f64, range: Range<u32>) -> Self {
        let (start, next) = (Instant::now(), AtomicU32::new(range.start));
        let (pending, commits) = (Mutex::default(), Mutex::default());
        Self { authority, names, rate, start, range, next, pending, commits }
    }

    /// Makes all changes over several connections; returns the seconds that it took.
    fn send_all(&self) -> f64 {
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| self.send());
            }
        });
        self.start.elapsed().as_secs_f64()
    }

    /// Makes changes over one connection until there are no more.
    fn send(&self) {
        let mut api = self.authority.connect();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.range.end {
                return;
            }
            let seconds = f64::from(index - self.range.start) / self.rate;
            let due = self.start + Duration::from_secs_f64(seconds);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let before = Instant::now();
            let acknowledged = put(&mut api, self.names, index);
            let took_s = (acknowledged - before).as_secs_f64();
            self.commits.lock().expect("no sender panicked").push(took_s);
            let mut pending = self.pending.lock().expect("no sender panicked");
            pending.push(Pending { index, acknowledged });
        }
    }
}

/// Makes one change over a connection; returns when it was acknowledged.
fn put(api: &mut Api, names: u32, index: u32) -> Instant {
    let name = name_of(index, names);
    let [a, b, c, d] = address(index);
    let body = format!("{{\"ttl_seconds\":300,\"rdata\":[\"{a}.{b}.{c}.{d}\"]}}");
    let path = format!("/api/v1/aspen/records/h{name}.example.com./A");
    api.request("PUT", &path, body.as_bytes());
    Instant::now()
}

/// Makes one change over a connection of its own; returns when it was acknowledged.
pub fn change(authority: &Node, names: u32, index: u32) -> Instant {
    put(&mut authority.connect(), names, index)
}

/// Waits until all edges answer with a change; returns when the last did. Some are asked at a time, and
/// the more they are the less often, so that the questions are not what keeps the machine busy.
pub fn wait_change(edges: &[&Node], names: u32, index: u32, limit: Duration) -> Option<Instant> {
    let deadline = Instant::now() + limit;
    let mut waiting: Vec<UdpSocket> = edges.iter().map(|edge| socket(edge)).collect();
    let query = query(0, name_of(index, names));
    let mut reply = [0; 512];
    while !waiting.is_empty() {
        for socket in waiting.iter().take(ROUND) {
            let _ = socket.send(&query);
        }
        let asked = waiting.len().min(ROUND) as u32;
        std::thread::sleep(QUESTION_PAUSE.max(QUESTION_PAUSE * asked / 3));
        waiting.retain(|socket| {
            let mut is_there = false;
            while let Ok(len) = socket.recv(&mut reply) {
                is_there |= len >= 16 && reply[len - 4..len] == address(index);
            }
            !is_there
        });
        if Instant::now() > deadline {
            return None;
        }
    }
    Some(Instant::now())
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
    pending: &Mutex<Vec<Pending>>,
    ended: &AtomicBool,
) -> (Vec<f64>, usize) {
    let socket = socket(edge);
    let mut lags_s = Vec::new();
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
        std::thread::sleep(QUESTION_PAUSE);
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
