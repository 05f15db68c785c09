//! Batches of datagrams by recvmmsg and sendmmsg, with the address that each came to, and the socket
//! options that only Linux has.
//!
//! The kernel writes through pointers that stand in `mmsghdr`s; they are made anew from the
//! buffers before each call, so none outlives the borrow that it comes from.
//!
//! **Invariant:** the one module of the crate with `unsafe`, and no function of it is unsafe to
//! call. Every pointer handed to the kernel points into a buffer of this batch, with its length.
//! **Not here:** what a datagram means (`serve::udp`).

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use super::{Exchange, SendReport, Slot, Wait, is_queue_full};
use crate::limits::{UDP_QUERY_OCTETS_MAX, UDP_REPLY_OCTETS};

/// The buffers of one worker, made once.
pub(super) struct Batch {
    /// The socket; it waits for UDP_WAKE_MS at most.
    socket: UdpSocket,
    /// Whether datagrams carry the address that they came to, and replies the one to come from.
    has_packet_info: bool,
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
    /// One buffer for each message; made anew for each call.
    vectors: Box<[libc::iovec]>,
    /// One header for each message; made anew for each call.
    headers: Box<[libc::mmsghdr]>,
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
    /// Returns the port, which stands at one place in both families.
    fn port(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }
}

/// One control message, `cmsghdr` and packet info, as the kernel writes it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

impl Control {
    /// Makes of the packet info of a query that of its reply, and returns its octets; 0 if there
    /// is none. The reply comes from the address that was asked, by whatever way the routes say:
    /// only for a link-local address does the interface stay named.
    fn turn_around(&mut self, received_len: usize) -> usize {
        let word =
            |at: usize| self.0[at..at + 4].first_chunk::<4>().map(|o| i32::from_ne_bytes(*o));
        let (level, kind) = (word(size_of::<usize>()), word(size_of::<usize>() + 4));
        let info = CONTROL_HEADER_OCTETS;
        if level == Some(libc::IPPROTO_IP) && kind == Some(libc::IP_PKTINFO) {
            // in_pktinfo: interface, local address, header's destination; each four octets.
            self.0[info..info + 4].fill(0);
            received_len.min(control_space(size_of::<libc::in_pktinfo>()))
        } else if level == Some(libc::IPPROTO_IPV6) && kind == Some(libc::IPV6_PKTINFO) {
            // in6_pktinfo: address, interface.
            let is_link_local = self.0[info] == 0xfe && self.0[info + 1] & 0xc0 == 0x80;
            if !is_link_local {
                self.0[info + 16..info + 20].fill(0);
            }
            received_len.min(control_space(size_of::<libc::in6_pktinfo>()))
        } else {
            0
        }
    }
}

impl Batch {
    /// Makes the buffers for batches of at most `slots` datagrams.
    ///
    /// # Errors
    /// If the socket has no address.
    pub(super) fn new(socket: UdpSocket, slots: usize) -> io::Result<Self> {
        let has_packet_info = socket.local_addr()?.ip().is_unspecified();
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Ok(Self {
            socket,
            has_packet_info,
            received: 0,
            arrivals: vec![Arrival::default(); slots].into(),
            queries: vec![0; slots * QUERY_STRIDE].into(),
            replies: (0..slots).map(|_| Vec::with_capacity(UDP_REPLY_OCTETS)).collect(),
            sources: vec![SourceAddress([0; size_of::<libc::sockaddr_in6>()]); slots].into(),
            controls: vec![Control([0; CONTROL_OCTETS]); slots].into(),
            vectors: vec![vector; slots].into(),
            headers: vec![empty_header(); slots].into(),
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
                head.msg_control = control.0.as_mut_ptr().cast();
                head.msg_controllen = CONTROL_OCTETS as _;
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

    /// Points the first headers at the replies that are not empty, and returns how many.
    fn prepare_send(&mut self) -> usize {
        let buffers = self.replies.iter_mut().zip(&mut self.sources).zip(&mut self.controls);
        let slots = buffers.zip(&self.arrivals).take(self.received);
        let filled = slots.filter(|(((reply, _), _), _)| !reply.is_empty());
        let mut count = 0;
        for ((((reply, source), control), arrival), (header, vector)) in
            filled.zip(self.headers.iter_mut().zip(&mut self.vectors))
        {
            vector.iov_base = reply.as_mut_ptr().cast();
            vector.iov_len = reply.len();
            let head = &mut header.msg_hdr;
            head.msg_name = source.0.as_mut_ptr().cast();
            head.msg_namelen = arrival.source_len;
            head.msg_iov = vector;
            head.msg_iovlen = 1;
            head.msg_flags = 0;
            head.msg_control = match arrival.control_len {
                0 => ptr::null_mut(),
                _ => control.0.as_mut_ptr().cast(),
            };
            head.msg_controllen = arrival.control_len as _;
            count += 1;
        }
        count
    }
}

impl Exchange for Batch {
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

    fn slot(&mut self, index: usize) -> Slot<'_> {
        debug_assert!(index < self.received);
        let arrival = &self.arrivals[index];
        Slot {
            query: &self.queries[index * QUERY_STRIDE..][..arrival.query_len],
            source_port: self.sources[index].port(),
            reply: &mut self.replies[index],
        }
    }

    fn queries(&self) -> impl Iterator<Item = &[u8]> {
        let arrivals = self.arrivals[..self.received].iter();
        let queries = self.queries.chunks_exact(QUERY_STRIDE);
        arrivals.zip(queries).map(|(arrival, query)| &query[..arrival.query_len])
    }

    fn send(&mut self) -> SendReport {
        let count = self.prepare_send();
        let (socket, mut report, mut next) = (self.socket.as_raw_fd(), SendReport::default(), 0);
        while next < count {
            match send_messages(socket, &mut self.headers[next..count]) {
                Ok(sent) if sent > 0 => next += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_queue_full(&error) => {
                    report.queue_full += (count - next) as u64;
                    break;
                }
                // The first message alone is to blame: those behind it still go.
                Ok(_) | Err(_) => {
                    report.refused += 1;
                    next += 1;
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
    // SAFETY: `prepare_send` has just pointed every one of these headers at a reply, an address
    // and a control buffer of this batch with their true lengths; the kernel only reads these,
    // and writes `msg_len` of the headers themselves, which are exclusively borrowed.
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

/// Returns the octets that a control message with `len` octets of data takes (CMSG_SPACE).
const fn control_space(len: usize) -> usize {
    CONTROL_HEADER_OCTETS + len.next_multiple_of(size_of::<usize>())
}

/// Octets from one query's buffer to the next: not a whole number of pages, so that the beginnings
/// of all queries do not fall on the same few lines of the cache.
const QUERY_STRIDE: usize = UDP_QUERY_OCTETS_MAX + 65;
/// Octets before the data of a control message (CMSG_LEN of nothing).
const CONTROL_HEADER_OCTETS: usize = size_of::<libc::cmsghdr>();
/// Where SO_MEMINFO has the dropped datagrams (SK_MEMINFO_DROPS).
const MEMORY_DROPS: usize = 8;
/// Octets for the packet info of either family.
const CONTROL_OCTETS: usize = control_space(size_of::<libc::in6_pktinfo>());

const _: () = assert!(size_of::<libc::in6_pktinfo>() >= size_of::<libc::in_pktinfo>());
const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>());
const _: () = assert!(QUERY_STRIDE % 4_096 == 64, "one line further for each query");
const _: () = assert!(CONTROL_HEADER_OCTETS.is_multiple_of(size_of::<usize>()));

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, info: &[u8]) -> (Control, usize) {
        let mut control = Control([0; CONTROL_OCTETS]);
        let len = CONTROL_HEADER_OCTETS + info.len();
        control.0[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
        control.0[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
        control.0[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        control.0[CONTROL_HEADER_OCTETS..][..info.len()].copy_from_slice(info);
        (control, control_space(info.len()))
    }

    #[test]
    fn an_ipv4_reply_comes_from_the_address_asked_on_any_interface() {
        let info = [7, 0, 0, 0, 192, 0, 2, 1, 192, 0, 2, 1];
        let (mut control, space) = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        assert_eq!(control.turn_around(space), space);
        assert_eq!(control.0[CONTROL_HEADER_OCTETS..][..8], [0, 0, 0, 0, 192, 0, 2, 1]);
    }

    #[test]
    fn an_ipv6_reply_keeps_its_interface_only_on_the_link() {
        for (first, interface) in [([0x20, 0x01], [0, 0, 0, 0]), ([0xfe, 0x80], [7, 0, 0, 0])] {
            let mut info = [0; 20];
            info[..2].copy_from_slice(&first);
            info[16..].copy_from_slice(&[7, 0, 0, 0]);
            let (mut control, space) = control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            assert_eq!(control.turn_around(space), space);
            assert_eq!(control.0[CONTROL_HEADER_OCTETS..][..2], first);
            assert_eq!(control.0[CONTROL_HEADER_OCTETS + 16..][..4], interface);
        }
    }

    #[test]
    fn another_control_message_does_not_go_back() {
        let (mut control, space) = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0; 4]);
        assert_eq!(control.turn_around(space), 0);
    }

    #[test]
    fn our_sizes_are_those_of_the_system() {
        for len in [0, 1, 12, 20] {
            // SAFETY: the function only computes.
            let space = unsafe { libc::CMSG_SPACE(len as libc::c_uint) };
            assert_eq!(control_space(len), space as usize, "{len}");
        }
    }

    #[test]
    fn one_reply_that_is_refused_does_not_hold_back_the_others() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let addr = server.local_addr().expect("bound");
        let mut batch = Batch::new(server, 4).expect("bound");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("not zero");
        let mut left = 4;
        for number in 0..4_u8 {
            client.send_to(&[number], addr).expect("loopback");
        }
        while left > 0 {
            let count = batch.receive(Wait::First).expect("sent");
            for index in 0..count {
                let slot = batch.slot(index);
                slot.reply.clear();
                slot.reply.extend_from_slice(slot.query);
                // No datagram is that long: the system refuses it.
                if slot.query == [1] {
                    slot.reply.resize(70_000, 0);
                }
            }
            left -= count;
            let refused = batch.send().refused;
            assert!(refused <= 1);
        }
        let mut heard = [0; 3];
        for octet in &mut heard {
            client.recv(std::slice::from_mut(octet)).expect("three replies");
        }
        assert_eq!(heard, [0, 2, 3]);
    }
}
