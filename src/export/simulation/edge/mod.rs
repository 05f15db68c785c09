//! An edge of the simulation: a mirror, and around it what the task that follows a feed does.
//!
//! Steps are computed and published by hand, so that what is visible can be judged at every moment;
//! the disk is what outlives a crash.

mod restart;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::NAMESPACE;
use super::author::MemoryDepot;
use super::store::{Contents, Store, apply};
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::frame::Hello;
use crate::feed::live::coalesce;
use crate::feed::merge::for_each_rrset;
use crate::feed::segment::Segment;
use crate::feed::{Hash, Revision};
use crate::mesh::log::{Log, Place};
use crate::mesh::relay::{Outline, Relay};
use crate::name::Name;
use crate::record::{Change, RecordType};
use crate::sync::batch::{ZoneBatch, ZoneStep};
use crate::sync::mirror::{Mirror, MirrorConfig, Taken, Wish};

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// A step now and then leaves out an RRset.
    DropsRrsets,
    /// That too, and what the zone comes to is not compared.
    ComparesNothing,
    /// A step now and then cannot be made.
    Refuses,
}

/// A zone that is visible.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Where its step led.
    pub(super) revision: Revision,
    /// Its RRsets.
    pub(super) contents: Contents,
}

/// A step that was computed.
struct Prepared {
    apex: Name,
    revision: Revision,
    result: Result<Option<Contents>, ()>,
    digest: Digest,
    is_of_document: bool,
}

/// Whom an edge follows.
pub(super) struct Stream {
    /// Another edge, or the exporter.
    pub(super) peer: Option<usize>,
    /// The place in the log.
    pub(super) place: Place,
    /// What is on its way.
    pub(super) frames: VecDeque<Bytes>,
}

/// What outlives a crash.
#[derive(Default)]
pub(super) struct Disk {
    /// The announcement of the version that is kept, and its root.
    root: Option<(Bytes, Bytes)>,
    /// The segments before and behind it.
    logs: [Vec<(Revision, Bytes)>; 2],
    /// The contents.
    pub(super) blobs: BTreeSet<Hash>,
}

impl Disk {
    /// Says what lies there.
    fn describe(&self) -> String {
        let position = |octets: &Bytes| {
            let head = Segment::from_octets(octets).expect("ours").head;
            (head.history.epoch, head.before.revision, head.last.revision)
        };
        let logs: Vec<_> = self.logs.iter().flatten().map(|segment| position(&segment.1)).collect();
        format!("{:?}, {logs:?}", self.root.as_ref().map(|root| position(&root.0)))
    }

    /// Begins a log behind a version, if the older one holds nothing that leads on from there.
    fn turn(&mut self, at: Revision) {
        if self.logs[0].iter().all(|segment| segment.0 <= at) {
            let [_, newer] = std::mem::take(&mut self.logs);
            self.logs = [newer, Vec::new()];
        }
    }
}

/// An edge.
pub(super) struct Edge {
    /// The machine.
    pub(super) mirror: Mirror,
    /// What is visible.
    pub(super) shown: BTreeMap<Name, Shown>,
    /// What was shown and is gone, and since when.
    gone: BTreeMap<Name, Revision>,
    /// What it hands on.
    pub(super) relay: Relay,
    /// Whom it follows.
    pub(super) stream: Option<Stream>,
    /// What is being fetched.
    pub(super) fetching: Vec<Wish>,
    /// What is being computed.
    building: Option<Vec<ZoneBatch>>,
    /// What waits for others.
    held: Vec<Prepared>,
    /// What outlives a crash.
    disk: Disk,
    /// Contents of the version that was adopted last.
    adopted: HashSet<Hash>,
    /// Contents of the version that is kept for a restart.
    kept: HashSet<Hash>,
    /// What it does wrong.
    pub(super) fault: Fault,
    /// How often it did.
    pub(super) faults: u64,
    /// Differences that were seen, and how many healed, before the last crash.
    pub(super) differed: (u64, u64),
    /// What must not be: the first of it.
    pub(super) wrong: Option<String>,
}

/// Where an edge is: what it needs of the world to do anything.
pub(super) struct World<'a> {
    /// All contents.
    pub(super) depot: &'a MemoryDepot,
    /// What was ever true.
    pub(super) store: &'a Store,
    /// The time.
    pub(super) now_ms: u64,
    /// Whether what is visible is judged.
    pub(super) is_judged: bool,
}

impl Edge {
    /// One that has nothing.
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            mirror: mirror(0),
            shown: BTreeMap::new(),
            relay: Relay::new(Arc::new(Log::new(NAMESPACE))),
            stream: None,
            fetching: Vec::new(),
            building: None,
            held: Vec::new(),
            disk: Disk::default(),
            adopted: HashSet::new(),
            kept: HashSet::new(),
            gone: BTreeMap::new(),
            fault,
            faults: 0,
            differed: (0, 0),
            wrong: None,
        }
    }

    /// Whether a content lies on its disk.
    pub(super) fn has(&self, hash: &Hash) -> bool {
        self.disk.blobs.contains(hash)
    }

    /// Differences that it has seen, and how many healed.
    pub(super) fn differences(&self) -> (u64, u64) {
        let stats = self.mirror.stats();
        (self.differed.0 + stats.differed, self.differed.1 + stats.healed)
    }

    /// What it says to whom it wants to follow.
    pub(super) fn hello(&self) -> Hello {
        let (history, position) = self.mirror.place();
        let proofs = self.relay.proofs();
        Hello { namespace: NAMESPACE, history, position, proofs, ..Hello::default() }
    }

    /// Takes a segment as it comes from a peer.
    pub(super) fn take_new(&mut self, octets: &Bytes, world: &World<'_>) {
        self.take_segment(octets, true, world.now_ms);
        self.mirror.handle_contact(world.now_ms);
    }

    /// Takes a segment, from a peer if `is_new`.
    fn take_segment(&mut self, octets: &Bytes, is_new: bool, now_ms: u64) -> bool {
        let segment = Segment::from_octets(octets).expect("written by the exporter");
        let (head, outline) = (segment.head, Outline::of(&segment));
        let taken = self.mirror.handle_segment(segment, now_ms);
        if is_new && outline.is_to_keep(taken) {
            let at = Revision::new(head.history.epoch, head.last.revision);
            self.disk.logs[1].push((at, octets.clone()));
        }
        self.relay.take(octets, outline, taken, is_new);
        taken != Taken::Refused
    }

    /// Takes a content that was asked for, or that it cannot be had.
    pub(super) fn take_content(&mut self, wish: Wish, is_here: bool, world: &World<'_>) {
        if !is_here {
            return self.mirror.handle_content_failed(wish.hash, world.now_ms);
        }
        self.disk.blobs.insert(wish.hash);
        let octets = wish.is_loaded.then(|| world.depot.octets(&wish.hash)).flatten();
        self.mirror.handle_content(wish.hash, octets);
    }

    /// Lets contents go that nobody names.
    pub(super) fn collect(&mut self) {
        let taking = self.mirror.contents().cloned().unwrap_or_default();
        let spared = [&taking, &self.adopted, &self.kept];
        self.disk.blobs.retain(|hash| spared.iter().any(|hashes| hashes.contains(hash)));
    }

    /// Does what follows from what was taken.
    pub(super) fn work(&mut self, is_slow: bool, world: &World<'_>) {
        let mut wishes = self.mirror.poll_wishes(world.now_ms);
        wishes.sort_unstable_by_key(|wish| wish.hash);
        self.fetching.extend(wishes);
        while self.building.is_none()
            && let Some(batches) = self.mirror.poll_batch()
        {
            if is_slow {
                self.building = Some(batches);
            } else {
                self.prepare_all(batches, world);
                self.publish_held(false, world);
            }
        }
        if let Some((version, at, root)) = self.mirror.whole_version()
            && let Some(announcement) = self.relay.announcement(version)
        {
            self.disk.root = Some((announcement.clone(), root));
            self.disk.turn(at);
            self.kept = self.mirror.contents().cloned().unwrap_or_default();
            self.mirror.handle_kept(version);
        }
        self.publish_held(false, world);
        self.take_adopted();
        while self.mirror.poll_complaint().is_some() {}
    }

    /// Ends a computation.
    pub(super) fn finish_building(&mut self, world: &World<'_>) {
        if let Some(batches) = self.building.take() {
            self.prepare_all(batches, world);
        }
    }

    /// Computes steps.
    fn prepare_all(&mut self, batches: Vec<ZoneBatch>, world: &World<'_>) {
        for batch in batches {
            let is_faulty = self.fault != Fault::None
                && world.now_ms.is_multiple_of(7)
                && world.is_judged
                && batch.revision.number % 3 == 0;
            let prepared = self.prepare(batch, is_faulty);
            self.held.push(prepared);
        }
    }

    /// Computes a step.
    fn prepare(&mut self, batch: ZoneBatch, is_faulty: bool) -> Prepared {
        let ZoneBatch { apex, revision, step, proof } = batch;
        let proof = proof.expect("a mirror tells it");
        let key = proof.key;
        let is_of_document = proof.is_of_document;
        let (mut result, digest) = match step {
            ZoneStep::Remove => (Ok(None), Digest::default()),
            ZoneStep::Rebuild { packs, edits, .. } => match build(&apex, &packs, &edits, key) {
                Ok((contents, digest)) => (Ok(Some(contents)), digest),
                Err(()) => (Err(()), Digest::default()),
            },
            ZoneStep::Edit(changes) => match self.shown.get(&apex) {
                Some(shown) => {
                    let (mut contents, mut digest) = (shown.contents.clone(), proof.before);
                    for change in coalesce(&changes) {
                        let place = (change.owner().clone(), change.rtype());
                        digest = key.after(digest, contents.get(&place), change);
                        apply(&mut contents, change);
                    }
                    (Ok(Some(contents)), digest)
                }
                None => (Err(()), Digest::default()),
            },
        };
        let mut told = digest;
        if is_faulty && self.fault == Fault::Refuses {
            self.faults += 1;
            result = Err(());
        } else if is_faulty
            && let Ok(Some(contents)) = &mut result
            && let Some(place) = contents.keys().find(|place| place.1 != RecordType::SOA).cloned()
            && let Some(lost) = contents.remove(&place)
        {
            self.faults += 1;
            if self.fault == Fault::DropsRrsets {
                told = digest.minus(key.rrset(&lost.as_ref()));
            }
        }
        Prepared { apex, revision, result, digest: told, is_of_document }
    }

    /// Publishes what was computed, unless it waits for others.
    fn publish_held(&mut self, is_over: bool, world: &World<'_>) {
        self.held.retain(|step| self.mirror.is_current(step.revision));
        if self.held.is_empty() {
            return;
        }
        let (is_gathering, is_keeping) = (self.mirror.is_gathering(), self.mirror.is_keeping());
        if (is_gathering || self.building.is_some()) && !is_over {
            return;
        }
        let mut ready = std::mem::take(&mut self.held);
        if is_keeping && !is_over {
            self.held = ready.extract_if(.., |step| step.is_of_document).collect();
        }
        if ready.is_empty() {
            return;
        }
        let epoch_before = self.epoch();
        let mut settled = Vec::new();
        for step in ready {
            self.judge_step(&step, world);
            if let Ok(contents) = &step.result {
                match contents {
                    Some(contents) => {
                        let (revision, contents) = (step.revision, contents.clone());
                        self.shown.insert(step.apex.clone(), Shown { revision, contents });
                    }
                    None => {
                        self.gone.insert(step.apex.clone(), step.revision);
                        self.shown.remove(&step.apex);
                    }
                }
            }
            settled.push((step.apex, step.digest, step.result.map(|zone| zone.is_some())));
        }
        for (apex, digest, result) in settled {
            match result {
                Ok(is_there) => self.mirror.handle_applied(&apex, digest, is_there, world.now_ms),
                Err(()) => self.mirror.handle_refused(&apex, world.now_ms),
            }
        }
        if self.epoch() > epoch_before {
            self.judge_together(world);
        }
    }

    /// The newest history that anything visible is of.
    fn epoch(&self) -> u64 {
        self.shown.values().map(|shown| shown.revision.epoch).max().unwrap_or(0)
    }

    /// Judges a step that becomes visible.
    fn judge_step(&mut self, step: &Prepared, world: &World<'_>) {
        let Prepared { apex, revision, result: Ok(contents), .. } = step else { return };
        let shown = self.shown.get(apex).map(|shown| shown.revision);
        let before = shown.or(self.gone.get(apex).copied()).unwrap_or_default();
        if *revision < before && !world.store.is_parted(self.mirror.place().0) {
            self.complain(format!("{apex} goes back from {before:?} to {revision:?}"));
        }
        let is_true = world.store.was(revision.epoch, apex, revision.number, contents.as_ref());
        if !is_true && matches!(self.fault, Fault::None | Fault::ComparesNothing) {
            self.complain(format!("{apex} never was what is shown of it at {revision:?}"));
        }
    }

    /// Judges that everything visible is of one history, whose first zones became visible now.
    fn judge_together(&mut self, world: &World<'_>) {
        let known: BTreeMap<Name, u64> =
            self.mirror.zone_digests().map(|(apex, at, _)| (apex.clone(), at)).collect();
        let epoch = self.epoch();
        let old = self.shown.iter().find(|(apex, shown)| {
            let at = known.get(*apex).copied().unwrap_or(0);
            shown.revision.epoch < epoch && !world.store.was(epoch, apex, at, Some(&shown.contents))
        });
        if let Some((apex, shown)) = old
            && self.fault == Fault::None
        {
            let text = format!("{apex} is of {:?} where others are of {epoch}", shown.revision);
            self.complain(text);
        }
    }

    /// Notes what must not be.
    fn complain(&mut self, text: String) {
        self.wrong.get_or_insert(text);
    }

    /// Lets others follow from a version that was adopted.
    fn take_adopted(&mut self) {
        let Some(adopted) = self.mirror.poll_adopted() else { return };
        self.adopted = adopted.contents;
        if !self.relay.adopt(self.mirror.place(), adopted.version, adopted.root.at) {
            self.mirror.refresh();
        }
    }
}

/// A mirror that knows nothing.
fn mirror(now_ms: u64) -> Mirror {
    let config = MirrorConfig {
        namespace: NAMESPACE,
        zone_filter: None,
        stale_after_ms: 300_000,
        is_behind: false,
    };
    Mirror::new(config, now_ms)
}

/// Builds a zone.
fn build(
    apex: &Name,
    packs: &[Bytes],
    edits: &[Change],
    key: DigestKey,
) -> Result<(Contents, Digest), ()> {
    let (mut contents, mut digest) = (Contents::new(), Digest::default());
    let built = for_each_rrset(apex, packs, edits, |rrset| {
        digest = digest.plus(key.rrset(&rrset));
        let change = crate::feed::items::ItemRef::Put(rrset).to_change().expect("proven");
        apply(&mut contents, &change);
    });
    built.map(|()| (contents, digest)).map_err(|_| ())
}
