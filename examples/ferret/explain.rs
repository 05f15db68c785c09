//! Why a reference's answer differs from ours, as far as an RFC leaves it open or decides it.
//!
//! Each rule takes one kind of difference out of the two answers, and only that; what then still
//! differs is not explained. No rule knows a zone by its number, nor a server by its name.

use aspen_dns::limits::ALIAS_CHAIN_MAX;
use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};

use crate::chain::Chain;
use crate::dataset::StatedTtls;
use crate::response::{Record, Response};

/// A kind of difference.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// The reference adds the zone's NS records to an answer.
    ApexNs,
    /// The reference adds the addresses of the NS records that were asked for.
    NsAddresses,
    /// Ours adds the addresses of name servers outside the zone cut to a referral.
    SiblingGlue,
    /// The SOA of a negative answer to a question for SOA has TTL 0.
    SoaTtlZero,
    /// Records without a TTL have the server's own default.
    OmittedTtl,
    /// The reference ends a chain of aliases for want of room; ours is whole or goes further.
    TheirTruncation,
    /// Ours ends a chain of aliases for want of room; the reference's goes further.
    OurTruncation,
    /// The reference ends a chain of aliases before its end.
    TheirChainLimit,
    /// Ours ends a chain of aliases at [`ALIAS_CHAIN_MAX`].
    OurChainLimit,
    /// The reference answers SERVFAIL where ours follows a chain of aliases.
    ChainServfail,
    /// The reference follows a CNAME that was asked for.
    CnameFollowed,
    /// The reference answers from records below a DNAME.
    BelowDname,
}

impl Kind {
    /// Says what it is, and which text decides it or leaves it open.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ApexNs => {
                "the reference adds the zone's NS records (and their addresses) to an answer: \
                 optional, RFC 1034 section 4.3.2 step 3a copies what was asked for alone"
            }
            Self::NsAddresses => {
                "the reference adds addresses of the NS records asked for: useful but optional, \
                 RFC 1034 section 4.3.2 step 6; required in referrals alone, RFC 9471 section 3.1"
            }
            Self::SiblingGlue => {
                "ours adds addresses of name servers outside the zone cut to a referral: optional, \
                 RFC 9471 section 3.2"
            }
            Self::SoaTtlZero => {
                "the reference sends the SOA of a negative answer to an SOA question with TTL 0: \
                 the TTL is the smaller of SOA TTL and MINIMUM, RFC 2308 section 3; nobody is \
                 required to send 0, RFC 2181 section 7.2"
            }
            Self::OmittedTtl => {
                "the reference gives a record without a TTL its own default: it has the last \
                 stated one, RFC 1035 section 5.1"
            }
            Self::TheirTruncation => {
                "the reference runs out of 512 octets in a chain of aliases earlier than ours: how \
                 well names are compressed is the server's choice, RFC 1035 section 4.1.4"
            }
            Self::OurTruncation => {
                "ours runs out of 512 octets in a chain of aliases that the reference leaves \
                 earlier or writes shorter: TC says so, RFC 2181 section 9"
            }
            Self::TheirChainLimit => {
                "the reference follows a chain of aliases less far: RFC 1034 section 3.6.2 and \
                 RFC 6672 section 3.2 set no limit"
            }
            Self::OurChainLimit => {
                "ours stops after as many aliases as its limit: RFC 1034 section 3.6.2 and \
                 RFC 6672 section 3.2 set no limit"
            }
            Self::ChainServfail => {
                "the reference gives up on a chain of aliases with SERVFAIL: what was found is \
                 the answer, RFC 1034 section 4.3.2 step 3a, RFC 6604 section 3"
            }
            Self::CnameFollowed => {
                "the reference follows a CNAME although CNAME was asked for: it is the answer, \
                 RFC 1034 section 4.3.2 step 3a"
            }
            Self::BelowDname => {
                "the reference answers from records below a DNAME: they are occluded, \
                 RFC 6672 section 2.4"
            }
        }
    }
}

/// What a rule may know of a question besides the two answers.
pub(crate) struct Asked<'a> {
    /// The name.
    pub(crate) qname: &'a Name,
    /// The type.
    pub(crate) qtype: RecordType,
    /// The zone's apex.
    pub(crate) apex: &'a Name,
    /// The zone's RRsets.
    pub(crate) rrsets: &'a [Rrset],
    /// The TTLs in the zone's file.
    pub(crate) ttls: StatedTtls,
    /// Asks our server without truncation.
    pub(crate) ask: &'a dyn Fn(&Name, RecordType) -> Response,
}

impl Asked<'_> {
    /// Returns the kinds that together are the whole difference; `None` if something is left.
    pub(crate) fn explain(&self, ours: &Response, theirs: &Response) -> Option<Vec<Kind>> {
        let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
        let mut kinds = Vec::new();
        for kind in LEVELED {
            if ours != theirs && self.level(kind, &mut ours, &mut theirs) {
                kinds.push(kind);
            }
        }
        if ours != theirs {
            kinds.push(self.level_chains(&ours, &mut theirs)?);
        }
        (ours == theirs).then_some(kinds)
    }

    /// Takes one kind of difference out of the answers and says whether it was there.
    fn level(&self, kind: Kind, ours: &mut Response, theirs: &mut Response) -> bool {
        match kind {
            Kind::OmittedTtl => self.level_omitted_ttl(theirs),
            Kind::SoaTtlZero => self.level_soa_ttl(theirs),
            Kind::ApexNs => self.level_apex_ns(ours, theirs),
            Kind::NsAddresses => self.level_ns_addresses(theirs),
            Kind::SiblingGlue => level_sibling_glue(ours, theirs),
            _ => false,
        }
    }

    /// Gives their records that have the common default the TTL that RFC 1035 says.
    fn level_omitted_ttl(&self, theirs: &mut Response) -> bool {
        let StatedTtls { only_s: Some(ttl_s), has_omitted: true } = self.ttls else { return false };
        let mut is_found = false;
        for record in theirs.sections.iter_mut().flatten() {
            if record.ttl_s == COMMON_DEFAULT_TTL_S && ttl_s != COMMON_DEFAULT_TTL_S {
                record.ttl_s = ttl_s;
                is_found = true;
            }
        }
        is_found
    }

    /// Gives their negative SOA the TTL that RFC 2308 says.
    fn level_soa_ttl(&self, theirs: &mut Response) -> bool {
        let soa = self.rrsets.iter().find(|rrset| rrset.rtype == RecordType::SOA);
        let Some(soa) = soa.filter(|_| self.qtype == RecordType::SOA) else { return false };
        let [record] = theirs.sections[1].as_mut_slice() else { return false };
        let minimum_s = record.rdata.rsplit(' ').next().and_then(|text| text.parse().ok());
        match minimum_s {
            Some(minimum_s) if record.rtype == RecordType::SOA && record.ttl_s == 0 => {
                record.ttl_s = soa.ttl_s.min(minimum_s);
                true
            }
            _ => false,
        }
    }

    /// Drops the apex's NS records and their addresses from their positive answer.
    fn level_apex_ns(&self, ours: &Response, theirs: &mut Response) -> bool {
        let is_positive = theirs.is_authoritative && !theirs.sections[0].is_empty();
        let is_apex_ns =
            |record: &Record| record.rtype == RecordType::NS && record.owner == *self.apex;
        let authority = &theirs.sections[1];
        if !is_positive
            || authority.is_empty()
            || !authority.iter().all(is_apex_ns)
            || !ours.sections[1].is_empty()
        {
            return false;
        }
        let names = std::mem::take(&mut theirs.sections[1]);
        theirs.sections[2].retain(|record| !is_address_of(record, &names));
        true
    }

    /// Drops the addresses of the NS records that were asked for.
    fn level_ns_addresses(&self, theirs: &mut Response) -> bool {
        let [answer, _, additional] = &mut theirs.sections;
        let before = additional.len();
        if self.qtype == RecordType::NS {
            additional.retain(|record| !is_address_of(record, answer));
        }
        additional.len() < before
    }

    /// Makes two answers equal that are beginnings of one chain of aliases; says whose ends first
    /// and why.
    fn level_chains(&self, ours: &Response, theirs: &mut Response) -> Option<Kind> {
        let our_chain = Chain::of(self.qname, ours);
        let their_chain = Chain::of(self.qname, theirs);
        let is_right = our_chain.is_right(self.qtype, ours, self.rrsets, self.ask);
        let has_alias = !our_chain.cnames.is_empty() || !our_chain.dnames.is_empty();
        if !is_right || !has_alias {
            return None;
        }
        let (they_begin, we_begin) =
            (their_chain.begins(&our_chain), our_chain.begins(&their_chain));
        let kind = if theirs.rcode == "SERVFAIL" && theirs.sections.iter().all(Vec::is_empty) {
            Kind::ChainServfail
        } else if they_begin && theirs.is_truncated {
            Kind::TheirTruncation
        } else if we_begin && ours.is_truncated {
            Kind::OurTruncation
        } else if they_begin && their_chain.has_no_end(theirs) && theirs.rcode == "NOERROR" {
            Kind::TheirChainLimit
        } else if we_begin && our_chain.cnames.len() >= ALIAS_CHAIN_MAX {
            Kind::OurChainLimit
        } else if we_begin && self.qtype == RecordType::CNAME {
            Kind::CnameFollowed
        } else if self.is_below_dname(&our_chain, &their_chain) {
            Kind::BelowDname
        } else {
            return None;
        };
        *theirs = ours.clone();
        Some(kind)
    }

    /// Whether the chains part at a name that ours redirects by a DNAME below which the zone has
    /// records at, above or below that name.
    fn is_below_dname(&self, ours: &Chain<'_>, theirs: &Chain<'_>) -> bool {
        let both = ours.cnames.iter().zip(&theirs.cnames).take_while(|(a, b)| a == b).count();
        let Some(parting) = ours.cnames.get(both).map(|cname| &cname.owner) else { return false };
        let is_below =
            |name: &Name, dname: &Record| *name != dname.owner && name.is_at_or_below(&dname.owner);
        // A wildcard below the DNAME stands for what its parent encloses.
        let reach = |owner: &Name| match owner.parent() {
            Some(parent) if owner.is_wildcard() => parent,
            _ => owner.clone(),
        };
        ours.dnames.iter().filter(|dname| is_below(parting, dname)).any(|dname| {
            self.rrsets.iter().map(|rrset| &rrset.owner).any(|owner| {
                is_below(owner, dname)
                    && (owner.is_at_or_below(parting) || parting.is_at_or_below(&reach(owner)))
            })
        })
    }
}

/// Drops addresses of name servers outside the cut from our referral.
fn level_sibling_glue(ours: &mut Response, theirs: &Response) -> bool {
    let [_, authority, additional] = &mut ours.sections;
    let Some(cut) = authority.first().map(|record| &record.owner) else { return false };
    if authority.iter().any(|record| record.rtype != RecordType::NS) {
        return false;
    }
    let before = additional.len();
    additional.retain(|record| {
        let is_optional = is_address_of(record, authority) && !record.owner.is_at_or_below(cut);
        !is_optional || theirs.sections[2].contains(record)
    });
    additional.len() < before
}

/// Whether a record is an address of the target of one of the NS records.
fn is_address_of(record: &Record, names: &[Record]) -> bool {
    matches!(record.rtype, RecordType::A | RecordType::AAAA)
        && names.iter().any(|ns| {
            ns.rtype == RecordType::NS && Name::from_text(&ns.rdata).as_ref() == Ok(&record.owner)
        })
}

/// The kinds that a rule takes out of an answer, in the order in which they are tried.
const LEVELED: [Kind; 5] =
    [Kind::OmittedTtl, Kind::SoaTtlZero, Kind::ApexNs, Kind::NsAddresses, Kind::SiblingGlue];

/// The TTL in seconds that NSD and Knot give a record without one.
const COMMON_DEFAULT_TTL_S: u32 = 3_600;
