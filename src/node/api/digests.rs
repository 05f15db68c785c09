//! What every zone comes to, so that nodes can be compared (`aspen-dns verify`).
//!
//! **Invariant:** a row is of one revision of its zone; with `recount=true` no sum that was kept is
//! believed: records are counted anew, at an edge those that it answers with.
//! **Not here:** the comparison (the command line).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::powerdns::parse_name;
use super::records::limit_of;
use super::source::{next_cursor, parse_name_cursor};
use crate::feed::HistoryId;
use crate::feed::digest::Digest;
use crate::name::Name;
use crate::publish::Reader;
use crate::replica::AspenDnsClient;
use crate::store::DnsStore;
use crate::store::history::ZoneSource as _;

/// One page of zones.
#[derive(Debug, Serialize)]
pub(crate) struct DigestPage {
    /// The history that revisions belong to.
    history: String,
    /// The newest revision; at an edge the newest that it answers as a whole.
    revision: u64,
    /// The zones, by name.
    zones: Vec<DigestRow>,
    /// Where to go on; null at the end.
    next: Option<String>,
}

/// One zone.
#[derive(Debug, Serialize)]
struct DigestRow {
    /// Its apex.
    apex: String,
    /// The revision of the newest commit that touched it.
    revision: u64,
    /// What its records come to, and how many they are.
    digest: String,
}

/// Which zones a page is made of.
#[derive(Debug)]
struct WantedDigests {
    /// Only this one.
    only: Option<Name>,
    /// Those behind it.
    after: Option<Name>,
    /// So many at most.
    limit: u32,
}

/// Some zones, and where to go on.
type Rows = (BTreeMap<Name, (u64, Digest)>, Option<Name>);

/// `GET …/digests[?cursor=…&limit=…&zone=…&recount=true]`.
pub(crate) async fn digests(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<DigestPage>, ApiError> {
    let wanted = WantedDigests {
        only: query.get("zone").map(|name| parse_name(name)).transpose()?,
        after: query.get("cursor").map(|text| parse_name_cursor(text)).transpose()?,
        limit: limit_of(&query)?,
    };
    let is_recount = query.get("recount").is_some_and(|value| value == "true");
    let _permit = is_recount.then(|| api.long_permit()).transpose()?;
    let node = api.node();
    let (history, revision, (rows, next)) = match (&node.store, &node.client) {
        (Some(store), _) => {
            let history = store.history().await?;
            let history = HistoryId { epoch: history.epoch, id: history.id };
            let revision = store.revision().await?;
            let states = store.zone_states(wanted.from(), wanted.count()).await?;
            let rows = states.into_iter().map(|zone| (zone.apex, zone.revision, zone.digest));
            let (mut rows, next) = wanted.cut(rows);
            if is_recount {
                rows = recount_stored(store, rows).await?;
            }
            (history, revision, (rows, next))
        }
        (None, Some(client)) => {
            let status = client.mirror_status().ok_or(ApiError::NoDigests)?;
            let (mut rows, next) = wanted.cut(client.zone_digests(wanted.from(), wanted.count()));
            if is_recount {
                rows = recount_published(client, node.reader.clone(), rows).await?;
            }
            (status.history, status.served.revision, (rows, next))
        }
        (None, None) => return Err(ApiError::NoDigests),
    };
    let zones = rows.into_iter().map(|(apex, (revision, digest))| DigestRow {
        apex: apex.to_fqdn(),
        revision,
        digest: digest.to_string(),
    });
    let (history, zones) = (history.to_string(), zones.collect());
    Ok(Json(DigestPage { history, revision, zones, next: next.map(|apex| apex.to_fqdn()) }))
}

impl WantedDigests {
    /// Where the page begins.
    fn from(&self) -> Bound<&Name> {
        match (&self.only, &self.after) {
            (Some(only), _) => Bound::Included(only),
            (None, Some(after)) => Bound::Excluded(after),
            (None, None) => Bound::Unbounded,
        }
    }

    /// How many zones to read: one more than wanted says whether there are more.
    fn count(&self) -> u32 {
        if self.only.is_some() { 1 } else { self.limit + 1 }
    }

    /// Cuts a page out of the zones that were read.
    fn cut(&self, found: impl IntoIterator<Item = (Name, u64, Digest)>) -> Rows {
        let found = found.into_iter();
        let wanted = found.filter(|(apex, ..)| self.only.as_ref().is_none_or(|only| only == apex));
        let mut rows = wanted.map(|(apex, revision, digest)| (apex, (revision, digest))).collect();
        let next = next_cursor(&mut rows, self.limit);
        (rows, next)
    }
}

/// Counts the records of zones in the store; those that are gone meanwhile are left out.
async fn recount_stored(
    store: &DnsStore,
    rows: BTreeMap<Name, (u64, Digest)>,
) -> Result<BTreeMap<Name, (u64, Digest)>, ApiError> {
    let key = store.history().await?.digest_key;
    let mut counted = BTreeMap::new();
    for apex in rows.into_keys() {
        let Some(contents) = store.zone_contents(&apex).await? else { continue };
        let (revision, rrsets) = (contents.zone.revision, contents.rrsets);
        let counting = tokio::task::spawn_blocking(move || key.rrsets(rrsets));
        let digest = counting.await.map_err(|_| ApiError::Busy)?;
        counted.insert(apex, (revision, digest));
    }
    Ok(counted)
}

/// Counts the records that are answered; zones that are not, or that change again and again while they
/// are counted, are left out.
async fn recount_published(
    client: &Arc<AspenDnsClient>,
    reader: Reader,
    rows: BTreeMap<Name, (u64, Digest)>,
) -> Result<BTreeMap<Name, (u64, Digest)>, ApiError> {
    let key = client.digest_key().ok_or(ApiError::NoDigests)?;
    let client = Arc::clone(client);
    let counting = tokio::task::spawn_blocking(move || {
        let count = |apex: &Name| {
            // What is published and at which revision is read one after the other.
            for _ in 0..RECOUNTS_MAX {
                let (revision, _) = client.zone_digest(apex)?;
                let digest = key.rrsets(reader.load().zone(apex)?.rrsets());
                if client.zone_digest(apex)?.0 == revision {
                    return Some((revision, digest));
                }
            }
            None
        };
        rows.into_keys().filter_map(|apex| count(&apex).map(|row| (apex, row))).collect()
    });
    counting.await.map_err(|_| ApiError::Busy)
}

/// Times that a zone is counted which changes meanwhile.
const RECOUNTS_MAX: usize = 8;
