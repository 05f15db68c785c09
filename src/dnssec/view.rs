//! A zone's names in canonical order, each with what the zone is to it.
//!
//! **Invariant:** places rise in canonical order (RFC 4034 section 6.1); the RRsets of each rise by
//! type.

use std::collections::HashMap;

use crate::name::Name;
use crate::record::facts::AtCut;
use crate::record::{RecordType, Rrset};
use crate::zone::nsec3::nsec3_key;
use crate::zone::order::order_key;

/// A zone's names.
#[derive(Debug)]
pub(crate) struct SignedView<'a> {
    /// The apex.
    pub apex: &'a Name,
    /// The names.
    pub places: Vec<SignedName<'a>>,
    /// Where a name is.
    index: HashMap<&'a [u8], usize>,
}

/// A name that has RRsets.
#[derive(Debug)]
pub(crate) struct SignedName<'a> {
    /// The name.
    pub owner: &'a Name,
    /// Its RRsets.
    pub sets: Vec<&'a Rrset>,
    /// What the zone is to it.
    pub kind: NameKind<'a>,
}

/// What a zone is to a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NameKind<'a> {
    /// Authoritative for all of it.
    Data,
    /// Delegates it: authoritative for DS and NSEC alone.
    Cut,
    /// Not authoritative: it lies below a zone cut or a DNAME, which is named.
    Occluded(&'a Name),
    /// It is the owner of NSEC3 records and no name of the zone's data (RFC 5155 section 7.2.8).
    Nsec3,
}

impl<'a> SignedView<'a> {
    /// Puts a zone's RRsets, all of which are at or below the apex, in order.
    pub(crate) fn new(apex: &'a Name, rrsets: &'a [Rrset]) -> Self {
        let mut sets: Vec<&Rrset> = rrsets.iter().collect();
        let mut keys: HashMap<&[u8], Box<[u8]>> = HashMap::new();
        for set in &sets {
            let wire = set.owner.as_wire();
            keys.entry(wire).or_insert_with(|| order_key(&wire[..wire.len() - 1])[..].into());
        }
        sets.sort_by(|a, b| {
            let (left, right) = (a.owner.as_wire(), b.owner.as_wire());
            let by_name = if left == right { None } else { Some(keys[left].cmp(&keys[right])) };
            by_name.unwrap_or_else(|| a.rtype.cmp(&b.rtype))
        });
        let (mut places, mut index) = (Vec::new(), HashMap::with_capacity(keys.len()));
        let mut closed: Option<&Name> = None;
        for sets in sets.chunk_by(|a, b| a.owner == b.owner) {
            let owner = &sets[0].owner;
            closed = closed.filter(|above| owner.is_at_or_below(above));
            let place = SignedName::new(apex, owner, sets.to_vec(), closed);
            let closes = place.kind == NameKind::Cut || place.set(RecordType::DNAME).is_some();
            if closes && closed.is_none() {
                closed = Some(owner);
            }
            index.insert(owner.as_wire(), places.len());
            places.push(place);
        }
        debug_assert!(places.is_sorted_by(|a: &SignedName<'_>, b| a.owner < b.owner));
        Self { apex, places, index }
    }

    /// Returns the place of a name that has RRsets.
    pub(crate) fn place(&self, owner: &[u8]) -> Option<&SignedName<'a>> {
        self.index.get(owner).map(|index| &self.places[*index])
    }

    /// Returns an RRset of the apex.
    pub(crate) fn at_apex(&self, rtype: RecordType) -> Option<&'a Rrset> {
        self.place(self.apex.as_wire())?.set(rtype)
    }

    /// Iterates over the places whose names exist for the zone: not occluded, not hashes.
    pub(crate) fn named(&self) -> impl Iterator<Item = &SignedName<'a>> {
        self.places.iter().filter(|place| matches!(place.kind, NameKind::Data | NameKind::Cut))
    }
}

impl<'a> SignedName<'a> {
    /// Makes a place below `closed`, if that is given.
    pub(crate) fn new(
        apex: &Name,
        owner: &'a Name,
        sets: Vec<&'a Rrset>,
        closed: Option<&'a Name>,
    ) -> Self {
        let has = |rtype| sets.iter().any(|set| set.rtype == rtype);
        let prefix = &owner.as_wire()[..owner.as_wire().len() - apex.as_wire().len()];
        let is_hash = has(RecordType::NSEC3)
            && nsec3_key(prefix).is_some()
            && sets.iter().all(|set| matches!(set.rtype, RecordType::NSEC3 | RecordType::RRSIG));
        let kind = match closed {
            _ if is_hash => NameKind::Nsec3,
            Some(above) => NameKind::Occluded(above),
            None if has(RecordType::NS) && owner != apex => NameKind::Cut,
            None => NameKind::Data,
        };
        Self { owner, sets, kind }
    }

    /// Returns an RRset.
    pub(crate) fn set(&self, rtype: RecordType) -> Option<&'a Rrset> {
        self.sets.iter().find(|set| set.rtype == rtype).copied()
    }

    /// Whether an RRset of a type must be signed here, else must not (RFC 4035 section 2.2).
    pub(crate) fn is_signed(&self, rtype: RecordType) -> bool {
        match self.kind {
            NameKind::Data | NameKind::Nsec3 => rtype != RecordType::RRSIG,
            NameKind::Cut => rtype.at_cut() == AtCut::Signed,
            NameKind::Occluded(_) => false,
        }
    }

    /// Returns the types of a bitmap, without NSEC and RRSIG (RFC 4035 section 2.3).
    pub(crate) fn types(&self) -> Vec<RecordType> {
        let is_own = |rtype: RecordType| match self.kind {
            NameKind::Cut => matches!(rtype.at_cut(), AtCut::Signed | AtCut::Unsigned),
            NameKind::Data => true,
            NameKind::Occluded(_) | NameKind::Nsec3 => false,
        };
        let is_told = |rtype: &RecordType| {
            !matches!(*rtype, RecordType::NSEC | RecordType::RRSIG) && is_own(*rtype)
        };
        self.sets.iter().map(|set| set.rtype).filter(is_told).collect()
    }
}
