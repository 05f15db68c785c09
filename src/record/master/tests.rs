//! Master files as text in, records, RRsets or errors out.

use proptest::prelude::*;

use super::*;
use crate::record::{Rrset, rdata};

/// Shows each record as `owner ttl type rdata`, one a line; or the error.
fn show(text: &str) -> String {
    let origin = Name::from_text("example.").unwrap();
    let mut opener = |path: &str| match path {
        "a" => Ok(b"in A 192.0.2.9\n$ORIGIN deep\n$TTL 9\nx A 192.0.2.9".to_vec()),
        "self" => Ok(b"$INCLUDE self".to_vec()),
        "bad" => Ok(b"\n ok A 192.0.2.1\n".to_vec()),
        _ => Err(IncludeError::Unreadable(io::ErrorKind::NotFound)),
    };
    let options =
        MasterOptions { file: "f".to_owned(), opener: Some(&mut opener), ..Default::default() };
    let mut shown = String::new();
    for record in MasterReader::new(text.as_bytes(), &origin, options) {
        match record {
            Ok(MasterRecord { owner, rtype, ttl_s, rdata, .. }) => {
                shown += &format!("{owner} {ttl_s} {rtype} ");
                rdata::write(rtype, &rdata, &mut shown);
                shown += "\n";
            }
            Err(error) => shown += &error.to_string(),
        }
    }
    shown
}

fn check(text: &str, records: &str) {
    assert_eq!(show(text).trim(), records, "{text:?}");
}

#[test]
fn owner_ttl_and_class_may_be_left_out_or_change_places() {
    check(
        "a A 192.0.2.1\n  60 IN A 192.0.2.2\n\tIN 1h A 192.0.2.3\nA.b. CLASS1 A 192.0.2.4\n@ a 192.0.2.5",
        "a.example 3600 A 192.0.2.1\na.example 60 A 192.0.2.2\na.example 3600 A 192.0.2.3\n\
         a.b 3600 A 192.0.2.4\nexample 3600 A 192.0.2.5",
    );
}

#[test]
fn ttl_is_that_of_the_directive_else_the_last_stated_else_an_hour() {
    check(
        "a A 192.0.2.1\na 5 A 192.0.2.1\na A 192.0.2.1\n$TTL 1m\na A 192.0.2.1\na 7 A 192.0.2.1\n a 192.0.2.1",
        "a.example 3600 A 192.0.2.1\na.example 5 A 192.0.2.1\na.example 5 A 192.0.2.1\n\
         a.example 60 A 192.0.2.1\na.example 7 A 192.0.2.1\na.example 60 A 192.0.2.1",
    );
}

#[test]
fn lines_may_end_in_crlf_or_not_at_all_and_comments_are_nothing() {
    check(
        "\u{feff}; c\r\n\r\n   \r\na ( ; (\r\n IN\r\n A 192.0.2.1 ) ; )\r\n$ORIGIN x\r\nb A 192.0.2.2",
        "a.example 3600 A 192.0.2.1\nb.x.example 3600 A 192.0.2.2",
    );
    check("", "");
    check(";", "");
    check("( \n )", "");
}

#[test]
fn names_and_strings_take_escapes_and_any_octet() {
    check(
        "a\\.b\\032 TXT \\\"x \"y\\\";z\" é",
        "a\\.b\\032.example 3600 TXT \"\\\"x\" \"y\\\";z\" \"\\195\\169\"",
    );
    check("é CNAME é", "\\195\\169.example 3600 CNAME \\195\\169.example.");
    check("x TYPE65534 \\# 2 ab cd", "x.example 3600 TYPE65534 \\# 2 abcd");
}

#[test]
fn names_in_rdata_keep_the_case_of_the_origin_and_owners_do_not() {
    check(
        "$ORIGIN Sub\nA MX 1 Mx\n MX 2 @",
        "a.sub.example 3600 MX 1 Mx.Sub.example.\na.sub.example 3600 MX 2 Sub.example.",
    );
}

#[test]
fn an_included_file_leaves_origin_and_owner_as_they_were() {
    check(
        "o A 192.0.2.1\n$INCLUDE a inc\n A 192.0.2.2",
        "o.example 3600 A 192.0.2.1\nin.inc.example 3600 A 192.0.2.9\n\
         x.deep.inc.example 9 A 192.0.2.9\no.example 9 A 192.0.2.2",
    );
}

#[test]
fn generate_fills_a_template() {
    check(
        "$GENERATE 1-3/2 h${0,3} 60 A 192.0.2.$ ; two\n$GENERATE 2-2 $ MX \"1$\" m$",
        "h001.example 60 A 192.0.2.1\nh003.example 60 A 192.0.2.3\n2.example 60 MX 12 m2.example.",
    );
}

#[test]
fn an_owner_written_again_means_what_it_says_there() {
    check(
        "a A 192.0.2.1\na A 192.0.2.2\n$ORIGIN x\na A 192.0.2.3\n@ A 192.0.2.4\n\"@\" A 192.0.2.5\n\
         @ A 192.0.2.6\n\"\\@\" A 192.0.2.7\nab A 192.0.2.8\na A 192.0.2.9",
        "a.example 3600 A 192.0.2.1\na.example 3600 A 192.0.2.2\na.x.example 3600 A 192.0.2.3\n\
         x.example 3600 A 192.0.2.4\n\\@.x.example 3600 A 192.0.2.5\nx.example 3600 A 192.0.2.6\n\
         \\@.x.example 3600 A 192.0.2.7\nab.x.example 3600 A 192.0.2.8\na.x.example 3600 A 192.0.2.9",
    );
    // The words of a template stand elsewhere, where the file has others.
    check(
        "a A 192.0.2.1\n$GENERATE 1-2 b A 192.0.2.$\na A 192.0.2.3\n$INCLUDE a\na A 192.0.2.4",
        "a.example 3600 A 192.0.2.1\nb.example 3600 A 192.0.2.1\nb.example 3600 A 192.0.2.2\n\
         a.example 3600 A 192.0.2.3\nin.example 3600 A 192.0.2.9\nx.deep.example 9 A 192.0.2.9\n\
         a.example 9 A 192.0.2.4",
    );
}

#[test]
fn errors_name_file_line_column_and_rule() {
    for (text, error) in [
        (" A 192.0.2.1", "f:1:2: the first record has no owner name"),
        (
            "a A 192.0.2.1\nb A 192.0.2.256",
            "a.example 3600 A 192.0.2.1\nf:2:5: A: the address is not an IPv4",
        ),
        ("a MX (\n1 )", "f:2:2: MX: the host is missing"),
        ("a MX 1 b c", "f:1:10: MX: text follows"),
        ("a FOO x", "f:1:3: \"FOO\" is neither a TTL"),
        ("a 60", "f:1:5: no type follows"),
        ("a 60 60 A x", "f:1:6: \"60\" is neither"),
        ("a 2147483648 A 192.0.2.1", "f:1:3: \"2147483648\" is no TTL"),
        ("a..b A 192.0.2.1", "f:1:1: the owner: a label is empty"),
        ("a TXT \"x", "f:1:7: a quoted string is not closed"),
        ("a TXT (x", "f:1:7: a parenthesis is not closed"),
        ("$FOO", "f:1:1: $FOO is none of"),
        ("$TTL", "f:1:5: $TTL lacks its number of seconds"),
        ("$TTL 1 2", "f:1:8: text follows what $TTL takes"),
        ("$ORIGIN a..", "f:1:9: the origin: a label is empty"),
        ("$INCLUDE none", "f:1:1: the included file: entity not found"),
        ("$INCLUDE self", "self:1:1: $INCLUDE nests deeper than 10 files"),
        ("$INCLUDE bad", "bad:2:2: the first record has no owner"),
        ("$GENERATE 0-x a A 192.0.2.1", "f:1:11: a range is start-stop"),
        ("$GENERATE 0-1", "f:1:14: $GENERATE lacks its owner name"),
        ("$GENERATE 0-1048576 a A 192.0.2.1", "f:1:1: $GENERATE makes more than"),
        ("$GENERATE 255-256 a A 192.0.2.$", "a.example 3600 A 192.0.2.255\nf:1:1: A: the address"),
    ] {
        let shown = show(text);
        assert!(shown.starts_with(error), "{text:?}: {shown}");
    }
}

/// Shows the RRsets and warnings of a zone, or its error.
fn show_zone(text: &str) -> String {
    let options = MasterOptions { file: "f".to_owned(), ..Default::default() };
    let origin = Name::from_text("example.").unwrap();
    match read_zone(text.as_bytes(), &origin, options, &mut |_| ()) {
        Err(error) => error.to_string(),
        Ok(zone) => {
            let mut out = Vec::new();
            write_zone(&zone.apex, zone.rrsets, &mut out).unwrap();
            let mut shown = String::from_utf8(out).unwrap().replace('\t', " ");
            for warning in zone.warnings.kept {
                shown += &format!("{warning}\n");
            }
            shown
        }
    }
}

const SOA: &str = "@ 1 SOA ns h 1 2 3 4 5\n";

fn check_zone(text: &str, shown: &str) {
    assert_eq!(show_zone(text), shown, "{text}");
}

#[test]
fn records_are_grouped_and_the_soa_names_the_apex() {
    check_zone(
        "a A 192.0.2.1\nb 1 A 192.0.2.1\n@ 1 SOA ns h 1 2 3 4 5\na 3600 A 192.0.2.2\nA A 192.0.2.1",
        "; zone example.\nexample. 1 IN SOA ns.example. h.example. 1 2 3 4 5\n\
         a.example. 3600 IN A 192.0.2.1\na.example. 3600 IN A 192.0.2.2\n\
         b.example. 1 IN A 192.0.2.1\n\
         f:3:1: SOA at example has no NS record beside it (RFC 1034 section 4.2.1)\n\
         f:5:1: A at a.example repeats line 1 and is left out (RFC 2181 section 5)\n",
    );
}

#[test]
fn what_can_be_mended_is_a_warning() {
    let zone = format!(
        "{SOA}other. A 192.0.2.1\na 9 A 192.0.2.1\nx A 192.0.2.1\na 8 A 192.0.2.2\nm 1 MX 1 X\n  1 MX 1 x\n@ NS ns.test.\n"
    );
    check_zone(
        &zone,
        "; zone example.\nexample. 1 IN SOA ns.example. h.example. 1 2 3 4 5\n\
         a.example. 8 IN A 192.0.2.1\na.example. 8 IN A 192.0.2.2\nx.example. 9 IN A 192.0.2.1\n\
         m.example. 1 IN MX 1 X.example.\nexample. 1 IN NS ns.test.\n\
         f:2:1: A at other is outside the zone and left out\n\
         f:3:1: A at a.example has TTLs that differ; 8 is taken (RFC 2181 section 5.2)\n\
         f:7:3: MX at m.example repeats line 6 and is left out (RFC 2181 section 5)\n",
    );
}

#[test]
fn records_that_are_there_twice_are_found_among_few_and_many() {
    for count in [1, 2, 12, 13, 14, 40] {
        let mut text = format!("{SOA}@ NS ns.test.\n");
        (0..count).for_each(|i| text += &format!("a TXT x{i}\n"));
        let read = |text: &str| {
            let (origin, options) =
                (Name::from_text("example.").unwrap(), MasterOptions::default());
            let zone = read_sorted(text.as_bytes(), &origin, options, &mut |_| ()).unwrap();
            let txt = zone.rrsets().find(|rrset| rrset.rtype == RecordType::TXT).unwrap();
            let records = crate::record::rrset::RdataIter::over(txt.rdata).count();
            (zone.record_count, records, zone.warnings.count)
        };
        assert_eq!(read(&text), (2 + count, count as usize, 0));
        text += "a TXT x0\n";
        assert_eq!(read(&text), (2 + count, count as usize, 1));
        // Letters of strings count, those of names alone do not.
        text += "a TXT X0\n";
        assert_eq!(read(&text), (3 + count, 1 + count as usize, 1));
    }
}

#[test]
fn what_is_ambiguous_is_an_error() {
    for (text, error) in [
        ("a A 192.0.2.1".to_owned(), "f:1:1: no SOA record"),
        (String::new(), "f:1:1: no SOA record"),
        (format!("{SOA}a CH A 192.0.2.1"), "f:2:1: the class is not IN"),
        (format!("{SOA}{SOA}a SOA a a 1 2 3 4 5"), "f:3:1: a second SOA at a.example"),
        (format!("{SOA}@ SOA ns h 2 2 3 4 5"), "f:2:1: a second SOA at example"),
        (
            format!("{SOA}a CNAME b\nb A 192.0.2.1\nA A 192.0.2.1"),
            "f:4:1: A at a.example beside a CNAME in line 2",
        ),
        (
            format!("{SOA}a DNAME b\na CNAME b"),
            "f:2:1: DNAME at a.example beside a CNAME in line 3",
        ),
        (format!("{SOA}a CNAME b\na CNAME c"), "f:3:1: a second CNAME at a.example"),
        (format!("{SOA}a DNAME b\na DNAME c"), "f:3:1: a second DNAME at a.example"),
    ] {
        let shown = show_zone(&text);
        assert!(shown.starts_with(error), "{text}: {shown}");
    }
}

#[test]
fn signatures_and_nsec_may_stand_beside_a_cname() {
    let text =
        format!("{SOA}a CNAME b\na CNAME B\na NSEC b CNAME\na RRSIG CNAME 8 2 9 1 1 1 @ AAAA");
    assert!(show_zone(&text).contains("NSEC"), "{}", show_zone(&text));
}

#[test]
fn a_signature_is_written_with_the_ttl_of_what_it_signs() {
    let text =
        format!("{SOA}a 300 RRSIG A 8 2 300 1 1 1 @ AAAA\na 60 RRSIG TXT 8 2 60 1 1 1 @ AAAA");
    let shown = show_zone(&text);
    assert!(
        shown.contains("a.example. 300 IN RRSIG A ")
            && shown.contains("a.example. 60 IN RRSIG TXT"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(words in prop::collection::vec(prop_oneof![
        Just("\n".to_owned()), Just("\n ".to_owned()), Just(" ".to_owned()), Just("(".to_owned()),
        Just(")".to_owned()), Just("\"".to_owned()), Just("\\".to_owned()), Just(";".to_owned()),
        Just("$ORIGIN ".to_owned()), Just("$TTL ".to_owned()), Just("$INCLUDE ".to_owned()),
        Just("$GENERATE 1-3 ${0,2,x} ".to_owned()), Just("$GENERATE ".to_owned()),
        Just("@ SOA a b 1 2 3 4 5\n".to_owned()), Just("A 192.0.2.1\n".to_owned()),
        Just("TXT ".to_owned()), Just("CNAME ".to_owned()), "[ -~]{0,5}", "[a-z]{1,3} ", "[0-9]{1,3} ",
    ], 0..40)) {
        let text = words.concat();
        let _ = show(&text);
        let _ = show_zone(&text);
    }

    #[test]
    fn what_is_written_is_read_back(rrsets in prop::collection::btree_map(
        (prop::collection::vec(any::<u8>(), 1..5), 40_000..40_003_u16),
        (0..=TTL_S_MAX, prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..5), 1..4)),
        0..8,
    )) {
        let apex = Name::from_text("a\\.b.example").unwrap();
        let soa = rdata::parse(RecordType::SOA, "a b 1 2 3 4 5", &apex).unwrap();
        let ns = rdata::parse(RecordType::NS, "ns.test.", &apex).unwrap();
        let mut zone = vec![
            Rrset::new(apex.clone(), RecordType::SOA, 1, [soa]).unwrap(),
            Rrset::new(apex.clone(), RecordType::NS, 1, [ns]).unwrap(),
        ];
        let mut seen = std::collections::HashSet::new();
        for ((label, rtype), (ttl_s, records)) in rrsets {
            let owner = apex.with_label(&label).unwrap();
            if seen.insert((owner.clone(), rtype)) {
                zone.push(Rrset::new(owner, RecordType(rtype), ttl_s, records).unwrap());
            }
        }
        let mut text = Vec::new();
        write_zone(&apex, zone.clone(), &mut text).unwrap();
        let read = read_zone(&text, &Name::root(), MasterOptions::default(), &mut |_| ()).unwrap();
        prop_assert_eq!((read.apex, read.rrsets, read.warnings.count), (apex, zone, 0));
    }
}
