//! Makes the RRsets of one zone of a master file's records.
//!
//! What makes the zone ambiguous is an error (no SOA or two, data beside a CNAME); what can be
//! left out, mended or served without a guess is a warning (records outside the zone, TTLs that
//! differ, records that a zone cut hides).

use crate::name::Name;
use crate::record::Rrset;
use crate::record::master::groups::Groups;
use crate::record::master::lint;
use crate::record::master::{MasterError, MasterOptions, MasterReader, Warnings};
use crate::record::rrset::RrsetRef;

/// The RRsets of one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterZone {
    /// The apex: the owner of the SOA record.
    pub apex: Name,
    /// The RRsets in the order in which the first record of each stands in the file.
    pub rrsets: Vec<Rrset>,
    /// Records in the RRsets.
    pub record_count: u64,
    /// What an author should look at.
    pub warnings: Warnings,
}

/// The RRsets of one zone in canonical order, in a few large buffers: what a snapshot is built of.
#[derive(Debug)]
pub struct SortedZone {
    /// The apex: the owner of the SOA record.
    pub apex: Name,
    /// Records in the RRsets.
    pub record_count: u64,
    /// What an author should look at.
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
    let apex = groups.settle()?;
    let found = lint::run(&groups, &apex);
    groups.finish(found)?;
    let (record_count, warnings) = (groups.record_count(), groups.take_warnings());
    Ok(SortedZone { apex, record_count, warnings, groups })
}

/// RRsets between two calls of `progress`.
const PROGRESS_RRSETS: usize = 8_192;
