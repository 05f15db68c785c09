//! Any packet gets the right drop or a reply that keeps its limits, and the oracle's answer.
//!
//! The first octet says how: as raw octets, or a well-formed query drawn from the rest, an IXFR or one of
//! class ANY now and then, perhaps with one octet changed; over UDP or TCP.

#![no_main]

use std::sync::{Arc, LazyLock};

use aspen_dns::answer::oracle::Oracle;
use aspen_dns::answer::oracle::compare::difference;
use aspen_dns::answer::oracle::sample::{Draw, ZoneData};
use aspen_dns::answer::oracle::sign::{Chain, sign};
use aspen_dns::catalog::{Catalog, CatalogChange, HoldReason};
use aspen_dns::message::header::{Header, opcode};
use aspen_dns::message::query::find_opt;
use aspen_dns::message::{Section, reader};
use aspen_dns::name::{Name, wire_len};
use aspen_dns::record::{RecordType, Rrset, rdata};
use aspen_dns::responder::opcode::Opcodes;
use aspen_dns::responder::transfer::{AskedTransfer, TransferProgress, Transfer, TransferPolicy};
use aspen_dns::responder::{Peer, Responder, ResponderConfig, Transport, Verdict};
use aspen_dns::wire::kind::ReplyKind;
use aspen_dns::zone::{HashSeed, build};
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::serialize::binary::BinEncodable as _;
use libfuzzer_sys::fuzz_target;

/// The seed of hashes.
const SEED: HashSeed = HashSeed(1);

/// What is served, in three forms.
struct Served {
    /// The zones.
    zones: Vec<ZoneData>,
    /// For the fast answer.
    catalog: Arc<Catalog>,
    /// For the slow one.
    oracle: Oracle,
}

/// Owners below an apex, types and RDATA.
const RECORDS: &[(&str, &str, &str)] = &[
    ("", "SOA", "ns host 1 2 3 4 60"),
    ("", "NS", "ns"),
    ("", "MX", "10 a"),
    ("a", "A", "192.0.2.1"),
    ("a", "AAAA", "2001:db8::1"),
    ("a", "TXT", "text"),
    ("b", "CNAME", "a"),
    ("c", "CNAME", "b"),
    ("loop", "CNAME", "pool"),
    ("pool", "CNAME", "loop"),
    ("*.w", "TXT", "wild"),
    ("*.w", "MX", "1 a.w"),
    ("b.w", "A", "192.0.2.2"),
    ("*.b.w", "CNAME", "x.w"),
    ("*.c", "CNAME", "x.y.d"),
    ("*.*.c", "A", "192.0.2.3"),
    ("b.b.b", "A", "192.0.2.4"),
    ("d", "DNAME", "w"),
    ("occluded.d", "A", "192.0.2.5"),
    ("self", "DNAME", "a.self"),
    ("*.n", "NS", "a"),
    ("s", "NS", "a.s"),
    ("s", "NS", "b.t"),
    ("s", "DS", "1 8 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    ("a.s", "A", "192.0.2.6"),
    ("t", "NS", "b.t"),
    ("b.t", "AAAA", "2001:db8::2"),
    ("sub", "NS", "a.sub"),
    ("a.sub", "A", "192.0.2.7"),
];

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let zone = |apex: &str| {
        let apex = Name::from_text(apex).expect("a name");
        let mut rrsets: Vec<Rrset> = Vec::new();
        for (owner, rtype, text) in RECORDS {
            let owner = Name::from_text(format!("{owner}.{apex}").trim_start_matches('.'));
            let (owner, rtype) = (owner.expect("a name"), rtype.parse().expect("a type"));
            let record = rdata::parse(rtype, text, &apex).expect("RDATA");
            let same = rrsets.iter().position(|set| set.owner == owner && set.rtype == rtype);
            let before = same.map(|at| rrsets.swap_remove(at));
            let before = before.iter().flat_map(|rrset| rrset.rdata.iter().map(<[u8]>::to_vec));
            let all: Vec<Vec<u8>> = before.chain([record]).collect();
            rrsets.push(Rrset::new(owner, rtype, 300, all).expect("an RRset"));
        }
        (apex, rrsets)
    };
    let signed = |apex: &str, chain| {
        let (apex, rrsets) = zone(apex);
        let rrsets = sign(&apex, &rrsets, chain);
        (apex, rrsets)
    };
    // The last one is held: its names are asked for, and never answered from the zone above.
    let zones = vec![
        zone("example"),
        signed("a.example", Chain::Nsec3 { has_opt_out: true }),
        zone("sub.a.example"),
        signed("b.a.example", Chain::Nsec),
        signed("other", Chain::Nsec3 { has_opt_out: false }),
        zone("t.a.example"),
    ];
    let put = |(apex, rrsets): ZoneData| {
        if rrsets.is_empty() {
            return CatalogChange::Hold(apex, HoldReason::Loading);
        }
        CatalogChange::Put(Arc::new(build(apex, SEED, rrsets).expect("a zone")))
    };
    let mut served = zones.clone();
    served.last_mut().expect("there are some").1.clear();
    let catalog = Catalog::new(SEED).with_changes(served.iter().cloned().map(put).collect());
    let catalog = Arc::new(catalog);
    Served { catalog, oracle: Oracle::new(served), zones }
});

/// Draws a well-formed query, perhaps with one octet changed.
fn query(draw: &mut Draw<'_>) -> Vec<u8> {
    let question = draw.question(&SERVED.zones);
    let mut packet = vec![draw.below(255), 2, draw.below(2), 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&question.qname);
    let is_ixfr = draw.below(16) == 15;
    let qtype = if is_ixfr { RecordType::IXFR } else { question.qtype };
    packet.extend_from_slice(&qtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, if draw.below(16) == 15 { 255 } else { 1 }]);
    if is_ixfr {
        // The SOA that its asker has (RFC 1995 section 3), of the question's name; both names are the root.
        packet[9] = 1;
        packet.extend_from_slice(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0\0\0\0");
        packet.push(draw.below(4));
        packet.extend_from_slice(&[0; 16]);
    }
    let size = [0_u16, 512, 600, 1_232, 4_096, 65_535][usize::from(draw.below(6))];
    let head = [&[0, 0, 41][..], &size.to_be_bytes(), &[0, draw.below(20) / 19]].concat();
    let flags = [if question.is_dnssec_ok { 0x80 } else { 0 }, 0];
    match draw.below(4) {
        0 => {}
        1 => {
            packet[11] = 1;
            packet.extend([&head[..], &flags, b"\0\x04\0\x03\0\0"].concat());
        }
        _ => {
            packet[11] = 1;
            packet.extend([&head[..], &flags, b"\0\0"].concat());
        }
    }
    if draw.below(8) == 7 {
        let at = usize::from(draw.below(255)) % packet.len();
        packet[at] = draw.below(255);
    }
    packet
}

/// Whether the options of an OPT record at the root add up; hickory-proto is lenient there.
fn has_whole_options(record: &[u8]) -> bool {
    let Some(len) = record.get(9..11) else { return false };
    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    let Some(mut options) = record.get(11..11 + len) else { return false };
    while let [_, _, high, low, rest @ ..] = options {
        let Some(rest) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else {
            return false;
        };
        options = rest;
    }
    options.is_empty()
}

/// Returns name, type and DO of a packet that is plainly a query for data.
fn well_formed(packet: &[u8]) -> Option<(Vec<u8>, RecordType, bool)> {
    let message = Message::from_vec(packet).ok()?;
    let len = wire_len(packet.get(12..)?).ok()?;
    let class_at = 12 + len + 2;
    let tail = packet.get(class_at - 2..class_at + 2)?;
    let qtype = RecordType(u16::from_be_bytes([tail[0], tail[1]]));
    let is_query = message.metadata.message_type == MessageType::Query
        && message.metadata.op_code == OpCode::Query
        && message.queries.len() == 1
        && packet[4..6] == [0, 1]
        && tail[2..] == [0, 1]
        && message.answers.is_empty()
        && message.authorities.is_empty()
        && message.additionals.is_empty()
        && message.signature.is_none()
        && message.edns.as_ref().is_none_or(|edns| edns.version() == 0)
        && (message.edns.is_none() || has_whole_options(&packet[class_at + 2..]))
        && (!qtype.is_meta() || qtype == RecordType::ANY);
    let is_dnssec_ok = message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    is_query.then(|| (packet[12..12 + len].to_vec(), qtype, is_dnssec_ok))
}

/// Reads the messages of a transfer that may begin.
fn transfer(packet: &[u8], asked: &AskedTransfer) {
    let transfer = Transfer::begin(Arc::clone(&SERVED.catalog), packet, asked);
    let (mut transfer, mut out) = (transfer.expect("the zone is served"), Vec::new());
    for _ in 0..1_000 {
        let progress = transfer.next_message(&mut out);
        let message = reader::Message::read(&out).expect("what we write we read");
        message.rrsets(Section::Answer).expect("and its records");
        match progress {
            TransferProgress::More => {}
            TransferProgress::Last => return,
            TransferProgress::Impossible => panic!("all records are short"),
        }
    }
    panic!("the transfer does not end");
}

/// Checks that hickory-proto would write header, question and OPT record as they stand in the reply, and all
/// records, too, unless it finds another name to compress against.
fn same_as_written_by_another(message: &Message, reply: &[u8]) {
    let again = message.to_vec().expect("hickory-proto writes what it has read");
    let question_len = message.queries.iter().map(|query| query.name().len() + 4).sum::<usize>();
    let front_len = 12 + question_len;
    assert_eq!(reply[..front_len], again[..front_len]);
    if let Some(edns) = &message.edns {
        let opt_len = edns.to_bytes().expect("an OPT record").len();
        assert_eq!(reply[reply.len() - opt_len..], again[again.len() - opt_len..]);
    }
    if reply.len() == again.len() {
        assert_eq!(reply, again);
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((&mode, rest)) = octets.split_first() else { return };
    let packet = if mode & 1 == 0 { rest.to_vec() } else { query(&mut Draw::new(rest)) };
    let transport = if mode & 2 == 0 { Transport::Udp } else { Transport::Tcp };
    let identity = (mode & 4 != 0).then(|| "edge-1.example".to_owned());
    let (has_rotation, has_full_replies) = (mode & 8 != 0, mode & 16 != 0);
    let version = identity.clone();
    // Whoever asks from this program may transfer zones, and NOTIFY is taken by somebody.
    let transfers = TransferPolicy::new(["::1/128".parse().expect("a network")]);
    let handed = Opcodes::default().with(opcode::NOTIFY);
    let config =
        ResponderConfig { version, identity, has_rotation, has_full_replies, transfers, handed };
    let responder = Responder::new(config);
    let mut reply = Vec::new();
    let peer = Peer::in_process(transport);
    let verdict = responder.respond(&SERVED.catalog, &packet, &peer, &mut reply);
    let is_dropped = packet.len() < 12 || packet[2] & 0x80 != 0;
    let Some(facts) = verdict.facts() else {
        assert!(is_dropped && reply.is_empty());
        return;
    };
    assert!(!is_dropped);
    if let Verdict::Transfer(asked) = verdict {
        assert!(transport.can_transfer());
        transfer(&packet, &asked);
    }
    if let Verdict::Hand(handed) = verdict {
        assert_eq!((handed.opcode, facts.rcode), (opcode::NOTIFY, 4));
    }
    assert_eq!(facts.kind == ReplyKind::NxDomain, facts.rcode == 3);
    let message = Message::from_vec(&reply).expect("hickory-proto reads the reply");
    same_as_written_by_another(&message, &reply);
    assert_eq!(u16::from(message.metadata.response_code), facts.rcode);
    assert_eq!((&reply[..2], reply[2] & 0xf8), (&packet[..2], packet[2] & 0x78 | 0x80));
    if message.queries.len() == 1 {
        let len = wire_len(&reply[12..]).expect("a name") + 4;
        assert_eq!(reply[12..12 + len], packet[12..12 + len]);
    }
    let offered = Header::read(&packet).and_then(|header| find_opt(&packet, &header));
    let limit = match transport {
        Transport::Udp => offered.map_or(512, |edns| edns.udp_octets.clamp(512, 1_232)),
        _ => 65_535,
    };
    let limit = usize::from(limit);
    assert!(reply.len() <= limit, "{} octets", reply.len());
    let Some((qname, qtype, is_dnssec_ok)) = well_formed(&packet) else { return };
    // A full reply has more than the oracle says.
    if !facts.is_truncated && !has_full_replies {
        let expected = SERVED.oracle.answer(&qname, qtype, is_dnssec_ok);
        let difference = difference(&expected, &reply);
        assert!(difference.is_none(), "{qtype}\n{}", difference.unwrap_or_default());
    }
});
