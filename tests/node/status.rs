//! What nodes say of themselves.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Node, dir};

/// Asks for the status until it is as it should be.
pub fn wait_status(node: &Node, is_reached: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
        if is_reached(&status) {
            return status;
        }
        assert!(Instant::now() < until, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether an edge says that it has all, zones among it, and has found it to be what the author says.
pub fn is_proved(status: &Value) -> bool {
    let sync = &status["sync"];
    let has_proof = sync["proofs"].as_u64() > Some(0);
    sync["status"] == "Synced" && has_proof && sync["zones"].as_u64() > Some(0)
}

#[test]
fn an_edge_says_whom_it_follows_how_fresh_that_is_and_whether_it_agrees() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    authority.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    let fed = wait_status(&authority, |status| {
        let is_out = status["feed"]["exported_revision"] == status["store_revision"];
        status["feed"]["followers"] == 1 && is_out
    });
    let revision = &fed["store_revision"];
    let status = wait_status(&edge, |status| {
        is_proved(status) && status["sync"]["served_revision"] == *revision
    });
    let sync = &status["sync"];
    assert_eq!(sync["heard_revision"], *revision, "{status}");
    assert_eq!(status["behind_revisions"], 0, "{status}");
    assert_eq!(sync["history"], fed["feed"]["history"], "{status}");
    assert!(sync["document_version"].as_u64() >= Some(1), "{status}");
    assert!(sync["document_revision"].is_u64(), "{status}");
    assert!(sync["beat_age_ms"].as_u64().is_some_and(|age_ms| age_ms <= 1_500), "{status}");
    assert!(sync["contact_age_ms"].as_u64().is_some_and(|age_ms| age_ms <= 1_500), "{status}");
    for clock in ["upstream", "author"] {
        let skew = sync["clock_skew_ms"][clock].as_i64();
        assert!(skew.is_some_and(|skew| skew.abs() < 5_000), "one machine, one clock: {status}");
    }
    assert_eq!(sync["upstream"]["is_author"], true, "{status}");
    assert_eq!(sync["upstream"]["id"].as_str().map(str::len), Some(64), "{status}");
    assert_eq!((&sync["zones"], &sync["lacking"]), (&1.into(), &0.into()), "{status}");
    assert_eq!(sync["differing"], Value::Array(Vec::new()), "{status}");
    assert_eq!(sync["differs_as_a_whole"], false, "{status}");
    for count in ["refused", "differed", "healed", "fetch_failures", "bound_hits"] {
        assert_eq!(sync[count], 0, "{count}: {status}");
    }
    assert!(sync.get("entries").is_none(), "what a log has not is not shown: {status}");
    let text = edge.cli_ok(&["status"]);
    assert!(
        text.contains(&format!("Synced: revision {revision} of {revision}"))
            && text.contains("1 zones, none"),
        "{text}"
    );
}

#[test]
fn metrics_tell_the_same_of_an_edge_and_of_its_authority() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge = Node::start(edge_data.path(), &["--ticket", ticket.trim()]);
    wait_status(&edge, is_proved);
    wait_status(&authority, |status| {
        let feed = &status["feed"];
        feed["followers"] == 1 && feed["document_revision"] == status["store_revision"]
    });
    let (_, text) = edge.request("GET", "/metrics", None);
    let text = text.as_str().expect("text");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    for name in ["beat_age_milliseconds", "document_version", "proofs_total", "steps_total"] {
        assert!(line(&format!("aspen_sync_{name} ")).is_some(), "{name}: {text}");
    }
    for (name, value) in [("lacking", 0), ("differing", 0), ("differs_as_a_whole", 0), ("zones", 1)]
    {
        let wanted = format!("aspen_sync_{name} {value}");
        assert_eq!(line(&format!("aspen_sync_{name} ")), Some(wanted));
    }
    let (_, text) = authority.request("GET", "/metrics", None);
    let text = text.as_str().expect("text");
    let starts = [
        "aspen_document_revision ",
        "aspen_document_version ",
        "aspen_digest_faults_total 0",
        "aspen_followers 1",
        "aspen_exported_revision ",
    ];
    for start in starts {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start}: {text}");
    }
}
