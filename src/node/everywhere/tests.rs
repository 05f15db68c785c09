//! Which edges are waited for, and what is said of those that do not answer.

use super::*;
use crate::feed::HistoryId;
use crate::feed::frame::fleet::{EdgeFacts, FleetEdge};
use crate::feed::segment::Position;
use crate::limits::EDGE_SILENT_MS;
use crate::mesh::FleetState;
use crate::store::lease::LeaseHeld;

/// The history that is written.
const HISTORY: HistoryId = HistoryId { epoch: 2, id: 1 };

/// An edge: its name, what it serves, of which history, and for how long it was not heard.
fn member(
    name: &str,
    revision: u64,
    history: HistoryId,
    age_ms: u64,
) -> (FleetMember, Option<u64>) {
    let facts = EdgeFacts { name: Some(name.to_owned()), ..EdgeFacts::default() };
    let served = Position { revision, tag: 1 };
    let id = [name.as_bytes()[0] ^ age_ms as u8; 32];
    let edge = FleetEdge { id, history, served, facts, ..FleetEdge::default() };
    (FleetMember { edge, via: None, age_ms }, Some(7))
}

/// A feed at revision 9 with an edge that has it, one that lags, one of another history, and a silent one.
fn feed() -> FeedFleet {
    let older = HistoryId { epoch: 1, id: 1 };
    let members = vec![
        member("a", 9, HISTORY, 0),
        member("b", 8, HISTORY, 0),
        member("c", 99, older, 0),
        member("d", 9, HISTORY, EDGE_SILENT_MS + 1),
    ];
    let state = FleetState { history: HISTORY, revision: 9, members, left_out: 0, evicted: 0 };
    FeedFleet { name: "main".to_owned(), namespace: [1; 32], state }
}

/// Looks for edges and returns `answered/wanted`, and those that lag.
fn check(wanted: &str, revision: u64) -> String {
    let feeds = [feed()];
    let answer = look(&feeds, &wanted.parse().unwrap(), &heard(&feeds), revision);
    assert_eq!(answer.silent, 1);
    let lagging: Vec<String> = answer.lagging.iter().map(|edge| edge.edge.clone()).collect();
    format!("{}/{} {}", answer.answered, answer.wanted, lagging.join(" "))
}

#[test]
fn all_are_those_that_are_heard_and_each_must_serve_this_history() {
    assert_eq!(check("all", 9), "1/3 b c");
    assert_eq!(check("All", 8), "2/3 c");
}

#[test]
fn so_many_may_be_any() {
    assert_eq!(check("1", 9), "2/1 b c");
    assert_eq!(check("4", 9), "2/4 b c");
}

#[test]
fn those_named_are_waited_for_though_they_are_silent_or_unknown() {
    assert_eq!(check("a", 9), "1/1 ");
    assert_eq!(check("a, b", 9), "1/2 b");
    assert_eq!(check("d", 9), "1/1 ");
    assert_eq!(check("d,nobody", 10), "0/2 d nobody");
}

#[test]
fn an_edge_that_was_set_up_anew_is_meant_by_its_name_and_not_the_silent_one() {
    let mut feed = feed();
    feed.state.members.push(member("d", 10, HISTORY, 1));
    let feeds = [feed];
    let answer = look(&feeds, &"d".parse().unwrap(), &heard(&feeds), 10);
    assert_eq!((answer.answered, answer.wanted), (1, 1));
}

#[test]
fn an_edge_that_falls_silent_while_it_is_waited_for_lags() {
    let mut feeds = [feed()];
    let before = heard(&feeds);
    feeds[0].state.members[1].0.age_ms = EDGE_SILENT_MS + 2_000;
    let answer = look(&feeds, &WantedEdges::All, &before, 9);
    assert_eq!((answer.answered, answer.wanted, answer.silent), (1, 3, 2));
    assert_eq!(
        answer.to_string(),
        "1 of 3 edges answer revision 9: b is at 8, 1 behind for 7 ms, silent for 7 s; c is at 99 of \
         another history"
    );
}

#[test]
fn an_edge_that_is_forgotten_or_whose_feed_ends_while_it_is_waited_for_lags() {
    let mut feeds = [feed()];
    let before = heard(&feeds);
    feeds[0].state.members.remove(0);
    let answer = look(&feeds, &WantedEdges::All, &before, 8);
    assert_eq!((answer.answered, answer.wanted), (1, 3));
    assert!(answer.to_string().ends_with("; a is not known any more"), "{answer}");
    let answer = look(&[], &WantedEdges::All, &before, 8);
    assert_eq!((answer.answered, answer.wanted, answer.lagging.len()), (0, 3, 3));
    assert!(!answer.is_reached());
}

#[test]
fn edges_are_known_in_our_turn_only_once_it_has_begun() {
    let judge = |held: Option<LeaseHeld>, holder: Option<&str>, has_begun| {
        let turn = LeaseState { held, holder: holder.map(str::to_owned), term: 3 };
        judge_turn(turn, has_begun, "own")
    };
    let ours = Some(LeaseHeld { term: 3 });
    assert_eq!(judge(ours, Some("own"), true), Ok(()));
    assert_eq!(judge(ours, Some("own"), false), Err(EdgesUnknown::Beginning));
    let holder = "other".to_owned();
    let elsewhere = Err(EdgesUnknown::Elsewhere { holder });
    assert_eq!(judge(None, Some("other"), false), elsewhere);
    assert_eq!(judge(None, Some("other"), true), elsewhere, "its exporter has not ended yet");
    assert_eq!(judge(None, Some("own"), true), Err(EdgesUnknown::Nobody));
    assert_eq!(judge(None, None, false), Err(EdgesUnknown::Nobody));
}

#[test]
fn edges_are_all_a_number_or_names() {
    let read = |text: &str| text.parse::<WantedEdges>();
    assert_eq!(read(" all "), Ok(WantedEdges::All));
    assert_eq!(read("2"), Ok(WantedEdges::Count(2)));
    assert_eq!(read("00112233"), Ok(WantedEdges::Named(vec!["00112233".to_owned()])));
    let names = vec!["ams-1".to_owned(), "00112233".to_owned()];
    assert_eq!(read("ams-1, 00112233"), Ok(WantedEdges::Named(names)));
    assert_eq!(read("a,b,a"), Ok(WantedEdges::Named(vec!["a".to_owned(), "b".to_owned()])));
    let most: Vec<String> = (0..EDGES_NAMED_MAX).map(|at| format!("a{at}")).collect();
    let most = most.join(",");
    assert!(read(&most).is_ok());
    let long = "a".repeat(9_000);
    let bad = ["", "0", ",", "a,,b", "a,", "-1", "+1", "1.5", "a\0b", "a b", &long];
    for bad in bad.into_iter().chain([format!("{most},a").as_str()]) {
        assert_eq!(read(bad), Err(()), "{bad}");
    }
}

#[test]
fn edges_that_follow_behind_on_purpose_are_told_apart_and_waited_for_only_by_name() {
    let mut feed = feed();
    feed.state.members[1].0.edge.facts.behind_s = Some(600);
    let feeds = [feed];
    let answer = look(&feeds, &WantedEdges::All, &heard(&feeds), 9);
    assert_eq!((answer.answered, answer.wanted), (1, 2));
    assert_eq!(answer.behind_on_purpose, ["b"]);
    let answer = look(&feeds, &"b".parse().unwrap(), &heard(&feeds), 9);
    assert_eq!((answer.answered, answer.wanted), (0, 1));
    let said = answer.to_string();
    assert!(
        said.ends_with("b is at 8, 1 behind for 7 ms, follows 600 s behind on purpose"),
        "{said}"
    );
}

#[test]
fn a_revision_that_is_frozen_out_is_waited_for_by_nobody() {
    let freeze = Freeze { id: 1, since_ms: 2, revision: 7 };
    assert_eq!(check_freeze(Some(freeze), 7), Ok(()));
    assert_eq!(check_freeze(Some(freeze), 8), Err(EdgesUnknown::Frozen { revision: 7 }));
    assert_eq!(check_freeze(None, 8), Ok(()));
}
