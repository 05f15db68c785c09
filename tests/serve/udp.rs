//! UDP: batches, families, the address that an answer comes from, what is not answered.

use std::net::UdpSocket;

use aspen_dns::limits::UDP_QUERY_OCTETS_MAX;
use aspen_dns::record::RecordType;
use aspen_dns::serve::event::DropCause;
use aspen_dns::serve::udp::UdpExchange;

use crate::asker::{self, query, query_for};

/// Both ways to move datagrams: every fact but one holds for either.
const EXCHANGES: [UdpExchange; 2] = [UdpExchange::Batched, UdpExchange::Single];

#[test]
fn every_query_of_many_is_answered_once() {
    for exchange in EXCHANGES {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let running =
                asker::start(|server| server.udp(addr.parse().unwrap()).udp_exchange(exchange));
            let socket = asker::udp_socket(running.addrs()[0]);
            let mut heard = vec![false; 300];
            for ids in (0..300_u16).collect::<Vec<_>>().chunks(150) {
                for id in ids {
                    socket.send(&query(*id, "www.example.")).unwrap();
                }
                for _ in ids {
                    let reply = asker::receive(&socket);
                    assert_eq!(reply.answers.len(), 1);
                    let twice = std::mem::replace(&mut heard[usize::from(reply.id)], true);
                    assert!(!twice, "{} was answered twice", reply.id);
                }
            }
            let stats = running.shutdown().unwrap();
            let udp = stats.front_end("udp").unwrap();
            assert_eq!((udp.queries, udp.queries_of(RecordType::A)), (300, Some(300)));
            assert_eq!(udp.by_rcode[0], (Some(0), 300));
            assert!(udp.batches.iter().map(|row| row.1).sum::<u64>() <= 300);
        }
    }
}

#[test]
fn a_wildcard_address_answers_from_the_address_asked() {
    let running = asker::start(|server| {
        server.udp("0.0.0.0:0".parse().unwrap()).udp("[::]:0".parse().unwrap())
    });
    let (v4, v6) = (running.addrs()[0].port(), running.addrs()[1].port());
    for (host, port, from) in [
        ("127.0.0.1", v4, "127.0.0.1:0"),
        ("127.0.0.2", v4, "127.0.0.1:0"),
        ("127.7.7.7", v4, "127.9.9.9:0"),
        ("::1", v6, "[::1]:0"),
    ] {
        let server = std::net::SocketAddr::new(host.parse().unwrap(), port);
        // Not connected: whatever comes is heard, with where it comes from.
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(asker::PATIENCE)).unwrap();
        socket.send_to(&query(7, "www.example."), server).unwrap();
        let mut reply = [0; 4_096];
        let (len, source) = socket.recv_from(&mut reply).unwrap();
        assert_eq!(source, server);
        assert_eq!(asker::decode(&reply[..len]).id, 7);
    }
}

#[test]
fn what_is_no_query_gets_no_answer_and_is_counted() {
    for exchange in EXCHANGES {
        let running = asker::start(|server| {
            server.udp("127.0.0.1:0".parse().unwrap()).udp_exchange(exchange)
        });
        let socket = asker::udp_socket(running.addrs()[0]);
        let mut response = query(1, "www.example.");
        response[2] |= 0x80;
        let padded = |len| {
            let query = query(2, "www.example.");
            [&query[..], &vec![0; len - query.len()]].concat()
        };
        let (longest, too_long) = (padded(UDP_QUERY_OCTETS_MAX), padded(UDP_QUERY_OCTETS_MAX + 1));
        for datagram in [&response[..], b"", b"eleven octe", &too_long] {
            socket.send(datagram).unwrap();
        }
        socket.send(&longest).unwrap();
        assert_eq!(asker::receive(&socket).id, 2, "nothing before it was answered");
        let stats = running.shutdown().unwrap();
        let udp = stats.front_end("udp").unwrap();
        assert_eq!(udp.queries, 5);
        assert_eq!(udp.dropped(DropCause::Response), 1);
        assert_eq!(udp.dropped(DropCause::TooShort), 2);
        assert_eq!(udp.dropped(DropCause::TooLong), 1);
    }
}

#[test]
fn a_reply_that_does_not_fit_says_so_and_is_counted() {
    for exchange in EXCHANGES {
        let running = asker::start(|server| {
            server.udp_tcp("127.0.0.1:0".parse().unwrap()).udp_exchange(exchange)
        });
        let (addr, query) =
            (running.addrs()[0], query_for(5, "big.example.", hickory_proto::rr::RecordType::TXT));
        assert!(asker::ask_udp(addr, &query).truncation);
        assert_eq!(asker::ask_tcp(addr, &query).answers.len(), 240);
        let stats = running.shutdown().unwrap();
        assert_eq!(stats.front_end("udp").unwrap().truncated, 1);
        assert_eq!(stats.front_end("tcp").unwrap().truncated, 0);
    }
}

#[test]
fn queries_that_came_before_the_stop_are_answered() {
    for exchange in EXCHANGES {
        let server = aspen_dns::serve::DnsProtocolServer::builder(asker::reader())
            .udp("127.0.0.1:0".parse().unwrap())
            .workers(1)
            .udp_exchange(exchange)
            .bind()
            .unwrap();
        let socket = asker::udp_socket(server.addrs()[0]);
        for id in 0..200 {
            socket.send(&query(id, "www.example.")).unwrap();
        }
        server.start().unwrap().shutdown().unwrap();
        for id in 0..200 {
            assert_eq!(asker::receive(&socket).id, id);
        }
    }
}
