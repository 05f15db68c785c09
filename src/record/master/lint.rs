//! Rules that a zone may break and still be served: zone cuts, DNAMEs, hosts without addresses.
//!
//! Looked at is the file as it was written: who breaks a rule by accident wants to know the line.
//! In canonical order all that a cut or a DNAME hides follows it, so one walk finds it.
//!
//! **Invariant:** a record costs no allocation, and a look-up only if it names a host of the zone.
//! **Not here:** rules that make a zone ambiguous: these are errors (`master::rules`); what is wrong
//! with a host (`master::hosts`).

use super::groups::{Groups, Place};
use super::hosts;
use super::order;
use super::owners::Owners;
use super::warning::{Found, WarningKind};
use crate::name::{Name, is_at_or_below};
use crate::record::RecordType;
use crate::record::facts::AtCut;

/// Looks at groups that are sorted and joined.
pub(super) fn run(groups: &Groups, apex: &Name) -> Found {
    let (covers, hosts, found) = (Vec::new(), Vec::new(), Found::default());
    let mut lint = Lint { groups, covers, hosts, found };
    lint.walk();
    let Lint { covers, mut hosts, mut found, .. } = lint;
    if hosts.is_empty() {
        return found;
    }
    let owners = Owners::new(groups, apex.as_wire(), &covers);
    // The order does not matter; in the file's, what they say is read from front to back.
    hosts.sort_unstable();
    for index in hosts {
        hosts::check(groups, &owners, index, &mut found);
    }
    found
}

/// What a walk over the records of a zone, by their owners, finds.
#[derive(Debug)]
struct Lint<'a> {
    /// All groups.
    groups: &'a Groups,
    /// The NS and DNAME groups that hide what is below them and are not hidden, by their indices in
    /// canonical order.
    covers: Vec<usize>,
    /// The groups that name hosts and are not hidden, by their indices in the file's order.
    hosts: Vec<usize>,
    /// What was found.
    found: Found,
}

impl<'a> Lint<'a> {
    /// Finds what hides, what is hidden, and what names hosts.
    fn walk(&mut self) {
        let groups = self.groups;
        // What hides the names at hand, and its own name.
        let mut cover: Option<&Place> = None;
        let mut next = 0;
        for places in groups.order().chunk_by(|a, b| groups.is_same_owner(a, b)) {
            let first = next;
            next += places.len();
            // The SOA has put it there.
            let is_apex = first == 0;
            if let Some(place) = cover.filter(|place| self.is_below(&places[0], place)) {
                self.handle_below(places, place);
                continue;
            }
            let is_cover = |rtype| (rtype == NS && !is_apex) || rtype == RecordType::DNAME;
            // The cut comes before the DNAME, as it does in an answer.
            let nth = places.iter().position(|place| is_cover(place.rtype()));
            cover = nth.map(|nth| &places[nth]);
            self.covers.extend(nth.map(|nth| first + nth));
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
        order::is_at_or_below(place.key, other.key)
            .unwrap_or_else(|| is_at_or_below(self.owner(place), self.owner(other)))
    }

    /// Handles an owner below a cut or a DNAME.
    fn handle_below(&mut self, places: &[Place], cover: &Place) {
        let groups = self.groups;
        let (hider, line) = (groups.at(cover), groups.at(cover).spot.line);
        for place in places {
            if cover.rtype() == RecordType::DNAME {
                let kind = || WarningKind::BelowDname { dname: groups.name(hider), line };
                self.add(place.index(), 0, kind);
            } else if !place.rtype().is_address() {
                // Addresses may be glue, of this cut or of another.
                let kind = || WarningKind::Occluded { cut: groups.name(hider), line };
                self.add(place.index(), 0, kind);
            }
        }
    }

    /// Handles an owner that has NS records and is not the apex.
    fn handle_cut(&mut self, places: &[Place], ns: &Place) {
        let groups = self.groups;
        let line = groups.at(ns).spot.line;
        for place in places {
            let rtype = place.rtype();
            if rtype == RecordType::DNAME {
                self.add(place.index(), 0, || WarningKind::DnameAtCut { line });
            } else if rtype.at_cut() == AtCut::Occluded {
                let cut = || groups.name(groups.at(ns));
                self.add(place.index(), 0, || WarningKind::Occluded { cut: cut(), line });
            } else if rtype == NS {
                self.hosts.push(place.index());
            }
        }
    }

    /// Takes down the groups of an owner that name hosts.
    fn add_hosts(&mut self, places: &[Place]) {
        let hosts = places.iter().filter(|place| place.rtype().needs_host_address());
        self.hosts.extend(hosts.map(Place::index));
    }

    /// Returns a group's owner name in wire form.
    fn owner(&self, place: &Place) -> &'a [u8] {
        self.groups.owner(self.groups.at(place))
    }

    /// Counts a finding about a record.
    fn add(&mut self, group: usize, record: usize, kind: impl FnOnce() -> WarningKind) {
        self.found.add(group, record, kind);
    }
}

/// The type of zone cuts.
const NS: RecordType = RecordType::NS;
