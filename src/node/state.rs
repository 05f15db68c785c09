//! What a running node knows of itself: the API and the metrics read it.
//!
//! **Not here:** the parts themselves (`store`, `export`, `replica`, `serve`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::feeds::Feeds;
use super::health::{Fault, Health, Unready};
use super::progress::Progress;
use super::timing::CommitTimes;
use crate::limits::PUT_BACK_SHOWN_S;
use crate::masterfiles::FailedFile;
use crate::mesh::Mesh;
use crate::publish::Reader;
use crate::publish::stage::Stage;
use crate::replica::AspenDnsClient;
use crate::serve::RunningServer;
use crate::store::DnsStore;
use crate::store::history::Freeze;

/// The parts of a node that others ask about.
#[derive(Debug)]
pub struct NodeState {
    /// `all`, `authority`, `edge` or `static`.
    pub role: &'static str,
    /// When the node started.
    pub started_at: Instant,
    /// The directory of the node.
    pub data_dir: PathBuf,
    /// What is answered.
    pub reader: Reader,
    /// The front ends.
    pub server: Arc<RunningServer>,
    /// Zones from files.
    pub static_zones: AtomicU64,
    /// Files that did not read when they were read last.
    pub broken_files: Mutex<BrokenFiles>,
    /// What each source has.
    pub stage: Arc<Stage>,
    /// The store, on a node that has one.
    pub store: Option<Arc<DnsStore>>,
    /// The feeds that the node writes, on a node that has a store.
    pub feeds: Option<Arc<Feeds>>,
    /// The edge, on a node that follows a feed.
    pub client: Option<Arc<AspenDnsClient>>,
    /// The peer, on a node that replicates.
    pub mesh: Option<Arc<Mesh>>,
    /// How far the answers are.
    pub progress: Progress,
    /// How soon commits are answered.
    pub commit_times: CommitTimes,
    /// What the watchdog found last.
    pub health: Health,
}

/// Zone files that do not read, whatever is answered in their place.
#[derive(Clone, Debug, Default)]
pub struct BrokenFiles {
    /// How many there are.
    pub count: u64,
    /// What is wrong with the first [`BROKEN_FILES_SHOWN_MAX`].
    pub shown: Vec<String>,
}

impl BrokenFiles {
    /// Returns what a reading of all files has found.
    pub fn of(failed: &[FailedFile]) -> Self {
        let shown = failed.iter().take(BROKEN_FILES_SHOWN_MAX);
        let shown = shown.map(|failed| failed.error.to_string()).collect();
        Self { count: failed.len() as u64, shown }
    }
}

impl NodeState {
    /// Whether the feeds are frozen, as far as is known here.
    pub(crate) fn freeze(&self) -> Option<Freeze> {
        self.store.as_ref().and_then(|store| *store.freeze().borrow())
    }

    /// Takes what the last reading of all files has found.
    pub fn set_broken_files(&self, found: BrokenFiles) {
        *self.broken_files.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Returns the files that do not read.
    pub fn broken_files(&self) -> BrokenFiles {
        self.broken_files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What does not work.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.health.faults();
        let has_front_end_fault = faults.iter().any(|fault| matches!(fault, Fault::FrontEnd));
        if !has_front_end_fault && !self.server.is_healthy() {
            faults.push(Fault::FrontEnd);
        }
        if let Some(store) = &self.store {
            faults.extend(store.health().err().map(Fault::Store));
            faults.extend(store.report().alarm.map(|alarm| Fault::StoreAlarm { alarm }));
            let seconds = store.history_begun_ago().map(|ago| ago.as_secs());
            let lately = seconds.filter(|seconds| *seconds < PUT_BACK_SHOWN_S);
            faults.extend(lately.map(|seconds| Fault::StorePutBack { seconds }));
        }
        faults
    }

    /// Why the node does not answer what it should, if it does not.
    pub fn unready(&self) -> Option<Unready> {
        if !self.server.is_healthy() {
            return Some(Unready::FrontEnd);
        }
        let catalog = self.reader.load();
        if catalog.zone_count() == 0 && catalog.held_count() > 0 {
            return Some(Unready::AllHeld);
        }
        self.health.unready()
    }

    /// The key of the node's endpoint, if it has one.
    pub fn endpoint(&self) -> Option<String> {
        self.mesh.as_ref().map(|mesh| data_encoding::HEXLOWER.encode(&mesh.own_peer().id))
    }

    /// Returns the addresses of the front ends.
    pub fn dns_addresses(&self) -> &[SocketAddr] {
        self.server.addrs()
    }
}

/// Broken files that a status names.
const BROKEN_FILES_SHOWN_MAX: usize = 100;
