//! Steps of zones: handed out, done, compared with what they must come to.
//!
//! **Invariant:** of each zone one step is on its way at a time.
//! **Not here:** where steps come from (`mirror`, `mirror::document`).

use std::collections::HashMap;

use bytes::Bytes;

use super::zone::{Build, Handed, Served, ZoneMirror};
use super::{Differing, Mirror};
use crate::feed::digest::Digest;
use crate::feed::pack::Pack;
use crate::feed::segment::{LogStep, LogZone};
use crate::feed::{Hash, Revision};
use crate::limits::{
    BATCH_CHANGES_MAX, DIFFER_RETRY_MS_MAX, DIFFER_RETRY_MS_MIN, DIFFERING_ZONES_MAX,
};
use crate::name::Name;
use crate::record::Change;
use crate::sync::batch::{Proof, ZoneBatch, ZoneStep};

impl Mirror {
    /// Returns steps that can be done now, of each zone one; none if there is none.
    pub fn poll_batch(&mut self) -> Option<Vec<ZoneBatch>> {
        if self.documents.is_reading_ahead(self.position) {
            // A zone that is handed out before the log has caught up would show an older state first.
            return None;
        }
        let mut batches = Vec::new();
        let mut changes = 0;
        while changes < BATCH_CHANGES_MAX
            && let Some(apex) = self.ready.pop_first()
        {
            if let Some(batch) = self.next_step(&apex) {
                changes += batch.step.change_count();
                batches.push(batch);
            }
        }
        (!batches.is_empty()).then_some(batches)
    }

    /// Returns the next step of a zone, if there is one that can be done.
    fn next_step(&mut self, apex: &Name) -> Option<ZoneBatch> {
        let zone = self.zones.get_mut(apex)?;
        if zone.handed.is_some() {
            return None;
        }
        let is_blocked = zone.wants.is_some();
        let build = zone.build.take_if(|build| build.missing == 0);
        let is_of_document = build.is_some()
            || self.documents.is_bridging()
            || zone.leans_on > self.documents.kept_revision(self.history);
        let (step, mut revision, mut digest) = match build {
            Some(build) => {
                let packs = assemble(&mut self.documents, &build);
                let (edits, end) = take_changes(zone, is_blocked);
                let (revision, digest) = end.unwrap_or((build.revision, build.digest));
                let name_count = build.names;
                (ZoneStep::Rebuild { packs, name_count, edits }, revision, digest)
            }
            None if zone.build.is_some() || is_blocked => return None,
            None => {
                let first = zone.queue.front()?;
                let (revision, digest) = (first.zone.revision, first.zone.digest);
                match first.zone.step.clone() {
                    LogStep::Removed => {
                        zone.queue.pop_front();
                        (ZoneStep::Remove, revision, Digest::default())
                    }
                    LogStep::Whole(pack) => {
                        zone.queue.pop_front();
                        let (edits, end) = take_changes(zone, false);
                        let (revision, digest) = end.unwrap_or((revision, digest));
                        let step = ZoneStep::Rebuild { packs: vec![pack], name_count: 0, edits };
                        (step, revision, digest)
                    }
                    LogStep::Changes(_) => {
                        let (edits, end) = take_changes(zone, false);
                        let (revision, digest) = end?;
                        (ZoneStep::Edit(edits), revision, digest)
                    }
                    LogStep::Document => return None,
                }
            }
        };
        if matches!(step, ZoneStep::Remove) {
            digest = Digest::default();
        }
        revision = revision.max(1);
        let is_rebuild = matches!(step, ZoneStep::Rebuild { .. });
        let epoch = self.history.epoch;
        zone.handed = Some(Handed { revision, digest, is_rebuild });
        let proof = Some(Proof { key: self.key, before: zone.served.digest, is_of_document });
        self.note_lacking(apex);
        let revision = Revision::new(epoch, revision);
        Some(ZoneBatch { apex: apex.clone(), revision, step, proof })
    }

    /// Whether a step may become visible: one of a history that is over may not, and is forgotten.
    pub(crate) fn is_current(&self, revision: Revision) -> bool {
        revision.epoch == self.history.epoch
    }

    /// Takes that a step is visible, and what the zone comes to then.
    pub fn handle_applied(&mut self, apex: &Name, digest: Digest, is_there: bool, now_ms: u64) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let Some(handed) = zone.handed.take() else { return };
        self.stats.steps += 1;
        self.serve(apex, Served { revision: handed.revision, digest, is_there });
        self.compare(apex, handed, digest, is_there, now_ms);
        self.go_on(apex, handed.revision);
        self.finish_taking();
        self.compare_whole(now_ms);
    }

    /// Takes that a step could not be made: the zone stays as it is, and is taken anew.
    pub fn handle_refused(&mut self, apex: &Name, now_ms: u64) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let Some(handed) = zone.handed.take() else { return };
        zone.wants = zone.wants.max(Some(handed.revision));
        self.differ(apex, now_ms);
        self.note_lacking(apex);
        // What it is built from next may be here already.
        self.ready.insert(apex.clone());
        self.finish_taking();
    }

    /// Takes that zones are served that came another way: what they come to is not known, and they go
    /// unless a version of the document has them.
    pub(crate) fn adopt_served(&mut self, apexes: Vec<Name>) {
        for apex in apexes {
            let zone = self.zones.entry(apex.clone()).or_default();
            if !zone.served.is_there {
                zone.is_suspect = true;
                let served = Served { revision: 0, digest: Digest::default(), is_there: true };
                self.serve(&apex, served);
            }
        }
    }

    /// Compares what a zone comes to with what it must.
    fn compare(
        &mut self,
        apex: &Name,
        handed: Handed,
        digest: Digest,
        is_there: bool,
        now_ms: u64,
    ) {
        let is_known = self.differing.contains_key(apex);
        if is_there && digest != handed.digest {
            if !is_known || handed.is_rebuild {
                self.stats.differed += 1;
                self.complain(format!(
                    "the zone {apex} at revision {} comes to {digest} and must come to {}: \
                     it is taken anew",
                    handed.revision, handed.digest
                ));
                self.differ(apex, now_ms);
            }
        } else if is_known && (handed.is_rebuild || !is_there) {
            self.stats.healed += 1;
            self.differing.remove(apex);
            if let Some(zone) = self.zones.get_mut(apex) {
                zone.is_suspect = false;
            }
            self.complain(format!("the zone {apex} agrees with its authority again"));
        } else if let Some(zone) = self.zones.get_mut(apex)
            && handed.is_rebuild
        {
            zone.is_suspect = false;
        }
    }

    /// Notes that a zone differs, and when it is to be taken from the document again.
    fn differ(&mut self, apex: &Name, now_ms: u64) {
        if let Some(zone) = self.zones.get_mut(apex) {
            zone.is_suspect = true;
        }
        if let Some(known) = self.differing.get_mut(apex) {
            known.again(now_ms);
        } else if self.differing.len() < DIFFERING_ZONES_MAX {
            self.differing.insert(apex.clone(), Differing::first(now_ms));
        } else {
            self.stats.bound_hits += 1;
        }
    }

    /// Has zones that differ wait for the document when they are due, so that it can overtake the log.
    pub fn handle_time(&mut self, now_ms: u64) {
        let due: Vec<Name> = self
            .differing
            .iter()
            .filter(|(_, differing)| differing.due_ms <= now_ms)
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in due {
            if let Some(differing) = self.differing.get_mut(&apex) {
                differing.again(now_ms);
            }
            if let Some(zone) = self.zones.get_mut(&apex)
                && zone.wants.is_none()
                && zone.build.is_none()
            {
                zone.wants = Some(zone.served.revision.max(1));
                self.note_lacking(&apex);
            }
        }
        if let Some(differing) = &mut self.differs_as_a_whole
            && differing.due_ms <= now_ms
        {
            differing.again(now_ms);
            self.is_whole_due = true;
        }
        self.contact.handle_time(now_ms);
    }

    /// Whether a zone waits for a version at a revision that is new.
    pub(super) fn needs_first(&self, at: u64) -> bool {
        self.wanting.iter().any(|apex| {
            self.zones.get(apex).and_then(ZoneMirror::wanted).is_some_and(|wanted| wanted <= at)
        })
    }

    /// Whether a zone that differs, or all of them together, wait for a version at a revision.
    pub(super) fn needs_again(&self, at: u64) -> bool {
        let waits = |apex: &&Name| {
            self.differing.contains_key(*apex)
                && self
                    .zones
                    .get(*apex)
                    .and_then(|zone| zone.wants)
                    .is_some_and(|wanted| wanted <= at)
        };
        let is_whole =
            self.is_whole_due && self.position.is_some_and(|position| position.revision <= at);
        is_whole || self.wanting.iter().any(|apex| waits(&apex))
    }

    /// Notes what is served of a zone.
    pub(super) fn serve(&mut self, apex: &Name, served: Served) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let before = std::mem::replace(&mut zone.served, served);
        if before.is_there {
            self.sum = self.sum.wrapping_sub(self.key.zone(apex, before.revision, before.digest));
            self.count -= 1;
        }
        if served.is_there {
            self.sum = self.sum.wrapping_add(self.key.zone(apex, served.revision, served.digest));
            self.count += 1;
        }
        self.revision_max = self.revision_max.max(served.revision);
    }

    /// Goes on with a zone after a step.
    fn go_on(&mut self, apex: &Name, revision: u64) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        zone.pass(revision);
        let is_gone = zone.is_gone();
        if zone.lacks() {
            self.ready.insert(apex.clone());
        }
        self.note_lacking(apex);
        if is_gone {
            self.absent.remove(apex);
            self.zones.remove(apex);
            self.differing.remove(apex);
        }
    }

    /// Notes from which revision on a zone lacks something.
    pub(super) fn note_lacking(&mut self, apex: &Name) {
        let position = self.position.map_or(0, |position| position.revision);
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let now = zone.first_lacking(position);
        let before = std::mem::replace(&mut zone.lacking, now);
        let is_awaited = zone.build.is_some()
            || zone.wanted().is_some()
            || zone.handed.is_some_and(|handed| handed.is_rebuild);
        if is_awaited && !zone.served.is_there {
            self.absent.insert(apex.clone());
        } else {
            self.absent.remove(apex);
        }
        if zone.wanted().is_some() {
            self.wanting.insert(apex.clone());
        } else {
            self.wanting.remove(apex);
        }
        if before == now {
            return;
        }
        if let Some(revision) = now {
            *self.lacking.entry(revision).or_insert(0) += 1;
        }
        if let Some(revision) = before
            && let Some(count) = self.lacking.get_mut(&revision)
        {
            *count -= 1;
            if *count == 0 {
                self.lacking.remove(&revision);
            }
        }
    }

    /// Compares the sum of all zones with the newest heartbeat, where both speak of one position.
    pub(super) fn compare_whole(&mut self, now_ms: u64) {
        let Some((beat, at, _)) = self.beat else { return };
        let is_comparable = self.config.zone_filter.is_none()
            && self.lacking.is_empty()
            && self.position.is_some_and(|position| position.revision == at.revision)
            && self.revision_max <= at.revision;
        if !is_comparable {
            return;
        }
        if (self.sum, self.count) == (beat.sum, beat.zones) {
            self.differs_as_a_whole = None;
            self.is_whole_due = false;
            self.stats.proofs += 1;
        } else if self.differs_as_a_whole.is_none() {
            self.stats.differed += 1;
            self.complain(format!(
                "all zones together come to {:032x}/{} and must come to {:032x}/{}: \
                 they are compared one by one",
                self.sum, self.count, beat.sum, beat.zones
            ));
            self.differs_as_a_whole = Some(Differing::first(now_ms));
        }
    }
}

impl Differing {
    /// Something that differs for the first time.
    fn first(now_ms: u64) -> Self {
        Self { due_ms: now_ms, wait_ms: DIFFER_RETRY_MS_MIN }
    }

    /// Waits longer for the next try.
    fn again(&mut self, now_ms: u64) {
        self.due_ms = now_ms + self.wait_ms;
        self.wait_ms = (self.wait_ms * 2).min(DIFFER_RETRY_MS_MAX);
    }
}

/// Cuts the packs of a zone out of their bundles.
fn assemble(documents: &mut super::document::Documents, build: &Build) -> Vec<Bytes> {
    let mut bundles: HashMap<Hash, Option<Bytes>> = HashMap::new();
    let mut packs = Vec::with_capacity(build.packs.len());
    for (bundle, place) in &build.packs {
        let octets =
            bundles.entry(bundle.hash).or_insert_with(|| documents.claim(&bundle.hash)).as_ref();
        let (start, end) = (place.offset as usize, place.offset as usize + place.len as usize);
        let pack =
            octets.filter(|octets| octets.len() >= end).map(|octets| octets.slice(start..end));
        // An empty pack is none, and makes the build fail as it should.
        packs.push(pack.unwrap_or_default());
    }
    packs
}

/// Takes the changes that come next, and where they lead.
fn take_changes(zone: &mut ZoneMirror, is_blocked: bool) -> (Vec<Change>, Option<(u64, Digest)>) {
    let mut changes = Vec::new();
    let mut end = None;
    while !is_blocked
        && let Some(LogZone { step: LogStep::Changes(pack), revision, digest, .. }) =
            zone.queue.front().map(|step| &step.zone)
    {
        end = Some((*revision, *digest));
        if let Ok(pack) = Pack::check(pack) {
            let mut items = pack.items();
            while let Some(item) = items.next() {
                changes.extend(item.to_change());
            }
        }
        zone.queue.pop_front();
    }
    (changes, end)
}
