//! The RRsets of one node, between RRset form and a node's entries.
//!
//! RRSIG records are filed with the RRset that they cover, so that an answer to a query with the
//! DO bit takes both in one go; their TTL is then the covered RRset's (RFC 4034 section 3).
//!
//! **Not here:** flags that depend on other nodes (`zone::build`, `zone::edit`).

use super::InsertError;
use super::node::{CNAME, DNAME, EntryView, NSEC3_ONLY, NodeView, write_entry};
use super::prepare::{self, Preparer, expand_rdata};
use crate::name::Name;
use crate::record::rrset::{RdataIter, check_list};
use crate::record::{RdataList, RecordType, Rrset, RrsetRef};

/// The RRsets of one owner, in RDATA list form; buffers are kept when it is cleared.
#[derive(Debug, Default)]
pub(crate) struct NodeSets {
    /// Type, TTL, and where in `octets` the list stands.
    sets: Vec<(RecordType, u32, std::ops::Range<usize>)>,
    /// The lists, one after the other.
    octets: Vec<u8>,
    /// Writes bodies.
    preparer: Preparer,
    /// A body under construction.
    body: Vec<u8>,
    /// Signatures under construction.
    sigs: Vec<u8>,
    /// Pointers under construction.
    pointers: Vec<u8>,
}

/// What the entries of a node say of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Written {
    /// How many entries there are.
    pub types: u16,
    /// [`DNAME`], [`CNAME`] and [`NSEC3_ONLY`], where they hold.
    pub flags: u8,
    /// Whether there is an NS RRset: a zone cut, unless at the apex.
    pub has_ns: bool,
    /// Whether there is an NSEC or NSEC3 RRset.
    pub has_denial: bool,
    /// How many RRsets there are, RRSIG counted as one.
    pub rrsets: u64,
    /// How many records there are.
    pub records: u64,
}

impl NodeSets {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.sets.clear();
        self.octets.clear();
    }

    /// Whether there is no RRset.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Adds an RRset in place of the one of the same type.
    pub(crate) fn put(&mut self, rtype: RecordType, ttl_s: u32, rdata: &[u8]) {
        self.remove(rtype);
        let start = self.octets.len();
        self.octets.extend_from_slice(rdata);
        self.sets.push((rtype, ttl_s, start..self.octets.len()));
    }

    /// Removes an RRset; says whether it was there.
    pub(crate) fn remove(&mut self, rtype: RecordType) -> bool {
        let before = self.sets.len();
        self.sets.retain(|set| set.0 != rtype);
        self.sets.len() < before
    }

    /// Takes all RRsets of a node.
    pub(crate) fn read(&mut self, node: &NodeView<'_>, owner: &Name) {
        self.clear();
        for rrset in rrsets_of(node, owner) {
            self.put(rrset.rtype, rrset.ttl_s, rrset.rdata.as_octets());
        }
    }

    /// Appends the entries of all RRsets, which [`check_rrset`] has found good, to `entries`.
    pub(crate) fn write(&mut self, owner: &[u8], entries: &mut Vec<u8>) -> Written {
        self.sets.sort_by_key(|set| set.0);
        let sigs = self.sets.iter().find(|set| set.0 == RecordType::RRSIG).cloned();
        let mut written = Written::default();
        for (rtype, ttl_s, range) in &self.sets {
            if *rtype == RecordType::RRSIG {
                continue;
            }
            self.body.clear();
            self.pointers.clear();
            self.sigs.clear();
            let list = &self.octets[range.clone()];
            let (body, pointers) = (&mut self.body, &mut self.pointers);
            let rdata = RdataIter::over(list);
            let records = self.preparer.prepare(owner, *rtype, *ttl_s, rdata, body, pointers);
            if let Some((_, _, range)) = &sigs {
                for sig in RdataIter::over(&self.octets[range.clone()]) {
                    if covered(sig) == Some(*rtype) {
                        write_sig(&mut self.sigs, *ttl_s, sig);
                    }
                }
            }
            let entry = EntryView {
                rtype: *rtype,
                records,
                body: &self.body,
                sigs: &self.sigs,
                pointers: &self.pointers,
            };
            write_entry(entries, &entry);
            written.count(*rtype, u64::from(records));
        }
        if let Some((_, ttl_s, range)) = sigs {
            written.rrsets += 1;
            written.records += RdataIter::over(&self.octets[range]).count() as u64;
            written.types += self.write_lone_sigs(ttl_s, entries);
        }
        let is_nsec3_only = written.types == 1
            && self.sets.iter().all(|set| matches!(set.0, RecordType::NSEC3 | RecordType::RRSIG));
        if is_nsec3_only && written.has_denial {
            written.flags |= NSEC3_ONLY;
        }
        written
    }

    /// Appends entries for signatures that cover a type of which there are no records.
    fn write_lone_sigs(&mut self, ttl_s: u32, entries: &mut Vec<u8>) -> u16 {
        let Some((_, _, range)) = self.sets.iter().find(|set| set.0 == RecordType::RRSIG) else {
            return 0;
        };
        let list = &self.octets[range.clone()];
        let mut lone: Vec<RecordType> = RdataIter::over(list).filter_map(covered).collect();
        lone.retain(|rtype| {
            *rtype == RecordType::RRSIG || !self.sets.iter().any(|set| set.0 == *rtype)
        });
        lone.sort();
        lone.dedup();
        for rtype in &lone {
            self.sigs.clear();
            for sig in RdataIter::over(list).filter(|sig| covered(sig) == Some(*rtype)) {
                write_sig(&mut self.sigs, ttl_s, sig);
            }
            let (body, pointers) = (&[], &[]);
            let entry = EntryView { rtype: *rtype, records: 0, body, sigs: &self.sigs, pointers };
            write_entry(entries, &entry);
        }
        lone.len() as u16
    }
}

impl Written {
    /// Counts an entry with records.
    fn count(&mut self, rtype: RecordType, records: u64) {
        self.types += 1;
        self.rrsets += 1;
        self.records += records;
        self.has_denial |= rtype.is_denial();
        match rtype {
            RecordType::NS => self.has_ns = true,
            RecordType::DNAME => self.flags |= DNAME,
            RecordType::CNAME => self.flags |= CNAME,
            _ => {}
        }
    }
}

/// Checks what a zone needs of an RRset wherever it stands.
///
/// # Errors
/// [`InsertError::OutOfZone`], [`InsertError::SoaNotAtApex`], [`InsertError::MetaType`],
/// [`InsertError::BadRdata`].
pub(crate) fn check_rrset(apex: &Name, rrset: &RrsetRef<'_>) -> Result<(), InsertError> {
    if !crate::name::is_at_or_below(rrset.owner, apex.as_wire()) {
        return Err(InsertError::OutOfZone { owner: canonical(rrset.owner), apex: apex.clone() });
    }
    if rrset.rtype.is_meta() {
        return Err(InsertError::MetaType { owner: canonical(rrset.owner), rtype: rrset.rtype });
    }
    if rrset.rtype == RecordType::SOA && rrset.owner != apex.as_wire() {
        return Err(InsertError::SoaNotAtApex { owner: canonical(rrset.owner) });
    }
    let fits = check_list(rrset.rdata).is_ok()
        && RdataIter::over(rrset.rdata).all(|rdata| match rrset.rtype {
            RecordType::RRSIG => covered(rdata).is_some(),
            rtype => rtype.compressible_names().is_none_or(|layout| layout.fits(rdata)),
        });
    if !fits {
        return Err(InsertError::BadRdata { owner: canonical(rrset.owner), rtype: rrset.rtype });
    }
    Ok(())
}

/// Returns all RRsets of a node, the RRSIG records as one.
pub(crate) fn rrsets_of(node: &NodeView<'_>, owner: &Name) -> Vec<Rrset> {
    let mut rrsets = Vec::new();
    let mut sigs: Vec<&[u8]> = Vec::new();
    let mut sigs_ttl_s = u32::MAX;
    for entry in node.entries() {
        for sig in prepare::records(entry.sigs) {
            sigs.push(sig.rdata);
            sigs_ttl_s = sigs_ttl_s.min(sig.ttl_s);
        }
        rrsets.extend(rrset_of(&entry, owner));
    }
    if let Ok(rdata) = RdataList::new(sigs) {
        let (owner, rtype) = (owner.clone(), RecordType::RRSIG);
        rrsets.push(Rrset { owner, rtype, ttl_s: sigs_ttl_s, rdata });
    }
    rrsets
}

/// Returns the RRset of an entry, unless it holds only signatures.
pub(crate) fn rrset_of(entry: &EntryView<'_>, owner: &Name) -> Option<Rrset> {
    let mut ttl_s = 0;
    let mut list = Vec::with_capacity(entry.body.len());
    for record in prepare::records(entry.body) {
        ttl_s = record.ttl_s;
        let len_at = list.len();
        list.extend_from_slice(&[0, 0]);
        expand_rdata(entry, &record, owner.as_wire(), &mut list);
        let len = (list.len() - len_at - 2) as u16;
        list[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    }
    let rdata = RdataList::from_octets(&list).ok()?;
    Some(Rrset { owner: owner.clone(), rtype: entry.rtype, ttl_s, rdata })
}

/// Returns the type that an RRSIG record covers, if its fixed part is whole.
fn covered(sig: &[u8]) -> Option<RecordType> {
    let fixed = sig.get(..18)?;
    Some(RecordType(u16::from_be_bytes([fixed[0], fixed[1]])))
}

/// Appends an RRSIG record.
fn write_sig(sigs: &mut Vec<u8>, ttl_s: u32, rdata: &[u8]) {
    prepare::write_head(sigs, RecordType::RRSIG, ttl_s);
    let len_at = sigs.len() - 2;
    sigs[len_at..].copy_from_slice(&(rdata.len() as u16).to_be_bytes());
    sigs.extend_from_slice(rdata);
}

/// Makes a name of octets that were one; the root where they were not.
pub(crate) fn canonical(wire: &[u8]) -> Name {
    Name::from_wire(wire).unwrap_or_else(|_| Name::root())
}
