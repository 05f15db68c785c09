//! The indexes of the document: which rows stand in which, and which are to be written anew.
//!
//! Most rows stand in buckets, by the hash of the apex, which are rarely written. What changed
//! since stands in runs behind them, each more than twice as long as the next, so that a version
//! costs about as many rows as it has changes. When the runs together have become long, they go
//! into the buckets that they touch.
//!
//! **Invariant:** the last index that has a row for a zone has its newest one.
//! **Not here:** rows (`book`), where indexes are kept (`depot`).

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher as _;

use fnv::FnvHasher;

use super::book::Book;
use crate::feed::index::Index;
use crate::feed::root::IndexRef;
use crate::limits::{INDEX_OCTETS_MAX, INDEX_ROWS_TARGET};
use crate::name::Name;

/// The indexes of the newest version.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The buckets; a power of two of them, or those of a version whose cut is not known.
    buckets: Vec<Vec<IndexRef>>,
    /// Whether `buckets` are cut by hash.
    is_cut: bool,
    /// What changed since, oldest first.
    runs: Vec<IndexRun>,
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
        Self { buckets: vec![indexes.to_vec()], is_cut: false, runs: Vec::new() }
    }

    /// All indexes in the order in which they count.
    pub(super) fn indexes(&self) -> Vec<IndexRef> {
        let runs = self.runs.iter().flat_map(|run| &run.indexes);
        self.buckets.iter().flatten().chain(runs).copied().collect()
    }

    /// Plans the indexes of a version in which the rows of `changed` are new.
    pub(super) fn plan(&self, book: &Book, mut changed: BTreeSet<Name>) -> ShelfPlan {
        let in_runs: usize = self.runs.iter().map(|run| run.apexes.len()).sum();
        let limit = (2 * INDEX_ROWS_TARGET).max(book.len() / 4);
        if self.is_cut && in_runs + changed.len() <= limit {
            let mut runs_kept = self.runs.len();
            while let Some(run) = runs_kept.checked_sub(1).and_then(|at| self.runs.get(at))
                && run.apexes.len() <= 2 * changed.len()
            {
                changed.extend(run.apexes.iter().cloned());
                runs_kept -= 1;
            }
            let indexes = write_rows(book, changed.iter());
            let indexes =
                indexes.into_iter().map(|(octets, rows)| (Slot::Run, octets, rows)).collect();
            let run = Some(changed).filter(|changed| !changed.is_empty());
            let rewritten = BTreeSet::new();
            return ShelfPlan {
                indexes,
                gone: Vec::new(),
                runs_kept,
                run,
                bucket_count: None,
                rewritten,
            };
        }
        self.plan_buckets(book, changed)
    }

    /// Plans to put the rows of all runs and of `changed` into buckets.
    fn plan_buckets(&self, book: &Book, mut changed: BTreeSet<Name>) -> ShelfPlan {
        for run in &self.runs {
            changed.extend(run.apexes.iter().cloned());
        }
        let wanted = book.len().div_ceil(INDEX_ROWS_TARGET).next_power_of_two();
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
            for (octets, rows) in write_rows(book, apexes.into_iter()) {
                indexes.push((Slot::Bucket(*bucket), octets, rows));
            }
        }
        let gone = book.apexes().filter(|apex| !book.is_in_doc(apex)).cloned().collect();
        ShelfPlan {
            indexes,
            gone,
            runs_kept: 0,
            run: None,
            bucket_count: (!is_cut).then_some(count),
            rewritten,
        }
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

/// Writes the rows of zones into indexes; returns octets and the number of rows of each.
fn write_rows<'a>(book: &Book, apexes: impl Iterator<Item = &'a Name>) -> Vec<(Vec<u8>, u32)> {
    let mut written = Vec::new();
    let mut index = Index::default();
    let mut known = HashMap::new();
    let mut packs = 0;
    for apex in apexes {
        let row = book.row(apex, &mut index.bundles, &mut known);
        packs += row.zone.as_ref().map_or(0, |zone| zone.packs.len());
        index.rows.push(row);
        // A zone of many packs makes a long row.
        let is_full = index.rows.len() >= INDEX_ROWS_TARGET || packs >= INDEX_PACKS_TARGET;
        if is_full {
            written.push((index.to_octets(), index.rows.len() as u32));
            (index, packs) = (Index::default(), 0);
            known.clear();
        }
    }
    if !index.rows.is_empty() {
        written.push((index.to_octets(), index.rows.len() as u32));
    }
    debug_assert!(written.iter().all(|(octets, _)| octets.len() <= INDEX_OCTETS_MAX));
    written
}

/// Returns the bucket of a zone: the same on every machine (FNV-1a).
fn bucket_of(apex: &Name, count: usize) -> usize {
    let mut hasher = FnvHasher::default();
    hasher.write(apex.as_wire());
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as usize & (count - 1)
}

/// Packs of an index that its writer aims at.
const INDEX_PACKS_TARGET: usize = 16_384;
