//! Which of several authorities on one store writes its feeds: the one that holds the lease.
//!
//! A lease is a row of the store with a beat that its holder raises. Who wants it looks at the row: one whose
//! beat has stood still for the time of the lease is nobody's any more, and is taken by a commit that expects
//! it to be as it was seen. A holder that cannot raise its beat stops earlier than that, by its own clock. No
//! two clocks are ever compared: each measures how long it has itself waited, from before it asked (a holder)
//! or from after it was answered (the others).
//!
//! Each holding has a *term*, one above that of the one before. It goes with all that is written under the lease, and
//! readers believe no term below one that they have seen: so even a holder that was paused for longer than its
//! lease, and wakes in the middle of a write, leads nobody astray.
//!
//! An engine that only this process can have open ([`KeyValueStore::is_shared`]) needs none: there the lease
//! is always held.
//!
//! **Invariant:** no two holders at once, unless a clock runs a third faster than another; terms rise.
//! **Not here:** what is done under a lease (`node::feeds`), terms in a feed (`export::term`).

mod contender;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::keys;
use super::kv::{KeyValueStore, KvCommit, KvError, Precondition};
use crate::limits::{LEASE_MS_MAX, LEASE_MS_MIN, LEASE_YIELD_LOOK_MS, LEASE_YIELD_MS};
use contender::{Contender, LeaseRow};

pub use contender::{LeaseHeld, LeaseTimes};

/// Why there is no such lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a lease of {ms} ms: at least {LEASE_MS_MIN}, at most {LEASE_MS_MAX}")]
pub struct LeaseTimeError {
    /// What was asked for, in milliseconds.
    pub ms: u64,
}

/// What an authority knows of the lease.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaseState {
    /// The holding, if it is ours and has not run out.
    pub held: Option<LeaseHeld>,
    /// Who holds it, as it calls itself; none if nobody does, or it is not known yet.
    pub holder: Option<String>,
    /// The newest term that was seen.
    pub term: u64,
}

/// Tries for a lease, and keeps it, until it is told to stop.
pub struct LeaseTask {
    /// The store.
    kv: Arc<dyn KeyValueStore>,
    /// Whether the engine still holds the store that was opened.
    is_ours: Box<dyn Fn() -> bool + Send + Sync>,
    /// The key of the row.
    key: Vec<u8>,
    /// Decides.
    contender: Contender,
    /// The row as it stood there last: another version may write more of it than this one reads.
    octets: Option<Vec<u8>>,
    /// Tells others.
    state: watch::Sender<LeaseState>,
    /// Asks it to let others have the lease.
    yields: Arc<Notify>,
}

impl LeaseTask {
    /// A lease called `name`, wanted by one that calls itself `holder`; also returns where it is told what
    /// becomes of that.
    pub(super) fn new(
        kv: Arc<dyn KeyValueStore>,
        is_ours: Box<dyn Fn() -> bool + Send + Sync>,
        (name, holder): (&str, &str),
        times: LeaseTimes,
    ) -> (Self, watch::Receiver<LeaseState>) {
        let (state, told) = watch::channel(LeaseState::default());
        let contender = Contender::new(rand::random(), holder, times);
        let (key, yields) = (keys::lease_key(name), Arc::default());
        (Self { kv, is_ours, key, contender, octets: None, state, yields }, told)
    }

    /// Returns what asks the task to let others have the lease, if it holds it.
    pub fn yields(&self) -> Arc<Notify> {
        Arc::clone(&self.yields)
    }

    /// Tries for the lease and keeps it, until `stop`; then gives it back.
    pub async fn run(mut self, stop: CancellationToken) {
        if !self.kv.is_shared() {
            self.state.send_modify(|state| state.held = Some(LeaseHeld::ALWAYS));
            return stop.cancelled().await;
        }
        let yields = self.yields();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = yields.notified() => self.give_way(&stop).await,
                () = self.turn() => {}
            }
        }
        // Bounded: a store that does not answer keeps nobody from ending, and the lease runs out by itself.
        if !matches!(tokio::time::timeout(RESIGN_WITHIN, self.resign()).await, Ok(Ok(()))) {
            tracing::warn!("the lease of the feeds was not given back: it runs out by itself");
        }
    }

    /// Gives the lease back, if it is held, and waits until another has it, or none wants it.
    async fn give_way(&mut self, stop: &CancellationToken) {
        if self.contender.held_until().is_none() {
            return;
        }
        let until = Instant::now() + Duration::from_millis(LEASE_YIELD_MS);
        // What does not succeed runs out: nobody raises the beat meanwhile.
        let _ = tokio::time::timeout(RESIGN_WITHIN, self.resign()).await;
        self.contender.run_out(Instant::now());
        self.tell();
        while !self.contender.is_anothers() && Instant::now() < until {
            let look = Duration::from_millis(LEASE_YIELD_LOOK_MS);
            if stop.run_until_cancelled(tokio::time::sleep(look)).await.is_none() {
                return;
            }
            if let Ok(Ok(row)) = tokio::time::timeout(RESIGN_WITHIN, self.look()).await {
                self.contender.take(row, Instant::now());
                self.tell();
            }
        }
    }

    /// Gives the lease back, if it is held.
    async fn resign(&mut self) -> Result<(), KvError> {
        for _ in 0..2 {
            let Some(row) = self.contender.resign() else { break };
            match self.kv.commit(self.write(&row)).await {
                // A beat was on its way when we were told to stop.
                Err(KvError::Conflict { .. }) => {
                    let row = self.look().await?;
                    self.contender.take(row, Instant::now());
                }
                made => return made.map(|_| ()),
            }
        }
        self.tell();
        Ok(())
    }

    /// Waits, looks at the row or raises its beat, and tells what is known then.
    async fn turn(&mut self) {
        let now = Instant::now();
        let due = self.contender.due(now);
        let until = self.contender.held_until();
        let wait = due.saturating_duration_since(now);
        if run_while_held(until, tokio::time::sleep(wait)).await.is_none() {
            return self.run_out();
        }
        if !(self.is_ours)() {
            // Another store has leases of its own.
            self.contender.fail(Instant::now());
            return self.tell();
        }
        let asked = self.contender.ask(Instant::now());
        let has_asked = asked.is_some();
        let outcome = match asked {
            Some(row) => {
                let writing = self.kv.commit(self.write(&row));
                match run_while_held(until, writing).await {
                    None => return self.run_out(),
                    Some(Ok(_)) => {
                        self.octets = Some(row.encode());
                        Ok(Some(row))
                    }
                    Some(Err(KvError::Conflict { .. } | KvError::OutcomeUnknown)) => {
                        match run_while_held(until, self.look()).await {
                            None => return self.run_out(),
                            Some(looked) => looked,
                        }
                    }
                    Some(Err(error)) => Err(error),
                }
            }
            None => self.look().await,
        };
        match outcome {
            Ok(row) => {
                if !self.contender.take(row, Instant::now()) && has_asked {
                    tracing::warn!(
                        "the store takes longer than the lease of the feeds lasts (--lease-ms)"
                    );
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the lease of the feeds cannot be looked at");
                self.contender.fail(Instant::now());
            }
        }
        self.tell();
    }

    /// Reads the row.
    async fn look(&mut self) -> Result<Option<LeaseRow>, KvError> {
        self.octets = self.kv.get(&self.key).await?.map(|found| found.value);
        self.octets.as_deref().map(LeaseRow::decode).transpose()
    }

    /// Returns the commit that writes a row in the place of the one that was seen.
    fn write(&self, row: &LeaseRow) -> KvCommit {
        let key = self.key.clone();
        let expected = match self.octets.clone() {
            Some(value) => Precondition::HasValue { key: key.clone(), value },
            None => Precondition::Absent { key: key.clone() },
        };
        KvCommit {
            preconditions: vec![expected],
            puts: vec![(key, row.encode())],
            deletes: Vec::new(),
        }
    }

    /// The lease has run out while something was waited for.
    fn run_out(&mut self) {
        tracing::warn!("the store was silent for too long: the lease of the feeds has run out");
        self.contender.run_out(Instant::now());
        self.tell();
    }

    /// Tells what is known.
    fn tell(&self) {
        let now = self.contender.state(Instant::now());
        self.state.send_if_modified(|state| {
            let is_news = *state != now;
            *state = now;
            is_news
        });
    }
}

impl std::fmt::Debug for LeaseTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseTask").field("contender", &self.contender).finish_non_exhaustive()
    }
}

/// Waits for something, but no longer than the lease is held, if it is.
async fn run_while_held<T>(until: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => tokio::time::timeout_at(until.into(), future).await.ok(),
        None => Some(future.await),
    }
}

/// How long giving a lease back may take.
const RESIGN_WITHIN: Duration = Duration::from_secs(1);
