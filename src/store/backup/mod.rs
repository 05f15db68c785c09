//! All that a store keeps, of one view, as entries that any engine and any file can hold: for backups, and for the
//! way from one engine to another.
//!
//! Zones come with their settings, serials and rows as they stand, disabled ones too, and so do the notes that a
//! store cannot do without: the keys of feeds and which there are. What is left out belongs to the processes that
//! have the store open: commits on their way, imports that go on, who writes the feeds, where authorities are.
//!
//! **Invariant:** the entries are of one view; the rows of a zone come after its object, and whole.
//! **Not here:** the form of the file (`backup::file`), writing entries to an engine (`backup::load`).

pub mod file;
pub mod load;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::history::History;
use super::keys;
use super::kv::{Cursor, KeyRange, KeyValueStore, KvError, KvSnapshot, Page};
use super::zone_object::ZoneObject;

/// Keys and values, by rising key within a zone.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The entries of a store, page by page.
#[derive(Debug)]
pub struct Backup {
    /// The history of the store.
    history: History,
    /// The pages; the last is followed by nothing, or by an error.
    pages: mpsc::Receiver<Result<Entries, KvError>>,
}

/// Why a backup is not made, or of no use.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// An engine says no.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// There is nothing to copy.
    #[error("there is no store: it was never opened by a node")]
    NoStore,
    /// The file is no backup.
    #[error("this is no backup of a store, or of a version that is not known here: {what}")]
    NoBackup {
        /// Which part.
        what: &'static str,
    },
    /// The file ends before its end.
    #[error("the backup ends after {entries} entries, before its end: the file was cut short")]
    CutShort {
        /// Entries that are there.
        entries: u64,
    },
    /// The file has changed since it was written.
    #[error("the backup is damaged: its checksum does not fit")]
    Damaged,
    /// There is a store already.
    #[error("there is a store already: copy to an empty one")]
    NotEmpty,
    /// What was written does not read back.
    #[error(
        "after the copy {key} is not what it was: somebody has written meanwhile; no node opens the copy, which \
         is begun anew by the next one"
    )]
    Differs {
        /// The key.
        key: String,
    },
}

impl Backup {
    /// Begins to read an engine, of one view.
    ///
    /// # Errors
    /// [`BackupError::NoStore`]; those of the engine.
    pub async fn begin(engine: &Arc<dyn KeyValueStore>) -> Result<Self, BackupError> {
        let view = engine.snapshot().await?;
        let found = view.get_many(&[keys::HISTORY.to_vec()]).await?.into_iter().next().flatten();
        let history = History::decode(&found.ok_or(BackupError::NoStore)?.value)?;
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        tokio::spawn(async move {
            if let Err(error) = send_all(&*view, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Self { history, pages })
    }

    /// The history of the store.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the next entries; none at the end.
    ///
    /// # Errors
    /// Those of the engine; [`KvError::Compacted`] if the view became too old: begin anew.
    pub async fn next(&mut self) -> Result<Option<Entries>, KvError> {
        self.pages.recv().await.transpose()
    }
}

/// Sends all entries; who reads them may go away.
async fn send_all(
    view: &dyn KvSnapshot,
    to: &mpsc::Sender<Result<Entries, KvError>>,
) -> Result<(), KvError> {
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = view.range(&keys::zone_range(), cursor.as_ref(), ZONES_PAGE).await?;
        let mut ranges = Vec::new();
        for (_, found) in &page.entries {
            let generation = ZoneObject::decode(&found.value)?.generation;
            ranges.extend(keys::ranges_of_generation(generation));
        }
        cursor = page.next.clone();
        if !send(page, to).await {
            return Ok(());
        }
        for ranges in ranges.chunks(RANGES_AT_ONCE) {
            let pages = view.ranges(ranges, ROWS_PAGE).await?;
            for (range, mut page) in ranges.iter().zip(pages) {
                loop {
                    let next = page.next.clone();
                    if !send(page, to).await {
                        return Ok(());
                    }
                    let Some(next) = next else { break };
                    page = view.range(range, Some(&next), ROWS_PAGE).await?;
                }
            }
        }
        if cursor.is_none() {
            break;
        }
    }
    let (notes, mut cursor) = (KeyRange::prefix(&keys::note_key("")), None);
    loop {
        let mut page = view.range(&notes, cursor.as_ref(), ROWS_PAGE).await?;
        let next = page.next.clone();
        page.entries.retain(|(key, _)| !is_of_processes(key));
        if !send(page, to).await || next.is_none() {
            return Ok(());
        }
        cursor = next;
    }
}

/// Sends a page; whether anybody still reads.
async fn send(page: Page, to: &mpsc::Sender<Result<Entries, KvError>>) -> bool {
    let entries: Entries =
        page.entries.into_iter().map(|(key, found)| (key, found.value)).collect();
    entries.is_empty() || to.send(Ok(entries)).await.is_ok()
}

/// Whether a note says where processes are that have the store open.
fn is_of_processes(key: &[u8]) -> bool {
    PROCESS_NOTES.iter().any(|name| key.starts_with(&keys::note_key(name)))
}

/// What the notes begin with that say where authorities and their followers are.
const PROCESS_NOTES: [&str; 2] = ["authority/", "followers/"];
/// Pages that are read ahead.
const PAGES_AHEAD: usize = 2;
/// Zones of one page.
const ZONES_PAGE: u32 = 64;
/// Ranges of rows that are read in one trip.
const RANGES_AT_ONCE: usize = 16;
/// Rows or packs of one page.
const ROWS_PAGE: u32 = 512;
