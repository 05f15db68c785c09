//! The answer algorithm: from a question to sections of records.
//!
//! RFC 1034 section 4.3.2 with RFC 2181, 2308, 4035 section 3.1, 4592, 5155 section 7.2, 6604, 6672
//! and 8482. A walk starts at the question's name; each CNAME or DNAME gives it another name, until
//! one is answered, denied, referred, or not ours.
//!
//! **Invariant:** ends after [`ALIAS_CHAIN_MAX`] aliases; never allocates, never fails: what does
//! not fit sets TC.
//! **Not here:** header and EDNS (`responder`), the layout of records (`wire::reply`).

mod dnssec;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod referral;

use arrayvec::ArrayVec;

use crate::catalog::Catalog;
use crate::limits::{ALIAS_CHAIN_MAX, NAME_OCTETS_MAX};
use crate::record::RecordType;
use crate::responder::{FLAG_AA, FLAG_TC, rcode};
use crate::wire::query::Question;
use crate::wire::reply::{Full, Owner, Reply, Section};
use crate::zone::node::{EntryView, NodeView};
use crate::zone::path::NamePath;
use crate::zone::prepare::{ExpandedName, HEADER_LEN, RECORD_HEAD_LEN, expand_name, records};
use crate::zone::{Found, Zone};

/// What goes into the header of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The rcode.
    pub rcode: u16,
    /// The AA and TC bits.
    pub flags: u16,
}

/// A question's name in the zone that answers for it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'c> {
    /// The zone.
    zone: &'c Zone,
    /// What it knows of the name.
    found: Found<'c>,
}

/// Finds the zone and node of a question of class IN; `None` if no zone is ours.
#[inline]
pub fn locate<'c>(catalog: &'c Catalog, path: &NamePath, qtype: RecordType) -> Option<Place<'c>> {
    let zone = zone_for(catalog, path, qtype)?;
    Some(Place { zone, found: zone.find(path) })
}

impl<'c> Place<'c> {
    /// Returns the RRset that is all of the answer, where it is that simple.
    #[inline]
    pub fn whole_answer(&self, qtype: RecordType, is_dnssec_ok: bool) -> Option<EntryView<'c>> {
        match &self.found {
            Found::Node(node) => {
                node.rrset(qtype).filter(|entry| !is_dnssec_ok || entry.sigs.is_empty())
            }
            _ => None,
        }
    }
}

/// Answers a question of class IN.
pub fn answer(
    catalog: &Catalog,
    place: Place<'_>,
    question: &Question<'_>,
    path: &NamePath,
    is_dnssec_ok: bool,
    message: &mut Reply<'_>,
) -> Outcome {
    let (mut alias, mut other) = (NamePath::new(), NamePath::new());
    let (dnames, proofs) = (Nodes::default(), Nodes::default());
    let (other, flags) = (&mut other, FLAG_AA);
    let mut walk = Walk { question, path, is_dnssec_ok, other, message, flags, dnames, proofs };
    let (rcode, flags) = match walk.run(catalog, place, &mut alias) {
        Ok(rcode) => (rcode, walk.flags),
        Err(Truncated(rcode)) => (rcode, walk.flags | FLAG_TC),
    };
    Outcome { rcode, flags }
}

/// Returns the zone that answers for a name: the deepest one, but for the DS records of an apex
/// the one above it, unless this delegates an ancestor and so is not the parent (RFC 4035 section
/// 3.1.4.1).
#[inline]
fn zone_for<'c>(catalog: &'c Catalog, path: &NamePath, qtype: RecordType) -> Option<&'c Zone> {
    let zone = catalog.find(path)?;
    if qtype == RecordType::DS && zone.apex_depth() == path.depth() && path.depth() > 0 {
        let above = catalog.find_up_to(path, path.depth() - 1);
        return Some(above.filter(|above| is_parent(above, path)).unwrap_or(zone));
    }
    Some(zone)
}

/// Whether a zone that is above a name delegates no ancestor of it.
fn is_parent(zone: &Zone, path: &NamePath) -> bool {
    !matches!(zone.find(path), Found::Cut(_, depth) if depth < path.depth())
}

/// Something that the answer needs did not fit; the rcode that it has all the same.
#[derive(Clone, Copy, Debug)]
struct Truncated(u16);

impl From<Full> for Truncated {
    fn from(_: Full) -> Self {
        Self(rcode::NOERROR)
    }
}

/// An answer under construction.
struct Walk<'w, 'r> {
    /// The question.
    question: &'w Question<'w>,
    /// Its name.
    path: &'w NamePath,
    /// Whether DNSSEC records are wanted.
    is_dnssec_ok: bool,
    /// For names that are looked up beside.
    other: &'w mut NamePath,
    /// The reply.
    message: &'w mut Reply<'r>,
    /// The AA bit, until a referral takes it away.
    flags: u16,
    /// Nodes whose DNAME is in the answer section.
    dnames: Nodes,
    /// Nodes whose NSEC or NSEC3 record is in the authority section.
    proofs: Nodes,
}

/// Nodes whose RRset is in a section: a chain may come by again, and no record is there twice
/// (RFC 2181 section 5).
#[derive(Debug, Default)]
struct Nodes(ArrayVec<usize, NODES_MAX>);

impl Nodes {
    /// Whether a node, known by its address, is among them.
    fn contains(&self, node: &NodeView<'_>) -> bool {
        self.0.contains(&node.prefix().as_ptr().addr())
    }

    /// Adds a node; says whether it is new.
    fn add(&mut self, node: &NodeView<'_>) -> bool {
        let is_new = !self.contains(node);
        if is_new {
            let is_pushed = self.0.try_push(node.prefix().as_ptr().addr()).is_ok();
            debug_assert!(is_pushed);
        }
        is_new
    }
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

impl Walk<'_, '_> {
    /// Walks from the question's name on; returns the rcode.
    fn run(
        &mut self,
        catalog: &Catalog,
        place: Place<'_>,
        alias: &mut NamePath,
    ) -> Result<u16, Truncated> {
        let mut target = ExpandedName::new();
        let here = Here { path: self.path, at: HEADER_LEN as u16, is_alias: false };
        let mut step = self.step(place, here, &mut target)?;
        let mut seen = ArrayVec::<u64, ALIAS_CHAIN_MAX>::new();
        let _ = seen.try_push(self.path.hash());
        loop {
            let at = match step {
                Step::Done(rcode) => return Ok(rcode),
                Step::Alias(at) => at,
            };
            alias.set_any_case(&target, catalog.seed());
            // A loop, or a chain that is too long, is answered as far as it was followed.
            if seen.contains(&alias.hash()) || seen.try_push(alias.hash()).is_err() {
                return Ok(rcode::NOERROR);
            }
            let Some(place) = locate(catalog, alias, self.question.qtype) else {
                return Ok(rcode::NOERROR);
            };
            self.message.learn_name(at);
            let at = self.message.resolve_pointer(at);
            step = self.step(place, Here { path: alias, at, is_alias: true }, &mut target)?;
        }
    }

    /// Answers for one name as far as its zone can.
    fn step(
        &mut self,
        place: Place<'_>,
        here: Here<'_>,
        target: &mut ExpandedName,
    ) -> Result<Step, Truncated> {
        let zone = place.zone;
        match place.found {
            Found::Node(node) => self.answer_node(zone, here, &node, None, target),
            Found::Wildcard(node, encloser) => {
                self.answer_node(zone, here, &node, Some(encloser), target)
            }
            Found::Dname(node, depth) => self.synthesize(here, &node, depth, target),
            Found::Cut(node, depth) => self.refer_or_answer_ds(zone, here, &node, depth),
            Found::Missing(encloser) => {
                self.deny(zone, here, encloser).map_err(|_| Truncated(rcode::NXDOMAIN))?;
                Ok(Step::Done(rcode::NXDOMAIN))
            }
        }
    }

    /// Answers from a node: the name's own, or the source of synthesis below an encloser.
    fn answer_node(
        &mut self,
        zone: &Zone,
        here: Here<'_>,
        node: &NodeView<'_>,
        wildcard: Option<usize>,
        target: &mut ExpandedName,
    ) -> Result<Step, Truncated> {
        let mut prepared = ExpandedName::new();
        let owner = match wildcard {
            None => exact_owner(here),
            Some(encloser) => {
                let _ = prepared.try_extend_from_slice(b"\x01*");
                let _ = prepared.try_extend_from_slice(here.path.suffix_at(encloser));
                synthesized_owner(here, &prepared)
            }
        };
        // A chain may end at a DNAME that has redirected it.
        let has_dname = wildcard.is_none() && self.dnames.contains(node);
        let is_there = |entry: &EntryView<'_>| has_dname && entry.rtype == RecordType::DNAME;
        let qtype = self.question.qtype;
        let found = match qtype {
            RecordType::ANY => node.entries().find(|entry| entry.records > 0),
            _ => node.rrset(qtype),
        };
        if let Some(entry) = found {
            if !is_there(&entry) {
                self.message.push(Section::Answer, &entry, owner, self.is_dnssec_ok)?;
            }
        } else if qtype == RecordType::RRSIG && node.entries().any(|entry| !entry.sigs.is_empty()) {
            let is_sig_there = |entry: &EntryView<'_>| self.is_dnssec_ok && is_there(entry);
            for entry in node.entries().filter(|entry| !is_sig_there(entry)) {
                let sigs = EntryView { records: 0, body: &[], pointers: &[], ..entry };
                self.message.push(Section::Answer, &sigs, owner, true)?;
            }
        } else if let Some(entry) = node.rrset(RecordType::CNAME) {
            let start = self.message.push(Section::Answer, &entry, owner, self.is_dnssec_ok)?;
            let from = match wildcard {
                None => here.path.wire(),
                Some(_) => &prepared,
            };
            expand_name(entry.body, RECORD_HEAD_LEN, from, target);
            self.prove_synthesis(zone, here, wildcard)?;
            return Ok(Step::Alias((start + RECORD_HEAD_LEN) as u16));
        } else {
            self.push_soa(zone)?;
            match wildcard {
                None => self.prove_nodata(zone, here.path, node)?,
                Some(encloser) => self.prove_wildcard_nodata(zone, here.path, node, encloser)?,
            }
            return Ok(Step::Done(rcode::NOERROR));
        }
        self.prove_synthesis(zone, here, wildcard)?;
        Ok(Step::Done(rcode::NOERROR))
    }

    /// Appends a DNAME and the CNAME that follows from it (RFC 6672 section 3.1).
    fn synthesize(
        &mut self,
        here: Here<'_>,
        node: &NodeView<'_>,
        depth: usize,
        target: &mut ExpandedName,
    ) -> Result<Step, Truncated> {
        let Some(entry) = node.rrset(RecordType::DNAME) else {
            return Ok(Step::Done(rcode::SERVFAIL));
        };
        if self.dnames.add(node) {
            let owner = self.suffix_owner(here.path.suffix_at(depth));
            self.message.push(Section::Answer, &entry, owner, self.is_dnssec_ok)?;
        }
        let Some(record) = records(entry.body).next() else {
            return Ok(Step::Done(rcode::SERVFAIL));
        };
        // The labels below the DNAME keep the case in which they were asked.
        let below = here.path.start_at(depth);
        let as_asked = if here.is_alias { here.path.wire() } else { self.question.qname };
        if below + record.rdata.len() > NAME_OCTETS_MAX {
            return Ok(Step::Done(rcode::YXDOMAIN));
        }
        target.clear();
        let _ = target.try_extend_from_slice(&as_asked[..below]);
        let _ = target.try_extend_from_slice(record.rdata);
        let (cname, ttl_s) = (RecordType::CNAME, record.ttl_s);
        let start =
            self.message.push_name_record(Section::Answer, here.at, cname, ttl_s, target)?;
        if matches!(self.question.qtype, RecordType::CNAME | RecordType::ANY) {
            return Ok(Step::Done(rcode::NOERROR));
        }
        Ok(Step::Alias((start + RECORD_HEAD_LEN) as u16))
    }

    /// Denies a name: the zone's SOA, and with DO the proof that neither it nor a wildcard exists.
    fn deny(&mut self, zone: &Zone, here: Here<'_>, encloser: usize) -> Result<(), Full> {
        self.push_soa(zone)?;
        self.prove_missing(zone, here.path, encloser)
    }

    /// Appends the zone's SOA with the TTL of a negative answer (RFC 2308 section 3).
    fn push_soa(&mut self, zone: &Zone) -> Result<(), Full> {
        let soa = zone.negative_soa().entry();
        let owner = self.suffix_owner(zone.apex().as_wire());
        self.message.push(Section::Authority, &soa, owner, self.is_dnssec_ok)?;
        Ok(())
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

/// Nodes of one answer: a DNAME or a proof of synthesis for each alias, and four for the last name.
const NODES_MAX: usize = ALIAS_CHAIN_MAX + 4;

#[cfg(test)]
mod tests;
