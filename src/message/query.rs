//! What an answer depends on of a query, read without trust and without allocation.
//!
//! The common query (one question, at most one plain OPT record) is read in one pass; anything
//! else takes the long way, which still looks at each octet once. Counts in the header are only
//! ever compared with what is there.
//! RFC 1035 section 4.1, RFC 6891 section 6.1, RFC 9619 (QDCOUNT is one).
//!
//! **Invariant:** never panics, never loops longer than the packet is long.
//! **Not here:** what to answer (`responder`), messages that are read whole (`message::reader`).

use super::edns::{self, Edns, OPT_FRONT_LEN, OPTION_NSID};
use super::header::Header;
use super::question::QUESTION_TAIL_LEN;
use super::record::Record;
use super::{HEADER_LEN, Malformed, skip_name};
use crate::record::{RecordType, Soa};

/// What stands behind the question.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rest {
    /// The OPT record.
    pub edns: Option<Edns>,
    /// Where the TSIG record begins, if there is one (RFC 8945).
    pub tsig_at: Option<usize>,
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
                    return Ok(Self { edns: Some(Edns::read_plain(opt)), tsig_at: None });
                }
                _ => {}
            }
        }
        Self::read_records(packet, end, [answers, authorities, additionals])
    }

    /// Reads records one by one.
    fn read_records(packet: &[u8], end: usize, counts: [u16; 3]) -> Result<Self, Malformed> {
        let (mut found, mut at) = (Self::default(), end);
        for (section, &count) in counts.iter().enumerate() {
            for index in 0..count {
                let record = Record::read(packet, at)?;
                at = record.end();
                match record.rtype {
                    RecordType::OPT => {
                        // RFC 6891 section 6.1.1: one, in the additional section, at the root.
                        let is_misplaced = section != 2 || found.edns.is_some();
                        let edns = Edns::of(&record).filter(|_| !is_misplaced);
                        let edns = edns.ok_or(Malformed)?;
                        let mut wants_nsid = false;
                        for option in edns::options(record.rdata()) {
                            wants_nsid |= option?.code == OPTION_NSID;
                        }
                        found.edns = Some(Edns { wants_nsid, ..edns });
                    }
                    RecordType::TSIG => {
                        // RFC 8945 section 5.1: the last record of the message.
                        if section != 2 || index + 1 != count {
                            return Err(Malformed);
                        }
                        found.tsig_at = Some(record.at());
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

/// Looks for the OPT record of a message that is no query, or in which something is malformed, as far as it can be
/// read: who sent one is told of the error with one (RFC 6891 section 7). Questions are stepped over, however many.
#[cold]
pub fn find_opt(packet: &[u8], header: &Header) -> Option<Edns> {
    let [questions, answers, authorities, additionals] = header.counts();
    let (mut at, before) = (HEADER_LEN, u32::from(answers) + u32::from(authorities));
    for _ in 0..questions {
        at = skip_name(packet, at).ok()? + QUESTION_TAIL_LEN;
    }
    for index in 0..before + u32::from(additionals) {
        let record = Record::read(packet, at).ok()?;
        at = record.end();
        if index >= before
            && let Some(edns) = Edns::of(&record)
        {
            return Some(edns);
        }
    }
    None
}

/// Returns the serial that the asker of an IXFR has: that of the SOA record which is the query's
/// authority section (RFC 1995 section 3). `packet` has been read as far as [`Rest`] goes.
///
/// # Errors
/// [`Malformed`] if that section is anything else.
pub(crate) fn read_ixfr_serial(
    packet: &[u8],
    header: &Header,
    end: usize,
) -> Result<u32, Malformed> {
    let [_, 0, 1, _] = header.counts() else { return Err(Malformed) };
    let record = Record::read(packet, end)?;
    match (record.rtype, Soa::read(record.rdata())) {
        (RecordType::SOA, Some(soa)) => Ok(soa.serial),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::question::Question;
    use crate::name::wire_len;

    /// A query for `a. A`, with these counts and octets behind the question.
    fn packet(counts: [u16; 4], tail: &[u8]) -> Vec<u8> {
        let mut packet = vec![1, 2, 1, 0];
        counts.iter().for_each(|count| packet.extend_from_slice(&count.to_be_bytes()));
        packet.extend_from_slice(b"\x01a\0\0\x01\0\x01");
        packet.extend_from_slice(tail);
        packet
    }

    fn question(packet: &[u8]) -> Result<Question<'_>, Malformed> {
        let name_len = wire_len(&packet[HEADER_LEN..]).unwrap_or(0);
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
        let edns = Edns { udp_octets: 1_232, is_dnssec_ok: true, ..Edns::default() };
        let plain = Rest { edns: Some(edns), tsig_at: None };
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
        let rest = Rest { edns: Some(Edns { wants_nsid: true, ..edns }), tsig_at: None };
        check([1, 0, 0, 1], nsid, Ok(rest));
        check([1, 0, 0, 1], b"\0\0\x29\x04\xd0\0\0\x80\0\0\x04\0\x03\0\x01", Err(Malformed));
        let tsig = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\0";
        check([1, 0, 0, 2], &[OPT, tsig].concat(), Ok(Rest { tsig_at: Some(30), ..plain }));
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
    fn an_opt_record_is_found_behind_any_number_of_questions() {
        let question = b"\x01a\0\0\x01\0\x01";
        let find = |packet: &[u8]| {
            find_opt(packet, &Header::read(packet).expect("12 octets")).map(|edns| edns.udp_octets)
        };
        for count in [0, 1, 2, 300_u16] {
            let [high, low] = count.to_be_bytes();
            let head = [0, 0, 0, 0, high, low, 0, 0, 0, 0, 0, 1];
            let questions = question.repeat(count.into());
            let whole = [&head[..], &questions, OPT].concat();
            assert_eq!(find(&whole), Some(1_232), "{count}");
            (HEADER_LEN..whole.len()).for_each(|len| assert_eq!(find(&whole[..len]), None));
        }
        let pointer = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 192, 12, 0, 1, 0, 1][..], OPT];
        assert_eq!(find(&pointer.concat()), Some(1_232), "a name that is none is stepped over");
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
