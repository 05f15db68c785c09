//! Commits on etcd, each exactly once, also where the reply is lost.
//!
//! A commit holds a *slot*, a key of this process, for as long as it is on its way. Its transaction
//! expects the slot to be as the last commit in it left it, and writes its own number there. When
//! the reply is lost, the slot is *fenced*: another number is written, under the same expectation.
//! Either the fence is found to stand, and the lost transaction can never be carried out any more,
//! or the commit's number stands there, and the slot's revision is that of the commit.
//!
//! A slot's value: number of the commit (64 bits), time in milliseconds since 1970 (64 bits); the time is for
//! people, and for older versions, which sweep by it.
//!
//! **Invariant:** a slot is used by one commit at a time; a slot in doubt is never used again.
//! **Not here:** which requests are repeated for reading (`etcd::connection`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::sync::Semaphore;

use super::connection::{Failure, PAUSE};
use super::{SLOTS, Shared, header_revision, unsigned};
use crate::clock::now_ms;
use crate::limits::{ETCD_COMMITS_IN_FLIGHT_MAX, ETCD_RETRY_MS_MAX, ETCD_SLOT_AGE_MS_MAX};
use crate::store::kv::{KvCommit, KvError, Precondition};
use crate::store::unchanged::Unchanged;

/// The slots of this process.
#[derive(Debug)]
pub(super) struct Slots {
    /// Tells the slots of this process from those of others.
    writer: u64,
    /// How many commits may be on their way.
    permits: Semaphore,
    /// The slots that no commit holds, and how many were made.
    state: Mutex<SlotState>,
}

/// The slots that no commit holds.
#[derive(Debug, Default)]
struct SlotState {
    /// Free slots.
    free: Vec<Slot>,
    /// How many were made.
    count: u32,
    /// The number of the newest commit or fence.
    newest: u64,
}

/// One slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Which one.
    index: u32,
    /// The revision that wrote it, 0 if it does not exist.
    revision: i64,
}

/// What stands in a slot.
struct Mark {
    /// The number of the commit or fence.
    number: u64,
    /// The revision that wrote it.
    revision: i64,
}

/// What one attempt came to.
enum Attempt {
    /// The commit stands, at this revision.
    Made(i64),
    /// A precondition does not hold.
    Refused,
    /// It was not carried out and never will be; the slot has changed.
    Again,
}

impl Slots {
    /// Makes the slots of a process; each comes to be in etcd with its first commit.
    pub(super) fn new() -> Self {
        Self {
            writer: rand::random(),
            permits: Semaphore::new(ETCD_COMMITS_IN_FLIGHT_MAX),
            state: Mutex::default(),
        }
    }

    /// Takes a free slot, or makes one.
    fn take(&self) -> Slot {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.pop().unwrap_or_else(|| {
            state.count += 1;
            Slot { index: state.count, revision: 0 }
        })
    }

    /// Gives a slot back.
    fn give(&self, slot: Slot) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).free.push(slot);
    }

    /// Returns a number that no commit or fence of this process had.
    fn number(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.newest += 1;
        state.newest
    }
}

/// Makes a commit and returns its revision.
///
/// # Errors
/// [`KvError::Conflict`] (which precondition it was is not known here: 0),
/// [`KvError::OutcomeUnknown`] if no member answered for too long, [`KvError::Engine`].
pub(super) async fn make(shared: &Shared, commit: &KvCommit) -> Result<u64, KvError> {
    let permit = shared.slots.permits.acquire().await.map_err(|_| KvError::Closed)?;
    let mut slot = shared.slots.take();
    let deadline = Instant::now() + Duration::from_millis(ETCD_RETRY_MS_MAX);
    let outcome = loop {
        match attempt(shared, commit, &mut slot, deadline).await {
            Ok(Attempt::Made(revision)) => break Ok(unsigned(revision)),
            Ok(Attempt::Refused) => break Err(KvError::Conflict { index: 0 }),
            Ok(Attempt::Again) if Instant::now() > deadline => break Err(KvError::Closed),
            Ok(Attempt::Again) => {}
            Err(error) => break Err(error),
        }
    };
    if !matches!(outcome, Err(KvError::OutcomeUnknown)) {
        shared.slots.give(slot);
    }
    drop(permit);
    outcome
}

/// Makes one attempt, and finds out what became of it.
async fn attempt(
    shared: &Shared,
    commit: &KvCommit,
    slot: &mut Slot,
    deadline: Instant,
) -> Result<Attempt, KvError> {
    let number = shared.slots.number();
    let txn = build_txn(shared, commit, slot, number);
    let response = match shared.connection.write_txn(txn).await {
        Ok(response) => response,
        Err(Failure::Final(error)) => return Err(error),
        Err(Failure::Unsure(_)) => return fence(shared, slot, number, deadline).await,
    };
    if response.succeeded() {
        slot.revision = header_revision(response.header())?;
        return Ok(Attempt::Made(slot.revision));
    }
    match read_mark(&response) {
        // As it was: one of the commit's own preconditions failed.
        Some(mark) if mark.revision == slot.revision => Ok(Attempt::Refused),
        None if slot.revision == 0 => Ok(Attempt::Refused),
        // Swept as one of a process that is gone; nothing else writes it.
        found => {
            slot.revision = found.map_or(0, |mark| mark.revision);
            Ok(Attempt::Again)
        }
    }
}

/// Finds out what became of a transaction whose reply was lost, and keeps it from coming later.
async fn fence(
    shared: &Shared,
    slot: &mut Slot,
    number: u64,
    deadline: Instant,
) -> Result<Attempt, KvError> {
    let key = slot_key(shared, slot);
    loop {
        let fence = shared.slots.number();
        let expected = Compare::mod_revision(key.clone(), CompareOp::Equal, slot.revision);
        let put = TxnOp::put(key.clone(), mark_value(fence), None);
        let read = TxnOp::get(key.clone(), None);
        let txn = Txn::new().when([expected]).and_then([put]).or_else([read]);
        match shared.connection.write_txn(txn).await {
            Ok(response) if response.succeeded() => {
                slot.revision = header_revision(response.header())?;
                return Ok(Attempt::Again);
            }
            Ok(response) => {
                let mark = read_mark(&response);
                slot.revision = mark.as_ref().map_or(0, |mark| mark.revision);
                return Ok(match mark {
                    Some(mark) if mark.number == number => Attempt::Made(mark.revision),
                    // So late even a mark of the lost transaction may have been swept.
                    None if Instant::now() > deadline => return Err(KvError::OutcomeUnknown),
                    // A fence of an earlier round stands here, or the slot was swept: either way
                    // what the lost transaction expects is gone for good.
                    _ => Attempt::Again,
                });
            }
            Err(Failure::Final(_)) => return Err(KvError::OutcomeUnknown),
            Err(Failure::Unsure(_)) if Instant::now() > deadline => {
                return Err(KvError::OutcomeUnknown);
            }
            Err(Failure::Unsure(_)) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Makes the transaction of a commit in a slot.
fn build_txn(shared: &Shared, commit: &KvCommit, slot: &Slot, number: u64) -> Txn {
    let slot_key = slot_key(shared, slot);
    let mut compares = Vec::with_capacity(commit.preconditions.len() + 1);
    compares.push(Compare::mod_revision(slot_key.clone(), CompareOp::Equal, slot.revision));
    compares.extend(commit.preconditions.iter().map(|expected| compare(shared, expected)));
    let mut operations = Vec::with_capacity(commit.puts.len() + commit.deletes.len() + 1);
    operations.push(TxnOp::put(slot_key.clone(), mark_value(number), None));
    for (key, value) in &commit.puts {
        operations.push(TxnOp::put(shared.key(key), value.clone(), None));
    }
    for key in &commit.deletes {
        operations.push(TxnOp::delete(shared.key(key), None));
    }
    let read = TxnOp::get(slot_key, None);
    Txn::new().when(compares).and_then(operations).or_else([read])
}

/// Makes the comparison of a precondition.
fn compare(shared: &Shared, expected: &Precondition) -> Compare {
    let signed = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
    match expected {
        Precondition::Absent { key } => {
            Compare::create_revision(shared.key(key), CompareOp::Equal, 0)
        }
        Precondition::AtRevision { key, revision } => {
            Compare::mod_revision(shared.key(key), CompareOp::Equal, signed(*revision))
        }
        Precondition::HasValue { key, value } => {
            Compare::value(shared.key(key), CompareOp::Equal, value.clone())
        }
        // Every commit of ours leaves a mark, so no mark may be newer.
        Precondition::UnchangedSince { revision } => {
            let (start, end) = shared.slot_range();
            let later = signed(revision.saturating_add(1));
            Compare::mod_revision(start, CompareOp::Less, later).with_range(end)
        }
    }
}

/// Returns the mark that the failed branch of a transaction has read.
fn read_mark(response: &TxnResponse) -> Option<Mark> {
    let found = response.op_responses().into_iter().next()?;
    let TxnOpResponse::Get(found) = found else { return None };
    let kv = found.kvs().first()?;
    let number = kv.value().first_chunk::<8>().map(|octets| u64::from_be_bytes(*octets))?;
    Some(Mark { number, revision: kv.mod_revision() })
}

/// Returns the key of a slot.
fn slot_key(shared: &Shared, slot: &Slot) -> Vec<u8> {
    let writer = shared.slots.writer.to_be_bytes();
    [&shared.prefix[..], &[SLOTS], &writer, &slot.index.to_be_bytes()].concat()
}

/// Returns the value of a mark that is made now.
fn mark_value(number: u64) -> Vec<u8> {
    [number.to_be_bytes(), now_ms().to_be_bytes()].concat()
}

/// Deletes the slots of processes that are gone: those of others that we have seen unchanged for a long time.
/// The newest stays, for it tells the store's revision.
///
/// No clock but ours has a say, and none of a commit whose reply was lost is among them: its writer has long
/// given up by then.
pub(super) async fn sweep_slots(shared: &Shared, unchanged: &mut Unchanged) -> Result<(), KvError> {
    let (start, end) = shared.slot_range();
    let found = shared.connection.get(start.clone(), GetOptions::new().with_range(end)).await?;
    let found: Vec<_> =
        found.kvs().iter().map(|kv| (kv.key().to_vec(), unsigned(kv.mod_revision()))).collect();
    let newest = found.iter().map(|(_, revision)| *revision).max();
    let own = [start, shared.slots.writer.to_be_bytes().to_vec()].concat();
    let age = Duration::from_millis(ETCD_SLOT_AGE_MS_MAX);
    for (key, revision) in unchanged.look(Instant::now(), found, age) {
        if key.starts_with(&own) || Some(revision) == newest {
            continue;
        }
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        let expected = Compare::mod_revision(key.clone(), CompareOp::Equal, revision);
        let txn = Txn::new().when([expected]).and_then([TxnOp::delete(key, None)]);
        if let Err(Failure::Final(error) | Failure::Unsure(error)) =
            shared.connection.write_txn(txn).await
        {
            tracing::debug!(%error, "an old slot stays until the next look");
        }
    }
    Ok(())
}
