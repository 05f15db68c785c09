//! The files of the data set, as values.
//!
//! `ZoneFiles/N.txt` is a zone; `ExpectedResponses/N.json` holds queries about it, and what each
//! reference server answered, as dnspython prints a message. Servers that answered alike stand
//! together. `PreprocessorOutputs/N.json` holds the exit status of each server's zone checker.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use aspen_dns::name::Name;
use aspen_dns::record::RecordType;
use serde::Deserialize;

use crate::response::Response;

/// Zones of one kind, in the order of their numbers.
pub(crate) fn zone_numbers(folder: &Path) -> Result<Vec<u32>, Box<dyn Error>> {
    let files = folder.join("ZoneFiles");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&files).map_err(|error| at(&files, error))? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        numbers.push(number.ok_or_else(|| at(&path, "the file's name is no number"))?);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the path of a zone's master file.
pub(crate) fn zone_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("ZoneFiles/{number}.txt"))
}

/// The TTLs that a zone's file states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatedTtls {
    /// The one that all records with a TTL have.
    pub(crate) only_s: Option<u32>,
    /// Whether a record has none.
    pub(crate) has_omitted: bool,
}

impl StatedTtls {
    /// Reads them from a file in which each line is a record `[owner] [ttl] [IN] type rdata`.
    pub(crate) fn of(text: &str) -> Self {
        let (mut ttls, mut has_omitted) = (Vec::new(), false);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            if !line.starts_with(char::is_whitespace) {
                words.next();
            }
            match words.next().and_then(|word| word.parse::<u32>().ok()) {
                Some(ttl_s) => ttls.push(ttl_s),
                None => has_omitted = true,
            }
        }
        ttls.dedup();
        Self { only_s: ttls.first().copied().filter(|_| ttls.len() == 1), has_omitted }
    }
}

/// A query, and what the reference servers answered.
#[derive(Debug)]
pub(crate) struct Query {
    /// The name asked for.
    pub(crate) qname: Name,
    /// The type asked for.
    pub(crate) qtype: RecordType,
    /// Each server's answer.
    pub(crate) answers: Vec<(String, Response)>,
}

impl Query {
    /// Returns the answer that more than half of the servers gave.
    pub(crate) fn consensus(&self) -> Option<&Response> {
        let count = |answer: &Response| self.answers.iter().filter(|(_, a)| a == answer).count();
        self.answers.iter().map(|(_, a)| a).find(|a| 2 * count(a) > self.answers.len())
    }

    /// Returns the servers that gave an answer.
    pub(crate) fn servers(&self, answer: &Response) -> Vec<&str> {
        self.answers.iter().filter(|(_, a)| a == answer).map(|(name, _)| name.as_str()).collect()
    }
}

/// Reads the queries about a zone; none if no server could be asked.
pub(crate) fn queries(folder: &Path, number: u32) -> Result<Vec<Query>, Box<dyn Error>> {
    let path = folder.join(format!("ExpectedResponses/{number}.json"));
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path).map_err(|error| at(&path, error))?;
    let read: Vec<QueryText> = serde_json::from_slice(&text).map_err(|error| at(&path, error))?;
    read.into_iter().map(|query| query.parse().map_err(|error| at(&path, error))).collect()
}

/// Reads which servers' checkers accept a zone; none if they were not asked.
pub(crate) fn checkers(folder: &Path, number: u32) -> Result<Vec<(String, bool)>, Box<dyn Error>> {
    let path = folder.join(format!("PreprocessorOutputs/{number}.json"));
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path).map_err(|error| at(&path, error))?;
    let read: BTreeMap<String, Checker> =
        serde_json::from_slice(&text).map_err(|error| at(&path, error))?;
    Ok(read.into_iter().map(|(name, checker)| (name, checker.code == 0)).collect())
}

/// What a server's checker said of a zone.
#[derive(Debug, Deserialize)]
struct Checker {
    /// Its exit status.
    #[serde(rename = "Code")]
    code: i32,
}

/// A query as the file has it.
#[derive(Debug, Deserialize)]
struct QueryText {
    /// The question.
    #[serde(rename = "Query")]
    question: QuestionText,
    /// Groups of servers that answered alike.
    #[serde(rename = "Expected Response")]
    groups: Vec<GroupText>,
}

/// A question as the file has it.
#[derive(Debug, Deserialize)]
struct QuestionText {
    /// The name.
    #[serde(rename = "Name")]
    name: String,
    /// The type's mnemonic.
    #[serde(rename = "Type")]
    rtype: String,
}

/// Servers that answered alike, as the file has them.
#[derive(Debug, Deserialize)]
struct GroupText {
    /// Their names, a blank behind each.
    #[serde(rename = "Server/s")]
    servers: String,
    /// The lines of the answer.
    #[serde(rename = "Response")]
    lines: Vec<String>,
}

impl QueryText {
    /// Reads names, types and answers.
    fn parse(self) -> Result<Query, Box<dyn Error>> {
        let mut answers = Vec::new();
        for group in &self.groups {
            let response = Response::from_lines(&group.lines)?;
            for server in group.servers.split_whitespace() {
                answers.push((server.to_owned(), response.clone()));
            }
        }
        if answers.is_empty() {
            return Err(format!("no answer to {}", self.question.name).into());
        }
        let qname = Name::from_text(&self.question.name)?;
        Ok(Query { qname, qtype: self.question.rtype.parse()?, answers })
    }
}

/// Says which file an error is about.
fn at(path: &Path, error: impl Into<Box<dyn Error>>) -> Box<dyn Error> {
    format!("{}: {}", path.display(), error.into()).into()
}
