//! A zone as the system before us wrote it.

use serde_json::{Map, Value, json};

use crate::limits::TTL_S_MAX;
use crate::name::Name;
use crate::record::document::{DocumentError, bad, name_at, optional_number, parse_json};

/// What a document says of one zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneDocument {
    /// The apex.
    pub apex: Name,
    /// Whether the zone is served.
    pub is_enabled: bool,
    /// The TTL in seconds of records that have none.
    pub default_ttl_s: u32,
    /// The serial.
    pub serial: u32,
    /// When the zone was changed, in milliseconds since 1970.
    pub last_modified_ms: u64,
    /// What the operator says of it.
    pub description: Option<String>,
}

impl ZoneDocument {
    /// Reads a document; only the name must be there.
    ///
    /// # Errors
    /// The first [`DocumentError`].
    pub fn from_json(octets: &[u8]) -> Result<Self, DocumentError> {
        let document = parse_json(octets)?;
        let nothing = Map::new();
        let metadata = match document.get("metadata") {
            None | Some(Value::Null) => &nothing,
            Some(value) => value.as_object().ok_or_else(|| bad("metadata", "an object"))?,
        };
        let is_enabled = match document.get("enabled") {
            None => true,
            Some(value) => value.as_bool().ok_or_else(|| bad("enabled", "true or false"))?,
        };
        let description = match metadata.get("description") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let text = value.as_str().ok_or_else(|| bad("metadata.description", "text"))?;
                Some(text.to_owned())
            }
        };
        let default_ttl_s = optional_number(&document, "default_ttl", u64::from(TTL_S_MAX))?;
        let serial = optional_number(metadata, "serial", u64::from(u32::MAX))?;
        let last_modified_ms = optional_number(metadata, "last_modified_ms", u64::MAX)?;
        let narrow = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        Ok(Self {
            apex: name_at(&document, "name")?,
            is_enabled,
            default_ttl_s: narrow(default_ttl_s).unwrap_or(DEFAULT_TTL_S),
            serial: narrow(serial).unwrap_or(1),
            last_modified_ms: last_modified_ms.unwrap_or(0),
            description,
        })
    }

    /// Writes the document.
    pub fn to_json(&self) -> Vec<u8> {
        let document = json!({
            "name": self.apex.to_string(),
            "enabled": self.is_enabled,
            "default_ttl": self.default_ttl_s,
            "metadata": {
                "serial": self.serial,
                "last_modified_ms": self.last_modified_ms,
                "description": self.description,
            },
        });
        document.to_string().into_bytes()
    }
}

/// The TTL in seconds that the older system gives.
const DEFAULT_TTL_S: u32 = 3_600;
