//! Any octets are a pack, manifest, header or heartbeat that reads back the same, or an error.
#![no_main]

use aspen_dns::feed::beat::{Beat, FeedHeader};
use aspen_dns::feed::items::ItemRef;
use aspen_dns::feed::manifest::Manifest;
use aspen_dns::feed::merge::for_each_rrset;
use aspen_dns::feed::pack::{Pack, PackWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(header) = FeedHeader::from_octets(octets) {
        assert_eq!(header.to_octets(), octets);
    }
    if let Ok(beat) = Beat::from_octets(octets) {
        assert_eq!(beat.to_octets(), octets);
    }
    if let Ok(manifest) = Manifest::from_octets(octets) {
        assert_eq!(manifest.to_octets().as_deref(), Ok(octets));
    }
    let Ok(pack) = Pack::check(octets) else { return };
    let mut writer = if pack.is_delta() {
        PackWriter::delta(pack.apex().clone())
    } else {
        PackWriter::base(pack.apex().clone())
    };
    let mut changes = Vec::new();
    let mut items = pack.items();
    while let Some(item) = items.next() {
        changes.push(item.to_change().expect("a proven item"));
        writer.push(item).expect("proven items are in order");
    }
    assert_eq!(changes.len(), pack.item_count() as usize);
    // The table may be written in another order, so the items are compared and not the octets.
    let again = writer.finish();
    let read = Pack::check(&again).expect("what is written is good");
    let mut items = read.items();
    for change in &changes {
        assert_eq!(items.next().and_then(ItemRef::to_change).as_ref(), Some(change));
    }
    let mut count = 0;
    for_each_rrset(pack.apex(), &[octets, &again], &[], |_| count += 1).ok();
    assert!(count <= changes.len() * 2);
});
