//! The directory of a generation's packs: the key of each one's first row.
//!
//! It stands in parts: `RD`, version, 0; the number of all packs of the generation (32 bits); then per pack octets
//! of the key (varint) and the key, without what all rows of the generation have in front.
//!
//! **Invariant:** a directory that is read knows all packs, in order.
//! **Not here:** the packs (`packs::form`).

use std::ops::Range;

use crate::limits::PACK_DIRECTORY_OCTETS;
use crate::octets::{DecodeError, Format, OctetReader, put_counted};
use crate::store::keys;
use crate::store::kv::{Cursor, KvError, KvSnapshot};

/// Where the rows of a generation are.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Directory {
    /// The first row of each pack.
    firsts: Vec<Vec<u8>>,
}

impl Directory {
    /// Takes the first rows of packs, which rise.
    pub(super) fn new(firsts: Vec<Vec<u8>>) -> Self {
        Self { firsts }
    }

    /// Returns the keys and values of its parts.
    pub(super) fn parts(&self, number: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let count = u32::try_from(self.firsts.len()).unwrap_or(u32::MAX);
        let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for first in &self.firsts {
            let is_full = parts.last().is_none_or(|(_, part)| part.len() >= PACK_DIRECTORY_OCTETS);
            if is_full {
                let mut part = Vec::new();
                FORMAT.put(&mut part);
                part.extend_from_slice(&count.to_be_bytes());
                let index = u32::try_from(parts.len()).unwrap_or(u32::MAX);
                parts.push((keys::directory_key(number, index), part));
            }
            if let Some((_, part)) = parts.last_mut() {
                put_counted(part, first);
            }
        }
        parts
    }

    /// Reads the directory of a generation.
    ///
    /// # Errors
    /// [`KvError::Unreadable`] if there is none, or part of it is missing; those of the engine.
    pub(super) async fn read(view: &dyn KvSnapshot, number: u64) -> Result<Self, KvError> {
        let (mut firsts, mut count) = (Vec::new(), None);
        let mut cursor: Option<Cursor> = None;
        loop {
            let page =
                view.range(&keys::directory_range(number), cursor.as_ref(), PARTS_PAGE).await?;
            for (_, found) in &page.entries {
                count = Some(read_part(&found.value, &mut firsts)?);
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if count != u32::try_from(firsts.len()).ok() || !firsts.is_sorted_by(|a, b| a < b) {
            return Err(MISSING);
        }
        Ok(Self { firsts })
    }

    /// Returns the pack that has a row if any has it.
    pub(super) fn holder(&self, row: &[u8]) -> Option<u32> {
        let behind = self.firsts.partition_point(|first| &first[..] <= row);
        u32::try_from(behind.checked_sub(1)?).ok()
    }

    /// Returns the packs that may have rows from `start` up to but without `end`.
    pub(super) fn holders(&self, start: &[u8], end: Option<&[u8]>) -> Range<u32> {
        let first = self.holder(start).unwrap_or(0);
        let behind = match end {
            Some(end) => self.firsts.partition_point(|first| &first[..] < end),
            None => self.firsts.len(),
        };
        first..u32::try_from(behind).unwrap_or(u32::MAX).max(first)
    }

    /// Returns the first row of a pack.
    pub(super) fn first(&self, index: u32) -> Option<&[u8]> {
        self.firsts.get(index as usize).map(Vec::as_slice)
    }

    /// Returns how many octets it takes in memory, more or less.
    pub(super) fn octets(&self) -> usize {
        self.firsts.iter().map(|first| first.len() + FIRST_OCTETS).sum()
    }
}

/// Checks that octets are a part of a directory.
///
/// # Errors
/// [`KvError::Unreadable`].
pub(in crate::store) fn check_part(octets: &[u8]) -> Result<(), KvError> {
    read_part(octets, &mut Vec::new()).map(drop)
}

/// Appends the rows of one part, and returns how many packs there are.
fn read_part(octets: &[u8], firsts: &mut Vec<Vec<u8>>) -> Result<u32, KvError> {
    let mut read = || -> Result<u32, DecodeError> {
        let mut reader = OctetReader::new(octets);
        reader.format("a directory of packs", FORMAT)?;
        let count = reader.u32("packs")?;
        while reader.left() > 0 {
            firsts.push(reader.counted("a row's key", usize::MAX)?.to_vec());
        }
        Ok(count)
    };
    read().map_err(|_| KvError::Unreadable { what: "a directory of packs" })
}

/// A pack or a part of a directory is missing.
pub(super) const MISSING: KvError =
    KvError::Unreadable { what: "the packs of a zone, of which some are missing" };
/// What a part begins with.
const FORMAT: Format = Format { letters: *b"RD", version: 1 };
/// Parts that are read at once.
const PARTS_PAGE: u32 = 16;
/// Octets that a row's key takes beside its own.
const FIRST_OCTETS: usize = 40;
