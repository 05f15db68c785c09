//! Keeps versions for a restart, beside the task that follows: disks take their time.
//!
//! What cannot be kept costs the restart, not the answers: the version is served, it is tried again
//! every [`KEEP_RETRY_MS`], and until then the node says that it has a fault.
//!
//! **Invariant:** a version is kept for a restart, or known not to be, before anything of it becomes
//! visible; what is kept names nothing that the collector or a crash could take.
//! **Not here:** the files (`archive`), when a version is taken (`sync::mirror`).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::Follow;
use super::behind::HeldBack;
use crate::feed::segment::VersionRef;
use crate::feed::{Hash, Revision};
use crate::limits::{KEEP_MS_MAX, KEEP_RETRY_MS};
use crate::mesh::Blobs;
use crate::replica::archive::Adoption;
use crate::sync::mirror::Mirror;

/// A version that is to be kept.
#[derive(Debug)]
pub(super) struct Keeping {
    /// Its name.
    version: VersionRef,
    /// Its announcement.
    announcement: Bytes,
    /// Its root.
    root: Bytes,
    /// Where it holds.
    at: Revision,
    /// Its contents.
    contents: HashSet<Hash>,
    /// The task that writes it, unless it waits for the next try.
    pub(super) task: Option<JoinHandle<Result<Adoption, KeepError>>>,
    /// When the last try began.
    tried_at: Instant,
}

/// Why a version is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// Contents are gone since they were fetched.
    #[error("{} of its contents are gone from this machine", .0.len())]
    Lost(HashSet<Hash>),
    /// The disk does not take it.
    #[error("{0}")]
    Failed(String),
}

impl Follow {
    /// Begins to keep the version that is being taken, once all of it is here.
    pub(super) fn keep_version(&mut self) {
        if self.keeping.as_ref().is_some_and(|keeping| keeping.task.is_some()) {
            return;
        }
        let whole = self.client.with_mirror(|mirror| {
            mirror.whole_version().map(|whole| (whole, mirror.contents().cloned()))
        });
        let Some(((version, at, root), contents)) = whole.flatten() else { return };
        let announcement = self.relay.announcement(version).cloned();
        let (true, Some(announcement)) = (self.archive.is_some(), announcement) else {
            // Nothing is kept, or it was announced so long ago that its news are forgotten: a later
            // one is not far.
            self.client.with_mirror(|mirror| mirror.handle_kept(version));
            return;
        };
        let (contents, tried_at) = (contents.unwrap_or_default(), Instant::now());
        let keeping = Keeping { version, announcement, root, at, contents, task: None, tried_at };
        self.keeping = Some(keeping);
        self.try_to_keep();
    }

    /// Tries again to keep what could not be kept.
    pub(super) fn keep_again(&mut self) {
        let is_due = self.keeping.as_ref().is_some_and(|keeping| {
            let wait = Duration::from_millis(KEEP_RETRY_MS);
            keeping.task.is_none() && keeping.tried_at.elapsed() >= wait
        });
        if is_due {
            self.try_to_keep();
        }
    }

    /// Begins to write what is to be kept.
    fn try_to_keep(&mut self) {
        let (Some(keeping), Some(archive)) = (&mut self.keeping, &mut self.archive) else { return };
        let adoption = archive.prepare(&keeping.announcement, &keeping.root, keeping.at);
        keeping.tried_at = Instant::now();
        let (blobs, contents) = (self.mesh.blobs().clone(), keeping.contents.clone());
        let limit = Duration::from_millis(KEEP_MS_MAX);
        keeping.task = Some(tokio::spawn(async move {
            let kept = tokio::time::timeout(limit, keep(blobs, contents, adoption)).await;
            kept.unwrap_or_else(|_| Err(KeepError::Failed("it takes too long".to_owned())))
        }));
    }

    /// Takes that a version is kept, or could not be.
    pub(super) fn take_kept(&mut self, kept: Result<Adoption, KeepError>) {
        let Some(keeping) = &mut self.keeping else { return };
        let version = keeping.version;
        match (kept, &mut self.archive) {
            (Ok(adoption), Some(archive)) => {
                archive.finish(&adoption);
                self.kept = std::mem::take(&mut keeping.contents);
                self.keeping = None;
                self.unkept_since = None;
            }
            (Err(KeepError::Lost(lost)), _) => {
                tracing::warn!(
                    contents = lost.len(),
                    "contents are gone since they were fetched: they are fetched again"
                );
                self.keeping = None;
                self.unkept_since.get_or_insert_with(Instant::now);
                let is_taken = self.client.with_mirror(|mirror| {
                    let is_taken = mirror.handle_lost(version, lost);
                    if !is_taken {
                        mirror.retake();
                    }
                    is_taken
                });
                if is_taken == Some(true) {
                    return;
                }
            }
            (kept, _) => {
                if let Err(error) = kept
                    && self.unkept_since.is_none()
                {
                    tracing::warn!(%error,
                        "a version of the document cannot be kept for a restart: it is tried again");
                }
                self.unkept_since.get_or_insert_with(Instant::now);
            }
        }
        self.spared = None;
        self.client.with_mirror(|mirror| mirror.handle_kept(version));
    }

    /// Says since when what arrives cannot be kept, and has a version come that makes up for it.
    pub(super) fn note_keeping(&mut self) {
        let generation = self.mesh.blobs().generation();
        if generation != self.generation {
            // What the engine before had not written is gone with it.
            self.generation = generation;
            self.client.with_mirror(Mirror::retake);
        }
        let is_torn = self.archive.as_ref().is_some_and(|archive| archive.is_torn());
        if is_torn {
            self.torn_since.get_or_insert_with(Instant::now);
            self.client.with_mirror(Mirror::refresh);
        } else {
            self.torn_since = None;
        }
        let since = [self.unkept_since, self.torn_since].into_iter().flatten().min();
        self.client.note_unkept(since);
    }

    /// Spares the contents of the versions that are kept, adopted and taken.
    pub(super) fn spare(&mut self) {
        let taken = self.client.with_mirror(|mirror| {
            let edition = mirror.edition();
            (self.spared != Some(edition)).then(|| (edition, mirror.contents().cloned()))
        });
        let Some((edition, contents)) = taken.flatten() else { return };
        self.spared = Some(edition);
        let mut contents = contents.unwrap_or_default();
        contents.extend(self.keeping.iter().flat_map(|keeping| &keeping.contents));
        contents.extend(self.adopted.iter().chain(&self.kept));
        contents.extend(self.held_back.iter().flat_map(HeldBack::contents));
        self.keep.set(contents);
    }
}

/// Keeps a version whose contents are all there: on the disk, and named by its file.
async fn keep(
    blobs: Blobs,
    contents: HashSet<Hash>,
    adoption: Adoption,
) -> Result<Adoption, KeepError> {
    let failed = |error: &dyn std::fmt::Display| KeepError::Failed(error.to_string());
    let store = blobs.store();
    let mut lost = HashSet::new();
    for hash in contents {
        if !store.has(hash).await.map_err(|error| failed(&error))? {
            lost.insert(hash);
        }
    }
    if !lost.is_empty() {
        return Err(KeepError::Lost(lost));
    }
    store.sync_db().await.map_err(|error| failed(&error))?;
    let writing = tokio::task::spawn_blocking(move || adoption.write().map(|()| adoption));
    let written = writing.await.map_err(|error| failed(&error))?;
    written.map_err(|error| failed(&error))
}

/// Waits for the task that keeps a version; for ever when there is none.
pub(super) async fn kept(keeping: &mut Option<Keeping>) -> Result<Adoption, KeepError> {
    let Some(task) = keeping.as_mut().and_then(|keeping| keeping.task.as_mut()) else {
        return std::future::pending().await;
    };
    let kept = task.await;
    if let Some(keeping) = keeping {
        keeping.task = None;
    }
    kept.unwrap_or_else(|error| Err(KeepError::Failed(error.to_string())))
}
