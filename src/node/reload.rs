//! Reads zone files at the start, and again while they are served.
//!
//! **Invariant:** all that changed is published at once; what cannot be read is served as it was.
//! **Not here:** reading (`masterfiles`), the signal (`run`).

use std::sync::{Arc, Mutex, PoisonError};

use super::config::Config;
use super::error::RunError;
use super::state::BrokenFiles;
use crate::masterfiles::{FailedFile, Instead, Refreshed, ZoneFiles};
use crate::publish::stage::{Rank, Stage};
use crate::zone::HashSeed;

/// Reads the zones that files hold, for the first time.
///
/// A file that cannot be read does not keep the others back: what it was when it was good last is
/// served, or its apex is held; what is wrong with it is for [`log_failed`] to say.
///
/// # Errors
/// [`RunError::ZoneFile`]: the directory cannot be read; a named file is not there and never was good, or is one
/// that nothing can be answered for; or there is nothing at all. A named file that is gone is one that cannot be
/// read: what it was is served, and that it is gone is logged. Who does not want its zone any more does not name it.
pub(crate) fn load_static(
    config: &Config,
    seed: HashSeed,
) -> Result<(ZoneFiles, Refreshed), RunError> {
    let (dir, named) = (config.files.dir.clone(), config.files.named.clone());
    let compiled = (!config.files.is_empty()).then(|| config.data_dir.join("compiled"));
    let mut files = ZoneFiles::new(dir, named, compiled, seed);
    let mut loaded = files.refresh()?;
    if config.files.dir.is_some() && loaded.zone_count == 0 && loaded.errors.is_empty() {
        tracing::warn!("the zone directory holds no NAME.zone file");
    }
    for mut failed in std::mem::take(&mut loaded.errors) {
        let is_lost = match &failed.instead {
            Instead::LastGood(_) => false,
            Instead::Nothing(_) => failed.is_named && failed.error.is_missing_file(),
            Instead::Others => true,
        };
        if is_lost && (failed.is_named || loaded.zone_count == 0) {
            return Err(failed.error.into());
        }
        if is_lost {
            failed.instead = Instead::Others;
        }
        // Another source may have a zone of the apex: it is said once that has been published.
        loaded.errors.push(failed);
    }
    Ok((files, loaded))
}

/// Logs what is wrong with files, once all that other sources have is published: where one has a zone of the
/// apex, that is answered.
pub(crate) fn log_failed(stage: &Stage, failed: &mut [FailedFile]) {
    for failed in failed {
        if let Instead::Nothing(apex) = &failed.instead
            && [Rank::Feed, Rank::Store].iter().any(|rank| stage.zone(*rank, apex).is_some())
        {
            failed.instead = Instead::Others;
        }
        failed.log();
    }
}

/// Zone files and where their zones are published.
#[derive(Debug)]
pub(crate) struct Reload {
    /// The files; the lock lets one reading end before the next begins.
    files: Mutex<Option<ZoneFiles>>,
    /// Where zones go.
    stage: Arc<Stage>,
}

impl Reload {
    /// Takes files whose zones are published already.
    pub(crate) fn new(files: ZoneFiles, stage: Arc<Stage>) -> Self {
        Self { files: Mutex::new(Some(files)), stage }
    }

    /// Waits until what can be kept of the files is written. It blocks.
    pub(crate) fn stop(&self) {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(files) = files {
            files.stop();
        }
    }

    /// Reads what has changed and publishes it; returns how many zones there are and which files do
    /// not read, unless the directory cannot be read. It blocks.
    pub(crate) fn run(&self) -> Option<(u64, BrokenFiles)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refreshed = match files.as_mut()?.publish(&self.stage) {
            Ok(refreshed) => refreshed,
            Err(error) => {
                tracing::error!("{error}; all zones are served as they were");
                return None;
            }
        };
        log_failed(&self.stage, &mut refreshed.errors);
        let (gone, changed) = (refreshed.gone.len(), refreshed.changed.len());
        let (errors, zones) = (refreshed.errors.len(), refreshed.zone_count);
        tracing::info!(changed, gone, errors, zones, "zone files were read again");
        Some((zones, BrokenFiles::of(&refreshed.errors)))
    }
}
