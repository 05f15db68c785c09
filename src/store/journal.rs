//! The journal: what one commit of [`DnsStore`](super::DnsStore) changed, as followers read it.
//!
//! Each commit writes its entry under one key; the engine's change feed carries every value that
//! the key ever had. An import says only that the zone was replaced: a follower reads the zone.
//!
//! An entry is a version octet and, per zone: apex (length octet, wire form), serial (32 bits),
//! kind (octet), and for changes their count (32 bits) and each: operation (octet), type (16 bits),
//! owner (length octet, wire form), and for a put TTL (32 bits), length (32 bits), RDATA list.
//!
//! **Invariant:** what is written reads back; octets that are no entry are an error.
//! **Not here:** the revisions, which the engine knows (`store::commits`).

use super::kv::KvError;
use crate::name::Name;
use crate::record::{Change, RdataList, RecordType, Rrset};

/// What a commit did to one zone, without its revisions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct JournalZone {
    /// The apex.
    pub(super) apex: Name,
    /// The serial after the commit.
    pub(super) serial: u32,
    /// Whether settings changed, too.
    pub(super) is_settings_changed: bool,
    /// What became of the records.
    pub(super) kind: ZoneCommitKind,
}

/// What a commit did to the records of one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ZoneCommitKind {
    /// These RRsets changed, the SOA always among them; a deleted SOA or NS RRset of the apex
    /// stands here as a put of the synthesised one that is served in its place.
    Changes(Vec<Change>),
    /// The zone is new, was enabled, or was replaced by an import: read it as a whole.
    Replaced,
    /// The zone was deleted or disabled: it is no longer served.
    Removed,
}

impl JournalZone {
    /// Says that a zone was deleted.
    pub(super) fn removed(apex: Name) -> Self {
        Self { apex, serial: 0, is_settings_changed: false, kind: ZoneCommitKind::Removed }
    }
}

/// The version of this form.
const VERSION: u8 = 1;
/// Added to a kind when settings changed.
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

/// Makes the journal entry of a commit.
pub(super) fn encode(zones: &[JournalZone]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for zone in zones {
        push_name(&mut out, &zone.apex);
        out.extend_from_slice(&zone.serial.to_be_bytes());
        let flags = if zone.is_settings_changed { FLAG_SETTINGS } else { 0 };
        match &zone.kind {
            ZoneCommitKind::Changes(changes) => {
                out.push(flags | KIND_CHANGES);
                push_u32(&mut out, changes.len());
                changes.iter().for_each(|change| push_change(&mut out, change));
            }
            ZoneCommitKind::Replaced => out.push(flags | KIND_REPLACED),
            ZoneCommitKind::Removed => out.push(flags | KIND_REMOVED),
        }
    }
    out
}

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

/// Reads a journal entry.
///
/// # Errors
/// [`KvError::Unreadable`].
pub(super) fn decode(octets: &[u8]) -> Result<Vec<JournalZone>, KvError> {
    let parse = || {
        let mut reader = Reader { rest: octets };
        if reader.u8()? != VERSION {
            return None;
        }
        let mut zones = Vec::new();
        while !reader.rest.is_empty() {
            zones.push(read_zone(&mut reader)?);
        }
        Some(zones)
    };
    parse().ok_or(KvError::Unreadable { what: "a journal entry" })
}

/// Reads what a commit did to one zone.
fn read_zone(reader: &mut Reader<'_>) -> Option<JournalZone> {
    let apex = reader.name()?;
    let serial = reader.u32()?;
    let kind = reader.u8()?;
    let is_settings_changed = kind & FLAG_SETTINGS != 0;
    let kind = match kind & !FLAG_SETTINGS {
        KIND_CHANGES => {
            let count = reader.u32()?;
            let changes = (0..count).map(|_| read_change(reader)).collect::<Option<_>>()?;
            ZoneCommitKind::Changes(changes)
        }
        KIND_REPLACED => ZoneCommitKind::Replaced,
        KIND_REMOVED => ZoneCommitKind::Removed,
        _ => return None,
    };
    Some(JournalZone { apex, serial, is_settings_changed, kind })
}

/// Reads one change.
fn read_change(reader: &mut Reader<'_>) -> Option<Change> {
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
struct Reader<'a> {
    /// What is not yet read.
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
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
        let zone = |is_settings_changed, kind| JournalZone {
            apex: apex.clone(),
            serial: u32::MAX,
            is_settings_changed,
            kind,
        };
        let zones = vec![
            zone(true, ZoneCommitKind::Removed),
            zone(false, ZoneCommitKind::Replaced),
            zone(true, ZoneCommitKind::Changes(changes)),
        ];
        let entry = encode(&zones);
        assert_eq!(decode(&entry).unwrap(), zones);
        assert_eq!(decode(&encode(&[])).unwrap(), []);
        let last_zone_at = encode(&zones[..2]).len();
        for len in last_zone_at + 1..entry.len() {
            assert!(decode(&entry[..len]).is_err(), "{len}");
        }
    }
}
