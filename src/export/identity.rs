//! Who a feed is: its namespace and its one author, kept in a file beside the replicas.
//!
//! The document store keeps both keys too, but writes them out late; the file is written before
//! anything is exported, so that a crash never leaves tickets that name a lost namespace.
//!
//! **Invariant:** the file is readable by its owner alone and never half written.
//! **Not here:** the node's own key (`mesh`).

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use iroh_docs::{Author, NamespaceSecret};
use serde::{Deserialize, Serialize};

use super::{ExportError, term};
use crate::durable;
use crate::feed::root::Root;

/// The two keys of a feed.
#[derive(Clone)]
pub(super) struct Identity {
    /// Who may write to the namespace at all.
    pub(super) namespace: NamespaceSecret,
    /// The one author whom edges believe.
    pub(super) author: Author,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    /// The namespace's secret in hexadecimal digits.
    namespace_secret: String,
    /// The author's secret in hexadecimal digits.
    author_secret: String,
}

impl Identity {
    /// Makes new keys.
    pub(super) fn generate() -> Self {
        let mut rng = rand::rng();
        Self { namespace: NamespaceSecret::new(&mut rng), author: Author::new(&mut rng) }
    }

    /// Returns the keys of the feed called `name`; makes them when the feed is new.
    ///
    /// # Errors
    /// [`ExportError::File`] when the file cannot be read or written, [`ExportError::Identity`]
    /// when it holds something else, [`ExportError::IdentityGone`] where there is none beside what the
    /// feed has written. Such a file is never replaced: tickets name its keys.
    pub(super) fn load_or_create(dir: Option<&Path>, name: &str) -> Result<Self, ExportError> {
        let Some(dir) = dir else { return Ok(Self::generate()) };
        if let Some(identity) = Self::load(dir, name)? {
            return Ok(identity);
        }
        let identity = Self::begin(dir, name)?;
        identity.keep(dir, name)?;
        Ok(identity)
    }

    /// Makes the keys of the feed called `name`, which has none here and has never been written.
    ///
    /// # Errors
    /// [`ExportError::IdentityGone`].
    pub(super) fn begin(dir: &Path, name: &str) -> Result<Self, ExportError> {
        let path = path_in(dir, name);
        match rest_of(&path).into_iter().find(|rest| rest.exists()) {
            Some(rest) => Err(ExportError::IdentityGone { path, rest }),
            None => Ok(Self::generate()),
        }
    }

    /// Returns the keys of the feed called `name`; none if it has none here.
    ///
    /// # Errors
    /// [`ExportError::File`] and [`ExportError::Identity`].
    pub(super) fn load(dir: &Path, name: &str) -> Result<Option<Self>, ExportError> {
        let path = path_in(dir, name);
        match std::fs::read(&path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or(ExportError::Identity { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ExportError::File { path, source }),
        }
    }

    /// Keeps the keys of the feed called `name`, which has none here.
    ///
    /// # Errors
    /// [`ExportError::File`].
    pub(super) fn keep(&self, dir: &Path, name: &str) -> Result<(), ExportError> {
        let path = path_in(dir, name);
        let file = |source| ExportError::File { path: path.clone(), source };
        // What lies there is of another feed.
        for rest in rest_of(&path) {
            match std::fs::remove_file(&rest) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ExportError::File { path: rest, source: error });
                }
                Ok(()) | Err(_) => {}
            }
        }
        durable::create_dir(&dir.join("feeds")).map_err(file)?;
        durable::write(&path, self.to_text().as_bytes()).map_err(file)
    }

    /// Returns a number that no term of the feed called `name` was above, as far as its files tell.
    pub(super) fn terms_below(dir: &Path, name: &str) -> u64 {
        let root = path_in(dir, name).with_extension("root");
        let named = std::fs::read(&root).ok().and_then(|octets| Root::from_octets(&octets).ok());
        let named = named.map_or(0, |root| root.term);
        named.max(term::last(&term::file_of(&root)))
    }

    /// Reads the file's content.
    fn parse(text: &[u8]) -> Option<Self> {
        let file: IdentityFile = serde_json::from_slice(text).ok()?;
        let secret = |text: &str| -> Option<[u8; 32]> {
            HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
        };
        Some(Self {
            namespace: NamespaceSecret::from_bytes(&secret(&file.namespace_secret)?),
            author: Author::from_bytes(&secret(&file.author_secret)?),
        })
    }

    /// Writes the file's content.
    fn to_text(&self) -> String {
        let namespace_secret = HEXLOWER.encode(&self.namespace.to_bytes());
        let author_secret = HEXLOWER.encode(&self.author.to_bytes());
        [
            "{".to_owned(),
            format!("  \"namespace_secret\": \"{namespace_secret}\","),
            format!("  \"author_secret\": \"{author_secret}\""),
            "}\n".to_owned(),
        ]
        .join("\n")
    }
}

/// The files beside the keys of a feed, which tell what was written.
fn rest_of(path: &Path) -> [PathBuf; 2] {
    ["root", "term"].map(|suffix| path.with_extension(suffix))
}

/// Does not show the keys.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("namespace", &self.namespace.id()).finish_non_exhaustive()
    }
}

/// Returns the file of the feed called `name`.
pub(super) fn path_in(dir: &Path, name: &str) -> PathBuf {
    dir.join("feeds").join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_keeps_its_keys_and_two_feeds_have_different_ones() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(Some(dir.path()), "main").unwrap();
        let again = Identity::load_or_create(Some(dir.path()), "main").unwrap();
        let other = Identity::load_or_create(Some(dir.path()), "partner").unwrap();
        assert_eq!(first.namespace.id(), again.namespace.id());
        assert_eq!(first.author.id(), again.author.id());
        assert_ne!(first.namespace.id(), other.namespace.id());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(Some(dir.path()), "main").unwrap();
        std::fs::write(path_in(dir.path(), "main"), "{}").unwrap();
        let error = Identity::load_or_create(Some(dir.path()), "main").err().unwrap();
        assert!(matches!(error, ExportError::Identity { .. }));
        assert_eq!(std::fs::read_to_string(path_in(dir.path(), "main")).unwrap(), "{}");
        std::fs::remove_file(path_in(dir.path(), "main")).unwrap();
        let root = path_in(dir.path(), "main").with_extension("root");
        std::fs::write(&root, "").unwrap();
        let error = Identity::load_or_create(Some(dir.path()), "main").err().unwrap();
        assert!(matches!(error, ExportError::IdentityGone { rest, .. } if rest == root));
        std::fs::remove_file(root).unwrap();
        Identity::load_or_create(Some(dir.path()), "main").unwrap();
    }
}
