//! Adds records to an RRset of a draft, and takes records away.
//!
//! The RRset is the one that the draft has, with what is in flight: who adds a record at the same
//! time as others loses none of theirs, and none of them has to try again.
//!
//! **Invariant:** what changes nothing does not touch the zone.
//! **Not here:** the rules of what comes out (`store::rules`).

use super::{Draft, DraftError};
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::store::operation::StoreError;
use crate::store::rules::RuleError;

impl Draft<'_> {
    /// Adds records to an RRset of a zone.
    pub(super) async fn extend_rrset(
        &mut self,
        apex: &Name,
        (owner, rtype): (&Name, RecordType),
        ttl_s: Option<u32>,
        records: &[Vec<u8>],
    ) -> Result<(), DraftError> {
        let before = self.rrset_in(apex, owner, rtype).await?;
        let kept_s = before.as_ref().map(|rrset| rrset.ttl_s);
        let missing = || RuleError::NoTtl { owner: owner.clone(), rtype };
        let ttl_s = ttl_s.or(kept_s).ok_or_else(missing)?;
        let kept = before.iter().flat_map(|rrset| rrset.rdata.iter());
        let all: Vec<&[u8]> = kept.chain(records.iter().map(Vec::as_slice)).collect();
        if all.is_empty() {
            return Ok(());
        }
        let after = make(owner, rtype, ttl_s, &all)?;
        if before.as_ref() == Some(&*after.without_doubles()) {
            return Ok(());
        }
        self.put_rrset(apex, &after).await
    }

    /// Takes records away from an RRset of a zone.
    pub(super) async fn prune_rrset(
        &mut self,
        apex: &Name,
        (owner, rtype): (&Name, RecordType),
        records: &[Vec<u8>],
    ) -> Result<(), DraftError> {
        let Some(before) = self.rrset_in(apex, owner, rtype).await? else { return Ok(()) };
        let is_kept = |rdata: &&[u8]| !records.iter().any(|gone| gone == rdata);
        let kept: Vec<&[u8]> = before.rdata.iter().filter(is_kept).collect();
        if kept.len() == before.rdata.count() {
            return Ok(());
        }
        if kept.is_empty() {
            return self.delete_rrset(apex, owner, rtype).await;
        }
        let after = make(owner, rtype, before.ttl_s, &kept)?;
        self.put_rrset(apex, &after).await
    }

    /// Returns an RRset of a zone as it stands in the draft.
    async fn rrset_in(
        &mut self,
        apex: &Name,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<Option<Rrset>, DraftError> {
        self.load(std::slice::from_ref(apex)).await?;
        let slot = self.slots.entry(apex.clone()).or_default();
        // What it adds or takes away may be nothing, which must be so.
        slot.is_expected = true;
        let zone =
            slot.zone.as_mut().ok_or_else(|| StoreError::ZoneUnknown { apex: apex.clone() })?;
        if !owner.is_at_or_below(apex) {
            let (owner, apex) = (owner.clone(), apex.clone());
            return Err(RuleError::OutOfZone { owner, apex }.into());
        }
        Ok(zone.rrset(self.view, owner, rtype).await?)
    }
}

/// Makes an RRset of records.
fn make(
    owner: &Name,
    rtype: RecordType,
    ttl_s: u32,
    records: &[&[u8]],
) -> Result<Rrset, RuleError> {
    let bad = |error| RuleError::BadRrset { owner: owner.clone(), rtype, error };
    Rrset::new(owner.clone(), rtype, ttl_s, records).map_err(bad)
}
