//! The manifest: one zone at one revision, and the packs that hold it.
//!
//! Base packs come first, each one contiguous run of owner names in canonical order; delta packs
//! follow, oldest first. A later pack overrides an earlier one.
//!
//! **Invariant:** bases before deltas, pack numbers distinct, and each delta begins where the one
//! before it ended, or has the same two revisions (one big change in several packs); the last one
//! ends at the manifest's revision.
//! **Not here:** the packs' content (`feed::pack`), when to fold (`export`).

use std::collections::HashSet;

use crate::feed::Revision;
use crate::limits::{
    MANIFEST_OCTETS_MAX, MANIFEST_PACKS_MAX, MANIFEST_SETTINGS_OCTETS_MAX, PACK_OCTETS_MAX,
};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, put_counted, put_varint};

/// One zone at one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The zone.
    pub apex: Name,
    /// Whether it is answered.
    pub mode: ZoneMode,
    /// The newest revision that the packs (or the removal) contain.
    pub revision: Revision,
    /// The SOA serial at that revision.
    pub serial: u32,
    /// How many owner names the zone has; a hint for whoever builds it.
    pub name_count: u64,
    /// The zone's settings as the store has them (JSON); not read by the feed.
    pub settings: Vec<u8>,
    /// The packs, bases first.
    pub packs: Vec<PackRef>,
}

/// Whether a zone is answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ZoneMode {
    /// It is.
    #[default]
    Served,
    /// It exists but is not answered (REFUSED).
    Disabled,
    /// It is gone; it has no packs.
    Removed,
}

/// One pack of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PackRef {
    /// The number in its key.
    pub number: u64,
    /// The BLAKE3 hash of its octets.
    pub hash: [u8; 32],
    /// Its length in octets.
    pub len: u32,
    /// How many RRsets (in a delta: changes) it holds.
    pub rrset_count: u32,
    /// Base or delta.
    pub kind: PackKind,
    /// Its first owner name.
    pub first_owner: Name,
}

/// What a pack is in its zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PackKind {
    /// A run of owner names with all their RRsets.
    Base,
    /// What changed after revision number `from`, up to and with `to`; both of the manifest's epoch.
    Delta {
        /// The revision number before the first change.
        from: u64,
        /// The revision number of the last change.
        to: u64,
    },
}

impl Manifest {
    /// Returns the base packs, in canonical order of their owner names.
    pub fn bases(&self) -> impl Iterator<Item = &PackRef> {
        self.packs.iter().filter(|pack| pack.kind == PackKind::Base)
    }

    /// Returns the delta packs with the revision numbers that they lead from and to, oldest first.
    pub fn deltas(&self) -> impl Iterator<Item = (&PackRef, u64, u64)> {
        self.packs.iter().filter_map(|pack| match pack.kind {
            PackKind::Base => None,
            PackKind::Delta { from, to } => Some((pack, from, to)),
        })
    }

    /// Writes the value of the manifest entry.
    ///
    /// # Errors
    /// What [`Manifest::from_octets`] would say to it.
    pub fn to_octets(&self) -> Result<Vec<u8>, DecodeError> {
        self.check(0)?;
        let mut out = Vec::with_capacity(128 + self.packs.len() * 80);
        FORMAT.put(&mut out);
        out.push(match self.mode {
            ZoneMode::Served => 0,
            ZoneMode::Disabled => 1,
            ZoneMode::Removed => 2,
        });
        out.extend_from_slice(self.apex.as_wire());
        out.extend_from_slice(&self.revision.epoch.to_be_bytes());
        out.extend_from_slice(&self.revision.number.to_be_bytes());
        out.extend_from_slice(&self.serial.to_be_bytes());
        put_varint(&mut out, self.name_count);
        put_counted(&mut out, &self.settings);
        put_varint(&mut out, self.packs.len() as u64);
        self.packs.iter().for_each(|pack| put_pack(&mut out, pack));
        debug_assert!(out.len() <= MANIFEST_OCTETS_MAX);
        Ok(out)
    }

    /// Reads the value of a manifest entry.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that breaks the invariant or a limit.
    pub fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        let (what, max) = ("length of a manifest", MANIFEST_OCTETS_MAX as u64);
        if octets.len() > MANIFEST_OCTETS_MAX {
            return Err(DecodeError::TooMany { what, at: 0, found: octets.len() as u64, max });
        }
        let mut reader = OctetReader::new(octets);
        reader.format("manifest", FORMAT)?;
        let at = reader.at();
        let mode = match reader.u8("mode of a zone")? {
            0 => ZoneMode::Served,
            1 => ZoneMode::Disabled,
            2 => ZoneMode::Removed,
            _ => return Err(DecodeError::BadValue { what: "mode of a zone", at }),
        };
        let apex = reader.name()?;
        let revision = Revision { epoch: reader.u64("epoch")?, number: reader.u64("revision")? };
        let serial = reader.u32("serial")?;
        let name_count = reader.varint("count of names", u64::MAX)?;
        let settings = reader.counted("settings", MANIFEST_SETTINGS_OCTETS_MAX)?.to_vec();
        let at = reader.at();
        let count = reader.varint("count of packs", u64::from(MANIFEST_PACKS_MAX))?;
        let packs = (0..count).map(|_| read_pack(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        let manifest = Self { apex, mode, revision, serial, name_count, settings, packs };
        manifest.check(at)?;
        Ok(manifest)
    }

    /// Checks the invariant; `at` is where the packs begin.
    fn check(&self, at: usize) -> Result<(), DecodeError> {
        let at_most = |what, found: usize, max: u64| match found as u64 {
            found if found > max => Err(DecodeError::TooMany { what, at, found, max }),
            _ => Ok(()),
        };
        at_most("settings", self.settings.len(), MANIFEST_SETTINGS_OCTETS_MAX as u64)?;
        at_most("count of packs", self.packs.len(), u64::from(MANIFEST_PACKS_MAX))?;
        let bad = |what| Err(DecodeError::BadValue { what, at });
        if self.mode == ZoneMode::Removed && !self.packs.is_empty() {
            return bad("a pack of a removed zone");
        }
        let mut numbers = HashSet::new();
        let mut reached: Option<(u64, u64)> = None;
        for pack in &self.packs {
            at_most("length of a pack", pack.len as usize, PACK_OCTETS_MAX as u64)?;
            if !numbers.insert(pack.number) {
                return bad("number of a pack");
            }
            if !pack.first_owner.is_at_or_below(&self.apex) {
                return bad("first owner of a pack");
            }
            match (pack.kind, reached) {
                (PackKind::Base, None) => {}
                (PackKind::Base, Some(_)) => return bad("order of packs"),
                (PackKind::Delta { from, to }, before) => {
                    let is_next = before.is_none_or(|range| range.1 == from || range == (from, to));
                    if from >= to || !is_next {
                        return bad("revisions of a delta pack");
                    }
                    reached = Some((from, to));
                }
            }
        }
        match reached {
            Some((_, to)) if to != self.revision.number => bad("revision of the last delta pack"),
            _ => Ok(()),
        }
    }
}

/// Appends one reference.
fn put_pack(out: &mut Vec<u8>, pack: &PackRef) {
    put_varint(out, pack.number);
    out.extend_from_slice(&pack.hash);
    put_varint(out, u64::from(pack.len));
    put_varint(out, u64::from(pack.rrset_count));
    match pack.kind {
        PackKind::Base => out.push(0),
        PackKind::Delta { from, to } => {
            out.push(1);
            put_varint(out, from);
            put_varint(out, to);
        }
    }
    out.extend_from_slice(pack.first_owner.as_wire());
}

/// Reads one reference.
fn read_pack(reader: &mut OctetReader<'_>) -> Result<PackRef, DecodeError> {
    let number = reader.varint("number of a pack", u64::MAX)?;
    let hash = reader.array("hash of a pack")?;
    let len = reader.varint("length of a pack", PACK_OCTETS_MAX as u64)? as u32;
    let rrset_count = reader.varint("count of RRsets", u64::from(u32::MAX))? as u32;
    let at = reader.at();
    let kind = match reader.u8("kind of a pack")? {
        0 => PackKind::Base,
        1 => PackKind::Delta {
            from: reader.varint("first revision", u64::MAX)?,
            to: reader.varint("last revision", u64::MAX)?,
        },
        _ => return Err(DecodeError::BadValue { what: "kind of a pack", at }),
    };
    let first_owner = reader.name()?;
    Ok(PackRef { number, hash, len, rrset_count, kind, first_owner })
}

/// The first octets of a manifest.
const FORMAT: Format = Format { letters: *b"AM", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(number: u64, kind: PackKind) -> PackRef {
        let first_owner = "a.example".parse().unwrap();
        PackRef { number, hash: [number as u8; 32], len: 9, rrset_count: 3, kind, first_owner }
    }

    fn manifest(packs: Vec<PackRef>) -> Manifest {
        Manifest {
            apex: "example".parse().unwrap(),
            mode: ZoneMode::Served,
            revision: Revision::new(3, 20),
            serial: 5,
            name_count: 300,
            settings: b"{}".to_vec(),
            packs,
        }
    }

    fn delta(from: u64, to: u64) -> PackKind {
        PackKind::Delta { from, to }
    }

    #[test]
    fn a_manifest_reads_back_and_no_cut_of_it_does() {
        let full = manifest(vec![
            pack(1, PackKind::Base),
            pack(2, PackKind::Base),
            pack(u64::MAX, delta(7, 9)),
            pack(4, delta(9, 20)),
            pack(5, delta(9, 20)),
        ]);
        let octets = full.to_octets().expect("a good manifest");
        assert_eq!(Manifest::from_octets(&octets).as_ref(), Ok(&full));
        assert!((0..octets.len()).all(|len| Manifest::from_octets(&octets[..len]).is_err()));
        assert_eq!(full.bases().count(), 2);
        let ranges: Vec<_> = full.deltas().map(|(_, from, to)| (from, to)).collect();
        assert_eq!(ranges, [(7, 9), (9, 20), (9, 20)]);
    }

    #[test]
    fn packs_that_do_not_lead_to_the_revision_are_refused() {
        for packs in [
            vec![pack(1, PackKind::Base), pack(1, PackKind::Base)],
            vec![pack(1, delta(1, 20)), pack(2, PackKind::Base)],
            vec![pack(1, delta(1, 9)), pack(2, delta(10, 20))],
            vec![pack(1, delta(1, 9)), pack(2, delta(8, 20))],
            vec![pack(1, delta(20, 20))],
            vec![pack(1, delta(1, 19))],
        ] {
            assert!(manifest(packs.clone()).to_octets().is_err(), "{packs:?}");
        }
        let mut removed = manifest(vec![pack(1, PackKind::Base)]);
        removed.mode = ZoneMode::Removed;
        assert!(removed.to_octets().is_err());
        removed.packs.clear();
        assert!(removed.to_octets().is_ok());
    }

    #[test]
    fn limits_hold_at_and_break_above() {
        let mut full = manifest(Vec::new());
        full.settings = vec![b' '; MANIFEST_SETTINGS_OCTETS_MAX];
        full.packs = (0..u64::from(MANIFEST_PACKS_MAX)).map(|n| pack(n, PackKind::Base)).collect();
        let octets = full.to_octets().expect("at the limits");
        assert_eq!(Manifest::from_octets(&octets).as_ref(), Ok(&full));
        full.packs.push(pack(u64::MAX, PackKind::Base));
        assert!(matches!(full.to_octets(), Err(DecodeError::TooMany { .. })));
        full.packs.clear();
        full.settings.push(b' ');
        assert!(matches!(full.to_octets(), Err(DecodeError::TooMany { .. })));
        let long = vec![0; MANIFEST_OCTETS_MAX + 1];
        assert!(matches!(Manifest::from_octets(&long), Err(DecodeError::TooMany { .. })));
    }
}
