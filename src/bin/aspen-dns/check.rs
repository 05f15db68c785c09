//! `aspen-dns zone check`: reads zones as the node does and reports what is wrong with them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use aspen_dns::clock;
use aspen_dns::dnssec::{self, CheckOptions, Finding, Parent, Ring, Time, ZoneReport};
use aspen_dns::masterfiles::{self, ZoneFileError};
use aspen_dns::name::Name;
use aspen_dns::record::master::{MasterOptions, MasterReader, MasterZone, read_zone};
use aspen_dns::record::{RecordType, rdata};
use aspen_dns::zone::{self, HashSeed};
use serde_json::json;

use crate::client::Client;
use crate::flags::CheckFlags;
use crate::output;
use crate::zone::{export_text, origin_of};

/// A zone that was read, or why it was not.
struct Read {
    /// Where it came from.
    source: String,
    /// Its records.
    zone: Result<MasterZone, String>,
}

/// Reads the zones and checks each; exit status 1 if one could not be served, or has an error.
///
/// Errors and warnings of the text begin with `FILE:LINE:COLUMN:`, findings with their severity.
pub(crate) fn run(
    client: impl FnOnce() -> anyhow::Result<Client>,
    flags: &CheckFlags,
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut reads = match &flags.zone {
        Some(apex) => vec![read_node(&client()?, apex)?],
        None => read_files(&flags.files, flags.origin.as_ref())?,
    };
    let given = given_ds(&flags.ds, &reads)?;
    let options = CheckOptions {
        now: flags.time.unwrap_or_else(now),
        expiry_warning_s: flags.expiry_days.saturating_mul(86_400),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let parents: Vec<Option<Vec<Vec<u8>>>> =
        reads.iter().map(|read| parent_ds(read, &given, &reads)).collect();
    let mut is_good = true;
    for (read, parent) in reads.iter_mut().zip(parents) {
        is_good &= check_one(read, parent.as_deref(), &options, is_json)?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks one zone and prints the result; says whether it has no error.
fn check_one(
    read: &mut Read,
    parent: Option<&[Vec<u8>]>,
    options: &CheckOptions,
    is_json: bool,
) -> anyhow::Result<bool> {
    let warnings = read.zone.as_ref().map_or_else(
        |_| Vec::new(),
        |zone| zone.warnings.kept.iter().map(ToString::to_string).collect(),
    );
    let warning_count = read.zone.as_ref().map_or(0, |zone| zone.warnings.count);
    let mut report = ZoneReport::default();
    let built = match std::mem::replace(&mut read.zone, Err(String::new())) {
        Ok(master) => {
            let parent = parent.map_or(Parent::Unknown, Parent::Ds);
            report = dnssec::check(&master.apex, &master.rrsets, parent, options, &Ring);
            zone::build(master.apex, HashSeed(0), master.rrsets)
                .map_err(|error| format!("{}: {error}", read.source))
        }
        Err(error) => Err(error),
    };
    let is_good = built.is_ok() && report.errors == 0;
    if is_json {
        let zone = built.as_ref().ok();
        output::print_json(&json!({
            "is_valid": is_good,
            "error": built.as_ref().err(),
            "warnings": warnings,
            "warning_count": warning_count,
            "findings": report.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "finding_errors": report.errors,
            "finding_warnings": report.warnings,
            "finding_counts": report.counts,
            "zone": zone.map(|zone| zone.apex().to_fqdn()),
            "serial": zone.map(zone::Zone::serial),
            "names": zone.map(zone::Zone::name_count),
            "records": zone.map(zone::Zone::record_count),
            "is_signed": report.is_signed,
            "signatures": report.signatures,
        }))?;
        return Ok(is_good);
    }
    for warning in &warnings {
        eprintln!("{warning} (warning)");
    }
    if warning_count > warnings.len() as u64 {
        eprintln!("{} more warnings", warning_count - warnings.len() as u64);
    }
    print_findings(&report)?;
    match &built {
        Ok(zone) => output::print(format!(
            "zone {}: serial {}, {} names, {} records, {}, {} errors, {} warnings\n",
            zone.apex(),
            zone.serial(),
            zone.name_count(),
            zone.record_count(),
            if report.is_signed {
                format!("{} signatures", report.signatures)
            } else {
                "not signed".to_owned()
            },
            report.errors,
            report.warnings + warning_count,
        ))?,
        Err(error) => eprintln!("{error}"),
    }
    Ok(is_good)
}

/// Prints the findings, one a line, and how many more there are of a kind.
fn print_findings(report: &ZoneReport) -> anyhow::Result<()> {
    let mut lines = String::new();
    for finding in &report.findings {
        lines.push_str(&format!("{finding}\n"));
    }
    for (code, count) in &report.counts {
        let kept = report.findings.iter().filter(|finding| finding.fault.code() == *code).count();
        lines.push_str(&format!("{} more of {code}\n", count - kept as u64));
    }
    output::print(&lines)
}

/// Reads master files.
fn read_files(files: &[PathBuf], origin: Option<&Name>) -> anyhow::Result<Vec<Read>> {
    if files.len() > 1 && origin.is_some() {
        bail!("--origin is for one file; several are named after their zones");
    }
    let mut reads = Vec::new();
    for file in files {
        let origin = match origin {
            Some(origin) => origin.clone(),
            None => {
                origin_of(file).context("--origin is needed: the file's name is no zone's name")?
            }
        };
        let zone = masterfiles::read_master(file, &origin)
            .and_then(|read| read.zone.into_master_zone().map_err(ZoneFileError::from))
            .map_err(|error| error.to_string());
        reads.push(Read { source: file.display().to_string(), zone });
    }
    Ok(reads)
}

/// Reads a zone of a running node.
fn read_node(client: &Client, apex: &Name) -> anyhow::Result<Read> {
    let text = export_text(client, apex)?;
    let options = MasterOptions { file: apex.to_fqdn(), ..MasterOptions::default() };
    let zone = read_zone(text.as_bytes(), apex, options, &mut |_| {});
    Ok(Read { source: apex.to_fqdn(), zone: zone.map_err(|error| error.to_string()) })
}

/// Reads the DS records of `--ds`, each with the name of its zone.
fn given_ds(given: &[String], reads: &[Read]) -> anyhow::Result<Vec<(Name, Vec<u8>)>> {
    let mut records = Vec::new();
    for given in given {
        let only = match reads {
            [Read { zone: Ok(zone), .. }] => Some(&zone.apex),
            _ => None,
        };
        // RDATA alone is of the one zone that is checked.
        if let (Some(apex), Ok(ds)) = (only, rdata::parse(RecordType::DS, given, &Name::root())) {
            records.push((apex.clone(), ds));
            continue;
        }
        let (file, text) = if given.split_ascii_whitespace().count() > 1 {
            ("--ds".to_owned(), given.as_bytes().to_vec())
        } else {
            (given.clone(), std::fs::read(given).with_context(|| format!("--ds {given}"))?)
        };
        let options = MasterOptions { file, ..MasterOptions::default() };
        for record in MasterReader::new(&text, &Name::root(), options) {
            let record = record?;
            if record.rtype == RecordType::DS {
                records.push((record.owner, record.rdata));
            }
        }
    }
    Ok(records)
}

/// Returns what the parent of a zone says of it: `--ds`, or the zone above among those that are
/// checked; `None` if nobody knows.
fn parent_ds(read: &Read, given: &[(Name, Vec<u8>)], reads: &[Read]) -> Option<Vec<Vec<u8>>> {
    let apex = &read.zone.as_ref().ok()?.apex;
    let own: Vec<Vec<u8>> =
        given.iter().filter(|(owner, _)| owner == apex).map(|(_, ds)| ds.clone()).collect();
    if !own.is_empty() {
        return Some(own);
    }
    let above = reads
        .iter()
        .filter_map(|other| other.zone.as_ref().ok())
        .filter(|zone| zone.apex != *apex && apex.is_at_or_below(&zone.apex))
        .max_by_key(|zone| zone.apex.label_count())?;
    let at = |rtype| above.rrsets.iter().find(move |set| set.owner == *apex && set.rtype == rtype);
    // A zone above that does not delegate this one is not its parent.
    at(RecordType::NS)?;
    Some(
        at(RecordType::DS)
            .map_or_else(Vec::new, |set| set.rdata.iter().map(<[u8]>::to_vec).collect()),
    )
}

/// Returns the time.
fn now() -> Time {
    // Signatures count modulo 2^32 (RFC 4034 section 3.1.5).
    Time(((clock::now_ms() / 1_000) & u64::from(u32::MAX)) as u32)
}
