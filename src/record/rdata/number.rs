//! Numbers and times in seconds, as text and as big-endian octets.

use crate::record::RdataError;

/// Reads a decimal number up to `max`.
///
/// # Errors
/// [`RdataError::BadNumber`].
pub(super) fn parse_number(field: &'static str, text: &[u8], max: u64) -> Result<u64, RdataError> {
    parse_decimal(text).filter(|&number| number <= max).ok_or(RdataError::BadNumber { field, max })
}

/// Reads decimal digits, at least one and nothing else.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, octet| {
        let digit = octet.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Reads a time: seconds, or numbers that each have a unit (`1h30m`; w, d, h, m, s).
///
/// The units are BIND's, which every master file reader took over.
pub(crate) fn parse_seconds(text: &[u8]) -> Option<u32> {
    if text.last()?.is_ascii_digit() {
        return parse_decimal(text).and_then(|seconds| u32::try_from(seconds).ok());
    }
    let mut total = 0_u64;
    for part in text.split_inclusive(|octet| octet.is_ascii_alphabetic()) {
        let (unit, digits) = part.split_last()?;
        let seconds = match unit.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(parse_decimal(digits)?.checked_mul(seconds)?)?;
    }
    u32::try_from(total).ok()
}

/// Reads big-endian octets, eight at most.
pub(super) fn from_octets(octets: &[u8]) -> u64 {
    debug_assert!(octets.len() <= 8);
    octets.iter().fold(0, |number, &octet| number << 8 | u64::from(octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_take_units_in_any_case() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("3600", Some(3_600)),
            ("1h30m", Some(5_400)),
            ("1W2D3H4M5S", Some(788_645)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("7102w", None),
            ("99999999999999999999w", None),
            ("1h30", None),
            ("h", None),
            ("1x", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse_seconds(text.as_bytes()), seconds, "{text}");
        }
    }
}
