//! Bounds what strangers can make this node hold: connections, and octets before they are known.
//!
//! | what | bound | at the bound |
//! |---|---|---|
//! | connections that are served | [`MESH_CONNECTIONS_MAX`] | closed at once |
//! | handshakes of one address a second | [`HANDSHAKES_PER_ADDRESS_MAX`] | refused |
//! | handshakes of unproven addresses a second | [`HANDSHAKES_UNPROVEN_MAX`] | the address must be proven first (QUIC Retry, RFC 9000 section 8.1.2) |
//! | octets of one reconciliation of documents | [`DOCS_CONNECTION_OCTETS_MAX`] | closed |
//! | what an endpoint may have of feeds that say who may | nothing of any of them | closed; when it loses one, too |
//!
//! Flow control bounds what a connection may send before it is read (`mesh::endpoint`).
//!
//! **Invariant:** the bounds hold until a connection is closed, whoever has it by then.
//! **Not here:** what a peer that is known may ask (`mesh::stream`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, Incoming, IncomingAddr, VarInt, WeakConnectionHandle};
use iroh::protocol::{AcceptError, DynProtocolHandler, IncomingFilterOutcome, ProtocolHandler};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use crate::limits::{
    DOCS_CONNECTION_OCTETS_MAX, HANDSHAKES_ADDRESSES_MAX, HANDSHAKES_PER_ADDRESS_MAX,
    HANDSHAKES_UNPROVEN_MAX, MESH_CONNECTIONS_MAX,
};

/// Counts connections and handshakes.
#[derive(Debug)]
pub(super) struct Gate {
    /// One permit for each connection.
    connections: Arc<Semaphore>,
    /// Says when those that are in must go.
    closing: CancellationToken,
    /// Handshakes of this second.
    second: Mutex<Second>,
    /// Who may have what.
    access: Access,
}

/// Handshakes of one second.
#[derive(Debug)]
struct Second {
    /// When it began.
    since: Instant,
    /// Handshakes by address.
    by_address: HashMap<IpAddr, u32>,
    /// Handshakes of addresses that are not proven.
    unproven: u32,
}

impl Gate {
    /// A gate through which nobody has come.
    pub(super) fn new(access: Access) -> Arc<Self> {
        let second = Second { since: Instant::now(), by_address: HashMap::new(), unproven: 0 };
        let connections = Arc::new(Semaphore::new(MESH_CONNECTIONS_MAX));
        let closing = CancellationToken::new();
        Arc::new(Self { connections, closing, second: Mutex::new(second), access })
    }

    /// Lets nobody in from now on.
    pub(super) fn lock(&self) {
        self.connections.close();
    }

    /// Closes the connections of those who are in.
    pub(super) fn close(&self) {
        self.lock();
        self.closing.cancel();
    }

    /// Whether somebody is let in, if there is room.
    pub(super) fn is_open(&self) -> bool {
        !self.connections.is_closed()
    }

    /// Lets a connection in, for as long as the permit lives; none if there are too many, or nobody is let
    /// in any more.
    fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Judges somebody who begins a handshake.
    pub(super) fn judge(&self, incoming: &Incoming) -> IncomingFilterOutcome {
        let address = match incoming.remote_addr() {
            IncomingAddr::Ip(address) => Some(address.ip()),
            _ => None,
        };
        self.judge_at(address, incoming.remote_addr_validated(), Instant::now())
    }

    /// Judges an address; one that came through a relay has none.
    fn judge_at(
        &self,
        address: Option<IpAddr>,
        is_proven: bool,
        now: Instant,
    ) -> IncomingFilterOutcome {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(second.since) >= Duration::from_secs(1) {
            *second = Second { since: now, by_address: HashMap::new(), unproven: 0 };
        }
        if !is_proven {
            second.unproven += 1;
            if second.unproven > HANDSHAKES_UNPROVEN_MAX {
                return IncomingFilterOutcome::Retry;
            }
        }
        let Some(address) = address else { return IncomingFilterOutcome::Accept };
        let is_full = second.by_address.len() >= HANDSHAKES_ADDRESSES_MAX
            && !second.by_address.contains_key(&address);
        if is_full {
            return IncomingFilterOutcome::Reject;
        }
        let count = second.by_address.entry(address).or_insert(0);
        *count += 1;
        if *count > HANDSHAKES_PER_ADDRESS_MAX {
            IncomingFilterOutcome::Reject
        } else {
            IncomingFilterOutcome::Accept
        }
    }
}

/// A protocol behind the gate.
#[derive(Debug)]
pub(super) struct Gated {
    /// The protocol.
    inner: Arc<dyn DynProtocolHandler>,
    /// The gate.
    gate: Arc<Gate>,
    /// Octets that one connection may bring; `None` any number.
    octets_max: Option<u64>,
    /// Whether it is for those alone who may have something of a feed.
    is_by_share: bool,
    /// Whether it was shut down.
    is_shut: AtomicBool,
}

impl Gated {
    /// Puts a protocol behind the gate.
    pub(super) fn new(inner: impl ProtocolHandler, gate: &Arc<Gate>) -> Self {
        let (inner, gate) = (Arc::new(inner), Arc::clone(gate));
        Self { inner, gate, octets_max: None, is_by_share: false, is_shut: AtomicBool::new(false) }
    }

    /// Puts a protocol behind the gate that does not tell its peers apart by feeds, or not what is open already:
    /// who may have no feed gets nothing of it, and who loses one begins anew.
    pub(super) fn by_share(inner: impl ProtocolHandler, gate: &Arc<Gate>) -> Self {
        Self { is_by_share: true, ..Self::new(inner, gate) }
    }

    /// Puts the document engine behind the gate: it reads frames of up to 1 GiB from anybody.
    pub(super) fn docs(inner: impl ProtocolHandler, gate: &Arc<Gate>) -> Self {
        Self { octets_max: Some(DOCS_CONNECTION_OCTETS_MAX), ..Self::by_share(inner, gate) }
    }
}

impl ProtocolHandler for Gated {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Some(_permit) = self.gate.admit() else {
            connection.close(VarInt::from_u32(1), b"full");
            return Ok(());
        };
        let id = *connection.remote_id().as_bytes();
        if self.is_by_share && !self.gate.access.admits_somewhere(&id) {
            connection.close(VarInt::from_u32(CLOSE_BARRED), b"not listed");
            return Ok(());
        }
        // Whoever serves the connection may end it by letting it go: nothing here keeps it.
        let weak = connection.weak_handle();
        let closed = weak.closed();
        let inner = Arc::clone(&self.inner);
        // A panic in a handler would end the router, and with it every protocol.
        let serving = tokio::spawn(async move { inner.accept(connection).await });
        let serving = async {
            let done = ended(serving.await);
            if done.is_ok() {
                // The engine of documents and gossip only take it here, and go on with it elsewhere.
                closed.await;
            }
            done
        };
        tokio::select! {
            done = serving => done,
            () = self.gate.closing.cancelled() => {
                close(&weak, 0, b"");
                Ok(())
            }
            () = self.loses(&weak) => {
                close(&weak, CLOSE_BARRED, b"not listed");
                Ok(())
            }
            never = self.watch(&weak) => match never {},
        }
    }

    /// Ends the protocol; a router that ends later has nothing left to end.
    async fn shutdown(&self) {
        if !self.is_shut.swap(true, Ordering::AcqRel) {
            self.inner.shutdown().await;
        }
    }
}

impl Gated {
    /// Waits until a peer may have less than before; for ever where that is looked at by what is asked.
    async fn loses(&self, connection: &WeakConnectionHandle) {
        let mut changes = self.gate.access.watch();
        let id = connection.upgrade().map(|connection| connection.remote_id());
        let Some(id) = id.filter(|_| self.is_by_share) else {
            return std::future::pending().await;
        };
        let admitted = || self.gate.access.share_of(id.as_bytes()).0;
        let mut before = admitted();
        while changes.changed().await.is_ok() {
            let now = admitted();
            if now < before {
                return;
            }
            before = now;
        }
        std::future::pending::<()>().await;
    }

    /// Cuts a peer off that sends more octets than it may.
    async fn watch(&self, connection: &WeakConnectionHandle) -> Infallible {
        let mut tick = tokio::time::interval(WATCH);
        while let Some(octets_max) = self.octets_max {
            tick.tick().await;
            let Some(connection) = connection.upgrade() else { break };
            if connection.stats().udp_rx.bytes > octets_max {
                tracing::warn!(
                    peer = %connection.remote_id().fmt_short(),
                    octets_max, "a peer that sent too much to the document engine is cut off"
                );
                connection.close(VarInt::from_u32(2), b"too much");
                break;
            }
        }
        // Whoever serves it ends it now.
        std::future::pending().await
    }
}

/// Closes a connection, if it is still there.
fn close(connection: &WeakConnectionHandle, code: u32, reason: &[u8]) {
    if let Some(connection) = connection.upgrade() {
        connection.close(VarInt::from_u32(code), reason);
    }
}

/// Says how a handler has ended.
fn ended(done: Result<Result<(), AcceptError>, tokio::task::JoinError>) -> Result<(), AcceptError> {
    match done {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a protocol of the mesh ended badly for one peer");
            Ok(())
        }
    }
}

/// Why a connection is closed to one who may have nothing here, or less than before.
const CLOSE_BARRED: u32 = 4;
/// Between two looks at how much a connection has brought.
const WATCH: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use iroh::Endpoint;
    use iroh::endpoint::{ConnectionError, presets};
    use iroh::protocol::Router;
    use iroh_blobs::store::mem::MemStore;
    use iroh_docs::ALPN as DOCS_ALPN;
    use iroh_docs::protocol::Docs;
    use iroh_gossip::net::Gossip;
    use tokio::sync::mpsc;

    use super::*;

    /// How long a test waits for what should come soon.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn handshakes_are_bounded_by_address_and_second() {
        let gate = Gate::new(Access::default());
        let now = Instant::now();
        let judge = |address: [u8; 4], is_proven, now| {
            gate.judge_at(Some(IpAddr::from(address)), is_proven, now)
        };
        for _ in 0..HANDSHAKES_PER_ADDRESS_MAX {
            assert_eq!(judge([192, 0, 2, 1], true, now), IncomingFilterOutcome::Accept);
        }
        assert_eq!(judge([192, 0, 2, 1], true, now), IncomingFilterOutcome::Reject);
        assert_eq!(judge([192, 0, 2, 2], true, now), IncomingFilterOutcome::Accept);
        let next = now + Duration::from_secs(1);
        assert_eq!(judge([192, 0, 2, 1], true, next), IncomingFilterOutcome::Accept);
    }

    #[test]
    fn many_unproven_addresses_must_be_proven_first() {
        let gate = Gate::new(Access::default());
        let now = Instant::now();
        let mut outcomes = (0..=HANDSHAKES_UNPROVEN_MAX)
            .map(|index| gate.judge_at(Some(IpAddr::from(index.to_be_bytes())), false, now));
        assert!(outcomes.all(|outcome| outcome != IncomingFilterOutcome::Reject));
        let address = IpAddr::from([192, 0, 2, 9]);
        assert_eq!(gate.judge_at(Some(address), false, now), IncomingFilterOutcome::Retry);
        assert_eq!(gate.judge_at(Some(address), true, now), IncomingFilterOutcome::Accept);
    }

    /// Keeps its connections for ever.
    #[derive(Debug)]
    struct Keeper;

    impl ProtocolHandler for Keeper {
        async fn accept(&self, _connection: Connection) -> Result<(), AcceptError> {
            std::future::pending().await
        }
    }

    /// Gives its connections to somebody else.
    #[derive(Debug)]
    struct Giver(mpsc::UnboundedSender<Connection>);

    impl ProtocolHandler for Giver {
        async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
            self.0.send(connection).map_err(AcceptError::from_err)
        }
    }

    /// An endpoint on a free port.
    async fn bind() -> Endpoint {
        let builder = Endpoint::builder(presets::Minimal).clear_ip_transports();
        builder.bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
    }

    /// Why a connection closes, which must be soon.
    async fn closed(connection: &Connection) -> ConnectionError {
        tokio::time::timeout(PATIENCE, connection.closed()).await.expect("it is closed")
    }

    /// Waits until all permits are back.
    async fn wait_empty(gate: &Gate) {
        let all = MESH_CONNECTIONS_MAX as u32;
        let empty = gate.connections.acquire_many(all);
        drop(tokio::time::timeout(PATIENCE, empty).await.expect("all are gone").unwrap());
    }

    #[tokio::test]
    async fn a_closed_gate_closes_who_is_in_and_lets_nobody_in() {
        let (given, mut taken) = mpsc::unbounded_channel();
        let (endpoint, asker, gate) = (bind().await, bind().await, Gate::new(Access::default()));
        let router = Router::builder(endpoint.clone())
            .accept("x", Gated::new(Keeper, &gate))
            .accept("y", Gated::new(Giver(given), &gate))
            .spawn();
        let connect = async |alpn| asker.connect(endpoint.addr(), alpn).await.unwrap();
        let (first, second) = (connect(b"x").await, connect(b"y").await);
        let _kept = taken.recv().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), first.closed()).await.is_err());
        gate.close();
        for connection in [first, second, connect(b"x").await] {
            let closed = closed(&connection).await;
            assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed:?}");
        }
        router.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_counts_until_whoever_took_it_from_the_handler_lets_it_go() {
        let (given, mut taken) = mpsc::unbounded_channel();
        let (endpoint, asker, gate) = (bind().await, bind().await, Gate::new(Access::default()));
        let gated = Gated::new(Giver(given), &gate);
        let router = Router::builder(endpoint.clone()).accept("x", gated).spawn();
        let asking = asker.connect(endpoint.addr(), b"x").await.unwrap();
        let kept = taken.recv().await.unwrap();
        // The handler returns meanwhile.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.connections.available_permits(), MESH_CONNECTIONS_MAX - 1);
        drop(kept);
        closed(&asking).await;
        wait_empty(&gate).await;
        router.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_stranger_who_sends_the_document_engine_too_much_is_cut_off() {
        let (endpoint, asker, gate) = (bind().await, bind().await, Gate::new(Access::default()));
        let (blobs, gossip) = (MemStore::default(), Gossip::builder().spawn(endpoint.clone()));
        let docs = Docs::memory().spawn(endpoint.clone(), (*blobs).clone(), gossip).await.unwrap();
        let gated = Gated { octets_max: Some(1 << 20), ..Gated::docs(docs, &gate) };
        let router = Router::builder(endpoint.clone()).accept(DOCS_ALPN, gated).spawn();
        let connection = asker.connect(endpoint.addr(), DOCS_ALPN).await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        let sending = async {
            // The head of a frame of 1 GiB, as long as one may be.
            let mut octets = (1_u32 << 30).to_be_bytes().to_vec();
            octets.resize(64 << 10, 0);
            while send.write_all(&octets).await.is_ok() {}
        };
        tokio::time::timeout(PATIENCE, sending).await.expect("it is cut off");
        match closed(&connection).await {
            ConnectionError::ApplicationClosed(closed) => {
                assert_eq!(closed.reason, b"too much".as_slice());
            }
            other => panic!("{other:?}"),
        }
        wait_empty(&gate).await;
        router.shutdown().await.unwrap();
    }

    #[test]
    fn connections_are_bounded_and_given_back() {
        let gate = Gate::new(Access::default());
        let held: Vec<_> = (0..MESH_CONNECTIONS_MAX).map(|_| gate.admit()).collect();
        assert!(held.iter().all(Option::is_some) && gate.admit().is_none());
        drop(held);
        assert!(gate.admit().is_some());
        gate.lock();
        assert!(gate.admit().is_none() && !gate.is_open());
    }
}
