//! Takes what batches are about from zones that are remembered, without a trip to the engine.
//!
//! **Invariant:** all of a zone that a draft has recalled is of one moment of it.
//! **Not here:** what is remembered (`store::remembered`).

use super::Draft;
use super::ahead::{Target, targets_of};
use crate::name::Name;
use crate::record::RecordType;
use crate::store::kv::KvError;
use crate::store::operation::Batch;
use crate::store::remembered::{Remembered, RememberedZone};
use crate::store::view::Seen;

impl Draft<'_> {
    /// Takes the zones and owners of batches from what is remembered. `false` if not all of it is: the draft is
    /// then of no use.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(in crate::store) fn recall(
        &mut self,
        batches: &[&Batch],
        remembered: &Remembered,
    ) -> Result<bool, KvError> {
        self.is_recalled = true;
        let (targets, _) = targets_of(batches);
        let mut apexes = Vec::with_capacity(targets.len());
        for target in &targets {
            let Some(apex) = target.holder(|name| self.hints.deepest(name)) else {
                return Ok(false);
            };
            let is_named = target.apex.is_some();
            // What lies above the zone is not remembered.
            if !is_named && target.rtype == RecordType::DS {
                return Ok(false);
            }
            if !self.slots.contains_key(&apex) {
                let object = remembered.with(&apex, |zone| zone.object.clone());
                let Some(value) = object else { return Ok(false) };
                self.take_zone(apex.clone(), Some(Seen { value, revision: None }))?;
            }
            if !is_named {
                if remembered.with(&apex, |zone| zone.has_zones_below) != Some(false) {
                    return Ok(false);
                }
                let names = std::iter::successors(Some(target.owner.clone()), Name::parent);
                for name in names.take_while(|name| *name != apex) {
                    self.slots.entry(name).or_default();
                }
            }
            apexes.push(apex);
        }
        self.recall_rows(&targets, apexes, remembered)
    }

    /// Takes the rows that steps will ask for; of each step, the zone that it is about.
    fn recall_rows(
        &mut self,
        targets: &[Target<'_>],
        apexes: Vec<Name>,
        remembered: &Remembered,
    ) -> Result<bool, KvError> {
        let mut apexes = apexes.into_iter();
        let wanted = self.want(targets, |_| {
            let apex = apexes.next()?;
            let zone = self.slots.get(&apex)?.zone.as_ref()?;
            let generation = zone.object.generation;
            Some((apex, generation))
        });
        for (apex, wanted) in wanted {
            let Some(zone) = self.slots.get_mut(&apex).and_then(|slot| slot.zone.as_mut()) else {
                return Ok(false);
            };
            let read = |known: &RememberedZone| {
                let rows = wanted.owners.iter().map(|owner| known.rows_at(&apex, owner));
                let dname = |name: &Name| known.has_row(&zone.dname_key(name));
                let dnames = wanted.above.iter().map(dname);
                (rows.collect::<Vec<_>>(), dnames.collect::<Vec<_>>())
            };
            let Some((rows, dnames)) = remembered.with(&apex, read) else { return Ok(false) };
            zone.dnames.extend(wanted.above.into_iter().zip(dnames));
            for (owner, rows) in wanted.owners.into_iter().zip(rows) {
                let seen = |(key, value)| (key, Seen { value, revision: None });
                zone.take_owner(owner, rows.into_iter().map(seen).collect())?;
            }
        }
        Ok(true)
    }
}
