//! Parameters of SVCB and HTTPS (RFC 9460 section 2, appendix A; RFC 9461, RFC 9540).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::record::RdataError;
use crate::record::rdata::codec::{Codec, no_name};
use crate::record::rdata::{Words, base, parse_decimal, strings};

/// Parameters up to the end, none included.
pub(super) const PARAMETERS: Codec = Codec { parse, len, write, name_in: no_name };

/// The form of a parameter's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// Keys that a client must understand, at least one.
    Keys,
    /// Character-strings, none empty, at least one.
    Strings,
    /// Nothing.
    Empty,
    /// 16 bits.
    Port,
    /// IPv4 addresses, at least one.
    Ipv4,
    /// IPv6 addresses, at least one.
    Ipv6,
    /// Octets, written in base64.
    Base64,
    /// UTF-8.
    Text,
    /// Numbers of 16 bits, at least one, none twice.
    Groups,
    /// Any octets.
    Opaque,
}

/// Keys that have names, and the form of their values (IANA's registry).
const KEYS: &[(u16, &str, Form)] = &[
    (MANDATORY, "mandatory", Form::Keys),
    (ALPN, "alpn", Form::Strings),
    (NO_DEFAULT_ALPN, "no-default-alpn", Form::Empty),
    (3, "port", Form::Port),
    (4, "ipv4hint", Form::Ipv4),
    (5, "ech", Form::Base64),
    (6, "ipv6hint", Form::Ipv6),
    (7, "dohpath", Form::Text),
    (8, "ohttp", Form::Empty),
    (9, "tls-supported-groups", Form::Groups),
];

/// Lists the keys that a client must understand.
const MANDATORY: u16 = 0;
/// Lists protocols.
const ALPN: u16 = 1;
/// Leaves out the default protocol.
const NO_DEFAULT_ALPN: u16 = 2;

/// Reads `key`, `key=value` and `key="value"` in any order; wire form has them in the keys'.
fn parse(field: &'static str, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let bad = RdataError::BadForm { field, form: "a list of key=value (RFC 9460 section 2.1)" };
    let start = out.len();
    let mut parameters: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(word) = words.take() {
        if word.is_quoted {
            return Err(bad);
        }
        let (key, value) = match word.octets.iter().position(|&octet| octet == b'=') {
            None => (word.octets, None),
            Some(at) if at + 1 < word.octets.len() => {
                (&word.octets[..at], Some(&word.octets[at + 1..]))
            }
            Some(at) => {
                let value = words.take_glued().map_or(&[][..], |word| word.octets);
                (&word.octets[..at], Some(value))
            }
        };
        let (key, form) = parse_key(key).ok_or_else(|| bad.clone())?;
        let value = parse_value(form, value)
            .ok_or(RdataError::BadForm { field: key_name(key), form: form.description() })?;
        parameters.push((key, value));
    }
    parameters.sort_by_key(|(key, _)| *key);
    for (key, value) in parameters {
        let len =
            u16::try_from(value.len()).map_err(|_| RdataError::TooLong { octets: value.len() })?;
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&value);
    }
    len(field, &out[start..]).map(|_| ())
}

/// Checks that all of `rest` is parameters, and that they agree with each other.
fn len(field: &'static str, rest: &[u8]) -> Result<usize, RdataError> {
    let (mut tail, mut above, mut mandatory, mut has_alpn) = (rest, None, &[][..], false);
    while !tail.is_empty() {
        let (key, value, next) = split(tail).ok_or(RdataError::CutShort { field })?;
        if above >= Some(key) {
            let rule = "of keys that rise, none twice (RFC 9460 section 2.2)";
            return Err(RdataError::BadValue { field, rule });
        }
        let form = form_of(key);
        if !form.fits(value) {
            return Err(RdataError::BadValue { field: key_name(key), rule: form.description() });
        }
        match key {
            MANDATORY => mandatory = value,
            ALPN => has_alpn = true,
            NO_DEFAULT_ALPN if !has_alpn => {
                let rule = "beside alpn (RFC 9460 section 7.1.1)";
                return Err(RdataError::BadValue { field: "no-default-alpn", rule });
            }
            _ => {}
        }
        above = Some(key);
        tail = next;
    }
    if numbers(mandatory).all(|key| contains(rest, key)) {
        return Ok(rest.len());
    }
    let rule = "of keys that are there too (RFC 9460 section 8)";
    Err(RdataError::BadValue { field: "mandatory", rule })
}

/// Writes parameters that passed [`len`].
fn write(octets: &[u8], out: &mut String) -> Option<()> {
    let (mut rest, mut separator) = (octets, "");
    while !rest.is_empty() {
        let (key, value, next) = split(rest)?;
        out.push_str(separator);
        write_key(key, out)?;
        write_value(form_of(key), value, out)?;
        (rest, separator) = (next, " ");
    }
    Some(())
}

impl Form {
    /// Whether wire form `value` has this form.
    fn fits(self, value: &[u8]) -> bool {
        match self {
            Self::Keys => {
                let is_rising = numbers(value).is_sorted_by(|a, b| a < b);
                is_list(value, 2) && is_rising && numbers(value).all(|key| key != MANDATORY)
            }
            Self::Strings => {
                let mut rest = value;
                while let [len, ..] = rest {
                    if *len == 0 {
                        return false;
                    }
                    let Some(tail) = rest.get(1 + usize::from(*len)..) else { return false };
                    rest = tail;
                }
                rest.is_empty() && !value.is_empty()
            }
            Self::Empty => value.is_empty(),
            Self::Port => value.len() == 2,
            Self::Ipv4 => is_list(value, 4),
            Self::Ipv6 => is_list(value, 16),
            Self::Text => !value.is_empty() && std::str::from_utf8(value).is_ok(),
            Self::Groups => {
                let mut sorted: Vec<u16> = numbers(value).collect();
                sorted.sort_unstable();
                is_list(value, 2) && sorted.is_sorted_by(|a, b| a < b)
            }
            Self::Base64 | Self::Opaque => true,
        }
    }

    /// Says what a value of this form is.
    fn description(self) -> &'static str {
        match self {
            Self::Keys => "a list of other keys, none twice",
            Self::Strings => "a list of strings of 1 to 255 octets",
            Self::Empty => "a key without a value",
            Self::Port => "a number from 0 to 65535",
            Self::Ipv4 => "a list of IPv4 addresses",
            Self::Ipv6 => "a list of IPv6 addresses",
            Self::Base64 => "base64",
            Self::Text => "UTF-8 that is not empty",
            Self::Groups => "a list of numbers from 0 to 65535, none twice",
            Self::Opaque => "text with escapes",
        }
    }
}

/// Reads a key: its name, in lower case alone (RFC 9460 section 2.1), or `key` and its number without leading zeros, whose value is opaque.
fn parse_key(text: &[u8]) -> Option<(u16, Form)> {
    if let Some((key, _, form)) = KEYS.iter().find(|row| row.1.as_bytes() == text) {
        return Some((*key, *form));
    }
    let (prefix, digits) = text.split_at_checked(3)?;
    let is_number = prefix == b"key" && (digits == b"0" || digits.first() != Some(&b'0'));
    let key = parse_decimal(digits).filter(|_| is_number)?;
    Some((u16::try_from(key).ok()?, Form::Opaque))
}

/// Reads a value in its form.
fn parse_value(form: Form, text: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    strings::parse_text(text.unwrap_or_default(), &mut octets).ok()?;
    let mut value = Vec::new();
    match form {
        Form::Empty if octets.is_empty() => {}
        Form::Empty => return None,
        Form::Opaque | Form::Text => value = octets,
        Form::Base64 => base::decode_base64("ech", &octets, &mut value).ok()?,
        Form::Port => value.extend_from_slice(&parse_u16(&octets)?.to_be_bytes()),
        Form::Keys => {
            let mut keys: Vec<u16> = octets
                .split(|&octet| octet == b',')
                .map(|text| parse_key(text).map(|(key, _)| key))
                .collect::<Option<_>>()?;
            keys.sort_unstable();
            value.extend(keys.into_iter().flat_map(u16::to_be_bytes));
        }
        Form::Groups => {
            for text in octets.split(|&octet| octet == b',') {
                value.extend_from_slice(&parse_u16(text)?.to_be_bytes());
            }
        }
        Form::Ipv4 => {
            for text in std::str::from_utf8(&octets).ok()?.split(',') {
                value.extend_from_slice(&text.parse::<Ipv4Addr>().ok()?.octets());
            }
        }
        Form::Ipv6 => {
            for text in std::str::from_utf8(&octets).ok()?.split(',') {
                value.extend_from_slice(&text.parse::<Ipv6Addr>().ok()?.octets());
            }
        }
        Form::Strings => {
            for string in split_list(&octets)? {
                value.push(u8::try_from(string.len()).ok()?);
                value.extend_from_slice(&string);
            }
        }
    }
    form.fits(&value).then_some(value)
}

/// Takes a comma-separated list apart; `\,` and `\\` are a comma and a backslash in an item
/// (RFC 9460 appendix A.1).
fn split_list(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut items, mut item) = (Vec::new(), Vec::new());
    let mut rest = octets.iter();
    while let Some(octet) = rest.next() {
        match octet {
            b',' => items.push(std::mem::take(&mut item)),
            b'\\' => item.push(*rest.next().filter(|escaped| matches!(escaped, b',' | b'\\'))?),
            _ => item.push(*octet),
        }
    }
    items.push(item);
    Some(items)
}

/// Writes `=` and a value, or nothing for an empty one.
fn write_value(form: Form, value: &[u8], out: &mut String) -> Option<()> {
    if value.is_empty() {
        return Some(());
    }
    out.push('=');
    match form {
        Form::Keys => {
            for (index, key) in numbers(value).enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_key(key, out)?;
            }
        }
        Form::Port | Form::Groups => write!(out, "{}", Joined(numbers(value))).ok()?,
        Form::Ipv4 => {
            let addresses = value.as_chunks().0.iter().map(|a: &[u8; 4]| Ipv4Addr::from(*a));
            write!(out, "{}", Joined(addresses)).ok()?;
        }
        Form::Ipv6 => {
            let addresses = value.as_chunks().0.iter().map(|a: &[u8; 16]| Ipv6Addr::from(*a));
            write!(out, "{}", Joined(addresses)).ok()?;
        }
        Form::Base64 => base::write_base64(value, out),
        Form::Text | Form::Opaque | Form::Empty => strings::write_quoted(value, out),
        Form::Strings => {
            let (mut rest, mut list) = (value, Vec::new());
            while let [len, tail @ ..] = rest {
                let (string, tail) = tail.split_at_checked(usize::from(*len))?;
                for &octet in string {
                    if matches!(octet, b',' | b'\\') {
                        list.push(b'\\');
                    }
                    list.push(octet);
                }
                list.push(b',');
                rest = tail;
            }
            list.pop();
            strings::write_quoted(&list, out);
        }
    }
    Some(())
}

/// Items with commas between.
struct Joined<I>(I);

impl<I: Iterator<Item: std::fmt::Display> + Clone> std::fmt::Display for Joined<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, item) in self.0.clone().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}

/// Writes a key's name, or `key` and its number.
fn write_key(key: u16, out: &mut String) -> Option<()> {
    match KEYS.iter().find(|row| row.0 == key) {
        Some((_, name, _)) => out.push_str(name),
        None => write!(out, "key{key}").ok()?,
    }
    Some(())
}

/// Returns a key's name as errors say it.
fn key_name(key: u16) -> &'static str {
    KEYS.iter().find(|row| row.0 == key).map_or("value", |row| row.1)
}

/// Returns the form of a key's value.
fn form_of(key: u16) -> Form {
    KEYS.iter().find(|row| row.0 == key).map_or(Form::Opaque, |row| row.2)
}

/// Splits off one parameter: key, value, and what follows.
fn split(octets: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let [key_high, key_low, len_high, len_low, rest @ ..] = octets else { return None };
    let len = u16::from_be_bytes([*len_high, *len_low]);
    let (value, rest) = rest.split_at_checked(usize::from(len))?;
    Some((u16::from_be_bytes([*key_high, *key_low]), value, rest))
}

/// Whether one of the parameters has a key.
fn contains(octets: &[u8], key: u16) -> bool {
    let mut rest = octets;
    while let Some((found, _, next)) = split(rest) {
        if found == key {
            return true;
        }
        rest = next;
    }
    false
}

/// Iterates over numbers of 16 bits.
fn numbers(value: &[u8]) -> impl Iterator<Item = u16> + Clone + '_ {
    value.as_chunks().0.iter().map(|octets| u16::from_be_bytes(*octets))
}

/// Whether a value is items of so many octets, at least one.
fn is_list(value: &[u8], octets: usize) -> bool {
    !value.is_empty() && value.len().is_multiple_of(octets)
}

/// Reads a number of 16 bits.
fn parse_u16(text: &[u8]) -> Option<u16> {
    u16::try_from(parse_decimal(text)?).ok()
}
