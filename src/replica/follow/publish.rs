//! Fulfils what the mirror asks for: contents and steps.
//!
//! **Invariant:** what is published leads on from what was published before.
//! **Not here:** what the mirror asks for and when (`sync::mirror`), what is kept (`keeping`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Follow;
use crate::limits::{FETCHES_MAX, FIRST_LOAD_MS_MAX, INLINE_CHANGES_MAX};
use crate::replica::apply::Prepared;
use crate::replica::fetch::Ask;
use crate::sync::batch::{ZoneBatch, ZoneStep};
use crate::sync::mirror::{Mirror, MirrorStatus, Wish};

impl Follow {
    /// Gives the mirror's wishes to those who fulfill them.
    pub(super) async fn work(&mut self) {
        let now = self.client.now_ms();
        let room = FETCHES_MAX.saturating_sub(self.fetching);
        if room > 0 {
            let wishes = self.client.with_mirror(|mirror| mirror.poll_wishes(now));
            let ask = |wish: Wish| Ask { hash: wish.hash, is_loaded: wish.is_loaded };
            let asks: Vec<Ask> = wishes.unwrap_or_default().into_iter().map(ask).collect();
            self.fetching += asks.len();
            self.fetcher.fetch(&asks);
        }
        while self.building.is_none() && self.pace.rest_us(self.client.now_us()) == 0 {
            let batches = self.client.with_mirror(Mirror::poll_batch).flatten();
            let Some(batches) = batches else { break };
            if is_short(&batches) {
                self.publish_short(batches);
            } else {
                let client = Arc::clone(&self.client);
                self.building = Some(tokio::task::spawn_blocking(move || {
                    batches.into_iter().map(|batch| client.prepare(batch)).collect()
                }));
            }
        }
        self.keep_version();
        self.publish_held(false);
        self.take_adopted();
        self.client.hold_absent(false);
        while let Some(text) = self.client.with_mirror(Mirror::poll_complaint).flatten() {
            tracing::warn!("{text}");
        }
        self.client.tell_progress();
    }

    /// Computes and publishes what takes no thread of its own.
    fn publish_short(&mut self, batches: Vec<ZoneBatch>) {
        let began_us = self.client.now_us();
        let prepared: Vec<Prepared> =
            batches.into_iter().map(|batch| self.client.prepare(batch)).collect();
        self.held.extend(prepared);
        self.publish_held(false);
        let ended_us = self.client.now_us();
        self.pace.note_publish(ended_us.saturating_sub(began_us), ended_us);
    }

    /// Takes what the building thread has computed.
    pub(super) fn take_built(&mut self, built: Option<Vec<Prepared>>) {
        self.building = None;
        match built {
            Some(prepared) => self.held.extend(prepared),
            None => tracing::error!("the thread that builds zones ended badly"),
        }
        self.client.stage.free_retired();
    }

    /// Publishes what was computed, unless it waits for others.
    pub(super) fn publish_held(&mut self, is_over: bool) {
        // Zones of two histories are never visible together.
        let held = &mut self.held;
        self.client.with_mirror(|mirror| held.retain(|step| mirror.is_current(step.revision)));
        if self.held.is_empty() {
            return;
        }
        let state = self.client.with_mirror(|mirror| (mirror.is_gathering(), mirror.is_keeping()));
        let (is_gathering, is_keeping) = state.unwrap_or_default();
        if (is_gathering || self.building.is_some()) && !is_over {
            return;
        }
        let mut ready = std::mem::take(&mut self.held);
        if is_keeping && !is_over {
            self.held = ready.extract_if(.., |step| step.is_of_document).collect();
        }
        if !ready.is_empty() {
            self.client.settle_mirror(self.client.publish(ready));
        }
    }

    /// Ends a first load that does not get on: nobody has the rest now, or there is no room for it. What there is
    /// is better than nothing, and what is not is held.
    pub(super) fn end_first_load(&mut self, status: &MirrorStatus) {
        let limit = Duration::from_millis(FIRST_LOAD_MS_MAX);
        let is_alone = self.alone_since.is_some_and(|since| since.elapsed() >= limit);
        let is_stuck = status.fetch_failing_ms >= FIRST_LOAD_MS_MAX;
        let is_first_load = self.client.with_mirror(Mirror::is_first_load) == Some(true);
        if (is_alone || is_stuck) && is_first_load && self.building.is_none() {
            self.publish_held(true);
            self.client.hold_absent(true);
        }
    }

    /// Has zones expire if the author was not heard for too long, or has them back if it was.
    pub(super) fn note_silence(&self) {
        let now = self.client.now_ms();
        let silence = self.client.with_mirror(|mirror| mirror.contact(now).0);
        self.client.note_silence(silence.unwrap_or_default());
    }

    /// Lets others follow from a version that was adopted.
    pub(super) fn take_adopted(&mut self) {
        let Some(adopted) = self.client.with_mirror(Mirror::poll_adopted).flatten() else {
            return self.spare();
        };
        self.adopted = adopted.contents;
        self.spared = None;
        self.spare();
        self.adopted_at = Instant::now();
        let place = self.client.with_mirror(|mirror| mirror.place()).unwrap_or_default();
        if !self.relay.adopt(place, adopted.version, adopted.root.at) {
            // What bridged a gap is not to be had any more: a later version is.
            self.client.with_mirror(Mirror::refresh);
        }
    }
}

/// Whether steps are computed so quickly that a thread of their own is not worth it.
fn is_short(batches: &[ZoneBatch]) -> bool {
    let is_edit = |batch: &ZoneBatch| match &batch.step {
        ZoneStep::Rebuild { packs, .. } => {
            packs.iter().map(Bytes::len).sum::<usize>() <= SHORT_OCTETS_MAX
        }
        ZoneStep::Edit(_) | ZoneStep::Remove => true,
    };
    let changes: usize = batches.iter().map(|batch| batch.step.change_count()).sum();
    batches.iter().all(is_edit) && changes <= INLINE_CHANGES_MAX
}

/// Octets of packs of a zone that is built by the task that listens.
const SHORT_OCTETS_MAX: usize = 16 << 10;
