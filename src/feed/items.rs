//! RRsets and deletes of one zone in canonical order: what packs and live changes are made of.
//!
//! One item:
//!
//! ```text
//! owner_len u8        octets of the labels in front of the apex; 255: the owner of the item before
//! labels
//! kind u8             row of the table of types and TTLs; 254: delete; 255: no row fits
//! rtype u16, ttl u32  with 255; with 254 rtype alone
//! len varint, RDATA   not with 254; each record a 16-bit length and its octets
//! ```
//!
//! **Invariant:** owner names rise in canonical order, types rise within one owner, so every item
//! is there once. [`Items::check_next`] proves an item, [`Items::next`] reads proven ones without
//! doing that again; both are safe on any octets.
//! **Not here:** whether RDATA fits its type and RRsets fit a zone (`record`, `zone`).

use std::cmp::Ordering;

use crate::feed::order::compare_labels;
use crate::limits::{NAME_OCTETS_MAX, TTL_S_MAX};
use crate::name::{Name, NameError, is_at_or_below};
use crate::octets::{DecodeError, OctetReader, put_counted};
use crate::record::rrset::{RrsetRef, check_list};
use crate::record::{Change, RdataList, RecordType, Rrset};

/// One item, borrowed from its octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ItemRef<'a> {
    /// The RRset is this one.
    Put(RrsetRef<'a>),
    /// The RRset is gone.
    Delete {
        /// The owner name in canonical wire form.
        owner: &'a [u8],
        /// The type.
        rtype: RecordType,
    },
}

impl ItemRef<'_> {
    /// Copies the item; `None` if it was never proven and is malformed.
    pub fn to_change(self) -> Option<Change> {
        Some(match self {
            Self::Put(rrset) => Change::Put(Rrset {
                owner: Name::from_wire(rrset.owner).ok()?,
                rtype: rrset.rtype,
                ttl_s: rrset.ttl_s,
                rdata: RdataList::from_octets(rrset.rdata).ok()?,
            }),
            Self::Delete { owner, rtype } => {
                Change::Delete { owner: Name::from_wire(owner).ok()?, rtype }
            }
        })
    }

    /// Returns the owner name in wire form.
    pub fn owner(&self) -> &[u8] {
        match self {
            Self::Put(rrset) => rrset.owner,
            Self::Delete { owner, .. } => owner,
        }
    }

    /// Returns the type.
    pub fn rtype(&self) -> RecordType {
        match self {
            Self::Put(rrset) => rrset.rtype,
            Self::Delete { rtype, .. } => *rtype,
        }
    }
}

/// Borrows a change as an item.
pub fn item_of(change: &Change) -> ItemRef<'_> {
    match change {
        Change::Put(rrset) => ItemRef::Put(rrset.as_ref()),
        Change::Delete { owner, rtype } => {
            ItemRef::Delete { owner: owner.as_wire(), rtype: *rtype }
        }
    }
}

/// Reads items one after another. Each is lent until the next is asked for.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    /// Where the next item begins.
    reader: OctetReader<'a>,
    /// Types and TTLs, six octets a row.
    table: &'a [u8],
    /// How many items are left.
    left: u32,
    /// The owner name of the item before, right-aligned, the apex at the end.
    owner: [u8; NAME_OCTETS_MAX],
    /// Where the apex begins in `owner`.
    apex_at: usize,
    /// Where the owner name begins in `owner`.
    owner_at: usize,
    /// The labels in front of the apex, and the type, of the item before.
    before: Option<(&'a [u8], RecordType)>,
}

impl<'a> Items<'a> {
    /// Begins at the reader's offset; `table` must come from `read_table` or be empty.
    pub fn new(reader: OctetReader<'a>, apex: &Name, table: &'a [u8], count: u32) -> Self {
        let mut owner = [0; NAME_OCTETS_MAX];
        let apex_at = NAME_OCTETS_MAX - apex.as_wire().len();
        owner[apex_at..].copy_from_slice(apex.as_wire());
        Self { reader, table, left: count, owner, apex_at, owner_at: apex_at, before: None }
    }

    /// Returns where the next item begins.
    pub fn at(&self) -> usize {
        self.reader.at()
    }

    /// Returns how many items are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Says that the input ends here.
    ///
    /// # Errors
    /// [`DecodeError::TrailingOctets`].
    pub fn end(&self) -> Result<(), DecodeError> {
        self.reader.end()
    }

    /// Returns the owner name of the item before; at the beginning, the apex.
    pub fn owner(&self) -> &[u8] {
        &self.owner[self.owner_at..]
    }

    /// Reads an item that was proven; `None` at the end, and at anything malformed.
    #[allow(clippy::should_implement_trait)] // the item is lent, an iterator could not say so
    pub fn next(&mut self) -> Option<ItemRef<'_>> {
        self.read::<false>().ok().flatten()
    }

    /// Reads an item and proves it; `None` at the end.
    ///
    /// # Errors
    /// Every [`DecodeError`] but those of a format's first octets.
    pub fn check_next(&mut self) -> Result<Option<ItemRef<'_>>, DecodeError> {
        self.read::<true>()
    }

    /// Reads an item; proves it if `CHECK`.
    fn read<const CHECK: bool>(&mut self) -> Result<Option<ItemRef<'_>>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let at = self.reader.at();
        let labels = self.read_owner::<CHECK>(at)?;
        let (rtype, ttl_s) = self.read_kind::<CHECK>()?;
        if CHECK {
            let before = self.before.map(|(before, rtype)| (compare_labels(before, labels), rtype));
            if before.is_some_and(|before| before >= (Ordering::Equal, rtype)) {
                return Err(DecodeError::OutOfOrder { at });
            }
        }
        self.before = Some((labels, rtype));
        self.left = left;
        let owner = &self.owner[self.owner_at..];
        let Some(ttl_s) = ttl_s else { return Ok(Some(ItemRef::Delete { owner, rtype })) };
        let at = self.reader.at();
        let rdata = self.reader.counted("RDATA", usize::MAX)?;
        if CHECK {
            check_list(rdata).map_err(|error| DecodeError::BadRrset { at, error })?;
        }
        Ok(Some(ItemRef::Put(RrsetRef { owner, rtype, ttl_s, rdata })))
    }

    /// Reads the owner name into its buffer, and returns its labels in front of the apex.
    fn read_owner<const CHECK: bool>(&mut self, at: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.reader.u8("owner name")?;
        if len == SAME_OWNER {
            let error = DecodeError::BadValue { what: "owner name", at };
            return self.before.map(|(labels, _)| labels).ok_or(error);
        }
        let labels = self.reader.take("owner name", usize::from(len))?;
        if CHECK {
            check_labels(labels, at)?;
        }
        let error = DecodeError::BadName { at, error: NameError::TooLong };
        self.owner_at = self.apex_at.checked_sub(labels.len()).ok_or(error)?;
        self.owner[self.owner_at..self.apex_at].copy_from_slice(labels);
        Ok(labels)
    }

    /// Reads type and TTL; no TTL means a delete.
    fn read_kind<const CHECK: bool>(&mut self) -> Result<(RecordType, Option<u32>), DecodeError> {
        let at = self.reader.at();
        match self.reader.u8("kind of an item")? {
            DELETE => {
                let rtype = RecordType(self.reader.u16("type")?);
                if CHECK {
                    check_type(rtype, 0, at)?;
                }
                Ok((rtype, None))
            }
            NO_ROW => {
                let row = self.reader.array::<ROW_LEN>("type and TTL")?;
                let (rtype, ttl_s) = split_row(row);
                if CHECK {
                    check_type(rtype, ttl_s, at)?;
                }
                Ok((rtype, Some(ttl_s)))
            }
            row => {
                let start = usize::from(row) * ROW_LEN;
                let row = self.table.get(start..).and_then(|rows| rows.first_chunk::<ROW_LEN>());
                let error = DecodeError::BadValue { what: "kind of an item", at };
                let (rtype, ttl_s) = split_row(*row.ok_or(error)?);
                Ok((rtype, Some(ttl_s)))
            }
        }
    }
}

/// Reads a table of types and TTLs and proves it.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn read_table<'a>(reader: &mut OctetReader<'a>) -> Result<&'a [u8], DecodeError> {
    let at = reader.at();
    let rows = reader.u8("count of types and TTLs")?;
    if rows > ROWS_MAX {
        let (what, max) = ("count of types and TTLs", u64::from(ROWS_MAX));
        return Err(DecodeError::TooMany { what, at, found: u64::from(rows), max });
    }
    let table = reader.take("types and TTLs", usize::from(rows) * ROW_LEN)?;
    for row in table.chunks_exact(ROW_LEN) {
        let (rtype, ttl_s) = split_row(<[u8; ROW_LEN]>::try_from(row).unwrap_or_default());
        check_type(rtype, ttl_s, at)?;
    }
    Ok(table)
}

/// Why an item cannot follow the ones before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PushError {
    /// The owner name is not at or below the apex.
    #[error("an owner name is not at or below the apex")]
    OutOfZone,
    /// Items must come in canonical order, none twice.
    #[error("RRsets are not in canonical order, or one is there twice")]
    OutOfOrder,
}

/// Writes items one after another.
#[derive(Clone, Debug)]
pub(crate) struct ItemWriter {
    /// The zone.
    apex: Name,
    /// The items written.
    octets: Vec<u8>,
    /// The rows of the table; empty for ever if there shall be none.
    rows: Vec<[u8; ROW_LEN]>,
    /// How many rows there may be.
    rows_max: usize,
    /// Owner name and type of the item before.
    before: Option<(Vec<u8>, RecordType)>,
    /// How many items were written.
    count: u32,
}

impl ItemWriter {
    /// Writes items for the zone `apex`, with a table or without.
    pub(crate) fn new(apex: Name, has_table: bool) -> Self {
        let rows_max = if has_table { usize::from(ROWS_MAX) } else { 0 };
        Self { apex, octets: Vec::new(), rows: Vec::new(), rows_max, before: None, count: 0 }
    }

    /// Appends one item.
    ///
    /// # Errors
    /// [`PushError`]; then nothing was appended.
    pub(crate) fn push(&mut self, item: ItemRef<'_>) -> Result<(), PushError> {
        let owner = item.owner();
        let apex = self.apex.as_wire();
        if !is_at_or_below(owner, apex) {
            return Err(PushError::OutOfZone);
        }
        let labels = &owner[..owner.len() - apex.len()];
        let order = match &self.before {
            None => Ordering::Less,
            Some((before, _)) => compare_labels(before, labels),
        };
        let is_later = match (&self.before, order) {
            (_, Ordering::Less) => true,
            (Some((_, rtype)), Ordering::Equal) => *rtype < item.rtype(),
            _ => false,
        };
        if !is_later {
            return Err(PushError::OutOfOrder);
        }
        match (&mut self.before, order) {
            (Some((_, rtype)), Ordering::Equal) => {
                self.octets.push(SAME_OWNER);
                *rtype = item.rtype();
            }
            (before, _) => {
                self.octets.push(labels.len() as u8);
                self.octets.extend_from_slice(labels);
                let (place, rtype) = before.get_or_insert_with(|| (Vec::new(), item.rtype()));
                place.clear();
                place.extend_from_slice(labels);
                *rtype = item.rtype();
            }
        }
        self.push_content(item);
        self.count += 1;
        Ok(())
    }

    /// Appends what follows the owner name.
    fn push_content(&mut self, item: ItemRef<'_>) {
        let rrset = match item {
            ItemRef::Delete { rtype, .. } => {
                self.octets.push(DELETE);
                self.octets.extend_from_slice(&rtype.0.to_be_bytes());
                return;
            }
            ItemRef::Put(rrset) => rrset,
        };
        debug_assert!(check_type(rrset.rtype, rrset.ttl_s, 0).is_ok(), "no reader takes it");
        debug_assert!(check_list(rrset.rdata).is_ok(), "no reader takes it");
        let mut row = [0; ROW_LEN];
        row[..2].copy_from_slice(&rrset.rtype.0.to_be_bytes());
        row[2..].copy_from_slice(&rrset.ttl_s.to_be_bytes());
        let found = self.rows.iter().position(|known| *known == row);
        match found {
            Some(index) => self.octets.push(index as u8),
            None if self.rows.len() < self.rows_max => {
                self.octets.push(self.rows.len() as u8);
                self.rows.push(row);
            }
            None => {
                self.octets.push(NO_ROW);
                self.octets.extend_from_slice(&row);
            }
        }
        put_counted(&mut self.octets, rrset.rdata);
    }

    /// Returns how many items were written.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Returns how many octets items and table take so far.
    pub(crate) fn len(&self) -> usize {
        self.octets.len() + 1 + self.rows.len() * ROW_LEN
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether `owner` is the owner name of the item before.
    pub(crate) fn has_owner_before(&self, owner: &[u8]) -> bool {
        let labels_len = owner.len().saturating_sub(self.apex.as_wire().len());
        self.before.as_ref().is_some_and(|(before, _)| *before == owner[..labels_len])
    }

    /// Returns the zone.
    pub(crate) fn apex(&self) -> &Name {
        &self.apex
    }

    /// Appends the table to `out`.
    pub(crate) fn put_table(&self, out: &mut Vec<u8>) {
        debug_assert!(self.rows.len() <= usize::from(ROWS_MAX));
        out.push(self.rows.len() as u8);
        self.rows.iter().for_each(|row| out.extend_from_slice(row));
    }

    /// Returns the items without the table.
    pub(crate) fn items(&self) -> &[u8] {
        &self.octets
    }
}

/// Checks labels without a root label: lengths add up, lower case.
fn check_labels(labels: &[u8], at: usize) -> Result<(), DecodeError> {
    let bad_name = |error| DecodeError::BadName { at, error };
    let mut rest = labels;
    while let [len, tail @ ..] = rest {
        match len {
            0 => return Err(bad_name(NameError::LabelEmpty)),
            1..=63 => rest = tail.get(usize::from(*len)..).ok_or(bad_name(NameError::CutShort))?,
            _ => return Err(bad_name(NameError::BadLabelType { octet: *len })),
        }
    }
    // Length octets are below 64, so they look like no letter.
    if labels.iter().any(u8::is_ascii_uppercase) {
        return Err(DecodeError::BadValue { what: "letter case of a name", at });
    }
    Ok(())
}

/// Checks that type and TTL may stand in a zone.
fn check_type(rtype: RecordType, ttl_s: u32, at: usize) -> Result<(), DecodeError> {
    if rtype.is_meta() {
        return Err(DecodeError::BadValue { what: "type", at });
    }
    if ttl_s > TTL_S_MAX {
        let (found, max) = (u64::from(ttl_s), u64::from(TTL_S_MAX));
        return Err(DecodeError::TooMany { what: "TTL", at, found, max });
    }
    Ok(())
}

/// Takes a row of the table apart.
fn split_row(row: [u8; ROW_LEN]) -> (RecordType, u32) {
    let [a, b, c, d, e, f] = row;
    (RecordType(u16::from_be_bytes([a, b])), u32::from_be_bytes([c, d, e, f]))
}

/// Octets of a type and a TTL.
const ROW_LEN: usize = 6;
/// Rows of a table at most, so that the two kinds below are free.
const ROWS_MAX: u8 = 254;
/// Instead of a row: the RRset is gone.
const DELETE: u8 = 254;
/// Instead of a row: type and TTL follow.
const NO_ROW: u8 = 255;
/// Instead of a length: the owner of the item before.
const SAME_OWNER: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_refuses_what_does_not_rise_and_what_is_outside() {
        let mut writer = ItemWriter::new("example".parse().unwrap(), true);
        let mut push = |owner: &str, rtype: u16| {
            let owner = Name::from_text(owner).unwrap();
            writer.push(ItemRef::Delete { owner: owner.as_wire(), rtype: RecordType(rtype) })
        };
        assert_eq!(push("example", 6), Ok(()));
        assert_eq!(push("example", 6), Err(PushError::OutOfOrder));
        assert_eq!(push("example", 2), Err(PushError::OutOfOrder));
        assert_eq!(push("b.example", 1), Ok(()));
        assert_eq!(push("example", 7), Err(PushError::OutOfOrder));
        assert_eq!(push("a.example", 9), Err(PushError::OutOfOrder));
        assert_eq!(push("bexample", 1), Err(PushError::OutOfZone));
        assert_eq!(push("b.example", 2), Ok(()));
        assert_eq!(writer.count(), 3);
    }
}
