//! Packs against a map of rows.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::form::pack_into;
use super::*;
use crate::store::generation::Generation;
use crate::store::redb::RedbStore;

const NUMBER: u64 = 7;

/// The key of a row, of a few octets so that many of them begin alike.
fn row_key(rng: &mut StdRng) -> Vec<u8> {
    let mut key = keys::rows_of_generation(Generation { number: NUMBER, is_packed: true }).start;
    let len = rng.random_range(1..4);
    key.extend((0..len).map(|_| rng.random_range(0..4_u8)));
    key
}

/// An engine with rows in small packs, and the same rows.
async fn packed(
    dir: &tempfile::TempDir,
    rng: &mut StdRng,
) -> (PackedStore, BTreeMap<Vec<u8>, Vec<u8>>) {
    let engine: Arc<dyn KeyValueStore> =
        Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
    let mut rows = BTreeMap::new();
    for _ in 0..rng.random_range(1..60) {
        let len = rng.random_range(1..9);
        rows.insert(row_key(rng), vec![rng.random::<u8>(); len]);
    }
    let puts = pack_into(NUMBER, rows.clone().into_iter().collect(), 32);
    engine.commit(KvCommit { puts, ..KvCommit::default() }).await.unwrap();
    (PackedStore::new(engine), rows)
}

/// Reads a range page by page.
async fn read_all(view: &dyn KvSnapshot, range: &KeyRange, limit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = view.range(range, cursor.as_ref(), limit).await.unwrap();
        assert!(page.entries.len() <= limit as usize);
        assert!(page.next.is_none() || !page.entries.is_empty(), "only the last may be empty");
        all.extend(page.entries.into_iter().map(|(key, found)| (key, found.value)));
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn packed_rows_with_changes_over_them_read_as_if_each_stood_alone() {
    for seed in 0..60 {
        let (dir, mut rng) = (tempfile::tempdir().unwrap(), StdRng::seed_from_u64(seed));
        let (store, mut model) = packed(&dir, &mut rng).await;
        for _ in 0..12 {
            let mut commit = KvCommit::default();
            let mut changes = BTreeMap::new();
            for _ in 0..rng.random_range(1..6) {
                // An empty value: there is none.
                changes.insert(row_key(&mut rng), vec![9; rng.random_range(0..3)]);
            }
            for (key, value) in changes {
                commit.puts.push((key.clone(), value.clone()));
                match value.is_empty() {
                    true => model.remove(&key),
                    false => model.insert(key, value),
                };
            }
            store.commit(commit).await.unwrap();
            let view = store.snapshot().await.unwrap();
            let asked: Vec<Vec<u8>> = (0..20).map(|_| row_key(&mut rng)).collect();
            let found = view.get_many(&asked).await.unwrap().into_iter();
            let found: Vec<_> = found.map(|found| found.map(|found| found.value)).collect();
            let expected: Vec<_> = asked.iter().map(|key| model.get(key).cloned()).collect();
            assert_eq!(found, expected, "seed {seed}");
            let whole = keys::rows_of_generation(Generation { number: NUMBER, is_packed: true });
            let (a, b) = (row_key(&mut rng), row_key(&mut rng));
            let part = KeyRange { start: a.clone().min(b.clone()), end: a.max(b) };
            for range in [whole, part] {
                let expected = model.range(range.start.clone()..range.end.clone());
                let expected: Vec<_> = expected.map(|(k, v)| (k.clone(), v.clone())).collect();
                for limit in [1, 3, 1_000] {
                    let found = read_all(&*view, &range, limit).await;
                    assert_eq!(found, expected, "seed {seed}, limit {limit}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_generation_without_some_of_its_packs_is_an_error_and_not_empty() {
    let whole = keys::rows_of_generation(Generation { number: NUMBER, is_packed: true });
    for gone in [keys::pack_key(NUMBER, 0), keys::directory_key(NUMBER, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, rows) = packed(&dir, &mut StdRng::seed_from_u64(1)).await;
        store.commit(KvCommit { deletes: vec![gone], ..KvCommit::default() }).await.unwrap();
        let view = store.snapshot().await.unwrap();
        let first = rows.keys().next().unwrap().clone();
        assert!(matches!(view.get_many(&[first]).await, Err(KvError::Unreadable { .. })));
        assert!(matches!(view.range(&whole, None, 9).await, Err(KvError::Unreadable { .. })));
    }
}

#[test]
fn rubbish_is_no_pack_and_no_part_of_a_directory() {
    let rows = (0..9_u8).map(|row| {
        let start = keys::rows_of_generation(Generation { number: NUMBER, is_packed: true }).start;
        ([&start[..], &[1, row]].concat(), vec![row; 3])
    });
    let puts = pack_into(NUMBER, rows.collect(), 1_000);
    let (pack, part) = (&puts[0].1, &puts[1].1);
    assert!(check_part(part).is_ok() && check_part(pack).is_err());
    let count = |octets: &[u8]| -> Result<usize, KvError> {
        let (mut reader, mut count) = (PackReader::new(octets)?, 0);
        while reader.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    assert_eq!(count(pack).unwrap(), 9);
    for len in 0..pack.len() {
        assert!(count(&pack[..len]).is_ok_and(|count| count < 9) || count(&pack[..len]).is_err());
    }
    for at in 0..pack.len() {
        let mut other = pack.clone();
        other[at] ^= 0x55;
        let _ = count(&other);
    }
}
