//! A whole message, any section of it.
//!
//! RFC 1035 section 4.1, RFC 9619 (one question at most), RFC 6891 section 6.1.1 and RFC 8945 section 5.1 (one
//! OPT record, one TSIG record that is the last).
//!
//! **Invariant:** a [`Message`] has all the records that its header counts, each whole, and nothing behind
//! them; what their names and RDATA are is only known when they are asked for.
//! **Not here:** the short way that a server reads queries (`message::query`), what a message means.

use super::edns::Edns;
use super::header::Header;
use super::question::Question;
use super::record::Record;
use super::tsig::Tsig;
use super::{HEADER_LEN, MessageError, Section};
use crate::limits::TTL_S_MAX;
use crate::name::wire_len;
use crate::record::{RecordType, Rrset};

/// A message that has been read.
#[derive(Clone, Debug)]
pub struct Message<'m> {
    /// All of it.
    octets: &'m [u8],
    /// The header.
    header: Header,
    /// The question, if there is one.
    question: Option<Question<'m>>,
    /// Where each section begins.
    starts: [usize; 3],
    /// The OPT record.
    opt: Option<Record<'m>>,
    /// The TSIG record.
    tsig: Option<Tsig<'m>>,
}

impl<'m> Message<'m> {
    /// Reads a message.
    ///
    /// # Errors
    /// Every [`MessageError`] but those of names and RDATA that are not looked at.
    pub fn read(octets: &'m [u8]) -> Result<Self, MessageError> {
        let no_header = MessageError::NoHeader { octets: octets.len() };
        let header = Header::read(octets).ok_or(no_header)?;
        let [questions, counts @ ..] = header.counts();
        let question = match questions {
            0 => None,
            1 => Some(read_question(octets)?),
            _ => return Err(MessageError::ManyQuestions { count: questions }),
        };
        let mut at = question.map_or(HEADER_LEN, |question| question.end());
        let (mut starts, mut opt, mut tsig) = ([at; 3], None, None);
        for ((section, start), count) in Section::ALL.into_iter().zip(&mut starts).zip(counts) {
            *start = at;
            for index in 0..count {
                let record = Record::read(octets, at)?;
                let misplaced = MessageError::Misplaced { at, rtype: record.rtype };
                let is_additional = section == Section::Additional;
                match record.rtype {
                    RecordType::OPT if is_additional && opt.is_none() && record.is_at_root() => {
                        opt = Some(record);
                    }
                    RecordType::TSIG if is_additional && index + 1 == count => {
                        tsig = Some(Tsig::read(record)?);
                    }
                    RecordType::OPT | RecordType::TSIG => return Err(misplaced),
                    _ => {}
                }
                at = record.end();
            }
        }
        debug_assert!(at <= octets.len());
        if at < octets.len() {
            return Err(MessageError::TrailingOctets { at });
        }
        Ok(Self { octets, header, question, starts, opt, tsig })
    }

    /// Returns the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the question, if there is one.
    pub fn question(&self) -> Option<Question<'m>> {
        self.question
    }

    /// Returns the RCODE with the upper bits that an OPT record has (RFC 6891 section 6.1.3).
    pub fn rcode(&self) -> u16 {
        let upper = self.opt.map_or(0, |opt| (opt.ttl_s >> 24) as u16);
        upper << 4 | self.header.flags() & 15
    }

    /// Returns what the OPT record says, its options left aside.
    pub fn edns(&self) -> Option<Edns> {
        self.opt.as_ref().and_then(Edns::of)
    }

    /// Returns the OPT record.
    pub fn opt(&self) -> Option<&Record<'m>> {
        self.opt.as_ref()
    }

    /// Returns the TSIG record.
    pub fn tsig(&self) -> Option<&Tsig<'m>> {
        self.tsig.as_ref()
    }

    /// Iterates over the records of a section, OPT and TSIG included.
    pub fn records(&self, section: Section) -> impl Iterator<Item = Record<'m>> + use<'m> {
        let [_, counts @ ..] = self.header.counts();
        let (octets, mut at) = (self.octets, self.starts[section as usize]);
        (0..counts[section as usize]).map_while(move |_| {
            let record = Record::read(octets, at).ok()?;
            at = record.end();
            Some(record)
        })
    }

    /// Returns the RRsets of a section, owners in canonical form and RDATA expanded: records that follow
    /// each other with one owner and type are one RRset, with the TTL of the first.
    ///
    /// # Errors
    /// What is wrong with a name or with RDATA.
    pub fn rrsets(&self, section: Section) -> Result<Vec<Rrset>, MessageError> {
        let mut rrsets = Vec::new();
        let mut begun: Option<Begun> = None;
        for record in self.records(section) {
            if matches!(record.rtype, RecordType::OPT | RecordType::TSIG) {
                continue;
            }
            let (owner, mut rdata) = (record.owner()?, Vec::new());
            record.push_rdata(&mut rdata)?;
            match &mut begun {
                Some(begun) if begun.owner == owner && begun.record.rtype == record.rtype => {
                    begun.rdata.push(rdata);
                }
                _ => {
                    let next = Begun { owner, record, rdata: vec![rdata] };
                    rrsets.extend(begun.replace(next).map(Begun::end).transpose()?);
                }
            }
        }
        rrsets.extend(begun.map(Begun::end).transpose()?);
        Ok(rrsets)
    }
}

/// An RRset of which further records may follow.
struct Begun<'m> {
    /// The owner.
    owner: crate::name::Name,
    /// The first record.
    record: Record<'m>,
    /// The RDATA of all of them.
    rdata: Vec<Vec<u8>>,
}

impl Begun<'_> {
    /// Takes the RRset as it is.
    fn end(self) -> Result<Rrset, MessageError> {
        let Self { owner, record, rdata } = self;
        let (at, rtype) = (record.rdata_at(), record.rtype);
        // RFC 2181 section 8: with the highest bit set it is read as 0.
        let ttl_s = if record.ttl_s > TTL_S_MAX { 0 } else { record.ttl_s };
        let rrset = Rrset::new(owner, rtype, ttl_s, rdata);
        rrset.map_err(|_| MessageError::BadRdata { at, rtype })
    }
}

/// Reads the question, whose name is never compressed: nothing stands in front of it.
fn read_question(octets: &[u8]) -> Result<Question<'_>, MessageError> {
    let at = HEADER_LEN;
    let name_len = wire_len(&octets[at..]).map_err(|_| MessageError::BadName { at })?;
    Question::read(octets, name_len).map_err(|_| MessageError::CutShort { at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"\0\0\x84\0\0\x01\0\x01\0\0\0\x01\x01a\0\0\x02\0\x01\
        \xc0\x0c\0\x02\0\x01\0\0\0\x05\0\x04\x01b\xc0\x0c\
        \0\0\x29\x04\xd0\x01\0\x80\0\0\0";

    #[test]
    fn a_reply_is_read_whole() {
        let message = Message::read(REPLY).expect("a reply");
        let rrsets = message.rrsets(Section::Answer).expect("an RRset");
        let ns = [1, b'b', 1, b'a', 0];
        assert_eq!((rrsets.len(), rrsets[0].rdata.first(), rrsets[0].ttl_s), (1, &ns[..], 5));
        assert_eq!(
            (message.rcode(), message.question().map(|it| it.qtype)),
            (16, Some(RecordType::NS))
        );
        let edns = message.edns().expect("an OPT record");
        assert_eq!((edns.udp_octets, edns.is_dnssec_ok), (1_232, true));
        assert!(message.rrsets(Section::Additional).expect("whole").is_empty(), "OPT is no data");
        assert!(message.tsig().is_none());
    }

    #[test]
    fn a_ttl_with_the_highest_bit_is_read_as_zero() {
        let ttl_at = REPLY.len() - 11 - 4 - 2 - 4;
        for (ttl, ttl_s) in
            [([0x7f, 255, 255, 255], TTL_S_MAX), ([0x80, 0, 0, 0], 0), ([255; 4], 0)]
        {
            let mut reply = REPLY.to_vec();
            reply[ttl_at..ttl_at + 4].copy_from_slice(&ttl);
            let message = Message::read(&reply).expect("a reply");
            let rrsets = message.rrsets(Section::Answer).expect("an RRset");
            assert_eq!(rrsets[0].ttl_s, ttl_s, "RFC 2181 section 8");
        }
    }

    #[test]
    fn malformed_octets_are_errors_and_never_a_panic() {
        let read = |octets: &[u8]| {
            let message = Message::read(octets)?;
            Section::ALL.into_iter().try_for_each(|section| message.rrsets(section).map(drop))
        };
        for len in 0..REPLY.len() {
            assert!(read(&REPLY[..len]).is_err(), "{len}");
        }
        let at = REPLY.len();
        assert_eq!(read(&[REPLY, b"x"].concat()), Err(MessageError::TrailingOctets { at }));
        for at in 0..REPLY.len() {
            for octet in 0..=u8::MAX {
                let mut other = REPLY.to_vec();
                other[at] = octet;
                let _ = read(&other);
            }
        }
        let mut circle = REPLY.to_vec();
        circle[at - 12] = 33;
        let pointer = MessageError::ForwardPointer { at: at - 13 };
        assert_eq!(read(&circle), Err(pointer), "the name leads to itself");
        let mut twice = [REPLY, &REPLY[at - 11..]].concat();
        twice[11] = 2;
        let misplaced = MessageError::Misplaced { at, rtype: RecordType::OPT };
        assert_eq!(read(&twice), Err(misplaced));
    }
}
