//! Checks a zone as validators and resolvers will see it: signatures, chains of denial, digests,
//! the keys and who vouches for them, delegations.
//!
//! A zone is signed elsewhere and served as it was signed, so what the signer or a later edit broke
//! is found here or by everybody else.
//!
//! **Invariant:** takes the time, never asks for it; every finding names owner, type, rule and
//! remedy; time is linear in the zone but for sorting it, and memory is bounded by it.
//! **Not here:** the syntax of master files (`record::master`), signing.

pub(crate) mod canonical;
pub(crate) mod crypto;
mod delegation;
pub(crate) mod fault;
pub(crate) mod keys;
mod nsec;
mod nsec3;
mod signatures;
mod touched;
mod view;
mod zonemd;

use std::collections::BTreeMap;

pub use crypto::Crypto;
#[cfg(feature = "verify")]
pub use crypto::Ring;
pub use fault::{Fault, Finding, Severity, Time};
pub use touched::{check_names, names_needed};

use crate::limits::FINDINGS_PER_KIND_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset, Soa};
use view::{NameKind, SignedView};

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// The time at which signatures must be valid.
    pub now: Time,
    /// Signatures that expire within so many seconds are told of.
    pub expiry_warning_s: u32,
    /// Threads that verify signatures.
    pub threads: usize,
}

/// What the parent zone says of the zone.
#[derive(Clone, Copy, Debug)]
pub enum Parent<'a> {
    /// It was not asked.
    Unknown,
    /// The RDATA of its DS records; none if it has none.
    Ds(&'a [Vec<u8>]),
}

/// What a check has found.
#[derive(Clone, Debug, Default)]
pub struct ZoneReport {
    /// By owner name in canonical order; of each kind of fault the first
    /// [`FINDINGS_PER_KIND_MAX`] that were found.
    pub findings: Vec<Finding>,
    /// How many errors there are, those not kept counted too.
    pub errors: u64,
    /// How many warnings there are, those not kept counted too.
    pub warnings: u64,
    /// How many there are of each kind of which not all were kept, by its code.
    pub counts: BTreeMap<&'static str, u64>,
    /// Whether the zone has DNSSEC records.
    pub is_signed: bool,
    /// Signatures that were looked at.
    pub signatures: u64,
}

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Those that are kept.
    kept: Vec<Finding>,
    /// How many there are of each kind.
    counts: BTreeMap<&'static str, u64>,
    /// Errors.
    errors: u64,
    /// Warnings.
    warnings: u64,
}

impl Findings {
    /// Counts a finding, and keeps it while there are few of its kind.
    fn add(&mut self, severity: Severity, owner: &Name, rtype: RecordType, fault: Fault) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        let count = self.counts.entry(fault.code()).or_insert(0);
        *count += 1;
        if *count <= FINDINGS_PER_KIND_MAX {
            self.kept.push(Finding { severity, owner: owner.clone(), rtype, fault });
        }
    }

    /// Ends the collection.
    fn finish(mut self) -> ZoneReport {
        self.kept
            .sort_by(|a, b| (&a.owner, a.rtype, a.severity).cmp(&(&b.owner, b.rtype, b.severity)));
        self.counts.retain(|_, count| *count > FINDINGS_PER_KIND_MAX);
        ZoneReport {
            findings: self.kept,
            errors: self.errors,
            warnings: self.warnings,
            counts: self.counts,
            ..ZoneReport::default()
        }
    }
}

/// Checks the zone at `apex`, whose RRsets may be in any order; those outside of it are left out.
pub fn check(
    apex: &Name,
    rrsets: &[Rrset],
    parent: Parent<'_>,
    options: &CheckOptions,
    crypto: &dyn Crypto,
) -> ZoneReport {
    debug_assert!(rrsets.iter().all(|rrset| rrset.owner.is_at_or_below(apex)));
    let view = SignedView::new(apex, rrsets);
    let mut findings = Findings::default();
    delegation::check(&view, &mut findings);
    zonemd::check(&view, crypto, &mut findings);
    let is_signed = is_signed(&view);
    let signatures = if is_signed {
        check_signed(&view, parent, options, crypto, &mut findings)
    } else {
        if matches!(parent, Parent::Ds([_, ..])) {
            findings.add(Severity::Error, apex, RecordType::DS, Fault::DsUnsigned {});
        }
        0
    };
    ZoneReport { is_signed, signatures, ..findings.finish() }
}

/// Whether a zone has records that only signed zones have.
fn is_signed(view: &SignedView<'_>) -> bool {
    let is_of_signed = |rtype| {
        matches!(
            rtype,
            RecordType::DNSKEY | RecordType::NSEC | RecordType::NSEC3 | RecordType::NSEC3PARAM
        )
    };
    let has_keys = view.at_apex(RecordType::DNSKEY).is_some();
    // Below a cut, or at a name that a parent was given by mistake, they say nothing of the zone.
    let places = || view.places.iter().filter(|place| !matches!(place.kind, NameKind::Occluded(_)));
    has_keys
        || places().any(|place| {
            place.set(RecordType::RRSIG).is_some()
                || place.sets.iter().any(|set| is_of_signed(set.rtype))
        })
}

/// Checks all that a signed zone has more; returns how many signatures were looked at.
fn check_signed(
    view: &SignedView<'_>,
    parent: Parent<'_>,
    options: &CheckOptions,
    crypto: &dyn Crypto,
    findings: &mut Findings,
) -> u64 {
    let keys = keys::keys_of(view);
    if view.at_apex(RecordType::DNSKEY).is_none() {
        findings.add(Severity::Error, view.apex, RecordType::DNSKEY, Fault::NoKey {});
    }
    let mut covered = Vec::new();
    for place in &view.places {
        covered.extend(signatures::judge_place(view.apex, place, &keys, options.now, findings));
    }
    signatures::verify_all(&mut covered, crypto, options.threads);
    let signing = signatures::report(view, &keys, &covered, options, findings);
    keys::check_keys(view, &keys, findings);
    keys::check_parent(view, &keys, &signing, parent, crypto, findings);
    keys::check_cds(view, &keys, &signing, crypto, findings);
    check_denial(view, findings);
    covered.iter().map(|covered| covered.judged.len() as u64).sum()
}

/// Checks the records that deny names and types.
fn check_denial(view: &SignedView<'_>, findings: &mut Findings) {
    let has = |rtype| {
        let mut places =
            view.places.iter().filter(|place| !matches!(place.kind, NameKind::Occluded(_)));
        places.any(|place| place.set(rtype).is_some())
    };
    let has_nsec3 = has(RecordType::NSEC3) || view.at_apex(RecordType::NSEC3PARAM).is_some();
    match (has(RecordType::NSEC), has_nsec3) {
        (false, false) => {
            findings.add(Severity::Error, view.apex, RecordType::NSEC, Fault::NoDenial {});
        }
        (true, false) => nsec::check(view, findings),
        (false, true) => nsec3::check(view, findings),
        (true, true) => {
            findings.add(Severity::Error, view.apex, RecordType::NSEC, Fault::MixedDenial {});
            nsec3::check(view, findings);
        }
    }
    check_denial_ttls(view, findings);
    for rtype in [RecordType::CDS, RecordType::CDNSKEY] {
        for place in view.places.iter().filter(|place| place.owner != view.apex) {
            if place.set(rtype).is_some() {
                findings.add(Severity::Error, place.owner, rtype, Fault::CdsNotAtApex {});
            }
        }
    }
}

/// Checks that the records have the TTL of negative answers (RFC 9077 section 3).
fn check_denial_ttls(view: &SignedView<'_>, findings: &mut Findings) {
    let Some(set) = view.at_apex(RecordType::SOA) else { return };
    let Some(soa) = Soa::read(set.rdata.first()) else { return };
    let expected_s = soa.negative_ttl_s(set.ttl_s);
    for set in view.places.iter().flat_map(|place| &place.sets) {
        if set.rtype.is_denial() && set.ttl_s != expected_s {
            let fault = Fault::DenialTtl { ttl_s: set.ttl_s, expected_s };
            findings.add(Severity::Warning, &set.owner, set.rtype, fault);
        }
    }
}

#[cfg(test)]
mod tests;
