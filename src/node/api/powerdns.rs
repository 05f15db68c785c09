//! Zones and RRsets as PowerDNS's API spells them.
//!
//! Names end in a dot; RDATA is absolute presentation form; a zone's id is its name with every
//! octet that a path does not bear written `=XX`.
//!
//! **Invariant:** what is read here is canonical and its RDATA fits its type.
//! **Not here:** which requests there are (`api::zones`).

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use crate::name::Name;
use crate::record::{RdataList, RecordType, Rrset, rdata};
use crate::store::Operation;

/// An RRset in a request.
#[derive(Debug, Deserialize)]
pub(crate) struct RrsetBody {
    /// Owner name.
    name: String,
    /// Type.
    #[serde(rename = "type")]
    rtype: String,
    /// TTL in seconds.
    ttl: Option<u32>,
    /// What is to be done; REPLACE when it is missing.
    changetype: Option<String>,
    /// The records. Missing where only comments are meant, which we do not keep.
    records: Option<Vec<RecordBody>>,
}

/// A record in a request.
#[derive(Debug, Deserialize)]
struct RecordBody {
    /// RDATA in presentation form.
    content: String,
    /// Whether it is to be kept without being served.
    #[serde(default)]
    disabled: bool,
}

/// What a request asks to be done with one RRset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RrsetChange {
    /// Owner name.
    pub(crate) owner: Name,
    /// Type.
    pub(crate) rtype: RecordType,
    /// What to do.
    pub(crate) kind: ChangeKind,
}

/// The ways to change an RRset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ChangeKind {
    /// It is this.
    Replace(Rrset),
    /// It is gone.
    Delete,
    /// It also holds these records; a TTL that is given becomes that of all.
    Extend {
        /// TTL in seconds, if given.
        ttl_s: Option<u32>,
        /// The records.
        records: Vec<Vec<u8>>,
    },
    /// It no longer holds these records.
    Prune {
        /// The records.
        records: Vec<Vec<u8>>,
    },
    /// It stays as it is: only comments were given.
    Keep,
}

impl RrsetBody {
    /// Reads the change; its owner must be at or below `apex`.
    ///
    /// # Errors
    /// [`ApiError`] of status 422 that names what does not read.
    pub(crate) fn to_change(&self, apex: &Name) -> Result<RrsetChange, ApiError> {
        let owner = parse_name(&self.name)?;
        let rtype: RecordType = self.rtype.parse()?;
        if !owner.is_at_or_below(apex) {
            return Err(ApiError::OutOfZone { owner, apex: apex.clone() });
        }
        let changetype = self.changetype.as_deref().unwrap_or("REPLACE").to_ascii_uppercase();
        let kind = match (changetype.as_str(), self.parse_records(&owner, rtype)?) {
            ("DELETE", _) => ChangeKind::Delete,
            ("REPLACE" | "EXTEND" | "PRUNE", None) => ChangeKind::Keep,
            ("REPLACE", Some(records)) if records.is_empty() => ChangeKind::Delete,
            ("REPLACE", Some(records)) => {
                let field = "ttl";
                let ttl_s = self.ttl.ok_or_else(|| ApiError::MissingField {
                    owner: owner.clone(),
                    rtype,
                    field,
                })?;
                ChangeKind::Replace(make_rrset(&owner, rtype, ttl_s, &records)?)
            }
            ("EXTEND", Some(records)) => ChangeKind::Extend { ttl_s: self.ttl, records },
            ("PRUNE", Some(records)) => ChangeKind::Prune { records },
            (_, _) => {
                return Err(ApiError::BadValue {
                    field: "changetype",
                    value: changetype.chars().take(20).collect(),
                    wanted: "REPLACE, DELETE, EXTEND or PRUNE",
                });
            }
        };
        Ok(RrsetChange { owner, rtype, kind })
    }

    /// Reads the records; `None` when the field is missing.
    fn parse_records(
        &self,
        owner: &Name,
        rtype: RecordType,
    ) -> Result<Option<Vec<Vec<u8>>>, ApiError> {
        let Some(records) = &self.records else { return Ok(None) };
        let mut parsed = Vec::with_capacity(records.len());
        for record in records {
            if record.disabled {
                return Err(ApiError::DisabledRecord { owner: owner.clone(), rtype });
            }
            parsed.push(parse_rdata(owner, rtype, &record.content)?);
        }
        Ok(Some(parsed))
    }
}

impl RrsetChange {
    /// Returns the RRset of a zone that begins with the change; `None` if it makes none.
    ///
    /// # Errors
    /// [`ApiError::MissingField`] when it has no TTL, [`ApiError::Rrset`] when it is too long.
    pub(crate) fn into_new(self) -> Result<Option<Rrset>, ApiError> {
        match self.kind {
            ChangeKind::Replace(rrset) => Ok(Some(rrset)),
            ChangeKind::Extend { records, .. } if records.is_empty() => Ok(None),
            ChangeKind::Extend { ttl_s, records } => {
                let (owner, rtype, field) = (self.owner.clone(), self.rtype, "ttl");
                let missing = || ApiError::MissingField { owner, rtype, field };
                make_rrset(&self.owner, rtype, ttl_s.ok_or_else(missing)?, &records).map(Some)
            }
            ChangeKind::Delete | ChangeKind::Prune { .. } | ChangeKind::Keep => Ok(None),
        }
    }

    /// Returns what the change does to the zone `apex`; `None` for nothing.
    pub(crate) fn into_operation(self, apex: &Name) -> Option<Operation> {
        let (apex, owner, rtype) = (apex.clone(), self.owner, self.rtype);
        match self.kind {
            ChangeKind::Replace(rrset) => Some(Operation::PutRrsetIn { apex, rrset }),
            ChangeKind::Delete => Some(Operation::DeleteRrsetIn { apex, owner, rtype }),
            ChangeKind::Extend { ttl_s, records } => {
                Some(Operation::ExtendRrsetIn { apex, owner, rtype, ttl_s, records })
            }
            ChangeKind::Prune { records } => {
                Some(Operation::PruneRrsetIn { apex, owner, rtype, records })
            }
            ChangeKind::Keep => None,
        }
    }
}

/// Reads a name; with or without its final dot it is absolute.
///
/// # Errors
/// [`ApiError::Name`].
pub(crate) fn parse_name(text: &str) -> Result<Name, ApiError> {
    text.parse().map_err(|source| ApiError::Name { text: text.chars().take(80).collect(), source })
}

/// Reads one record's RDATA; names in it are absolute.
///
/// # Errors
/// [`ApiError::Rdata`].
pub(crate) fn parse_rdata(
    owner: &Name,
    rtype: RecordType,
    text: &str,
) -> Result<Vec<u8>, ApiError> {
    rdata::parse(rtype, text, &Name::root()).map_err(|source| ApiError::Rdata {
        owner: owner.clone(),
        rtype,
        source,
    })
}

/// Makes an RRset of records that were read.
///
/// # Errors
/// [`ApiError::Rrset`].
pub(crate) fn make_rrset(
    owner: &Name,
    rtype: RecordType,
    ttl_s: u32,
    records: &[Vec<u8>],
) -> Result<Rrset, ApiError> {
    Rrset::new(owner.clone(), rtype, ttl_s, records).map_err(|source| ApiError::Rrset {
        owner: owner.clone(),
        rtype,
        source,
    })
}

/// Reads a zone's id: its name, `=XX` for octets that a path does not bear.
///
/// # Errors
/// [`ApiError::Name`].
pub(crate) fn parse_zone_id(id: &str) -> Result<Name, ApiError> {
    let mut text = String::with_capacity(id.len());
    let mut rest = id;
    while let Some((before, after)) = rest.split_once('=') {
        text.push_str(before);
        // A sign is no digit, though it would be read as part of a number.
        let digits = after.get(..2).filter(|digits| !digits.starts_with('+'));
        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet.filter(u8::is_ascii) {
            Some(octet) => {
                text.push(char::from(octet));
                rest = &after[2..];
            }
            None => {
                text.push('=');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    parse_name(&text)
}

/// Writes a zone's id.
pub(crate) fn zone_id(apex: &Name) -> String {
    if apex.is_root() {
        return "=2E".to_owned();
    }
    let mut id = String::new();
    for octet in apex.to_fqdn().bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => id.push(char::from(octet)),
            _ => id.push_str(&format!("={octet:02X}")),
        }
    }
    id
}

/// Writes a zone without its RRsets.
pub(crate) fn zone_value(apex: &Name, serial: u32) -> Value {
    let id = zone_id(apex);
    json!({
        "url": format!("/api/v1/servers/localhost/zones/{id}"),
        "id": id,
        "name": apex.to_fqdn(),
        "type": "Zone",
        "kind": "Native",
        "serial": serial,
        "edited_serial": serial,
        "notified_serial": serial,
        "last_check": 0,
        "masters": [],
        "dnssec": false,
        "nsec3param": "",
        "nsec3narrow": false,
        "presigned": false,
        "soa_edit": "",
        "soa_edit_api": "",
        "api_rectify": false,
        "account": "",
        "catalog": "",
        "master_tsig_key_ids": [],
        "slave_tsig_key_ids": [],
    })
}

/// Writes an RRset.
pub(crate) fn write_rrset(rrset: &Rrset, out: &mut Vec<u8>) {
    let records: Vec<Value> = contents(rrset.rtype, &rrset.rdata)
        .into_iter()
        .map(|content| json!({ "content": content, "disabled": false }))
        .collect();
    let value = json!({
        "name": rrset.owner.to_fqdn(),
        "type": rrset.rtype.to_string(),
        "ttl": rrset.ttl_s,
        "records": records,
        "comments": [],
    });
    out.extend_from_slice(value.to_string().as_bytes());
}

/// Writes each record in presentation form.
pub(crate) fn contents(rtype: RecordType, records: &RdataList) -> Vec<String> {
    records
        .iter()
        .map(|octets| {
            let mut text = String::new();
            rdata::write(rtype, octets, &mut text);
            text
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(body: Value) -> Result<RrsetChange, ApiError> {
        let body: RrsetBody = serde_json::from_value(body).expect("an RRset");
        body.to_change(&"example.".parse().unwrap())
    }

    fn rrset(records: &[[u8; 4]]) -> Rrset {
        Rrset::new("a.example.".parse().unwrap(), RecordType::A, 60, records).unwrap()
    }

    #[test]
    fn ids_read_back_for_any_name() {
        for (name, id) in [
            ("example.com.", "example.com."),
            (".", "=2E"),
            ("a\\/b\\=.example.", "a=2Fb=3D.example."),
            ("*.0/25.2.0.192.in-addr.arpa.", "=2A.0=2F25.2.0.192.in-addr.arpa."),
        ] {
            let name: Name = name.parse().unwrap();
            assert_eq!(zone_id(&name), id);
            assert_eq!(parse_zone_id(id).unwrap(), name, "{id}");
        }
        assert_eq!(parse_zone_id("a=b").unwrap(), "a=b".parse().unwrap());
        assert!(parse_zone_id("a..b").is_err());
    }

    #[test]
    fn a_new_zone_begins_with_what_is_put_and_added() {
        let body = |changetype: &str| {
            json!({"name": "a.example.", "type": "A", "changetype": changetype, "ttl": 60,
                   "records": [{"content": "192.0.2.1", "disabled": false}]})
        };
        let new = |body: Value| change(body).unwrap().into_new();
        for changetype in ["REPLACE", "EXTEND"] {
            assert_eq!(new(body(changetype)).unwrap(), Some(rrset(&[[192, 0, 2, 1]])));
        }
        for changetype in ["DELETE", "PRUNE"] {
            assert_eq!(new(body(changetype)).unwrap(), None);
        }
        let mut without_ttl = body("EXTEND");
        without_ttl["ttl"] = Value::Null;
        assert!(new(without_ttl).is_err());
    }

    #[test]
    fn what_does_not_read_is_refused_by_rule() {
        for (body, said) in [
            (json!({"name": "a.test.", "type": "A", "changetype": "DELETE"}), "not at or below"),
            (json!({"name": "a.example.", "type": "FOO", "changetype": "DELETE"}), "FOO"),
            (json!({"name": "a.example.", "type": "A", "changetype": "X"}), "REPLACE, DELETE"),
            (
                json!({"name": "a.example.", "type": "A", "records": [{"content": "192.0.2.1"}]}),
                "ttl is missing",
            ),
            (
                json!({"name": "a.example.", "type": "A", "ttl": 1,
                       "records": [{"content": "192.0.2.1", "disabled": true}]}),
                "disabled",
            ),
            (
                json!({"name": "a.example.", "type": "A", "ttl": 1, "records": [{"content": "x"}]}),
                "a.example A",
            ),
        ] {
            let error = change(body.clone()).expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
