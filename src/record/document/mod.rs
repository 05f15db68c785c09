//! One RRset, or one zone, as a JSON document.
//!
//! We write `{"domain":"www.example.com","type":"A","ttl_seconds":300,"rdata":["192.0.2.1"],
//! "updated_at_ms":…}`, RDATA in presentation form, every name absolute with or without its last
//! dot. The system before us wrote `"data":{"type":"A","addresses":["192.0.2.1"]}` in place of
//! `type` and `rdata`, for ten types; that is read too. Fields that we do not know are ignored.
//!
//! **Invariant:** what is read is correct: a canonical owner, RDATA that fits its type, a TTL of 31
//! bits. What is written is read back the same. An error names field and rule.
//! **Not here:** the keys that documents stand under (`feed::key`).

mod zone;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::limits::TTL_S_MAX;
use crate::name::{Name, NameError};
use crate::record::rdata;
use crate::record::{Change, RdataError, RecordType, Rrset, RrsetError};

pub use zone::ZoneDocument;

/// What a document says of one RRset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordDocument {
    /// The RRset, or that it is gone (`"deleted": true`, which needs neither TTL nor RDATA).
    pub change: Change,
    /// When it was written, in milliseconds since 1970; 0 if the document does not say.
    pub updated_at_ms: u64,
    /// The revision of the commit that wrote it.
    pub revision: Option<u64>,
    /// How many RRsets that commit wrote.
    pub commit_len: Option<u32>,
}

/// Why a document cannot be read. A `field` is a path such as `data.records[0].exchange`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// Octets that are no JSON.
    #[error("line {line}, column {column}: no JSON")]
    NotJson {
        /// The line, from one.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// A field holds something else than it should.
    #[error("{field} is not {form}")]
    BadForm {
        /// The field.
        field: String,
        /// What it should be.
        form: &'static str,
    },
    /// A name breaks a rule.
    #[error("{field}: {rule}")]
    BadName {
        /// The field.
        field: String,
        /// The rule.
        rule: NameError,
    },
    /// RDATA breaks a rule of its type.
    #[error("{field}: {rule}")]
    BadRdata {
        /// The field.
        field: String,
        /// The rule.
        rule: RdataError,
    },
    /// The records make no RRset.
    #[error(transparent)]
    BadRrset(#[from] RrsetError),
}

impl RecordDocument {
    /// Reads a document in either form.
    ///
    /// # Errors
    /// The first [`DocumentError`].
    pub fn from_json(octets: &[u8]) -> Result<Self, DocumentError> {
        let document = parse_json(octets)?;
        let owner = name_at(&document, "domain")?;
        let is_deleted = match document.get("deleted") {
            None | Some(Value::Null) => false,
            Some(value) => value.as_bool().ok_or_else(|| bad("deleted", "true or false"))?,
        };
        let change = if is_deleted {
            Change::Delete { owner, rtype: type_of(&document)? }
        } else {
            let ttl_s = number_at(&document, "ttl_seconds", u64::from(TTL_S_MAX))?;
            let ttl_s = u32::try_from(ttl_s).unwrap_or(TTL_S_MAX);
            let rtype = type_of(&document)?;
            Change::Put(Rrset::new(owner, rtype, ttl_s, records(&document, rtype)?)?)
        };
        let commit_len = optional_number(&document, "commit_len", u64::from(u32::MAX))?;
        Ok(Self {
            change,
            updated_at_ms: optional_number(&document, "updated_at_ms", u64::MAX)?.unwrap_or(0),
            revision: optional_number(&document, "revision", u64::MAX)?,
            commit_len: commit_len.and_then(|len| u32::try_from(len).ok()),
        })
    }

    /// Writes the document in our form.
    pub fn to_json(&self) -> Vec<u8> {
        let rrset = match &self.change {
            Change::Put(rrset) => Some(rrset),
            Change::Delete { .. } => None,
        };
        let written = WrittenDocument {
            domain: self.change.owner().to_string(),
            rtype: self.change.rtype().to_string(),
            ttl_seconds: rrset.map(|rrset| rrset.ttl_s),
            rdata: rrset.map(|rrset| {
                rrset
                    .rdata
                    .iter()
                    .map(|rdata| {
                        let mut text = String::new();
                        rdata::write(rrset.rtype, rdata, &mut text);
                        text
                    })
                    .collect()
            }),
            updated_at_ms: self.updated_at_ms,
            revision: self.revision,
            commit_len: self.commit_len,
            deleted: rrset.is_none().then_some(true),
        };
        serde_json::to_vec(&written).expect("strings and numbers always make JSON")
    }
}

/// The document as it is written, field by field.
#[derive(Serialize)]
struct WrittenDocument {
    /// The owner name without its last dot.
    domain: String,
    /// The type's mnemonic.
    #[serde(rename = "type")]
    rtype: String,
    /// The TTL.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u32>,
    /// Each record's presentation form.
    #[serde(skip_serializing_if = "Option::is_none")]
    rdata: Option<Vec<String>>,
    /// When it was written.
    updated_at_ms: u64,
    /// The commit's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// The commit's length.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_len: Option<u32>,
    /// Whether the RRset is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

/// Reads an object.
fn parse_json(octets: &[u8]) -> Result<Map<String, Value>, DocumentError> {
    match serde_json::from_slice(octets) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad("the document", "a JSON object")),
        Err(error) => Err(DocumentError::NotJson { line: error.line(), column: error.column() }),
    }
}

/// Returns the type: of the document in our form, of `data` in the older one.
fn type_of(document: &Map<String, Value>) -> Result<RecordType, DocumentError> {
    let (field, value) = match document.get("type") {
        Some(value) => ("type", Some(value)),
        None => ("data.type", document.get("data").and_then(|data| data.get("type"))),
    };
    let value = value.ok_or_else(|| DocumentError::Missing { field: "type".to_owned() })?;
    let rtype = value.as_str().and_then(|text| text.parse().ok());
    rtype.ok_or_else(|| bad(field, "a record type"))
}

/// Returns the RDATA of each record.
fn records(
    document: &Map<String, Value>,
    rtype: RecordType,
) -> Result<Vec<Vec<u8>>, DocumentError> {
    let (field, texts) = match (document.get("rdata"), document.get("data")) {
        (Some(rdata), _) => ("rdata", texts_of(rdata)?),
        (None, Some(data)) => ("data", older_texts(data, rtype)?),
        (None, None) => return Err(DocumentError::Missing { field: "rdata".to_owned() }),
    };
    let parse = |(index, text): (usize, &String)| {
        rdata::parse(rtype, text, &Name::root())
            .map_err(|rule| DocumentError::BadRdata { field: format!("{field}[{index}]"), rule })
    };
    texts.iter().enumerate().map(parse).collect()
}

/// Returns the texts of `rdata`.
fn texts_of(rdata: &Value) -> Result<Vec<String>, DocumentError> {
    let form = "a list of RDATA in presentation form";
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts = rdata.as_array().and_then(|list| list.iter().map(text).collect());
    texts.ok_or_else(|| bad("rdata", form))
}

/// Returns the presentation form of each record in the older form.
///
/// Its strings are no presentation form: a backslash or a quote in them is just that.
fn older_texts(data: &Value, rtype: RecordType) -> Result<Vec<String>, DocumentError> {
    let fields: &[&str] = match rtype {
        RecordType::A | RecordType::AAAA => return strings_at(data, "addresses"),
        RecordType::NS => return strings_at(data, "nameservers"),
        RecordType::CNAME | RecordType::PTR => return Ok(vec![word_at(data, "data", "target")?]),
        // All strings are one record: so the older system answers them.
        RecordType::TXT => {
            let strings = strings_at(data, "strings")?;
            return Ok(vec![strings.iter().map(|text| quote(text)).collect::<Vec<_>>().join(" ")]);
        }
        RecordType::SOA => &["mname", "rname", "serial", "refresh", "retry", "expire", "minimum"],
        RecordType::MX => &["priority", "exchange"],
        RecordType::SRV => &["priority", "weight", "port", "target"],
        RecordType::CAA => &["flags", "tag", "value"],
        _ => return Err(bad("data.type", "a type that this form is used for")),
    };
    let join = |path: &str, record: &Value| {
        let words: Result<Vec<_>, _> =
            fields.iter().map(|field| word_at(record, path, field)).collect();
        words.map(|words| words.join(" "))
    };
    if rtype == RecordType::SOA {
        return Ok(vec![join("data", data)?]);
    }
    let records = data.get("records").and_then(Value::as_array);
    let records = records.ok_or_else(|| bad("data.records", "a list of records"))?;
    let join_one = |(index, record)| join(&format!("data.records[{index}]"), record);
    records.iter().enumerate().map(join_one).collect()
}

/// Returns a list of strings, none of which may be empty or hold more than one word.
fn strings_at(data: &Value, field: &str) -> Result<Vec<String>, DocumentError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = data.get(field).and_then(Value::as_array);
    let strings = list.and_then(|list| list.iter().map(text).collect());
    strings.ok_or_else(|| bad(&format!("data.{field}"), "a list of strings"))
}

/// Returns a string or number as one word of presentation form. Only the value of a CAA record
/// may be any text; all other strings are names, tags or addresses.
fn word_at(record: &Value, path: &str, field: &str) -> Result<String, DocumentError> {
    match record.get(field) {
        Some(Value::String(text)) if field == "value" => Ok(quote(text)),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(bad(&format!("{path}.{field}"), "a string or a number")),
        None => Err(DocumentError::Missing { field: format!("{path}.{field}") }),
    }
}

/// Writes text that has no escapes as a quoted string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    rdata::write_quoted(text.as_bytes(), &mut quoted);
    quoted
}

/// Reads a name.
fn name_at(document: &Map<String, Value>, field: &str) -> Result<Name, DocumentError> {
    let value = document.get(field);
    let value = value.ok_or_else(|| DocumentError::Missing { field: field.to_owned() })?;
    let text = value.as_str().ok_or_else(|| bad(field, "a name"))?;
    Name::from_text(text).map_err(|rule| DocumentError::BadName { field: field.to_owned(), rule })
}

/// Reads a number up to `max` that must be there.
fn number_at(document: &Map<String, Value>, field: &str, max: u64) -> Result<u64, DocumentError> {
    optional_number(document, field, max)?
        .ok_or_else(|| DocumentError::Missing { field: field.to_owned() })
}

/// Reads a number up to `max`, if it is there.
fn optional_number(
    document: &Map<String, Value>,
    field: &str,
    max: u64,
) -> Result<Option<u64>, DocumentError> {
    match document.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().filter(|&number| number <= max);
            number.map(Some).ok_or_else(|| bad(field, "a whole number that fits"))
        }
    }
}

/// Makes the error for a field of the wrong form.
fn bad(field: &str, form: &'static str) -> DocumentError {
    DocumentError::BadForm { field: field.to_owned(), form }
}

#[cfg(test)]
mod tests;
