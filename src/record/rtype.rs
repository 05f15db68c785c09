//! Record types by number and mnemonic.
//!
//! Any of the 65,536 numbers is a type; those without a mnemonic here are written `TYPEnnn`
//! (RFC 3597 section 5). The table follows IANA's "Resource Record (RR) TYPEs".
//!
//! **Not here:** what holds of a type's records (`record::facts`).

use std::fmt;
use std::str::FromStr;

/// A record type, or a QTYPE such as `ANY`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct RecordType(pub u16);

/// The text is neither a mnemonic nor `TYPE` and a number up to 65535.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{text:?} is no record type; types without a mnemonic are written TYPE12345 (RFC 3597 section 5)"
)]
pub struct ParseRecordTypeError {
    /// What was read.
    pub text: String,
}

/// Defines a constant and a row of the mnemonic table for each type.
macro_rules! record_types {
    ($($constant:ident $number:literal $mnemonic:literal;)*) => {
        #[allow(missing_docs)] // the constants are the mnemonics
        impl RecordType {
            $(pub const $constant: Self = Self($number);)*
        }

        /// Number and mnemonic, by rising number.
        const MNEMONICS: &[(u16, &str)] = &[$(($number, $mnemonic),)*];
    };
}

record_types! {
    A 1 "A"; NS 2 "NS"; MD 3 "MD"; MF 4 "MF"; CNAME 5 "CNAME"; SOA 6 "SOA"; MB 7 "MB"; MG 8 "MG";
    MR 9 "MR"; NULL 10 "NULL"; WKS 11 "WKS"; PTR 12 "PTR"; HINFO 13 "HINFO"; MINFO 14 "MINFO";
    MX 15 "MX"; TXT 16 "TXT"; RP 17 "RP"; AFSDB 18 "AFSDB"; X25 19 "X25"; ISDN 20 "ISDN";
    RT 21 "RT"; NSAP 22 "NSAP"; NSAP_PTR 23 "NSAP-PTR"; SIG 24 "SIG"; KEY 25 "KEY"; PX 26 "PX";
    GPOS 27 "GPOS"; AAAA 28 "AAAA"; LOC 29 "LOC"; NXT 30 "NXT"; EID 31 "EID"; NIMLOC 32 "NIMLOC";
    SRV 33 "SRV"; ATMA 34 "ATMA"; NAPTR 35 "NAPTR"; KX 36 "KX"; CERT 37 "CERT"; A6 38 "A6";
    DNAME 39 "DNAME"; SINK 40 "SINK"; OPT 41 "OPT"; APL 42 "APL"; DS 43 "DS"; SSHFP 44 "SSHFP";
    IPSECKEY 45 "IPSECKEY"; RRSIG 46 "RRSIG"; NSEC 47 "NSEC"; DNSKEY 48 "DNSKEY";
    DHCID 49 "DHCID"; NSEC3 50 "NSEC3"; NSEC3PARAM 51 "NSEC3PARAM"; TLSA 52 "TLSA";
    SMIMEA 53 "SMIMEA"; HIP 55 "HIP"; NINFO 56 "NINFO"; RKEY 57 "RKEY"; TALINK 58 "TALINK";
    CDS 59 "CDS"; CDNSKEY 60 "CDNSKEY"; OPENPGPKEY 61 "OPENPGPKEY"; CSYNC 62 "CSYNC";
    ZONEMD 63 "ZONEMD"; SVCB 64 "SVCB"; HTTPS 65 "HTTPS"; DSYNC 66 "DSYNC"; HHIT 67 "HHIT";
    BRID 68 "BRID"; SPF 99 "SPF"; UINFO 100 "UINFO"; UID 101 "UID"; GID 102 "GID";
    UNSPEC 103 "UNSPEC"; NID 104 "NID"; L32 105 "L32"; L64 106 "L64"; LP 107 "LP";
    EUI48 108 "EUI48"; EUI64 109 "EUI64"; NXNAME 128 "NXNAME"; TKEY 249 "TKEY"; TSIG 250 "TSIG";
    IXFR 251 "IXFR"; AXFR 252 "AXFR"; MAILB 253 "MAILB"; MAILA 254 "MAILA"; ANY 255 "ANY";
    URI 256 "URI"; CAA 257 "CAA"; AVC 258 "AVC"; DOA 259 "DOA"; AMTRELAY 260 "AMTRELAY";
    RESINFO 261 "RESINFO"; WALLET 262 "WALLET"; CLA 263 "CLA"; IPN 264 "IPN"; TA 32768 "TA";
    DLV 32769 "DLV";
}

impl RecordType {
    /// Returns the mnemonic, if the type has one.
    pub fn mnemonic(self) -> Option<&'static str> {
        let row = MNEMONICS.binary_search_by_key(&self.0, |row| row.0).ok()?;
        Some(MNEMONICS[row].1)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.pad(mnemonic),
            None => f.pad(&format!("TYPE{}", self.0)),
        }
    }
}

impl FromStr for RecordType {
    type Err = ParseRecordTypeError;

    fn from_str(text: &str) -> Result<Self, ParseRecordTypeError> {
        if let Some((number, _)) = MNEMONICS.iter().find(|row| row.1.eq_ignore_ascii_case(text)) {
            return Ok(Self(*number));
        }
        let digits = text
            .get(..4)
            .filter(|prefix| prefix.eq_ignore_ascii_case("TYPE"))
            .map(|_| &text[4..])
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        digits
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| ParseRecordTypeError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_so_that_it_can_be_searched() {
        assert!(MNEMONICS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_number_reads_back() {
        for number in 0..=u16::MAX {
            let rtype = RecordType(number);
            assert_eq!(rtype.to_string().parse(), Ok(rtype));
        }
    }

    #[test]
    fn case_does_not_count_and_rubbish_is_refused() {
        assert_eq!("aaaa".parse(), Ok(RecordType::AAAA));
        assert_eq!("type257".parse(), Ok(RecordType::CAA));
        for text in ["", "TYPE", "TYPE65536", "TYPE-1", "TYPE+1", "FOO", "Ä"] {
            assert!(text.parse::<RecordType>().is_err(), "{text}");
        }
    }
}
