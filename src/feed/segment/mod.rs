//! Segments: the signed pieces that a feed's log is made of.
//!
//! A segment holds whole commits in order, a heartbeat, or the announcement of a version of the
//! document. The feed's author signs it; whoever has it may hand it on, so that an edge can follow
//! another edge and believe nobody but the author. Layout:
//!
//! ```text
//! format "AS" 1, namespace [32], epoch u64, history u128, term u64,
//! kind u8 (0 commits, 1 heartbeat, 2 version of the document),
//! before: revision u64, tag u64; last: revision u64, tag u64; body; signature [64]
//!
//! commits: count varint, each: revision u64, tag u64, zones varint, each:
//!     apex, step u8 (0 changes, 1 whole, 2 in the document, 3 removed), before u64, revision u64,
//!     serial u32, digest [24], with 0 and 1 a pack (length varint, octets)
//! heartbeat: time u64 (ms since 1970), sum of all zones u128, zones u64, version u64
//! version: number u64, hash [32], length u32
//! ```
//!
//! The signature is Ed25519 over [`CONTEXT`] and everything before it.
//!
//! **Invariant:** what is written reads back; commits' revisions rise within a segment.
//! **Not here:** signing and verifying (`export`, `replica`), sending (`mesh`).

use bytes::Bytes;

use super::digest::Digest;
use super::pack::Pack;
use super::{Hash, HistoryId};
use crate::limits::{LOG_COMMIT_ZONES_MAX, SEGMENT_OCTETS_MAX};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, put_varint};

/// What the author signs in front of a segment's octets, so that a signature over them means
/// nothing elsewhere.
pub const CONTEXT: &[u8] = b"aspen-dns segment\0";

/// A place in a history: a revision, and the octets that were drawn with its commit, so that two
/// histories that have parted agree on none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct Position {
    /// The revision; 0 is before the first commit.
    pub revision: u64,
    /// What was drawn with its commit; 0 where nobody knows.
    pub tag: u64,
}

/// What every segment says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentHead {
    /// The feed.
    pub namespace: [u8; 32],
    /// The history.
    pub history: HistoryId,
    /// Counts the exporters of the feed.
    pub term: u64,
    /// The position that the segment follows on.
    pub before: Position,
    /// The position that it leads to; of a heartbeat or a version, where it holds.
    pub last: Position,
}

/// A segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Whose, and from where to where.
    pub head: SegmentHead,
    /// What it says.
    pub body: SegmentBody,
}

/// What a segment says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SegmentBody {
    /// Commits, in order.
    Commits(Vec<LogCommit>),
    /// The author lives.
    Beat(LogBeat),
    /// There is this version of the document.
    Version(VersionRef),
}

/// One commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogCommit {
    /// Its revision and tag.
    pub at: Position,
    /// What it did, each zone at most once.
    pub zones: Vec<LogZone>,
}

/// What a commit did to a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogZone {
    /// The zone.
    pub apex: Name,
    /// The revision of the zone that it follows on; 0 if there was no zone.
    pub before: u64,
    /// The revision that the zone has then: the commit's, or a later one if the zone was read later.
    pub revision: u64,
    /// The serial that it has then.
    pub serial: u32,
    /// What it comes to then.
    pub digest: Digest,
    /// What is to be done.
    pub step: LogStep,
}

/// What is to be done with a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogStep {
    /// Make the changes of this delta pack.
    Changes(Bytes),
    /// Serve the records of this base pack.
    Whole(Bytes),
    /// Take it from a version of the document that has the revision.
    Document,
    /// Serve it no longer.
    Removed,
}

/// A heartbeat.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogBeat {
    /// Rises with each heartbeat of a term: one that came before, by whatever peer, is no sign of life.
    pub count: u64,
    /// The author's clock, in milliseconds since 1970; shown to people, decides nothing.
    pub time_ms: u64,
    /// The wrapping sum of [`super::digest::DigestKey::zone`] over all zones.
    pub sum: u128,
    /// How many zones there are.
    pub zones: u64,
    /// The number of the newest version of the document.
    pub version: u64,
}

/// Names a version of the document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct VersionRef {
    /// Its number; rises.
    pub number: u64,
    /// The hash of its root.
    pub hash: Hash,
    /// The root's length in octets.
    pub len: u32,
}

impl Segment {
    /// Writes the segment and has it signed: `sign` is given what is to be signed.
    ///
    /// # Panics
    /// If nobody could read it.
    pub fn to_octets(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
        let (before, last) = (self.head.before, self.head.last);
        assert!(before.revision <= last.revision, "a segment leads forward");
        if let SegmentBody::Commits(commits) = &self.body {
            let is_before =
                |left: &LogCommit, right: &LogCommit| left.at.revision < right.at.revision;
            assert!(commits.is_sorted_by(is_before), "commits rise");
            let first = commits.first().map(|commit| commit.at.revision);
            assert!(first.is_some_and(|first| before.revision < first), "commits follow on");
            assert!(
                commits.last().is_some_and(|commit| commit.at == last),
                "commits lead to the end"
            );
            commits.iter().for_each(LogCommit::check);
        }
        let out = self.write(sign);
        assert!(out.len() <= SEGMENT_OCTETS_MAX, "a segment is no longer than its readers take");
        out
    }

    /// Writes the segment as it is.
    fn write(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
        let mut out = Vec::from(CONTEXT);
        FORMAT.put(&mut out);
        let head = &self.head;
        out.extend_from_slice(&head.namespace);
        out.extend_from_slice(&head.history.epoch.to_be_bytes());
        out.extend_from_slice(&head.history.id.to_be_bytes());
        out.extend_from_slice(&head.term.to_be_bytes());
        out.push(match &self.body {
            SegmentBody::Commits(_) => COMMITS,
            SegmentBody::Beat(_) => BEAT,
            SegmentBody::Version(_) => VERSION,
        });
        for position in [head.before, head.last] {
            put_position(&mut out, position);
        }
        match &self.body {
            SegmentBody::Commits(commits) => {
                put_varint(&mut out, commits.len() as u64);
                commits.iter().for_each(|commit| commit.put(&mut out));
            }
            SegmentBody::Beat(beat) => {
                out.extend_from_slice(&beat.count.to_be_bytes());
                out.extend_from_slice(&beat.time_ms.to_be_bytes());
                out.extend_from_slice(&beat.sum.to_be_bytes());
                out.extend_from_slice(&beat.zones.to_be_bytes());
                out.extend_from_slice(&beat.version.to_be_bytes());
            }
            SegmentBody::Version(version) => {
                out.extend_from_slice(&version.number.to_be_bytes());
                out.extend_from_slice(&version.hash);
                out.extend_from_slice(&version.len.to_be_bytes());
            }
        }
        let signature = sign(&out);
        out.extend_from_slice(&signature);
        out.drain(..CONTEXT.len());
        out
    }

    /// Splits a segment's octets into what was signed, [`CONTEXT`] left out, and the signature.
    ///
    /// # Errors
    /// [`DecodeError::CutShort`] or [`DecodeError::TooMany`].
    pub fn split(octets: &[u8]) -> Result<(&[u8], &[u8; 64]), DecodeError> {
        if octets.len() > SEGMENT_OCTETS_MAX {
            let (found, max) = (octets.len() as u64, SEGMENT_OCTETS_MAX as u64);
            return Err(DecodeError::TooMany { what: "length of a segment", at: 0, found, max });
        }
        octets.split_last_chunk::<64>().ok_or(DecodeError::CutShort { what: "signature", at: 0 })
    }

    /// Reads a segment, all of it. Whether its signature holds is for the caller to find out.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_octets(octets: &Bytes) -> Result<Self, DecodeError> {
        let (signed, _) = Self::split(octets)?;
        let mut reader = OctetReader::new(signed);
        let (head, kind) = read_head(&mut reader)?;
        let at = reader.at();
        let body = match kind {
            COMMITS => SegmentBody::Commits(read_commits(&mut reader, octets, &head)?),
            BEAT => SegmentBody::Beat(LogBeat {
                count: reader.u64("count of a heartbeat")?,
                time_ms: reader.u64("time")?,
                sum: u128::from_be_bytes(reader.array("sum of all zones")?),
                zones: reader.u64("count of zones")?,
                version: reader.u64("number of a version")?,
            }),
            VERSION => SegmentBody::Version(VersionRef {
                number: reader.u64("number of a version")?,
                hash: reader.array("hash of a root")?,
                len: reader.u32("length of a root")?,
            }),
            _ => return Err(DecodeError::BadValue { what: "kind of a segment", at }),
        };
        reader.end()?;
        Ok(Self { head, body })
    }
}

impl LogCommit {
    /// Asserts what [`read_commits`] wants of each commit.
    fn check(&self) {
        assert!(self.zones.len() as u64 <= LOG_COMMIT_ZONES_MAX, "a commit has a bounded length");
        for zone in &self.zones {
            assert!(zone.before < zone.revision, "the step of a zone leads forward");
            assert!(zone.revision >= self.at.revision, "a zone stands at its commit or behind it");
        }
    }

    /// Appends the commit.
    fn put(&self, out: &mut Vec<u8>) {
        put_position(out, self.at);
        put_varint(out, self.zones.len() as u64);
        for zone in &self.zones {
            out.extend_from_slice(zone.apex.as_wire());
            let (kind, pack) = match &zone.step {
                LogStep::Changes(pack) => (CHANGES, Some(pack)),
                LogStep::Whole(pack) => (WHOLE, Some(pack)),
                LogStep::Document => (DOCUMENT, None),
                LogStep::Removed => (REMOVED, None),
            };
            out.push(kind);
            out.extend_from_slice(&zone.before.to_be_bytes());
            out.extend_from_slice(&zone.revision.to_be_bytes());
            out.extend_from_slice(&zone.serial.to_be_bytes());
            out.extend_from_slice(&zone.digest.to_octets());
            if let Some(pack) = pack {
                put_varint(out, pack.len() as u64);
                out.extend_from_slice(pack);
            }
        }
    }

    /// Returns about how many octets the commit takes.
    pub fn octets(&self) -> usize {
        let zone = |zone: &LogZone| match &zone.step {
            LogStep::Changes(pack) | LogStep::Whole(pack) => ZONE_HEAD_OCTETS + pack.len(),
            LogStep::Document | LogStep::Removed => ZONE_HEAD_OCTETS,
        };
        self.zones.iter().map(zone).sum()
    }
}

/// Reads what every segment says, and its kind.
fn read_head(reader: &mut OctetReader<'_>) -> Result<(SegmentHead, u8), DecodeError> {
    reader.format("segment", FORMAT)?;
    let namespace = reader.array("namespace")?;
    let epoch = reader.u64("epoch")?;
    let id = u128::from_be_bytes(reader.array("history")?);
    let term = reader.u64("term")?;
    let kind = reader.u8("kind of a segment")?;
    let (before, last) = (read_position(reader)?, read_position(reader)?);
    if before.revision > last.revision {
        return Err(DecodeError::BadValue { what: "position", at: reader.at() });
    }
    let history = HistoryId { epoch, id };
    Ok((SegmentHead { namespace, history, term, before, last }, kind))
}

/// Reads the commits of a segment; `octets` are those that the reader reads.
fn read_commits(
    reader: &mut OctetReader<'_>,
    octets: &Bytes,
    head: &SegmentHead,
) -> Result<Vec<LogCommit>, DecodeError> {
    let count = reader.varint("count of commits", SEGMENT_OCTETS_MAX as u64)?;
    let mut commits = Vec::new();
    let mut before = head.before.revision;
    for _ in 0..count {
        let start = reader.at();
        let at = read_position(reader)?;
        if at.revision <= before {
            return Err(DecodeError::BadValue { what: "revision", at: start });
        }
        before = at.revision;
        let zone_count = reader.varint("count of zones", LOG_COMMIT_ZONES_MAX)?;
        let mut zones = Vec::new();
        for _ in 0..zone_count {
            zones.push(read_zone(reader, octets, at.revision)?);
        }
        commits.push(LogCommit { at, zones });
    }
    if commits.last().is_none_or(|commit| commit.at != head.last) {
        return Err(DecodeError::BadValue { what: "last commit", at: reader.at() });
    }
    Ok(commits)
}

/// Reads what a commit did to one zone.
fn read_zone(
    reader: &mut OctetReader<'_>,
    octets: &Bytes,
    commit: u64,
) -> Result<LogZone, DecodeError> {
    let apex = reader.name()?;
    let at = reader.at();
    let kind = reader.u8("step of a zone")?;
    let (before, revision) = (reader.u64("revision before")?, reader.u64("revision")?);
    if before >= revision || revision < commit {
        return Err(DecodeError::BadValue { what: "revision of a zone", at });
    }
    let serial = reader.u32("serial")?;
    let digest = Digest::from_octets(&reader.array("digest")?);
    let step = match kind {
        CHANGES | WHOLE => {
            let len = reader.varint("length of a pack", SEGMENT_OCTETS_MAX as u64)? as usize;
            let start = reader.at();
            let pack = octets.slice_ref(reader.take("pack", len)?);
            let (found, is_delta) =
                Pack::check(&pack).map(|pack| (pack.apex().clone(), pack.is_delta()))?;
            if found != apex || is_delta != (kind == CHANGES) {
                return Err(DecodeError::BadValue { what: "pack", at: start });
            }
            if is_delta { LogStep::Changes(pack) } else { LogStep::Whole(pack) }
        }
        DOCUMENT => LogStep::Document,
        REMOVED => LogStep::Removed,
        _ => return Err(DecodeError::BadValue { what: "step of a zone", at }),
    };
    Ok(LogZone { apex, before, revision, serial, digest, step })
}

/// Appends a position.
pub(in crate::feed) fn put_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(&position.revision.to_be_bytes());
    out.extend_from_slice(&position.tag.to_be_bytes());
}

/// Reads a position.
pub(in crate::feed) fn read_position(
    reader: &mut OctetReader<'_>,
) -> Result<Position, DecodeError> {
    Ok(Position { revision: reader.u64("revision")?, tag: reader.u64("tag")? })
}

/// The first octets of a segment.
const FORMAT: Format = Format { letters: *b"AS", version: 1 };
/// Kind: commits.
const COMMITS: u8 = 0;
/// Kind: heartbeat.
const BEAT: u8 = 1;
/// Kind: version of the document.
const VERSION: u8 = 2;
/// Step: changes.
const CHANGES: u8 = 0;
/// Step: the whole zone.
const WHOLE: u8 = 1;
/// Step: in the document.
const DOCUMENT: u8 = 2;
/// Step: removed.
const REMOVED: u8 = 3;
/// What a zone takes in a commit besides its pack, at most.
const ZONE_HEAD_OCTETS: usize = 255 + 1 + 8 + 8 + 4 + 24 + 10;

#[cfg(test)]
mod tests;
