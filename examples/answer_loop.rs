//! Answers one kind of query many times; `benches/instructions.sh` counts its instructions.
//!
//! `answer_loop KIND COUNT [NAMES]`, KIND as in the `answer` benchmark.

#[path = "../benches/zones.rs"]
mod zones;

use aspen_dns::responder::{Peer, Responder, ResponderConfig, Transport, Verdict};

/// Answers `COUNT` queries and prints how many got a reply.
fn main() {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let count: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let names = args.next().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let Some(kind) = zones::KINDS.iter().find(|known| known.name == kind) else {
        let known: Vec<&str> = zones::KINDS.iter().map(|kind| kind.name).collect();
        eprintln!("answer_loop KIND COUNT [NAMES]; KIND is one of {}", known.join(" "));
        std::process::exit(2);
    };
    let catalog = zones::catalog(kind.corpus, names);
    let queries = zones::queries(kind, names, 4_096);
    let responder = Responder::new(ResponderConfig::default());
    let mut reply = Vec::with_capacity(70_000);
    let mut replies = 0;
    for index in 0..count {
        let query = &queries[index % queries.len()];
        let peer = Peer::in_process(Transport::Udp);
        let verdict = responder.respond(&catalog, query, &peer, &mut reply);
        replies += u64::from(matches!(verdict, Verdict::Reply(_)));
    }
    // What was counted, in words: whoever reads the count can see that it is of the right answer.
    let counts: Vec<u8> = [7, 9, 11].iter().filter_map(|at| reply.get(*at).copied()).collect();
    let rcode = reply.get(3).map_or(0, |flags| flags & 15);
    println!(
        "{replies} replies, the last: rcode {rcode}, sections {counts:?}, {} octets",
        reply.len()
    );
}
