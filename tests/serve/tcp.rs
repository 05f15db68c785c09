//! TCP: pipelining, slow and rude peers, limits.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use aspen_dns::serve::RunningServer;
use aspen_dns::serve::event::ConnectionEvent;
use aspen_dns::serve::tcp::TcpLimits;
use hickory_proto::rr::RecordType;

use crate::asker::{self, connect, framed, query, query_for, read_reply, read_to_end, wait_until};

/// Starts a server on a TCP port.
fn start(limits: TcpLimits) -> (RunningServer, SocketAddr) {
    let running =
        asker::start(|server| server.tcp("127.0.0.1:0".parse().unwrap()).tcp_limits(limits));
    let addr = running.addrs()[0];
    (running, addr)
}

/// Limits that no test reaches unless it lowers them.
fn wide() -> TcpLimits {
    TcpLimits {
        connections_max: 4_096,
        connections_per_address_max: 4_096,
        message_ms_max: 60_000,
        idle_ms_max: 60_000,
        send_ms_max: 60_000,
    }
}

/// Returns how often something happened to a connection.
fn count(running: &RunningServer, event: ConnectionEvent) -> u64 {
    running.stats().front_end("tcp").unwrap().connections(event)
}

/// Asks on a connection, which shows that it is served.
fn ask(stream: &mut TcpStream, id: u16) {
    stream.write_all(&framed(&query(id, "www.example."))).unwrap();
    assert_eq!(read_reply(stream).id, id);
}

#[test]
fn pipelined_queries_are_answered_in_order_with_few_writes() {
    let (running, addr) = start(wide());
    let mut stream = connect(addr);
    let queries: Vec<u8> = (0..2_000).flat_map(|id| framed(&query(id, "www.example."))).collect();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&queries).unwrap());
    for id in 0..2_000 {
        assert_eq!(read_reply(&mut stream).id, id);
    }
    sender.join().unwrap();
    let stats = running.shutdown().unwrap();
    let tcp = stats.front_end("tcp").unwrap();
    assert_eq!(tcp.queries, 2_000);
    let writes: u64 = tcp.batches.iter().map(|row| row.1).sum();
    assert!(writes < 500, "{writes} writes for 2,000 queries");
}

#[test]
fn queries_in_one_segment_are_answered_in_one_batch() {
    let (running, addr) = start(wide());
    let mut stream = connect(addr);
    let queries: Vec<u8> = (0..4).flat_map(|id| framed(&query(id, "www.example."))).collect();
    stream.write_all(&queries).unwrap();
    for id in 0..4 {
        assert_eq!(read_reply(&mut stream).id, id);
    }
    let stats = running.shutdown().unwrap();
    assert_eq!(stats.front_end("tcp").unwrap().batches[2], (4, 1));
}

#[test]
fn a_query_that_comes_octet_by_octet_is_answered() {
    let (running, addr) = start(wide());
    let mut stream = connect(addr);
    stream.set_nodelay(true).unwrap();
    for id in 0..3 {
        for octet in framed(&query(id, "www.example.")) {
            stream.write_all(&[octet]).unwrap();
        }
        assert_eq!(read_reply(&mut stream).id, id);
    }
    drop((stream, running));
}

#[test]
fn a_slow_message_is_cut_off_and_those_before_it_are_answered() {
    let (running, addr) = start(TcpLimits { message_ms_max: 50, ..wide() });
    let mut stream = connect(addr);
    let whole = framed(&query(1, "www.example."));
    stream.write_all(&[&whole[..], &whole[..9]].concat()).unwrap();
    assert_eq!(read_reply(&mut stream).id, 1);
    assert_eq!(read_to_end(&mut stream), b"");
    assert_eq!(count(&running, ConnectionEvent::ClosedSlowMessage), 1);
}

#[test]
fn a_reader_that_reads_nothing_stops_being_answered_and_then_is_closed() {
    let (running, addr) = start(TcpLimits { send_ms_max: 200, ..wide() });
    let mut stream = connect(addr);
    stream.set_nonblocking(true).unwrap();
    let big = framed(&query_for(1, "big.example.", RecordType::TXT));
    let asked = (0..100_000).take_while(|_| stream.write_all(&big).is_ok()).count();
    wait_until(|| count(&running, ConnectionEvent::ClosedSlowReader) == 1);
    let answered = running.stats().front_end("tcp").unwrap().queries;
    assert!(answered < asked as u64, "{answered} of {asked} queries answered to nobody");
}

#[test]
fn a_slow_reader_that_reads_after_all_gets_everything() {
    let (running, addr) = start(wide());
    let mut stream = connect(addr);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for id in 0..200 {
            writer.write_all(&framed(&query_for(id, "big.example.", RecordType::TXT))).unwrap();
        }
    });
    for id in 0..200 {
        let reply = read_reply(&mut stream);
        assert_eq!((reply.id, reply.answers.len()), (id, 240));
    }
    sender.join().unwrap();
    assert_eq!(running.shutdown().unwrap().queries(), 200);
}

#[test]
fn a_peer_that_has_closed_its_side_gets_its_replies_and_the_end() {
    let (running, addr) = start(wide());
    let mut stream = connect(addr);
    let whole = framed(&query(1, "www.example."));
    stream.write_all(&[&whole[..], &whole, &whole[..5]].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!((read_reply(&mut stream).id, read_reply(&mut stream).id), (1, 1));
    assert_eq!(read_to_end(&mut stream), b"");
    assert_eq!(count(&running, ConnectionEvent::ClosedByPeer), 1);
}

#[test]
fn an_idle_connection_is_closed() {
    let (running, addr) = start(TcpLimits { idle_ms_max: 50, ..wide() });
    let mut stream = connect(addr);
    assert_eq!(read_to_end(&mut stream), b"");
    assert_eq!(count(&running, ConnectionEvent::ClosedIdle), 1);
}

#[test]
fn an_idle_connection_is_closed_sooner_when_there_are_many() {
    // A tenth of the time with both places taken, all of it for the one that is left.
    let (running, addr) = start(TcpLimits { connections_max: 2, idle_ms_max: 15_000, ..wide() });
    let (mut one, mut two) = (connect(addr), connect(addr));
    ask(&mut one, 1);
    ask(&mut two, 2);
    let since = std::time::Instant::now();
    assert_eq!(read_to_end(&mut one), b"");
    assert!(since.elapsed().as_secs() < 14, "closed after {:?}", since.elapsed());
    assert_eq!(count(&running, ConnectionEvent::ClosedIdle), 1);
    ask(&mut two, 3);
}

#[test]
fn the_longest_idle_gives_way_when_there_is_no_room() {
    let (running, addr) = start(TcpLimits { connections_max: 3, ..wide() });
    let mut streams: Vec<_> = (0..3).map(|_| connect(addr)).collect();
    for stream in &mut streams {
        ask(stream, 1);
    }
    ask(&mut streams[0], 2); // so the second one is idle longest
    let mut fourth = connect(addr);
    ask(&mut fourth, 3);
    assert_eq!(read_to_end(&mut streams[1]), b"");
    for index in [0, 2] {
        ask(&mut streams[index], 4);
    }
    assert_eq!(count(&running, ConnectionEvent::ClosedForRoom), 1);
    assert_eq!(running.stats().front_end("tcp").unwrap().connections_open(), 3);
}

#[test]
fn an_address_has_its_share_of_connections_and_no_more() {
    for workers in [1, 3] {
        let limits = TcpLimits { connections_per_address_max: 2, ..wide() };
        let running = asker::start(|server| {
            let server = server.tcp("127.0.0.1:0".parse().unwrap()).tcp_limits(limits);
            server.tcp_workers(workers)
        });
        let addr = running.addrs()[0];
        let (mut one, mut two) = (connect(addr), connect(addr));
        ask(&mut one, 1);
        ask(&mut two, 2);
        // Whichever worker they come to.
        for refused in 1..=8 {
            assert_eq!(read_to_end(&mut connect(addr)), b"");
            assert_eq!(count(&running, ConnectionEvent::RefusedByAddress), refused);
        }
        drop(one);
        wait_until(|| count(&running, ConnectionEvent::ClosedByPeer) == 1);
        ask(&mut connect(addr), 3);
    }
}

#[test]
fn replies_are_not_taken_back_by_what_comes_behind_garbage() {
    let (running, addr) = start(wide());
    let queries: Vec<u8> = (0..500).flat_map(|id| framed(&query(id, "www.example."))).collect();
    let mut response = query(1, "www.example.");
    response[2] |= 0x80;
    let mut stream = connect(addr);
    stream.write_all(&[queries, framed(&response)].concat()).unwrap();
    wait_until(|| running.stats().queries() >= 500);
    // What is unread when a socket is closed takes back what was sent.
    stream.write_all(&vec![0; 100_000]).unwrap();
    for id in 0..500 {
        assert_eq!(read_reply(&mut stream).id, id);
    }
    assert_eq!(read_to_end(&mut stream), b"");
    drop(stream);
    wait_until(|| count(&running, ConnectionEvent::ClosedGarbage) == 1);
}

#[test]
fn garbage_is_closed_and_what_came_before_it_is_answered() {
    let (running, addr) = start(TcpLimits { message_ms_max: 50, ..wide() });
    let mut response = query(1, "www.example.");
    response[2] |= 0x80;
    for garbage in [&[0, 0][..], &[0, 5, 1, 2, 3, 4, 5], &framed(&response)] {
        let mut stream = connect(addr);
        stream.write_all(&[&framed(&query(6, "www.example.")), garbage].concat()).unwrap();
        assert_eq!(read_reply(&mut stream).id, 6);
        assert_eq!(read_to_end(&mut stream), b"");
    }
    // They are closed when their peers have closed, or take too long to.
    wait_until(|| count(&running, ConnectionEvent::ClosedGarbage) == 3);
    // A length that is never made good, as another protocol's greeting has it.
    let mut stream = connect(addr);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    assert_eq!(count(&running, ConnectionEvent::ClosedSlowMessage), 1);
}

#[test]
fn a_thousand_idle_connections_keep_nobody_waiting() {
    let (running, addr) = start(wide());
    let mut idle: Vec<_> = (0..1_000).map(|_| connect(addr)).collect();
    for id in 0..50 {
        assert_eq!(asker::ask_tcp(addr, &query(id, "www.example.")).id, id);
    }
    for stream in idle.iter_mut().step_by(100) {
        ask(stream, 8);
    }
    let stats = running.stats();
    let tcp = stats.front_end("tcp").unwrap();
    assert!(tcp.connections_open() >= 1_000);
    drop(idle);
    wait_until(|| count(&running, ConnectionEvent::ClosedByPeer) == 1_050);
    running.shutdown().unwrap();
}

#[test]
fn a_peer_that_vanishes_with_replies_on_the_way_harms_nobody() {
    let (running, addr) = start(wide());
    for _ in 0..20 {
        let mut stream = connect(addr);
        let big = framed(&query_for(1, "big.example.", RecordType::TXT));
        stream.write_all(&big.repeat(20)).unwrap();
        let _ = stream.read(&mut [0; 100]).unwrap();
    }
    ask(&mut connect(addr), 1);
    wait_until(|| running.stats().front_end("tcp").unwrap().connections_open() == 0);
    running.shutdown().unwrap();
}

#[test]
fn what_came_before_the_stop_is_answered() {
    let (running, addr) = start(wide());
    let mut stream = connect(addr);
    ask(&mut stream, 1);
    let mut busy = connect(addr);
    let big = framed(&query_for(2, "big.example.", RecordType::TXT));
    busy.write_all(&big.repeat(30)).unwrap();
    assert_eq!(read_reply(&mut busy).answers.len(), 240);
    let stopped = std::thread::spawn(move || running.shutdown().unwrap());
    for _ in 1..30 {
        assert_eq!(read_reply(&mut busy).answers.len(), 240);
    }
    assert_eq!(read_to_end(&mut stream), b"");
    let stats = stopped.join().unwrap();
    let tcp = stats.front_end("tcp").unwrap();
    assert_eq!((tcp.queries, tcp.connections_open()), (31, 0));
}
