//! A store whose file was changed by something else: right values or an error, nothing else.

use std::io;
use std::time::{Duration, Instant};

use aspen_dns::store::kv::{KeyRange, KeyValueStore, KvError};

use crate::contract::puts;
use crate::disk::Disk;
use crate::seeded::Seeded;

/// Rows of the store.
const ROWS: usize = 2_000;
/// Damaged copies for each dose.
const SEEDS: u64 = 60;

fn entry(row: usize) -> (String, String) {
    (format!("R{row:05}"), format!("value {row} {}", "v".repeat(row % 50)))
}

/// Opens the store and reads all of it.
async fn read_all(disk: &Disk) -> Result<Vec<(Vec<u8>, Vec<u8>)>, KvError> {
    let store = disk.open()?;
    let all = KeyRange::prefix(b"");
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.range(&all, cursor.as_ref(), 500).await?;
        found.extend(page.entries.into_iter().map(|(key, value)| (key, value.value)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut feed = store.changes(0).await?;
    for revision in 1..=store.revision().await? {
        assert_eq!(feed.next().await?.revision, revision);
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_gives_right_values_or_an_error() {
    let whole = Disk::new(io::ErrorKind::Other, false);
    let expected: Vec<_> = (0..ROWS).map(entry).collect();
    {
        let store = whole.open().unwrap();
        for rows in expected.chunks(100) {
            let rows: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.1.as_str())).collect();
            store.commit(puts(&rows)).await.unwrap();
        }
    }
    let expected: Vec<_> =
        expected.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect();
    assert_eq!(read_all(&whole).await.unwrap(), expected);
    let octets = whole.octets.lock().unwrap().clone();
    let used: Vec<usize> = (0..octets.len()).filter(|at| octets[*at] != 0).collect();
    for len in [1, 511, 4_096, octets.len() / 2, octets.len() - 1] {
        let cut = Disk::new(io::ErrorKind::Other, false);
        *cut.octets.lock().unwrap() = octets[..len].to_vec();
        let found = read_all(&cut).await;
        assert!(found.is_err() || found.is_ok_and(|found| found == expected), "{len}");
    }
    let base: u64 = rand::random();
    println!("seed {base}");
    for dose in [1, 5, 20, 200] {
        let (mut right, mut slowest) = (0, Duration::ZERO);
        for seed in 0..SEEDS {
            let mut random = Seeded(base ^ (seed << 32) ^ dose);
            let damaged = Disk::new(io::ErrorKind::Other, false);
            let mut copy = octets.clone();
            for _ in 0..dose {
                // Where something stands, or in the header, or anywhere.
                let at = match random.below(8) {
                    0 => random.below(copy.len()),
                    1 => random.below(512),
                    _ => used[random.below(used.len())],
                };
                copy[at] = random.word() as u8;
            }
            *damaged.octets.lock().unwrap() = copy;
            let start = Instant::now();
            match read_all(&damaged).await {
                Ok(found) => {
                    assert!(found == expected, "wrong values: seed {base}, {seed}, dose {dose}");
                    right += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert_eq!(text.lines().count(), 1, "{text}");
                }
            }
            slowest = slowest.max(start.elapsed());
        }
        println!("{dose} octets: {right} of {SEEDS} right, slowest {slowest:?}");
        assert!(slowest < Duration::from_secs(20), "it hangs");
    }
}
