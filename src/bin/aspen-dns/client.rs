//! Speaks HTTP with a node, and turns what it refuses into errors to print.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::flags::Flags;

/// A connection to the API of one node.
#[derive(Debug)]
pub(crate) struct Client {
    /// Sends requests.
    http: reqwest::Client,
    /// Scheme and authority, without the slash that would follow.
    base: String,
    /// The API key, if one was given or found.
    key: Option<String>,
}

impl Client {
    /// Prepares requests to the node that the flags name.
    pub(crate) fn new(flags: &Flags) -> anyhow::Result<Self> {
        let key = match &flags.api_key {
            Some(key) => Some(key.clone()),
            None => key_in(&flags.data_dir)?,
        };
        Self::to(&flags.api, "--api", key)
    }

    /// Prepares requests to the node at `url`, which `flag` gave.
    pub(crate) fn to(url: &str, flag: &str, key: Option<String>) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        if !base.starts_with("http://") {
            bail!("{flag} {base}: the API speaks plain HTTP (put TLS in front of it with a proxy)");
        }
        // The HTTP library insists on one, although no TLS is spoken. One that is there will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .context("no HTTP client")?;
        Ok(Self { http, base, key })
    }

    /// The key that requests carry.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The node's URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Begins a request to `path`, which starts with a slash.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.header("X-API-Key", key),
            None => request,
        }
    }

    /// Sends a request; any status but 2xx becomes an error with what the node said.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("no answer from {}", self.base))?;
        let status = response.status();
        if status.is_success() {
            if let Some(note) = not_served_note(response.headers()) {
                eprintln!("{note}");
            }
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let said = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|body| body["error"].as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("the node answered {status}"));
        if status == StatusCode::UNAUTHORIZED && self.key.is_none() {
            bail!("{said}: give --api-key, or --data-dir with the node's data directory");
        }
        bail!("{said}");
    }

    /// Sends a request and reads its JSON body; an empty body is `null`.
    pub(crate) async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let octets = self.send(request).await?.bytes().await.context("the answer broke off")?;
        if octets.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&octets).context("the answer is no JSON")
    }

    /// Asks for `path` and reads the JSON body.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(self.request(Method::GET, path)).await
    }
}

/// Returns the key that a node left in its data directory; none when there is no such file.
pub(crate) fn key_in(data_dir: &Path) -> anyhow::Result<Option<String>> {
    let path = data_dir.join("api-key");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Returns what to say of a write that is committed, and that the node does not answer with yet.
fn not_served_note(headers: &HeaderMap) -> Option<String> {
    let revision = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let (made, served) = (revision("aspen-revision")?, revision("aspen-served-revision")?);
    (served < made).then(|| {
        format!("revision {made} is committed, but answers are at {served}: see `aspen-dns wait`")
    })
}

/// Returns `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    // Clients resolve "." and ".." segments away; the root zone must survive them.
    if text == "." { "=2E".to_owned() } else { query_value(text) }
}

/// Returns `text` as a value in a query.
pub(crate) fn query_value(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// All but the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_segment_holds_any_name() {
        assert_eq!(segment("a.example"), "a.example");
        assert_eq!(segment("a\\/b?.example"), "a%5C%2Fb%3F.example");
        assert_eq!(segment("."), "=2E");
        assert_eq!(query_value("."), ".");
        assert_eq!(query_value("a-b_c~d+ä"), "a-b_c~d%2B%C3%A4");
    }

    #[test]
    fn a_write_that_is_not_answered_yet_is_told() {
        let note = |made: &'static str, served: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("aspen-revision", HeaderValue::from_static(made));
            headers.insert("aspen-served-revision", HeaderValue::from_static(served));
            not_served_note(&headers)
        };
        assert!(note("7", "6").unwrap().contains("revision 7 is committed, but answers are at 6"));
        for (made, served) in [("7", "7"), ("7", "8"), ("7", ""), ("", "7"), ("7", "x")] {
            assert_eq!(note(made, served), None, "{made} {served}");
        }
    }
}
