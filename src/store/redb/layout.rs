//! How keys and values stand in the file, and the checksum that each carries.
//!
//! redb checks its pages when the file is opened, not when it reads; what a disk or a cable turns
//! afterwards would be served. So each value carries a checksum of 64 bits over itself and its key,
//! which also tells a value that stands under another key. It is not a secret: it is against
//! accidents.
//!
//! | table | key | value |
//! |---|---|---|
//! | `data2` | a key | revision (8), checksum (8), what was put |
//! | `log2` | revision | checksum (8), what `log::encode` made of the commit |
//! | `meta` | a name | a counter |
//!
//! Layout 1 had no checksums and the tables `data` and `log`. [`prepare`] copies them, in
//! transactions of bounded size, and drops them with the last one: where they are, the copy goes on
//! behind the last key that it has made.
//!
//! **Invariant:** a value is returned only if its checksum is right.
//! **Not here:** who reads and writes (`store::redb`, `redb::writer`).

use std::hash::Hasher as _;
use std::ops::Bound;

use redb::{Database, ReadableTable as _, TableDefinition, TableHandle as _, WriteTransaction};
use siphasher::sip::SipHasher13;

use super::engine;
use crate::limits::{REDB_CONVERT_OCTETS_MAX, REDB_CONVERT_ROWS_MAX};
use crate::store::kv::{KvError, Versioned};

/// Keys and values.
pub(super) const DATA: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data2");
/// The change log.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log2");
/// Counters by the names below.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The revision of the newest commit.
pub(super) const META_REVISION: &str = "revision";
/// The newest revision whose changes the log has dropped.
pub(super) const META_COMPACTED: &str = "compacted";
/// Octets of all entries of the log, their checksums left out.
pub(super) const META_LOG_OCTETS: &str = "log_octets";
/// A number that tells this store from every other one, drawn when it was made.
const META_IDENTITY: &str = "identity";
/// The version of this layout.
pub(super) const META_FORMAT: &str = "format";
/// The layout that this code reads and writes.
pub(super) const FORMAT: u64 = 2;
/// The layout before, without checksums.
pub(super) const FORMAT_PLAIN: u64 = 1;
/// Keys and values of layout 1: a value is its revision and what was put.
pub(super) const DATA_PLAIN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
/// The change log of layout 1.
pub(super) const LOG_PLAIN: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// What a store says of itself when it is opened.
pub(super) struct Prepared {
    /// Its revision.
    pub(super) revision: u64,
    /// Its identity.
    pub(super) identity: u64,
}

/// Makes tables and identity where there are none, and of layout 1 the present one.
///
/// It makes at least one commit, so what the disk does not take shows here.
///
/// # Errors
/// [`KvError::Unreadable`] if a later version wrote the file, else the engine's.
pub(super) fn prepare(database: &Database) -> Result<Prepared, KvError> {
    let transaction = database.begin_write().map_err(engine)?;
    let prepared = {
        transaction.open_table(DATA).map_err(engine)?;
        transaction.open_table(LOG).map_err(engine)?;
        let mut meta = transaction.open_table(META).map_err(engine)?;
        let format = meta.get(META_FORMAT).map_err(engine)?.map(|guard| guard.value());
        match format {
            Some(FORMAT) => {}
            // From now on the version before refuses the file; the copy begins below.
            None | Some(FORMAT_PLAIN) => {
                meta.insert(META_FORMAT, FORMAT).map_err(engine)?;
            }
            Some(_) => return Err(KvError::Unreadable { what: "the layout of the redb file" }),
        }
        let identity = meta.get(META_IDENTITY).map_err(engine)?.map(|guard| guard.value());
        let identity = match identity {
            Some(identity) => identity,
            None => {
                let identity = rand::random();
                meta.insert(META_IDENTITY, identity).map_err(engine)?;
                identity
            }
        };
        let revision = meta.get(META_REVISION).map_err(engine)?.map_or(0, |guard| guard.value());
        Prepared { revision, identity }
    };
    transaction.commit().map_err(engine)?;
    convert(database)?;
    Ok(prepared)
}

/// Returns what is stored for a value.
pub(super) fn seal_value(key: &[u8], revision: u64, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(16 + value.len());
    stored.extend_from_slice(&revision.to_be_bytes());
    stored.extend_from_slice(&checksum(key, revision, value).to_be_bytes());
    stored.extend_from_slice(value);
    stored
}

/// Takes a stored value apart.
///
/// # Errors
/// [`KvError::Damaged`].
pub(super) fn open_value<'a>(key: &[u8], stored: &'a [u8]) -> Result<(u64, &'a [u8]), KvError> {
    let parse = || {
        let (revision, tail) = stored.split_first_chunk::<8>()?;
        let (sum, value) = tail.split_first_chunk::<8>()?;
        let revision = u64::from_be_bytes(*revision);
        (u64::from_be_bytes(*sum) == checksum(key, revision, value)).then_some((revision, value))
    };
    parse().ok_or_else(|| KvError::Damaged { what: "the value of", key: key.to_vec() })
}

/// Takes a value of layout 1 apart.
///
/// # Errors
/// [`KvError::Damaged`] if it is shorter than its revision.
pub(super) fn open_value_plain<'a>(
    key: &[u8],
    stored: &'a [u8],
) -> Result<(u64, &'a [u8]), KvError> {
    match stored.split_first_chunk::<8>() {
        Some((revision, value)) => Ok((u64::from_be_bytes(*revision), value)),
        None => Err(KvError::Damaged { what: "the value of", key: key.to_vec() }),
    }
}

/// Takes a stored value apart and copies it.
///
/// # Errors
/// [`KvError::Damaged`].
pub(super) fn read_value(key: &[u8], stored: &[u8]) -> Result<Versioned, KvError> {
    let (revision, value) = open_value(key, stored)?;
    Ok(Versioned { value: value.to_vec(), revision })
}

/// Returns what is stored for an entry of the log.
pub(super) fn seal_entry(revision: u64, entry: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(8 + entry.len());
    stored.extend_from_slice(&checksum(&[], revision, entry).to_be_bytes());
    stored.extend_from_slice(entry);
    stored
}

/// Takes a stored entry of the log apart.
///
/// # Errors
/// [`KvError::Damaged`].
pub(super) fn open_entry(revision: u64, stored: &[u8]) -> Result<&[u8], KvError> {
    let parse = || {
        let (sum, entry) = stored.split_first_chunk::<8>()?;
        (u64::from_be_bytes(*sum) == checksum(&[], revision, entry)).then_some(entry)
    };
    parse().ok_or_else(|| {
        let key = revision.to_string().into_bytes();
        KvError::Damaged { what: "the change log's entry", key }
    })
}

/// Returns the octets that an entry counts for in the log.
pub(super) fn entry_octets(stored: &[u8]) -> u64 {
    (stored.len() as u64).saturating_sub(8)
}

/// Returns the checksum of a value under its key.
fn checksum(key: &[u8], revision: u64, value: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(CHECKSUM_KEY);
    hasher.write(&(key.len() as u64).to_be_bytes());
    hasher.write(key);
    hasher.write(&revision.to_be_bytes());
    hasher.write(value);
    hasher.finish()
}

/// Copies the tables of layout 1 and drops them; begins where a copy before was cut off.
fn convert(database: &Database) -> Result<(), KvError> {
    let mut row_count = 0;
    loop {
        let transaction = database.begin_write().map_err(engine)?;
        let has = |name: &str| {
            let mut tables = transaction.list_tables().map_err(engine)?;
            Ok::<_, KvError>(tables.any(|table| table.name() == name))
        };
        if has(DATA_PLAIN.name())? {
            if convert_data(&transaction, &mut row_count)? {
                transaction.delete_table(DATA_PLAIN).map_err(engine)?;
            }
        } else if has(LOG_PLAIN.name())? {
            if convert_log(&transaction, &mut row_count)? {
                transaction.delete_table(LOG_PLAIN).map_err(engine)?;
            }
        } else {
            if row_count > 0 {
                tracing::info!(row_count, "the store's values have checksums now");
            }
            return Ok(());
        }
        transaction.commit().map_err(engine)?;
    }
}

/// Copies some values; says whether there is none left.
fn convert_data(transaction: &WriteTransaction, row_count: &mut u64) -> Result<bool, KvError> {
    let old = transaction.open_table(DATA_PLAIN).map_err(engine)?;
    let mut new = transaction.open_table(DATA).map_err(engine)?;
    let last = new.last().map_err(engine)?.map(|(key, _)| key.value().to_vec());
    let start = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let (mut rows, mut octets) = (0, 0);
    for row in old.range::<&[u8]>((start, Bound::Unbounded)).map_err(engine)? {
        let (key, value) = row.map_err(engine)?;
        if rows >= REDB_CONVERT_ROWS_MAX || octets >= REDB_CONVERT_OCTETS_MAX {
            return Ok(false);
        }
        let (revision, put) = open_value_plain(key.value(), value.value())?;
        let stored = seal_value(key.value(), revision, put);
        new.insert(key.value(), stored.as_slice()).map_err(engine)?;
        (rows, octets, *row_count) = (rows + 1, octets + stored.len() as u64, *row_count + 1);
    }
    Ok(true)
}

/// Copies some entries of the log; says whether there is none left.
fn convert_log(transaction: &WriteTransaction, row_count: &mut u64) -> Result<bool, KvError> {
    let old = transaction.open_table(LOG_PLAIN).map_err(engine)?;
    let mut new = transaction.open_table(LOG).map_err(engine)?;
    let last = new.last().map_err(engine)?.map(|(revision, _)| revision.value());
    let start = last.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut rows, mut octets) = (0, 0);
    for row in old.range::<u64>((start, Bound::Unbounded)).map_err(engine)? {
        let (revision, entry) = row.map_err(engine)?;
        if rows >= REDB_CONVERT_ROWS_MAX || octets >= REDB_CONVERT_OCTETS_MAX {
            return Ok(false);
        }
        let stored = seal_entry(revision.value(), entry.value());
        new.insert(revision.value(), stored.as_slice()).map_err(engine)?;
        (rows, octets, *row_count) = (rows + 1, octets + stored.len() as u64, *row_count + 1);
    }
    Ok(true)
}

/// The checksum's key, which is no secret.
const CHECKSUM_KEY: &[u8; 16] = b"aspen store row2";

#[cfg(test)]
mod tests {
    use redb::ReadableDatabase as _;

    use super::*;

    #[test]
    fn a_value_opens_under_its_own_key_only_and_whole() {
        let stored = seal_value(b"key", 7, b"value");
        assert_eq!(open_value(b"key", &stored).ok(), Some((7, &b"value"[..])));
        assert!(open_value(b"kez", &stored).is_err());
        for len in 0..stored.len() {
            assert!(open_value(b"key", &stored[..len]).is_err(), "{len}");
        }
        for bit in 0..stored.len() * 8 {
            let mut turned = stored.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(open_value(b"key", &turned).is_err(), "{bit}");
        }
        let stored = seal_entry(7, b"entry");
        assert_eq!(open_entry(7, &stored).ok(), Some(&b"entry"[..]));
        assert!(open_entry(8, &stored).is_err());
        let error = open_value(b"r\x00a", b"").unwrap_err().to_string();
        assert!(error.contains("r\\x00a"), "{error}");
    }

    #[test]
    fn a_file_of_layout_1_is_converted_and_a_conversion_that_was_cut_off_goes_on() {
        let rows = REDB_CONVERT_ROWS_MAX + 10;
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(dir.path().join("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META).unwrap();
            meta.insert(META_FORMAT, FORMAT_PLAIN).unwrap();
            meta.insert(META_REVISION, 9).unwrap();
            let mut data = transaction.open_table(DATA_PLAIN).unwrap();
            for row in 0..rows {
                let value = [&9_u64.to_be_bytes()[..], b"value"].concat();
                data.insert(&row.to_be_bytes()[..], value.as_slice()).unwrap();
            }
            transaction.open_table(LOG_PLAIN).unwrap().insert(9, &b"entry"[..]).unwrap();
        }
        transaction.commit().unwrap();
        // A first part, as far as a crash might have let it come.
        let transaction = database.begin_write().unwrap();
        assert!(!convert_data(&transaction, &mut 0).unwrap());
        transaction.commit().unwrap();
        for _ in 0..2 {
            let prepared = prepare(&database).unwrap();
            assert_eq!(prepared.revision, 9);
            let transaction = database.begin_read().unwrap();
            assert_eq!(transaction.list_tables().unwrap().count(), 3);
            let data = transaction.open_table(DATA).unwrap();
            let mut count = 0;
            for row in data.iter().unwrap() {
                let (key, value) = row.unwrap();
                assert_eq!(open_value(key.value(), value.value()).ok(), Some((9, &b"value"[..])));
                count += 1;
            }
            assert_eq!(count, rows);
            let log = transaction.open_table(LOG).unwrap();
            let entry = log.get(9).unwrap().unwrap();
            assert_eq!(open_entry(9, entry.value()).ok(), Some(&b"entry"[..]));
        }
    }
}
