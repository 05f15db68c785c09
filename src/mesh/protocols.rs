//! What a mesh answers peers with: its protocols, all behind one gate, for a router.
//!
//! The router is the mesh's own, or that of a program which has the endpoint for protocols of its own too.
//!
//! **Invariant:** once they are shut and closed, nobody gets in and nothing stays open, whosever the
//! router is.
//! **Not here:** the protocols (`mesh::stream`, `mesh::blobs`, iroh's), bounds (`mesh::gate`).

use std::sync::Arc;

use iroh::protocol::{IncomingFilter, ProtocolHandler as _, RouterBuilder};
use iroh_blobs::ALPN as BLOBS_ALPN;
use iroh_docs::ALPN as DOCS_ALPN;
use iroh_gossip::ALPN as GOSSIP_ALPN;
use iroh_gossip::net::Gossip;

use super::contents::BlobsServer;
use super::documents::DocumentServer;
use super::gate::{Gate, Gated};
use super::hub::Hub;
use super::stream::{LOG_ALPN, LogServer};

/// The protocols of a mesh; clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    /// Bounds them.
    gate: Arc<Gate>,
    /// The handlers by their names in a handshake.
    handlers: [(&'static [u8], Arc<Gated>); 4],
}

impl Protocols {
    /// Puts the protocols behind a gate.
    pub(super) fn new(hub: Hub, blobs: BlobsServer, gossip: Gossip, docs: DocumentServer) -> Self {
        let gate = Gate::new(hub.access().clone());
        let handlers = [
            (LOG_ALPN, Gated::new(LogServer::new(hub), &gate)),
            (BLOBS_ALPN, Gated::by_share(blobs, &gate)),
            (GOSSIP_ALPN, Gated::by_share(gossip, &gate)),
            (DOCS_ALPN, Gated::docs(docs, &gate)),
        ];
        Self { gate, handlers: handlers.map(|(alpn, handler)| (alpn, Arc::new(handler))) }
    }

    /// Adds them to a router.
    pub(super) fn add_to(&self, router: RouterBuilder) -> RouterBuilder {
        let add = |router: RouterBuilder, (alpn, handler): &(&[u8], Arc<Gated>)| {
            router.accept(alpn, Arc::clone(handler))
        };
        self.handlers.iter().fold(router, add)
    }

    /// What judges handshakes, before anybody knows for which protocol they are.
    pub(super) fn filter(&self) -> IncomingFilter {
        let gate = Arc::clone(&self.gate);
        Arc::new(move |incoming| gate.judge(incoming))
    }

    /// Ends them all in order, on a router that goes on; nobody gets in any more. What is still open then,
    /// [`Protocols::close`] closes.
    pub(super) async fn shut(&self) {
        self.gate.lock();
        let [log, blobs, gossip, docs] = &self.handlers;
        tokio::join!(log.1.shutdown(), blobs.1.shutdown(), gossip.1.shutdown(), docs.1.shutdown());
    }

    /// Closes every connection that is still open, and lets nobody in any more.
    pub(super) fn close(&self) {
        self.gate.close();
    }

    /// Whether somebody is let in.
    pub(super) fn is_open(&self) -> bool {
        self.gate.is_open()
    }
}
