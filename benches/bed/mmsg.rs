//! Many datagrams with one system call, for the load and for the echo.
//!
//! It is not the server's own code: what is measured should not measure itself.

#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// Buffers for a batch.
pub struct Messages {
    /// What has come in.
    buffers: Vec<[u8; SLOT_OCTETS]>,
    /// Octets of each.
    lens: Vec<usize>,
    /// Where each came from: a `sockaddr_in`.
    sources: Vec<[u8; SOURCE_OCTETS]>,
    /// One for each message; made anew for each call.
    vectors: Vec<libc::iovec>,
    /// One for each message; made anew for each call.
    headers: Vec<libc::mmsghdr>,
}

impl Messages {
    /// Makes buffers for `slots` datagrams.
    pub fn new(slots: usize) -> Self {
        // SAFETY: `mmsghdr` is integers and raw pointers, for which all bits zero is a value.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            buffers: vec![[0; SLOT_OCTETS]; slots],
            lens: vec![0; slots],
            sources: vec![[0; SOURCE_OCTETS]; slots],
            vectors: vec![vector; slots],
            headers: vec![header; slots],
        }
    }

    /// Receives what is there; with `is_waiting`, waits for the first datagram.
    pub fn receive(&mut self, socket: &UdpSocket, is_waiting: bool) -> io::Result<usize> {
        let slots = self.buffers.len();
        for index in 0..slots {
            let octets = (self.buffers[index].as_mut_ptr(), SLOT_OCTETS);
            let source = self.sources[index].as_mut_ptr();
            self.point(index, octets, Some(source));
        }
        let flags = if is_waiting { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: every header has just been pointed at a buffer and a source of this struct, with
        // their true lengths, and all of them are exclusively borrowed.
        let count = unsafe {
            let headers = self.headers.as_mut_ptr();
            libc::recvmmsg(socket.as_raw_fd(), headers, slots as u32, flags, ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (len, header) in self.lens.iter_mut().zip(&self.headers[..count]) {
            *len = (header.msg_len as usize).min(SLOT_OCTETS);
        }
        Ok(count)
    }

    /// Returns a datagram that has come in.
    pub fn datagram(&mut self, index: usize) -> &mut [u8] {
        &mut self.buffers[index][..self.lens[index]]
    }

    /// Sends the first `count` datagrams back to where they came from.
    pub fn send_back(&mut self, socket: &UdpSocket, count: usize) -> io::Result<()> {
        for index in 0..count {
            let octets = (self.buffers[index].as_mut_ptr(), self.lens[index]);
            let source = self.sources[index].as_mut_ptr();
            self.point(index, octets, Some(source));
        }
        let mut sent = 0;
        while sent < count {
            sent += self.send_pointed(socket, sent..count)?;
        }
        Ok(())
    }

    /// Sends datagrams on a connected socket, and returns how many have gone.
    pub fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        all: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for octets in all.take(self.headers.len()) {
            // The kernel only reads them: `iovec` has no other pointer.
            self.point(count, (octets.as_ptr().cast_mut(), octets.len()), None);
            count += 1;
        }
        self.send_pointed(socket, 0..count)
    }

    /// Points a header at octets and an address.
    fn point(&mut self, index: usize, octets: (*mut u8, usize), source: Option<*mut u8>) {
        let (vector, header) = (&mut self.vectors[index], &mut self.headers[index].msg_hdr);
        *vector = libc::iovec { iov_base: octets.0.cast(), iov_len: octets.1 };
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_name = source.map_or(ptr::null_mut(), <*mut u8>::cast);
        header.msg_namelen = source.map_or(0, |_| SOURCE_OCTETS as u32);
    }

    /// Sends what these headers point at.
    fn send_pointed(
        &mut self,
        socket: &UdpSocket,
        range: std::ops::Range<usize>,
    ) -> io::Result<usize> {
        let headers = &mut self.headers[range];
        // SAFETY: the caller has just pointed these headers at octets and addresses that it
        // borrows until this call is over; the kernel reads them, and writes to the headers only.
        let count = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0)
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

/// Gives a socket room in the kernel for whole windows of datagrams.
pub fn enlarge(socket: &UdpSocket) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_recv_buffer_size(SOCKET_OCTETS)?;
    socket.set_send_buffer_size(SOCKET_OCTETS)
}

/// Room in the kernel for each socket.
const SOCKET_OCTETS: usize = 1 << 20;
/// Octets of a datagram at most.
const SLOT_OCTETS: usize = 2_048;
/// Octets of an IPv4 socket address.
const SOURCE_OCTETS: usize = size_of::<libc::sockaddr_in>();
