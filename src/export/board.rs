//! Tells those who follow a feed what its author says of the feed itself (`feed::notice`).
//!
//! Over the log to whoever follows now, and in an entry of the namespace for those who are off.
//!
//! **Invariant:** the number of what is told rises.
//! **Not here:** what is told (`node`), what an edge does about it (`replica`).

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use iroh_blobs::api::TempTag;
use iroh_docs::ContentStatus;
use iroh_docs::actor::SyncHandle;
use iroh_docs::sync::{Entry, Record, RecordIdentifier, SignedEntry};
use tokio::sync::Mutex;

use super::ExportError;
use super::identity::Identity;
use crate::feed::key;
use crate::feed::notice::Notice;
use crate::mesh::log::Log;
use crate::mesh::{Blobs, Keep, Mesh};

/// What was told of a feed, and how to tell more.
#[derive(Debug)]
pub(super) struct NoticeBoard {
    /// The engine of documents.
    sync: SyncHandle,
    /// Where values are kept.
    blobs: Blobs,
    /// Who signs.
    identity: Identity,
    /// This node, as whose entries come.
    own_id: [u8; 32],
    /// The log.
    log: Arc<Log>,
    /// Has the value be of this feed.
    keep: Keep,
    /// The number that was told last, and what holds its value.
    told: Mutex<(u64, Option<TempTag>)>,
}

impl NoticeBoard {
    /// A board on which nothing stands.
    pub(super) fn new(mesh: &Mesh, identity: Identity, log: Arc<Log>) -> Self {
        Self {
            sync: mesh.sync().clone(),
            blobs: mesh.blobs().clone(),
            own_id: *mesh.endpoint().id().as_bytes(),
            keep: mesh.keep(*identity.namespace.id().as_bytes()),
            identity,
            log,
            told: Mutex::default(),
        }
    }

    /// Tells something, if nothing with such a number or a higher one was told.
    ///
    /// # Errors
    /// [`ExportError::Blobs`] and [`ExportError::Docs`]; those who follow have been told then.
    pub(super) async fn tell(&self, notice: &Notice) -> Result<(), ExportError> {
        let mut told = self.told.lock().await;
        if notice.number <= told.0 {
            return Ok(());
        }
        let octets = notice.to_octets(|octets| self.identity.author.sign(octets).to_bytes());
        let octets = Bytes::from(octets);
        self.log.set_notice(notice.number, &octets);
        let len = octets.len() as u64;
        let tag = self.blobs.store().add_bytes(octets).temp_tag().await;
        let tag = tag.map_err(|error| ExportError::Blobs { reason: error.to_string() })?;
        self.keep.set(HashSet::from([*tag.hash().as_bytes()]));
        let (namespace, author) = (&self.identity.namespace, &self.identity.author);
        let key = key::terminate(key::NOTICE_KEY);
        let id = RecordIdentifier::new(namespace.id(), author.id(), key);
        let entry = Entry::new(id, Record::new(tag.hash(), len, notice.number));
        let signed = SignedEntry::from_entry(entry, namespace, author);
        let status = ContentStatus::Complete;
        let inserting = self.sync.insert_remote(namespace.id(), signed, self.own_id, status);
        inserting.await.map_err(|error| ExportError::Docs { reason: format!("{error:#}") })?;
        *told = (notice.number, Some(tag));
        Ok(())
    }
}
