//! Makes what the sync core hands out visible: builds zones, edits them, publishes.
//!
//! A zone is built by streaming its packs into a builder, without a copy of a record in between,
//! off the threads that serve the network. Edits are made in place. All zones of one call are
//! published at once. A record that breaks a rule is left out and counted; the rest applies.
//!
//! **Invariant:** one zone is written by one step at a time, in the order of its revisions.
//! Static zones are never overwritten, and static records are laid over every synced zone.
//! **Not here:** what is to be done (`sync`), events' form (`event`).

use std::sync::Arc;

use super::AspenDnsClient;
use super::event::DnsEvent;
use crate::catalog::CatalogChange;
use crate::feed::Revision;
use crate::feed::merge::{MergeError, for_each_rrset};
use crate::name::Name;
use crate::record::{Change, Rrset};
use crate::sync::batch::{ZoneBatch, ZoneStep};

use crate::zone::{BuildError, Zone, ZoneBuilder};

/// What became of one step.
#[derive(Debug)]
pub(super) struct Applied {
    /// The zone.
    pub(super) apex: Name,
    /// The revision that the step leads to.
    pub(super) revision: Revision,
    /// Whether it was published, or why not.
    pub(super) outcome: Result<Served, ApplyError>,
}

/// Whether a zone is served after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Served {
    /// It is.
    Yes,
    /// It is not: removed or disabled.
    No,
}

/// Why a step makes no zone.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// The packs cannot be read.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The records make no zone.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The zone to edit is not there.
    #[error("there is no zone to edit")]
    NoZone,
}

/// A step that was computed and is not yet visible.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The zone.
    apex: Name,
    /// The revision that the step leads to.
    revision: Revision,
    /// The new zone; none removes it.
    zone: Result<Option<Arc<Zone>>, ApplyError>,
    /// What subscribers hear.
    events: Vec<DnsEvent>,
    /// Records that were left out.
    refused: u64,
    /// Changes that the step is made of.
    change_count: u64,
}

impl AspenDnsClient {
    /// Computes one step. Takes long for a zone that is built anew.
    pub(super) fn prepare(&self, batch: ZoneBatch) -> Prepared {
        let ZoneBatch { apex, revision, step } = batch;
        let change_count = step.change_count() as u64;
        let (events, zone) = (Vec::new(), Ok(None));
        let mut prepared = Prepared { apex, revision, zone, events, refused: 0, change_count };
        match step {
            ZoneStep::Remove => {
                let apex = prepared.apex.clone();
                prepared.events.push(DnsEvent::ZoneRemoved { apex });
            }
            ZoneStep::Rebuild { packs, name_count, edits } => {
                let built = self.build(&prepared.apex, &packs, name_count, &edits);
                drop(packs);
                prepared.zone = built.map(|(zone, refused)| {
                    prepared.refused = refused;
                    let (apex, serial) = (prepared.apex.clone(), zone.serial());
                    prepared.events.push(DnsEvent::ZoneBuilt { apex, revision, serial });
                    Some(Arc::new(zone))
                });
            }
            ZoneStep::Edit(changes) => self.prepare_edit(&mut prepared, changes),
        }
        prepared
    }

    /// Streams packs and edits into a builder.
    fn build(
        &self,
        apex: &Name,
        packs: &[bytes::Bytes],
        name_count: u64,
        edits: &[Change],
    ) -> Result<(Zone, u64), ApplyError> {
        let mut builder = ZoneBuilder::new(apex.clone(), self.seed, name_count);
        let mut refused = 0;
        for_each_rrset(apex, packs, edits, |rrset| {
            if let Err(error) = builder.push(rrset) {
                if refused == 0 {
                    tracing::warn!(%apex, %error, "a record is left out of its zone");
                }
                refused += 1;
            }
        })?;
        let zone = builder.finish()?;
        let statics = self.static_changes(apex);
        let zone = if statics.is_empty() { zone } else { zone.edit(&statics).0 };
        Ok((zone, refused))
    }

    /// Computes an edit of the zone as it is now.
    fn prepare_edit(&self, prepared: &mut Prepared, mut changes: Vec<Change>) {
        let catalog = self.publisher.catalog();
        let Some(zone) = catalog.zone(&prepared.apex) else {
            prepared.zone = Err(ApplyError::NoZone);
            return;
        };
        changes.retain(|change| !self.is_static(change));
        let (edited, report) = zone.edit(&changes);
        if let Some((index, error)) = report.refused.first() {
            let owner = changes.get(*index).map(Change::owner);
            tracing::warn!(apex = %prepared.apex, ?owner, %error, "a change is left out");
        }
        prepared.refused = report.refused.len() as u64;
        if self.events.receiver_count() > 0 {
            prepared.events = record_events(zone, &edited, &changes);
        }
        prepared.zone = Ok(Some(Arc::new(edited)));
    }

    /// Publishes computed steps, all at once, and tells subscribers.
    pub(super) fn publish(&self, steps: Vec<Prepared>) -> Vec<Applied> {
        let mut changes = Vec::with_capacity(steps.len());
        let mut change_count = 0;
        let mut events = Vec::new();
        let mut applied = Vec::with_capacity(steps.len());
        for step in steps {
            self.counters.refused(step.refused);
            let apex = step.apex;
            let outcome = match step.zone {
                Ok(zone) => {
                    let served = if zone.is_some() { Served::Yes } else { Served::No };
                    if !self.has_static_zone(&apex) {
                        change_count += step.change_count;
                        changes.push(match zone {
                            Some(zone) => CatalogChange::Put(zone),
                            None => CatalogChange::Remove(apex.clone()),
                        });
                        events.extend(step.events);
                    }
                    Ok(served)
                }
                Err(error) => Err(error),
            };
            applied.push(Applied { apex, revision: step.revision, outcome });
        }
        self.publisher.publish_edits(changes, change_count);
        self.counters.published(applied.len() as u64);
        for event in events {
            self.send_event(event);
        }
        applied
    }
}

/// Returns what an edit did to each RRset that it touched.
fn record_events(before: &Zone, after: &Zone, changes: &[Change]) -> Vec<DnsEvent> {
    let apex = before.apex().clone();
    let mut events = Vec::new();
    for change in crate::feed::live::coalesce(changes) {
        let (owner, rtype) = (change.owner(), change.rtype());
        let old: Option<Rrset> = before.rrset(owner, rtype);
        let new: Option<Rrset> = after.rrset(owner, rtype);
        let apex = apex.clone();
        match (old, new) {
            (None, Some(rrset)) => events.push(DnsEvent::RecordAdded { apex, rrset }),
            (Some(old), Some(new)) if old != new => {
                events.push(DnsEvent::RecordUpdated { apex, old, new });
            }
            (Some(_), None) => {
                events.push(DnsEvent::RecordDeleted { apex, owner: owner.clone(), rtype });
            }
            _ => {}
        }
    }
    events
}
