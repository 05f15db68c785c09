//! What the store keeps of a zone beside its rows: settings, serial, SOA, counts, generation.
//!
//! Every commit that touches a zone writes its object, with a [`version`](ZoneObject::version)
//! that no earlier one had. A commit that expects the object's octets so expects the whole zone to
//! be as it was read.
//!
//! **Invariant:** the SOA lives here and nowhere else, so that its serial is the zone's.
//! **Not here:** settings (`store::zone_settings`), when a serial moves (`store::draft`).

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::kv::KvError;
use super::zone_settings::ZoneSettings;
use crate::feed::digest::{Digest, DigestKey};
use crate::record::serial::is_newer;
use crate::record::{RdataList, RecordType, Rrset, Soa};

/// The stored zone object, JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct ZoneObject {
    /// What the operator said.
    pub(super) settings: ZoneSettings,
    /// The serial of the newest commit.
    pub(super) serial: u32,
    /// Under which number the rows stand.
    pub(super) generation: Generation,
    /// Rises with every commit; with `generation` it is never the same twice.
    pub(super) version: u64,
    /// The SOA that was written, its serial always [`ZoneObject::serial`].
    pub(super) soa: Option<StoredSoa>,
    /// Whether the apex has an NS RRset of its own.
    pub(super) has_apex_ns: bool,
    /// RRsets that stand as rows: all but the SOA and a synthesized NS.
    pub(super) rrset_count: u64,
    /// Records of these RRsets.
    pub(super) record_count: u64,
    /// What the rows come to; `None` if a version made the object that knew no digests.
    #[serde(default, with = "digest_text", skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<Digest>,
    /// When the newest commit was made, in milliseconds since 1970.
    pub(super) modified_at_ms: u64,
}

/// An SOA that was written, in place of a synthesized one.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredSoa {
    /// The TTL in seconds.
    pub(super) ttl_s: u32,
    /// MNAME and RNAME in wire form, hexadecimal.
    pub(super) names: String,
    /// REFRESH, RETRY, EXPIRE and MINIMUM, in seconds.
    pub(super) times_s: [u32; 4],
    /// When it was written, in milliseconds since 1970.
    pub(super) updated_at_ms: u64,
}

impl ZoneObject {
    /// Makes the object of a zone without rows.
    pub(super) fn new(settings: ZoneSettings, generation: Generation, now_ms: u64) -> Self {
        Self {
            settings,
            serial: 0,
            generation,
            version: 0,
            soa: None,
            has_apex_ns: false,
            rrset_count: 0,
            record_count: 0,
            digest: Some(Digest::default()),
            modified_at_ms: now_ms,
        }
    }

    /// Returns the stored octets.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a zone object has string keys and no failing field")
    }

    /// Reads a zone object.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(super) fn decode(octets: &[u8]) -> Result<Self, KvError> {
        serde_json::from_slice(octets).map_err(|error| {
            tracing::error!(%error, "a zone object does not parse");
            KvError::Unreadable { what: "a zone object" }
        })
    }

    /// Returns the SOA RRset as it is served: the written one or a synthesized one.
    pub(super) fn soa_rrset(&self) -> Rrset {
        let synthesized = || self.settings.synthesized_soa(self.serial);
        let Some(soa) = &self.soa else { return synthesized() };
        let Ok(names) = data_encoding::HEXLOWER.decode(soa.names.as_bytes()) else {
            return synthesized();
        };
        let [refresh_s, retry_s, expire_s, minimum_s] = soa.times_s;
        let (names, serial) = (&names[..], self.serial);
        let rdata = Soa { names, serial, refresh_s, retry_s, expire_s, minimum_s }.to_rdata();
        let rdata = RdataList::new([rdata]).expect("one record of two names' length");
        let owner = self.settings.apex.clone();
        Rrset { owner, rtype: RecordType::SOA, ttl_s: soa.ttl_s, rdata }
    }

    /// Returns the NS RRset that is served where the apex has none of its own.
    pub(super) fn synthesized_ns(&self) -> Option<Rrset> {
        (!self.has_apex_ns).then(|| self.settings.synthesized_ns())
    }

    /// Whether the SOA is that of another version of the zone, but for the serial.
    pub(super) fn has_soa_of(&self, other: &Self) -> bool {
        let soa = |object: &Self| {
            object.soa.as_ref().map(|soa| (soa.ttl_s, soa.names.clone(), soa.times_s))
        };
        soa(self) == soa(other)
    }

    /// Returns what everything that is served of the zone comes to, SOA and NS of the apex included.
    pub(super) fn served_digest(&self, key: &DigestKey) -> Option<Digest> {
        let beside_rows = std::iter::once(self.soa_rrset()).chain(self.synthesized_ns());
        self.digest.map(|rows| rows.plus(key.rrsets(beside_rows)))
    }
}

impl StoredSoa {
    /// Takes a written SOA RRset apart; returns it with its serial.
    ///
    /// `None` if the RDATA is no SOA; `record::rdata::check` has seen to that.
    pub(super) fn new(rrset: &Rrset, now_ms: u64) -> Option<(Self, u32)> {
        let soa = Soa::read(rrset.rdata.first())?;
        let stored = Self {
            ttl_s: rrset.ttl_s,
            names: data_encoding::HEXLOWER.encode(soa.names),
            times_s: [soa.refresh_s, soa.retry_s, soa.expire_s, soa.minimum_s],
            updated_at_ms: now_ms,
        };
        Some((stored, soa.serial))
    }
}

/// Returns the serial after an SOA with serial `written` was put over `current`: the written one
/// if it is newer, otherwise none, and the policy decides.
pub(super) fn written_serial(current: u32, written: u32) -> Option<u32> {
    is_newer(written, current).then_some(written)
}

/// A digest as hexadecimal digits, if there is one.
mod digest_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::feed::digest::Digest;

    /// Writes the digest, or null.
    #[allow(clippy::ref_option)] // serde hands over a reference to the field
    pub(super) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => {
                serializer.serialize_str(&data_encoding::HEXLOWER.encode(&digest.to_octets()))
            }
            None => serializer.serialize_none(),
        }
    }

    /// Reads the digest, or null.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Digest>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let octets = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        let octets = octets.ok_or_else(|| serde::de::Error::custom("not a digest"))?;
        Ok(Some(Digest::from_octets(&octets)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    #[test]
    fn a_zone_object_reads_back_and_rubbish_is_an_error() {
        let settings = ZoneSettings::new(Name::from_text("example.com").unwrap());
        let mut object = ZoneObject::new(settings.clone(), Generation::new(true), 5);
        object.serial = 77;
        object.digest = Some(Digest { sum: u128::MAX - 1, records: 3 });
        let mut written = settings.synthesized_soa(99);
        written.ttl_s = 1;
        let (soa, serial) = StoredSoa::new(&written, 9).unwrap();
        assert_eq!(serial, 99);
        object.soa = Some(soa);
        assert_eq!(ZoneObject::decode(&object.encode()).unwrap(), object);
        // An object of a version that knew no digests.
        object.digest = None;
        assert_eq!(ZoneObject::decode(&object.encode()).unwrap(), object);
        // The SOA that is served carries the zone's serial.
        let expected = Rrset { ttl_s: 1, ..settings.synthesized_soa(77) };
        assert_eq!(object.soa_rrset(), expected);
        assert!(ZoneObject::decode(b"{\"settings\":1}").is_err());
    }
}
