//! Reads a zone from the source and puts its base packs into the blob store.
//!
//! **Invariant:** the contents are held until the entries that name them stand.
//! **Not here:** those entries and the manifest (`zone`).

use std::sync::Arc;

use bytes::Bytes;
use iroh_blobs::api::Store as BlobStore;

use super::ExportError;
use super::doc::add;
use super::pack::cut;
use super::zone::{BuiltBase, BuiltPack};
use crate::name::Name;
use crate::store::history::ZoneSource;

/// Returns a new base of the zone `apex`; none when the source has no such zone.
///
/// # Errors
/// [`ExportError::Source`] and [`ExportError::Blobs`].
pub(super) async fn build(
    source: Arc<dyn ZoneSource>,
    blobs: BlobStore,
    apex: Name,
) -> Result<Option<BuiltBase>, ExportError> {
    let Some(contents) = source.zone_contents(&apex).await? else { return Ok(None) };
    let rrsets = contents.rrsets;
    let of = apex.clone();
    let cut = tokio::task::spawn_blocking(move || cut(&of, rrsets)).await;
    let cut = cut.map_err(|error| ExportError::Blobs { reason: error.to_string() })?;
    for owner in &cut.refused {
        tracing::error!(%apex, %owner, "records that fit no pack are left out of the feed");
    }
    let mut packs = Vec::with_capacity(cut.packs.len());
    for pack in cut.packs {
        let len = pack.octets.len() as u32;
        let tag = add(&blobs, Bytes::from(pack.octets)).await?;
        let (rrset_count, first_owner) = (pack.rrset_count, pack.first_owner);
        packs.push(BuiltPack { tag, len, rrset_count, first_owner });
    }
    Ok(Some(BuiltBase {
        revision: contents.revision,
        zone: contents.zone,
        serial: cut.serial,
        name_count: cut.name_count,
        packs,
    }))
}
