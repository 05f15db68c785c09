//! What is known of versions: the one that is being taken, its bundles, what was asked for.
//!
//! **Invariant:** the octets that are counted are those of bundles that are asked for or here.
//! **Not here:** what is made of them (`mirror::document`).

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::super::zone::Build;
use super::{Adopted, Wish};
use crate::feed::index::BundleRef;
use crate::feed::root::{IndexRef, Root};
use crate::feed::segment::{Position, VersionRef};
use crate::feed::{Hash, HistoryId};
use crate::limits::{FETCH_STUCK_MS, INDEXES_AHEAD_MAX};
use crate::name::Name;

/// Versions of the document.
#[derive(Debug, Default)]
pub(in crate::sync::mirror) struct Documents {
    /// The newest that was announced: history, where it holds, name.
    pub(super) announced: Option<(HistoryId, Position, VersionRef)>,
    /// The one that is being taken.
    pub(super) taking: Option<Taking>,
    /// The last one that was adopted: history, where it holds, number.
    pub(super) adopted: Option<(HistoryId, Position, u64)>,
    /// Counts changes of the contents of the version that is being taken.
    pub(super) edition: u64,
    /// Where the last one holds that was kept for a restart, or was found not to be.
    pub(super) kept: Option<(HistoryId, u64)>,
    /// Where a version must hold that is kept next, since one was given up to which it has led.
    pub(super) unkept: Option<u64>,
    /// A version that was adopted and not yet reported.
    pub(super) news: Option<Adopted>,
    /// Whether the newest is to be taken though nothing needs it.
    pub(super) is_refresh_wanted: bool,
    /// Whether it is even if it was adopted before: some of it may be lost.
    pub(super) is_retake_wanted: bool,
    /// Bundles that zones are built from.
    pub(super) bundles: HashMap<Hash, Held>,
    /// Octets of those that are asked for or here.
    pub(super) held_octets: usize,
    /// Bundles that are to be asked for, in order.
    pub(super) queue: VecDeque<BundleRef>,
    /// What was asked for and has not come.
    pub(super) asked: HashMap<Hash, Wish>,
    /// What could not be fetched: when to ask again, and how long to wait after that.
    pub(super) failed: HashMap<Hash, (Wish, u64, u64)>,
    /// Since when contents could not be fetched, and none could be.
    pub(super) failing_since_ms: Option<u64>,
}

/// A version that is being taken.
#[derive(Debug)]
pub(super) struct Taking {
    /// Its history.
    pub(super) history: HistoryId,
    /// Where it holds.
    pub(super) at: Position,
    /// Its name.
    pub(super) version: VersionRef,
    /// Its root, once it is here.
    pub(super) root: Option<(Root, Bytes)>,
    /// Its indexes that were not read, in order.
    pub(super) indexes: Vec<IndexRef>,
    /// Those of them that have come before it was their turn.
    pub(super) early: HashMap<Hash, Bytes>,
    /// The zones of those that were.
    pub(super) seen: HashSet<Name>,
    /// Those of them that are gone.
    pub(super) gone: HashSet<Name>,
    /// Those of them that go with a commit behind where it holds.
    pub(super) leaving: HashSet<Name>,
    /// The sum of those that are not, and how many they are.
    pub(super) sum: (u128, u64),
    /// Contents of it that must be here before it is adopted.
    pub(super) missing: HashSet<Hash>,
    /// All contents of it.
    pub(super) contents: HashSet<Hash>,
    /// Whether it is kept for a restart, or was found not to be.
    pub(super) is_kept: bool,
    /// Whether it has led over a gap in the log.
    pub(super) is_bridge: bool,
}

impl Taking {
    /// The indexes that are read next, the next one first.
    pub(super) fn next_indexes(&self) -> impl Iterator<Item = &IndexRef> {
        self.indexes.iter().rev().take(INDEXES_AHEAD_MAX)
    }

    /// Whether all of it is on this machine and was read.
    pub(super) fn is_whole(&self) -> bool {
        self.root.is_some() && self.indexes.is_empty() && self.missing.is_empty()
    }

    /// Whether an index is one of those.
    pub(super) fn is_next(&self, hash: &Hash) -> bool {
        self.next_indexes().any(|index| index.hash == *hash)
    }
}

/// A bundle that zones are built from.
#[derive(Debug)]
pub(super) struct Held {
    /// Its octets, once they are here.
    pub(super) octets: Option<Bytes>,
    /// The zones that wait for it.
    pub(super) waiting: Vec<Name>,
    /// How many zones are yet to be built from it.
    pub(super) users: usize,
    /// Its length.
    pub(super) len: u32,
    /// Whether it is asked for or here.
    pub(super) is_counted: bool,
}

impl Held {
    /// A bundle that is wanted.
    pub(super) fn wanted(len: u32) -> Self {
        Self { octets: None, waiting: Vec::new(), users: 0, len, is_counted: false }
    }
}

impl Documents {
    /// Takes the news of a version; says whether it is news.
    pub(in crate::sync::mirror) fn announce(
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

    /// Whether rows are still to be read of a version that is further than the log was followed.
    pub(in crate::sync::mirror) fn is_reading_ahead(&self, position: Option<Position>) -> bool {
        let is_ahead = |taking: &Taking| {
            position.is_none_or(|position| position.revision < taking.at.revision)
        };
        self.is_reading() && self.taking.as_ref().is_some_and(is_ahead)
    }

    /// Whether the log goes on behind a version that is not kept for a restart: a restart would find
    /// neither.
    pub(in crate::sync::mirror) fn is_bridging(&self) -> bool {
        let is_given_up = self.unkept.is_some_and(|revision| revision > 0);
        is_given_up
            || self.taking.as_ref().is_some_and(|taking| taking.is_bridge && !taking.is_kept)
    }

    /// Gives up the version that is being taken. What it has led to waits for one that can be kept.
    pub(super) fn give_up_version(&mut self) {
        let Some(taking) = self.taking.take() else { return };
        self.edition += 1;
        if taking.root.is_some() && !taking.is_kept {
            let revision = if taking.is_bridge { taking.at.revision } else { 0 };
            self.unkept = self.unkept.max(Some(revision));
        }
    }

    /// Where the version of a history holds that was kept last; 0 before the first.
    pub(in crate::sync::mirror) fn kept_revision(&self, history: HistoryId) -> u64 {
        self.kept.filter(|(kept, _)| *kept == history).map_or(0, |(_, revision)| revision)
    }

    /// Whether contents are still to come that zones are built from.
    pub(super) fn is_awaiting(&self) -> bool {
        let is_begun = self.taking.as_ref().is_some_and(|taking| taking.root.is_none());
        is_begun || self.is_reading() || self.bundles.values().any(|held| held.octets.is_none())
    }

    /// Whether a content could not be had for so long that nobody may have it any more.
    pub(super) fn is_stuck(&self) -> bool {
        self.failed.values().any(|(_, _, wait_ms)| *wait_ms >= FETCH_STUCK_MS)
    }

    /// Whether a content is of use to what is being taken or built.
    pub(super) fn is_of_use(&self, hash: &Hash) -> bool {
        let is_taken = self.taking.as_ref().is_some_and(|taking| {
            (taking.root.is_none() && taking.version.hash == *hash)
                || taking.is_next(hash)
                || taking.missing.contains(hash)
        });
        is_taken || self.bundles.contains_key(hash)
    }

    /// The revision of the version that was adopted last.
    pub(in crate::sync::mirror) fn adopted(&self) -> Option<(Position, u64)> {
        self.adopted.map(|(_, at, number)| (at, number))
    }

    /// Returns the octets of a bundle for a zone that is built, and forgets its claim.
    pub(in crate::sync::mirror) fn claim(&mut self, bundle: &Hash) -> Option<Bytes> {
        let held = self.bundles.get_mut(bundle)?;
        let octets = held.octets.clone();
        held.users = held.users.saturating_sub(1);
        if held.users == 0 {
            self.drop_bundle(bundle);
        }
        octets
    }

    /// Forgets a bundle.
    pub(super) fn drop_bundle(&mut self, bundle: &Hash) {
        if let Some(held) = self.bundles.remove(bundle)
            && held.is_counted
        {
            self.held_octets -= held.len as usize;
        }
        // What was asked for may still come; then nobody wants it.
    }

    /// Notes that a zone is no longer built from the document.
    pub(in crate::sync::mirror) fn give_up(&mut self, build: &Build) {
        let bundles: HashSet<Hash> = build.packs.iter().map(|(bundle, _)| bundle.hash).collect();
        for bundle in bundles {
            self.claim(&bundle);
        }
    }
}
