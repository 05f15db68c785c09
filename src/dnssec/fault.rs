//! What can be wrong with a zone: each kind with its rule and the way to mend it.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::name::Name;
use crate::record::{RdataError, RecordType, rdata};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Severity {
    /// Some answer is refused by validators, or a rule that a zone must keep is broken.
    Error,
    /// It works, but not as it should, or not for long.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Something that is wrong with one RRset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: RecordType,
    /// What is wrong.
    pub fault: Fault,
}

impl Finding {
    /// Returns the finding for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.to_string(),
            "owner": self.owner.to_fqdn(),
            "type": self.rtype.to_string(),
            "code": self.fault.code(),
            "message": self.fault.to_string(),
            "rule": self.fault.rule(),
            "remedy": self.fault.remedy(),
        })
    }
}

/// `error: www.example. A: no signature (RFC 4035 section 2.2): sign the zone again`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, owner, rtype, fault } = self;
        let (rule, remedy) = (fault.rule(), fault.remedy());
        write!(f, "{severity}: {} {rtype}: {fault} ({rule}): {remedy}", owner.to_fqdn())
    }
}

/// A time of signatures: seconds since 1970 modulo 2^32 (RFC 4034 section 3.1.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Time(pub u32);

impl Time {
    /// Returns how many seconds later this time is than another: negative if it is earlier.
    ///
    /// RFC 1982: of two times less than 2^31 seconds apart.
    pub(crate) fn seconds_after(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// `YYYYMMDDHHmmSS`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        rdata::write_time(self.0, &mut text);
        f.write_str(&text)
    }
}

/// Reads `YYYYMMDDHHmmSS` or seconds since 1970.
impl FromStr for Time {
    type Err = RdataError;

    fn from_str(text: &str) -> Result<Self, RdataError> {
        rdata::parse_time("time", text.as_bytes()).map(Self)
    }
}

/// Types of a bitmap.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Types(pub Vec<RecordType>);

/// Mnemonics with blanks between them; `none`.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else { return f.write_str("none") };
        write!(f, "{first}")?;
        others.iter().try_for_each(|rtype| write!(f, " {rtype}"))
    }
}

/// Defines the kinds of faults: fields, code, rule, message, remedy.
macro_rules! faults {
    ($($(#[$doc:meta])* $kind:ident { $($field:ident: $type:ty),* }
        $code:literal, $rule:literal, $message:literal => $remedy:literal;)*) => {
        /// What is wrong with an RRset, with the facts.
        #[allow(missing_docs)] // the message of each kind says what its fields are
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum Fault {
            $($(#[$doc])* $kind { $($field: $type),* },)*
        }

        impl Fault {
            /// Returns the name of the kind, for programs.
            pub fn code(&self) -> &'static str {
                match self { $(Self::$kind { .. } => $code,)* }
            }

            /// Returns where the rule stands that is broken.
            pub fn rule(&self) -> &'static str {
                match self { $(Self::$kind { .. } => $rule,)* }
            }

            /// Returns how to mend it.
            pub fn remedy(&self) -> &'static str {
                match self { $(Self::$kind { .. } => $remedy,)* }
            }
        }

        impl fmt::Display for Fault {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$kind { $($field),* } => write!(f, $message),)* }
            }
        }
    };
}

faults! {
    // --- keys ---
    /// Signed, without keys.
    NoKey {} "no-dnskey", "RFC 4035 section 2.1",
        "the zone has signatures but no DNSKEY RRset at its apex"
        => "publish the keys that signed it, or remove all DNSSEC records";
    /// A key that signs nothing that counts.
    KeyUnusable { tag: u16 } "dnskey-unusable", "RFC 4034 section 2.1",
        "key {tag} lacks the zone key flag, or its protocol is not 3"
        => "publish the key with flags 256 or 257 and protocol 3";
    /// An algorithm that validators drop.
    AlgorithmDeprecated { algorithm: u8 } "algorithm-deprecated", "RFC 8624 section 3.1",
        "algorithm {algorithm} is outdated; some validators take the zone for unsigned"
        => "roll over to algorithm 13 (ECDSAP256SHA256) or 15 (ED25519)";
    /// An algorithm that we cannot verify.
    AlgorithmUnknown { algorithm: u8, signatures: u64 } "algorithm-unknown",
        "RFC 8624 section 3.1",
        "{signatures} signatures of algorithm {algorithm} could not be verified here"
        => "use algorithm 8, 10, 13, 14 or 15, or have another program verify them";
    /// An algorithm of the DNSKEY RRset that has not signed everything.
    AlgorithmIncomplete { algorithm: u8, rrsets: u64 } "algorithm-incomplete",
        "RFC 4035 section 2.2",
        "{rrsets} RRsets have no valid signature of algorithm {algorithm}, of which there is a key"
        => "sign the zone with a key of each algorithm, or remove the keys of that algorithm";
    /// An algorithm that cannot go with NSEC3.
    AlgorithmNotNsec3 { algorithm: u8 } "algorithm-not-nsec3", "RFC 5155 section 2",
        "algorithm {algorithm} says that the zone has no NSEC3 records, but it has"
        => "use another algorithm, or NSEC";
    // --- the parent's DS ---
    /// The parent says signed, the zone is not.
    DsUnsigned {} "ds-unsigned", "RFC 4035 section 5.2",
        "the parent has a DS record, but the zone is not signed: every answer is refused"
        => "sign the zone, or have the DS records removed from the parent";
    /// A DS record of no key.
    DsNoKey { tag: u16, algorithm: u8 } "ds-no-dnskey", "RFC 4035 section 5.2",
        "the parent's DS record {tag} (algorithm {algorithm}) matches no DNSKEY"
        => "publish that key, or have the DS record replaced";
    /// A DS record of a key that does not sign the keys.
    DsKeyNotSigning { tag: u16 } "ds-key-not-signing", "RFC 4035 section 5.2",
        "key {tag}, which the parent's DS record names, does not validly sign the DNSKEY RRset"
        => "sign the DNSKEY RRset with that key, or have the DS record replaced";
    /// A digest that nobody verifies.
    DsDigestUnknown { tag: u16, digest_type: u8 } "ds-digest-unknown", "RFC 8624 section 3.3",
        "the digest type {digest_type} of DS record {tag} is not known here"
        => "have a DS record of digest type 2 (SHA-256) published";
    /// Only SHA-1.
    DsSha1 {} "ds-sha1", "RFC 8624 section 3.3",
        "every DS record is of digest type 1 (SHA-1), which must not be used any more"
        => "have a DS record of digest type 2 (SHA-256) published";
    /// Signed, but nobody knows.
    NoDs {} "no-ds", "RFC 4035 section 2.4",
        "the zone is signed, but its parent has no DS record: it is taken for unsigned"
        => "have the parent publish a DS record";
    /// A DS record where no zone is delegated.
    DsWithoutNs {} "ds-without-ns", "RFC 4035 section 2.4",
        "DS records stand where no NS records delegate a zone"
        => "remove the DS records, or delegate the zone";
    // --- CDS and CDNSKEY ---
    /// Not at the apex.
    CdsNotAtApex {} "cds-not-at-apex", "RFC 7344 section 4.1",
        "CDS and CDNSKEY records mean nothing below the apex"
        => "move the records to the apex";
    /// Would cut the chain.
    CdsNoKey {} "cds-no-dnskey", "RFC 7344 section 4.1",
        "no record matches a key that signs the DNSKEY RRset: the delegation would break"
        => "publish CDS and CDNSKEY records of the key signing key";
    /// One that stands for no key.
    CdsUnknownKey { tag: u16 } "cds-unknown-key", "RFC 7344 section 4.1",
        "key {tag} is not in the DNSKEY RRset"
        => "remove the record, or publish the key";
    /// The two disagree.
    CdsDiffer {} "cds-cdnskey-differ", "RFC 7344 section 4",
        "CDS and CDNSKEY records stand for different keys"
        => "publish both of the same keys, or one of the two types alone";
    /// A request to delete, among others.
    CdsDeleteNotAlone {} "cds-delete-not-alone", "RFC 8078 section 4",
        "a record that asks to delete all DS records is not alone"
        => "publish that record alone, or remove it";
    // --- signatures ---
    /// None.
    NotSigned {} "not-signed", "RFC 4035 section 2.2",
        "no signature covers the RRset"
        => "sign the zone again";
    /// The keys are not signed.
    KeysNotSigned {} "dnskey-not-signed", "RFC 4035 section 2.2",
        "no key of the DNSKEY RRset signs it: nothing in the zone can be validated"
        => "sign the DNSKEY RRset with the key signing key";
    /// Signed, though it must not be.
    SignedForeign {} "signed-not-authoritative", "RFC 4035 section 2.2",
        "signatures cover data that the zone is not authoritative for"
        => "remove the signatures of delegations, glue and what lies below";
    /// Covers nothing.
    CoversNothing { covered: RecordType } "covers-nothing", "RFC 4034 section 3.1.1",
        "a signature covers {covered}, of which there is no record here"
        => "remove the signature, or bring the RRset back";
    /// Cut short.
    Malformed {} "malformed", "RFC 4034",
        "the record does not read as its type"
        => "write the record again";
    /// Another signer.
    SignerNotApex { signer: Name } "signer-not-apex", "RFC 4035 section 5.3.1",
        "the signer's name is {signer}, not the apex"
        => "sign the RRset with the zone's own keys";
    /// Another number of labels.
    LabelsDiffer { labels: u8, expected: u8 } "labels-differ", "RFC 4034 section 3.1.3",
        "a signature says {labels} labels, the owner name has {expected}"
        => "sign the RRset again";
    /// Another TTL.
    OriginalTtlDiffers { original_ttl_s: u32, ttl_s: u32 } "original-ttl-differs",
        "RFC 4034 section 3.1.4",
        "a signature says a TTL of {original_ttl_s} seconds, the RRset has {ttl_s}"
        => "give the RRset that TTL, or sign it again";
    /// No such key.
    KeyMissing { tag: u16, algorithm: u8 } "key-missing", "RFC 4035 section 5.3.1",
        "key {tag} (algorithm {algorithm}), which made a signature, is not in the DNSKEY RRset"
        => "publish the key, or sign again with one that is published";
    /// Revoked.
    KeyRevoked { tag: u16 } "key-revoked", "RFC 5011 section 2.1",
        "key {tag}, which made a signature, is revoked"
        => "sign again with a key that is not revoked";
    /// Too late.
    Expired { tag: u16, at: Time } "signature-expired", "RFC 4034 section 3.1.5",
        "the signature of key {tag} expired at {at}"
        => "sign the zone again";
    /// Too early.
    NotYetValid { tag: u16, at: Time } "signature-not-yet-valid", "RFC 4034 section 3.1.5",
        "the signature of key {tag} is valid from {at} on"
        => "wait until then, or correct the signer's clock";
    /// Soon too late.
    ExpiresSoon { signatures: u64, at: Time } "signature-expires-soon", "RFC 6781 section 4.4.2",
        "{signatures} signatures are about to expire, the first at {at}"
        => "sign the zone again before that";
    /// Wrong.
    BadSignature { tag: u16 } "signature-bad", "RFC 4035 section 5.3.3",
        "the signature of key {tag} does not verify: the records are not those that were signed"
        => "sign the RRset again, or bring the signed records back";
    // --- denial of existence ---
    /// None at all.
    NoDenial {} "no-denial", "RFC 4035 section 2.3",
        "the zone is signed but has neither NSEC nor NSEC3 records"
        => "sign the zone again";
    /// Both.
    MixedDenial {} "mixed-denial", "RFC 5155 section 10",
        "the zone has both NSEC and NSEC3 records"
        => "remove one of the two chains";
    /// An NSEC record is missing.
    NsecMissing {} "nsec-missing", "RFC 4035 section 2.3",
        "the NSEC chain lacks the name"
        => "sign the zone again";
    /// One that should not be.
    NsecExtra {} "nsec-extra", "RFC 4035 section 2.3",
        "the name has an NSEC record but nothing else that the zone answers for"
        => "sign the zone again";
    /// Several, or records that do not read.
    DenialNotSingle {} "denial-not-single", "RFC 4035 section 2.3",
        "the name has more than one record of the chain"
        => "sign the zone again";
    /// The wrong next name.
    NsecNext { found: Name, expected: Name } "nsec-next", "RFC 4034 section 4.1.1",
        "the next name is {found}, but the zone's next name is {expected}"
        => "sign the zone again";
    /// The wrong types.
    NsecTypes { missing: Types, extra: Types } "nsec-types", "RFC 4034 section 4.1.2",
        "the bitmap lacks {missing}, and has too many: {extra}"
        => "sign the zone again";
    /// Another TTL than negative answers.
    DenialTtl { ttl_s: u32, expected_s: u32 } "denial-ttl", "RFC 9077 section 3",
        "the TTL is {ttl_s} seconds, that of negative answers {expected_s}"
        => "let the signer take the smaller of the SOA's TTL and MINIMUM";
    /// An NSEC3 record is missing.
    Nsec3Missing { hash: String } "nsec3-missing", "RFC 5155 section 7.1",
        "the NSEC3 chain lacks the name, whose hash is {hash}"
        => "sign the zone again";
    /// One of no name.
    Nsec3Extra {} "nsec3-extra", "RFC 5155 section 7.1",
        "the NSEC3 record is that of no name in the zone"
        => "sign the zone again";
    /// The wrong next hash.
    Nsec3Next { found: String, expected: String } "nsec3-next", "RFC 5155 section 7.1",
        "the next hash is {found}, but the chain goes on with {expected}"
        => "sign the zone again";
    /// The wrong types.
    Nsec3Types { name: Name, missing: Types, extra: Types } "nsec3-types", "RFC 5155 section 7.1",
        "the bitmap, which is that of {name}, lacks {missing}, and has too many: {extra}"
        => "sign the zone again";
    /// Rounds.
    Nsec3Iterations { iterations: u16 } "nsec3-iterations", "RFC 9276 section 3.1",
        "{iterations} further iterations; above 0 they only cost, and validators refuse many"
        => "sign with 0 iterations";
    /// Too many rounds.
    Nsec3IterationsTooMany { iterations: u16 } "nsec3-iterations-too-many", "RFC 5155 section 10.3",
        "{iterations} further iterations are more than any key allows; the chain was not looked at"
        => "sign with 0 iterations";
    /// A salt.
    Nsec3Salt { octets: usize } "nsec3-salt", "RFC 9276 section 3.1",
        "a salt of {octets} octets helps nothing"
        => "sign without salt";
    /// An unknown hash.
    Nsec3Hash { algorithm: u8 } "nsec3-hash-unknown", "RFC 5155 section 11",
        "hash algorithm {algorithm} is not known; 1 (SHA-1) is the only one"
        => "sign with hash algorithm 1";
    /// No parameters.
    Nsec3NoParam {} "nsec3-no-param", "RFC 5155 section 4",
        "the zone has NSEC3 records, but no NSEC3PARAM record with flags 0 at its apex"
        => "add the NSEC3PARAM record, or sign the zone again";
    /// Other parameters.
    Nsec3ParamsDiffer {} "nsec3-params-differ", "RFC 5155 section 7.1",
        "no NSEC3PARAM record has this record's hash algorithm, iterations and salt"
        => "remove the record, or sign the zone again";
    // --- ZONEMD ---
    /// Another serial.
    ZonemdSerial { serial: u32, soa_serial: u32 } "zonemd-serial", "RFC 8976 section 4",
        "the digest is of serial {serial}, the SOA has {soa_serial}"
        => "compute the digest again";
    /// Another digest.
    ZonemdDiffers { hash: u8 } "zonemd-differs", "RFC 8976 section 4",
        "the digest (hash algorithm {hash}) is not that of the zone"
        => "compute the digest again";
    /// A scheme or hash that we do not know.
    ZonemdUnknown { scheme: u8, hash: u8 } "zonemd-unknown", "RFC 8976 section 4",
        "scheme {scheme} with hash algorithm {hash} is not known here"
        => "use scheme 1 with hash algorithm 1 (SHA-384) or 2 (SHA-512)";
    /// Two of a kind.
    ZonemdTwice { scheme: u8, hash: u8 } "zonemd-twice", "RFC 8976 section 4",
        "two records have scheme {scheme} and hash algorithm {hash}: neither counts"
        => "keep one of them";
    /// Not at the apex.
    ZonemdNotApex {} "zonemd-not-at-apex", "RFC 8976 section 2",
        "ZONEMD means nothing below the apex"
        => "remove the record";
    // --- delegations and targets ---
    /// No NS at the apex.
    NoNs {} "no-ns", "RFC 1034 section 4.2.1",
        "the apex has no NS RRset"
        => "add the NS records";
    /// No glue.
    GlueMissing { host: Name } "glue-missing", "RFC 1034 section 4.2.1",
        "the name server {host} is inside the delegated zone, but has no address here"
        => "add its A or AAAA records as glue";
    /// No address.
    HostNoAddress { host: Name } "host-no-address", "RFC 1912 section 2.3",
        "{host} is in this zone, but has no address"
        => "add its A or AAAA records, or name another host";
    /// An alias.
    HostAlias { host: Name } "host-alias", "RFC 2181 section 10.3",
        "{host} is an alias, which must not stand here"
        => "name the host that the alias points to";
    /// Never answered.
    Occluded { above: Name } "occluded", "RFC 5936 section 3.5",
        "the RRset is below {above}, which delegates or redirects the name: it is never answered"
        => "move the RRset to the zone that {above} leads to, or remove it";
    /// A wildcard that delegates.
    WildcardNs {} "wildcard-ns", "RFC 4592 section 4.2",
        "NS records at a wildcard have no defined meaning"
        => "delegate each name";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_where_by_which_rule_and_what_to_do() {
        let finding = Finding {
            severity: Severity::Error,
            owner: Name::from_text("www.example").unwrap(),
            rtype: RecordType::A,
            fault: Fault::Expired { tag: 7, at: Time(1_084_127_779) },
        };
        assert_eq!(
            finding.to_string(),
            "error: www.example. A: the signature of key 7 expired at 20040509183619 \
             (RFC 4034 section 3.1.5): sign the zone again"
        );
    }

    #[test]
    fn times_are_compared_across_the_end_of_their_numbers() {
        assert_eq!(Time(5).seconds_after(Time(u32::MAX)), 6);
        assert_eq!(Time(u32::MAX).seconds_after(Time(5)), -6);
        assert_eq!("20040509183619".parse::<Time>(), Ok(Time(1_084_127_779)));
    }
}
