//! What is held back comes out in order and in time, and nothing that another feed brings is early.

use super::*;
use crate::feed::segment::{LogBeat, LogCommit, SegmentHead};

fn segment(revision: u64, body: SegmentBody) -> (Bytes, Segment) {
    let at = |revision| Position { revision, tag: 1 };
    let (before, last) = (at(revision - 1), at(revision));
    let history = HistoryId { epoch: 1, id: 1 };
    let head = SegmentHead { namespace: [1; 32], history, term: 1, before, last };
    (Bytes::from(format!("{revision:04}")), Segment { head, body })
}

fn commit(revision: u64) -> (Bytes, Segment) {
    let at = Position { revision, tag: 1 };
    segment(revision, SegmentBody::Commits(vec![LogCommit { at, zones: Vec::new() }]))
}

fn beat(revision: u64) -> (Bytes, Segment) {
    segment(revision, SegmentBody::Beat(LogBeat::default()))
}

fn version(revision: u64) -> (Bytes, Segment) {
    let version = VersionRef { number: revision, ..VersionRef::default() };
    segment(revision, SegmentBody::Version(version))
}

fn push(line: &mut DelayLine, (octets, segment): (Bytes, Segment), now_ms: u64) -> bool {
    line.push(octets, &segment, now_ms).is_some()
}

/// What comes out by now, as text.
fn out(line: &mut DelayLine, mode: FollowMode, now_ms: u64) -> String {
    let octets = std::iter::from_fn(|| line.poll(mode, now_ms));
    let texts = octets.map(|octets| String::from_utf8_lossy(&octets).into_owned());
    texts.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_commit_comes_out_when_it_is_old_enough_and_never_while_held() {
    let mut line = DelayLine::new(100);
    push(&mut line, commit(1), 0);
    push(&mut line, commit(2), 50);
    assert_eq!(out(&mut line, FollowMode::Behind, 99), "");
    assert_eq!(out(&mut line, FollowMode::Behind, 100), "0001");
    assert_eq!(line.last().map(|(_, at)| at.revision), Some(2));
    let report = line.report(120);
    assert_eq!((report.commits, report.first_revision, report.age_ms), (1, Some(2), Some(70)));
    assert_eq!(out(&mut line, FollowMode::Held, 10_000), "");
    push(&mut line, commit(3), 10_000);
    assert_eq!(out(&mut line, FollowMode::Behind, 10_050), "0002");
    assert_eq!(out(&mut line, FollowMode::Released, 10_050), "0003");
    assert!(line.is_empty());
}

#[test]
fn heartbeats_of_one_place_take_the_room_of_one() {
    let mut line = DelayLine::new(100);
    push(&mut line, commit(1), 0);
    for at in 0..1_000 {
        push(&mut line, beat(1), at);
    }
    assert_eq!((line.held.len(), line.octets), (2, 8));
    assert_eq!(out(&mut line, FollowMode::Behind, 100), "0001 0001");
}

#[test]
fn past_the_limit_nothing_is_taken_in_and_nothing_shown_early() {
    let mut line = DelayLine::new(100);
    line.octets_max = 8;
    for revision in 1..=3 {
        push(&mut line, commit(revision), revision);
    }
    assert_eq!((line.dropped, line.octets), (1, 8));
    assert_eq!(out(&mut line, FollowMode::Behind, 50), "");
    assert!(push(&mut line, version(2), 60) && push(&mut line, version(3), 61), "it is needed");
    assert_eq!(out(&mut line, FollowMode::Behind, 150), "0001 0002");
}

#[test]
fn versions_are_kept_now_and_then_and_come_out_once_they_are_here() {
    let mut line = DelayLine::new(1_000_000);
    assert!(push(&mut line, version(1), 0));
    assert!(!push(&mut line, version(1), 1), "it is known");
    assert!(!push(&mut line, version(2), 1), "one was kept just now");
    push(&mut line, commit(3), 2);
    assert!(push(&mut line, version(3), 250_000));
    assert_eq!(out(&mut line, FollowMode::Behind, 1_000_000), "");
    let first = VersionRef { number: 1, ..VersionRef::default() };
    line.note_fetched(first, true);
    assert_eq!(out(&mut line, FollowMode::Behind, 1_000_000), "0001");
    assert_eq!(out(&mut line, FollowMode::Behind, 1_000_002), "0003");
    let last = VersionRef { number: 3, ..VersionRef::default() };
    assert!(line.has_version(last));
    line.note_fetched(last, false);
    assert!(line.is_empty(), "nobody has it any more");
}

#[test]
fn a_feed_that_is_read_beside_another_is_gone_over_to_when_nothing_of_it_is_early() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let over = |delay_ms, mode, has_begun| {
        let own = Behind::new(Some(delay_ms));
        own.load(old.clone());
        own.begin();
        own.state().mode = mode;
        let other = Behind::beside(&own);
        other.load(new.clone());
        if has_begun {
            other.begin();
        }
        own.lets_over(&other)
    };
    assert!(over(0, FollowMode::Behind, true));
    assert!(!over(0, FollowMode::Behind, false), "it has no first state yet");
    assert!(!over(3_600_000, FollowMode::Behind, true), "that state is not old enough");
    assert!(over(3_600_000, FollowMode::Released, true));
    assert!(!over(0, FollowMode::Held, true));
    let empty = Behind::new(Some(3_600_000));
    let beside = Behind::beside(&empty);
    beside.begin();
    assert!(empty.lets_over(&beside), "nothing older is here");
    let at_once = Behind::new(None);
    assert!(at_once.lets_over(&Behind::beside(&at_once)));
}

#[test]
fn how_an_edge_is_to_follow_is_kept_with_the_feed_that_it_goes_over_to() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    std::fs::write(&old, "held\n").unwrap();
    // What was left there by a try before counts for nothing.
    std::fs::write(&new, "released\n").unwrap();
    let own = Behind::new(Some(100));
    own.load(old);
    let other = Behind::beside(&own);
    other.load(new.clone());
    assert_eq!(other.mode(), FollowMode::Held);
    own.take_over(&other).unwrap();
    assert_eq!(std::fs::read(&new).unwrap(), b"held\n");
    let again = Behind::new(Some(100));
    again.load(new);
    assert_eq!(again.mode(), FollowMode::Held);
}
