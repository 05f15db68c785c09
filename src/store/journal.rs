//! The journal: what one commit of [`DnsStore`](super::DnsStore) changed, as followers read it.
//!
//! Each commit writes its entry under one key; the engine's change feed carries every value that
//! the key ever had. An import says only that the zone was replaced: a follower reads the zone.
//!
//! An entry is a version octet, a tag (64 bits) and, per zone: apex (length octet, wire form),
//! serial (32 bits), digest (24 octets), kind (octet), and for changes their count (32 bits) and
//! each: operation (octet), type (16 bits), owner (length octet, wire form), and for a put TTL (32
//! bits), length (32 bits), RDATA list. The tag is random: two lines of commits that parted, one of
//! a backup that was put back for instance, never have the same tag at the same revision.
//!
//! Version 1 had neither tag nor digest, and marked changed settings. What it said of a zone that
//! changed is read as "replaced", since there is no digest to check the changes by.
//!
//! **Invariant:** what is written reads back; octets that are no entry are an error.
//! **Not here:** the revisions, which the engine knows (`store::commits`).

use super::history::ZoneChange;
use super::kv::KvError;
use crate::feed::digest::Digest;
use crate::name::Name;
use crate::record::{Change, RdataList, RecordType, Rrset};

/// What one commit did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// A random number; 0 in entries of version 1.
    pub(super) tag: u64,
    /// The zones that it touched and that are, or were, served.
    pub(super) zones: Vec<JournalZone>,
}

/// What a commit did to one zone, without its revisions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct JournalZone {
    /// The apex.
    pub(super) apex: Name,
    /// The serial after the commit.
    pub(super) serial: u32,
    /// What is served of the zone after the commit comes to.
    pub(super) digest: Digest,
    /// What became of the records.
    pub(super) change: ZoneChange,
}

impl JournalZone {
    /// Says that a zone is no longer served.
    pub(super) fn removed(apex: Name, serial: u32) -> Self {
        Self { apex, serial, digest: Digest::default(), change: ZoneChange::Removed }
    }
}

impl Entry {
    /// Returns the entry of a commit that is being made.
    pub(super) fn new(zones: Vec<JournalZone>) -> Self {
        // 0 is kept for the entries that have none.
        Self { tag: rand::random_range(1..=u64::MAX), zones }
    }

    /// Writes the entry.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.tag.to_be_bytes());
        for zone in &self.zones {
            push_name(&mut out, &zone.apex);
            out.extend_from_slice(&zone.serial.to_be_bytes());
            out.extend_from_slice(&zone.digest.to_octets());
            match &zone.change {
                ZoneChange::Changes(changes) => {
                    out.push(KIND_CHANGES);
                    push_u32(&mut out, changes.len());
                    changes.iter().for_each(|change| push_change(&mut out, change));
                }
                ZoneChange::Replaced => out.push(KIND_REPLACED),
                ZoneChange::Removed => out.push(KIND_REMOVED),
            }
        }
        out
    }

    /// Reads an entry of any version.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(super) fn decode(octets: &[u8]) -> Result<Self, KvError> {
        let parse = || {
            let mut reader = JournalReader { rest: octets };
            let version = reader.u8()?;
            let tag = match version {
                VERSION_WITHOUT_DIGESTS => 0,
                VERSION => u64::from_be_bytes(*reader.take(8)?.first_chunk()?),
                _ => return None,
            };
            let mut zones = Vec::new();
            while !reader.rest.is_empty() {
                zones.push(read_zone(&mut reader, version)?);
            }
            Some(Self { tag, zones })
        };
        parse().ok_or(KvError::Unreadable { what: "a journal entry" })
    }
}

/// The version of this form.
const VERSION: u8 = 2;
/// The version that had neither tags nor digests.
const VERSION_WITHOUT_DIGESTS: u8 = 1;
/// Added to a kind by version 1 when settings changed.
const FLAG_SETTINGS: u8 = 0x80;
/// Kind: changes follow.
const KIND_CHANGES: u8 = 0;
/// Kind: replaced.
const KIND_REPLACED: u8 = 1;
/// Kind: removed.
const KIND_REMOVED: u8 = 2;
/// Operation: put.
const OPERATION_PUT: u8 = 0;
/// Operation: delete.
const OPERATION_DELETE: u8 = 1;

/// Appends one change.
fn push_change(out: &mut Vec<u8>, change: &Change) {
    let operation = match change {
        Change::Put(_) => OPERATION_PUT,
        Change::Delete { .. } => OPERATION_DELETE,
    };
    out.push(operation);
    out.extend_from_slice(&change.rtype().0.to_be_bytes());
    push_name(out, change.owner());
    if let Change::Put(rrset) = change {
        out.extend_from_slice(&rrset.ttl_s.to_be_bytes());
        push_u32(out, rrset.rdata.as_octets().len());
        out.extend_from_slice(rrset.rdata.as_octets());
    }
}

/// Appends a name; its 255 octets fit the length octet.
fn push_name(out: &mut Vec<u8>, name: &Name) {
    out.push(u8::try_from(name.as_wire().len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_wire());
}

/// Appends a count or length; the limits of a batch keep all of them below 32 bits.
fn push_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

/// Reads what a commit did to one zone.
fn read_zone(reader: &mut JournalReader<'_>, version: u8) -> Option<JournalZone> {
    let apex = reader.name()?;
    let serial = reader.u32()?;
    let has_digest = version != VERSION_WITHOUT_DIGESTS;
    let (mut digest, mut flags) = (Digest::default(), FLAG_SETTINGS);
    if has_digest {
        digest = Digest::from_octets(reader.take(Digest::OCTETS)?.first_chunk()?);
        flags = 0;
    }
    let change = match reader.u8()? & !flags {
        KIND_CHANGES => {
            let count = reader.u32()?;
            let changes = (0..count).map(|_| read_change(reader)).collect::<Option<_>>()?;
            if has_digest { ZoneChange::Changes(changes) } else { ZoneChange::Replaced }
        }
        KIND_REPLACED => ZoneChange::Replaced,
        KIND_REMOVED => ZoneChange::Removed,
        _ => return None,
    };
    Some(JournalZone { apex, serial, digest, change })
}

/// Reads one change.
fn read_change(reader: &mut JournalReader<'_>) -> Option<Change> {
    let operation = reader.u8()?;
    let rtype = RecordType(u16::from_be_bytes(*reader.take(2)?.first_chunk()?));
    let owner = reader.name()?;
    match operation {
        OPERATION_PUT => {
            let ttl_s = reader.u32()?;
            let len = reader.u32()?;
            let rdata = RdataList::from_octets(reader.take(len as usize)?).ok()?;
            Some(Change::Put(Rrset { owner, rtype, ttl_s, rdata }))
        }
        OPERATION_DELETE => Some(Change::Delete { owner, rtype }),
        _ => None,
    }
}

/// Reads from the front of octets.
struct JournalReader<'a> {
    /// What is not yet read.
    rest: &'a [u8],
}

impl<'a> JournalReader<'a> {
    /// Takes `len` octets.
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes an octet.
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Takes a 32-bit number.
    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
    }

    /// Takes a name.
    fn name(&mut self) -> Option<Name> {
        let len = self.u8()?;
        Name::from_wire(self.take(usize::from(len))?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_a_cut_one_is_an_error() {
        let apex = Name::from_text("example.com").unwrap();
        let put = Rrset::new(apex.clone(), RecordType::A, 60, [[192, 0, 2, 1]]).unwrap();
        let changes =
            vec![Change::Put(put), Change::Delete { owner: apex.clone(), rtype: RecordType::AAAA }];
        let zone = |change| JournalZone {
            apex: apex.clone(),
            serial: u32::MAX,
            digest: Digest { sum: u128::MAX - 7, records: 2 },
            change,
        };
        let zones = vec![
            zone(ZoneChange::Removed),
            zone(ZoneChange::Replaced),
            zone(ZoneChange::Changes(changes)),
        ];
        let entry = Entry::new(zones);
        assert_ne!(entry.tag, 0);
        let octets = entry.encode();
        assert_eq!(Entry::decode(&octets).unwrap(), entry);
        let empty = Entry::new(Vec::new());
        assert_eq!(Entry::decode(&empty.encode()).unwrap(), empty);
        let last_zone_at = Entry { tag: 1, zones: entry.zones[..2].to_vec() }.encode().len();
        for len in last_zone_at + 1..octets.len() {
            assert!(Entry::decode(&octets[..len]).is_err(), "{len}");
        }
        assert!(Entry::decode(&[VERSION + 1]).is_err());
    }

    #[test]
    fn an_entry_of_version_1_says_which_zones_to_read() {
        let octets = [
            &[1][..],
            b"\x09\x07example\x00\x00\x00\x00\x07\x80\x00\x00\x00\x02", // changes, settings
            b"\x00\x00\x01\x09\x07example\x00\x00\x00\x00\x3c\x00\x00\x00\x06\x00\x04\xc0\x00\x02\x01",
            b"\x01\x00\x1c\x09\x07example\x00",
            b"\x05\x03net\x00\x00\x00\x00\x01\x01", // replaced
            b"\x05\x03org\x00\x00\x00\x00\x00\x82", // removed, settings
        ]
        .concat();
        let zone = |apex: &str, serial, change| {
            let apex = Name::from_text(apex).unwrap();
            JournalZone { apex, serial, digest: Digest::default(), change }
        };
        let zones = vec![
            zone("example", 7, ZoneChange::Replaced),
            zone("net", 1, ZoneChange::Replaced),
            zone("org", 0, ZoneChange::Removed),
        ];
        assert_eq!(Entry::decode(&octets).unwrap(), Entry { tag: 0, zones });
    }
}
