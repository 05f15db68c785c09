//! The edge's state machine for a feed with a log: segments, contents and what became of steps go in;
//! wishes for contents, steps of zones and a status come out.
//!
//! Segments that were verified go in as they come, in any order and as often as they like. A segment
//! that follows on what is here is taken at once; where something is missing between, it waits for a
//! version of the document that bridges the gap. Every zone is led from revision to revision, each
//! step told with the digest that it must come to; what the caller has built is compared with that,
//! and a zone that differs is taken from the document again, and told of until it agrees.
//!
//! **Invariant:** a zone never goes back within a history; nothing that was heard is forgotten without
//! being asked for again; a zone whose digest differs is in [`MirrorStatus::differing`].
//! **Not here:** signatures, sockets, building zones (`replica`); the document (`mirror::document`),
//! steps (`mirror::steps`).

mod document;
mod line;
mod status;
mod steps;
mod zone;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::feed::HistoryId;
use crate::feed::digest::DigestKey;
use crate::feed::segment::{
    LogBeat, LogCommit, LogZone, Position, Segment, SegmentBody, VersionRef,
};
use crate::limits::HELD_STEPS_MAX;
use crate::name::Name;
use document::Documents;
use line::Line;
use zone::ZoneMirror;

#[cfg(feature = "edge")]
pub(crate) use document::Wish;
pub(crate) use status::BeatMark;
pub use status::{MirrorStats, MirrorStatus};

/// What an edge wants.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MirrorConfig {
    /// The feed.
    pub namespace: [u8; 32],
    /// The zones to take, with all below them; `None` takes all.
    pub zone_filter: Option<Vec<Name>>,
    /// Milliseconds without contact after which the status is stale, whatever else holds.
    pub stale_after_ms: u64,
    /// Whether what is handed in came long ago: that the author lives is told apart from it.
    pub is_behind: bool,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// It leads from where we were: whoever follows us may have it.
    Follows,
    /// It waits for a version of the document.
    Waits,
    /// It says nothing new.
    Known,
    /// It is of another feed, or of a history or an exporter that is over.
    Refused,
}

/// The edge's state machine. See the module page.
#[derive(Debug)]
pub struct Mirror {
    /// What the edge wants.
    config: MirrorConfig,
    /// The history that is followed; the default before the first.
    history: HistoryId,
    /// The newest exporter of it.
    term: u64,
    /// The key of all digests.
    key: DigestKey,
    /// Up to where every commit was taken; `None` before the first version.
    position: Option<Position>,
    /// The zones.
    zones: HashMap<Name, ZoneMirror>,
    /// Commits that wait for a version that leads to them.
    line: Line,
    /// Versions of the document.
    documents: Documents,
    /// Zones that may have a step to hand out.
    ready: BTreeSet<Name>,
    /// Zones that lack something, by the revision that they lack: how many.
    lacking: BTreeMap<u64, u32>,
    /// Zones that wait for the document.
    wanting: HashSet<Name>,
    /// Zones that ought to be served and are not.
    absent: BTreeSet<Name>,
    /// Whether zones wait for each other, to become visible together.
    is_gathering: bool,
    /// Whether no zone was served before those.
    is_first_load: bool,
    /// Zones whose digest differs, and when to take them from the document again.
    differing: HashMap<Name, Differing>,
    /// The sum of all zones that are served.
    sum: u128,
    /// How many there are.
    count: u64,
    /// The highest revision of any of them.
    revision_max: u64,
    /// The newest heartbeat, where it holds, and when it came.
    beat: Option<(LogBeat, Position, u64)>,
    /// The epoch, term and count of the newest heartbeat ever.
    beat_mark: Option<BeatMark>,
    /// Those of the newest one that was heard of, taken in or not.
    remembered: Option<BeatMark>,
    /// Whether the sum of all zones differs from a heartbeat's, and when to look again.
    differs_as_a_whole: Option<Differing>,
    /// Whether a version is to be taken for that now.
    is_whole_due: bool,
    /// The highest revision that was heard of.
    heard: u64,
    /// Who is connected.
    contact: status::Contact,
    /// What is counted.
    stats: MirrorStats,
    /// What is to be logged.
    complaints: VecDeque<String>,
}

/// Something that differs.
#[derive(Clone, Copy, Debug)]
struct Differing {
    /// When it is to be taken from the document again.
    due_ms: u64,
    /// How long to wait after the next try.
    wait_ms: u64,
}

impl Mirror {
    /// Begins with nothing known.
    pub fn new(config: MirrorConfig, now_ms: u64) -> Self {
        Self {
            config,
            history: HistoryId::default(),
            term: 0,
            key: DigestKey::default(),
            position: None,
            zones: HashMap::new(),
            line: Line::default(),
            documents: Documents::default(),
            ready: BTreeSet::new(),
            lacking: BTreeMap::new(),
            wanting: HashSet::new(),
            absent: BTreeSet::new(),
            is_gathering: false,
            is_first_load: false,
            differing: HashMap::new(),
            sum: 0,
            count: 0,
            revision_max: 0,
            beat: None,
            beat_mark: None,
            remembered: None,
            differs_as_a_whole: None,
            is_whole_due: false,
            heard: 0,
            contact: status::Contact::new(now_ms),
            stats: MirrorStats::default(),
            complaints: VecDeque::new(),
        }
    }

    /// The history that is followed, and the position from which on segments are wanted.
    pub fn place(&self) -> (HistoryId, Position) {
        let Some(position) = self.position else { return self.line.last().unwrap_or_default() };
        // What waits is here already; only what comes behind it is wanted.
        let waits = self.line.last_of(self.history);
        let last = waits.filter(|last| last.revision > position.revision);
        (self.history, last.unwrap_or(position))
    }

    /// Takes a segment whose signature holds.
    pub(crate) fn handle_segment(&mut self, segment: Segment, now_ms: u64) -> Taken {
        let head = segment.head;
        if head.namespace != self.config.namespace || head.history.epoch < self.history.epoch {
            self.stats.refused += 1;
            return Taken::Refused;
        }
        let is_own = head.history == self.history;
        if is_own && head.term < self.term {
            self.stats.refused += 1;
            return Taken::Refused;
        }
        if is_own {
            self.term = head.term;
        } else if head.history.epoch == self.history.epoch {
            // Two histories of one epoch: the author never makes them.
            self.stats.refused += 1;
            return Taken::Refused;
        }
        self.stats.segments += 1;
        match segment.body {
            SegmentBody::Commits(commits) => self.take_commits(head.history, head.before, commits),
            SegmentBody::Beat(beat) => {
                let mark = (head.history.epoch, head.term, beat.count);
                // One that was heard before may go round among edges that have lost their author.
                let is_news = self.beat_mark.is_none_or(|known| known < mark);
                if !is_news || !(is_own || self.position.is_none()) {
                    return Taken::Known;
                }
                if !self.config.is_behind && self.is_doubted(self.beat_mark) {
                    self.beat_mark = Some(mark);
                    return Taken::Known;
                }
                self.beat_mark = Some(mark);
                self.take_beat(beat, head.last, now_ms);
                Taken::Follows
            }
            SegmentBody::Version(version) => self.take_version(head.history, head.last, version),
        }
    }

    /// Takes commits that lead on from `before`.
    fn take_commits(
        &mut self,
        history: HistoryId,
        before: Position,
        commits: Vec<LogCommit>,
    ) -> Taken {
        let Some(last) = commits.last().map(|commit| commit.at) else { return Taken::Known };
        if history == self.history {
            self.heard = self.heard.max(last.revision);
        }
        let position = self.position.filter(|_| history == self.history);
        match position {
            Some(position) if last.revision <= position.revision => Taken::Known,
            Some(position) if before.revision <= position.revision => {
                for commit in commits {
                    self.take_commit(commit);
                }
                self.drain_line();
                Taken::Follows
            }
            _ => {
                self.line.push(history, before, commits);
                if self.line.steps() > HELD_STEPS_MAX {
                    // Too many to wait: what a later version has need not be told commit by commit.
                    self.line = Line::default();
                    self.stats.bound_hits += 1;
                }
                Taken::Waits
            }
        }
    }

    /// Takes one commit that follows on our position.
    fn take_commit(&mut self, commit: LogCommit) {
        let is_new = self.position.is_none_or(|position| commit.at.revision > position.revision);
        if !is_new {
            return;
        }
        self.stats.commits += 1;
        for zone in commit.zones {
            if self.admits(&zone.apex) {
                self.take_step(commit.at.revision, zone);
            }
        }
        self.position = Some(commit.at);
    }

    /// Takes what the commit at a revision did to a zone.
    fn take_step(&mut self, at: u64, step: LogZone) {
        let apex = step.apex.clone();
        let zone = self.zones.entry(apex.clone()).or_default();
        if let Some(build) = zone.push(at, step) {
            self.documents.give_up(&build);
        }
        self.note_lacking(&apex);
        self.ready.insert(apex);
    }

    /// Takes the commits that waited, as far as our position has come to where they begin.
    fn drain_line(&mut self) {
        while let Some(position) = self.position
            && let Some(commit) = self.line.poll(self.history, position)
        {
            self.take_commit(commit);
        }
    }

    /// Takes a heartbeat, which holds at a position.
    fn take_beat(&mut self, beat: LogBeat, at: Position, now_ms: u64) {
        self.heard = self.heard.max(at.revision);
        if !self.config.is_behind {
            self.contact.author_heard(now_ms);
        }
        self.beat = Some((beat, at, now_ms));
        self.compare_whole(now_ms);
    }

    /// Takes the news of a version of the document.
    fn take_version(&mut self, history: HistoryId, at: Position, version: VersionRef) -> Taken {
        let is_news = self.documents.announce(history, at, version);
        if is_news { Taken::Follows } else { Taken::Known }
    }

    /// Whether the edge wants a zone.
    fn admits(&self, apex: &Name) -> bool {
        let Some(filter) = &self.config.zone_filter else { return true };
        filter.iter().any(|wanted| apex.is_at_or_below(wanted))
    }

    /// Notes that a peer was heard.
    pub fn handle_contact(&mut self, now_ms: u64) {
        self.contact.heard(now_ms);
    }

    /// Notes that peers are dialed, or how many streams stand.
    pub(crate) fn handle_streams(&mut self, count: usize, now_ms: u64) {
        self.contact.streams(count, now_ms);
    }

    /// Returns what is to be logged next.
    pub fn poll_complaint(&mut self) -> Option<String> {
        self.complaints.pop_front()
    }

    /// Keeps a complaint, if not too many wait.
    fn complain(&mut self, text: String) {
        if self.complaints.len() < crate::limits::COMPLAINTS_MAX {
            self.complaints.push_back(text);
        }
    }
}
