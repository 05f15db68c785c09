//! The keys under which zones and records stand in the engine, and the order that they make.
//!
//! | key | what stands there | in the feed |
//! |---|---|---|
//! | `H` | the store's history (`store::history`) | yes |
//! | `J` | the journal: what the newest commit changed (`store::journal`) | yes |
//! | `U` | what the newest commit took away (`store::undo`) | yes |
//! | `Z` name | a zone object (`store::zone_object`) | yes |
//! | `l` name | a lease (`store::lease`) | no |
//! | `n` name | a note (`store::notes`) | no |
//! | `g` generation | a generation that is being filled, that its zone has left, or that is swept (`store::import`) | no |
//! | `r` generation name 0x00 type | one RRset (`store::row`) | no |
//! | `p` generation number | a pack of many RRsets (`store::packs`) | no |
//! | `d` generation number | a part of the directory of packs | no |
//! | `o` generation name 0x00 type | one RRset over those in packs; an empty value: there is none | no |
//!
//! A name is written label by label from the right, so that the octet order of keys is the
//! canonical order of names (RFC 4034 section 6.1) and a subtree is one range. Each label ends in
//! 0x00; within it 0x00 becomes 0x01 0x01 and 0x01 becomes 0x01 0x02. The name of a row is
//! relative to the apex. A generation is the 64-bit number under which one version of a zone's
//! rows stands: an import fills a new one and the zone object then switches to it. Rows stand under `r`, each
//! alone, or in packs, and what has changed since over them under `o`.
//!
//! **Invariant:** every key that is written reads back as what it was made of.
//! **Not here:** the public keys `dns:{owner}:{TYPE}` (`feed::key`).

use crate::limits::NAME_OCTETS_MAX;
use crate::name::Name;
use crate::record::RecordType;
use crate::store::generation::Generation;
use crate::store::kv::{KeyRange, KvError, LEAD_KEY};

/// The key of the history.
pub(super) const HISTORY: &[u8] = b"H";
/// The key of the journal.
pub(super) const JOURNAL: &[u8] = LEAD_KEY;
/// The key of what the newest commit took away.
pub(super) const UNDO: &[u8] = b"U";
/// What the keys of zone objects begin with.
const ZONE: u8 = b'Z';
/// What the keys of leases begin with.
const LEASE: u8 = b'l';
/// What the keys of notes begin with.
const NOTE: u8 = b'n';
/// What the keys of generations begin with.
const GENERATION: u8 = b'g';
/// What the value of a generation's key begins with while it is being filled; 64 bits of time follow.
const FILLING: u8 = b'f';
/// The value of the key of a generation that is to be swept.
const SWEPT: u8 = b's';
/// What the value of a generation's key begins with once its zone has left it; 64 bits of time and as many of how
/// many RRsets it has follow.
const KEPT: u8 = b'k';
/// What the keys of rows begin with that stand each alone.
const ROW: u8 = b'r';
/// What the keys of rows begin with that stand over those in packs.
pub(super) const ROW_OVER: u8 = b'o';
/// What the keys of packs begin with.
const PACK: u8 = b'p';
/// What the keys of directories begin with.
const DIRECTORY: u8 = b'd';
/// Ends a label, and stands between a row's name and its type.
const END: u8 = 0;
/// Begins an escape.
const ESCAPE: u8 = 1;
/// Octets in front of a row's name: `r` and the generation.
pub(super) const ROW_NAME_AT: usize = 9;

/// Returns the key of the zone object of `apex`.
pub(super) fn zone_key(apex: &Name) -> Vec<u8> {
    let mut key = vec![ZONE];
    push_labels(&mut key, apex.as_wire());
    key
}

/// Returns the range of all zone objects, in canonical order of their apexes.
pub(super) fn zone_range() -> KeyRange {
    KeyRange::prefix(&[ZONE])
}

/// Reads back the apex from what [`zone_key`] made.
///
/// # Errors
/// [`KvError::Unreadable`].
pub(super) fn parse_zone_key(key: &[u8]) -> Result<Name, KvError> {
    let labels = key.get(1..).unwrap_or_default();
    let apex = parse_labels(labels, Name::root().as_wire());
    apex.ok_or(KvError::Unreadable { what: "the key of a zone" })
}

/// Returns the key of the lease called `name`.
pub(super) fn lease_key(name: &str) -> Vec<u8> {
    [&[LEASE][..], name.as_bytes()].concat()
}

/// Returns the key of the note called `name`.
pub(super) fn note_key(name: &str) -> Vec<u8> {
    [&[NOTE][..], name.as_bytes()].concat()
}

/// Whether a key is that of a lease or of a note, which say what they are to those who write them.
pub(super) fn is_of_others(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(LEASE | NOTE)))
}

/// Returns the key that says that a generation is being filled or swept.
pub(super) fn generation_key(generation: u64) -> Vec<u8> {
    [&[GENERATION][..], &generation.to_be_bytes()].concat()
}

/// Returns the value of the key of a generation that is being filled, when its newest chunk was written.
pub(super) fn filling_marker(now_ms: u64) -> Vec<u8> {
    [&[FILLING][..], &now_ms.to_be_bytes()].concat()
}

/// Returns the value of the key of a generation that is to be swept.
pub(super) fn swept_marker() -> Vec<u8> {
    vec![SWEPT]
}

/// Returns the value of the key of a generation that its zone has left, with so many RRsets.
pub(super) fn kept_marker(now_ms: u64, rrsets: u64) -> Vec<u8> {
    [&[KEPT][..], &now_ms.to_be_bytes(), &rrsets.to_be_bytes()].concat()
}

/// Returns how many RRsets a generation has, if that is the value of the key of one that its zone has left.
pub(super) fn kept_rrsets(marker: &[u8]) -> Option<u64> {
    let rrsets = marker.strip_prefix(&[KEPT])?.get(8..)?.try_into().ok()?;
    Some(u64::from_be_bytes(rrsets))
}

/// Returns the range of all keys that [`generation_key`] makes.
pub(super) fn generation_range() -> KeyRange {
    KeyRange::prefix(&[GENERATION])
}

/// Reads back what [`generation_key`] made.
///
/// # Errors
/// [`KvError::Unreadable`].
pub(super) fn parse_generation_key(key: &[u8]) -> Result<u64, KvError> {
    let octets = key.get(1..).and_then(|octets| octets.try_into().ok());
    octets.map(u64::from_be_bytes).ok_or(KvError::Unreadable { what: "the key of a generation" })
}

/// Returns the range of all rows of a generation, in canonical order of their owners.
pub(super) fn rows_of_generation(generation: Generation) -> KeyRange {
    KeyRange::prefix(&row_prefix(generation))
}

/// Returns the key of the row of (`owner`, `rtype`); `owner` is at or below `apex`.
pub(super) fn row_key(
    generation: Generation,
    apex: &Name,
    owner: &Name,
    rtype: RecordType,
) -> Vec<u8> {
    let mut key = rows_at(generation, apex, owner);
    key.extend_from_slice(&rtype.0.to_be_bytes());
    key
}

/// Returns what the keys of all rows of `owner` begin with.
pub(super) fn rows_at(generation: Generation, apex: &Name, owner: &Name) -> Vec<u8> {
    let mut key = rows_at_or_below(generation, apex, owner);
    key.push(END);
    key
}

/// Returns what the keys of all rows of `owner` and of the names below it begin with.
pub(super) fn rows_at_or_below(generation: Generation, apex: &Name, owner: &Name) -> Vec<u8> {
    debug_assert!(owner.is_at_or_below(apex));
    let mut key = row_prefix(generation);
    let relative_len = owner.as_wire().len() - apex.as_wire().len();
    push_labels(&mut key, &owner.as_wire()[..relative_len]);
    key
}

/// Returns the range of the rows of names below `owner`, `owner`'s own left out.
pub(super) fn rows_below(generation: Generation, apex: &Name, owner: &Name) -> KeyRange {
    let range = KeyRange::prefix(&rows_at_or_below(generation, apex, owner));
    let mut start = range.start;
    start.push(END + 1);
    KeyRange { start, end: range.end }
}

/// Reads back owner and type from a row's key.
///
/// # Errors
/// [`KvError::Unreadable`].
pub(super) fn parse_row_key(key: &[u8], apex: &Name) -> Result<(Name, RecordType), KvError> {
    let unreadable = KvError::Unreadable { what: "the key of an RRset" };
    let parse = || {
        let (name, rtype) = key.get(ROW_NAME_AT..)?.split_last_chunk::<2>()?;
        let (end, labels) = name.split_last()?;
        let owner = parse_labels(labels, apex.as_wire())?;
        (*end == END).then_some((owner, RecordType(u16::from_be_bytes(*rtype))))
    };
    parse().ok_or(unreadable)
}

/// Returns all that stands under a generation's number, besides its own key.
pub(super) fn all_of_generation(number: u64) -> [KeyRange; 4] {
    [ROW, DIRECTORY, ROW_OVER, PACK].map(|first| KeyRange::prefix(&numbered(first, number)))
}

/// Returns where the rows of a generation stand in the engine.
pub(super) fn ranges_of_generation(generation: Generation) -> Vec<KeyRange> {
    let firsts: &[u8] = if generation.is_packed { &[DIRECTORY, PACK, ROW_OVER] } else { &[ROW] };
    firsts.iter().map(|first| KeyRange::prefix(&numbered(*first, generation.number))).collect()
}

/// Returns the key of the note that a store was not copied whole.
pub(super) fn unfinished_key() -> Vec<u8> {
    note_key("unfinished")
}

/// Whether a backup may have the key: one of a zone, its rows, or a note.
pub(super) fn is_of_backup(key: &[u8]) -> bool {
    let firsts = [ZONE, NOTE, DIRECTORY, PACK, ROW_OVER, ROW];
    key.first().is_some_and(|first| firsts.contains(first)) && *key != unfinished_key()[..]
}

/// Returns the key of a pack.
pub(super) fn pack_key(number: u64, index: u32) -> Vec<u8> {
    [&numbered(PACK, number)[..], &index.to_be_bytes()].concat()
}

/// Returns the key of a part of the directory of packs.
pub(super) fn directory_key(number: u64, index: u32) -> Vec<u8> {
    [&numbered(DIRECTORY, number)[..], &index.to_be_bytes()].concat()
}

/// Returns the range of the directory of a generation.
pub(super) fn directory_range(number: u64) -> KeyRange {
    KeyRange::prefix(&numbered(DIRECTORY, number))
}

/// Returns the number of the generation of a row that stands over packs, if the key is one of those.
pub(super) fn packed_number(key: &[u8]) -> Option<u64> {
    let (first, rest) = key.split_first()?;
    let number = rest.first_chunk::<8>().filter(|_| *first == ROW_OVER)?;
    Some(u64::from_be_bytes(*number))
}

/// Returns the number of the generation of a pack, if the key is that of one.
pub(super) fn number_of_pack(key: &[u8]) -> Option<u64> {
    let (first, rest) = key.split_first()?;
    let number = rest.first_chunk::<8>().filter(|_| *first == PACK)?;
    Some(u64::from_be_bytes(*number))
}

/// Whether a key is that of a part of a directory of packs.
pub(super) fn is_of_directory(key: &[u8]) -> bool {
    key.first() == Some(&DIRECTORY)
}

/// Returns an octet and the number of a generation.
fn numbered(first: u8, number: u64) -> Vec<u8> {
    [&[first][..], &number.to_be_bytes()].concat()
}

/// Returns what the keys of a generation's rows begin with.
fn row_prefix(generation: Generation) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    key.push(if generation.is_packed { ROW_OVER } else { ROW });
    key.extend_from_slice(&generation.number.to_be_bytes());
    key
}

/// Appends the labels of `wire` (with or without a root label) from the right.
fn push_labels(key: &mut Vec<u8>, wire: &[u8]) {
    let (mut starts, mut count, mut at) = ([0_u8; NAME_OCTETS_MAX], 0, 0);
    while let Some(&len) = wire.get(at).filter(|len| **len > 0) {
        starts[count] = u8::try_from(at).unwrap_or(u8::MAX);
        count += 1;
        at += usize::from(len) + 1;
    }
    for &start in starts[..count].iter().rev() {
        let start = usize::from(start);
        for &octet in &wire[start + 1..=start + usize::from(wire[start])] {
            match octet {
                0 | 1 => key.extend_from_slice(&[ESCAPE, octet + 1]),
                plain => key.push(plain),
            }
        }
        key.push(END);
    }
}

/// Reads what [`push_labels`] appended, in front of the wire name `apex`.
fn parse_labels(mut escaped: &[u8], apex: &[u8]) -> Option<Name> {
    // Filled from the right, as the labels come.
    let mut wire = [0_u8; NAME_OCTETS_MAX];
    let mut at = NAME_OCTETS_MAX - apex.len();
    wire[at..].copy_from_slice(apex);
    while !escaped.is_empty() {
        let mut label = [0_u8; 63];
        let mut len = 0;
        loop {
            let (octet, tail) = escaped.split_first()?;
            escaped = tail;
            let plain = match *octet {
                END => break,
                ESCAPE => {
                    let (octet, tail) = escaped.split_first()?;
                    escaped = tail;
                    octet.checked_sub(1).filter(|plain| *plain <= 1)?
                }
                plain => plain,
            };
            *label.get_mut(len)? = plain;
            len += 1;
        }
        at = at.checked_sub(len + 1)?;
        wire[at] = u8::try_from(len).ok()?;
        wire[at + 1..=at + len].copy_from_slice(&label[..len]);
    }
    Name::from_wire(&wire[at..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    #[test]
    fn a_row_key_reads_back_any_owner() {
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for (owner, apex) in [
            ("example.com", "example.com"),
            ("www.example.com", "example.com"),
            ("\\000.\\001\\255.a\\.b.example.com", "example.com"),
            ("*.example.com", "."),
            (".", "."),
            (&long, "."),
        ] {
            let (owner, apex) = (name(owner), name(apex));
            let key = row_key(Generation::loose(u64::MAX), &apex, &owner, RecordType::AAAA);
            assert_eq!(parse_row_key(&key, &apex).ok(), Some((owner, RecordType::AAAA)));
        }
    }

    #[test]
    fn keys_sort_as_names_do_and_a_subtree_is_one_range() {
        // RFC 4034 section 6.1, and two labels that only escapes keep in order.
        let names = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "\\000.z.example",
            "z.example",
            "\\001.z.example",
            "*.z.example",
            "\\200.z.example",
        ];
        let mut sorted: Vec<Name> = names.iter().map(|text| name(text)).collect();
        sorted.sort();
        let apex = name("example");
        let key = |owner: &Name| row_key(Generation::loose(7), &apex, owner, RecordType::A);
        assert!(sorted.is_sorted_by(|a, b| key(a) < key(b)));
        let below = rows_below(Generation::loose(7), &apex, &name("z.example"));
        for owner in &sorted {
            let is_below = owner.is_at_or_below(&name("z.example")) && *owner != name("z.example");
            let key = key(owner);
            assert_eq!(below.start <= key && key < below.end, is_below, "{owner}");
        }
    }

    #[test]
    fn rubbish_is_no_row_key() {
        let apex = name("example");
        let good = row_key(Generation::loose(7), &apex, &name("www.example"), RecordType::A);
        for len in 0..good.len() {
            assert!(parse_row_key(&good[..len], &apex).is_err(), "{len}");
        }
    }
}
