//! Versions of the document: which is taken, what of it is wanted, and what it makes of the zones.
//!
//! A version is taken when something needs it: the first state, another history, a gap in the log, a
//! zone that did not come by the log, one whose digest differs; or now and then, so that what lies on
//! the disk does not grow old. Its indexes are read from the last one backwards, so that no row is
//! looked at that a later one overrides. Bundles are loaded for zones that are built, and fetched for
//! all others, so that a restart finds everything.
//!
//! **Invariant:** a version is called adopted when all of its contents are here, it is kept for a
//! restart, and every zone of it is served at its revision or a later one.
//! **Not here:** fetching (`replica`).

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::Mirror;
use super::zone::{Build, Served};
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::index::{BundleRef, Index, IndexRow};
use crate::feed::root::{IndexRef, Root};
use crate::feed::segment::{LogStep, LogZone, Position, VersionRef};
use crate::feed::{Hash, HistoryId};
use crate::limits::{
    BUNDLES_HELD_OCTETS_MAX, FETCH_RETRY_MS_MAX, FETCH_RETRY_MS_MIN, FETCH_STUCK_MS,
};
use crate::name::Name;
use crate::octets::DecodeError;

/// A content that is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct Wish {
    /// Its hash.
    pub hash: Hash,
    /// Its length in octets.
    pub len: u32,
    /// Whether its octets are wanted; else it need only lie on this machine.
    pub is_loaded: bool,
}

/// Versions of the document.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// The newest that was announced: history, where it holds, name.
    announced: Option<(HistoryId, Position, VersionRef)>,
    /// The one that is being taken.
    taking: Option<Taking>,
    /// The last one that was adopted: history, where it holds, number.
    adopted: Option<(HistoryId, Position, u64)>,
    /// A version that was adopted and not yet reported.
    news: Option<Adopted>,
    /// Whether the newest is to be taken though nothing needs it.
    is_refresh_wanted: bool,
    /// Bundles that zones are built from.
    bundles: HashMap<Hash, Held>,
    /// Octets of those that are asked for or here.
    held_octets: usize,
    /// Bundles that are to be asked for, in order.
    queue: VecDeque<BundleRef>,
    /// What was asked for and has not come.
    asked: HashMap<Hash, Wish>,
    /// What could not be fetched: when to ask again, and how long to wait after that.
    failed: HashMap<Hash, (Wish, u64, u64)>,
}

/// A version that was adopted.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Its name.
    pub version: VersionRef,
    /// Its root.
    pub root: Root,
    /// The root's octets.
    pub octets: Bytes,
    /// All contents of it.
    pub contents: HashSet<Hash>,
}

/// A version that is being taken.
#[derive(Debug)]
struct Taking {
    /// Its history.
    history: HistoryId,
    /// Where it holds.
    at: Position,
    /// Its name.
    version: VersionRef,
    /// Its root, once it is here.
    root: Option<(Root, Bytes)>,
    /// Its indexes that were not read, in order.
    indexes: Vec<IndexRef>,
    /// The zones of those that were.
    seen: HashSet<Name>,
    /// Contents of it that must be here before it is adopted.
    missing: HashSet<Hash>,
    /// All contents of it.
    contents: HashSet<Hash>,
    /// Whether it was told that it can be kept.
    is_kept: bool,
    /// Whether it has led over a gap in the log.
    is_bridge: bool,
}

/// A bundle that zones are built from.
#[derive(Debug)]
struct Held {
    /// Its octets, once they are here.
    octets: Option<Bytes>,
    /// The zones that wait for it.
    waiting: Vec<Name>,
    /// How many zones are yet to be built from it.
    users: usize,
    /// Its length.
    len: u32,
    /// Whether it is asked for or here.
    is_counted: bool,
}

impl Held {
    /// A bundle that is wanted.
    fn wanted(len: u32) -> Self {
        Self { octets: None, waiting: Vec::new(), users: 0, len, is_counted: false }
    }
}

impl Documents {
    /// Takes the news of a version; says whether it is news.
    pub(super) fn announce(
        &mut self,
        history: HistoryId,
        at: Position,
        version: VersionRef,
    ) -> bool {
        let known = self.announced.map(|(history, _, version)| (history.epoch, version.number));
        if known.is_some_and(|known| known >= (history.epoch, version.number)) {
            return false;
        }
        self.announced = Some((history, at, version));
        true
    }

    /// Whether rows of a version are still to be read.
    pub(super) fn is_reading(&self) -> bool {
        self.taking
            .as_ref()
            .is_some_and(|taking| taking.root.is_some() && !taking.indexes.is_empty())
    }

    /// Whether the log goes on behind a version that is not kept for a restart: a restart would find
    /// neither.
    pub(super) fn is_bridging(&self) -> bool {
        self.taking.as_ref().is_some_and(|taking| taking.is_bridge && !taking.is_kept)
    }

    /// Whether contents are still to come that zones are built from.
    fn is_awaiting(&self) -> bool {
        let is_begun = self.taking.as_ref().is_some_and(|taking| taking.root.is_none());
        is_begun || self.is_reading() || self.bundles.values().any(|held| held.octets.is_none())
    }

    /// Whether a content could not be had for so long that nobody may have it any more.
    fn is_stuck(&self) -> bool {
        self.failed.values().any(|(_, _, wait_ms)| *wait_ms >= FETCH_STUCK_MS)
    }

    /// Whether a content is of use to what is being taken or built.
    fn is_of_use(&self, hash: &Hash) -> bool {
        let is_taken = self.taking.as_ref().is_some_and(|taking| {
            (taking.root.is_none() && taking.version.hash == *hash)
                || taking.indexes.last().is_some_and(|index| index.hash == *hash)
                || taking.missing.contains(hash)
        });
        is_taken || self.bundles.contains_key(hash)
    }

    /// The revision of the version that was adopted last.
    pub(super) fn adopted(&self) -> Option<(Position, u64)> {
        self.adopted.map(|(_, at, number)| (at, number))
    }

    /// Returns the octets of a bundle for a zone that is built, and forgets its claim.
    pub(super) fn claim(&mut self, bundle: &Hash) -> Option<Bytes> {
        let held = self.bundles.get_mut(bundle)?;
        let octets = held.octets.clone();
        held.users = held.users.saturating_sub(1);
        if held.users == 0 {
            self.drop_bundle(bundle);
        }
        octets
    }

    /// Forgets a bundle.
    fn drop_bundle(&mut self, bundle: &Hash) {
        if let Some(held) = self.bundles.remove(bundle)
            && held.is_counted
        {
            self.held_octets -= held.len as usize;
        }
        // What was asked for may still come; then nobody wants it.
    }

    /// Notes that a zone is no longer built from the document.
    pub(super) fn give_up(&mut self, build: &Build) {
        let bundles: HashSet<Hash> = build.packs.iter().map(|(bundle, _)| bundle.hash).collect();
        for bundle in bundles {
            self.claim(&bundle);
        }
    }
}

impl Mirror {
    /// Asks that the newest version be taken, so that what lies on the disk is not older.
    pub fn refresh(&mut self) {
        self.documents.is_refresh_wanted = true;
    }

    /// Returns the version that is being taken, once all of its contents are on this machine: kept for
    /// a restart now, before any zone of it is visible, it takes nobody back.
    /// Only then is it called adopted: its steps need not be known any more, wherever they came from.
    pub fn poll_kept(&mut self) -> Option<(VersionRef, Position, Bytes)> {
        let taking = self.documents.taking.as_mut()?;
        let is_whole = taking.indexes.is_empty() && taking.missing.is_empty() && !taking.is_kept;
        let (root, octets) = taking.root.as_ref().filter(|_| is_whole)?;
        taking.is_kept = true;
        let kept = (taking.version, root.at, octets.clone());
        self.finish_taking();
        Some(kept)
    }

    /// Whether zones are held back until the version that they come from can be kept.
    pub fn is_keeping(&self) -> bool {
        self.documents.taking.as_ref().is_some_and(|taking| !taking.is_kept)
    }

    /// Returns a version that was adopted since the last call. What is kept of the log before its
    /// position is of no use any more.
    pub fn poll_adopted(&mut self) -> Option<Adopted> {
        self.documents.news.take()
    }

    /// All contents that must not be lost: those of the version that is being taken.
    pub fn contents(&self) -> Option<&HashSet<Hash>> {
        self.documents.taking.as_ref().map(|taking| &taking.contents)
    }

    /// Whether zones are still to be built that must become visible together with others.
    pub fn is_gathering(&mut self) -> bool {
        if !self.is_gathering {
            return false;
        }
        // A zone of which a step waits to become visible goes on only then.
        let is_built = |apex: &Name| {
            self.zones.get(apex).is_some_and(|zone| zone.build.is_some() && zone.handed.is_none())
        };
        let is_building = self.documents.is_awaiting() || self.ready.iter().any(is_built);
        self.is_gathering = self.position.is_none() || is_building;
        self.is_gathering
    }

    /// Returns what is to be fetched now.
    pub fn poll_wishes(&mut self, now_ms: u64) -> Vec<Wish> {
        self.start_taking();
        let mut wishes = Vec::new();
        let due: Vec<Hash> = self
            .documents
            .failed
            .iter()
            .filter(|(_, (_, due_ms, _))| *due_ms <= now_ms)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in due {
            if let Some((wish, _, _)) = self.documents.failed.get(&hash) {
                self.documents.asked.insert(hash, *wish);
                wishes.push(*wish);
            }
            if let Some((_, due_ms, _)) = self.documents.failed.get_mut(&hash) {
                *due_ms = u64::MAX;
            }
        }
        self.wish_for_version(&mut wishes);
        let documents = &mut self.documents;
        while let Some(bundle) = documents.queue.front().copied() {
            let has_room = documents.held_octets + bundle.len as usize <= BUNDLES_HELD_OCTETS_MAX;
            let is_idle = documents.asked.is_empty() && wishes.is_empty();
            if !(has_room || is_idle && self.ready.is_empty()) {
                break;
            }
            documents.queue.pop_front();
            let Some(held) = documents.bundles.get_mut(&bundle.hash) else { continue };
            held.is_counted = true;
            documents.held_octets += bundle.len as usize;
            let wish = Wish { hash: bundle.hash, len: bundle.len, is_loaded: true };
            documents.asked.insert(bundle.hash, wish);
            wishes.push(wish);
        }
        wishes
    }

    /// Wishes for root, indexes and bundles of the version that is being taken.
    fn wish_for_version(&mut self, wishes: &mut Vec<Wish>) {
        let documents = &mut self.documents;
        let Some(taking) = &documents.taking else { return };
        let mut wish = |hash: Hash, len: u32, is_loaded: bool| {
            let wish = Wish { hash, len, is_loaded };
            let is_known =
                documents.asked.contains_key(&hash) || documents.failed.contains_key(&hash);
            if !is_known {
                documents.asked.insert(hash, wish);
                wishes.push(wish);
            }
        };
        if taking.root.is_none() {
            wish(taking.version.hash, taking.version.len, true);
            return;
        }
        if let Some(index) = taking.indexes.last() {
            wish(index.hash, index.len, true);
            return;
        }
        for hash in &taking.missing {
            if !documents.bundles.contains_key(hash) {
                wish(*hash, 0, false);
            }
        }
    }

    /// Begins to take the newest version if anything needs it.
    fn start_taking(&mut self) {
        let Some((history, at, version)) = self.documents.announced else { return };
        if let Some(taking) = &self.documents.taking {
            // What it leads to and some zone still lacks, only a later one can tell.
            let is_of_no_help = taking.is_kept
                && self.documents.bundles.is_empty()
                && (self.needs_first(at.revision) || self.needs_again(at.revision));
            let is_stuck = taking.root.is_none() || is_of_no_help || self.documents.is_stuck();
            let is_over = taking.history != history;
            if !(is_stuck && taking.version.number < version.number) && !is_over {
                return;
            }
            self.give_up_taking();
        }
        if !self.is_version_needed(history, at, version) {
            return;
        }
        self.documents.is_refresh_wanted = false;
        self.is_whole_due = false;
        self.stats.versions += 1;
        self.documents.taking = Some(Taking {
            history,
            at,
            version,
            root: None,
            indexes: Vec::new(),
            seen: HashSet::new(),
            missing: HashSet::new(),
            contents: HashSet::from([version.hash]),
            is_kept: false,
            is_bridge: false,
        });
    }

    /// Gives up the version that is being taken. Zones that were to be built from it wait for another
    /// one that is as far.
    fn give_up_taking(&mut self) {
        self.documents.taking = None;
        self.documents.failed.clear();
        let mut given_up = Vec::new();
        for (apex, zone) in &mut self.zones {
            if let Some(build) = zone.build.take() {
                self.documents.give_up(&build);
                zone.wants = zone.wants.max(Some(build.revision));
                given_up.push(apex.clone());
            }
        }
        given_up.iter().for_each(|apex| self.note_lacking(apex));
    }

    /// Whether anything needs the newest version.
    fn is_version_needed(&self, history: HistoryId, at: Position, version: VersionRef) -> bool {
        let Some(position) = self.position.filter(|_| history == self.history) else { return true };
        let is_adopted = self
            .documents
            .adopted
            .is_some_and(|(known, _, number)| known == history && number >= version.number);
        if is_adopted {
            // It is taken again only for what came out wrong.
            return self.needs_again(at.revision);
        }
        let bridges = self
            .line
            .from()
            .is_some_and(|from| from.revision > position.revision && at.revision >= from.revision);
        bridges
            || self.documents.is_refresh_wanted
            || self.needs_first(at.revision)
            || self.needs_again(at.revision)
    }

    /// Takes a content that was wished for.
    pub fn handle_content(&mut self, hash: Hash, octets: Option<Bytes>) {
        self.documents.asked.remove(&hash);
        self.documents.failed.remove(&hash);
        self.stats.contents += 1;
        if let Some(taking) = &mut self.documents.taking {
            taking.missing.remove(&hash);
        }
        if let Some(octets) = octets {
            self.take_octets(hash, octets);
        }
        self.finish_taking();
    }

    /// Takes octets: of the root, of an index, of a bundle.
    fn take_octets(&mut self, hash: Hash, octets: Bytes) {
        let is_root = self
            .documents
            .taking
            .as_ref()
            .is_some_and(|taking| taking.root.is_none() && taking.version.hash == hash);
        let is_index =
            self.documents.taking.as_ref().is_some_and(|taking| {
                taking.indexes.last().is_some_and(|index| index.hash == hash)
            });
        if is_root {
            self.take_root(octets);
        } else if is_index {
            if let Err(error) = self.take_index(&octets) {
                self.complain(format!("an index of the document does not read: {error}"));
                self.drop_version();
            }
        } else if let Some(held) = self.documents.bundles.get_mut(&hash) {
            held.octets = Some(octets);
            for apex in std::mem::take(&mut held.waiting) {
                if let Some(zone) = self.zones.get_mut(&apex)
                    && let Some(build) = &mut zone.build
                    && build.packs.iter().any(|(bundle, _)| bundle.hash == hash)
                {
                    build.missing = build.missing.saturating_sub(1);
                    self.ready.insert(apex);
                }
            }
        }
    }

    /// Notes that a content could not be fetched; it is wished for again.
    pub fn handle_content_failed(&mut self, hash: Hash, now_ms: u64) {
        self.stats.fetch_failures += 1;
        let Some(wish) = self.documents.asked.remove(&hash) else { return };
        if !self.documents.is_of_use(&hash) {
            self.documents.failed.remove(&hash);
            return;
        }
        let wait_ms = match self.documents.failed.get(&hash) {
            Some((_, _, wait_ms)) => (wait_ms * 2).min(FETCH_RETRY_MS_MAX),
            None => FETCH_RETRY_MS_MIN,
        };
        self.documents.failed.insert(hash, (wish, now_ms + wait_ms, wait_ms));
    }

    /// Takes the root of the version that is being taken.
    fn take_root(&mut self, octets: Bytes) {
        let Some(taking) = &mut self.documents.taking else { return };
        let root = match Root::from_octets(&octets) {
            Ok(root) if root.namespace == self.config.namespace => root,
            Ok(_) => {
                self.complain("a root is of another feed".to_owned());
                return self.drop_version();
            }
            Err(error) => {
                self.complain(format!("the root of the document does not read: {error}"));
                return self.drop_version();
            }
        };
        if root.history != taking.history || root.at != taking.at {
            self.complain("a root says something else than its announcement".to_owned());
            return self.drop_version();
        }
        taking.contents.extend(root.indexes.iter().map(|index| index.hash));
        taking.indexes = root.indexes.clone();
        let is_other = root.history != self.history;
        let key = root.digest_key;
        let (history, term) = (root.history, root.term);
        taking.root = Some((root, octets));
        if is_other {
            self.begin_history(history, term, key);
        }
        if self.documents.taking.as_ref().is_some_and(|taking| taking.indexes.is_empty()) {
            self.end_indexes();
        }
    }

    /// Goes to another history: what is served stays until that of the new one is here, and what was
    /// heard of the old one is over.
    fn begin_history(&mut self, history: HistoryId, term: u64, key: DigestKey) {
        let is_first = self.history == HistoryId::default();
        if !is_first {
            self.stats.histories += 1;
            self.complain(format!(
                "another history of the feed begins ({history}, before it {})",
                self.history
            ));
        }
        (self.history, self.term) = (history, term);
        let is_key_new = self.key != key;
        self.key = key;
        self.position = None;
        self.is_gathering = true;
        self.wanting.clear();
        self.absent.clear();
        self.heard = 0;
        self.beat = None;
        (self.sum, self.count, self.revision_max) = (0, 0, 0);
        self.lacking.clear();
        self.differing.clear();
        self.differs_as_a_whole = None;
        self.is_whole_due = false;
        let documents = &mut self.documents;
        for (apex, zone) in &mut self.zones {
            zone.queue.clear();
            zone.wants = None;
            zone.lacking = None;
            if let Some(build) = zone.build.take() {
                documents.give_up(&build);
            }
            zone.served.revision = 0;
            // With another key nothing can be said of it: it is built anew.
            zone.is_suspect = is_key_new;
            if zone.served.is_there {
                self.sum = self.sum.wrapping_add(self.key.zone(apex, 0, zone.served.digest));
                self.count += 1;
            }
        }
    }

    /// Takes the last index that was not read.
    fn take_index(&mut self, octets: &[u8]) -> Result<(), DecodeError> {
        let index = Index::from_octets(octets)?;
        if let Some(taking) = &mut self.documents.taking {
            taking.indexes.pop();
        }
        for row in index.rows {
            let is_seen = self
                .documents
                .taking
                .as_mut()
                .is_none_or(|taking| !taking.seen.insert(row.apex.clone()));
            if !is_seen && self.admits(&row.apex) {
                self.take_row(row, &index.bundles);
            }
        }
        if self.documents.taking.as_ref().is_some_and(|taking| taking.indexes.is_empty()) {
            self.end_indexes();
        }
        Ok(())
    }

    /// Takes the row of one zone.
    fn take_row(&mut self, row: IndexRow, bundles: &[BundleRef]) {
        let IndexRow { apex, revision, zone: row } = row;
        let Some(row) = row else {
            let is_served = self.zones.get(&apex).is_some_and(|zone| zone.tail() < revision);
            if is_served {
                self.remove_zone(&apex, revision);
            }
            return;
        };
        let packs: Vec<_> = row
            .packs
            .iter()
            .filter_map(|place| Some((*bundles.get(place.bundle as usize)?, *place)))
            .collect();
        if let Some(taking) = &mut self.documents.taking {
            for (bundle, _) in &packs {
                if taking.contents.insert(bundle.hash) {
                    taking.missing.insert(bundle.hash);
                }
            }
        }
        let zone = self.zones.entry(apex.clone()).or_default();
        let handed = zone.handed.map_or(0, |handed| handed.revision);
        let known = zone.served.revision.max(handed);
        let is_built = zone.build.as_ref().is_some_and(|build| build.revision >= revision);
        let is_wrong = zone.served.is_there
            && zone.served.revision == revision
            && zone.served.digest != row.digest;
        let is_wanted = revision > known || (revision == known && (zone.is_suspect || is_wrong));
        if is_built || !is_wanted {
            return;
        }
        let is_same = zone.served.is_there && zone.served.digest == row.digest;
        if is_same && !zone.is_suspect && zone.handed.is_none() {
            // The same content at a later revision, or in another history.
            let served = Served { revision, digest: row.digest, is_there: true };
            self.serve(&apex, served);
            if let Some(zone) = self.zones.get_mut(&apex) {
                zone.pass(revision);
            }
            self.note_lacking(&apex);
            self.ready.insert(apex);
            return;
        }
        let (digest, names) = (row.digest, row.names);
        let build = Build { revision, digest, names, packs, missing: 0 };
        self.start_build(apex, build);
    }

    /// Begins to build a zone.
    fn start_build(&mut self, apex: Name, mut build: Build) {
        let documents = &mut self.documents;
        let mut counted = HashSet::new();
        for (bundle, _) in &build.packs {
            if !counted.insert(bundle.hash) {
                continue;
            }
            let held = documents.bundles.entry(bundle.hash).or_insert_with(|| {
                documents.queue.push_back(*bundle);
                Held::wanted(bundle.len)
            });
            held.users += 1;
            if held.octets.is_none() {
                held.waiting.push(apex.clone());
                build.missing += 1;
            }
        }
        let zone = self.zones.entry(apex.clone()).or_default();
        if let Some(older) = zone.build.take() {
            self.documents.give_up(&older);
        }
        if let Some(zone) = self.zones.get_mut(&apex) {
            zone.build(build);
        }
        self.note_lacking(&apex);
        self.ready.insert(apex);
    }

    /// Notes that a zone is gone at a revision.
    fn remove_zone(&mut self, apex: &Name, revision: u64) {
        let step = LogZone {
            apex: apex.clone(),
            before: 0,
            revision,
            serial: 0,
            digest: Digest::default(),
            step: LogStep::Removed,
        };
        self.push_step(apex, step);
    }

    /// Puts a step into the queue of a zone that is known.
    fn push_step(&mut self, apex: &Name, step: LogZone) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        if let Some(build) = zone.push(step) {
            self.documents.give_up(&build);
        }
        self.note_lacking(apex);
        self.ready.insert(apex.clone());
    }

    /// All indexes were read: what none of them has is gone, and the log goes on from here.
    fn end_indexes(&mut self) {
        let Some(taking) = &self.documents.taking else { return };
        let at = taking.at;
        let gone: Vec<Name> = self
            .zones
            .iter()
            .filter(|(apex, zone)| {
                // One that came by the log behind the version is not in it yet.
                !taking.seen.contains(*apex)
                    && (zone.served.is_there || zone.first_lacking().is_some())
                    && zone.tail().max(zone.wants.unwrap_or(0)) <= at.revision
            })
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in gone {
            if let Some(zone) = self.zones.get_mut(&apex) {
                zone.wants = None;
            }
            self.remove_zone(&apex, at.revision.max(1));
        }
        self.heard = self.heard.max(at.revision);
        if self.position.is_none_or(|position| position.revision < at.revision) {
            self.position = Some(at);
            if let Some(taking) = &mut self.documents.taking {
                taking.is_bridge = true;
            }
        }
        self.drain_line();
        self.finish_taking();
    }

    /// Calls the version adopted if all of it is here and served.
    pub(super) fn finish_taking(&mut self) {
        let Some(taking) = &self.documents.taking else { return };
        let is_whole = taking.root.is_some()
            && taking.indexes.is_empty()
            && taking.missing.is_empty()
            && taking.is_kept
            && self.documents.bundles.is_empty()
            && self
                .lacking
                .first_key_value()
                .is_none_or(|(lacking, _)| *lacking > taking.at.revision);
        if !is_whole {
            return;
        }
        let Some(taking) = self.documents.taking.take() else { return };
        self.documents.adopted = Some((taking.history, taking.at, taking.version.number));
        self.documents.failed.clear();
        let Taking { version, contents, root, .. } = taking;
        self.documents.news =
            root.map(|(root, octets)| Adopted { version, root, octets, contents });
    }

    /// Gives up a version that does not read; the next one is taken.
    fn drop_version(&mut self) {
        self.stats.refused += 1;
        self.documents.taking = None;
        // Asked for again when a later one is announced.
        self.documents.announced = None;
    }
}
