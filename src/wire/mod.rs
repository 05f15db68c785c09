//! DNS messages on the wire: queries in, replies out.
//!
//! RFC 1035 section 4, RFC 6891.

pub mod query;
pub mod reply;
