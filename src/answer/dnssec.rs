//! Proofs of denial of existence from a zone's own NSEC or NSEC3 records.
//!
//! RFC 4035 section 3.1.3 (NSEC), RFC 5155 section 7.2 (NSEC3). Nothing is proved without DO, or
//! in a zone that is not signed.
//!
//! **Invariant:** no proof record twice; a chain with holes yields less proof, never a failure.

use super::{Here, Walk};
use crate::record::RecordType;
use crate::wire::reply::{Full, Owner, Section};
use crate::zone::Zone;
use crate::zone::denial::{Nsec3Params, key_prefix, nsec3_hash, nsec3_prefix, order_key};
use crate::zone::node::NodeView;
use crate::zone::path::NamePath;

impl Walk<'_, '_> {
    /// Proves that a positive answer came from a wildcard: the name itself does not exist.
    pub(super) fn prove_synthesis(
        &mut self,
        zone: &Zone,
        here: Here<'_>,
        wildcard: Option<usize>,
    ) -> Result<(), Full> {
        let Some(encloser) = wildcard.filter(|_| self.is_dnssec_ok) else { return Ok(()) };
        match &zone.denial().params {
            Some(params) => self.cover_hash(zone, params, here.path, encloser + 1),
            None => self.cover_name(zone, here.path.wire()),
        }
    }

    /// Proves that neither a name nor a wildcard that would match it exists.
    pub(super) fn prove_missing(
        &mut self,
        zone: &Zone,
        path: &NamePath,
        encloser: usize,
    ) -> Result<(), Full> {
        if !self.is_dnssec_ok {
            return Ok(());
        }
        let mut wildcard = crate::zone::prepare::ExpandedName::new();
        let _ = wildcard.try_extend_from_slice(b"\x01*");
        // A name of 255 octets has no child, and none needs to be denied.
        let is_name = wildcard.try_extend_from_slice(path.suffix_at(encloser)).is_ok();
        let Some(params) = &zone.denial().params else {
            self.cover_name(zone, path.wire())?;
            return if is_name { self.cover_name(zone, &wildcard) } else { Ok(()) };
        };
        let encloser = self.prove_encloser(zone, params, path, encloser)?;
        wildcard.truncate(2);
        let is_name = wildcard.try_extend_from_slice(path.suffix_at(encloser)).is_ok();
        if is_name {
            self.push_covering_hash(zone, &nsec3_hash(&wildcard, params))?;
        }
        Ok(())
    }

    /// Proves that a name exists without the type (RFC 5155 sections 7.2.3 and 7.2.4).
    pub(super) fn prove_nodata(
        &mut self,
        zone: &Zone,
        path: &NamePath,
        node: &NodeView<'_>,
    ) -> Result<(), Full> {
        if !self.is_dnssec_ok {
            return Ok(());
        }
        let Some(params) = &zone.denial().params else {
            if node.rrset(RecordType::NSEC).is_some() {
                return self.push_proof(zone, node, RecordType::NSEC);
            }
            return self.cover_name(zone, path.wire());
        };
        if !self.match_hash(zone, params, path.wire())? {
            // Opt-out: the name has no NSEC3 record; its closest provable encloser has.
            self.prove_encloser(zone, params, path, path.depth() - 1)?;
        }
        Ok(())
    }

    /// Proves that a name matches a wildcard which has not the type.
    pub(super) fn prove_wildcard_nodata(
        &mut self,
        zone: &Zone,
        path: &NamePath,
        node: &NodeView<'_>,
        encloser: usize,
    ) -> Result<(), Full> {
        if !self.is_dnssec_ok {
            return Ok(());
        }
        let mut wildcard = crate::zone::prepare::ExpandedName::new();
        let _ = wildcard.try_extend_from_slice(b"\x01*");
        let _ = wildcard.try_extend_from_slice(path.suffix_at(encloser));
        let Some(params) = &zone.denial().params else {
            if node.rrset(RecordType::NSEC).is_some() {
                self.push_proof(zone, node, RecordType::NSEC)?;
            } else {
                self.cover_name(zone, &wildcard)?;
            }
            return self.cover_name(zone, path.wire());
        };
        self.prove_encloser(zone, params, path, encloser)?;
        self.match_hash(zone, params, &wildcard).map(drop)
    }

    /// Proves that a cut has no DS records: its own NSEC or NSEC3 record, or an opt-out span.
    pub(super) fn prove_no_ds(
        &mut self,
        zone: &Zone,
        path: &NamePath,
        cut: &NodeView<'_>,
        depth: usize,
    ) -> Result<(), Full> {
        let Some(params) = &zone.denial().params else {
            if cut.rrset(RecordType::NSEC).is_some() {
                return self.push_proof(zone, cut, RecordType::NSEC);
            }
            return Ok(());
        };
        if !self.match_hash(zone, params, path.suffix_at(depth))? {
            let encloser = self.provable_encloser(zone, params, path, depth - 1);
            self.match_hash(zone, params, path.suffix_at(encloser))?;
            self.cover_hash(zone, params, path, encloser + 1)?;
        }
        Ok(())
    }

    /// Appends the NSEC record that covers a canonical name.
    fn cover_name(&mut self, zone: &Zone, wire: &[u8]) -> Result<(), Full> {
        let prefix = &wire[..wire.len() - zone.apex().as_wire().len()];
        let Some(key) = zone.denial().nsec.at_or_before(&order_key(prefix)) else { return Ok(()) };
        match self.node_of(zone, &key_prefix(key)) {
            Some(node) => self.push_proof(zone, &node, RecordType::NSEC),
            None => Ok(()),
        }
    }

    /// Appends the closest encloser proof; returns the depth of the encloser that it proves.
    fn prove_encloser(
        &mut self,
        zone: &Zone,
        params: &Nsec3Params,
        path: &NamePath,
        depth: usize,
    ) -> Result<usize, Full> {
        let encloser = self.provable_encloser(zone, params, path, depth);
        self.match_hash(zone, params, path.suffix_at(encloser))?;
        self.cover_hash(zone, params, path, encloser + 1)?;
        Ok(encloser)
    }

    /// Returns the depth of the closest encloser, from `depth` upward, that has an NSEC3 record.
    ///
    /// Ends at the apex, so it hashes as often as the name has labels in the zone.
    fn provable_encloser(
        &mut self,
        zone: &Zone,
        params: &Nsec3Params,
        path: &NamePath,
        depth: usize,
    ) -> usize {
        let mut depth = depth.max(zone.apex_depth());
        while depth > zone.apex_depth() {
            let hash = nsec3_hash(path.suffix_at(depth), params);
            if zone.denial().nsec3.at_or_before(&hash) == Some(&hash[..]) {
                break;
            }
            depth -= 1;
        }
        depth
    }

    /// Appends the NSEC3 record that covers the suffix of `depth` labels.
    fn cover_hash(
        &mut self,
        zone: &Zone,
        params: &Nsec3Params,
        path: &NamePath,
        depth: usize,
    ) -> Result<(), Full> {
        let hash = nsec3_hash(path.suffix_at(depth.min(path.depth())), params);
        self.push_covering_hash(zone, &hash)
    }

    /// Appends the NSEC3 record whose span holds a hash.
    fn push_covering_hash(&mut self, zone: &Zone, hash: &[u8]) -> Result<(), Full> {
        let Some(key) = zone.denial().nsec3.at_or_before(hash) else { return Ok(()) };
        match self.node_of(zone, &nsec3_prefix(key)) {
            Some(node) => self.push_proof(zone, &node, RecordType::NSEC3),
            None => Ok(()),
        }
    }

    /// Appends the NSEC3 record of a name; says whether it has one.
    fn match_hash(&mut self, zone: &Zone, params: &Nsec3Params, wire: &[u8]) -> Result<bool, Full> {
        let hash = nsec3_hash(wire, params);
        if zone.denial().nsec3.at_or_before(&hash) != Some(&hash[..]) {
            return Ok(false);
        }
        self.push_covering_hash(zone, &hash)?;
        Ok(true)
    }

    /// Looks up the node that has `prefix` in front of the apex.
    fn node_of<'z>(&mut self, zone: &'z Zone, prefix: &[u8]) -> Option<NodeView<'z>> {
        let mut wire = crate::zone::prepare::ExpandedName::new();
        wire.try_extend_from_slice(prefix).ok()?;
        wire.try_extend_from_slice(zone.apex().as_wire()).ok()?;
        self.other.set_canonical(&wire, zone.seed());
        zone.node_at(self.other, self.other.depth())
    }

    /// Appends a node's NSEC or NSEC3 record with its signatures, once.
    fn push_proof(
        &mut self,
        zone: &Zone,
        node: &NodeView<'_>,
        rtype: RecordType,
    ) -> Result<(), Full> {
        let Some(entry) = node.rrset(rtype).filter(|_| self.proofs.add(node)) else {
            return Ok(());
        };
        let apex = zone.apex().as_wire();
        let apex_at = match self.suffix_owner(apex) {
            Owner::Suffix { at, .. } | Owner::Elsewhere { at, .. } => Some(at),
            Owner::Written { .. } => None,
        };
        let owner = Owner::Written { prefix: node.prefix(), apex, apex_at };
        self.message.push(Section::Authority, &entry, owner, true)?;
        Ok(())
    }
}
