//! Keys of the store and of a feed: which RRset, zone, pack or change an entry is about.
//!
//! | key | of |
//! |---|---|
//! | `dns:{owner}:{TYPE}` | an RRset |
//! | `dns:_zone:{apex}` | a zone's settings, or its manifest in a feed |
//! | `dns:_pack:{apex}:{n}` | a pack |
//! | `dns:_live:{apex}` 0x00 `{revision}` 0x00 `{change}` | a change that rides in its key |
//! | `dns:_feed`, `dns:_beat` | header and heartbeat of a feed of the first format |
//! | `dns:_root` | the newest version of a feed's document |
//!
//! Names stand in presentation form without the last dot; besides the escapes of master files a
//! `:` is `\058`, and so is the `_` (`\095`) that begins a name of one label, since `_zone` and its
//! like are ours. The store's keys are these texts; a feed's keys end in one 0x00, so that no key
//! is the prefix of another: a write to a key removes all entries whose keys begin with it.
//!
//! **Invariant:** every owner and type round-trip; no two kinds of key are the same octets.
//! **Not here:** what the entries hold (`record::document`, `feed::manifest`, `feed::pack`).

use crate::name::{Name, NameError};
use crate::record::RecordType;

/// What every key begins with.
pub(crate) const PREFIX: &str = "dns:";
/// The key of a feed's header.
pub const HEADER_KEY: &str = "dns:_feed";
/// The key of a feed's heartbeat.
pub const BEAT_KEY: &str = "dns:_beat";
/// The key of the entry that names the newest version of a feed's document.
pub const ROOT_KEY: &str = "dns:_root";
/// The key of the entry that says who may have the feed, and what becomes of it.
pub const NOTICE_KEY: &str = "dns:_notice";
/// What the keys of zones begin with.
pub const ZONE_PREFIX: &str = "dns:_zone:";
/// What the keys of packs begin with.
pub(crate) const PACK_PREFIX: &str = "dns:_pack:";
/// What the keys of live changes begin with.
pub(crate) const LIVE_PREFIX: &str = "dns:_live:";

/// What a feed's key says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FeedKey<'a> {
    /// The feed's header.
    Header,
    /// The heartbeat.
    Beat,
    /// The newest version of the document.
    Root,
    /// A zone's manifest.
    Zone {
        /// The zone's apex.
        apex: Name,
    },
    /// A pack of a zone.
    Pack {
        /// The zone's apex.
        apex: Name,
        /// The pack's number.
        number: u64,
    },
    /// A change inside the key.
    Live {
        /// The apex of the zone that changes.
        apex: Name,
        /// The revision of the commit.
        revision: u64,
        /// The change, in binary.
        change: &'a [u8],
    },
    /// An RRset.
    Record {
        /// The owner name.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
}

/// Why octets are no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It does not begin with `dns:`.
    #[error("a key does not begin with \"dns:\"")]
    NoPrefix,
    /// It is none of ours, though it begins as ours do.
    #[error("a key is of no known kind")]
    UnknownKind,
    /// Octets that are no text.
    #[error("a key is no text")]
    NotText,
    /// An RRset's key without a type.
    #[error("a key names no record type")]
    NoType,
    /// The type is none.
    #[error("a key names a record type that there is not")]
    BadType,
    /// The name breaks a rule.
    #[error("a key's name: {0}")]
    BadName(#[from] NameError),
    /// The pack's number is not decimal, or has leading zeros.
    #[error("a key's pack number is not decimal")]
    BadNumber,
    /// The revision is not sixteen digits of lower-case hexadecimal.
    #[error("a key's revision is not sixteen hexadecimal digits")]
    BadRevision,
    /// A feed's key that does not end in one 0x00.
    #[error("a key does not end in 0x00")]
    NotTerminated,
}

/// Returns the key of an RRset.
pub fn record_key(owner: &Name, rtype: RecordType) -> String {
    format!("{}{rtype}", owner_prefix(owner))
}

/// Returns what the keys of all RRsets at one owner name begin with, and no other keys.
fn owner_prefix(owner: &Name) -> String {
    let text = escape(owner);
    let is_single = !text.contains('.');
    match text.strip_prefix('_').filter(|_| is_single) {
        Some(rest) => format!("{PREFIX}\\095{rest}:"),
        None => format!("{PREFIX}{text}:"),
    }
}

/// Returns the key of a zone.
pub fn zone_key(apex: &Name) -> String {
    format!("{ZONE_PREFIX}{}", escape(apex))
}

/// Returns the key of a zone's pack.
pub fn pack_key(apex: &Name, number: u64) -> String {
    format!("{}{number}", pack_prefix(apex))
}

/// Returns what the keys of all packs of a zone begin with, and no other keys.
pub(crate) fn pack_prefix(apex: &Name) -> String {
    format!("{PACK_PREFIX}{}:", escape(apex))
}

/// Returns the whole key of a live change; it needs no further 0x00.
pub(crate) fn live_key(apex: &Name, revision: u64, change: &[u8]) -> Vec<u8> {
    let mut key = live_revision_prefix(apex, revision);
    key.extend_from_slice(change);
    key
}

/// Returns what the keys of all live changes of a zone begin with, and no other keys.
pub fn live_prefix(apex: &Name) -> Vec<u8> {
    terminate(&format!("{LIVE_PREFIX}{}", escape(apex)))
}

/// Returns what the key of the live change of one revision begins with, and no other key.
pub(crate) fn live_revision_prefix(apex: &Name, revision: u64) -> Vec<u8> {
    let mut key = live_prefix(apex);
    key.extend_from_slice(format!("{revision:016x}").as_bytes());
    key.push(0);
    key
}

/// Makes a feed's key from a key of the store: one 0x00 at its end.
pub fn terminate(key: &str) -> Vec<u8> {
    debug_assert!(!key.contains('\0'));
    let mut octets = Vec::with_capacity(key.len() + 1);
    octets.extend_from_slice(key.as_bytes());
    octets.push(0);
    octets
}

/// Reads the key of an RRset, without the 0x00 of feeds. Upper case in it is taken as lower case,
/// and a type in lower case as upper, as the original's keys may have them.
///
/// # Errors
/// A [`KeyError`]; [`KeyError::UnknownKind`] for a zone's key or any other.
pub fn parse_record_key(key: &[u8]) -> Result<(Name, RecordType), KeyError> {
    let text = std::str::from_utf8(key).map_err(|_| KeyError::NotText)?;
    let text = text.strip_prefix(PREFIX).ok_or(KeyError::NoPrefix)?;
    let (owner, rtype) = text.rsplit_once(':').ok_or(KeyError::NoType)?;
    if owner.contains(':') || (owner.starts_with('_') && !owner.contains('.')) {
        return Err(KeyError::UnknownKind);
    }
    let rtype = rtype.parse().map_err(|_| KeyError::BadType)?;
    Ok((Name::from_text(owner)?, rtype))
}

/// Reads the key of a zone, without the 0x00 of feeds.
///
/// # Errors
/// A [`KeyError`]; [`KeyError::UnknownKind`] for another kind of key.
pub fn parse_zone_key(key: &[u8]) -> Result<Name, KeyError> {
    let text = std::str::from_utf8(key).map_err(|_| KeyError::NotText)?;
    parse_name(text.strip_prefix(ZONE_PREFIX).ok_or(KeyError::UnknownKind)?)
}

/// Reads any key of a feed, its 0x00 included.
///
/// # Errors
/// A [`KeyError`].
pub(crate) fn parse_feed_key(key: &[u8]) -> Result<FeedKey<'_>, KeyError> {
    if let Some(rest) = key.strip_prefix(LIVE_PREFIX.as_bytes()) {
        return parse_live(rest);
    }
    let key = key.strip_suffix(b"\0").ok_or(KeyError::NotTerminated)?;
    if key == HEADER_KEY.as_bytes() {
        return Ok(FeedKey::Header);
    }
    if key == BEAT_KEY.as_bytes() {
        return Ok(FeedKey::Beat);
    }
    if key == ROOT_KEY.as_bytes() {
        return Ok(FeedKey::Root);
    }
    if key.starts_with(ZONE_PREFIX.as_bytes()) {
        return Ok(FeedKey::Zone { apex: parse_zone_key(key)? });
    }
    if let Some(rest) = key.strip_prefix(PACK_PREFIX.as_bytes()) {
        return parse_pack(rest);
    }
    let (owner, rtype) = parse_record_key(key)?;
    Ok(FeedKey::Record { owner, rtype })
}

/// Reads what follows the prefix of a pack's key.
fn parse_pack(rest: &[u8]) -> Result<FeedKey<'static>, KeyError> {
    let text = std::str::from_utf8(rest).map_err(|_| KeyError::NotText)?;
    let (apex, digits) = text.rsplit_once(':').ok_or(KeyError::BadNumber)?;
    let number: u64 = digits.parse().map_err(|_| KeyError::BadNumber)?;
    // One number has one key.
    if number.to_string() != digits {
        return Err(KeyError::BadNumber);
    }
    Ok(FeedKey::Pack { apex: parse_name(apex)?, number })
}

/// Reads what follows the prefix of a live change's key.
fn parse_live(rest: &[u8]) -> Result<FeedKey<'_>, KeyError> {
    let end = rest.iter().position(|&octet| octet == 0).ok_or(KeyError::NotTerminated)?;
    let apex = std::str::from_utf8(&rest[..end]).map_err(|_| KeyError::NotText)?;
    let (digits, tail) =
        rest[end + 1..].split_first_chunk::<REVISION_DIGITS>().ok_or(KeyError::BadRevision)?;
    let change = tail.strip_prefix(b"\0").ok_or(KeyError::NotTerminated)?;
    let is_lower_hex = digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    let revision = std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_lower_hex)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(KeyError::BadRevision)?;
    Ok(FeedKey::Live { apex: parse_name(apex)?, revision, change })
}

/// Reads a name in which no `:` stands unescaped.
fn parse_name(text: &str) -> Result<Name, KeyError> {
    if text.contains(':') { Err(KeyError::UnknownKind) } else { Ok(Name::from_text(text)?) }
}

/// Writes a name as keys have it.
fn escape(name: &Name) -> String {
    let text = name.to_string();
    if text.contains(':') { text.replace(':', "\\058") } else { text }
}

/// Digits of a revision.
const REVISION_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn keys_of_rrsets_have_the_form_of_the_original() {
        for (owner, key) in [
            ("api.Example.com", "dns:api.example.com:A"),
            ("*.example.com", "dns:*.example.com:A"),
            ("_ldap._tcp.example.com", "dns:_ldap._tcp.example.com:A"),
            (".", "dns:.:A"),
            ("a:b\\000.x", "dns:a\\058b\\000.x:A"),
            ("_zone", "dns:\\095zone:A"),
            ("x\\.y", "dns:x\\.y:A"),
        ] {
            assert_eq!(record_key(&name(owner), RecordType::A), key);
            assert_eq!(parse_record_key(key.as_bytes()), Ok((name(owner), RecordType::A)));
        }
        assert_eq!(parse_record_key(b"dns:WWW.x:aaaa"), Ok((name("www.x"), RecordType::AAAA)));
    }

    #[test]
    fn what_is_no_key_of_an_rrset_is_refused() {
        for (key, error) in [
            (&b"dnx:a:A"[..], KeyError::NoPrefix),
            (b"dns:a", KeyError::NoType),
            (b"dns:a:FOO", KeyError::BadType),
            (b"dns:a:b:A", KeyError::UnknownKind),
            (b"dns:_zone:a", KeyError::UnknownKind),
            (b"dns::A", KeyError::BadName(NameError::Empty)),
            (b"dns:\xff:A", KeyError::NotText),
        ] {
            assert_eq!(parse_record_key(key), Err(error), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_name_of_one_label_is_never_taken_for_a_zone_or_a_pack() {
        for owner in ["_zone", "_pack", "_live", "_feed", "_beat", "_root", "_other"] {
            let key = terminate(&record_key(&name(owner), RecordType::A));
            let expected = FeedKey::Record { owner: name(owner), rtype: RecordType::A };
            assert_eq!(parse_feed_key(&key), Ok(expected));
        }
    }

    #[test]
    fn a_live_key_has_a_revision_of_sixteen_digits() {
        assert_eq!(live_key(&name("x"), 255, b"c"), b"dns:_live:x\x0000000000000000ff\0c");
        for key in [&b"dns:_live:x"[..], b"dns:_live:x\0", b"dns:_live:x\x00000000000000FF\0c"] {
            assert!(parse_feed_key(key).is_err());
        }
    }

    proptest! {
        #[test]
        fn every_key_round_trips(
            labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..6), 0..5),
            number in any::<u64>(),
            rtype in any::<u16>(),
            change in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let owner = labels.iter().fold(Name::root(), |name, label| name.with_label(label).unwrap());
            let rtype = RecordType(rtype);
            let keys = [
                (terminate(&record_key(&owner, rtype)), FeedKey::Record { owner: owner.clone(), rtype }),
                (terminate(&zone_key(&owner)), FeedKey::Zone { apex: owner.clone() }),
                (terminate(&pack_key(&owner, number)), FeedKey::Pack { apex: owner.clone(), number }),
                (
                    live_key(&owner, number, &change),
                    FeedKey::Live { apex: owner.clone(), revision: number, change: &change },
                ),
            ];
            for (key, expected) in &keys {
                prop_assert_eq!(parse_feed_key(key), Ok(expected.clone()));
            }
        }

        #[test]
        fn no_octets_make_a_key_panic(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            for prefix in ["", PREFIX, ZONE_PREFIX, PACK_PREFIX, LIVE_PREFIX] {
                let key = [prefix.as_bytes(), &octets, b"\0"].concat();
                let _ = parse_feed_key(&key);
            }
        }
    }
}
