//! Frames read back however they are cut, and nothing else does.

use super::fleet::{EdgeFacts, FleetEdge, is_edge_name};
use super::*;
use crate::limits::{
    EDGE_ITEM_OCTETS_MAX, EDGE_NAME_OCTETS_MAX, EDGE_REASON_OCTETS_MAX, FLEET_REPORT_EDGES_MAX,
};

fn peer(port: u16) -> TicketPeer {
    let addrs = vec![([192, 0, 2, 1], port).into(), "[2001:db8::1]:53".parse().unwrap()];
    TicketPeer { id: [port as u8; 32], addrs, relay: None }
}

fn position(revision: u64) -> Position {
    Position { revision, tag: !revision }
}

fn client() -> Vec<ClientFrame> {
    let hello = Hello {
        namespace: [1; 32],
        history: HistoryId { epoch: 2, id: 3 },
        position: position(4),
        peer: peer(5),
        proofs: vec![Bytes::from_static(b"a"), Bytes::from_static(b"")],
    };
    let report = EdgeReport { served: position(6), state: 7, differing: 8, time_ms: 9 };
    let fleet = FleetReport { left_out: 300, edges: vec![edge(1), FleetEdge::default()] };
    vec![
        ClientFrame::Hello(hello),
        ClientFrame::Report(report),
        ClientFrame::Here(peer(1)),
        ClientFrame::Fleet(fleet),
    ]
}

fn edge(id: u8) -> FleetEdge {
    let facts = EdgeFacts {
        name: Some("ams-1.example".to_owned()),
        version: Some("0.1.0".to_owned()),
        queries_per_s: Some(0),
        zones: 3,
        held: 2,
        refused: 1,
        reason: Some("b.example.: on its way".to_owned()),
        behind_s: id.is_multiple_of(2).then_some(600),
    };
    FleetEdge {
        id: [id; 32],
        hops: 2,
        age_ms: 70_000,
        history: HistoryId { epoch: 2, id: 3 },
        served: position(6),
        state: 3,
        differing: 1,
        beat_age_ms: Some(20),
        facts,
        address: Some("192.0.2.1:4433".to_owned()),
    }
}

/// Writes a frame of a follower and reads it back.
fn again(frame: &ClientFrame) -> Result<ClientFrame, DecodeError> {
    let mut octets = Vec::new();
    frame.put(&mut octets);
    let mut reader = FrameReader::of_client();
    reader.push(&octets);
    let (kind, body) = reader.poll().unwrap().unwrap();
    ClientFrame::from_octets(kind, &body)
}

/// Writes what is said of one edge and reads it back.
fn edge_again(edge: FleetEdge) -> FleetEdge {
    let report = FleetReport { left_out: 0, edges: vec![edge] };
    let Ok(ClientFrame::Fleet(mut read)) = again(&ClientFrame::Fleet(report)) else {
        panic!("a report")
    };
    read.edges.remove(0)
}

fn server() -> Vec<ServerFrame> {
    let welcome = Welcome {
        is_author: false,
        history: HistoryId { epoch: 2, id: u128::MAX },
        from: position(4),
        time_ms: 5,
        peers: vec![peer(1), peer(2)],
    };
    let refused = Refused { reason: RefusedReason::Full, peers: vec![peer(3)] };
    vec![
        ServerFrame::Welcome(welcome),
        ServerFrame::Refused(refused),
        ServerFrame::Segment(Bytes::from_static(b"segment")),
        ServerFrame::Ping,
        ServerFrame::Takes(1),
        ServerFrame::Unknown(99),
    ]
}

#[test]
fn frames_read_back_however_they_are_cut() {
    let mut octets = Vec::new();
    client().iter().for_each(|frame| frame.put(&mut octets));
    for step in [1, 2, 7, octets.len()] {
        let mut reader = FrameReader::of_client();
        let mut frames = Vec::new();
        for piece in octets.chunks(step) {
            reader.push(piece);
            while let Some((kind, body)) = reader.poll().unwrap() {
                frames.push(ClientFrame::from_octets(kind, &body).unwrap());
            }
        }
        assert_eq!(frames, client());
    }
    let mut octets = Vec::new();
    server().iter().for_each(|frame| frame.put(&mut octets));
    let mut reader = FrameReader::of_server();
    reader.push(&octets);
    for frame in server() {
        let (kind, body) = reader.poll().unwrap().unwrap();
        assert_eq!(ServerFrame::from_octets(kind, &body), Ok(frame));
    }
    assert_eq!(reader.poll(), Ok(None));
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_it_is_here() {
    let mut reader = FrameReader::of_client();
    reader.push(&(CLIENT_FRAME_OCTETS_MAX as u32).to_be_bytes());
    assert_eq!(reader.poll(), Ok(None));
    let mut reader = FrameReader::of_client();
    reader.push(&(CLIENT_FRAME_OCTETS_MAX as u32 + 1).to_be_bytes());
    assert!(reader.poll().is_err());
    let mut reader = FrameReader::of_client();
    reader.push(&[0; 4]);
    assert!(reader.poll().is_err());
}

#[test]
fn a_hello_leaves_out_proofs_that_do_not_fit_and_one_of_a_newer_version_says_so() {
    let long = Bytes::from(vec![7; HELLO_PROOF_OCTETS_MAX]);
    let proofs = vec![Bytes::from_static(b"a"), long, Bytes::from_static(b"b")];
    let mut octets = Vec::new();
    ClientFrame::Hello(Hello { proofs, ..Hello::default() }).put(&mut octets);
    let mut reader = FrameReader::of_client();
    reader.push(&octets);
    let (kind, body) = reader.poll().unwrap().unwrap();
    let read = ClientFrame::from_octets(kind, &body).unwrap();
    let ClientFrame::Hello(hello) = read else { panic!("a hello") };
    assert_eq!(hello.proofs, [Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
    let mut newer = body.to_vec();
    newer[0] = VERSION + 1;
    let error = ClientFrame::from_octets(kind, &newer.into()).unwrap_err();
    assert!(matches!(error, DecodeError::TooNew { .. }));
}

#[test]
fn a_report_holds_as_many_edges_as_it_may_and_counts_the_others() {
    for (count, told, left_out) in [
        (FLEET_REPORT_EDGES_MAX - 1, FLEET_REPORT_EDGES_MAX - 1, 7),
        (FLEET_REPORT_EDGES_MAX, FLEET_REPORT_EDGES_MAX, 7),
        (FLEET_REPORT_EDGES_MAX + 1, FLEET_REPORT_EDGES_MAX, 8),
    ] {
        let long = EdgeFacts { reason: Some("é".repeat(EDGE_REASON_OCTETS_MAX)), ..edge(1).facts };
        let long = FleetEdge { facts: long, address: Some("a".repeat(999)), ..edge(1) };
        let report = FleetReport { left_out: 7, edges: vec![long; count] };
        let read = again(&ClientFrame::Fleet(report)).unwrap();
        let ClientFrame::Fleet(read) = read else { panic!("a report") };
        assert_eq!((read.edges.len(), read.left_out), (told, left_out));
    }
    let too_many = [0, (FLEET_REPORT_EDGES_MAX & 0x7f) as u8 | 0x80, 0x7f];
    let error = ClientFrame::from_octets(FLEET, &Bytes::copy_from_slice(&too_many)).unwrap_err();
    assert!(matches!(error, DecodeError::TooMany { .. }), "{error}");
}

#[test]
fn what_a_later_version_says_behind_an_edge_is_passed_over() {
    let mut item = Vec::new();
    ClientFrame::Fleet(FleetReport { left_out: 0, edges: vec![edge(1)] }).put(&mut item);
    // Head of the frame, left out, count, and the two octets of the item's length.
    let item = item.split_off(HEAD_LEN + 4);
    let mut body = vec![0, 1];
    put_counted(&mut body, &[item.as_slice(), b"later"].concat());
    let read = ClientFrame::from_octets(FLEET, &body.into()).unwrap();
    assert_eq!(read, ClientFrame::Fleet(FleetReport { left_out: 0, edges: vec![edge(1)] }));
    let takes = ServerFrame::from_octets(TAKES, &Bytes::from_static(b"\x01later"));
    assert_eq!(takes, Ok(ServerFrame::Takes(1)));
    let mut body = vec![0, 1];
    put_counted(&mut body, &[0; EDGE_ITEM_OCTETS_MAX + 1]);
    let error = ClientFrame::from_octets(FLEET, &body.into()).unwrap_err();
    assert!(matches!(error, DecodeError::TooMany { .. }), "{error}");
}

#[test]
fn texts_of_others_steer_no_terminal_and_are_cut_between_characters() {
    let shown = |reason: &str| {
        let facts = EdgeFacts { reason: Some(reason.to_owned()), ..EdgeFacts::default() };
        edge_again(FleetEdge { facts, ..FleetEdge::default() }).facts.reason
    };
    assert_eq!(shown("a\u{1b}[2J\nb\u{9b}c").unwrap(), "a [2J b c");
    assert_eq!(shown(""), None);
    let cut = shown(&format!("x{}", "é".repeat(EDGE_REASON_OCTETS_MAX))).unwrap();
    assert_eq!(cut.len(), EDGE_REASON_OCTETS_MAX, "an odd limit and two octets each");
}

#[test]
fn a_name_stands_in_a_list_and_is_no_number() {
    let long = "a".repeat(EDGE_NAME_OCTETS_MAX);
    for name in ["a", "ams-1", "Ams_1.example", "alle", &long] {
        assert!(is_edge_name(name), "{name}");
    }
    let too_long = format!("{long}a");
    for name in ["", "1", "1a", "-a", "a,b", "a b", "a;b", "é", "a/b", "all", "All", &too_long] {
        assert!(!is_edge_name(name), "{name}");
        let facts = EdgeFacts { name: Some(name.to_owned()), ..EdgeFacts::default() };
        let read = edge_again(FleetEdge { facts, ..FleetEdge::default() }).facts.name;
        assert!(read.is_none_or(|read| is_edge_name(&read)), "one of somebody else's: {name}");
    }
}

#[test]
fn every_cut_of_a_body_is_an_error_or_another_frame_never_a_panic() {
    for frame in client() {
        let mut octets = Vec::new();
        frame.put(&mut octets);
        for len in 5..octets.len() {
            let body = Bytes::copy_from_slice(&octets[5..len]);
            assert!(ClientFrame::from_octets(octets[4], &body).is_err(), "cut at {len}");
        }
        for bit in 40..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let body = Bytes::copy_from_slice(&flipped[5..]);
            let _ = ClientFrame::from_octets(flipped[4], &body);
            let _ = ServerFrame::from_octets(flipped[4], &body);
        }
    }
}
