//! `aspen-dns batch`: applies a file of changes as one atomic commit.
//!
//! The file is either the JSON that the API takes, or one change a line.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use aspen_dns::name::Name;
use aspen_dns::record::RecordType;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::Client;
use crate::{output, record};

/// Reads the file and applies it.
pub(crate) fn run(client: &Client, file: &Path, is_json: bool) -> anyhow::Result<()> {
    let text = read_file(file)?;
    let text = String::from_utf8(text).with_context(|| format!("{}: not UTF-8", file.display()))?;
    let body = match text.trim_start().starts_with(['{', '[']) {
        true => read_json(&text).with_context(|| file.display().to_string())?,
        false => json!({ "operations": read_lines(&text, &file.display().to_string())? }),
    };
    let answer = client.json(Method::POST, "/api/v1/aspen/batch", Some(&body))?;
    output::print_revision(&answer, &format!("{} changes applied", answer["applied"]), is_json)
}

/// Reads a whole file, or standard input for `-`.
pub(crate) fn read_file(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut octets = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut octets)
            .context("standard input")?;
        return Ok(octets);
    }
    std::fs::read(file).with_context(|| file.display().to_string())
}

/// Reads a batch in JSON: the object that the API takes, or only its operations.
fn read_json(text: &str) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_str(text)?;
    Ok(if value.is_array() { json!({ "operations": value }) } else { value })
}

/// Reads a batch of lines. `set` lines of one owner name and type make one RRset.
fn read_lines(text: &str, file: &str) -> anyhow::Result<Vec<Value>> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut places: HashMap<(Name, RecordType), usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let place = || format!("{file}:{}", index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let operation = read_line(line).with_context(place)?;
        match places.entry((operation.name.clone(), operation.rtype)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(operations.len());
                operations.push(operation);
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let earlier = &mut operations[*entry.get()];
                if earlier.rdata.is_empty() && operation.rdata.is_empty() {
                    continue;
                }
                if earlier.rdata.is_empty() || operation.rdata.is_empty() {
                    bail!(
                        "{}: {} {} is both set and deleted",
                        place(),
                        operation.name,
                        operation.rtype
                    );
                }
                earlier.ttl_s = operation.ttl_s;
                earlier.rdata.extend(operation.rdata);
            }
        }
    }
    Ok(operations.iter().map(Operation::to_json).collect())
}

/// One change to one RRset.
struct Operation {
    /// Its owner name.
    name: Name,
    /// Its type.
    rtype: RecordType,
    /// Its TTL in seconds; zero for a deletion.
    ttl_s: u32,
    /// Its records; none means deletion.
    rdata: Vec<String>,
}

impl Operation {
    /// Returns the operation as the API takes it.
    fn to_json(&self) -> Value {
        if self.rdata.is_empty() {
            let (domain, rtype) = (self.name.to_fqdn(), self.rtype.to_string());
            return json!({ "op": "delete", "domain": domain, "type": rtype });
        }
        record::set_operation(&self.name, self.rtype, self.ttl_s, &self.rdata)
    }
}

/// Reads one line.
fn read_line(line: &str) -> anyhow::Result<Operation> {
    let line = line.strip_prefix("record ").unwrap_or(line).trim_start();
    let (verb, rest) = word(line);
    let (name, rest) = word(rest);
    let (rtype, rest) = word(rest);
    let name: Name = name.parse().with_context(|| format!("{name:?} is no owner name"))?;
    let rtype: RecordType = rtype.parse()?;
    match verb {
        "set" => {
            let (ttl, rest) = word(rest);
            let ttl_s = ttl.parse().with_context(|| format!("{ttl:?} is no TTL in seconds"))?;
            if rest.trim().is_empty() {
                bail!("set takes NAME TYPE TTL RDATA; the RDATA is missing");
            }
            let rdata = record::read_records(rtype, &[rest.trim().to_owned()])?;
            Ok(Operation { name, rtype, ttl_s, rdata })
        }
        "delete" if rest.trim().is_empty() => {
            Ok(Operation { name, rtype, ttl_s: 0, rdata: vec![] })
        }
        "delete" => bail!("delete takes NAME TYPE and no more"),
        verb => bail!("{verb:?} is neither \"set\" nor \"delete\""),
    }
}

/// Returns the first word of `text` and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_rrset_are_one_operation() {
        let text = "# two changes\nset a.example A 60 192.0.2.1\nset A.example. A 60 192.0.2.2\n\n\
            delete b.example TXT\ndelete B.example. TXT\n";
        let operations = read_lines(text, "f").unwrap();
        assert_eq!(operations.len(), 2);
        assert_eq!(operations[0]["rdata"], json!(["192.0.2.1", "192.0.2.2"]));
        assert_eq!(operations[1]["op"], "delete");
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, said) in [
            ("\nset a.example A sixty 192.0.2.1", "f:2"),
            ("put a.example A 60 192.0.2.1", "f:1"),
            ("set a.example A 60 192.0.2.1\ndelete a.example A", "f:2"),
            ("delete a.example A 192.0.2.1", "f:1"),
            ("set a.example A 60 192.0.2.256", "f:1"),
            ("set a.example TXT 60", "f:1"),
        ] {
            let error = read_lines(text, "f").expect_err(text);
            assert!(format!("{error:#}").starts_with(said), "{error:#}");
        }
    }
}
