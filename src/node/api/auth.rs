//! The admin key: made at first start, compared in constant time.
//!
//! **Invariant:** the key's file is readable by its owner alone; nothing below `/api/` but the
//! version list is answered without the key.
//! **Not here:** scoped keys.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq as _;

use crate::durable;

/// The key that every request must carry.
#[derive(Clone)]
pub(crate) struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// Returns the key in `data_dir`; makes one when there is none.
    ///
    /// # Errors
    /// What the system says when the file cannot be read or written, and
    /// [`ErrorKind::InvalidData`] when the key is so short that it was cut, or can be guessed.
    pub(crate) fn load_or_create(data_dir: &Path) -> std::io::Result<Self> {
        let path = data_dir.join(KEY_FILE);
        match std::fs::read(&path) {
            Ok(octets) => {
                take_from_others(&path)?;
                Self::from_octets(octets.trim_ascii())
                    .ok_or_else(|| std::io::Error::new(ErrorKind::InvalidData, TOO_SHORT))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => create(&path),
            Err(error) => Err(error),
        }
    }

    /// Makes a key of octets; none of fewer than 32.
    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        (octets.len() >= KEY_LEN_MIN).then(|| Self(octets.into()))
    }

    /// Makes a random key that nobody is told.
    pub(crate) fn random() -> Self {
        let octets: [u8; KEY_OCTETS] = rand::random();
        Self(HEXLOWER.encode(&octets).into_bytes().into())
    }

    /// Whether `given` is the key; the time does not depend on where they differ.
    pub(crate) fn is_equal(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

/// Does not show the key.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Writes a new key.
fn create(path: &Path) -> std::io::Result<ApiKey> {
    let key = ApiKey::random();
    durable::write(path, &[&key.0[..], b"\n"].concat())?;
    Ok(key)
}

/// Makes a key's file its owner's alone, and warns if it was not.
fn take_from_others(path: &Path) -> std::io::Result<()> {
    if std::fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(
        "{}: other users of this machine could read the key, and cannot any more; \
         remove the file for a new one",
        path.display()
    );
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// Name of the file below the data directory.
const KEY_FILE: &str = "api-key";
/// Random octets of a new key.
const KEY_OCTETS: usize = 24;
/// Characters of the shortest key that is taken, 128 bits as hexadecimal digits; a new one has 48.
const KEY_LEN_MIN: usize = 32;
/// What is said of a shorter one.
const TOO_SHORT: &str = "the key has fewer than 32 characters; put the whole key there, or remove the file for a new one";

#[cfg(test)]
mod tests {
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
    fn a_key_that_was_cut_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        for (len, is_taken) in [(0, false), (1, false), (31, false), (32, true), (33, true)] {
            let text = format!("{}\n", "k".repeat(len));
            std::fs::write(dir.path().join("api-key"), text).unwrap();
            let loaded = ApiKey::load_or_create(dir.path());
            assert_eq!(loaded.is_ok(), is_taken, "{len}");
            if let Err(error) = loaded {
                assert!(error.to_string().contains("remove the file"), "{error}");
            }
        }
    }

    #[test]
    fn a_key_that_others_could_read_is_taken_from_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-key");
        std::fs::write(&path, "k".repeat(48)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        ApiKey::load_or_create(dir.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
