//! Judges what a peer shows who claims to know more than the feed's author does.
//!
//! Only what the author itself has signed counts: a segment of the present history that is further
//! than the store, or that has another commit at a revision, proves that the store is an older copy
//! that was put back; one of a later history, that there was one that this store knows nothing of.
//!
//! **Invariant:** nobody but the author can make a history begin.
//! **Not here:** what is done about it (`opening`).

use crate::feed::HistoryId;
use crate::feed::segment::{Position, Segment, SegmentBody};
use crate::mesh::hub::Evidence;
use crate::mesh::is_signed;
use crate::mesh::log::{Log, Standing};

/// Returns the history that must be left behind, if the evidence shows that there is one.
pub(super) fn judge(
    shown: &Evidence,
    namespace: &[u8; 32],
    author: &[u8; 32],
    own: HistoryId,
    newest: u64,
    log: &Log,
) -> Option<HistoryId> {
    shown.iter().find_map(|octets| {
        let segment = Segment::from_octets(octets).ok()?;
        let head = segment.head;
        if head.namespace != *namespace || !is_signed(author, octets) {
            return None;
        }
        let is_of_another = head.history.epoch > own.epoch
            || (head.history.epoch == own.epoch && head.history.id != own.id);
        let has_parted =
            head.history == own && positions(&segment).any(|at| is_parted(log, own, at, newest));
        (is_of_another || has_parted).then_some(head.history)
    })
}

/// The positions that a segment speaks of.
fn positions(segment: &Segment) -> impl Iterator<Item = Position> + '_ {
    let commits = match &segment.body {
        SegmentBody::Commits(commits) => commits.as_slice(),
        SegmentBody::Beat(_) | SegmentBody::Version(_) => &[],
    };
    std::iter::once(segment.head.last).chain(commits.iter().map(|commit| commit.at))
}

/// Whether this history never was at a position that its own author has signed.
fn is_parted(log: &Log, own: HistoryId, at: Position, newest: u64) -> bool {
    if at.revision > newest {
        return true;
    }
    // Within the log the tag tells; a log that is not there yet says nothing.
    at.revision <= log.head().revision && log.standing(own, at).0 == Standing::Ahead
}
