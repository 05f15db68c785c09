//! Compiled zones as octets: what reads back, and what is wrong with everything else.

use super::*;
use crate::limits::PACK_OCTETS_TARGET;
use crate::record::master::{MasterOptions, read_sorted};

const SEED: HashSeed = HashSeed(5);

fn head() -> ImageHead {
    let key = SourceKey { device: 1, inode: 2, octets: 3, modified_ns: 4, changed_ns: u64::MAX };
    let sources = vec![Source { path: "a.zone".into(), key }];
    ImageHead { sources, warnings: vec!["a.zone:1: é".to_owned()], names: 3 }
}

/// Compiles a master file.
fn compile(text: &str, head: &ImageHead) -> Vec<u8> {
    let origin = Name::from_text("example").unwrap();
    let sorted =
        read_sorted(text.as_bytes(), &origin, MasterOptions::default(), &mut |_| {}).unwrap();
    let mut writer = ImageWriter::new(file_head(), sorted.apex.clone(), head);
    for rrset in sorted.rrsets() {
        writer.push(rrset).unwrap();
    }
    writer.finish().unwrap()
}

/// Reads the first zone of a file.
fn read(octets: &[u8]) -> Result<Option<(Zone, ImageHead)>, ImageError> {
    let start = file_head().len().min(octets.len());
    let mut blocks = BlockReader::new(&octets[start..], start as u64);
    read_zone(&mut blocks, octets.len() as u64, SEED, |_| true)
}

const ZONE: &str = "@ 60 SOA ns h 1 2 3 4 5\n@ NS ns\nb A 192.0.2.1\na.b TXT x\n";

#[test]
fn a_zone_reads_back_as_written() {
    let octets = compile(ZONE, &head());
    let (zone, read_head) = read(&octets).unwrap().expect("current");
    assert_eq!(read_head, head());
    assert_eq!((zone.name_count(), zone.record_count(), zone.serial()), (3, 4, 1));
    let [place] = list_zones(&octets).try_into().unwrap();
    assert_eq!(&octets[place.path], b"a.zone");
    assert_eq!(place.blocks, file_head().len()..octets.len());
}

#[test]
fn a_zone_of_many_blocks_reads_back_and_is_listed_as_one() {
    let mut text = ZONE.to_owned();
    for i in 0..60 {
        text += &format!("t{i} TXT {}\n", format!("\"{}\" ", "x".repeat(250)).repeat(100));
    }
    let octets = compile(&text, &head());
    assert!(octets.len() > 2 * PACK_OCTETS_TARGET);
    let (zone, _) = read(&octets).unwrap().expect("current");
    assert_eq!(zone.name_count(), 63);
    let mut twice = octets.clone();
    twice.extend_from_slice(&octets[file_head().len()..]);
    let places = list_zones(&twice);
    assert_eq!(places.len(), 2);
    assert_eq!(places[1].blocks, octets.len()..twice.len());
}

#[test]
fn a_zone_whose_sources_changed_is_not_built() {
    let octets = compile(ZONE, &head());
    let start = file_head().len();
    let mut blocks = BlockReader::new(&octets[start..], start as u64);
    assert!(read_zone(&mut blocks, 1_000, SEED, |_| false).unwrap().is_none());
}

#[test]
fn every_cut_and_every_flipped_bit_is_an_error() {
    let octets = compile(ZONE, &head());
    let start = file_head().len();
    for len in start..octets.len() {
        assert!(read(&octets[..len]).is_err(), "cut at {len}");
        assert!(list_zones(&octets[..len]).is_empty(), "cut at {len}");
    }
    for bit in start * 8..octets.len() * 8 {
        let mut flipped = octets.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
        list_zones(&flipped);
    }
}

#[test]
fn a_forged_checksum_leads_to_an_error_or_a_zone_never_a_panic() {
    let octets = compile(ZONE, &head());
    let start = file_head().len() + BLOCK_HEAD_LEN;
    for at in start..octets.len() {
        for octet in [0, 1, 0x7f, 0xff] {
            let mut forged = octets.clone();
            forged[at] = octet;
            mend(&mut forged[start - BLOCK_HEAD_LEN..]);
            let _ = read(&forged);
        }
    }
}

#[test]
fn another_version_of_the_program_lists_nothing() {
    let mut octets = compile(ZONE, &head());
    let version_at = file_head().len() - 1;
    octets[version_at] ^= 1;
    assert!(list_zones(&octets).is_empty());
}
