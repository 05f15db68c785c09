//! The UDP front end: one plain thread and one socket, answered batch by batch.
//!
//! A server runs as many of them for each address as it has workers; SO_REUSEPORT has the kernel
//! spread the queries over their sockets by the asker's address. How datagrams are received and
//! sent stands behind one seam: `mmsg` moves up to [`UDP_BATCH_MAX`] with one system call,
//! `single` one at a time, on every platform.
//!
//! **Invariant:** one snapshot load for each batch; nothing is allocated after the start; the
//! socket never blocks a worker but where it waits for queries.
//! **Not here:** what the answer is (`responder`), whether it fits a datagram (`answer`).

#[cfg(target_os = "linux")]
mod mmsg;
mod single;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::answer::warm::Names;
use crate::limits::{
    UDP_BATCH_MAX, UDP_DRAIN_BATCHES_MAX, UDP_RECEIVE_ERRORS_MAX, UDP_SOCKET_BUFFER_OCTETS,
    UDP_WAKE_MS, WARM_QUERIES_MIN,
};
use crate::publish::Reader;
use crate::responder::{Peer, Responder, Transport};
use crate::serve::event::DropCause;
use crate::serve::stats::{Counters, Recorder};
use crate::serve::{FrontEnd, Shutdown};
use single::Single;

/// How datagrams are moved between the socket and the worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UdpExchange {
    /// Many with one system call where the platform can, one by one elsewhere.
    #[default]
    Batched,
    /// One by one. On an address that stands for all of the host's, the kernel chooses the
    /// address that an answer comes from.
    Single,
}

/// One UDP worker, bound and not yet running.
#[derive(Debug)]
pub struct UdpFrontEnd {
    /// Its own socket.
    socket: UdpSocket,
    /// How it moves datagrams.
    exchange: UdpExchange,
    /// The CPU that its thread is to stay on.
    cpu: Option<usize>,
    /// Its counters' writer.
    recorder: Recorder,
}

impl UdpFrontEnd {
    /// Makes a worker of a socket from [`bind_workers`].
    ///
    /// # Errors
    /// What the system says to the socket options.
    pub fn new(socket: UdpSocket, exchange: UdpExchange, cpu: Option<usize>) -> io::Result<Self> {
        let wake = Duration::from_millis(UDP_WAKE_MS);
        socket.set_read_timeout(Some(wake))?;
        #[cfg(target_os = "linux")]
        mmsg::set_options(&socket)?;
        Ok(Self { socket, exchange, cpu, recorder: Recorder::new(NAME) })
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
        let worker = Worker {
            reader,
            responder,
            recorder: self.recorder,
            names: Names::default(),
            errors_in_a_row: 0,
        };
        match self.exchange {
            #[cfg(target_os = "linux")]
            UdpExchange::Batched => {
                worker.run(mmsg::Batch::new(self.socket, UDP_BATCH_MAX)?, &shutdown)
            }
            _ => worker.run(Single::new(self.socket)?, &shutdown),
        }
    }
}

/// Binds `count` sockets to one address, port 0 included: then all of them have one same port.
///
/// The first is bound alone, so that a port which another process uses is an error and is not
/// shared with it; then it lets the others join it.
///
/// # Errors
/// What the system says, `AddrInUse` for instance.
pub fn bind_workers(addr: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = open(addr)?;
    first.bind(&addr.into())?;
    if count > 1 {
        share_port(&first)?;
    }
    let first: UdpSocket = first.into();
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = open(addr)?;
        share_port(&socket)?;
        socket.bind(&bound.into())?;
        sockets.push(socket.into());
    }
    Ok(sockets)
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
struct Slot<'a> {
    /// What came in.
    query: &'a [u8],
    /// The port that it came from.
    source_port: u16,
    /// Whether it was longer than [`crate::limits::UDP_QUERY_OCTETS_MAX`], so that its end is lost.
    is_cut: bool,
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
    fn slot(&mut self, index: usize) -> Slot<'_>;

    /// Iterates over the datagrams of the batch.
    fn queries(&self) -> impl Iterator<Item = &[u8]>;

    /// Sends all replies of the batch that are not empty, without ever waiting.
    fn send(&mut self) -> SendReport;
}

/// What a running worker has beside its exchange.
struct Worker {
    /// The published catalog.
    reader: Reader,
    /// Makes the answers.
    responder: Arc<Responder>,
    /// Counts.
    recorder: Recorder,
    /// What the queries of a batch ask for.
    names: Names,
    /// Failed receives that we cannot explain, since the last one that we can.
    errors_in_a_row: u32,
}

impl Worker {
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
        if count > 0 {
            let started_at = self.recorder.start_batch();
            self.answer(exchange, count);
            let report = exchange.send();
            self.recorder.count_lost_replies(DropCause::SendQueueFull, report.queue_full);
            self.recorder.count_lost_replies(DropCause::SendRefused, report.refused);
            self.recorder.finish_batch(started_at, count);
        }
        Ok(count)
    }

    /// Answers every query of the batch from one snapshot.
    fn answer(&mut self, exchange: &mut impl Exchange, count: usize) {
        let catalog = self.reader.load();
        self.names.clear();
        if count >= WARM_QUERIES_MIN {
            self.names.read(&catalog, exchange.queries());
        }
        for index in 0..count {
            let slot = exchange.slot(index);
            slot.reply.clear();
            if slot.is_cut {
                self.recorder.count_dropped_query(DropCause::TooLong);
            } else if slot.source_port == 0 {
                self.recorder.count_dropped_query(DropCause::SourcePortZero);
            } else {
                let peer = Peer { transport: Transport::Udp };
                let name = (&self.names, index);
                let verdict =
                    self.responder.respond_in_batch(&catalog, slot.query, name, peer, slot.reply);
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

/// Lets several sockets of this process have one port.
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    #[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
    return Err(io::ErrorKind::Unsupported.into());
    Ok(())
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
mod tests {
    use super::*;
    use crate::publish::Publisher;
    use crate::responder::ResponderConfig;
    use crate::serve::ServeStats;
    use crate::zone::HashSeed;

    /// Datagrams with their source ports; sending fails as it is told to.
    struct Script {
        arrivals: Vec<(u16, &'static [u8])>,
        replies: Vec<Vec<u8>>,
        report: SendReport,
        error: Option<io::ErrorKind>,
    }

    impl Exchange for Script {
        fn receive(&mut self, _: Wait) -> io::Result<usize> {
            self.error.map_or(Ok(self.arrivals.len()), |kind| Err(kind.into()))
        }

        fn slot(&mut self, index: usize) -> Slot<'_> {
            let (source_port, query) = self.arrivals[index];
            Slot { query, source_port, is_cut: false, reply: &mut self.replies[index] }
        }

        fn queries(&self) -> impl Iterator<Item = &[u8]> {
            self.arrivals.iter().map(|arrival| arrival.1)
        }

        fn send(&mut self) -> SendReport {
            self.report
        }
    }

    fn worker() -> Worker {
        Worker {
            reader: Publisher::new(HashSeed(1)).reader(),
            responder: Arc::new(Responder::new(ResponderConfig::default())),
            recorder: Recorder::new(NAME),
            names: Names::default(),
            errors_in_a_row: 0,
        }
    }

    #[test]
    fn a_worker_gives_up_over_what_never_passes_and_over_nothing_else() {
        let mut script = Script {
            arrivals: Vec::new(),
            replies: Vec::new(),
            report: SendReport::default(),
            error: None,
        };
        let mut worker = worker();
        worker.errors_in_a_row = UDP_RECEIVE_ERRORS_MAX;
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionRefused] {
            script.error = Some(kind);
            assert_eq!(worker.turn(&mut script, Wait::First).ok(), Some(0));
        }
        assert_eq!(worker.errors_in_a_row, 0);
        script.error = Some(io::ErrorKind::NotConnected);
        assert_eq!(worker.turn(&mut script, Wait::First).ok(), Some(0));
        worker.errors_in_a_row = UDP_RECEIVE_ERRORS_MAX;
        assert!(worker.turn(&mut script, Wait::First).is_err());
    }

    #[test]
    fn nothing_is_sent_to_port_zero_and_lost_replies_are_counted() {
        const QUERY: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
        let mut script = Script {
            arrivals: vec![(0, QUERY), (53, QUERY), (53, QUERY)],
            replies: vec![b"of the batch before".to_vec(); 3],
            report: SendReport { queue_full: 1, refused: 1 },
            error: None,
        };
        let mut worker = worker();
        assert_eq!(worker.turn(&mut script, Wait::First).expect("a script"), 3);
        let lens: Vec<_> = script.replies.iter().map(Vec::len).collect();
        assert_eq!((lens[0], lens[1] > 0), (0, true));
        let stats = ServeStats::collect(&[worker.recorder.counters()]);
        let udp = stats.front_end(NAME).expect("one worker");
        assert_eq!(udp.queries, 3);
        for cause in [DropCause::SourcePortZero, DropCause::SendQueueFull, DropCause::SendRefused] {
            assert_eq!(udp.dropped(cause), 1, "{cause:?}");
        }
    }
}
