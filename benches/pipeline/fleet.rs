//! Many edges of one authority: how soon each serves, and when one change is at all of them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::load;
use crate::nodes::Node;

/// Names of the zone.
const NAMES: u32 = 1_000;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two changes.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts `edges` edges one after the other, each from an empty directory, and prints how soon
/// each serves; then makes `count` changes, one at a time, and prints when each was at all edges.
pub fn run(dir: &Path, edges: u32, count: u32) {
    let (authority, _) = crate::authority(dir, NAMES);
    let ticket = authority.ticket();
    let mut joined_s = Vec::new();
    let edges: Vec<Node> = (0..edges)
        .map(|number| {
            let data = dir.join(format!("edge{number}"));
            let (edge, took) =
                crate::first_answer(&data, &["--role", "edge", "--ticket", &ticket], NAMES);
            joined_s.push(took.as_secs_f64());
            edge
        })
        .collect();
    load::print_times("start -> first answer", &mut joined_s);
    std::thread::sleep(Duration::from_secs(3));
    crate::print_load("before");
    let watched: Vec<_> = edges.iter().collect();
    let mut lags_s = Vec::new();
    for index in 0..count {
        std::thread::sleep(PAUSE);
        let acknowledged = load::change(&authority, NAMES, index);
        let seen = load::wait_change(&watched, NAMES, index, LIMIT).expect("every edge has it");
        lags_s.push(seen.saturating_duration_since(acknowledged).as_secs_f64());
    }
    println!("{} edges, {count} changes, one at a time", edges.len());
    load::print_times("reply -> at all edges", &mut lags_s);
}

/// Kills the authority and starts it again, and an edge likewise, `repeats` times each; prints how
/// long it takes from the start of the process until a change that is made as soon as the API
/// takes it is answered by the edge.
pub fn kill(dir: &Path, names: u32, repeats: u32) {
    let (mut authority, mut edge) = crate::pair(dir, names);
    let ticket = authority.ticket();
    let roles = [vec!["--role", "authority"], vec!["--role", "edge", "--ticket", &ticket]];
    let mut times_s = [Vec::new(), Vec::new()];
    for index in 0..repeats * 2 {
        let which = index as usize % 2;
        // Something is on its way when the process dies.
        load::change(&authority, names, index * 2);
        let start;
        if which == 0 {
            drop(authority);
            start = Instant::now();
            authority = Node::start(&dir.join("authority"), &roles[0]);
        } else {
            drop(edge);
            start = Instant::now();
            edge = Node::start(&dir.join("edge"), &roles[1]);
        }
        load::change(&authority, names, index * 2 + 1);
        let seen = load::wait_change(&[&edge], names, index * 2 + 1, LIMIT).expect("it comes");
        times_s[which].push((seen - start).as_secs_f64());
        load::wait_change(&[&edge], names, index * 2, LIMIT).expect("nothing is lost");
        std::thread::sleep(Duration::from_secs(1));
    }
    load::print_times("kill of the authority -> a new change answered", &mut times_s[0]);
    load::print_times("kill of the edge -> a new change answered", &mut times_s[1]);
}
