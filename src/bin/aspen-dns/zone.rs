//! `aspen-dns zone`: imports, exports, creates, deletes, lists and shows zones.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use aspen_dns::name::Name;
use indicatif::{ProgressBar, ProgressStyle};

use serde_json::{Value, json};
use ureq::Body;
use ureq::http::{HeaderValue, Method, Response, header};

use crate::client::{Client, query_value, segment};
use crate::flags::{SerialPolicyFlag, SettingFlags, ZoneCommand};
use crate::{batch, client, output};

/// Does one verb that needs a node.
pub(crate) fn run(client: &Client, command: ZoneCommand, is_json: bool) -> anyhow::Result<()> {
    match command {
        ZoneCommand::Import { file, zone } => import(client, &file, zone.as_ref(), is_json),
        ZoneCommand::Export { zone } => export(client, &zone, is_json),
        ZoneCommand::List => list(client, is_json),
        ZoneCommand::Create { zone, settings } => {
            let answer = client.json(Method::POST, &path(&zone), Some(&settings_of(&settings)))?;
            output::print_revision(&answer, &format!("{zone} created"), is_json)
        }
        ZoneCommand::Delete { zone } => {
            let answer = client.json(Method::DELETE, &path(&zone), None)?;
            output::print_revision(&answer, &format!("{zone} deleted"), is_json)
        }
        ZoneCommand::Show { zone } => show(client, &zone, is_json),
        // Needs no node and was done before.
        ZoneCommand::Check { .. } => Ok(()),
    }
}

/// Sends a master file, and follows what the node does with it.
fn import(client: &Client, file: &Path, zone: Option<&Name>, is_json: bool) -> anyhow::Result<()> {
    let text = batch::read_file(file)?;
    let origin = match zone {
        Some(zone) => zone.clone(),
        None => origin_of(file).context("--zone is needed: the file's name is no zone's name")?,
    };
    let is_strict = zone.is_some();
    let path = format!(
        "/api/v1/aspen/import?origin={}&file={}&progress=true{}",
        query_value(&origin.to_fqdn()),
        query_value(&file.display().to_string()),
        if is_strict { format!("&zone={}", query_value(&origin.to_fqdn())) } else { String::new() },
    );
    let bar = progress_bar(is_json);
    let mut request = client.request(Method::POST, &path, text)?;
    // A node that refuses says so instead of breaking off a file that it will not read.
    request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    let answer = follow(client.send(request)?, &bar);
    bar.finish_and_clear();
    let answer = answer?;
    let said = format!(
        "{} imported: {} records, serial {}",
        answer["zone"].as_str().unwrap_or("zone"),
        answer["records"],
        answer["serial"]
    );
    output::print_revision(&answer, &said, is_json)
}

/// Reads lines of progress to the last, which says how it ended.
fn follow(response: Response<Body>, bar: &ProgressBar) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line.context("the answer broke off")?;
        last = serde_json::from_str(&line).context("the answer is no JSON")?;
        if let (Some(done), Some(total)) = (last["done"].as_u64(), last["total"].as_u64()) {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
    if let Some(error) = last["error"].as_str() {
        bail!("{error}");
    }
    if last["revision"].is_null() {
        bail!("the answer broke off before the node said how the import ended");
    }
    Ok(last)
}

/// Returns a bar for a person who watches, and a hidden one for a program.
fn progress_bar(is_json: bool) -> ProgressBar {
    if is_json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = "{bar:40} {pos}/{len} records, {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// Prints a zone as a master file as it arrives.
fn export(client: &Client, zone: &Name, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return output::print_json(&json!({ "zone": export_text(client, zone)? }));
    }
    let mut text = export_answer(client, zone)?.into_body().into_reader();
    let mut piece = vec![0; PIECE_OCTETS];
    loop {
        match text.read(&mut piece).context("the answer broke off")? {
            0 => return Ok(()),
            len => output::print(&piece[..len])?,
        }
    }
}

/// Returns a zone as a master file.
pub(crate) fn export_text(client: &Client, zone: &Name) -> anyhow::Result<String> {
    let text = client::read(export_answer(client, zone)?)?;
    String::from_utf8(text).context("the zone is no text")
}

/// Asks for a zone as a master file.
fn export_answer(client: &Client, zone: &Name) -> anyhow::Result<Response<Body>> {
    let path = format!("/api/v1/servers/localhost/zones/{}/export", segment(&zone.to_fqdn()));
    client.send(client.request(Method::GET, &path, ())?)
}

/// Prints a table of the zones.
fn list(client: &Client, is_json: bool) -> anyhow::Result<()> {
    let zones = client.get("/api/v1/aspen/zones")?;
    if is_json {
        return output::print_json(&zones);
    }
    let mut rows = Vec::new();
    for zone in zones["zones"].as_array().into_iter().flatten() {
        let state = if zone["is_enabled"] == false { "disabled" } else { "enabled" };
        let serial = zone["serial"].as_u64().map_or("-".to_owned(), |serial| serial.to_string());
        rows.push(vec![zone["zone"].as_str().unwrap_or("?").to_owned(), state.to_owned(), serial]);
    }
    if rows.is_empty() {
        return output::print("no zones\n");
    }
    rows.insert(0, ["ZONE", "STATE", "SERIAL"].map(str::to_owned).to_vec());
    output::print(output::table(&rows))
}

/// Prints what the node knows of one zone.
fn show(client: &Client, zone: &Name, is_json: bool) -> anyhow::Result<()> {
    let value = client.get(&path(zone))?;
    if is_json {
        return output::print_json(&value);
    }
    let mut rows = Vec::new();
    for (field, value) in value.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        rows.push(vec![field.clone(), text]);
    }
    output::print(output::table(&rows))
}

/// Returns the name that a file's name spells: `example.com.zone`, `root.zone`, `db.example`.
pub(crate) fn origin_of(file: &Path) -> Option<Name> {
    let name = file.file_name()?.to_str()?;
    match name.strip_suffix(".zone").unwrap_or(name) {
        "-" => None,
        "root" => Some(Name::root()),
        stem => stem.parse().ok(),
    }
}

/// Returns the settings as the API takes them; what was not given is left out.
fn settings_of(flags: &SettingFlags) -> Value {
    let mut settings = json!({});
    if !flags.nameserver.is_empty() {
        let names: Vec<String> = flags.nameserver.iter().map(Name::to_fqdn).collect();
        settings["nameservers"] = json!(names);
    }
    if let Some(ttl_s) = flags.default_ttl {
        settings["default_ttl_s"] = json!(ttl_s);
    }
    if let Some(policy) = flags.serial_policy {
        settings["serial_policy"] = json!(match policy {
            SerialPolicyFlag::Increment => "increment",
            SerialPolicyFlag::Unixtime => "unixtime",
            SerialPolicyFlag::Date => "date",
        });
    }
    if let Some(description) = &flags.description {
        settings["description"] = json!(description);
    }
    if flags.disabled {
        settings["is_enabled"] = json!(false);
    }
    settings
}

/// Returns the path of one zone among our own paths.
fn path(zone: &Name) -> String {
    format!("/api/v1/aspen/zones/{}", segment(&zone.to_fqdn()))
}

/// Octets of a zone that are printed at a time.
const PIECE_OCTETS: usize = 64 * 1024;
