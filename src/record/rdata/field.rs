//! The kinds of fields that RDATA is made of: how each is read, checked and written.
//!
//! **Invariant:** the length that [`Kind::len`] returns is what [`Kind::write`] and
//! [`Kind::name_in`] take; each of the three agrees with [`Kind::parse`].

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::limits::NAME_OCTETS_MAX;
use crate::name::{self, NameError};
use crate::record::rdata::codec::Codec;
use crate::record::rdata::mnemonic::{self, Table};
use crate::record::rdata::number::{self, from_octets, parse_number};
use crate::record::rdata::words::{Word, Words};
use crate::record::rdata::{base, bitmap, strings, time};
use crate::record::{RdataError, RecordType};

/// A kind of field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// An unsigned number of 8 bits.
    U8,
    /// An unsigned number of 16 bits.
    U16,
    /// An unsigned number of 32 bits.
    U32,
    /// An unsigned number of 64 bits.
    U64,
    /// 32 bits of seconds; text may use units.
    Seconds,
    /// 32 bits of seconds since 1970, written as a date.
    Time,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A type, 16 bits, written by its mnemonic.
    Type,
    /// 8 bits; text may use the mnemonics of a table.
    Named8(Table),
    /// 16 bits; text may use the mnemonics of a table.
    Named16(Table),
    /// One name.
    Name,
    /// Names up to the end, none at all included.
    Names,
    /// One character-string.
    Text,
    /// Character-strings up to the end, at least one.
    Texts,
    /// A CAA tag: a character-string of letters and digits, not quoted.
    Tag,
    /// Text up to the end without a length octet; at least so many octets.
    LongText(usize),
    /// Hexadecimal up to the end, at least so many octets.
    Hex(usize),
    /// Base64 up to the end, at least so many octets.
    Base64(usize),
    /// A length octet and hexadecimal, `-` for none.
    Salt,
    /// A length octet and base32hex.
    Hash,
    /// A bitmap of types up to the end.
    Types,
    /// What only one or two types have.
    Other(&'static Codec),
}

impl Kind {
    /// Reads the field's words and appends its wire form to `out`.
    ///
    /// # Errors
    /// The rule that the words break.
    pub(super) fn parse(
        self,
        field: &'static str,
        words: &mut Words<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RdataError> {
        match self {
            Self::U8 => out.push(parse_fixed::<1>(field, words)?[0]),
            Self::U16 => out.extend_from_slice(&parse_fixed::<2>(field, words)?),
            Self::U32 => out.extend_from_slice(&parse_fixed::<4>(field, words)?),
            Self::U64 => out.extend_from_slice(&parse_fixed::<8>(field, words)?),
            Self::Seconds => {
                let seconds = number::parse_seconds(words.need(field)?.octets)
                    .ok_or(RdataError::BadSeconds { field })?;
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            Self::Time => {
                let seconds = time::parse(field, words.need(field)?.octets)?;
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            Self::Ipv4 => {
                let address: Ipv4Addr = parse_std(field, words, "an IPv4 address")?;
                out.extend_from_slice(&address.octets());
            }
            Self::Ipv6 => {
                let address: Ipv6Addr = parse_std(field, words, "an IPv6 address")?;
                out.extend_from_slice(&address.octets());
            }
            Self::Type => {
                let rtype = bitmap::parse_type(field, words.need(field)?.octets)?;
                out.extend_from_slice(&rtype.0.to_be_bytes());
            }
            Self::Named8(table) => {
                out.push(mnemonic::parse(field, words, table, u8::MAX.into())?.to_be_bytes()[1]);
            }
            Self::Named16(table) => {
                let number = mnemonic::parse(field, words, table, u16::MAX)?;
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Name => parse_name(field, words.need(field)?, words.origin(), out)?,
            Self::Names => {
                while let Some(word) = words.take() {
                    parse_name(field, word, words.origin(), out)?;
                }
            }
            Self::Text => strings::parse_string(field, words.need(field)?.octets, out)?,
            Self::Texts => {
                strings::parse_string(field, words.need(field)?.octets, out)?;
                while let Some(word) = words.take() {
                    strings::parse_string(field, word.octets, out)?;
                }
            }
            _ => return self.parse_special(field, words, out),
        }
        Ok(())
    }

    /// Reads the rarer kinds.
    fn parse_special(
        self,
        field: &'static str,
        words: &mut Words<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RdataError> {
        let start = out.len();
        match self {
            Self::Tag => {
                strings::parse_string(field, words.need(field)?.octets, out)?;
                self.len(field, &out[start..]).map(|_| ())
            }
            Self::LongText(_) => {
                strings::parse_text(words.need(field)?.octets, out)?;
                self.len(field, &out[start..]).map(|_| ())
            }
            Self::Hex(octets_min) => {
                base::parse_hex(field, words, out)?;
                check_len(field, out.len() - start, octets_min)
            }
            Self::Base64(octets_min) => {
                base::parse_base64(field, words, out)?;
                check_len(field, out.len() - start, octets_min)
            }
            Self::Salt => base::parse_salt(field, words, out),
            Self::Hash => base::parse_hash(field, words, out),
            Self::Types => bitmap::parse(field, words, out),
            Self::Other(codec) => (codec.parse)(field, words, out),
            _ => unreachable!("parse handles every other kind"),
        }
    }

    /// Checks the field at the front of `rest` and returns the octets that it takes.
    ///
    /// # Errors
    /// The rule that the octets break.
    pub(super) fn len(self, field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
        let len = match self {
            Self::U8 | Self::Named8(_) => 1,
            Self::U16 | Self::Named16(_) | Self::Type => 2,
            Self::U32 | Self::Seconds | Self::Time | Self::Ipv4 => 4,
            Self::U64 => 8,
            Self::Ipv6 => 16,
            Self::Name => {
                name::wire_len(rest).map_err(|rule| RdataError::BadName { field, rule })?
            }
            Self::Names => {
                let mut at = 0;
                while at < rest.len() {
                    at += Self::Name.len(field, &rest[at..])?;
                }
                at
            }
            Self::Text | Self::Salt => strings::string_len(field, rest)?,
            Self::Hash => match strings::string_len(field, rest)? {
                1 => return Err(RdataError::CutShort { field }),
                len => len,
            },
            Self::Tag => {
                let len = strings::string_len(field, rest)?;
                let is_tag = len > 1 && rest[1..len].iter().all(u8::is_ascii_alphanumeric);
                let rule = "letters and digits, one at least (RFC 8659 section 4.1)";
                if is_tag { len } else { return Err(RdataError::BadValue { field, rule }) }
            }
            Self::Texts => {
                let mut at = strings::string_len(field, rest)?;
                while at < rest.len() {
                    at += strings::string_len(field, &rest[at..])?;
                }
                at
            }
            Self::LongText(octets_min) | Self::Hex(octets_min) | Self::Base64(octets_min) => {
                check_len(field, rest.len(), octets_min)?;
                rest.len()
            }
            Self::Types => {
                bitmap::check(field, rest)?;
                rest.len()
            }
            Self::Other(codec) => (codec.len)(field, rest)?,
        };
        if len > rest.len() { Err(RdataError::CutShort { field }) } else { Ok(len) }
    }

    /// Writes the presentation form of the field's `octets`, as many as [`Kind::len`] said;
    /// `None` if they have none.
    pub(super) fn write(self, octets: &[u8], out: &mut String) -> Option<()> {
        match self {
            Self::U8
            | Self::U16
            | Self::U32
            | Self::U64
            | Self::Seconds
            | Self::Named8(_)
            | Self::Named16(_) => write!(out, "{}", from_octets(octets)).ok()?,
            Self::Time => time::write(u32::from_be_bytes(octets.try_into().ok()?), out),
            Self::Ipv4 => {
                write!(out, "{}", Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)).ok()?;
            }
            Self::Ipv6 => {
                write!(out, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).ok()?;
            }
            Self::Type => {
                let rtype = RecordType(u16::from_be_bytes(octets.try_into().ok()?));
                write!(out, "{rtype}").ok()?;
            }
            Self::Name => write_name(octets, out)?,
            Self::Names => {
                let (mut rest, mut separator) = (octets, "");
                while !rest.is_empty() {
                    out.push_str(separator);
                    let (name, tail) = rest.split_at(name::wire_len(rest).ok()?);
                    write_name(name, out)?;
                    (rest, separator) = (tail, " ");
                }
            }
            Self::Text => strings::write_quoted(octets.get(1..)?, out),
            Self::Texts => {
                let (mut rest, mut separator) = (octets, "");
                while let [len, tail @ ..] = rest {
                    out.push_str(separator);
                    let (string, tail) = tail.split_at_checked(usize::from(*len))?;
                    strings::write_quoted(string, out);
                    (rest, separator) = (tail, " ");
                }
            }
            Self::Tag => out.push_str(std::str::from_utf8(octets.get(1..)?).ok()?),
            Self::LongText(_) => strings::write_quoted(octets, out),
            Self::Hex(_) => base::write_hex(octets, out),
            Self::Base64(_) => base::write_base64(octets, out),
            Self::Salt if octets.len() == 1 => out.push('-'),
            Self::Salt => base::write_hex(octets.get(1..)?, out),
            Self::Hash => base::write_base32(octets.get(1..)?, out),
            Self::Types => bitmap::write(octets, out),
            Self::Other(codec) => (codec.write)(octets, out)?,
        }
        Some(())
    }

    /// Returns offset and length of the name inside the field's `octets`, if there is one.
    pub(super) fn name_in(self, octets: &[u8]) -> Option<(usize, usize)> {
        match self {
            Self::Name => Some((0, octets.len())),
            Self::Other(codec) => (codec.name_in)(octets),
            _ => None,
        }
    }
}

/// Reads a number that fills `N` octets.
fn parse_fixed<const N: usize>(
    field: &'static str,
    words: &mut Words<'_>,
) -> Result<[u8; N], RdataError> {
    const { assert!(N >= 1 && N <= 8) };
    let max = u64::MAX >> (64 - 8 * N);
    let octets = parse_number(field, words.need(field)?.octets, max)?.to_be_bytes();
    let mut fixed = [0; N];
    fixed.copy_from_slice(&octets[8 - N..]);
    Ok(fixed)
}

/// Reads a word that the standard library has a parser for.
fn parse_std<T: FromStr>(
    field: &'static str,
    words: &mut Words<'_>,
    form: &'static str,
) -> Result<T, RdataError> {
    let octets = words.need(field)?.octets;
    std::str::from_utf8(octets)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(RdataError::BadForm { field, form })
}

/// Appends the wire form of a name; `@` is the origin, a name without a last dot lies under it.
pub(crate) fn parse_name(
    field: &'static str,
    word: Word<'_>,
    origin: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    if word.octets == b"@" && !word.is_quoted {
        out.extend_from_slice(origin);
        return Ok(());
    }
    let start = out.len();
    let is_absolute = match name::parse_labels(word.octets, out) {
        Err(NameError::BadCharacter { octet: 0x80.. }) => {
            out.truncate(start);
            name::parse_labels(&escape_octets(word.octets), out)
        }
        parsed => parsed,
    };
    let is_absolute = is_absolute.map_err(|rule| RdataError::BadName { field, rule })?;
    if !is_absolute {
        out.extend_from_slice(origin);
    }
    if out.len() - start > NAME_OCTETS_MAX {
        return Err(RdataError::BadName { field, rule: NameError::TooLong });
    }
    Ok(())
}

/// Escapes octets above ASCII, which master files may hold as they are.
fn escape_octets(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len() * 4);
    for &octet in text {
        match octet {
            0x80.. => escaped.extend_from_slice(format!("\\{octet:03}").as_bytes()),
            _ => escaped.push(octet),
        }
    }
    escaped
}

/// Writes a name, absolute, its case kept.
pub(super) fn write_name(wire: &[u8], out: &mut String) -> Option<()> {
    if wire == [0] {
        out.push('.');
        return Some(());
    }
    let mut rest = wire;
    while let [len, tail @ ..] = rest {
        if *len == 0 {
            break;
        }
        let (label, tail) = tail.split_at_checked(usize::from(*len))?;
        name::write_label(label, out).ok()?;
        out.push('.');
        rest = tail;
    }
    Some(())
}

/// Checks that a field that fills the rest of the RDATA is long enough.
fn check_len(field: &'static str, octets: usize, octets_min: usize) -> Result<(), RdataError> {
    if octets < octets_min { Err(RdataError::Missing { field }) } else { Ok(()) }
}
