//! The feed: what stands in a namespace, octet by octet.
//!
//! | entry | key | value |
//! |---|---|---|
//! | header | `dns:_feed` 0x00 | [`beat::FeedHeader`] |
//! | manifest | `dns:_zone:{apex}` 0x00 | [`manifest::Manifest`]: a zone at one revision, its packs |
//! | pack | `dns:_pack:{apex}:{n}` 0x00 | [`pack::Pack`]: many RRsets, or many changes |
//! | live | `dns:_live:{apex}` 0x00 `{number}` 0x00 [`live::LiveChange`] | one constant octet that nobody fetches |
//! | heartbeat | `dns:_beat` 0x00 | [`beat::Beat`] |
//!
//! A zone's state is its manifest's packs, then every live change with a higher revision. The
//! highest revision wins; clocks, authors and the order of arrival never decide.
//! Keys without the final 0x00 are those of a namespace in the original system's form: records as
//! JSON (`record::document`) and no header.
//!
//! **Invariant:** no key is a prefix of another. iroh-docs removes every older entry whose key
//! begins with a new entry's key, so `dns:x:A` without an end mark would erase `dns:x:AAAA`.
//! **Not here:** who sends and fetches (`mesh`, `export`, `replica`), what an edge makes of
//! entries (`sync`).

pub mod beat;
pub mod digest;
pub mod frame;
pub mod index;
pub mod items;
pub mod key;
pub mod live;
pub mod manifest;
pub mod merge;
pub mod notice;
mod order;
pub mod pack;
pub mod root;
pub mod segment;

/// The BLAKE3 hash of a content, by which it is fetched.
pub type Hash = [u8; 32];

/// Which history of a store.
///
/// A store that is made anew, or a copy that is put back after others have seen more, begins
/// another one, with a higher epoch: the highest epoch counts, whatever the clock says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct HistoryId {
    /// Counts the histories that one feed has had.
    pub epoch: u64,
    /// 128 random bits.
    pub id: u128,
}

impl std::fmt::Display for HistoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:032x}", self.epoch, self.id)
    }
}

/// A place in the history of a store: revisions count commits, epochs count histories.
///
/// A store that is created anew begins again at revision 1; its epoch (the time of its creation,
/// in milliseconds since 1970) is higher, so that edges which saw the old history follow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Revision {
    /// Which history.
    pub epoch: u64,
    /// Which commit of that history.
    pub number: u64,
}

impl Revision {
    /// Makes a revision from its two parts.
    pub fn new(epoch: u64, number: u64) -> Self {
        Self { epoch, number }
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number)
    }
}
