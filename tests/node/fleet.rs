//! What an authority knows of its edges, and waiting for them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;

use crate::process::{Node, dir};

/// An authority with a zone, and its ticket.
fn authority(data: &Path) -> (Node, String) {
    let node = Node::start(data, &["--role", "authority"]);
    node.cli_ok(&["zone", "create", "one.example"]);
    let ticket = node.cli_ok(&["ticket", "create"]).trim().to_owned();
    (node, ticket)
}

/// Starts an edge with a name.
fn edge(data: &Path, ticket: &str, name: &str) -> Node {
    Node::start(data, &["--ticket", ticket, "--edge-name", name])
}

/// Asks for the edges until they are as they should be.
fn wait_fleet(node: &Node, is_reached: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, fleet) = node.request("GET", "/api/v1/aspen/edges", None);
        if is_reached(&fleet) {
            return fleet;
        }
        assert!(Instant::now() < until, "{fleet}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until so many edges are heard, and so many silent; returns those, by name.
fn wait_heard(node: &Node, heard: u64, silent: u64) -> Vec<Value> {
    let fleet = wait_fleet(node, |fleet| fleet["heard"] == heard && fleet["silent"] == silent);
    fleet["edges"].as_array().unwrap().clone()
}

/// Sets a record with a preference; returns the headers that say what came of it.
fn set_preferring(node: &Node, prefer: &str) -> [Option<String>; 2] {
    let url = format!("{}/api/v1/aspen/records/p.one.example/A", node.api);
    let agent = Agent::from(Agent::config_builder().proxy(None).build());
    let request = agent.put(url).header("X-API-Key", &node.key).header("Prefer", prefer);
    let body = r#"{"ttl_seconds": 60, "rdata": ["192.0.2.9"]}"#;
    let response = request.content_type("application/json").send(body).expect("an answer");
    ["preference-applied", "aspen-edges"]
        .map(|name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()))
}

#[test]
fn edges_are_listed_with_what_they_serve_and_one_that_stands_still_is_told() {
    let (data, ams_data, fra_data) = (dir(), dir(), dir());
    let (node, ticket) = authority(data.path());
    let said = node.cli_ok(&["wait", "--edges", "all"]);
    assert!(said.ends_with(" is served by 0 edges\n"), "{said}");
    let ams = edge(ams_data.path(), &ticket, "ams-1");
    let fra = edge(fra_data.path(), &ticket, "fra-1");
    node.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    wait_heard(&node, 2, 0);
    let said = node.cli_ok(&["wait", "--edges", "all", "--timeout", "20"]);
    assert!(said.contains("is served by 2 edges\n"), "{said}");
    let fleet = wait_fleet(&node, |fleet| {
        let is_whole = |edge: &Value| edge["queries_per_s"].is_u64() && edge["status"] == "Synced";
        fleet["edges"].as_array().unwrap().iter().all(is_whole)
    });
    let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
    for (index, name) in ["ams-1", "fra-1"].into_iter().enumerate() {
        let edge = &fleet["edges"][index];
        assert_eq!((&edge["name"], &edge["feed"]), (&name.into(), &"main".into()), "{edge}");
        assert_eq!(edge["served_revision"], status["store_revision"], "{edge}");
        assert_eq!(edge["history"], status["feed"]["history"], "{edge}");
        assert_eq!((&edge["behind_revisions"], &edge["lag_ms"]), (&0.into(), &0.into()), "{edge}");
        assert_eq!(edge["version"], env!("CARGO_PKG_VERSION"), "{edge}");
        assert_eq!((&edge["zones"], &edge["held_zones"]), (&1.into(), &0.into()), "{edge}");
        assert!(edge["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{edge}");
        assert_eq!(edge["id"].as_str().map(str::len), Some(64), "{edge}");
        assert!(edge["via"].is_null() && edge["reason"].is_null(), "{edge}");
    }
    let table = node.cli_ok(&["fleet"]);
    assert!(table.starts_with("EDGE ") && table.contains("\nams-1  Synced "), "{table}");
    assert!(table.ends_with("2 edges are heard, 0 are silent\n"), "{table}");
    let (_, metrics) = node.request("GET", "/metrics", None);
    let metrics = metrics.as_str().unwrap();
    let id = fleet["edges"][0]["id"].as_str().unwrap();
    for line in
        ["aspen_edges_heard 2", "aspen_edges_silent 0"].map(str::to_owned).into_iter().chain([
            format!("aspen_edge_up{{edge=\"{id}\",name=\"ams-1\",feed=\"main\"}} 1"),
            format!("aspen_edge_lag_milliseconds{{edge=\"{id}\",name=\"ams-1\",feed=\"main\"}} 0"),
        ])
    {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let applied = Some("wait=20".to_owned());
    let answered = Some("answered=2, wanted=2, silent=0".to_owned());
    assert_eq!(set_preferring(&node, "wait=20; edges=all"), [applied.clone(), answered]);
    assert_eq!(set_preferring(&node, "wait=20"), [applied, None]);
    let said = node.cli_fails(&["fleet", "--forget", "fra-1"]);
    assert!(said.contains("is heard"), "{said}");
    assert!(node.cli_fails(&["fleet", "--forget", "nobody"]).contains("no edge is called"));
    stand_still(&node, (&ams, &fra), id);
}

/// One edge stands still, falls silent, is forgotten, and comes back.
fn stand_still(node: &Node, (ams, fra): (&Node, &Node), ams_id: &str) {
    fra.signal("-STOP");
    node.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.2"]);
    let said = node.cli_fails(&["wait", "--edges", "all", "--timeout", "1"]);
    assert!(said.contains("1 of 2 edges answer revision "), "{said}");
    assert!(said.contains(": fra-1 is at ") && said.contains(", 1 behind for "), "{said}");
    let (status, body) = node.request("GET", "/api/v1/aspen/wait?timeout=0&edges=2", None);
    assert_eq!((status, &body["edges"]["answered"]), (504, &1.into()), "{body}");
    let lagging = &body["edges"]["lagging"][0];
    assert_eq!((&lagging["edge"], &lagging["behind_revisions"]), (&"fra-1".into(), &1.into()));
    for one in ["1", "ams-1", &ams_id[..8]] {
        node.cli_ok(&["wait", "--edges", one, "--timeout", "20"]);
    }
    assert_eq!(ams.ask("www.one.example", 1).1, [[192, 0, 2, 2]]);
    let [_, edges] = set_preferring(node, "wait=1; edges=\"ams-1,fra-1\"");
    assert_eq!(edges.unwrap(), "answered=1, wanted=2, silent=0, lagging=\"fra-1\"");
    let said = node.cli_fails(&["wait", "--edges", "nobody", "--timeout", "0"]);
    assert!(said.contains("nobody was never heard"), "{said}");
    let (status, body) = node.request("GET", "/api/v1/aspen/wait?edges=a,,b", None);
    assert_eq!(status, 400, "{body}");

    let edges = wait_heard(node, 1, 1);
    assert!(edges[1]["heard_ms"].as_u64() > Some(5_000), "{edges:?}");
    assert!(edges[1]["lag_ms"].as_u64() > Some(1_000), "{edges:?}");
    let said = node.cli_ok(&["wait", "--edges", "all", "--timeout", "20"]);
    assert!(said.ends_with(" is served by 1 edges, 1 are silent\n"), "{said}");
    assert!(node.cli_ok(&["fleet"]).contains("\nfra-1  silent "), "it is shown");
    node.cli_ok(&["fleet", "--forget", "fra-1"]);
    wait_heard(node, 1, 0);
    fra.signal("-CONT");
    wait_heard(node, 2, 0);
    node.cli_ok(&["wait", "--edges", "ams-1,fra-1", "--timeout", "20"]);
    assert_eq!(fra.ask("www.one.example", 1).1, [[192, 0, 2, 2]]);
}

#[test]
fn a_hook_goes_on_when_every_edge_answers_with_its_record() {
    let (data, first_data, second_data) = (dir(), dir(), dir());
    let (node, ticket) = authority(data.path());
    let edges = [(&first_data, "ams-1"), (&second_data, "fra-1")]
        .map(|(data, name)| edge(data.path(), &ticket, name));
    wait_heard(&node, 2, 0);
    let aspen_dns = env!("CARGO_BIN_EXE_aspen-dns");
    // As README has it.
    let script = "aspen-dns record set _acme-challenge.$CERTBOT_DOMAIN TXT 60 $CERTBOT_VALIDATION \
                  && aspen-dns wait --edges all --timeout 60";
    for round in 0..5 {
        let validation = format!("token-{round}");
        let output = Command::new("/bin/sh")
            .args(["-euc", script])
            .env("PATH", Path::new(aspen_dns).parent().unwrap())
            .env("ASPEN_API", &node.api)
            .env("ASPEN_API_KEY", &node.key)
            .env("CERTBOT_DOMAIN", "one.example")
            .env("CERTBOT_VALIDATION", &validation)
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{output:?}");
        let rdata = [&[validation.len() as u8], validation.as_bytes()].concat();
        for edge in &edges {
            assert_eq!(edge.ask("_acme-challenge.one.example", 16).1, std::slice::from_ref(&rdata));
        }
    }
}

#[test]
fn all_edges_are_not_none_though_their_authority_has_just_started() {
    let (data, edge_data) = (dir(), dir());
    let (node, ticket) = authority(data.path());
    let _edge = edge(edge_data.path(), &ticket, "ams-1");
    wait_heard(&node, 1, 0);
    node.terminate();
    let node = Node::start(data.path(), &["--role", "authority"]);
    let said = node.cli_ok(&["wait", "--edges", "all", "--timeout", "20"]);
    assert!(said.contains("is served by 1 edges"), "{said}");
}

#[test]
fn a_node_that_nobody_follows_has_no_edges() {
    let data = dir();
    std::fs::create_dir(data.path().join("zones")).unwrap();
    let zones = data.path().join("zones");
    let node = Node::start(data.path(), &["--zone-dir", zones.to_str().unwrap()]);
    for (method, path) in [("GET", "edges"), ("GET", "wait?edges=all"), ("DELETE", "edges/ams-1")] {
        let (status, body) = node.request(method, &format!("/api/v1/aspen/{path}"), None);
        assert_eq!(status, 404, "{path}: {body}");
    }
}
