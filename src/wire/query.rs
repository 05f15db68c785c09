//! Reads a query's octets, without trust and without allocation.
//!
//! The common query (one question, at most one plain OPT record) is read in one pass; anything
//! else takes the long way, which still looks at each octet once. Counts in the header are only
//! ever compared with what is there.
//! RFC 1035 section 4.1, RFC 6891 section 6.1, RFC 9619 (QDCOUNT is one).
//!
//! **Invariant:** never panics, never loops longer than the packet is long.
//! **Not here:** what to answer (`responder`).

use crate::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};
use crate::record::RecordType;
use crate::zone::prepare::HEADER_LEN;

/// The class IN.
pub const CLASS_IN: u16 = 1;
/// The class CH (RFC 1035 section 3.2.4).
pub const CLASS_CHAOS: u16 = 3;
/// The class ANY.
pub const CLASS_ANY: u16 = 255;

/// A query's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The message's ID.
    pub id: u16,
    /// From the top: the flags, opcode and rcode as octets 2 and 3 have them, then QDCOUNT, ANCOUNT
    /// and NSCOUNT.
    front: u64,
    /// ARCOUNT.
    additionals: u16,
}

/// The one question of a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question<'q> {
    /// The name in wire form, as it was asked.
    pub qname: &'q [u8],
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub qclass: u16,
}

/// What a query's OPT record says (RFC 6891 section 6.1.3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EdnsQuery {
    /// The sender's UDP payload size in octets.
    pub udp_octets: u16,
    /// The EDNS version.
    pub version: u8,
    /// The DO bit (RFC 3225).
    pub is_dnssec_ok: bool,
    /// Whether the NSID option was sent (RFC 5001).
    pub wants_nsid: bool,
}

/// What stands behind the question.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rest {
    /// The OPT record.
    pub edns: Option<EdnsQuery>,
    /// Whether a TSIG record is there (RFC 8945).
    pub has_tsig: bool,
}

/// The packet is no well-formed query: FORMERR.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl Header {
    /// Reads the header, if there are 12 octets.
    #[inline]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let [a, b, front @ .., y, z] = packet.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            id: u16::from_be_bytes([*a, *b]),
            front: u64::from_be_bytes(*front),
            additionals: u16::from_be_bytes([*y, *z]),
        })
    }

    /// Returns the flags, opcode and rcode as they stand in octets 2 and 3.
    #[inline]
    pub fn flags(&self) -> u16 {
        (self.front >> 48) as u16
    }

    /// Returns QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT.
    #[inline]
    pub fn counts(&self) -> [u16; 4] {
        let [questions, answers, authorities] = [32, 16, 0].map(|bits| (self.front >> bits) as u16);
        [questions, answers, authorities, self.additionals]
    }

    /// Whether the QR bit says that this is a response.
    #[inline]
    pub fn is_response(&self) -> bool {
        self.flags() & 0x8000 != 0
    }

    /// Returns the opcode.
    #[inline]
    pub fn opcode(&self) -> u8 {
        (self.flags() >> 11 & 15) as u8
    }

    /// Whether this is a query, by its opcode, with one question.
    #[inline]
    pub fn is_of_one_question(&self) -> bool {
        self.front & (0x7800 << 48 | 0xffff << 32) == 1 << 32
    }
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
        HEADER_LEN + self.qname.len() + 4
    }
}

impl Rest {
    /// Reads the records behind the question; octets behind the last one are not looked at.
    ///
    /// # Errors
    /// [`Malformed`] if records are cut short, or there are two OPT records.
    #[inline]
    pub fn read(packet: &[u8], header: &Header, end: usize) -> Result<Self, Malformed> {
        let tail = packet.get(end..).ok_or(Malformed)?;
        let [_, answers, authorities, additionals] = header.counts();
        if answers | authorities == 0 {
            match (additionals, tail.first_chunk::<OPT_FRONT_LEN>()) {
                (0, _) => return Ok(Self::default()),
                // An OPT record without options: root name, type 41.
                (1, Some(opt @ [0, 0, 41, .., 0, 0])) => {
                    return Ok(Self { edns: Some(read_opt(opt)), has_tsig: false });
                }
                _ => {}
            }
        }
        Self::read_records(tail, [answers, authorities, additionals])
    }

    /// Reads records one by one.
    fn read_records(mut tail: &[u8], counts: [u16; 3]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        for (section, &count) in counts.iter().enumerate() {
            for index in 0..count {
                let owner_len = skip_name(tail)?;
                let is_root = tail[0] == 0;
                let record = tail.get(owner_len..).ok_or(Malformed)?;
                let head = record.get(..10).ok_or(Malformed)?;
                let rdata_end = 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
                let rdata = record.get(10..rdata_end).ok_or(Malformed)?;
                let opt = tail.first_chunk().filter(|_| is_root);
                tail = &record[rdata_end..];
                match RecordType(u16::from_be_bytes([head[0], head[1]])) {
                    RecordType::OPT => {
                        // RFC 6891 section 6.1.1: one, in the additional section, at the root.
                        let Some(opt) = opt.filter(|_| section == 2 && found.edns.is_none()) else {
                            return Err(Malformed);
                        };
                        let wants_nsid = has_option(rdata, OPTION_NSID)?;
                        found.edns = Some(EdnsQuery { wants_nsid, ..read_opt(opt) });
                    }
                    RecordType::TSIG => {
                        // RFC 8945 section 5.1: the last record of the message.
                        if section != 2 || index + 1 != count {
                            return Err(Malformed);
                        }
                        found.has_tsig = true;
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

/// Returns the serial that the asker of an IXFR has: that of the SOA record which is the query's
/// authority section (RFC 1995 section 3). `packet` has been read as far as [`Rest`] goes.
///
/// # Errors
/// [`Malformed`] if that section is anything else.
pub fn read_ixfr_serial(packet: &[u8], header: &Header, end: usize) -> Result<u32, Malformed> {
    let [_, 0, 1, _] = header.counts() else { return Err(Malformed) };
    let record = packet.get(end..).ok_or(Malformed)?;
    let record = record.get(skip_name(record)?..).ok_or(Malformed)?;
    let head = record.first_chunk::<10>().ok_or(Malformed)?;
    let rdata_end = 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
    let rdata = record.get(10..rdata_end).ok_or(Malformed)?;
    // Two names of at least an octet each, then five integers of which the serial is the first.
    let serial = rdata.len().checked_sub(20).filter(|at| *at >= 2).ok_or(Malformed)?;
    match (RecordType(u16::from_be_bytes([head[0], head[1]])), rdata[serial..].first_chunk()) {
        (RecordType::SOA, Some(octets)) => Ok(u32::from_be_bytes(*octets)),
        _ => Err(Malformed),
    }
}

/// Reads the class and TTL fields of an OPT record from its front, the root name included.
#[inline]
fn read_opt(opt: &[u8; OPT_FRONT_LEN]) -> EdnsQuery {
    let [_, _, _, size_high, size_low, _, version, flags, ..] = *opt;
    EdnsQuery {
        udp_octets: u16::from_be_bytes([size_high, size_low]),
        version,
        is_dnssec_ok: flags & 0x80 != 0,
        wants_nsid: false,
    }
}

/// Walks the options of an OPT record; says whether one of them has this code.
fn has_option(mut rdata: &[u8], wanted: u16) -> Result<bool, Malformed> {
    let mut is_there = false;
    while let [code_high, code_low, len_high, len_low, rest @ ..] = rdata {
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        is_there |= u16::from_be_bytes([*code_high, *code_low]) == wanted;
        rdata = rest.get(len..).ok_or(Malformed)?;
    }
    if rdata.is_empty() { Ok(is_there) } else { Err(Malformed) }
}

/// Returns how many octets an owner name takes, up to its end or its compression pointer.
fn skip_name(octets: &[u8]) -> Result<usize, Malformed> {
    let mut at = 0;
    loop {
        match *octets.get(at).ok_or(Malformed)? {
            0 => return Ok(at + 1),
            0xc0.. if at + 1 < octets.len() => return Ok(at + 2),
            len if usize::from(len) <= LABEL_OCTETS_MAX && at < NAME_OCTETS_MAX => {
                at += usize::from(len) + 1;
            }
            _ => return Err(Malformed),
        }
    }
}

/// Octets of an OPT record before its options, the root name included.
const OPT_FRONT_LEN: usize = 11;
/// The NSID option (RFC 5001 section 2.3).
pub const OPTION_NSID: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::HashSeed;
    use crate::zone::path::NamePath;

    /// A query for `a. A`, with these counts and octets behind the question.
    fn packet(counts: [u16; 4], tail: &[u8]) -> Vec<u8> {
        let mut packet = vec![1, 2, 1, 0];
        counts.iter().for_each(|count| packet.extend_from_slice(&count.to_be_bytes()));
        packet.extend_from_slice(b"\x01a\0\0\x01\0\x01");
        packet.extend_from_slice(tail);
        packet
    }

    fn question(packet: &[u8]) -> Result<Question<'_>, Malformed> {
        let name_len = NamePath::new().read(&packet[HEADER_LEN..], HashSeed(1)).unwrap_or(0);
        Question::read(packet, name_len)
    }

    fn check(counts: [u16; 4], tail: &[u8], expected: Result<Rest, Malformed>) {
        let packet = packet(counts, tail);
        let header = Header::read(&packet).expect("12 octets");
        let question = question(&packet).expect("whole");
        assert_eq!(Rest::read(&packet, &header, question.end()), expected, "{tail:?}");
    }

    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

    #[test]
    fn the_rest_is_read_as_far_as_its_counts_say() {
        let edns = EdnsQuery { udp_octets: 1_232, is_dnssec_ok: true, ..EdnsQuery::default() };
        let plain = Rest { edns: Some(edns), has_tsig: false };
        check([1, 0, 0, 0], b"", Ok(Rest::default()));
        check([1, 0, 0, 1], OPT, Ok(plain));
        check([1, 0, 0, 1], b"", Err(Malformed));
        check([1, 0, 0, 0], b"x", Ok(Rest::default()));
        check([1, 0, 0, 0], OPT, Ok(Rest::default()));
        check([1, 0, 0, 1], &[OPT, b"x"].concat(), Ok(plain));
        check([1, 0, 0, 2], &[OPT, OPT].concat(), Err(Malformed));
        check([1, 0, 1, 0], OPT, Err(Malformed));
        check([1, 65_535, 65_535, 65_535], b"", Err(Malformed));
        let nsid = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x04\0\x03\0\0";
        let rest = Rest { edns: Some(EdnsQuery { wants_nsid: true, ..edns }), has_tsig: false };
        check([1, 0, 0, 1], nsid, Ok(rest));
        check([1, 0, 0, 1], b"\0\0\x29\x04\xd0\0\0\x80\0\0\x04\0\x03\0\x01", Err(Malformed));
        let tsig = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\0";
        check([1, 0, 0, 2], &[OPT, tsig].concat(), Ok(Rest { has_tsig: true, ..plain }));
        check([1, 0, 0, 2], &[&tsig[..], OPT].concat(), Err(Malformed));
    }

    #[test]
    fn an_ixfr_names_the_serial_of_its_asker() {
        let check = |counts, tail: &[u8], expected| {
            let packet = packet(counts, tail);
            let header = Header::read(&packet).expect("12 octets");
            let end = question(&packet).expect("whole").end();
            assert_eq!(read_ixfr_serial(&packet, &header, end), expected, "{tail:?}");
        };
        let integers = [&7_u32.to_be_bytes()[..], &[0; 16]].concat();
        let record = |rtype: u8, names: &[u8], len: u8| {
            let head = [&b"\xc0\x0c\0"[..], &[rtype, 0, 1, 0, 0, 0, 0, 0, len]].concat();
            [&head[..], names, &integers].concat()
        };
        let soa = record(6, b"\xc0\x0c\0", 23);
        check([1, 0, 1, 0], &soa, Ok(7));
        check([1, 0, 1, 0], &record(6, b"\0\0", 22), Ok(7));
        check([1, 0, 1, 0], &record(6, b"\0", 21), Err(Malformed));
        check([1, 0, 1, 0], &record(2, b"\xc0\x0c\0", 23), Err(Malformed));
        check([1, 0, 0, 0], &soa, Err(Malformed));
        check([1, 1, 1, 0], &soa, Err(Malformed));
        check([1, 0, 2, 0], &[&soa[..], &soa].concat(), Err(Malformed));
        (0..soa.len()).for_each(|len| check([1, 0, 1, 0], &soa[..len], Err(Malformed)));
    }

    #[test]
    fn every_cut_of_a_query_is_malformed() {
        let whole = packet([1, 0, 0, 1], OPT);
        for len in 0..whole.len() {
            let Some(header) = Header::read(&whole[..len]) else { continue };
            let read = question(&whole[..len])
                .and_then(|question| Rest::read(&whole[..len], &header, question.end()));
            assert_eq!(read, Err(Malformed), "{len}");
        }
    }

    #[test]
    fn names_in_questions_are_plain_and_short() {
        for name in [&b"\xc0\x0c\0\x01\0\x01"[..], b"\x40a\0\0\x01\0\x01", b"\x01a"] {
            assert_eq!(question(&[&[0; 12], name].concat()), Err(Malformed));
        }
        let long = [&[0; 12][..], &b"\x01a".repeat(128), b"\0\0\x01\0\x01"].concat();
        assert_eq!(question(&long), Err(Malformed));
    }
}
