//! What an exporter reads: zones, their contents, and commits in order.
//!
//! The store is the truth and a namespace can always be made anew from it. This is the part of
//! the store that is needed for that, so that other truths (a directory of master files, another
//! system) can feed a namespace too.
//!
//! **Invariant:** commits come in the order of their revisions, whole, without a gap; where that
//! is not possible, [`SourceError::Compacted`] says so.
//! **Not here:** the store itself (`store`).

use async_trait::async_trait;

use crate::name::Name;
use crate::record::{Change, Rrset};

/// A zone without its records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceZone {
    /// Its apex.
    pub apex: Name,
    /// Whether it is answered.
    pub is_enabled: bool,
    /// Its settings, as an edge may show them (JSON).
    pub settings: Vec<u8>,
}

/// A zone at one revision.
#[derive(Clone, Debug)]
pub struct ZoneContents {
    /// The revision of the whole source at which it was read.
    pub revision: u64,
    /// Its settings.
    pub zone: SourceZone,
    /// All its RRsets, SOA and NS of the apex included, in any order.
    pub rrsets: Vec<Rrset>,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct SourceCommit {
    /// Its revision.
    pub revision: u64,
    /// What it did, each zone at most once.
    pub zones: Vec<(Name, SourceChange)>,
}

/// What a commit did to one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceChange {
    /// These RRsets changed; the SOA with its new serial is among them.
    Changes(Vec<Change>),
    /// Settings changed, or so much that the zone is better read anew.
    Replaced,
    /// The zone is gone.
    Removed,
}

/// Why a source does not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Commits after the revision asked for are no longer known, or never were.
    #[error("the commits after revision {after} are not known any more")]
    Compacted {
        /// What was asked for.
        after: u64,
    },
    /// The source failed.
    #[error("the store cannot be read: {reason}")]
    Failed {
        /// What it said.
        reason: String,
    },
}

/// A source of zones.
#[async_trait]
pub trait FeedSource: Send + Sync + 'static {
    /// The revision of the newest commit.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn revision(&self) -> Result<u64, SourceError>;

    /// All zones.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn zones(&self) -> Result<Vec<SourceZone>, SourceError>;

    /// One zone with its records; none when there is no such zone.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn zone_contents(&self, apex: &Name) -> Result<Option<ZoneContents>, SourceError>;

    /// The commits after a revision, first those made before, then those to come.
    ///
    /// # Errors
    /// Every [`SourceError`].
    async fn commits(&self, after: u64) -> Result<Box<dyn CommitSource>, SourceError>;
}

/// A stream of commits.
#[async_trait]
pub trait CommitSource: Send {
    /// Waits for the next commit.
    ///
    /// # Errors
    /// Every [`SourceError`]; no commit follows an error.
    async fn next(&mut self) -> Result<SourceCommit, SourceError>;
}
