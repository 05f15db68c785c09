//! Judges what a peer shows who claims to know more than the feed's author does.
//!
//! Only what the author itself has signed counts: a segment of the present history that is further
//! than the store, or that has another commit at a revision, proves that the store is an older copy
//! that was put back; one of a later history, that there was one that this store knows nothing of; one
//! of a later term or version, that the last root is lost or an older copy, and edges believe neither
//! segments nor versions of one who begins to count anew.
//!
//! **Invariant:** nobody but the author can make a history begin.
//! **Not here:** what is done about it (`opening`).

use crate::feed::HistoryId;
use crate::feed::segment::{Position, Segment, SegmentBody};
use crate::mesh::author::AuthorKey;
use crate::mesh::hub::Evidence;
use crate::mesh::log::{Log, Standing};

/// What the author goes by.
pub(super) struct Own<'a> {
    /// The feed.
    pub(super) namespace: &'a [u8; 32],
    /// The author's key.
    pub(super) author: &'a AuthorKey,
    /// The history that is written.
    pub(super) history: HistoryId,
    /// Which exporter of this history writes it.
    pub(super) term: u64,
    /// How many heartbeats it has written.
    pub(super) beats: u64,
    /// The number of the last version.
    pub(super) number: u64,
    /// The newest revision of the store.
    pub(super) newest: u64,
    /// The log.
    pub(super) log: &'a Log,
}

/// What evidence shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EvidenceVerdict {
    /// Nothing that the author does not know.
    Agrees,
    /// A history that must be left behind.
    Parted(HistoryId),
    /// A version above the last one.
    Later(u64),
}

/// Says what evidence shows.
pub(super) fn judge(shown: &Evidence, own: &Own<'_>) -> EvidenceVerdict {
    let mut number = own.number;
    for octets in shown {
        let Ok(segment) = Segment::from_octets(octets) else { continue };
        let head = segment.head;
        let is_older = head.history.epoch < own.history.epoch;
        if is_older || head.namespace != *own.namespace || !own.author.has_signed(octets) {
            continue;
        }
        let is_later = head.history != own.history || head.term > own.term;
        if is_later || is_another(own, &segment) || positions(&segment).any(|at| is_parted(own, at))
        {
            return EvidenceVerdict::Parted(head.history);
        }
        number = number.max(match &segment.body {
            SegmentBody::Beat(beat) => beat.version,
            SegmentBody::Version(version) => version.number,
            SegmentBody::Commits(_) => 0,
        });
    }
    if number > own.number { EvidenceVerdict::Later(number) } else { EvidenceVerdict::Agrees }
}

/// The newest position that a peer shows below the log: what it was then only the source knows.
pub(super) fn below_log(shown: &Evidence, own: &Own<'_>) -> Option<Position> {
    let base = own.log.base().revision;
    let segments = shown.iter().filter_map(|octets| {
        let segment = Segment::from_octets(octets).ok()?;
        let head = segment.head;
        let is_own = head.history == own.history && head.namespace == *own.namespace;
        (is_own && own.author.has_signed(octets)).then_some(segment)
    });
    let known = segments.flat_map(|segment| positions(&segment).collect::<Vec<_>>());
    known.filter(|at| at.tag != 0 && at.revision < base).max_by_key(|at| at.revision)
}

/// The positions that a segment speaks of.
fn positions(segment: &Segment) -> impl Iterator<Item = Position> + '_ {
    let commits = match &segment.body {
        SegmentBody::Commits(commits) => commits.as_slice(),
        SegmentBody::Beat(_) | SegmentBody::Version(_) => &[],
    };
    std::iter::once(segment.head.last).chain(commits.iter().map(|commit| commit.at))
}

/// Whether another exporter has written a heartbeat of our term: ours began from an older copy.
fn is_another(own: &Own<'_>, segment: &Segment) -> bool {
    let SegmentBody::Beat(beat) = &segment.body else { return false };
    segment.head.term == own.term && beat.count > own.beats
}

/// Whether this history never was at a position that its own author has signed.
fn is_parted(own: &Own<'_>, at: Position) -> bool {
    if at.revision > own.newest {
        return true;
    }
    // Within the log the tag tells; a log that is not there yet says nothing.
    let is_within = at.revision <= own.log.head().revision;
    is_within && own.log.standing(own.history, at).0 == Standing::Ahead
}
