//! Which zones have a step to hand out, which steps are handed out, and what waits.
//!
//! A zone is marked when something of it has come, planned when its turn comes, and in flight until
//! the caller has said what became of the step. What is known of it and could not be handed out is
//! pending, since when it last had a step.
//!
//! **Invariant:** of each zone one step is in flight at a time; a zone that is marked stays so until
//! it is planned.
//! **Not here:** what a step is (`sync::history`), how far everything is (`sync::progress`).

use std::collections::{BTreeSet, HashMap};

use crate::feed::Revision;
use crate::limits::BATCH_CHANGES_MAX;
use crate::name::Name;
use crate::sync::batch::{ZoneBatch, ZoneStep};

/// Steps to hand out, and those that are.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Milliseconds that a mark may wait for more to come.
    age_ms: u64,
    /// Zones that may have a step to hand out.
    marked: BTreeSet<Name>,
    /// When the first of them became so.
    marked_since_ms: Option<u64>,
    /// Zones of which more is known than was handed out, and since when without a step.
    pending: HashMap<Name, u64>,
    /// Steps handed out of which the caller has not reported yet.
    in_flight: HashMap<Name, StepInFlight>,
}

/// A step that the caller has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StepInFlight {
    /// Where it leads.
    revision: Revision,
    /// Whether it leaves the zone served.
    pub is_served: bool,
    /// Whether it is of a feed without header, whose revisions are none of the author's.
    pub is_plain: bool,
}

/// What a zone's plan comes to; nothing, for a zone that is not known.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// The step, if there is one.
    pub step: Option<ZoneBatch>,
    /// Whether more is known of the zone than the step does.
    pub has_more: bool,
}

impl Outbox {
    /// Begins empty; marks wait up to `age_ms` milliseconds for more to come.
    pub(super) fn new(age_ms: u64) -> Self {
        Self { age_ms, ..Self::default() }
    }

    /// Notes that a zone may have a step to hand out.
    pub(super) fn mark(&mut self, apex: Name, now_ms: u64) {
        self.marked_since_ms.get_or_insert(now_ms);
        self.hold(&apex, now_ms);
        self.marked.insert(apex);
    }

    /// Notes that more is known of a zone than was handed out.
    pub(super) fn hold(&mut self, apex: &Name, now_ms: u64) {
        if !self.pending.contains_key(apex) {
            self.pending.insert(apex.clone(), now_ms);
        }
    }

    /// Returns when marks are old enough to be handed out; `None` without any.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.marked_since_ms.map(|since_ms| since_ms.saturating_add(self.age_ms))
    }

    /// Asks `plan` for the steps of marked zones, and returns them as handed out: none for a zone
    /// that has one in flight, and at most some thousand changes, except that no commit is cut.
    pub(super) fn poll_batch(
        &mut self,
        now_ms: u64,
        mut plan: impl FnMut(&Name) -> Planned,
    ) -> Vec<ZoneBatch> {
        let mut batches = Vec::new();
        let (mut changes, mut waiting) = (0, Vec::new());
        while changes < BATCH_CHANGES_MAX
            && let Some(apex) = self.marked.pop_first()
        {
            if self.in_flight.contains_key(&apex) {
                waiting.push(apex);
                continue;
            }
            let Planned { step, has_more } = plan(&apex);
            if !has_more {
                self.pending.remove(&apex);
            } else if step.is_some() {
                self.pending.insert(apex.clone(), now_ms);
                self.marked.insert(apex);
            }
            changes += step.as_ref().map_or(0, |batch| batch.step.change_count());
            batches.extend(step);
        }
        self.marked.extend(waiting);
        self.marked_since_ms = (!self.marked.is_empty()).then_some(now_ms);
        self.hand_out(&batches, false);
        batches
    }

    /// Takes steps of a feed without header as handed out.
    pub(super) fn hand_out_plain(&mut self, batches: &[ZoneBatch]) {
        self.hand_out(batches, true);
    }

    /// Takes steps as handed out.
    fn hand_out(&mut self, batches: &[ZoneBatch], is_plain: bool) {
        for batch in batches {
            let is_served = !matches!(batch.step, ZoneStep::Remove);
            let in_flight = StepInFlight { revision: batch.revision, is_served, is_plain };
            let before = self.in_flight.insert(batch.apex.clone(), in_flight);
            debug_assert!(before.is_none(), "of each zone one step is in flight at a time");
        }
    }

    /// Takes that a step is done or given up; returns it, `None` if it was not in flight.
    pub(super) fn done(&mut self, apex: &Name, revision: Revision) -> Option<StepInFlight> {
        let in_flight = self.in_flight.remove(apex)?;
        debug_assert!(in_flight.revision == revision, "steps are reported in order");
        Some(in_flight)
    }

    /// Notes that a zone is published as it is known.
    pub(super) fn release(&mut self, apex: &Name) {
        self.pending.remove(apex);
    }

    /// Notes that nothing more is known of any zone than of those that have a step in flight.
    pub(super) fn release_all_done(&mut self) {
        self.pending.retain(|apex, _| self.in_flight.contains_key(apex));
    }

    /// Whether no step is in flight.
    pub(super) fn is_all_done(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether no zone is marked, and nothing is known that was not handed out.
    pub(super) fn is_empty(&self) -> bool {
        self.marked.is_empty() && self.pending.is_empty()
    }

    /// Whether every marked zone waits for its step to be done.
    pub(super) fn has_nothing_to_give(&self) -> bool {
        self.marked.iter().all(|apex| self.in_flight.contains_key(apex))
    }

    /// The zones of which more is known than was handed out, and since when without a step.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.pending.iter().map(|(apex, since_ms)| (apex, *since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apex() -> Name {
        "example".parse().expect("a name")
    }

    fn step(number: u64) -> ZoneBatch {
        let (revision, step) = (Revision::new(1, number), ZoneStep::Remove);
        ZoneBatch { apex: apex(), revision, step, proof: None }
    }

    #[test]
    fn a_zone_whose_step_is_in_flight_waits_for_its_turn() {
        let mut outbox = Outbox::new(0);
        outbox.mark(apex(), 5);
        let plan = |_: &Name| Planned { step: Some(step(1)), has_more: false };
        assert_eq!(outbox.poll_batch(5, plan).len(), 1);
        assert!(outbox.is_empty() && !outbox.is_all_done());
        outbox.mark(apex(), 6);
        assert!(outbox.poll_batch(7, |_| panic!("it is in flight")).is_empty());
        assert!(outbox.has_nothing_to_give() && !outbox.is_empty());
        let done = outbox.done(&apex(), Revision::new(1, 1)).expect("it was in flight");
        assert!(!done.is_served && !done.is_plain);
        assert!(!outbox.has_nothing_to_give());
        assert_eq!(outbox.poll_batch(8, plan).len(), 1);
    }

    #[test]
    fn marks_wait_for_more_and_what_is_held_keeps_its_time() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.due_ms(), None);
        outbox.mark(apex(), 5);
        outbox.mark(apex(), 9);
        assert_eq!(outbox.due_ms(), Some(15));
        let waits = |_: &Name| Planned { step: None, has_more: true };
        assert!(outbox.poll_batch(15, waits).is_empty());
        assert_eq!((outbox.due_ms(), outbox.is_empty()), (None, false));
        assert_eq!(outbox.pending().collect::<Vec<_>>(), [(&apex(), 5)]);
    }
}
