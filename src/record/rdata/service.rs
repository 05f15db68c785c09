//! WKS: a protocol and a bitmap of its ports (RFC 1035 section 3.4.2).

use std::fmt::Write as _;

use crate::record::RdataError;
use crate::record::rdata::Words;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::mnemonic::{self, Table};

/// Protocol and ports up to the end.
pub(super) const SERVICES: Codec = Codec { parse, len, write, name_in: no_name };

/// Reads `protocol port…`, each a number or a mnemonic.
fn parse(_: &'static str, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let protocol = mnemonic::parse("protocol", words, PROTOCOLS, u8::MAX.into())?;
    out.push(protocol.to_be_bytes()[1]);
    let mut bits = Vec::new();
    while !words.is_empty() {
        let port = mnemonic::parse("port", words, PORTS, u16::MAX)?;
        let index = usize::from(port >> 3);
        if bits.len() <= index {
            bits.resize(index + 1, 0_u8);
        }
        bits[index] |= 0x80 >> (port & 7);
    }
    out.extend_from_slice(&bits);
    Ok(())
}

/// Checks that all of `rest` is a protocol and a bitmap.
fn len(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    match rest.len() {
        0 => Err(RdataError::CutShort { field }),
        1..=BITMAP_OCTETS_MAX => Ok(rest.len()),
        _ => Err(RdataError::BadValue { field, rule: "a bitmap of 65,536 ports at most" }),
    }
}

/// Writes numbers; a bitmap that ends in a zero octet would not be read back and has no text form.
fn write(octets: &[u8], out: &mut String) -> Option<()> {
    let (protocol, bits) = octets.split_first()?;
    if bits.last() == Some(&0) {
        return None;
    }
    write!(out, "{protocol}").ok()?;
    for (index, octet) in bits.iter().enumerate() {
        for bit in (0..8).filter(|bit| octet << bit & 0x80 != 0) {
            write!(out, " {}", index * 8 + bit).ok()?;
        }
    }
    Some(())
}

/// Octets of the protocol and the largest bitmap.
const BITMAP_OCTETS_MAX: usize = 1 + 65_536 / 8;

/// Protocols that WKS names.
const PROTOCOLS: Table = &[(1, "ICMP"), (6, "TCP"), (17, "UDP")];

/// Ports of the services that RFC 1010 names and old zones use.
const PORTS: Table = &[
    (7, "ECHO"),
    (9, "DISCARD"),
    (11, "SYSTAT"),
    (13, "DAYTIME"),
    (15, "NETSTAT"),
    (17, "QOTD"),
    (19, "CHARGEN"),
    (20, "FTP-DATA"),
    (21, "FTP"),
    (22, "SSH"),
    (23, "TELNET"),
    (25, "SMTP"),
    (37, "TIME"),
    (42, "NAMESERVER"),
    (43, "NICNAME"),
    (43, "WHOIS"),
    (53, "DOMAIN"),
    (69, "TFTP"),
    (70, "GOPHER"),
    (79, "FINGER"),
    (80, "HTTP"),
    (80, "WWW"),
    (101, "HOSTNAMES"),
    (101, "HOSTNAME"),
    (109, "POP2"),
    (110, "POP3"),
    (111, "SUNRPC"),
    (113, "AUTH"),
    (119, "NNTP"),
    (123, "NTP"),
    (143, "IMAP"),
    (161, "SNMP"),
    (389, "LDAP"),
    (443, "HTTPS"),
];
