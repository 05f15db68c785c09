//! What a reply says went wrong: RCODEs, and the extended errors that say why.
//!
//! RFC 1035 section 4.1.1, RFC 2136 section 2.2, RFC 6891 section 9.

/// No error.
pub const NOERROR: u16 = 0;
/// The query is malformed.
pub const FORMERR: u16 = 1;
/// The server failed.
pub const SERVFAIL: u16 = 2;
/// The name does not exist.
pub const NXDOMAIN: u16 = 3;
/// The opcode is not known.
pub const NOTIMP: u16 = 4;
/// Not ours, or not allowed.
pub const REFUSED: u16 = 5;
/// A name that is too long came out of a DNAME (RFC 6672 section 2.2).
pub const YXDOMAIN: u16 = 6;
/// Not authoritative, or not authorized (RFC 2136, RFC 8945).
pub const NOTAUTH: u16 = 9;
/// The EDNS version is not known.
pub const BADVERS: u16 = 16;

/// Extended DNS errors (RFC 8914 section 4): why a query was refused, or what an answer is worth.
pub mod ede {
    /// None of those that have a number: the text says why.
    pub const OTHER: u16 = 0;
    /// The answer is that of before: whether it is still so could not be asked.
    pub const STALE_ANSWER: u16 = 3;
    /// The zone is not loaded yet.
    pub const NOT_READY: u16 = 14;
    /// The asker may not have this.
    pub const PROHIBITED: u16 = 18;
    /// The name did not exist before: whether that is still so could not be asked.
    pub const STALE_NXDOMAIN: u16 = 19;
    /// There is no zone of ours that the name is in.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// The class, or what is asked for in it, is not served at all.
    pub const NOT_SUPPORTED: u16 = 21;
    /// There is no data of a zone that is configured, or what there is has expired.
    pub const INVALID_DATA: u16 = 24;
}
