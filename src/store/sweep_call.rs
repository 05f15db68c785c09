//! The call that wakes the sweep.
//!
//! **Invariant:** a call is never lost: one that comes while the task works is heard when it waits.
//! **Not here:** the sweep (`store::sweep`).

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes the task that sweeps, the last time when it is dropped.
#[derive(Debug, Default)]
pub(super) struct SweepCall(Arc<Notify>);

impl SweepCall {
    /// Has the task look for what there is to sweep.
    pub(super) fn wake(&self) {
        self.0.notify_one();
    }

    /// Returns what the task waits for.
    pub(super) fn wakes(&self) -> Arc<Notify> {
        Arc::clone(&self.0)
    }
}

impl Drop for SweepCall {
    fn drop(&mut self) {
        self.wake();
    }
}
