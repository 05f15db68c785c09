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
        let judge = async |namespace: NamespaceId, peer: iroh::PublicKey| {
            let judged = self.access.judge(namespace.as_bytes(), peer.as_bytes());
            // One that is not open would have the engine fail in the middle of an exchange, which it takes badly.
            let is_open = self.sync.get_state(namespace).await.is_ok_and(|state| state.sync);
            match judged {
                Ok(()) if is_open => AcceptOutcome::Allow,
                // As of one that is not here: who may not have it is not told more.
                Ok(()) | Err(_) => AcceptOutcome::Reject(AbortReason::NotFound),
            }
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

#[cfg(all(test, feature = "node"))] // who writes a feed
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use iroh_blobs::protocol::GetRequest;
    use iroh_docs::api::Doc;
    use iroh_docs::net::connect_and_sync;
    use iroh_docs::store::Query;

    use crate::mesh::access::Audience;
    use crate::mesh::{Mesh, MeshConfig};

    /// How long a test waits for what should come soon.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn mesh() -> Mesh {
        let listen = "127.0.0.1:0".parse().unwrap();
        Mesh::start(MeshConfig { listen, ..MeshConfig::default() }).await.unwrap()
    }

    fn listed(ids: &[&Mesh]) -> Audience {
        Audience::Listed(Arc::new(ids.iter().map(|mesh| mesh.own_peer().id).collect()))
    }

    /// A namespace with an entry at a mesh, open at another one too.
    async fn namespace(server: &Mesh, asker: &Mesh) -> (Doc, Doc) {
        let doc = server.docs().create().await.unwrap();
        let author = server.docs().author_create().await.unwrap();
        doc.set_bytes(author, "key", "value").await.unwrap();
        doc.start_sync(Vec::new()).await.unwrap();
        let capability = iroh_docs::Capability::Read(doc.id());
        let copy = asker.docs().import_namespace(capability).await.unwrap();
        copy.start_sync(Vec::new()).await.unwrap();
        (doc, copy)
    }

    #[tokio::test]
    async fn a_namespace_is_reconciled_with_those_alone_who_may_have_its_feed() {
        let (server, asker) = (mesh().await, mesh().await);
        let (doc, copy) = namespace(&server, &asker).await;
        let (id, access) = (*doc.id().as_bytes(), server.access());
        // Another feed is open: the gate lets it in.
        access.set([7; 32], Audience::All);
        access.set(id, listed(&[&server]));
        let sync = async || {
            let (endpoint, sync) = (asker.endpoint(), asker.sync());
            let syncing = connect_and_sync(endpoint, sync, doc.id(), server.addr(), None);
            drop(tokio::time::timeout(PATIENCE, syncing).await.expect("in time"));
            copy.get_one(Query::all().build()).await.unwrap().is_some()
        };
        assert!(!sync().await);
        assert_eq!(access.refusals(&id).count, 1);
        access.set(id, listed(&[&server, &asker]));
        assert!(sync().await);
        server.shutdown().await;
        asker.shutdown().await;
    }

    #[tokio::test]
    async fn a_namespace_that_is_not_open_here_is_refused_in_order() {
        static PANICS: AtomicU32 = AtomicU32::new(0);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map_or("", |location| location.file());
            PANICS.fetch_add(u32::from(file.contains("iroh-docs")), Ordering::Relaxed);
            before(panic);
        }));
        let (server, asker) = (mesh().await, mesh().await);
        let (doc, _copy) = namespace(&asker, &server).await;
        // Another feed is open: the gate lets it in.
        server.access().set([7; 32], Audience::All);
        server.docs().drop_doc(doc.id()).await.unwrap();
        let (endpoint, sync) = (asker.endpoint(), asker.sync());
        let syncing = connect_and_sync(endpoint, sync, doc.id(), server.addr(), None);
        let synced = tokio::time::timeout(PATIENCE, syncing).await.expect("in time");
        assert!(synced.is_err(), "{synced:?}");
        server.shutdown().await;
        asker.shutdown().await;
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "the engine took it badly");
    }

    #[tokio::test]
    async fn a_content_is_handed_out_to_those_alone_who_may_have_a_feed_that_names_it() {
        let (server, asker) = (mesh().await, mesh().await);
        let access = server.access();
        access.set([7; 32], Audience::All);
        access.set([1; 32], listed(&[&server]));
        let tag = server.blobs().store().add_bytes("content").temp_tag().await.unwrap();
        let free = server.blobs().store().add_bytes("free").temp_tag().await.unwrap();
        let keep = server.keep([1; 32]);
        keep.set(HashSet::from([*tag.hash().as_bytes()]));
        let get = async |hash| {
            let connection =
                asker.endpoint().connect(server.addr(), iroh_blobs::ALPN).await.unwrap();
            let store = asker.blobs().store();
            let getting = async {
                store.remote().execute_get(connection, GetRequest::blob(hash)).complete().await
            };
            tokio::time::timeout(PATIENCE, getting).await.expect("in time").is_ok()
        };
        assert!(!get(tag.hash()).await);
        assert!(get(free.hash()).await, "no feed names it");
        let other = server.keep([7; 32]);
        other.set(HashSet::from([*tag.hash().as_bytes()]));
        assert!(get(tag.hash()).await, "an open feed names it, too");
        drop(other);
        // What was given up is of the feed for a while: it may still be here.
        drop(keep);
        access.set([7; 32], Audience::Nobody(crate::mesh::Ended::Revoked));
        access.set([8; 32], Audience::All);
        let again = server.blobs().store().add_bytes("content").temp_tag().await.unwrap();
        let third = mesh().await;
        let connection = third.endpoint().connect(server.addr(), iroh_blobs::ALPN).await.unwrap();
        let store = third.blobs().store();
        let request = GetRequest::blob(again.hash());
        let got = tokio::time::timeout(PATIENCE, async {
            store.remote().execute_get(connection, request).complete().await
        });
        assert!(got.await.expect("in time").is_err());
        for mesh in [server, asker, third] {
            mesh.shutdown().await;
        }
    }
}
