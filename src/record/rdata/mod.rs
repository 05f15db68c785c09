//! RDATA of every type: checks its wire form, reads and writes its presentation form.
//!
//! One row of a table says which fields a type's RDATA is made of (`layout`); one place knows how
//! each kind of field is checked, read and written (`field`). A type without a row is opaque:
//! any octets fit it, and its presentation form is `\# length hexadecimal` (RFC 3597 section 5).
//!
//! **Invariant:** what [`parse`] returns passes [`check`]; what [`write()`] writes is read back by
//! [`parse`] to the same octets. Names in wire form are uncompressed and keep their case.
//! **Not here:** types and mnemonics (`record::rtype`), entries of master files (`record::master`).

mod address;
mod base;
mod bitmap;
mod codec;
mod field;
mod gateway;
mod layout;
mod location;
mod mnemonic;
mod number;
mod prefixes;
mod service;
mod strings;
mod svcb;
mod time;
mod words;

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::limits::RDATA_OCTETS_MAX;
use crate::name::{Name, NameError};
use crate::record::RecordType;
use crate::record::token::{self, Place, SplitError};

use self::field::Kind;
pub(crate) use self::field::parse_name;
pub(crate) use self::number::{parse_decimal, parse_seconds};
pub(crate) use self::strings::write_quoted;
pub(crate) use self::time::{parse as parse_time, write as write_time};
pub(crate) use self::words::Words;

/// Why RDATA, in wire or presentation form, does not fit its type.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RdataError {
    /// Text ends before a field.
    #[error("the {field} is missing")]
    Missing {
        /// What should have been there.
        field: &'static str,
    },
    /// Wire form ends inside a field.
    #[error("RDATA ends inside the {field}")]
    CutShort {
        /// The field.
        field: &'static str,
    },
    /// Words follow the last field.
    #[error("text follows the last field")]
    TrailingText,
    /// Octets follow the last field.
    #[error("{octets} octets follow the last field")]
    TrailingOctets {
        /// How many.
        octets: usize,
    },
    /// More octets than RDLENGTH can say.
    #[error("RDATA of {octets} octets, {RDATA_OCTETS_MAX} at most (RFC 1035 section 3.2.1)")]
    TooLong {
        /// How many.
        octets: usize,
    },
    /// Not a decimal number, or too large a one.
    #[error("the {field} is no number from 0 to {max}")]
    BadNumber {
        /// The field.
        field: &'static str,
        /// The largest number that fits.
        max: u64,
    },
    /// Neither seconds nor numbers with the units w, d, h, m, s.
    #[error("the {field} is no time in seconds such as 3600 or 1h30m, up to 4294967295")]
    BadSeconds {
        /// The field.
        field: &'static str,
    },
    /// Neither `YYYYMMDDHHmmSS` nor seconds since 1970.
    #[error("the {field} is no time of the form YYYYMMDDHHmmSS (RFC 4034 section 3.2)")]
    BadTime {
        /// The field.
        field: &'static str,
    },
    /// A name in text or wire form breaks a rule.
    #[error("the {field}: {rule}")]
    BadName {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: NameError,
    },
    /// Text that should have a certain form and has not.
    #[error("the {field} is not {form}")]
    BadForm {
        /// The field.
        field: &'static str,
        /// The form that it should have, with its article.
        form: &'static str,
    },
    /// Wire form that breaks a rule of its field.
    #[error("the {field} must be {rule}")]
    BadValue {
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A digest is not as long as its algorithm makes it.
    #[error("the digest has {octets} octets, its type makes {expected}")]
    BadDigestLength {
        /// Its octets.
        octets: usize,
        /// The octets that it should have.
        expected: usize,
    },
    /// A character-string of more than 255 octets.
    #[error("the {field} has {octets} octets, a character-string 255 (RFC 1035 section 3.3)")]
    StringTooLong {
        /// The field.
        field: &'static str,
        /// Its octets.
        octets: usize,
    },
    /// A backslash that begins no escape.
    #[error("an escape is neither \\DDD up to 255 nor \\ and a character (RFC 1035 section 5.1)")]
    BadEscape,
    /// The length after `\#` is not that of the octets.
    #[error("\\# says {said} octets, {found} follow (RFC 3597 section 5)")]
    GenericLength {
        /// What the text says.
        said: usize,
        /// The octets that follow.
        found: usize,
    },
    /// The type's RDATA has no text form that we know.
    #[error("RDATA of {rtype} is written \\# length hexadecimal (RFC 3597 section 5)")]
    GenericOnly {
        /// The type.
        rtype: RecordType,
    },
    /// No RDATA of this type may be in a zone.
    #[error("{rtype} is a type of questions and messages, never of data (RFC 6895 section 3.1)")]
    MetaType {
        /// The type.
        rtype: RecordType,
    },
    /// Quotes, parentheses or a last backslash.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A semicolon outside quotes, where a comment would silently cut the record.
    #[error("a ; outside quotes begins a comment; write \\; or quote the string")]
    Comment,
}

/// Checks that `rdata` is uncompressed wire form that fits `rtype`.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(rtype: RecordType, rdata: &[u8]) -> Result<(), RdataError> {
    if rdata.len() > RDATA_OCTETS_MAX {
        return Err(RdataError::TooLong { octets: rdata.len() });
    }
    if rtype.is_meta() {
        return Err(RdataError::MetaType { rtype });
    }
    let Some(layout) = layout::layout(rtype) else { return Ok(()) };
    let mut rest = rdata;
    for &(field, kind) in layout.fields {
        let len = kind.len(field, rest)?;
        rest = &rest[len..];
    }
    if !rest.is_empty() {
        return Err(RdataError::TrailingOctets { octets: rest.len() });
    }
    (layout.rule)(rdata)
}

/// Reads one record's presentation form; relative names lie under `origin`.
///
/// Every type may be written `\# length hexadecimal`; what stands there must still fit its type.
///
/// # Errors
/// The first rule that it breaks.
pub fn parse(rtype: RecordType, text: &str, origin: &Name) -> Result<Vec<u8>, RdataError> {
    let (text, mut place, mut spans) = (text.as_bytes(), Place::START, Vec::new());
    let entry = token::split_entry(text, &mut place, &mut spans).map_err(|failure| failure.rule)?;
    if entry.has_comment {
        return Err(RdataError::Comment);
    }
    if !text[place.at..].trim_ascii().is_empty() {
        return Err(RdataError::TrailingText);
    }
    let mut rdata = Vec::new();
    parse_words(rtype, &mut Words::new(text, &spans, origin.as_wire()), &mut rdata)?;
    Ok(rdata)
}

/// Reads the presentation form that `words` hold and appends wire form to the empty `rdata`.
///
/// # Errors
/// The first rule that it breaks; `words` then tells the word at fault.
pub(crate) fn parse_words(
    rtype: RecordType,
    words: &mut Words<'_>,
    rdata: &mut Vec<u8>,
) -> Result<(), RdataError> {
    debug_assert!(rdata.is_empty());
    if rtype.is_meta() {
        return Err(RdataError::MetaType { rtype });
    }
    if words.is_generic() {
        base::parse_generic(words, rdata)?;
        return check(rtype, rdata);
    }
    let layout = layout::layout(rtype).ok_or(RdataError::GenericOnly { rtype })?;
    for &(field, kind) in layout.fields {
        kind.parse(field, words, rdata)?;
    }
    if !words.is_empty() {
        words.take();
        return Err(RdataError::TrailingText);
    }
    if rdata.len() > RDATA_OCTETS_MAX {
        return Err(RdataError::TooLong { octets: rdata.len() });
    }
    (layout.rule)(rdata)
}

/// Appends the presentation form of `rdata`, its names absolute, to `out`.
///
/// RDATA that does not fit its type, or has no form of its own, is written `\# length hexadecimal`.
pub fn write(rtype: RecordType, rdata: &[u8], out: &mut String) {
    let start = out.len();
    if check(rtype, rdata).is_err() || write_fields(rtype, rdata, out).is_none() {
        out.truncate(start);
        // Writing to a string does not fail.
        let _ = write!(out, "\\# {}", rdata.len());
        if !rdata.is_empty() {
            out.push(' ');
            base::write_hex(rdata, out);
        }
    }
}

/// Writes RDATA that passed [`check`] field by field; `None` if a field has no text form.
fn write_fields(rtype: RecordType, rdata: &[u8], out: &mut String) -> Option<()> {
    let (layout, start) = (layout::layout(rtype)?, out.len());
    let mut rest = rdata;
    for &(field, kind) in layout.fields {
        let len = kind.len(field, rest).ok()?;
        let (octets, tail) = rest.split_at_checked(len)?;
        let before = out.len();
        if before > start {
            out.push(' ');
        }
        let separated = out.len();
        kind.write(octets, out)?;
        if out.len() == separated {
            out.truncate(before); // an empty list writes nothing, not even its blank
        }
        rest = tail;
    }
    debug_assert!(rest.is_empty());
    Some(())
}

/// Iterates over the offset and length of each name inside `rdata`, in the order they stand in.
///
/// It ends early where `rdata` does not fit its type.
pub fn names(rtype: RecordType, rdata: &[u8]) -> Names<'_> {
    let fields = layout::layout(rtype).map_or(&[][..], |layout| layout.fields);
    Names { rdata, at: 0, fields }
}

/// Returns RDATA in canonical form, which is also the form in which two records are compared: names
/// in lower case where their case does not count (RFC 4034 sections 6.2 and 6.3).
pub fn canonical(rtype: RecordType, rdata: &[u8]) -> Cow<'_, [u8]> {
    if !rtype.has_lower_names() || !rdata.iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(rdata);
    }
    let mut lower = rdata.to_vec();
    for (at, len) in names(rtype, rdata) {
        // A length octet is at most 63 and so below every letter.
        lower[at..at + len].make_ascii_lowercase();
    }
    Cow::Owned(lower)
}

/// Offset and length of each name inside RDATA.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    /// The RDATA.
    rdata: &'a [u8],
    /// How much of it is looked at.
    at: usize,
    /// The fields that stand there.
    fields: &'static [(&'static str, Kind)],
}

impl Iterator for Names<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        while let Some(&(field, kind)) = self.fields.first() {
            let (start, rest) = (self.at, self.rdata.get(self.at..)?);
            let name = if matches!(kind, Kind::Names) && !rest.is_empty() {
                let len = Kind::Name.len(field, rest).ok()?;
                self.at += len;
                Some((0, len))
            } else {
                self.at += kind.len(field, rest).ok()?;
                self.fields = &self.fields[1..];
                kind.name_in(rest.get(..self.at - start)?)
            };
            if let Some((offset, len)) = name {
                debug_assert!(len > 0);
                return Some((start + offset, len));
            }
        }
        None
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
