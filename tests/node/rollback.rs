//! Going back to a revision: one command at the authority, and every edge answers as it did then.

use serde_json::{Value, json};

use crate::process::{Node, dir};
use crate::status::{is_proved, wait_status};

/// The revision of an authority's store.
fn revision(authority: &Node) -> u64 {
    let (_, answer) = authority.request("GET", "/api/v1/aspen/freeze", None);
    answer["store_revision"].as_u64().unwrap()
}

/// Asks for a rollback by the API.
fn post(authority: &Node, body: &Value) -> (u16, Value) {
    authority.request("POST", "/api/v1/aspen/rollback", Some(body.clone()))
}

#[test]
fn edges_go_back_with_their_authority_over_a_restart_and_a_freeze_and_forth_again() {
    let (data, edge_data) = (dir(), dir());
    let start = || Node::start(data.path(), &["--role", "authority"]);
    let authority = start();
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["zone", "create", "gone.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    authority.cli_ok(&["record", "set", "www.gone.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    edge.wait_for("www.gone.example", 1, &[192, 0, 2, 1]);
    wait_status(&edge, is_proved);
    let back = revision(&authority);
    let go_back = |authority: &Node, revision: u64, more: &[&str]| {
        let text = revision.to_string();
        authority.cli_ok(&[&["feed", "rollback", &text][..], more].concat())
    };
    let said = go_back(&authority, back, &[]);
    assert_eq!(said, format!("nothing to do: the zones are what they were at revision {back}\n"));
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    authority.cli_ok(&["zone", "delete", "gone.example"]);
    authority.cli_ok(&["zone", "create", "new.example"]);
    authority.cli_ok(&["record", "set", "www.new.example", "A", "60", "192.0.2.9"]);
    edge.wait_for("www.new.example", 1, &[192, 0, 2, 9]);
    let forth = revision(&authority);
    assert_eq!(authority.terminate(), Some(0));
    let authority = start();
    let planned = go_back(&authority, back, &["--dry-run"]);
    for line in
        ["gone.example.  brought back  1", "new.example.   deleted       0", "; nothing is changed"]
    {
        assert!(planned.contains(line), "{planned}");
    }
    assert_eq!(revision(&authority), forth);
    authority.cli_ok(&["feed", "freeze"]);
    let said = go_back(&authority, back, &[]);
    assert!(said.contains("3 zones are what they were"), "{said}");
    assert!(said.contains("edges get it when they are thawed"), "{said}");
    assert_eq!(authority.ask("www.gone.example", 1).1, [[192, 0, 2, 1]]);
    assert_eq!(edge.ask("www.one.example", 1).1, [[192, 0, 2, 2]]);
    authority.cli_ok(&["feed", "thaw"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    edge.wait_for("www.gone.example", 1, &[192, 0, 2, 1]);
    authority.cli_ok(&["wait", "--edges", "all", "--timeout", "20"]);
    assert_eq!(edge.ask("www.new.example", 1).1, Vec::<Vec<u8>>::new());
    go_back(&authority, forth, &["--zone", "new.example,one.example"]);
    edge.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
    edge.wait_for("www.new.example", 1, &[192, 0, 2, 9]);
    assert_eq!(edge.ask("www.gone.example", 1).1, [[192, 0, 2, 1]], "it was not named");
    wait_status(&edge, is_proved);
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_with_its_rule() {
    let data = dir();
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    let newest = revision(&authority);
    for (body, status, text) in [
        (json!({"revision": newest + 1}), 422, "is in the future: the newest is "),
        (json!({"revision": 0}), 422, "revisions count from 1"),
        (json!({"revision": newest, "zones": ["no.example"]}), 404, "there is no zone no.example"),
        (json!({"revision": newest, "zones": []}), 400, "leave it out for all"),
        (json!({"revision": newest, "zone": "one.example"}), 422, "unknown field"),
        (json!({}), 422, "missing field `revision`"),
    ] {
        let (found, answer) = post(&authority, &body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{body}: {answer}");
    }
    let refused = authority.cli_fails(&["feed", "rollback", &(newest + 1).to_string()]);
    assert!(refused.contains("is in the future"), "{refused}");
    let (status, answer) = post(&authority, &json!({"revision": newest, "dry_run": true}));
    assert_eq!((status, &answer["zones"], &answer["is_dry_run"]), (200, &json!([]), &json!(true)));
}
