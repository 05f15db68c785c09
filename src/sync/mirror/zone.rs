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
    pub(super) queue: VecDeque<LogZone>,
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
            return last.revision;
        }
        self.base()
    }

    /// The revision that the queue follows on.
    fn base(&self) -> u64 {
        let built = self.build.as_ref().map_or(0, |build| build.revision);
        let handed = self.handed.map_or(0, |handed| handed.revision);
        self.served.revision.max(built).max(handed)
    }

    /// Takes a step; returns what it was being built from if that is over.
    pub(super) fn push(&mut self, step: LogZone) -> Option<Build> {
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
                let first = self.queue.iter().position(|step| step.step == LogStep::Document);
                self.queue.truncate(first.unwrap_or(self.queue.len()));
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
        self.queue.push_back(step);
        over
    }

    /// Whether there will be a zone when all that is known is done.
    fn is_there_then(&self) -> bool {
        match self.queue.back() {
            Some(last) => !matches!(last.step, LogStep::Removed),
            None => self.served.is_there || self.build.is_some() || self.handed.is_some(),
        }
    }

    /// Begins to build the zone from the document.
    pub(super) fn build(&mut self, build: Build) {
        self.queue.retain(|step| step.revision > build.revision);
        self.wants = self.wants.filter(|wanted| *wanted > build.revision);
        self.build = Some(build);
    }

    /// Drops what a revision has that is served now.
    pub(super) fn pass(&mut self, revision: u64) {
        while self.queue.front().is_some_and(|step| step.revision <= revision) {
            self.queue.pop_front();
        }
        if self.wants.is_some_and(|wanted| wanted <= revision) {
            self.wants = None;
        }
    }

    /// The revision that the document must have, if the zone waits for it.
    pub(super) fn wanted(&self) -> Option<u64> {
        let told = self.queue.iter().rfind(|step| step.step == LogStep::Document);
        told.map(|step| step.revision).max(self.wants)
    }

    /// Whether the zone is not there, and begins again behind a revision.
    pub(super) fn begins_behind(&self, revision: u64) -> bool {
        let is_there = self.served.is_there || self.handed.is_some() || self.build.is_some();
        let first = self.queue.front().map(|step| &step.step);
        let begins = matches!(first, Some(LogStep::Whole(_) | LogStep::Removed));
        !is_there && (begins || self.wanted().is_some_and(|wanted| wanted > revision))
    }

    /// The lowest revision that is known and not served; none if all is.
    pub(super) fn first_lacking(&self) -> Option<u64> {
        let queued = self.queue.front().map(|step| step.revision);
        let built = self.build.as_ref().map(|build| build.revision);
        let handed = self.handed.map(|handed| handed.revision);
        [queued, built, handed, self.wants].into_iter().flatten().min()
    }

    /// Whether nothing is known of the zone but that it is gone.
    pub(super) fn is_gone(&self) -> bool {
        !self.served.is_there && self.handed.is_none() && self.first_lacking().is_none()
    }
}
