//! [`DnsStore`]: zones and records over any engine.
//!
//! A batch is read, checked and built into one commit that expects every zone it touches to be as
//! it was read. Writers of one process queue up by zone: those that wait together are made together
//! (`store::group`), and the next ones build on commits in flight, so that many of them share one
//! fsync. Writers of other processes are noticed by the engine, and the batch is built anew.
//!
//! **Invariant:** a batch is applied once or not at all.
//! **Not here:** the rules (`store::rules`), reading (`store::read`), imports (`store::import`), histories
//! (`store::histories`).

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Weak};

use tokio::sync::{OwnedMutexGuard, watch};

use super::backup::{Backup, BackupError};
use super::draft::{Built, Draft, DraftError, Settled, Staged};
use super::group::{GroupAnswer, GroupQueues};
use super::hints::ZoneHints;
use super::history::{Freeze, History};
use super::keys;
use super::kv::{KeyValueStore, KvCommit, KvError};
use super::lease::{LeaseState, LeaseTask, LeaseTimes};
use super::lineage::Lineage;
use super::operation::{Batch, Committed, Expectation, Operation, StoreError};
use super::packs::PackedStore;
use super::recounts::Recounts;
use super::remembered::Remembered;
use super::report::EngineReport;
use super::sweep_call::SweepCall;
use super::view::{InFlight, View};
use super::zone_settings::ZoneSettings;
use crate::feed::digest::DigestKey;
use crate::limits::{
    BATCH_ATTEMPTS_MAX, BATCH_OPERATIONS_MAX, LARGE_BATCH_ATTEMPTS_MAX, ZONE_LOCKS,
};
use crate::name::Name;
use crate::record::{RecordType, Rrset};

/// Zones and records. Cheap to share behind an [`Arc`]; every method may run concurrently.
pub struct DnsStore {
    /// The engine, its packed rows as if each stood alone.
    pub(super) kv: Arc<dyn KeyValueStore>,
    /// The engine as it is.
    pub(super) engine: Arc<dyn KeyValueStore>,
    /// The key of the digests; every history of a store has the same.
    pub(super) digest_key: DigestKey,
    /// Commits that are not yet durable.
    pub(super) in_flight: Arc<InFlight>,
    /// Batches that wait for a lock.
    pub(super) groups: GroupQueues,
    /// One lock for every zone whose hash it gets.
    locks: Vec<Arc<tokio::sync::Mutex<()>>>,
    /// Spreads apexes over the locks.
    hasher: std::hash::RandomState,
    /// Zones that batches were about: a guess of which locks the next one needs.
    pub(super) hints: ZoneHints,
    /// Zones as the newest commit left them.
    pub(super) remembered: Remembered,
    /// What counting zones anew has found.
    pub(super) recounts: Recounts,
    /// Which line of commits the engine holds.
    pub(super) lineage: Lineage,
    /// Wakes the sweep.
    pub(super) sweeps: SweepCall,
    /// Milliseconds for which rows are kept that a zone has left.
    pub(super) left_kept_ms: u64,
    /// Whether the feeds are frozen.
    pub(super) freezing: watch::Sender<Option<Freeze>>,
    /// The store itself, for the sweep, which must not keep it open.
    pub(super) this: Weak<Self>,
}

/// What one commit is to do.
enum Work<'a> {
    /// A caller's batch.
    Batch(&'a Batch),
    /// The last step of an import.
    Replace {
        /// The zone.
        apex: &'a Name,
        /// Its settings, if they are to change.
        settings: Option<&'a ZoneSettings>,
        /// Its new rows.
        staged: &'a Staged,
        /// What must hold before it.
        preconditions: &'a [Expectation],
    },
}

impl DnsStore {
    /// Opens the store in an engine, and begins to sweep what imports left behind. What zones leave is not kept.
    ///
    /// The first opening begins the store's history; zones that an older version made get their
    /// digests.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn open(kv: Arc<dyn KeyValueStore>) -> Result<Arc<Self>, StoreError> {
        Self::open_keeping(kv, 0).await
    }

    /// As [`DnsStore::open`], and has rows that zones leave kept for so many milliseconds at most.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn open_keeping(
        kv: Arc<dyn KeyValueStore>,
        left_kept_ms: u64,
    ) -> Result<Arc<Self>, StoreError> {
        let History { digest_key, .. } = History::read_or_begin(&*kv).await?;
        let store = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            kv: Arc::new(PackedStore::new(Arc::clone(&kv))),
            engine: kv,
            digest_key,
            in_flight: Arc::default(),
            groups: GroupQueues::new(ZONE_LOCKS),
            locks: (0..ZONE_LOCKS).map(|_| Arc::default()).collect(),
            hasher: std::hash::RandomState::new(),
            hints: ZoneHints::default(),
            remembered: Remembered::default(),
            recounts: Recounts::default(),
            lineage: Lineage::default(),
            sweeps: SweepCall::default(),
            left_kept_ms,
            freezing: watch::Sender::new(None),
        });
        store.add_digests().await?;
        store.spawn_sweep();
        Ok(store)
    }

    /// Returns the revision of the newest commit that changed a zone or a record, 0 without any.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        Ok(self.kv.get(keys::JOURNAL).await?.map_or(0, |found| found.revision))
    }

    /// Whether other processes may have the store open, too.
    pub fn is_shared(&self) -> bool {
        self.kv.is_shared()
    }

    /// Prepares to try for the lease called `name`, as one that calls itself `holder`; also returns where it is
    /// told what becomes of that.
    pub fn lease(
        &self,
        name: &str,
        holder: &str,
        times: LeaseTimes,
    ) -> (LeaseTask, watch::Receiver<LeaseState>) {
        let this = self.this.clone();
        let is_ours = move || this.upgrade().is_some_and(|store| store.lineage.check().is_ok());
        LeaseTask::new(Arc::clone(&self.kv), Box::new(is_ours), (name, holder), times)
    }

    /// Says whether the engine takes commits at present.
    ///
    /// # Errors
    /// Why it does not.
    pub fn health(&self) -> Result<(), KvError> {
        self.lineage.check()?;
        self.kv.health()
    }

    /// Says how the engine is, without asking anybody.
    pub fn report(&self) -> EngineReport {
        self.kv.report()
    }

    /// Begins a backup of all that the store keeps, of one view.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn backup(&self) -> Result<Backup, BackupError> {
        self.lineage.check()?;
        Backup::begin(&self.engine).await
    }

    /// Applies a batch as one commit.
    ///
    /// A batch that changes nothing (deletes of what is not there) makes no commit.
    ///
    /// # Errors
    /// Every [`StoreError`] but [`StoreError::ImportLost`].
    pub async fn apply(&self, batch: Batch) -> Result<Committed, StoreError> {
        let operations = batch.operations.len() + batch.preconditions.len();
        if operations > BATCH_OPERATIONS_MAX {
            return Err(StoreError::BatchTooLarge { operations });
        }
        match self.join_group(batch).await {
            GroupAnswer::Ended(ended) => ended,
            GroupAnswer::Alone(batch) => self.work(&Work::Batch(&batch)).await,
        }
    }

    /// Puts an RRset and returns the revision.
    ///
    /// # Errors
    /// As [`DnsStore::apply`].
    pub async fn set_record(&self, rrset: Rrset) -> Result<u64, StoreError> {
        let committed = self.apply(vec![Operation::PutRrset(rrset)].into()).await?;
        Ok(committed.revision)
    }

    /// Deletes an RRset and returns the revision, or `None` if there was none.
    ///
    /// # Errors
    /// As [`DnsStore::apply`].
    pub async fn delete_record(
        &self,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<Option<u64>, StoreError> {
        let delete = Operation::DeleteRrset { owner: owner.clone(), rtype };
        let committed = self.apply(vec![delete].into()).await?;
        Ok((committed.changed > 0).then_some(committed.revision))
    }

    /// Makes a zone and returns the revision.
    ///
    /// # Errors
    /// [`StoreError::PreconditionFailed`] if there is one of that name; as [`DnsStore::apply`].
    pub async fn create_zone(&self, settings: ZoneSettings) -> Result<u64, StoreError> {
        let preconditions = vec![Expectation::ZoneAbsent { apex: settings.apex.clone() }];
        let operations = vec![Operation::PutZone(settings)];
        Ok(self.apply(Batch { operations, preconditions }).await?.revision)
    }

    /// Makes a zone or changes its settings, and returns the revision.
    ///
    /// # Errors
    /// As [`DnsStore::apply`].
    pub async fn set_zone(&self, settings: ZoneSettings) -> Result<u64, StoreError> {
        Ok(self.apply(vec![Operation::PutZone(settings)].into()).await?.revision)
    }

    /// Deletes a zone with its records and returns the revision, or `None` if there was none.
    ///
    /// # Errors
    /// As [`DnsStore::apply`].
    pub async fn delete_zone(&self, apex: &Name) -> Result<Option<u64>, StoreError> {
        let delete = Operation::DeleteZone { apex: apex.clone() };
        let committed = self.apply(vec![delete].into()).await?;
        Ok((committed.changed > 0).then_some(committed.revision))
    }

    /// Switches a zone to the rows of an import.
    pub(super) async fn replace(
        &self,
        apex: &Name,
        settings: Option<&ZoneSettings>,
        staged: &Staged,
        preconditions: &[Expectation],
    ) -> Result<Committed, StoreError> {
        self.work(&Work::Replace { apex, settings, staged, preconditions }).await
    }

    /// Builds and makes one commit, anew as often as others get ahead.
    async fn work(&self, work: &Work<'_>) -> Result<Committed, StoreError> {
        self.lineage.check()?;
        let mut zones = self.guess_zones(work);
        let (mut attempt, mut waits, mut held) = (0, 0, None);
        // What another process has just written is rarely in question, and noticed by the commit.
        let mut is_fresh = !self.kv.is_shared();
        let mut attempts_max = BATCH_ATTEMPTS_MAX;
        while attempt < attempts_max && waits < UNSETTLED_WAITS_MAX {
            let ended = self.in_flight.ended();
            let locks = match held.take() {
                Some(locks) => locks,
                None => self.lock(&zones).await,
            };
            let view = View::open(&*self.kv, &self.in_flight, is_fresh).await?;
            let mut draft = Draft::new(&view, self.digest_key, &self.hints);
            let changed = match fill(&mut draft, work).await {
                Ok(Settled { changed: 0, .. }) | Err(_) if !is_fresh => {
                    is_fresh = true;
                    held = Some(locks);
                    continue;
                }
                Ok(Settled { changed, .. }) => changed,
                Err(DraftError::Refused(error)) => return Err(error),
                Err(DraftError::Unsettled) => {
                    waits += 1;
                    let touched = draft.touched();
                    draft.remember(&touched);
                    drop(draft);
                    drop(view);
                    if !touched.iter().all(|apex| zones.contains(apex)) {
                        zones.extend(touched);
                        continue;
                    }
                    // Bounded, should the commit have ended between the view and here. With the locks:
                    // else the next writer's commit would be on its way when this one has landed.
                    let _ = tokio::time::timeout(UNSETTLED_WAIT, ended).await;
                    held = Some(locks);
                    continue;
                }
            };
            attempt += 1;
            is_fresh |= attempt > 1;
            let touched = draft.touched();
            if !touched.iter().all(|apex| zones.contains(apex)) {
                draft.remember(&touched);
                zones = touched;
                continue;
            }
            let undigested = draft.undigested();
            if !undigested.is_empty() {
                drop((locks, draft));
                drop(view);
                self.add_digests_of(&undigested).await?;
                continue;
            }
            let staged = self.stage_large(&view, &mut draft).await?;
            let built = draft.build(self.kv.limits());
            if built.commit.puts.is_empty() && built.commit.deletes.is_empty() {
                let (revision, zones) = (self.revision().await?, Vec::new());
                return Ok(Committed { revision, changed: 0, zones });
            }
            let made = self.make(built, changed, locks).await;
            if let Ok(Some(committed)) = made {
                return Ok(committed);
            }
            self.give_up_all(&staged).await;
            made?;
            if !staged.is_empty() {
                attempts_max = attempts_max.min(attempt + LARGE_BATCH_ATTEMPTS_MAX - 1);
            }
            self.check_import(work).await?;
            back_off(attempt).await;
        }
        Err(StoreError::Contended { attempts: attempts_max })
    }

    /// Makes a commit; `None` if others got ahead.
    pub(super) async fn make(
        &self,
        built: Built,
        changed: u64,
        locks: Vec<OwnedMutexGuard<()>>,
    ) -> Result<Option<Committed>, StoreError> {
        let Built { commit, zones, has_swept, .. } = built;
        let flight = self.in_flight.register(&commit);
        let noted = self.remember(&commit);
        let kv = Arc::clone(&self.kv);
        // In a task of its own: who waits for it may go away, as a client that hangs up, and what is in
        // flight must be seen by those who build on it until what became of it is known.
        let making = tokio::spawn(async move {
            let pending = kv.submit(commit).await?;
            // The next writer of these zones builds on this commit while it is in flight.
            drop(locks);
            let made = pending.wait().await;
            drop(flight);
            made
        });
        let made = making.await.map_err(KvError::engine).flatten();
        if made.is_err() {
            self.remembered.forget(&noted, false);
        }
        match made {
            Ok(revision) => {
                if has_swept {
                    self.sweeps.wake();
                }
                Ok(Some(Committed { revision, changed, zones }))
            }
            Err(KvError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers what a commit that is about to be handed over does to its zones, and returns these.
    pub(super) fn remember(&self, commit: &KvCommit) -> Vec<Name> {
        // An engine of this process alone is asked for less than it costs to remember.
        if self.kv.is_shared() { self.remembered.note(commit) } else { Vec::new() }
    }

    /// Returns an error if the rows of an import were swept away.
    async fn check_import(&self, work: &Work<'_>) -> Result<(), StoreError> {
        let Work::Replace { staged, .. } = work else { return Ok(()) };
        match self.kv.get(&keys::generation_key(staged.generation.number)).await? {
            Some(found) if found.value == staged.marker => Ok(()),
            _ => Err(StoreError::ImportLost),
        }
    }

    /// Locks the zones, in an order that is the same for everyone.
    pub(super) async fn lock(&self, zones: &[Name]) -> Vec<OwnedMutexGuard<()>> {
        let mut indexes: Vec<usize> = zones.iter().map(|apex| self.lock_index(apex)).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut guards = Vec::with_capacity(indexes.len());
        for index in indexes {
            guards.push(self.lock_at(index).await);
        }
        guards
    }

    /// Takes one of the locks.
    pub(super) async fn lock_at(&self, index: usize) -> OwnedMutexGuard<()> {
        self.locks[index].clone().lock_owned().await
    }

    /// Returns which lock a zone has.
    pub(super) fn lock_index(&self, apex: &Name) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(apex.as_wire());
        usize::try_from(hasher.finish() % (self.locks.len() as u64)).unwrap_or(0)
    }

    /// Guesses which zones the work is about; a wrong guess costs a second attempt.
    fn guess_zones(&self, work: &Work<'_>) -> Vec<Name> {
        let operations = match work {
            Work::Batch(batch) => &batch.operations,
            Work::Replace { apex, .. } => return vec![(*apex).clone()],
        };
        let zones: HashSet<Name> =
            self.hints.guess(operations.iter()).into_iter().flatten().collect();
        zones.into_iter().collect()
    }
}

impl std::fmt::Debug for DnsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsStore").finish_non_exhaustive()
    }
}

/// Takes every step of the work.
async fn fill(draft: &mut Draft<'_>, work: &Work<'_>) -> Result<Settled, DraftError> {
    match work {
        Work::Batch(batch) => {
            draft.read_ahead(&[batch]).await?;
            draft.expect(&batch.preconditions).await?;
            for operation in &batch.operations {
                draft.apply(operation).await?;
            }
        }
        Work::Replace { apex, settings, staged, preconditions } => {
            draft.expect(preconditions).await?;
            draft.replace(*settings, apex, staged).await?;
        }
    }
    Ok(draft.settle().await?)
}

/// Waits a random time that grows with the attempts, so that writers who collide spread out.
pub(super) async fn back_off(attempt: u32) {
    let wait_us = rand::random_range(0..=200_u64 << attempt.min(8));
    tokio::time::sleep(std::time::Duration::from_micros(wait_us)).await;
}

/// Whether any commit of zones or records was ever made in an engine.
///
/// # Errors
/// Those of the engine.
pub(crate) async fn has_commits(kv: &dyn KeyValueStore) -> Result<bool, KvError> {
    Ok(kv.get(keys::JOURNAL).await?.is_some())
}

/// How long a batch waits for a commit in flight before it looks again.
const UNSETTLED_WAIT: std::time::Duration = std::time::Duration::from_millis(20);
/// Ends of commits that a precondition waits for, those of other zones among them.
const UNSETTLED_WAITS_MAX: u32 = 4_096;
