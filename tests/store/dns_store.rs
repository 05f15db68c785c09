//! `DnsStore`: commits, zones, listings and imports, over the embedded engine.

use std::sync::Arc;
use std::time::Duration;

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::store::history::ZoneSource as _;
use aspen_dns::store::kv::{KeyRange, KeyValueStore, KvCommit, KvError};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{DnsStore, Operation, StoreError};

use crate::fixture::{
    Fixture, apply, contents, fixture, listing, name, next, operation, rrset, show_commit,
    told_once,
};

#[tokio::test]
async fn an_rrset_is_put_read_and_deleted() {
    let f = fixture().await;
    let s = &f.store;
    s.create_zone(ZoneSettings::new(name("example.com"))).await.unwrap();
    let www = rrset("www.example.com A 192.0.2.1|192.0.2.2");
    let revision = s.set_record(www.clone()).await.unwrap();
    let found = s.get_record(&name("www.example.com"), RecordType::A).await.unwrap().unwrap();
    assert_eq!((&found.rrset, found.revision, found.is_synthesized), (&www, revision, false));
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
    let f = fixture().await;
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
async fn a_zone_keeps_its_serial_when_one_below_it_comes_or_goes() {
    let f = fixture().await;
    let s = &f.store;
    let soa = |apex: &str| rrset(&format!("{apex} SOA m.example. r.example. 7 1 2 3 4"));
    for apex in ["example.com", "sub.example.com", "com"] {
        s.import_zone(&name(apex), vec![soa(apex)], None, &|_| {}).await.unwrap();
    }
    s.delete_zone(&name("sub.example.com")).await.unwrap();
    apply(s, "+zone other.example.com").await.unwrap();
    for (apex, serial) in [("com", 7), ("example.com", 7), ("other.example.com", 1)] {
        assert_eq!(s.get_zone(&name(apex)).await.unwrap().unwrap().serial, serial, "{apex}");
    }
    apply(s, "+ www.example.com A 192.0.2.1").await.unwrap();
    assert_eq!(s.get_zone(&name("example.com")).await.unwrap().unwrap().serial, 8);
}

#[tokio::test]
async fn an_import_takes_rrsets_of_any_size_and_nsec3_records_below_a_dname() {
    let f = fixture().await;
    let s = &f.store;
    let addresses: Vec<String> =
        (0..5_000).map(|i| format!("192.{}.2.{}", i / 256, i % 256)).collect();
    let large = rrset(&format!("www.example.com A {}", addresses.join("|")));
    let hash = "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom";
    let nsec3 = format!("{hash}.example.net NSEC3 1 0 0 - {hash} SOA DNAME NSEC3PARAM");
    for (apex, rrsets) in [
        ("example.com", vec![large.clone()]),
        ("example.net", vec![rrset("example.net DNAME example.com."), rrset(&nsec3)]),
    ] {
        s.import_zone(&name(apex), rrsets, None, &|_| {}).await.unwrap();
    }
    let found = s.get_record(&large.owner, RecordType::A).await.unwrap().unwrap();
    assert_eq!(found.rrset, large);
    // What the settings say holds for a change of the RRset, and for settings that come along.
    assert!(s.set_record(large.clone()).await.is_err());
    let settings = Some(ZoneSettings::new(name("example.com")));
    assert!(s.import_zone(&name("example.com"), vec![large], settings, &|_| {}).await.is_err());
}

#[tokio::test]
async fn w_22_deleting_a_zone_leaves_names_that_only_end_like_it() {
    let f = fixture().await;
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
    let f = fixture().await;
    assert_eq!(f.store.get_zone(&name("example.com")).await.unwrap(), None);
    assert_eq!(f.store.delete_zone(&name("example.com")).await.unwrap(), None);
}

#[tokio::test]
async fn w_24_listings_are_never_cut_silently() {
    let f = fixture().await;
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
    let f = fixture().await;
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
    assert_eq!(zone.rrset_count, 402);
    let whole = f.store.zone_contents(&name("example.com")).await.unwrap().unwrap();
    let key = f.store.history().await.unwrap().digest_key;
    assert_eq!(whole.zone.digest, key.rrsets(whole.rrsets), "each change is counted once");
    let mut commits = f.store.commits(0).await.unwrap();
    let told = told_once(&mut commits, &f.store, "example.com").await;
    let wanted = (0..16).flat_map(|writer| (0..25).map(move |index| format!("w{writer}-{index}")));
    let mut wanted: Vec<String> = wanted.map(|label| format!("{label}.example.com")).collect();
    wanted.sort();
    assert_eq!(told, wanted, "each change is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w_25_a_cname_and_an_address_never_meet_under_a_race() {
    let f = fixture().await;
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
    let f = fixture().await;
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
        "example.com: replaced",
        "example.com: removed",
        "",
        "example.com: replaced",
    ] {
        assert_eq!(show_commit(&next(&mut commits).await), shown);
    }
    assert_eq!(s.get_zone(&apex).await.unwrap().unwrap().serial, 6);
}

#[tokio::test]
async fn w_30_what_does_not_parse_is_an_error_and_never_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let s = DnsStore::open(engine.clone()).await.unwrap();
    apply(&s, "+zone example.com\n+ www.example.com A 192.0.2.1").await.unwrap();
    let range = KeyRange { start: Vec::new(), end: vec![u8::MAX] };
    let unreadable = |error| matches!(error, StoreError::Kv(KvError::Unreadable { .. }));
    let (www, apex) = (name("www.example.com"), name("example.com"));
    // The rows first, then the zone object.
    for first in [b'r', b'Z'] {
        let entries = engine.range(&range, None, 100).await.unwrap().entries;
        let damaged = entries.into_iter().filter(|(key, _)| key[0] == first);
        let puts = damaged.map(|(key, _)| (key, b"?".to_vec())).collect();
        engine.commit(KvCommit { puts, ..KvCommit::default() }).await.unwrap();
        assert!(unreadable(s.get_record(&www, RecordType::A).await.unwrap_err()));
        assert!(unreadable(s.records_at(&www).await.unwrap_err()));
        assert!(unreadable(s.records(&apex, None, 9).await.unwrap_err()));
        assert!(unreadable(s.set_record(rrset("www.example.com A 192.0.2.2")).await.unwrap_err()));
    }
    assert!(unreadable(s.get_zone(&apex).await.unwrap_err()));
    assert!(unreadable(s.list_zones(None, 9).await.unwrap_err()));
}

#[tokio::test]
async fn a_zone_made_anew_by_one_batch_is_empty_and_its_serial_rises() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com\n+ a.example.com A 192.0.2.1").await.unwrap();
    apply(s, "+ b.example.com A 192.0.2.1").await.unwrap();
    apply(s, "-zone example.com\n+zone example.com\n+ c.example.com A 192.0.2.1").await.unwrap();
    let expected =
        ["example.com SOA 3", "example.com NS ns1.example.com.", "c.example.com A 192.0.2.1"];
    assert_eq!(contents(s, "example.com").await, expected);
    assert_eq!(s.get_zone(&name("example.com")).await.unwrap().unwrap().rrset_count, 3);
}

#[tokio::test]
async fn what_a_deleted_zone_leaves_behind_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let s = DnsStore::open(engine.clone()).await.unwrap();
    apply(&s, "+zone example.com\n+ www.example.com A 192.0.2.1").await.unwrap();
    apply(&s, "-zone example.com").await.unwrap();
    let range = KeyRange { start: vec![b'a'], end: vec![u8::MAX] };
    let swept = async {
        while !engine.range(&range, None, 9).await.unwrap().entries.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), swept).await.unwrap();
}

#[tokio::test]
async fn w_32_deleting_a_large_zone_is_one_commit_and_its_rows_are_swept() {
    let f = fixture().await;
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
async fn an_import_replaces_the_zone_in_one_commit() {
    let f = fixture().await;
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
async fn an_import_takes_what_a_dname_hides_and_no_change_adds_to_it() {
    let f = fixture().await;
    let s = &f.store;
    let hidden = ["x.a.example.com A 192.0.2.1", "c.example.com DNAME e.example."];
    let texts =
        ["a.example.com DNAME b.example.", "c.example.com NS d.example.", hidden[0], hidden[1]];
    let rrsets = texts.iter().map(|text| rrset(text)).collect();
    s.import_zone(&name("example.com"), rrsets, None, &|_| {}).await.unwrap();
    let contents = contents(s, "example.com").await;
    assert!(hidden.iter().all(|text| contents.iter().any(|line| line == text)), "{contents:?}");
    for text in ["+ y.a.example.com A 192.0.2.1", "+ c.example.com A 192.0.2.1"] {
        apply(s, text).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_import_that_breaks_a_rule_changes_nothing() {
    let f = fixture().await;
    let s = &f.store;
    apply(s, "+zone example.com\n+ old.example.com A 192.0.2.1").await.unwrap();
    let before = s.revision().await.unwrap();
    for (texts, broken) in [
        (vec!["a.example.net A 192.0.2.1"], "not at or below"),
        (vec!["a.example.com A 192.0.2.1", "a.example.com CNAME b.example.com."], "must be alone"),
        (vec!["example.com CNAME b.example.com."], "must be alone"),
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
    let mut f = fixture().await;
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
                Ok(engine) => break DnsStore::open(Arc::new(engine)).await.unwrap(),
                Err(KvError::InUse) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("{error}"),
            }
        };
        f = Fixture { store: reopened, dir };
    }
}
