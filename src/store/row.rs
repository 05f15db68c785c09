//! One RRset as it stands in the engine: TTL, time and RDATA in wire form.
//!
//! Binary, not the JSON of the feed: 1.35 M RRsets are imported in seconds, and JSON with RDATA in
//! presentation form costs about 2 us to write and as much to read for each of them.
//!
//! **Invariant:** what is written reads back; octets that are no row are an error, never skipped.
//! **Not here:** the key that holds owner and type (`store::keys`).

use crate::name::Name;
use crate::record::{RdataList, RecordType, Rrset};
use crate::store::kv::KvError;

/// What one row says beside owner and type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Row {
    /// The TTL in seconds.
    pub(super) ttl_s: u32,
    /// When it was written, in milliseconds since 1970.
    pub(super) updated_at_ms: u64,
    /// The records.
    pub(super) rdata: RdataList,
}

impl Row {
    /// Makes the row of an RRset.
    pub(super) fn new(rrset: &Rrset, updated_at_ms: u64) -> Self {
        Self { ttl_s: rrset.ttl_s, updated_at_ms, rdata: rrset.rdata.clone() }
    }

    /// Makes the RRset again.
    pub(super) fn into_rrset(self, owner: Name, rtype: RecordType) -> Rrset {
        Rrset { owner, rtype, ttl_s: self.ttl_s, rdata: self.rdata }
    }

    /// Returns how many records there are.
    pub(super) fn record_count(&self) -> u64 {
        self.rdata.count() as u64
    }

    /// Returns the octets of the row.
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self.ttl_s, self.updated_at_ms, &self.rdata)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(super) fn decode(octets: &[u8]) -> Result<Self, KvError> {
        let parse = || {
            let (ttl_s, tail) = octets.split_first_chunk::<4>()?;
            let (updated_at_ms, rdata) = tail.split_first_chunk::<8>()?;
            Some(Self {
                ttl_s: u32::from_be_bytes(*ttl_s),
                updated_at_ms: u64::from_be_bytes(*updated_at_ms),
                rdata: RdataList::from_octets(rdata).ok()?,
            })
        };
        parse().ok_or(KvError::Unreadable { what: "an RRset" })
    }
}

/// Returns the octets of a row: TTL (4), time (8), RDATA list; numbers are big-endian.
pub(super) fn encode(ttl_s: u32, updated_at_ms: u64, rdata: &RdataList) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + rdata.as_octets().len());
    out.extend_from_slice(&ttl_s.to_be_bytes());
    out.extend_from_slice(&updated_at_ms.to_be_bytes());
    out.extend_from_slice(rdata.as_octets());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_a_cut_one_is_an_error() {
        let rdata = RdataList::new([[192, 0, 2, 1], [192, 0, 2, 2]]).expect("two records");
        let row = Row { ttl_s: 300, updated_at_ms: 1 << 40, rdata };
        let octets = row.encode();
        assert_eq!(Row::decode(&octets).ok(), Some(row));
        for len in 0..octets.len() {
            // Cut between the two records it is still a row, of one record.
            assert_eq!(Row::decode(&octets[..len]).is_ok(), len == 18, "{len}");
        }
    }
}
