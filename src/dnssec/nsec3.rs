//! The chains of NSEC3 records (RFC 5155, RFC 9276).
//!
//! With opt-out, delegations that are not secure, and the empty non-terminals that only lead to
//! such, may have no record as long as a record with the flag covers them (RFC 5155 section 7.1).

use std::collections::{BTreeSet, HashMap};

use data_encoding::BASE32HEX_NOPAD;

use super::Findings;
use super::fault::{Fault, Severity};
use super::nsec::compare_types;
use super::view::{NameKind, SignedName, SignedView};
use crate::limits::NSEC3_ITERATIONS_CHECKED_MAX;
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::zone::nsec3::{NameHash, Nsec3Params, nsec3_hash, nsec3_key};

/// A record of an NSEC3 RRset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nsec3<'a> {
    /// Hash algorithm, iterations, salt with its length: what NSEC3PARAM says too, flags aside.
    algorithm: u8,
    /// Whether it may cover delegations that are not secure.
    pub is_opt_out: bool,
    /// Further rounds and salt, as in RDATA.
    tail: &'a [u8],
    /// The next hash.
    next: &'a [u8],
    /// The types.
    pub bitmap: &'a [u8],
}

/// A record of a chain, with its owner.
type Link<'a> = (NameHash, Nsec3<'a>, &'a Name);

impl<'a> Nsec3<'a> {
    /// Reads NSEC3 RDATA, if it is whole.
    pub(crate) fn parse(rdata: &'a [u8]) -> Option<Self> {
        let [algorithm, flags, _, _, salt_len, ..] = rdata else { return None };
        let (tail, rest) = rdata[2..].split_at_checked(3 + usize::from(*salt_len))?;
        let (next_len, rest) = rest.split_first()?;
        let (next, bitmap) = rest.split_at_checked(usize::from(*next_len))?;
        Some(Self { algorithm: *algorithm, is_opt_out: flags & 1 != 0, tail, next, bitmap })
    }

    /// Whether NSEC3PARAM RDATA is about the chain that this record is of.
    pub(crate) fn is_of(&self, param: &[u8]) -> bool {
        param.first() == Some(&self.algorithm) && param.get(2..) == Some(self.tail)
    }
}

/// Returns what NSEC3PARAM RDATA says, if its flags are 0 and its hash algorithm is known.
pub(crate) fn params_of(param: &[u8]) -> Option<Nsec3Params> {
    let [1, 0, high, low, salt_len, salt @ ..] = param else { return None };
    let salt = salt.get(..usize::from(*salt_len))?.into();
    Some(Nsec3Params { iterations: u16::from_be_bytes([*high, *low]), salt })
}

/// Checks the chain of each NSEC3PARAM record, and that every record is of one.
pub(crate) fn check(view: &SignedView<'_>, findings: &mut Findings) {
    let params = view.at_apex(RecordType::NSEC3PARAM);
    let params: Vec<&[u8]> = params.into_iter().flat_map(|set| set.rdata.iter()).collect();
    check_params(view.apex, &params, findings);
    let known: Vec<&[u8]> =
        params.iter().copied().filter(|param| param.get(1) == Some(&0)).collect();
    let mut chains: Vec<Vec<Link<'_>>> = known.iter().map(|_| Vec::new()).collect();
    let owners = view.places.iter().filter_map(|place| place.set(RecordType::NSEC3));
    for set in owners {
        let mut is_in = vec![false; known.len()];
        for (index, link) in links(view.apex, set, &known, findings) {
            if std::mem::replace(&mut is_in[index], true) {
                let fault = Fault::DenialNotSingle {};
                findings.add(Severity::Error, &set.owner, RecordType::NSEC3, fault);
            } else {
                chains[index].push(link);
            }
        }
    }
    if known.is_empty() {
        findings.add(Severity::Error, view.apex, RecordType::NSEC3PARAM, Fault::Nsec3NoParam {});
    }
    for (param, chain) in known.iter().zip(&mut chains) {
        let Some(params) = params_of(param) else { continue };
        if params.iterations <= NSEC3_ITERATIONS_CHECKED_MAX {
            chain.sort_unstable_by_key(|link| link.0);
            check_chain(view, &params, chain, findings);
        }
    }
}

/// Checks what the parameters themselves say.
fn check_params(apex: &Name, params: &[&[u8]], findings: &mut Findings) {
    let mut add = |severity, fault| findings.add(severity, apex, RecordType::NSEC3PARAM, fault);
    for param in params {
        let [algorithm, _, high, low, salt_len, ..] = param[..] else {
            add(Severity::Error, Fault::Malformed {});
            continue;
        };
        let iterations = u16::from_be_bytes([high, low]);
        if algorithm != 1 {
            add(Severity::Error, Fault::Nsec3Hash { algorithm });
        }
        if iterations > NSEC3_ITERATIONS_CHECKED_MAX {
            add(Severity::Error, Fault::Nsec3IterationsTooMany { iterations });
        } else if iterations > 0 {
            add(Severity::Warning, Fault::Nsec3Iterations { iterations });
        }
        if salt_len > 0 {
            add(Severity::Warning, Fault::Nsec3Salt { octets: usize::from(salt_len) });
        }
    }
}

/// Returns the records of one owner, each with the place of its parameters in `params`.
fn links<'a>(
    apex: &Name,
    set: &'a Rrset,
    params: &[&[u8]],
    findings: &mut Findings,
) -> Vec<(usize, Link<'a>)> {
    let mut links = Vec::new();
    let prefix = &set.owner.as_wire()[..set.owner.as_wire().len() - apex.as_wire().len()];
    let hash = nsec3_key(prefix).and_then(|key| NameHash::try_from(&key[..]).ok());
    for rdata in &set.rdata {
        let (Some(hash), Some(record)) = (hash, Nsec3::parse(rdata)) else {
            findings.add(Severity::Error, &set.owner, RecordType::NSEC3, Fault::Malformed {});
            continue;
        };
        match params.iter().position(|param| record.is_of(param)) {
            Some(index) => links.push((index, (hash, record, &set.owner))),
            None if params.is_empty() => {}
            None => {
                let fault = Fault::Nsec3ParamsDiffer {};
                findings.add(Severity::Error, &set.owner, RecordType::NSEC3, fault);
            }
        }
    }
    links
}

/// What the record of a name must say.
#[derive(Debug)]
struct Expected {
    /// The types of its bitmap.
    types: Vec<RecordType>,
    /// Whether the record may be missing below an opt-out span.
    is_optional: bool,
}

/// Checks one chain, sorted by hash.
fn check_chain(
    view: &SignedView<'_>,
    params: &Nsec3Params,
    chain: &[Link<'_>],
    findings: &mut Findings,
) {
    let mut seen: BTreeSet<NameHash> = BTreeSet::new();
    for (wire, expected) in expected_names(view) {
        let hash = nsec3_hash(wire, params);
        let name = || Name::from_wire(wire).unwrap_or_else(|_| Name::root());
        let at = chain.partition_point(|link| link.0 <= hash);
        // The last record covers what comes before the first.
        let before = at.checked_sub(1).map_or(chain.last(), |at| chain.get(at));
        match before {
            Some((found, record, owner)) if *found == hash => {
                seen.insert(hash);
                if let Some((missing, extra)) = compare_types(record.bitmap, expected.types) {
                    let fault = Fault::Nsec3Types { name: name(), missing, extra };
                    findings.add(Severity::Error, owner, RecordType::NSEC3, fault);
                }
            }
            Some((_, record, _)) if expected.is_optional && record.is_opt_out => {}
            _ => {
                let fault = Fault::Nsec3Missing { hash: text_of(&hash) };
                findings.add(Severity::Error, &name(), RecordType::NSEC3, fault);
            }
        }
    }
    for (index, (hash, record, owner)) in chain.iter().enumerate() {
        let mut error = |fault| findings.add(Severity::Error, owner, RecordType::NSEC3, fault);
        if !seen.contains(hash) {
            error(Fault::Nsec3Extra {});
        }
        let next = chain.get(index + 1).or(chain.first()).map_or(&[][..], |next| &next.0);
        if record.next != next {
            let (found, expected) = (text_of(record.next), text_of(next));
            error(Fault::Nsec3Next { found, expected });
        }
    }
}

/// Returns every name that exists in the zone, empty non-terminals included, in wire form.
fn expected_names<'a>(view: &SignedView<'a>) -> HashMap<&'a [u8], Expected> {
    let mut names: HashMap<&[u8], Expected> = HashMap::with_capacity(view.places.len());
    let apex_len = view.apex.as_wire().len();
    for place in view.named().filter(|place| !place.types().is_empty()) {
        let (types, is_optional) = (types_at(place), is_optional(place));
        let wire = place.owner.as_wire();
        names.insert(wire, Expected { types, is_optional });
        let mut at = 0;
        // Names come after all those above them, so one that is not there yet is empty.
        while wire.len() - at > apex_len {
            at += usize::from(wire[at]) + 1;
            let above = names
                .entry(&wire[at..])
                .or_insert_with(|| Expected { types: Vec::new(), is_optional: true });
            above.is_optional &= is_optional;
        }
    }
    names
}

/// Returns the types in the bitmap of a name's record (RFC 5155 section 7.1).
pub(crate) fn types_at(place: &SignedName<'_>) -> Vec<RecordType> {
    let mut types = place.types();
    // A delegation that is not secure has nothing that is signed.
    if place.kind == NameKind::Data || place.set(RecordType::DS).is_some() {
        types.push(RecordType::RRSIG);
    }
    types.retain(|rtype| *rtype != RecordType::NSEC3);
    types
}

/// Whether the name's record may be missing where there is opt-out (RFC 5155 section 6).
pub(crate) fn is_optional(place: &SignedName<'_>) -> bool {
    place.kind == NameKind::Cut && place.set(RecordType::DS).is_none()
}

/// Writes a hash as owner names spell it.
pub(crate) fn text_of(hash: &[u8]) -> String {
    BASE32HEX_NOPAD.encode(hash).to_ascii_lowercase()
}
