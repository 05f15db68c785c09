//! Makes signed zones of plain ones: chains of NSEC or NSEC3 records, and signatures of no key.
//!
//! An answer is made of records that stand in the zone, so signatures that verify nothing do to
//! compare answers. RFC 4035 section 2 (what is signed, who has NSEC), RFC 5155 section 7.1 (NSEC3).
//!
//! **Invariant:** each chain is whole: every name that does not exist is covered by one record.
//! **Not here:** cryptography.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE32HEX_NOPAD;

use super::Sets;
use crate::name::Name;
use crate::record::{RdataList, RecordType, Rrset};
use crate::zone::nsec3::{Nsec3Params, nsec3_hash};

/// How a zone denies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Chain {
    /// With NSEC records.
    Nsec,
    /// With NSEC3 records, perhaps none for insecure delegations (RFC 5155 section 6).
    Nsec3 {
        /// Whether it is so.
        has_opt_out: bool,
    },
}

/// Returns the RRsets of a zone together with those that sign it.
pub fn sign(apex: &Name, rrsets: &[Rrset], chain: Chain) -> Vec<Rrset> {
    let mut sets = Sets::new();
    for rrset in rrsets {
        sets.entry(rrset.owner.clone()).or_default().push(rrset.clone());
    }
    let zone = Signer { apex, plain: sets.clone() };
    match chain {
        Chain::Nsec => zone.add_nsec(&mut sets),
        Chain::Nsec3 { has_opt_out } => zone.add_nsec3(has_opt_out, &mut sets),
    }
    let mut all: Vec<Rrset> = sets.values().flatten().cloned().collect();
    all.extend(sets.iter().filter_map(|(owner, rrsets)| zone.signatures(owner, rrsets)));
    all
}

/// A zone that is being signed.
struct Signer<'a> {
    /// Its apex.
    apex: &'a Name,
    /// Its RRsets as they were.
    plain: Sets,
}

impl Signer<'_> {
    /// Whether an owner has an RRset.
    fn has(&self, owner: &Name, rtype: RecordType) -> bool {
        self.plain.get(owner).is_some_and(|sets| sets.iter().any(|rrset| rrset.rtype == rtype))
    }

    /// Whether a name is a zone cut, or would be one.
    fn is_cut(&self, name: &Name) -> bool {
        name != self.apex && self.has(name, RecordType::NS)
    }

    /// Whether a name is below a zone cut or a DNAME.
    fn is_occluded(&self, name: &Name) -> bool {
        std::iter::successors(name.parent(), Name::parent)
            .take_while(|above| above.is_at_or_below(self.apex))
            .any(|above| self.is_cut(&above) || self.has(&above, RecordType::DNAME))
    }

    /// Returns the types that the zone is authoritative for at a name.
    fn types(&self, name: &Name) -> BTreeSet<RecordType> {
        let types = self.plain.get(name).into_iter().flatten().map(|rrset| rrset.rtype);
        types.filter(|rtype| !self.is_cut(name) || *rtype == RecordType::DS).collect()
    }

    /// Returns the bitmap of a name's types and further ones (RFC 4034 section 4.1.2).
    fn bitmap(&self, name: &Name, further: &[RecordType]) -> Vec<u8> {
        let mut types = self.types(name);
        if self.is_cut(name) {
            types.insert(RecordType::NS);
        }
        types.extend(further);
        let mut windows: BTreeMap<u8, [u8; 32]> = BTreeMap::new();
        for RecordType(number) in types {
            let [window, low] = number.to_be_bytes();
            let bits = windows.entry(window).or_default();
            bits[usize::from(low / 8)] |= 0x80 >> (low % 8);
        }
        let mut bitmap = Vec::new();
        for (window, bits) in windows {
            let len = bits.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
            bitmap.extend_from_slice(&[window, len as u8]);
            bitmap.extend_from_slice(&bits[..len]);
        }
        bitmap
    }

    /// Adds an NSEC record to each name that is not occluded.
    fn add_nsec(&self, sets: &mut Sets) {
        let owners: Vec<&Name> =
            self.plain.keys().filter(|owner| !self.is_occluded(owner)).collect();
        for (index, owner) in owners.iter().enumerate() {
            let next = owners[(index + 1) % owners.len()];
            let bitmap = self.bitmap(owner, &[RecordType::NSEC, RecordType::RRSIG]);
            add(sets, owner, RecordType::NSEC, &[next.as_wire(), &bitmap].concat());
        }
    }

    /// Adds an NSEC3 record for each name that is not occluded, ENTs included.
    fn add_nsec3(&self, has_opt_out: bool, sets: &mut Sets) {
        let params = Nsec3Params { iterations: 1, salt: [0xaa].into() };
        let mut names: BTreeSet<Name> = BTreeSet::new();
        for owner in self.plain.keys().filter(|owner| !self.is_occluded(owner)) {
            if has_opt_out && self.is_cut(owner) && !self.has(owner, RecordType::DS) {
                continue;
            }
            let up = std::iter::successors(Some(owner.clone()), Name::parent);
            names.extend(up.take_while(|name| name.is_at_or_below(self.apex)));
        }
        let hashes: BTreeMap<[u8; 20], &Name> =
            names.iter().map(|name| (nsec3_hash(name.as_wire(), &params), name)).collect();
        let order: Vec<&[u8; 20]> = hashes.keys().collect();
        for (index, (hash, name)) in hashes.iter().enumerate() {
            let Ok(owner) = self.apex.with_label(BASE32HEX_NOPAD.encode(hash).as_bytes()) else {
                continue;
            };
            let next = order[(index + 1) % order.len()];
            let is_signed = !self.types(name).is_empty();
            let mut further = vec![RecordType::RRSIG];
            further.extend((*name == self.apex).then_some(RecordType::NSEC3PARAM));
            let bitmap = self.bitmap(name, if is_signed { &further } else { &[] });
            let head = [1, u8::from(has_opt_out), 0, 1, 1, 0xaa, 20];
            add(sets, &owner, RecordType::NSEC3, &[&head, &next[..], &bitmap].concat());
        }
        add(sets, self.apex, RecordType::NSEC3PARAM, &[1, 0, 0, 1, 1, 0xaa]);
    }

    /// Returns the signatures of an owner's RRsets, as far as the zone is authoritative for them.
    fn signatures(&self, owner: &Name, rrsets: &[Rrset]) -> Option<Rrset> {
        let labels = owner.label_count() - usize::from(owner.is_wildcard());
        let sig = |rrset: &&Rrset| {
            let fixed = [&rrset.rtype.0.to_be_bytes()[..], &[13, labels as u8]].concat();
            let times = [&rrset.ttl_s.to_be_bytes()[..], &[0x7f, 0, 0, 0, 0, 0, 0, 1, 0, 7]];
            let value = [rrset.rtype.0 as u8; 8];
            [&fixed[..], &times.concat(), self.apex.as_wire(), &value].concat()
        };
        let is_denial = |rtype| matches!(rtype, RecordType::NSEC | RecordType::NSEC3);
        let is_signed = |rrset: &&Rrset| {
            let is_data =
                !self.is_occluded(owner) && (!self.is_cut(owner) || rrset.rtype == RecordType::DS);
            is_data || is_denial(rrset.rtype)
        };
        let sigs: Vec<Vec<u8>> = rrsets.iter().filter(is_signed).map(|rrset| sig(&rrset)).collect();
        let rdata = RdataList::new(sigs).ok()?;
        Some(Rrset { owner: owner.clone(), rtype: RecordType::RRSIG, ttl_s: 300, rdata })
    }
}

/// Adds an RRset of one record.
fn add(sets: &mut Sets, owner: &Name, rtype: RecordType, rdata: &[u8]) {
    if let Ok(rdata) = RdataList::new([rdata]) {
        let rrset = Rrset { owner: owner.clone(), rtype, ttl_s: 100, rdata };
        sets.entry(owner.clone()).or_default().push(rrset);
    }
}
