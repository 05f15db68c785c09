//! What a commit took away: what stood in each zone before it, so that the past can be read (`store::past`).
//!
//! Each commit that says in the journal what it did says under a key beside it what was there before. The
//! engine's log keeps both for as long as it reaches back. A commit without it, one of an older version or one too
//! large for it, is a gap: what was before such a commit is not known.
//!
//! `UN`, version, 0; then per zone that the commit changed: apex (wire form), kind (octet), for a zone that was
//! another then its object (varint, octets), the generation whose rows follow (octet, 64 bits), their count
//! (varint) and each: owner (wire form), type (16 bits), RDATA list (varint, octets) and, if there was one, its TTL
//! (32 bits); an empty list: there was none.
//!
//! **Invariant:** what is written reads back; octets that are none of it are an error.
//! **Not here:** what the commit put (`store::journal`), what the zones were (`store::past`).

use super::generation::Generation;
use super::kv::KvError;
use super::zone_object::ZoneObject;
use crate::limits::{RRSET_OCTETS_MAX, UNDO_OCTETS_MAX};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, put_counted, put_varint};
use crate::record::{RdataList, RecordType};

/// What a commit took away from one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct UndoZone {
    /// The apex.
    pub(super) apex: Name,
    /// What the zone was.
    pub(super) before: Before,
    /// The generation that the rows stand under, after the commit.
    pub(super) generation: Generation,
    /// The RRsets that the commit put or deleted there, as they were.
    pub(super) rows: Vec<UndoRow>,
}

/// What a zone was before a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Before {
    /// There was none.
    Absent,
    /// The same but for some of its rows.
    Same,
    /// One with other settings, or another SOA.
    Changed(Box<ZoneObject>),
    /// One whose rows stand under another generation, which it has left, or which was deleted.
    Left(Box<ZoneObject>),
}

/// An RRset before a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct UndoRow {
    /// The owner.
    pub(super) owner: Name,
    /// The type.
    pub(super) rtype: RecordType,
    /// TTL in seconds and records; none if there was no such RRset.
    pub(super) was: Option<(u32, RdataList)>,
}

/// Writes what a commit takes away.
pub(super) struct UndoWriter {
    /// What is written so far.
    octets: Vec<u8>,
}

impl UndoWriter {
    /// Begins.
    pub(super) fn new() -> Self {
        Self { octets: nothing() }
    }

    /// Begins a zone: what it was, of which `octets` are its object, and the generation of the `count` rows that
    /// follow.
    pub(super) fn put_zone(
        &mut self,
        apex: &Name,
        (kind, object): (UndoKind, Option<&[u8]>),
        generation: Generation,
        count: usize,
    ) {
        self.octets.extend_from_slice(apex.as_wire());
        self.octets.push(kind as u8);
        if let Some(object) = object {
            put_counted(&mut self.octets, object);
        }
        self.octets.push(u8::from(generation.is_packed));
        self.octets.extend_from_slice(&generation.number.to_be_bytes());
        put_varint(&mut self.octets, count as u64);
    }

    /// Adds an RRset as it was.
    pub(super) fn put_row(
        &mut self,
        owner: &Name,
        rtype: RecordType,
        was: Option<(u32, &RdataList)>,
    ) {
        if self.octets.len() > UNDO_OCTETS_MAX {
            return; // it is of no use any more
        }
        self.octets.extend_from_slice(owner.as_wire());
        self.octets.extend_from_slice(&rtype.0.to_be_bytes());
        put_counted(&mut self.octets, was.map_or(&[], |(_, rdata)| rdata.as_octets()));
        if let Some((ttl_s, _)) = was {
            self.octets.extend_from_slice(&ttl_s.to_be_bytes());
        }
    }

    /// Returns the octets, unless they are more than [`UNDO_OCTETS_MAX`], or than a commit has room for.
    pub(super) fn end(self, room: u64) -> Option<Vec<u8>> {
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(UNDO_OCTETS_MAX);
        (self.octets.len() <= room).then_some(self.octets)
    }
}

/// How a zone differs from what it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum UndoKind {
    /// [`Before::Absent`].
    Absent = 0,
    /// [`Before::Same`].
    Same = 1,
    /// [`Before::Changed`].
    Changed = 2,
    /// [`Before::Left`].
    Left = 3,
}

/// Returns what a commit says that takes nothing away.
pub(super) fn nothing() -> Vec<u8> {
    let mut octets = Vec::new();
    FORMAT.put(&mut octets);
    octets
}

/// Reads what a commit took away.
///
/// # Errors
/// [`KvError::Unreadable`].
pub(super) fn decode(octets: &[u8]) -> Result<Vec<UndoZone>, KvError> {
    let mut reader = OctetReader::new(octets);
    let mut zones = Vec::new();
    reader.format(WHAT, FORMAT).map_err(|_| UNREADABLE)?;
    while reader.left() > 0 {
        zones.push(read_zone(&mut reader)?);
    }
    Ok(zones)
}

/// Reads what a commit took away from one zone.
fn read_zone(reader: &mut OctetReader<'_>) -> Result<UndoZone, KvError> {
    let unreadable = |_: DecodeError| UNREADABLE;
    let apex = reader.name().map_err(unreadable)?;
    let kind = reader.u8(WHAT).map_err(unreadable)?;
    let mut object = || -> Result<Box<ZoneObject>, KvError> {
        let octets = reader.counted(WHAT, UNDO_OCTETS_MAX).map_err(unreadable)?;
        ZoneObject::decode(octets).map(Box::new)
    };
    let before = match kind {
        kind if kind == UndoKind::Absent as u8 => Before::Absent,
        kind if kind == UndoKind::Same as u8 => Before::Same,
        kind if kind == UndoKind::Changed as u8 => Before::Changed(object()?),
        kind if kind == UndoKind::Left as u8 => Before::Left(object()?),
        _ => return Err(UNREADABLE),
    };
    let mut read = || -> Result<(Generation, Vec<UndoRow>), DecodeError> {
        let is_packed = reader.u8(WHAT)? != 0;
        let generation = Generation { number: reader.u64(WHAT)?, is_packed };
        let count = reader.varint(WHAT, reader.left() as u64)?;
        let rows = (0..count).map(|_| read_row(reader)).collect::<Result<_, _>>()?;
        Ok((generation, rows))
    };
    let (generation, rows) = read().map_err(unreadable)?;
    Ok(UndoZone { apex, before, generation, rows })
}

/// Reads one RRset as it was.
fn read_row(reader: &mut OctetReader<'_>) -> Result<UndoRow, DecodeError> {
    let owner = reader.name()?;
    let rtype = RecordType(reader.u16(WHAT)?);
    let at = reader.at();
    let rdata = reader.counted(WHAT, RRSET_OCTETS_MAX)?;
    let was = match rdata.is_empty() {
        true => None,
        false => {
            let bad = |_| DecodeError::BadValue { what: WHAT, at };
            let rdata = RdataList::from_octets(rdata).map_err(bad)?;
            Some((reader.u32(WHAT)?, rdata))
        }
    };
    Ok(UndoRow { owner, rtype, was })
}

/// What it begins with.
const FORMAT: Format = Format { letters: *b"UN", version: 1 };
/// What it is.
const WHAT: &str = "what a commit took away";
/// Octets that are none of it.
const UNREADABLE: KvError = KvError::Unreadable { what: WHAT };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::zone_settings::ZoneSettings;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// Writes zones, as a commit does.
    fn encode(zones: &[UndoZone], room: u64) -> Option<Vec<u8>> {
        let mut writer = UndoWriter::new();
        for UndoZone { apex, before, generation, rows } in zones {
            let (kind, object) = match before {
                Before::Absent => (UndoKind::Absent, None),
                Before::Same => (UndoKind::Same, None),
                Before::Changed(object) => (UndoKind::Changed, Some(object.encode())),
                Before::Left(object) => (UndoKind::Left, Some(object.encode())),
            };
            writer.put_zone(apex, (kind, object.as_deref()), *generation, rows.len());
            for UndoRow { owner, rtype, was } in rows {
                writer.put_row(owner, *rtype, was.as_ref().map(|(ttl_s, rdata)| (*ttl_s, rdata)));
            }
        }
        writer.end(room)
    }

    /// One zone of each kind.
    fn zones() -> Vec<UndoZone> {
        let apex = name("example.com");
        let generation = Generation { number: u64::MAX, is_packed: true };
        let object = ZoneObject::new(ZoneSettings::new(apex.clone()), generation, 7);
        let rdata = RdataList::new([[192, 0, 2, 1], [192, 0, 2, 2]]).unwrap();
        let row = |owner: &str, was| UndoRow { owner: name(owner), rtype: RecordType::A, was };
        let rows = vec![row("www.example.com", Some((60, rdata))), row("new.example.com", None)];
        let zone =
            |before, generation, rows| UndoZone { apex: apex.clone(), before, generation, rows };
        vec![
            zone(Before::Absent, Generation::loose(1), Vec::new()),
            zone(Before::Same, Generation::loose(0), rows.clone()),
            zone(Before::Changed(Box::new(object.clone())), generation, rows),
            zone(Before::Left(Box::new(object)), generation, Vec::new()),
        ]
    }

    #[test]
    fn what_was_taken_away_reads_back_and_a_cut_one_is_an_error() {
        let zones = zones();
        let octets = encode(&zones, u64::MAX).unwrap();
        assert_eq!(decode(&octets).unwrap(), zones);
        assert_eq!(decode(&nothing()).unwrap(), Vec::new());
        let ends: Vec<usize> =
            (0..=zones.len()).map(|n| encode(&zones[..n], u64::MAX).unwrap().len()).collect();
        for len in 0..octets.len() {
            assert_eq!(decode(&octets[..len]).is_ok(), ends.contains(&len), "{len}");
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_as_a_whole() {
        let zones = zones();
        let len = encode(&zones, u64::MAX).unwrap().len() as u64;
        assert!(encode(&zones, len).is_some());
        assert!(encode(&zones, len - 1).is_none());
        let rdata = RdataList::new([[0; 60_000]]).unwrap();
        let row =
            UndoRow { owner: name("a.example.com"), rtype: RecordType(9), was: Some((1, rdata)) };
        let rows = vec![row; UNDO_OCTETS_MAX / 60_000 + 1];
        let huge = UndoZone { rows, ..zones[1].clone() };
        assert!(encode(&[huge], u64::MAX).is_none());
    }

    #[test]
    fn a_changed_rrset_costs_a_commit_less_than_a_tenth_of_what_its_log_entry_has() {
        let rdata = RdataList::new([[192, 0, 2, 1]]).unwrap();
        let row = UndoRow {
            owner: name("www.example.com"),
            rtype: RecordType::A,
            was: Some((60, rdata)),
        };
        let zone = UndoZone { rows: vec![row], ..zones()[1].clone() };
        // A log entry of such a commit has 1.1 KB.
        let len = encode(&[zone], u64::MAX).unwrap().len();
        assert_eq!(len, 4 + 13 + 1 + 9 + 1 + 17 + 2 + 7 + 4);
    }
}
