//! `aspen-dns feed freeze|thaw|frozen`: whether anything goes out to edges.

use serde_json::Value;
use ureq::http::Method;

use crate::client::Client;
use crate::output;

/// Asks for a freeze (PUT), a thaw (DELETE) or which of both it is (GET).
pub(crate) fn run(client: &Client, method: Method, is_json: bool) -> anyhow::Result<()> {
    let answer = client.json(method, "/api/v1/aspen/freeze", None)?;
    if is_json {
        return output::print_json(&answer);
    }
    output::print(text(&answer))
}

/// Says whether feeds are frozen, and where.
fn text(answer: &Value) -> String {
    if answer["frozen"] != true {
        return "the feeds are not frozen\n".to_owned();
    }
    let at = answer["exported_revision"].as_u64().or_else(|| answer["revision"].as_u64());
    let at = at.unwrap_or_default();
    format!("the feeds are frozen at revision {at}; the store is at {}\n", answer["store_revision"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_feeds_are_frozen_is_told() {
        assert_eq!(text(&json!({"frozen": false})), "the feeds are not frozen\n");
        let mut answer = json!({"frozen": true, "revision": 7, "store_revision": 9});
        assert_eq!(text(&answer), "the feeds are frozen at revision 7; the store is at 9\n");
        answer["exported_revision"] = json!(8);
        assert_eq!(text(&answer), "the feeds are frozen at revision 8; the store is at 9\n");
    }
}
