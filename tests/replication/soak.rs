//! Many changes, one after the other: what a node holds of them is bounded, on its disk, in memory and in descriptors.
//!
//! `ASPEN_TEST_CHANGES` says how many; what grows with each shows from 100,000 on, which is when the logs of commits
//! are full.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::asker::{AAAA, try_ask};
use crate::node::{Node, PATIENCE, Start, assert_equal, wait_synced};

/// Changes, where nothing else is said.
const CHANGES: u64 = 2_000;
/// From how many on disk and memory are judged: logs keep 65,536 commits.
const JUDGED_FROM: u64 = 150_000;
/// Writers, each with a zone and a connection of its own, so that no two changes are one commit.
const WRITERS: u64 = 8;
/// Names of a zone that are changed in turn.
const NAMES: u64 = 500;
const SAMPLES: u64 = 40;
/// What descriptors may vary by: connections that are there when they are counted.
const DESCRIPTORS: u64 = 24;
/// By how much more than a tenth the last quarter may be above the one before: files grow in steps.
const DISK_SLACK_KIB: u64 = 8 << 10;
/// Memory that the allocator keeps varies.
const MEMORY_SLACK_KIB: u64 = 16 << 10;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    disk_kib: u64,
    memory_kib: u64,
    descriptors: u64,
}

impl Sample {
    fn of(node: &Node, dir: &Path) -> Self {
        let process = PathBuf::from(format!("/proc/{}", node.id()));
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory_kib = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let descriptors = std::fs::read_dir(process.join("fd")).unwrap().count() as u64;
        Self { disk_kib: disk_kib(dir), memory_kib, descriptors }
    }

    /// The most of each.
    fn most(samples: &[Self]) -> Self {
        samples.iter().fold(Self::default(), |most, sample| Self {
            disk_kib: most.disk_kib.max(sample.disk_kib),
            memory_kib: most.memory_kib.max(sample.memory_kib),
            descriptors: most.descriptors.max(sample.descriptors),
        })
    }
}

/// Ends a thread when it goes out of scope.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the files below a directory take. One that goes meanwhile takes nothing.
fn disk_kib(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let kib = entries.map(|entry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => disk_kib(&entry.path()),
        Ok(facts) => facts.blocks() / 2,
        Err(_) => 0,
    });
    kib.sum()
}

#[test]
fn what_nodes_hold_does_not_grow_with_the_number_of_changes() {
    let changes = std::env::var("ASPEN_TEST_CHANGES").ok().and_then(|text| text.parse().ok());
    let changes: u64 = changes.unwrap_or(CHANGES);
    let dirs = tempfile::tempdir().unwrap();
    let (own, its) = (dirs.path().join("authority"), dirs.path().join("edge"));
    let authority = Start::authority(&own).run();
    let zones: Vec<String> = (0..WRITERS).map(|writer| format!("w{writer}.example")).collect();
    zones.iter().for_each(|zone| authority.create_zone(zone));
    let edge = Start::edge(&its, &authority.ticket()).run();
    wait_synced(&authority, &edge);
    let (made, is_over, asked) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let samples: Vec<[Sample; 2]> = std::thread::scope(|scope| {
        // It ends the asker, also when a check fails.
        let _end = End(&is_over);
        for zone in &zones {
            let (made, reach) = (&made, &authority.reach);
            scope.spawn(move || {
                for change in 1..=changes / WRITERS {
                    reach.set(&format!("n{}.{zone}", change % NAMES), change as u32);
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (dns, zone, is_over, asked) = (edge.dns, &zones[0], &is_over, &asked);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let reply = try_ask(dns, &format!("n1.{zone}"), AAAA, Duration::from_secs(2));
                assert!(reply.is_some(), "the edge is silent");
                asked.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let samples = (1..=SAMPLES).map(|turn| {
            let until = (changes / WRITERS * WRITERS) * turn / SAMPLES;
            let is_there = || made.load(Ordering::Relaxed) >= until;
            let wait_since = Instant::now();
            while !is_there() {
                // Writers that fail make no more.
                let most = PATIENCE + Duration::from_millis(50 * changes / SAMPLES);
                assert!(wait_since.elapsed() < most, "the writers stand still");
                std::thread::sleep(Duration::from_millis(10));
            }
            let sample = [Sample::of(&authority, &own), Sample::of(&edge, &its)];
            let (after_s, [own, its]) = (began.elapsed().as_secs(), sample);
            println!("{until} changes, {after_s} s: authority {own:?}, edge {its:?}");
            sample
        });
        samples.collect()
    });
    let asked = asked.load(Ordering::Relaxed);
    println!(
        "the edge had {asked} questions; all is there after {:?}",
        wait_synced(&authority, &edge)
    );
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    assert_equal(&authority, &edge, &zones);
    for (at, name) in ["authority", "edge"].iter().enumerate() {
        let of: Vec<Sample> = samples.iter().map(|sample| sample[at]).collect();
        assert_level(name, &of, changes >= JUDGED_FROM);
    }
}

/// Sees that the last quarter of some samples is not above the one before.
fn assert_level(name: &str, samples: &[Sample], is_full: bool) {
    let (before, last) = samples[samples.len() / 2..].split_at(samples.len() / 4);
    let (before, last) = (Sample::most(before), Sample::most(last));
    let most = before.descriptors + DESCRIPTORS;
    assert!(last.descriptors <= most, "{name}: descriptors grow: {before:?}, {last:?}");
    if is_full {
        let most_kib = before.disk_kib + before.disk_kib / 10 + DISK_SLACK_KIB;
        assert!(last.disk_kib <= most_kib, "{name}: the disk fills: {before:?}, {last:?}");
        let most_kib = before.memory_kib + before.memory_kib / 10 + MEMORY_SLACK_KIB;
        assert!(last.memory_kib <= most_kib, "{name}: memory grows: {before:?}, {last:?}");
    }
}
