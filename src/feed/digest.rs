//! What a zone's content comes to in 16 octets, so that two nodes can prove that they agree.
//!
//! The digest of a zone is the wrapping sum, modulo 2^128, of a keyed hash of each of its records,
//! beside their number. A sum does not depend on an order and is kept up to date record by record:
//! a change applied twice, half of a commit, a delete that got lost all show. The hash is
//! SipHash-1-3 with 128 bits, its key drawn with the store; what is hashed of a record is
//!
//! ```text
//! owner name in canonical wire form, type u16, TTL u32, RDATA
//! ```
//!
//! with 0 for the TTL of an RRSIG, which is that of the RRset it covers (RFC 4034 section 3).
//!
//! It guards against faults, not against people: those are kept out by signatures.
//!
//! **Invariant:** equal records in any order give equal digests.
//! **Not here:** who compares them (`sync`), who keeps them (`store`).

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::name::Name;
use crate::record::rrset::RdataIter;
use crate::record::{Change, RecordType, Rrset, RrsetRef};

/// The key of a store's digests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct DigestKey(pub [u8; 16]);

/// What some records come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct Digest {
    /// The sum of the hashes.
    pub sum: u128,
    /// How many records there are.
    pub records: u64,
}

impl DigestKey {
    /// Begins a hash.
    fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }

    /// Returns what one RRset comes to.
    pub fn rrset(&self, rrset: &RrsetRef<'_>) -> Digest {
        let ttl_s = if rrset.rtype == RecordType::RRSIG { 0 } else { rrset.ttl_s };
        let mut head = self.hasher();
        head.write(rrset.owner);
        head.write(&rrset.rtype.0.to_be_bytes());
        head.write(&ttl_s.to_be_bytes());
        let mut digest = Digest::default();
        for rdata in RdataIter::over(rrset.rdata) {
            let mut hasher = head;
            hasher.write(rdata);
            digest.sum = digest.sum.wrapping_add(finish(&hasher));
            digest.records += 1;
        }
        digest
    }

    /// Returns what a zone adds to the digest of all zones.
    pub fn zone(&self, apex: &Name, revision: u64, digest: Digest) -> u128 {
        let mut hasher = self.hasher();
        hasher.write(apex.as_wire());
        hasher.write(&revision.to_be_bytes());
        hasher.write(&digest.to_octets());
        finish(&hasher)
    }

    /// Returns what the records of a zone come to.
    pub fn rrsets(&self, rrsets: impl IntoIterator<Item = Rrset>) -> Digest {
        let add = |sum: Digest, rrset: Rrset| sum.plus(self.rrset(&rrset.as_ref()));
        rrsets.into_iter().fold(Digest::default(), add)
    }

    /// Returns the digest after a change of the RRset that was `before`.
    pub fn after(&self, digest: Digest, before: Option<&Rrset>, change: &Change) -> Digest {
        let of = |rrset: &Rrset| self.rrset(&rrset.as_ref());
        let without = digest.minus(before.map(of).unwrap_or_default());
        match change {
            Change::Put(rrset) => without.plus(of(rrset)),
            Change::Delete { .. } => without,
        }
    }
}

impl Digest {
    /// The octets of [`Digest::to_octets`].
    pub const OCTETS: usize = 24;

    /// Returns the digest of both.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_add(other.sum),
            records: self.records.wrapping_add(other.records),
        }
    }

    /// Returns the digest without what `other` stands for.
    #[must_use]
    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_sub(other.sum),
            records: self.records.wrapping_sub(other.records),
        }
    }

    /// Writes sum and number, big-endian.
    pub fn to_octets(self) -> [u8; Self::OCTETS] {
        let mut octets = [0; Self::OCTETS];
        octets[..16].copy_from_slice(&self.sum.to_be_bytes());
        octets[16..].copy_from_slice(&self.records.to_be_bytes());
        octets
    }

    /// Reads what [`Digest::to_octets`] wrote.
    pub fn from_octets(octets: &[u8; Self::OCTETS]) -> Self {
        let (sum, records) = octets.split_at(16);
        let sum = sum.first_chunk().map_or(0, |octets| u128::from_be_bytes(*octets));
        let records = records.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
        Self { sum, records }
    }
}

impl std::fmt::Display for Digest {
    /// Writes the sum in hexadecimal digits, a slash, and the number of records.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}/{}", self.sum, self.records)
    }
}

/// Ends a hash: its 16 octets, as SipHash's reference writes them, as a little-endian number.
fn finish(hasher: &SipHasher13) -> u128 {
    let hash = hasher.finish128();
    u128::from(hash.h1) | u128::from(hash.h2) << 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Soa;
    use crate::zone::{HashSeed, build};

    const KEY: DigestKey = DigestKey(*b"0123456789abcdef");

    fn rrset(owner: &str, rtype: RecordType, ttl_s: u32, records: &[&[u8]]) -> Rrset {
        Rrset::new(owner.parse().unwrap(), rtype, ttl_s, records).unwrap()
    }

    fn of(rrsets: &[Rrset]) -> Digest {
        KEY.rrsets(rrsets.iter().cloned())
    }

    #[test]
    fn the_hash_is_the_one_that_the_specification_names() {
        let digest = of(&[rrset("example", RecordType::A, 60, &[&[192, 0, 2, 1]])]);
        assert_eq!(digest.to_string(), "0df37c0885224b917f5d92d1c718041a/1");
        assert_eq!(Digest::from_octets(&digest.to_octets()), digest);
    }

    #[test]
    fn order_does_not_count_and_all_else_does() {
        let a = rrset("a.example", RecordType::A, 60, &[b"1234", b"5678"]);
        let turned = rrset("a.example", RecordType::A, 60, &[b"5678", b"1234"]);
        let b = rrset("b.example", RecordType::A, 60, &[b"1234"]);
        assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), turned]));
        let others = [
            rrset("c.example", RecordType::A, 60, &[b"1234"]),
            rrset("b.example", RecordType::AAAA, 60, &[b"1234"]),
            rrset("b.example", RecordType::A, 61, &[b"1234"]),
            rrset("b.example", RecordType::A, 60, &[b"1235"]),
            rrset("b.example", RecordType::A, 60, &[b"1234", b"1235"]),
        ];
        for other in others {
            assert_ne!(of(&[a.clone(), b.clone()]), of(&[a.clone(), other]));
        }
        // The ends of two RRsets exchanged.
        let left =
            [rrset("x", RecordType::TXT, 1, &[b"ab"]), rrset("y", RecordType::TXT, 1, &[b"c"])];
        let right =
            [rrset("x", RecordType::TXT, 1, &[b"a"]), rrset("y", RecordType::TXT, 1, &[b"bc"])];
        assert_ne!(of(&left), of(&right));
    }

    #[test]
    fn a_change_and_its_opposite_leave_nothing() {
        let before = rrset("a.example", RecordType::A, 60, &[b"1234"]);
        let after = rrset("a.example", RecordType::A, 60, &[b"5678", b"9abc"]);
        let start = of(std::slice::from_ref(&before));
        let changed = KEY.after(start, Some(&before), &Change::Put(after.clone()));
        assert_eq!(changed, of(std::slice::from_ref(&after)));
        let delete = Change::Delete { owner: after.owner.clone(), rtype: RecordType::A };
        assert_eq!(KEY.after(changed, Some(&after), &delete), Digest::default());
        assert_ne!(KEY.after(changed, Some(&after), &Change::Put(before)), changed);
    }

    proptest! {
        /// A zone gives back records that come to what was put in, signatures among them, though it
        /// files those with what they cover.
        #[test]
        fn a_built_zone_comes_to_what_it_was_built_from(
            hosts in proptest::collection::vec((0_u8..20, 0_u32..3, 1_usize..4, any::<bool>()), 0..40)
        ) {
            let soa = Soa::default().to_rdata();
            let mut rrsets = vec![rrset("example", RecordType::SOA, 7, &[&soa])];
            let mut owners = std::collections::BTreeSet::new();
            for (host, ttl_s, count, is_signed) in hosts {
                if !owners.insert(host) {
                    continue;
                }
                let owner = format!("h{host}.example");
                let records: Vec<[u8; 4]> = (0..count as u8).map(|i| [9 - i, host, 2, i]).collect();
                let records: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
                rrsets.push(rrset(&owner, RecordType::A, ttl_s, &records));
                if is_signed {
                    let sig = |rtype: u16| [&rtype.to_be_bytes()[..], &[13; 16], &[0], &[host; 64]].concat();
                    let sigs = [sig(16), sig(1)];
                    rrsets.push(rrset(&owner, RecordType::RRSIG, 99, &[&sigs[0], &sigs[1]]));
                }
            }
            let zone = build("example".parse().unwrap(), HashSeed(1), rrsets.clone()).unwrap();
            prop_assert_eq!(KEY.rrsets(zone.rrsets()), of(&rrsets));
        }
    }
}
