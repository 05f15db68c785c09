//! How far the answers of a node are.
//!
//! **Invariant:** the revisions of [`Progress`] never fall but where all is read anew from a store that was
//! put back.
//! **Not here:** what makes them rise (`follow`, `replica`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::replica::AspenDnsClient;

/// Which revision is answered, and which is known to exist.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Told by a follower of the store. Without one, it stays at its beginning.
    Told(Arc<watch::Sender<Revisions>>),
    /// Read off the edge.
    Edge(Arc<AspenDnsClient>),
}

/// Revisions at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Revisions {
    /// The newest revision that is answered as a whole.
    pub served: u64,
    /// The newest revision that the node has heard of.
    pub heard: u64,
}

impl Default for Progress {
    /// Returns a progress at its beginning.
    fn default() -> Self {
        Self::Told(Arc::new(watch::Sender::new(Revisions::default())))
    }
}

impl Progress {
    /// Takes that all was read anew, as it is at `revision`; an edge knows better.
    pub fn begin(&self, revision: u64) {
        if let Self::Told(sender) = self {
            let begun = Revisions { served: revision, heard: revision };
            sender.send_if_modified(|now| std::mem::replace(now, begun) != begun);
        }
    }

    /// Takes that `revision` is answered; an edge knows better.
    pub fn served(&self, revision: u64) {
        if let Self::Told(sender) = self {
            sender.send_if_modified(|now| raise(&mut now.served, revision));
        }
    }

    /// Takes that `revision` exists; an edge knows better.
    pub fn heard(&self, revision: u64) {
        if let Self::Told(sender) = self {
            sender.send_if_modified(|now| raise(&mut now.heard, revision));
        }
    }

    /// Returns the revisions as they are.
    pub fn now(&self) -> Revisions {
        match self {
            Self::Told(sender) => *sender.borrow(),
            Self::Edge(client) => {
                let progress = client.progress();
                Revisions { served: progress.served.number, heard: progress.heard.number }
            }
        }
    }

    /// Waits until a newer revision than `served` is answered, and returns it.
    pub async fn past(&self, served: u64) -> u64 {
        match self {
            Self::Told(sender) => {
                let mut receiver = sender.subscribe();
                let risen = receiver.wait_for(|now| now.served > served).await;
                // The sender is ours: it is there as long as we are.
                risen.map_or(served, |now| now.served)
            }
            Self::Edge(_) => std::future::pending().await,
        }
    }

    /// Waits until `revision` is answered, `timeout` at most; returns whether it is.
    pub async fn wait(&self, revision: u64, timeout: Duration) -> bool {
        match self {
            Self::Told(sender) => {
                let mut receiver = sender.subscribe();
                let reached = receiver.wait_for(|now| now.served >= revision);
                matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
            }
            Self::Edge(client) => client.wait_revision(revision, timeout).await.is_ok(),
        }
    }
}

/// Raises `value` to `to`; says whether it rose.
fn raise(value: &mut u64, to: u64) -> bool {
    let is_higher = to > *value;
    *value = to.max(*value);
    is_higher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_revision_or_with_its_time() {
        let progress = Progress::default();
        let waiting = tokio::spawn({
            let progress = progress.clone();
            async move { progress.wait(3, Duration::from_secs(60)).await }
        });
        progress.served(2);
        progress.served(1);
        assert_eq!(progress.now().served, 2);
        assert!(!progress.wait(3, Duration::ZERO).await);
        progress.served(4);
        assert!(waiting.await.unwrap());
        progress.begin(2);
        assert_eq!(progress.now(), Revisions { served: 2, heard: 2 });
        assert!(
            !progress.wait(3, Duration::ZERO).await,
            "what was answered before is not any more"
        );
    }
}
