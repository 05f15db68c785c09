//! `aspen-dns fleet`: the edges behind a node, and forgetting those that are gone.

use serde_json::Value;
use ureq::http::Method;

use crate::client::{Client, segment};
use crate::output;

/// Prints the edges, or forgets one.
pub(crate) fn run(client: &Client, forget: Option<&str>, is_json: bool) -> anyhow::Result<()> {
    let Some(edge) = forget else { return list(client, is_json) };
    let path = format!("/api/v1/aspen/edges/{}", segment(edge));
    let answer = client.json(Method::DELETE, &path, None)?;
    if is_json {
        return output::print_json(&answer);
    }
    let keys: Vec<&str> =
        answer["forgotten"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    output::print(format!("{} is forgotten\n", keys.join(" ")))
}

/// Prints the edges.
fn list(client: &Client, is_json: bool) -> anyhow::Result<()> {
    let fleet = client.get("/api/v1/aspen/edges")?;
    if is_json {
        return output::print_json(&fleet);
    }
    output::print(text(&fleet))
}

/// Writes the edges as a table, what is wrong with them, and how many there are.
fn text(fleet: &Value) -> String {
    let edges: Vec<&Value> = fleet["edges"].as_array().into_iter().flatten().collect();
    let mut out = String::new();
    if !edges.is_empty() {
        let head =
            ["EDGE", "STATUS", "REVISION", "BEHIND", "LAG", "QPS", "VERSION", "SEEN AT", "VIA"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(edges.iter().map(|edge| row(edge, &edges)));
        out.push_str(&output::table(&rows));
    }
    for edge in &edges {
        let count = |field: &str| edge[field].as_u64().unwrap_or(0);
        let (held, differing) = (count("held_zones"), count("differing_zones"));
        if held + differing + count("refused") > 0 {
            let reason = edge["reason"].as_str().map(|reason| format!("; {reason}"));
            out.push_str(&format!(
                "{}: {held} zones held, {differing} differ, {} refused{}\n",
                name_of(edge),
                count("refused"),
                reason.unwrap_or_default()
            ));
        }
    }
    out.push_str(&format!("{} edges are heard, {} are silent", fleet["heard"], fleet["silent"]));
    if fleet["left_out"].as_u64() > Some(0) {
        out.push_str(&format!(", {} more find no room here", fleet["left_out"]));
    }
    out.push('\n');
    out
}

/// Returns the row of an edge.
fn row(edge: &Value, edges: &[&Value]) -> Vec<String> {
    let text = |field: &str| edge[field].as_str().unwrap_or("-").to_owned();
    let number = |field: &str, unit: &str| match edge[field].as_u64() {
        Some(number) => format!("{number}{unit}"),
        None => "-".to_owned(),
    };
    let status = match edge["is_heard"].as_bool() {
        Some(true) => text("status"),
        _ => format!("silent {} s", edge["heard_ms"].as_u64().unwrap_or(0) / 1_000),
    };
    let via = edge["via"].as_str().map_or("-".to_owned(), |via| {
        edges
            .iter()
            .find(|other| other["id"] == via)
            .map_or_else(|| short(via), |other| name_of(other))
    });
    vec![
        name_of(edge),
        status,
        number("served_revision", ""),
        number("behind_revisions", ""),
        number("lag_ms", " ms"),
        number("queries_per_s", ""),
        text("version"),
        text("address"),
        via,
    ]
}

/// What an edge is called: its name, or how its key begins.
fn name_of(edge: &Value) -> String {
    match edge["name"].as_str() {
        Some(name) => name.to_owned(),
        None => short(edge["id"].as_str().unwrap_or("?")),
    }
}

/// How a key begins, as it can be given where an edge is named.
fn short(key: &str) -> String {
    key.chars().take(ID_DIGITS_SHOWN).collect()
}

/// Digits of a key that stand for it.
const ID_DIGITS_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edges_line_up_and_what_is_wrong_with_one_is_told() {
        let fleet = json!({
            "heard": 1, "silent": 1, "left_out": 0,
            "edges": [
                {
                    "id": "00112233445566", "name": "ams-1", "is_heard": true, "heard_ms": 3,
                    "status": "Synced", "served_revision": 42, "behind_revisions": 0, "lag_ms": 0,
                    "queries_per_s": 250, "version": "0.1.0", "address": "192.0.2.1:53",
                    "held_zones": 0, "differing_zones": 0, "refused": 0,
                },
                {
                    "id": "aabbccddeeff0011", "is_heard": false, "heard_ms": 61_500,
                    "status": "Synced", "served_revision": 40, "behind_revisions": 2,
                    "lag_ms": 61_700, "via": "00112233445566",
                    "held_zones": 1, "reason": "a.example.: is not here yet",
                },
            ],
        });
        let out = text(&fleet);
        let expected = "\
EDGE        STATUS       REVISION  BEHIND  LAG       QPS  VERSION  SEEN AT       VIA
ams-1       Synced       42        0       0 ms      250  0.1.0    192.0.2.1:53  -
aabbccddee  silent 61 s  40        2       61700 ms  -    -        -             ams-1
aabbccddee: 1 zones held, 0 differ, 0 refused; a.example.: is not here yet
1 edges are heard, 1 are silent
";
        assert_eq!(out, expected);
        let none = json!({"heard": 0, "silent": 0, "left_out": 3, "edges": []});
        assert_eq!(text(&none), "0 edges are heard, 0 are silent, 3 more find no room here\n");
    }
}
