//! The load: a window of queries over a few sockets, as fast as the server answers. And the echo.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::Result;
use super::mmsg::Messages;
use super::peers::Peer;
use super::stream::{self, Share};
use super::zone::{Ask, Random};

/// Queries that have been made beforehand, and buffers.
pub(crate) struct Load {
    /// What is asked.
    ask: Ask,
    /// Over what.
    transport: Transport,
    /// Queries, sent one after the other and again from the first.
    queries: Vec<Vec<u8>>,
    /// The next one.
    next: usize,
    /// Buffers.
    messages: Messages,
}

/// What the load goes over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp(Share),
}

impl Transport {
    /// Reads a transport's name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        match name {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp(Share::Pipelined)),
            "tcp-single" => Ok(Self::Tcp(Share::Single)),
            other => Err(format!("{other}: udp, tcp or tcp-single").into()),
        }
    }
}

/// What came of a load.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Replies.
    pub(crate) answered: u64,
    /// Queries without a reply.
    pub(crate) lost: u64,
    /// Replies that did not answer.
    pub(crate) wrong: u64,
}

impl Load {
    /// Makes the queries.
    pub(crate) fn new(ask: Ask, transport: Transport, names: u32) -> Result<Self> {
        let mut random = Random(5);
        let queries =
            (0..=u16::MAX).map(|id| ask.query(id, names, &mut random)).collect::<Result<_>>()?;
        Ok(Self { ask, transport, queries, next: 0, messages: Messages::new(BATCH) })
    }

    /// Waits until a server has loaded its zone and answers as it should.
    pub(crate) fn wait_for_answer(&self, server: &Peer) -> Result<()> {
        let socket = connect(server.port)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let end = Instant::now() + Duration::from_secs(120);
        let mut reply = [0; 2_048];
        while Instant::now() < end {
            // Refused while nobody listens yet; then there is nothing to wait for either.
            let is_sent = socket.send(&self.queries[0]).is_ok();
            match socket.recv(&mut reply) {
                Ok(len) if self.is_answered(server, &reply[..len]) => return Ok(()),
                Err(error) if !is_sent || error.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Err(format!("{} does not answer {} queries", server.name, self.ask.name()).into())
    }

    /// Asks a server for some time.
    pub(crate) fn run(&mut self, server: &Peer, duration: Duration) -> Result<Outcome> {
        match self.transport {
            Transport::Udp => self.run_datagrams(server, duration),
            Transport::Tcp(share) => {
                stream::run(self.ask, share, &self.queries, server.port, duration)
            }
        }
    }

    /// Asks with datagrams.
    fn run_datagrams(&mut self, server: &Peer, duration: Duration) -> Result<Outcome> {
        let sockets = (0..SOCKETS).map(|_| connect(server.port)).collect::<Result<Vec<_>>>()?;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        let (mut outcome, mut open) = (Outcome::default(), [0; SOCKETS]);
        let start = Instant::now();
        let mut heard_at = start;
        loop {
            let now = Instant::now();
            if now - start >= duration {
                return Ok(outcome);
            }
            for (socket, open) in sockets.iter().zip(&mut open) {
                let heard = self.receive(server, socket, &mut outcome)?;
                if heard > 0 {
                    heard_at = now;
                }
                *open = usize::saturating_sub(*open, heard);
                if WINDOW - *open >= WINDOW / 2 {
                    *open += self.send(socket, WINDOW - *open)?;
                }
            }
            if now - heard_at > LOSS_PATIENCE {
                outcome.lost += open.iter().sum::<usize>() as u64;
                open.fill(0);
                heard_at = now;
            }
        }
    }

    /// Takes and checks what has come to one socket.
    fn receive(
        &mut self,
        server: &Peer,
        socket: &UdpSocket,
        outcome: &mut Outcome,
    ) -> Result<usize> {
        let heard = match self.messages.receive(socket, false) {
            Ok(heard) => heard,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        for index in 0..heard {
            let is_echo = server.is_echo();
            let reply = self.messages.datagram(index);
            if !is_echo && !self.ask.is_answered_by(reply) {
                outcome.wrong += 1;
            }
        }
        outcome.answered += heard as u64;
        Ok(heard)
    }

    /// Sends the next queries on one socket.
    fn send(&mut self, socket: &UdpSocket, room: usize) -> Result<usize> {
        let end = (self.next + room).min(self.queries.len());
        let sent = match self.messages.send(socket, &mut self.queries[self.next..end]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.next = (self.next + sent) % self.queries.len();
        Ok(sent)
    }

    /// Whether a reply is right; the echo's always is.
    fn is_answered(&self, server: &Peer, reply: &[u8]) -> bool {
        server.is_echo() || self.ask.is_answered_by(reply)
    }
}

/// Sends every datagram back that comes to `PORT`: what the system calls alone cost.
pub(crate) fn echo(arguments: &[String]) -> Result<()> {
    let [port] = arguments else { return Err("usage: echo PORT".into()) };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    enlarge(&socket)?;
    let mut messages = Messages::new(BATCH);
    loop {
        let count = messages.receive(&socket, true)?;
        for index in 0..count {
            if let Some(flags) = messages.datagram(index).get_mut(2) {
                *flags |= 0x80;
            }
        }
        messages.send_back(&socket, count)?;
    }
}

/// Makes a socket that talks to a server.
fn connect(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    enlarge(&socket)?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    Ok(socket)
}

/// Gives a socket room for whole windows.
fn enlarge(socket: &UdpSocket) -> Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_recv_buffer_size(SOCKET_OCTETS)?;
    Ok(socket.set_send_buffer_size(SOCKET_OCTETS)?)
}

/// Datagrams moved with one system call.
const BATCH: usize = 64;
/// Sockets, so ports, that queries come from.
const SOCKETS: usize = 8;
/// Queries without a reply yet, for each socket.
const WINDOW: usize = 32;
/// Room in the kernel for each socket.
const SOCKET_OCTETS: usize = 1 << 20;
/// How long a reply may take before its query counts as lost.
const LOSS_PATIENCE: Duration = Duration::from_millis(100);
