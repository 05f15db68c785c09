//! Remembers the newest live entries, so that an edge that is killed does not come back older.
//!
//! The document store writes out what it was given up to half a second late. An edge that is
//! killed in between would serve, until a peer answers, less than it served before. So every
//! live entry is also appended to a plain file, without a sync: the system keeps what was
//! written when a process dies. Two files take turns; what is older than a turn has long been
//! written by the document store.
//!
//! **Invariant:** what is read back was written before as one piece; a torn or strange end is
//! passed over.
//! **Not here:** loss of power, after which what the replica has on disk is what there is.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fnv::FnvHasher;
use iroh_docs::Entry;

use crate::limits::{JOURNAL_ENTRY_OCTETS_MAX, JOURNAL_OCTETS_MAX, JOURNAL_TURN_MS};

/// One entry that was remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct JournalEntry {
    /// Its key.
    pub(super) key: Vec<u8>,
    /// Its author.
    pub(super) author: [u8; 32],
    /// The hash of its content.
    pub(super) hash: [u8; 32],
    /// The length of its content.
    pub(super) len: u64,
    /// The replica's timestamp.
    pub(super) timestamp_us: u64,
}

/// The two files.
#[derive(Debug)]
pub(super) struct Journal {
    /// Their paths.
    paths: [PathBuf; 2],
    /// The one that is written.
    file: Option<File>,
    /// Which one it is.
    turn: usize,
    /// When its turn began.
    since: Instant,
    /// Octets written to it.
    octets: u64,
    /// Entries that are not written yet.
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal of a namespace and returns what is in it, oldest first.
    pub(super) fn open(dir: &Path, namespace: &[u8; 32]) -> (Self, Vec<JournalEntry>) {
        let name = data_encoding::HEXLOWER.encode(&namespace[..8]);
        let paths = [0, 1].map(|turn| dir.join(format!("journal-{name}.{turn}")));
        let modified = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
        let newer = usize::from(modified(&paths[0]) < modified(&paths[1]));
        let mut entries = read(&paths[1 - newer]);
        entries.extend(read(&paths[newer]));
        let mut known = HashSet::new();
        entries.retain(|entry| known.insert(entry.key.clone()));
        let mut journal = Self {
            paths,
            file: None,
            turn: newer,
            since: Instant::now(),
            octets: 0,
            buffer: Vec::new(),
        };
        // One of the files is written over, and an edge may be killed again soon.
        journal.next_turn();
        entries.iter().for_each(|entry| journal.append(entry));
        journal.write();
        (journal, entries)
    }

    /// Takes one entry.
    pub(super) fn push(&mut self, entry: &Entry) {
        self.append(&JournalEntry {
            key: entry.key().to_vec(),
            author: *entry.author().as_bytes(),
            hash: *entry.content_hash().as_bytes(),
            len: entry.content_len(),
            timestamp_us: entry.timestamp(),
        });
    }

    /// Puts one entry behind those that wait to be written.
    fn append(&mut self, entry: &JournalEntry) {
        self.buffer.extend_from_slice(&(entry.key.len() as u32).to_be_bytes());
        self.buffer.extend_from_slice(&entry.key);
        self.buffer.extend_from_slice(&entry.author);
        self.buffer.extend_from_slice(&entry.hash);
        self.buffer.extend_from_slice(&entry.len.to_be_bytes());
        self.buffer.extend_from_slice(&entry.timestamp_us.to_be_bytes());
        self.buffer.extend_from_slice(&checksum(&entry.key).to_be_bytes());
    }

    /// Writes what was taken. A disk that is full costs the journal, not the edge.
    pub(super) fn write(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let is_over = self.since.elapsed() > Duration::from_millis(JOURNAL_TURN_MS);
        if is_over || self.octets > JOURNAL_OCTETS_MAX {
            self.next_turn();
        }
        if let Some(file) = &mut self.file {
            if let Err(error) = file.write_all(&self.buffer) {
                tracing::warn!(%error, "the journal of live entries cannot be written");
                self.file = None;
            }
            self.octets += self.buffer.len() as u64;
        }
        self.buffer.clear();
    }

    /// Goes on in the other file, whose content is forgotten.
    fn next_turn(&mut self) {
        self.turn = 1 - self.turn;
        self.since = Instant::now();
        self.octets = 0;
        let path = &self.paths[self.turn];
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        self.file = opened
            .inspect_err(|error| {
                tracing::warn!(%error, path = %path.display(), "the journal cannot be opened");
            })
            .ok();
    }
}

/// Reads one file up to its end, or to the first thing that is no entry.
fn read(path: &Path) -> Vec<JournalEntry> {
    let mut octets = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(JOURNAL_OCTETS_MAX * 2).read_to_end(&mut octets));
    if read.is_err() {
        return Vec::new();
    }
    let mut entries = Vec::new();
    let mut rest = octets.as_slice();
    while let Some((entry, left)) = read_entry(rest) {
        entries.push(entry);
        rest = left;
    }
    entries
}

/// Reads one entry and returns what follows.
fn read_entry(octets: &[u8]) -> Option<(JournalEntry, &[u8])> {
    let (len, rest) = octets.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    if len > JOURNAL_ENTRY_OCTETS_MAX {
        return None;
    }
    let (key, rest) = rest.split_at_checked(len)?;
    let (author, rest) = rest.split_first_chunk::<32>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let (content_len, rest) = rest.split_first_chunk::<8>()?;
    let (timestamp, rest) = rest.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    if u64::from_be_bytes(*sum) != checksum(key) {
        return None;
    }
    let entry = JournalEntry {
        key: key.to_vec(),
        author: *author,
        hash: *hash,
        len: u64::from_be_bytes(*content_len),
        timestamp_us: u64::from_be_bytes(*timestamp),
    };
    Some((entry, rest))
}

/// Returns a sum that torn writes do not have (FNV-1a).
fn checksum(octets: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(octets);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh_docs::{NamespaceId, Record, RecordIdentifier};

    fn entry(key: &str) -> Entry {
        let id = RecordIdentifier::new(NamespaceId::from([1; 32]), [2; 32], key);
        Entry::new(id, Record::new(iroh_blobs::Hash::new(b"x"), 1, 7))
    }

    fn keys(entries: &[JournalEntry]) -> Vec<String> {
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect()
    }

    #[test]
    fn journals_of_older_versions_have_the_same_sums() {
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn entries_come_back_in_order_over_turns_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, entries) = Journal::open(dir.path(), &[1; 32]);
        assert!(entries.is_empty());
        journal.push(&entry("a"));
        journal.push(&entry("b"));
        journal.write();
        drop(journal);
        let (mut journal, entries) = Journal::open(dir.path(), &[1; 32]);
        assert_eq!(keys(&entries), ["a", "b"]);
        assert_eq!((entries[0].author, entries[0].timestamp_us), ([2; 32], 7));
        journal.push(&entry("c"));
        journal.write();
        drop(journal);
        let (_, entries) = Journal::open(dir.path(), &[1; 32]);
        assert_eq!(keys(&entries), ["a", "b", "c"]);
    }

    #[test]
    fn a_torn_end_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), &[1; 32]);
        journal.push(&entry("a"));
        journal.push(&entry("b"));
        journal.write();
        let path = journal.paths[journal.turn].clone();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(read(&path).len(), usize::from(len >= whole.len() / 2), "cut at {len}");
        }
        let mut strange = whole;
        strange[0] = 255;
        std::fs::write(&path, strange).unwrap();
        assert!(read(&path).is_empty());
    }
}
