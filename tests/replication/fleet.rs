//! Edges behind edges: what they serve is known to the authority through those that they follow.

use std::time::Duration;

use aspen_dns::ticket::DnsClientTicket;
use serde_json::Value;

use crate::edges::peer_of;
use crate::node::{Node, Start, wait, wait_synced};
use crate::relay::Relay;

/// The edges that a node knows, by name.
fn edges(node: &Node) -> Vec<Value> {
    let fleet = node.request("GET", "/api/v1/aspen/edges", "");
    fleet["edges"].as_array().expect("a list").clone()
}

#[test]
fn an_edge_behind_an_edge_is_seen_through_it_and_waited_for() {
    let dirs = tempfile::tempdir().unwrap();
    // The far one speaks IPv4, and nothing but the relay leads from there to the near one.
    let authority = Start::authority(&dirs.path().join("authority")).at("[::1]:0").run();
    authority.create_zone("one.example");
    let near_dir = dirs.path().join("near");
    let start = Start::edge(&near_dir, &authority.ticket()).at("[::1]:0");
    let near = start.with(&["--edge-name", "near"]).run();
    wait_synced(&authority, &near);
    let mut ticket: DnsClientTicket = authority.ticket().parse().unwrap();
    let mut peer = peer_of(&near_dir);
    let near_address = format!("[::1]:{}", peer.addrs[0].port()).parse().unwrap();
    peer.addrs = vec![Relay::start(near_address, Duration::ZERO).address];
    ticket.peers = vec![peer];
    let start = Start::edge(&dirs.path().join("far"), &ticket.to_string());
    let mut far = start.with(&["--edge-name", "far"]).run();
    authority.set("n.one.example", 1);
    far.wait_value("n.one.example", Some(1));
    wait("the far edge is known, and serves all", || {
        let edges = edges(&authority);
        let is_known = |edge: &Value| edge["behind_revisions"] == 0 && edge["name"].is_string();
        edges.len() == 2 && edges.iter().all(is_known)
    });
    let known = edges(&authority);
    let (far_edge, near_edge) = (&known[0], &known[1]);
    assert_eq!((&far_edge["name"], &near_edge["name"]), (&"far".into(), &"near".into()));
    assert_eq!((&far_edge["via"], &near_edge["via"]), (&near_edge["id"], &Value::Null));
    assert_eq!((&far_edge["hops"], &near_edge["hops"]), (&1.into(), &0.into()));
    assert!(far_edge["address"].as_str().is_some(), "as the near one sees it: {far_edge}");
    let of_near = edges(&near);
    assert_eq!((of_near.len(), &of_near[0]["via"]), (1, &Value::Null), "{of_near:?}");
    // What the far one serves is known through the near one, at once.
    for value in 2..=20 {
        authority.set("n.one.example", value);
        let answer = authority.request("GET", "/api/v1/aspen/wait?edges=all&timeout=20", "");
        assert_eq!(answer["edges"]["answered"], 2, "{answer}");
        assert_eq!(far.value("n.one.example"), Some(value));
    }
    far.kill();
    wait("the far edge is silent, at both", || {
        [&authority, &near].iter().all(|node| {
            let edges = edges(node);
            edges.iter().any(|edge| edge["name"] == "far" && edge["is_heard"] == false)
        })
    });
}
