//! Typed look-ups over the published catalog, for programs that embed it.
//!
//! A look-up follows aliases and wildcards inside the catalog and never leaves it. It is plain
//! code over one snapshot; servers use `responder`, which makes whole messages and is faster.
//!
//! **Invariant:** one load per look-up, so an answer never mixes two versions of a zone.
//! **Not here:** recursion: what is below a zone cut or in nobody's zone is said to be so.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::catalog::Catalog;
use crate::limits::LOOKUP_ALIASES_MAX;
use crate::name::Name;
use crate::record::{RdataList, RecordType, Rrset};
use crate::zone::find::Found;
use crate::zone::path::NamePath;

/// What a catalog says to a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolution {
    /// The CNAME RRsets that led from the name asked for to the last one.
    pub aliases: Vec<Rrset>,
    /// What is known of the last name.
    pub outcome: Outcome,
}

/// What is known of one name and type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The RRset. Of a wildcard it bears the name that was asked for (RFC 4592 section 2.1.3).
    Found(Rrset),
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// The name is at or below this zone cut.
    Delegated(Name),
    /// The name is in no zone of the catalog.
    NotOurs,
    /// More aliases in a row than [`LOOKUP_ALIASES_MAX`].
    TooManyAliases,
}

impl Resolution {
    /// The RRset, if there is one.
    pub fn rrset(&self) -> Option<&Rrset> {
        match &self.outcome {
            Outcome::Found(rrset) => Some(rrset),
            _ => None,
        }
    }
}

/// One mail exchange (RFC 1035 section 3.3.9).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct MailExchange {
    /// Lower values are tried first.
    pub preference: u16,
    /// The host; the root means that no mail is accepted (RFC 7505).
    pub exchange: Name,
}

/// One server of a service (RFC 2782).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Lower values are tried first.
    pub priority: u16,
    /// The share of this server among those of its priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; the root means that the service is not offered.
    pub target: Name,
}

/// One authorization of a certificate authority (RFC 8659 section 4.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authorization {
    /// Bit 7 says that who does not know the tag must refuse.
    pub flags: u8,
    /// `issue`, `issuewild`, `iodef` or another.
    pub tag: String,
    /// The value, any octets.
    pub value: Vec<u8>,
}

/// Answers a question from a catalog.
pub fn resolve(catalog: &Catalog, qname: &Name, rtype: RecordType) -> Resolution {
    let mut aliases: Vec<Rrset> = Vec::new();
    let mut name = qname.clone();
    for _ in 0..=LOOKUP_ALIASES_MAX {
        let (rrset, outcome) = find(catalog, &name, rtype);
        match rrset {
            Some(rrset) if rrset.rtype == RecordType::CNAME && rtype != RecordType::CNAME => {
                let target = Name::from_wire(&rrset.rdata.first().to_ascii_lowercase());
                aliases.push(rrset);
                match target {
                    Ok(target) => name = target,
                    Err(_) => return Resolution { aliases, outcome: Outcome::NoData },
                }
            }
            Some(rrset) => return Resolution { aliases, outcome: Outcome::Found(rrset) },
            None => return Resolution { aliases, outcome },
        }
    }
    Resolution { aliases, outcome: Outcome::TooManyAliases }
}

/// Finds the RRset of one name, or the CNAME in its place; else what is known.
fn find(catalog: &Catalog, name: &Name, rtype: RecordType) -> (Option<Rrset>, Outcome) {
    let mut path = NamePath::new();
    path.set_canonical(name.as_wire(), catalog.seed());
    let Some(zone) = catalog.find(&path) else { return (None, Outcome::NotOurs) };
    let rrsets = match zone.find(&path) {
        Found::Node(_) => zone.rrsets_at(name),
        Found::Wildcard(node, _) => {
            let mut rrsets = zone.rrsets_at(&zone.owner_of(&node));
            rrsets.iter_mut().for_each(|rrset| rrset.owner = name.clone());
            rrsets
        }
        Found::Cut(node, _) => return (None, Outcome::Delegated(zone.owner_of(&node))),
        Found::Dname(..) | Found::Missing(_) => return (None, Outcome::NoName),
    };
    let mut alias = None;
    for rrset in rrsets {
        if rrset.rtype == rtype {
            return (Some(rrset), Outcome::NoData);
        }
        if rrset.rtype == RecordType::CNAME {
            alias = Some(rrset);
        }
    }
    (alias, Outcome::NoData)
}

/// Reads the addresses of an A RRset.
pub(super) fn ipv4(rdata: &RdataList) -> Vec<Ipv4Addr> {
    rdata.iter().filter_map(|octets| <[u8; 4]>::try_from(octets).ok()).map(Into::into).collect()
}

/// Reads the addresses of an AAAA RRset.
pub(super) fn ipv6(rdata: &RdataList) -> Vec<Ipv6Addr> {
    rdata.iter().filter_map(|octets| <[u8; 16]>::try_from(octets).ok()).map(Into::into).collect()
}

/// Reads the names of a CNAME, NS or PTR RRset.
pub(super) fn names(rdata: &RdataList) -> Vec<Name> {
    rdata.iter().filter_map(name_in).collect()
}

/// Reads a name that fills its octets, in any case.
fn name_in(octets: &[u8]) -> Option<Name> {
    Name::from_wire(&octets.to_ascii_lowercase()).ok()
}

/// Reads an MX RRset, best first.
pub(super) fn exchanges(rdata: &RdataList) -> Vec<MailExchange> {
    let read = |octets: &[u8]| {
        let (preference, exchange) = octets.split_first_chunk::<2>()?;
        let preference = u16::from_be_bytes(*preference);
        Some(MailExchange { preference, exchange: name_in(exchange)? })
    };
    let mut exchanges: Vec<_> = rdata.iter().filter_map(read).collect();
    exchanges.sort();
    exchanges
}

/// Reads an SRV RRset, lowest priority first, heaviest first within one.
pub(super) fn services(rdata: &RdataList) -> Vec<Service> {
    let read = |octets: &[u8]| {
        let ([p0, p1, w0, w1, o0, o1], target) = octets.split_first_chunk::<6>()?;
        Some(Service {
            priority: u16::from_be_bytes([*p0, *p1]),
            weight: u16::from_be_bytes([*w0, *w1]),
            port: u16::from_be_bytes([*o0, *o1]),
            target: name_in(target)?,
        })
    };
    let mut services: Vec<_> = rdata.iter().filter_map(read).collect();
    services.sort_by_key(|service| (service.priority, u16::MAX - service.weight));
    services
}

/// Reads a TXT RRset: for each record its strings in order.
pub(super) fn texts(rdata: &RdataList) -> Vec<Vec<Vec<u8>>> {
    rdata.iter().map(strings).collect()
}

/// Reads the strings of one TXT record.
fn strings(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    while let Some((len, rest)) = octets.split_first() {
        let Some((string, rest)) = rest.split_at_checked(usize::from(*len)) else { break };
        strings.push(string.to_vec());
        octets = rest;
    }
    strings
}

/// Reads a CAA RRset.
pub(super) fn authorizations(rdata: &RdataList) -> Vec<Authorization> {
    let read = |octets: &[u8]| {
        let ([flags, tag_len], rest) = octets.split_first_chunk::<2>()?;
        let (tag, value) = rest.split_at_checked(usize::from(*tag_len))?;
        let tag = String::from_utf8(tag.to_vec()).ok()?;
        Some(Authorization { flags: *flags, tag, value: value.to_vec() })
    };
    rdata.iter().filter_map(read).collect()
}
