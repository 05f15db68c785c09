//! What a subscriber of an edge hears.
//!
//! **Invariant:** an event is sent after the state that it speaks of was published.
//! **Not here:** who sends it (`apply`).

use crate::feed::Revision;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::sync::status::SyncStatus;

/// One event. A zone that is built anew is one event, not one for each of its records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DnsEvent {
    /// An RRset is served that was not there before.
    RecordAdded {
        /// The zone.
        apex: Name,
        /// The RRset.
        rrset: Rrset,
    },
    /// An RRset is served in place of another one.
    RecordUpdated {
        /// The zone.
        apex: Name,
        /// The RRset before.
        old: Rrset,
        /// The RRset now.
        new: Rrset,
    },
    /// An RRset is served no longer.
    RecordDeleted {
        /// The zone.
        apex: Name,
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: RecordType,
    },
    /// A zone was built anew, the first time or again.
    ZoneBuilt {
        /// The zone.
        apex: Name,
        /// Its revision.
        revision: Revision,
        /// Its serial.
        serial: u32,
    },
    /// A zone is served no longer.
    ZoneRemoved {
        /// The zone.
        apex: Name,
    },
    /// The edge follows its feed better or worse than before.
    SyncStatusChanged {
        /// The status now.
        status: SyncStatus,
    },
}
