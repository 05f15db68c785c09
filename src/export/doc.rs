//! The namespace of a feed: one entry, which names the newest version of the document; beside it stands what the
//! author says of the feed itself (`board`).
//!
//! Its value is the author's announcement of that version (`feed::segment`). It is written over with
//! every version, with a time that is the version's number: of two entries with one key the document
//! engine keeps the one with the later time, so that no clock decides. Nothing is ever deleted, as
//! deletes do not hold (an edge that was away brings back what was deleted).
//!
//! **Invariant:** the entry's number rises.
//! **Not here:** contents (`depot`), following the log (`mesh::stream`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use iroh_blobs::Hash as BlobHash;
use iroh_blobs::api::TempTag;
use iroh_docs::actor::SyncHandle;
use iroh_docs::api::Doc;
use iroh_docs::engine::LiveEvent;
use iroh_docs::store::{DownloadPolicy, Query};
use iroh_docs::sync::{Entry, Record, RecordIdentifier, SignedEntry};
use iroh_docs::{Author, Capability, ContentStatus, NamespaceSecret};
use n0_future::StreamExt as _;
use tokio::sync::mpsc;

use super::ExportError;
use super::identity::Identity;
use crate::feed::key;
use crate::limits::BLOBS_CALL_MS_MAX;
use crate::mesh::{Blobs, Mesh};

/// The namespace of a feed.
#[derive(Debug)]
pub(super) struct FeedDoc {
    /// The replica.
    doc: Doc,
    /// The engine below it.
    sync: SyncHandle,
    /// Signs entries as the namespace.
    namespace: NamespaceSecret,
    /// Signs them as the author.
    author: Author,
    /// This node, as whose entries come.
    own_id: [u8; 32],
    /// Where values are kept.
    blobs: Blobs,
    /// Holds the newest value.
    value: Mutex<Option<TempTag>>,
}

impl FeedDoc {
    /// Opens the namespace of `identity` and lets peers sync it.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn open(mesh: &Mesh, identity: &Identity) -> Result<Self, ExportError> {
        let docs = mesh.docs();
        docs_result(docs.author_import(identity.author.clone()).await)?;
        let capability = Capability::Write(identity.namespace.clone());
        let doc = docs_result(docs.import_namespace(capability).await)?;
        docs_result(doc.set_download_policy(DownloadPolicy::NothingExcept(Vec::new())).await)?;
        docs_result(doc.start_sync(Vec::new()).await)?;
        Ok(Self {
            doc,
            sync: mesh.sync().clone(),
            namespace: identity.namespace.clone(),
            author: identity.author.clone(),
            own_id: *mesh.endpoint().id().as_bytes(),
            blobs: mesh.blobs().clone(),
            value: Mutex::default(),
        })
    }

    /// Writes the announcement of a version with this number.
    ///
    /// # Errors
    /// [`ExportError::Docs`] and [`ExportError::Blobs`].
    pub(super) async fn put(&self, number: u64, value: Bytes) -> Result<(), ExportError> {
        let limit = Duration::from_millis(BLOBS_CALL_MS_MAX);
        let put = tokio::time::timeout(limit, self.write(number, value)).await;
        put.unwrap_or_else(|_| Err(ExportError::Docs { reason: "no answer in time".to_owned() }))
    }

    /// Writes the entry.
    async fn write(&self, number: u64, value: Bytes) -> Result<(), ExportError> {
        let len = value.len() as u64;
        let tag = self.blobs.store().add_bytes(value).temp_tag().await;
        let tag = tag.map_err(|error| ExportError::Blobs { reason: error.to_string() })?;
        let key = key::terminate(key::ROOT_KEY);
        let id = RecordIdentifier::new(self.namespace.id(), self.author.id(), key);
        let entry = Entry::new(id, Record::new(tag.hash(), len, number));
        let signed = SignedEntry::from_entry(entry, &self.namespace, &self.author);
        let status = ContentStatus::Complete;
        let inserting = self.sync.insert_remote(self.namespace.id(), signed, self.own_id, status);
        docs_result(inserting.await)?;
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
        Ok(())
    }

    /// Returns the hash and the number of the entry as it stands.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn newest(&self) -> Result<Option<(BlobHash, u64)>, ExportError> {
        let query = Query::author(self.author.id()).key_exact(key::terminate(key::ROOT_KEY));
        let mut stream = std::pin::pin!(docs_result(self.doc.get_many(query.build()).await)?);
        match stream.next().await {
            Some(entry) => {
                let entry = docs_result(entry)?;
                Ok(Some((entry.content_hash(), entry.timestamp())))
            }
            None => Ok(None),
        }
    }

    /// Hears of entries of our author that peers bring: the number that each has. It reads whatever
    /// happens, since an unread subscription would stop the document engine.
    ///
    /// # Errors
    /// [`ExportError::Docs`].
    pub(super) async fn returned(&self) -> Result<mpsc::Receiver<u64>, ExportError> {
        let mut events = docs_result(self.doc.subscribe().await)?;
        let (sender, receiver) = mpsc::channel(1);
        let author = self.author.id();
        let own = self.own_id;
        let root = key::terminate(key::ROOT_KEY);
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = sender.closed() => return,
                };
                let Some(event) = event else { return };
                if let Ok(LiveEvent::InsertRemote { entry, from, .. }) = event
                    && entry.author() == author
                    && *from.as_bytes() != own
                    && entry.key() == root
                {
                    // One that waits to be looked at stands for all: the entry itself is read.
                    let _ = sender.try_send(entry.timestamp());
                }
            }
        });
        Ok(receiver)
    }
}

/// Gives the engine's errors our type.
fn docs_result<T>(result: anyhow::Result<T>) -> Result<T, ExportError> {
    result.map_err(|error| ExportError::Docs { reason: format!("{error:#}") })
}
