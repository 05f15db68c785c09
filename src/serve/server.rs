//! The server: binds every address, runs a thread for each front end, and stops them together.
//!
//! **Invariant:** once [`ServerBuilder::bind`] has returned, every address is bound and no query is
//! lost between then and [`DnsProtocolServer::start`]; the kernel keeps it.
//! **Not here:** what a front end does (`serve::udp`, `serve::tcp`).

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::limits::PORT_TRIES_MAX;
use crate::publish::Reader;
use crate::responder::{Responder, ResponderConfig};
use crate::serve::stats::{Counters, ServeStats};
use crate::serve::tcp::{self, Admission, TcpFrontEnd, TcpLimits};
use crate::serve::udp::{self, UdpExchange, UdpFrontEnd, UdpSteering};
use crate::serve::{FrontEnd, Shutdown};

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} ({transport}): {source}")]
pub struct BindError {
    /// The address asked for.
    pub addr: SocketAddr,
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    /// What the system says.
    pub source: io::Error,
}

/// A front end ended otherwise than by a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum FrontEndError {
    /// It gave up.
    #[error("the {name} front end stopped: {source}")]
    Failed {
        /// What the front end is called.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It panicked: a bug.
    #[error("the {name} front end panicked")]
    Panicked {
        /// What the front end is called.
        name: &'static str,
    },
}

/// What a server is to listen on, and with how many threads.
pub struct ServerBuilder {
    /// The published catalog.
    reader: Reader,
    /// Makes the answers.
    responder: Option<Arc<Responder>>,
    /// Addresses, with whether UDP and TCP are wanted there.
    addrs: Vec<(SocketAddr, Want)>,
    /// UDP threads for each address.
    udp_workers: usize,
    /// TCP threads.
    tcp_workers: usize,
    /// How UDP workers move datagrams.
    exchange: UdpExchange,
    /// Which UDP worker of an address gets a query.
    steering: UdpSteering,
    /// CPUs that UDP workers stay on, in turn; none: wherever they are put.
    cpus: Vec<usize>,
    /// Limits of all TCP connections together.
    tcp_limits: TcpLimits,
    /// Other front ends.
    front_ends: Vec<Box<dyn FrontEnd>>,
}

/// What is wanted on an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Want {
    /// UDP and TCP, on one port.
    Both,
    /// UDP alone.
    Udp,
    /// TCP alone.
    Tcp,
}

/// A server with all its addresses bound. Nothing is answered before [`DnsProtocolServer::start`].
pub struct DnsProtocolServer {
    /// The published catalog.
    reader: Reader,
    /// Makes the answers.
    responder: Arc<Responder>,
    /// Every front end.
    front_ends: Vec<Box<dyn FrontEnd>>,
    /// The bound addresses, in the order in which they were asked for.
    addrs: Vec<SocketAddr>,
}

/// The name of a front end, and the thread that it runs on.
type FrontEndThread = (&'static str, JoinHandle<io::Result<()>>);

/// A server that answers. Dropped, it stops in the background; better is
/// [`RunningServer::shutdown`].
#[derive(Debug)]
pub struct RunningServer {
    /// Asks every front end to stop.
    shutdown: Shutdown,
    /// Their threads, until they have ended.
    threads: Mutex<Vec<FrontEndThread>>,
    /// Their counters.
    counters: Vec<Arc<Counters>>,
    /// The bound addresses.
    addrs: Vec<SocketAddr>,
}

impl DnsProtocolServer {
    /// Begins a server of what is published to `reader`.
    pub fn builder(reader: Reader) -> ServerBuilder {
        ServerBuilder {
            reader,
            responder: None,
            addrs: Vec::new(),
            udp_workers: thread::available_parallelism().map_or(1, NonZero::get),
            tcp_workers: 1,
            exchange: UdpExchange::default(),
            steering: UdpSteering::default(),
            cpus: Vec::new(),
            tcp_limits: TcpLimits::default(),
            front_ends: Vec::new(),
        }
    }

    /// Returns the bound addresses with their real ports, in the order in which they were added.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Answers what is published to `reader`, and not what it was built with.
    #[must_use]
    pub(crate) fn with_reader(self, reader: Reader) -> Self {
        Self { reader, ..self }
    }

    /// Runs every front end on a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread. Those that run already are stopped.
    pub fn start(self) -> io::Result<RunningServer> {
        let running = RunningServer {
            shutdown: Shutdown::new(),
            threads: Mutex::default(),
            counters: self.front_ends.iter().filter_map(|front_end| front_end.counters()).collect(),
            addrs: self.addrs,
        };
        for (index, front_end) in self.front_ends.into_iter().enumerate() {
            let name = front_end.name();
            let (reader, responder) = (self.reader.clone(), Arc::clone(&self.responder));
            let shutdown = running.shutdown.clone();
            let thread = thread::Builder::new().name(format!("{name}-{index}"));
            let run = move || {
                let result = front_end.run(reader, responder, shutdown);
                if let Err(error) = &result {
                    tracing::error!(front_end = name, %error, "a front end stopped");
                }
                result
            };
            // An error drops `running`, which stops those that have been started.
            running.threads().push((name, thread.spawn(run)?));
        }
        Ok(running)
    }
}

impl RunningServer {
    /// Returns the bound addresses with their real ports, in the order in which they were added.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Sums what all front ends have counted so far.
    pub fn stats(&self) -> ServeStats {
        ServeStats::collect(&self.counters)
    }

    /// Whether every front end still runs.
    pub fn is_healthy(&self) -> bool {
        self.threads().iter().all(|(_, thread)| !thread.is_finished())
    }

    /// Has every front end answer what it has received and stop, and waits until all have. Again: nothing more.
    ///
    /// # Errors
    /// The first front end that failed or panicked, then or before.
    pub fn shutdown(&self) -> Result<ServeStats, FrontEndError> {
        self.shutdown.request();
        let mut result = Ok(());
        let threads = std::mem::take(&mut *self.threads());
        for (name, thread) in threads {
            let ended = match thread.join() {
                Ok(ended) => ended.map_err(|source| FrontEndError::Failed { name, source }),
                Err(_) => Err(FrontEndError::Panicked { name }),
            };
            result = result.and(ended);
        }
        result.map(|()| self.stats())
    }

    /// Returns the threads.
    fn threads(&self) -> MutexGuard<'_, Vec<FrontEndThread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl ServerBuilder {
    /// Answers with `responder`; otherwise with one of the default configuration.
    #[must_use]
    pub fn responder(mut self, responder: Arc<Responder>) -> Self {
        self.responder = Some(responder);
        self
    }

    /// Listens on `addr` by UDP and TCP. With port 0 both get the same free port. An IPv6 address
    /// takes no IPv4 queries: `[::]` and `0.0.0.0` are added one by one.
    #[must_use]
    pub fn udp_tcp(mut self, addr: SocketAddr) -> Self {
        self.addrs.push((addr, Want::Both));
        self
    }

    /// Listens on `addr` by UDP alone.
    #[must_use]
    pub fn udp(mut self, addr: SocketAddr) -> Self {
        self.addrs.push((addr, Want::Udp));
        self
    }

    /// Listens on `addr` by TCP alone.
    #[must_use]
    pub fn tcp(mut self, addr: SocketAddr) -> Self {
        self.addrs.push((addr, Want::Tcp));
        self
    }

    /// Runs `count` UDP threads for each address, at least one. Default: one for each CPU.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.udp_workers = count.max(1);
        self
    }

    /// Runs `count` TCP threads for all addresses, at least one. Default: one.
    #[must_use]
    pub fn tcp_workers(mut self, count: usize) -> Self {
        self.tcp_workers = count.max(1);
        self
    }

    /// Keeps the UDP workers of each address on these CPUs, one after the other, and again from
    /// the first if there are more workers.
    #[must_use]
    pub fn pin_to_cpus(mut self, cpus: Vec<usize>) -> Self {
        self.cpus = cpus;
        self
    }

    /// Says how UDP workers move datagrams.
    #[must_use]
    pub fn udp_exchange(mut self, exchange: UdpExchange) -> Self {
        self.exchange = exchange;
        self
    }

    /// Says which UDP worker of an address gets a query. Default: one by the asker's address.
    #[must_use]
    pub fn udp_steering(mut self, steering: UdpSteering) -> Self {
        self.steering = steering;
        self
    }

    /// Limits all TCP connections together.
    #[must_use]
    pub fn tcp_limits(mut self, limits: TcpLimits) -> Self {
        self.tcp_limits = limits;
        self
    }

    /// Adds another front end.
    #[must_use]
    pub fn front_end(mut self, front_end: Box<dyn FrontEnd>) -> Self {
        self.front_ends.push(front_end);
        self
    }

    /// Binds every address.
    ///
    /// # Errors
    /// The first address that cannot be bound, and why; then none is.
    pub fn bind(mut self) -> Result<DnsProtocolServer, BindError> {
        let mut addrs = Vec::new();
        let mut front_ends: Vec<Box<dyn FrontEnd>> = Vec::new();
        let mut listeners: Vec<_> = (0..self.tcp_workers).map(|_| Vec::new()).collect();
        for (addr, want) in &self.addrs {
            let bound = bind_sockets(*addr, *want, self.udp_workers, self.tcp_workers)?;
            addrs.push(bound.addr);
            let udp_error = |source| BindError { addr: *addr, transport: UDP, source };
            udp::steer(&bound.udp, self.steering, &self.cpus).map_err(udp_error)?;
            for (index, socket) in bound.udp.into_iter().enumerate() {
                let cpu = self.cpus.iter().cycle().nth(index).copied();
                let worker = UdpFrontEnd::new(socket, self.exchange, cpu).map_err(udp_error)?;
                front_ends.push(Box::new(worker));
            }
            for (own, listener) in listeners.iter_mut().zip(bound.tcp) {
                own.push(listener);
            }
        }
        let (admission, mut limits) = (Admission::default(), self.tcp_limits);
        let workers = u32::try_from(self.tcp_workers).unwrap_or(u32::MAX);
        limits.connections_max = limits.connections_max.div_ceil(workers);
        for own in listeners.into_iter().filter(|own| !own.is_empty()) {
            let worker = TcpFrontEnd::new(own, limits, admission.clone());
            front_ends.push(Box::new(worker));
        }
        front_ends.append(&mut self.front_ends);
        let default = || Arc::new(Responder::new(ResponderConfig::default()));
        let responder = self.responder.unwrap_or_else(default);
        Ok(DnsProtocolServer { reader: self.reader, responder, front_ends, addrs })
    }
}

/// The sockets of one address.
struct Bound {
    /// The address with its real port.
    addr: SocketAddr,
    /// A socket for each UDP worker.
    udp: Vec<std::net::UdpSocket>,
    /// A listener for each TCP worker.
    tcp: Vec<std::net::TcpListener>,
}

/// Binds one address. With port 0, a port that UDP has but TCP cannot have is tried again.
fn bind_sockets(
    addr: SocketAddr,
    want: Want,
    udp_workers: usize,
    tcp_workers: usize,
) -> Result<Bound, BindError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_bind(addr, want, udp_workers, tcp_workers) {
            Err(error)
                if addr.port() == 0
                    && error.source.kind() == io::ErrorKind::AddrInUse
                    && tries < PORT_TRIES_MAX => {}
            result => return result,
        }
    }
}

/// Binds one address, UDP first; TCP gets UDP's port.
fn try_bind(
    mut addr: SocketAddr,
    want: Want,
    udp_workers: usize,
    tcp_workers: usize,
) -> Result<Bound, BindError> {
    let asked = addr;
    let error = |transport| move |source| BindError { addr: asked, transport, source };
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    if want != Want::Tcp {
        udp = udp::bind_workers(addr, udp_workers).map_err(error(UDP))?;
        addr = udp[0].local_addr().map_err(error(UDP))?;
    }
    if want != Want::Udp {
        tcp = tcp::bind_workers(addr, tcp_workers).map_err(error(TCP))?;
        addr = tcp[0].local_addr().map_err(error(TCP))?;
    }
    Ok(Bound { addr, udp, tcp })
}

/// The transport's name in errors.
const UDP: &str = "UDP";
/// The transport's name in errors.
const TCP: &str = "TCP";
