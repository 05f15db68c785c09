//! Makes the RRsets of one zone of a master file's records.
//!
//! What makes the zone ambiguous is an error (no SOA or two, data beside a CNAME); what can be
//! left out or mended without a guess is a warning (records outside the zone, TTLs that differ).

use std::fmt;

#[cfg(doc)]
use crate::limits::MASTER_WARNINGS_MAX;
use crate::name::Name;
use crate::record::master::groups::Groups;
use crate::record::master::{MasterError, MasterOptions, MasterReader};
use crate::record::rrset::RrsetRef;
use crate::record::{RecordType, Rrset};

/// The RRsets of one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterZone {
    /// The apex: the owner of the SOA record.
    pub apex: Name,
    /// The RRsets in the order in which the first record of each stands in the file.
    pub rrsets: Vec<Rrset>,
    /// Records in the RRsets.
    pub record_count: u64,
    /// What was left out or mended.
    pub warnings: Warnings,
}

/// The RRsets of one zone in canonical order, in a few large buffers: what a snapshot is built of.
#[derive(Debug)]
pub struct SortedZone {
    /// The apex: the owner of the SOA record.
    pub apex: Name,
    /// Records in the RRsets.
    pub record_count: u64,
    /// What was left out or mended.
    pub warnings: Warnings,
    /// The RRsets.
    groups: Groups,
}

impl SortedZone {
    /// Returns how many names have records.
    pub fn name_count(&self) -> u64 {
        self.groups.name_count()
    }

    /// Returns the RRsets in canonical order of their owners, by type among those of one.
    pub fn rrsets(&self) -> impl ExactSizeIterator<Item = RrsetRef<'_>> {
        self.groups.in_order()
    }

    /// Makes each RRset one by itself.
    ///
    /// # Errors
    /// An RRset that is larger than one may be.
    pub fn into_master_zone(self) -> Result<MasterZone, MasterError> {
        let Self { apex, record_count, warnings, groups } = self;
        Ok(MasterZone { apex, rrsets: groups.to_rrsets()?, record_count, warnings })
    }
}

/// What was left out or mended; at most [`MASTER_WARNINGS_MAX`] are kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Warnings {
    /// The first ones, in the order in which they were found.
    pub kept: Vec<MasterWarning>,
    /// How many there were.
    pub count: u64,
}

/// Something that was left out or mended. Its text is `FILE:LINE: what`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterWarning {
    /// The file's name.
    pub file: String,
    /// The line of the record, from one.
    pub line: u32,
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// What was done.
    pub kind: WarningKind,
}

/// What was done about a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WarningKind {
    /// The owner is not at or below the apex; the record is left out.
    OutOfZone,
    /// The RRset's TTLs differ; all records get the lowest, in seconds (RFC 2181 section 5.2).
    TtlDiffers {
        /// The lowest.
        ttl_s: u32,
    },
}

impl fmt::Display for MasterWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, owner, rtype, kind } = self;
        write!(f, "{file}:{line}: {rtype} at {owner} ")?;
        match kind {
            WarningKind::OutOfZone => f.write_str("is outside the zone and left out"),
            WarningKind::TtlDiffers { ttl_s } => {
                write!(f, "has TTLs that differ; {ttl_s} is taken (RFC 2181 section 5.2)")
            }
        }
    }
}

/// Reads a whole zone; relative names lie under `origin` until the file says else.
///
/// Records that are there twice are kept once. `progress` is called now and then with the number
/// of octets read.
///
/// # Errors
/// The first rule that the file breaks, with file, line and column.
pub fn read_zone<'a>(
    text: &'a [u8],
    origin: &Name,
    options: MasterOptions<'a>,
    progress: &mut dyn FnMut(usize),
) -> Result<MasterZone, MasterError> {
    read_sorted(text, origin, options, progress)?.into_master_zone()
}

/// Reads a whole zone as [`read_zone`] does, for the builder of a snapshot.
///
/// # Errors
/// As [`read_zone`].
pub fn read_sorted<'a>(
    text: &'a [u8],
    origin: &Name,
    options: MasterOptions<'a>,
    progress: &mut dyn FnMut(usize),
) -> Result<SortedZone, MasterError> {
    let mut groups = Groups::new(options.file.clone(), text.len());
    let mut reader = MasterReader::new(text, origin, options);
    while let Some(head) = reader.read()? {
        groups.push(head, &reader)?;
        if groups.len().is_multiple_of(PROGRESS_RRSETS) {
            progress(reader.octets_read());
        }
    }
    progress(text.len());
    let apex = groups.finish()?;
    let (record_count, warnings) = (groups.record_count(), groups.take_warnings());
    Ok(SortedZone { apex, record_count, warnings, groups })
}

/// RRsets between two calls of `progress`.
const PROGRESS_RRSETS: usize = 8_192;
