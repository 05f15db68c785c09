//! Any octets are a message or an error; what is read is written again as it was, and the short way that a
//! server reads queries agrees with the long one.
//!
//! The first octet says how many records each section has behind a question for `a.`, or that the rest are raw
//! octets.

#![no_main]

use aspen_dns::limits::MESSAGE_OCTETS_MAX;
use aspen_dns::message::{Full, Section};
use aspen_dns::message::query::Rest;
use aspen_dns::message::reader::Message;
use aspen_dns::message::writer::{MessageWriter, NewRecord};
use aspen_dns::name::Name;
use aspen_dns::record::RecordType;
use hickory_proto::op::Message as OtherMessage;
use libfuzzer_sys::fuzz_target;

/// A record with its names expanded.
#[derive(Debug, Eq, PartialEq)]
struct Plain {
    section: Section,
    owner: Name,
    rtype: RecordType,
    class: u16,
    ttl_s: u32,
    rdata: Vec<u8>,
}

/// Expands all records but OPT and TSIG; `None` if one of them is malformed.
fn records(message: &Message<'_>) -> Option<Vec<Plain>> {
    let mut records = Vec::new();
    for section in Section::ALL {
        let mut count = 0;
        for record in message.records(section) {
            count += 1;
            if matches!(record.rtype, RecordType::OPT | RecordType::TSIG) {
                continue;
            }
            let mut rdata = Vec::new();
            record.push_rdata(&mut rdata).ok()?;
            let (owner, rtype) = (record.owner().ok()?, record.rtype);
            let (class, ttl_s) = (record.class, record.ttl_s);
            records.push(Plain { section, owner, rtype, class, ttl_s, rdata });
        }
        assert_eq!(count, message.header().counts()[1 + section as usize]);
    }
    Some(records)
}

/// Writes records into a message with this question.
fn write(message: &Message<'_>, qname: &Name, records: &[Plain]) -> Result<Vec<u8>, Full> {
    let (mut out, header) = (Vec::new(), message.header());
    let limit = MESSAGE_OCTETS_MAX as u16;
    let flags = header.flags() & 0x8700;
    let mut writer = MessageWriter::new(&mut out, header.id, header.opcode(), flags, limit);
    if let Some(question) = message.question() {
        writer.push_question(qname, question.qtype, question.qclass)?;
    }
    for Plain { section, owner, rtype, class, ttl_s, rdata } in records {
        let (rtype, class, ttl_s) = (*rtype, *class, *ttl_s);
        writer.push(*section, &NewRecord { owner, rtype, class, ttl_s, rdata })?;
    }
    writer.finish();
    Ok(out)
}

/// Returns the octets of a message, whole or not.
fn octets(drawn: &[u8]) -> Vec<u8> {
    let Some((&counts, rest)) = drawn.split_first() else { return Vec::new() };
    if counts & 0xc0 == 0xc0 {
        return rest.to_vec();
    }
    let [answers, authorities, additionals] = [0, 2, 4].map(|bits| counts >> bits & 3);
    let head = [0, 7, 0x84, 0, 0, 1, 0, answers, 0, authorities, 0, additionals];
    [&head[..], b"\x01a\0\0\x01\0\x01", rest].concat()
}

fuzz_target!(|drawn: &[u8]| {
    let octets = &*octets(drawn);
    let Ok(message) = Message::read(octets) else { return };
    for section in Section::ALL {
        let _ = message.rrsets(section);
    }
    if let Some(question) = message.question() {
        let rest = Rest::read(octets, message.header(), question.end());
        if let Ok(rest) = rest {
            assert_eq!(rest.tsig_at, message.tsig().map(|tsig| tsig.at()));
            let plain = |edns| aspen_dns::message::edns::Edns { wants_nsid: false, ..edns };
            assert_eq!(rest.edns.map(plain), message.edns());
        } else {
            // Options that do not add up are all that the long way leaves aside.
            assert!(message.opt().is_some_and(|opt| !opt.rdata().is_empty()));
        }
    }
    if let Ok(other) = OtherMessage::from_vec(octets) {
        assert_eq!(other.answers.len(), usize::from(message.header().counts()[1]));
        assert_eq!(u16::from(other.metadata.response_code), message.rcode());
    }
    let Some(records) = records(&message) else { return };
    let qname = message.question().map_or(Name::root(), |question| {
        Name::from_wire(&question.qname.to_ascii_lowercase()).expect("it was read as a name")
    });
    // Names that are expanded may make it longer than a message.
    let Ok(written) = write(&message, &qname, &records) else { return };
    let again = Message::read(&written).expect("what we write we read");
    assert_eq!(self::records(&again).as_ref(), Some(&records));
    assert_eq!(
        again.question().map(|it| (it.qtype, it.qclass)),
        message.question().map(|it| (it.qtype, it.qclass))
    );
});
