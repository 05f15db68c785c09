//! A whole message, section by section, written by hickory-proto's encoder.
//!
//! Owner names are compressed (RFC 1035 section 4.1.4), RDATA is written as it is given.
//!
//! **Invariant:** a question or record is written whole or not at all; the message never exceeds its limit, and
//! its header counts what is there.
//! **Not here:** replies out of a snapshot, which are copied from what was prepared (`wire::reply`).

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode};
use hickory_proto::rr::Name as WireName;
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable, BinEncoder, Place};

use super::{Full, Section, header};
use crate::name::Name;
use crate::record::RecordType;

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The owner.
    pub owner: &'a Name,
    /// The type.
    pub rtype: RecordType,
    /// The class.
    pub class: u16,
    /// The TTL in seconds.
    pub ttl_s: u32,
    /// The RDATA.
    pub rdata: &'a [u8],
}

/// A message under construction.
pub struct MessageWriter<'o> {
    /// Writes it.
    encoder: BinEncoder<'o>,
    /// Where the header comes.
    header: Place<Header>,
    /// What the header says beside the counts.
    metadata: Metadata,
    /// QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT.
    counts: [u16; 4],
}

impl<'o> MessageWriter<'o> {
    /// Begins a message with this ID, opcode and flags ([`header::FLAG_AA`] and its like) in `out`, which is
    /// cleared. It will have `limit` octets at most, and room for a header at least.
    pub fn new(out: &'o mut Vec<u8>, id: u16, opcode: u8, flags: u16, limit: u16) -> Self {
        out.clear();
        let mut encoder = BinEncoder::new(out);
        encoder.set_max_size(limit.max(super::HEADER_LEN as u16));
        let header = encoder.place().expect("the limit has room for a header");
        let has = |flag| flags & flag != 0;
        let kind = match has(header::FLAG_QR) {
            true => MessageType::Response,
            false => MessageType::Query,
        };
        let mut metadata = Metadata::new(id, kind, OpCode::from_u8(opcode));
        metadata.authoritative = has(header::FLAG_AA);
        metadata.truncation = has(header::FLAG_TC);
        metadata.recursion_desired = has(header::FLAG_RD);
        Self { encoder, header, metadata, counts: [0; 4] }
    }

    /// Appends the question.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push_question(
        &mut self,
        qname: &Name,
        qtype: RecordType,
        class: u16,
    ) -> Result<(), Full> {
        debug_assert_eq!(self.counts, [0; 4], "the question comes first, and alone");
        self.push_whole(0, |encoder| {
            wire_name(qname).emit(encoder)?;
            encoder.emit_u16(qtype.0)?;
            encoder.emit_u16(class)
        })
    }

    /// Appends a record; sections are filled in their order.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&mut self, section: Section, record: &NewRecord<'_>) -> Result<(), Full> {
        let index = 1 + section as usize;
        debug_assert!(self.counts[index + 1..].iter().all(|count| *count == 0), "in their order");
        let rdata_len = u16::try_from(record.rdata.len()).map_err(|_| Full)?;
        self.push_whole(index, |encoder| {
            wire_name(record.owner).emit(encoder)?;
            encoder.emit_u16(record.rtype.0)?;
            encoder.emit_u16(record.class)?;
            encoder.emit_u32(record.ttl_s)?;
            encoder.emit_u16(rdata_len)?;
            encoder.emit_vec(record.rdata)
        })
    }

    /// Appends an OPT record without options (RFC 6891 section 6.1).
    ///
    /// # Errors
    /// [`Full`].
    pub fn push_opt(&mut self, udp_octets: u16, is_dnssec_ok: bool) -> Result<(), Full> {
        let mut edns = Edns::new();
        edns.set_max_payload(udp_octets).set_dnssec_ok(is_dnssec_ok);
        self.push_whole(1 + Section::Additional as usize, |encoder| edns.emit(encoder))
    }

    /// Appends something that `counts[index]` counts, or nothing.
    fn push_whole(
        &mut self,
        index: usize,
        emit: impl FnOnce(&mut BinEncoder<'o>) -> Result<(), ProtoError>,
    ) -> Result<(), Full> {
        let start = self.encoder.offset();
        let count = self.counts[index].checked_add(1).ok_or(Full)?;
        if emit(&mut self.encoder).is_err() {
            self.encoder.set_offset(start);
            self.encoder.trim();
            return Err(Full);
        }
        self.counts[index] = count;
        Ok(())
    }

    /// Writes the header: the message is done.
    pub fn finish(mut self) {
        let [queries, answers, authorities, additionals] = self.counts;
        let counts = HeaderCounts { queries, answers, authorities, additionals };
        let header = Header { metadata: self.metadata, counts };
        let written = self.encoder.emit_at(self.header, header);
        debug_assert!(written.is_ok(), "its place was kept");
        debug_assert_eq!(
            self.encoder.offset(),
            self.encoder.len(),
            "nothing is left of what was taken back"
        );
    }
}

/// Returns a name as hickory-proto has it.
fn wire_name(name: &Name) -> WireName {
    WireName::from_bytes(name.as_wire()).expect("both take what RFC 1035 takes for a name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::{FLAG_AA, FLAG_QR, FLAG_RD, FLAG_TC, opcode};
    use crate::message::question::CLASS_IN;
    use crate::message::reader::Message;
    use crate::record::Rrset;
    use hickory_proto::op::Message as OtherMessage;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    #[test]
    fn what_is_written_is_read_back_here_and_by_hickory_proto() {
        let mut octets = Vec::new();
        let flags = FLAG_QR | FLAG_AA | FLAG_TC | FLAG_RD;
        let mut writer = MessageWriter::new(&mut octets, 0x1234, opcode::NOTIFY, flags, 512);
        writer.push_question(&name("a.example"), RecordType::SOA, CLASS_IN).expect("room");
        let owner = &name("b.example");
        let (rtype, class, ttl_s) = (RecordType::A, CLASS_IN, 7);
        let record = NewRecord { owner, rtype, class, ttl_s, rdata: &[192, 0, 2, 1] };
        writer.push(Section::Answer, &record).expect("room");
        writer.push(Section::Additional, &record).expect("room");
        writer.push_opt(1_232, true).expect("room");
        writer.finish();
        let message = Message::read(&octets).expect("whole");
        assert_eq!((message.header().id, message.header().opcode()), (0x1234, opcode::NOTIFY));
        assert_eq!((message.header().flags(), message.header().counts()), (0xa700, [1, 1, 0, 2]));
        assert_eq!(message.question().map(|question| question.qtype), Some(RecordType::SOA));
        assert_eq!(
            message.edns().map(|edns| (edns.udp_octets, edns.is_dnssec_ok)),
            Some((1_232, true))
        );
        let expected = Rrset::new(owner.clone(), rtype, ttl_s, [[192, 0, 2, 1]]).expect("a record");
        assert_eq!(message.rrsets(Section::Answer), Ok(vec![expected]));
        assert_eq!(octets[27..31], *b"\x01b\xc0\x0e", "its parent stands in the question");
        let other = OtherMessage::from_vec(&octets).expect("hickory-proto reads it");
        assert_eq!(other.to_vec().expect("and writes it"), octets);
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let (owner, class) = (&name("long.example"), CLASS_IN);
        let record = |rdata| NewRecord { owner, rtype: RecordType::TXT, class, ttl_s: 1, rdata };
        let whole_len = 12 + 18 + 12 + 4;
        for limit in [whole_len - 1, whole_len] {
            let mut octets = vec![9; 3];
            let mut writer = MessageWriter::new(&mut octets, 1, opcode::QUERY, 0, limit);
            writer.push_question(owner, RecordType::TXT, class).expect("room");
            let pushed = writer.push(Section::Answer, &record(b"\x03abc"));
            assert_eq!(pushed, if limit == whole_len { Ok(()) } else { Err(Full) }, "{limit}");
            assert_eq!(writer.push(Section::Authority, &record(&[0; 70_000])), Err(Full));
            writer.finish();
            let message = Message::read(&octets).expect("whole");
            let counts = [1, u16::from(limit == whole_len), 0, 0];
            assert_eq!(message.header().counts(), counts);
        }
    }
}
