//! The indexes of the document: which rows stand in which, and which are to be written anew.
//!
//! Most rows stand in buckets, by the hash of the apex, which are rarely written. What changed
//! since stands in runs behind them, each more than twice as long as the next, so that a version
//! costs about as many rows as it has changes. When the runs together have become long, they go
//! into the buckets that they touch. Where there are very many zones, indexes hold more rows each, so
//! that a root can name all of them.
//!
//! **Invariant:** the last index that has a row for a zone has its newest one.
//! **Not here:** rows (`book`), where indexes are kept (`depot`).

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher as _;

use fnv::FnvHasher;

use super::book::Book;
use crate::feed::index::Index;
use crate::feed::root::IndexRef;
use crate::limits::{
    INDEX_OCTETS_MAX, INDEX_ROWS_MAX, INDEX_ROWS_TARGET, NAME_OCTETS_MAX, ROOT_INDEXES_MAX,
    ZONE_PACKS_MAX,
};
use crate::name::Name;
use crate::octets::DecodeError;

/// The indexes of the newest version.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// What its writer aims at.
    aim: Aim,
    /// The buckets; a power of two of them, or those of a version whose cut is not known.
    buckets: Vec<Vec<IndexRef>>,
    /// Whether `buckets` are cut by hash.
    is_cut: bool,
    /// What changed since, oldest first.
    runs: Vec<IndexRun>,
}

/// What the writer of indexes aims at.
#[derive(Clone, Copy, Debug)]
struct Aim {
    /// Rows of an index, as long as that does not make too many of them.
    rows_min: usize,
    /// Buckets at most. They may need two indexes each, and the runs some more.
    buckets_max: usize,
}

/// Rows that stand behind the buckets.
#[derive(Debug)]
struct IndexRun {
    /// The zones.
    apexes: BTreeSet<Name>,
    /// Where the rows stand.
    indexes: Vec<IndexRef>,
}

/// What is to be written for a version.
#[derive(Debug, Default)]
pub(super) struct ShelfPlan {
    /// The places and what is to stand there.
    pub(super) indexes: Vec<(Slot, Vec<u8>, u32)>,
    /// Zones that no index tells of any more, once it is written.
    pub(super) gone: Vec<Name>,
    /// How many runs stay.
    runs_kept: usize,
    /// The zones of the new run, if there is one.
    run: Option<BTreeSet<Name>>,
    /// How many buckets there are afterwards; `None` if as many as before.
    bucket_count: Option<usize>,
    /// The buckets that are written.
    rewritten: BTreeSet<usize>,
}

/// Where an index stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    /// In a bucket.
    Bucket(usize),
    /// In the new run.
    Run,
}

impl Shelf {
    /// The indexes of a version that was written before.
    pub(super) fn adopted(indexes: &[IndexRef]) -> Self {
        Self { buckets: vec![indexes.to_vec()], ..Self::default() }
    }

    /// All indexes in the order in which they count.
    pub(super) fn indexes(&self) -> Vec<IndexRef> {
        let runs = self.runs.iter().flat_map(|run| &run.indexes);
        self.buckets.iter().flatten().chain(runs).copied().collect()
    }

    /// Plans the indexes of a version in which the rows of `changed` are new.
    ///
    /// # Errors
    /// [`DecodeError`] if nobody could read an index.
    pub(super) fn plan(
        &self,
        book: &Book,
        mut changed: BTreeSet<Name>,
    ) -> Result<ShelfPlan, DecodeError> {
        let in_runs: usize = self.runs.iter().map(|run| run.apexes.len()).sum();
        let rows_target = self.aim.rows(book.len());
        let limit = (2 * rows_target).max(book.len() / 4);
        if self.is_cut && in_runs + changed.len() <= limit {
            let mut runs_kept = self.runs.len();
            while let Some(run) = runs_kept.checked_sub(1).and_then(|at| self.runs.get(at))
                && run.apexes.len() <= 2 * changed.len()
            {
                changed.extend(run.apexes.iter().cloned());
                runs_kept -= 1;
            }
            let indexes = write_rows(book, changed.iter(), rows_target)?;
            let indexes =
                indexes.into_iter().map(|(octets, rows)| (Slot::Run, octets, rows)).collect();
            let run = Some(changed).filter(|changed| !changed.is_empty());
            let rewritten = BTreeSet::new();
            return Ok(ShelfPlan {
                indexes,
                gone: Vec::new(),
                runs_kept,
                run,
                bucket_count: None,
                rewritten,
            });
        }
        self.plan_buckets(book, changed)
    }

    /// Plans to put the rows of all runs and of `changed` into buckets.
    fn plan_buckets(
        &self,
        book: &Book,
        mut changed: BTreeSet<Name>,
    ) -> Result<ShelfPlan, DecodeError> {
        for run in &self.runs {
            changed.extend(run.apexes.iter().cloned());
        }
        let rows_target = self.aim.rows(book.len());
        let wanted = book.len().div_ceil(rows_target).next_power_of_two();
        let is_cut =
            self.is_cut && wanted <= self.buckets.len() * 2 && wanted * 4 >= self.buckets.len();
        let count = if is_cut { self.buckets.len() } else { wanted };
        let rewritten: BTreeSet<usize> = if is_cut {
            changed.iter().map(|apex| bucket_of(apex, count)).collect()
        } else {
            (0..count).collect()
        };
        let mut rows: HashMap<usize, Vec<&Name>> = HashMap::new();
        for apex in book.apexes().filter(|apex| book.is_in_doc(apex)) {
            let bucket = bucket_of(apex, count);
            if rewritten.contains(&bucket) {
                rows.entry(bucket).or_default().push(apex);
            }
        }
        let mut indexes = Vec::new();
        for bucket in &rewritten {
            let mut apexes = rows.remove(bucket).unwrap_or_default();
            apexes.sort_unstable();
            for (octets, rows) in write_rows(book, apexes.into_iter(), rows_target)? {
                indexes.push((Slot::Bucket(*bucket), octets, rows));
            }
        }
        let gone = book.apexes().filter(|apex| !book.is_in_doc(apex)).cloned().collect();
        Ok(ShelfPlan {
            indexes,
            gone,
            runs_kept: 0,
            run: None,
            bucket_count: (!is_cut).then_some(count),
            rewritten,
        })
    }

    /// Takes a plan whose indexes are written; `refs` names them in order.
    pub(super) fn take(&mut self, plan: ShelfPlan, refs: Vec<IndexRef>) {
        debug_assert!(plan.indexes.len() == refs.len());
        if let Some(count) = plan.bucket_count {
            self.buckets = vec![Vec::new(); count];
            self.is_cut = true;
        }
        for bucket in &plan.rewritten {
            self.buckets[*bucket].clear();
        }
        self.runs.truncate(plan.runs_kept);
        let mut in_run = Vec::new();
        for ((slot, ..), index) in plan.indexes.iter().zip(refs) {
            match slot {
                Slot::Bucket(bucket) => self.buckets[*bucket].push(index),
                Slot::Run => in_run.push(index),
            }
        }
        if let Some(apexes) = plan.run {
            self.runs.push(IndexRun { apexes, indexes: in_run });
        }
    }
}

impl Aim {
    /// Rows of an index where there are so many zones.
    fn rows(self, zones: usize) -> usize {
        zones.div_ceil(self.buckets_max).clamp(self.rows_min, INDEX_ROWS_MAX as usize)
    }
}

impl Default for Aim {
    fn default() -> Self {
        Self { rows_min: INDEX_ROWS_TARGET, buckets_max: ROOT_INDEXES_MAX as usize / 8 }
    }
}

/// Writes the rows of zones into indexes; returns octets and the number of rows of each.
fn write_rows<'a>(
    book: &Book,
    apexes: impl Iterator<Item = &'a Name>,
    rows_target: usize,
) -> Result<Vec<(Vec<u8>, u32)>, DecodeError> {
    let packs_target = (rows_target * ROW_PACKS_TARGET).min(INDEX_PACKS_TARGET_MAX);
    let mut written = Vec::new();
    let mut index = Index::default();
    let mut known = HashMap::new();
    let mut packs = 0;
    for apex in apexes {
        let row = book.row(apex, &mut index.bundles, &mut known);
        packs += row.zone.as_ref().map_or(0, |zone| zone.packs.len());
        index.rows.push(row);
        // A zone of many packs makes a long row.
        let is_full = index.rows.len() >= rows_target || packs >= packs_target;
        if is_full {
            written.push((index.to_octets()?, index.rows.len() as u32));
            (index, packs) = (Index::default(), 0);
            known.clear();
        }
    }
    if !index.rows.is_empty() {
        written.push((index.to_octets()?, index.rows.len() as u32));
    }
    Ok(written)
}

/// Returns the bucket of a zone: the same on every machine (FNV-1a).
fn bucket_of(apex: &Name, count: usize) -> usize {
    let mut hasher = FnvHasher::default();
    hasher.write(apex.as_wire());
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as usize & (count - 1)
}

/// Packs of an index that its writer aims at, for each of its rows.
const ROW_PACKS_TARGET: usize = 16;
/// Packs of an index that its writer aims at, however many rows.
const INDEX_PACKS_TARGET_MAX: usize = 131_072;
/// Octets that a pack takes in an index at most: its place, and a bundle of its own.
const PACK_PLACE_OCTETS_MAX: usize = 5 + 5 + 5 + 36;
/// Octets of a row at most, without its packs.
const ROW_OCTETS_MAX: usize = NAME_OCTETS_MAX + 1 + 8 + 4 + 24 + 10 + 10;
const _: () = assert!(
    INDEX_OCTETS_MAX
        > 64 + INDEX_ROWS_MAX as usize * ROW_OCTETS_MAX
            + (INDEX_PACKS_TARGET_MAX + ZONE_PACKS_MAX as usize) * PACK_PLACE_OCTETS_MAX,
    "zones of which each has as many packs as it may fit an index"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::book::{Built, Head};
    use crate::feed::digest::DigestKey;

    /// Puts zones into a book; returns their apexes.
    fn put_zones(book: &mut Book, from: usize, to: usize) -> BTreeSet<Name> {
        let apexes: BTreeSet<Name> =
            (from..to).map(|zone| format!("z{zone}.test").parse().expect("a name")).collect();
        for apex in &apexes {
            let doc = Head { revision: 1, is_there: true, ..Head::default() };
            let apex = apex.clone();
            book.put_doc(Built { apex, doc, names: None, places: Vec::new() });
        }
        apexes
    }

    /// Writes a version; returns how many indexes it has.
    fn write(shelf: &mut Shelf, book: &Book, changed: BTreeSet<Name>) -> usize {
        let plan = shelf.plan(book, changed).expect("within the limits");
        let index = |(_, octets, rows): &(Slot, Vec<u8>, u32)| {
            let len = octets.len() as u32;
            IndexRef { hash: [0; 32], len, rows: *rows }
        };
        let refs = plan.indexes.iter().map(index).collect();
        shelf.take(plan, refs);
        shelf.indexes().len()
    }

    #[test]
    fn a_root_can_name_all_indexes_however_many_zones_there_are() {
        // As with the real limits, and zones enough to fill them a few times.
        let aim = Aim { rows_min: 4, buckets_max: 16 };
        let indexes_max = aim.buckets_max * 8;
        let mut shelf = Shelf { aim, ..Shelf::default() };
        let mut book = Book::new(DigestKey([0; 16]));
        let mut most = 0;
        let mut count = 0;
        while count < 40 * aim.rows_min * indexes_max {
            let step = 1 + count / 7;
            let changed = put_zones(&mut book, count, count + step);
            count += step;
            let one = changed.first().cloned();
            most = most.max(write(&mut shelf, &book, changed));
            // One zone more is a run of its own.
            most = most.max(write(&mut shelf, &book, one.into_iter().collect()));
            assert!(most <= indexes_max / 2, "{most} indexes of {count} zones");
        }
        assert!(most > aim.buckets_max, "{most}");
    }

    #[test]
    fn rows_grow_where_a_root_would_name_too_many_indexes_and_not_before() {
        let aim = Aim::default();
        let most = INDEX_ROWS_TARGET * aim.buckets_max;
        for (zones, rows) in [
            (0, INDEX_ROWS_TARGET),
            (most - 1, INDEX_ROWS_TARGET),
            (most, INDEX_ROWS_TARGET),
            (most + 1, INDEX_ROWS_TARGET + 1),
            (aim.buckets_max * INDEX_ROWS_MAX as usize, INDEX_ROWS_MAX as usize),
            (aim.buckets_max * INDEX_ROWS_MAX as usize + 1, INDEX_ROWS_MAX as usize),
        ] {
            assert_eq!(aim.rows(zones), rows, "{zones} zones");
        }
        for zones in [8_388_608, 8_388_609, 100_000_000_usize] {
            let buckets = zones.div_ceil(aim.rows(zones)).next_power_of_two();
            assert!(buckets <= aim.buckets_max, "{zones}");
        }
    }
}
