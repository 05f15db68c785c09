//! `aspen-dns status` and `wait`.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, query_value};
use crate::output;

/// Prints the node's state.
pub(crate) fn run(client: &Client, is_json: bool) -> anyhow::Result<()> {
    let status = client.get("/api/v1/aspen/status")?;
    if is_json {
        return output::print_json(&status);
    }
    let mut rows = Vec::new();
    flatten("", &status, &mut rows);
    output::print(format!("{}{}", output::table(&rows), sync_lines(&status["sync"])))
}

/// Waits until the node serves a revision, and edges do.
pub(crate) fn wait(
    client: &Client,
    (revision, edges): (Option<u64>, Option<&str>),
    timeout_s: f64,
    is_json: bool,
) -> anyhow::Result<()> {
    let revision = revision.map(|revision| format!("&revision={revision}")).unwrap_or_default();
    let edges = edges.map(|edges| format!("&edges={}", query_value(edges))).unwrap_or_default();
    let path = format!("/api/v1/aspen/wait?timeout={timeout_s}{revision}{edges}");
    let patience = Duration::from_secs_f64(timeout_s + ANSWER_MARGIN_S);
    let answer = client.get_within(&path, patience)?;
    if is_json {
        return output::print_json(&answer);
    }
    output::print(served_line(&answer))
}

/// Says what is served, and by how many edges.
fn served_line(answer: &Value) -> String {
    let edges = &answer["edges"];
    let Some(answered) = edges["answered"].as_u64() else {
        return format!("revision {} is served\n", answer["served_revision"]);
    };
    let silent = match edges["silent"].as_u64() {
        Some(0) | None => String::new(),
        Some(silent) => format!(", {silent} are silent"),
    };
    let behind = edges["behind_on_purpose"].as_array().map_or(0, Vec::len);
    let behind = match behind {
        0 => String::new(),
        behind => format!(", {behind} follow behind on purpose"),
    };
    format!("revision {} is served by {answered} edges{silent}{behind}\n", answer["revision"])
}

/// Says in sentences how an edge follows a feed with a log; nothing of any other node.
fn sync_lines(sync: &Value) -> String {
    let Some(history) = sync["history"].as_str() else { return String::new() };
    let (served, heard) = (&sync["served_revision"], &sync["heard_revision"]);
    let status = sync["status"].as_str().unwrap_or("?");
    let mut lines = format!("\n{status}: revision {served} of {heard}, history {history}\n");
    lines.push_str(&match (sync["beat_age_ms"].as_u64(), &sync["upstream"]["is_author"]) {
        (None, _) => match sync["silence_ms"].as_u64() {
            Some(silence_ms) if silence_ms >= SILENCE_TOLD_MS => format!(
                "nothing was heard of the author since the start, nor for {} s in all\n",
                silence_ms / 1_000
            ),
            _ => "nothing was heard of the author yet\n".to_owned(),
        },
        (Some(age_ms), Value::Bool(true)) => format!("the author was heard {age_ms} ms ago\n"),
        (Some(age_ms), _) => {
            format!("the author was heard {age_ms} ms ago, through another edge\n")
        }
    });
    let differing: Vec<&str> =
        sync["differing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_whole = sync["differs_as_a_whole"] == false;
    lines.push_str(&match (differing.is_empty(), is_whole) {
        (true, true) => format!(
            "{} zones, none known to differ from the author's; {} proofs\n",
            sync["zones"], sync["proofs"]
        ),
        (true, false) => "the zones together DIFFER from the author's\n".to_owned(),
        (false, _) => format!("zones that DIFFER from the author's: {}\n", differing.join(" ")),
    });
    lines
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

/// Milliseconds of silence from which on it is told: an edge that starts has heard nobody yet.
const SILENCE_TOLD_MS: u64 = 5_000;
/// Seconds after its timeout that the node may still need to say so.
const ANSWER_MARGIN_S: f64 = 5.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_many_edges_serve_a_revision_is_told_and_how_many_are_silent() {
        let mut answer = json!({"revision": 7, "served_revision": 8});
        assert_eq!(served_line(&answer), "revision 8 is served\n");
        answer["edges"] = json!({"answered": 2, "silent": 0});
        assert_eq!(served_line(&answer), "revision 7 is served by 2 edges\n");
        answer["edges"]["silent"] = json!(1);
        assert_eq!(served_line(&answer), "revision 7 is served by 2 edges, 1 are silent\n");
    }

    #[test]
    fn an_edge_says_in_sentences_whether_it_agrees_with_the_author() {
        let mut sync = json!({
            "status": "Synced", "served_revision": 4, "heard_revision": 4, "history": "1-ab",
            "beat_age_ms": 210, "upstream": {"is_author": true}, "zones": 3, "proofs": 9,
            "differing": [], "differs_as_a_whole": false,
        });
        let text = sync_lines(&sync);
        assert!(text.contains("Synced: revision 4 of 4, history 1-ab\n"), "{text}");
        assert!(text.contains("heard 210 ms ago\n") && text.contains("none known"), "{text}");
        sync["differing"] = json!(["a.example.", "b.example."]);
        assert!(sync_lines(&sync).contains("DIFFER from the author's: a.example. b.example.\n"));
        assert_eq!(sync_lines(&json!({"status": "Syncing"})), "");
        assert_eq!(sync_lines(&Value::Null), "");
    }
}
