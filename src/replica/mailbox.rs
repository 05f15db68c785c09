//! Where replication's events wait until the edge has time for them.
//!
//! A subscription that is not read freezes the whole document engine, so one task reads it and
//! does nothing but put events here. Nothing ever waits for room: past [`MAILBOX_ENTRIES_MAX`]
//! all entries are dropped at once and the edge is told to scan its replica, which has them.
//!
//! **Invariant:** [`Mailbox::push`] never waits; what it drops is announced by `is_overflowed`.
//! **Not here:** working on what lies here (`listener`).

use std::sync::{Arc, Mutex};

use iroh::EndpointId;
use iroh_docs::Entry;
use iroh_docs::engine::LiveEvent;
use n0_future::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::limits::MAILBOX_ENTRIES_MAX;

/// What came in since the last look.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// New entries of the replica, in the order in which they arrived.
    pub(super) entries: Vec<Entry>,
    /// Entries were dropped: the replica must be scanned.
    pub(super) is_overflowed: bool,
    /// Neighbors that appeared in the swarm.
    pub(super) neighbors_up: Vec<EndpointId>,
    /// Neighbors that left the swarm.
    pub(super) neighbors_down: Vec<EndpointId>,
    /// Reconciliations that ended well.
    pub(super) syncs_ok: u32,
    /// Reconciliations that ended with an error, which is often no failure at all.
    pub(super) syncs_failed: u32,
    /// The subscription has ended.
    pub(super) is_closed: bool,
}

/// Reads the subscription into the mailbox, and does nothing else.
pub(super) async fn drain(
    mut events: impl n0_future::Stream<Item = anyhow::Result<LiveEvent>> + Send + Unpin + 'static,
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
) {
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        match event {
            Ok(event) => mailbox.push(event),
            Err(error) => tracing::warn!(%error, "an event of the namespace was lost"),
        }
    }
    mailbox.close();
}

/// A mailbox between the task that reads events and the one that works on them.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// What came in since the last look.
    arrived: Mutex<Arrived>,
    /// Wakes the worker.
    wake: Notify,
}

impl Mailbox {
    /// Puts one event in.
    pub(super) fn push(&self, event: LiveEvent) {
        let Ok(mut arrived) = self.arrived.lock() else { return };
        match event {
            LiveEvent::InsertRemote { entry, .. } | LiveEvent::InsertLocal { entry } => {
                if arrived.entries.len() >= MAILBOX_ENTRIES_MAX as usize {
                    arrived.entries = Vec::new();
                    arrived.is_overflowed = true;
                }
                arrived.entries.push(entry);
            }
            LiveEvent::NeighborUp(peer) => arrived.neighbors_up.push(peer),
            LiveEvent::NeighborDown(peer) => arrived.neighbors_down.push(peer),
            LiveEvent::SyncFinished(sync) if sync.result.is_ok() => arrived.syncs_ok += 1,
            LiveEvent::SyncFinished(_) => arrived.syncs_failed += 1,
            LiveEvent::ContentReady { .. } | LiveEvent::PendingContentReady => return,
        }
        drop(arrived);
        self.wake.notify_one();
    }

    /// Says that no event will follow.
    pub(super) fn close(&self) {
        if let Ok(mut arrived) = self.arrived.lock() {
            arrived.is_closed = true;
        }
        self.wake.notify_one();
    }

    /// Takes out all that came in.
    pub(super) fn take(&self) -> Arrived {
        self.arrived.lock().map(|mut arrived| std::mem::take(&mut *arrived)).unwrap_or_default()
    }

    /// Waits until something came in since the last call.
    pub(super) async fn arrived(&self) {
        self.wake.notified().await;
    }
}
