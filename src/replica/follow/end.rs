//! The end of following: nothing is done for the feed any more, and others are told.
//!
//! **Invariant:** each of what is waited for ends in time, or is ended where it stands; however the task
//! ends, nobody is welcomed here to a log that does not go on.
//! **Not here:** what the client says then (`following`).

use std::time::Duration;

use tokio::task::JoinHandle;

use super::Follow;
use super::successor::Successor;
use crate::limits::{DOCS_CALL_MS_MAX, FOLLOW_END_MS_MAX};

impl Follow {
    /// Ends all that is done for the feed beside this task.
    pub(super) async fn end(mut self) {
        self.upstream = None;
        self.withdraw();
        let keeping = self.keeping.take().and_then(|keeping| keeping.task);
        let looking = self.looking.take();
        let building = self.building.take();
        let successor = self.successor.take().map(Successor::end);
        tokio::join!(
            self.end_entry_listener(),
            end(keeping),
            end(looking),
            end(building),
            end(successor)
        );
        self.contact.end(&self.client).await;
        self.leave().await;
    }

    /// Ends what follows a feed of the first format.
    pub(super) async fn end_entry_listener(&mut self) {
        let Some((stop, task)) = self.entries.take() else { return };
        stop.cancel();
        end(Some(task)).await;
    }

    /// Leaves the namespace, unless this node writes it itself.
    async fn leave(&mut self) {
        let leaving = async {
            // What joins it again must have ended before.
            while self.joining.join_next().await.is_some() {}
            let own = *self.mesh.endpoint().id().as_bytes();
            if self.ticket.peers.iter().all(|peer| peer.id != own)
                && let Err(error) = self.doc.leave().await
            {
                tracing::debug!(%error, "the namespace could not be left");
            }
        };
        let limit = Duration::from_millis(DOCS_CALL_MS_MAX);
        if tokio::time::timeout(limit, leaving).await.is_err() {
            tracing::warn!("the namespace could not be left in time");
        }
    }

    /// Lets nobody follow this node any more, and dials nobody.
    fn withdraw(&mut self) {
        self.mesh.hub().withdraw(self.relay.log());
        if let Some(dialing) = self.dialing.take() {
            // It would dial for ever, and the mesh wait for its connections to end.
            dialing.abort();
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Waits for a task, and ends it if it takes too long.
async fn end<T>(task: Option<JoinHandle<T>>) {
    let Some(mut task) = task else { return };
    let limit = Duration::from_millis(FOLLOW_END_MS_MAX);
    if tokio::time::timeout(limit, &mut task).await.is_err() {
        tracing::warn!("a task of the feed that is followed no more did not end in time");
        task.abort();
    }
}
