//! What the node does: status, waiting for a revision, tickets, metrics.
//!
//! **Invariant:** a wait ends by [`API_WAIT_S_MAX`], and when the node stops.
//! **Not here:** the numbers themselves (`node::status`), their names for Prometheus (`node::metrics`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::error::ApiError;
use super::powerdns::parse_name;
use super::{Api, read_json};
use crate::limits::{API_WAIT_S_MAX, STATUS_STORE_MS};
use crate::name::Name;
use crate::node::everywhere::{self, WantedEdges};
use crate::node::metrics;
use crate::node::status::Status;

/// What a ticket is wanted for.
#[derive(Debug, Deserialize)]
struct TicketBody {
    /// The zones; all if it is missing.
    zones: Option<Vec<String>>,
    /// The feed, by its name; in the place of zones.
    feed: Option<String>,
}

/// `GET …/status`.
pub(crate) async fn status(State(api): State<Arc<Api>>) -> Json<Status> {
    Json(Status::of(api.node()).await)
}

/// `GET …/wait[?revision=R][&timeout=S][&edges=all|N|NAME,…]`: until the node serves the revision, by default the
/// newest that it has heard of, and then until edges behind it do.
pub(crate) async fn wait(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let node = api.node();
    let edges = query.get("edges").map(|text| wanted_edges(text)).transpose()?;
    let revision = query.get("revision").map(|text| number("revision", text)).transpose()?;
    let timeout_s: f64 = match query.get("timeout") {
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
            .ok_or_else(|| bad_number("timeout", text))?,
        None => WAIT_S_DEFAULT,
    };
    let until = Instant::now() + Duration::from_secs_f64(timeout_s.min(f64::from(API_WAIT_S_MAX)));
    let wanted = match (revision, &node.store) {
        (Some(revision), _) => revision,
        // A store that is far away may take long to say that it does not answer; who waits for nothing gives it
        // the time that a status does.
        (None, Some(store)) => match tokio::time::timeout_at(
            until.max(Instant::now() + Duration::from_millis(STATUS_STORE_MS)),
            store.revision(),
        )
        .await
        {
            Ok(revision) => revision?,
            Err(_) => return Err(ApiError::StoreSilent),
        },
        (None, None) => node.progress.now().heard,
    };
    let timeout = until.saturating_duration_since(Instant::now());
    let is_served = tokio::select! {
        is_served = node.progress.wait(wanted, timeout) => is_served,
        // A node that stops publishes no more.
        () = api.stop.cancelled() => false,
    };
    let served = node.progress.now().served;
    if !is_served {
        return Err(ApiError::NotServedYet { wanted, served });
    }
    let mut body = json!({ "revision": wanted, "served_revision": served });
    if let Some(edges) = edges {
        let answer = everywhere::wait(node, &edges, wanted, until);
        let answer = tokio::select! {
            answer = answer => answer,
            // Who stops says how far it is.
            () = api.stop.cancelled() => everywhere::wait(node, &edges, wanted, Instant::now()).await,
        };
        let answer = answer?;
        if !answer.is_reached() {
            return Err(ApiError::EdgesLag(Box::new(answer)));
        }
        body["edges"] = json!(answer);
    }
    Ok(Json(body).into_response())
}

/// Reads which edges are waited for.
fn wanted_edges(text: &str) -> Result<WantedEdges, ApiError> {
    let value = text.chars().take(20).collect();
    let wanted = "all, a number from 1 on, or names of edges with commas between";
    text.parse().map_err(|()| ApiError::BadValue { field: "edges", value, wanted })
}

/// `POST …/tickets`: a ticket of the feed, of one that carries these zones and no others, or of one by its name.
pub(crate) async fn create_ticket(
    State(api): State<Arc<Api>>,
    body: Body,
) -> Result<Response, ApiError> {
    let body: TicketBody = read_json(body).await?;
    let feeds = api.node().feeds.as_ref().ok_or(ApiError::NoFeed)?;
    if let Some(name) = &body.feed {
        if body.zones.is_some() {
            return Err(ApiError::FeedAndZones);
        }
        let ticket = feeds.ticket_of(name).await?;
        return Ok(Json(json!({ "ticket": ticket.to_string(), "feed": name })).into_response());
    }
    let zones = match body.zones {
        Some(names) if names.is_empty() => return Err(ApiError::NoZonesNamed),
        Some(names) => Some(parse_zones(&api, &names).await?),
        None => None,
    };
    let shown: Option<Vec<String>> =
        zones.as_ref().map(|zones| zones.iter().map(Name::to_fqdn).collect());
    let ticket = feeds.ticket(zones).await?;
    Ok(Json(json!({ "ticket": ticket.to_string(), "zones": shown })).into_response())
}

/// Reads the apexes of zones that exist.
pub(super) async fn parse_zones(api: &Api, names: &[String]) -> Result<Vec<Name>, ApiError> {
    let mut zones = Vec::with_capacity(names.len());
    for name in names {
        let apex = parse_name(name)?;
        api.zones().zone(&apex).await?;
        zones.push(apex);
    }
    zones.sort_unstable();
    zones.dedup();
    Ok(zones)
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let text = metrics::text(api.node()).await;
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let headers: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_TYPE, kind)];
    (headers, text).into_response()
}

/// Reads a number of the query string.
fn number(field: &'static str, text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| bad_number(field, text))
}

/// Returns the error about something that is no number.
fn bad_number(field: &'static str, text: &str) -> ApiError {
    let value = text.chars().take(20).collect();
    ApiError::BadValue { field, value, wanted: "a number that is not negative" }
}

/// Seconds that a wait takes at most if it does not say.
const WAIT_S_DEFAULT: f64 = 30.0;
