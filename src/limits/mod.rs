//! Every limit of the crate: its unit, its reason, and what happens when it is reached.
//!
//! A module that owns a queue, loop, buffer, chain or table takes its bound from here, so that
//! the cost of the worst input can be read off one page.

mod feed;
mod past;
mod replication;

pub use feed::*;
pub use past::*;
pub use replication::*;

/// Octets of a name in wire form, root label included (RFC 1035 section 3.1). Longer: an error.
pub(crate) const NAME_OCTETS_MAX: usize = 255;
/// Octets of one label (RFC 1035 section 3.1). Longer: an error.
pub(crate) const LABEL_OCTETS_MAX: usize = 63;
/// Labels of a name without the root label: 127 labels of one octet fill 254 octets.
pub(crate) const NAME_LABELS_MAX: usize = 127;
/// Compression pointers of one name: one in front of each label and of the root (RFC 1035 section 4.1.4).
/// Pointers to pointers say nothing, and a chain of them would be gone through for each name. More: an error.
pub const NAME_POINTERS_MAX: usize = NAME_LABELS_MAX + 1;

/// Octets of one record's RDATA: RDLENGTH is 16 bits wide (RFC 1035 section 3.2.1).
pub(crate) const RDATA_OCTETS_MAX: usize = 65_535;
/// Records of one RRset that an RRset may hold at all. More would not fit any message.
pub const RRSET_RECORDS_MAX: u32 = 16_384;
/// Octets of all RDATA of one RRset. A message is 65,535 octets at most, so more is never answered.
pub(crate) const RRSET_OCTETS_MAX: usize = 1 << 20;
/// Seconds of a TTL: RFC 2181 section 8 leaves 31 bits.
pub(crate) const TTL_S_MAX: u32 = (1 << 31) - 1;

/// RRsets of a shard of some hundred nodes that a zone's builder remembers, to store equal ones
/// once. More would find more of them, but be half a KiB for each shard while it is built; a forgotten
/// one is stored again.
pub(crate) const ARENA_RECENT_ENTRIES: usize = 64;

const _: () = assert!(NAME_LABELS_MAX * 2 < NAME_OCTETS_MAX, "every label takes two octets");

// --- node ---

/// UDP threads of one DNS address. More would only wait for each other.
pub(crate) const UDP_WORKERS_MAX: u16 = 256;
/// CPUs that a thread may be kept on: those that the kernel's CPU sets name.
pub(crate) const CPUS_MAX: usize = 1_024;
/// Connections to the HTTP API at once. For a further one the one without a request for longest gives way; where
/// all are worked on, it is closed after [`API_STOP_IDLE_MS`], and others wait in the system's queue meanwhile.
pub(crate) const API_CONNECTIONS_MAX: u32 = 256;
/// Milliseconds that a connection to the HTTP API may rest before it is closed.
pub(crate) const API_IDLE_MS: u64 = 330_000;
/// Milliseconds that one may be without a whole request.
pub(crate) const API_WAITING_MS: u64 = 30_000;
/// Milliseconds that one may rest while the API stops, if nothing is worked on for it.
pub(crate) const API_STOP_IDLE_MS: u64 = 1_000;
/// Milliseconds after which every connection to an API that stops is closed: before [`STOP_MS`], so that the
/// parts that requests use end in order.
pub(crate) const API_STOP_MS: u64 = 4_000;
/// Seconds that a request may wait for a revision. A longer wish is cut to this.
pub const API_WAIT_S_MAX: u32 = 300;
/// Milliseconds for which the reply to a write waits at most for the node's own answers, unless the
/// client says otherwise: many times what publishing takes, and still a reply. Then it is sent.
pub(crate) const API_SERVED_MS_MAX: u64 = 1_000;
/// Octets of a request's body, imports apart: a batch of 100,000 RRsets fits. Longer: status 413.
pub(crate) const API_BODY_OCTETS_MAX: usize = 32 << 20;
/// Octets of a master file in a request. Longer: status 413.
pub(crate) const API_IMPORT_OCTETS_MAX: usize = 1 << 30;
/// Milliseconds between two looks whether the store has changed, of an authority that keeps it on its own disk too.
pub(crate) const KEPT_LOOK_MS: u64 = 5_000;
/// Times as long as writing it took, it is not written again.
pub(crate) const KEPT_REST_TIMES: u32 = 20;
/// Milliseconds that a node which ends takes to keep what has changed since.
pub(crate) const KEPT_AT_END_MS: u64 = 1_000;
/// Milliseconds that a start waits for a store elsewhere before it answers with what it has kept of it.
pub(crate) const STORE_WAIT_MS: u64 = 1_500;
/// Milliseconds after which a start asks a store again that did not answer.
pub(crate) const STORE_RETRY_MS: u64 = 500;
/// Octets of a backup that is sent to be restored; they are kept on disk. More: refused.
pub(crate) const API_RESTORE_OCTETS_MAX: u64 = 64 << 30;
/// Zones that the report of a restoring names of each kind. More are counted.
pub(crate) const RESTORE_ZONES_SHOWN_MAX: usize = 1_000;
/// Imports and whole-zone reads at once; each holds buffers or a thread. More: status 503.
pub(crate) const API_LONG_REQUESTS_MAX: u32 = 8;
/// Octets gathered before a part of a long answer is sent.
pub(crate) const API_CHUNK_OCTETS: usize = 64 << 10;
/// Parts of a long answer that may wait for a slow reader. Then the zone is read no further.
pub(crate) const API_CHUNKS_WAITING_MAX: usize = 4;
/// Milliseconds that a reader of a long answer may take for one part. Then the answer is cut.
pub(crate) const API_CHUNK_WAIT_MS: u64 = 30_000;
/// RRsets, or zones, in one page of the API. A longer wish is cut to this.
pub(crate) const API_PAGE_MAX: u32 = 10_000;
/// Milliseconds after which replaced snapshots are looked at again, whether they can be freed.
pub(crate) const FREE_RETIRED_MS: u64 = 200;
/// Milliseconds before a store that could not be followed is read again.
pub(crate) const FOLLOW_RETRY_MS: u64 = 500;
/// Milliseconds for which a status, or a scrape, waits for the store; then it says that the store does not answer.
pub(crate) const STATUS_STORE_MS: u64 = 1_000;
/// Milliseconds that each part of a node may take to end. Past it, it is dropped as it is.
pub(crate) const STOP_MS: u64 = 5_000;
/// Milliseconds between two looks of the watchdog at what the parts of a node show.
pub(crate) const WATCHDOG_LOOK_MS: u64 = 250;
/// Milliseconds between an answer to the watchdog and the next question to the same part.
pub(crate) const WATCHDOG_ASK_MS: u64 = 1_000;
/// Milliseconds that a part may take to answer the watchdog: a disk that is asked for much makes
/// everybody wait for seconds. Longer: the question counts as missed.
pub(crate) const WATCHDOG_ANSWER_MS: u64 = 10_000;
/// Milliseconds for which the store may owe the watchdog an answer, an election of its cluster included. Then it
/// is a fault, which ends no node: the answers go on, and the store may come back.
pub(crate) const STORE_SILENT_MS: u64 = 5_000;
/// Questions in a row that a part may miss. Then the node ends, if the part cannot heal.
pub(crate) const WATCHDOG_MISSES_MAX: u32 = 2;
/// Questions in a row that the store of contents may miss: its engine is replaced in place, which
/// fails until a disk writes again. Then the node ends.
pub(crate) const WATCHDOG_CONTENTS_MISSES_MAX: u32 = 30;
/// Milliseconds without a look after which the watchdog itself counts as broken.
pub(crate) const WATCHDOG_SILENT_MS: u64 = 5_000;
/// Milliseconds without a sign of life after which an exporter counts as broken; after twice as many
/// the node ends. Far above what the largest step of its loop takes.
pub(crate) const EXPORT_SILENT_MS: u64 = 10_000;
/// Milliseconds after which an exporter that began anew and does not work yet counts as broken, and
/// for which it must work to count as whole again. Above its longest wait for the next try.
pub(crate) const EXPORT_DOWN_MS: u64 = 6_000;
const _: () = assert!(EXPORT_DOWN_MS > EXPORT_RETRY_MS_MAX, "one try must fit");
/// Times that peers may show an authority what it has not written before that is a fault: a store that
/// was put back explains one, and another at most that was on its way.
pub(crate) const EXPORT_PARTINGS_MAX: u64 = 3;
/// Seconds that a parting counts for: the fault ends when the other authority has.
pub const PARTINGS_S: u64 = 300;
/// Seconds for which it is a fault that the store was put back: nothing mends what is lost, so somebody
/// should hear of it, and not for ever.
pub(crate) const PUT_BACK_SHOWN_S: u64 = 300;
/// Zones of the store that are counted anew between two pauses.
pub(crate) const RECOUNT_PAGE_ZONES: u32 = 64;
/// The pause after that, in times of what it took: a hundredth of a core is used.
pub(crate) const RECOUNT_PAUSE_FACTOR: u32 = 99;
/// Milliseconds that the pause takes at least.
pub(crate) const RECOUNT_PAUSE_MS_MIN: u64 = 1_000;
/// Milliseconds for which no version of the document could be written after which that is a fault.
pub(crate) const DOCUMENT_FAILING_MS: u64 = 3_000;
/// Milliseconds that the making of one version may take before it counts as failing. A first version of
/// millions of records takes tens of seconds.
pub(crate) const VERSION_SLOW_MS: u64 = 120_000;
/// Milliseconds for which answers may be behind on a node that says that it is ready.
pub(crate) const READY_LAG_MS: u64 = 10_000;
/// Commits whose time to the answer is being measured at once. Further ones are not measured.
pub(crate) const COMMITS_TIMED_MAX: u32 = 256;
/// Seconds after which a commit that is not answered yet is no longer measured.
pub(crate) const COMMIT_WAIT_S_MAX: u64 = 60;
/// RRsets that are read from a published zone at once.
pub(crate) const API_PAGE_RRSETS: usize = 500;
/// Octets of a notice of a feed: a full list, and the longest ticket. More: it is passed over.
pub(crate) const NOTICE_OCTETS_MAX: usize = FEED_ENDPOINTS_MAX * 32 + TICKET_TEXT_LEN_MAX + 256;
const _: () = assert!(NOTICE_OCTETS_MAX < SERVER_FRAME_OCTETS_MAX, "a notice fits a frame");
/// Milliseconds after a rotation for which the old feed stays, unless it is said otherwise: edges that are off
/// meanwhile need a new ticket afterwards.
pub(crate) const ROTATED_MS_DEFAULT: u64 = 7 * 86_400_000;
/// Feeds that an edge goes on to, one after the other, from the one that its ticket names.
pub(crate) const MOVES_MAX: usize = 64;
/// Octets of the name of a feed.
pub(crate) const FEED_NAME_LEN_MAX: usize = 63;
/// Endpoints on the list of a feed. More: an error.
pub(crate) const FEED_ENDPOINTS_MAX: usize = 1_024;
/// Feeds that have ended of which it is remembered why. Of older ones it is only said that they are not known.
pub(crate) const FEEDS_ENDED_MAX: usize = 128;
/// Milliseconds between two looks whether the time of a feed is over.
pub(crate) const FEED_EXPIRY_LOOK_MS: u64 = 500;
/// Feeds beside the one with all zones. Each is a namespace that every commit is written to.
pub(crate) const FEEDS_MAX: u32 = 64;
/// Octets of one zone file from disk. Longer: an error.
pub(crate) const ZONE_FILE_OCTETS_MAX: u64 = 4 << 30;
/// Milliseconds that a zone file must not have changed before its times tell its state: the coarsest
/// file systems count in steps of two seconds. Until then it is not kept in compiled form.
pub(crate) const SOURCE_REST_MS: u64 = 2_000;
/// Octets of a master file from which on its compiled form is a file of its own: rewriting it for
/// the sake of others would take longer than opening it.
pub(crate) const COMPILED_OWN_OCTETS_MIN: u64 = 1 << 20;
/// Octets of the compiled file that short master files share; a million zones fit. Longer: not kept.
pub(crate) const COMPILED_SHARED_OCTETS_MAX: u64 = 1 << 30;
/// Octets of a block of a compiled file: a pack and what stands in front of a zone. Longer: refused.
pub(crate) const COMPILED_BLOCK_OCTETS_MAX: usize = 8 << 20;
/// Files that one zone is made of. More: not kept in compiled form, refused when read.
pub(crate) const COMPILED_SOURCES_MAX: usize = 1_024;
/// Octets of a file's path. Longer: not kept in compiled form, refused when read.
pub(crate) const COMPILED_PATH_OCTETS_MAX: usize = 4_096;
/// Octets of a warning about a master file. Longer: the zone is not kept in compiled form.
pub(crate) const COMPILED_WARNING_OCTETS_MAX: usize = 8_192;
const _: () = assert!(
    COMPILED_BLOCK_OCTETS_MAX
        > PACK_OCTETS_MAX
            + COMPILED_SOURCES_MAX * (COMPILED_PATH_OCTETS_MAX + 48)
            + MASTER_WARNINGS_MAX * (COMPILED_WARNING_OCTETS_MAX + 2)
            + 64,
    "the fullest front and a pack fit a block"
);

const _: () = assert!(
    API_WAIT_S_MAX as u64 * 1_000 < API_IDLE_MS,
    "a connection that waits for a revision must not count as idle"
);
const _: () = assert!(API_STOP_IDLE_MS < API_STOP_MS && API_STOP_MS < STOP_MS, "clients end first");
const _: () = assert!(API_SERVED_MS_MAX <= API_WAIT_S_MAX as u64 * 1_000, "no wait is longer");
const _: () = assert!(API_BODY_OCTETS_MAX < API_IMPORT_OCTETS_MAX, "imports are the long bodies");

// --- mesh, export, client ---

/// Octets of one gossip message. A live change rides in the key of its entry; the entry adds
/// about 300 octets. A longer message is never sent live and arrives with the next reconciliation.
pub(crate) const GOSSIP_MESSAGE_OCTETS_MAX: u32 = 8_192;
/// Milliseconds without a packet after which a connection counts as dead.
pub(crate) const QUIC_IDLE_MS: u32 = 6_000;
/// Milliseconds between the packets that keep an idle connection alive.
pub(crate) const QUIC_KEEP_ALIVE_MS: u64 = 1_500;
/// Seconds between two searches for blobs that no replica names any more.
pub const BLOB_GC_INTERVAL_S: u64 = 300;
/// Milliseconds that the end of a mesh may take. Past it, it is dropped as it is.
pub const MESH_SHUTDOWN_MS: u64 = 3_000;

const _: () = assert!(
    QUIC_KEEP_ALIVE_MS * 3 < QUIC_IDLE_MS as u64,
    "one lost packet must not end a connection"
);

// --- ticket -----------------------------------------------------------------------------------

/// Peers of a ticket. An edge tries them all at once; more than this helps nobody. More: an error.
pub const TICKET_PEERS_MAX: usize = 16;
/// Addresses of one peer in a ticket: a few interfaces in two families. More: an error.
pub const TICKET_ADDRS_MAX: usize = 16;
/// Zones of a ticket's filter; a longer list is a feed of its own. More: an error.
pub const TICKET_ZONES_MAX: usize = 100;
/// Octets of a cluster id. Longer: an error.
pub(crate) const TICKET_CLUSTER_ID_LEN_MAX: usize = 64;
/// Octets of a relay's URL. Longer: an error.
pub(crate) const TICKET_RELAY_LEN_MAX: usize = 255;
/// Characters of a ticket's text form; holds one that is full in every part. Longer: an error.
pub(crate) const TICKET_TEXT_LEN_MAX: usize = 65_536;
const _: () = assert!(
    TICKET_TEXT_LEN_MAX * 5 / 8
        > TICKET_ZONES_MAX * NAME_OCTETS_MAX
            + TICKET_PEERS_MAX * (40 + TICKET_ADDRS_MAX * 19 + TICKET_RELAY_LEN_MAX)
            + 200,
    "the fullest ticket can be read"
);

// --- feed -------------------------------------------------------------------------------------

/// Octets of a pack that its writer aims at. Smaller ones cost an entry and a request each, larger
/// ones cost a big rewrite for a small change.
pub const PACK_OCTETS_TARGET: usize = 512 << 10;
/// Octets of a pack: one RRset of the largest size still fits. Longer: not fetched, refused.
pub(crate) const PACK_OCTETS_MAX: usize = (1 << 20) + (4 << 10);
/// Packs of a zone: 8 GiB of records. More: the manifest is refused.
pub(crate) const MANIFEST_PACKS_MAX: u32 = 16_384;
/// Octets of a manifest, every first owner name at its longest. Longer: not fetched, refused.
pub(crate) const MANIFEST_OCTETS_MAX: usize = 8 << 20;
/// Octets of a zone's settings inside the manifest. Longer: an error.
pub(crate) const MANIFEST_SETTINGS_OCTETS_MAX: usize = 16 << 10;
/// Octets of the key of a live entry. Gossip drops messages above 4,096 octets without a word;
/// keys of 3,800 arrive (measured). Longer changes are cut in parts or become a pack.
pub(crate) const LIVE_KEY_OCTETS_MAX: usize = 3_600;
/// Parts that one live change may be cut in: about 64 KB. Larger ones become a delta pack.
pub(crate) const LIVE_PARTS_MAX: u32 = 24;
/// Octets of all records of one owner name, of all types: they travel in one pack. More: refused.
pub(crate) const OWNER_OCTETS_MAX: usize = PACK_OCTETS_MAX - PACK_HEAD_OCTETS_MAX;
/// Octets of a pack beside its items: head, apex and table.
pub(crate) const PACK_HEAD_OCTETS_MAX: usize = 2 << 10;

/// Octets of header or heartbeat. Longer: not fetched, refused.
pub(crate) const BEAT_OCTETS_MAX: usize = 256;
const _: () =
    assert!(PACK_OCTETS_TARGET < PACK_OCTETS_MAX, "a pack may exceed its aim by an RRset");
const _: () = assert!(PACK_OCTETS_MAX > RRSET_OCTETS_MAX + 1_024, "an RRset fits a pack");
const _: () = assert!(
    MANIFEST_OCTETS_MAX
        > MANIFEST_PACKS_MAX as usize * (NAME_OCTETS_MAX + 80) + MANIFEST_SETTINGS_OCTETS_MAX,
    "a full manifest can be read"
);
/// Octets of a UDP reply to a query without EDNS (RFC 1035 section 4.2.1).
pub const UDP_PLAIN_OCTETS_MAX: usize = 512;
/// Octets of a UDP reply at most, and the size that our OPT records offer: what passes every path
/// unfragmented (DNS flag day 2020). A reply that needs more is truncated.
pub const UDP_OCTETS_MAX: usize = 1_232;
/// Octets of any message (RFC 1035 section 4.2.2). A reply that needs more is truncated.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// Octets of capacity with which a reply's buffer never grows. An RRset is taken back when it turns
/// out not to fit, at the latest one record past the limit: a message and a record at their longest.
pub const REPLY_OCTETS_CAPACITY: usize = 2 * MESSAGE_OCTETS_MAX + 1_024;
/// Octets of a version or an identity that is told to who asks: beside the longest question they fit
/// the smallest reply. The rest is cut off.
pub(crate) const IDENTITY_OCTETS_MAX: usize =
    UDP_PLAIN_OCTETS_MAX - (12 + NAME_OCTETS_MAX + 4) - (11 + 4);
/// CNAME and DNAME records that one answer follows. A longer chain is answered so far and ends there.
pub const ALIAS_CHAIN_MAX: usize = 16;
/// Hosts whose addresses a full answer adds. Those of further ones are left out, as they may be.
pub(crate) const ADDITIONAL_NAMES_MAX: usize = 32;
/// Name servers of a referral whose addresses are looked up. More would only fill the message.
pub(crate) const REFERRAL_GLUE_NAMES_MAX: usize = 256;

/// Octets of a zone transfer's message behind which no further RRset is begun: compression pointers
/// reach no further (RFC 1035 section 4.1.4). The last RRset may fill a whole message.
pub const TRANSFER_MESSAGE_OCTETS: usize = 16_383;

const _: () = assert!(UDP_PLAIN_OCTETS_MAX <= UDP_OCTETS_MAX, "EDNS only ever allows more");
const _: () = assert!(TRANSFER_MESSAGE_OCTETS < MESSAGE_OCTETS_MAX, "there is room for an RRset");
const _: () = assert!(
    REPLY_OCTETS_CAPACITY >= MESSAGE_OCTETS_MAX + RDATA_OCTETS_MAX + 3 * NAME_OCTETS_MAX,
    "a record of two names past the limit fits the buffer"
);

// --- master files (`record::master`) ----------------------------------------------------------

/// How deep `$INCLUDE` may nest; a file that includes itself ends here. Deeper: an error.
pub(crate) const INCLUDE_DEPTH_MAX: usize = 10;
/// Files that one master file may include in all, nested ones counted. More: an error.
pub(crate) const INCLUDE_FILES_MAX: u32 = 1_000;
/// Records that all `$GENERATE` lines of a read may make: sixteen times a reverse zone of a /16.
/// More: an error, so that one short line cannot fill the memory.
pub(crate) const GENERATE_RECORDS_MAX: u64 = 1 << 20;
/// Characters that a number made by `$GENERATE` may be padded to. More fits no label's use: an
/// error.
pub(crate) const GENERATE_WIDTH_MAX: u32 = 127;
/// Warnings that are kept with their line; those past it are counted alone.
pub const MASTER_WARNINGS_MAX: usize = 100;
/// Warnings of all files of one reading that the caller is told; those past it are logged alone.
pub const REFRESH_WARNINGS_MAX: usize = 1_000;
/// Names that a write to a signed zone checks before it is answered: some 100 us each. Those past
/// it are counted alone.
pub(crate) const API_CHECKED_NAMES_MAX: usize = 64;
/// Findings of one kind that a check of a zone keeps; those past it are counted alone.
pub const FINDINGS_PER_KIND_MAX: u64 = 20;
/// Further NSEC3 iterations with which a check computes hashes: what RFC 5155 section 10.3 allows
/// the longest keys. With more, the chain is not looked at, and that is an error.
pub(crate) const NSEC3_ITERATIONS_CHECKED_MAX: u16 = 2_500;

const _: () = assert!(INCLUDE_DEPTH_MAX < INCLUDE_FILES_MAX as usize, "each level is a file");

// --- sync -------------------------------------------------------------------------------------

/// Keys that may wait for their content. Past it an entry is not taken; a rescan brings it again.
pub(crate) const INBOX_ENTRIES_MAX: u32 = 65_536;
/// Changes given out in one batch, except that one commit is never cut. More would keep a zone's
/// edit above some 10 ms.
pub(crate) const BATCH_CHANGES_MAX: usize = 4_096;
/// Octets of live changes that may wait for what stands between, over all zones. Past it a zone's
/// waiting changes are dropped; a rescan brings them again.
pub const LIVE_HELD_OCTETS_MAX: usize = 32 << 20;
/// The same for a zone whose changes lead on from where it is, and wait until it is built: those that come
/// past it are dropped with all that wait there.
pub const LIVE_CHAIN_OCTETS_MAX: usize = 2 * LIVE_HELD_OCTETS_MAX;
/// Octets of packs that may wait for a manifest to name them. Past it they are dropped and asked
/// for again when it does.
pub(crate) const PACK_HELD_OCTETS_MAX: usize = 96 << 20;
/// Packs that are remembered as arrived (2 MiB of hashes). Past it all are forgotten, and a rescan
/// reads them once more.
pub(crate) const PACKS_STORED_MAX: usize = 65_536;
/// Revisions that a zone remembers having been at, to compare with a heartbeat from the past.
pub(crate) const TRAIL_LEN_MAX: usize = 4_096;
/// Complaints that wait to be logged, and keys that are remembered as complained of.
pub const COMPLAINTS_MAX: usize = 1_024;
/// Milliseconds after which a fetch that nobody reports on is given out again.
pub(crate) const FETCH_MS_MAX: u64 = 20_000;
/// Milliseconds before the first retry of a fetch; doubles.
pub(crate) const FETCH_RETRY_MS_MIN: u64 = 100;
/// Milliseconds between retries of a fetch at most.
pub(crate) const FETCH_RETRY_MS_MAX: u64 = 10_000;
/// Milliseconds that a gap may last before a rescan is asked for; gossip reorders by less.
pub const GAP_MS_MAX: u64 = 500;
/// Milliseconds between two rescans at least; doubles up to [`RESCAN_MS_MAX`] while they do not help.
pub const RESCAN_MS_MIN: u64 = 1_000;
/// Milliseconds between two rescans that do not help.
pub const RESCAN_MS_MAX: u64 = 60_000;
/// Milliseconds that something may be missing before an edge is no longer synced.
pub const BEHIND_MS_MAX: u64 = 5_000;
/// Milliseconds that a zone without header waits for content that does not come, before it is
/// served without.
pub(crate) const PLAIN_WAIT_MS: u64 = 5_000;
/// Entries of a feed without header, deleted ones counted. More: dropped, counted and complained of, and
/// the edge is not synced; such a feed costs an entry a record and is slow long before.
pub(crate) const PLAIN_ENTRIES_MAX: usize = 1 << 20;
const _: () = assert!(FETCH_RETRY_MS_MIN < FETCH_RETRY_MS_MAX, "retries slow down");
const _: () = assert!(GAP_MS_MAX < BEHIND_MS_MAX, "a rescan is tried before the status changes");

// --- serve: datagrams ---------------------------------------------------------------------------

/// Datagrams that one worker receives, answers and sends together. Twice as many gained nothing
/// on one core, and the first of a batch waits for the last.
pub const UDP_BATCH_MAX: usize = 64;
/// Queries whose answers are read ahead together: a whole batch. Those beyond it are answered all
/// the same.
pub const WARM_QUERIES_MAX: usize = UDP_BATCH_MAX;
/// Queries in a batch from which on reading ahead pays: it takes a step for each look-up.
pub const WARM_QUERIES_MIN: usize = 4;
/// Octets of a query in a datagram: as many as UDP's length can say (RFC 768), so that none is cut.
/// A buffer's memory is taken by what has come in, page by page.
pub(crate) const UDP_QUERY_OCTETS_MAX: usize = 65_535;
/// Octets a reply buffer has from the start: a UDP reply (RFC 9715) and a record of names, rewritten, that
/// turned out not to fit, so that no worker allocates after its start.
pub const UDP_REPLY_OCTETS: usize = 2_048;
const _: () = assert!(
    UDP_REPLY_OCTETS >= UDP_OCTETS_MAX + 3 * NAME_OCTETS_MAX + 32,
    "the longest record of names, an SOA with its owner, past the limit fits the buffer"
);
/// Replies that leave as one message: Linux takes no more (UDP_MAX_SEGMENTS before 6.9).
pub(crate) const UDP_SEGMENTS_MAX: usize = 64;
/// Octets of replies that leave as one message, with room left for the headers of both families in
/// the 65,535 that IP's length can say.
pub(crate) const UDP_SEGMENTS_OCTETS_MAX: usize = 61_440;
/// Octets asked for as SO_RCVBUF and SO_SNDBUF: some 5,000 small queries, which is what arrives
/// while a worker is off its core for 10 ms. The kernel may grant less; that is logged.
pub(crate) const UDP_SOCKET_BUFFER_OCTETS: usize = 4 << 20;
/// Milliseconds after which a worker without queries looks whether it is to stop.
pub(crate) const UDP_WAKE_MS: u64 = 100;
/// Receives in a row that fail for no known reason before a worker gives up; it waits
/// [`UDP_WAKE_MS`] after each.
pub(crate) const UDP_RECEIVE_ERRORS_MAX: u32 = 100;
/// Batches that a worker still answers once it is to stop. What came later gets no answer.
pub(crate) const UDP_DRAIN_BATCHES_MAX: u32 = 1_024;

// --- serve: TCP ---------------------------------------------------------------------------------

/// TCP connections in all. At the limit the one that was idle longest gives way to the new one.
/// The process's limit of open files, halved, may be lower and counts then.
pub(crate) const TCP_CONNECTIONS_MAX: u32 = 8_192;
/// TCP connections of one IPv4 address or IPv6 /64: more than a busy resolver opens, and no
/// more than a thirtieth of all. Further ones are closed at once.
pub(crate) const TCP_CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;
/// Connections that wait to be accepted, in the kernel.
pub(crate) const TCP_BACKLOG_MAX: i32 = 1_024;
/// Connections accepted before others get their turn again.
pub(crate) const TCP_ACCEPTS_PER_TURN_MAX: u32 = 64;
/// Octets read at once: some 300 pipelined queries, so that system calls cost them little.
pub(crate) const TCP_READ_OCTETS: usize = 16_384;
/// Reads from one connection before others get their turn again.
pub(crate) const TCP_READS_PER_TURN_MAX: u32 = 4;
/// Octets of replies that wait for a slow reader. Past it no query of that connection is
/// answered, nor is anything read from it; the last reply may exceed it by its own length.
pub(crate) const TCP_OUTPUT_OCTETS_MAX: usize = 32_768;
/// Octets that all connections of a worker together keep for unfinished messages and slow
/// readers. Past it the one that has kept the worker waiting longest is closed.
pub(crate) const TCP_BUFFERED_OCTETS_MAX: usize = 64 << 20;
/// Milliseconds between the first octet of a message and its last. Then the connection closes:
/// whoever drips octets holds a place that others want.
pub(crate) const TCP_MESSAGE_MS_MAX: u64 = 500;
/// Octets that are read and thrown away behind the last reply of a connection that is to be closed. More:
/// it is closed, and what the peer had not received by then is lost to it.
pub(crate) const TCP_DISCARDED_OCTETS_MAX: usize = 1 << 20;
/// Milliseconds without a query (RFC 7766 section 6.2.3 asks for seconds, not minutes).
pub(crate) const TCP_IDLE_MS_MAX: u64 = 10_000;
/// The same when every connection there may be is in use; between half and full it shrinks evenly.
pub(crate) const TCP_IDLE_MS_MIN: u64 = 1_000;
/// Milliseconds in which a slow reader has to take what waits for it. Then it is closed.
pub(crate) const TCP_SEND_MS_MAX: u64 = 5_000;
/// Zone transfers at once, over all TCP workers. Each may keep one replaced version of a zone in
/// memory until it ends. Further ones are refused; secondaries try again.
pub const TRANSFERS_MAX: u32 = 32;
/// Milliseconds that a stop waits for replies to leave.
pub(crate) const TCP_DRAIN_MS_MAX: u64 = 1_000;
/// Ports tried when port 0 is asked for and TCP cannot have the port that UDP was given.
pub(crate) const PORT_TRIES_MAX: u32 = 32;

/// One batch out of so many is timed.
pub(crate) const LATENCY_SAMPLE_BATCHES: u32 = 64;

const _: () = assert!(UDP_BATCH_MAX <= 1_024, "sendmmsg takes no more (UIO_MAXIOV)");
const _: () = assert!(TCP_IDLE_MS_MIN > TCP_MESSAGE_MS_MAX, "a message may take its whole time");
const _: () = assert!(TCP_CONNECTIONS_PER_ADDRESS_MAX < TCP_CONNECTIONS_MAX);
