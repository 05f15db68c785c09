//! The log of one feed as a node keeps it in memory, for those who follow it.
//!
//! One writer, the exporter or the edge that follows somebody itself; any number of followers, each
//! with a cursor of its own into the same frames. A frame is made once and shared.
//!
//! **Invariant:** segments lead from `base` to the head without a gap; a follower is given every
//! one after its cursor, or told that they are gone.
//! **Not here:** what segments say (`feed::segment`), connections (`mesh::stream`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::feed::HistoryId;
use crate::feed::frame::{notice_frame, segment_frame};
use crate::feed::segment::{Position, VersionRef};
use crate::limits::{FEED_BEAT_MS, LOG_OCTETS_MAX};

/// The log of one feed.
#[derive(Debug)]
pub(crate) struct Log {
    /// The feed.
    namespace: [u8; 32],
    /// What is kept.
    state: Mutex<LogState>,
    /// What the author says of the feed itself, by its number: it stays when the log begins anew.
    notice: Mutex<Option<(u64, Bytes)>>,
    /// Counts changes of it.
    changed: watch::Sender<u64>,
}

/// What is kept.
#[derive(Debug, Default)]
struct LogState {
    /// The history, once there is one.
    history: Option<HistoryId>,
    /// Counts how often the log began anew.
    generation: u64,
    /// Where the oldest segment begins.
    base: Position,
    /// Since when there has been more than that, or the history; for who is behind it, at least since then.
    base_since: Option<Instant>,
    /// The segments.
    segments: VecDeque<KeptSegment>,
    /// Octets of them.
    octets: usize,
    /// Octets of all that there were in this history.
    pushed: u64,
    /// Whether whoever has nothing finds nothing here, as long as there is no version.
    is_bare: bool,
    /// The commits in them.
    commits: VecDeque<Position>,
    /// The newest version of the document, where it holds, and its frame.
    version: Option<(VersionRef, Position, Bytes)>,
    /// The newest heartbeat.
    beat: Option<KeptBeat>,
}

/// A heartbeat.
#[derive(Clone, Debug)]
struct KeptBeat {
    /// Its number, counted here.
    number: u64,
    /// Where it holds.
    at: Position,
    /// Its frame.
    frame: Bytes,
    /// When it came: to one who follows later it would look fresh.
    came: Instant,
}

/// One segment.
#[derive(Clone, Debug)]
struct KeptSegment {
    /// Where it ends.
    last: Position,
    /// Its frame.
    frame: Bytes,
    /// When it came.
    came: Instant,
}

/// Where somebody stands who wants to follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The log goes on from there.
    Follows,
    /// The log does not reach back so far, or it is another history: it goes on from here instead.
    Behind(Position),
    /// It claims to be where this history never was, or is not yet.
    Ahead,
    /// There is no log yet.
    NotReady,
}

/// What there is for a follower.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    /// Frames, in order.
    pub(crate) frames: Vec<Bytes>,
    /// The follower's place after them.
    pub(crate) place: Place,
}

/// A follower's place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    /// The log's generation.
    generation: u64,
    /// The revision up to which it was given everything.
    revision: u64,
    /// The number of the heartbeat that it was given last.
    beat: u64,
    /// The version that it was given last.
    version: Option<VersionRef>,
    /// The number of the notice that it was given last.
    notice: u64,
}

impl Log {
    /// A log of which nothing is known.
    pub(crate) fn new(namespace: [u8; 32]) -> Self {
        let (state, notice) = (Mutex::default(), Mutex::default());
        Self { namespace, state, notice, changed: watch::Sender::new(0) }
    }

    /// The feed.
    pub(crate) fn namespace(&self) -> [u8; 32] {
        self.namespace
    }

    /// Begins anew, in a history, after a position. Those who follow have to say hello again.
    pub(crate) fn begin(&self, history: HistoryId, base: Position) {
        self.begin_as(history, base, false);
    }

    /// Begins anew as [`Log::begin`], where no version of the document can be told: whoever has nothing is to look for
    /// somebody who has.
    #[cfg(feature = "node")] // who writes a feed
    pub(crate) fn begin_bare(&self, history: HistoryId, base: Position) {
        self.begin_as(history, base, true);
    }

    /// Begins anew.
    fn begin_as(&self, history: HistoryId, base: Position, is_bare: bool) {
        let mut state = self.state();
        let generation = state.generation + 1;
        let base_since = Some(Instant::now());
        let history = Some(history);
        *state = LogState { history, generation, base, base_since, is_bare, ..LogState::default() };
        self.tell(state);
    }

    /// Ends the log: those who follow have to look for another.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        let generation = state.generation + 1;
        *state = LogState { generation, ..LogState::default() };
        self.tell(state);
    }

    /// Appends a segment with the commits that it holds.
    ///
    /// It may begin before the head, where another exporter has cut the log elsewhere.
    ///
    /// # Panics
    /// If it begins behind the head.
    pub(crate) fn push(&self, octets: &[u8], before: Position, commits: &[Position]) {
        let Some(last) = commits.last() else { return };
        let mut state = self.state();
        let head = state.head();
        assert!(before.revision <= head.revision, "a log has no gap");
        if last.revision <= head.revision {
            return;
        }
        let frame = segment_frame(octets);
        state.octets += frame.len();
        state.pushed += frame.len() as u64;
        state.segments.push_back(KeptSegment { last: *last, frame, came: Instant::now() });
        state.commits.extend(commits.iter().filter(|commit| commit.revision > head.revision));
        while state.octets > LOG_OCTETS_MAX && state.segments.len() > 1 {
            state.drop_oldest();
        }
        self.tell(state);
    }

    /// Takes the newest version of the document, which holds at a position.
    pub(crate) fn set_version(&self, version: VersionRef, at: Position, octets: &[u8]) {
        let mut state = self.state();
        state.version = Some((version, at, segment_frame(octets)));
        self.tell(state);
    }

    /// Takes the newest heartbeat, which holds at a position.
    pub(crate) fn set_beat(&self, at: Position, octets: &[u8]) {
        let mut state = self.state();
        let number = state.beat.as_ref().map_or(0, |beat| beat.number) + 1;
        state.beat =
            Some(KeptBeat { number, at, frame: segment_frame(octets), came: Instant::now() });
        self.tell(state);
    }

    /// Takes what the author says of the feed itself.
    pub(crate) fn set_notice(&self, number: u64, octets: &[u8]) {
        let mut notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner);
        *notice = Some((number, notice_frame(octets)));
        drop(notice);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Octets of all segments since the log began.
    #[cfg(feature = "node")] // who writes a feed
    pub(crate) fn pushed(&self) -> u64 {
        self.state().pushed
    }

    /// The history, once there is one.
    pub(crate) fn history(&self) -> Option<HistoryId> {
        self.state().history
    }

    /// The history, if a position is one of its commits that the log knows: another line of commits has other tags.
    pub(crate) fn history_at(&self, at: Position) -> Option<HistoryId> {
        let state = self.state();
        state.history.filter(|_| at.tag != 0 && state.tag_at(at.revision) == Some(at.tag))
    }

    /// For how many milliseconds, at least, somebody has lacked something who serves so much of a history; 0
    /// if it lacks nothing.
    pub(crate) fn lag_ms(&self, history: HistoryId, revision: u64) -> u64 {
        let state = self.state();
        let since = if state.history != Some(history) || revision < state.base.revision {
            state.base_since
        } else {
            let next = state.segments.partition_point(|kept| kept.last.revision <= revision);
            state.segments.get(next).map(|kept| kept.came)
        };
        since.map_or(0, |since| since.elapsed().as_millis() as u64)
    }

    /// The position that the log leads to.
    pub(crate) fn head(&self) -> Position {
        self.state().head()
    }

    /// The position where the oldest segment begins.
    pub(crate) fn base(&self) -> Position {
        self.state().base
    }

    /// Says where somebody stands, and its place for [`Log::supply`].
    pub(crate) fn standing(&self, history: HistoryId, at: Position) -> (Standing, Place) {
        let state = self.state();
        let place = |revision| Place { generation: state.generation, revision, ..Place::default() };
        let Some(own) = state.history else { return (Standing::NotReady, place(0)) };
        let is_behind = history != own || at.revision < state.base.revision;
        let is_of_use = !state.is_bare || state.version.is_some() || at.revision > 0;
        if is_behind && !is_of_use {
            return (Standing::NotReady, place(0));
        }
        if is_behind {
            // A version of the document leads to where it holds, if the log goes on from there.
            let version = state.version.as_ref().map(|(_, at, _)| *at);
            let from = version.filter(|at| at.revision >= state.base.revision);
            let from = from.unwrap_or(state.base);
            return (Standing::Behind(from), place(from.revision));
        }
        match state.tag_at(at.revision) {
            Some(tag) if tag == at.tag || tag == 0 || at.tag == 0 => {
                (Standing::Follows, place(at.revision))
            }
            _ => (Standing::Ahead, place(0)),
        }
    }

    /// Returns up to `octets_max` octets of frames after a place, at least one if there is any;
    /// none at all if the log went on without the follower.
    pub(crate) fn supply(&self, place: Place, octets_max: usize) -> Option<Supply> {
        let state = self.state();
        if place.generation != state.generation || place.revision < state.base.revision {
            return None;
        }
        let mut supply = Supply { frames: Vec::new(), place };
        let notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((number, frame)) = notice.filter(|(number, _)| *number > place.notice) {
            supply.frames.push(frame);
            supply.place.notice = number;
        }
        if let Some((version, _, frame)) = &state.version
            && place.version != Some(*version)
        {
            supply.frames.push(frame.clone());
            supply.place.version = Some(*version);
        }
        let start = state.segments.partition_point(|kept| kept.last.revision <= place.revision);
        let mut octets = 0;
        for kept in state.segments.range(start..) {
            if octets >= octets_max {
                return Some(supply);
            }
            octets += kept.frame.len();
            supply.frames.push(kept.frame.clone());
            supply.place.revision = kept.last.revision;
        }
        if let Some(beat) = &state.beat
            && beat.number > place.beat
            && beat.at.revision <= supply.place.revision
            && beat.came.elapsed() <= Duration::from_millis(FEED_BEAT_MS)
        {
            supply.frames.push(beat.frame.clone());
            supply.place.beat = beat.number;
        }
        Some(supply)
    }

    /// Hears of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What is kept.
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who follow.
    fn tell(&self, state: MutexGuard<'_, LogState>) {
        drop(state);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl LogState {
    /// The position that the segments lead to.
    fn head(&self) -> Position {
        self.segments.back().map_or(self.base, |kept| kept.last)
    }

    /// Returns the tag of a revision between base and head; 0 where it is not known.
    fn tag_at(&self, revision: u64) -> Option<u64> {
        if revision == self.base.revision {
            return Some(self.base.tag);
        }
        let found = self.commits.binary_search_by_key(&revision, |commit| commit.revision);
        found.ok().and_then(|at| self.commits.get(at)).map(|commit| commit.tag)
    }

    /// Drops the oldest segment.
    fn drop_oldest(&mut self) {
        let Some(kept) = self.segments.pop_front() else { return };
        self.octets -= kept.frame.len();
        self.base = kept.last;
        self.base_since = Some(kept.came);
        while self.commits.front().is_some_and(|commit| commit.revision <= kept.last.revision) {
            self.commits.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: HistoryId = HistoryId { epoch: 1, id: 7 };

    fn at(revision: u64) -> Position {
        Position { revision, tag: revision * 100 }
    }

    /// A log after revision 10 with segments of two commits each, up to 20.
    fn log() -> Log {
        let log = Log::new([1; 32]);
        log.begin(HISTORY, at(10));
        for first in (11..20).step_by(2) {
            let commits = [at(first), at(first + 1)];
            log.push(format!("{first}").as_bytes(), at(first - 1), &commits);
        }
        log
    }

    fn texts(supply: &Supply) -> Vec<String> {
        let text = |frame: &Bytes| String::from_utf8_lossy(&frame[5..]).into_owned();
        supply.frames.iter().map(text).collect()
    }

    #[test]
    fn where_somebody_stands_is_told_by_history_revision_and_tag() {
        let log = log();
        assert_eq!(Log::new([1; 32]).standing(HISTORY, at(0)).0, Standing::NotReady);
        for revision in 10..=20 {
            assert_eq!(log.standing(HISTORY, at(revision)).0, Standing::Follows, "{revision}");
        }
        assert_eq!(log.standing(HISTORY, at(9)).0, Standing::Behind(at(10)));
        assert_eq!(log.standing(HISTORY, at(21)).0, Standing::Ahead);
        let other = Position { revision: 15, tag: 1 };
        assert_eq!(log.standing(HISTORY, other).0, Standing::Ahead);
        let older = HistoryId { epoch: 0, id: 7 };
        assert_eq!(log.standing(older, at(15)).0, Standing::Behind(at(10)));
        log.set_version(VersionRef::default(), at(16), b"version");
        assert_eq!(log.standing(older, at(15)).0, Standing::Behind(at(16)));
    }

    #[cfg(feature = "node")]
    #[test]
    fn who_has_nothing_looks_elsewhere_where_there_is_no_document() {
        let (log, nothing) = (log(), (HistoryId::default(), Position::default()));
        assert_eq!(log.standing(nothing.0, nothing.1).0, Standing::Behind(at(10)), "it comes soon");
        log.begin_bare(HISTORY, at(10));
        assert_eq!(log.standing(nothing.0, nothing.1).0, Standing::NotReady);
        assert_eq!(log.standing(HISTORY, at(10)).0, Standing::Follows);
        assert_eq!(log.standing(HISTORY, at(9)).0, Standing::Behind(at(10)), "it hears the author");
        log.set_version(VersionRef::default(), at(10), b"version");
        assert_eq!(log.standing(nothing.0, nothing.1).0, Standing::Behind(at(10)));
        log.begin_bare(HISTORY, at(10));
        log.begin(HISTORY, at(10));
        assert_eq!(log.standing(nothing.0, nothing.1).0, Standing::Behind(at(10)));
    }

    #[test]
    fn a_follower_gets_what_comes_after_its_place_each_once() {
        let log = log();
        let (_, place) = log.standing(HISTORY, at(14));
        let supply = log.supply(place, 1).unwrap();
        assert_eq!(texts(&supply), ["15"]);
        let supply = log.supply(supply.place, 1_000).unwrap();
        assert_eq!(texts(&supply), ["17", "19"]);
        assert!(log.supply(supply.place, 1_000).unwrap().frames.is_empty());
        log.set_beat(at(20), b"beat");
        log.set_version(VersionRef { number: 3, ..VersionRef::default() }, at(20), b"version");
        let supply = log.supply(supply.place, 1_000).unwrap();
        assert_eq!(texts(&supply), ["version", "beat"]);
        assert!(log.supply(supply.place, 1_000).unwrap().frames.is_empty());
    }

    #[test]
    fn a_history_is_known_by_the_tags_of_its_commits() {
        let log = log();
        for revision in 10..=20 {
            assert_eq!(log.history_at(at(revision)), Some(HISTORY), "{revision}");
        }
        for other in [at(9), at(21), Position { revision: 15, tag: 1 }] {
            assert_eq!(log.history_at(other), None, "{other:?}");
        }
        assert_eq!(log.history_at(Position { revision: 15, tag: 0 }), None, "it says nothing");
        assert_eq!(Log::new([1; 32]).history_at(at(0)), None);
    }

    #[test]
    fn a_lag_counts_from_the_first_commit_that_is_lacking() {
        let log = log();
        let came = |minus_ms| Instant::now().checked_sub(Duration::from_millis(minus_ms)).unwrap();
        for (kept, age_ms) in log.state().segments.iter_mut().zip([5_000, 4_000, 3_000, 2_000]) {
            kept.came = came(age_ms);
        }
        log.state().base_since = Some(came(9_000));
        for (revision, lag_s) in [(20, 0), (21, 0), (14, 3), (13, 4), (12, 4), (10, 5), (9, 9)] {
            assert_eq!(log.lag_ms(HISTORY, revision) / 1_000, lag_s, "{revision}");
        }
        let other = HistoryId { epoch: 2, id: 7 };
        assert_eq!(log.lag_ms(other, 20) / 1_000, 9, "another history");
    }

    #[test]
    fn a_heartbeat_never_overtakes_the_commits_that_it_speaks_of() {
        let log = log();
        log.set_beat(at(20), b"beat");
        let (_, place) = log.standing(HISTORY, at(14));
        let supply = log.supply(place, 1).unwrap();
        assert_eq!(texts(&supply), ["15"]);
        let supply = log.supply(supply.place, 1_000).unwrap();
        assert_eq!(texts(&supply), ["17", "19", "beat"]);
    }

    #[test]
    fn one_whose_place_is_gone_is_told_so() {
        let log = log();
        let (_, place) = log.standing(HISTORY, at(12));
        let long = vec![0; LOG_OCTETS_MAX / 2];
        for revision in 21..=24 {
            log.push(&long, at(revision - 1), &[at(revision)]);
        }
        assert!(log.supply(place, 1_000).is_none());
        assert!(matches!(log.standing(HISTORY, at(12)).0, Standing::Behind(_)));
        assert_eq!(log.standing(HISTORY, at(24)).0, Standing::Follows);
        let (_, place) = log.standing(HISTORY, at(24));
        log.begin(HistoryId { epoch: 2, id: 8 }, at(24));
        assert!(log.supply(place, 1_000).is_none());
    }
}
