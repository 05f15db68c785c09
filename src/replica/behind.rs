//! What an edge that follows behind on purpose holds back: all that came of the feed, for a time, in order.
//!
//! Only this machine's clock counts, and of it only spans: what is held is as old as the time since it came here.
//! What came goes on to the mirror when it is old enough, and lies on the disk only then: so a restart shows what
//! was shown before, and what comes again is held for the whole time anew.
//!
//! Past its limit the line takes in no more commits, and the edge shows nothing too early for it: safety wins. What
//! found no room is made up for by a version of the document, which is held as long. Of versions some are kept,
//! fetched at once, since who made them forgets them soon.
//!
//! **Invariant:** nothing comes out before its time, nor out of order, but a version that was fetched late.
//! **Not here:** fetching and taking in (`follow`), what segments mean (`sync::mirror`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use super::AspenDnsClient;
use crate::durable;
use crate::feed::HistoryId;
use crate::feed::segment::{LogStep, Position, Segment, SegmentBody, VersionRef};
use crate::limits::{BEHIND_OCTETS_MAX, BEHIND_VERSION_MS_MIN, BEHIND_VERSIONS_MAX};

/// How an edge follows that can follow behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FollowMode {
    /// So far behind as it was told at its start.
    #[default]
    Behind,
    /// Not at all: it stays where it is.
    Held,
    /// At once.
    Released,
}

/// What an edge that follows behind holds back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct BehindReport {
    /// How it follows now.
    pub mode: FollowMode,
    /// For how many milliseconds it holds back what comes.
    pub delay_ms: u64,
    /// Whether it does so yet: a first state is taken at once, up to the author's first word that this is all.
    pub has_begun: bool,
    /// Commits that are held back.
    pub commits: u64,
    /// Octets of all that is.
    pub octets: u64,
    /// The revision of the first of them.
    pub first_revision: Option<u64>,
    /// That of the last.
    pub last_revision: Option<u64>,
    /// How long the first of them has been here, in milliseconds.
    pub age_ms: Option<u64>,
    /// Versions of the document that are held back.
    pub versions: u64,
    /// Segments that found no room since the start: a version of the document makes up for them.
    pub dropped: u64,
}

/// What an operator wants of an edge that follows behind, and what it says of itself.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// For how many milliseconds it holds back what comes; none if it does not.
    pub(super) delay_ms: Option<u64>,
    /// How it follows.
    state: Mutex<BehindState>,
}

/// See [`Behind`].
#[derive(Debug, Default)]
struct BehindState {
    /// How it is to follow.
    mode: FollowMode,
    /// The file that keeps that for a restart.
    path: Option<PathBuf>,
    /// Whether that is for another to say, beside which a feed is read.
    is_beside: bool,
    /// Since when all that came is held back.
    begun_at: Option<Instant>,
    /// What it holds back.
    report: BehindReport,
}

impl FollowMode {
    /// What the file says.
    fn as_octets(self) -> &'static [u8] {
        match self {
            Self::Behind => b"behind\n",
            Self::Held => b"held\n",
            Self::Released => b"released\n",
        }
    }
}

/// Why an edge follows as it did before.
#[derive(Debug, thiserror::Error)]
pub enum FollowModeError {
    /// It was not started to follow behind.
    #[error("this node was not started with --follow-behind")]
    NotBehind,
    /// What is wanted could not be kept for a restart.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Behind {
    /// An edge that holds back what comes for so many milliseconds, if it does.
    pub(super) fn new(delay_ms: Option<u64>) -> Self {
        Self { delay_ms, state: Mutex::default() }
    }

    /// What is wanted where a feed is read that is to take the place of another's.
    pub(super) fn beside(other: &Self) -> Self {
        let state = BehindState { mode: other.mode(), is_beside: true, ..BehindState::default() };
        Self { delay_ms: other.delay_ms, state: Mutex::new(state) }
    }

    /// The state, for a short while.
    fn state(&self) -> MutexGuard<'_, BehindState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes where it is kept how the edge is to follow, and what stands there. One that does not read holds.
    pub(super) fn load(&self, path: PathBuf) {
        let is_beside = self.state().is_beside;
        if is_beside {
            self.state().path = Some(path);
            return;
        }
        let mode = match std::fs::read(&path).as_deref() {
            Ok(b"behind\n") => FollowMode::Behind,
            Ok(b"released\n") => FollowMode::Released,
            Ok(_) => FollowMode::Held,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => FollowMode::Behind,
            Err(_) => FollowMode::Held,
        };
        let mut state = self.state();
        (state.mode, state.path) = (mode, Some(path));
    }

    /// How the edge is to follow.
    pub(super) fn mode(&self) -> FollowMode {
        self.state().mode
    }

    /// Follows as another does.
    pub(super) fn follow_mode_of(&self, other: &Self) {
        let mode = other.mode();
        self.state().mode = mode;
    }

    /// Notes that all that comes from now on is held back.
    pub(super) fn begin(&self) {
        self.state().begun_at.get_or_insert_with(Instant::now);
    }

    /// Whether nothing would be shown early, if what `other` shows took the place of what is shown here: all of
    /// it came before it began, or has been held since. Where the edge is held, it stays with what it shows.
    pub(super) fn lets_over(&self, other: &Self) -> bool {
        let Some(delay_ms) = self.delay_ms else { return true };
        let Some(begun_at) = other.state().begun_at else { return false };
        let own = self.state();
        match own.mode {
            // Nothing older is here.
            _ if own.begun_at.is_none() => true,
            FollowMode::Held => false,
            FollowMode::Released => true,
            FollowMode::Behind => begun_at.elapsed() >= Duration::from_millis(delay_ms),
        }
    }

    /// Takes the place of `other`, which has read a feed beside this one: how it is followed is kept with that feed.
    ///
    /// # Errors
    /// What the system says; nothing has changed then.
    pub(super) fn take_over(&self, other: &Self) -> std::io::Result<()> {
        let (path, begun_at) = {
            let other = other.state();
            (other.path.clone(), other.begun_at)
        };
        let mut own = self.state();
        let is_usual = self.delay_ms.is_none() && own.mode == FollowMode::default();
        if let Some(path) = path.as_ref().filter(|_| !is_usual) {
            durable::write(path, own.mode.as_octets())?;
        }
        (own.path, own.begun_at) = (path, begun_at);
        Ok(())
    }

    /// Notes what is held back.
    pub(super) fn note(&self, report: BehindReport) {
        self.state().report = report;
    }
}

impl AspenDnsClient {
    /// What the edge holds back; nothing of one that does not follow behind.
    pub fn behind(&self) -> Option<BehindReport> {
        let delay_ms = self.behind.delay_ms?;
        let state = self.behind.state();
        Some(BehindReport { mode: state.mode, delay_ms, ..state.report })
    }

    /// Has the edge hold, catch up, or follow behind again, over restarts too.
    ///
    /// # Errors
    /// Every [`FollowModeError`]; it follows as before then.
    pub fn set_follow_mode(&self, mode: FollowMode) -> Result<(), FollowModeError> {
        if self.behind.delay_ms.is_none() {
            return Err(FollowModeError::NotBehind);
        }
        let mut state = self.behind.state();
        if let Some(path) = &state.path {
            durable::write(path, mode.as_octets())
                .map_err(|source| FollowModeError::File { path: path.clone(), source })?;
        }
        state.mode = mode;
        tracing::info!(?mode, "how the feed is followed");
        Ok(())
    }
}

/// What has come and is not shown yet.
#[derive(Debug)]
pub(super) struct DelayLine {
    /// For how many milliseconds it is held back.
    delay_ms: u64,
    /// Octets that may wait.
    octets_max: usize,
    /// What waits, in the order in which it came.
    held: VecDeque<HeldSegment>,
    /// Octets of it.
    octets: usize,
    /// Segments that found no room.
    dropped: u64,
    /// Where the last of them led.
    dropped_to: u64,
    /// Versions, in the order in which they came.
    versions: VecDeque<HeldVersion>,
}

/// A segment that waits.
#[derive(Debug)]
struct HeldSegment {
    /// Its octets.
    octets: Bytes,
    /// When it came.
    came_ms: u64,
    /// The history that it is of.
    history: HistoryId,
    /// The term that it is of.
    term: u64,
    /// Where it leads.
    last: Position,
    /// The revisions of the commits in it: the first, and how many; none of a heartbeat.
    commits: Option<(u64, u64)>,
    /// Whether a version must tell some of it.
    needs_version: bool,
}

/// A version that waits.
#[derive(Debug)]
struct HeldVersion {
    /// Its announcement.
    octets: Bytes,
    /// When it came.
    came_ms: u64,
    /// Which it is.
    version: VersionRef,
    /// Where it holds.
    at: Position,
    /// The history that it is of.
    history: HistoryId,
    /// The term that it is of.
    term: u64,
    /// Whether all of it lies on this machine.
    is_here: bool,
}

impl DelayLine {
    /// Nothing waits; what comes does so for a time.
    pub(super) fn new(delay_ms: u64) -> Self {
        let (held, versions) = (VecDeque::new(), VecDeque::new());
        let octets_max = BEHIND_OCTETS_MAX;
        Self { delay_ms, octets_max, held, octets: 0, dropped: 0, dropped_to: 0, versions }
    }

    /// Takes a segment that came now; says whether it is a version whose contents are to be fetched.
    pub(super) fn push(
        &mut self,
        octets: Bytes,
        segment: &Segment,
        now_ms: u64,
    ) -> Option<VersionRef> {
        let head = &segment.head;
        let mut held = HeldSegment {
            octets,
            came_ms: now_ms,
            history: head.history,
            term: head.term,
            last: head.last,
            commits: None,
            needs_version: false,
        };
        match &segment.body {
            SegmentBody::Version(version) => return self.push_version(held, *version),
            // Of heartbeats of one place the last is as good as all; it is due when the first is. One of another
            // term waits its own time: what is held of the term before would not be believed behind it.
            SegmentBody::Beat(_) => {
                let is_same = |last: &&mut HeldSegment| {
                    last.commits.is_none() && (last.history, last.term) == (head.history, head.term)
                };
                if let Some(last) = self.held.back_mut().filter(is_same) {
                    self.octets = self.octets - last.octets.len() + held.octets.len();
                    (last.octets, last.last) = (held.octets, held.last);
                    return None;
                }
            }
            SegmentBody::Commits(commits) => {
                let first = commits.first()?.at.revision;
                held.commits = Some((first, commits.len() as u64));
                let mut zones = commits.iter().flat_map(|commit| &commit.zones);
                held.needs_version = zones.any(|zone| zone.step == LogStep::Document);
            }
        }
        if self.octets + held.octets.len() > self.octets_max {
            self.dropped += 1;
            self.dropped_to = self.dropped_to.max(held.last.revision);
            return None;
        }
        self.octets += held.octets.len();
        self.held.push_back(held);
        None
    }

    /// Takes a version: one now and then, and each that something behind the last one needs.
    fn push_version(&mut self, held: HeldSegment, version: VersionRef) -> Option<VersionRef> {
        let HeldSegment { octets, came_ms, last: at, history, term, .. } = held;
        if let Some(known) = self.versions.back() {
            if known.version == version {
                return None;
            }
            let is_needed = (known.history, known.term) != (history, term)
                || self.dropped_to > known.at.revision
                || self
                    .held
                    .iter()
                    .any(|held| held.needs_version && held.last.revision > known.at.revision);
            let pause_ms = (self.delay_ms / 4).max(BEHIND_VERSION_MS_MIN);
            let is_soon = came_ms.saturating_sub(known.came_ms) < pause_ms;
            if is_soon && !is_needed {
                return None;
            }
            if self.versions.len() >= BEHIND_VERSIONS_MAX {
                // The later one leads as far and further.
                self.versions.pop_back();
            }
        }
        self.versions.push_back(HeldVersion {
            octets,
            came_ms,
            version,
            at,
            history,
            term,
            is_here: false,
        });
        Some(version)
    }

    /// Notes that all of a version lies on this machine, or cannot be had.
    pub(super) fn note_fetched(&mut self, version: VersionRef, is_here: bool) {
        if is_here {
            let found = self.versions.iter_mut().find(|held| held.version == version);
            found.into_iter().for_each(|held| held.is_here = true);
        } else {
            self.versions.retain(|held| held.version != version);
        }
    }

    /// Whether a version is held.
    pub(super) fn has_version(&self, version: VersionRef) -> bool {
        self.versions.iter().any(|held| held.version == version)
    }

    /// Returns the next segment that may be shown now.
    pub(super) fn poll(&mut self, mode: FollowMode, now_ms: u64) -> Option<Bytes> {
        let limit_ms = match mode {
            FollowMode::Held => return None,
            FollowMode::Behind => self.delay_ms,
            FollowMode::Released => 0,
        };
        let is_due = |came_ms: u64| now_ms.saturating_sub(came_ms) >= limit_ms;
        let is_first = |version: &HeldVersion| {
            self.held.front().is_none_or(|held| version.came_ms <= held.came_ms)
        };
        let is_ready = |version: &HeldVersion| version.is_here || mode == FollowMode::Released;
        let at = self
            .versions
            .iter()
            .position(|version| is_due(version.came_ms) && is_ready(version) && is_first(version));
        if let Some(version) = at.and_then(|at| self.versions.remove(at)) {
            return Some(version.octets);
        }
        self.held.front().filter(|held| is_due(held.came_ms))?;
        let held = self.held.pop_front()?;
        self.octets -= held.octets.len();
        Some(held.octets)
    }

    /// Where the last of what waits leads, so that nobody sends it again.
    pub(super) fn last(&self) -> Option<(HistoryId, Position)> {
        let last = self.held.iter().rfind(|held| held.commits.is_some())?;
        Some((last.history, last.last))
    }

    /// The newest of each kind that waits, as proof of what its author has told.
    pub(super) fn proofs(&self) -> Vec<Bytes> {
        let newest =
            |is_beat: bool| self.held.iter().rfind(|held| held.commits.is_none() == is_beat);
        let held = [newest(true), newest(false)].into_iter().flatten().map(|held| &held.octets);
        held.chain(self.versions.back().map(|held| &held.octets)).cloned().collect()
    }

    /// Whether commits or versions wait.
    pub(super) fn is_empty(&self) -> bool {
        self.held.iter().all(|held| held.commits.is_none()) && self.versions.is_empty()
    }

    /// Says what waits.
    pub(super) fn report(&self, now_ms: u64) -> BehindReport {
        let mut commits = self.held.iter().filter(|held| held.commits.is_some());
        let counts = commits.clone().filter_map(|held| held.commits);
        let last_revision = commits.clone().next_back().map(|held| held.last.revision);
        let first = commits.next();
        BehindReport {
            mode: FollowMode::default(),
            delay_ms: self.delay_ms,
            has_begun: false,
            commits: counts.map(|(_, count)| count).sum(),
            octets: self.octets as u64,
            first_revision: first.and_then(|held| held.commits).map(|(first, _)| first),
            last_revision,
            age_ms: first.map(|held| now_ms.saturating_sub(held.came_ms)),
            versions: self.versions.len() as u64,
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests;
