//! The header of a message (RFC 1035 section 4.1.1).
//!
//! **Invariant:** a header is 12 octets; its counts are claims until the records have been read.

use super::HEADER_LEN;

/// The QR bit: a response.
pub const FLAG_QR: u16 = 0x8000;
/// The AA bit: an authoritative answer.
pub const FLAG_AA: u16 = 0x0400;
/// The TC bit: truncated.
pub const FLAG_TC: u16 = 0x0200;
/// The RD bit: recursion is desired.
pub const FLAG_RD: u16 = 0x0100;

/// Opcodes (RFC 1035 section 4.1.1, RFC 1996 section 3, RFC 2136 section 2.2).
pub mod opcode {
    /// A query.
    pub const QUERY: u8 = 0;
    /// A zone has changed.
    pub const NOTIFY: u8 = 4;
    /// A change of a zone.
    pub const UPDATE: u8 = 5;
}

/// A message's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The message's ID.
    pub id: u16,
    /// From the top: the flags, opcode and rcode as octets 2 and 3 have them, then QDCOUNT, ANCOUNT
    /// and NSCOUNT.
    front: u64,
    /// ARCOUNT.
    additionals: u16,
}

impl Header {
    /// Reads the header, if there are 12 octets.
    #[inline]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let [a, b, front @ .., y, z] = packet.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            id: u16::from_be_bytes([*a, *b]),
            front: u64::from_be_bytes(*front),
            additionals: u16::from_be_bytes([*y, *z]),
        })
    }

    /// Returns the flags, opcode and rcode as they stand in octets 2 and 3.
    #[inline]
    pub fn flags(&self) -> u16 {
        (self.front >> 48) as u16
    }

    /// Returns QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT.
    #[inline]
    pub fn counts(&self) -> [u16; 4] {
        let [questions, answers, authorities] = [32, 16, 0].map(|bits| (self.front >> bits) as u16);
        [questions, answers, authorities, self.additionals]
    }

    /// Whether the QR bit says that this is a response.
    #[inline]
    pub fn is_response(&self) -> bool {
        self.flags() & FLAG_QR != 0
    }

    /// Returns the opcode.
    #[inline]
    pub fn opcode(&self) -> u8 {
        (self.flags() >> 11 & 15) as u8
    }

    /// Whether this is a query, by its opcode, with one question.
    #[inline]
    pub(crate) fn is_of_one_question(&self) -> bool {
        self.front & (0x7800 << 48 | 0xffff << 32) == 1 << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_rfc_1035_has_them() {
        let octets = [1, 2, 0x28, 0x85, 0, 1, 0, 2, 0, 3, 0xff, 0xff, 9];
        let header = Header::read(&octets).expect("12 octets");
        assert_eq!((header.id, header.flags(), header.opcode()), (0x0102, 0x2885, opcode::UPDATE));
        assert_eq!(header.counts(), [1, 2, 3, 0xffff]);
        assert!(!header.is_response() && !header.is_of_one_question());
        assert_eq!(Header::read(&octets[..11]), None);
        let query = Header::read(&[0, 0, 0x81, 0xff, 0, 1, 0, 0, 0, 0, 0, 0]).expect("12 octets");
        assert!(query.is_response() && query.is_of_one_question());
    }
}
