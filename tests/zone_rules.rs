//! Zones that break one rule each: what the reader says of them, with file, line and column, and
//! how those are served that can be.

use std::sync::Arc;

use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::limits::MASTER_WARNINGS_MAX;
use aspen_dns::name::Name;
use aspen_dns::record::RecordType;
use aspen_dns::record::master::{
    MasterError, MasterOptions, MasterZone, Opener, read_sorted, read_zone,
};
use aspen_dns::responder::{Peer, Responder, Transport, Verdict};
use aspen_dns::zone::{HashSeed, build};
use hickory_proto::op::Message;

/// The first two lines of each zone; line 3 is the test's own.
const APEX: &str = "@ 300 SOA ns.test. host 1 2 3 4 60\n@ NS ns.test.\n";

/// Reads a zone of the origin `example.`, which may include the file `more`, in both forms.
fn read(text: &str) -> Result<MasterZone, MasterError> {
    let opener = |_: &str| Ok(b"\n\tTXT \"x\"\n".to_vec());
    let (mut first, mut second) = (opener, opener);
    let origin = Name::from_text("example.").expect("a name");
    let sorted = read_sorted(text.as_bytes(), &origin, options(&mut first), &mut |_| ());
    let zone = read_zone(text.as_bytes(), &origin, options(&mut second), &mut |_| ());
    match (&sorted, &zone) {
        (Ok(sorted), Ok(zone)) => {
            assert_eq!(sorted.warnings, zone.warnings, "{text}");
            assert_eq!(sorted.record_count, zone.record_count, "{text}");
        }
        (sorted, zone) => assert_eq!(sorted.as_ref().err(), zone.as_ref().err(), "{text}"),
    }
    zone
}

/// Returns the options for the file `f`.
fn options<'a>(opener: &'a mut Opener<'a>) -> MasterOptions<'a> {
    MasterOptions { file: "f".to_owned(), opener: Some(opener), ..Default::default() }
}

/// Reads the zone of [`APEX`] and `lines` and compares its warnings, one a line.
fn check_warnings(lines: &str, warnings: &str) {
    let zone = read(&format!("{APEX}{lines}")).expect(lines);
    let shown: Vec<String> = zone.warnings.kept.iter().map(ToString::to_string).collect();
    assert_eq!(shown.join("\n"), warnings, "{lines}");
    assert_eq!(zone.warnings.count, shown.len() as u64, "{lines}");
}

/// Reads the zone of [`APEX`] and `lines` and compares its error.
fn check_error(lines: &str, error: &str) {
    let shown = read(&format!("{APEX}{lines}")).map_err(|error| error.to_string());
    assert_eq!(shown.expect_err(lines), error, "{lines}");
}

/// Serves the zone of [`APEX`] and `lines` and compares the answer to `qname TYPE`: rcode, AA, then
/// answer, authority and additional section, each record as `owner TYPE rdata`.
fn check_answer(lines: &str, question: &str, expected: &str) {
    let zone = read(&format!("{APEX}{lines}")).expect(lines);
    let seed = HashSeed(7);
    let zone = build(zone.apex, seed, zone.rrsets).expect(lines);
    let catalog = Catalog::new(seed).with_changes(vec![CatalogChange::Put(Arc::new(zone))]);
    let (qname, qtype) = question.split_once(' ').expect("name and type");
    let qtype: RecordType = qtype.parse().expect(question);
    let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(Name::from_text(qname).expect(question).as_wire());
    query.extend_from_slice(&qtype.0.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    let (mut reply, peer) = (Vec::new(), Peer::in_process(Transport::Udp));
    let verdict = Responder::default().respond(&catalog, &query, &peer, &mut reply);
    assert!(matches!(verdict, Verdict::Reply(_)), "{question}");
    let message = Message::from_vec(&reply).expect("hickory reads the reply");
    let mut shown = format!("{:?}", message.metadata.response_code);
    shown += if message.metadata.authoritative { " aa" } else { "" };
    for records in [&message.answers, &message.authorities, &message.additionals] {
        let records: Vec<String> = records
            .iter()
            .map(|record| format!("{} {}", record.name, record.record_type()))
            .collect();
        shown += &format!(" | {}", records.join(", "));
    }
    assert_eq!(shown, expected, "{lines}: {question}");
}

#[test]
fn a_sound_zone_has_no_warning() {
    check_warnings(
        "www A 192.0.2.1\nalias CNAME www\n@ MX 10 www\n@ MX 20 mail.test.\n\
         sub NS ns.sub\nsub NS ns.sister\nsub NS ns.test.\nsub DS 1 8 1 0011223344556677889900112233445566778899\n\
         ns.sub A 192.0.2.2\nsister NS ns.sister\nns.sister AAAA 2001:db8::1\n\
         self NS self\nself A 192.0.2.3\n\
         old DNAME www\nold TXT \"beside a DNAME\"\n_x._tcp SRV 0 0 1 www\n_y._tcp SRV 0 0 0 .\n\
         none MX 0 .\n*.wild A 192.0.2.4\nx MX 1 host.wild",
        "",
    );
}

#[test]
fn an_apex_without_name_servers_is_named() {
    let zone = read("@ 300 SOA ns.test. host 1 2 3 4 60\nwww NS ns.test.\n").expect("a zone");
    assert_eq!(
        zone.warnings.kept[0].to_string(),
        "f:1:1: SOA at example has no NS record beside it (RFC 1034 section 4.2.1)"
    );
    assert_eq!(zone.warnings.count, 1);
}

#[test]
fn a_record_that_is_there_twice_is_kept_once_and_named() {
    check_warnings(
        "www A 192.0.2.1\nx TXT \"x\"\nwww A 192.0.2.1\nwww A 192.0.2.2",
        "f:5:1: A at www.example repeats line 3 and is left out (RFC 2181 section 5)",
    );
    check_warnings(
        "x MX 1 Mail.test.\n  MX 1 mail.TEST.",
        "f:4:3: MX at x.example repeats line 3 and is left out (RFC 2181 section 5)",
    );
    // Types that came later are compared octet by octet (RFC 3597 section 6).
    check_warnings("x HTTPS 1 Mail.test.\n  HTTPS 1 mail.test.", "");
    check_warnings(
        "@ 300 SOA NS.test. host 1 2 3 4 60",
        "f:3:1: SOA at example repeats line 1 and is left out (RFC 2181 section 5)",
    );
    check_warnings(
        "$GENERATE 1-2 g TXT same",
        "f:3:1: TXT at g.example repeats line 3 and is left out (RFC 2181 section 5)",
    );
    check_answer(
        "www A 192.0.2.1\nwww A 192.0.2.1",
        "www.example. A",
        "NoError aa | www.example. A |  | ",
    );
}

#[test]
fn records_outside_the_zone_are_left_out_and_named() {
    check_warnings(
        "example.org. A 192.0.2.1\nnotexample. A 192.0.2.1",
        "f:3:1: A at example.org is outside the zone and left out\n\
         f:4:1: A at notexample is outside the zone and left out",
    );
}

#[test]
fn a_second_soa_that_differs_is_an_error_at_its_own_line() {
    check_error(
        "www A 192.0.2.1\n@ SOA ns.test. host 2 2 3 4 60",
        "f:4:1: a second SOA at example, which differs from that at example in line 1",
    );
    check_error(
        "sub SOA ns.test. host 1 2 3 4 60",
        "f:3:1: a second SOA at sub.example, which differs from that at example in line 1",
    );
}

#[test]
fn an_alias_is_alone() {
    check_error(
        "a CNAME www\nb A 192.0.2.1\na TXT \"x\"",
        "f:5:1: TXT at a.example beside a CNAME in line 3 (RFC 2181 section 10.1)",
    );
    check_error(
        "a DNAME www\n  CNAME www",
        "f:3:1: DNAME at a.example beside a CNAME in line 4 (RFC 2181 section 10.1)",
    );
    check_error(
        "@ CNAME www.test.",
        "f:2:1: NS at example beside a CNAME in line 3 (RFC 2181 section 10.1)",
    );
    check_error(
        "a CNAME x\n  CNAME X\n  CNAME y",
        "f:5:3: a second CNAME at a.example, which differs from that in line 3",
    );
    check_error(
        "a DNAME x\nb TXT \"b\"\na DNAME y",
        "f:5:1: a second DNAME at a.example, which differs from that in line 3",
    );
}

#[test]
fn a_dname_beside_a_delegation_is_hidden_by_it() {
    let lines = "sub NS ns.test.\nsub DNAME other.test.";
    check_warnings(
        lines,
        "f:4:1: DNAME at sub.example is hidden by the NS record beside it in line 3 \
         (RFC 6672 section 2.3)",
    );
    for question in ["sub.example. DNAME", "x.sub.example. A"] {
        check_answer(lines, question, "NoError |  | sub.example. NS | ");
    }
    // The apex has NS records, too, and no cut is there.
    check_warnings("@ DNAME other.test.", "");
    check_answer("@ DNAME other.test.", "example. NS", "NoError aa | example. NS |  | ");
}

#[test]
fn what_is_below_a_dname_is_hidden_by_it() {
    let lines = "old DNAME new.test.\nold A 192.0.2.1\nwww.old A 192.0.2.2\na.b.old NS ns.test.";
    check_warnings(
        lines,
        "f:5:1: A at www.old.example is hidden by the DNAME at old.example in line 3 \
         (RFC 6672 section 2.4)\n\
         f:6:1: NS at a.b.old.example is hidden by the DNAME at old.example in line 3 \
         (RFC 6672 section 2.4)",
    );
    for owner in ["www.old.example.", "x.a.b.old.example.", "b.old.example."] {
        let expected = format!("NoError aa | old.example. DNAME, {owner} CNAME |  | ");
        check_answer(lines, &format!("{owner} A"), &expected);
    }
    check_answer(lines, "old.example. A", "NoError aa | old.example. A |  | ");
    check_warnings(
        "@ DNAME new.test.\nwww A 192.0.2.2",
        "f:4:1: A at www.example is hidden by the DNAME at example in line 3 \
         (RFC 6672 section 2.4)",
    );
}

#[test]
fn what_is_at_or_below_a_delegation_is_hidden_by_it() {
    let lines = "sub NS ns.test.\n    TXT \"x\"\nwww.sub TXT \"x\"\na.sub NS ns.a.sub\n\
                 old.sub DNAME new.test.\nglue.sub A 192.0.2.1";
    check_warnings(
        lines,
        "f:4:5: TXT at sub.example is hidden by the delegation of sub.example in line 3 \
         (RFC 1034 section 4.2.1)\n\
         f:5:1: TXT at www.sub.example is hidden by the delegation of sub.example in line 3 \
         (RFC 1034 section 4.2.1)\n\
         f:6:1: NS at a.sub.example is hidden by the delegation of sub.example in line 3 \
         (RFC 1034 section 4.2.1)\n\
         f:7:1: DNAME at old.sub.example is hidden by the delegation of sub.example in line 3 \
         (RFC 1034 section 4.2.1)",
    );
    for qname in ["sub", "www.sub", "a.sub", "x.a.sub", "x.old.sub", "glue.sub"] {
        let question = format!("{qname}.example. TXT");
        check_answer(lines, &question, "NoError |  | sub.example. NS | ");
    }
}

#[test]
fn a_name_server_in_the_zone_that_it_serves_needs_glue() {
    check_warnings(
        "sub NS ns.sub\nsub NS ns.test.",
        "f:3:1: NS at sub.example names ns.sub.example in the zone delegated, but no address of it \
         (RFC 1034 section 4.2.1)",
    );
    check_warnings(
        "sub NS sub\nsub TXT \"x\"",
        "f:3:1: NS at sub.example names sub.example in the zone delegated, but no address of it \
         (RFC 1034 section 4.2.1)\n\
         f:4:1: TXT at sub.example is hidden by the delegation of sub.example in line 3 \
         (RFC 1034 section 4.2.1)",
    );
    // The other delegation leads to the address.
    check_warnings("sub NS ns.sister\nsister NS ns.test.", "");
    check_answer("sub NS ns.sub", "sub.example. A", "NoError |  | sub.example. NS | ");
}

#[test]
fn a_host_that_a_record_names_has_an_address_of_its_own() {
    check_warnings(
        "@ NS ns\nsub NS ns2\nns2 TXT \"x\"",
        "f:3:1: NS at example names ns.example, which has no address (RFC 2181 section 10.3)\n\
         f:4:1: NS at sub.example names ns2.example, which has no address (RFC 2181 section 10.3)",
    );
    check_warnings(
        "@ MX 1 Alias\nalias CNAME www.test.\n_x._tcp SRV 0 0 1 alias\nsub NS alias",
        "f:3:1: MX at example names alias.example, which is an alias (RFC 2181 section 10.3)\n\
         f:5:1: SRV at _x._tcp.example names alias.example, which is an alias (RFC 2782)\n\
         f:6:1: NS at sub.example names alias.example, which is an alias (RFC 2181 section 10.3)",
    );
    check_warnings(
        "*.w A 192.0.2.1\nb.w TXT \"x\"\n@ MX 1 x.w\n@ MX 2 x.b.w",
        "f:6:1: MX at example names x.b.w.example, which has no address (RFC 2181 section 10.3)",
    );
    // An empty non-terminal exists, so that no wildcard stands for it or for what is below it.
    check_warnings(
        "*.w A 192.0.2.1\na.b.w TXT \"x\"\n@ MX 1 b.w\n@ MX 2 x.b.w\n@ MX 3 c.w",
        "f:5:1: MX at example names b.w.example, which has no address (RFC 2181 section 10.3)\n\
         f:6:1: MX at example names x.b.w.example, which has no address (RFC 2181 section 10.3)",
    );
    check_warnings(
        "old DNAME new.test.\n@ MX 1 mail.old\n*.w CNAME www.test.\n@ MX 2 a.b.w",
        "f:4:1: MX at example names mail.old.example, which is an alias (RFC 2181 section 10.3)\n\
         f:6:1: MX at example names a.b.w.example, which is an alias (RFC 2181 section 10.3)",
    );
}

#[test]
fn a_warning_names_the_included_file_and_the_place_in_it() {
    check_warnings(
        "sub NS ns.test.\n$INCLUDE more",
        "more:2:2: TXT at sub.example is hidden by the delegation of sub.example in line 3 \
         (RFC 1034 section 4.2.1)",
    );
}

#[test]
fn the_first_warnings_are_kept_and_all_are_counted() {
    for count in [MASTER_WARNINGS_MAX - 1, MASTER_WARNINGS_MAX, MASTER_WARNINGS_MAX + 1] {
        let lines: String = (0..count).map(|i| format!("x{i}.sub TXT \"x\"\n")).collect();
        let zone = read(&format!("{APEX}sub NS ns.test.\n{lines}")).expect("a zone");
        assert_eq!(zone.warnings.count, count as u64);
        let kept = zone.warnings.kept.iter().map(|warning| warning.line as usize);
        // They are the first of the file, whatever the order of the names.
        assert!(kept.eq(4..4 + count.min(MASTER_WARNINGS_MAX)), "{:?}", zone.warnings.kept);
    }
}
