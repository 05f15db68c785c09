//! The edges behind a node: what they serve, and forgetting those that are gone.
//!
//! **Not here:** the numbers themselves (`node::fleet`), their names for Prometheus (`node::metrics`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Api, Path};
use crate::node::fleet::{self, FleetStatus, ForgetError};

/// `GET …/edges`.
pub(crate) async fn edges(State(api): State<Arc<Api>>) -> Result<Json<FleetStatus>, ApiError> {
    FleetStatus::of(api.node()).await.map(Json).ok_or(ApiError::NoFleet)
}

/// `DELETE …/edges/{edge}`: forgets an edge that is silent, by its name or its key.
pub(crate) async fn forget(
    State(api): State<Arc<Api>>,
    Path(edge): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let forgotten = fleet::forget(api.node(), &edge).await;
    let edge = edge.chars().take(NAME_SHOWN_MAX).collect();
    match forgotten {
        Ok(forgotten) => Ok(Json(json!({ "forgotten": forgotten }))),
        Err(ForgetError::Unknown) => Err(ApiError::NoSuchEdge { edge }),
        Err(ForgetError::IsHeard) => Err(ApiError::EdgeIsHeard { edge }),
    }
}

/// Characters of what was asked for that an error repeats.
const NAME_SHOWN_MAX: usize = 80;
