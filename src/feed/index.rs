//! An index: rows that say, zone by zone, what it is at a revision and where its packs lie.
//!
//! Packs lie in bundles, which are nothing but packs one behind the other: many small zones share
//! one content, a large zone has many. Layout:
//!
//! ```text
//! format "AI" 2, bundles varint, each: hash [32], length u32
//! rows varint, each: apex, state u8 (0 served, 1 removed), revision u64
//!     and when served: serial u32, digest [24], owner names varint,
//!     packs varint, each: bundle varint, offset varint, twice the length varint, 1 more for a delta
//! ```
//!
//! A zone is its packs in order: bases by rising names, then deltas, the oldest first.
//!
//! **Invariant:** a row of an [`Index`] names only places inside its bundles.
//! **Not here:** what packs hold (`feed::pack`), which indexes count (`feed::root`).

use super::Hash;
use super::digest::Digest;
use crate::limits::{
    BUNDLE_OCTETS_MAX, INDEX_BUNDLES_MAX, INDEX_OCTETS_MAX, INDEX_ROWS_MAX, ZONE_PACKS_MAX,
};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, check_max, put_varint};

/// An index.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Index {
    /// The bundles that rows name by their place here.
    pub bundles: Vec<BundleRef>,
    /// The rows.
    pub rows: Vec<IndexRow>,
}

/// Names a bundle.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct BundleRef {
    /// Its hash.
    pub hash: Hash,
    /// Its length in octets.
    pub len: u32,
}

/// One zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IndexRow {
    /// The zone.
    pub apex: Name,
    /// Its revision; of a zone that is gone, the one that removed it.
    pub revision: u64,
    /// What it is; `None` if it is gone.
    pub zone: Option<ZoneRow>,
}

/// What a zone is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ZoneRow {
    /// The SOA's serial.
    pub serial: u32,
    /// What the records come to.
    pub digest: Digest,
    /// About how many owner names there are.
    pub names: u64,
    /// Where the packs lie.
    pub packs: Vec<PackPlace>,
}

/// Where a pack lies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PackPlace {
    /// The bundle's place in the index.
    pub bundle: u32,
    /// Where it begins in the bundle.
    pub offset: u32,
    /// Its length in octets.
    pub len: u32,
    /// Whether it is a delta.
    pub is_delta: bool,
}

impl Index {
    /// Writes the index.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`], as its readers would find.
    ///
    /// # Panics
    /// If a pack does not lie within its bundle.
    pub fn to_octets(&self) -> Result<Vec<u8>, DecodeError> {
        check_max("count of bundles", 0, self.bundles.len() as u64, INDEX_BUNDLES_MAX)?;
        check_max("count of rows", 0, self.rows.len() as u64, INDEX_ROWS_MAX)?;
        for zone in self.rows.iter().filter_map(|row| row.zone.as_ref()) {
            check_max("count of packs", 0, zone.packs.len() as u64, ZONE_PACKS_MAX)?;
            let is_inside = zone.packs.iter().all(|place| place.is_inside(&self.bundles));
            assert!(is_inside, "a pack lies within its bundle");
        }
        for bundle in &self.bundles {
            check_max("length of a bundle", 0, u64::from(bundle.len), BUNDLE_OCTETS_MAX as u64)?;
        }
        let out = self.write();
        check_max("length of an index", 0, out.len() as u64, INDEX_OCTETS_MAX as u64)?;
        Ok(out)
    }

    /// Writes the index as it is.
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.bundles.len() * 36 + self.rows.len() * 64);
        FORMAT.put(&mut out);
        put_varint(&mut out, self.bundles.len() as u64);
        for bundle in &self.bundles {
            out.extend_from_slice(&bundle.hash);
            out.extend_from_slice(&bundle.len.to_be_bytes());
        }
        put_varint(&mut out, self.rows.len() as u64);
        for row in &self.rows {
            out.extend_from_slice(row.apex.as_wire());
            out.push(if row.zone.is_some() { SERVED } else { REMOVED });
            out.extend_from_slice(&row.revision.to_be_bytes());
            let Some(zone) = &row.zone else { continue };
            out.extend_from_slice(&zone.serial.to_be_bytes());
            out.extend_from_slice(&zone.digest.to_octets());
            put_varint(&mut out, zone.names);
            put_varint(&mut out, zone.packs.len() as u64);
            for place in &zone.packs {
                put_varint(&mut out, u64::from(place.bundle));
                put_varint(&mut out, u64::from(place.offset));
                put_varint(&mut out, u64::from(place.len) * 2 + u64::from(place.is_delta));
            }
        }
        out
    }

    /// Reads an index.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        check_max("length of an index", 0, octets.len() as u64, INDEX_OCTETS_MAX as u64)?;
        let mut reader = OctetReader::new(octets);
        if reader.format("index", FORMAT)? != FORMAT.version {
            return Err(DecodeError::BadValue { what: "version of an index", at: 2 });
        }
        let mut index = Self::default();
        for _ in 0..reader.varint("count of bundles", INDEX_BUNDLES_MAX)? {
            let hash = reader.array("hash of a bundle")?;
            let at = reader.at();
            let len = reader.u32("length of a bundle")?;
            check_max("length of a bundle", at, u64::from(len), BUNDLE_OCTETS_MAX as u64)?;
            index.bundles.push(BundleRef { hash, len });
        }
        for _ in 0..reader.varint("count of rows", INDEX_ROWS_MAX)? {
            let row = read_row(&mut reader, &index.bundles)?;
            index.rows.push(row);
        }
        reader.end()?;
        Ok(index)
    }
}

impl PackPlace {
    /// Whether the place lies within one of the bundles.
    fn is_inside(&self, bundles: &[BundleRef]) -> bool {
        let end = u64::from(self.offset) + u64::from(self.len);
        let bundle = bundles.get(self.bundle as usize);
        bundle.is_some_and(|bundle| end <= u64::from(bundle.len))
    }
}

/// Reads one row.
fn read_row(reader: &mut OctetReader<'_>, bundles: &[BundleRef]) -> Result<IndexRow, DecodeError> {
    let apex = reader.name()?;
    let at = reader.at();
    let state = reader.u8("state of a zone")?;
    let revision = reader.u64("revision")?;
    let zone = match state {
        SERVED => Some(read_zone(reader, bundles)?),
        REMOVED => None,
        _ => return Err(DecodeError::BadValue { what: "state of a zone", at }),
    };
    Ok(IndexRow { apex, revision, zone })
}

/// Reads what a zone is.
fn read_zone(reader: &mut OctetReader<'_>, bundles: &[BundleRef]) -> Result<ZoneRow, DecodeError> {
    let serial = reader.u32("serial")?;
    let digest = Digest::from_octets(&reader.array("digest")?);
    let names = reader.varint("count of owner names", u64::MAX)?;
    let count = reader.varint("count of packs", ZONE_PACKS_MAX)?;
    let mut packs = Vec::new();
    for _ in 0..count {
        let at = reader.at();
        let bundle = reader.varint("bundle", u64::from(u32::MAX))? as u32;
        let offset = reader.varint("offset", u64::from(u32::MAX))? as u32;
        let len = reader.varint("length of a pack", u64::from(u32::MAX))?;
        let place = PackPlace { bundle, offset, len: (len / 2) as u32, is_delta: len % 2 == 1 };
        if !place.is_inside(bundles) {
            return Err(DecodeError::BadValue { what: "place of a pack", at });
        }
        packs.push(place);
    }
    Ok(ZoneRow { serial, digest, names, packs })
}

/// The first octets of an index.
const FORMAT: Format = Format { letters: *b"AI", version: 2 };
/// State: served.
const SERVED: u8 = 0;
/// State: removed.
const REMOVED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_back_and_names_no_place_outside_its_bundles() {
        let place = |bundle, offset, len| PackPlace { bundle, offset, len, is_delta: bundle == 1 };
        let zone = ZoneRow {
            serial: 1,
            digest: Digest { sum: 2, records: 3 },
            names: 4,
            packs: vec![place(0, 0, 100), place(1, 10, 20)],
        };
        let bundle = |len| BundleRef { hash: [len as u8; 32], len };
        let row = |apex: &str, zone| IndexRow { apex: apex.parse().unwrap(), revision: 7, zone };
        let index = Index {
            bundles: vec![bundle(100), bundle(30)],
            rows: vec![row("example", Some(zone.clone())), row("gone.example", None)],
        };
        let octets = index.to_octets().expect("within the limits");
        assert_eq!(Index::from_octets(&octets), Ok(index.clone()));
        assert!((0..octets.len()).all(|len| Index::from_octets(&octets[..len]).is_err()));
        for wrong in [place(2, 0, 1), place(1, 11, 20), place(0, u32::MAX, u32::MAX / 2)] {
            let zone = ZoneRow { packs: vec![wrong], ..zone.clone() };
            let index = Index { rows: vec![row("example", Some(zone))], ..index.clone() };
            assert!(Index::from_octets(&index.write()).is_err(), "{wrong:?}");
        }
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Index::from_octets(&flipped);
        }
    }

    #[test]
    fn what_is_written_is_what_can_be_read_just_below_at_and_above_each_limit() {
        let check = |index: Index, is_good: bool| {
            assert_eq!(Index::from_octets(&index.write()).is_ok(), is_good);
            assert_eq!(index.to_octets().is_ok(), is_good);
        };
        let gone = IndexRow { apex: Name::root(), revision: 7, zone: None };
        let bundle = BundleRef { hash: [1; 32], len: BUNDLE_OCTETS_MAX as u32 };
        let of_packs = |count: u64| {
            let packs = vec![PackPlace { len: 9, ..PackPlace::default() }; count as usize];
            let zone = Some(ZoneRow { packs, ..ZoneRow::default() });
            Index { bundles: vec![bundle], rows: vec![IndexRow { zone, ..gone.clone() }] }
        };
        let of_rows =
            |count: u64| Index { bundles: vec![bundle], rows: vec![gone.clone(); count as usize] };
        for (count, is_good) in [(0, true), (1, true), (2, false)] {
            check(of_packs(ZONE_PACKS_MAX - 1 + count), is_good);
            check(of_rows(INDEX_ROWS_MAX - 1 + count), is_good);
        }
        let longer = BundleRef { len: bundle.len + 1, ..bundle };
        check(Index { bundles: vec![longer], rows: Vec::new() }, false);
        // So many bundles that a row of ten octets more or less is what counts.
        let head = Index::default().write().len() + 2;
        let count = (INDEX_OCTETS_MAX - head - 20) / 36;
        let mut index = Index { bundles: vec![bundle; count], rows: vec![gone] };
        let rest = INDEX_OCTETS_MAX - index.write().len();
        for (octets, is_good) in [(rest - 1, true), (rest, true), (rest + 1, false)] {
            index.rows[0].apex = "a".repeat(octets - 1).parse().expect("a label");
            assert_eq!(index.write().len(), INDEX_OCTETS_MAX - rest + octets);
            check(index.clone(), is_good);
        }
    }
}
