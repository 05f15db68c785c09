//! Writes zones in PowerDNS's shape: create, patch, replace, delete.
//!
//! Every request is one commit. EXTEND and PRUNE work on the RRset that the zone of the path has
//! when the commit is made, so that several writers lose nothing to each other.
//!
//! **Invariant:** a request is done as a whole or not at all.
//! **Not here:** the rules of the data (`store`).

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use super::error::is_conflict;
use super::powerdns::{
    ChangeKind, RrsetBody, RrsetChange, parse_name, parse_zone_id, write_rrset, zone_value,
};
use super::{
    Api, Path, check_server, covered, if_zone, import, read_json, refuse_if_match, signed,
    with_covered, with_revision, written_empty,
};
use crate::name::Name;
use crate::record::Rrset;
use crate::store::zone_settings::ZoneSettings;
use crate::store::{Batch, DnsStore, Expectation, Operation};

/// A zone in a request. Fields that PowerDNS knows and we have no use for are ignored.
#[derive(Debug, Deserialize)]
struct ZoneBody {
    /// The apex.
    #[serde(default)]
    name: String,
    /// Native, Master, and the kinds that we refuse.
    kind: Option<String>,
    /// Names of the servers for the NS RRset.
    #[serde(default)]
    nameservers: Vec<String>,
    /// RRsets to begin with, or to replace all by.
    rrsets: Option<Vec<RrsetBody>>,
    /// A master file to begin with.
    zone: Option<String>,
}

/// The changes of a request.
#[derive(Debug, Deserialize)]
struct PatchBody {
    /// One for each RRset.
    rrsets: Vec<RrsetBody>,
}

/// `POST …/zones`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    refuse_if_match(&headers)?;
    let store = api.zones().store()?;
    let body: ZoneBody = read_json(body).await?;
    let apex = parse_name(&body.name)?;
    check_kind(body.kind.as_deref())?;
    let mut settings = ZoneSettings::new(apex.clone());
    for name in &body.nameservers {
        settings.nameservers.push(parse_name(name)?);
    }
    if store.get_zone(&apex).await?.is_some() {
        return Err(ApiError::ZoneExists { apex });
    }
    let mut rrsets = match &body.zone {
        Some(text) if !text.trim().is_empty() => {
            import::parse(text.as_bytes(), &apex, "zone", Some(&apex))?.rrsets
        }
        _ => Vec::new(),
    };
    rrsets.extend(new_rrsets(&apex, body.rrsets.as_deref().unwrap_or_default())?);
    let revision = create_zone(store, settings, rrsets).await?;
    let facts = api.zones().zone(&apex).await?;
    let mut value = zone_value(&apex, facts.serial);
    let mut list = Vec::new();
    let mut pages = api.zones().rrsets(&apex).await?;
    while let Some(page) = pages.next().await? {
        for rrset in &page {
            let mut text = Vec::new();
            write_rrset(rrset, &mut text);
            list.push(serde_json::from_slice(&text)?);
        }
    }
    value["rrsets"] = Value::Array(list);
    let response = with_revision((StatusCode::CREATED, Json(value)).into_response(), revision);
    Ok(with_covered(response, &covered(&api, [&apex])))
}

/// Makes a zone with its records in one commit.
async fn create_zone(
    store: &DnsStore,
    settings: ZoneSettings,
    rrsets: Vec<Rrset>,
) -> Result<u64, ApiError> {
    let apex = settings.apex.clone();
    let mut operations = vec![Operation::PutZone(settings)];
    let put = |rrset| Operation::PutRrsetIn { apex: apex.clone(), rrset };
    operations.extend(rrsets.into_iter().map(put));
    let preconditions = vec![Expectation::ZoneAbsent { apex: apex.clone() }];
    match store.apply(Batch { operations, preconditions }).await {
        Ok(committed) => Ok(committed.revision),
        Err(error) if is_conflict(&error) => Err(ApiError::ZoneExists { apex }),
        Err(error) => Err(error.into()),
    }
}

/// Returns the RRsets that a new zone, or one that is replaced, has.
fn new_rrsets(apex: &Name, bodies: &[RrsetBody]) -> Result<Vec<Rrset>, ApiError> {
    let mut rrsets = Vec::with_capacity(bodies.len());
    for body in bodies {
        if let Some(rrset) = body.to_change(apex)?.into_new()? {
            rrsets.push(rrset);
        }
    }
    Ok(rrsets)
}

/// Refuses kinds of zones whose data come from elsewhere.
fn check_kind(kind: Option<&str>) -> Result<(), ApiError> {
    let kind = kind.unwrap_or("Native");
    let is_known =
        ["native", "master", "primary"].iter().any(|known| kind.eq_ignore_ascii_case(known));
    if is_known {
        Ok(())
    } else {
        Err(ApiError::ZoneKind { kind: kind.chars().take(20).collect() })
    }
}

/// `PATCH …/zones/{zone}`.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let store = api.zones().store()?;
    let apex = parse_zone_id(&zone)?;
    api.zones().zone(&apex).await?;
    let body: PatchBody = read_json(body).await?;
    let changes: Vec<RrsetChange> =
        body.rrsets.iter().map(|body| body.to_change(&apex)).collect::<Result<_, _>>()?;
    let mut batch = Batch::from(plan_patch(&apex, changes)?);
    batch.preconditions = if_zone(&headers, &apex)?;
    let owners = signed::owners(&batch);
    let committed = store.apply(batch).await?;
    signed::log_warnings(&api, store, &committed, &owners).await;
    let covered = covered(&api, committed.zones.iter().map(|(apex, _)| apex));
    Ok(with_covered(written_empty(committed.revision), &covered))
}

/// Turns changes into operations, in their order.
///
/// # Errors
/// [`ApiError::DuplicateRrset`], as PowerDNS has it.
fn plan_patch(apex: &Name, changes: Vec<RrsetChange>) -> Result<Vec<Operation>, ApiError> {
    let (mut replaced, mut deleted) = (HashSet::new(), HashSet::new());
    let mut operations = Vec::with_capacity(changes.len());
    // From the last on: what is replaced later need not be deleted before.
    for change in changes.into_iter().rev() {
        let place = (change.owner.clone(), change.rtype);
        let is_replaced = replaced.contains(&place);
        let (changetype, is_first) = match change.kind {
            ChangeKind::Replace(_) => ("REPLACE", replaced.insert(place)),
            ChangeKind::Delete => ("DELETE", deleted.insert(place)),
            ChangeKind::Extend { .. } | ChangeKind::Prune { .. } | ChangeKind::Keep => ("", true),
        };
        let RrsetChange { owner, rtype, .. } = &change;
        if !is_first {
            let (owner, rtype) = (owner.clone(), *rtype);
            return Err(ApiError::DuplicateRrset { owner, rtype, changetype });
        }
        if !(is_replaced && change.kind == ChangeKind::Delete) {
            operations.extend(change.into_operation(apex));
        }
    }
    operations.reverse();
    Ok(operations)
}

/// `PUT …/zones/{zone}`: checks the fields that we have no use for; RRsets replace all there are.
pub(crate) async fn replace(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let store = api.zones().store()?;
    let apex = parse_zone_id(&zone)?;
    let preconditions = if_zone(&headers, &apex)?;
    let settings = store.get_zone(&apex).await?.map(|zone| zone.settings);
    let Some(mut settings) = settings else { return Err(ApiError::NoSuchZone { apex }) };
    let body: ZoneBody = read_json(body).await?;
    check_kind(body.kind.as_deref())?;
    if !body.nameservers.is_empty() {
        settings.nameservers =
            body.nameservers.iter().map(|name| parse_name(name)).collect::<Result<_, _>>()?;
    }
    let revision = match &body.rrsets {
        Some(bodies) => {
            let rrsets = new_rrsets(&apex, bodies)?;
            store.import_zone_if(&apex, rrsets, Some(settings), &preconditions, &|_| {}).await?
        }
        None => {
            // Without a step it is still judged whether the zone is as expected.
            let operations = match body.nameservers.is_empty() {
                true => Vec::new(),
                false => vec![Operation::PutZone(settings)],
            };
            store.apply(Batch { operations, preconditions }).await?.revision
        }
    };
    Ok(with_covered(written_empty(revision), &covered(&api, [&apex])))
}

/// `DELETE …/zones/{zone}`.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let apex = parse_zone_id(&zone)?;
    let revision = remove_zone(&api, &apex, &headers).await?;
    Ok(written_empty(revision))
}

/// Deletes a zone that exists, if it is as `If-Match` says.
///
/// # Errors
/// [`ApiError::NoSuchZone`] when it does not, and what the store refuses.
pub(crate) async fn remove_zone(
    api: &Api,
    apex: &Name,
    headers: &HeaderMap,
) -> Result<u64, ApiError> {
    let store = api.zones().store()?;
    let preconditions = if_zone(headers, apex)?;
    let no_zone = || ApiError::NoSuchZone { apex: apex.clone() };
    if store.get_zone(apex).await?.is_none() {
        return Err(no_zone());
    }
    let operations = vec![Operation::DeleteZone { apex: apex.clone() }];
    let committed = store.apply(Batch { operations, preconditions }).await?;
    // Somebody else may have deleted it meanwhile.
    if committed.changed == 0 { Err(no_zone()) } else { Ok(committed.revision) }
}
