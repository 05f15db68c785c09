//! The answer algorithm a second time: slow, obvious, over plain maps of RRsets.
//!
//! Written from the texts of RFC 1034 section 4.3.2, 2181, 2308, 4035 sections 3.1.3 and 3.1.4, 4592,
//! 5155 section 7.2, 6604, 6672, 8020, 8482 and 9471, and not from the fast code, so that the two
//! can be compared: a difference is a mistake in one of them. It gives sets of records, without compression,
//! truncation and EDNS.
//!
//! Where the texts leave a choice, this is ours:
//! * a name in a held apex is SERVFAIL, and a chain that leads there ends as at a name not ours;
//! * a chain goes on into another zone of the catalog, and ends after [`ALIAS_CHAIN_MAX`] aliases or
//!   at a name it has been at, with the rcode NOERROR and what was found so far;
//! * ANY is answered with the RRset of the lowest type, RRSIG last (RFC 8482 section 4.1);
//! * a type that stands beside a CNAME is answered itself; of several CNAME or DNAME records of an
//!   owner the first leads on;
//! * the DS records of an apex are asked of the nearest zone above, which refers to the parent if it is
//!   not the parent itself, as other servers do; RFC 4035 section 3.1.4.1 would have the child deny them;
//! * DS records without signatures are no part of a referral: the zone is not signed;
//! * NS and DNAME records of a source of synthesis are data like others (RFC 4592 sections 4.2, 4.4);
//! * the CNAME that follows from a DNAME answers a question for CNAME or ANY and is not followed;
//! * a referral has the addresses of all its name servers that the zone holds, occluded or not;
//! * no other answer has additional records.
//!
//! **Invariant:** a record is in a section at most once (RFC 2181 section 5).
//! **Not here:** meta types, classes and malformed queries (`responder`).

pub mod compare;
mod proof;
pub mod sample;
pub mod sign;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::limits::{ALIAS_CHAIN_MAX, NAME_OCTETS_MAX};
use crate::message::rcode;
use crate::name::Name;
use crate::record::{RecordType, Rrset, Soa};

/// All zones of a server.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// The zones by apex.
    zones: BTreeMap<Name, Sets>,
}

/// The RRsets of one zone by owner.
type Sets = BTreeMap<Name, Vec<Rrset>>;

/// What a reply must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Expected {
    /// The rcode.
    pub rcode: u16,
    /// Whether the AA bit is set.
    pub is_authoritative: bool,
    /// The answer section.
    pub answer: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section without OPT.
    pub additional: Vec<Record>,
}

/// One record.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Record {
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// The TTL in seconds.
    pub ttl_s: u32,
    /// The RDATA, names not compressed and in the case in which they were written.
    pub rdata: Vec<u8>,
}

/// What is asked, at one name of a chain.
#[derive(Clone, Debug)]
struct Ask {
    /// The name.
    qname: Name,
    /// Its wire form in the case in which it was asked; an alias's target is lower case.
    as_asked: Vec<u8>,
    /// The type.
    qtype: RecordType,
    /// Whether DNSSEC records are wanted.
    is_dnssec_ok: bool,
}

/// Where RFC 1034 section 4.3.2 step 3 ends for a name.
#[derive(Eq, PartialEq)]
enum Place {
    /// 3a: the name exists.
    Node,
    /// 3b: this cut delegates the name.
    Cut(Name),
    /// 3c with RFC 6672: this DNAME redirects the name.
    Dname(Name),
    /// 3c: the name matches this source of synthesis.
    Wildcard(Name),
    /// 3c: the name does not exist; its closest encloser.
    Missing(Name),
}

/// One zone.
#[derive(Clone, Copy)]
struct View<'o> {
    /// The apex.
    apex: &'o Name,
    /// The RRsets.
    sets: &'o Sets,
}

impl Oracle {
    /// Makes an oracle of zones; of two RRsets of one owner and type the later one counts.
    ///
    /// An apex with no RRset at all is held: ours, without a zone.
    pub fn new(zones: impl IntoIterator<Item = (Name, Vec<Rrset>)>) -> Self {
        let mut oracle = Self::default();
        for (apex, rrsets) in zones {
            let sets = oracle.zones.entry(apex).or_default();
            for rrset in rrsets {
                let at_owner = sets.entry(rrset.owner.clone()).or_default();
                at_owner.retain(|other| other.rtype != rrset.rtype);
                at_owner.push(rrset);
                at_owner.sort_by_key(|rrset| rrset.rtype);
            }
        }
        oracle
    }

    /// Answers a question of class IN; `qname` is wire form in any case.
    pub fn answer(&self, qname: &[u8], qtype: RecordType, is_dnssec_ok: bool) -> Expected {
        let mut expected = Expected::default();
        let Ok(name) = Name::from_wire(qname) else {
            expected.rcode = rcode::FORMERR;
            return expected;
        };
        let mut ask = Ask { qname: name, as_asked: qname.to_vec(), qtype, is_dnssec_ok };
        let no_zone = match self.zone_for(&ask) {
            None => Some(rcode::REFUSED),
            Some(zone) => zone.is_held().then_some(rcode::SERVFAIL),
        };
        if let Some(rcode) = no_zone {
            expected.rcode = rcode;
            return expected;
        }
        expected.is_authoritative = true;
        let mut visited = Vec::new();
        while let Some(zone) = self.zone_for(&ask).filter(|zone| !zone.is_held()) {
            visited.push(ask.qname.clone());
            let Some(target) = zone.step(&ask, visited.len() == 1, &mut expected) else { break };
            let qname = Name::from_wire(&target).unwrap_or_else(|_| Name::root());
            if visited.contains(&qname) || visited.len() == ALIAS_CHAIN_MAX {
                break;
            }
            ask.as_asked = qname.as_wire().to_vec();
            ask.qname = qname;
        }
        expected
    }

    /// Returns the zone that answers for a name: step 2, and RFC 4035 section 3.1.4.1 for DS.
    fn zone_for(&self, ask: &Ask) -> Option<View<'_>> {
        let nearest = self.nearest(Some(ask.qname.clone()))?;
        if ask.qtype != RecordType::DS || *nearest.apex != ask.qname {
            return Some(nearest);
        }
        let Some(above) = self.nearest(ask.qname.parent()) else { return Some(nearest) };
        // What is held is not denied by a zone that does not delegate it.
        let is_cut =
            || !above.is_held() && above.place(&ask.qname) == Place::Cut(ask.qname.clone());
        if nearest.is_held() && !is_cut() { Some(nearest) } else { Some(above) }
    }

    /// Returns the zone of the longest apex at or above a name.
    fn nearest(&self, name: Option<Name>) -> Option<View<'_>> {
        std::iter::successors(name, Name::parent)
            .find_map(|name| self.zones.get_key_value(&name))
            .map(|(apex, sets)| View { apex, sets })
    }
}

impl View<'_> {
    /// Whether nothing is known of the zone.
    fn is_held(&self) -> bool {
        self.sets.is_empty()
    }

    /// Answers for one name; returns the name that an alias leads to.
    fn step(&self, ask: &Ask, is_first: bool, expected: &mut Expected) -> Option<Vec<u8>> {
        match self.place(&ask.qname) {
            Place::Node => self.answer_from(&ask.qname, ask, expected),
            Place::Wildcard(source) => self.answer_from(&source, ask, expected),
            Place::Dname(owner) => self.redirect(&owner, ask, expected),
            Place::Cut(cut) if cut == ask.qname && ask.qtype == RecordType::DS => {
                // The DS records of a cut are the parent's authoritative data.
                if !self.add(&mut expected.answer, &cut, &cut, ask.qtype, ask.is_dnssec_ok) {
                    self.add_soa(ask, expected);
                    self.prove_nodata(ask, &cut, expected);
                }
                None
            }
            Place::Cut(cut) => {
                // AA speaks of the first owner name of the answer section (RFC 1035 section 4.1.1).
                expected.is_authoritative &= !is_first;
                self.refer(&cut, ask, expected);
                None
            }
            Place::Missing(encloser) => {
                expected.rcode = rcode::NXDOMAIN;
                self.add_soa(ask, expected);
                self.prove_missing(ask, &encloser, expected);
                None
            }
        }
    }

    /// Finds the place of a name: matches down from the apex, label by label.
    fn place(&self, qname: &Name) -> Place {
        let mut down = self.ancestors(qname);
        down.push(qname.clone());
        for name in &down {
            if name != self.apex && self.has(name, RecordType::NS) {
                return Place::Cut(name.clone());
            }
            if name != qname && self.has(name, RecordType::DNAME) {
                return Place::Dname(name.clone());
            }
        }
        if self.exists(qname) {
            return Place::Node;
        }
        let encloser = self.closest_encloser(qname);
        match encloser.with_label(b"*") {
            Ok(source) if self.exists(&source) => Place::Wildcard(source),
            _ => Place::Missing(encloser),
        }
    }

    /// Returns the proper ancestors of a name from the apex down.
    fn ancestors(&self, qname: &Name) -> Vec<Name> {
        let up = std::iter::successors(qname.parent(), Name::parent);
        let mut down: Vec<Name> = up.filter(|name| name.is_at_or_below(self.apex)).collect();
        down.reverse();
        down
    }

    /// Returns the longest existing ancestor of a name (RFC 4592 section 3.3.1).
    fn closest_encloser(&self, qname: &Name) -> Name {
        let existing = self.ancestors(qname).into_iter().rfind(|name| self.exists(name));
        existing.unwrap_or_else(|| self.apex.clone())
    }

    /// Whether a name has records or has names with records below it (RFC 4592 section 2.2.2).
    ///
    /// The owner of an NSEC3 record does not exist by it (RFC 5155 section 7.2.8).
    fn exists(&self, name: &Name) -> bool {
        self.sets.iter().any(|(owner, rrsets)| {
            let is_data = |rrset: &Rrset| match rrset.rtype {
                RecordType::NSEC3 => false,
                RecordType::RRSIG => {
                    rrset.rdata.iter().any(|sig| covered(sig) != RecordType::NSEC3)
                }
                _ => true,
            };
            owner.is_at_or_below(name) && rrsets.iter().any(is_data)
        })
    }

    /// Returns the RRset of an owner and type.
    fn rrset(&self, owner: &Name, rtype: RecordType) -> Option<&Rrset> {
        self.sets.get(owner)?.iter().find(|rrset| rrset.rtype == rtype)
    }

    /// Whether there is an RRset of an owner and type.
    fn has(&self, owner: &Name, rtype: RecordType) -> bool {
        self.rrset(owner, rtype).is_some()
    }

    /// Whether there is an RRset of an owner and type, and a signature that covers it.
    fn is_signed(&self, owner: &Name, rtype: RecordType) -> bool {
        let sigs = self.rrset(owner, RecordType::RRSIG);
        let mut sigs = sigs.into_iter().flat_map(|sigs| sigs.rdata.iter());
        self.has(owner, rtype) && sigs.any(|sig| covered(sig) == rtype)
    }

    /// Answers with the data of `owner`: the name itself or its source of synthesis.
    fn answer_from(&self, owner: &Name, ask: &Ask, expected: &mut Expected) -> Option<Vec<u8>> {
        // NSEC3 records are no data of a name (RFC 5155 sections 7.1 and 7.2.8).
        let rrsets = || self.sets.get(owner).into_iter().flatten();
        let types =
            || rrsets().map(|rrset| rrset.rtype).filter(|rtype| *rtype != RecordType::NSEC3);
        let is_any = ask.qtype == RecordType::ANY;
        let wanted = match ask.qtype {
            RecordType::ANY => types().min_by_key(|rtype| (*rtype == RecordType::RRSIG, *rtype)),
            qtype => types().find(|rtype| *rtype == qtype),
        };
        let is_synthesized = *owner != ask.qname;
        let answer = &mut expected.answer;
        if let Some(rtype) = wanted {
            let with_sigs = ask.is_dnssec_ok && rtype != RecordType::RRSIG;
            self.add(answer, owner, &ask.qname, rtype, with_sigs);
        } else if !is_any
            && self.add(answer, owner, &ask.qname, RecordType::CNAME, ask.is_dnssec_ok)
        {
            self.prove_synthesis(ask, is_synthesized, expected);
            return Some(self.rrset(owner, RecordType::CNAME)?.rdata.first().to_vec());
        } else {
            self.add_soa(ask, expected);
            match is_synthesized {
                true => self.prove_wildcard_nodata(ask, owner, expected),
                false => self.prove_nodata(ask, owner, expected),
            }
            return None;
        }
        self.prove_synthesis(ask, is_synthesized, expected);
        None
    }

    /// Redirects a name below a DNAME (RFC 6672 section 3.2).
    fn redirect(&self, owner: &Name, ask: &Ask, expected: &mut Expected) -> Option<Vec<u8>> {
        self.add(&mut expected.answer, owner, owner, RecordType::DNAME, ask.is_dnssec_ok);
        let dname = self.rrset(owner, RecordType::DNAME)?;
        let below = &ask.as_asked[..ask.as_asked.len() - owner.as_wire().len()];
        let target = [below, dname.rdata.first()].concat();
        if target.len() > NAME_OCTETS_MAX {
            expected.rcode = rcode::YXDOMAIN;
            return None;
        }
        expected.answer.push(Record {
            owner: ask.qname.clone(),
            rtype: RecordType::CNAME,
            ttl_s: dname.ttl_s,
            rdata: target.clone(),
        });
        let is_answered = matches!(ask.qtype, RecordType::CNAME | RecordType::ANY);
        (!is_answered).then_some(target)
    }

    /// Refers to the name servers of a cut.
    fn refer(&self, cut: &Name, ask: &Ask, expected: &mut Expected) {
        self.add(&mut expected.authority, cut, cut, RecordType::NS, false);
        if ask.is_dnssec_ok && self.is_signed(cut, RecordType::DS) {
            self.add(&mut expected.authority, cut, cut, RecordType::DS, true);
        } else {
            self.prove_no_ds(ask, cut, expected);
        }
        let servers = self.rrset(cut, RecordType::NS).into_iter().flat_map(|ns| ns.rdata.iter());
        for server in servers.filter_map(|rdata| Name::from_wire(rdata).ok()) {
            for rtype in [RecordType::A, RecordType::AAAA] {
                self.add(&mut expected.additional, &server, &server, rtype, ask.is_dnssec_ok);
            }
        }
    }

    /// Adds the SOA with the TTL of a negative answer (RFC 2308 section 5).
    fn add_soa(&self, ask: &Ask, expected: &mut Expected) {
        let mut section = Vec::new();
        self.add(&mut section, self.apex, self.apex, RecordType::SOA, ask.is_dnssec_ok);
        let soa = section.first().and_then(|record| Soa::read(&record.rdata));
        let minimum_s = soa.map_or(0, |soa| soa.minimum_s);
        for record in section {
            let ttl_s = record.ttl_s.min(minimum_s);
            expected.authority.push(Record { ttl_s, ..record });
        }
    }

    /// Adds the RRset of `owner` under the name `shown`, with its signatures if wanted, as far as
    /// it is not there; says whether the zone has it.
    fn add(
        &self,
        section: &mut Vec<Record>,
        owner: &Name,
        shown: &Name,
        rtype: RecordType,
        with_sigs: bool,
    ) -> bool {
        let Some(rrset) = self.rrset(owner, rtype) else { return false };
        let sigs = self.rrset(owner, RecordType::RRSIG).filter(|_| with_sigs);
        let sigs = sigs.into_iter().flat_map(|sigs| sigs.rdata.iter());
        let sigs = sigs.filter(|sig| covered(sig) == rtype).map(|sig| (RecordType::RRSIG, sig));
        let records = rrset.rdata.iter().map(|rdata| (rtype, rdata)).chain(sigs);
        for (rtype, rdata) in records {
            let ttl_s = match rtype {
                // A signature's TTL is that of what it covers (RFC 4034 section 3).
                RecordType::RRSIG => self.rrset(owner, covered(rdata)).unwrap_or(rrset).ttl_s,
                _ => rrset.ttl_s,
            };
            let record = Record { owner: shown.clone(), rtype, ttl_s, rdata: rdata.to_vec() };
            if !section.contains(&record) {
                section.push(record);
            }
        }
        true
    }
}

/// Returns the type that an RRSIG record covers.
fn covered(sig: &[u8]) -> RecordType {
    RecordType(sig.first_chunk::<2>().map_or(0, |octets| u16::from_be_bytes(*octets)))
}
