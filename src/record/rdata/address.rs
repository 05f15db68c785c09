//! Addresses in hexadecimal with marks between: EUI48, EUI64, NID, L64, NSAP.

use std::fmt::Write as _;

use crate::record::RdataError;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::{Words, base};

/// Six octets, `00-00-5e-00-53-2a` (RFC 7043 section 3).
pub(super) const EUI48: Codec =
    Codec { parse: parse_eui::<6>, len: len_fixed::<6>, write: write_eui, name_in: no_name };
/// Eight octets, `00-00-5e-ef-10-00-00-2a` (RFC 7043 section 4).
pub(super) const EUI64: Codec =
    Codec { parse: parse_eui::<8>, len: len_fixed::<8>, write: write_eui, name_in: no_name };
/// Eight octets, `2001:0db8:1140:1000` (RFC 6742 sections 2.1 and 2.3).
pub(super) const LOCATOR: Codec =
    Codec { parse: parse_locator, len: len_fixed::<8>, write: write_locator, name_in: no_name };
/// All octets, `0x47.0005.80` (RFC 1706 section 5).
pub(super) const NSAP: Codec =
    Codec { parse: parse_nsap, len: len_nsap, write: write_nsap, name_in: no_name };

/// Reads `N` pairs of digits with hyphens between.
fn parse_eui<const N: usize>(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let form =
        if N == 6 { "six pairs of digits, 00-00-5e-00-53-2a" } else { "eight pairs of digits" };
    let bad = RdataError::BadForm { field, form };
    let pairs: Vec<&[u8]> = words.need(field)?.octets.split(|&octet| octet == b'-').collect();
    if pairs.len() != N || pairs.iter().any(|pair| pair.len() != 2) {
        return Err(bad);
    }
    base::decode_hex(field, &pairs.concat(), out).map_err(|_| bad)
}

/// Writes pairs of digits with hyphens between.
fn write_eui(octets: &[u8], out: &mut String) -> Option<()> {
    for (index, octet) in octets.iter().enumerate() {
        let hyphen = if index > 0 { "-" } else { "" };
        write!(out, "{hyphen}{octet:02x}").ok()?;
    }
    Some(())
}

/// Reads four groups of one to four digits with colons between.
fn parse_locator(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let bad = RdataError::BadForm { field, form: "four groups of digits, 2001:db8:1140:1000" };
    let groups: Vec<&[u8]> = words.need(field)?.octets.split(|&octet| octet == b':').collect();
    if groups.len() != 4 {
        return Err(bad);
    }
    for group in groups {
        let is_group = (1..=4).contains(&group.len()) && group.iter().all(u8::is_ascii_hexdigit);
        let number = std::str::from_utf8(group)
            .ok()
            .filter(|_| is_group)
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .ok_or_else(|| bad.clone())?;
        out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// Writes four groups of four digits with colons between.
fn write_locator(octets: &[u8], out: &mut String) -> Option<()> {
    for (index, group) in octets.chunks_exact(2).enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        write!(out, "{colon}{:02x}{:02x}", group[0], group[1]).ok()?;
    }
    Some(())
}

/// Reads `0x` and digits; dots are for the eye.
fn parse_nsap(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let bad = RdataError::BadForm { field, form: "0x and pairs of digits" };
    let digits = match words.need(field)?.octets {
        [b'0', b'x' | b'X', digits @ ..] => digits,
        _ => return Err(bad),
    };
    let digits: Vec<u8> = digits.iter().copied().filter(|&octet| octet != b'.').collect();
    if digits.is_empty() {
        return Err(bad);
    }
    base::decode_hex(field, &digits, out).map_err(|_| bad)
}

/// Takes everything, at least one octet.
fn len_nsap(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    if rest.is_empty() { Err(RdataError::CutShort { field }) } else { Ok(rest.len()) }
}

/// Writes `0x` and digits.
fn write_nsap(octets: &[u8], out: &mut String) -> Option<()> {
    out.push_str("0x");
    base::write_hex(octets, out);
    Some(())
}

/// Takes `N` octets.
fn len_fixed<const N: usize>(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    if rest.len() < N { Err(RdataError::CutShort { field }) } else { Ok(N) }
}
