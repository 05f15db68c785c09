//! What the store says that its zones come to, against what is counted from their RRsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aspen_dns::feed::digest::{Digest, DigestKey};
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::store::history::{Commit, ZoneChange, ZoneSource, ZoneState};
use aspen_dns::store::kv::{self, KeyRange, KeyValueStore};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{CommitStream, DnsStore, StoreError};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::fixture::{apply, fixture, name, next, rrset, soa_serial};

const APEXES: &[&str] = &["example", "sub.example", "other"];
const OWNERS: &[&str] = &["example", "a.example", "b.a.example", "sub.example", "x.sub.example"];
const DATA: &[&str] = &["A 192.0.2.1", "A 192.0.2.2|192.0.2.3", "TXT \"t\"", "NS n.example."];

/// The RRsets of a zone.
type Zone = BTreeMap<(Name, RecordType), Rrset>;

/// A copy of a store's zones that is kept from its commits.
struct Follower {
    store: Arc<DnsStore>,
    key: DigestKey,
    commits: CommitStream,
    /// The newest commit that was followed.
    revision: u64,
    /// The zones that are served.
    zones: BTreeMap<Name, Zone>,
    /// The revision of every zone, disabled ones too.
    revisions: BTreeMap<Name, u64>,
    tags: BTreeSet<u64>,
}

impl Follower {
    async fn new(store: &Arc<DnsStore>) -> Self {
        let store = store.clone();
        let key = store.history().await.unwrap().digest_key;
        let commits = store.commits(0).await.unwrap();
        let (zones, revisions, tags) = Default::default();
        Self { store, key, commits, revision: 0, zones, revisions, tags }
    }

    fn digest(&self, zone: &Zone) -> Digest {
        self.key.rrsets(zone.values().cloned())
    }

    /// Follows the one commit that a step made, and compares everything.
    async fn check(&mut self) {
        let revision = self.store.revision().await.unwrap();
        if revision > self.revision {
            let commit = next(&mut self.commits).await;
            assert_eq!(commit.revision, revision, "a step is one commit");
            self.follow(commit).await;
            self.revision = revision;
        }
        let states = self.store.zones().await.unwrap();
        let apexes: Vec<Name> = states.iter().map(|state| state.apex.clone()).collect();
        assert_eq!(apexes, self.zones.keys().cloned().collect::<Vec<_>>());
        let asked: Vec<Name> = apexes.iter().chain([&name("unknown")]).cloned().collect();
        let contents = self.store.zones_contents(&asked).await.unwrap();
        assert_eq!(contents.len(), apexes.len());
        for (state, contents) in states.iter().zip(contents) {
            assert_eq!((contents.revision, &contents.zone), (self.revision, state));
            let one = self.store.zone_contents(&state.apex).await.unwrap().unwrap();
            assert_eq!((one.revision, &one.zone), (self.revision, state));
            assert_eq!(one.rrsets, contents.rrsets);
            assert_eq!(self.key.rrsets(contents.rrsets.iter().cloned()), state.digest);
            assert_eq!(zone_of(contents.rrsets), self.zones[&state.apex]);
        }
        let listed = self.store.list_zones(None, 100).await.unwrap().items;
        self.revisions =
            listed.into_iter().map(|zone| (zone.settings.apex, zone.revision)).collect();
    }

    /// Does to the copy what a commit did to the zones.
    async fn follow(&mut self, commit: Commit) {
        assert!(commit.tag != 0 && self.tags.insert(commit.tag));
        for told in commit.zones {
            let apex = told.apex;
            assert_eq!(told.prev_revision.as_ref(), self.revisions.get(&apex), "{apex}");
            match told.change {
                ZoneChange::Changes(changes) => {
                    let zone = self.zones.get_mut(&apex).expect("told before");
                    for change in changes {
                        let at = (change.owner().clone(), change.rtype());
                        match change {
                            Change::Put(rrset) => drop(zone.insert(at, rrset)),
                            Change::Delete { .. } => drop(zone.remove(&at)),
                        }
                    }
                }
                ZoneChange::Replaced => {
                    let contents = self.store.zone_contents(&apex).await.unwrap().unwrap();
                    self.zones.insert(apex.clone(), zone_of(contents.rrsets));
                }
                ZoneChange::Removed => {
                    self.zones.remove(&apex);
                    assert_eq!(told.digest, Digest::default());
                    continue;
                }
            }
            let zone = &self.zones[&apex];
            assert_eq!(self.digest(zone), told.digest, "{apex}");
            assert_eq!(soa_serial(&zone[&(apex, RecordType::SOA)]), told.serial);
        }
    }
}

fn zone_of(rrsets: Vec<Rrset>) -> Zone {
    rrsets.into_iter().map(|rrset| ((rrset.owner.clone(), rrset.rtype), rrset)).collect()
}

/// Makes random commits of every kind and follows them.
pub async fn random_commits_come_to_what_is_counted(store: Arc<DnsStore>, steps: u32) {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut follower = Follower::new(&store).await;
    for _ in 0..steps {
        match step(&store, &mut random).await {
            Ok(_) | Err(StoreError::Rule(_)) => {}
            Err(error) => panic!("{error}"),
        }
        follower.check().await;
    }
    assert!(follower.tags.len() as u32 > steps / 4, "most steps change something");
}

/// Makes one random commit.
async fn step(store: &DnsStore, random: &mut StdRng) -> Result<u64, StoreError> {
    let mut pick = |from: &[&'static str]| from[random.random_range(0..from.len())];
    let (apex, owner, data) = (pick(APEXES), pick(OWNERS), pick(DATA));
    match random.random_range(0..20) {
        0 => Ok(store.delete_zone(&name(apex)).await?.unwrap_or(0)),
        1 | 2 => {
            let mut settings = ZoneSettings::new(name(apex));
            settings.is_enabled = random.random_range(0..3) > 0;
            settings.nameservers =
                vec![name(["ns.example", "ns.other"][random.random_range(0..2)])];
            store.set_zone(settings).await
        }
        3 | 4 => {
            let count = random.random_range(0..5);
            let host = |index| rrset(&format!("n{index}.{apex} A 192.0.2.{index}"));
            let mut rrsets: Vec<Rrset> = (0..count).map(host).collect();
            if random.random() {
                rrsets.push(rrset(&format!("{apex} NS n.example.")));
                rrsets.push(rrset(&format!("{apex} SOA m.example. r.example. 77 1 2 3 4")));
            }
            store.import_zone(&name(apex), rrsets, None, &|_| {}).await
        }
        5 => apply(store, &format!("+zone {apex}\n+ {owner} {data}")).await,
        6 => apply(store, &format!("-zone {apex}\n+zone {apex}\n+ y.{apex} {data}")).await,
        7 => {
            let serial = random.random_range(1..200);
            let soa = format!("+ {apex} SOA m.example. r.example. {serial} 1 2 3 4");
            apply(store, &soa).await
        }
        8..12 => {
            let rtype = ["A", "TXT", "NS", "SOA"][random.random_range(0..4)];
            apply(store, &format!("- {owner} {rtype}\n- {apex} {rtype}")).await
        }
        _ => apply(store, &format!("+ {owner} {data}\n+ {apex} TXT \"u\"")).await,
    }
}

#[tokio::test]
async fn random_commits_come_to_what_is_counted_in_the_embedded_engine() {
    for _ in 0..8 {
        random_commits_come_to_what_is_counted(fixture().await.store, 60).await;
    }
}

/// Takes the digests out of all zone objects, as an older version does when it writes them.
async fn forget_digests(engine: &dyn KeyValueStore) {
    let found = engine.range(&KeyRange::prefix(b"Z"), None, 100).await.unwrap();
    let without = |(key, found): (Vec<u8>, kv::Versioned)| {
        let mut object: serde_json::Value = serde_json::from_slice(&found.value).unwrap();
        assert!(object.as_object_mut().unwrap().remove("digest").is_some());
        (key, serde_json::to_vec(&object).unwrap())
    };
    let puts = found.entries.into_iter().map(without).collect();
    engine.commit(kv::KvCommit { puts, ..kv::KvCommit::default() }).await.unwrap();
}

#[tokio::test]
async fn zones_of_an_older_version_get_their_digests_when_the_store_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let s = DnsStore::open(engine.clone()).await.unwrap();
    apply(&s, "+zone example\n+ www.example A 192.0.2.1\n+zone empty").await.unwrap();
    // More than a page of rows.
    let rrsets = (0..9_000).map(|n| rrset(&format!("n{n}.large A 192.0.2.1"))).collect();
    s.import_zone(&name("large"), rrsets, None, &|_| {}).await.unwrap();
    let disabled = ZoneSettings { is_enabled: false, ..ZoneSettings::new(name("off")) };
    s.set_zone(disabled).await.unwrap();
    let (before, revision) = (s.zones().await.unwrap(), s.revision().await.unwrap());
    forget_digests(&*engine).await;
    let forgotten = engine.get(b"Zexample\0").await.unwrap().unwrap().revision;

    let s = DnsStore::open(engine.clone()).await.unwrap();
    let told = next(&mut s.commits(revision).await.unwrap()).await;
    assert_eq!(told.zones.len(), 3, "nothing of the zone that is off");
    let after = s.zones().await.unwrap();
    for ((before, after), zone) in before.iter().zip(&after).zip(&told.zones) {
        assert_eq!((after.digest, after.serial), (before.digest, before.serial));
        assert_eq!(after.revision, told.revision);
        assert_eq!(
            (&zone.apex, zone.digest, zone.serial),
            (&after.apex, after.digest, after.serial)
        );
        assert_eq!(zone.change, ZoneChange::Changes(Vec::new()));
        assert_eq!(zone.prev_revision, Some(forgotten));
    }
    assert_eq!(s.revision().await.unwrap(), told.revision);
    DnsStore::open(engine.clone()).await.unwrap();
    assert_eq!(s.revision().await.unwrap(), told.revision, "once is enough");

    // An older version writes while this one runs.
    forget_digests(&*engine).await;
    let digests =
        |zones: Vec<ZoneState>| -> Vec<Digest> { zones.iter().map(|zone| zone.digest).collect() };
    assert_eq!(digests(s.zones().await.unwrap()), digests(after));
    apply(&s, "+ new.large A 192.0.2.2").await.unwrap();
    let key = s.history().await.unwrap().digest_key;
    for state in s.zones().await.unwrap() {
        let contents = s.zone_contents(&state.apex).await.unwrap().unwrap();
        assert_eq!(contents.zone.digest, state.digest);
        assert_eq!(key.rrsets(contents.rrsets), state.digest, "{}", state.apex);
    }
}

#[tokio::test]
async fn a_history_begins_with_the_store_and_anew_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let open = || DnsStore::open(engine.clone());
    let (one, two) = tokio::join!(open(), open());
    let (one, two) = (one.unwrap(), two.unwrap());
    let first = one.history().await.unwrap();
    assert_eq!(two.history().await.unwrap(), first, "two openers agree");
    assert_eq!(first.epoch, 1);
    assert_ne!(first.digest_key, DigestKey::default());
    let second = one.begin_history(&first, 0).await.unwrap();
    let third = two.begin_history(&second, 40).await.unwrap();
    assert_eq!((second.epoch, third.epoch), (2, 41));
    assert_eq!(second.digest_key, first.digest_key);
    assert_eq!(third.digest_key, first.digest_key);
    assert_eq!(BTreeSet::from([first.id, second.id, third.id]).len(), 3);
    // Of several who leave a history at once all go to the same one.
    let begin = |store: &Arc<DnsStore>| {
        let store = store.clone();
        async move { store.begin_history(&third, 7).await.unwrap() }
    };
    let (four, five) = tokio::join!(begin(&one), begin(&two));
    assert_eq!((four.epoch, four), (42, five));
    let last = one.history().await.unwrap();
    assert_eq!(last, four);
    assert_eq!(open().await.unwrap().history().await.unwrap(), last);
    assert_eq!(one.revision().await.unwrap(), 0, "a history is no commit");
}

#[tokio::test]
async fn a_digest_that_is_wrong_is_found_and_mended_by_a_commit_that_changes_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.redb");
    let engine = Arc::new(RedbStore::open(&file).unwrap());
    let s = DnsStore::open(engine.clone()).await.unwrap();
    s.set_zone(ZoneSettings::new(name("example"))).await.unwrap();
    for at in 0..3 {
        apply(&s, &format!("+ n{at}.example A 192.0.2.{at}")).await.unwrap();
    }
    let right = s.zones().await.unwrap().remove(0);
    assert!(!s.recount(&right.apex).await.unwrap() && !s.recount(&name("none")).await.unwrap());
    let mut page = engine.range(&KeyRange::prefix(b"Z"), None, 10).await.unwrap().entries;
    let (key, found) = page.remove(0);
    let mut object: serde_json::Value = serde_json::from_slice(&found.value).unwrap();
    let said = object["digest"].as_str().unwrap().to_owned();
    let other = if said.starts_with('0') { "1" } else { "0" };
    object["digest"] = serde_json::json!(other.to_owned() + &said[1..]);
    object["rrset_count"] = serde_json::json!(9);
    let puts = vec![(key, serde_json::to_vec(&object).unwrap())];
    engine.commit(kv::KvCommit { puts, ..kv::KvCommit::default() }).await.unwrap();
    let wrong = s.zones().await.unwrap().remove(0);
    assert_ne!(wrong.digest, right.digest);
    let mut commits = s.commits(wrong.revision).await.unwrap();
    assert!(s.recount(&right.apex).await.unwrap());
    let mended = s.zones().await.unwrap().remove(0);
    assert_eq!(mended.digest, right.digest);
    let commit = next(&mut commits).await;
    assert_eq!(commit.zones.len(), 1);
    let zone = &commit.zones[0];
    assert!(zone.digest == right.digest && zone.change == ZoneChange::Changes(Vec::new()));
    assert!(!s.recount(&right.apex).await.unwrap());
    assert_eq!(s.recounts().mended.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_zone_that_cannot_be_read_is_told_until_it_can_or_is_gone_and_keeps_none_from_being_counted()
 {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let s = DnsStore::open(engine.clone()).await.unwrap();
    for at in 0..5 {
        s.set_zone(ZoneSettings::new(name(&format!("z{at}.example")))).await.unwrap();
    }
    let count_all = async || {
        let before = s.recounts().counted.load(Ordering::Relaxed);
        let mut after = None;
        loop {
            after = s.recount_page(after.as_ref(), 2).await.unwrap();
            if after.is_none() {
                return s.recounts().counted.load(Ordering::Relaxed) - before;
            }
        }
    };
    assert_eq!((count_all().await, s.recounts().unreadable()), (5, None));
    let page = engine.range(&KeyRange::prefix(b"Z"), None, 10).await.unwrap().entries;
    let (key, right) = (page[2].0.clone(), page[2].1.value.clone());
    let put = async |value: Vec<u8>| {
        let puts = vec![(key.clone(), value)];
        engine.commit(kv::KvCommit { puts, ..kv::KvCommit::default() }).await.unwrap();
    };
    put(b"nonsense".to_vec()).await;
    let told = Some((1, "z2.example".to_owned()));
    assert_eq!((count_all().await, s.recounts().unreadable()), (5, told.clone()));
    assert_eq!((count_all().await, s.recounts().unreadable()), (5, told.clone()));
    put(right).await;
    assert_eq!((count_all().await, s.recounts().unreadable()), (5, None));
    put(b"nonsense".to_vec()).await;
    assert_eq!((count_all().await, s.recounts().unreadable()), (5, told));
    let deletes = vec![key.clone()];
    engine.commit(kv::KvCommit { deletes, ..kv::KvCommit::default() }).await.unwrap();
    assert_eq!((count_all().await, s.recounts().unreadable()), (4, None));
}
