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

    /// Returns the notes whose names begin with `prefix`, each with the rest of its name; the first
    /// [`NOTES_READ_MAX`].
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) async fn notes(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, KvError> {
        let start = keys::note_key(prefix);
        let page =
            self.kv.range(&super::kv::KeyRange::prefix(&start), None, NOTES_READ_MAX).await?;
        let name = |key: &[u8]| String::from_utf8_lossy(&key[start.len()..]).into_owned();
        Ok(page.entries.into_iter().map(|(key, found)| (name(&key), found.value)).collect())
    }

    /// Writes a note in the place of what was there; says whether it was that.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) async fn put_note(
        &self,
        name: &str,
        was: Option<Vec<u8>>,
        is: Vec<u8>,
    ) -> Result<bool, KvError> {
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
