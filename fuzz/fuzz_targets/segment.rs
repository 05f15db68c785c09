//! Any octets are a segment that is written again as it was, or an error.
#![no_main]

use aspen_dns::feed::segment::Segment;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let octets = Bytes::copy_from_slice(octets);
    let Ok(segment) = Segment::from_octets(&octets) else { return };
    let (_, signature) = Segment::split(&octets).expect("it was read");
    assert_eq!(segment.to_octets(|_| *signature), octets);
});
