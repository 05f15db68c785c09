//! Mnemonics that text may use for numbers; numbers are what we write.

use crate::record::RdataError;
use crate::record::rdata::Words;
use crate::record::rdata::number::parse_number;

/// Numbers and what text may say for them.
pub(super) type Table = &'static [(u16, &'static str)];

/// DNSSEC algorithms (RFC 4034 appendix A.1, IANA's registry).
pub(super) const ALGORITHMS: Table = &[
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DSA"),
    (4, "ECC"),
    (5, "RSASHA1"),
    (6, "NSEC3DSA"),
    (6, "DSA-NSEC3-SHA1"),
    (7, "NSEC3RSASHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECCGOST"),
    (12, "ECC-GOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (17, "SM2SM3"),
    (23, "ECC-GOST12"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
];

/// DS digest types (IANA's registry).
pub(super) const DIGESTS: Table = &[
    (1, "SHA-1"),
    (1, "SHA1"),
    (2, "SHA-256"),
    (2, "SHA256"),
    (3, "GOST"),
    (4, "SHA-384"),
    (4, "SHA384"),
];

/// CERT types (RFC 4398 section 2.1).
pub(super) const CERTIFICATES: Table = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];

/// DSYNC schemes (RFC 9859 section 2.2).
pub(super) const SCHEMES: Table = &[(1, "NOTIFY")];

/// Reads a number up to `max` or a mnemonic that stands for one, in any case.
///
/// # Errors
/// [`RdataError::Missing`] or [`RdataError::BadNumber`].
pub(super) fn parse(
    field: &'static str,
    words: &mut Words<'_>,
    table: Table,
    max: u16,
) -> Result<u16, RdataError> {
    let text = words.need(field)?.octets;
    if let Some(number) = find(text, table) {
        return Ok(number);
    }
    let number = parse_number(field, text, u64::from(max))?;
    u16::try_from(number).map_err(|_| RdataError::BadNumber { field, max: u64::from(max) })
}

/// Returns what a mnemonic stands for.
pub(super) fn find(text: &[u8], table: Table) -> Option<u16> {
    let row = table.iter().find(|row| row.1.as_bytes().eq_ignore_ascii_case(text))?;
    Some(row.0)
}
