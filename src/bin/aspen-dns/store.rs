//! `aspen-dns store check`: reads the file of a store and reports what is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use aspen_dns::store::check::{StoreReport, check_file};
use serde_json::json;

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
         {generations} generations being filled or removed, {log_entries} commits in the change \
         log, {} findings\n",
        report.finding_count
    ));
    lines
}
