//! Nanoseconds to find a name's zone and node, without the message around it.
//!
//! `cargo bench --no-default-features --bench find`; `ASPEN_BENCH_NAMES` as in `answer`.

mod zones;

use std::hint::black_box;

use aspen_dns::catalog::AtApex;
use aspen_dns::zone::path::NamePath;
use criterion::{Criterion, criterion_group, criterion_main};

/// Times the parts of a find, one after the other.
fn find(criterion: &mut Criterion) {
    let names = zones::names_from_env();
    let catalog = zones::catalog(zones::Corpus::Plain, names);
    let seed = catalog.seed();
    let mut group = criterion.benchmark_group(format!("find/{names}"));
    let is_plain = |kind: &&zones::Kind| kind.corpus == zones::Corpus::Plain;
    for kind in zones::KINDS.iter().filter(is_plain) {
        let queries = zones::queries(kind, names, 16_384);
        let qnames: Vec<&[u8]> = queries.iter().map(|query| &query[12..query.len() - 15]).collect();
        let mut next = 0;
        let mut path = NamePath::new();
        group.bench_function(format!("zone_and_node/{}", kind.name), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % qnames.len();
                path.set_any_case(qnames[next], seed);
                let zone = catalog.find(&path).and_then(AtApex::zone).expect("the zone is there");
                black_box(zone.find(&path));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
