//! The one write and the one read of the catalog that is served.
//!
//! A reader loads the catalog once for a batch of queries, without a lock, and never waits for a
//! writer. A replaced catalog is kept here until its last reader has let go, so that no reader
//! ever frees a zone inside its packet loop.
//!
//! **Invariant:** the count of a retired catalog's holders is read after it was swapped out, when no reader
//! can load it any more.
//! **Not here:** what a catalog holds (`catalog`).

pub mod pace;
pub mod stage;

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::catalog::{Catalog, CatalogChange};
use crate::zone::HashSeed;

/// Publishes catalogs.
#[derive(Debug)]
pub struct Publisher {
    /// What readers load.
    current: Arc<ArcSwap<Catalog>>,
    /// Catalogs that readers may still hold; the lock also makes publishing serial.
    retired: Mutex<Vec<Arc<Catalog>>>,
    /// What was published so far.
    counts: Arc<Counts>,
}

/// Loads the published catalog; a clone reads the same one.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What the publisher swaps.
    current: Arc<ArcSwap<Catalog>>,
    /// What the publisher counts.
    counts: Arc<Counts>,
}

/// What was published so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PublishStats {
    /// Catalogs that were published.
    pub publishes: u64,
    /// Changes in them, of RRsets and of whole zones: divided by `publishes`, how many shared one.
    pub changes: u64,
}

/// The counters of [`PublishStats`].
#[derive(Debug, Default)]
struct Counts {
    /// Catalogs that were published.
    publishes: AtomicU64,
    /// Changes in them.
    changes: AtomicU64,
}

/// A loaded catalog. It is meant to be held for a batch, not kept.
#[derive(Debug)]
pub struct Snapshot(Guard<Arc<Catalog>>);

impl Publisher {
    /// Publishes a catalog without zones.
    pub fn new(seed: HashSeed) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(Catalog::new(seed)));
        Self { current, retired: Mutex::new(Vec::new()), counts: Arc::default() }
    }

    /// Makes a reader.
    pub fn reader(&self) -> Reader {
        Reader { current: Arc::clone(&self.current), counts: Arc::clone(&self.counts) }
    }

    /// Returns the published catalog, to derive zones from.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Publishes `changes` at once: a reader sees all of them or none.
    pub fn publish(&self, changes: Vec<CatalogChange>) {
        let change_count = changes.len() as u64;
        self.publish_edits(changes, change_count);
    }

    /// Publishes `changes` at once, in which `change_count` changes of RRsets or zones were made.
    pub(crate) fn publish_edits(&self, changes: Vec<CatalogChange>, change_count: u64) {
        if changes.is_empty() {
            return;
        }
        self.counts.publishes.fetch_add(1, Ordering::Relaxed);
        self.counts.changes.fetch_add(change_count, Ordering::Relaxed);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(self.current.load().with_changes(changes));
        retired.push(self.current.swap(next));
        free(&mut retired);
    }

    /// Publishes the same zones, all of them stale but those of some apexes, by their hashes; `None` ends that.
    pub(crate) fn publish_staleness(&self, fresh: Option<Vec<u64>>) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(self.current.load().with_staleness(fresh));
        retired.push(self.current.swap(next));
        free(&mut retired);
    }

    /// Frees replaced catalogs that no reader holds; returns how many are still held.
    pub fn free_retired(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        free(&mut retired);
        retired.len()
    }
}

impl Reader {
    /// Loads the published catalog.
    #[inline]
    pub fn load(&self) -> Snapshot {
        Snapshot(self.current.load())
    }

    /// Returns what was published so far.
    pub fn stats(&self) -> PublishStats {
        PublishStats {
            publishes: self.counts.publishes.load(Ordering::Relaxed),
            changes: self.counts.changes.load(Ordering::Relaxed),
        }
    }
}

impl Snapshot {
    /// Keeps the catalog beyond the batch, for an answer that takes longer. Only the publisher frees
    /// it, when it is not kept any more.
    pub fn keep(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }
}

impl Deref for Snapshot {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.0
    }
}

/// Drops the catalogs of which only we are left as holder.
fn free(retired: &mut Vec<Arc<Catalog>>) {
    retired.retain(|catalog| Arc::strong_count(catalog) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::record::{RecordType, Rrset, Soa};
    use crate::zone::{Zone, build};

    fn zone(serial: u8) -> Arc<Zone> {
        let rdata = Soa { serial: serial.into(), ..Soa::default() }.to_rdata();
        let soa = Rrset::new(Name::root(), RecordType::SOA, 1, [rdata]).expect("one record");
        Arc::new(build(Name::root(), HashSeed(1), vec![soa]).expect("has an SOA"))
    }

    #[test]
    fn a_held_snapshot_stays_and_is_freed_by_the_publisher() {
        let publisher = Publisher::new(HashSeed(1));
        let reader = publisher.reader();
        let first = zone(1);
        let seen = Arc::downgrade(&first);
        publisher.publish(vec![CatalogChange::Put(first)]);
        let held = reader.load();
        publisher.publish(vec![CatalogChange::Put(zone(2))]);
        assert_eq!(held.zone(&Name::root()).map(|zone| zone.serial()), Some(1));
        assert_eq!(reader.load().zone(&Name::root()).map(|zone| zone.serial()), Some(2));
        assert_eq!(publisher.free_retired(), 1);
        drop(held);
        assert!(seen.upgrade().is_some(), "the reader did not free it");
        assert_eq!(publisher.free_retired(), 0);
        assert!(seen.upgrade().is_none());
    }

    #[test]
    fn readers_see_every_change_of_a_publish_or_none() {
        let publisher = Publisher::new(HashSeed(1));
        let reader = publisher.reader();
        publisher.publish(vec![CatalogChange::Put(zone(0))]);
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let serial = reader.load().zone(&Name::root()).map_or(0, |zone| zone.serial());
                    assert!(serial >= last);
                    last = serial;
                }
            });
            for serial in 1..=200 {
                publisher.publish(vec![CatalogChange::Put(zone(serial))]);
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(publisher.free_retired(), 0);
    }
}
