//! Documents as text in, RRsets or errors out.

use super::*;

/// Reads a document and shows `owner ttl type rdata, rdata`, or the error.
fn show(json: &str) -> String {
    let document = match RecordDocument::from_json(json.as_bytes()) {
        Err(error) => return error.to_string(),
        Ok(document) => document,
    };
    let again = RecordDocument::from_json(&document.to_json());
    assert_eq!(again.as_ref(), Ok(&document), "{json}");
    match document.change {
        Change::Delete { owner, rtype } => format!("{owner} {rtype} deleted"),
        Change::Put(rrset) => {
            let records: Vec<String> = rrset
                .rdata
                .iter()
                .map(|rdata| {
                    let mut text = String::new();
                    rdata::write(rrset.rtype, rdata, &mut text);
                    text
                })
                .collect();
            format!("{} {} {} {}", rrset.owner, rrset.ttl_s, rrset.rtype, records.join(", "))
        }
    }
}

fn check(json: &str, shown: &str) {
    assert_eq!(show(json), shown, "{json}");
}

#[test]
fn our_form_has_rdata_in_presentation_form() {
    check(
        r#"{"domain":"WWW.example.com","type":"a","ttl_seconds":300,"rdata":["192.0.2.1","192.0.2.2"],"updated_at_ms":1,"more":[]}"#,
        "www.example.com 300 A 192.0.2.1, 192.0.2.2",
    );
    check(
        r#"{"domain":".","type":"MX","ttl_seconds":0,"rdata":["1 Mail.x","2 m."]}"#,
        ". 0 MX 1 Mail.x., 2 m.",
    );
    check(
        r#"{"domain":"x.","type":"TYPE65280","ttl_seconds":1,"rdata":["\\# 1 ff"]}"#,
        "x 1 TYPE65280 \\# 1 ff",
    );
    check(r#"{"domain":"x","type":"TXT","deleted":true}"#, "x TXT deleted");
    let document = RecordDocument {
        change: Change::Delete { owner: Name::root(), rtype: RecordType::A },
        updated_at_ms: 1,
        revision: Some(u64::MAX),
        commit_len: Some(2),
    };
    let json = r#"{"domain":".","type":"A","updated_at_ms":1,"revision":18446744073709551615,"commit_len":2,"deleted":true}"#;
    assert_eq!(String::from_utf8(document.to_json()).unwrap(), json);
    assert_eq!(RecordDocument::from_json(json.as_bytes()), Ok(document));
}

#[test]
fn the_older_form_is_read_for_its_ten_types() {
    for (data, shown) in [
        (r#""A","addresses":["192.0.2.1","192.0.2.2"]"#, "A 192.0.2.1, 192.0.2.2"),
        (r#""AAAA","addresses":["2001:db8::1"]"#, "AAAA 2001:db8::1"),
        (r#""CNAME","target":"host.example.com""#, "CNAME host.example.com."),
        (r#""PTR","target":"host.example.com""#, "PTR host.example.com."),
        (r#""NS","nameservers":["ns1.x","ns2.x"]"#, "NS ns1.x., ns2.x."),
        (r#""MX","records":[{"priority":10,"exchange":"mail.x"}]"#, "MX 10 mail.x."),
        (
            r#""TXT","strings":["v=spf1; \"a\\b\"","é",""]"#,
            r#"TXT "v=spf1; \"a\\b\"" "\195\169" """#,
        ),
        (r#""SRV","records":[{"priority":1,"weight":5,"port":389,"target":"."}]"#, "SRV 1 5 389 ."),
        (
            r#""CAA","records":[{"flags":0,"tag":"issue","value":"le.org; x"}]"#,
            "CAA 0 issue \"le.org; x\"",
        ),
        (
            r#""SOA","mname":"a.x","rname":"b.x","serial":1,"refresh":2,"retry":3,"expire":4,"minimum":5"#,
            "SOA a.x. b.x. 1 2 3 4 5",
        ),
    ] {
        let json = format!(
            r#"{{"domain":"x","ttl_seconds":300,"data":{{"type":{data}}},"updated_at_ms":5}}"#
        );
        check(&json, &format!("x 300 {shown}"));
    }
}

#[test]
fn errors_name_field_and_rule() {
    for (json, error) in [
        ("", "line 1, column 0: no JSON"),
        ("[]", "the document is not a JSON object"),
        ("{}", "domain is missing"),
        (r#"{"domain":1}"#, "domain is not a name"),
        (r#"{"domain":"a..b"}"#, "domain: a label is empty"),
        (r#"{"domain":"a"}"#, "ttl_seconds is missing"),
        (r#"{"domain":"a","ttl_seconds":2147483648}"#, "ttl_seconds is not a whole number"),
        (r#"{"domain":"a","ttl_seconds":1.5}"#, "ttl_seconds is not a whole number"),
        (r#"{"domain":"a","ttl_seconds":1}"#, "type is missing"),
        (r#"{"domain":"a","ttl_seconds":1,"type":"FOO"}"#, "type is not a record type"),
        (r#"{"domain":"a","ttl_seconds":1,"type":"A"}"#, "rdata is missing"),
        (r#"{"domain":"a","ttl_seconds":1,"type":"A","rdata":[]}"#, "an RRset has no record"),
        (r#"{"domain":"a","ttl_seconds":1,"type":"A","rdata":[1]}"#, "rdata is not a list"),
        (
            r#"{"domain":"a","ttl_seconds":1,"type":"A","rdata":["192.0.2.1","x"]}"#,
            "rdata[1]: the address is not",
        ),
        (
            r#"{"domain":"a","ttl_seconds":1,"type":"A","rdata":["192.0.2.1 ; x"]}"#,
            "rdata[0]: a ; outside",
        ),
        (
            r#"{"domain":"a","ttl_seconds":1,"data":{"type":"DS"}}"#,
            "data.type is not a type that this form",
        ),
        (r#"{"domain":"a","ttl_seconds":1,"data":{"type":"A"}}"#, "data.addresses is not a list"),
        (
            r#"{"domain":"a","ttl_seconds":1,"data":{"type":"MX","records":[{"priority":1}]}}"#,
            "data.records[0].exchange is missing",
        ),
        (
            r#"{"domain":"a","ttl_seconds":1,"data":{"type":"MX","records":[{"priority":-1,"exchange":"a"}]}}"#,
            "data[0]: the preference",
        ),
        (
            r#"{"domain":"a","ttl_seconds":1,"data":{"type":"CNAME","target":"a b"}}"#,
            "data[0]: text follows",
        ),
        (r#"{"domain":"a","type":"A","deleted":1}"#, "deleted is not true or false"),
        (
            r#"{"domain":"a","ttl_seconds":1,"type":"A","rdata":["192.0.2.1"],"revision":-1}"#,
            "revision is not a whole",
        ),
    ] {
        let shown = show(json);
        assert!(shown.starts_with(error), "{json}: {shown}");
    }
}

#[test]
fn zones_are_read_as_the_older_system_wrote_them() {
    let json = r#"{"name":"Example.com","enabled":false,"default_ttl":60,"metadata":{"serial":7,"last_modified_ms":9,"description":"d"}}"#;
    let zone = ZoneDocument::from_json(json.as_bytes()).unwrap();
    let expected = ZoneDocument {
        apex: Name::from_text("example.com").unwrap(),
        is_enabled: false,
        default_ttl_s: 60,
        serial: 7,
        last_modified_ms: 9,
        description: Some("d".to_owned()),
    };
    assert_eq!(zone, expected);
    assert_eq!(ZoneDocument::from_json(&zone.to_json()), Ok(zone));
    assert!(ZoneDocument::from_json(br#"{"name":"a"}"#).is_ok_and(|zone| zone.is_enabled));
    assert!(ZoneDocument::from_json(br#"{"name":"a","enabled":1}"#).is_err());
    assert!(ZoneDocument::from_json(b"{}").is_err());
}
