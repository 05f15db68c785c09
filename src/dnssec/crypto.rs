//! What the checks need of cryptography: verify a signature, digest octets.
//!
//! The checks ask through [`Crypto`], so that they themselves stay free of any library. With the
//! cargo feature `verify`, `Ring` answers.

/// Verifies and digests.
pub trait Crypto: Sync {
    /// Verifies a signature over `message` by a DNSKEY's public key, both as they stand in RDATA.
    fn verify(&self, algorithm: u8, key: &[u8], message: &[u8], signature: &[u8]) -> Verification;

    /// Digests `pieces` one after the other; `None` if the hash is not known.
    fn digest(
        &self,
        hash: DigestType,
        pieces: &mut dyn Iterator<Item = Vec<u8>>,
    ) -> Option<Vec<u8>>;
}

/// What a signature is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verification {
    /// The holder of the key made it over the message.
    Valid,
    /// It is not.
    Invalid,
    /// The algorithm is not known here.
    Unknown,
}

/// A hash of DS and ZONEMD records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DigestType {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

#[cfg(feature = "verify")]
pub use with_ring::Ring;

/// The library ring, which TLS brings along in any case.
#[cfg(feature = "verify")]
mod with_ring {
    use ring::digest;
    use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

    use super::{Crypto, DigestType, Verification};

    /// Algorithms 5, 7, 8, 10 (RSA of 1024 to 8192 bits), 13, 14 (ECDSA) and 15 (Ed25519).
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Ring;

    impl Crypto for Ring {
        fn verify(
            &self,
            algorithm: u8,
            key: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Verification {
            let is_valid = match algorithm {
                // What has a weak key verifies too: whether it may be used is another question.
                5 | 7 => rsa(
                    &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    key,
                    message,
                    signature,
                ),
                8 => rsa(
                    &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                    key,
                    message,
                    signature,
                ),
                10 => rsa(
                    &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                    key,
                    message,
                    signature,
                ),
                13 => {
                    UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, uncompressed(key))
                        .verify(message, signature)
                        .is_ok()
                }
                14 => {
                    UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, uncompressed(key))
                        .verify(message, signature)
                        .is_ok()
                }
                15 => UnparsedPublicKey::new(&signature::ED25519, key)
                    .verify(message, signature)
                    .is_ok(),
                _ => return Verification::Unknown,
            };
            if is_valid { Verification::Valid } else { Verification::Invalid }
        }

        fn digest(
            &self,
            hash: DigestType,
            pieces: &mut dyn Iterator<Item = Vec<u8>>,
        ) -> Option<Vec<u8>> {
            let mut context = digest::Context::new(match hash {
                DigestType::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
                DigestType::Sha256 => &digest::SHA256,
                DigestType::Sha384 => &digest::SHA384,
                DigestType::Sha512 => &digest::SHA512,
            });
            for piece in pieces {
                context.update(&piece);
            }
            Some(context.finish().as_ref().to_vec())
        }
    }

    /// Verifies an RSA signature; the key is as RFC 3110 section 2 writes it.
    fn rsa(
        parameters: &'static RsaParameters,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let (exponent_len, rest) = match key {
            [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            [len, rest @ ..] => (usize::from(*len), rest),
            [] => return false,
        };
        let Some((e, n)) = rest.split_at_checked(exponent_len) else { return false };
        // The library takes no leading zeros, which RFC 3110 forbids too but some keys have.
        let strip = |octets: &[u8]| -> Vec<u8> {
            octets.iter().copied().skip_while(|octet| *octet == 0).collect()
        };
        let key = RsaPublicKeyComponents { n: strip(n), e: strip(e) };
        key.verify(parameters, message, signature).is_ok()
    }

    /// Returns a point as the library has it: RFC 6605 section 4 leaves out the octet that says it
    /// is not compressed.
    fn uncompressed(key: &[u8]) -> Vec<u8> {
        [&[4], key].concat()
    }
}
