//! Locations on the globe (RFC 1876).

use std::fmt::Write as _;

use crate::record::RdataError;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::{Words, parse_decimal};

/// Size, precisions, latitude, longitude and altitude.
pub(super) const LOCATION: Codec = Codec { parse, len, write, name_in: no_name };

/// Reads `d [m [s]] N|S d [m [s]] E|W altitude [size [horizontal [vertical]]]`.
fn parse(_: &'static str, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let latitude = parse_angle("latitude", words, [b'N', b'S'], 90)?;
    let longitude = parse_angle("longitude", words, [b'E', b'W'], 180)?;
    let field = "altitude";
    let altitude = parse_centimeters(words.need(field)?.octets)
        .and_then(|centimeters| centimeters.checked_add(SEA_LEVEL_CM))
        .and_then(|centimeters| u32::try_from(centimeters).ok())
        .ok_or(RdataError::BadForm { field, form: "a number of meters from -100000.00" })?;
    let mut sizes = [SIZE_DEFAULT, HORIZONTAL_DEFAULT, VERTICAL_DEFAULT];
    let fields = ["size", "horizontal precision", "vertical precision"];
    for (size, field) in sizes.iter_mut().zip(fields) {
        let Some(word) = words.take() else { break };
        *size = parse_centimeters(word.octets)
            .and_then(encode_size)
            .ok_or(RdataError::BadForm { field, form: "a number of meters up to 90000000.00" })?;
    }
    out.push(0);
    out.extend_from_slice(&sizes);
    for number in [latitude, longitude, altitude] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// Checks that `rest` begins with a location. Versions other than 0 take everything.
fn len(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    if rest.first().is_some_and(|&version| version != 0) {
        return Ok(rest.len());
    }
    let location = split(rest).ok_or(RdataError::CutShort { field })?;
    let is_within = |angle: u32, degrees: u32| angle.abs_diff(EQUATOR) <= degrees * DEGREE;
    let is_size = |size: &u8| size >> 4 <= 9 && size & 15 <= 9;
    let is_valid = location.sizes.iter().all(is_size)
        && is_within(location.latitude, 90)
        && is_within(location.longitude, 180);
    if !is_valid {
        let rule = "sizes of decimal digits, a latitude to 90 and a longitude to 180 degrees";
        return Err(RdataError::BadValue { field, rule });
    }
    Ok(LOCATION_OCTETS)
}

/// Writes a location; other versions, and zero sizes with an exponent, have no text form.
fn write(octets: &[u8], out: &mut String) -> Option<()> {
    let location = split(octets).filter(|_| octets.len() == LOCATION_OCTETS && octets[0] == 0)?;
    write_angle(location.latitude, ['N', 'S'], out)?;
    out.push(' ');
    write_angle(location.longitude, ['E', 'W'], out)?;
    let altitude = i64::from(location.altitude) - SEA_LEVEL_CM;
    let (sign, altitude) = (if altitude < 0 { "-" } else { "" }, altitude.abs());
    write!(out, " {sign}{}.{:02}m", altitude / 100, altitude % 100).ok()?;
    for size in location.sizes {
        let centimeters = u64::from(size >> 4) * 10_u64.pow(u32::from(size & 15));
        if encode_size(i64::try_from(centimeters).ok()?) != Some(size) {
            return None;
        }
        write!(out, " {}.{:02}m", centimeters / 100, centimeters % 100).ok()?;
    }
    Some(())
}

/// The fields in wire form.
struct Location {
    /// Size, horizontal and vertical precision: a digit and an exponent of ten, in centimeters.
    sizes: [u8; 3],
    /// Thousandths of seconds of arc, north of [`EQUATOR`].
    latitude: u32,
    /// Thousandths of seconds of arc, east of it.
    longitude: u32,
    /// Centimeters above 100,000 m below sea level.
    altitude: u32,
}

/// Takes the fields apart.
fn split(octets: &[u8]) -> Option<Location> {
    let number = |at: usize| Some(u32::from_be_bytes(octets.get(at..at + 4)?.try_into().ok()?));
    let sizes = octets.get(1..4)?.try_into().ok()?;
    Some(Location { sizes, latitude: number(4)?, longitude: number(8)?, altitude: number(12)? })
}

/// Reads degrees, perhaps minutes and seconds, and one of two directions.
fn parse_angle(
    field: &'static str,
    words: &mut Words<'_>,
    directions: [u8; 2],
    degrees_max: u32,
) -> Result<u32, RdataError> {
    let form = "degrees, minutes, seconds and a direction, 51 30 12.748 N";
    let bad = RdataError::BadForm { field, form };
    let (mut total, mut unit, mut limit) = (0, DEGREE, degrees_max);
    loop {
        let text = words.need(field)?.octets;
        if let [letter] = text
            && let Some(index) = directions.iter().position(|d| d.eq_ignore_ascii_case(letter))
            && unit != DEGREE
        {
            let is_within = total <= degrees_max * DEGREE;
            let angle = if index == 0 { EQUATOR + total } else { EQUATOR - total };
            return if is_within { Ok(angle) } else { Err(bad) };
        }
        let thousandths = match unit {
            0 => return Err(bad),
            1_000 => parse_fixed(text, 3),
            _ => parse_decimal(text).and_then(|number| number.checked_mul(1_000)),
        };
        let thousandths = thousandths
            .and_then(|number| u32::try_from(number).ok())
            .filter(|&number| number / 1_000 <= limit)
            .ok_or_else(|| bad.clone())?;
        total += thousandths * (unit / 1_000);
        limit = 59;
        unit = if unit == 1_000 { 0 } else { unit / 60 };
    }
}

/// Writes degrees, minutes, seconds and the direction.
fn write_angle(angle: u32, directions: [char; 2], out: &mut String) -> Option<()> {
    let direction = directions[usize::from(angle < EQUATOR)];
    let rest = angle.abs_diff(EQUATOR);
    let (degrees, minutes) = (rest / DEGREE, rest / (DEGREE / 60) % 60);
    let (seconds, thousandths) = (rest / 1_000 % 60, rest % 1_000);
    write!(out, "{degrees} {minutes} {seconds}.{thousandths:03} {direction}").ok()
}

/// Reads meters with up to two decimals and perhaps an `m`, and returns centimeters.
fn parse_centimeters(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"m").unwrap_or(text);
    let (sign, text) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    i64::try_from(parse_fixed(text, 2)?).ok().map(|centimeters| sign * centimeters)
}

/// Reads a number with up to `decimals` digits after a point, and returns it without the point.
fn parse_fixed(text: &[u8], decimals: usize) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|&octet| octet == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    if fraction.len() > decimals || fraction.iter().any(|octet| !octet.is_ascii_digit()) {
        return None;
    }
    let mut digits = [b'0'; 3];
    digits[..fraction.len()].copy_from_slice(fraction);
    let scale = 10_u64.pow(u32::try_from(decimals).ok()?);
    parse_decimal(whole)?.checked_mul(scale)?.checked_add(parse_decimal(&digits[..decimals])?)
}

/// Encodes centimeters as a digit and an exponent of ten, rounded down as RFC 1876 has it.
fn encode_size(centimeters: i64) -> Option<u8> {
    let (mut digit, mut exponent) = (u64::try_from(centimeters).ok()?, 0_u8);
    while digit > 9 {
        digit /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some(u8::try_from(digit).ok()? << 4 | exponent)
}

/// Octets of a location of version 0.
const LOCATION_OCTETS: usize = 16;
/// What latitude and longitude count from.
const EQUATOR: u32 = 1 << 31;
/// A degree in thousandths of seconds.
const DEGREE: u32 = 3_600_000;
/// Sea level above what altitudes count from, in centimeters.
const SEA_LEVEL_CM: i64 = 10_000_000;
/// A size of 1 m.
const SIZE_DEFAULT: u8 = 0x12;
/// A horizontal precision of 10,000 m.
const HORIZONTAL_DEFAULT: u8 = 0x16;
/// A vertical precision of 10 m.
const VERTICAL_DEFAULT: u8 = 0x13;
