//! Address prefixes of APL (RFC 3123 section 4).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::record::RdataError;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::{Words, parse_decimal};

/// Prefixes up to the end, none included.
pub(super) const PREFIXES: Codec = Codec { parse, len, write, name_in: no_name };

/// Reads words of the form `1:192.0.2.0/24` or `!2:2001:db8::/32`.
fn parse(field: &'static str, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    while let Some(word) = words.take() {
        let form = "prefixes such as 1:192.0.2.0/24 or !2:2001:db8::/32";
        parse_prefix(word.octets, out).ok_or(RdataError::BadForm { field, form })?;
    }
    Ok(())
}

/// Reads one prefix.
fn parse_prefix(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    let (negation, text) = match text.strip_prefix('!') {
        Some(rest) => (NEGATION, rest),
        None => (0, text),
    };
    let (family, text) = text.split_once(':')?;
    let (address, bits) = text.split_once('/')?;
    let family = u16::try_from(parse_decimal(family.as_bytes())?).ok()?;
    let bits = u8::try_from(parse_decimal(bits.as_bytes())?).ok()?;
    let mut octets = match (family, address.parse().ok()?) {
        (FAMILY_IPV4, IpAddr::V4(address)) if bits <= 32 => address.octets().to_vec(),
        (FAMILY_IPV6, IpAddr::V6(address)) if bits <= 128 => address.octets().to_vec(),
        _ => return None,
    };
    octets.truncate(octets.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1));
    out.extend_from_slice(&family.to_be_bytes());
    out.push(bits);
    out.push(negation | u8::try_from(octets.len()).ok()?);
    out.extend_from_slice(&octets);
    Some(())
}

/// Checks that all of `rest` is prefixes.
fn len(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let mut tail = rest;
    while !tail.is_empty() {
        let (prefix, address, next) = split(tail).ok_or(RdataError::CutShort { field })?;
        let (bits_max, octets_max) = match prefix.family {
            FAMILY_IPV4 => (32, 4),
            FAMILY_IPV6 => (128, 16),
            _ => (u8::MAX, usize::from(!NEGATION)),
        };
        let is_valid =
            prefix.bits <= bits_max && address.len() <= octets_max && address.last() != Some(&0);
        if !is_valid {
            let rule = "no longer than its family allows, its last octet not zero";
            return Err(RdataError::BadValue { field, rule });
        }
        tail = next;
    }
    Ok(rest.len())
}

/// Writes prefixes; those of other families than IP have no text form.
fn write(octets: &[u8], out: &mut String) -> Option<()> {
    let (mut rest, mut separator) = (octets, "");
    while !rest.is_empty() {
        let (AddressPrefix { family, bits, is_negated }, address, next) = split(rest)?;
        let mut full = [0; 16];
        full.get_mut(..address.len())?.copy_from_slice(address);
        let negation = if is_negated { "!" } else { "" };
        let address = match family {
            FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::new(full[0], full[1], full[2], full[3])),
            FAMILY_IPV6 => IpAddr::V6(Ipv6Addr::from(full)),
            _ => return None,
        };
        write!(out, "{separator}{negation}{family}:{address}/{bits}").ok()?;
        (rest, separator) = (next, " ");
    }
    Some(())
}

/// What stands before a prefix's address.
struct AddressPrefix {
    /// The address family, IANA's number.
    family: u16,
    /// Bits of the prefix.
    bits: u8,
    /// Whether the prefix is excepted.
    is_negated: bool,
}

/// Splits off one prefix, its address and what follows.
fn split(octets: &[u8]) -> Option<(AddressPrefix, &[u8], &[u8])> {
    let [high, low, bits, len, rest @ ..] = octets else { return None };
    let (address, rest) = rest.split_at_checked(usize::from(len & !NEGATION))?;
    let family = u16::from_be_bytes([*high, *low]);
    Some((AddressPrefix { family, bits: *bits, is_negated: len & NEGATION != 0 }, address, rest))
}

/// IPv4's address family.
const FAMILY_IPV4: u16 = 1;
/// IPv6's address family.
const FAMILY_IPV6: u16 = 2;
/// The bit of the length octet that says that the prefix is excepted.
const NEGATION: u8 = 0x80;
