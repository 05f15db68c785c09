//! Reads zones in PowerDNS's shape: the list, one zone, and its master file.
//!
//! **Invariant:** a zone of any size is sent while it is read.
//! **Not here:** writes (`api::zones_write`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::error::ApiError;
use super::powerdns::{parse_name, parse_zone_id, write_rrset, zone_value};
use super::source::ZonePage;
use super::stream::{self, Sink, StreamError};
use super::{Api, Path, check_server};
use crate::limits::API_PAGE_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset, rdata};

/// `GET …/zones[?zone=…]`: all zones without their RRsets.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let permit = api.long_permit()?;
    if let Some(name) = query.get("zone") {
        let apex = parse_name(name)?;
        let value = match api.zones().zone(&apex).await {
            Ok(zone) => Value::Array(vec![zone_value(&apex, zone.serial)]),
            Err(ApiError::NoSuchZone { .. }) => Value::Array(Vec::new()),
            Err(error) => return Err(error),
        };
        return Ok(Json(value).into_response());
    }
    // Before the status is sent: a store that does not answer is told by it.
    let first = api.zones().list(None, API_PAGE_MAX).await?;
    let writer = |sink| async move {
        let mut sink: Sink = sink;
        let result = write_list(&api, first, &mut sink).await;
        (sink, result)
    };
    Ok(stream::respond(permit, JSON, writer))
}

/// Writes the list of zones, of which the first page is read.
async fn write_list(api: &Api, mut page: ZonePage, sink: &mut Sink) -> Result<(), StreamError> {
    let mut separator = "[";
    loop {
        for zone in &page.zones {
            sink.write(separator.as_bytes());
            separator = ",";
            sink.write(zone_value(&zone.apex, zone.serial).to_string().as_bytes());
            sink.send_full().await?;
        }
        match page.next {
            Some(next) => page = api.zones().list(Some(next), API_PAGE_MAX).await?,
            None => break,
        }
    }
    sink.write(if separator == "[" { b"[]" } else { b"]" });
    Ok(())
}

/// `GET …/zones/{zone}[?rrsets=false&rrset_name=…&rrset_type=…]`.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let apex = parse_zone_id(&zone)?;
    let facts = api.zones().zone(&apex).await?;
    let permit = api.long_permit()?;
    let filter = RrsetFilter::from_query(&query)?;
    let head = zone_value(&apex, facts.serial);
    // What `If-Match` of a later write compares with.
    let etag = facts.revision.and_then(|revision| format!("\"{revision}\"").parse().ok());
    let writer = |sink| async move {
        let mut sink: Sink = sink;
        let result = write_zone(&api, &apex, &head, &filter, &mut sink).await;
        (sink, result)
    };
    let mut response = stream::respond(permit, JSON, writer);
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Which RRsets of a zone a request wants.
#[derive(Debug)]
enum RrsetFilter {
    /// None: the field is left out.
    None,
    /// Those of this owner name and type, as far as they are given.
    Matching(Option<Name>, Option<RecordType>),
}

impl RrsetFilter {
    /// Reads the query string.
    fn from_query(query: &HashMap<String, String>) -> Result<Self, ApiError> {
        if query.get("rrsets").is_some_and(|value| value == "false" || value == "0") {
            return Ok(Self::None);
        }
        let owner = query.get("rrset_name").map(|name| parse_name(name)).transpose()?;
        let rtype = query.get("rrset_type").map(|rtype| rtype.parse()).transpose()?;
        Ok(Self::Matching(owner, rtype))
    }

    /// Whether an RRset is wanted.
    fn wants(&self, rrset: &Rrset) -> bool {
        match self {
            Self::None => false,
            Self::Matching(owner, rtype) => {
                owner.as_ref().is_none_or(|owner| *owner == rrset.owner)
                    && rtype.is_none_or(|rtype| rtype == rrset.rtype)
            }
        }
    }
}

/// Writes a zone with the RRsets that are wanted.
async fn write_zone(
    api: &Api,
    apex: &Name,
    head: &Value,
    filter: &RrsetFilter,
    sink: &mut Sink,
) -> Result<(), StreamError> {
    let head = head.to_string();
    if matches!(filter, RrsetFilter::None) {
        sink.write(head.as_bytes());
        return Ok(());
    }
    // The object stays open for one more field.
    sink.write(head.strip_suffix('}').unwrap_or(&head).as_bytes());
    sink.write(b",\"rrsets\":[");
    let mut is_first = true;
    let mut pages = api.zones().rrsets(apex).await?;
    while let Some(page) = pages.next().await? {
        for rrset in page.iter().filter(|rrset| filter.wants(rrset)) {
            if !std::mem::take(&mut is_first) {
                sink.write(b",");
            }
            write_rrset(rrset, sink.buffer());
            sink.send_full().await?;
        }
    }
    sink.write(b"]}");
    Ok(())
}

/// `GET …/zones/{zone}/export`: the master file; in an object if the client wants only JSON.
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_json = accept.contains("application/json") && !accept.contains("text/plain");
    export_zone(api, &zone, is_json).await
}

/// `GET …/aspen/zones/{zone}/export`: the master file.
pub(crate) async fn export_own(
    State(api): State<Arc<Api>>,
    Path(zone): Path<String>,
) -> Result<Response, ApiError> {
    export_zone(api, &zone, false).await
}

/// Answers with a zone's master file.
async fn export_zone(api: Arc<Api>, zone: &str, is_json: bool) -> Result<Response, ApiError> {
    let apex = parse_zone_id(zone)?;
    api.zones().zone(&apex).await?;
    let permit = api.long_permit()?;
    let writer = |sink| async move {
        let mut sink: Sink = sink;
        let result = write_master(&api, &apex, is_json, &mut sink).await;
        (sink, result)
    };
    Ok(stream::respond(permit, if is_json { JSON } else { "text/plain; charset=utf-8" }, writer))
}

/// Writes a zone as a master file, its SOA first.
async fn write_master(
    api: &Api,
    apex: &Name,
    is_json: bool,
    sink: &mut Sink,
) -> Result<(), StreamError> {
    let mut lines = String::new();
    let soa = api.zones().rrset(apex, RecordType::SOA).await?;
    if is_json {
        sink.write(b"{\"zone\":\"");
    }
    if let Some(soa) = &soa {
        write_lines(&soa.rrset, &mut lines);
    }
    let mut pages = api.zones().rrsets(apex).await?;
    while let Some(page) = pages.next().await? {
        let is_soa = |rrset: &Rrset| rrset.rtype == RecordType::SOA && rrset.owner == *apex;
        for rrset in page.iter().filter(|rrset| soa.is_none() || !is_soa(rrset)) {
            write_lines(rrset, &mut lines);
        }
        write_text(&lines, is_json, sink);
        lines.clear();
        sink.send_full().await?;
    }
    write_text(&lines, is_json, sink);
    if is_json {
        sink.write(b"\"}");
    }
    Ok(())
}

/// Writes text as it is, or as a part of a JSON string.
fn write_text(text: &str, is_json: bool, sink: &mut Sink) {
    if is_json {
        let quoted = Value::from(text).to_string();
        sink.write(&quoted.as_bytes()[1..quoted.len() - 1]);
    } else {
        sink.write(text.as_bytes());
    }
}

/// Writes the lines of one RRset, with absolute names.
fn write_lines(rrset: &Rrset, lines: &mut String) {
    let owner = rrset.owner.to_fqdn();
    for octets in rrset.rdata.iter() {
        lines.push_str(&format!("{owner}\t{}\tIN\t{}\t", rrset.ttl_s, rrset.rtype));
        rdata::write(rrset.rtype, octets, lines);
        lines.push('\n');
    }
}

/// The type of most answers.
const JSON: &str = "application/json";
