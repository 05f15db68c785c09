//! The form of a pack: rows by rising key, each with what its key shares with the one before it.
//!
//! `RP`, version, 0; then per row: octets that its key shares with that of the row before (varint), octets of the
//! rest (varint), the rest, octets of the value (varint), the value. A key is without what all rows of the
//! generation have in front.
//!
//! **Invariant:** what is written reads back; octets that are no pack are an error.
//! **Not here:** where packs stand (`store::keys`).

use super::directory::Directory;
use crate::limits::PACK_OCTETS;
use crate::octets::{DecodeError, Format, OctetReader, put_counted, put_varint};
use crate::store::generation::Generation;
use crate::store::keys;
use crate::store::kv::KvError;

/// Keys and values, by rising key.
type Puts = Vec<(Vec<u8>, Vec<u8>)>;

/// Puts rows, by rising key, into packs if their generation has them; returns what is to be written.
pub(in crate::store) fn pack_rows(generation: Generation, rows: Puts) -> Puts {
    match generation.is_packed {
        true => pack_into(generation.number, rows, PACK_OCTETS),
        false => rows,
    }
}

/// Puts rows into packs of so many octets, or of one row.
pub(super) fn pack_into(number: u64, rows: Puts, octets_max: usize) -> Puts {
    let (mut packs, mut firsts) = (Puts::new(), Vec::new());
    let (mut pack, mut last) = (Vec::new(), Vec::new());
    let mut end = |pack: &mut Vec<u8>| {
        let index = u32::try_from(packs.len()).unwrap_or(u32::MAX);
        packs.push((keys::pack_key(number, index), std::mem::take(pack)));
    };
    for (key, value) in rows {
        let row = &key[keys::ROW_NAME_AT..];
        if !pack.is_empty() && pack.len() + row.len() + value.len() > octets_max {
            end(&mut pack);
        }
        if pack.is_empty() {
            pack.reserve(octets_max);
            FORMAT.put(&mut pack);
            firsts.push(row.to_vec());
            last.clear();
        }
        let shared = row.iter().zip(&last).take_while(|(a, b)| a == b).count();
        put_varint(&mut pack, shared as u64);
        put_counted(&mut pack, &row[shared..]);
        put_counted(&mut pack, &value);
        last.clear();
        last.extend_from_slice(row);
    }
    if !pack.is_empty() {
        end(&mut pack);
    }
    packs.extend(Directory::new(firsts).parts(number));
    packs
}

/// The key of a row, without what all rows have in front, and its value.
type PackedRow<'r, 'a> = (&'r [u8], &'a [u8]);

/// Reads the rows of a pack one after another.
pub(in crate::store) struct PackReader<'a> {
    /// What is left.
    reader: OctetReader<'a>,
    /// The key of the row that was read last.
    row: Vec<u8>,
}

impl<'a> PackReader<'a> {
    /// Begins at the first row.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(in crate::store) fn new(octets: &'a [u8]) -> Result<Self, KvError> {
        let mut reader = OctetReader::new(octets);
        reader.format("a pack of RRsets", FORMAT).map_err(|_| UNREADABLE)?;
        Ok(Self { reader, row: Vec::new() })
    }

    /// Returns the next row.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(in crate::store) fn next(&mut self) -> Result<Option<PackedRow<'_, 'a>>, KvError> {
        if self.reader.left() == 0 {
            return Ok(None);
        }
        let (reader, row) = (&mut self.reader, &mut self.row);
        let mut read = || {
            let shared =
                usize::try_from(reader.varint("shared octets", u64::MAX)?).unwrap_or(usize::MAX);
            let rest = reader.counted("a row's key", usize::MAX)?;
            Ok((shared, rest, reader.counted("a row", usize::MAX)?))
        };
        let read: Result<_, DecodeError> = read();
        let (shared, rest, value) = read.map_err(|_| UNREADABLE)?;
        if shared > row.len() || rest.is_empty() {
            return Err(UNREADABLE);
        }
        row.truncate(shared);
        row.extend_from_slice(rest);
        Ok(Some((row, value)))
    }
}

/// What a pack begins with.
const FORMAT: Format = Format { letters: *b"RP", version: 1 };
/// Octets that are no pack.
const UNREADABLE: KvError = KvError::Unreadable { what: "a pack of RRsets" };
