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
//! **Not here:** the task that makes them (`store::group_worker`), the steps of a batch (`store::draft`),
//! batches that are made alone (`store::dns_store`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::draft::Settled;
use super::kv::{KvError, KvLimits};
use super::operation::{Batch, Committed, Operation, StoreError};
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
pub(super) struct GroupEntry {
    /// The batch.
    pub(super) batch: Batch,
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
pub(super) enum Unmade {
    /// The asker must be told.
    Refused(StoreError),
    /// It must be made alone.
    Alone,
}

/// What a batch comes to in its group's commit.
pub(super) type Judged = Result<Settled, Unmade>;

impl GroupQueues {
    /// Makes empty queues.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    /// Puts a batch into a queue; also says whether nobody works through it yet. A queue that is full gives
    /// the batch back.
    pub(super) fn push(
        &self,
        index: usize,
        batch: Batch,
    ) -> Result<(oneshot::Receiver<GroupAnswer>, bool), Batch> {
        let mut queue = self.queue(index);
        if queue.waiting.len() >= GROUP_QUEUE_MAX {
            return Err(batch);
        }
        let (reply, answer) = oneshot::channel();
        queue.waiting.push_back(GroupEntry { batch, attempts: 0, reply });
        Ok((answer, !std::mem::replace(&mut queue.is_worked, true)))
    }

    /// Puts a group that others got ahead of in front of its queue again; says whether nobody works through
    /// that.
    pub(super) fn put_back(&self, index: usize, group: Vec<GroupEntry>) -> bool {
        let mut queue = self.queue(index);
        for mut entry in group.into_iter().rev() {
            entry.attempts += 1;
            if entry.attempts >= BATCH_ATTEMPTS_MAX {
                let attempts = BATCH_ATTEMPTS_MAX;
                end(entry, GroupAnswer::Ended(Err(StoreError::Contended { attempts })));
            } else {
                queue.waiting.push_front(entry);
            }
        }
        !std::mem::replace(&mut queue.is_worked, true)
    }

    /// Forgets a queue that nobody works through any more: those who wait are told so, and that nothing of
    /// theirs was made.
    pub(super) fn forget(&self, index: usize) {
        let mut queue = self.queue(index);
        for entry in std::mem::take(&mut queue.waiting) {
            end(entry, GroupAnswer::Ended(Err(KvError::Closed.into())));
        }
        queue.is_worked = false;
    }

    /// Locks a queue; it is whole even if a holder panicked.
    fn queue(&self, index: usize) -> MutexGuard<'_, GroupQueue> {
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the oldest that fit into one commit; without any, the queue is no longer worked through.
    pub(super) fn take(&self, index: usize, limits: KvLimits) -> Vec<GroupEntry> {
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

/// Whether a step may be made together with those of others: it changes an RRset, and no more.
pub(super) fn is_plain(operation: &Operation) -> bool {
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
pub(super) fn refused(error: StoreError) -> Result<Judged, KvError> {
    match error {
        StoreError::Kv(error) => Err(error),
        error => Ok(Err(Unmade::Refused(error))),
    }
}

/// Answers all of a group whose commit was made at `revision`, or which changes nothing.
pub(super) fn answer(
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

/// Answers all of a group that was not made. If it is the fault of one, each is made alone: of what the engine
/// refuses whatever is asked, that would only be many errors in the place of one.
pub(super) fn end_all(group: Vec<GroupEntry>, error: &StoreError) {
    // Made alone, it is staged (`store::large`).
    let is_too_large = matches!(
        error,
        StoreError::Kv(KvError::TooManyOperations { .. } | KvError::TooManyOctets { .. })
    );
    // The others of the group may be about other rows.
    let is_of_rows =
        matches!(error, StoreError::Kv(KvError::Damaged { .. } | KvError::Unreadable { .. }));
    let is_of_one = is_too_large || (is_of_rows && group.len() > 1);
    for entry in group {
        if is_of_one {
            let GroupEntry { batch, reply, .. } = entry;
            let _ = reply.send(GroupAnswer::Alone(batch));
        } else {
            end(entry, GroupAnswer::Ended(Err(error.clone())));
        }
    }
}

/// What became of a batch, as its asker is told.
///
/// Where nobody answered, the task that had taken the batch has died: it may have handed the commit over.
pub(super) fn told(answer: Result<GroupAnswer, oneshot::error::RecvError>) -> GroupAnswer {
    answer.unwrap_or_else(|_| GroupAnswer::Ended(Err(KvError::OutcomeUnknown.into())))
}

/// How often others got ahead of a group.
pub(super) fn attempts_of(group: &[GroupEntry]) -> u32 {
    group.iter().map(|entry| entry.attempts).max().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: KvLimits = KvLimits { operations_max: 100, octets_max: 1 << 20 };

    /// Takes two batches from a queue, and returns them with what their askers wait for.
    fn two() -> (Vec<GroupEntry>, Vec<oneshot::Receiver<GroupAnswer>>) {
        let queues = GroupQueues::new(1);
        let asked = (0..2).map(|_| queues.push(0, Batch::default()).unwrap().0).collect();
        (queues.take(0, LIMITS), asked)
    }

    #[tokio::test]
    async fn what_was_taken_and_never_answered_may_be_made_and_what_waited_is_not() {
        let queues = GroupQueues::new(1);
        let (taken, _) = queues.push(0, Batch::default()).unwrap();
        let group = queues.take(0, LIMITS);
        let (waiting, _) = queues.push(0, Batch::default()).unwrap();
        drop(group);
        queues.forget(0);
        let error = |answer| match told(answer) {
            GroupAnswer::Ended(Err(StoreError::Kv(error))) => error,
            answer => panic!("{answer:?}"),
        };
        assert!(matches!(error(taken.await), KvError::OutcomeUnknown));
        assert!(matches!(error(waiting.await), KvError::Closed));
    }

    #[test]
    fn only_what_may_be_the_fault_of_one_is_made_one_by_one() {
        let (key, operations_max, octets_max) = (Vec::new(), 1, 1);
        let of_one = [
            KvError::TooManyOperations { operations: 2, operations_max },
            KvError::TooManyOctets { octets: 2, octets_max },
            KvError::Damaged { what: "a row", key },
            KvError::Unreadable { what: "a row" },
        ];
        let of_all = [
            KvError::OtherStore,
            KvError::WentBack { acknowledged: 2, found: 1 },
            KvError::OutcomeUnknown,
            KvError::Closed,
            KvError::Unavailable { reason: "gone".into() },
            KvError::engine(std::io::Error::other("full")),
        ];
        let all = of_one.map(|error| (error, true)).into_iter();
        for (error, is_of_one) in all.chain(of_all.map(|error| (error, false))) {
            let (group, asked) = two();
            end_all(group, &error.clone().into());
            for mut answer in asked {
                let is_alone = matches!(answer.try_recv().unwrap(), GroupAnswer::Alone(_));
                assert_eq!(is_alone, is_of_one, "{error}");
            }
        }
    }
}
