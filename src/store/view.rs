//! What a writer sees: the engine's newest view, and over it the commits that are on their way.
//!
//! A writer need not wait for the commits before its own to be durable: it reads what they will
//! have written, and its own commit expects just those values. If one of them fails, so does every
//! commit that was built on it, and their writers start over.
//!
//! **Invariant:** a commit that becomes durable is never missing from both parts of a view that is
//! opened afterwards.
//! **Not here:** whether a commit may be made (`store::draft`, and the engine).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::kv::{Commit, Cursor, KeyRange, KeyValueStore, KvError, Snapshot};

/// The commits that were handed over and are not known to be durable.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// What they write.
    state: Mutex<State>,
    /// Wakes who waits for one of them to end.
    ended: Notify,
}

/// What commits in flight write.
#[derive(Debug, Default)]
struct State {
    /// Key to the number of the newest commit that writes it, and its value.
    writes: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
    /// Numbers and keys of commits that are durable and may be forgotten.
    durable: Vec<(u64, Vec<Vec<u8>>)>,
    /// The number of the newest commit.
    newest: u64,
}

/// A commit in flight; when dropped it counts as failed.
#[derive(Debug)]
pub(super) struct Flight {
    /// Where it is registered.
    in_flight: Arc<InFlight>,
    /// Its number.
    number: u64,
    /// The keys that it writes.
    keys: Vec<Vec<u8>>,
}

/// A value as a writer sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    /// The value.
    pub(super) value: Vec<u8>,
    /// The revision that wrote it; `None` while that commit is in flight.
    pub(super) revision: Option<u64>,
}

/// The newest durable state and what is in flight over it.
pub(super) struct View {
    /// The durable part.
    snapshot: Box<dyn Snapshot>,
    /// The rest.
    in_flight: Arc<InFlight>,
}

impl InFlight {
    /// Registers the keys and values of a commit that is about to be handed over.
    pub(super) fn register(self: &Arc<Self>, commit: &Commit) -> Flight {
        let mut state = self.lock();
        state.newest += 1;
        let number = state.newest;
        let mut keys = Vec::with_capacity(commit.puts.len() + commit.deletes.len());
        let puts = commit.puts.iter().map(|(key, value)| (key, Some(value)));
        for (key, value) in puts.chain(commit.deletes.iter().map(|key| (key, None))) {
            if key.as_slice() != super::keys::JOURNAL {
                state.writes.insert(key.clone(), (number, value.cloned()));
                keys.push(key.clone());
            }
        }
        drop(state);
        Flight { in_flight: self.clone(), number, keys }
    }

    /// Returns a future that ends when some commit in flight has ended.
    pub(super) fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.ended.notified()
    }

    /// Forgets what is durable.
    fn forget_durable(&self) {
        let mut state = self.lock();
        let durable = std::mem::take(&mut state.durable);
        for (number, keys) in durable {
            forget(&mut state.writes, number, &keys);
        }
    }

    /// Locks the state; it is whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the writes of one commit that no later commit has replaced.
fn forget(writes: &mut BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>, number: u64, keys: &[Vec<u8>]) {
    for key in keys {
        if writes.get(key).is_some_and(|(newest, _)| *newest == number) {
            writes.remove(key);
        }
    }
}

impl Flight {
    /// Says that the commit is durable. Views that are open may still need its writes here, so
    /// they are forgotten when the next one is opened.
    pub(super) fn land(mut self) {
        let keys = std::mem::take(&mut self.keys);
        self.in_flight.lock().durable.push((self.number, keys));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            forget(&mut self.in_flight.lock().writes, self.number, &self.keys);
        }
        self.in_flight.ended.notify_waiters();
    }
}

impl View {
    /// Opens a view of now.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn open(
        store: &dyn KeyValueStore,
        in_flight: &Arc<InFlight>,
    ) -> Result<Self, KvError> {
        // In this order: what is forgotten here is durable, so the snapshot has it.
        in_flight.forget_durable();
        let snapshot = store.snapshot().await?;
        Ok(Self { snapshot, in_flight: in_flight.clone() })
    }

    /// Returns the values of `keys`, in their order.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn read(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Seen>>, KvError> {
        let mut seen: Vec<Option<Option<Seen>>> = Vec::with_capacity(keys.len());
        {
            let state = self.in_flight.lock();
            let find = |key: &Vec<u8>| {
                let (_, value) = state.writes.get(key)?;
                Some(value.clone().map(|value| Seen { value, revision: None }))
            };
            seen.extend(keys.iter().map(find));
        }
        let missing: Vec<Vec<u8>> = keys
            .iter()
            .zip(&seen)
            .filter(|(_, seen)| seen.is_none())
            .map(|(k, _)| k.clone())
            .collect();
        let mut durable = if missing.is_empty() {
            Vec::new().into_iter()
        } else {
            self.snapshot.get_many(&missing).await?.into_iter()
        };
        let fill = |seen: Option<Option<Seen>>| match seen {
            Some(in_flight) => in_flight,
            None => durable
                .next()
                .flatten()
                .map(|found| Seen { value: found.value, revision: Some(found.revision) }),
        };
        Ok(seen.into_iter().map(fill).collect())
    }

    /// Returns all entries of a range that is known to be short (one owner's rows).
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn read_range(
        &self,
        range: &KeyRange,
    ) -> Result<BTreeMap<Vec<u8>, Seen>, KvError> {
        let flying: Vec<_> = {
            let state = self.in_flight.lock();
            let found = state.writes.range(range.start.clone()..range.end.clone());
            found.map(|(key, (_, value))| (key.clone(), value.clone())).collect()
        };
        let mut entries = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = self.snapshot.range(range, cursor.as_ref(), PAGE_ENTRIES).await?;
            for (key, found) in page.entries {
                entries.insert(key, Seen { value: found.value, revision: Some(found.revision) });
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        for (key, value) in flying {
            match value {
                Some(value) => entries.insert(key, Seen { value, revision: None }),
                None => entries.remove(&key),
            };
        }
        Ok(entries)
    }

    /// Returns the keys of one page of a range that may be long, and where the next page begins.
    /// Keys that commits in flight delete are left out; those that they put come first.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn read_page(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
    ) -> Result<(Vec<Vec<u8>>, Option<Cursor>), KvError> {
        let page = self.snapshot.range(range, cursor, PAGE_ENTRIES).await?;
        let state = self.in_flight.lock();
        let is_deleted = |key: &[u8]| state.writes.get(key).is_some_and(|(_, v)| v.is_none());
        let flying = state.writes.range(range.start.clone()..range.end.clone());
        let put = flying.filter(|(_, (_, value))| value.is_some()).map(|(key, _)| key.clone());
        let durable = page.entries.into_iter().map(|(key, _)| key).filter(|key| !is_deleted(key));
        Ok((put.chain(durable).collect(), page.next))
    }
}

/// Entries of one page of a short range.
const PAGE_ENTRIES: u32 = 256;
