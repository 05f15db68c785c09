//! What the core gives out, and how far everything is.
//!
//! Synced means: the replica was scanned, somebody has spoken since (a heartbeat or a finished
//! reconciliation), no manifest, header or heartbeat waits for its content, every step is
//! published, and the heartbeat's digest is that of the zones here. A feed without header has no
//! heartbeat: there the finished reconciliation takes its place.
//!
//! **Invariant:** the served revision never falls; it is told only when nothing known is missing.
//! **Not here:** inputs (`sync::core`).

use std::collections::HashMap;

use crate::feed::Revision;
use crate::feed::key;
use crate::limits::{BATCH_CHANGES_MAX, BEHIND_MS_MAX, GAP_MS_MAX, RESCAN_MS_MAX, RESCAN_MS_MIN};
use crate::name::Name;
use crate::sync::batch::{ZoneBatch, ZoneStep};
use crate::sync::complaint::{Complaint, EntryError};
use crate::sync::core::{FeedKind, SyncCore};
use crate::sync::history::History;
use crate::sync::inbox::Hash;
use crate::sync::status::{StatusEvent, SyncStatus};

/// What the core counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SyncStats {
    /// Entries handed in.
    pub entries: u64,
    /// Entries of other authors, dropped.
    pub foreign_authors: u64,
    /// Entries of zones outside the filter, dropped.
    pub filtered: u64,
    /// Emptied entries that change nothing.
    pub emptied: u64,
    /// Entries and contents that break a rule.
    pub refused: u64,
    /// Live changes taken in.
    pub live: u64,
    /// Content that arrived.
    pub contents: u64,
    /// Fetches that failed.
    pub fetch_failures: u64,
    /// Steps that the caller could not build.
    pub build_failures: u64,
    /// How often a bound was hit and something had to be dropped.
    pub bound_hits: u64,
    /// Rescans asked for.
    pub rescans: u64,
    /// Entries that wait for content now.
    pub waiting: u64,
    /// Live changes that wait for what stands between, now.
    pub held: u64,
    /// Zones that are served now.
    pub zones: u64,
}

/// How far everything is.
#[derive(Debug, Default)]
pub(super) struct Progress {
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
    /// Steps given out and not yet published, and whether each leaves the zone served.
    in_flight: HashMap<Name, (Revision, bool)>,
    /// Zones of which more is known than was handed out, and since when without a step.
    pending: HashMap<Name, u64>,
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
}

impl Progress {
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

    /// Notes a new heartbeat.
    pub(super) fn note_beat(&mut self) {
        self.beat_check = BeatCheck::Due;
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
        self.lag_check_ms.get_or_insert(now_ms.saturating_add(GAP_MS_MAX));
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

    /// Notes that more is known of a zone than was handed out.
    pub(super) fn note_pending(&mut self, apex: &Name, now_ms: u64) {
        if !self.pending.contains_key(apex) {
            self.pending.insert(apex.clone(), now_ms);
        }
        self.lag_check_ms.get_or_insert(now_ms.saturating_add(GAP_MS_MAX));
    }

    /// Asks for a rescan.
    pub(super) fn want_rescan(&mut self) {
        self.rescan.is_wanted = true;
    }
}

impl SyncCore {
    /// Returns up to `max` hashes whose content is to be fetched now. Each is given once, and again
    /// if it failed or nobody reports on it for a while.
    pub fn poll_fetch(&mut self, now_ms: u64, max: usize) -> Vec<Hash> {
        self.inbox.poll_fetch(now_ms, max)
    }

    /// Returns what to publish now, at most one step a zone, and none for a zone whose last step was
    /// not reported yet; at most some thousand changes, except that no commit is cut. `None` while the replica is being listed for the first time: what it
    /// holds must not be served older than it was before a restart.
    pub fn poll_batch(&mut self, now_ms: u64) -> Option<Vec<ZoneBatch>> {
        if !self.progress.is_scanned {
            return None;
        }
        let age_ms = self.config.batch_age_ms;
        if self.dirty_since_ms.is_some_and(|since_ms| now_ms < since_ms.saturating_add(age_ms)) {
            return None;
        }
        let mut batches = Vec::new();
        // As with zones below: nothing follows what was not reported yet.
        if self.kind == FeedKind::Plain && self.progress.in_flight.is_empty() {
            let is_whole = self.inbox.urgent_count() == 0;
            batches = self.plain.poll_batch(is_whole, now_ms);
        }
        let (mut changes, mut waiting) = (0, Vec::new());
        while changes < BATCH_CHANGES_MAX
            && let Some(apex) = self.dirty.pop_first()
        {
            if self.progress.in_flight.contains_key(&apex) {
                waiting.push(apex);
            } else if let Some(batch) = self.plan_zone(&apex, now_ms) {
                changes += batch.step.change_count();
                batches.push(batch);
            }
        }
        self.dirty.extend(waiting);
        self.dirty_since_ms = (!self.dirty.is_empty()).then_some(now_ms);
        for batch in &batches {
            let is_served = !matches!(batch.step, ZoneStep::Remove);
            self.progress.handed_out = self.progress.handed_out.max(batch.revision);
            self.progress.hear(batch.revision);
            self.progress.in_flight.insert(batch.apex.clone(), (batch.revision, is_served));
        }
        if self.has_all_handed_out() {
            self.progress.served_next = Some(self.progress.handed_out);
        }
        self.look(now_ms);
        (!batches.is_empty()).then_some(batches)
    }

    /// Whether the replica was listed and [`SyncCore::poll_batch`] and [`SyncCore::poll_fetch`] have
    /// nothing more to give, as long as nothing arrives and no step is reported.
    pub fn has_nothing_to_give(&self) -> bool {
        let in_flight = &self.progress.in_flight;
        self.progress.is_scanned
            && self.inbox.has_asked_for_all()
            && self.dirty.iter().all(|apex| in_flight.contains_key(apex))
    }

    /// Finds a zone's next step.
    fn plan_zone(&mut self, apex: &Name, now_ms: u64) -> Option<ZoneBatch> {
        let history = self.zones.get_mut(apex)?;
        let before = (history.live_octets(), history.pack_octets());
        let plan = history.plan(apex);
        self.held.live = self.held.live + history.live_octets() - before.0;
        self.held.packs = self.held.packs + history.pack_octets() - before.1;
        let has_pending = history.has_pending();
        if !has_pending {
            self.progress.pending.remove(apex);
        } else if plan.step.is_some() {
            self.progress.pending.insert(apex.clone(), now_ms);
            self.dirty.insert(apex.clone());
        }
        for (number, hash) in plan.needs {
            let pack_key = key::terminate(&key::pack_key(apex, number));
            self.want(&pack_key, hash, u64::MAX, false);
        }
        if let Some((number, error)) = plan.refusal {
            let pack_key = key::terminate(&key::pack_key(apex, number));
            self.complain(&pack_key, &Hash::default(), EntryError::BadContent(error));
        }
        plan.step.map(|(revision, step)| ZoneBatch {
            apex: apex.clone(),
            revision,
            step,
            proof: None,
        })
    }

    /// Notes that the caller has published a step.
    pub fn handle_applied(&mut self, apex: &Name, revision: Revision, now_ms: u64) {
        if let Some((expected, is_served)) = self.progress.in_flight.remove(apex) {
            debug_assert!(expected == revision, "steps are published in order");
            if let Some(history) = self.zones.get_mut(apex) {
                history.handle_applied(revision, is_served);
            }
        }
        let may_compare = self.zones.len() < COMPARE_ZONES_MAX
            || now_ms.saturating_sub(self.progress.compared_ms) >= GAP_MS_MAX;
        if self.progress.beat_check == BeatCheck::Differs && may_compare {
            self.compare_beat(now_ms);
        }
        if self.progress.in_flight.is_empty()
            && let Some(served) = self.progress.served_next.take()
        {
            self.progress.served = self.progress.served.max(served);
        }
        self.look(now_ms);
    }

    /// Notes that the caller could not build a step; what is published stays as it is.
    pub fn handle_refused(&mut self, apex: &Name, revision: Revision, now_ms: u64) {
        self.stats.build_failures += 1;
        self.progress.in_flight.remove(apex);
        self.progress.served_next = None;
        if let Some(history) = self.zones.get_mut(apex) {
            history.handle_refused(revision);
            self.progress.note_pending(apex, now_ms);
        }
        let published = self.zones.values().filter_map(History::published).max();
        self.progress.handed_out = published.unwrap_or_default();
        self.progress.want_rescan();
        self.look(now_ms);
    }

    /// Notes the time.
    pub fn handle_time(&mut self, now_ms: u64) {
        let has_data = self.progress.handed_out != Revision::default();
        self.clock.handle_time(now_ms, has_data);
        if self.clock.status() == SyncStatus::Stale {
            self.progress.note_silence();
        }
        if self.progress.lag_check_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.check_lag(now_ms);
        }
        self.look(now_ms);
    }

    /// Returns the status if it has changed since this was last asked.
    pub fn poll_status(&mut self) -> Option<SyncStatus> {
        self.clock.poll()
    }

    /// Returns the next bad entry to log.
    pub fn poll_complaint(&mut self) -> Option<Complaint> {
        self.complaints.poll()
    }

    /// Whether the caller is to reconcile with a peer now, and then to hand in every entry of the
    /// replica again: something was dropped at a bound, or lost on the way.
    pub fn poll_rescan(&mut self, now_ms: u64) -> bool {
        let rescan = &mut self.progress.rescan;
        if !rescan.is_wanted || now_ms < rescan.not_before_ms {
            return false;
        }
        rescan.is_wanted = false;
        rescan.pause_ms = (rescan.pause_ms * 2).clamp(RESCAN_MS_MIN, RESCAN_MS_MAX);
        rescan.not_before_ms = now_ms.saturating_add(rescan.pause_ms);
        self.stats.rescans += 1;
        true
    }

    /// Returns when to call [`SyncCore::handle_time`] and to ask for outputs at the latest.
    pub fn poll_timeout(&self) -> Option<u64> {
        let has_data = self.progress.handed_out != Revision::default();
        let batch_ms =
            self.dirty_since_ms.map(|since_ms| since_ms.saturating_add(self.config.batch_age_ms));
        let rescan = self.progress.rescan;
        [
            self.inbox.timeout_ms(),
            self.clock.timeout_ms().filter(|_| has_data),
            batch_ms.filter(|_| self.progress.is_scanned),
            self.progress.lag_check_ms,
            rescan.is_wanted.then_some(rescan.not_before_ms),
            self.plain.timeout_ms(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the counters.
    pub fn stats(&self) -> SyncStats {
        let held = self.progress.pending.keys().filter_map(|apex| self.zones.get(apex));
        SyncStats {
            waiting: self.inbox.len(),
            held: held.map(|history| history.held_count()).sum(),
            zones: self.zones.values().filter(|history| history.is_served()).count() as u64
                + self.plain.zone_count(),
            ..self.stats
        }
    }

    /// Whether everything that is known was handed out.
    fn has_all_handed_out(&self) -> bool {
        self.progress.is_scanned
            && self.dirty.is_empty()
            && self.progress.pending.is_empty()
            && self.inbox.urgent_count() == 0
            && (self.kind != FeedKind::Plain || self.plain.is_idle())
    }

    /// Looks whether everything is here now.
    pub(super) fn look(&mut self, now_ms: u64) {
        if !self.has_all_handed_out() || !self.progress.in_flight.is_empty() {
            return;
        }
        self.progress.served = self.progress.served.max(self.progress.handed_out);
        let is_complete = match self.kind {
            FeedKind::Unknown => false,
            FeedKind::Plain => self.progress.is_reconciled,
            FeedKind::Headed => {
                if self.progress.beat_check == BeatCheck::Due {
                    self.compare_beat(now_ms);
                }
                let is_met = self.progress.differs_since_ms.is_none();
                let is_fresh = self.progress.is_reconciled || self.progress.has_live_beat;
                self.header.is_some() && self.progress.confirmed.is_some() && is_met && is_fresh
            }
        };
        if is_complete {
            self.clock.handle(StatusEvent::Complete, now_ms);
        }
    }

    /// Compares the newest heartbeat's digest with the zones here, if all steps are published.
    fn compare_beat(&mut self, now_ms: u64) {
        let Some(beat) = self.beat.filter(|_| self.progress.in_flight.is_empty()) else { return };
        self.progress.compared_ms = now_ms;
        // A filtered edge does not know all zones; it believes that nothing more has happened.
        let digest = if self.config.zone_filter.is_some() {
            Some(beat.zone_digest)
        } else {
            let mut marks = self.zones.iter_mut();
            marks.try_fold(0_u64, |sum, (apex, history)| {
                Some(sum.wrapping_add(history.mark_at(apex, beat.revision)?))
            })
        };
        self.progress.beat_check = match digest {
            None => BeatCheck::Unknown,
            Some(digest) if digest == beat.zone_digest => BeatCheck::Met,
            Some(_) => BeatCheck::Differs,
        };
        if self.progress.beat_check == BeatCheck::Differs {
            self.progress.differs_since_ms.get_or_insert(now_ms);
        } else {
            self.progress.differs_since_ms = None;
        }
        if self.progress.beat_check == BeatCheck::Met {
            self.progress.confirmed = self.progress.confirmed.max(Some(beat.revision));
            self.progress.served = self.progress.served.max(beat.revision);
            self.progress.rescan.pause_ms = 0;
        }
        self.progress.lag_check_ms.get_or_insert(now_ms.saturating_add(GAP_MS_MAX));
    }

    /// Looks for what has been missing for long: asks for a rescan, or is behind.
    fn check_lag(&mut self, now_ms: u64) {
        if self.progress.beat_check == BeatCheck::Differs {
            self.compare_beat(now_ms);
        }
        let mut missing_ms: Option<u64> = None;
        let mut miss = |since_ms: u64| {
            missing_ms =
                Some(missing_ms.map_or(since_ms, |oldest_ms: u64| oldest_ms.min(since_ms)));
        };
        let mut has_gap = false;
        for (apex, since_ms) in &self.progress.pending {
            miss(*since_ms);
            let is_old = now_ms.saturating_sub(*since_ms) >= GAP_MS_MAX;
            has_gap |= is_old && self.zones.get(apex).is_some_and(History::has_gap);
        }
        if let Some(since_ms) = self.progress.differs_since_ms {
            miss(since_ms);
            has_gap |= now_ms.saturating_sub(since_ms) >= GAP_MS_MAX;
        }
        if self.inbox.urgent_count() > 0 {
            miss(self.progress.content_ms);
        }
        // While content still comes in, what is missing may be among it.
        if has_gap && now_ms.saturating_sub(self.progress.content_ms) >= GAP_MS_MAX {
            self.progress.want_rescan();
        }
        if missing_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= BEHIND_MS_MAX) {
            self.clock.handle(StatusEvent::Behind, now_ms);
        }
        self.progress.lag_check_ms = missing_ms.map(|_| now_ms.saturating_add(GAP_MS_MAX));
    }
}

/// Zones whose marks are summed up after every batch while a heartbeat differs (some 30 us). With
/// more it is done now and then.
const COMPARE_ZONES_MAX: usize = 1_000;
