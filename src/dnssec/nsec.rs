//! The chain of NSEC records (RFC 4034 section 4, RFC 4035 section 2.3).

use super::Findings;
use super::fault::{Fault, Severity, Types};
use super::view::{SignedName, SignedView};
use crate::name::{Name, wire_len};
use crate::record::{RecordType, Rrset};

/// Checks that every name has its record and that each leads to the next.
pub(crate) fn check(view: &SignedView<'_>, findings: &mut Findings) {
    for place in &view.places {
        let Some(set) = place.set(RecordType::NSEC) else { continue };
        if place.types().is_empty() {
            findings.add(Severity::Error, &set.owner, set.rtype, Fault::NsecExtra {});
        }
    }
    let chain: Vec<&SignedName<'_>> =
        view.named().filter(|place| !place.types().is_empty()).collect();
    for (index, place) in chain.iter().enumerate() {
        // The last record leads back to the first name, the apex.
        let next = chain.get(index + 1).map_or(view.apex, |next| next.owner);
        if let Some(set) = check_place(place, findings)
            && let Some(found) = next_name(set)
            && found != *next
        {
            let fault = Fault::NsecNext { found, expected: next.clone() };
            findings.add(Severity::Error, place.owner, RecordType::NSEC, fault);
        }
    }
}

/// Checks the record of one name, but not where it leads; returns it if it reads.
pub(crate) fn check_place<'a>(
    place: &SignedName<'a>,
    findings: &mut Findings,
) -> Option<&'a Rrset> {
    let mut error = |fault| findings.add(Severity::Error, place.owner, RecordType::NSEC, fault);
    let Some(set) = place.set(RecordType::NSEC) else {
        error(Fault::NsecMissing {});
        return None;
    };
    if set.rdata.count() > 1 {
        error(Fault::DenialNotSingle {});
    }
    let bitmap = wire_len(set.rdata.first()).ok().and_then(|len| set.rdata.first().get(len..));
    let Some(bitmap) = bitmap else {
        error(Fault::Malformed {});
        return None;
    };
    let mut expected = place.types();
    expected.extend([RecordType::NSEC, RecordType::RRSIG]);
    if let Some((missing, extra)) = compare_types(bitmap, expected) {
        error(Fault::NsecTypes { missing, extra });
    }
    Some(set)
}

/// Returns the name that a record leads to.
fn next_name(set: &Rrset) -> Option<Name> {
    let rdata = set.rdata.first();
    Name::from_wire(rdata.get(..wire_len(rdata).ok()?)?).ok()
}

/// Compares a bitmap with the types that it should hold; returns which it lacks and has too many.
pub(crate) fn compare_types(
    bitmap: &[u8],
    mut expected: Vec<RecordType>,
) -> Option<(Types, Types)> {
    expected.sort_unstable();
    expected.dedup();
    let found = types_of(bitmap);
    if found == expected {
        return None;
    }
    let less = |left: &[RecordType], right: &[RecordType]| {
        Types(left.iter().copied().filter(|rtype| !right.contains(rtype)).collect())
    };
    Some((less(&expected, &found), less(&found, &expected)))
}

/// Returns the types of a bitmap by rising number (RFC 4034 section 4.1.2).
///
/// Ends early where the bitmap is cut short.
fn types_of(bitmap: &[u8]) -> Vec<RecordType> {
    let (mut types, mut rest) = (Vec::new(), bitmap);
    while let [window, len, tail @ ..] = rest {
        let (bits, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        for (octet, low) in bits.iter().zip((0..=u8::MAX).step_by(8)) {
            for bit in (0..8).filter(|bit| octet << bit & 0x80 != 0) {
                types.push(RecordType(u16::from_be_bytes([*window, low + bit])));
            }
        }
        rest = tail;
    }
    types
}
