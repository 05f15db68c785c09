//! The answer algorithm: from a question to sections of records.
//!
//! RFC 1034 section 4.3.2 with RFC 2181, 2308, 4035 section 3.1, 4592, 5155 section 7.2, 6604, 6672
//! and 8482. A walk starts at the question's name; each CNAME or DNAME gives it another name, until
//! one is answered, denied, referred, or not ours.
//!
//! **Invariant:** ends after [`ALIAS_CHAIN_MAX`] aliases; never allocates, never fails: what does
//! not fit sets TC.
//! **Not here:** header and EDNS (`responder`), the layout of records (`wire::reply`).

mod additional;
mod dnssec;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod referral;

use dnssec::{DenialProof, PROOFS_MAX};

use std::num::NonZeroU64;

use arrayvec::ArrayVec;

use crate::catalog::{AtApex, Catalog, HoldReason};
use crate::limits::{ADDITIONAL_NAMES_MAX, ALIAS_CHAIN_MAX, NAME_OCTETS_MAX};
use crate::message::Full;
use crate::message::header::{FLAG_AA, FLAG_TC};
use crate::message::question::Question;
use crate::message::{ExpandedName, HEADER_LEN, RECORD_HEAD_LEN, Section, rcode};
use crate::record::RecordType;
use crate::wire::kind::ReplyKind;
use crate::wire::reply::{Owner, Reply};
use crate::zone::node::{EntryView, NodeView};
use crate::zone::path::NamePath;
use crate::zone::prepare::{expand_name, records};
use crate::zone::{Found, Zone};

/// What goes into the header of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnswerOutcome {
    /// The rcode.
    pub rcode: u16,
    /// The AA and TC bits.
    pub flags: u16,
    /// What kind of answer it is.
    pub kind: ReplyKind,
}

/// A question's name in the zone that answers for it.
#[derive(Clone, Copy, Debug)]
pub struct Located<'c> {
    /// The zone.
    zone: &'c Zone,
    /// What it knows of the name.
    found: Found<'c>,
}

/// What an answer is to hold beside what was asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wants {
    /// DNSSEC records (RFC 3225).
    pub is_dnssec_ok: bool,
    /// The zone's NS records and the addresses of named hosts (RFC 1034 section 4.3.2).
    pub is_full: bool,
}

/// Finds the zone and node of a question of class IN; `None` if no zone of ours has data for it.
#[inline(always)] // into the answer of the question's own name
pub(crate) fn locate<'c>(
    catalog: &'c Catalog,
    path: &NamePath,
    qtype: RecordType,
) -> Option<Located<'c>> {
    let zone = zone_for(catalog, path, qtype)?;
    Some(Located { zone, found: zone.find(path) })
}

/// Finds the DS records of an apex that is held in the zone above it, where [`locate`] finds nothing: if that
/// zone delegates there. Else it would deny the apex, and with it all of its zone (RFC 8020).
#[cold]
#[inline(never)]
pub(crate) fn locate_ds_of_hold<'c>(
    catalog: &'c Catalog,
    path: &NamePath,
    qtype: RecordType,
) -> Option<Located<'c>> {
    let AtApex::Held(hold) = catalog.find(path)? else { return None };
    if qtype != RecordType::DS || hold.apex.label_count() != path.depth() {
        return None;
    }
    let zone = catalog.find_up_to(path, path.depth().checked_sub(1)?)?.zone()?;
    let found = zone.find(path);
    let is_cut = matches!(found, Found::Cut(_, depth) if depth == path.depth());
    is_cut.then_some(Located { zone, found })
}

/// Does what [`locate`] does for the name that an alias leads to; from a name in a held apex the asker
/// goes on by itself, as from one that is not ours.
#[inline(never)]
fn locate_alias<'c>(
    catalog: &'c Catalog,
    path: &NamePath,
    qtype: RecordType,
) -> Option<Located<'c>> {
    locate(catalog, path, qtype).or_else(|| locate_ds_of_hold(catalog, path, qtype))
}

/// Returns why [`locate`] finds nothing, if the name is ours all the same.
#[cold]
pub(crate) fn hold_of(catalog: &Catalog, path: &NamePath, qtype: RecordType) -> Option<HoldReason> {
    let above = || catalog.find_up_to(path, path.depth().checked_sub(1)?);
    match catalog.find(path)? {
        AtApex::Held(hold) => Some(hold.reason),
        AtApex::Zone(_) if qtype != RecordType::DS => None,
        AtApex::Zone(_) => match above()? {
            AtApex::Held(hold) => Some(hold.reason),
            AtApex::Zone(_) => None,
        },
    }
}

impl<'c> Located<'c> {
    /// Returns the zone.
    pub fn zone(&self) -> &'c Zone {
        self.zone
    }

    /// Whether the name is the apex of the zone.
    pub(crate) fn is_apex(&self, path: &NamePath) -> bool {
        path.depth() == self.zone.apex_depth()
    }

    /// Returns the keyed hash of the zone's apex, by which limits and counters tell zones apart.
    #[inline]
    pub(crate) fn zone_hash(&self, path: &NamePath) -> Option<NonZeroU64> {
        // One in 2^64 zones has no hash of its own.
        NonZeroU64::new(path.hash_at(self.zone.apex_depth()))
    }

    /// Returns the RRset that is all of the answer, where it is that simple.
    #[inline]
    pub(crate) fn whole_answer(
        &self,
        qtype: RecordType,
        is_dnssec_ok: bool,
    ) -> Option<EntryView<'c>> {
        match &self.found {
            // NSEC3 records are no data of their owner, see `answer_node`.
            Found::Node(node) if qtype != RecordType::NSEC3 => {
                node.rrset(qtype).filter(|entry| !is_dnssec_ok || entry.sigs.is_empty())
            }
            _ => None,
        }
    }
}

/// Answers a question of class IN.
pub fn answer(
    catalog: &Catalog,
    place: Located<'_>,
    question: &Question<'_>,
    path: &NamePath,
    wants: Wants,
    message: &mut Reply<'_>,
) -> AnswerOutcome {
    let (mut alias, mut other) = (NamePath::new(), NamePath::new());
    let mut walk = Walk {
        question,
        path,
        is_dnssec_ok: wants.is_dnssec_ok,
        last: None,
        hosts: ArrayVec::new(),
        other: &mut other,
        message,
        flags: FLAG_AA,
        kind: ReplyKind::Answer,
        proofs: ArrayVec::new(),
        dnames: ArrayVec::new(),
    };
    let rcode = walk.run(catalog, place, &mut alias);
    walk.push_proofs();
    if wants.is_full {
        walk.push_additional(catalog);
    }
    AnswerOutcome { rcode, flags: walk.flags, kind: walk.kind }
}

/// Returns the zone that answers for a name: the deepest one, but for the DS records of an apex
/// the one above it (RFC 4035 section 3.1.4.1). No zone answers for what is held, see [`locate_ds_of_hold`].
#[inline(always)]
fn zone_for<'c>(catalog: &'c Catalog, path: &NamePath, qtype: RecordType) -> Option<&'c Zone> {
    let zone = catalog.find(path)?.zone()?;
    if qtype == RecordType::DS && zone.apex_depth() == path.depth() && path.depth() > 0 {
        return zone_above(catalog, path, zone);
    }
    Some(zone)
}

/// Returns the zone above an apex, the apex's own if there is none.
#[cold]
#[inline(never)]
fn zone_above<'c>(catalog: &'c Catalog, path: &NamePath, zone: &'c Zone) -> Option<&'c Zone> {
    match catalog.find_up_to(path, path.depth() - 1) {
        Some(above) => above.zone().map(|zone| &**zone),
        None => Some(zone),
    }
}

/// An answer under construction.
struct Walk<'w, 'r, 'c> {
    /// The question.
    question: &'w Question<'w>,
    /// Its name.
    path: &'w NamePath,
    /// Whether DNSSEC records are wanted.
    is_dnssec_ok: bool,
    /// The RRset that the answer ends with, its owner and its zone.
    last: Option<(&'c Zone, NodeView<'c>, EntryView<'c>)>,
    /// The hosts whose addresses stand in the additional section of a full answer, by their hash.
    hosts: ArrayVec<u64, ADDITIONAL_NAMES_MAX>,
    /// For names that are looked up beside.
    other: &'w mut NamePath,
    /// The reply.
    message: &'w mut Reply<'r>,
    /// The AA bit, until a referral takes it away; TC once something did not fit.
    flags: u16,
    /// What the walk has ended with.
    kind: ReplyKind,
    /// What the authority section will prove.
    proofs: ArrayVec<DenialProof<'c>, PROOFS_MAX>,
    /// The DNAMEs that are in the answer, by their owner's hash.
    dnames: ArrayVec<u64, ALIAS_CHAIN_MAX>,
}

/// The name that the walk is at.
#[derive(Clone, Copy)]
struct Here<'p> {
    /// The name.
    path: &'p NamePath,
    /// Where it stands in the message.
    at: u16,
    /// Whether aliases have led here.
    is_alias: bool,
}

/// Where a step has led.
enum Step {
    /// The answer ends with this rcode.
    Done(u16),
    /// An alias leads on; its target stands at this place of the message.
    Alias(u16),
}

impl<'c> Walk<'_, '_, 'c> {
    /// Walks from the question's name on; returns the rcode.
    fn run(&mut self, catalog: &'c Catalog, place: Located<'c>, alias: &mut NamePath) -> u16 {
        let mut target = ExpandedName::new();
        let here = Here { path: self.path, at: HEADER_LEN as u16, is_alias: false };
        let mut step = self.step(place, here, &mut target);
        let mut seen = ArrayVec::<u64, ALIAS_CHAIN_MAX>::new();
        let _ = seen.try_push(self.path.hash());
        loop {
            let at = match step {
                Step::Done(rcode) => return rcode,
                Step::Alias(at) => at,
            };
            alias.set_any_case(&target, catalog.seed());
            // A loop, or a chain that is too long, is answered as far as it was followed.
            if seen.contains(&alias.hash()) || seen.try_push(alias.hash()).is_err() {
                return rcode::NOERROR;
            }
            let Some(place) = locate_alias(catalog, alias, self.question.qtype) else {
                return rcode::NOERROR;
            };
            self.message.learn_name(at);
            let at = self.message.resolve_pointer(at);
            step = self.step(place, Here { path: alias, at, is_alias: true }, &mut target);
        }
    }

    /// Answers for one name as far as its zone can.
    fn step(&mut self, place: Located<'c>, here: Here<'_>, target: &mut ExpandedName) -> Step {
        let zone = place.zone;
        match place.found {
            Found::Node(node) => self.answer_node(zone, here, &node, None, target),
            Found::Wildcard(node, encloser) => {
                self.answer_node(zone, here, &node, Some(encloser), target)
            }
            Found::Dname(node, depth) => self.synthesize(here, &node, depth, target),
            Found::Cut(node, depth) => self.refer_or_answer_ds(zone, here, &node, depth),
            Found::Missing(encloser) => {
                self.kind = ReplyKind::NxDomain;
                self.push_soa(zone);
                self.prove_missing(zone, here.path, encloser);
                Step::Done(rcode::NXDOMAIN)
            }
        }
    }

    /// Answers from a node: the name's own, or the source of synthesis below an encloser.
    fn answer_node(
        &mut self,
        zone: &'c Zone,
        here: Here<'_>,
        node: &NodeView<'c>,
        wildcard: Option<usize>,
        target: &mut ExpandedName,
    ) -> Step {
        let mut prepared = ExpandedName::new();
        let owner = match wildcard {
            None => exact_owner(here),
            Some(encloser) => {
                let _ = prepared.try_extend_from_slice(b"\x01*");
                let _ = prepared.try_extend_from_slice(here.path.suffix_at(encloser));
                synthesized_owner(here, &prepared)
            }
        };
        let qtype = self.question.qtype;
        // A chain may end at the DNAME that has redirected it; its record stands there already.
        let has_dname = wildcard.is_none() && self.dnames.contains(&here.path.hash());
        let is_there = |entry: &EntryView<'_>| has_dname && entry.rtype == RecordType::DNAME;
        // The NSEC3 records of a hash that happens to be a name are no data of that name: its own
        // NSEC3 record says so (RFC 5155 sections 7.1 and 7.2.8).
        let is_data = |entry: &EntryView<'_>| entry.records > 0 && entry.rtype != RecordType::NSEC3;
        let found = match qtype {
            RecordType::ANY => node.entries().find(is_data),
            _ => node.rrset(qtype).filter(is_data),
        };
        if let Some(entry) = found {
            if !is_there(&entry) {
                self.push(Section::Answer, &entry, owner, self.is_dnssec_ok);
            }
            self.last = Some((zone, *node, entry));
        } else if qtype == RecordType::RRSIG && node.entries().any(|entry| !entry.sigs.is_empty()) {
            let with_sigs = self.is_dnssec_ok;
            for entry in node.entries().filter(|entry| !(with_sigs && is_there(entry))) {
                let sigs = EntryView { records: 0, body: &[], pointers: &[], ..entry };
                self.push(Section::Answer, &sigs, owner, true);
            }
        } else if let Some(entry) = node.rrset(RecordType::CNAME) {
            let start = self.push(Section::Answer, &entry, owner, self.is_dnssec_ok);
            let from = match wildcard {
                None => here.path.wire(),
                Some(_) => &prepared,
            };
            expand_name(entry.body, RECORD_HEAD_LEN, from, target);
            self.prove_synthesis(zone, here, wildcard);
            return Step::Alias((start + RECORD_HEAD_LEN) as u16);
        } else {
            self.kind = ReplyKind::NoData;
            self.push_soa(zone);
            match wildcard {
                None => self.prove_nodata(zone, here.path, node),
                Some(encloser) => self.prove_wildcard_nodata(zone, here.path, node, encloser),
            }
            return Step::Done(rcode::NOERROR);
        }
        self.prove_synthesis(zone, here, wildcard);
        Step::Done(rcode::NOERROR)
    }

    /// Appends a DNAME and the CNAME that follows from it (RFC 6672 section 3.1).
    fn synthesize(
        &mut self,
        here: Here<'_>,
        node: &NodeView<'c>,
        depth: usize,
        target: &mut ExpandedName,
    ) -> Step {
        let entry = node.rrset(RecordType::DNAME);
        let Some((entry, record)) =
            entry.and_then(|entry| Some((entry, records(entry.body).next()?)))
        else {
            self.kind = ReplyKind::Error;
            return Step::Done(rcode::SERVFAIL);
        };
        // A chain may pass one DNAME several times; the record stands in the answer once.
        let owner_hash = here.path.hash_at(depth);
        if !self.dnames.contains(&owner_hash) {
            let _ = self.dnames.try_push(owner_hash);
            let owner = self.suffix_owner(here.path.suffix_at(depth));
            // Its target is not compressed (RFC 6672 section 2.5), and nothing points into it either: to
            // whoever takes the type as unknown, RDATA is no place for names.
            self.push(Section::Answer, &entry, owner, self.is_dnssec_ok);
        }
        // The labels below the DNAME keep the case in which they were asked.
        let below = here.path.start_at(depth);
        let as_asked = if here.is_alias { here.path.wire() } else { self.question.qname };
        if below + record.rdata.len() > NAME_OCTETS_MAX {
            self.kind = ReplyKind::Error;
            return Step::Done(rcode::YXDOMAIN);
        }
        target.clear();
        let _ = target.try_extend_from_slice(&as_asked[..below]);
        let _ = target.try_extend_from_slice(record.rdata);
        let start = self.push_cname(here.at, record.ttl_s, target);
        if matches!(self.question.qtype, RecordType::CNAME | RecordType::ANY) {
            return Step::Done(rcode::NOERROR);
        }
        Step::Alias((start + RECORD_HEAD_LEN) as u16)
    }

    /// Appends the zone's SOA with the TTL of a negative answer (RFC 2308 section 3).
    #[inline(always)]
    fn push_soa(&mut self, zone: &Zone) {
        let soa = zone.negative_soa().entry();
        let owner = self.suffix_owner(zone.apex().as_wire());
        self.push(Section::Authority, &soa, owner, self.is_dnssec_ok);
    }

    /// Appends an RRset that the answer needs, and returns where it starts; sets TC if it does not
    /// fit, and then appends nothing more.
    fn push(
        &mut self,
        section: Section,
        entry: &EntryView<'_>,
        owner: Owner<'_>,
        with_sigs: bool,
    ) -> usize {
        if self.flags & FLAG_TC != 0 {
            return self.message.octets_len();
        }
        self.message.push(section, entry, owner, with_sigs).unwrap_or_else(|Full| {
            self.flags |= FLAG_TC;
            self.message.octets_len()
        })
    }

    /// Appends a CNAME record as [`Walk::push`] does.
    fn push_cname(&mut self, owner_at: u16, ttl_s: u32, target: &[u8]) -> usize {
        if self.flags & FLAG_TC != 0 {
            return self.message.octets_len();
        }
        let cname = RecordType::CNAME;
        let pushed = self.message.push_name_record(Section::Answer, owner_at, cname, ttl_s, target);
        pushed.unwrap_or_else(|Full| {
            self.flags |= FLAG_TC;
            self.message.octets_len()
        })
    }

    /// Returns the owner for a canonical name that the question's, or an alias's, ends in.
    fn suffix_owner<'n>(&self, wire: &'n [u8]) -> Owner<'n> {
        let question = self.path.wire();
        if crate::name::is_at_or_below(question, wire) {
            let shift = (question.len() - wire.len()) as u16;
            return Owner::Suffix { at: HEADER_LEN as u16 + shift, shift };
        }
        match self.message.find_owner(wire) {
            Some(at) => Owner::Elsewhere { at, name: wire },
            None => Owner::Written { prefix: &[], apex: wire, apex_at: None },
        }
    }
}

/// Returns the owner of what stands at the walk's name itself.
fn exact_owner(here: Here<'_>) -> Owner<'_> {
    if here.is_alias {
        return Owner::Elsewhere { at: here.at, name: here.path.wire() };
    }
    Owner::Suffix { at: here.at, shift: 0 }
}

/// Returns the owner of what a wildcard, the canonical name `prepared`, gives the walk's name.
fn synthesized_owner<'p>(here: Here<'_>, prepared: &'p [u8]) -> Owner<'p> {
    if here.is_alias {
        return Owner::Elsewhere { at: here.at, name: prepared };
    }
    Owner::Suffix { at: here.at, shift: (here.path.wire().len() - prepared.len()) as u16 }
}

#[cfg(test)]
mod tests;
