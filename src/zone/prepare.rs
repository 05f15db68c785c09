//! RRsets as an answer section has them, made once when the snapshot is built.
//!
//! A body is a run of records, each `C0 0C`, type, class IN, TTL, RDLENGTH, RDATA. Names in the
//! RDATA of the types of RFC 1035 are compressed (RFC 3597 section 4 forbids it for all others),
//! and every pointer is right for one message: the one whose question ends as the RRset's owner
//! does, is as long as a name can be, and is followed by the body. A shorter question has every pointer
//! off by the same number of octets; where the body stands elsewhere, it is expanded and written
//! anew (`wire::reply`). So the body does not depend on the owner's length, and owners with the same
//! RRset can share it (`zone::arena`): all delegations to the same name servers, say.
//!
//! **Invariant:** pointers lead into the owner's labels or into the body, always backwards.

use super::node::EntryView;
use crate::limits::NAME_OCTETS_MAX;
use crate::message::{ExpandedName, HEADER_LEN, POINTER, RECORD_HEAD_LEN};
use crate::name;
use crate::record::RecordType;
use crate::record::facts::NameLayout;
use crate::record::rrset::RdataIter;

/// Where the question ends in the message that pointers are prepared for, and the body begins.
pub(crate) const PREPARED_QUESTION_END: usize = PREPARED_NAME_END + 4;
/// Where the question's name ends there.
const PREPARED_NAME_END: usize = HEADER_LEN + NAME_OCTETS_MAX;

/// Writes bodies; keeps its buffers from one RRset to the next.
#[derive(Debug, Default)]
pub(crate) struct Preparer {
    /// The names that pointers may lead into, one after the other.
    names: Vec<u8>,
    /// Suffixes of these: place in a message, then start and end in `names`.
    suffixes: Vec<(u16, u32, u32)>,
}

impl Preparer {
    /// Appends the body of one RRset to `body`, which is empty, and its pointers to `pointers`.
    ///
    /// Returns how many records it has. The RDATA must fit its [`NameLayout`].
    pub(crate) fn prepare(
        &mut self,
        owner: &[u8],
        rtype: RecordType,
        ttl_s: u32,
        rdata: RdataIter<'_>,
        body: &mut Vec<u8>,
        pointers: &mut Vec<u8>,
    ) -> u16 {
        debug_assert!(body.is_empty());
        let layout = rtype.compressible_names();
        if layout.is_some() {
            self.begin(owner);
        }
        let mut records = 0_u16;
        for octets in rdata {
            write_head(body, rtype, ttl_s);
            let rdata_at = body.len();
            match layout {
                None => body.extend_from_slice(octets),
                Some(layout) => self.compress(layout, octets, body, pointers),
            }
            let len = u16::try_from(body.len() - rdata_at).expect("RDATA only shrinks here");
            body[rdata_at - 2..rdata_at].copy_from_slice(&len.to_be_bytes());
            records += 1;
        }
        records
    }

    /// Makes the owner's suffixes known, as the question will hold them.
    fn begin(&mut self, owner: &[u8]) {
        self.names.clear();
        self.suffixes.clear();
        // A wildcard answers for other names: in their questions its own first label is missing.
        let known = owner.strip_prefix(b"\x01*").unwrap_or(owner);
        self.learn(known, known.len(), PREPARED_NAME_END - known.len());
    }

    /// Remembers the suffixes of a name that start in its first `literal_len` octets,
    /// which stand at `place` of the message.
    fn learn(&mut self, wire: &[u8], literal_len: usize, place: usize) {
        let base = self.names.len();
        self.names.extend_from_slice(wire);
        let mut at = 0;
        while at < literal_len && wire[at] != 0 {
            let fits = place + at < 1 << 14;
            if !fits || self.suffixes.len() >= SUFFIXES_MAX {
                return;
            }
            let end = base + wire.len();
            self.suffixes.push(((place + at) as u16, (base + at) as u32, end as u32));
            at += usize::from(wire[at]) + 1;
        }
    }

    /// Appends RDATA with its names compressed.
    fn compress(
        &mut self,
        layout: NameLayout,
        octets: &[u8],
        body: &mut Vec<u8>,
        pointers: &mut Vec<u8>,
    ) {
        debug_assert!(layout.fits(octets));
        let (head, mut rest) = octets.split_at(layout.skip);
        body.extend_from_slice(head);
        for _ in 0..layout.names {
            let len = name::wire_len(rest).unwrap_or(0);
            let place = PREPARED_QUESTION_END + body.len();
            self.compress_name(&rest[..len], place, body, pointers);
            rest = &rest[len..];
        }
        body.extend_from_slice(rest);
    }

    /// Appends one name: the labels that are new, then a pointer or the root label.
    ///
    /// Only octets that are equal are shared, so that the RDATA keeps the case of its author.
    fn compress_name(
        &mut self,
        wire: &[u8],
        place: usize,
        body: &mut Vec<u8>,
        pointers: &mut Vec<u8>,
    ) {
        let mut at = 0;
        while wire[at] != 0 {
            let pointer_at = body.len() + at;
            let known = self
                .suffixes
                .iter()
                .find(|(_, start, end)| self.names[*start as usize..*end as usize] == wire[at..]);
            if let (Some(&(target, ..)), Ok(pointer_at)) = (known, u16::try_from(pointer_at)) {
                body.extend_from_slice(&wire[..at]);
                body.extend_from_slice(&(POINTER | target).to_be_bytes());
                pointers.extend_from_slice(&pointer_at.to_le_bytes());
                self.learn(wire, at, place);
                return;
            }
            at += usize::from(wire[at]) + 1;
        }
        body.extend_from_slice(wire);
        self.learn(wire, wire.len(), place);
    }
}

/// Appends a record up to its RDLENGTH, which is left zero.
pub(crate) fn write_head(body: &mut Vec<u8>, rtype: RecordType, ttl_s: u32) {
    let mut head = [0; RECORD_HEAD_LEN];
    head[..2].copy_from_slice(&(POINTER | HEADER_LEN as u16).to_be_bytes());
    head[2..4].copy_from_slice(&rtype.0.to_be_bytes());
    head[5] = 1;
    head[6..10].copy_from_slice(&ttl_s.to_be_bytes());
    body.extend_from_slice(&head);
}

/// One record of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreparedRecord<'a> {
    /// Where in the body the record starts.
    pub at: usize,
    /// The TTL in seconds.
    pub ttl_s: u32,
    /// The RDATA, its names possibly compressed.
    pub rdata: &'a [u8],
}

/// Iterates over the records of a body or of signatures.
pub(crate) fn records(body: &[u8]) -> impl Iterator<Item = PreparedRecord<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = body.get(at..at + RECORD_HEAD_LEN)?;
        let ttl_s = u32::from_be_bytes([head[6], head[7], head[8], head[9]]);
        let len = usize::from(u16::from_be_bytes([head[10], head[11]]));
        let rdata = &body[at + RECORD_HEAD_LEN..at + RECORD_HEAD_LEN + len];
        let record = PreparedRecord { at, ttl_s, rdata };
        at += RECORD_HEAD_LEN + len;
        Some(record)
    })
}

/// Expands the name at `at` of a body whose owner is `owner`; returns where it ends there.
pub(crate) fn expand_name(
    body: &[u8],
    mut at: usize,
    owner: &[u8],
    name: &mut ExpandedName,
) -> usize {
    name.clear();
    let mut source = body;
    let mut end = None;
    loop {
        let label_len = source[at];
        if label_len & 0xc0 == 0xc0 {
            let target = usize::from(u16::from_be_bytes([label_len & 0x3f, source[at + 1]]));
            end.get_or_insert(at + 2);
            (source, at) = match target.checked_sub(PREPARED_QUESTION_END) {
                Some(body_at) => (body, body_at),
                None => (owner, owner.len() - (PREPARED_NAME_END - target)),
            };
            continue;
        }
        let next = at + usize::from(label_len) + 1;
        let _ = name.try_extend_from_slice(&source[at..next]);
        at = next;
        if label_len == 0 {
            return end.unwrap_or(at);
        }
    }
}

/// Returns the pointer, in a prepared body, to the whole owner of this length.
#[inline]
pub(crate) fn owner_pointer(owner_len: usize) -> u16 {
    debug_assert!(owner_len <= NAME_OCTETS_MAX);
    POINTER | (PREPARED_NAME_END - owner_len) as u16
}

/// Appends one record's RDATA with all names expanded.
pub(crate) fn expand_rdata(
    entry: &EntryView<'_>,
    record: &PreparedRecord<'_>,
    owner: &[u8],
    out: &mut Vec<u8>,
) {
    let Some(layout) = entry.rtype.compressible_names().filter(|_| !entry.pointers.is_empty())
    else {
        out.extend_from_slice(record.rdata);
        return;
    };
    let rdata_at = record.at + RECORD_HEAD_LEN;
    let end = rdata_at + record.rdata.len();
    let mut at = rdata_at + layout.skip;
    out.extend_from_slice(&entry.body[rdata_at..at]);
    let mut name = ExpandedName::new();
    for _ in 0..layout.names {
        at = expand_name(entry.body, at, owner, &mut name);
        out.extend_from_slice(&name);
    }
    out.extend_from_slice(&entry.body[at..end]);
}

/// Suffixes that one RRset's names may be compressed against. More are rarely worth the search.
const SUFFIXES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use hickory_proto::op::Message;

    fn wire(text: &str) -> Vec<u8> {
        Name::from_text(text).expect(text).as_wire().to_vec()
    }

    /// Prepares, lets hickory-proto decode the message, and expands again.
    fn check(owner: &str, rtype: RecordType, rdata: &[Vec<u8>], body_len: usize) {
        let owner = wire(owner);
        let list = crate::record::RdataList::new(rdata).expect("records");
        let (mut body, mut pointers) = (Vec::new(), Vec::new());
        let records =
            Preparer::default().prepare(&owner, rtype, 300, list.iter(), &mut body, &mut pointers);
        assert_eq!(body.len(), body_len);
        let entry = EntryView { rtype, records, body: &body, sigs: &[], pointers: &pointers };
        for (record, expected) in super::records(&body).zip(rdata) {
            let mut expanded = Vec::new();
            expand_rdata(&entry, &record, &owner, &mut expanded);
            assert_eq!(&expanded, expected);
        }
        // The longest question that ends so is the one that pointers are right for.
        let [high, low] = records.to_be_bytes();
        let mut message = vec![0, 0, 0x80, 0, 0, 1, high, low, 0, 0, 0, 0];
        let mut left = NAME_OCTETS_MAX - owner.len();
        while left > 0 {
            // 65 octets are no label, and less one of 63 they leave too little for another.
            let label_len = if left == 65 { 62 } else { (left - 1).min(63) };
            message.push(label_len as u8);
            message.resize(message.len() + label_len, b'x');
            left -= label_len + 1;
        }
        message.extend_from_slice(&owner);
        message.extend_from_slice(&[0, 1, 0, 1]);
        message.extend_from_slice(&body);
        let message = Message::from_vec(&message).expect("hickory reads it");
        assert_eq!(message.answers.len(), rdata.len());
    }

    #[test]
    fn names_are_compressed_against_the_question_and_each_other() {
        let mx = |host: &str| [vec![0, 10], wire(host)].concat();
        check("example.com", RecordType::MX, &[mx("mail.example.com")], 12 + 2 + 5 + 2);
        check(
            "example.com",
            RecordType::NS,
            &[wire("a.ns.test"), wire("b.ns.test")],
            12 + 11 + 12 + 4,
        );
        check(
            "example.com",
            RecordType::NS,
            &[wire("example.com"), wire("com"), wire(".")],
            12 * 3 + 2 + 2 + 1,
        );
        check("x.example", RecordType::A, &[vec![192, 0, 2, 1], vec![192, 0, 2, 2]], 32);
        let soa = [wire("ns.x.test"), wire("host.x.test"), vec![0; 20]].concat();
        check(".", RecordType::SOA, &[soa], 12 + 11 + 7 + 20);
    }

    #[test]
    fn a_thousand_records_keep_pointers_within_reach() {
        let rdata: Vec<Vec<u8>> = (0..1_000).map(|i| wire(&format!("ns{i}.some.test"))).collect();
        let lens: usize = rdata.iter().skip(1).map(|name| 12 + name.len() - 11 + 2).sum();
        check("example.com", RecordType::NS, &rdata, 12 + rdata[0].len() + lens);
    }
}
