//! Any octets are a compiled zone file or an error; what it makes is a zone that reads back.
//!
//! The checksums are mended first, or nothing behind them would ever be reached.
#![no_main]

use aspen_dns::masterfiles::image::{BlockReader, ImageWriter, file_head, list_zones, mend, read_zone};
use aspen_dns::name::Name;
use aspen_dns::zone::HashSeed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut file = file_head();
    let start = file.len();
    file.extend_from_slice(octets);
    for is_mended in [false, true] {
        if is_mended {
            mend(&mut file[start..]);
        }
        for place in list_zones(&file) {
            let blocks = &file[place.blocks.clone()];
            let mut reader = BlockReader::new(blocks, place.blocks.start as u64);
            let seed = HashSeed(1);
            let Ok(Some((zone, head))) =
                read_zone(&mut reader, blocks.len() as u64, seed, |_| true)
            else {
                continue;
            };
            let mut rrsets: Vec<_> = zone.rrsets().collect();
            rrsets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
            let mut writer = ImageWriter::new(Vec::new(), Name::clone(zone.apex()), &head);
            for rrset in &rrsets {
                writer.push(rrset.as_ref()).expect("what was read can be written");
            }
            let again = writer.finish().expect("memory takes everything");
            let mut reader = BlockReader::new(again.as_slice(), 0);
            let read = read_zone(&mut reader, again.len() as u64, seed, |_| true);
            let (other, other_head) = read.expect("what was written is good").expect("current");
            assert_eq!(other_head, head);
            assert_eq!((other.name_count(), other.serial()), (zone.name_count(), zone.serial()));
        }
    }
});
