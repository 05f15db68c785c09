//! Whom an edge follows: dials until somebody welcomes it, and prefers the author.
//!
//! Peers of the ticket are dialed again and again, the others in between; a dial begins while those
//! before it still wait, since the first packet of one that began too early is repeated only after a
//! second. Contents are fetched from whoever is followed, then from the others.
//!
//! **Invariant:** a dial every [`UPSTREAM_DIAL_MS`] at most; of those to one peer one has said hello; each
//! of a dial's steps ends in time (`mesh::dial`).
//! **Not here:** what comes over the stream (`follow`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dashmap::DashMap;
use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointAddr, EndpointId};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio::task::JoinSet;

use super::fetch::{Sources, dial_all};
use super::link::dial_contents;
use crate::feed::frame::{Hello, RefusedReason, Welcome};
use crate::limits::{
    FETCH_NEIGHBORS_MAX, UPSTREAM_BARRED_MS, UPSTREAM_DIAL_MS, UPSTREAM_DIAL_SLOW_MS,
    UPSTREAM_EAGER_MS,
};
use crate::mesh::dial::{DialError, LogStream};
use crate::mesh::endpoint_addr;
use crate::mesh::peers::Peers;

/// A stream that somebody has opened to us.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The stream.
    pub(super) stream: LogStream,
    /// What the peer said first.
    pub(super) welcome: Welcome,
    /// Who it is.
    pub(super) id: EndpointId,
    /// Keeps other dials of the same peer from saying hello.
    _turn: OwnedMutexGuard<()>,
}

/// Dials peers of one feed.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    /// Our side of every connection.
    endpoint: Endpoint,
    /// Whom there is to dial.
    peers: Arc<Peers>,
    /// Woken when somebody of the ticket says that it has no such log.
    pub(super) no_log: Arc<Notify>,
    /// Whether nothing is heard of the author, whoever is followed.
    pub(super) is_deaf: Arc<AtomicBool>,
    /// Why the feed is not for this node, as somebody of the ticket has said.
    barred: Arc<Mutex<Option<RefusedReason>>>,
    /// Where what the author says of the feed itself goes, as those hand it on who have left the feed.
    notices: mpsc::Sender<Bytes>,
}

impl Dialer {
    /// A dialer.
    pub(super) fn new(endpoint: Endpoint, peers: Arc<Peers>, notices: mpsc::Sender<Bytes>) -> Self {
        Self {
            endpoint,
            peers,
            no_log: Arc::default(),
            is_deaf: Arc::default(),
            barred: Arc::default(),
            notices,
        }
    }

    /// Why the feed is not for this node, as somebody of the ticket has said, and nobody has let it in since.
    pub(super) fn barred(&self) -> Option<RefusedReason> {
        *self.barred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes whether a peer of the ticket, which its key proves, refuses the feed to this node.
    fn note_barred(&self, id: EndpointId, reason: Option<RefusedReason>) {
        let is_named = self.peers.split().0.iter().any(|peer| peer.id == *id.as_bytes());
        if is_named || reason.is_none() {
            *self.barred.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        }
    }

    /// Dials until somebody welcomes us. Where another edge is followed, until the author of the feed does;
    /// that edge is not dialed: it would end its stream to us. Such dials are rare as long as the author is heard
    /// through it, so that a fleet leaves the author in peace; two edges that follow each other after their author
    /// has died find the next one as soon as if they were alone.
    pub(super) async fn dial(&self, hello: Hello, followed: Option<EndpointId>) -> Upstream {
        let author_only = followed.is_some();
        let mut eager_since = Some(Instant::now()).filter(|_| !author_only);
        let mut dials = JoinSet::new();
        let mut turns: HashMap<EndpointId, Arc<tokio::sync::Mutex<()>>> = HashMap::new();
        for round in 0_usize.. {
            if let Some(addr) = self.next_peer(round, followed) {
                let (endpoint, hello, id) = (self.endpoint.clone(), hello.clone(), addr.id);
                let turn = Arc::clone(turns.entry(id).or_default());
                let dial = async move { LogStream::open(&endpoint, addr, hello, turn).await };
                dials.spawn(async move { (id, dial.await) });
            }
            if author_only {
                let is_deaf = self.is_deaf.load(Ordering::Relaxed);
                eager_since = is_deaf.then(|| eager_since.unwrap_or_else(Instant::now));
            }
            let eager = Duration::from_millis(UPSTREAM_EAGER_MS);
            let is_eager = eager_since.is_some_and(|since| since.elapsed() < eager);
            let pause_ms = match self.barred() {
                Some(_) => UPSTREAM_BARRED_MS,
                None if is_eager => UPSTREAM_DIAL_MS,
                None => UPSTREAM_DIAL_SLOW_MS,
            };
            let pause = tokio::time::sleep(Duration::from_millis(pause_ms));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    Some(dialed) = dials.join_next() => {
                        let Ok((id, dialed)) = dialed else { continue };
                        if let Some(upstream) = self.take(id, dialed, author_only) {
                            return upstream;
                        }
                    }
                    () = self.peers.news.notified() => break,
                    () = &mut pause => break,
                }
            }
        }
        std::future::pending().await
    }

    /// Takes what came of a dial.
    fn take(
        &self,
        id: EndpointId,
        dialed: Result<(LogStream, Welcome, OwnedMutexGuard<()>), DialError>,
        author_only: bool,
    ) -> Option<Upstream> {
        match dialed {
            Ok((stream, welcome, turn)) => {
                self.peers.hear(welcome.peers.clone());
                self.note_barred(id, None);
                let is_wanted = welcome.is_author || !author_only;
                is_wanted.then_some(Upstream { stream, welcome, id, _turn: turn })
            }
            Err(error) => {
                tracing::debug!(peer = %id.fmt_short(), %error, "a peer is not followed");
                match error {
                    DialError::Refused(refused, notice) => {
                        if let Some(notice) = notice {
                            // One that finds no room comes again with the next dial.
                            let _ = self.notices.try_send(notice);
                        }
                        if refused.reason == RefusedReason::UnknownFeed {
                            self.no_log.notify_one();
                        }
                        if refused.reason.is_barred() {
                            self.note_barred(id, Some(refused.reason));
                        }
                        self.peers.hear(refused.peers);
                    }
                    DialError::NoLog => self.no_log.notify_one(),
                    _ => {}
                }
                None
            }
        }
    }

    /// Whom to dial in a round, but not who is followed: a peer of the ticket in each but every fourth.
    fn next_peer(&self, round: usize, followed: Option<EndpointId>) -> Option<EndpointAddr> {
        let (mut fixed, mut others) = self.peers.split();
        for list in [&mut fixed, &mut others] {
            list.retain(|peer| followed.is_none_or(|followed| peer.id != *followed.as_bytes()));
        }
        let is_other = !others.is_empty() && (fixed.is_empty() || round % 4 == 3);
        let list = if is_other { &others } else { &fixed };
        let at = if is_other { round / 4 } else { round };
        endpoint_addr(list.get(at.checked_rem(list.len())?)?)
    }
}

/// Connections for contents, to whoever is followed and to others.
#[derive(Debug)]
pub(super) struct ContentPeers {
    /// Our side of every connection.
    endpoint: Endpoint,
    /// Whom there is.
    peers: Arc<Peers>,
    /// Who is followed.
    upstream: Mutex<Option<EndpointId>>,
    /// Connections that stood when last looked at.
    connections: DashMap<EndpointId, Connection>,
}

impl ContentPeers {
    /// No connection yet.
    pub(super) fn new(endpoint: Endpoint, peers: Arc<Peers>) -> Arc<Self> {
        let (upstream, connections) = (Mutex::default(), DashMap::new());
        Arc::new(Self { endpoint, peers, upstream, connections })
    }

    /// Notes who is followed.
    pub(super) fn follow(&self, id: Option<EndpointId>) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Ends the connection to who is lost, so that what is asked of it is asked of others at once.
    pub(super) fn lose(&self, id: EndpointId) {
        self.follow(None);
        if let Some((_, connection)) = self.connections.remove(&id) {
            connection.close(0_u32.into(), b"lost");
        }
    }

    /// Returns a connection to a peer.
    async fn connection(&self, id: EndpointId) -> Option<Connection> {
        let known = self.connections.get(&id).map(|entry| entry.value().clone());
        if let Some(known) = known.filter(|known| known.close_reason().is_none()) {
            return Some(known);
        }
        let peer = self.peers.all().into_iter().find(|peer| peer.id == *id.as_bytes());
        let addr = peer.as_ref().and_then(endpoint_addr).unwrap_or_else(|| EndpointAddr::new(id));
        let dialed = dial_contents(&self.endpoint, addr).await?;
        self.connections.insert(id, dialed.clone());
        Some(dialed)
    }
}

#[async_trait]
impl Sources for ContentPeers {
    async fn near(&self) -> Vec<Connection> {
        let id = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => self.connection(id).await.into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn far(self: Arc<Self>) -> mpsc::Receiver<Connection> {
        let peers = self.peers.all().into_iter().take(FETCH_NEIGHBORS_MAX as usize);
        let ids = peers.filter_map(|peer| EndpointId::from_bytes(&peer.id).ok());
        dial_all(ids.map(|id| {
            let peers = Arc::clone(&self);
            async move { peers.connection(id).await }
        }))
    }
}

/// Nobody: what is on this machine has to do.
#[derive(Debug)]
pub(super) struct Nobody;

#[async_trait]
impl Sources for Nobody {
    async fn near(&self) -> Vec<Connection> {
        Vec::new()
    }

    fn far(self: Arc<Self>) -> mpsc::Receiver<Connection> {
        mpsc::channel(1).1
    }
}
