//! Time to read a master file: its records alone, and grouped to the RRsets of a zone.
//!
//! `cargo bench --no-default-features --bench master`; `ASPEN_BENCH_NAMES` chooses how many names
//! the zone has (100,000 if it is not set), four records for three of them.

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

/// Times both ways to read the file.
fn master(criterion: &mut Criterion) {
    let names = std::env::var("ASPEN_BENCH_NAMES").ok().and_then(|text| text.parse().ok());
    let text = master_file(names.unwrap_or(100_000));
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
    group.bench_function("zone", |bencher| {
        bencher.iter(|| {
            let options = MasterOptions::default();
            black_box(read_zone(text.as_bytes(), &origin, options, &mut |_| ()).expect("no error"))
        });
    });
    group.finish();
}

criterion_group!(benches, master);
criterion_main!(benches);
