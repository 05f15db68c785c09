//! Makes the zones of a store that is in use what those of another store are: of a backup that was opened beside it.
//!
//! Each zone that differs is imported, with its settings, in one commit: its serial rises as with every import, so
//! edges and secondaries follow. What is equal is left alone.
//!
//! **Invariant:** no serial and no revision goes back; a zone is as it was or as the backup has it.
//! **Not here:** the way to an empty store (`store::backup::load`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backup::BackupError;
use super::backup::file::BackupFile;
use super::backup::load::Loader;
use super::dns_store::DnsStore;
use super::import::ImportForm;
use super::keys;
use super::kv::{Cursor, KvError, KvSnapshot};
use super::operation::StoreError;
use super::read::read_rows;
use super::redb::RedbStore;
use super::zone_object::ZoneObject;
use crate::limits::{RRSET_RECORDS_MAX, ZONE_PAGE_RRSETS};
use crate::name::Name;
use crate::record::Rrset;

/// How a backup is restored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RestoreOptions {
    /// Whether zones that the backup does not have stay.
    pub keeps_others: bool,
    /// Whether it is only told what would be done.
    pub is_dry_run: bool,
}

/// What was restored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RestoreReport {
    /// Zones that are now as the backup has them, and were not.
    pub restored: Vec<Name>,
    /// Zones that were so before.
    pub unchanged: u64,
    /// Zones that the backup does not have, and that were deleted.
    pub deleted: Vec<Name>,
    /// Zones that could not be restored, and why: they are as they were.
    pub failed: Vec<(Name, String)>,
    /// The revision of the newest commit.
    pub revision: u64,
}

impl DnsStore {
    /// Opens the backup in `file` as a store of its own, with its file in `dir`, which is there and empty.
    ///
    /// # Errors
    /// Every [`BackupError`].
    pub async fn open_backup(file: PathBuf, dir: &Path) -> Result<Arc<Self>, BackupError> {
        let lost = |error| BackupError::Kv(KvError::engine(error));
        let opening = tokio::task::spawn_blocking(move || BackupFile::open(&file));
        let mut file = opening.await.map_err(lost)??;
        let engine = Arc::new(RedbStore::open(&dir.join("store.redb"))?);
        let mut loader = Loader::begin(engine.clone()).await?;
        let history = *file.history();
        loop {
            let reading = tokio::task::spawn_blocking(move || (file.read(), file));
            let (entries, read) = reading.await.map_err(lost)?;
            file = read;
            let Some(entries) = entries? else { break };
            loader.write(entries).await?;
        }
        loader.flush().await?;
        loader.end(&history).await?;
        Self::open(engine).await.map_err(|error| match error {
            StoreError::Kv(error) => BackupError::Kv(error),
            error => BackupError::Kv(KvError::engine(error)),
        })
    }

    /// Makes the zones of this store those of `backup`. `progress` hears of each zone, and how many there are.
    ///
    /// # Errors
    /// Those of the engines; zones that were restored before stay so.
    pub async fn restore_from(
        &self,
        backup: &Self,
        options: RestoreOptions,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<RestoreReport, StoreError> {
        let view = backup.kv.snapshot().await?;
        let (is_same_key, own) = (backup.digest_key == self.digest_key, self.kv.snapshot().await?);
        let (there, here) = (objects(&*view).await?, objects(&*own).await?);
        let (mut report, total) = (RestoreReport::default(), there.len() as u64);
        for (done, (apex, object)) in there.iter().enumerate() {
            progress(done as u64, total);
            if is_same_key && here.get(apex).is_some_and(|found| is_equal(found, object)) {
                report.unchanged += 1;
                continue;
            }
            if !options.is_dry_run
                && let Err(error) = self.restore_zone(&*view, object).await
            {
                report.failed.push((apex.clone(), error.to_string()));
                continue;
            }
            report.restored.push(apex.clone());
        }
        let is_gone = |apex: &&Name| !options.keeps_others && !there.contains_key(*apex);
        // Nothing is taken away for a backup that does not come to stand in its place.
        let is_whole = report.failed.is_empty();
        for apex in here.keys().filter(is_gone).filter(|_| is_whole) {
            if !options.is_dry_run
                && let Err(error) = self.delete_zone(apex).await
            {
                report.failed.push((apex.clone(), error.to_string()));
                continue;
            }
            report.deleted.push(apex.clone());
        }
        report.revision = self.revision().await?;
        progress(total, total);
        Ok(report)
    }

    /// Imports one zone of a backup.
    async fn restore_zone(
        &self,
        view: &dyn KvSnapshot,
        object: &ZoneObject,
    ) -> Result<u64, StoreError> {
        let settings = object.settings.clone();
        let mut rrsets: Vec<Rrset> = Vec::new();
        if object.soa.is_some() {
            rrsets.push(object.soa_rrset());
        }
        let range = keys::rows_of_generation(object.generation);
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = view.range(&range, cursor.as_ref(), ZONE_PAGE_RRSETS).await?;
            read_rows(&page.entries, &settings.apex, &mut rrsets)?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let apex = settings.apex.clone();
        // What the zone had may be more than its settings allow now: they are meant for changes.
        let form = ImportForm { records_max: RRSET_RECORDS_MAX, serial: Some(object.serial) };
        self.import_of(&apex, rrsets, Some(settings), &[], form, &|_| {}).await
    }
}

/// Returns all zones of a view.
async fn objects(view: &dyn KvSnapshot) -> Result<BTreeMap<Name, ZoneObject>, StoreError> {
    let (mut objects, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = view.range(&keys::zone_range(), cursor.as_ref(), ZONES_PAGE).await?;
        for (_, found) in &page.entries {
            let object = ZoneObject::decode(&found.value)?;
            objects.insert(object.settings.apex.clone(), object);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(objects);
        }
    }
}

/// Whether two versions of a zone are the same but for the serial.
fn is_equal(one: &ZoneObject, other: &ZoneObject) -> bool {
    one.settings == other.settings
        && one.has_soa_of(other)
        && one.digest.is_some()
        && one.digest == other.digest
}

/// Zones of one page.
const ZONES_PAGE: u32 = 1_000;
