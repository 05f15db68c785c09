//! Reads zone files at the start, and again while they are served.
//!
//! **Invariant:** all that changed is published at once; what cannot be read is served as it was.
//! **Not here:** reading (`files`), the signal (`run`).

use std::sync::{Arc, Mutex, PoisonError};

use super::config::{Flags, Plan};
use super::run::RunError;
use crate::catalog::{AtApex, CatalogChange, HoldReason};
use crate::files::{Instead, Refreshed, ZoneFiles};
use crate::name::Name;
use crate::publish::Publisher;
use crate::zone::{HashSeed, Zone};

/// Reads the zones that files hold, for the first time.
///
/// A file that cannot be read does not keep the others back: what it was when it was good last is
/// served, or its apex is held.
///
/// # Errors
/// [`RunError::ZoneFile`]: the directory cannot be read; a named file is not there, or is one that
/// nothing can be answered for; or there is nothing at all.
pub fn load_static(
    flags: &Flags,
    plan: &Plan,
    seed: HashSeed,
) -> Result<(ZoneFiles, Refreshed), RunError> {
    let (dir, named) = (flags.zone_dir.clone(), flags.zone_file.clone());
    let has_files = dir.is_some() || !named.is_empty();
    let compiled = has_files.then(|| flags.data_dir.join("compiled"));
    let mut files = ZoneFiles::new(dir, named, compiled, seed);
    let mut loaded = files.refresh()?;
    if flags.zone_dir.is_some() && loaded.zone_count == 0 && loaded.errors.is_empty() {
        tracing::warn!("the zone directory holds no NAME.zone file");
    }
    // An edge has no way yet to hold what its feed may have.
    let may_hold = matches!(plan, Plan::Static | Plan::Authority(_));
    for mut failed in std::mem::take(&mut loaded.errors) {
        let is_lost = match &failed.instead {
            Instead::LastGood(_) => false,
            Instead::Nothing(_) => !may_hold || (failed.is_named && failed.error.is_missing_file()),
            Instead::Others => true,
        };
        if is_lost && (failed.is_named || loaded.zone_count == 0) {
            return Err(failed.error.into());
        }
        if is_lost {
            failed.instead = Instead::Others;
        }
        failed.log();
    }
    if !may_hold {
        loaded.held.clear();
    }
    Ok((files, loaded))
}

/// Returns what the first load of files publishes.
pub fn first_changes(loaded: Refreshed) -> Vec<CatalogChange> {
    let mut changes: Vec<CatalogChange> =
        loaded.changed.into_iter().map(CatalogChange::Put).collect();
    changes.extend(loaded.held.into_iter().map(hold));
    changes
}

/// Makes the change that holds an apex.
fn hold(apex: Name) -> CatalogChange {
    CatalogChange::Hold(apex, HoldReason::Broken)
}

/// Zone files and where their zones are published.
#[derive(Debug)]
pub struct Reload {
    /// The files; the lock lets one reading end before the next begins.
    files: Mutex<Option<ZoneFiles>>,
    /// Where zones go; an edge has a publisher that is not ours.
    publisher: Option<Arc<Publisher>>,
}

impl Reload {
    /// Takes files whose zones are published already.
    pub fn new(files: ZoneFiles, publisher: Option<Arc<Publisher>>) -> Self {
        Self { files: Mutex::new(Some(files)), publisher }
    }

    /// Waits until what can be kept of the files is written. It blocks.
    pub fn stop(&self) {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(files) = files {
            files.stop();
        }
    }

    /// Reads what has changed and publishes it; returns how many zones there are, unless the
    /// directory cannot be read. It blocks.
    pub fn run(&self) -> Option<u64> {
        let Some(publisher) = &self.publisher else {
            tracing::warn!("an edge reads its zone files at its start only");
            return None;
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refreshed = match files.as_mut()?.refresh() {
            Ok(refreshed) => refreshed,
            Err(error) => {
                tracing::error!("{error}; all zones are served as they were");
                return None;
            }
        };
        let catalog = publisher.catalog();
        for failed in &mut refreshed.errors {
            // Where the store has a zone of the apex, that is answered.
            if let Instead::Nothing(apex) = &failed.instead
                && catalog.zone(apex).is_some()
            {
                failed.instead = Instead::Others;
            }
            failed.log();
        }
        // A zone of the store that took the place of one from a file is not ours to remove.
        let is_ours = |gone: &&Arc<Zone>| {
            catalog.zone(gone.apex()).is_some_and(|served| Arc::ptr_eq(served, gone))
        };
        let removes = refreshed.gone.iter().filter(is_ours);
        let mut changes: Vec<CatalogChange> =
            removes.map(|gone| CatalogChange::Remove(gone.apex().clone())).collect();
        let (gone, changed) = (changes.len(), refreshed.changed.len());
        let is_held = |apex: &Name| matches!(catalog.at(apex), Some(AtApex::Held(_)));
        let released = refreshed.released.into_iter().filter(is_held);
        changes.extend(released.map(CatalogChange::Remove));
        let held = refreshed.held.into_iter().filter(|apex| catalog.at(apex).is_none());
        changes.extend(held.map(hold));
        changes.extend(refreshed.changed.into_iter().map(CatalogChange::Put));
        drop(catalog);
        publisher.publish(changes);
        let (errors, zones) = (refreshed.errors.len(), refreshed.zone_count);
        tracing::info!(changed, gone, errors, zones, "zone files were read again");
        Some(zones)
    }
}
