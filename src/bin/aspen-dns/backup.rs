//! `aspen-dns store backup` and `store restore`: of a node that runs.
//!
//! **Invariant:** a file that could not be written whole does not stay, and one that is there already does.
//! **Not here:** stores that no node has open (`store`).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use crate::client::Client;
use crate::flags::StoreCommand;
use crate::output;

/// Runs the commands that ask a node.
pub(crate) fn run(
    client: &Client,
    command: &StoreCommand,
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Backup { file } => backup(client, file, is_json),
        StoreCommand::Restore { file, keep_others, dry_run } => {
            restore(client, file, (*keep_others, *dry_run), is_json)
        }
        // They need no node.
        StoreCommand::Check { .. } | StoreCommand::Copy { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Writes a backup to a file.
fn backup(client: &Client, file: &Path, is_json: bool) -> anyhow::Result<ExitCode> {
    let response = client.send(client.request(Method::GET, "/api/v1/aspen/backup", ())?)?;
    let mut body = response.into_body().into_reader();
    if file.as_os_str() == "-" {
        let mut out = std::io::stdout().lock();
        std::io::copy(&mut body, &mut out).context("the backup broke off")?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = file.display();
    let out = aspen_dns::durable::create_new(file).with_context(|| shown.to_string())?;
    let written = write_whole(&mut body, out).with_context(|| shown.to_string());
    if written.is_err() {
        let _ = std::fs::remove_file(file);
    }
    let octets = written?;
    if is_json {
        output::print_json(&json!({ "file": shown.to_string(), "octets": octets }))?;
    } else {
        output::print(format!("{shown}: {octets} octets\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what comes to a new file, and sees to it that it stays.
fn write_whole(body: &mut impl Read, mut file: File) -> anyhow::Result<u64> {
    let octets = std::io::copy(body, &mut file).context("the backup broke off")?;
    file.sync_all()?;
    Ok(octets)
}

/// Makes the node's zones those of a backup.
fn restore(
    client: &Client,
    path: &Path,
    (keep_others, dry_run): (bool, bool),
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let asked = format!("/api/v1/aspen/restore?keep_others={keep_others}&dry_run={dry_run}");
    let request = client.request(Method::POST, &asked, SendBody::from_reader(&mut file))?;
    let response = client.send(request)?;
    let mut last = Value::Null;
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        last = serde_json::from_str(&line.context("the answer broke off")?)?;
    }
    if let Some(error) = last["error"].as_str() {
        bail!("{error}");
    }
    if last["revision"].is_null() {
        bail!("the answer broke off: look at the node's log");
    }
    match is_json {
        true => output::print_json(&last)?,
        false => output::print(text(&last))?,
    }
    let is_whole = last["failed_count"] == 0;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes for people what was done.
fn text(report: &Value) -> String {
    let mut lines = String::new();
    let names = |what: &str| report[what].as_array().cloned().unwrap_or_default();
    let would = if report["is_dry_run"] == true { "would be " } else { "" };
    for what in ["restored", "deleted"] {
        for name in names(what) {
            lines.push_str(&format!("{would}{what}: {}\n", name.as_str().unwrap_or_default()));
        }
    }
    for failed in names("failed") {
        let word = |what: &str| failed[what].as_str().unwrap_or_default().to_owned();
        lines.push_str(&format!("failed: {}: {}\n", word("zone"), word("error")));
    }
    lines.push_str(&format!(
        "{} zones {would}restored, {} {would}deleted, {} as they were, {} failed; revision {}\n",
        report["restored_count"],
        report["deleted_count"],
        report["unchanged_count"],
        report["failed_count"],
        report["revision"],
    ));
    lines
}
