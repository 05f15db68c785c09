//! Sweeps over what a packet can say: every type, opcode and class, names at their limits, answers as
//! large as a message, counts that lie. Each gets an answer that hickory-proto reads, or the right drop.

use std::sync::Arc;

use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::limits::{MESSAGE_OCTETS_MAX, UDP_OCTETS_MAX, UDP_PLAIN_OCTETS_MAX};
use aspen_dns::message::rcode;
use aspen_dns::name::{Name, parse_labels};
use aspen_dns::record::{RecordType, Rrset, rdata};
use aspen_dns::responder::{Peer, Responder, ResponderConfig, Transport, Verdict};
use aspen_dns::zone::{HashSeed, build};
use hickory_proto::op::Message;

/// The seed of tests.
const SEED: HashSeed = HashSeed(1);
/// A plain OPT record, and one with the DO bit.
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
/// An OPT record with the DO bit.
const OPT_DO: &[u8] = b"\0\0\x29\xff\xff\0\0\x80\0\0\0";

/// Records of the zone `example.`.
const ZONE: &[(&str, &str, &str)] = &[
    ("example.", "SOA", "ns.x.test. host.x.test. 1 2 3 4 60"),
    ("example.", "NS", "ns.x.test."),
    ("www.example.", "A", "192.0.2.1"),
    ("alias.example.", "CNAME", "www.example."),
    ("*.wild.example.", "TXT", "w"),
    ("cut.example.", "NS", "ns.cut.example."),
    ("ns.cut.example.", "A", "192.0.2.2"),
    ("dname.example.", "DNAME", "example."),
];

/// Reads a name.
fn name(text: &str) -> Name {
    Name::from_text(text).expect(text)
}

/// Makes a catalog of the zone and further RRsets.
fn catalog(further: Vec<Rrset>) -> Catalog {
    let rrsets = ZONE.iter().map(|&(owner, rtype, text)| {
        let rtype: RecordType = rtype.parse().expect(rtype);
        let rdata = rdata::parse(rtype, text, &Name::root()).expect(text);
        Rrset::new(name(owner), rtype, 300, [rdata]).expect(owner)
    });
    let zone = build(name("example."), SEED, rrsets.chain(further).collect()).expect("a zone");
    Catalog::new(SEED).with_changes(vec![CatalogChange::Put(Arc::new(zone))])
}

/// Makes a query of class IN with `tail` behind the question, one record or nothing.
fn query(qname: &str, qtype: u16, tail: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!tail.is_empty())];
    parse_labels(qname.as_bytes(), &mut packet).expect(qname);
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(tail);
    packet
}

/// Sends a packet, checks what every reply keeps, and returns the rcode and the message.
fn ask(catalog: &Catalog, packet: &[u8], transport: Transport) -> (u16, Message) {
    let mut reply = Vec::new();
    let verdict =
        Responder::default().respond(catalog, packet, &Peer::in_process(transport), &mut reply);
    let Verdict::Reply(facts) = verdict else { panic!("no reply to {}", packet.escape_ascii()) };
    let limit = match transport {
        Transport::Udp if packet.ends_with(OPT) => UDP_OCTETS_MAX,
        Transport::Udp => UDP_PLAIN_OCTETS_MAX,
        _ => MESSAGE_OCTETS_MAX,
    };
    assert!(reply.len() <= limit, "{} octets", reply.len());
    assert_eq!((&reply[..2], reply[2] & 0xf8), (&packet[..2], packet[2] & 0x78 | 0x80));
    let message = Message::from_vec(&reply).unwrap_or_else(|error| {
        panic!("{error} in the reply to {}", packet.escape_ascii());
    });
    assert_eq!(facts.is_truncated, message.metadata.truncation);
    assert_eq!(facts.rcode, u16::from(message.metadata.response_code));
    (facts.rcode, message)
}

#[test]
fn every_type_gets_an_answer() {
    let catalog = catalog(Vec::new());
    for qtype in 0..=u16::MAX {
        let tail = if qtype % 2 == 0 { OPT } else { b"" };
        let is_data = !RecordType(qtype).is_meta() || qtype == 255;
        for qname in ["www.example.", "x.wild.example.", "x.cut.example.", "nx.example."] {
            let (rcode, message) = ask(&catalog, &query(qname, qtype, tail), Transport::Udp);
            if is_data {
                let is_missing = qname == "nx.example.";
                assert_eq!(rcode, if is_missing { rcode::NXDOMAIN } else { 0 }, "{qtype}");
                assert!(message.answers.len() + message.authorities.len() > 0, "{qtype}");
            }
        }
    }
}

#[test]
fn every_opcode_and_class_gets_an_answer() {
    let catalog = catalog(Vec::new());
    for opcode in 0..16_u8 {
        for class in (0..=300).chain([0x7fff, 0xfeff, 0xff00, 0xffff]) {
            for qtype in [1, 2, 6, 16, 41, 43, 250, 252, 255, 65_280] {
                let mut packet = query("www.example.", qtype, b"");
                packet[2] = opcode << 3 | 1;
                let class_at = packet.len() - 2;
                packet[class_at..].copy_from_slice(&u16::to_be_bytes(class));
                let (rcode, message) = ask(&catalog, &packet, Transport::Udp);
                let is_served = opcode == 0 && matches!(class, 1 | 255);
                if !is_served {
                    assert_ne!(rcode, rcode::NOERROR, "opcode {opcode} class {class} {qtype}");
                    assert_eq!(message.answers.len() + message.authorities.len(), 0);
                }
            }
        }
    }
}

#[test]
fn every_type_and_every_class_gets_an_answer_with_every_opcode() {
    let catalog = catalog(Vec::new());
    let (responder, mut reply) = (Responder::default(), Vec::new());
    let mut packet = query("www.example.", 0, b"");
    let type_at = packet.len() - 4;
    for opcode in 0..16_u8 {
        packet[2] = opcode << 3;
        for number in 0..=u16::MAX {
            // An odd factor: every type comes once, and so does every class.
            let (qtype, class) = (number, number.wrapping_mul(40_503).wrapping_add(1));
            packet[type_at..type_at + 2].copy_from_slice(&qtype.to_be_bytes());
            packet[type_at + 2..].copy_from_slice(&class.to_be_bytes());
            let peer = Peer::in_process(Transport::Udp);
            let verdict = responder.respond(&catalog, &packet, &peer, &mut reply);
            let Verdict::Reply(facts) = verdict else { panic!("{opcode} {qtype} {class}") };
            assert_eq!((&reply[..2], reply[2] & 0xf8), (&packet[..2], 0x80 | opcode << 3));
            assert_eq!(reply[12..packet.len()], packet[12..], "{opcode} {qtype} {class}");
            if opcode != 0 {
                assert_eq!((facts.rcode, reply.len()), (rcode::NOTIMP, packet.len()));
            } else if !matches!(class, 1 | 255) {
                assert_eq!((facts.rcode, reply.len()), (rcode::REFUSED, packet.len()), "{class}");
            }
        }
    }
}

#[test]
fn a_response_is_never_answered() {
    let catalog = catalog(Vec::new());
    for flags in 0..=0x7f_u8 {
        let mut packet = query("www.example.", 1, b"");
        packet[2] = 0x80 | flags;
        let (peer, mut reply) = (Peer::in_process(Transport::Udp), Vec::new());
        let verdict = Responder::default().respond(&catalog, &packet, &peer, &mut reply);
        assert!(matches!(verdict, Verdict::Drop(_)), "{flags:#x}");
        assert!(reply.is_empty());
    }
}

#[test]
fn names_in_questions_may_be_as_long_as_names_are() {
    let catalog = catalog(Vec::new());
    let raw = |octets: &[u8]| {
        let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&head[..], octets, &[0, 1, 0, 1]].concat()
    };
    let labels = |lens: &[u8]| {
        let mut wire = Vec::new();
        for &len in lens {
            wire.push(len);
            wire.extend(std::iter::repeat_n(b'a', usize::from(len)));
        }
        [&wire[..], b"\x07example\0"].concat()
    };
    for (lens, expected) in [
        (&[63][..], rcode::NXDOMAIN),
        (&[64], rcode::FORMERR),
        (&[63, 63, 63, 53], rcode::NXDOMAIN),
        (&[63, 63, 63, 54], rcode::FORMERR),
        (&[1; 123], rcode::NXDOMAIN),
        (&[1; 124], rcode::FORMERR),
        (&[0x80], rcode::FORMERR),
        (&[0xc0], rcode::FORMERR),
    ] {
        let packet = raw(&labels(lens));
        let mut reply = Vec::new();
        let peer = Peer::in_process(Transport::Udp);
        let verdict = Responder::default().respond(&catalog, &packet, &peer, &mut reply);
        let Verdict::Reply(facts) = verdict else { panic!("no reply: {lens:?}") };
        assert_eq!(facts.rcode, expected, "{lens:?}");
        assert!(Message::from_vec(&reply).is_ok(), "{lens:?}");
    }
}

#[test]
fn an_rrset_of_ten_thousand_records_is_truncated_and_one_of_four_thousand_is_sent() {
    let a = |owner: &str, count: u16| {
        let rdata = (0..count).map(|i| [&[192, 0], &i.to_be_bytes()[..]].concat());
        Rrset::new(name(owner), RecordType::A, 300, rdata).expect("an RRset")
    };
    let mx = |owner: &str, count: u16| {
        let host = |i| [&[0, 1, 5][..], format!("{i:05}").as_bytes(), b"\x07example\0"].concat();
        Rrset::new(name(owner), RecordType::MX, 300, (0..count).map(host)).expect("an RRset")
    };
    let catalog = catalog(vec![
        a("a10000.example.", 10_000),
        a("a4000.example.", 4_000),
        mx("mx10000.example.", 10_000),
        mx("mx2500.example.", 2_500),
    ]);
    for (below, qtype, count) in [("a", 1, 4_000), ("mx", 15, 2_500)] {
        let many = query(&format!("{below}10000.example."), qtype, OPT);
        let fits = query(&format!("{below}{count}.example."), qtype, OPT);
        // Asked through a DNAME, the records are written anew.
        let again = query(&format!("{below}{count}.dname.example."), qtype, OPT);
        let again_many = query(&format!("{below}10000.dname.example."), qtype, OPT);
        for (packet, aliases) in [(&many, 0), (&again_many, 2)] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let (rcode, message) = ask(&catalog, packet, transport);
                assert_eq!((rcode, message.metadata.truncation), (rcode::NOERROR, true));
                assert_eq!(message.answers.len(), aliases);
            }
        }
        for (packet, aliases) in [(&fits, 0), (&again, 2)] {
            let (_, message) = ask(&catalog, packet, Transport::Tcp);
            assert!(!message.metadata.truncation);
            assert_eq!(message.answers.len(), count + aliases);
        }
    }
}

#[test]
fn a_message_is_filled_to_its_last_octet() {
    // Header and question take 31 octets, a record 12 and its RDATA.
    let txt = |owner: &str, octets: usize| {
        let rdata: Vec<u8> = std::iter::repeat_n([&[255][..], &[b'x'; 255]].concat(), 255)
            .flatten()
            .chain([(octets - 65_281) as u8])
            .chain(vec![b'y'; octets - 65_281])
            .collect();
        Rrset::new(name(owner), RecordType::TXT, 300, [rdata]).expect("an RRset")
    };
    let head = 12 + "bigger.example.".len() + 1 + 4 + 12;
    let fits = MESSAGE_OCTETS_MAX - head;
    let catalog = catalog(vec![txt("exact1.example.", fits), txt("bigger.example.", fits + 1)]);
    let mut reply = Vec::new();
    let peer = Peer::in_process(Transport::Tcp);
    let packet = query("exact1.example.", 16, b"");
    Responder::default().respond(&catalog, &packet, &peer, &mut reply);
    assert_eq!(reply.len(), MESSAGE_OCTETS_MAX);
    let (_, message) = ask(&catalog, &packet, Transport::Tcp);
    assert_eq!((message.answers.len(), message.metadata.truncation), (1, false));
    let (_, message) = ask(&catalog, &query("bigger.example.", 16, b""), Transport::Tcp);
    assert_eq!((message.answers.len(), message.metadata.truncation), (0, true));
    let (_, message) = ask(&catalog, &query("exact1.example.", 16, OPT), Transport::Tcp);
    assert_eq!((message.answers.len(), message.metadata.truncation), (0, true));
}

#[test]
fn names_behind_what_a_pointer_reaches_are_written_out() {
    // 14 bits reach 16,383 octets; the signatures of two aliases take more.
    let cname = |owner: &str, target: &str| {
        let target = name(target).as_wire().to_vec();
        Rrset::new(name(owner), RecordType::CNAME, 300, [target]).expect("an RRset")
    };
    let sigs = |owner: &str| {
        let sig =
            |i: u8| [&[0, 5, 8, 2, 0, 0, 1, 44][..], &[0; 10], &[0], &vec![i; 2_000]].concat();
        Rrset::new(name(owner), RecordType::RRSIG, 300, (0..9).map(sig)).expect("an RRset")
    };
    let mx = [&[0, 5][..], name("mail.far.example.").as_wire()].concat();
    let catalog = catalog(vec![
        cname("one.example.", "two.example."),
        sigs("one.example."),
        cname("two.example.", "the.far.example."),
        sigs("two.example."),
        Rrset::new(name("the.far.example."), RecordType::MX, 300, [mx]).expect("an RRset"),
        cname("three.example.", "two.wildly.example."),
        sigs("three.example."),
        cname("*.wildly.example.", "x.wildest.example."),
        sigs("*.wildly.example."),
        cname("*.wildest.example.", "x.dname.example."),
        cname("four.example.", "x.cut.example."),
        sigs("four.example."),
    ]);
    let owners = |qname: &str, qtype: u16| {
        let (rcode, message) = ask(&catalog, &query(qname, qtype, OPT_DO), Transport::Tcp);
        assert_eq!(rcode % 3, 0);
        let sections = [&message.answers, &message.authorities, &message.additionals];
        let mut owners: Vec<String> = sections
            .iter()
            .flat_map(|records| records.iter())
            .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
            .filter(|text| !text.contains(" RRSIG "))
            .collect();
        owners.dedup();
        owners
    };
    let soa = "example. SOA ns.x.test. host.x.test. 1 2 3 4 60";
    let aliases = ["one.example. CNAME two.example.", "two.example. CNAME the.far.example."];
    let mail = "the.far.example. MX 5 mail.far.example.";
    assert_eq!(owners("one.example.", 15), [aliases[0], aliases[1], mail]);
    assert_eq!(owners("one.example.", 1), [aliases[0], aliases[1], soa]);
    let chain = owners("three.example.", 1);
    assert_eq!(chain[1], "two.wildly.example. CNAME x.wildest.example.");
    assert_eq!(chain[2], "x.wildest.example. CNAME x.dname.example.");
    assert!(chain[3].starts_with("dname.example. DNAME "));
    assert_eq!(chain[4..], ["x.dname.example. CNAME x.example.", soa]);
    let referral = ["cut.example. NS ns.cut.example.", "ns.cut.example. A 192.0.2.2"];
    assert_eq!(owners("four.example.", 1)[1..], referral);
}

#[test]
fn counts_that_lie_are_malformed_and_cost_nothing() {
    let catalog = catalog(Vec::new());
    for section in 0..4 {
        for count in [2, 255, 65_535_u16] {
            let mut packet = query("www.example.", 1, b"");
            packet[4 + section * 2..6 + section * 2].copy_from_slice(&count.to_be_bytes());
            assert_eq!(ask(&catalog, &packet, Transport::Udp).0, rcode::FORMERR, "{section}");
            packet.truncate(12);
            assert_eq!(ask(&catalog, &packet, Transport::Udp).0, rcode::FORMERR, "{section}");
        }
    }
    for len in 0..12 {
        let (peer, mut reply) = (Peer::in_process(Transport::Udp), Vec::new());
        let verdict = Responder::default().respond(&catalog, &vec![0; len], &peer, &mut reply);
        assert!(matches!(verdict, Verdict::Drop(_)), "{len}");
    }
}

#[test]
fn a_long_identity_leaves_room_for_the_longest_question() {
    let catalog = catalog(Vec::new());
    let identity = Some("i".repeat(2_000));
    let responder = Responder::new(ResponderConfig { identity, ..ResponderConfig::default() });
    let label = "a".repeat(63);
    let qname = format!("{label}.{label}.{label}.{}.example.", "a".repeat(53));
    let packet = query(&qname, 1, b"\0\0\x29\0\0\0\0\0\0\0\x04\0\x03\0\0");
    let mut reply = Vec::new();
    responder.respond(&catalog, &packet, &Peer::in_process(Transport::Udp), &mut reply);
    assert!(reply.len() <= UDP_PLAIN_OCTETS_MAX);
    assert!(Message::from_vec(&reply).expect("hickory reads it").edns.is_some());
}
