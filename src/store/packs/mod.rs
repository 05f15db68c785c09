//! Packs: many RRsets in one value, so that a zone of a million names is some thousand keys.
//!
//! An import of many RRsets puts its rows into packs, by rising key, and the first key of each pack into a
//! directory. Neither changes for as long as the generation lives; what changes of the zone stands over them as
//! rows of its own, an empty value where there is none any more. Whoever reads through here sees rows as if each
//! stood alone: the change over the pack, if there is one.
//!
//! Packs and directories are remembered by their generation's number, which never means anything else.
//!
//! **Invariant:** every row that a zone has is found, by its key, in each range that holds it, and once; a
//! generation of which packs are missing is an error, never an empty zone.
//! **Not here:** the form of packs (`packs::form`), who writes them (`store::import`, `store::large`).

mod directory;
mod form;
mod kept;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;

use super::keys;
use super::kv::{
    ChangeStream, Cursor, KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, Page,
    PendingCommit, Versioned,
};
use super::report::EngineReport;
use crate::limits::PACKS_READ_MAX;
use directory::{Directory, MISSING};
use kept::{Kept, Pack};

pub(super) use directory::check_part;
pub(super) use form::{PackReader, pack_rows};

/// An engine whose packed rows read as if each stood alone.
pub(super) struct PackedStore {
    /// The engine.
    inner: Arc<dyn KeyValueStore>,
    /// What is remembered of it.
    kept: Arc<Kept>,
}

/// A view of such an engine.
struct PackedSnapshot {
    /// The engine's view.
    inner: Box<dyn KvSnapshot>,
    /// What is remembered of it.
    kept: Arc<Kept>,
}

/// The directories of some generations, by number.
type Directories = HashMap<u64, Arc<Directory>>;
/// Packs, by the number of the generation and their own.
type Packs = HashMap<(u64, u32), Arc<Pack>>;

/// A range of rows, and the part of it that is read at once.
struct Part<'r> {
    /// The range that was asked for.
    asked: &'r KeyRange,
    /// As much of it as the packs hold that are read.
    read: KeyRange,
    /// The generation.
    number: u64,
    /// The packs that hold rows of it.
    packs: std::ops::Range<u32>,
}

impl PackedStore {
    /// Puts itself before an engine.
    pub(super) fn new(inner: Arc<dyn KeyValueStore>) -> Self {
        Self { inner, kept: Arc::default() }
    }
}

#[async_trait]
impl KeyValueStore for PackedStore {
    fn limits(&self) -> KvLimits {
        self.inner.limits()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        let (inner, kept) = (self.inner.snapshot().await?, Arc::clone(&self.kept));
        Ok(Box::new(PackedSnapshot { inner, kept }))
    }

    async fn glimpse(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        let (inner, kept) = (self.inner.glimpse().await?, Arc::clone(&self.kept));
        Ok(Box::new(PackedSnapshot { inner, kept }))
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        self.inner.submit(commit).await
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        self.inner.changes(after).await
    }

    fn health(&self) -> Result<(), KvError> {
        self.inner.health()
    }

    fn check_room(&self, octets: u64) -> Result<(), KvError> {
        self.inner.check_room(octets)
    }

    fn report(&self) -> EngineReport {
        self.inner.report()
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.inner.revision().await
    }
}

#[async_trait]
impl KvSnapshot for PackedSnapshot {
    async fn revision(&self) -> Result<u64, KvError> {
        self.inner.revision().await
    }

    async fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Versioned>>, KvError> {
        if keys.iter().any(|key| keys::packed_number(key).is_some()) {
            return Ok(self.look(keys, &[], 1).await?.0);
        }
        self.inner.get_many(keys).await
    }

    async fn range(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, KvError> {
        if keys::packed_number(&range.start).is_none() {
            return self.inner.range(range, cursor, limit).await;
        }
        let mut range = range.beyond(cursor);
        loop {
            let (_, pages) = self.look(&[], std::slice::from_ref(&range), limit).await?;
            let page = pages.into_iter().next().ok_or(MISSING)?;
            match page.next {
                // All that stood there was deleted.
                Some(Cursor(next)) if page.entries.is_empty() => range.start = next,
                next => return Ok(Page { next, ..page }),
            }
        }
    }

    async fn look(
        &self,
        keys: &[Vec<u8>],
        ranges: &[KeyRange],
        limit: u32,
    ) -> Result<(Vec<Option<Versioned>>, Vec<Page>), KvError> {
        let starts = ranges.iter().map(|range| &range.start);
        let numbers: BTreeSet<u64> =
            keys.iter().chain(starts).filter_map(|key| keys::packed_number(key)).collect();
        if numbers.is_empty() {
            return self.inner.look(keys, ranges, limit).await;
        }
        let directories = self.directories(numbers).await?;
        let holders: Vec<Option<(u64, u32)>> =
            keys.iter().map(|key| holder(&directories, key)).collect();
        let packs_max = (PACKS_READ_MAX / ranges.len().max(1)).max(1);
        let packs_max = u32::try_from(packs_max).unwrap_or(1).min(1 + limit / PACK_RRSETS);
        let part = |range| part_of(&directories, range, packs_max);
        let parts: Vec<Option<Part<'_>>> = ranges.iter().map(part).collect();
        let of_part =
            |part: &Part<'_>| part.packs.clone().map(|index| (part.number, index)).collect();
        let of_parts = parts.iter().flatten().flat_map(|part| -> Vec<_> { of_part(part) });
        let wanted: BTreeSet<(u64, u32)> =
            holders.iter().flatten().copied().chain(of_parts).collect();
        let mut packs: Packs = self.kept.packs(&wanted);
        let missing: Vec<(u64, u32)> =
            wanted.into_iter().filter(|pack| !packs.contains_key(pack)).collect();
        let pack_keys = missing.iter().map(|(number, index)| keys::pack_key(*number, *index));
        let all_keys: Vec<Vec<u8>> = keys.iter().cloned().chain(pack_keys).collect();
        let to_read = parts.iter().zip(ranges);
        let to_read: Vec<KeyRange> = to_read
            .map(|(part, range)| part.as_ref().map_or(range, |part| &part.read).clone())
            .collect();
        let (mut values, pages) = match to_read.is_empty() {
            true => (self.inner.get_many(&all_keys).await?, Vec::new()),
            false => self.inner.look(&all_keys, &to_read, limit).await?,
        };
        self.take_packs(missing, values.split_off(keys.len()), &mut packs)?;
        for ((key, value), holder) in keys.iter().zip(&mut values).zip(holders) {
            *value = match value.take() {
                over if keys::packed_number(key).is_none() => over,
                Some(over) => Some(over).filter(|over| !over.value.is_empty()),
                None => match holder {
                    Some(place) => packs.get(&place).ok_or(MISSING)?.find(&key[ROW_AT..])?,
                    None => None,
                },
            };
        }
        let merge = |(part, page): (Option<Part<'_>>, Page)| match part {
            Some(part) => part.merge(&packs, page, limit),
            None => Ok(page),
        };
        let pages = parts.into_iter().zip(pages).map(merge).collect::<Result<_, _>>()?;
        Ok((values, pages))
    }
}

impl PackedSnapshot {
    /// Returns the directories of some generations.
    async fn directories(&self, numbers: BTreeSet<u64>) -> Result<Directories, KvError> {
        let mut directories = self.kept.directories(&numbers);
        for number in numbers {
            if let Entry::Vacant(vacant) = directories.entry(number) {
                let directory = Arc::new(Directory::read(&*self.inner, number).await?);
                self.kept.keep_directory(number, &directory);
                vacant.insert(directory);
            }
        }
        Ok(directories)
    }

    /// Takes packs that were read.
    fn take_packs(
        &self,
        places: Vec<(u64, u32)>,
        read: Vec<Option<Versioned>>,
        packs: &mut Packs,
    ) -> Result<(), KvError> {
        // What many are read of at once is not soon asked for again.
        let is_kept = places.len() <= PACKS_KEPT_AT_ONCE_MAX;
        for (place, found) in places.into_iter().zip(read) {
            let Versioned { value, revision } = found.ok_or(MISSING)?;
            let pack = Arc::new(Pack { octets: value, revision });
            if is_kept {
                self.kept.keep_pack(place, &pack);
            }
            packs.insert(place, pack);
        }
        Ok(())
    }
}

/// Returns the pack that has a row if any has it.
fn holder(directories: &Directories, key: &[u8]) -> Option<(u64, u32)> {
    let number = keys::packed_number(key)?;
    Some((number, directories.get(&number)?.holder(&key[ROW_AT..])?))
}

/// Returns the first part of a range of rows that stand in packs.
fn part_of<'r>(directories: &Directories, asked: &'r KeyRange, packs_max: u32) -> Option<Part<'r>> {
    let number = keys::packed_number(&asked.start)?;
    let directory = directories.get(&number)?;
    // An end that is of no row of the generation lies behind all of them.
    let end = Some(&asked.end).filter(|end| keys::packed_number(end) == Some(number));
    let mut packs = directory.holders(&asked.start[ROW_AT..], end.map(|end| &end[ROW_AT..]));
    let mut read = asked.clone();
    if packs.len() > packs_max as usize {
        packs.end = packs.start + packs_max;
        let first = directory.first(packs.end)?;
        read.end = [&asked.start[..ROW_AT], first].concat();
    }
    Some(Part { asked, read, number, packs })
}

impl Part<'_> {
    /// Puts rows over those of packs; up to `limit` (at least 1).
    fn merge(&self, packs: &Packs, over: Page, limit: u32) -> Result<Page, KvError> {
        let limit = limit.max(1) as usize;
        let end = over.next.map_or_else(|| self.read.end.clone(), |Cursor(next)| next);
        let (mut entries, mut next) = (Vec::new(), None);
        let mut over_rows = over.entries.into_iter().peekable();
        let mut push = |key: Vec<u8>, found: Versioned| -> bool {
            if found.value.is_empty() {
                return true;
            }
            if entries.len() >= limit {
                next = Some(Cursor(key));
                return false;
            }
            entries.push((key, found));
            true
        };
        let prefix = &self.asked.start[..ROW_AT];
        let (start, mut key, mut goes_on) = (&self.asked.start[..], prefix.to_vec(), true);
        'packs: for index in self.packs.clone() {
            let pack = packs.get(&(self.number, index)).ok_or(MISSING)?;
            let mut reader = PackReader::new(&pack.octets)?;
            while let Some((suffix, value)) = reader.next()? {
                key.truncate(ROW_AT);
                key.extend_from_slice(suffix);
                if key[..] < *start {
                    continue;
                }
                if key >= end {
                    break 'packs;
                }
                while goes_on
                    && let Some((over_key, found)) = over_rows.next_if(|(over, _)| *over < key)
                {
                    goes_on = push(over_key, found);
                }
                if !goes_on {
                    break 'packs;
                }
                let found = match over_rows.next_if(|(over, _)| *over == key) {
                    Some((_, found)) => found,
                    None => Versioned { value: value.to_vec(), revision: pack.revision },
                };
                goes_on = push(key.clone(), found);
            }
        }
        while goes_on && let Some((over_key, found)) = over_rows.next() {
            goes_on = push(over_key, found);
        }
        let next = next.or_else(|| (end < self.asked.end).then_some(Cursor(end)));
        Ok(Page { entries, next, revision: over.revision })
    }
}

/// Octets in front of what a pack knows of a row's key.
const ROW_AT: usize = keys::ROW_NAME_AT;
/// RRsets that a pack has at least, as a rule.
const PACK_RRSETS: u32 = 128;
/// Packs that are remembered if they are read at once. More are those of a zone that is read as a whole.
const PACKS_KEPT_AT_ONCE_MAX: usize = 8;

#[cfg(test)]
mod tests;
