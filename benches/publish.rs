//! Microseconds from a changed RRset to the published catalog, and what readers see meanwhile.
//!
//! `cargo bench --no-default-features --bench publish`; `ASPEN_BENCH_NAMES` as in `answer`.

mod zones;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aspen_dns::catalog::CatalogChange;
use aspen_dns::name::Name;
use aspen_dns::publish::Publisher;
use aspen_dns::record::{Change, RecordType};
use aspen_dns::responder::{Peer, Responder, ResponderConfig, Transport};
use aspen_dns::zone::HashSeed;
use criterion::{Criterion, criterion_group, criterion_main};

/// Publishes one changed RRset of a random name.
fn change(publisher: &Publisher, apex: &Name, names: u64, random: &mut u64) {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let i = (*random >> 20) % names;
    let address = (*random as u32).to_be_bytes();
    let rrset = zones::rrset(&format!("h{i}.example.com"), RecordType::A, &[&address]);
    let catalog = publisher.catalog();
    let zone = catalog.zone(apex).expect("was published");
    let (zone, report) = zone.edit(&[Change::Put(rrset)]);
    assert_eq!(report.applied, 1);
    drop(catalog);
    publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
}

/// Times changes alone, then queries with and without changes.
fn publish(criterion: &mut Criterion) {
    let names = zones::names_from_env();
    let publisher = Publisher::new(HashSeed(1));
    publisher.publish(vec![CatalogChange::Put(Arc::new(zones::zone(names)))]);
    let apex = Name::from_text("example.com").expect("a name");
    let mut random = 1;
    let mut group = criterion.benchmark_group(format!("publish/{names}"));
    group.bench_function("one_rrset", |bencher| {
        bencher.iter(|| change(&publisher, &apex, names, &mut random));
    });
    let reader = publisher.reader();
    let responder = Responder::new(ResponderConfig::default());
    let queries = zones::queries(&zones::KINDS[0], names, 16_384);
    let mut reply = Vec::with_capacity(70_000);
    let mut next = 0;
    // Who asks, a front end tells: what that takes is in `loopback`.
    let peer = Peer::in_process(Transport::Udp);
    let mut query = || {
        next = (next + 1) % queries.len();
        black_box(responder.respond(&reader.load(), &queries[next], &peer, &mut reply))
    };
    group.bench_function("read_quiet", |bencher| bencher.iter(&mut query));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 7;
            while !ended.load(Ordering::Relaxed) {
                change(&publisher, &apex, names, &mut random);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        group.bench_function("read_under_changes", |bencher| bencher.iter(&mut query));
        ended.store(true, Ordering::Relaxed);
    });
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
