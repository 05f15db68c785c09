//! What one entry of a feed without header is about, and what its content says.
//!
//! **Invariant:** a content is read only as what its key is about.
//! **Not here:** which entries count (`sync::plain`), the JSON of records (`record::document`).

use crate::feed::key::{KeyError, ZONE_PREFIX, parse_record_key, parse_zone_key};
use crate::name::Name;
use crate::record::document::{RecordDocument, ZoneDocument};
use crate::record::{Change, RecordType, Rrset};
use crate::sync::complaint::EntryError;

/// What an entry says.
#[derive(Debug, Default)]
pub(super) enum PlainValue {
    /// Nothing yet: the content has not come, or is bad.
    #[default]
    Unknown,
    /// Nothing any more.
    Gone,
    /// An RRset.
    Record {
        /// The RRset.
        rrset: Rrset,
        /// When it was written, in seconds since 1970.
        updated_s: u32,
    },
    /// A zone.
    Zone {
        /// Its apex.
        apex: Name,
        /// Whether it is served.
        is_enabled: bool,
    },
}

/// What a key is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    /// An RRset.
    Record(Name, RecordType),
    /// A zone.
    Zone(Name),
}

impl Subject {
    /// Returns the name that the filter is asked about.
    pub(super) fn name(&self) -> &Name {
        match self {
            Self::Record(name, _) | Self::Zone(name) => name,
        }
    }
}

/// Reads a key, with a final 0x00 or without.
pub(super) fn parse_key(key: &[u8]) -> Result<Subject, KeyError> {
    let key = key.strip_suffix(&[0]).unwrap_or(key);
    if key.starts_with(ZONE_PREFIX.as_bytes()) {
        return parse_zone_key(key).map(Subject::Zone);
    }
    parse_record_key(key).map(|(owner, rtype)| Subject::Record(owner, rtype))
}

/// Reads content.
pub(super) fn read_value(key: &[u8], octets: &[u8]) -> Result<PlainValue, EntryError> {
    if octets == [0] {
        return Ok(PlainValue::Gone);
    }
    match parse_key(key).map_err(EntryError::BadKey)? {
        Subject::Zone(apex) => {
            let document = ZoneDocument::from_json(octets)?;
            if document.apex != apex {
                return Err(EntryError::WrongZone { found: document.apex });
            }
            Ok(PlainValue::Zone { apex, is_enabled: document.is_enabled })
        }
        Subject::Record(owner, rtype) => read_record(&owner, rtype, octets),
    }
}

/// Reads a record's JSON.
fn read_record(owner: &Name, rtype: RecordType, octets: &[u8]) -> Result<PlainValue, EntryError> {
    let document = RecordDocument::from_json(octets)?;
    if *document.change.owner() != *owner || document.change.rtype() != rtype {
        return Err(EntryError::WrongRrset { found: document.change.owner().clone() });
    }
    let Change::Put(rrset) = document.change else { return Ok(PlainValue::Gone) };
    let updated_s = u32::try_from(document.updated_at_ms / 1_000).unwrap_or(u32::MAX);
    Ok(PlainValue::Record { rrset, updated_s })
}
