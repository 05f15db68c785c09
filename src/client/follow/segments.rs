//! Takes the segments of the log: verified, to the mirror, to the disk and to those who follow.
//!
//! **Invariant:** nothing that the feed's author has not signed reaches the mirror, and what is
//! handed on leads on from what was handed on before.
//! **Not here:** what a segment says (`feed::segment`), whom it comes from (`upstream`).

use bytes::Bytes;

use super::{Follow, RecentSegment};
use crate::feed::Revision;
use crate::feed::segment::{Position, Segment, SegmentBody};
use crate::limits::{ANNOUNCEMENTS_MAX, LOG_OCTETS_MAX};
use crate::mesh::is_signed;
use crate::mesh::log::Log;
use crate::sync::mirror::Taken;

impl Follow {
    /// Takes a segment, from a peer if `is_new`; says whether it was believed.
    pub(super) fn take_segment(&mut self, octets: &Bytes, is_new: bool) -> bool {
        // What lies on this machine was verified when it came.
        if is_new && !is_signed(&self.ticket.author, octets) {
            tracing::warn!("a segment that the feed's author has not signed is refused");
            self.lose_upstream();
            return false;
        }
        let segment = match Segment::from_octets(octets) {
            Ok(segment) => segment,
            Err(error) => {
                tracing::warn!(%error, "a segment does not read");
                return false;
            }
        };
        let head = segment.head;
        let commits: Vec<Position> = match &segment.body {
            SegmentBody::Commits(commits) => commits.iter().map(|commit| commit.at).collect(),
            SegmentBody::Beat(_) => Vec::new(),
            SegmentBody::Version(version) => {
                self.announcements.push_back((version.number, head.last, octets.clone()));
                if self.announcements.len() > ANNOUNCEMENTS_MAX {
                    self.announcements.pop_front();
                }
                Vec::new()
            }
        };
        let is_beat = matches!(segment.body, SegmentBody::Beat(_));
        let now = self.client.now_ms();
        let taken = self.client.with_mirror(|mirror| mirror.handle_segment(segment, now));
        let taken = taken.unwrap_or(Taken::Refused);
        // What the author has forgotten is told to it by the newest that was believed.
        if taken != Taken::Refused && is_beat {
            self.proofs.beat = Some(octets.clone());
        } else if taken != Taken::Refused && !commits.is_empty() {
            self.proofs.commits = Some(octets.clone());
        }
        if !commits.is_empty() && matches!(taken, Taken::Follows | Taken::Waits) {
            if let Some(archive) = self.archive.as_mut().filter(|_| is_new) {
                let end = Revision::new(head.history.epoch, head.last.revision);
                archive.push(octets, end);
            }
            if taken == Taken::Follows && self.log.history().is_some() {
                relay(&self.log, octets, head.before, &commits);
            }
            self.remember(RecentSegment { octets: octets.clone(), before: head.before, commits });
        }
        if is_new
            && is_beat
            && taken != Taken::Refused
            && self.log.head().revision >= head.last.revision
        {
            self.log.set_beat(head.last, octets);
        }
        taken != Taken::Refused
    }

    /// Remembers a segment until a version has it.
    fn remember(&mut self, segment: RecentSegment) {
        self.recent_octets += segment.octets.len();
        self.recent.push_back(segment);
        while self.recent_octets > LOG_OCTETS_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_octets -= oldest.octets.len();
        }
    }

    /// Forgets the segments that a version has.
    pub(super) fn forget(&mut self, revision: u64) {
        let is_over = |segment: &RecentSegment| {
            segment.commits.last().is_none_or(|last| last.revision <= revision)
        };
        self.recent.retain(|segment| !is_over(segment));
        self.recent_octets = self.recent.iter().map(|segment| segment.octets.len()).sum();
    }
}

/// Hands a segment on to those who follow this node, if it leads on from what they have.
pub(super) fn relay(log: &Log, octets: &[u8], before: Position, commits: &[Position]) {
    if before.revision <= log.head().revision {
        log.push(octets, before, commits);
    }
}
