//! Rows that a zone has left, by an import or by its deletion: they are kept for a while, so that the zone can go
//! back to them (`store::rollback`), and are then given up for the sweep.
//!
//! A store keeps nothing unless it is told to. Others on the same engine may have been told otherwise: who keeps
//! for the shortest time decides.
//!
//! **Invariant:** what is kept has an end: of time, of its count and its RRsets, of the log that leads back to it,
//! and of the room that the engine has.
//! **Not here:** the sweep (`store::sweep`).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::dns_store::DnsStore;
use super::keys;
use super::kv::{KvCommit, KvError, Precondition};
use super::unchanged::Unchanged;
use crate::limits::{
    LEFT_KEPT_MAX, LEFT_KEPT_ROOM_OCTETS, LEFT_KEPT_RRSETS_MAX, PAST_READ_MS_MAX, SWEEP_LOOK_MS,
};

/// A generation that its zone has left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Left {
    /// Its key.
    pub(super) key: Vec<u8>,
    /// The revision by which its zone left it.
    pub(super) revision: u64,
    /// The value of its key.
    pub(super) marker: Vec<u8>,
    /// How many RRsets it has.
    pub(super) rrsets: u64,
}

/// What was seen of them when it was looked last.
#[derive(Default)]
pub(super) struct LeftLook {
    /// Since when each is there.
    unchanged: Unchanged,
    /// When it was looked whether the log leads back to the oldest.
    log_looked_at: Option<Instant>,
}

impl DnsStore {
    /// Marks those for the sweep that are not kept any longer, or some of them; says whether there are any.
    pub(super) async fn give_up_left(
        &self,
        look: &mut LeftLook,
        left: Vec<Left>,
    ) -> Result<bool, KvError> {
        let kept_ms = self.left_kept_ms;
        let is_full = kept_ms == 0 || self.engine.check_room(LEFT_KEPT_ROOM_OCTETS).is_err();
        let ends = match is_full {
            true => left,
            false => {
                let (ends, kept) = over_age(look, left, Duration::from_millis(kept_ms));
                let (over, kept) = over_limits(kept);
                let ends = [ends, over].concat();
                match ends.is_empty() {
                    true => self.beyond_log(look, kept).await?,
                    false => ends,
                }
            }
        };
        if ends.is_empty() {
            return Ok(false);
        }
        let count_max = (self.engine.limits().operations_max / 2).max(1) as usize;
        let mut commit = KvCommit::default();
        for Left { key, marker, .. } in ends.into_iter().take(count_max.min(ENDS_AT_ONCE)) {
            // One that a zone goes back to at this moment stays.
            commit.preconditions.push(Precondition::HasValue { key: key.clone(), value: marker });
            commit.puts.push((key, keys::swept_marker()));
        }
        match self.engine.commit(commit).await {
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns those that the log does not lead back to any more; it is looked now and then.
    async fn beyond_log(&self, look: &mut LeftLook, left: Vec<Left>) -> Result<Vec<Left>, KvError> {
        let every = Duration::from_millis(SWEEP_LOOK_MS);
        let is_time = look.log_looked_at.is_none_or(|at| at.elapsed() >= every);
        let Some(oldest) = left.iter().map(|left| left.revision).min().filter(|_| is_time) else {
            return Ok(Vec::new());
        };
        look.log_looked_at = Some(Instant::now());
        // Whoever goes back to it goes back to a revision before the one by which it was left.
        let opening = self.engine.changes(oldest.saturating_sub(1));
        let limit = Duration::from_millis(PAST_READ_MS_MAX);
        match tokio::time::timeout(limit, opening).await {
            Ok(Err(KvError::Compacted { compacted })) => {
                let is_beyond = |left: &Left| left.revision <= compacted;
                Ok(left.into_iter().filter(is_beyond).collect())
            }
            // An engine that says nothing now is asked again.
            Ok(_) | Err(_) => Ok(Vec::new()),
        }
    }
}

/// Parts those that have been kept for long enough from the others.
fn over_age(look: &mut LeftLook, left: Vec<Left>, age: Duration) -> (Vec<Left>, Vec<Left>) {
    let seen = left.iter().map(|left| (left.key.clone(), left.revision)).collect();
    let old = look.unchanged.look(Instant::now(), seen, age);
    let old: HashSet<Vec<u8>> = old.into_iter().map(|(key, _)| key).collect();
    left.into_iter().partition(|left| old.contains(&left.key))
}

/// Parts the oldest that are too many from the others.
fn over_limits(mut left: Vec<Left>) -> (Vec<Left>, Vec<Left>) {
    left.sort_by_key(|left| std::cmp::Reverse(left.revision));
    let (mut count, mut rrsets) = (0, 0_u64);
    let is_kept = |left: &Left| {
        count += 1;
        rrsets = rrsets.saturating_add(left.rrsets);
        count <= LEFT_KEPT_MAX && rrsets <= LEFT_KEPT_RRSETS_MAX
    };
    let (kept, over) = left.into_iter().partition(is_kept);
    (over, kept)
}

/// Generations that are given up in one commit.
const ENDS_AT_ONCE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn left(revision: u64, rrsets: u64) -> Left {
        Left { key: revision.to_be_bytes().to_vec(), revision, marker: Vec::new(), rrsets }
    }

    fn revisions(left: &[Left]) -> Vec<u64> {
        left.iter().map(|left| left.revision).collect()
    }

    #[test]
    fn the_oldest_end_first_where_there_are_too_many() {
        let (over, kept) = over_limits(vec![
            left(1, 1),
            left(4, LEFT_KEPT_RRSETS_MAX - 1),
            left(3, 1),
            left(2, 1),
        ]);
        assert_eq!((revisions(&over), revisions(&kept)), (vec![2, 1], vec![4, 3]));
        let many = (0..=LEFT_KEPT_MAX as u64).map(|revision| left(revision, 1)).collect();
        let (over, kept) = over_limits(many);
        assert_eq!((revisions(&over), kept.len()), (vec![0], LEFT_KEPT_MAX));
    }

    #[test]
    fn one_ends_when_it_was_there_for_long_enough() {
        let mut look = LeftLook::default();
        let (ends, kept) = over_age(&mut look, vec![left(1, 1)], Duration::from_secs(3_600));
        assert_eq!((ends.len(), kept.len()), (0, 1));
        let (ends, _) = over_age(&mut look, vec![left(1, 1), left(2, 1)], Duration::ZERO);
        assert_eq!(revisions(&ends), [1, 2]);
    }
}
