//! The question of a message (RFC 1035 section 4.1.2).

use super::{HEADER_LEN, Malformed};
use crate::record::RecordType;

/// The class IN.
pub const CLASS_IN: u16 = 1;
/// The class CH (RFC 1035 section 3.2.4).
pub const CLASS_CHAOS: u16 = 3;
/// The class ANY.
pub const CLASS_ANY: u16 = 255;

/// The one question of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question<'q> {
    /// The name in wire form, as it was asked.
    pub qname: &'q [u8],
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub qclass: u16,
}

impl<'q> Question<'q> {
    /// Reads the question behind the header, whose name has `name_len` octets, 0 if there is none.
    ///
    /// # Errors
    /// [`Malformed`] if there is no name, or octets are missing.
    #[inline]
    pub fn read(packet: &'q [u8], name_len: usize) -> Result<Self, Malformed> {
        let octets = packet.get(HEADER_LEN..).ok_or(Malformed)?;
        let (qname, tail) = octets.split_at_checked(name_len).ok_or(Malformed)?;
        let tail = tail.first_chunk::<4>().filter(|_| name_len > 0).ok_or(Malformed)?;
        let qtype = RecordType(u16::from_be_bytes([tail[0], tail[1]]));
        Ok(Self { qname, qtype, qclass: u16::from_be_bytes([tail[2], tail[3]]) })
    }

    /// Returns where in the packet the question ends.
    #[inline]
    pub fn end(&self) -> usize {
        HEADER_LEN + self.qname.len() + QUESTION_TAIL_LEN
    }
}

/// Octets of a question behind its name: type and class.
pub(crate) const QUESTION_TAIL_LEN: usize = 4;
