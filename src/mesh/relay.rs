//! What a node that follows a feed hands on: to those who follow it, and to its author as proof.
//!
//! The segments since the last version that was adopted stay at hand, so that a log which begins anew
//! behind a version goes on with them.
//!
//! **Invariant:** what is handed on leads on from what was handed on before.
//! **Not here:** what the node itself makes of a segment (`sync::mirror`), frames and cursors (`log`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::log::Log;
use crate::feed::HistoryId;
use crate::feed::segment::{Position, Segment, SegmentBody, VersionRef};
use crate::limits::{ANNOUNCEMENTS_MAX, LOG_OCTETS_MAX};
use crate::sync::mirror::Taken;

/// What was heard of a feed and may be handed on.
#[derive(Debug)]
pub(crate) struct Relay {
    /// What others may follow.
    log: Arc<Log>,
    /// Announcements of versions, in the order in which they were news: another history may count its
    /// versions from a number that was there before.
    announcements: VecDeque<(VersionRef, Bytes)>,
    /// Segments with commits since the last version that was adopted.
    recent: VecDeque<RecentSegment>,
    /// Octets of them.
    recent_octets: usize,
    /// The newest heartbeat that was believed.
    beat: Option<Bytes>,
    /// The newest commits that were believed.
    commits: Option<Bytes>,
}

/// A segment with commits.
#[derive(Debug)]
struct RecentSegment {
    /// Its octets.
    octets: Bytes,
    /// The history that it is of.
    history: HistoryId,
    /// The position that it follows on.
    before: Position,
    /// The commits in it.
    commits: Vec<Position>,
}

/// What of a segment matters here.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    /// The history that it is of.
    history: HistoryId,
    /// The position that it follows on.
    before: Position,
    /// The position that it leads to, or holds at.
    last: Position,
    /// What it is.
    kind: SegmentKind,
}

/// What a segment is.
#[derive(Clone, Debug)]
enum SegmentKind {
    /// Commits, at these positions.
    Commits(Vec<Position>),
    /// A heartbeat.
    Beat,
    /// The announcement of a version.
    Version(VersionRef),
}

impl Outline {
    /// Outlines a segment.
    pub(crate) fn of(segment: &Segment) -> Self {
        let kind = match &segment.body {
            SegmentBody::Commits(commits) => {
                SegmentKind::Commits(commits.iter().map(|commit| commit.at).collect())
            }
            SegmentBody::Beat(_) => SegmentKind::Beat,
            SegmentBody::Version(version) => SegmentKind::Version(*version),
        };
        let head = &segment.head;
        Self { history: head.history, before: head.before, last: head.last, kind }
    }

    /// Whether a restart needs the segment, of which the mirror made this.
    pub(crate) fn is_to_keep(&self, taken: Taken) -> bool {
        matches!(self.kind, SegmentKind::Commits(_))
            && matches!(taken, Taken::Follows | Taken::Waits)
    }
}

impl Relay {
    /// One that has heard nothing yet.
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self {
            log,
            announcements: VecDeque::new(),
            recent: VecDeque::new(),
            recent_octets: 0,
            beat: None,
            commits: None,
        }
    }

    /// What others may follow.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Takes a segment, of which the mirror made `taken`; from a peer if `is_new`.
    pub(crate) fn take(&mut self, octets: &Bytes, outline: Outline, taken: Taken, is_new: bool) {
        if taken == Taken::Refused {
            return;
        }
        let is_kept = outline.is_to_keep(taken);
        let Outline { history, before, last, kind } = outline;
        match kind {
            SegmentKind::Commits(commits) => {
                // An older one shows its author less.
                if taken != Taken::Known {
                    self.commits = Some(octets.clone());
                }
                if taken == Taken::Follows && self.log.history() == Some(history) {
                    self.push(octets, before, &commits);
                }
                if is_kept {
                    self.remember(RecentSegment {
                        octets: octets.clone(),
                        history,
                        before,
                        commits,
                    });
                }
            }
            // An old one is nobody's sign of life.
            SegmentKind::Beat if taken != Taken::Follows => {}
            SegmentKind::Beat => {
                self.beat = Some(octets.clone());
                if is_new && self.log.head().revision >= last.revision {
                    self.log.set_beat(last, octets);
                }
            }
            // One that is not news has a lower number: it would push out what its author may lack.
            SegmentKind::Version(version) if taken == Taken::Follows => {
                self.announcements.push_back((version, octets.clone()));
                if self.announcements.len() > ANNOUNCEMENTS_MAX {
                    self.announcements.pop_front();
                }
            }
            SegmentKind::Version(_) => {}
        }
    }

    /// The announcement of a version.
    pub(crate) fn announcement(&self, version: VersionRef) -> Option<&Bytes> {
        self.announcements.iter().find(|known| known.0 == version).map(|known| &known.1)
    }

    /// The newest of what the author has signed and was believed: what it has forgotten, this tells it.
    pub(crate) fn proofs(&self) -> Vec<Bytes> {
        let version = self.announcements.back().map(|known| &known.1);
        [self.beat.as_ref(), self.commits.as_ref(), version]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Lets others follow from a version that holds at `at`, where we are at `position` ourselves; says
    /// whether all up to there can be had.
    pub(crate) fn adopt(
        &mut self,
        (history, position): (HistoryId, Position),
        version: VersionRef,
        at: Position,
    ) -> bool {
        let Some(announcement) = self.announcement(version).cloned() else { return true };
        self.forget(history, at.revision);
        let goes_on = self.log.history() == Some(history)
            && self.log.head().revision == position.revision
            && self.log.base().revision <= at.revision;
        if !goes_on {
            self.log.begin(history, at);
            for segment in self.recent.iter().filter(|segment| segment.history == history) {
                self.push(&segment.octets, segment.before, &segment.commits);
            }
        }
        self.log.set_version(version, at, &announcement);
        self.log.head().revision >= position.revision
    }

    /// Hands a segment on, if it leads on from what those who follow have.
    fn push(&self, octets: &[u8], before: Position, commits: &[Position]) {
        if before.revision <= self.log.head().revision {
            self.log.push(octets, before, commits);
        }
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

    /// Forgets the segments that a version of a history has, and those of histories before it. Those of a
    /// later one count anew, and wait for a version of theirs.
    fn forget(&mut self, history: HistoryId, revision: u64) {
        self.recent.retain(|segment| {
            let is_later = segment.commits.last().is_some_and(|last| last.revision > revision);
            match segment.history == history {
                true => is_later,
                false => segment.history.epoch >= history.epoch,
            }
        });
        self.recent_octets = self.recent.iter().map(|segment| segment.octets.len()).sum();
    }
}
