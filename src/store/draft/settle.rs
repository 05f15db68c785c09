//! Ends a batch within a draft: the checks that only the whole batch allows, and what it has changed.
//!
//! **Invariant:** a draft of batches that were settled one after the other breaks no rule.
//! **Not here:** the keys of the commit (`draft::build`).

use super::zone::ZoneDraft;
use super::{Draft, ZoneSlot};
use crate::name::Name;
use crate::record::RecordType;
use crate::store::keys;
use crate::store::kv::{Cursor, KeyRange};
use crate::store::operation::StoreError;
use crate::store::rules::{RuleError, check_owner, check_owner_octets};
use crate::store::view::View;

/// What a batch has come to within a draft.
#[derive(Debug, Default)]
pub(in crate::store) struct Settled {
    /// RRsets and zones that change.
    pub(in crate::store) changed: u64,
    /// The zones of which it changes an RRset.
    pub(in crate::store) zones: Vec<Name>,
}

impl Draft<'_> {
    /// Ends a batch.
    ///
    /// # Errors
    /// Every [`RuleError`] about an owner's types or a DNAME, and those of the engine; the draft is of no use
    /// then.
    pub(in crate::store) async fn settle(&mut self) -> Result<Settled, StoreError> {
        let mut settled = Settled::default();
        for (apex, slot) in &mut self.slots {
            settled.changed += slot.changed();
            let Some(zone) = &mut slot.zone else { continue };
            check_zone(self.view, zone).await?;
            let changed = zone.settle();
            settled.changed += changed;
            if changed > 0 {
                settled.zones.push(apex.clone());
            }
        }
        Ok(settled)
    }
}

impl ZoneSlot {
    /// Counts what changes of the zone itself.
    fn changed(&self) -> u64 {
        let Some(zone) = &self.zone else {
            return u64::from(self.is_touched && self.base.is_some());
        };
        u64::from(zone.is_settings_changed || zone.is_new)
            + u64::from(zone.written_serial.is_some() || zone.is_soa_dropped)
            + zone.replaced_by.as_ref().map_or(0, |staged| staged.rrset_count)
    }
}

impl ZoneDraft {
    /// Counts the RRsets that the batch has changed, and forgets which they were.
    fn settle(&mut self) -> u64 {
        let mut changed = 0;
        for owner in std::mem::take(&mut self.looked_at) {
            let Some(draft) = self.owners.get_mut(&owner) else { continue };
            for (rtype, was_there) in std::mem::take(&mut draft.by_batch) {
                // Put and deleted in the same batch: there is nothing to tell.
                changed += u64::from(was_there || draft.after.contains_key(&rtype));
            }
        }
        changed
    }
}

/// Checks the types of every owner that changed, and that nothing stands below a DNAME.
async fn check_zone(view: &View, zone: &ZoneDraft) -> Result<(), StoreError> {
    let apex = &zone.object.settings.apex;
    let looked_at = zone.looked_at.iter().filter_map(|owner| zone.owners.get_key_value(owner));
    for (owner, draft) in looked_at.filter(|(_, draft)| !draft.by_batch.is_empty()) {
        let types: Vec<RecordType> = draft.after.keys().copied().collect();
        check_owner(owner, apex, &types)?;
        check_owner_octets(owner, draft.after.values().map(|row| row.rdata.as_octets().len()))?;
        let is_new_dname = draft.after.contains_key(&RecordType::DNAME)
            && draft.by_batch.get(&RecordType::DNAME) == Some(&false);
        if is_new_dname && let Some(below) = name_below(view, zone, owner).await? {
            return Err(RuleError::BelowDname { owner: below, dname: owner.clone() }.into());
        }
        if draft.is_new()
            && let Some(dname) = dname_above(view, zone, owner).await?
        {
            return Err(RuleError::BelowDname { owner: owner.clone(), dname }.into());
        }
    }
    Ok(())
}

/// Returns a name below `owner` that has data after the batch.
async fn name_below(
    view: &View,
    zone: &ZoneDraft,
    owner: &Name,
) -> Result<Option<Name>, StoreError> {
    let is_below = |name: &Name| name != owner && name.is_at_or_below(owner);
    let drafted =
        zone.owners.iter().find(|(name, draft)| is_below(name) && !draft.after.is_empty());
    if let Some((name, _)) = drafted {
        return Ok(Some(name.clone()));
    }
    if zone.has_no_rows() {
        return Ok(None);
    }
    let apex = &zone.object.settings.apex;
    let range: KeyRange = keys::rows_below(zone.object.generation, apex, owner);
    let mut cursor: Option<Cursor> = None;
    loop {
        let (keys_found, next) = view.read_page(&range, cursor.as_ref()).await?;
        for key in keys_found {
            let (name, _) = keys::parse_row_key(&key, apex)?;
            // An owner that the batch has read is judged above by what becomes of it.
            if !zone.owners.contains_key(&name) {
                return Ok(Some(name));
            }
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(None),
        }
    }
}

/// Returns the owner of a DNAME above `owner`, in the zone, after the batch.
async fn dname_above(
    view: &View,
    zone: &ZoneDraft,
    owner: &Name,
) -> Result<Option<Name>, StoreError> {
    let apex = &zone.object.settings.apex;
    let above = std::iter::successors(owner.parent(), Name::parent);
    let above: Vec<Name> = above.take_while(|name| name.is_at_or_below(apex)).collect();
    let mut unread = Vec::new();
    for name in above {
        match zone.owners.get(&name) {
            Some(draft) if draft.after.contains_key(&RecordType::DNAME) => return Ok(Some(name)),
            Some(_) => {}
            None => match zone.dnames.get(&name) {
                Some(true) => return Ok(Some(name)),
                Some(false) => {}
                None => unread.push(name),
            },
        }
    }
    if unread.is_empty() || zone.has_no_rows() {
        return Ok(None);
    }
    let row_keys: Vec<Vec<u8>> = unread.iter().map(|name| zone.dname_key(name)).collect();
    let found = view.read(&row_keys).await?;
    Ok(unread.into_iter().zip(found).find(|(_, seen)| seen.is_some()).map(|(name, _)| name))
}
