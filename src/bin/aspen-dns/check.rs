//! `aspen-dns zone check`: reads a master file as the node does and reports what is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use aspen_dns::files;
use aspen_dns::name::Name;
use aspen_dns::zone::{self, HashSeed};
use serde_json::json;

use crate::output;
use crate::zone::origin_of;

/// Reads the file; exit status 1 if it could not be served.
///
/// Errors and warnings begin with `FILE:LINE:COLUMN:` (warnings with `FILE:LINE:`).
pub(crate) fn run(file: &Path, origin: Option<&Name>, is_json: bool) -> anyhow::Result<ExitCode> {
    let origin = match origin {
        Some(origin) => origin.clone(),
        None => origin_of(file).context("--origin is needed: the file's name is no zone's name")?,
    };
    let mut warnings: Vec<String> = Vec::new();
    let mut warning_count = 0;
    let result = files::read_master(file, &origin).and_then(|read| {
        warnings = read.zone.warnings.kept.iter().map(ToString::to_string).collect();
        warning_count = read.zone.warnings.count;
        files::build(file, &read.zone, HashSeed(0), &mut |_| {})
    });
    let error = result.as_ref().err().map(ToString::to_string);
    if is_json {
        let zone = result.as_ref().ok();
        output::print_json(&json!({
            "is_valid": error.is_none(),
            "error": error,
            "warnings": warnings,
            "warning_count": warning_count,
            "zone": zone.map(|zone| zone.apex().to_fqdn()),
            "serial": zone.map(zone::Zone::serial),
            "names": zone.map(zone::Zone::name_count),
            "records": zone.map(zone::Zone::record_count),
        }))?;
    } else {
        for warning in &warnings {
            eprintln!("{warning} (warning)");
        }
        if warning_count > warnings.len() as u64 {
            eprintln!("{} more warnings", warning_count - warnings.len() as u64);
        }
        match (&result, &error) {
            (Ok(zone), _) => output::print(&format!(
                "zone {}: serial {}, {} names, {} records, {warning_count} warnings\n",
                zone.apex(),
                zone.serial(),
                zone.name_count(),
                zone.record_count(),
            ))?,
            (Err(_), error) => eprintln!("{}", error.as_deref().unwrap_or_default()),
        }
    }
    Ok(if error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
