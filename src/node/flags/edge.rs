//! What an edge is called, and what it does when it does not hear its feed's author.
//!
//! **Not here:** what these mean to an edge (`replica`), to who asks whether it is ready (`health`).

use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::FlagError;
use crate::feed::frame::fleet::is_edge_name;
use crate::node::config::EdgeConfig;
use crate::replica::Expiry;

/// The flags of an edge.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct EdgeFlags {
    /// What an edge is called where its authority lists edges (`aspen-dns fleet`) and waits for them: 1 to 64
    /// letters, digits, dots, hyphens and underscores, a letter first.
    #[arg(long, env = "ASPEN_EDGE_NAME", value_name = "NAME", value_parser = parse_edge_name)]
    pub edge_name: Option<String>,

    /// Time for which the feed's author may not be heard while `/readyz` says ready, over restarts too: 30s,
    /// 10m, 2h, 1d. [default: however long]
    #[arg(long, env = "ASPEN_READY_SILENCE", value_name = "TIME", value_parser = parse_time)]
    pub ready_silence: Option<Duration>,

    /// Says in answers that they are stale while the edge is (extended DNS error 3, RFC 8914).
    #[arg(long, env = "ASPEN_STALE_EDE", value_parser = FalseyValueParser::new())]
    pub stale_ede: bool,

    /// For how long zones are answered while the feed's author is not heard: a time, or "soa" for what the SOA
    /// of each says; then they are SERVFAIL until it is heard. [default: for ever]
    #[arg(long, env = "ASPEN_EXPIRE", value_name = "soa|TIME", value_parser = parse_expiry)]
    pub expire: Option<Expiry>,

    /// Follows behind on purpose: what comes of the feed is answered only when it has been here for so long, unless
    /// `aspen-dns follow` says otherwise.
    #[arg(long, env = "ASPEN_FOLLOW_BEHIND", value_name = "TIME", value_parser = parse_time)]
    pub follow_behind: Option<Duration>,
}

impl EdgeFlags {
    /// Returns what an edge is to do.
    pub(super) fn config(self) -> EdgeConfig {
        EdgeConfig {
            name: self.edge_name,
            ready_silence: self.ready_silence,
            tells_stale: self.stale_ede,
            expiry: self.expire.unwrap_or_default(),
            follow_behind: self.follow_behind,
        }
    }
}

/// Reads the name of an edge.
fn parse_edge_name(text: &str) -> Result<String, FlagError> {
    is_edge_name(text).then(|| text.to_owned()).ok_or(FlagError::EdgeName)
}

/// Reads when zones expire.
fn parse_expiry(text: &str) -> Result<Expiry, FlagError> {
    match text {
        "soa" => Ok(Expiry::Soa),
        text => parse_time(text).map(Expiry::After).map_err(|_| FlagError::Expire),
    }
}

/// Reads a span of time: a number with its unit.
pub(super) fn parse_time(text: &str) -> Result<Duration, FlagError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(FlagError::Time),
    };
    let number: u64 = number.parse().map_err(|_| FlagError::Time)?;
    let seconds = number.checked_mul(unit_s).filter(|seconds| (1..=TIME_S_MAX).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(FlagError::Time)
}

/// Seconds of a span of time: a year and a day. More is a slip of the keys.
const TIME_S_MAX: u64 = 366 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        for (text, seconds) in [("1s", 1), ("10m", 600), ("2h", 7_200), ("366d", TIME_S_MAX)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "m", "0s", "-1s", "+1s", "1.5h", "1 h", "1w", "367d", "1ms"] {
            assert_eq!(parse_time(text), Err(FlagError::Time), "{text}");
        }
        assert_eq!(parse_time("99999999999999999999s"), Err(FlagError::Time));
        assert_eq!(parse_time("9999999999999999999d"), Err(FlagError::Time));
    }

    #[test]
    fn zones_expire_by_their_soa_or_by_age() {
        assert_eq!(parse_expiry("soa"), Ok(Expiry::Soa));
        assert_eq!(parse_expiry("7d"), Ok(Expiry::After(Duration::from_secs(7 * 86_400))));
        assert_eq!(parse_expiry("SOA"), Err(FlagError::Expire));
    }
}
