//! The OPT record (RFC 6891): what a sender says in it, and what a reply does.
//!
//! **Invariant:** an option never makes a reply longer than its asker accepts.

use hickory_proto::serialize::binary::BinEncoder;

use super::Malformed;
use super::record::Record;
use crate::limits::UDP_OCTETS_MAX;
use crate::record::RecordType;

/// What the sender of an OPT record says (RFC 6891 section 6.1.3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Edns {
    /// The sender's UDP payload size in octets.
    pub udp_octets: u16,
    /// The EDNS version.
    pub version: u8,
    /// The DO bit (RFC 3225).
    pub is_dnssec_ok: bool,
    /// Whether the NSID option was sent (RFC 5001).
    pub wants_nsid: bool,
}

/// One option of an OPT record (RFC 6891 section 6.1.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EdnsOption<'m> {
    /// The option's code.
    pub code: u16,
    /// Its data.
    pub data: &'m [u8],
}

impl Edns {
    /// Reads the class and TTL fields of an OPT record from its front, the root name included.
    #[inline]
    pub(super) fn read_plain(opt: &[u8; OPT_FRONT_LEN]) -> Self {
        let [_, _, _, size_high, size_low, _, version, flags, ..] = *opt;
        Self {
            udp_octets: u16::from_be_bytes([size_high, size_low]),
            version,
            is_dnssec_ok: flags & 0x80 != 0,
            wants_nsid: false,
        }
    }

    /// Reads an OPT record at the root, its options left aside; `None` of any other record.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        let is_opt = record.rtype == RecordType::OPT && record.is_at_root();
        let [_, version, flags, _] = record.ttl_s.to_be_bytes();
        is_opt.then_some(Self {
            udp_octets: record.class,
            version,
            is_dnssec_ok: flags & 0x80 != 0,
            wants_nsid: false,
        })
    }
}

/// Iterates over the options in the RDATA of an OPT record; one that is cut short is [`Malformed`] and the
/// last.
pub fn options(mut rdata: &[u8]) -> impl Iterator<Item = Result<EdnsOption<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if rdata.is_empty() {
            return None;
        }
        let option = read_option(rdata);
        rdata = option.map_or(&[], |(_, rest)| rest);
        Some(option.map(|(option, _)| option).ok_or(Malformed))
    })
}

/// Reads the first option, and returns what stands behind it.
fn read_option(rdata: &[u8]) -> Option<(EdnsOption<'_>, &[u8])> {
    let ([c0, c1, l0, l1], rest) = rdata.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (data, rest) = rest.split_at_checked(len)?;
    Some((EdnsOption { code: u16::from_be_bytes([*c0, *c1]), data }, rest))
}

/// The OPT record of a reply.
#[derive(Clone, Copy, Debug)]
pub struct OptReply<'a> {
    /// The DO bit, as it was sent (RFC 3225 section 3).
    pub is_dnssec_ok: bool,
    /// What identifies this server, where it was asked for (RFC 5001).
    pub nsid: Option<&'a [u8]>,
}

impl OptReply<'_> {
    /// Returns how many octets the record takes.
    pub(crate) fn octets_len(&self) -> usize {
        OPT_FRONT_LEN + self.nsid.map_or(0, |nsid| 4 + nsid.len())
    }

    /// Appends the OPT record; the upper bits of `rcode` stand in it.
    #[inline(always)] // once for each reply, and most of it is constants there
    pub(crate) fn write(&self, out: &mut Vec<u8>, rcode: u16) {
        // Root owner, type OPT, the size that we accept, extended rcode, version 0, flags, length of the options.
        let size = (UDP_OCTETS_MAX as u64) << 24;
        let extended = u64::from(rcode >> 4) << 16;
        let dnssec_ok = if self.is_dnssec_ok { 0x80 } else { 0 };
        let front = OPT_TYPE << 40 | size | extended | dnssec_ok;
        let mut record = [0; OPT_FRONT_LEN];
        record[..8].copy_from_slice(&front.to_be_bytes());
        out.extend_from_slice(&record);
        if let Some(nsid) = self.nsid {
            write_nsid(out, nsid);
        }
    }
}

/// Appends the NSID option to a message that ends with an OPT record without options.
#[cold]
fn write_nsid(out: &mut Vec<u8>, nsid: &[u8]) {
    let offset = out.len() as u32;
    let mut encoder = BinEncoder::with_offset(out, offset);
    // None fails: the encoder's limit is a message's, and whoever set the limit has left the room.
    let _ = encoder.emit_u16(OPTION_NSID);
    let _ = encoder.emit_u16(nsid.len() as u16);
    let _ = encoder.emit_vec(nsid);
    end_options(out, offset as usize);
}

/// Writes the length of the options that stand from `start` to the end of a message.
fn end_options(out: &mut [u8], start: usize) {
    let len = (out.len() - start) as u16;
    out[start - 2..start].copy_from_slice(&len.to_be_bytes());
}

/// Appends an extended DNS error (RFC 8914) to a finished reply that ends with `opt`.
///
/// `text` says more to people; it may be empty. Only where both keep within the `limit` of octets: it is a
/// help to read, never needed.
pub fn explain(
    out: &mut Vec<u8>,
    opt: &OptReply<'_>,
    (info_code, text): (u16, &str),
    limit: usize,
) {
    let option_len = 2 + text.len();
    let option = [OPTION_EDE, option_len as u16, info_code].map(u16::to_be_bytes);
    let options_at = out.len() - opt.octets_len() + OPT_FRONT_LEN;
    if out.len() + 4 + option_len > limit {
        return;
    }
    out.extend_from_slice(option.as_flattened());
    out.extend_from_slice(text.as_bytes());
    end_options(out, options_at);
}

/// The type of OPT records (RFC 6891 section 6.1.2).
const OPT_TYPE: u64 = 41;
/// The NSID option (RFC 5001 section 2.3).
pub const OPTION_NSID: u16 = 3;
/// The extended DNS error option (RFC 8914 section 2).
pub const OPTION_EDE: u16 = 15;
/// Octets of an OPT record before its options, the root name included.
pub(super) const OPT_FRONT_LEN: usize = 11;
