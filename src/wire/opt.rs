//! The OPT record of a reply (RFC 6891), and what it tells beyond its fields.
//!
//! **Invariant:** an option never makes a reply longer than its asker accepts.

use hickory_proto::serialize::binary::BinEncoder;

use super::query::OPTION_NSID;
use crate::limits::{UDP_OCTETS_MAX, UDP_PLAIN_OCTETS_MAX};

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
    pub fn octets_len(&self) -> usize {
        usize::from(OPT_LEN) + self.nsid.map_or(0, |nsid| 4 + nsid.len())
    }

    /// Appends the OPT record; the upper bits of `rcode` stand in it.
    #[inline(always)] // once for each reply, and most of it is constants there
    pub(super) fn write(&self, out: &mut Vec<u8>, rcode: u16) {
        // Root owner, type OPT, the size that we accept, extended rcode, version 0, flags, length of the options.
        let size = (UDP_OCTETS_MAX as u64) << 24;
        let extended = u64::from(rcode >> 4) << 16;
        let dnssec_ok = if self.is_dnssec_ok { 0x80 } else { 0 };
        let front = OPT_TYPE << 40 | size | extended | dnssec_ok;
        let mut record = [0; OPT_LEN as usize];
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

/// Appends an extended DNS error (RFC 8914) to a finished reply without records that ends with `opt`.
///
/// `text` says more to people; it may be empty. Only where both keep within what any UDP reply may
/// have: it is a help to read, never needed.
pub fn explain(out: &mut Vec<u8>, opt: &OptReply<'_>, info_code: u16, text: &str) {
    let option_len = 2 + text.len();
    let option = [OPTION_EDE, option_len as u16, info_code].map(u16::to_be_bytes);
    let options_at = out.len() - opt.octets_len() + usize::from(OPT_LEN);
    if out.len() + 4 + option_len > UDP_PLAIN_OCTETS_MAX {
        return;
    }
    out.extend_from_slice(option.as_flattened());
    out.extend_from_slice(text.as_bytes());
    end_options(out, options_at);
}

/// The type of OPT records (RFC 6891 section 6.1.2).
const OPT_TYPE: u64 = 41;
/// The extended DNS error option (RFC 8914 section 2).
const OPTION_EDE: u16 = 15;
/// Octets of an OPT record without options.
const OPT_LEN: u16 = 11;
