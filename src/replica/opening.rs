//! Opens what a ticket names: the namespace in our replica, and its peers' addresses.
//!
//! **Invariant:** contents are never downloaded by the document engine, whose automatic download
//! can hang for ever (`fetch` does it).
//! **Not here:** joining the namespace (`listener`).

use iroh::{EndpointAddr, EndpointId, RelayUrl};
use iroh_docs::api::Doc;
use iroh_docs::store::DownloadPolicy;
use iroh_docs::{Capability, NamespaceId};

use crate::mesh::Mesh;
use crate::ticket::{DnsClientTicket, TicketPeer};

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The client was built without a ticket.
    #[error("the client was built without a ticket, which says what to follow")]
    NoTicket,
    /// Another listener drives this client.
    #[error("the client follows a feed already")]
    AlreadyFollowed,
    /// A peer of the ticket has no valid key or relay.
    #[error("the ticket's peer {index} has no valid key or relay")]
    BadPeer {
        /// Which peer, from zero.
        index: usize,
    },
    /// What is kept of the feed cannot be opened.
    #[error("what is kept of the feed cannot be opened: {reason}")]
    Replica {
        /// What the system said.
        reason: String,
    },
    /// The document engine refused.
    #[error("the namespace cannot be opened: {reason}")]
    Docs {
        /// What it said.
        reason: String,
    },
}

/// Opens the namespace of a ticket.
pub(super) async fn open(mesh: &Mesh, ticket: &DnsClientTicket) -> Result<Doc, ListenerError> {
    let namespace = NamespaceId::from(ticket.namespace);
    let capability = Capability::Read(namespace);
    let doc = docs_result(mesh.docs().import_namespace(capability).await)?;
    docs_result(doc.set_download_policy(DownloadPolicy::NothingExcept(Vec::new())).await)?;
    Ok(doc)
}

/// Returns the peers of a ticket as the transport names them.
pub(super) fn peer_addrs(ticket: &DnsClientTicket) -> Result<Vec<EndpointAddr>, ListenerError> {
    let read = |(index, peer): (usize, &TicketPeer)| {
        let bad = ListenerError::BadPeer { index };
        let Ok(id) = EndpointId::from_bytes(&peer.id) else { return Err(bad) };
        let mut addr = EndpointAddr::new(id);
        for ip in &peer.addrs {
            addr = addr.with_ip_addr(*ip);
        }
        if let Some(relay) = &peer.relay {
            let Ok(relay) = relay.parse::<RelayUrl>() else { return Err(bad) };
            addr = addr.with_relay_url(relay);
        }
        Ok(addr)
    };
    ticket.peers.iter().enumerate().map(read).collect()
}

/// Gives the document engine's errors our type.
pub(super) fn docs_result<T>(result: anyhow::Result<T>) -> Result<T, ListenerError> {
    result.map_err(|error| ListenerError::Docs { reason: format!("{error:#}") })
}
