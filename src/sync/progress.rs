//! How far everything is: what was heard of, handed out, published and confirmed by a heartbeat.
//!
//! Synced means: the replica was scanned, somebody has spoken since (a heartbeat or a finished
//! reconciliation), no manifest, header or heartbeat waits for its content, every step is
//! published, and the heartbeat's digest is that of the zones here. A feed without header has no
//! heartbeat: there the finished reconciliation takes its place.
//!
//! **Invariant:** the served revision never falls; it is told only when nothing known is missing.
//! **Not here:** which steps are on their way (`sync::outbox`), the status (`sync::status`).

use crate::feed::Revision;
use crate::limits::{BEHIND_MS_MAX, GAP_MS_MAX, RESCAN_MS_MAX, RESCAN_MS_MIN};

/// How far everything is.
#[derive(Debug, Default)]
pub(super) struct FeedProgress {
    /// Whether the replica was listed once.
    is_scanned: bool,
    /// Whether a reconciliation with a peer was finished since somebody spoke again.
    is_reconciled: bool,
    /// Whether a heartbeat arrived since somebody spoke again.
    has_live_beat: bool,
    /// The newest revision heard of.
    heard: Revision,
    /// The newest revision handed out.
    handed_out: Revision,
    /// The revision up to which everything known is published.
    served: Revision,
    /// What `served` becomes when all that is in flight is published.
    served_next: Option<Revision>,
    /// The revision of the last heartbeat whose digest was met.
    confirmed: Option<Revision>,
    /// How the newest heartbeat compares.
    beat_check: BeatCheck,
    /// When the newest heartbeat was compared last.
    compared_ms: u64,
    /// Since when no heartbeat compared well.
    differs_since_ms: Option<u64>,
    /// Since when entries are missing that were dropped at a bound.
    dropped_since_ms: Option<u64>,
    /// When content last arrived, or the wait for it began.
    content_ms: u64,
    /// When to look for what is missing.
    lag_check_ms: Option<u64>,
    /// When to ask for a rescan.
    rescan: Rescan,
}

/// How the newest heartbeat compares with the zones here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum BeatCheck {
    /// Not compared, or something changed since.
    #[default]
    Due,
    /// The digests are equal.
    Met,
    /// They differ.
    Differs,
    /// The zones' revisions of that time are not known.
    Unknown,
}

/// When to ask for a rescan.
#[derive(Clone, Copy, Debug, Default)]
struct Rescan {
    /// Whether one is wanted.
    is_wanted: bool,
    /// Not before this time.
    not_before_ms: u64,
    /// How long to wait after the next one.
    pause_ms: u64,
    /// How many were asked for.
    count: u64,
}

/// What is known and not here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// Since when a zone has waited for what was not handed out.
    pub pending_since_ms: Option<u64>,
    /// Whether a zone has waited for long for something that nobody has told.
    pub has_gap: bool,
    /// Whether content is wanted without which nothing is whole.
    pub is_content_urgent: bool,
}

impl FeedProgress {
    /// Notes a revision that exists.
    pub(super) fn hear(&mut self, revision: Revision) {
        self.heard = self.heard.max(revision);
    }

    /// Returns the newest revision heard of.
    pub(super) fn heard(&self) -> Revision {
        self.heard
    }

    /// Returns the revision up to which everything known is published.
    pub(super) fn served(&self) -> Revision {
        self.served
    }

    /// Notes that content arrived.
    pub(super) fn note_content(&mut self, now_ms: u64) {
        self.content_ms = now_ms;
    }

    /// Notes that a heartbeat comes from somebody who lives, not from the disk.
    pub(super) fn note_live_beat(&mut self) {
        self.has_live_beat = true;
    }

    /// Notes that nobody speaks any more: what happens from now on is not known.
    pub(super) fn note_silence(&mut self) {
        self.is_reconciled = false;
        self.has_live_beat = false;
    }

    /// Notes that a listing of the replica begins.
    pub(super) fn note_scan_started(&mut self) {
        self.rescan.is_wanted = false;
    }

    /// Notes that the replica was listed.
    pub(super) fn note_scan_complete(&mut self, now_ms: u64) {
        self.is_scanned = true;
        self.content_ms = self.content_ms.max(now_ms);
        self.check_lag_later(now_ms);
    }

    /// Notes that a reconciliation is finished.
    pub(super) fn note_reconciled(&mut self) {
        self.is_reconciled = true;
    }

    /// Whether the replica was listed once.
    pub(super) fn is_scanned(&self) -> bool {
        self.is_scanned
    }

    /// Whether a reconciliation was finished since somebody spoke again.
    pub(super) fn is_reconciled(&self) -> bool {
        self.is_reconciled
    }

    /// Notes that a step is handed out.
    pub(super) fn note_handed_out(&mut self, revision: Revision) {
        self.handed_out = self.handed_out.max(revision);
        self.hear(revision);
    }

    /// Notes that everything known is handed out: it is served when that is published.
    pub(super) fn note_all_handed_out(&mut self) {
        self.served_next = Some(self.handed_out);
    }

    /// Notes that every step which was handed out is published.
    pub(super) fn note_all_done(&mut self) {
        if let Some(served) = self.served_next.take() {
            self.serve(served);
        }
    }

    /// Notes that nothing known is missing.
    pub(super) fn note_all_published(&mut self) {
        self.serve(self.handed_out);
    }

    /// Notes that everything known up to a revision is published.
    fn serve(&mut self, revision: Revision) {
        debug_assert!(revision <= self.heard, "what is published was heard of");
        self.served = self.served.max(revision);
    }

    /// Notes that a step could not be built: nothing beyond `published` is handed out.
    pub(super) fn note_refused(&mut self, published: Revision) {
        self.served_next = None;
        self.handed_out = published;
        self.want_rescan();
    }

    /// Notes that a step of a feed without header could not be built. Its revisions count batches: what was
    /// handed out before may be old as ever.
    pub(super) fn note_plain_refused(&mut self) {
        self.served_next = None;
        self.want_rescan();
    }

    /// Notes whether entries of a feed without header were dropped at a bound.
    pub(super) fn note_dropped(&mut self, is_dropped: bool, now_ms: u64) {
        if is_dropped {
            self.dropped_since_ms.get_or_insert(now_ms);
            self.check_lag_later(now_ms);
        } else {
            self.dropped_since_ms = None;
        }
    }

    /// Whether anything was handed out that could be old.
    pub(super) fn has_data(&self) -> bool {
        self.handed_out != Revision::default()
    }

    /// Notes a new heartbeat.
    pub(super) fn note_beat(&mut self) {
        self.beat_check = BeatCheck::Due;
    }

    /// Whether the newest heartbeat was not compared yet.
    pub(super) fn is_beat_due(&self) -> bool {
        self.beat_check == BeatCheck::Due
    }

    /// Whether the newest heartbeat differs from the zones here.
    pub(super) fn has_beat_differing(&self) -> bool {
        self.beat_check == BeatCheck::Differs
    }

    /// Whether the newest heartbeat was compared so long ago that another look is worth its time.
    pub(super) fn is_compared_long_ago(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.compared_ms) >= GAP_MS_MAX
    }

    /// Notes how a heartbeat at a revision compares: `is_met` is `None` where the zones' revisions
    /// of that time are not known.
    pub(super) fn note_compared(&mut self, revision: Revision, is_met: Option<bool>, now_ms: u64) {
        self.compared_ms = now_ms;
        self.beat_check = match is_met {
            None => BeatCheck::Unknown,
            Some(true) => BeatCheck::Met,
            Some(false) => BeatCheck::Differs,
        };
        if self.beat_check == BeatCheck::Differs {
            self.differs_since_ms.get_or_insert(now_ms);
        } else {
            self.differs_since_ms = None;
        }
        if self.beat_check == BeatCheck::Met {
            self.confirmed = self.confirmed.max(Some(revision));
            self.serve(revision);
            self.rescan.pause_ms = 0;
        }
        self.check_lag_later(now_ms);
    }

    /// Whether a heartbeat was met, none differs, and somebody has spoken since the silence.
    pub(super) fn is_confirmed(&self) -> bool {
        let is_fresh = self.is_reconciled || self.has_live_beat;
        self.confirmed.is_some() && self.differs_since_ms.is_none() && is_fresh
    }

    /// Has [`FeedProgress::check_lag`] called after a while, if that is not so already.
    pub(super) fn check_lag_later(&mut self, now_ms: u64) {
        self.lag_check_ms.get_or_insert(now_ms.saturating_add(GAP_MS_MAX));
    }

    /// Whether it is time for [`FeedProgress::check_lag`].
    pub(super) fn is_lag_check_due(&self, now_ms: u64) -> bool {
        self.lag_check_ms.is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// Looks at what is missing: asks for a rescan, or says that we are behind.
    pub(super) fn check_lag(&mut self, missing: Missing, now_ms: u64) -> bool {
        let content_since_ms = missing.is_content_urgent.then_some(self.content_ms);
        let since_ms = [
            missing.pending_since_ms,
            self.differs_since_ms,
            self.dropped_since_ms,
            content_since_ms,
        ];
        let since_ms = since_ms.into_iter().flatten().min();
        let is_for = |since_ms: u64, long_ms: u64| now_ms.saturating_sub(since_ms) >= long_ms;
        let differs_long =
            self.differs_since_ms.is_some_and(|since_ms| is_for(since_ms, GAP_MS_MAX));
        // While content still comes in, what is missing may be among it.
        if (missing.has_gap || differs_long) && is_for(self.content_ms, GAP_MS_MAX) {
            self.want_rescan();
        }
        self.lag_check_ms = since_ms.map(|_| now_ms.saturating_add(GAP_MS_MAX));
        since_ms.is_some_and(|since_ms| is_for(since_ms, BEHIND_MS_MAX))
    }

    /// Asks for a rescan.
    pub(super) fn want_rescan(&mut self) {
        self.rescan.is_wanted = true;
    }

    /// Whether a rescan is to be made now; the next one waits for longer.
    pub(super) fn poll_rescan(&mut self, now_ms: u64) -> bool {
        let rescan = &mut self.rescan;
        if !rescan.is_wanted || now_ms < rescan.not_before_ms {
            return false;
        }
        rescan.is_wanted = false;
        rescan.pause_ms = (rescan.pause_ms * 2).clamp(RESCAN_MS_MIN, RESCAN_MS_MAX);
        rescan.not_before_ms = now_ms.saturating_add(rescan.pause_ms);
        rescan.count += 1;
        true
    }

    /// Returns how many rescans were asked for.
    pub(super) fn rescan_count(&self) -> u64 {
        self.rescan.count
    }

    /// Returns when to look for what is missing, or to ask for a rescan.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        let rescan_ms = self.rescan.is_wanted.then_some(self.rescan.not_before_ms);
        [self.lag_check_ms, rescan_ms].into_iter().flatten().min()
    }
}
