//! The record that a signed message ends with (RFC 8945 section 4.2).
//!
//! **Invariant:** what is signed is what stands in front of the record, so a [`Tsig`] knows where it begins.
//! **Not here:** keys and signatures.

use super::question::CLASS_ANY;
use super::record::Record;
use super::{ExpandedName, MessageError};
use crate::name::wire_len;
use crate::record::RecordType;

/// The key is not known here (RFC 8945 section 5.2.1).
pub const BADKEY: u16 = 17;

/// A TSIG record, in place.
#[derive(Clone, Copy, Debug)]
pub struct Tsig<'m> {
    /// The record.
    record: Record<'m>,
    /// The name of the algorithm in wire form, as it was sent.
    pub algorithm: &'m [u8],
    /// When the message was signed, in seconds since 1970.
    pub signed_at_s: u64,
    /// By how many seconds the receiver's clock may differ.
    pub fudge_s: u16,
    /// The signature.
    pub mac: &'m [u8],
    /// The ID that the message had when it was signed.
    pub original_id: u16,
    /// What the sender found wrong with the message that it answers, 0 if nothing.
    pub error: u16,
    /// The sender's time, where that was wrong.
    pub other: &'m [u8],
}

impl<'m> Tsig<'m> {
    /// Reads a record of this type; the names in it are never compressed. Its class is ANY and its TTL 0
    /// (RFC 8945 section 4.2).
    ///
    /// # Errors
    /// [`MessageError::BadRdata`], of another class and TTL too: they are no record's but this one's.
    pub fn read(record: Record<'m>) -> Result<Self, MessageError> {
        let bad_rdata = MessageError::BadRdata { at: record.rdata_at(), rtype: record.rtype };
        Self::read_fields(record).ok_or(bad_rdata)
    }

    /// Reads the fields, if they are all there and nothing else is.
    fn read_fields(record: Record<'m>) -> Option<Self> {
        let rdata = record.rdata();
        let (algorithm, rest) = rdata.split_at_checked(wire_len(rdata).ok()?)?;
        let (&[s0, s1, s2, s3, s4, s5], rest) = rest.split_first_chunk::<6>()?;
        let (fudge_s, rest) = rest.split_first_chunk::<2>()?;
        let (mac, rest) = split_counted(rest)?;
        let (original_id, rest) = rest.split_first_chunk::<2>()?;
        let (error, rest) = rest.split_first_chunk::<2>()?;
        let (other, rest) = split_counted(rest)?;
        let is_one =
            record.rtype == RecordType::TSIG && record.class == CLASS_ANY && record.ttl_s == 0;
        (rest.is_empty() && is_one).then_some(Self {
            record,
            algorithm,
            signed_at_s: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            fudge_s: u16::from_be_bytes(*fudge_s),
            mac,
            original_id: u16::from_be_bytes(*original_id),
            error: u16::from_be_bytes(*error),
            other,
        })
    }

    /// Returns where the record begins: what stands in front of it is signed.
    pub fn at(&self) -> usize {
        self.record.at()
    }

    /// Appends the record that tells the signer, unsigned, what is wrong with its key or signature
    /// (RFC 8945 section 5.3.2). Whoever appends it counts it.
    ///
    /// # Errors
    /// What [`Record::owner`] says of the key's name; nothing is then appended.
    pub(crate) fn push_refusal(&self, out: &mut Vec<u8>, error: u16) -> Result<(), MessageError> {
        let mut key = ExpandedName::new();
        self.record.expand_owner(&mut key)?;
        out.extend_from_slice(&key);
        out.extend_from_slice(&RecordType::TSIG.0.to_be_bytes());
        out.extend_from_slice(&CLASS_ANY.to_be_bytes());
        let no_ttl = 0_u32;
        out.extend_from_slice(&no_ttl.to_be_bytes());
        // A name and a few integers are far below what a length can say.
        let rdata_len = (self.algorithm.len() + INTEGERS_LEN) as u16;
        out.extend_from_slice(&rdata_len.to_be_bytes());
        out.extend_from_slice(self.algorithm);
        out.extend_from_slice(&self.signed_at_s.to_be_bytes()[2..]);
        let no_mac = 0;
        let no_other = 0;
        for integer in [self.fudge_s, no_mac, self.original_id, error, no_other] {
            out.extend_from_slice(&integer.to_be_bytes());
        }
        Ok(())
    }
}

/// Splits what two octets give the length of from what follows.
fn split_counted(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Octets of TSIG RDATA behind the algorithm where there is neither signature nor other data.
const INTEGERS_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that is a header and a TSIG record of the key `k.`.
    fn message(rdata: &[u8]) -> Vec<u8> {
        let head = [&[0; 12][..], b"\x01k\0\0\xfa\0\xff\0\0\0\0\0"].concat();
        [&head[..], &[u8::try_from(rdata.len()).expect("short")], rdata].concat()
    }

    const RDATA: &[u8] = b"\x03md5\0\0\0\x65\0\0\0\x01\x2c\0\x02ab\x12\x34\0\x10\0\x01z";

    #[test]
    fn a_refusal_says_all_that_the_signer_said_but_the_signature() {
        let message = message(RDATA);
        let tsig = Tsig::read(Record::read(&message, 12).expect("whole")).expect("a TSIG");
        assert_eq!(
            (tsig.algorithm, tsig.mac, tsig.other),
            (&b"\x03md5\0"[..], &b"ab"[..], &b"z"[..])
        );
        assert_eq!((tsig.signed_at_s, tsig.fudge_s, tsig.original_id), (0x6500_0000, 300, 0x1234));
        assert_eq!((tsig.error, tsig.at()), (16, 12));
        let mut refusal = vec![0; 12];
        tsig.push_refusal(&mut refusal, BADKEY).expect("a name");
        let again = Tsig::read(Record::read(&refusal, 12).expect("whole")).expect("a TSIG");
        assert_eq!((again.mac, again.other, again.error), (&b""[..], &b""[..], BADKEY));
        assert_eq!((again.signed_at_s, again.original_id), (tsig.signed_at_s, tsig.original_id));
    }

    #[test]
    fn rdata_with_a_field_missing_or_octets_left_over_is_none() {
        let read = |rdata: &[u8]| {
            let message = message(rdata);
            Tsig::read(Record::read(&message, 12).expect("whole")).map(|tsig| tsig.error)
        };
        let bad_rdata = MessageError::BadRdata { at: 25, rtype: RecordType::TSIG };
        for len in 0..RDATA.len() {
            assert_eq!(read(&RDATA[..len]), Err(bad_rdata.clone()), "{len}");
        }
        assert_eq!(read(&[RDATA, b"x"].concat()), Err(bad_rdata));
    }

    #[test]
    fn a_record_of_another_class_or_with_a_ttl_is_none() {
        let read = |at: usize, octet: u8| {
            let mut message = message(RDATA);
            message[at] = octet;
            Tsig::read(Record::read(&message, 12).expect("whole")).map(|tsig| tsig.error)
        };
        let (class_at, ttl_at) = (18, 22);
        let bad_rdata = Err(MessageError::BadRdata { at: 25, rtype: RecordType::TSIG });
        assert_eq!(read(class_at, 255), Ok(16));
        assert_eq!(read(class_at, 1), bad_rdata);
        assert_eq!(read(ttl_at, 1), bad_rdata);
    }
}
