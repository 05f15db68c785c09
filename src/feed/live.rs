//! A live change: what happened to a zone a moment ago, carried in the key of its entry.
//!
//! Content is a second round trip, and a fetch may hang; a key arrives with the gossip. One live
//! change holds one commit or several, each RRset once with its last state, so that applying it to
//! any revision from `prev` up to `number` leads to `number`. A change that is too long for a key
//! is cut in parts, each an entry of its own; the zone changes when all have arrived.
//!
//! Layout behind the key's head: length u32 of all that follows, format (4 octets), epoch u64,
//! prev u64, part u8, parts u8, count of items u32, items (`feed::items`, no table).
//!
//! **Invariant:** the length comes first, so no live key is a prefix of another.
//! **Not here:** the key's head (`feed::key`), joining parts and revisions (`sync`).

use crate::feed::Revision;
use crate::feed::items::{ItemRef, ItemWriter, Items, item_of};
use crate::feed::key::live_revision_prefix;
use crate::limits::{LIVE_KEY_OCTETS_MAX, LIVE_PARTS_MAX};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader};
use crate::record::Change;

/// One part of a live change, as one key carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveChange {
    /// The zone.
    pub apex: Name,
    /// The last revision that the change brings.
    pub revision: Revision,
    /// The number, in the same epoch, of the zone's revision before the change.
    pub prev: u64,
    /// Which part this is, from zero.
    pub part: u8,
    /// How many parts there are, at least one.
    pub part_count: u8,
    /// The RRsets that change, each once, in canonical order.
    pub changes: Vec<Change>,
}

/// Why a change cannot be a live one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LiveError {
    /// It needs a delta pack.
    #[error("a change too long for {LIVE_PARTS_MAX} keys of {LIVE_KEY_OCTETS_MAX} octets")]
    TooLong,
    /// A change leads nowhere.
    #[error("a live change must lead from a lower revision to a higher one")]
    NoProgress,
    /// A changed RRset is in another zone.
    #[error("{owner} is not at or below the apex")]
    OutOfZone {
        /// Its owner name.
        owner: Name,
    },
}

/// Writes the keys of a live change that leads a zone from number `prev` to `revision`; one key if
/// it fits, else several. Of two changes of one RRset the later wins; any order will do.
///
/// # Errors
/// [`LiveError`].
pub fn live_keys(
    apex: &Name,
    revision: Revision,
    prev: u64,
    changes: &[Change],
) -> Result<Vec<Vec<u8>>, LiveError> {
    if prev >= revision.number {
        return Err(LiveError::NoProgress);
    }
    let head = live_revision_prefix(apex, revision.number);
    let items_len_max = LIVE_KEY_OCTETS_MAX.saturating_sub(head.len() + HEAD_LEN);
    let mut parts = vec![ItemWriter::new(apex.clone(), false)];
    for change in coalesce(changes) {
        let item = item_of(change);
        let mut single = ItemWriter::new(apex.clone(), false);
        let out_of_zone = |_| LiveError::OutOfZone { owner: change.owner().clone() };
        single.push(item).map_err(out_of_zone)?;
        if single.items().len() > items_len_max {
            return Err(LiveError::TooLong);
        }
        // What one item takes alone is what it takes at most.
        let last = parts
            .last_mut()
            .filter(|last| last.items().len() + single.items().len() <= items_len_max);
        match last {
            Some(last) => last.push(item).map_err(out_of_zone)?,
            None => parts.push(single),
        }
    }
    if parts.len() > LIVE_PARTS_MAX as usize {
        return Err(LiveError::TooLong);
    }
    let part_count = parts.len() as u8;
    let keys = parts.iter().zip(0_u8..).map(|(items, part)| {
        let mut key = head.clone();
        let len = (HEAD_LEN - 4 + items.items().len()) as u32;
        key.extend_from_slice(&len.to_be_bytes());
        FORMAT.put(&mut key);
        key.extend_from_slice(&revision.epoch.to_be_bytes());
        key.extend_from_slice(&prev.to_be_bytes());
        key.extend_from_slice(&[part, part_count]);
        key.extend_from_slice(&items.count().to_be_bytes());
        key.extend_from_slice(items.items());
        debug_assert!(key.len() <= LIVE_KEY_OCTETS_MAX);
        key
    });
    Ok(keys.collect())
}

/// Returns the changes in canonical order; of several for one RRset the last.
pub fn coalesce(changes: &[Change]) -> Vec<&Change> {
    let mut sorted: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
    sorted.sort_by(|(left_index, left), (right_index, right)| {
        let by_place = left.owner().cmp(right.owner()).then(left.rtype().cmp(&right.rtype()));
        by_place.then(right_index.cmp(left_index))
    });
    sorted.dedup_by(|(_, later), (_, kept)| {
        later.owner() == kept.owner() && later.rtype() == kept.rtype()
    });
    sorted.into_iter().map(|(_, change)| change).collect()
}

/// Reads the change that a live key carries (what [`crate::feed::key::parse_feed_key`] gives).
///
/// # Errors
/// [`DecodeError`]; offsets count from the first octet behind the key's head.
pub(crate) fn read_live(
    apex: &Name,
    number: u64,
    octets: &[u8],
) -> Result<LiveChange, DecodeError> {
    let mut reader = OctetReader::new(octets);
    let len = reader.u32("length of a live change")? as usize;
    if len > reader.left() {
        return Err(DecodeError::CutShort { what: "live change", at: 0 });
    }
    if len < reader.left() {
        return Err(DecodeError::TrailingOctets { at: 4 + len });
    }
    let at = reader.at();
    reader.format("live change", FORMAT)?;
    let epoch = reader.u64("epoch")?;
    let prev = reader.u64("revision before")?;
    if prev >= number {
        return Err(DecodeError::BadValue { what: "revision before", at });
    }
    let at = reader.at();
    let (part, part_count) = (reader.u8("part")?, reader.u8("count of parts")?);
    if part >= part_count || u32::from(part_count) > LIVE_PARTS_MAX {
        return Err(DecodeError::BadValue { what: "part", at });
    }
    let count = reader.u32("count of items")?;
    let mut items = Items::new(reader, apex, &[], count);
    let mut changes = Vec::new();
    while let Some(item) = items.check_next()? {
        changes.extend(ItemRef::to_change(item));
    }
    if items.at() != octets.len() {
        return Err(DecodeError::TrailingOctets { at: items.at() });
    }
    let revision = Revision { epoch, number };
    Ok(LiveChange { apex: apex.clone(), revision, prev, part, part_count, changes })
}

/// Octets between the key's head and the items.
const HEAD_LEN: usize = 4 + 4 + 8 + 8 + 2 + 4;
/// The first octets of a live change.
const FORMAT: Format = Format { letters: *b"AL", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::key::{self, FeedKey, parse_feed_key};
    use crate::record::{RecordType, Rrset};

    fn apex() -> Name {
        "example".parse().unwrap()
    }

    fn put(owner: &str, octets: usize) -> Change {
        let owner = owner.parse().expect(owner);
        Change::Put(Rrset::new(owner, RecordType::TXT, 60, [vec![7; octets]]).expect("an RRset"))
    }

    fn delete(owner: &str) -> Change {
        Change::Delete { owner: owner.parse().expect(owner), rtype: RecordType::TXT }
    }

    fn keys(number: u64, prev: u64, changes: &[Change]) -> Result<Vec<Vec<u8>>, LiveError> {
        live_keys(&apex(), Revision::new(5, number), prev, changes)
    }

    fn read(key: &[u8]) -> LiveChange {
        let parsed = parse_feed_key(key).expect("a key");
        let FeedKey::Live { apex, revision: number, change } = parsed else { panic!("a live key") };
        read_live(&apex, number, change).expect("a live change")
    }

    #[test]
    fn a_small_commit_is_one_key_and_reads_back_sorted() {
        let keys = keys(9, 8, &[put("b.example", 4), delete("a.example")]).expect("short");
        assert_eq!(keys.len(), 1);
        let live = read(&keys[0]);
        assert_eq!(live.revision, Revision::new(5, 9));
        assert_eq!((live.prev, live.part, live.part_count), (8, 0, 1));
        assert_eq!(live.changes, [delete("a.example"), put("b.example", 4)]);
    }

    #[test]
    fn of_two_changes_of_one_rrset_the_later_wins() {
        let changes =
            [put("a.example", 1), put("b.example", 1), delete("b.example"), put("a.example", 2)];
        let keys = keys(9, 8, &changes).expect("short");
        assert_eq!(read(&keys[0]).changes, [put("a.example", 2), delete("b.example")]);
    }

    #[test]
    fn parts_hold_every_change_once_and_no_key_exceeds_its_limit() {
        let changes: Vec<Change> = (0..40).map(|i| put(&format!("a{i:02}.example"), 900)).collect();
        let keys = keys(9, 8, &changes).expect("some parts");
        assert!(keys.len() > 1 && keys.iter().all(|key| key.len() <= LIVE_KEY_OCTETS_MAX));
        let mut joined = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let live = read(key);
            assert_eq!((usize::from(live.part), usize::from(live.part_count)), (index, keys.len()));
            joined.extend(live.changes);
        }
        assert_eq!(joined, changes);
    }

    #[test]
    fn limits_hold_just_below_at_and_above() {
        let overhead = live_revision_prefix(&apex(), 9).len() + HEAD_LEN + "\x02\x01a\u{ff}".len();
        let full = (LIVE_KEY_OCTETS_MAX - overhead - 8 - 2)..(LIVE_KEY_OCTETS_MAX);
        let longest =
            full.clone().filter(|len| keys(9, 8, &[put("a.example", *len)]).is_ok()).max();
        let longest = longest.expect("some length fits");
        let at = keys(9, 8, &[put("a.example", longest)]).expect("at the limit");
        assert_eq!(at[0].len(), LIVE_KEY_OCTETS_MAX);
        assert_eq!(keys(9, 8, &[put("a.example", longest + 1)]), Err(LiveError::TooLong));
        let many = |count| -> Vec<Change> {
            (0..count).map(|i| put(&format!("a{i:02}.example"), longest - 10)).collect()
        };
        assert_eq!(
            keys(9, 8, &many(LIVE_PARTS_MAX)).map(|keys| keys.len() as u32),
            Ok(LIVE_PARTS_MAX)
        );
        assert_eq!(keys(9, 8, &many(LIVE_PARTS_MAX + 1)), Err(LiveError::TooLong));
        assert_eq!(keys(9, 9, &[]), Err(LiveError::NoProgress));
        let outside = keys(9, 8, &[put("a.test", 1)]);
        assert!(matches!(outside, Err(LiveError::OutOfZone { .. })));
    }

    #[test]
    fn no_key_is_a_prefix_of_another_though_one_change_begins_with_the_other() {
        let mut all = vec![key::terminate(key::HEADER_KEY), key::terminate(key::BEAT_KEY)];
        for zone in [".", "example", "example.co", "example.com", "e:x", "\\000.x"] {
            let zone: Name = zone.parse().expect(zone);
            all.push(key::terminate(&key::zone_key(&zone)));
            all.extend([0, 1, 10].map(|n| key::terminate(&key::pack_key(&zone, n))));
            let put = |owner: &str, octets| {
                let below =
                    if zone.is_root() { owner.to_owned() } else { format!("{owner}.{zone}") };
                put(&below, octets)
            };
            for number in [9, 10] {
                for changes in [
                    vec![],
                    vec![put("b", 0)],
                    vec![put("b", 0), put("c", 0)],
                    vec![put("b", 0), put("c", 0), put("d", 0)],
                    vec![put("b", 1)],
                ] {
                    let revision = Revision::new(5, number);
                    all.extend(live_keys(&zone, revision, 8, &changes).expect("short"));
                }
            }
        }
        for (index, key) in all.iter().enumerate() {
            for (other_index, other) in all.iter().enumerate() {
                assert!(index == other_index || !other.starts_with(key));
            }
        }
    }

    #[test]
    fn every_cut_and_flipped_bit_is_an_error_or_a_change_never_a_panic() {
        let key = keys(9, 8, &[put("b.example", 4), delete("a.example")]).expect("short").remove(0);
        let change = &key[live_revision_prefix(&apex(), 9).len()..];
        for len in 0..change.len() {
            assert!(read_live(&apex(), 9, &change[..len]).is_err(), "cut at {len}");
        }
        for bit in 0..change.len() * 8 {
            let mut flipped = change.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = read_live(&apex(), 9, &flipped);
        }
    }
}
