//! How far an edge is, and waiting for it.
//!
//! **Invariant:** what is told here was published before.
//! **Not here:** what the status means (`sync::status`).

use std::time::Duration;

use super::AspenDnsClient;
use super::event::DnsEvent;
use crate::feed::Revision;
use crate::sync::status::SyncStatus;

/// How far an edge is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SyncProgress {
    /// How well the feed is followed.
    pub status: SyncStatus,
    /// The revision up to which everything that is known to exist is served.
    pub served: Revision,
    /// The newest revision that is known to exist.
    pub heard: Revision,
}

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WaitError {
    /// The time is over.
    #[error("not reached in time: status {status:?}, revision {served} of {heard}")]
    Timeout {
        /// The status at the end.
        status: SyncStatus,
        /// The revision served at the end.
        served: Revision,
        /// The newest revision known at the end.
        heard: Revision,
    },
}

impl AspenDnsClient {
    /// How far the edge is.
    pub fn progress(&self) -> SyncProgress {
        *self.progress.borrow()
    }

    /// Waits until everything that the feed holds is served.
    ///
    /// # Errors
    /// [`WaitError::Timeout`].
    pub async fn wait_synced(&self, timeout: Duration) -> Result<SyncProgress, WaitError> {
        self.wait(timeout, |progress| progress.status.is_synced()).await
    }

    /// Waits until the commit `number` is served, in whatever history.
    ///
    /// # Errors
    /// [`WaitError::Timeout`].
    pub async fn wait_revision(
        &self,
        number: u64,
        timeout: Duration,
    ) -> Result<SyncProgress, WaitError> {
        self.wait(timeout, |progress| progress.served.number >= number).await
    }

    /// Waits until the progress is as it should be.
    async fn wait(
        &self,
        timeout: Duration,
        mut is_reached: impl FnMut(&SyncProgress) -> bool,
    ) -> Result<SyncProgress, WaitError> {
        let mut progress = self.progress.subscribe();
        let waited = tokio::time::timeout(timeout, progress.wait_for(|now| is_reached(now))).await;
        match waited {
            Ok(Ok(reached)) => Ok(*reached),
            Ok(Err(_)) | Err(_) => {
                let SyncProgress { status, served, heard } = self.progress();
                Err(WaitError::Timeout { status, served, heard })
            }
        }
    }

    /// Tells who waits, and subscribers, how far the edge is.
    pub(super) fn tell_progress(&self) {
        let now = match self.mirror_status() {
            Some(status) => SyncProgress {
                status: status.status,
                served: Revision::new(status.history.epoch, status.served.revision),
                heard: Revision::new(status.history.epoch, status.heard),
            },
            None => {
                let mut core = self.core();
                while core.poll_status().is_some() {}
                SyncProgress {
                    status: core.status(),
                    served: core.revision(),
                    heard: core.heard_revision(),
                }
            }
        };
        let mut is_status_changed = false;
        self.progress.send_if_modified(|told| {
            is_status_changed = told.status != now.status;
            std::mem::replace(told, now) != now
        });
        if is_status_changed {
            self.tell_stale(now.status);
            tracing::info!(status = ?now.status, revision = %now.served, "sync status");
            self.send_event(DnsEvent::SyncStatusChanged { status: now.status });
        }
    }
}
