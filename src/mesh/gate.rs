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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, Incoming, IncomingAddr, VarInt};
use iroh::protocol::{AcceptError, DynProtocolHandler, IncomingFilterOutcome, ProtocolHandler};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{
    DOCS_CONNECTION_OCTETS_MAX, HANDSHAKES_ADDRESSES_MAX, HANDSHAKES_PER_ADDRESS_MAX,
    HANDSHAKES_UNPROVEN_MAX, MESH_CONNECTIONS_MAX,
};

/// Counts connections and handshakes.
#[derive(Debug)]
pub(super) struct Gate {
    /// One permit for each connection.
    connections: Arc<Semaphore>,
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
        Arc::new(Self { connections, second: Mutex::new(second) })
    }

    /// Lets a connection in, for as long as the permit lives; none if there are too many.
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
}

impl Gated {
    /// Puts a protocol behind the gate.
    pub(super) fn new(inner: impl ProtocolHandler, gate: &Arc<Gate>) -> Self {
        Self { inner: Arc::new(inner), gate: Arc::clone(gate), octets_max: None }
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
        let watched = self.octets_max.map(|octets_max| (connection.clone(), octets_max));
        let inner = Arc::clone(&self.inner);
        // A panic in a handler would end the router, and with it every protocol.
        let mut serving = tokio::spawn(async move { inner.accept(connection).await });
        let Some((connection, octets_max)) = watched else {
            return ended(serving.await);
        };
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                done = &mut serving => return ended(done),
                _ = tick.tick() => {
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

    async fn shutdown(&self) {
        self.inner.shutdown().await;
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

    #[test]
    fn connections_are_bounded_and_given_back() {
        let gate = Gate::new();
        let held: Vec<_> = (0..MESH_CONNECTIONS_MAX).map(|_| gate.admit()).collect();
        assert!(held.iter().all(Option::is_some) && gate.admit().is_none());
        drop(held);
        assert!(gate.admit().is_some());
    }
}
