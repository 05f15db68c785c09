//! Time to read a master file: its records alone, and grouped to the RRsets of a zone.
//!
//! `cargo bench --no-default-features --bench master`; `ASPEN_BENCH_NAMES` chooses how many names
//! the zone has (100,000 if it is not set), four records for three of them. A second zone is as a
//! registry's: a third as many delegations, of about four records each.

use std::fmt::Write as _;
use std::hint::black_box;

use aspen_dns::name::Name;
use aspen_dns::record::master::{MasterOptions, MasterReader, read_zone};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

/// Writes a zone of `names` hosts, some with AAAA, MX and TXT records too.
fn master_file(names: u64) -> String {
    let mut text = "$TTL 3600\n@ SOA ns h 1 3600 900 604800 300\n@ NS ns\n".to_owned();
    for i in 0..names {
        let (high, low) = (i >> 8 & 255, i & 255);
        // Writing to a string does not fail.
        let _ = writeln!(text, "h{i} 300 A 10.{}.{high}.{low}", i >> 16 & 255);
        let _ = match i % 15 {
            0 | 5 | 10 => writeln!(text, "h{i} 300 AAAA 2001:db8::{high:x}:{low:x}"),
            1 => writeln!(text, "h{i} 3600 MX 10 h{}", names - i),
            2 => writeln!(text, "h{i} 3600 TXT \"v=bench1 token={i:016x}\""),
            _ => Ok(()),
        };
    }
    text
}

/// Writes a zone of `cuts` delegations in no order: half of them to hosts elsewhere, a third with
/// hosts and addresses of their own, the others to hosts of these; a third have DS records.
fn registry_file(cuts: u64) -> String {
    let mut text =
        "$TTL 3600\n@ SOA ns h 1 3600 900 604800 300\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    for i in 0..cuts {
        // An odd factor makes each number once, as far as there are powers of two.
        let name = |i: u64| format!("d{:08x}", (i as u32).wrapping_mul(0x9e37_79b1));
        let cut = name(i);
        for server in 1..=2 + i % 3 {
            // Writing to a string does not fail.
            let _ = match i % 6 {
                0..3 => writeln!(text, "{cut} NS ns{server}.provider{}.test.", i % 11),
                3 | 4 => writeln!(text, "{cut} NS ns{server}.{cut}"),
                _ => writeln!(text, "{cut} NS ns{server}.{}", name(i - 1)),
            };
        }
        if i % 3 == 1 {
            let _ = writeln!(text, "{cut} DS 1 13 2 {}", "0123456789abcdef".repeat(4));
        }
        if matches!(i % 6, 3 | 4) {
            for server in 1..=2 + i % 3 {
                let _ = writeln!(text, "ns{server}.{cut} A 192.0.2.{server}");
            }
        }
    }
    text
}

/// Times both ways to read a file of hosts, and one of delegations.
fn master(criterion: &mut Criterion) {
    let names = std::env::var("ASPEN_BENCH_NAMES").ok().and_then(|text| text.parse().ok());
    let names = names.unwrap_or(100_000);
    let text = master_file(names);
    let origin = Name::from_text("example.").expect("a name");
    let records = MasterReader::new(text.as_bytes(), &origin, MasterOptions::default()).count();
    let mut group = criterion.benchmark_group("master");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(records as u64));
    group.bench_function("records", |bencher| {
        bencher.iter(|| {
            let reader = MasterReader::new(text.as_bytes(), &origin, MasterOptions::default());
            reader.map(|record| record.expect("no error in it").rdata.len()).sum::<usize>()
        });
    });
    let read = |text: &str| {
        let options = MasterOptions::default();
        read_zone(text.as_bytes(), &origin, options, &mut |_| ()).expect("no error")
    };
    group.bench_function("zone", |bencher| bencher.iter(|| black_box(read(&text))));
    let text = registry_file(names / 3);
    group.throughput(Throughput::Elements(read(&text).record_count));
    group.bench_function("registry", |bencher| bencher.iter(|| black_box(read(&text))));
    group.finish();
}

criterion_group!(benches, master);
criterion_main!(benches);
