//! The root of a version of the document: which history, how far, and which indexes count.
//!
//! Layout:
//!
//! ```text
//! format "AR" 2, namespace [32], cluster id (length varint, text), epoch u64, history u128,
//! term u64, number u64, position (revision u64, tag u64), digest key [16], time u64, zones u64,
//! sum u128, indexes varint, each: hash [32], length u32, rows u32
//! ```
//!
//! A zone stands in the last index that has a row for it; what no index has is not in the feed.
//! Whatever else lies about means nothing.
//!
//! **Invariant:** at its position a version lacks no commit of any zone; a zone may be further.
//! **Not here:** the rows (`feed::index`), who says which root counts (`feed::segment`).

use super::digest::DigestKey;
use super::segment::{Position, put_position, read_position};
use super::{Hash, HistoryId};
use crate::limits::{
    INDEX_OCTETS_MAX, INDEX_ROWS_MAX, ROOT_INDEXES_MAX, ROOT_OCTETS_MAX, TICKET_CLUSTER_ID_LEN_MAX,
};
use crate::octets::{DecodeError, Format, OctetReader, check_max, put_counted, put_varint};

/// A root.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Root {
    /// The feed.
    pub namespace: [u8; 32],
    /// The name of the cluster, for people.
    pub cluster_id: String,
    /// The history.
    pub history: HistoryId,
    /// Counts the exporters of the feed.
    pub term: u64,
    /// The version's number; rises.
    pub number: u64,
    /// Up to where nothing is missing.
    pub at: Position,
    /// The key of all digests.
    pub digest_key: DigestKey,
    /// The author's clock, in milliseconds since 1970; shown to people.
    pub time_ms: u64,
    /// How many zones there are.
    pub zones: u64,
    /// The wrapping sum of [`DigestKey::zone`] over all of them.
    pub sum: u128,
    /// The indexes, those that count more later.
    pub indexes: Vec<IndexRef>,
}

/// Names an index.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct IndexRef {
    /// Its hash.
    pub hash: Hash,
    /// Its length in octets.
    pub len: u32,
    /// How many rows it has.
    pub rows: u32,
}

impl Root {
    /// Writes the root. A longer cluster id is cut at its limit.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`], as its readers would find.
    pub fn to_octets(&self) -> Result<Vec<u8>, DecodeError> {
        let found = self.indexes.len() as u64;
        check_max("count of indexes", 0, found, ROOT_INDEXES_MAX)?;
        self.indexes.iter().try_for_each(|index| index.check(0))?;
        let out = self.write();
        check_max("length of a root", 0, out.len() as u64, ROOT_OCTETS_MAX as u64)?;
        Ok(out)
    }

    /// Writes the root as it is.
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.indexes.len() * 40);
        FORMAT.put(&mut out);
        out.extend_from_slice(&self.namespace);
        let len = self.cluster_id.floor_char_boundary(TICKET_CLUSTER_ID_LEN_MAX);
        put_counted(&mut out, &self.cluster_id.as_bytes()[..len]);
        out.extend_from_slice(&self.history.epoch.to_be_bytes());
        out.extend_from_slice(&self.history.id.to_be_bytes());
        out.extend_from_slice(&self.term.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        put_position(&mut out, self.at);
        out.extend_from_slice(&self.digest_key.0);
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.zones.to_be_bytes());
        out.extend_from_slice(&self.sum.to_be_bytes());
        put_varint(&mut out, self.indexes.len() as u64);
        for index in &self.indexes {
            out.extend_from_slice(&index.hash);
            out.extend_from_slice(&index.len.to_be_bytes());
            out.extend_from_slice(&index.rows.to_be_bytes());
        }
        out
    }

    /// Reads a root.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        check_max("length of a root", 0, octets.len() as u64, ROOT_OCTETS_MAX as u64)?;
        let mut reader = OctetReader::new(octets);
        if reader.format("root", FORMAT)? != FORMAT.version {
            return Err(DecodeError::BadValue { what: "version of a root", at: 2 });
        }
        let namespace = reader.array("namespace")?;
        let cluster_id = reader.text("cluster id", TICKET_CLUSTER_ID_LEN_MAX)?.to_owned();
        let epoch = reader.u64("epoch")?;
        let id = u128::from_be_bytes(reader.array("history")?);
        let (term, number) = (reader.u64("term")?, reader.u64("number of a version")?);
        let at = read_position(&mut reader)?;
        let digest_key = DigestKey(reader.array("digest key")?);
        let (time_ms, zones) = (reader.u64("time")?, reader.u64("count of zones")?);
        let sum = u128::from_be_bytes(reader.array("sum of all zones")?);
        let count = reader.varint("count of indexes", ROOT_INDEXES_MAX)?;
        let mut indexes = Vec::new();
        for _ in 0..count {
            indexes.push(read_index_ref(&mut reader)?);
        }
        reader.end()?;
        let history = HistoryId { epoch, id };
        Ok(Self {
            namespace,
            cluster_id,
            history,
            term,
            number,
            at,
            digest_key,
            time_ms,
            zones,
            sum,
            indexes,
        })
    }
}

impl IndexRef {
    /// Checks that nothing of it exceeds its limit.
    fn check(&self, at: usize) -> Result<(), DecodeError> {
        check_max("length of an index", at, u64::from(self.len), INDEX_OCTETS_MAX as u64)?;
        check_max("rows", at, u64::from(self.rows), INDEX_ROWS_MAX)
    }
}

/// Reads what names an index.
fn read_index_ref(reader: &mut OctetReader<'_>) -> Result<IndexRef, DecodeError> {
    let hash = reader.array("hash of an index")?;
    let at = reader.at();
    let index =
        IndexRef { hash, len: reader.u32("length of an index")?, rows: reader.u32("rows")? };
    index.check(at)?;
    Ok(index)
}

/// The first octets of a root.
const FORMAT: Format = Format { letters: *b"AR", version: 2 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_reads_back_and_no_cut_of_it_does() {
        let root = Root {
            namespace: [1; 32],
            cluster_id: "käse".to_owned(),
            history: HistoryId { epoch: 2, id: 3 },
            term: 4,
            number: 5,
            at: Position { revision: 6, tag: 7 },
            digest_key: DigestKey([8; 16]),
            time_ms: 9,
            zones: 10,
            sum: u128::MAX,
            indexes: vec![IndexRef { hash: [1; 32], len: 2, rows: 3 }; 3],
        };
        let octets = root.to_octets().expect("within the limits");
        assert_eq!(Root::from_octets(&octets), Ok(root));
        assert!((0..octets.len()).all(|len| Root::from_octets(&octets[..len]).is_err()));
        assert!(Root::from_octets(&[&octets[..], &[0]].concat()).is_err());
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Root::from_octets(&flipped);
        }
    }

    #[test]
    fn what_is_written_is_what_can_be_read_just_below_at_and_above_each_limit() {
        let index = IndexRef { hash: [1; 32], len: 2, rows: 3 };
        let check = |indexes: Vec<IndexRef>, is_good: bool| {
            let root = Root { indexes, ..Root::default() };
            assert_eq!(Root::from_octets(&root.write()).is_ok(), is_good);
            assert_eq!(root.to_octets().is_ok(), is_good);
        };
        let count = ROOT_INDEXES_MAX as usize;
        check(vec![index; count - 1], true);
        check(vec![index; count], true);
        check(vec![index; count + 1], false);
        let (len, rows) = (INDEX_OCTETS_MAX as u32, INDEX_ROWS_MAX as u32);
        check(vec![IndexRef { len: len - 1, rows: rows - 1, ..index }], true);
        check(vec![IndexRef { len, rows, ..index }], true);
        check(vec![IndexRef { len: len + 1, ..index }], false);
        check(vec![IndexRef { rows: rows + 1, ..index }], false);
    }
}
