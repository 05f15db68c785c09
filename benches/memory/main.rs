//! Memory a name: everything that a server holds resident, divided by the names of its zone.
//!
//! ```sh
//! cargo bench --no-default-features --bench memory -- [--servers node,aspen,nsd,knot,bind,pdns]
//!     [--node target/dist/aspen-node] [--names 1000000 [--signed nsec|nsec3] | --zones 100000]
//! ```
//!
//! Each server is started by itself, with one worker, and asked for 100,000 names, so that nothing
//! is left to be done on demand. Counted is the PSS of all its processes, code and buffers
//! included, when it has not moved by a hundredth for two seconds. A name has one A record. `node`
//! is `aspen-node --zone-dir`: cold is its first start, from the master file, warm its second, from
//! what the first has left in its data directory. `aspen` is this program with the library
//! (`benches/bed/serve.rs`).

#[path = "../bed/mod.rs"]
mod bed;

use std::path::PathBuf;
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
    let node: Option<PathBuf> = (!node.is_empty()).then(|| node.into());
    let directory = tempfile::tempdir()?;
    let corpus = Corpus::write(kind, directory.path())?;
    let mut rows = Vec::new();
    for name in flag(&arguments, "--servers", "node,aspen,nsd,knot,bind,pdns").split(',') {
        let mut plan = Plan::pinned(&corpus, directory.path(), name, FIRST_PORT);
        plan.node.clone_from(&node);
        plan.cpus.clear();
        for start in ["cold", "warm"] {
            match steady_memory(name, &plan) {
                Ok(octets) => rows.push((format!("{name}, {start}"), octets as f64)),
                Err(error) => println!("{name} is left out: {error}"),
            }
        }
    }
    println!("## memory, {kind}\n");
    table::print_machine();
    println!("| server | MiB (PSS) | octets a name | vs the leanest of NSD, Knot |");
    println!("|---|---|---|---|");
    let is_peer = |row: &&(String, f64)| row.0.starts_with("nsd") || row.0.starts_with("knot");
    let leanest = rows.iter().filter(is_peer).map(|row| row.1).reduce(f64::min);
    for (name, octets) in &rows {
        println!(
            "| {name} | {:.0} | {:.0} | {} |",
            octets / f64::from(1 << 20),
            octets / kind.owner_count() as f64,
            table::ratio(Some(*octets), leanest)
        );
    }
    Ok(())
}

/// Starts a server and returns the octets that it ends up with.
fn steady_memory(name: &str, plan: &Plan<'_>) -> Result<u64> {
    let mut peer = Peer::start(name, plan)?;
    wait::until_answered(&mut peer, plan.corpus.kind, Duration::from_secs(300))?;
    let wrong = wait::count_wrong(&peer, plan.corpus.kind)?;
    if wrong > 0 {
        return Err(format!("{wrong} wrong answers").into());
    }
    let end = Instant::now() + Duration::from_secs(60);
    let (mut before, mut still_since) = (peer.memory()?, Instant::now());
    while still_since.elapsed() < Duration::from_secs(2) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(250));
        let now = peer.memory()?;
        if now.abs_diff(before) * 100 > before {
            (before, still_since) = (now, Instant::now());
        }
    }
    println!("{name}: {} MiB; load {}", before >> 20, table::load_average());
    peer.memory()
}
