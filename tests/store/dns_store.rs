//! `DnsStore` over the embedded engine.

use std::sync::Arc;
use std::time::Duration;

use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset, rdata};
use aspen_dns::store::kv::KvError;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::rules::RuleError;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{
    Batch, CommitStream, DnsStore, Expectation, Operation, StoreCommit, StoreError, ZoneCommitKind,
};

/// A store in a directory of its own.
pub struct Fixture {
    pub store: Arc<DnsStore>,
    pub dir: tempfile::TempDir,
}

pub fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    Fixture { store, dir }
}

pub fn open(dir: &tempfile::TempDir) -> Arc<DnsStore> {
    DnsStore::new(Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap()))
}

pub fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

/// Makes an RRset of `owner TYPE RDATA`, with `|` between records; TTL 60.
pub fn rrset(text: &str) -> Rrset {
    let mut words = text.splitn(3, ' ');
    let (owner, rtype) = (words.next().unwrap(), words.next().unwrap());
    let rtype: RecordType = rtype.parse().unwrap();
    let records: Vec<Vec<u8>> = words
        .next()
        .unwrap()
        .split('|')
        .map(|text| rdata::parse(rtype, text, &Name::root()).unwrap())
        .collect();
    Rrset::new(name(owner), rtype, 60, records).unwrap()
}

/// Makes an operation of `+ RRSET`, `- OWNER TYPE`, `+zone APEX` or `-zone APEX`.
pub fn operation(text: &str) -> Operation {
    let (what, rest) = text.split_once(' ').unwrap();
    match what {
        "+" => Operation::PutRrset(rrset(rest)),
        "-" => {
            let (owner, rtype) = rest.split_once(' ').unwrap();
            Operation::DeleteRrset { owner: name(owner), rtype: rtype.parse().unwrap() }
        }
        "+zone" => Operation::PutZone(ZoneSettings::new(name(rest))),
        "-zone" => Operation::DeleteZone { apex: name(rest) },
        _ => panic!("{text}"),
    }
}

/// Applies operations, one a line.
async fn apply(store: &DnsStore, text: &str) -> Result<u64, StoreError> {
    let operations: Vec<Operation> = text.lines().map(|line| operation(line.trim())).collect();
    store.apply(operations.into()).await.map(|committed| committed.revision)
}

/// Returns the rule that broke.
fn rule<T: std::fmt::Debug>(result: Result<T, StoreError>) -> RuleError {
    match result {
        Err(StoreError::Rule(rule)) => rule,
        other => panic!("{other:?} breaks no rule"),
    }
}

/// Shows an RRset as text, the SOA by its serial alone.
pub fn show(rrset: &Rrset) -> String {
    let mut text = format!("{} {}", rrset.owner, rrset.rtype);
    if rrset.rtype == RecordType::SOA {
        return format!("{text} {}", soa_serial(rrset));
    }
    for (index, record) in rrset.rdata.iter().enumerate() {
        text.push(if index == 0 { ' ' } else { '|' });
        rdata::write(rrset.rtype, record, &mut text);
    }
    text
}

fn soa_serial(rrset: &Rrset) -> u32 {
    let numbers = rrset.rdata.first().split_last_chunk::<20>().unwrap().1;
    u32::from_be_bytes(*numbers.first_chunk().unwrap())
}

fn show_commit(commit: &StoreCommit) -> String {
    let mut shown = Vec::new();
    for zone in &commit.zones {
        let kind = match &zone.kind {
            ZoneCommitKind::Replaced => "replaced".to_owned(),
            ZoneCommitKind::Removed => "removed".to_owned(),
            ZoneCommitKind::Changes(changes) => {
                let show = |change: &Change| match change {
                    Change::Put(rrset) => format!("+{}", show(rrset)),
                    Change::Delete { owner, rtype } => format!("-{owner} {rtype}"),
                };
                changes.iter().map(show).collect::<Vec<_>>().join(", ")
            }
        };
        shown.push(format!("{}: {kind}", zone.apex));
    }
    shown.join("; ")
}

async fn next(commits: &mut CommitStream) -> StoreCommit {
    tokio::time::timeout(Duration::from_secs(10), commits.next()).await.unwrap().unwrap()
}

/// Returns all RRsets of a zone as text, read by pages of `limit`.
pub async fn listing(store: &DnsStore, apex: &str, limit: u32) -> Vec<String> {
    let (mut shown, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.records(&name(apex), cursor.as_ref(), limit).await.unwrap();
        shown.extend(page.items.iter().map(|found| show(&found.rrset)));
        cursor = page.next;
        if cursor.is_none() {
            return shown;
        }
    }
}

/// Returns all RRsets of a zone as text, as an exporter reads them.
pub async fn contents(store: &DnsStore, apex: &str) -> Vec<String> {
    let mut contents = store.zone_contents(&name(apex)).await.unwrap();
    let mut shown = Vec::new();
    while let Some(page) = contents.next_page().await.unwrap() {
        shown.extend(page.iter().map(show));
    }
    shown
}

#[tokio::test]
async fn an_rrset_is_put_read_and_deleted() {
    let f = fixture();
    let s = &f.store;
    s.create_zone(ZoneSettings::new(name("example.com"))).await.unwrap();
    let www = rrset("www.example.com A 192.0.2.1|192.0.2.2");
    let revision = s.set_record(www.clone()).await.unwrap();
    let found = s.get_record(&name("www.example.com"), RecordType::A).await.unwrap().unwrap();
    assert_eq!((&found.rrset, found.revision, found.is_synthesised), (&www, revision, false));
    assert!(found.updated_at_ms > 0);
    assert_eq!(s.records_at(&www.owner).await.unwrap(), [found]);
    let deleted = s.delete_record(&www.owner, RecordType::A).await.unwrap();
    assert!(deleted > Some(revision));
    assert_eq!(s.get_record(&www.owner, RecordType::A).await.unwrap(), None);
    assert_eq!(s.delete_record(&www.owner, RecordType::A).await.unwrap(), None);
    assert_eq!(Some(s.revision().await.unwrap()), deleted, "nothing deleted, nothing committed");
}

#[tokio::test]
async fn a_commit_bumps_the_serial_once_and_carries_the_soa() {
    let f = fixture();
    let s = &f.store;
    let mut commits = s.commits(0).await.unwrap();
    let r1 = apply(s, "+zone example.com").await.unwrap();
    let r2 = apply(s, "+ a.example.com A 192.0.2.1\n+ b.example.com A 192.0.2.2").await.unwrap();
    let r3 = apply(s, "- a.example.com A\n- nothing.example.com A").await.unwrap();
    let r4 = apply(s, "-zone example.com").await.unwrap();
    for (revision, prev_revision, shown) in [
        (r1, None, "example.com: replaced"),
        (
            r2,
            Some(r1),
            "example.com: +a.example.com A 192.0.2.1, +b.example.com A 192.0.2.2, +example.com SOA 2",
        ),
        (r3, Some(r2), "example.com: -a.example.com A, +example.com SOA 3"),
        (r4, Some(r3), "example.com: removed"),
    ] {
        let commit = next(&mut commits).await;
        assert_eq!(show_commit(&commit), shown);
        assert_eq!((commit.revision, commit.zones[0].prev_revision), (revision, prev_revision));
    }
}

#[tokio::test]
async fn w_22_deleting_a_zone_leaves_names_that_only_end_like_it() {
    let f = fixture();
    let s = &f.store;
    apply(s, "+zone example.com\n+zone notexample.com\n+zone sub.example.com").await.unwrap();
    let all = "+ www.example.com A 192.0.2.1\n+ www.notexample.com A 192.0.2.2\n\
               + www.sub.example.com A 192.0.2.3";
    apply(s, all).await.unwrap();
    assert!(s.delete_zone(&name("example.com")).await.unwrap().is_some());
    for (owner, is_there) in
        [("www.example.com", false), ("www.notexample.com", true), ("www.sub.example.com", true)]
    {
        let found = s.get_record(&name(owner), RecordType::A).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{owner}");
    }
    // An empty name is no zone; the root is one only if it was made.
    assert_eq!(s.delete_zone(&Name::root()).await.unwrap(), None);
    assert_eq!(s.list_zones(None, 10).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn w_23_a_zone_that_is_not_there_is_no_error() {
    let f = fixture();
    assert_eq!(f.store.get_zone(&name("example.com")).await.unwrap(), None);
    assert_eq!(f.store.delete_zone(&name("example.com")).await.unwrap(), None);
}

#[tokio::test]
async fn w_24_listings_are_never_cut_silently() {
    let f = fixture();
    let s = &f.store;
    let zones: Vec<Operation> =
        (0..1_200).map(|n| operation(&format!("+zone z{n:04}.example"))).collect();
    s.apply(zones.into()).await.unwrap();
    let records: Vec<Operation> =
        (0..1_200).map(|n| operation(&format!("+ r{n:04}.z0000.example A 192.0.2.1"))).collect();
    s.apply(records.into()).await.unwrap();
    for limit in [1, 500, 1_199, 1_200, 1_201, u32::MAX] {
        let (mut count, mut cursor) = (0, None);
        if limit > 1 {
            loop {
                let page = s.list_zones(cursor.as_ref(), limit).await.unwrap();
                count += page.items.len();
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(count, 1_200, "zones by {limit}");
        }
        let records = listing(s, "z0000.example", limit).await;
        assert_eq!(records.len(), 1_202, "records by {limit}, SOA and NS with them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w_25_concurrent_writers_lose_nothing() {
    let f = fixture();
    apply(&f.store, "+zone example.com").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let store = f.store.clone();
        tasks.spawn(async move {
            for index in 0..25 {
                let text = format!("w{writer}-{index}.example.com A 192.0.2.1");
                store.set_record(rrset(&text)).await.unwrap();
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    let zone = f.store.get_zone(&name("example.com")).await.unwrap().unwrap();
    assert_eq!((zone.serial, zone.rrset_count), (401, 402), "each commit once");
    let mut commits = f.store.commits(0).await.unwrap();
    let mut previous = None;
    for serial in 1..=401 {
        let commit = next(&mut commits).await;
        assert_eq!(commit.zones[0].serial, serial);
        assert_eq!(commit.zones[0].prev_revision, previous, "the chain has no gap");
        previous = Some(commit.revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w_25_a_cname_and_an_address_never_meet_under_a_race() {
    let f = fixture();
    apply(&f.store, "+zone example.com").await.unwrap();
    for round in 0..50 {
        let race = |text: String| {
            let store = f.store.clone();
            tokio::spawn(async move { store.set_record(rrset(&text)).await })
        };
        let cname = race(format!("n{round}.example.com CNAME www.example.com."));
        let address = race(format!("n{round}.example.com A 192.0.2.1"));
        let (cname, address) = (cname.await.unwrap(), address.await.unwrap());
        assert_ne!(cname.is_ok(), address.is_ok(), "round {round}: one of the two");
    }
}

#[tokio::test]
async fn w_26_settings_take_effect_and_the_serial_only_rises() {
    let f = fixture();
    let s = &f.store;
    let mut commits = s.commits(0).await.unwrap();
    let apex = name("example.com");
    let mut settings = ZoneSettings::new(apex.clone());
    s.set_zone(settings.clone()).await.unwrap();
    s.set_record(rrset("www.example.com A 192.0.2.1")).await.unwrap();
    settings.nameservers = vec![name("ns.example.net")];
    s.set_zone(settings.clone()).await.unwrap();
    settings.is_enabled = false;
    s.set_zone(settings.clone()).await.unwrap();
    s.set_record(rrset("www.example.com A 192.0.2.2")).await.unwrap();
    settings.is_enabled = true;
    s.set_zone(settings).await.unwrap();
    for shown in [
        "example.com: replaced",
        "example.com: +www.example.com A 192.0.2.1, +example.com SOA 2",
        "example.com: +example.com NS ns.example.net., +example.com SOA 3",
        "example.com: removed",
        "",
        "example.com: replaced",
    ] {
        assert_eq!(show_commit(&next(&mut commits).await), shown);
    }
    assert_eq!(s.get_zone(&apex).await.unwrap().unwrap().serial, 6);
}

#[tokio::test]
async fn w_27_cname_rules_hold_in_both_directions() {
    let f = fixture();
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
async fn w_28_case_does_not_count() {
    let f = fixture();
    let s = &f.store;
    apply(s, "+zone Example.COM\n+ WWW.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+ www.EXAMPLE.com A 192.0.2.2").await.unwrap();
    assert_eq!(listing(s, "example.com", 9).await[2..], ["www.example.com A 192.0.2.2"]);
    apply(s, "- wWw.example.com A").await.unwrap();
    assert_eq!(listing(s, "example.com", 9).await.len(), 2);
}

#[tokio::test]
async fn w_29_a_name_like_a_key_of_the_store_is_only_a_name() {
    let f = fixture();
    let s = &f.store;
    apply(s, "+zone _zone\n+zone a\n+ _zone A 192.0.2.1\n+ a AAAA 2001:db8::1").await.unwrap();
    assert_eq!(s.list_zones(None, 9).await.unwrap().items.len(), 2);
    assert!(s.get_record(&name("_zone"), RecordType::A).await.unwrap().is_some());
    assert!(s.get_zone(&name("A")).await.unwrap().is_some());
}

#[tokio::test]
async fn w_32_deleting_a_large_zone_is_one_commit_and_its_rows_are_swept() {
    let f = fixture();
    let s = &f.store;
    let rrsets = (0..5_000).map(|n| rrset(&format!("n{n}.example.com A 192.0.2.1"))).collect();
    let imported = s.import_zone(&name("example.com"), rrsets, None, &|_| {}).await.unwrap();
    let deleted = s.delete_zone(&name("example.com")).await.unwrap().unwrap();
    assert!(deleted > imported);
    assert_eq!(s.get_record(&name("n7.example.com"), RecordType::A).await.unwrap(), None);
    apply(s, "+zone example.com").await.unwrap();
    assert_eq!(contents(s, "example.com").await.len(), 2, "the new zone is empty");
}

#[tokio::test]
async fn records_outside_any_zone_are_refused() {
    let f = fixture();
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
    let f = fixture();
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
async fn nothing_stands_below_a_dname() {
    let f = fixture();
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
    let f = fixture();
    let s = &f.store;
    apply(s, "+zone example.com").await.unwrap();
    let soa = |serial: u32| format!("+ example.com SOA m.example. r.example. {serial} 1 2 3 4");
    for (text, serial) in [
        (soa(4_000_000_000), 2),             // older by RFC 1982: the policy's next
        (soa(2_026_112_300), 2_026_112_300), // newer: taken
        ("+ a.example.com A 192.0.2.1".into(), 2_026_112_301),
        (soa(2_026_112_301), 2_026_112_302), // the same: the next
        ("- example.com SOA".into(), 2_026_112_303), // the synthesised one goes on
    ] {
        apply(s, &text).await.unwrap();
        let found = s.get_record(&name("example.com"), RecordType::SOA).await.unwrap().unwrap();
        assert_eq!(soa_serial(&found.rrset), serial, "{text}");
        assert_eq!(found.is_synthesised, text.starts_with('-'));
    }
    let broken = rule(apply(s, "+ www.example.com SOA m. r. 1 1 2 3 4").await);
    assert!(matches!(broken, RuleError::SoaNotAtApex { .. }));
}

#[tokio::test]
async fn preconditions_of_a_batch_are_judged() {
    let f = fixture();
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
    ] {
        // An operation that changes nothing, so that the table holds for every row.
        let operations = vec![operation("- nothing.example.com A")];
        let preconditions = vec![expectation.clone()];
        let result = s.apply(Batch { operations, preconditions }).await;
        assert_eq!(result.is_ok(), holds, "{expectation:?}");
        let failed = matches!(result, Err(StoreError::PreconditionFailed { index: 0 }));
        assert_eq!(failed, !holds, "{expectation:?}");
    }
    let again = s.create_zone(ZoneSettings::new(apex())).await;
    assert!(matches!(again, Err(StoreError::PreconditionFailed { .. })));
}

#[tokio::test]
async fn resolve_finds_wildcards_by_rfc_4592() {
    let f = fixture();
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

#[tokio::test]
async fn an_import_replaces_the_zone_in_one_commit() {
    let f = fixture();
    let s = &f.store;
    apply(s, "+zone example.com\n+ old.example.com A 192.0.2.1").await.unwrap();
    let before = s.revision().await.unwrap();
    let mut commits = s.commits(before).await.unwrap();
    let mut rrsets: Vec<Rrset> =
        (0..10_000).rev().map(|n| rrset(&format!("n{n:05}.example.com A 192.0.2.1"))).collect();
    rrsets.push(rrset("example.com SOA m.example. r.example. 77 1 2 3 4"));
    rrsets.push(rrset("example.com NS ns.example.net."));
    let heard = std::sync::atomic::AtomicU64::new(0);
    let progress = |count| heard.store(count, std::sync::atomic::Ordering::Relaxed);
    let revision = s.import_zone(&name("example.com"), rrsets, None, &progress).await.unwrap();
    assert_eq!(heard.load(std::sync::atomic::Ordering::Relaxed), 10_001);
    let commit = next(&mut commits).await;
    assert_eq!((commit.revision, show_commit(&commit)), (revision, "example.com: replaced".into()));
    let all = contents(s, "example.com").await;
    assert_eq!(all.len(), 10_002);
    assert_eq!(all[..2], ["example.com SOA 77", "example.com NS ns.example.net."]);
    assert!(all[2..].is_sorted());
    assert_eq!(s.get_zone(&name("example.com")).await.unwrap().unwrap().rrset_count, 10_002);
    // Edits go on in the new rows.
    apply(s, "+ new.example.com A 192.0.2.1\n- n00001.example.com A").await.unwrap();
    assert_eq!(contents(s, "example.com").await.len(), 10_002);
}

#[tokio::test]
async fn an_import_that_breaks_a_rule_changes_nothing() {
    let f = fixture();
    let s = &f.store;
    apply(s, "+zone example.com\n+ old.example.com A 192.0.2.1").await.unwrap();
    let before = s.revision().await.unwrap();
    for (texts, broken) in [
        (vec!["a.example.net A 192.0.2.1"], "not at or below"),
        (vec!["a.example.com A 192.0.2.1", "a.example.com CNAME b.example.com."], "must be alone"),
        (vec!["example.com CNAME b.example.com."], "must be alone"),
        (vec!["a.example.com DNAME b.example.", "x.a.example.com A 192.0.2.1"], "below the DNAME"),
        (vec!["a.example.com A 192.0.2.1", "A.example.com A 192.0.2.2"], "is there twice"),
        (
            vec!["example.com SOA m. r. 1 1 2 3 4", "example.com SOA m. r. 2 1 2 3 4"],
            "is there twice",
        ),
        (vec!["www.example.com SOA m. r. 1 1 2 3 4"], "not the apex"),
    ] {
        let rrsets: Vec<Rrset> = texts.iter().map(|text| rrset(text)).collect();
        let error = s.import_zone(&name("example.com"), rrsets, None, &|_| {}).await.unwrap_err();
        assert!(error.to_string().contains(broken), "{texts:?}: {error}");
    }
    assert_eq!(s.revision().await.unwrap(), before);
    assert_eq!(contents(s, "example.com").await[2..], ["old.example.com A 192.0.2.1"]);
}

#[tokio::test]
async fn commits_resume_after_a_restart_without_a_gap() {
    let mut f = fixture();
    let mut after = 0;
    for round in 1..=3_u32 {
        if round == 1 {
            apply(&f.store, "+zone example.com").await.unwrap();
        } else {
            apply(&f.store, &format!("+ n{round}.example.com A 192.0.2.1")).await.unwrap();
        }
        apply(&f.store, "+ www.example.com A 192.0.2.1").await.unwrap();
        let mut commits = f.store.commits(after).await.unwrap();
        for serial in [2 * round - 1, 2 * round] {
            let commit = next(&mut commits).await;
            assert_eq!(commit.zones[0].serial, serial);
            assert_eq!(commit.zones[0].prev_revision, (after > 0).then_some(after));
            after = commit.revision;
        }
        drop(commits);
        // A sweep may still hold the store for a moment.
        let Fixture { store, dir } = f;
        let mut store = Some(store);
        let reopened = loop {
            drop(store.take());
            match RedbStore::open(&dir.path().join("store.redb")) {
                Ok(engine) => break DnsStore::new(Arc::new(engine)),
                Err(KvError::InUse) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("{error}"),
            }
        };
        f = Fixture { store: reopened, dir };
    }
}
