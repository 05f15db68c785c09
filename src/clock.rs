//! The one reading of the system's clock.
//!
//! It may stand anywhere and step either way: what it says is shown to people and written beside
//! data, and never decides which of two versions is newer.
//!
//! **Not here:** measuring how long something takes (`std::time::Instant`).

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time in seconds since 1970, modulo 2^32.
pub(crate) fn now_s() -> u32 {
    // What is cut off is the number of the era (RFC 1982 serials, as cookies and signatures have them).
    (now_ms() / 1_000) as u32
}

/// Returns the time in milliseconds since 1970, 0 if the clock stands before.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
