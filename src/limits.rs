//! Every limit of the crate: its unit, its reason, and what happens when it is reached.
//!
//! A module that owns a queue, loop, buffer, chain or table takes its bound from here, so that
//! the cost of the worst input can be read off one page.

/// Octets of a name in wire form, root label included (RFC 1035 section 3.1). Longer: an error.
pub const NAME_OCTETS_MAX: usize = 255;
/// Octets of one label (RFC 1035 section 3.1). Longer: an error.
pub const LABEL_OCTETS_MAX: usize = 63;
/// Labels of a name without the root label: 127 labels of one octet fill 254 octets.
pub const NAME_LABELS_MAX: usize = 127;

/// Octets of one record's RDATA: RDLENGTH is 16 bits wide (RFC 1035 section 3.2.1).
pub const RDATA_OCTETS_MAX: usize = 65_535;
/// Records of one RRset that an RRset may hold at all. More would not fit any message.
pub const RRSET_RECORDS_MAX: u32 = 16_384;
/// Octets of all RDATA of one RRset. A message is 65,535 octets at most, so more is never answered.
pub const RRSET_OCTETS_MAX: usize = 1 << 20;
/// Seconds of a TTL: RFC 2181 section 8 leaves 31 bits.
pub const TTL_S_MAX: u32 = (1 << 31) - 1;

const _: () = assert!(NAME_LABELS_MAX * 2 < NAME_OCTETS_MAX, "every label takes two octets");

// --- mesh, export, client ---

/// Octets of one gossip message. A live change rides in the key of its entry; the entry adds
/// about 300 octets. A longer message is never sent live and arrives with the next reconciliation.
pub const GOSSIP_MESSAGE_OCTETS_MAX: u32 = 8_192;
/// Milliseconds without a packet after which a connection counts as dead.
pub const QUIC_IDLE_MS: u32 = 6_000;
/// Milliseconds between the packets that keep an idle connection alive.
pub const QUIC_KEEP_ALIVE_MS: u64 = 1_500;
/// Seconds between two searches for blobs that no replica names any more.
pub const BLOB_GC_INTERVAL_S: u64 = 300;
/// Milliseconds that the end of a mesh may take. Past it, it is dropped as it is.
pub const MESH_SHUTDOWN_MS: u64 = 3_000;

const _: () = assert!(
    QUIC_KEEP_ALIVE_MS * 3 < QUIC_IDLE_MS as u64,
    "one lost packet must not end a connection"
);
