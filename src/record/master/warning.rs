//! What a master file says that is left out, mended, or served although it breaks a rule.

use std::collections::BTreeMap;
use std::fmt;

use crate::limits::MASTER_WARNINGS_MAX;
use crate::name::Name;
use crate::record::RecordType;

/// What was found; at most [`MASTER_WARNINGS_MAX`] are kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Warnings {
    /// The first ones, in the order in which they were found.
    pub kept: Vec<MasterWarning>,
    /// How many there were.
    pub count: u64,
}

/// Something that an author should look at. Its text is `FILE:LINE:COLUMN: what`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterWarning {
    /// The file's name.
    pub file: String,
    /// The line of the record, from one.
    pub line: u32,
    /// The octet of the line, from one.
    pub column: u32,
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// What it is.
    pub kind: WarningKind,
}

/// What is odd about a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WarningKind {
    /// The owner is not at or below the apex; the record is left out.
    OutOfZone,
    /// The RRset's TTLs differ; all records get the lowest, in seconds (RFC 2181 section 5.2).
    TtlDiffers {
        /// The lowest.
        ttl_s: u32,
    },
    /// The record is there twice; one is kept (RFC 2181 section 5).
    Duplicate {
        /// The line of the one that is kept.
        line: u32,
    },
    /// The apex of this SOA has no NS records (RFC 1034 section 4.2.1).
    NoNs,
    /// The owner is below a DNAME, so the record is never answered (RFC 6672 section 2.4).
    BelowDname {
        /// The owner of the DNAME.
        dname: Name,
        /// Its line.
        line: u32,
    },
    /// A DNAME and a zone cut have one owner; the cut counts (RFC 6672 section 2.3).
    DnameAtCut {
        /// The line of the NS record.
        line: u32,
    },
    /// The owner is at or below a zone cut, and the record belongs to the zone that begins there
    /// (RFC 1034 section 4.2.1).
    Occluded {
        /// The owner of the NS records.
        cut: Name,
        /// Their line.
        line: u32,
    },
    /// A host that the record names is an alias (RFC 2181 section 10.3, RFC 2782).
    TargetIsAlias {
        /// The host.
        target: Name,
    },
    /// A host of this zone that the record names has no address (RFC 2181 section 10.3, RFC 2782).
    NoAddress {
        /// The host.
        target: Name,
    },
    /// A name server lies in the zone that it serves, and its address is not here, so that nobody
    /// can find it (RFC 1034 section 4.2.1).
    NoGlue {
        /// The name server.
        target: Name,
    },
}

/// What a look at all records of a zone has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first ones by the index of their group and that of the record in it: as they stand in
    /// the file. At most [`MASTER_WARNINGS_MAX`].
    pub(super) kept: BTreeMap<(usize, usize), WarningKind>,
    /// How many there were besides.
    pub(super) more: u64,
}

impl Warnings {
    /// Counts a warning, and keeps it while there are few.
    pub(super) fn push(&mut self, warning: impl FnOnce() -> MasterWarning) {
        self.count += 1;
        if self.kept.len() < MASTER_WARNINGS_MAX {
            self.kept.push(warning());
        }
    }
}

impl Found {
    /// Counts a finding, and keeps it while it is among the first of the file.
    pub(super) fn add(&mut self, group: usize, record: usize, kind: impl FnOnce() -> WarningKind) {
        let Self { kept, more } = self;
        let at = (group, record);
        let is_full = kept.len() >= MASTER_WARNINGS_MAX;
        if !is_full || kept.last_key_value().is_some_and(|(last, _)| at < *last) {
            kept.insert(at, kind());
        }
        if is_full {
            *more += 1;
            if kept.len() > MASTER_WARNINGS_MAX {
                kept.pop_last();
            }
        }
        debug_assert!(kept.len() <= MASTER_WARNINGS_MAX);
    }
}

impl fmt::Display for MasterWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, owner, rtype, kind } = self;
        write!(f, "{file}:{line}:{column}: {rtype} at {owner} ")?;
        // RFC 2181 speaks of NS and MX alone.
        let host_rule =
            if *rtype == RecordType::SRV { "RFC 2782" } else { "RFC 2181 section 10.3" };
        match kind {
            WarningKind::OutOfZone => f.write_str("is outside the zone and left out"),
            WarningKind::TtlDiffers { ttl_s } => {
                write!(f, "has TTLs that differ; {ttl_s} is taken (RFC 2181 section 5.2)")
            }
            WarningKind::Duplicate { line } => {
                write!(f, "repeats line {line} and is left out (RFC 2181 section 5)")
            }
            WarningKind::NoNs => f.write_str("has no NS record beside it (RFC 1034 section 4.2.1)"),
            WarningKind::BelowDname { dname, line } => {
                write!(f, "is hidden by the DNAME at {dname} in line {line} (RFC 6672 section 2.4)")
            }
            WarningKind::DnameAtCut { line } => {
                write!(f, "is hidden by the NS record beside it in line {line}")?;
                f.write_str(" (RFC 6672 section 2.3)")
            }
            WarningKind::Occluded { cut, line } => {
                write!(f, "is hidden by the delegation of {cut} in line {line}")?;
                f.write_str(" (RFC 1034 section 4.2.1)")
            }
            WarningKind::TargetIsAlias { target } => {
                write!(f, "names {target}, which is an alias ({host_rule})")
            }
            WarningKind::NoAddress { target } => {
                write!(f, "names {target}, which has no address ({host_rule})")
            }
            WarningKind::NoGlue { target } => {
                write!(f, "names {target} in the zone delegated, but no address of it")?;
                f.write_str(" (RFC 1034 section 4.2.1)")
            }
        }
    }
}
