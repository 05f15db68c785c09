//! Holds one connection to each peer that the ticket names.
//!
//! A link serves two ends. Contents are fetched over it, so a fetch begins without a handshake.
//! And it is the quickest sign that a peer has died or come back: it is kept alive in fractions
//! of a second, and while a peer is away it is dialed several times a second, which costs one
//! packet each. Replication itself would notice a killed peer after seconds and never redial.
//!
//! **Invariant:** a dial every [`LINK_REDIAL_MS`] at most; each ends within [`LINK_DIAL_MS`].
//! **Not here:** what is done about a lost peer (`listener`), what is fetched (`fetch`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dashmap::DashMap;
use iroh::endpoint::{ConnectOptions, Connection};
use iroh::{Endpoint, EndpointAddr, EndpointId};
use iroh_blobs::ALPN as BLOBS_ALPN;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fetch::{Sources, dial_all};
use crate::limits::{
    FETCH_NEIGHBOR_REST_MS, FETCH_NEIGHBORS_MAX, LINK_DIAL_MS, LINK_IDLE_MS, LINK_KEEP_ALIVE_MS,
    LINK_REDIAL_MS,
};
use crate::mesh::endpoint::transport;

/// A change of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkEvent {
    /// The peer answers; it did not before.
    Up(EndpointId),
    /// The peer does not answer any more.
    Down(EndpointId),
}

/// The connections that stand now, by peer.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// Our side of every connection.
    endpoint: Endpoint,
    /// Connections that stood when last looked at.
    connections: Arc<DashMap<EndpointId, Connection>>,
    /// The peers of the ticket, without ourselves.
    peers: Arc<Vec<EndpointAddr>>,
    /// Connections to neighbors that the ticket does not name, made when needed.
    neighbors: Arc<DashMap<EndpointId, Option<NeighborLink>>>,
}

/// A connection to a neighbor.
#[derive(Debug)]
struct NeighborLink {
    /// The connection.
    connection: Connection,
    /// When it was given out last.
    used_at: Instant,
}

#[async_trait]
impl Sources for Links {
    async fn near(&self) -> Vec<Connection> {
        self.connections.iter().map(|entry| entry.value().clone()).collect()
    }

    fn far(self: Arc<Self>) -> mpsc::Receiver<Connection> {
        let peers: Vec<EndpointId> = self.neighbors.iter().map(|entry| *entry.key()).collect();
        dial_all(peers.into_iter().map(|peer| {
            let links = Arc::clone(&self);
            async move {
                if let Some(known) = links.known(peer) {
                    return Some(known);
                }
                let dialed = dial_contents(&links.endpoint, EndpointAddr::new(peer)).await?;
                links.keep_for_a_while(peer, dialed.clone());
                Some(dialed)
            }
        }))
    }
}

impl Links {
    /// Starts one task for each peer, which ends with `stop`.
    pub(super) fn spawn(
        endpoint: Endpoint,
        peers: Vec<EndpointAddr>,
        events: &mpsc::Sender<LinkEvent>,
        stop: &CancellationToken,
    ) -> Self {
        let own_id = endpoint.id();
        let peers: Vec<_> = peers.into_iter().filter(|peer| peer.id != own_id).collect();
        let (connections, neighbors) = (Arc::default(), Arc::default());
        let links = Self { endpoint, connections, peers: Arc::new(peers), neighbors };
        for peer in links.peers.iter() {
            let hold = links.clone().hold(peer.clone(), events.clone());
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(hold).await });
        }
        links
    }

    /// The peers of the ticket, without ourselves.
    pub(super) fn peers(&self) -> &[EndpointAddr] {
        &self.peers
    }

    /// Remembers a neighbor, which gossip found, as somebody who may have what the ticket's peers
    /// lack.
    pub(super) fn add_neighbor(&self, peer: EndpointId) {
        let is_named = self.peers.iter().any(|named| named.id == peer);
        if !is_named && self.neighbors.len() < FETCH_NEIGHBORS_MAX as usize {
            self.neighbors.entry(peer).or_default();
        }
    }

    /// Forgets a neighbor.
    pub(super) fn remove_neighbor(&self, peer: EndpointId) {
        self.neighbors.remove(&peer);
    }

    /// Returns the connection to a neighbor, if it stands.
    fn known(&self, peer: EndpointId) -> Option<Connection> {
        let mut entry = self.neighbors.get_mut(&peer)?;
        let link = entry.as_mut().filter(|link| link.connection.close_reason().is_none())?;
        link.used_at = Instant::now();
        Some(link.connection.clone())
    }

    /// Keeps a connection to a neighbor until it was not used for [`FETCH_NEIGHBOR_REST_MS`]: being kept alive, it
    /// costs both ends more than a handshake now and then.
    fn keep_for_a_while(&self, peer: EndpointId, connection: Connection) {
        let link = NeighborLink { connection, used_at: Instant::now() };
        let Some(mut entry) = self.neighbors.get_mut(&peer) else { return };
        *entry = Some(link);
        let neighbors = Arc::downgrade(&self.neighbors);
        tokio::spawn(async move {
            let rest = Duration::from_millis(FETCH_NEIGHBOR_REST_MS);
            loop {
                tokio::time::sleep(rest).await;
                let Some(neighbors) = neighbors.upgrade() else { return };
                let Some(mut entry) = neighbors.get_mut(&peer) else { return };
                if entry.as_ref().is_none_or(|link| link.used_at.elapsed() >= rest) {
                    *entry = None;
                    return;
                }
            }
        });
    }

    /// Keeps a connection to one peer, for ever.
    async fn hold(self, peer: EndpointAddr, events: mpsc::Sender<LinkEvent>) {
        loop {
            let connection = self.dial_until_up(&peer).await;
            self.connections.insert(peer.id, connection.clone());
            let _ = events.send(LinkEvent::Up(peer.id)).await;
            let reason = connection.closed().await;
            tracing::debug!(peer = %peer.id.fmt_short(), %reason, "link lost");
            self.connections.remove(&peer.id);
            let _ = events.send(LinkEvent::Down(peer.id)).await;
        }
    }

    /// Dials a peer until it answers. A new dial begins while those before it still wait: the
    /// first packet of one that began too early is repeated only after a second.
    async fn dial_until_up(&self, peer: &EndpointAddr) -> Connection {
        let mut dials = JoinSet::new();
        loop {
            let (endpoint, peer) = (self.endpoint.clone(), peer.clone());
            dials.spawn(async move { dial_contents(&endpoint, peer).await });
            let pause = tokio::time::sleep(Duration::from_millis(LINK_REDIAL_MS));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    Some(dialed) = dials.join_next() => {
                        if let Ok(Some(connection)) = dialed {
                            return connection;
                        }
                    }
                    () = &mut pause => break,
                }
            }
        }
    }
}

/// Connects to `peer` for contents, or gives up soon.
pub(super) async fn dial_contents(endpoint: &Endpoint, peer: EndpointAddr) -> Option<Connection> {
    let transport = transport(LINK_IDLE_MS, LINK_KEEP_ALIVE_MS, 0).build();
    let options = ConnectOptions::new().with_transport_config(transport);
    let limit = Duration::from_millis(LINK_DIAL_MS);
    let connecting = async {
        let connecting = endpoint.connect_with_opts(peer, BLOBS_ALPN, options).await.ok()?;
        connecting.await.ok()
    };
    tokio::time::timeout(limit, connecting).await.ok().flatten()
}
