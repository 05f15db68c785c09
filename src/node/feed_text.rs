//! Keys, zones and times of feeds as they are written: in the book, over the API, by people.
//!
//! **Invariant:** what is written reads back; a key that exists is one that an endpoint can have.
//! **Not here:** what stands in the book (`feed_book`).

use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use iroh::EndpointId;
use serde::{Deserialize, Serialize};

use crate::dnssec::Time;

/// A public key, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointKey(pub [u8; 32]);

/// What is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a key of an endpoint is 64 hexadecimal digits, as `aspen-node --show-endpoint` prints them"
)]
pub struct NoKey;

impl FromStr for EndpointKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let octets = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| NoKey)?;
        let octets: [u8; 32] = octets.try_into().map_err(|_| NoKey)?;
        EndpointId::from_bytes(&octets).map_err(|_| NoKey)?;
        Ok(Self(octets))
    }
}

impl TryFrom<String> for EndpointKey {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Self, NoKey> {
        text.parse()
    }
}

impl From<EndpointKey> for String {
    fn from(key: EndpointKey) -> Self {
        key.to_string()
    }
}

impl std::fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Reads when a feed ends, in milliseconds since 1970: `never`, a time (YYYYMMDDHHmmSS in UTC, or seconds since
/// 1970), or so long from now on (`+90s`, `+30m`, `+12h`, `+7d`).
///
/// # Errors
/// [`NoTime`].
pub(crate) fn read_when(text: &str, now_ms: u64) -> Result<Option<u64>, NoTime> {
    let text = text.trim();
    if text == "never" {
        return Ok(None);
    }
    let Some(span) = text.strip_prefix('+') else {
        let at: Time = text.parse().map_err(|_| NoTime)?;
        return Ok(Some(u64::from(at.0) * 1_000));
    };
    let unit_at = span.find(|letter: char| !letter.is_ascii_digit()).ok_or(NoTime)?;
    let unit_s: u64 = match &span[unit_at..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(NoTime),
    };
    let count: u64 = span[..unit_at].parse().map_err(|_| NoTime)?;
    let span_ms = count.checked_mul(unit_s * 1_000).ok_or(NoTime)?;
    now_ms.checked_add(span_ms).map(Some).ok_or(NoTime)
}

/// What is no time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a time is \"never\", YYYYMMDDHHmmSS in UTC, seconds since 1970, or so long from now on: +90s, +30m, +12h, +7d"
)]
pub(crate) struct NoTime;

/// Zones, written as their names.
pub(super) mod zone_texts {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use crate::name::Name;

    /// Writes them.
    pub(in crate::node) fn serialize<S: Serializer>(
        zones: &Option<Vec<Name>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts = zones.as_ref().map(|zones| zones.iter().map(Name::to_fqdn));
        texts.map(Iterator::collect::<Vec<String>>).serialize(serializer)
    }

    /// Reads them.
    pub(in crate::node) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<Name>>, D::Error> {
        let texts = Option::<Vec<String>>::deserialize(deserializer)?;
        let read = |texts: Vec<String>| texts.iter().map(|text| text.parse()).collect();
        texts.map(read).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_that_an_endpoint_can_have() {
        let key = EndpointKey(*iroh::SecretKey::from_bytes(&[1; 32]).public().as_bytes());
        assert_eq!(format!(" {}\n", key.to_string().to_uppercase()).parse(), Ok(key));
        for bad in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66)] {
            assert!(bad.parse::<EndpointKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_feed_ends_never_at_a_time_or_so_long_from_now_on() {
        let read = |text| read_when(text, 5_000);
        assert_eq!(read("never"), Ok(None));
        assert_eq!(read("+0s"), Ok(Some(5_000)));
        assert_eq!(read("+90s"), Ok(Some(95_000)));
        assert_eq!(read("+7d"), Ok(Some(5_000 + 7 * 86_400_000)));
        assert_eq!(read("1790000000"), Ok(Some(1_790_000_000_000)));
        assert_eq!(read("20260921142640"), Ok(Some(1_790_000_800_000)));
        for bad in ["", "+", "+d", "+1", "+1w", "-1d", "+-1d", "soon", "+99999999999999999999d"] {
            assert_eq!(read(bad), Err(NoTime), "{bad}");
        }
        assert_eq!(read(&format!("+{}d", u64::MAX)), Err(NoTime));
    }
}
