//! Writes the entries of a backup to an engine that is empty.
//!
//! A store that is not whole yet says so by a note, and no node opens it; a copy that broke off is begun anew in
//! its place. The last commit begins a new history, above that of the store that was copied: whoever followed
//! that one reads all zones anew, and edges go on from there.
//!
//! **Invariant:** a store is opened only when all of its entries are there.
//! **Not here:** restoring zones of a node that runs (`store::restore`).

use std::sync::Arc;

use super::{Backup, BackupError, Entries};
use crate::limits::IMPORT_CHUNK_OCTETS;
use crate::store::history::History;
use crate::store::journal::Entry;
use crate::store::keys;
use crate::store::kv::{
    KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, Precondition, QUIET_FIRST,
};

/// Writes entries to an engine.
pub struct Loader {
    /// The engine.
    engine: Arc<dyn KeyValueStore>,
    /// The next commit.
    commit: KvCommit,
}

impl Loader {
    /// Begins in an engine that holds no store, or one that was not copied whole.
    ///
    /// # Errors
    /// [`BackupError::NotEmpty`]; those of the engine.
    pub async fn begin(engine: Arc<dyn KeyValueStore>) -> Result<Self, BackupError> {
        let (history, unfinished) = (keys::HISTORY.to_vec(), keys::unfinished_key());
        let found =
            engine.snapshot().await?.get_many(&[history.clone(), unfinished.clone()]).await?;
        let is_unfinished = found[1].is_some();
        if found[0].is_some() {
            return Err(BackupError::NotEmpty);
        }
        let quiet = KeyRange { start: vec![QUIET_FIRST], end: vec![u8::MAX] };
        for range in [keys::zone_range(), quiet] {
            clear(&*engine, &range, is_unfinished).await?;
        }
        let commit = KvCommit {
            preconditions: vec![Precondition::Absent { key: history }],
            puts: vec![(unfinished, b"a copy that is not whole".to_vec())],
            deletes: Vec::new(),
        };
        engine.commit(commit).await.map_err(taken)?;
        Ok(Self { engine, commit: KvCommit::default() })
    }

    /// Writes entries.
    ///
    /// # Errors
    /// [`BackupError::NoBackup`] for a key that no backup has; those of the engine.
    pub async fn write(&mut self, entries: Entries) -> Result<(), BackupError> {
        let KvLimits { operations_max, octets_max } = self.engine.limits();
        let octets_max = octets_max.min(IMPORT_CHUNK_OCTETS);
        for (key, value) in entries {
            if !keys::is_of_backup(&key) {
                return Err(BackupError::NoBackup { what: "a key that no backup has" });
            }
            let octets = self.commit.octets() + (key.len() + value.len()) as u64;
            let operations = self.commit.operations() + 1;
            if octets > octets_max || operations > u64::from(operations_max.min(OPERATIONS_MAX)) {
                self.flush().await?;
            }
            self.commit.puts.push((key, value));
        }
        Ok(())
    }

    /// Makes the store one that can be opened, when all was flushed and maybe compared. `history` is that of the
    /// store that was copied.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn end(self, history: &History) -> Result<(), BackupError> {
        let epoch = history.epoch.saturating_add(1);
        let history = History { epoch, id: rand::random(), digest_key: history.digest_key };
        let mut commit = history.commit(Precondition::Absent { key: keys::HISTORY.to_vec() });
        commit.puts.push((keys::JOURNAL.to_vec(), Entry::new(Vec::new()).encode()));
        commit.deletes.push(keys::unfinished_key());
        self.engine.commit(commit).await.map_err(taken)?;
        Ok(())
    }

    /// Writes what waits for more.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn flush(&mut self) -> Result<(), BackupError> {
        let commit = std::mem::take(&mut self.commit);
        if !commit.puts.is_empty() {
            self.engine.check_room(commit.octets())?;
            self.engine.commit(commit).await?;
        }
        Ok(())
    }
}

/// Looks whether all entries of a backup stand in an engine as they are; returns how many there are.
///
/// # Errors
/// [`BackupError::Differs`]; those of the engines.
pub async fn verify(
    mut next: impl AsyncFnMut() -> Result<Option<Entries>, BackupError>,
    engine: &dyn KeyValueStore,
) -> Result<u64, BackupError> {
    let (view, mut count) = (engine.snapshot().await?, 0);
    while let Some(entries) = next().await? {
        let wanted: Vec<Vec<u8>> = entries.iter().map(|(key, _)| key.clone()).collect();
        let found = view.get_many(&wanted).await?;
        for ((key, value), found) in entries.iter().zip(found) {
            if found.is_none_or(|found| found.value != *value) {
                return Err(BackupError::Differs { key: key.escape_ascii().to_string() });
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Copies one engine to another, of one view, and looks whether it came to be the same; returns how many entries
/// there are.
///
/// # Errors
/// Every [`BackupError`] but those of files.
pub async fn copy(
    from: &Arc<dyn KeyValueStore>,
    to: &Arc<dyn KeyValueStore>,
) -> Result<u64, BackupError> {
    let mut loader = Loader::begin(Arc::clone(to)).await?;
    let mut backup = Backup::begin(from).await?;
    while let Some(entries) = backup.next().await? {
        loader.write(entries).await?;
    }
    loader.flush().await?;
    let mut again = Backup::begin(from).await?;
    let count = verify(async || Ok(again.next().await?), &**to).await?;
    loader.end(backup.history()).await?;
    Ok(count)
}

/// Deletes what stands in a range if that is left of a copy that broke off.
async fn clear(
    engine: &dyn KeyValueStore,
    range: &KeyRange,
    is_unfinished: bool,
) -> Result<(), BackupError> {
    loop {
        let limit = engine.limits().operations_max.min(OPERATIONS_MAX);
        let page = engine.range(range, None, limit).await?;
        let found = page.entries.into_iter().map(|(key, _)| key);
        let deletes: Vec<Vec<u8>> = found.filter(|key| *key != keys::unfinished_key()).collect();
        match (deletes.is_empty(), is_unfinished) {
            (true, _) => return Ok(()),
            (false, false) => return Err(BackupError::NotEmpty),
            (false, true) => {
                engine.commit(KvCommit { deletes, ..KvCommit::default() }).await?;
            }
        }
    }
}

/// Says that a store is there where a commit met one.
fn taken(error: KvError) -> BackupError {
    match error {
        KvError::Conflict { .. } => BackupError::NotEmpty,
        error => BackupError::Kv(error),
    }
}

/// Operations of one commit.
const OPERATIONS_MAX: u32 = 1_024;
