//! Seals the keys of feeds, which are kept in a store that others read.
//!
//! Sealed octets: a format's letters and version, a random nonce of 96 bits, and what ChaCha20-Poly1305
//! (RFC 8439) makes of the secret, with the secret's name as associated data: a secret that is put in the
//! place of another does not open.
//!
//! **Invariant:** the key is never shown.
//! **Not here:** what is sealed (`export::shared`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::octets::{Format, OctetReader};

/// The key that authorities on one store share.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The file does not read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no key.
    #[error("{}: a key is 64 hexadecimal digits (`openssl rand -hex 32` makes one)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

impl SealKey {
    /// Reads the key of a file: 64 hexadecimal digits, and white space around them.
    ///
    /// # Errors
    /// Every [`SealKeyError`].
    pub fn read(path: &Path) -> Result<Self, SealKeyError> {
        let file = |source| SealKeyError::File { path: path.to_owned(), source };
        let text = std::fs::read(path).map_err(file)?;
        if std::fs::metadata(path).map_err(file)?.mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others than its owner may read the key of the feeds: chmod 600");
        }
        let octets = HEXLOWER_PERMISSIVE.decode(text.trim_ascii()).ok();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or_else(|| SealKeyError::NoKey { path: path.to_owned() })
    }

    /// Seals a secret.
    pub(super) fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.to_vec();
        self.cipher()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .expect("a secret is far shorter than the 256 GiB that the cipher takes");
        let mut out = Vec::with_capacity(8 + NONCE_LEN + sealed.len());
        FORMAT.put(&mut out);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens a sealed secret; none if it was not sealed with this key under this name.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut reader = OctetReader::new(sealed);
        reader.format("a sealed secret", FORMAT).ok()?;
        let nonce = Nonce::assume_unique_for_key(reader.array("a nonce").ok()?);
        let mut octets = reader.take("a sealed secret", reader.left()).ok()?.to_vec();
        let aad = Aad::from(name.as_bytes());
        self.cipher().open_in_place(nonce, aad, &mut octets).ok().map(|secret| secret.to_vec())
    }

    /// The cipher.
    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0);
        LessSafeKey::new(key.expect("a key of the cipher has 32 octets"))
    }
}

/// Does not show the key.
impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// The first octets of a sealed secret.
const FORMAT: Format = Format { letters: *b"AX", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_and_the_name_open_what_was_sealed_as_it_was_sealed() {
        let (key, other) = (SealKey([7; 32]), SealKey([8; 32]));
        let sealed = key.seal("feed/main", b"a secret");
        assert_eq!(key.open("feed/main", &sealed).as_deref(), Some(&b"a secret"[..]));
        assert_ne!(sealed, key.seal("feed/main", b"a secret"), "never the same twice");
        assert_eq!(other.open("feed/main", &sealed), None);
        assert_eq!(key.open("feed/other", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("feed/main", &changed), None, "octet {at}");
            assert_eq!(key.open("feed/main", &sealed[..at]), None, "{at} octets");
        }
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn a_file_holds_64_digits_or_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal-key");
        assert!(matches!(SealKey::read(&path), Err(SealKeyError::File { .. })));
        for (text, is_key) in [
            ("0123456789abcdef".repeat(4), true),
            (format!("  {}\n", "0123456789ABCDEF".repeat(4)), true),
            ("0123456789abcdef".repeat(3), false),
            ("0123456789abcdeg".repeat(4), false),
            (String::new(), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            let read = SealKey::read(&path);
            assert_eq!(read.is_ok(), is_key, "{text}");
            let Err(error) = read else { continue };
            assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
        }
    }
}
