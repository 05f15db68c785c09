//! Where a feed's contents are kept: by hash, until nobody has a use for them.
//!
//! **Invariant:** what was put is there until a set of contents to be kept is told that lacks it.
//! **Not here:** which contents those are (`shelf`), the store of blobs (`mesh`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use iroh_blobs::api::TempTag;

use super::ExportError;
use crate::feed::Hash;
use crate::limits::BLOBS_CALL_MS_MAX;
use crate::mesh::blobs::Looked;
use crate::mesh::{Blobs, Keep};

/// Contents by hash.
#[async_trait]
pub(super) trait Depot: Send + Sync {
    /// Puts a content and returns its hash.
    ///
    /// # Errors
    /// [`ExportError::Blobs`].
    async fn put(&self, octets: Bytes) -> Result<Hash, ExportError>;

    /// Returns a content; none if it is not there.
    ///
    /// # Errors
    /// [`ExportError::Blobs`].
    async fn get(&self, hash: Hash) -> Result<Option<Bytes>, ExportError>;

    /// Whether a content is there, whole.
    ///
    /// # Errors
    /// [`ExportError::Blobs`].
    async fn has(&self, hash: Hash) -> Result<bool, ExportError>;

    /// Reads contents, as nobody does who is only told that they are there, and returns which are gone.
    /// Where one is damaged all are begun anew: they are gone in the next generation.
    ///
    /// # Errors
    /// [`ExportError::Blobs`].
    async fn look_at(&self, hashes: Vec<Hash>) -> Result<HashSet<Hash>, ExportError>;

    /// Returns when all that was put outlives the process.
    ///
    /// # Errors
    /// [`ExportError::Blobs`].
    async fn sync(&self) -> Result<(), ExportError>;

    /// Counts how often the depot may have lost what was put.
    fn generation(&self) -> u64;

    /// Says which contents are of use; all others may go.
    fn keep(&self, hashes: HashSet<Hash>);
}

/// The contents of a mesh.
#[derive(Debug)]
pub(super) struct BlobDepot {
    /// The store.
    blobs: Blobs,
    /// What the store's collector spares for this feed.
    keep: Keep,
    /// Holds what was put and is not yet named by any set.
    tags: Mutex<HashMap<Hash, TempTag>>,
}

impl BlobDepot {
    /// A depot over a store.
    pub(super) fn new(blobs: Blobs, keep: Keep) -> Arc<Self> {
        Arc::new(Self { blobs, keep, tags: Mutex::default() })
    }
}

impl BlobDepot {
    /// Waits for the engine, but not for ever: one that has died may not say so.
    async fn within<T, E: std::fmt::Display>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ExportError> {
        let limit = Duration::from_millis(BLOBS_CALL_MS_MAX);
        let done = match tokio::time::timeout(limit, call).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        self.blobs.suspect();
        Err(ExportError::Blobs { reason: done })
    }
}

#[async_trait]
impl Depot for BlobDepot {
    async fn put(&self, octets: Bytes) -> Result<Hash, ExportError> {
        let store = self.blobs.store();
        let tag = self.within(async { store.add_bytes(octets).temp_tag().await }).await?;
        let hash = *tag.hash().as_bytes();
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, tag);
        Ok(hash)
    }

    async fn get(&self, hash: Hash) -> Result<Option<Bytes>, ExportError> {
        if !self.has(hash).await? {
            return Ok(None);
        }
        let store = self.blobs.store();
        self.within(async { store.get_bytes(hash).await }).await.map(Some)
    }

    async fn has(&self, hash: Hash) -> Result<bool, ExportError> {
        let store = self.blobs.store();
        self.within(async { store.has(hash).await }).await
    }

    async fn look_at(&self, hashes: Vec<Hash>) -> Result<HashSet<Hash>, ExportError> {
        let generation = self.blobs.generation();
        let reason = match self.blobs.look_at_all(hashes).await {
            Ok(gone) => return Ok(gone),
            Err(Looked::Damaged) => {
                tracing::warn!("contents of the feed are damaged: all of them are written anew");
                let renewed = self.blobs.renew(generation).await;
                renewed.err().map_or("they were damaged".to_owned(), |error| error.to_string())
            }
            Err(_) => "the store does not answer".to_owned(),
        };
        Err(ExportError::Blobs { reason })
    }

    async fn sync(&self) -> Result<(), ExportError> {
        let store = self.blobs.store();
        self.within(async { store.sync_db().await }).await
    }

    fn generation(&self) -> u64 {
        self.blobs.generation()
    }

    fn keep(&self, hashes: HashSet<Hash>) {
        self.keep.set(hashes);
        // What was put and is in no set belongs to a version that came to nothing.
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
