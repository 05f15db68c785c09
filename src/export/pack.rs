//! Cuts a zone into base packs.
//!
//! A cut is made where the hash of an owner name says so, once a pack is large enough. The same
//! records are therefore cut at the same places, and after a change here and there most packs
//! have the same octets as before, the same hash, and are neither written nor sent again.
//!
//! **Invariant:** all RRsets of one owner name are in one pack; no pack exceeds
//! [`PACK_OCTETS_MAX`].
//! **Not here:** the octets of a pack (`feed::pack`).

use std::hash::Hasher as _;

use fnv::FnvHasher;

use crate::feed::items::ItemRef;
use crate::feed::pack::{PackWriter, rrset_octets};
use crate::limits::{OWNER_OCTETS_MAX, PACK_HEAD_OCTETS_MAX, PACK_OCTETS_MAX, PACK_OCTETS_TARGET};
use crate::name::Name;
use crate::record::Rrset;

/// One pack that was cut.
#[derive(Debug)]
pub(super) struct CutPack {
    /// Its octets.
    pub(super) octets: Vec<u8>,
}

/// A zone in packs.
#[derive(Debug, Default)]
pub(super) struct CutZone {
    /// The packs in order.
    pub(super) packs: Vec<CutPack>,
    /// How many owner names there are.
    pub(super) name_count: u64,
    /// Owner names whose RRsets fit no pack, or are not of this zone.
    pub(super) refused: Vec<Name>,
}

/// Cuts the RRsets of the zone `apex`.
pub(super) fn cut(apex: &Name, mut rrsets: Vec<Rrset>) -> CutZone {
    let place = |rrset: &Rrset| (rrset.rtype, rrset.owner.clone());
    if !rrsets.is_sorted_by(|left, right| (&left.owner, left.rtype) < (&right.owner, right.rtype)) {
        rrsets
            .sort_by(|left, right| left.owner.cmp(&right.owner).then(left.rtype.cmp(&right.rtype)));
        rrsets.dedup_by_key(|rrset| place(rrset));
    }
    let mut zone = CutZone::default();
    let mut open: Option<PackWriter> = None;
    for owner_rrsets in rrsets.chunk_by(|left, right| left.owner == right.owner) {
        let owner = &owner_rrsets[0].owner;
        let octets: usize = owner_rrsets.iter().map(item_octets).sum();
        if !owner.is_at_or_below(apex) || octets > OWNER_OCTETS_MAX {
            zone.refused.push(owner.clone());
            continue;
        }
        if open.as_ref().is_some_and(|writer| is_cut_before(writer, owner, octets)) {
            zone.packs.extend(open.take().map(close));
        }
        let writer = open.get_or_insert_with(|| PackWriter::base(apex.clone()));
        for rrset in owner_rrsets {
            if writer.push(ItemRef::Put(rrset.as_ref())).is_err() {
                debug_assert!(false, "sorted, and at or below the apex");
            }
        }
        zone.name_count += 1;
    }
    zone.packs.extend(open.map(close));
    zone
}

/// Whether a pack ends before `owner`, whose RRsets take `octets`.
fn is_cut_before(writer: &PackWriter, owner: &Name, octets: usize) -> bool {
    let len = writer.len();
    if len + octets > PACK_OCTETS_TARGET * 3 / 2 {
        return true;
    }
    len >= PACK_OCTETS_TARGET / 2 && hash(owner) & CUT_MASK == 0
}

/// Returns what an RRset takes in a pack at most.
fn item_octets(rrset: &Rrset) -> usize {
    rrset_octets(rrset.owner.as_wire().len(), rrset.rdata.as_octets().len())
}

/// Ends a pack.
fn close(writer: PackWriter) -> CutPack {
    let octets = writer.finish();
    debug_assert!(octets.len() <= PACK_OCTETS_MAX);
    CutPack { octets }
}

/// Returns a hash of an owner name that is the same on every machine (FNV-1a).
fn hash(owner: &Name) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(owner.as_wire());
    let hash = hasher.finish();
    hash ^ (hash >> 29)
}

/// One owner name in 4,096 may begin a pack: some 250 KB apart.
const CUT_MASK: u64 = 0xfff;
const _: () = assert!(PACK_OCTETS_TARGET * 3 / 2 + PACK_HEAD_OCTETS_MAX < PACK_OCTETS_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::pack::Pack;
    use crate::record::RecordType;

    fn zone(count: u32) -> Vec<Rrset> {
        let apex = Rrset::new(name("example"), RecordType::SOA, 60, [[7; 22]]).unwrap();
        let hosts = (0..count).map(|index| host(index, 1));
        std::iter::once(apex).chain(hosts).collect()
    }

    fn host(index: u32, octet: u8) -> Rrset {
        let owner = name(&format!("h{index:06}.example"));
        Rrset::new(owner, RecordType::A, 60, [[octet; 4]]).unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_zone_in_any_order_is_cut_at_the_same_places() {
        let sorted = cut(&name("example"), zone(100_000));
        let mut rrsets = zone(100_000);
        rrsets.reverse();
        let reversed = cut(&name("example"), rrsets);
        assert!(sorted.packs.len() > 2, "{}", sorted.packs.len());
        assert!(sorted.packs.iter().all(|pack| pack.octets.len() <= PACK_OCTETS_MAX));
        let octets = |zone: &CutZone| -> Vec<Vec<u8>> {
            zone.packs.iter().map(|pack| pack.octets.clone()).collect()
        };
        assert!(octets(&sorted) == octets(&reversed));
        assert_eq!(sorted.name_count, 100_001);
        assert!(sorted.refused.is_empty());
    }

    #[test]
    fn where_a_zone_is_cut_is_the_same_on_every_machine() {
        assert_eq!(hash(&name("example")), 0x2330_7539_463e_3aba);
    }

    #[test]
    fn one_changed_name_changes_one_pack() {
        let before = cut(&name("example"), zone(100_000));
        let mut rrsets = zone(100_000);
        rrsets[50_001] = host(50_000, 2);
        rrsets.push(host(999_999, 1));
        let after = cut(&name("example"), rrsets);
        let same = after
            .packs
            .iter()
            .filter(|pack| before.packs.iter().any(|other| other.octets == pack.octets));
        assert!(same.count() + 2 >= before.packs.len());
    }

    #[test]
    fn a_record_outside_the_zone_is_refused_and_the_rest_is_cut() {
        let mut rrsets = zone(3);
        rrsets.push(Rrset::new(name("other.test"), RecordType::A, 60, [[1; 4]]).unwrap());
        let zone = cut(&name("example"), rrsets);
        assert_eq!(zone.refused, [name("other.test")]);
        let count = |pack: &CutPack| Pack::check(&pack.octets).unwrap().item_count();
        assert_eq!(zone.packs.iter().map(count).sum::<u32>(), 4);
    }
}
