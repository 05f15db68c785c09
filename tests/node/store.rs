//! `aspen-dns store check`, and the file that it reads.

use std::path::Path;
use std::process::{Command, Output};

use redb::ReadableTable as _;
use serde_json::Value;

use crate::process::{Node, dir};

/// Runs `aspen-dns store check`.
fn check(path: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-dns"));
    let Output { status, stdout, stderr } =
        command.args(["store", "check"]).arg(path).args(arguments).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_store_with_notes_of_a_freeze_is_sound() {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    node.cli_ok(&["zone", "create", "a.example"]);
    node.cli_ok(&["feed", "freeze"]);
    assert_eq!(node.terminate(), Some(0));
    let (code, said, _) = check(data.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_store_is_checked_and_what_is_damaged_is_named() {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    node.cli_ok(&["zone", "create", "a.example"]);
    node.cli_ok(&["record", "set", "www.a.example", "A", "60", "192.0.2.1"]);
    let (code, _, said) = check(data.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("has the store open") && said.lines().count() == 1, "{said}");
    assert_eq!(node.terminate(), Some(0));
    let file = data.path().join("store.redb");
    let (code, said, _) = check(data.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    // One commit is that with which the store's history began.
    assert!(said.contains("layout 2, revision 3, 1 zones, 1 RRsets"), "{said}");
    let (code, said, _) = check(&file, &["--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &report["is_valid"], &report["log_entries"]),
        (Some(0), &true.into(), &3.into())
    );
    // One bit of the RRset, with redb's own checksums right.
    let database = redb::Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("data2");
        let mut data = transaction.open_table(table).unwrap();
        let (key, mut stored) = {
            let (key, stored) = data.last().unwrap().unwrap();
            (key.value().to_vec(), stored.value().to_vec())
        };
        assert_eq!(key[0], b'r');
        *stored.last_mut().unwrap() ^= 1;
        data.insert(key.as_slice(), stored.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let (code, said, _) = check(&file, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("www\\x00") && said.contains("wrong checksum"), "{said}");
    assert!(said.contains("1 findings"), "{said}");
    let (code, said, _) = check(&file, &["--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["is_valid"]), (Some(1), &false.into()));
    // Pages that redb finds damaged; then no store at all.
    let mut octets = std::fs::read(&file).unwrap();
    for octet in octets.iter_mut().skip(4_096).filter(|octet| **octet != 0) {
        *octet ^= 0x55;
    }
    std::fs::write(&file, octets).unwrap();
    let (code, said, error) = check(&file, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("1 findings"), "{said}{error}");
    std::fs::remove_file(&file).unwrap();
    let (code, _, said) = check(&file, &[]);
    assert!(code == Some(1) && said.contains("No such file"), "{said}");
    assert!(!file.exists(), "a check makes no file");
    std::fs::write(&file, "").unwrap();
    let (code, _, said) = check(&file, &[]);
    assert!(code == Some(1) && said.contains("empty"), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
}
