//! Which line of commits an engine holds, as far as its store knows.
//!
//! What a cluster keeps can be put back, emptied or filled by others while we run. Put back, it is the same
//! store with another history (`store::history`), which whoever has told of the lost commits begins. Without
//! the key of its digests it is not the same store: an empty one followed would take every zone from every
//! edge, and another one's digests come to nothing that ours do.
//!
//! **Invariant:** that another store stands in its place is said once, and holds until it is the same again.
//! **Not here:** how it is found out (`store::histories`, `store::etcd`, `export`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::kv::KvError;

/// What is known of the line of commits.
#[derive(Debug)]
pub(super) struct Lineage {
    /// Counts the histories that were begun.
    pub(super) begun: watch::Sender<u64>,
    /// When the last one was.
    begun_at: Mutex<Option<Instant>>,
    /// Whether the engine was found to hold another store, or none.
    is_other: AtomicBool,
}

impl Default for Lineage {
    /// Nothing has happened yet.
    fn default() -> Self {
        Self { begun: watch::channel(0).0, begun_at: Mutex::default(), is_other: false.into() }
    }
}

impl Lineage {
    /// Says whether the engine holds the store that was opened, as far as is known.
    ///
    /// # Errors
    /// [`KvError::OtherStore`].
    pub(super) fn check(&self) -> Result<(), KvError> {
        if self.is_other.load(Ordering::Relaxed) { Err(KvError::OtherStore) } else { Ok(()) }
    }

    /// Notes which store the engine was found to hold.
    pub(super) fn note_store(&self, is_other: bool) {
        match (self.is_other.swap(is_other, Ordering::Relaxed), is_other) {
            (false, true) => tracing::error!(
                "the store is empty, or another one stands in its place: nothing of it is followed, and nothing \
                 written to it, until what it held is put back, or the node is started anew"
            ),
            (true, false) => tracing::info!("the store is the one of before again"),
            _ => {}
        }
    }

    /// Notes that a history was begun.
    pub(super) fn note_begun(&self) {
        *self.begun_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.begun.send_modify(|count| *count += 1);
    }

    /// How long ago the last history was begun.
    pub(super) fn begun_ago(&self) -> Option<Duration> {
        let at = *self.begun_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed())
    }
}
