//! Keeps the secret key of a node in a file.
//!
//! **Invariant:** the file is readable by its owner alone (mode 0600) and never half written (`durable`).
//! **Not here:** the keys of namespace and author, which the document store keeps.

use std::io::ErrorKind;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use iroh::SecretKey;

use super::MeshError;
use crate::durable;

/// Returns the key in `path`; makes a new one when there is no such file.
///
/// # Errors
/// [`MeshError::File`] when the file cannot be read or written, [`MeshError::SecretKey`] when it
/// holds something else, [`MeshError::SecretKeyGone`] where there is none beside feeds that were
/// written. Such a key is never replaced: peers know the node by it.
pub(super) fn load_or_create(path: &Path) -> Result<SecretKey, MeshError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).ok_or_else(|| MeshError::SecretKey { path: path.into() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let feeds = path.with_file_name("feeds");
            if feeds.exists() {
                return Err(MeshError::SecretKeyGone { path: path.into(), feeds });
            }
            let key = SecretKey::generate();
            let text = format!("{}\n", HEXLOWER_PERMISSIVE.encode(&key.to_bytes()));
            durable::write(path, text.as_bytes())
                .map_err(|source| MeshError::File { path: path.into(), source })?;
            Ok(key)
        }
        Err(source) => Err(MeshError::File { path: path.into(), source }),
    }
}

/// Returns the key that `text` spells in hexadecimal digits.
fn parse(text: &str) -> Option<SecretKey> {
    let octets = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?;
    let octets: [u8; 32] = octets.try_into().ok()?;
    Some(SecretKey::from_bytes(&octets))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_survives_a_restart_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret-key");
        let first = load_or_create(&path).unwrap();
        let second = load_or_create(&path).unwrap();
        assert_eq!(first.to_bytes(), second.to_bytes());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn damaged_key_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret-key");
        std::fs::write(&path, "not a key").unwrap();
        let error = load_or_create(&path).err().unwrap();
        assert!(matches!(error, MeshError::SecretKey { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a key");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(dir.path().join("feeds")).unwrap();
        let error = load_or_create(&path).err().unwrap();
        assert!(matches!(error, MeshError::SecretKeyGone { .. }));
        assert!(!path.exists());
    }
}
