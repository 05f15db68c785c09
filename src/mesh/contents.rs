//! Hands out contents, of whatever engine there is, to those who may have a feed that names them.
//!
//! A content that several feeds name is for whoever may have one of these. One that none names is for whoever
//! knows its hash, who was told it by somebody that may have it.
//!
//! **Invariant:** not an octet of a content that only feeds have which a peer may not goes to it.
//! **Not here:** who may (`mesh::access`), which feeds name what (`mesh::keep`).

use iroh::endpoint::{Connection, VarInt};
use iroh::protocol::{AcceptError, ProtocolHandler};
use iroh_blobs::provider::events::{
    AbortReason, EventMask, EventSender, ObserveMode, ProviderMessage, RequestMode,
};
use iroh_blobs::{BlobsProtocol, Hash as BlobHash};
use tokio::sync::mpsc;

use super::access::Access;
use super::blobs::Blobs;
use super::keep::Keeps;
use crate::limits::CONTENT_REQUESTS_WAITING_MAX;

/// Serves the contents of a store.
#[derive(Debug)]
pub(super) struct BlobsServer {
    /// The store.
    blobs: Blobs,
    /// Which feeds name what.
    keeps: Keeps,
    /// Who may have them.
    access: Access,
}

impl BlobsServer {
    /// A server of a store.
    pub(super) fn new(blobs: Blobs, keeps: Keeps, access: Access) -> Self {
        Self { blobs, keeps, access }
    }

    /// Whether a peer may have contents.
    fn judge(&self, id: &[u8; 32], hashes: &[BlobHash]) -> Result<(), AbortReason> {
        for hash in hashes {
            let is_open = |feed: &[u8; 32]| self.access.admits(feed, id);
            if let Some(feed) = self.keeps.closed_feed(hash.as_bytes(), is_open) {
                // It counts as refused of one of the feeds that have it.
                let _ = self.access.judge(&feed, id);
                return Err(AbortReason::Permission);
            }
        }
        Ok(())
    }

    /// Answers for each request of a peer whether it is to be fulfilled, until it is gone.
    async fn judge_all(&self, id: [u8; 32], mut asked: mpsc::Receiver<ProviderMessage>) {
        while let Some(asked) = asked.recv().await {
            // Who has asked may be gone.
            let _ = match asked {
                ProviderMessage::GetRequestReceived(asked) => {
                    let judged = self.judge(&id, &[asked.inner.request.hash]);
                    asked.tx.send(judged).await
                }
                ProviderMessage::GetManyRequestReceived(asked) => {
                    let judged = self.judge(&id, &asked.inner.request.hashes);
                    asked.tx.send(judged).await
                }
                ProviderMessage::ObserveRequestReceived(asked) => {
                    let judged = self.judge(&id, &[asked.inner.request.hash]);
                    asked.tx.send(judged).await
                }
                _ => Ok(()),
            };
        }
    }
}

impl ProtocolHandler for BlobsServer {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let mut generation = self.blobs.watch_generation();
        generation.borrow_and_update();
        let (events, asked) = EventSender::channel(CONTENT_REQUESTS_WAITING_MAX, MASK);
        let protocol = BlobsProtocol::new(&self.blobs.store(), Some(events));
        let judging = self.judge_all(*connection.remote_id().as_bytes(), asked);
        tokio::select! {
            done = protocol.accept(connection.clone()) => done,
            // It ends with what asks, and that with the connection.
            () = judging => Ok(()),
            _ = generation.changed() => {
                // The engine behind it is gone: who asks again is answered by the next.
                connection.close(VarInt::from_u32(CLOSE_ANEW), b"anew");
                Ok(())
            }
        }
    }

    async fn shutdown(&self) {
        // All is on the disk and its files are let go of when the mesh has closed.
        if let Err(error) = self.blobs.store().shutdown().await {
            tracing::warn!(%error, "the store of contents ended badly");
        }
    }
}

/// What is judged; nobody writes here.
const MASK: EventMask = EventMask {
    get: RequestMode::Intercept,
    get_many: RequestMode::Intercept,
    observe: ObserveMode::Intercept,
    push: RequestMode::Disabled,
    ..EventMask::DEFAULT
};
/// Why connections are closed when the engine is replaced.
const CLOSE_ANEW: u32 = 3;
