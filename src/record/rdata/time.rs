//! Signature times: 32-bit seconds since 1970, written `YYYYMMDDHHmmSS` (RFC 4034 section 3.2).

use std::fmt::Write as _;

use time::{Date, Duration, Month, OffsetDateTime};

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
    let at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds.into());
    let ((year, month, day), (hour, minute, second)) = (at.to_calendar_date(), at.to_hms());
    let month = u8::from(month);
    // Writing to a string does not fail.
    let _ = write!(out, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
}

/// Returns the seconds since 1970 of a date in fourteen digits, if it is one since then.
fn seconds_of(digits: u64) -> Option<u64> {
    let year = i32::try_from(digits / 10_000_000_000).ok()?;
    let pair = |divisor| u8::try_from(digits / divisor % 100).ok();
    let month = Month::try_from(pair(100_000_000)?).ok()?;
    let date = Date::from_calendar_date(year, month, pair(1_000_000)?).ok()?;
    let at = date.with_hms(pair(10_000)?, pair(100)?, pair(1)?).ok()?;
    u64::try_from(at.assume_utc().unix_timestamp()).ok()
}

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
            "21000229000000",
            "20010100000000",
            "20010132000000",
            "20010001000000",
            "20010101006000",
            "20010101000060",
            "00000000000000",
            "4294967296",
            "99999999999999",
        ] {
            assert!(parse("time", text.as_bytes()).is_err(), "{text}");
        }
    }
}
