//! Makes what the sync core hands out visible: builds zones, edits them, publishes.
//!
//! A zone is built by streaming its packs into a builder, without a copy of a record in between,
//! off the threads that serve the network. Edits are made in place. All zones of one call are
//! published at once. A record that breaks a rule is left out and counted; the rest applies.
//!
//! **Invariant:** one zone is written by one step at a time, in the order of its revisions.
//! **Not here:** what is to be done (`sync`), events' form (`event`).

use std::sync::Arc;

use super::AspenDnsClient;
use super::event::DnsEvent;
use crate::catalog::CatalogChange;
use crate::feed::Revision;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::live::coalesce;
use crate::feed::merge::{MergeError, for_each_rrset};
use crate::name::Name;
use crate::publish::stage::Rank;
use crate::record::{Change, Rrset};
use crate::sync::batch::{Proof, ZoneBatch, ZoneStep};
use crate::zone::{BuildError, EditReport, Zone, ZoneBuilder};

/// What became of one step.
#[derive(Debug)]
pub(super) struct Applied {
    /// The zone.
    pub(super) apex: Name,
    /// The revision that the step leads to.
    pub(super) revision: Revision,
    /// Whether it was published, or why not.
    pub(super) outcome: Result<Served, ApplyError>,
    /// What the zone comes to, where the feed tells what it must.
    pub(super) digest: Digest,
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
    pub(super) revision: Revision,
    /// The new zone; none removes it.
    zone: Result<Option<Arc<Zone>>, ApplyError>,
    /// What subscribers hear.
    events: Vec<DnsEvent>,
    /// Records that were left out.
    refused: u64,
    /// Changes that the step is made of.
    change_count: u64,
    /// What the zone comes to, where the feed tells what it must.
    digest: Digest,
    /// Whether it comes from a version of the document that must be kept first.
    pub(super) is_of_document: bool,
}

impl AspenDnsClient {
    /// Computes one step. Takes long for a zone that is built anew.
    pub(super) fn prepare(&self, batch: ZoneBatch) -> Prepared {
        let ZoneBatch { apex, revision, step, proof } = batch;
        let change_count = step.change_count() as u64;
        let (events, zone, digest) = (Vec::new(), Ok(None), Digest::default());
        let is_of_document = proof.is_some_and(|proof| proof.is_of_document);
        let mut prepared = Prepared {
            apex,
            revision,
            zone,
            events,
            refused: 0,
            change_count,
            digest,
            is_of_document,
        };
        match step {
            ZoneStep::Remove => {
                let apex = prepared.apex.clone();
                prepared.events.push(DnsEvent::ZoneRemoved { apex });
            }
            ZoneStep::Rebuild { packs, name_count, edits } => {
                let key = proof.map(|proof| proof.key);
                let built = self.build(&prepared.apex, &packs, name_count, &edits, key);
                drop(packs);
                prepared.zone = built.map(|(zone, refused, digest)| {
                    (prepared.refused, prepared.digest) = (refused, digest);
                    let (apex, serial) = (prepared.apex.clone(), zone.serial());
                    prepared.events.push(DnsEvent::ZoneBuilt { apex, revision, serial });
                    Some(Arc::new(zone))
                });
            }
            ZoneStep::Edit(changes) => self.prepare_edit(&mut prepared, &changes, proof),
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
        key: Option<DigestKey>,
    ) -> Result<(Zone, u64, Digest), ApplyError> {
        let mut builder = ZoneBuilder::new(apex.clone(), self.seed, name_count);
        let (mut refused, mut digest) = (0, Digest::default());
        for_each_rrset(apex, packs, edits, |rrset| match builder.push(rrset) {
            Ok(()) => {
                if let Some(key) = key {
                    digest = digest.plus(key.rrset(&rrset));
                }
            }
            Err(error) => {
                if refused == 0 {
                    tracing::warn!(%apex, %error, "a record is left out of its zone");
                }
                refused += 1;
            }
        })?;
        Ok((builder.finish()?, refused, digest))
    }

    /// Computes an edit of the zone as it is now.
    fn prepare_edit(&self, prepared: &mut Prepared, changes: &[Change], proof: Option<Proof>) {
        let Some(zone) = &self.stage.zone(Rank::Feed, &prepared.apex) else {
            prepared.zone = Err(ApplyError::NoZone);
            return;
        };
        let (edited, report) = zone.edit(changes);
        if let Some(proof) = proof {
            prepared.digest = digest_after(proof, zone, changes, &report);
        }
        if let Some((index, error)) = report.refused.first() {
            let owner = changes.get(*index).map(Change::owner);
            tracing::warn!(apex = %prepared.apex, ?owner, %error, "a change is left out");
        }
        prepared.refused = report.refused.len() as u64;
        if self.events.receiver_count() > 0 {
            prepared.events = record_events(zone, &edited, changes);
        }
        prepared.zone = Ok(Some(Arc::new(edited)));
    }

    /// Publishes computed steps, all at once, and tells subscribers.
    pub(super) fn publish(&self, steps: Vec<Prepared>) -> Vec<Applied> {
        let mut changes = Vec::with_capacity(steps.len());
        let mut events = Vec::new();
        let mut applied = Vec::with_capacity(steps.len());
        for step in steps {
            self.counters.refused(step.refused);
            let apex = step.apex;
            let outcome = match step.zone {
                Ok(zone) => {
                    let served = if zone.is_some() { Served::Yes } else { Served::No };
                    let change = match zone {
                        Some(zone) => CatalogChange::Put(zone),
                        None => CatalogChange::Remove(apex.clone()),
                    };
                    changes.push((change, step.change_count));
                    if self.stage.zone(Rank::File, &apex).is_none() {
                        events.extend(step.events);
                    }
                    Ok(served)
                }
                Err(error) => Err(error),
            };
            applied.push(Applied { apex, revision: step.revision, outcome, digest: step.digest });
        }
        self.stage.publish_edits(Rank::Feed, changes);
        self.counters.published(applied.len() as u64);
        for event in events {
            self.send_event(event);
        }
        applied
    }
}

/// Returns what a zone comes to after changes of which some may have been refused.
fn digest_after(proof: Proof, before: &Zone, changes: &[Change], report: &EditReport) -> Digest {
    let Proof { key, before: mut digest, .. } = proof;
    let made: Vec<Change> = match report.refused.is_empty() {
        true => Vec::new(),
        false => {
            let is_refused = |at: usize| report.refused.iter().any(|(index, _)| *index == at);
            let made = changes.iter().enumerate().filter(|(at, _)| !is_refused(*at));
            made.map(|(_, change)| change.clone()).collect()
        }
    };
    let changes = if report.refused.is_empty() { changes } else { &made };
    for change in coalesce(changes) {
        let old = before.rrset(change.owner(), change.rtype());
        digest = key.after(digest, old.as_ref(), change);
    }
    digest
}

/// Returns what an edit did to each RRset that it touched.
fn record_events(before: &Zone, after: &Zone, changes: &[Change]) -> Vec<DnsEvent> {
    let apex = before.apex().clone();
    let mut events = Vec::new();
    for change in coalesce(changes) {
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
