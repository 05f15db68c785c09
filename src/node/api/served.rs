//! Holds the reply to a write back until the node itself answers with what was written.
//!
//! Whoever writes a record and asks this node for it next finds it there. The write is committed
//! all the same when that takes longer: then the reply goes out as it is, and says by the header
//! `Aspen-Served-Revision` how far the answers are. `Prefer: wait=S` (RFC 7240 section 4.3) sets
//! how many seconds a reply may be held back, `wait=0` has it sent at once; `Prefer: wait=S; edges=all` (or a number,
//! or names in quotes with commas between) holds it back until edges answer with it too, which the header
//! `Aspen-Edges` tells. `Preference-Applied` repeats the seconds that were taken.
//!
//! **Invariant:** no reply is held back for longer than [`API_SERVED_MS_MAX`], or than the client
//! asked for, [`API_WAIT_S_MAX`] at most, and none while the node stops.
//! **Not here:** how a commit gets into the answers (`node::follow`, `replica`), what edges say (`node::everywhere`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::{Api, REVISION_HEADER};
use crate::limits::{API_SERVED_MS_MAX, API_WAIT_S_MAX};
use crate::node::everywhere::{self, EdgesAnswer, EdgesUnknown, WantedEdges};

/// Passes a request on; a reply that says which revision it made waits until that is answered.
pub(crate) async fn hold_back(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response {
    let preferred = Preferred::of(request.headers());
    let mut response = next.run(request).await;
    let revision = response.headers().get(REVISION_HEADER);
    let Some(revision) = revision.and_then(|value| value.to_str().ok()?.parse().ok()) else {
        return response;
    };
    let node = api.node();
    node.commit_times.observe(&node.progress, revision);
    let until = Instant::now() + preferred.wait;
    let waiting = async {
        if !preferred.wait.is_zero() {
            node.progress.wait(revision, preferred.wait).await;
        }
        match &preferred.edges {
            Some(edges) => Some(everywhere::wait(node, edges, revision, until).await),
            None => None,
        }
    };
    // A node that stops publishes no more, and what was committed must be acknowledged.
    let answer = tokio::select! {
        answer = waiting => answer,
        () = api.stop.cancelled() => None,
    };
    let headers = response.headers_mut();
    let applied = preferred.seconds.map(|seconds| format!("wait={seconds}"));
    let texts = [(APPLIED_HEADER, applied), (EDGES_HEADER, answer.and_then(edges_text))];
    for (name, text) in texts {
        if let Some(Ok(value)) = text.as_deref().map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    let served = node.progress.now().served;
    response.headers_mut().insert(SERVED_REVISION_HEADER, HeaderValue::from(served));
    response
}

/// What a client prefers to its reply.
#[derive(Debug)]
struct Preferred {
    /// For how long the reply may be held back.
    wait: Duration,
    /// The seconds of that, if the client has said so.
    seconds: Option<u32>,
    /// The edges that are to answer with it too.
    edges: Option<WantedEdges>,
}

impl Preferred {
    /// Reads the preferences. One that does not read is none (RFC 7240 section 2).
    fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all("Prefer").iter().filter_map(|value| value.to_str().ok());
        let found = lines.flat_map(|line| split(line, ',')).find_map(|preference| {
            let mut parts = split(preference, ';').into_iter();
            let seconds = value_of(parts.next()?, "wait")?.parse::<u32>().ok()?;
            let edges = parts.find_map(|part| value_of(part, "edges"));
            Some((seconds.min(API_WAIT_S_MAX), edges.and_then(|edges| edges.parse().ok())))
        });
        match found {
            Some((seconds, edges)) => {
                let wait = Duration::from_secs(u64::from(seconds));
                Self { wait, seconds: Some(seconds), edges }
            }
            None => {
                let wait = Duration::from_millis(API_SERVED_MS_MAX);
                Self { wait, seconds: None, edges: None }
            }
        }
    }
}

/// Splits a text where a character stands outside of quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|c| {
        is_quoted ^= c == '"';
        c == at && !is_quoted
    })
    .collect()
}

/// Returns the value of a preference or parameter of that name, without its quotes.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = text.split_once('=')?;
    found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
}

/// Says how many edges answer with a write, and which do not; nothing at a node that no edge follows.
fn edges_text(answer: Result<EdgesAnswer, EdgesUnknown>) -> Option<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(EdgesUnknown::NoFleet) => return None,
        // What was committed must be acknowledged: who sends it again might find it refused.
        Err(EdgesUnknown::Elsewhere { holder }) => {
            return Some(format!("unknown, holder=\"{holder}\""));
        }
        Err(EdgesUnknown::Frozen { revision }) => {
            return Some(format!("frozen, revision={revision}"));
        }
        Err(EdgesUnknown::Nobody | EdgesUnknown::Beginning) => return Some("unknown".to_owned()),
    };
    let EdgesAnswer { answered, wanted, silent, lagging, .. } = &answer;
    let mut text = format!("answered={answered}, wanted={wanted}, silent={silent}");
    if !answer.is_reached() {
        let names = lagging.iter().take(LAGGING_TOLD_MAX).map(|edge| edge.edge.as_str());
        text.push_str(&format!(", lagging=\"{}\"", names.collect::<Vec<_>>().join(" ")));
    }
    Some(text)
}

/// The header that says which revision the node answers with.
const SERVED_REVISION_HEADER: HeaderName = HeaderName::from_static("aspen-served-revision");
/// The header that says which preference was taken (RFC 7240 section 3).
const APPLIED_HEADER: HeaderName = HeaderName::from_static("preference-applied");
/// The header that says how many edges answer with a write.
const EDGES_HEADER: HeaderName = HeaderName::from_static("aspen-edges");
/// Edges that a header names.
const LAGGING_TOLD_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_at_an_authority_that_stands_by_says_whom_to_ask() {
        let holder = "0a1b".to_owned();
        let text = edges_text(Err(EdgesUnknown::Elsewhere { holder }));
        assert_eq!(text.as_deref(), Some("unknown, holder=\"0a1b\""));
        assert_eq!(edges_text(Err(EdgesUnknown::Beginning)).as_deref(), Some("unknown"));
        assert_eq!(edges_text(Err(EdgesUnknown::NoFleet)), None);
        let frozen = edges_text(Err(EdgesUnknown::Frozen { revision: 7 }));
        assert_eq!(frozen.as_deref(), Some("frozen, revision=7"));
    }

    #[test]
    fn edges_are_a_parameter_of_the_wait() {
        let edges = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append("prefer", HeaderValue::from_static(line));
            let preferred = Preferred::of(&headers);
            (preferred.seconds, preferred.edges)
        };
        let named = |names: &[&str]| {
            Some(WantedEdges::Named(names.iter().map(|name| (*name).to_owned()).collect()))
        };
        assert_eq!(edges("wait=10; edges=all"), (Some(10), Some(WantedEdges::All)));
        assert_eq!(edges("a, wait=10 ; Edges = \"2\""), (Some(10), Some(WantedEdges::Count(2))));
        let two = "wait=10; why=\"x;edges=all\"; edges=\"a,b\", wait=3";
        assert_eq!(edges(two), (Some(10), named(&["a", "b"])));
        assert_eq!(edges("wait=10; edges=a,b"), (Some(10), named(&["a"])), "b is a preference");
        assert_eq!(edges("wait=10; edges=0"), (Some(10), None), "one that does not read is none");
        assert_eq!(edges("edges=all"), (None, None), "it is no preference of its own");
    }

    #[test]
    fn a_preference_sets_the_wait_and_anything_else_leaves_it() {
        let millis = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", HeaderValue::from_static(line));
            }
            Preferred::of(&headers).wait.as_millis()
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
