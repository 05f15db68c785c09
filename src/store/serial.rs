//! SOA serials: the next one by policy (RFC 1982).
//!
//! **Invariant:** the next serial is always newer than the current one, also where 2^32 wraps.
//! **Not here:** when a serial changes (`store::draft`), which of two is newer (`record::serial`).

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::record::serial::is_newer;

/// How the serial of the next commit is chosen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SerialPolicy {
    /// One more.
    #[default]
    Increment,
    /// Seconds since 1970, or one more if that is not newer.
    Unixtime,
    /// `YYYYMMDDnn` of the day in UTC, or one more if that is not newer.
    Date,
}

/// Returns the serial of the next commit, made at `now_ms` milliseconds since 1970; `current` is 0
/// for a zone that had none.
pub(crate) fn next_serial(current: u32, policy: SerialPolicy, now_ms: u64) -> u32 {
    let wanted = match policy {
        SerialPolicy::Increment => None,
        SerialPolicy::Unixtime => u32::try_from(now_ms / 1_000).ok(),
        SerialPolicy::Date => date_serial(now_ms),
    };
    let next = wanted.filter(|wanted| is_newer(*wanted, current));
    // RFC 1982 section 3.1: an addition is modulo 2^32. 0 is skipped: some secondaries take a
    // serial of 0 for "never transferred".
    let next = next.unwrap_or_else(|| match current.wrapping_add(1) {
        0 => 1,
        more => more,
    });
    debug_assert!(is_newer(next, current));
    next
}

/// Returns `YYYYMMDD00` of the day that holds `now_ms`, or `None` from the year 4295 on.
fn date_serial(now_ms: u64) -> Option<u32> {
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(now_ms / 1_000).ok()?).ok()?;
    let (year, month, day) = now.to_calendar_date();
    let day = (u64::try_from(year).ok()? * 100 + u64::from(u8::from(month))) * 100 + u64::from(day);
    u32::try_from(day * 100).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T12:00:00Z.
    const NOW_MS: u64 = 1_795_435_200_000;

    #[test]
    fn the_next_serial_is_newer_by_every_policy() {
        for (current, policy, next) in [
            (7, SerialPolicy::Increment, 8),
            (u32::MAX, SerialPolicy::Increment, 1), // RFC 1982 section 3.1, 0 skipped
            (7, SerialPolicy::Unixtime, 1_795_435_200),
            (1_795_435_200, SerialPolicy::Unixtime, 1_795_435_201),
            (1_795_435_900, SerialPolicy::Unixtime, 1_795_435_901),
            (7, SerialPolicy::Date, 2_026_112_300),
            (2_026_112_300, SerialPolicy::Date, 2_026_112_301),
            (2_026_112_399, SerialPolicy::Date, 2_026_112_400),
            (4_294_967_295, SerialPolicy::Date, 2_026_112_300), // older by RFC 1982
        ] {
            assert_eq!(next_serial(current, policy, NOW_MS), next, "{current} {policy:?}");
        }
    }

    #[test]
    fn a_time_becomes_the_serial_of_its_day() {
        for (days, serial) in [
            (0, Some(1_970_010_100)),
            (11_016, Some(2_000_022_900)),
            (11_017, Some(2_000_030_100)),
            (20_780, Some(2_026_112_300)),
            (47_541, Some(2_100_030_100)),
            (849_095, Some(4_294_092_900)),
            (849_188, Some(4_294_123_100)),
            (849_189, None),
        ] {
            let (first_ms, next_ms) = (days * 86_400_000, (days + 1) * 86_400_000);
            assert_eq!(date_serial(first_ms), serial, "{days}");
            assert_eq!(date_serial(next_ms - 1), serial, "{days}");
        }
        assert_eq!(date_serial(u64::MAX), None);
    }
}
