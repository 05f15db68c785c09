//! Signed zones in a node: what the command line says of them, and of edits that break them.

use serde_json::{Value, json};

use crate::process::{Node, dir};
use crate::signers::{self, Denial, Signer};

const ZONE: &str = "$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n\
                    www A 192.0.2.2\nsub NS ns.sub\nns.sub A 192.0.2.3\n";

#[test]
fn an_edit_of_a_signed_zone_is_done_and_says_what_it_broke() {
    for (denial, chain) in [(Denial::Nsec, "NSEC"), (Denial::Nsec3, "NSEC3")] {
        let data = dir();
        let node = Node::start(data.path(), &["--role", "authority"]);
        let signed = signers::sign(Signer::Bind, denial, data.path(), "s.example", ZONE);
        let file = signed.to_str().unwrap();
        let output = node.cli(&["zone", "import", file, "--zone", "s.example"]);
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let said = node.cli_ok(&["zone", "check", "--zone", "s.example"]);
        assert!(said.contains(" 0 errors, 0 warnings"), "{said}");
        // The record is there, and standard error names it and the serial that rose.
        let output = node.cli(&["record", "set", "www.s.example", "A", "60", "192.0.2.9"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        assert!(error.contains("error: s.example. SOA: the signature"), "{error}");
        assert!(error.contains("error: www.s.example. A: the signature"), "{error}");
        assert_eq!(error.lines().count(), 2, "{error}");
        let json =
            node.cli_ok(&["record", "set", "new.s.example", "A", "60", "192.0.2.9", "--json"]);
        let made: Value = serde_json::from_str(&json).unwrap();
        let codes: Vec<&str> = made["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["code"].as_str().unwrap())
            .collect();
        let missing = format!("{}-missing", chain.to_lowercase());
        assert_eq!(codes, ["signature-bad", "not-signed", &missing], "{json}");
        assert_eq!(made["warnings"].as_array().map(Vec::len), Some(3));
        assert_eq!(node.cli_ok(&["record", "get", "www.s.example", "A"]).lines().count(), 1);
        let output = node.cli(&["zone", "check", "--zone", "s.example"]);
        assert_eq!(output.status.code(), Some(1));
        // Glue is not signed: but for the serial, nothing is wrong.
        let output = node.cli(&["record", "set", "ns.sub.s.example", "A", "60", "192.0.2.9"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("error: s.example. SOA:"), "{error}");
        // The whole zone again: its serial is not newer, so it was raised.
        let output = node.cli(&["zone", "import", file, "--zone", "s.example"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("error: s.example. SOA:"), "{error}");
    }
}

#[test]
fn a_zone_that_is_not_signed_has_no_warnings() {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    node.cli_ok(&["zone", "create", "p.example", "--nameserver", "ns.example.net"]);
    let body = json!({ "ttl_seconds": 60, "rdata": ["192.0.2.1"] });
    let path = "/api/v1/aspen/records/www.p.example./A";
    let (status, answer) = node.request("PUT", path, Some(body));
    assert_eq!(status, 200);
    assert!(answer["warnings"].is_null() && answer["findings"].is_null(), "{answer}");
    let output = node.cli(&["zone", "check", "--zone", "p.example"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("not signed, 0 errors"));
}

#[test]
fn a_file_is_checked_against_its_parents_ds_records() {
    let data = dir();
    let child = signers::sign(Signer::Bind, Denial::Nsec3, data.path(), "c.s.example", ZONE);
    let ds = signers::ds(&child, "c.s.example");
    let parent = format!("{ZONE}c NS ns.c\nns.c A 192.0.2.4\n{ds}");
    let files = [data.path().join("s.example.zone"), data.path().join("c.s.example.zone")];
    std::fs::write(&files[0], &parent).unwrap();
    std::fs::copy(&child, &files[1]).unwrap();
    let check = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_aspen-dns"));
        let output = command.args(["zone", "check"]).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let paths = files.each_ref().map(|file| file.to_str().unwrap());
    let (code, said) = check(&paths);
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    let ds_file = data.path().join("ds");
    std::fs::write(&ds_file, &ds).unwrap();
    let record = ds.trim();
    let rdata = record.split_once(" DS ").unwrap().1;
    for given in [ds_file.to_str().unwrap(), record, rdata] {
        assert_eq!(check(&[paths[1], "--ds", given]).0, Some(0), "{given}");
    }
    let wrong = format!("1 13 2 {}", "00".repeat(32));
    for given in [record.replace(rdata, &wrong), wrong] {
        let (code, said) = check(&[paths[1], "--ds", &given]);
        assert!(code == Some(1) && said.contains("matches no DNSKEY"), "{said}");
    }
    std::fs::write(&files[0], parent.replace(&ds, "")).unwrap();
    let (code, said) = check(&paths);
    assert!(code == Some(0) && said.contains("its parent has no DS record"), "{said}");
    // Whose signatures are not yet, or no longer, valid.
    for time in ["20200101000000", "20400101000000"] {
        let (code, said) = check(&[paths[1], "--time", time]);
        assert!(code == Some(1) && said.contains("(RFC 4034 section 3.1.5)"), "{said}");
    }
    let (code, json) = check(&[paths[1], "--ds", rdata, "--json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &report["is_valid"], &report["is_signed"]),
        (Some(0), &json!(true), &json!(true))
    );
    assert_eq!(
        (report["finding_errors"].as_u64(), report["findings"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );
}
