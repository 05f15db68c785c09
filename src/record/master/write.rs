//! Writes a zone as a master file that [`crate::record::master::read_zone`] reads back.

use std::fmt::Write as _;
use std::io;

use crate::limits::TTL_S_MAX;
use crate::name::Name;
use crate::record::rdata;
use crate::record::{RecordType, Rrset};

/// Writes the RRsets, the SOA first and the others in the order given; all names are absolute.
///
/// # Errors
/// What `out` fails with.
pub fn write_zone(
    apex: &Name,
    rrsets: impl IntoIterator<Item = Rrset>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let mut text = String::new();
    writeln!(out, "; zone {}", apex.to_fqdn())?;
    let mut held: Vec<Rrset> = Vec::new();
    let mut is_soa_written = false;
    for rrset in rrsets {
        let is_soa = rrset.rtype == RecordType::SOA;
        if !is_soa && !is_soa_written && held.len() < HELD_RRSETS_MAX {
            held.push(rrset);
            continue;
        }
        write_rrset(&rrset, &mut text);
        is_soa_written |= is_soa;
        for rrset in held.drain(..) {
            write_rrset(&rrset, &mut text);
        }
        flush(&mut text, out, FLUSH_OCTETS)?;
    }
    for rrset in held {
        write_rrset(&rrset, &mut text);
        flush(&mut text, out, FLUSH_OCTETS)?;
    }
    flush(&mut text, out, 0)
}

/// Appends one line for each record. A signature has the TTL of what it signs (RFC 4034 section 3),
/// which it states as the original TTL; those at one owner may differ.
fn write_rrset(rrset: &Rrset, text: &mut String) {
    let owner = rrset.owner.to_fqdn();
    for rdata in &rrset.rdata {
        let ttl_s = match (rrset.rtype, rdata) {
            (RecordType::RRSIG, [_, _, _, _, a, b, c, d, ..]) => {
                u32::from_be_bytes([*a, *b, *c, *d]).min(TTL_S_MAX)
            }
            _ => rrset.ttl_s,
        };
        // Writing to a string does not fail.
        let _ = write!(text, "{owner}\t{ttl_s}\tIN\t{}\t", rrset.rtype);
        rdata::write(rrset.rtype, rdata, text);
        text.push('\n');
    }
}

/// Hands on the text when it is longer than `above` octets.
fn flush(text: &mut String, out: &mut impl io::Write, above: usize) -> io::Result<()> {
    if text.len() > above {
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    Ok(())
}

/// RRsets kept back until the SOA comes; past that the SOA stands where it stands, which is
/// allowed too.
const HELD_RRSETS_MAX: usize = 4_096;

/// Octets of text that are written at once.
const FLUSH_OCTETS: usize = 1 << 16;
