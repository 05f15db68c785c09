//! Nodes whose etcd is put back to an older state, or emptied, and goes on from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::store::DnsStore;
use aspen_dns::store::etcd::EtcdStore;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::process::{Node, dir};

/// An authority at a cluster of one member, of which an older copy is kept.
struct Kept {
    cluster: Cluster,
    data: TempDir,
    choice: String,
}

impl Kept {
    /// Returns it with its node, in which www is 1 as in the copy.
    fn start() -> Option<(Self, Node)> {
        let cluster = Cluster::start(1)?;
        let choice = format!("etcd={}", cluster.endpoints()[0]);
        let mut kept = Self { cluster, data: dir(), choice };
        let authority = kept.authority();
        authority.cli_ok(&["zone", "create", "one.example"]);
        set(&authority, "www", 1);
        kept.cluster.keep(0);
        Some((kept, authority))
    }

    fn authority(&self) -> Node {
        Node::start(self.data.path(), &["--role", "authority", "--store", &self.choice])
    }

    /// Puts the copy back, and has another authority make commits until the lost ones are overtaken.
    fn overtake(&mut self, lost: u64) {
        self.cluster.put_back(0);
        self.cluster.start_member(0);
        let config = self.cluster.config("aspen-dns/");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let engine = EtcdStore::connect(config).await.unwrap();
            let store = DnsStore::open(Arc::new(engine)).await.unwrap();
            for ttl_s in 1.. {
                if store.set_record(a("other", ttl_s)).await.unwrap() > lost + 1 {
                    break;
                }
            }
        });
    }
}

fn a(label: &str, ttl_s: u32) -> Rrset {
    let owner: Name = format!("{label}.one.example").parse().unwrap();
    Rrset::new(owner, RecordType::A, ttl_s, [[192, 0, 2, 7]]).unwrap()
}

fn set(node: &Node, label: &str, last: u8) {
    let (owner, address) = (format!("{label}.one.example"), format!("192.0.2.{last}"));
    node.cli_ok(&["record", "set", &owner, "A", "60", &address]);
}

/// Makes commits that are to be lost, sees that an edge has them, and returns their revision.
fn make_lost(authority: &Node, edge: &Node) -> u64 {
    (2..=6).for_each(|last| set(authority, "www", last));
    set(authority, "lost", 9);
    edge.wait_for("lost.one.example", 1, &[192, 0, 2, 9]);
    status(authority)["store_revision"].as_u64().unwrap()
}

fn status(node: &Node) -> Value {
    node.request("GET", "/api/v1/aspen/status", None).1
}

/// Waits until the node has what the store has.
fn assert_follows(node: &Node) {
    node.wait_for("other.one.example", 1, &[192, 0, 2, 7]);
    wait("what is lost is gone", || node.ask("lost.one.example", 1).1.is_empty());
    assert_eq!(node.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(40);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn edge(data: &TempDir, ticket: &str) -> Node {
    Node::start(data.path(), &["--ticket", ticket.trim()])
}

#[test]
fn a_running_authority_and_its_edges_follow_an_etcd_that_was_put_back_and_has_overtaken_them() {
    let Some((mut kept, authority)) = Kept::start() else { return };
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let (edge_data, new_data) = (dir(), dir());
    let following = edge(&edge_data, &ticket);
    let lost = make_lost(&authority, &following);
    // It must not look before it is overtaken: that it would see at once.
    authority.signal("-STOP");
    kept.overtake(lost);
    authority.signal("-CONT");
    assert_follows(&authority);
    assert_follows(&following);
    set(&authority, "after", 1);
    for node in [&authority, &following, &edge(&new_data, &ticket)] {
        node.wait_for("after.one.example", 1, &[192, 0, 2, 1]);
        assert_follows(node);
    }
    let status = status(&authority);
    assert_eq!(status["histories_begun"], 1, "{status}");
    let faults = status["faults"].as_array().unwrap();
    assert!(faults.iter().any(|fault| fault.as_str().unwrap().contains("put back")), "{status}");
    assert_eq!(status["served_revision"], status["store_revision"], "{status}");
}

#[test]
fn an_authority_that_starts_where_etcd_was_put_back_and_has_overtaken_it_begins_another_history() {
    let Some((mut kept, authority)) = Kept::start() else { return };
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge_data = dir();
    let following = edge(&edge_data, &ticket);
    let lost = make_lost(&authority, &following);
    wait("the document has what is lost", || {
        status(&authority)["feed"]["document_revision"].as_u64() >= Some(lost)
    });
    let history = status(&authority)["feed"]["history"].clone();
    // Nobody is there to show what it has lost.
    assert_eq!(following.terminate(), Some(0));
    assert_eq!(authority.terminate(), Some(0));
    kept.overtake(lost);
    let authority = kept.authority();
    wait("another history", || {
        let feed = &status(&authority)["feed"];
        feed["is_working"] == true && feed["history"] != history
    });
    assert_follows(&authority);
    assert_follows(&edge(&edge_data, &ticket));
}

#[test]
fn an_emptied_etcd_is_neither_followed_nor_written_to() {
    let Some((mut kept, authority)) = Kept::start() else { return };
    let ticket = authority.cli_ok(&["ticket", "create"]);
    let edge_data = dir();
    let following = edge(&edge_data, &ticket);
    following.wait_for("www.one.example", 1, &[192, 0, 2, 1]);
    kept.cluster.empty(0);
    kept.cluster.start_member(0);
    wait("it is found out", || {
        let faults = &status(&authority)["faults"];
        faults.to_string().contains("the store is empty, or another one stands in its place")
    });
    let made = authority.cli_fails(&["zone", "create", "two.example"]);
    assert!(made.contains("the store is empty"), "{made}");
    for node in [&authority, &following] {
        assert_eq!(node.ask("www.one.example", 1).1, [[192, 0, 2, 1]]);
    }
    kept.cluster.put_back(0);
    kept.cluster.start_member(0);
    wait("it is the one of before again", || {
        let record = ["record", "set", "www.one.example", "A", "60", "192.0.2.2"];
        authority.cli(&record).status.success()
    });
    following.wait_for("www.one.example", 1, &[192, 0, 2, 2]);
}
