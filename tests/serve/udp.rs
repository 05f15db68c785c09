//! UDP: batches, families, the address that an answer comes from, what is not answered.

use std::net::{SocketAddr, UdpSocket};

use aspen_dns::record::RecordType;
use aspen_dns::serve::DnsProtocolServer;
use aspen_dns::serve::event::NoReplyReason;
use aspen_dns::serve::udp::UdpExchange;

use crate::asker::{self, query, query_for};
use crate::seeded::Seeded;

/// Both ways to move datagrams: every fact holds for either.
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
    for exchange in EXCHANGES {
        let running = asker::start(|server| {
            let wildcards = server.udp("0.0.0.0:0".parse().unwrap()).udp("[::]:0".parse().unwrap());
            wildcards.udp_exchange(exchange)
        });
        let (v4, v6) = (running.addrs()[0].port(), running.addrs()[1].port());
        for (host, port, from) in [
            ("127.0.0.1", v4, "127.0.0.1:0"),
            ("127.0.0.2", v4, "127.0.0.1:0"),
            ("127.7.7.7", v4, "127.9.9.9:0"),
            ("::1", v6, "[::1]:0"),
        ] {
            let server = SocketAddr::new(host.parse().unwrap(), port);
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
}

#[test]
fn one_asker_of_several_addresses_gets_each_answer_from_the_one_asked() {
    for exchange in EXCHANGES {
        let running =
            asker::start(|server| server.udp("0.0.0.0:0".parse().unwrap()).udp_exchange(exchange));
        let port = running.addrs()[0].port();
        let servers =
            ["127.0.0.1", "127.0.0.2"].map(|host| SocketAddr::new(host.parse().unwrap(), port));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(asker::PATIENCE)).unwrap();
        // Many of one size, so that replies to one asker come in the same batches.
        for id in 0..64_u16 {
            socket.send_to(&query(id, "www.example."), servers[usize::from(id % 2)]).unwrap();
        }
        let mut heard = [false; 64];
        let mut reply = [0; 4_096];
        for _ in 0..64 {
            let (len, source) = socket.recv_from(&mut reply).unwrap();
            let message = asker::decode(&reply[..len]);
            assert_eq!((source, message.answers.len()), (servers[usize::from(message.id % 2)], 1));
            heard[usize::from(message.id)] = true;
        }
        assert_eq!(heard, [true; 64]);
    }
}

#[test]
fn several_addresses_of_both_families_may_have_one_port() {
    for exchange in EXCHANGES {
        let first = asker::start(|server| {
            server.udp("127.0.0.1:0".parse().unwrap()).udp_exchange(exchange).workers(2)
        });
        let port = first.addrs()[0].port();
        let others = ["127.0.0.2", "127.0.0.3", "::1"]
            .map(|host| SocketAddr::new(host.parse().unwrap(), port));
        let running = asker::start(|server| {
            let server = others.iter().fold(server, |server, addr| server.udp(*addr));
            server.udp_exchange(exchange).workers(2)
        });
        assert_eq!(running.addrs(), others);
        for (id, addr) in (1..).zip(others) {
            assert_eq!(asker::ask_udp(addr, &query(id, "www.example.")).id, id);
        }
        assert_eq!(asker::ask_udp(first.addrs()[0], &query(9, "www.example.")).id, 9);
        assert_eq!((running.stats().queries(), first.stats().queries()), (3, 1));
        // Neither a worker's address nor one that covers it is to be had again.
        for taken in [others[0], SocketAddr::new("0.0.0.0".parse().unwrap(), port)] {
            let again = DnsProtocolServer::builder(asker::reader()).udp(taken).workers(2);
            let Err(error) = again.udp_exchange(exchange).bind() else { panic!("{taken} is free") };
            assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
        }
    }
}

#[test]
fn a_query_as_long_as_a_datagram_is_answered() {
    for exchange in EXCHANGES {
        let running = asker::start(|server| {
            let server = server.udp("127.0.0.1:0".parse().unwrap()).udp("[::]:0".parse().unwrap());
            server.udp_exchange(exchange)
        });
        let loopback = SocketAddr::new("::1".parse().unwrap(), running.addrs()[1].port());
        for (server, longest) in [(running.addrs()[0], 65_507), (loopback, 65_527)] {
            let socket = asker::udp_socket(server);
            for (id, octets) in (1..).zip([512, 4_053, 4_097, longest, 60]) {
                socket.send(&padded(query(id, "www.example."), octets)).unwrap();
                let reply = asker::receive(&socket);
                assert_eq!((reply.id, reply.answers.len()), (id, 1), "{octets} octets");
            }
        }
    }
}

/// Makes a query with EDNS so long, by an option that nobody knows.
fn padded(mut query: Vec<u8>, octets: usize) -> Vec<u8> {
    let rdata_len = u16::try_from(octets - query.len()).unwrap();
    let at = query.len() - 2;
    query[at..].copy_from_slice(&rdata_len.to_be_bytes());
    query.extend_from_slice(&65_001_u16.to_be_bytes());
    query.extend_from_slice(&(rdata_len - 4).to_be_bytes());
    query.resize(octets, 0xaa);
    query
}

#[test]
fn a_flood_of_garbage_is_counted_and_those_who_ask_are_answered() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    for exchange in EXCHANGES {
        let running = asker::start(|server| {
            server.udp("127.0.0.1:0".parse().unwrap()).udp_exchange(exchange)
        });
        let (flooder, socket) =
            (asker::udp_socket(running.addrs()[0]), asker::udp_socket(running.addrs()[0]));
        let mut random = Seeded(seed);
        for id in 0..100 {
            for _ in 0..100 {
                let mut garbage: Vec<u8> =
                    (0..random.below(100)).map(|_| random.word() as u8).collect();
                if let [_, _, flags, _, counts @ ..] = garbage.as_mut_slice()
                    && counts.len() > 8
                    && random.percent(50)
                {
                    // Half of it comes farther: it looks like a query with one question.
                    *flags &= 0x01;
                    counts[..8].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
                }
                flooder.send(&garbage).unwrap();
            }
            socket.send(&query(id, "www.example.")).unwrap();
            assert_eq!(asker::receive(&socket).id, id);
        }
        assert!(running.is_healthy());
        let stats = running.shutdown().unwrap();
        let udp = stats.front_end("udp").unwrap();
        let dropped: u64 = udp.drops.iter().map(|row| row.1).sum();
        let answered: u64 = udp.by_rcode.iter().map(|row| row.1).sum();
        assert_eq!((udp.queries, dropped + answered), (10_100, 10_100));
        assert!(
            udp.dropped(NoReplyReason::TooShort) > 0 && udp.dropped(NoReplyReason::Response) > 0
        );
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
        for datagram in [&response[..], b"", b"eleven octe"] {
            socket.send(datagram).unwrap();
        }
        socket.send(&query(9, "www.example.")).unwrap();
        assert_eq!(asker::receive(&socket).id, 9, "nothing before it was answered");
        let stats = running.shutdown().unwrap();
        let udp = stats.front_end("udp").unwrap();
        assert_eq!(udp.queries, 4);
        assert_eq!(udp.dropped(NoReplyReason::Response), 1);
        assert_eq!(udp.dropped(NoReplyReason::TooShort), 2);
    }
}

#[test]
#[cfg(target_os = "linux")] // elsewhere the kernel keeps it to itself
fn what_a_full_receive_queue_loses_is_counted() {
    for exchange in EXCHANGES {
        let server = DnsProtocolServer::builder(asker::reader())
            .udp("127.0.0.1:0".parse().unwrap())
            .workers(1)
            .udp_exchange(exchange)
            .bind()
            .unwrap();
        let socket = asker::udp_socket(server.addrs()[0]);
        // More than the queue takes, with nobody there yet.
        for id in 0..20_000 {
            socket.send(&query(id, "www.example.")).unwrap();
        }
        let running = server.start().unwrap();
        asker::wait_until(|| running.stats().queries() == 20_000);
        let stats = running.shutdown().unwrap();
        let udp = stats.front_end("udp").unwrap();
        let lost = udp.dropped(NoReplyReason::ReceiveQueueFull);
        assert!(lost > 0);
        assert_eq!((udp.queries, udp.by_rcode[0].1), (20_000, 20_000 - lost));
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
        let server = DnsProtocolServer::builder(asker::reader())
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
