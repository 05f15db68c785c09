//! The zones and the queries of the benchmarks.

use std::sync::Arc;

use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::name::{Name, parse_labels};
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::zone::{HashSeed, Zone, build};

#[path = "signed.rs"]
mod signed;

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Corpus {
    /// One zone.
    Plain,
    /// The same, signed.
    Signed(signed::Denial),
    /// So many zones as there are names else, of five records each.
    Many,
}

/// A kind of question.
#[allow(dead_code)] // each benchmark takes what it needs of this module
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What it is called in reports.
    pub name: &'static str,
    /// What is asked.
    pub corpus: Corpus,
    /// The type that is asked.
    pub qtype: RecordType,
    /// Makes the qname for a random number below the zone's count of names.
    pub qname: fn(u64) -> String,
}

impl Kind {
    /// A question to one plain zone.
    const fn plain(name: &'static str, qtype: RecordType, qname: fn(u64) -> String) -> Self {
        Self { name, corpus: Corpus::Plain, qtype, qname }
    }

    /// A question for an address, with the DO bit, to a signed zone.
    const fn signed(name: &'static str, denial: signed::Denial, qname: fn(u64) -> String) -> Self {
        Self { name, corpus: Corpus::Signed(denial), qtype: RecordType::A, qname }
    }
}

/// One kind for each way through the answer algorithm.
pub const KINDS: &[Kind] = &[
    Kind::plain("a", RecordType::A, host),
    Kind::plain("cname", RecordType::A, alias),
    Kind::plain("referral", RecordType::A, delegated),
    Kind::plain("nxdomain", RecordType::A, missing),
    Kind::plain("nodata", RecordType::TXT, host),
    Kind::plain("wildcard", RecordType::A, synthesized),
    Kind::signed("dnssec-a", NSEC, host),
    Kind::signed("nsec-nxdomain", NSEC, missing),
    Kind::signed("nsec3-nxdomain", NSEC3, missing),
    Kind::signed("nsec3-referral", NSEC3, delegated),
    Kind::signed("nsec3-wildcard", NSEC3, synthesized),
    Kind { name: "zones-a", corpus: Corpus::Many, qtype: RecordType::A, qname: small_host },
    Kind {
        name: "zones-nxdomain",
        corpus: Corpus::Many,
        qtype: RecordType::A,
        qname: small_missing,
    },
];

/// Short for the tables.
const NSEC: signed::Denial = signed::Denial::Nsec;
/// Short for the tables.
const NSEC3: signed::Denial = signed::Denial::Nsec3;

/// A name with an address.
fn host(i: u64) -> String {
    format!("h{i}.example.com.")
}

/// A name with a CNAME.
fn alias(i: u64) -> String {
    format!("c{}.example.com.", i % 1_000)
}

/// A name below a zone cut.
fn delegated(i: u64) -> String {
    format!("w.d{}.example.com.", i % 1_000)
}

/// A name that does not exist.
fn missing(i: u64) -> String {
    format!("x{i}.example.com.")
}

/// A name that a wildcard stands for.
fn synthesized(i: u64) -> String {
    format!("q{i}.wild.example.com.")
}

/// A name with an address in one of many zones.
fn small_host(i: u64) -> String {
    format!("www.z{i}.example.")
}

/// A name that does not exist in one of many zones.
fn small_missing(i: u64) -> String {
    format!("x.z{i}.example.")
}

/// Returns how many names the zone has: `ASPEN_BENCH_NAMES`, else 100,000.
#[allow(dead_code)] // each benchmark takes what it needs of this module
pub fn names_from_env() -> u64 {
    std::env::var("ASPEN_BENCH_NAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Makes one RRset.
pub fn rrset(owner: &str, rtype: RecordType, rdata: &[&[u8]]) -> Rrset {
    Rrset::new(Name::from_text(owner).expect(owner), rtype, 300, rdata).expect("records")
}

/// Makes the wire form of a name.
pub fn wire(text: &str) -> Vec<u8> {
    Name::from_text(text).expect(text).as_wire().to_vec()
}

/// Makes a zone of `names` hosts, a thousand aliases and delegations, and a wildcard.
pub fn zone(names: u64) -> Zone {
    build(Name::from_text(APEX).expect(APEX), HashSeed(1), rrsets(names)).expect("has an SOA")
}

/// Makes the RRsets of that zone.
fn rrsets(names: u64) -> Vec<Rrset> {
    let soa = [wire("ns.example.com"), wire("host.example.com"), vec![0; 20]].concat();
    let mut rrsets = vec![
        rrset(APEX, RecordType::SOA, &[&soa]),
        rrset(APEX, RecordType::NS, &[&wire("ns.example.com")]),
        rrset("ns.example.com", RecordType::A, &[&[192, 0, 2, 1]]),
        rrset("*.wild.example.com", RecordType::A, &[&[192, 0, 2, 2]]),
    ];
    for i in 0..names {
        let address = (i as u32).to_be_bytes();
        rrsets.push(rrset(&format!("h{i}.example.com"), RecordType::A, &[&address]));
    }
    for i in 0..1_000 {
        let (cut, host) = (format!("d{i}.example.com"), wire(&format!("h{i}.example.com")));
        rrsets.push(rrset(&format!("c{i}.example.com"), RecordType::CNAME, &[&host]));
        let servers = [wire(&format!("ns1.{cut}")), wire(&format!("ns2.{cut}"))];
        rrsets.push(rrset(&cut, RecordType::NS, &[&servers[0], &servers[1]]));
        for server in ["ns1", "ns2"] {
            let glue = rrset(&format!("{server}.{cut}"), RecordType::A, &[&[192, 0, 2, 3]]);
            rrsets.push(glue);
        }
    }
    rrsets
}

/// Makes one of many zones.
fn small_zone(number: u64) -> Zone {
    let apex = format!("z{number}.example");
    let (ns, www) = (format!("ns1.{apex}"), format!("www.{apex}"));
    let soa = [wire(&ns), wire(&format!("host.{apex}")), vec![0; 20]].concat();
    let rrsets = vec![
        rrset(&apex, RecordType::SOA, &[&soa]),
        rrset(&apex, RecordType::NS, &[&wire(&ns)]),
        rrset(&apex, RecordType::MX, &[&[&[0, 10], &wire(&www)[..]].concat()]),
        rrset(&ns, RecordType::A, &[&[192, 0, 2, 1]]),
        rrset(&www, RecordType::A, &[&(number as u32).to_be_bytes()]),
    ];
    build(Name::from_text(&apex).expect("a name"), HashSeed(1), rrsets).expect("has an SOA")
}

/// Makes a catalog for questions of a kind.
#[allow(dead_code)] // each benchmark takes what it needs of this module
pub fn catalog(corpus: Corpus, names: u64) -> Catalog {
    let zones: Vec<Zone> = match corpus {
        Corpus::Plain => vec![zone(names)],
        Corpus::Many => (0..names).map(small_zone).collect(),
        Corpus::Signed(denial) => {
            let apex = Name::from_text(APEX).expect(APEX);
            let rrsets = signed::sign(&apex, rrsets(names), denial);
            vec![build(apex, HashSeed(1), rrsets).expect("has an SOA")]
        }
    };
    let changes = zones.into_iter().map(|zone| CatalogChange::Put(Arc::new(zone)));
    Catalog::new(HashSeed(1)).with_changes(changes.collect())
}

/// Makes `count` queries with EDNS of a kind, in random order (the seed is fixed); with the DO bit
/// to a signed zone.
#[allow(dead_code)] // each benchmark takes what it needs of this module
pub fn queries(kind: &Kind, names: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let flags = if matches!(kind.corpus, Corpus::Signed(_)) { 0x80 } else { 0 };
    let query = |i: u64| {
        let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        parse_labels((kind.qname)(i).as_bytes(), &mut packet).expect("a name");
        packet.extend_from_slice(&kind.qtype.0.to_be_bytes());
        packet.extend_from_slice(&[0, 1, 0, 0, 0x29, 0x04, 0xd0, 0, 0, flags, 0, 0, 0]);
        packet
    };
    (0..count).map(|_| query(next() % names)).collect()
}

/// The apex of the one zone.
const APEX: &str = "example.com";
