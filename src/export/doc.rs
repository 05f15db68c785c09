//! The namespace of a feed, as its one author writes it.
//!
//! A write names a content by hash; the content is held until the entry stands, so that the
//! collector of unused blobs does not take it in between. Entries carry the time of their
//! writing and a newer one is never replaced by an older one, so after the clock has stepped
//! back writes are refused until it has caught up: they are retried, in order, and counted.
//!
//! **Invariant:** writes reach the namespace in the order in which they are made.
//! **Not here:** what is written and when (`task`, `zone`).

use std::time::Duration;

use bytes::Bytes;
use iroh_blobs::Hash;
use iroh_blobs::api::{Store as BlobStore, TempTag};
use iroh_docs::api::Doc;
use iroh_docs::engine::LiveEvent;
use iroh_docs::store::{DownloadPolicy, Query};
use iroh_docs::{AuthorId, Capability, NamespaceId};
use n0_future::{Stream, StreamExt};

use super::ExportError;
use super::identity::Identity;
use crate::limits::{CLOCK_RETRY_MS_MAX, CLOCK_RETRY_MS_MIN};
use crate::mesh::Mesh;

/// One entry as it stands in the namespace.
#[derive(Clone, Debug)]
pub(super) struct StoredEntry {
    /// Its key.
    pub(super) key: Vec<u8>,
    /// The hash of its content.
    pub(super) hash: Hash,
}

/// The namespace of a feed.
#[derive(Debug)]
pub(super) struct FeedDoc {
    /// The replica.
    doc: Doc,
    /// Who writes.
    author: AuthorId,
    /// Where contents are kept.
    blobs: BlobStore,
    /// The content of all entries whose key says everything; held for ever.
    marker: TempTag,
    /// How often a write was refused because the clock had stepped back.
    clock_waits: u64,
}

impl FeedDoc {
    /// Opens the namespace of `identity` and lets peers sync it.
    ///
    /// # Errors
    /// [`ExportError::Docs`] and [`ExportError::Blobs`].
    pub(super) async fn open(mesh: &Mesh, identity: &Identity) -> Result<Self, ExportError> {
        let docs = mesh.docs();
        let author = docs_result(docs.author_import(identity.author.clone()).await)
            .map(|()| identity.author.id())?;
        let capability = Capability::Write(identity.namespace.clone());
        let doc = docs_result(docs.import_namespace(capability).await)?;
        docs_result(doc.set_download_policy(DownloadPolicy::NothingExcept(Vec::new())).await)?;
        let blobs = mesh.blobs().clone();
        let marker = add(&blobs, Bytes::from_static(&[MARKER])).await?;
        Ok(Self { doc, author, blobs, marker, clock_waits: 0 })
    }

    /// Lets peers sync the namespace.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn serve(&self) -> Result<(), ExportError> {
        docs_result(self.doc.start_sync(Vec::new()).await)
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> NamespaceId {
        self.doc.id()
    }

    /// The author.
    pub(super) fn author(&self) -> AuthorId {
        self.author
    }

    /// How often a write was refused because the clock had stepped back.
    pub(super) fn clock_waits(&self) -> u64 {
        self.clock_waits
    }

    /// Returns the events of the namespace.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn events(
        &self,
    ) -> Result<impl Stream<Item = anyhow::Result<LiveEvent>> + Send + Unpin + 'static, ExportError>
    {
        docs_result(self.doc.subscribe().await)
    }

    /// Returns every entry of our author that is not deleted.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn entries(&self) -> Result<Vec<StoredEntry>, ExportError> {
        let query = Query::author(self.author).build();
        let mut stream = std::pin::pin!(docs_result(self.doc.get_many(query).await)?);
        let mut entries = Vec::new();
        while let Some(entry) = stream.next().await {
            let entry = docs_result(entry)?;
            entries.push(StoredEntry { key: entry.key().to_vec(), hash: entry.content_hash() });
        }
        Ok(entries)
    }

    /// Writes an entry whose key says everything.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn put_key(&mut self, key: Vec<u8>) -> Result<(), ExportError> {
        let hash = self.marker.hash();
        self.put_hash(key, hash, 1).await
    }

    /// Writes an entry with a content.
    ///
    /// # Errors
    /// [`ExportError::Docs`] and [`ExportError::Blobs`].
    pub(super) async fn put(&mut self, key: Vec<u8>, content: Vec<u8>) -> Result<(), ExportError> {
        let len = content.len() as u64;
        let tag = add(&self.blobs, Bytes::from(content)).await?;
        self.put_hash(key, tag.hash(), len).await
    }

    /// Writes an entry with a content that the next one will replace anyway: a refusal for the
    /// clock's sake is counted, and what comes behind does not wait for it.
    ///
    /// # Errors
    /// [`ExportError::Docs`] and [`ExportError::Blobs`].
    pub(super) async fn put_or_skip(
        &mut self,
        key: Vec<u8>,
        content: Vec<u8>,
    ) -> Result<(), ExportError> {
        let len = content.len() as u64;
        let tag = add(&self.blobs, Bytes::from(content)).await?;
        let written = self.doc.set_hash(self.author, Bytes::from(key), tag.hash(), len).await;
        self.note_refusal(written).map(drop)
    }

    /// Writes an entry whose content is in the blob store already.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn put_hash(
        &mut self,
        key: Vec<u8>,
        hash: Hash,
        len: u64,
    ) -> Result<(), ExportError> {
        debug_assert!(len > 0, "an empty entry is a delete");
        let key = Bytes::from(key);
        let mut wait_ms = CLOCK_RETRY_MS_MIN;
        loop {
            let written = self.doc.set_hash(self.author, key.clone(), hash, len).await;
            match self.check_clock(written, &mut wait_ms).await? {
                Some(()) => return Ok(()),
                None => continue,
            }
        }
    }

    /// Removes every entry whose key begins with `prefix`.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn delete(&mut self, prefix: Vec<u8>) -> Result<(), ExportError> {
        let prefix = Bytes::from(prefix);
        let mut wait_ms = CLOCK_RETRY_MS_MIN;
        loop {
            let deleted = self.doc.del(self.author, prefix.clone()).await;
            match self.check_clock(deleted, &mut wait_ms).await? {
                Some(_) => return Ok(()),
                None => continue,
            }
        }
    }

    /// Whether the local store has the content of `hash`.
    pub(super) async fn has(&self, hash: Hash) -> bool {
        self.blobs.has(hash).await.unwrap_or(false)
    }

    /// Returns the content of `hash`, if the local store has it.
    pub(super) async fn content(&self, hash: Hash) -> Option<Bytes> {
        if !self.has(hash).await {
            return None;
        }
        self.blobs.get_bytes(hash).await.ok()
    }

    /// Turns a refusal for the clock's sake into `None`, after a wait.
    async fn check_clock<T>(
        &mut self,
        written: anyhow::Result<T>,
        wait_ms: &mut u64,
    ) -> Result<Option<T>, ExportError> {
        let written = self.note_refusal(written)?;
        if written.is_none() {
            tokio::time::sleep(Duration::from_millis(*wait_ms)).await;
            *wait_ms = (*wait_ms * 2).min(CLOCK_RETRY_MS_MAX);
        }
        Ok(written)
    }

    /// Turns a refusal for the clock's sake into `None`, counted, and logged the first time.
    fn note_refusal<T>(&mut self, written: anyhow::Result<T>) -> Result<Option<T>, ExportError> {
        let error = match written {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let text = format!("{error:#}");
        if !text.contains("newer entry exists") {
            return Err(ExportError::Docs { reason: text });
        }
        if self.clock_waits == 0 {
            tracing::warn!(
                "the clock has stepped back: live changes go on, manifests wait until it has caught up"
            );
        }
        self.clock_waits += 1;
        Ok(None)
    }
}

/// Puts a content into the blob store and holds it as long as the tag lives.
///
/// # Errors
/// [`ExportError::Blobs`].
pub(super) async fn add(blobs: &BlobStore, content: Bytes) -> Result<TempTag, ExportError> {
    let added = blobs.add_bytes(content).temp_tag().await;
    added.map_err(|error| ExportError::Blobs { reason: error.to_string() })
}

/// Gives the document engine's errors our type.
fn docs_result<T>(result: anyhow::Result<T>) -> Result<T, ExportError> {
    result.map_err(|error| ExportError::Docs { reason: format!("{error:#}") })
}

/// The content of entries whose key says everything. It is never fetched.
const MARKER: u8 = 1;
