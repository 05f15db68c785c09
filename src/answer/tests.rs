//! Facts about answers: records and a query in, a reply's summary out.

use std::sync::Arc;

use hickory_proto::op::Message;

use crate::catalog::{Catalog, CatalogChange, HoldReason};
use crate::name::Name;
use crate::record::{RecordType, Rrset, rdata};
use crate::responder::{Peer, Responder, ResponderConfig, Transport, Verdict};
use crate::zone::{HashSeed, build};

/// The seed of tests.
const SEED: HashSeed = HashSeed(1);

/// Reads zones from lines `owner TYPE rdata`; an SOA line begins a zone.
pub(super) fn catalog(text: &str) -> Catalog {
    let mut zones: Vec<(Name, Vec<Rrset>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let owner = Name::from_text(word()).expect(line);
        let rtype: RecordType = word().parse().expect(line);
        let rdata = rdata::parse(rtype, word(), &Name::root()).expect(line);
        if rtype == RecordType::SOA {
            zones.push((owner.clone(), Vec::new()));
        }
        let (_, rrsets) = zones.last_mut().expect("an SOA comes first");
        match rrsets.iter_mut().find(|rrset| rrset.owner == owner && rrset.rtype == rtype) {
            Some(rrset) => {
                let records: Vec<Vec<u8>> =
                    rrset.rdata.iter().map(<[u8]>::to_vec).chain([rdata]).collect();
                *rrset = Rrset::new(owner, rtype, 300, records).expect(line);
            }
            None => rrsets.push(Rrset::new(owner, rtype, 300, [rdata]).expect(line)),
        }
    }
    let put =
        |(apex, rrsets)| CatalogChange::Put(Arc::new(build(apex, SEED, rrsets).expect("zone")));
    Catalog::new(SEED).with_changes(zones.into_iter().map(put).collect())
}

/// Makes a query; `tail` is what follows the question, one record.
pub(super) fn query(qname: &str, qtype: &str, tail: Option<&[u8]>) -> Vec<u8> {
    let qtype: RecordType = qtype.parse().expect(qtype);
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(tail.is_some())];
    crate::name::parse_labels(qname.as_bytes(), &mut packet).expect(qname);
    packet.extend_from_slice(&qtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(tail.unwrap_or_default());
    packet
}

/// Sends a query over UDP and returns the reply.
fn ask(catalog: &Catalog, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let mut reply = Vec::new();
    let responder = Responder::new(ResponderConfig::default());
    let peer = Peer::in_process(Transport::Udp);
    (responder.respond(catalog, packet, &peer, &mut reply), reply)
}

/// Sends a query over UDP to a responder with this configuration and returns the reply.
pub(super) fn answer_with(config: ResponderConfig, catalog: &Catalog, packet: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    let peer = Peer::in_process(Transport::Udp);
    let _ = Responder::new(config).respond(catalog, packet, &peer, &mut reply);
    reply
}

/// Summarizes a reply: rcode, flags, then each section's records.
pub(super) fn summary(reply: &[u8]) -> String {
    let message = Message::from_vec(reply).expect("hickory reads the reply");
    assert_eq!(reply[..2], [0x12, 0x34]);
    let mut text = format!("{:?}", message.metadata.response_code).to_uppercase();
    for (flag, name) in
        [(message.metadata.authoritative, " aa"), (message.metadata.truncation, " tc")]
    {
        text.push_str(if flag { name } else { "" });
    }
    for (name, records) in
        [("an", &message.answers), ("au", &message.authorities), ("ad", &message.additionals)]
    {
        for record in records {
            text.push_str(&format!(
                " | {name} {} {} {}",
                record.name,
                record.record_type(),
                record.data
            ));
        }
    }
    text
}

/// Asks `qname TYPE` and compares the summary.
fn check(zones: &str, question: &str, expected: &str) {
    let (qname, qtype) = question.split_once(' ').expect("name and type");
    let (_, reply) = ask(&catalog(zones), &query(qname, qtype, None));
    assert_eq!(summary(&reply), expected, "{question}");
}

const EXAMPLE: &str = "
    example.com SOA ns.example.com. host.example.com. 7 3600 600 86400 60
    example.com NS ns.example.com.
    example.com MX 10 mail.example.com.
    ns.example.com A 192.0.2.1
    mail.example.com A 192.0.2.2
    www.example.com A 192.0.2.3
    www.example.com A 192.0.2.4
    alias.example.com CNAME www.example.com.
    alias2.example.com CNAME alias.example.com.
    out.example.com CNAME www.other.test.
    dangling.example.com CNAME nx.example.com.
    loop.example.com CNAME pool.example.com.
    pool.example.com CNAME loop.example.com.
    a.ent.example.com A 192.0.2.5
    *.wild.example.com TXT \"w\"
    *.wild.example.com MX 5 mail.wild.example.com.
    x.y.wild.example.com A 192.0.2.6
    *.cwild.example.com CNAME www.example.com.
    sub.example.com NS ns.sub.example.com.
    sub.example.com NS ns.sister.example.com.
    ns.sub.example.com A 192.0.2.7
    sister.example.com NS ns.sister.example.com.
    ns.sister.example.com A 192.0.2.8
    dn.example.com DNAME target.example.com.
    www.target.example.com A 192.0.2.9
";
const SOA: &str = "au example.com. SOA ns.example.com. host.example.com. 7 3600 600 86400 60";

#[test]
fn names_that_exist_are_answered() {
    check(
        EXAMPLE,
        "www.example.com. A",
        "NOERROR aa | an www.example.com. A 192.0.2.3 | an www.example.com. A 192.0.2.4",
    );
    check(
        EXAMPLE,
        "wWw.eXample.cOm. A",
        "NOERROR aa | an wWw.eXample.cOm. A 192.0.2.3 | an wWw.eXample.cOm. A 192.0.2.4",
    );
    check(EXAMPLE, "example.com. MX", "NOERROR aa | an example.com. MX 10 mail.example.com.");
}

#[test]
fn absence_is_nodata_or_nxdomain_with_the_soa() {
    check(EXAMPLE, "www.example.com. AAAA", &format!("NOERROR aa | {SOA}"));
    check(EXAMPLE, "ent.example.com. A", &format!("NOERROR aa | {SOA}"));
    check(EXAMPLE, "nx.example.com. A", &format!("NXDOMAIN aa | {SOA}"));
    check(EXAMPLE, "b.ent.example.com. A", &format!("NXDOMAIN aa | {SOA}"));
    check(EXAMPLE, "x.www.example.com. A", &format!("NXDOMAIN aa | {SOA}"));
    check(EXAMPLE, "example.org. A", "REFUSED");
    check(EXAMPLE, ". NS", "REFUSED");
}

#[test]
fn a_zone_of_nothing_but_its_apex_denies_names() {
    let zone = "example.com SOA ns.example.com. host.example.com. 7 3600 600 86400 60";
    check(zone, "x.y.example.com. A", &format!("NXDOMAIN aa | {SOA}"));
    check(zone, "x.example.com. A", &format!("NXDOMAIN aa | {SOA}"));
}

#[test]
fn cname_chains_are_followed_as_far_as_we_know() {
    let www = "| an www.example.com. A 192.0.2.3 | an www.example.com. A 192.0.2.4";
    check(
        EXAMPLE,
        "alias.example.com. A",
        &format!("NOERROR aa | an alias.example.com. CNAME www.example.com. {www}"),
    );
    check(
        EXAMPLE,
        "alias2.example.com. A",
        &format!(
            "NOERROR aa | an alias2.example.com. CNAME alias.example.com. | an alias.example.com. CNAME www.example.com. {www}"
        ),
    );
    check(
        EXAMPLE,
        "alias.example.com. CNAME",
        "NOERROR aa | an alias.example.com. CNAME www.example.com.",
    );
    check(
        EXAMPLE,
        "alias.example.com. MX",
        &format!("NOERROR aa | an alias.example.com. CNAME www.example.com. | {SOA}"),
    );
    check(EXAMPLE, "out.example.com. A", "NOERROR aa | an out.example.com. CNAME www.other.test.");
    check(
        EXAMPLE,
        "dangling.example.com. A",
        &format!("NXDOMAIN aa | an dangling.example.com. CNAME nx.example.com. | {SOA}"),
    );
    check(
        EXAMPLE,
        "loop.example.com. A",
        "NOERROR aa | an loop.example.com. CNAME pool.example.com. | an pool.example.com. CNAME loop.example.com.",
    );
}

#[test]
fn wildcards_follow_rfc_4592() {
    check(EXAMPLE, "q.wild.example.com. TXT", "NOERROR aa | an q.wild.example.com. TXT w");
    check(
        EXAMPLE,
        "p.q.wild.example.com. MX",
        "NOERROR aa | an p.q.wild.example.com. MX 5 mail.wild.example.com.",
    );
    check(EXAMPLE, "q.wild.example.com. A", &format!("NOERROR aa | {SOA}"));
    check(EXAMPLE, "wild.example.com. TXT", &format!("NOERROR aa | {SOA}"));
    check(EXAMPLE, "y.wild.example.com. TXT", &format!("NOERROR aa | {SOA}"));
    check(EXAMPLE, "z.y.wild.example.com. TXT", &format!("NXDOMAIN aa | {SOA}"));
    check(EXAMPLE, "*.wild.example.com. TXT", "NOERROR aa | an *.wild.example.com. TXT w");
    check(
        EXAMPLE,
        "q.cwild.example.com. A",
        "NOERROR aa | an q.cwild.example.com. CNAME www.example.com. | an www.example.com. A 192.0.2.3 | an www.example.com. A 192.0.2.4",
    );
}

#[test]
fn referrals_carry_the_glue_that_the_zone_knows() {
    let referral = "NOERROR | au sub.example.com. NS ns.sub.example.com. | au sub.example.com. NS ns.sister.example.com. | ad ns.sub.example.com. A 192.0.2.7 | ad ns.sister.example.com. A 192.0.2.8";
    check(EXAMPLE, "sub.example.com. A", referral);
    check(EXAMPLE, "a.b.sub.example.com. A", referral);
    check(EXAMPLE, "ns.sub.example.com. A", referral);
    check(EXAMPLE, "sub.example.com. DS", &format!("NOERROR aa | {SOA}"));
}

#[test]
fn dname_redirects_what_is_below_it() {
    check(
        EXAMPLE,
        "www.dn.example.com. A",
        "NOERROR aa | an dn.example.com. DNAME BnRhcmdldAdleGFtcGxlA2NvbQA= | an www.dn.example.com. CNAME www.target.example.com. | an www.target.example.com. A 192.0.2.9",
    );
    check(EXAMPLE, "dn.example.com. A", &format!("NOERROR aa | {SOA}"));
}

#[test]
fn a_dname_that_redirects_twice_is_in_the_answer_once() {
    let zone = "
        e SOA ns.e. h.e. 1 1 1 1 1
        d.e DNAME t.e.
        www.t.e CNAME mail.d.e.
        mail.t.e A 192.0.2.1";
    let dname = "an d.e. DNAME AXQBZQA=";
    let first = "an www.d.e. CNAME www.t.e. | an www.t.e. CNAME mail.d.e.";
    let second = "an mail.d.e. CNAME mail.t.e. | an mail.t.e. A 192.0.2.1";
    check(zone, "www.d.e. A", &format!("NOERROR aa | {dname} | {first} | {second}"));
    let zone = "e SOA ns.e. h.e. 1 1 1 1 1\n d.e DNAME t.e.\n www.t.e CNAME d.e.";
    check(
        zone,
        "www.d.e. DNAME",
        &format!("NOERROR aa | {dname} | an www.d.e. CNAME www.t.e. | an www.t.e. CNAME d.e."),
    );
}

#[test]
fn the_owner_of_an_nsec3_record_encloses_no_name() {
    let zone = "
        example.com SOA ns.example.com. host.example.com. 7 3600 600 86400 60
        *.example.com TXT w
        0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.com NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr";
    let hash = "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.com.";
    check(zone, &format!("{hash} TXT"), &format!("NOERROR aa | an {hash} TXT w"));
    check(zone, &format!("x.{hash} TXT"), &format!("NOERROR aa | an x.{hash} TXT w"));
}

#[test]
fn a_dname_at_the_apex_does_not_occlude_nsec3_records() {
    // RFC 5155 section 3, RFC 6672 section 2.3. The hash of "example" stands in RFC 5155 appendix A.
    let hash = "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom";
    let zone = format!(
        "example SOA ns.test. host.test. 7 3600 600 86400 60
        example DNAME other.test.
        example NSEC3PARAM 1 0 12 aabbccdd
        {hash}.example NSEC3 1 0 12 aabbccdd {hash} SOA DNAME"
    );
    let opt = &b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"[..];
    let (_, reply) = ask(&catalog(&zone), &query("example.", "A", Some(opt)));
    assert!(summary(&reply).contains(&format!("au {hash}.example. NSEC3")));
}

#[test]
fn a_dname_that_makes_a_name_too_long_is_yxdomain() {
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{}", "b".repeat(50));
    let zones = format!("e SOA ns.e. h.e. 1 1 1 1 1\n d.e DNAME {long}.e.");
    let (_, reply) = ask(&catalog(&zones), &query(&format!("{label}.{label}.d.e."), "A", None));
    assert!(summary(&reply).starts_with("YXDOMAIN aa | an d.e. DNAME"));
}

#[test]
fn parent_and_child_on_one_server_answer_each_for_its_own() {
    let zones = "
        example SOA ns.example. h.example. 1 1 1 1 60
        child.example NS ns.child.example.
        child.example DS 1 8 1 000102030405060708090a0b0c0d0e0f10111213
        child.example SOA ns.child.example. h.child.example. 2 1 1 1 60
        child.example A 192.0.2.1";
    check(zones, "child.example. A", "NOERROR aa | an child.example. A 192.0.2.1");
    let (_, reply) = ask(&catalog(zones), &query("child.example.", "DS", None));
    assert!(summary(&reply).starts_with("NOERROR aa | an child.example. DS"));
}

#[test]
fn the_ds_records_of_an_apex_are_asked_of_the_nearest_zone_above() {
    // It refers to the parent, whose the DS records are; NSD, Knot, BIND and PowerDNS agree.
    let zones = "
        example SOA ns.example. h.example. 1 1 1 1 60
        a.example NS ns.test.
        b.a.example SOA ns.example. h.example. 2 1 1 1 60";
    check(zones, "b.a.example. DS", "NOERROR | au a.example. NS ns.test.");
}

#[test]
fn an_nsec3_record_is_no_data_of_the_name_that_its_hash_spells() {
    // RFC 5155 sections 7.1 and 7.2.8: the name's own NSEC3 record has no bit for NSEC3.
    let zone = "
        example SOA ns.example. h.example. 1 1 1 1 60
        2t7b4g4vsa5smi47k61mv5bv1a22bojr.example NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A
        2t7b4g4vsa5smi47k61mv5bv1a22bojr.example TYPE65280 \\# 1 00";
    let owner = "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.";
    check(
        zone,
        &format!("{owner} NSEC3"),
        "NOERROR aa | au example. SOA ns.example. h.example. 1 1 1 1 60",
    );
    let (_, reply) = ask(&catalog(zone), &query(owner, "ANY", None));
    let message = Message::from_vec(&reply).expect("hickory reads it");
    assert_eq!(u16::from(message.answers[0].record_type()), 65_280);
}

#[test]
fn the_target_of_a_dname_is_written_out_again_in_the_cname() {
    let zone = "
        example SOA ns.example. h.example. 1 1 1 1 60
        d.example DNAME target.test.";
    let (_, reply) = ask(&catalog(zone), &query("a.d.example.", "A", None));
    let count = reply.windows(13).filter(|octets| octets == b"\x06target\x04test\0").count();
    assert_eq!(count, 2);
}

#[test]
fn an_answer_of_class_any_is_not_authoritative() {
    let catalog = catalog(EXAMPLE);
    for (qname, rcode) in [("www.example.com.", 0), ("nx.example.com.", 3), ("test.", 5)] {
        let mut packet = query(qname, "A", None);
        let (_, of_in) = ask(&catalog, &packet);
        let class_at = packet.len() - 1;
        packet[class_at] = 255;
        let (_, of_any) = ask(&catalog, &packet);
        assert_eq!((of_any[2] & 4, of_any[3] & 15), (0, rcode), "RFC 1035 section 6.2");
        assert_eq!(of_any[4..12], of_in[4..12], "{qname}");
    }
}

#[test]
fn a_held_apex_is_servfail_and_the_zone_above_never_denies_it() {
    let hold = |apex, reason| CatalogChange::Hold(Name::from_text(apex).expect(apex), reason);
    let catalog = catalog(EXAMPLE).with_changes(vec![
        hold("kid.example.com", HoldReason::Broken),
        hold("sub.example.com", HoldReason::Loading),
        hold("other.test", HoldReason::Loading),
    ]);
    let opt = &b"\0\0\x29\x04\xd0\0\0\0\0\0\0"[..];
    for qname in ["kid.example.com.", "www.kid.example.com.", "SUB.example.com.", "a.other.test."] {
        for qtype in ["A", "SOA", "DS", "ANY", "AXFR"] {
            let (_, reply) = ask(&catalog, &query(qname, qtype, None));
            // The DS records of a cut are the zone's above (RFC 4035 section 3.1.4.1).
            let is_above = qname.starts_with("SUB") && qtype == "DS";
            let expected = if is_above { format!("NOERROR aa | {SOA}") } else { "SERVFAIL".into() };
            assert_eq!(summary(&reply), expected, "{qname} {qtype}");
        }
        let (_, reply) = ask(&catalog, &query(qname, "A", Some(opt)));
        let (info_code, text) = match qname.contains("kid") {
            true => (24, "the zone's data cannot be read"),
            false => (14, "the zone is being loaded"),
        };
        let option = [&[0, 15, 0, 2 + text.len() as u8, 0, info_code], text.as_bytes()].concat();
        assert!(reply.ends_with(&option), "{qname}");
        assert_eq!(summary(&reply), "SERVFAIL");
    }
    // What is beside and above is answered, and an alias leads as far as is known.
    for (question, expected) in [
        ("nokid.example.com.", format!("NXDOMAIN aa | {SOA}")),
        ("www.example.com.", "NOERROR aa | an www.example.com. A 192.0.2.3".to_owned()),
        ("out.example.com.", "NOERROR aa | an out.example.com. CNAME www.other.test.".to_owned()),
    ] {
        let (_, reply) = ask(&catalog, &query(question, "A", None));
        assert!(summary(&reply).starts_with(&expected), "{}", summary(&reply));
    }
    let other = catalog.with_changes(vec![CatalogChange::Remove(
        Name::from_text("kid.example.com").expect("a name"),
    )]);
    let (_, reply) = ask(&other, &query("www.kid.example.com.", "A", None));
    assert_eq!(summary(&reply), format!("NXDOMAIN aa | {SOA}"));
}

#[test]
fn who_is_refused_learns_why_if_it_has_edns() {
    let catalog = catalog(EXAMPLE);
    let opt = &b"\0\0\x29\x04\xd0\0\0\0\0\0\0"[..];
    let class = |class: u8| {
        let mut packet = query("www.example.com.", "A", Some(opt));
        let class_at = packet.len() - opt.len() - 1;
        packet[class_at] = class;
        packet
    };
    for (packet, info_code) in [
        (query("test.", "A", Some(opt)), 20),
        (query("test.", "AXFR", Some(opt)), 20),
        (query("example.com.", "AXFR", Some(opt)), 18),
        (class(3), 21),
        (class(4), 21),
    ] {
        let (_, reply) = ask(&catalog, &packet);
        let edns = Message::from_vec(&reply).expect("hickory reads it").edns;
        assert_eq!(edns.map(|edns| edns.options().as_ref().len()), Some(1));
        assert!(reply.ends_with(&[0, 15, 0, 2, 0, info_code]), "{}", packet.escape_ascii());
    }
    let (_, reply) = ask(&catalog, &query("test.", "A", None));
    assert!(Message::from_vec(&reply).expect("hickory reads it").edns.is_none());
    // The longest question beside the longest identity has no room for it.
    let identity = Some("i".repeat(2_000));
    let responder = Responder::new(ResponderConfig { identity, ..ResponderConfig::default() });
    let label = "a".repeat(63);
    let nsid = &b"\0\0\x29\0\0\0\0\0\0\0\x04\0\x03\0\0"[..];
    let packet = query(&format!("{label}.{label}.{label}.{}.", "a".repeat(61)), "A", Some(nsid));
    let (mut reply, peer) = (Vec::new(), Peer::in_process(Transport::Udp));
    responder.respond(&catalog, &packet, &peer, &mut reply);
    let edns = Message::from_vec(&reply).expect("hickory reads it").edns.expect("an OPT record");
    assert_eq!((reply.len() <= 512, edns.options().as_ref().len()), (true, 1));
}

#[test]
fn queries_that_are_none_get_the_right_rcode_or_silence() {
    let catalog = catalog(EXAMPLE);
    let good = query("www.example.com.", "A", None);
    let with = |at: usize, octet: u8| {
        let mut packet = good.clone();
        packet[at] = octet;
        packet
    };
    let rcode = |packet: &[u8]| {
        let (verdict, reply) = ask(&catalog, packet);
        match verdict {
            Verdict::Reply(facts) => {
                assert_eq!(u16::from(reply[3] & 15), facts.rcode & 15);
                i32::from(facts.rcode)
            }
            Verdict::Drop(_) => -1,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rcode(&good), 0);
    assert_eq!(rcode(&with(2, 0x80)), -1);
    assert_eq!(rcode(&good[..11]), -1);
    assert_eq!(rcode(&with(2, 0x20)), 4, "NOTIFY is not implemented");
    assert_eq!(rcode(&with(5, 2)), 1, "two questions");
    assert_eq!(rcode(&with(5, 0)), 1, "no question");
    assert_eq!(rcode(&good[..20]), 1);
    assert_eq!(rcode(&query("example.com.", "AXFR", None)), 5, "no transfers by UDP");
    assert_eq!(rcode(&query("www.example.com.", "AXFR", None)), 5, "nor of what is no apex");
    assert_eq!(rcode(&query("www.example.com.", "IXFR", None)), 9, "no apex");
    assert_eq!(rcode(&query("example.com.", "IXFR", None)), 1, "no serial");
    assert_eq!(rcode(&query("www.example.com.", "A", Some(b"\0\0\x29\x04\xd0\0\x01\0\0\0\0"))), 16);
}

#[test]
fn a_reply_that_does_not_fit_is_truncated_between_rrsets() {
    let mut zones = String::from("e SOA ns.e. h.e. 1 1 1 1 60\n");
    for i in 0..100 {
        zones.push_str(&format!("big.e A 192.0.2.{i}\n"));
    }
    let catalog = catalog(&zones);
    let sizes = [(None, 512), (Some(0_u16), 512), (Some(600), 600), (Some(4_096), 1_232)];
    for (size, limit) in sizes {
        let opt = size.map(|size| [&b"\0\0\x29"[..], &size.to_be_bytes(), &[0; 6]].concat());
        let (verdict, reply) = ask(&catalog, &query("big.e.", "A", opt.as_deref()));
        let Verdict::Reply(facts) = verdict else { panic!("a reply") };
        assert!(facts.is_truncated && reply.len() <= limit);
        let message = Message::from_vec(&reply).expect("hickory reads it");
        assert_eq!((message.answers.len(), message.edns.is_some()), (0, size.is_some()));
    }
    let mut reply = Vec::new();
    let responder = Responder::new(ResponderConfig::default());
    let peer = Peer::in_process(Transport::Tcp);
    responder.respond(&catalog, &query("big.e.", "A", None), &peer, &mut reply);
    assert_eq!(Message::from_vec(&reply).expect("hickory reads it").answers.len(), 100);
}
