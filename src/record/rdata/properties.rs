//! What must hold for RDATA of every type, on random wire form and random text.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Every type that has a layout, and some that have none.
fn any_type() -> impl Strategy<Value = RecordType> {
    let known: Vec<u16> = (1..300).chain([32_768, 32_769]).collect();
    prop_oneof![9 => prop::sample::select(known), 1 => any::<u16>()]
        .prop_map(RecordType)
        .prop_filter("types of questions have no RDATA", |rtype| !rtype.is_meta())
}

/// A name in wire form with any octets in its labels.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    vec(vec(any::<u8>(), 1..8), 0..4).prop_map(|labels| {
        let mut wire: Vec<u8> =
            labels.iter().flat_map(|l| [&[l.len().to_be_bytes()[7]], &l[..]].concat()).collect();
        wire.push(0);
        wire
    })
}

/// A character-string in wire form.
fn any_string(octets: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), octets).prop_map(|text| [&[text.len().to_be_bytes()[7]], &text[..]].concat())
}

/// A bitmap of types.
fn any_bitmap() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::btree_map(any::<u8>(), vec(any::<u8>(), 0..32), 0..3).prop_map(|windows| {
        let window = |(number, mut bits): (u8, Vec<u8>)| {
            bits.push(1);
            [&[number, bits.len().to_be_bytes()[7]], &bits[..]].concat()
        };
        windows.into_iter().flat_map(window).collect()
    })
}

/// SVCB parameters of which each may be there or not.
fn any_parameters() -> impl Strategy<Value = Vec<u8>> {
    let some = |key: u16, value: BoxedStrategy<Vec<u8>>| {
        prop::option::of(value).prop_map(move |value| {
            let value = value?;
            let len = u16::try_from(value.len()).ok()?.to_be_bytes();
            Some([&key.to_be_bytes()[..], &len, &value].concat())
        })
    };
    (
        some(1, vec(any_string(1..5), 1..3).prop_map(|list| list.concat()).boxed()),
        some(3, vec(any::<u8>(), 2).boxed()),
        some(4, vec(any::<u8>(), 4).boxed()),
        some(5, vec(any::<u8>(), 1..9).boxed()),
        some(6, vec(any::<u8>(), 32).boxed()),
        some(7, "[ -~]{1,9}".prop_map(String::into_bytes).boxed()),
        some(9, Just(vec![0, 29, 0, 23]).boxed()),
        some(667, vec(any::<u8>(), 0..9).boxed()),
    )
        .prop_map(|p| {
            [p.0, p.1, p.2, p.3, p.4, p.5, p.6, p.7].into_iter().flatten().flatten().collect()
        })
}

/// Wire form of one field.
fn any_field(field: &'static str, kind: Kind) -> BoxedStrategy<Vec<u8>> {
    let octets = |len: usize| vec(any::<u8>(), len).boxed();
    match kind {
        Kind::U8 | Kind::Named8(_) => octets(1),
        Kind::U16 | Kind::Named16(_) | Kind::Type => octets(2),
        Kind::U32 | Kind::Seconds | Kind::Time | Kind::Ipv4 => octets(4),
        Kind::U64 => octets(8),
        Kind::Ipv6 => octets(16),
        Kind::Name => any_name().boxed(),
        Kind::Names => vec(any_name(), 0..3).prop_map(|names| names.concat()).boxed(),
        Kind::Text | Kind::Salt => any_string(0..20).boxed(),
        Kind::Hash => any_string(1..20).boxed(),
        Kind::Texts => vec(any_string(0..20), 1..4).prop_map(|texts| texts.concat()).boxed(),
        Kind::Tag => "[a-zA-Z0-9]{1,9}"
            .prop_map(|tag| [&[tag.len().to_be_bytes()[7]], tag.as_bytes()].concat())
            .boxed(),
        Kind::LongText(min) | Kind::Hex(min) | Kind::Base64(min) => {
            vec(any::<u8>(), min..min + 40).boxed()
        }
        Kind::Types => any_bitmap().boxed(),
        Kind::Other(_) => match field {
            "parameters" => any_parameters().boxed(),
            "gateway" => (0..5_u8, any::<u8>(), any_name(), vec(any::<u8>(), 16))
                .prop_map(|(kind, algorithm, name, address)| {
                    let host = [&[][..], &address[..4], &address, &name, b"x"][usize::from(kind)];
                    [&[kind, algorithm], host].concat()
                })
                .boxed(),
            "relay" => (0..5_u8, any::<bool>(), any_name(), vec(any::<u8>(), 16))
                .prop_map(|(kind, bit, name, address)| {
                    let host = [&[][..], &address[..4], &address, &name, b"x"][usize::from(kind)];
                    [&[kind | u8::from(bit) << 7], host].concat()
                })
                .boxed(),
            "prefix and suffix" => (0..131_u8, any::<[u8; 16]>(), any_name())
                .prop_map(|(bits, address, name)| {
                    let suffix_len = usize::from(128_u8.saturating_sub(bits).div_ceil(8));
                    let mut wire = [&[bits], &address[16 - suffix_len..]].concat();
                    if suffix_len > 0 {
                        wire[1] &= u8::MAX >> (bits % 8);
                    }
                    wire.extend(name.iter().take_while(|_| bits > 0));
                    wire
                })
                .boxed(),
            "identity" => (vec(any::<u8>(), 1..20), any::<u8>(), vec(any::<u8>(), 1..20))
                .prop_map(|(tag, algorithm, key)| {
                    let lens =
                        [tag.len().to_be_bytes()[7], algorithm, 0, key.len().to_be_bytes()[7]];
                    [&lens[..], &tag, &key].concat()
                })
                .boxed(),
            "location" => (vec(0..10_u8, 6), any::<[u32; 3]>())
                .prop_map(|(sizes, [latitude, longitude, altitude])| {
                    let mut wire = vec![0];
                    wire.extend(sizes.chunks(2).map(|size| size[0] << 4 | size[1]));
                    wire.extend(
                        ((1_u32 << 31) - 324_000_000 + latitude % 648_000_001).to_be_bytes(),
                    );
                    wire.extend(
                        ((1_u32 << 31) - 648_000_000 + longitude % 1_296_000_001).to_be_bytes(),
                    );
                    wire.extend(altitude.to_be_bytes());
                    wire
                })
                .boxed(),
            "prefixes" => vec((1..4_u16, any::<bool>(), 0..33_u8, vec(1..=255_u8, 0..5)), 0..4)
                .prop_map(|prefixes| {
                    let prefix = |(family, is_negated, bits, address): (u16, bool, u8, Vec<u8>)| {
                        let len = address.len().to_be_bytes()[7] | u8::from(is_negated) << 7;
                        [&family.to_be_bytes()[..], &[bits, len], &address].concat()
                    };
                    prefixes.into_iter().flat_map(prefix).collect()
                })
                .boxed(),
            "address" | "locator" | "node" => prop_oneof![octets(6), octets(8)].boxed(),
            _ => vec(any::<u8>(), 0..20).boxed(),
        },
    }
}

/// A type and wire form made of its fields; a few do not pass `check`.
fn any_rdata() -> impl Strategy<Value = (RecordType, Vec<u8>)> {
    any_type().prop_flat_map(|rtype| {
        let fields = layout::layout(rtype).map_or(&[][..], |layout| layout.fields);
        let fields: Vec<_> = fields.iter().map(|(field, kind)| any_field(field, *kind)).collect();
        let wire = if fields.is_empty() {
            vec(any::<u8>(), 0..20).boxed()
        } else {
            fields.prop_map(|fields| fields.concat()).boxed()
        };
        (Just(rtype), wire)
    })
}

/// Writes RDATA.
fn show(rtype: RecordType, rdata: &[u8]) -> String {
    let mut text = String::new();
    write(rtype, rdata, &mut text);
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn wire_form_is_read_back_from_its_text((rtype, rdata) in any_rdata()) {
        let text = show(rtype, &rdata);
        match check(rtype, &rdata) {
            Ok(()) => prop_assert_eq!(parse(rtype, &text, &Name::root()), Ok(rdata), "{} {}", rtype, text),
            Err(error) => {
                prop_assert!(text.starts_with("\\# "), "{} {} {}", rtype, text, error);
                prop_assert!(parse(rtype, &text, &Name::root()).is_err(), "{} {}", rtype, text);
            }
        }
    }

    #[test]
    fn names_lie_inside_and_are_names((rtype, rdata) in any_rdata()) {
        let mut end = 0;
        for (at, len) in names(rtype, &rdata) {
            prop_assert!(at >= end);
            end = at + len;
            prop_assert!(Name::from_wire(&rdata[at..end]).is_ok(), "{}", rtype);
        }
        prop_assert!(end <= rdata.len());
    }

    #[test]
    fn facts_speak_of_names_that_are_there((rtype, rdata) in any_rdata()) {
        prop_assume!(check(rtype, &rdata).is_ok());
        let found: Vec<_> = names(rtype, &rdata).collect();
        if let Some(layout) = rtype.compressible_names() {
            prop_assert!(layout.fits(&rdata), "{}", rtype);
            let mut at = layout.skip;
            for &(start, len) in &found {
                prop_assert_eq!(start, at, "{}", rtype);
                at += len;
            }
            prop_assert_eq!((found.len(), rdata.len()), (layout.names, at + layout.tail), "{}", rtype);
        }
        if let Some((skip, count)) = rtype.sent_names(&rdata) {
            let mut at = skip;
            for &(start, len) in &found {
                prop_assert_eq!(start, at, "{}", rtype);
                at += len;
            }
            prop_assert_eq!(found.len(), count, "{}", rtype);
        }
        // An A6 record of all 128 bits has no prefix to name.
        let has_none = rtype == RecordType::A6 && rdata[0] == 0;
        prop_assert!(!rtype.has_lower_names() || has_none || !found.is_empty(), "{}", rtype);
        prop_assert!(rtype.host_at().is_some() || !rtype.needs_host_address(), "{}", rtype);
        if let Some(host_at) = rtype.host_at() {
            let host = found.iter().find(|name| name.0 == host_at);
            prop_assert!(host.is_some(), "{}", rtype);
            let ends = host.is_some_and(|(at, len)| at + len == rdata.len());
            prop_assert!(ends || !rtype.needs_host_address(), "{}", rtype);
        }
        if rtype.is_address() {
            prop_assert!(found.is_empty() && [4, 16].contains(&rdata.len()), "{}", rtype);
        }
    }

    #[test]
    fn a_record_in_a_master_file_is_the_record((rtype, rdata) in any_rdata()) {
        prop_assume!(check(rtype, &rdata).is_ok());
        let text = format!("x 5 {rtype} {}", show(rtype, &rdata));
        let records: Vec<_> = crate::record::master::MasterReader::new(
            text.as_bytes(), &Name::root(), Default::default(),
        ).collect();
        prop_assert_eq!(records.len(), 1);
        prop_assert_eq!(records[0].as_ref().map(|record| &record.rdata), Ok(&rdata), "{}", text);
    }

    #[test]
    fn no_octets_make_the_codec_panic(rtype in any_type(), rdata in vec(any::<u8>(), 0..64)) {
        let is_good = check(rtype, &rdata).is_ok();
        prop_assert_eq!(parse(rtype, &show(rtype, &rdata), &Name::root()).is_ok(), is_good);
        prop_assert!(names(rtype, &rdata).count() <= rdata.len());
    }

    #[test]
    fn no_text_makes_the_codec_panic(
        rtype in any_type(),
        words in vec(prop_oneof![
            "[ -~]{0,6}", "[0-9]{1,6}", "[0-9a-f]{2}(:[0-9a-f]{1,2}){1,7}", "(key[0-9]{0,3}|alpn|port|mandatory|ipv4hint)=?[a-z0-9,]{0,4}",
            Just("\\#".to_owned()), Just("(".to_owned()), Just(")".to_owned()), Just("\"".to_owned()), Just("192.0.2.1".to_owned()), Just("é.".to_owned()),
            Just("N".to_owned()), Just("E".to_owned()), Just("\\".to_owned()), Just("-".to_owned()), Just("A".to_owned()),
        ], 0..9),
    ) {
        if let Ok(rdata) = parse(rtype, &words.join(" "), &Name::root()) {
            prop_assert_eq!(check(rtype, &rdata), Ok(()));
            prop_assert_eq!(parse(rtype, &show(rtype, &rdata), &Name::root()), Ok(rdata));
        }
    }
}
