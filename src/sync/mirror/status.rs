//! What an edge may say of itself, and from which evidence.
//!
//! | status | it is said when |
//! |---|---|
//! | Synced | a stream stands, a signed heartbeat is [`BEAT_FRESH_MS_MAX`] old at most, all that was heard is served, and every digest agrees |
//! | Syncing | a stream stands and a heartbeat is fresh, and something of that is not so |
//! | Stale | a stream stands and no heartbeat is fresh: whoever writes the feed is not heard; or nobody was heard for long, a time before the start among it |
//! | Connecting | nobody was reached since the start |
//! | Disconnected | the last stream is gone |
//!
//! **Not here:** the numbers behind it (`mirror`).

use std::collections::BTreeSet;

use serde::Serialize;

use super::Mirror;
use crate::feed::HistoryId;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::segment::Position;
use crate::limits::BEAT_FRESH_MS_MAX;
use crate::name::Name;
use crate::sync::status::SyncStatus;

/// What a mirror counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct MirrorStats {
    /// Segments that were taken.
    pub segments: u64,
    /// Commits that were taken.
    pub commits: u64,
    /// Steps that were made visible.
    pub steps: u64,
    /// Segments and contents that were refused.
    pub refused: u64,
    /// Contents that came.
    pub contents: u64,
    /// Contents that could not be fetched.
    pub fetch_failures: u64,
    /// Versions of the document that were taken.
    pub versions: u64,
    /// Times a zone, or all of them together, did not come to what they must.
    pub differed: u64,
    /// Zones that differed and agree again.
    pub healed: u64,
    /// Times all zones together were found to agree with a heartbeat.
    pub proofs: u64,
    /// Other histories that were gone to.
    pub histories: u64,
    /// Times a limit was reached.
    pub bound_hits: u64,
}

/// How a mirror stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MirrorStatus {
    /// In a word.
    pub status: SyncStatus,
    /// The history that is followed.
    pub history: HistoryId,
    /// The position up to which everything is served.
    pub served: Position,
    /// The highest revision that was heard of.
    pub heard: u64,
    /// The version of the document that was adopted last: where it holds, its number.
    pub document: Option<(Position, u64)>,
    /// How old the newest heartbeat is, in milliseconds.
    pub beat_age_ms: Option<u64>,
    /// What the heartbeat said of its author's clock, in milliseconds since 1970.
    pub beat_time_ms: Option<u64>,
    /// How long ago anybody was heard, in milliseconds.
    pub contact_age_ms: u64,
    /// For how many milliseconds the author was not heard, before the start too; where it never was, since then.
    pub silence_ms: u64,
    /// Zones that are served.
    pub zones: u64,
    /// Zones of which something is known that is not served.
    pub lacking: u64,
    /// For how many milliseconds nothing of the document could be fetched though a stream stands; 0 if all is well.
    pub fetch_failing_ms: u64,
    /// Zones whose digest differs, some of them.
    pub differing: Vec<Name>,
    /// Whether all zones together differ from what the author says.
    pub differs_as_a_whole: bool,
}

/// The epoch, term and count of a heartbeat, in the order in which its author made them.
pub(crate) type BeatMark = (u64, u64, u64);

/// Who is connected, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contact {
    /// Streams that stand.
    streams: usize,
    /// Whether one ever stood.
    was_connected: bool,
    /// When anybody was heard last; before that, when we began.
    heard_ms: u64,
    /// When the author was heard last; before that, when we began.
    author_ms: u64,
    /// Whether it was heard since.
    has_author: bool,
    /// For how many milliseconds the author was not heard then.
    silence_before_ms: u64,
    /// What was the last time told.
    now_ms: u64,
}

impl Contact {
    /// Nobody is connected.
    pub(super) fn new(now_ms: u64) -> Self {
        let (heard_ms, author_ms) = (now_ms, now_ms);
        Self {
            streams: 0,
            was_connected: false,
            heard_ms,
            author_ms,
            has_author: false,
            silence_before_ms: 0,
            now_ms,
        }
    }

    /// The author was heard.
    pub(super) fn author_heard(&mut self, now_ms: u64) {
        self.heard(now_ms);
        self.author_ms = self.author_ms.max(now_ms);
        self.silence_before_ms = 0;
        self.has_author = true;
    }

    /// How long ago the author was heard, if it was since the start.
    fn author_age_ms(&self, now_ms: u64) -> Option<u64> {
        self.has_author.then(|| now_ms.saturating_sub(self.author_ms))
    }

    /// For how many milliseconds the author was not heard.
    fn silence_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.author_ms).saturating_add(self.silence_before_ms)
    }

    /// Somebody was heard.
    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = self.heard_ms.max(now_ms);
    }

    /// So many streams stand.
    pub(super) fn streams(&mut self, count: usize, now_ms: u64) {
        self.streams = count;
        self.was_connected |= count > 0;
        if count > 0 {
            self.heard(now_ms);
        }
    }

    /// It is now.
    pub(super) fn handle_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }
}

impl Mirror {
    /// Says how the mirror stands.
    pub fn status(&self, now_ms: u64) -> MirrorStatus {
        let beat_age_ms = match self.config.is_behind {
            // The newest one waits, or has come out again long after it came.
            true => self.contact.author_age_ms(now_ms),
            false => self.beat.map(|(_, _, came_ms)| now_ms.saturating_sub(came_ms)),
        };
        let served = self.served();
        let contact_age_ms = now_ms.saturating_sub(self.contact.heard_ms);
        let mut differing: Vec<Name> = self.differing.keys().take(LISTED_MAX).cloned().collect();
        differing.sort_unstable();
        MirrorStatus {
            status: self.word(beat_age_ms, now_ms, served),
            history: self.history,
            served,
            heard: self.heard.max(served.revision),
            document: self.documents.adopted(),
            beat_age_ms,
            beat_time_ms: self.beat.map(|(beat, _, _)| beat.time_ms),
            contact_age_ms,
            silence_ms: self.contact.silence_ms(now_ms),
            zones: self.count,
            lacking: self.lacking.values().map(|count| u64::from(*count)).sum(),
            fetch_failing_ms: match self.contact.streams {
                0 => 0,
                _ => self.fetch_failing_ms(now_ms),
            },
            differing,
            differs_as_a_whole: self.differs_as_a_whole.is_some(),
        }
    }

    /// Notes that the author lives, of which a heartbeat tells that is handed in later.
    #[cfg(feature = "edge")] // who follows behind
    pub(crate) fn handle_author(&mut self, mark: BeatMark, now_ms: u64) {
        // After a restart one that was heard before it is no news.
        if self.remembered.is_none_or(|known| known < mark) {
            if !self.is_doubted(self.remembered) {
                self.contact.author_heard(now_ms);
            }
            self.remembered = Some(mark);
        }
    }

    /// Whether the next heartbeat is no sign of life: of an author who was not heard before the start the first one
    /// may be an old one that goes round among edges, where none is known to compare it with.
    pub(super) fn is_doubted(&self, known: Option<BeatMark>) -> bool {
        known.is_none() && self.contact.silence_before_ms > 0
    }

    /// Whether there is a first state, all zones of it visible.
    #[cfg(feature = "edge")] // who follows behind
    pub(crate) fn has_first(&mut self) -> bool {
        self.position.is_some() && !self.is_first_load()
    }

    /// Takes for how long the author was not heard before the start, and the newest heartbeat of then: it is no
    /// sign of life, whoever hands it on.
    pub(crate) fn remember_contact(&mut self, silence_ms: u64, beat_mark: Option<BeatMark>) {
        self.contact.silence_before_ms = silence_ms;
        self.remembered = beat_mark;
        if !self.config.is_behind {
            self.beat_mark = self.beat_mark.max(beat_mark);
        }
    }

    /// For how many milliseconds the author was not heard, and its newest heartbeat, to be remembered.
    pub(crate) fn contact(&self, now_ms: u64) -> (u64, Option<BeatMark>) {
        (self.contact.silence_ms(now_ms), self.beat_mark.max(self.remembered))
    }

    /// The history that is followed, and the position up to which everything is served.
    #[cfg(feature = "edge")] // who reports it
    pub(crate) fn served_place(&self) -> (HistoryId, Position) {
        (self.history, self.served())
    }

    /// What is counted.
    pub fn stats(&self) -> MirrorStats {
        self.stats
    }

    /// The key of all digests.
    pub fn digest_key(&self) -> DigestKey {
        self.key
    }

    /// What a zone that is served comes to, and at which revision.
    pub fn zone_digest(&self, apex: &Name) -> Option<(u64, Digest)> {
        let served = self.zones.get(apex)?.served;
        served.is_there.then_some((served.revision, served.digest))
    }

    /// The zones that are served, each with its revision and what it comes to.
    pub(crate) fn zone_digests(&self) -> impl Iterator<Item = (&Name, u64, Digest)> {
        self.zones
            .iter()
            .filter(|(_, zone)| zone.served.is_there)
            .map(|(apex, zone)| (apex, zone.served.revision, zone.served.digest))
    }

    /// The zones that ought to be served and are not.
    pub(crate) fn absent_zones(&self) -> &BTreeSet<Name> {
        &self.absent
    }

    /// The position up to which everything is served.
    fn served(&self) -> Position {
        let Some(position) = self.position else { return Position::default() };
        match self.lacking.first_key_value() {
            Some((lacking, _)) if *lacking <= position.revision => {
                Position { revision: lacking.saturating_sub(1), tag: 0 }
            }
            _ => position,
        }
    }

    /// The status in a word.
    fn word(&self, beat_age_ms: Option<u64>, now_ms: u64, served: Position) -> SyncStatus {
        let is_fresh = beat_age_ms.is_some_and(|age_ms| age_ms <= BEAT_FRESH_MS_MAX);
        let silence_ms = self.contact.silence_ms(now_ms);
        let is_silent = silence_ms >= self.config.stale_after_ms && self.position.is_some();
        if self.contact.streams == 0 {
            return match self.contact.was_connected {
                _ if is_silent => SyncStatus::Stale,
                true => SyncStatus::Disconnected,
                false => SyncStatus::Connecting,
            };
        }
        let is_whole = self.position.is_some()
            && served.revision >= self.heard
            && self.lacking.is_empty()
            && self.line.is_empty()
            && self.differing.is_empty()
            && self.differs_as_a_whole.is_none();
        match (is_fresh, is_whole) {
            (true, true) => SyncStatus::Synced,
            (true, false) => SyncStatus::Syncing,
            // Before the first heartbeat nothing is old yet, unless it was at the start.
            (false, _) if beat_age_ms.is_none() && !is_silent => SyncStatus::Syncing,
            (false, _) => SyncStatus::Stale,
        }
    }
}

/// Zones that a status lists.
const LISTED_MAX: usize = 100;
