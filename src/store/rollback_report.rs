//! What a rollback does to each zone, for those who ask for it.
//!
//! **Invariant:** what is said of a dry run is what a rollback at that moment would do.
//! **Not here:** the rollback (`store::rollback`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::draft::PutBack;
use super::generation::Generation;
use super::keys;
use super::kv::{Cursor, KeyRange, KvError, KvSnapshot};
use super::past::{Past, PastRows};
use super::row::Row;
use super::zone_object::ZoneObject;
use super::{dns_store::DnsStore, operation::StoreError};
use crate::limits::ZONE_PAGE_RRSETS;
use crate::name::Name;
use crate::record::RdataList;

/// What a rollback did, or would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RollbackReport {
    /// The zones that were something else, by name; the others are as they were.
    pub zones: Vec<RolledZone>,
    /// The revision of the commit, or of the newest one if there was nothing to do.
    pub revision: u64,
}

/// What becomes of a zone that is rolled back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RolledZone {
    /// The apex.
    pub apex: Name,
    /// What is done.
    pub step: RollbackStep,
    /// RRsets that are put, SOA and synthesized ones not counted; none if that was not counted.
    pub put: Option<u64>,
    /// RRsets that are removed; none if that was not counted.
    pub removed: Option<u64>,
    /// Whether settings change.
    pub is_settings_changed: bool,
    /// Whether the zone is served before, and whether it is afterwards.
    pub is_served: (bool, bool),
    /// The serial before, if there is a zone.
    pub serial_before: Option<u32>,
    /// The serial afterwards, if there is a zone then.
    pub serial: Option<u32>,
}

/// What is done to a zone that is rolled back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RollbackStep {
    /// Some of its RRsets, its SOA or its settings change.
    Changed,
    /// It was replaced as a whole since, and gets all that it had.
    Replaced,
    /// It was deleted since, and is there again.
    BroughtBack,
    /// It was made since, and is deleted.
    Deleted,
}

impl RollbackReport {
    /// Says what is done to zones, with their serials of the commit.
    pub(super) fn new(
        zones: &BTreeMap<Name, PutBack>,
        serials: &[(Name, u32)],
        revision: u64,
    ) -> Self {
        let serials: BTreeMap<&Name, u32> =
            serials.iter().map(|(apex, serial)| (apex, *serial)).collect();
        let zone = |(apex, put_back): (&Name, &PutBack)| {
            RolledZone::new(apex.clone(), put_back, serials.get(apex).copied())
        };
        Self { zones: zones.iter().map(zone).collect(), revision }
    }
}

impl RolledZone {
    /// Says what is done to a zone.
    fn new(apex: Name, put_back: &PutBack, serial: Option<u32>) -> Self {
        let PutBack { now, then, put, removed, rrsets } = put_back;
        let (now, then) = (now.as_deref(), then.as_deref());
        let (step, put, removed) = match (now, then) {
            (_, None) => {
                (RollbackStep::Deleted, Some(0), Some(now.map_or(0, |now| now.rrset_count)))
            }
            (None, Some(_)) => (RollbackStep::BroughtBack, Some(*rrsets), Some(0)),
            (Some(now), Some(then)) if now.generation == then.generation => {
                (RollbackStep::Changed, Some(*put), Some(*removed))
            }
            (Some(_), Some(_)) => (RollbackStep::Replaced, None, None),
        };
        let is_served =
            |object: Option<&ZoneObject>| object.is_some_and(|object| object.settings.is_enabled);
        let settings = |object: Option<&ZoneObject>| object.map(|object| object.settings.clone());
        Self {
            apex,
            step,
            put,
            removed,
            is_settings_changed: settings(now) != settings(then),
            is_served: (is_served(now), is_served(then)),
            serial_before: now.map(|now| now.serial),
            serial: serial.filter(|_| then.is_some()),
        }
    }
}

impl DnsStore {
    /// Counts what is put and removed of the zones that are replaced as a whole.
    pub(super) async fn count_replaced(
        &self,
        zones: &BTreeMap<Name, PutBack>,
        past: &Past,
        report: &mut RollbackReport,
    ) -> Result<(), StoreError> {
        let view = self.kv.snapshot().await?;
        for zone in &mut report.zones {
            if zone.step != RollbackStep::Replaced {
                continue;
            }
            let Some(PutBack { now: Some(now), then: Some(then), .. }) = zones.get(&zone.apex)
            else {
                continue;
            };
            let Ok(Some(past)) = past.zones().map(|zones| zones.get(&zone.apex)) else { continue };
            let Some(state) = &past.was else { continue };
            let counted = count(&*view, &zone.apex, (now.generation, then.generation), &state.rows);
            let (put, removed) = counted.await?;
            (zone.put, zone.removed) = (Some(put), Some(removed));
        }
        Ok(())
    }
}

/// Counts the RRsets that are put and removed where rows of one generation take the place of another's, some of
/// them changed.
async fn count(
    view: &dyn KvSnapshot,
    apex: &Name,
    (now, then): (Generation, Generation),
    changed: &PastRows,
) -> Result<(u64, u64), KvError> {
    let mut changed = Changed::new(then, apex, changed);
    let (mut now, mut then) = (Rows::new(view, now), Rows::new(view, then));
    let (mut put, mut removed) = (0, 0);
    let mut is = now.next().await?;
    let mut stored = then.next().await?;
    loop {
        while stored.as_ref().is_some_and(|(key, _)| changed.keys.contains(key)) {
            stored = then.next().await?;
        }
        // What is next of the zone as it becomes: a row that stands there, or one that is put back there.
        let is_changed_next = changed.is_before(stored.as_ref());
        let next = if is_changed_next { changed.rows.front() } else { stored.as_ref() };
        let order = match (&is, next) {
            (None, None) => return Ok((put, removed)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((is, _)), Some((next, _))) => is.cmp(next),
        };
        match order {
            Ordering::Less => removed += 1,
            Ordering::Greater => put += 1,
            Ordering::Equal => put += u64::from(is.as_ref() != next),
        }
        if order != Ordering::Greater {
            is = now.next().await?;
        }
        match (order, is_changed_next) {
            (Ordering::Less, _) => {}
            (_, true) => drop(changed.rows.pop_front()),
            (_, false) => stored = then.next().await?,
        }
    }
}

/// RRsets that are put back in a generation.
struct Changed {
    /// The keys of all that are something else there, those of removed ones too.
    keys: BTreeSet<Vec<u8>>,
    /// Those that are put, by rising key.
    rows: VecDeque<ReadRow>,
}

impl Changed {
    /// Takes them as they were.
    fn new(generation: Generation, apex: &Name, changed: &PastRows) -> Self {
        let (mut keys, mut rows) = (BTreeSet::new(), Vec::new());
        for ((owner, rtype), was) in changed {
            let key = keys::row_key(generation, apex, owner, *rtype);
            let key = key.get(keys::ROW_NAME_AT..).unwrap_or_default().to_vec();
            rows.extend(was.as_ref().map(|was| (key.clone(), was.clone())));
            keys.insert(key);
        }
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self { keys, rows: rows.into() }
    }

    /// Whether the next of them comes before a row.
    fn is_before(&self, row: Option<&ReadRow>) -> bool {
        match (self.rows.front(), row) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((changed, _)), Some((row, _))) => changed < row,
        }
    }
}

/// The key of a row, without what all rows of its generation have in front, its TTL in seconds and its records.
type ReadRow = (Vec<u8>, (u32, RdataList));

/// The rows of a generation, by rising key.
struct Rows<'v> {
    /// The view.
    view: &'v dyn KvSnapshot,
    /// Their range.
    range: KeyRange,
    /// Where the next page begins; none at the end.
    cursor: Option<Cursor>,
    /// Rows that were read.
    ready: VecDeque<ReadRow>,
}

impl<'v> Rows<'v> {
    /// Begins at the first.
    fn new(view: &'v dyn KvSnapshot, generation: Generation) -> Self {
        let range = keys::rows_of_generation(generation);
        let cursor = Some(Cursor(range.start.clone()));
        Self { view, range, cursor, ready: VecDeque::new() }
    }

    /// Returns the next one.
    async fn next(&mut self) -> Result<Option<ReadRow>, KvError> {
        while self.ready.is_empty()
            && let Some(cursor) = self.cursor.take()
        {
            let page = self.view.range(&self.range, Some(&cursor), ZONE_PAGE_RRSETS).await?;
            self.cursor = page.next;
            for (key, found) in page.entries {
                let Row { ttl_s, rdata, .. } = Row::decode(&found.value)?;
                let key = key.get(keys::ROW_NAME_AT..).unwrap_or_default().to_vec();
                self.ready.push_back((key, (ttl_s, rdata)));
            }
        }
        Ok(self.ready.pop_front())
    }
}
