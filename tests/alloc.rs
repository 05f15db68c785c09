//! `respond` allocates nothing once the reply's buffer has its capacity, whatever the answer.
//!
//! One test, since the allocator counts for the whole process; what other threads of the test
//! harness do is not counted.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::limits::{REPLY_OCTETS_CAPACITY, UDP_REPLY_OCTETS};
use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset, rdata};
use aspen_dns::responder::{Peer, Responder, ResponderConfig, Transport, Verdict};
use aspen_dns::zone::nsec3::{Nsec3Params, nsec3_hash};
use aspen_dns::zone::{HashSeed, build};
use data_encoding::BASE32HEX_NOPAD;

/// The system's allocator, which counts.
struct Counting;

thread_local! {
    /// Allocations and reallocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts one.
fn count() {
    // Where the thread is ending there is nothing left to count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The seed of tests.
const SEED: HashSeed = HashSeed(1);

/// Names and types of a zone below `apex`, in canonical order, as a master file has them.
const ZONE: &[&str] = &[
    "@ SOA ns.example. host.example. 1 2 3 4 60",
    "@ NS ns.example.",
    "@ MX 10 mail",
    "a1 CNAME a2",
    "a2 CNAME www",
    "cut NS ns.cut",
    "cut NS ns.secure",
    "ns.cut A 192.0.2.1",
    "dname DNAME target",
    "e.ent TXT \"below an empty non-terminal\"",
    "long.target A 192.0.2.2",
    "loop CNAME loop2",
    "loop2 CNAME loop",
    "out CNAME www.elsewhere.test.",
    "secure NS ns.secure",
    "secure DS 1 8 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "ns.secure AAAA 2001:db8::1",
    "*.wild MX 10 mail.wild",
    "*.wildc CNAME www",
    "wide TXT \"1................................................................\"",
    "wide TXT \"2................................................................\"",
    "wide TXT \"3................................................................\"",
    "wide TXT \"4................................................................\"",
    "wide TXT \"5................................................................\"",
    "wide TXT \"6................................................................\"",
    "wide TXT \"7................................................................\"",
    "www A 192.0.2.3",
    "www A 192.0.2.4",
];

/// RRsets that fit no datagram, and an alias of each: a TXT RRset, and one of names that are written anew.
fn wide_records() -> Vec<String> {
    let number = |count: u8| (b'0'..b'0' + count).map(char::from);
    let texts = number(10).map(|it| format!("big TXT \"{}\"", it.to_string().repeat(200)));
    let name = |it: char| [60, 60, 40].map(|len| it.to_string().repeat(len)).join(".");
    let hosts = number(10).map(|it| format!("hosts MX 10 {}", name(it)));
    let aliases = ["abig CNAME big", "ahosts CNAME hosts"].map(str::to_owned);
    texts.chain(hosts).chain(aliases).collect()
}

/// Names below an apex and types, one for each kind of answer.
const QUESTIONS: &[(&str, &str)] = &[
    ("www", "A"),
    ("WwW", "A"),
    ("www", "AAAA"),
    ("www", "ANY"),
    ("www", "RRSIG"),
    ("@", "MX"),
    ("@", "SOA"),
    ("@", "AXFR"),
    ("@", "DNSKEY"),
    ("ent", "A"),
    ("a1", "A"),
    ("a1", "MX"),
    ("loop", "A"),
    ("out", "A"),
    ("long.dname", "A"),
    ("nx.dname", "A"),
    ("x.wild", "MX"),
    ("x.y.wild", "A"),
    ("x.wildc", "A"),
    ("nx", "A"),
    ("wide", "TXT"),
    ("big", "TXT"),
    ("abig", "TXT"),
    ("hosts", "MX"),
    ("ahosts", "MX"),
    ("wide", "NULL"),
    ("b.c.d.nx", "A"),
    ("x.www", "A"),
    ("x.cut", "A"),
    ("cut", "DS"),
    ("x.secure", "A"),
    ("secure", "DS"),
];

/// Makes a zone: plain, with an NSEC chain, or with an NSEC3 chain.
fn zone(apex: &str, denial: Option<RecordType>) -> CatalogChange {
    let origin = Name::from_text(apex).expect(apex);
    let mut records: Vec<(Name, RecordType, Vec<u8>)> = Vec::new();
    let mut add = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect(line);
        let owner = match word() {
            "@" => origin.clone(),
            below => Name::from_text(&format!("{below}.{apex}")).expect(line),
        };
        let rtype: RecordType = word().parse().expect(line);
        records.push((owner, rtype, rdata::parse(rtype, word(), &origin).expect(line)));
    };
    ZONE.iter().for_each(|line| add(line));
    wide_records().iter().for_each(|line| add(line));
    let mut names: Vec<Name> = records.iter().map(|record| record.0.clone()).collect();
    names.push(Name::from_text(&format!("ent.{apex}")).expect(apex));
    names.sort();
    names.dedup();
    if denial == Some(RecordType::NSEC) {
        for (index, owner) in names.iter().enumerate() {
            let next = names[(index + 1) % names.len()].as_wire();
            records.push((owner.clone(), RecordType::NSEC, [next, &[0, 1, 0x40]].concat()));
        }
    }
    if denial == Some(RecordType::NSEC3) {
        let params = Nsec3Params { iterations: 3, salt: [7, 8].into() };
        let mut hashes: Vec<_> =
            names.iter().map(|name| nsec3_hash(name.as_wire(), &params)).collect();
        hashes.sort_unstable();
        records.push((origin.clone(), RecordType::NSEC3PARAM, vec![1, 0, 0, 3, 2, 7, 8]));
        for (index, hash) in hashes.iter().enumerate() {
            let label = BASE32HEX_NOPAD.encode(hash);
            let next = &hashes[(index + 1) % hashes.len()];
            let rdata = [&[1, 0, 0, 3, 2, 7, 8, 20], &next[..], &[0, 1, 0x40]].concat();
            let owner = origin.with_label(label.as_bytes()).expect("32 octets");
            records.push((owner, RecordType::NSEC3, rdata));
        }
    }
    if denial.is_some() {
        let sign = |(owner, rtype, _): &(Name, RecordType, Vec<u8>)| {
            let fixed = [&rtype.0.to_be_bytes()[..], &[8, 2, 0, 0, 1, 44], &[0; 10]].concat();
            (owner.clone(), RecordType::RRSIG, [&fixed, origin.as_wire(), &[9; 64]].concat())
        };
        records.extend(records.iter().map(sign).collect::<Vec<_>>());
    }
    records.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let rrsets = records.chunk_by(|a, b| (&a.0, a.1) == (&b.0, b.1)).map(|records| {
        let rdata = records.iter().map(|record| &record.2);
        Rrset::new(records[0].0.clone(), records[0].1, 300, rdata).expect("an RRset")
    });
    CatalogChange::Put(Arc::new(build(origin.clone(), SEED, rrsets.collect()).expect("a zone")))
}

/// Makes the queries for a question: plain, with EDNS, with NSID, with DO, and broken ones.
fn queries(qname: &str, qtype: &str) -> Vec<Vec<u8>> {
    let mut plain = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    aspen_dns::name::parse_labels(qname.as_bytes(), &mut plain).expect(qname);
    let qtype: RecordType = qtype.parse().expect(qtype);
    plain.extend_from_slice(&qtype.0.to_be_bytes());
    plain.extend_from_slice(&[0, 1]);
    let with = |tail: &[u8]| {
        let mut query = [&plain, tail].concat();
        query[11] = u8::from(!tail.is_empty());
        query
    };
    let mut chaos = with(&[]);
    *chaos.last_mut().expect("a class") = 3;
    let mut notify = with(&[]);
    notify[2] = 0x20;
    vec![
        with(&[]),
        with(b"\0\0\x29\x04\xd0\0\0\0\0\0\0"),
        with(b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x03\0\0"),
        with(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"),
        with(b"\0\0\x29\xff\xff\0\0\x80\0\0\x04\0\x03\0\0"),
        with(b"\0\0\x29\x04\xd0\0\x01\0\0\0\0"),
        with(b"\0\0\x29"),
        plain[..plain.len() - 3].to_vec(),
        chaos,
        notify,
    ]
}

#[test]
fn respond_allocates_nothing_in_the_steady_state() {
    let zones = vec![
        zone("plain.example", None),
        zone("nsec.example", Some(RecordType::NSEC)),
        zone("nsec3.example", Some(RecordType::NSEC3)),
    ];
    let catalog = Catalog::new(SEED).with_changes(zones);
    let identity = Some("edge-1.example".to_owned());
    let responder = Responder::new(ResponderConfig {
        version: identity.clone(),
        identity,
        ..ResponderConfig::default()
    });
    let mut all = Vec::new();
    for apex in ["plain.example.", "nsec.example.", "nsec3.example.", "unknown.example."] {
        for (qname, qtype) in QUESTIONS {
            let qname = format!("{qname}.{apex}");
            all.extend(queries(qname.trim_start_matches("@."), qtype));
        }
    }
    all.extend(queries("version.bind.", "TXT"));
    // As the front ends have them.
    let (mut datagram, mut message) =
        (Vec::with_capacity(UDP_REPLY_OCTETS), Vec::with_capacity(REPLY_OCTETS_CAPACITY));
    let (mut rcodes, mut truncated) = (std::collections::BTreeSet::new(), 0);
    for query in &all {
        for (transport, reply) in [(Transport::Udp, &mut datagram), (Transport::Tcp, &mut message)]
        {
            let before = ALLOCATIONS.get();
            let verdict = responder.respond(&catalog, query, &Peer::in_process(transport), reply);
            let allocations = ALLOCATIONS.get() - before;
            assert_eq!(allocations, 0, "{}", query.escape_ascii());
            if let Verdict::Reply(facts) = verdict {
                rcodes.insert(facts.rcode);
                truncated += u64::from(facts.is_truncated);
            }
        }
    }
    assert_eq!(rcodes, [0, 1, 3, 4, 5, 9, 16].into(), "every kind of answer was given");
    assert!(truncated > 0, "{} queries", all.len());
    println!("{} queries over two transports", all.len());
}
