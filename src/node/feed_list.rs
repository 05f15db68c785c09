//! The list of the feeds that an authority writes alone, in a file.
//!
//! **Invariant:** a list that was written reads back.
//! **Not here:** lists that authorities share (`sharing`).

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::durable;
use crate::name::{Name, NameError};

/// Why a list of feeds is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FeedListError {
    /// The list of feeds cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The list of feeds is no list of lists of names.
    #[error("{}: not a list of feeds: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A name in the list of feeds does not read.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The rule.
        source: NameError,
    },
}

/// Reads the list of feeds; there is none at first.
pub(super) fn read_list(path: &Path) -> Result<Vec<Vec<Name>>, FeedListError> {
    let file = |source| FeedListError::File { path: path.into(), source };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file(error)),
    };
    let lists: Vec<Vec<String>> = serde_json::from_slice(&text)
        .map_err(|source| FeedListError::List { path: path.into(), source })?;
    let name = |source| FeedListError::Name { path: path.into(), source };
    lists
        .iter()
        .map(|names| names.iter().map(|text| text.parse().map_err(name)).collect())
        .collect()
}

/// Writes the list of feeds.
pub(super) fn write_list<'a>(
    path: &Path,
    feeds: impl Iterator<Item = &'a Vec<Name>>,
) -> Result<(), FeedListError> {
    let file = |source| FeedListError::File { path: path.into(), source };
    let lists: Vec<Vec<String>> =
        feeds.map(|zones| zones.iter().map(Name::to_fqdn).collect()).collect();
    durable::write(path, json!(lists).to_string().as_bytes()).map_err(file)
}

/// The file of the list of feeds.
pub(super) const LIST: &str = "feeds.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_feeds_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feeds.json");
        assert_eq!(read_list(&path).unwrap(), Vec::<Vec<Name>>::new());
        let zones: Vec<Name> = vec!["a.example".parse().unwrap(), "b\\.c.example".parse().unwrap()];
        write_list(&path, [&zones].into_iter()).unwrap();
        assert_eq!(read_list(&path).unwrap(), std::slice::from_ref(&zones));
    }
}
