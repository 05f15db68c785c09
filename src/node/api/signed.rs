//! What a write breaks in a signed zone, told with its answer.
//!
//! The node does not sign, so a record that changes in a signed zone leaves a signature behind that
//! no longer verifies, and every write raises the SOA's serial. It is done all the same (the next
//! step may bring the signatures), but not in silence.
//!
//! **Invariant:** a write has happened when this looks; nothing here makes it fail.
//! **Not here:** the rules (`dnssec`), checks of whole zones (`aspen-dns zone check`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;
use crate::clock;
use crate::dnssec::{self, CheckOptions, Finding, Ring, Time};
use crate::limits::API_CHECKED_NAMES_MAX;
use crate::name::Name;
use crate::publish::stage::Rank;
use crate::record::RecordType;
use crate::record::Rrset;
use crate::store::{Batch, Committed, DnsStore, Operation, StoreError};

/// Returns the owner names of the RRsets that a batch puts and deletes.
pub(crate) fn owners(batch: &Batch) -> Vec<Name> {
    let owner = |operation: &Operation| match operation {
        Operation::PutRrset(rrset) | Operation::PutRrsetIn { rrset, .. } => {
            Some(rrset.owner.clone())
        }
        Operation::DeleteRrset { owner, .. }
        | Operation::DeleteRrsetIn { owner, .. }
        | Operation::ExtendRrsetIn { owner, .. }
        | Operation::PruneRrsetIn { owner, .. } => Some(owner.clone()),
        Operation::PutZone(_) | Operation::DeleteZone { .. } => None,
    };
    let mut owners: Vec<Name> = batch.operations.iter().filter_map(owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Adds what a commit has broken to its answer: lines as `warnings`, and `findings` for programs.
///
/// Nothing is added where nothing is broken.
pub(super) async fn add_warnings(
    api: &Api,
    store: &Arc<DnsStore>,
    committed: &Committed,
    owners: &[Name],
    body: &mut Value,
) {
    let mut found = Vec::new();
    for apex in maybe_signed(api, committed, owners) {
        found.extend(findings(store, apex, owners).await);
    }
    if found.is_empty() {
        return;
    }
    let mut lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    if let Some(more) = owners.len().checked_sub(API_CHECKED_NAMES_MAX).filter(|more| *more > 0) {
        lines.push(format!("{more} more names were not looked at"));
    }
    body["warnings"] = json!(lines);
    body["findings"] = found.iter().map(Finding::to_json).collect();
}

/// Logs what a commit has broken, for paths whose answers have no body.
pub(super) async fn log_warnings(
    api: &Api,
    store: &Arc<DnsStore>,
    committed: &Committed,
    owners: &[Name],
) {
    for apex in maybe_signed(api, committed, owners) {
        for finding in findings(store, apex, owners).await {
            tracing::warn!("after revision {}: {finding}", committed.revision);
        }
    }
}

/// Returns those of the zones of a commit that may be signed: all but those that are answered without a key, and
/// had none written. The store, which may be far away, need not be asked of these.
fn maybe_signed<'c>(
    api: &Api,
    committed: &'c Committed,
    owners: &[Name],
) -> impl Iterator<Item = &'c Name> {
    let has_key = |apex: &Name| {
        let answered = api.node.stage.zone(Rank::Store, apex);
        owners.contains(apex)
            || answered.is_none_or(|zone| zone.rrset(apex, RecordType::DNSKEY).is_some())
    };
    committed.zones.iter().map(|(apex, _)| apex).filter(move |apex| has_key(apex))
}

/// Returns what is broken at the given names of one zone; nothing if it is not signed.
pub(crate) async fn findings(store: &Arc<DnsStore>, apex: &Name, owners: &[Name]) -> Vec<Finding> {
    // The write is done: if the store cannot be read now, the next request will tell.
    read_and_check(store, apex, owners).await.unwrap_or_default()
}

/// Reads what is needed and checks it.
///
/// # Errors
/// Those of the engine.
async fn read_and_check(
    store: &Arc<DnsStore>,
    apex: &Name,
    owners: &[Name],
) -> Result<Vec<Finding>, StoreError> {
    let mut touched: Vec<Name> =
        owners.iter().filter(|owner| owner.is_at_or_below(apex)).cloned().collect();
    touched.truncate(API_CHECKED_NAMES_MAX);
    if touched.is_empty() || store.get_record(apex, RecordType::DNSKEY).await?.is_none() {
        return Ok(Vec::new());
    }
    let at_apex = rrsets_of(store, apex, std::slice::from_ref(apex)).await?;
    let needed = dnssec::names_needed(apex, &at_apex, &touched);
    let rrsets = rrsets_of(store, apex, &needed).await?;
    let apex = apex.clone();
    let check = move || {
        let options = CheckOptions { now: now(), expiry_warning_s: 0, threads: 1 };
        dnssec::check_names(&apex, &rrsets, &touched, &options, &Ring).findings
    };
    // Some milliseconds for many names, which no task of the runtime should wait for.
    Ok(tokio::task::spawn_blocking(check).await.unwrap_or_default())
}

/// Reads the RRsets of some names of a zone.
async fn rrsets_of(
    store: &Arc<DnsStore>,
    apex: &Name,
    owners: &[Name],
) -> Result<Vec<Rrset>, StoreError> {
    let found = store.records_in(apex, owners).await?;
    Ok(found.into_iter().map(|stored| stored.rrset).collect())
}

/// Returns the time as signatures count it, modulo 2^32 (RFC 4034 section 3.1.5).
fn now() -> Time {
    Time(((clock::now_ms() / 1_000) & u64::from(u32::MAX)) as u32)
}
