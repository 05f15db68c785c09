//! Freezing the feeds, so that every edge keeps what it serves, and thawing them.
//!
//! **Not here:** what the writers of feeds do then (`export`), who waits for edges (`node::everywhere`).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;
use crate::limits::FREEZE_TOLD_MS_MAX;
use crate::store::history::Freeze;

/// `GET …/freeze`: whether the feeds are frozen.
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let store = api.node().store.as_ref().ok_or(ApiError::NoFeed)?;
    let freeze = store.look_at_freeze().await.map_err(crate::store::StoreError::from)?;
    Ok(Json(body(freeze, store.revision().await?, None)))
}

/// `PUT …/freeze`: nothing that is committed from now on goes out to edges.
pub(crate) async fn freeze(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    set(&api, true).await
}

/// `DELETE …/freeze`: what was committed meanwhile goes out.
pub(crate) async fn thaw(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    set(&api, false).await
}

/// Freezes or thaws, and waits for a moment until the writer of the feed has heard it, if that is this node.
async fn set(api: &Api, is_wanted: bool) -> Result<Json<Value>, ApiError> {
    let node = api.node();
    let (Some(store), Some(feeds)) = (&node.store, &node.feeds) else {
        return Err(ApiError::NoFeed);
    };
    let freeze = store.set_freeze(is_wanted).await?;
    let mut status = feeds.main().status();
    let heard = status.wait_for(|status| status.is_frozen == is_wanted);
    let limit = Duration::from_millis(FREEZE_TOLD_MS_MAX);
    let heard = tokio::time::timeout(limit, heard).await;
    let at = heard.ok().and_then(Result::ok).map(|status| status.revision.revision);
    Ok(Json(body(freeze, store.revision().await?, at)))
}

/// Says whether the feeds are frozen, and where the feed with all zones stands, if this node has heard it.
fn body(freeze: Option<Freeze>, store_revision: u64, at: Option<u64>) -> Value {
    json!({
        "frozen": freeze.is_some(),
        "since_ms": freeze.map(|freeze| freeze.since_ms),
        "revision": freeze.map(|freeze| freeze.revision),
        "exported_revision": at,
        "store_revision": store_revision,
    })
}
