//! Rules that a zone may break and still be served: zone cuts, DNAMEs, hosts without addresses.
//!
//! Looked at is the file as it was written: who breaks a rule by accident wants to know the line.
//! In canonical order all that a cut or a DNAME hides follows it, so one walk finds it.
//!
//! **Invariant:** a record costs no allocation, and a look-up only if it names a host of the zone.
//! **Not here:** rules that make a zone ambiguous: these are errors (`master::rules`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::groups::{Group, Groups, Place};
use super::order::sort_key;
use super::warning::WarningKind;
use crate::limits::{MASTER_WARNINGS_MAX, NAME_OCTETS_MAX};
use crate::name::{Name, compare_canonical, is_at_or_below};
use crate::record::rrset::RdataIter;
use crate::record::{RecordType, rdata};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first ones by the index of their group and that of the record in it: as they stand in
    /// the file. At most [`MASTER_WARNINGS_MAX`].
    pub(super) kept: BTreeMap<(usize, usize), WarningKind>,
    /// How many there were besides.
    pub(super) more: u64,
}

/// Looks at groups that are sorted and joined.
pub(super) fn run(groups: &Groups, apex: &Name) -> Found {
    let mut lint = Lint {
        groups,
        apex: apex.as_wire(),
        covers: Vec::new(),
        hosts: Vec::new(),
        found: Found::default(),
    };
    lint.walk();
    for place in std::mem::take(&mut lint.hosts) {
        lint.check_hosts(place);
    }
    lint.found
}

/// The records of a zone by their owners.
#[derive(Debug)]
struct Lint<'a> {
    /// All groups.
    groups: &'a Groups,
    /// The apex in wire form.
    apex: &'a [u8],
    /// The NS and DNAME groups that hide what is below them and are not hidden, in canonical order.
    covers: Vec<&'a Place>,
    /// The groups that name hosts and are not hidden.
    hosts: Vec<&'a Place>,
    /// What was found.
    found: Found,
}

impl<'a> Lint<'a> {
    /// Finds what hides, what is hidden, and what names hosts.
    fn walk(&mut self) {
        let groups = self.groups;
        // What hides the names at hand, and its own name.
        let mut cover: Option<&Place> = None;
        let owners = groups.order().chunk_by(|a, b| groups.is_same_owner(a, b));
        for (nth, places) in owners.enumerate() {
            // The SOA has put it there.
            let is_apex = nth == 0;
            if let Some(place) = cover.filter(|place| self.is_below(&places[0], place)) {
                self.handle_below(places, place);
                continue;
            }
            let is_cover = |rtype| (rtype == NS && !is_apex) || rtype == RecordType::DNAME;
            // The cut comes before the DNAME, as it does in an answer.
            cover = places.iter().find(|place| is_cover(place.rtype()));
            self.covers.extend(cover);
            let ns = places.iter().find(|place| place.rtype() == NS);
            if is_apex && ns.is_none() {
                let soa = places.iter().find(|place| place.rtype() == RecordType::SOA);
                self.add(soa.map_or(0, Place::index), 0, || WarningKind::NoNs);
            }
            match ns.filter(|_| !is_apex) {
                Some(ns) => self.handle_cut(places, ns),
                None => self.add_hosts(places),
            }
        }
    }

    /// Whether a group's owner is below that of another, from which it differs.
    fn is_below(&self, place: &Place, other: &Place) -> bool {
        is_at_or_below(self.owner(place), self.owner(other))
    }

    /// Handles an owner below a cut or a DNAME.
    fn handle_below(&mut self, places: &[Place], cover: &Place) {
        let groups = self.groups;
        let (hider, line) = (groups.at(cover), groups.at(cover).spot.line);
        for place in places {
            if cover.rtype() == RecordType::DNAME {
                let kind = || WarningKind::BelowDname { dname: groups.name(hider), line };
                self.add(place.index(), 0, kind);
            } else if !is_address(place.rtype()) {
                // Addresses may be glue, of this cut or of another.
                let kind = || WarningKind::Occluded { cut: groups.name(hider), line };
                self.add(place.index(), 0, kind);
            }
        }
    }

    /// Handles an owner that has NS records and is not the apex.
    fn handle_cut(&mut self, places: &'a [Place], ns: &Place) {
        let groups = self.groups;
        let line = groups.at(ns).spot.line;
        for place in places {
            let rtype = place.rtype();
            if rtype == RecordType::DNAME {
                self.add(place.index(), 0, || WarningKind::DnameAtCut { line });
            } else if !is_address(rtype) && !may_stand_at_cut(rtype) {
                let cut = || groups.name(groups.at(ns));
                self.add(place.index(), 0, || WarningKind::Occluded { cut: cut(), line });
            } else if rtype == NS {
                self.hosts.push(place);
            }
        }
    }

    /// Takes down the groups of an owner that name hosts.
    fn add_hosts(&mut self, places: &'a [Place]) {
        let names_host = |rtype: RecordType| matches!(rtype, NS | RecordType::MX | RecordType::SRV);
        self.hosts.extend(places.iter().filter(|place| names_host(place.rtype())));
    }

    /// Checks the hosts that NS, MX or SRV records name.
    fn check_hosts(&mut self, place: &Place) {
        let group = self.groups.at(place);
        let mut target = arrayvec::ArrayVec::<u8, NAME_OCTETS_MAX>::new();
        for (record, octets) in RdataIter::over(self.groups.rdata(group)).enumerate() {
            let Some((at, len)) = rdata::names(group.rtype, octets).next() else { continue };
            target.clear();
            // What the reader made is no longer than a name.
            let _ = target.try_extend_from_slice(&octets[at..at + len]);
            target.make_ascii_lowercase();
            // The root stands for no host at all (RFC 7505, RFC 2782).
            let is_ours = target.len() > 1 && is_at_or_below(&target, self.apex);
            let Some(fault) = is_ours.then(|| self.host_fault(group, &target)).flatten() else {
                continue;
            };
            let name = || Name::from_wire(&target).unwrap_or_else(|_| Name::root());
            self.add(place.index(), record, || fault(name()));
        }
    }

    /// Says what is wrong with a host of this zone that `group` names.
    fn host_fault(&self, group: &Group, target: &[u8]) -> Option<fn(Name) -> WarningKind> {
        let owner = self.groups.owner(group);
        if group.rtype == NS && owner != self.apex && is_at_or_below(target, owner) {
            let has_address = has(self.places_of(target), is_address);
            return (!has_address).then_some(|target| WarningKind::NoGlue { target });
        }
        if let Some(cover) = self.cover(target) {
            // Addresses below another cut belong to another zone.
            let is_dname = cover.rtype() == RecordType::DNAME;
            return is_dname.then_some(|target| WarningKind::TargetIsAlias { target });
        }
        let places = self.places_of(target);
        if places.is_empty() {
            return self.wildcard_fault(target);
        }
        let is_cut = target != self.apex && has(places, |rtype| rtype == NS);
        if is_cut { None } else { fault_of(places) }
    }

    /// Says what is wrong with a host that has no records of its own.
    fn wildcard_fault(&self, target: &[u8]) -> Option<fn(Name) -> WarningKind> {
        // The closest encloser's wildcard is the source of synthesis, and no other
        // (RFC 4592 section 3.3.1).
        let exists = |name: &[u8]| {
            let next = self.groups.order().get(self.first_at(name));
            next.is_some_and(|place| is_at_or_below(self.owner(place), name))
        };
        if exists(target) {
            return fault_of(&[]); // an empty non-terminal
        }
        let encloser = ancestors(target, self.apex).find(|name| exists(name))?;
        let mut wildcard = arrayvec::ArrayVec::<u8, { NAME_OCTETS_MAX + 2 }>::new();
        let _ = wildcard.try_extend_from_slice(b"\x01*");
        let _ = wildcard.try_extend_from_slice(encloser);
        fault_of(self.places_of(&wildcard))
    }

    /// Returns what hides a name: the NS or DNAME records of the ancestor next to the apex.
    fn cover(&self, name: &[u8]) -> Option<&'a Place> {
        let key = self.key(name);
        let behind = self.covers.partition_point(|place| self.compare(place, key, name).is_lt());
        // Of two that are not hidden none is below the other, so no earlier one is an ancestor.
        let before = self.covers[..behind].last();
        before.copied().filter(|place| is_at_or_below(name, self.owner(place)))
    }

    /// Returns the groups of a name.
    fn places_of(&self, name: &[u8]) -> &'a [Place] {
        let places = &self.groups.order()[self.first_at(name)..];
        let count = places.iter().take_while(|place| self.owner(place) == name).count();
        &places[..count]
    }

    /// Returns the index in canonical order of the first group that is not before a name.
    fn first_at(&self, name: &[u8]) -> usize {
        let key = self.key(name);
        let order = self.groups.order();
        order.partition_point(|place| self.compare(place, key, name).is_lt())
    }

    /// Compares a group's owner with a name that has this key.
    fn compare(&self, place: &Place, key: [u64; 2], name: &[u8]) -> Ordering {
        place.key.cmp(&key).then_with(|| compare_canonical(self.owner(place), name))
    }

    /// Returns the key of a name of the zone.
    fn key(&self, name: &[u8]) -> [u64; 2] {
        debug_assert!(is_at_or_below(name, self.apex));
        sort_key(&name[..name.len() - self.apex.len()])
    }

    /// Returns a group's owner name in wire form.
    fn owner(&self, place: &Place) -> &'a [u8] {
        self.groups.owner(self.groups.at(place))
    }

    /// Counts a finding, and keeps it while it is among the first of the file.
    fn add(&mut self, group: usize, record: usize, kind: impl FnOnce() -> WarningKind) {
        let Found { kept, more } = &mut self.found;
        let at = (group, record);
        let is_full = kept.len() >= MASTER_WARNINGS_MAX;
        if !is_full || kept.last_key_value().is_some_and(|(last, _)| at < *last) {
            kept.insert(at, kind());
        }
        if is_full {
            *more += 1;
            if kept.len() > MASTER_WARNINGS_MAX {
                kept.pop_last();
            }
        }
        debug_assert!(kept.len() <= MASTER_WARNINGS_MAX);
    }
}

/// Says what is wrong with a host that has these records.
fn fault_of(places: &[Place]) -> Option<fn(Name) -> WarningKind> {
    if has(places, |rtype| rtype == RecordType::CNAME) {
        return Some(|target| WarningKind::TargetIsAlias { target });
    }
    (!has(places, is_address)).then_some(|target| WarningKind::NoAddress { target })
}

/// Whether an owner has a type that is wanted.
fn has(places: &[Place], is_wanted: impl Fn(RecordType) -> bool) -> bool {
    places.iter().any(|place| is_wanted(place.rtype()))
}

/// Whether a type's records are addresses.
fn is_address(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::A | RecordType::AAAA)
}

/// Iterates over the ancestors of a name of the zone, the apex last.
fn ancestors<'n>(name: &'n [u8], apex: &[u8]) -> impl Iterator<Item = &'n [u8]> + use<'n> {
    let apex_len = apex.len();
    debug_assert!(is_at_or_below(name, apex));
    let parent =
        move |name: &&'n [u8]| (name.len() > apex_len).then(|| &name[usize::from(name[0]) + 1..]);
    std::iter::successors(parent(&name), parent)
}

/// Whether records of a type at a zone cut are the parent's (RFC 4034 section 5, RFC 4035
/// section 2), or hide nothing.
fn may_stand_at_cut(rtype: RecordType) -> bool {
    matches!(rtype, NS | RecordType::DS | RecordType::NSEC | RecordType::RRSIG)
}

/// The type of zone cuts.
const NS: RecordType = RecordType::NS;
