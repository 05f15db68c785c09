//! All records of a master file in a few flat buffers, sorted and joined to RRsets.
//!
//! A million records cost no allocation of their own, and no memory is left in holes when the
//! buffers go. The sort compares two words of each owner name; whole names only where these agree.
//!
//! **Invariant:** a list of RDATA lies in one piece; the groups of an owner that stand together in
//! the file share its octets; where the second record of a group and those behind it stand lies
//! apart, since most groups have one record.
//! **Not here:** text (`master::reader`), the rules of a zone (`master::rules`, `master::lint`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::limits::{INCLUDE_FILES_MAX, RRSET_OCTETS_MAX, RRSET_RECORDS_MAX};
use crate::name::{self, Name};
use crate::record::master::order::{Key, is_whole, sort_key};
use crate::record::master::reader::{CLASS_IN, MasterReader, RecordHead};
use crate::record::master::warning::Found;
use crate::record::master::{MasterError, MasterRule, MasterWarning, WarningKind, Warnings};
use crate::record::rrset::{RdataIter, RrsetRef};
use crate::record::{RdataList, RecordType, Rrset, RrsetError, rdata};

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// The line, from one.
    pub(super) line: u32,
    /// The octet of the line, from one.
    column: u32,
    /// The file, an index into [`Groups::files`].
    file: u16,
}

/// Records of one owner and type that stand together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Where the owner name begins in the octets.
    owner_at: usize,
    /// Where the list of RDATA begins in the octets, in the form of `RdataList`.
    list_at: usize,
    /// Octets of that list; none once its records went to another group, or nowhere.
    list_len: usize,
    /// The lowest TTL in seconds.
    ttl_s: u32,
    /// Where the first record stands.
    pub(super) spot: Spot,
    /// Where the second record's spot is in [`Groups::spots`]; those behind it follow.
    more_at: u32,
    /// The type.
    pub(super) rtype: RecordType,
    /// Octets of the owner name.
    owner_len: u8,
    /// Whether another TTL was seen.
    has_other_ttl: bool,
}
const _: () = assert!(size_of::<Group>() <= 48, "millions of them are read in a second");

/// Where a group is, and what it is sorted by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The first octets of the owner name, such that they compare as names do.
    pub(super) key: Key,
    /// The type in the high 16 bits, the index into [`Groups::list`] in the others.
    rest: u64,
}

/// All records, grouped as far as they stand together.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The groups in the file's order.
    list: Vec<Group>,
    /// Owner names in canonical wire form, and lists of RDATA.
    octets: Vec<u8>,
    /// Where the records stand that are not the first of their group.
    spots: Vec<Spot>,
    /// Names of the files.
    files: Vec<String>,
    /// Index of the group of the SOA.
    soa: Option<usize>,
    /// The groups that are left, by owner and type, once they are sorted.
    order: Vec<Place>,
    /// Records in the RRsets, once these are checked.
    record_count: u64,
    /// What an author should look at.
    warnings: Warnings,
}

impl Groups {
    /// Begins with the name of the first file.
    pub(super) fn new(file: String, text_len: usize) -> Self {
        // Wire form is about as long as its text; the system gives memory only as it is used.
        Self { files: vec![file], octets: Vec::with_capacity(text_len), ..Self::default() }
    }

    /// Returns how many groups there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds the record that `reader` has read.
    pub(super) fn push(
        &mut self,
        head: RecordHead,
        reader: &MasterReader<'_>,
    ) -> Result<(), MasterError> {
        let RecordHead { rtype, ttl_s, class, line, column } = head;
        if self.files.last().is_none_or(|last| last != reader.file()) {
            self.files.push(reader.file().to_owned());
        }
        let spot = Spot { line, column, file: (self.files.len() - 1) as u16 };
        if class != CLASS_IN {
            return Err(self.error(spot, MasterRule::ClassNotIn));
        }
        let (owner, rdata) = (reader.owner(), reader.rdata());
        let owner_before = self.list.last().map(|last| last.owner_at);
        let is_same_owner = self.list.last().is_some_and(|last| self.owner(last) == owner);
        if is_same_owner
            && let Some(last) = self.list.last_mut()
            && last.rtype == rtype
        {
            last.add_ttl(ttl_s, false);
            last.list_len += 2 + rdata.len();
            self.spots.push(spot);
            put_rdata(&mut self.octets, rdata);
            return Ok(());
        }
        let owner_at = match owner_before.filter(|_| is_same_owner) {
            Some(owner_at) => owner_at,
            None => {
                self.octets.extend_from_slice(owner);
                self.octets.len() - owner.len()
            }
        };
        if rtype == RecordType::SOA {
            self.soa.get_or_insert(self.list.len());
        }
        self.list.push(Group {
            owner_at,
            list_at: self.octets.len(),
            list_len: 2 + rdata.len(),
            ttl_s,
            spot,
            // Past 2^32 records, a warning about one of them shows where its group begins.
            more_at: u32::try_from(self.spots.len()).unwrap_or(u32::MAX),
            rtype,
            owner_len: owner.len() as u8,
            has_other_ttl: false,
        });
        put_rdata(&mut self.octets, rdata);
        Ok(())
    }

    /// Sorts and joins the groups to RRsets, checks their owners, and returns the apex.
    pub(super) fn settle(&mut self) -> Result<Name, MasterError> {
        let Some(soa) = self.soa else {
            let start = Spot { line: 1, column: 1, file: 0 };
            return Err(self.error(start, MasterRule::NoSoa));
        };
        let apex = self.name(&self.list[soa]);
        self.check_soas(soa)?;
        self.leave_out_strangers(&apex);
        self.sort(apex.as_wire().len());
        self.join();
        self.check_owners()?;
        Ok(apex)
    }

    /// Takes what else was found in the groups, and ends them.
    pub(super) fn finish(&mut self, found: Found) -> Result<(), MasterError> {
        for ((index, record), kind) in found.kept {
            self.warn(index, record, kind);
        }
        self.warnings.count += found.more;
        for index in 0..self.list.len() {
            if !self.list[index].is_left_out() {
                self.end_group(index)?;
            }
        }
        Ok(())
    }

    /// Returns the RRsets in canonical order of their owners, by type among these.
    pub(super) fn in_order(&self) -> impl ExactSizeIterator<Item = RrsetRef<'_>> {
        self.order.iter().map(|place| self.rrset(&self.list[place.index()]))
    }

    /// Returns the RRsets in the order in which the first record of each stands in the file.
    pub(super) fn to_rrsets(&self) -> Result<Vec<Rrset>, MasterError> {
        let mut rrsets = Vec::with_capacity(self.order.len());
        for group in self.list.iter().filter(|group| !group.is_left_out()) {
            let (owner, rtype, ttl_s) = (self.name(group), group.rtype, group.ttl_s);
            match RdataList::from_octets(self.rdata(group)) {
                Ok(rdata) => rrsets.push(Rrset { owner, rtype, ttl_s, rdata }),
                Err(rule) => {
                    let rule = MasterRule::Rrset { owner, rtype, rule };
                    return Err(self.error(group.spot, rule));
                }
            }
        }
        Ok(rrsets)
    }

    /// Returns how many owners the RRsets have.
    pub(super) fn name_count(&self) -> u64 {
        self.order.chunk_by(|a, b| self.is_same_owner(a, b)).count() as u64
    }

    /// Returns how many records the RRsets have, once they are finished.
    pub(super) fn record_count(&self) -> u64 {
        self.record_count
    }

    /// Gives what was left out or mended away.
    pub(super) fn take_warnings(&mut self) -> Warnings {
        std::mem::take(&mut self.warnings)
    }

    /// Returns where the groups are that are left, by owner and type, once they are sorted.
    pub(super) fn order(&self) -> &[Place] {
        &self.order
    }

    /// Returns the groups in the file's order.
    pub(super) fn list(&self) -> &[Group] {
        &self.list
    }

    /// Returns a group by its place.
    pub(super) fn at(&self, place: &Place) -> &Group {
        &self.list[place.index()]
    }

    /// Returns where a record of a group stands, by its index in the group's list.
    pub(super) fn spot(&self, group: &Group, record: usize) -> Spot {
        let more = record.checked_sub(1).map(|further| group.more_at as usize + further);
        *more.and_then(|at| self.spots.get(at)).unwrap_or(&group.spot)
    }

    /// Returns a group as an RRset.
    fn rrset(&self, group: &Group) -> RrsetRef<'_> {
        let (rtype, ttl_s) = (group.rtype, group.ttl_s);
        RrsetRef { owner: self.owner(group), rtype, ttl_s, rdata: self.rdata(group) }
    }

    /// Returns a group's owner name in wire form.
    pub(super) fn owner(&self, group: &Group) -> &[u8] {
        &self.octets[group.owner_at..][..usize::from(group.owner_len)]
    }

    /// Returns a group's owner name.
    pub(super) fn name(&self, group: &Group) -> Name {
        // The reader made it of labels that it checked.
        Name::from_wire(self.owner(group)).unwrap_or_else(|_| Name::root())
    }

    /// Returns a group's list of RDATA.
    pub(super) fn rdata(&self, group: &Group) -> &[u8] {
        &self.octets[group.list_at..][..group.list_len]
    }

    /// Leaves out what is not at or below the apex.
    fn leave_out_strangers(&mut self, apex: &Name) {
        for index in 0..self.list.len() {
            let group = self.list[index];
            if !name::is_at_or_below(self.owner(&group), apex.as_wire()) {
                self.list[index].list_len = 0;
                self.warn(index, 0, WarningKind::OutOfZone);
            }
        }
    }

    /// Sorts the groups by owner, type, and place in the file.
    fn sort(&mut self, apex_len: usize) {
        let mut order = Vec::with_capacity(self.list.len());
        for (index, group) in self.list.iter().enumerate().filter(|(_, group)| !group.is_left_out())
        {
            let owner = self.owner(group);
            let key = sort_key(&owner[..owner.len() - apex_len]);
            order.push(Place { key, rest: u64::from(group.rtype.0) << INDEX_BITS | index as u64 });
        }
        order.sort_unstable_by(|a: &Place, b| {
            a.key.cmp(&b.key).then_with(|| self.compare_owners(a, b)).then(a.rest.cmp(&b.rest))
        });
        self.order = order;
    }

    /// Compares the owners of two groups whose keys agree.
    fn compare_owners(&self, a: &Place, b: &Place) -> std::cmp::Ordering {
        if is_whole(a.key) {
            return std::cmp::Ordering::Equal;
        }
        let (a, b) = (&self.list[a.index()], &self.list[b.index()]);
        if a.owner_at == b.owner_at {
            return std::cmp::Ordering::Equal;
        }
        name::compare_canonical(self.owner(a), self.owner(b))
    }

    /// Whether two groups have one owner.
    pub(super) fn is_same_owner(&self, a: &Place, b: &Place) -> bool {
        let is_same = || {
            let (a, b) = (&self.list[a.index()], &self.list[b.index()]);
            a.owner_at == b.owner_at || self.owner(a) == self.owner(b)
        };
        a.key == b.key && (is_whole(a.key) || is_same())
    }

    /// Moves the records of each RRset to its first group, whose place alone stays.
    fn join(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        let (mut start, mut kept) = (0, 0);
        while start < order.len() {
            let first = &order[start];
            let is_more = |place: &&Place| {
                place.rest >> INDEX_BITS == first.rest >> INDEX_BITS
                    && self.is_same_owner(first, place)
            };
            let count = 1 + order[start + 1..].iter().take_while(is_more).count();
            if count > 1 {
                self.join_groups(&order[start..start + count]);
            }
            order[kept] = order[start];
            (start, kept) = (start + count, kept + 1);
        }
        order.truncate(kept);
        self.order = order;
    }

    /// Moves the records of groups of one owner and type to the first of them.
    fn join_groups(&mut self, places: &[Place]) {
        let list_at = self.octets.len();
        let mut target = self.list[places[0].index()];
        let more_at = u32::try_from(self.spots.len()).unwrap_or(u32::MAX);
        for (nth, place) in places.iter().enumerate() {
            let index = place.index();
            let group = self.list[index];
            target.add_ttl(group.ttl_s, group.has_other_ttl);
            let first = usize::from(nth == 0);
            for record in first..RdataIter::over(self.rdata(&group)).count() {
                self.spots.push(self.spot(&group, record));
            }
            self.octets.extend_from_within(group.list_at..group.list_at + group.list_len);
            self.list[index].list_len = 0;
        }
        target.more_at = more_at;
        (target.list_at, target.list_len) = (list_at, self.octets.len() - list_at);
        self.list[places[0].index()] = target;
    }

    /// Keeps records that are there twice once, and holds the RRset against its limits.
    fn end_group(&mut self, index: usize) -> Result<(), MasterError> {
        let group = self.list[index];
        if group.has_other_ttl {
            self.warn(index, 0, WarningKind::TtlDiffers { ttl_s: group.ttl_s });
        }
        let first_len = RdataIter::over(self.rdata(&group)).next().map_or(0, <[u8]>::len);
        if group.list_len == 2 + first_len {
            self.record_count += 1;
            return Ok(()); // one record, as most have
        }
        let list = &mut self.octets[group.list_at..group.list_at + group.list_len];
        let (list_len, records, doubles) = match count_distinct(list) {
            Some(records) => (group.list_len, records, Vec::new()),
            None => drop_doubles(group.rtype, list),
        };
        for (record, first) in doubles {
            let line = self.spot(&group, first).line;
            self.warn(index, record, WarningKind::Duplicate { line });
        }
        self.list[index].list_len = list_len;
        self.record_count += records as u64;
        let rule = if list_len > RRSET_OCTETS_MAX {
            RrsetError::TooManyOctets
        } else if records > RRSET_RECORDS_MAX as usize {
            RrsetError::TooManyRecords
        } else {
            return Ok(());
        };
        let (owner, rtype) = (self.name(&group), group.rtype);
        Err(self.error(group.spot, MasterRule::Rrset { owner, rtype, rule }))
    }

    /// Warns of a record of a group.
    fn warn(&mut self, index: usize, record: usize, kind: WarningKind) {
        let group = &self.list[index];
        let Spot { line, column, file } = self.spot(group, record);
        let (file, owner, rtype) = (self.file(file), self.name(group), group.rtype);
        self.warnings.push(|| MasterWarning { file, line, column, owner, rtype, kind });
    }

    /// Makes an error about a record that was read before.
    pub(super) fn error(&self, spot: Spot, rule: MasterRule) -> MasterError {
        let Spot { line, column, file } = spot;
        MasterError { file: self.file(file), line, column, rule }
    }

    /// Returns the name of a file by its index.
    fn file(&self, index: u16) -> String {
        self.files.get(usize::from(index)).cloned().unwrap_or_default()
    }
}

impl Group {
    /// Whether its records went to another group, or nowhere.
    pub(super) fn is_left_out(&self) -> bool {
        self.list_len == 0
    }

    /// Takes the TTL of further records of the same owner and type.
    fn add_ttl(&mut self, ttl_s: u32, has_other_ttl: bool) {
        // Signatures have the TTL of what they sign (RFC 4034 section 3): theirs may differ.
        let is_other = has_other_ttl || ttl_s != self.ttl_s;
        self.has_other_ttl |= is_other && self.rtype != RecordType::RRSIG;
        self.ttl_s = self.ttl_s.min(ttl_s);
    }
}

impl Place {
    /// Returns the index of the group.
    pub(super) fn index(&self) -> usize {
        (self.rest & ((1 << INDEX_BITS) - 1)) as usize
    }

    /// Returns the type of the group.
    pub(super) fn rtype(&self) -> RecordType {
        RecordType((self.rest >> INDEX_BITS) as u16)
    }
}

/// Appends one record to a list of RDATA.
fn put_rdata(octets: &mut Vec<u8>, rdata: &[u8]) {
    debug_assert!(u16::try_from(rdata.len()).is_ok(), "the reader takes no longer one");
    octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    octets.extend_from_slice(rdata);
}

/// Returns how many records a list has if they are few and differ, whatever the case of letters.
fn count_distinct(list: &[u8]) -> Option<usize> {
    let mut seen = arrayvec::ArrayVec::<&[u8], RECORDS_COMPARED_MAX>::new();
    for rdata in RdataIter::over(list) {
        if seen.iter().any(|other| other.eq_ignore_ascii_case(rdata)) {
            return None;
        }
        seen.try_push(rdata).ok()?;
    }
    Some(seen.len())
}

/// Keeps the first of records that are the same in canonical form; returns the octets and the records
/// that are left, and the indices of each that is not and of the one that it repeats.
fn drop_doubles(rtype: RecordType, list: &mut [u8]) -> (usize, usize, Vec<(usize, usize)>) {
    let (mut seen, mut doubles) = (HashMap::new(), Vec::new());
    let (mut from, mut to, mut record) = (0, 0, 0);
    while let Some(rdata) = RdataIter::over(&list[from..]).next() {
        let len = 2 + rdata.len();
        match seen.entry(rdata::canonical(rtype, rdata).into_owned()) {
            Entry::Occupied(first) => doubles.push((record, *first.get())),
            Entry::Vacant(vacant) => {
                vacant.insert(record);
                list.copy_within(from..from + len, to);
                to += len;
            }
        }
        from += len;
        record += 1;
    }
    (to, seen.len(), doubles)
}

/// Records of a list that are compared each with each, as many as a delegation has at most if its
/// referrals shall fit old messages. Among more, a map finds those that are equal.
const RECORDS_COMPARED_MAX: usize = 13;
/// Bits of a group's index in [`Place::rest`]; the type has the others.
const INDEX_BITS: u32 = 48;
const _: () = assert!(2 * INCLUDE_FILES_MAX < u16::MAX as u32, "a file's index fits its field");
