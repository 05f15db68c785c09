//! CPU time a query, over sockets on loopback: this server, NSD, Knot, BIND, PowerDNS and an echo.
//!
//! ```sh
//! cargo bench --no-default-features --bench loopback -- [--servers aspen,nsd,knot,bind,pdns,echo]
//!     [--names 100000 [--signed nsec|nsec3] | --zones 100000]
//!     [--ask a,cname,nodata,nxdomain,referral,wildcard] [--rounds 7] [--seconds 2]
//!     [--transport udp|tcp|tcp-single] [--load own|dnsperf|kxdpgun[=RATE]] [--ports 8]
//!     [--via lo|veth] [--other-max 0.25] [--patience 900]
//! ```
//!
//! Every server answers the same zones from one worker on CPU 0. The load comes from CPU 1, with a
//! window of 256 queries over eight ports, or from eight connections at a time, for random names:
//! as many different ones as the zone has, up to a million. Load balancers, dnsperf and kxdpgun ask
//! from few ports, too: this server then answers with fewer, larger messages. Of resolvers every
//! query comes from its own port, as with `--ports 256`. Queries have EDNS; those to a signed
//! zone ask for DNSSEC records. The servers take turns, when the machine is quiet; a sample in
//! which anything else used more than a quarter of a CPU (`--other-max`) is thrown away and taken
//! again, until all are there or `--patience` seconds are over. What counts is the CPU time of the
//! server's processes for each query that it answered: it hardly depends on the load.
//!
//! `--load` has somebody else's program ask over UDP: dnsperf as hard as our own load, kxdpgun at a
//! fixed rate (100,000 a second). With `--via veth`, which kxdpgun needs, the servers are in a
//! network namespace behind a pair of virtual Ethernet devices; that takes root.
//!
//! Signed zones need Debian's `bind9-utils`, those loads `dnsperf` and `knot-dnsutils`; the other
//! servers are the packages `nsd`, `knot`, `bind9` and `pdns-server`. What is not installed is left
//! out, as is PowerDNS for signed zones: it wants a database for those.

#[path = "../bed/mod.rs"]
mod bed;
mod foreign;
mod load;
mod sample;
mod stream;

use std::path::Path;
use std::time::{Duration, Instant};

use bed::ask::Ask;
use bed::corpus::{Corpus, Kind};
use bed::peers::{Peer, Plan};
use bed::veth::{self, Veth};
use bed::{CLIENT_CPU, FIRST_PORT, Result, cpu, flag, table};
use foreign::Program;
use load::{Load, Transport};
use sample::Sample;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if bed::is_done(&arguments)? {
        return Ok(());
    }
    measure(&Options::parse(&arguments)?)
}

/// What to measure.
struct Options {
    /// Names of servers.
    servers: Vec<String>,
    /// The zones.
    kind: Kind,
    /// Kinds of queries, one after the other.
    asks: Vec<Ask>,
    /// What the load goes over.
    transport: Transport,
    /// Whose load it is; `own`, `dnsperf` or `kxdpgun`.
    load: String,
    /// Ports of our own load.
    ports: usize,
    /// Queries a second of kxdpgun.
    kxdpgun_rate: u32,
    /// Whether the servers are in a namespace of their own.
    is_veth: bool,
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
        let value = |name, default| flag(arguments, name, default);
        let transport = Transport::parse(&value("--transport", "udp"))?;
        let load = value("--load", "own");
        let (load, kxdpgun_rate) = load.split_once('=').unwrap_or((&load, "100000"));
        let is_veth = value("--via", "lo") == "veth";
        match load {
            "own" => {}
            "dnsperf" if transport == Transport::Udp => {}
            "kxdpgun" if transport == Transport::Udp && is_veth => {}
            other => return Err(format!("--load {other}: not there, or not like this").into()),
        }
        if is_veth && transport != Transport::Udp {
            return Err("--via veth is for UDP".into());
        }
        let servers = value("--servers", "aspen,nsd,knot,bind,pdns,echo");
        Ok(Self {
            servers: servers.split(',').map(str::to_owned).collect(),
            kind: Kind::parse(arguments)?,
            asks: value("--ask", "a").split(',').map(Ask::parse).collect::<Result<_>>()?,
            transport,
            load: load.to_owned(),
            ports: value("--ports", "8").parse()?,
            kxdpgun_rate: kxdpgun_rate.parse()?,
            is_veth,
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
    let corpus = Corpus::write(options.kind, directory.path())?;
    let veth = if options.is_veth { Some(Veth::new()?) } else { None };
    let mut servers = start(options, &corpus, directory.path(), veth.as_ref())?;
    cpu::stay_on_cpu(CLIENT_CPU)?;
    for ask in &options.asks {
        let Options { kind, transport, load, .. } = options;
        println!("\n## {} of {kind}, {transport:?}, load: {load}", ask.name());
        let mut load = Load::new(*ask, options.transport, options.ports, options.kind)?;
        let (rate, device) = (options.kxdpgun_rate, veth.as_ref().map(Veth::device));
        let program = match (options.load.as_str(), device) {
            ("dnsperf", _) => Some(Program::Dnsperf),
            ("kxdpgun", Some(device)) => Some(Program::Kxdpgun { rate, device }),
            _ => None,
        };
        if let Some(program) = program {
            load.use_program(program, options.kind, directory.path())?;
        }
        servers.retain_mut(|server| {
            let ready = load.wait_for_answer(server);
            let _ = ready.as_ref().inspect_err(|error| println!("left out: {error}"));
            ready.is_ok()
        });
        let rows = alternate(&servers, &mut load, options)?;
        print_table(&servers, &rows);
    }
    Ok(())
}

/// Starts the servers, one after the other.
fn start(
    options: &Options,
    corpus: &Corpus,
    directory: &Path,
    veth: Option<&Veth>,
) -> Result<Vec<Peer>> {
    let mut servers = Vec::new();
    for (index, name) in options.servers.iter().enumerate() {
        if name == "echo" && options.transport != Transport::Udp {
            continue;
        }
        let port = FIRST_PORT + u16::try_from(index)?;
        let mut plan = Plan::pinned(corpus, directory, name, port);
        if let Some(veth) = veth {
            plan.address = (veth::FAR, port).into();
            plan.netns = Some(veth.name.clone());
        }
        match Peer::start(name, &plan) {
            Ok(peer) => servers.push(peer),
            Err(error) => println!("{name} is left out: {error}"),
        }
    }
    Ok(servers)
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
            while cpu::other_share()? > options.other_share_max {
                if Instant::now() > end {
                    return Ok(rows);
                }
            }
            if Instant::now() > end {
                return Ok(rows);
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
    let us = |row: &[Sample]| table::median(row.iter().map(|sample| sample.us_a_query));
    let us_of = |name: &str| {
        let at = servers.iter().position(|server| server.name == name)?;
        us(&rows[at])
    };
    let best_peer = [us_of("nsd"), us_of("knot")].into_iter().flatten().reduce(f64::min);
    let echo = us_of("echo");
    println!();
    table::print_machine();
    println!(
        "| server | CPU us/query, median [min..max] | queries/s, median | vs best of NSD, Knot | vs echo | samples |"
    );
    println!("|---|---|---|---|---|---|");
    for (server, row) in servers.iter().zip(rows) {
        let spread = table::spread(row.iter().map(|sample| sample.us_a_query), 2);
        let rate = table::median(row.iter().map(|sample| sample.rate)).unwrap_or_default();
        println!(
            "| {} | {spread} | {rate:.0} | {} | {} | {} |",
            server.name,
            table::ratio(us(row), best_peer),
            table::ratio(us(row), echo),
            row.len()
        );
    }
}
