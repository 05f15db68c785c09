//! A running TCP worker: readiness in, turns out.
//!
//! Readiness is told once for each change (edge-triggered), so a connection has turns until it has
//! nothing left to do, or waits in `again` for its next one.
//!
//! **Invariant:** every connection is watched, or has a turn coming. A round costs what is ready,
//! not what is open.
//! **Not here:** messages within a connection (`connection`), binding (`serve::tcp`).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::answerer::Answerer;
use super::connection::{Connection, Turn};
use super::table::{Phase, Table};
use super::{Admission, TcpLimits};
use crate::limits::{TCP_ACCEPTS_PER_TURN_MAX, TCP_BUFFERED_OCTETS_MAX, TCP_DRAIN_MS_MAX};
use crate::serve::Shutdown;
use crate::serve::event::ConnectionEvent;

/// A running worker.
pub(super) struct TcpWorker {
    /// Readiness.
    poll: Poll,
    /// Where connections come in; their tokens are their indices.
    listeners: Vec<TcpListener>,
    /// Its limits.
    limits: TcpLimits,
    /// Shared by all TCP workers.
    admission: Admission,
    /// Answers.
    answerer: Answerer,
    /// All connections; their tokens are their keys, counted on from the listeners' and the
    /// waker's.
    table: Table<Client>,
    /// Tokens that have had their share and want another turn. Readiness is told once only, so
    /// nobody else will remind us of them.
    again: Vec<Token>,
    /// Listeners that wait for the system to have room.
    paused: Vec<Token>,
    /// Octets of all connections' buffers.
    buffered: usize,
    /// When this round began.
    now: Instant,
}

/// A connection and its address.
struct Client {
    /// The connection.
    connection: Connection,
    /// What its address is counted as.
    source: IpAddr,
    /// Octets of its buffers after its last turn.
    buffered: usize,
    /// What the poll tells of it.
    watch: Watched,
}

/// What the poll tells of a connection: no more than it waits for, since every event costs a turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd)]
enum Watched {
    /// Nothing yet, and it has not waited.
    New,
    /// Nothing yet; it has a turn in the next round.
    Nothing,
    /// What comes in.
    Reads,
    /// What comes in, and that there is room for replies: it has waited for that before.
    ReadsAndWrites,
}

impl TcpWorker {
    /// Makes a worker without connections.
    ///
    /// # Errors
    /// If the system has no means to wait for readiness.
    pub(super) fn new(
        listeners: Vec<TcpListener>,
        limits: TcpLimits,
        admission: Admission,
        answerer: Answerer,
    ) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            listeners,
            limits,
            admission,
            answerer,
            table: Table::new(),
            again: Vec::new(),
            paused: Vec::new(),
            buffered: 0,
            now: Instant::now(),
        })
    }

    /// Serves connections until a shutdown is requested; then has what was answered leave.
    pub(super) fn run(mut self, shutdown: &Shutdown) -> io::Result<()> {
        // Kept here as well: a waker that is gone before the poll looks wakes nobody.
        let waker = Arc::new(Waker::new(self.poll.registry(), self.waker_token())?);
        let on_request = Arc::clone(&waker);
        shutdown.on_request(move || {
            if let Err(error) = on_request.wake() {
                tracing::error!(%error, "a TCP worker cannot be woken to stop");
            }
        });
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            self.poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        while !shutdown.is_requested() {
            self.round(&mut events)?;
        }
        self.drain(&mut events)
    }

    /// Waits for readiness, gives everyone ready a turn, and closes whose time is over.
    fn round(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        self.wait(events, timeout)?;
        self.give_turns(events);
        self.close_expired();
        Ok(())
    }

    /// Gives a turn to everyone who wants another one, and to everyone who is ready.
    fn give_turns(&mut self, events: &Events) {
        self.now = Instant::now();
        let mut again = std::mem::take(&mut self.again);
        again.append(&mut self.paused);
        for token in again {
            self.give_turn(token);
        }
        for event in events {
            let token = event.token();
            if event.is_read_closed() && token.0 > self.listeners.len() {
                let peer = self.table.value_mut(token.0 - self.listeners.len() - 1);
                peer.into_iter().for_each(|peer| peer.connection.note_end());
            }
            self.give_turn(token);
        }
    }

    /// Gives a listener or a connection its turn. A token of a connection that is gone, or whose
    /// key another has now, does no harm: readiness is only ever a hint.
    fn give_turn(&mut self, token: Token) {
        if token.0 < self.listeners.len() {
            self.accept(token);
        } else if token != self.waker_token() {
            self.serve(token.0 - self.listeners.len() - 1);
        }
    }

    /// Accepts connections, each with a first turn: its query often came with it.
    fn accept(&mut self, token: Token) {
        for _ in 0..TCP_ACCEPTS_PER_TURN_MAX {
            match self.listeners[token.0].accept() {
                Ok((stream, addr)) => self.admit(stream, addr),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // No descriptors or no memory: make room, and look again before long.
                    tracing::debug!(%error, "a TCP connection cannot be accepted");
                    self.make_room();
                    self.paused.push(token);
                    return;
                }
            }
        }
        self.again.push(token);
    }

    /// Takes a connection in, unless its address has its share; gives it its first turn.
    fn admit(&mut self, stream: TcpStream, addr: SocketAddr) {
        let source = counted_as(addr.ip());
        if !self.admission.enter(source, self.limits.connections_per_address_max) {
            self.answerer.recorder.count_connection(ConnectionEvent::RefusedByAddress);
            return;
        }
        if self.table.len() >= self.limits.connections_max as usize {
            self.make_room();
        }
        self.answerer.recorder.count_connection(ConnectionEvent::Accepted);
        let connection = Connection::new(stream, addr);
        let peer = Client { connection, source, buffered: 0, watch: Watched::New };
        let key = self.table.insert(peer, Phase::Idle, self.now);
        self.serve(key);
    }

    /// Gives a connection a turn.
    fn serve(&mut self, key: usize) {
        let Some(peer) = self.table.value_mut(key) else { return };
        let turn = peer.connection.turn(&mut self.answerer);
        let before = std::mem::replace(&mut peer.buffered, peer.connection.buffered_len());
        self.buffered = self.buffered + peer.buffered - before;
        match turn {
            Turn::Wait { phase, has_answered } => {
                self.table.set_phase(key, phase, has_answered, self.now);
                self.watch(key, phase);
            }
            Turn::Again { has_answered } => {
                self.table.set_phase(key, Phase::Idle, has_answered, self.now);
                self.again.push(self.token(key));
            }
            Turn::Close(event) => self.close(key, event),
        }
        while self.buffered > TCP_BUFFERED_OCTETS_MAX {
            let slow = self.table.oldest(Phase::Sending).or(self.table.oldest(Phase::Receiving));
            let Some((slowest, _)) = slow else { break };
            self.close(slowest, ConnectionEvent::ClosedForRoom);
        }
    }

    /// Has the poll tell what a connection waits for, from its second wait on: what came before is
    /// dealt with, and what has come since is told at once.
    ///
    /// Many connections are there for one query, and closed by the next round when the worker is
    /// busy: looking again costs less than to watch them.
    fn watch(&mut self, key: usize, phase: Phase) {
        let token = self.token(key);
        let Some(peer) = self.table.value_mut(key) else { return };
        let (wanted, interest) = match phase {
            Phase::Idle | Phase::Receiving => (Watched::Reads, Interest::READABLE),
            Phase::Sending => (Watched::ReadsAndWrites, Interest::READABLE | Interest::WRITABLE),
        };
        if wanted <= peer.watch {
            return;
        }
        if peer.watch == Watched::New && wanted == Watched::Reads {
            peer.watch = Watched::Nothing;
            self.again.push(token);
            return;
        }
        let is_new = std::mem::replace(&mut peer.watch, wanted) <= Watched::Nothing;
        let (registry, stream) = (self.poll.registry(), peer.connection.stream_mut());
        let result = match is_new {
            true => registry.register(stream, token, interest),
            false => registry.reregister(stream, token, interest),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "a TCP connection cannot be watched");
            self.close(key, ConnectionEvent::ClosedByError);
        }
    }

    /// Closes the connection that was idle longest, or else has kept us waiting longest.
    fn make_room(&mut self) {
        let phases = [Phase::Idle, Phase::Sending, Phase::Receiving];
        if let Some((key, _)) = phases.into_iter().find_map(|phase| self.table.oldest(phase)) {
            self.close(key, ConnectionEvent::ClosedForRoom);
        }
    }

    /// Closes every connection whose time is over.
    fn close_expired(&mut self) {
        for (phase, event) in DEADLINES {
            while let Some((key, since)) = self.table.oldest(phase) {
                if self.now.saturating_duration_since(since) < self.deadline(phase) {
                    break;
                }
                // It may be waited for only to be closed.
                let end = self.table.value_mut(key).and_then(|peer| peer.connection.end());
                self.close(key, end.unwrap_or(event));
            }
        }
    }

    /// Closes a connection.
    fn close(&mut self, key: usize, event: ConnectionEvent) {
        debug_assert!(event.is_close());
        if let Some(peer) = self.table.remove(key) {
            self.buffered -= peer.buffered;
            self.admission.leave(peer.source);
            self.answerer.recorder.count_connection(event);
        }
    }

    /// Answers what has been received, and gives replies some time to leave.
    fn drain(&mut self, events: &mut Events) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            self.accept(Token(index));
            self.poll.registry().deregister(&mut self.listeners[index])?;
        }
        // Anyone may have sent something that no event has told of yet.
        let everyone: Vec<Token> = self.table.keys().iter().map(|key| self.token(*key)).collect();
        self.again.extend(everyone);
        let end = Instant::now() + Duration::from_millis(TCP_DRAIN_MS_MAX);
        loop {
            self.give_turns(events);
            let left = end.saturating_duration_since(self.now);
            if left.is_zero() {
                break;
            }
            if self.again.is_empty() {
                self.close_all(&[Phase::Idle, Phase::Receiving]);
                if self.table.len() == 0 {
                    break;
                }
            }
            self.wait(events, Some(if self.again.is_empty() { left } else { Duration::ZERO }))?;
        }
        self.close_all(&[Phase::Idle, Phase::Receiving, Phase::Sending]);
        Ok(())
    }

    /// Closes every connection in one of these phases, because the server stops.
    fn close_all(&mut self, phases: &[Phase]) {
        for phase in phases {
            while let Some((key, _)) = self.table.oldest(*phase) {
                self.close(key, ConnectionEvent::ClosedByShutdown);
            }
        }
    }

    /// Waits for readiness.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Returns how long nothing happens but by readiness; `None` is for ever.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = DEADLINES.iter().filter_map(|(phase, _)| {
            let (_, since) = self.table.oldest(*phase)?;
            let end = since + self.deadline(*phase);
            // The system counts in milliseconds: one more, or it would wake us too early.
            Some(end.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
        });
        let pause = (!self.paused.is_empty()).then_some(ACCEPT_PAUSE);
        deadlines.chain(pause).min()
    }

    /// Returns how long a connection may stay in a phase.
    fn deadline(&self, phase: Phase) -> Duration {
        Duration::from_millis(match phase {
            Phase::Idle => self.limits.idle_ms(self.table.len()),
            Phase::Receiving => self.limits.message_ms_max,
            Phase::Sending => self.limits.send_ms_max,
        })
    }

    /// Returns the token of a connection.
    fn token(&self, key: usize) -> Token {
        Token(self.listeners.len() + 1 + key)
    }

    /// Returns the token that wakes the worker: the first behind the listeners'.
    fn waker_token(&self) -> Token {
        Token(self.listeners.len())
    }
}

/// Whether a failed accept concerns the connection alone, which is gone by now.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Returns what an address is counted as: an IPv6 peer has its whole /64 to call from.
fn counted_as(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64).into(),
    }
}

/// Phases and what happens to a connection that is in one for too long.
const DEADLINES: [(Phase, ConnectionEvent); 3] = [
    (Phase::Idle, ConnectionEvent::ClosedIdle),
    (Phase::Receiving, ConnectionEvent::ClosedSlowMessage),
    (Phase::Sending, ConnectionEvent::ClosedSlowReader),
];
/// Readiness told at once; more waits for the next round.
const EVENTS_PER_ROUND: usize = 1_024;
/// How long a listener waits when the system has no descriptors or no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_peer_is_counted_by_its_network() {
        let counted = |text: &str| counted_as(text.parse().expect("an address")).to_string();
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
