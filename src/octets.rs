//! Reads and writes the crate's own binary formats (ticket, feed) octet by octet.
//!
//! Every format begins with four octets: two letters that name it, its version, and a zero.
//! Integers are big-endian; varints are LEB128 of at most ten octets.
//!
//! **Invariant:** whatever the input, a read gives a value or an error that names the broken rule
//! and the offset; it never panics, loops without end or allocates more than was read.
//! **Not here:** what the fields mean (`ticket`, `feed`), JSON documents (`record::document`).

use crate::limits::NAME_OCTETS_MAX;
use crate::name::{Name, NameError, wire_len};
use crate::record::RrsetError;

/// Why octets are not what their format says. Every variant carries the offset in octets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The octets end inside a field.
    #[error("octet {at}: {what} is cut short")]
    CutShort {
        /// The field.
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// The first two octets are another format's.
    #[error("octet 0: this is no {what}")]
    WrongFormat {
        /// The format that was expected.
        what: &'static str,
    },
    /// The format is newer than this program.
    #[error("{what} has format version {version}, this program knows {known}")]
    TooNew {
        /// The format.
        what: &'static str,
        /// The version found.
        version: u8,
        /// The newest version that is known here.
        known: u8,
    },
    /// A field exceeds its limit.
    #[error("octet {at}: {what} is {found}, {max} at most")]
    TooMany {
        /// The field.
        what: &'static str,
        /// Where it begins.
        at: usize,
        /// Its value.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A field has a value that means nothing.
    #[error("octet {at}: {what} has a value that means nothing")]
    BadValue {
        /// The field.
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// A name breaks a rule.
    #[error("octet {at}: {error}")]
    BadName {
        /// Where the name begins.
        at: usize,
        /// The rule.
        error: NameError,
    },
    /// The records of an RRset break a rule.
    #[error("octet {at}: {error}")]
    BadRrset {
        /// Where the RRset's records begin.
        at: usize,
        /// The rule.
        error: RrsetError,
    },
    /// An RRset stands at or before the one in front of it.
    #[error("octet {at}: RRsets are not in canonical order, or one is there twice")]
    OutOfOrder {
        /// Where the RRset begins.
        at: usize,
    },
    /// Octets follow the end.
    #[error("octet {at}: octets follow the end")]
    TrailingOctets {
        /// Where the end is.
        at: usize,
    },
}

/// Checks that a field does not exceed its limit, as one who writes does and one who reads.
///
/// # Errors
/// [`DecodeError::TooMany`].
pub(crate) fn check_max(
    what: &'static str,
    at: usize,
    found: u64,
    max: u64,
) -> Result<(), DecodeError> {
    if found > max { Err(DecodeError::TooMany { what, at, found, max }) } else { Ok(()) }
}

/// Reads fields one after another.
#[derive(Clone, Debug)]
pub struct OctetReader<'a> {
    /// The whole input, so that offsets can be told.
    octets: &'a [u8],
    /// Where the next field begins.
    at: usize,
}

impl<'a> OctetReader<'a> {
    /// Begins at the first of `octets`.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0 }
    }

    /// Returns the offset of the next field.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Returns how many octets are left.
    pub fn left(&self) -> usize {
        debug_assert!(self.at <= self.octets.len(), "a cursor stays within its octets");
        self.octets.len() - self.at
    }

    /// Reads the four octets that a format begins with, and returns the version.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`], [`DecodeError::WrongFormat`], [`DecodeError::TooNew`] or, for
    /// version 0 and a fourth octet that is not zero, [`DecodeError::BadValue`].
    pub fn format(&mut self, what: &'static str, format: Format) -> Result<u8, DecodeError> {
        let [a, b, version, zero] = self.array::<4>(what)?;
        if [a, b] != format.letters {
            return Err(DecodeError::WrongFormat { what });
        }
        if version > format.version {
            return Err(DecodeError::TooNew { what, version, known: format.version });
        }
        if version == 0 || zero != 0 {
            return Err(DecodeError::BadValue { what, at: 2 });
        }
        Ok(version)
    }

    /// Reads `len` octets.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`].
    pub fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let at = self.at;
        let end = at.checked_add(len).ok_or(DecodeError::CutShort { what, at })?;
        let taken = self.octets.get(at..end).ok_or(DecodeError::CutShort { what, at })?;
        self.at = end;
        debug_assert!(self.at <= self.octets.len(), "a cursor stays within its octets");
        Ok(taken)
    }

    /// Reads a fixed number of octets.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`].
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        let taken = self.take(what, N)?;
        <[u8; N]>::try_from(taken).map_err(|_| DecodeError::CutShort { what, at })
    }

    /// Reads one octet.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`].
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let [octet] = self.array::<1>(what)?;
        Ok(octet)
    }

    /// Reads a 16-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`].
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Reads a 32-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`].
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Reads a 64-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`].
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Reads a varint that is at most `max`, in its only (shortest) form.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`], [`DecodeError::TooMany`], or [`DecodeError::BadValue`] for a
    /// varint that is longer than need be.
    pub fn varint(&mut self, what: &'static str, max: u64) -> Result<u64, DecodeError> {
        let at = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.u8(what)?;
            if shift == 63 && octet > 1 {
                return Err(DecodeError::BadValue { what, at });
            }
            value |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                if octet == 0 && shift > 0 {
                    return Err(DecodeError::BadValue { what, at });
                }
                if value > max {
                    return Err(DecodeError::TooMany { what, at, found: value, max });
                }
                return Ok(value);
            }
        }
        Err(DecodeError::BadValue { what, at })
    }

    /// Reads a varint length of at most `max` and that many octets.
    ///
    /// # Errors
    /// As [`OctetReader::varint`] and [`OctetReader::take`].
    pub fn counted(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.varint(what, max as u64)?;
        self.take(what, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Reads UTF-8 text behind a varint length of at most `max` octets.
    ///
    /// # Errors
    /// As [`OctetReader::counted`]; [`DecodeError::BadValue`] if it is no UTF-8.
    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let at = self.at;
        let octets = self.counted(what, max)?;
        std::str::from_utf8(octets).map_err(|_| DecodeError::BadValue { what, at })
    }

    /// Reads one name in wire form, which must be canonical.
    ///
    /// # Errors
    /// [`DecodeError::BadName`]; [`DecodeError::BadValue`] if it holds upper case.
    pub fn name(&mut self) -> Result<Name, DecodeError> {
        let at = self.at;
        let window = &self.octets[at..self.octets.len().min(at + NAME_OCTETS_MAX + 1)];
        let bad_name = |error| DecodeError::BadName { at, error };
        let len = wire_len(window).map_err(bad_name)?;
        debug_assert!(len <= NAME_OCTETS_MAX, "a name is no longer than a name may be");
        let wire = self.take("name", len)?;
        if wire.iter().any(u8::is_ascii_uppercase) {
            return Err(DecodeError::BadValue { what: "letter case of a name", at });
        }
        Name::from_wire(wire).map_err(bad_name)
    }

    /// Says that the input ends here.
    ///
    /// # Errors
    /// [`DecodeError::TrailingOctets`].
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::TrailingOctets { at: self.at }) }
    }
}

/// What a format begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Format {
    /// Two letters that name the format.
    pub letters: [u8; 2],
    /// The newest version that this program reads, and the one that it writes.
    pub version: u8,
}

impl Format {
    /// Appends the four octets that the format begins with.
    pub fn put(self, out: &mut Vec<u8>) {
        debug_assert!(self.version > 0, "no reader takes version 0");
        out.extend_from_slice(&[self.letters[0], self.letters[1], self.version, 0]);
    }
}

/// Appends a varint in its shortest form.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    let start = out.len();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    debug_assert!(out.len() - start <= VARINT_OCTETS_MAX, "no reader takes a longer one");
    debug_assert!(value > 0 || out.len() - start == 1, "no reader takes a zero behind others");
}

/// Appends a varint length and the octets.
pub(crate) fn put_counted(out: &mut Vec<u8>, octets: &[u8]) {
    put_varint(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// Octets of the longest varint: seven bits of 64 in each.
const VARINT_OCTETS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_one_form_and_reads_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut octets = Vec::new();
            put_varint(&mut octets, value);
            assert_eq!(OctetReader::new(&octets).varint("x", u64::MAX), Ok(value));
            for len in 0..octets.len() {
                let cut = OctetReader::new(&octets[..len]).varint("x", u64::MAX);
                assert!(matches!(cut, Err(DecodeError::CutShort { .. })), "{value} {len}");
            }
        }
        for octets in [&[0x80, 0][..], &[0xff, 0x80, 0], &[0xff; 10], &[0xff; 11]] {
            let read = OctetReader::new(octets).varint("x", u64::MAX);
            assert_eq!(read, Err(DecodeError::BadValue { what: "x", at: 0 }), "{octets:?}");
        }
    }

    #[test]
    fn a_value_above_its_limit_is_told_with_both() {
        let mut octets = Vec::new();
        put_varint(&mut octets, 11);
        assert_eq!(OctetReader::new(&octets).varint("x", 11), Ok(11));
        let error = DecodeError::TooMany { what: "x", at: 0, found: 11, max: 10 };
        assert_eq!(OctetReader::new(&octets).varint("x", 10), Err(error));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_another_one() {
        let format = Format { letters: *b"AX", version: 2 };
        let read = |octets: &[u8]| OctetReader::new(octets).format("x", format);
        assert_eq!(read(b"AX\x02\0"), Ok(2));
        assert_eq!(read(b"AX\x01\0"), Ok(1));
        assert_eq!(read(b"AX\x03\0"), Err(DecodeError::TooNew { what: "x", version: 3, known: 2 }));
        assert_eq!(read(b"AY\x02\0"), Err(DecodeError::WrongFormat { what: "x" }));
        assert_eq!(read(b"AX\x02"), Err(DecodeError::CutShort { what: "x", at: 0 }));
        assert_eq!(read(b"AX\0\0"), Err(DecodeError::BadValue { what: "x", at: 2 }));
    }

    #[test]
    fn a_name_must_be_canonical() {
        assert_eq!(
            OctetReader::new(b"\x01a\0rest").name().as_ref().map(Name::as_wire),
            Ok(&b"\x01a\0"[..])
        );
        assert!(matches!(OctetReader::new(b"\x01A\0").name(), Err(DecodeError::BadValue { .. })));
        assert!(matches!(OctetReader::new(b"\x01").name(), Err(DecodeError::BadName { .. })));
    }
}
