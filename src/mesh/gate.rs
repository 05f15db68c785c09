//! Bounds what strangers can make this node hold: connections, and octets before they are known.
//!
//! | what | bound | at the bound |
//! |---|---|---|
//! | connections that are served | [`MESH_CONNECTIONS_MAX`] | closed at once |
//! | handshakes of one address a second | [`HANDSHAKES_PER_ADDRESS_MAX`] | refused |
//! | handshakes of unproven addresses a second | [`HANDSHAKES_UNPROVEN_MAX`] | the address must be proven first (QUIC Retry, RFC 9000 section 8.1.2) |
//! | octets of one reconciliation of documents | [`DOCS_CONNECTION_OCTETS_MAX`] | closed |
//!
//! Flow control bounds what a connection may send before it is read (`mesh::endpoint`).
//!
//! **Not here:** what a peer that is known may ask (`mesh::stream`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, Incoming, IncomingAddr, VarInt};
use iroh::protocol::{AcceptError, DynProtocolHandler, IncomingFilterOutcome, ProtocolHandler};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

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
    pub(super) fn new() -> Arc<Self> {
        let second = Second { since: Instant::now(), by_address: HashMap::new(), unproven: 0 };
        let connections = Arc::new(Semaphore::new(MESH_CONNECTIONS_MAX));
        let closing = CancellationToken::new();
        Arc::new(Self { connections, closing, second: Mutex::new(second) })
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
    /// Whether it was shut down.
    is_shut: AtomicBool,
}

impl Gated {
    /// Puts a protocol behind the gate.
    pub(super) fn new(inner: impl ProtocolHandler, gate: &Arc<Gate>) -> Self {
        let (inner, gate) = (Arc::new(inner), Arc::clone(gate));
        Self { inner, gate, octets_max: None, is_shut: AtomicBool::new(false) }
    }

    /// Puts the document engine behind the gate: it reads frames of up to 1 GiB from anybody.
    pub(super) fn docs(inner: impl ProtocolHandler, gate: &Arc<Gate>) -> Self {
        Self { octets_max: Some(DOCS_CONNECTION_OCTETS_MAX), ..Self::new(inner, gate) }
    }
}

impl ProtocolHandler for Gated {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Some(_permit) = self.gate.admit() else {
            connection.close(VarInt::from_u32(1), b"full");
            return Ok(());
        };
        let (inner, served) = (Arc::clone(&self.inner), connection.clone());
        // A panic in a handler would end the router, and with it every protocol.
        let mut serving = tokio::spawn(async move { inner.accept(served).await });
        let octets_max = self.octets_max.unwrap_or(u64::MAX);
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                done = &mut serving => return ended(done),
                () = self.gate.closing.cancelled() => {
                    connection.close(VarInt::from_u32(0), b"");
                    return Ok(());
                }
                _ = tick.tick(), if self.octets_max.is_some() => {
                    if connection.stats().udp_rx.bytes > octets_max {
                        tracing::warn!(
                            peer = %connection.remote_id().fmt_short(),
                            octets_max, "a peer that sent too much to the document engine is cut off"
                        );
                        connection.close(VarInt::from_u32(2), b"too much");
                    }
                }
            }
        }
    }

    /// Ends the protocol; a router that ends later has nothing left to end.
    async fn shutdown(&self) {
        if !self.is_shut.swap(true, Ordering::AcqRel) {
            self.inner.shutdown().await;
        }
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

/// Between two looks at how much a connection has brought.
const WATCH: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use iroh::Endpoint;
    use iroh::endpoint::{ConnectionError, presets};
    use iroh::protocol::Router;

    use super::*;

    #[test]
    fn handshakes_are_bounded_by_address_and_second() {
        let gate = Gate::new();
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
        let gate = Gate::new();
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

    #[tokio::test]
    async fn a_closed_gate_closes_who_is_in_and_lets_nobody_in() {
        let bind = || async {
            let builder = Endpoint::builder(presets::Minimal).clear_ip_transports();
            builder.bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
        };
        let (endpoint, asker, gate) = (bind().await, bind().await, Gate::new());
        let router = Router::builder(endpoint.clone()).accept("x", Gated::new(Keeper, &gate));
        let router = router.spawn();
        let connect = || async { asker.connect(endpoint.addr(), b"x").await.unwrap() };
        let first = connect().await;
        assert!(tokio::time::timeout(Duration::from_millis(50), first.closed()).await.is_err());
        gate.close();
        for connection in [first, connect().await] {
            let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await;
            assert!(matches!(closed, Ok(ConnectionError::ApplicationClosed(_))), "{closed:?}");
        }
        router.shutdown().await.unwrap();
    }

    #[test]
    fn connections_are_bounded_and_given_back() {
        let gate = Gate::new();
        let held: Vec<_> = (0..MESH_CONNECTIONS_MAX).map(|_| gate.admit()).collect();
        assert!(held.iter().all(Option::is_some) && gate.admit().is_none());
        drop(held);
        assert!(gate.admit().is_some());
        gate.lock();
        assert!(gate.admit().is_none() && !gate.is_open());
    }
}
