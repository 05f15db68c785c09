//! Reads the replies of our own responder back into RRsets.
//!
//! RFC 1035 section 4.1. Names in RDATA are expanded for the types that may be compressed.
//!
//! **Invariant:** never panics and always ends, whatever the octets are: a pointer only leads back.
//! **Not here:** what a reply means (`lookup`).

use crate::limits::NAME_OCTETS_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::wire::FLAG_TC;
use crate::zone::prepare::name_layout;

/// What a reply says.
#[derive(Debug)]
pub(super) struct ReplyView {
    /// The RCODE of the header.
    pub(super) rcode: u16,
    /// Whether something did not fit.
    pub(super) is_truncated: bool,
    /// The answer section.
    pub(super) answers: Vec<Rrset>,
    /// The authority section.
    pub(super) authority: Vec<Rrset>,
}

/// Reads a reply with at most one question up to its additional section; `None` if it is malformed.
pub(super) fn read(message: &[u8]) -> Option<ReplyView> {
    let mut reader = Reader { message, at: 2 };
    let flags = reader.u16()?;
    let (questions, answers, authority) = (reader.u16()?, reader.u16()?, reader.u16()?);
    reader.at += 2;
    for _ in 0..questions {
        reader.name()?;
        reader.at += 4;
    }
    Some(ReplyView {
        rcode: flags & 0x000f,
        is_truncated: flags & FLAG_TC != 0,
        answers: reader.rrsets(answers)?,
        authority: reader.rrsets(authority)?,
    })
}

/// A place in a message.
struct Reader<'m> {
    /// The message.
    message: &'m [u8],
    /// Where it is read on.
    at: usize,
}

impl Reader<'_> {
    /// Reads a number.
    fn u16(&mut self) -> Option<u16> {
        let octets = self.message.get(self.at..)?.first_chunk::<2>()?;
        self.at += 2;
        Some(u16::from_be_bytes(*octets))
    }

    /// Reads a section: records that follow each other with one owner and type are one RRset.
    fn rrsets(&mut self, count: u16) -> Option<Vec<Rrset>> {
        let (mut rrsets, mut rows) = (Vec::new(), Vec::<Record>::new());
        for _ in 0..count {
            let record = self.record()?;
            let is_next =
                |first: &Record| (&first.owner, first.rtype) == (&record.owner, record.rtype);
            if !rows.first().is_some_and(is_next) {
                rrsets.extend(rrset(&mut rows));
            }
            rows.push(record);
        }
        rrsets.extend(rrset(&mut rows));
        Some(rrsets)
    }

    /// Reads a record.
    fn record(&mut self) -> Option<Record> {
        let owner = Name::from_wire(&self.name()?.to_ascii_lowercase()).ok()?;
        let (rtype, _class) = (RecordType(self.u16()?), self.u16()?);
        let ttl_s = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let end = usize::from(self.u16()?) + self.at;
        let mut rdata = Vec::new();
        if let Some(layout) = name_layout(rtype) {
            rdata.extend_from_slice(self.message.get(self.at..self.at + layout.skip)?);
            self.at += layout.skip;
            for _ in 0..layout.names {
                rdata.extend_from_slice(&self.name()?);
            }
        }
        rdata.extend_from_slice(self.message.get(self.at..end)?);
        self.at = end;
        Some(Record { owner, rtype, ttl_s, rdata })
    }

    /// Reads a name and follows its pointers.
    fn name(&mut self) -> Option<Vec<u8>> {
        let (mut name, mut at, mut end) = (Vec::new(), self.at, None);
        loop {
            let len = *self.message.get(at)?;
            if len & 0xc0 == 0xc0 {
                let target = usize::from(len & 0x3f) << 8 | usize::from(*self.message.get(at + 1)?);
                end.get_or_insert(at + 2);
                if target >= at {
                    return None;
                }
                at = target;
                continue;
            }
            let next = at + 1 + usize::from(len);
            name.extend_from_slice(self.message.get(at..next)?);
            if name.len() > NAME_OCTETS_MAX {
                return None;
            }
            at = next;
            if len == 0 {
                self.at = end.unwrap_or(at);
                return Some(name);
            }
        }
    }
}

/// A record whose names are expanded.
struct Record {
    /// The owner.
    owner: Name,
    /// The type.
    rtype: RecordType,
    /// The TTL in seconds.
    ttl_s: u32,
    /// The RDATA.
    rdata: Vec<u8>,
}

/// Takes the records of one RRset.
fn rrset(rows: &mut Vec<Record>) -> Option<Rrset> {
    let first = rows.first()?;
    let (owner, rtype, ttl_s) = (first.owner.clone(), first.rtype, first.ttl_s);
    Rrset::new(owner, rtype, ttl_s, rows.drain(..).map(|record| record.rdata)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_octets_are_none_and_never_a_panic() {
        let reply = b"\0\0\x84\0\0\x01\0\x01\0\0\0\0\x01a\0\0\x02\0\x01\
            \xc0\x0c\0\x02\0\x01\0\0\0\x05\0\x04\x01b\xc0\x0c";
        let view = read(reply).expect("a reply");
        let ns = [1, b'b', 1, b'a', 0];
        assert_eq!((view.answers.len(), view.answers[0].rdata.first()), (1, &ns[..]));
        for len in 0..reply.len() {
            assert!(read(&reply[..len]).is_none(), "{len}");
        }
        for at in 0..reply.len() {
            for octet in 0..=u8::MAX {
                let mut other = *reply;
                other[at] = octet;
                let _ = read(&other);
            }
        }
        let mut circle = *reply;
        circle[reply.len() - 1] = reply.len() as u8 - 4;
        assert!(read(&circle).is_none(), "the name leads to itself");
    }
}
