//! Batches that one commit of the engine cannot hold: each of their zones gets all of its rows anew, with the
//! changes, under a generation of its own, and one commit switches to those, as that of an import does.
//!
//! **Invariant:** readers and followers see the zones as they were or with all of the batch.
//! **Not here:** how rows are written chunk by chunk (`store::import`), the switch (`store::draft`).

use std::collections::BTreeMap;

use super::dns_store::DnsStore;
use super::draft::{Draft, Staged};
use super::keys;
use super::kv::KvError;
use super::operation::StoreError;
use super::view::{Seen, View};
use crate::limits::LARGE_BATCH_RRSETS_MAX;
use crate::name::Name;

impl DnsStore {
    /// Stages the zones of a draft that is too large for one commit; returns what was staged.
    ///
    /// # Errors
    /// [`KvError::TooManyOperations`] if a zone has more than [`LARGE_BATCH_RRSETS_MAX`] RRsets, or if one
    /// commit cannot switch so many zones, and nothing was written; as an import.
    pub(super) async fn stage_large(
        &self,
        view: &View,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Staged>, StoreError> {
        let mut all = Vec::new();
        if !self.check_large(draft)? {
            return Ok(all);
        }
        for (apex, generation, _) in draft.changed_zones() {
            let staged = match generation {
                Some(generation) => {
                    let range = keys::rows_of_generation(generation);
                    match view.look(&[], &[range]).await {
                        Ok((_, found)) => {
                            let rows = found.into_iter().next().unwrap_or_default();
                            self.stage_zone(draft, &apex, rows).await
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                None => self.stage_zone(draft, &apex, BTreeMap::new()).await,
            };
            match staged {
                Ok(staged) => all.push(staged),
                Err(error) => {
                    self.give_up_all(&all).await;
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    /// Whether a draft is too large for one commit, so that its zones must be staged.
    ///
    /// # Errors
    /// [`KvError::TooManyOperations`] if they cannot be, as [`DnsStore::stage_large`].
    pub(super) fn check_large(&self, draft: &Draft<'_>) -> Result<bool, KvError> {
        let limits = self.kv.limits();
        let (operations, octets) = draft.size();
        let is_large = operations > u64::from(limits.operations_max) || octets > limits.octets_max;
        if !is_large {
            return Ok(false);
        }
        let (zones, operations_max) = (draft.changed_zones(), limits.operations_max);
        let is_zone_too_large = zones.iter().any(|(_, _, rrsets)| *rrsets > LARGE_BATCH_RRSETS_MAX);
        if is_zone_too_large || draft.switch_operations() > u64::from(operations_max) {
            return Err(KvError::TooManyOperations { operations, operations_max });
        }
        Ok(true)
    }

    /// Expects a draft to fit into one commit, with what it takes away.
    ///
    /// # Errors
    /// [`KvError::TooManyOperations`] if it does not, or has more octets: it is to be staged.
    pub(super) fn check_small(&self, draft: &Draft<'_>) -> Result<(), KvError> {
        let (operations, operations_max) = (draft.size().0, self.kv.limits().operations_max);
        match self.check_large(draft)? {
            true => Err(KvError::TooManyOperations { operations, operations_max }),
            false => Ok(()),
        }
    }

    /// Stages one zone, which has these rows.
    async fn stage_zone(
        &self,
        draft: &mut Draft<'_>,
        apex: &Name,
        rows: BTreeMap<Vec<u8>, Seen>,
    ) -> Result<Staged, StoreError> {
        let (rows, mut staged) = draft.restage(apex, rows)?;
        if let Err(error) = self.stage(rows, &mut staged, &|_| {}).await {
            self.give_up(&staged).await;
            return Err(error);
        }
        draft.take_restaged(apex, &staged);
        Ok(staged)
    }

    /// Marks what was staged for a commit that was not made for the sweep.
    pub(super) async fn give_up_all(&self, staged: &[Staged]) {
        for staged in staged {
            self.give_up(staged).await;
        }
    }
}
