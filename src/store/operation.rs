//! What can be asked of the store, what comes back, and why it may be refused.
//!
//! **Invariant:** an error means that nothing of the batch was written, but for
//! [`KvError::OutcomeUnknown`](super::kv::KvError::OutcomeUnknown).
//! **Not here:** the rules of records (`store::rules`).

use super::kv::KvError;
use super::rules::RuleError;
use super::zone_settings::{SettingsError, ZoneSettings};
use crate::limits::BATCH_OPERATIONS_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset};

/// One step of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// The RRset now is this one. The deepest zone that holds the owner takes it (a DS goes to
    /// the zone above its owner's, if the store has that).
    PutRrset(Rrset),
    /// The RRset is gone; without it nothing changes.
    DeleteRrset {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
    /// As `PutRrset`, in a named zone: glue and delegations above a zone that the store has, too.
    PutRrsetIn {
        /// The zone.
        apex: Name,
        /// The RRset.
        rrset: Rrset,
    },
    /// As `DeleteRrset`, in a named zone.
    DeleteRrsetIn {
        /// The zone.
        apex: Name,
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
    /// The RRset of a named zone also has these records, as it stands when the batch is done. One
    /// that there is not begins with them.
    ExtendRrsetIn {
        /// The zone.
        apex: Name,
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// The TTL of all its records, in seconds; without one it keeps its own.
        ttl_s: Option<u32>,
        /// The RDATA of each.
        records: Vec<Vec<u8>>,
    },
    /// The RRset of a named zone no longer has these records, as it stands when the batch is done.
    /// One that has no other is gone.
    PruneRrsetIn {
        /// The zone.
        apex: Name,
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// The RDATA of each.
        records: Vec<Vec<u8>>,
    },
    /// The zone has these settings from now on; it is made if there is none.
    PutZone(ZoneSettings),
    /// The zone and its records are gone; without it nothing changes.
    DeleteZone {
        /// The apex.
        apex: Name,
    },
}

/// What the asker takes to be so; judged with the commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expectation {
    /// The zone has this serial.
    ZoneSerial {
        /// The apex.
        apex: Name,
        /// The serial.
        serial: u32,
    },
    /// The zone was last changed by this commit.
    ZoneAtRevision {
        /// The apex.
        apex: Name,
        /// The revision.
        revision: u64,
    },
    /// There is no such zone.
    ZoneAbsent {
        /// The apex.
        apex: Name,
    },
    /// The RRset was last written by this commit.
    RrsetAtRevision {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// The revision.
        revision: u64,
    },
    /// There is no such RRset.
    RrsetAbsent {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
}

/// Operations that happen together or not at all, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    /// The steps; a later one sees the earlier ones.
    pub operations: Vec<Operation>,
    /// What must hold before the first step.
    pub preconditions: Vec<Expectation>,
}

/// What a batch did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Committed {
    /// The revision of the commit; the store's newest if nothing changed.
    pub revision: u64,
    /// RRsets put or deleted (the SOA's new serial not counted) and zones made or deleted.
    pub changed: u64,
    /// The zones that the commit touched, each with its new serial.
    pub zones: Vec<(Name, u32)>,
}

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A record breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A setting is not acceptable.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no zone of that name.
    #[error("there is no zone {apex}")]
    ZoneUnknown {
        /// The apex.
        apex: Name,
    },
    /// A batch of too many steps.
    #[error("a batch of {operations} operations, {BATCH_OPERATIONS_MAX} at most")]
    BatchTooLarge {
        /// How many there were.
        operations: usize,
    },
    /// What the asker took to be so is not.
    #[error("precondition {index} of the batch does not hold")]
    PreconditionFailed {
        /// Which, from zero.
        index: usize,
    },
    /// Other writers of the zone were faster every time.
    #[error("the zone was changed by others at every one of {attempts} attempts")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// An import was swept away because it stood still for too long.
    #[error("the import stood still for too long and was given up")]
    ImportLost,
    /// The engine says no.
    #[error(transparent)]
    Kv(#[from] KvError),
}

impl From<Vec<Operation>> for Batch {
    fn from(operations: Vec<Operation>) -> Self {
        Self { operations, preconditions: Vec::new() }
    }
}
