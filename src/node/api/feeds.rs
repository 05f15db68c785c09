//! The feeds of an authority: made, listed, ended, and who may have them until when.
//!
//! **Not here:** what is done (`node::feed_verbs`), tickets alone (`api::status`).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::status::parse_zones;
use super::{Api, Path, read_json};
use crate::clock::now_ms;
use crate::node::feed_text::{EndpointKey, NoTime, read_when};
use crate::node::feed_verbs::{FeedReport, FeedsReport, NewFeed};
use crate::node::feeds::Feeds;

/// A feed that is to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFeedBody {
    /// What it is to be called.
    name: String,
    /// The zones; all if it is missing.
    zones: Option<Vec<String>>,
    /// Who may have it; whoever has its ticket if it is missing.
    allowed: Option<Vec<String>>,
    /// When it ends.
    expires: Option<String>,
}

/// How a feed is rotated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// Until when the old one stays.
    keep: Option<String>,
}

/// When a feed ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiryBody {
    /// The time, or `never`.
    expires: String,
}

/// `GET …/feeds`.
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Json<FeedsReport>, ApiError> {
    Ok(Json(feeds(&api)?.report().await))
}

/// `GET …/feeds/{feed}`.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<FeedReport>, ApiError> {
    report(feeds(&api)?, &name).await
}

/// `POST …/feeds`: makes a feed, and answers with a ticket of it.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let body: NewFeedBody = read_json(body).await?;
    let feeds = feeds(&api)?;
    let zones = match body.zones {
        Some(names) if names.is_empty() => return Err(ApiError::NoZonesNamed),
        Some(names) => Some(parse_zones(&api, &names).await?),
        None => None,
    };
    let allowed = body.allowed.map(|keys| keys.iter().map(|key| key.parse()).collect());
    let allowed = allowed.transpose()?;
    let expires_ms = match body.expires {
        Some(text) => read_when(&text, now_ms())?,
        None => None,
    };
    let name = body.name.clone();
    let new = NewFeed { name: body.name, zones, allowed, expires_ms };
    let ticket = feeds.create(new).await?;
    let report = feeds.report_of(&name).await?;
    Ok(Json(json!({ "feed": report, "ticket": ticket.to_string() })))
}

/// `DELETE …/feeds/{feed}`: ends a feed for good.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    feeds(&api)?.revoke(&name).await?;
    Ok(Json(json!({ "revoked": name })))
}

/// `PUT …/feeds/{feed}/endpoints/{key}`: puts an endpoint on the list.
pub(crate) async fn allow(
    State(api): State<Arc<Api>>,
    Path((name, key)): Path<(String, String)>,
) -> Result<Json<FeedReport>, ApiError> {
    let key: EndpointKey = key.parse()?;
    let feeds = feeds(&api)?;
    feeds.allow(&name, &[key]).await?;
    report(feeds, &name).await
}

/// `DELETE …/feeds/{feed}/endpoints/{key}`: takes an endpoint off the list.
pub(crate) async fn deny(
    State(api): State<Arc<Api>>,
    Path((name, key)): Path<(String, String)>,
) -> Result<Json<FeedReport>, ApiError> {
    let key: EndpointKey = key.parse()?;
    let feeds = feeds(&api)?;
    feeds.deny(&name, key).await?;
    report(feeds, &name).await
}

/// `DELETE …/feeds/{feed}/endpoints`: takes the list away.
pub(crate) async fn open(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<FeedReport>, ApiError> {
    let feeds = feeds(&api)?;
    feeds.open(&name).await?;
    report(feeds, &name).await
}

/// `PUT …/feeds/{feed}/expiry`: says when a feed ends by itself.
pub(crate) async fn expire(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<FeedReport>, ApiError> {
    let body: ExpiryBody = read_json(body).await?;
    let expires_ms = read_when(&body.expires, now_ms())?;
    let feeds = feeds(&api)?;
    feeds.expire(&name, expires_ms).await?;
    report(feeds, &name).await
}

/// `POST …/feeds/{feed}/rotate`: puts another feed in its place, and answers with a ticket of that one.
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let body: RotateBody = read_json(body).await?;
    let end_ms = match &body.keep {
        // What is never to end is not rotated.
        Some(text) => read_when(text, now_ms())?.ok_or(NoTime).map(Some)?,
        None => None,
    };
    let feeds = feeds(&api)?;
    let ticket = feeds.rotate(&name, end_ms).await?;
    let report = feeds.report_of(&name).await?;
    Ok(Json(json!({ "feed": report, "ticket": ticket.to_string() })))
}

/// The feeds of the node.
fn feeds(api: &Api) -> Result<&Feeds, ApiError> {
    api.node().feeds.as_deref().ok_or(ApiError::NoFeed)
}

/// Answers with how a feed is.
async fn report(feeds: &Feeds, name: &str) -> Result<Json<FeedReport>, ApiError> {
    Ok(Json(feeds.report_of(name).await?))
}
