//! Bounds that only a stand-in reaches in time.

use super::*;
use crate::sync::complaint::EntryError;

/// A core that has listed these entries of a feed without header, of which it keeps `max`.
fn listed(entries: &[(&str, &str)], max: usize) -> SyncCore {
    let mut core = SyncCore::new(SyncConfig::default(), 0);
    core.intake.plain_mut().entries_max = max;
    list(&mut core, entries, 0);
    core
}

/// Lists entries, publishes what comes of them, and is reconciled.
fn list(core: &mut SyncCore, entries: &[(&str, &str)], now_ms: u64) {
    core.handle_scan_started(now_ms);
    for (index, (key, content)) in entries.iter().enumerate() {
        let entry = FeedEntry {
            key: key.as_bytes(),
            author: [1; 32],
            hash: [index as u8; 32],
            len: content.len() as u64,
            timestamp_us: index as u64,
            origin: Origin::Scan,
            content: Some(Bytes::copy_from_slice(content.as_bytes())),
        };
        // Some are refused; what becomes of the whole is what is tested.
        let _ = core.handle_entry(&entry, now_ms);
    }
    core.handle_scan_complete(now_ms);
    core.handle_reconciled(now_ms);
    for batch in core.poll_batch(now_ms).unwrap_or_default() {
        core.handle_applied(&batch.apex, batch.revision, now_ms);
    }
}

#[test]
fn an_edge_that_has_dropped_entries_at_their_bound_is_not_synced_until_it_has_all() {
    let zone = (
        "dns:_zone:example",
        r#"{"name":"example","enabled":true,"default_ttl":60,"metadata":{"serial":1,"last_modified_ms":0,"description":null}}"#,
    );
    let a = (
        "dns:a.example:A",
        r#"{"domain":"a.example","ttl_seconds":60,"data":{"type":"A","addresses":["192.0.2.1"]},"updated_at_ms":1000}"#,
    );
    for max in [3, 2] {
        let mut core = listed(&[zone, a], max);
        assert_eq!((core.status(), core.stats().bound_hits), (SyncStatus::Synced, 0), "{max}");
        assert!(core.poll_complaint().is_none());
    }
    let mut core = listed(&[zone, a], 1);
    assert_eq!((core.status(), core.stats().bound_hits), (SyncStatus::Syncing, 1));
    let told = core.poll_complaint().expect("an entry was dropped");
    assert_eq!(told.error, EntryError::TooManyEntries { max: 1 });
    assert!(core.poll_rescan(0));
    list(&mut core, &[zone, a], 10);
    assert_eq!((core.status(), core.stats().bound_hits), (SyncStatus::Syncing, 2));
    list(&mut core, &[zone], 20);
    assert_eq!((core.status(), core.stats().bound_hits), (SyncStatus::Synced, 2));
}
