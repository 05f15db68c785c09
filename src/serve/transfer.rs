//! How many zone transfers there may be at once.
//!
//! **Invariant:** a transfer is counted from its start to its end, however it ends.
//! **Not here:** who may have one, and what it sends (`responder::transfer`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::TRANSFERS_MAX;
use crate::responder::transfer::{Transfer, TransferProgress};

/// Counts the transfers of all workers; a clone shares the count.
#[derive(Clone, Debug, Default)]
pub(super) struct TransferSlots {
    /// How many transfers run.
    running: Arc<AtomicU32>,
}

/// A transfer that is counted as long as it is here.
#[derive(Debug)]
pub(super) struct RunningTransfer {
    /// The transfer.
    transfer: Transfer,
    /// Where it is counted.
    running: Arc<AtomicU32>,
}

impl TransferSlots {
    /// Counts a transfer, unless there are as many as there may be.
    pub(super) fn start(&self, transfer: Transfer) -> Option<Box<RunningTransfer>> {
        let has_room = |running| (running < TRANSFERS_MAX).then_some(running + 1);
        let result = self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room);
        let running = Arc::clone(&self.running);
        result.is_ok().then(|| Box::new(RunningTransfer { transfer, running }))
    }
}

impl RunningTransfer {
    /// Writes the next message, see [`Transfer::next_message`].
    pub(super) fn next_message(&mut self, out: &mut Vec<u8>) -> TransferProgress {
        let progress = self.transfer.next_message(out);
        if progress == TransferProgress::Impossible {
            let apex = self.transfer.apex();
            tracing::warn!(%apex, "a record fits no message, so the zone cannot be transferred");
        }
        progress
    }
}

impl Drop for RunningTransfer {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}
