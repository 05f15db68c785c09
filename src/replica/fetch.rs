//! Fetches contents by hash: from the local store if they are there, else from peers.
//!
//! Contents are asked for in groups, one stream for each, over connections of our own; the
//! document engine's automatic download can hang for ever and is switched off. A peer that lacks
//! one content breaks off the whole group, so what is missing afterwards is asked for one by one.
//!
//! **Invariant:** every hash that is asked for is answered exactly once, with its octets or with
//! a failure; a failure is reported within [`FETCH_STALL_MS`] of the last octet from a peer, or
//! [`FETCH_FAR_MS_MAX`] behind the last peer that could be asked.
//! **Not here:** when to ask again (`sync`), who has contents (`link`, `upstream`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use iroh::endpoint::Connection;
use iroh_blobs::Hash;
use iroh_blobs::api::remote::GetProgressItem;
use iroh_blobs::protocol::GetManyRequest;
use n0_future::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::limits::{FETCH_FAR_MS_MAX, FETCH_GROUP_MAX, FETCH_STALL_MS, FETCH_STREAMS_MAX};
use crate::mesh::Blobs;
use crate::mesh::blobs::Looked;

/// A content that is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ask {
    /// Its hash.
    pub(super) hash: [u8; 32],
    /// Whether its octets are wanted; else it need only be here.
    pub(super) is_loaded: bool,
}

/// The answer to one hash.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// What was asked for.
    pub(super) hash: [u8; 32],
    /// Whether it is here; no peer that answers had it if not.
    pub(super) is_here: bool,
    /// Its octets, if they were wanted.
    pub(super) content: Option<Bytes>,
}

/// Who may have contents.
#[async_trait]
pub(super) trait Sources: std::fmt::Debug + Send + Sync {
    /// Connections to those who likely have what is wanted.
    async fn near(&self) -> Vec<Connection>;

    /// Connections to others, as they come: who does not answer keeps nobody else waiting.
    fn far(self: Arc<Self>) -> mpsc::Receiver<Connection>;
}

/// Dials all at once, and returns the connections as they come. Nothing is dialed any more when the
/// receiver is gone.
pub(super) fn dial_all<T: Send + 'static>(
    dials: impl Iterator<Item = impl Future<Output = Option<T>> + Send + 'static>,
) -> mpsc::Receiver<T> {
    let mut dials: JoinSet<_> = dials.collect();
    let (sender, connections) = mpsc::channel(dials.len().max(1));
    tokio::spawn(async move {
        loop {
            let dialed = tokio::select! {
                dialed = dials.join_next() => dialed,
                () = sender.closed() => return,
            };
            let Some(dialed) = dialed else { return };
            if let Ok(Some(connection)) = dialed {
                // Nobody listens: all that was wanted is here.
                let _ = sender.send(connection).await;
            }
        }
    });
    connections
}

/// Fetches contents; clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    /// Where contents are kept.
    blobs: Blobs,
    /// Who may have contents.
    sources: Arc<dyn Sources>,
    /// Bounds the streams that are open at once.
    streams: Arc<Semaphore>,
    /// Where answers go.
    answers: mpsc::Sender<Fetched>,
    /// A content on this machine is not what its hash says.
    is_damaged: Arc<AtomicBool>,
    /// Ends what is under way.
    stop: CancellationToken,
}

impl Fetcher {
    /// Makes a fetcher that answers to `answers`.
    pub(super) fn new(
        blobs: Blobs,
        sources: Arc<dyn Sources>,
        answers: mpsc::Sender<Fetched>,
        stop: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(FETCH_STREAMS_MAX as usize));
        let is_damaged = Arc::default();
        Self { blobs, sources, streams, answers, is_damaged, stop }
    }

    /// Whether a content on this machine was found not to be what its hash says, since the last call:
    /// the store must begin anew.
    pub(super) fn take_damage(&self) -> bool {
        self.is_damaged.swap(false, Ordering::Relaxed)
    }

    /// Asks for contents; the answers come in any order.
    pub(super) fn fetch(&self, asks: &[Ask]) {
        for group in asks.chunks(FETCH_GROUP_MAX as usize) {
            let (fetcher, group) = (self.clone(), group.to_vec());
            tokio::spawn(async move {
                let stop = fetcher.stop.clone();
                stop.run_until_cancelled(fetcher.fetch_group(group)).await
            });
        }
    }

    /// Answers every hash of one group.
    async fn fetch_group(&self, asks: Vec<Ask>) {
        let Ok(_permit) = self.streams.acquire().await else { return };
        let mut missing = self.answer_local(asks).await;
        if !missing.is_empty() {
            for connection in self.sources.near().await {
                missing = self.fetch_from(connection, missing).await;
            }
        }
        if !missing.is_empty() {
            let mut far = Arc::clone(&self.sources).far();
            let patience = Duration::from_millis(FETCH_FAR_MS_MAX);
            // One that is gone is dialed for seconds, and what nobody has is to be known sooner.
            while !missing.is_empty()
                && let Ok(Some(connection)) = tokio::time::timeout(patience, far.recv()).await
            {
                missing = self.fetch_from(connection, missing).await;
            }
        }
        for ask in missing {
            self.answer(Fetched { hash: ask.hash, is_here: false, content: None }).await;
        }
    }

    /// Fetches what is `missing` from one peer; returns what still is.
    async fn fetch_from(&self, connection: Connection, missing: Vec<Ask>) -> Vec<Ask> {
        if missing.is_empty() || connection.close_reason().is_some() {
            return missing;
        }
        let hashes = missing.iter().map(|ask| Hash::from_bytes(ask.hash)).collect();
        let is_whole = self.request(&connection, hashes).await;
        let mut missing = self.answer_local(missing).await;
        if is_whole || missing.len() < 2 {
            return missing;
        }
        for ask in std::mem::take(&mut missing) {
            self.request(&connection, vec![Hash::from_bytes(ask.hash)]).await;
            missing.extend(self.answer_local(vec![ask]).await);
        }
        missing
    }

    /// Asks one peer for contents; whether it sent all of them.
    async fn request(&self, connection: &Connection, hashes: Vec<Hash>) -> bool {
        let request: GetManyRequest = hashes.into_iter().collect();
        let blobs = self.blobs.store();
        let progress = blobs.remote().execute_get_many(connection.clone(), request);
        let mut progress = std::pin::pin!(progress.stream());
        let stall = Duration::from_millis(FETCH_STALL_MS);
        loop {
            match tokio::time::timeout(stall, progress.next()).await {
                Ok(Some(GetProgressItem::Progress(_))) => {}
                Ok(Some(GetProgressItem::Done(_))) => return true,
                Ok(Some(GetProgressItem::Error(error))) => {
                    tracing::debug!(%error, "a fetch broke off");
                    // It may be the peer, or our own store.
                    self.blobs.suspect();
                    return false;
                }
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Answers what the local store has; returns the rest.
    async fn answer_local(&self, asks: Vec<Ask>) -> Vec<Ask> {
        let mut missing = Vec::new();
        for ask in asks {
            match self.look_up(ask).await {
                Some(content) => {
                    self.answer(Fetched { hash: ask.hash, is_here: true, content }).await;
                }
                None => missing.push(ask),
            }
        }
        missing
    }

    /// Returns what the local store has of a content, its octets if they are wanted; none if it is not
    /// there, is damaged, or the store does not answer.
    async fn look_up(&self, ask: Ask) -> Option<Option<Bytes>> {
        if !ask.is_loaded {
            return self.blobs.has(ask.hash).await.then_some(None);
        }
        match self.blobs.look_at(ask.hash).await {
            Looked::Here(octets) => Some(Some(octets)),
            Looked::Damaged => {
                self.note_damage(Hash::from_bytes(ask.hash));
                None
            }
            Looked::Gone | Looked::Silent => None,
        }
    }

    /// Notes that a content on this machine is not what its hash says.
    fn note_damage(&self, hash: Hash) {
        if !self.is_damaged.swap(true, Ordering::Relaxed) {
            tracing::error!(%hash, "a content on this machine is not what its hash says");
        }
    }

    /// Sends one answer. Nobody listening means that the edge is ending.
    async fn answer(&self, answer: Fetched) {
        let _ = self.answers.send(answer).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_keeps_nobody_waiting() {
        let dial = |at: u32| async move {
            match at {
                0..16 => std::future::pending().await,
                16 => None,
                _ => Some(at),
            }
        };
        let mut dialed = dial_all((0..18).map(dial));
        assert_eq!(dialed.recv().await, Some(17));
        let mut none = dial_all((16..17).map(dial));
        assert_eq!(none.recv().await, None);
    }
}
