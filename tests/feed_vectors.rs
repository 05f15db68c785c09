//! The test vectors of docs/feed.md are what the code reads and writes.

use std::collections::BTreeMap;

use aspen_dns::feed::HistoryId;
use aspen_dns::feed::digest::{Digest, DigestKey};
use aspen_dns::feed::frame::fleet::{EdgeFacts, FleetEdge, FleetReport};
use aspen_dns::feed::frame::{
    ClientFrame, EdgeReport, FrameReader, Hello, Refused, RefusedReason, ServerFrame, Welcome,
};
use aspen_dns::feed::index::{BundleRef, Index, IndexRow, PackPlace, ZoneRow};
use aspen_dns::feed::items::item_of;
use aspen_dns::feed::key;
use aspen_dns::feed::pack::{Pack, PackWriter};
use aspen_dns::feed::root::{IndexRef, Root};
use aspen_dns::feed::segment::{
    LogBeat, LogCommit, LogStep, LogZone, Position, Segment, SegmentBody, SegmentHead, VersionRef,
};
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::ticket::TicketPeer;
use bytes::Bytes;
use data_encoding::HEXLOWER;

#[test]
fn vectors_of_the_specification_hold() {
    let text = include_str!("../docs/feed.md");
    let told = vectors(text);
    let made = made();
    for (name, octets) in &made {
        let hex = HEXLOWER.encode(octets);
        assert_eq!(told.get(*name), Some(&hex), "`{name}` is\n{}", lines(&hex));
    }
    assert_eq!(told.len(), made.len(), "every vector of the page is one of ours");
}

#[test]
fn what_is_read_of_the_vectors_is_what_the_page_says() {
    let told = vectors(include_str!("../docs/feed.md"));
    let octets = |name: &str| {
        Bytes::from(HEXLOWER.decode(told[name].as_bytes()).expect("as the vectors say"))
    };
    for (name, body) in segments() {
        assert_eq!(
            Segment::from_octets(&octets(name)).expect("as the vectors say"),
            segment(body),
            "{name}"
        );
    }
    assert_eq!(Root::from_octets(&octets("root")).expect("as the vectors say"), root());
    assert_eq!(Index::from_octets(&octets("index")).expect("as the vectors say"), index());
    for (name, is_delta) in [("base", false), ("delta", true)] {
        let octets = octets(name);
        let pack = Pack::check(&octets).expect("as the vectors say");
        let mut items = pack.items();
        let mut changes = Vec::new();
        while let Some(item) = items.next() {
            changes.push(item.to_change().expect("as the vectors say"));
        }
        assert_eq!((pack.apex(), pack.is_delta()), (&apex(), is_delta));
        assert_eq!(changes, if is_delta { delta_changes() } else { base_changes() });
    }
    for (name, frame) in client_frames() {
        let mut reader = FrameReader::of_client();
        reader.push(&octets(name));
        let (kind, body) = reader.poll().expect("as the vectors say").expect("as the vectors say");
        assert_eq!(
            ClientFrame::from_octets(kind, &body).expect("as the vectors say"),
            frame,
            "{name}"
        );
    }
    for (name, frame) in server_frames() {
        let mut reader = FrameReader::of_server();
        reader.push(&octets(name));
        let (kind, body) = reader.poll().expect("as the vectors say").expect("as the vectors say");
        assert_eq!(
            ServerFrame::from_octets(kind, &body).expect("as the vectors say"),
            frame,
            "{name}"
        );
    }
}

/// Reads the vectors of the page: blocks that begin with "```vector NAME".
fn vectors(text: &str) -> BTreeMap<&str, String> {
    let mut vectors = BTreeMap::new();
    for block in text.split("```vector ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name");
        let (hex, _) = rest.split_once("```").expect("an end");
        let hex = hex.split_whitespace().collect();
        assert!(vectors.insert(name.trim(), hex).is_none(), "{name} is there once");
    }
    vectors
}

/// Breaks digits into lines, as the page has them.
fn lines(hex: &str) -> String {
    let lines = hex.as_bytes().chunks(96).map(String::from_utf8_lossy);
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything that the page has vectors of, as it is written.
fn made() -> Vec<(&'static str, Vec<u8>)> {
    let mut made = vec![
        ("digest", DIGEST_KEY.rrset(&host(1).as_ref()).to_octets().to_vec()),
        ("digest-of-two", zone_digest().to_octets().to_vec()),
        ("zone-mark", DIGEST_KEY.zone(&apex(), 5, zone_digest()).to_be_bytes().to_vec()),
        ("key", key::terminate(key::ROOT_KEY)),
        ("base", pack(false).to_vec()),
        ("delta", pack(true).to_vec()),
        ("index", index().to_octets().expect("an index")),
        ("root", root().to_octets().expect("a root")),
    ];
    for (name, body) in segments() {
        made.push((name, segment(body).to_octets(|_| SIGNATURE)));
    }
    for (name, frame) in client_frames() {
        let mut octets = Vec::new();
        frame.put(&mut octets);
        made.push((name, octets));
    }
    for (name, frame) in server_frames() {
        let mut octets = Vec::new();
        frame.put(&mut octets);
        made.push((name, octets));
    }
    made
}

fn apex() -> Name {
    "example".parse().expect("as the vectors say")
}

fn host(octet: u8) -> Rrset {
    let owner = "a.example".parse().expect("as the vectors say");
    Rrset::new(owner, RecordType::A, 300, [[192, 0, 2, octet]]).expect("as the vectors say")
}

fn text() -> Rrset {
    Rrset::new(apex(), RecordType::TXT, 60, [b"\x02hi"]).expect("as the vectors say")
}

fn base_changes() -> Vec<Change> {
    vec![Change::Put(text()), Change::Put(host(1))]
}

fn delta_changes() -> Vec<Change> {
    vec![Change::Delete { owner: apex(), rtype: RecordType::TXT }, Change::Put(host(2))]
}

fn zone_digest() -> Digest {
    DIGEST_KEY.rrsets([text(), host(1)])
}

fn pack(is_delta: bool) -> Bytes {
    let (mut writer, changes) = match is_delta {
        true => (PackWriter::delta(apex()), delta_changes()),
        false => (PackWriter::base(apex()), base_changes()),
    };
    changes.iter().for_each(|change| writer.push(item_of(change)).expect("as the vectors say"));
    writer.finish().into()
}

fn index() -> Index {
    let packs = vec![
        PackPlace { bundle: 0, offset: 0, len: pack(false).len() as u32, is_delta: false },
        PackPlace { bundle: 1, offset: 7, len: pack(true).len() as u32, is_delta: true },
    ];
    let zone = ZoneRow { serial: 7, digest: zone_digest(), names: 2, packs };
    Index {
        bundles: vec![
            BundleRef { hash: [0xb1; 32], len: 1_000 },
            BundleRef { hash: [0xb2; 32], len: 300 },
        ],
        rows: vec![
            IndexRow { apex: apex(), revision: 5, zone: Some(zone) },
            IndexRow {
                apex: "gone.example".parse().expect("as the vectors say"),
                revision: 4,
                zone: None,
            },
        ],
    }
}

fn root() -> Root {
    Root {
        namespace: NAMESPACE,
        cluster_id: "demo".to_owned(),
        history: HISTORY,
        term: 3,
        number: 9,
        at: position(8),
        digest_key: DIGEST_KEY,
        time_ms: 1_000,
        zones: 1,
        sum: DIGEST_KEY.zone(&apex(), 5, zone_digest()),
        indexes: vec![IndexRef { hash: [0xa1; 32], len: 250, rows: 2 }],
    }
}

fn position(revision: u64) -> Position {
    Position { revision, tag: 0x1000 + revision }
}

fn segment(body: SegmentBody) -> Segment {
    let before = if matches!(body, SegmentBody::Commits(_)) { position(4) } else { position(8) };
    let head =
        SegmentHead { namespace: NAMESPACE, history: HISTORY, term: 3, before, last: position(8) };
    Segment { head, body }
}

fn segments() -> Vec<(&'static str, SegmentBody)> {
    let steps = [
        (5, LogStep::Whole(pack(false)), zone_digest()),
        (6, LogStep::Changes(pack(true)), DIGEST_KEY.rrsets([host(2)])),
        (7, LogStep::Document, zone_digest()),
        (8, LogStep::Removed, Digest::default()),
    ];
    let commits = steps.map(|(revision, step, digest)| {
        let serial = if step == LogStep::Removed { 0 } else { revision as u32 };
        let before = if revision == 5 { 0 } else { revision - 1 };
        let zone = LogZone { apex: apex(), before, revision, serial, digest, step };
        LogCommit { at: position(revision), zones: vec![zone] }
    });
    let beat = LogBeat { count: 5, time_ms: 1_000, sum: 0, zones: 0, version: 9 };
    let version = VersionRef { number: 9, hash: [0xaa; 32], len: 250 };
    vec![
        ("commits", SegmentBody::Commits(commits.to_vec())),
        ("heartbeat", SegmentBody::Beat(beat)),
        ("version", SegmentBody::Version(version)),
    ]
}

fn peer() -> TicketPeer {
    let addrs = vec![
        "192.0.2.1:53".parse().expect("as the vectors say"),
        "[2001:db8::1]:53".parse().expect("as the vectors say"),
    ];
    TicketPeer { id: [0xee; 32], addrs, relay: None }
}

fn client_frames() -> Vec<(&'static str, ClientFrame)> {
    let hello = Hello {
        namespace: NAMESPACE,
        history: HISTORY,
        position: position(8),
        peer: peer(),
        proofs: Vec::new(),
    };
    let report = EdgeReport { served: position(8), state: 3, differing: 0, time_ms: 1_000 };
    vec![
        ("hello", ClientFrame::Hello(hello)),
        ("report", ClientFrame::Report(report)),
        ("here", ClientFrame::Here(peer())),
        ("fleet", ClientFrame::Fleet(FleetReport { left_out: 0, edges: vec![edge()] })),
    ]
}

fn edge() -> FleetEdge {
    let facts = EdgeFacts {
        name: Some("ams-1".to_owned()),
        version: Some("0.1.0".to_owned()),
        queries_per_s: Some(250),
        zones: 3,
        held: 0,
        refused: 0,
        reason: None,
        behind_s: None,
    };
    FleetEdge {
        id: [0xee; 32],
        hops: 0,
        age_ms: 0,
        history: HISTORY,
        served: position(8),
        state: 3,
        differing: 0,
        beat_age_ms: Some(20),
        facts,
        address: Some("192.0.2.1:53".to_owned()),
    }
}

fn server_frames() -> Vec<(&'static str, ServerFrame)> {
    let welcome = Welcome {
        is_author: true,
        history: HISTORY,
        from: position(8),
        time_ms: 1_000,
        peers: vec![peer()],
    };
    let refused = Refused { reason: RefusedReason::NotReady, peers: Vec::new() };
    vec![
        ("welcome", ServerFrame::Welcome(welcome)),
        ("refused", ServerFrame::Refused(refused)),
        ("segment", ServerFrame::Segment(Bytes::from_static(b"\x01\x02\x03"))),
        ("ping", ServerFrame::Ping),
        ("takes", ServerFrame::Takes(1)),
    ]
}

/// The feed.
const NAMESPACE: [u8; 32] = [0x11; 32];
/// The history.
const HISTORY: HistoryId = HistoryId { epoch: 2, id: 0x22 };
/// The key of the digests.
const DIGEST_KEY: DigestKey = DigestKey(*b"0123456789abcdef");
/// Stands for a signature.
const SIGNATURE: [u8; 64] = [0x55; 64];
