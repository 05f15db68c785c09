//! A model of an authority's feed and of an edge, driven by choices that a seed or a fuzzer makes.
//!
//! The authority commits, folds, removes zones and begins new histories, and writes entries as an
//! exporter does. The edge gets them in any order, some never, some twice, some before their
//! content, and at last a listing of what the replica holds. What it publishes is compared, step
//! by step, with the authority's history: every published revision must be exactly that revision.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aspen_dns::feed::Hash;
use aspen_dns::feed::Revision;
use aspen_dns::feed::beat::{Beat, FeedHeader, zone_mark};
use aspen_dns::feed::items::item_of;
use aspen_dns::feed::key;
use aspen_dns::feed::live::{coalesce, live_keys};
use aspen_dns::feed::manifest::{Manifest, PackKind, PackRef, ZoneMode};
use aspen_dns::feed::pack::PackWriter;
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use bytes::Bytes;

pub mod edge;
#[path = "../seeded/mod.rs"]
mod seeded;

pub use seeded::Seeded;

/// Where choices come from.
pub trait Choose {
    /// Returns a number below `count`, which is not 0.
    fn below(&mut self, count: usize) -> usize;

    /// Whether something with this chance of a hundred happens.
    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

impl Choose for Seeded {
    fn below(&mut self, count: usize) -> usize {
        Self::below(self, count)
    }
}

/// A zone's RRsets.
pub type Contents = BTreeMap<(Name, RecordType), Rrset>;

/// The author of the feed.
pub const AUTHOR: [u8; 32] = [9; 32];

/// One entry as it was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its key.
    pub key: Vec<u8>,
    /// The hash of its content.
    pub hash: Hash,
    /// The length of its content.
    pub len: u64,
    /// When, by the replica.
    pub timestamp_us: u64,
}

/// The authority: its zones, their history, and the feed that it has written.
#[derive(Default)]
pub struct Authority {
    /// The newest revision.
    revision: Revision,
    /// Each zone that exists.
    zones: BTreeMap<Name, ZoneState>,
    /// What each zone held at each of its revisions; `None` if it was gone.
    pub history: HashMap<(Name, Revision), Option<Contents>>,
    /// Every entry ever written, oldest first.
    pub events: Vec<Written>,
    /// What the replica holds.
    pub replica: BTreeMap<Vec<u8>, Written>,
    /// Content by hash.
    pub blobs: HashMap<Hash, Bytes>,
    /// The replica's clock.
    clock_us: u64,
    /// The number of the next pack.
    pack_number: u64,
}

/// A zone at the authority.
struct ZoneState {
    /// What it holds.
    contents: Contents,
    /// Its last revision.
    revision: Revision,
    /// Its manifest.
    manifest: Manifest,
    /// Changes since the manifest.
    unfolded: Vec<Change>,
}

impl Authority {
    /// Begins with a header.
    pub fn new() -> Self {
        let mut authority = Self { revision: Revision::new(1, 0), ..Self::default() };
        authority.write_header();
        authority
    }

    /// Does one thing.
    pub fn act(&mut self, choose: &mut impl Choose) {
        let apex = apexes()[choose.below(3)].clone();
        match choose.below(20) {
            _ if !self.zones.contains_key(&apex) => self.create(apex, choose),
            0 => self.remove(&apex),
            1 => self.create(apex, choose),
            2 => self.restart_history(choose),
            3..=5 => self.fold(&apex, false),
            6..=8 => self.fold(&apex, true),
            9 => self.commit(&apex, 120, choose),
            10 => self.write_beat(),
            11 => self.commit_twice(&apex, choose),
            _ => self.commit(&apex, 4, choose),
        }
    }

    /// Creates a zone, or replaces it whole.
    fn create(&mut self, apex: Name, choose: &mut impl Choose) {
        self.revision.number += 1 + choose.below(2) as u64;
        let mut contents = Contents::new();
        for _ in 0..choose.below(6) + 1 {
            apply(&mut contents, &change(&apex, choose));
        }
        self.export_whole(apex, contents);
    }

    /// Writes a zone as base packs and a manifest.
    fn export_whole(&mut self, apex: Name, contents: Contents) {
        let changes: Vec<Change> = contents.values().cloned().map(Change::Put).collect();
        let packs = self.write_packs(&apex, None, &changes);
        let manifest = Manifest {
            apex: apex.clone(),
            mode: ZoneMode::Served,
            revision: self.revision,
            serial: 1,
            name_count: contents.len() as u64,
            settings: Vec::new(),
            packs,
        };
        self.write_manifest(&manifest);
        self.note(&apex, Some(contents.clone()));
        let revision = self.revision;
        self.zones.insert(apex, ZoneState { contents, revision, manifest, unfolded: Vec::new() });
    }

    /// Removes a zone.
    fn remove(&mut self, apex: &Name) {
        self.revision.number += 1;
        let Some(mut zone) = self.zones.remove(apex) else { return };
        zone.manifest.mode = ZoneMode::Removed;
        zone.manifest.revision = self.revision;
        zone.manifest.packs.clear();
        self.write_manifest(&zone.manifest);
        self.note(apex, None);
        self.delete(&key::live_prefix(apex));
    }

    /// Changes some RRsets in one commit.
    fn commit(&mut self, apex: &Name, most: usize, choose: &mut impl Choose) {
        let prev = self.zones[apex].revision;
        self.revision.number += 1 + choose.below(2) as u64;
        let changes: Vec<Change> =
            (0..choose.below(most) + 1).map(|_| change(apex, choose)).collect();
        self.change_zone(apex, &changes);
        self.write_live(apex, prev.number, &changes);
    }

    /// Makes two commits; writes one live change for both, and perhaps one for the first alone, as
    /// an exporter does that was stopped in between.
    fn commit_twice(&mut self, apex: &Name, choose: &mut impl Choose) {
        let prev = self.zones[apex].revision;
        let mut all = Vec::new();
        for round in 0..2 {
            self.revision.number += 1;
            let changes = vec![change(apex, choose), change(apex, choose)];
            self.change_zone(apex, &changes);
            all.extend(changes.clone());
            if round == 0 && choose.percent(50) {
                self.write_live(apex, prev.number, &changes);
            }
        }
        self.write_live(apex, prev.number, &all);
    }

    /// Applies a commit at the authority.
    fn change_zone(&mut self, apex: &Name, changes: &[Change]) {
        let revision = self.revision;
        let Some(zone) = self.zones.get_mut(apex) else { return };
        changes.iter().for_each(|change| apply(&mut zone.contents, change));
        zone.unfolded.extend_from_slice(changes);
        zone.revision = revision;
        let contents = zone.contents.clone();
        self.note(apex, Some(contents));
    }

    /// Folds a zone's live changes.
    fn fold(&mut self, apex: &Name, is_delta: bool) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let (from, to) = (zone.manifest.revision.number, zone.revision);
        if from >= to.number || zone.manifest.revision.epoch != to.epoch {
            return;
        }
        let unfolded = std::mem::take(&mut zone.unfolded);
        let contents = zone.contents.clone();
        let mut manifest = zone.manifest.clone();
        if !is_delta {
            let changes: Vec<Change> = contents.into_values().map(Change::Put).collect();
            manifest.packs = self.write_packs(apex, None, &changes);
        } else {
            let current = self.revision;
            self.revision = to;
            let packs = self.write_packs(apex, Some(from), &unfolded);
            self.revision = current;
            manifest.packs.extend(packs);
        }
        manifest.revision = to;
        self.write_manifest(&manifest);
        self.delete(&key::live_prefix(apex));
        if let Some(zone) = self.zones.get_mut(apex) {
            zone.manifest = manifest;
        }
    }

    /// Loses the store and begins a new history with lower revision numbers.
    fn restart_history(&mut self, choose: &mut impl Choose) {
        self.revision = Revision::new(self.revision.epoch + 1, 1);
        self.write_header();
        for (apex, zone) in std::mem::take(&mut self.zones) {
            self.revision.number += 1;
            let mut contents = zone.contents;
            apply(&mut contents, &change(&apex, choose));
            self.export_whole(apex.clone(), contents);
            self.delete(&key::live_prefix(&apex));
        }
    }

    /// Writes packs: bases, or deltas that lead from number `from` to the current revision.
    fn write_packs(&mut self, apex: &Name, from: Option<u64>, changes: &[Change]) -> Vec<PackRef> {
        let mut packs = Vec::new();
        // Small runs, so that a small zone has several packs.
        for run in coalesce(changes).chunks(if from.is_none() { 4 } else { 1_000 }) {
            let new = if from.is_none() { PackWriter::base } else { PackWriter::delta };
            let mut writer = new(apex.clone());
            for change in run {
                writer.push(item_of(change)).expect("coalesced changes are in order");
            }
            let octets = writer.finish();
            self.pack_number += 1;
            let (number, len, to) = (self.pack_number, octets.len() as u32, self.revision.number);
            let hash = self.put(&key::terminate(&key::pack_key(apex, number)), octets.into());
            packs.push(PackRef {
                number,
                hash,
                len,
                rrset_count: run.len() as u32,
                kind: from.map_or(PackKind::Base, |from| PackKind::Delta { from, to }),
                first_owner: run[0].owner().clone(),
            });
        }
        packs
    }

    /// Writes a manifest.
    fn write_manifest(&mut self, manifest: &Manifest) {
        let octets = manifest.to_octets().expect("a good manifest");
        self.put(&key::terminate(&key::zone_key(&manifest.apex)), octets.into());
    }

    /// Writes a live change that leads to the current revision, or a delta if it is too long.
    fn write_live(&mut self, apex: &Name, prev: u64, changes: &[Change]) {
        let keys = live_keys(apex, self.revision, prev, changes).expect("a short change");
        for key in keys {
            self.put(&key, Bytes::from_static(&[1]));
        }
    }

    /// Writes the heartbeat.
    pub fn write_beat(&mut self) {
        let marks = self.zones.iter().map(|(apex, zone)| zone_mark(apex, zone.revision));
        let beat = Beat {
            revision: self.revision,
            time_ms: self.clock_us,
            zone_digest: marks.fold(0, u64::wrapping_add),
            zone_count: self.zones.len() as u64,
        };
        self.put(&key::terminate(key::BEAT_KEY), beat.to_octets().into());
    }

    /// Writes the header.
    fn write_header(&mut self) {
        let epoch = self.revision.epoch;
        let header = FeedHeader { cluster_id: "model".to_owned(), epoch, term: 1 };
        self.put(&key::terminate(key::HEADER_KEY), header.to_octets().into());
    }

    /// Writes one entry as iroh-docs does: all older entries whose keys begin with its key go.
    fn put(&mut self, key: &[u8], content: Bytes) -> Hash {
        self.clock_us += 1;
        let hash = hash_of(&content);
        let written = Written {
            key: key.to_vec(),
            hash,
            len: content.len() as u64,
            timestamp_us: self.clock_us,
        };
        self.replica.retain(|known, _| !known.starts_with(key));
        self.replica.insert(key.to_vec(), written.clone());
        self.events.push(written);
        self.blobs.insert(hash, content);
        hash
    }

    /// Deletes every key with a prefix.
    fn delete(&mut self, prefix: &[u8]) {
        self.put(prefix, Bytes::new());
    }

    /// Notes what a zone holds at the current revision.
    fn note(&mut self, apex: &Name, contents: Option<Contents>) {
        self.history.insert((apex.clone(), self.revision), contents);
    }

    /// Returns what every zone holds now.
    pub fn contents(&self) -> BTreeMap<Name, Contents> {
        self.zones.iter().map(|(apex, zone)| (apex.clone(), zone.contents.clone())).collect()
    }
}

/// Applies one change.
pub fn apply(contents: &mut Contents, change: &Change) {
    let place = (change.owner().clone(), change.rtype());
    match change {
        Change::Put(rrset) => contents.insert(place, rrset.clone()),
        Change::Delete { .. } => contents.remove(&place),
    };
}

/// Makes up a change.
fn change(apex: &Name, choose: &mut impl Choose) -> Change {
    let labels: [&[u8]; 6] = [b"a", b"b", b"*", b"\0", b"www", b"zz"];
    let mut owner = apex.clone();
    for _ in 0..choose.below(3) {
        owner = owner.with_label(labels[choose.below(labels.len())]).expect("short");
    }
    let rtype = [RecordType::A, RecordType::AAAA, RecordType::TXT][choose.below(3)];
    if choose.percent(30) {
        return Change::Delete { owner, rtype };
    }
    let rdata = vec![choose.below(256) as u8; choose.below(40) + 1];
    Change::Put(Rrset::new(owner, rtype, choose.below(3) as u32, [rdata]).expect("an RRset"))
}

/// The zones of the model: two inside each other, and the root.
fn apexes() -> [Name; 3] {
    ["example", "sub.example", "."].map(|text| text.parse().expect(text))
}

/// A hash that is good enough for a model.
pub fn hash_of(content: &[u8]) -> Hash {
    let mut hash = [0; 32];
    for (seed, chunk) in hash.chunks_exact_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (seed, content).hash(&mut hasher);
        chunk.copy_from_slice(&hasher.finish().to_be_bytes());
    }
    hash
}
