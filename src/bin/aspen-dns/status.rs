//! `aspen-dns status` and `wait`.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::client::Client;
use crate::output;

/// Prints the node's state.
pub(crate) async fn run(client: &Client, is_json: bool) -> anyhow::Result<()> {
    let status = client.get("/api/v1/aspen/status").await?;
    if is_json {
        return output::print_json(&status);
    }
    let mut rows = Vec::new();
    flatten("", &status, &mut rows);
    output::print(&output::table(&rows))
}

/// Waits until the node serves `revision`.
pub(crate) async fn wait(
    client: &Client,
    revision: Option<u64>,
    timeout_s: f64,
    is_json: bool,
) -> anyhow::Result<()> {
    let revision = revision.map(|revision| format!("&revision={revision}")).unwrap_or_default();
    let path = format!("/api/v1/aspen/wait?timeout={timeout_s}{revision}");
    let patience = Duration::from_secs_f64(timeout_s + ANSWER_MARGIN_S);
    let answer = client.json(client.request(Method::GET, &path).timeout(patience)).await?;
    if is_json {
        return output::print_json(&answer);
    }
    output::print(&format!("revision {} is served\n", answer["served_revision"]))
}

/// Makes rows of `value`: one for each leaf, named by its path.
fn flatten(prefix: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{field}"), value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push(vec![prefix.to_owned(), text.clone()]),
        Value::Array(values) => {
            let texts: Vec<String> = values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            rows.push(vec![prefix.to_owned(), texts.join(" ")]);
        }
        other => rows.push(vec![prefix.to_owned(), other.to_string()]),
    }
}

/// Seconds after its timeout that the node may still need to say so.
const ANSWER_MARGIN_S: f64 = 5.0;
