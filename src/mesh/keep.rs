//! Which contents the collector of unused blobs spares, as those say who use them, and of which feeds they are.
//!
//! **Invariant:** a content that some holder names is spared from then on.
//! **Not here:** the collector (`iroh_blobs`), what is named (`export`, `replica`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iroh_blobs::Hash as BlobHash;

use crate::feed::Hash;
use crate::limits::{BLOB_GC_INTERVAL_S, KEEPS_LEFT_MAX};

/// The sets of all holders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeps(Arc<Mutex<Sets>>);

/// The sets by number.
#[derive(Debug, Default)]
struct Sets {
    /// Numbers the next one.
    next: u64,
    /// The sets.
    by_number: HashMap<u64, KeptSet>,
    /// Sets that were given up, whose contents may still lie here, and when that was.
    left: Vec<(Instant, KeptSet)>,
}

/// The set of one holder.
#[derive(Debug)]
struct KeptSet {
    /// The feed that it is for.
    feed: [u8; 32],
    /// The contents.
    hashes: HashSet<Hash>,
}

/// One holder's set; it is given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Keep {
    /// All sets.
    keeps: Keeps,
    /// Which one is ours.
    number: u64,
}

impl Keeps {
    /// Makes a set that spares nothing, of contents of a feed.
    pub(crate) fn keep(&self, feed: [u8; 32]) -> Keep {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = sets.next;
        sets.next += 1;
        sets.by_number.insert(number, KeptSet { feed, hashes: HashSet::new() });
        Keep { keeps: self.clone(), number }
    }

    /// The feed that a content is not handed out of to somebody for whom `is_open` says no to each of those that
    /// have it; none if one says yes, or none has it: who knows the hash of such a content has been told of it.
    pub(super) fn closed_feed(
        &self,
        hash: &Hash,
        is_open: impl Fn(&[u8; 32]) -> bool,
    ) -> Option<[u8; 32]> {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = sets.by_number.values().chain(sets.left.iter().map(|(_, set)| set));
        let mut closed = None;
        for set in all.filter(|set| set.hashes.contains(hash)) {
            if is_open(&set.feed) {
                return None;
            }
            closed = Some(set.feed);
        }
        closed
    }

    /// Adds all that is spared.
    pub(super) fn add_to(&self, live: &mut HashSet<BlobHash>) {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sets.by_number.values().flat_map(|set| &set.hashes);
        live.extend(kept.map(|hash| BlobHash::from_bytes(*hash)));
    }
}

impl Keep {
    /// Spares these from now on, and none of those before.
    pub(crate) fn set(&self, hashes: HashSet<Hash>) {
        let mut sets = self.keeps.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.by_number.get_mut(&self.number) {
            set.hashes = hashes;
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let mut sets = self.keeps.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Until the collector has been there twice, they are here and are not for everybody.
        let limit = Duration::from_secs(2 * BLOB_GC_INTERVAL_S);
        sets.left.retain(|(since, _)| since.elapsed() < limit);
        if let Some(set) = sets.by_number.remove(&self.number) {
            sets.left.push((Instant::now(), set));
            let over = sets.left.len().saturating_sub(KEEPS_LEFT_MAX);
            sets.left.drain(..over);
        }
    }
}
