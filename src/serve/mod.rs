//! Front ends: whatever takes queries from outside and answers them from the published catalog.
//!
//! [`DnsProtocolServer`] binds addresses and runs a thread for each front end: [`udp`] workers,
//! [`tcp`] workers, and any other [`FrontEnd`]. All of them share one [`Reader`] and one
//! [`Responder`], and nothing else: a query crosses no lock and no queue on its way.
//!
//! **Invariant:** a front end loads the snapshot once for all queries that it took together, and
//! gives it back before it waits again.
//! **Not here:** what the answer is (`responder`), what is served (`publish`).

pub mod event;
pub mod server;
pub mod shutdown;
pub mod stats;
pub mod tcp;
pub mod transfer;
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
/// The server calls [`FrontEnd::run`] on a thread of its own. It owns what it needs (its socket is
/// bound when it is made, so that a taken address is found before anything runs) and loops until
/// [`Shutdown::is_requested`]:
///
/// 1. wait for queries, but wake for a shutdown: by a timeout, or by [`Shutdown::on_request`];
/// 2. load the snapshot once with [`Reader::load`];
/// 3. hand each query to [`Responder::respond`] and send what it leaves in the buffer;
/// 4. drop the snapshot, and wait again.
///
/// `examples/unix_datagram.rs` is a whole one.
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
