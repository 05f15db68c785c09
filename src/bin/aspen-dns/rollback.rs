//! `aspen-dns feed rollback`: zones as they were at a revision, as a new one.

use aspen_dns::name::Name;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::Client;
use crate::feed_flags::RollbackFlags;
use crate::output;

/// Goes back, or asks what would be done.
pub(crate) fn run(client: &Client, flags: &RollbackFlags, is_json: bool) -> anyhow::Result<()> {
    let mut body = json!({ "revision": flags.revision, "dry_run": flags.dry_run });
    if !flags.zones.is_empty() {
        let zones: Vec<String> = flags.zones.iter().map(Name::to_fqdn).collect();
        body["zones"] = json!(zones);
    }
    let answer = client.json(Method::POST, "/api/v1/aspen/rollback", Some(&body))?;
    if is_json {
        return output::print_json(&answer);
    }
    output::print(text(&answer))
}

/// Says what was done, a line for each zone.
fn text(answer: &Value) -> String {
    let zones = answer["zones"].as_array().map_or(&[][..], Vec::as_slice);
    let back = &answer["rolled_back_to"];
    if zones.is_empty() {
        return format!("nothing to do: the zones are what they were at revision {back}\n");
    }
    let mut rows = vec![["ZONE", "", "PUT", "REMOVED", "SERIAL", ""].map(str::to_owned).to_vec()];
    rows.extend(zones.iter().map(row));
    let mut text = output::table(&rows);
    let count = answer["zone_count"].as_u64().unwrap_or_default();
    if count > zones.len() as u64 {
        text.push_str(&format!("and {} more zones\n", count - zones.len() as u64));
    }
    text.push_str(&match answer["is_dry_run"] == true {
        true => format!(
            "{count} zones would be what they were at revision {back}; nothing is changed\n"
        ),
        false => format!(
            "{count} zones are what they were at revision {back}, revision {}\n",
            answer["revision"]
        ),
    });
    if !answer["frozen_revision"].is_null() {
        text.push_str(&format!(
            "the feeds are frozen at revision {}: edges get it when they are thawed (aspen-dns feed thaw)\n",
            answer["frozen_revision"]
        ));
    }
    text
}

/// Writes what was done to one zone.
fn row(zone: &Value) -> Vec<String> {
    let number =
        |field: &str| zone[field].as_u64().map_or_else(|| "-".to_owned(), |n| n.to_string());
    let serial = match (zone["serial_before"].as_u64(), zone["serial"].as_u64()) {
        (Some(before), Some(serial)) => format!("{before} -> {serial}"),
        _ => number("serial"),
    };
    let mut more = Vec::new();
    if zone["is_settings_changed"] == true && zone["step"] == "changed" {
        more.push("settings");
    }
    match (zone["was_served"] == true, zone["is_served"] == true) {
        (true, false) if zone["step"] != "deleted" => more.push("disabled"),
        (false, true) if zone["step"] != "brought back" => more.push("enabled"),
        _ => {}
    }
    let word = |field: &str| zone[field].as_str().unwrap_or("?").to_owned();
    vec![word("zone"), word("step"), number("put"), number("removed"), serial, more.join(", ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_zone_has_a_line_that_says_what_becomes_of_it() {
        let mut answer = json!({
            "rolled_back_to": 7, "revision": 12, "is_dry_run": true, "frozen_revision": null,
            "zone_count": 4, "zones": [
                {"zone": "a.example.", "step": "changed", "put": 2, "removed": 1, "serial_before": 3,
                 "serial": 4, "was_served": true, "is_served": false, "is_settings_changed": true},
                {"zone": "b.example.", "step": "brought back", "put": 9, "removed": 0, "serial_before": null,
                 "serial": 8, "was_served": false, "is_served": true, "is_settings_changed": true},
                {"zone": "c.example.", "step": "deleted", "put": 0, "removed": 5, "serial_before": 1,
                 "serial": null, "was_served": true, "is_served": false, "is_settings_changed": true},
            ],
        });
        let expected = "\
ZONE                      PUT  REMOVED  SERIAL
a.example.  changed       2    1        3 -> 4  settings, disabled
b.example.  brought back  9    0        8
c.example.  deleted       0    5        -
and 1 more zones
4 zones would be what they were at revision 7; nothing is changed
";
        assert_eq!(text(&answer), expected);
        (answer["is_dry_run"], answer["frozen_revision"]) = (json!(false), json!(8));
        let said = text(&answer);
        assert!(said.contains("at revision 7, revision 12\n"), "{said}");
        assert!(said.ends_with("they are thawed (aspen-dns feed thaw)\n"), "{said}");
        answer["zones"] = json!([]);
        assert!(text(&answer).starts_with("nothing to do"));
    }
}
