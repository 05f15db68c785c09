//! Writes zones in PowerDNS's shape: create, patch, replace, delete.
//!
//! Every request is one commit. EXTEND and PRUNE are read, changed and written on the condition
//! that nothing changed meanwhile, and tried again if something did.
//!
//! **Invariant:** a request is done as a whole or not at all.
//! **Not here:** the rules of the data (`store`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use super::error::is_conflict;
use super::powerdns::{
    ChangeKind, RrsetBody, RrsetChange, parse_name, parse_zone_id, write_rrset, zone_value,
};
use super::source::expect_rrset;
use super::{Api, check_server, if_match, import, read_json, signed, with_revision, written_empty};
use crate::limits::API_TRIES_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
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
    body: Body,
) -> Result<Response, ApiError> {
    check_server(&server)?;
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
    Ok(with_revision((StatusCode::CREATED, Json(value)).into_response(), revision))
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
        if let Some(rrset) = body.to_change(apex)?.apply(None)? {
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
    let since = if_match(&headers)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut batch = plan_patch(&api, &apex, &changes).await?;
        if let Some(revision) = since {
            let apex = apex.clone();
            batch.preconditions.push(Expectation::ZoneAtRevision { apex, revision });
        }
        if batch.operations.is_empty() {
            let revision = store.revision().await?;
            return Ok(written_empty(revision));
        }
        let owners = signed::owners(&batch);
        match store.apply(batch).await {
            Ok(committed) => {
                signed::log_warnings(store, &committed, &owners).await;
                return Ok(written_empty(committed.revision));
            }
            // Somebody changed an RRset that we extend or prune: read it again.
            Err(error) if is_conflict(&error) && since.is_none() && tries < API_TRIES_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Turns changes into operations, each RRset's changes in their order.
async fn plan_patch(api: &Api, apex: &Name, changes: &[RrsetChange]) -> Result<Batch, ApiError> {
    let mut batch = Batch::default();
    let mut after: HashMap<(&Name, RecordType), Option<Rrset>> = HashMap::new();
    let mut order: Vec<(&Name, RecordType)> = Vec::new();
    for change in changes {
        let place = (&change.owner, change.rtype);
        let depends = matches!(change.kind, ChangeKind::Extend { .. } | ChangeKind::Prune { .. });
        let before = match after.get(&place) {
            Some(earlier) => earlier.clone(),
            None if depends => {
                let (owner, rtype) = (change.owner.clone(), change.rtype);
                let stored = api.zones().rrset(&owner, rtype).await?;
                let revision = stored.as_ref().map(|stored| stored.revision);
                batch.preconditions.push(expect_rrset(owner, rtype, revision));
                stored.map(|stored| stored.rrset)
            }
            None if change.kind == ChangeKind::Keep => continue,
            None => None,
        };
        if after.insert(place, change.apply(before.as_ref())?).is_none() {
            order.push(place);
        }
    }
    // Deletes first: a CNAME may take the place of what was there, and the other way round.
    let (deletes, puts): (Vec<_>, Vec<_>) =
        order.into_iter().partition(|place| after.get(place).is_none_or(Option::is_none));
    for (owner, rtype) in deletes {
        let (apex, owner) = (apex.clone(), owner.clone());
        batch.operations.push(Operation::DeleteRrsetIn { apex, owner, rtype });
    }
    for place in puts {
        if let Some(Some(rrset)) = after.remove(&place) {
            batch.operations.push(Operation::PutRrsetIn { apex: apex.clone(), rrset });
        }
    }
    Ok(batch)
}

/// `PUT …/zones/{zone}`: checks the fields that we have no use for; RRsets replace all there are.
pub(crate) async fn replace(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let store = api.zones().store()?;
    let apex = parse_zone_id(&zone)?;
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
            store.import_zone(&apex, rrsets, Some(settings), &|_| {}).await?
        }
        None if body.nameservers.is_empty() => store.revision().await?,
        None => store.set_zone(settings).await?,
    };
    Ok(written_empty(revision))
}

/// `DELETE …/zones/{zone}`.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let apex = parse_zone_id(&zone)?;
    let revision = remove_zone(&api, &apex).await?;
    Ok(written_empty(revision))
}

/// Deletes a zone that exists.
///
/// # Errors
/// [`ApiError::NoSuchZone`] when it does not, and what the store refuses.
pub(crate) async fn remove_zone(api: &Api, apex: &Name) -> Result<u64, ApiError> {
    let no_zone = || ApiError::NoSuchZone { apex: apex.clone() };
    match api.zones().store()?.delete_zone(apex).await {
        Ok(Some(revision)) => Ok(revision),
        Ok(None) => Err(no_zone()),
        Err(error) => Err(error.into()),
    }
}
