//! Several authorities on one cluster: they write the same feed in turn, and an edge follows whoever does.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::process::{Node, dir};
use crate::status::{is_proved, wait_status};

/// A cluster, a key, and the directories of authorities.
struct Site {
    cluster: Cluster,
    keys: TempDir,
}

impl Site {
    fn new() -> Option<Self> {
        let (cluster, keys) = (Cluster::start(1)?, dir());
        std::fs::write(keys.path().join("seal-key"), "0123456789abcdef".repeat(4)).unwrap();
        std::fs::write(keys.path().join("other-key"), "f".repeat(64)).unwrap();
        Some(Self { cluster, keys })
    }

    fn key(&self, name: &str) -> String {
        self.keys.path().join(name).to_str().unwrap().to_owned()
    }

    fn arguments(&self) -> Vec<String> {
        let store = format!("etcd={}", self.cluster.endpoints()[0]);
        let key = self.key("seal-key");
        ["--role", "authority", "--store", &store, "--seal-key-file", &key]
            .map(str::to_owned)
            .into()
    }

    /// Starts the authority that writes, with a zone.
    fn writer(&self, data: &Path) -> Node {
        let node = self.authority(data);
        wait_until("nobody writes the feed", || turn(&node).0);
        node.cli_ok(&["zone", "create", "one.example"]);
        node
    }

    fn authority(&self, data: &Path) -> Node {
        let arguments = self.arguments();
        Node::start(data, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Whose turn it is, as a node knows it, and its number.
fn turn(node: &Node) -> (bool, u64) {
    let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
    let turn = &status["feed"]["turn"];
    (turn["is_ours"].as_bool().unwrap(), turn["term"].as_u64().unwrap())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

/// Puts an address and waits until an edge answers with it.
fn put_and_see(authority: &Node, edge: &Node, name: &str, octet: u8) {
    let address = format!("192.0.2.{octet}");
    authority.cli_ok(&["record", "set", name, "A", "60", &address]);
    edge.wait_for(name, 1, &[192, 0, 2, octet]);
}

fn serial(node: &Node) -> u32 {
    let rdata = node.ask("one.example", 6).1.remove(0);
    let at = rdata.len() - 20;
    u32::from_be_bytes(rdata[at..at + 4].try_into().unwrap())
}

#[test]
fn another_authority_goes_on_with_the_feed_when_its_writer_dies_or_ends() {
    let Some(site) = Site::new() else { return };
    let data = [dir(), dir(), dir()];
    let first = site.writer(data[0].path());
    let second = site.authority(data[1].path());
    // From the one that stands by: its tickets lead to both.
    let ticket = second.cli_ok(&["ticket", "create"]);
    let edge = Node::start(data[2].path(), &["--ticket", ticket.trim()]);
    put_and_see(&first, &edge, "a.one.example", 1);
    put_and_see(&second, &edge, "b.one.example", 2);
    assert_eq!((turn(&first).0, turn(&second).0), (true, false));
    let (before, term) = (serial(&edge), turn(&first).1);

    // It dies without a word.
    first.signal("-KILL");
    let taken = wait_until("nobody takes over", || turn(&second) == (true, term + 1));
    println!("taken over after {taken:?}");
    put_and_see(&second, &edge, "a.one.example", 3);
    assert_eq!(edge.ask("b.one.example", 1).1, [[192, 0, 2, 2]]);
    assert!(serial(&edge) > before);
    drop(first);

    // Back again, it stands by; when the other one ends, it is followed at once.
    let first = site.authority(data[0].path());
    put_and_see(&first, &edge, "c.one.example", 4);
    assert_eq!(turn(&first), (false, term + 1));
    let before = serial(&edge);
    assert_eq!(second.terminate(), Some(0));
    wait_until("nobody takes over", || turn(&first) == (true, term + 2));
    put_and_see(&first, &edge, "c.one.example", 5);
    assert!(serial(&edge) > before);

    // One that was paused for longer than its lease writes no more once it wakes.
    let second = site.authority(data[1].path());
    first.signal("-STOP");
    wait_until("nobody takes over", || turn(&second) == (true, term + 3));
    put_and_see(&second, &edge, "c.one.example", 6);
    first.signal("-CONT");
    put_and_see(&first, &edge, "c.one.example", 7);
    wait_until("the one that was paused writes", || turn(&first) == (false, term + 3));
    put_and_see(&second, &edge, "a.one.example", 8);
}

#[test]
fn edges_that_were_there_before_an_authority_follow_it_all_the_same() {
    let Some(site) = Site::new() else { return };
    let data = [dir(), dir(), dir()];
    let first = site.writer(data[0].path());
    let ticket = first.cli_ok(&["ticket", "create"]);
    let edge = Node::start(data[2].path(), &["--ticket", ticket.trim()]);
    put_and_see(&first, &edge, "a.one.example", 1);
    let second = site.authority(data[1].path());
    // Whoever writes looks every other second who else is there, and tells those who follow.
    std::thread::sleep(Duration::from_secs(5));
    put_and_see(&first, &edge, "a.one.example", 2);
    first.signal("-KILL");
    wait_until("nobody takes over", || turn(&second).0);
    put_and_see(&second, &edge, "a.one.example", 3);
}

/// The last document was written by the one that is dead, and nobody may write one.
#[test]
fn an_edge_that_comes_while_the_feeds_are_frozen_begins_from_another_edge_whoever_writes() {
    let Some(site) = Site::new() else { return };
    let data = [dir(), dir(), dir(), dir()];
    let first = site.writer(data[0].path());
    let second = site.authority(data[1].path());
    let ticket = second.cli_ok(&["ticket", "create"]);
    let edge = Node::start(data[2].path(), &["--ticket", ticket.trim()]);
    put_and_see(&first, &edge, "a.one.example", 1);
    first.cli_ok(&["feed", "freeze"]);
    wait_status(&first, |status| status["feed"]["frozen"]["is_settled"] == true);
    first.signal("-KILL");
    wait_until("nobody takes over", || turn(&second).0);
    second.cli_ok(&["record", "set", "a.one.example", "A", "60", "192.0.2.2"]);
    let late = Node::start(data[3].path(), &["--ticket", ticket.trim()]);
    late.wait_for("a.one.example", 1, &[192, 0, 2, 1]);
    // Once it has something it hears the author itself.
    wait_status(&late, is_proved);
    assert_eq!(edge.ask("a.one.example", 1).1, [[192, 0, 2, 1]]);
    second.cli_ok(&["feed", "thaw"]);
    late.wait_for("a.one.example", 1, &[192, 0, 2, 2]);
    edge.wait_for("a.one.example", 1, &[192, 0, 2, 2]);
}

#[test]
fn a_ticket_of_some_zones_is_of_use_whoever_writes() {
    let Some(site) = Site::new() else { return };
    let data = [dir(), dir(), dir()];
    let first = site.writer(data[0].path());
    let second = site.authority(data[1].path());
    first.cli_ok(&["zone", "create", "two.example"]);
    let ticket = second.cli_ok(&["ticket", "create", "--zones", "one.example"]);
    let edge = Node::start(data[2].path(), &["--ticket", ticket.trim()]);
    put_and_see(&second, &edge, "a.one.example", 1);
    assert_eq!(edge.ask("two.example", 6).0, 5, "REFUSED");
    assert_eq!(first.terminate(), Some(0));
    put_and_see(&second, &edge, "a.one.example", 2);
}

#[test]
fn who_would_write_a_shared_feed_on_its_own_does_not_start() {
    let Some(site) = Site::new() else { return };
    let data = [dir(), dir(), dir()];
    let arguments = site.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // One with a feed of its own brings its keys along.
    let alone = Node::start(data[0].path(), &arguments[..4]);
    alone.cli_ok(&["zone", "create", "one.example"]);
    let before = alone.cli_ok(&["ticket", "create"]);
    assert_eq!(alone.terminate(), Some(0));
    let sharing = Node::start(data[0].path(), &arguments);
    let after = sharing.cli_ok(&["ticket", "create"]);
    assert_eq!(before[..100], after[..100], "the same feed");
    assert_eq!(sharing.terminate(), Some(0));
    let fails = |data: &Path, arguments: &[&str]| {
        let output = crate::process::node_command(data, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = fails(data[0].path(), &arguments[..4]);
    assert!(said.contains("start with --seal-key-file"), "{said}");
    let other = site.key("other-key");
    let said = fails(data[1].path(), &[&arguments[..5], &[&other]].concat());
    assert!(said.contains("another key than --seal-key-file"), "{said}");
    let said = fails(data[1].path(), &[&arguments[..5], &["absent"]].concat());
    assert!(said.contains("--seal-key-file absent: No such file"), "{said}");
    // One with a feed of its own does not go over to another one unasked.
    let redb = Node::start(data[2].path(), &["--role", "authority"]);
    assert_eq!(redb.terminate(), Some(0));
    let said = fails(data[2].path(), &arguments);
    assert!(said.contains("the keys of another feed"), "{said}");
}

#[test]
fn a_feed_is_made_rotated_and_revoked_at_whichever_authority_and_all_of_them_keep_to_it() {
    let Some(site) = Site::new() else { return };
    let data = [dir(), dir(), dir()];
    let first = site.writer(data[0].path());
    let second = site.authority(data[1].path());
    // At the one that stands by.
    let ticket = second.cli_ok(&["feed", "create", "partner"]);
    let edge = Node::start(data[2].path(), &["--ticket", ticket.trim()]);
    put_and_see(&first, &edge, "a.one.example", 1);
    let namespace = |node: &Node, feed: &str| {
        let (_, report) = node.request("GET", &format!("/api/v1/aspen/feeds/{feed}"), None);
        report["namespace"].as_str().unwrap_or_default().to_owned()
    };
    let followed = |edge: &Node| {
        let (_, status) = edge.request("GET", "/api/v1/aspen/status", None);
        status["sync"]["namespace"].as_str().unwrap_or_default().to_owned()
    };
    second.cli_ok(&["feed", "rotate", "partner"]);
    wait_until("the edge does not go over", || followed(&edge) == namespace(&second, "partner"));
    put_and_see(&second, &edge, "a.one.example", 2);
    second.cli_ok(&["feed", "remove", "partner~1"]);
    wait_until("the other one does not hear of it", || namespace(&first, "partner~1").is_empty());
    assert_eq!(namespace(&first, "partner"), namespace(&second, "partner"));
    // Whoever takes over goes on with the new one.
    assert_eq!(first.terminate(), Some(0));
    put_and_see(&second, &edge, "a.one.example", 3);
    second.cli_ok(&["feed", "remove", "partner"]);
    wait_until("the edge does not hear why", || {
        let (_, status) = edge.request("GET", "/api/v1/aspen/status", None);
        status["sync"]["barred"] == "the feed was revoked"
    });
    assert_eq!(edge.ask("a.one.example", 1).1, [[192, 0, 2, 3]]);
}
