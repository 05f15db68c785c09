//! Reads zone files again while they are served.
//!
//! **Invariant:** all that changed is published at once; what cannot be read is served as it was.
//! **Not here:** reading (`files`), the signal (`run`).

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::CatalogChange;
use crate::files::ZoneFiles;
use crate::publish::Publisher;
use crate::zone::Zone;

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
        let refreshed = match files.as_mut()?.refresh() {
            Ok(refreshed) => refreshed,
            Err(error) => {
                tracing::error!("{error}; all zones are served as they were");
                return None;
            }
        };
        for failed in &refreshed.errors {
            tracing::error!("{}", failed.error);
        }
        let catalog = publisher.catalog();
        // A zone of the store that took the place of one from a file is not ours to remove.
        let is_ours = |gone: &&Arc<Zone>| {
            catalog.zone(gone.apex()).is_some_and(|served| Arc::ptr_eq(served, gone))
        };
        let removes = refreshed.gone.iter().filter(is_ours);
        let mut changes: Vec<CatalogChange> =
            removes.map(|gone| CatalogChange::Remove(gone.apex().clone())).collect();
        let (gone, changed) = (changes.len(), refreshed.changed.len());
        changes.extend(refreshed.changed.into_iter().map(CatalogChange::Put));
        drop(catalog);
        publisher.publish(changes);
        let (errors, zones) = (refreshed.errors.len(), refreshed.zone_count);
        tracing::info!(changed, gone, errors, zones, "zone files were read again");
        Some(zones)
    }
}
