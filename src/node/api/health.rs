//! What a supervisor and a load balancer ask, without a key: does it work, does it serve what it should?
//!
//! **Invariant:** nothing is waited for, and nothing is said but which part is broken.
//! **Not here:** how that is found (`node::health`, `node::watchdog`).

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Api;

/// `GET /healthz`: 200 when every part works.
pub(crate) async fn health(State(api): State<Arc<Api>>) -> Response {
    answer(api.node().faults())
}

/// `GET /readyz`: 200 when the node serves what it should.
pub(crate) async fn ready(State(api): State<Arc<Api>>) -> Response {
    answer(api.node().unready())
}

/// Answers for a node whose store was not reached yet.
pub(crate) fn early(is_answering: bool) -> Response {
    let wrong = (!is_answering).then_some("the store was not reached yet");
    let mut response = answer(wrong);
    // The next request is for the whole API, which has a listener of its own.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers "ok", or a line for each thing that is not.
fn answer(wrong: impl IntoIterator<Item = impl Display>) -> Response {
    let text: String = wrong.into_iter().map(|wrong| format!("{wrong}\n")).collect();
    match text.is_empty() {
        true => (StatusCode::OK, "ok\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}
