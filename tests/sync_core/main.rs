//! The edge's state machine, one fact at a time: statuses, bounds, bad entries.

#[allow(dead_code)] // each test uses its part of the model
#[path = "../feed_model/mod.rs"]
mod feed_model;
mod header;

use aspen_dns::feed::Revision;
use aspen_dns::feed::beat::{Beat, FeedHeader, zone_mark};
use aspen_dns::feed::items::item_of;
use aspen_dns::feed::key;
use aspen_dns::feed::live::live_keys;
use aspen_dns::feed::manifest::{Manifest, PackKind, PackRef, ZoneMode};
use aspen_dns::feed::pack::PackWriter;
use aspen_dns::limits::{
    BEHIND_MS_MAX, GAP_MS_MAX, LIVE_CHAIN_OCTETS_MAX, LIVE_HELD_OCTETS_MAX, RESCAN_MS_MIN,
};
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::sync::batch::{ZoneBatch, ZoneStep};
use aspen_dns::sync::core::{SyncConfig, SyncCore};
use aspen_dns::sync::entry::{FeedEntry, Origin};
use aspen_dns::sync::status::SyncStatus;
use bytes::Bytes;
use feed_model::hash_of;

/// The feed's author.
const AUTHOR: [u8; 32] = [1; 32];

/// A core and the time.
struct Test {
    core: SyncCore,
    now_ms: u64,
}

impl Test {
    fn new() -> Self {
        Self::with(SyncConfig { stale_after_ms: 10_000, ..SyncConfig::default() })
    }

    fn with(config: SyncConfig) -> Self {
        let core = SyncCore::new(SyncConfig { author: Some(AUTHOR), ..config }, 0);
        Self { core, now_ms: 0 }
    }

    /// A core that has listed an empty replica and has got header, zone and heartbeat.
    fn synced() -> Self {
        let mut test = Self::new();
        test.core.handle_scan_complete(0);
        test.header();
        test.zone(5, vec![]);
        test.beat(5);
        assert_eq!(test.publish(), [(5, "rebuild 1".to_owned())]);
        assert_eq!(test.core.status(), SyncStatus::Synced);
        test
    }

    fn at(&mut self, now_ms: u64) -> &mut Self {
        self.now_ms = now_ms;
        self.core.handle_time(now_ms);
        self
    }

    fn entry_by(
        &mut self,
        author: [u8; 32],
        origin: Origin,
        key: &[u8],
        content: &[u8],
        has: bool,
    ) {
        let octets = Bytes::copy_from_slice(content);
        let entry = FeedEntry {
            key,
            author,
            hash: hash_of(content),
            len: content.len() as u64,
            timestamp_us: 1,
            origin,
            content: has.then_some(octets),
        };
        let _ = self.core.handle_entry(&entry, self.now_ms);
    }

    fn entry(&mut self, key: &[u8], content: &[u8]) {
        self.entry_by(AUTHOR, Origin::Event, key, content, true);
    }

    fn header(&mut self) {
        let header = FeedHeader { cluster_id: "test".to_owned(), epoch: 1, term: 1 };
        self.entry(&key::terminate(key::HEADER_KEY), &header.to_octets());
    }

    /// A zone whose base pack holds one RRset with the revision as its TTL.
    fn zone(&mut self, number: u64, deltas: Vec<(u64, u64)>) {
        let (manifest, packs) = manifest(number, deltas);
        let octets = manifest.to_octets().expect("a good manifest");
        self.entry(&key::terminate(&key::zone_key(&apex())), &octets);
        for (number, pack) in packs {
            self.entry(&key::terminate(&key::pack_key(&apex(), number)), &pack);
        }
    }

    fn beat(&mut self, number: u64) {
        let revision = Revision::new(1, number);
        let zone_digest = zone_mark(&apex(), revision);
        let beat = Beat { revision, time_ms: self.now_ms, zone_digest, zone_count: 1 };
        self.entry(&key::terminate(key::BEAT_KEY), &beat.to_octets());
    }

    fn live(&mut self, prev: u64, number: u64) {
        let changes = [put(&format!("n{number}.example"), number as u32)];
        let keys = live_keys(&apex(), Revision::new(1, number), prev, &changes).expect("short");
        self.entry_by(AUTHOR, Origin::Event, &keys[0], b"\x01", false);
    }

    /// Tells changes that lead on from one to the next until some are dropped, which must be at `octets_max`.
    fn tell_chain_until_dropped(&mut self, mut number: u64, octets_max: usize) {
        let mut octets = 0;
        while self.core.stats().bound_hits == 0 {
            let rrset = Rrset::new(apex(), RecordType::TXT, 1, [[7; 3_000]]).expect("an RRset");
            let revision = Revision::new(1, number + 1);
            let keys = live_keys(&apex(), revision, number, &[Change::Put(rrset)]);
            let key = keys.expect("one key").remove(0);
            octets += key.len();
            self.entry_by(AUTHOR, Origin::Event, &key, b"\x01", false);
            number += 1;
            assert!(octets < octets_max + (1 << 20), "the bound does not hold");
        }
        assert!(octets > octets_max);
        assert_eq!(self.core.stats().held, 0);
    }

    /// Publishes a batch; returns revision and kind of each step.
    fn publish(&mut self) -> Vec<(u64, String)> {
        let batches = self.core.poll_batch(self.now_ms).unwrap_or_default();
        let mut steps = Vec::new();
        for ZoneBatch { apex, revision, step, .. } in batches {
            steps.push((
                revision.number,
                match step {
                    ZoneStep::Rebuild { packs, .. } => format!("rebuild {}", packs.len()),
                    ZoneStep::Edit(edits) => format!("edit {}", edits.len()),
                    ZoneStep::Remove => "remove".to_owned(),
                },
            ));
            self.core.handle_applied(&apex, revision, self.now_ms);
        }
        steps
    }

    fn complaints(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.core.poll_complaint()).map(|c| c.error.to_string()).collect()
    }
}

fn apex() -> Name {
    "example".parse().expect("a name")
}

fn put(owner: &str, ttl_s: u32) -> Change {
    let owner = owner.parse().expect(owner);
    Change::Put(Rrset::new(owner, RecordType::A, ttl_s, [[192, 0, 2, 1]]).expect("an RRset"))
}

/// Makes a manifest at `number` with one base and the deltas, and the packs' octets.
fn manifest(number: u64, deltas: Vec<(u64, u64)>) -> (Manifest, Vec<(u64, Vec<u8>)>) {
    let mut packs = Vec::new();
    let mut octets = Vec::new();
    let base = (PackKind::Base, number);
    let deltas = deltas.into_iter().map(|(from, to)| (PackKind::Delta { from, to }, 1_000 + to));
    for (kind, id) in std::iter::once(base).chain(deltas) {
        let new = if kind == PackKind::Base { PackWriter::base } else { PackWriter::delta };
        let mut writer = new(apex());
        writer.push(item_of(&put("example", id as u32))).expect("the first item");
        let pack = writer.finish();
        packs.push(PackRef {
            number: id,
            hash: hash_of(&pack),
            len: pack.len() as u32,
            rrset_count: 1,
            kind,
            first_owner: apex(),
        });
        octets.push((id, pack));
    }
    let revision = Revision::new(1, number);
    let (mode, settings) = (ZoneMode::Served, Vec::new());
    let manifest =
        Manifest { apex: apex(), mode, revision, serial: 1, name_count: 1, settings, packs };
    (manifest, octets)
}

#[test]
fn all_five_statuses_are_reached_for_their_reasons() {
    let mut test = Test::new();
    assert_eq!(test.core.status(), SyncStatus::Disconnected);
    test.core.handle_connecting(0);
    assert_eq!(test.core.poll_status(), Some(SyncStatus::Connecting));
    test.at(50_000);
    assert_eq!(test.core.status(), SyncStatus::Connecting, "without data nothing is stale");
    test.core.handle_scan_complete(50_000);
    test.header();
    assert_eq!(test.core.poll_status(), Some(SyncStatus::Syncing), "an entry is a contact");
    test.zone(5, vec![]);
    test.publish();
    assert_eq!(test.core.status(), SyncStatus::Syncing, "no heartbeat yet");
    test.beat(5);
    assert_eq!(test.core.poll_status(), Some(SyncStatus::Synced));
    test.at(59_999);
    assert_eq!(test.core.status(), SyncStatus::Synced);
    test.at(60_000);
    assert_eq!(test.core.poll_status(), Some(SyncStatus::Stale), "nobody has spoken");
    test.beat(6);
    assert_eq!(test.core.status(), SyncStatus::Syncing, "the heartbeat knows more than we have");
    test.live(5, 6);
    test.publish();
    assert_eq!(test.core.status(), SyncStatus::Synced);
    test.core.handle_lost(60_001);
    assert_eq!(test.core.poll_status(), Some(SyncStatus::Disconnected));
}

#[test]
fn a_quiet_zone_with_a_heartbeat_is_never_stale() {
    let mut test = Test::synced();
    for now_ms in (0..100_000).step_by(5_000) {
        test.at(now_ms);
        test.beat(5);
        assert_eq!(test.core.status(), SyncStatus::Synced);
    }
}

#[test]
fn an_edge_that_starts_from_disk_serves_but_is_not_synced_before_somebody_speaks() {
    let mut test = Test::new();
    let header = FeedHeader { cluster_id: "test".to_owned(), epoch: 1, term: 1 }.to_octets();
    let (manifest, packs) = manifest(5, vec![]);
    let beat = Beat {
        revision: Revision::new(1, 5),
        time_ms: 0,
        zone_digest: zone_mark(&apex(), Revision::new(1, 5)),
        zone_count: 1,
    };
    let mut entries = vec![
        (key::terminate(key::HEADER_KEY), header),
        (key::terminate(key::BEAT_KEY), beat.to_octets()),
        (key::terminate(&key::zone_key(&apex())), manifest.to_octets().expect("good")),
    ];
    entries.extend(
        packs.into_iter().map(|(n, pack)| (key::terminate(&key::pack_key(&apex(), n)), pack)),
    );
    for (key, content) in entries {
        test.entry_by(AUTHOR, Origin::Scan, &key, &content, true);
        assert_eq!(test.publish(), [], "the listing is not complete");
    }
    test.core.handle_scan_complete(0);
    assert_eq!(test.publish(), [(5, "rebuild 1".to_owned())]);
    assert_eq!(test.core.revision().number, 5);
    assert_eq!(test.core.status(), SyncStatus::Disconnected);
    test.core.handle_contact(1);
    assert_eq!(test.core.status(), SyncStatus::Syncing);
    test.core.handle_reconciled(2);
    assert_eq!(test.core.status(), SyncStatus::Synced);
}

#[test]
fn a_manifest_that_says_what_live_changes_said_costs_nothing() {
    let mut test = Test::synced();
    test.live(5, 6);
    test.live(6, 9);
    assert_eq!(test.publish(), [(9, "edit 2".to_owned())]);
    test.zone(9, vec![]);
    test.zone(7, vec![]);
    assert_eq!(test.publish(), []);
    assert_eq!(test.core.stats().held, 0);
}

#[test]
fn delta_packs_lead_on_without_a_rebuild_if_they_reach_back_far_enough() {
    let mut test = Test::synced();
    test.zone(9, vec![(3, 7), (7, 9)]);
    assert_eq!(test.publish(), [(9, "edit 2".to_owned())]);
    test.zone(20, vec![(12, 20)]);
    assert_eq!(test.publish(), [(20, "rebuild 2".to_owned())]);
}

#[test]
fn a_change_waits_for_the_one_before_it_and_both_become_visible_together() {
    let mut test = Test::synced();
    test.live(6, 7);
    assert_eq!(test.publish(), []);
    assert_eq!((test.core.stats().held, test.core.heard_revision().number), (1, 7));
    test.live(5, 6);
    assert_eq!(test.publish(), [(7, "edit 2".to_owned())]);
}

#[test]
fn a_commit_in_parts_is_held_until_it_is_whole() {
    let mut test = Test::synced();
    let changes: Vec<Change> =
        (0..200).map(|i| put(&format!("some-name-{i}.example"), 1)).collect();
    let keys = live_keys(&apex(), Revision::new(1, 6), 5, &changes).expect("a few keys");
    assert!(keys.len() > 1);
    for (index, key) in keys.iter().enumerate().rev() {
        assert_eq!(test.publish(), [], "part {index} is missing");
        test.entry_by(AUTHOR, Origin::Event, key, b"\x01", false);
    }
    assert_eq!(test.publish(), [(6, "edit 200".to_owned())]);
}

#[test]
fn a_gap_asks_for_a_rescan_ever_more_slowly_and_then_the_edge_is_behind() {
    let mut test = Test::synced();
    test.live(6, 7);
    assert!(!test.at(GAP_MS_MAX - 1).core.poll_rescan(GAP_MS_MAX - 1));
    let first_ms = GAP_MS_MAX;
    assert!(test.at(first_ms).core.poll_rescan(first_ms));
    let mut asked = Vec::new();
    for now_ms in (first_ms..9_000).step_by(100) {
        if test.at(now_ms).core.poll_rescan(now_ms) {
            asked.push(now_ms - first_ms);
        }
    }
    assert!(asked[0] >= RESCAN_MS_MIN && asked.len() <= 4, "{asked:?}");
    assert!(test.now_ms > BEHIND_MS_MAX);
    assert_eq!(test.core.status(), SyncStatus::Syncing);
    test.live(5, 6);
    test.publish();
    assert_eq!(test.core.status(), SyncStatus::Synced);
}

#[test]
fn a_lost_last_change_is_noticed_by_the_heartbeats_digest() {
    let mut test = Test::synced();
    test.beat(6);
    test.at(GAP_MS_MAX).at(2 * GAP_MS_MAX);
    assert!(test.core.poll_rescan(2 * GAP_MS_MAX));
    assert_eq!((test.core.revision().number, test.core.heard_revision().number), (5, 6));
    test.live(5, 6);
    test.publish();
    assert_eq!(test.core.revision().number, 6);
}

#[test]
fn held_changes_past_their_bound_are_dropped_counted_and_told_again() {
    let mut test = Test::synced();
    test.tell_chain_until_dropped(10, LIVE_HELD_OCTETS_MAX);
    assert!(test.core.poll_rescan(test.now_ms));
    test.live(5, 6);
    assert_eq!(test.publish(), [(6, "edit 1".to_owned())]);
}

#[test]
fn a_chain_behind_a_step_in_flight_past_its_bound_is_dropped_and_told_again() {
    let mut test = Test::synced();
    test.live(5, 6);
    let step = test.core.poll_batch(test.now_ms).expect("a step").remove(0);
    // The zone may take long to build; each of these leads on from it.
    test.tell_chain_until_dropped(6, LIVE_CHAIN_OCTETS_MAX);
    test.core.handle_applied(&step.apex, step.revision, test.now_ms);
    assert!(test.core.poll_rescan(test.now_ms));
    test.live(6, 7);
    assert_eq!(test.publish(), [(7, "edit 1".to_owned())]);
}

#[test]
fn entries_of_other_authors_and_emptied_entries_change_nothing() {
    let mut test = Test::synced();
    let (manifest, _) = manifest(9, vec![]);
    let zone_key = key::terminate(&key::zone_key(&apex()));
    let octets = manifest.to_octets().expect("good");
    test.entry_by([2; 32], Origin::Event, &zone_key, &octets, true);
    test.entry(&zone_key, b"");
    test.entry(&key::live_prefix(&apex()), b"");
    test.entry(b"dns:", b"");
    assert_eq!(test.publish(), []);
    let stats = test.core.stats();
    assert_eq!((stats.foreign_authors, stats.emptied, stats.refused), (1, 3, 0));
}

#[test]
fn one_bad_entry_is_counted_told_once_and_the_rest_applies() {
    let mut test = Test::synced();
    let zone_key = key::terminate(&key::zone_key(&apex()));
    let (other, _) = manifest(9, vec![]);
    let other = Manifest { apex: "other".parse().expect("a name"), packs: vec![], ..other };
    for _ in 0..3 {
        test.entry(&zone_key, b"garbage");
        test.entry(&zone_key, &other.to_octets().expect("good"));
        test.entry(b"dns:_zone:EXAMPLE\0", b"garbage");
        test.entry(b"dns:_live:example\x00what", b"\x01");
        test.entry(b"else", b"\x01");
        test.entry(&key::terminate(key::BEAT_KEY), &[0; 300]);
    }
    let complaints = test.complaints();
    assert_eq!(complaints.len(), 6, "{complaints:?}");
    assert_eq!(test.core.stats().refused, 18);
    test.live(5, 6);
    assert_eq!(test.publish(), [(6, "edit 1".to_owned())]);
}

#[test]
fn a_step_that_cannot_be_built_leaves_the_zone_until_a_higher_manifest_comes() {
    let mut test = Test::synced();
    test.zone(9, vec![]);
    let batches = test.core.poll_batch(0).expect("a rebuild");
    test.core.handle_refused(&apex(), batches[0].revision, 0);
    assert_eq!(test.core.stats().build_failures, 1);
    assert!(test.core.poll_rescan(0));
    test.zone(9, vec![]);
    assert_eq!(test.publish(), [], "it is not tried again");
    assert_eq!(test.core.revision().number, 5);
    test.live(5, 6);
    assert_eq!(test.publish(), [(6, "edit 1".to_owned())], "what leads on is taken");
    test.zone(10, vec![]);
    assert_eq!(test.publish(), [(10, "rebuild 1".to_owned())]);
}

#[test]
fn a_removed_zone_stays_away_until_it_is_made_again() {
    let mut test = Test::synced();
    let (mut manifest, _) = manifest(8, vec![]);
    manifest.mode = ZoneMode::Removed;
    manifest.packs.clear();
    let octets = manifest.to_octets().expect("good");
    test.entry(&key::terminate(&key::zone_key(&apex())), &octets);
    assert_eq!(test.publish(), [(8, "remove".to_owned())]);
    test.zone(7, vec![]);
    test.live(7, 8);
    test.live(8, 9);
    assert_eq!(test.publish(), []);
    test.zone(12, vec![]);
    assert_eq!(test.publish(), [(12, "rebuild 1".to_owned())]);
}

#[test]
fn an_emptied_pack_of_an_unknown_zone_keeps_nobody_from_being_synced() {
    let mut test = Test::new();
    test.core.handle_scan_complete(0);
    let gone: Name = "gone".parse().expect("a name");
    test.entry(&key::terminate(&key::pack_key(&gone, 3)), b"");
    test.header();
    test.zone(5, vec![]);
    test.beat(5);
    assert_eq!(test.publish(), [(5, "rebuild 1".to_owned())]);
    assert_eq!(test.core.status(), SyncStatus::Synced);
}

#[test]
fn a_filter_takes_a_zone_with_all_below_it_and_drops_others() {
    let filter = Some(vec!["other".parse().expect("a name")]);
    let mut test = Test::with(SyncConfig { zone_filter: filter, ..SyncConfig::default() });
    test.core.handle_scan_complete(0);
    test.header();
    test.zone(5, vec![]);
    test.live(5, 6);
    test.beat(6);
    assert_eq!(test.publish(), []);
    assert_eq!(test.core.stats().filtered, 3);
    assert_eq!(test.core.status(), SyncStatus::Synced, "all of nothing is here");
}

#[test]
fn a_blob_that_never_arrives_holds_up_its_own_zone_alone() {
    let mut test = Test::synced();
    let other: Name = "other".parse().expect("a name");
    let (mut bad, _) = manifest(7, vec![]);
    bad.apex = other.clone();
    bad.packs[0].first_owner = other.clone();
    bad.packs[0].hash = [0xee; 32];
    test.entry(&key::terminate(&key::zone_key(&other)), &bad.to_octets().expect("good"));
    let mut wanted = 0;
    for now_ms in (0..60_000).step_by(1_000) {
        test.at(now_ms);
        for hash in test.core.poll_fetch(now_ms, 10) {
            wanted += usize::from(hash == [0xee; 32]);
            test.core.handle_content_failed(hash, now_ms);
        }
        test.publish();
    }
    assert!((6..30).contains(&wanted), "{wanted} tries: never forgotten, and ever more slowly");
    test.live(5, 6);
    assert_eq!(test.publish(), [(6, "edit 1".to_owned())]);
}
