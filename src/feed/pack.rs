//! A pack: thousands of RRsets of one zone in one piece of content.
//!
//! Layout: format (4 octets), apex in wire form, kind (0 base, 1 delta), count of items u32, table
//! of types and TTLs, items (`feed::items`). No revision stands in it, so that the same records
//! give the same octets, the same hash, and are not sent again.
//!
//! **Invariant:** a [`Pack`] that exists was proven in one pass; reading it again neither fails nor
//! allocates.
//! **Not here:** which packs make a zone (`feed::manifest`), where to cut (`export`).

use crate::feed::items::{ItemRef, ItemWriter, Items, PushError, read_table};
use crate::limits::PACK_OCTETS_MAX;
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader};
use crate::record::RrsetRef;

/// Octets that an RRset takes in a pack at most, by those of its owner name and of its RDATA with their
/// lengths.
pub(crate) const fn rrset_octets(owner: usize, rdata: usize) -> usize {
    owner + rdata + 16
}

/// A proven pack.
#[derive(Clone, Debug)]
pub struct Pack<'a> {
    /// The zone.
    apex: Name,
    /// Whether it holds changes rather than RRsets.
    is_delta: bool,
    /// Before the first item.
    items: Items<'a>,
}

impl<'a> Pack<'a> {
    /// Proves the octets of a pack, in one pass.
    ///
    /// # Errors
    /// [`DecodeError`] with the offset of the first wrong octet.
    pub fn check(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let pack = Self::open(octets)?;
        let mut proof = PackProof { items: pack.items.clone(), is_delta: pack.is_delta };
        while proof.next()?.is_some() {}
        Ok(pack)
    }

    /// Reads what stands in front of the items, and begins to prove these one by one.
    ///
    /// # Errors
    /// [`DecodeError`] with the offset of the first wrong octet.
    pub(crate) fn prove(octets: &'a [u8]) -> Result<(Name, PackProof<'a>), DecodeError> {
        let pack = Self::open(octets)?;
        Ok((pack.apex, PackProof { items: pack.items, is_delta: pack.is_delta }))
    }

    /// Reads what stands in front of the items.
    fn open(octets: &'a [u8]) -> Result<Self, DecodeError> {
        if octets.len() > PACK_OCTETS_MAX {
            let (found, max) = (octets.len() as u64, PACK_OCTETS_MAX as u64);
            return Err(DecodeError::TooMany { what: "length of a pack", at: 0, found, max });
        }
        let mut reader = OctetReader::new(octets);
        reader.format("pack", FORMAT)?;
        let apex = reader.name()?;
        let at = reader.at();
        let is_delta = match reader.u8("kind of a pack")? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::BadValue { what: "kind of a pack", at }),
        };
        let count = reader.u32("count of items")?;
        let table = read_table(&mut reader)?;
        let items = Items::new(reader, &apex, table, count);
        Ok(Self { apex, is_delta, items })
    }

    /// Returns the zone.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Whether it holds changes rather than a run of owner names.
    pub fn is_delta(&self) -> bool {
        self.is_delta
    }

    /// Returns how many items there are.
    pub fn item_count(&self) -> u32 {
        self.items.left()
    }

    /// Reads the items from the first on; see [`Items::next`].
    pub fn items(&self) -> Items<'a> {
        self.items.clone()
    }

    /// Hands every RRset to `take`, in canonical order; deletes are passed over.
    ///
    /// # Errors
    /// The first error of `take`.
    pub fn for_each_rrset<E>(
        &self,
        mut take: impl FnMut(RrsetRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut items = self.items();
        while let Some(item) = items.next() {
            if let ItemRef::Put(rrset) = item {
                take(rrset)?;
            }
        }
        Ok(())
    }
}

/// Proves the items of a pack one by one, and lends each.
#[derive(Clone, Debug)]
pub(crate) struct PackProof<'a> {
    /// Before the next item.
    items: Items<'a>,
    /// Whether it may hold deletes.
    is_delta: bool,
}

impl PackProof<'_> {
    /// Whether the pack holds changes rather than a run of owner names.
    pub(crate) fn is_delta(&self) -> bool {
        self.is_delta
    }

    /// Returns the owner name of the item before; at the beginning, the apex.
    pub(crate) fn owner(&self) -> &[u8] {
        self.items.owner()
    }

    /// Reads the next item; `None` when the whole pack is proven.
    ///
    /// # Errors
    /// [`DecodeError`] with the offset of the first wrong octet.
    #[allow(clippy::should_implement_trait)] // the item is lent, an iterator could not say so
    pub(crate) fn next(&mut self) -> Result<Option<ItemRef<'_>>, DecodeError> {
        let at = self.items.at();
        if self.items.left() == 0 {
            return self.items.end().map(|()| None);
        }
        match self.items.check_next()? {
            Some(ItemRef::Delete { .. }) if !self.is_delta => {
                Err(DecodeError::BadValue { what: "delete in a base pack", at })
            }
            item => Ok(item),
        }
    }
}

/// Whether octets begin as a delta pack does; proves nothing.
pub fn is_delta(octets: &[u8]) -> bool {
    Pack::open(octets).is_ok_and(|pack| pack.is_delta)
}

/// Writes one pack.
#[derive(Clone, Debug)]
pub struct PackWriter {
    /// The items so far.
    items: ItemWriter,
    /// Whether it may hold deletes.
    is_delta: bool,
}

impl PackWriter {
    /// Begins a pack with a run of owner names.
    pub fn base(apex: Name) -> Self {
        Self { items: ItemWriter::new(apex, true), is_delta: false }
    }

    /// Begins a pack with changes.
    pub fn delta(apex: Name) -> Self {
        Self { items: ItemWriter::new(apex, true), is_delta: true }
    }

    /// Appends one item; they come in canonical order.
    ///
    /// # Errors
    /// [`PushError`]; then nothing was appended.
    ///
    /// # Panics
    /// If a delete is pushed to a base pack.
    pub fn push(&mut self, item: ItemRef<'_>) -> Result<(), PushError> {
        let is_delete = matches!(item, ItemRef::Delete { .. });
        assert!(self.is_delta || !is_delete, "a base pack holds RRsets only");
        self.items.push(item)
    }

    /// Returns how many octets the pack has so far.
    pub fn len(&self) -> usize {
        HEAD_LEN + self.items.apex().as_wire().len() + self.items.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns how many items were pushed.
    pub fn count(&self) -> u32 {
        self.items.count()
    }

    /// Whether `owner` is the owner name of the last item.
    pub fn has_owner_before(&self, owner: &[u8]) -> bool {
        self.items.has_owner_before(owner)
    }

    /// Returns the pack's octets.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        FORMAT.put(&mut out);
        out.extend_from_slice(self.items.apex().as_wire());
        out.push(u8::from(self.is_delta));
        out.extend_from_slice(&self.items.count().to_be_bytes());
        self.items.put_table(&mut out);
        out.extend_from_slice(self.items.items());
        debug_assert!(out.len() == self.len());
        debug_assert!(Pack::open(&out).is_ok_and(|pack| pack.item_count() == self.count()));
        out
    }
}

/// Octets in front of the table, without the apex.
const HEAD_LEN: usize = 4 + 1 + 4;
/// The first octets of a pack.
const FORMAT: Format = Format { letters: *b"AP", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Change, RecordType, Rrset};

    fn rrset(owner: &str, rtype: RecordType, ttl_s: u32, rdata: &[&[u8]]) -> Rrset {
        Rrset::new(owner.parse().unwrap(), rtype, ttl_s, rdata).expect(owner)
    }

    fn base(rrsets: &[Rrset]) -> Vec<u8> {
        let mut writer = PackWriter::base("example".parse().unwrap());
        for rrset in rrsets {
            writer.push(ItemRef::Put(rrset.as_ref())).expect("in order");
        }
        writer.finish()
    }

    fn sample() -> Vec<Rrset> {
        vec![
            rrset("example", RecordType::NS, 60, &[b"\x01a\x07example\0", b"\x01b\x07example\0"]),
            rrset("example", RecordType::SOA, 60, &[&[7; 300]]),
            rrset("a.example", RecordType::A, 300, &[b"\xc0\0\x02\x01"]),
            rrset("a.example", RecordType::TXT, 300, &[b""]),
            rrset("x.a.example", RecordType::A, 300, &[b"\xc0\0\x02\x02"]),
            rrset("*.b.example", RecordType::A, 301, &[b"\xc0\0\x02\x03"]),
        ]
    }

    #[test]
    fn a_base_pack_reads_back_in_order() {
        let octets = base(&sample());
        let pack = Pack::check(&octets).expect("a good pack");
        assert_eq!(pack.item_count(), 6);
        let mut read = Vec::new();
        let mut items = pack.items();
        while let Some(item) = items.next() {
            read.push(item.to_change().expect("proven"));
        }
        let expected: Vec<_> = sample().into_iter().map(Change::Put).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_error_or_a_pack_never_a_panic() {
        let octets = base(&sample());
        for len in 0..octets.len() {
            assert!(Pack::check(&octets[..len]).is_err(), "cut at {len}");
        }
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(pack) = Pack::check(&flipped) {
                let mut items = pack.items();
                let mut count = 0;
                while let Some(item) = items.next() {
                    assert!(item.to_change().is_some(), "bit {bit}");
                    count += 1;
                }
                assert_eq!(count, pack.item_count(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_delete_stands_in_a_delta_only() {
        let mut writer = PackWriter::delta("example".parse().unwrap());
        let delete = ItemRef::Delete { owner: b"\x07example\0", rtype: RecordType::A };
        writer.push(delete).expect("the first item");
        let mut octets = writer.finish();
        let pack = Pack::check(&octets).expect("a delta");
        assert!(pack.is_delta());
        assert_eq!(pack.items().next(), Some(delete));
        let kind_at = 4 + b"\x07example\0".len();
        octets[kind_at] = 0;
        let error = Pack::check(&octets).expect_err("a delete in a base");
        assert!(matches!(error, DecodeError::BadValue { what: "delete in a base pack", .. }));
    }

    #[test]
    fn the_type_table_overflows_into_explicit_types() {
        let rrsets: Vec<Rrset> = (0..600)
            .map(|ttl| rrset(&format!("a{ttl:03}.example"), RecordType::A, ttl, &[b"abcd"]))
            .collect();
        let octets = base(&rrsets);
        let pack = Pack::check(&octets).expect("a good pack");
        let mut ttls = Vec::new();
        pack.for_each_rrset(|rrset| {
            ttls.push(rrset.ttl_s);
            Ok::<(), ()>(())
        })
        .expect("no error was made");
        assert_eq!(ttls, (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn names_of_full_length_fit_and_longer_ones_are_told() {
        let label = "a".repeat(63);
        let owner = format!("{label}.{label}.{label}.{}", "a".repeat(61 - 8)) + ".example";
        let full = rrset(&owner, RecordType::A, 1, &[b"abcd"]);
        assert_eq!(full.owner.as_wire().len(), 255);
        let octets = base(std::slice::from_ref(&full));
        let pack = Pack::check(&octets).expect("255 octets");
        let change = pack.items().next().and_then(ItemRef::to_change);
        assert_eq!(change, Some(Change::Put(full)));
        // The same labels below a longer apex are too long.
        let apex_at = 4;
        let mut longer = octets[..apex_at].to_vec();
        longer.extend_from_slice(b"\x08examples\0");
        longer.extend_from_slice(&octets[apex_at + 9..]);
        assert!(matches!(Pack::check(&longer), Err(DecodeError::BadName { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_changes_in_order_read_back(
            changes in proptest::collection::vec(
                (
                    proptest::collection::vec(proptest::collection::vec(0_u8.., 1..4), 0..4),
                    1_u16..70,
                    proptest::option::of((0_u32..4, proptest::collection::vec(0_u8.., 0..40))),
                ),
                0..40,
            ),
        ) {
            let apex: Name = "example".parse().unwrap();
            let changes: Vec<Change> = changes
                .into_iter()
                .filter(|(_, rtype, _)| !RecordType(*rtype).is_meta())
                .map(|(labels, rtype, rdata)| {
                    let below = |name: Name, label: &Vec<u8>| name.with_label(label).unwrap();
                    let owner = labels.iter().fold(apex.clone(), below);
                    let rtype = RecordType(rtype);
                    match rdata {
                        None => Change::Delete { owner, rtype },
                        Some((ttl_s, rdata)) => {
                            Change::Put(Rrset::new(owner, rtype, ttl_s, [rdata]).unwrap())
                        }
                    }
                })
                .collect();
            let sorted = crate::feed::live::coalesce(&changes);
            let mut writer = PackWriter::delta(apex);
            for change in &sorted {
                writer.push(crate::feed::items::item_of(change)).expect("in order");
            }
            let octets = writer.finish();
            let pack = Pack::check(&octets).expect("a good pack");
            let mut items = pack.items();
            for change in sorted {
                let read = items.next().and_then(ItemRef::to_change);
                proptest::prop_assert_eq!(read.as_ref(), Some(change));
            }
            proptest::prop_assert!(items.next().is_none());
        }

        #[test]
        fn no_octets_make_a_pack_panic(octets in proptest::collection::vec(0_u8.., 0..200)) {
            let head = b"AP\x01\0\x07example\0\x01\0\0\0\x05\x01\0\x01\0\0\0\x3c";
            for octets in [octets.clone(), [&head[..], &octets].concat()] {
                if let Ok(pack) = Pack::check(&octets) {
                    let mut items = pack.items();
                    while let Some(item) = items.next() {
                        proptest::prop_assert!(item.to_change().is_some());
                    }
                }
            }
        }
    }
}
