//! Nodes that are cut off from each other, one way or both, for shorter and longer than anybody waits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aspen_dns::ticket::DnsClientTicket;

use crate::edges::peer_of;
use crate::node::{Node, Start, assert_equal, wait_synced};
use crate::relay::Relay;

/// Which packets are lost: those to the authority, those from it.
const CUTS: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];
/// For how long: a stream is given up in between.
const LASTS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(2_500)];
/// How old what an edge answers may be while it says that it is synced, and what a busy machine takes.
const SYNCED_WITHIN: Duration = Duration::from_millis(2_400);

#[test]
fn whoever_is_cut_off_says_so_and_comes_to_all_that_was_written() {
    let dirs = tempfile::tempdir().unwrap();
    // Nothing but the relay leads from IPv4 to IPv6.
    let authority = Start::authority(&dirs.path().join("authority")).at("[::1]:0").run();
    authority.create_zone("one.example");
    authority.set("n.one.example", 0);
    let mut ticket: DnsClientTicket = authority.ticket().parse().unwrap();
    let relay = Relay::start(ticket.peers[0].addrs[0], Duration::ZERO);
    ticket.peers[0].addrs = vec![relay.address];
    let dir = dirs.path().join("near");
    let near = Start::edge(&dir, &ticket.to_string()).run();
    ticket.peers = vec![peer_of(&dir)];
    let far = Start::edge(&dirs.path().join("far"), &ticket.to_string()).run();
    let edges = [&near, &far];
    for edge in edges {
        wait_synced(&authority, edge);
    }
    let cuts = LASTS.iter().flat_map(|lasts| CUTS.iter().map(move |cut| (*lasts, *cut)));
    for (turn, (lasts, (loses_to, loses_from))) in cuts.enumerate() {
        let zone = format!("z{turn}.example");
        let before = turn as u32 * 10;
        relay.loses_to.store(loses_to, Ordering::Relaxed);
        relay.loses_from.store(loses_from, Ordering::Relaxed);
        authority.set("n.one.example", before + 1);
        authority.create_zone(&zone);
        authority.import("big.example", 2_000, before + 1);
        std::thread::sleep(lasts);
        edges.iter().for_each(|edge| assert_honest(&authority, edge, before + 2));
        relay.loses_to.store(false, Ordering::Relaxed);
        relay.loses_from.store(false, Ordering::Relaxed);
        authority.set("n.one.example", before + 3);
        for edge in edges {
            let took = edge.wait_value("n.one.example", Some(before + 3));
            println!("{lasts:?} of ({loses_to}, {loses_from}): there again after {took:?}");
            wait_synced(&authority, edge);
            assert_equal(&authority, edge, &["one.example", "big.example", &zone]);
        }
    }
}

/// Writes, and sees that an edge answers that in a while or says that it may not be up to date.
fn assert_honest(authority: &Node, edge: &Node, value: u32) {
    authority.set("n.one.example", value);
    std::thread::sleep(SYNCED_WITHIN);
    let status = edge.status()["sync"]["status"].clone();
    let its = edge.value("n.one.example");
    assert!(status != "Synced" || its == Some(value), "{status} with {its:?}, not {value}");
    assert!(its.is_some(), "what it had is gone");
}
