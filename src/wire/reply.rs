//! Writes a reply into the worker's own buffer.
//!
//! Header and question go through hickory-proto's `BinEncoder` (as do EDNS options); RRsets were laid out
//! when the zone was built and are copied in, their compression pointers moved where the question
//! is another than the RRset's owner. A reply that is one RRset of the question's name is copied
//! in one go.
//! RFC 1035 section 4.1, RFC 2181 section 9 (truncation), RFC 6891 section 6.1.
//!
//! **Invariant:** an RRset is written whole or not at all; the reply never exceeds its limit, the OPT record
//! included; nothing is allocated once the buffer has a message's capacity.
//! **Not here:** what belongs into a reply (`answer`).

use arrayvec::ArrayVec;
use hickory_proto::serialize::binary::BinEncoder;

use crate::message::edns::OptReply;
use crate::message::header::Header;
use crate::message::reader::Message;
use crate::message::{
    ExpandedName, Full, HEADER_LEN, POINTER, POINTER_MAX, RECORD_HEAD_LEN, Section,
};
use crate::record::RecordType;
use crate::zone::node::EntryView;
use crate::zone::prepare::{
    PREPARED_QUESTION_END, PreparedRecord, expand_name, records as records_of,
};

/// Where an RRset's owner stands, and how its prepared pointers read in this message.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The owner stands in the message at `at`, and ends as the question does.
    Suffix {
        /// Where the owner stands.
        at: u16,
        /// The question's length less the prepared owner's.
        shift: u16,
    },
    /// The owner stands at `at`, behind the question: names in RDATA are written anew.
    Elsewhere {
        /// Where the owner stands.
        at: u16,
        /// The canonical owner, which the prepared pointers lead into.
        name: &'a [u8],
    },
    /// The owner stands nowhere yet: these labels in front of the zone's apex.
    Written {
        /// Labels without the root label.
        prefix: &'a [u8],
        /// The apex's wire form.
        apex: &'a [u8],
        /// Where the apex stands, if it does.
        apex_at: Option<u16>,
    },
}

/// A reply under construction.
#[derive(Debug)]
pub struct Reply<'r> {
    /// The message so far.
    pub(super) out: &'r mut Vec<u8>,
    /// Octets that the sections may fill.
    limit: usize,
    /// How many records each section has.
    counts: [u16; 3],
    /// Where the question ends.
    question_end: usize,
    /// Where names stand that others may point to, besides the question's.
    pub(super) names: ArrayVec<u16, NAMES_MAX>,
    /// By how many records an RRset of the answer section begins later than it was prepared.
    turn: u16,
}

impl<'r> Reply<'r> {
    /// Begins a reply with the front of the query, header and question; `out` is cleared.
    ///
    /// Without a question `front` is the header alone. `limit` counts from the header on.
    #[inline(always)]
    pub fn new(out: &'r mut Vec<u8>, front: &[u8], limit: usize) -> Self {
        debug_assert!(front.len() >= HEADER_LEN);
        out.clear();
        // The header is written over by `finish`. The encoder's own limit is a message's.
        let _ = BinEncoder::new(out).emit_vec(front);
        let question_end = out.len();
        Self { out, limit, counts: [0; 3], question_end, names: ArrayVec::new(), turn: 0 }
    }

    /// Whether no record is written.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 3]
    }

    /// Has the RRsets of the answer section begin with another record each time `turn` is another.
    pub fn turn_rrsets(&mut self, turn: u16) {
        self.turn = turn;
    }

    /// Returns how many octets are written.
    pub fn octets_len(&self) -> usize {
        self.out.len()
    }

    /// Appends an RRset, with its signatures if asked; returns where its first record starts, or
    /// would if its owner were a pointer: [`RECORD_HEAD_LEN`] octets in front of its RDATA.
    ///
    /// # Errors
    /// [`Full`]; nothing is then written.
    #[inline]
    pub fn push(
        &mut self,
        section: Section,
        entry: &EntryView<'_>,
        owner: Owner<'_>,
        with_sigs: bool,
    ) -> Result<usize, Full> {
        let start = self.out.len();
        let sigs = if with_sigs { entry.sigs } else { &[] };
        // Written anew, records only shrink or keep their length, but for owners written out.
        let slack = self.slack(entry, owner);
        if start + entry.body.len() + sigs.len() > self.limit + slack {
            return Err(Full);
        }
        match self.turn.checked_rem(entry.records) {
            Some(first @ 1..) if section == Section::Answer => {
                self.push_turned(entry, owner, first);
            }
            _ => self.push_body(entry, owner),
        }
        let mut records = entry.records;
        if !sigs.is_empty() {
            // What was not looked at before: the names may have shrunk by less than is lacking.
            if slack > 0 && self.out.len() + sigs.len() > self.limit {
                self.out.truncate(start);
                return Err(Full);
            }
            let owner = match owner {
                // What the body has written out the signatures point to.
                Owner::Written { apex, .. } if entry.records > 0 && start <= POINTER_MAX.into() => {
                    Owner::Elsewhere { at: self.resolve_pointer(start as u16), name: apex }
                }
                owner => owner,
            };
            self.push_records(sigs, owner);
            records += records_of(sigs).count() as u16;
        }
        if self.out.len() > self.limit {
            self.out.truncate(start);
            return Err(Full);
        }
        self.counts[section as usize] += records;
        Ok(self.name_end(start) - 2)
    }

    /// Appends one record with names that are nowhere prepared, the owner at `owner_at`.
    ///
    /// Returns where it starts, as [`Reply::push`] does.
    ///
    /// # Errors
    /// [`Full`]; nothing is then written.
    pub fn push_name_record(
        &mut self,
        section: Section,
        owner_at: u16,
        rtype: RecordType,
        ttl_s: u32,
        target: &[u8],
    ) -> Result<usize, Full> {
        let start = self.out.len();
        self.write_owner_at(owner_at);
        let place = self.out.len() - 2;
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        self.out.extend_from_slice(&[0, 1]);
        self.out.extend_from_slice(&ttl_s.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        self.write_name(target);
        self.end_rdata(place);
        if self.out.len() > self.limit {
            self.out.truncate(start);
            return Err(Full);
        }
        self.counts[section as usize] += 1;
        Ok(place)
    }

    /// Appends one TXT record of the question's name, of another class than IN and TTL 0.
    pub fn push_text(&mut self, class: u16, text: &[u8]) {
        debug_assert!(text.len() < 256);
        let start = self.out.len();
        self.out.extend_from_slice(&(POINTER | HEADER_LEN as u16).to_be_bytes());
        self.out.extend_from_slice(&RecordType::TXT.0.to_be_bytes());
        self.out.extend_from_slice(&class.to_be_bytes());
        self.out.extend_from_slice(&[0; 6]);
        self.out.push(text.len() as u8);
        self.out.extend_from_slice(text);
        self.end_rdata(start);
        self.counts[0] += 1;
    }

    /// Appends one record to the answer section, its owner `prefix` in front of the question's name
    /// and its RDATA as it is.
    ///
    /// # Errors
    /// [`Full`]; nothing is then written.
    pub fn push_record(
        &mut self,
        prefix: &[u8],
        rtype: RecordType,
        ttl_s: u32,
        rdata: &[u8],
    ) -> Result<(), Full> {
        let len = prefix.len() + RECORD_HEAD_LEN + rdata.len();
        let (Ok(rdata_len), true) =
            (u16::try_from(rdata.len()), self.out.len() + len <= self.limit)
        else {
            return Err(Full);
        };
        self.out.extend_from_slice(prefix);
        self.out.extend_from_slice(&(POINTER | HEADER_LEN as u16).to_be_bytes());
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        self.out.extend_from_slice(&[0, 1]);
        self.out.extend_from_slice(&ttl_s.to_be_bytes());
        self.out.extend_from_slice(&rdata_len.to_be_bytes());
        self.out.extend_from_slice(rdata);
        self.counts[Section::Answer as usize] += 1;
        Ok(())
    }

    /// Appends the records of an entry's body.
    #[inline]
    fn push_body(&mut self, entry: &EntryView<'_>, owner: Owner<'_>) {
        let start = self.out.len();
        match owner {
            // Pointers into a body that stands so far behind would not reach.
            Owner::Suffix { shift, .. }
                if !entry.pointers.is_empty()
                    && start > self.question_end
                    && start + entry.body.len() > usize::from(POINTER_MAX) =>
            {
                let name_at = HEADER_LEN + usize::from(shift)..self.question_end - 4;
                let mut name = ExpandedName::new();
                let _ = name.try_extend_from_slice(&self.out[name_at]);
                self.rewrite_body(entry, owner, &name);
            }
            Owner::Suffix { at, .. } => {
                self.push_records(entry.body, owner);
                if !entry.pointers.is_empty() {
                    debug_assert!(usize::from(at) < self.question_end);
                    move_pointers(self.out, entry.pointers, start, self.question_end);
                }
            }
            Owner::Elsewhere { name, .. } if !entry.pointers.is_empty() => {
                self.rewrite_body(entry, owner, name);
            }
            Owner::Written { prefix, apex, .. } if !entry.pointers.is_empty() => {
                let mut name = ExpandedName::new();
                let _ = name.try_extend_from_slice(prefix);
                let _ = name.try_extend_from_slice(apex);
                self.rewrite_body(entry, owner, &name);
            }
            owner => self.push_records(entry.body, owner),
        }
    }

    /// Appends the records of an entry's body from the one with index `first` on, then those before.
    fn push_turned(&mut self, entry: &EntryView<'_>, owner: Owner<'_>, first: u16) {
        let at = records_of(entry.body).nth(first.into()).map_or(0, |record| record.at);
        let (before, from_first) = entry.body.split_at(at);
        if entry.pointers.is_empty() {
            self.push_records(from_first, owner);
            return self.push_records(before, owner);
        }
        let mut name = ExpandedName::new();
        let (prefix, suffix) = match owner {
            Owner::Suffix { shift, .. } => {
                let name_at = HEADER_LEN + usize::from(shift)..self.question_end - 4;
                let _ = name.try_extend_from_slice(&self.out[name_at]);
                (&[][..], &[][..])
            }
            Owner::Elsewhere { name, .. } => (&[][..], name),
            Owner::Written { prefix, apex, .. } => (prefix, apex),
        };
        let _ = name.try_extend_from_slice(prefix);
        let _ = name.try_extend_from_slice(suffix);
        let records = records_of(entry.body);
        self.rewrite_records(records.skip(first.into()), entry, owner, &name);
        let records = records_of(entry.body);
        self.rewrite_records(records.take(first.into()), entry, owner, &name);
    }

    /// Appends records whose RDATA has no pointers, or ones that are moved afterwards.
    #[inline]
    fn push_records(&mut self, body: &[u8], owner: Owner<'_>) {
        if let Owner::Suffix { at, .. } | Owner::Elsewhere { at, .. } = owner
            && at <= POINTER_MAX
        {
            let start = self.out.len();
            self.out.extend_from_slice(body);
            if usize::from(at) != HEADER_LEN {
                let pointer = (POINTER | at).to_be_bytes();
                for record in records_of(body) {
                    let owner_at = start + record.at;
                    self.out[owner_at..owner_at + 2].copy_from_slice(&pointer);
                }
            }
            return;
        }
        let mut owner = owner;
        for record in records_of(body) {
            if self.out.len() > self.limit {
                return; // owners written out have made it too long; `push` takes it back
            }
            let end = record.at + RECORD_HEAD_LEN + record.rdata.len();
            owner = self.write_owner(owner);
            self.out.extend_from_slice(&body[record.at + 2..end]);
        }
    }

    /// Appends an owner; returns it as the next record of the RRset may write it.
    fn write_owner<'a>(&mut self, owner: Owner<'a>) -> Owner<'a> {
        let start = self.out.len();
        match owner {
            Owner::Suffix { at, .. } | Owner::Elsewhere { at, .. } => {
                self.write_owner_at(at);
                owner
            }
            Owner::Written { prefix, apex, apex_at } => {
                self.out.extend_from_slice(prefix);
                match apex_at {
                    Some(at) => self.out.extend_from_slice(&(POINTER | at).to_be_bytes()),
                    None => self.out.extend_from_slice(apex),
                }
                if start > usize::from(POINTER_MAX) {
                    return owner;
                }
                Owner::Elsewhere { at: self.resolve_pointer(start as u16), name: apex }
            }
        }
    }

    /// Appends a body whose owner, `name`, is not a suffix of the question, its names compressed
    /// anew.
    fn rewrite_body(&mut self, entry: &EntryView<'_>, owner: Owner<'_>, name: &[u8]) {
        self.rewrite_records(records_of(entry.body), entry, owner, name);
    }

    /// Does what [`Reply::rewrite_body`] does for these records of the body.
    fn rewrite_records<'b>(
        &mut self,
        records: impl Iterator<Item = PreparedRecord<'b>>,
        entry: &EntryView<'_>,
        owner: Owner<'_>,
        name: &[u8],
    ) {
        let Some(layout) = entry.rtype.compressible_names() else { return };
        let mut target = ExpandedName::new();
        let mut owner = owner;
        for record in records {
            if self.out.len() > self.limit {
                return; // `push` takes it back
            }
            owner = self.write_owner(owner);
            let start = self.out.len() - 2;
            let rdata_at = record.at + RECORD_HEAD_LEN;
            self.out.extend_from_slice(&entry.body[record.at + 2..rdata_at + layout.skip]);
            let mut from = rdata_at + layout.skip;
            for _ in 0..layout.names {
                from = expand_name(entry.body, from, name, &mut target);
                self.write_name(&target);
            }
            self.out.extend_from_slice(&entry.body[from..rdata_at + record.rdata.len()]);
            self.end_rdata(start);
        }
    }

    /// Writes the RDLENGTH of the record whose fixed fields begin two octets behind `start`, and
    /// which now ends.
    fn end_rdata(&mut self, start: usize) {
        let len = (self.out.len() - start - RECORD_HEAD_LEN) as u16;
        self.out[start + 10..start + 12].copy_from_slice(&len.to_be_bytes());
    }

    /// Returns where the record behind the one at `start` starts, both as [`Reply::push`] says it.
    pub fn next_record(&self, start: usize) -> usize {
        let len = self.out.get(start + 10..start + RECORD_HEAD_LEN);
        let len = len.map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
        self.name_end(start + RECORD_HEAD_LEN + len) - 2
    }

    /// Returns by how much an RRset may be longer as it was prepared than it will be in this message.
    #[inline]
    fn slack(&self, entry: &EntryView<'_>, owner: Owner<'_>) -> usize {
        match owner {
            // Rewritten names may shrink by nearly all they have; the limit is looked at with each record.
            Owner::Elsewhere { .. } if !entry.pointers.is_empty() => self.limit,
            _ => 0,
        }
    }

    /// Appends the OPT record, which `limit` has left room for, and writes the header.
    #[inline(always)]
    pub fn finish(self, header: &Header, flags: u16, rcode: u16, opt: Option<&OptReply<'_>>) {
        let Self { out, limit, counts, question_end, .. } = self;
        debug_assert!(out.len() <= limit);
        let questions = u16::from(question_end > HEADER_LEN);
        finish(out, header, flags | rcode & 15, questions, counts, rcode, opt);
        debug_assert!(is_whole(out));
    }
}

/// Writes the reply whose answer section is one RRset, that of the question's name, and which has no
/// other records; says whether it fits. `out` is cleared.
///
/// `front` is the query's header and question; `limit` counts from the header on.
#[inline(always)] // the one call on the answer path
pub(crate) fn write_whole(
    out: &mut Vec<u8>,
    (front, header): (&[u8], &Header),
    entry: EntryView<'_>,
    flags: u16,
    limit: usize,
    opt: Option<&OptReply<'_>>,
) -> bool {
    if front.len() + entry.body.len() > limit {
        return false;
    }
    // All of it stands ready: an encoder would copy it just so, at 90 instructions more.
    out.clear();
    out.extend_from_slice(front);
    out.extend_from_slice(entry.body);
    if !entry.pointers.is_empty() {
        move_pointers(out, entry.pointers, front.len(), front.len());
    }
    finish(out, header, flags, 1, [entry.records, 0, 0], 0, opt);
    debug_assert!(is_whole(out));
    true
}

/// Whether a reply has the records that its header counts and ends with them: the reader's side of what
/// is asserted when it is written.
fn is_whole(out: &[u8]) -> bool {
    let names = |message: &Message<'_>| {
        let mut records = Section::ALL.into_iter().flat_map(|section| message.records(section));
        records.all(|record| record.expand_owner(&mut ExpandedName::new()).is_ok())
    };
    Message::read(out).is_ok_and(|message| names(&message))
}

/// Moves the pointers of a body that was copied to `start`, where `pointers` say that they stand. Its
/// owner ends as the question does, which itself ends at `question_end`.
#[inline(never)] // most bodies have none: the registers are better kept for those
fn move_pointers(out: &mut [u8], pointers: &[u8], start: usize, question_end: usize) {
    debug_assert!((HEADER_LEN..=start).contains(&question_end));
    debug_assert!(question_end <= PREPARED_QUESTION_END);
    // Prepared pointers below the question's end lead into it, others into the body itself.
    let question_back = (PREPARED_QUESTION_END - question_end) as u16;
    let body_back = question_back.wrapping_sub((start - question_end) as u16);
    for pair in pointers.as_chunks::<2>().0 {
        let at = start + usize::from(u16::from_le_bytes(*pair));
        let target = u16::from_be_bytes([out[at], out[at + 1]]) & !POINTER;
        let is_in_question = usize::from(target) < PREPARED_QUESTION_END;
        let moved = target.wrapping_sub(if is_in_question { question_back } else { body_back });
        debug_assert!((HEADER_LEN..out.len()).contains(&moved.into()));
        debug_assert!(moved <= POINTER_MAX);
        out[at..at + 2].copy_from_slice(&(POINTER | moved).to_be_bytes());
    }
}

/// Appends the OPT record and writes the header; `flags` are those that the reply sets, and the
/// lower bits of `rcode`.
#[inline(always)] // most arguments are constants
fn finish(
    out: &mut Vec<u8>,
    header: &Header,
    flags: u16,
    questions: u16,
    counts: [u16; 3],
    rcode: u16,
    opt: Option<&OptReply<'_>>,
) {
    if let Some(opt) = opt {
        opt.write(out, rcode);
    }
    let additionals = counts[2] + u16::from(opt.is_some());
    // Opcode and RD come back as they were (RFC 1035 section 4.1.1).
    let flags = 0x8000 | header.flags() & 0x7900 | flags;
    let words = [flags, questions, counts[0], counts[1]].map(u64::from);
    let front = words[0] << 48 | words[1] << 32 | words[2] << 16 | words[3];
    // The ID stands there already.
    if let Some(head) = out.first_chunk_mut::<HEADER_LEN>() {
        head[2..10].copy_from_slice(&front.to_be_bytes());
        head[10..12].copy_from_slice(&additionals.to_be_bytes());
    }
}

/// Names behind the question that later ones are compared with.
const NAMES_MAX: usize = 3 * crate::limits::ALIAS_CHAIN_MAX;
