//! `aspen-dns store check` and `store copy`: what is done with a store that no node has open.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use aspen_dns::node::config::StoreEngine;
use aspen_dns::node::flags::etcd::{EtcdFlags, StoreChoice};
use aspen_dns::node::origin::open_engine;
use aspen_dns::store::backup::file::{BackupFile, write_file};
use aspen_dns::store::backup::load::{self, Loader};
use aspen_dns::store::backup::{Backup, BackupError};
use aspen_dns::store::check::{StoreReport, check_file};
use aspen_dns::store::kv::KeyValueStore;
use serde_json::json;

use crate::flags::StoreCommand;
use crate::output;

/// Checks the store at `path`, a file or a data directory; exit status 1 if there are findings.
pub(crate) fn check(path: &Path, is_json: bool) -> anyhow::Result<ExitCode> {
    let file = if path.is_dir() { path.join("store.redb") } else { path.to_path_buf() };
    let shown = file.display();
    // redb would make an empty file a store.
    let found = std::fs::metadata(&file).with_context(|| shown.to_string())?;
    anyhow::ensure!(found.len() > 0, "{shown}: the file is empty");
    let report = check_file(&file).with_context(|| shown.to_string())?;
    let is_valid = report.finding_count == 0;
    if is_json {
        output::print_json(&json!({
            "file": shown.to_string(),
            "is_valid": is_valid,
            "format": report.format,
            "revision": report.revision,
            "zones": report.zones,
            "rrsets": report.rrsets,
            "generations": report.generations,
            "log_entries": report.log_entries,
            "findings": report.findings,
            "finding_count": report.finding_count,
        }))?;
    } else {
        output::print(text(&shown.to_string(), &report))?;
    }
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes a report for people: findings, then one line with the counts.
fn text(file: &str, report: &StoreReport) -> String {
    let mut lines = String::new();
    for finding in &report.findings {
        lines.push_str(&format!("{finding}\n"));
    }
    let more = report.finding_count - report.findings.len() as u64;
    if more > 0 {
        lines.push_str(&format!("{more} more findings\n"));
    }
    let StoreReport { format, revision, zones, rrsets, generations, log_entries, .. } = report;
    lines.push_str(&format!(
        "{file}: layout {format}, revision {revision}, {zones} zones, {rrsets} RRsets, \
         {generations} generations being filled, kept or removed, {log_entries} commits in the change \
         log, {} findings\n",
        report.finding_count
    ));
    lines
}

/// One side of a copy.
enum Side {
    /// An engine, and the directory of its file.
    Engine(StoreEngine, PathBuf),
    /// A backup.
    File(PathBuf),
}

impl Side {
    /// Reads what was given.
    fn parse(text: &str, etcd: &EtcdFlags) -> anyhow::Result<Self> {
        match text.split_once('=') {
            Some(("redb", dir)) if !dir.is_empty() => {
                Ok(Self::Engine(StoreEngine::Redb, dir.into()))
            }
            Some(("backup", file)) if !file.is_empty() => Ok(Self::File(file.into())),
            Some(("etcd", _)) => {
                let StoreChoice::Etcd(urls) = text.parse()? else { bail!("{text}: no etcd URL") };
                let cluster = etcd.clone().cluster(urls)?;
                Ok(Self::Engine(StoreEngine::Etcd(Box::new(cluster)), PathBuf::new()))
            }
            _ => bail!("{text}: not redb=DATA_DIR, etcd=URL[,URL…] or backup=FILE"),
        }
    }

    /// Opens the engine; that of a source must be there.
    async fn open(&self, is_source: bool) -> anyhow::Result<Arc<dyn KeyValueStore>> {
        let Self::Engine(engine, dir) = self else { bail!("from a file to a file: use cp") };
        if *engine == StoreEngine::Redb {
            let file = dir.join("store.redb");
            let len = std::fs::metadata(&file).map_or(0, |found| found.len());
            // redb would make an empty file a store.
            anyhow::ensure!(!is_source || len > 0, "{}: there is no store", file.display());
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        Ok(open_engine(engine, dir).await?)
    }
}

/// Copies a store, and compares the copy.
pub(crate) fn copy(command: &StoreCommand, is_json: bool) -> anyhow::Result<ExitCode> {
    let StoreCommand::Copy { from: from_text, to: to_text, etcd } = command else {
        bail!("not a copy")
    };
    let (from, to) = (Side::parse(from_text, etcd)?, Side::parse(to_text, etcd)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let entries = runtime.block_on(async {
        match (&from, &to) {
            (Side::File(file), to) => from_file(file, to.open(false).await?).await,
            (from, Side::File(file)) => to_file(from.open(true).await?, file).await,
            (from, to) => {
                let (from, to) = (from.open(true).await?, to.open(false).await?);
                Ok(load::copy(&from, &to).await?)
            }
        }
    });
    let entries = entries.with_context(|| format!("{from_text} to {to_text}"))?;
    if is_json {
        output::print_json(&json!({ "from": from_text, "to": to_text, "entries": entries }))?;
    } else {
        output::print(format!(
            "{entries} entries copied and compared: {from_text} to {to_text}\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a backup, and reads it again.
async fn to_file(engine: Arc<dyn KeyValueStore>, file: &Path) -> anyhow::Result<u64> {
    anyhow::ensure!(!file.exists(), "{}: the file is there already", file.display());
    let mut backup = Backup::begin(&engine).await?;
    let (history, runtime) = (*backup.history(), tokio::runtime::Handle::current());
    let entries = tokio::task::block_in_place(|| {
        let mut next = || Ok(runtime.block_on(backup.next())?);
        write_file(file, &history, &mut next)
    })?;
    let read = BackupFile::open(file)?.entries();
    anyhow::ensure!(read == entries, "{}: {read} of {entries} entries read back", file.display());
    Ok(entries)
}

/// Loads a backup, and compares what came of it.
async fn from_file(file: &Path, engine: Arc<dyn KeyValueStore>) -> anyhow::Result<u64> {
    let open = || BackupFile::open(file).with_context(|| file.display().to_string());
    let (mut backup, mut again) = (open()?, open()?);
    let mut loader = Loader::begin(Arc::clone(&engine)).await?;
    while let Some(entries) = backup.read()? {
        loader.write(entries).await?;
    }
    loader.flush().await?;
    let next = async || -> Result<_, BackupError> { again.read() };
    let entries = load::verify(next, &*engine).await?;
    loader.end(backup.history()).await?;
    Ok(entries)
}
