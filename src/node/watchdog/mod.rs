//! Asks the parts of a node whether they still work, and ends the node when one is broken for good.
//!
//! A supervisor starts a process anew in a moment; a node that goes on without one of its parts
//! answers old data for ever and says that all is well.
//!
//! **Invariant:** one answer that is late or lost ends nothing, two in a row do; what heals by itself
//! (a full disk, a store far away) ends nothing; nothing ends the node while it stops.
//! **Not here:** what is told of it (`node::health`), the end itself (`node::run`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::config::Config;
use super::feed::ExporterAnswer;
use super::health::{Fault, Unready};
use super::state::NodeState;
use crate::limits::{
    DOCUMENT_FAILING_MS, EXPORT_DOWN_MS, EXPORT_PARTINGS_MAX, EXPORT_SILENT_MS, STORE_SILENT_MS,
    UNKEPT_MS, WATCHDOG_ANSWER_MS, WATCHDOG_ASK_MS, WATCHDOG_CONTENTS_MISSES_MAX, WATCHDOG_LOOK_MS,
    WATCHDOG_MISSES_MAX,
};
use crate::mesh::Mesh;
use crate::sync::status::SyncStatus;

/// What one look at the parts shows.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// Whether every front end runs.
    pub has_front_ends: bool,
    /// Questions in a row that the document engine has not answered.
    pub documents_missed: u32,
    /// Those of the store of contents.
    pub contents_missed: u32,
    /// For how many milliseconds the store has owed an answer.
    pub store_silent_ms: u64,
    /// Whether peers are accepted.
    pub is_mesh_open: bool,
    /// The exporters.
    pub exporters: Vec<ExporterAnswer>,
    /// Tasks that have ended, by what they do.
    pub ended: Vec<&'static str>,
    /// For how many milliseconds the edge could not keep what arrives.
    pub edge_unkept_ms: u64,
    /// For how many milliseconds the edge could fetch nothing of the document.
    pub edge_unfetched_ms: u64,
    /// The zones of the store that cannot be read: how many, and the first of them.
    pub unreadable: Option<(usize, String)>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum WatchdogVerdict {
    /// The node goes on, with these parts broken for now.
    Goes(Vec<Fault>),
    /// The node ends.
    Ends(Fault),
}

/// Judges what it is shown.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The exporters, by feed.
    exporters: HashMap<String, ExporterWatch>,
}

/// What is remembered of an exporter.
#[derive(Debug)]
struct ExporterWatch {
    /// Its last sign of life.
    alive_ms: u64,
    /// When that was new, by our clock: the exporter's may be set.
    alive_since_ms: u64,
    /// How often it had begun anew.
    restarts: u64,
    /// Since when it has worked without beginning anew.
    works_since_ms: Option<u64>,
    /// Since when it has failed again and again.
    down_since_ms: Option<u64>,
}

impl Watch {
    /// Judges one look, at `now_ms` of a clock that is never set and stands while the process does.
    pub(crate) fn poll(&mut self, now_ms: u64, answers: &Answers) -> WatchdogVerdict {
        let is_silent = |missed: u32| missed >= WATCHDOG_MISSES_MAX;
        let mut faults = Vec::new();
        if !answers.has_front_ends {
            faults.push(Fault::FrontEnd);
        }
        if is_silent(answers.documents_missed) {
            faults.push(Fault::Documents);
        }
        // It is opened again in place, for as long as that may take on a disk that fails.
        if answers.contents_missed >= WATCHDOG_CONTENTS_MISSES_MAX {
            faults.push(Fault::Contents);
        }
        if !answers.is_mesh_open {
            faults.push(Fault::Mesh);
        }
        faults.extend(answers.ended.iter().copied().map(Fault::Task));
        if answers.edge_unkept_ms >= UNKEPT_MS {
            faults.push(Fault::Unkept { seconds: answers.edge_unkept_ms / 1_000 });
        }
        if answers.edge_unfetched_ms >= UNKEPT_MS {
            faults.push(Fault::Unfetched { seconds: answers.edge_unfetched_ms / 1_000 });
        }
        if let Some((zones, first)) = answers.unreadable.clone() {
            faults.push(Fault::Unreadable { zones, first });
        }
        for exporter in &answers.exporters {
            faults.extend(self.poll_exporter(now_ms, exporter));
            if exporter.partings >= EXPORT_PARTINGS_MAX {
                faults.push(Fault::WrittenTwice { feed: exporter.feed.clone() });
            }
            if exporter.wrong_zones > 0 {
                let (feed, zones) = (exporter.feed.clone(), exporter.wrong_zones);
                faults.push(Fault::DocumentWrong { feed, zones });
            }
            if exporter.document_failing_ms >= DOCUMENT_FAILING_MS {
                let (feed, seconds) = (exporter.feed.clone(), exporter.document_failing_ms / 1_000);
                faults.push(Fault::DocumentFails { feed, seconds });
            }
        }
        if answers.store_silent_ms >= STORE_SILENT_MS {
            faults.push(Fault::StoreSilent);
        }
        match faults.iter().find(|fault| fault.is_final()) {
            Some(fault) => WatchdogVerdict::Ends(fault.clone()),
            None => WatchdogVerdict::Goes(faults),
        }
    }

    /// Judges one exporter.
    fn poll_exporter(&mut self, now_ms: u64, answer: &ExporterAnswer) -> Option<Fault> {
        let feed = || answer.feed.clone();
        let watch = self.exporters.entry(feed()).or_insert(ExporterWatch {
            alive_ms: answer.alive_ms,
            alive_since_ms: now_ms,
            restarts: 0,
            works_since_ms: None,
            down_since_ms: None,
        });
        if !answer.is_working || watch.alive_ms != answer.alive_ms {
            watch.alive_ms = answer.alive_ms;
            watch.alive_since_ms = now_ms;
        }
        if answer.restarts != watch.restarts {
            watch.restarts = answer.restarts;
            watch.works_since_ms = None;
            watch.down_since_ms.get_or_insert(now_ms);
        }
        if !answer.is_working {
            watch.works_since_ms = None;
        } else if now_ms - *watch.works_since_ms.get_or_insert(now_ms) >= EXPORT_DOWN_MS {
            watch.down_since_ms = None;
        }
        let silent_ms = now_ms - watch.alive_since_ms;
        if answer.has_ended || silent_ms >= 2 * EXPORT_SILENT_MS {
            return Some(Fault::ExporterStuck { feed: feed() });
        }
        if silent_ms >= EXPORT_SILENT_MS {
            return Some(Fault::ExporterSilent { feed: feed() });
        }
        let is_down = watch.down_since_ms.is_some_and(|since| now_ms - since >= EXPORT_DOWN_MS);
        is_down.then(|| Fault::ExporterFails { feed: feed() })
    }
}

/// Measures for how long answers have been behind what they should be.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// What is not answered yet, and since when.
    behind: Option<(u64, u64)>,
}

impl Lag {
    /// Takes that `served` is answered, and `wanted` exists; returns for how many milliseconds
    /// something that existed at an earlier look has not been answered.
    pub(crate) fn note(&mut self, now_ms: u64, served: u64, wanted: u64) -> u64 {
        let since_ms = match self.behind {
            _ if served >= wanted => {
                self.behind = None;
                return 0;
            }
            Some((missing, since_ms)) if served < missing => since_ms,
            _ => {
                self.behind = Some((wanted, now_ms));
                now_ms
            }
        };
        now_ms - since_ms
    }
}

/// How old answers may be on a node that says that it is ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadyLimits {
    /// For how many milliseconds they may be behind.
    lag_ms: u64,
    /// For how many milliseconds an edge may not hear its author; none is for ever.
    silence_ms: Option<u64>,
}

impl ReadyLimits {
    /// Those of a node.
    pub(super) fn of(config: &Config) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { lag_ms: config.ready_lag_ms, silence_ms: config.edge.ready_silence.map(millis) }
    }

    /// Says why a node whose answers are so old is not ready, if it is not.
    pub(crate) fn judge(self, lag_ms: u64, silence_ms: u64) -> Option<Unready> {
        if self.silence_ms.is_some_and(|limit_ms| silence_ms > limit_ms) {
            return Some(Unready::Silent { seconds: silence_ms / 1_000 });
        }
        (lag_ms > self.lag_ms).then_some(Unready::Behind { lag_ms })
    }
}

/// Asks the parts, again and again.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// The node.
    node: Arc<NodeState>,
    /// The peer, on a node that replicates.
    mesh: Option<Mesh>,
    /// The tasks, by what they do.
    tasks: Vec<(&'static str, AbortHandle)>,
    /// How old answers may be on a node that is ready.
    ready: ReadyLimits,
    /// What was not answered.
    missed: Missed,
}

/// Questions in a row that were not answered.
#[derive(Debug, Default)]
struct Missed {
    /// By the document engine.
    documents: AtomicU32,
    /// By the store of contents.
    contents: AtomicU32,
    /// Since when the store has owed an answer.
    store_since: Mutex<Option<Instant>>,
    /// The newest revision that the store has told.
    store_revision: AtomicU64,
}

impl Missed {
    /// For how many milliseconds the store has owed an answer.
    fn store_silent_ms(&self) -> u64 {
        let since = *self.store_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Notes that the store was asked, or that it has answered.
    fn note_store(&self, has_answered: bool) {
        let mut since = self.store_since.lock().unwrap_or_else(PoisonError::into_inner);
        match has_answered {
            true => *since = None,
            false => drop(since.get_or_insert_with(Instant::now)),
        }
    }
}

impl Watchdog {
    /// Prepares to ask the parts of a node.
    pub(super) fn new(
        node: Arc<NodeState>,
        mesh: Option<Mesh>,
        tasks: Vec<(&'static str, AbortHandle)>,
        ready: ReadyLimits,
    ) -> Self {
        Self { node, mesh, tasks, ready, missed: Missed::default() }
    }

    /// Asks until a part is broken for good, and returns which.
    pub(super) async fn run(self) -> Fault {
        tokio::select! {
            fault = self.look() => fault,
            never = self.ask_documents() => match never {},
            never = self.ask_contents() => match never {},
            never = self.ask_store() => match never {},
        }
    }

    /// Looks at what the parts show, and says what it finds.
    async fn look(&self) -> Fault {
        let began = Instant::now();
        let (mut watch, mut lag, mut was_connected) = (Watch::default(), Lag::default(), false);
        // A clock that stands still while the process is stopped: nobody could answer meanwhile.
        let mut looks_ms = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(WATCHDOG_LOOK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            looks_ms += WATCHDOG_LOOK_MS;
            let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let faults = match watch.poll(looks_ms, &self.answers()) {
                WatchdogVerdict::Goes(faults) => faults,
                WatchdogVerdict::Ends(fault) => return fault,
            };
            let unready = self.unready(now_ms, &mut lag, &mut was_connected);
            self.node.health.note(faults, unready);
        }
    }

    /// Reads what the parts show.
    fn answers(&self) -> Answers {
        let is_ended = |task: &&(&'static str, AbortHandle)| task.1.is_finished();
        let node = &self.node;
        let mirror = node.client.as_ref().and_then(|client| client.mirror_status());
        let unkept_since = node.client.as_ref().and_then(|client| client.unkept_since());
        Answers {
            has_front_ends: node.server.is_healthy(),
            documents_missed: self.missed.documents.load(Ordering::Relaxed),
            contents_missed: self.missed.contents.load(Ordering::Relaxed),
            store_silent_ms: self.missed.store_silent_ms(),
            is_mesh_open: self.mesh.as_ref().is_none_or(Mesh::is_alive),
            exporters: node.feeds.as_ref().map(|feeds| feeds.answers()).unwrap_or_default(),
            ended: self.tasks.iter().filter(is_ended).map(|task| task.0).collect(),
            edge_unkept_ms: unkept_since.map_or(0, |since| since.elapsed().as_millis() as u64),
            edge_unfetched_ms: mirror.map_or(0, |mirror| mirror.fetch_failing_ms),
            unreadable: node.store.as_ref().and_then(|store| store.recounts().unreadable()),
        }
    }

    /// Says why the node is not ready, if it is not.
    fn unready(&self, now_ms: u64, lag: &mut Lag, was_connected: &mut bool) -> Option<Unready> {
        let mut silence_ms = 0;
        let lag_ms = match &self.node.client {
            Some(client) => {
                let status = client.mirror_status();
                silence_ms = status.as_ref().map_or(0, |status| status.silence_ms);
                let word = status.as_ref().map_or_else(|| client.status(), |status| status.status);
                *was_connected |= matches!(word, SyncStatus::Syncing | SyncStatus::Synced);
                // Where all zones are gone there is none that lacks anything.
                let has_some = status.is_some_and(|status| {
                    status.zones > 0 || (status.served.revision > 0 && status.lacking == 0)
                });
                if !has_some && !word.is_synced() && client.revision().number == 0 {
                    return Some(Unready::Nothing);
                }
                if client.has_damage() {
                    return Some(Unready::Damaged);
                }
                // Who was never told of anything newer cannot be behind it.
                let is_current = word.is_synced() || !*was_connected;
                lag.note(now_ms, u64::from(is_current), 1)
            }
            None => {
                let wanted = self.missed.store_revision.load(Ordering::Relaxed);
                lag.note(now_ms, self.node.progress.now().served, wanted)
            }
        };
        self.node.health.note_lag(lag_ms);
        self.ready.judge(lag_ms, silence_ms)
    }

    /// Asks the document engine for something that it does not have.
    async fn ask_documents(&self) -> Infallible {
        let Some(mesh) = &self.mesh else { return std::future::pending().await };
        ask(&self.missed.documents, || mesh.ask_documents()).await
    }

    /// Asks the store of contents for something that it does not have.
    async fn ask_contents(&self) -> Infallible {
        let Some(mesh) = &self.mesh else { return std::future::pending().await };
        ask(&self.missed.contents, || mesh.ask_contents()).await
    }

    /// Asks the store for its revision.
    async fn ask_store(&self) -> Infallible {
        let Some(store) = &self.node.store else { return std::future::pending().await };
        loop {
            self.missed.note_store(false);
            if let Ok(revision) = store.revision().await {
                self.missed.store_revision.store(revision, Ordering::Relaxed);
                self.missed.note_store(true);
            }
            tokio::time::sleep(Duration::from_millis(WATCHDOG_ASK_MS)).await;
        }
    }
}

/// Asks a part for ever, and counts how often in a row there was no answer in time.
async fn ask<F: Future<Output = bool>>(missed: &AtomicU32, question: impl Fn() -> F) -> Infallible {
    let limit = Duration::from_millis(WATCHDOG_ANSWER_MS);
    loop {
        match tokio::time::timeout(limit, question()).await {
            Ok(true) => missed.store(0, Ordering::Relaxed),
            Ok(false) | Err(_) => {
                missed.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(WATCHDOG_ASK_MS)).await;
    }
}

#[cfg(test)]
mod tests;
