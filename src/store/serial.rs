//! SOA serials: the next one by policy (RFC 1982).
//!
//! **Invariant:** the next serial is always newer than the current one, also where 2^32 wraps.
//! **Not here:** when a serial changes (`store::draft`), which of two is newer (`record::serial`).

use serde::{Deserialize, Serialize};

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
pub fn next_serial(current: u32, policy: SerialPolicy, now_ms: u64) -> u32 {
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

/// Returns `YYYYMMDD00` of the day that holds `now_ms`, or `None` from the year 4294 on.
fn date_serial(now_ms: u64) -> Option<u32> {
    let (year, month, day) = civil_date(now_ms / 86_400_000);
    let serial = ((year * 100 + month) * 100 + day) * 100;
    u32::try_from(serial).ok()
}

/// Returns year, month and day of a day counted from 1970-01-01 (Gregorian calendar).
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Count from 0000-03-01, so that a leap day ends its year; 146,097 days are 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
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
    fn days_become_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_780, (2026, 11, 23)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil_date(days), date, "{days}");
        }
    }
}
