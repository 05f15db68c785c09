//! Clocks that are years wrong: running, and at a start.
//!
//! They are stepped by libfaketime (Debian: `libfaketime`); the monotonic clock goes on.

use std::path::{Path, PathBuf};

use crate::asker::{REFUSED, SOA, ask};
use crate::node::{Node, Start, assert_equal, wait, wait_synced};

const YEAR_BACK: &str = "-365d";
const EIGHTY_YEARS_ON: &str = "+29220d";
const RIGHT: &str = "+0";
const IN_1970: &str = "@1970-01-02 00:00:00";

#[test]
fn what_is_written_arrives_whatever_the_clocks_say() {
    let Some(library) = library() else {
        eprintln!("SKIPPED: libfaketime is not installed (tests/run installs it)");
        return;
    };
    let dirs = tempfile::tempdir().unwrap();
    let mut own = Clocked::new(&dirs.path().join("authority"), &library, "");
    let ticket = own.node.ticket();
    let mut its = Clocked::new(&dirs.path().join("edge"), &library, &ticket);
    own.node.create_zone("one.example");
    let mut turn = 0;
    let mut see = |what: &str, own: &Clocked, its: &Clocked| {
        turn += 1;
        let began = std::time::Instant::now();
        assert_arrives(turn, &own.node, &its.node);
        println!("{what}: all has arrived after {:?}", began.elapsed());
    };
    see("both right", &own, &its);
    for clock in [YEAR_BACK, EIGHTY_YEARS_ON] {
        own.set(clock);
        see(&format!("authority {clock}"), &own, &its);
        own.restart();
        see(&format!("authority restarted {clock}"), &own, &its);
        own.set(RIGHT);
        see("authority right again", &own, &its);
    }
    own.restart();
    see("authority restarted right", &own, &its);
    for clock in [YEAR_BACK, EIGHTY_YEARS_ON] {
        its.set(clock);
        see(&format!("edge {clock}"), &own, &its);
        its.restart();
        see(&format!("edge restarted {clock}"), &own, &its);
        its.set(RIGHT);
        see("edge right again", &own, &its);
    }
    own.set(IN_1970);
    its.set(IN_1970);
    see("both in 1970", &own, &its);
    own.restart();
    its.restart();
    see("both restarted in 1970", &own, &its);
}

/// Sees that a change, a new zone, an import and a delete arrive.
fn assert_arrives(turn: u32, authority: &Node, edge: &Node) {
    authority.set("n.one.example", turn);
    edge.wait_value("n.one.example", Some(turn));
    let new = format!("new{turn}.example");
    authority.create_zone(&new);
    authority.set(&format!("n.{new}"), turn);
    edge.wait_value(&format!("n.{new}"), Some(turn));
    authority.import("imported.example", 50, turn);
    edge.wait_value("i7.imported.example", Some(turn));
    let imported = ["one.example", "imported.example", &new];
    wait_synced(authority, edge);
    assert_equal(authority, edge, &imported);
    authority.delete_zone(&new);
    wait("a zone is deleted", || ask(edge.dns, &new, SOA).rcode == REFUSED);
}

/// A node with a clock of its own.
struct Clocked {
    node: Node,
    start: Start,
    clock: PathBuf,
}

impl Clocked {
    /// An edge if there is a ticket.
    fn new(dir: &Path, library: &Path, ticket: &str) -> Self {
        let clock = dir.with_extension("clock");
        std::fs::write(&clock, RIGHT).unwrap();
        let start =
            if ticket.is_empty() { Start::authority(dir) } else { Start::edge(dir, ticket) };
        let start = start
            .with_variable("LD_PRELOAD", library.to_str().unwrap())
            .with_variable("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
            .with_variable("FAKETIME_NO_CACHE", "1")
            .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with_variable("DONT_FAKE_MONOTONIC", "1");
        Self { node: start.run(), start, clock }
    }

    /// Steps the clock.
    fn set(&self, to: &str) {
        let next = self.clock.with_extension("next");
        std::fs::write(&next, format!("{to}\n")).unwrap();
        std::fs::rename(&next, &self.clock).unwrap();
    }

    /// Kills the node and starts it again.
    fn restart(&mut self) {
        self.node.kill();
        self.node = self.start.run();
    }
}

/// Where the library is, if it is installed.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = folders.map(|at| at.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists())
}
