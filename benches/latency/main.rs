//! Query latency at a fixed rate, while nothing changes and while the zone changes.
//!
//! ```sh
//! cargo bench --no-default-features --bench latency -- [--servers aspen,nsd,knot,bind]
//!     [--names 1000000] [--rate 20000] [--seconds 10] [--rounds 3]
//!     [--changes 1000] [--peer-changes 91] [--server-cpus 0,1]
//!     [--other-max 0.25] [--patience 1800]
//! ```
//!
//! `aspen` is a process of this crate that publishes `--changes` a second from a thread of its own,
//! each by itself, as an edge does with what it has heard. The others take no changes but as
//! secondary servers, so each has a BIND of its own as primary, which gets `--peer-changes` dynamic
//! updates a second, one at a time, and notifies at once: IXFR carries them on. Every server has
//! one worker. In each round each server is asked at `--rate` first while nothing changes, then
//! under changes.
//!
//! The rate is kept whatever the server does; a latency is from just before a query is sent to the
//! kernel's stamp on its reply (`benches/bed/rate.rs`). Afterwards the changes are asked for: how
//! many were never seen stands in the table, and how many a second there really were. The load is
//! on CPU 1, the servers wherever they are put, or on `--server-cpus`. A pair of runs during which
//! anything else used more than a quarter of a CPU (`--other-max`) is taken again, until all are
//! there or `--patience` seconds are over.

#[path = "../bed/mod.rs"]
mod bed;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bed::ask::{Ask, Queries};
use bed::change::{Updater, pace};
use bed::config::Source;
use bed::corpus::{Corpus, Kind};
use bed::peers::{Peer, Plan};
use bed::rate::{self, Latencies};
use bed::{CLIENT_CPU, FIRST_PORT, Result, cpu, flag, table, wait};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if bed::is_done(&arguments)? {
        return Ok(());
    }
    let value = |name, default| flag(&arguments, name, default);
    measure(&Options {
        servers: value("--servers", "aspen,nsd,knot,bind").split(',').map(str::to_owned).collect(),
        names: value("--names", "1000000").parse()?,
        rate: value("--rate", "20000").parse()?,
        duration: Duration::from_secs_f64(value("--seconds", "10").parse()?),
        rounds: value("--rounds", "3").parse()?,
        changes: value("--changes", "1000").parse()?,
        peer_changes: value("--peer-changes", "91").parse()?,
        server_cpus: value("--server-cpus", ""),
        other_share_max: value("--other-max", "0.25").parse()?,
        patience: Duration::from_secs_f64(value("--patience", "1800").parse()?),
    })
}

/// What to measure.
struct Options {
    /// Names of servers.
    servers: Vec<String>,
    /// Names in the zone.
    names: u32,
    /// Queries a second.
    rate: f64,
    /// How long each run takes.
    duration: Duration,
    /// Runs of each kind.
    rounds: usize,
    /// Changes a second of this crate's server.
    changes: f64,
    /// Changes a second of the others.
    peer_changes: f64,
    /// Where the servers run; empty: wherever they are put.
    server_cpus: String,
    /// How much of a CPU anything else may use during a good run.
    other_share_max: f64,
    /// How long all of it may take.
    patience: Duration,
}

/// A server under test, and what feeds it.
struct Subject {
    /// The server.
    peer: Peer,
    /// Its primary server, if it needs one.
    primary: Option<Peer>,
    /// The next change's number.
    next: u32,
    /// Runs without changes.
    quiet: Vec<Latencies>,
    /// Runs with changes.
    busy: Vec<Latencies>,
    /// How many changes there were, and in how many seconds.
    made: (u32, f64),
    /// Changes that were not seen.
    unseen: u64,
}

/// Starts the servers, measures them in turns, prints the table.
fn measure(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let corpus = Corpus::write(Kind::One(options.names), directory.path())?;
    let mut subjects = Vec::new();
    for (name, port) in options.servers.iter().zip((FIRST_PORT..).step_by(2)) {
        match Subject::start(name, port, &corpus, directory.path(), options) {
            Ok(subject) => subjects.push(subject),
            Err(error) => println!("{name} is left out: {error}"),
        }
    }
    let queries = Queries::random(Ask::A, corpus.kind)?;
    cpu::stay_on_cpu(CLIENT_CPU)?;
    let end = Instant::now() + options.patience;
    while subjects.iter().any(|subject| subject.busy.len() < options.rounds) && Instant::now() < end
    {
        for subject in subjects.iter_mut().filter(|subject| subject.busy.len() < options.rounds) {
            subject.run_pair(&queries, options)?;
        }
    }
    println!("\n## latency of {} queries a second, {}, us\n", options.rate, corpus.kind);
    table::print_machine();
    println!(
        "| server | quiet p50 / p99 / p99.9 | changes/s | under changes p50 / p99 / p99.9 | p99, p99.9 vs quiet | queries lost quiet, under changes | changes not seen | pairs |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for subject in &subjects {
        subject.print_row();
    }
    Ok(())
}

impl Subject {
    /// Starts a server and what feeds it.
    fn start(
        name: &str,
        port: u16,
        corpus: &Corpus,
        directory: &Path,
        options: &Options,
    ) -> Result<Self> {
        let mut plan = Plan::pinned(corpus, directory, name, port);
        plan.cpus.clone_from(&options.server_cpus);
        let mut primary = None;
        if name != "aspen" {
            let mut first = Plan::pinned(corpus, directory, "bind", port + 1);
            first.cpus.clear();
            first.source = Source::Updates { notified: vec![port] };
            let mut peer = Peer::start("bind", &first)?;
            wait::until_answered(&mut peer, corpus.kind, START)?;
            primary = Some(peer);
            plan.source = Source::Transfer { primary: port + 1 };
        }
        let mut peer = Peer::start(name, &plan)?;
        wait::until_answered(&mut peer, corpus.kind, START)?;
        let (quiet, busy) = (Vec::new(), Vec::new());
        Ok(Self { peer, primary, next: 1, quiet, busy, made: (0, 0.0), unseen: 0 })
    }

    /// Asks while nothing changes, then while the zone changes; keeps both if nothing disturbed
    /// them.
    fn run_pair(&mut self, queries: &Queries, options: &Options) -> Result<()> {
        let (quiet, quiet_other) = self.watch(|own| own.run(queries, options))?;
        self.print_run("quiet", quiet_other, &quiet);
        let (busy, busy_other) = self.watch(|own| own.run_under_changes(queries, options))?;
        self.print_run("under changes", busy_other, &busy);
        if quiet_other.max(busy_other) <= options.other_share_max {
            self.quiet.push(quiet);
            self.busy.push(busy);
        } else {
            println!("{:6} (not counted)", self.peer.name);
        }
        Ok(())
    }

    /// Does something, and returns how much of a CPU anything else used meanwhile.
    fn watch<T>(&mut self, action: impl FnOnce(&mut Self) -> Result<T>) -> Result<(T, f64)> {
        let ours = |own: &Self| -> Result<Duration> {
            let servers = [Some(&own.peer), own.primary.as_ref()].into_iter().flatten();
            servers
                .map(Peer::cpu_time)
                .sum::<Result<Duration>>()
                .and_then(|servers| Ok(servers + cpu::own_time()?))
        };
        let (before, busy, start) = (ours(self)?, cpu::busy_time()?, Instant::now());
        let done = action(self)?;
        let (ours, busy) = (ours(self)?.saturating_sub(before), cpu::busy_time()? - busy);
        let other = busy.saturating_sub(ours).as_secs_f64() / start.elapsed().as_secs_f64();
        Ok((done, other))
    }

    /// Asks while nothing changes.
    fn run(&self, queries: &Queries, options: &Options) -> Result<Latencies> {
        rate::run(self.peer.address, queries, options.rate, options.duration)
    }

    /// Asks while the zone changes, and looks for the changes then.
    fn run_under_changes(&mut self, queries: &Queries, options: &Options) -> Result<Latencies> {
        let (first, start) = (self.next, Instant::now());
        let found = if let Some(primary) = &self.primary {
            let updater = Updater::new(primary.address, options.names)?;
            let ended = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let changer = scope.spawn(|| {
                    let make = |number| updater.update(number);
                    pace(first, options.peer_changes, &ended, make).map_err(|e| e.to_string())
                });
                let found = self.run(queries, options);
                ended.store(true, Ordering::Relaxed);
                self.next = changer.join().map_err(|_| "the changer panicked")??;
                found
            })?
        } else {
            self.peer.order(&format!("change {} {} {first}", options.changes, options.names))?;
            let found = self.run(queries, options)?;
            self.next = self.peer.order("still")?.parse()?;
            found
        };
        self.made.0 += self.next - first;
        self.made.1 += start.elapsed().as_secs_f64();
        self.unseen += wait::count_unseen(&self.peer, Kind::One(options.names), first..self.next)?;
        Ok(found)
    }

    /// Prints one run.
    fn print_run(&self, what: &str, other: f64, run: &Latencies) {
        println!(
            "{:6} {what}: p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} us, sent {}, lost {}, wrong {}; \
             other {:.0} %, load {}",
            self.peer.name,
            run.percentile(0.5),
            run.percentile(0.99),
            run.percentile(0.999),
            run.percentile(1.0),
            run.sent,
            run.lost,
            run.wrong,
            other * 100.0,
            table::load_average()
        );
    }

    /// Prints the server's row of the table.
    fn print_row(&self) {
        let of = |runs: &[Latencies], share: f64| {
            table::median(runs.iter().map(|run| run.percentile(share)))
        };
        let three = |runs| {
            let text = |share| of(runs, share).map_or(String::new(), |us| format!("{us:.0}"));
            [0.5, 0.99, 0.999].map(text).join(" / ")
        };
        let lost = |runs: &[Latencies]| runs.iter().map(|run| run.lost + run.wrong).sum::<u64>();
        let ratio = |share| table::ratio(of(&self.busy, share), of(&self.quiet, share));
        println!(
            "| {} | {} | {:.0} | {} | {}, {} | {}, {} | {} | {} |",
            self.peer.name,
            three(&self.quiet),
            f64::from(self.made.0) / self.made.1.max(1e-9),
            three(&self.busy),
            ratio(0.99),
            ratio(0.999),
            lost(&self.quiet),
            lost(&self.busy),
            self.unseen,
            self.busy.len()
        );
    }
}

/// How long a server may take to have its zone.
const START: Duration = Duration::from_secs(180);
