//! The codec on the common types, and rules that hold for all of them.

use super::*;

/// Parses `text`, expects `wire` (if given) and that it is written as `shown`.
fn check_text(rtype: RecordType, text: &str, wire: Option<&[u8]>, shown: &str) {
    let origin = Name::from_text("example.").unwrap();
    let rdata = parse(rtype, text, &origin).unwrap_or_else(|e| panic!("{rtype} {text}: {e}"));
    if let Some(wire) = wire {
        assert_eq!(rdata, wire, "{rtype} {text}");
    }
    assert_eq!(check(rtype, &rdata), Ok(()), "{rtype} {text}");
    let mut out = String::new();
    write(rtype, &rdata, &mut out);
    assert_eq!(out, shown, "{rtype} {text}");
    assert_eq!(parse(rtype, &out, &Name::root()).as_ref(), Ok(&rdata), "{rtype} {out}");
    let mut generic = format!("\\# {} ", rdata.len());
    base::write_hex(&rdata, &mut generic);
    assert_eq!(parse(rtype, &generic, &Name::root()), Ok(rdata), "{rtype} {generic}");
}

/// Parses `text` that breaks a rule; the message tells it.
fn check_refused(rtype: RecordType, text: &str, message: &str) {
    let origin = Name::from_text("example.").unwrap();
    let error = parse(rtype, text, &origin).expect_err(text);
    assert!(error.to_string().contains(message), "{rtype} {text}: {error}");
}

#[test]
fn common_types_have_their_wire_form() {
    use RecordType as T;
    check_text(T::A, "192.0.2.1", Some(&[192, 0, 2, 1]), "192.0.2.1");
    check_text(T::AAAA, "2001:DB8::0:1", None, "2001:db8::1");
    check_text(T::NS, "Ns1", Some(b"\x03Ns1\x07example\0"), "Ns1.example.");
    check_text(T::CNAME, "@", Some(b"\x07example\0"), "example.");
    check_text(T::MX, "0 .", Some(b"\0\0\0"), "0 .");
    check_text(T::SRV, "1 2 5060 a.b.", Some(b"\0\x01\0\x02\x13\xc4\x01a\x01b\0"), "1 2 5060 a.b.");
    check_text(
        T::SOA,
        "ns1 ( h\\.m 1 2h 1m\n 1W 0 )",
        None,
        "ns1.example. h\\.m.example. 1 7200 60 604800 0",
    );
    check_text(T::TXT, "a \"b c\" \"\"", Some(b"\x01a\x03b c\0"), "\"a\" \"b c\" \"\"");
    check_text(T::TXT, "\\065\\\"\\000\\;", Some(b"\x04A\"\0;"), "\"A\\\"\\000;\"");
    check_text(T::CAA, "0 issue \"ca.example; x\"", None, "0 issue \"ca.example; x\"");
    check_text(T::CAA, "128 iodef \"\"", None, "128 iodef \"\"");
    check_text(
        T::NAPTR,
        "1 2 S SIP+D2U \"\" _s._u",
        None,
        "1 2 \"S\" \"SIP+D2U\" \"\" _s._u.example.",
    );
    check_text(T::URI, "10 1 \"ftp://x\"", None, "10 1 \"ftp://x\"");
}

#[test]
fn dnssec_types_have_their_wire_form() {
    use RecordType as T;
    check_text(
        T::DS,
        "60485 5 SHA-1 2BB183AF5F225881 79A53B0A98631FAD1A292118",
        None,
        "60485 5 1 2bb183af5f22588179a53b0a98631fad1a292118",
    );
    check_text(
        T::DNSKEY,
        "256 3 RSASHA256 AQ PQ",
        Some(b"\x01\0\x03\x08\x01\x03\xd0"),
        "256 3 8 AQPQ",
    );
    check_text(T::CDNSKEY, "0 3 0 AA==", None, "0 3 0 AA==");
    check_text(T::CDS, "0 0 0 00", None, "0 0 0 00");
    check_text(
        T::RRSIG,
        "A 5 3 86400 20030322173103 ( 20030220173103 2642 example.com. oJB1W6WNGv+ldvQ3WDG0 )",
        None,
        "A 5 3 86400 20030322173103 20030220173103 2642 example.com. oJB1W6WNGv+ldvQ3WDG0",
    );
    check_text(
        T::NSEC,
        "host.example.com. ( A MX RRSIG NSEC TYPE1234 )",
        Some(b"\x04host\x07example\x03com\0\0\x06\x40\x01\0\0\0\x03\x04\x1b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20"),
        "host.example.com. A MX RRSIG NSEC TYPE1234",
    );
    check_text(
        T::NSEC3,
        "1 1 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG",
        None,
        "1 1 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG",
    );
    check_text(
        T::NSEC3,
        "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR",
        None,
        "1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr",
    );
    check_text(T::NSEC3PARAM, "1 0 0 -", Some(&[1, 0, 0, 0, 0]), "1 0 0 -");
}

#[test]
fn types_without_a_layout_take_the_generic_form_alone() {
    let rtype = RecordType(65_280);
    check_text(rtype, "\\# 4 0A0000 01", Some(&[10, 0, 0, 1]), "\\# 4 0a000001");
    check_text(rtype, "\\# 0", Some(&[]), "\\# 0");
    check_text(RecordType::NULL, "\\# 0", Some(&[]), "\\# 0");
    check_text(RecordType::A, "\\# 4 C0000201", Some(&[192, 0, 2, 1]), "192.0.2.1");
    check_refused(rtype, "10.0.0.1", "is written \\#");
    check_refused(rtype, "\\# 3 0a000001", "says 3 octets, 4 follow");
    check_refused(rtype, "\\# 1 0a0", "hexadecimal");
    check_refused(rtype, "\\# 65536 00", "0 to 65535");
    check_refused(RecordType::A, "\\# 3 c00002", "RDATA ends inside the address");
    check_refused(RecordType::A, "\\# 5 c000020101", "1 octets follow");
}

#[test]
fn text_that_breaks_a_rule_names_field_and_rule() {
    use RecordType as T;
    check_refused(T::A, "", "the address is missing");
    check_refused(T::A, "192.0.2.256", "the address is not an IPv4 address");
    check_refused(T::A, "192.0.2.1 192.0.2.2", "text follows the last field");
    check_refused(T::A, "192.0.2.1\n192.0.2.2", "text follows the last field");
    check_refused(T::MX, "65536 a", "the preference is no number from 0 to 65535");
    check_refused(T::MX, "+1 a", "the preference is no number");
    check_refused(T::MX, "1", "the host is missing");
    check_refused(T::NS, "a..b", "the host: a label is empty");
    check_refused(T::TXT, "", "the text is missing");
    check_refused(T::TXT, "v=DKIM1; k=rsa", "a ; outside quotes");
    check_refused(T::TXT, "\"a", "not closed");
    check_refused(T::TXT, "\\300", "escape");
    check_refused(T::TXT, &format!("\"{}\"", "a".repeat(256)), "the text has 256 octets");
    check_refused(T::CAA, "0 is-sue \"x\"", "the tag must be letters and digits");
    check_refused(T::DS, "1 5 1 00", "the digest has 1 octets, its type makes 20");
    check_refused(T::DNSKEY, "256 3 8 A", "base64");
    check_refused(T::DNSKEY, "256 3 8", "the public key is missing");
    check_refused(T::NSEC, "a. B", "record type");
    check_refused(T::OPT, "\\# 0", "never of data");
    check_refused(T::ANY, "\\# 0", "never of data");
}

#[test]
fn names_are_found_where_they_stand() {
    let origin = Name::root();
    for (rtype, text, found) in [
        (RecordType::A, "192.0.2.1", &[][..]),
        (RecordType::MX, "1 a.b", &[(2, 5)]),
        (RecordType::SOA, "a. b.c. 1 2 3 4 5", &[(0, 3), (3, 5)]),
        (RecordType::SRV, "1 2 3 .", &[(6, 1)]),
        (RecordType::NSEC, "a. A", &[(0, 3)]),
        (RecordType::TXT, "\"\\003abc\\000\"", &[]),
    ] {
        let rdata = parse(rtype, text, &origin).unwrap();
        assert_eq!(names(rtype, &rdata).collect::<Vec<_>>(), found, "{rtype} {text}");
    }
    assert_eq!(names(RecordType::MX, b"\0").count(), 0);
    assert_eq!(names(RecordType::SOA, b"\0\x05a").count(), 1);
}

#[test]
fn the_canonical_form_has_names_of_the_listed_types_in_lower_case() {
    use RecordType as T;
    for (rtype, text, canonical) in [
        (T::SOA, "Ns.Test. Host. 1 2 3 4 5", "ns.test. host. 1 2 3 4 5"),
        (T::MINFO, "A. B.", "a. b."),
        (T::NAPTR, "1 2 \"S\" \"X\" \"\" A.B.", "1 2 \"S\" \"X\" \"\" a.b."),
        (T::NXT, "B. A", "b. A"),
        (T::A6, "64 ::1 Net.", "64 ::1 net."),
        (T::DNAME, "A.", "a."),
        // RFC 6840 section 5.1 corrects what RFC 4034 section 6.2 says of these.
        (T::RRSIG, "A 8 1 9 0 0 1 Test. ABCD", "A 8 1 9 0 0 1 test. ABCD"),
        (T::NSEC, "B. A", ""),
        (T::HINFO, "\"A\" \"B\"", ""),
        (T::TXT, "\"A\"", ""),
        // No other is on the list, to which RFC 3597 section 7 let none be added.
        (T::NSAP_PTR, "A.", ""),
        (T::IPSECKEY, "1 3 2 Gw. AAAA", ""),
        (T::HIP, "2 00 AAAA A. B.", ""),
        (T::TALINK, "A. B.", ""),
        (T::SVCB, "1 A. alpn=\"H2\"", ""),
        (T::HTTPS, "1 A.", ""),
        (T::DSYNC, "CDS 1 53 A.", ""),
        (T::LP, "1 A.", ""),
    ] {
        let wire = |text| parse(rtype, text, &Name::root()).unwrap();
        let expected = wire(if canonical.is_empty() { text } else { canonical });
        assert_eq!(super::canonical(rtype, &wire(text)), expected, "{rtype} {text}");
        assert_eq!(super::canonical(rtype, &expected), expected, "{rtype} {text}");
    }
}

#[test]
fn rarer_types_have_their_forms() {
    use RecordType as T;
    for (rtype, text, shown) in [
        (T::LOC, "51 30 12.748 N 0 7 39.612 W 10.00m 1.00m 10000.00m 10.00m", ""),
        (
            T::LOC,
            "42 21 54 N 71 6 18 W -24m 30m",
            "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
        ),
        (
            T::LOC,
            "90 S 180 E -100000 0",
            "90 0 0.000 S 180 0 0.000 E -100000.00m 0.00m 10000.00m 10.00m",
        ),
        (T::APL, "1:192.0.2.0/24 !2:2001:db8::/32 1:0.0.0.0/0", ""),
        (T::APL, "", ""),
        (T::IPSECKEY, "10 1 2 192.0.2.38 AQNRU3mG", ""),
        (T::IPSECKEY, "10 0 0 .", ""),
        (T::IPSECKEY, "10 2 2 2001:db8::1 AQNRU3mG", ""),
        (T::IPSECKEY, "10 3 2 gw AQNR U3mG", "10 3 2 gw.example. AQNRU3mG"),
        (T::AMTRELAY, "10 1 3 relay.example.", ""),
        (T::AMTRELAY, "0 0 0 .", ""),
        (
            T::HIP,
            "2 200100107B1A74DF365639CC39F1D578 AwEAAQ== rvs1 rvs2.",
            "2 200100107b1a74df365639cc39f1d578 AwEAAQ== rvs1.example. rvs2.",
        ),
        (T::HIP, "2 00 AA==", ""),
        (T::A6, "0 2001:db8::1", ""),
        (T::A6, "64 ::1234:5678:9abc:def0 Net.example.", ""),
        (T::A6, "61 ffff:0:0:ffff::1 net", "61 ::7:0:0:0:1 net.example."),
        (T::A6, "128 net.", ""),
        (T::A6, "128 :: net.", "128 net."),
        (T::A6, "128 a:b.", ""),
        (T::A6, "128 :: a:b.", "128 a:b."),
        (T::WKS, "192.0.2.1 TCP smtp 80", "192.0.2.1 6 25 80"),
        (T::NSAP, "0x47.0005.80", "0x47000580"),
        (T::CERT, "PKIX 12345 RSASHA256 aGVs bG8=", "1 12345 8 aGVsbG8="),
        (T::EUI48, "00-00-5E-00-53-2a", "00-00-5e-00-53-2a"),
        (T::EUI64, "00-00-5e-ef-10-00-00-2a", ""),
        (T::NID, "10 14:4fff:ff20:EE64", "10 0014:4fff:ff20:ee64"),
        (T::L64, "10 2001:0db8:1140:1000", ""),
        (T::L32, "10 192.0.2.1", ""),
        (T::LP, "10 l64", "10 l64.example."),
        (T::DHCID, "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=", ""),
        (T::NXT, "b A NS NXT", "b.example. A NS NXT"),
        (T::DOA, "1 2 3 \"text/plain\" -", ""),
        (T::DOA, "1 2 3 \"\" AA==", ""),
        (T::DSYNC, "CDS NOTIFY 5359 cds-scanner.", "CDS 1 5359 cds-scanner."),
        (T::CSYNC, "66 3 A NS AAAA", ""),
        (T::ZONEMD, "2018031500 1 240 000102030405060708090a0b", ""),
        (T::SSHFP, "4 2 CDCD cd", "4 2 cdcdcd"),
        (T::RP, "mb txt.", "mb.example. txt."),
        (T::GPOS, "-32.6882 116.8652 10.0", "\"-32.6882\" \"116.8652\" \"10.0\""),
        (T::ISDN, "150862028003217 004", "\"150862028003217\" \"004\""),
    ] {
        check_text(rtype, text, None, if shown.is_empty() { text } else { shown });
    }
}

#[test]
fn rarer_types_that_break_a_rule_name_it() {
    use RecordType as T;
    check_refused(T::LOC, "91 N 0 E 0", "the latitude is not");
    check_refused(T::LOC, "90 0 0.001 N 0 E 0", "the latitude is not");
    check_refused(T::LOC, "0 60 N 0 E 0", "the latitude is not");
    check_refused(T::LOC, "0 N 0 E 42849672.96", "the altitude is not");
    check_refused(T::LOC, "0 N 0 E 0 90000000000", "the size is not");
    check_refused(T::APL, "1:192.0.2.0/33", "prefixes");
    check_refused(T::APL, "3:192.0.2.0/3", "prefixes");
    check_refused(T::IPSECKEY, "10 4 2 . AA==", "gateway type");
    check_refused(T::IPSECKEY, "10 0 2 a. AA==", "\".\"");
    check_refused(T::AMTRELAY, "10 2 0 .", "discovery bit");
    check_refused(T::A6, "129 :: a.", "the prefix length is no number from 0 to 128");
    check_refused(T::A6, "0 :: a.", "text follows the last field");
    check_refused(T::A6, "64 a.", "the address suffix is not an IPv6 address");
    check_refused(T::A6, "64 ::", "the prefix name is missing");
    check_refused(T::A6, "\\# 3 7f0200", "the address suffix must be zero before its own bits");
    check_refused(T::A6, "\\# 3 400000", "RDATA ends inside the address suffix");
    check_refused(T::EUI48, "00-00-5e-00-53", "six pairs");
    check_refused(T::NID, "1 1:2:3", "four groups");
    check_refused(T::ZONEMD, "1 1 1 00", "digest is missing");
    check_refused(T::ZONEMD, "1 1 1 000102030405060708090a0b", "12 octets, its type makes 48");
}

#[test]
fn the_last_type_of_a_window_is_written() {
    let rdata = [&[0, 0, 32][..], &[0; 31], &[1]].concat();
    check_text(RecordType::NSEC, ". TYPE255", None, ". ANY");
    assert_eq!(parse(RecordType::NSEC, ". ANY", &Name::root()), Ok(rdata));
}

#[test]
fn service_parameters_are_sorted_and_checked() {
    // RFC 9460 appendix D.
    let svcb = RecordType::SVCB;
    check_text(svcb, "0 foo.example.com.", None, "0 foo.example.com.");
    check_text(svcb, "1 .", Some(b"\0\x01\0"), "1 .");
    check_text(
        svcb,
        "16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
        Some(b"\0\x10\x03foo\x07example\x03org\0\0\0\0\x04\0\x01\0\x04\0\x01\0\x09\x02h2\x05h3-19\0\x04\0\x04\xc0\0\x02\x01"),
        "16 foo.example.org. mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1",
    );
    for alpn in [r#"alpn="f\\\\oo\\,bar,h2""#, r"alpn=f\\\092oo\092,bar,h2"] {
        check_text(
            svcb,
            &format!("16 foo.example.org. {alpn}"),
            Some(b"\0\x10\x03foo\x07example\x03org\0\0\x01\0\x0c\x08f\\oo,bar\x02h2"),
            r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#,
        );
    }
    check_text(svcb, "1 . key667=\"hello\\210qoo\"", None, "1 . key667=\"hello\\210qoo\"");
    check_text(svcb, "1 . key667", None, "1 . key667");
    check_text(
        svcb,
        "1 . ipv6hint=\"2001:db8::1,::2\" port=53",
        None,
        "1 . port=53 ipv6hint=2001:db8::1,::2",
    );
    check_text(svcb, "1 . key3=\\000\\053", None, "1 . port=53");
    check_text(
        svcb,
        "1 . alpn=\"\\000\" no-default-alpn ech=AA== dohpath=/q{?dns} ohttp",
        None,
        "1 . alpn=\"\\000\" no-default-alpn ech=AA== dohpath=\"/q{?dns}\" ohttp",
    );
    check_text(
        RecordType::HTTPS,
        "1 . tls-supported-groups=29,23",
        None,
        "1 . tls-supported-groups=29,23",
    );
    for (text, message) in [
        ("1 . key123=a key123=b", "none twice"),
        ("1 . mandatory", "the mandatory is not a list"),
        ("1 . mandatory=key123", "of keys that are there too"),
        ("1 . mandatory=mandatory", "the mandatory is not a list"),
        ("1 . mandatory=key123,key123 key123=abc", "the mandatory is not a list"),
        ("1 . alpn", "the alpn is not a list"),
        ("1 . no-default-alpn=abc alpn=h2", "without a value"),
        ("1 . no-default-alpn", "beside alpn"),
        ("1 . port=65536", "the port is not a number"),
        ("1 . ipv4hint=192.0.2.1,", "the ipv4hint"),
        ("1 . key03=1", "key=value"),
        ("1 . key65536", "key=value"),
        ("1 . \"port=53\"", "key=value"),
        ("1 . foo=1", "key=value"),
        ("1 . ALPN=h2", "key=value"),
        ("1 . key", "key=value"),
        ("1 . =", "key=value"),
    ] {
        check_refused(svcb, text, message);
    }
    let unsorted = b"\0\x01\0\0\x04\0\x04\xc0\0\x02\x01\0\x03\0\x02\0\x35";
    assert!(check(svcb, unsorted).is_err());
}
