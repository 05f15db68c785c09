//! Records: types, RRsets, and RDATA in wire and presentation form.
//!
//! RDATA is kept in uncompressed wire form everywhere; text exists only at the edges of the
//! system (API, master files, feed documents); [`Rrset::from_text`] reads it.
//! RFC 1035 section 3.2, RFC 2181 section 5 (RRsets), RFC 3597 (types that nobody named).

pub mod document;
pub mod facts;
pub mod master;
pub mod rdata;
pub(crate) mod rrset;
pub(crate) mod rtype;
pub(crate) mod serial;
pub(crate) mod soa;
pub(crate) mod token;

pub use rdata::RdataError;
pub use rrset::{Change, RdataList, Rrset, RrsetError, RrsetRef};
pub use rtype::RecordType;
pub use soa::Soa;
pub use token::SplitError;
