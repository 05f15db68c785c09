//! Hears of versions of the document through the namespace: the second way, beside the log.
//!
//! The namespace holds one entry, whose value is the author's announcement of the newest version
//! (`export::doc`). It comes with the gossip of the document engine and with each reconciliation, from
//! any peer that has it; so an edge that finds no log still comes to the newest version, as soon as
//! the exporter has written it. Beside it stands what the author says of the feed itself (`feed::notice`).
//!
//! **Invariant:** the engine's events are read whatever happens; an entry of another author than the
//! feed's says nothing.
//! **Not here:** fetching the value, and whether it is signed (`follow`).

use std::sync::Arc;
use std::time::Duration;

use iroh_docs::AuthorId;
use iroh_docs::api::Doc;
use iroh_docs::engine::LiveEvent;
use n0_future::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::opening::{ListenerError, docs_result};
use crate::feed::{Hash, key};
use crate::limits::{
    BEAT_OCTETS_MAX, DOCS_CALL_MS_MAX, NOTICE_OCTETS_MAX, RECONCILE_MS, ROOT_ENTRIES_MAX,
};
use crate::mesh::endpoint_addr;
use crate::mesh::peers::Peers;
use crate::ticket::DnsClientTicket;

/// Returns the hashes of announcements as they come through the namespace, and the tasks that see to it,
/// until `stop`. One that finds the channel full is left out: a later one is on its way.
///
/// # Errors
/// [`ListenerError::Docs`].
pub(super) async fn announcements(
    doc: Doc,
    ticket: &DnsClientTicket,
    peers: Arc<Peers>,
    stop: &CancellationToken,
) -> Result<(mpsc::Receiver<Hash>, JoinSet<()>), ListenerError> {
    let (sender, receiver) = mpsc::channel(ROOT_ENTRIES_MAX);
    let author = AuthorId::from(&ticket.author);
    let (root, notice) = (key::terminate(key::ROOT_KEY), key::terminate(key::NOTICE_KEY));
    let mut events = docs_result(doc.subscribe().await)?;
    let reading = async move {
        while let Some(event) = events.next().await {
            if let Ok(LiveEvent::InsertRemote { entry, .. }) = event
                && entry.author() == author
                && ((entry.key() == root && entry.content_len() <= BEAT_OCTETS_MAX as u64)
                    || (entry.key() == notice && entry.content_len() <= NOTICE_OCTETS_MAX as u64))
            {
                let _ = sender.try_send(*entry.content_hash().as_bytes());
            }
        }
    };
    let (reading_stop, joining_stop) = (stop.clone(), stop.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        reading_stop.run_until_cancelled(reading).await;
    });
    tasks.spawn(async move {
        joining_stop.run_until_cancelled(join(doc, peers)).await;
    });
    Ok((receiver, tasks))
}

/// Joins the namespace with all peers that are known, again and again.
async fn join(doc: Doc, peers: Arc<Peers>) {
    let limit = Duration::from_millis(DOCS_CALL_MS_MAX);
    loop {
        let addrs = peers.all().iter().filter_map(endpoint_addr).collect();
        match tokio::time::timeout(limit, doc.start_sync(addrs)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the namespace could not be joined"),
            Err(_) => tracing::warn!("the document engine does not answer"),
        }
        let jitter_ms = u64::from(rand::random::<u16>()) % (RECONCILE_MS / 2);
        tokio::time::sleep(Duration::from_millis(RECONCILE_MS + jitter_ms)).await;
    }
}
