//! Writers and askers: what a run does with the fleet while it is under faults.
//!
//! **Invariant:** of a zone one writer makes one commit after the other, each on the condition that the one before
//! is the newest; when nobody knows what became of one, the store is read before the next.
//! **Not here:** what any of it should have been (`checker`).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::asker::{AAAA, NOERROR, SOA, address as address_of, try_ask};
use crate::contact::{Place, Turn};
use crate::history::{Ask, Commit, MEMBERS, Name, Reading, Round, SLOTS, Seen};
use crate::record::{Record, lock};
use crate::seeded::Seeded;
use crate::ways::address;

/// How long a write or a reading may take before its outcome is unknown.
const REQUEST: Duration = Duration::from_secs(3);
/// How long a question may take. Answers are there in less than a millisecond.
const QUESTION: Duration = Duration::from_millis(500);
/// The zone that is imported anew with each value.
const IMPORTED: usize = 3;
/// Names of that zone that make it large.
const NAMES: u32 = 500;
/// NXDOMAIN, as an RCODE.
const NXDOMAIN: u8 = 3;

/// An authority's API.
#[derive(Clone, Debug)]
pub struct Api {
    pub address: SocketAddr,
    pub key: String,
}

impl Api {
    pub fn of(place: Place, key: String) -> Self {
        Self { address: (address(place), 8053).into(), key }
    }

    /// Sends a request; an error if no whole answer comes in time.
    pub fn send(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        self.send_with(method, path, "", body)
    }

    /// Sends a request with more lines of its head.
    fn send_with(
        &self,
        method: &str,
        path: &str,
        lines: &str,
        body: &str,
    ) -> std::io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect_timeout(&self.address, REQUEST)?;
        stream.set_read_timeout(Some(REQUEST))?;
        stream.set_write_timeout(Some(REQUEST))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\nconnection: close\r\n\
             {lines}content-length: {}\r\n\r\n",
            self.address,
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Ok((status.ok_or_else(broken)?, body))
    }
}

/// The apex of a zone.
pub fn apex(zone: usize) -> String {
    format!("z{zone}.example")
}

/// How a writer makes its commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A batch of some names.
    Batch,
    /// All of the zone anew.
    Import,
}

/// Writes one zone until the run is over; the first commit is made before anything is wrong.
pub struct Writer<'a> {
    record: &'a Record,
    zone: usize,
    form: Form,
    apis: &'a [Api],
    random: Seeded,
    /// The newest value and the revision that made it.
    newest: (u64, Option<u64>),
    /// The value that was asked for last.
    asked: u64,
    /// The slots of what was made.
    slots: BTreeMap<u64, u64>,
}

impl<'a> Writer<'a> {
    pub fn new(record: &'a Record, zone: usize, apis: &'a [Api], random: Seeded) -> Self {
        let form = if zone == IMPORTED { Form::Import } else { Form::Batch };
        let (newest, asked, slots) = ((0, None), 0, BTreeMap::new());
        Self { record, zone, form, apis, random, newest, asked, slots }
    }

    pub fn keep_writing(&mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::SeqCst) {
            if !self.write() {
                while !is_over.load(Ordering::SeqCst) && !self.read() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            let rest_ms = match self.form {
                Form::Batch => 20 + self.random.word() % 60,
                Form::Import => 400 + self.random.word() % 800,
            };
            std::thread::sleep(Duration::from_millis(rest_ms));
        }
    }

    pub fn newest(&self) -> u64 {
        self.newest.0
    }

    fn api(&mut self) -> &'a Api {
        &self.apis[self.random.below(self.apis.len())]
    }

    /// Makes a commit; returns whether it was acknowledged.
    pub fn write(&mut self) -> bool {
        self.asked += 1;
        let (value, zone, base) = (self.asked, self.zone, self.newest.0);
        let (path, condition, body) = match self.form {
            Form::Batch => ("/api/v1/aspen/batch".to_owned(), String::new(), self.batch(value)),
            Form::Import => {
                let condition = self.newest.1.map(|at| format!("if-match: \"{at}\"\r\n"));
                let path = format!("/api/v1/aspen/import?origin={}", apex(zone));
                (path, condition.unwrap_or_default(), self.text(value))
            }
        };
        let api = self.api();
        let began = self.record.now();
        // Noted before it is sent: an answer may have it before its reply is here.
        let commit = Commit { zone, value, base, began, acknowledged: None };
        let at = {
            let mut commits = lock(&self.record.commits);
            commits.push(commit);
            commits.len() - 1
        };
        let reply = api.send_with("POST", &path, &condition, &body);
        let Ok((200, made)) = reply else {
            let is_known = matches!(reply, Ok((..=408 | 410 | 413..=428, _)));
            assert!(!is_known, "{reply:?} to {path} {body}");
            return false;
        };
        lock(&self.record.commits)[at].acknowledged = Some(self.record.now());
        self.note(value, made["revision"].as_u64().expect("a revision"));
        true
    }

    /// Takes note of what is newest.
    fn note(&mut self, value: u64, revision: u64) {
        self.newest = (value, Some(revision));
        self.asked = self.asked.max(value);
        self.slots.insert(value % SLOTS, value);
    }

    /// The batch of a value, on the condition that the newest one is.
    fn batch(&self, value: u64) -> String {
        let apex = apex(self.zone);
        let set = |name: String| {
            let (domain, rdata) = (format!("{name}.{apex}"), [text_of(value)]);
            json!({"op": "set", "domain": domain, "type": "AAAA", "ttl_seconds": 60, "rdata": rdata})
        };
        let mut operations: Vec<Value> = (0..MEMBERS).map(|at| set(format!("m{at}"))).collect();
        operations.push(set(format!("s{}", value % SLOTS)));
        operations.push(match value % 2 {
            1 => set("odd".to_owned()),
            _ => json!({"op": "delete", "domain": format!("odd.{apex}"), "type": "AAAA"}),
        });
        let domain = format!("m0.{apex}");
        let condition = json!({"domain": domain, "type": "AAAA", "revision": self.newest.1});
        json!({"operations": operations, "preconditions": [condition]}).to_string()
    }

    /// The master file of a value.
    fn text(&self, value: u64) -> String {
        let mut text =
            "$TTL 60\n@ SOA ns.example. h.example. 1 60 60 60 60\n@ NS ns.example.\n".to_owned();
        let mut set = |name: String, value| {
            text.push_str(&format!("{name} AAAA {}\n", text_of(value)));
        };
        (0..MEMBERS).for_each(|at| set(format!("m{at}"), value));
        (0..NAMES).for_each(|at| set(format!("i{at}"), value));
        let mut slots = self.slots.clone();
        slots.insert(value % SLOTS, value);
        slots.into_iter().for_each(|(slot, value)| set(format!("s{slot}"), value));
        if value % 2 == 1 {
            set("odd".to_owned(), value);
        }
        text
    }

    /// Reads what is newest; returns whether the store said so.
    pub fn read(&mut self) -> bool {
        let (apex, asked) = (apex(self.zone), self.record.now());
        let api = self.api();
        let zone_revision = || {
            let (status, found) =
                api.send("GET", &format!("/api/v1/aspen/zones/{apex}"), "").ok()?;
            found["revision"].as_u64().filter(|_| status == 200)
        };
        let before = zone_revision();
        let path = format!("/api/v1/aspen/records/m0.{apex}/AAAA");
        let Ok((200, found)) = api.send("GET", &path, "") else { return false };
        let revision = match self.form {
            Form::Batch => found["revision"].as_u64(),
            // The zone stood still in between.
            Form::Import => before.filter(|_| zone_revision() == before),
        };
        let Some(revision) = revision else { return false };
        let address: Ipv6Addr = found["rdata"][0].as_str().expect("text").parse().expect("one");
        let value = (u128::from(address) & 0xffff_ffff) as u64;
        let (zone, answered) = (self.zone, self.record.now());
        lock(&self.record.readings).push(Reading { zone, value, asked, answered });
        self.note(value, revision);
        true
    }
}

/// The address that stands for a value.
fn text_of(value: u64) -> String {
    address_of(u32::try_from(value).expect("a short run"))
}

/// Asks one node about every zone in turn until the run is over.
pub fn keep_asking(record: &Record, place: Place, zones: usize, is_over: &AtomicBool) {
    for zone in (0..zones).cycle() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let round = ask_round(record, place, zone);
        let is_down = round.asks.iter().all(|ask| ask.seen == Seen::Nothing);
        lock(&record.rounds).push(round);
        std::thread::sleep(Duration::from_millis(if is_down { 50 } else { 15 }));
    }
}

/// Asks a member of etcd whether a commit could be made until the run is over.
pub fn keep_probing(record: &Record, place: Place, is_over: &AtomicBool) {
    let mut was_well = false;
    while !is_over.load(Ordering::SeqCst) {
        let asked = record.now();
        let is_well = is_well(place);
        if is_well != was_well {
            // It is well from its answer on, and was not already when it was asked.
            let since = if is_well { record.now() } else { asked };
            record.note_since(since, Turn::IsWell(place, is_well));
            was_well = is_well;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a member of etcd says that a commit could be made.
pub fn is_well(place: Place) -> bool {
    let member = Api { address: (address(place), 2379).into(), key: String::new() };
    matches!(member.send("GET", "/health", ""), Ok((200, _)))
}

/// Asks a node about one zone, the serial first and last; no further when no answer comes.
fn ask_round(record: &Record, node: Place, zone: usize) -> Round {
    let mut names = vec![Name::Apex];
    names.extend((0..MEMBERS).map(Name::Member));
    names.extend([Name::Odd, Name::Apex]);
    let server = (address(node), 5300).into();
    let mut asks: Vec<Ask> = Vec::new();
    for name in names {
        let asked = record.now();
        let (qname, qtype) = match name {
            Name::Apex => (apex(zone), SOA),
            Name::Member(at) => (format!("m{at}.{}", apex(zone)), AAAA),
            Name::Odd => (format!("odd.{}", apex(zone)), AAAA),
        };
        let seen = match try_ask(server, &qname, qtype, QUESTION) {
            None => Seen::Nothing,
            Some(reply) if reply.rcode != NOERROR && reply.rcode != NXDOMAIN => {
                Seen::Failed(reply.rcode)
            }
            Some(reply) if reply.answers.is_empty() => Seen::Absent,
            Some(reply) if qtype == SOA => Seen::Serial(reply.serial().expect("an answer")),
            Some(reply) => Seen::Value(reply.value().expect("an answer").into()),
        };
        asks.push(Ask { name, asked, answered: record.now(), seen });
        if seen == Seen::Nothing {
            break;
        }
    }
    Round { node, zone, asks }
}
