//! Records in canonical form, as signatures and zone digests cover them.
//!
//! RFC 4034 section 6.2 and 6.3 with RFC 6840 section 5.1.

use std::borrow::Cow;

use crate::record::{RecordType, Rrset, rdata};

/// Returns RDATA with its names in lower case, where the canonical form has them so.
pub fn rdata(rtype: RecordType, octets: &[u8]) -> Cow<'_, [u8]> {
    if !has_lower_names(rtype) || !octets.iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(octets);
    }
    let mut lower = octets.to_vec();
    for (at, len) in rdata::names(rtype, octets) {
        // A length octet is at most 63 and so below every letter.
        lower[at..at + len].make_ascii_lowercase();
    }
    Cow::Owned(lower)
}

/// Appends the records of an RRset, ordered by RDATA, each of them once.
///
/// `ttl_s` gives a record's TTL in seconds from its RDATA.
pub fn push_records(
    out: &mut Vec<u8>,
    owner: &[u8],
    rrset: &Rrset,
    ttl_s: impl Fn(&[u8]) -> u32,
    is_covered: impl Fn(&[u8]) -> bool,
) {
    let rtype = rrset.rtype;
    let mut records: Vec<(Cow<'_, [u8]>, u32)> = rrset
        .rdata
        .iter()
        .filter(|octets| is_covered(octets))
        .map(|octets| (self::rdata(rtype, octets), ttl_s(octets)))
        .collect();
    records.sort_unstable();
    records.dedup_by(|a, b| a.0 == b.0);
    for (octets, ttl_s) in records {
        out.extend_from_slice(owner);
        out.extend_from_slice(&rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl_s.to_be_bytes());
        // A list holds no RDATA that is longer.
        out.extend_from_slice(&u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&octets);
    }
}

/// Whether the canonical form of a type has its names in lower case (RFC 4034 section 6.2; not
/// NSEC, by RFC 6840 section 5.1).
fn has_lower_names(rtype: RecordType) -> bool {
    rtype.compressible_names().is_some()
        || matches!(
            rtype,
            RecordType::RP
                | RecordType::AFSDB
                | RecordType::RT
                | RecordType::SIG
                | RecordType::PX
                | RecordType::NXT
                | RecordType::NAPTR
                | RecordType::KX
                | RecordType::SRV
                | RecordType::DNAME
                | RecordType::A6
                | RecordType::RRSIG
        )
}
