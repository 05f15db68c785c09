//! Edges that join, edges behind edges, and authorities that move.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use aspen_dns::ticket::{DnsClientTicket, TicketPeer};

use crate::node::{Node, Start, assert_equal, wait, wait_synced, zone_text};
use crate::relay::Relay;

/// How many edges join.
const EDGES: u32 = 10;
/// Names of the zone that is imported.
const IMPORTED: u32 = 5_000;
/// How long a packet takes to an edge that is far away; dials begin more often than it can be answered.
const FAR: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];
/// How long an edge may serve nothing although its authority is there.
const JOINED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn every_edge_that_joins_beside_imports_and_kills_serves_soon() {
    let dirs = tempfile::tempdir().unwrap();
    let start = Start::authority(&dirs.path().join("authority"));
    let mut authority = start.run();
    ["one.example", "big.example"].iter().for_each(|zone| authority.create_zone(zone));
    (1..=100).for_each(|value| authority.set("n.one.example", value));
    let ticket = authority.ticket();
    let mut edges: Vec<Node> = Vec::new();
    for at in 0..EDGES {
        let reach = authority.reach.clone();
        let importing = std::thread::spawn(move || {
            let path = "/api/v1/aspen/import?origin=big.example";
            (1..=3)
                .take_while(|turn| {
                    let text = zone_text(IMPORTED, at * 10 + turn);
                    reach.send("POST", path, &text).is_ok()
                })
                .count()
        });
        let edge = Start::edge(&dirs.path().join(format!("edge{at}")), &ticket).run();
        if at % 3 == 2 {
            authority.kill();
            authority = start.run();
        }
        let began = Instant::now();
        edge.wait_value("n.one.example", Some(100 + at));
        let took = began.elapsed();
        println!("edge {at} serves after {took:?}");
        assert!(took < JOINED_WITHIN, "edge {at} serves after {took:?}");
        importing.join().expect("the imports end");
        // All of them follow.
        authority.set("n.one.example", 100 + at + 1);
        edges.push(edge);
    }
    for edge in &edges {
        wait_synced(&authority, edge);
        assert_equal(&authority, edge, &["one.example", "big.example"]);
    }
}

#[test]
fn an_edge_begins_from_an_edge_alone_and_finds_the_authority_through_it() {
    let dirs = tempfile::tempdir().unwrap();
    let start = Start::authority(&dirs.path().join("authority"));
    let mut authority = start.run();
    authority.create_zone("one.example");
    authority.import("big.example", IMPORTED, 1);
    authority.set("n.one.example", 1);
    let ticket = authority.ticket();
    let first_dir = dirs.path().join("first");
    let first = Start::edge(&first_dir, &ticket).run();
    wait_synced(&authority, &first);
    authority.set("n.one.example", 2);
    first.wait_value("n.one.example", Some(2));
    authority.kill();
    let mut ticket: DnsClientTicket = ticket.parse().unwrap();
    ticket.peers = vec![peer_of(&first_dir)];
    let second = Start::edge(&dirs.path().join("second"), &ticket.to_string()).run();
    second.wait_value("n.one.example", Some(2));
    second.wait_value("i7.big.example", Some(1));
    assert_equal(&first, &second, &["one.example", "big.example"]);
    // Neither takes what the other has heard once for a sign of the author's life.
    let is_synced = |edge: &Node| edge.status()["sync"]["status"] == "Synced";
    std::thread::sleep(Duration::from_secs(3));
    for _ in 0..60 {
        assert!(!is_synced(&first) && !is_synced(&second));
        std::thread::sleep(Duration::from_millis(50));
    }
    authority = start.run();
    authority.set("n.one.example", 3);
    for edge in [&first, &second] {
        edge.wait_value("n.one.example", Some(3));
        wait_synced(&authority, edge);
        assert_equal(&authority, edge, &["one.example", "big.example"]);
    }
}

#[test]
fn an_edge_keeps_the_stream_of_the_edge_that_it_follows() {
    let dirs = tempfile::tempdir().unwrap();
    let mut authority = Start::authority(&dirs.path().join("authority")).run();
    authority.create_zone("one.example");
    authority.set("n.one.example", 1);
    let ticket = authority.ticket();
    let first_dir = dirs.path().join("first");
    let first = Start::edge(&first_dir, &ticket).run();
    wait_synced(&authority, &first);
    authority.kill();
    // An edge that has heard of the author a moment ago would look for it anew when the next beat is due.
    std::thread::sleep(Duration::from_secs(1));
    // Nobody else is there: it looks for the author all the while.
    let mut ticket: DnsClientTicket = ticket.parse().unwrap();
    ticket.peers = vec![peer_of(&first_dir)];
    let start = Start::edge(&dirs.path().join("second"), &ticket.to_string());
    let second = start.with_log("error,aspen_dns=info").run();
    second.wait_value("n.one.example", Some(1));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(second.log().matches("following peer=").count(), 1, "{}", second.log());
}

#[test]
fn an_authority_that_has_moved_is_found_again() {
    let dirs = tempfile::tempdir().unwrap();
    let start = Start::authority(&dirs.path().join("authority"));
    let mut authority = start.run();
    authority.create_zone("one.example");
    let ticket = authority.ticket();
    let edge = Start::edge(&dirs.path().join("edge"), &ticket).run();
    wait_synced(&authority, &edge);
    for value in 1..=3 {
        authority.kill();
        authority = start.clone().at(&format!("127.0.0.1:{}", free_port())).run();
        let began = Instant::now();
        authority.set("n.one.example", value);
        edge.wait_value("n.one.example", Some(value));
        println!("found again after {:?}", began.elapsed());
        wait_synced(&authority, &edge);
        assert_ne!(authority.ticket(), ticket, "it has moved");
    }
}

#[test]
fn an_authority_that_has_moved_is_found_again_after_a_restart_of_its_edge() {
    let dirs = tempfile::tempdir().unwrap();
    let start = Start::authority(&dirs.path().join("authority"));
    let mut authority = start.run();
    authority.create_zone("one.example");
    let edge_start = Start::edge(&dirs.path().join("edge"), &authority.ticket());
    let mut edge = edge_start.run();
    wait_synced(&authority, &edge);
    authority.kill();
    let moved = start.at(&format!("127.0.0.1:{}", free_port()));
    authority = moved.run();
    wait_synced(&authority, &edge);
    edge.kill();
    edge = edge_start.run();
    authority.set("n.one.example", 7);
    edge.wait_value("n.one.example", Some(7));
    wait_synced(&authority, &edge);
}

#[test]
fn an_edge_that_was_away_catches_up_though_nobody_writes() {
    let dirs = tempfile::tempdir().unwrap();
    let start = Start::authority(&dirs.path().join("authority"));
    let mut authority = start.run();
    authority.create_zone("one.example");
    authority.set("n.one.example", 1);
    let edge_start = Start::edge(&dirs.path().join("edge"), &authority.ticket());
    let mut edge = edge_start.run();
    for value in 2..=4 {
        wait_synced(&authority, &edge);
        edge.kill();
        authority.set("n.one.example", value);
        authority.import("big.example", IMPORTED, value);
        wait("the document has it", || {
            let feed = &authority.status()["feed"];
            feed["document_revision"] == feed["exported_revision"]
        });
        // Its log begins anew behind what the edge has not heard.
        authority.kill();
        authority = start.run();
        edge = edge_start.run();
    }
    println!("caught up after {:?}", wait_synced(&authority, &edge));
    assert_eq!(edge.value("n.one.example"), Some(4));
    assert_equal(&authority, &edge, &["one.example", "big.example"]);
}

#[test]
fn an_edge_far_away_keeps_the_stream_that_welcomed_it() {
    FAR.into_iter().for_each(follow_from);
}

/// Follows from where a packet takes so long. The one listens on IPv6, the other on IPv4, so that they find
/// no shorter way to each other.
fn follow_from(far: Duration) {
    let dirs = tempfile::tempdir().unwrap();
    let authority = Start::authority(&dirs.path().join("authority")).at("[::1]:0").run();
    authority.create_zone("one.example");
    authority.set("n.one.example", 1);
    let mut ticket: DnsClientTicket = authority.ticket().parse().unwrap();
    let peer = &mut ticket.peers[0];
    peer.addrs = vec![Relay::start(peer.addrs[0], far).address];
    let start = Start::edge(&dirs.path().join("edge"), &ticket.to_string());
    let edge = start.with_log("error,aspen_dns=info").run();
    edge.wait_value("n.one.example", Some(1));
    wait_synced(&authority, &edge);
    let followed = || edge.log().matches("following peer=").count();
    let before = followed();
    // Long enough for many dials that would each end the one before.
    for value in 2..=30 {
        authority.set("n.one.example", value);
        std::thread::sleep(Duration::from_millis(100));
    }
    edge.wait_value("n.one.example", Some(30));
    assert_eq!((before, followed()), (1, 1), "{}", edge.log());
}

/// What others dial to reach the node whose directory this is.
pub fn peer_of(dir: &Path) -> TicketPeer {
    let read = |name: &str| std::fs::read_to_string(dir.join("mesh").join(name)).unwrap();
    let secret = data_encoding::HEXLOWER.decode(read("secret-key").trim().as_bytes()).unwrap();
    let secret = iroh::SecretKey::from_bytes(&secret.try_into().unwrap());
    let port: u16 = read("port").trim().parse().unwrap();
    let addrs = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    TicketPeer { id: *secret.public().as_bytes(), addrs, relay: None }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}
