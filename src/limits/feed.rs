//! Limits of the feed: its document (root, indexes, bundles) and its log.

use super::{DOCS_CALL_MS_MAX, NAME_OCTETS_MAX, PACK_OCTETS_MAX, STOP_MS};

// ---- the document ----

/// Octets of a bundle that its writer aims at. Smaller ones cost a request each, larger ones are
/// rewritten for less; a pack that is longer is a bundle of its own.
pub const BUNDLE_OCTETS_TARGET: usize = 256 << 10;
/// Octets of a bundle. Longer: not fetched, refused.
pub const BUNDLE_OCTETS_MAX: usize = PACK_OCTETS_MAX + BUNDLE_OCTETS_TARGET;
/// Rows of an index that its writer aims at: some 100 KB. More where there are so many zones that a
/// root could not name their indexes.
pub const INDEX_ROWS_TARGET: usize = 1_024;
/// Rows of an index. More: not written, refused.
pub const INDEX_ROWS_MAX: u64 = 65_536;
/// Bundles that one index names. More: not written, refused.
pub const INDEX_BUNDLES_MAX: u64 = 1 << 20;
/// Packs of one zone: 8 GiB of records. More: the zone is not written, and told as one that cannot be;
/// an index with such a row is refused.
pub const ZONE_PACKS_MAX: u64 = 16_384;
/// Octets of an index: its rows at the longest, or one zone of the most packs. Longer: not written,
/// refused.
pub const INDEX_OCTETS_MAX: usize = 32 << 20;
/// Indexes that a root names. More: the version is not written, and counted as one that cannot be; refused.
pub const ROOT_INDEXES_MAX: u64 = 16_384;
/// Octets of a root. Longer: not fetched, refused.
pub const ROOT_OCTETS_MAX: usize = 1 << 20;
/// Milliseconds between two versions of the document while changes come: an edge that has nothing
/// else is behind by that and the time to fetch it.
pub const FOLD_MS: u64 = 1_000;
/// Milliseconds after which a zone that cannot be read keeps a version no longer from holding as far as
/// the log: edges keep the log behind the last version, and cannot keep all of it.
pub const UNBUILT_MS: u64 = 60_000;
/// The same for the first version of a history: until there is one, no edge has anything of it.
pub const UNBUILT_MS_FIRST: u64 = 5_000;
/// Milliseconds that a zone which must be read as a whole waits for others, so that zones made one
/// after the other share a version.
pub const FOLD_URGENT_MS: u64 = 20;
/// Deltas of a zone; then they become one.
pub const ZONE_DELTAS_MAX: usize = 8;
/// RRsets of a zone whose changes the exporter keeps until the next version. Past it the zone is read
/// as a whole instead.
pub const ZONE_RECENT_MAX: usize = 65_536;
/// Seconds that a content which no version names any more is kept for edges that are fetching it.
pub const RETIRED_S: u64 = 60;
/// Records of a zone that travel in the log as a whole when it is new. Larger ones are fetched from
/// the document.
pub const LOG_WHOLE_RECORDS_MAX: u64 = 256;
/// Records of a zone up to which it is read together with others, in one go.
pub const READ_TOGETHER_RECORDS_MAX: u64 = 1_024;
/// Zones that are read in one go.
pub const READ_TOGETHER_ZONES_MAX: usize = 512;
/// Octets of bundles of which less than half is of use that are written anew in one version.
pub const COMPACT_OCTETS_MAX: u64 = 16 << 20;

/// Octets of packs that an authority reads again each second, to see that its document is what it says:
/// 1,000,000 names take four minutes.
pub const AUDIT_OCTETS_PER_S: u64 = 256 << 10;
/// Octets of packs that are read together, beside those of one zone.
pub const AUDIT_OCTETS_MAX: u64 = 256 << 10;
/// Zones that are read together.
pub const AUDIT_ZONES_MAX: usize = 256;
/// Milliseconds between two such reads at least.
pub const AUDIT_MS_MIN: u64 = 1_000;

// ---- the log ----

/// Octets of a segment after which no further commit is put in it: it is signed and read as one.
pub const SEGMENT_OCTETS_TARGET: usize = 128 << 10;
/// Octets of one zone's changes in a commit of the log. More: the zone comes by the document.
pub const LOG_ZONE_OCTETS_MAX: usize = 512 << 10;
/// Octets of a segment: its aim, and one more commit. Longer: refused.
pub const SEGMENT_OCTETS_MAX: usize = 4 << 20;
/// Zones of one commit of the log. More: refused; their writer begins the log anew behind such a
/// commit, so that edges take all of it from the document.
pub const LOG_COMMIT_ZONES_MAX: u64 = 65_536;
/// Octets of segments that a node keeps in memory for those who follow it. Past it the oldest go:
/// whoever is further behind takes the document.
pub const LOG_OCTETS_MAX: usize = 16 << 20;
/// Octets of the log that an edge keeps on its disk before it takes a newer document instead.
pub const LOG_FILE_OCTETS_MAX: u64 = 8 << 20;
/// Octets of the log after which a version is made though no zone of the feed has changed: a new edge goes on
/// from where the last one holds, and all edges keep the log behind it.
pub const VERSION_LOG_OCTETS_MAX: u64 = LOG_FILE_OCTETS_MAX / 2;
/// Milliseconds after which an edge takes a newer document, however short its log.
pub const ADOPT_MS_MAX: u64 = 30_000;
/// Milliseconds for which somebody must be followed for that to be no quick loss.
pub const UPSTREAM_HELD_MS: u64 = 1_000;
/// Quick losses in a row after which an edge waits before it dials again.
pub const UPSTREAM_LOSSES_MAX: u32 = 5;
/// Milliseconds that it waits then, twice as many after each further loss, 32 times at most.
pub const UPSTREAM_WAIT_MS: u64 = 100;
/// Milliseconds after which a node looks again at the contents that it keeps.
pub const CONTENTS_LOOK_MS: u64 = 10_000;
/// Milliseconds after which a store of contents that is damaged may be begun anew once more.
pub const CONTENTS_RENEW_MS: u64 = 5_000;
/// Milliseconds after which an edge tries again to keep a version that it could not keep.
pub const KEEP_RETRY_MS: u64 = 1_000;
/// Milliseconds after which the keeping of a version is given up: an engine that has died may not say so.
pub const KEEP_MS_MAX: u64 = 10_000;
/// Milliseconds for which an edge may keep nothing before that is a fault.
pub const UNKEPT_MS: u64 = 3_000;
/// Milliseconds between two looks of an authority whether the feeds are frozen, by another one on its store.
pub(crate) const FREEZE_LOOK_MS: u64 = 500;
/// Milliseconds that the note of where a feed was frozen may take, so that heartbeats go on; it is tried again.
pub(crate) const FREEZE_NOTE_MS_MAX: u64 = 400;
const _: () = assert!(FREEZE_NOTE_MS_MAX < FEED_BEAT_MS, "heartbeats keep their time");
/// Milliseconds for which who freezes feeds waits until their writer has heard it.
pub(crate) const FREEZE_TOLD_MS_MAX: u64 = 3_000;
/// Milliseconds between two signed heartbeats of a feed.
pub const FEED_BEAT_MS: u64 = 500;
/// Milliseconds after which an edge that heard no signed heartbeat does not claim to be synced.
pub const BEAT_FRESH_MS_MAX: u64 = 3 * FEED_BEAT_MS;
/// Milliseconds after which a node that sent nothing else on a stream sends a ping.
pub const PING_MS: u64 = 100;
/// Milliseconds without any frame after which a stream counts as broken: three pings lost, and
/// what a busy machine needs.
pub const STREAM_SILENCE_MS_MAX: u64 = 350;
/// Round trips that a stream may be silent for beyond that: what is lost is sent again after one to two.
pub const STREAM_SILENCE_ROUND_TRIPS: u32 = 4;
/// Milliseconds that a peer has for its hello. Then the connection is closed.
pub const HELLO_MS_MAX: u64 = 3_000;
/// Octets of a frame that somebody sends who follows a feed. More: the connection is closed.
pub const CLIENT_FRAME_OCTETS_MAX: usize = 256 << 10;
/// Octets of the signed segments in a hello. More: left out by the writer.
pub const HELLO_PROOF_OCTETS_MAX: usize = 192 << 10;
/// Hellos whose signed segments wait until the author has looked at them. Those of more are passed
/// over until they come again.
pub const EVIDENCE_WAITING_MAX: usize = 32;
/// Octets of a frame that a server sends: a segment at its longest. More: the connection is closed.
pub const SERVER_FRAME_OCTETS_MAX: usize = SEGMENT_OCTETS_MAX + 64;
/// Octets of frames that are given to a connection at once.
pub const STREAM_WRITE_OCTETS: usize = 64 << 10;
/// Peers that follow one node. Further ones are told of others instead.
pub const FOLLOWERS_MAX: usize = 128;
/// Endpoints that were refused a feed, of which it is remembered which. Those of more are counted, and not logged.
pub const REFUSED_SHOWN_MAX: usize = 64;
/// Requests for contents of one connection that wait to be judged. Further ones are not read before.
pub(crate) const CONTENT_REQUESTS_WAITING_MAX: usize = 16;
/// Sets of contents that were given up and are not handed out to everybody while they may still be here. The
/// oldest of more are forgotten.
pub(crate) const KEEPS_LEFT_MAX: usize = 256;
/// Peers that a welcome names, and that an edge remembers.
pub const KNOWN_PEERS_MAX: usize = 16;
/// Milliseconds that a follower may take nothing while frames wait for it. Then it is dropped.
pub const FOLLOWER_STALL_MS_MAX: u64 = 10_000;

// ---- the fleet ----

/// Octets of the name that an operator gives an edge. More: refused at its start.
pub const EDGE_NAME_OCTETS_MAX: usize = 64;
/// Octets of a version of the program that an edge tells. More: cut by the writer, refused by the reader.
pub const EDGE_VERSION_OCTETS_MAX: usize = 32;
/// Octets of the reason that an edge gives for a zone. More: cut by the writer, refused by the reader.
pub const EDGE_REASON_OCTETS_MAX: usize = 255;
/// Octets of the address at which an edge is seen; the URL of a relay fits. More: as of a reason.
pub const EDGE_ADDRESS_OCTETS_MAX: usize = 255;
/// Octets of all that is said of one edge, with room for what later versions add. More: refused.
pub const EDGE_ITEM_OCTETS_MAX: usize = 1_024;
/// Edges of one report. More: told in the next ones; refused by the reader.
pub const FLEET_REPORT_EDGES_MAX: usize = 200;
/// Edges that an edge hands on in one report, itself beside: these fit into what may lie unread on a
/// stream, so that whoever follows changes does not wait. The others are told in the next ones.
pub const FLEET_HANDED_ON_MAX: usize = 48;
/// Edges through which a report may have come. One that came further is not handed on.
pub const FLEET_HOPS_MAX: u8 = 8;
/// Edges that a node remembers, of all its feeds. At the limit the one that is silent for longest goes; where
/// none is silent, one more that is told by another edge is left out, and counted.
pub const FLEET_EDGES_MAX: usize = 4_096;
/// Edges that a node remembers because one of its followers tells of them. Further ones are left out, and counted.
pub const FLEET_EDGES_VIA_MAX: usize = 512;
/// Edges of one feed that a node remembers because others tell of them, so that those who hold a ticket of one
/// feed leave room for the others. Further ones are left out, and counted.
pub const FLEET_EDGES_TOLD_MAX: usize = 1_024;
/// Milliseconds of rest that a follower may have saved, to send reports at once that waited on their way. As
/// many short ones as fit into what may lie unread on a stream; a report that comes faster is not looked at.
pub const FLEET_PACE_MS_MAX: u64 = 15_000;
/// Edges left out that are told apart, to count each once. Past it the number stays.
pub const FLEET_LEFT_OUT_MAX: usize = 4_096;
/// Edges that were forgotten by command and may still be handed on by others. Past it the oldest may come back.
pub const FLEET_FORGOTTEN_MAX: usize = 256;
/// Milliseconds without a report after which an edge is silent: some reports, each some edges on its way.
pub const EDGE_SILENT_MS: u64 = 5_000;
/// Milliseconds for which an edge that is silent is remembered: a day, in which somebody looks.
pub const EDGE_FORGET_MS: u64 = 86_400_000;
/// Milliseconds between two looks at edges that are waited for, however much they report.
pub const EDGES_LOOK_MS: u64 = 10;
/// Milliseconds after the start of a node in which its edges come back: whoever waits for all of them waits for that.
pub const EDGES_RETURN_MS: u64 = 3_000;
/// Edges that a wait may name. More: refused.
pub const EDGES_NAMED_MAX: usize = 64;

const _: () = assert!(
    EDGE_ITEM_OCTETS_MAX
        > 128
            + EDGE_NAME_OCTETS_MAX
            + EDGE_VERSION_OCTETS_MAX
            + EDGE_REASON_OCTETS_MAX
            + EDGE_ADDRESS_OCTETS_MAX,
    "an edge that says all fits"
);
const _: () = assert!(
    FLEET_REPORT_EDGES_MAX * (EDGE_ITEM_OCTETS_MAX + 2) + 16 < CLIENT_FRAME_OCTETS_MAX,
    "a full report fits a frame"
);
const _: () = assert!(
    (FLEET_HANDED_ON_MAX + 1) * (EDGE_ITEM_OCTETS_MAX + 2) < MESH_STREAM_WINDOW as usize,
    "a report is written without waiting for its reader"
);
const _: () = assert!(FLEET_HANDED_ON_MAX < FLEET_REPORT_EDGES_MAX, "and is one that is read");
const _: () = assert!(FLEET_EDGES_VIA_MAX <= FLEET_EDGES_TOLD_MAX, "one tells no more than all");
const _: () =
    assert!(2 * FLEET_EDGES_TOLD_MAX < FLEET_EDGES_MAX, "one feed leaves room for others");
const _: () = assert!(EDGE_SILENT_MS > 4 * REPORT_MS, "some reports may be late");

// ---- strangers at the mesh's port ----

/// Connections that are served at a time: an edge has four at most. Further ones are closed.
pub const MESH_CONNECTIONS_MAX: usize = 640;
/// Handshakes of one address a second: a fleet behind one address translation restarts at once.
/// Further ones are refused.
pub const HANDSHAKES_PER_ADDRESS_MAX: u32 = 256;
/// Handshakes a second of addresses that may be forged. Further ones must prove theirs first.
pub const HANDSHAKES_UNPROVEN_MAX: u32 = 512;
/// Addresses whose handshakes are counted. Further ones are refused for the rest of the second.
pub const HANDSHAKES_ADDRESSES_MAX: usize = 16_384;
/// Milliseconds in which the store of contents must open. Then it counts as damaged.
pub const BLOBS_OPEN_MS_MAX: u64 = 5_000;
/// Milliseconds in which the store of contents must answer. Then its engine counts as dead.
pub const BLOBS_CALL_MS_MAX: u64 = 3_000;
/// Milliseconds between two looks at a store of contents that has failed, at first and at most.
pub const BLOBS_HEAL_MS_MIN: u64 = 250;
/// See [`BLOBS_HEAL_MS_MIN`].
pub const BLOBS_HEAL_MS_MAX: u64 = 5_000;
/// Octets that a peer may send in one reconciliation of documents: 200,000 entries of a feed of the
/// first format. More: it is cut off.
pub const DOCS_CONNECTION_OCTETS_MAX: u64 = 64 << 20;
/// Octets that a peer may send on one stream before they are read.
pub const MESH_STREAM_WINDOW: u32 = 64 << 10;
/// Octets that a peer may send on one connection before they are read.
pub const MESH_CONNECTION_WINDOW: u32 = 128 << 10;
/// Streams that a peer may open in each way: gossip takes a few.
pub const MESH_STREAMS_MAX: u32 = 8;
/// Octets on their way to a peer that it has not confirmed. Past it a writer waits.
pub const MESH_SEND_WINDOW: u64 = 1 << 20;

// ---- the edge ----

/// Commits' zone steps that wait for a document, over all zones. Past it they are forgotten, and
/// the zones taken from a newer document.
pub const HELD_STEPS_MAX: usize = 65_536;
/// Octets of bundles that are fetched or held at a time, beside those of one zone.
pub const BUNDLES_HELD_OCTETS_MAX: usize = 64 << 20;
/// Milliseconds that an edge has come to wait between two tries to fetch a content, after which it
/// takes a newer version of the document instead: nobody may have that of the older one any more.
pub const FETCH_STUCK_MS: u64 = 1_600;
/// Milliseconds that a dial waits for its turn while another one of the same peer has said hello. Those that
/// wait longer may be of a process that is gone: a fresh one takes their place.
pub const DIAL_TURN_MS_MAX: u64 = 300;
/// Milliseconds that the reply to a hello may take, beside some round trips.
pub const HELLO_REPLY_MS_MAX: u64 = 1_000;
/// Milliseconds between two dials while an edge has just lost whom it followed, and later.
pub const UPSTREAM_DIAL_MS: u64 = 100;
/// See [`UPSTREAM_DIAL_MS`].
pub const UPSTREAM_DIAL_SLOW_MS: u64 = 500;
/// Milliseconds between two dials of an edge that was told that the feed is not for it: that may change, rarely.
pub const UPSTREAM_BARRED_MS: u64 = 5_000;
/// Milliseconds for which nothing is taken of a feed in whose place another is about to come. Then it is followed on,
/// and the other one comes over later.
pub(crate) const MOVE_FREEZE_MS_MAX: u64 = 5_000;
/// Milliseconds between two tries to follow the feed that takes the place of another.
pub(crate) const MOVE_RETRY_MS: u64 = 5_000;
/// Feeds that have moved of which a node tells others where to. The oldest of more are forgotten.
pub(crate) const MOVED_TOLD_MAX: usize = 64;
/// Milliseconds for which dials follow quickly. A restarted node is back within a second.
pub const UPSTREAM_EAGER_MS: u64 = 10_000;
/// Milliseconds that an authority reads its store for, to find out whether it made a commit that a peer
/// shows. What takes longer proves nothing; the peer shows it again.
pub const EVIDENCE_READ_MS_MAX: u64 = 3_000;
/// Milliseconds until an authority tries again to tell a former follower where it is; twice as long
/// each time, up to [`SAY_HERE_MS_MAX`].
pub const SAY_HERE_MS_MIN: u64 = 5_000;
/// See [`SAY_HERE_MS_MIN`].
pub const SAY_HERE_MS_MAX: u64 = 300_000;
/// Milliseconds that an edge stays with another one that hears nothing of the author, though somebody
/// else might: twice as long each time, up to [`DEAF_MS_MAX`], until the author is heard.
pub const DEAF_MS_MIN: u64 = 2_000;
/// See [`DEAF_MS_MIN`].
pub const DEAF_MS_MAX: u64 = 300_000;
/// Milliseconds between two reports of an edge to whom it follows, while what it serves stays as it is.
pub const REPORT_MS: u64 = 1_000;
/// Milliseconds between two reports of an edge whose answers go on: what changes meanwhile is told together.
pub const REPORT_QUICK_MS: u64 = 20;
/// Octets of reports for each millisecond of rest after them, so that an edge with many others behind it
/// takes no line for itself.
pub const REPORT_OCTETS_PER_MS: usize = 256;
/// Milliseconds that whoever is followed may leave a report lie. It has had room for many: it is followed no
/// more, since the edge stands still meanwhile.
pub const REPORT_WRITE_MS_MAX: u64 = 1_000;
/// Milliseconds that a task of a feed that is followed no more may take to end. Past it, it is ended.
pub const FOLLOW_END_MS_MAX: u64 = 2_500;
const _: () = assert!(
    FOLLOW_END_MS_MAX + DOCS_CALL_MS_MAX < STOP_MS,
    "a feed is left before the part that follows it is dropped"
);
/// Announcements of versions that an edge remembers; an older one is not kept for a restart.
pub const ANNOUNCEMENTS_MAX: usize = 64;
/// Announcements that wait after they came through the namespace. Further ones are left out.
pub const ROOT_ENTRIES_MAX: usize = 8;
/// Zones with a digest that differs that are remembered. Past it they are counted alone.
pub const DIFFERING_ZONES_MAX: usize = 1_024;
/// Milliseconds until a zone whose digest differs is taken from the document again; doubles.
pub const DIFFER_RETRY_MS_MIN: u64 = 250;
/// See [`DIFFER_RETRY_MS_MIN`].
pub const DIFFER_RETRY_MS_MAX: u64 = 60_000;

const _: () = assert!(PING_MS * 3 < STREAM_SILENCE_MS_MAX, "three pings may be lost");
const _: () = assert!(FEED_BEAT_MS > PING_MS, "a ping costs less than a signature");
const _: () = assert!(LOG_ZONE_OCTETS_MAX < PACK_OCTETS_MAX, "a step of the log is a pack");
const _: () = assert!(
    SEGMENT_OCTETS_TARGET + LOG_ZONE_OCTETS_MAX * 2 < SEGMENT_OCTETS_MAX,
    "a commit over several zones fits"
);
const _: () =
    assert!(ROOT_OCTETS_MAX > ROOT_INDEXES_MAX as usize * 48 + 1_024, "a full root can be read");
const _: () = assert!(
    INDEX_OCTETS_MAX > INDEX_ROWS_MAX as usize * (NAME_OCTETS_MAX + 128),
    "a full index can be read"
);
const _: () = assert!(HELLO_PROOF_OCTETS_MAX < CLIENT_FRAME_OCTETS_MAX, "a hello fits a frame");
