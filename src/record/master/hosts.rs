//! Hosts that NS, MX and SRV records name: each that lies in the zone must have an address there.
//!
//! RFC 2181 section 10.3 and RFC 2782 (no alias), RFC 1034 section 4.2.1 (glue).
//!
//! **Invariant:** a record costs no allocation, and a look-up only if it names a host of the zone.
//! **Not here:** how names are looked up (`master::owners`).

use super::groups::{Group, Groups, Place};
use super::owners::{Owners, Sought};
use super::warning::{Found, WarningKind};
use crate::limits::NAME_OCTETS_MAX;
use crate::name::{Name, is_at_or_below};
use crate::record::RecordType;
use crate::record::rrset::RdataIter;

/// Makes the warning of a host's name.
type HostFault = fn(Name) -> WarningKind;

/// Checks the hosts that the records of a group name, by its index in the file's order; their type
/// needs addresses of them.
pub(super) fn check(groups: &Groups, owners: &Owners<'_>, index: usize, found: &mut Found) {
    let group = &groups.list()[index];
    debug_assert!(group.rtype.needs_host_address());
    let Some(host_at) = group.rtype.host_at() else { return };
    let apex = owners.apex();
    let mut target = arrayvec::ArrayVec::<u8, NAME_OCTETS_MAX>::new();
    for (record, octets) in RdataIter::over(groups.rdata(group)).enumerate() {
        let name = octets.get(host_at..).unwrap_or_default();
        let end_at = name.len().checked_sub(apex.len());
        // The root stands for no host at all (RFC 7505, RFC 2782).
        let may_be_ours =
            name.len() > 1 && end_at.is_some_and(|at| name[at..].eq_ignore_ascii_case(apex));
        if !may_be_ours {
            continue; // most delegations are to hosts elsewhere
        }
        target.clear();
        // What the reader made is no longer than a name.
        let _ = target.try_extend_from_slice(name);
        target.make_ascii_lowercase();
        if !is_at_or_below(&target, apex) {
            continue;
        }
        if let Some(fault) = fault(groups.owner(group), group, owners, &target) {
            let name = || Name::from_wire(&target).unwrap_or_else(|_| Name::root());
            found.add(index, record, || fault(name()));
        }
    }
}

/// Says what is wrong with a host of this zone that `group` names.
fn fault(owner: &[u8], group: &Group, owners: &Owners<'_>, target: &[u8]) -> Option<HostFault> {
    let sought = owners.sought(target);
    let first = owners.first_at(&sought);
    let places = || owners.places_at(first, &sought);
    let is_cut = group.rtype == RecordType::NS && owner != owners.apex();
    if is_cut && is_at_or_below(target, owner) {
        return (!has(places(), RecordType::is_address))
            .then_some(|target| WarningKind::NoGlue { target });
    }
    if let Some(cover) = owners.cover_at(first, &sought) {
        // Addresses below another cut belong to another zone.
        let is_dname = cover.rtype() == RecordType::DNAME;
        return is_dname.then_some(|target| WarningKind::TargetIsAlias { target });
    }
    let places = places();
    if places.is_empty() {
        return wildcard_fault(owners, first, &sought);
    }
    let is_cut = target != owners.apex() && has(places, |rtype| rtype == RecordType::NS);
    if is_cut { None } else { fault_of(places) }
}

/// Says what is wrong with a host that has no records of its own, and whose first follower in
/// canonical order is `first`.
fn wildcard_fault(owners: &Owners<'_>, first: usize, sought: &Sought<'_>) -> Option<HostFault> {
    if owners.exists_at(first, sought) {
        return fault_of(&[]); // an empty non-terminal
    }
    // The closest encloser's wildcard is the source of synthesis, and no other
    // (RFC 4592 section 3.3.1).
    let exists = |name: &&[u8]| {
        let sought = owners.sought(name);
        owners.exists_at(owners.first_at(&sought), &sought)
    };
    let encloser = ancestors(sought.name(), owners.apex()).find(exists)?;
    let mut wildcard = arrayvec::ArrayVec::<u8, { NAME_OCTETS_MAX + 2 }>::new();
    let _ = wildcard.try_extend_from_slice(b"\x01*");
    let _ = wildcard.try_extend_from_slice(encloser);
    let sought = owners.sought(&wildcard);
    fault_of(owners.places_at(owners.first_at(&sought), &sought))
}

/// Says what is wrong with a host that has these records.
fn fault_of(places: &[Place]) -> Option<HostFault> {
    if has(places, |rtype| rtype == RecordType::CNAME) {
        return Some(|target| WarningKind::TargetIsAlias { target });
    }
    (!has(places, RecordType::is_address)).then_some(|target| WarningKind::NoAddress { target })
}

/// Whether an owner has a type that is wanted.
fn has(places: &[Place], is_wanted: impl Fn(RecordType) -> bool) -> bool {
    places.iter().any(|place| is_wanted(place.rtype()))
}

/// Iterates over the ancestors of a name of the zone, the apex last.
fn ancestors<'n>(name: &'n [u8], apex: &[u8]) -> impl Iterator<Item = &'n [u8]> + use<'n> {
    let apex_len = apex.len();
    debug_assert!(is_at_or_below(name, apex));
    let parent =
        move |name: &&'n [u8]| (name.len() > apex_len).then(|| &name[usize::from(name[0]) + 1..]);
    std::iter::successors(parent(&name), parent)
}
