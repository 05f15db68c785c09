//! Disks that are full, and have room again: in memory, where the test may mount them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::asker::{AAAA, ask};
use crate::node::{Node, Start, assert_equal, wait, wait_synced};

const ZONES: [&str; 2] = ["one.example", "big.example"];
/// Octets of a disk.
const DISK: &str = "size=16m";
/// Names that are written one after the other until the disk is full.
const NAMES: u32 = 2_000;

/// A small disk; it is gone when it goes out of scope.
struct Disk(PathBuf);

impl Disk {
    /// Mounts it; none where that is not permitted.
    fn mount(dir: &Path) -> Option<Self> {
        std::fs::create_dir(dir).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(dir);
        let is_mounted = command.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            // Not by a macro, whose lines nobody sees of a test that ends well.
            let line = b"SKIPPED: a small disk cannot be mounted here\n";
            std::io::Write::write_all(&mut std::io::stderr(), line).unwrap();
        }
        is_mounted.then(|| Self(dir.to_owned()))
    }

    /// Leaves no room on it.
    fn fill(&self) {
        let octets = vec![0x55; 32 << 20];
        assert!(std::fs::write(self.0.join("filler"), octets).is_err(), "the disk is small");
    }

    /// Gives the room back.
    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn an_authority_whose_disk_was_full_has_lost_nothing_and_goes_on() {
    let dirs = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&dirs.path().join("disk")) else { return };
    let authority = Start::authority(&disk.0.join("authority")).run();
    let edge = Start::edge(&dirs.path().join("edge"), &authority.ticket()).run();
    authority.create_zone("one.example");
    authority.import("big.example", 1_000, 1);
    wait_synced(&authority, &edge);
    for turn in 1..=3 {
        disk.fill();
        let acknowledged = write_until_refused(&authority, turn);
        println!("{acknowledged} changes before the disk was full");
        wait_fault(&authority, "the store takes no commits");
        // It answers, and what it has acknowledged is everywhere.
        for at in 0..acknowledged {
            let owner = format!("n{at}.one.example");
            assert_eq!(authority.value(&owner), Some(turn), "{owner}");
            edge.wait_value(&owner, Some(turn));
        }
        disk.make_room();
        let path = "/api/v1/aspen/records/after.one.example/AAAA";
        let body = format!(r#"{{"ttl_seconds": 60, "rdata": ["2001:db8::{turn:x}"]}}"#);
        let writes = || authority.send("PUT", path, &body).is_ok_and(|reply| reply.0 == 200);
        println!("it writes again after {:?}", wait("writes work again", writes));
        authority.import("big.example", 1_000, turn + 1);
        edge.wait_value("after.one.example", Some(turn));
        wait_synced(&authority, &edge);
        assert_equal(&authority, &edge, &ZONES);
        wait_well(&authority);
    }
}

#[test]
fn an_edge_whose_disk_was_full_follows_again() {
    let dirs = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&dirs.path().join("disk")) else { return };
    let mut authority = Start::authority(&dirs.path().join("authority")).run();
    let start = Start::edge(&disk.0.join("edge"), &authority.ticket());
    let mut edge = start.run();
    authority.create_zone("one.example");
    authority.import("big.example", 1_000, 1);
    wait_synced(&authority, &edge);
    for turn in 1..=3 {
        disk.fill();
        (0..50).for_each(|at| authority.set(&format!("n{at}.one.example"), turn));
        authority.import("big.example", 20_000, turn + 1);
        wait_fault(&edge, "could not be kept on the disk");
        // It answers what it has: what there was before, or what there is now.
        for at in 0..50 {
            let reply = ask(edge.dns, &format!("n{at}.one.example"), AAAA);
            let value = reply.value().unwrap_or_default();
            assert!(value == turn || value == turn - 1, "{reply:?}");
        }
        disk.make_room();
        println!("all is there after {:?}", wait_synced(&authority, &edge));
        assert_equal(&authority, &edge, &ZONES);
        wait_well(&edge);
    }
    // What it has served since is on its disk.
    edge.kill();
    authority.kill();
    edge = start.run();
    assert_eq!(edge.value("n49.one.example"), Some(3));
    assert_eq!(edge.value("i19999.big.example"), Some(4));
}

/// Waits until a node says that it has a fault.
fn wait_fault(node: &Node, text: &str) {
    wait(text, || node.status()["faults"].to_string().contains(text));
}

/// Waits until a node has none.
fn wait_well(node: &Node) {
    wait("the faults are over", || node.status()["is_healthy"] == true);
}

/// Changes names one after the other until a change is refused; returns how many were not.
fn write_until_refused(authority: &Node, value: u32) -> u32 {
    for at in 0..NAMES {
        let path = format!("/api/v1/aspen/records/n{at}.one.example/AAAA");
        let body = format!(r#"{{"ttl_seconds": 60, "rdata": ["2001:db8::{value:x}"]}}"#);
        let (status, text) = authority.send("PUT", &path, &body).expect("an answer");
        if status != 200 {
            assert!((500..600).contains(&status), "{status} {text}");
            return at;
        }
    }
    panic!("the disk is not full after {NAMES} changes");
}
