//! The sweep of rows that nobody reads any more: those of a generation that its zone has left, once nobody can go
//! back to it (`store::left`), and those of imports that broke off.
//!
//! An import has broken off when its generation has stood as it is for [`IMPORT_IDLE_MS_MAX`] of our own
//! time; what the clock of the one who fills it says decides nothing.
//!
//! **Invariant:** rows are swept only when no zone object can switch to their generation any more: its key says
//! that it is to be swept before the first row goes; what could not be swept is tried again until nothing is left.
//! **Not here:** who leaves rows behind (`store::import`, `store::draft`).

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::dns_store::DnsStore;
use super::keys;
use super::kv::{KvCommit, KvError, Precondition};
use super::left::{Left, LeftLook};
use super::unchanged::Unchanged;
use crate::limits::{
    IMPORT_IDLE_MS_MAX, SWEEP_CHUNK_ROWS, SWEEP_IDLE_MS, SWEEP_LOOK_MS, SWEEP_RETRY_MS_MAX,
    SWEEP_RETRY_MS_MIN,
};

/// What the sweep has seen when it looked last.
#[derive(Default)]
struct Seen {
    /// Generations that are being filled.
    filling: Unchanged,
    /// Generations that their zones have left.
    left: LeftLook,
}

/// What is left to be swept.
enum Rest {
    /// Nothing.
    Nothing,
    /// Imports that go on, or have broken off, and what is kept for a while: only time tells.
    Later,
    /// Rows, maybe.
    Rows,
}

impl DnsStore {
    /// Starts the task that sweeps for as long as the store is open.
    pub(super) fn spawn_sweep(&self) {
        tokio::spawn(sweep(self.this.clone(), self.sweeps.wakes()));
    }

    /// Deletes some rows that nobody reads any more; returns what is left.
    ///
    /// # Errors
    /// [`KvError::OtherStore`]: its rows are not ours to delete; those of the engine.
    async fn sweep_chunk(&self, seen: &mut Seen) -> Result<Rest, KvError> {
        self.lineage.check()?;
        let (mut swept, mut filling, mut cursor) = (None, Vec::new(), None);
        let mut left = Vec::new();
        loop {
            let range = keys::generation_range();
            let page = self.engine.range(&range, cursor.as_ref(), GENERATIONS_PAGE).await?;
            for (key, found) in page.entries {
                let (revision, marker) = (found.revision, found.value);
                match keys::kept_rrsets(&marker) {
                    Some(rrsets) => left.push(Left { key, revision, marker, rrsets }),
                    None if marker == keys::swept_marker() => swept = swept.or(Some(key)),
                    None => filling.push((key, revision)),
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let has_later = !filling.is_empty() || !left.is_empty();
        let idle = Duration::from_millis(IMPORT_IDLE_MS_MAX);
        for (key, revision) in seen.filling.look(Instant::now(), filling, idle) {
            self.mark_left_over(&key, revision).await?;
            swept = swept.or(Some(key));
        }
        if self.give_up_left(&mut seen.left, left).await? {
            return Ok(Rest::Rows);
        }
        match swept {
            Some(key) => self.sweep_generation(key).await.map(|()| Rest::Rows),
            None if has_later => Ok(Rest::Later),
            None => Ok(Rest::Nothing),
        }
    }

    /// Deletes some rows of a generation, and its key with the last.
    async fn sweep_generation(&self, key: Vec<u8>) -> Result<(), KvError> {
        let ranges = keys::all_of_generation(keys::parse_generation_key(&key)?);
        let limit = SWEEP_CHUNK_ROWS.min(self.engine.limits().operations_max.saturating_sub(2));
        let mut commit = KvCommit::default();
        let is_of_it = |key: &[u8]| ranges.iter().any(|range| range.contains(key));
        match self.engine.snapshot().await?.ranges(&ranges, limit).await {
            // Nobody reads it any more: what it said is of no interest.
            Err(KvError::Damaged { key, .. }) if is_of_it(&key) => commit.deletes.push(key),
            pages => {
                let pages = pages?;
                let mut is_whole = pages.iter().all(|page| page.next.is_none());
                let found = pages.into_iter().flat_map(|page| page.entries);
                commit.deletes.extend(found.map(|(key, _)| key));
                is_whole &= commit.deletes.len() <= limit as usize;
                commit.deletes.truncate(limit as usize);
                if is_whole {
                    commit.deletes.push(key.clone());
                }
            }
        }
        // An import that was only just taken for broken off may have gone on.
        let value = keys::swept_marker();
        commit.preconditions.push(Precondition::HasValue { key, value });
        match self.engine.commit(commit).await {
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Marks a generation for the sweep, unless its import has gone on since.
    async fn mark_left_over(&self, key: &[u8], revision: u64) -> Result<(), KvError> {
        let key = key.to_vec();
        let commit = KvCommit {
            preconditions: vec![Precondition::AtRevision { key: key.clone(), revision }],
            puts: vec![(key, keys::swept_marker())],
            deletes: Vec::new(),
        };
        match self.engine.commit(commit).await {
            // It goes on after all, or somebody else marked it.
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sweeps whenever it is woken, and by itself, more often as long as something is left, until the store is gone.
///
/// It holds no store while it waits: one that is dropped meanwhile must close its file.
async fn sweep(store: Weak<DnsStore>, wakes: Arc<Notify>) {
    let (mut seen, mut retry_ms) = (Seen::default(), SWEEP_RETRY_MS_MIN);
    loop {
        let Some(opened) = store.upgrade() else { return };
        let swept = opened.sweep_chunk(&mut seen).await;
        drop(opened);
        let wait_ms = match swept {
            Err(error) => {
                let wait_ms = retry_ms;
                retry_ms = (retry_ms * 2).min(SWEEP_RETRY_MS_MAX);
                tracing::warn!(%error, wait_ms, "old rows could not be swept; it is tried again");
                wait_ms
            }
            Ok(Rest::Rows) => {
                retry_ms = SWEEP_RETRY_MS_MIN;
                tokio::task::yield_now().await;
                continue;
            }
            Ok(Rest::Later) => SWEEP_LOOK_MS,
            // Nobody wakes us for what a process that has died leaves behind.
            Ok(Rest::Nothing) => SWEEP_IDLE_MS,
        };
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), wakes.notified()).await;
    }
}

/// Generations of one page.
const GENERATIONS_PAGE: u32 = 1_000;
