//! Makes the batches of a group: the task that works through a queue, for as long as something waits there.
//!
//! **Invariant:** one task works through a queue at a time; what it has taken is answered, whatever happens.
//! **Not here:** the queues, and what fits into one commit (`store::group`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::dns_store::{DnsStore, back_off};
use super::draft::{Built, Draft, DraftError};
use super::group::{
    GroupAnswer, GroupEntry, Judged, Unmade, answer, attempts_of, end_all, is_plain, refused, told,
};
use super::kv::KvError;
use super::operation::{Batch, StoreError};
use super::remembered::RememberedZone;
use super::view::View;
use crate::limits::BATCH_ATTEMPTS_MAX;
use crate::name::Name;

/// The task that works through a queue; if it ends before its time, those who wait are told.
struct GroupWorker {
    /// The store.
    store: Arc<DnsStore>,
    /// Which queue.
    index: usize,
    /// Whether the queue was found empty.
    is_over: bool,
}

impl DnsStore {
    /// Makes a batch together with others that wait for the same zones.
    pub(super) async fn join_group(&self, batch: Batch) -> GroupAnswer {
        let (Some(index), Some(store)) = (self.group_of(&batch), self.this.upgrade()) else {
            return GroupAnswer::Alone(batch);
        };
        let (answer, is_first) = match self.groups.push(index, batch) {
            Ok(pushed) => pushed,
            Err(batch) => return GroupAnswer::Alone(batch),
        };
        if is_first {
            spawn_worker(store, index);
        }
        told(answer.await)
    }

    /// Returns the queue of a batch, if it may join others: all its zones are known and have one lock.
    fn group_of(&self, batch: &Batch) -> Option<usize> {
        if !batch.preconditions.is_empty() || !batch.operations.iter().all(is_plain) {
            return None;
        }
        let mut zones = self.hints.guess(batch.operations.iter()).into_iter();
        let first = self.lock_index(&zones.next()??);
        let is_first =
            |apex: Option<Name>| apex.is_some_and(|apex| self.lock_index(&apex) == first);
        zones.all(is_first).then_some(first)
    }

    /// Returns the zones of batches that are not remembered, and ought to be.
    fn worth_remembering(&self, batches: &[&Batch]) -> Vec<Name> {
        let operations = batches.iter().flat_map(|batch| &batch.operations);
        let zones: BTreeSet<Name> = self.hints.guess(operations).into_iter().flatten().collect();
        let is_worth = |apex: &Name| {
            self.remembered.with(apex, |_| ()).is_none() && self.remembered.is_worth(apex)
        };
        zones.into_iter().filter(is_worth).collect()
    }

    /// Takes the batches of a group, each if it is not refused; what they ask for was read.
    ///
    /// # Errors
    /// Those of the engine.
    async fn fill_group(
        &self,
        draft: &mut Draft<'_>,
        index: usize,
        batches: &[&Batch],
    ) -> Result<Vec<Judged>, KvError> {
        // Most are not refused: that one can be taken back is seen to only when it must be.
        let mut before = (batches.len() > 1).then(|| draft.mark());
        let mut is_careful = false;
        loop {
            let mut judged = Vec::with_capacity(batches.len());
            for batch in batches {
                let mark = is_careful.then(|| draft.mark());
                let result = self.take(draft, index, batch).await?;
                let is_made = result.is_ok();
                judged.push(result);
                match mark {
                    Some(mark) if !is_made => draft.go_back(mark),
                    None if !is_made => break,
                    Some(_) | None => {}
                }
            }
            let is_whole = is_careful || judged.iter().all(Result::is_ok);
            match before.take() {
                Some(before) if !is_whole => draft.go_back(before),
                Some(_) | None => return Ok(judged),
            }
            is_careful = true;
        }
    }

    /// Takes one batch.
    ///
    /// # Errors
    /// Those of the engine.
    async fn take(
        &self,
        draft: &mut Draft<'_>,
        index: usize,
        batch: &Batch,
    ) -> Result<Judged, KvError> {
        for operation in &batch.operations {
            match draft.apply(operation).await {
                Ok(()) => {}
                Err(DraftError::Refused(error)) => return refused(error),
                Err(DraftError::Unsettled) => return Ok(Err(Unmade::Alone)),
            }
        }
        let settled = match draft.settle().await {
            Ok(settled) => settled,
            Err(error) => return refused(error),
        };
        let touched = draft.touched();
        if touched.iter().any(|apex| self.lock_index(apex) != index) {
            draft.remember(&touched);
            return Ok(Err(Unmade::Alone));
        }
        Ok(Ok(settled))
    }
}

impl GroupWorker {
    /// Works through the queue until it is empty.
    async fn run(mut self) {
        loop {
            let lock = self.store.lock_at(self.index).await;
            let group = self.store.groups.take(self.index, self.store.kv.limits());
            if group.is_empty() {
                self.is_over = true;
                return;
            }
            let batches: Vec<&Batch> = group.iter().map(|entry| &entry.batch).collect();
            match self.build(&batches, attempts_of(&group)).await {
                Ok((judged, built)) => self.make(group, judged, built, lock).await,
                Err(error) => end_all(group, &error),
            }
        }
    }

    /// Builds the commit of a group.
    ///
    /// # Errors
    /// Those of the engine.
    async fn build(
        &self,
        batches: &[&Batch],
        attempts: u32,
    ) -> Result<(Vec<Judged>, Built), StoreError> {
        let store = &self.store;
        store.lineage.check()?;
        let mut is_fresh = !store.kv.is_shared() || attempts > 0;
        if !is_fresh && let Some(built) = self.build_recalled(batches).await? {
            return Ok(built);
        }
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let view = View::open(&*store.kv, &store.in_flight, is_fresh).await?;
            let mut draft = Draft::new(&view, store.digest_key, &store.hints);
            let judged = async {
                draft.read_ahead(batches).await?;
                store.fill_group(&mut draft, self.index, batches).await
            };
            let judged = match judged.await {
                Ok(judged) if is_fresh || judged.iter().all(changes) => judged,
                Err(error) if is_fresh => return Err(error.into()),
                Ok(_) | Err(_) => {
                    is_fresh = true;
                    continue;
                }
            };
            let undigested = draft.undigested();
            if undigested.is_empty() {
                store.check_small(&draft)?;
                let is_any_made = judged.iter().any(Result::is_ok);
                let built =
                    if is_any_made { draft.build(store.kv.limits()) } else { Built::default() };
                return Ok((judged, built));
            }
            drop(draft);
            drop(view);
            store.add_digests_of(&undigested).await?;
        }
        Err(StoreError::Contended { attempts: BATCH_ATTEMPTS_MAX })
    }

    /// Builds the commit of a group on zones that are remembered; `None` if they are not, or if something is
    /// refused or changes nothing: the engine is asked before that is said.
    ///
    /// # Errors
    /// Those of the engine.
    async fn build_recalled(
        &self,
        batches: &[&Batch],
    ) -> Result<Option<(Vec<Judged>, Built)>, StoreError> {
        let store = &self.store;
        // What is not remembered and is read yet must not be older than what is.
        let view = View::open(&*store.kv, &store.in_flight, true).await?;
        for apex in store.worth_remembering(batches) {
            // What cannot be read whole may be read in part, which is all that the batches ask for.
            let zone = RememberedZone::read(&view, &apex).await.unwrap_or_else(|error| {
                tracing::debug!(%apex, %error, "a zone cannot be remembered");
                None
            });
            store.remembered.put(&apex, zone);
        }
        let mut draft = Draft::new(&view, store.digest_key, &store.hints);
        if !draft.recall(batches, &store.remembered)? {
            return Ok(None);
        }
        let judged = store.fill_group(&mut draft, self.index, batches).await?;
        let is_good = judged.iter().all(changes) && draft.undigested().is_empty();
        store.check_small(&draft)?;
        Ok(is_good.then(|| (judged, draft.build(store.kv.limits()))))
    }

    /// Hands the commit of a group over, and sees to it that each of it is answered.
    async fn make(
        &self,
        group: Vec<GroupEntry>,
        judged: Vec<Judged>,
        built: Built,
        lock: OwnedMutexGuard<()>,
    ) {
        let Built { commit, zones, is_recalled, .. } = built;
        if commit.puts.is_empty() && commit.deletes.is_empty() {
            return match self.store.revision().await {
                Ok(revision) => answer(group, judged, revision, &BTreeMap::new()),
                Err(error) => end_all(group, &error),
            };
        }
        let flight = self.store.in_flight.register(&commit);
        let noted = self.store.remember(&commit);
        let (store, index) = (Arc::clone(&self.store), self.index);
        // In a task of its own: the next group is built on this one while it is in flight.
        tokio::spawn(async move {
            let made = async {
                let pending = store.kv.submit(commit).await?;
                drop(lock);
                pending.wait().await
            };
            let made = made.await;
            drop(flight);
            if let Err(error) = &made {
                let is_late = matches!(error, KvError::Conflict { .. });
                store.remembered.forget(&noted, is_late && is_recalled);
            }
            match made {
                Ok(revision) => {
                    answer(group, judged, revision, &zones.into_iter().collect());
                }
                Err(KvError::Conflict { .. }) => store.make_again(index, group).await,
                Err(error) => end_all(group, &error.into()),
            }
        });
    }
}

impl DnsStore {
    /// Puts a group that others got ahead of in front of the queue again.
    async fn make_again(self: &Arc<Self>, index: usize, group: Vec<GroupEntry>) {
        back_off(attempts_of(&group) + 1).await;
        if self.groups.put_back(index, group) {
            spawn_worker(Arc::clone(self), index);
        }
    }
}

impl Drop for GroupWorker {
    fn drop(&mut self) {
        if !self.is_over {
            self.store.groups.forget(self.index);
        }
    }
}

/// Whether a batch changes something.
fn changes(judged: &Judged) -> bool {
    judged.as_ref().is_ok_and(|settled| settled.changed > 0)
}

/// Starts a task that works through a queue.
fn spawn_worker(store: Arc<DnsStore>, index: usize) {
    tokio::spawn(GroupWorker { store, index, is_over: false }.run());
}
