//! A record written at one node is answered by every other.

use serde_json::json;

use crate::process::{Node, dir};
use crate::status::wait_status;

#[test]
fn a_node_without_arguments_answers_the_example_zone_through_the_pipeline() {
    let data = dir();
    let node = Node::start(data.path(), &[]);
    assert_eq!(node.ask("www.example.test", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.ask("any.wild.example.test", 16).0, 0);
    let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
    assert_eq!((&status["role"], &status["zones"]), (&json!("all"), &json!(1)), "{status}");
    assert_eq!(status["served_revision"], status["store_revision"], "{status}");
    assert_eq!(node.terminate(), Some(0));
    // What was there is there again.
    let node = Node::start(data.path(), &[]);
    assert_eq!(node.ask("www.example.test", 1), (0, vec![vec![192, 0, 2, 1]]));
}

#[test]
fn what_was_written_is_answered_when_the_reply_is_there() {
    for role in ["authority", "all"] {
        let data = dir();
        let node = Node::start(data.path(), &["--role", role]);
        node.cli_ok(&["zone", "create", "one.example"]);
        for last in 1..=40_u8 {
            let body = json!({"ttl_seconds": 60, "rdata": [format!("192.0.2.{last}")]});
            let path = "/api/v1/aspen/records/www.one.example/A";
            let (status, text) = node.request("PUT", path, Some(body));
            assert_eq!(status, 200, "{text}");
            let found = node.ask("www.one.example", 1);
            assert_eq!(found, (0, vec![vec![192, 0, 2, last]]), "{role}");
        }
        node.cli_ok(&["record", "delete", "www.one.example", "A"]);
        assert_eq!(node.ask("www.one.example", 1), (3, vec![]), "{role}");
        node.cli_ok(&["zone", "delete", "one.example"]);
        assert_eq!(node.ask("www.one.example", 1).0, 5, "{role}: REFUSED");
    }
}

#[test]
fn an_edge_answers_what_its_authority_commits() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    assert_eq!(authority.ask("www.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--role", "edge", "--ticket", ticket.trim()]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    let said = authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    let revision = said.trim().rsplit(' ').next().unwrap().to_owned();
    edge.cli_ok(&["wait", "--revision", &revision, "--timeout", "10"]);
    assert_eq!(edge.ask("www.one.example", 1), (0, vec![vec![192, 0, 2, 2]]));
    edge.cli_ok(&["wait", "--timeout", "10"]);
    edge.cli_fails(&["wait", "--revision", "999999", "--timeout", "0.1"]);
    // The edge shows what it has, and refuses writes.
    let text = edge.cli_ok(&["record", "get", "www.one.example", "A"]);
    assert_eq!(text, "www.one.example.\t60\tIN\tA\t192.0.2.2\n");
    assert!(edge.cli_ok(&["zone", "list"]).contains("one.example."));
    let text = edge.cli_fails(&["record", "set", "www.one.example", "A", "60", "192.0.2.3"]);
    assert!(text.contains("read-only"), "{text}");
    edge.cli_fails(&["ticket", "create"]);
    // It says so once it has heard the author's heartbeat.
    let status = wait_status(&edge, |status| status["sync"]["status"] == "Synced");
    assert_eq!(status["served_revision"].to_string(), revision);
    // It answers when its authority is gone, and after a restart from its own disk.
    assert_eq!(authority.terminate(), Some(0));
    assert_eq!(edge.ask("www.one.example", 1), (0, vec![vec![192, 0, 2, 2]]));
    assert_eq!(edge.terminate(), Some(0));
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
}

#[test]
fn an_edge_finds_a_restarted_authority_where_its_ticket_says() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    drop(authority); // kill -9
    // The address was left to the node: it takes the port that its tickets name again.
    let authority = Node::start(data.path(), &["--role", "authority"]);
    assert_eq!(authority.cli_ok(&["ticket", "create"]), ticket);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
}

#[test]
fn a_ticket_for_some_zones_carries_no_other() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    for zone in ["one.example", "two.example"] {
        authority.cli_ok(&["zone", "create", zone]);
        let owner = format!("www.{zone}");
        authority.cli_ok(&["record", "set", &owner, "A", "60", "192.0.2.1"]);
    }
    let ticket = authority.cli_ok(&["ticket", "create", "--zones", "two.example"]);
    let shown = authority.cli_ok(&["ticket", "show", ticket.trim()]);
    assert!(shown.contains("namespace"), "{shown}");
    authority.cli_fails(&["ticket", "create", "--zones", "three.example"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    edge.wait_for("www.two.example", 1, &[192, 0, 2, 1]);
    assert_eq!(edge.ask("www.one.example", 1).0, 5, "REFUSED");
}
