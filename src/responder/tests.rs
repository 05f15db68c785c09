//! What becomes of messages: refusals, kinds of replies, transfers.

use std::sync::Arc;

use super::batch::QueryBatch;
use super::transfer::{Transfer, TransferProgress};
use super::*;
use crate::catalog::CatalogChange;
use crate::message::Section;
use crate::message::reader::Message;
use crate::message::tsig;
use crate::message::writer::MessageWriter;
use crate::name::Name;
use crate::record::master::{MasterOptions, read_zone};
use crate::zone::{HashSeed, build};

const ZONE: &str = "@ SOA ns h 7 2 3 4 60
@ NS ns
ns A 192.0.2.1
a.ent A 192.0.2.2
alias CNAME no
cut NS ns.cut
ns.cut A 192.0.2.3
";

/// Serves `example.` from a master file.
fn catalog(text: &str) -> Catalog {
    let origin = Name::from_text("example.").expect("a name");
    let parsed = read_zone(text.as_bytes(), &origin, MasterOptions::default(), &mut |_| {});
    let parsed = parsed.expect("a master file");
    let zone = build(parsed.apex, HashSeed(1), parsed.rrsets).expect("a zone");
    Catalog::new(HashSeed(1)).with_changes(vec![CatalogChange::Put(Arc::new(zone))])
}

/// Makes a query; `tail` is one more record, in the additional section.
fn query(qname: &str, qtype: &str, tail: Option<&[u8]>) -> Vec<u8> {
    let (qname, mut packet) = (Name::from_text(qname).expect("a name"), Vec::new());
    let mut writer = MessageWriter::new(&mut packet, 0x1234, 0, 0, 512);
    let asked = writer.push_question(&qname, qtype.parse().expect("a type"), CLASS_IN);
    asked.expect("room");
    writer.finish();
    packet[11] = u8::from(tail.is_some());
    packet.extend_from_slice(tail.unwrap_or_default());
    packet
}

fn ask(responder: &Responder, catalog: &Catalog, packet: &[u8], peer: &Peer) -> (Verdict, Vec<u8>) {
    let mut reply = Vec::new();
    (responder.respond(catalog, packet, peer, &mut reply), reply)
}

const UDP: Peer = Peer::in_process(Transport::Udp);
const TCP: Peer = Peer::in_process(Transport::Tcp);

#[test]
fn a_key_that_is_not_known_is_told_so_without_a_signature() {
    let catalog = catalog(ZONE);
    let rdata = b"\x0bhmac-sha256\0\0\0\x65\0\0\0\x01\x2c\0\x02ab\x12\x34\0\0\0\0";
    let head = b"\x03key\x07example\0\0\xfa\0\xff\0\0\0\0\0";
    let tsig = [&head[..], &[rdata.len() as u8], rdata].concat();
    for peer in [UDP, TCP] {
        let packet = query("ns.example.", "A", Some(&tsig));
        let (verdict, reply) = ask(&Responder::default(), &catalog, &packet, &peer);
        let message = Message::read(&reply).expect("a whole message");
        assert_eq!(verdict.facts().map(|facts| facts.rcode), Some(rcode::NOTAUTH));
        assert_eq!(message.header().counts(), [1, 0, 0, 1]);
        let said = message.tsig().expect("a TSIG record");
        assert_eq!((said.error, said.mac), (tsig::BADKEY, &b""[..]));
        assert_eq!((said.algorithm, said.original_id), (&b"\x0bhmac-sha256\0"[..], 0x1234));
        assert_eq!((said.signed_at_s, said.fudge_s), (0x6500_0000, 300));
    }
    // One that is cut short is no TSIG record (RFC 8945 section 5.2).
    let cut = [&head[..], &[2], &rdata[..2]].concat();
    let (verdict, _) = ask(&Responder::default(), &catalog, &query(".", "A", Some(&cut)), &UDP);
    assert_eq!(verdict.facts().map(|facts| facts.rcode), Some(rcode::FORMERR));
    // Where the longest names leave no room in a datagram, the refusal goes without it.
    let label = |octet: u8| [&[63][..], &[octet; 63]].concat();
    let long = [&label(b'a')[..], &label(b'b'), &label(b'c'), &[61], &[b'd'; 61], &[0]].concat();
    let rdata = [&long[..], &[0; 16]].concat();
    let len = u16::try_from(rdata.len()).expect("short").to_be_bytes();
    let tsig = [&long[..], b"\0\xfa\0\xff\0\0\0\0", &len, &rdata].concat();
    let packet = query("ns.example.", "A", Some(&tsig));
    let (_, reply) = ask(&Responder::default(), &catalog, &packet, &UDP);
    let message = Message::read(&reply).expect("a whole message");
    assert_eq!((message.rcode(), message.tsig().is_none()), (rcode::NOTAUTH, true));
}

#[test]
fn who_sends_an_opt_record_gets_one_with_every_error() {
    let (catalog, responder) = (catalog(ZONE), Responder::default());
    let check = |packet: &[u8], rcode: u16| {
        let (verdict, reply) = ask(&responder, &catalog, packet, &UDP);
        let message = Message::read(&reply).expect("a whole message");
        assert_eq!(verdict.facts().map(|facts| facts.rcode), Some(rcode), "{packet:?}");
        let edns = message.edns().expect("an OPT record");
        assert!(edns.is_dnssec_ok && edns.version == 0, "{packet:?}");
        assert_eq!(message.rcode(), rcode);
    };
    let opt = |version: u8, options: &[u8]| {
        let len = [0, options.len() as u8];
        [&[0, 0, 41, 4, 208, 0, version, 128, 0][..], &len, options].concat()
    };
    // RFC 6891 section 7; options of a version that is not known cannot be judged.
    let cut = &[0, 10, 0, 9, 1][..];
    check(&query("ns.example.", "A", Some(&opt(0, cut))), rcode::FORMERR);
    check(&query("ns.example.", "A", Some(&opt(1, cut))), rcode::BADVERS);
    check(&query("ns.example.", "A", Some(&opt(7, b""))), rcode::BADVERS);
    for (version, malformed, other) in
        [(0, rcode::FORMERR, rcode::NOTIMP), (1, rcode::BADVERS, rcode::BADVERS)]
    {
        // No opcode matters where the version is not known.
        let mut packet = query("ns.example.", "A", Some(&opt(version, b"")));
        for opcode in [2, 4, 5] {
            packet[2] = opcode << 3;
            check(&packet, other);
        }
        // No question, and two.
        packet[2] = 0;
        let question = packet[12..packet.len() - 11].to_vec();
        let mut none = packet.clone();
        none.drain(12..packet.len() - 11);
        none[5] = 0;
        check(&none, malformed);
        packet.splice(12..12, question);
        packet[5] = 2;
        check(&packet, malformed);
    }
}

#[test]
fn the_reply_before_is_gone_when_a_packet_is_dropped() {
    let (catalog, responder) = (catalog(ZONE), Responder::default());
    let mut response = query("ns.example.", "A", None);
    response[2] |= 0x80;
    for packet in [&response[..], &response[..11]] {
        let mut reply = b"of the packet before".to_vec();
        let verdict = responder.respond(&catalog, packet, &UDP, &mut reply);
        assert!(matches!(verdict, Verdict::Drop(_)) && reply.is_empty(), "{packet:?}");
    }
}

#[test]
fn a_reply_is_of_the_kind_that_its_asker_sees() {
    let catalog = catalog(ZONE);
    for (qname, qtype, kind, has_zone) in [
        ("ns.example.", "A", ReplyKind::Answer, true),
        ("ns.example.", "MX", ReplyKind::NoData, true),
        ("ent.example.", "A", ReplyKind::NoData, true),
        ("no.example.", "A", ReplyKind::NxDomain, true),
        ("alias.example.", "A", ReplyKind::NxDomain, true),
        ("alias.example.", "CNAME", ReplyKind::Answer, true),
        ("x.cut.example.", "A", ReplyKind::Referral, true),
        ("cut.example.", "DS", ReplyKind::NoData, true),
        ("test.", "A", ReplyKind::Error, false),
        ("example.", "AXFR", ReplyKind::Error, false),
        ("example.", "IXFR", ReplyKind::Error, false),
    ] {
        let (verdict, reply) =
            ask(&Responder::default(), &catalog, &query(qname, qtype, None), &UDP);
        let facts = verdict.facts().expect("a reply");
        assert_eq!((facts.kind, facts.zone.is_some()), (kind, has_zone), "{qname} {qtype}");
        assert_eq!(Message::read(&reply).map(|message| message.rcode()), Ok(facts.rcode));
    }
}

#[test]
fn a_transfer_may_begin_for_whom_it_is_allowed_and_is_refused_until_it_does() {
    let catalog = Arc::new(catalog(ZONE));
    let networks: Vec<_> = vec!["192.0.2.0/24".parse().expect("a network")];
    let transfers = TransferPolicy::new(networks);
    let responder = Responder::new(ResponderConfig { transfers, ..ResponderConfig::default() });
    let from = |source: &str, transport| {
        let source = SocketAddr::new(source.parse().expect("an address"), 53);
        Peer { source, transport, now_s: 0 }
    };
    let packet = query("Example.", "AXFR", None);
    for (peer, may) in [
        (from("192.0.2.9", Transport::Tcp), true),
        (from("192.0.2.9", Transport::Tls), true),
        (from("192.0.2.9", Transport::Quic), true),
        (from("192.0.2.9", Transport::Https), false),
        (from("192.0.2.9", Transport::Udp), false),
        (from("198.51.100.1", Transport::Tcp), false),
    ] {
        let (verdict, reply) = ask(&responder, &catalog, &packet, &peer);
        assert_eq!(reply[3] & 15, 5, "until it begins it is refused");
        assert_eq!(matches!(verdict, Verdict::Transfer(_)), may, "{peer:?}");
        let Verdict::Transfer(asked) = verdict else { continue };
        assert!(asked.begun().zone.is_some(), "the zone answers");
        let transfer = Transfer::begin(Arc::clone(&catalog), &packet, &asked);
        let (mut transfer, mut out) = (transfer.expect("a zone"), Vec::new());
        assert_eq!(transfer.next_message(&mut out), TransferProgress::Last);
        let message = Message::read(&out).expect("a whole message");
        let rrsets = message.rrsets(Section::Answer).expect("whole records");
        let soas = rrsets.iter().filter(|rrset| rrset.rtype == RecordType::SOA);
        assert_eq!((soas.count(), asked.begun().rcode), (2, rcode::NOERROR));
    }
}

/// Makes an IXFR query for `qname` whose asker has serial 1; `opt` is one more record.
fn ixfr_query(qname: &str, opt: &[u8]) -> Vec<u8> {
    let mut packet = query(qname, "IXFR", None);
    (packet[9], packet[11]) = (1, u8::from(!opt.is_empty()));
    let rdata = [&[0; 2][..], &1_u32.to_be_bytes(), &[0; 16]].concat();
    packet.extend([b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16", &rdata[..], opt].concat());
    packet
}

#[test]
fn an_ixfr_by_udp_is_answered_with_the_soa_or_with_tc_and_never_too_long() {
    let name = |octet: &str| [63, 63, 60].map(|len| octet.repeat(len)).join(".");
    let text = format!("@ SOA {} {} 7 2 3 4 60\n@ NS ns\n", name("a"), name("b"));
    let catalog = catalog(&text);
    // Header and question, then the SOA: both names end in a pointer to the question.
    let whole_len = 12 + 13 + 12 + 2 * (64 + 64 + 61 + 2) + 20;
    for size in [None, Some(512), Some(600), Some(4_096)] {
        for nsid_len in 0..200 {
            let identity = Some("n".repeat(nsid_len));
            let responder =
                Responder::new(ResponderConfig { identity, ..ResponderConfig::default() });
            let opt = size.map_or(Vec::new(), |size: u16| {
                let head = [&[0, 0, 41][..], &size.to_be_bytes(), &[0; 4]].concat();
                [&head[..], &[0, 4, 0, 3, 0, 0]].concat()
            });
            let opt_len = size.map_or(0, |_| 15 + nsid_len);
            let limit = usize::from(size.unwrap_or(512)).min(UDP_OCTETS_MAX);
            let (verdict, reply) = ask(&responder, &catalog, &ixfr_query("example.", &opt), &UDP);
            let facts = verdict.facts().expect("a reply");
            let fits = whole_len + opt_len <= limit;
            assert_eq!(facts.is_truncated, !fits, "{size:?} {nsid_len}");
            assert_eq!(facts.rcode, rcode::NOERROR);
            assert!(facts.zone.is_some());
            assert!(reply.len() <= limit, "{} octets of {limit}", reply.len());
            let message = Message::read(&reply).expect("a whole message");
            assert_eq!(message.header().counts()[1], u16::from(fits));
            assert_eq!(message.header().flags() & FLAG_TC != 0, !fits);
        }
    }
}

#[test]
fn no_zone_is_transferred_for_class_any() {
    let catalog = catalog(ZONE);
    let transfers = TransferPolicy::new(vec!["::/0".parse().expect("a network")]);
    let responder = Responder::new(ResponderConfig { transfers, ..ResponderConfig::default() });
    for packet in [query("example.", "AXFR", None), ixfr_query("example.", b"")] {
        for peer in [UDP, TCP] {
            let mut any = packet.clone();
            any[12 + b"\x07example\0\0\xfb".len() + 1] = 255;
            let (verdict, _) = ask(&responder, &catalog, &any, &peer);
            assert!(matches!(verdict, Verdict::Reply(_)), "{peer:?}");
            assert_eq!(verdict.facts().map(|facts| facts.rcode), Some(rcode::REFUSED));
        }
        let (verdict, _) = ask(&responder, &catalog, &packet, &TCP);
        assert!(matches!(verdict, Verdict::Transfer(_)));
    }
}

#[test]
fn a_batch_is_answered_as_its_queries_are_alone() {
    let catalog = catalog(ZONE);
    let responder = Responder::default();
    let qnames = ["ns.example.", "no.example.", "test.", "x.cut.example.", "alias.example."];
    let mut packets: Vec<_> = qnames.map(|qname| query(qname, "A", None)).to_vec();
    packets.push(vec![0; 5]);
    packets.push(packets[0][..14].to_vec());
    packets.extend(vec![packets[1].clone(); crate::limits::WARM_QUERIES_MAX]);
    let mut batch = QueryBatch::default();
    for count in [0, 1, 3, 4, packets.len()] {
        let open = batch.open(&responder, &catalog, packets[..count].iter().map(Vec::as_slice));
        for (index, packet) in packets[..count].iter().enumerate() {
            let mut reply = Vec::new();
            let verdict = open.respond(index, packet, &UDP, &mut reply);
            assert_eq!((verdict, reply), ask(&responder, &catalog, packet, &UDP), "{index}");
        }
    }
}

/// Returns the info codes of the extended errors of a reply.
fn info_codes(reply: &[u8]) -> Vec<u16> {
    let message = Message::read(reply).expect("a message");
    let rdata = message.opt().map_or(&[][..], |opt| opt.rdata());
    crate::message::edns::options(rdata)
        .map(|option| option.expect("an option"))
        .filter(|option| option.code == crate::message::edns::OPTION_EDE)
        .map(|option| u16::from_be_bytes([option.data[0], option.data[1]]))
        .collect()
}

#[test]
fn a_stale_answer_says_so_to_who_has_edns_and_to_nobody_else() {
    // RFC 8914 section 4.4
    let (fresh, responder) = (catalog(ZONE), Responder::default());
    let stale = fresh.with_staleness(Some(Vec::new()));
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    for (qname, codes) in [("ns.example", [3]), ("no.example", [19]), ("x.cut.example", [3])] {
        let asked = query(qname, "A", Some(opt));
        assert_eq!(info_codes(&ask(&responder, &stale, &asked, &UDP).1), codes, "{qname}");
        assert!(info_codes(&ask(&responder, &fresh, &asked, &UDP).1).is_empty());
        let plain = query(qname, "A", None);
        let replies = [&stale, &fresh].map(|catalog| ask(&responder, catalog, &plain, &UDP).1);
        assert_eq!(replies[0], replies[1], "{qname}");
    }
    let own = HashSeed(1).name_hash(Name::from_text("example.").expect("a name").as_wire());
    let other = fresh.with_staleness(Some(vec![own]));
    let asked = query("ns.example", "A", Some(opt));
    assert!(info_codes(&ask(&responder, &other, &asked, &UDP).1).is_empty(), "it is not stale");
}

#[test]
fn a_zone_that_has_expired_is_no_valid_data() {
    // RFC 8914 section 4.25
    let apex = Name::from_text("example.").expect("a name");
    let held = CatalogChange::Hold(apex, HoldReason::Expired);
    let catalog = Catalog::new(HashSeed(1)).with_changes(vec![held]);
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let (verdict, reply) =
        ask(&Responder::default(), &catalog, &query("a.example", "A", Some(opt)), &UDP);
    assert_eq!(verdict.facts().map(|facts| facts.rcode), Some(rcode::SERVFAIL));
    assert_eq!(info_codes(&reply), [24]);
}
