//! The change log of the embedded engine: the form of its entries, and following it.
//!
//! An entry is, per changed key: flags (1 octet: bit 0 put, bit 1 there was a value before),
//! length and octets of the key, the previous revision if there was one, length and octets of the
//! value if it is a put. Lengths are 32 bits, all numbers big-endian.
//!
//! **Invariant:** a follower gets every logged commit once and in order, or an error.
//! **Not here:** writing and trimming (`redb::writer`).

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableDatabase as _};
use tokio::sync::watch;

use super::engine;
use super::handle::Handle;
use super::layout::{LOG, META, META_COMPACTED, open_entry};
use super::open::catch_panic;
use crate::limits::{REDB_FEED_READ_COMMITS_MAX, REDB_FEED_READ_OCTETS_MAX};
use crate::store::kv::{ChangeEvent, ChangeFeed, KeyChange, KvError};

/// Follows the log from a revision on.
pub(super) struct LogFeed {
    /// The open file.
    handle: Arc<Handle>,
    /// Wakes when the file was opened again.
    opened: watch::Receiver<u64>,
    /// The newest durable revision; waking on it is waking on a commit.
    revision: watch::Receiver<u64>,
    /// All commits up to this revision were read from the log.
    after: u64,
    /// Read from the log, not yet given out.
    ready: VecDeque<ChangeEvent>,
}

impl LogFeed {
    /// Begins behind revision `after`.
    ///
    /// # Errors
    /// [`KvError::Compacted`], [`KvError::Ahead`], [`KvError::Unavailable`] or
    /// [`KvError::Engine`].
    pub(super) fn open(
        handle: Arc<Handle>,
        mut revision: watch::Receiver<u64>,
        after: u64,
    ) -> Result<Self, KvError> {
        let newest = *revision.borrow_and_update();
        if after > newest {
            return Err(KvError::Ahead { after, revision: newest });
        }
        let opened = handle.watch_opened();
        let mut feed = Self { handle, opened, revision, after, ready: VecDeque::new() };
        feed.read(newest)?;
        Ok(feed)
    }

    /// Reads the next commits up to revision `newest`.
    fn read(&mut self, newest: u64) -> Result<(), KvError> {
        let handle = &self.handle;
        let (transaction, reporter) = handle
            .with(|database| Ok((database.begin_read().map_err(engine)?, handle.reporter())))?;
        catch_panic(|| self.read_from(&transaction, newest))
            .inspect_err(|error| reporter.tell(error))
    }

    /// Reads the next commits up to revision `newest` of a view.
    fn read_from(&mut self, transaction: &ReadTransaction, newest: u64) -> Result<(), KvError> {
        let meta = transaction.open_table(META).map_err(engine)?;
        let compacted = meta.get(META_COMPACTED).map_err(engine)?.map_or(0, |guard| guard.value());
        if compacted > self.after {
            return Err(KvError::Compacted { compacted });
        }
        let log = transaction.open_table(LOG).map_err(engine)?;
        let mut octets = 0;
        for entry in log.range(self.after + 1..=newest).map_err(engine)? {
            let (revision, event) = entry.map_err(engine)?;
            let revision = revision.value();
            let changes = decode(open_entry(revision, event.value())?)
                .ok_or(KvError::Unreadable { what: "an entry of the change log" })?;
            octets += event.value().len();
            self.ready.push_back(ChangeEvent { revision, changes });
            self.after = revision;
            let is_full = self.ready.len() >= REDB_FEED_READ_COMMITS_MAX
                || octets >= REDB_FEED_READ_OCTETS_MAX;
            if is_full {
                return Ok(());
            }
        }
        self.after = newest;
        Ok(())
    }
}

#[async_trait]
impl ChangeFeed for LogFeed {
    async fn next(&mut self) -> Result<ChangeEvent, KvError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.opened.borrow_and_update();
            let newest = *self.revision.borrow_and_update();
            if newest > self.after {
                match self.read(newest) {
                    // Nothing was left out: the feed goes on when the file is open again.
                    Err(KvError::Unavailable { .. }) => tokio::select! {
                        _ = self.opened.changed() => {}
                        still = self.revision.changed() => still.map_err(|_| KvError::Closed)?,
                    },
                    read => read?,
                }
                continue;
            }
            self.revision.changed().await.map_err(|_| KvError::Closed)?;
        }
    }
}

/// Bit 0 of a change's flags: the key was put, not deleted.
const FLAG_PUT: u8 = 1;
/// Bit 1: the key had a value before.
const FLAG_PREVIOUS: u8 = 2;

/// Makes the log entry of a commit.
pub(super) fn encode(changes: &[KeyChange]) -> Vec<u8> {
    let mut out = Vec::new();
    for change in changes {
        let put = if change.value.is_some() { FLAG_PUT } else { 0 };
        let previous = if change.prev_revision.is_some() { FLAG_PREVIOUS } else { 0 };
        out.push(put | previous);
        push_octets(&mut out, &change.key);
        if let Some(revision) = change.prev_revision {
            out.extend_from_slice(&revision.to_be_bytes());
        }
        if let Some(value) = &change.value {
            push_octets(&mut out, value);
        }
    }
    out
}

/// Appends a length and the octets; a commit's limit keeps every length below 32 bits.
fn push_octets(out: &mut Vec<u8>, octets: &[u8]) {
    let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(octets);
}

/// Reads a log entry back, or `None` if it is none.
pub(super) fn decode(mut rest: &[u8]) -> Option<Vec<KeyChange>> {
    let mut changes = Vec::new();
    while let Some((flags, tail)) = rest.split_first() {
        let (key, tail) = split_octets(tail)?;
        rest = tail;
        let mut prev_revision = None;
        if flags & FLAG_PREVIOUS != 0 {
            let (octets, tail) = rest.split_first_chunk::<8>()?;
            prev_revision = Some(u64::from_be_bytes(*octets));
            rest = tail;
        }
        let mut value = None;
        if flags & FLAG_PUT != 0 {
            let (octets, tail) = split_octets(rest)?;
            value = Some(octets.to_vec());
            rest = tail;
        }
        changes.push(KeyChange { key: key.to_vec(), value, prev_revision });
    }
    Some(changes)
}

/// Splits a length and that many octets off the front.
fn split_octets(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, tail) = octets.split_first_chunk::<4>()?;
    tail.split_at_checked(u32::from_be_bytes(*len) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_entry_reads_back_and_a_cut_one_does_not() {
        let change = |key: &[u8], value: Option<&[u8]>, prev_revision| KeyChange {
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
            prev_revision,
        };
        let changes = vec![
            change(b"a", Some(b"1"), None),
            change(b"b", None, Some(7)),
            change(b"", Some(b""), Some(u64::MAX)),
        ];
        let entry = encode(&changes);
        assert_eq!(decode(&entry), Some(changes));
        assert_eq!(decode(&entry[..entry.len() - 1]), None);
    }
}
