//! Fields whose form a number before them chooses: IPSECKEY, AMTRELAY and HIP.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name;
use crate::record::RdataError;
use crate::record::rdata::field::{Codec, Kind, no_name, write_name};
use crate::record::rdata::{Words, base};

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

/// No host; text says `.`.
const HOST_NONE: u8 = 0;
/// An IPv4 address.
const HOST_IPV4: u8 = 1;
/// An IPv6 address.
const HOST_IPV6: u8 = 2;
/// A name.
const HOST_NAME: u8 = 3;
