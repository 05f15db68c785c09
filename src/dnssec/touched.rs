//! What an edit breaks in a signed zone, by the names that it touched alone.
//!
//! A whole check reads the whole zone; this one reads a few names: those touched, those above them,
//! and their NSEC3 records. What only the rest of the zone shows, such as an NSEC record before a
//! new name that leads past it, is left to [`super::check`].
//!
//! **Not here:** where the records are read (the caller), what is done about it.

use std::collections::BTreeSet;

use super::fault::{Fault, Severity};
use super::keys::keys_of;
use super::nsec3::{self, Nsec3};
use super::view::{NameKind, SignedName, SignedView};
use super::{CheckOptions, Crypto, Findings, ZoneReport, nsec, signatures, zonemd};
use crate::limits::NSEC3_ITERATIONS_CHECKED_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::zone::nsec3::{Nsec3Params, nsec3_hash, nsec3_prefix};

/// Returns the names whose RRsets [`check_names`] needs, given those of the apex.
pub fn names_needed(apex: &Name, at_apex: &[Rrset], touched: &[Name]) -> Vec<Name> {
    let mut names = BTreeSet::from([apex.clone()]);
    for owner in touched {
        names.extend(names_up_to(apex, owner));
    }
    if let Some(params) = at_apex
        .iter()
        .filter(|set| set.rtype == RecordType::NSEC3PARAM)
        .flat_map(|set| set.rdata.iter())
        .find_map(known_params)
    {
        let hashes: Vec<Name> =
            names.iter().filter_map(|name| hash_owner(apex, name, &params)).collect();
        names.extend(hashes);
    }
    names.into_iter().collect()
}

/// Checks what an edit of the names `touched` in a signed zone has left behind.
///
/// `rrsets` are those of the names that [`names_needed`] returned. The apex's SOA is looked at in
/// any case: its serial rises with every edit.
pub fn check_names(
    apex: &Name,
    rrsets: &[Rrset],
    touched: &[Name],
    options: &CheckOptions,
    crypto: &dyn Crypto,
) -> ZoneReport {
    let view = SignedView::new(apex, rrsets);
    let mut findings = Findings::default();
    let keys = keys_of(&view);
    let touched: BTreeSet<&Name> = touched.iter().collect();
    let mut covered = Vec::new();
    for place in &view.places {
        if touched.contains(place.owner) {
            covered.extend(signatures::judge_place(apex, place, &keys, options.now, &mut findings));
        } else if place.owner == apex {
            let mut soa =
                signatures::judge_place(apex, place, &keys, options.now, &mut Findings::default());
            soa.retain(|covered| covered.rrset.rtype == RecordType::SOA);
            covered.extend(soa);
        }
    }
    signatures::verify_all(&mut covered, crypto, options.threads);
    for covered in &covered {
        signatures::report_rrset(covered.rrset, &covered.judged, &mut findings);
    }
    zonemd::check_serials(&view, &mut findings);
    let params = view.at_apex(RecordType::NSEC3PARAM);
    let params = params.into_iter().flat_map(|set| set.rdata.iter());
    let known = params.filter_map(|param| Some((param, known_params(param)?))).next();
    match known {
        Some((param, params)) => check_nsec3(&view, param, &params, &touched, &mut findings),
        None if view.at_apex(RecordType::NSEC).is_some() => {
            check_nsec(&view, &touched, &mut findings);
        }
        None => {}
    }
    let signatures = covered.iter().map(|covered| covered.judged.len() as u64).sum();
    ZoneReport { is_signed: true, signatures, ..findings.finish() }
}

/// Checks the NSEC records of the names themselves.
fn check_nsec(view: &SignedView<'_>, touched: &BTreeSet<&Name>, findings: &mut Findings) {
    for place in view.places.iter().filter(|place| touched.contains(place.owner)) {
        if !place.types().is_empty() {
            nsec::check_place(place, findings);
        } else if place.set(RecordType::NSEC).is_some() {
            findings.add(Severity::Error, place.owner, RecordType::NSEC, Fault::NsecExtra {});
        }
    }
}

/// Checks the NSEC3 records of the names and of those above them.
fn check_nsec3(
    view: &SignedView<'_>,
    param: &[u8],
    params: &Nsec3Params,
    touched: &BTreeSet<&Name>,
    findings: &mut Findings,
) {
    let record = |name: &Name| {
        let owner = hash_owner(view.apex, name, params)?;
        let set = view.place(owner.as_wire())?.set(RecordType::NSEC3)?;
        set.rdata.iter().filter_map(Nsec3::parse).find(|record| record.is_of(param))
    };
    // Signers set the flag in all records of a chain or in none.
    let is_opt_out = record(view.apex).is_some_and(|record| record.is_opt_out);
    let mut above: BTreeSet<Name> = BTreeSet::new();
    for name in touched {
        let place = view.place(name.as_wire());
        let is_named =
            |place: &&SignedName<'_>| matches!(place.kind, NameKind::Data | NameKind::Cut);
        let types = place.filter(is_named).map(nsec3::types_at).unwrap_or_default();
        let is_optional = is_opt_out && place.is_none_or(nsec3::is_optional);
        match record(name) {
            Some(record) => {
                if let Some((missing, extra)) = nsec::compare_types(record.bitmap, types.clone()) {
                    let fault = Fault::Nsec3Types { name: (*name).clone(), missing, extra };
                    findings.add(Severity::Error, name, RecordType::NSEC3, fault);
                }
            }
            None if !types.is_empty() && !is_optional => {
                let hash = nsec3::text_of(&nsec3_hash(name.as_wire(), params));
                findings.add(
                    Severity::Error,
                    name,
                    RecordType::NSEC3,
                    Fault::Nsec3Missing { hash },
                );
            }
            None => {}
        }
        if !types.is_empty() && !is_optional {
            above.extend(names_up_to(view.apex, name).skip(1));
        }
    }
    for name in above.iter().filter(|name| !touched.contains(name)) {
        if record(name).is_none() {
            let hash = nsec3::text_of(&nsec3_hash(name.as_wire(), params));
            findings.add(Severity::Error, name, RecordType::NSEC3, Fault::Nsec3Missing { hash });
        }
    }
}

/// Returns parameters with which hashes are worth computing.
fn known_params(param: &[u8]) -> Option<Nsec3Params> {
    nsec3::params_of(param).filter(|params| params.iterations <= NSEC3_ITERATIONS_CHECKED_MAX)
}

/// Returns the owner of a name's NSEC3 record.
fn hash_owner(apex: &Name, name: &Name, params: &Nsec3Params) -> Option<Name> {
    let prefix = nsec3_prefix(&nsec3_hash(name.as_wire(), params));
    apex.with_label(prefix.get(1..)?).ok()
}

/// Iterates over a name and those above it, down to the apex; over nothing outside the zone.
fn names_up_to(apex: &Name, name: &Name) -> impl Iterator<Item = Name> {
    let up = std::iter::successors(Some(name.clone()), Name::parent);
    up.take_while(|name| name.is_at_or_below(apex))
}
