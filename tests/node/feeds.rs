//! Feeds, one for each audience: made, listed, ended, and who may have them until when.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aspen_dns::ticket::{DnsClientTicket, TicketPeer};
use serde_json::{Value, json};

use crate::process::{Node, ask, dir, node_command};

fn authority(data: &Path) -> Node {
    let node = Node::start(data, &["--role", "authority"]);
    for zone in ["one.example", "two.example"] {
        node.cli_ok(&["zone", "create", zone]);
    }
    node
}

fn edge(data: &Path, ticket: &str) -> Node {
    Node::start(data, &["--ticket", ticket.trim()])
}

/// The key of the node whose data lie there, as it is printed without a node.
fn endpoint(data: &Path) -> String {
    let output = node_command(data, &["--show-endpoint"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn set(authority: &Node, name: &str, octet: u8) {
    let address = format!("192.0.2.{octet}");
    authority.cli_ok(&["record", "set", name, "A", "60", &address]);
}

fn see(edge: &Node, name: &str, octet: u8) {
    edge.wait_for(name, 1, &[192, 0, 2, octet]);
}

fn shown(node: &Node, feed: &str) -> Value {
    serde_json::from_str(&node.cli_ok(&["feed", "show", feed, "--json"])).unwrap()
}

fn barred(edge: &Node) -> String {
    let (_, status) = edge.request("GET", "/api/v1/aspen/status", None);
    status["sync"]["barred"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_feed_carries_its_zones_and_when_it_is_revoked_its_edge_hears_why_and_answers_on() {
    let data = [dir(), dir(), dir()];
    let node = authority(data[0].path());
    let ticket = node.cli_ok(&["feed", "create", "partner", "--zones", "one.example"]);
    assert_eq!(node.cli_ok(&["ticket", "create", "--feed", "partner"]), ticket);
    let partner = edge(data[1].path(), &ticket);
    let other = edge(data[2].path(), &node.cli_ok(&["ticket", "create"]));
    set(&node, "a.one.example", 1);
    see(&partner, "a.one.example", 1);
    assert_eq!(partner.ask("two.example", 6).0, 5, "REFUSED");
    wait_until("it follows", || shown(&node, "partner")["followers"] == 1);
    let error = node.cli_fails(&["feed", "create", "partner"]);
    assert!(error.contains("a feed is called partner already"), "{error}");
    let error = node.cli_fails(&["feed", "remove", "main"]);
    assert!(error.contains("neither ends nor expires"), "{error}");

    let keys = data[0].path().join("mesh/feeds");
    let files = std::fs::read_dir(&keys).unwrap().filter(is_key).map(|entry| entry.unwrap().path());
    let before: Vec<_> = files.map(|file| (std::fs::read(&file).unwrap(), file)).collect();
    node.cli_ok(&["feed", "remove", "partner"]);
    assert!(node.cli_fails(&["feed", "show", "partner"]).contains("no feed is called"));
    assert!(node.cli_ok(&["feed", "list"]).contains("partner  revoked"));
    wait_until("it hears why", || barred(&partner) == "the feed was revoked");
    set(&node, "a.one.example", 2);
    see(&other, "a.one.example", 2);
    assert_eq!(partner.ask("a.one.example", 1).1, [[192, 0, 2, 1]], "it answers on");
    assert_eq!(barred(&other), "");
    let key_count = || std::fs::read_dir(&keys).unwrap().filter(is_key).count();
    assert_eq!((before.len(), key_count()), (2, 1), "of main alone");

    // It stays so over a restart, and under the same name another feed is made.
    assert_eq!((node.terminate(), partner.terminate()), (Some(0), Some(0)));
    // As if it had been killed in the middle of that.
    before.iter().for_each(|(octets, file)| std::fs::write(file, octets).unwrap());
    let node = Node::start(data[0].path(), &["--role", "authority"]);
    assert_eq!(key_count(), 1, "what was left is removed");
    let partner = edge(data[1].path(), &ticket);
    assert_eq!(partner.ask("a.one.example", 1).1, [[192, 0, 2, 1]]);
    wait_until("it hears why", || barred(&partner) == "the feed was revoked");
    let again = node.cli_ok(&["feed", "create", "partner", "--zones", "one.example"]);
    assert_ne!(again[..100], ticket[..100]);
}

/// Whether a file holds the keys of a feed.
fn is_key(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().path().extension().is_some_and(|suffix| suffix == "json")
}

#[test]
fn only_endpoints_on_the_list_of_a_feed_follow_it_and_who_is_taken_off_is_cut_off() {
    let data = [dir(), dir(), dir()];
    let node = authority(data[0].path());
    let (first, second) = (endpoint(data[1].path()), endpoint(data[2].path()));
    assert_eq!(endpoint(data[1].path()), first, "it is kept");
    let ticket = node.cli_ok(&["feed", "create", "dc1", "--allow", &first]);
    set(&node, "a.one.example", 1);
    let one = edge(data[1].path(), &ticket);
    let (_, status) = one.request("GET", "/api/v1/aspen/status", None);
    assert_eq!(status["endpoint"], json!(first));
    see(&one, "a.one.example", 1);

    // With the ticket alone nothing is to be had, and whoever tried is shown.
    let two = edge(data[2].path(), &ticket);
    wait_until("it is refused", || barred(&two).contains("not on the feed's list"));
    assert_eq!(two.ask("a.one.example", 1).0, 5, "REFUSED");
    let report = shown(&node, "dc1");
    assert_eq!(report["refused"][0]["endpoint"], json!(second));
    assert!(report["refusals"].as_u64() >= Some(1));

    node.cli_ok(&["feed", "allow", "dc1", &second]);
    see(&two, "a.one.example", 1);
    wait_until("it knows that it is let in", || barred(&two).is_empty());
    node.cli_ok(&["feed", "deny", "dc1", &first]);
    wait_until("it is cut off", || barred(&one).contains("not on the feed's list"));
    set(&node, "a.one.example", 2);
    see(&two, "a.one.example", 2);
    assert_eq!(one.ask("a.one.example", 1).1, [[192, 0, 2, 1]], "it answers on");

    node.cli_ok(&["feed", "allow", "dc1", "--everybody"]);
    see(&one, "a.one.example", 2);
    let error = node.cli_fails(&["feed", "deny", "dc1", &first]);
    assert!(error.contains("has no list"), "{error}");
    let error = node.cli_fails(&["feed", "allow", "dc1", "00"]);
    assert!(error.contains("64 hexadecimal digits"), "{error}");
}

#[test]
fn a_feed_ends_at_its_time_by_the_clock_of_its_authority() {
    let data = [dir(), dir()];
    let node = authority(data[0].path());
    let ticket = node.cli_ok(&["feed", "create", "lab", "--expires", "+1h"]);
    let lab = edge(data[1].path(), &ticket);
    set(&node, "a.one.example", 1);
    see(&lab, "a.one.example", 1);
    assert!(
        node.cli_fails(&["feed", "expire", "lab", "20200101000000"]).contains("a time to come")
    );
    assert!(
        node.cli_fails(&["feed", "expire", "main", "+1h"]).contains("neither ends nor expires")
    );
    node.cli_ok(&["feed", "expire", "lab", "never"]);
    assert_eq!(shown(&node, "lab")["expires_ms"], Value::Null);
    node.cli_ok(&["feed", "expire", "lab", "+1s"]);
    wait_until("it hears why", || barred(&lab) == "the time of the feed is over");
    assert!(node.cli_ok(&["feed", "list"]).contains("lab   expired"));
    assert_eq!(lab.ask("a.one.example", 1).1, [[192, 0, 2, 1]], "it answers on");
}

/// Asks an edge all the time, until it is told to stop: each answer must be there, and none older than the one before.
struct Watch {
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<u64>>,
}

impl Watch {
    fn start(edge: &Node, name: &'static str, apex: &'static str) -> Self {
        let (stop, server) = (Arc::<AtomicBool>::default(), edge.dns);
        let told = Arc::clone(&stop);
        let task = std::thread::spawn(move || {
            let (mut octet, mut serial, mut count) = (0, 0, 0);
            while !told.load(Ordering::Relaxed) {
                let (rcode, answers) = ask(server, name, 1);
                assert_eq!((rcode, answers.len()), (0, 1), "an answer is missing");
                assert!(answers[0][3] >= octet, "{} after {octet}", answers[0][3]);
                octet = answers[0][3];
                let (rcode, answers) = ask(server, apex, 6);
                assert_eq!((rcode, answers.len()), (0, 1), "a SOA is missing");
                let at = answers[0].len() - 20;
                let now = u32::from_be_bytes(answers[0][at..at + 4].try_into().unwrap());
                assert!(now >= serial, "serial {now} after {serial}");
                (serial, count) = (now, count + 1);
            }
            count
        });
        Self { stop, task: Some(task) }
    }

    /// Returns how often it asked.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.take().unwrap().join().expect("every answer was there")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn namespace(edge: &Node) -> Value {
    edge.request("GET", "/api/v1/aspen/status", None).1["sync"]["namespace"].clone()
}

#[test]
fn edges_go_over_to_a_rotated_feed_without_a_gap_and_keep_to_it_over_a_restart() {
    let data = [dir(), dir(), dir()];
    let node = authority(data[0].path());
    let (one_key, two_key) = (endpoint(data[1].path()), endpoint(data[2].path()));
    let keys = format!("{one_key},{two_key}");
    let ticket = node.cli_ok(&["feed", "create", "partner", "--allow", &keys]);
    let (one, two) = (edge(data[1].path(), &ticket), edge(data[2].path(), &ticket));
    set(&node, "a.one.example", 1);
    see(&one, "a.one.example", 1);
    see(&two, "a.one.example", 1);
    let before = namespace(&one);

    // Who is taken off the list before gets no new ticket.
    node.cli_ok(&["feed", "deny", "partner", &two_key]);
    wait_until("it is cut off", || !barred(&two).is_empty());
    let watch = Watch::start(&one, "a.one.example", "one.example");
    let new = node.cli_ok(&["feed", "rotate", "partner", "--keep", "+1h"]);
    assert_ne!(new[..100], ticket[..100]);
    let mut octet = 1;
    wait_until("it does not go over", || {
        octet = (octet + 1).min(250);
        set(&node, "a.one.example", octet);
        namespace(&one) == shown(&node, "partner")["namespace"]
    });
    assert_ne!(namespace(&one), before);
    set(&node, "a.one.example", 251);
    see(&one, "a.one.example", 251);
    println!("{} answers, none missing, none older", watch.end());
    wait_until("it leaves the old one", || {
        let count = |feed: &str| shown(&node, feed)["followers"].as_u64().unwrap();
        (count("partner"), count("partner~1")) == (1, 0)
    });
    assert_eq!(namespace(&two), before);

    // The old one goes; the edge has forgotten it, whatever its flag says.
    node.cli_ok(&["feed", "remove", "partner~1"]);
    assert_eq!(one.terminate(), Some(0));
    let one = edge(data[1].path(), &ticket);
    assert_eq!(one.ask("a.one.example", 1).1, [[192, 0, 2, 251]], "at once");
    set(&node, "a.one.example", 252);
    see(&one, "a.one.example", 252);
    assert_eq!(barred(&one), "");
    assert_eq!(two.ask("a.one.example", 1).1, [[192, 0, 2, 1]], "it answers what it has");
}

#[test]
fn an_edge_that_was_off_while_the_main_feed_was_rotated_finds_the_new_one() {
    let data = [dir(), dir()];
    let node = authority(data[0].path());
    let ticket = node.cli_ok(&["ticket", "create"]);
    set(&node, "a.one.example", 1);
    let one = edge(data[1].path(), &ticket);
    see(&one, "a.one.example", 1);
    assert_eq!(one.terminate(), Some(0));
    node.cli_ok(&["feed", "rotate", "main"]);
    set(&node, "a.one.example", 2);
    assert_eq!(node.terminate(), Some(0));
    let node = Node::start(data[0].path(), &["--role", "authority"]);
    let one = edge(data[1].path(), &ticket);
    see(&one, "a.one.example", 2);
    wait_until("it goes over", || namespace(&one) == shown(&node, "main")["namespace"]);
    node.cli_ok(&["feed", "remove", "main~1"]);
    assert_eq!(node.terminate(), Some(0));
    // The keys of the feed are those of the new one now.
    let node = Node::start(data[0].path(), &["--role", "authority"]);
    set(&node, "a.one.example", 3);
    see(&one, "a.one.example", 3);
}

#[test]
fn an_edge_that_hands_a_feed_on_keeps_to_its_list() {
    let data = [dir(), dir(), dir()];
    let node = authority(data[0].path());
    let (near_key, far_key) = (endpoint(data[1].path()), endpoint(data[2].path()));
    let ticket = node.cli_ok(&["feed", "create", "dc1", "--allow", &near_key]);
    set(&node, "a.one.example", 1);
    let near = edge(data[1].path(), &ticket);
    see(&near, "a.one.example", 1);
    let address = || {
        let (_, fleet) = node.request("GET", "/api/v1/aspen/edges", None);
        fleet["edges"][0]["address"].as_str().and_then(|text| text.parse().ok())
    };
    wait_until("the authority knows where it is", || address().is_some());
    // This one knows the edge alone.
    let mut behind: DnsClientTicket = ticket.trim().parse().unwrap();
    let id = data_encoding::HEXLOWER.decode(near_key.as_bytes()).unwrap().try_into().unwrap();
    behind.peers = vec![TicketPeer { id, addrs: vec![address().unwrap()], relay: None }];
    let far = edge(data[2].path(), &behind.to_string());
    wait_until("it is refused", || barred(&far).contains("not on the feed's list"));
    let (_, status) = near.request("GET", "/api/v1/aspen/status", None);
    assert!(status["refusals"].as_u64() >= Some(1), "the edge has refused it");
    assert_eq!(far.ask("a.one.example", 1).0, 5, "REFUSED");
    node.cli_ok(&["feed", "allow", "dc1", &far_key]);
    see(&far, "a.one.example", 1);
}

#[test]
fn what_is_no_feed_is_refused_with_the_rule() {
    let data = [dir(), dir()];
    let node = authority(data[0].path());
    let make = |body: Value| node.request("POST", "/api/v1/aspen/feeds", Some(body)).0;
    assert_eq!(make(json!({"name": "a b"})), 422);
    assert_eq!(make(json!({"name": "main"})), 409);
    assert_eq!(make(json!({"name": "a", "zones": []})), 422);
    assert_eq!(make(json!({"name": "a", "zones": ["absent.example"]})), 404);
    assert_eq!(make(json!({"name": "a", "allowed": ["00"]})), 422);
    assert_eq!(make(json!({"name": "a", "expires": "soon"})), 422);
    assert_eq!(make(json!({})), 422);
    assert_eq!(node.request("DELETE", "/api/v1/aspen/feeds/a", None).0, 404);
    let both = json!({"feed": "main", "zones": ["one.example"]});
    assert_eq!(node.request("POST", "/api/v1/aspen/tickets", Some(both)).0, 422);
    let edge = edge(data[1].path(), &node.cli_ok(&["ticket", "create"]));
    assert_eq!(edge.request("GET", "/api/v1/aspen/feeds", None).0, 404);
}

#[test]
fn a_list_of_feeds_of_an_older_version_is_carried_over() {
    let data = dir();
    let node = authority(data.path());
    let ticket = node.cli_ok(&["ticket", "create", "--zones", "one.example"]);
    let feeds = data.path().join("mesh/feeds");
    assert_eq!(node.terminate(), Some(0));
    // As it was: a list of sets of zones, and keys that are called by them.
    let book: Value =
        serde_json::from_slice(&std::fs::read(data.path().join("feeds.json")).unwrap()).unwrap();
    let feed =
        book["feeds"].as_array().unwrap().iter().find(|feed| feed["name"] != "main").unwrap();
    let (name, key) = (feed["name"].as_str().unwrap(), feed["key"].as_str().unwrap());
    for suffix in ["json", "root", "term"] {
        let of = |stem: &str| feeds.join(format!("{stem}.{suffix}"));
        let _ = std::fs::rename(of(key), of(name));
    }
    std::fs::write(data.path().join("feeds.json"), r#"[["one.example."]]"#).unwrap();
    let node = Node::start(data.path(), &["--role", "authority"]);
    let again = node.cli_ok(&["ticket", "create", "--zones", "one.example"]);
    assert_eq!(again[..100], ticket[..100], "the same feed");
}

#[test]
fn the_key_of_an_endpoint_is_the_owners_alone() {
    let data = dir();
    endpoint(data.path());
    let output = Command::new("find").arg(data.path()).args(["-perm", "/077"]).output().unwrap();
    let open = String::from_utf8(output.stdout).unwrap();
    assert!(!open.contains("mesh"), "{open}");
}
