//! The whole pipeline in processes of its own: an authority, an edge, changes and questions.
//!
//! ```text
//! cargo bench --bench pipeline -- live    [--names N] [--rate PER_S] [--count N]
//! cargo bench --bench pipeline -- burst   [--names N] [--count N]
//! cargo bench --bench pipeline -- fresh   [--names N] [--repeats N]    import, empty edge, restart
//! cargo bench --bench pipeline -- latency [--names N] [--rate PER_S] [--repeats N]
//!     [--queries PER_S] [--seconds S]
//! cargo bench --bench pipeline -- zones   [--zones N] [--repeats N]
//! cargo bench --bench pipeline -- fleet   [--edges N] [--count N]
//! cargo bench --bench pipeline -- kill    [--names N] [--repeats N]
//! cargo bench --bench pipeline -- soak    [--names N] [--rate PER_S] [--count N]
//! ```
//!
//! `latency` asks the edge at a fixed rate (20,000 a second), in turn while nothing changes and
//! while `--rate` changes a second come through the API of the authority and the feed.
//!
//! Times are wall clock of a machine that does all of it at once: read them beside the load that
//! is printed, and compare them only within one run.

#[path = "../bed/mod.rs"]
mod bed;
mod fleet;
mod load;
mod nodes;
mod soak;
mod zone_file;
mod zones;

use std::path::Path;
use std::time::{Duration, Instant};

use bed::ask::{Queries, Random};
use bed::{rate, table};
use nodes::Node;

/// What the command line asks for.
struct Options {
    /// Names of the zone.
    names: u32,
    /// Changes a second.
    rate: f64,
    /// Changes in all.
    count: u32,
    /// Repeats of `fresh`, `latency`, `zones` and `kill`.
    repeats: u32,
    /// Queries a second of `latency`.
    queries: f64,
    /// Seconds of each run of `latency`.
    seconds: f64,
    /// Zones of `zones`.
    zones: u32,
    /// Edges of `fleet`.
    edges: u32,
}

/// Reads the command line and runs one measurement.
fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let mode = arguments.first().map_or("", String::as_str).to_owned();
    let number = |flag: &str| {
        let at = arguments.iter().position(|word| word == flag)?;
        arguments.get(at + 1)?.parse::<f64>().ok()
    };
    let options = Options {
        names: number("--names").unwrap_or(10_000.0) as u32,
        rate: number("--rate").unwrap_or(100.0),
        count: number("--count").unwrap_or(1_000.0) as u32,
        repeats: number("--repeats").unwrap_or(3.0) as u32,
        queries: number("--queries").unwrap_or(20_000.0),
        seconds: number("--seconds").unwrap_or(10.0),
        zones: number("--zones").unwrap_or(100_000.0) as u32,
        edges: number("--edges").unwrap_or(30.0) as u32,
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    match mode.as_str() {
        "live" => live(dir, &options),
        "burst" => live(dir, &Options { rate: f64::INFINITY, ..options }),
        "fresh" => fresh(dir, &options),
        "latency" => latency(dir, &options),
        "zones" => zones::run(dir, options.zones, options.repeats),
        "fleet" => fleet::run(dir, options.edges, options.count),
        "kill" => fleet::kill(dir, options.names, options.repeats),
        "soak" => soak::run(dir, options.names, options.rate, options.count),
        // `cargo bench` without a mode only shows what there is.
        _ => println!("pipeline: give a mode (benches/pipeline/main.rs says which there are)"),
    }
}

/// Prints the load of the machine.
fn print_load(when: &str) {
    println!("load {when}: {}", table::load_average());
}

/// Starts an authority with a zone of `names`, and says how long the import took.
fn authority(dir: &Path, names: u32) -> (Node, Duration) {
    let file = dir.join("example.com.zone");
    zone_file::write(&file, names);
    let node = Node::start(&dir.join("authority"), &["--role", "authority"]);
    let start = Instant::now();
    let revision = node.import("example.com.", &file);
    let took = start.elapsed();
    node.wait_revision(revision);
    (node, took)
}

/// Starts an authority and an edge that has its zone.
fn pair(dir: &Path, names: u32) -> (Node, Node) {
    let (authority, _) = authority(dir, names);
    let ticket = authority.ticket();
    let edge = Node::start(&dir.join("edge"), &["--role", "edge", "--ticket", &ticket]);
    assert!(
        load::wait_answer(&edge, names - 1, Duration::from_secs(120)).is_some(),
        "the edge has the zone"
    );
    std::thread::sleep(Duration::from_secs(3));
    (authority, edge)
}

/// Measures from the API's reply to the new answer at an edge.
fn live(dir: &Path, options: &Options) {
    let (authority, edge) = pair(dir, options.names);
    print_load("before");
    let before = [authority.usage(), edge.usage()];
    let result = load::changes(&authority, &edge, options.names, options.rate, options.count);
    let after = [authority.usage(), edge.usage()];
    print_load("after");
    println!("names {} changes {} rate {}/s", options.names, options.count, options.rate);
    result.print();
    for (index, name) in ["authority", "edge"].into_iter().enumerate() {
        let (before, after) = (before[index], after[index]);
        let cpu = (after.cpu - before.cpu) / options.count;
        let batch = f64::from(options.count) / (after.publishes - before.publishes).max(1) as f64;
        println!("{name}: {} us of CPU a change, {batch:.1} changes a publish", cpu.as_micros());
    }
}

/// Measures the latency of the edge's answers, in turn without and with changes.
fn latency(dir: &Path, options: &Options) {
    let (authority, edge) = pair(dir, options.names);
    let (mut random, names) = (Random(5), options.names);
    let query = |id: u32| Ok(load::query(id as u16, random.below(names)));
    let queries = Queries::collect((0..1 << 18).map(query)).expect("queries");
    let run = || {
        let seconds = Duration::from_secs_f64(options.seconds);
        rate::run(edge.dns, &queries, options.queries, seconds).expect("sockets work")
    };
    let count = (options.rate * options.seconds) as u32;
    for repeat in 0..options.repeats {
        print_load("before");
        print_latencies("quiet", &run());
        let changes = repeat * count..(repeat + 1) * count;
        let (found, (unseen, rate)) = std::thread::scope(|scope| {
            let changer = scope
                .spawn(|| load::changes_unwatched(&authority, &edge, names, options.rate, changes));
            (run(), changer.join().expect("all changes are made"))
        });
        print_latencies(&format!("under {rate:.0} changes/s, {unseen} of them not seen"), &found);
    }
    println!("{names} names, {} queries/s, {} s a run", options.queries, options.seconds);
}

/// Prints one run.
fn print_latencies(what: &str, run: &rate::Latencies) {
    println!(
        "{what}: p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} us, lost {}, wrong {}",
        run.percentile(0.5),
        run.percentile(0.99),
        run.percentile(0.999),
        run.percentile(1.0),
        run.lost,
        run.wrong
    );
}

/// Measures import, an empty edge until the last name is answered, and its restart without peer.
fn fresh(dir: &Path, options: &Options) {
    let (authority, import) = authority(dir, options.names);
    println!("import of {} names: {:.2} s", options.names, import.as_secs_f64());
    let ticket = authority.ticket();
    let data: Vec<_> =
        (0..options.repeats).map(|repeat| dir.join(format!("edge{repeat}"))).collect();
    std::thread::sleep(Duration::from_secs(3));
    for data in &data {
        print_load("before");
        let arguments = ["--role", "edge", "--ticket", &ticket];
        let (edge, took) = first_answer(data, &arguments, options.names);
        std::thread::sleep(Duration::from_secs(2));
        println!(
            "fresh edge: {:.3} s to the last name, peak RSS {} MiB",
            took.as_secs_f64(),
            edge.peak_rss_mib()
        );
    }
    drop(authority);
    for data in &data {
        let arguments = ["--role", "edge", "--ticket", &ticket];
        let (edge, took) = first_answer(data, &arguments, options.names);
        println!(
            "restart without peer: {:.3} s to the last name, peak RSS {} MiB",
            took.as_secs_f64(),
            edge.peak_rss_mib()
        );
    }
}

/// Starts an edge and waits until it answers the last name; the time counts from its start.
fn first_answer(data: &Path, arguments: &[&str], names: u32) -> (Node, Duration) {
    let start = Instant::now();
    let edge = Node::start(data, arguments);
    let answered = load::wait_answer(&edge, names - 1, Duration::from_secs(120));
    let answered = answered.expect("the edge answers the last name");
    (edge, answered - start)
}
