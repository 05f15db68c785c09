//! The load: a window of queries over a few sockets, as fast as the server answers.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bed::Result;
use crate::bed::ask::{Ask, Queries};
use crate::bed::corpus::Kind;
use crate::bed::mmsg::{Messages, enlarge};
use crate::bed::peers::Peer;
use crate::foreign::{Foreign, Program};
use crate::stream::{self, Share};

/// Queries that have been made beforehand, and buffers.
pub struct Load {
    /// What is asked.
    ask: Ask,
    /// Whether DNSSEC records are wanted.
    is_signed: bool,
    /// Over what.
    transport: Transport,
    /// How many ports datagrams come from.
    ports: usize,
    /// Queries, sent one after the other and again from the first.
    queries: Queries,
    /// The next one.
    next: usize,
    /// Buffers.
    messages: Messages,
    /// Somebody else's load, if it is to be used.
    foreign: Option<Foreign>,
}

/// What the load goes over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp(Share),
}

impl Transport {
    /// Reads a transport's name.
    pub fn parse(name: &str) -> Result<Self> {
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
pub struct Outcome {
    /// Replies.
    pub answered: u64,
    /// Queries without a reply.
    pub lost: u64,
    /// Replies that did not answer.
    pub wrong: u64,
}

impl Load {
    /// Makes the queries.
    pub fn new(ask: Ask, transport: Transport, ports: usize, kind: Kind) -> Result<Self> {
        let (queries, messages) = (Queries::random(ask, kind)?, Messages::new(BATCH));
        let is_signed = kind.is_signed();
        Ok(Self { ask, is_signed, transport, ports, queries, next: 0, messages, foreign: None })
    }

    /// Has a program ask from now on; its files go to `directory`.
    pub fn use_program(&mut self, program: Program, kind: Kind, directory: &Path) -> Result<()> {
        self.foreign = Some(Foreign::new(program, self.ask, kind, directory)?);
        Ok(())
    }

    /// Waits until a server answers as it should.
    pub fn wait_for_answer(&self, server: &mut Peer) -> Result<()> {
        let socket = connect(server.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let end = Instant::now() + Duration::from_secs(120);
        let mut reply = [0; 2_048];
        while Instant::now() < end {
            server.check_alive()?;
            // Refused while nobody listens yet; then there is nothing to wait for either.
            let is_sent = socket.send(self.queries.query(0)).is_ok();
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

    /// Asks a server for a tenth of the time that it will be asked for.
    pub fn warm(&mut self, server: &Peer, duration: Duration) -> Result<()> {
        // With our own load: the others know whole seconds only.
        self.run_own(server, duration / 10).map(drop)
    }

    /// Asks a server for some time.
    pub fn run(&mut self, server: &Peer, duration: Duration) -> Result<Outcome> {
        match &self.foreign {
            Some(foreign) => {
                let outcome = foreign.run(server.address, duration)?;
                let wrong = if server.is_echo() { 0 } else { outcome.wrong };
                Ok(Outcome { wrong, ..outcome })
            }
            None => self.run_own(server, duration),
        }
    }

    /// Asks with our own load.
    fn run_own(&mut self, server: &Peer, duration: Duration) -> Result<Outcome> {
        match self.transport {
            Transport::Udp => self.run_datagrams(server, duration),
            Transport::Tcp(share) => {
                let check = (self.ask, self.is_signed);
                stream::run(check, share, &self.queries, server.address, duration)
            }
        }
    }

    /// Asks with datagrams.
    fn run_datagrams(&mut self, server: &Peer, duration: Duration) -> Result<Outcome> {
        let sockets = (0..self.ports).map(|_| connect(server.address));
        let sockets = sockets.collect::<Result<Vec<_>>>()?;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        let (mut outcome, mut open) = (Outcome::default(), vec![0; self.ports]);
        let window = (WINDOW / self.ports).max(1);
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
                if window - *open >= window.div_ceil(2) {
                    *open += self.send(socket, window - *open)?;
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
            if !is_echo && !self.ask.is_answered_by(self.is_signed, reply) {
                outcome.wrong += 1;
            }
        }
        outcome.answered += heard as u64;
        Ok(heard)
    }

    /// Sends the next queries on one socket.
    fn send(&mut self, socket: &UdpSocket, room: usize) -> Result<usize> {
        let end = (self.next + room).min(self.queries.count());
        let some = (self.next..end).map(|index| self.queries.query(index));
        let sent = match self.messages.send(socket, some) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.next = (self.next + sent) % self.queries.count();
        Ok(sent)
    }

    /// Whether a reply is right; the echo's always is.
    fn is_answered(&self, server: &Peer, reply: &[u8]) -> bool {
        server.is_echo() || self.ask.is_answered_by(self.is_signed, reply)
    }
}

/// Makes a socket that talks to a server.
fn connect(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    enlarge(&socket)?;
    socket.connect(server)?;
    Ok(socket)
}

/// Datagrams moved with one system call.
const BATCH: usize = 64;
/// Queries without a reply yet, over all ports.
const WINDOW: usize = 256;
/// How long a reply may take before its query counts as lost.
const LOSS_PATIENCE: Duration = Duration::from_millis(100);
