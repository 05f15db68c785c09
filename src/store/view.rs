//! What a writer sees: the engine's newest view, and over it the commits that are on their way.
//!
//! A writer need not wait for the commits before its own to be durable: it reads what they will
//! have written, and its own commit expects just those values. If one of them fails, so does every
//! commit that was built on it, and their writers start over.
//!
//! **Invariant:** a commit that was in flight when a view was opened, or was durable then, is never missing
//! from both parts of that view, however long it is read.
//! **Not here:** whether a commit may be made (`store::draft`, and the engine).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::keys::{self, packed_number};
use super::kv::{Cursor, KeyRange, KeyValueStore, KvCommit, KvError, KvSnapshot, Page, Versioned};

/// The commits that were handed over and are not known to be durable.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// What they write.
    state: Mutex<ViewState>,
    /// Wakes who waits for one of them to end.
    ended: Notify,
}

/// What commits in flight write.
#[derive(Debug, Default)]
struct ViewState {
    /// What the newest commit writes that writes a key.
    writes: BTreeMap<Vec<u8>, Write>,
    /// Commits that have ended and may be forgotten when no older view is open.
    ended: Vec<ViewEnded>,
    /// The number of the newest commit.
    newest: u64,
    /// The number of the next view.
    next_view: u64,
    /// The views that are open.
    views: BTreeSet<u64>,
}

/// A value on its way.
#[derive(Debug)]
struct Write {
    /// The number of the commit.
    commit: u64,
    /// The value; none deletes it.
    value: Option<Vec<u8>>,
    /// The snapshots of views from this number on have what became of it, if it has ended.
    seen_from: Option<u64>,
}

impl Write {
    /// Whether a view must look here, and not in its snapshot.
    fn is_flying_for(&self, view: u64) -> bool {
        self.seen_from.is_none_or(|from| from > view)
    }
}

/// A commit that has ended.
#[derive(Debug)]
struct ViewEnded {
    /// Its number.
    number: u64,
    /// The keys that it wrote.
    keys: Vec<Vec<u8>>,
    /// The snapshots of views from this number on have what became of it.
    seen_from: u64,
}

/// A commit in flight, until what became of it is known or of no interest.
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
    snapshot: Box<dyn KvSnapshot>,
    /// The rest.
    flying: Flying,
}

/// What is in flight, as one view sees it: nothing of it is forgotten while this lives.
struct Flying {
    /// What it is.
    in_flight: Arc<InFlight>,
    /// The number of the view.
    number: u64,
}

impl InFlight {
    /// Registers the keys and values of a commit that is about to be handed over.
    pub(super) fn register(self: &Arc<Self>, commit: &KvCommit) -> Flight {
        let mut state = self.lock();
        state.newest += 1;
        let number = state.newest;
        let mut keys = Vec::with_capacity(commit.puts.len() + commit.deletes.len());
        // An empty value over packs says that there is none.
        let value = |key: &[u8], value| {
            Some(value).filter(|value: &&Vec<u8>| !value.is_empty() || packed_number(key).is_none())
        };
        let puts = commit.puts.iter().map(|(key, put)| (key, value(key, put)));
        for (key, value) in puts.chain(commit.deletes.iter().map(|key| (key, None))) {
            // What a commit says of itself is not asked for before it is made.
            if ![keys::JOURNAL, keys::UNDO].contains(&key.as_slice()) {
                let write = Write { commit: number, value: value.cloned(), seen_from: None };
                state.writes.insert(key.clone(), write);
                keys.push(key.clone());
            }
        }
        drop(state);
        Flight { in_flight: self.clone(), number, keys }
    }

    /// Whether what became of all commits is known.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().writes.values().all(|write| write.seen_from.is_some())
    }

    /// Returns a future that ends when some commit in flight has ended.
    pub(super) fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.ended.notified()
    }

    /// Counts a view that is about to be opened: its snapshot is taken afterwards.
    fn open_view(self: &Arc<Self>) -> Flying {
        let mut state = self.lock();
        let number = state.next_view;
        state.next_view += 1;
        state.views.insert(number);
        state.forget_ended();
        drop(state);
        Flying { in_flight: self.clone(), number }
    }

    /// Locks the state; it is whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, ViewState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ViewState {
    /// Forgets the commits that have ended before the snapshot of every open view was taken. An older
    /// view has read some of what they wrote here, and would read the rest as it was before.
    fn forget_ended(&mut self) {
        let oldest = self.views.first().copied().unwrap_or(self.next_view);
        let writes = &mut self.writes;
        self.ended.retain(|ended| {
            let is_over = ended.seen_from <= oldest;
            if is_over {
                for key in &ended.keys {
                    // A later commit may have taken its place.
                    if writes.get(key).is_some_and(|write| write.commit == ended.number) {
                        writes.remove(key);
                    }
                }
            }
            !is_over
        });
    }
}

impl Drop for Flight {
    /// The commit is durable, or has failed, or nobody waits for it any more: then nobody knows, and
    /// those who have built on it find out when they commit.
    fn drop(&mut self) {
        let mut state = self.in_flight.lock();
        let (number, keys) = (self.number, std::mem::take(&mut self.keys));
        let seen_from = state.next_view;
        for key in &keys {
            if let Some(write) = state.writes.get_mut(key)
                && write.commit == number
            {
                write.seen_from = Some(seen_from);
            }
        }
        state.ended.push(ViewEnded { number, keys, seen_from });
        state.forget_ended();
        drop(state);
        self.in_flight.ended.notify_waiters();
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        let mut state = self.in_flight.lock();
        state.views.remove(&self.number);
        state.forget_ended();
    }
}

impl Seen {
    /// What a snapshot has.
    fn durable(found: Versioned) -> Self {
        Self { value: found.value, revision: Some(found.revision) }
    }
}

impl View {
    /// Opens a view of now, or, if it need not be fresh, of a moment ago.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn open(
        store: &dyn KeyValueStore,
        in_flight: &Arc<InFlight>,
        is_fresh: bool,
    ) -> Result<Self, KvError> {
        // In this order: what has ended before is in the snapshot.
        let flying = in_flight.open_view();
        let snapshot = if is_fresh { store.snapshot().await? } else { store.glimpse().await? };
        Ok(Self { snapshot, flying })
    }

    /// Returns the values of `keys`, in their order.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn read(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Seen>>, KvError> {
        Ok(self.look(keys, &[]).await?.0)
    }

    /// Returns all entries of a range that is known to be short (one owner's rows).
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn read_range(
        &self,
        range: &KeyRange,
    ) -> Result<BTreeMap<Vec<u8>, Seen>, KvError> {
        let (_, mut found) = self.look(&[], std::slice::from_ref(range)).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// Returns the values of `keys`, in their order, and all entries of each of some ranges that are
    /// known to be short, in theirs.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn look(
        &self,
        keys: &[Vec<u8>],
        ranges: &[KeyRange],
    ) -> Result<(Vec<Option<Seen>>, Vec<BTreeMap<Vec<u8>, Seen>>), KvError> {
        let (seen, flying) = {
            let state = self.flying.in_flight.lock();
            let is_flying = |write: &&Write| write.is_flying_for(self.flying.number);
            let find = |key: &Vec<u8>| {
                let write = state.writes.get(key).filter(is_flying)?;
                Some(write.value.clone().map(|value| Seen { value, revision: None }))
            };
            let of_range = |range: &KeyRange| {
                let found = state.writes.range(range.start.clone()..range.end.clone());
                let flying = found.filter(|(_, write)| is_flying(write));
                flying.map(|(key, write)| (key.clone(), write.value.clone())).collect::<Vec<_>>()
            };
            let seen: Vec<Option<Option<Seen>>> = keys.iter().map(find).collect();
            (seen, ranges.iter().map(of_range).collect::<Vec<_>>())
        };
        let missing = keys.iter().zip(&seen).filter(|(_, seen)| seen.is_none());
        let missing: Vec<Vec<u8>> = missing.map(|(key, _)| key.clone()).collect();
        let (durable, pages) = match (missing.is_empty(), ranges.is_empty()) {
            (true, true) => (Vec::new(), Vec::new()),
            (false, true) => (self.snapshot.get_many(&missing).await?, Vec::new()),
            (_, false) => self.snapshot.look(&missing, ranges, PAGE_ENTRIES).await?,
        };
        let mut durable = durable.into_iter();
        let mut fill = |seen: Option<Option<Seen>>| match seen {
            Some(in_flight) => in_flight,
            None => durable.next().flatten().map(Seen::durable),
        };
        let values = seen.into_iter().map(&mut fill).collect();
        let mut all = Vec::with_capacity(ranges.len());
        for ((range, page), flying) in ranges.iter().zip(pages).zip(flying) {
            all.push(self.read_rest(range, page, flying).await?);
        }
        Ok((values, all))
    }

    /// Returns all entries of a range of which one page was read, with what is in flight.
    async fn read_rest(
        &self,
        range: &KeyRange,
        mut page: Page,
        flying: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<BTreeMap<Vec<u8>, Seen>, KvError> {
        let mut entries = BTreeMap::new();
        loop {
            let durable = page.entries.into_iter();
            entries.extend(durable.map(|(key, found)| (key, Seen::durable(found))));
            let Some(cursor) = page.next else { break };
            page = self.snapshot.range(range, Some(&cursor), PAGE_ENTRIES).await?;
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
        let state = self.flying.in_flight.lock();
        let is_flying = |write: &Write| write.is_flying_for(self.flying.number);
        let is_deleted = |key: &[u8]| {
            state.writes.get(key).is_some_and(|write| is_flying(write) && write.value.is_none())
        };
        let writes = state.writes.range(range.start.clone()..range.end.clone());
        let flying = writes.filter(|(_, write)| is_flying(write));
        let put = flying.filter(|(_, write)| write.value.is_some()).map(|(key, _)| key.clone());
        let durable = page.entries.into_iter().map(|(key, _)| key).filter(|key| !is_deleted(key));
        Ok((put.chain(durable).collect(), page.next))
    }
}

/// Entries of one page of a short range.
const PAGE_ENTRIES: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::RedbStore;

    const OBJECT: &[u8] = b"object";
    const ROW: &[u8] = b"row";

    /// A commit that writes both keys.
    fn commit(value: &[u8]) -> KvCommit {
        let puts = [OBJECT, ROW].map(|key| (key.to_vec(), value.to_vec())).to_vec();
        KvCommit { puts, ..KvCommit::default() }
    }

    async fn read(view: &View, key: &[u8]) -> Option<Vec<u8>> {
        view.read(&[key.to_vec()]).await.unwrap().remove(0).map(|seen| seen.value)
    }

    async fn make(store: &RedbStore, in_flight: &Arc<InFlight>, value: &[u8]) -> Flight {
        let commit = commit(value);
        let flight = in_flight.register(&commit);
        store.submit(commit).await.unwrap().wait().await.unwrap();
        flight
    }

    #[tokio::test]
    async fn a_view_has_all_of_a_commit_that_lands_while_it_is_read_and_others_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        let in_flight = Arc::<InFlight>::default();
        drop(make(&store, &in_flight, b"old").await);
        // In flight when the view is opened, durable when it has read half of what it wants.
        let new = commit(b"new");
        let flight = in_flight.register(&new);
        let view = View::open(&store, &in_flight, true).await.unwrap();
        assert_eq!(read(&view, OBJECT).await.as_deref(), Some(&b"new"[..]));
        store.submit(new).await.unwrap().wait().await.unwrap();
        drop(flight);
        let later = View::open(&store, &in_flight, true).await.unwrap();
        assert_eq!(read(&view, ROW).await.as_deref(), Some(&b"new"[..]));
        let range = KeyRange { start: OBJECT.to_vec(), end: b"s".to_vec() };
        let entries = view.read_range(&range).await.unwrap();
        assert!(entries.len() == 2 && entries.values().all(|seen| seen.value == b"new"));
        // What is durable has its revision in a view that is opened afterwards.
        let seen = later.read(&[ROW.to_vec()]).await.unwrap().remove(0).unwrap();
        assert!(seen.value == b"new" && seen.revision.is_some());
        drop((view, later));
        assert!(in_flight.lock().writes.is_empty() && in_flight.lock().ended.is_empty());
    }

    #[tokio::test]
    async fn a_commit_that_failed_is_seen_by_no_view_that_is_opened_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        let in_flight = Arc::<InFlight>::default();
        drop(make(&store, &in_flight, b"old").await);
        let flight = in_flight.register(&commit(b"failed"));
        let view = View::open(&store, &in_flight, true).await.unwrap();
        drop(flight);
        let later = View::open(&store, &in_flight, true).await.unwrap();
        assert_eq!(read(&view, OBJECT).await.as_deref(), Some(&b"failed"[..]));
        assert_eq!(read(&later, OBJECT).await.as_deref(), Some(&b"old"[..]));
        drop(view);
        assert!(in_flight.lock().writes.is_empty());
    }
}
