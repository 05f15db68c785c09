//! Feeds that are frozen: edges keep what they serve, over restarts of the authority too, and get all of it then.

use std::time::Duration;

use serde_json::Value;

use crate::process::{Node, dir};
use crate::status::{is_proved, wait_status};

#[test]
fn nothing_goes_out_while_the_feeds_are_frozen_and_all_of_it_when_they_are_thawed() {
    let (data, edge_data) = (dir(), dir());
    let start = || Node::start(data.path(), &["--role", "authority"]);
    let authority = start();
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    wait_status(&edge, is_proved);
    let said = authority.cli_ok(&["feed", "freeze"]);
    assert!(said.starts_with("the feeds are frozen at revision "), "{said}");
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    assert_eq!(authority.ask("www.one.example", 1).1, [[192, 0, 2, 2]], "it answers itself");
    let waited = authority.cli_fails(&["wait", "--edges", "all", "--timeout", "60"]);
    assert!(waited.contains("the feeds are frozen at revision "), "{waited}");
    let is_alive = |status: &Value| {
        status["sync"]["status"] == "Synced" && status["sync"]["beat_age_ms"].as_u64() < Some(1_000)
    };
    wait_status(&edge, is_alive);
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    assert_eq!(authority.terminate(), Some(0));
    let authority = start();
    let said = authority.cli_ok(&["feed", "frozen"]);
    assert!(said.contains("are frozen at"), "a restart thaws nothing: {said}");
    authority.cli_ok(&["record", "set", "new.one.example", "A", "60", "192.0.2.3"]);
    wait_status(&edge, is_alive);
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    let status = wait_status(&authority, |status| status["feed"]["frozen"]["is_settled"] == true);
    assert_eq!(status["is_healthy"], true, "{status}");
    assert!(status["feed"]["document_version"].as_u64() > Some(0), "the last is shown: {status}");
    assert_eq!(authority.cli_ok(&["feed", "thaw"]), "the feeds are not frozen\n");
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
    edge.wait_for("new.one.example", 1, &[192, 0, 2, 3]);
    authority.cli_ok(&["wait", "--edges", "all", "--timeout", "20"]);
}

#[test]
fn a_feed_that_is_rotated_while_it_is_frozen_stays_so_and_edges_go_over_when_it_is_thawed() {
    let (data, edge_data) = (dir(), dir());
    let start = || Node::start(data.path(), &["--role", "authority"]);
    let authority = start();
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["feed", "create", "partner"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    wait_status(&edge, is_proved);
    authority.cli_ok(&["feed", "freeze"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    authority.cli_ok(&["feed", "rotate", "partner"]);
    assert_eq!(authority.terminate(), Some(0));
    let authority = start();
    let namespace = |feed: &str| {
        let (_, report) = authority.request("GET", &format!("/api/v1/aspen/feeds/{feed}"), None);
        report["namespace"].clone()
    };
    // Whatever it is called now, it goes on to say where it stands.
    let (old, new) = (namespace("partner~1"), namespace("partner"));
    assert_ne!(old, new);
    // Longer than heartbeats are apart: those from before the restart are old then.
    std::thread::sleep(Duration::from_secs(2));
    let is_alive = |status: &Value| {
        status["sync"]["status"] == "Synced" && status["sync"]["beat_age_ms"].as_u64() < Some(1_000)
    };
    let status = wait_status(&edge, is_alive);
    assert_eq!(status["sync"]["namespace"], old);
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    authority.cli_ok(&["feed", "thaw"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
    wait_status(&edge, |status| status["sync"]["namespace"] == new);
}
