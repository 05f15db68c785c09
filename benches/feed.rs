//! RRsets a second into packs and out of them again; live changes a second through the edge's core.
//!
//! `cargo bench --no-default-features --bench feed`. The zone is like a registry's: every name has
//! an A RRset, every third an AAAA and every tenth a TXT RRset.

use std::hint::black_box;

use aspen_dns::feed::Revision;
use aspen_dns::feed::items::{ItemRef, item_of};
use aspen_dns::feed::key;
use aspen_dns::feed::live::live_keys;
use aspen_dns::feed::manifest::{Manifest, ZoneMode};
use aspen_dns::feed::merge::for_each_rrset;
use aspen_dns::feed::pack::{Pack, PackWriter};
use aspen_dns::limits::PACK_OCTETS_TARGET;
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::sync::core::{SyncConfig, SyncCore};
use aspen_dns::sync::entry::{FeedEntry, Origin};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

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
    let mut writer = PackWriter::base(apex.clone());
    let mut packs = Vec::new();
    for change in changes {
        if writer.len() > PACK_OCTETS_TARGET && !writer.has_owner_before(change.owner().as_wire()) {
            packs.push(std::mem::replace(&mut writer, PackWriter::base(apex.clone())).finish());
        }
        writer.push(item_of(change)).expect("in canonical order");
    }
    packs.push(writer.finish());
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

/// Times one live change from its entry to the step handed out, and back.
fn live(criterion: &mut Criterion) {
    const AHEAD: u64 = 10_000;
    let apex: Name = "example".parse().expect("a name");
    let changes = rrsets(&apex);
    let keys: Vec<Vec<u8>> = (1..=AHEAD)
        .map(|number| {
            let change = &changes[number as usize * 7..][..1];
            let keys = live_keys(&apex, Revision::new(1, number + 1), number, change);
            keys.expect("a short change").remove(0)
        })
        .collect();
    let mut group = criterion.benchmark_group("feed");
    group.throughput(Throughput::Elements(AHEAD));
    group.bench_function("live", |bencher| {
        bencher.iter_batched(
            || following(&apex),
            |mut core| {
                for key in &keys {
                    take(&mut core, key, Bytes::from_static(b"\x01"));
                    for batch in core.poll_batch(0).expect("the change leads on") {
                        core.handle_applied(&batch.apex, batch.revision, 0);
                    }
                }
                core
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Makes a core that has published the zone's revision 1.
fn following(apex: &Name) -> SyncCore {
    let mut core = SyncCore::new(SyncConfig::default(), 0);
    core.handle_scan_complete(0);
    let manifest = Manifest {
        apex: apex.clone(),
        mode: ZoneMode::Served,
        revision: Revision::new(1, 1),
        serial: 1,
        name_count: 0,
        settings: Vec::new(),
        packs: Vec::new(),
    };
    let octets = manifest.to_octets().expect("a good manifest");
    take(&mut core, &key::terminate(&key::zone_key(apex)), octets.into());
    for batch in core.poll_batch(0).expect("a rebuild") {
        core.handle_applied(&batch.apex, batch.revision, 0);
    }
    core
}

/// Hands in one entry.
fn take(core: &mut SyncCore, key: &[u8], content: Bytes) {
    let entry = FeedEntry {
        key,
        author: [0; 32],
        hash: [0; 32],
        len: content.len() as u64,
        timestamp_us: 0,
        origin: Origin::Event,
        content: Some(content),
    };
    core.handle_entry(&entry, 0).expect("a good entry");
}

criterion_group!(benches, feed, live);
criterion_main!(benches);
