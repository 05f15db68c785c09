//! Datagrams together with the time at which the kernel received them.

#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// Has the kernel stamp what a socket receives (`SO_TIMESTAMPNS`).
pub fn enable(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that outlives the call, and its length is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a datagram if there is one: its length, and when it came, in nanoseconds of the system's
/// clock (`CLOCK_REALTIME`).
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    // Of `u64` because the control messages in it must be aligned.
    let mut control = [0_u64; CONTROL_OCTETS / 8];
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is integers and raw pointers, for which all bits zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = ptr::null_mut();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_OCTETS;
    // SAFETY: the header points at the buffer, the vector and the control buffer of this frame,
    // with their true lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the control buffer as far as `msg_controllen` says, and these
    // macros stay within it; a stamp's data is a `timespec`, perhaps not aligned for one.
    let stamp = unsafe {
        let mut found = None;
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let is_stamp = (*message).cmsg_level == libc::SOL_SOCKET
                && (*message).cmsg_type == libc::SCM_TIMESTAMPNS;
            if is_stamp {
                found = Some(libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
        found
    };
    let stamp = stamp.ok_or_else(|| io::Error::other("a datagram without a time stamp"))?;
    Ok((len, stamp.tv_sec as u64 * 1_000_000_000 + stamp.tv_nsec as u64))
}

/// Room for control messages.
const CONTROL_OCTETS: usize = 128;
