//! Delta packs: how two become one.
//!
//! **Invariant:** of two changes of one RRset the newer pack's stays.
//! **Not here:** which packs are joined (`fold`).

use std::collections::BTreeMap;

use crate::feed::items::{ItemRef, item_of};
use crate::feed::pack::{Pack, PackWriter};
use crate::name::Name;
use crate::record::{Change, RecordType};

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
