//! Proofs of denial of existence from a zone's own NSEC or NSEC3 records.
//!
//! RFC 4035 section 3.1.3 (NSEC), RFC 5155 section 7.2 (NSEC3). Nothing is proved without DO, or
//! in a zone that is not signed.
//!
//! Proofs are noted while the walk goes on, and written behind its last answer.
//!
//! **Invariant:** no proof record twice; a chain with holes yields less proof, never a failure.

use super::{Here, Walk};
use crate::limits::ALIAS_CHAIN_MAX;
use crate::message::{ExpandedName, Section};
use crate::record::RecordType;
use crate::wire::reply::Owner;
use crate::zone::Zone;
use crate::zone::node::NodeView;
use crate::zone::nsec3::{Hashing, NameHash, nsec3_prefix};
use crate::zone::order::{key_prefix, order_key};
use crate::zone::path::NamePath;

/// A record that the authority section will hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct DenialProof<'c> {
    /// The zone.
    zone: &'c Zone,
    /// The owner's node.
    node: NodeView<'c>,
    /// NSEC or NSEC3.
    rtype: RecordType,
}

/// Proofs of one answer. The last name takes three at most, each wildcard alias before it one.
pub(super) const PROOFS_MAX: usize = ALIAS_CHAIN_MAX + 3;

impl<'c> Walk<'_, '_, 'c> {
    /// Proves that a positive answer came from a wildcard: the name itself does not exist.
    pub(super) fn prove_synthesis(
        &mut self,
        zone: &'c Zone,
        here: Here<'_>,
        wildcard: Option<usize>,
    ) {
        let Some(encloser) = wildcard.filter(|_| self.is_dnssec_ok) else { return };
        match &zone.denial().hashing {
            Some(hashing) => self.cover_hash(zone, hashing, here.path, encloser + 1),
            None => self.cover_name(zone, here.path.wire()),
        }
    }

    /// Proves that neither a name nor a wildcard that would match it exists.
    pub(super) fn prove_missing(&mut self, zone: &'c Zone, path: &NamePath, encloser: usize) {
        if !self.is_dnssec_ok {
            return;
        }
        let Some(hashing) = &zone.denial().hashing else {
            self.cover_name(zone, path.wire());
            let mut wildcard = ExpandedName::new();
            let _ = wildcard.try_extend_from_slice(b"\x01*");
            // A name of 255 octets has no child, and none needs to be denied.
            if wildcard.try_extend_from_slice(path.suffix_at(encloser)).is_ok() {
                self.cover_name(zone, &wildcard);
            }
            return;
        };
        let encloser = self.prove_encloser(zone, hashing, path, encloser);
        if let Some(hash) = hashing.wildcard_hash(path, encloser, zone.apex_depth()) {
            self.cover_by_hash(zone, &hash);
        }
    }

    /// Proves that a name exists without the type (RFC 5155 sections 7.2.3 and 7.2.4).
    pub(super) fn prove_nodata(&mut self, zone: &'c Zone, path: &NamePath, node: &NodeView<'c>) {
        if !self.is_dnssec_ok {
            return;
        }
        let Some(hashing) = &zone.denial().hashing else {
            if node.rrset(RecordType::NSEC).is_some() {
                return self.prove_by(zone, node, RecordType::NSEC);
            }
            return self.cover_name(zone, path.wire());
        };
        if !self.match_hash(zone, &hashing.suffix_hash(path, path.depth(), zone.apex_depth())) {
            // Opt-out: the name has no NSEC3 record; its closest provable encloser has.
            self.prove_encloser(zone, hashing, path, path.depth().saturating_sub(1));
        }
    }

    /// Proves that a name matches a wildcard which has not the type.
    pub(super) fn prove_wildcard_nodata(
        &mut self,
        zone: &'c Zone,
        path: &NamePath,
        node: &NodeView<'c>,
        encloser: usize,
    ) {
        if !self.is_dnssec_ok {
            return;
        }
        let Some(hashing) = &zone.denial().hashing else {
            if node.rrset(RecordType::NSEC).is_some() {
                self.prove_by(zone, node, RecordType::NSEC);
            } else {
                let mut wildcard = ExpandedName::new();
                let _ = wildcard.try_extend_from_slice(b"\x01*");
                let _ = wildcard.try_extend_from_slice(path.suffix_at(encloser));
                self.cover_name(zone, &wildcard);
            }
            return self.cover_name(zone, path.wire());
        };
        self.prove_encloser(zone, hashing, path, encloser);
        if let Some(hash) = hashing.wildcard_hash(path, encloser, zone.apex_depth()) {
            self.match_hash(zone, &hash);
        }
    }

    /// Proves that a cut has no DS records: its own NSEC or NSEC3 record, or an opt-out span.
    pub(super) fn prove_no_ds(
        &mut self,
        zone: &'c Zone,
        path: &NamePath,
        cut: &NodeView<'c>,
        depth: usize,
    ) {
        let Some(hashing) = &zone.denial().hashing else {
            if cut.rrset(RecordType::NSEC).is_some() {
                return self.prove_by(zone, cut, RecordType::NSEC);
            }
            return;
        };
        if !self.match_hash(zone, &hashing.suffix_hash(path, depth, zone.apex_depth())) {
            self.prove_encloser(zone, hashing, path, depth - 1);
        }
    }

    /// Notes the NSEC record that covers a canonical name.
    fn cover_name(&mut self, zone: &'c Zone, wire: &[u8]) {
        let prefix = &wire[..wire.len() - zone.apex().as_wire().len()];
        let Some(key) = zone.denial().nsec.at_or_before(&order_key(prefix)) else { return };
        if let Some(node) = zone.node_of(&key_prefix(key)) {
            self.prove_by(zone, &node, RecordType::NSEC);
        }
    }

    /// Notes the closest encloser proof, of the closest one from `depth` upward that has an NSEC3
    /// record; returns its depth.
    fn prove_encloser(
        &mut self,
        zone: &'c Zone,
        hashing: &Hashing,
        path: &NamePath,
        depth: usize,
    ) -> usize {
        let apex_depth = zone.apex_depth();
        let mut depth = depth.max(apex_depth);
        // Ends at the apex, so it hashes as often as the name has labels in the zone.
        while !self.match_hash(zone, &hashing.suffix_hash(path, depth, apex_depth)) {
            if depth == apex_depth {
                break;
            }
            depth -= 1;
        }
        self.cover_hash(zone, hashing, path, depth + 1);
        depth
    }

    /// Notes the NSEC3 record that covers the suffix of `depth` labels.
    fn cover_hash(&mut self, zone: &'c Zone, hashing: &Hashing, path: &NamePath, depth: usize) {
        let depth = depth.min(path.depth());
        self.cover_by_hash(zone, &hashing.suffix_hash(path, depth, zone.apex_depth()));
    }

    /// Notes the NSEC3 record whose span holds a hash.
    fn cover_by_hash(&mut self, zone: &'c Zone, hash: &NameHash) {
        if let Some(key) = zone.denial().nsec3.at_or_before(hash) {
            self.prove_by_hash(zone, key);
        }
    }

    /// Notes the NSEC3 record of a hashed name; says whether it has one.
    fn match_hash(&mut self, zone: &'c Zone, hash: &NameHash) -> bool {
        let is_there = zone.denial().nsec3.at_or_before(hash) == Some(&hash[..]);
        if is_there {
            self.prove_by_hash(zone, hash);
        }
        is_there
    }

    /// Notes the NSEC3 record whose owner spells a hash.
    fn prove_by_hash(&mut self, zone: &'c Zone, hash: &[u8]) {
        if let Some(node) = zone.node_of(&nsec3_prefix(hash)) {
            self.prove_by(zone, &node, RecordType::NSEC3);
        }
    }

    /// Takes note of a node's NSEC or NSEC3 record, once.
    fn prove_by(&mut self, zone: &'c Zone, node: &NodeView<'c>, rtype: RecordType) {
        let is_noted = |proof: &DenialProof<'_>| {
            proof.rtype == rtype
                && proof.node.prefix() == node.prefix()
                && proof.zone.apex() == zone.apex()
        };
        if node.rrset(rtype).is_some() && !self.proofs.iter().any(is_noted) {
            let _ = self.proofs.try_push(DenialProof { zone, node: *node, rtype });
        }
    }

    /// Appends the noted records with their signatures.
    pub(super) fn push_proofs(&mut self) {
        while let Some(DenialProof { zone, node, rtype }) = self.proofs.pop_at(0) {
            let Some(entry) = node.rrset(rtype) else { continue };
            let apex = zone.apex().as_wire();
            let apex_at = match self.suffix_owner(apex) {
                Owner::Suffix { at, .. } | Owner::Elsewhere { at, .. } => Some(at),
                Owner::Written { .. } => None,
            };
            let owner = Owner::Written { prefix: node.prefix(), apex, apex_at };
            self.push(Section::Authority, &entry, owner, true);
        }
    }
}
