//! One sample: the CPU time of a server under load, and whether anything disturbed it.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use super::Result;
use super::load::{Load, Outcome};
use super::peers::Peer;

/// What one load on one server showed.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The server.
    server: &'static str,
    /// CPU time of all its threads for each answered query, in microseconds.
    pub(crate) us_a_query: f64,
    /// Answered queries a second.
    pub(crate) rate: f64,
    /// How much of a CPU it used.
    server_share: f64,
    /// How much of a CPU anything else used but the load.
    other_share: f64,
    /// Replies.
    outcome: Outcome,
}

impl Sample {
    /// Loads a server for some time.
    pub(crate) fn take(server: &Peer, load: &mut Load, duration: Duration) -> Result<Self> {
        // A moment of load first, so that caches are what they are under load.
        load.run(server, duration / 10)?;
        let (own, all) = (cpu_time(std::process::id())?, busy_time()?);
        let (before, start) = (server.cpu_time()?, Instant::now());
        let outcome = load.run(server, duration)?;
        let server_time = server.cpu_time()? - before;
        let elapsed = start.elapsed().as_secs_f64();
        let (own, all) = (cpu_time(std::process::id())? - own, busy_time()? - all);
        let other = all.saturating_sub(own).saturating_sub(server_time);
        Ok(Self {
            server: server.name,
            us_a_query: server_time.as_secs_f64() * 1e6 / outcome.answered.max(1) as f64,
            rate: outcome.answered as f64 / elapsed,
            server_share: server_time.as_secs_f64() / elapsed,
            other_share: other.as_secs_f64() / elapsed,
            outcome,
        })
    }

    /// Whether nothing disturbed it and everything was answered as it should be.
    pub(crate) fn is_good(&self, other_share_max: f64) -> bool {
        let outcome = &self.outcome;
        self.other_share <= other_share_max
            && outcome.wrong == 0
            && outcome.answered > 0
            && outcome.lost * 1_000 < outcome.answered
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6} {:6.2} us/query {:7.0} queries/s, server {:3.0} %, other {:3.0} %, lost {}, wrong {}",
            self.server,
            self.us_a_query,
            self.rate,
            self.server_share * 100.0,
            self.other_share * 100.0,
            self.outcome.lost,
            self.outcome.wrong
        )
    }
}

/// Watches for a moment, and returns how much of a CPU is used while this process does nothing.
pub(crate) fn other_share() -> Result<f64> {
    let moment = Duration::from_millis(200);
    let before = busy_time()?;
    std::thread::sleep(moment);
    Ok((busy_time()? - before).as_secs_f64() / moment.as_secs_f64())
}

/// Returns the middle value.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Keeps this process on one CPU; servers that it starts are put elsewhere.
pub(crate) fn stay_on_cpu(cpu: usize) -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &cpus)?)
}

/// Returns the CPU time of a process and all below it, kernel time included.
pub(crate) fn tree_cpu_time(root: u32) -> Result<Duration> {
    let mut members = vec![root];
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut next = 0;
    while let Some(member) = members.get(next).copied() {
        members.extend(parents.iter().filter(|pair| pair.1 == member).map(|pair| pair.0));
        next += 1;
    }
    members.into_iter().map(cpu_time).sum()
}

/// Returns the parent of a process.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state and the parent come behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the CPU time of all threads of a process, to the nanosecond.
fn cpu_time(process: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ns = stat.split_whitespace().next().ok_or("an empty schedstat")?;
        total += Duration::from_nanos(ns.parse()?);
    }
    Ok(total)
}

/// Returns the time that all CPUs were not idle.
fn busy_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // User, nice, system, idle, waiting, interrupts, soft interrupts, stolen.
    let busy = ticks.iter().take(8).sum::<u64>() - ticks[3] - ticks[4];
    Ok(Duration::from_millis(busy * 1_000 / rustix::param::clock_ticks_per_second()))
}
