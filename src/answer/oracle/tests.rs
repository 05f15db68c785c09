//! Random zones and questions: the fast answer and the slow one are the same.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use super::compare::{difference, part_difference};
use super::sample::{Draw, Question, ZoneData};
use super::sign::{Chain, sign};
use super::*;
use crate::catalog::{Catalog, CatalogChange, HoldReason};
use crate::responder::{Peer, Responder, Transport};
use crate::zone::{HashSeed, build};

/// The seed of hashes in tests.
const SEED: HashSeed = HashSeed(1);
/// Questions put to each catalog.
const QUESTIONS: usize = 40;

/// Makes a query that allows for a reply of `octets` over UDP.
fn query(question: &Question, octets: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(&question.qname);
    packet.extend_from_slice(&question.qtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 41]);
    packet.extend_from_slice(&octets.to_be_bytes());
    let flags = if question.is_dnssec_ok { 0x80 } else { 0 };
    packet.extend_from_slice(&[0, 0, flags, 0, 0, 0]);
    packet
}

/// Builds a catalog; an apex without RRsets is held.
fn catalog(zones: &[ZoneData]) -> Catalog {
    let put = |(apex, rrsets): ZoneData| {
        if rrsets.is_empty() {
            return CatalogChange::Hold(apex, HoldReason::Broken);
        }
        CatalogChange::Put(Arc::new(build(apex, SEED, rrsets).expect("samples are good")))
    };
    Catalog::new(SEED).with_changes(zones.iter().cloned().map(put).collect())
}

/// Puts one question to both, over TCP and over UDP; says how they differ.
fn differ(oracle: &Oracle, catalog: &Catalog, question: &Question) -> Option<String> {
    let expected = oracle.answer(&question.qname, question.qtype, question.is_dnssec_ok);
    let (responder, mut reply) = (Responder::default(), Vec::new());
    let peer = Peer::in_process(Transport::Tcp);
    responder.respond(catalog, &query(question, 512), &peer, &mut reply);
    let whole = difference(&expected, &reply);
    let peer = Peer::in_process(Transport::Udp);
    responder.respond(catalog, &query(question, 512), &peer, &mut reply);
    assert!(reply.len() <= 512);
    // Glue of siblings may be missing without TC (RFC 9471 section 3.2).
    let is_whole = reply[2] & 2 == 0 && expected.additional.is_empty();
    let compare = if is_whole { difference } else { part_difference };
    whole.or_else(|| compare(&expected, &reply))
}

/// Takes RRsets away as long as the two still differ, and shows what is left.
fn shrink(mut zones: Vec<ZoneData>, finish: fn(&[ZoneData]) -> Vec<ZoneData>, question: &Question) {
    let differ = |zones: &[ZoneData]| {
        let zones = finish(zones);
        differ(&Oracle::new(zones.clone()), &catalog(&zones), question)
    };
    let mut at = 0;
    let places: Vec<(usize, usize)> = zones
        .iter()
        .enumerate()
        .flat_map(|(zone, data)| (0..data.1.len()).rev().map(move |rrset| (zone, rrset)))
        .collect();
    while let Some(&(zone, rrset)) = places.get(at) {
        at += 1;
        let mut fewer = zones.clone();
        if fewer[zone].1.remove(rrset).rtype != RecordType::SOA && differ(&fewer).is_some() {
            zones = fewer;
        }
    }
    let mut fewer: Vec<ZoneData> = zones.clone();
    fewer.retain(|zone| zone.1.len() > 1);
    if differ(&fewer).is_some() {
        zones = fewer;
    }
    for (apex, rrsets) in &zones {
        println!("; zone {apex}");
        for rrset in rrsets {
            for rdata in rrset.rdata.iter() {
                let (owner, rdata) = (rrset.owner.clone(), rdata.to_vec());
                let (rtype, ttl_s) = (rrset.rtype, rrset.ttl_s);
                println!("{}", Record { owner, rtype, ttl_s, rdata });
            }
        }
    }
    let Question { qname, qtype, is_dnssec_ok } = question;
    println!("{} {qtype} do={is_dnssec_ok}", qname.escape_ascii());
    panic!("the oracle says otherwise:\n{}", differ(&zones).unwrap_or_default());
}

/// Compares over many catalogs: `finish` makes of drawn zones those that are served.
///
/// `ORACLE_ROUNDS` says over how many, `ORACLE_SEED` repeats a run.
fn compare(finish: fn(&[ZoneData]) -> Vec<ZoneData>) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("ORACLE_ROUNDS").unwrap_or(200);
    let mut seed =
        number("ORACLE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("ORACLE_SEED={seed}");
    let mut octets = vec![0; 2_048];
    for _ in 0..rounds {
        for octet in &mut octets {
            // xorshift64*, Marsaglia 2003 and Vigna 2016.
            seed |= u64::from(seed == 0);
            seed ^= seed >> 12;
            seed ^= seed << 25;
            seed ^= seed >> 27;
            *octet = (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8;
        }
        let mut draw = Draw::new(&octets);
        let drawn = draw.zones();
        let zones = finish(&drawn);
        let (oracle, catalog) = (Oracle::new(zones.clone()), catalog(&zones));
        for _ in 0..QUESTIONS {
            // Names of a held zone are asked for too.
            let has_hold = zones.iter().any(|zone| zone.1.is_empty());
            let question = draw.question(if has_hold { &drawn } else { &zones });
            if differ(&oracle, &catalog, &question).is_some() {
                shrink(drawn, finish, &question);
                return;
            }
        }
    }
}

#[test]
fn plain_zones_are_answered_as_the_oracle_says() {
    compare(<[ZoneData]>::to_vec);
}

#[test]
fn names_of_a_held_zone_are_never_answered_from_another() {
    compare(|drawn| {
        let mut zones = drawn.to_vec();
        if let Some(zone) = zones.iter_mut().max_by_key(|zone| zone.0.label_count()) {
            zone.1.clear();
        }
        zones
    });
}

/// Signs all zones.
fn signed(zones: &[ZoneData], chain: Chain) -> Vec<ZoneData> {
    let sign = |(apex, rrsets): &ZoneData| (apex.clone(), sign(apex, rrsets, chain));
    zones.iter().map(sign).collect()
}

#[test]
fn zones_with_nsec_are_answered_as_the_oracle_says() {
    compare(|zones| signed(zones, Chain::Nsec));
}

#[test]
fn zones_with_nsec3_are_answered_as_the_oracle_says() {
    compare(|zones| signed(zones, Chain::Nsec3 { has_opt_out: false }));
}

#[test]
fn zones_with_opt_out_are_answered_as_the_oracle_says() {
    compare(|zones| signed(zones, Chain::Nsec3 { has_opt_out: true }));
}

#[test]
fn a_chain_of_wildcards_carries_a_proof_for_each() {
    let label = |i: usize| format!("w{i:02}.example");
    let name = |text: &str| Name::from_text(text).expect(text);
    let apex = name("example");
    let mut rrsets: Vec<Rrset> = super::sample::soa(&apex, 300).into_iter().collect();
    for i in 0..ALIAS_CHAIN_MAX + 2 {
        let target = name(&format!("x.{}", label(i + 1)));
        let owner = name(&format!("*.{}", label(i)));
        let rrset = Rrset::new(owner, RecordType::CNAME, 300, [target.as_wire()]);
        rrsets.push(rrset.expect("one record"));
    }
    for chain in [Chain::Nsec, Chain::Nsec3 { has_opt_out: false }] {
        let zones = signed(&[(apex.clone(), rrsets.clone())], chain);
        let (oracle, catalog) = (Oracle::new(zones.clone()), catalog(&zones));
        for i in 0..ALIAS_CHAIN_MAX + 2 {
            let qname = name(&format!("x.{}", label(i))).as_wire().to_vec();
            let question = Question { qname, qtype: RecordType::A, is_dnssec_ok: true };
            assert_eq!(differ(&oracle, &catalog, &question), None, "from {i}");
        }
    }
}
