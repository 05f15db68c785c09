//! Octets written in base 16, 32 and 64, and the form for unknown types (RFC 4648, RFC 3597).

use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::limits::RDATA_OCTETS_MAX;
use crate::record::RdataError;
use crate::record::rdata::Words;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::number::parse_number;

/// Reads hexadecimal up to the end; blanks may part it anywhere.
///
/// # Errors
/// [`RdataError::BadForm`].
pub(super) fn parse_hex(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let digits = join(words);
    let octets = HEXLOWER_PERMISSIVE
        .decode(&digits)
        .map_err(|_| RdataError::BadForm { field, form: "hexadecimal, two digits an octet" })?;
    out.extend_from_slice(&octets);
    Ok(())
}

/// Reads base64 up to the end; blanks may part it anywhere.
///
/// # Errors
/// [`RdataError::BadForm`].
pub(super) fn parse_base64(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let digits = join(words);
    decode_base64(field, &digits, out)
}

/// Appends the octets that base64 `digits` stand for.
///
/// # Errors
/// [`RdataError::BadForm`].
pub(super) fn decode_base64(
    field: &'static str,
    digits: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let octets = BASE64
        .decode(digits)
        .map_err(|_| RdataError::BadForm { field, form: "base64 (RFC 4648 section 4)" })?;
    out.extend_from_slice(&octets);
    Ok(())
}

/// Appends the octets that hexadecimal `digits` stand for.
///
/// # Errors
/// [`RdataError::BadForm`].
pub(super) fn decode_hex(
    field: &'static str,
    digits: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let octets = HEXLOWER_PERMISSIVE
        .decode(digits)
        .map_err(|_| RdataError::BadForm { field, form: "hexadecimal, two digits an octet" })?;
    out.extend_from_slice(&octets);
    Ok(())
}

/// Reads one word of hexadecimal, `-` for none, behind its length octet (NSEC3 salt).
///
/// # Errors
/// [`RdataError::BadForm`] or [`RdataError::StringTooLong`].
pub(super) fn parse_salt(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let digits = words.need(field)?.octets;
    let digits = if digits == b"-" { &[][..] } else { digits };
    prefix_length(field, out, |out| decode_hex(field, digits, out))
}

/// Reads one word of base32hex without padding behind its length octet (NSEC3 next owner).
///
/// # Errors
/// [`RdataError::BadForm`] or [`RdataError::StringTooLong`].
pub(super) fn parse_hash(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let digits = words.need(field)?.octets.to_ascii_uppercase();
    let octets = BASE32HEX_NOPAD
        .decode(&digits)
        .ok()
        .filter(|octets| !octets.is_empty())
        .ok_or(RdataError::BadForm { field, form: "base32hex (RFC 4648 section 7)" })?;
    prefix_length(field, out, |out| {
        out.extend_from_slice(&octets);
        Ok(())
    })
}

/// Reads `\#`, a length and that many octets in hexadecimal (RFC 3597 section 5).
///
/// # Errors
/// [`RdataError::Missing`], [`RdataError::BadNumber`], [`RdataError::BadForm`] or
/// [`RdataError::GenericLength`].
pub(super) fn parse_generic(words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    debug_assert!(words.is_generic());
    words.take();
    let field = "length after \\#";
    let said = parse_number(field, words.need(field)?.octets, RDATA_OCTETS_MAX as u64)?;
    parse_hex("data after \\#", words, out)?;
    let (said, found) = (usize::try_from(said).unwrap_or(usize::MAX), out.len());
    if said == found { Ok(()) } else { Err(RdataError::GenericLength { said, found }) }
}

/// Base64 up to the end, `-` for none (DOA's data).
pub(super) const DATA: Codec =
    Codec { parse: parse_data, len: len_data, write: write_data, name_in: no_name };

/// Reads base64 or `-`.
fn parse_data(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let word = words.peek().ok_or(RdataError::Missing { field })?;
    if word.octets == b"-" {
        words.take();
        return Ok(());
    }
    parse_base64(field, words, out)
}

/// Takes everything.
fn len_data(_: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    Ok(rest.len())
}

/// Writes base64 or `-`.
fn write_data(octets: &[u8], out: &mut String) -> Option<()> {
    if octets.is_empty() {
        out.push('-');
    } else {
        write_base64(octets, out);
    }
    Some(())
}

/// Writes octets in hexadecimal.
pub(super) fn write_hex(octets: &[u8], out: &mut String) {
    HEXLOWER.encode_append(octets, out);
}

/// Writes octets in base64.
pub(super) fn write_base64(octets: &[u8], out: &mut String) {
    BASE64.encode_append(octets, out);
}

/// Writes octets in base32hex without padding, in the lower case of RFC 5155's examples.
pub(super) fn write_base32(octets: &[u8], out: &mut String) {
    out.push_str(&BASE32HEX_NOPAD.encode(octets).to_ascii_lowercase());
}

/// Appends a length octet and what `append` appends.
fn prefix_length(
    field: &'static str,
    out: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<(), RdataError>,
) -> Result<(), RdataError> {
    let length_at = out.len();
    out.push(0);
    append(out)?;
    let octets = out.len() - length_at - 1;
    out[length_at] =
        u8::try_from(octets).map_err(|_| RdataError::StringTooLong { field, octets })?;
    Ok(())
}

/// Joins all words that are left.
fn join(words: &mut Words<'_>) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(word) = words.take() {
        joined.extend_from_slice(word.octets);
    }
    joined
}
