//! A backup of the store as a file, and zones made what one says, while the node runs.
//!
//! **Invariant:** a backup that does not read whole changes nothing.
//! **Not here:** the form of the file and what it holds (`store::backup`), what restoring does to a zone
//! (`store::restore`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::Api;
use super::error::ApiError;
use super::stream::{self, Sink, StreamError};
use crate::limits::{API_RESTORE_OCTETS_MAX, RESTORE_ZONES_SHOWN_MAX};
use crate::name::Name;
use crate::node::kept::RESTORES;
use crate::store::backup::file::BackupWriter;
use crate::store::backup::{Backup, BackupError};
use crate::store::{DnsStore, RestoreOptions, RestoreReport};

/// `GET …/backup`.
pub(crate) async fn backup(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let store = Arc::clone(api.zones().store()?);
    let permit = api.long_permit()?;
    let backup = store.backup().await?;
    let writer = |sink| async move {
        let mut sink: Sink = sink;
        let result = write_backup(backup, &mut sink).await;
        (sink, result)
    };
    Ok(stream::respond(permit, "application/octet-stream", writer))
}

/// `POST …/restore[?keep_others=true][&dry_run=true]`: lines of JSON, the last says what was done.
pub(crate) async fn restore(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
    body: Body,
) -> Result<Response, ApiError> {
    let store = Arc::clone(api.zones().store()?);
    let permit = api.long_permit()?;
    let is_true = |name: &str| query.get(name).is_some_and(|value| value == "true");
    let options =
        RestoreOptions { keeps_others: is_true("keep_others"), is_dry_run: is_true("dry_run") };
    let scratch = Scratch::new(&api.node().data_dir).await?;
    let file = scratch.0.join("backup");
    receive(body, &file).await?;
    let opened = DnsStore::open_backup(file, &scratch.0).await?;
    let restorer = Arc::clone(&api);
    let writer = |sink| async move {
        let mut sink: Sink = sink;
        let work = (store, opened, scratch, options);
        let result = write_restore(&restorer, work, &mut sink).await;
        (sink, result)
    };
    Ok(stream::respond(permit, "application/x-ndjson", writer))
}

/// A directory that is gone when this is.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below the data directory, so that what is put there needs no room elsewhere.
    async fn new(data_dir: &Path) -> Result<Self, ApiError> {
        let path = data_dir.join(format!("{RESTORES}{:016x}", rand::random::<u64>()));
        tokio::fs::create_dir(&path).await.map_err(BackupError::File)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "what was restored from stays: remove it");
        }
    }
}

/// Writes all of a backup.
async fn write_backup(mut backup: Backup, sink: &mut Sink) -> Result<(), StreamError> {
    let (mut writer, octets) = BackupWriter::begin(backup.history());
    sink.write(&octets);
    let failed = |error| StreamError::Source(ApiError::Backup(BackupError::Kv(error)));
    while let Some(entries) = backup.next().await.map_err(failed)? {
        sink.write(&writer.write(&entries));
        sink.send_full().await?;
    }
    sink.write(&writer.end());
    Ok(())
}

/// Puts a body into a file.
async fn receive(body: Body, path: &Path) -> Result<(), ApiError> {
    let mut file = tokio::fs::File::create(path).await.map_err(BackupError::File)?;
    let (mut stream, mut len) = (body.into_data_stream(), 0);
    while let Some(chunk) = n0_future::StreamExt::next(&mut stream).await {
        let chunk = chunk.map_err(|_| ApiError::BodyCutShort)?;
        len += chunk.len() as u64;
        if len > API_RESTORE_OCTETS_MAX {
            let octets_max = usize::try_from(API_RESTORE_OCTETS_MAX).unwrap_or(usize::MAX);
            return Err(ApiError::BodyTooLong { octets_max });
        }
        file.write_all(&chunk).await.map_err(BackupError::File)?;
    }
    file.flush().await.map_err(BackupError::File)?;
    Ok(())
}

/// Restores, and writes a line now and then and one for the end.
async fn write_restore(
    api: &Api,
    (store, backup, scratch, options): (Arc<DnsStore>, Arc<DnsStore>, Scratch, RestoreOptions),
    sink: &mut Sink,
) -> Result<(), StreamError> {
    let (steps, mut receiver) = watch::channel((0, 0));
    // It goes on without who goes away.
    let restoring = api.tasks().spawn(async move {
        let progress = |done, total| {
            steps.send_replace((done, total));
        };
        let report = store.restore_from(&backup, options, &progress).await;
        drop((backup, scratch));
        report
    });
    let line = |value: &Value| format!("{value}\n").into_bytes();
    while receiver.changed().await.is_ok() {
        let (done, total) = *receiver.borrow_and_update();
        sink.write(&line(&json!({ "done": done, "total": total })));
        sink.send().await?;
    }
    let last = match restoring.await {
        Ok(Ok(report)) => report_json(&report, options.is_dry_run),
        Ok(Err(error)) => json!({ "error": error.to_string() }),
        Err(_) => json!({ "error": "restoring panicked" }),
    };
    sink.write(&line(&last));
    Ok(())
}

/// Writes what was done.
fn report_json(report: &RestoreReport, is_dry_run: bool) -> Value {
    let shown = |names: &[Name]| -> Vec<String> {
        names.iter().take(RESTORE_ZONES_SHOWN_MAX).map(Name::to_fqdn).collect()
    };
    let failed = report.failed.iter().take(RESTORE_ZONES_SHOWN_MAX);
    let failed: Vec<Value> =
        failed.map(|(apex, error)| json!({ "zone": apex.to_fqdn(), "error": error })).collect();
    json!({
        "is_dry_run": is_dry_run,
        "restored": shown(&report.restored),
        "restored_count": report.restored.len(),
        "unchanged_count": report.unchanged,
        "deleted": shown(&report.deleted),
        "deleted_count": report.deleted.len(),
        "failed": failed,
        "failed_count": report.failed.len(),
        "revision": report.revision,
    })
}
