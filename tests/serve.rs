//! The front ends over real sockets on loopback, asked by another DNS implementation's codec.

#![allow(clippy::unwrap_used)]

#[path = "serve/asker.rs"]
mod asker;
mod seeded;
#[path = "serve/tcp.rs"]
mod tcp;
#[path = "serve/transfer.rs"]
mod transfer;
#[path = "serve/udp.rs"]
mod udp;

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use asker::{query, reader};
use aspen_dns::serve::{BindError, DnsProtocolServer};

#[test]
fn port_zero_gives_udp_and_tcp_one_port_and_all_workers_share_it() {
    let server = DnsProtocolServer::builder(reader())
        .udp_tcp("127.0.0.1:0".parse().unwrap())
        .udp_tcp("[::1]:0".parse().unwrap())
        .workers(3)
        .tcp_workers(2)
        .bind()
        .unwrap();
    let addrs = server.addrs().to_vec();
    assert!(addrs.iter().all(|addr| addr.port() != 0));
    let running = server.start().unwrap();
    for addr in addrs {
        assert_eq!(asker::ask_udp(addr, &query(1, "www.example.")).id, 1);
        assert_eq!(asker::ask_tcp(addr, &query(2, "www.example.")).id, 2);
    }
    assert!(running.is_healthy());
    let stats = running.shutdown().unwrap();
    assert_eq!(stats.front_end("udp").unwrap().workers, 6);
    assert_eq!(stats.front_end("tcp").unwrap().workers, 2);
    assert_eq!(stats.queries(), 4);
}

#[test]
fn an_address_in_use_is_one_error_that_names_it() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let running =
        asker::start(|builder| builder.udp_tcp("127.0.0.1:0".parse().unwrap()).workers(2));
    let table = [
        (udp.local_addr().unwrap(), "UDP"),
        (tcp.local_addr().unwrap(), "TCP"),
        (running.addrs()[0], "UDP"),
    ];
    for (addr, transport) in table {
        let builder = DnsProtocolServer::builder(reader()).udp_tcp(addr).workers(2).tcp_workers(2);
        let Err(error) = builder.bind() else { panic!("{addr} was free") };
        let BindError { addr: named, transport: which, .. } = &error;
        assert_eq!((*named, *which), (addr, transport));
        assert!(error.to_string().starts_with(&format!("cannot listen on {addr} ({transport}): ")));
    }
    // Nothing is left bound by the attempts: the TCP port's UDP twin is free again.
    UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
}

#[test]
fn a_server_that_is_stopped_frees_its_address() {
    let running = asker::start(|builder| builder.udp_tcp("127.0.0.1:0".parse().unwrap()));
    let addr = running.addrs()[0];
    let open = std::net::TcpStream::connect(addr).unwrap();
    running.shutdown().unwrap();
    let again = asker::start(|builder| builder.udp_tcp(addr).workers(2));
    assert_eq!(asker::ask_tcp(addr, &query(3, "www.example.")).id, 3);
    drop((again, open));
}

#[test]
fn a_front_end_of_ones_own_is_run_and_stopped_like_the_others() {
    use aspen_dns::publish::Reader;
    use aspen_dns::responder::{Peer, Responder, Transport};
    use aspen_dns::serve::{FrontEnd, Shutdown};
    use std::sync::mpsc::{Receiver, Sender, channel};

    struct Channel(Receiver<Vec<u8>>, Sender<Vec<u8>>);
    impl FrontEnd for Channel {
        fn name(&self) -> &'static str {
            "channel"
        }
        fn run(
            self: Box<Self>,
            reader: Reader,
            responder: Arc<Responder>,
            _: Shutdown,
        ) -> std::io::Result<()> {
            for query in &self.0 {
                let (catalog, mut reply) = (reader.load(), Vec::new());
                responder.respond(&catalog, &query, &Peer::in_process(Transport::Tcp), &mut reply);
                self.1.send(reply).map_err(std::io::Error::other)?;
            }
            Ok(())
        }
    }
    let ((asks, asked), (answers, answered)) = (channel(), channel());
    let running = asker::start(|builder| builder.front_end(Box::new(Channel(asked, answers))));
    asks.send(query(4, "www.example.")).unwrap();
    let reply = asker::decode(&answered.recv().unwrap());
    assert_eq!((reply.id, reply.answers.len()), (4, 1));
    drop(asks);
    running.shutdown().unwrap();
}
