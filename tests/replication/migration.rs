//! Directories of the first format go over to the present one by themselves.

use std::path::Path;
use std::process::Command;

use crate::asker::{A, TXT, ask};
use crate::node::{Node, Reach, Start, wait};

/// Where the ticket of the first format says that its authority is.
const LISTEN: &str = "127.0.0.1:47391";

#[test]
fn nodes_of_the_first_format_go_over_to_the_log_and_lose_nothing() {
    let dirs = tempfile::tempdir().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/first-format.tar.gz");
    let status = Command::new("tar").arg("-xzf").arg(fixture).arg("-C").arg(dirs.path()).status();
    assert!(status.expect("tar runs").success());
    let ticket = std::fs::read_to_string(dirs.path().join("ticket")).unwrap();
    let (own, its) = (dirs.path().join("authority"), dirs.path().join("edge"));
    let start = Start::edge(&its, ticket.trim());
    assert!(its.join("mesh/docs/docs.redb").exists());

    // Alone, from what an edge of the first format has kept.
    let edge = start.run();
    assert_answers(&edge);
    assert_private(&its);
    edge.terminate();
    let edge = start.run();
    assert_answers(&edge);

    let authority = Start::authority(&own).at(LISTEN).run();
    assert_answers(&authority);
    put(&authority, "h6.example.test", "192.0.2.6");
    wait("the change arrives", || address_of(&edge, "h6.example.test") == [[192, 0, 2, 6]]);
    assert_answers(&edge);
    assert_eq!(authority.status()["feed"]["followers"], 1, "by the log");
    wait("a version of the present format is kept", || has_root(&its));
    assert_private(&own);
    authority.terminate();

    // Alone again, from what is kept now.
    edge.terminate();
    let edge = start.run();
    assert!(!its.join("mesh/docs").exists(), "replicas of the first format are of no use any more");
    assert_answers(&edge);
    assert_eq!(address_of(&edge, "h6.example.test"), [[192, 0, 2, 6]]);
    assert_private(&its);

    let authority = Start::authority(&own).at(LISTEN).run();
    put(&authority, "h6.example.test", "192.0.2.66");
    wait("a further change arrives", || address_of(&edge, "h6.example.test") == [[192, 0, 2, 66]]);
    assert_private(&own);
}

/// Sees that a node answers all that was written at the first format.
fn assert_answers(node: &Node) {
    for (last, host) in [(99, 1), (2, 2), (3, 3), (4, 4), (5, 5)] {
        let owner = format!("h{host}.example.test");
        assert_eq!(address_of(node, &owner), [[192, 0, 2, last]], "{owner}");
    }
    let text = b"\x13of the first format".to_vec();
    assert_eq!(ask(node.dns, "www.other.test", TXT).answers, [text]);
}

fn address_of(node: &Reach, owner: &str) -> Vec<Vec<u8>> {
    ask(node.dns, owner, A).answers
}

fn put(authority: &Reach, owner: &str, address: &str) {
    let body = serde_json::json!({"ttl_seconds": 60, "rdata": [address]});
    authority.request("PUT", &format!("/api/v1/aspen/records/{owner}/A"), &body.to_string());
}

/// Whether an edge has kept a version for a restart.
fn has_root(dir: &Path) -> bool {
    let feeds = std::fs::read_dir(dir.join("mesh/replica")).into_iter().flatten();
    feeds.flatten().any(|feed| feed.path().join("root").exists())
}

/// Sees that nothing at or below a directory is open to group or others.
fn assert_private(dir: &Path) {
    let output = Command::new("find").arg(dir).args(["-perm", "/077"]).output().expect("find runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
}
