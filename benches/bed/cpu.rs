//! What processes use: CPU time, memory; and how quiet the machine is.

use std::fs;
use std::time::Duration;

use super::Result;

/// Watches for a moment, and returns how much of a CPU is used while this process does nothing.
pub fn other_share() -> Result<f64> {
    let moment = Duration::from_millis(200);
    let before = busy_time()?;
    std::thread::sleep(moment);
    Ok((busy_time()? - before).as_secs_f64() / moment.as_secs_f64())
}

/// Keeps this process on one CPU; servers that it starts are put elsewhere.
pub fn stay_on_cpu(cpu: usize) -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &cpus)?)
}

/// Returns the CPU time of a process and all below it, kernel time included.
pub fn tree_time(root: u32) -> Result<Duration> {
    tree(root)?.into_iter().map(process_time).sum()
}

/// Returns the memory of a process and all below it: octets that are resident, each page divided
/// by the number of processes that share it (PSS).
pub fn tree_memory(root: u32) -> Result<u64> {
    let mut total = 0;
    for process in tree(root)? {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no PSS")?;
        total += kib.trim().parse::<u64>()? * 1_024;
    }
    Ok(total)
}

/// Returns a process and all below it.
fn tree(root: u32) -> Result<Vec<u32>> {
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
    Ok(members)
}

/// Returns the parent of a process.
fn parent(process: u32) -> Option<u32> {
    stat_field(process, 1)?.try_into().ok()
}

/// Returns a number behind the name of a process in its `stat`; the state is the first, 0.
fn stat_field(process: u32, index: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
}

/// Returns the CPU time of all threads of a process, to the nanosecond.
fn process_time(process: u32) -> Result<Duration> {
    threads_time(process, |_| true)
}

/// Returns the CPU time of the threads of a process that have a name which `is_meant`.
pub fn threads_time(process: u32, is_meant: impl Fn(&str) -> bool) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?.path();
        // A thread may end while we look; what it used is lost to us, and little.
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        let Ok(stat) = fs::read_to_string(thread.join("schedstat")) else { continue };
        if !is_meant(name.trim_end()) {
            continue;
        }
        let ns = stat.split_whitespace().next().ok_or("an empty schedstat")?;
        total += Duration::from_nanos(ns.parse()?);
    }
    Ok(total)
}

/// Returns the CPU time of a process, its threads that have ended included, in the kernel's ticks.
pub fn whole_time(process: u32) -> Result<Duration> {
    stat_time(process, [11, 12])
}

/// Returns the CPU time of this process, and of its threads and children that have ended, such as
/// a load's over TCP and dnsperf.
pub fn own_time() -> Result<Duration> {
    let own = std::process::id();
    Ok(whole_time(own)? + stat_time(own, [13, 14])?)
}

/// Returns the sum of a process's user and system time, which stand in these fields of its `stat`.
fn stat_time(process: u32, fields: [usize; 2]) -> Result<Duration> {
    let fields = fields.map(|index| stat_field(process, index));
    Ok(ticks(fields.into_iter().sum::<Option<u64>>().ok_or("a field of stat")?))
}

/// Returns the time that all CPUs were not idle.
pub fn busy_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("an empty /proc/stat")?;
    let times: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // User, nice, system, idle, waiting, interrupts, soft interrupts, stolen.
    let busy = times.iter().take(8).sum::<u64>() - times[3] - times[4];
    Ok(ticks(busy))
}

/// Returns how long so many ticks of the kernel's clock are.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / rustix::param::clock_ticks_per_second())
}
