//! The aliases in an answer, checked against the zone without the server's own algorithm.
//!
//! Truncation and limits of servers end a chain of aliases at different places, so that two right
//! answers differ. Both are then beginnings of one chain, and ours is right if each of its steps
//! follows from the zone and its end is what the same server says of the last name.

use aspen_dns::limits::ALIAS_CHAIN_MAX;
use aspen_dns::name::{Name, is_at_or_below};
use aspen_dns::record::{RecordType, Rrset, rdata};

use crate::response::{Record, Response};

/// An answer section taken apart.
#[derive(Debug)]
pub(crate) struct Chain<'r> {
    /// CNAMEs in the order in which they lead on from the question's name.
    pub(crate) cnames: Vec<&'r Record>,
    /// The name at the end.
    pub(crate) end: Name,
    /// Whether the end is a name that the chain has passed.
    pub(crate) is_loop: bool,
    /// DNAMEs that redirect a name of the chain, the end included.
    pub(crate) dnames: Vec<&'r Record>,
    /// All other records.
    pub(crate) rest: Vec<&'r Record>,
}

impl<'r> Chain<'r> {
    /// Takes the answer to a question for `qname` apart.
    pub(crate) fn of(qname: &Name, response: &'r Response) -> Self {
        let mut left: Vec<&Record> = response.sections[0].iter().collect();
        let (mut cnames, mut end) = (Vec::new(), qname.clone());
        let mut names = vec![qname.clone()];
        let mut is_loop = false;
        let is_next = |record: &&Record, end: &Name| {
            record.rtype == RecordType::CNAME && record.owner == *end
        };
        while let Some(index) = left.iter().position(|record| is_next(record, &end)) {
            let cname = left.remove(index);
            cnames.push(cname);
            let Ok(target) = Name::from_text(&cname.rdata) else { break };
            end = target;
            is_loop = names.contains(&end);
            names.push(end.clone());
        }
        let (dnames, rest) = left.into_iter().partition(|record| {
            let redirects =
                |name: &Name| *name != record.owner && name.is_at_or_below(&record.owner);
            record.rtype == RecordType::DNAME && names.iter().any(redirects)
        });
        Self { cnames, end, is_loop, dnames, rest }
    }

    /// Whether nothing but aliases is there: the server stopped before the end.
    pub(crate) fn has_no_end(&self, response: &Response) -> bool {
        self.rest.is_empty() && response.sections[1].is_empty()
    }

    /// Whether the other chain holds all of this one.
    pub(crate) fn begins(&self, other: &Chain<'_>) -> bool {
        self.cnames.len() <= other.cnames.len()
            && self.cnames.iter().zip(&other.cnames).all(|(a, b)| a == b)
            && self.dnames.iter().all(|dname| other.dnames.contains(dname))
    }

    /// Whether each step follows from the zone's records: a CNAME of the zone, that of the
    /// wildcard of the closest encloser, or one made from a DNAME that stands in the answer.
    fn steps_follow(&self, rrsets: &[Rrset]) -> bool {
        self.cnames.iter().all(|cname| {
            let is_made = self.dnames.iter().any(|dname| is_made_from(cname, dname));
            let has_cname = |rrset: &Rrset| {
                rrset.rtype == RecordType::CNAME
                    && (rrset.owner == cname.owner || is_below_wildcard(&cname.owner, &rrset.owner))
                    && rrset.rdata.iter().any(|octets| text_of(octets) == cname.rdata)
            };
            is_made || rrsets.iter().any(has_cname)
        })
    }

    /// Whether our answer is right as far as it goes; `ask` is our server, without truncation.
    pub(crate) fn is_right(
        &self,
        qtype: RecordType,
        ours: &Response,
        rrsets: &[Rrset],
        ask: &dyn Fn(&Name, RecordType) -> Response,
    ) -> bool {
        if !self.steps_follow(rrsets) {
            return false;
        }
        if ours.is_truncated {
            return ours.sections[1..].iter().all(Vec::is_empty);
        }
        let is_answered = qtype == RecordType::CNAME && !self.cnames.is_empty();
        if is_answered || self.is_loop || self.cnames.len() >= ALIAS_CHAIN_MAX {
            return self.has_no_end(ours) && ours.rcode == "NOERROR";
        }
        let end = ask(&self.end, qtype);
        if end.rcode == "REFUSED" {
            return self.has_no_end(ours) && ours.rcode == "NOERROR";
        }
        // The end is answered as a question for its name is, its rcode included (RFC 6604).
        let is_there = |record: &&Record| !self.dnames.contains(record);
        let answer: Vec<&Record> = end.sections[0].iter().filter(is_there).collect();
        self.rest == answer && ours.sections[1..] == end.sections[1..] && ours.rcode == end.rcode
    }
}

/// Whether `name` is covered by the wildcard name `wildcard`.
fn is_below_wildcard(name: &Name, wildcard: &Name) -> bool {
    let encloser = wildcard.parent().filter(|_| wildcard.is_wildcard());
    encloser.is_some_and(|encloser| *name != encloser && name.is_at_or_below(&encloser))
}

/// Whether the CNAME is what a DNAME makes of its owner (RFC 6672 section 3.1).
fn is_made_from(cname: &Record, dname: &Record) -> bool {
    let (owner, suffix) = (cname.owner.as_wire(), dname.owner.as_wire());
    let Ok(target) = Name::from_text(&dname.rdata) else { return false };
    if owner.len() <= suffix.len() || !is_at_or_below(owner, suffix) {
        return false;
    }
    let made = [&owner[..owner.len() - suffix.len()], target.as_wire()].concat();
    Name::from_wire(&made).is_ok_and(|made| Name::from_text(&cname.rdata) == Ok(made))
        && cname.ttl_s == dname.ttl_s
}

/// Returns a CNAME's RDATA as [`Record`] has it.
fn text_of(octets: &[u8]) -> String {
    let mut text = String::new();
    rdata::write(RecordType::CNAME, octets, &mut text);
    text.to_lowercase()
}
