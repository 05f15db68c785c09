//! Streams a zone out of its packs and edits, in canonical order, each RRset in its last state.
//!
//! Base packs are read in place, without a copy. Delta packs and edits, which are few, are sorted
//! into one table first and laid over them.
//!
//! **Invariant:** what comes out rises in canonical order if the base packs do; a later pack or
//! edit overrides an earlier one.
//! **Not here:** building (`zone::build`), RDATA rules (`record`).

use std::collections::BTreeMap;

use crate::feed::items::ItemRef;
use crate::feed::pack::{Pack, PackProof, is_delta};
use crate::name::{Name, compare_canonical};
use crate::octets::DecodeError;
use crate::record::{Change, RecordType, Rrset, RrsetRef};

/// Why packs make no zone.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// A pack is malformed.
    #[error("pack {index}: {error}")]
    BadPack {
        /// Which pack, from zero.
        index: usize,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A pack of another zone.
    #[error("pack {index} is of the zone {found}")]
    WrongZone {
        /// Which pack, from zero.
        index: usize,
        /// Its zone.
        found: Name,
    },
    /// A base pack behind a delta, or one whose names do not follow the pack before.
    #[error("pack {index} is not in its place")]
    WrongPlace {
        /// Which pack, from zero.
        index: usize,
    },
}

/// Hands every RRset of the zone to `take`, in canonical order: of `packs` (bases, then deltas),
/// overridden by `edits`. Base packs are proven as they are read.
///
/// # Errors
/// [`MergeError`]; what was handed out is then not the zone.
pub fn for_each_rrset<P: AsRef<[u8]>>(
    apex: &Name,
    packs: &[P],
    edits: &[Change],
    mut take: impl FnMut(RrsetRef<'_>),
) -> Result<(), MergeError> {
    let mut told = Vec::new();
    let mut take = |rrset: RrsetRef<'_>| {
        if cfg!(debug_assertions) {
            let is_first = told.is_empty();
            assert!(is_first || compare_canonical(&told, rrset.owner).is_le(), "owner names rise");
            told.clear();
            told.extend_from_slice(rrset.owner);
        }
        take(rrset);
    };
    let bases = packs.iter().position(|pack| is_delta(pack.as_ref())).unwrap_or(packs.len());
    let mut overlay = Overlay::default();
    for (index, octets) in packs.iter().enumerate().skip(bases) {
        let mut delta = open(apex, index, octets.as_ref())?;
        if !delta.is_delta() {
            return Err(MergeError::WrongPlace { index });
        }
        while let Some(item) = delta.next().map_err(|error| MergeError::BadPack { index, error })? {
            item.to_change().into_iter().for_each(|change| overlay.put(change));
        }
    }
    edits.iter().for_each(|change| overlay.put(change.clone()));
    let mut overlay = overlay.0.into_iter().peekable();
    let mut last_owner = Vec::new();
    for (index, octets) in packs.iter().enumerate().take(bases) {
        let mut base = open(apex, index, octets.as_ref())?;
        let mut is_first = !last_owner.is_empty();
        while let Some(item) = base.next().map_err(|error| MergeError::BadPack { index, error })? {
            let ItemRef::Put(rrset) = item else { continue };
            if is_first && compare_canonical(&last_owner, rrset.owner).is_gt() {
                return Err(MergeError::WrongPlace { index });
            }
            is_first = false;
            if overlay.peek().is_none() || !lay_over(&mut overlay, rrset, &mut take) {
                take(rrset);
            }
        }
        last_owner.clear();
        last_owner.extend_from_slice(base.owner());
    }
    overlay.filter_map(|(_, rrset)| rrset).for_each(|rrset| take(rrset.as_ref()));
    Ok(())
}

/// Begins to prove a pack, which must be of the zone.
fn open<'a>(apex: &Name, index: usize, octets: &'a [u8]) -> Result<PackProof<'a>, MergeError> {
    let (found, proof) =
        Pack::prove(octets).map_err(|error| MergeError::BadPack { index, error })?;
    if found == *apex { Ok(proof) } else { Err(MergeError::WrongZone { index, found }) }
}

/// Hands out what the overlay has before `rrset`; says whether it overrides `rrset` too.
fn lay_over(
    overlay: &mut std::iter::Peekable<OverlayIter>,
    rrset: RrsetRef<'_>,
    take: &mut impl FnMut(RrsetRef<'_>),
) -> bool {
    let is_due = |(owner, rtype): &(Name, RecordType)| {
        let by_owner = compare_canonical(owner.as_wire(), rrset.owner);
        by_owner.then_with(|| rtype.cmp(&rrset.rtype)).is_le()
    };
    let mut is_overridden = false;
    while let Some(((owner, rtype), layer)) = overlay.next_if(|(place, _)| is_due(place)) {
        is_overridden = owner.as_wire() == rrset.owner && rtype == rrset.rtype;
        if let Some(layer) = layer {
            take(layer.as_ref());
        }
    }
    is_overridden
}

/// What an overlay is read by.
type OverlayIter = std::collections::btree_map::IntoIter<(Name, RecordType), Option<Rrset>>;

/// The last state of each RRset that deltas and edits speak of; `None` if it is gone.
#[derive(Default)]
struct Overlay(BTreeMap<(Name, RecordType), Option<Rrset>>);

impl Overlay {
    /// Overrides one RRset.
    fn put(&mut self, change: Change) {
        match change {
            Change::Put(rrset) => self.0.insert((rrset.owner.clone(), rrset.rtype), Some(rrset)),
            Change::Delete { owner, rtype } => self.0.insert((owner, rtype), None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::pack::PackWriter;

    fn rrset(owner: &str, rtype: u16, octet: u8) -> Rrset {
        let owner = Name::from_text(owner).expect(owner);
        Rrset::new(owner, RecordType(rtype), 60, [[octet]]).expect("an RRset")
    }

    fn put(owner: &str, rtype: u16, octet: u8) -> Change {
        Change::Put(rrset(owner, rtype, octet))
    }

    fn delete(owner: &str, rtype: u16) -> Change {
        Change::Delete { owner: Name::from_text(owner).expect(owner), rtype: RecordType(rtype) }
    }

    fn pack(mut writer: PackWriter, changes: &[Change]) -> Vec<u8> {
        for change in changes {
            writer.push(crate::feed::items::item_of(change)).expect("in order");
        }
        writer.finish()
    }

    fn merged(packs: &[Vec<u8>], edits: &[Change]) -> Result<Vec<Rrset>, MergeError> {
        let mut rrsets = Vec::new();
        for_each_rrset(&apex(), packs, edits, |rrset| {
            rrsets.extend(match ItemRef::Put(rrset).to_change() {
                Some(Change::Put(rrset)) => Some(rrset),
                _ => None,
            });
        })?;
        Ok(rrsets)
    }

    fn apex() -> Name {
        Name::from_text("example").expect("a name")
    }

    #[test]
    fn a_later_layer_overrides_an_earlier_one_and_order_is_kept() {
        let first = [put("example", 6, 0), put("a.example", 1, 0), put("a.example", 16, 0)];
        let second = [put("c.example", 1, 0), put("d.example", 1, 0)];
        let delta = [put("a.example", 1, 1), delete("a.example", 16), put("b.example", 1, 1)];
        let packs = [
            pack(PackWriter::base(apex()), &first),
            pack(PackWriter::base(apex()), &second),
            pack(PackWriter::delta(apex()), &delta),
        ];
        let edits = [
            delete("d.example", 1),
            put("b.example", 1, 2),
            put("z.example", 1, 2),
            delete("x.example", 1),
        ];
        let expected = [
            rrset("example", 6, 0),
            rrset("a.example", 1, 1),
            rrset("b.example", 1, 2),
            rrset("c.example", 1, 0),
            rrset("z.example", 1, 2),
        ];
        assert_eq!(merged(&packs, &edits), Ok(expected.to_vec()));
    }

    #[test]
    fn packs_out_of_place_or_of_another_zone_are_refused() {
        let early = pack(PackWriter::base(apex()), &[put("a.example", 1, 0)]);
        let late = pack(PackWriter::base(apex()), &[put("b.example", 1, 0)]);
        let delta = pack(PackWriter::delta(apex()), &[delete("b.example", 1)]);
        let other = pack(PackWriter::base(Name::root()), &[put("b.example", 1, 0)]);
        let wrong_place = Err(MergeError::WrongPlace { index: 1 });
        assert_eq!(merged(&[late.clone(), early.clone()], &[]), wrong_place);
        assert_eq!(merged(&[delta, early.clone()], &[]), wrong_place);
        let wrong_zone = Err(MergeError::WrongZone { index: 1, found: Name::root() });
        assert_eq!(merged(&[early.clone(), other], &[]), wrong_zone);
        let cut = late[..late.len() - 1].to_vec();
        assert!(matches!(merged(&[early, cut], &[]), Err(MergeError::BadPack { index: 1, .. })));
    }
}
