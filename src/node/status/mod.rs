//! How a node is, as one typed value that the API, the metrics and the statistics render.
//!
//! **Invariant:** asking waits for nothing that an answer needs; a part that does not answer is said to be so,
//! and leaves out its own numbers alone.
//! **Not here:** how the parts find out (`health`, `sync`, `export`), names and units in metrics (`metrics`).

pub mod sync;

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::feeds::Feeds;
use super::health::Fault;
use super::state::NodeState;
use crate::catalog::{Hold, HoldReason};
use crate::export::ExportStatus;
use crate::limits::STATUS_STORE_MS;
use crate::publish::PublishStats;
use crate::serve::ServeStats;
use crate::store::DnsStore;
use crate::store::history::Freeze;
use crate::store::report::EngineReport;
use sync::SyncReport;

/// How a node is, at about one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `all`, `authority`, `edge` or `static`.
    pub role: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The key of its endpoint, by which other nodes know it and lists of feeds name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How often this node has refused an endpoint something of a feed that is not for it.
    pub refusals: u64,
    /// Addresses that DNS is answered on.
    pub dns: Vec<String>,
    /// Zones that are answered.
    pub zones: u64,
    /// Apexes that are ours and answered with SERVFAIL, in order, [`HELD_SHOWN_MAX`] at most.
    pub held_zones: Vec<String>,
    /// How many of those have expired: their feed's author was not heard for too long.
    pub expired_zones: u64,
    /// Zones from files.
    pub static_zones: u64,
    /// How many zone files do not read: what they were when they were good last is answered.
    pub broken_file_count: u64,
    /// What is wrong with them, a line for each of the first.
    pub broken_files: Vec<String>,
    /// Queries that came in.
    pub queries: u64,
    /// The newest revision that is answered as a whole.
    pub served_revision: u64,
    /// The newest revision that is known to exist.
    pub heard_revision: u64,
    /// By how many revisions answers are behind.
    pub behind_revisions: u64,
    /// For how many milliseconds they have been behind what is known to exist.
    pub lag_ms: u64,
    /// Whether every part works.
    pub is_healthy: bool,
    /// What does not work, a line for each.
    pub faults: Vec<String>,
    /// Whether the node answers what it should.
    pub is_ready: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
    /// The store, on a node that has one.
    #[serde(flatten)]
    pub store: Option<StoreStatus>,
    /// The feed with all zones, on a node that writes feeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedStatus>,
    /// The feed that is followed, on an edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncReport>,
    /// How many apexes are held.
    #[serde(skip)]
    pub held_count: u64,
    /// What was published.
    #[serde(skip)]
    pub published: PublishStats,
    /// What the front ends count.
    #[serde(skip)]
    pub front_ends: ServeStats,
}

/// How the store is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreStatus {
    /// Its newest revision, if it takes commits.
    #[serde(rename = "store_revision", skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Why it does not.
    #[serde(rename = "store_error", skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How its engine is, from memory.
    #[serde(rename = "store")]
    pub engine: EngineReport,
    /// How often the store was found to be put back to an older state, and another history was begun.
    pub histories_begun: u64,
    /// Zones that were counted anew, again and again.
    #[serde(skip)]
    pub recounted: u64,
    /// Those of which the store did not say what their records come to, and does now.
    #[serde(skip)]
    pub mended: u64,
}

/// How the feed with all zones is.
#[derive(Clone, Debug, Serialize)]
pub struct FeedStatus {
    /// The newest revision of which the feed has everything.
    pub exported_revision: u64,
    /// The history that is exported.
    pub history: String,
    /// Where the newest version of the document holds.
    pub document_revision: u64,
    /// The number of that version.
    pub document_version: u64,
    /// Zones in the feed.
    pub zones: u64,
    /// Versions of the document written since the start.
    pub versions_written: u64,
    /// Octets written for them.
    pub octets_written: u64,
    /// Times a version could not be written.
    pub document_faults: u64,
    /// For how many milliseconds none could be written; 0 if all is well.
    pub document_failing_ms: u64,
    /// Times that peers have shown a history or an exporter of this feed that is not ours.
    pub partings: u64,
    /// Zones whose records or packs did not come to what they must.
    pub digest_faults: u64,
    /// Zones of the document that were not what they must be when read last.
    pub wrong_zones: u64,
    /// Times the exporter began anew.
    pub restarts: u64,
    /// The name of older versions: nothing waits for a clock any more.
    pub clock_waits: u64,
    /// The name of older versions for `versions_written`.
    pub manifests_written: u64,
    /// Whether the exporter works: false between an error and the next try.
    pub is_working: bool,
    /// Who follows the feed at this node.
    pub followers: u64,
    /// Whose turn it is to write the feeds, if several authorities share them.
    pub turn: Option<TurnStatus>,
    /// That the feeds are frozen, if they are.
    pub frozen: Option<FrozenStatus>,
}

/// That the feeds are frozen.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrozenStatus {
    /// The newest revision of the store by then.
    pub revision: u64,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether the feed with all zones is written here, and goes no further.
    pub is_settled: bool,
}

/// Whose turn it is to write the feeds that authorities share.
#[derive(Clone, Debug, Serialize)]
pub struct TurnStatus {
    /// Whether it is ours.
    pub is_ours: bool,
    /// Whose it is, by the key of its endpoint; none if that is not known, or nobody's.
    pub holder: Option<String>,
    /// The number of the turn.
    pub term: u64,
}

impl Status {
    /// Asks the parts of a node.
    pub async fn of(node: &NodeState) -> Self {
        // The snapshot is given back before anything is waited for.
        let (zones, held_count, held_zones, expired_zones) = held(node);
        let revisions = node.progress.now();
        let front_ends = node.server.stats();
        let broken = node.broken_files();
        let store = match &node.store {
            Some(store) => Some(StoreStatus::of(store).await),
            None => None,
        };
        let faults: Vec<String> = node.faults().iter().map(ToString::to_string).collect();
        let unready = node.unready().map(|unready| unready.to_string());
        Self {
            role: node.role,
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: node.started_at.elapsed().as_secs(),
            endpoint: node.endpoint(),
            refusals: node.mesh.as_ref().map_or(0, |mesh| mesh.refusal_count()),
            dns: node.dns_addresses().iter().map(ToString::to_string).collect(),
            zones,
            held_zones,
            expired_zones,
            static_zones: node.static_zones.load(Ordering::Relaxed),
            broken_file_count: broken.count,
            broken_files: broken.shown,
            queries: front_ends.queries(),
            served_revision: revisions.served,
            heard_revision: revisions.heard,
            behind_revisions: revisions.heard.saturating_sub(revisions.served),
            lag_ms: node.health.lag_ms(),
            is_healthy: faults.is_empty(),
            faults,
            is_ready: unready.is_none(),
            unready,
            store,
            feed: node.feeds.as_ref().map(|feeds| FeedStatus::of(feeds, node.freeze())),
            sync: node.client.as_ref().map(|client| SyncReport::of(client)),
            held_count,
            published: node.reader.stats(),
            front_ends,
        }
    }
}

/// Returns how many zones are answered, how many apexes are held, the first of these, and how many have expired.
fn held(node: &NodeState) -> (u64, u64, Vec<String>, u64) {
    let catalog = node.reader.load();
    let mut held: Vec<String> = catalog.held().map(|hold| hold.apex.to_fqdn()).collect();
    held.sort();
    held.truncate(HELD_SHOWN_MAX);
    let is_expired = |hold: &&Hold| hold.reason == HoldReason::Expired;
    let expired = catalog.held().filter(is_expired).count() as u64;
    (catalog.zone_count(), catalog.held_count(), held, expired)
}

impl StoreStatus {
    /// Asks the store; one that is down is what is asked about, so that is no error of the asking.
    async fn of(store: &DnsStore) -> Self {
        let limit = Duration::from_millis(STATUS_STORE_MS);
        let revision = match tokio::time::timeout(limit, store.revision()).await {
            Ok(Ok(revision)) => match store.health() {
                Ok(()) => Ok(revision),
                Err(error) => Err(error.to_string()),
            },
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(Fault::StoreSilent.to_string()),
        };
        let found = store.recounts();
        Self {
            error: revision.as_ref().err().cloned(),
            revision: revision.ok(),
            engine: store.report(),
            histories_begun: store.histories_begun(),
            recounted: found.counted.load(Ordering::Relaxed),
            mended: found.mended.load(Ordering::Relaxed),
        }
    }
}

impl FeedStatus {
    /// Reads it off the exporter.
    fn of(feeds: &Feeds, freeze: Option<Freeze>) -> Self {
        let status: ExportStatus = *feeds.main().status().borrow();
        Self {
            exported_revision: status.revision.revision,
            history: status.history.to_string(),
            document_revision: status.document.revision,
            document_version: status.version,
            zones: status.zone_count,
            versions_written: status.versions_written,
            octets_written: status.octets_written,
            document_faults: status.document_faults,
            document_failing_ms: status.document_failing_ms,
            partings: status.partings,
            digest_faults: status.digest_faults,
            wrong_zones: status.wrong_zones,
            restarts: status.restarts,
            clock_waits: 0,
            manifests_written: status.versions_written,
            is_working: status.is_working,
            followers: feeds.main().followers().len() as u64,
            turn: feeds.turn_state().map(|state| TurnStatus {
                is_ours: state.held.is_some(),
                holder: state.holder,
                term: state.term,
            }),
            frozen: freeze.map(|freeze| FrozenStatus {
                revision: freeze.revision,
                since_ms: freeze.since_ms,
                is_settled: status.is_frozen,
            }),
        }
    }
}

/// Apexes that a status names of those held; the metric `zones_held` counts all.
pub const HELD_SHOWN_MAX: usize = 100;
