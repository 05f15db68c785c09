//! Batches about the same zones that wait for each other are made together, in one commit.
//!
//! An engine that is far away makes so many commits a second, however much stands in each. While one is
//! on its way, what comes meanwhile waits in a queue, and goes with the next.
//!
//! Only batches of RRsets join, and only those that expect nothing: what one expects another batch of the
//! same commit may change.
//!
//! **Invariant:** a batch is judged as if those before it in the queue were made; one that is refused
//! leaves the others as they are; each is answered once what became of the commit is known.
//! **Not here:** the steps of a batch (`store::draft`), batches that are made alone (`store::dns_store`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, oneshot};

use super::dns_store::{DnsStore, back_off};
use super::draft::{Built, Draft, DraftError, Settled};
use super::kv::{KvError, KvLimits};
use super::operation::{Batch, Committed, Operation, StoreError};
use super::view::View;
use crate::limits::{BATCH_ATTEMPTS_MAX, GROUP_BATCHES_MAX, GROUP_QUEUE_MAX};
use crate::name::Name;
use crate::record::{RecordType, Rrset};

/// The queues, one for each lock of zones.
#[derive(Debug)]
pub(super) struct GroupQueues(Vec<Mutex<GroupQueue>>);

/// Batches that wait.
#[derive(Debug, Default)]
struct GroupQueue {
    /// What waits, the oldest first.
    waiting: VecDeque<GroupEntry>,
    /// Whether a task is there that works through it.
    is_worked: bool,
}

/// A batch that waits.
#[derive(Debug)]
struct GroupEntry {
    /// The batch.
    batch: Batch,
    /// How often others got ahead of it.
    attempts: u32,
    /// Who asked.
    reply: oneshot::Sender<GroupAnswer>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum GroupAnswer {
    /// It was made or refused.
    Ended(Result<Committed, StoreError>),
    /// It cannot be made together with others.
    Alone(Batch),
}

/// Why a batch is not part of its group's commit.
enum Unmade {
    /// The asker must be told.
    Refused(StoreError),
    /// It must be made alone.
    Alone,
}

/// What a batch comes to in its group's commit.
type Judged = Result<Settled, Unmade>;

/// The task that works through a queue; if it ends before its time, those who wait are told.
struct GroupWorker {
    /// The store.
    store: Arc<DnsStore>,
    /// Which queue.
    index: usize,
    /// Whether the queue was found empty.
    is_over: bool,
}

impl GroupQueues {
    /// Makes empty queues.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    /// Locks a queue; it is whole even if a holder panicked.
    fn queue(&self, index: usize) -> MutexGuard<'_, GroupQueue> {
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the oldest that fit into one commit; without any, the queue is no longer worked through.
    fn take(&self, index: usize, limits: KvLimits) -> Vec<GroupEntry> {
        let operations_max = (limits.operations_max as usize).saturating_sub(OPERATIONS_SPARE);
        let octets_max = usize::try_from(limits.octets_max / OCTETS_PARTS).unwrap_or(usize::MAX);
        let mut queue = self.queue(index);
        let (mut group, mut operations, mut octets) = (Vec::new(), 0, 0);
        while let Some(entry) = queue.waiting.pop_front() {
            if entry.reply.is_closed() {
                continue; // whoever asked has gone
            }
            operations += entry.batch.operations.len();
            octets += entry.batch.operations.iter().map(octets_of).sum::<usize>();
            let is_full = group.len() >= GROUP_BATCHES_MAX
                || operations > operations_max
                || octets > octets_max;
            if is_full && !group.is_empty() {
                queue.waiting.push_front(entry);
                break;
            }
            group.push(entry);
        }
        queue.is_worked = !group.is_empty();
        group
    }
}

impl DnsStore {
    /// Makes a batch together with others that wait for the same zones.
    pub(super) async fn join_group(&self, batch: Batch) -> GroupAnswer {
        let (Some(index), Some(store)) = (self.group_of(&batch), self.this.upgrade()) else {
            return GroupAnswer::Alone(batch);
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = self.groups.queue(index);
            if queue.waiting.len() >= GROUP_QUEUE_MAX {
                return GroupAnswer::Alone(batch);
            }
            queue.waiting.push_back(GroupEntry { batch, attempts: 0, reply });
            if !std::mem::replace(&mut queue.is_worked, true) {
                spawn_worker(store, index);
            }
        }
        answer.await.unwrap_or_else(|_| GroupAnswer::Ended(Err(KvError::Closed.into())))
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

    /// Takes the batches of a group, each if it is not refused.
    ///
    /// # Errors
    /// Those of the engine.
    async fn fill_group(
        &self,
        draft: &mut Draft<'_>,
        index: usize,
        batches: &[&Batch],
    ) -> Result<Vec<Judged>, KvError> {
        draft.read_ahead(batches).await?;
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
            match self.build(&batches).await {
                Ok((judged, built)) => self.make(group, judged, built, lock).await,
                Err(error) => end_all(group, error),
            }
        }
    }

    /// Builds the commit of a group.
    ///
    /// # Errors
    /// Those of the engine.
    async fn build(&self, batches: &[&Batch]) -> Result<(Vec<Judged>, Built), StoreError> {
        let store = &self.store;
        store.lineage.check()?;
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let view = View::open(&*store.kv, &store.in_flight).await?;
            let mut draft = Draft::new(&view, store);
            let judged = store.fill_group(&mut draft, self.index, batches).await?;
            let undigested = draft.undigested();
            if undigested.is_empty() {
                let is_any_made = judged.iter().any(Result::is_ok);
                let built = if is_any_made { draft.build() } else { Built::default() };
                return Ok((judged, built));
            }
            drop(draft);
            drop(view);
            store.add_digests_of(&undigested).await?;
        }
        Err(StoreError::Contended { attempts: BATCH_ATTEMPTS_MAX })
    }

    /// Hands the commit of a group over, and sees to it that each of it is answered.
    async fn make(
        &self,
        group: Vec<GroupEntry>,
        judged: Vec<Judged>,
        built: Built,
        lock: OwnedMutexGuard<()>,
    ) {
        let Built { commit, zones, .. } = built;
        if commit.puts.is_empty() && commit.deletes.is_empty() {
            return match self.store.revision().await {
                Ok(revision) => answer(group, judged, revision, &BTreeMap::new()),
                Err(error) => end_all(group, error),
            };
        }
        let flight = self.store.in_flight.register(&commit);
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
            match made {
                Ok(revision) => {
                    answer(group, judged, revision, &zones.into_iter().collect());
                }
                Err(KvError::Conflict { .. }) => store.make_again(index, group).await,
                Err(error) => end_all(group, error.into()),
            }
        });
    }
}

impl DnsStore {
    /// Puts a group that others got ahead of in front of the queue again.
    async fn make_again(self: &Arc<Self>, index: usize, group: Vec<GroupEntry>) {
        let attempts = group.iter().map(|entry| entry.attempts).max().unwrap_or(0) + 1;
        back_off(attempts).await;
        let mut queue = self.groups.queue(index);
        for mut entry in group.into_iter().rev() {
            entry.attempts += 1;
            if entry.attempts >= BATCH_ATTEMPTS_MAX {
                let attempts = BATCH_ATTEMPTS_MAX;
                end(entry, GroupAnswer::Ended(Err(StoreError::Contended { attempts })));
            } else {
                queue.waiting.push_front(entry);
            }
        }
        if !std::mem::replace(&mut queue.is_worked, true) {
            spawn_worker(Arc::clone(self), index);
        }
    }
}

impl Drop for GroupWorker {
    fn drop(&mut self) {
        if !self.is_over {
            let mut queue = self.store.groups.queue(self.index);
            queue.waiting.clear();
            queue.is_worked = false;
        }
    }
}

/// Starts a task that works through a queue.
fn spawn_worker(store: Arc<DnsStore>, index: usize) {
    tokio::spawn(GroupWorker { store, index, is_over: false }.run());
}

/// Whether a step may be made together with those of others: it changes an RRset, and no more.
fn is_plain(operation: &Operation) -> bool {
    let rtype = match operation {
        Operation::PutRrset(rrset) | Operation::PutRrsetIn { rrset, .. } => rrset.rtype,
        Operation::DeleteRrset { rtype, .. }
        | Operation::DeleteRrsetIn { rtype, .. }
        | Operation::ExtendRrsetIn { rtype, .. }
        | Operation::PruneRrsetIn { rtype, .. } => *rtype,
        Operation::PutZone(_) | Operation::DeleteZone { .. } => return false,
    };
    rtype != RecordType::SOA
}

/// Returns how many octets a step may add to a commit, more or less.
fn octets_of(operation: &Operation) -> usize {
    let of_rrset = |rrset: &Rrset| rrset.owner.as_wire().len() + rrset.rdata.as_octets().len();
    let octets = match operation {
        Operation::PutRrset(rrset) | Operation::PutRrsetIn { rrset, .. } => of_rrset(rrset),
        Operation::ExtendRrsetIn { owner, records, .. } => {
            owner.as_wire().len() + records.iter().map(Vec::len).sum::<usize>()
        }
        Operation::DeleteRrset { owner, .. }
        | Operation::DeleteRrsetIn { owner, .. }
        | Operation::PruneRrsetIn { owner, .. } => owner.as_wire().len(),
        Operation::PutZone(_) | Operation::DeleteZone { .. } => 0,
    };
    octets + ROW_OCTETS
}

/// Sorts an error of a step: those of the engine are of the whole group.
fn refused(error: StoreError) -> Result<Judged, KvError> {
    match error {
        StoreError::Kv(error) => Err(error),
        error => Ok(Err(Unmade::Refused(error))),
    }
}

/// Answers all of a group whose commit was made at `revision`, or which changes nothing.
fn answer(
    group: Vec<GroupEntry>,
    judged: Vec<Judged>,
    revision: u64,
    serials: &BTreeMap<Name, u32>,
) {
    debug_assert_eq!(group.len(), judged.len(), "each batch is judged");
    for (entry, judged) in group.into_iter().zip(judged) {
        let ended = match judged {
            Ok(Settled { changed, zones }) => {
                let serial = |apex: Name| serials.get(&apex).map(|serial| (apex, *serial));
                let zones = zones.into_iter().filter_map(serial).collect();
                Ok(Committed { revision, changed, zones })
            }
            Err(Unmade::Refused(error)) => Err(error),
            Err(Unmade::Alone) => {
                let GroupEntry { batch, reply, .. } = entry;
                let _ = reply.send(GroupAnswer::Alone(batch));
                continue;
            }
        };
        end(entry, GroupAnswer::Ended(ended));
    }
}

/// Answers all of a group that was not made. If it may be the fault of one, each is made alone.
fn end_all(group: Vec<GroupEntry>, error: StoreError) {
    let is_of_all = matches!(
        error,
        StoreError::Contended { .. }
            | StoreError::Kv(
                KvError::Unavailable { .. } | KvError::OutcomeUnknown | KvError::Closed
            )
    );
    let is_one = group.len() == 1;
    for entry in group {
        if is_of_all || is_one {
            end(entry, GroupAnswer::Ended(Err(error.clone())));
        } else {
            let GroupEntry { batch, reply, .. } = entry;
            let _ = reply.send(GroupAnswer::Alone(batch));
        }
    }
}

/// Answers one; whoever asked may have gone.
fn end(entry: GroupEntry, answer: GroupAnswer) {
    let _ = entry.reply.send(answer);
}

/// Operations of a commit that are not of a row: the objects of the zones, what they are expected to be,
/// the journal.
const OPERATIONS_SPARE: usize = 16;
/// Rows take a part of a commit's octets; they stand in the journal again, as do the zones.
const OCTETS_PARTS: u64 = 4;
/// Octets of a row besides owner and RDATA.
const ROW_OCTETS: usize = 64;
