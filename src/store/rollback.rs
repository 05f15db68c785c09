//! Makes zones what they were at a revision, in one commit: for all edges a commit like any other.
//!
//! What was changed since is read beforehand; then those who write wait for a moment, and what they have done
//! meanwhile is read, too. The commit expects every zone that it changes to be as it was read, and one of all zones
//! that there was no other commit since, so that nothing that somebody has written is passed over silently.
//!
//! **Invariant:** all zones that were asked for are what they were, or none is, and it is said why.
//! **Not here:** what zones were (`store::past`), how a zone is made so again (`draft::past`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::dns_store::{DnsStore, back_off};
use super::draft::{Draft, PutBack, PutBackError};
use super::keys;
use super::kv::{KvError, Precondition};
use super::operation::StoreError;
use super::past::{Past, PastFault};
use super::past_read::PastError;
use super::rollback_report::RollbackReport;
use super::view::View;
use crate::limits::{PAST_RRSETS_MAX, ROLLBACK_ATTEMPTS_MAX, ZONE_LOCKS};
use crate::name::Name;

/// Why zones are not rolled back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RollbackError {
    /// Nothing was before the first commit.
    #[error("there is no revision 0 to go back to: revisions count from 1")]
    Zero,
    /// The revision is still to come.
    #[error(
        "revision {revision} is in the future: the newest is {newest} (`aspen-dns status` shows it)"
    )]
    Future {
        /// What was asked for.
        revision: u64,
        /// The newest.
        newest: u64,
    },
    /// What was changed since is not known any more.
    #[error(
        "what the zones were at revision {revision} is not kept any more: revisions from {kept_from} on are kept; \
         restore an older state from a backup (`aspen-dns store restore`)"
    )]
    NotKept {
        /// What was asked for.
        revision: u64,
        /// From which one on it is known.
        kept_from: u64,
    },
    /// The rows that a zone has left are gone.
    #[error(
        "zone {apex} was replaced or deleted by revision {kept_from}, and what it had at revision {revision} is not \
         kept any more: for it revisions from {kept_from} on are kept; name the other zones (--zone), and restore \
         this one from a backup or import it"
    )]
    ZoneNotKept {
        /// The zone.
        apex: Name,
        /// What was asked for.
        revision: u64,
        /// From which one on it is known.
        kept_from: u64,
    },
    /// Too much was changed since.
    #[error(
        "more than {PAST_RRSETS_MAX} RRsets and zones were changed since revision {revision}: name zones (--zone) to go back \
         part by part, or restore a backup"
    )]
    TooMany {
        /// What was asked for.
        revision: u64,
    },
    /// One commit does not hold it.
    #[error(
        "{zones} zones were changed since revision {revision}, more than one commit holds ({reason}): name some of \
         them (--zone) to go back part by part"
    )]
    TooLarge {
        /// What was asked for.
        revision: u64,
        /// Zones that were to change.
        zones: usize,
        /// What the engine says.
        reason: String,
    },
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KvError> for RollbackError {
    fn from(error: KvError) -> Self {
        Self::Store(error.into())
    }
}

/// What is asked for.
struct Wish<'a> {
    /// The revision.
    revision: u64,
    /// The zones; none: all.
    zones: Option<&'a [Name]>,
    /// Whether it is only told what would be done.
    is_dry_run: bool,
}

/// What became of an attempt.
enum Tried {
    /// It is done.
    Done(RollbackReport),
    /// Commits are on their way, and it is not known what they change.
    Unsettled(Vec<OwnedMutexGuard<()>>),
    /// Others got ahead.
    Late,
}

/// What is to be done, of one view.
struct Plan {
    /// The zones that change, each with what it was and becomes.
    zones: BTreeMap<Name, PutBack>,
    /// The newest commit of the view.
    newest: u64,
}

/// Why a plan did not come about.
enum PlanError {
    /// The asker must be told.
    Refused(RollbackError),
    /// A commit is on its way.
    Unsettled,
}

impl<E: Into<RollbackError>> From<E> for PlanError {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl DnsStore {
    /// Makes all zones, or those that are named, what they were at a revision, as one commit; or only says what
    /// would be done.
    ///
    /// # Errors
    /// Every [`RollbackError`]; nothing was changed then, but for [`KvError::OutcomeUnknown`].
    pub async fn rollback(
        &self,
        revision: u64,
        zones: Option<&[Name]>,
        is_dry_run: bool,
    ) -> Result<RollbackReport, RollbackError> {
        self.lineage.check()?;
        let newest = self.revision().await?;
        if revision == 0 {
            return Err(RollbackError::Zero);
        }
        if revision > newest {
            return Err(RollbackError::Future { revision, newest });
        }
        let wanted = zones.map(|zones| zones.iter().cloned().collect::<BTreeSet<Name>>());
        let mut past = Past::new(revision, wanted);
        // The most of it, while others write.
        self.read_past(&mut past, newest).await.map_err(|error| refusal(revision, error))?;
        let wish = Wish { revision, zones, is_dry_run };
        let (mut attempt, mut waits, mut held) = (0, 0, None);
        while attempt < ROLLBACK_ATTEMPTS_MAX && waits < UNSETTLED_WAITS_MAX {
            let ended = self.in_flight.ended();
            let locks = match held.take() {
                Some(locks) => locks,
                // It need not hold up anybody, unless those who write never rest.
                None if is_dry_run && waits == 0 => Vec::new(),
                None => self.lock_some(zones).await,
            };
            match self.try_rollback(&wish, &mut past, locks).await? {
                Tried::Done(report) => return Ok(report),
                Tried::Unsettled(locks) => {
                    waits += 1;
                    // With the locks: else the next writer's commit would be on its way when this one has landed.
                    held = Some(locks).filter(|locks| !locks.is_empty());
                    let _ = tokio::time::timeout(UNSETTLED_WAIT, ended).await;
                }
                Tried::Late => {
                    attempt += 1;
                    back_off(attempt).await;
                }
            }
        }
        Err(StoreError::Contended { attempts: attempt }.into())
    }

    /// Makes zones what they were, or says what would be done, if nobody gets ahead.
    async fn try_rollback(
        &self,
        wish: &Wish<'_>,
        past: &mut Past,
        locks: Vec<OwnedMutexGuard<()>>,
    ) -> Result<Tried, RollbackError> {
        let &Wish { revision, zones, is_dry_run } = wish;
        // A commit on its way to a zone that is not among those that change would come in between, too.
        if zones.is_none() && !is_dry_run && !self.in_flight.is_idle() {
            return Ok(Tried::Unsettled(locks));
        }
        let view = View::open(&*self.kv, &self.in_flight, true).await?;
        let mut draft = Draft::new(&view, self.digest_key, &self.hints);
        let plan = match self.plan(&view, &mut draft, past, revision).await {
            Ok(plan) => plan,
            Err(PlanError::Refused(error)) => return Err(error),
            Err(PlanError::Unsettled) => return Ok(Tried::Unsettled(locks)),
        };
        for apex in zones.unwrap_or_default() {
            self.check_known(&view, past, apex).await?;
        }
        let undigested = draft.undigested();
        if !undigested.is_empty() {
            drop((locks, draft));
            drop(view);
            self.add_digests_of(&undigested).await?;
            return Ok(Tried::Late);
        }
        let too_large = |error| too_large(revision, plan.zones.len(), error);
        if plan.zones.is_empty() || is_dry_run {
            self.check_large(&draft).map_err(|error| too_large(error.into()))?;
            let built = draft.build(self.kv.limits());
            let mut report = RollbackReport::new(&plan.zones, &built.zones, plan.newest);
            self.count_replaced(&plan.zones, past, &mut report).await?;
            return Ok(Tried::Done(report));
        }
        let staged = self.stage_large(&view, &mut draft).await.map_err(too_large)?;
        let mut built = draft.build(self.kv.limits());
        if zones.is_none() {
            let (key, revision) = (keys::JOURNAL.to_vec(), plan.newest);
            built.commit.preconditions.push(Precondition::AtRevision { key, revision });
        }
        let mut report = RollbackReport::new(&plan.zones, &built.zones, plan.newest);
        let made = self.make(built, plan.zones.len() as u64, locks).await;
        if let Ok(Some(committed)) = made {
            report.revision = committed.revision;
            return Ok(Tried::Done(report));
        }
        self.give_up_all(&staged).await;
        made.map_err(too_large)?;
        Ok(Tried::Late)
    }

    /// Takes the locks of the zones, or all there are: those who write in this process wait.
    async fn lock_some(&self, zones: Option<&[Name]>) -> Vec<OwnedMutexGuard<()>> {
        if let Some(zones) = zones {
            return self.lock(zones).await;
        }
        let mut guards = Vec::with_capacity(ZONE_LOCKS);
        for index in 0..ZONE_LOCKS {
            guards.push(self.lock_at(index).await);
        }
        guards
    }

    /// Reads what was changed up to the newest commit of a view, and makes the zones of a draft what they were.
    async fn plan(
        &self,
        view: &View,
        draft: &mut Draft<'_>,
        past: &mut Past,
        revision: u64,
    ) -> Result<Plan, PlanError> {
        let journal = view.read(&[keys::JOURNAL.to_vec()]).await?.pop().flatten();
        let newest = journal.and_then(|seen| seen.revision).unwrap_or(0);
        let refusal = |error| refusal(revision, error);
        self.read_past(past, newest).await.map_err(refusal)?;
        let changed = past.zones().map_err(|fault| refusal(PastError::Fault(fault)))?;
        let mut zones = BTreeMap::new();
        for (apex, zone) in changed {
            match draft.put_back(apex, zone, newest).await {
                Ok(put_back) => zones.extend(put_back.map(|put_back| (apex.clone(), put_back))),
                Err(PutBackError::Unsettled) => return Err(PlanError::Unsettled),
                Err(PutBackError::NotKept(kept_from)) => {
                    let apex = apex.clone();
                    return Err(RollbackError::ZoneNotKept { apex, revision, kept_from }.into());
                }
                Err(PutBackError::Kv(error)) => return Err(error.into()),
            }
        }
        Ok(Plan { zones, newest })
    }

    /// Says whether a zone that was named is there, or was.
    async fn check_known(
        &self,
        view: &View,
        past: &Past,
        apex: &Name,
    ) -> Result<(), RollbackError> {
        let was_changed = past.zones().is_ok_and(|zones| zones.contains_key(apex));
        let found = view.read(&[keys::zone_key(apex)]).await?.pop().flatten();
        if was_changed || found.is_some() {
            return Ok(());
        }
        Err(StoreError::ZoneUnknown { apex: apex.clone() }.into())
    }
}

/// Says why nothing is known of the past.
fn refusal(revision: u64, error: PastError) -> RollbackError {
    match error {
        PastError::Fault(PastFault::NotKept(kept_from)) => {
            RollbackError::NotKept { revision, kept_from }
        }
        PastError::Fault(PastFault::TooMany) => RollbackError::TooMany { revision },
        PastError::Kv(error) => error.into(),
    }
}

/// Says what to do where one commit does not hold all zones.
fn too_large(revision: u64, zones: usize, error: StoreError) -> RollbackError {
    match error {
        StoreError::Kv(
            error @ (KvError::TooManyOperations { .. } | KvError::TooManyOctets { .. }),
        ) => RollbackError::TooLarge { revision, zones, reason: error.to_string() },
        error => error.into(),
    }
}

/// How long it is waited for a commit in flight before it is looked again.
const UNSETTLED_WAIT: Duration = Duration::from_millis(20);
/// How often that is: the disk may be slow.
const UNSETTLED_WAITS_MAX: u32 = 1_024;
