//! Frames read back however they are cut, and nothing else does.

use super::*;

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
    vec![ClientFrame::Hello(hello), ClientFrame::Report(report), ClientFrame::Here(peer(1))]
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
