//! What the tests ask, and the zone that they ask about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aspen_dns::catalog::CatalogChange;
use aspen_dns::name::Name;
use aspen_dns::publish::{Publisher, Reader};
use aspen_dns::record::{RecordType, Rrset, Soa};
use aspen_dns::serve::server::ServerBuilder;
use aspen_dns::serve::{DnsProtocolServer, RunningServer};
use aspen_dns::zone::{HashSeed, build};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::RecordType as HickoryType;

/// Longer than any reply takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Publishes `example.` with an address at `www` and 60 KB of text at `big`.
pub(crate) fn reader() -> Reader {
    let name = |text| Name::from_text(text).unwrap();
    let soa = Soa { serial: 1, minimum_s: 300, ..Soa::default() }.to_rdata();
    let texts = (0..240_u8).map(|number| [&[249, number][..], &[b'x'; 248]].concat());
    let rrsets = vec![
        Rrset::new(name("example."), RecordType::SOA, 300, [soa]).unwrap(),
        Rrset::new(name("example."), RecordType::NS, 300, [name("ns.example.").as_wire()]).unwrap(),
        Rrset::new(name("ns.example."), RecordType::A, 300, [[192, 0, 2, 53]]).unwrap(),
        Rrset::new(name("www.example."), RecordType::A, 300, [[192, 0, 2, 1]]).unwrap(),
        Rrset::new(name("big.example."), RecordType::TXT, 300, texts).unwrap(),
    ];
    let zone = build(name("example."), HashSeed(1), rrsets).unwrap();
    let publisher = Publisher::new(HashSeed(1));
    publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
    publisher.reader()
}

/// Starts a server with one UDP worker, made further by `with`.
pub(crate) fn start(with: impl FnOnce(ServerBuilder) -> ServerBuilder) -> RunningServer {
    let builder = DnsProtocolServer::builder(reader()).workers(1);
    with(builder).bind().unwrap().start().unwrap()
}

/// A query for the address of `qname`, with EDNS.
pub(crate) fn query(id: u16, qname: &str) -> Vec<u8> {
    query_for(id, qname, HickoryType::A)
}

/// A query with EDNS.
pub(crate) fn query_for(id: u16, qname: &str, qtype: HickoryType) -> Vec<u8> {
    let mut message = message(id);
    message.add_query(Query::query(qname.parse().unwrap(), qtype));
    message.to_vec().unwrap()
}

/// A query with EDNS and as yet without question.
pub(crate) fn message(id: u16) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.edns = Some(Edns::new());
    message
}

/// Reads a reply.
pub(crate) fn decode(reply: &[u8]) -> Message {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.message_type, MessageType::Response);
    message
}

/// Makes a UDP socket that talks to `server`.
pub(crate) fn udp_socket(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// Receives a reply.
pub(crate) fn receive(socket: &UdpSocket) -> Message {
    let mut reply = [0; 65_535];
    let len = socket.recv(&mut reply).unwrap();
    decode(&reply[..len])
}

/// Asks by UDP.
pub(crate) fn ask_udp(server: SocketAddr, query: &[u8]) -> Message {
    let socket = udp_socket(server);
    socket.send(query).unwrap();
    receive(&socket)
}

/// Connects by TCP.
pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Puts a message's length before it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&len[..], message].concat()
}

/// Reads one framed reply.
pub(crate) fn read_reply(stream: &mut TcpStream) -> Message {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).unwrap();
    decode(&reply)
}

/// Asks by TCP, on a connection of its own.
pub(crate) fn ask_tcp(server: SocketAddr, query: &[u8]) -> Message {
    let mut stream = connect(server);
    stream.write_all(&framed(query)).unwrap();
    read_reply(&mut stream)
}

/// Waits until the server closes; what it still sends is returned.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("the server does not close: {error}"),
    }
}

/// Waits until `is_so`. What another thread does at its own pace is waited for, never timed.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "it does not become so");
        std::thread::yield_now();
    }
}
