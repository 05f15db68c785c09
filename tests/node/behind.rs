//! Edges that follow behind on purpose: what they hold back, and how that ends.

use std::time::Duration;

use serde_json::Value;

use crate::process::{Node, dir};
use crate::status::{is_proved, wait_status};

/// Whether so many commits are held back.
fn holds(status: &Value, commits: u64) -> bool {
    status["sync"]["behind"]["commits"].as_u64() >= Some(commits)
}

#[test]
fn an_edge_that_follows_behind_shows_nothing_early_over_restarts_and_catches_up_when_told() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let arguments = ["--ticket", ticket.trim(), "--edge-name", "late", "--follow-behind", "1h"];
    let edge = Node::start(edge_data.path(), &arguments);
    // There is nothing older: the first version is taken at once.
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    wait_status(&edge, |status| status["sync"]["behind"]["has_begun"] == true);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    wait_status(&edge, |status| holds(status, 1));
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    let said = edge.cli_ok(&["follow", "status"]);
    assert!(said.starts_with("it follows 3600 s behind; 1 commits are held back"), "{said}");
    // It is no edge that everybody waits for, and known to be late where it is asked for.
    let waited = authority.cli_ok(&["wait", "--edges", "all", "--timeout", "20"]);
    assert!(waited.ends_with(" by 0 edges, 1 follow behind on purpose\n"), "{waited}");
    let waited = authority.cli_fails(&["wait", "--edges", "late", "--timeout", "0.2"]);
    assert!(waited.contains("follows 3600 s behind on purpose"), "{waited}");
    assert_eq!(edge.terminate(), Some(0));
    // A restart shows nothing early, and its author is heard all the same.
    let edge = Node::start(edge_data.path(), &arguments);
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    wait_status(&edge, |status| holds(status, 1) && status["sync"]["status"] == "Synced");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    edge.cli_ok(&["follow", "hold"]);
    assert_eq!(edge.terminate(), Some(0));
    let edge = Node::start(edge_data.path(), &arguments);
    let said = edge.cli_ok(&["follow", "status"]);
    assert!(said.starts_with("it stays where it is"), "{said}");
    edge.cli_ok(&["follow", "release"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.3"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 3]);
    wait_status(&edge, is_proved);
    edge.cli_ok(&["follow", "resume"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.4"]);
    wait_status(&edge, |status| holds(status, 1));
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 3]]);
    let said = authority.cli_fails(&["follow", "status"]);
    assert!(said.contains("--follow-behind"), "{said}");
}

#[test]
fn what_comes_of_a_feed_is_shown_when_it_is_old_enough() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let arguments = ["--ticket", ticket.trim(), "--follow-behind", "2s"];
    let edge = Node::start(edge_data.path(), &arguments);
    wait_status(&edge, |status| status["sync"]["behind"]["has_begun"] == true);
    // A zone that the log leaves to the document, so that a version is held back with it.
    let zone = data.path().join("big.example.zone");
    let mut text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    (0..20_000).for_each(|host| text.push_str(&format!("h{host} A 192.0.2.7\n")));
    std::fs::write(&zone, text).unwrap();
    let began = std::time::Instant::now();
    authority.cli_ok(&["zone", "import", zone.to_str().unwrap()]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    edge.wait_for("h19999.big.example", 1, &[192, 0, 2, 7]);
}

#[test]
fn an_edge_that_follows_behind_goes_over_to_a_rotated_feed_late_and_not_while_it_is_held() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["feed", "create", "partner"]);
    let arguments = ["--ticket", ticket.trim(), "--follow-behind", "3s"];
    let edge = Node::start(edge_data.path(), &arguments);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    wait_status(&edge, |status| status["sync"]["behind"]["has_begun"] == true);
    let namespace = || {
        let (_, report) = authority.request("GET", "/api/v1/aspen/feeds/partner", None);
        report["namespace"].clone()
    };
    let is_over = |status: &Value| status["sync"]["namespace"] == namespace();
    let began = std::time::Instant::now();
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    authority.cli_ok(&["feed", "rotate", "partner"]);
    wait_status(&edge, is_over);
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.3"]);
    wait_status(&edge, |status| holds(status, 1));
    edge.cli_ok(&["follow", "hold"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.4"]);
    authority.cli_ok(&["feed", "rotate", "partner"]);
    // For longer than it stays behind.
    std::thread::sleep(Duration::from_secs(6));
    let (_, status) = edge.request("GET", "/api/v1/aspen/status", None);
    assert!(!is_over(&status), "{status}");
    assert_ne!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 4]]);
    assert_eq!(edge.terminate(), Some(0));
    let edge = Node::start(edge_data.path(), &arguments);
    let said = edge.cli_ok(&["follow", "status"]);
    assert!(said.starts_with("it stays where it is"), "{said}");
    edge.cli_ok(&["follow", "release"]);
    wait_status(&edge, is_over);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 4]);
    // What was asked for is kept with the new feed.
    assert_eq!(edge.terminate(), Some(0));
    let edge = Node::start(edge_data.path(), &arguments);
    wait_status(&edge, |status| status["sync"]["behind"]["mode"] == "released");
}
