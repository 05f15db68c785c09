//! The command line against a running node.

use std::process::Command;

use serde_json::Value;

use crate::process::{Node, dir};

const ZONE: &str = "$TTL 60\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n\
                    *.w TXT \"a b\" \"c\"\nx TYPE65400 \\# 2 abcd\n";

/// Starts an authority.
fn authority() -> (tempfile::TempDir, Node) {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    (data, node)
}

#[test]
fn a_zone_goes_in_and_comes_out_as_it_was() {
    let (data, node) = authority();
    let path = data.path().join("in.example.zone");
    std::fs::write(&path, ZONE).unwrap();
    let said = node.cli_ok(&["zone", "import", path.to_str().unwrap()]);
    assert!(said.contains("in.example.") && said.contains("revision "), "{said}");
    let text = node.cli_ok(&["zone", "export", "in.example"]);
    assert!(text.starts_with("in.example.\t60\tIN\tSOA\t"), "{text}");
    assert!(text.contains("*.w.in.example.\t60\tIN\tTXT\t\"a b\" \"c\"\n"), "{text}");
    assert!(text.contains("x.in.example.\t60\tIN\tTYPE65400\t\\# 2 abcd\n"), "{text}");
    // What was exported reads back as the same zone.
    let out = data.path().join("out.zone");
    std::fs::write(&out, &text).unwrap();
    node.cli_ok(&["zone", "import", out.to_str().unwrap(), "--zone", "in.example"]);
    let lines = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().filter(|line| !line.contains("SOA")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&node.cli_ok(&["zone", "export", "in.example"])), lines(&text));
    node.cli_ok(&["wait", "--timeout", "5"]);
    assert_eq!(node.ask("ns.in.example", 1), (0, vec![vec![192, 0, 2, 1]]));
}

#[test]
fn a_file_with_an_error_changes_nothing_and_names_the_place() {
    let (data, node) = authority();
    let path = data.path().join("in.example.zone");
    std::fs::write(&path, ZONE).unwrap();
    let path = path.to_str().unwrap();
    node.cli_ok(&["zone", "import", path]);
    let before = node.cli_ok(&["zone", "export", "in.example"]);
    std::fs::write(path, format!("{ZONE}bad A 192.0.2\n")).unwrap();
    let said = node.cli_fails(&["zone", "import", path]);
    assert!(said.contains(&format!("{path}:7:")), "{said}");
    assert_eq!(node.cli_ok(&["zone", "export", "in.example"]), before);
    let said = node.cli_fails(&["zone", "check", path]);
    assert!(said.contains(&format!("{path}:7:")), "{said}");
    std::fs::write(path, ZONE).unwrap();
    let said = node.cli_ok(&["zone", "check", path]);
    assert!(said.contains("5 records"), "{said}");
    std::fs::write(path, format!("$ORIGIN in.example.\n{ZONE}")).unwrap();
    let said = node.cli_fails(&["zone", "import", path, "--zone", "other.example"]);
    assert!(said.contains("in.example") && said.contains("other.example"), "{said}");
    // No request reads the node's own files.
    std::fs::write(path, format!("{ZONE}$INCLUDE /etc/passwd\n")).unwrap();
    node.cli_fails(&["zone", "import", path]);
}

#[test]
fn records_are_set_shown_and_deleted() {
    let (_data, node) = authority();
    node.cli_ok(&["zone", "create", "r.example", "--nameserver", "ns.example.net"]);
    node.cli_fails(&["zone", "create", "r.example"]);
    let said = node.cli_ok(&["record", "set", "a.r.example", "A", "60", "192.0.2.1", "192.0.2.2"]);
    assert!(said.contains("revision "), "{said}");
    let json = node.cli_ok(&["record", "set", "t.r.example", "TXT", "5", "v=1; x", "--json"]);
    let made: Value = serde_json::from_str(&json).unwrap();
    assert!(made["revision"].as_u64() > Some(0), "{json}");
    node.cli_ok(&["record", "set", "r.example", "MX", "60", "10", "mail.r.example."]);
    assert_eq!(
        node.cli_ok(&["record", "get", "a.r.example", "A"]),
        "a.r.example.\t60\tIN\tA\t192.0.2.1\na.r.example.\t60\tIN\tA\t192.0.2.2\n"
    );
    let json = node.cli_ok(&["record", "get", "t.r.example", "TXT", "--json"]);
    let document: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["rdata"][0], "\"v=1; x\"");
    assert_eq!(document["ttl_seconds"], 5);
    let list = node.cli_ok(&["record", "list", "r.example"]);
    assert!(list.contains("\tMX\t10 mail.r.example.") && list.contains("\tNS\tns.example.net."));
    assert_eq!(node.cli_ok(&["record", "list", "r.example", "--type", "A"]).lines().count(), 2);
    let of = |zone, name| node.cli_ok(&["record", "list", zone, "--name", name]);
    node.cli_ok(&["record", "set", "kid.r.example", "NS", "60", "ns.example.org."]);
    node.cli_ok(&["zone", "create", "kid.r.example", "--nameserver", "ns.example.net"]);
    assert_eq!(of("r.example", "kid.r.example"), "kid.r.example.\t60\tIN\tNS\tns.example.org.\n");
    assert!(of("kid.r.example", "kid.r.example").contains("ns.example.net."));
    assert_eq!(of("kid.r.example", "a.r.example"), "", "a name of another zone");
    // The API reads "=2e" in a path as a point; the name is what was said all the same.
    node.cli_ok(&["record", "set", "a=2eb.r.example", "A", "60", "192.0.2.3"]);
    assert!(node.cli_ok(&["record", "get", "a=2eb.r.example", "A"]).contains("\t192.0.2.3\n"));
    node.cli_fails(&["record", "get", "a.b.r.example", "A"]);
    node.cli_ok(&["record", "delete", "a.r.example", "A"]);
    node.cli_fails(&["record", "delete", "a.r.example", "A"]);
    node.cli_fails(&["record", "get", "a.r.example", "A"]);
    node.cli_fails(&["record", "set", "a.nowhere.example", "A", "60", "192.0.2.1"]);
    node.cli_fails(&["record", "set", "a.r.example", "A", "60", "192.0.2"]);
    node.cli_ok(&["zone", "delete", "r.example"]);
    node.cli_fails(&["zone", "delete", "r.example"]);
    node.cli_fails(&["zone", "show", "r.example"]);
}

#[test]
fn a_batch_file_is_one_commit() {
    let (data, node) = authority();
    node.cli_ok(&["zone", "create", "b.example"]);
    let path = data.path().join("changes");
    std::fs::write(&path, "set a.b.example A 60 192.0.2.1\nset b.b.example A 60 192.0.2.2\n")
        .unwrap();
    let said = node.cli_ok(&["batch", path.to_str().unwrap()]);
    assert!(said.starts_with("2 changes applied, revision "), "{said}");
    std::fs::write(&path, "delete a.b.example A\nset c.c.example A 60 192.0.2.3\n").unwrap();
    node.cli_fails(&["batch", path.to_str().unwrap()]);
    node.cli_ok(&["record", "get", "a.b.example", "A"]);
    let json = "[{\"op\": \"delete\", \"domain\": \"a.b.example\", \"type\": \"A\"}]";
    std::fs::write(&path, json).unwrap();
    node.cli_ok(&["batch", path.to_str().unwrap()]);
    node.cli_fails(&["record", "get", "a.b.example", "A"]);
}

#[test]
fn status_is_text_or_json() {
    let (_data, node) = authority();
    assert!(node.cli_ok(&["status"]).contains("authority"));
    let status: Value = serde_json::from_str(&node.cli_ok(&["status", "--json"])).unwrap();
    assert_eq!(status["role"], "authority");
    assert_eq!(node.cli_ok(&["zone", "list"]), "no zones\n");
    let ticket: Value =
        serde_json::from_str(&node.cli_ok(&["ticket", "create", "--json"])).unwrap();
    assert!(ticket["ticket"].as_str().unwrap().starts_with("aspendns"));
}

#[test]
fn without_a_node_or_a_key_it_says_so() {
    let (_data, node) = authority();
    let other = dir();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-dns"));
        let output = command.args(arguments).arg("--data-dir").arg(other.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&["--api", &node.api, "status"]).contains("--api-key"));
    assert!(run(&["--api", &node.api, "--api-key", "wrong", "status"]).contains("key"));
    assert!(run(&["--api", "http://127.0.0.1:1", "status"]).contains("127.0.0.1:1"));
    assert!(run(&["ticket", "show", "nonsense"]).contains("ticket"));
}
