//! Segments read back, and what breaks their rules is refused.

use super::*;
use crate::feed::items::item_of;
use crate::feed::pack::PackWriter;
use crate::record::{Change, RecordType, Rrset};

fn apex() -> Name {
    "example".parse().unwrap()
}

fn pack(is_delta: bool) -> Bytes {
    let rrset = Rrset::new(apex(), RecordType::A, 60, [[192, 0, 2, 1]]).unwrap();
    let mut writer = if is_delta { PackWriter::delta(apex()) } else { PackWriter::base(apex()) };
    writer.push(item_of(&Change::Put(rrset))).unwrap();
    writer.finish().into()
}

fn position(revision: u64) -> Position {
    Position { revision, tag: revision * 7 }
}

fn zone(revision: u64, step: LogStep) -> LogZone {
    let digest = Digest { sum: 3, records: 4 };
    LogZone { apex: apex(), before: revision - 1, revision, serial: 9, digest, step }
}

fn segment(body: SegmentBody) -> Segment {
    let head = SegmentHead {
        namespace: [1; 32],
        history: HistoryId { epoch: 2, id: 3 },
        term: 4,
        before: position(5),
        last: position(9),
    };
    Segment { head, body }
}

fn all() -> Vec<Segment> {
    let steps = [
        (6, LogStep::Changes(pack(true))),
        (7, LogStep::Whole(pack(false))),
        (8, LogStep::Document),
        (9, LogStep::Removed),
    ];
    let commits = steps.map(|(revision, step)| LogCommit {
        at: position(revision),
        zones: vec![zone(revision, step)],
    });
    let beat = LogBeat { count: 4, time_ms: 1, sum: u128::MAX, zones: 2, version: 3 };
    let version = VersionRef { number: 1, hash: [7; 32], len: 99 };
    vec![
        segment(SegmentBody::Commits(commits.to_vec())),
        segment(SegmentBody::Beat(beat)),
        segment(SegmentBody::Version(version)),
    ]
}

#[test]
fn every_kind_reads_back_and_what_is_signed_is_all_but_the_signature() {
    for segment in all() {
        let mut signed = Vec::new();
        let octets = segment.to_octets(|octets| {
            signed = octets.to_vec();
            [5; 64]
        });
        let octets = Bytes::from(octets);
        assert_eq!(Segment::from_octets(&octets), Ok(segment));
        let (message, signature) = Segment::split(&octets).unwrap();
        assert_eq!(([CONTEXT, message].concat(), *signature), (signed, [5; 64]));
    }
}

#[test]
fn every_cut_is_an_error_and_no_flipped_bit_panics() {
    for segment in all() {
        let octets = segment.to_octets(|_| [5; 64]);
        for len in 0..octets.len() {
            let cut = Bytes::copy_from_slice(&octets[..len]);
            assert!(Segment::from_octets(&cut).is_err(), "cut at {len}");
        }
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Segment::from_octets(&flipped.into());
        }
    }
}

#[test]
fn revisions_rise_and_a_zone_never_stands_before_its_commit() {
    let read = |commits: Vec<LogCommit>| {
        Segment::from_octets(&segment(SegmentBody::Commits(commits)).write(|_| [0; 64]).into())
    };
    let commit = |at, zones| LogCommit { at: position(at), zones };
    assert!(read(vec![commit(9, vec![])]).is_ok());
    assert!(read(vec![commit(8, vec![]), commit(9, vec![])]).is_ok());
    assert!(read(vec![commit(9, vec![]), commit(9, vec![])]).is_err());
    assert!(read(vec![commit(5, vec![]), commit(9, vec![])]).is_err(), "not after the start");
    assert!(read(vec![commit(8, vec![])]).is_err(), "not up to the end");
    assert!(read(vec![]).is_err());
    assert!(read(vec![commit(9, vec![zone(8, LogStep::Removed)])]).is_err());
    assert!(read(vec![commit(9, vec![zone(12, LogStep::Removed)])]).is_ok());
}
