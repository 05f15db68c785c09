//! Datagrams one by one, with nothing but what every platform has.
//!
//! **Invariant:** sending does not wait: a full queue loses the reply, and says so.
//! **Not here:** sockets that are bound to all addresses: which one was asked, and so has to answer,
//! is not among what every platform tells.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::{Datagram, Exchange, SendReport, Wait, is_queue_full};
use crate::limits::{UDP_QUERY_OCTETS_MAX, UDP_REPLY_OCTETS};

/// One datagram and its reply.
#[derive(Debug)]
pub(super) struct Single {
    /// The socket; it waits for UDP_WAKE_MS at most.
    socket: UdpSocket,
    /// What came in.
    query: Box<[u8]>,
    /// How much of it.
    query_len: usize,
    /// Where it came from.
    source: SocketAddr,
    /// What goes out.
    reply: Vec<u8>,
    /// Whether receiving waits.
    wait: Wait,
}

impl Single {
    /// Makes the buffers.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        debug_assert!(!socket.local_addr()?.ip().is_unspecified(), "see `Moves::choose`");
        socket.set_nonblocking(false)?;
        Ok(Self {
            socket,
            query: vec![0; UDP_QUERY_OCTETS_MAX].into(),
            query_len: 0,
            source: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            reply: Vec::with_capacity(UDP_REPLY_OCTETS),
            wait: Wait::First,
        })
    }

    /// Switches the socket between waiting and not waiting.
    fn set_wait(&mut self, wait: Wait) -> io::Result<()> {
        if self.wait != wait {
            self.socket.set_nonblocking(wait == Wait::None)?;
            self.wait = wait;
        }
        Ok(())
    }
}

impl Exchange for Single {
    fn receive(&mut self, wait: Wait) -> io::Result<usize> {
        self.set_wait(wait)?;
        (self.query_len, self.source) = self.socket.recv_from(&mut self.query)?;
        Ok(1)
    }

    fn slot(&mut self, index: usize) -> Datagram<'_> {
        debug_assert_eq!(index, 0, "a batch of one");
        let query = &self.query[..self.query_len];
        Datagram { query, source: self.source, reply: &mut self.reply }
    }

    fn queries(&self) -> impl Iterator<Item = &[u8]> + Clone {
        std::iter::once(&self.query[..self.query_len])
    }

    fn send(&mut self) -> SendReport {
        let mut report = SendReport::default();
        if self.reply.is_empty() {
            return report;
        }
        let target = self.source.into();
        let socket = socket2::SockRef::from(&self.socket);
        match socket.send_to_with_flags(&self.reply, &target, SEND_FLAGS) {
            Ok(_) => {}
            Err(error) if is_queue_full(&error) => report.queue_full = 1,
            Err(_) => report.refused = 1,
        }
        report
    }

    fn receive_drops(&self) -> u32 {
        #[cfg(target_os = "linux")]
        return super::mmsg::receive_drops(&self.socket);
        #[cfg(not(target_os = "linux"))]
        0
    }
}

/// Have a full send queue reported, where the platform can say so for one call.
#[cfg(unix)]
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT;
/// Elsewhere a full send queue waits for its room.
#[cfg(not(unix))]
const SEND_FLAGS: i32 = 0;
