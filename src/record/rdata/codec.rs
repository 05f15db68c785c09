//! How a field that only one or two types have is read, checked and written.
//!
//! **Invariant:** the length that `len` returns is what `write` and `name_in` take; each of the three
//! agrees with `parse`.
//! **Not here:** the kinds of fields that many types have (`rdata::field`).

use crate::record::RdataError;
use crate::record::rdata::Words;

/// Such a field's four functions.
#[derive(Debug)]
pub(super) struct Codec {
    /// Reads the field's words and appends its wire form.
    pub(super) parse: fn(&'static str, &mut Words<'_>, &mut Vec<u8>) -> Result<(), RdataError>,
    /// Checks the field at the front of some octets and returns how many it takes.
    pub(super) len: fn(&'static str, &[u8]) -> Result<usize, RdataError>,
    /// Writes the presentation form of the field's octets; `None` if they have none.
    pub(super) write: fn(&[u8], &mut String) -> Option<()>,
    /// Returns offset and length of the name inside the field's octets, if there is one.
    pub(super) name_in: fn(&[u8]) -> Option<(usize, usize)>,
}

/// Says of any field that no name is in it.
pub(super) fn no_name(_: &[u8]) -> Option<(usize, usize)> {
    None
}
