//! Small rows that authorities on one store keep for each other: the sealed keys of feeds, where nodes are.
//!
//! **Invariant:** a note is changed only by who knows what stands there.
//! **Not here:** what is in them (`export::shared`, `node::sharing`).

use super::dns_store::DnsStore;
use super::keys;
use super::kv::{KvCommit, KvError, Precondition};
use crate::limits::NOTES_READ_MAX;

impl DnsStore {
    /// Returns a note.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.kv.get(&keys::note_key(name)).await?.map(|found| found.value))
    }

    /// Returns the notes whose names begin with `prefix`, each with the rest of its name, those first that were
    /// written last; of more than [`NOTES_READ_MAX`] some.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) async fn notes(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, KvError> {
        let start = keys::note_key(prefix);
        let page =
            self.kv.range(&super::kv::KeyRange::prefix(&start), None, NOTES_READ_MAX).await?;
        let name = |key: &[u8]| String::from_utf8_lossy(&key[start.len()..]).into_owned();
        let mut entries = page.entries;
        entries.sort_by_key(|(_, found)| std::cmp::Reverse(found.revision));
        Ok(entries.into_iter().map(|(key, found)| (name(&key), found.value)).collect())
    }

    /// Writes a note in the place of what was there; says whether it was that.
    ///
    /// # Errors
    /// [`KvError::OtherStore`]; those of the engine.
    pub(crate) async fn put_note(
        &self,
        name: &str,
        was: Option<Vec<u8>>,
        is: Vec<u8>,
    ) -> Result<bool, KvError> {
        // What is put back later would not have it, and whoever is owner of another store did not ask for it.
        self.lineage.check()?;
        let key = keys::note_key(name);
        let expected = match was {
            Some(value) => Precondition::HasValue { key: key.clone(), value },
            None => Precondition::Absent { key: key.clone() },
        };
        let puts = vec![(key, is)];
        match self
            .kv
            .commit(KvCommit { preconditions: vec![expected], puts, deletes: vec![] })
            .await
        {
            Ok(_) => Ok(true),
            Err(KvError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::kv::KeyValueStore as _;
    use crate::store::redb::RedbStore;

    #[tokio::test]
    async fn no_note_is_written_to_another_store_than_the_one_that_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
        let store = DnsStore::open(engine.clone()).await.unwrap();
        assert!(store.put_note("n", None, b"1".to_vec()).await.unwrap());
        engine
            .commit(KvCommit { deletes: vec![keys::HISTORY.to_vec()], ..KvCommit::default() })
            .await
            .unwrap();
        store.history().await.unwrap_err();
        let written = store.put_note("n", Some(b"1".to_vec()), b"2".to_vec()).await;
        assert!(matches!(written, Err(KvError::OtherStore)), "{written:?}");
        assert_eq!(store.note("n").await.unwrap(), Some(b"1".to_vec()));
    }
}
