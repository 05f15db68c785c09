//! Checks of zones without signatures, which need no cryptography.

use super::crypto::{DigestType, Verification};
use super::*;
use crate::record::master::{MasterOptions, read_zone};

/// Knows no algorithm.
struct NoCrypto;

impl Crypto for NoCrypto {
    fn verify(&self, _: u8, _: &[u8], _: &[u8], _: &[u8]) -> Verification {
        Verification::Unknown
    }

    fn digest(&self, _: DigestType, _: &mut dyn Iterator<Item = Vec<u8>>) -> Option<Vec<u8>> {
        None
    }
}

/// Checks `example.` with further lines; returns each finding's severity, owner, type and kind.
fn findings(lines: &str, parent: Parent<'_>) -> Vec<String> {
    let text = format!("$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{lines}\n");
    let apex = Name::from_text("example").unwrap();
    let zone = read_zone(text.as_bytes(), &apex, MasterOptions::default(), &mut |_| {}).unwrap();
    let options = CheckOptions { now: Time(1_000), expiry_warning_s: 60, threads: 1 };
    let report = check(&apex, &zone.rrsets, parent, &options, &NoCrypto);
    let found = report.findings.iter().map(|finding| {
        let Finding { severity, owner, rtype, fault } = finding;
        format!("{severity} {owner} {rtype} {}", fault.code())
    });
    found.collect()
}

/// Checks that the lines break exactly these rules.
fn check_lines(lines: &str, expected: &[&str]) {
    assert_eq!(findings(lines, Parent::Unknown), expected, "{lines}");
}

#[test]
fn a_plain_zone_has_nothing_wrong() {
    check_lines(
        "www A 192.0.2.2\n@ MX 10 ns\n@ MX 20 mail.test.\nnull MX 0 .\n*.w A 192.0.2.3\n\
         hosted MX 10 a.w\nsub NS ns.sub\nns.sub A 192.0.2.4\nsub NS ns.other.test.\n\
         sibling NS ns.sub\nd DNAME other.test.\nbelow MX 10 host.d\nalias CNAME www",
        &[],
    );
}

#[test]
fn a_delegation_needs_addresses_and_no_alias() {
    check_lines("sub NS ns.sub", &["error sub.example NS glue-missing"]);
    check_lines("sub NS nowhere", &["error sub.example NS host-no-address"]);
    check_lines("sub NS a\na CNAME ns", &["error sub.example NS host-alias"]);
    check_lines("sub NS x.a\n*.a CNAME ns", &["error sub.example NS host-alias"]);
    check_lines("*.s NS ns", &["warning *.s.example NS wildcard-ns"]);
    check_lines("@ MX 1 a\na CNAME ns", &["warning example MX host-alias"]);
    check_lines("_s._tcp SRV 0 0 1 gone", &["warning _s._tcp.example SRV host-no-address"]);
    // A name server that only a zone below knows: that zone has to have it.
    check_lines("sub NS ns\nother NS host.deeper.sub", &[]);
}

#[test]
fn what_is_never_answered_is_told() {
    check_lines(
        "sub NS ns\nx.sub TXT lost\ny.sub A 192.0.2.1",
        &["warning x.sub.example TXT occluded"],
    );
    check_lines("d DNAME test.\nx.d MX 1 ns", &["warning x.d.example MX occluded"]);
    check_lines(
        "sub NS ns\ndeep.sub NS ns\nx.deep.sub TXT t",
        &["warning deep.sub.example NS occluded", "warning x.deep.sub.example TXT occluded"],
    );
}

#[test]
fn ds_records_belong_to_a_delegation() {
    let ds = "DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000";
    check_lines(&format!("x {ds}"), &["error x.example DS ds-without-ns"]);
    check_lines(&format!("sub NS ns\nsub {ds}"), &[]);
    let records = [[&[0, 1, 13, 2][..], &[0; 32]].concat()];
    assert_eq!(findings("", Parent::Ds(&records)), ["error example DS ds-unsigned"]);
    assert_eq!(findings("", Parent::Ds(&[])), Vec::<String>::new());
}

#[test]
fn a_signed_zone_is_told_from_one_that_has_a_signed_child() {
    let sig = "RRSIG A 13 2 60 20200101000000 20190101000000 1 example. AAAA";
    check_lines(&format!("sub NS ns\nx.sub A 192.0.2.1\nx.sub {sig}"), &[]);
    let codes = findings(&format!("ns {sig}"), Parent::Unknown);
    assert!(codes.contains(&"error example DNSKEY no-dnskey".to_owned()), "{codes:?}");
    assert!(codes.contains(&"error ns.example A key-missing".to_owned()), "{codes:?}");
    assert!(codes.contains(&"error example NSEC no-denial".to_owned()), "{codes:?}");
}

#[test]
fn many_findings_of_a_kind_are_counted_and_few_kept() {
    let lines: String = (0..50).map(|n| format!("sub{n} NS nowhere\n")).collect();
    let text = format!("$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{lines}");
    let apex = Name::from_text("example").unwrap();
    let zone = read_zone(text.as_bytes(), &apex, MasterOptions::default(), &mut |_| {}).unwrap();
    let options = CheckOptions { now: Time(0), expiry_warning_s: 0, threads: 1 };
    let report = check(&apex, &zone.rrsets, Parent::Unknown, &options, &NoCrypto);
    assert_eq!((report.errors, report.findings.len() as u64), (50, FINDINGS_PER_KIND_MAX));
    assert_eq!(report.counts.get("host-no-address"), Some(&50));
}

#[test]
fn octets_that_are_no_records_break_nothing() {
    let apex = Name::from_text("example").unwrap();
    let hash = apex.with_label(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom").unwrap();
    let types = [
        RecordType::RRSIG,
        RecordType::DNSKEY,
        RecordType::NSEC,
        RecordType::NSEC3,
        RecordType::NSEC3PARAM,
        RecordType::ZONEMD,
        RecordType::CDS,
        RecordType::CDNSKEY,
        RecordType::SOA,
        RecordType::NS,
        RecordType::MX,
    ];
    let options = CheckOptions { now: Time(0), expiry_warning_s: 0, threads: 3 };
    let mut random = 7_u32;
    for round in 0..2_000 {
        let mut rrsets = Vec::new();
        for owner in [&apex, &hash] {
            for rtype in types {
                let octets: Vec<u8> = (0..round % 40)
                    .map(|_| {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        // Small numbers are what lengths are made of.
                        (random >> 24) as u8 & if round % 2 == 0 { 0xff } else { 3 }
                    })
                    .collect();
                let records = [octets.clone(), [&octets[..], &[1]].concat()];
                rrsets.push(Rrset::new(owner.clone(), rtype, 60, records).unwrap());
            }
        }
        let ds: Vec<Vec<u8>> = vec![vec![0; round % 7]];
        let report = check(&apex, &rrsets, Parent::Ds(&ds), &options, &NoCrypto);
        assert!(report.errors > 0);
    }
}
