//! Writes of the API that meet other writes, other zones, or what they did not expect.

use serde_json::{Value, json};

use crate::process::{Node, dir};
use crate::status::wait_status;

const ZONES: &str = "/api/v1/servers/localhost/zones";

/// Starts an authority with the zone w.example.
fn authority() -> (tempfile::TempDir, Node) {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    make_zone(&node, "w.example.");
    (data, node)
}

/// Makes a zone.
fn make_zone(node: &Node, apex: &str) {
    let body = json!({"name": apex, "kind": "Native", "nameservers": ["ns1.w.example."]});
    assert_eq!(node.request("POST", ZONES, Some(body)).0, 201, "{apex}");
}

/// Returns one RRset of a PATCH.
fn rrset(name: &str, rtype: &str, changetype: &str, records: &[&str]) -> Value {
    let records: Vec<Value> = records.iter().map(|content| json!({"content": content})).collect();
    json!({"name": name, "type": rtype, "ttl": 60, "changetype": changetype, "records": records})
}

/// Sends a PATCH and returns its status.
fn patch(node: &Node, apex: &str, rrsets: &[Value]) -> u16 {
    node.request("PATCH", &format!("{ZONES}/{apex}"), Some(json!({ "rrsets": rrsets }))).0
}

/// Returns the contents of one RRset of a zone.
fn contents(node: &Node, apex: &str, name: &str, rtype: &str) -> Vec<String> {
    let (_, zone) = node.request("GET", &format!("{ZONES}/{apex}"), None);
    let rrsets = zone["rrsets"].as_array().expect("RRsets");
    let found = rrsets.iter().find(|rrset| rrset["name"] == name && rrset["type"] == rtype);
    let records = found.map_or(&Value::Null, |rrset| &rrset["records"]);
    let content = |record: &Value| record["content"].as_str().unwrap().to_owned();
    records.as_array().into_iter().flatten().map(content).collect()
}

#[test]
fn extend_and_prune_work_on_the_zone_of_the_path() {
    let (_data, node) = authority();
    make_zone(&node, "c.w.example.");
    let (above, below) = ("w.example.", "c.w.example.");
    let glue = "ns.c.w.example.";
    let at = |apex: &str| contents(&node, apex, glue, "A");
    assert_eq!(patch(&node, above, &[rrset(glue, "A", "EXTEND", &["192.0.2.1"])]), 204);
    assert_eq!(patch(&node, below, &[rrset(glue, "A", "REPLACE", &["192.0.2.50"])]), 204);
    assert_eq!(patch(&node, above, &[rrset(glue, "A", "EXTEND", &["192.0.2.2"])]), 204);
    assert_eq!((at(above), at(below).len()), (vec!["192.0.2.1".into(), "192.0.2.2".into()], 1));
    assert_eq!(patch(&node, above, &[rrset(glue, "A", "PRUNE", &["192.0.2.1"])]), 204);
    assert_eq!((at(above), at(below)), (vec!["192.0.2.2".into()], vec!["192.0.2.50".into()]));
    for server in ["ns1.example.", "ns2.example."] {
        let delegation = rrset(below, "NS", "EXTEND", &[server]);
        assert_eq!(patch(&node, above, &[delegation]), 204, "{server}");
    }
    assert_eq!(contents(&node, above, below, "NS"), ["ns1.example.", "ns2.example."]);
    assert_eq!(contents(&node, below, below, "NS"), ["ns1.w.example."]);
}

#[test]
fn writers_that_extend_one_rrset_at_once_lose_nothing_and_see_no_condition() {
    let (_data, node) = authority();
    std::thread::scope(|scope| {
        for writer in 0..12 {
            let node = &node;
            scope.spawn(move || {
                for i in 0..4 {
                    let address = format!("192.0.2.{}", 1 + writer * 4 + i);
                    let more = rrset("e.w.example.", "A", "EXTEND", &[&address]);
                    assert_eq!(patch(node, "w.example.", &[more]), 204, "{address}");
                }
            });
        }
    });
    assert_eq!(contents(&node, "w.example.", "e.w.example.", "A").len(), 48);
}

#[test]
fn a_patch_that_says_twice_what_an_rrset_is_is_refused() {
    let (_data, node) = authority();
    let replace = |last: &str| rrset("d.w.example.", "A", "REPLACE", &[last]);
    let delete = || rrset("d.w.example.", "A", "DELETE", &[]);
    let apex = "w.example.";
    assert_eq!(patch(&node, apex, &[replace("192.0.2.1"), replace("192.0.2.2")]), 422);
    assert_eq!(patch(&node, apex, &[delete(), delete()]), 422);
    assert!(contents(&node, apex, "d.w.example.", "A").is_empty());
    assert_eq!(patch(&node, apex, &[delete(), replace("192.0.2.3")]), 204);
    assert_eq!(contents(&node, apex, "d.w.example.", "A"), ["192.0.2.3"]);
}

#[test]
fn if_match_is_heeded_or_refused_by_every_write() {
    let (_data, node) = authority();
    let (powerdns, own) = (format!("{ZONES}/w.example."), "/api/v1/aspen/zones/w.example.");
    let stale = [("If-Match", "\"1\"")];
    assert_eq!(
        patch(&node, "w.example.", &[rrset("a.w.example.", "A", "REPLACE", &["192.0.2.1"])]),
        204
    );
    for (method, path, body, status) in [
        ("PUT", &*powerdns, json!({"rrsets": []}), 412),
        ("PUT", &powerdns, json!({"nameservers": ["ns9.w.example."]}), 412),
        ("PUT", &powerdns, json!({}), 412),
        ("PATCH", &powerdns, json!({"rrsets": []}), 412),
        ("DELETE", &powerdns, Value::Null, 412),
        ("PUT", own, json!({"is_enabled": false}), 412),
        ("DELETE", own, Value::Null, 412),
        ("POST", "/api/v1/aspen/batch", json!({"operations": []}), 400),
        ("POST", ZONES, json!({"name": "new.example.", "nameservers": []}), 400),
        ("POST", "/api/v1/aspen/zones/new.example.", json!({}), 400),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (found, _, text) = node.request_with(method, path, &stale, body);
        assert_eq!(found, status, "{method} {path}: {text}");
    }
    assert_eq!(contents(&node, "w.example.", "a.w.example.", "A"), ["192.0.2.1"]);
    let (_, zone) = node.request("GET", own, None);
    let revision = zone["revision"].to_string();
    let fresh = [("If-Match", revision.as_str())];
    assert_eq!(node.request_with("DELETE", own, &fresh, None).0, 200);
}

#[test]
fn what_settings_synthesize_is_not_deleted_and_said_to_be_gone() {
    let (_data, node) = authority();
    let delete = |rtype: &str| json!({"op": "delete", "domain": "w.example", "type": rtype});
    let batch = |operations: &[Value]| {
        node.request("POST", "/api/v1/aspen/batch", Some(json!({ "operations": operations })))
    };
    for rtype in ["SOA", "NS"] {
        let path = format!("/api/v1/aspen/records/w.example/{rtype}");
        let (status, answer) = node.request("DELETE", &path, None);
        assert_eq!(status, 422, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("zone's settings"), "{answer}");
        assert_eq!(patch(&node, "w.example.", &[rrset("w.example.", rtype, "DELETE", &[])]), 422);
        assert_eq!(batch(&[delete(rtype)]).0, 422);
        node.cli_fails(&["record", "delete", "w.example", rtype]);
    }
    let ns = json!({"ttl_seconds": 60, "rdata": ["ns.example."]});
    let path = "/api/v1/aspen/records/w.example/NS";
    assert_eq!(node.request("PUT", path, Some(ns)).0, 200);
    let (status, answer) = node.request("DELETE", path, None);
    assert_eq!(status, 200, "{answer}");
    assert!(answer["warnings"][0].as_str().unwrap().contains("settings make"), "{answer}");
    let soa = json!({"ttl_seconds": 60, "rdata": ["m.example. r.example. 1 2 3 4 5"]});
    assert_eq!(node.request("PUT", "/api/v1/aspen/records/w.example/SOA", Some(soa)).0, 200);
    let nothing = json!({"op": "delete", "domain": "none.w.example", "type": "A"});
    let (status, answer) = batch(&[delete("SOA"), nothing]);
    assert_eq!((status, &answer["applied"]), (200, &json!(1)), "{answer}");
}

#[test]
fn a_write_to_a_zone_that_a_file_covers_says_so_and_a_broken_file_is_counted() {
    let (data, files) = (dir(), dir());
    let path = files.path().join("w.example.zone");
    let text = "@ 300 SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n";
    std::fs::write(&path, text).unwrap();
    let arguments = ["--role", "authority", "--zone-dir", files.path().to_str().unwrap()];
    let node = Node::start(data.path(), &arguments);
    for apex in ["w.example.", "other.example."] {
        make_zone(&node, apex);
    }
    let body = || Some(json!({"ttl_seconds": 60, "rdata": ["192.0.2.2"]}));
    let (_, answer) = node.request("PUT", "/api/v1/aspen/records/a.w.example/A", body());
    assert!(answer["warnings"][0].as_str().unwrap().contains("w.example"), "{answer}");
    let (_, answer) = node.request("PUT", "/api/v1/aspen/records/a.other.example/A", body());
    assert!(answer["warnings"].is_null(), "{answer}");
    let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
    assert_eq!(status["broken_file_count"], 0, "{status}");
    std::fs::write(&path, "@ SOA broken\n").unwrap();
    node.signal("-HUP");
    let status = wait_status(&node, |status| status["broken_file_count"] == 1);
    assert!(status["broken_files"][0].as_str().unwrap().contains("w.example.zone"), "{status}");
    let (_, _, metrics) = node.request_with("GET", "/metrics", &[], None);
    assert!(metrics.contains("aspen_broken_files 1"), "{metrics}");
}
