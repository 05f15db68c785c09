//! Control messages: which address a datagram came to, which one its reply comes from, and into what
//! datagrams the reply is cut (ip(7), ipv6(7), udp(7), cmsg(3)).
//!
//! **Invariant:** a control message that goes out was written whole, here or by the kernel.
//! **Not here:** the calls that take them (`mmsg`).

use std::mem::size_of;

/// Control messages, `cmsghdr` and data each, as the kernel writes and reads them: the packet info,
/// then, of a reply, the size of its segments.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control([u8; RECEIVED_OCTETS + control_space(size_of::<u16>())]);

impl Default for Control {
    fn default() -> Self {
        Self([0; RECEIVED_OCTETS + control_space(size_of::<u16>())])
    }
}

impl Control {
    /// Returns where the kernel writes and reads.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Makes of the packet info of a query that of its reply, and returns its octets; 0 if there
    /// is none. The reply comes from the address that was asked, by whatever way the routes say:
    /// only for a link-local address does the interface stay named.
    pub(super) fn turn_around(&mut self, received_len: usize) -> usize {
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

    /// Whether the first `len` octets are the other's.
    pub(super) fn is_same(&self, other: &Self, len: usize) -> bool {
        self.0[..len] == other.0[..len]
    }

    /// Says behind the `len` octets of packet info that the message is cut into datagrams of
    /// `segment_len` octets, the last one perhaps shorter; returns the octets of both.
    pub(super) fn add_segment(&mut self, len: usize, segment_len: u16) -> usize {
        debug_assert!(len <= RECEIVED_OCTETS && len.is_multiple_of(size_of::<usize>()));
        debug_assert!(segment_len > 0);
        let own_len = CONTROL_HEADER_OCTETS + size_of::<u16>();
        let message = &mut self.0[len..][..control_space(size_of::<u16>())];
        let (word, rest) = message.split_at_mut(size_of::<usize>());
        word.copy_from_slice(&own_len.to_ne_bytes());
        rest[..4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        rest[4..8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        rest[8..10].copy_from_slice(&segment_len.to_ne_bytes());
        len + control_space(size_of::<u16>())
    }
}

/// Returns the octets that a control message with `len` octets of data takes (CMSG_SPACE).
pub(super) const fn control_space(len: usize) -> usize {
    CONTROL_HEADER_OCTETS + len.next_multiple_of(size_of::<usize>())
}

/// Octets before the data of a control message (CMSG_LEN of nothing).
pub(super) const CONTROL_HEADER_OCTETS: usize = size_of::<libc::cmsghdr>();
/// Octets for the packet info of either family.
pub(super) const RECEIVED_OCTETS: usize = control_space(size_of::<libc::in6_pktinfo>());

const _: () = assert!(size_of::<libc::in6_pktinfo>() >= size_of::<libc::in_pktinfo>());
const _: () = assert!(CONTROL_HEADER_OCTETS.is_multiple_of(size_of::<usize>()));
const _: () = assert!(CONTROL_HEADER_OCTETS == size_of::<usize>() + 8, "length, level, type");

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, info: &[u8]) -> (Control, usize) {
        let mut control = Control::default();
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
    fn the_size_of_segments_stands_behind_the_packet_info() {
        let info = [7; 20];
        let (mut control, space) = control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        let before = control;
        assert_eq!(control.add_segment(space, 300), space + control_space(2));
        assert!(control.is_same(&before, space));
        let message = &control.0[space..];
        assert_eq!(message[..size_of::<usize>()], (CONTROL_HEADER_OCTETS + 2).to_ne_bytes());
        assert_eq!(message[CONTROL_HEADER_OCTETS..][..2], 300_u16.to_ne_bytes());
    }
}
