//! Which NSEC or NSEC3 records a reply needs.
//!
//! RFC 4035 section 3.1.3 and 3.1.4, RFC 5155 section 7.2. A record is found by looking at each
//! one in the zone and asking whether it matches or covers, by its own next-name field.
//!
//! Where the texts leave a choice: a zone with an NSEC3PARAM record proves with NSEC3; where opt-out
//! leaves a name without its NSEC3 record, the closest encloser that has one is proved.

use data_encoding::BASE32HEX_NOPAD;

use super::{Ask, Expected, Record, View};
use crate::name::Name;
use crate::record::RecordType;
use crate::zone::nsec3::{Nsec3Params, nsec3_hash};

impl View<'_> {
    /// NODATA: RFC 4035 section 3.1.3.1; RFC 5155 sections 7.2.3 and 7.2.4.
    pub(super) fn prove_nodata(&self, ask: &Ask, owner: &Name, expected: &mut Expected) {
        match self.params() {
            // An ENT has no NSEC record: the one that covers it names a name below it as next.
            None => self.add_nsec(ask, owner, expected),
            Some(params) => {
                if !self.add_match(ask, &params, owner, expected) {
                    let above = owner.parent().unwrap_or_else(Name::root);
                    self.add_encloser(ask, &params, owner, &above, expected);
                }
            }
        }
    }

    /// NXDOMAIN: RFC 4035 section 3.1.3.2; RFC 5155 section 7.2.2.
    pub(super) fn prove_missing(&self, ask: &Ask, encloser: &Name, expected: &mut Expected) {
        match self.params() {
            None => {
                self.add_nsec(ask, &ask.qname, expected);
                if let Ok(wildcard) = encloser.with_label(b"*") {
                    self.add_nsec(ask, &wildcard, expected);
                }
            }
            Some(params) => {
                let encloser = self.add_encloser(ask, &params, &ask.qname, encloser, expected);
                if let Ok(wildcard) = encloser.with_label(b"*") {
                    self.add_cover(ask, &params, &wildcard, expected);
                }
            }
        }
    }

    /// Positive answers from a wildcard: RFC 4035 section 3.1.3.3; RFC 5155 section 7.2.6.
    pub(super) fn prove_synthesis(&self, ask: &Ask, is_synthesized: bool, expected: &mut Expected) {
        if !is_synthesized {
            return;
        }
        match self.params() {
            None => self.add_nsec(ask, &ask.qname, expected),
            Some(params) => {
                let next_closer = next_closer(&ask.qname, &self.closest_encloser(&ask.qname));
                self.add_cover(ask, &params, &next_closer, expected);
            }
        }
    }

    /// NODATA at a wildcard: RFC 4035 section 3.1.3.4; RFC 5155 section 7.2.5.
    pub(super) fn prove_wildcard_nodata(&self, ask: &Ask, source: &Name, expected: &mut Expected) {
        match self.params() {
            None => {
                self.add_nsec(ask, source, expected);
                self.add_nsec(ask, &ask.qname, expected);
            }
            Some(params) => {
                let encloser = source.parent().unwrap_or_else(Name::root);
                self.add_encloser(ask, &params, &ask.qname, &encloser, expected);
                self.add_match(ask, &params, source, expected);
            }
        }
    }

    /// Referrals without DS: RFC 4035 section 3.1.4; RFC 5155 section 7.2.7.
    pub(super) fn prove_no_ds(&self, ask: &Ask, cut: &Name, expected: &mut Expected) {
        self.prove_nodata(ask, cut, expected);
    }

    /// Returns how the zone hashes names.
    fn params(&self) -> Option<Nsec3Params> {
        let rrset = self.rrset(self.apex, RecordType::NSEC3PARAM)?;
        let rdata = rrset.rdata.iter().find(|rdata| rdata.starts_with(&[1, 0]))?;
        let iterations = u16::from_be_bytes([*rdata.get(2)?, *rdata.get(3)?]);
        Some(Nsec3Params { iterations, salt: rdata.get(5..)?.into() })
    }

    /// Adds the NSEC record that matches or covers a name.
    fn add_nsec(&self, ask: &Ask, name: &Name, expected: &mut Expected) {
        let found = self.sets.iter().find(|(owner, _)| {
            let next = self.rrset(owner, RecordType::NSEC).and_then(|nsec| {
                let rdata = nsec.rdata.first();
                Name::from_wire(rdata.get(..crate::name::wire_len(rdata).ok()?)?).ok()
            });
            next.is_some_and(|next| *owner == name || is_between(*owner, name, &next))
        });
        if let Some((owner, _)) = found {
            self.add_proof(ask, owner, RecordType::NSEC, expected);
        }
    }

    /// Adds the closest encloser proof for `qname`: from `from` upward, the first name that has an
    /// NSEC3 record, and the record that covers the next closer name. Returns the encloser.
    fn add_encloser(
        &self,
        ask: &Ask,
        params: &Nsec3Params,
        qname: &Name,
        from: &Name,
        expected: &mut Expected,
    ) -> Name {
        let up = std::iter::successors(Some(from.clone()), Name::parent);
        let mut in_zone = up.filter(|name| name.is_at_or_below(self.apex));
        let encloser = in_zone.find(|name| self.add_match(ask, params, name, expected));
        let encloser = encloser.unwrap_or_else(|| self.apex.clone());
        self.add_cover(ask, params, &next_closer(qname, &encloser), expected);
        encloser
    }

    /// Adds the NSEC3 record that matches a name; says whether there is one.
    fn add_match(
        &self,
        ask: &Ask,
        params: &Nsec3Params,
        name: &Name,
        expected: &mut Expected,
    ) -> bool {
        let hash = nsec3_hash(name.as_wire(), params);
        let chain = self.chain();
        let Some((_, _, owner)) = chain.iter().find(|(from, _, _)| *from == hash) else {
            return false;
        };
        self.add_proof(ask, owner, RecordType::NSEC3, expected);
        true
    }

    /// Adds the NSEC3 record that covers a name.
    fn add_cover(&self, ask: &Ask, params: &Nsec3Params, name: &Name, expected: &mut Expected) {
        let hash = nsec3_hash(name.as_wire(), params).to_vec();
        let chain = self.chain();
        let covers = |(from, next, _): &&(Vec<u8>, Vec<u8>, Name)| is_between(from, &hash, next);
        // The name of a wildcard may exist where opt-out hides the next closer name.
        let matches = |(from, _, _): &&(Vec<u8>, Vec<u8>, Name)| *from == hash;
        if let Some((_, _, owner)) = chain.iter().find(covers).or(chain.iter().find(matches)) {
            self.add_proof(ask, owner, RecordType::NSEC3, expected);
        }
    }

    /// Returns hash, next hash and owner of each NSEC3 record.
    fn chain(&self) -> Vec<(Vec<u8>, Vec<u8>, Name)> {
        let links = self.sets.keys().filter_map(|owner| {
            let rrset = self.rrset(owner, RecordType::NSEC3)?;
            let rdata = rrset.rdata.first();
            let next_at = 6 + usize::from(*rdata.get(4)?);
            let next = rdata.get(next_at..next_at + usize::from(*rdata.get(next_at - 1)?))?;
            let label = owner.labels().next()?.to_ascii_uppercase();
            let hash = BASE32HEX_NOPAD.decode(&label).ok()?;
            let is_child = owner.parent().as_ref() == Some(self.apex);
            is_child.then(|| (hash, next.to_vec(), owner.clone()))
        });
        links.collect()
    }

    /// Adds a proof record with its signatures.
    fn add_proof(&self, ask: &Ask, owner: &Name, rtype: RecordType, expected: &mut Expected) {
        let authority: &mut Vec<Record> = &mut expected.authority;
        if ask.is_dnssec_ok {
            self.add(authority, owner, owner, rtype, true);
        }
    }
}

/// Whether `middle` lies behind `from` and before `next`, where the last one's next is the first.
fn is_between<T: Ord + ?Sized>(from: &T, middle: &T, next: &T) -> bool {
    if from < next { from < middle && middle < next } else { from < middle || middle < next }
}

/// Returns the name one label longer than `encloser` that `qname` ends in (RFC 5155 section 1.3).
fn next_closer(qname: &Name, encloser: &Name) -> Name {
    let up = std::iter::successors(Some(qname.clone()), Name::parent);
    up.take_while(|name| name != encloser).last().unwrap_or_else(|| qname.clone())
}
