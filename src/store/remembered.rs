//! Zones as the newest commit of this process left them: what another batch of theirs needs is then not asked of
//! an engine that is far away.
//!
//! What stands here may be old, when another process has written the zone. A commit that is built on it expects
//! the zone object to be just the one that stands here, and each commit of a zone gives that another value; so
//! the engine judges it, and one that is not made says that the zone must be forgotten.
//!
//! **Invariant:** the rows of a zone are those that go with its object, the zones below it likewise; what is
//! held is bounded.
//! **Not here:** when it is read and believed (`store::group_worker`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::generation::Generation;
use super::keys;
use super::kv::{KeyRange, KvCommit, KvError, Precondition};
use super::view::View;
use super::zone_object::ZoneObject;
use crate::limits::{
    ZONE_HINTS_MAX, ZONE_REMEMBERED_AFTER, ZONE_REMEMBERED_RRSETS_MAX, ZONES_REMEMBERED_OCTETS_MAX,
};
use crate::name::Name;

/// What is remembered of zones.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<State>);

/// What stands there.
#[derive(Debug, Default)]
struct State {
    /// Whole zones.
    zones: HashMap<Name, RememberedZone>,
    /// Zones that are written, and are not remembered.
    written: HashMap<Name, Written>,
    /// Octets of all whole zones.
    octets: usize,
}

/// A zone that is written.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Commits since it was forgotten.
    commits: u32,
    /// After how many of them it is remembered.
    needed: u32,
}

/// A whole zone.
#[derive(Debug)]
pub(super) struct RememberedZone {
    /// The value of its object.
    pub(super) object: Vec<u8>,
    /// Under which generation its rows stand.
    generation: Generation,
    /// Whether there is a zone below it.
    pub(super) has_zones_below: bool,
    /// Its rows.
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Octets of the rows.
    octets: usize,
}

impl Remembered {
    /// Lets `ask` look at a zone, if it is remembered.
    pub(super) fn with<A>(&self, apex: &Name, ask: impl FnOnce(&RememberedZone) -> A) -> Option<A> {
        self.lock().zones.get(apex).map(ask)
    }

    /// Whether a zone is written so often that it is worth to be remembered.
    pub(super) fn is_worth(&self, apex: &Name) -> bool {
        self.lock().written.get(apex).is_some_and(|written| written.commits >= written.needed)
    }

    /// Remembers a whole zone; one that is gone or too large is not looked at again soon.
    pub(super) fn put(&self, apex: &Name, zone: Option<RememberedZone>) {
        let Some(zone) = zone.filter(RememberedZone::is_small) else {
            return self.forget(std::slice::from_ref(apex), true);
        };
        let mut state = self.lock();
        state.forget(apex);
        if state.octets + zone.octets > ZONES_REMEMBERED_OCTETS_MAX {
            state.zones.clear();
            state.octets = 0;
        }
        state.octets += zone.octets;
        state.zones.insert(apex.clone(), zone);
    }

    /// Takes what a commit that is about to be handed over does to its zones, and returns these; whoever calls
    /// has their locks.
    pub(super) fn note(&self, commit: &KvCommit) -> Vec<Name> {
        let zones = zones_of(commit);
        let mut state = self.lock();
        zones.iter().for_each(|apex| state.note(apex, commit));
        zones
    }

    /// Forgets the zones of a commit that was not made, or of which nobody knows; if it `is_of_no_use` to remember
    /// them, as where others write them, too, it takes longer until they are remembered again.
    pub(super) fn forget(&self, zones: &[Name], is_of_no_use: bool) {
        let mut state = self.lock();
        for apex in zones {
            state.forget(apex);
            let Some(written) = state.written.get_mut(apex).filter(|_| is_of_no_use) else {
                continue;
            };
            *written = Written { commits: 0, needed: (written.needed * 2).min(NEEDED_MAX) };
        }
    }

    /// Locks what is remembered; a holder does not panic within.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes what a commit does to one zone.
    fn note(&mut self, apex: &Name, commit: &KvCommit) {
        if self.written.len() >= ZONE_HINTS_MAX && !self.written.contains_key(apex) {
            self.written.clear();
        }
        let new = Written { commits: 0, needed: ZONE_REMEMBERED_AFTER };
        self.written.entry(apex.clone()).or_insert(new).commits += 1;
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let before = zone.octets;
        let follows = zone.follow(apex, commit) && RememberedZone::is_small(zone);
        self.octets = self.octets - before + zone.octets;
        if !follows || self.octets > ZONES_REMEMBERED_OCTETS_MAX {
            self.forget(apex);
        }
    }

    /// Forgets a zone.
    fn forget(&mut self, apex: &Name) {
        if let Some(zone) = self.zones.remove(apex) {
            self.octets -= zone.octets;
        }
    }
}

impl RememberedZone {
    /// Reads a whole zone; `None` if there is none, or if it is too large.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn read(view: &View, apex: &Name) -> Result<Option<Self>, KvError> {
        let key = keys::zone_key(apex);
        let below = KeyRange::prefix(&key);
        let Some(object) = view.read(std::slice::from_ref(&key)).await?.pop().flatten() else {
            return Ok(None);
        };
        let read = ZoneObject::decode(&object.value)?;
        if read.rrset_count > ZONE_REMEMBERED_RRSETS_MAX {
            return Ok(None);
        }
        let generation = read.generation;
        let (found, _) = view.read_page(&below, None).await?;
        let has_zones_below = found.iter().any(|found| *found != key);
        let rows = view.read_range(&keys::rows_of_generation(generation)).await?;
        let rows: BTreeMap<Vec<u8>, Vec<u8>> =
            rows.into_iter().map(|(key, seen)| (key, seen.value)).collect();
        let octets = rows.iter().map(|(key, value)| octets_of(key, value)).sum();
        let object = object.value;
        Ok(Some(Self { object, generation, has_zones_below, rows, octets }))
    }

    /// Returns the rows at a name.
    pub(super) fn rows_at(&self, apex: &Name, owner: &Name) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let KeyRange { start, end } =
            KeyRange::prefix(&keys::rows_at(self.generation, apex, owner));
        self.rows.range(start..end).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether there is a row.
    pub(super) fn has_row(&self, key: &[u8]) -> bool {
        self.rows.contains_key(key)
    }

    /// Becomes what a commit makes of it; `false` if that cannot be told.
    fn follow(&mut self, apex: &Name, commit: &KvCommit) -> bool {
        let key = keys::zone_key(apex);
        let is_of_this = commit.preconditions.iter().any(|expected| match expected {
            Precondition::HasValue { key: of, value } => *of == key && *value == self.object,
            Precondition::Absent { .. }
            | Precondition::AtRevision { .. }
            | Precondition::UnchangedSince { .. } => false,
        });
        let object = commit.puts.iter().find(|(put, _)| *put == key).map(|(_, value)| value);
        let Some(object) = object.filter(|_| is_of_this) else { return false };
        let generation = ZoneObject::decode(object).map(|object| object.generation);
        // Making or deleting a zone guards the one around it: its object changes, and no row.
        let range = keys::rows_of_generation(self.generation);
        let puts = commit.puts.iter().filter(|(key, _)| range.contains(key));
        let deletes = commit.deletes.iter().filter(|key| range.contains(key));
        if generation.ok() != Some(self.generation) || touches_others(commit, &key) {
            return false;
        }
        self.object.clone_from(object);
        for (key, value) in puts {
            // An empty value over packs says that there is none.
            self.set(key, Some(value).filter(|value| !value.is_empty()));
        }
        for key in deletes {
            self.set(key, None);
        }
        true
    }

    /// Sets or drops a row.
    fn set(&mut self, key: &[u8], value: Option<&Vec<u8>>) {
        let was = match value {
            Some(value) => {
                self.octets += octets_of(key, value);
                self.rows.insert(key.to_vec(), value.clone())
            }
            None => self.rows.remove(key),
        };
        if let Some(was) = was {
            self.octets -= octets_of(key, &was);
        }
    }

    /// Whether it is small enough to be remembered.
    fn is_small(&self) -> bool {
        self.rows.len() as u64 <= ZONE_REMEMBERED_RRSETS_MAX
            && self.octets <= ZONES_REMEMBERED_OCTETS_MAX
    }
}

/// Whether a commit makes or deletes a zone, other than the one with `key`, at or below that.
fn touches_others(commit: &KvCommit, key: &[u8]) -> bool {
    let is_below = |other: &[u8]| other.starts_with(key) && other != key;
    commit.puts.iter().any(|(put, _)| is_below(put))
        || commit.deletes.iter().any(|key| is_below(key))
}

/// Returns the zones whose objects a commit writes or deletes.
fn zones_of(commit: &KvCommit) -> Vec<Name> {
    let range = keys::zone_range();
    let puts = commit.puts.iter().map(|(key, _)| key);
    let written = puts.chain(&commit.deletes).filter(|key| range.contains(key));
    written.filter_map(|key| keys::parse_zone_key(key).ok()).collect()
}

/// Octets that a row takes here.
fn octets_of(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + ROW_OCTETS
}

/// Octets of a row besides key and value.
const ROW_OCTETS: usize = 64;
/// Commits after which a zone is remembered, however often others have written it.
const NEEDED_MAX: u32 = 4_096;
