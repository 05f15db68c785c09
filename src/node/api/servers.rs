//! The paths around the zones: versions, the one server, its configuration and statistics, and
//! the search over all records.
//!
//! **Not here:** zones and records (`api::zones`, `api::records`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::error::ApiError;
use super::powerdns::{contents, parse_zone_id, zone_id};
use super::{Api, Path, check_server};
use crate::limits::API_PAGE_MAX;
use crate::name::Name;
use crate::node::metrics;
use crate::node::status::Status;
use crate::record::Rrset;

/// `GET /api`: the versions of the API.
pub(crate) async fn versions() -> Json<Value> {
    Json(json!([{ "url": "/api/v1", "version": 1, "compatibility": 1 }]))
}

/// `GET /api/v1`: the same, as one object.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "server_url": "/api/v1/servers{/server}", "api_features": ["aspen"] }))
}

/// `GET /api/v1/servers`.
pub(crate) async fn servers() -> Json<Value> {
    Json(json!([server_value()]))
}

/// `GET /api/v1/servers/localhost`.
pub(crate) async fn server(Path(server): Path<String>) -> Result<Json<Value>, ApiError> {
    check_server(&server)?;
    Ok(Json(server_value()))
}

/// `GET …/config`: what the node was started with.
pub(crate) async fn config(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_server(&server)?;
    let setting =
        |name: &str, value: &str| json!({ "name": name, "type": "ConfigSetting", "value": value });
    Ok(Json(json!([
        setting("api", "yes"),
        setting("launch", "aspen"),
        setting("enable-lua-records", "no"),
        setting("role", api.node().role),
    ])))
}

/// `GET …/statistics`: the numbers of `/metrics`, in PowerDNS's shape.
pub(crate) async fn statistics(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_server(&server)?;
    let items: Vec<Value> = metrics::statistics(&Status::of(api.node()).await)
        .into_iter()
        .map(|(name, value)| {
            json!({ "name": name, "type": "StatisticItem", "value": value.to_string() })
        })
        .collect();
    Ok(Json(Value::Array(items)))
}

/// `GET …/metadata`, `…/tsigkeys`, `…/autoprimaries`: there are none.
pub(crate) async fn empty_list() -> Json<Value> {
    Json(json!([]))
}

/// `PUT …/zones/{zone}/notify`: every change is told at once, so there is nothing to do.
pub(crate) async fn notify(
    State(api): State<Arc<Api>>,
    Path((server, zone)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    check_server(&server)?;
    api.zones().zone(&parse_zone_id(&zone)?).await?;
    Ok(Json(json!({ "result": "Notification queued" })))
}

/// `GET …/search-data?q=…&max=…&object_type=…`.
pub(crate) async fn search(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    check_server(&server)?;
    let _permit = api.long_permit()?;
    let pattern = query.get("q").map_or("", String::as_str).to_ascii_lowercase();
    let wanted = query.get("object_type").map_or("all", String::as_str);
    let max = match query.get("max") {
        Some(text) => text.parse::<u32>().map_err(|_| ApiError::BadValue {
            field: "max",
            value: text.clone(),
            wanted: "a number",
        })?,
        None => SEARCH_RESULTS_DEFAULT,
    };
    let max = max.min(API_PAGE_MAX) as usize;
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = api.zones().list(cursor, API_PAGE_MAX).await?;
        for zone in &page.zones {
            if found.len() >= max {
                return Ok(Json(Value::Array(found)).into_response());
            }
            if wanted != "record" && wanted != "comment" && is_match(&pattern, &zone.apex.to_fqdn())
            {
                let id = zone_id(&zone.apex);
                found.push(
                    json!({ "object_type": "zone", "name": zone.apex.to_fqdn(), "zone_id": id }),
                );
            }
            if wanted != "zone" && wanted != "comment" {
                search_zone(&api, &zone.apex, &pattern, max, &mut found).await?;
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(Json(Value::Array(found)).into_response()),
        }
    }
}

/// Adds the records of one zone that match.
async fn search_zone(
    api: &Api,
    apex: &Name,
    pattern: &str,
    max: usize,
    found: &mut Vec<Value>,
) -> Result<(), ApiError> {
    let mut pages = api.zones().rrsets(apex).await?;
    while let Some(page) = pages.next().await? {
        for rrset in &page {
            search_rrset(apex, rrset, pattern, found);
            if found.len() >= max {
                found.truncate(max);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Adds the records of one RRset that match by owner name or content.
fn search_rrset(apex: &Name, rrset: &Rrset, pattern: &str, found: &mut Vec<Value>) {
    let owner = rrset.owner.to_fqdn();
    let is_owner = is_match(pattern, &owner);
    for content in contents(rrset.rtype, &rrset.rdata) {
        if is_owner || is_match(pattern, &content.to_ascii_lowercase()) {
            found.push(json!({
                "object_type": "record",
                "name": owner,
                "type": rrset.rtype.to_string(),
                "content": content,
                "ttl": rrset.ttl_s,
                "disabled": false,
                "zone": apex.to_fqdn(),
                "zone_id": zone_id(apex),
            }));
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters and `?` for one.
///
/// Goes back to the last `*` only, so the time is at most the product of both lengths. A final
/// dot of `text` need not be matched.
fn is_match(pattern: &str, text: &str) -> bool {
    let without_dot = text.strip_suffix('.').unwrap_or(text);
    is_match_exactly(pattern.as_bytes(), text.as_bytes())
        || is_match_exactly(pattern.as_bytes(), without_dot.as_bytes())
}

/// Matches all of `text`.
fn is_match_exactly(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&octet) if octet == b'?' || octet == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_p, star_t)) = star else { return false };
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
        }
    }
    pattern[p..].iter().all(|&octet| octet == b'*')
}

/// Writes the one server.
fn server_value() -> Value {
    json!({
        "type": "Server",
        "id": "localhost",
        "daemon_type": "authoritative",
        "version": POWERDNS_VERSION,
        "aspen_version": env!("CARGO_PKG_VERSION"),
        "url": "/api/v1/servers/localhost",
        "config_url": "/api/v1/servers/localhost/config{/config_setting}",
        "zones_url": "/api/v1/servers/localhost/zones{/zone}",
    })
}

/// The version of PowerDNS whose API this is; clients compare it with what they need.
const POWERDNS_VERSION: &str = "5.0.2";
/// Results of a search that names no number.
const SEARCH_RESULTS_DEFAULT: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, matches) in [
            ("*", "a.example.", true),
            ("a.example", "a.example.", true),
            ("a.example.", "a.example.", true),
            ("*.exa?ple", "b.a.example.", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("", "a", false),
            ("a?", "a", false),
        ] {
            assert_eq!(is_match(pattern, text), matches, "{pattern} {text}");
        }
        let hard = format!("{}b", "*a".repeat(20));
        assert!(!is_match(&hard, &"a".repeat(4_000)));
    }
}
