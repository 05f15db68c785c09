//! One record of a message, in place (RFC 1035 section 4.1.3).
//!
//! Names in RDATA may be compressed by whoever sent it: those of the types of RFC 1035, and of a few more
//! that older senders compress (RFC 3597 section 4). They are expanded here; RDATA of all other types is
//! taken as it is.
//!
//! **Invariant:** a [`Record`] lies in its message as a whole; its names are only looked at when asked for.
//! **Not here:** what RDATA means (`record::rdata`).

use super::{ExpandedName, MessageError, read_name, skip_name};
use crate::name::Name;
use crate::record::RecordType;

/// A record of a message.
#[derive(Clone, Copy, Debug)]
pub struct Record<'m> {
    /// The message.
    message: &'m [u8],
    /// Where the record begins.
    at: usize,
    /// Where the RDATA begins.
    rdata_at: usize,
    /// Where it ends, and the record with it.
    end: usize,
    /// The type.
    pub rtype: RecordType,
    /// The class; of an OPT record the sender's UDP payload size.
    pub class: u16,
    /// The TTL in seconds; of an OPT record upper RCODE, version and flags.
    pub ttl_s: u32,
}

impl<'m> Record<'m> {
    /// Reads the record that begins at `at` of a message.
    ///
    /// # Errors
    /// [`MessageError::CutShort`] or [`MessageError::BadName`].
    #[inline]
    pub fn read(message: &'m [u8], at: usize) -> Result<Self, MessageError> {
        let head_at = skip_name(message, at)?;
        let cut_short = MessageError::CutShort { at };
        let head = message.get(head_at..).and_then(<[u8]>::first_chunk::<HEAD_LEN>);
        let Some([t0, t1, c0, c1, s0, s1, s2, s3, l0, l1]) = head.copied() else {
            return Err(cut_short);
        };
        let rdata_at = head_at + HEAD_LEN;
        let end = rdata_at + usize::from(u16::from_be_bytes([l0, l1]));
        if end > message.len() {
            return Err(cut_short);
        }
        let (rtype, class) = (RecordType(u16::from_be_bytes([t0, t1])), [c0, c1]);
        let (class, ttl_s) = (u16::from_be_bytes(class), u32::from_be_bytes([s0, s1, s2, s3]));
        Ok(Self { message, at, rdata_at, end, rtype, class, ttl_s })
    }

    /// Returns where the record begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Returns where its RDATA begins.
    pub(crate) fn rdata_at(&self) -> usize {
        self.rdata_at
    }

    /// Returns where it ends.
    #[inline]
    pub fn end(&self) -> usize {
        self.end
    }

    /// Whether the owner is the root, written as such.
    pub(crate) fn is_at_root(&self) -> bool {
        self.message[self.at] == 0
    }

    /// Returns the owner in canonical form.
    ///
    /// # Errors
    /// [`MessageError::BadName`], [`MessageError::ForwardPointer`] or [`MessageError::CutShort`].
    pub fn owner(&self) -> Result<Name, MessageError> {
        let mut name = ExpandedName::new();
        self.expand_owner(&mut name)?;
        name.make_ascii_lowercase();
        Name::from_wire(&name).map_err(|_| MessageError::BadName { at: self.at })
    }

    /// Expands the owner as it was sent.
    ///
    /// # Errors
    /// As [`Record::owner`].
    pub(crate) fn expand_owner(&self, name: &mut ExpandedName) -> Result<(), MessageError> {
        read_name(self.message, self.at, name).map(drop)
    }

    /// Returns the RDATA as it stands in the message.
    pub fn rdata(&self) -> &'m [u8] {
        debug_assert!(self.at < self.rdata_at && self.rdata_at <= self.end);
        debug_assert!(self.end <= self.message.len());
        &self.message[self.rdata_at..self.end]
    }

    /// Appends the RDATA with its names expanded.
    ///
    /// # Errors
    /// What [`Record::owner`] says, of a name inside; [`MessageError::BadRdata`] if names do not end where
    /// the RDATA does.
    pub fn push_rdata(&self, out: &mut Vec<u8>) -> Result<(), MessageError> {
        let Some((skip, names)) = self.rtype.sent_names(self.rdata()) else {
            out.extend_from_slice(self.rdata());
            return Ok(());
        };
        let bad_rdata = MessageError::BadRdata { at: self.rdata_at, rtype: self.rtype };
        let mut at = self.rdata_at + skip;
        if at > self.end {
            return Err(bad_rdata);
        }
        out.extend_from_slice(&self.message[self.rdata_at..at]);
        let mut name = ExpandedName::new();
        for _ in 0..names {
            at = read_name(self.message, at, &mut name)?;
            if at > self.end {
                return Err(bad_rdata);
            }
            out.extend_from_slice(&name);
        }
        out.extend_from_slice(&self.message[at..self.end]);
        Ok(())
    }
}

/// Octets of a record between its owner and its RDATA.
const HEAD_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of `a.`, whose owner stands at octet 12.
    fn message(rtype: RecordType, rdata: &[u8]) -> Vec<u8> {
        let mut message =
            [&[0; 12][..], b"\x01a\0", &rtype.0.to_be_bytes(), &[0, 1, 0, 0, 0, 5]].concat();
        message.extend_from_slice(&u16::try_from(rdata.len()).expect("short").to_be_bytes());
        message.extend_from_slice(rdata);
        message
    }

    fn check(rtype: RecordType, rdata: &[u8], expected: &Result<&[u8], MessageError>) {
        let message = message(rtype, rdata);
        let record = Record::read(&message, 12).expect("whole");
        assert_eq!((record.ttl_s, record.class, record.end()), (5, 1, message.len()));
        let mut out = Vec::new();
        let read = record.push_rdata(&mut out).map(|()| out.as_slice());
        assert_eq!(read, *expected, "{rtype}");
    }

    #[test]
    fn names_are_expanded_where_senders_may_compress_them() {
        check(RecordType::NS, b"\x01b\xc0\x0c", &Ok(b"\x01b\x01a\0"));
        check(RecordType::MX, b"\0\x07\xc0\x0c", &Ok(b"\0\x07\x01a\0"));
        check(RecordType::SRV, b"\0\x01\0\x02\0\x03\xc0\x0c", &Ok(b"\0\x01\0\x02\0\x03\x01a\0"));
        check(RecordType::RP, b"\xc0\x0c\0", &Ok(b"\x01a\0\0"));
        let naptr = b"\0\x01\0\x02\x01s\x03sip\0\xc0\x0c";
        check(RecordType::NAPTR, naptr, &Ok(b"\0\x01\0\x02\x01s\x03sip\0\x01a\0"));
        // No sender may compress these, so what looks like a pointer is left alone.
        check(RecordType::SVCB, b"\0\x01\xc0\x0c", &Ok(b"\0\x01\xc0\x0c"));
        check(RecordType::TXT, b"\xc0\x0c", &Ok(b"\xc0\x0c"));
    }

    #[test]
    fn names_that_do_not_end_in_their_rdata_are_refused() {
        let bad_rdata = |rtype| Err(MessageError::BadRdata { at: 25, rtype });
        check(RecordType::MX, b"\0", &bad_rdata(RecordType::MX));
        check(RecordType::NAPTR, b"\0\x01\0\x02\x09s", &bad_rdata(RecordType::NAPTR));
        check(RecordType::NS, b"", &Err(MessageError::CutShort { at: 25 }));
        check(RecordType::NS, b"\xc0\x19", &Err(MessageError::ForwardPointer { at: 25 }));
        check(RecordType::NS, b"\x40a\0", &Err(MessageError::BadName { at: 25 }));
        let mut message = message(RecordType::NS, b"\x01b\0");
        let last = message.len() - 1;
        message.extend_from_slice(b"x\0");
        message[last] = 1;
        let record = Record::read(&message, 12).expect("whole");
        let read = record.push_rdata(&mut Vec::new());
        assert_eq!(read, Err(MessageError::BadRdata { at: 25, rtype: RecordType::NS }));
    }

    #[test]
    fn every_cut_of_a_record_is_said_to_be_one() {
        let whole = message(RecordType::A, &[192, 0, 2, 1]);
        for len in 12..whole.len() {
            let read = Record::read(&whole[..len], 12).map(|record| record.end());
            assert_eq!(read, Err(MessageError::CutShort { at: 12 }), "{len}");
        }
        let record = Record::read(&whole, 12).expect("whole");
        assert_eq!(record.owner().expect("a name").to_fqdn(), "a.");
        assert_eq!(record.rdata(), [192, 0, 2, 1]);
    }
}
