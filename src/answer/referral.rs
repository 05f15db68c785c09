//! Referrals: the NS records of a zone cut, and the addresses that are needed to follow them.
//!
//! RFC 1034 section 4.3.2 step 3b, RFC 9471 (glue), RFC 4035 section 3.1.4 (DS or its absence).
//!
//! **Invariant:** glue that the referral is useless without is there, or TC is set.

use arrayvec::ArrayVec;

use super::{FLAG_AA, FLAG_TC, Here, Step, Walk, rcode};
use crate::limits::REFERRAL_GLUE_NAMES_MAX;
use crate::message::Full;
use crate::message::{ExpandedName, RECORD_HEAD_LEN, Section};
use crate::name::is_at_or_below;
use crate::record::RecordType;
use crate::wire::kind::ReplyKind;
use crate::wire::reply::Owner;
use crate::zone::Zone;
use crate::zone::node::{EntryView, NodeView};
use crate::zone::prepare::{expand_name, owner_pointer, records};

impl<'c> Walk<'_, '_, 'c> {
    /// Answers for a name at or below a zone cut.
    pub(super) fn refer_or_answer_ds(
        &mut self,
        zone: &'c Zone,
        here: Here<'_>,
        cut: &NodeView<'c>,
        depth: usize,
    ) -> Step {
        // The DS records of a cut belong to the parent (RFC 4035 section 3.1.4.1).
        if self.question.qtype == RecordType::DS && depth == here.path.depth() {
            let owner = self.suffix_owner(here.path.wire());
            match cut.rrset(RecordType::DS) {
                Some(ds) => drop(self.push(Section::Answer, &ds, owner, self.is_dnssec_ok)),
                None => {
                    self.kind = ReplyKind::NoData;
                    self.push_soa(zone);
                    self.prove_nodata(zone, here.path, cut);
                }
            }
            return Step::Done(rcode::NOERROR);
        }
        if !here.is_alias {
            self.flags &= !FLAG_AA;
        }
        self.kind = ReplyKind::Referral;
        self.refer(zone, here, cut, depth);
        Step::Done(rcode::NOERROR)
    }

    /// Appends the referral.
    fn refer(&mut self, zone: &'c Zone, here: Here<'_>, cut: &NodeView<'c>, depth: usize) {
        let Some(ns) = cut.rrset(RecordType::NS) else { return };
        let cut_wire = here.path.suffix_at(depth);
        let owner = self.suffix_owner(cut_wire);
        let start = self.push(Section::Authority, &ns, owner, false);
        if self.is_dnssec_ok {
            // Without signatures DS records prove nothing: the zone is not signed.
            match cut.rrset(RecordType::DS).filter(|ds| !ds.sigs.is_empty()) {
                Some(ds) => drop(self.push(Section::Authority, &ds, owner, true)),
                None => self.prove_no_ds(zone, here.path, cut, depth),
            }
            self.push_proofs();
        }
        if self.flags & FLAG_TC == 0 {
            let cut = (cut, here.path.hash_at(depth));
            if self.push_glue(zone, &ns, cut, cut_wire, owner, start).is_err() {
                self.flags |= FLAG_TC;
            }
        }
    }

    /// Appends the addresses of the name servers that the zone knows.
    ///
    /// Those inside the delegated zone go first and are required (RFC 9471 section 3.1).
    fn push_glue(
        &mut self,
        zone: &'c Zone,
        ns: &EntryView<'_>,
        (cut_node, cut_hash): (&NodeView<'c>, u64),
        cut: &[u8],
        owner: Owner<'_>,
        start: usize,
    ) -> Result<(), Full> {
        let mut target = ExpandedName::new();
        // Where the target of each other record stands, in the body and in the message.
        let mut others = ArrayVec::<(usize, u16), REFERRAL_GLUE_NAMES_MAX>::new();
        let mut place = start;
        for record in records(ns.body).take(REFERRAL_GLUE_NAMES_MAX) {
            let name_at = record.at + RECORD_HEAD_LEN;
            let at = match owner {
                // Only there the records keep the places that they were prepared with.
                Owner::Suffix { .. } => start + name_at,
                _ => place + RECORD_HEAD_LEN,
            };
            if !matches!(owner, Owner::Suffix { .. }) {
                place = self.message.next_record(place);
            }
            if let Some(label) = child_label(record.rdata, cut.len()) {
                let node = zone.child_of(cut_node, cut_hash, label);
                self.push_addresses_of(node, at as u16)?;
                continue;
            }
            expand_name(ns.body, name_at, cut, &mut target);
            self.other.set_any_case(&target, zone.seed());
            if is_at_or_below(self.other.wire(), cut) {
                self.push_addresses(zone, at as u16)?;
            } else if is_at_or_below(self.other.wire(), zone.apex().as_wire()) {
                let _ = others.try_push((name_at, at as u16));
            }
        }
        for (name_at, at) in others {
            expand_name(ns.body, name_at, cut, &mut target);
            self.other.set_any_case(&target, zone.seed());
            if self.push_addresses(zone, at).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Appends the addresses of `self.other`, a name that stands at `at`.
    fn push_addresses(&mut self, zone: &'c Zone, at: u16) -> Result<(), Full> {
        let node = zone.node_at(self.other, self.other.depth());
        self.push_addresses_of(node, at)
    }

    /// Appends the addresses of a node whose name stands at `at`.
    fn push_addresses_of(&mut self, node: Option<NodeView<'c>>, at: u16) -> Result<(), Full> {
        let Some(node) = node else { return Ok(()) };
        let at = self.message.resolve_pointer(at);
        for rtype in [RecordType::A, RecordType::AAAA] {
            if let Some(entry) = node.rrset(rtype) {
                // Addresses hold no names that could lead into the owner's.
                debug_assert!(entry.pointers.is_empty());
                let owner = Owner::Elsewhere { at, name: &[] };
                self.message.push(Section::Additional, &entry, owner, self.is_dnssec_ok)?;
            }
        }
        Ok(())
    }
}

/// Returns the label of a name that was prepared as one label and a pointer to its RRset's owner:
/// that of a name server right below its zone cut, most often.
fn child_label(rdata: &[u8], owner_len: usize) -> Option<&[u8]> {
    let [len @ 1..=0x3f, rest @ ..] = rdata else { return None };
    let (label, pointer) = rest.split_at_checked(usize::from(*len))?;
    (*pointer == owner_pointer(owner_len).to_be_bytes()).then_some(label)
}
