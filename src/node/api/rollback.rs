//! Going back to a revision of the store: a commit like any other, so that all edges get it.
//!
//! **Not here:** what is done (`store::rollback`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, http::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::powerdns::parse_name;
use super::{Api, covered, read_json, refuse_if_match, with_covered, with_revision};
use crate::limits::RESTORE_ZONES_SHOWN_MAX;
use crate::name::Name;
use crate::store::{RollbackReport, RollbackStep, RolledZone, StoreError};

/// What is gone back to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    /// The revision.
    revision: u64,
    /// The zones; all if it is missing.
    zones: Option<Vec<String>>,
    /// Whether it is only told what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// `POST …/rollback`.
pub(crate) async fn rollback(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let store = Arc::clone(api.zones().store()?);
    refuse_if_match(&headers)?;
    let RollbackBody { revision, zones, dry_run } = read_json(body).await?;
    if zones.as_ref().is_some_and(Vec::is_empty) {
        let (value, wanted) = ("[]".to_owned(), "a list of zones; leave it out for all");
        return Err(ApiError::BadValue { field: "zones", value, wanted });
    }
    let names = |zones: Vec<String>| -> Result<Vec<Name>, ApiError> {
        zones.iter().map(|text| parse_name(text)).collect()
    };
    let zones = zones.map(names).transpose()?;
    let _permit = api.long_permit()?;
    let report = store.rollback(revision, zones.as_deref(), dry_run).await?;
    let frozen = store.look_at_freeze().await.map_err(StoreError::from)?;
    let mut body = json(&report);
    body["rolled_back_to"] = json!(revision);
    body["is_dry_run"] = json!(dry_run);
    body["frozen_revision"] = json!(frozen.map(|freeze| freeze.revision));
    if dry_run {
        return Ok(Json(body).into_response());
    }
    let covered = covered(&api, report.zones.iter().map(|zone| &zone.apex));
    let response = with_revision(Json(body).into_response(), report.revision);
    Ok(with_covered(response, &covered))
}

/// Writes what was done, of [`RESTORE_ZONES_SHOWN_MAX`] zones at most.
fn json(report: &RollbackReport) -> Value {
    let zones: Vec<Value> =
        report.zones.iter().take(RESTORE_ZONES_SHOWN_MAX).map(zone_json).collect();
    let served = |is: (bool, bool)| report.zones.iter().filter(|zone| zone.is_served == is).count();
    json!({
        "revision": report.revision,
        "zones": zones,
        "zone_count": report.zones.len(),
        "no_longer_served_count": served((true, false)),
        "served_again_count": served((false, true)),
    })
}

/// Writes what was done to one zone.
fn zone_json(zone: &RolledZone) -> Value {
    let step = match zone.step {
        RollbackStep::Changed => "changed",
        RollbackStep::Replaced => "replaced",
        RollbackStep::BroughtBack => "brought back",
        RollbackStep::Deleted => "deleted",
    };
    json!({
        "zone": zone.apex.to_fqdn(),
        "step": step,
        "put": zone.put,
        "removed": zone.removed,
        "is_settings_changed": zone.is_settings_changed,
        "was_served": zone.is_served.0,
        "is_served": zone.is_served.1,
        "serial_before": zone.serial_before,
        "serial": zone.serial,
    })
}
