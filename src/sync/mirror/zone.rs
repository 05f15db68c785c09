//! One zone of a mirror: what is served, what is being built, what comes next.
//!
//! **Invariant:** the steps of the queue follow on each other, and the first one on what is served or
//! being built, unless the zone waits for the document.
//! **Not here:** which version of the document (`mirror::document`).

use std::collections::VecDeque;

use crate::feed::digest::Digest;
use crate::feed::index::{BundleRef, PackPlace};
use crate::feed::segment::{LogStep, LogZone};

/// A zone.
#[derive(Debug, Default)]
pub(super) struct ZoneMirror {
    /// What is served, and what it comes to.
    pub(super) served: Served,
    /// The step that was handed out: where it leads and what it must come to.
    pub(super) handed: Option<Handed>,
    /// What comes next, oldest first.
    pub(super) queue: VecDeque<Queued>,
    /// The zone must be taken from a version of the document at this revision or later, whatever the
    /// queue says.
    pub(super) wants: Option<u64>,
    /// It must be built anew, whatever is served: its digest differed.
    pub(super) is_suspect: bool,
    /// What it is being built from.
    pub(super) build: Option<Build>,
    /// Where a version holds without which the log does not lead to what is served: its row said that the
    /// zone is as it was.
    pub(super) leans_on: u64,
    /// The revision under which the mirror counts it as lacking something.
    pub(super) lacking: Option<u64>,
}

/// A step that comes next.
#[derive(Debug)]
pub(super) struct Queued {
    /// The revision of the commit that it is of: the step may lead further.
    pub(super) at: u64,
    /// The step.
    pub(super) zone: LogZone,
}

/// What is served of a zone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Served {
    /// The revision; 0 before the first.
    pub(super) revision: u64,
    /// What the records come to, as the caller has counted them.
    pub(super) digest: Digest,
    /// Whether there is a zone.
    pub(super) is_there: bool,
}

/// A step that was handed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed {
    /// Where it leads.
    pub(super) revision: u64,
    /// What the zone must come to.
    pub(super) digest: Digest,
    /// Whether the zone is built anew.
    pub(super) is_rebuild: bool,
}

/// A zone that is being built from the document.
#[derive(Debug)]
pub(super) struct Build {
    /// The revision of the document's row.
    pub(super) revision: u64,
    /// What the row says that it comes to.
    pub(super) digest: Digest,
    /// About how many owner names there are.
    pub(super) names: u64,
    /// The bundles and the places of the packs in them.
    pub(super) packs: Vec<(BundleRef, PackPlace)>,
    /// How many bundles are not here yet.
    pub(super) missing: usize,
}

impl ZoneMirror {
    /// The revision that the zone will have when all that is known is done.
    pub(super) fn tail(&self) -> u64 {
        if let Some(last) = self.queue.back() {
            return last.zone.revision;
        }
        self.base()
    }

    /// The revision that the queue follows on.
    fn base(&self) -> u64 {
        let built = self.build.as_ref().map_or(0, |build| build.revision);
        let handed = self.handed.map_or(0, |handed| handed.revision);
        self.served.revision.max(built).max(handed)
    }

    /// Takes the step of a commit; returns what it was being built from if that is over.
    pub(super) fn push(&mut self, mut at: u64, step: LogZone) -> Option<Build> {
        if step.revision <= self.tail() || self.wants.is_some_and(|wanted| step.revision <= wanted)
        {
            return None;
        }
        let mut over = None;
        match step.step {
            LogStep::Whole(_) | LogStep::Removed => {
                // Whatever came before, it is over.
                self.queue.clear();
                self.wants = None;
                over = self.build.take();
            }
            LogStep::Document => {
                // What comes before the last of them is told by the document, but for what comes
                // before the first: that is to be served until then.
                if let Some(first) = self.queue.iter().position(Queued::is_of_document) {
                    at = at.min(self.queue[first].at);
                    self.queue.truncate(first);
                }
            }
            LogStep::Changes(_) => {
                // Where the document is waited for, it leads to some revision in between.
                let follows = step.before == self.tail() && self.is_there_then();
                if self.wants.is_none() && !follows {
                    self.queue.clear();
                    self.wants = Some(step.before.max(1));
                }
            }
        }
        self.queue.push_back(Queued { at, zone: step });
        over
    }

    /// Whether there will be a zone when all that is known is done.
    fn is_there_then(&self) -> bool {
        match self.queue.back() {
            Some(last) => !matches!(last.zone.step, LogStep::Removed),
            None => self.served.is_there || self.build.is_some() || self.handed.is_some(),
        }
    }

    /// Begins to build the zone from the document.
    pub(super) fn build(&mut self, build: Build) {
        self.queue.retain(|step| step.zone.revision > build.revision);
        self.wants = self.wants.filter(|wanted| *wanted > build.revision);
        self.build = Some(build);
    }

    /// Drops what a revision has that is served now.
    pub(super) fn pass(&mut self, revision: u64) {
        while self.queue.front().is_some_and(|step| step.zone.revision <= revision) {
            self.queue.pop_front();
        }
        if self.wants.is_some_and(|wanted| wanted <= revision) {
            self.wants = None;
        }
    }

    /// The revision that the document must have, if the zone waits for it.
    pub(super) fn wanted(&self) -> Option<u64> {
        let told = self.queue.iter().rfind(|step| step.is_of_document());
        told.map(|step| step.zone.revision).max(self.wants)
    }

    /// Whether the zone is not there, and begins again behind a revision.
    pub(super) fn begins_behind(&self, revision: u64) -> bool {
        let is_there = self.served.is_there || self.handed.is_some() || self.build.is_some();
        let first = self.queue.front().map(|step| &step.zone.step);
        let begins = matches!(first, Some(LogStep::Whole(_) | LogStep::Removed));
        !is_there && (begins || self.wanted().is_some_and(|wanted| wanted > revision))
    }

    /// Whether anything is known that is not served.
    pub(super) fn lacks(&self) -> bool {
        self.first_known().is_some()
    }

    /// The lowest revision that is known and not served. What lies between that and what is served may be
    /// lacking, too: the document tells only where a zone has come to, and so does a step of many commits.
    fn first_known(&self) -> Option<u64> {
        let queued = self.queue.front().map(|step| step.at.max(self.served.revision + 1));
        let built = self.build.as_ref().map(|build| build.revision);
        let handed = self.handed.map(|handed| handed.revision);
        [queued, built, handed, self.wants].into_iter().flatten().min()
    }

    /// The revision from which on the zone lacks something; none if it lacks nothing.
    ///
    /// All commits up to `position` were taken.
    pub(super) fn first_lacking(&self, position: u64) -> Option<u64> {
        let known = self.first_known()?;
        let served = self.served.revision;
        if known <= served {
            // What is served is not what it must be.
            return Some(known);
        }
        Some(match self.lacking {
            // Where it leads next may change on the way; what was lacking is so until it is served.
            Some(before) if before > served => before.min(known),
            Some(_) if self.follows_served() => known,
            // What came between may have been dropped for what leads further.
            Some(_) => served + 1,
            // It has lacked nothing of what was taken, unless what is known says so.
            None if known > position => position.max(served) + 1,
            None => served + 1,
        })
    }

    /// Whether the queue follows on what is served, so that nothing is lacking between.
    fn follows_served(&self) -> bool {
        let follows = |step: &Queued| step.zone.before == self.served.revision;
        self.wants.is_none() && self.build.is_none() && self.queue.front().is_some_and(follows)
    }

    /// Whether nothing is known of the zone but that it is gone.
    pub(super) fn is_gone(&self) -> bool {
        !self.served.is_there && self.handed.is_none() && !self.lacks()
    }
}

impl Queued {
    /// Whether the document has it.
    fn is_of_document(&self) -> bool {
        self.zone.step == LogStep::Document
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::name::Name;

    /// What happens to a zone.
    #[derive(Clone, Copy)]
    enum Event {
        /// A commit at a revision takes it from one to another: changes, or what the document has.
        Changes(u64, u64, u64),
        Document(u64, u64, u64),
        /// A row of the document has it at a revision.
        Row(u64),
        /// All that leads to a revision is handed out.
        Hand(u64),
        /// What was handed out is served.
        Serve,
        /// What was handed out cannot be made.
        Refuse,
    }
    use Event::{Changes, Document, Hand, Refuse, Row, Serve};

    /// From which revision on a zone lacks something that was served at 5, all commits up to 9 taken,
    /// after each event.
    fn check(events: &[Event], lacking: &[Option<u64>]) {
        let served = Served { revision: 5, is_there: true, ..Served::default() };
        let mut zone = ZoneMirror { served, ..ZoneMirror::default() };
        let mut position = 9;
        let push = |zone: &mut ZoneMirror, (at, before, revision), step| {
            let apex = Name::from_text("example").expect("a name");
            let digest = Digest::default();
            zone.push(at, LogZone { apex, before, revision, serial: 0, digest, step });
        };
        let mut seen = Vec::new();
        for event in events {
            let mut at_end = position;
            match *event {
                Changes(at, before, revision) => {
                    push(&mut zone, (at, before, revision), LogStep::Changes(Bytes::new()));
                    at_end = at;
                }
                Document(at, before, revision) => {
                    push(&mut zone, (at, before, revision), LogStep::Document);
                    at_end = at;
                }
                Row(revision) => {
                    let (digest, packs) = (Digest::default(), Vec::new());
                    zone.build(Build { revision, digest, names: 1, packs, missing: 0 });
                }
                Hand(revision) => {
                    zone.build = None;
                    zone.queue.retain(|step| step.zone.revision > revision);
                    let digest = Digest::default();
                    zone.handed = Some(Handed { revision, digest, is_rebuild: false });
                }
                Serve => {
                    zone.served.revision = zone.handed.take().expect("handed out").revision;
                    zone.pass(zone.served.revision);
                }
                Refuse => zone.wants = zone.handed.take().map(|handed| handed.revision),
            }
            zone.lacking = zone.first_lacking(position);
            position = at_end;
            seen.push(zone.lacking);
        }
        assert_eq!(seen, lacking);
    }

    #[test]
    fn what_is_handed_out_together_is_lacking_from_the_first_of_it() {
        let events = [Changes(10, 5, 10), Changes(11, 10, 11), Hand(11), Serve];
        check(&events, &[Some(10), Some(10), Some(10), None]);
        check(&[Changes(10, 5, 10), Hand(10), Refuse], &[Some(10), Some(10), Some(10)]);
    }

    #[test]
    fn what_follows_on_what_is_served_is_lacking_from_there() {
        let events = [Changes(10, 5, 10), Hand(10), Changes(20, 10, 20), Serve];
        check(&events, &[Some(10), Some(10), Some(10), Some(20)]);
    }

    #[test]
    fn changes_that_do_not_follow_lack_all_behind_what_is_served() {
        check(&[Changes(10, 8, 10)], &[Some(6)]);
        let events = [Document(10, 5, 10), Row(12), Hand(12), Changes(20, 18, 20), Serve];
        check(&events, &[Some(10), Some(10), Some(10), Some(10), Some(13)]);
    }

    #[test]
    fn a_later_version_does_not_hide_what_was_lacking_before_it() {
        let events = [Document(10, 5, 10), Document(30, 10, 30), Changes(31, 30, 31), Row(30)];
        check(&events, &[Some(10); 4]);
        // Nothing of what came before the version was told.
        check(&[Row(30)], &[Some(10)]);
    }

    #[test]
    fn a_commit_that_is_told_later_is_lacking_from_its_own_revision() {
        let events = [Changes(10, 5, 10), Hand(10), Document(20, 10, 50), Serve];
        check(&events, &[Some(10), Some(10), Some(10), Some(20)]);
    }

    #[test]
    fn what_was_dropped_for_a_later_row_is_lacking() {
        let events = [Changes(10, 5, 10), Hand(10), Document(15, 10, 15), Row(30), Serve];
        check(&events, &[Some(10), Some(10), Some(10), Some(10), Some(11)]);
    }

    #[test]
    fn a_zone_that_differs_is_lacking_at_what_is_served() {
        check(&[Row(5), Hand(5), Serve], &[Some(5), Some(5), None]);
    }
}
