//! Batches of datagrams by recvmmsg and sendmmsg, with the address that each came to, and the socket
//! options that only Linux has.
//!
//! Replies of one size to one asker leave as one message, which the kernel, or the network card,
//! cuts into datagrams (`segments`): they pass the network stack together. Where it cannot, they
//! leave one by one.
//!
//! The kernel writes through pointers that stand in `mmsghdr`s; they are made anew from the
//! buffers before each call, so none outlives the borrow that it comes from.
//!
//! **Invariant:** the one module of the crate with `unsafe`, and no function of it is unsafe to
//! call. Every pointer handed to the kernel points into a buffer of this batch, with its length.
//! **Not here:** what a datagram means (`serve::udp`), what stands in a control message (`control`).

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val};
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use super::control::{CONTROL_HEADER_OCTETS, Control, RECEIVED_OCTETS};
use super::segments::Outgoing;
use super::{Datagram, Exchange, SendReport, Wait, is_queue_full};
use crate::limits::{UDP_QUERY_OCTETS_MAX, UDP_REPLY_OCTETS};

/// The buffers of one worker, made once.
pub(super) struct MessageBatch {
    /// The socket; it waits for UDP_WAKE_MS at most.
    socket: UdpSocket,
    /// Whether datagrams carry the address that they came to, and replies the one to come from.
    has_packet_info: bool,
    /// Whether the kernel cuts messages into datagrams.
    has_segments: bool,
    /// Datagrams received last.
    received: usize,
    /// What the kernel said about each of them.
    arrivals: Box<[Arrival]>,
    /// What came in, [`QUERY_STRIDE`] octets for each datagram.
    queries: Box<[u8]>,
    /// What goes out.
    replies: Box<[Vec<u8>]>,
    /// Where each came from.
    sources: Box<[SourceAddress]>,
    /// The packet info of each.
    controls: Box<[Control]>,
    /// The replies that go out, and which of them together.
    outgoing: Outgoing,
    /// One buffer for each datagram; made anew for each call.
    vectors: Box<[libc::iovec]>,
    /// One header for each message; made anew for each call.
    headers: Box<[libc::mmsghdr]>,
    /// How many replies leave with each header.
    runs: Box<[usize]>,
}

/// What the kernel said about one datagram.
#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    /// Octets of the query.
    query_len: usize,
    /// Octets of the source address.
    source_len: libc::socklen_t,
    /// Octets of the packet info that goes back with the reply.
    control_len: usize,
}

/// A `sockaddr_in` or `sockaddr_in6` as the kernel writes it: family, port in network order, …
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct SourceAddress([u8; size_of::<libc::sockaddr_in6>()]);

impl SourceAddress {
    /// Returns the last octets of the address and the port: mostly another word for another asker.
    fn digest(&self, source_len: libc::socklen_t) -> u32 {
        let last = if source_len as usize == size_of::<libc::sockaddr_in>() { 6 } else { 22 };
        u32::from(self.port()) << 16
            | u32::from(u16::from_be_bytes([self.0[last], self.0[last + 1]]))
    }

    /// Returns the address and the port.
    #[inline]
    fn socket_addr(&self, source_len: libc::socklen_t) -> SocketAddr {
        let octets = &self.0;
        if source_len as usize == size_of::<libc::sockaddr_in>() {
            let address = [octets[4], octets[5], octets[6], octets[7]];
            return SocketAddr::from((address, self.port()));
        }
        let mut address = [0; 16];
        address.copy_from_slice(&octets[8..24]);
        let scope = u32::from_ne_bytes([octets[24], octets[25], octets[26], octets[27]]);
        SocketAddrV6::new(address.into(), self.port(), 0, scope).into()
    }

    /// Returns the port, which stands at one place in both families.
    fn port(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }
}

impl MessageBatch {
    /// Makes the buffers for batches of at most `slots` datagrams.
    ///
    /// # Errors
    /// If the socket has no address.
    pub(super) fn new(socket: UdpSocket, slots: usize) -> io::Result<Self> {
        let has_packet_info = socket.local_addr()?.ip().is_unspecified();
        let has_segments = has_segments(&socket);
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Ok(Self {
            socket,
            has_packet_info,
            has_segments,
            received: 0,
            arrivals: vec![Arrival::default(); slots].into(),
            queries: vec![0; slots * QUERY_STRIDE].into(),
            replies: (0..slots).map(|_| Vec::with_capacity(UDP_REPLY_OCTETS)).collect(),
            sources: vec![SourceAddress([0; size_of::<libc::sockaddr_in6>()]); slots].into(),
            controls: vec![Control::default(); slots].into(),
            outgoing: Outgoing::new(slots),
            vectors: vec![vector; slots].into(),
            headers: vec![empty_header(); slots].into(),
            runs: vec![0; slots].into(),
        })
    }

    /// Points the headers at the buffers for receiving.
    fn prepare_receive(&mut self) {
        let queries = self.queries.chunks_exact_mut(QUERY_STRIDE);
        let buffers = queries.zip(&mut self.sources).zip(&mut self.controls);
        let heads = self.headers.iter_mut().zip(&mut self.vectors);
        for (((query, source), control), (header, vector)) in buffers.zip(heads) {
            vector.iov_base = query.as_mut_ptr().cast();
            vector.iov_len = UDP_QUERY_OCTETS_MAX;
            let head = &mut header.msg_hdr;
            head.msg_name = source.0.as_mut_ptr().cast();
            head.msg_namelen = size_of::<SourceAddress>() as libc::socklen_t;
            head.msg_iov = vector;
            head.msg_iovlen = 1;
            head.msg_flags = 0;
            if self.has_packet_info {
                head.msg_control = control.as_mut_ptr().cast();
                head.msg_controllen = RECEIVED_OCTETS as _;
            } else {
                head.msg_control = ptr::null_mut();
                head.msg_controllen = 0;
            }
        }
    }

    /// Notes what the kernel wrote into the first `count` headers.
    fn note_arrivals(&mut self, count: usize) {
        let slots = self.headers.iter().zip(&mut self.arrivals).zip(&mut self.controls);
        for ((header, arrival), control) in slots.take(count) {
            let head = &header.msg_hdr;
            let control_len = if self.has_packet_info { head.msg_controllen } else { 0 };
            *arrival = Arrival {
                query_len: (header.msg_len as usize).min(UDP_QUERY_OCTETS_MAX),
                source_len: head.msg_namelen.min(size_of::<SourceAddress>() as libc::socklen_t),
                control_len: match control_len {
                    0..CONTROL_HEADER_OCTETS => 0,
                    len => control.turn_around(len),
                },
            };
        }
        self.received = count;
    }

    /// Puts the replies that are not empty in the order in which they leave; returns how many.
    fn order_replies(&mut self) -> usize {
        self.outgoing.clear();
        let slots = self.replies.iter().zip(&self.sources).zip(&self.arrivals);
        for (index, ((reply, source), arrival)) in slots.take(self.received).enumerate() {
            if !reply.is_empty() {
                self.outgoing.push(index, source.digest(arrival.source_len), reply.len());
            }
        }
        if self.has_segments {
            self.outgoing.sort();
        }
        self.outgoing.len()
    }

    /// Points the first headers at the replies from `start` in the order on, with `is_cutting`
    /// those that may leave together at one header, and returns how many headers.
    fn prepare_send(&mut self, start: usize, is_cutting: bool) -> usize {
        let (mut place, mut count) = (start, 0);
        while place < self.outgoing.len() {
            let run = if is_cutting { self.run_at(place) } else { 1 };
            let vectors = &mut self.vectors[place..][..run];
            for (index, vector) in self.outgoing.indices(place).zip(vectors) {
                vector.iov_base = self.replies[index].as_mut_ptr().cast();
                vector.iov_len = self.replies[index].len();
            }
            let first = self.outgoing.index(place);
            let (arrival, control) = (self.arrivals[first], &mut self.controls[first]);
            let control_len = match run {
                1 => arrival.control_len,
                _ => control.add_segment(arrival.control_len, self.replies[first].len() as u16),
            };
            let head = &mut self.headers[count].msg_hdr;
            head.msg_name = self.sources[first].0.as_mut_ptr().cast();
            head.msg_namelen = arrival.source_len;
            head.msg_iov = self.vectors[place..][..run].as_mut_ptr();
            head.msg_iovlen = run as _;
            head.msg_flags = 0;
            head.msg_control = match control_len {
                0 => ptr::null_mut(),
                _ => control.as_mut_ptr().cast(),
            };
            head.msg_controllen = control_len as _;
            self.runs[count] = run;
            (place, count) = (place + run, count + 1);
        }
        count
    }

    /// Returns how many replies, from `place` in the order on, leave together.
    fn run_at(&self, place: usize) -> usize {
        let is_same_way = |left: usize, right: usize| {
            let (first, other) = (self.arrivals[left], self.arrivals[right]);
            let source = |index: usize| &self.sources[index].0[..first.source_len as usize];
            (first.source_len, first.control_len) == (other.source_len, other.control_len)
                && source(left) == source(right)
                && self.controls[left].is_same(&self.controls[right], first.control_len)
        };
        self.outgoing.run(place, is_same_way, |index| self.replies[index].len())
    }

    /// Sends the headers from the one at `header` on, without waiting; returns how many replies
    /// have gone with how many headers.
    fn send_from(&mut self, header: usize, count: usize) -> io::Result<(usize, usize)> {
        let sent = send_messages(self.socket.as_raw_fd(), &mut self.headers[header..count])?;
        Ok((self.runs[header..header + sent].iter().sum(), sent))
    }
}

impl Exchange for MessageBatch {
    fn receive(&mut self, wait: Wait) -> io::Result<usize> {
        self.received = 0;
        self.prepare_receive();
        let flags = match wait {
            Wait::First => libc::MSG_WAITFORONE,
            Wait::None => libc::MSG_DONTWAIT,
        };
        let count = receive_messages(self.socket.as_raw_fd(), &mut self.headers, flags)?;
        self.note_arrivals(count);
        Ok(count)
    }

    fn slot(&mut self, index: usize) -> Datagram<'_> {
        debug_assert!(index < self.received);
        let arrival = &self.arrivals[index];
        Datagram {
            query: &self.queries[index * QUERY_STRIDE..][..arrival.query_len],
            source: self.sources[index].socket_addr(arrival.source_len),
            reply: &mut self.replies[index],
        }
    }

    fn queries(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let arrivals = self.arrivals[..self.received].iter();
        let queries = self.queries.chunks_exact(QUERY_STRIDE);
        arrivals.zip(queries).map(|(arrival, query)| &query[..arrival.query_len])
    }

    fn send(&mut self) -> SendReport {
        let replies = self.order_replies();
        let (mut report, mut next, mut is_cutting) = (SendReport::default(), 0, self.has_segments);
        while next < replies {
            let (count, mut header) = (self.prepare_send(next, is_cutting), 0);
            while header < count {
                match self.send_from(header, count) {
                    Ok((gone, sent)) if sent > 0 => (next, header) = (next + gone, header + sent),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if is_queue_full(&error) => {
                        report.queue_full += (replies - next) as u64;
                        (next, header) = (replies, count);
                    }
                    // What cannot go as one message may go as many: the rest of the batch does.
                    // With EIO something on the way out cannot cut, a device or IPsec, and the next
                    // batch need not try.
                    Err(error) if self.runs[header] > 1 => {
                        is_cutting = false;
                        self.has_segments &= error.raw_os_error() != Some(libc::EIO);
                        break;
                    }
                    // The first message alone is to blame: those behind it still go.
                    Ok(_) | Err(_) => {
                        report.refused += 1;
                        (next, header) = (next + 1, header + 1);
                    }
                }
            }
        }
        report
    }

    fn receive_drops(&self) -> u32 {
        receive_drops(&self.socket)
    }
}

/// Sets what a batch's socket needs: with each datagram the address that it came to, if the socket
/// is bound to all of them; and no trust in path MTUs that anybody can send us.
///
/// Replies are small enough for every path; one that must be cut is cut by a router, as if it
/// came from a host that never heard of the path's MTU.
///
/// # Errors
/// What the system says.
pub(super) fn set_options(socket: &UdpSocket) -> io::Result<()> {
    let addr = socket.local_addr()?;
    let (level, packet_info, mtu, ignore) = match addr {
        SocketAddr::V4(_) => {
            (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
        }
        SocketAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        ),
    };
    set_option(socket, level, mtu, &ignore)?;
    if addr.ip().is_unspecified() {
        set_option(socket, level, packet_info, &1_i32)?;
    }
    Ok(())
}

/// Has the kernel ask a classic BPF program which of the sockets that share `socket`'s port gets a
/// datagram, by the order in which they were bound.
///
/// # Errors
/// What the system says, to a program that it does not accept for instance.
pub(super) fn attach_program(
    socket: &UdpSocket,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Sets one option of a socket.
pub(super) fn set_option<T>(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which outlives the call, and the
    // descriptor is that of a socket that is borrowed and so open. The kernel only reads `value`,
    // and what a program's pointer names, which its caller has borrowed with that length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of_val(value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns how many datagrams the kernel has dropped at a socket, modulo 2^32; 0 if it does not say
/// (SO_MEMINFO of socket(7), Linux 4.12).
pub(super) fn receive_drops(socket: &UdpSocket) -> u32 {
    let mut values = [0_u32; MEMORY_DROPS + 1];
    let mut len = size_of_val(&values) as libc::socklen_t;
    // SAFETY: both pointers are to values that outlive the call; the kernel writes at most `len`
    // octets of the first, of which any are valid, and the descriptor is open as it is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut values).cast(),
            &raw mut len,
        )
    };
    if result == 0 { values[MEMORY_DROPS] } else { 0 }
}

/// Whether the kernel can cut a message into datagrams (UDP_SEGMENT of udp(7), Linux 4.18). One that
/// cannot would send it as it is.
fn has_segments(socket: &UdpSocket) -> bool {
    let mut octets: libc::c_int = 0;
    let mut len = size_of_val(&octets) as libc::socklen_t;
    // SAFETY: both pointers are to values that outlive the call; the kernel writes at most `len`
    // octets of the first, of which any are valid, and the descriptor is open as it is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut octets).cast(),
            &raw mut len,
        )
    };
    result == 0
}

/// Receives into the headers' buffers, and returns how many headers have been filled.
fn receive_messages(
    socket: RawFd,
    headers: &mut [libc::mmsghdr],
    flags: libc::c_int,
) -> io::Result<usize> {
    // SAFETY: `prepare_receive` has just pointed every header at one vector, address and control
    // buffer of this batch, all of them exclusively borrowed, with their true lengths; no other
    // header shares them. The kernel writes at most these lengths, and no timeout is passed.
    let count = unsafe {
        libc::recvmmsg(
            socket,
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            flags as _,
            ptr::null_mut(),
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sends the headers' buffers without waiting, and returns how many, from the first, have gone.
fn send_messages(socket: RawFd, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    // SAFETY: `prepare_send` has just pointed every one of these headers at vectors of its own, an
    // address and a control buffer of this batch with their true lengths, and the vectors at
    // replies; the kernel only reads these, and writes `msg_len` of the headers themselves, which
    // are exclusively borrowed.
    let count = unsafe {
        libc::sendmmsg(
            socket,
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Returns a header that points nowhere.
fn empty_header() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is made of integers and raw pointers, for which all bits zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Octets from one query's buffer to the next: not a whole number of pages, so that the beginnings
/// of all queries do not fall on the same few lines of the cache.
const QUERY_STRIDE: usize = UDP_QUERY_OCTETS_MAX + 65;
/// Where SO_MEMINFO has the dropped datagrams (SK_MEMINFO_DROPS).
const MEMORY_DROPS: usize = 8;

const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>());
const _: () = assert!(QUERY_STRIDE % 4_096 == 64, "one line further for each query");

#[cfg(test)]
mod tests;
