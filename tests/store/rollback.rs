//! Going back to a revision: every kind of change is undone, in one commit, or it is said why not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::store::kv::{KeyValueStore, KvCommit};
use aspen_dns::store::redb::{LogBounds, RedbStore};
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{DnsStore, RollbackError, RollbackStep, StoredRrset};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{Fixture, apply, contents, fixture, name, rrset};

/// How long tests keep what zones have left: longer than they run.
pub const KEPT_MS: u64 = 3_600_000;

/// A store that keeps what zones leave.
async fn keeping() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let engine = RedbStore::open(&dir.path().join("store.redb")).unwrap();
    let store = DnsStore::open_keeping(Arc::new(engine), KEPT_MS).await.unwrap();
    Fixture { store, dir }
}

/// What a zone is but for its serial: its settings, and its RRsets as text, the SOA without its serial.
pub type Shown = (ZoneSettings, Vec<String>);

/// What all zones are.
pub async fn shown(store: &DnsStore) -> BTreeMap<String, Shown> {
    let mut all = BTreeMap::new();
    for zone in store.list_zones(None, 10_000).await.unwrap().items {
        let apex = zone.settings.apex.to_string();
        let found = store.records(&zone.settings.apex, None, 10_000).await.unwrap().items;
        let row = |found: &StoredRrset| format!("{} {}", text(&found.rrset), found.is_synthesized);
        let mut rrsets: Vec<String> = found.iter().map(row).collect();
        rrsets.sort();
        assert_eq!(zone.rrset_count, rrsets.len() as u64, "{apex}: as counted");
        // What the rows come to is what the zone says that they come to.
        assert!(!store.recount(&zone.settings.apex).await.unwrap(), "{apex}");
        all.insert(apex, (zone.settings, rrsets));
    }
    all
}

/// An RRset with its TTL; of an SOA all but the serial.
fn text(rrset: &Rrset) -> String {
    let mut octets: Vec<u8> = rrset.rdata.as_octets().to_vec();
    if rrset.rtype == RecordType::SOA {
        let serial_at = octets.len() - 20;
        octets[serial_at..serial_at + 4].fill(0);
    }
    let octets = data_encoding::HEXLOWER.encode(&octets);
    format!("{} {} {} {octets}", rrset.owner, rrset.ttl_s, rrset.rtype)
}

/// The serials of all zones.
async fn serials(store: &DnsStore) -> BTreeMap<Name, u32> {
    let zones = store.list_zones(None, 10_000).await.unwrap().items;
    zones.into_iter().map(|zone| (zone.settings.apex, zone.serial)).collect()
}

/// Imports a zone of some RRsets with one address.
pub async fn import(store: &DnsStore, apex: &str, count: usize, last: u8) {
    let rrsets = (0..count).map(|n| rrset(&format!("n{n}.{apex} A 192.0.2.{last}"))).collect();
    store.import_zone(&name(apex), rrsets, None, &|_| {}).await.unwrap();
}

/// Goes back to a revision, and looks that the zones are then what they were, by one commit, and that a dry run has
/// said so.
pub async fn check_back(store: &DnsStore, revision: u64, expected: &BTreeMap<String, Shown>) {
    let (before, newest) = (shown(store).await, store.revision().await.unwrap());
    let old = serials(store).await;
    let planned = store.rollback(revision, None, true).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), newest, "a dry run changes nothing");
    assert_eq!(shown(store).await, before);
    let made = store.rollback(revision, None, false).await.unwrap();
    assert_eq!(&shown(store).await, expected, "back to {revision}");
    let changed: Vec<String> = made.zones.iter().map(|zone| zone.apex.to_string()).collect();
    let differ = |apex: &&String| before.get(*apex) != expected.get(*apex);
    let apexes: std::collections::BTreeSet<&String> =
        before.keys().chain(expected.keys()).collect();
    let mut differing: Vec<String> = apexes.into_iter().filter(differ).cloned().collect();
    differing.sort_by_key(|apex| name(apex));
    assert_eq!(changed, differing);
    for (planned, made) in planned.zones.iter().zip(&made.zones) {
        let same = |zone: &aspen_dns::store::RolledZone| {
            (zone.apex.clone(), zone.step, zone.serial, zone.is_served, zone.is_settings_changed)
        };
        assert_eq!(same(planned), same(made));
        check_counts(planned, &before, expected);
    }
    let now = serials(store).await;
    for zone in &made.zones {
        assert_eq!(zone.serial, now.get(&zone.apex).copied());
        if let (Some(old), Some(new)) = (old.get(&zone.apex), now.get(&zone.apex)) {
            assert!(new.wrapping_sub(*old).wrapping_sub(1) < (1 << 31) - 1, "{old} to {new}");
        }
    }
    if made.zones.is_empty() {
        assert_eq!(made.revision, newest);
    }
    assert_eq!(store.revision().await.unwrap(), made.revision);
}

/// Looks that a dry run counts what changes.
fn check_counts(
    zone: &aspen_dns::store::RolledZone,
    before: &BTreeMap<String, Shown>,
    after: &BTreeMap<String, Shown>,
) {
    // Owner and type to the rest; the SOA and what is synthesized do not count.
    let apex = zone.apex.to_string();
    let rows = |all: &BTreeMap<String, Shown>| -> BTreeMap<(String, String), String> {
        let rrsets = all.get(&apex).map(|(_, rrsets)| rrsets.clone()).unwrap_or_default();
        let row = |text: String| {
            let words: Vec<&str> = text.split(' ').collect();
            ((words[0].to_owned(), words[2].to_owned()), text.clone())
        };
        let is_row = |((_, rtype), text): &((String, String), String)| {
            rtype != "SOA" && text.ends_with(" false")
        };
        rrsets.into_iter().map(row).filter(is_row).collect()
    };
    let (was, is) = (rows(before), rows(after));
    let put = is.iter().filter(|(key, text)| was.get(*key) != Some(*text)).count() as u64;
    let removed = was.keys().filter(|key| !is.contains_key(*key)).count() as u64;
    assert_eq!((zone.put, zone.removed), (Some(put), Some(removed)), "{zone:?}");
}

#[tokio::test]
async fn rrsets_and_settings_that_changed_are_what_they_were_and_again_what_they_became() {
    let f = keeping().await;
    apply(
        &f.store,
        "+zone example.com\n+ www.example.com A 192.0.2.1\n+ old.example.com TXT \"t\"",
    )
    .await
    .unwrap();
    apply(&f.store, "+zone example.net").await.unwrap();
    let revision = f.store.revision().await.unwrap();
    let then = shown(&f.store).await;
    apply(&f.store, "+ www.example.com A 192.0.2.2\n- old.example.com TXT").await.unwrap();
    apply(&f.store, "+ www.example.com A 192.0.2.3\n+ new.example.com A 192.0.2.3").await.unwrap();
    apply(&f.store, "+ example.com SOA a.example.net. b.example.net. 1 2 3 4 5").await.unwrap();
    let mut settings = ZoneSettings::new(name("example.com"));
    (settings.is_enabled, settings.description) = (false, Some("off".into()));
    f.store.set_zone(settings).await.unwrap();
    let later = f.store.revision().await.unwrap();
    let now = shown(&f.store).await;
    check_back(&f.store, revision, &then).await;
    check_back(&f.store, later, &now).await;
    check_back(&f.store, revision, &then).await;
    check_back(&f.store, f.store.revision().await.unwrap(), &then).await;
}

#[tokio::test]
async fn zones_that_were_made_deleted_and_replaced_are_what_they_were() {
    check_zones_of_all_kinds(&keeping().await.store).await;
}

/// Makes, deletes and replaces zones, and goes back and forth between what they were.
pub async fn check_zones_of_all_kinds(store: &DnsStore) {
    apply(store, "+zone gone.example\n+ www.gone.example A 192.0.2.1").await.unwrap();
    import(store, "large.example", 600, 1).await;
    import(store, "small.example", 3, 1).await;
    apply(store, "+ n7.large.example A 192.0.2.9\n- n8.large.example A").await.unwrap();
    let revision = store.revision().await.unwrap();
    let then = shown(store).await;
    // Some rows change before all of them are left.
    apply(
        store,
        "+ n7.large.example A 192.0.2.8\n- n9.large.example A\n+ www.gone.example A 192.0.2.2",
    )
    .await
    .unwrap();
    apply(store, "-zone gone.example").await.unwrap();
    apply(store, "+zone new.example\n+ www.new.example A 192.0.2.1").await.unwrap();
    import(store, "large.example", 700, 2).await;
    import(store, "small.example", 3, 2).await;
    apply(store, "+ n1.large.example A 192.0.2.77").await.unwrap();
    let later = store.revision().await.unwrap();
    let now = shown(store).await;
    let planned = store.rollback(revision, None, true).await.unwrap();
    let steps: Vec<(String, RollbackStep)> =
        planned.zones.iter().map(|zone| (zone.apex.to_string(), zone.step)).collect();
    let expected = [
        ("gone.example", RollbackStep::BroughtBack),
        ("large.example", RollbackStep::Replaced),
        ("new.example", RollbackStep::Deleted),
        ("small.example", RollbackStep::Replaced),
    ];
    assert_eq!(steps, expected.map(|(apex, step)| (apex.to_owned(), step)));
    check_back(store, revision, &then).await;
    // What was brought back changes and is left once more; each state can still be gone back to.
    apply(store, "+ n7.large.example A 192.0.2.5\n+ n11.large.example A 192.0.2.5").await.unwrap();
    let third = store.revision().await.unwrap();
    let third_shown = shown(store).await;
    check_back(store, later, &now).await;
    check_back(store, revision, &then).await;
    check_back(store, third, &third_shown).await;
    check_back(store, later, &now).await;
}

#[tokio::test]
async fn named_zones_alone_go_back_and_one_that_never_was_is_an_error() {
    let f = keeping().await;
    apply(&f.store, "+zone a.example\n+zone b.example\n+ x.a.example A 192.0.2.1").await.unwrap();
    let revision = f.store.revision().await.unwrap();
    apply(&f.store, "- x.a.example A\n+ x.b.example A 192.0.2.1").await.unwrap();
    let made = f.store.rollback(revision, Some(&[name("a.example")]), false).await.unwrap();
    assert_eq!(made.zones.len(), 1);
    assert!(contents(&f.store, "a.example").await.contains(&"x.a.example A 192.0.2.1".to_owned()));
    assert!(contents(&f.store, "b.example").await.contains(&"x.b.example A 192.0.2.1".to_owned()));
    let error = f.store.rollback(revision, Some(&[name("c.example")]), false).await.unwrap_err();
    assert!(error.to_string().contains("there is no zone c.example"), "{error}");
}

#[tokio::test]
async fn a_revision_that_is_none_that_is_to_come_or_that_is_not_kept_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = LogBounds { commits_max: 4, ..LogBounds::default() };
    let engine = RedbStore::open_with(&dir.path().join("store.redb"), bounds).unwrap();
    let store = DnsStore::open_keeping(Arc::new(engine), KEPT_MS).await.unwrap();
    apply(&store, "+zone example.com").await.unwrap();
    let first = store.revision().await.unwrap();
    let mut states = Vec::new();
    for last in 1..=9 {
        let revision = apply(&store, &format!("+ www.example.com A 192.0.2.{last}")).await.unwrap();
        states.push((revision, shown(&store).await));
    }
    let newest = store.revision().await.unwrap();
    let refused = async |revision| store.rollback(revision, None, false).await.unwrap_err();
    assert!(matches!(refused(0).await, RollbackError::Zero));
    let future = refused(newest + 1).await;
    assert!(matches!(future, RollbackError::Future { newest: known, .. } if known == newest));
    let RollbackError::NotKept { kept_from, .. } = refused(first).await else { panic!() };
    assert_eq!(kept_from, newest - 4, "four commits are undone by the log");
    assert!(matches!(refused(kept_from - 1).await, RollbackError::NotKept { .. }));
    assert_eq!(store.revision().await.unwrap(), newest, "what is refused changes nothing");
    let (_, then) = states.iter().find(|(revision, _)| *revision == kept_from).unwrap();
    check_back(&store, kept_from, then).await;
}

#[tokio::test]
async fn a_zone_whose_rows_are_gone_is_refused_and_named_and_others_go_back_without_it() {
    let f = fixture().await; // nothing is kept
    apply(&f.store, "+zone a.example\n+zone b.example\n+ x.b.example A 192.0.2.1").await.unwrap();
    let revision = f.store.revision().await.unwrap();
    let left = apply(&f.store, "-zone b.example").await.unwrap();
    apply(&f.store, "+ x.a.example A 192.0.2.1").await.unwrap();
    // Nobody has to wait for the sweep: it is not kept from the moment that it is marked.
    let refused = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match f.store.rollback(revision, None, true).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    });
    let refused = refused.await.unwrap();
    let RollbackError::ZoneNotKept { apex, kept_from, .. } = &refused else { panic!("{refused}") };
    assert_eq!((apex, *kept_from), (&name("b.example"), left));
    assert!(refused.to_string().contains("--zone"), "{refused}");
    let made = f.store.rollback(revision, Some(&[name("a.example")]), false).await.unwrap();
    assert_eq!(made.zones[0].removed, Some(1));
    f.store.rollback(left, None, false).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_does_not_say_what_it_took_away_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let store = DnsStore::open(engine.clone()).await.unwrap();
    let first = apply(&store, "+zone example.com").await.unwrap();
    apply(&store, "+ a.example.com A 192.0.2.1").await.unwrap();
    // As a version makes one that says nothing.
    let page = engine.get(b"J").await.unwrap().unwrap();
    let puts = vec![(b"J".to_vec(), page.value)];
    let commit = KvCommit { puts, ..Default::default() };
    let gap = engine.commit(commit).await.unwrap();
    let then = shown(&store).await;
    apply(&store, "+ b.example.com A 192.0.2.1").await.unwrap();
    let refused = store.rollback(first, None, false).await.unwrap_err();
    assert!(matches!(refused, RollbackError::NotKept { kept_from, .. } if kept_from == gap));
    check_back(&store, gap, &then).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_meanwhile_is_undone_or_comes_afterwards_and_never_half() {
    let f = keeping().await;
    apply(&f.store, "+zone a.example\n+zone b.example").await.unwrap();
    let revision = f.store.revision().await.unwrap();
    let writers: Vec<_> = ["a.example", "b.example"]
        .map(|apex| {
            let store = f.store.clone();
            tokio::spawn(async move {
                let mut made = Vec::new();
                for index in 0..200 {
                    let text = format!("+ n{index}.{apex} A 192.0.2.1");
                    made.push((index, apply(&store, &text).await.unwrap()));
                }
                (apex, made)
            })
        })
        .into();
    let mut back = revision;
    for _ in 0..20 {
        tokio::task::yield_now().await;
        back = back.max(f.store.rollback(revision, None, false).await.unwrap().revision);
    }
    for writer in writers {
        let (apex, made) = writer.await.unwrap();
        let shown = contents(&f.store, apex).await;
        for (index, at) in made {
            let is_there = shown.contains(&format!("n{index}.{apex} A 192.0.2.1"));
            assert_eq!(is_there, at > back, "n{index}.{apex} at {at}, back at {back}");
        }
    }
}

#[tokio::test]
async fn a_restart_keeps_what_can_be_gone_back_to() {
    let f = keeping().await;
    import(&f.store, "example.com", 600, 1).await;
    let revision = f.store.revision().await.unwrap();
    let then = shown(&f.store).await;
    import(&f.store, "example.com", 600, 2).await;
    apply(&f.store, "+ n3.example.com A 192.0.2.7").await.unwrap();
    let Fixture { store, dir } = f;
    drop(store);
    let opening = async {
        loop {
            match RedbStore::open(&dir.path().join("store.redb")) {
                Ok(engine) => return engine,
                Err(_) => tokio::task::yield_now().await, // the sweep holds it for a moment
            }
        }
    };
    let engine = tokio::time::timeout(Duration::from_secs(20), opening).await.unwrap();
    let store = DnsStore::open_keeping(Arc::new(engine), KEPT_MS).await.unwrap();
    check_back(&store, revision, &then).await;
}

#[tokio::test]
async fn a_serial_that_a_zone_had_before_it_was_deleted_is_not_given_again() {
    let f = keeping().await;
    apply(&f.store, "+zone example.com").await.unwrap();
    let revision = f.store.revision().await.unwrap();
    for last in 1..=8 {
        apply(&f.store, &format!("+ www.example.com A 192.0.2.{last}")).await.unwrap();
    }
    apply(&f.store, "-zone example.com").await.unwrap();
    apply(&f.store, "+zone example.com\n+ a.example.com A 192.0.2.1").await.unwrap();
    let made = f.store.rollback(revision, None, false).await.unwrap();
    assert_eq!((made.zones[0].serial_before, made.zones[0].serial), (Some(1), Some(10)));
}

const APEXES: &[&str] = &["example", "sub.example", "other"];

/// One step of a random history.
fn step() -> impl Strategy<Value = String> {
    let apex = || prop::sample::select(APEXES);
    let row = (apex(), 0..6_u8, 1..4_u8);
    prop_oneof![
        8 => row.prop_map(|(apex, n, last)| format!("+ n{n}.{apex} A 192.0.2.{last}")),
        4 => (apex(), 0..6_u8).prop_map(|(apex, n)| format!("- n{n}.{apex} A")),
        1 => apex().prop_map(|apex| format!("+ {apex} NS ns.{apex}.")),
        1 => apex().prop_map(|apex| format!("- {apex} TXT")),
        1 => (apex(), 1..9_u32).prop_map(|(apex, n)| format!("+ {apex} SOA a. b. 1 {n} 3 4 5")),
        2 => apex().prop_map(|apex| format!("+zone {apex}")),
        1 => apex().prop_map(|apex| format!("-zone {apex}")),
        2 => (apex(), prop::sample::select(&[2_usize, 300]), 1..4_u8)
            .prop_map(|(apex, count, last)| format!("import {apex} {count} {last}")),
        2 => (apex(), any::<bool>()).prop_map(|(apex, on)| format!("serve {apex} {on}")),
        3 => any::<prop::sample::Index>().prop_map(|index| format!("back {}", index.index(1_000))),
    ]
}

/// Takes a step; what is refused is no step.
async fn take(store: &DnsStore, step: &str) {
    let words: Vec<&str> = step.split(' ').collect();
    match words[0] {
        "import" => {
            import(store, words[1], words[2].parse().unwrap(), words[3].parse().unwrap()).await;
        }
        "serve" => {
            let mut settings = ZoneSettings::new(name(words[1]));
            settings.is_enabled = words[2] == "true";
            store.set_zone(settings).await.unwrap();
        }
        _ => drop(apply(store, step).await),
    }
}

#[test]
fn random_histories_are_gone_back_in_to_any_revision() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 30, failure_persistence: None, ..Config::default() };
    // A failing case prints its whole input, shrunk, which is more than a seed.
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            runtime.block_on(async {
                let f = keeping().await;
                apply(&f.store, "+zone example").await.unwrap();
                let mut states = BTreeMap::new();
                states.insert(f.store.revision().await.unwrap(), shown(&f.store).await);
                for step in &steps {
                    if let Some(index) = step.strip_prefix("back ") {
                        let index = index.parse::<usize>().unwrap() % states.len();
                        let (revision, then) = states.iter().nth(index).unwrap();
                        check_back(&f.store, *revision, then).await;
                    } else {
                        take(&f.store, step).await;
                    }
                    let revision = f.store.revision().await.unwrap();
                    states.insert(revision, shown(&f.store).await);
                }
                let states: Vec<_> = states.into_iter().rev().step_by(5).collect();
                for (revision, then) in states {
                    check_back(&f.store, revision, &then).await;
                }
            });
            Ok(())
        })
        .unwrap();
}
