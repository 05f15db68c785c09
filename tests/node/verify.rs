//! Comparing edges with their authority.

use serde_json::Value;

use crate::process::{Node, dir};
use crate::status::{is_proved, wait_status};

#[test]
fn verify_finds_an_edge_equal_and_pages_cover_every_zone() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    for zone in ["one.example", "two.example", "three.example"] {
        authority.cli_ok(&["zone", "create", zone]);
        authority.cli_ok(&["record", "set", &format!("www.{zone}"), "A", "60", "192.0.2.1"]);
    }
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    let arguments = ["verify", "--edge", &edge.api, "--edge-data-dir"];
    let edge_dir = edge_data.path().to_str().unwrap();
    // It waits for an edge that has just begun.
    let said = authority.cli_ok(&[&arguments[..], &[edge_dir]].concat());
    assert!(said.contains("3 zones at revision ") && said.contains(", 0 differ\n"), "{said}");
    wait_status(&edge, is_proved);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    authority.cli_ok(&["record", "delete", "www.two.example", "A"]);
    let said = authority.cli_ok(&[&arguments[..], &[edge_dir, "--recount", "--json"]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["is_equal"], true, "{said}");
    assert_eq!(said["edges"][0]["zones"], 3, "{said}");
    for node in [&authority, &edge] {
        let (status, first) = node.request("GET", "/api/v1/aspen/digests?limit=2", None);
        assert_eq!((status, &first["next"]), (200, &"three.example.".into()), "{first}");
        let path = "/api/v1/aspen/digests?limit=2&cursor=three.example.";
        let (_, second) = node.request("GET", path, None);
        assert_eq!(second["zones"].as_array().map(Vec::len), Some(1), "{second}");
        assert_eq!(
            (&second["zones"][0]["apex"], &second["next"]),
            (&"two.example.".into(), &Value::Null)
        );
        let (_, one) = node.request("GET", "/api/v1/aspen/digests?zone=two.example", None);
        assert_eq!(one["zones"], second["zones"], "{one}");
        let keyless = [("X-API-Key", "")];
        assert_eq!(node.request_with("GET", "/api/v1/aspen/digests", &keyless, None).0, 401);
    }
    let said = authority.cli_fails(&["verify", "--edge", &edge.api, "--edge-key", "wrong"]);
    assert!(said.contains(&edge.api) && said.contains("key"), "{said}");
}

#[test]
fn verify_names_the_zone_that_an_edge_answers_otherwise() {
    let (data, edge_data, files) = (dir(), dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    for zone in ["one.example", "two.example"] {
        authority.cli_ok(&["zone", "create", zone]);
    }
    let ticket = authority.cli_ok(&["ticket", "create"]);
    // A zone from a file is answered in the place of the feed's.
    let path = files.path().join("two.example.zone");
    std::fs::write(&path, "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.9\n").unwrap();
    let arguments = ["--ticket", ticket.trim(), "--zone-file", path.to_str().unwrap()];
    let edge = Node::start(edge_data.path(), &arguments);
    wait_status(&edge, |status| status["sync"]["zones"].as_u64() > Some(0));
    let output = authority.cli(&[
        "verify",
        "--edge",
        &edge.api,
        "--edge-key",
        &edge.key,
        "--recount",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let differences = said["edges"][0]["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{said}");
    assert_eq!(differences[0]["apex"], "two.example.", "{said}");
    assert!(differences[0]["authority"]["digest"].is_string(), "{said}");
    assert_ne!(differences[0]["authority"]["digest"], differences[0]["edge"]["digest"], "{said}");
    assert_eq!(said["is_equal"], false, "{said}");
}
