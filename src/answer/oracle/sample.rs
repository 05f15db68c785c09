//! Small zones and questions drawn from octets, so that random tests and fuzzers share them.
//!
//! Few labels and types are drawn from, so that they meet: cuts, DNAMEs, alias chains and loops,
//! wildcards at several depths, ENTs, occluded data, zones below zones.
//!
//! **Invariant:** any octets make zones that [`crate::zone::build`] takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::Name;
use crate::record::{Change, RdataList, RecordType, Rrset, Soa};

/// Octets to draw from; zeros follow when they end.
#[derive(Clone, Debug)]
pub struct Draw<'a> {
    /// What is left.
    octets: &'a [u8],
}

/// A zone's apex and RRsets.
pub type ZoneData = (Name, Vec<Rrset>);

/// A question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// The name in wire form, in any case.
    pub qname: Vec<u8>,
    /// The type.
    pub qtype: RecordType,
    /// Whether DNSSEC records are wanted.
    pub is_dnssec_ok: bool,
}

impl<'a> Draw<'a> {
    /// Draws from `octets`.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets }
    }

    /// Whether all octets are used up.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Draws a number below `end`.
    pub fn below(&mut self, end: u8) -> u8 {
        let Some((first, rest)) = self.octets.split_first() else { return 0 };
        self.octets = rest;
        first.checked_rem(end).unwrap_or(0)
    }

    /// Draws one of several.
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.below(choices.len() as u8))]
    }

    /// Draws a name: up to three labels below an apex.
    fn wire_name(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        for _ in 0..self.below(4) {
            let label = self.one_of(LABELS);
            let label = if label == "long" { LONG_LABEL } else { label.as_bytes() };
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        }
        let apex = self.one_of(APEXES);
        wire.extend_from_slice(apex);
        wire
    }

    /// Draws a name for RDATA: in lower or in upper case, but one name always in the same.
    fn target(&mut self) -> Vec<u8> {
        let mut wire = self.wire_name();
        if wire.len().is_multiple_of(4) {
            wire.make_ascii_uppercase();
        }
        wire
    }

    /// Draws the RDATA of one record.
    fn rdata(&mut self, rtype: RecordType) -> Vec<u8> {
        match rtype {
            RecordType::A => vec![192, 0, 2, self.below(4)],
            RecordType::AAAA => [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[self.below(4)]].concat(),
            RecordType::TXT => vec![1, b'a' + self.below(4)],
            RecordType::MX => [vec![0, self.below(4)], self.target()].concat(),
            RecordType::SRV => [vec![0, 1, 0, 2, 0, 3], self.target()].concat(),
            RecordType::DS => [vec![0, self.below(4), 8, 2], vec![7; 32]].concat(),
            _ => self.target(),
        }
    }

    /// Draws an RRset of a zone; `None` if the name is not in it.
    fn rrset(&mut self, apex: &Name) -> Option<Rrset> {
        let owner = Name::from_wire(&self.wire_name()).ok()?;
        let rtype = self.one_of(TYPES);
        let records = match rtype {
            RecordType::CNAME | RecordType::DNAME => 1,
            _ => 1 + self.below(3),
        };
        let rdata: Vec<Vec<u8>> = (0..records).map(|_| self.rdata(rtype)).collect();
        if !owner.is_at_or_below(apex) {
            return None;
        }
        Rrset::new(owner, rtype, self.one_of(&[60, 300]), rdata).ok()
    }

    /// Draws zones with their RRsets: one of each owner and type, an SOA at each apex.
    pub fn zones(&mut self) -> Vec<ZoneData> {
        let apexes: BTreeSet<Name> =
            (0..=self.below(3)).filter_map(|_| Name::from_wire(self.one_of(APEXES)).ok()).collect();
        let mut zones = Vec::new();
        for apex in apexes {
            let mut sets = BTreeMap::new();
            for _ in 0..self.below(24) {
                if let Some(rrset) = self.rrset(&apex) {
                    sets.insert((rrset.owner.clone(), rrset.rtype), rrset);
                }
            }
            let mut rrsets: Vec<Rrset> = sets.into_values().collect();
            rrsets.extend(soa(&apex, self.one_of(&[60, 300])));
            zones.push((apex, rrsets));
        }
        zones
    }

    /// Draws a change of a zone other than of its SOA: any type, denial and signatures included.
    pub fn change(&mut self, apex: &Name) -> Option<Change> {
        let drawn = self.rrset(apex);
        let kind = self.below(8);
        let mut rrset = drawn?;
        let rdata = match kind {
            0 => {
                rrset.rtype = RecordType::NSEC;
                [&self.target()[..], &[0, 1, 0x40]].concat()
            }
            1 => {
                rrset.rtype = RecordType::NSEC3;
                let digit = self.one_of(b"0123cv");
                rrset.owner = apex.with_label(&[digit; 32]).ok()?;
                [&[1, 0, 0, 0, 0, 20][..], &[0x11; 20]].concat()
            }
            2 => {
                rrset.owner = apex.clone();
                rrset.rtype = RecordType::NSEC3PARAM;
                vec![1, 0, 0, 0, 0]
            }
            3 => {
                let covered = self.one_of(TYPES).0.to_be_bytes();
                rrset.rtype = RecordType::RRSIG;
                // One TTL at an owner: a signature's is that of what it covers.
                [&covered[..], &[13, 1], &[0; 14], apex.as_wire(), &[7]].concat()
            }
            _ => rrset.rdata.first().to_vec(),
        };
        rrset.rdata = RdataList::new([rdata]).ok()?;
        rrset.ttl_s = 300;
        if self.below(3) == 0 {
            return Some(Change::Delete { owner: rrset.owner, rtype: rrset.rtype });
        }
        Some(Change::Put(rrset))
    }

    /// Draws a question: for any name, or for one at or below an owner in the zones.
    pub fn question(&mut self, zones: &[ZoneData]) -> Question {
        let mut qname = self.wire_name();
        let zone = zones.get(usize::from(self.below(zones.len() as u8)));
        let place = usize::from(self.below(u8::MAX));
        let rrset = zone.map(|(_, rrsets)| &rrsets[place % rrsets.len()]);
        let kind = self.below(6);
        if let Some(rrset) = rrset.filter(|_| kind < 4) {
            qname = rrset.owner.as_wire().to_vec();
            for _ in 0..kind / 2 {
                let label = self.one_of(LABELS).as_bytes();
                qname.splice(..0, [&[label.len() as u8], label].concat());
            }
        }
        if self.below(8) == 1 {
            qname.make_ascii_uppercase();
        }
        let qtype = match (self.below(8), rrset) {
            (0, _) => self.one_of(QTYPES),
            (1..4, Some(rrset)) => rrset.rtype,
            _ => self.one_of(TYPES),
        };
        Question { qname, qtype, is_dnssec_ok: self.below(2) == 1 }
    }
}

/// Makes a zone's SOA record.
pub fn soa(apex: &Name, ttl_s: u32) -> Option<Rrset> {
    let names = b"\x02ns\x07example\0\x04Host\x07example\0";
    let soa = Soa { names, serial: 1, minimum_s: 100, ..Soa::default() };
    let rdata = RdataList::new([soa.to_rdata()]).ok()?;
    Some(Rrset { owner: apex.clone(), rtype: RecordType::SOA, ttl_s, rdata })
}

/// The labels of names; `long` stands for one of 63 octets.
const LABELS: &[&str] = &["a", "b", "*", "c", "a", "b", "*", "a", "b", "long"];
/// A label of the greatest length.
const LONG_LABEL: &[u8] = &[b'l'; 63];
/// The apexes of zones, the likelier ones more than once.
const APEXES: &[&[u8]] = &[
    b"\x07example\0",
    b"\x01a\x07example\0",
    b"\x07example\0",
    b"\x01b\x01a\x07example\0",
    b"\x05other\0",
    b"\x07example\0",
    b"\0",
];
/// The types of data, the likelier ones more than once.
const TYPES: &[RecordType] = &[
    RecordType::A,
    RecordType::NS,
    RecordType::CNAME,
    RecordType::DNAME,
    RecordType::CNAME,
    RecordType::A,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::MX,
    RecordType::DS,
    RecordType::SRV,
    RecordType::CNAME,
];
/// Further types of questions.
const QTYPES: &[RecordType] = &[
    RecordType::ANY,
    RecordType::RRSIG,
    RecordType::SOA,
    RecordType::NSEC,
    RecordType::NSEC3,
    RecordType::DNSKEY,
    RecordType(65_280),
];
