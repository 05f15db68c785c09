//! Nanoseconds a query, from a query's octets to a reply's, by kind of answer.
//!
//! `cargo bench --no-default-features --bench answer`; a zone of 100,000 names, plain and signed,
//! or as many zones, and with `ASPEN_BENCH_NAMES=1000000` in the environment a million. Queries
//! come in random order, so that the caches see what a server's would.

mod zones;

use std::hint::black_box;

use aspen_dns::catalog::Catalog;
use aspen_dns::responder::{Peer, Responder, ResponderConfig, Transport};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Times `respond` over 16,384 queries of each kind.
fn answer(criterion: &mut Criterion) {
    let names = zones::names_from_env();
    let responder = Responder::new(ResponderConfig::default());
    let peer = Peer::in_process(Transport::Udp);
    let mut reply = Vec::with_capacity(70_000);
    let mut group = criterion.benchmark_group(format!("answer/{names}"));
    group.throughput(Throughput::Elements(1));
    // Kinds stand in the order of what they ask: one catalog at a time is held.
    let mut held: Option<(zones::Corpus, Catalog)> = None;
    for kind in zones::KINDS {
        let queries = zones::queries(kind, names, 16_384);
        let mut next = 0;
        group.bench_function(kind.name, |bencher| {
            // Made here, it is not made for kinds that a filter leaves out.
            if held.as_ref().is_none_or(|held| held.0 != kind.corpus) {
                held = Some((kind.corpus, zones::catalog(kind.corpus, names)));
            }
            let Some((_, catalog)) = &held else { return };
            bencher.iter(|| {
                next = (next + 1) % queries.len();
                black_box(responder.respond(catalog, &queries[next], &peer, &mut reply))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
