//! Header and heartbeat: whose feed it is, and how far it has come.
//!
//! The heartbeat is the only honest sign that the authority lives: a quiet zone has no changes.
//! It carries a digest over all zones' revisions, so that an edge notices a lost last change,
//! after which no other would show the gap.
//!
//! **Invariant:** the digest does not depend on the order of zones and can be kept up to date zone
//! by zone: it is the wrapping sum of [`zone_mark`] over all zones that are not removed.
//! **Not here:** how often it is written (`export`), what silence means (`sync::status`).

use std::hash::Hasher as _;

use fnv::FnvHasher;

use crate::feed::Revision;
use crate::limits::{BEAT_OCTETS_MAX, TICKET_CLUSTER_ID_LEN_MAX};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, put_counted};

/// What a feed says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedHeader {
    /// The name of the cluster, for people.
    pub cluster_id: String,
    /// The newest history that was exported.
    pub epoch: u64,
    /// Counts the exporters: it rises whenever another node takes over.
    pub term: u64,
}

/// How far a feed has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Beat {
    /// The newest revision that was exported.
    pub revision: Revision,
    /// The exporter's clock, in milliseconds since 1970; shown to people, decides nothing.
    pub time_ms: u64,
    /// The sum of all zones' marks at that revision.
    pub zone_digest: u64,
    /// How many zones there are, removed ones not counted.
    pub zone_count: u64,
}

impl FeedHeader {
    /// Writes the value of the header entry. A longer cluster id is cut at its limit.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BEAT_OCTETS_MAX);
        HEADER_FORMAT.put(&mut out);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.term.to_be_bytes());
        let len = self.cluster_id.floor_char_boundary(TICKET_CLUSTER_ID_LEN_MAX);
        put_counted(&mut out, &self.cluster_id.as_bytes()[..len]);
        out
    }

    /// Reads the value of the header entry.
    ///
    /// # Errors
    /// [`DecodeError`], [`DecodeError::TooNew`] above all.
    pub fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = OctetReader::new(octets);
        reader.format("feed header", HEADER_FORMAT)?;
        let epoch = reader.u64("epoch")?;
        let term = reader.u64("term")?;
        let cluster_id = reader.text("cluster id", TICKET_CLUSTER_ID_LEN_MAX)?.to_owned();
        reader.end()?;
        Ok(Self { cluster_id, epoch, term })
    }
}

impl Beat {
    /// Writes the value of the heartbeat entry.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        BEAT_FORMAT.put(&mut out);
        let fields = [
            self.revision.epoch,
            self.revision.number,
            self.time_ms,
            self.zone_digest,
            self.zone_count,
        ];
        fields.iter().for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
        debug_assert!(out.len() <= BEAT_OCTETS_MAX);
        out
    }

    /// Reads the value of the heartbeat entry.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = OctetReader::new(octets);
        reader.format("heartbeat", BEAT_FORMAT)?;
        let revision = Revision { epoch: reader.u64("epoch")?, number: reader.u64("revision")? };
        let time_ms = reader.u64("time")?;
        let zone_digest = reader.u64("digest")?;
        let zone_count = reader.u64("count of zones")?;
        reader.end()?;
        Ok(Self { revision, time_ms, zone_digest, zone_count })
    }
}

/// Returns what one zone at one revision adds to the heartbeat's digest.
pub fn zone_mark(apex: &Name, revision: Revision) -> u64 {
    // FNV-1a.
    let mut hasher = FnvHasher::default();
    hasher.write(apex.as_wire());
    mix(mix(mix(hasher.finish()) ^ revision.epoch) ^ revision.number)
}

/// Spreads every bit over all others (the finalizer of SplitMix64).
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The first octets of a header.
const HEADER_FORMAT: Format = Format { letters: *b"AH", version: 1 };
/// The first octets of a heartbeat.
const BEAT_FORMAT: Format = Format { letters: *b"AB", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_beat_read_back_and_no_cut_of_them_does() {
        let header = FeedHeader { cluster_id: "käse".to_owned(), epoch: 7, term: 9 };
        let octets = header.to_octets();
        assert_eq!(FeedHeader::from_octets(&octets), Ok(header));
        assert!((0..octets.len()).all(|len| FeedHeader::from_octets(&octets[..len]).is_err()));
        let beat = Beat {
            revision: Revision::new(1, 2),
            time_ms: 3,
            zone_digest: u64::MAX,
            zone_count: 4,
        };
        let octets = beat.to_octets();
        assert_eq!(Beat::from_octets(&octets), Ok(beat));
        assert!((0..octets.len()).all(|len| Beat::from_octets(&octets[..len]).is_err()));
    }

    #[test]
    fn a_long_cluster_id_is_cut_between_characters() {
        let header = FeedHeader { cluster_id: "ä".repeat(33), epoch: 0, term: 0 };
        let read = FeedHeader::from_octets(&header.to_octets()).expect("a header");
        assert_eq!(read.cluster_id, "ä".repeat(32));
    }

    #[test]
    fn marks_differ_in_every_part() {
        let name = |text: &str| text.parse::<Name>().expect(text);
        let mark = |text, epoch, number| zone_mark(&name(text), Revision::new(epoch, number));
        let all = [mark("a", 1, 1), mark("b", 1, 1), mark("a", 2, 1), mark("a", 1, 2)];
        let distinct: std::collections::HashSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
        // Older authors and edges count the same.
        assert_eq!(mark("example", 1, 5), 0x0d6d_e770_ac8c_8de8);
    }
}
