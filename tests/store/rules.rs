//! `DnsStore`: the rules of records, who owns a name, preconditions, look-ups.

use aspen_dns::record::master::{MasterOptions, read_zone};
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::store::rules::RuleError;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{Batch, DnsStore, Expectation, Operation, StoreError};

use crate::fixture::{
    apply, contents, fixture, listing, name, operation, rrset, rule, show, soa_serial,
};

#[tokio::test]
async fn w_27_cname_rules_hold_in_both_directions() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com\n+ a.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+ c.example.com CNAME a.example.com.").await.unwrap();
    for text in [
        "+ a.example.com CNAME c.example.com.",
        "+ c.example.com A 192.0.2.1",
        "+ example.com CNAME a.example.com.",
        "+ new.example.com A 192.0.2.1\n+ new.example.com CNAME a.example.com.",
    ] {
        let broken = rule(apply(s, text).await);
        assert!(matches!(broken, RuleError::CnameNotAlone { .. }), "{text}: {broken}");
    }
    // One batch may turn the one into the other, in any order.
    apply(s, "+ a.example.com CNAME c.example.com.\n- a.example.com A").await.unwrap();
    apply(s, "+ c.example.com A 192.0.2.1\n- c.example.com CNAME").await.unwrap();
}

#[tokio::test]
async fn what_may_stand_beside_a_cname_is_read_imported_and_changed_alike() {
    for (rdata, is_allowed) in [
        ("RRSIG CNAME 8 2 9 0 0 1 example.com. AAAA", true),
        ("NSEC b.example.com. CNAME RRSIG NSEC", true),
        ("KEY 256 3 8 AAAA", true),
        ("SIG CNAME 8 2 9 0 0 1 example.com. AAAA", true),
        ("NXT b.example.com. CNAME SIG NXT", true),
        ("A 192.0.2.1", false),
        ("NS ns.test.", false),
        ("DNAME b.test.", false),
        ("DS 1 8 9 AA", false),
        ("DNSKEY 256 3 8 AAAA", false),
        ("NSEC3 1 0 0 - 00 A", false),
        ("TYPE65280 \\# 0", false),
    ] {
        let f = fixture().await;
        let apex = name("example.com");
        let text = format!(
            "$TTL 60\n@ SOA ns.test. host.test. 1 2 3 4 5\n@ NS ns.test.\n\
             a CNAME b.test.\na {rdata}\n"
        );
        let read = read_zone(text.as_bytes(), &apex, MasterOptions::default(), &mut |_| ());
        assert_eq!(read.is_ok(), is_allowed, "{rdata}");
        let beside =
            [rrset("a.example.com CNAME b.test."), rrset(&format!("a.example.com {rdata}"))];
        let imported = f.store.import_zone(&apex, beside.to_vec(), None, &|_| {}).await;
        assert_eq!(imported.is_ok(), is_allowed, "{rdata}");
        let change =
            format!("+zone example.com\n+ a.example.com {rdata}\n+ a.example.com CNAME b.test.");
        assert_eq!(apply(&f.store, &change).await.is_ok(), is_allowed, "{rdata}");
    }
}

#[tokio::test]
async fn all_records_of_a_name_fit_what_travels_as_one() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com").await.unwrap();
    let large = |rtype: u16| {
        let rdata = (0..15_u8).map(|last| vec![last; 4_000]);
        Rrset::new(name("big.example.com"), RecordType(rtype), 60, rdata).unwrap()
    };
    let put = |rtype: u16| Operation::PutRrset(large(rtype));
    for rtype in 65_300..65_317 {
        commit(s, vec![put(rtype)]).await.unwrap();
    }
    let broken = rule(commit(s, vec![put(65_317)]).await);
    assert!(matches!(broken, RuleError::OwnerTooLarge { .. }), "{broken}");
    // Room is made by what goes in the same batch.
    let gone = Operation::DeleteRrset { owner: name("big.example.com"), rtype: RecordType(65_300) };
    commit(s, vec![put(65_317), gone]).await.unwrap();
    let mut rrsets = vec![rrset("example.com SOA m.example. r.example. 7 1 2 3 4")];
    rrsets.extend((65_300..65_318).map(large));
    let broken = rule(s.import_zone(&name("example.com"), rrsets, None, &|_| {}).await);
    assert!(matches!(broken, RuleError::OwnerTooLarge { .. }), "{broken}");
}

/// Commits operations.
async fn commit(store: &DnsStore, operations: Vec<Operation>) -> Result<(), StoreError> {
    store.apply(Batch { operations, preconditions: Vec::new() }).await.map(drop)
}

#[tokio::test]
async fn w_28_case_does_not_count() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone Example.COM\n+ WWW.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+ www.EXAMPLE.com A 192.0.2.2").await.unwrap();
    assert_eq!(listing(s, "example.com", 9).await[2..], ["www.example.com A 192.0.2.2"]);
    apply(s, "- wWw.example.com A").await.unwrap();
    assert_eq!(listing(s, "example.com", 9).await.len(), 2);
}

#[tokio::test]
async fn w_29_a_name_like_a_key_of_the_store_is_only_a_name() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone _zone\n+zone a\n+ _zone A 192.0.2.1\n+ a AAAA 2001:db8::1").await.unwrap();
    assert_eq!(s.list_zones(None, 9).await.unwrap().items.len(), 2);
    assert!(s.get_record(&name("_zone"), RecordType::A).await.unwrap().is_some());
    assert!(s.get_zone(&name("A")).await.unwrap().is_some());
}

#[tokio::test]
async fn records_outside_any_zone_are_refused() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com").await.unwrap();
    for owner in ["www.example.net", "com", "notexample.com"] {
        let broken = rule(apply(s, &format!("+ {owner} A 192.0.2.1")).await);
        assert!(matches!(broken, RuleError::NoZone { .. }), "{owner}: {broken}");
    }
    let put = Operation::PutRrsetIn {
        apex: name("example.com"),
        rrset: rrset("www.notexample.com A 192.0.2.1"),
    };
    let broken = rule(s.apply(vec![put].into()).await);
    assert!(matches!(broken, RuleError::OutOfZone { .. }), "{broken}");
}

#[tokio::test]
async fn the_deepest_zone_owns_a_name_and_a_ds_goes_above() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com\n+ www.sub.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+zone sub.example.com\n+ www.sub.example.com A 192.0.2.2").await.unwrap();
    let ds = "sub.example.com DS 1 8 2 \
              00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    apply(s, &format!("+ {ds}")).await.unwrap();
    let found = s.get_record(&name("www.sub.example.com"), RecordType::A).await.unwrap().unwrap();
    assert_eq!(found.apex, name("sub.example.com"));
    assert_eq!(show(&found.rrset), "www.sub.example.com A 192.0.2.2");
    let found = s.get_record(&name("sub.example.com"), RecordType::DS).await.unwrap().unwrap();
    assert_eq!(found.apex, name("example.com"));
    // The delegation above it is written into the zone that is named.
    let delegation = Operation::PutRrsetIn {
        apex: name("example.com"),
        rrset: rrset("sub.example.com NS ns.example.net."),
    };
    s.apply(vec![delegation].into()).await.unwrap();
    assert!(
        contents(s, "example.com").await.contains(&"sub.example.com NS ns.example.net.".into())
    );
    assert_eq!(contents(s, "sub.example.com").await[1], "sub.example.com NS ns1.sub.example.com.");
}

#[tokio::test]
async fn records_are_added_and_taken_away_in_the_zone_that_is_named() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com\n+ ns.sub.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+zone sub.example.com\n+ ns.sub.example.com A 192.0.2.50").await.unwrap();
    let (owner, rtype) = (name("ns.sub.example.com"), RecordType::A);
    let extend = |apex: &str, ttl_s, last: u8| Operation::ExtendRrsetIn {
        apex: name(apex),
        owner: owner.clone(),
        rtype,
        ttl_s,
        records: vec![vec![192, 0, 2, last]],
    };
    let prune = |apex: &str, last: u8| Operation::PruneRrsetIn {
        apex: name(apex),
        owner: owner.clone(),
        rtype,
        records: vec![vec![192, 0, 2, last]],
    };
    let (above, below) = ("example.com", "sub.example.com");
    for (operation, in_above, in_below) in [
        (extend(above, None, 2), Some("192.0.2.1 192.0.2.2"), Some("192.0.2.50")),
        (prune(above, 1), Some("192.0.2.2"), Some("192.0.2.50")),
        (prune(above, 50), Some("192.0.2.2"), Some("192.0.2.50")),
        (extend(below, None, 51), Some("192.0.2.2"), Some("192.0.2.50 192.0.2.51")),
        (prune(above, 2), None, Some("192.0.2.50 192.0.2.51")),
        (extend(above, Some(60), 3), Some("192.0.2.3"), Some("192.0.2.50 192.0.2.51")),
    ] {
        s.apply(vec![operation.clone()].into()).await.unwrap();
        for (apex, expected) in [(above, in_above), (below, in_below)] {
            let found = s.records_in(&name(apex), std::slice::from_ref(&owner)).await.unwrap();
            let found = found.first().map(|found| {
                let texts = found.rrset.rdata.iter().map(|rdata| format!("192.0.2.{}", rdata[3]));
                texts.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{apex} after {operation:?}");
        }
    }
    let before = s.revision().await.unwrap();
    for nothing in [extend(above, None, 3), prune(above, 9)] {
        assert_eq!(s.apply(vec![nothing].into()).await.unwrap().revision, before);
    }
    s.apply(vec![prune(above, 3)].into()).await.unwrap();
    let broken = rule(s.apply(vec![extend(above, None, 4)].into()).await);
    assert!(matches!(broken, RuleError::NoTtl { .. }), "{broken}");
}

#[tokio::test]
async fn nothing_stands_below_a_dname() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com\n+ x.a.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+ d.example.com DNAME example.net.\n+ d.example.com A 192.0.2.1").await.unwrap();
    for text in [
        "+ a.example.com DNAME example.net.",
        "+ example.com DNAME example.net.",
        "+ x.d.example.com A 192.0.2.1",
        "+ x.y.d.example.com A 192.0.2.1",
        "+ n.example.com DNAME example.net.\n+ x.n.example.com A 192.0.2.1",
    ] {
        let broken = rule(apply(s, text).await);
        assert!(matches!(broken, RuleError::BelowDname { .. }), "{text}: {broken}");
    }
    apply(s, "- x.a.example.com A\n+ a.example.com DNAME example.net.").await.unwrap();
    apply(s, "- d.example.com DNAME\n+ x.d.example.com A 192.0.2.1").await.unwrap();
}

#[tokio::test]
async fn an_soa_is_written_its_serial_kept_and_deleted_again() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com").await.unwrap();
    let soa = |serial: u32| format!("+ example.com SOA m.example. r.example. {serial} 1 2 3 4");
    for (text, serial) in [
        (soa(4_000_000_000), 2),             // older by RFC 1982: the policy's next
        (soa(2_026_112_300), 2_026_112_300), // newer: taken
        ("+ a.example.com A 192.0.2.1".into(), 2_026_112_301),
        (soa(2_026_112_301), 2_026_112_302), // the same: the next
        ("- example.com SOA".into(), 2_026_112_303), // the synthesized one goes on
    ] {
        apply(s, &text).await.unwrap();
        let found = s.get_record(&name("example.com"), RecordType::SOA).await.unwrap().unwrap();
        assert_eq!(soa_serial(&found.rrset), serial, "{text}");
        assert_eq!(found.is_synthesized, text.starts_with('-'));
    }
    let broken = rule(apply(s, "+ www.example.com SOA m. r. 1 1 2 3 4").await);
    assert!(matches!(broken, RuleError::SoaNotAtApex { .. }));
}

#[tokio::test]
async fn preconditions_of_a_batch_are_judged() {
    let f = fixture().await;
    let s = &f.store;
    let apex = || name("example.com");
    let zone_revision = apply(s, "+zone example.com").await.unwrap();
    let revision = apply(s, "+ a.example.com A 192.0.2.1").await.unwrap();
    let (owner, rtype) = (name("a.example.com"), RecordType::A);
    let none = name("b.example.com");
    for (expectation, holds) in [
        (Expectation::ZoneSerial { apex: apex(), serial: 2 }, true),
        (Expectation::ZoneSerial { apex: apex(), serial: 1 }, false),
        (Expectation::ZoneAtRevision { apex: apex(), revision }, true),
        (Expectation::ZoneAtRevision { apex: apex(), revision: zone_revision }, false),
        (Expectation::ZoneAbsent { apex: apex() }, false),
        (Expectation::ZoneAbsent { apex: name("example.net") }, true),
        (Expectation::RrsetAtRevision { owner: owner.clone(), rtype, revision }, true),
        (Expectation::RrsetAtRevision { owner: owner.clone(), rtype, revision: 1 }, false),
        (Expectation::RrsetAtRevision { owner: none.clone(), rtype, revision }, false),
        (Expectation::RrsetAbsent { owner: owner.clone(), rtype }, false),
        (Expectation::RrsetAbsent { owner: none.clone(), rtype }, true),
        // What settings synthesize is there, and as old as the zone.
        (Expectation::RrsetAbsent { owner: apex(), rtype: RecordType::NS }, false),
        (Expectation::RrsetAtRevision { owner: apex(), rtype: RecordType::NS, revision }, true),
        (Expectation::RrsetAbsent { owner: apex(), rtype: RecordType::SOA }, false),
        (Expectation::RrsetAtRevision { owner: apex(), rtype: RecordType::SOA, revision }, true),
    ] {
        // An operation that changes nothing, so that the table holds for every row.
        let operations = vec![operation("- nothing.example.com A")];
        let preconditions = vec![expectation.clone()];
        let result = s.apply(Batch { operations, preconditions }).await;
        assert_eq!(result.is_ok(), holds, "{expectation:?}");
        let failed = matches!(result, Err(StoreError::PreconditionFailed { index: 0 }));
        assert_eq!(failed, !holds, "{expectation:?}");
    }
    let stale = [Expectation::ZoneAtRevision { apex: apex(), revision: zone_revision }];
    let imported = s.import_zone_if(&apex(), Vec::new(), None, &stale, &|_| {}).await;
    assert!(matches!(imported, Err(StoreError::PreconditionFailed { index: 0 })));
    assert_eq!(listing(s, "example.com", 9).await.len(), 3, "nothing was replaced");
    let again = s.create_zone(ZoneSettings::new(apex())).await;
    assert!(matches!(again, Err(StoreError::PreconditionFailed { .. })));
}

#[tokio::test]
async fn resolve_finds_wildcards_by_rfc_4592() {
    let f = fixture().await;
    let s = &f.store;
    apply(
        s,
        "+zone example\n+ *.example TXT \"w\"\n+ *.example MX 10 host1.example.\n\
         + sub.*.example TXT \"s\"\n+ host1.example A 192.0.2.1\n\
         + _ssh._tcp.host1.example SRV 0 0 22 host1.example.\n+ c.example CNAME host1.example.",
    )
    .await
    .unwrap();
    // RFC 4592 section 2.2.1's questions.
    for (qname, qtype, found) in [
        ("host3.example", "MX", Some("*.example MX 10 host1.example.")),
        ("foo.bar.example", "TXT", Some("*.example TXT \"w\"")),
        ("host1.example", "MX", None),
        ("sub.*.example", "MX", None),
        ("_telnet._tcp.host1.example", "SRV", None),
        ("_tcp.host1.example", "TXT", None),
        ("ghost.*.example", "MX", None),
        ("host1.example", "A", Some("host1.example A 192.0.2.1")),
        ("c.example", "A", Some("c.example CNAME host1.example.")),
        ("example.net", "A", None),
    ] {
        let record = s.resolve(&name(qname), qtype.parse().unwrap()).await.unwrap();
        assert_eq!(record.map(|r| show(&r.rrset)).as_deref(), found, "{qname} {qtype}");
    }
}
