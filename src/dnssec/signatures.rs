//! Signatures: which there must be, what they must say, and whether they verify.
//!
//! RFC 4034 section 3, RFC 4035 sections 2.2 and 5.3. One valid signature of an RRset is enough for
//! a validator, so what is wrong with the others beside it are warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use super::canonical;
use super::crypto::{Crypto, Verification};
use super::fault::{Fault, Severity, Time};
use super::keys::DnsKey;
use super::view::{SignedName, SignedView};
use super::{CheckOptions, Findings};
use crate::name::{Name, wire_len};
use crate::record::{RecordType, Rrset};

/// A record of an RRSIG RRset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature<'a> {
    /// The type that it covers.
    pub covered: RecordType,
    /// Algorithm.
    pub algorithm: u8,
    /// Labels of the owner name, `*` not counted.
    pub labels: u8,
    /// TTL, in seconds, that was signed.
    pub original_ttl_s: u32,
    /// From when on it is not valid.
    pub expiration: Time,
    /// Since when it is valid.
    pub inception: Time,
    /// Tag of the key.
    pub tag: u16,
    /// The signer's name in wire form, in any case.
    pub signer: &'a [u8],
    /// RDATA before the signer's name.
    fixed: &'a [u8],
    /// The signature itself.
    value: &'a [u8],
}

/// What is known of one signature.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    /// The signature.
    pub sig: Signature<'a>,
    /// What makes it worthless, and what is only wrong.
    pub faults: Vec<(Severity, Fault)>,
    /// Keys that may have made it.
    keys: Vec<DnsKey<'a>>,
    /// What cryptography says; [`Verification::Unknown`] until it was asked.
    verdict: Verification,
}

/// An RRset that must be signed, and its signatures.
#[derive(Debug)]
pub(crate) struct Covered<'a> {
    /// The RRset.
    pub rrset: &'a Rrset,
    /// Its signatures.
    pub judged: Vec<Judged<'a>>,
}

impl<'a> Signature<'a> {
    /// Reads RRSIG RDATA, if it is whole.
    pub(crate) fn parse(rdata: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = rdata.split_at_checked(18)?;
        let (signer, value) = rest.split_at_checked(wire_len(rest).ok()?)?;
        let long = |at: usize| Some(u32::from_be_bytes(*fixed.get(at..)?.first_chunk()?));
        Some(Self {
            covered: RecordType(u16::from_be_bytes([fixed[0], fixed[1]])),
            algorithm: fixed[2],
            labels: fixed[3],
            original_ttl_s: long(4)?,
            expiration: Time(long(8)?),
            inception: Time(long(12)?),
            tag: u16::from_be_bytes([fixed[16], fixed[17]]),
            signer,
            fixed,
            value,
        })
    }

    /// Returns the octets that were signed (RFC 4034 section 3.1.8.1).
    fn message(&self, rrset: &Rrset) -> Vec<u8> {
        let mut message = Vec::with_capacity(256);
        message.extend_from_slice(self.fixed);
        message.extend(self.signer.iter().map(u8::to_ascii_lowercase));
        let owner = rrset.owner.as_wire();
        let labels = label_count(&rrset.owner);
        let mut wildcard = b"\x01*".to_vec();
        // Of a name with more labels than were signed, the wildcard that it came from was signed.
        let owner = match usize::from(labels.saturating_sub(self.labels)) {
            0 => owner,
            surplus => {
                let mut name = rrset.owner.clone();
                for _ in 0..surplus {
                    name = name.parent().unwrap_or_else(Name::root);
                }
                wildcard.extend_from_slice(name.as_wire());
                &wildcard
            }
        };
        canonical::push_records(&mut message, owner, rrset, |_| self.original_ttl_s, |_| true);
        message
    }
}

impl Judged<'_> {
    /// Whether a validator takes it, as far as we can tell.
    pub(crate) fn is_good(&self) -> bool {
        self.verdict != Verification::Invalid
            && self.faults.iter().all(|(severity, _)| *severity == Severity::Warning)
    }
}

/// Judges the signatures of one name without cryptography, and finds those that should not be.
pub(crate) fn judge_place<'a>(
    apex: &Name,
    place: &SignedName<'a>,
    keys: &[DnsKey<'a>],
    now: Time,
    findings: &mut Findings,
) -> Vec<Covered<'a>> {
    let owner = place.owner;
    let set = place.set(RecordType::RRSIG);
    let (mut sigs, mut foreign) = (Vec::new(), BTreeSet::new());
    for rdata in set.into_iter().flat_map(|set| set.rdata.iter()) {
        let Some(sig) = Signature::parse(rdata) else {
            findings.add(Severity::Error, owner, RecordType::RRSIG, Fault::Malformed {});
            continue;
        };
        let covered = sig.covered;
        if place.set(covered).is_none() {
            let fault = Fault::CoversNothing { covered };
            findings.add(Severity::Warning, owner, RecordType::RRSIG, fault);
        } else if !place.is_signed(covered) {
            foreign.insert(covered);
        } else {
            sigs.push(sig);
        }
    }
    for rtype in foreign {
        findings.add(Severity::Error, owner, rtype, Fault::SignedForeign {});
    }
    let signed = place.sets.iter().filter(|set| place.is_signed(set.rtype));
    signed
        .map(|rrset| {
            let own = sigs.iter().filter(|sig| sig.covered == rrset.rtype);
            Covered { rrset, judged: own.map(|sig| judge(apex, rrset, *sig, keys, now)).collect() }
        })
        .collect()
}

/// Judges one signature without cryptography.
fn judge<'a>(
    apex: &Name,
    rrset: &Rrset,
    sig: Signature<'a>,
    keys: &[DnsKey<'a>],
    now: Time,
) -> Judged<'a> {
    let mut faults = Vec::new();
    let (tag, algorithm) = (sig.tag, sig.algorithm);
    if !sig.signer.eq_ignore_ascii_case(apex.as_wire()) {
        let signer = Name::from_wire(sig.signer).unwrap_or_else(|_| Name::root());
        faults.push((Severity::Error, Fault::SignerNotApex { signer }));
    }
    let expected = label_count(&rrset.owner);
    if sig.labels != expected {
        let fault = Fault::LabelsDiffer { labels: sig.labels, expected };
        faults.push((Severity::Error, fault));
    }
    if sig.original_ttl_s != rrset.ttl_s {
        let (original_ttl_s, ttl_s) = (sig.original_ttl_s, rrset.ttl_s);
        // Validators cut a TTL to the one that was signed, so a smaller one does no harm.
        let is_harmful = ttl_s > original_ttl_s;
        let severity = if is_harmful { Severity::Error } else { Severity::Warning };
        faults.push((severity, Fault::OriginalTtlDiffers { original_ttl_s, ttl_s }));
    }
    if now.seconds_after(sig.expiration) > 0 {
        faults.push((Severity::Error, Fault::Expired { tag, at: sig.expiration }));
    }
    if sig.inception.seconds_after(now) > 0 {
        faults.push((Severity::Error, Fault::NotYetValid { tag, at: sig.inception }));
    }
    let named = keys.iter().filter(|key| key.tag == tag && key.algorithm == algorithm);
    // A revoked key still signs itself, to say so (RFC 5011 section 2.1).
    let is_dnskey = rrset.rtype == RecordType::DNSKEY;
    let (usable, others): (Vec<DnsKey<'_>>, Vec<DnsKey<'_>>) =
        named.partition(|key| key.is_usable && (is_dnskey || !key.is_revoked));
    if usable.is_empty() {
        let is_revoked = others.iter().any(|key| key.is_revoked);
        let missing = Fault::KeyMissing { tag, algorithm };
        let fault = if is_revoked { Fault::KeyRevoked { tag } } else { missing };
        faults.push((Severity::Error, fault));
    }
    Judged { sig, faults, keys: usable, verdict: Verification::Unknown }
}

/// Verifies all signatures that have a key, on `threads` threads.
pub(crate) fn verify_all(covered: &mut [Covered<'_>], crypto: &dyn Crypto, threads: usize) {
    let share = covered.len().div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let mut shares = covered.chunks_mut(share);
        let own = shares.next();
        for share in shares {
            scope.spawn(|| verify(share, crypto));
        }
        verify(own.unwrap_or_default(), crypto);
    });
}

/// Verifies the signatures of some RRsets.
fn verify(covered: &mut [Covered<'_>], crypto: &dyn Crypto) {
    for Covered { rrset, judged } in covered {
        for judged in judged {
            let sig = &judged.sig;
            if judged.keys.is_empty() {
                continue;
            }
            let message = sig.message(rrset);
            // Two keys may have one tag (RFC 4034 section 5.1.1): one of them will do.
            let verdicts = judged
                .keys
                .iter()
                .map(|key| crypto.verify(sig.algorithm, key.public, &message, sig.value));
            judged.verdict = verdicts
                .max_by_key(|verdict| match verdict {
                    Verification::Invalid => 0,
                    Verification::Unknown => 1,
                    Verification::Valid => 2,
                })
                .unwrap_or(Verification::Unknown);
            if judged.verdict == Verification::Invalid {
                judged.faults.push((Severity::Error, Fault::BadSignature { tag: sig.tag }));
            }
        }
    }
}

/// Tells what was found; returns the tags of the keys that sign the DNSKEY RRset.
pub(crate) fn report(
    view: &SignedView<'_>,
    keys: &[DnsKey<'_>],
    covered: &[Covered<'_>],
    options: &CheckOptions,
    findings: &mut Findings,
) -> Vec<u16> {
    let mut signing = Vec::new();
    let usable = keys.iter().filter(|key| key.is_usable && !key.is_revoked);
    let algorithms: BTreeSet<u8> = usable.map(|key| key.algorithm).collect();
    let (mut incomplete, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    let (mut soon, mut soonest) = (0_u64, i32::MAX);
    for Covered { rrset, judged } in covered {
        report_rrset(rrset, judged, findings);
        let good = || judged.iter().filter(|judged| judged.is_good());
        if rrset.rtype == RecordType::DNSKEY && rrset.owner == *view.apex {
            signing.extend(good().map(|judged| judged.sig.tag));
        }
        for algorithm in algorithms.iter().filter(|_| !judged.is_empty()) {
            if !good().any(|judged| judged.sig.algorithm == *algorithm) {
                *incomplete.entry(*algorithm).or_insert(0_u64) += 1;
            }
        }
        for judged in good() {
            let sig = &judged.sig;
            if judged.verdict == Verification::Unknown && !judged.keys.is_empty() {
                *unknown.entry(sig.algorithm).or_insert(0_u64) += 1;
            }
            let left_s = sig.expiration.seconds_after(options.now);
            if u32::try_from(left_s).is_ok_and(|left_s| left_s < options.expiry_warning_s) {
                soon += 1;
                soonest = soonest.min(left_s);
            }
        }
    }
    let mut add = |severity, fault| findings.add(severity, view.apex, RecordType::DNSKEY, fault);
    // Where there is one algorithm alone, what lacks its signatures was told already.
    for (algorithm, rrsets) in incomplete.into_iter().filter(|_| algorithms.len() > 1) {
        add(Severity::Error, Fault::AlgorithmIncomplete { algorithm, rrsets });
    }
    for (algorithm, signatures) in unknown {
        add(Severity::Warning, Fault::AlgorithmUnknown { algorithm, signatures });
    }
    if soon > 0 {
        let at = Time(options.now.0.wrapping_add_signed(soonest));
        let fault = Fault::ExpiresSoon { signatures: soon, at };
        findings.add(Severity::Warning, view.apex, RecordType::RRSIG, fault);
    }
    signing
}

/// Tells what is wrong with the signatures of one RRset.
pub(crate) fn report_rrset(rrset: &Rrset, judged: &[Judged<'_>], findings: &mut Findings) {
    let (owner, rtype) = (&rrset.owner, rrset.rtype);
    let has_good = judged.iter().any(Judged::is_good);
    for (severity, fault) in judged.iter().flat_map(|judged| &judged.faults) {
        let severity = if has_good { Severity::Warning } else { *severity };
        findings.add(severity, owner, rtype, fault.clone());
    }
    let is_dnskey = rtype == RecordType::DNSKEY;
    if is_dnskey && !has_good {
        findings.add(Severity::Error, owner, rtype, Fault::KeysNotSigned {});
    } else if judged.is_empty() {
        findings.add(Severity::Error, owner, rtype, Fault::NotSigned {});
    }
}

/// Returns how many labels a name has, `*` at its front not counted (RFC 4034 section 3.1.3).
fn label_count(owner: &Name) -> u8 {
    let labels = owner.label_count() - usize::from(owner.is_wildcard());
    // A name has 127 labels at most.
    u8::try_from(labels).unwrap_or(u8::MAX)
}
