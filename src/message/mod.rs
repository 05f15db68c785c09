//! A DNS message: the parts that it is made of, read and written.
//!
//! ```text
//! query    what an answer depends on of a query: header, question, OPT, whether there is a TSIG
//! header   ID, flags, opcode, counts           question   name, type, class
//! record   one record of any section           edns       the OPT record and its options
//! rcode    what a reply says went wrong        tsig       the record that a signed message ends with
//! reader   a whole message, any section        writer     a whole message, any section
//! ```
//!
//! RFC 1035 section 4.1, RFC 6891.
//!
//! **Invariant:** reading never panics, and takes no count for more than a claim. A pass over a message is as
//! long as the message; what a name costs beside that is bound by its octets and its pointers, and no more names
//! are read than records have.
//! **Not here:** replies out of prepared RRsets (`wire`), what a message is answered with (`responder`).

pub mod edns;
pub mod header;
pub mod query;
pub mod question;
pub mod rcode;
pub mod reader;
pub mod record;
pub mod tsig;
pub mod writer;

use arrayvec::ArrayVec;

use crate::limits::{NAME_OCTETS_MAX, NAME_POINTERS_MAX};
use crate::record::RecordType;

/// Octets of a message's header: where the question's name starts.
pub const HEADER_LEN: usize = 12;
/// Octets of a record before its RDATA, the owner being a pointer.
pub(crate) const RECORD_HEAD_LEN: usize = 12;
/// The two bits that mark a compression pointer (RFC 1035 section 4.1.4).
pub(crate) const POINTER: u16 = 0xc000;
/// The furthest that a compression pointer reaches.
pub(crate) const POINTER_MAX: u16 = 0x3fff;

/// A name expanded out of a message.
pub(crate) type ExpandedName = ArrayVec<u8, NAME_OCTETS_MAX>;

/// The three sections of records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Section {
    /// The answer section.
    Answer,
    /// The authority section.
    Authority,
    /// The additional section.
    Additional,
}

impl Section {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Answer, Self::Authority, Self::Additional];
}

/// A record or a whole RRset does not fit a message, and is not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the message has no room for it")]
pub struct Full;

/// Why octets are no message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// There is no header.
    #[error(
        "{octets} octets: a message begins with a header of {HEADER_LEN} (RFC 1035 section 4.1.1)"
    )]
    NoHeader {
        /// How many octets there are.
        octets: usize,
    },
    /// There is more than one question.
    #[error("{count} questions: a message has one at most (RFC 9619)")]
    ManyQuestions {
        /// QDCOUNT.
        count: u16,
    },
    /// The octets end inside a question or a record that the header counts.
    #[error("octet {at}: the message ends inside what begins here")]
    CutShort {
        /// Where the question or record begins.
        at: usize,
    },
    /// A label or a whole name is too long, or its first two bits mean nothing.
    #[error("octet {at}: no name of at most {NAME_OCTETS_MAX} octets (RFC 1035 section 3.1)")]
    BadName {
        /// Where the name begins.
        at: usize,
    },
    /// A compression pointer does not lead back.
    #[error(
        "octet {at}: a compression pointer leads back, this one does not (RFC 1035 section 4.1.4)"
    )]
    ForwardPointer {
        /// Where the pointer stands.
        at: usize,
    },
    /// RDATA is not made as its type says.
    #[error("octet {at}: RDATA that is none of {rtype}")]
    BadRdata {
        /// Where the RDATA begins.
        at: usize,
        /// The type.
        rtype: RecordType,
    },
    /// A record that only the additional section has, and once, stands elsewhere or again.
    #[error(
        "octet {at}: {rtype} stands once, in the additional section (RFC 6891 6.1.1, RFC 8945 5.1)"
    )]
    Misplaced {
        /// Where the record begins.
        at: usize,
        /// OPT or TSIG.
        rtype: RecordType,
    },
    /// Octets follow the last record that the header counts.
    #[error("octet {at}: octets follow the last record that the header counts")]
    TrailingOctets {
        /// Where they begin.
        at: usize,
    },
}

/// A packet is no well-formed query, whatever is wrong with it: FORMERR.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl From<MessageError> for Malformed {
    fn from(_: MessageError) -> Self {
        Self
    }
}

/// Expands the name that begins at `at` of a message, and returns where it ends there.
///
/// # Errors
/// [`MessageError::BadName`], also of more than [`NAME_POINTERS_MAX`] pointers;
/// [`MessageError::ForwardPointer`] or [`MessageError::CutShort`].
pub fn read_name(
    message: &[u8],
    at: usize,
    name: &mut ExpandedName,
) -> Result<usize, MessageError> {
    name.clear();
    let (mut here, mut end, mut pointers) = (at, None, 0);
    loop {
        let len = *message.get(here).ok_or(MessageError::CutShort { at })?;
        match len & 0xc0 {
            0xc0 => {
                let low = *message.get(here + 1).ok_or(MessageError::CutShort { at })?;
                let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                end.get_or_insert(here + 2);
                if target >= here {
                    return Err(MessageError::ForwardPointer { at: here });
                }
                pointers += 1;
                if pointers > NAME_POINTERS_MAX {
                    return Err(MessageError::BadName { at });
                }
                here = target;
            }
            0 => {
                let next = here + 1 + usize::from(len);
                let label = message.get(here..next).ok_or(MessageError::CutShort { at })?;
                // Pointers that lead back without end come here again, and make the name too long.
                name.try_extend_from_slice(label).map_err(|_| MessageError::BadName { at })?;
                here = next;
                if len == 0 {
                    return Ok(end.unwrap_or(here));
                }
            }
            _ => return Err(MessageError::BadName { at }),
        }
    }
}

/// Returns where the name ends that begins at `at` of a message: behind its root label or its first
/// compression pointer, which is not followed.
///
/// # Errors
/// [`MessageError::BadName`] or [`MessageError::CutShort`].
pub(crate) fn skip_name(message: &[u8], at: usize) -> Result<usize, MessageError> {
    let mut here = at;
    loop {
        match *message.get(here).ok_or(MessageError::CutShort { at })? {
            0 => return Ok(here + 1),
            0xc0.. if here + 1 < message.len() => return Ok(here + 2),
            0xc0.. => return Err(MessageError::CutShort { at }),
            len if len & 0xc0 == 0 && here - at < NAME_OCTETS_MAX => here += usize::from(len) + 1,
            _ => return Err(MessageError::BadName { at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_so_many_pointers_and_no_more() {
        // The root at octet 0, and pointers from each to the one before.
        let mut message = vec![0];
        for index in 0..=NAME_POINTERS_MAX as u16 {
            let target = if index == 0 { 0 } else { 2 * index - 1 };
            message.extend_from_slice(&(POINTER | target).to_be_bytes());
        }
        let mut name = ExpandedName::new();
        let last = message.len() - 2;
        assert_eq!(read_name(&message, last - 2, &mut name), Ok(last));
        assert_eq!(name.as_slice(), [0]);
        let too_many = MessageError::BadName { at: last };
        assert_eq!(read_name(&message, last, &mut name), Err(too_many));
    }
}
