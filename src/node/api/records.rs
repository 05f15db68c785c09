//! Our own paths for zones with their settings, single RRsets and atomic batches.
//!
//! An RRset is written as everywhere else in the product: `{"domain": …, "type": …,
//! "ttl_seconds": …, "rdata": […]}`.
//!
//! **Invariant:** a list never ends without saying where it goes on.
//! **Not here:** PowerDNS's shape (`api::zones`), master files (`api::import`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, is_conflict};
use super::powerdns::{contents, make_rrset, parse_name, parse_rdata, parse_zone_id};
use super::source::{ZoneFacts, expect_rrset};
use super::zones_write::remove_zone as delete_zone;
use super::{
    Api, Path, covered, if_match, if_zone, read_json, refuse_if_match, signed, with_covered,
    written,
};
use crate::limits::API_PAGE_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::store::zone_settings::ZoneSettings;
use crate::store::{Batch, Committed, DnsStore, Expectation, Operation, StoredRrset};

/// An RRset in a request.
#[derive(Debug, Deserialize)]
struct RecordBody {
    /// TTL in seconds.
    ttl_seconds: u32,
    /// The records in presentation form.
    rdata: Vec<String>,
}

/// One operation of a batch.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum OperationBody {
    /// The RRset is this.
    #[serde(alias = "put")]
    Set {
        /// Owner name.
        domain: String,
        /// Type.
        #[serde(rename = "type")]
        rtype: String,
        /// TTL and records.
        #[serde(flatten)]
        record: RecordBody,
    },
    /// The RRset is gone.
    Delete {
        /// Owner name.
        domain: String,
        /// Type.
        #[serde(rename = "type")]
        rtype: String,
    },
    /// The zone has these settings; it is made if it does not exist.
    SetZone {
        /// They.
        settings: ZoneSettings,
    },
    /// The zone is gone with all its records.
    DeleteZone {
        /// Its apex.
        zone: String,
    },
}

/// A batch.
#[derive(Debug, Deserialize)]
struct BatchBody {
    /// What is to be done, all of it or nothing.
    operations: Vec<OperationBody>,
    /// What must hold before it is done.
    #[serde(default)]
    preconditions: Vec<PreconditionBody>,
}

/// What must hold before a batch is done.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PreconditionBody {
    /// The RRset is as this revision left it, or there is none.
    Rrset {
        /// Owner name.
        domain: String,
        /// Type.
        #[serde(rename = "type")]
        rtype: String,
        /// The revision; null if there is no such RRset.
        revision: Option<u64>,
    },
    /// The zone was last changed by this revision.
    Zone {
        /// Its apex.
        zone: String,
        /// The revision.
        revision: u64,
    },
}

/// `GET …/records/{name}/{type}`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Path((name, rtype)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (owner, rtype) = (parse_zone_id(&name)?, rtype.parse::<RecordType>()?);
    match api.zones().rrset(&owner, rtype).await? {
        Some(stored) => Ok(Json(document(&stored)).into_response()),
        None => Err(ApiError::NoSuchRrset { owner, rtype }),
    }
}

/// `PUT …/records/{name}/{type}`.
pub(crate) async fn set(
    State(api): State<Arc<Api>>,
    Path((name, rtype)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let store = api.zones().store()?;
    let (owner, rtype) = (parse_zone_id(&name)?, rtype.parse::<RecordType>()?);
    let body: RecordBody = read_json(body).await?;
    let rrset = parse_rrset(&owner, rtype, &body)?;
    let preconditions = if_rrset(&headers, &owner, rtype)?;
    let batch = Batch { operations: vec![Operation::PutRrset(rrset)], preconditions };
    apply(&api, store, batch, json!({})).await
}

/// `DELETE …/records/{name}/{type}`.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path((name, rtype)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let store = api.zones().store()?;
    let (owner, rtype) = (parse_zone_id(&name)?, rtype.parse::<RecordType>()?);
    let preconditions = if_rrset(&headers, &owner, rtype)?;
    if api.zones().rrset(&owner, rtype).await?.is_none() {
        return Err(ApiError::NoSuchRrset { owner, rtype });
    }
    let operations = vec![Operation::DeleteRrset { owner: owner.clone(), rtype }];
    let batch = Batch { operations, preconditions };
    let about = About::of(&batch);
    let committed = store.apply(batch).await?;
    // It has gone since, or its zone is another one now.
    if committed.changed == 0 {
        return Err(ApiError::NoSuchRrset { owner, rtype });
    }
    tell(&api, store, about, &committed, json!({})).await
}

/// `GET …/records?zone=…[&name=…][&type=…][&cursor=…][&limit=…]`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let apex = parse_name(query.get("zone").map_or("", String::as_str))?;
    let owner = query.get("name").map(|name| parse_name(name)).transpose()?;
    let rtype = query.get("type").map(|rtype| rtype.parse::<RecordType>()).transpose()?;
    let limit = limit_of(&query)?;
    api.zones().zone(&apex).await?;
    if let Some(owner) = &owner {
        // Not of the zone that is answered there: a cut has records in both.
        let found = api.zones().rrsets_in(&apex, owner).await?;
        let wanted = |stored: &&StoredRrset| rtype.is_none_or(|rtype| rtype == stored.rrset.rtype);
        let records: Vec<Value> = found.iter().filter(wanted).map(document).collect();
        return Ok(Json(json!({ "records": records, "next": null })).into_response());
    }
    let page = api.zones().records(&apex, query.get("cursor").cloned(), limit).await?;
    let wanted = |stored: &&StoredRrset| rtype.is_none_or(|rtype| rtype == stored.rrset.rtype);
    let records: Vec<Value> = page.records.iter().filter(wanted).map(document).collect();
    Ok(Json(json!({ "records": records, "next": page.next })).into_response())
}

/// `POST …/batch`.
pub(crate) async fn batch(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let store = api.zones().store()?;
    if headers.contains_key(header::IF_MATCH) {
        return Err(ApiError::BatchIfMatch);
    }
    let body: BatchBody = read_json(body).await?;
    let mut batch = Batch::default();
    for operation in &body.operations {
        batch.operations.push(parse_operation(operation)?);
    }
    for precondition in &body.preconditions {
        batch.preconditions.push(match precondition {
            PreconditionBody::Rrset { domain, rtype, revision } => {
                expect_rrset(parse_name(domain)?, rtype.parse()?, *revision)
            }
            PreconditionBody::Zone { zone, revision } => {
                Expectation::ZoneAtRevision { apex: parse_name(zone)?, revision: *revision }
            }
        });
    }
    apply(&api, store, batch, json!({ "applied": 0 })).await
}

/// Applies a batch, and tells what came of it.
async fn apply(
    api: &Api,
    store: &Arc<DnsStore>,
    batch: Batch,
    body: Value,
) -> Result<Response, ApiError> {
    let about = About::of(&batch);
    let committed = store.apply(batch).await?;
    tell(api, store, about, &committed, body).await
}

/// Tells what came of a batch: the answer is `body` with the revision, with how much was done if it has a place
/// for that, and with what is not as one might think.
async fn tell(
    api: &Api,
    store: &Arc<DnsStore>,
    about: About,
    committed: &Committed,
    mut body: Value,
) -> Result<Response, ApiError> {
    signed::add_warnings(api, store, committed, &about.owners, &mut body).await;
    let mut lines = Vec::new();
    for (owner, rtype) in about.deleted {
        let is_apex = committed.zones.iter().any(|(apex, _)| *apex == owner);
        let now = if is_apex { store.get_record(&owner, rtype).await? } else { None };
        if now.is_some_and(|now| now.is_synthesized) {
            lines.push(format!("{owner} {rtype} is what the zone's settings make from now on"));
        }
    }
    let covered = covered(api, committed.zones.iter().map(|(apex, _)| apex));
    lines.extend(covered.iter().map(|apex| format!("{apex} is answered from a zone file")));
    warn(&mut body, &lines);
    if let Some(applied) = body.get_mut("applied") {
        *applied = json!(committed.changed);
    }
    Ok(with_covered(written(committed.revision, body), &covered))
}

/// What a batch is about.
struct About {
    /// The owners of RRsets.
    owners: Vec<Name>,
    /// What it deletes that settings make again.
    deleted: Vec<(Name, RecordType)>,
}

impl About {
    /// That of a batch.
    fn of(batch: &Batch) -> Self {
        let deleted = batch.operations.iter().filter_map(deleted).collect();
        Self { owners: signed::owners(batch), deleted }
    }
}

/// Returns what a step deletes, if it is something that settings make again.
fn deleted(operation: &Operation) -> Option<(Name, RecordType)> {
    match operation {
        Operation::DeleteRrset { owner, rtype: rtype @ (RecordType::SOA | RecordType::NS) } => {
            Some((owner.clone(), *rtype))
        }
        _ => None,
    }
}

/// Adds lines to the warnings of an answer.
fn warn(body: &mut Value, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    if !body["warnings"].is_array() {
        body["warnings"] = json!([]);
    }
    let warnings = body["warnings"].as_array_mut();
    warnings.into_iter().for_each(|all| all.extend(lines.iter().map(|line| json!(line))));
}

/// `GET …/zones[?cursor=…][&limit=…]`: all zones, or a page of them if a limit is given.
pub(crate) async fn zones(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let limit = limit_of(&query)?;
    let is_paged = query.contains_key("limit") || query.contains_key("cursor");
    let mut cursor = query.get("cursor").cloned();
    let mut zones = Vec::new();
    loop {
        let page = api.zones().list(cursor, limit).await?;
        zones.extend(page.zones.iter().map(zone_document));
        if is_paged || page.next.is_none() {
            return Ok(Json(json!({ "zones": zones, "next": page.next })).into_response());
        }
        cursor = page.next;
    }
}

/// `GET …/zones/{zone}`.
pub(crate) async fn zone(
    State(api): State<Arc<Api>>,
    Path(zone): Path<String>,
) -> Result<Response, ApiError> {
    let facts = api.zones().zone(&parse_zone_id(&zone)?).await?;
    Ok(Json(zone_document(&facts)).into_response())
}

/// `POST …/zones/{zone}`: makes a zone that does not exist.
pub(crate) async fn create_zone(
    State(api): State<Arc<Api>>,
    Path(zone): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let apex = parse_zone_id(&zone)?;
    refuse_if_match(&headers)?;
    let store = api.zones().store()?;
    let settings = parse_settings(&apex, None, read_json(body).await?)?;
    let preconditions = vec![Expectation::ZoneAbsent { apex: apex.clone() }];
    let operations = vec![Operation::PutZone(settings)];
    match store.apply(Batch { operations, preconditions }).await {
        Ok(committed) => {
            let covered = covered(&api, [&apex]);
            let response = written(committed.revision, json!({ "zone": apex.to_fqdn() }));
            Ok(with_covered(response, &covered))
        }
        Err(error) if is_conflict(&error) => Err(ApiError::ZoneExists { apex }),
        Err(error) => Err(error.into()),
    }
}

/// `PUT …/zones/{zone}`: changes the settings that are given.
pub(crate) async fn set_zone(
    State(api): State<Arc<Api>>,
    Path(zone): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let apex = parse_zone_id(&zone)?;
    let store = api.zones().store()?;
    let before = store.get_zone(&apex).await?.map(|zone| zone.settings);
    let Some(before) = before else { return Err(ApiError::NoSuchZone { apex }) };
    let settings = parse_settings(&apex, Some(&before), read_json(body).await?)?;
    let preconditions = if_zone(&headers, &apex)?;
    let operations = vec![Operation::PutZone(settings)];
    let revision = store.apply(Batch { operations, preconditions }).await?.revision;
    Ok(written(revision, json!({ "zone": apex.to_fqdn() })))
}

/// `DELETE …/zones/{zone}`.
pub(crate) async fn remove_zone(
    State(api): State<Arc<Api>>,
    Path(zone): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let revision = delete_zone(&api, &parse_zone_id(&zone)?, &headers).await?;
    Ok(written(revision, json!({})))
}

/// Returns settings: what `given` says, over what was `before`.
fn parse_settings(
    apex: &Name,
    before: Option<&ZoneSettings>,
    given: HashMap<String, Value>,
) -> Result<ZoneSettings, ApiError> {
    let mut value = match before {
        Some(before) => serde_json::to_value(before)?,
        None => serde_json::to_value(ZoneSettings::new(apex.clone()))?,
    };
    for (field, setting) in given {
        value[field] = setting;
    }
    // The path says which zone; a body that says otherwise is not believed.
    value["apex"] = Value::String(apex.to_string());
    Ok(serde_json::from_value(value)?)
}

/// Reads one operation of a batch.
fn parse_operation(body: &OperationBody) -> Result<Operation, ApiError> {
    match body {
        OperationBody::Set { domain, rtype, record } => {
            let (owner, rtype) = (parse_name(domain)?, rtype.parse::<RecordType>()?);
            Ok(Operation::PutRrset(parse_rrset(&owner, rtype, record)?))
        }
        OperationBody::Delete { domain, rtype } => {
            Ok(Operation::DeleteRrset { owner: parse_name(domain)?, rtype: rtype.parse()? })
        }
        OperationBody::SetZone { settings } => Ok(Operation::PutZone(settings.clone())),
        OperationBody::DeleteZone { zone } => Ok(Operation::DeleteZone { apex: parse_name(zone)? }),
    }
}

/// Reads an RRset.
fn parse_rrset(owner: &Name, rtype: RecordType, body: &RecordBody) -> Result<Rrset, ApiError> {
    let records: Vec<Vec<u8>> =
        body.rdata.iter().map(|text| parse_rdata(owner, rtype, text)).collect::<Result<_, _>>()?;
    make_rrset(owner, rtype, body.ttl_seconds, &records)
}

/// Returns what `If-Match` (the RRset is as this revision left it) and `If-None-Match: *` (there
/// is none) ask.
fn if_rrset(
    headers: &HeaderMap,
    owner: &Name,
    rtype: RecordType,
) -> Result<Vec<Expectation>, ApiError> {
    let owner = owner.clone();
    if let Some(revision) = if_match(headers)? {
        return Ok(vec![expect_rrset(owner, rtype, Some(revision))]);
    }
    let is_new = headers.get("If-None-Match").is_some_and(|value| value == "*");
    Ok(if is_new { vec![expect_rrset(owner, rtype, None)] } else { Vec::new() })
}

/// Returns the length of a page.
pub(super) fn limit_of(query: &HashMap<String, String>) -> Result<u32, ApiError> {
    let Some(text) = query.get("limit") else { return Ok(API_PAGE_MAX) };
    let bad = || ApiError::BadValue {
        field: "limit",
        value: text.chars().take(20).collect(),
        wanted: "a number above zero",
    };
    match text.parse::<u32>() {
        Ok(limit) if limit > 0 => Ok(limit.min(API_PAGE_MAX)),
        _ => Err(bad()),
    }
}

/// Writes an RRset.
fn document(stored: &StoredRrset) -> Value {
    let rrset = &stored.rrset;
    json!({
        "domain": rrset.owner.to_string(),
        "type": rrset.rtype.to_string(),
        "ttl_seconds": rrset.ttl_s,
        "rdata": contents(rrset.rtype, &rrset.rdata),
        "updated_at_ms": stored.updated_at_ms,
        "revision": stored.revision,
    })
}

/// Writes a zone.
fn zone_document(facts: &ZoneFacts) -> Value {
    let mut value = match &facts.settings {
        Some(settings) => serde_json::to_value(settings).unwrap_or_else(|_| json!({})),
        None => json!({ "is_enabled": true }),
    };
    value["zone"] = Value::String(facts.apex.to_fqdn());
    value["serial"] = json!(facts.serial);
    value["revision"] = json!(facts.revision);
    value["rrsets"] = json!(facts.rrset_count);
    value["records"] = json!(facts.record_count);
    value
}
