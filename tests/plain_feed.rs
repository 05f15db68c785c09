//! A namespace in the original system's form: no header, one JSON document an RRset.

#[allow(dead_code)] // each test uses its part of the model
mod feed_model;

use std::collections::BTreeMap;

use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::sync::batch::ZoneStep;
use aspen_dns::sync::core::{SyncConfig, SyncCore};
use aspen_dns::sync::entry::{FeedEntry, Origin};
use aspen_dns::sync::status::SyncStatus;
use bytes::Bytes;
use feed_model::{Seeded, hash_of};

/// One entry: author, key, content, timestamp.
type Entry = (u8, &'static str, &'static str, u64);

/// What is served: for each zone its RRsets, made-up ones left out.
type Served = BTreeMap<String, Vec<String>>;

fn take(core: &mut SyncCore, entry: &Entry, now_ms: u64) {
    let (author, key, content, timestamp_us) = *entry;
    let octets = Bytes::from_static(content.as_bytes());
    let _ = core.handle_entry(
        &FeedEntry {
            key: key.as_bytes(),
            author: [author; 32],
            hash: hash_of(&octets),
            len: octets.len() as u64,
            timestamp_us,
            origin: Origin::Event,
            content: None,
        },
        now_ms,
    );
}

fn fetch(core: &mut SyncCore, entries: &[Entry], now_ms: u64) {
    for hash in core.poll_fetch(now_ms, usize::MAX) {
        let content = entries.iter().map(|entry| entry.2).find(|c| hash_of(c.as_bytes()) == hash);
        let octets = Bytes::from_static(content.expect("a known hash").as_bytes());
        core.handle_content(hash, &octets, now_ms);
    }
}

fn publish(core: &mut SyncCore, zones: &mut BTreeMap<Name, Vec<Rrset>>, now_ms: u64) {
    for batch in core.poll_batch(now_ms).unwrap_or_default() {
        let edits = match batch.step {
            ZoneStep::Remove => {
                zones.remove(&batch.apex);
                Vec::new()
            }
            ZoneStep::Rebuild { packs, edits, .. } => {
                assert!(packs.is_empty());
                zones.insert(batch.apex.clone(), Vec::new());
                edits
            }
            ZoneStep::Edit(edits) => edits,
        };
        for edit in edits {
            let zone = zones.get_mut(&batch.apex).expect("built before");
            zone.retain(|rrset| (&rrset.owner, rrset.rtype) != (edit.owner(), edit.rtype()));
            if let Change::Put(rrset) = edit {
                zone.push(rrset);
            }
        }
        core.handle_applied(&batch.apex, batch.revision, now_ms);
    }
}

/// Tells the entries in an order that `seed` makes, and returns what is served in the end.
fn served(entries: &[Entry], filter: Option<Vec<Name>>, seed: u64) -> (Served, SyncStatus) {
    let mut choose = Seeded(seed);
    let mut core = SyncCore::new(SyncConfig { zone_filter: filter, ..SyncConfig::default() }, 0);
    let mut zones = BTreeMap::new();
    let is_scanned_early = choose.percent(50);
    if is_scanned_early {
        core.handle_scan_complete(0);
        core.handle_reconciled(0);
    }
    let mut order: Vec<&Entry> = entries.iter().chain(entries).collect();
    while !order.is_empty() {
        take(&mut core, order.swap_remove(choose.below(order.len())), 1);
        if choose.percent(50) {
            fetch(&mut core, entries, 1);
        }
        publish(&mut core, &mut zones, 1);
    }
    core.handle_scan_complete(2);
    core.handle_reconciled(2);
    fetch(&mut core, entries, 2);
    publish(&mut core, &mut zones, 2);
    let is_made_up = |rrset: &&Rrset| {
        matches!(rrset.rtype, RecordType::SOA | RecordType::NS) && rrset.ttl_s == 3_600
    };
    let text = |rrset: &Rrset| format!("{} {} {}", rrset.owner, rrset.rtype, rrset.ttl_s);
    let shown = zones.iter().map(|(apex, rrsets)| {
        let has_soa = rrsets.iter().any(|rrset| rrset.rtype == RecordType::SOA);
        let has_ns = rrsets.iter().any(|rrset| rrset.rtype == RecordType::NS);
        assert!(has_soa && has_ns, "{apex} has no SOA or NS");
        let mut shown: Vec<String> =
            rrsets.iter().filter(|rrset| !is_made_up(rrset)).map(text).collect();
        shown.sort();
        (apex.to_string(), shown)
    });
    (shown.collect(), core.status())
}

fn check(entries: &[Entry], filter: Option<&str>, expected: &[(&str, &[&str])]) {
    let expected: Served = expected
        .iter()
        .map(|(apex, rrsets)| {
            ((*apex).to_owned(), rrsets.iter().map(|r| (*r).to_owned()).collect())
        })
        .collect();
    for seed in 0..100 {
        let filter = filter.map(|zone| vec![zone.parse().expect(zone)]);
        let (served, status) = served(entries, filter, seed);
        assert_eq!(served, expected, "seed {seed}");
        assert_eq!(status, SyncStatus::Synced, "seed {seed}");
    }
}

const ZONE: Entry = (
    1,
    "dns:_zone:example",
    r#"{"name":"example","enabled":true,"default_ttl":60,"metadata":{"serial":1,"last_modified_ms":0,"description":null}}"#,
    1,
);
const SUB_DISABLED: Entry = (
    1,
    "dns:_zone:off.example",
    r#"{"name":"off.example","enabled":false,"default_ttl":60,"metadata":{"serial":1,"last_modified_ms":0,"description":null}}"#,
    1,
);
const A: Entry = (
    1,
    "dns:a.example:A",
    r#"{"domain":"a.example","ttl_seconds":60,"data":{"type":"A","addresses":["192.0.2.1"]},"updated_at_ms":1000}"#,
    2,
);
const A_NEWER: Entry = (
    1,
    "dns:a.example:A",
    r#"{"domain":"a.example","ttl_seconds":61,"data":{"type":"A","addresses":["192.0.2.2"]},"updated_at_ms":500}"#,
    7,
);
const AAAA: Entry = (
    1,
    "dns:a.example:AAAA",
    r#"{"domain":"a.example","ttl_seconds":60,"data":{"type":"AAAA","addresses":["2001:db8::1"]},"updated_at_ms":1000}"#,
    3,
);
const OFF: Entry = (
    1,
    "dns:x.off.example:A",
    r#"{"domain":"x.off.example","ttl_seconds":60,"data":{"type":"A","addresses":["192.0.2.3"]},"updated_at_ms":1000}"#,
    3,
);
const OTHER: Entry = (
    1,
    "dns:a.test:A",
    r#"{"domain":"a.test","ttl_seconds":60,"data":{"type":"A","addresses":["192.0.2.4"]},"updated_at_ms":1000}"#,
    3,
);

#[test]
fn zones_hold_the_records_at_or_below_them_in_any_order_of_arrival() {
    check(&[ZONE, A, AAAA, OTHER], None, &[("example", &["a.example A 60", "a.example AAAA 60"])]);
    check(&[ZONE, SUB_DISABLED, A, OFF], None, &[("example", &["a.example A 60"])]);
    check(&[OTHER], Some("test"), &[("test", &["a.test A 60"])]);
    check(&[ZONE, A, OTHER], Some("test"), &[("test", &["a.test A 60"])]);
}

#[test]
fn the_replicas_newest_entry_wins_and_its_prefix_rule_holds() {
    // The replica of the original loses AAAA when A is written again; so do we, in any order.
    check(&[ZONE, A, AAAA, A_NEWER], None, &[("example", &["a.example A 61"])]);
    // Another author's entry removes nothing of this one's.
    let other_author = (2, A_NEWER.1, A_NEWER.2, A_NEWER.3);
    let both: &[&str] = &["a.example A 61", "a.example AAAA 60"];
    check(&[ZONE, A, AAAA, other_author], None, &[("example", both)]);
}

#[test]
fn an_empty_value_or_one_zero_octet_is_a_delete() {
    let emptied = (1, "dns:a.example:AAAA", "", 8);
    check(&[ZONE, A, AAAA, emptied], None, &[("example", &["a.example A 60"])]);
    let zero = (1, "dns:a.example:AAAA", "\0", 8);
    check(&[ZONE, A, AAAA, zero], None, &[("example", &["a.example A 60"])]);
    let whole_prefix = (1, "dns:a.", "", 8);
    check(
        &[ZONE, A, AAAA, OTHER, whole_prefix, OFF],
        None,
        &[("example", &["x.off.example A 60"])],
    );
}

#[test]
fn a_bad_document_is_told_once_and_the_rest_applies() {
    let bad = (1, "dns:b.example:A", "{", 2);
    let wrong_place = (1, "dns:c.example:A", A.2, 2);
    let entries = [ZONE, A, bad, wrong_place];
    check(&entries, None, &[("example", &["a.example A 60"])]);
    let mut core = SyncCore::new(SyncConfig::default(), 0);
    for _ in 0..3 {
        entries.iter().for_each(|entry| take(&mut core, entry, 0));
        fetch(&mut core, &entries, 0);
    }
    let told: Vec<_> = std::iter::from_fn(|| core.poll_complaint()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn a_header_that_turns_up_makes_record_entries_void() {
    let mut core = SyncCore::new(SyncConfig::default(), 0);
    core.handle_scan_complete(0);
    let header = (1, "dns:_feed\0", "", 1);
    take(&mut core, &(1, header.1, "not a header", 1), 0);
    take(&mut core, &A, 0);
    let complaint = core.poll_complaint().expect("a record entry in a feed");
    assert_eq!(&*complaint.key, A.1.as_bytes());
}

#[test]
fn nothing_follows_a_step_that_was_not_reported() {
    let entries = [ZONE, A, AAAA, A_NEWER];
    let mut core = SyncCore::new(SyncConfig::default(), 0);
    [ZONE, A].iter().for_each(|entry| take(&mut core, entry, 0));
    core.handle_scan_complete(0);
    core.handle_reconciled(0);
    fetch(&mut core, &entries, 0);
    let built = core.poll_batch(0).expect("a zone");
    assert!(matches!(built[0].step, ZoneStep::Rebuild { .. }));
    // It may be held back; an edit of it would then find no zone.
    take(&mut core, &A_NEWER, 1);
    fetch(&mut core, &entries, 1);
    assert!(core.poll_batch(1).is_none());
    core.handle_applied(&built[0].apex, built[0].revision, 2);
    let edited = core.poll_batch(2).expect("an edit");
    assert!(matches!(edited[0].step, ZoneStep::Edit(_)));
}

/// Reports the steps of a batch: those of the apex `refused` cannot be built. Returns how many there were.
fn report(core: &mut SyncCore, refused: &Name, now_ms: u64) -> (usize, usize) {
    let (mut applied, mut failed) = (0, 0);
    for batch in core.poll_batch(now_ms).unwrap_or_default() {
        if batch.apex == *refused && !matches!(batch.step, ZoneStep::Remove) {
            core.handle_refused(&batch.apex, batch.revision, now_ms);
            failed += 1;
        } else {
            core.handle_applied(&batch.apex, batch.revision, now_ms);
            applied += 1;
        }
    }
    (applied, failed)
}

#[test]
fn a_zone_that_cannot_be_built_keeps_the_edge_from_being_synced_and_is_tried_again() {
    // No SOA can be made up for it: the mailbox below its apex would be too long a name.
    let label = "a".repeat(61);
    let apex = [&*label, &*label, &*label, &*label].join(".");
    let zone = |is_enabled: bool, timestamp_us: u64| -> Entry {
        let key = format!("dns:_zone:{apex}").leak();
        let content = ZONE.2.replace("example", &apex);
        let content = content.replace("true", &is_enabled.to_string()).leak();
        (1, key, content, timestamp_us)
    };
    let entries = [ZONE, A, zone(true, 1), zone(false, 9)];
    let refused: Name = apex.parse().expect("a name");
    let config = SyncConfig { stale_after_ms: 10_000, ..SyncConfig::default() };
    let mut core = SyncCore::new(config, 0);
    let list = |core: &mut SyncCore, entries: &[Entry], now_ms: u64| {
        core.handle_scan_started(now_ms);
        entries.iter().for_each(|entry| take(core, entry, now_ms));
        core.handle_scan_complete(now_ms);
        core.handle_reconciled(now_ms);
        fetch(core, entries, now_ms);
    };
    list(&mut core, &entries[..3], 0);
    let built = core.poll_batch(0).expect("two zones");
    let has_soa = |edits: &[Change]| edits.iter().any(|edit| edit.rtype() == RecordType::SOA);
    for batch in built {
        let ZoneStep::Rebuild { edits, .. } = &batch.step else { panic!("{batch:?}") };
        assert_eq!(has_soa(edits), batch.apex != refused);
        match has_soa(edits) {
            true => core.handle_applied(&batch.apex, batch.revision, 0),
            false => core.handle_refused(&batch.apex, batch.revision, 0),
        }
    }
    assert_eq!(core.status(), SyncStatus::Syncing);
    assert_eq!(report(&mut core, &refused, 0), (0, 0), "not at once");
    core.handle_time(10_000);
    assert_eq!(core.status(), SyncStatus::Stale, "what is served may be old as ever");
    assert!(core.poll_rescan(10_000));
    list(&mut core, &entries[..3], 10_000);
    assert_eq!(report(&mut core, &refused, 10_000), (0, 1), "it alone");
    assert_eq!(core.status(), SyncStatus::Syncing);
    // A record of another zone is an edit of that; the zone that is gone is missed no more.
    take(&mut core, &A_NEWER, 10_001);
    fetch(&mut core, &[A_NEWER], 10_001);
    assert_eq!(report(&mut core, &refused, 10_001), (1, 0));
    assert_eq!(core.status(), SyncStatus::Syncing);
    take(&mut core, &entries[3], 10_002);
    fetch(&mut core, &entries, 10_002);
    assert_eq!(report(&mut core, &refused, 10_002), (2, 0));
    assert_eq!(core.status(), SyncStatus::Synced);
}
