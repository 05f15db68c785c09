//! The whole pipeline in processes of its own: an authority, an edge, changes and questions.
//!
//! ```text
//! cargo bench --bench pipeline -- live    [--names N] [--rate PER_S] [--count N]
//! cargo bench --bench pipeline -- burst   [--names N] [--count N]
//! cargo bench --bench pipeline -- fresh   [--names N] [--repeats N]    import, empty edge, restart
//! ```
//!
//! Times are wall clock of a machine that does all of it at once: read them beside the load that
//! is printed, and compare them only within one run.

mod load;
mod nodes;
mod zone_file;

use std::time::{Duration, Instant};

use nodes::Node;

/// What the command line asks for.
struct Options {
    /// Names of the zone.
    names: u32,
    /// Changes a second.
    rate: f64,
    /// Changes in all.
    count: u32,
    /// Repeats of `fresh`.
    repeats: u32,
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
    };
    match mode.as_str() {
        "live" => live(&options),
        "burst" => live(&Options { rate: f64::INFINITY, ..options }),
        "fresh" => fresh(&options),
        // `cargo bench` without a mode only shows what there is.
        _ => println!("pipeline: give a mode, live, burst or fresh; see benches/pipeline/main.rs"),
    }
}

/// Prints the load of the machine.
fn print_load(when: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {when}: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
}

/// Starts an authority with a zone of `names`, and says how long the import took.
fn authority(dir: &std::path::Path, names: u32) -> (Node, Duration) {
    let file = dir.join("example.com.zone");
    zone_file::write(&file, names);
    let node = Node::start(&dir.join("authority"), &["--role", "authority"]);
    let start = Instant::now();
    let revision = node.import("example.com.", &file);
    let took = start.elapsed();
    node.wait_revision(revision);
    (node, took)
}

/// Measures from the API's reply to the new answer at an edge.
fn live(options: &Options) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (authority, _) = authority(dir.path(), options.names);
    let ticket = authority.ticket();
    let edge = Node::start(&dir.path().join("edge"), &["--role", "edge", "--ticket", &ticket]);
    assert!(
        load::wait_answer(&edge, options.names - 1, Duration::from_secs(120)).is_some(),
        "the edge has the zone"
    );
    std::thread::sleep(Duration::from_secs(3));
    print_load("before");
    let result = load::changes(&authority, &edge, options.names, options.rate, options.count);
    print_load("after");
    println!("names {} changes {} rate {}/s", options.names, options.count, options.rate);
    result.print();
}

/// Measures import, an empty edge until the last name is answered, and its restart without peer.
fn fresh(options: &Options) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (authority, import) = authority(dir.path(), options.names);
    println!("import of {} names: {:.2} s", options.names, import.as_secs_f64());
    let ticket = authority.ticket();
    let data: Vec<_> =
        (0..options.repeats).map(|repeat| dir.path().join(format!("edge{repeat}"))).collect();
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
fn first_answer(data: &std::path::Path, arguments: &[&str], names: u32) -> (Node, Duration) {
    let start = Instant::now();
    let edge = Node::start(data, arguments);
    let answered = load::wait_answer(&edge, names - 1, Duration::from_secs(120));
    let answered = answered.expect("the edge answers the last name");
    (edge, answered - start)
}
