//! Nodes whose distributed store does not answer: each request says so, in the time that it has.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use ureq::Agent;

use crate::cluster::Cluster;
use crate::process::{Node, dir, node_command, node_command_at};

/// Imports a zone; returns status and body.
fn import(node: &Node) -> (u16, String) {
    let text = "@ 60 SOA ns.two.example. h.two.example. 1 2 3 4 5\n@ 60 NS ns.two.example.\n";
    let agent = Agent::config_builder().proxy(None).http_status_as_error(false).build();
    let request = Agent::from(agent).post(format!("{}{IMPORT}", node.api));
    let mut response = request.header("X-API-Key", &node.key).send(text).expect("an answer");
    let body = response.body_mut().read_to_string().expect("a body");
    (response.status().as_u16(), body)
}

#[test]
fn what_a_silent_store_is_asked_for_is_refused_with_its_reason() {
    let Some(cluster) = Cluster::start(1) else { return };
    let data = dir();
    let choice = format!("etcd={}", cluster.endpoints()[0]);
    let node = Node::start(data.path(), &["--role", "authority", "--store", &choice]);
    node.cli_ok(&["zone", "create", "one.example"]);
    let wait = |query: &str| node.request("GET", &format!("/api/v1/aspen/wait{query}"), None);
    assert_eq!(wait("").0, 200);
    assert_eq!(wait("?timeout=0").0, 200, "what is newest can be learned");
    let store = |node: &Node| node.request("GET", "/api/v1/aspen/status", None).1["store"].clone();
    let known = store(&node);
    let told = (&known["engine"], known["member"].as_str());
    assert_eq!(told, (&"etcd".into(), Some(cluster.endpoints()[0].as_str())), "{known}");
    assert!(known["leader"].is_string() && known["database_octets"].is_u64(), "{known}");
    cluster.signal(0, "-STOP");
    // At once: each waits as long as it is allowed to.
    std::thread::scope(|scope| {
        for timeout in ["?timeout=0", "?timeout=0.2"] {
            scope.spawn(move || {
                let (status, body) = wait(timeout);
                assert_eq!(status, 503, "{body}");
                let said = body["error"].as_str().unwrap();
                assert!(said.contains("the store does not answer"), "{said}");
            });
        }
        for path in ["/api/v1/servers/localhost/zones", "/api/v1/aspen/zones"] {
            let node = &node;
            scope.spawn(move || {
                let (status, body) = node.request("GET", path, None);
                assert!(status == 503 && body["error"].is_string(), "{path}: {status} {body}");
            });
        }
        scope.spawn(|| {
            let (status, body) = import(&node);
            assert!(status == 503 && body.contains("an import cannot begin"), "{status} {body}");
        });
    });
    assert_eq!(node.ask("one.example", 6).0, 0, "it answers what it has");
    let silent_ms = store(&node)["answered_ms_ago"].as_u64();
    assert!(silent_ms > Some(200), "what was asked above had time: {silent_ms:?}");
    cluster.signal(0, "-CONT");
    node.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    node.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    let (status, body) = node.request("GET", "/api/v1/aspen/zones/two.example", None);
    assert_eq!(status, 404, "what was refused was not made: {body}");
}

#[test]
fn a_start_that_waits_for_its_store_ends_when_it_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let choice = format!("etcd=http://{}", listener.local_addr().unwrap());
    let data = dir();
    let mut command = node_command(data.path(), &["--role", "authority", "--store", &choice]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It asks, and is never answered.
    let _asking = listener.accept().unwrap();
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let ended = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        child.try_wait().unwrap()
    });
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(ended.expect("it ends").code(), Some(0), "{said}");
    assert!(!said.contains("ERROR") && output.stdout.is_empty(), "{said}");
}

#[test]
fn a_node_answers_with_what_it_kept_until_its_store_is_there_again() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let (data, choice) = (dir(), format!("etcd={}", cluster.endpoints()[0]));
    let arguments = ["--role", "authority", "--store", &choice];
    let node = Node::start(data.path(), &arguments);
    node.cli_ok(&["zone", "create", "one.example"]);
    node.cli_ok(&["record", "set", "www.one.example", "A", "60", "192.0.2.1"]);
    let (dns, api) = (node.dns, node.api.clone());
    node.terminate();
    cluster.kill(0);
    let at = (&*dns.to_string(), api.strip_prefix("http://").unwrap());
    let mut command = node_command_at(data.path(), at, &arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ending = Ending(child);
    let get = |path: &str| {
        let agent = Agent::config_builder().proxy(None).http_status_as_error(false).build();
        let answer = Agent::from(agent).get(format!("{api}{path}")).call();
        answer.ok().map(|mut answer| {
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default())
        })
    };
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let found = (0..2_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            is_so()
        });
        assert!(found, "{what}");
    };
    let is_ready = || get("/readyz").is_some_and(|(status, _)| status == 200);
    wait("it answers with what it kept", &is_ready);
    assert_eq!(crate::process::ask(dns, "www.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
    let (status, body) = get("/api/v1/aspen/status").unwrap();
    assert!(status == 503 && body.contains("the store was not reached yet"), "{status} {body}");
    cluster.start_member(0);
    let has_key = || get("/api/v1/aspen/status").is_some_and(|(status, _)| status == 401);
    wait("the whole API", &has_key);
    assert_eq!(crate::process::ask(dns, "www.one.example", 1), (0, vec![vec![192, 0, 2, 1]]));
}

/// A process that ends with the test.
struct Ending(std::process::Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where zones are imported.
const IMPORT: &str = "/api/v1/aspen/import?zone=two.example";
