//! The digest of the whole zone (RFC 8976), scheme SIMPLE with SHA-384 or SHA-512.

use super::Findings;
use super::canonical;
use super::crypto::{Crypto, DigestType};
use super::fault::{Fault, Severity};
use super::signatures::Signature;
use super::view::{SignedName, SignedView};
use crate::record::{RecordType, Rrset, Soa};

/// Checks every ZONEMD record.
pub(crate) fn check(view: &SignedView<'_>, crypto: &dyn Crypto, findings: &mut Findings) {
    for place in view.places.iter().filter(|place| place.owner != view.apex) {
        if place.set(RecordType::ZONEMD).is_some() {
            let fault = Fault::ZonemdNotApex {};
            findings.add(Severity::Warning, place.owner, RecordType::ZONEMD, fault);
        }
    }
    let Some(set) = view.at_apex(RecordType::ZONEMD) else { return };
    check_serials(view, findings);
    let kinds: Vec<(u8, u8)> = set.rdata.iter().map(kind_of).collect();
    let mut told = Vec::new();
    for (rdata, kind) in set.rdata.iter().zip(&kinds) {
        let (scheme, hash) = *kind;
        let mut add = |severity, fault| findings.add(severity, view.apex, set.rtype, fault);
        if kinds.iter().filter(|other| *other == kind).count() > 1 {
            if !told.contains(kind) {
                told.push(*kind);
                add(Severity::Error, Fault::ZonemdTwice { scheme, hash });
            }
            continue;
        }
        let known = match kind {
            (1, 1) => Some(DigestType::Sha384),
            (1, 2) => Some(DigestType::Sha512),
            _ => None,
        };
        match known.and_then(|known| crypto.digest(known, &mut pieces(view))) {
            None => add(Severity::Warning, Fault::ZonemdUnknown { scheme, hash }),
            Some(digest) if rdata.get(6..) != Some(&digest[..]) => {
                add(Severity::Error, Fault::ZonemdDiffers { hash });
            }
            Some(_) => {}
        }
    }
}

/// Checks that every record is of the zone's serial.
pub(crate) fn check_serials(view: &SignedView<'_>, findings: &mut Findings) {
    let Some(set) = view.at_apex(RecordType::ZONEMD) else { return };
    let soa = view.at_apex(RecordType::SOA).and_then(|set| Soa::read(set.rdata.first()));
    let soa_serial = soa.map_or(0, |soa| soa.serial);
    for rdata in &set.rdata {
        let serial = rdata.first_chunk::<4>().map_or(0, |octets| u32::from_be_bytes(*octets));
        if serial != soa_serial {
            let fault = Fault::ZonemdSerial { serial, soa_serial };
            findings.add(Severity::Error, view.apex, set.rtype, fault);
        }
    }
}

/// Returns scheme and hash algorithm of ZONEMD RDATA.
fn kind_of(rdata: &[u8]) -> (u8, u8) {
    match rdata {
        [_, _, _, _, scheme, hash, ..] => (*scheme, *hash),
        _ => (0, 0),
    }
}

/// Yields what is digested, RRset by RRset (RFC 8976 section 3.3.1 and 3.4.1).
fn pieces<'v>(view: &'v SignedView<'_>) -> impl Iterator<Item = Vec<u8>> + 'v {
    view.places.iter().flat_map(move |place| {
        let is_apex = place.owner == view.apex;
        let sets = place.sets.iter();
        let sets = sets.filter(move |set| !(is_apex && set.rtype == RecordType::ZONEMD));
        sets.map(move |set| {
            let mut piece = Vec::with_capacity(128);
            let covered = |rdata: &[u8]| Signature::parse(rdata).map(|sig| sig.covered);
            let is_digested = |rdata: &[u8]| {
                !(is_apex
                    && set.rtype == RecordType::RRSIG
                    && covered(rdata) == Some(RecordType::ZONEMD))
            };
            let owner = place.owner.as_wire();
            let ttl_s = |rdata: &[u8]| ttl_s(place, set, rdata);
            canonical::push_records(&mut piece, owner, set, ttl_s, is_digested);
            piece
        })
    })
}

/// Returns a record's TTL in seconds: a signature has that of what it covers (RFC 4034 section 3).
fn ttl_s(place: &SignedName<'_>, set: &Rrset, rdata: &[u8]) -> u32 {
    if set.rtype != RecordType::RRSIG {
        return set.ttl_s;
    }
    let covered = Signature::parse(rdata).and_then(|sig| place.set(sig.covered));
    covered.map_or(set.ttl_s, |covered| covered.ttl_s)
}
