//! Delta packs: when there are too many of them, and how two become one.
//!
//! **Invariant:** of two changes of one RRset the newer pack's stays.
//! **Not here:** which packs are joined, and the manifest that names them (`zone`).

use std::collections::BTreeMap;

use crate::feed::items::{ItemRef, item_of};
use crate::feed::manifest::{Manifest, PackRef};
use crate::feed::pack::{Pack, PackWriter};
use crate::limits::{DELTA_OCTETS_MIN, DELTA_PACKS_MAX};
use crate::name::Name;
use crate::record::{Change, RecordType};

/// Whether the deltas have become so many, or so large, that a new base costs less.
pub(super) fn is_base_due(manifest: &Manifest) -> bool {
    let octets = |pack: &PackRef| u64::from(pack.len);
    let base: u64 = manifest.bases().map(octets).sum();
    let deltas: u64 = manifest.deltas().map(|(pack, _, _)| octets(pack)).sum();
    manifest.deltas().count() >= DELTA_PACKS_MAX as usize
        || deltas > (base / 4).max(DELTA_OCTETS_MIN)
}

/// Joins two delta packs, the newer one winning; none when one of them is malformed.
pub(super) fn join(apex: &Name, older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
    let mut changes: BTreeMap<(Name, RecordType), Change> = BTreeMap::new();
    for octets in [older, newer] {
        let pack = Pack::check(octets).ok()?;
        let mut items = pack.items();
        while let Some(change) = items.next().map(ItemRef::to_change) {
            let change = change?;
            changes.insert((change.owner().clone(), change.rtype()), change);
        }
    }
    let mut writer = PackWriter::delta(apex.clone());
    for change in changes.values() {
        writer.push(item_of(change)).ok()?;
    }
    Some(writer.finish())
}
