//! Finds out what a namespace already says, so that only differences are written.
//!
//! The document store loses up to half a second of writes in a crash, the blob store too, and a
//! peer may give older or newer entries back. So a manifest counts only if all its packs are
//! there, and a live change only if it follows on what is there; everything else is written anew.
//!
//! **Invariant:** a zone that is adopted here leads from its manifest to its revision whole.
//! **Not here:** reading the zones that were not adopted (`task`).

use std::collections::{BTreeMap, HashMap};

use super::ExportError;
use super::doc::FeedDoc;
use super::zone::ZoneFeed;
use crate::feed::beat::{Beat, Header};
use crate::feed::key::{FeedKey, parse_feed_key};
use crate::feed::live::{LiveChange, read_live};
use crate::feed::manifest::Manifest;
use crate::name::Name;
use iroh_blobs::Hash;

/// What was found in a namespace.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The header, if it can be read.
    pub(super) header: Option<Header>,
    /// Zones that are whole, by apex.
    pub(super) zones: HashMap<Name, ZoneFeed>,
    /// Zones of which something was found that is of no use.
    pub(super) broken: Vec<Name>,
    /// The revision up to which every zone that is whole has all commits.
    pub(super) revision: u64,
}

/// Reads the namespace; only what the history `epoch` wrote counts, unless it is `None`.
///
/// # Errors
/// [`ExportError::Docs`].
pub(super) async fn find(doc: &FeedDoc) -> Result<Found, ExportError> {
    let mut found = Found::default();
    let mut beat = None;
    let mut manifests = Vec::new();
    let mut lives: HashMap<Name, BTreeMap<(u64, u8), LiveChange>> = HashMap::new();
    for entry in doc.entries().await? {
        match parse_feed_key(&entry.key) {
            Ok(FeedKey::Header) => {
                let octets = doc.content(entry.hash).await;
                found.header = octets.and_then(|octets| Header::from_octets(&octets).ok());
            }
            Ok(FeedKey::Beat) => {
                let octets = doc.content(entry.hash).await;
                beat = octets.and_then(|octets| Beat::from_octets(&octets).ok());
            }
            Ok(FeedKey::Zone { apex }) => manifests.push((apex, entry.hash)),
            Ok(FeedKey::Live { apex, revision, change }) => {
                if let Ok(live) = read_live(&apex, revision, change) {
                    lives.entry(apex).or_default().insert((revision, live.part), live);
                }
            }
            Ok(FeedKey::Pack { .. } | FeedKey::Record { .. }) | Err(_) => {}
        }
    }
    let epoch = found.header.as_ref().map_or(0, |header| header.epoch);
    for (apex, hash) in manifests {
        match manifest(doc, &apex, hash, epoch).await {
            Some(manifest) => {
                let mut zone = ZoneFeed::found(manifest);
                adopt(&mut zone, lives.remove(&apex).unwrap_or_default(), epoch);
                found.zones.insert(apex, zone);
            }
            None => found.broken.push(apex),
        }
    }
    let lived = found.zones.values().map(ZoneFeed::revision).max().unwrap_or(0);
    let beat = beat.filter(|beat| beat.revision.epoch == epoch);
    // A commit that touched several zones may have been written for some of them only.
    found.revision = beat.map_or(0, |beat| beat.revision.number).max(lived.saturating_sub(1));
    Ok(found)
}

/// Returns a manifest if it is whole: of this history, readable, all packs there.
async fn manifest(doc: &FeedDoc, apex: &Name, hash: Hash, epoch: u64) -> Option<Manifest> {
    let octets = doc.content(hash).await?;
    let manifest = Manifest::from_octets(&octets).ok()?;
    if manifest.apex != *apex || manifest.revision.epoch != epoch {
        return None;
    }
    for pack in &manifest.packs {
        if !doc.has(Hash::from_bytes(pack.hash)).await {
            return None;
        }
    }
    Some(manifest)
}

/// Takes over the live changes that follow on the manifest one after another, each whole.
fn adopt(zone: &mut ZoneFeed, lives: BTreeMap<(u64, u8), LiveChange>, epoch: u64) {
    let mut whole: BTreeMap<u64, Vec<LiveChange>> = BTreeMap::new();
    for ((number, _), live) in lives {
        if live.revision.epoch == epoch && number > zone.revision() {
            whole.entry(number).or_default().push(live);
        }
    }
    for (number, parts) in whole {
        let Some(first) = parts.first() else { continue };
        let is_whole = parts.len() == usize::from(first.part_count);
        if !is_whole || first.prev > zone.revision() {
            return;
        }
        let entry_count = parts.len() as u32;
        let changes = parts.into_iter().flat_map(|part| part.changes).collect();
        zone.adopt(number, entry_count, changes);
    }
}
