//! CPU time a query, over sockets on loopback: this server, NSD, Knot, BIND, PowerDNS and an echo.
//!
//! ```sh
//! cargo bench --no-default-features --bench loopback -- [--servers aspen,nsd,knot,bind,pdns,echo]
//!     [--names 100000] [--ask a,nxdomain,referral,wildcard] [--rounds 7] [--seconds 2]
//!     [--transport udp|tcp|tcp-single] [--other-max 0.25] [--patience 900]
//! ```
//!
//! Every server answers the same zone from one worker on CPU 0. The load comes from CPU 1, with
//! a window of 256 queries over eight sockets, or from eight connections at a time. The servers take turns, when the machine is quiet; a
//! sample in which anything else used more than a quarter of a CPU (`--other-max`) is thrown away
//! and taken again, until all are there or `--patience` seconds are over. What counts is the CPU
//! time of the server's processes for each query that it answered: it hardly depends on the load.

mod load;
mod mmsg;
mod peers;
mod sample;
#[path = "../../examples/serve_zone.rs"]
mod serve_zone;
mod stream;
mod zone;

use std::error::Error;
use std::time::{Duration, Instant};

use load::{Load, Transport};
use peers::Peer;
use sample::Sample;
use zone::Ask;

/// What may go wrong; it ends the bench.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // The servers of this crate are processes of their own, made of this same program.
        Some("serve") => serve_zone::serve(&arguments[1..]),
        Some("echo") => load::echo(&arguments[1..]),
        // `cargo test --all-targets` runs benches without it.
        _ if !arguments.iter().any(|argument| argument == "--bench") => Ok(()),
        _ => measure(&Options::parse(&arguments)?),
    }
}

/// What to measure.
struct Options {
    /// Names of servers.
    servers: Vec<String>,
    /// Names in the zone.
    names: u32,
    /// Kinds of queries, one after the other.
    asks: Vec<Ask>,
    /// What the load goes over.
    transport: Transport,
    /// Good samples of each server.
    rounds: usize,
    /// How long each sample takes.
    duration: Duration,
    /// How much of a CPU anything else may use during a good sample.
    other_share_max: f64,
    /// How long one kind of query may take, with all waiting for a quiet machine.
    patience: Duration,
}

impl Options {
    /// Reads the command line.
    fn parse(arguments: &[String]) -> Result<Self> {
        let value = |name: &str, default: &str| -> String {
            let at = arguments.iter().position(|argument| argument == name);
            at.and_then(|at| arguments.get(at + 1)).map_or(default, String::as_str).to_owned()
        };
        let servers = value("--servers", "aspen,nsd,knot,bind,pdns,echo");
        let asks = value("--ask", "a");
        Ok(Self {
            servers: servers.split(',').map(str::to_owned).collect(),
            names: value("--names", "100000").parse()?,
            asks: asks.split(',').map(Ask::parse).collect::<Result<_>>()?,
            transport: Transport::parse(&value("--transport", "udp"))?,
            rounds: value("--rounds", "7").parse()?,
            duration: Duration::from_secs_f64(value("--seconds", "2").parse()?),
            other_share_max: value("--other-max", "0.25").parse()?,
            patience: Duration::from_secs_f64(value("--patience", "900").parse()?),
        })
    }
}

/// Starts the servers, measures them in turns, prints the tables.
fn measure(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let zone_file = directory.path().join("example.com.zone");
    zone::write(&zone_file, options.names)?;
    let mut servers = Vec::new();
    for (index, name) in options.servers.iter().enumerate() {
        if name == "echo" && options.transport != Transport::Udp {
            continue;
        }
        let port = FIRST_PORT + u16::try_from(index)?;
        match Peer::start(name, directory.path(), port) {
            Ok(peer) => servers.push(peer),
            Err(error) => println!("{name} is left out: {error}"),
        }
    }
    sample::stay_on_cpu(CLIENT_CPU)?;
    for ask in &options.asks {
        println!("\n## {} of {} names, {:?}", ask.name(), options.names, options.transport);
        let mut load = Load::new(*ask, options.transport, options.names)?;
        servers.retain(|server| {
            let ready = load.wait_for_answer(server);
            let _ = ready.as_ref().inspect_err(|error| println!("left out: {error}"));
            ready.is_ok()
        });
        let rows = alternate(&servers, &mut load, options)?;
        print_table(&servers, &rows);
    }
    Ok(())
}

/// Measures all servers in turns until each has its good samples.
fn alternate(servers: &[Peer], load: &mut Load, options: &Options) -> Result<Vec<Vec<Sample>>> {
    let mut rows: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    let end = Instant::now() + options.patience;
    while rows.iter().any(|row| row.len() < options.rounds) {
        for (server, row) in servers.iter().zip(&mut rows) {
            if row.len() >= options.rounds {
                continue;
            }
            while sample::other_share()? > options.other_share_max {
                if Instant::now() > end {
                    return Ok(rows);
                }
            }
            let sample = Sample::take(server, load, options.duration)?;
            let is_good = sample.is_good(options.other_share_max);
            println!("{sample}{}", if is_good { "" } else { "  (not counted)" });
            if is_good {
                row.push(sample);
            }
        }
    }
    Ok(rows)
}

/// Prints medians, ranges and ratios.
fn print_table(servers: &[Peer], rows: &[Vec<Sample>]) {
    let median_us = |name: &str| {
        let at = servers.iter().position(|server| server.name == name)?;
        sample::median(rows[at].iter().map(|sample| sample.us_a_query))
    };
    let best_peer = [median_us("nsd"), median_us("knot")].into_iter().flatten().reduce(f64::min);
    let echo = median_us("echo");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nload {}", load.trim());
    println!(
        "| server | CPU us/query, median [min..max] | queries/s, median | vs best of NSD, Knot | vs echo | samples |"
    );
    println!("|---|---|---|---|---|---|");
    for (server, row) in servers.iter().zip(rows) {
        let us = || row.iter().map(|sample| sample.us_a_query);
        let Some(median) = sample::median(us()) else {
            println!("| {} | no good sample | | | | 0 |", server.name);
            continue;
        };
        let (min, max) = (us().fold(f64::MAX, f64::min), us().fold(0.0, f64::max));
        let rate = sample::median(row.iter().map(|sample| sample.rate)).unwrap_or_default();
        let ratio =
            |base: Option<f64>| base.map_or(String::new(), |base| format!("{:.2}", median / base));
        println!(
            "| {} | {median:.2} [{min:.2}..{max:.2}] | {rate:.0} | {} | {} | {} |",
            server.name,
            ratio(best_peer),
            ratio(echo),
            row.len()
        );
    }
}

/// The first server's port; the others follow.
const FIRST_PORT: u16 = 5_400;
/// Where the servers run.
const SERVER_CPU: usize = 0;
/// Where the load comes from.
const CLIENT_CPU: usize = 1;
