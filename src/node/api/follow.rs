//! How an edge follows its feed that was started to follow behind: holding, catching up, going back to it.
//!
//! **Not here:** what is held back (`replica`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Api, Path};
use crate::replica::{FollowMode, FollowModeError};

/// `GET …/follow`: what is held back.
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let client = api.node().client.as_ref();
    let behind = client.and_then(|client| client.behind());
    let behind = behind.ok_or(ApiError::Follow(FollowModeError::NotBehind))?;
    Ok(Json(json!(behind)))
}

/// `PUT …/follow/{mode}`: `hold` stays where it is, `release` catches up at once, `resume` follows behind again.
pub(crate) async fn set(
    State(api): State<Arc<Api>>,
    Path(mode): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mode = match mode.as_str() {
        "hold" => FollowMode::Held,
        "release" => FollowMode::Released,
        "resume" => FollowMode::Behind,
        _ => return Err(ApiError::NoSuchPath),
    };
    let client = api.node().client.clone();
    let client = client.ok_or(ApiError::Follow(FollowModeError::NotBehind))?;
    let setting = tokio::task::spawn_blocking(move || client.set_follow_mode(mode));
    setting.await.unwrap_or(Ok(()))?;
    show(State(api)).await
}
