//! Limits of what the store remembers of its past, and of going back to it.

use super::RRSET_OCTETS_MAX;
use super::replication::BATCH_OPERATIONS_MAX;

/// Octets of what one commit says that it took away. One that takes more away says nothing, and what was before it
/// is not known: it has room for the objects of 10,000 zones.
pub const UNDO_OCTETS_MAX: usize = 8 << 20;

const _: () = assert!(UNDO_OCTETS_MAX > RRSET_OCTETS_MAX + 1_024, "any RRset may be taken away");
const _: () = assert!(UNDO_OCTETS_MAX / BATCH_OPERATIONS_MAX > 400, "and any batch of usual ones");
/// RRsets and zones that were changed since a revision that is gone back to: they stand in memory. More: refused.
pub const PAST_RRSETS_MAX: usize = 1_000_000;
/// Milliseconds that an engine may take to say what was changed. Past it the store is not available.
pub const PAST_READ_MS_MAX: u64 = 10_000;
/// Attempts of a rollback that writers get ahead of: it holds up those of its own process. Then it is refused.
pub const ROLLBACK_ATTEMPTS_MAX: u32 = 16;
/// Milliseconds for which rows are kept that a zone has left, by an import or its deletion, so that they can be
/// gone back to; seven days, by our own time since the start. Then they are swept.
pub const LEFT_KEPT_MS_MAX: u64 = 7 * 86_400_000;
/// Generations of rows that are kept so. The oldest of more are swept.
pub const LEFT_KEPT_MAX: usize = 16_384;
/// RRsets of all of them, some 30 octets each in packs and 140 else. The oldest past it are swept.
pub const LEFT_KEPT_RRSETS_MAX: u64 = 4_000_000;
/// Octets that an engine must have room for before its limit for imports, or nothing is kept so.
pub const LEFT_KEPT_ROOM_OCTETS: u64 = 256 << 20;
