//! How quickly edges follow, and what that takes: fresh, restarted, from another edge, live, and many at once.
//!
//! ```text
//! cargo bench --bench edge -- fresh  [--names N] [--zones N] [--rate PER_S] [--count N]
//! cargo bench --bench edge -- fanout [--names N] [--zones N] [--rate PER_S] [--count N] [--edges N]
//! ```
//!
//! `fresh` (1,000,000 names in 1 zone): an authority imports the zones. An edge starts with nothing and
//! follows COUNT changes made at RATE a second; latency is from the store's acknowledgment to the edge's event
//! after publishing, by the machine's one clock. Then the authority ends, and a second edge starts with nothing
//! and knows of the first alone; at last the first starts again from its disk, with no peer.
//!
//! `fanout` (1,000 names, 100 edges in one process, over QUIC on loopback): what COUNT changes take of CPU time
//! at the authority and at the edges while one edge follows, and while all do, and what memory. What an edge more
//! costs is the difference, less what both take while nothing changes.

#[path = "../bed/mod.rs"]
mod bed;
mod process;
mod roles;

use std::path::Path;
use std::time::Duration;

use process::Process;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names of each zone.
    pub names: u64,
    /// Zones.
    pub zones: u64,
    /// Changes a second.
    pub rate: u64,
    /// Changes in all.
    pub count: u64,
    /// Edges of one process.
    pub edges: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|text| text != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var("ASPEN_BENCH_ROLE").as_deref() {
        Ok("authority") => return runtime.block_on(roles::be_authority()),
        Ok("edges") => return runtime.block_on(roles::be_edges()),
        _ => {}
    }
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|word| word == flag);
        let text = at.and_then(|at| arguments.get(at + 1));
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let plan = |names, edges| Plan {
        names: number("--names", names),
        zones: number("--zones", 1),
        rate: number("--rate", 100),
        count: number("--count", 1_000),
        edges,
    };
    let dir = tempfile::tempdir().expect("a directory");
    match arguments.get(1).map(String::as_str) {
        Some("fresh") => fresh(dir.path(), &plan(1_000_000, 1)),
        Some("fanout") => fanout(dir.path(), &plan(1_000, number("--edges", 100))),
        // `cargo bench` without a mode only shows what there is.
        _ => println!("edge: give a mode (benches/edge/main.rs says which there are)"),
    }
    println!("load {}", bed::table::load_average());
}

/// Starts an authority and waits for its ticket.
fn authority(dir: &Path, plan: &Plan) -> (Process, String) {
    let mut authority = Process::start("authority", &dir.join("a"), plan, "");
    println!("authority: imported {}", authority.line("imported"));
    println!("authority: exported {}", authority.line("exported"));
    let ticket = authority.line("ticket");
    (authority, ticket)
}

/// An edge that is fresh, then follows; one that has only that to ask; and the first again, alone.
fn fresh(dir: &Path, plan: &Plan) {
    let (mut authority, ticket) = authority(dir, plan);
    let mut first = Process::start("edges", &dir.join("e"), plan, &ticket);
    println!("fresh edge: {}", first.line("answer"));
    let by_way_of_first = first.line("ticket");
    authority.tell(0);
    let waits = waits(&authority.times(0, plan.count), &first.times(0, plan.count));
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!(
        "{} changes at {}/s, acknowledged to published: p50 {:.2} p90 {:.2} p99 {:.2} max {:.2} ms",
        plan.count,
        plan.rate,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    drop(authority);
    let mut second = Process::start("edges", &dir.join("f"), plan, &by_way_of_first);
    println!("fresh edge, of an edge, no authority: {}", second.line("answer"));
    drop(second);
    drop(first);
    let mut restarted = Process::start("edges", &dir.join("e"), plan, &ticket);
    println!("restarted edge, no peer: {}", restarted.line("answer"));
}

/// Returns how long changes took to be seen, by rising time.
fn waits(set: &[i64], seen: &[i64]) -> Vec<i64> {
    let mut waits: Vec<i64> = set.iter().zip(seen).map(|(set, seen)| seen - set).collect();
    waits.sort_unstable();
    waits
}

/// One edge, then many: what each more takes of CPU time.
fn fanout(dir: &Path, plan: &Plan) {
    assert!(plan.edges > 1, "one edge has no fan-out");
    let (mut authority, ticket) = authority(dir, plan);
    let one = Plan { edges: 1, ..plan.clone() };
    let more = Plan { edges: plan.edges - 1, ..plan.clone() };
    let mut edges = Vec::new();
    let (mut taken, mut memory_mib) = (Vec::new(), Vec::new());
    for (name, plan) in [("one", &one), ("more", &more)] {
        let mut process = Process::start("edges", &dir.join(name), plan, &ticket);
        println!("{} edges: {}", plan.edges, process.line("answer"));
        process.line("ticket");
        edges.push(process);
        // What comes after a start has settled.
        std::thread::sleep(SETTLE);
        taken.push(used_by_changes(&mut authority, &mut edges, plan, taken.len() as u64));
        memory_mib.push(authority.memory_mib());
    }
    let per_change = |time: Duration| time.as_secs_f64() * 1e6 / plan.count as f64;
    let [(of_authority, _), (authority_of_all, edges_of_all)] = [taken[0], taken[1]];
    println!(
        "{} changes at {}/s, CPU time of each change: authority {:.1} us with 1 edge, {:.1} us with {}; \
         fan-out {:.2} us a change and edge; edges {:.1} us a change and edge",
        plan.count,
        plan.rate,
        per_change(of_authority),
        per_change(authority_of_all),
        plan.edges,
        per_change(authority_of_all.saturating_sub(of_authority)) / more.edges as f64,
        per_change(edges_of_all) / plan.edges as f64,
    );
    let [with_one, with_all] = [memory_mib[0], memory_mib[1]];
    println!(
        "memory of the authority: {with_one:.1} MiB with 1 edge, {with_all:.1} MiB with {}; {:.0} KiB an edge; of \
         an edge {:.1} MiB",
        plan.edges,
        (with_all - with_one) * 1_024.0 / more.edges as f64,
        edges[1].memory_mib() / more.edges as f64,
    );
}

/// Makes changes, and returns what they took at the authority and at the edges: without what both take in
/// as long a time while nothing changes.
fn used_by_changes(
    authority: &mut Process,
    edges: &mut [Process],
    plan: &Plan,
    round: u64,
) -> (Duration, Duration) {
    let pause = Duration::from_secs_f64(plan.count as f64 / plan.rate as f64);
    let used = |authority: &Process, edges: &[Process]| {
        (authority.cpu(), edges.iter().map(Process::cpu).sum::<Duration>())
    };
    let start = used(authority, edges);
    std::thread::sleep(pause);
    let idle = used(authority, edges);
    let first = round * plan.count;
    authority.tell(first);
    let set = authority.times(first, plan.count);
    let seen: Vec<_> = edges.iter_mut().map(|edges| edges.times(first, plan.count)).collect();
    let end = used(authority, edges);
    let slowest = (0..set.len()).map(|index| seen.iter().map(|seen| seen[index]).max());
    let slowest: Vec<i64> = slowest.map(|seen| seen.expect("at least one")).collect();
    let waits = waits(&set, &slowest);
    let at = |part: usize| waits[(waits.len() - 1) * part / 100] as f64 / 1_000.0;
    println!("acknowledged to published at all: p50 {:.2} p99 {:.2} ms", at(50), at(99));
    let changes =
        |start: Duration, idle: Duration, end: Duration| (end - idle).saturating_sub(idle - start);
    (changes(start.0, idle.0, end.0), changes(start.1, idle.1, end.1))
}

impl Plan {
    /// Writes it for the environment of a node.
    fn to_text(&self) -> String {
        let Self { names, zones, rate, count, edges } = self;
        format!("{names} {zones} {rate} {count} {edges}")
    }

    /// Reads what the parent has set.
    fn of_environment() -> Self {
        let text = process::variable("PLAN");
        let numbers = text.split(' ').map(|text| text.parse().expect("a number"));
        let numbers: Vec<u64> = numbers.collect();
        let [names, zones, rate, count, edges] = numbers.try_into().expect("five numbers");
        Self { names, zones, rate, count, edges }
    }
}

/// How long edges are left alone after their start.
const SETTLE: Duration = Duration::from_secs(5);
