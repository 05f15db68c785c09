//! CPU time and memory of a start from zone files: of their text, and of their compiled form.
//!
//! ```text
//! cargo bench --no-default-features --bench start -- one FILE       a master file
//! cargo bench --no-default-features --bench start -- many DIR       a directory of NAME.zone files
//! ```
//!
//! Each start is a process of its own, so that it finds the memory as a server does: five read the
//! text, five what the one before left. Printed are the medians of wall and CPU time from the
//! process's first instruction to the published catalog, and of resident memory then, the largest and
//! that of each zone or name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aspen_dns::masterfiles::ZoneFiles;
use aspen_dns::publish::Publisher;
use aspen_dns::zone::HashSeed;

/// What one start took.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    /// Milliseconds on the clock.
    wall_ms: u64,
    /// Milliseconds of CPU time, all threads.
    cpu_ms: u64,
    /// KiB resident when all is published.
    resident_kib: u64,
    /// KiB resident at most.
    peak_kib: u64,
    /// Zones.
    zones: u64,
    /// Names.
    names: u64,
}

/// Reads a number of `/proc/self/status`.
fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("the field is there")
}

/// Returns the CPU time of the process in milliseconds, its ended threads included.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
    (ticks(11) + ticks(12)) * 1_000 / rustix::param::clock_ticks_per_second()
}

/// Starts once, as the child process, and prints what it took.
fn start(kind: &str, path: &Path, compiled: &Path) {
    let began = Instant::now();
    let (dir, named) = match kind {
        "one" => (None, vec![path.to_owned()]),
        _ => (Some(path.to_owned()), Vec::new()),
    };
    let seed = HashSeed(0x5eed);
    let mut files = ZoneFiles::new(dir, named, Some(compiled.to_owned()), seed);
    let loaded = files.refresh().expect("the directory can be read");
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    let zones = loaded.zone_count;
    let names: u64 = loaded.changed.iter().map(|zone| zone.name_count()).sum();
    let publisher = Arc::new(Publisher::new(seed));
    publisher.publish(loaded.changes());
    let (wall_ms, cpu) = (began.elapsed().as_millis(), cpu_ms());
    files.wait_written();
    std::thread::sleep(Duration::from_millis(100));
    let (resident, peak) = (status_kib("VmRSS"), status_kib("VmHWM"));
    println!("{wall_ms} {cpu} {resident} {peak} {zones} {names}");
    std::hint::black_box(publisher.reader().load().zone_count());
}

/// Runs a start in a process of its own.
fn run(kind: &str, path: &Path, compiled: &Path) -> Start {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["start", kind])
        .args([path, compiled])
        .output()
        .expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall_ms, cpu_ms, resident_kib, peak_kib, zones, names] = numbers[..] else {
        panic!("{text} {}", String::from_utf8_lossy(&output.stderr));
    };
    Start { wall_ms, cpu_ms, resident_kib, peak_kib, zones, names }
}

/// Prints the medians of some starts.
fn print(what: &str, starts: &[Start]) {
    let median = |of: fn(&Start) -> u64| {
        let mut values: Vec<u64> = starts.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let (zones, names) = (starts[0].zones, starts[0].names);
    let resident = median(|start| start.resident_kib);
    println!(
        "{what}: {} ms, {} ms of CPU, {} MiB resident, {} MiB at most; {} octets for each of {zones} \
         zones, {} for each of {names} names",
        median(|start| start.wall_ms),
        median(|start| start.cpu_ms),
        resident >> 10,
        median(|start| start.peak_kib) >> 10,
        (resident << 10) / zones.max(1),
        (resident << 10) / names.max(1),
    );
}

fn main() {
    // cargo adds flags of its own.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start", kind, path, compiled] => start(kind, Path::new(path), Path::new(compiled)),
        [kind @ ("one" | "many"), path] => {
            let path = PathBuf::from(path);
            let compiled = std::env::temp_dir().join(format!("start-{}", std::process::id()));
            let text = (0..5).map(|_| {
                let _ = std::fs::remove_dir_all(&compiled);
                run(kind, &path, &compiled)
            });
            print("of text", &text.collect::<Vec<_>>());
            let again = (0..5).map(|_| run(kind, &path, &compiled));
            print("of compiled form", &again.collect::<Vec<_>>());
            let _ = std::fs::remove_dir_all(&compiled);
        }
        _ => eprintln!("usage: start one FILE | many DIR"),
    }
}
