//! What an edge is to publish: for each zone one step.
//!
//! **Invariant:** the steps of one zone come in the order of rising revisions; a caller that takes
//! each whole shows no commit in part.
//! **Not here:** how steps come about (`sync::history`, `sync::core`).

use bytes::Bytes;

use crate::feed::Revision;
use crate::feed::digest::{Digest, DigestKey};
use crate::name::Name;
use crate::record::Change;

/// One zone's step to a higher revision.
#[derive(Clone, Debug)]
pub struct ZoneBatch {
    /// The zone.
    pub apex: Name,
    /// The revision that the step leads to; tell it to `SyncCore::handle_applied`.
    pub revision: Revision,
    /// What to do.
    pub step: ZoneStep,
    /// How to count what the zone comes to; `None` where the feed does not tell it.
    pub proof: Option<Proof>,
}

/// How to count what a zone comes to after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The key of the digests.
    pub key: DigestKey,
    /// What it comes to before the step.
    pub before: Digest,
    /// Whether the step comes from a version of the document, which must be kept for a restart before
    /// anything of it becomes visible.
    pub is_of_document: bool,
}

/// What to do with a zone.
#[derive(Clone, Debug)]
pub enum ZoneStep {
    /// Build it anew from packs and then edits; `feed::merge` streams them into a builder.
    Rebuild {
        /// Base packs in canonical order, then delta packs, oldest first. Not yet proven.
        packs: Vec<Bytes>,
        /// About how many owner names there are.
        name_count: u64,
        /// Changes after the packs, oldest first.
        edits: Vec<Change>,
    },
    /// Change the zone as it is now.
    Edit(Vec<Change>),
    /// Serve it no longer; not an error if it is not served.
    Remove,
}

impl ZoneStep {
    /// Returns how many changes the step has beside packs, at least one.
    pub(crate) fn change_count(&self) -> usize {
        match self {
            Self::Rebuild { edits, .. } | Self::Edit(edits) => edits.len().max(1),
            Self::Remove => 1,
        }
    }
}
