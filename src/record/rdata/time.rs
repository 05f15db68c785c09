//! Signature times: 32-bit seconds since 1970, written `YYYYMMDDHHmmSS` (RFC 4034 section 3.2).

use std::fmt::Write as _;

use crate::record::RdataError;
use crate::record::rdata::number::parse_decimal;

/// Reads fourteen digits as a date, fewer as seconds since 1970.
///
/// # Errors
/// [`RdataError::BadTime`]; also for a date after 2106, which 32 bits cannot say.
pub(crate) fn parse(field: &'static str, text: &[u8]) -> Result<u32, RdataError> {
    let number = parse_decimal(text);
    let seconds = if text.len() == 14 { number.and_then(seconds_of) } else { number };
    seconds.and_then(|seconds| u32::try_from(seconds).ok()).ok_or(RdataError::BadTime { field })
}

/// Writes the date.
pub(crate) fn write(seconds: u32, out: &mut String) {
    let (day, rest) = (seconds / DAY_S, seconds % DAY_S);
    let (mut year, mut day) = (1970, day);
    while day >= days_of_year(year) {
        day -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while day >= days_of_month(year, month) {
        day -= days_of_month(year, month);
        month += 1;
    }
    debug_assert!(month <= 12);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    // Writing to a string does not fail.
    let _ = write!(out, "{year:04}{month:02}{:02}{hour:02}{minute:02}{second:02}", day + 1);
}

/// Returns the seconds since 1970 of a date in fourteen digits, if it is one from 1970 to 2106.
fn seconds_of(digits: u64) -> Option<u64> {
    let part = |divisor: u64, modulus: u64| u32::try_from(digits / divisor % modulus).ok();
    let (year, month, day) =
        (part(10_000_000_000, 10_000)?, part(100_000_000, 100)?, part(1_000_000, 100)?);
    let (hour, minute, second) = (part(10_000, 100)?, part(100, 100)?, part(1, 100)?);
    let is_date = (1970..=2106).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = (1970..year).map(days_of_year).sum::<u32>()
        + (1..month).map(|month| days_of_month(year, month)).sum::<u32>()
        + day
        - 1;
    let seconds = hour * 3_600 + minute * 60 + second;
    Some(u64::from(days) * u64::from(DAY_S) + u64::from(seconds))
}

/// Returns how many days a year has.
fn days_of_year(year: u32) -> u32 {
    if is_leap(year) { 366 } else { 365 }
}

/// Returns how many days a month, from one, has.
fn days_of_month(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether a year has a 29 February.
fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Seconds of a day.
const DAY_S: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_agree() {
        for (text, seconds) in [
            ("19700101000000", 0),
            ("20040509183619", 1_084_127_779),
            ("20000229235959", 951_868_799),
            ("20010909014640", 1_000_000_000),
            ("21060207062815", u32::MAX),
        ] {
            let mut out = String::new();
            write(seconds, &mut out);
            assert_eq!(out, text);
            assert_eq!(parse("time", text.as_bytes()), Ok(seconds), "{text}");
            assert_eq!(parse("time", seconds.to_string().as_bytes()), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "x",
            "20010229000000",
            "20011301000000",
            "20010101240000",
            "21060207062816",
            "19691231235959",
            "4294967296",
            "99999999999999",
        ] {
            assert!(parse("time", text.as_bytes()).is_err(), "{text}");
        }
    }
}
