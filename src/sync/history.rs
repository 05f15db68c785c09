//! One zone's way through its revisions: manifests, packs and live changes in, steps out.
//!
//! A live change leads from any revision between its `prev` and its own to its own; a delta pack
//! likewise. A step takes whatever leads on from where the zone is, and builds the zone anew only
//! if nothing does. So a manifest that says what the live changes said costs nothing.
//!
//! **Invariant:** the revision that was handed out only rises. A live change is taken when all of
//! its parts are here and nothing before it is missing. Packs are held no longer than until the
//! step that needs them.
//! **Not here:** fetching (`sync::inbox`), building (`feed::merge` and the caller).

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use crate::feed::Hash;
use crate::feed::Revision;
use crate::feed::beat::zone_mark;
use crate::feed::items::ItemRef;
use crate::feed::live::LiveChange;
use crate::feed::manifest::{Manifest, PackKind, PackRef, ZoneMode};
use crate::feed::pack::Pack;
use crate::limits::{BATCH_CHANGES_MAX, TRAIL_LEN_MAX};
use crate::name::Name;
use crate::octets::DecodeError;
use crate::record::Change;
use crate::sync::batch::ZoneStep;

/// One zone as an edge knows it.
#[derive(Debug, Default)]
pub(crate) struct ZoneHistory {
    /// The revision of the last step handed out.
    handed_out: Option<Revision>,
    /// What the last step handed out left: a zone that is served, or none.
    mode: ZoneMode,
    /// Whether the zone is built, so that edits have something to edit.
    is_built: bool,
    /// The revision that the caller has published.
    published: Option<Revision>,
    /// Whether the zone is served at that revision.
    is_published_served: bool,
    /// The newest manifest, until it is not needed any more.
    manifest: Option<Box<Manifest>>,
    /// The hash of the manifest that was read last.
    manifest_hash: Option<Hash>,
    /// A manifest at or below this revision could not be built.
    refused: Option<Revision>,
    /// Live changes that are not handed out.
    live: BTreeMap<LiveKey, LiveParts>,
    /// Octets of all that `live` holds.
    live_octets: usize,
    /// Packs that have arrived, by hash.
    packs: HashMap<Hash, Bytes>,
    /// Octets of all that `packs` holds.
    pack_octets: usize,
    /// Revisions that the zone was at lately, rising.
    trail: VecDeque<Revision>,
}

/// Sorts live changes by what they stand on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
struct LiveKey {
    /// The epoch.
    epoch: u64,
    /// The number that the change stands on.
    prev: u64,
    /// The number that it leads to.
    number: u64,
    /// In how many parts it comes.
    part_count: u8,
}

/// The parts of a live change that are here.
#[derive(Debug, Default)]
struct LiveParts {
    /// Each part's changes.
    parts: BTreeMap<u8, Vec<Change>>,
    /// Octets that they came in.
    octets: usize,
}

/// Octets that wait.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct HeldOctets {
    /// Those of live changes.
    pub live: usize,
    /// Those of packs.
    pub packs: usize,
}

impl HeldOctets {
    /// Counts a part of them, `before`, as what it is now.
    pub(crate) fn replace(&mut self, before: Self, now: Self) {
        debug_assert!(self.live >= before.live, "a part is no more than the whole");
        debug_assert!(self.packs >= before.packs, "a part is no more than the whole");
        self.live = self.live + now.live - before.live;
        self.packs = self.packs + now.packs - before.packs;
    }
}

/// What a zone can do now.
#[derive(Debug, Default)]
pub(crate) struct ZonePlan {
    /// The step to hand out, and the revision that it leads to.
    pub step: Option<(Revision, ZoneStep)>,
    /// Packs that are missing, with their numbers.
    pub needs: Vec<(u64, Hash)>,
    /// Why the manifest cannot be used, with the pack.
    pub refusal: Option<(u64, DecodeError)>,
    /// Whether something is known that is not handed out: a manifest, one that could not be built
    /// included, or live changes.
    pub has_more: bool,
}

impl ZoneHistory {
    /// Takes a manifest, whose content has this hash; says whether it is newer than all that was
    /// known.
    pub(crate) fn handle_manifest(&mut self, manifest: Manifest, hash: Hash) -> bool {
        let revision = manifest.revision;
        self.manifest_hash = Some(hash);
        let is_news = self.handed_out.is_none_or(|handed_out| revision > handed_out)
            && self.refused.is_none_or(|refused| revision > refused)
            && self.manifest.as_ref().is_none_or(|known| revision > known.revision);
        if is_news {
            self.manifest = Some(Box::new(manifest));
            self.keep_named_packs();
        }
        is_news
    }

    /// Takes one part of a live change of `octets` octets; says whether it is news.
    pub(crate) fn handle_live(&mut self, live: LiveChange, octets: usize) -> bool {
        if self.handed_out.is_some_and(|handed_out| live.revision <= handed_out) {
            return false;
        }
        let key = LiveKey {
            epoch: live.revision.epoch,
            prev: live.prev,
            number: live.revision.number,
            part_count: live.part_count,
        };
        let held = self.live.entry(key).or_default();
        if held.parts.contains_key(&live.part) {
            return false;
        }
        held.parts.insert(live.part, live.changes);
        held.octets += octets;
        self.live_octets += octets;
        true
    }

    /// Takes a pack's octets if they may be needed; says whether they were kept.
    pub(crate) fn handle_pack(&mut self, hash: Hash, octets: Bytes, may_hold: usize) -> bool {
        let is_needed = match &self.manifest {
            Some(manifest) => manifest.packs.iter().any(|pack| pack.hash == hash),
            // It comes before its manifest; a zone that is built will hardly need it.
            None => self.handed_out.is_none() && octets.len() <= may_hold,
        };
        if !is_needed || self.packs.contains_key(&hash) {
            return false;
        }
        self.pack_octets += octets.len();
        self.packs.insert(hash, octets);
        true
    }

    /// Finds the next step, and takes it as handed out.
    pub(crate) fn plan(&mut self, apex: &Name) -> ZonePlan {
        let mut plan = ZonePlan::default();
        let mut edits = Vec::new();
        self.follow(&mut edits);
        let is_news = self.manifest.as_ref().is_some_and(|manifest| {
            self.handed_out.is_none_or(|handed_out| manifest.revision > handed_out)
        });
        let is_full = edits.len() >= BATCH_CHANGES_MAX;
        if !is_news {
            self.manifest = None;
        } else if !is_full && let Some(manifest) = self.manifest.take() {
            self.use_manifest(apex, manifest, &mut edits, &mut plan);
        }
        if self.manifest.is_none() && self.handed_out.is_some() {
            self.drop_packs();
        }
        if let (None, Some(revision)) = (&plan.step, self.handed_out.filter(|_| !edits.is_empty()))
        {
            plan.step = Some((revision, ZoneStep::Edit(edits)));
        }
        self.check_held();
        plan.has_more =
            self.manifest.is_some() || !self.live.is_empty() || self.refused > self.handed_out;
        plan
    }

    /// Asserts that what is counted as held is.
    fn check_held(&self) {
        debug_assert!(
            self.live_octets == self.live.values().map(|held| held.octets).sum::<usize>()
        );
        debug_assert!(self.pack_octets == self.packs.values().map(Bytes::len).sum::<usize>());
    }

    /// Moves on by the manifest, or says what that needs.
    fn use_manifest(
        &mut self,
        apex: &Name,
        manifest: Box<Manifest>,
        edits: &mut Vec<Change>,
        plan: &mut ZonePlan,
    ) {
        if manifest.mode != ZoneMode::Served {
            self.hand_out(manifest.revision, manifest.mode);
            edits.clear();
            plan.step = Some((manifest.revision, ZoneStep::Remove));
            return;
        }
        let deltas = self.deltas_from_here(&manifest);
        let wanted = deltas.as_ref().unwrap_or(&manifest.packs);
        let missing = wanted.iter().filter(|pack| !self.packs.contains_key(&pack.hash));
        plan.needs = missing.map(|pack| (pack.number, pack.hash)).collect();
        if !plan.needs.is_empty() {
            self.manifest = Some(manifest);
            return;
        }
        match deltas {
            Some(deltas) => match self.read_deltas(apex, &deltas) {
                Ok(changes) => {
                    edits.extend(changes);
                    self.hand_out(manifest.revision, ZoneMode::Served);
                    self.follow(edits);
                }
                Err(refusal) => {
                    self.refused = Some(manifest.revision);
                    plan.refusal = Some(refusal);
                }
            },
            None => {
                let hashes = manifest.packs.iter().map(|pack| pack.hash);
                let packs = hashes.filter_map(|hash| self.packs.get(&hash).cloned()).collect();
                debug_assert!(self.handed_out.is_none_or(|before| before < manifest.revision));
                self.hand_out(manifest.revision, ZoneMode::Served);
                edits.clear();
                self.follow(edits);
                let revision = self.handed_out.unwrap_or(manifest.revision);
                let (name_count, edits) = (manifest.name_count, std::mem::take(edits));
                plan.step = Some((revision, ZoneStep::Rebuild { packs, name_count, edits }));
            }
        }
    }

    /// Returns the delta packs that lead from where the zone is to the manifest, if any do.
    fn deltas_from_here(&self, manifest: &Manifest) -> Option<Vec<PackRef>> {
        let here = self.handed_out.filter(|_| self.is_built)?;
        if here.epoch != manifest.revision.epoch {
            return None;
        }
        let leads_on = |pack: &&PackRef| match pack.kind {
            PackKind::Base => false,
            PackKind::Delta { to, .. } => to > here.number,
        };
        let deltas: Vec<PackRef> = manifest.packs.iter().filter(leads_on).cloned().collect();
        let first_from = deltas.first().map(|pack| pack.kind);
        match first_from {
            Some(PackKind::Delta { from, .. }) if from <= here.number => Some(deltas),
            _ => None,
        }
    }

    /// Reads delta packs that are all here.
    fn read_deltas(
        &self,
        apex: &Name,
        deltas: &[PackRef],
    ) -> Result<Vec<Change>, (u64, DecodeError)> {
        let mut changes = Vec::new();
        for reference in deltas {
            let octets = self.packs.get(&reference.hash).cloned().unwrap_or_default();
            let refuse = |error| (reference.number, error);
            let pack = Pack::check(&octets).map_err(refuse)?;
            if pack.apex() != apex || !pack.is_delta() {
                let what = "zone or kind of a pack";
                return Err(refuse(DecodeError::BadValue { what, at: 0 }));
            }
            let mut items = pack.items();
            while let Some(item) = items.next() {
                changes.extend(ItemRef::to_change(item));
            }
        }
        Ok(changes)
    }

    /// Takes every live change that leads on from here, up to a full batch.
    fn follow(&mut self, edits: &mut Vec<Change>) {
        let Some(mut here) = self.handed_out else { return };
        self.drop_passed(here);
        if !self.is_built {
            return;
        }
        while edits.len() < BATCH_CHANGES_MAX {
            let Some(key) = self.next_live(here) else { break };
            let Some(parts) = self.live.remove(&key) else { break };
            self.live_octets -= parts.octets;
            edits.extend(parts.parts.into_values().flatten());
            here = Revision::new(key.epoch, key.number);
            self.hand_out(here, ZoneMode::Served);
            self.drop_passed(here);
        }
    }

    /// Finds a whole live change that stands at or below `here` and leads beyond it.
    fn next_live(&self, here: Revision) -> Option<LiveKey> {
        let low = LiveKey { epoch: here.epoch, prev: 0, number: 0, part_count: 0 };
        let high = LiveKey { prev: here.number, number: u64::MAX, part_count: u8::MAX, ..low };
        let mut reachable = self.live.range(low..=high);
        let whole = reachable.find(|(key, held)| held.parts.len() == usize::from(key.part_count));
        whole.map(|(key, _)| *key)
    }

    /// Drops live changes that lead no further than `here`.
    fn drop_passed(&mut self, here: Revision) {
        let high =
            LiveKey { epoch: here.epoch, prev: here.number, number: u64::MAX, part_count: u8::MAX };
        let reachable = self.live.range(..=high).map(|(key, _)| *key);
        let is_passed = |key: &LiveKey| Revision::new(key.epoch, key.number) <= here;
        for key in reachable.filter(is_passed).collect::<Vec<_>>() {
            self.live_octets -= self.live.remove(&key).map_or(0, |held| held.octets);
        }
    }

    /// Notes that a step to `revision` is handed out.
    fn hand_out(&mut self, revision: Revision, mode: ZoneMode) {
        assert!(self.handed_out.is_none_or(|before| revision > before), "a zone never goes back");
        self.handed_out = Some(revision);
        self.mode = mode;
        self.is_built = mode == ZoneMode::Served;
        if self.trail.len() == TRAIL_LEN_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(revision);
    }

    /// Drops packs that the manifest does not name.
    fn keep_named_packs(&mut self) {
        let Some(manifest) = &self.manifest else { return };
        let named: std::collections::HashSet<Hash> =
            manifest.packs.iter().map(|pack| pack.hash).collect();
        self.packs.retain(|hash, _| named.contains(hash));
        self.pack_octets = self.packs.values().map(Bytes::len).sum();
    }

    /// Drops all packs: the step that needed them is handed out.
    fn drop_packs(&mut self) {
        self.packs = HashMap::new();
        self.pack_octets = 0;
    }

    /// Drops live changes that cannot be taken yet; they must be told again.
    pub(crate) fn drop_live(&mut self) {
        self.live = BTreeMap::new();
        self.live_octets = 0;
    }

    /// Notes that the caller has published `revision`, and whether the zone is served there.
    pub(crate) fn handle_applied(&mut self, revision: Revision, is_served: bool) {
        if self.published.is_none_or(|published| published < revision) {
            self.published = Some(revision);
            self.is_published_served = is_served;
        }
        debug_assert!(self.published <= self.handed_out);
    }

    /// Notes that the caller could not build `revision`: what is published stays, and so long as
    /// no higher manifest comes, the zone waits. Live changes must be told again.
    pub(crate) fn handle_refused(&mut self, revision: Revision) {
        self.refused = self.refused.max(Some(revision));
        self.handed_out = self.published;
        self.is_built = self.is_published_served;
        self.mode = if self.is_built { ZoneMode::Served } else { ZoneMode::Disabled };
        let published = self.published;
        self.trail.retain(|past| Some(*past) <= published);
    }

    /// Returns the hash of the manifest that was read last.
    pub(crate) fn manifest_hash(&self) -> Option<Hash> {
        self.manifest_hash
    }

    /// Returns the revision that the caller has published.
    pub(crate) fn published(&self) -> Option<Revision> {
        self.published
    }

    /// Whether the zone exists (served or disabled) after the last step handed out.
    fn exists(&self) -> bool {
        self.handed_out.is_some() && self.mode != ZoneMode::Removed
    }

    /// Whether any step was handed out.
    pub(crate) fn has_handed_out(&self) -> bool {
        self.handed_out.is_some()
    }

    /// Whether the zone is served after the last step handed out.
    pub(crate) fn is_served(&self) -> bool {
        self.is_built
    }

    /// Whether a live change could be handed out now.
    pub(crate) fn can_follow(&self) -> bool {
        self.is_built && self.handed_out.is_some_and(|here| self.next_live(here).is_some())
    }

    /// Whether live changes wait for something that is not known, rather than for packs.
    pub(crate) fn has_gap(&self) -> bool {
        self.manifest.is_none() && !self.live.is_empty()
    }

    /// Returns how many live changes wait.
    pub(crate) fn held_count(&self) -> u64 {
        self.live.len() as u64
    }

    /// Returns how many octets wait.
    pub(crate) fn held(&self) -> HeldOctets {
        HeldOctets { live: self.live_octets, packs: self.pack_octets }
    }

    /// Returns the zone's share of a heartbeat's digest at `revision`: `None` if the zone's
    /// revision of then is not known, 0 if it did not exist.
    pub(crate) fn mark_at(&mut self, apex: &Name, revision: Revision) -> Option<u64> {
        if !self.exists() {
            // A zone that was removed since then counted at that time; before that it did not.
            return self.handed_out.is_none_or(|removed| removed <= revision).then_some(0);
        }
        while self.trail.get(1).is_some_and(|next| *next <= revision) {
            self.trail.pop_front();
        }
        let past = self.trail.front().filter(|past| **past <= revision)?;
        Some(zone_mark(apex, *past))
    }
}
