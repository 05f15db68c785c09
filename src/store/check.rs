//! Checks the file of an embedded store that no node has open: every page, checksum, key and value.
//!
//! **Invariant:** what the check finds right, a node can read.
//! **Not here:** reading the file (`redb::check`), whether zones are right DNS (`dnssec`, `rules`).

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::generation::Generation;
use super::history::History;
use super::kv::{KeyChange, KvError};
use super::packs::{self, PackReader};
use super::redb::check::{Visit, scan};
use super::row::Row;
use super::zone_object::ZoneObject;
use super::{journal, keys, undo};
use crate::feed::digest::{Digest, DigestKey};
use crate::name::Name;

/// What stands in a store, and what is wrong with it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoreReport {
    /// The layout of the file; before 2, values have no checksums.
    pub format: u64,
    /// The newest revision.
    pub revision: u64,
    /// Zones.
    pub zones: u64,
    /// RRsets, those of versions of zones included that no zone shows.
    pub rrsets: u64,
    /// Versions of zones that are being filled, kept though their zones have left them, or removed.
    pub generations: u64,
    /// Commits in the change log.
    pub log_entries: u64,
    /// The first findings, [`FINDINGS_KEPT_MAX`] at most.
    pub findings: Vec<String>,
    /// How many findings there are.
    pub finding_count: u64,
}

/// Findings that a report names. More are counted: the first say enough.
pub const FINDINGS_KEPT_MAX: usize = 20;

/// Reads the file at `path`; nothing in it is changed (blocking).
///
/// # Errors
/// [`KvError::InUse`] if a node has it open, [`KvError::Unreadable`] if a later version wrote it or
/// it is no store. That nothing can be read because the file is damaged is a finding.
pub fn check_file(path: &Path) -> Result<StoreReport, KvError> {
    let mut checker = Checker::default();
    match scan(path, &mut checker) {
        Ok(counters) => {
            checker.report.format = counters.format;
            checker.report.revision = counters.revision;
            checker.compare_counts();
        }
        Err(error @ KvError::Engine(_)) => checker.visit_fault(&error),
        Err(error) => return Err(error),
    }
    Ok(checker.report)
}

/// Checks what it is shown.
#[derive(Default)]
struct Checker {
    /// What was found so far.
    report: StoreReport,
    /// The key of digests; it comes before zones and rows.
    key: Option<DigestKey>,
    /// The zones by the number of the generation of their rows; zones come before rows.
    zones: HashMap<u64, CheckedZone>,
    /// Keys of rows over packs, which come before packs.
    over: HashSet<Vec<u8>>,
}

/// A zone whose rows are counted.
struct CheckedZone {
    /// What its object says.
    object: ZoneObject,
    /// What its rows come to so far.
    digest: Digest,
    /// How many RRsets they are.
    rrsets: u64,
}

impl Checker {
    /// Reads a value as what its key says that it is.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        if key == keys::JOURNAL {
            journal::Entry::decode(value)?;
        } else if key == keys::UNDO {
            undo::decode(value)?;
        } else if key == keys::HISTORY {
            self.key = Some(History::decode(value)?.digest_key);
        } else if keys::zone_range().contains(key) {
            let object = ZoneObject::decode(value)?;
            if keys::zone_key(&object.settings.apex) != key {
                return Err(KvError::Unreadable { what: "a zone object of another zone" });
            }
            let zone = CheckedZone { digest: Digest::default(), rrsets: 0, object };
            self.zones.insert(zone.object.generation.number, zone);
            self.report.zones += 1;
        } else if keys::generation_range().contains(key) {
            keys::parse_generation_key(key)?;
            self.report.generations += 1;
        } else if keys::is_of_others(key) {
            // Leases and notes are no zones, and no rows.
        } else if keys::is_of_directory(key) {
            packs::check_part(value)?;
        } else if let Some(number) = keys::number_of_pack(key) {
            let mut reader = PackReader::new(value)?;
            let prefix = keys::rows_of_generation(Generation { number, is_packed: true }).start;
            while let Some((row, value)) = reader.next()? {
                let key = [&prefix[..], row].concat();
                if !self.over.contains(&key) {
                    self.read_row(&key, value)?;
                }
            }
        } else if keys::packed_number(key).is_some() {
            self.over.insert(key.to_vec());
            if !value.is_empty() {
                self.read_row(key, value)?;
            }
        } else {
            self.read_row(key, value)?;
        }
        Ok(())
    }

    /// Reads a row, which stands alone or in a pack.
    fn read_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        let generation = key.get(1..keys::ROW_NAME_AT).and_then(|octets| octets.try_into().ok());
        let generation = generation.map(u64::from_be_bytes);
        let root = Name::root();
        // Rows that no zone shows: an import fills them, or they are being removed.
        let mut zone = generation.and_then(|found| self.zones.get_mut(&found));
        let apex = zone.as_ref().map_or(&root, |zone| &zone.object.settings.apex);
        let (owner, rtype) = keys::parse_row_key(key, apex)?;
        let rrset = Row::decode(value)?.into_rrset(owner, rtype);
        self.report.rrsets += 1;
        if let (Some(zone), Some(key)) = (&mut zone, &self.key) {
            zone.digest = zone.digest.plus(key.rrset(&rrset.as_ref()));
            zone.rrsets += 1;
        }
        Ok(())
    }

    /// Compares what zones say of their rows with what these come to, if all of them could be read.
    fn compare_counts(&mut self) {
        if self.report.finding_count > 0 {
            return;
        }
        let mut wrong: Vec<String> = Vec::new();
        for CheckedZone { object, digest, rrsets } in self.zones.values() {
            let is_digest_right =
                self.key.is_none() || object.digest.is_none_or(|said| said == *digest);
            if !is_digest_right || object.rrset_count != *rrsets {
                wrong.push(format!(
                    "the zone {}: its object does not say what its rows come to ({} RRsets of {rrsets}); \
                     a running node counts anew and mends that",
                    object.settings.apex, object.rrset_count
                ));
            }
        }
        wrong.sort_unstable();
        wrong.iter().for_each(|fault| self.visit_fault(fault));
    }
}

impl Visit for Checker {
    fn visit_value(&mut self, key: &[u8], value: &[u8]) {
        if let Err(error) = self.read(key, value) {
            self.visit_fault(&format_args!("the value of {}: {error}", key.escape_ascii()));
        }
    }

    fn visit_entry(&mut self, revision: u64, changes: &[KeyChange]) {
        self.report.log_entries += 1;
        let value = |key: &[u8]| {
            changes
                .iter()
                .find(|change| change.key == key)
                .and_then(|change| change.value.as_deref())
        };
        let journal = value(keys::JOURNAL).map(|value| journal::Entry::decode(value).map(drop));
        let undone = value(keys::UNDO).map(|value| undo::decode(value).map(drop));
        for error in journal.into_iter().chain(undone).filter_map(Result::err) {
            self.visit_fault(&format_args!("the commit of revision {revision}: {error}"));
        }
    }

    fn visit_fault(&mut self, fault: &dyn std::fmt::Display) {
        self.report.finding_count += 1;
        if self.report.findings.len() < FINDINGS_KEPT_MAX {
            self.report.findings.push(fault.to_string());
        }
    }
}
