//! The task that keeps a feed saying what its source says.
//!
//! It begins by comparing both (`opening`), then writes every commit into the log at once, and
//! version after version of the document behind it. A version is made beside the loop, so that no
//! import holds up a change. Any error ends the round; the next begins with a comparison again.
//!
//! **Invariant:** what is told of the log is in it; a version that is announced is put as a whole.
//! **Not here:** commits to segments (`chronicle`), versions of the document (`version`).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ExportError;
use super::audit::{Audit, audited};
use super::evidence::{self, EvidenceVerdict, Own};
use super::frozen::frozen;
use super::opening::{Opened, never_was_at, open};
use super::parts::ExportTask;
use super::version::{NEVER_LOOKED, Round, looked, made};
use crate::clock::now_ms;
use crate::feed::HistoryId;
use crate::feed::segment::Position;
use crate::limits::{
    COMMITS_AHEAD_MAX, EXPORT_RETRY_MS_MAX, EXPORT_RETRY_MS_MIN, EXPORT_TICK_MS, FEED_BEAT_MS,
    PARTINGS_S, VERSION_SLOW_MS,
};
use crate::mesh::author::AuthorKey;
use crate::mesh::hub::Evidence;
use crate::store::history::{CommitsAhead, SourceError};

impl ExportTask {
    /// Works until `stop`, whatever happens.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut retry_ms = EXPORT_RETRY_MS_MIN;
        loop {
            let began = Instant::now();
            let error = match self.round(&stop).await {
                Ok(()) if stop.is_cancelled() => return self.parts.log.close(),
                // It is not frozen any more.
                Ok(()) => continue,
                Err(error) => error,
            };
            tracing::warn!(%error, feed = %self.parts.config.name, "the export begins anew");
            self.status.restarts += 1;
            self.status.is_working = false;
            self.tell();
            if began.elapsed() > Duration::from_millis(EXPORT_RETRY_MS_MAX) {
                retry_ms = EXPORT_RETRY_MS_MIN;
            }
            let wait = tokio::time::sleep(Duration::from_millis(retry_ms));
            if stop.run_until_cancelled(wait).await.is_none() {
                return self.parts.log.close();
            }
            retry_ms = (retry_ms * 2).min(EXPORT_RETRY_MS_MAX);
        }
    }

    /// Compares, then follows the commits, until an error or `stop`; while the feed is frozen, says that the author
    /// lives, and returns when it is not any more.
    async fn round(&mut self, stop: &CancellationToken) -> Result<(), ExportError> {
        let mut freeze = self.parts.source.freeze();
        let is_frozen = *freeze.borrow_and_update();
        if let Some(frozen) = is_frozen {
            let staying = self.stay_frozen(frozen, None);
            return stop.run_until_cancelled(staying).await.unwrap_or(Ok(()));
        }
        let Some(begun) = stop.run_until_cancelled(self.begin()).await else { return Ok(()) };
        let (mut round, commits) = begun?;
        let ended = tokio::select! {
            ended = stop.run_until_cancelled(self.follow(&mut round, commits)) => ended,
            frozen = frozen(&mut freeze) => {
                let stopped = self.stop_round(round).await;
                let staying = self.stay_frozen(frozen, Some(stopped));
                return stop.run_until_cancelled(staying).await.unwrap_or(Ok(()));
            }
        };
        if ended.is_none() {
            // Whoever follows goes on to others while what is written beside the loop ends.
            self.parts.log.close();
        }
        if let Some(Err(ExportError::Source(SourceError::Replaced { .. }))) = &ended {
            // What it has told since is lost: those who have it must leave this history.
            self.seen = Some(round.chronicle.signer.history);
        }
        round.end().await;
        match ended {
            Some(Err(error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Follows the commits; ends with an error only.
    async fn follow(
        &mut self,
        round: &mut Round,
        mut commits: CommitsAhead,
    ) -> Result<std::convert::Infallible, ExportError> {
        let mut returned = match &self.doc {
            Some(doc) => Some(doc.returned().await?),
            None => None,
        };
        let mut tick = tokio::time::interval(Duration::from_millis(EXPORT_TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                commit = commits.recv() => {
                    let Some(commit) = commit else {
                        let reason = "the stream of commits ended".to_owned();
                        return Err(SourceError::Failed { reason }.into());
                    };
                    let mut together = vec![commit?];
                    while together.len() < COMMITS_AHEAD_MAX
                        && let Ok(commit) = commits.try_recv()
                    {
                        together.push(commit?);
                    }
                    round.chronicle.take(&mut round.book, together).await;
                }
                made = made(&mut round.making) => {
                    // What the document lacks, the log has: it goes on whatever becomes of that.
                    if let Err(error) = self.take_made(round, made) {
                        self.fail_version(round, &error);
                    }
                }
                lost = looked(&mut round.looking) => self.take_lost(round, lost),
                read = audited(&mut round.audit) => {
                    self.status.digest_faults += round.audit.take(&mut round.book, read);
                }
                Ok(()) = round.histories.changed() => self.check_history(round).await?,
                Some(shown) = self.evidence.recv() => self.judge(round, &shown).await?,
                Some(number) = returned_number(&mut returned) => {
                    self.take_returned(round, number).await?;
                }
                _ = tick.tick() => {}
            }
            self.start_looking(round);
            round.audit.start(&round.book, &self.parts.depot);
            self.start_due(round);
            if round.beat_at.elapsed() >= Duration::from_millis(FEED_BEAT_MS) {
                self.write_beat(round);
            }
            self.note(round);
            self.tell();
        }
    }

    /// Compares, and announces what was written before if all of it holds, or starts a new version.
    async fn begin(&mut self) -> Result<(Round, CommitsAhead), ExportError> {
        let histories = self.parts.source.histories();
        let Opened { book, shelf, chronicle, root, number, commits } =
            open(&self.parts, self.seen, self.term).await?;
        self.seen = None;
        self.term = chronicle.signer.term;
        let now = Instant::now();
        let mut round = Round {
            book,
            shelf,
            doc_at: root.as_ref().map_or_else(Position::default, |root| root.at),
            chronicle,
            number,
            histories,
            making: None,
            made_at: now,
            made_behind: 0,
            urgent_since: None,
            // What the last version names is looked at once, though it counts as there.
            generation: NEVER_LOOKED,
            looked_at: now,
            looking: None,
            is_shelf_lost: false,
            is_remake_due: false,
            made_in: self.parts.depot.generation(),
            changed: BTreeSet::new(),
            retry: None,
            has_failed: false,
            retired: VecDeque::new(),
            audit: Audit::new(),
            kept: HashSet::new(),
            beat_at: now,
            beats: 0,
        };
        match root.filter(|_| !round.book.is_behind()) {
            Some(root) => self.start_root(&mut round, root)?,
            None => self.start_making(&mut round),
        }
        self.write_beat(&mut round);
        Ok((round, commits))
    }

    /// Begins anew where another feed of the source has found that it is an older copy: all go to the history
    /// that was begun then.
    async fn check_history(&self, round: &Round) -> Result<(), ExportError> {
        let now = self.parts.source.history().await?;
        let is_own = HistoryId { epoch: now.epoch, id: now.id } == round.chronicle.signer.history;
        if is_own { Ok(()) } else { Err(ExportError::HistoryBegun { epoch: now.epoch }) }
    }

    /// Writes a heartbeat.
    fn write_beat(&self, round: &mut Round) {
        round.beat_at = Instant::now();
        let at = round.chronicle.at();
        round.beats += 1;
        let beat = round.chronicle.signer.beat(round.beats, at, &round.book, round.number);
        self.parts.log.set_beat(at, &beat);
    }

    /// Looks at what a peer shows who may know more than this feed says.
    async fn judge(&mut self, round: &mut Round, shown: &Evidence) -> Result<(), ExportError> {
        let newest = self.parts.source.revision().await?;
        let author = AuthorKey::new(self.parts.author.id().as_bytes());
        let own = Own {
            namespace: &self.parts.namespace,
            author: &author,
            history: round.chronicle.signer.history,
            term: round.chronicle.signer.term,
            beats: round.beats,
            number: round.number,
            newest,
            log: &self.parts.log,
        };
        let mut verdict = evidence::judge(shown, &own);
        let is_parted = matches!(verdict, EvidenceVerdict::Parted(_));
        if let Some(at) = evidence::below_log(shown, &own).filter(|_| !is_parted)
            && never_was_at(&*self.parts.source, at).await
        {
            verdict = EvidenceVerdict::Parted(own.history);
        }
        match verdict {
            EvidenceVerdict::Agrees => Ok(()),
            EvidenceVerdict::Later(number) => {
                self.pass_version(round, number);
                Ok(())
            }
            EvidenceVerdict::Parted(found) => {
                self.seen = Some(found);
                self.status.partings += 1;
                self.parted_at.push_back(Instant::now());
                Err(ExportError::OtherHistory { epoch: found.epoch })
            }
        }
    }

    /// Writes the entry of the namespace again if what a peer brought has taken its place.
    async fn take_returned(&mut self, round: &mut Round, number: u64) -> Result<(), ExportError> {
        self.status.returned += 1;
        let Some(doc) = &self.doc else { return Ok(()) };
        let newest = doc.newest().await?.map_or(0, |(_, number)| number).max(number);
        if newest >= round.number {
            self.pass_version(round, newest);
        }
        Ok(())
    }

    /// Has the next version come above one that peers have. One that is being made gets its number at
    /// its end.
    pub(super) fn pass_version(&self, round: &mut Round, newest: u64) {
        tracing::warn!(
            newest,
            own = round.number,
            "peers have a later version of this feed than its author"
        );
        round.number = newest;
        if round.making.is_none() {
            self.start_making(round);
        }
    }

    /// Notes how far the round is.
    fn note(&mut self, round: &Round) {
        let (_, zones) = round.book.log_sum();
        let limit = Duration::from_secs(PARTINGS_S);
        while self.parted_at.front().is_some_and(|at| at.elapsed() >= limit) {
            self.parted_at.pop_front();
        }
        self.status.partings_lately = self.parted_at.len() as u64;
        self.status.history = round.chronicle.signer.history;
        self.status.revision = round.chronicle.at();
        self.status.document = round.doc_at;
        self.status.version = round.number;
        self.status.zone_count = zones;
        self.status.wrong_zones = round.audit.wrong_zones();
        self.status.is_working = true;
        self.status.is_frozen = false;
        self.status.alive_ms = now_ms();
        let is_slow = round.making.is_some()
            && round.made_at.elapsed() >= Duration::from_millis(VERSION_SLOW_MS);
        let since = self.failing_since.or(is_slow.then_some(round.made_at));
        self.status.document_failing_ms =
            since.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    /// Tells others how far we are.
    pub(super) fn tell(&self) {
        let status = self.status;
        self.status_sender.send_if_modified(|told| std::mem::replace(told, status) != status);
    }
}

/// Waits for an entry that a peer brings.
async fn returned_number(returned: &mut Option<mpsc::Receiver<u64>>) -> Option<u64> {
    match returned {
        Some(returned) => match returned.recv().await {
            Some(number) => Some(number),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "simulation/mod.rs"]
mod simulation;
