//! Hashed owner names: how a zone hashes them, and how NSEC3 records spell a hash.
//!
//! RFC 5155 section 5 (the hash), section 3 (the owner name), section 4 (the parameters).
//!
//! **Invariant:** a zone's hashes of its apex and wildcard are those of its parameters.
//! **Not here:** which proofs an answer needs (`answer::dnssec`), the order of hashes (`zone::order`).

use data_encoding::BASE32HEX_NOPAD;
use sha1::{Digest, Sha1};

use super::node::NodeView;
use super::order::Prefix;
use super::path::NamePath;
use crate::record::RecordType;

/// A hashed name (RFC 5155 section 5).
pub(crate) type NameHash = [u8; 20];

/// How a zone hashes names, and two hashes that most proofs of a flat zone need.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hashing {
    /// How.
    pub params: Nsec3Params,
    /// The apex's hash.
    apex: NameHash,
    /// The hash of the child `*` of the apex.
    wildcard: NameHash,
}

impl Hashing {
    /// Makes it of the finished node of the apex, whose canonical wire name is `apex`; what `before`
    /// holds of the same parameters is taken over.
    pub fn of(apex: &[u8], node: &NodeView<'_>, before: Option<&Self>) -> Option<Self> {
        let params = params_of(node)?;
        if let Some(before) = before.filter(|before| before.params == params) {
            return Some(before.clone());
        }
        let wildcard = nsec3_hash(&[b"\x01*", apex].concat(), &params);
        Some(Self { apex: nsec3_hash(apex, &params), wildcard, params })
    }

    /// Returns the hash of the suffix of `depth` labels of a name in a zone.
    pub(crate) fn suffix_hash(&self, path: &NamePath, depth: usize, apex_depth: usize) -> NameHash {
        if depth == apex_depth {
            return self.apex;
        }
        nsec3_hash(path.suffix_at(depth), &self.params)
    }

    /// Returns the hash of the child `*` of the suffix of `depth` labels, if that is a name.
    pub(crate) fn wildcard_hash(
        &self,
        path: &NamePath,
        depth: usize,
        apex_depth: usize,
    ) -> Option<NameHash> {
        if depth == apex_depth {
            return Some(self.wildcard);
        }
        let mut wildcard = Prefix::new();
        wildcard.try_extend_from_slice(b"\x01*").ok()?;
        wildcard.try_extend_from_slice(path.suffix_at(depth)).ok()?;
        Some(nsec3_hash(&wildcard, &self.params))
    }
}

/// How a zone hashes names (RFC 5155 section 4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nsec3Params {
    /// Further rounds after the first.
    pub iterations: u16,
    /// What is hashed behind each name.
    pub salt: Box<[u8]>,
}

/// Returns how the zone of this apex hashes names (RFC 5155 section 4).
fn params_of(apex: &NodeView<'_>) -> Option<Nsec3Params> {
    let entry = apex.rrset(RecordType::NSEC3PARAM)?;
    super::prepare::records(entry.body).find_map(|record| {
        // Hash algorithm 1 (SHA-1) is the only one; flags must be zero (section 4.1.2).
        let [1, 0, high, low, salt_len, salt @ ..] = record.rdata else { return None };
        let salt = salt.get(..usize::from(*salt_len))?;
        let iterations = u16::from_be_bytes([*high, *low]);
        Some(Nsec3Params { iterations, salt: salt.into() })
    })
}

/// Returns the hash that the owner of an NSEC3 record spells, if it is one (RFC 5155 section 3).
pub(crate) fn nsec3_key(prefix: &[u8]) -> Option<NameHash> {
    let (len, label) = prefix.split_first()?;
    if usize::from(*len) != label.len() {
        return None;
    }
    // Of SHA-1 there are 20 octets (RFC 5155 section 5).
    let hash = BASE32HEX_NOPAD.decode(&label.to_ascii_uppercase()).ok()?;
    hash.try_into().ok()
}

/// Returns the owner's labels in front of the apex for a hash of up to 39 octets.
pub fn nsec3_prefix(hash: &[u8]) -> Prefix {
    let mut prefix = Prefix::new();
    let len = BASE32HEX_NOPAD.encode_len(hash.len());
    let mut label = [0; crate::limits::LABEL_OCTETS_MAX];
    if let Some(label) = label.get_mut(..len) {
        BASE32HEX_NOPAD.encode_mut(hash, label);
        label.make_ascii_lowercase();
        let _ = prefix.try_push(len as u8);
        let _ = prefix.try_extend_from_slice(label);
    }
    prefix
}

/// Hashes a canonical wire name (RFC 5155 section 5).
pub fn nsec3_hash(wire: &[u8], params: &Nsec3Params) -> NameHash {
    let mut hash: NameHash =
        Sha1::new().chain_update(wire).chain_update(&params.salt).finalize().into();
    for _ in 0..params.iterations {
        hash = Sha1::new().chain_update(hash).chain_update(&params.salt).finalize().into();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    #[test]
    fn hashes_are_those_of_rfc_5155_appendix_a() {
        let params = Nsec3Params { iterations: 12, salt: [0xaa, 0xbb, 0xcc, 0xdd].into() };
        let hash = |text| {
            let name = Name::from_text(text).expect(text);
            BASE32HEX_NOPAD.encode(&nsec3_hash(name.as_wire(), &params)).to_lowercase()
        };
        assert_eq!(hash("example"), "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom");
        assert_eq!(hash("*.w.example"), "r53bq7cc2uvmubfu5ocmm6pers9tk9en");
    }
}
