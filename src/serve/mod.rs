//! Front ends: whatever takes queries from outside and answers them from the published catalog.
//!
//! [`DnsProtocolServer`] binds addresses and runs a thread for each front end: [`udp`] workers,
//! [`tcp`] workers, and any other [`FrontEnd`]. All of them share one [`Reader`] and one
//! [`Responder`], and nothing else: a query crosses no lock and no queue on its way.
//!
//! **Invariant:** a front end loads the snapshot once for all queries that it took together, and
//! gives it back before it waits again.
//! **Not here:** what the answer is (`responder`), what is served (`publish`).

mod bind;
pub mod event;
pub mod server;
pub(crate) mod shutdown;
pub mod stats;
pub mod tcp;
mod transfer;
pub mod udp;

use std::io;
use std::sync::Arc;

pub use server::{BindError, DnsProtocolServer, RunningServer, ServerBuilder};
pub use shutdown::Shutdown;
pub use stats::ServeStats;

use crate::publish::Reader;
use crate::responder::Responder;
use stats::Counters;

/// A way for queries to come in: a socket of some kind, together with its thread.
///
/// It is added with [`ServerBuilder::front_end`], and [`udp`] and [`tcp`] are two of it. The server
/// calls [`FrontEnd::run`] on a thread of its own. It owns what it needs (its socket is bound when
/// it is made, so that a taken address is found before anything runs) and loops until
/// [`Shutdown::is_requested`]:
///
/// 1. wait for queries, but wake for a shutdown: by a timeout, or by [`Shutdown::on_request`];
/// 2. load the snapshot once with [`Reader::load`], for all queries that have come;
/// 3. hand each message to [`Responder::respond`], and send what it leaves in the buffer unless its
///    verdict is a drop: whatever else a front end may do, the buffer holds what the sender gets if it does not;
/// 4. drop the snapshot, and wait again: a snapshot that is kept keeps a whole catalog in memory.
///
/// Any number of threads may do so with clones of the same reader and responder; there is no lock
/// to meet at. A front end that wants several threads is added several times, each with its socket.
///
/// # What belongs to a front end
///
/// * **Framing.** A query is handed over as a bare message, and a reply comes back as one. On a
///   stream, DNS over TLS for instance (RFC 7858), each has its length in two octets before it
///   (RFC 1035 section 4.2.2). Queries that came with one read are best answered with one write.
/// * **How long replies may be.** [`Transport`](crate::responder::Transport) says it: `Udp` keeps to
///   what the sender's EDNS allows and sets TC; all others use a whole message. What delivers one unharmed
///   and has no name there, a Unix socket for instance, is a `Tcp`.
/// * **Transfers.** With [`Verdict::Transfer`](crate::responder::Verdict) a front end may begin the zone
///   transfer that was asked for, a run of messages; the buffer holds a refusal for one that does not.
///   It comes only where [`Transport::can_transfer`](crate::responder::Transport::can_transfer) says so, and
///   only to whom [`ResponderConfig::transfers`](crate::responder::ResponderConfig) allows it.
/// * **Messages that are no queries.** With [`Verdict::Hand`](crate::responder::Verdict) a front end may act on
///   one, if [`ResponderConfig::handed`](crate::responder::ResponderConfig) names its opcode; the buffer says that
///   it is not implemented. [`udp`] and [`tcp`] send that.
/// * **Deadlines and limits.** Nothing outside bounds what a peer may make it wait or keep: a
///   stream needs a time for each message and for idle peers, a number of connections, and an end
///   to what it buffers for who does not read. `tcp` shows one way, [`tcp::TcpLimits`] its numbers.
/// * **What is not answered.** A verdict of [`Verdict::Drop`](crate::responder::Verdict) must stay
///   without reply; on a stream the peer is best closed. `respond` takes any octets.
/// * **Counting**, if it counts: a [`stats::Recorder`] of its own, whose counters it returns from
///   [`FrontEnd::counters`]; [`RunningServer::stats`] then has them under its name.
///
/// # Examples
///
/// Queries from another part of the program, over a channel. `examples/unix_datagram.rs` is a whole
/// front end with a socket and counters, in under 100 lines.
///
/// ```
/// use std::sync::{Arc, mpsc};
/// use std::time::Duration;
/// use aspen_dns::publish::{Publisher, Reader};
/// use aspen_dns::responder::{Peer, Responder, Transport, Verdict};
/// use aspen_dns::serve::{DnsProtocolServer, FrontEnd, Shutdown};
/// use aspen_dns::zone::HashSeed;
///
/// struct Inbox(mpsc::Receiver<(Vec<u8>, mpsc::Sender<Vec<u8>>)>);
///
/// impl FrontEnd for Inbox {
///     fn name(&self) -> &'static str {
///         "inbox"
///     }
///
///     fn run(
///         self: Box<Self>,
///         reader: Reader,
///         responder: Arc<Responder>,
///         shutdown: Shutdown,
///     ) -> std::io::Result<()> {
///         while !shutdown.is_requested() {
///             let wake = Duration::from_millis(100);
///             let Ok((query, asker)) = self.0.recv_timeout(wake) else { continue };
///             let (peer, mut reply) = (Peer::in_process(Transport::Tcp), Vec::new());
///             let verdict = responder.respond(&reader.load(), &query, &peer, &mut reply);
///             if !matches!(verdict, Verdict::Drop(_)) {
///                 let _ = asker.send(reply); // who has gone needs no answer
///             }
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (ask, inbox) = mpsc::channel();
/// let publisher = Publisher::new(HashSeed::random());
/// let server = DnsProtocolServer::builder(publisher.reader()).front_end(Box::new(Inbox(inbox)));
/// let running = server.bind()?.start()?;
/// let (asker, answer) = mpsc::channel();
/// let query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
/// ask.send((query.to_vec(), asker))?;
/// assert_eq!(answer.recv()?[3] & 0x0f, 5); // REFUSED: no zone is published
/// running.shutdown()?;
/// # Ok(())
/// # }
/// ```
pub trait FrontEnd: Send {
    /// Returns what the front end is called in logs, thread names and statistics, such as `udp`.
    fn name(&self) -> &'static str;

    /// Returns the counters that the front end writes, if it counts (see [`stats::Recorder`]).
    fn counters(&self) -> Option<Arc<Counters>> {
        None
    }

    /// Answers queries until a shutdown is requested; then answers what it has received.
    ///
    /// # Errors
    /// What keeps it from going on. A bad packet or a peer that left is no error but a counted drop.
    fn run(
        self: Box<Self>,
        reader: Reader,
        responder: Arc<Responder>,
        shutdown: Shutdown,
    ) -> io::Result<()>;
}
