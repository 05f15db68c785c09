//! The TCP front end (RFC 7766): thousands of connections on one thread, by readiness.
//!
//! Whoever is slow waits for its own deadline and keeps nobody else waiting: a message has to be
//! whole soon after its first octet, a reader has to take its replies, an idle connection closes
//! the sooner the more there are. When there is no room, the longest idle gives way.
//!
//! **Invariant:** one snapshot load for each read; the thread never blocks but where it waits for
//! readiness; no peer can make a worker keep more than the limits say.
//! **Not here:** messages within a connection (`connection`), who waited longest (`table`).

mod answerer;
mod connection;
mod table;
mod worker;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{
    TCP_BACKLOG_MAX, TCP_CONNECTIONS_MAX, TCP_CONNECTIONS_PER_ADDRESS_MAX, TCP_IDLE_MS_MAX,
    TCP_IDLE_MS_MIN, TCP_MESSAGE_MS_MAX, TCP_SEND_MS_MAX,
};
use crate::publish::Reader;
use crate::responder::Responder;
use crate::serve::bind::bind_sockets;
use crate::serve::stats::{Counters, Recorder};
use crate::serve::transfer::TransferSlots;
use crate::serve::{FrontEnd, Shutdown};
use answerer::Answerer;
use worker::TcpWorker;

/// How many connections there may be, and how long they may take. The defaults are in `limits`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpLimits {
    /// Connections in all.
    pub connections_max: u32,
    /// Connections of one IPv4 address or IPv6 /64.
    pub connections_per_address_max: u32,
    /// Milliseconds for a message, from its first octet to its last.
    pub message_ms_max: u64,
    /// Milliseconds without a query while less than half of the connections are in use.
    pub idle_ms_max: u64,
    /// Milliseconds for a reader to take its replies.
    pub send_ms_max: u64,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections_max: TCP_CONNECTIONS_MAX.min(files_max() / 2).max(1),
            connections_per_address_max: TCP_CONNECTIONS_PER_ADDRESS_MAX,
            message_ms_max: TCP_MESSAGE_MS_MAX,
            idle_ms_max: TCP_IDLE_MS_MAX,
            send_ms_max: TCP_SEND_MS_MAX,
        }
    }
}

impl TcpLimits {
    /// Returns the milliseconds without a query after which a connection closes when `open` are:
    /// all of them up to half of the room, then evenly less, a tenth when there is no room.
    fn idle_ms(&self, open: usize) -> u64 {
        let (open, room) = (open as u64, u64::from(self.connections_max));
        let least = self.idle_ms_max * TCP_IDLE_MS_MIN / TCP_IDLE_MS_MAX;
        let over_half = (2 * open).saturating_sub(room).min(room);
        self.idle_ms_max - (self.idle_ms_max - least) * over_half / room.max(1)
    }
}

/// What there is over all workers. Touched when a connection or a transfer comes or goes, never by a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    /// How many connections each address has.
    connections: Arc<Mutex<HashMap<IpAddr, u32>>>,
    /// The zone transfers that run.
    transfers: TransferSlots,
}

impl Admission {
    /// Adds a connection, unless its address has `max` already.
    fn enter(&self, source: IpAddr, max: u32) -> bool {
        let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        let has_room = *count < max;
        if has_room {
            *count += 1;
        }
        has_room
    }

    /// Takes a connection away.
    fn leave(&self, source: IpAddr) {
        let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

/// One TCP worker, listening and not yet running.
#[derive(Debug)]
pub(crate) struct TcpFrontEnd {
    /// Where connections come in, one for each address.
    listeners: Vec<TcpListener>,
    /// Its limits.
    limits: TcpLimits,
    /// Shared by all TCP workers.
    admission: Admission,
    /// Its counters' writer.
    recorder: Recorder,
}

impl TcpFrontEnd {
    /// Makes a worker of listeners from [`bind_workers`]. `limits` are this worker's alone but for
    /// the connections of one address, which `admission` counts over all workers.
    pub(crate) fn new(
        listeners: Vec<std::net::TcpListener>,
        limits: TcpLimits,
        admission: Admission,
    ) -> Self {
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect();
        Self { listeners, limits, admission, recorder: Recorder::new(NAME) }
    }
}

impl FrontEnd for TcpFrontEnd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn counters(&self) -> Option<Arc<Counters>> {
        Some(self.recorder.counters())
    }

    fn run(
        self: Box<Self>,
        reader: Reader,
        responder: Arc<Responder>,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        let answerer =
            Answerer::new(reader, responder, self.admission.transfers.clone(), self.recorder);
        TcpWorker::new(self.listeners, self.limits, self.admission, answerer)?.run(&shutdown)
    }
}

/// Binds the listeners of `count` workers to one address, port 0 included: then all of them have one same port.
///
/// # Errors
/// What the system says; `AddrInUse` if another process has the port.
pub(crate) fn bind_workers(
    addr: SocketAddr,
    count: usize,
) -> io::Result<Vec<std::net::TcpListener>> {
    let sockets = bind_sockets(addr, count, open)?;
    // All are bound before any takes connections.
    for socket in &sockets {
        socket.listen(TCP_BACKLOG_MAX)?;
    }
    Ok(sockets.into_iter().map(Into::into).collect())
}

/// Opens a socket with our options. TCP_NODELAY passes on to the connections that it accepts:
/// replies leave when they are written, since all that belong together are written together.
fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the process before us may still wait for their end on this port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns how many files the process may have open.
fn files_max() -> u32 {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX))
    }
    #[cfg(not(unix))]
    u32::MAX
}

/// What the front end is called.
const NAME: &str = "tcp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_deadline_shrinks_from_half_full_to_full() {
        let limits = TcpLimits { connections_max: 100, idle_ms_max: 10_000, ..Default::default() };
        let table = [(0, 10_000), (50, 10_000), (75, 5_500), (100, 1_000), (200, 1_000)];
        for (open, idle_ms) in table {
            assert_eq!(limits.idle_ms(open), idle_ms, "{open}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let (admission, source) = (Admission::default(), [192, 0, 2, 1].into());
        assert!(admission.enter(source, 2) && admission.enter(source, 2));
        assert!(!admission.enter(source, 2));
        assert!(admission.enter([192, 0, 2, 2].into(), 2));
        admission.leave(source);
        assert!(admission.enter(source, 2));
    }
}
