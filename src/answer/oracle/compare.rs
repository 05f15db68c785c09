//! Compares a reply, read by hickory-proto, with what the oracle says.
//!
//! Names in RDATA that may be compressed are compared without case: they may point into the
//! question, which has its own (RFC 4343 section 4.1).
//!
//! **Not here:** header fields other than rcode and AA, the question, OPT.

use std::fmt::Write;

use hickory_proto::op::Message;
use hickory_proto::rr;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::{Expected, Record, covered};
use crate::name::Name;
use crate::record::{RecordType, rdata};

/// Says in which way a reply differs from what is expected, line by line; nothing if it does not.
///
/// Sections are compared as multisets.
pub fn difference(expected: &Expected, reply: &[u8]) -> Option<String> {
    let Some(found) = read(reply) else {
        return Some(format!("hickory-proto does not read the reply: {reply:02x?}"));
    };
    let expected = sorted(expected.clone());
    let found = sorted(found);
    if found == expected {
        return None;
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "rcode {} aa {}", found.rcode, found.is_authoritative);
    let _ = writeln!(text, "not {} aa {}", expected.rcode, expected.is_authoritative);
    for (name, found, expected) in [
        ("answer", found.answer, expected.answer),
        ("authority", found.authority, expected.authority),
        ("additional", found.additional, expected.additional),
    ] {
        for record in &found {
            let mark = if expected.contains(record) { ' ' } else { '+' };
            let _ = writeln!(text, "{mark} {name} {record}");
        }
        for record in expected.iter().filter(|record| !found.contains(record)) {
            let _ = writeln!(text, "- {name} {record}");
        }
    }
    Some(text)
}

/// Says in which way a truncated reply is no part of what is expected; nothing if it is one.
///
/// What it holds are whole RRsets (RFC 2181 section 9).
pub fn part_difference(expected: &Expected, reply: &[u8]) -> Option<String> {
    let Some(mut found) = read(reply) else { return difference(expected, reply) };
    let expected = sorted(expected.clone());
    for (found, expected) in [
        (&mut found.answer, &expected.answer),
        (&mut found.authority, &expected.authority),
        (&mut found.additional, &expected.additional),
    ] {
        // What the reply has of no RRset at all was left out.
        let left_out = expected
            .iter()
            .filter(|record| !found.iter().any(|found| rrset_of(found) == rrset_of(record)));
        let left_out: Vec<Record> = left_out.cloned().collect();
        found.extend(left_out);
    }
    let found = sorted(found);
    (found != expected).then(|| format!("{found:#?}\nis no part of {expected:#?}"))
}

/// Names the RRset that a record is of; signatures are apart by the type that they cover.
fn rrset_of(record: &Record) -> (&Name, RecordType, Option<RecordType>) {
    let covered = (record.rtype == RecordType::RRSIG).then(|| covered(&record.rdata));
    (&record.owner, record.rtype, covered)
}

/// Reads a reply with hickory-proto; `None` if that fails.
pub fn read(reply: &[u8]) -> Option<Expected> {
    let message = Message::from_vec(reply).ok()?;
    let section = |records: &[rr::Record]| records.iter().map(record).collect::<Option<Vec<_>>>();
    Some(Expected {
        rcode: message.metadata.response_code.into(),
        is_authoritative: message.metadata.authoritative,
        answer: section(&message.answers)?,
        authority: section(&message.authorities)?,
        additional: section(&message.additionals)?,
    })
}

/// Takes over a record.
fn record(record: &rr::Record) -> Option<Record> {
    let mut rdata = Vec::new();
    let mut encoder = BinEncoder::new(&mut rdata);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.data.emit(&mut encoder).ok()?;
    let mut owner = Vec::new();
    for label in &record.name {
        owner.push(u8::try_from(label.len()).ok()?);
        owner.extend_from_slice(label);
    }
    owner.push(0);
    let (rtype, ttl_s) = (RecordType(record.record_type().into()), record.ttl);
    Some(Record { owner: Name::from_wire(&owner).ok()?, rtype, ttl_s, rdata })
}

/// Puts the records of each section in one order, and compressible names in lower case.
fn sorted(mut expected: Expected) -> Expected {
    for section in [&mut expected.answer, &mut expected.authority, &mut expected.additional] {
        let is_compressible = |rtype: RecordType| rtype.compressible_names().is_some();
        for record in section.iter_mut().filter(|record| is_compressible(record.rtype)) {
            record.rdata = rdata::canonical(record.rtype, &record.rdata).into_owned();
        }
        section.sort();
    }
    expected
}

/// Presentation form.
impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        rdata::write(self.rtype, &self.rdata, &mut text);
        write!(f, "{} {} {} {text}", self.owner, self.ttl_s, self.rtype)
    }
}
