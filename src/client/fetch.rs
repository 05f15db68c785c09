//! Fetches contents by hash: from the local store if they are there, else from peers.
//!
//! Contents are asked for in groups, one stream for each, over connections of our own; the
//! document engine's automatic download can hang for ever and is switched off. A peer that lacks
//! one content breaks off the whole group, so what is missing afterwards is asked for one by one.
//!
//! **Invariant:** every hash that is asked for is answered exactly once, with its octets or with
//! a failure; a failure is reported within [`FETCH_STALL_MS`] of the last octet from a peer.
//! **Not here:** when to ask again (`sync`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use iroh::EndpointId;
use iroh::endpoint::Connection;
use iroh_blobs::Hash;
use iroh_blobs::api::Store as BlobStore;
use iroh_blobs::api::remote::GetProgressItem;
use iroh_blobs::protocol::GetManyRequest;
use n0_future::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::link::Links;
use crate::limits::{FETCH_GROUP_MAX, FETCH_NEIGHBORS_MAX, FETCH_STALL_MS, FETCH_STREAMS_MAX};

/// The answer to one hash.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// What was asked for.
    pub(super) hash: [u8; 32],
    /// Its octets; none when no peer that answers has them.
    pub(super) content: Option<Bytes>,
}

/// Fetches contents; clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    /// Where contents are kept.
    blobs: BlobStore,
    /// The peers of the ticket.
    links: Links,
    /// Connections to neighbors that the ticket does not name, made when first needed.
    neighbors: Arc<DashMap<EndpointId, Option<Connection>>>,
    /// Bounds the streams that are open at once.
    streams: Arc<Semaphore>,
    /// Where answers go.
    answers: mpsc::UnboundedSender<Fetched>,
    /// Ends what is under way.
    stop: CancellationToken,
}

impl Fetcher {
    /// Makes a fetcher that answers to `answers`.
    pub(super) fn new(
        blobs: BlobStore,
        links: Links,
        answers: mpsc::UnboundedSender<Fetched>,
        stop: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(FETCH_STREAMS_MAX as usize));
        Self { blobs, links, neighbors: Arc::default(), streams, answers, stop }
    }

    /// Remembers a neighbor as somebody who may have what the ticket's peers lack.
    pub(super) fn add_neighbor(&self, peer: EndpointId) {
        let is_named = self.links.peers().iter().any(|named| named.id == peer);
        if !is_named && self.neighbors.len() < FETCH_NEIGHBORS_MAX as usize {
            self.neighbors.entry(peer).or_default();
        }
    }

    /// Forgets a neighbor.
    pub(super) fn remove_neighbor(&self, peer: EndpointId) {
        self.neighbors.remove(&peer);
    }

    /// Asks for contents; the answers come in any order.
    pub(super) fn fetch(&self, hashes: &[[u8; 32]]) {
        for group in hashes.chunks(FETCH_GROUP_MAX as usize) {
            let group: Vec<Hash> = group.iter().map(|hash| Hash::from_bytes(*hash)).collect();
            let fetcher = self.clone();
            tokio::spawn(async move {
                let stop = fetcher.stop.clone();
                stop.run_until_cancelled(fetcher.fetch_group(group)).await
            });
        }
    }

    /// Answers every hash of one group.
    async fn fetch_group(&self, hashes: Vec<Hash>) {
        let Ok(_permit) = self.streams.acquire().await else { return };
        let mut missing = self.answer_local(hashes).await;
        for connection in self.links.connections() {
            missing = self.fetch_from(connection, missing).await;
        }
        if !missing.is_empty() {
            for connection in self.neighbor_connections().await {
                missing = self.fetch_from(connection, missing).await;
            }
        }
        for hash in missing {
            self.answer(hash, None);
        }
    }

    /// Fetches what is `missing` from one peer; returns what still is.
    async fn fetch_from(&self, connection: Connection, missing: Vec<Hash>) -> Vec<Hash> {
        if missing.is_empty() || connection.close_reason().is_some() {
            return missing;
        }
        let is_whole = self.request(&connection, missing.clone()).await;
        let mut missing = self.answer_local(missing).await;
        if is_whole || missing.len() < 2 {
            return missing;
        }
        for hash in std::mem::take(&mut missing) {
            self.request(&connection, vec![hash]).await;
            missing.extend(self.answer_local(vec![hash]).await);
        }
        missing
    }

    /// Asks one peer for contents; whether it sent all of them.
    async fn request(&self, connection: &Connection, hashes: Vec<Hash>) -> bool {
        let request: GetManyRequest = hashes.into_iter().collect();
        let progress = self.blobs.remote().execute_get_many(connection.clone(), request);
        let mut progress = std::pin::pin!(progress.stream());
        let stall = Duration::from_millis(FETCH_STALL_MS);
        loop {
            match tokio::time::timeout(stall, progress.next()).await {
                Ok(Some(GetProgressItem::Progress(_))) => {}
                Ok(Some(GetProgressItem::Done(_))) => return true,
                Ok(Some(GetProgressItem::Error(error))) => {
                    tracing::debug!(%error, "a peer broke off a fetch");
                    return false;
                }
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Answers what the local store has; returns the rest.
    async fn answer_local(&self, hashes: Vec<Hash>) -> Vec<Hash> {
        let mut missing = Vec::new();
        for hash in hashes {
            let has = self.blobs.has(hash).await.unwrap_or(false);
            let content = if has { self.blobs.get_bytes(hash).await.ok() } else { None };
            match content {
                Some(content) => self.answer(hash, Some(content)),
                None => missing.push(hash),
            }
        }
        missing
    }

    /// Returns connections to neighbors, dialing those that were never dialed.
    async fn neighbor_connections(&self) -> Vec<Connection> {
        let peers: Vec<EndpointId> = self.neighbors.iter().map(|entry| *entry.key()).collect();
        let mut connections = Vec::new();
        for peer in peers {
            let known = self.neighbors.get(&peer).and_then(|entry| entry.value().clone());
            let known = known.filter(|connection| connection.close_reason().is_none());
            let connection = match known {
                Some(connection) => Some(connection),
                None => self.links.dial_neighbor(peer).await,
            };
            if let Some(connection) = connection {
                self.neighbors.insert(peer, Some(connection.clone()));
                connections.push(connection);
            }
        }
        connections
    }

    /// Sends one answer. Nobody listening means that the edge is ending.
    fn answer(&self, hash: Hash, content: Option<Bytes>) {
        let _ = self.answers.send(Fetched { hash: *hash.as_bytes(), content });
    }
}
