//! Makes the RRsets of one zone of a master file's records.
//!
//! What makes the zone ambiguous is an error (no SOA or two, data beside a CNAME); what can be
//! left out or mended without a guess is a warning (records outside the zone, TTLs that differ).

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use crate::limits::{MASTER_WARNINGS_MAX, TTL_S_MAX};
use crate::name::Name;
use crate::record::master::reader::CLASS_IN;
use crate::record::master::{MasterError, MasterOptions, MasterReader, MasterRecord, MasterRule};
use crate::record::rdata;
use crate::record::{RdataList, RecordType, Rrset};

/// The RRsets of one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterZone {
    /// The apex: the owner of the SOA record.
    pub apex: Name,
    /// The RRsets in the order in which the first record of each stands in the file.
    pub rrsets: Vec<Rrset>,
    /// Records in the RRsets.
    pub record_count: u64,
    /// What was left out or mended.
    pub warnings: Warnings,
}

/// What was left out or mended; at most [`MASTER_WARNINGS_MAX`] are kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Warnings {
    /// The first ones, in the order in which they were found.
    pub kept: Vec<MasterWarning>,
    /// How many there were.
    pub count: u64,
}

/// Something that was left out or mended. Its text is `FILE:LINE: what`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterWarning {
    /// The file's name.
    pub file: String,
    /// The line of the record, from one.
    pub line: u32,
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// What was done.
    pub kind: WarningKind,
}

/// What was done about a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WarningKind {
    /// The owner is not at or below the apex; the record is left out.
    OutOfZone,
    /// The RRset's TTLs differ; all records get the lowest, in seconds (RFC 2181 section 5.2).
    TtlDiffers {
        /// The lowest.
        ttl_s: u32,
    },
}

impl fmt::Display for MasterWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, owner, rtype, kind } = self;
        write!(f, "{file}:{line}: {rtype} at {owner} ")?;
        match kind {
            WarningKind::OutOfZone => f.write_str("is outside the zone and left out"),
            WarningKind::TtlDiffers { ttl_s } => {
                write!(f, "has TTLs that differ; {ttl_s} is taken (RFC 2181 section 5.2)")
            }
        }
    }
}

/// Reads a whole zone; relative names lie under `origin` until the file says else.
///
/// Records that are there twice are kept once. `progress` is called now and then with the number
/// of octets read.
///
/// # Errors
/// The first rule that the file breaks, with file, line and column.
pub fn read_zone<'a>(
    text: &'a [u8],
    origin: &Name,
    options: MasterOptions<'a>,
    progress: &mut dyn FnMut(usize),
) -> Result<MasterZone, MasterError> {
    let mut groups = Groups { files: vec![options.file.clone()], ..Groups::default() };
    let mut reader = MasterReader::new(text, origin, options);
    while let Some(record) = reader.next() {
        groups.push(record?, reader.file())?;
        if groups.list.len().is_multiple_of(PROGRESS_RRSETS) {
            progress(reader.octets_read());
        }
    }
    progress(text.len());
    groups.finish()
}

/// Records of one owner and type that stand together.
#[derive(Debug)]
struct Group {
    /// The owner name.
    owner: Name,
    /// The type.
    rtype: RecordType,
    /// The lowest TTL in seconds.
    ttl_s: u32,
    /// Whether another TTL was seen.
    has_other_ttl: bool,
    /// Whether its records went to another group, or nowhere.
    is_left_out: bool,
    /// The file of the first record, an index into [`Groups::files`].
    file: usize,
    /// The line of the first record.
    line: u32,
    /// RDATA of the first record.
    rdata: Vec<u8>,
    /// RDATA of the others.
    more: Vec<Vec<u8>>,
}

/// All records, grouped as far as they stand together.
#[derive(Debug, Default)]
struct Groups {
    /// The groups in the file's order.
    list: Vec<Group>,
    /// Names of the files.
    files: Vec<String>,
    /// Index of the group of the SOA.
    soa: Option<usize>,
    /// What was left out or mended.
    warnings: Warnings,
}

impl Groups {
    /// Adds a record of `file`.
    fn push(&mut self, record: MasterRecord, file: &str) -> Result<(), MasterError> {
        if self.files.last().is_none_or(|last| last != file) {
            self.files.push(file.to_owned());
        }
        let MasterRecord { owner, rtype, ttl_s, class, rdata, line } = record;
        let file = self.files.len() - 1;
        if class != CLASS_IN {
            return Err(self.error(file, line, MasterRule::ClassNotIn));
        }
        if let Some(last) = self.list.last_mut()
            && last.rtype == rtype
            && last.owner == owner
        {
            last.add(ttl_s, false, [rdata]);
            return Ok(());
        }
        if rtype == RecordType::SOA {
            self.soa.get_or_insert(self.list.len());
        }
        self.list.push(Group {
            owner,
            rtype,
            ttl_s,
            has_other_ttl: false,
            is_left_out: false,
            file,
            line,
            rdata,
            more: Vec::new(),
        });
        Ok(())
    }

    /// Makes the zone.
    fn finish(mut self) -> Result<MasterZone, MasterError> {
        let Some(soa) = self.soa else {
            return Err(self.error(0, 1, MasterRule::NoSoa));
        };
        let apex = self.list[soa].owner.clone();
        self.check_soas(soa)?;
        self.leave_out_strangers(&apex);
        let order = self.sort();
        self.join(&order);
        self.check_owners(&order)?;
        let mut rrsets = Vec::with_capacity(self.list.len());
        let mut record_count = 0;
        for group in std::mem::take(&mut self.list) {
            if group.is_left_out {
                continue;
            }
            let (file, line) = (group.file, group.line);
            if group.has_other_ttl {
                let kind = WarningKind::TtlDiffers { ttl_s: group.ttl_s };
                self.warn(file, line, &group.owner, group.rtype, kind);
            }
            let rrset = group.into_rrset().map_err(|rule| self.error(file, line, rule))?;
            record_count += rrset.rdata.count() as u64;
            rrsets.push(rrset);
        }
        Ok(MasterZone { apex, rrsets, record_count, warnings: self.warnings })
    }

    /// Checks that all SOA records are the same.
    fn check_soas(&self, first: usize) -> Result<(), MasterError> {
        let soa = &self.list[first];
        for group in self.list[first..].iter().filter(|group| group.rtype == RecordType::SOA) {
            let is_same = group.owner == soa.owner
                && is_same_rdata(group.rtype, &group.rdata, &soa.rdata)
                && group.more.iter().all(|other| is_same_rdata(group.rtype, other, &soa.rdata));
            if !is_same {
                let (owner, apex) = (group.owner.clone(), soa.owner.clone());
                let rule = MasterRule::SecondSoa { owner, apex, line: soa.line };
                return Err(self.error(group.file, group.line, rule));
            }
        }
        Ok(())
    }

    /// Leaves out what is not at or below the apex.
    fn leave_out_strangers(&mut self, apex: &Name) {
        for index in 0..self.list.len() {
            let group = &mut self.list[index];
            if group.owner.is_at_or_below(apex) {
                continue;
            }
            group.is_left_out = true;
            let (file, line, rtype) = (group.file, group.line, group.rtype);
            let owner = group.owner.clone();
            self.warn(file, line, &owner, rtype, WarningKind::OutOfZone);
        }
    }

    /// Returns the groups' places such that those of one owner are neighbors, and among them those
    /// of one type, in the file's order.
    fn sort(&self) -> Vec<Place> {
        let mut order = Vec::with_capacity(self.list.len());
        for (index, group) in self.list.iter().enumerate().filter(|(_, group)| !group.is_left_out) {
            let mut hasher = DefaultHasher::new();
            hasher.write(group.owner.as_wire());
            order.push(Place { hash: hasher.finish(), rtype: group.rtype, index });
        }
        // The owner decides among equal hashes alone: comparing numbers is what makes this fast.
        order.sort_unstable_by(|a, b| {
            a.hash
                .cmp(&b.hash)
                .then_with(|| self.owner_at(a).cmp(self.owner_at(b)))
                .then_with(|| (a.rtype, a.index).cmp(&(b.rtype, b.index)))
        });
        order
    }

    /// Whether two groups have one owner. Groups are looked at only if their hashes agree: most do
    /// not, and are far apart in memory.
    fn is_same_owner(&self, a: &Place, b: &Place) -> bool {
        a.hash == b.hash && self.owner_at(a) == self.owner_at(b)
    }

    /// Returns the owner name of a group in wire form: its order as octets will do here.
    fn owner_at(&self, place: &Place) -> &[u8] {
        self.list[place.index].owner.as_wire()
    }

    /// Moves the records of each RRset to its first group.
    fn join(&mut self, order: &[Place]) {
        let Some(mut target) = order.first() else { return };
        for place in &order[1..] {
            if place.rtype != target.rtype || !self.is_same_owner(place, target) {
                target = place;
                continue;
            }
            debug_assert!(target.index < place.index);
            let from = &mut self.list[place.index];
            from.is_left_out = true;
            let records: Vec<Vec<u8>> = std::iter::once(std::mem::take(&mut from.rdata))
                .chain(from.more.drain(..))
                .collect();
            let (ttl_s, has_other_ttl) = (from.ttl_s, from.has_other_ttl);
            self.list[target.index].add(ttl_s, has_other_ttl, records);
        }
    }

    /// Checks, owner by owner, that a CNAME is alone, and that no two CNAMEs or DNAMEs differ.
    fn check_owners(&self, order: &[Place]) -> Result<(), MasterError> {
        for places in order.chunk_by(|a, b| self.is_same_owner(a, b)) {
            if places.iter().any(|place| is_single(place.rtype)) {
                self.check_owner(places)?;
            }
        }
        Ok(())
    }

    /// Checks one owner that has a CNAME or a DNAME.
    fn check_owner(&self, places: &[Place]) -> Result<(), MasterError> {
        let groups = || {
            let groups = places.iter().map(|place| &self.list[place.index]);
            groups.filter(|group| !group.is_left_out)
        };
        let cname = groups().find(|group| group.rtype == RecordType::CNAME);
        for group in groups() {
            let rtype = group.rtype;
            let is_other = |other: &Vec<u8>| !is_same_rdata(rtype, other, &group.rdata);
            let owner = || group.owner.clone();
            if is_single(rtype) && group.more.iter().any(is_other) {
                let rule = MasterRule::SecondSingle { owner: owner(), rtype, line: group.line };
                return Err(self.error(group.file, group.line, rule));
            }
            if let Some(cname) = cname.filter(|_| !may_stand_beside_cname(rtype)) {
                let rule = MasterRule::CnameNotAlone { owner: owner(), rtype, line: cname.line };
                return Err(self.error(group.file, group.line, rule));
            }
        }
        Ok(())
    }

    /// Counts a warning, and keeps it while there are few.
    fn warn(&mut self, file: usize, line: u32, owner: &Name, rtype: RecordType, kind: WarningKind) {
        self.warnings.count += 1;
        if self.warnings.kept.len() < MASTER_WARNINGS_MAX {
            let (file, owner) = (self.files[file].clone(), owner.clone());
            self.warnings.kept.push(MasterWarning { file, line, owner, rtype, kind });
        }
    }

    /// Makes an error about a record that was read before.
    fn error(&self, file: usize, line: u32, rule: MasterRule) -> MasterError {
        let file = self.files.get(file).cloned().unwrap_or_default();
        MasterError { file, line, column: 1, rule }
    }
}

impl Group {
    /// Adds records of the same owner and type.
    fn add(&mut self, ttl_s: u32, has_other_ttl: bool, records: impl IntoIterator<Item = Vec<u8>>) {
        // Signatures have the TTL of what they sign (RFC 4034 section 3): theirs may differ.
        let is_other = has_other_ttl || ttl_s != self.ttl_s;
        self.has_other_ttl |= is_other && self.rtype != RecordType::RRSIG;
        self.ttl_s = self.ttl_s.min(ttl_s);
        self.more.extend(records);
    }

    /// Makes the RRset; of records that differ in the case of names alone the first stays.
    fn into_rrset(self) -> Result<Rrset, MasterRule> {
        let Self { owner, rtype, ttl_s, rdata, mut more, .. } = self;
        if !more.is_empty() && rdata::names(rtype, &rdata).next().is_some() {
            let mut seen = HashSet::from([lower_names(rtype, &rdata)]);
            more.retain(|other| seen.insert(lower_names(rtype, other)));
        }
        debug_assert!(ttl_s <= TTL_S_MAX, "the reader takes no longer one");
        match RdataList::new(std::iter::once(rdata).chain(more)) {
            Ok(rdata) => Ok(Rrset { owner, rtype, ttl_s, rdata }),
            Err(rule) => Err(MasterRule::Rrset { owner, rtype, rule }),
        }
    }
}

/// Where a group is, and what it is sorted by.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// A hash of the owner name.
    hash: u64,
    /// The type.
    rtype: RecordType,
    /// The index into [`Groups::list`].
    index: usize,
}

/// Whether an owner may have only one record of a type (RFC 2181 section 10.1, RFC 6672
/// section 2.4).
fn is_single(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::CNAME | RecordType::DNAME)
}

/// Whether data of a type may be at the owner of a CNAME (RFC 4034 section 2.5; RFC 2535's too).
fn may_stand_beside_cname(rtype: RecordType) -> bool {
    matches!(
        rtype,
        RecordType::CNAME
            | RecordType::RRSIG
            | RecordType::NSEC
            | RecordType::SIG
            | RecordType::NXT
            | RecordType::KEY
    )
}

/// Whether two RDATA are the same but for the case of names (RFC 2181 section 5, RFC 4343).
fn is_same_rdata(rtype: RecordType, left: &[u8], right: &[u8]) -> bool {
    left == right || lower_names(rtype, left) == lower_names(rtype, right)
}

/// Returns RDATA with its names in lower case.
fn lower_names(rtype: RecordType, rdata: &[u8]) -> Vec<u8> {
    let mut lower = rdata.to_vec();
    for (at, len) in rdata::names(rtype, rdata) {
        // A length octet is at most 63 and so below every letter.
        lower[at..at + len].make_ascii_lowercase();
    }
    lower
}

/// RRsets between two calls of `progress`.
const PROGRESS_RRSETS: usize = 8_192;
