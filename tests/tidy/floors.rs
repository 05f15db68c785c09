//! Who may use whom, room by room, and what the pure floors never do.

use std::collections::BTreeSet;

use crate::source::{Source, module_of, paths, product};
use crate::words::stands_in;

/// The modules of the crate from the lowest floor up. A module uses only those above its own line,
/// and of its own floor only those to its left.
const FLOORS: &[(&str, &[&str])] = &[
    ("words", &["limits", "clock", "durable", "name", "record", "octets", "ticket"]),
    ("data", &["message", "zone", "catalog", "feed", "dnssec"]),
    ("protocol", &["wire", "answer", "responder", "lookup"]),
    ("publish", &["publish", "sync"]),
    ("shells", &["masterfiles", "serve", "mesh", "replica", "store", "export"]),
    ("whole", &["node"]),
];

/// The floors that do no I/O and ask no clock.
const PURE_FLOORS: usize = 4;
/// The one clock and the one writer of small files: words that the shells use.
const IMPURE: &[&str] = &["clock", "durable"];

/// What a pure floor does not name.
const IMPURE_WORDS: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "tokio",
    "tracing::",
    "async fn",
];

/// Returns every use of a room that stands above.
fn climbs(files: &[Source]) -> Vec<String> {
    let order: Vec<&str> = FLOORS.iter().flat_map(|floor| floor.1.iter().copied()).collect();
    let rank = |room: &str| order.iter().position(|known| *known == room);
    let mut breaches = Vec::new();
    for file in files {
        let Some(module) = module_of(&file.path).filter(|module| module[0] != "bin") else {
            continue;
        };
        let Some(own) = rank(&module[0]) else {
            breaches.push(format!("{} stands on no floor: add it to the table", module[0]));
            continue;
        };
        let paths = paths(&file.code, &module).into_iter();
        let used: BTreeSet<String> = paths.filter_map(|path| path.into_iter().next()).collect();
        let above = used.iter().filter(|used| rank(used).is_some_and(|used| used > own));
        breaches.extend(above.map(|used| format!("{}: {} uses {used}", file.path, module[0])));
    }
    breaches
}

/// Returns what the pure floors do that is not pure.
fn impurities(files: &[Source]) -> Vec<String> {
    let is_pure = |file: &&Source| {
        let Some(module) = module_of(&file.path) else { return false };
        let mut pure = FLOORS.iter().take(PURE_FLOORS).flat_map(|floor| floor.1);
        !IMPURE.contains(&&*module[0]) && pure.any(|room| *room == module[0])
    };
    let pure = files.iter().filter(is_pure);
    pure.flat_map(|file| {
        let words = IMPURE_WORDS.iter().filter(|word| stands_in(&file.code, word));
        words.map(|word| format!("{}: {word}", file.path))
    })
    .collect()
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let breaches = climbs(&product());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_use_of_a_room_above_is_seen_in_every_form() {
    for code in [
        "use crate::node::Node;",
        "use crate::{limits, node::{self, Node}};",
        "use super::node::Node;",
        "fn f() { crate::node::run() }",
    ] {
        assert_eq!(climbs(&[Source::new("src/feed.rs", code)]), ["src/feed.rs: feed uses node"]);
    }
    for code in ["use crate::limits::X;", "//! crate::node::Node", "use crate::{name, record};"] {
        assert_eq!(climbs(&[Source::new("src/feed.rs", code)]), [""; 0]);
    }
    assert_eq!(climbs(&[Source::new("src/cellar.rs", "")]).len(), 1);
}

#[test]
fn the_pure_floors_ask_no_clock_and_do_no_io() {
    let breaches = impurities(&product());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn what_is_not_pure_is_seen() {
    let code = "// SystemTime\nasync fn f() { std::fs::read(\"tokio\") }";
    let of = |path| impurities(&[Source::new(path, code)]);
    assert_eq!(of("src/sync/core.rs"), ["src/sync/core.rs: std::fs", "src/sync/core.rs: async fn"]);
    assert_eq!((of("src/durable.rs"), of("src/serve/udp.rs")), (vec![], vec![]));
}
