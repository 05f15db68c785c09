//! Fields whose form a number before them chooses: A6, IPSECKEY, AMTRELAY and HIP.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name;
use crate::record::RdataError;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::field::{Kind, write_name};
use crate::record::rdata::{Words, base};

/// Prefix length, address suffix and prefix name (RFC 2874 section 3.1).
pub(super) const A6: Codec =
    Codec { parse: parse_a6, len: len_a6, write: write_a6, name_in: name_in_a6 };
/// Gateway type, algorithm and gateway (RFC 4025 section 2.1).
pub(super) const GATEWAY: Codec = Codec {
    parse: parse_gateway,
    len: len_gateway,
    write: write_gateway,
    name_in: name_in_gateway,
};
/// Discovery bit, relay type and relay (RFC 8777 section 4.2).
pub(super) const RELAY: Codec =
    Codec { parse: parse_relay, len: len_relay, write: write_relay, name_in: name_in_relay };
/// Lengths, algorithm, identity tag and public key (RFC 8005 section 5).
pub(super) const HOST_IDENTITY: Codec =
    Codec { parse: parse_identity, len: len_identity, write: write_identity, name_in: no_name };

/// Reads `length suffix name`, the suffix as an IPv6 address; no name behind a length of 0
/// (RFC 2874 section 3.2).
fn parse_a6(_: &'static str, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let start = out.len();
    Kind::U8.parse(PREFIX_LENGTH, words, out)?;
    let (suffix_len, pad) = suffix_shape(out[start])?;
    // An address that would have no bit of its own may be left out; where only one word is left that is the name,
    // in which a colon may stand too.
    let mut behind = *words;
    let is_address = behind.take().is_some_and(|word| word.octets.contains(&b':'));
    if suffix_len > 0 || (is_address && !behind.is_empty()) {
        let mut address = Vec::with_capacity(16);
        Kind::Ipv6.parse(SUFFIX, words, &mut address)?;
        out.extend_from_slice(&address[16 - suffix_len..]);
        if let Some(first) = out[start + 1..].first_mut() {
            *first &= !pad;
        }
    }
    if out[start] > 0 { Kind::Name.parse(PREFIX_NAME, words, out) } else { Ok(()) }
}

/// Returns the octets of prefix length, suffix and name.
fn len_a6(_: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let [prefix_bits, tail @ ..] = rest else {
        return Err(RdataError::CutShort { field: PREFIX_LENGTH });
    };
    let (suffix_len, pad) = suffix_shape(*prefix_bits)?;
    let Some((suffix, name)) = tail.split_at_checked(suffix_len) else {
        return Err(RdataError::CutShort { field: SUFFIX });
    };
    if suffix.first().is_some_and(|first| first & pad != 0) {
        let rule = "zero before its own bits (RFC 2874 section 3.1)";
        return Err(RdataError::BadValue { field: SUFFIX, rule });
    }
    let name_len = if *prefix_bits > 0 { Kind::Name.len(PREFIX_NAME, name)? } else { 0 };
    Ok(1 + suffix_len + name_len)
}

/// Writes `length suffix name`.
fn write_a6(octets: &[u8], out: &mut String) -> Option<()> {
    let [prefix_bits, tail @ ..] = octets else { return None };
    let (suffix, name) = tail.split_at_checked(suffix_shape(*prefix_bits).ok()?.0)?;
    write!(out, "{prefix_bits}").ok()?;
    if !suffix.is_empty() {
        let mut address = [0; 16];
        address[16 - suffix.len()..].copy_from_slice(suffix);
        write!(out, " {}", Ipv6Addr::from(address)).ok()?;
    }
    if *prefix_bits > 0 {
        out.push(' ');
        write_name(name, out)?;
    }
    Some(())
}

/// Finds the name of a prefix that has one.
fn name_in_a6(octets: &[u8]) -> Option<(usize, usize)> {
    let prefix_bits = *octets.first()?;
    let at = 1 + suffix_shape(prefix_bits).ok()?.0;
    (prefix_bits > 0).then(|| (at, octets.len() - at))
}

/// Returns how many octets hold the address bits that a prefix leaves, and the bits in front of
/// these in the first of the octets.
fn suffix_shape(prefix_bits: u8) -> Result<(usize, u8), RdataError> {
    let suffix_bits = 128_u8
        .checked_sub(prefix_bits)
        .ok_or(RdataError::BadNumber { field: PREFIX_LENGTH, max: 128 })?;
    let pad = !(u8::MAX >> (prefix_bits % 8));
    Ok((usize::from(suffix_bits.div_ceil(8)), pad))
}

/// Reads `type algorithm gateway`.
fn parse_gateway(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    Kind::U8.parse("gateway type", words, out)?;
    Kind::U8.parse("algorithm", words, out)?;
    parse_host(field, out[start], words, out)
}

/// Returns the octets of type, algorithm and gateway. A gateway of a type that nobody has defined
/// has no known end, so it takes everything.
fn len_gateway(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let [kind, _, host @ ..] = rest else { return Err(RdataError::CutShort { field }) };
    Ok(2 + len_host(field, *kind, host)?)
}

/// Writes `type algorithm gateway`.
fn write_gateway(octets: &[u8], out: &mut String) -> Option<()> {
    let [kind, algorithm, host @ ..] = octets else { return None };
    write!(out, "{kind} {algorithm} ").ok()?;
    write_host(*kind, host, out)
}

/// Finds the name of a gateway that is one.
fn name_in_gateway(octets: &[u8]) -> Option<(usize, usize)> {
    (*octets.first()? == HOST_NAME).then_some((2, octets.len() - 2))
}

/// Reads `discovery type relay`.
fn parse_relay(
    field: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    Kind::U8.parse("discovery bit", words, out)?;
    Kind::U8.parse("relay type", words, out)?;
    let kind = out.pop().unwrap_or_default();
    let discovery = out.pop().unwrap_or_default();
    if discovery > 1 {
        return Err(RdataError::BadNumber { field: "discovery bit", max: 1 });
    }
    if kind > 127 {
        return Err(RdataError::BadNumber { field: "relay type", max: 127 });
    }
    debug_assert_eq!(out.len(), start);
    out.push(discovery << 7 | kind);
    parse_host(field, kind, words, out)
}

/// Returns the octets of type and relay.
fn len_relay(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let [kind, host @ ..] = rest else { return Err(RdataError::CutShort { field }) };
    Ok(1 + len_host(field, kind & 127, host)?)
}

/// Writes `discovery type relay`.
fn write_relay(octets: &[u8], out: &mut String) -> Option<()> {
    let [kind, host @ ..] = octets else { return None };
    write!(out, "{} {} ", kind >> 7, kind & 127).ok()?;
    write_host(kind & 127, host, out)
}

/// Finds the name of a relay that is one.
fn name_in_relay(octets: &[u8]) -> Option<(usize, usize)> {
    (octets.first()? & 127 == HOST_NAME).then_some((1, octets.len() - 1))
}

/// Reads a host of the type `kind`.
fn parse_host(
    field: &'static str,
    kind: u8,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    match kind {
        HOST_NONE => match words.need(field)?.octets {
            b"." => Ok(()),
            _ => Err(RdataError::BadForm { field, form: "\".\", as its type 0 has it" }),
        },
        HOST_IPV4 => Kind::Ipv4.parse(field, words, out),
        HOST_IPV6 => Kind::Ipv6.parse(field, words, out),
        HOST_NAME => Kind::Name.parse(field, words, out),
        _ => Err(RdataError::BadNumber { field: "gateway type", max: u64::from(HOST_NAME) }),
    }
}

/// Returns the octets of a host of the type `kind`.
fn len_host(field: &'static str, kind: u8, host: &[u8]) -> Result<usize, RdataError> {
    match kind {
        HOST_NONE => Ok(0),
        HOST_IPV4 => Kind::Ipv4.len(field, host),
        HOST_IPV6 => Kind::Ipv6.len(field, host),
        HOST_NAME => name::wire_len(host).map_err(|rule| RdataError::BadName { field, rule }),
        _ => Ok(host.len()),
    }
}

/// Writes a host of the type `kind`.
fn write_host(kind: u8, host: &[u8], out: &mut String) -> Option<()> {
    match kind {
        HOST_NONE => out.push('.'),
        HOST_IPV4 => write!(out, "{}", Ipv4Addr::from(<[u8; 4]>::try_from(host).ok()?)).ok()?,
        HOST_IPV6 => write!(out, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(host).ok()?)).ok()?,
        HOST_NAME => write_name(host, out)?,
        _ => return None,
    }
    Some(())
}

/// Reads `algorithm tag key`, the tag in hexadecimal, the key in base64.
fn parse_identity(
    _: &'static str,
    words: &mut Words<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let (mut algorithm, mut tag, mut key) = (Vec::new(), Vec::new(), Vec::new());
    Kind::U8.parse("algorithm", words, &mut algorithm)?;
    let field = "host identity tag";
    base::decode_hex(field, words.need(field)?.octets, &mut tag)?;
    let tag_len = u8::try_from(tag.len())
        .map_err(|_| RdataError::StringTooLong { field, octets: tag.len() })?;
    let field = "public key";
    base::decode_base64(field, words.need(field)?.octets, &mut key)?;
    let key_len =
        u16::try_from(key.len()).map_err(|_| RdataError::TooLong { octets: key.len() })?;
    if tag.is_empty() || key.is_empty() {
        return Err(RdataError::Missing { field: "host identity" });
    }
    out.push(tag_len);
    out.extend_from_slice(&algorithm);
    out.extend_from_slice(&key_len.to_be_bytes());
    out.extend_from_slice(&tag);
    out.extend_from_slice(&key);
    Ok(())
}

/// Returns the octets of lengths, algorithm, tag and key.
fn len_identity(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let [tag_len, _, high, low, ..] = *rest else { return Err(RdataError::CutShort { field }) };
    let key_len = u16::from_be_bytes([high, low]);
    if tag_len == 0 || key_len == 0 {
        return Err(RdataError::BadValue { field, rule: "a tag and a key that are not empty" });
    }
    Ok(4 + usize::from(tag_len) + usize::from(key_len))
}

/// Writes `algorithm tag key`.
fn write_identity(octets: &[u8], out: &mut String) -> Option<()> {
    let (tag, key) = octets.get(4..)?.split_at_checked(usize::from(*octets.first()?))?;
    write!(out, "{} ", octets[1]).ok()?;
    base::write_hex(tag, out);
    out.push(' ');
    base::write_base64(key, out);
    Some(())
}

/// The number of an A6 record's RDATA.
const PREFIX_LENGTH: &str = "prefix length";
/// The address bits of an A6 record.
const SUFFIX: &str = "address suffix";
/// The name of an A6 record, which has the other bits.
const PREFIX_NAME: &str = "prefix name";
/// No host; text says `.`.
const HOST_NONE: u8 = 0;
/// An IPv4 address.
const HOST_IPV4: u8 = 1;
/// An IPv6 address.
const HOST_IPV6: u8 = 2;
/// A name.
const HOST_NAME: u8 = 3;
