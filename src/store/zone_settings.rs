//! What an operator says about a zone: its settings, as they are stored and as the API shows them.
//!
//! The reader also takes the names that older systems wrote (`name`, `enabled`, `default_ttl`), and
//! refuses what it does not understand rather than to lose a zone silently.
//!
//! **Invariant:** settings that [`ZoneSettings::check`] accepts make a valid SOA and NS RRset.
//! **Not here:** what the store itself knows of a zone (`store::zone_object`).

use serde::{Deserialize, Serialize};

use super::serial::SerialPolicy;
use crate::limits::{RRSET_RECORDS_DEFAULT_MAX, RRSET_RECORDS_MAX};
use crate::limits::{TTL_S_MAX, ZONE_DESCRIPTION_OCTETS_MAX, ZONE_NAMESERVERS_MAX};
use crate::name::Name;
use crate::record::{RdataList, RecordType, Rrset, Soa};

/// The settings of one zone.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ZoneSettings {
    /// The apex.
    #[serde(with = "name_text", alias = "name")]
    pub apex: Name,
    /// Whether the zone is served; a disabled one is kept but answers REFUSED.
    #[serde(default = "enabled", alias = "enabled")]
    pub is_enabled: bool,
    /// The TTL, in seconds, of records that are written without one, and of a synthesized SOA or
    /// NS RRset.
    #[serde(default = "default_ttl_s", alias = "default_ttl")]
    pub default_ttl_s: u32,
    /// How the next serial is chosen.
    #[serde(default)]
    pub serial_policy: SerialPolicy,
    /// A remark for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name servers of a synthesized NS RRset; the first is the synthesized SOA's MNAME.
    /// Without any it is `ns1` below the apex.
    #[serde(default, with = "name_texts")]
    pub nameservers: Vec<Name>,
    /// The RNAME of a synthesized SOA; `hostmaster` below the apex by default.
    #[serde(default, with = "name_text_option", skip_serializing_if = "Option::is_none")]
    pub hostmaster: Option<Name>,
    /// REFRESH of a synthesized SOA, in seconds.
    #[serde(default = "refresh_s")]
    pub refresh_s: u32,
    /// RETRY of a synthesized SOA, in seconds.
    #[serde(default = "retry_s")]
    pub retry_s: u32,
    /// EXPIRE of a synthesized SOA, in seconds.
    #[serde(default = "expire_s")]
    pub expire_s: u32,
    /// MINIMUM of a synthesized SOA: the TTL of negative answers, in seconds (RFC 2308).
    #[serde(default = "negative_ttl_s")]
    pub negative_ttl_s: u32,
    /// Records that one RRset of the zone may have.
    #[serde(default = "rrset_records_max")]
    pub rrset_records_max: u32,
}

/// Which setting is not acceptable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A time has its highest bit set (RFC 2181 section 8).
    #[error("{setting} is {seconds} seconds, {TTL_S_MAX} at most (RFC 2181 section 8)")]
    TooLong {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        seconds: u32,
    },
    /// Too many name servers.
    #[error("{count} name servers, {ZONE_NAMESERVERS_MAX} at most")]
    TooManyNameservers {
        /// How many.
        count: usize,
    },
    /// The remark is too long.
    #[error("a description of {octets} octets, {ZONE_DESCRIPTION_OCTETS_MAX} at most")]
    DescriptionTooLong {
        /// Its octets.
        octets: usize,
    },
    /// The RRset limit is none.
    #[error("rrset_records_max is {count}; it lies between 1 and {RRSET_RECORDS_MAX}")]
    RrsetRecordsMax {
        /// Its value.
        count: u32,
    },
}

impl ZoneSettings {
    /// Returns the settings of a zone about which nothing else was said.
    pub fn new(apex: Name) -> Self {
        Self {
            apex,
            is_enabled: true,
            default_ttl_s: default_ttl_s(),
            serial_policy: SerialPolicy::default(),
            description: None,
            nameservers: Vec::new(),
            hostmaster: None,
            refresh_s: refresh_s(),
            retry_s: retry_s(),
            expire_s: expire_s(),
            negative_ttl_s: negative_ttl_s(),
            rrset_records_max: rrset_records_max(),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// Every [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        for (setting, seconds) in [
            ("default_ttl_s", self.default_ttl_s),
            ("refresh_s", self.refresh_s),
            ("retry_s", self.retry_s),
            ("expire_s", self.expire_s),
            ("negative_ttl_s", self.negative_ttl_s),
        ] {
            if seconds > TTL_S_MAX {
                return Err(SettingsError::TooLong { setting, seconds });
            }
        }
        if self.nameservers.len() > ZONE_NAMESERVERS_MAX {
            return Err(SettingsError::TooManyNameservers { count: self.nameservers.len() });
        }
        let octets = self.description.as_ref().map_or(0, String::len);
        if octets > ZONE_DESCRIPTION_OCTETS_MAX {
            return Err(SettingsError::DescriptionTooLong { octets });
        }
        if !(1..=RRSET_RECORDS_MAX).contains(&self.rrset_records_max) {
            return Err(SettingsError::RrsetRecordsMax { count: self.rrset_records_max });
        }
        Ok(())
    }

    /// Returns the SOA RRset of a zone that has none of its own.
    pub(crate) fn synthesized_soa(&self, serial: u32) -> Rrset {
        let rname = match &self.hostmaster {
            Some(hostmaster) => hostmaster.clone(),
            None => self.below_apex(b"hostmaster"),
        };
        let soa = Soa {
            names: &[self.first_nameserver().as_wire(), rname.as_wire()].concat(),
            serial,
            refresh_s: self.refresh_s,
            retry_s: self.retry_s,
            expire_s: self.expire_s,
            minimum_s: self.negative_ttl_s,
        };
        self.at_apex(RecordType::SOA, &[soa.to_rdata()])
    }

    /// Returns the NS RRset of a zone that has none of its own.
    pub(crate) fn synthesized_ns(&self) -> Rrset {
        let mut targets: Vec<Vec<u8>> =
            self.nameservers.iter().map(|name| name.as_wire().to_vec()).collect();
        if targets.is_empty() {
            targets.push(self.first_nameserver().as_wire().to_vec());
        }
        self.at_apex(RecordType::NS, &targets)
    }

    /// Returns the first name server.
    fn first_nameserver(&self) -> Name {
        self.nameservers.first().cloned().unwrap_or_else(|| self.below_apex(b"ns1"))
    }

    /// Returns `label` below the apex, or the apex itself if that would be too long a name.
    fn below_apex(&self, label: &[u8]) -> Name {
        self.apex.with_label(label).unwrap_or_else(|_| self.apex.clone())
    }

    /// Makes an RRset of the apex.
    fn at_apex(&self, rtype: RecordType, records: &[Vec<u8>]) -> Rrset {
        let rdata = RdataList::new(records)
            .expect("1 to ZONE_NAMESERVERS_MAX records, each of three names' length at most");
        Rrset { owner: self.apex.clone(), rtype, ttl_s: self.default_ttl_s, rdata }
    }
}

/// Default of [`ZoneSettings::is_enabled`].
fn enabled() -> bool {
    true
}

/// Default of [`ZoneSettings::default_ttl_s`].
fn default_ttl_s() -> u32 {
    3_600
}

/// Default of [`ZoneSettings::refresh_s`].
fn refresh_s() -> u32 {
    3_600
}

/// Default of [`ZoneSettings::retry_s`].
fn retry_s() -> u32 {
    600
}

/// Default of [`ZoneSettings::expire_s`].
fn expire_s() -> u32 {
    604_800
}

/// Default of [`ZoneSettings::negative_ttl_s`].
fn negative_ttl_s() -> u32 {
    300
}

/// Default of [`ZoneSettings::rrset_records_max`].
fn rrset_records_max() -> u32 {
    RRSET_RECORDS_DEFAULT_MAX
}

/// A name as text without the final dot.
mod name_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::name::Name;

    /// Writes the name.
    pub(super) fn serialize<S: Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(name)
    }

    /// Reads the name.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        let text = String::deserialize(from)?;
        Name::from_text(&text).map_err(serde::de::Error::custom)
    }
}

/// A name as text, if there is one.
mod name_text_option {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::name::Name;

    /// Writes the name, or null.
    #[allow(clippy::ref_option)] // serde hands over a reference to the field
    pub(super) fn serialize<S: Serializer>(
        name: &Option<Name>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match name {
            Some(name) => serializer.collect_str(name),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the name, or null.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Name>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| Name::from_text(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// Names as texts.
mod name_texts {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::name::Name;

    /// Writes the names.
    pub(super) fn serialize<S: Serializer>(names: &[Name], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(names.iter().map(Name::to_string))
    }

    /// Reads the names.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Name>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let parse = |text: &String| Name::from_text(text).map_err(serde::de::Error::custom);
        texts.iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::rdata;

    fn read(json: &str) -> Result<ZoneSettings, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn settings_read_back_and_older_names_are_understood() {
        let settings = ZoneSettings::new(Name::from_text("example.com").unwrap());
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(read(&json).unwrap(), settings);
        let older = read(r#"{"name":"Example.com","enabled":false,"default_ttl":60}"#).unwrap();
        assert_eq!((older.is_enabled, older.default_ttl_s), (false, 60));
        assert_eq!(older.apex, settings.apex);
    }

    #[test]
    fn settings_that_do_not_parse_are_an_error() {
        for json in ["{}", r#"{"apex":"a..b"}"#, r#"{"apex":"a","is_enabled":"yes"}"#] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn synthesized_rrsets_fit_their_types_even_at_the_longest_apex() {
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for apex in ["example.com", ".", &long] {
            let mut settings = ZoneSettings::new(Name::from_text(apex).unwrap());
            for _ in 0..2 {
                for rrset in [settings.synthesized_soa(7), settings.synthesized_ns()] {
                    assert_eq!(rdata::check(rrset.rtype, rrset.rdata.first()), Ok(()), "{apex}");
                }
                let ns2 = Name::from_text("ns2.example.net").unwrap();
                settings.nameservers = vec![settings.apex.clone(), ns2];
            }
            assert_eq!(settings.synthesized_ns().rdata.count(), 2);
        }
    }
}
