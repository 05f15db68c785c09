//! Backups, copies from engine to engine, and zones made what a backup says.

use std::sync::Arc;

use aspen_dns::store::backup::file::{BackupFile, write_file};
use aspen_dns::store::backup::load::{Loader, copy};
use aspen_dns::store::backup::{Backup, BackupError};
use aspen_dns::store::kv::{KeyValueStore, KvCommit};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{DnsStore, RestoreOptions, StoredZone};

use crate::fixture::{apply, contents, name, rrset};

fn engine(dir: &tempfile::TempDir, file: &str) -> Arc<dyn KeyValueStore> {
    Arc::new(RedbStore::open(&dir.path().join(file)).unwrap())
}

/// A zone in packs with changes over them, one with other settings that is disabled, and a small one.
async fn fill(store: &DnsStore) {
    let rrsets = (0..600).map(|n| rrset(&format!("n{n}.packed A 192.0.2.1"))).collect();
    store.import_zone(&name("packed"), rrsets, None, &|_| {}).await.unwrap();
    apply(store, "+ n7.packed A 192.0.2.7\n- n8.packed A").await.unwrap();
    let mut settings = ZoneSettings::new(name("disabled"));
    (settings.is_enabled, settings.rrset_records_max) = (false, 7);
    settings.description = Some("a remark".to_owned());
    store.create_zone(settings).await.unwrap();
    apply(store, "+zone small\n+ www.small A 192.0.2.1\n+ x.disabled TXT \"t\"").await.unwrap();
}

/// What is the same in a copy: everything but revisions.
async fn shown(store: &DnsStore) -> Vec<(StoredZone, Vec<String>)> {
    let mut zones = Vec::new();
    for zone in store.list_zones(None, 100).await.unwrap().items {
        let rrsets = contents(store, &zone.settings.apex.to_string()).await;
        zones.push((StoredZone { revision: 0, ..zone }, rrsets));
    }
    zones
}

/// Copies there and back.
pub async fn a_copy_is_what_was_copied(other: Arc<dyn KeyValueStore>) {
    let dir = tempfile::tempdir().unwrap();
    let (from, back) = (engine(&dir, "from"), engine(&dir, "back"));
    let store = DnsStore::open(from.clone()).await.unwrap();
    fill(&store).await;
    let (expected, history) = (shown(&store).await, store.history().await.unwrap());
    assert!(copy(&from, &other).await.unwrap() > 3);
    assert!(matches!(copy(&from, &other).await, Err(BackupError::NotEmpty)));
    copy(&other, &back).await.unwrap();
    for (engine, epoch) in [(other, 1), (back, 2)] {
        let copied = DnsStore::open(engine).await.unwrap();
        assert_eq!(shown(&copied).await, expected);
        let found = copied.history().await.unwrap();
        assert_eq!((found.epoch, found.digest_key), (history.epoch + epoch, history.digest_key));
        assert!(found.id != history.id && copied.revision().await.unwrap() > 0);
        // It takes changes, and its counts are right.
        apply(&copied, "+ n9.packed A 192.0.2.9\n- n7.packed A").await.unwrap();
        assert_eq!(contents(&copied, "packed").await.len(), 600);
    }
}

#[tokio::test]
async fn a_copy_of_an_embedded_store_is_what_was_copied() {
    let dir = tempfile::tempdir().unwrap();
    a_copy_is_what_was_copied(engine(&dir, "other")).await;
}

#[tokio::test]
async fn a_copy_that_broke_off_is_not_opened_and_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (engine(&dir, "from"), engine(&dir, "to"));
    let store = DnsStore::open(from.clone()).await.unwrap();
    fill(&store).await;
    let mut loader = Loader::begin(to.clone()).await.unwrap();
    // What an earlier copy of something else had.
    let left = vec![(b"Zgone\0".to_vec(), b"{}".to_vec()), (b"rleft".to_vec(), b"x".to_vec())];
    to.commit(KvCommit { puts: left, ..KvCommit::default() }).await.unwrap();
    loader.write(Backup::begin(&from).await.unwrap().next().await.unwrap().unwrap()).await.unwrap();
    loader.flush().await.unwrap();
    drop(loader);
    assert!(DnsStore::open(to.clone()).await.is_err());
    copy(&from, &to).await.unwrap();
    let copied = DnsStore::open(to).await.unwrap();
    assert_eq!(shown(&copied).await, shown(&store).await);
    // What others use is not taken for a copy that broke off.
    let used = engine(&dir, "used");
    let puts = vec![(b"rused".to_vec(), b"x".to_vec())];
    used.commit(KvCommit { puts, ..KvCommit::default() }).await.unwrap();
    assert!(matches!(copy(&from, &used).await, Err(BackupError::NotEmpty)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_or_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = engine(&dir, "from");
    let store = DnsStore::open(from.clone()).await.unwrap();
    apply(&store, "+zone small\n+ www.small A 192.0.2.1").await.unwrap();
    let mut backup = Backup::begin(&from).await.unwrap();
    let (history, runtime) = (*backup.history(), tokio::runtime::Handle::current());
    let path = dir.path().join("backup");
    tokio::task::block_in_place(|| {
        let entries = write_file(&path, &history, || Ok(runtime.block_on(backup.next())?)).unwrap();
        assert_eq!((entries, BackupFile::open(&path).unwrap().entries()), (2, 2));
        let whole = std::fs::read(&path).unwrap();
        let bad = dir.path().join("bad");
        for len in 0..whole.len() {
            std::fs::write(&bad, &whole[..len]).unwrap();
            assert!(BackupFile::open(&bad).is_err(), "cut at {len}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            std::fs::write(&bad, &changed).unwrap();
            assert!(BackupFile::open(&bad).is_err(), "changed at {at}");
        }
        std::fs::write(&bad, [&whole[..], b"x"].concat()).unwrap();
        assert!(matches!(BackupFile::open(&bad), Err(BackupError::Damaged)));
    });
}

#[tokio::test]
async fn zones_of_a_store_in_use_become_what_a_backup_says_and_no_serial_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (engine(&dir, "from"), engine(&dir, "to"));
    let store = DnsStore::open(from.clone()).await.unwrap();
    fill(&store).await;
    let expected = shown(&store).await;
    copy(&from, &to).await.unwrap();
    let backup = DnsStore::open(to).await.unwrap();
    apply(&store, "+ n7.packed A 192.0.2.77\n-zone disabled\n+zone later").await.unwrap();
    let before = store.get_zone(&name("packed")).await.unwrap().unwrap();
    let small = store.get_zone(&name("small")).await.unwrap();
    let restore = async |keeps_others, is_dry_run| {
        let options = RestoreOptions { keeps_others, is_dry_run };
        store.restore_from(&backup, options, &|_, _| {}).await.unwrap()
    };
    let told = restore(true, true).await;
    assert_eq!((told.restored.len(), told.unchanged, told.deleted.len()), (2, 1, 0));
    assert_eq!(store.get_zone(&name("packed")).await.unwrap().unwrap(), before, "only told");
    assert!(restore(true, false).await.failed.is_empty());
    assert!(store.get_zone(&name("later")).await.unwrap().is_some());
    let last = restore(false, false).await;
    assert_eq!((last.restored.len(), last.unchanged, last.deleted), (0, 3, vec![name("later")]));
    let plain = |zones: Vec<(StoredZone, Vec<String>)>| -> Vec<_> {
        let rrsets = |all: Vec<String>| all.into_iter().filter(|one| !one.contains(" SOA "));
        zones
            .into_iter()
            .map(|(zone, all)| (zone.settings, rrsets(all).collect::<Vec<_>>()))
            .collect()
    };
    assert_eq!(plain(shown(&store).await), plain(expected));
    let after = store.get_zone(&name("packed")).await.unwrap().unwrap();
    assert!(after.serial > before.serial && after.revision > before.revision);
    assert_eq!(store.get_zone(&name("small")).await.unwrap(), small, "it was equal");
    // It was deleted, and its SOA is made of its settings.
    let serial =
        async |store: &DnsStore| store.get_zone(&name("disabled")).await.unwrap().unwrap().serial;
    assert!(serial(&store).await >= serial(&backup).await && serial(&backup).await > 1);
}
