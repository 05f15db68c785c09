//! Health and readiness, and what becomes of an edge with a damaged content.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::process::{Node, dir, node_command};
use crate::status::{is_proved, wait_status};

/// Asks a path without a key; returns status and text.
fn get(node: &Node, path: &str) -> (u16, String) {
    let (status, _, text) = node.request_with("GET", path, &[("X-API-Key", "")], None);
    (status, text)
}

/// Asks a path until it answers as it should.
fn wait_get(node: &Node, path: &str, wanted: (u16, &str)) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = get(node, path);
        if (found.0, found.1.as_str()) == wanted {
            return;
        }
        let status = || node.request("GET", "/api/v1/aspen/status", None).1;
        assert!(Instant::now() < until, "{path}: {found:?}; {}", status());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_authority_is_healthy_and_ready_when_it_answers_what_its_store_has() {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    assert_eq!(get(&node, "/healthz"), (200, "ok\n".to_owned()));
    wait_get(&node, "/readyz", (200, "ok\n"));
    node.cli_ok(&["zone", "create", "one.example"]);
    assert_eq!(get(&node, "/readyz"), (200, "ok\n".to_owned()));
    let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
    assert_eq!((&status["is_healthy"], &status["is_ready"]), (&json!(true), &json!(true)));
    assert_eq!(status["faults"], json!([]), "{status}");
}

#[test]
fn an_edge_is_ready_with_what_it_has_and_not_when_it_falls_behind() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let arguments = ["--ticket", ticket.trim(), "--ready-lag-ms", "300"];
    let edge = Node::start(edge_data.path(), &arguments);
    wait_get(&edge, "/readyz", (200, "ok\n"));
    // Whether by the document or by the log: it has all, and found it right.
    wait_status(&edge, is_proved);
    assert_eq!(authority.terminate(), Some(0));
    let until = Instant::now() + Duration::from_secs(20);
    let (code, text) = loop {
        let found = get(&edge, "/readyz");
        if found.0 == 503 || Instant::now() > until {
            break found;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, 503);
    assert!(text.starts_with("answers have been behind for "), "{text}");
    assert_eq!(get(&edge, "/healthz"), (200, "ok\n".to_owned()), "a lone edge is not broken");
    assert_eq!(edge.terminate(), Some(0));
    // It begins with what is on its disk, which is all that it can know of.
    let edge = Node::start(edge_data.path(), &arguments);
    wait_get(&edge, "/readyz", (200, "ok\n"));
    assert_eq!(edge.ask("one.example", 6).0, 0);
    // One that has nothing has nothing to say.
    let empty_data = dir();
    let empty = Node::start(empty_data.path(), &arguments);
    wait_get(&empty, "/readyz", (503, "nothing of the feed is here yet\n"));
    assert_eq!(get(&empty, "/healthz"), (200, "ok\n".to_owned()));
}

#[test]
fn zones_that_are_held_are_not_ready_only_if_all_are() {
    let (data, zones) = (dir(), dir());
    let path = zones.path().join("b.example.zone");
    std::fs::write(&path, "$ORIGIN b.example.\n@ SOA ns h 1 2 3 4 5\nwww A 192.0.2\n").unwrap();
    let arguments = ["--zone-file", path.to_str().unwrap()];
    let node = Node::start(data.path(), &arguments);
    wait_get(&node, "/readyz", (503, "all zones are held\n"));
    assert_eq!(get(&node, "/healthz"), (200, "ok\n".to_owned()));
    drop(node);
    let good = zones.path().join("a.example.zone");
    std::fs::write(&good, "$ORIGIN a.example.\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n").unwrap();
    let arguments = ["--zone-file", path.to_str().unwrap(), "--zone-file", good.to_str().unwrap()];
    let node = Node::start(data.path(), &arguments);
    wait_get(&node, "/readyz", (200, "ok\n"));
}

/// Whether an edge has adopted a document that has all.
fn has_document(status: &serde_json::Value) -> bool {
    status["sync"]["document_revision"] == status["sync"]["served_revision"]
}

/// The contents that lie in files of their own.
fn contents(data_dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(data_dir.join("mesh/blobs/data")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "data")).collect()
}

/// Changes octets of the largest content that lies in a file of its own.
fn damage_content(data_dir: &Path) {
    let largest = contents(data_dir)
        .into_iter()
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .expect("a content with a file of its own");
    let mut octets = std::fs::read(&largest).unwrap();
    let middle = octets.len() / 2;
    octets[middle..middle + 64].iter_mut().for_each(|octet| *octet ^= 0x55);
    std::fs::write(&largest, octets).unwrap();
}

#[test]
fn an_edge_of_which_a_content_is_damaged_fetches_all_of_them_anew_and_goes_on() {
    let (data, edge_data) = (dir(), dir());
    let authority = Node::start(data.path(), &["--role", "authority"]);
    // Text that packs badly, so that it lies in a file and not in a database.
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut zone = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    for host in 0..4_000 {
        zone.push_str(&format!("h{host} TXT {:032x}\n", random.random::<u128>()));
    }
    let path = data.path().join("one.example.zone");
    std::fs::write(&path, zone).unwrap();
    authority.cli_ok(&["zone", "import", path.to_str().unwrap()]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let arguments = ["--ticket", ticket.trim()];
    let edge = Node::start(edge_data.path(), &arguments);
    wait_status(&edge, is_proved);
    wait_status(&edge, has_document);
    assert_eq!(edge.terminate(), Some(0));
    let count = contents(edge_data.path()).len();
    damage_content(edge_data.path());
    let log = edge_data.path().join("log");
    let mut command = node_command(edge_data.path(), &arguments);
    command.stderr(std::fs::File::create(&log).unwrap());
    let edge = Node::start_command(&mut command, edge_data.path());
    let until = Instant::now() + Duration::from_secs(20);
    let said = || std::fs::read_to_string(&log).unwrap();
    while !said().contains("the store of contents is damaged and was put aside") {
        assert!(Instant::now() < until, "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_status(&edge, is_proved);
    assert_eq!(edge.ask("ns.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(get(&edge, "/healthz"), (200, "ok\n".to_owned()));
    wait_status(&edge, has_document);
    while contents(edge_data.path()).len() < count {
        assert!(Instant::now() < until, "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(edge.terminate(), Some(0));
    assert_eq!(authority.terminate(), Some(0));
    let edge = Node::start(edge_data.path(), &arguments);
    assert_eq!(edge.ask("ns.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(get(&edge, "/healthz"), (200, "ok\n".to_owned()));
}

#[test]
fn who_only_holds_connections_keeps_nobody_out() {
    let data = dir();
    let node = Node::start(data.path(), &[]);
    let api: SocketAddr = node.api.strip_prefix("http://").unwrap().parse().unwrap();
    let mut held = Vec::new();
    for index in 0..600 {
        let mut stream = TcpStream::connect(api).unwrap();
        let _ = stream.write_all(if index % 2 == 0 { b"GET /healthz HTTP/1.1\r\nHo" } else { b"" });
        held.push(stream);
    }
    let (status, _, text) = node.request_with("GET", "/healthz", &[("X-API-Key", "")], None);
    assert_eq!((status, text.as_str()), (200, "ok\n"));
}
