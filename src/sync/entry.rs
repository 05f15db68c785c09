//! An entry of the namespace, as the caller hands it in.
//!
//! **Invariant:** none; everything in it comes from outside.
//! **Not here:** what becomes of it (`sync::core`).

use bytes::Bytes;

use crate::feed::Hash;

/// One entry of the namespace.
#[derive(Clone, Debug)]
pub struct FeedEntry<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its author.
    pub author: [u8; 32],
    /// The hash of its content.
    pub hash: Hash,
    /// The length of its content in octets; 0 for an emptied entry.
    pub len: u64,
    /// The replica's timestamp. It tells the newer of two entries of one key, as it does in the
    /// replica, and nothing else.
    pub timestamp_us: u64,
    /// Where the entry comes from.
    pub origin: Origin,
    /// The content, if the caller has it at hand.
    pub content: Option<Bytes>,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The replica's own disk: it says nothing about peers.
    Scan,
    /// It has just arrived, from a peer or from an exporter in this process: somebody lives.
    Event,
}
