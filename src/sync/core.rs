//! The edge's state machine: entries and content in; batches, wishes and a status out.
//!
//! The caller hands in every entry of its replica (`handle_scan_started`, entries,
//! `handle_scan_complete`) and then each that arrives, in any order and as often as it likes. After
//! every call it may ask `poll_fetch` what to fetch, `poll_batch` what to publish, `poll_status`,
//! `poll_complaint` and `poll_rescan`; `poll_timeout` says when to call `handle_time` at the latest.
//! A batch is published before the next one is asked for, and told by `handle_applied`.
//!
//! **Invariant:** see `sync`. What waits is bounded; at a bound it is dropped, counted, and asked
//! for again by a rescan.
//! **Not here:** what entries mean (`sync::intake`), which zones have a step (`sync::outbox`), how far
//! everything is (`sync::progress`).

use bytes::Bytes;

use crate::feed::Hash;
use crate::feed::Revision;
use crate::feed::beat::{Beat, FeedHeader};
use crate::limits::GAP_MS_MAX;
use crate::name::Name;
use crate::sync::batch::ZoneBatch;
use crate::sync::complaint::{Complaint, EntryError};
use crate::sync::entry::{FeedEntry, Origin};
use crate::sync::headed::News;
use crate::sync::intake::{FeedKind, Intake};
use crate::sync::outbox::Outbox;
use crate::sync::progress::{FeedProgress, Missing};
use crate::sync::status::{StatusClock, StatusEvent, SyncStats, SyncStatus};

/// What an edge wants from its feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyncConfig {
    /// The author whose entries are believed; `None` believes every author, which is right only
    /// for a namespace in the original system's form.
    pub author: Option<[u8; 32]>,
    /// The zones to take, with all below them; `None` takes all.
    pub zone_filter: Option<Vec<Name>>,
    /// Milliseconds without contact after which the status is stale.
    pub stale_after_ms: u64,
    /// Milliseconds that a batch may wait for more to come. With 0 it goes at once; what comes
    /// while the caller publishes makes the next batch.
    pub batch_age_ms: u64,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self { author: None, zone_filter: None, stale_after_ms: 300_000, batch_age_ms: 0 }
    }
}

/// The edge's state machine. See the module page.
#[derive(Debug)]
pub struct SyncCore {
    /// What entries and contents have told.
    intake: Intake,
    /// Zones that have a step to hand out.
    outbox: Outbox,
    /// How far everything is.
    progress: FeedProgress,
    /// The status.
    clock: StatusClock,
    /// How often a bound was hit.
    bound_hits: u64,
    /// Steps that the caller could not build.
    build_failures: u64,
}

impl SyncCore {
    /// Begins with nothing known.
    pub fn new(config: SyncConfig, now_ms: u64) -> Self {
        let SyncConfig { author, zone_filter, stale_after_ms, batch_age_ms } = config;
        Self {
            intake: Intake::new(author, zone_filter),
            outbox: Outbox::new(batch_age_ms),
            progress: FeedProgress::default(),
            clock: StatusClock::new(stale_after_ms, now_ms),
            bound_hits: 0,
            build_failures: 0,
        }
    }

    /// Takes one entry.
    ///
    /// # Errors
    /// [`EntryError`] for one that breaks a rule. It is counted, complained of once, and changes nothing.
    pub fn handle_entry(&mut self, entry: &FeedEntry<'_>, now_ms: u64) -> Result<(), EntryError> {
        let mut news = News::default();
        let taken = self.intake.handle_entry(entry, &mut news);
        if taken == Ok(false) {
            return Ok(());
        }
        if entry.origin == Origin::Event {
            self.clock.handle(StatusEvent::Contact, now_ms);
        }
        self.note(news, now_ms);
        if self.progress.is_reconciled() {
            self.decide_kind(now_ms);
        }
        self.look(now_ms);
        taken.map(drop)
    }

    /// Takes content that was wanted, or that nobody wants any more.
    pub fn handle_content(&mut self, hash: Hash, octets: &Bytes, now_ms: u64) {
        let mut news = News::default();
        self.intake.handle_content(hash, octets, &mut news);
        self.progress.note_content(now_ms);
        self.note(news, now_ms);
        self.look(now_ms);
    }

    /// Notes what entries and their contents have told.
    fn note(&mut self, news: News, now_ms: u64) {
        let News { heard, zones, is_beat, is_live_beat, bound_hits } = news;
        self.progress.hear(heard);
        if is_beat {
            self.progress.note_beat();
        }
        if is_live_beat {
            self.progress.note_live_beat();
        }
        if bound_hits > 0 {
            // What was dropped must be told again.
            self.bound_hits += bound_hits;
            self.progress.want_rescan();
        }
        self.progress.note_dropped(self.intake.plain().has_dropped(), now_ms);
        for apex in zones {
            self.outbox.mark(apex, now_ms);
            self.progress.check_lag_later(now_ms);
        }
    }

    /// Notes that content could not be fetched; it will be wanted again.
    pub fn handle_content_failed(&mut self, hash: Hash, now_ms: u64) {
        self.intake.handle_content_failed(&hash, now_ms);
        self.look(now_ms);
    }

    /// Notes that the caller begins to hand in all entries of its replica.
    pub fn handle_scan_started(&mut self, _now_ms: u64) {
        self.progress.note_scan_started();
        self.intake.plain_mut().note_scan_started();
    }

    /// Notes that all entries of the replica were handed in.
    pub fn handle_scan_complete(&mut self, now_ms: u64) {
        self.progress.note_scan_complete(now_ms);
        self.intake.plain_mut().note_scan_complete();
        self.progress.note_dropped(self.intake.plain().has_dropped(), now_ms);
        self.decide_kind(now_ms);
        self.look(now_ms);
    }

    /// Notes that a reconciliation with a peer is finished and all its entries were handed in.
    pub fn handle_reconciled(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Contact, now_ms);
        self.progress.note_reconciled();
        self.decide_kind(now_ms);
        self.look(now_ms);
    }

    /// Notes any proof that a peer lives.
    pub fn handle_contact(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Contact, now_ms);
        self.intake.retry_all(now_ms);
        self.look(now_ms);
    }

    /// Notes that a peer is being connected to.
    pub fn handle_connecting(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Connecting, now_ms);
    }

    /// Notes that the last peer is gone, or that nobody tries any more.
    pub fn handle_lost(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Lost, now_ms);
        self.progress.note_silence();
    }

    /// Notes the time.
    pub fn handle_time(&mut self, now_ms: u64) {
        self.clock.handle_time(now_ms, self.progress.has_data());
        if self.clock.status() == SyncStatus::Stale {
            self.progress.note_silence();
        }
        if self.progress.is_lag_check_due(now_ms) {
            self.check_lag(now_ms);
        }
        self.look(now_ms);
    }

    /// Notes that the caller has published a step.
    pub fn handle_applied(&mut self, apex: &Name, revision: Revision, now_ms: u64) {
        match self.outbox.done(apex, revision) {
            // Though the feed may have got a header meanwhile, its author made no such revision.
            Some(step) if step.is_plain && self.intake.kind() == FeedKind::Plain => {
                self.outbox.release(apex);
            }
            Some(step) if step.is_plain => {}
            Some(step) => {
                self.intake.headed_mut().handle_applied(apex, revision, step.is_served);
            }
            None => {}
        }
        let may_compare =
            self.intake.headed().is_digest_cheap() || self.progress.is_compared_long_ago(now_ms);
        if self.progress.has_beat_differing() && may_compare {
            self.compare_beat(now_ms);
        }
        if self.outbox.is_all_done() {
            self.progress.note_all_done();
        }
        self.look(now_ms);
    }

    /// Notes that the caller could not build a step; what is published stays as it is.
    pub fn handle_refused(&mut self, apex: &Name, revision: Revision, now_ms: u64) {
        self.build_failures += 1;
        let is_plain = self.outbox.done(apex, revision).is_some_and(|step| step.is_plain);
        if is_plain {
            self.progress.note_plain_refused();
            // Once it has a header, the feed says what is served instead.
            if self.intake.kind() == FeedKind::Plain {
                self.intake.plain_mut().note_refused(apex.clone());
                self.outbox.hold(apex, now_ms);
                self.progress.check_lag_later(now_ms);
            }
        } else {
            if self.intake.headed_mut().handle_refused(apex, revision) {
                self.outbox.hold(apex, now_ms);
                self.progress.check_lag_later(now_ms);
            }
            self.progress.note_refused(self.intake.headed().published());
        }
        self.look(now_ms);
    }

    /// Returns up to `max` hashes whose content is to be fetched now. Each is given once, and again
    /// if it failed or nobody reports on it for a while.
    pub fn poll_fetch(&mut self, now_ms: u64, max: usize) -> Vec<Hash> {
        self.intake.poll_fetch(now_ms, max)
    }

    /// Returns what to publish now, at most one step a zone, and none for a zone whose last step was
    /// not reported yet; at most some thousand changes, except that no commit is cut. `None` while
    /// the replica is being listed for the first time: what it holds must not be served older than
    /// it was before a restart.
    pub fn poll_batch(&mut self, now_ms: u64) -> Option<Vec<ZoneBatch>> {
        let is_early = self.outbox.due_ms().is_some_and(|due_ms| now_ms < due_ms);
        if !self.progress.is_scanned() || is_early {
            return None;
        }
        let mut batches = self.poll_plain(now_ms);
        let mut news = News::default();
        batches.extend(self.outbox.poll_batch(now_ms, |apex| self.intake.plan(apex, &mut news)));
        self.note(news, now_ms);
        for batch in &batches {
            self.progress.note_handed_out(batch.revision);
        }
        if self.has_all_handed_out() {
            self.progress.note_all_handed_out();
        }
        self.look(now_ms);
        (!batches.is_empty()).then_some(batches)
    }

    /// Returns what a feed without header has to publish, or what is left of when it had none.
    fn poll_plain(&mut self, now_ms: u64) -> Vec<ZoneBatch> {
        // As with zones: nothing follows what was not reported yet.
        if !self.outbox.is_all_done() {
            return Vec::new();
        }
        if self.has_passed_zones() {
            let batches = self.intake.remove_passed();
            self.outbox.hand_out_plain(&batches);
            return batches;
        }
        if self.intake.kind() != FeedKind::Plain {
            return Vec::new();
        }
        let batches = self.intake.poll_plain(now_ms);
        self.outbox.hand_out_plain(&batches);
        if !self.intake.plain().has_refused() {
            // Whatever was refused is given out anew, or is no zone any more.
            self.outbox.release_all_done();
        }
        batches
    }

    /// Whether zones are to be taken away that are left of a feed without header: this one is known as a
    /// whole.
    fn has_passed_zones(&self) -> bool {
        self.intake.has_passed_zones()
            && self.intake.headed().header().is_some()
            && self.progress.is_confirmed()
    }

    /// Whether the replica was listed and [`SyncCore::poll_batch`] and [`SyncCore::poll_fetch`] have
    /// nothing more to give, as long as nothing arrives and no step is reported.
    pub fn has_nothing_to_give(&self) -> bool {
        self.progress.is_scanned()
            && self.intake.has_asked_for_all()
            && self.outbox.has_nothing_to_give()
            && !self.has_passed_zones()
    }

    /// Returns the status if it has changed since this was last asked.
    pub fn poll_status(&mut self) -> Option<SyncStatus> {
        self.clock.poll()
    }

    /// Returns the next bad entry to log.
    pub fn poll_complaint(&mut self) -> Option<Complaint> {
        self.intake.poll_complaint()
    }

    /// Whether the caller is to reconcile with a peer now, and then to hand in every entry of the
    /// replica again: something was dropped at a bound, or lost on the way.
    pub fn poll_rescan(&mut self, now_ms: u64) -> bool {
        self.progress.poll_rescan(now_ms)
    }

    /// Returns when to call [`SyncCore::handle_time`] and to ask for outputs at the latest.
    pub fn poll_timeout(&self) -> Option<u64> {
        [
            self.intake.timeout_ms(),
            self.clock.timeout_ms().filter(|_| self.progress.has_data()),
            self.outbox.due_ms().filter(|_| self.progress.is_scanned()),
            self.progress.timeout_ms(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the status now.
    pub fn status(&self) -> SyncStatus {
        self.clock.status()
    }

    /// Returns the counters.
    pub fn stats(&self) -> SyncStats {
        let pending = self.outbox.pending();
        SyncStats {
            build_failures: self.build_failures,
            bound_hits: self.bound_hits,
            rescans: self.progress.rescan_count(),
            held: pending.map(|(apex, _)| self.intake.headed().held_count(apex)).sum(),
            ..self.intake.stats()
        }
    }

    /// Returns the newest header that was read.
    pub fn header(&self) -> Option<&FeedHeader> {
        self.intake.headed().header()
    }

    /// Returns the newest heartbeat that was read.
    pub fn beat(&self) -> Option<Beat> {
        self.intake.headed().beat()
    }

    /// Returns the newest revision that is known to exist.
    pub fn heard_revision(&self) -> Revision {
        self.progress.heard()
    }

    /// Returns the revision up to which everything that is known to exist is published.
    pub fn revision(&self) -> Revision {
        self.progress.served()
    }

    /// Whether everything that is known was handed out.
    fn has_all_handed_out(&self) -> bool {
        self.progress.is_scanned()
            && self.outbox.is_empty()
            && !self.intake.is_waiting()
            && self.intake.is_plain_idle()
    }

    /// Looks whether everything is here now.
    fn look(&mut self, now_ms: u64) {
        if !self.has_all_handed_out() || !self.outbox.is_all_done() {
            return;
        }
        self.progress.note_all_published();
        let is_complete = match self.intake.kind() {
            FeedKind::Unknown => false,
            FeedKind::Plain => self.progress.is_reconciled(),
            FeedKind::Headed => {
                if self.progress.is_beat_due() {
                    self.compare_beat(now_ms);
                }
                let is_known =
                    self.intake.headed().header().is_some() && self.progress.is_confirmed();
                if is_known {
                    self.intake.forget_taken_over();
                }
                is_known && !self.intake.has_passed_zones()
            }
        };
        if is_complete {
            self.clock.handle(StatusEvent::Complete, now_ms);
        }
    }

    /// Compares the newest heartbeat's digest with the zones here, if all steps are published.
    fn compare_beat(&mut self, now_ms: u64) {
        let Some(beat) = self.intake.headed().beat().filter(|_| self.outbox.is_all_done()) else {
            return;
        };
        // A filtered edge does not know all zones; it believes that nothing more has happened.
        let is_met = if self.intake.is_filtered() {
            Some(true)
        } else {
            self.intake
                .headed_mut()
                .digest_at(beat.revision)
                .map(|digest| digest == beat.zone_digest)
        };
        self.progress.note_compared(beat.revision, is_met, now_ms);
    }

    /// Looks for what has been missing for long: asks for a rescan, or is behind.
    fn check_lag(&mut self, now_ms: u64) {
        if self.progress.has_beat_differing() {
            self.compare_beat(now_ms);
        }
        let is_old = |since_ms: u64| now_ms.saturating_sub(since_ms) >= GAP_MS_MAX;
        let mut pending = self.outbox.pending();
        let missing = Missing {
            pending_since_ms: self.outbox.pending().map(|(_, since_ms)| since_ms).min(),
            has_gap: pending
                .any(|(apex, since_ms)| is_old(since_ms) && self.intake.headed().has_gap(apex)),
            is_content_urgent: self.intake.is_waiting(),
        };
        if self.progress.check_lag(missing, now_ms) {
            self.clock.handle(StatusEvent::Behind, now_ms);
        }
    }

    /// Decides what kind of feed it is, once all that is here was handed in.
    fn decide_kind(&mut self, now_ms: u64) {
        if self.progress.is_scanned() {
            self.intake.decide_kind(now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
