//! What a node keeps is its owner's alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::process::{Node, dir, node_command};

const ZONE: &str = "$TTL 60\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

/// Returns what group or others may do something with, at or below a directory.
fn open_to_others(dir: &Path) -> String {
    let output = Command::new("find").arg(dir).args(["-perm", "/077"]).output().expect("find runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Makes everything at or below a directory everybody's.
fn open(path: &Path) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| open(&entry.unwrap().path()));
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    } else {
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn nothing_that_an_authority_keeps_is_open_to_others() {
    let data = dir();
    let path = data.path().join("made").join("at-start");
    let node = Node::start(&path, &["--role", "authority"]);
    node.cli_ok(&["ticket", "create"]);
    assert!(path.join("mesh/blobs/blobs.db").exists());
    assert_eq!(open_to_others(&path), "");
    assert_eq!(node.terminate(), Some(0));
    assert_eq!(open_to_others(&path), "");
    // What an older version has left open is closed, wherever it lies.
    open(&path);
    assert_ne!(open_to_others(&path), "");
    let node = Node::start(&path, &["--role", "authority"]);
    assert_eq!(open_to_others(&path), "");
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn nothing_that_a_node_of_zone_files_keeps_is_open_to_others() {
    let (data, zones) = (dir(), dir());
    fs::write(zones.path().join("a.example.zone"), ZONE).unwrap();
    fs::create_dir(data.path().join("compiled")).unwrap();
    open(data.path());
    let node = Node::start(data.path(), &["--zone-dir", zones.path().to_str().unwrap()]);
    assert_eq!(node.terminate(), Some(0));
    assert_eq!(open_to_others(data.path()), "");
}

#[test]
fn a_key_that_was_cut_is_refused_with_the_remedy() {
    let (data, zones) = (dir(), dir());
    fs::write(zones.path().join("a.example.zone"), ZONE).unwrap();
    let key = data.path().join("api-key");
    fs::write(&key, "k\n").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    for arguments in [&["--role", "authority"], &["--zone-dir", zones.path().to_str().unwrap()]] {
        let output = node_command(data.path(), arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert_eq!(text.matches("remove the file").count(), 1, "{text}");
    }
    assert_eq!(fs::read_to_string(&key).unwrap(), "k\n");
}
