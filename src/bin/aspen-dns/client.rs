//! Speaks HTTP with a node, and turns what it refuses into errors to print.
//!
//! **Invariant:** the API key goes to the node that was named and to no other: where a node sends
//! requests on to is told, not followed.
//! **Not here:** whose certificates are trusted (`tls`).

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use ureq::{Agent, AsSendBody, Body};

use crate::flags::Flags;
use crate::tls;

/// The API of one node.
#[derive(Debug)]
pub(crate) struct Client {
    /// Sends requests.
    http: Agent,
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
        let http = Agent::config_builder()
            .tls_config(tls::config(flags.ca.as_deref())?)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Ok(Self { http: http.into(), base: base_of(&flags.api, "--api")?, key })
    }

    /// Prepares requests to another node, at `url`, which `flag` gave.
    pub(crate) fn at(&self, url: &str, flag: &str, key: Option<String>) -> anyhow::Result<Self> {
        Ok(Self { http: self.http.clone(), base: base_of(url, flag)?, key })
    }

    /// The key that requests carry.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The node's URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Asks for `path`, which starts with a slash, and reads the JSON body.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path, None)
    }

    /// Asks for `path` as [`Client::get`] does; the answer must be there within `patience`.
    pub(crate) fn get_within(&self, path: &str, patience: Duration) -> anyhow::Result<Value> {
        let request = self.request(Method::GET, path, ())?;
        let request = self.http.configure_request(request).timeout_global(Some(patience)).build();
        read_json(self.send(request)?)
    }

    /// Sends a request, with a JSON body if there is one, and reads the JSON body of the answer.
    pub(crate) fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let response = match body {
            None if method == Method::GET || method == Method::DELETE => {
                self.send(self.request(method, path, ())?)?
            }
            // One without any octets, and not without a length: the node need not wait for its end.
            None => self.send(self.request(method, path, "")?)?,
            Some(body) => {
                let mut request = self.request(method, path, body.to_string())?;
                request.headers_mut().insert(header::CONTENT_TYPE, JSON);
                self.send(request)?
            }
        };
        read_json(response)
    }

    /// Begins a request to `path`, which starts with a slash.
    pub(crate) fn request<B: AsSendBody>(
        &self,
        method: Method,
        path: &str,
        body: B,
    ) -> anyhow::Result<Request<B>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key);
        }
        request.body(body).with_context(|| format!("no request to {} can be made", self.base))
    }

    /// Sends a request; any status but 2xx becomes an error with what the node said.
    pub(crate) fn send(&self, request: Request<impl AsSendBody>) -> anyhow::Result<Response<Body>> {
        let response =
            self.http.run(request).map_err(|error| match tls::fault(&self.base, &error) {
                Some(fault) => anyhow::anyhow!("no answer from {}: {fault}", self.base),
                None => anyhow::Error::from(error).context(format!("no answer from {}", self.base)),
            })?;
        let status = response.status();
        if status.is_success() {
            if let Some(note) = not_served_note(response.headers()) {
                eprintln!("{note}");
            }
            return Ok(response);
        }
        let location = response.headers().get(header::LOCATION);
        if let (true, Some(location)) = (status.is_redirection(), location) {
            bail!(
                "{} sends requests on to {}: give the URL of the node itself",
                self.base,
                String::from_utf8_lossy(location.as_bytes())
            );
        }
        let said = response.into_body().read_to_string().ok().and_then(|text| {
            let body = serde_json::from_str::<Value>(&text).ok()?;
            body["error"].as_str().map(str::to_owned)
        });
        let said = said.unwrap_or_else(|| format!("the node answered {status}"));
        if status == StatusCode::UNAUTHORIZED && self.key.is_none() {
            bail!("{said}: give --api-key, or --data-dir with the node's data directory");
        }
        bail!("{said}");
    }
}

/// Reads a whole body.
pub(crate) fn read(response: Response<Body>) -> anyhow::Result<Vec<u8>> {
    let mut octets = Vec::new();
    response.into_body().into_reader().read_to_end(&mut octets).context("the answer broke off")?;
    Ok(octets)
}

/// Reads a JSON body; an empty one is `null`.
fn read_json(response: Response<Body>) -> anyhow::Result<Value> {
    let octets = read(response)?;
    if octets.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&octets).context("the answer is no JSON")
}

/// Returns scheme and authority of the URL that `flag` gave; without a scheme it is http.
fn base_of(url: &str, flag: &str) -> anyhow::Result<String> {
    let base = url.trim_end_matches('/');
    // A scheme is written in any case (RFC 3986 section 3.1).
    let base = match base.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => format!("http://{base}"),
    };
    if !base.starts_with("http://") && !base.starts_with("https://") {
        bail!("{flag} {base}: the API is spoken to by http:// or https://");
    }
    Ok(base)
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

/// Returns `text` as one segment of a path, where the node reads `=XX` as an octet.
pub(crate) fn segment(text: &str) -> String {
    // Clients resolve "." and ".." segments away; the root zone must survive them.
    if text == "." { "=2E".to_owned() } else { query_value(&text.replace('=', "=3D")) }
}

/// Returns `text` as a value in a query.
pub(crate) fn query_value(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// All but the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a request with a body of ours says of it.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_scheme_is_http_and_others_than_http_are_refused() {
        let base = |url| base_of(url, "--api");
        assert_eq!(base("127.0.0.1:8053").unwrap(), "http://127.0.0.1:8053");
        assert_eq!(base("http://ns1.example:8053/").unwrap(), "http://ns1.example:8053");
        assert_eq!(base("HTTP://ns1.example").unwrap(), "http://ns1.example");
        assert_eq!(base("https://ns1.example/").unwrap(), "https://ns1.example");
        assert!(base("ftp://ns1.example").unwrap_err().to_string().starts_with("--api ftp://"));
    }

    #[test]
    fn a_segment_holds_any_name() {
        assert_eq!(segment("a.example"), "a.example");
        assert_eq!(segment("a\\/b?.example"), "a%5C%2Fb%3F.example");
        assert_eq!(segment("."), "=2E");
        assert_eq!(segment("a=2eb.example"), "a%3D3D2eb.example");
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
