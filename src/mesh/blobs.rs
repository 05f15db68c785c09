//! Opens the store of contents. Everything in it can be had again: at an authority from its store,
//! at an edge from a peer. So a damaged one is put aside, and a new one begun.
//!
//! **Invariant:** opening ends within [`BLOBS_OPEN_MS_MAX`], whatever stands in the files.
//! **Not here:** what is kept in it (`mesh::keep`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use iroh_blobs::api::Store as BlobStore;
use iroh_blobs::store::GcConfig;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options as BlobOptions;
use iroh_blobs::store::mem::{MemStore, Options as MemOptions};

use super::MeshError;
use crate::durable;
use crate::limits::BLOBS_OPEN_MS_MAX;

/// Opens the store below `dir`, or one in memory.
///
/// # Errors
/// [`MeshError::File`] and [`MeshError::Blobs`].
pub(super) async fn open(dir: Option<&Path>, gc: GcConfig) -> Result<BlobStore, MeshError> {
    let Some(dir) = dir else {
        let options = MemOptions { gc_config: Some(gc) };
        return Ok((*MemStore::new_with_opts(options)).clone());
    };
    let root = dir.join("blobs");
    let file = |source| MeshError::File { path: root.clone(), source };
    if let Some(damage) = find_damage(&root).await {
        let aside = durable::set_aside(&root).map_err(file)?;
        tracing::warn!(
            store = %root.display(), %damage, aside = %aside.display(),
            "the store of contents is damaged and was put aside: all of it is written or fetched anew"
        );
    }
    durable::create_dir(&root).map_err(file)?;
    let mut options = BlobOptions::new(&root);
    options.gc = Some(gc);
    let opening = FsStore::load_with_opts(root.join("blobs.db"), options);
    let limit = Duration::from_millis(BLOBS_OPEN_MS_MAX);
    match tokio::time::timeout(limit, opening).await {
        Ok(Ok(store)) => Ok((*store).clone()),
        Ok(Err(error)) => Err(MeshError::Blobs { reason: format!("{error:#}") }),
        Err(_) => Err(MeshError::Blobs { reason: "it does not answer".to_owned() }),
    }
}

/// Notes that the store holds what is not what its hash says, so that the next start begins anew.
pub(crate) fn mark_damaged(dir: &Path) -> std::io::Result<()> {
    durable::write(&mark_in(&dir.join("blobs")), b"a content is not what its hash says\n")
}

/// Returns what is wrong with the files of a store, if anything is.
async fn find_damage(root: &Path) -> Option<String> {
    if mark_in(root).exists() {
        return Some("a content was not what its hash says".to_owned());
    }
    let database = root.join("blobs.db");
    if !database.exists() {
        return None;
    }
    // A damaged file makes the store's own opening wait for ever for an actor that has panicked.
    let checking = tokio::task::spawn_blocking(move || check(database));
    let limit = Duration::from_millis(BLOBS_OPEN_MS_MAX);
    match tokio::time::timeout(limit, checking).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error),
        Ok(Err(_)) => Some("its database makes the engine fail".to_owned()),
        Err(_) => Some("its database cannot be read in time".to_owned()),
    }
}

/// Reads all of a database.
fn check(path: PathBuf) -> Result<(), String> {
    let database = redb::Database::builder().set_cache_size(CHECK_CACHE_OCTETS).open(path);
    let mut database = database.map_err(|error| error.to_string())?;
    match database.check_integrity() {
        Ok(true) => Ok(()),
        // It was repaired, as after a crash; what is gone is fetched again.
        Ok(false) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where it is noted that a store is damaged.
fn mark_in(root: &Path) -> PathBuf {
    root.join("damaged")
}

/// Octets of cache for a check.
const CHECK_CACHE_OCTETS: usize = 8 << 20;

/// The set of contents that every collection spares, as the collector asks for it.
pub(super) fn protect(
    keeps: super::keep::Keeps,
    documents: iroh_blobs::store::ProtectCb,
) -> iroh_blobs::store::ProtectCb {
    Arc::new(move |live| {
        keeps.add_to(live);
        documents(live)
    })
}
