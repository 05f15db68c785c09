//! Follows the entries of a feed that has no log, until it has one.
//!
//! **Not here:** following entries itself (`listener`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Follow;
use crate::limits::FIRST_LOAD_MS_MAX;
use crate::replica::listener::spawn_entry_listener;

impl Follow {
    /// Follows the entries of a feed of the first format, which has no log.
    pub(super) async fn follow_entries(
        &mut self,
        stop: &CancellationToken,
    ) -> Option<oneshot::Receiver<()>> {
        if self.entries.is_some() || self.has_state() || self.upstream.is_some() {
            return None;
        }
        let stop = stop.child_token();
        let (client, ticket) = (Arc::clone(&self.client), self.ticket.clone());
        match spawn_entry_listener(client, &self.mesh, &ticket, stop.clone()).await {
            Ok((task, loaded)) => {
                tracing::info!("the feed has no log: its entries are followed");
                self.client.begin_entries();
                self.entries = Some((stop, task));
                Some(loaded)
            }
            Err(error) => {
                tracing::warn!(%error, "the entries of the feed cannot be followed");
                None
            }
        }
    }

    /// Follows the entries at once: this edge has those of an older version on its disk. Returns
    /// when they are answered, or take so long that others should not wait for them.
    pub(in crate::replica) async fn begin_with_entries(&mut self, stop: &CancellationToken) {
        let Some(loaded) = self.follow_entries(stop).await else { return };
        let limit = Duration::from_millis(FIRST_LOAD_MS_MAX);
        if tokio::time::timeout(limit, loaded).await.is_err() {
            tracing::warn!("what this edge had is not all loaded yet");
        }
    }
}
