//! What is wrong with entries, told once each.
//!
//! **Invariant:** one bad entry is told once however often it arrives, until
//! [`COMPLAINTS_MAX`] others were told since; no more than that many wait.
//! **Not here:** the log (the caller's), what follows from a bad entry (nothing).

use std::collections::{HashSet, VecDeque};

use crate::feed::Hash;
use crate::feed::key::KeyError;
use crate::limits::COMPLAINTS_MAX;
use crate::name::Name;
use crate::octets::DecodeError;
use crate::record::document::DocumentError;

/// Why an entry changes nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// The key is none of a feed's.
    #[error(transparent)]
    BadKey(KeyError),
    /// The key is not in the one form that is written.
    #[error("a key is not in canonical form")]
    NotCanonical,
    /// The content is malformed.
    #[error(transparent)]
    BadContent(#[from] DecodeError),
    /// The content is longer than it may be; it was not fetched.
    #[error("content of {len} octets, {max} at most")]
    TooLong {
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// There are too many entries already; it was dropped.
    #[error("{max} entries are known, and no more are taken")]
    TooManyEntries {
        /// The limit.
        max: u64,
    },
    /// The content speaks of another zone than the key.
    #[error("the content is of the zone {found}, the key of another")]
    WrongZone {
        /// The content's zone.
        found: Name,
    },
    /// The content speaks of another RRset than the key.
    #[error("the content is of {found}, the key of another RRset")]
    WrongRrset {
        /// The content's owner name.
        found: Name,
    },
    /// An entry of the original's form in a feed that has a header.
    #[error("a record entry in a feed that has a header")]
    PlainInFeed,
    /// A record's or zone's JSON is not what it must be.
    #[error(transparent)]
    BadDocument(#[from] DocumentError),
}

/// One bad entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
    /// The entry's key.
    pub key: Box<[u8]>,
    /// What is wrong.
    pub error: EntryError,
}

/// Complaints that wait, and those that were made.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// Not yet told.
    waiting: VecDeque<Complaint>,
    /// Told or waiting: key and content.
    known: HashSet<(Box<[u8]>, Hash)>,
}

impl Complaints {
    /// Adds a complaint, unless it is known already or too many wait.
    pub(super) fn add(&mut self, key: &[u8], hash: &Hash, error: EntryError) {
        if self.known.len() >= COMPLAINTS_MAX {
            self.known.clear();
        }
        if self.waiting.len() < COMPLAINTS_MAX && self.known.insert((key.into(), *hash)) {
            self.waiting.push_back(Complaint { key: key.into(), error });
        }
    }

    /// Takes the oldest complaint that waits.
    pub(super) fn poll(&mut self) -> Option<Complaint> {
        self.waiting.pop_front()
    }
}
