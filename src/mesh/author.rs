//! Who signs the segments of a feed, and whether it did.
//!
//! **Invariant:** the key is unpacked once; of each segment only its signature is checked.
//! **Not here:** what a segment says (`feed::segment`), who signs (`export`).

use ed25519_dalek::{Signature, VerifyingKey};

use crate::feed::notice::{self, Notice};
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
        let Ok((signed, signature)) = Segment::split(octets) else { return false };
        self.verify(CONTEXT, signed, signature)
    }

    /// Whether the author has signed a notice's octets.
    pub(crate) fn has_signed_notice(&self, octets: &[u8]) -> bool {
        let Ok((signed, signature)) = Notice::split(octets) else { return false };
        self.verify(notice::CONTEXT, signed, signature)
    }

    /// Whether the author has signed octets in a context.
    fn verify(&self, context: &[u8], signed: &[u8], signature: &[u8; 64]) -> bool {
        let Some(key) = &self.0 else { return false };
        let signature = Signature::from_bytes(signature);
        key.verify_strict(&[context, signed].concat(), &signature).is_ok()
    }
}
