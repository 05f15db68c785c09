//! A process that writes is killed again and again; what it was told is durable stays.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use aspen_dns::record::RecordType;
use aspen_dns::store::DnsStore;
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::zone_settings::ZoneSettings;

use crate::fixture::{name, rrset};

/// Names the directory in which the child writes.
const CHILD_DIR: &str = "ASPEN_TEST_CRASH_DIR";

/// Not a test of its own: the child of the next one, which writes until it is killed. Each line
/// that it prints names a commit that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_child_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let path = std::path::Path::new(&dir).join("store.redb");
    let store = DnsStore::open(Arc::new(RedbStore::open(&path).unwrap())).await.unwrap();
    let _ = store.create_zone(ZoneSettings::new(name("example.com"))).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for index in 0_u64.. {
                let owner = format!("w{writer}-{index}-{}.example.com", std::process::id());
                let revision = store.set_record(rrset(&format!("{owner} A 192.0.2.1"))).await;
                println!("made {} {owner}", revision.unwrap());
            }
        });
    }
    tasks.join_next().await;
}

#[tokio::test]
async fn no_acknowledged_commit_is_lost_when_the_writer_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut made: Vec<(u64, String)> = Vec::new();
    let rounds = 8;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "crash::crash_child_writes_until_it_is_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        for line in lines {
            let line = line.unwrap_or_default();
            let Some(words) = line.split("made ").nth(1) else { continue };
            // The last line may be cut where the child died.
            let Some((revision, owner)) = words.split_once(' ') else { continue };
            if !owner.ends_with(".example.com") {
                continue;
            }
            made.push((revision.parse().unwrap(), owner.to_owned()));
            heard += 1;
            // At a moment that differs from round to round; go on reading what it had said.
            if heard == 20 + 37 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let engine = Arc::new(RedbStore::open(&dir.path().join("store.redb")).unwrap());
        let store = DnsStore::open(engine).await.unwrap();
        for (revision, owner) in &made {
            let found = store.get_record(&name(owner), RecordType::A).await.unwrap();
            let found = found.unwrap_or_else(|| panic!("{owner} of revision {revision} is lost"));
            assert_eq!(found.revision, *revision);
        }
        let zone = store.get_zone(&name("example.com")).await.unwrap().unwrap();
        let mut commits = store.commits(0).await.unwrap();
        let mut previous = None;
        for serial in 1..=zone.serial {
            let commit = commits.next().await.unwrap();
            assert_eq!((commit.zones[0].serial, commit.zones[0].prev_revision), (serial, previous));
            previous = Some(commit.revision);
        }
        println!("round {round}: {} acknowledged, {} made", made.len(), zone.serial - 1);
        drop((commits, store));
        wait_until_closed(&dir.path().join("store.redb")).await;
    }
}

/// A task of the store may hold it for a moment after it was dropped.
async fn wait_until_closed(path: &std::path::Path) {
    while RedbStore::open(path).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
