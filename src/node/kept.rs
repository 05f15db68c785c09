//! What an authority on a store elsewhere keeps of it on its own disk, to answer with when it starts and the store
//! cannot be reached.
//!
//! It is a backup (`store::backup`), written anew some time after something has changed: never twice within
//! twenty times the time that it takes.
//!
//! **Invariant:** the file has its name when it is whole; one that does not read is as none.
//! **Not here:** when a node answers with it (`parts`), edges, which keep their feed (`replica`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use sha1::{Digest as _, Sha1};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::config::EtcdCluster;
use super::follow::Follower;
use super::progress::Progress;
use crate::durable;
use crate::limits::{KEPT_AT_END_MS, KEPT_LOOK_MS, KEPT_REST_TIMES};
use crate::name::Name;
use crate::publish::stage::Stage;
use crate::store::DnsStore;
use crate::store::backup::BackupError;
use crate::store::backup::file::BackupWriter;

/// Keeps what the store has, whenever that has changed, until `stop`; then once more, if that is soon done.
pub(super) async fn run(store: Arc<DnsStore>, file: PathBuf, stop: CancellationToken) {
    let mut kept = (None, false);
    let keeping = async {
        let mut rest = Duration::ZERO;
        loop {
            tokio::time::sleep(rest.max(Duration::from_millis(KEPT_LOOK_MS))).await;
            let began = Instant::now();
            kept = keep(&store, &file, kept).await;
            rest = began.elapsed() * KEPT_REST_TIMES;
        }
    };
    let _: Option<()> = stop.run_until_cancelled(keeping).await;
    let end = Duration::from_millis(KEPT_AT_END_MS);
    let _ = tokio::time::timeout(end, keep(&store, &file, kept)).await;
}

/// Keeps what the store has unless its revision is `kept`; returns the one that is kept then, and whether that
/// fails.
async fn keep(
    store: &DnsStore,
    file: &Path,
    (kept, is_failing): (Option<u64>, bool),
) -> (Option<u64>, bool) {
    // What an unreachable store holds is not to be had; it is tried with the next look.
    let Ok(revision) = store.revision().await else { return (kept, is_failing) };
    if kept == Some(revision) {
        return (kept, false);
    }
    match write(store, file).await {
        Ok(()) => (Some(revision), false),
        Err(error) => {
            // Said once; what succeeds is the end of it.
            if !is_failing {
                tracing::warn!(%error, "what the store has cannot be kept on this disk; it is tried again");
            }
            (kept, true)
        }
    }
}

/// Publishes what was kept; returns the zones, none if nothing is kept that reads.
pub(super) async fn publish(file: &Path, data_dir: &Path, stage: &Arc<Stage>) -> Vec<Name> {
    let Ok(found) = file.metadata() else { return Vec::new() };
    let age = found.modified().ok().and_then(|at| at.elapsed().ok());
    let age_s = age.map(|age| age.as_secs());
    tracing::warn!(file = %file.display(), age_s, "the store does not answer: what was kept of it is opened");
    let dir = data_dir.join(OPENED);
    let published = open_and_publish(file.to_owned(), &dir, stage).await;
    remove(&dir);
    published.unwrap_or_else(|error| {
        tracing::error!(file = %file.display(), %error, "what was kept of the store does not read");
        Vec::new()
    })
}

/// Opens what was kept as a store, and publishes its zones.
async fn open_and_publish(
    file: PathBuf,
    dir: &Path,
    stage: &Arc<Stage>,
) -> Result<Vec<Name>, Box<dyn std::error::Error + Send + Sync>> {
    remove(dir);
    tokio::fs::create_dir(dir).await?;
    let store = DnsStore::open_backup(file, dir).await?;
    let mut follower = Follower::new(store, Arc::clone(stage), Progress::default());
    follower.load().await?;
    Ok(follower.zones())
}

/// Writes what the store has.
async fn write(store: &DnsStore, file: &Path) -> Result<(), BackupError> {
    let written = write_beside(store, file).await;
    if written.is_err() {
        durable::remove_beside(file);
    }
    written
}

/// Writes it beside what is kept, and then puts it in its place.
async fn write_beside(store: &DnsStore, file: &Path) -> Result<(), BackupError> {
    let mut backup = store.backup().await?;
    let (mut writer, octets) = BackupWriter::begin(backup.history());
    let mut out =
        tokio::io::BufWriter::new(tokio::fs::File::from_std(durable::create_beside(file)?));
    out.write_all(&octets).await?;
    while let Some(entries) = backup.next().await? {
        out.write_all(&writer.write(&entries)).await?;
    }
    out.write_all(&writer.end()).await?;
    out.flush().await?;
    out.into_inner().sync_all().await?;
    Ok(durable::put_in_place(file)?)
}

/// Where it is kept: of each prefix by itself, since each is a store of its own. A prefix may be longer than the name
/// of a file.
pub(super) fn file_of(data_dir: &Path, cluster: &EtcdCluster) -> PathBuf {
    data_dir.join(match &cluster.prefix {
        Some(prefix) => format!("store-{}.kept", HEXLOWER.encode(&Sha1::digest(prefix))),
        None => "store.kept".to_owned(),
    })
}

/// Removes what a process that was killed has left of stores that it had opened for a moment.
pub(super) fn tidy(data_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == OPENED || name.as_encoded_bytes().starts_with(RESTORES.as_bytes()) {
            remove(&entry.path());
        }
    }
}

/// Removes a directory that is only of use for a moment.
fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "a directory stays that nobody needs");
        }
        _ => {}
    }
}

/// Where it is opened.
const OPENED: &str = "store.opened";
/// What the directories begin with in which backups are opened that are restored.
pub(super) const RESTORES: &str = "restore-";
