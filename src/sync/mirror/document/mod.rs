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

mod rows;
mod state;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::Mirror;
use crate::feed::root::Root;
use crate::feed::segment::{Position, VersionRef};
use crate::feed::{Hash, HistoryId, Revision};
use crate::limits::{BUNDLES_HELD_OCTETS_MAX, FETCH_RETRY_MS_MAX, FETCH_RETRY_MS_MIN};
use crate::name::Name;
use state::Taking;

pub(super) use state::Documents;

/// A content that is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Wish {
    /// Its hash.
    pub hash: Hash,
    /// Its length in octets.
    pub len: u32,
    /// Whether its octets are wanted; else it need only lie on this machine.
    pub is_loaded: bool,
}

/// A version that was adopted.
#[derive(Clone, Debug)]
pub(crate) struct Adopted {
    /// Its name.
    pub version: VersionRef,
    /// Its root.
    pub root: Root,
    /// All contents of it.
    pub contents: HashSet<Hash>,
}

impl Mirror {
    /// Asks that the newest version be taken, so that what lies on the disk is not older.
    pub fn refresh(&mut self) {
        self.documents.is_refresh_wanted = true;
    }

    /// Asks that the newest version be taken even if it was adopted: some of it may be lost.
    pub(crate) fn retake(&mut self) {
        self.documents.is_retake_wanted = true;
    }

    /// Takes that contents of the version that is being taken are not on this machine after all; says
    /// whether it is.
    pub fn handle_lost(&mut self, version: VersionRef, lost: HashSet<Hash>) -> bool {
        let taking = self.documents.taking.as_mut();
        let Some(taking) = taking.filter(|taking| taking.version == version && !taking.is_kept)
        else {
            return false;
        };
        taking.missing.extend(lost);
        true
    }

    /// Returns the version that is being taken, once all of its contents are on this machine: kept for
    /// a restart now, before any zone of it is visible, it takes nobody back. The caller says when it
    /// is, with [`Mirror::handle_kept`].
    pub(crate) fn whole_version(&self) -> Option<(VersionRef, Revision, Bytes)> {
        let taking = self.documents.taking.as_ref()?;
        let is_ready = taking.is_whole() && !taking.is_kept;
        let (root, octets) = taking.root.as_ref().filter(|_| is_ready)?;
        let at = Revision::new(taking.history.epoch, root.at.revision);
        Some((taking.version, at, octets.clone()))
    }

    /// Takes that a version is kept for a restart, or cannot be. Only then is it called adopted: its
    /// steps need not be known any more, wherever they came from.
    pub(crate) fn handle_kept(&mut self, version: VersionRef) {
        if let Some(taking) = &mut self.documents.taking
            && taking.version == version
        {
            taking.is_kept = true;
            let revision = taking.at.revision;
            self.documents.kept = Some((taking.history, revision));
            self.documents.unkept = self.documents.unkept.filter(|unkept| *unkept > revision);
            self.finish_taking();
        }
    }

    /// Whether zones are held back until the version that they come from can be kept.
    pub(crate) fn is_keeping(&self) -> bool {
        let documents = &self.documents;
        documents.unkept.is_some()
            || documents.taking.as_ref().is_some_and(|taking| !taking.is_kept)
    }

    /// Returns a version that was adopted since the last call. What is kept of the log before its
    /// position is of no use any more.
    pub(crate) fn poll_adopted(&mut self) -> Option<Adopted> {
        self.documents.news.take()
    }

    /// Changes whenever [`Mirror::contents`] does.
    pub(crate) fn edition(&self) -> u64 {
        self.documents.edition
    }

    /// All contents that must not be lost: those of the version that is being taken.
    pub fn contents(&self) -> Option<&HashSet<Hash>> {
        self.documents.taking.as_ref().map(|taking| &taking.contents)
    }

    /// Whether zones are still to be built that must become visible together with others.
    pub(crate) fn is_gathering(&mut self) -> bool {
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

    /// Whether those are the first zones at all: some of them are better than none.
    pub(crate) fn is_first_load(&mut self) -> bool {
        self.is_first_load && self.is_gathering()
    }

    /// Returns what is to be fetched now.
    pub(crate) fn poll_wishes(&mut self, now_ms: u64) -> Vec<Wish> {
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
        if !taking.indexes.is_empty() {
            let early = &taking.early;
            let next = taking.next_indexes().filter(|index| !early.contains_key(&index.hash));
            next.for_each(|index| wish(index.hash, index.len, true));
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
                && taking.is_whole()
                && self.documents.bundles.is_empty()
                && (self.needs_first(at.revision) || self.needs_again(at.revision));
            let is_stuck = taking.root.is_none() || is_of_no_help || self.documents.is_stuck();
            let is_over =
                taking.history != history || (is_stuck && taking.version.number < version.number);
            if !is_over {
                return;
            }
            self.give_up_taking();
        }
        if !self.is_version_needed(history, at, version) {
            return;
        }
        self.documents.is_refresh_wanted = false;
        self.documents.is_retake_wanted = false;
        self.is_whole_due = false;
        // The segments on the disk lead on from where the last one holds, not from before: one that holds
        // there, of an author who has lost his last, is of use for its zones alone.
        let is_kept = self
            .documents
            .kept
            .is_some_and(|(kept, revision)| kept == history && revision > at.revision);
        self.stats.versions += 1;
        self.documents.edition += 1;
        self.documents.taking = Some(Taking {
            history,
            at,
            version,
            root: None,
            indexes: Vec::new(),
            early: HashMap::new(),
            seen: HashSet::new(),
            gone: HashSet::new(),
            leaving: HashSet::new(),
            sum: (0, 0),
            missing: HashSet::new(),
            contents: HashSet::from([version.hash]),
            is_kept,
            is_bridge: false,
        });
    }

    /// Gives up the version that is being taken. Zones that were to be built from it wait for another
    /// one that is as far.
    fn give_up_taking(&mut self) {
        self.documents.give_up_version();
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
            // It is taken again only for what came out wrong, or is lost.
            return self.documents.is_retake_wanted || self.needs_again(at.revision);
        }
        let bridges = self
            .line
            .from(history)
            .is_some_and(|from| from.revision > position.revision && at.revision >= from.revision);
        // A heartbeat comes behind the commits that it speaks of: what has not come by then is missing.
        let is_missing = self.beat.is_some_and(|(_, beat, _)| beat.revision > position.revision)
            && at.revision > position.revision;
        bridges
            || is_missing
            || self.documents.is_refresh_wanted
            || self.documents.unkept.is_some()
            || self.needs_first(at.revision)
            || self.needs_again(at.revision)
    }

    /// Takes a content that was wished for.
    pub fn handle_content(&mut self, hash: Hash, octets: Option<Bytes>) {
        self.documents.asked.remove(&hash);
        self.documents.failed.remove(&hash);
        self.documents.failing_since_ms = None;
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
        if is_root {
            self.take_root(octets);
        } else if let Some(taking) = &mut self.documents.taking
            && taking.is_next(&hash)
        {
            taking.early.insert(hash, octets);
            self.take_indexes();
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
        self.documents.failing_since_ms.get_or_insert(now_ms);
    }

    /// For how many milliseconds contents that are of use could not be fetched, and none could be; 0 if all is well.
    pub(in crate::sync::mirror) fn fetch_failing_ms(&self, now_ms: u64) -> u64 {
        let documents = &self.documents;
        let is_wanted = !documents.failed.is_empty() || !documents.asked.is_empty();
        let since_ms = documents.failing_since_ms.filter(|_| is_wanted);
        since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }
}
