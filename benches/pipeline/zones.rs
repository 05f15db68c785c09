//! Many zones: from the last commit to their document, and to an empty edge that answers all.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load;
use crate::nodes::{Api, Node, revision};

/// Zones made by one commit.
const ZONES_A_BATCH: u32 = 500;
/// Zones that are asked for until all of them are answered; the others are looked at then.
const SAMPLE: u32 = 500;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Makes `zones` zones of five records each (SOA, two NS, A, AAAA), prints how long it takes until
/// all are in the document, and until an empty edge answers them; then restarts it alone.
pub fn run(dir: &Path, zones: u32, repeats: u32) {
    let authority = Node::start(&dir.join("authority"), &["--role", "authority"]);
    let start = Instant::now();
    let newest = make(&mut authority.connect(), zones);
    let made = Instant::now();
    authority.wait_revision(newest);
    let exported = wait_exported(&authority, newest);
    println!(
        "{zones} zones of 5 records made in {:.2} s; exported {:.2} s after the last commit",
        (made - start).as_secs_f64(),
        (exported - made).as_secs_f64()
    );
    let ticket = authority.ticket();
    let data: Vec<_> = (0..repeats).map(|repeat| dir.join(format!("edge{repeat}"))).collect();
    for data in &data {
        crate::print_load("before");
        answer_all(data, &ticket, zones, "fresh edge");
    }
    drop(authority);
    for data in &data {
        answer_all(data, &ticket, zones, "restart without peer");
    }
}

/// Makes the zones; returns the revision of the last.
fn make(api: &mut Api, zones: u32) -> u64 {
    let mut newest = 0;
    for first in (0..zones).step_by(ZONES_A_BATCH as usize) {
        let batch = first..zones.min(first + ZONES_A_BATCH);
        let body = json!({ "operations": batch.flat_map(zone).collect::<Vec<_>>() });
        newest = revision(&api.request("POST", "/api/v1/aspen/batch", body.to_string().as_bytes()));
    }
    newest
}

/// Returns what makes one zone.
fn zone(number: u32) -> [Value; 4] {
    let apex = format!("z{number}.example.");
    let [_, a, b, c] = number.to_be_bytes();
    let set = |owner: &str, rtype: &str, rdata: &[&str]| json!({ "op": "set", "domain": owner, "type": rtype, "ttl_seconds": 300, "rdata": rdata });
    [
        json!({ "op": "set_zone", "settings": { "apex": apex } }),
        set(&apex, "NS", &["ns1.hosting.example.", "ns2.hosting.example."]),
        set(&apex, "A", &[&format!("10.{a}.{b}.{c}")]),
        set(&apex, "AAAA", &[&format!("2001:db8::{a:x}:{b:x}{c:02x}")]),
    ]
}

/// Waits until a revision is in the document that edges fetch; returns when.
fn wait_exported(authority: &Node, newest: u64) -> Instant {
    let mut api = authority.connect();
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let status = api.request("GET", "/api/v1/aspen/status", b"");
        let status: Value = serde_json::from_str(&status).expect("JSON");
        if status["feed"]["document_revision"].as_u64() >= Some(newest) {
            return Instant::now();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the document holds revision {newest} within {LIMIT:?}")
}

/// Starts an edge and prints when it answers a sample of the zones, which are all over them, and
/// how many of all zones it does not answer then.
fn answer_all(data: &Path, ticket: &str, zones: u32, what: &str) {
    let start = Instant::now();
    let edge = Node::start(data, &["--role", "edge", "--ticket", ticket]);
    let ask = |number: u32| load::query_of(0, &format!("z{number}.example."));
    let step = (zones / SAMPLE).max(1) as usize;
    let sample = (0..zones).step_by(step).chain([zones - 1]).map(ask).collect();
    let answered = load::wait_all(&edge, sample, LIMIT).expect("every zone is answered");
    let took = (answered - start).as_secs_f64();
    let whole = load::wait_all(&edge, (0..zones).map(ask).collect(), Duration::from_secs(20));
    assert!(whole.is_some(), "the zones beside the sample are answered, too");
    println!("{what}: {took:.3} s to {SAMPLE} of the zones, peak RSS {} MiB", edge.peak_rss_mib());
}
