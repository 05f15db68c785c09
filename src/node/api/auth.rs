//! The admin key: made at first start, compared in constant time.
//!
//! **Invariant:** the key's file is readable by its owner alone; nothing below `/api/` but the
//! version list is answered without the key.
//! **Not here:** scoped keys.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use data_encoding::HEXLOWER;

/// The key that every request must carry.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// Returns the key in `data_dir`; makes one when there is none.
    ///
    /// # Errors
    /// What the system says when the file cannot be read or written, and
    /// [`ErrorKind::InvalidData`] when it is empty: an empty key would let everybody in.
    pub fn load_or_create(data_dir: &Path) -> std::io::Result<Self> {
        let path = data_dir.join(KEY_FILE);
        match std::fs::read(&path) {
            Ok(octets) => Self::from_octets(octets.trim_ascii()).ok_or_else(|| {
                std::io::Error::new(ErrorKind::InvalidData, "the file holds no key")
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => create(&path),
            Err(error) => Err(error),
        }
    }

    /// Makes a key of octets; none of no octets.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        (!octets.is_empty()).then(|| Self(octets.into()))
    }

    /// Makes a random key that nobody is told.
    pub fn random() -> Self {
        let octets: [u8; KEY_OCTETS] = rand::random();
        Self(HEXLOWER.encode(&octets).into_bytes().into())
    }

    /// Whether `given` is the key; the time does not depend on where they differ.
    pub fn is_equal(&self, given: &[u8]) -> bool {
        if given.len() != self.0.len() {
            return false;
        }
        let differing = self.0.iter().zip(given).fold(0_u8, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

/// Does not show the key.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Writes a new key beside `path` and renames it into place, so that no half key is ever read.
fn create(path: &Path) -> std::io::Result<ApiKey> {
    let key = ApiKey::random();
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&key.0)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(key)
}

/// Name of the file below the data directory.
const KEY_FILE: &str = "api-key";
/// Random octets of a new key.
const KEY_OCTETS: usize = 24;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = ApiKey::load_or_create(dir.path()).unwrap();
        let path = dir.path().join("api-key");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read(&path).unwrap();
        assert!(key.is_equal(text.trim_ascii()));
        assert!(!key.is_equal(b"") && !key.is_equal(&text));
        assert!(ApiKey::load_or_create(dir.path()).unwrap().is_equal(text.trim_ascii()));
    }

    #[test]
    fn an_empty_key_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("api-key"), "\n").unwrap();
        assert!(ApiKey::load_or_create(dir.path()).is_err());
    }
}
