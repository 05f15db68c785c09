//! The zone and the queries of the benchmarks.

use std::sync::Arc;

use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::name::{Name, parse_labels};
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::zone::{HashSeed, Zone, build};

/// A kind of question.
#[allow(dead_code)] // each benchmark takes what it needs of this module
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What it is called in reports.
    pub name: &'static str,
    /// The type that is asked.
    pub qtype: RecordType,
    /// Makes the qname for a random number below the zone's count of names.
    pub qname: fn(u64) -> String,
}

/// One kind for each way through the answer algorithm.
pub const KINDS: &[Kind] = &[
    Kind { name: "a", qtype: RecordType::A, qname: |i| format!("h{i}.example.com.") },
    Kind { name: "cname", qtype: RecordType::A, qname: |i| format!("c{}.example.com.", i % 1_000) },
    Kind {
        name: "referral",
        qtype: RecordType::A,
        qname: |i| format!("w.d{}.example.com.", i % 1_000),
    },
    Kind { name: "nxdomain", qtype: RecordType::A, qname: |i| format!("x{i}.example.com.") },
    Kind { name: "nodata", qtype: RecordType::TXT, qname: |i| format!("h{i}.example.com.") },
    Kind { name: "wildcard", qtype: RecordType::A, qname: |i| format!("q{i}.wild.example.com.") },
];

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
    let apex = "example.com";
    let soa = [wire("ns.example.com"), wire("host.example.com"), vec![0; 20]].concat();
    let mut rrsets = vec![
        rrset(apex, RecordType::SOA, &[&soa]),
        rrset(apex, RecordType::NS, &[&wire("ns.example.com")]),
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
    build(Name::from_text(apex).expect(apex), HashSeed(1), rrsets).expect("has an SOA")
}

/// Makes a catalog of that zone.
#[allow(dead_code)] // each benchmark takes what it needs of this module
pub fn catalog(names: u64) -> Catalog {
    Catalog::new(HashSeed(1)).with_changes(vec![CatalogChange::Put(Arc::new(zone(names)))])
}

/// Makes `count` queries with EDNS of a kind, in random order (the seed is fixed).
#[allow(dead_code)] // each benchmark takes what it needs of this module
pub fn queries(kind: &Kind, names: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let query = |i: u64| {
        let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        parse_labels((kind.qname)(i).as_bytes(), &mut packet).expect("a name");
        packet.extend_from_slice(&kind.qtype.0.to_be_bytes());
        packet.extend_from_slice(b"\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
        packet
    };
    (0..count).map(|_| query(next() % names)).collect()
}
