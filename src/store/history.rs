//! The one stream of whole commits, and what it takes to begin to follow it.
//!
//! Exporters, followers and whoever else keeps a copy of zones read them here; the store is the
//! source of all of them, and other truths (a directory of master files, another system) may be
//! one, too.
//!
//! # Histories
//! A store that was restored from a backup, or begun anew, counts revisions that others may have
//! seen with another content. Whoever keeps what it has read notes the history beside the
//! revision: of two histories the one with the higher epoch is newer.
//!
//! **Invariant:** commits come in the order of their revisions, whole, without a gap, and all of one
//! history; where that is not possible, [`SourceError::Compacted`] or [`SourceError::Replaced`] says
//! so. A store has one history at a time and its epoch only rises; the key of its digests is drawn once
//! and stays.
//! **Not here:** digests (`feed::digest`), the store as a source (`store::source`,
//! `store::commits`).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::keys;
use super::kv::{self, KeyValueStore, KvError, Precondition};
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::segment::Position;
use crate::limits::COMMITS_AHEAD_MAX;
use crate::name::Name;
use crate::record::{Change, Rrset};

/// A line of commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct History {
    /// Rises with every history of a store, from 1.
    pub epoch: u64,
    /// A random number: two histories never have the same, whatever their epochs.
    pub id: u128,
    /// The key of all digests.
    pub digest_key: DigestKey,
}

/// That the feeds are frozen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Freeze {
    /// A random number, by which notes of this freeze are told from those of others.
    pub id: u64,
    /// When it began, in milliseconds since 1970; shown to people, decides nothing.
    pub since_ms: u64,
    /// The newest revision of the store by then.
    pub revision: u64,
}

/// A zone without its records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneState {
    /// Its apex.
    pub apex: Name,
    /// The revision of the newest commit that touched it.
    pub revision: u64,
    /// Its serial.
    pub serial: u32,
    /// What all its RRsets come to, SOA and NS of the apex included.
    pub digest: Digest,
}

/// A zone at one revision.
#[derive(Clone, Debug)]
pub struct ZoneContents {
    /// The revision of the whole source at which it was read, or an older one: commits up to here
    /// are in it.
    pub revision: u64,
    /// The zone.
    pub zone: ZoneState,
    /// All its RRsets, SOA and NS of the apex included, in any order.
    pub rrsets: Vec<Rrset>,
}

/// One commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Its revision.
    pub revision: u64,
    /// A random number: two lines of commits that parted never agree on revision and tag. 0 if an
    /// older version made the commit.
    pub tag: u64,
    /// What it did to the zones that are, or were, served: each at most once.
    pub zones: Vec<ZoneCommit>,
}

/// What one commit did to one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneCommit {
    /// The apex.
    pub apex: Name,
    /// The revision of the commit that touched the zone before; `None` if the zone is new.
    ///
    /// Commits to a disabled zone are not told, but count here.
    pub prev_revision: Option<u64>,
    /// The serial after the commit; 0 if the zone was deleted.
    pub serial: u32,
    /// What is served of the zone after the commit comes to; nothing if it is removed, or if an
    /// older version replaced it.
    pub digest: Digest,
    /// What became of the records.
    pub change: ZoneChange,
}

/// What a commit did to the records of one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ZoneChange {
    /// These RRsets changed, the SOA with its new serial among them; a deleted SOA or NS RRset of
    /// the apex stands here as a put of the synthesized one that is served in its place. None at
    /// all if the commit only gave the zone its digest.
    Changes(Vec<Change>),
    /// The zone is new, was enabled, got other settings or was replaced by an import: read it as a
    /// whole.
    Replaced,
    /// The zone was deleted or disabled: it is no longer served.
    Removed,
}

/// Why a source does not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Commits after the revision asked for are no longer known.
    #[error("the commits after revision {after} are not known any more")]
    Compacted {
        /// What was asked for.
        after: u64,
    },
    /// The source has other commits up to there than it has told, or has never been there: it was put back
    /// to an older state, and what it has told since is lost. Read it anew, as another history.
    #[error(
        "the store was put back: what it has told up to revision {after} is not what it has now"
    )]
    Replaced {
        /// What was asked for, or told last.
        after: u64,
    },
    /// What the source holds is damaged: asking again does not help.
    #[error("the store is damaged: {reason} (`aspen-dns store check` names what is)")]
    Damaged {
        /// What it said.
        reason: String,
    },
    /// The source failed.
    #[error("the store cannot be read: {reason}")]
    Failed {
        /// What it said.
        reason: String,
    },
}

/// A source of zones.
#[async_trait]
pub trait ZoneSource: Send + Sync + 'static {
    /// The history that revisions belong to.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn history(&self) -> Result<History, SourceError>;

    /// Begins a new history, with an epoch above the present one and above `above` and the same
    /// key of digests, and returns it once it is durable.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn begin_history(&self, was: &History, above: u64) -> Result<History, SourceError>;

    /// Counts the histories that were begun: whoever writes another feed of the source goes to each, too.
    /// By default none ever is but by whoever asks.
    fn histories(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Whether the feeds of the source are frozen, now and in future. By default they never are.
    fn freeze(&self) -> watch::Receiver<Option<Freeze>> {
        watch::channel(None).1
    }

    /// Returns where a feed stood at a freeze, by its number, as it was noted.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn frozen_at(&self, _feed: &str, _freeze: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    /// Notes where a feed stands at a freeze, by its number.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn note_frozen_at(
        &self,
        _feed: &str,
        _freeze: u64,
        _mark: &[u8],
    ) -> Result<(), SourceError> {
        Ok(())
    }

    /// The revision of the newest commit.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn revision(&self) -> Result<u64, SourceError>;

    /// The newest commit; a source that does not know its tag says 0.
    ///
    /// # Errors
    /// [`SourceError::Failed`].
    async fn newest(&self) -> Result<Position, SourceError> {
        Ok(Position { revision: self.revision().await?, tag: 0 })
    }

    /// All zones that are answered.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] and [`SourceError::Failed`].
    async fn zones(&self) -> Result<Vec<ZoneState>, SourceError>;

    /// One zone with its records; none when there is no such zone, or it is not answered.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] and [`SourceError::Failed`].
    async fn zone_contents(&self, apex: &Name) -> Result<Option<ZoneContents>, SourceError>;

    /// Many small zones with their records, all at one revision; those that are gone or not
    /// answered are left out. The caller sees to it that they fit into memory.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] if one of them is, and [`SourceError::Failed`].
    async fn zones_contents(&self, apexes: &[Name]) -> Result<Vec<ZoneContents>, SourceError>;

    /// The commits after a revision, first those made before, then those to come.
    ///
    /// # Errors
    /// Every [`SourceError`].
    async fn commits(&self, after: u64) -> Result<Box<dyn CommitSource>, SourceError>;
}

/// A stream of commits.
#[async_trait]
pub trait CommitSource: Send {
    /// Waits for the next commit. Safe to cancel.
    ///
    /// # Errors
    /// Every [`SourceError`]; no commit follows an error.
    async fn next(&mut self) -> Result<Commit, SourceError>;
}

/// A stream of commits that is read ahead; after an error, or at the end, nothing comes.
pub(crate) type CommitsAhead = mpsc::Receiver<Result<Commit, SourceError>>;

/// Reads a stream of commits ahead, [`COMMITS_AHEAD_MAX`] at most, in a task that ends with the receiver.
///
/// Whoever waits for something else too may drop the wait as often as it likes: a stream that goes on only while
/// somebody waits would begin its next step anew each time, and where one takes longer than they wait, for ever.
pub(crate) fn read_ahead(mut stream: Box<dyn CommitSource>) -> CommitsAhead {
    let (sender, receiver) = mpsc::channel(COMMITS_AHEAD_MAX);
    tokio::spawn(async move {
        loop {
            let commit = tokio::select! {
                commit = stream.next() => commit,
                () = sender.closed() => return,
            };
            let is_end = commit.is_err();
            if sender.send(commit).await.is_err() || is_end {
                return;
            }
        }
    });
    receiver
}

/// The stored history, JSON.
#[derive(Serialize, Deserialize)]
struct StoredHistory {
    /// The epoch.
    epoch: u64,
    /// The number, 32 hexadecimal digits.
    id: String,
    /// The key, 32 hexadecimal digits.
    digest_key: String,
}

impl History {
    /// Reads the history of a store, and begins one if it has none. Of several who do so at once
    /// one draws it, and all return the same.
    pub(super) async fn read_or_begin(kv: &dyn KeyValueStore) -> Result<Self, KvError> {
        let (history, unfinished) = (keys::HISTORY.to_vec(), keys::unfinished_key());
        let mut found = kv.snapshot().await?.get_many(&[history, unfinished]).await?.into_iter();
        if let Some(found) = found.next().flatten() {
            return Self::decode(&found.value);
        }
        if found.next().flatten().is_some() {
            return Err(KvError::Unreadable { what: "a copy that is not whole: copy it again" });
        }
        let history = Self { epoch: 1, id: rand::random(), digest_key: DigestKey(rand::random()) };
        let expected = Precondition::Absent { key: keys::HISTORY.to_vec() };
        match kv.commit(history.commit(expected)).await {
            Ok(_) => Ok(history),
            // Another opener was faster; a history is never deleted.
            Err(KvError::Conflict { .. }) => match kv.get(keys::HISTORY).await? {
                Some(found) => Self::decode(&found.value),
                None => Err(KvError::Unreadable { what: "the history" }),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes the commit that writes it.
    pub(super) fn commit(&self, expected: Precondition) -> kv::KvCommit {
        let puts = vec![(keys::HISTORY.to_vec(), self.encode())];
        kv::KvCommit { preconditions: vec![expected], puts, deletes: Vec::new() }
    }

    /// Returns the stored octets.
    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = StoredHistory {
            epoch: self.epoch,
            id: data_encoding::HEXLOWER.encode(&self.id.to_be_bytes()),
            digest_key: data_encoding::HEXLOWER.encode(&self.digest_key.0),
        };
        serde_json::to_vec(&stored).expect("a history has string keys and no failing field")
    }

    /// Reads the stored octets.
    pub(super) fn decode(octets: &[u8]) -> Result<Self, KvError> {
        let hex = |text: &str| -> Option<[u8; 16]> {
            data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
        };
        let parse = || {
            let stored: StoredHistory = serde_json::from_slice(octets).ok()?;
            let id = u128::from_be_bytes(hex(&stored.id)?);
            let digest_key = DigestKey(hex(&stored.digest_key)?);
            Some(Self { epoch: stored.epoch, id, digest_key })
        };
        parse().ok_or(KvError::Unreadable { what: "the history" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_reads_back_and_rubbish_is_an_error() {
        let digest_key = DigestKey(*b"0123456789abcdef");
        let history = History { epoch: u64::MAX, id: 7, digest_key };
        assert_eq!(History::decode(&history.encode()).unwrap(), history);
        for octets in [&b"{}"[..], b"", br#"{"epoch":1,"id":"00","digest_key":"00"}"#] {
            assert!(History::decode(octets).is_err());
        }
    }
}
