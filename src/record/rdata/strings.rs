//! Character-strings and other text with escapes (RFC 1035 sections 3.3 and 5.1).

use std::fmt::Write as _;

use crate::name;
use crate::record::RdataError;

/// Appends what `text` means, its escapes undone, to `out`.
///
/// # Errors
/// [`RdataError::BadEscape`].
pub(super) fn parse_text(text: &[u8], out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut rest = text;
    while let Some(len) = rest.iter().position(|&octet| octet == b'\\') {
        out.extend_from_slice(&rest[..len]);
        let (octet, used) =
            name::parse_escape(&rest[len + 1..]).map_err(|_| RdataError::BadEscape)?;
        out.push(octet);
        rest = &rest[len + 1 + used..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends `text` as one character-string, its length octet first.
///
/// # Errors
/// [`RdataError::BadEscape`] or [`RdataError::StringTooLong`].
pub(super) fn parse_string(
    field: &'static str,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let length_at = out.len();
    out.push(0);
    parse_text(text, out)?;
    let octets = out.len() - length_at - 1;
    out[length_at] =
        u8::try_from(octets).map_err(|_| RdataError::StringTooLong { field, octets })?;
    Ok(())
}

/// Returns the octets that a character-string takes at the front of `rest`.
///
/// # Errors
/// [`RdataError::CutShort`].
pub(super) fn string_len(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let len = 1 + usize::from(*rest.first().ok_or(RdataError::CutShort { field })?);
    if len > rest.len() { Err(RdataError::CutShort { field }) } else { Ok(len) }
}

/// Writes octets in quotes; what is not printable ASCII becomes `\DDD`.
pub(crate) fn write_quoted(octets: &[u8], out: &mut String) {
    out.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(octet));
            }
            b' '..=b'~' => out.push(char::from(octet)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\{octet:03}");
            }
        }
    }
    out.push('"');
}
