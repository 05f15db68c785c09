//! Rules without which a zone is ambiguous: one SOA, a CNAME alone, no two CNAMEs or DNAMEs.
//!
//! **Invariant:** an error stands where the record does that is one too many.
//! **Not here:** rules that a zone may break and still be served (`master::lint`).

use crate::record::master::groups::{Group, Groups, Place};
use crate::record::master::{MasterError, MasterRule};
use crate::record::rrset::RdataIter;
use crate::record::{RecordType, rdata};

impl Groups {
    /// Checks that all SOA records are the same as the first of the group with index `first`.
    pub(super) fn check_soas(&self, first: usize) -> Result<(), MasterError> {
        let soa = &self.list()[first];
        let soa_rdata = RdataIter::over(self.rdata(soa)).next().unwrap_or_default();
        let is_soa = |group: &&Group| group.rtype == RecordType::SOA;
        for group in self.list()[first..].iter().filter(is_soa) {
            let is_same_owner = self.owner(group) == self.owner(soa);
            let is_other =
                |octets| !is_same_owner || !is_same_rdata(RecordType::SOA, octets, soa_rdata);
            if let Some(record) = RdataIter::over(self.rdata(group)).position(is_other) {
                let (owner, apex) = (self.name(group), self.name(soa));
                let rule = MasterRule::SecondSoa { owner, apex, line: soa.spot.line };
                return Err(self.error(self.spot(group, record), rule));
            }
        }
        Ok(())
    }

    /// Checks, owner by owner, that a CNAME is alone, and that there is one record where there may be
    /// only one.
    pub(super) fn check_owners(&self) -> Result<(), MasterError> {
        for places in self.order().chunk_by(|a, b| self.is_same_owner(a, b)) {
            if places.iter().any(|place| place.rtype().is_singleton()) {
                self.check_owner(places)?;
            }
        }
        Ok(())
    }

    /// Checks one owner that has a record of which there may be one.
    fn check_owner(&self, places: &[Place]) -> Result<(), MasterError> {
        let groups = || places.iter().map(|place| self.at(place));
        let cname = groups().find(|group| group.rtype == RecordType::CNAME);
        for group in groups() {
            let rtype = group.rtype;
            let mut records = RdataIter::over(self.rdata(group));
            let first = records.next().unwrap_or_default();
            let is_other = |octets| rtype.is_singleton() && !is_same_rdata(rtype, octets, first);
            if let Some(further) = records.position(is_other) {
                let (owner, line) = (self.name(group), group.spot.line);
                let rule = MasterRule::SecondSingle { owner, rtype, line };
                return Err(self.error(self.spot(group, 1 + further), rule));
            }
            if let Some(cname) = cname.filter(|_| !rtype.may_stand_beside_cname()) {
                let (owner, line) = (self.name(group), cname.spot.line);
                let rule = MasterRule::CnameNotAlone { owner, rtype, line };
                return Err(self.error(group.spot, rule));
            }
        }
        Ok(())
    }
}

/// Whether two RDATA are the same record (RFC 2181 section 5, RFC 4034 section 6.3).
fn is_same_rdata(rtype: RecordType, left: &[u8], right: &[u8]) -> bool {
    left == right || rdata::canonical(rtype, left) == rdata::canonical(rtype, right)
}
