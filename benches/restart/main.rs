//! From the start of a server to its first and its last right answer, and its memory then.
//!
//! ```sh
//! cargo bench --no-default-features --bench restart -- [--servers node,nsd,knot,bind,pdns]
//!     [--node target/dist/aspen-node] [--names 1000000 | --zones 100000] [--rounds 3] [--warm 1]
//! ```
//!
//! Each server reads the same master files from a warm file cache, and may use all CPUs. In each
//! round it is started cold, with nothing of its own on the disk, and then `--warm` times again
//! with what it has left there; the servers take turns. It is asked from outside, every
//! millisecond, for the first and the last name or zone and for 500 random ones, and timed from
//! before its process is made until the first of these and until all of them have been answered
//! with the address that the master file says. Then every zone, or 100,000 of the names, are asked
//! for: how many are wrong stands in the table.
//!
//! Memory is the PSS of all its processes two seconds later. `node` is `aspen-node --zone-dir`;
//! `aspen` is this program with the library (`benches/bed/serve.rs`).

#[path = "../bed/mod.rs"]
mod bed;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bed::corpus::{Corpus, Kind};
use bed::peers::{Peer, Plan};
use bed::{FIRST_PORT, Result, flag, table, wait};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if bed::is_done(&arguments)? {
        return Ok(());
    }
    let mut kind = Kind::parse(&arguments)?;
    if let (Kind::One(_), false) = (kind, arguments.iter().any(|word| word == "--names")) {
        kind = Kind::One(1_000_000);
    }
    let node = flag(&arguments, "--node", option_env!("CARGO_BIN_EXE_aspen-node").unwrap_or(""));
    measure(&Options {
        servers: flag(&arguments, "--servers", "node,nsd,knot,bind,pdns")
            .split(',')
            .map(str::to_owned)
            .collect(),
        kind,
        node: (!node.is_empty()).then(|| node.into()),
        rounds: flag(&arguments, "--rounds", "3").parse()?,
        warm: flag(&arguments, "--warm", "1").parse()?,
    })
}

/// What to measure.
struct Options {
    /// Names of servers.
    servers: Vec<String>,
    /// The zones.
    kind: Kind,
    /// `aspen-node`.
    node: Option<PathBuf>,
    /// Cold starts of each server.
    rounds: usize,
    /// Warm starts after each cold one.
    warm: usize,
}

/// What one start showed.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Seconds to the first right answer.
    first_s: f64,
    /// Seconds until the whole sample was answered right.
    last_s: f64,
    /// Zones or names that were not right even then.
    wrong: u64,
    /// PSS in MiB.
    memory_mib: f64,
}

/// Starts of one server.
struct Row {
    /// The server.
    name: String,
    /// With nothing of its own on the disk.
    cold: Vec<Start>,
    /// With what it has left there.
    warm: Vec<Start>,
}

/// Starts the servers in turns, prints the table.
fn measure(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let corpus = Corpus::write(options.kind, directory.path())?;
    println!("## restart, {}", options.kind);
    let row = |name: &String| Row { name: name.clone(), cold: Vec::new(), warm: Vec::new() };
    let mut rows: Vec<Row> = options.servers.iter().map(row).collect();
    for _ in 0..options.rounds {
        rows.retain_mut(|row| {
            let taken = take_round(row, options, &corpus, directory.path());
            let _ =
                taken.as_ref().inspect_err(|error| println!("{} is left out: {error}", row.name));
            taken.is_ok()
        });
    }
    println!();
    table::print_machine();
    println!(
        "| server | cold: first answer, s | cold: last, s | warm: first answer, s | warm: last, s | MiB (PSS), cold | warm | wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in &rows {
        let spread = |starts: &[Start], value: fn(&Start) -> f64, decimals| {
            table::spread(starts.iter().map(value), decimals)
        };
        let wrong: u64 = row.cold.iter().chain(&row.warm).map(|start| start.wrong).sum();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {wrong} |",
            row.name,
            spread(&row.cold, |start| start.first_s, 2),
            spread(&row.cold, |start| start.last_s, 2),
            spread(&row.warm, |start| start.first_s, 2),
            spread(&row.warm, |start| start.last_s, 2),
            spread(&row.cold, |start| start.memory_mib, 0),
            spread(&row.warm, |start| start.memory_mib, 0),
        );
    }
    Ok(())
}

/// Starts a server cold, and warm.
fn take_round(row: &mut Row, options: &Options, corpus: &Corpus, directory: &Path) -> Result<()> {
    let mut plan = Plan::pinned(corpus, directory, &row.name, FIRST_PORT);
    plan.node.clone_from(&options.node);
    plan.cpus.clear();
    plan.workers = std::thread::available_parallelism()?.get();
    if plan.home.exists() {
        fs::remove_dir_all(&plan.home)?;
    }
    for number in 0..=options.warm {
        let start = take_start(&row.name, &plan)?;
        let is_cold = number == 0;
        println!(
            "{:6} {}: first {:.2} s, last {:.2} s, {:.0} MiB, wrong {}; load {}",
            row.name,
            if is_cold { "cold" } else { "warm" },
            start.first_s,
            start.last_s,
            start.memory_mib,
            start.wrong,
            table::load_average()
        );
        if is_cold { &mut row.cold } else { &mut row.warm }.push(start);
    }
    Ok(())
}

/// Starts a server once.
fn take_start(name: &str, plan: &Plan<'_>) -> Result<Start> {
    // Large configurations are written before the clock starts.
    let (mut peer, begun) = Peer::start_timed(name, plan)?;
    let kind = plan.corpus.kind;
    let answered = wait::until_answered(&mut peer, kind, Duration::from_secs(300))?;
    let wrong = wait::count_wrong(&peer, kind)?;
    std::thread::sleep(Duration::from_secs(2));
    let memory_mib = peer.memory()? as f64 / f64::from(1 << 20);
    let seconds = |instant: Instant| (instant - begun).as_secs_f64();
    Ok(Start {
        first_s: seconds(answered.first),
        last_s: seconds(answered.last),
        wrong,
        memory_mib,
    })
}
