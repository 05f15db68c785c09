//! Signs the benchmarks' zone: chains of NSEC or NSEC3 records, and signatures of no key.
//!
//! Answers are made of what stands in the zone, so what counts is that each record is where a
//! signer puts it and has the size that ECDSA P-256 gives it. NSEC3 is as RFC 9276 recommends: no
//! iterations, no salt, no opt-out.

use std::collections::BTreeMap;

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::zone::nsec3::{Nsec3Params, nsec3_hash, nsec3_prefix};

/// How a zone denies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// RFC 4034.
    Nsec,
    /// RFC 5155.
    Nsec3,
}

/// The types at each owner, in canonical order.
type Owners = BTreeMap<Name, Vec<RecordType>>;

/// Returns the records that sign a zone, those of the zone included.
pub fn sign(apex: &Name, mut rrsets: Vec<Rrset>, denial: Denial) -> Vec<Rrset> {
    let mut owners = Owners::new();
    for rrset in &rrsets {
        owners.entry(rrset.owner.clone()).or_default().push(rrset.rtype);
    }
    let cuts: Vec<Name> = owners
        .iter()
        .filter(|(owner, types)| *owner != apex && types.contains(&RecordType::NS))
        .map(|(owner, _)| owner.clone())
        .collect();
    let is_cut = |name: &Name| cuts.binary_search(name).is_ok();
    owners.retain(|owner, _| {
        !std::iter::successors(owner.parent(), Name::parent).any(|above| is_cut(&above))
    });
    match denial {
        Denial::Nsec => rrsets.extend(nsec_chain(&owners)),
        Denial::Nsec3 => rrsets.extend(nsec3_chain(apex, &mut owners)),
    }
    let mut signatures: BTreeMap<&Name, Vec<Vec<u8>>> = BTreeMap::new();
    for rrset in &rrsets {
        let is_denial = matches!(rrset.rtype, RecordType::NSEC | RecordType::NSEC3);
        let is_data = owners.contains_key(&rrset.owner) && !is_cut(&rrset.owner);
        if is_denial || is_data {
            signatures.entry(&rrset.owner).or_default().push(signature(apex, rrset));
        }
    }
    let sets = signatures
        .iter()
        .filter_map(|(owner, rdata)| {
            Rrset::new((*owner).clone(), RecordType::RRSIG, 300, rdata).ok()
        })
        .collect::<Vec<_>>();
    rrsets.extend(sets);
    rrsets
}

/// Returns the NSEC record of each owner.
fn nsec_chain(owners: &Owners) -> Vec<Rrset> {
    let names: Vec<&Name> = owners.keys().collect();
    let record = |(index, (owner, types)): (usize, (&Name, &Vec<RecordType>))| {
        let next = names[(index + 1) % names.len()];
        let further = [RecordType::RRSIG, RecordType::NSEC];
        let rdata = [next.as_wire(), &bitmap(types, &further)].concat();
        Rrset::new(owner.clone(), RecordType::NSEC, 300, [rdata]).expect("one record")
    };
    owners.iter().enumerate().map(record).collect()
}

/// Returns the NSEC3 records of all owners and empty non-terminals, and NSEC3PARAM; adds these to
/// the owners.
fn nsec3_chain(apex: &Name, owners: &mut Owners) -> Vec<Rrset> {
    owners.entry(apex.clone()).or_default().push(RecordType::NSEC3PARAM);
    let names: Vec<Name> = owners.keys().cloned().collect();
    for name in names {
        let above = std::iter::successors(name.parent(), Name::parent);
        for between in above.take_while(|above| above.is_at_or_below(apex)) {
            owners.entry(between).or_default();
        }
    }
    let params = Nsec3Params { iterations: 0, salt: [].into() };
    let hashes: BTreeMap<[u8; 20], &Vec<RecordType>> =
        owners.iter().map(|(name, types)| (nsec3_hash(name.as_wire(), &params), types)).collect();
    let order: Vec<&[u8; 20]> = hashes.keys().collect();
    let record = |(index, (hash, types)): (usize, (&[u8; 20], &&Vec<RecordType>))| {
        let owner = [&nsec3_prefix(hash)[..], apex.as_wire()].concat();
        let next = order[(index + 1) % order.len()];
        let further = if types.is_empty() { &[][..] } else { &[RecordType::RRSIG] };
        let rdata = [&[1, 0, 0, 0, 0, 20][..], next, &bitmap(types, further)].concat();
        let owner = Name::from_wire(&owner).expect("a hash and the apex");
        Rrset::new(owner, RecordType::NSEC3, 300, [rdata]).expect("one record")
    };
    let mut chain: Vec<Rrset> = hashes.iter().enumerate().map(record).collect();
    let param = Rrset::new(apex.clone(), RecordType::NSEC3PARAM, 0, [[1, 0, 0, 0, 0]]);
    chain.push(param.expect("one record"));
    chain
}

/// Returns the bitmap of types below 256 (RFC 4034 section 4.1.2).
fn bitmap(types: &[RecordType], further: &[RecordType]) -> Vec<u8> {
    let mut bits = [0_u8; 32];
    for RecordType(number) in types.iter().chain(further) {
        bits[usize::from(number / 8) % 32] |= 0x80 >> (number % 8);
    }
    let len = bits.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    if len == 0 { Vec::new() } else { [&[0, len as u8][..], &bits[..len]].concat() }
}

/// Returns what stands in for an RRset's signature: as long as one of ECDSA P-256 (RFC 6605).
fn signature(apex: &Name, rrset: &Rrset) -> Vec<u8> {
    let labels = rrset.owner.label_count() - usize::from(rrset.owner.is_wildcard());
    let fixed = [&rrset.rtype.0.to_be_bytes()[..], &[13, labels as u8]].concat();
    let times = [&rrset.ttl_s.to_be_bytes()[..], &[0x7f, 0, 0, 0, 0, 0, 0, 1, 0, 7]].concat();
    [&fixed[..], &times, apex.as_wire(), &[rrset.rtype.0 as u8; 64]].concat()
}
