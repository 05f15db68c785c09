//! Any octets are a root or an index that is written again as it was, or an error.
#![no_main]

use aspen_dns::feed::index::Index;
use aspen_dns::feed::root::Root;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(root) = Root::from_octets(octets) {
        assert_eq!(root.to_octets().as_deref(), Ok(octets));
    }
    let Ok(index) = Index::from_octets(octets) else { return };
    for place in index.rows.iter().filter_map(|row| row.zone.as_ref()).flat_map(|zone| &zone.packs) {
        let bundle = index.bundles[place.bundle as usize];
        assert!(u64::from(place.offset) + u64::from(place.len) <= u64::from(bundle.len));
    }
    assert_eq!(index.to_octets().as_deref(), Ok(octets));
});
