//! Facts about zones as a whole: every edit equals a rebuild.

use super::*;
use crate::record::{Change, Soa};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The seed of tests.
const SEED: HashSeed = HashSeed(1);

fn name(text: &str) -> Name {
    Name::from_text(text).expect(text)
}

fn rrset(owner: &str, rtype: RecordType, rdata: &[u8]) -> Rrset {
    Rrset::new(name(owner), rtype, 300, [rdata]).expect("one record")
}

fn soa(apex: &str, serial: u32) -> Rrset {
    let soa = Soa { names: b"\x02ns\0\x04host\0", serial, minimum_s: 60, ..Soa::default() };
    rrset(apex, RecordType::SOA, &soa.to_rdata())
}

/// Flags, children and RRsets of each node, the counts, and the serial.
type Picture = (BTreeMap<Name, (u8, u32, Vec<Rrset>)>, Totals, u32);

/// Returns everything that can be seen of a zone.
fn picture(zone: &Zone) -> Picture {
    let mut nodes = BTreeMap::new();
    for node in zone.table.nodes() {
        let owner = zone.owner_of(&node);
        let mut rrsets = sets::rrsets_of(&node, &owner);
        rrsets.sort_by_key(|rrset| rrset.rtype);
        nodes.insert(owner, (node.flags(), node.children(), rrsets));
    }
    let totals = Totals { depth: 0, ..zone.totals };
    (nodes, totals, zone.serial)
}

#[test]
fn flags_follow_the_names_below() {
    let a = |owner| rrset(owner, RecordType::A, &[192, 0, 2, 1]);
    let ns = |owner| rrset(owner, RecordType::NS, b"\x02ns\0");
    let zone = build(
        name("example"),
        SEED,
        vec![
            a("ns.sub.example"),
            soa("example", 1),
            ns("sub.example"),
            a("*.w.example"),
            ns("example"),
            a("b.ent.example"),
        ],
    )
    .expect("has an SOA");
    let flags = |owner: &str| picture(&zone).0[&name(owner)].0;
    assert_eq!(flags("example"), node::HAS_CHILDREN);
    assert_eq!(flags("sub.example"), node::CUT | node::HAS_CHILDREN);
    assert_eq!(flags("ns.sub.example"), node::OCCLUDED);
    assert_eq!(flags("w.example"), node::HAS_CHILDREN | node::HAS_WILDCARD);
    assert_eq!(flags("ent.example"), node::HAS_CHILDREN);
    assert_eq!((zone.name_count(), zone.rrset_count(), zone.record_count()), (5, 6, 6));
}

#[test]
fn a_zone_without_one_soa_is_refused() {
    let apex = name("example");
    let two = Rrset::new(
        apex.clone(),
        RecordType::SOA,
        1,
        [soa("example", 1).rdata.first(), soa("example", 2).rdata.first()],
    )
    .expect("two records");
    let no_soa = build(apex.clone(), SEED, vec![]).map(|_| ());
    assert_eq!(no_soa, Err(BuildError::NoSoa { apex: apex.clone() }));
    let not_single = build(apex.clone(), SEED, vec![two]).map(|_| ());
    assert_eq!(not_single, Err(BuildError::SoaNotSingle { apex }));
}

#[test]
fn changes_that_break_a_rule_are_refused_and_the_rest_applies() {
    let zone = build(name("example"), SEED, vec![soa("example", 1)]).expect("has an SOA");
    let changes = [
        Change::Put(rrset("other.test", RecordType::A, &[1, 2, 3, 4])),
        Change::Delete { owner: name("example"), rtype: RecordType::SOA },
        Change::Put(rrset("a.example", RecordType::MX, &[0])),
        Change::Put(rrset("a.example", RecordType::ANY, &[0])),
        Change::Put(soa("a.example", 1)),
        Change::Put(rrset("a.example", RecordType::A, &[1, 2, 3, 4])),
        Change::Delete { owner: name("b.example"), rtype: RecordType::A },
        Change::Put(soa("example", 2)),
    ];
    let (zone, report) = zone.edit(&changes);
    assert_eq!(report.applied, 3);
    assert_eq!(report.refused.iter().map(|refused| refused.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!((zone.serial(), zone.rrset_count(), zone.name_count()), (2, 2, 2));
}

/// Builds a zone of 10,000 names whose addresses `address` makes of a number.
fn addresses(address: impl Fn(u32) -> u32) -> Zone {
    let hosts = (0..10_000).map(|index| {
        rrset(&format!("h{index}.example"), RecordType::A, &address(index).to_be_bytes())
    });
    build(name("example"), SEED, hosts.chain([soa("example", 1)]).collect()).expect("has an SOA")
}

#[test]
fn names_of_one_address_take_far_less_memory_than_names_of_their_own() {
    let (own, few, one) = (addresses(|i| i), addresses(|i| i % 16), addresses(|_| 1));
    for (zone, address) in [(&own, 4_711), (&few, 4_711 % 16), (&one, 1_u32)] {
        let rrset = zone.rrset(&name("h4711.example"), RecordType::A).expect("is there");
        assert_eq!(rrset.rdata.first(), address.to_be_bytes());
    }
    let octets = |zone: &Zone| zone.memory_octets() / 10_000;
    // An entry of 30 octets against a reference of 6.
    assert!(octets(&own) - octets(&one) >= 22, "{} {}", octets(&own), octets(&one));
    assert!(octets(&own) - octets(&few) >= 18, "{} {}", octets(&own), octets(&few));
}

#[test]
fn delegations_to_the_same_servers_share_them_whatever_the_length_of_their_names() {
    let zone = |servers: fn(usize) -> usize| {
        let cuts = (0..2_000).map(|index| {
            let hosts = ["ns1", "ns2"].map(|host| {
                name(&format!("{host}.provider{}.test", servers(index))).as_wire().to_vec()
            });
            let owner = name(&format!("{}{index}.example", "d".repeat(index % 40)));
            Rrset::new(owner, RecordType::NS, 300, hosts).expect("two records")
        });
        build(name("example"), SEED, cuts.chain([soa("example", 1)]).collect()).expect("an SOA")
    };
    let (own, few) = (zone(|index| 1_000 + index), zone(|index| 1_000 + index % 4));
    let servers = few.rrset(&name("ddd43.example"), RecordType::NS).expect("is there");
    let read: Vec<&[u8]> = servers.rdata.iter().collect();
    let expected = ["ns1", "ns2"].map(|host| name(&format!("{host}.provider1003.test")));
    assert_eq!(read, [expected[0].as_wire(), expected[1].as_wire()]);
    // Two records of 12 octets, 24 of names and a pointer: 72 with what is in front of them.
    let octets = |zone: &Zone| zone.memory_octets() / 2_000;
    assert!(octets(&own) - octets(&few) >= 55, "{} {}", octets(&own), octets(&few));
}

/// A change drawn from few names and types, so that they meet.
fn any_change() -> impl Strategy<Value = Change> {
    let label = prop_oneof![Just("a"), Just("b"), Just("*"), Just("c")];
    let owner = prop::collection::vec(label, 0..4)
        .prop_map(|labels| name(&[labels.as_slice(), &["example"]].concat().join(".")));
    let kind = prop_oneof![
        Just((RecordType::A, &b"\xc0\0\x02\x01"[..])),
        Just((RecordType::NS, &b"\x02ns\x01a\x07example\0"[..])),
        Just((RecordType::DNAME, &b"\x01b\x07example\0"[..])),
        Just((RecordType::CNAME, &b"\x01B\x01a\x07example\0"[..])),
        Just((
            RecordType::RRSIG,
            &b"\0\x01\x08\x02\0\0\x01\x2c\0\0\0\0\0\0\0\0\0\0\x07example\0sig"[..]
        )),
        Just((RecordType::NSEC, &b"\x07example\0\0\x01\x40"[..])),
    ];
    (owner, kind, any::<bool>()).prop_map(|(owner, (rtype, rdata), is_put)| match is_put {
        true => Change::Put(Rrset::new(owner, rtype, 300, [rdata]).expect("one record")),
        false => Change::Delete { owner, rtype },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn edit_equals_rebuild(batches in prop::collection::vec(prop::collection::vec(any_change(), 1..8), 1..12)) {
        let mut zone = build(name("example"), SEED, vec![soa("example", 1)]).expect("has an SOA");
        let mut model: BTreeMap<(Name, RecordType), Rrset> = BTreeMap::new();
        model.insert((name("example"), RecordType::SOA), soa("example", 1));
        for batch in batches {
            for change in &batch {
                let key = (change.owner().clone(), change.rtype());
                match change {
                    Change::Put(rrset) => model.insert(key, rrset.clone()),
                    Change::Delete { .. } => model.remove(&key),
                };
            }
            let (next, report) = zone.edit(&batch);
            prop_assert_eq!(report.refused, vec![]);
            zone = next;
            let rebuilt = build(name("example"), SEED, model.values().cloned().collect());
            let rebuilt = rebuilt.expect("has an SOA");
            prop_assert_eq!(picture(&zone), picture(&rebuilt));
            prop_assert_eq!(zone.denial.nsec.len(), rebuilt.denial.nsec.len());
            let mut all: Vec<Rrset> = zone.rrsets().collect();
            all.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
            prop_assert_eq!(all, model.values().cloned().collect::<Vec<_>>());
        }
    }
}
