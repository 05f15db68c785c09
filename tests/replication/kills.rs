//! Both nodes are killed at any moment, beside writers of every kind and askers of every zone.
//!
//! `ASPEN_TEST_KILLS` and `ASPEN_TEST_SEED` say how many rounds there are, and which.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::asker::{AAAA, SOA, address, ask, transfer, try_ask};
use crate::model::Model;
use crate::node::{Node, Reach, Start, assert_equal, wait, wait_synced, zone_text};
use crate::seeded::Seeded;

const ZONES: [&str; 4] = ["one.example", "two.example", "three.example", "big.example"];
/// Names of the zone that is imported.
const IMPORTED: u32 = 20_000;
/// Names that a batch sets in each of its two zones.
const BATCH: u32 = 40;
/// Names that are changed one by one.
const CHANGED: usize = 50;
/// Zones that come and go.
const SMALL: usize = 6;
/// How long a question of those who only watch waits.
const WATCH: Duration = Duration::from_millis(300);

#[test]
fn nothing_is_lost_and_nothing_goes_back_over_kills_of_both_nodes() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("ASPEN_TEST_KILLS").unwrap_or(12);
    let seed = number("ASPEN_TEST_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("ASPEN_TEST_KILLS={rounds} ASPEN_TEST_SEED={seed}");
    let stage = Stage::default();
    std::thread::scope(|scope| {
        // It ends the threads, also when a check fails.
        let _end = End(&stage);
        let dirs = tempfile::tempdir().unwrap();
        let mut pair = Pair::start(&stage, &dirs);
        let writers = [patch, put, batch, import, make_zone];
        for (index, write) in writers.into_iter().enumerate() {
            let random = Seeded(seed.wrapping_add(1 + index as u64));
            let stage = &stage;
            scope.spawn(move || stage.keep_writing(random, write));
        }
        for side in [Side::Authority, Side::Edge] {
            let stage = &stage;
            scope.spawn(move || stage.keep_watching(side, Seeded(seed)));
            scope.spawn(move || stage.keep_transferring(side));
        }
        let mut random = Seeded(seed);
        for round in 0..rounds {
            pair.round(&stage, round, &mut random);
        }
        println!("{}", stage.summary());
        pair.authority.take().unwrap().terminate();
        pair.edge.take().unwrap().terminate();
    });
    assert!(stage.acknowledged.load(Ordering::Relaxed) > rounds, "the writers wrote");
    assert!(stage.watched.load(Ordering::Relaxed) > rounds, "the watchers watched");
}

/// Which node is meant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Side {
    Authority,
    Edge,
}

/// What all threads share.
#[derive(Debug, Default)]
struct Stage {
    /// Where each node is reached in its present life, while it lives.
    reaches: Mutex<HashMap<Side, (u64, Reach)>>,
    /// Lives of nodes.
    lives: AtomicU64,
    model: Model,
    /// The newest value.
    values: AtomicU32,
    /// Whether the writers write.
    may_write: AtomicBool,
    /// Writers in the midst of a request.
    writing: AtomicU32,
    is_over: AtomicBool,
    /// What must not be, and was seen.
    breaches: Mutex<Vec<String>>,
    acknowledged: AtomicU64,
    watched: AtomicU64,
    held: AtomicU64,
    transferred: AtomicU64,
}

/// Ends the threads of a stage when it goes out of scope.
struct End<'a>(&'a Stage);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

impl Stage {
    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, side: Side) -> Option<(u64, Reach)> {
        Self::lock(&self.reaches).get(&side).cloned()
    }

    /// Notes that a node lives, or that it is about to be killed.
    fn note(&self, side: Side, node: Option<&Node>) {
        let mut reaches = Self::lock(&self.reaches);
        match node {
            Some(node) => {
                let life = self.lives.fetch_add(1, Ordering::Relaxed);
                reaches.insert(side, (life, node.reach.clone()));
            }
            None => {
                reaches.remove(&side);
            }
        }
    }

    /// Notes what must not be, if it was seen in a life that still lasts: the port of a node that
    /// was killed may be another's.
    fn breach(&self, side: Side, life: u64, text: &str) {
        let reaches = Self::lock(&self.reaches);
        if reaches.get(&side).is_some_and(|(now, _)| *now == life) {
            Self::lock(&self.breaches).push(format!("{side:?}: {text}"));
        }
    }

    fn assert_clean(&self) {
        let breaches = Self::lock(&self.breaches);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }

    fn pause(&self) {
        self.may_write.store(false, Ordering::SeqCst);
        wait("the writers rest", || self.writing.load(Ordering::SeqCst) == 0);
    }

    fn next_value(&self) -> u32 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} commits acknowledged, {} answers watched ({} SERVFAIL), {} transfers",
            count(&self.acknowledged),
            count(&self.watched),
            count(&self.held),
            count(&self.transferred),
        )
    }

    /// Writes as long as that is allowed and the authority lives.
    fn keep_writing(&self, mut random: Seeded, write: Writer) {
        while !self.is_over.load(Ordering::SeqCst) {
            self.writing.fetch_add(1, Ordering::SeqCst);
            let reach = self.reach(Side::Authority);
            if let Some((life, reach)) = reach.filter(|_| self.may_write.load(Ordering::SeqCst)) {
                match write(self, &reach, &mut random) {
                    Ok(true) => {
                        self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(false) => {}
                    Err(text) => self.breach(Side::Authority, life, &text),
                }
            }
            self.writing.fetch_sub(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks a node for serials and values, which never go back, in all its lives.
    fn keep_watching(&self, side: Side, mut random: Seeded) {
        let mut seen: HashMap<String, u32> = HashMap::new();
        while !self.is_over.load(Ordering::SeqCst) {
            let Some((life, reach)) = self.reach(side) else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            // A name stands for all that always have the same value.
            let changed = format!("q{}.one.example", random.below(CHANGED));
            let mut questions = vec![
                (changed.clone(), changed, AAAA),
                (format!("b{}.two.example", random.below(BATCH as usize)), "two".to_owned(), AAAA),
                (
                    format!("i{}.big.example", random.below(IMPORTED as usize)),
                    "big".to_owned(),
                    AAAA,
                ),
            ];
            questions.extend(ZONES.map(|zone| (zone.to_owned(), zone.to_owned(), SOA)));
            for (qname, what, qtype) in questions {
                let Some(reply) = try_ask(reach.dns, &qname, qtype, WATCH) else { continue };
                self.watched.fetch_add(1, Ordering::Relaxed);
                let now = if qtype == SOA { reply.serial() } else { reply.value() };
                match (seen.get(&what), now) {
                    (Some(before), Some(now)) if now < *before => {
                        self.breach(side, life, &format!("{qname} went from {before} to {now}"));
                    }
                    (_, Some(now)) => {
                        seen.insert(what, now);
                    }
                    (Some(_), None) if reply.rcode == 2 && side == Side::Edge => {
                        self.held.fetch_add(1, Ordering::Relaxed);
                    }
                    (Some(before), None) => {
                        let rcode = reply.rcode;
                        self.breach(side, life, &format!("{qname} was {before}: RCODE {rcode}"));
                    }
                    (None, None) => {}
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Transfers zones whose names all have one value after every commit.
    fn keep_transferring(&self, side: Side) {
        for zone in ["two.example", "three.example", "big.example"].iter().cycle() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(30));
            let Some((life, reach)) = self.reach(side) else { continue };
            let Ok(Ok(zone_now)) = transfer(reach.dns, zone) else { continue };
            self.transferred.fetch_add(1, Ordering::Relaxed);
            let values: BTreeSet<u32> = zone_now.values.values().copied().collect();
            let count = zone_now.values.len() as u32;
            let whole = if *zone == "big.example" { IMPORTED } else { BATCH };
            if values.len() > 1 || (count != 0 && count != whole) {
                let text = format!("{zone} has half a commit: {count} names of {values:?}");
                self.breach(side, life, &text);
            }
        }
    }
}

/// Both nodes.
struct Pair {
    starts: HashMap<Side, Start>,
    authority: Option<Node>,
    edge: Option<Node>,
}

impl Pair {
    fn start(stage: &Stage, dirs: &tempfile::TempDir) -> Self {
        let own = Start::authority(&dirs.path().join("authority"));
        let authority = own.run();
        ZONES.iter().for_each(|zone| authority.create_zone(zone));
        let its = Start::edge(&dirs.path().join("edge"), &authority.ticket());
        let edge = its.run();
        wait_synced(&authority, &edge);
        stage.note(Side::Authority, Some(&authority));
        stage.note(Side::Edge, Some(&edge));
        let starts = HashMap::from([(Side::Authority, own), (Side::Edge, its)]);
        Self { starts, authority: Some(authority), edge: Some(edge) }
    }

    fn place(&mut self, side: Side) -> &mut Option<Node> {
        match side {
            Side::Authority => &mut self.authority,
            Side::Edge => &mut self.edge,
        }
    }

    fn kill(&mut self, stage: &Stage, side: Side) {
        stage.note(side, None);
        self.place(side).take().expect("it lived").kill();
    }

    fn revive(&mut self, stage: &Stage, side: Side) -> Duration {
        let node = self.starts[&side].run();
        let ready_after = node.ready_after;
        stage.note(side, Some(&node));
        *self.place(side) = Some(node);
        ready_after
    }

    /// Writes for a while, kills, starts again, and sees that nothing is lost.
    fn round(&mut self, stage: &Stage, round: u64, random: &mut Seeded) {
        stage.may_write.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300 + random.below(1_200) as u64));
        let what = random.below(5);
        let (killed, is_edge_first) = match what {
            0 | 1 => (vec![Side::Authority], false),
            2 => (vec![Side::Edge], false),
            3 => (vec![Side::Edge, Side::Authority], true),
            _ => (vec![Side::Authority, Side::Edge], false),
        };
        killed.iter().for_each(|side| self.kill(stage, *side));
        // An edge comes back beside the writers, an authority to requests that were cut off.
        if killed.contains(&Side::Authority) {
            stage.pause();
        }
        let mut readies = Vec::new();
        for side in &killed {
            readies.push((*side, self.revive(stage, *side)));
            if is_edge_first && *side == Side::Edge {
                self.assert_answers_alone();
            }
        }
        stage.pause();
        let (authority, edge) = (self.authority.as_ref().unwrap(), self.edge.as_ref().unwrap());
        let began = Instant::now();
        wait_synced(authority, edge);
        let synced_after = began.elapsed();
        let seen = stage.model.check(authority, edge, question);
        assert_equal(authority, edge, &ZONES);
        stage.assert_clean();
        let seen = seen.unwrap_or_else(|text| panic!("round {round}: {text}"));
        println!("round {round}: {readies:?}, synced {synced_after:?}, {seen} values");
    }

    /// An edge whose authority is gone answers what it had.
    fn assert_answers_alone(&self) {
        let edge = self.edge.as_ref().unwrap();
        for zone in ZONES {
            assert_eq!(ask(edge.dns, zone, SOA).rcode, 0, "{zone}: {}", edge.status());
        }
    }
}

/// What to ask for to see a name of the model.
fn question(name: &str) -> String {
    match name.strip_prefix('@') {
        Some(zone) => format!("x.{zone}"),
        None if name == "big" => format!("i{}.big.example", IMPORTED / 2),
        None => name.to_owned(),
    }
}

/// One request; says whether it was acknowledged.
type Writer = fn(&Stage, &Reach, &mut Seeded) -> Result<bool, String>;

/// Changes or deletes a name as PowerDNS's clients do.
fn patch(stage: &Stage, authority: &Reach, random: &mut Seeded) -> Result<bool, String> {
    let name = format!("p{}.one.example", random.below(CHANGED));
    let is_there = stage.model.acknowledged(&name).is_some();
    let value = (!is_there || random.below(10) > 0).then(|| stage.next_value());
    let mut rrset = json!({"name": format!("{name}."), "type": "AAAA", "changetype": "DELETE"});
    if let Some(value) = value {
        rrset["changetype"] = json!("REPLACE");
        rrset["ttl"] = json!(60);
        rrset["records"] = json!([{"content": address(value)}]);
    }
    let body = json!({"rrsets": [rrset]}).to_string();
    let path = "/api/v1/servers/localhost/zones/one.example.";
    stage.model.commit(&[name], value, authority, ("PATCH", path, &body))
}

/// Sets a name that is never deleted.
fn put(stage: &Stage, authority: &Reach, random: &mut Seeded) -> Result<bool, String> {
    let name = format!("q{}.one.example", random.below(CHANGED));
    let value = stage.next_value();
    let path = format!("/api/v1/aspen/records/{name}/AAAA");
    let body = json!({"ttl_seconds": 60, "rdata": [address(value)]}).to_string();
    stage.model.commit(&[name], Some(value), authority, ("PUT", &path, &body))
}

/// Sets all names of two zones in one commit.
fn batch(stage: &Stage, authority: &Reach, _: &mut Seeded) -> Result<bool, String> {
    let value = stage.next_value();
    let names =
        ["two", "three"].map(|zone| (0..BATCH).map(move |at| format!("b{at}.{zone}.example")));
    let names: Vec<String> = names.into_iter().flatten().collect();
    let operations: Vec<_> = names.iter().map(|name| set_operation(name, value)).collect();
    let body = json!({"operations": operations}).to_string();
    let request = ("POST", "/api/v1/aspen/batch", body.as_str());
    stage.model.commit(&names, Some(value), authority, request)
}

/// Replaces a zone of many names.
fn import(stage: &Stage, authority: &Reach, _: &mut Seeded) -> Result<bool, String> {
    let value = stage.next_value();
    let body = zone_text(IMPORTED, value);
    let request = ("POST", "/api/v1/aspen/import?origin=big.example", body.as_str());
    stage.model.commit(&["big".to_owned()], Some(value), authority, request)
}

/// Makes a zone with a name, or deletes it.
fn make_zone(stage: &Stage, authority: &Reach, random: &mut Seeded) -> Result<bool, String> {
    let zone = format!("d{}.example", random.below(SMALL));
    let names = [format!("@{zone}")];
    if stage.model.acknowledged(&names[0]).is_some() {
        let path = format!("/api/v1/aspen/zones/{zone}");
        return stage.model.commit(&names, None, authority, ("DELETE", &path, ""));
    }
    let value = stage.next_value();
    let made = json!({"op": "set_zone", "settings": {"apex": zone}});
    let body = json!({"operations": [made, set_operation(&format!("x.{zone}"), value)]});
    let (path, body) = ("/api/v1/aspen/batch", body.to_string());
    stage.model.commit(&names, Some(value), authority, ("POST", path, &body))
}

/// An operation of a batch.
fn set_operation(owner: &str, value: u32) -> serde_json::Value {
    let rdata = [address(value)];
    json!({"op": "set", "domain": owner, "type": "AAAA", "ttl_seconds": 60, "rdata": rdata})
}
