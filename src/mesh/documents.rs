//! Reconciles documents with whoever dials, but of feeds that it may not have.
//!
//! The engine behind it reconciles any namespace that is open with anybody; here it is asked first who may.
//!
//! **Invariant:** not an entry of a namespace goes to an endpoint that may not have its feed.
//! **Not here:** who may (`mesh::access`), the engine (`iroh_docs`).

use iroh::endpoint::Connection;
use iroh::protocol::{AcceptError, ProtocolHandler};
use iroh_docs::NamespaceId;
use iroh_docs::actor::SyncHandle;
use iroh_docs::net::{AbortReason, AcceptOutcome, handle_connection};
use iroh_docs::protocol::Docs;

use super::access::Access;

/// Serves the document engine.
#[derive(Debug)]
pub(super) struct DocumentServer {
    /// The engine.
    docs: Docs,
    /// What lies below it.
    sync: SyncHandle,
    /// Who may have what.
    access: Access,
}

impl DocumentServer {
    /// A server of an engine.
    pub(super) fn new(docs: Docs, sync: SyncHandle, access: Access) -> Self {
        Self { docs, sync, access }
    }
}

impl ProtocolHandler for DocumentServer {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let judge = |namespace: NamespaceId, peer: iroh::PublicKey| {
            let judged = self.access.judge(namespace.as_bytes(), peer.as_bytes());
            let outcome = match judged {
                Ok(()) => AcceptOutcome::Allow,
                // As of one that is not here: who may not have it is not told more.
                Err(_) => AcceptOutcome::Reject(AbortReason::NotFound),
            };
            std::future::ready(outcome)
        };
        let synced = handle_connection(self.sync.clone(), connection, judge, None).await;
        if let Err(error) = synced {
            tracing::debug!(%error, "documents were not reconciled");
        }
        Ok(())
    }

    async fn shutdown(&self) {
        ProtocolHandler::shutdown(&self.docs).await;
    }
}
