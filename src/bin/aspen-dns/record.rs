//! `aspen-dns record`: sets, gets, deletes and lists RRsets.

use anyhow::Context as _;
use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, rdata};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{Client, query_value, segment};
use crate::flags::RecordCommand;
use crate::output;

/// Does one verb.
pub(crate) fn run(client: &Client, command: RecordCommand, is_json: bool) -> anyhow::Result<()> {
    match command {
        RecordCommand::Set { name, rtype, ttl, rdata } => {
            let rdata = read_records(rtype, &rdata)?;
            let body = json!({ "ttl_seconds": ttl, "rdata": rdata });
            let answer = client.json(Method::PUT, &path(&name, rtype), Some(&body))?;
            output::print_revision(&answer, &format!("{name} {rtype} set"), is_json)
        }
        RecordCommand::Get { name, rtype } => {
            let document = client.get(&path(&name, rtype))?;
            if is_json {
                return output::print_json(&document);
            }
            output::print(output::record_lines(&document))
        }
        RecordCommand::Delete { name, rtype } => {
            let answer = client.json(Method::DELETE, &path(&name, rtype), None)?;
            output::print_revision(&answer, &format!("{name} {rtype} deleted"), is_json)
        }
        RecordCommand::List { zone, name, rtype } => {
            list(client, &zone, name.as_ref(), rtype, is_json)
        }
    }
}

/// Prints the records of a zone, page by page, as master file lines or as lines of JSON.
fn list(
    client: &Client,
    zone: &Name,
    name: Option<&Name>,
    rtype: Option<RecordType>,
    is_json: bool,
) -> anyhow::Result<()> {
    let mut query = format!("zone={}", query_value(&zone.to_fqdn()));
    if let Some(name) = name {
        query.push_str(&format!("&name={}", query_value(&name.to_fqdn())));
    }
    if let Some(rtype) = rtype {
        query.push_str(&format!("&type={rtype}"));
    }
    let mut cursor: Option<String> = None;
    loop {
        let page = match &cursor {
            Some(cursor) => format!("&cursor={}", query_value(cursor)),
            None => String::new(),
        };
        let answer = client.get(&format!("/api/v1/aspen/records?{query}{page}"))?;
        for document in answer["records"].as_array().into_iter().flatten() {
            if is_json {
                output::print_json(document)?;
            } else {
                output::print(output::record_lines(document))?;
            }
        }
        match answer["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// Returns each record in presentation form, after reading it as the node will.
///
/// Every argument is a record; when one does not read, all of them together may be one.
pub(crate) fn read_records(rtype: RecordType, given: &[String]) -> anyhow::Result<Vec<String>> {
    let each: Result<Vec<String>, _> = given.iter().map(|text| read_record(rtype, text)).collect();
    match each {
        Ok(records) => Ok(records),
        Err(error) if given.len() > 1 => match read_record(rtype, &given.join(" ")) {
            Ok(record) => Ok(vec![record]),
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Returns one record in the node's own presentation form.
fn read_record(rtype: RecordType, text: &str) -> anyhow::Result<String> {
    let is_text = matches!(rtype, RecordType::TXT | RecordType::SPF);
    let text = if is_text && !text.contains('"') && !text.starts_with("\\#") {
        quote(text)
    } else {
        text.to_owned()
    };
    let octets = rdata::parse(rtype, &text, &Name::root())
        .with_context(|| format!("{text} is no {rtype} record"))?;
    let mut out = String::new();
    rdata::write(rtype, &octets, &mut out);
    Ok(out)
}

/// Returns `text` as character strings of at most 255 octets in quotes.
fn quote(text: &str) -> String {
    let mut pieces = Vec::new();
    for piece in text.as_bytes().chunks(255) {
        let mut quoted = String::from("\"");
        for &octet in piece {
            match octet {
                b'\\' => quoted.push_str("\\\\"),
                0x20..=0x7e => quoted.push(char::from(octet)),
                _ => quoted.push_str(&format!("\\{octet:03}")),
            }
        }
        quoted.push('"');
        pieces.push(quoted);
    }
    if pieces.is_empty() { "\"\"".to_owned() } else { pieces.join(" ") }
}

/// Returns the path of one RRset.
fn path(name: &Name, rtype: RecordType) -> String {
    format!("/api/v1/aspen/records/{}/{rtype}", segment(&name.to_fqdn()))
}

/// Returns the operation that sets an RRset, as a batch holds it.
pub(crate) fn set_operation(name: &Name, rtype: RecordType, ttl_s: u32, rdata: &[String]) -> Value {
    json!({
        "op": "set",
        "domain": name.to_fqdn(),
        "type": rtype.to_string(),
        "ttl_seconds": ttl_s,
        "rdata": rdata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rtype: RecordType, given: &[&str], records: &[&str]) {
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(read_records(rtype, &given).unwrap(), records, "{given:?}");
    }

    #[test]
    fn arguments_are_records_or_together_one() {
        check(RecordType::A, &["192.0.2.1", "192.0.2.2"], &["192.0.2.1", "192.0.2.2"]);
        check(RecordType::MX, &["10", "mail.example."], &["10 mail.example."]);
        check(
            RecordType::MX,
            &["10 a.example.", "20 b.example"],
            &["10 a.example.", "20 b.example."],
        );
    }

    #[test]
    fn text_without_quotes_is_taken_as_it_is() {
        check(RecordType::TXT, &["v=spf1 -all"], &["\"v=spf1 -all\""]);
        check(RecordType::TXT, &["\"a\" \"b\""], &["\"a\" \"b\""]);
        check(RecordType::TXT, &[""], &["\"\""]);
    }

    #[test]
    fn what_does_not_read_is_an_error() {
        assert!(read_records(RecordType::A, &["192.0.2".to_owned()]).is_err());
        assert!(read_records(RecordType::A, &["1".to_owned(), "2".to_owned()]).is_err());
    }
}
