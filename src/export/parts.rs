//! What one feed's export is made of, and what its task knows from one round to the next.
//!
//! **Invariant:** none; these are the parts of others.
//! **Not here:** what is done with them (`task`, `version`, `root`), the state of one round (`version`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use iroh_docs::Author;
use tokio::sync::{mpsc, watch};

use super::depot::Depot;
use super::doc::FeedDoc;
use super::{ExportStatus, FeedConfig};
use crate::feed::HistoryId;
use crate::mesh::hub::Evidence;
use crate::mesh::log::Log;
use crate::store::history::ZoneSource;

/// What an export is made of.
pub(super) struct Parts {
    /// The truth.
    pub(super) source: Arc<dyn ZoneSource>,
    /// Where contents are put.
    pub(super) depot: Arc<dyn Depot>,
    /// Where segments are kept for those who follow.
    pub(super) log: Arc<Log>,
    /// What the feed carries.
    pub(super) config: FeedConfig,
    /// The feed.
    pub(super) namespace: [u8; 32],
    /// Its author.
    pub(super) author: Author,
    /// Where the last root is kept.
    pub(super) root_file: Option<PathBuf>,
}

/// The task of one feed.
pub(super) struct ExportTask {
    /// What it works with.
    pub(super) parts: Parts,
    /// The namespace; `None` without a mesh.
    pub(super) doc: Option<Arc<FeedDoc>>,
    /// What peers show who know more than we do.
    pub(super) evidence: mpsc::Receiver<Evidence>,
    /// Tells others how far we are.
    pub(super) status_sender: watch::Sender<ExportStatus>,
    /// How far we are.
    pub(super) status: ExportStatus,
    /// The newest history that peers have shown, until one above it has begun.
    pub(super) seen: Option<HistoryId>,
    /// Since when no version of the document could be written as a whole.
    pub(super) failing_since: Option<Instant>,
    /// When peers have shown another history or exporter of the feed.
    pub(super) parted_at: VecDeque<Instant>,
    /// The term of the last round.
    pub(super) term: u64,
}

impl ExportTask {
    /// A task that has not begun.
    pub(super) fn new(
        parts: Parts,
        doc: Option<FeedDoc>,
        evidence: mpsc::Receiver<Evidence>,
        status_sender: watch::Sender<ExportStatus>,
    ) -> Self {
        let status = ExportStatus::default();
        let doc = doc.map(Arc::new);
        Self {
            parts,
            doc,
            evidence,
            status_sender,
            status,
            seen: None,
            failing_since: None,
            parted_at: VecDeque::new(),
            term: 0,
        }
    }
}
