//! A master file of any octets is read or refused, and what was read is read back as it is written.

#![no_main]

use aspen_dns::name::Name;
use aspen_dns::record::Rrset;
use aspen_dns::record::master::{IncludeError, MasterOptions, MasterZone, read_zone, write_zone};
use libfuzzer_sys::fuzz_target;

/// Reads a file; each file that it includes is this one.
fn read(text: &[u8], is_including: bool) -> Option<MasterZone> {
    let mut left = 3;
    let mut opener = |_: &str| {
        left -= 1;
        if left > 0 { Ok(text.to_vec()) } else { Err(IncludeError::Outside) }
    };
    let mut options = MasterOptions::default();
    if is_including {
        options.opener = Some(&mut opener);
    }
    let origin = Name::from_text("example.").expect("a name");
    read_zone(text, &origin, options, &mut |_| {}).ok()
}

/// Puts RRsets in one order: a file's is its own, and the SOA is written first.
fn sorted(mut rrsets: Vec<Rrset>) -> Vec<Rrset> {
    rrsets.sort_by(|left, right| (&left.owner, left.rtype).cmp(&(&right.owner, right.rtype)));
    rrsets
}

fuzz_target!(|text: &[u8]| {
    let _ = read(text, true);
    // Few octets of $GENERATE are many records, and their number has its own tests.
    let Some(zone) = read(text, false).filter(|zone| zone.rrsets.len() < 2_000) else { return };
    let mut written = Vec::new();
    write_zone(&zone.apex, zone.rrsets.iter().cloned(), &mut written).expect("into memory");
    let again = read(&written, false).expect("what was written can be read");
    assert_eq!((again.apex, sorted(again.rrsets)), (zone.apex, sorted(zone.rrsets)));
});
