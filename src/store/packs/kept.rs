//! What a process remembers of packs: those that were read last, and directories.
//!
//! **Invariant:** no more is kept than [`PACKS_KEPT_OCTETS_MAX`], but for the one that was read last.
//! **Not here:** where they are read from (`store::packs`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::kv::{KvError, Versioned};
use super::directory::Directory;
use super::form::PackReader;
use crate::limits::PACKS_KEPT_OCTETS_MAX;

/// Packs and directories that were read.
#[derive(Default)]
pub(super) struct Kept {
    /// The directories, by the number of their generation.
    directories: Mutex<Shelf<u64, Directory>>,
    /// The packs, by the number of their generation and their own.
    packs: Mutex<Shelf<(u64, u32), Pack>>,
}

/// A pack, as it stands in the engine.
pub(super) struct Pack {
    /// Its octets.
    pub(super) octets: Vec<u8>,
    /// The revision of the commit that wrote it, and with it that of all its rows.
    pub(super) revision: u64,
}

/// Values of one kind, and how many octets they take.
struct Shelf<K, V> {
    /// The values.
    values: HashMap<K, Arc<V>>,
    /// Their octets.
    octets: usize,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), octets: 0 }
    }
}

impl Kept {
    /// Returns those of some directories that are kept.
    pub(super) fn directories(&self, numbers: &BTreeSet<u64>) -> HashMap<u64, Arc<Directory>> {
        lock(&self.directories).find(numbers)
    }

    /// Keeps a directory.
    pub(super) fn keep_directory(&self, number: u64, directory: &Arc<Directory>) {
        lock(&self.directories).keep(number, directory, directory.octets());
    }

    /// Returns those of some packs that are kept.
    pub(super) fn packs(&self, places: &BTreeSet<(u64, u32)>) -> HashMap<(u64, u32), Arc<Pack>> {
        lock(&self.packs).find(places)
    }

    /// Keeps a pack.
    pub(super) fn keep_pack(&self, place: (u64, u32), pack: &Arc<Pack>) {
        lock(&self.packs).keep(place, pack, pack.octets.len());
    }
}

impl Pack {
    /// Returns a row of the pack.
    pub(super) fn find(&self, row: &[u8]) -> Result<Option<Versioned>, KvError> {
        let mut reader = PackReader::new(&self.octets)?;
        while let Some((found, value)) = reader.next()? {
            if found >= row {
                let value = (found == row).then(|| value.to_vec());
                return Ok(value.map(|value| Versioned { value, revision: self.revision }));
            }
        }
        Ok(None)
    }
}

impl<K: Copy + Eq + std::hash::Hash, V> Shelf<K, V> {
    /// Returns those of some values that are kept.
    fn find(&self, keys: &BTreeSet<K>) -> HashMap<K, Arc<V>> {
        let found = |key: &K| Some((*key, Arc::clone(self.values.get(key)?)));
        keys.iter().filter_map(found).collect()
    }

    /// Keeps a value; forgets all others if they become too many.
    fn keep(&mut self, key: K, value: &Arc<V>, octets: usize) {
        if self.octets + octets > PACKS_KEPT_OCTETS_MAX {
            *self = Self::default();
        }
        if self.values.insert(key, Arc::clone(value)).is_none() {
            self.octets += octets;
        }
    }
}

/// Locks what is kept; it is whole even if a holder panicked.
fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
