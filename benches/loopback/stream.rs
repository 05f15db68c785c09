//! The load over TCP: pipelined on a few connections, or one query a connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::bed::Result;
use crate::bed::ask::{Ask, Queries};
use crate::load::Outcome;

/// How queries share connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// Many queries in one write, again and again on one connection.
    Pipelined,
    /// One query, and the connection is closed.
    Single,
}

/// Asks a server for some time from several threads, all on the load's CPU.
pub fn run(
    (ask, is_signed): (Ask, bool),
    share: Share,
    queries: &Queries,
    server: SocketAddr,
    duration: Duration,
) -> Result<Outcome> {
    let end = Instant::now() + duration;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .zip(1_u8..)
            .map(|(index, number)| {
                let own = queries.count() / THREADS;
                let range = index * own..(index + 1) * own;
                scope.spawn(move || {
                    let asker = Asker { ask, is_signed, queries, range, number, server };
                    match share {
                        Share::Pipelined => asker.pipeline(end),
                        Share::Single => asker.connect_each_time(end),
                    }
                    .map_err(|error| error.to_string())
                })
            })
            .collect();
        let mut outcome = Outcome::default();
        for thread in threads {
            let own = thread.join().map_err(|_| "a load thread panicked")??;
            outcome.answered += own.answered;
            outcome.wrong += own.wrong;
        }
        Ok(outcome)
    })
}

/// One thread's part of the load.
struct Asker<'a> {
    /// What is asked.
    ask: Ask,
    /// Whether DNSSEC records are wanted.
    is_signed: bool,
    /// All queries.
    queries: &'a Queries,
    /// Which of them the thread asks.
    range: Range<usize>,
    /// The thread's number; it asks from addresses of its own.
    number: u8,
    /// The server, on loopback.
    server: SocketAddr,
}

impl Asker<'_> {
    /// Sends a batch with one write, reads its replies, and so on.
    fn pipeline(&self, end: Instant) -> Result<Outcome> {
        let mut stream = self.connect(0)?;
        let (mut outcome, mut reply) = (Outcome::default(), Vec::new());
        let mut order = self.range.clone().cycle();
        while Instant::now() <= end {
            let batch = order.by_ref().take(PIPELINE);
            let octets: Vec<u8> =
                batch.flat_map(|index| framed(self.queries.query(index))).collect();
            stream.get_mut().write_all(&octets)?;
            for _ in 0..PIPELINE {
                self.read(&mut stream, &mut reply, &mut outcome)?;
            }
        }
        Ok(outcome)
    }

    /// Connects, asks, reads and closes, and so on.
    fn connect_each_time(&self, end: Instant) -> Result<Outcome> {
        let (mut outcome, mut reply) = (Outcome::default(), Vec::new());
        for (index, count) in self.range.clone().cycle().zip(0_u32..) {
            if Instant::now() > end {
                break;
            }
            let mut stream = self.connect(count)?;
            let octets: Vec<u8> = framed(self.queries.query(index)).collect();
            stream.get_mut().write_all(&octets)?;
            self.read(&mut stream, &mut reply, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// Connects from one of the thread's addresses, so that no address runs out of ports.
    fn connect(&self, count: u32) -> Result<std::io::BufReader<TcpStream>> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        let source = Ipv4Addr::new(127, 1, self.number, 1 + (count % 250) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect(&self.server.into())?;
        Ok(std::io::BufReader::with_capacity(16_384, socket.into()))
    }

    /// Reads and checks one reply.
    fn read(
        &self,
        stream: &mut impl Read,
        reply: &mut Vec<u8>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        reply.resize(usize::from(u16::from_be_bytes(len)), 0);
        stream.read_exact(reply)?;
        outcome.answered += 1;
        outcome.wrong += u64::from(!self.ask.is_answered_by(self.is_signed, reply));
        Ok(())
    }
}

/// Puts a message's length before it.
fn framed(message: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let len = u16::try_from(message.len()).unwrap_or_default().to_be_bytes();
    len.into_iter().chain(message.iter().copied())
}

/// Connections at a time, each with a thread.
const THREADS: usize = 8;
/// Queries in one write.
const PIPELINE: usize = 32;
