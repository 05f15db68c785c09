//! What the store takes and how fast: commits a second, and the import of a large zone.
//!
//! `cargo bench --bench store [-- commits|import [RRSETS]]`; a temporary directory in `TMPDIR`.

#![allow(clippy::unwrap_used, clippy::missing_docs_in_private_items, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::store::DnsStore;
use aspen_dns::store::kv::KeyValueStore;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let wanted = words.first().map_or("all", String::as_str);
    let rrsets = words.get(1).map_or(1_000_000, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted != "import" {
            for (writers, zones) in [(1, 1), (64, 1), (64, 64)] {
                commits(writers, zones).await;
            }
        }
        if wanted != "commits" {
            import(rrsets).await;
        }
    });
}

async fn open(dir: &tempfile::TempDir) -> (Arc<RedbStore>, Arc<DnsStore>) {
    let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    (engine.clone(), DnsStore::open(engine).await.unwrap())
}

/// Commits of one RRset each for three seconds, with a follower of the feed.
async fn commits(writers: u64, zones: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(&dir).await;
    for zone in 0..zones {
        let apex = Name::from_text(&format!("z{zone}.example")).unwrap();
        store.create_zone(ZoneSettings::new(apex)).await.unwrap();
    }
    let after = store.revision().await.unwrap();
    let mut feed = store.commits(after).await.unwrap();
    let followed = Arc::new(AtomicU64::new(0));
    let counter = followed.clone();
    let follower = tokio::spawn(async move {
        while feed.next().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while begin.elapsed() < Duration::from_secs(3) {
                let owner = format!("w{writer}-{}.z{}.example", waits.len(), writer % zones);
                let owner = Name::from_text(&owner).unwrap();
                let rrset = Rrset::new(owner, RecordType::A, 60, [[192, 0, 2, 1]]).unwrap();
                let asked = Instant::now();
                store.set_record(rrset).await.unwrap();
                waits.push(asked.elapsed());
            }
            waits
        });
    }
    let mut waits = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        waits.extend(joined.unwrap());
    }
    let seconds = begin.elapsed().as_secs_f64();
    waits.sort();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!(
        "{writers} writers, {zones} zones: {:.0} commits/s, p50 {:.2?}, p99 {:.2?}, followed {} of {}",
        waits.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        followed.load(Ordering::Relaxed),
        waits.len(),
    );
    follower.abort();
}

/// One import, then reading it as an exporter does, then a second import over it, then opening.
async fn import(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (engine, store) = open(&dir).await;
    let apex = Name::from_text("example.com").unwrap();
    let make = || -> Vec<Rrset> {
        let owner = |index| Name::from_text(&format!("host-{index}.example.com")).unwrap();
        let address = |index: u64| (index as u32).to_be_bytes();
        (0..count)
            .map(|n| Rrset::new(owner(n), RecordType::A, 300, [address(n)]).unwrap())
            .collect()
    };
    for round in ["first", "second"] {
        let rrsets = make();
        let begin = Instant::now();
        store.import_zone(&apex, rrsets, None, &|_| {}).await.unwrap();
        println!("{round} import of {count} RRsets: {:.2?}, peak RSS {}", begin.elapsed(), rss());
    }
    let begin = Instant::now();
    let mut contents = store.open_zone(&apex).await.unwrap();
    let mut read = 0;
    while let Some(page) = contents.next_page().await.unwrap() {
        read += page.len();
    }
    println!("reading {read} RRsets: {:.2?}", begin.elapsed());
    drop(contents);
    let mut waits = Vec::new();
    for index in 0..500 {
        let owner = Name::from_text(&format!("host-{}.example.com", index * 7)).unwrap();
        let rrset = Rrset::new(owner, RecordType::A, 60, [[192, 0, 2, 1]]).unwrap();
        let asked = Instant::now();
        store.set_record(rrset).await.unwrap();
        waits.push(asked.elapsed());
    }
    waits.sort();
    println!("one RRset, sweep running: p50 {:.2?}, p99 {:.2?}", waits[250], waits[495]);
    let path = dir.path().join("store.redb");
    println!("file: {} MiB", std::fs::metadata(&path).unwrap().len() >> 20);
    // A copy of the file that is open and at rest is what a crash leaves behind.
    let mut revision = 0;
    while revision != engine.revision().await.unwrap() {
        revision = engine.revision().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let crashed = dir.path().join("crashed.redb");
    std::fs::copy(&path, &crashed).unwrap();
    let begin = Instant::now();
    drop(RedbStore::open(&crashed).unwrap());
    println!("opening it after a crash: {:.2?}", begin.elapsed());
}

/// Returns the peak resident memory of the process.
fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.trim_start_matches("VmHWM:").trim().to_owned()
}
