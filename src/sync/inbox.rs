//! Entries that wait for their content, and what to fetch next.
//!
//! An entry names its content by hash; one hash may be the content of many keys. Of one key only
//! the newest entry waits: the replica's own timestamp decides, as it did in the replica.
//!
//! **Invariant:** every hash that a key waits for is queued, being fetched, or due again at a known
//! time; none is forgotten until it arrives or nobody waits for it.
//! Past [`INBOX_ENTRIES_MAX`] keys an entry is not taken, and the caller asks for a rescan later.
//! **Not here:** what content means (`sync::core`).

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::feed::Hash;
use crate::limits::{FETCH_MS_MAX, FETCH_RETRY_MS_MAX, FETCH_RETRY_MS_MIN, INBOX_ENTRIES_MAX};

/// Entries that wait for content.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The newest entry of each key that waits.
    by_key: HashMap<Box<[u8]>, Newest>,
    /// Who waits for each hash.
    by_hash: HashMap<Hash, WantedContent>,
    /// Hashes to fetch before others.
    urgent: VecDeque<Hash>,
    /// Hashes to fetch.
    bulk: VecDeque<Hash>,
    /// When a hash that is being fetched, or has failed, is due again.
    due: BTreeSet<(u64, Hash)>,
    /// How many urgent keys wait.
    urgent_count: u64,
}

/// The newest entry of a key.
#[derive(Clone, Copy, Debug)]
struct Newest {
    /// The replica's timestamp in microseconds.
    timestamp_us: u64,
    /// The content.
    hash: Hash,
    /// Whether readiness waits for it.
    is_urgent: bool,
}

/// One hash that is waited for.
#[derive(Clone, Debug, Default)]
struct WantedContent {
    /// The keys whose content it is.
    keys: Vec<Box<[u8]>>,
    /// How often fetching it has failed.
    failures: u32,
    /// When it is due, if it stands in `due`.
    due_ms: Option<u64>,
}

impl Inbox {
    /// Makes `key` wait for `hash` instead of any older content; says whether it could be taken.
    pub(crate) fn want(
        &mut self,
        key: &[u8],
        hash: Hash,
        timestamp_us: u64,
        is_urgent: bool,
    ) -> bool {
        match self.by_key.get(key).copied() {
            Some(known) if known.hash == hash || known.timestamp_us > timestamp_us => return true,
            Some(_) => self.forget(key),
            None if self.by_key.len() >= INBOX_ENTRIES_MAX as usize => return false,
            None => {}
        }
        self.urgent_count += u64::from(is_urgent);
        self.by_key.insert(key.into(), Newest { timestamp_us, hash, is_urgent });
        let wanted = self.by_hash.entry(hash).or_default();
        if wanted.keys.is_empty() {
            let queue = if is_urgent { &mut self.urgent } else { &mut self.bulk };
            queue.push_back(hash);
        }
        wanted.keys.push(key.into());
        self.check_counts();
        true
    }

    /// Asserts that no more is counted than is there.
    fn check_counts(&self) {
        debug_assert!(self.by_key.len() <= INBOX_ENTRIES_MAX as usize);
        debug_assert!(self.by_hash.len() <= self.by_key.len(), "somebody waits for each hash");
        debug_assert!(self.urgent_count <= self.by_key.len() as u64);
        debug_assert!(self.due.len() <= self.by_hash.len(), "a hash is due once");
    }

    /// Makes a key wait no longer for content older than an entry that is known.
    pub(crate) fn forget_older(&mut self, key: &[u8], timestamp_us: u64) {
        if self.by_key.get(key).is_some_and(|newest| newest.timestamp_us < timestamp_us) {
            self.forget(key);
        }
    }

    /// Makes a key wait no longer.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        let Some(newest) = self.by_key.remove(key) else { return };
        self.urgent_count -= u64::from(newest.is_urgent);
        let Some(wanted) = self.by_hash.get_mut(&newest.hash) else { return };
        wanted.keys.retain(|waiting| **waiting != *key);
        if !wanted.keys.is_empty() {
            return;
        }
        if let Some(due_ms) = wanted.due_ms {
            self.due.remove(&(due_ms, newest.hash));
        }
        // A hash that stays behind in a queue is passed over when its turn comes.
        self.by_hash.remove(&newest.hash);
    }

    /// Takes the keys that wait for a hash which has arrived.
    pub(crate) fn take(&mut self, hash: &Hash) -> Vec<Box<[u8]>> {
        let Some(wanted) = self.by_hash.remove(hash) else { return Vec::new() };
        if let Some(due_ms) = wanted.due_ms {
            self.due.remove(&(due_ms, *hash));
        }
        for key in &wanted.keys {
            let newest = self.by_key.remove(key);
            debug_assert!(newest.is_some_and(|newest| newest.hash == *hash), "it waits for this");
            self.urgent_count -= u64::from(newest.is_some_and(|newest| newest.is_urgent));
        }
        self.check_counts();
        wanted.keys
    }

    /// Puts a hash that could not be fetched back, for later.
    pub(crate) fn fail(&mut self, hash: &Hash, now_ms: u64) {
        let Some(wanted) = self.by_hash.get_mut(hash) else { return };
        wanted.failures = wanted.failures.saturating_add(1);
        let doubled = FETCH_RETRY_MS_MIN << (wanted.failures - 1).min(16);
        let due_ms = now_ms.saturating_add(doubled.min(FETCH_RETRY_MS_MAX));
        if let Some(before_ms) = wanted.due_ms.replace(due_ms) {
            self.due.remove(&(before_ms, *hash));
            self.due.insert((due_ms, *hash));
        } else {
            wanted.due_ms = None; // it stands in a queue already
        }
    }

    /// Whether no hash waits to be asked for, but for those whose time has not come.
    pub(crate) fn has_asked_for_all(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }

    /// Makes all hashes that wait for their time due now: a peer has turned up.
    pub(crate) fn retry_all(&mut self, now_ms: u64) {
        let waiting: Vec<Hash> = self
            .due
            .iter()
            .map(|(_, hash)| *hash)
            .filter(|hash| self.by_hash.get(hash).is_some_and(|wanted| wanted.failures > 0))
            .collect();
        for hash in waiting {
            let Some(wanted) = self.by_hash.get_mut(&hash) else { continue };
            wanted.failures = 0;
            if let Some(before_ms) = wanted.due_ms.replace(now_ms) {
                self.due.remove(&(before_ms, hash));
                self.due.insert((now_ms, hash));
            }
        }
    }

    /// Returns up to `max` hashes to fetch now; each is given again if nothing is said of it in
    /// [`FETCH_MS_MAX`] milliseconds.
    pub(crate) fn poll_fetch(&mut self, now_ms: u64, max: usize) -> Vec<Hash> {
        while let Some((due_ms, hash)) = self.due.first().copied().filter(|due| due.0 <= now_ms) {
            self.due.remove(&(due_ms, hash));
            if let Some(wanted) = self.by_hash.get_mut(&hash) {
                wanted.due_ms = None;
                self.bulk.push_back(hash);
            }
        }
        let mut hashes = Vec::new();
        let deadline_ms = now_ms.saturating_add(FETCH_MS_MAX);
        while hashes.len() < max {
            let Some(hash) = self.urgent.pop_front().or_else(|| self.bulk.pop_front()) else {
                break;
            };
            let Some(wanted) = self.by_hash.get_mut(&hash) else { continue };
            if wanted.due_ms.is_none() {
                wanted.due_ms = Some(deadline_ms);
                self.due.insert((deadline_ms, hash));
                hashes.push(hash);
            }
        }
        hashes
    }

    /// Returns when something that is not queued is next due.
    pub(crate) fn timeout_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Returns how many keys wait.
    pub(crate) fn waiting_count(&self) -> u64 {
        self.by_key.len() as u64
    }

    /// Returns how many keys wait whose content readiness needs.
    pub(crate) fn urgent_count(&self) -> u64 {
        self.urgent_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Hash = [1; 32];
    const B: Hash = [2; 32];

    #[test]
    fn one_hash_serves_every_key_that_waits_for_it() {
        let mut inbox = Inbox::default();
        assert!(inbox.want(b"k1", A, 1, false) && inbox.want(b"k2", A, 1, true));
        assert_eq!(inbox.poll_fetch(0, 9), [A]);
        assert_eq!(inbox.take(&A).len(), 2);
        assert_eq!((inbox.waiting_count(), inbox.urgent_count(), inbox.timeout_ms()), (0, 0, None));
        assert!(inbox.take(&A).is_empty());
    }

    #[test]
    fn the_newest_entry_of_a_key_replaces_the_older_in_either_order() {
        for order in [[(A, 1), (B, 2)], [(B, 2), (A, 1)]] {
            let mut inbox = Inbox::default();
            for (hash, timestamp_us) in order {
                assert!(inbox.want(b"k", hash, timestamp_us, true));
            }
            assert_eq!(inbox.poll_fetch(0, 9), [B]);
            assert_eq!((inbox.waiting_count(), inbox.urgent_count()), (1, 1));
        }
    }

    #[test]
    fn what_fails_or_is_never_answered_comes_again() {
        let mut inbox = Inbox::default();
        assert!(inbox.want(b"k", A, 1, false));
        assert_eq!(inbox.poll_fetch(10, 9), [A]);
        inbox.fail(&A, 10);
        assert!(inbox.poll_fetch(10, 9).is_empty());
        assert_eq!(inbox.timeout_ms(), Some(10 + FETCH_RETRY_MS_MIN));
        assert_eq!(inbox.poll_fetch(10 + FETCH_RETRY_MS_MIN, 9), [A]);
        let later = 10 + FETCH_RETRY_MS_MIN + FETCH_MS_MAX;
        assert!(inbox.poll_fetch(later - 1, 9).is_empty());
        assert_eq!(inbox.poll_fetch(later, 9), [A]);
        inbox.fail(&A, later);
        inbox.retry_all(later);
        assert_eq!(inbox.poll_fetch(later, 9), [A]);
        inbox.forget(b"k");
        assert!(inbox.poll_fetch(u64::MAX, 9).is_empty());
    }

    #[test]
    fn the_bound_holds_at_and_refuses_above() {
        let mut inbox = Inbox::default();
        for index in 0..INBOX_ENTRIES_MAX {
            assert!(inbox.want(&index.to_be_bytes(), A, 1, false));
        }
        assert!(!inbox.want(b"one more", A, 1, false));
        assert!(inbox.want(&0_u32.to_be_bytes(), B, 2, false), "a known key is no new one");
        assert_eq!(inbox.waiting_count(), u64::from(INBOX_ENTRIES_MAX));
    }
}
