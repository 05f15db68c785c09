//! Starting and stopping.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::process::{Node, dir, node_command};
use crate::status::wait_status;

const ZONE: &str = "$TTL 60\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

/// Runs a node that must not start; returns what it said, which must be one line.
fn refused(mut command: Command) -> String {
    let output = command.output().expect("aspen-node runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn zone_files_are_served_without_a_store() {
    let (data, zones) = (dir(), dir());
    std::fs::write(zones.path().join("a.example.zone"), ZONE).unwrap();
    std::fs::write(zones.path().join("root.zone"), ZONE).unwrap();
    std::fs::write(zones.path().join("broken.example.zone"), "@ SOA ns\n").unwrap();
    let node = Node::start(data.path(), &["--zone-dir", zones.path().to_str().unwrap()]);
    assert_eq!(node.ask("ns.a.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.ask("ns", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.ask("www.broken.example", 1), (2, vec![]), "the root does not deny it");
    assert_eq!(node.ask("nx.example", 1).0, 3);
    let (_, status) = node.request("GET", "/api/v1/aspen/status", None);
    assert_eq!(
        (&status["zones"], &status["held_zones"][0]),
        (&2.into(), &"broken.example.".into())
    );
    let (_, _, metrics) = node.request_with("GET", "/metrics", &[], None);
    assert!(metrics.contains("aspen_zones_held 1\n"), "{metrics}");
    let files = std::fs::read_dir(data.path()).unwrap().map(|file| file.unwrap().file_name());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert_eq!(files, ["api-key", "compiled"], "nothing else is kept");
    let (status, body) = node.request("GET", "/api/v1/servers/localhost/zones", None);
    assert_eq!((status, body.as_array().map(Vec::len)), (200, Some(2)));
    let (status, body) = node.request("GET", "/api/v1/servers/localhost/zones/a.example.", None);
    assert_eq!((status, body["rrsets"].as_array().map(Vec::len)), (200, Some(3)));
    let path = "/api/v1/servers/localhost/zones/a.example.";
    let (status, body) = node.request("DELETE", path, None);
    assert_eq!(status, 403);
    assert!(body["error"].as_str().unwrap().contains("read-only"), "{body}");
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_hangup_has_changed_zone_files_read_and_broken_ones_served_as_they_were() {
    let (data, zones) = (dir(), dir());
    let write = |name: &str, text: &str| std::fs::write(zones.path().join(name), text).unwrap();
    write("a.example.zone", ZONE);
    write("b.example.zone", ZONE);
    write("c.example.zone", ZONE);
    let node = Node::start(data.path(), &["--zone-dir", zones.path().to_str().unwrap()]);
    write("a.example.zone", &ZONE.replace("192.0.2.1", "192.0.2.7"));
    write("b.example.zone", "nonsense\n");
    std::fs::remove_file(zones.path().join("c.example.zone")).unwrap();
    write("d.example.zone", ZONE);
    node.signal("-HUP");
    node.wait_for("ns.a.example", 1, &[192, 0, 2, 7]);
    assert_eq!(node.ask("ns.b.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.ask("ns.c.example", 1).0, 5, "it is refused like any name of no zone");
    assert_eq!(node.ask("ns.d.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_broken_zone_file_is_held_until_it_is_mended_or_gone() {
    let (data, zones) = (dir(), dir());
    let path = zones.path().join("kid.example.zone");
    let broken = ZONE.replace("192.0.2.1", "192.0.2");
    std::fs::write(zones.path().join("example.zone"), ZONE).unwrap();
    std::fs::write(&path, &broken).unwrap();
    let node = Node::start(data.path(), &["--zone-dir", zones.path().to_str().unwrap()]);
    assert_eq!(node.ask("ns.example", 1).0, 0);
    assert_eq!(node.ask("ns.kid.example", 1), (2, vec![]));
    std::fs::write(&path, ZONE).unwrap();
    node.signal("-HUP");
    node.wait_for("ns.kid.example", 1, &[192, 0, 2, 1]);
    // A new one is held as at the start, and let go with its file.
    std::fs::write(zones.path().join("new.example.zone"), &broken).unwrap();
    std::fs::write(zones.path().join("told.zone"), ZONE).unwrap();
    node.signal("-HUP");
    node.wait_for("ns.told", 1, &[192, 0, 2, 1]);
    assert_eq!(node.ask("ns.new.example", 1).0, 2);
    std::fs::remove_file(zones.path().join("new.example.zone")).unwrap();
    std::fs::write(zones.path().join("told.zone"), ZONE.replace("2.1", "2.9")).unwrap();
    node.signal("-HUP");
    node.wait_for("ns.told", 1, &[192, 0, 2, 9]);
    assert_eq!(node.ask("ns.new.example", 1).0, 3);
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_file_covers_the_zone_of_the_store_for_as_long_as_it_is_there() {
    let (data, zones) = (dir(), dir());
    let path = zones.path().join("one.example.zone");
    let arguments = ["--role", "authority", "--zone-dir", zones.path().to_str().unwrap()];
    let node = Node::start(data.path(), &arguments);
    let set = |last: u8| {
        let body = json!({"ttl_seconds": 60, "rdata": [format!("10.0.0.{last}")]});
        let (status, reply) =
            node.request("PUT", "/api/v1/aspen/records/n.one.example/A", Some(body));
        assert_eq!(status, 200, "{reply}");
    };
    assert_eq!(node.request("POST", "/api/v1/aspen/zones/one.example", Some(json!({}))).0, 200);
    set(1);
    assert_eq!(node.ask("n.one.example", 1), (0, vec![vec![10, 0, 0, 1]]));
    std::fs::write(&path, ZONE).unwrap();
    node.signal("-HUP");
    node.wait_for("ns.one.example", 1, &[192, 0, 2, 1]);
    assert_eq!(node.ask("n.one.example", 1).0, 3);
    // What is written meanwhile changes nothing of the file's zone, and is there behind it.
    set(2);
    assert_eq!(node.ask("ns.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.ask("n.one.example", 1).0, 3);
    std::fs::remove_file(&path).unwrap();
    node.signal("-HUP");
    node.wait_for("n.one.example", 1, &[10, 0, 0, 2]);
    assert_eq!(node.ask("ns.one.example", 1).0, 3);
    set(3);
    assert_eq!(node.ask("n.one.example", 1), (0, vec![vec![10, 0, 0, 3]]));
    // A file that makes no zone covers none; one that does outlives the store's zone.
    std::fs::write(&path, "nonsense\n").unwrap();
    std::fs::write(zones.path().join("told.zone"), ZONE).unwrap();
    node.signal("-HUP");
    node.wait_for("ns.told", 1, &[192, 0, 2, 1]);
    assert_eq!(node.ask("n.one.example", 1), (0, vec![vec![10, 0, 0, 3]]));
    std::fs::write(&path, ZONE).unwrap();
    node.signal("-HUP");
    node.wait_for("ns.one.example", 1, &[192, 0, 2, 1]);
    assert_eq!(node.request("DELETE", "/api/v1/aspen/zones/one.example", None).0, 200);
    assert_eq!(node.ask("ns.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_file_at_an_edge_covers_the_zone_of_the_feed_and_the_edge_stays_synced() {
    let (data, edge_data, zones) = (dir(), dir(), dir());
    let path = zones.path().join("one.example.zone");
    std::fs::write(&path, ZONE).unwrap();
    let authority = Node::start(data.path(), &["--role", "authority"]);
    authority.cli_ok(&["zone", "create", "one.example"]);
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let arguments = ["--ticket", ticket.trim(), "--zone-dir", zones.path().to_str().unwrap()];
    let edge = Node::start(edge_data.path(), &arguments);
    let set = |last: u8| {
        let address = format!("10.0.0.{last}");
        authority.cli_ok(&["record", "set", "n.one.example", "A", "60", &address]);
        let wanted = authority.request("GET", "/api/v1/aspen/status", None).1;
        wait_status(&edge, |status| {
            status["served_revision"] == wanted["store_revision"]
                && status["sync"]["status"] == "Synced"
        });
    };
    for last in 1..=4 {
        set(last);
        assert_eq!(edge.ask("ns.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
        assert_eq!(edge.ask("n.one.example", 1).0, 3);
    }
    std::fs::write(&path, ZONE.replace("2.1", "2.7")).unwrap();
    edge.signal("-HUP");
    edge.wait_for("ns.one.example", 1, &[192, 0, 2, 7]);
    set(5);
    std::fs::remove_file(&path).unwrap();
    edge.signal("-HUP");
    edge.wait_for("n.one.example", 1, &[10, 0, 0, 5]);
    set(6);
    assert_eq!(edge.ask("n.one.example", 1), (0, vec![vec![10, 0, 0, 6]]));
    assert_eq!(edge.terminate(), Some(0));
}

#[test]
fn a_named_file_that_is_broken_keeps_no_other_back_and_is_logged_with_its_place() {
    let (data, zones) = (dir(), dir());
    let path = zones.path().join("b.example.zone");
    std::fs::write(&path, "$ORIGIN c.example.\n@ SOA ns h 1 2 3 4 5\nwww A 192.0.2\n").unwrap();
    let path = path.to_str().unwrap();
    let log = std::fs::File::create(data.path().join("log")).unwrap();
    let mut command = node_command(data.path(), &["--zone-file", path]);
    let node = Node::start_command(command.stderr(log), data.path());
    assert_eq!(node.ask("www.c.example", 1).0, 2, "the SOA record says which zone it is");
    assert_eq!(node.ask("www.b.example", 1).0, 5);
    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    assert!(log.contains("ERROR") && log.contains(&format!("{path}:3:")), "{log}");
    assert!(log.contains("c.example. is answered with SERVFAIL"), "{log}");
}

#[test]
fn no_query_is_refused_before_the_first_load() {
    let (data, zones) = (dir(), dir());
    let mut text = ZONE.to_owned();
    (0..60_000).for_each(|i| text.push_str(&format!("host{i} A 192.0.2.1\n")));
    std::fs::write(zones.path().join("a.example.zone"), text).unwrap();
    let zones = zones.path().to_str().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
    let query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x02ns\x01a\x07example\0\0\x01\0\x01";
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut reply = [0; 512];
    let (mut child, rcode) = 'port: loop {
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
        command.args(["--dns-listen", &address.to_string(), "--api-listen", "off"]);
        command.args(["--zone-dir", zones]);
        let mut child = command.arg("--data-dir").arg(data.path()).spawn().unwrap();
        socket.connect(address).unwrap();
        // Until the address is bound nobody is there, then the kernel keeps what comes.
        loop {
            let _ = socket.send(query);
            if socket.recv(&mut reply).is_ok() {
                break 'port (child, reply[3] & 15);
            }
            assert!(std::time::Instant::now() < until, "no answer");
            if child.try_wait().unwrap().is_some() {
                // Somebody else was given the port meanwhile.
                continue 'port;
            }
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rcode, 0);
}

#[test]
fn a_port_in_use_is_one_line() {
    let (data, zones) = (dir(), dir());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap().to_string();
    let zones = zones.path().to_str().unwrap();
    let arguments = ["--zone-dir", zones, "--api-listen", &taken];
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
    command.args(["--dns-listen", "127.0.0.1:0", "--data-dir"]).arg(data.path()).args(arguments);
    let text = refused(command);
    assert!(text.contains(&taken) && text.contains("--api-listen"), "{text}");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = udp.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
    command.args(["--dns-listen", &taken, "--api-listen", "off", "--zone-dir", zones]);
    command.args(["--log", "error", "--data-dir"]).arg(data.path());
    let text = refused(command);
    assert!(text.contains(&taken) && text.contains("--dns-listen"), "{text}");
}

#[test]
fn what_cannot_be_meant_is_one_line() {
    let data = dir();
    for (arguments, said) in [
        (&["--ticket", "aspendnsrubbish"][..], "--ticket"),
        (&["--role", "edge"], "--ticket"),
        (&["--zone-file", "/nonexistent.zone"], "/nonexistent.zone"),
        (&["--zone-dir", "/nonexistent"], "/nonexistent"),
        (&["--store", "nonsense"], "--store"),
        (&["--relay", "nonsense"], "--relay"),
    ] {
        let text = refused(node_command(data.path(), arguments));
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}

#[test]
fn a_node_that_has_fed_edges_does_not_begin_with_an_empty_store_unasked() {
    let data = dir();
    let role = ["--role", "authority"];
    let store = data.path().join("store.redb");
    // A store that never had a commit is no reason to refuse, nor is a directory of the version
    // before, which has no file beside the store.
    assert_eq!(Node::start(data.path(), &role).terminate(), Some(0));
    std::fs::remove_file(data.path().join("store-identity")).unwrap();
    let node = Node::start(data.path(), &role);
    assert_eq!(node.terminate(), Some(0));
    let empty = std::fs::read(&store).unwrap();
    let node = Node::start(data.path(), &role);
    node.cli_ok(&["zone", "create", "a.example"]);
    assert_eq!(node.terminate(), Some(0));
    let full = std::fs::read(&store).unwrap();
    std::fs::remove_file(&store).unwrap();
    for remains in [None, Some("")] {
        if let Some(remains) = remains {
            std::fs::write(&store, remains).unwrap();
        }
        for role in ["authority", "all"] {
            let text = refused(node_command(data.path(), &["--role", role]));
            let is_clear = text.contains("store.redb is missing or empty")
                && text.contains("lose every zone")
                && text.contains("--new-store");
            assert!(is_clear, "{text}");
        }
        assert_eq!(store.exists(), remains.is_some(), "a refused start makes no file");
    }
    // What was put back is served on: the file as it was, and an older copy of the same store.
    for copy in [&full, &empty] {
        std::fs::write(&store, copy).unwrap();
        assert_eq!(Node::start(data.path(), &role).terminate(), Some(0));
    }
    std::fs::remove_file(&store).unwrap();
    let node = Node::start(data.path(), &["--role", "authority", "--new-store"]);
    assert_eq!(node.terminate(), Some(0));
    // From here on this one is the store, and the empty one of before is another.
    assert_eq!(Node::start(data.path(), &role).terminate(), Some(0));
    std::fs::write(&store, &empty).unwrap();
    let text = refused(node_command(data.path(), &role));
    assert!(text.contains("holds no commit") && text.contains("--new-store"), "{text}");
    std::fs::write(&store, &full).unwrap();
    let node = Node::start(data.path(), &role);
    assert!(node.cli_ok(&["zone", "list"]).contains("a.example"));
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn help_has_examples_and_every_flag_has_its_variable() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
    let output = command.arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Examples:"));
    for flag in [
        "data-dir",
        "role",
        "dns-listen",
        "api-listen",
        "iroh-listen",
        "relay",
        "ticket",
        "zone-dir",
        "zone-file",
        "store",
        "new-store",
        "udp-workers",
        "udp-cpus",
        "udp-steering",
        "ready-lag-ms",
    ] {
        let variable = format!("ASPEN_{}", flag.replace('-', "_").to_uppercase());
        assert!(text.contains(&format!("--{flag}")) && text.contains(&variable), "{flag}");
    }
}

#[test]
fn who_sends_half_a_request_or_waits_keeps_no_node_from_ending_in_order() {
    let data = dir();
    let log = data.path().join("log");
    let mut command = node_command(data.path(), &[]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let node = Node::start_command(&mut command, data.path());
    let api: SocketAddr = node.api.strip_prefix("http://").unwrap().parse().unwrap();
    let send = |text: &str| {
        let mut stream = TcpStream::connect(api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let read = |mut stream: TcpStream| {
        let mut octets = Vec::new();
        // Where the node closes what it has not read, the end is a reset.
        let _ = stream.read_to_end(&mut octets);
        String::from_utf8(octets).unwrap()
    };
    let key = format!("Host: localhost\r\nX-API-Key: {}\r\n", node.key);
    let half_head = send("GET /healthz HTTP/1.1\r\nHost");
    let half_body = send(&format!(
        "POST /api/v1/aspen/batch HTTP/1.1\r\n{key}Content-Length: 99\r\n\r\n{{\"operations\""
    ));
    let path = "/api/v1/aspen/wait?revision=999999&timeout=300";
    let waits = send(&format!("GET {path} HTTP/1.1\r\n{key}\r\n"));
    assert_eq!(node.request("GET", "/api", None).0, 200);
    assert_eq!(node.terminate(), Some(0));
    assert_eq!(read(half_head), "");
    assert!(read(half_body).starts_with("HTTP/1.1 400 "));
    let waited = read(waits);
    assert!(waited.contains("504") && waited.contains("999999 is not served yet"), "{waited}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "nothing outlived it");
}
