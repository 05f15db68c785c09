//! Reads a whole file that no node has open, and reports what is wrong with it.
//!
//! **Invariant:** no key and no value of the file is changed, and none is made; what redb itself
//! mends when it opens a file after a crash, it mends here, too.
//! **Not here:** what keys and values mean (`store::check`).

use std::path::Path;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, TableHandle as _,
};

use super::layout::{
    DATA, DATA_PLAIN, FORMAT, FORMAT_PLAIN, LOG, LOG_PLAIN, META, META_COMPACTED, META_FORMAT,
    META_REVISION, open_entry, open_value, open_value_plain,
};
use super::open::catch_panic;
use super::{engine, log};
use crate::limits::REDB_CACHE_OCTETS;
use crate::store::kv::{KeyChange, KvError};

/// What takes the parts of a file as they are read.
pub(in crate::store) trait Visit {
    /// Takes a value whose checksum is right.
    fn visit_value(&mut self, key: &[u8], value: &[u8]);
    /// Takes an entry of the log whose checksum is right.
    fn visit_entry(&mut self, revision: u64, changes: &[KeyChange]);
    /// Takes something that is wrong.
    fn visit_fault(&mut self, fault: &dyn std::fmt::Display);
}

/// Takes a stored value apart: revision and what was put under the key.
type OpenValue = for<'a> fn(&[u8], &'a [u8]) -> Result<(u64, &'a [u8]), KvError>;

/// The counters of a file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::store) struct Counters {
    /// Its layout.
    pub(in crate::store) format: u64,
    /// Its revision.
    pub(in crate::store) revision: u64,
}

/// Reads the file at `path`.
///
/// # Errors
/// [`KvError::InUse`] if a process has it open, [`KvError::Unreadable`] if it is of a later version,
/// [`KvError::Engine`] if nothing can be read, [`KvError::Unavailable`] if the disk fails.
pub(in crate::store) fn scan(path: &Path, visit: &mut dyn Visit) -> Result<Counters, KvError> {
    catch_panic(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(REDB_CACHE_OCTETS).set_check_integrity_on_open(true);
        let database = builder.open(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => KvError::InUse,
            other => KvError::engine(redb::Error::from(other)),
        })?;
        scan_view(&database.begin_read().map_err(engine)?, visit)
    })
}

/// Reads a view of the file.
fn scan_view(view: &ReadTransaction, visit: &mut dyn Visit) -> Result<Counters, KvError> {
    let names: Vec<String> =
        view.list_tables().map_err(engine)?.map(|table| table.name().to_owned()).collect();
    let has = |name: &str| names.iter().any(|known| known == name);
    if !has(META.name()) {
        return Err(KvError::Unreadable { what: "a redb file that is no store" });
    }
    let meta = view.open_table(META).map_err(engine)?;
    let read = |name: &str| {
        meta.get(name).map(|found| found.map_or(0, |guard| guard.value())).map_err(engine)
    };
    let counters = Counters { format: read(META_FORMAT)?, revision: read(META_REVISION)? };
    if ![FORMAT_PLAIN, FORMAT].contains(&counters.format) {
        return Err(KvError::Unreadable { what: "the layout of the redb file" });
    }
    let compacted = read(META_COMPACTED)?;
    // While a file is converted, both are there: the old ones as a whole, the new ones in part.
    if has(DATA_PLAIN.name()) {
        scan_data(view, DATA_PLAIN, open_value_plain, counters.revision, visit)?;
    } else if has(DATA.name()) {
        scan_data(view, DATA, open_value, counters.revision, visit)?;
    }
    if has(LOG_PLAIN.name()) {
        let plain = |_: u64, entry: &'_ [u8]| Ok(entry.to_vec());
        scan_log(view, LOG_PLAIN, plain, compacted..counters.revision, visit)?;
    } else if has(LOG.name()) {
        let sealed = |revision, stored: &'_ [u8]| open_entry(revision, stored).map(<[u8]>::to_vec);
        scan_log(view, LOG, sealed, compacted..counters.revision, visit)?;
    }
    Ok(counters)
}

/// Reads the keys and values.
fn scan_data(
    view: &ReadTransaction,
    table: redb::TableDefinition<'_, &'static [u8], &'static [u8]>,
    open: OpenValue,
    revision_max: u64,
    visit: &mut dyn Visit,
) -> Result<(), KvError> {
    let data = view.open_table(table).map_err(engine)?;
    let mut count = 0;
    for row in data.iter().map_err(engine)? {
        let (key, stored) = row.map_err(engine)?;
        count += 1;
        match open(key.value(), stored.value()) {
            Ok((revision, _)) if revision > revision_max => visit.visit_fault(&format_args!(
                "the value of {} is of revision {revision}, after the store's {revision_max}",
                key.value().escape_ascii()
            )),
            Ok((_, value)) => visit.visit_value(key.value(), value),
            Err(error) => visit.visit_fault(&error),
        }
    }
    let len = data.len().map_err(engine)?;
    if len != count {
        visit.visit_fault(&format_args!("there are {count} values, and should be {len}"));
    }
    Ok(())
}

/// Reads the log, which holds commits after `range.start` up to `range.end`.
fn scan_log(
    view: &ReadTransaction,
    table: redb::TableDefinition<'_, u64, &'static [u8]>,
    open: impl Fn(u64, &[u8]) -> Result<Vec<u8>, KvError>,
    range: std::ops::Range<u64>,
    visit: &mut dyn Visit,
) -> Result<(), KvError> {
    for row in view.open_table(table).map_err(engine)?.iter().map_err(engine)? {
        let (revision, stored) = row.map_err(engine)?;
        let revision = revision.value();
        if revision <= range.start || revision > range.end {
            visit.visit_fault(&format_args!("the change log has an entry of revision {revision}"));
        }
        match open(revision, stored.value()).map(|entry| log::decode(&entry)) {
            Ok(Some(changes)) => visit.visit_entry(revision, &changes),
            Ok(None) => visit.visit_fault(&format_args!(
                "the change log's entry of revision {revision} does not read"
            )),
            Err(error) => visit.visit_fault(&error),
        }
    }
    Ok(())
}
