//! Edges that do not hear their author: what they answer, and what they say of themselves, over restarts too.

use serde_json::Value;

use crate::process::{Node, dir};
use crate::status::{is_proved, wait_status};

#[test]
fn an_edge_without_its_author_is_no_younger_after_a_restart_and_expires_if_it_is_told_to() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let patient = ["--ticket", ticket.trim()];
    let strict = [&patient[..], &["--ready-silence", "2s", "--expire", "5s"]].concat();
    let edge = Node::start(edge_data.path(), &strict);
    wait_status(&edge, is_proved);
    wait_status(&edge, |status| status["is_ready"] == true);
    assert_eq!(authority.terminate(), Some(0));
    wait_status(&edge, |status| {
        let unready = status["unready"].as_str().unwrap_or_default();
        unready.starts_with("the author of the feed has not been heard for ")
    });
    wait_status(&edge, |status| status["expired_zones"] == 1);
    assert_eq!(edge.ask("one.example", 6).0, 2, "SERVFAIL");
    assert_eq!(edge.terminate(), Some(0));
    // From its first answer on.
    let edge = Node::start(edge_data.path(), &strict);
    assert_eq!(edge.ask("one.example", 6).0, 2, "SERVFAIL");
    let silent = |status: &Value| status["sync"]["silence_ms"].as_u64() > Some(5_000);
    let status = wait_status(&edge, silent);
    assert_eq!(status["held_zones"][0], "one.example.", "{status}");
    assert_eq!(edge.terminate(), Some(0));
    // One that was not told to serves on.
    let edge = Node::start(edge_data.path(), &patient);
    assert_eq!(edge.ask("one.example", 6).0, 0);
    wait_status(&edge, |status| status["is_ready"] == true && silent(status));
    assert_eq!(edge.terminate(), Some(0));
    // And all of it is there again at the first word.
    let authority = Node::start(data.path(), &["--role", "authority"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let again = ["--ticket", ticket.trim(), "--ready-silence", "2s", "--expire", "5s"];
    let edge = Node::start(edge_data.path(), &again);
    let status = wait_status(&edge, is_proved);
    assert!(status["sync"]["silence_ms"].as_u64() < Some(2_000), "{status}");
    wait_status(&edge, |status| status["is_ready"] == true && status["expired_zones"] == 0);
    assert_eq!(edge.ask("one.example", 6).0, 0);
}
