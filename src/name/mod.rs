//! A domain name in canonical form: lower case, uncompressed wire form.
//!
//! Owner names, apexes and keys are [`Name`]s. Names inside RDATA keep the case that their author
//! wrote and stay in wire form, so they are no `Name`s.
//! RFC 1035 section 3.1 (wire form, limits), RFC 4343 (case), RFC 4034 section 6.1 (order).
//!
//! **Invariant:** labels of 1 to 63 octets, 255 octets at most, ends in the root label, no octet
//! in `A..=Z`. A `Name` that exists is correct.
//! **Not here:** parsing of compressed names in messages (`message`), key escapes (`feed::key`).

pub(crate) mod words;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};

/// A canonical domain name. Comparison is RFC 4034 section 6.1's canonical order.
#[derive(Clone, Eq, PartialEq, Hash)]
pub struct Name(Box<[u8]>);

/// Why octets or text are no domain name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// There was no text at all; the root is written `.`.
    #[error("a name is empty; the root is written \".\"")]
    Empty,
    /// Two dots in a row, or one at the beginning.
    #[error("a label is empty (RFC 1035 section 3.1)")]
    LabelEmpty,
    /// A label of more than 63 octets.
    #[error("a label has {octets} octets, 63 at most (RFC 1035 section 3.1)")]
    LabelTooLong {
        /// Its octets.
        octets: usize,
    },
    /// A name of more than 255 octets in wire form.
    #[error("a name has more than 255 octets in wire form (RFC 1035 section 3.1)")]
    TooLong,
    /// A backslash with no character, or not three digits up to 255, behind it.
    #[error("an escape is neither \\DDD up to 255 nor \\ and a character (RFC 1035 section 5.1)")]
    BadEscape,
    /// Text holds an octet outside printable ASCII that is not escaped.
    #[error("octet {octet} must be written as an escape, \\{octet:03} (RFC 1035 section 5.1)")]
    BadCharacter {
        /// The octet.
        octet: u8,
    },
    /// Wire form ends before the root label.
    #[error("a name ends before its root label (RFC 1035 section 3.1)")]
    CutShort,
    /// Octets follow the root label.
    #[error("octets follow the root label of a name")]
    TrailingOctets,
    /// A compression pointer or a reserved label type where none may stand.
    #[error("a label of type {octet:#04x} where names are not compressed")]
    BadLabelType {
        /// The first octet of the label.
        octet: u8,
    },
}

impl Name {
    /// Returns the root name.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Makes a name from uncompressed wire form; upper case becomes lower case.
    ///
    /// # Errors
    /// Every [`NameError`] that wire form can break; `octets` must be one name and no more.
    pub fn from_wire(octets: &[u8]) -> Result<Self, NameError> {
        let len = wire_len(octets)?;
        if len != octets.len() {
            return Err(NameError::TrailingOctets);
        }
        Ok(Self(octets.to_ascii_lowercase().into()))
    }

    /// Makes a name from presentation form, absolute whether or not a dot ends it.
    ///
    /// # Errors
    /// Every [`NameError`] that text can break.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        let is_absolute = parse_labels(text.as_bytes(), &mut wire)?;
        if !is_absolute {
            wire.push(0);
        }
        if wire.len() > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        wire.make_ascii_lowercase();
        Ok(Self(wire.into()))
    }

    /// Returns the wire form, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Returns how many labels the name has, the root label not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Iterates over the labels from the leftmost to the one before the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.0 }
    }

    /// Whether this is the root name.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether the leftmost label is `*` (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// Returns the name without its leftmost label, or `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let label_len = usize::from(self.0[0]);
        (label_len > 0).then(|| Self(self.0[label_len + 1..].into()))
    }

    /// Whether this name is `ancestor` or lies below it.
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        is_at_or_below(&self.0, &ancestor.0)
    }

    /// Returns the name with `label` (1 to 63 octets) in front.
    ///
    /// # Errors
    /// [`NameError::LabelEmpty`], [`NameError::LabelTooLong`] or [`NameError::TooLong`].
    pub fn with_label(&self, label: &[u8]) -> Result<Self, NameError> {
        let len = match label.len() {
            0 => return Err(NameError::LabelEmpty),
            len @ 1..=LABEL_OCTETS_MAX => len,
            octets => return Err(NameError::LabelTooLong { octets }),
        };
        if len + 1 + self.0.len() > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        let mut wire = Vec::with_capacity(len + 1 + self.0.len());
        wire.push(u8::try_from(len).unwrap_or(0));
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
        wire.extend_from_slice(&self.0);
        Ok(Self(wire.into()))
    }

    /// Writes the absolute presentation form, with the dot that ends it: `www.example.com.`.
    pub fn to_fqdn(&self) -> String {
        if self.is_root() { ".".to_owned() } else { format!("{self}.") }
    }
}

/// Presentation form without the final dot (`www.example.com`); the root is `.`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write_label(label, f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::from_text(text)
    }
}

/// A name hashes and compares equal to its wire form, so maps can be asked with a slice.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_canonical(&self.0, &other.0)
    }
}

/// The labels of a name, from the left, without the root label.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    /// What is not yet given out, up to and with the root label.
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.rest.first()?);
        if len == 0 {
            return None;
        }
        let label = self.rest.get(1..=len)?;
        self.rest = &self.rest[len + 1..];
        Some(label)
    }
}

/// Returns the octets that one uncompressed name takes at the front of `octets`.
///
/// # Errors
/// [`NameError::CutShort`], [`NameError::BadLabelType`] or [`NameError::TooLong`].
pub fn wire_len(octets: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let label_len = *octets.get(at).ok_or(NameError::CutShort)?;
        if usize::from(label_len) > LABEL_OCTETS_MAX {
            return Err(NameError::BadLabelType { octet: label_len });
        }
        at += usize::from(label_len) + 1;
        if at > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        if at > octets.len() {
            return Err(NameError::CutShort);
        }
        if label_len == 0 {
            return Ok(at);
        }
    }
}

/// Whether wire name `name` is `ancestor` or below it; both in the same case.
pub fn is_at_or_below(name: &[u8], ancestor: &[u8]) -> bool {
    let Some(prefix_len) = name.len().checked_sub(ancestor.len()) else { return false };
    if name[prefix_len..] != *ancestor {
        return false;
    }
    // The suffix must begin at a label: octets may look alike across a label's length octet.
    let mut at = 0;
    while at < prefix_len {
        at += usize::from(name[at]) + 1;
    }
    at == prefix_len
}

/// Compares two wire names of the same case in canonical order (RFC 4034 section 6.1).
pub(crate) fn compare_canonical(left: &[u8], right: &[u8]) -> Ordering {
    let (left_starts, left_count) = label_starts(left);
    let (right_starts, right_count) = label_starts(right);
    let shared = left_count.min(right_count);
    for back in 1..=shared {
        let a = label_at(left, left_starts[left_count - back]);
        let b = label_at(right, right_starts[right_count - back]);
        match a.cmp(b) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    left_count.cmp(&right_count)
}

/// Appends the labels of presentation form `text` to `wire`, case kept; says whether a root label
/// ended it (the text was absolute).
///
/// # Errors
/// Every [`NameError`] that text can break; what was appended is then meaningless.
pub fn parse_labels(text: &[u8], wire: &mut Vec<u8>) -> Result<bool, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text == b"." {
        wire.push(0);
        return Ok(true);
    }
    let base = wire.len();
    // No character makes more than one octet, and the first length is not in the text.
    wire.resize(base + 1 + text.len(), 0);
    let out = &mut wire[base..];
    let (mut length_at, mut end) = (0, 1);
    let mut at = 0;
    while at < text.len() {
        let octet = text[at];
        at += 1;
        let plain = match octet {
            b'.' => {
                end_label(out, length_at, end)?;
                if end >= NAME_OCTETS_MAX {
                    return Err(NameError::TooLong);
                }
                (length_at, end) = (end, end + 1);
                continue;
            }
            b'\\' => {
                let (plain, used) = parse_escape(&text[at..])?;
                at += used;
                plain
            }
            0x21..=0x7e => octet,
            _ => return Err(NameError::BadCharacter { octet }),
        };
        out[end] = plain;
        end += 1;
    }
    let is_absolute = end == length_at + 1;
    if !is_absolute {
        end_label(out, length_at, end)?;
        if end > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
    }
    // Of an absolute name, the zero that stands where a length would is the root label.
    wire.truncate(base + end);
    Ok(is_absolute)
}

/// Writes the length of the label that began at `length_at` and ends before `end`.
fn end_label(wire: &mut [u8], length_at: usize, end: usize) -> Result<(), NameError> {
    match end - length_at - 1 {
        0 => Err(NameError::LabelEmpty),
        octets @ 1..=LABEL_OCTETS_MAX => {
            wire[length_at] = u8::try_from(octets).unwrap_or(0);
            Ok(())
        }
        octets => Err(NameError::LabelTooLong { octets }),
    }
}

/// Reads what follows a backslash: the octet meant, and how many characters say it.
///
/// # Errors
/// [`NameError::BadEscape`].
pub(crate) fn parse_escape(text: &[u8]) -> Result<(u8, usize), NameError> {
    match *text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
            Ok((u8::try_from(value).map_err(|_| NameError::BadEscape)?, 3))
        }
        [b'0'..=b'9', ..] | [] => Err(NameError::BadEscape),
        [plain, ..] => Ok((plain, 1)),
    }
}

/// Writes one label with the escapes of master files (RFC 1035 section 5.1).
pub(crate) fn write_label(label: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    for &octet in label {
        match octet {
            b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                out.write_char('\\')?;
                out.write_char(char::from(octet))?;
            }
            0x21..=0x7e => out.write_char(char::from(octet))?,
            _ => write!(out, "\\{octet:03}")?,
        }
    }
    Ok(())
}

/// Returns where each label starts, and how many there are, the root label not counted.
fn label_starts(wire: &[u8]) -> ([u8; 128], usize) {
    let (mut starts, mut count, mut at) = ([0_u8; 128], 0, 0);
    while wire[at] != 0 {
        debug_assert!(at < NAME_OCTETS_MAX);
        starts[count] = u8::try_from(at).unwrap_or(u8::MAX);
        count += 1;
        at += usize::from(wire[at]) + 1;
    }
    (starts, count)
}

/// Returns the label that starts at `start`.
fn label_at(wire: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    &wire[start + 1..=start + usize::from(wire[start])]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wire: &[u8], shown: &str) {
        let name = Name::from_text(text).expect(text);
        assert_eq!(name.as_wire(), wire, "{text}");
        assert_eq!(name.to_string(), shown, "{text}");
        assert_eq!(Name::from_text(shown).as_ref(), Ok(&name), "{shown}");
        assert_eq!(Name::from_wire(wire).as_ref(), Ok(&name), "{text}");
    }

    #[test]
    fn text_and_wire_agree() {
        check(".", b"\0", ".");
        check("Example.COM", b"\x07example\x03com\0", "example.com");
        check("example.com.", b"\x07example\x03com\0", "example.com");
        check("a\\.b.c", b"\x03a.b\x01c\0", "a\\.b.c");
        check("\\065\\000.\\@", b"\x02a\0\x01@\0", "a\\000.\\@");
        check("*.x", b"\x01*\x01x\0", "*.x");
        check("a:b.x", b"\x03a:b\x01x\0", "a:b.x");
    }

    #[test]
    fn text_that_breaks_a_rule_names_it() {
        let long_label = "a".repeat(64);
        let long_name = ["a".repeat(63).as_str(); 4].join(".");
        for (text, error) in [
            ("", NameError::Empty),
            ("a..b", NameError::LabelEmpty),
            (".a", NameError::LabelEmpty),
            ("a\\25", NameError::BadEscape),
            ("a\\256", NameError::BadEscape),
            ("a\\", NameError::BadEscape),
            ("a b", NameError::BadCharacter { octet: b' ' }),
            (&long_label, NameError::LabelTooLong { octets: 64 }),
            (&long_name, NameError::TooLong),
        ] {
            assert_eq!(Name::from_text(text), Err(error), "{text}");
        }
    }

    #[test]
    fn length_limits_hold_just_below_and_at() {
        let label = "a".repeat(63);
        assert!(Name::from_text(&label).is_ok());
        let name_255 = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(Name::from_text(&name_255).map(|n| n.as_wire().len()), Ok(255));
        assert_eq!(Name::from_text(&format!("{name_255}a")), Err(NameError::TooLong));
        assert_eq!(Name::from_text(&format!("{name_255}.a")), Err(NameError::TooLong));
        let full = Name::from_text(&name_255).expect("255 octets are allowed");
        assert_eq!(full.with_label(b"x"), Err(NameError::TooLong));
    }

    #[test]
    fn wire_that_breaks_a_rule_names_it() {
        for (wire, error) in [
            (&b""[..], NameError::CutShort),
            (b"\x01a", NameError::CutShort),
            (b"\x05ab\0", NameError::CutShort),
            (b"\0\0", NameError::TrailingOctets),
            (b"\xc0\x0c", NameError::BadLabelType { octet: 0xc0 }),
        ] {
            assert_eq!(Name::from_wire(wire), Err(error), "{wire:?}");
        }
        assert_eq!(Name::from_wire(&[1; 300]), Err(NameError::TooLong));
    }

    #[test]
    fn order_is_canonical() {
        // RFC 4034 section 6.1's own example.
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            "\\001.z.example",
            "*.z.example",
            "\\200.z.example",
        ];
        let names: Vec<Name> = sorted.iter().map(|t| Name::from_text(t).expect(t)).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn below_counts_labels_not_octets() {
        let name = |text| Name::from_text(text).expect(text);
        assert!(name("a.b.c").is_at_or_below(&name("b.c")));
        assert!(name("b.c").is_at_or_below(&name("b.c")));
        assert!(name("b.c").is_at_or_below(&Name::root()));
        assert!(!name("ab.c").is_at_or_below(&name("b.c")));
        // The octets of "\001b" inside a label look like the label "b".
        assert!(!name("x\\001b.c").is_at_or_below(&name("b.c")));
        assert_eq!(name("a.b").parent(), Some(name("b")));
        assert_eq!(Name::root().parent(), None);
    }
}
