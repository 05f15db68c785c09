//! One RRset: all records of one owner and type, with one TTL (RFC 2181 section 5).
//!
//! **Invariant:** at least one record, no record twice, RDATA in uncompressed wire form, class IN.
//! **Not here:** whether the RDATA fits its type (`record::rdata`), rules of a zone
//! (`record::master::lint`, `dnssec`).

use std::borrow::Cow;
use std::collections::HashSet;

use crate::limits::{RDATA_OCTETS_MAX, RRSET_OCTETS_MAX, RRSET_RECORDS_MAX, TTL_S_MAX};
use crate::name::Name;
use crate::record::{RecordType, rdata};

/// An RRset. The records keep the order in which they were given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rrset {
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// The TTL in seconds, at most 2^31 - 1 (RFC 2181 section 8).
    pub ttl_s: u32,
    /// The RDATA of each record.
    pub rdata: RdataList,
}

/// A borrowed RRset, as a pack or a sorted import hands it to the builder without a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RrsetRef<'a> {
    /// The owner name: canonical (lower case), absolute, uncompressed wire form.
    pub owner: &'a [u8],
    /// The type.
    pub rtype: RecordType,
    /// The TTL in seconds.
    pub ttl_s: u32,
    /// The RDATA as [`RdataList::as_octets`] has it; `check_list` has found it good.
    pub rdata: &'a [u8],
}

/// One step of a zone's history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// The RRset now is this one, whatever it was before.
    Put(Rrset),
    /// The RRset is gone; not an error if there was none.
    Delete {
        /// The owner name.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
}

impl Change {
    /// Returns the owner name of the RRset that changes.
    pub fn owner(&self) -> &Name {
        match self {
            Self::Put(rrset) => &rrset.owner,
            Self::Delete { owner, .. } => owner,
        }
    }

    /// Returns the type of the RRset that changes.
    pub fn rtype(&self) -> RecordType {
        match self {
            Self::Put(rrset) => rrset.rtype,
            Self::Delete { rtype, .. } => *rtype,
        }
    }
}

/// The RDATA of an RRset's records in one buffer: each a 16-bit big-endian length and its octets.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct RdataList(Box<[u8]>);

/// Why records make no RRset.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RrsetError {
    /// No record at all.
    #[error("an RRset has no record (RFC 2181 section 5)")]
    Empty,
    /// One record's RDATA is longer than RDLENGTH can say.
    #[error("RDATA of {octets} octets, {RDATA_OCTETS_MAX} at most (RFC 1035 section 3.2.1)")]
    RdataTooLong {
        /// Its octets.
        octets: usize,
    },
    /// Too many records.
    #[error("an RRset of more than {RRSET_RECORDS_MAX} records fits no message")]
    TooManyRecords,
    /// Too many octets of RDATA together.
    #[error("an RRset of more than {RRSET_OCTETS_MAX} octets fits no message")]
    TooManyOctets,
    /// A list of lengths and octets does not add up.
    #[error("a list of RDATA ends inside a record")]
    CutShort,
    /// The TTL's highest bit is set.
    #[error("a TTL of {ttl_s} seconds, {TTL_S_MAX} at most (RFC 2181 section 8)")]
    TtlTooLong {
        /// The TTL in seconds.
        ttl_s: u32,
    },
}

impl Rrset {
    /// Makes an RRset; a record that is there twice is kept once (RFC 2181 section 5).
    ///
    /// # Errors
    /// Every [`RrsetError`].
    pub fn new<R: AsRef<[u8]>>(
        owner: Name,
        rtype: RecordType,
        ttl_s: u32,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Self, RrsetError> {
        if ttl_s > TTL_S_MAX {
            return Err(RrsetError::TtlTooLong { ttl_s });
        }
        Ok(Self { owner, rtype, ttl_s, rdata: RdataList::new(records)? })
    }

    /// Returns the RRset with the first of each records that are the same but for the case of names in them
    /// (RFC 2181 section 5, RFC 4343 section 3.1), where case does not count for the type.
    pub(crate) fn without_doubles(&self) -> Cow<'_, Self> {
        if !self.rtype.has_lower_names() || self.rdata.count() < 2 {
            return Cow::Borrowed(self);
        }
        let mut seen = HashSet::new();
        let is_first =
            |octets: &&[u8]| seen.insert(rdata::canonical(self.rtype, octets).into_owned());
        let first: Vec<&[u8]> = self.rdata.iter().filter(is_first).collect();
        match RdataList::new(&first) {
            Ok(rdata) if first.len() < self.rdata.count() => {
                Cow::Owned(Self { owner: self.owner.clone(), rdata, ..*self })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Borrows the RRset.
    pub fn as_ref(&self) -> RrsetRef<'_> {
        RrsetRef {
            owner: self.owner.as_wire(),
            rtype: self.rtype,
            ttl_s: self.ttl_s,
            rdata: self.rdata.as_octets(),
        }
    }
}

impl RdataList {
    /// Makes a list from each record's RDATA; a record that is there twice is kept once.
    ///
    /// # Errors
    /// Every [`RrsetError`] but those of TTL and of a list cut short.
    pub fn new<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> Result<Self, RrsetError> {
        let mut octets: Vec<u8> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for record in records {
            let record = record.as_ref();
            let len = u16::try_from(record.len())
                .map_err(|_| RrsetError::RdataTooLong { octets: record.len() })?;
            // A first record needs no set; most RRsets have no second.
            if !octets.is_empty() {
                if seen.is_empty() {
                    seen.insert(octets[2..].to_vec());
                }
                if !seen.insert(record.to_vec()) {
                    continue;
                }
            }
            octets.extend_from_slice(&len.to_be_bytes());
            octets.extend_from_slice(record);
            if octets.len() > RRSET_OCTETS_MAX {
                return Err(RrsetError::TooManyOctets);
            }
            if seen.len() > RRSET_RECORDS_MAX as usize {
                return Err(RrsetError::TooManyRecords);
            }
        }
        if octets.is_empty() { Err(RrsetError::Empty) } else { Ok(Self(octets.into())) }
    }

    /// Makes a list from its own octets, as [`RdataList::as_octets`] gives them.
    ///
    /// # Errors
    /// [`RrsetError::Empty`], [`RrsetError::CutShort`], [`RrsetError::TooManyOctets`] or
    /// [`RrsetError::TooManyRecords`]. Records that are there twice are not looked for.
    pub fn from_octets(octets: &[u8]) -> Result<Self, RrsetError> {
        check_list(octets)?;
        Ok(Self(octets.into()))
    }

    /// Returns the lengths and octets as they stand in the buffer.
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }

    /// Iterates over each record's RDATA.
    pub fn iter(&self) -> RdataIter<'_> {
        RdataIter { rest: &self.0 }
    }

    /// Returns how many records there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Returns the RDATA of the first record.
    pub fn first(&self) -> &[u8] {
        self.iter().next().unwrap_or_default()
    }
}

impl<'a> IntoIterator for &'a RdataList {
    type Item = &'a [u8];
    type IntoIter = RdataIter<'a>;

    fn into_iter(self) -> RdataIter<'a> {
        self.iter()
    }
}

/// Checks that `octets` are a list of RDATA, and returns how many records it holds.
///
/// # Errors
/// As [`RdataList::from_octets`].
pub(crate) fn check_list(octets: &[u8]) -> Result<u32, RrsetError> {
    if octets.is_empty() {
        return Err(RrsetError::Empty);
    }
    if octets.len() > RRSET_OCTETS_MAX {
        return Err(RrsetError::TooManyOctets);
    }
    // Most lists hold one record.
    if let Some((len, rdata)) = octets.split_first_chunk::<2>()
        && rdata.len() == usize::from(u16::from_be_bytes(*len))
    {
        return Ok(1);
    }
    let (mut rest, mut count) = (octets, 0);
    while let [high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        rest = tail.get(len..).ok_or(RrsetError::CutShort)?;
        count += 1;
    }
    match count {
        _ if !rest.is_empty() => Err(RrsetError::CutShort),
        0..=RRSET_RECORDS_MAX => Ok(count),
        _ => Err(RrsetError::TooManyRecords),
    }
}

/// The RDATA of each record of a list.
#[derive(Clone, Debug)]
pub struct RdataIter<'a> {
    /// What is not yet given out.
    rest: &'a [u8],
}

impl<'a> RdataIter<'a> {
    /// Iterates over the octets of a list that [`check_list`] found good.
    pub fn over(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }
}

impl<'a> Iterator for RdataIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, tail) = self.rest.split_first_chunk::<2>()?;
        let (rdata, rest) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.rest = rest;
        Some(rdata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_twice_is_kept_once_in_the_given_order() {
        let list = RdataList::new([&b"b"[..], b"a", b"b", b""]).expect("three records");
        assert_eq!(list.iter().collect::<Vec<_>>(), [&b"b"[..], b"a", b""]);
        assert_eq!(RdataList::from_octets(list.as_octets()), Ok(list));
    }

    #[test]
    fn records_that_differ_in_a_names_case_are_one_where_case_does_not_count() {
        let make = |rtype, records: &[&[u8]]| {
            Rrset::new(Name::root(), rtype, 1, records).expect("records")
        };
        let mx: &[&[u8]] = &[b"\0\x01\x01A\0", b"\0\x02\x01a\0", b"\0\x01\x01a\0"];
        let rrset = make(RecordType::MX, mx);
        assert_eq!(*rrset.without_doubles(), make(RecordType::MX, &mx[..2]));
        let rrset = make(RecordType::MX, &mx[..2]);
        assert!(matches!(rrset.without_doubles(), Cow::Borrowed(_)));
        // RFC 3597 section 7: names in later types are octets.
        let https = make(RecordType::HTTPS, mx);
        assert_eq!(*https.without_doubles(), https);
    }

    #[test]
    fn a_list_that_does_not_add_up_is_an_error() {
        assert_eq!(RdataList::from_octets(b""), Err(RrsetError::Empty));
        assert_eq!(RdataList::from_octets(b"\0"), Err(RrsetError::CutShort));
        assert_eq!(RdataList::from_octets(b"\0\x02a"), Err(RrsetError::CutShort));
        assert_eq!(RdataList::from_octets(b"\0\x01a\0"), Err(RrsetError::CutShort));
        assert_eq!(RdataList::new(Vec::<&[u8]>::new()), Err(RrsetError::Empty));
    }

    #[test]
    fn a_ttl_has_31_bits() {
        let make = |ttl| Rrset::new(Name::root(), RecordType::A, ttl, [[192, 0, 2, 1]]);
        assert!(make(TTL_S_MAX).is_ok());
        assert_eq!(make(1 << 31), Err(RrsetError::TtlTooLong { ttl_s: 1 << 31 }));
    }
}
