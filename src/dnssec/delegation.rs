//! Delegations and the hosts that records name: what a zone needs to be found, signed or not.
//!
//! RFC 1034 section 4.2.1, RFC 2181 section 10.3. Only what the zone itself says is looked at.

use super::Findings;
use super::fault::{Fault, Severity};
use super::view::{NameKind, SignedName, SignedView};
use crate::name::Name;
use crate::record::{RecordType, Rrset};

/// Checks all names of a zone.
pub(crate) fn check(view: &SignedView<'_>, findings: &mut Findings) {
    if view.at_apex(RecordType::NS).is_none() {
        findings.add(Severity::Error, view.apex, RecordType::NS, Fault::NoNs {});
    }
    for place in &view.places {
        match place.kind {
            NameKind::Data | NameKind::Cut => check_place(view, place, findings),
            NameKind::Occluded(above) => check_occluded(place, above, findings),
            NameKind::Nsec3 => {}
        }
    }
}

/// Checks a name that the zone answers for or delegates.
fn check_place(view: &SignedView<'_>, place: &SignedName<'_>, findings: &mut Findings) {
    if place.set(RecordType::DS).is_some() && place.kind != NameKind::Cut {
        findings.add(Severity::Error, place.owner, RecordType::DS, Fault::DsWithoutNs {});
    }
    if place.owner.is_wildcard() && place.set(RecordType::NS).is_some() {
        findings.add(Severity::Warning, place.owner, RecordType::NS, Fault::WildcardNs {});
    }
    for set in &place.sets {
        let is_ours = place.kind == NameKind::Data || set.rtype == RecordType::NS;
        if is_ours && set.rtype.needs_host_address() {
            for host in hosts(set) {
                check_host(view, place, set, host, findings);
            }
        }
    }
}

/// Returns the hosts that records of an RRset name.
fn hosts(set: &Rrset) -> impl Iterator<Item = Name> {
    let host_in = |octets: &[u8]| Name::from_wire(octets.get(set.rtype.host_at()?..)?).ok();
    set.rdata.iter().filter_map(host_in)
}

/// Checks a host that a record names, as far as the zone knows of it.
fn check_host(
    view: &SignedView<'_>,
    place: &SignedName<'_>,
    set: &Rrset,
    host: Name,
    findings: &mut Findings,
) {
    // The root stands for "no such service" (RFC 7505, RFC 2782).
    if !host.is_at_or_below(view.apex) || host.is_root() {
        return;
    }
    let is_ns = set.rtype == RecordType::NS;
    let severity = if is_ns { Severity::Error } else { Severity::Warning };
    let found = find(view, &host);
    let has_address =
        found.is_some_and(|place| place.sets.iter().any(|set| set.rtype.is_address()));
    let is_alias = found.is_some_and(|place| place.set(RecordType::CNAME).is_some());
    let is_below_cut = is_ns && place.kind == NameKind::Cut && host.is_at_or_below(place.owner);
    let is_here = found.is_none_or(|found| matches!(found.kind, NameKind::Data));
    let fault = if has_address {
        return;
    } else if is_below_cut {
        Fault::GlueMissing { host }
    } else if is_alias && is_here {
        Fault::HostAlias { host }
    } else if is_delegated(view, &host) {
        return;
    } else {
        Fault::HostNoAddress { host }
    };
    findings.add(severity, place.owner, set.rtype, fault);
}

/// Finds the place that answers for a name: its own, or the wildcard's that matches it.
fn find<'v, 'a>(view: &'v SignedView<'a>, name: &Name) -> Option<&'v SignedName<'a>> {
    let own = view.place(name.as_wire());
    if own.is_some() {
        return own;
    }
    let above = std::iter::successors(name.parent(), Name::parent);
    for above in above.take_while(|above| above.is_at_or_below(view.apex)) {
        let wildcard = above.with_label(b"*").ok().and_then(|name| view.place(name.as_wire()));
        if wildcard.is_some() || view.place(above.as_wire()).is_some() {
            return wildcard;
        }
    }
    None
}

/// Whether a name is at or below a zone cut, or below a DNAME: another zone knows its address.
fn is_delegated(view: &SignedView<'_>, name: &Name) -> bool {
    let up = std::iter::successors(Some(name.clone()), Name::parent);
    up.take_while(|above| above.is_at_or_below(view.apex)).any(|above| {
        view.place(above.as_wire()).is_some_and(|place| {
            place.kind == NameKind::Cut
                || (above != *name && place.set(RecordType::DNAME).is_some())
        })
    })
}

/// Checks a name that is never answered: only addresses, as glue, have a use there.
fn check_occluded(place: &SignedName<'_>, above: &Name, findings: &mut Findings) {
    for set in &place.sets {
        // What DNSSEC records are doing there is told elsewhere.
        if !set.rtype.is_address() && !matches!(set.rtype, RecordType::RRSIG | RecordType::NSEC) {
            let fault = Fault::Occluded { above: above.clone() };
            findings.add(Severity::Warning, place.owner, set.rtype, fault);
        }
    }
}
