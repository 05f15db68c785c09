//! What a zone denies names with: the owners of its NSEC and NSEC3 records, in order.
//!
//! Only signed zones have any. RFC 4034 section 6.1 (canonical order), RFC 5155 section 7.2 (hash
//! order).
//!
//! **Invariant:** every owner of such a record is in its order, but for occluded ones, which deny
//! nothing.
//! **Not here:** which proofs an answer needs (`answer::dnssec`).

use super::node::{NodeView, OCCLUDED};
use super::nsec3::{Hashing, NameHash, nsec3_key};
use super::order::{Key, Order, order_key};
use crate::record::RecordType;

/// What a zone denies names with.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    /// Owners of NSEC records, by [`order_key`].
    pub nsec: Order<Key>,
    /// Owners of NSEC3 records, by their hash.
    pub nsec3: Order<NameHash>,
    /// How names are hashed, if the apex has an NSEC3PARAM record.
    pub hashing: Option<Hashing>,
}

/// Collects the owners of a zone under construction.
#[derive(Debug, Default)]
pub(crate) struct DenialBuilder {
    /// Keys of NSEC owners.
    nsec: Vec<Key>,
    /// Keys of NSEC3 owners.
    nsec3: Vec<NameHash>,
}

impl DenialBuilder {
    /// Takes note of a node.
    pub(crate) fn push(&mut self, node: &NodeView<'_>) {
        let (nsec, nsec3) = keys_of(node);
        self.nsec.extend(nsec);
        self.nsec3.extend(nsec3);
    }

    /// Takes what another noted of the same zone.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.nsec.append(&mut other.nsec);
        self.nsec3.append(&mut other.nsec3);
    }

    /// Sorts what was noted; `node` is the finished node of the apex, whose canonical wire name is `apex`.
    pub(crate) fn finish(mut self, apex: &[u8], node: Option<&NodeView<'_>>) -> Denial {
        self.nsec.sort_unstable();
        self.nsec3.sort_unstable();
        self.nsec3.dedup();
        Denial {
            nsec: Order::from_sorted(self.nsec),
            nsec3: Order::from_sorted(self.nsec3),
            hashing: node.and_then(|node| Hashing::of(apex, node, None)),
        }
    }
}

/// Returns a node's keys in the two orders.
///
/// Occluded NSEC records deny nothing. NSEC3 records are children of the apex (RFC 5155 section 3); a
/// DNAME at the apex, which may have one (RFC 6672 section 2.3), does not hide them.
pub(crate) fn keys_of(node: &NodeView<'_>) -> (Option<Key>, Option<NameHash>) {
    let nsec = node.rrset(RecordType::NSEC).filter(|_| !node.has(OCCLUDED));
    let nsec = nsec.map(|_| order_key(node.prefix())[..].into());
    let nsec3 = node.rrset(RecordType::NSEC3).and_then(|_| nsec3_key(node.prefix()));
    (nsec, nsec3)
}
