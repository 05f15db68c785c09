//! RRsets a second into packs, and out of them again.
//!
//! `cargo bench --no-default-features --bench feed`. The zone is like a registry's: every name has
//! an A RRset, every third an AAAA and every tenth a TXT RRset.

use std::hint::black_box;

use aspen_dns::feed::fold::{PackSplitter, SplitKind};
use aspen_dns::feed::items::{ItemRef, item_of};
use aspen_dns::feed::merge::for_each_rrset;
use aspen_dns::feed::pack::Pack;
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// How many names the zone has.
const NAMES: u32 = 100_000;

/// Makes the RRsets of the zone in canonical order.
fn rrsets(apex: &Name) -> Vec<Change> {
    let mut changes = Vec::new();
    for index in 0..NAMES {
        let owner = apex.with_label(format!("name{index:06}").as_bytes()).expect("a short label");
        let mut add = |rtype, rdata: &[u8]| {
            let rrset = Rrset::new(owner.clone(), rtype, 300, [rdata]).expect("an RRset");
            changes.push(Change::Put(rrset));
        };
        add(RecordType::A, &index.to_be_bytes());
        if index % 10 == 0 {
            add(RecordType::TXT, b"\x20v=spf1 include:example.com ~all  ");
        }
        if index % 3 == 0 {
            add(RecordType::AAAA, &[index as u8; 16]);
        }
    }
    changes
}

/// Packs a whole zone.
fn pack(apex: &Name, changes: &[Change]) -> Vec<Vec<u8>> {
    let mut splitter = PackSplitter::new(apex.clone(), SplitKind::Base);
    let mut packs = Vec::new();
    for change in changes {
        let cut = splitter.push(item_of(change)).expect("in canonical order");
        packs.extend(cut.map(|cut| cut.octets));
    }
    packs.extend(splitter.finish().expect("good names").map(|cut| cut.octets));
    packs
}

/// Times packing, proving, reading, and laying a thousand edits over the packs.
fn feed(criterion: &mut Criterion) {
    let apex: Name = "example".parse().expect("a name");
    let changes = rrsets(&apex);
    let packs = pack(&apex, &changes);
    let octets: usize = packs.iter().map(Vec::len).sum();
    println!("{} RRsets, {} packs, {octets} octets", changes.len(), packs.len());
    let mut group = criterion.benchmark_group("feed");
    group.throughput(Throughput::Elements(changes.len() as u64));
    group.bench_function("pack", |bencher| bencher.iter(|| black_box(pack(&apex, &changes))));
    group.bench_function("check", |bencher| {
        bencher.iter(|| {
            for octets in &packs {
                black_box(Pack::check(octets).expect("a good pack").item_count());
            }
        });
    });
    let proven: Vec<Pack<'_>> =
        packs.iter().map(|octets| Pack::check(octets).expect("a good pack")).collect();
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            for pack in &proven {
                let mut items = pack.items();
                while let Some(item) = items.next() {
                    if let ItemRef::Put(rrset) = item {
                        black_box((rrset.owner, rrset.rdata));
                    }
                }
            }
        });
    });
    let edits: Vec<Change> = changes.iter().step_by(130).cloned().collect();
    for (name, edits) in [("unpack", &[][..]), ("unpack_with_edits", &edits)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for_each_rrset(&apex, &packs, edits, |rrset| {
                    black_box(rrset.rdata);
                })
                .expect("good packs");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, feed);
criterion_main!(benches);
