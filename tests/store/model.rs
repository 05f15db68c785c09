//! `DnsStore` against a simple model: random batches must do to both the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aspen_dns::record::Change;
use aspen_dns::store::history::ZoneChange;
use aspen_dns::store::{Batch, DnsStore, Operation, StoreError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{contents, name, open, operation, rrset, show};
use crate::shared::Shared;

/// Apex to the RRsets of the zone: (owner, type) to text.
type Zones = BTreeMap<String, BTreeMap<(String, String), String>>;

const APEXES: &[&str] = &["example", "sub.example", "other"];
const OWNERS: &[&str] =
    &["example", "a.example", "b.a.example", "sub.example", "x.sub.example", "other", "lost"];
const DATA: &[&str] =
    &["A 192.0.2.1", "A 192.0.2.2", "TXT \"t\"", "CNAME c.example.", "DNAME d.example."];

/// Returns the deepest zone of an owner.
fn holder(zones: &Zones, owner: &str) -> Option<String> {
    let is_in = |apex: &&String| name(owner).is_at_or_below(&name(apex));
    zones.keys().filter(is_in).max_by_key(|apex| apex.len()).cloned()
}

/// Applies a batch to the model; `false` if it must be refused, and nothing changed.
fn apply_model(zones: &mut Zones, batch: &[String]) -> bool {
    let mut next = zones.clone();
    for step in batch {
        let (what, rest) = step.split_once(' ').unwrap();
        let words: Vec<&str> = rest.splitn(3, ' ').collect();
        match what {
            "+zone" => drop(next.entry(rest.to_owned()).or_default()),
            "-zone" => drop(next.remove(rest)),
            "+" => {
                let Some(apex) = holder(&next, words[0]) else { return false };
                let key = (words[0].to_owned(), words[1].to_owned());
                next.get_mut(&apex).unwrap().insert(key, rest.to_owned());
            }
            _ => {
                if let Some(apex) = holder(&next, words[0]) {
                    let key = (words[0].to_owned(), words[1].to_owned());
                    next.get_mut(&apex).unwrap().remove(&key);
                }
            }
        }
    }
    if next.iter().any(|(apex, rrsets)| !is_valid(apex, rrsets)) {
        return false;
    }
    *zones = next;
    true
}

/// Whether a zone keeps the rules of CNAME and DNAME.
fn is_valid(apex: &str, rrsets: &BTreeMap<(String, String), String>) -> bool {
    let owners: BTreeSet<&String> = rrsets.keys().map(|(owner, _)| owner).collect();
    rrsets.keys().all(|(owner, rtype)| match rtype.as_str() {
        "CNAME" => owner != apex && rrsets.keys().filter(|(other, _)| other == owner).count() == 1,
        "DNAME" => {
            owners.iter().all(|other| *other == owner || !name(other).is_at_or_below(&name(owner)))
        }
        _ => true,
    })
}

/// Returns what the model says about a zone, without SOA and NS.
fn model_zone(zones: &Zones, apex: &str) -> Vec<String> {
    let mut shown: Vec<String> = zones[apex].values().cloned().collect();
    shown.sort();
    shown
}

/// Returns what the store says about a zone, without SOA and NS.
async fn store_zone(store: &DnsStore, apex: &str) -> Vec<String> {
    let mut shown = contents(store, apex).await.split_off(2);
    shown.sort();
    shown
}

/// One step of a batch.
fn step() -> impl Strategy<Value = String> {
    let pick = |from: &'static [&'static str]| prop::sample::select(from);
    prop_oneof![
        6 => (pick(OWNERS), pick(DATA)).prop_map(|(owner, data)| format!("+ {owner} {data}")),
        3 => (pick(OWNERS), pick(&["A", "TXT", "CNAME", "DNAME"]))
            .prop_map(|(owner, rtype)| format!("- {owner} {rtype}")),
        2 => pick(APEXES).prop_map(|apex| format!("+zone {apex}")),
        1 => pick(APEXES).prop_map(|apex| format!("-zone {apex}")),
    ]
}

/// One batch, or the import of a zone that is there, larger by so much that its rows stand in packs.
fn batch() -> impl Strategy<Value = Vec<String>> {
    let import = prop::sample::select(APEXES).prop_map(|apex| vec![format!("import {apex}")]);
    prop_oneof![12 => prop::collection::vec(step(), 1..5), 1 => import]
}

/// Imports a zone as it is, with names that it has not got yet; none of a zone that is not there, or of which
/// they would be hidden.
async fn import(store: &DnsStore, zones: &mut Zones, apex: &str) {
    let Some(rrsets) = zones.get_mut(apex) else { return };
    if rrsets.contains_key(&(apex.to_owned(), "DNAME".to_owned())) {
        return;
    }
    for index in 0..FILLERS {
        let owner = format!("f{index}.b.{apex}");
        let text = format!("{owner} TXT \"a filler of {index}\"");
        rrsets.insert((owner, "TXT".to_owned()), text);
    }
    let all = rrsets.values().map(|text| rrset(text)).collect();
    store.import_zone(&name(apex), all, None, &|_| {}).await.unwrap();
}

/// RRsets with which a zone is imported: so many stand in packs.
const FILLERS: usize = 300;

/// Follows the commits of the store and keeps zones from them alone, as an exporter does.
async fn follow(store: &DnsStore, revision: u64, zones: &mut Zones) {
    let mut commits = store.commits(0).await.unwrap();
    if revision == 0 {
        return;
    }
    loop {
        let commit = commits.next().await.unwrap();
        for zone in commit.zones {
            let apex = zone.apex.to_string();
            match zone.change {
                ZoneChange::Removed => drop(zones.remove(&apex)),
                // What the zone was at that revision is past: only the changes after it are kept.
                ZoneChange::Replaced => drop(zones.insert(apex, BTreeMap::new())),
                ZoneChange::Changes(changes) => {
                    let rrsets = zones.get_mut(&apex).unwrap();
                    for change in changes {
                        let key = (change.owner().to_string(), change.rtype().to_string());
                        match change {
                            Change::Put(rrset) => drop(rrsets.insert(key, show(&rrset))),
                            Change::Delete { .. } => drop(rrsets.remove(&key)),
                        }
                    }
                }
            }
        }
        if commit.revision == revision {
            return;
        }
    }
}

/// Applies batches to stores of one engine, in turn, and to the model.
async fn run(batches: &[Vec<String>], stores: &[Arc<DnsStore>]) {
    let mut zones = Zones::new();
    for (index, batch) in batches.iter().enumerate() {
        // Each has turns of several batches, of different lengths.
        let store = &stores[index / 11 % 3 % stores.len()];
        if let Some(apex) = batch[0].strip_prefix("import ") {
            import(store, &mut zones, apex).await;
            continue;
        }
        let operations: Vec<Operation> = batch.iter().map(|s| operation(s)).collect();
        let before = store.revision().await.unwrap();
        let made = store.apply(Batch::from(operations)).await;
        let allowed = apply_model(&mut zones, batch);
        match &made {
            Ok(_) => assert!(allowed, "{batch:?} had to be refused"),
            Err(StoreError::Rule(rule)) => assert!(!allowed, "{batch:?}: {rule}"),
            Err(error) => panic!("{batch:?}: {error}"),
        }
        if made.is_err() {
            assert_eq!(store.revision().await.unwrap(), before);
        }
        let listed = store.list_zones(None, 100).await.unwrap().items;
        let mut apexes: Vec<String> =
            listed.iter().map(|zone| zone.settings.apex.to_string()).collect();
        apexes.sort();
        assert_eq!(apexes, zones.keys().cloned().collect::<Vec<_>>());
        for zone in &listed {
            let apex = zone.settings.apex.to_string();
            let expected = model_zone(&zones, &apex);
            assert_eq!(store_zone(store, &apex).await, expected, "{batch:?}");
            assert_eq!(zone.rrset_count, expected.len() as u64 + 2, "{batch:?}");
        }
    }
    let (store, mut followed) = (&stores[0], Zones::new());
    follow(store, store.revision().await.unwrap(), &mut followed).await;
    let apexes: Vec<&String> = followed.keys().collect();
    assert_eq!(apexes, zones.keys().collect::<Vec<_>>(), "as followed");
}

/// Runs cases of up to `len` batches over the stores that `open` makes in a directory.
fn run_cases<S: Future<Output = Vec<Arc<DnsStore>>>>(
    (cases, len): (u32, usize),
    batch: impl Strategy<Value = Vec<String>>,
    open: impl Fn(Arc<tempfile::TempDir>) -> S,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches = prop::collection::vec(batch, 1..len);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // A failing case prints its whole input, shrunk, which is more than a seed.
    TestRunner::new(config)
        .run(&batches, |batches| {
            let dir = Arc::new(tempfile::tempdir().unwrap());
            runtime.block_on(async { run(&batches, &open(dir.clone()).await).await });
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_batches_do_to_the_store_what_they_do_to_a_model() {
    run_cases((40, 25), batch(), async |dir| vec![open(&dir).await]);
}

#[test]
fn random_batches_of_two_processes_do_to_their_store_what_they_do_to_a_model() {
    let single = step().prop_map(|step| vec![step]);
    let batches = prop_oneof![3 => single, 1 => batch()];
    run_cases((12, 100), batches, async |dir| {
        let engine = Shared::open(&dir).await;
        let ours = DnsStore::open(engine.clone()).await.unwrap();
        vec![ours, DnsStore::open(engine).await.unwrap()]
    });
}
