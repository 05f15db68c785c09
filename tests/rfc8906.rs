//! The probes of RFC 8906 section 8: what a server must answer so that nobody takes it for broken.
//!
//! Each is asked of the responder by UDP and TCP, and then of a running server over sockets.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aspen_dns::catalog::CatalogChange;
use aspen_dns::name::Name;
use aspen_dns::publish::{Publisher, Reader};
use aspen_dns::record::{RecordType, Rrset, rdata};
use aspen_dns::responder::{Peer, Responder, Transport, Verdict};
use aspen_dns::serve::DnsProtocolServer;
use aspen_dns::zone::{HashSeed, build};
use hickory_proto::op::Message;

/// One probe and what is expected of its answer.
struct Probe {
    /// The section of RFC 8906.
    section: &'static str,
    /// The type that is asked for at the zone's apex; `None` sends a header alone.
    qtype: Option<u16>,
    /// Flags and opcode of the query's header.
    flags: u16,
    /// The OPT record.
    opt: Option<Opt>,
    /// The expected rcode.
    rcode: u16,
    /// Whether the answer section holds what was asked for.
    has_answer: bool,
}

/// An OPT record.
#[derive(Clone, Copy)]
struct Opt {
    /// The EDNS version.
    version: u8,
    /// The flags; DO is 0x8000.
    flags: u16,
    /// The options.
    options: &'static [u8],
    /// The UDP payload size.
    size: u16,
}

/// An OPT record that says nothing.
const PLAIN: Opt = Opt { version: 0, flags: 0, options: b"", size: 1_232 };
/// The DO bit.
const DO: u16 = 0x8000;
/// A flag that has no meaning.
const UNKNOWN_FLAG: u16 = 0x40;
/// Option 100 without content, which has no meaning.
const UNKNOWN_OPTION: &[u8] = b"\0\x64\0\0";
/// NSID, a client subnet of no bits, EXPIRE and a client's cookie.
const DEFINED_OPTIONS: &[u8] =
    b"\0\x03\0\0\0\x08\0\x04\0\x01\0\0\0\x09\0\0\0\x0a\0\x08\x01\x02\x03\x04\x05\x06\x07\x08";

/// Returns all probes.
fn probes() -> Vec<Probe> {
    const SOA: u16 = 6;
    let probe = |section, flags, opt, rcode| {
        let (qtype, has_answer) = (Some(SOA), rcode == 0);
        Probe { section, qtype, flags, opt, rcode, has_answer }
    };
    let version_1 = Opt { version: 1, ..PLAIN };
    vec![
        probe("8.1.1 the zone is there", 0, None, 0),
        Probe {
            qtype: Some(1_000),
            has_answer: false,
            ..probe("8.1.2 an unknown type", 0, None, 0)
        },
        probe("8.1.3.1 CD=1", 0x0010, None, 0),
        probe("8.1.3.2 AD=1", 0x0020, None, 0),
        probe("8.1.3.3 the reserved bit", 0x0040, None, 0),
        probe("8.1.3.4 RD=1", 0x0100, None, 0),
        Probe { qtype: None, ..probe("8.1.4 an unknown opcode", 15 << 11, None, 4) },
        probe("8.1.4 an unknown opcode with a question", 15 << 11, None, 4),
        probe("8.2.1 EDNS", 0, Some(PLAIN), 0),
        probe("8.2.2 an unknown version", 0, Some(version_1), 16),
        probe("8.2.3 an unknown option", 0, Some(Opt { options: UNKNOWN_OPTION, ..PLAIN }), 0),
        probe("8.2.4 an unknown flag", 0, Some(Opt { flags: UNKNOWN_FLAG, ..PLAIN }), 0),
        probe("8.2.5 version and flag", 0, Some(Opt { flags: UNKNOWN_FLAG, ..version_1 }), 16),
        probe(
            "8.2.6 version and option",
            0,
            Some(Opt { options: UNKNOWN_OPTION, ..version_1 }),
            16,
        ),
        Probe {
            qtype: Some(48),
            has_answer: false,
            ..probe("8.2.7 truncated", 0, Some(Opt { flags: DO, size: 512, ..PLAIN }), 0)
        },
        probe("8.2.8 DO=1", 0, Some(Opt { flags: DO, ..PLAIN }), 0),
        probe("8.2.9 version and DO=1", 0, Some(Opt { flags: DO, ..version_1 }), 16),
        probe("8.2.10 many options", 0, Some(Opt { options: DEFINED_OPTIONS, ..PLAIN }), 0),
    ]
}

impl Probe {
    /// Returns the query.
    fn query(&self) -> Vec<u8> {
        let mut query = vec![0x12, 0x34];
        query.extend_from_slice(&self.flags.to_be_bytes());
        query.extend_from_slice(&[0, u8::from(self.qtype.is_some()), 0, 0, 0, 0, 0]);
        query.push(u8::from(self.opt.is_some()));
        if let Some(qtype) = self.qtype {
            query.extend_from_slice(b"\x07example\0");
            query.extend_from_slice(&qtype.to_be_bytes());
            query.extend_from_slice(&[0, 1]);
        }
        if let Some(opt) = self.opt {
            query.extend_from_slice(&[0, 0, 41]);
            query.extend_from_slice(&opt.size.to_be_bytes());
            query.extend_from_slice(&[0, opt.version]);
            query.extend_from_slice(&opt.flags.to_be_bytes());
            query.extend_from_slice(&u16::try_from(opt.options.len()).unwrap().to_be_bytes());
            query.extend_from_slice(opt.options);
        }
        query
    }

    /// Checks a reply.
    fn check(&self, reply: &[u8], transport: Transport) {
        let section = self.section;
        let message = Message::from_vec(reply).unwrap_or_else(|error| panic!("{section}: {error}"));
        let is_cut = section.contains("truncated") && transport == Transport::Udp;
        let has_answer = self.has_answer || section.contains("truncated") && !is_cut;
        assert_eq!(u16::from(message.metadata.response_code), self.rcode, "{section}");
        assert_eq!(has_answer, !message.answers.is_empty(), "{section}");
        for record in &message.answers {
            let rtype = u16::from(record.record_type());
            let is_asked = self.qtype == Some(rtype);
            let is_signature = rtype == 46 && self.opt.is_some_and(|opt| opt.flags & DO != 0);
            assert!(is_asked || is_signature, "{section}");
        }
        // QR, the opcode and RD come back; AA is set in answers; TC where something is missing.
        // RA, Z, AD and CD are never set by a server that does not recurse.
        let mut flags = 0x8000 | self.flags & 0x7900 | self.rcode & 15;
        flags |= if self.rcode == 0 { 0x0400 } else { 0 };
        flags |= if is_cut { 0x0200 } else { 0 };
        assert_eq!(reply[2..4], flags.to_be_bytes(), "{section}");
        match (self.opt, message.edns) {
            (None, None) => {}
            (Some(asked), Some(edns)) => {
                assert_eq!(edns.version(), 0, "{section}");
                assert_eq!(edns.flags().dnssec_ok, asked.flags & DO != 0, "{section}");
                assert_eq!(edns.flags().z, 0, "{section}");
                assert!(edns.options().as_ref().is_empty(), "{section}: an option nobody set up");
            }
            (asked, _) => panic!("{section}: an OPT record exactly if asked: {}", asked.is_some()),
        }
    }
}

/// Publishes the zone `example.`, whose DNSKEY RRset is longer than 512 octets.
fn reader() -> Reader {
    let seed = HashSeed(1);
    let origin = Name::from_text("example.").unwrap();
    let parse = |rtype: RecordType, text: &str| rdata::parse(rtype, text, &origin).unwrap();
    let soa = parse(RecordType::SOA, "ns.example. host.example. 1 3600 600 86400 60");
    let sig = "SOA 8 1 300 20300101000000 20200101000000 1 example. AAAA";
    let keys = (0..4_u8).map(|number| [&[1, 1, 3, 8][..], &[number; 256]].concat());
    let rrsets = vec![
        Rrset::new(origin.clone(), RecordType::SOA, 300, [soa]).unwrap(),
        Rrset::new(origin.clone(), RecordType::DNSKEY, 300, keys).unwrap(),
        Rrset::new(origin.clone(), RecordType::RRSIG, 300, [parse(RecordType::RRSIG, sig)])
            .unwrap(),
    ];
    let publisher = Publisher::new(seed);
    let zone = build(origin.clone(), seed, rrsets).unwrap();
    publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
    publisher.reader()
}

#[test]
fn every_probe_gets_its_answer_in_process() {
    let (reader, responder) = (reader(), Responder::default());
    for probe in probes() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let (mut reply, peer) = (Vec::new(), Peer::in_process(transport));
            let verdict = responder.respond(&reader.load(), &probe.query(), &peer, &mut reply);
            assert!(matches!(verdict, Verdict::Reply(_)), "{}", probe.section);
            probe.check(&reply, transport);
        }
    }
}

#[test]
fn every_probe_gets_its_answer_over_sockets() {
    let server = DnsProtocolServer::builder(reader()).udp_tcp("127.0.0.1:0".parse().unwrap());
    let running = server.workers(1).bind().unwrap().start().unwrap();
    let addr = running.addrs()[0];
    for probe in probes() {
        probe.check(&ask_udp(addr, &probe.query()), Transport::Udp);
        probe.check(&ask_tcp(addr, &probe.query()), Transport::Tcp);
    }
    let asked = 2 * probes().len() as u64;
    assert_eq!(running.shutdown().unwrap().queries(), asked);
}

/// Asks by UDP.
fn ask_udp(addr: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(addr).unwrap();
    socket.send(query).unwrap();
    let mut reply = vec![0; 65_535];
    let len = socket.recv(&mut reply).unwrap();
    reply.truncate(len);
    reply
}

/// Asks by TCP.
fn ask_tcp(addr: SocketAddr, query: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let len = u16::try_from(query.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len[..], query].concat()).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).unwrap();
    reply
}

/// Longer than any reply takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
