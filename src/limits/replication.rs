//! Limits of what holds and moves records: the store, its engines, the exporter and the edge.

use super::{LIVE_KEY_OCTETS_MAX, RRSET_RECORDS_MAX};

// ---- store ----

/// Commits that wait for the writer of the embedded engine. Past it a submitter waits.
pub const KV_QUEUE_COMMITS_MAX: usize = 1_024;
/// Puts, deletes and preconditions of one commit of the embedded engine. More: refused.
pub const KV_COMMIT_OPERATIONS_MAX: u32 = 65_536;
/// Octets of one commit of the embedded engine: it stands in memory twice. More: refused.
pub const KV_COMMIT_OCTETS_MAX: u64 = 32 << 20;
/// Octets after which a page of a range ends early.
pub const KV_PAGE_OCTETS_MAX: usize = 4 << 20;
/// Octets of page cache of the embedded engine. Past it redb evicts.
pub const REDB_CACHE_OCTETS: usize = 128 << 20;
/// Commits that share one transaction. More wait for the next: one group stays short.
pub const REDB_GROUP_COMMITS_MAX: usize = 512;
/// Octets of commits after which a group takes no further one.
pub const REDB_GROUP_OCTETS_MAX: u64 = 1 << 20;
/// Commits that the change log keeps, some 1.1 KB each. Older ones are dropped: a follower that slow must
/// rescan. At 200 commits a second the file has its size after five minutes.
pub const REDB_LOG_COMMITS_MAX: u64 = 65_536;
/// Octets that the change log keeps. Older commits are dropped.
pub const REDB_LOG_OCTETS_MAX: u64 = 256 << 20;
/// Commits dropped from the log in one transaction, so that none pays for many others.
pub const REDB_LOG_DROP_MAX: u32 = 4_096;
/// Seconds that opening a store may take at least. One that takes longer never ends: an error.
pub const REDB_OPEN_S_MIN: u64 = 30;
/// Octets of the file for each further second: all are read, and a crash may have them repaired,
/// from a slow disk.
pub const REDB_OPEN_OCTETS_PER_S: u64 = 4 << 20;
/// Values that a store of an older layout converts in one transaction, so that a start that is cut
/// off does not begin anew.
pub const REDB_CONVERT_ROWS_MAX: u32 = 65_536;
/// Octets of values after which such a transaction ends: they wait in memory for its end.
pub const REDB_CONVERT_OCTETS_MAX: u64 = 32 << 20;
/// Milliseconds before a store that failed takes commits again: a disk that refuses is not asked
/// all the time. Doubled with each failure, up to the next.
pub const REDB_HEAL_MS_MIN: u64 = 100;
/// Milliseconds between two attempts at most: so late a disk with room again is noticed.
pub const REDB_HEAL_MS_MAX: u64 = 5_000;
/// Milliseconds between two looks at the queue while the file is closed, so that who waits there
/// is told soon.
pub const REDB_HEAL_STEP_MS: u64 = 20;
/// Commits that a follower reads from the log at once.
pub const REDB_FEED_READ_COMMITS_MAX: usize = 1_024;
/// Octets after which a follower reads no further commit at once.
pub const REDB_FEED_READ_OCTETS_MAX: usize = 4 << 20;

const _: () = assert!(REDB_LOG_DROP_MAX as usize >= REDB_GROUP_COMMITS_MAX, "the log must shrink");
const _: () = assert!(REDB_HEAL_STEP_MS <= REDB_HEAL_MS_MIN, "a look fits into the shortest wait");
const _: () = assert!(REDB_LOG_OCTETS_MAX >= 2 * KV_COMMIT_OCTETS_MAX, "the log holds any commit");
/// Operations of one batch. More: refused; an import takes any number.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// RRsets of a zone that a batch may change of which one commit cannot hold all: the zone is written anew. One with
/// more refuses such a batch; an import takes any number.
pub(crate) const LARGE_BATCH_RRSETS_MAX: u64 = 200_000;
/// Attempts of a batch that other writers of its zones get ahead of. Then it is refused.
pub const BATCH_ATTEMPTS_MAX: u32 = 64;
/// As above, of a batch for which zones are written anew each time.
pub(crate) const LARGE_BATCH_ATTEMPTS_MAX: u32 = 4;
/// Locks that the zones share, so that writers of one process queue up rather than collide.
pub const ZONE_LOCKS: usize = 256;
/// Batches that are made in one commit, so that none waits long for the others to be judged. More go with the
/// next.
pub(crate) const GROUP_BATCHES_MAX: usize = 256;
/// Batches that wait for one lock together. More wait for it one by one.
pub(crate) const GROUP_QUEUE_MAX: usize = 4_096;
/// Apexes that a store remembers in order to guess which zone a batch is about. Past it: forgotten.
pub const ZONE_HINTS_MAX: usize = 16_384;
/// Commits of one process to a zone of an engine that is shared after which the zone is remembered whole.
pub(crate) const ZONE_REMEMBERED_AFTER: u32 = 8;
/// RRsets of a zone that is remembered. More: it is read anew for each commit.
pub(crate) const ZONE_REMEMBERED_RRSETS_MAX: u64 = 16_384;
/// Octets of all zones that are remembered. Past it: forgotten.
pub(crate) const ZONES_REMEMBERED_OCTETS_MAX: usize = 64 << 20;
/// Records that one RRset may have unless the zone's settings say otherwise. More: refused.
pub const RRSET_RECORDS_DEFAULT_MAX: u32 = 100;
/// Name servers in a zone's settings. More: refused.
pub const ZONE_NAMESERVERS_MAX: usize = 16;
/// Octets of a zone's description. More: refused.
pub const ZONE_DESCRIPTION_OCTETS_MAX: usize = 1_024;
/// RRsets or zones of one page of a listing. A greater limit is lowered to it.
pub const LISTING_ITEMS_MAX: u32 = 10_000;
/// RRsets of one page of a zone that is read as a whole.
pub const ZONE_PAGE_RRSETS: u32 = 8_192;
/// Octets of the first part of a backup's file. More: it is no backup.
pub(crate) const BACKUP_HEADER_OCTETS_MAX: usize = 4_096;
/// Octets of a key in a backup. More: it is damaged.
pub(crate) const BACKUP_KEY_OCTETS_MAX: usize = 4_096;
/// Octets of a value in a backup. More: it is damaged.
pub(crate) const BACKUP_VALUE_OCTETS_MAX: usize = 16 << 20;
/// RRsets of a zone from which on an import puts them into packs: so few need no more commits without.
pub(crate) const PACKED_RRSETS_MIN: usize = 256;
/// Octets of one pack of RRsets, but for a single RRset that has more: a change of one of them reads them all.
pub(crate) const PACK_OCTETS: usize = 32 << 10;
/// Octets of one part of a directory of packs.
pub(crate) const PACK_DIRECTORY_OCTETS: usize = 512 << 10;
/// Packs that are read in one trip for who reads many RRsets.
pub(crate) const PACKS_READ_MAX: usize = 16;
/// Octets of packs that a store remembers, and of directories. Past it: forgotten.
pub(crate) const PACKS_KEPT_OCTETS_MAX: usize = 16 << 20;
/// RRsets that an import writes in one commit: more would hold up the commits of others.
pub const IMPORT_CHUNK_RRSETS: usize = 4_096;
/// Octets of RRsets that an import writes in one commit.
pub const IMPORT_CHUNK_OCTETS: u64 = 512 << 10;
/// Commits of one import that are on their way at once.
pub const IMPORT_CHUNKS_IN_FLIGHT: usize = 4;
/// Milliseconds for which an import may stand still, by the clock of the one who sweeps. Then its rows are
/// taken for left over.
pub const IMPORT_IDLE_MS_MAX: u64 = 600_000;
/// Rows that a sweep deletes in one commit.
pub const SWEEP_CHUNK_ROWS: u32 = 2_048;
/// Milliseconds between two looks at imports that go on, whether they have broken off.
pub const SWEEP_LOOK_MS: u64 = 60_000;
/// Milliseconds between two looks where nothing was left: other processes may have died since.
pub const SWEEP_IDLE_MS: u64 = 600_000;
/// Milliseconds before a sweep that failed is tried again; twice as long each time, up to the second.
pub const SWEEP_RETRY_MS_MIN: u64 = 1_000;
/// See above.
pub const SWEEP_RETRY_MS_MAX: u64 = 60_000;
const _: () = assert!(SWEEP_LOOK_MS < IMPORT_IDLE_MS_MAX, "one that broke off is noticed");

const _: () = assert!(RRSET_RECORDS_DEFAULT_MAX <= RRSET_RECORDS_MAX, "the default is allowed");
const _: () = assert!(
    BATCH_OPERATIONS_MAX * 4 < KV_COMMIT_OPERATIONS_MAX as usize,
    "a batch fits one commit: a row or an object, its precondition, a generation"
);
/// Operations of one etcd transaction: etcd's default `--max-txn-ops`. More: refused.
pub const ETCD_TXN_OPERATIONS_MAX: u32 = 128;
/// Octets of one commit on etcd, below its default request limit of 1.5 MiB. More: refused.
pub const ETCD_COMMIT_OCTETS_MAX: u64 = 1_400_000;
/// Octets that etcd lets a member's database have unless it is told otherwise.
pub const ETCD_QUOTA_OCTETS: u64 = 2 << 30;
/// Hundredths of its quota up to which an etcd takes imports: past the quota it takes nothing, single changes
/// neither.
pub const ETCD_QUOTA_PERCENT_MAX: u64 = 80;
/// Octets of the prefix of all keys in etcd. More: refused.
pub const ETCD_PREFIX_OCTETS_MAX: usize = 128;
/// Entries of one page from etcd, so that a reply stays small.
pub const ETCD_PAGE_ENTRIES_MAX: u32 = 2_000;
/// Octets of one reply of etcd. More: an error.
pub const ETCD_REPLY_OCTETS_MAX: usize = 512 << 20;
/// Commits of one process that are on their way to etcd. More wait.
pub const ETCD_COMMITS_IN_FLIGHT_MAX: usize = 64;
/// Milliseconds for which a request to etcd is repeated at other members. Then it fails.
pub const ETCD_RETRY_MS_MAX: u64 = 20_000;
/// Milliseconds of the shortest lease: a store that is not quite well must have time to answer. Less: refused.
pub const LEASE_MS_MIN: u64 = 600;
/// Milliseconds of the longest lease. More: refused.
pub const LEASE_MS_MAX: u64 = 60_000;
/// Milliseconds for which who writes the feeds may be silent until another authority does, unless it is said.
pub const LEASE_MS_DEFAULT: u64 = 1_500;
/// Milliseconds for which one that gives way waits for another to take the lease.
pub(crate) const LEASE_YIELD_MS: u64 = 3_000;
/// Milliseconds between its looks whether one has.
pub(crate) const LEASE_YIELD_LOOK_MS: u64 = 200;
/// Milliseconds for which no version of the document could be written, after which another authority is let to.
pub(crate) const WRITER_FAILING_MS_MAX: u64 = 3_000;
/// Milliseconds after giving way until that is done again: the others may be no better.
pub(crate) const WRITER_REST_MS: u64 = 30_000;
/// Milliseconds between two looks at what other authorities have told of the feeds that are shared.
pub(crate) const SHARING_REFRESH_MS: u64 = 2_000;
/// Milliseconds until who has the turn to write the feeds, and could not begin, tries again.
pub(crate) const SHARING_RETRY_MS: u64 = 400;
/// Notes of authorities that are read together. More are not looked at.
pub(crate) const NOTES_READ_MAX: u32 = 256;
/// Milliseconds after which an authority says anew where it is, so that those that are gone are told from it.
pub(crate) const ANNOUNCE_MS: u64 = 600_000;
/// Milliseconds for which a process has seen that nobody wrote a slot. Then it is one of a process that is
/// gone, or that can make another.
pub const ETCD_SLOT_AGE_MS_MAX: u64 = 3_600_000;
/// Milliseconds between two questions to a member of etcd how it is.
pub const ETCD_PULSE_MS: u64 = 500;
/// Milliseconds for which a member may be silent when it is asked that. Then another one is used, so that answers
/// are not behind for as long as its connection takes to break: by how long that takes and a lease lasts, edges are
/// behind where the writer of their feed and the next one both asked a member that was cut off. A member that answers
/// in so long when it is connected to does so here, too.
pub const ETCD_SILENCE_MS_MAX: u64 = 800;
/// Milliseconds between two looks at the slots.
pub const ETCD_SLOT_LOOK_MS: u64 = 600_000;

const _: () = assert!(
    ETCD_COMMIT_OCTETS_MAX + ETCD_TXN_OPERATIONS_MAX as u64 * (ETCD_PREFIX_OCTETS_MAX as u64 + 32)
        <= 3 << 19,
    "a commit with its prefixes fits a request"
);
const _: () = assert!(ETCD_SLOT_AGE_MS_MAX > 100 * ETCD_RETRY_MS_MAX, "no live commit is swept");

/// Milliseconds that one dial of a ticket's peer may take: some round trips around the world and by
/// satellite, a lost packet among them.
pub const LINK_DIAL_MS: u64 = 4_000;
/// Milliseconds between two dials of a peer that is away. A dial costs one packet.
pub const LINK_REDIAL_MS: u64 = 250;
/// Milliseconds without a packet after which a ticket's peer counts as away.
pub const LINK_IDLE_MS: u32 = 700;
/// Milliseconds between the packets that keep a link alive.
pub const LINK_KEEP_ALIVE_MS: u64 = 200;
/// Changes of links that may wait to be heard of: peers come and go no more than some times a second.
/// Past it a link waits, and tells its next change when there is room.
pub const LINK_EVENTS_MAX: usize = 64;
const _: () = assert!(LINK_REDIAL_MS < 1_000, "a peer is found within a second");
const _: () = assert!(LINK_KEEP_ALIVE_MS * 3 < LINK_IDLE_MS as u64, "two lost packets are no loss");

/// Entries that may wait for the edge. Past it all are dropped and the replica is scanned.
pub const MAILBOX_ENTRIES_MAX: u32 = 65_536;
/// Contents asked for over one stream. They are in memory together until they are answered.
pub const FETCH_GROUP_MAX: u32 = 8;
/// Streams of contents that are open at once. More would only share the same line.
pub const FETCH_STREAMS_MAX: u32 = 4;
/// Milliseconds without an octet after which a stream of contents is given up.
pub const FETCH_STALL_MS: u64 = 3_000;
/// Milliseconds that a content waits for one more peer to be reached who may have it, behind those who have not: one
/// whose first packet is lost answers after a second. Then it counts as missing, and is asked for again.
pub const FETCH_FAR_MS_MAX: u64 = 1_500;
/// Indexes of a version that are fetched before it is their turn to be read.
pub const INDEXES_AHEAD_MAX: usize = 16;
/// Neighbors outside the ticket that are remembered as sources. More are not asked.
pub const FETCH_NEIGHBORS_MAX: u32 = 16;
/// Milliseconds that a connection to such a neighbor is kept after it was used.
pub const FETCH_NEIGHBOR_REST_MS: u64 = 5_000;

/// Milliseconds between two heartbeats of a feed of the first format.
pub const BEAT_MS: u64 = 2_000;
/// Milliseconds between two looks at what is due in a feed.
pub const EXPORT_TICK_MS: u64 = 100;
/// Commits that wait for whoever follows a store; an exporter writes so many together. More wait in the store.
pub const COMMITS_AHEAD_MAX: usize = 256;
/// Milliseconds until an export that failed begins anew, at first and at most.
pub const EXPORT_RETRY_MS_MIN: u64 = 100;
/// See [`EXPORT_RETRY_MS_MIN`].
pub const EXPORT_RETRY_MS_MAX: u64 = 5_000;
/// Octets of delta packs that are no reason for a new base, however small the zone.
pub const DELTA_OCTETS_MIN: u64 = 64 << 10;

/// Events that wait for a slow subscriber of a client; it is told how many more it lost.
pub const CLIENT_EVENTS_MAX: usize = 4_096;
/// Milliseconds without contact after which an edge is stale.
pub const STALE_AFTER_MS: u64 = 300_000;
/// Octets of segments that an edge holds back which follows behind on purpose, in memory. Past it what comes is
/// dropped and counted: a version of the document makes up for it, held as long, so that nothing shows early.
pub const BEHIND_OCTETS_MAX: usize = 64 << 20;
/// Versions of the document that it holds back, on its disk; they share most of what they have. Past it the newest
/// takes the place of the one before.
pub const BEHIND_VERSIONS_MAX: usize = 8;
/// Milliseconds between two of these at least, unless what is held back needs one; a quarter of the time else.
pub const BEHIND_VERSION_MS_MIN: u64 = 30_000;
/// Milliseconds after which the contents of such a version are not asked for again: who made it keeps them for as
/// long once it has made another.
pub const BEHIND_FETCH_MS: u64 = 60_000;
/// Milliseconds between two marks that an edge writes of when its author was heard last: so much older than it
/// is it may seem after a restart, and so seldom a disk is written for it.
pub const CONTACT_MARK_MS: u64 = 60_000;
/// Milliseconds of silence by which no zone expires, whatever its limit: a heartbeat that is late is no loss.
pub const EXPIRE_MS_MIN: u64 = 5_000;
/// Milliseconds after which an edge looks again which zones have expired, though none is due: those that came
/// meanwhile may be.
pub const EXPIRE_LOOK_MS: u64 = 60_000;
/// Milliseconds between two looks of an edge at its connection.
pub const LISTENER_TICK_MS: u64 = 50;
/// Milliseconds that the document engine may take to join or leave a namespace, or to write it out.
pub const DOCS_CALL_MS_MAX: u64 = 2_000;
/// Contents that are fetched at a time. They are in memory together.
pub const FETCHES_MAX: usize = 32;
/// Changes that are applied at once by the task that listens; more take a thread of their own.
pub const INLINE_CHANGES_MAX: usize = 256;
/// Milliseconds for which the first zones of a starting edge wait at most for the others that its
/// replica holds: a million records are built in a quarter of a second.
pub const FIRST_LOAD_MS_MAX: u64 = 2_000;
/// Microseconds of rest that a publish of a short batch owes for each microsecond that it took.
pub const PUBLISH_REST_FACTOR: u64 = 3;
/// Microseconds of rest that are worth waiting for: timers of the runtime count in milliseconds.
/// Less is owed until it adds up.
pub const PUBLISH_REST_US_MIN: u64 = 1_000;
/// Microseconds that a change waits at most for others to be published with it.
pub const PUBLISH_REST_US_MAX: u64 = 10_000;
const _: () =
    assert!(PUBLISH_REST_US_MIN < PUBLISH_REST_US_MAX, "a rest may be longer than a tick");
/// Milliseconds without any entry, though the feed has a heartbeat, after which an edge joins anew.
pub const SILENCE_MS_MAX: u64 = 6_500;
const _: () = assert!(SILENCE_MS_MAX > 3 * BEAT_MS, "two heartbeats may be lost");
/// Milliseconds until an edge joins anew, at first and at most.
pub const REJOIN_MS_MIN: u64 = 200;
/// See [`REJOIN_MS_MIN`].
pub const REJOIN_MS_MAX: u64 = 5_000;
/// Milliseconds until a failed reconciliation is tried again, at first and at most.
pub const SYNC_RETRY_MS_MIN: u64 = 200;
/// See [`SYNC_RETRY_MS_MIN`].
pub const SYNC_RETRY_MS_MAX: u64 = 5_000;
/// Milliseconds between two reconciliations with all peers, and half as many more at random.
pub const RECONCILE_MS: u64 = 30_000;
/// Milliseconds for which one file of an edge's journal is written before the other is. By then
/// the document store has long written the entries out.
pub const JOURNAL_TURN_MS: u64 = 3_000;
/// Octets of a journal's file after which the other is written.
pub const JOURNAL_OCTETS_MAX: u64 = 64 << 20;
/// Octets of a key that a journal takes back. A longer one ends the reading.
pub const JOURNAL_ENTRY_OCTETS_MAX: usize = 16 << 10;
const _: () = assert!(JOURNAL_ENTRY_OCTETS_MAX > LIVE_KEY_OCTETS_MAX, "a live key fits");
