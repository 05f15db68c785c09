//! Who signs the segments of a feed, and whether it did.
//!
//! **Invariant:** the key is unpacked once; of each segment only its signature is checked.
//! **Not here:** what a segment says (`feed::segment`), who signs (`export`).

use ed25519_dalek::{Signature, VerifyingKey};

use crate::feed::segment::{CONTEXT, Segment};

/// The author of a feed, as its segments show it.
#[derive(Clone, Debug)]
pub(crate) struct AuthorKey(Option<VerifyingKey>);

impl AuthorKey {
    /// The author with a public key. One that is no key has signed nothing.
    pub(crate) fn new(author: &[u8; 32]) -> Self {
        Self(VerifyingKey::from_bytes(author).ok())
    }

    /// Whether the author has signed a segment's octets.
    pub(crate) fn has_signed(&self, octets: &[u8]) -> bool {
        let Some(key) = &self.0 else { return false };
        let Ok((signed, signature)) = Segment::split(octets) else { return false };
        let signature = Signature::from_bytes(signature);
        key.verify_strict(&[CONTEXT, signed].concat(), &signature).is_ok()
    }
}
