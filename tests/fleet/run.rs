//! One run: a fleet is started, put under faults beside writers and askers, healed, and judged.
//!
//! `FLEET_SEED` repeats the faults of a run, `FLEET_SECONDS` says how long they go on, and what the processes log is
//! kept in `FLEET_KEEP`.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aspen_dns::ticket::{DnsClientTicket, TicketPeer};

use crate::asker::transfer;
use crate::cast::{Cast, PATIENCE};
use crate::checker::{Breach, Verdict, judge};
use crate::contact::{Place, Shape, spans};
use crate::faults::Faults;
use crate::history::{Answerer, Final, History, MEMBERS, SLOTS};
use crate::record::{Record, lock};
use crate::seeded::Seeded;
use crate::traffic::{Api, Writer, apex, is_well, keep_asking, keep_probing};
use crate::ways::{Ways, address, within};

const SHAPE: Shape = Shape { members: 3, authorities: 2, edges: 3 };
const ZONES: usize = 4;
/// The edge that knows no authority from its ticket, and the one that it begins from.
const BEHIND: (Place, Place) = (7, 5);
/// How long faults are drawn at random for, where nothing else is said: the faults of the script alone, which are
/// the same each time.
const SECONDS: u64 = 0;
/// Breaches that are shown.
const SHOWN: usize = 40;
const INSIDE: &str = "FLEET_INSIDE";
/// What `within` starts again.
const TEST: &str = "run::a_fleet_under_faults_loses_nothing_answers_whole_and_in_time";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn a_fleet_under_faults_loses_nothing_answers_whole_and_in_time() {
    let lasts_s = number("FLEET_SECONDS").unwrap_or(SECONDS);
    if std::env::var_os(INSIDE).is_some() {
        return run(number("FLEET_SEED").expect("a seed"), Duration::from_secs(lasts_s));
    }
    let seed = number("FLEET_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("FLEET_SECONDS={lasts_s} FLEET_SEED={seed}");
    let etcd = std::process::Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
    let command = within(TEST).filter(|_| etcd.is_ok());
    let Some(mut command) = command else {
        // Not by a macro, whose lines nobody sees of a test that ends well.
        let line = b"SKIPPED: no etcd, no nftables, or no namespaces here: no fleet is tested\n";
        return std::io::Write::write_all(&mut std::io::stderr(), line).unwrap();
    };
    command.env(INSIDE, "1").env("FLEET_SEED", seed.to_string());
    command.env("FLEET_SECONDS", lasts_s.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("unshare runs");
    let stdout = child.stdout.take().expect("a pipe");
    let printing = std::thread::spawn(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        lines.map_while(Result::ok).for_each(|line| println!("{line}"));
    });
    let until = Instant::now() + Duration::from_secs(lasts_s) + 4 * PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break Some(status);
        }
        if Instant::now() > until {
            // With it goes all that was started inside.
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    printing.join().expect("it reads");
    assert!(status.is_some_and(|status| status.success()), "FLEET_SEED={seed}: {status:?}");
}

/// Runs inside the namespaces.
fn run(seed: u64, lasts: Duration) {
    let ways = Ways::make(SHAPE.places());
    // In memory, and seen by nobody else: it ends with this process.
    let dirs = tempfile::tempdir_in("/run").unwrap();
    let record = Arc::new(Record::new(SHAPE.places()));
    let mut cast = Cast::new(SHAPE, Arc::clone(&record), dirs.path());
    let apis = start(&mut cast, &record);
    println!("{:>9} all are ready", record.now() / 1_000);
    let is_over = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        // It ends the threads, also when a check fails.
        let _end = End(&is_over);
        for zone in 0..ZONES {
            let random = Seeded(seed.wrapping_add(1 + zone as u64));
            let mut writer = Writer::new(&record, zone, &apis, random);
            assert!(writer.read(), "nothing is wrong yet");
            let is_over = &is_over;
            scope.spawn(move || writer.keep_writing(is_over));
        }
        for place in 0..SHAPE.members {
            let (record, is_over) = (&record, &is_over);
            scope.spawn(move || keep_probing(record, place, is_over));
        }
        for place in SHAPE.members..SHAPE.places() {
            let (record, is_over) = (&record, &is_over);
            scope.spawn(move || keep_asking(record, place, ZONES, is_over));
        }
        for (can, what) in [(ways.can_be_slow, "slow ways"), (cast.can_step_clocks(), "clocks")] {
            if !can {
                println!("LEFT OUT: {what}, for which there is no device or no compiler here");
            }
        }
        let mut faults = Faults::new(&mut cast, &ways);
        faults.run_script();
        faults.run(&mut Seeded(seed), lasts);
        faults.end_all();
        let counts = faults.counts.clone();
        cast.wait_ready(0..SHAPE.places());
        // They are asked while they catch up.
        std::thread::sleep(Duration::from_secs(1));
        counts
    });
    let end = record.now();
    let finals = wait_equal(&record, &apis);
    println!("{:>9} all have the same", record.now() / 1_000);
    let history = history(&record, end, finals);
    let verdict = judge(&history);
    println!("faults: {counts:?}");
    show(&cast, &history, &verdict);
    assert_eq!(cast.died, [""; 0], "a node ended by itself");
    assert!(verdict.breaches.is_empty(), "{} rules were broken", verdict.breaches.len());
    assert!(verdict.acknowledged > 10 && verdict.judged > 100, "somebody wrote and asked");
}

/// Ends threads when it goes out of scope.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Starts everybody, and waits until all edges answer the first commit of each zone.
fn start(cast: &mut Cast, record: &Arc<Record>) -> Vec<Api> {
    let (members, edges) = (SHAPE.members, SHAPE.members + SHAPE.authorities);
    // The first one, which authorities ask first, does not lead: the others have agreed who does.
    for of in [1..members, 0..1] {
        of.clone().for_each(|place| cast.start(place));
        cast.wait_ready(of.clone());
        let until = Instant::now() + PATIENCE;
        while !of.clone().all(is_well) {
            assert!(Instant::now() < until, "members of etcd do not agree");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    (members..edges).for_each(|place| cast.start(place));
    cast.wait_ready(members..edges);
    let apis: Vec<Api> =
        (members..edges).map(|place| Api::of(place, cast.api_key(place))).collect();
    for zone in 0..ZONES {
        let made = apis[0].send("POST", &format!("/api/v1/aspen/zones/{}", apex(zone)), "{}");
        assert!(matches!(made, Ok((200, _))), "{made:?}");
        assert!(Writer::new(record, zone, &apis, Seeded(0)).write(), "the first commit");
    }
    let (_, made) = apis[1].send("POST", "/api/v1/aspen/tickets", "{}").expect("a ticket");
    let ticket: DnsClientTicket = made["ticket"].as_str().expect("text").parse().expect("a ticket");
    for place in edges..SHAPE.places() {
        let mut ticket = ticket.clone();
        if place == BEHIND.0 {
            ticket.peers = vec![peer_of(cast, BEHIND.1)];
        }
        cast.set_ticket(place, ticket.to_string());
        cast.start(place);
        cast.wait_ready(place..place + 1);
    }
    wait_equal(record, &apis);
    apis
}

/// Where an edge is reached by others.
fn peer_of(cast: &Cast, place: Place) -> TicketPeer {
    let secret = std::fs::read_to_string(cast.disk(place).join("data/mesh/secret-key")).unwrap();
    let secret = data_encoding::HEXLOWER.decode(secret.trim().as_bytes()).unwrap();
    let secret = iroh::SecretKey::from_bytes(&secret.try_into().unwrap());
    let addrs = vec![SocketAddr::from((address(place), 4433))];
    TicketPeer { id: *secret.public().as_bytes(), addrs, relay: None }
}

/// Waits until every node has what the store has of each zone, nobody writing; returns what that is.
fn wait_equal(record: &Arc<Record>, apis: &[Api]) -> Vec<Final> {
    let until = Instant::now() + PATIENCE;
    loop {
        let newest: Vec<u64> = (0..ZONES).map(|zone| newest(record, apis, zone)).collect();
        let places = SHAPE.members..SHAPE.places();
        let finals: Vec<Final> = places
            .flat_map(|place| (0..ZONES).filter_map(move |zone| last_of(place, zone)))
            .collect();
        let is_equal =
            |last: &Final| last.members.iter().all(|value| *value == Some(newest[last.zone]));
        let all = (SHAPE.authorities + SHAPE.edges) * ZONES;
        let are_equal = finals.len() == all && finals.iter().all(is_equal);
        if are_equal || Instant::now() > until {
            assert_eq!(finals.len(), all, "some node does not answer: {finals:?}");
            return finals;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads what is newest in the store, by whoever answers.
fn newest(record: &Arc<Record>, apis: &[Api], zone: usize) -> u64 {
    let mut writer = Writer::new(record, zone, apis, Seeded(0));
    let until = Instant::now() + PATIENCE;
    while !writer.read() {
        assert!(Instant::now() < until, "the store does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    writer.newest()
}

/// Transfers what a node has of a zone; none if it refuses.
fn last_of(node: Place, zone: usize) -> Option<Final> {
    let server = (address(node), 5300).into();
    let transferred = transfer(server, &apex(zone)).ok()?.ok()?;
    let value = |name: String| {
        let mut owner = vec![u8::try_from(name.len()).expect("short")];
        owner.extend_from_slice(name.as_bytes());
        let found = transferred.values.iter().find(|(name, _)| name.starts_with(&owner));
        found.map(|(_, value)| u64::from(*value))
    };
    let members = (0..MEMBERS).map(|at| value(format!("m{at}"))).collect();
    let slots = (0..SLOTS).filter_map(|slot| Some((slot, value(format!("s{slot}"))?)));
    Some(Final { node, zone, members, slots: slots.collect() })
}

/// Puts together what was recorded. Members of etcd are no nodes that answer.
fn history(record: &Record, end: u64, finals: Vec<Final>) -> History {
    let (runs, contact) = spans(SHAPE, &record.timeline(), end);
    let nodes = runs.into_iter().zip(contact);
    History {
        commits: lock(&record.commits).clone(),
        readings: lock(&record.readings).clone(),
        nodes: nodes.map(|(runs, contact)| Answerer { contact, runs }).collect(),
        rounds: lock(&record.rounds).clone(),
        finals,
    }
}

fn show(cast: &Cast, history: &History, verdict: &Verdict) {
    println!(
        "{} commits acknowledged, {} unknown; {} answers judged",
        verdict.acknowledged, verdict.unknown, verdict.judged
    );
    for place in SHAPE.members..SHAPE.places() {
        let spans = |spans: &[crate::history::Span]| {
            spans.iter().map(|span| span.to - span.from).sum::<u64>() as f64 / 1e6
        };
        let node = &history.nodes[place];
        println!(
            "{}: ran {:.1} s, in contact {:.1} s; stalest {:.3} s (at {}), longest silence {:.3} s",
            cast.name(place),
            spans(&node.runs),
            spans(&node.contact),
            verdict.stalest[place].0 as f64 / 1e6,
            verdict.stalest[place].1 / 1_000,
            verdict.longest_silence[place] as f64 / 1e6,
        );
    }
    let is_stale = |breach: &&Breach| matches!(breach, Breach::Stale { .. });
    let (stale, others): (Vec<_>, Vec<_>) = verdict.breaches.iter().partition(is_stale);
    others.iter().take(SHOWN).for_each(|breach| println!("{breach:?}"));
    // Many questions have the same old answer: the last one is out of date the most.
    let mut worst = std::collections::BTreeMap::new();
    for breach in stale {
        if let Breach::Stale { node, zone, value, .. } = breach {
            worst.insert((node, zone, value), breach);
        }
    }
    worst.values().take(SHOWN).for_each(|breach| println!("{breach:?}"));
}
