//! Records in canonical form, as signatures and zone digests cover them.
//!
//! RFC 4034 section 6.2 and 6.3 with RFC 6840 section 5.1.

use std::borrow::Cow;

use crate::record::{Rrset, rdata};

/// Appends the records of an RRset, ordered by RDATA, each of them once.
///
/// `ttl_s` gives a record's TTL in seconds from its RDATA.
pub(crate) fn push_records(
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
        .map(|octets| (rdata::canonical(rtype, octets), ttl_s(octets)))
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
