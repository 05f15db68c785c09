//! Master files: zones as text (RFC 1035 section 5, RFC 2308 section 4, RFC 3597 section 5).
//!
//! [`MasterReader`] yields one record after the other, `$INCLUDE` and `$GENERATE` carried out;
//! [`read_zone`] makes the RRsets of one zone of them, [`read_sorted`] for a snapshot;
//! [`write_zone`] writes what is read back; [`Rrset::from_text`](crate::record::Rrset::from_text)
//! reads one RRset.
//!
//! **Invariant:** every error names file, line, column and rule; reading ends at the first one.
//! Time and memory are bounded by the text and the limits of `$INCLUDE` and `$GENERATE`.
//! **Not here:** files (the caller reads them and opens those included), zone cuts (`zone`).

mod directive;
mod generate;
mod groups;
mod hosts;
mod lint;
mod order;
mod owners;
mod reader;
mod rrset;
mod rules;
mod warning;
mod write;
mod zone;

use std::fmt;
use std::io;

use crate::limits::{
    GENERATE_RECORDS_MAX, GENERATE_WIDTH_MAX, INCLUDE_DEPTH_MAX, INCLUDE_FILES_MAX, TTL_S_MAX,
};
use crate::name::{Name, NameError};
use crate::record::{RdataError, RecordType, RrsetError, SplitError};

pub use reader::MasterReader;
pub use warning::{MasterWarning, WarningKind, Warnings};
pub use write::write_zone;
pub use zone::{MasterZone, SortedZone, read_sorted, read_zone};

/// One record of a master file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterRecord {
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// The TTL in seconds: the record's own, or the one that stands for it.
    pub ttl_s: u32,
    /// The class; 1 is IN.
    pub class: u16,
    /// RDATA in uncompressed wire form, checked against the type.
    pub rdata: Vec<u8>,
    /// The line that the record begins on, in the file that it stands in.
    pub line: u32,
    /// The octet of that line, from one: the first that is not blank.
    pub column: u32,
}

/// Returns the octets of the file that `$INCLUDE` names, its path as written.
pub type Opener<'a> = dyn FnMut(&str) -> Result<Vec<u8>, IncludeError> + 'a;

/// How to read a master file.
pub struct MasterOptions<'a> {
    /// The file's name, as errors say it.
    pub file: String,
    /// The TTL in seconds of records before any `$TTL` and any TTL of a record.
    ///
    /// RFC 1035 leaves it open; NSD, Knot and PowerDNS take an hour.
    pub default_ttl_s: u32,
    /// Opens included files; without it `$INCLUDE` is an error.
    pub opener: Option<&'a mut Opener<'a>>,
}

impl Default for MasterOptions<'_> {
    fn default() -> Self {
        Self { file: "-".to_owned(), default_ttl_s: 3_600, opener: None }
    }
}

impl fmt::Debug for MasterOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterOptions")
            .field("file", &self.file)
            .field("default_ttl_s", &self.default_ttl_s)
            .field("has_opener", &self.opener.is_some())
            .finish()
    }
}

/// Where a master file breaks a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{line}:{column}: {rule}")]
pub struct MasterError {
    /// The file's name.
    pub file: String,
    /// The line, from one.
    pub line: u32,
    /// The octet of the line, from one.
    pub column: u32,
    /// The rule.
    pub rule: MasterRule,
}

/// Why an included file cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IncludeError {
    /// The path leads out of the directory that the first file stands in.
    #[error("an included file must be in the directory of the file that includes it, or below")]
    Outside,
    /// The file system refuses.
    #[error("the included file: {0}")]
    Unreadable(io::ErrorKind),
}

/// The rule that a master file breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the message of each variant says what it is
pub enum MasterRule {
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error("the owner: {0}")]
    Owner(NameError),
    #[error("the first record has no owner name before it that it could share")]
    NoOwner,
    #[error("no type follows the owner name")]
    NoType,
    #[error("{text:?} is neither a TTL, a class nor a type")]
    UnknownType { text: String },
    #[error("{rtype}: {rule}")]
    Rdata { rtype: RecordType, rule: RdataError },
    #[error("{text:?} is no TTL such as 3600 or 1h30m, up to {TTL_S_MAX} (RFC 2181 section 8)")]
    BadTtl { text: String },
    #[error("{text} is none of $ORIGIN, $TTL, $INCLUDE, $GENERATE")]
    UnknownDirective { text: String },
    #[error("{directive} lacks its {what}")]
    DirectiveCutShort { directive: &'static str, what: &'static str },
    #[error("text follows what {directive} takes")]
    DirectiveTrailing { directive: &'static str },
    #[error("the origin: {0}")]
    Origin(NameError),
    #[error("$INCLUDE is not allowed here")]
    IncludeNotAllowed,
    #[error("the path of an included file is no UTF-8")]
    IncludePath,
    #[error(transparent)]
    Include(#[from] IncludeError),
    #[error("$INCLUDE nests deeper than {INCLUDE_DEPTH_MAX} files")]
    IncludeTooDeep,
    #[error("more than {INCLUDE_FILES_MAX} files are included")]
    IncludeTooMany,
    #[error("a range is start-stop or start-stop/step, start not above stop, step not 0")]
    GenerateRange,
    #[error(
        "a modifier is ${{offset}}, ${{offset,width}} or ${{offset,width,base}}, width up to \
         {GENERATE_WIDTH_MAX}, base one of d o x X n N; only d writes numbers below 0"
    )]
    GenerateModifier,
    #[error("$GENERATE makes more than {GENERATE_RECORDS_MAX} records")]
    GenerateTooMany,
    #[error("the class is not IN")]
    ClassNotIn,
    #[error("no SOA record: nothing says which zone this is")]
    NoSoa,
    #[error("a second SOA at {owner}, which differs from that at {apex} in line {line}")]
    SecondSoa { owner: Name, apex: Name, line: u32 },
    #[error("{rtype} at {owner} beside a CNAME in line {line} (RFC 2181 section 10.1)")]
    CnameNotAlone { owner: Name, rtype: RecordType, line: u32 },
    #[error("a second {rtype} at {owner}, which differs from that in line {line}")]
    SecondSingle { owner: Name, rtype: RecordType, line: u32 },
    #[error("{rtype} at {owner}: {rule}")]
    Rrset { owner: Name, rtype: RecordType, rule: RrsetError },
    #[error("no record")]
    NoRecord,
    #[error("{rtype} at {owner} is of another RRset than line {line}")]
    OtherRrset { owner: Name, rtype: RecordType, line: u32 },
    #[error("a TTL of {ttl_s} seconds, another than in line {line} (RFC 2181 section 5.2)")]
    OtherTtl { ttl_s: u32, line: u32 },
}

/// Where in an entry's text a rule is broken.
type Fault = (usize, MasterRule);

#[cfg(test)]
mod tests;
