//! The keys of a zone, and who vouches for them: DS records of the parent, CDS and CDNSKEY records.
//!
//! RFC 4034 sections 2, 5 and appendix B, RFC 5011 (revocation), RFC 7344, RFC 8078.

use std::collections::BTreeSet;

use super::crypto::{Crypto, DigestType};
use super::fault::{Fault, Severity};
use super::view::SignedView;
use super::{Findings, Parent};
use crate::name::Name;
use crate::record::RecordType;

/// A record of the DNSKEY RRset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsKey<'a> {
    /// Its RDATA.
    pub rdata: &'a [u8],
    /// Its key tag.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: u8,
    /// The public key as it stands in RDATA.
    pub public: &'a [u8],
    /// Whether it may sign a zone: it has the zone key flag, and protocol 3.
    pub is_usable: bool,
    /// Whether it is revoked (RFC 5011 section 2.1).
    pub is_revoked: bool,
}

impl<'a> DnsKey<'a> {
    /// Reads DNSKEY RDATA, if it is whole.
    pub(crate) fn parse(rdata: &'a [u8]) -> Option<Self> {
        let [high, low, protocol, algorithm, public @ ..] = rdata else { return None };
        let flags = u16::from_be_bytes([*high, *low]);
        Some(Self {
            rdata,
            tag: key_tag(rdata),
            algorithm: *algorithm,
            public,
            is_usable: flags & FLAG_ZONE != 0 && *protocol == 3,
            is_revoked: flags & FLAG_REVOKE != 0,
        })
    }

    /// Whether the RDATA of a DS record is that of this key; `None` if its digest is not known.
    pub(crate) fn has_ds(&self, apex: &Name, ds: &[u8], crypto: &dyn Crypto) -> Option<bool> {
        let [high, low, algorithm, digest_type, digest @ ..] = ds else { return Some(false) };
        let hash = match digest_type {
            1 => DigestType::Sha1,
            2 => DigestType::Sha256,
            4 => DigestType::Sha384,
            _ => return None,
        };
        if u16::from_be_bytes([*high, *low]) != self.tag || *algorithm != self.algorithm {
            return Some(false);
        }
        let mut pieces = [apex.as_wire().to_vec(), self.rdata.to_vec()].into_iter();
        crypto.digest(hash, &mut pieces).map(|made| made == digest)
    }
}

/// Returns the key tag of DNSKEY RDATA (RFC 4034 appendix B; B.1 for algorithm 1).
pub(crate) fn key_tag(rdata: &[u8]) -> u16 {
    if let [_, _, _, 1, .., high, low, _] = rdata {
        return u16::from_be_bytes([*high, *low]);
    }
    let sum = rdata.chunks(2).fold(0_u32, |sum, pair| {
        sum.wrapping_add(u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
    });
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

/// Returns the keys at the apex.
pub(crate) fn keys_of<'a>(view: &SignedView<'a>) -> Vec<DnsKey<'a>> {
    let set = view.at_apex(RecordType::DNSKEY);
    set.into_iter().flat_map(|set| set.rdata.iter()).filter_map(DnsKey::parse).collect()
}

/// Checks the keys themselves.
pub(crate) fn check_keys(view: &SignedView<'_>, keys: &[DnsKey<'_>], findings: &mut Findings) {
    let mut add = |fault, severity| findings.add(severity, view.apex, RecordType::DNSKEY, fault);
    for key in keys.iter().filter(|key| !key.is_usable) {
        add(Fault::KeyUnusable { tag: key.tag }, Severity::Warning);
    }
    let has_nsec3 = view.at_apex(RecordType::NSEC3PARAM).is_some();
    let algorithms: BTreeSet<u8> = keys.iter().map(|key| key.algorithm).collect();
    for algorithm in algorithms {
        if DEPRECATED.contains(&algorithm) {
            add(Fault::AlgorithmDeprecated { algorithm }, Severity::Warning);
        }
        if has_nsec3 && matches!(algorithm, 1 | 3 | 5) {
            add(Fault::AlgorithmNotNsec3 { algorithm }, Severity::Error);
        }
    }
}

/// Checks what the parent says of the keys; `signing` are those that sign the DNSKEY RRset.
pub(crate) fn check_parent(
    view: &SignedView<'_>,
    keys: &[DnsKey<'_>],
    signing: &[u16],
    parent: Parent<'_>,
    crypto: &dyn Crypto,
    findings: &mut Findings,
) {
    let Parent::Ds(records) = parent else { return };
    let mut faults = Vec::new();
    let mut is_trusted = false;
    for ds in records {
        let [high, low, algorithm, digest_type, ..] = ds[..] else { continue };
        let tag = u16::from_be_bytes([high, low]);
        let known: Vec<Option<bool>> =
            keys.iter().map(|key| key.has_ds(view.apex, ds, crypto)).collect();
        if known.contains(&Some(true)) {
            if signing.contains(&tag) {
                is_trusted = true;
            } else {
                faults.push(Fault::DsKeyNotSigning { tag });
            }
        } else if known.contains(&None) {
            faults.push(Fault::DsDigestUnknown { tag, digest_type });
        } else {
            faults.push(Fault::DsNoKey { tag, algorithm });
        }
    }
    // One way to the keys is enough; a DS record published ahead of its key is part of a rollover.
    let severity = if is_trusted { Severity::Warning } else { Severity::Error };
    for fault in faults {
        findings.add(severity, view.apex, RecordType::DS, fault);
    }
    if records.is_empty() {
        findings.add(Severity::Warning, view.apex, RecordType::DS, Fault::NoDs {});
    } else if records.iter().all(|ds| ds.get(3) == Some(&1)) {
        findings.add(Severity::Warning, view.apex, RecordType::DS, Fault::DsSha1 {});
    }
}

/// Checks what the zone asks its parent to publish.
pub(crate) fn check_cds(
    view: &SignedView<'_>,
    keys: &[DnsKey<'_>],
    signing: &[u16],
    crypto: &dyn Crypto,
    findings: &mut Findings,
) {
    let mut asked: [Option<BTreeSet<Option<usize>>>; 2] = [None, None];
    for (asked, rtype) in asked.iter_mut().zip([RecordType::CDS, RecordType::CDNSKEY]) {
        let Some(set) = view.at_apex(rtype) else { continue };
        let mut error = |fault| findings.add(Severity::Error, view.apex, rtype, fault);
        let is_delete = |rdata: &[u8]| match rtype {
            RecordType::CDS => rdata.starts_with(&[0, 0, 0]),
            _ => rdata.get(3) == Some(&0),
        };
        if set.rdata.iter().any(is_delete) {
            if set.rdata.count() > 1 {
                error(Fault::CdsDeleteNotAlone {});
            }
            *asked = Some(BTreeSet::from([None]));
            continue;
        }
        let mut places = BTreeSet::new();
        for rdata in &set.rdata {
            let is_of = |key: &DnsKey<'_>| match rtype {
                RecordType::CDS => key.has_ds(view.apex, rdata, crypto) == Some(true),
                _ => key.rdata == rdata,
            };
            match keys.iter().position(is_of) {
                Some(place) => drop(places.insert(Some(place))),
                None => {
                    let tag = match (rtype, rdata) {
                        (RecordType::CDS, [high, low, ..]) => u16::from_be_bytes([*high, *low]),
                        _ => key_tag(rdata),
                    };
                    let fault = Fault::CdsUnknownKey { tag };
                    findings.add(Severity::Warning, view.apex, rtype, fault);
                }
            }
        }
        let is_kept = |place: &Option<usize>| {
            place.and_then(|place| keys.get(place)).is_some_and(|key| signing.contains(&key.tag))
        };
        if !places.iter().any(is_kept) {
            findings.add(Severity::Error, view.apex, rtype, Fault::CdsNoKey {});
        }
        *asked = Some(places);
    }
    if let [Some(cds), Some(cdnskey)] = asked
        && cds != cdnskey
    {
        findings.add(Severity::Error, view.apex, RecordType::CDS, Fault::CdsDiffer {});
    }
}

/// Flag: the key may sign zones (RFC 4034 section 2.1.1).
const FLAG_ZONE: u16 = 1 << 8;
/// Flag: the key is revoked (RFC 5011 section 2.1).
const FLAG_REVOKE: u16 = 1 << 7;
/// Algorithms that are not, or must not be, used to sign any more (RFC 8624 section 3.1).
const DEPRECATED: [u8; 6] = [1, 3, 5, 6, 7, 12];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tag_is_that_of_rfc_4034_section_5_4() {
        let key = "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99W\
                   YwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMB\
                   mADjFDc2w/rljwvFw==";
        let key = data_encoding::BASE64.decode(key.as_bytes()).unwrap();
        let rdata = [&[1, 0, 3, 5], &key[..]].concat();
        assert_eq!(key_tag(&rdata), 60_485);
        let key = DnsKey::parse(&rdata).unwrap();
        assert!(key.is_usable && !key.is_revoked);
    }
}
