//! `aspen-dns feed`: what each audience is given, and until when.

use anyhow::Context as _;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{Client, segment};
use crate::feed_flags::{CreateFlags, FeedCommand};
use crate::freeze;
use crate::{output, rollback};

/// Does one verb.
pub(crate) fn run(client: &Client, command: FeedCommand, is_json: bool) -> anyhow::Result<()> {
    match command {
        FeedCommand::List => list(client, is_json),
        FeedCommand::Freeze => freeze::run(client, Method::PUT, is_json),
        FeedCommand::Thaw => freeze::run(client, Method::DELETE, is_json),
        FeedCommand::Frozen => freeze::run(client, Method::GET, is_json),
        FeedCommand::Rollback(flags) => rollback::run(client, &flags, is_json),
        FeedCommand::Create(flags) => create(client, &flags, is_json),
        FeedCommand::Show { feed } => {
            let report = client.get(&path_of(&feed))?;
            show(&report, is_json)
        }
        FeedCommand::Remove { feed } => {
            let answer = client.json(Method::DELETE, &path_of(&feed), None)?;
            if is_json {
                return output::print_json(&answer);
            }
            output::print(format!("the feed {feed} is revoked\n"))
        }
        FeedCommand::Allow { feed, everybody: true, .. } => {
            let path = format!("{}/endpoints", path_of(&feed));
            show(&client.json(Method::DELETE, &path, None)?, is_json)
        }
        FeedCommand::Allow { feed, keys, .. } => each(client, &Method::PUT, &feed, &keys, is_json),
        FeedCommand::Deny { feed, keys } => each(client, &Method::DELETE, &feed, &keys, is_json),
        FeedCommand::Rotate { feed, keep } => {
            let path = format!("{}/rotate", path_of(&feed));
            let body = json!({ "keep": keep });
            print_ticket(&client.json(Method::POST, &path, Some(&body))?, is_json)
        }
        FeedCommand::Expire { feed, when } => {
            let path = format!("{}/expiry", path_of(&feed));
            let body = json!({ "expires": when });
            show(&client.json(Method::PUT, &path, Some(&body))?, is_json)
        }
    }
}

/// Makes a feed.
fn create(client: &Client, flags: &CreateFlags, is_json: bool) -> anyhow::Result<()> {
    let mut body = json!({ "name": flags.feed });
    if !flags.zones.is_empty() {
        let zones: Vec<String> = flags.zones.iter().map(aspen_dns::name::Name::to_fqdn).collect();
        body["zones"] = json!(zones);
    }
    if !flags.allow.is_empty() {
        body["allowed"] = json!(flags.allow);
    }
    if let Some(expires) = &flags.expires {
        body["expires"] = json!(expires);
    }
    print_ticket(&client.json(Method::POST, "/api/v1/aspen/feeds", Some(&body))?, is_json)
}

/// Prints the ticket that was answered.
fn print_ticket(answer: &Value, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return output::print_json(answer);
    }
    let ticket = answer["ticket"].as_str().context("the answer holds no ticket")?;
    output::print(format!("{ticket}\n"))
}

/// Does something with each of some endpoints on a list, and prints what the feed is then; one that is refused
/// does not keep the others from it.
fn each(
    client: &Client,
    method: &Method,
    feed: &str,
    keys: &[String],
    is_json: bool,
) -> anyhow::Result<()> {
    let (mut report, mut refused) = (None, Vec::new());
    for key in keys {
        let path = format!("{}/endpoints/{}", path_of(feed), segment(key));
        match client.json(method.clone(), &path, None) {
            Ok(answer) => report = Some(answer),
            Err(error) => refused.push(format!("{key}: {error:#}")),
        }
    }
    if let Some(report) = report {
        show(&report, is_json)?;
    }
    anyhow::ensure!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}

/// Lists the feeds.
fn list(client: &Client, is_json: bool) -> anyhow::Result<()> {
    let feeds = client.get("/api/v1/aspen/feeds")?;
    if is_json {
        return output::print_json(&feeds);
    }
    output::print(list_text(&feeds))
}

/// Writes the feeds as a table.
fn list_text(feeds: &Value) -> String {
    let head = ["FEED", "STATE", "ZONES", "LIST", "ENDS", "FOLLOWERS", "REFUSED"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for feed in feeds["feeds"].as_array().into_iter().flatten() {
        let count = |field: &str| feed[field].as_array().map(Vec::len);
        rows.push(vec![
            feed["name"].as_str().unwrap_or("?").to_owned(),
            feed["state"].as_str().unwrap_or("?").to_owned(),
            count("zones").map_or("all".to_owned(), |zones| zones.to_string()),
            count("allowed").map_or("everybody".to_owned(), |listed| listed.to_string()),
            time_text(&feed["expires_ms"]),
            feed["followers"].to_string(),
            feed["refusals"].to_string(),
        ]);
    }
    for feed in feeds["ended"].as_array().into_iter().flatten() {
        let reason = feed["reason"].as_str().unwrap_or("?").to_owned();
        let name = feed["name"].as_str().unwrap_or("?").to_owned();
        let dash = || "-".to_owned();
        rows.push(vec![name, reason, dash(), dash(), time_text(&feed["at_ms"]), dash(), dash()]);
    }
    output::table(&rows)
}

/// Prints a feed.
fn show(report: &Value, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return output::print_json(report);
    }
    output::print(show_text(report))
}

/// Writes what a feed is.
fn show_text(report: &Value) -> String {
    let text = |field: &str| report[field].as_str().unwrap_or("?").to_owned();
    let joined = |field: &str| {
        let texts = report[field].as_array()?;
        Some(texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("feed", text("name")),
        row("state", text("state")),
        row("zones", joined("zones").unwrap_or_else(|| "all".to_owned())),
        row("ends", time_text(&report["expires_ms"])),
        row("namespace", text("namespace")),
        row("followers", report["followers"].to_string()),
        row("refusals", report["refusals"].to_string()),
    ];
    match report["allowed"].as_array() {
        None => rows.push(row("list", "none: it is for whoever has its ticket".to_owned())),
        Some(listed) if listed.is_empty() => {
            rows.push(row("list", "empty: it is for nobody".to_owned()));
        }
        Some(listed) => {
            let keys = listed.iter().filter_map(Value::as_str);
            rows.extend(keys.map(|key| row("allowed", key.to_owned())));
        }
    }
    for refused in report["refused"].as_array().into_iter().flatten() {
        let key = refused["endpoint"].as_str().unwrap_or("?");
        rows.push(row("refused", format!("{key} {} times", refused["count"])));
    }
    output::table(&rows)
}

/// Writes a time in milliseconds since 1970; one that there is not as never.
fn time_text(value: &Value) -> String {
    let Some(ms) = value.as_u64() else { return "never".to_owned() };
    match u32::try_from(ms / 1_000) {
        Ok(seconds) => aspen_dns::dnssec::Time(seconds).to_string(),
        Err(_) => format!("{} s after 1970", ms / 1_000),
    }
}

/// The path of a feed.
fn path_of(feed: &str) -> String {
    format!("/api/v1/aspen/feeds/{}", segment(feed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_line_up_and_those_that_have_ended_stand_below() {
        let feeds = json!({
            "feeds": [
                {"name": "main", "state": "active", "zones": null, "allowed": null, "expires_ms": null,
                 "followers": 3, "refusals": 0},
                {"name": "lab", "state": "active", "zones": ["a.example."], "allowed": ["00", "01"],
                 "expires_ms": 1_790_000_000_000_u64, "followers": 0, "refusals": 7},
            ],
            "ended": [{"name": "old", "reason": "expired", "at_ms": 1_700_000_000_000_u64}],
        });
        let expected = "\
FEED  STATE    ZONES  LIST       ENDS            FOLLOWERS  REFUSED
main  active   all    everybody  never           3          0
lab   active   1      2          20260921141320  0          7
old   expired  -      -          20231114221320  -          -
";
        assert_eq!(list_text(&feeds), expected);
    }

    #[test]
    fn a_feed_names_those_on_its_list_and_those_it_refused() {
        let report = json!({
            "name": "lab", "state": "active", "zones": null, "allowed": [], "expires_ms": null,
            "namespace": "ab", "followers": 0, "refusals": 2,
            "refused": [{"endpoint": "0011", "count": 2}],
        });
        let text = show_text(&report);
        assert!(text.contains("list       empty: it is for nobody\n"), "{text}");
        assert!(text.contains("refused    0011 2 times\n"), "{text}");
    }
}
