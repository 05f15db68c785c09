//! The UDP front end: one plain thread and one socket, answered batch by batch.
//!
//! A server runs as many of them for each address as it has workers; SO_REUSEPORT has the kernel
//! spread the queries over their sockets as [`UdpSteering`] says. How datagrams are received and
//! sent stands behind one seam: `mmsg` moves up to [`UDP_BATCH_MAX`] with one system call,
//! `single` one at a time, on every platform.
//!
//! **Invariant:** one snapshot load for each batch; nothing is allocated after the start; the
//! socket never blocks a worker but where it waits for queries; an answer comes from the address
//! that was asked.
//! **Not here:** what the answer is (`responder`), whether it fits a datagram (`answer`).

#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod mmsg;
#[cfg(target_os = "linux")]
mod segments;
mod single;
#[cfg(target_os = "linux")]
mod steer;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::limits::{
    UDP_BATCH_MAX, UDP_DRAIN_BATCHES_MAX, UDP_RECEIVE_ERRORS_MAX, UDP_SOCKET_BUFFER_OCTETS,
    UDP_WAKE_MS,
};
use crate::publish::Reader;
use crate::responder::batch::QueryBatch;
use crate::responder::{Peer, Responder, Transport};
use crate::serve::bind::bind_sockets;
use crate::serve::event::NoReplyReason;
use crate::serve::stats::{Counters, Recorder};
use crate::serve::{FrontEnd, Shutdown};
use single::Single;

/// How datagrams are moved between the socket and the worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UdpExchange {
    /// Many with one system call where the platform can, one by one elsewhere.
    #[default]
    Batched,
    /// One by one, on every platform.
    Single,
}

/// Which of an address's workers gets a query.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UdpSteering {
    /// One by the asker's address and port, so that all workers share the queries of many askers.
    #[default]
    Hash,
    /// The one that stays on the CPU that received the query, or else one by that CPU's number
    /// (Linux). The query's cache lines are there already. Only for network cards that spread
    /// queries over all the workers' CPUs: with fewer receiving CPUs than workers some idle.
    Cpu,
}

/// The platform does not say which of the host's addresses a datagram came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "answers could not come from the address asked on this platform; bind each address by itself"
)]
pub(crate) struct WildcardError;

/// One UDP worker, bound and not yet running.
#[derive(Debug)]
pub(crate) struct UdpFrontEnd {
    /// Its own socket.
    socket: UdpSocket,
    /// How it moves datagrams.
    moves: Moves,
    /// The CPU that its thread is to stay on.
    cpu: Option<usize>,
    /// Its counters' writer.
    recorder: Recorder,
}

impl UdpFrontEnd {
    /// Makes a worker of a socket from [`bind_workers`].
    ///
    /// # Errors
    /// What the system says to the socket options; [`WildcardError`] inside one of the kind
    /// `Unsupported` if the socket is bound to all addresses where that cannot work.
    pub(crate) fn new(
        socket: UdpSocket,
        exchange: UdpExchange,
        cpu: Option<usize>,
    ) -> io::Result<Self> {
        let is_wildcard = socket.local_addr()?.ip().is_unspecified();
        let moves = Moves::choose(exchange, is_wildcard, cfg!(target_os = "linux"))
            .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        let wake = Duration::from_millis(UDP_WAKE_MS);
        socket.set_read_timeout(Some(wake))?;
        #[cfg(target_os = "linux")]
        mmsg::set_options(&socket)?;
        Ok(Self { socket, moves, cpu, recorder: Recorder::new(NAME) })
    }
}

impl FrontEnd for UdpFrontEnd {
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
        if let Some(cpu) = self.cpu {
            pin_to_cpu(cpu);
        }
        let worker = UdpWorker {
            reader,
            responder,
            recorder: self.recorder,
            batch: QueryBatch::default(),
            errors_in_a_row: 0,
            receive_drops: 0,
        };
        match self.moves {
            #[cfg(target_os = "linux")]
            Moves::Messages(slots) => {
                worker.run(mmsg::MessageBatch::new(self.socket, slots)?, &shutdown)
            }
            _ => worker.run(Single::new(self.socket)?, &shutdown),
        }
    }
}

/// What moves datagrams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moves {
    /// System calls for at most so many messages, which name the address that each came to.
    Messages(usize),
    /// The standard library's calls for one datagram, which do not.
    Datagrams,
}

impl Moves {
    /// Chooses what gives `exchange` on a platform that has messages or has none.
    ///
    /// # Errors
    /// If the choice could not answer from the address that was asked.
    fn choose(
        exchange: UdpExchange,
        is_wildcard: bool,
        has_messages: bool,
    ) -> Result<Self, WildcardError> {
        match (exchange, is_wildcard, has_messages) {
            (UdpExchange::Batched, _, true) => Ok(Self::Messages(UDP_BATCH_MAX)),
            (UdpExchange::Single, true, true) => Ok(Self::Messages(1)),
            (_, false, _) => Ok(Self::Datagrams),
            (_, true, false) => Err(WildcardError),
        }
    }
}

/// Binds the sockets of `count` workers to one address, port 0 included: then all of them have one same port.
///
/// # Errors
/// What the system says; `AddrInUse` if another process has the port.
pub(crate) fn bind_workers(addr: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    Ok(bind_sockets(addr, count, open)?.into_iter().map(Into::into).collect())
}

/// Has the kernel choose among an address's sockets, from [`bind_workers`], as `steering` says.
/// `cpus` are those that the workers stay on, if they do.
///
/// # Errors
/// What the system says; `Unsupported` where it cannot choose by CPU.
pub(crate) fn steer(
    sockets: &[UdpSocket],
    steering: UdpSteering,
    cpus: &[usize],
) -> io::Result<()> {
    match (steering, sockets) {
        (UdpSteering::Hash, _) | (UdpSteering::Cpu, [] | [_]) => Ok(()),
        #[cfg(target_os = "linux")]
        (UdpSteering::Cpu, [first, ..]) => {
            mmsg::attach_program(first, &mut steer::by_cpu(sockets.len(), cpus))
        }
        #[cfg(not(target_os = "linux"))]
        (UdpSteering::Cpu, _) => {
            tracing::warn!(?cpus, "choosing workers by CPU is not supported on this platform");
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// What an exchange is to do when nothing has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    /// Wait for the first datagram, but not longer than [`UDP_WAKE_MS`].
    First,
    /// Return at once.
    None,
}

/// One datagram of a batch, and the buffer for its reply. A buffer left empty sends nothing.
struct Datagram<'a> {
    /// What came in.
    query: &'a [u8],
    /// Where it came from.
    source: SocketAddr,
    /// What goes out.
    reply: &'a mut Vec<u8>,
}

/// What became of the replies of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct SendReport {
    /// Replies that the send queue had no room for.
    queue_full: u64,
    /// Replies that the system refused.
    refused: u64,
}

/// Moves datagrams between a socket and the worker: the seam below which platforms differ.
trait Exchange {
    /// Receives a batch and returns its size; 0 if nothing came in time.
    fn receive(&mut self, wait: Wait) -> io::Result<usize>;

    /// Returns one datagram of the batch. `index` is below the size of the batch.
    fn slot(&mut self, index: usize) -> Datagram<'_>;

    /// Iterates over the datagrams of the batch.
    fn queries(&self) -> impl Iterator<Item = &[u8]> + Clone;

    /// Sends all replies of the batch that are not empty, without ever waiting.
    fn send(&mut self) -> SendReport;

    /// Returns how many datagrams the kernel has dropped since the socket was opened, as far as the
    /// platform tells; the number begins anew behind its last.
    fn receive_drops(&self) -> u32;
}

/// What a running worker has beside its exchange.
struct UdpWorker {
    /// The published catalog.
    reader: Reader,
    /// Makes the answers.
    responder: Arc<Responder>,
    /// Counts.
    recorder: Recorder,
    /// Its buffers for the queries of a batch.
    batch: QueryBatch,
    /// Failed receives that we cannot explain, since the last one that we can.
    errors_in_a_row: u32,
    /// What the exchange said last of the kernel's drops.
    receive_drops: u32,
}

impl UdpWorker {
    /// Answers until a shutdown is requested, and then what the socket still holds.
    fn run(mut self, mut exchange: impl Exchange, shutdown: &Shutdown) -> io::Result<()> {
        while !shutdown.is_requested() {
            self.turn(&mut exchange, Wait::First)?;
        }
        for _ in 0..UDP_DRAIN_BATCHES_MAX {
            if self.turn(&mut exchange, Wait::None)? == 0 {
                break;
            }
        }
        self.count_receive_drops(&exchange);
        Ok(())
    }

    /// Receives, answers and sends one batch, and returns its size.
    fn turn(&mut self, exchange: &mut impl Exchange, wait: Wait) -> io::Result<usize> {
        let count = match exchange.receive(wait) {
            Ok(count) => count,
            Err(error) if is_passing(&error) => 0,
            Err(error) if self.errors_in_a_row < UDP_RECEIVE_ERRORS_MAX => {
                tracing::warn!(%error, "a UDP worker cannot receive");
                self.errors_in_a_row += 1;
                std::thread::sleep(Duration::from_millis(UDP_WAKE_MS));
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        self.errors_in_a_row = 0;
        let mut is_sampled = count == 0;
        if count > 0 {
            let started_at = self.recorder.start_batch();
            self.answer(exchange, count);
            let report = exchange.send();
            self.recorder.count_lost_replies(NoReplyReason::SendQueueFull, report.queue_full);
            self.recorder.count_lost_replies(NoReplyReason::SendRefused, report.refused);
            self.recorder.finish_batch(started_at, count);
            is_sampled = started_at.is_some();
        }
        // Asking costs a system call: it is done where time is taken anyway, or nothing else to do.
        if is_sampled {
            self.count_receive_drops(exchange);
        }
        Ok(count)
    }

    /// Counts what the kernel has dropped since it was asked last.
    fn count_receive_drops(&mut self, exchange: &impl Exchange) {
        let drops = exchange.receive_drops();
        let more = drops.wrapping_sub(std::mem::replace(&mut self.receive_drops, drops));
        self.recorder.count_dropped_queries(NoReplyReason::ReceiveQueueFull, u64::from(more));
    }

    /// Answers every query of the batch from one snapshot.
    fn answer(&mut self, exchange: &mut impl Exchange, count: usize) {
        let catalog = self.reader.load();
        let now_s = clock::now_s();
        let batch = self.batch.open(&self.responder, &catalog, exchange.queries());
        for index in 0..count {
            let slot = exchange.slot(index);
            slot.reply.clear();
            if slot.source.port() == 0 {
                self.recorder.count_dropped_query(NoReplyReason::SourcePortZero);
            } else {
                let peer = Peer { source: slot.source, transport: Transport::Udp, now_s };
                let verdict = batch.respond(index, slot.query, &peer, slot.reply);
                self.recorder.count_verdict(&verdict);
            }
        }
    }
}

/// Opens a socket with our options.
fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // An IPv4 address is bound by itself, so that its packet info is IPv4's.
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(UDP_SOCKET_BUFFER_OCTETS)?;
    socket.set_send_buffer_size(UDP_SOCKET_BUFFER_OCTETS)?;
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    if receive.min(send) < UDP_SOCKET_BUFFER_OCTETS {
        tracing::info!(
            %addr, receive, send, asked = UDP_SOCKET_BUFFER_OCTETS,
            "the kernel grants smaller socket buffers (net.core.rmem_max, net.core.wmem_max)"
        );
    }
    Ok(socket)
}

/// Whether a failed receive says nothing about the next one: nothing came, a signal, memory is
/// short, or an ICMP error about a reply sent before.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
        OutOfMemory, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock
            | TimedOut
            | Interrupted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | OutOfMemory
    )
}

/// Whether a send failed for want of room in the socket's or the device's queue.
fn is_queue_full(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_short = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM));
    #[cfg(not(unix))]
    let is_short = false;
    is_short || error.kind() == io::ErrorKind::WouldBlock
}

/// Keeps this thread on one CPU. If it cannot be, it runs where it may.
fn pin_to_cpu(cpu: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut cpus = rustix::thread::CpuSet::new();
        if cpu < rustix::thread::CpuSet::MAX_CPU {
            cpus.set(cpu);
        }
        if let Err(error) = rustix::thread::sched_setaffinity(None, &cpus) {
            tracing::warn!(cpu, %error, "a UDP worker cannot be kept on its CPU");
        }
    }
    #[cfg(not(target_os = "linux"))]
    tracing::warn!(cpu, "keeping a worker on a CPU is not supported on this platform");
}

/// What the front end is called.
const NAME: &str = "udp";

#[cfg(test)]
mod tests;
