//! Which contents the collector of unused blobs spares, as those say who use them.
//!
//! **Invariant:** a content that some holder names is spared from then on.
//! **Not here:** the collector (`iroh_blobs`), what is named (`export`, `replica`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use iroh_blobs::Hash as BlobHash;

use crate::feed::Hash;

/// The sets of all holders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeps(Arc<Mutex<Sets>>);

/// The sets by number.
#[derive(Debug, Default)]
struct Sets {
    /// Numbers the next one.
    next: u64,
    /// The sets.
    by_number: HashMap<u64, HashSet<Hash>>,
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
    /// Makes a set that spares nothing.
    pub(crate) fn keep(&self) -> Keep {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = sets.next;
        sets.next += 1;
        sets.by_number.insert(number, HashSet::new());
        Keep { keeps: self.clone(), number }
    }

    /// Adds all that is spared.
    pub(super) fn add_to(&self, live: &mut HashSet<BlobHash>) {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.extend(sets.by_number.values().flatten().map(|hash| BlobHash::from_bytes(*hash)));
    }
}

impl Keep {
    /// Spares these from now on, and none of those before.
    pub(crate) fn set(&self, hashes: HashSet<Hash>) {
        let mut sets = self.keeps.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.by_number.insert(self.number, hashes);
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let mut sets = self.keeps.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.by_number.remove(&self.number);
    }
}
