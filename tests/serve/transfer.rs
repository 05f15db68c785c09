//! Zone transfers over TCP (RFC 5936, RFC 1995): whole zones, slow readers, who may have them.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use aspen_dns::catalog::{CatalogChange, HoldReason};
use aspen_dns::name::Name;
use aspen_dns::publish::Publisher;
use aspen_dns::record::{Change, RecordType, Rrset, master};
use aspen_dns::responder::transfer::TransferPolicy;
use aspen_dns::responder::{Responder, ResponderConfig};
use aspen_dns::serve::event::ConnectionEvent;
use aspen_dns::serve::tcp::TcpLimits;
use aspen_dns::serve::{DnsProtocolServer, RunningServer};
use aspen_dns::zone::{HashSeed, build};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::RecordType as HickoryType;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{RData, Record};

use crate::asker::{
    self, ask_tcp, ask_udp, connect, framed, query, query_for, read_reply, wait_until,
};

/// The seed of the catalog.
const SEED: HashSeed = HashSeed(5);

/// A zone in which there is something of everything that a transfer must not lose.
const SMALL: &str = "\
$TTL 300
@ SOA ns1 hostmaster 7 3600 600 86400 60
@ NS ns1
@ NS ns2.elsewhere.test.
@ RRSIG SOA 13 1 300 20300101000000 20200101000000 1 example. AAAA
ns1 A 192.0.2.1
www A 192.0.2.2
www AAAA 2001:db8::2
*.wild CNAME www
Upper MX 10 Mail.Example.
cut NS ns.cut
ns.cut A 192.0.2.3
below.ns.cut TXT \"occluded\"
a.b.c TXT \"below empty non-terminals\"
lone RRSIG A 13 2 300 20300101000000 20200101000000 1 example. AAAA
odd TYPE65280 \\# 3 010203
";

/// A running server, and what publishes to it.
struct Server {
    /// The publisher.
    publisher: Publisher,
    /// The server.
    running: RunningServer,
    /// Its address.
    addr: SocketAddr,
}

/// Serves `example.` to transfer from `allowed`.
fn serve(text: &str, allowed: &str, limits: TcpLimits) -> Server {
    let publisher = Publisher::new(SEED);
    publisher.publish(vec![put(text)]);
    let networks: Vec<_> = allowed.split_terminator(',').map(|net| net.parse().unwrap()).collect();
    let transfers = TransferPolicy::new(networks);
    let config = ResponderConfig { transfers, ..ResponderConfig::default() };
    let running = DnsProtocolServer::builder(publisher.reader())
        .responder(Arc::new(Responder::new(config)))
        .udp_tcp("127.0.0.1:0".parse().unwrap())
        .workers(1)
        .tcp_limits(limits)
        .bind()
        .unwrap()
        .start()
        .unwrap();
    let addr = running.addrs()[0];
    Server { publisher, running, addr }
}

/// Reads a zone, whose origin is `example.`.
fn put(text: &str) -> CatalogChange {
    let origin = Name::from_text("example.").unwrap();
    let options = master::MasterOptions::default();
    let parsed = master::read_zone(text.as_bytes(), &origin, options, &mut |_| {}).unwrap();
    CatalogChange::Put(Arc::new(build(parsed.apex, SEED, parsed.rrsets).unwrap()))
}

/// Some 600 KB of records, at some thousands of names and in one RRset that fits no message.
fn large(serial: u32) -> String {
    let mut text = format!("$TTL 300\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n@ NS ns1\n");
    for i in 0..5_000 {
        text.push_str(&format!("host{i} A 192.0.{}.{}\nhost{i} MX 5 mail{i}\n", i / 256, i % 256));
    }
    for i in 0..3_000 {
        text.push_str(&format!("many MX 5 an-exchanger-with-a-long-name-{i}.elsewhere{i}.test.\n"));
    }
    text
}

/// Some 12 MB of records: more than sockets hold.
fn huge(serial: u32) -> String {
    let mut text = large(serial);
    for i in 0..40_000 {
        text.push_str(&format!("more{i} TXT \"{}\"\n", "x".repeat(250)));
    }
    text
}

/// Asks for a transfer; an IXFR names the serial that the asker has.
fn ask(stream: &mut TcpStream, id: u16, qname: &str, ixfr_serial: Option<u32>) {
    stream.write_all(&framed(&transfer_query(id, qname, ixfr_serial))).unwrap();
}

/// A query for a transfer.
fn transfer_query(id: u16, qname: &str, ixfr_serial: Option<u32>) -> Vec<u8> {
    let Some(serial) = ixfr_serial else { return query_for(id, qname, HickoryType::AXFR) };
    let mut message = asker::message(id);
    message.add_query(Query::query(qname.parse().unwrap(), HickoryType::IXFR));
    let root = hickory_proto::rr::Name::root();
    let soa = SOA::new(root.clone(), root, serial, 0, 0, 0, 0);
    message.authorities.push(Record::from_rdata(qname.parse().unwrap(), 0, RData::SOA(soa)));
    message.to_vec().unwrap()
}

/// Reads the messages of a transfer up to its last SOA.
fn read_transfer(stream: &mut TcpStream, id: u16) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let message = read_reply(stream);
        assert_eq!((message.id, message.metadata.response_code), (id, ResponseCode::NoError));
        assert!(message.metadata.authoritative && !message.metadata.truncation);
        assert!(!message.answers.is_empty());
        records.extend(message.answers);
        let is_soa = |record: &Record| record.record_type() == HickoryType::SOA;
        assert!(is_soa(&records[0]));
        if records.len() > 1 && is_soa(&records[records.len() - 1]) {
            assert_eq!(records[0], records[records.len() - 1]);
            assert_eq!(records.iter().filter(|record| is_soa(record)).count(), 2);
            records.pop();
            return records;
        }
    }
}

/// Says what records say, without order; none stands there twice.
fn texts(records: &[Record]) -> BTreeSet<String> {
    let text = |record: &Record| {
        let data = &record.data;
        format!("{} {} {} {data}", record.name.to_lowercase(), record.ttl, record.record_type())
    };
    let all: BTreeSet<String> = records.iter().map(text).collect();
    assert_eq!(all.len(), records.len(), "a record was sent twice");
    all
}

/// The records of a file as one message of hickory-proto's reads them.
fn texts_of_file(text: &str) -> BTreeSet<String> {
    let origin = Name::from_text("example.").unwrap();
    let options = master::MasterOptions::default();
    let parsed = master::read_zone(text.as_bytes(), &origin, options, &mut |_| {}).unwrap();
    let mut records = Vec::new();
    for Rrset { owner, rtype, ttl_s, rdata } in &parsed.rrsets {
        for octets in rdata.iter() {
            let mut message = vec![0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            message.extend_from_slice(owner.as_wire());
            message.extend_from_slice(&rtype.0.to_be_bytes());
            message.extend_from_slice(&[0, 1]);
            message.extend_from_slice(&ttl_s.to_be_bytes());
            message.extend_from_slice(&u16::try_from(octets.len()).unwrap().to_be_bytes());
            message.extend_from_slice(octets);
            records.extend(Message::from_vec(&message).unwrap().answers);
        }
    }
    texts(&records)
}

#[test]
fn a_zone_is_sent_whole_and_twice_on_one_connection() {
    let server = serve(SMALL, "127.0.0.0/8", TcpLimits::default());
    let mut stream = connect(server.addr);
    let expected = texts_of_file(SMALL);
    assert_eq!(expected.len(), 15);
    ask(&mut stream, 1, "example.", None);
    assert_eq!(texts(&read_transfer(&mut stream, 1)), expected);
    // Names of RDATA keep their case, whatever the question's.
    ask(&mut stream, 2, "EXAMPLE.", None);
    let records = read_transfer(&mut stream, 2);
    assert_eq!(texts(&records), expected);
    assert!(records.iter().any(|record| record.data.to_string() == "10 Mail.Example."));
}

#[test]
fn a_large_zone_comes_in_many_messages_with_its_largest_rrset_cut() {
    let text = large(1);
    let server = serve(&text, "127.0.0.1/32", TcpLimits::default());
    let mut stream = connect(server.addr);
    // Both queries at once, and a question behind them, which waits for its turn.
    let queries = [
        framed(&transfer_query(1, "example.", None)),
        framed(&transfer_query(2, "example.", Some(0))),
        framed(&query(3, "host7.example.")),
    ];
    stream.write_all(&queries.concat()).unwrap();
    let expected = texts_of_file(&text);
    assert_eq!(texts(&read_transfer(&mut stream, 1)), expected);
    assert_eq!(texts(&read_transfer(&mut stream, 2)), expected);
    let reply = read_reply(&mut stream);
    assert_eq!((reply.id, reply.answers.len()), (3, 1));
    assert_eq!(server.running.shutdown().unwrap().queries(), 3);
}

#[test]
fn what_is_sent_is_the_version_that_was_served_when_it_began() {
    let text = huge(1);
    let server = serve(&text, "127.0.0.0/8", TcpLimits::default());
    let mut stream = connect(server.addr);
    ask(&mut stream, 1, "example.", None);
    let first = read_reply(&mut stream);
    // Some of the rest waits in the sockets, the most of it is yet to be made.
    let catalog = server.publisher.catalog();
    let apex = Name::from_text("example.").unwrap();
    let owner = Name::from_text("host4999.example.").unwrap();
    let rrset = Rrset::new(owner, RecordType::TXT, 5, [[3, b'n', b'e', b'w']]).unwrap();
    let (zone, report) = catalog.zone(&apex).unwrap().edit(&[Change::Put(rrset)]);
    assert_eq!(report.applied, 1);
    server.publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
    server.publisher.publish(vec![put(&SMALL.replace(" 7 3600", " 8 3600"))]);
    let mut records = first.answers;
    while records[records.len() - 1].record_type() != HickoryType::SOA {
        records.extend(read_reply(&mut stream).answers);
    }
    assert_eq!(records.pop(), Some(records[0].clone()));
    assert_eq!(texts(&records), texts_of_file(&text));
    ask(&mut stream, 2, "example.", None);
    assert_eq!(read_transfer(&mut stream, 2).len(), 15);
    drop(catalog);
    wait_until(|| server.publisher.free_retired() == 0);
}

#[test]
fn a_reader_that_stops_reading_is_closed_and_keeps_no_version() {
    let limits = TcpLimits { send_ms_max: 200, ..TcpLimits::default() };
    let server = serve(&huge(1), "127.0.0.0/8", limits);
    let mut stream = connect(server.addr);
    ask(&mut stream, 1, "example.", None);
    let closed = || {
        let stats = server.running.stats();
        stats.front_end("tcp").unwrap().connections(ConnectionEvent::ClosedSlowReader)
    };
    wait_until(|| closed() == 1);
    server.publisher.publish(vec![put(SMALL)]);
    wait_until(|| server.publisher.free_retired() == 0);
}

#[test]
fn who_is_not_allowed_and_what_is_not_ours_is_refused() {
    use ResponseCode::{FormErr, NotAuth, Refused};
    for (allowed, rcode) in
        [("192.0.2.0/24", Some(Refused)), ("", Some(Refused)), ("127.0.0.1/32", None)]
    {
        let server = serve(SMALL, allowed, TcpLimits::default());
        let mut stream = connect(server.addr);
        for ixfr_serial in [None, Some(3)] {
            ask(&mut stream, 1, "example.", ixfr_serial);
            match rcode {
                Some(rcode) => assert_refused(&read_reply(&mut stream), rcode),
                None => assert_eq!(read_transfer(&mut stream, 1).len(), 15),
            }
            for qname in ["www.example.", "nx.example.", "test.", "."] {
                ask(&mut stream, 2, qname, ixfr_serial);
                assert_refused(&read_reply(&mut stream), NotAuth);
            }
        }
        // An IXFR without the asker's serial is none (RFC 1995 section 3).
        stream.write_all(&framed(&query_for(3, "example.", HickoryType::IXFR))).unwrap();
        assert_refused(&read_reply(&mut stream), FormErr);
        assert_refused(&ask_udp(server.addr, &transfer_query(4, "example.", None)), Refused);
    }
}

#[test]
fn a_held_zone_is_servfail_over_both_transports_and_not_transferred() {
    use ResponseCode::ServFail;
    let server = serve(SMALL, "127.0.0.1/32", TcpLimits::default());
    let kid = Name::from_text("kid.example.").unwrap();
    server.publisher.publish(vec![CatalogChange::Hold(kid, HoldReason::Broken)]);
    let mut stream = connect(server.addr);
    for (id, qname) in [(1, "kid.example."), (2, "www.kid.example.")] {
        for ixfr_serial in [None, Some(3)] {
            ask(&mut stream, id, qname, ixfr_serial);
            assert_refused(&read_reply(&mut stream), ServFail);
        }
        for reply in [
            ask_udp(server.addr, &query_for(id, qname, HickoryType::A)),
            ask_tcp(server.addr, &query_for(id, qname, HickoryType::A)),
        ] {
            assert_refused(&reply, ServFail);
            assert!(!reply.metadata.authoritative && reply.authorities.is_empty());
        }
    }
    let stats = server.running.stats();
    let failed: Vec<u64> =
        stats.front_ends.iter().map(|front_end| front_end.by_rcode[2].1).collect();
    assert_eq!(failed.iter().sum::<u64>(), 8, "{failed:?}");
    ask(&mut stream, 3, "example.", None);
    assert_eq!(read_transfer(&mut stream, 3).len(), 15);
}

/// Checks a reply that says nothing but its rcode.
fn assert_refused(reply: &Message, rcode: ResponseCode) {
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (rcode, 0));
}

#[test]
fn an_ixfr_gets_the_zone_or_the_soa_of_who_has_it() {
    let server = serve(SMALL, "127.0.0.0/8", TcpLimits::default());
    let mut stream = connect(server.addr);
    // RFC 1982: of 7 and 2^32 - 1 the former is newer.
    for (serial, is_older) in [(6, true), (u32::MAX, true), (7, false), (8, false)] {
        ask(&mut stream, 1, "example.", Some(serial));
        if is_older {
            assert_eq!(read_transfer(&mut stream, 1).len(), 15, "{serial}");
        } else {
            let reply = read_reply(&mut stream);
            assert_eq!(reply.answers.len(), 1, "{serial}");
            assert_eq!(reply.answers[0].record_type(), HickoryType::SOA);
        }
        // RFC 1995 section 2: by UDP the SOA says that TCP is to be used.
        let reply = ask_udp(server.addr, &transfer_query(2, "example.", Some(serial)));
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].record_type(), HickoryType::SOA);
    }
}

#[test]
fn transfers_are_limited_and_the_end_of_one_makes_room() {
    let server = serve(&huge(1), "127.0.0.0/8", TcpLimits::default());
    let mut streams: Vec<TcpStream> = (0..aspen_dns::limits::TRANSFERS_MAX)
        .map(|_| {
            let mut stream = connect(server.addr);
            ask(&mut stream, 1, "example.", None);
            assert!(read_reply(&mut stream).answers.len() > 1);
            stream
        })
        .collect();
    let mut further = connect(server.addr);
    ask(&mut further, 2, "example.", None);
    assert_refused(&read_reply(&mut further), ResponseCode::Refused);
    drop(streams.pop());
    wait_until(|| {
        ask(&mut further, 3, "example.", None);
        read_reply(&mut further).metadata.response_code == ResponseCode::NoError
    });
}

#[test]
fn a_record_that_fits_no_message_ends_the_connection() {
    let mut text = SMALL.to_owned();
    let strings = format!("\"{}\" ", "x".repeat(255)).repeat(255);
    text.push_str(&format!("huge TXT {strings} \"{}\"\n", "y".repeat(250)));
    let server = serve(&text, "127.0.0.0/8", TcpLimits::default());
    let mut stream = connect(server.addr);
    ask(&mut stream, 1, "example.", None);
    asker::read_to_end(&mut stream);
    drop(stream);
    let count = |event| server.running.stats().front_end("tcp").unwrap().connections(event);
    wait_until(|| count(ConnectionEvent::ClosedByHugeRecord) == 1);
    assert_eq!(count(ConnectionEvent::ClosedByError), 0, "the system is not to blame");
}
