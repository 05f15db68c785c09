//! A response in the form in which it is compared: rcode, AA, TC and three sections of records.
//!
//! Names compare without case, records of a section in no order. A record that stands twice in a
//! section of a reference's counts once; in one of ours it makes a difference.

use std::error::Error;

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, rdata};
use hickory_proto::op::Message;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

/// What is compared of a response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Response {
    /// The rcode's name.
    pub(crate) rcode: String,
    /// The AA bit.
    pub(crate) is_authoritative: bool,
    /// The TC bit.
    pub(crate) is_truncated: bool,
    /// The sections answer, authority and additional, each sorted.
    pub(crate) sections: [Vec<Record>; 3],
}

/// A record.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Record {
    /// The owner name.
    pub(crate) owner: Name,
    /// The type.
    pub(crate) rtype: RecordType,
    /// The TTL in seconds.
    pub(crate) ttl_s: u32,
    /// The RDATA in presentation form and lower case.
    pub(crate) rdata: String,
}

/// Names of the sections.
pub(crate) const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];

impl Response {
    /// Reads a response that dnspython printed, line by line.
    pub(crate) fn from_lines(lines: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut response = Self::default();
        let mut section = None;
        for line in lines {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (first, section) {
                (";QUESTION", _) => section = Some(0),
                (";ANSWER", _) => section = Some(1),
                (";AUTHORITY", _) => section = Some(2),
                (";ADDITIONAL", _) => section = Some(3),
                ("id" | "opcode", None) | (_, Some(0)) => {}
                ("rcode", None) => response.rcode = rest.to_owned(),
                ("flags", None) => {
                    response.is_authoritative = rest.split(' ').any(|flag| flag == "AA");
                    response.is_truncated = rest.split(' ').any(|flag| flag == "TC");
                }
                (_, Some(index)) => response.sections[index - 1].push(Record::from_line(line)?),
                (_, None) => return Err(format!("unknown line {line:?}").into()),
            }
        }
        for records in &mut response.sections {
            records.sort();
            records.dedup();
        }
        Ok(response)
    }

    /// Reads a response's octets.
    pub(crate) fn from_wire(octets: &[u8]) -> Result<Self, Box<dyn Error>> {
        let message = Message::from_vec(octets)?;
        let metadata = &message.metadata;
        let read = |records: &[hickory_proto::rr::Record]| {
            let mut records =
                records.iter().map(Record::from_hickory).collect::<Result<Vec<_>, _>>()?;
            records.sort();
            Ok::<_, Box<dyn Error>>(records)
        };
        Ok(Self {
            rcode: rcode_name(metadata.response_code.into()),
            is_authoritative: metadata.authoritative,
            is_truncated: metadata.truncation,
            sections: [
                read(&message.answers)?,
                read(&message.authorities)?,
                read(&message.additionals)?,
            ],
        })
    }

    /// Writes the response on one line.
    pub(crate) fn show(&self) -> String {
        let mut text = self.rcode.clone();
        text += if self.is_authoritative { " aa" } else { "" };
        text += if self.is_truncated { " tc" } else { "" };
        for (name, records) in SECTIONS.iter().zip(&self.sections) {
            if !records.is_empty() {
                let records: Vec<String> = records.iter().map(Record::show).collect();
                text += &format!(" | {name}: {}", records.join(", "));
            }
        }
        text
    }
}

impl Record {
    /// Reads `owner ttl IN type rdata`.
    fn from_line(line: &str) -> Result<Self, Box<dyn Error>> {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let [owner, ttl_s, "IN", rtype, text] = words[..] else {
            return Err(format!("no record: {line:?}").into());
        };
        let rtype: RecordType = rtype.parse()?;
        let octets = rdata::parse(rtype, text, &Name::root())?;
        Ok(Self::new(Name::from_text(owner)?, rtype, ttl_s.parse()?, &octets))
    }

    /// Takes a record over from hickory's message.
    fn from_hickory(record: &hickory_proto::rr::Record) -> Result<Self, Box<dyn Error>> {
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        record.data.emit(&mut encoder)?;
        let owner = Name::from_text(&record.name.to_ascii())?;
        Ok(Self::new(owner, RecordType(record.record_type().into()), record.ttl, &octets))
    }

    /// Makes a record of RDATA in wire form.
    fn new(owner: Name, rtype: RecordType, ttl_s: u32, octets: &[u8]) -> Self {
        let mut text = String::new();
        rdata::write(rtype, octets, &mut text);
        Self { owner, rtype, ttl_s, rdata: text.to_lowercase() }
    }

    /// Writes the record.
    fn show(&self) -> String {
        format!("{} {} {} {}", self.owner.to_fqdn(), self.ttl_s, self.rtype, self.rdata)
    }
}

/// Returns an rcode's name as dnspython prints it.
fn rcode_name(rcode: u16) -> String {
    match rcode {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        6 => "YXDOMAIN".to_owned(),
        other => format!("RCODE{other}"),
    }
}
