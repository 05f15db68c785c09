//! Lists of types as bitmaps in windows (RFC 4034 section 4.1.2), and NXT's single window.

use std::fmt::Write as _;

use crate::record::rdata::Words;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::{RdataError, RecordType};

/// Reads mnemonics up to the end and appends their bitmap; none makes an empty one.
///
/// # Errors
/// [`RdataError::BadForm`].
pub(super) fn parse(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let mut types = Vec::new();
    while let Some(word) = words.take() {
        types.push(parse_type(field, word.octets)?.0);
    }
    types.sort_unstable();
    types.dedup();
    for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
        let mut bits = [0_u8; 32];
        let mut len = 0;
        for rtype in window {
            let [_, low] = rtype.to_be_bytes();
            bits[usize::from(low >> 3)] |= 0x80 >> (low & 7);
            len = (low >> 3) + 1;
        }
        let [number, _] = window[0].to_be_bytes();
        out.extend_from_slice(&[number, len]);
        out.extend_from_slice(&bits[..usize::from(len)]);
    }
    Ok(())
}

/// Checks that all of `rest` is a list of windows.
///
/// # Errors
/// [`RdataError::CutShort`] or [`RdataError::BadValue`].
pub(super) fn check(field: &'static str, rest: &[u8]) -> Result<(), RdataError> {
    let (mut rest, mut above) = (rest, None);
    while !rest.is_empty() {
        let [window, len, tail @ ..] = rest else { return Err(RdataError::CutShort { field }) };
        let bits = tail.get(..usize::from(*len)).ok_or(RdataError::CutShort { field })?;
        let is_valid =
            above < Some(*window) && bits.len() <= 32 && bits.last().is_some_and(|&b| b != 0);
        if !is_valid {
            let rule = "windows that rise, each of 1 to 32 octets, the last one not zero";
            return Err(RdataError::BadValue { field, rule });
        }
        above = Some(*window);
        rest = &tail[bits.len()..];
    }
    Ok(())
}

/// Writes the mnemonics of a bitmap that passed [`check`].
pub(super) fn write(octets: &[u8], out: &mut String) {
    let (mut rest, mut separator) = (octets, "");
    while let [window, len, tail @ ..] = rest {
        let (bits, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        for (index, bit) in (0..=u8::MAX)
            .zip(bits.iter().flat_map(|octet| (0..8).map(move |bit| octet << bit & 0x80 != 0)))
        {
            if bit {
                // Writing to a string does not fail.
                let _ =
                    write!(out, "{separator}{}", RecordType(u16::from_be_bytes([*window, index])));
                separator = " ";
            }
        }
        rest = tail;
    }
}

/// NXT's single window of the types below 128 (RFC 2535 section 5.2).
pub(super) const OLD_TYPES: Codec =
    Codec { parse: parse_old, len: len_old, write: write_old, name_in: no_name };

/// Reads mnemonics up to the end and appends bits for them.
fn parse_old(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let mut windows = Vec::new();
    parse(field, words, &mut windows)?;
    match windows.as_slice() {
        [] => Ok(()),
        [0, len @ 0..=16, bits @ ..] if bits.len() == usize::from(*len) => {
            out.extend_from_slice(bits);
            Ok(())
        }
        _ => Err(RdataError::BadForm { field, form: "a list of types below 128" }),
    }
}

/// Checks that all of `rest` is one window.
fn len_old(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    if rest.len() <= 16 && rest.last() != Some(&0) {
        return Ok(rest.len());
    }
    Err(RdataError::BadValue { field, rule: "16 octets at most, the last one not zero" })
}

/// Writes the mnemonics of one window.
fn write_old(octets: &[u8], out: &mut String) -> Option<()> {
    let len = u8::try_from(octets.len()).ok()?;
    write(&[&[0, len], octets].concat(), out);
    Some(())
}

/// Reads one mnemonic, `TYPEnnn` included.
///
/// # Errors
/// [`RdataError::BadForm`].
pub(super) fn parse_type(field: &'static str, text: &[u8]) -> Result<RecordType, RdataError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(RdataError::BadForm { field, form: "a record type" })
}
