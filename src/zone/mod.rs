//! One zone as an immutable snapshot.
//!
//! A zone is built once ([`ZoneBuilder`], [`build`]) or made from its predecessor
//! ([`Zone::edit`]), which shares all nodes that did not change. Readers need no lock.
//!
//! **Invariant:** a zone has exactly one SOA record at its apex; an edited zone answers exactly as one
//! built from scratch of the same RRsets.
//! **Not here:** which zone a name belongs to (`catalog`), what to answer (`answer`).

mod arena;
mod build;
pub(crate) mod denial;
mod edit;
pub(crate) mod find;
pub(crate) mod hash;
pub(crate) mod node;
pub mod nsec3;
pub(crate) mod order;
pub mod path;
pub(crate) mod prepare;
pub(crate) mod sets;
mod slots;
mod table;

pub(crate) use build::Totals;
pub use build::{ZoneBuilder, build};
pub use edit::EditReport;
pub use find::Found;
pub use hash::HashSeed;
pub(crate) use table::walk::NodeCursor;
pub(crate) use table::warm::Warming;

use crate::name::Name;
use crate::record::{RecordType, Rrset, Soa};
use denial::{Denial, DenialBuilder};
use node::{EntryView, NodeView};
use path::NamePath;
use table::Table;

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The apex.
    apex: Name,
    /// Labels of the apex.
    apex_depth: u8,
    /// Its hash.
    apex_hash: u64,
    /// Begins every hash.
    seed: HashSeed,
    /// The nodes.
    table: Table,
    /// Counts over the nodes.
    totals: Totals,
    /// The SOA record with the TTL of a negative answer.
    negative: NegativeSoa,
    /// The SOA's serial.
    serial: u32,
    /// Owners of NSEC or NSEC3 records in order, in a signed zone.
    denial: Denial,
}

/// The SOA record as negative answers carry it, in the form of `zone::prepare` with the apex as owner.
#[derive(Clone, Debug)]
pub(crate) struct NegativeSoa {
    /// The record.
    body: Box<[u8]>,
    /// Its signatures.
    sigs: Box<[u8]>,
    /// Its pointers.
    pointers: Box<[u8]>,
}

/// Why an RRset cannot enter a zone.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InsertError {
    /// The owner is not in the zone.
    #[error("{owner} is not at or below the apex {apex}")]
    OutOfZone {
        /// The owner.
        owner: Name,
        /// The apex.
        apex: Name,
    },
    /// The octets are not what the type says.
    #[error("the RDATA of {owner} {rtype} does not fit its type")]
    BadRdata {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
    /// A builder's input is not in canonical order.
    #[error("{owner} comes after a later name in canonical order (RFC 4034 section 6.1)")]
    OutOfOrder {
        /// The owner.
        owner: Name,
    },
    /// An SOA below the apex.
    #[error("an SOA at {owner}, which is not the apex (RFC 1035 section 5.2)")]
    SoaNotAtApex {
        /// The owner.
        owner: Name,
    },
    /// A type that never stands in a zone.
    #[error("{rtype} at {owner} is no type of data (RFC 6895 section 3.1)")]
    MetaType {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
    /// A change would leave the zone without its SOA, or with several.
    #[error("the apex {apex} needs exactly one SOA record (RFC 1035 section 5.2)")]
    SoaNeeded {
        /// The apex.
        apex: Name,
    },
}

/// Why RRsets make no zone.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// An RRset breaks a rule.
    #[error(transparent)]
    Rrset(InsertError),
    /// There is no SOA at the apex.
    #[error("no SOA record at the apex {apex} (RFC 1035 section 5.2)")]
    NoSoa {
        /// The apex.
        apex: Name,
    },
    /// There is more than one SOA record.
    #[error("more than one SOA record at the apex {apex} (RFC 1035 section 5.2)")]
    SoaNotSingle {
        /// The apex.
        apex: Name,
    },
}

impl Zone {
    /// Makes a zone of its finished parts.
    fn assemble(
        apex: Name,
        seed: HashSeed,
        table: Table,
        totals: Totals,
        denial: DenialBuilder,
    ) -> Result<Self, BuildError> {
        let hash = seed.name_hash(apex.as_wire());
        let node = table.find(hash, &[]);
        let denial = denial.finish(apex.as_wire(), node.as_ref());
        let Some(soa) = node.and_then(|node| node.rrset(RecordType::SOA)) else {
            return Err(BuildError::NoSoa { apex });
        };
        if soa.records != 1 {
            return Err(BuildError::SoaNotSingle { apex });
        }
        assert!(totals.names <= table.node_count(), "every owner has a node");
        assert!(totals.rrsets <= totals.records, "no RRset is empty");
        let (serial, negative) = (read_soa(&soa).serial, NegativeSoa::of(&soa));
        let (apex_depth, apex_hash) = (apex.label_count() as u8, hash);
        Ok(Self { apex, apex_depth, apex_hash, seed, table, totals, negative, serial, denial })
    }

    /// Returns the apex.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Returns for how many seconds the zone may be answered by who hears nothing new of it: its SOA's EXPIRE
    /// (RFC 1035 section 3.3.13, RFC 1034 section 4.3.5).
    pub fn expire_s(&self) -> u32 {
        let node = self.table.find(self.apex_hash, &[]);
        let soa = node.as_ref().and_then(|node| node.rrset(RecordType::SOA));
        debug_assert!(soa.is_some(), "every zone has one");
        soa.map_or(0, |soa| read_soa(&soa).expire_s)
    }

    /// Returns how many labels the apex has.
    pub(crate) fn apex_depth(&self) -> usize {
        usize::from(self.apex_depth)
    }

    /// Returns the SOA's serial (RFC 1982).
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Returns how many names have records.
    pub fn name_count(&self) -> u64 {
        self.totals.names
    }

    /// Returns how many RRsets there are.
    pub fn rrset_count(&self) -> u64 {
        self.totals.rrsets
    }

    /// Returns how many records there are.
    pub fn record_count(&self) -> u64 {
        self.totals.records
    }

    /// Returns the seed of the zone's hashes.
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Returns counts over all nodes.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns the SOA record of negative answers.
    pub(crate) fn negative_soa(&self) -> &NegativeSoa {
        &self.negative
    }

    /// Returns the order of denial of existence, empty in an unsigned zone.
    pub fn denial(&self) -> &Denial {
        &self.denial
    }

    /// Returns about how many octets of memory the zone takes.
    pub fn memory_octets(&self) -> u64 {
        self.table.memory_octets() + size_of::<Self>() as u64
    }

    /// Returns the apex's node.
    pub(crate) fn apex_node(&self) -> NodeView<'_> {
        self.table.find(self.apex_hash, &[]).expect("assemble found the apex's SOA")
    }

    /// Returns one RRset.
    pub fn rrset(&self, owner: &Name, rtype: RecordType) -> Option<Rrset> {
        self.rrsets_at(owner).into_iter().find(|rrset| rrset.rtype == rtype)
    }

    /// Returns all RRsets of one owner.
    pub(crate) fn rrsets_at(&self, owner: &Name) -> Vec<Rrset> {
        if !owner.is_at_or_below(&self.apex) {
            return Vec::new();
        }
        let mut path = NamePath::new();
        path.set_canonical(owner.as_wire(), self.seed);
        match self.node_at(&path, path.depth()) {
            Some(node) => sets::rrsets_of(&node, owner),
            None => Vec::new(),
        }
    }

    /// Iterates over all RRsets in no order.
    pub fn rrsets(&self) -> impl Iterator<Item = Rrset> + '_ {
        self.table.nodes().flat_map(|node| sets::rrsets_of(&node, &self.owner_of(&node)))
    }

    /// Returns the next node of a walk over all of them, in no order.
    pub(crate) fn next_node(&self, cursor: &mut NodeCursor) -> Option<NodeView<'_>> {
        self.table.next_node(cursor)
    }

    /// Returns the owner name of a node.
    pub(crate) fn owner_of(&self, node: &NodeView<'_>) -> Name {
        sets::canonical(&[node.prefix(), self.apex.as_wire()].concat())
    }

    /// Begins to read ahead of a look-up by the hash of its whole name.
    #[inline]
    pub(crate) fn warming(&self, hash: u64) -> Warming<'_> {
        Warming::new(&self.table, hash)
    }

    /// Returns the table of nodes.
    fn table(&self) -> &Table {
        &self.table
    }
}

impl NegativeSoa {
    /// Makes it from the apex's SOA.
    fn of(soa: &EntryView<'_>) -> Self {
        let with_ttl = |octets: &[u8], ttl_s: u32| {
            let mut octets: Box<[u8]> = octets.into();
            let starts: Vec<usize> = prepare::records(&octets).map(|record| record.at).collect();
            for at in starts {
                octets[at + 6..at + 10].copy_from_slice(&ttl_s.to_be_bytes());
            }
            octets
        };
        let ttl_s = prepare::records(soa.body).next().map_or(0, |record| record.ttl_s);
        let ttl_s = read_soa(soa).negative_ttl_s(ttl_s);
        Self {
            body: with_ttl(soa.body, ttl_s),
            sigs: with_ttl(soa.sigs, ttl_s),
            pointers: soa.pointers.into(),
        }
    }

    /// Views it as an entry whose owner is the apex.
    pub(crate) fn entry(&self) -> EntryView<'_> {
        EntryView {
            rtype: RecordType::SOA,
            records: 1,
            body: &self.body,
            sigs: &self.sigs,
            pointers: &self.pointers,
        }
    }
}

/// Reads the apex's SOA, its names compressed. [`sets::check_rrset`] has seen that it is one.
fn read_soa<'z>(entry: &EntryView<'z>) -> Soa<'z> {
    let record = prepare::records(entry.body).next();
    record.and_then(|record| Soa::read(record.rdata)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
