//! One feed of an authority: its keys, who writes it here while that is so, and who may have it.
//!
//! **Not here:** which feeds there are (`feed_book`), when they are written (`feeds`).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::feed_book::FeedRecord;
use super::feed_error::FeedsError;
use super::sharing::Sharing;
use crate::export::shared::{FeedKeys, settle_alone};
use crate::export::{DocsExporter, ExportStatus, FeedConfig};
use crate::feed::notice::Notice;
use crate::mesh::access::Audience;
use crate::mesh::{Ended, FollowerInfo, Mesh};
use crate::store::DnsStore;
use crate::ticket::{DnsClientTicket, TicketPeer};

/// A feed, written by this node or by another authority on the same store.
#[derive(Debug)]
pub struct Feed {
    /// What is kept of it.
    record: Mutex<FeedRecord>,
    /// What it carries.
    config: FeedConfig,
    /// The peer that serves it.
    mesh: Arc<Mesh>,
    /// Its keys.
    keys: FeedKeys,
    /// Who writes it here, while that is so.
    exporter: Mutex<Option<Arc<DocsExporter>>>,
    /// What is shown while nobody does.
    idle: watch::Sender<ExportStatus>,
}

/// What an exporter shows.
#[derive(Clone, Debug)]
pub struct ExporterAnswer {
    /// Its feed.
    pub feed: String,
    /// Whether its task has ended.
    pub has_ended: bool,
    /// Whether it works, and does not wait for its next try.
    pub is_working: bool,
    /// Changes whenever it goes around its loop.
    pub alive_ms: u64,
    /// How often it began anew.
    pub restarts: u64,
    /// For how many milliseconds no version of its document could be written.
    pub document_failing_ms: u64,
    /// How often peers have shown lately that the feed is written elsewhere.
    pub partings: u64,
    /// How many zones of its document edges could not build.
    pub wrong_zones: u64,
}

impl Feed {
    /// A feed that nobody writes yet; its keys are the shared ones, if it is.
    pub(super) async fn prepare(
        (mesh, store, dir): (&Arc<Mesh>, &DnsStore, &Path),
        sharing: Option<&Sharing>,
        record: FeedRecord,
    ) -> Result<Self, FeedsError> {
        let keys = match sharing {
            Some(sharing) => sharing.settle(&record.key).await?,
            None => settle_alone(store, dir, &record.key).await?,
        };
        let (name, key, zones) = (record.name.clone(), record.key.clone(), record.zones.clone());
        let config = FeedConfig { name, key: Some(key), zones, ..FeedConfig::default() };
        let (exporter, idle) = (Mutex::default(), watch::channel(ExportStatus::default()).0);
        let feed = Self {
            record: Mutex::new(record),
            config,
            mesh: Arc::clone(mesh),
            keys,
            exporter,
            idle,
        };
        feed.tell_access(&[]);
        Ok(feed)
    }

    /// How far it is written here.
    pub fn status(&self) -> watch::Receiver<ExportStatus> {
        self.exporter().map_or_else(|| self.idle.subscribe(), |exporter| exporter.status())
    }

    /// What is kept of it.
    pub fn record(&self) -> FeedRecord {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what is kept of it now, and who else writes it in turn.
    pub(super) fn take_record(&self, record: &FeedRecord, authorities: &[TicketPeer]) {
        record.clone_into(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell_access(authorities);
    }

    /// Has the mesh serve it to those on its list alone, and to authorities.
    fn tell_access(&self, authorities: &[TicketPeer]) {
        let audience = match self.record().allowed {
            None => Audience::All,
            Some(allowed) => {
                let mut listed: BTreeSet<[u8; 32]> = allowed.iter().map(|key| key.0).collect();
                listed.insert(self.mesh.own_peer().id);
                listed.extend(authorities.iter().map(|peer| peer.id));
                Audience::Listed(Arc::new(listed))
            }
        };
        self.mesh.access().set(self.keys.namespace, audience);
    }

    /// The public key of its namespace.
    pub(super) fn namespace(&self) -> [u8; 32] {
        self.keys.namespace
    }

    /// Its public keys.
    pub(super) fn keys(&self) -> FeedKeys {
        self.keys
    }

    /// What it carries, under its name of now.
    pub(super) fn config(&self) -> FeedConfig {
        let record = self.record();
        let notice = (record.edition > 0).then(|| self.notice(&record, None));
        FeedConfig { name: record.name, notice, ..self.config.clone() }
    }

    /// What those who follow are told of it: its list, and the ticket of the feed that takes its place, once that can be
    /// read.
    pub(super) fn notice(&self, record: &FeedRecord, moves_to: Option<String>) -> Notice {
        // That there is a ticket counts for more than the list alone.
        let number = record.edition.saturating_mul(2).saturating_add(u64::from(moves_to.is_some()));
        let audience = record.allowed.as_ref().map(|keys| keys.iter().map(|key| key.0).collect());
        Notice { namespace: self.keys.namespace, number, audience, moves_to }
    }

    /// Who follows it at this node.
    pub fn followers(&self) -> Vec<FollowerInfo> {
        self.exporter().map_or_else(Vec::new, |exporter| exporter.followers())
    }

    /// Returns a ticket with this node and others as its peers.
    pub(super) fn ticket(&self, others: Vec<TicketPeer>) -> DnsClientTicket {
        DnsClientTicket {
            cluster_id: self.config.cluster_id.clone(),
            namespace: self.keys.namespace,
            author: self.keys.author,
            peers: std::iter::once(self.mesh.own_peer()).chain(others).collect(),
            zone_filter: None,
        }
    }

    /// Who writes it here.
    pub(super) fn exporter(&self) -> Option<Arc<DocsExporter>> {
        self.slot().clone()
    }

    /// Notes who writes it here from now on.
    pub(super) fn set_exporter(&self, exporter: Arc<DocsExporter>) {
        *self.slot() = Some(exporter);
    }

    /// Ends who writes it here, and waits for that.
    pub(super) async fn end(&self) {
        let Some(exporter) = self.slot().take() else { return };
        exporter.end().await;
    }

    /// Ends the feed for good: nobody gets anything of it here any more, and who asks is told why.
    pub(super) async fn close(&self, why: Ended) {
        // First of all: whatever takes its time now, nobody is served meanwhile.
        self.mesh.access().set(self.keys.namespace, Audience::Nobody(why));
        self.mesh.hub().stand_down(&self.keys.namespace);
        self.end().await;
        if let Err(error) = self.mesh.docs().drop_doc(self.keys.namespace.into()).await {
            tracing::debug!(%error, "the namespace of a feed that has ended was not open");
        }
    }

    /// What its exporter shows.
    pub(super) fn answer(&self) -> Option<ExporterAnswer> {
        let exporter = self.exporter().filter(|exporter| !exporter.is_ending())?;
        let status = *exporter.status().borrow();
        Some(ExporterAnswer {
            feed: self.record().name,
            has_ended: exporter.has_ended(),
            is_working: status.is_working,
            alive_ms: status.alive_ms,
            restarts: status.restarts,
            document_failing_ms: status.document_failing_ms,
            partings: status.partings_lately,
            wrong_zones: status.wrong_zones,
        })
    }

    /// What is shown of a feed that is to be written since `began_ms`, and is not.
    pub(super) fn awaited(&self, began_ms: u64) -> ExporterAnswer {
        ExporterAnswer {
            feed: self.record().name,
            has_ended: false,
            is_working: true,
            alive_ms: began_ms,
            restarts: 0,
            document_failing_ms: 0,
            partings: 0,
            wrong_zones: 0,
        }
    }

    /// Where who writes it stands.
    fn slot(&self) -> MutexGuard<'_, Option<Arc<DocsExporter>>> {
        self.exporter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
