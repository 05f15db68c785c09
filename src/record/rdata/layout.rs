//! Which fields the RDATA of each type is made of.

use crate::record::rdata::field::Kind::{self, *};
use crate::record::rdata::mnemonic::{ALGORITHMS, CERTIFICATES, DIGESTS, SCHEMES};
use crate::record::rdata::{address, base, bitmap, gateway, location, prefixes, service, svcb};
use crate::record::{RdataError, RecordType};

/// The RDATA of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The type's number.
    number: u16,
    /// Name and kind of each field, in their order.
    pub(super) fields: &'static [(&'static str, Kind)],
    /// What must hold over several fields.
    pub(super) rule: fn(&[u8]) -> Result<(), RdataError>,
}

/// Returns the layout of a type, if it is known.
pub(super) fn layout(rtype: RecordType) -> Option<&'static Layout> {
    let row = LAYOUTS.binary_search_by_key(&rtype.0, |row| row.number).ok()?;
    Some(&LAYOUTS[row])
}

/// Makes a row of fields that have no rule in common.
const fn row(rtype: RecordType, fields: &'static [(&'static str, Kind)]) -> Layout {
    Layout { number: rtype.0, fields, rule: no_rule }
}

/// Makes a row of fields that have a rule in common.
const fn ruled(
    rtype: RecordType,
    fields: &'static [(&'static str, Kind)],
    rule: fn(&[u8]) -> Result<(), RdataError>,
) -> Layout {
    Layout { number: rtype.0, fields, rule }
}

/// Holds of all RDATA.
const fn no_rule(_: &[u8]) -> Result<(), RdataError> {
    Ok(())
}

/// A DS digest is as long as its type makes it (RFC 4034 section 5.1.4, 4509, 5933, 6605).
fn ds_digest(rdata: &[u8]) -> Result<(), RdataError> {
    let expected = match rdata.get(3) {
        Some(1) => 20,
        Some(2 | 3) => 32,
        Some(4) => 48,
        _ => return Ok(()),
    };
    digest_len(rdata, 4, expected)
}

/// A zone digest is as long as its hash makes it, and 12 octets at least (RFC 8976 section 2.2.4).
fn zone_digest(rdata: &[u8]) -> Result<(), RdataError> {
    match rdata.get(5) {
        Some(1) => digest_len(rdata, 6, 48),
        Some(2) => digest_len(rdata, 6, 64),
        _ => Ok(()),
    }
}

/// Checks the octets behind a digest's `header` octets.
fn digest_len(rdata: &[u8], header: usize, expected: usize) -> Result<(), RdataError> {
    let octets = rdata.len().saturating_sub(header);
    if octets == expected { Ok(()) } else { Err(RdataError::BadDigestLength { octets, expected }) }
}

/// Fields of a type that is one name.
const NAME: &[(&str, Kind)] = &[("name", Name)];
/// Fields of NS and its forerunners.
const HOST: &[(&str, Kind)] = &[("host", Name)];
/// Fields of MX and its kin.
const EXCHANGE: &[(&str, Kind)] = &[("preference", U16), ("host", Name)];
/// Fields of TXT and its kin.
const TEXTS: &[(&str, Kind)] = &[("text", Texts)];
/// Fields of DS and its kin.
const DS: &[(&str, Kind)] = &[
    ("key tag", U16),
    ("algorithm", Named8(ALGORITHMS)),
    ("digest type", Named8(DIGESTS)),
    ("digest", Hex(1)),
];
/// Fields of DNSKEY and its kin.
const KEY: &[(&str, Kind)] = &[
    ("flags", U16),
    ("protocol", U8),
    ("algorithm", Named8(ALGORITHMS)),
    ("public key", Base64(1)),
];
/// Fields of KEY, which may say that there is no key (RFC 2535 section 3.1.2).
const OLD_KEY: &[(&str, Kind)] = &[
    ("flags", U16),
    ("protocol", U8),
    ("algorithm", Named8(ALGORITHMS)),
    ("public key", Base64(0)),
];
/// Fields of RRSIG and SIG.
const SIGNATURE: &[(&str, Kind)] = &[
    ("type covered", Type),
    ("algorithm", Named8(ALGORITHMS)),
    ("labels", U8),
    ("original TTL", Seconds),
    ("expiration", Time),
    ("inception", Time),
    ("key tag", U16),
    ("signer's name", Name),
    ("signature", Base64(1)),
];
/// Fields of TLSA and SMIMEA.
const ASSOCIATION: &[(&str, Kind)] =
    &[("usage", U8), ("selector", U8), ("matching type", U8), ("certificate data", Hex(1))];

/// Fields of SVCB and HTTPS.
const SERVICE_BINDING: &[(&str, Kind)] =
    &[("priority", U16), ("target", Name), ("parameters", Other(&svcb::PARAMETERS))];

/// All known types, by rising number.
static LAYOUTS: &[Layout] = &[
    row(RecordType::A, &[("address", Ipv4)]),
    row(RecordType::NS, HOST),
    row(RecordType::MD, HOST),
    row(RecordType::MF, HOST),
    row(RecordType::CNAME, NAME),
    row(
        RecordType::SOA,
        &[
            ("primary server", Name),
            ("mailbox", Name),
            ("serial", U32),
            ("refresh", Seconds),
            ("retry", Seconds),
            ("expire", Seconds),
            ("minimum", Seconds),
        ],
    ),
    row(RecordType::MB, HOST),
    row(RecordType::MG, NAME),
    row(RecordType::MR, NAME),
    row(RecordType::WKS, &[("address", Ipv4), ("services", Other(&service::SERVICES))]),
    row(RecordType::PTR, NAME),
    row(RecordType::HINFO, &[("CPU", Text), ("operating system", Text)]),
    row(RecordType::MINFO, &[("responsible mailbox", Name), ("error mailbox", Name)]),
    row(RecordType::MX, EXCHANGE),
    row(RecordType::TXT, TEXTS),
    row(RecordType::RP, &[("mailbox", Name), ("text's name", Name)]),
    row(RecordType::AFSDB, &[("subtype", U16), ("host", Name)]),
    row(RecordType::X25, &[("PSDN address", Text)]),
    row(RecordType::ISDN, &[("ISDN address", Texts)]),
    row(RecordType::RT, EXCHANGE),
    row(RecordType::NSAP, &[("address", Other(&address::NSAP))]),
    row(RecordType::NSAP_PTR, NAME),
    row(RecordType::SIG, SIGNATURE),
    row(RecordType::KEY, OLD_KEY),
    row(RecordType::PX, &[("preference", U16), ("RFC 822 name", Name), ("X.400 name", Name)]),
    row(RecordType::GPOS, &[("longitude", Text), ("latitude", Text), ("altitude", Text)]),
    row(RecordType::AAAA, &[("address", Ipv6)]),
    row(RecordType::LOC, &[("location", Other(&location::LOCATION))]),
    row(RecordType::NXT, &[("next name", Name), ("types", Other(&bitmap::OLD_TYPES))]),
    row(RecordType::EID, &[("endpoint", Hex(1))]),
    row(RecordType::NIMLOC, &[("locator", Hex(1))]),
    row(RecordType::SRV, &[("priority", U16), ("weight", U16), ("port", U16), ("target", Name)]),
    row(
        RecordType::NAPTR,
        &[
            ("order", U16),
            ("preference", U16),
            ("flags", Text),
            ("services", Text),
            ("regular expression", Text),
            ("replacement", Name),
        ],
    ),
    row(RecordType::KX, EXCHANGE),
    row(
        RecordType::CERT,
        &[
            ("type", Named16(CERTIFICATES)),
            ("key tag", U16),
            ("algorithm", Named8(ALGORITHMS)),
            ("certificate", Base64(1)),
        ],
    ),
    row(RecordType::A6, &[("prefix and suffix", Other(&gateway::A6))]),
    row(RecordType::DNAME, NAME),
    row(
        RecordType::SINK,
        &[("meaning", U8), ("coding", U8), ("subcoding", U8), ("data", Base64(0))],
    ),
    row(RecordType::APL, &[("prefixes", Other(&prefixes::PREFIXES))]),
    ruled(RecordType::DS, DS, ds_digest),
    row(RecordType::SSHFP, &[("algorithm", U8), ("type", U8), ("fingerprint", Hex(1))]),
    row(
        RecordType::IPSECKEY,
        &[("precedence", U8), ("gateway", Other(&gateway::GATEWAY)), ("public key", Base64(0))],
    ),
    row(RecordType::RRSIG, SIGNATURE),
    row(RecordType::NSEC, &[("next name", Name), ("types", Types)]),
    row(RecordType::DNSKEY, KEY),
    row(RecordType::DHCID, &[("identity", Base64(1))]),
    row(
        RecordType::NSEC3,
        &[
            ("hash algorithm", U8),
            ("flags", U8),
            ("iterations", U16),
            ("salt", Salt),
            ("next hashed name", Hash),
            ("types", Types),
        ],
    ),
    row(
        RecordType::NSEC3PARAM,
        &[("hash algorithm", U8), ("flags", U8), ("iterations", U16), ("salt", Salt)],
    ),
    row(RecordType::TLSA, ASSOCIATION),
    row(RecordType::SMIMEA, ASSOCIATION),
    row(
        RecordType::HIP,
        &[("identity", Other(&gateway::HOST_IDENTITY)), ("rendezvous server", Names)],
    ),
    row(RecordType::NINFO, TEXTS),
    row(RecordType::RKEY, KEY),
    row(RecordType::TALINK, &[("previous name", Name), ("next name", Name)]),
    ruled(RecordType::CDS, DS, ds_digest),
    row(RecordType::CDNSKEY, KEY),
    row(RecordType::OPENPGPKEY, &[("key", Base64(1))]),
    row(RecordType::CSYNC, &[("serial", U32), ("flags", U16), ("types", Types)]),
    ruled(
        RecordType::ZONEMD,
        &[("serial", U32), ("scheme", U8), ("hash algorithm", U8), ("digest", Hex(12))],
        zone_digest,
    ),
    row(RecordType::SVCB, SERVICE_BINDING),
    row(RecordType::HTTPS, SERVICE_BINDING),
    row(
        RecordType::DSYNC,
        &[("type", Type), ("scheme", Named8(SCHEMES)), ("port", U16), ("target", Name)],
    ),
    row(RecordType::HHIT, &[("data", Base64(1))]),
    row(RecordType::BRID, &[("data", Base64(1))]),
    row(RecordType::SPF, TEXTS),
    row(RecordType::NID, &[("preference", U16), ("node", Other(&address::LOCATOR))]),
    row(RecordType::L32, &[("preference", U16), ("locator", Ipv4)]),
    row(RecordType::L64, &[("preference", U16), ("locator", Other(&address::LOCATOR))]),
    row(RecordType::LP, EXCHANGE),
    row(RecordType::EUI48, &[("address", Other(&address::EUI48))]),
    row(RecordType::EUI64, &[("address", Other(&address::EUI64))]),
    row(RecordType::URI, &[("priority", U16), ("weight", U16), ("target", LongText(1))]),
    row(RecordType::CAA, &[("flags", U8), ("tag", Tag), ("value", LongText(0))]),
    row(RecordType::AVC, TEXTS),
    row(
        RecordType::DOA,
        &[
            ("enterprise", U32),
            ("type", U32),
            ("location", U8),
            ("media type", Text),
            ("data", Other(&base::DATA)),
        ],
    ),
    row(RecordType::AMTRELAY, &[("precedence", U8), ("relay", Other(&gateway::RELAY))]),
    row(RecordType::RESINFO, TEXTS),
    row(RecordType::WALLET, TEXTS),
    row(RecordType::CLA, TEXTS),
    row(RecordType::IPN, &[("endpoint", U64)]),
    ruled(RecordType::TA, DS, ds_digest),
    ruled(RecordType::DLV, DS, ds_digest),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_so_that_it_can_be_searched() {
        assert!(LAYOUTS.is_sorted_by(|a, b| a.number < b.number));
    }
}
