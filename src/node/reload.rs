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
    files: Mutex<ZoneFiles>,
    /// Where zones go.
    publisher: Arc<Publisher>,
}

impl Reload {
    /// Takes files whose zones are published already.
    pub fn new(files: ZoneFiles, publisher: Arc<Publisher>) -> Self {
        Self { files: Mutex::new(files), publisher }
    }

    /// Reads what has changed and publishes it; returns how many zones there are, unless the
    /// directory cannot be read. It blocks.
    pub fn run(&self) -> Option<u64> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let refreshed = match files.refresh() {
            Ok(refreshed) => refreshed,
            Err(error) => {
                tracing::error!("{error}; all zones are served as they were");
                return None;
            }
        };
        for failed in &refreshed.errors {
            tracing::error!("{}", failed.error);
        }
        let catalog = self.publisher.catalog();
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
        self.publisher.publish(changes);
        let (errors, zones) = (refreshed.errors.len(), refreshed.zone_count);
        tracing::info!(changed, gone, errors, zones, "zone files were read again");
        Some(zones)
    }
}
