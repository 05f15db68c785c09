//! Takes a master file and makes a zone what it says, in one commit.
//!
//! The whole file is read and checked before anything is written. With `progress=true` the answer
//! is a line of JSON for each step and the last line says how it ended; without it the answer is
//! one object and the status tells.
//!
//! **Invariant:** a file with an error changes nothing.
//! **Not here:** the syntax (`record::master`); files that are never stored (`masterfiles`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::ApiError;
use super::powerdns::parse_name;
use super::stream::{self, Sink, StreamError};
use super::{Api, covered, if_zone, read_body, signed, with_covered, written};
use crate::limits::API_IMPORT_OCTETS_MAX;
use crate::name::Name;
use crate::record::master::{self, MasterOptions, MasterZone};
use crate::store::{DnsStore, Expectation};

/// `POST …/import?origin=…[&zone=…][&file=…][&progress=true]`.
pub(crate) async fn import(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let store = Arc::clone(api.zones().store()?);
    let permit = api.long_permit()?;
    let zone = query.get("zone").map(|name| parse_name(name)).transpose()?;
    let origin = match (query.get("origin"), &zone) {
        (Some(name), _) => parse_name(name)?,
        (None, Some(zone)) => zone.clone(),
        (None, None) => Name::root(),
    };
    let file = query.get("file").cloned().unwrap_or_else(|| "body".to_owned());
    let text = read_body(body, API_IMPORT_OCTETS_MAX).await?;
    let parsed = parse_elsewhere(text, origin, file, zone).await?;
    let expected = if_zone(&headers, &parsed.apex)?;
    if query.get("progress").is_none_or(|value| value != "true") {
        let (_keep, value) = (permit, store_zone(&store, parsed, &expected, |_| {}).await?);
        let revision = value["revision"].as_u64().unwrap_or(0);
        let apex = value["zone"].as_str().map(parse_name).transpose()?;
        let covered = covered(&api, &apex);
        return Ok(with_covered(written(revision, value), &covered));
    }
    let importer = Arc::clone(&api);
    let writer = |sink| async move {
        let mut sink: Sink = sink;
        let result = write_progress(&importer, store, (parsed, expected), &mut sink).await;
        (sink, result)
    };
    Ok(stream::respond(permit, "application/x-ndjson", writer))
}

/// Reads a master file; its zone must be `wanted` if that is given.
///
/// # Errors
/// [`ApiError::MasterFile`] with file, line, column and rule, or [`ApiError::OtherZone`].
pub(crate) fn parse(
    text: &[u8],
    origin: &Name,
    file: &str,
    wanted: Option<&Name>,
) -> Result<MasterZone, ApiError> {
    // No opener: a request must not read the node's files.
    let options = MasterOptions { file: file.to_owned(), ..MasterOptions::default() };
    let zone = master::read_zone(text, origin, options, &mut |_| {})
        .map_err(|error| ApiError::MasterFile(error.to_string()))?;
    match wanted {
        Some(wanted) if *wanted != zone.apex => {
            Err(ApiError::OtherZone { found: zone.apex, wanted: wanted.clone() })
        }
        _ => Ok(zone),
    }
}

/// Reads a master file on a thread that may be busy for long.
async fn parse_elsewhere(
    text: Vec<u8>,
    origin: Name,
    file: String,
    wanted: Option<Name>,
) -> Result<MasterZone, ApiError> {
    let parse = move || parse(&text, &origin, &file, wanted.as_ref());
    tokio::task::spawn_blocking(parse).await.map_err(|_| ApiError::BodyCutShort)?
}

/// Stores the zone, and writes a line for each step and one for the end.
async fn write_progress(
    api: &Api,
    store: Arc<DnsStore>,
    (parsed, expected): (MasterZone, Vec<Expectation>),
    sink: &mut Sink,
) -> Result<(), StreamError> {
    let total = parsed.rrsets.len() as u64;
    // Who reads slowly hears of fewer steps, and the import goes on without who goes away.
    let (steps, mut receiver) = watch::channel(0);
    let storing = api.tasks().spawn(async move {
        let progress = |done| {
            steps.send_replace(done);
        };
        store_zone(&store, parsed, &expected, progress).await
    });
    let line = |value: &Value| format!("{value}\n").into_bytes();
    sink.write(&line(&json!({ "done": 0, "total": total })));
    sink.send().await?;
    while receiver.changed().await.is_ok() {
        let done = *receiver.borrow_and_update();
        sink.write(&line(&json!({ "done": done.min(total), "total": total })));
        sink.send().await?;
    }
    let last = match storing.await {
        Ok(Ok(value)) => {
            let (node, revision) = (api.node(), value["revision"].as_u64().unwrap_or(0));
            node.commit_times.observe(&node.progress, revision);
            value
        }
        Ok(Err(error)) => json!({ "error": error.to_string() }),
        Err(_) => json!({ "error": "the import panicked" }),
    };
    sink.write(&line(&last));
    Ok(())
}

/// Makes the zone what was read if it is as expected, and returns what was done.
async fn store_zone(
    store: &Arc<DnsStore>,
    parsed: MasterZone,
    expected: &[Expectation],
    progress: impl Fn(u64) + Send + Sync,
) -> Result<Value, ApiError> {
    let records = parsed.record_count;
    let rrsets = parsed.rrsets.len();
    let mut warnings: Vec<String> = parsed.warnings.kept.iter().map(ToString::to_string).collect();
    let apex = parsed.apex;
    let revision = store.import_zone_if(&apex, parsed.rrsets, None, expected, &progress).await?;
    let serial = store.get_zone(&apex).await?.map(|zone| zone.serial);
    // A serial that is not newer was raised, and the SOA of a signed zone no longer verifies.
    let broken = signed::findings(store, &apex, std::slice::from_ref(&apex)).await;
    let warning_count = parsed.warnings.count + broken.len() as u64;
    warnings.extend(broken.iter().map(ToString::to_string));
    Ok(json!({
        "zone": apex.to_fqdn(),
        "rrsets": rrsets,
        "records": records,
        "serial": serial,
        "revision": revision,
        "warnings": warnings,
        "warning_count": warning_count,
    }))
}
