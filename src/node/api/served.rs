//! Holds the reply to a write back until the node itself answers with what was written.
//!
//! Whoever writes a record and asks this node for it next finds it there. The write is committed
//! all the same when that takes longer: then the reply goes out as it is, and says by the header
//! `Aspen-Served-Revision` how far the answers are. `Prefer: wait=S` (RFC 7240 section 4.3) sets
//! how many seconds a reply may be held back, `wait=0` has it sent at once.
//!
//! **Invariant:** no reply is held back for longer than [`API_SERVED_MS_MAX`], or than the client
//! asked for, [`API_WAIT_S_MAX`] at most, and none while the node stops.
//! **Not here:** how a commit gets into the answers (`node::follow`, `replica`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::{Api, REVISION_HEADER};
use crate::limits::{API_SERVED_MS_MAX, API_WAIT_S_MAX};

/// Passes a request on; a reply that says which revision it made waits until that is answered.
pub(crate) async fn hold_back(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response {
    let wait = wait_of(request.headers());
    let mut response = next.run(request).await;
    let revision = response.headers().get(REVISION_HEADER);
    let Some(revision) = revision.and_then(|value| value.to_str().ok()?.parse().ok()) else {
        return response;
    };
    let node = api.node();
    node.commit_times.observe(&node.progress, revision);
    if !wait.is_zero() {
        // A node that stops publishes no more, and what was committed must be acknowledged.
        tokio::select! {
            _ = node.progress.wait(revision, wait) => {}
            () = api.stop.cancelled() => {}
        }
    }
    let served = node.progress.now().served;
    response.headers_mut().insert(SERVED_REVISION_HEADER, HeaderValue::from(served));
    response
}

/// Returns for how long a reply may be held back. A preference that does not read is none (RFC
/// 7240 section 2).
fn wait_of(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all("Prefer").iter().filter_map(|value| value.to_str().ok());
    let seconds = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
        // Parameters follow a semicolon.
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
    });
    match seconds {
        Some(seconds) => Duration::from_secs(u64::from(seconds.min(API_WAIT_S_MAX))),
        None => Duration::from_millis(API_SERVED_MS_MAX),
    }
}

/// The header that says which revision the node answers with.
const SERVED_REVISION_HEADER: HeaderName = HeaderName::from_static("aspen-served-revision");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_sets_the_wait_and_anything_else_leaves_it() {
        let millis = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", HeaderValue::from_static(line));
            }
            wait_of(&headers).as_millis()
        };
        let most = u128::from(API_WAIT_S_MAX) * 1_000;
        for (lines, expected) in [
            (&["wait=0"][..], 0),
            (&["Wait = 7"], 7_000),
            (&["return=minimal, wait=\"2\"; why=a"], 2_000),
            (&["return=minimal", "wait=3"], 3_000),
            (&["wait=3, wait=9"], 3_000),
            (&["wait=300"], most),
            (&["wait=301"], most),
            (&["wait=4294967295"], most),
        ] {
            assert_eq!(millis(lines), expected, "{lines:?}");
        }
        for other in ["", ",", "wait", "wait=", "wait=-1", "wait=1.5", "wait=4294967296", "await=3"]
        {
            assert_eq!(millis(&[other]), u128::from(API_SERVED_MS_MAX), "{other:?}");
        }
        assert_eq!(millis(&[]), u128::from(API_SERVED_MS_MAX));
    }
}
