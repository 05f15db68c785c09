//! Makes a version's packs: reads what must be read, and lays all of it into bundles.
//!
//! Zones are read many at a time where they are small. Deltas that have become many or long are
//! joined, or give way to a new base. Whatever fails for a zone fails for that zone alone.
//!
//! **Invariant:** what is returned for a zone lies in bundles that are put.
//! **Not here:** which zones (`book`), indexes and root (`shelf`, `task`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ExportError;
use super::book::{Built, Head, Place, Work, WorkKind};
use super::bundle::{Bundler, Laid};
use super::delta::join;
use super::depot::Depot;
use super::pack::cut;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::index::BundleRef;
use crate::feed::items::item_of;
use crate::feed::pack::PackWriter;
use crate::limits::{
    DELTA_OCTETS_MIN, PACK_OCTETS_MAX, READ_TOGETHER_RECORDS_MAX, READ_TOGETHER_ZONES_MAX,
    ZONE_DELTAS_MAX, ZONE_PACKS_MAX,
};
use crate::name::Name;
use crate::record::{Change, Rrset};
use crate::store::history::{SourceError, ZoneContents, ZoneSource};

/// What came of the works of a version.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The zones that were built.
    pub(super) built: Vec<Built>,
    /// Those that were not, and why.
    pub(super) failed: Vec<(Name, ExportError)>,
    /// Zones whose records do not come to what the source says they do.
    pub(super) differing: Vec<(Name, Digest, Digest)>,
    /// Octets of bundles that were put.
    pub(super) octets: u64,
}

/// Makes the packs of a version.
pub(super) struct Folder {
    /// Where zones are read.
    source: Arc<dyn ZoneSource>,
    /// Where bundles are put.
    depot: Arc<dyn Depot>,
    /// The key of all digests.
    key: DigestKey,
    /// Packs that one zone may have.
    packs_max: u64,
    /// Bundles of bases.
    bases: Bundles,
    /// Bundles of deltas, which are rewritten sooner.
    deltas: Bundles,
    /// What has come of it.
    folded: Folded,
    /// Zones whose packs lie in bundles that may not be put yet.
    laid: Vec<LaidZone>,
}

/// Bundles that are filled one after another.
#[derive(Debug, Default)]
struct Bundles {
    /// Fills them.
    bundler: Bundler,
    /// Those that are put; `None` for one that could not be.
    put: Vec<Option<BundleRef>>,
}

/// A zone whose packs are laid.
#[derive(Debug)]
struct LaidZone {
    /// The zone, its packs in older bundles in place.
    built: Built,
    /// Its new packs.
    laid: Vec<Laid>,
    /// Whether these are deltas.
    is_delta: bool,
}

impl Folder {
    /// Begins a version.
    pub(super) fn new(source: Arc<dyn ZoneSource>, depot: Arc<dyn Depot>, key: DigestKey) -> Self {
        let (bases, deltas) = (Bundles::default(), Bundles::default());
        let packs_max = ZONE_PACKS_MAX;
        let folded = Folded::default();
        Self { source, depot, key, packs_max, bases, deltas, folded, laid: Vec::new() }
    }

    /// Does all works.
    pub(super) async fn fold(mut self, works: Vec<Work>) -> Folded {
        let mut together: Vec<(Name, Head)> = Vec::new();
        let mut records = 0;
        for work in works {
            let apex = work.apex.clone();
            let done = match work.kind {
                WorkKind::Remove => {
                    self.take_out(work.apex, work.head.revision);
                    Ok(())
                }
                WorkKind::Delta { changes, places } => {
                    match self.add_delta(work.apex, work.head, changes, places).await {
                        Ok(true) => Ok(()),
                        Ok(false) => self.add_base(&apex, work.head).await,
                        Err(error) => Err(error),
                    }
                }
                WorkKind::Base if work.head.digest.records > READ_TOGETHER_RECORDS_MAX => {
                    self.add_base(&apex, work.head).await
                }
                WorkKind::Base => {
                    records += work.head.digest.records;
                    together.push((work.apex, work.head));
                    let is_full = together.len() >= READ_TOGETHER_ZONES_MAX
                        || records >= READ_TOGETHER_RECORDS_MAX * 8;
                    if is_full {
                        self.add_together(std::mem::take(&mut together)).await;
                        records = 0;
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.folded.failed.push((apex, error));
            }
        }
        self.add_together(together).await;
        self.finish().await
    }

    /// Reads small zones together and lays their bases; one by one if that fails, since one of them may
    /// not be readable.
    async fn add_together(&mut self, zones: Vec<(Name, Head)>) {
        if zones.is_empty() {
            return;
        }
        let apexes: Vec<Name> = zones.iter().map(|(apex, _)| apex.clone()).collect();
        let contents = match self.source.zones_contents(&apexes).await {
            Ok(contents) => contents,
            Err(error) => return self.add_one_by_one(zones, &error.into()).await,
        };
        let mut gone: HashMap<Name, Head> = zones.into_iter().collect();
        for contents in contents {
            let apex = contents.zone.apex.clone();
            gone.remove(&apex);
            if let Err(error) = self.lay_base(contents).await {
                self.folded.failed.push((apex, error));
            }
        }
        for (apex, head) in gone {
            self.take_out(apex, head.revision + 1);
        }
    }

    /// Reads zones one by one, until it is plain that none is to be had.
    async fn add_one_by_one(&mut self, zones: Vec<(Name, Head)>, error: &ExportError) {
        let mut failures = 0;
        for (apex, head) in zones {
            let done = match failures {
                FAILURES_IN_A_ROW => Err(SourceError::Failed { reason: error.to_string() }.into()),
                _ => self.add_base(&apex, head).await,
            };
            match done {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = (failures + 1).min(FAILURES_IN_A_ROW);
                    self.folded.failed.push((apex, error));
                }
            }
        }
    }

    /// Reads one zone and lays its base.
    async fn add_base(&mut self, apex: &Name, head: Head) -> Result<(), ExportError> {
        match self.source.zone_contents(apex).await? {
            Some(contents) => self.lay_base(contents).await,
            None => {
                self.take_out(apex.clone(), head.revision + 1);
                Ok(())
            }
        }
    }

    /// Takes a zone out of the document at a revision. One that is gone though the log still has it goes
    /// with a commit to come, behind what the log has: what the document had of it may be of another
    /// history.
    fn take_out(&mut self, apex: Name, revision: u64) {
        let doc = Head { revision, ..Head::default() };
        self.folded.built.push(Built { apex, doc, names: Some(0), places: Vec::new() });
    }

    /// Lays the base of a zone that was read.
    async fn lay_base(&mut self, contents: ZoneContents) -> Result<(), ExportError> {
        let ZoneContents { zone, rrsets, .. } = contents;
        let (apex, key) = (zone.apex.clone(), self.key);
        let is_small = zone.digest.records <= READ_TOGETHER_RECORDS_MAX;
        let cut_zone = move || {
            let digest = digest_of(key, &rrsets);
            (digest, cut(&apex, rrsets))
        };
        let (digest, cut) = if is_small {
            cut_zone()
        } else {
            tokio::task::spawn_blocking(cut_zone)
                .await
                .map_err(|error| ExportError::Blobs { reason: error.to_string() })?
        };
        if digest != zone.digest {
            self.folded.differing.push((zone.apex.clone(), zone.digest, digest));
        }
        for owner in &cut.refused {
            tracing::error!(apex = %zone.apex, %owner, "records that fit no pack are left out of the feed");
        }
        // Its row would make an index that nobody reads, and no version without that.
        let (packs, packs_max) = (cut.packs.len() as u64, self.packs_max);
        if packs > packs_max {
            return Err(ExportError::ZoneTooLarge { packs, packs_max });
        }
        let doc = Head {
            revision: zone.revision,
            serial: zone.serial,
            digest: zone.digest,
            is_there: true,
        };
        let mut laid = Vec::with_capacity(cut.packs.len());
        for pack in cut.packs {
            laid.push(self.bases.push(&pack.octets, &*self.depot, &mut self.folded.octets).await?);
        }
        let (names, places) = (Some(cut.name_count), Vec::new());
        let built = Built { apex: zone.apex, doc, names, places };
        self.laid.push(LaidZone { built, laid, is_delta: false });
        Ok(())
    }

    /// Lays a delta behind the packs that a zone has; says whether a new base costs less.
    async fn add_delta(
        &mut self,
        apex: Name,
        doc: Head,
        changes: Vec<Change>,
        mut places: Vec<Place>,
    ) -> Result<bool, ExportError> {
        let mut writer = PackWriter::delta(apex.clone());
        for change in &changes {
            if writer.push(item_of(change)).is_err() || writer.len() > PACK_OCTETS_MAX {
                return Ok(false);
            }
        }
        let mut octets = writer.finish();
        let base: u64 =
            places.iter().filter(|place| !place.is_delta).map(|place| u64::from(place.len)).sum();
        let deltas: u64 =
            places.iter().filter(|place| place.is_delta).map(|place| u64::from(place.len)).sum();
        if deltas + octets.len() as u64 > (base / 4).max(DELTA_OCTETS_MIN) {
            return Ok(false);
        }
        let mut count = places.iter().filter(|place| place.is_delta).count();
        while let Some(place) = places.last().copied().filter(|place| place.is_delta) {
            let is_short = place.len as usize <= 2 * octets.len();
            if !is_short && count < ZONE_DELTAS_MAX {
                break;
            }
            let Some(bundle) = self.depot.get(place.bundle.hash).await? else { return Ok(false) };
            let end = (place.offset + place.len) as usize;
            let Some(older) = bundle.get(place.offset as usize..end) else { return Ok(false) };
            let Some(joined) = join(&apex, older, &octets) else { return Ok(false) };
            if joined.len() > PACK_OCTETS_MAX {
                return Ok(false);
            }
            (octets, count) = (joined, count - 1);
            places.pop();
        }
        if places.len() as u64 >= self.packs_max {
            return Ok(false);
        }
        let laid = self.deltas.push(&octets, &*self.depot, &mut self.folded.octets).await?;
        let built = Built { apex, doc, names: None, places };
        self.laid.push(LaidZone { built, laid: vec![laid], is_delta: true });
        Ok(true)
    }

    /// Puts what is left and names the bundles of every zone.
    async fn finish(mut self) -> Folded {
        let depot = Arc::clone(&self.depot);
        for bundles in [&mut self.bases, &mut self.deltas] {
            if let Err(error) = bundles.close(&*depot, &mut self.folded.octets).await {
                tracing::warn!(%error, "a bundle cannot be put");
            }
        }
        for zone in self.laid {
            let bundles = if zone.is_delta { &self.deltas.put } else { &self.bases.put };
            let mut built = zone.built;
            let places = zone.laid.iter().map(|laid| {
                let bundle = (*bundles.get(laid.bundle)?)?;
                let (offset, len, is_delta) = (laid.offset, laid.len, zone.is_delta);
                Some(Place { bundle, offset, len, is_delta })
            });
            match places.collect::<Option<Vec<_>>>() {
                Some(places) => {
                    built.places.extend(places);
                    self.folded.built.push(built);
                }
                None => {
                    let reason = "its bundle could not be put".to_owned();
                    self.folded.failed.push((built.apex, ExportError::Blobs { reason }));
                }
            }
        }
        self.folded
    }
}

impl Bundles {
    /// Lays a pack, and puts the bundle that it filled.
    async fn push(
        &mut self,
        pack: &[u8],
        depot: &dyn Depot,
        octets: &mut u64,
    ) -> Result<Laid, ExportError> {
        let (laid, full) = self.bundler.push(pack);
        if let Some(full) = full {
            self.put(full, depot, octets).await?;
        }
        Ok(laid)
    }

    /// Puts the bundle that is being filled.
    async fn close(&mut self, depot: &dyn Depot, octets: &mut u64) -> Result<(), ExportError> {
        match self.bundler.close() {
            Some(last) => self.put(last, depot, octets).await,
            None => Ok(()),
        }
    }

    /// Puts one bundle. One that cannot be put leaves its place empty, and its zones fail.
    async fn put(
        &mut self,
        bundle: Vec<u8>,
        depot: &dyn Depot,
        octets: &mut u64,
    ) -> Result<(), ExportError> {
        let len = bundle.len() as u32;
        *octets += u64::from(len);
        let put = depot.put(Bytes::from(bundle)).await;
        self.put.push(put.as_ref().ok().map(|hash| BundleRef { hash: *hash, len }));
        put.map(|_| ())
    }
}

/// Returns what records come to.
fn digest_of(key: DigestKey, rrsets: &[Rrset]) -> Digest {
    let add = |sum: Digest, rrset: &Rrset| sum.plus(key.rrset(&rrset.as_ref()));
    rrsets.iter().fold(Digest::default(), add)
}

/// Zones that cannot be read one after another before none is tried any more.
const FAILURES_IN_A_ROW: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;
    use crate::feed::Hash;
    use crate::record::RecordType;
    use crate::store::history::{CommitSource, History, ZoneState};

    /// A source of one zone, and a depot that takes all and gives nothing.
    struct OneZone(ZoneContents);

    fn none<T>() -> Result<T, SourceError> {
        Err(SourceError::Failed { reason: "nobody asks".to_owned() })
    }

    #[async_trait]
    impl ZoneSource for OneZone {
        async fn history(&self) -> Result<History, SourceError> {
            none()
        }

        async fn begin_history(&self, _: &History, _: u64) -> Result<History, SourceError> {
            none()
        }

        async fn revision(&self) -> Result<u64, SourceError> {
            none()
        }

        async fn zones(&self) -> Result<Vec<ZoneState>, SourceError> {
            none()
        }

        async fn zone_contents(&self, _: &Name) -> Result<Option<ZoneContents>, SourceError> {
            Ok(Some(self.0.clone()))
        }

        async fn zones_contents(&self, _: &[Name]) -> Result<Vec<ZoneContents>, SourceError> {
            Ok(vec![self.0.clone()])
        }

        async fn commits(&self, _: u64) -> Result<Box<dyn CommitSource>, SourceError> {
            none()
        }
    }

    #[async_trait]
    impl Depot for mpsc::UnboundedSender<Bytes> {
        async fn put(&self, octets: Bytes) -> Result<Hash, ExportError> {
            let hash = *iroh_blobs::Hash::new(&octets).as_bytes();
            let _ = self.send(octets);
            Ok(hash)
        }

        async fn get(&self, _: Hash) -> Result<Option<Bytes>, ExportError> {
            Ok(None)
        }

        async fn has(&self, _: Hash) -> Result<bool, ExportError> {
            Ok(false)
        }

        async fn look_at(&self, hashes: Vec<Hash>) -> Result<HashSet<Hash>, ExportError> {
            Ok(hashes.into_iter().collect())
        }

        async fn sync(&self) -> Result<(), ExportError> {
            Ok(())
        }

        fn keep(&self, _: HashSet<Hash>) {}

        fn generation(&self) -> u64 {
            0
        }
    }

    /// Folds one work with at most `packs_max` packs for the zone; returns how many it has then.
    async fn fold(rrsets: &[Rrset], kind: WorkKind, packs_max: u64) -> Result<usize, ExportError> {
        let (key, apex) = (DigestKey([1; 16]), rrsets[0].owner.clone());
        let digest = digest_of(key, rrsets);
        let head = Head { revision: 2, serial: 1, digest, is_there: true };
        let zone = ZoneState { apex: apex.clone(), revision: 2, serial: 1, digest };
        let contents = ZoneContents { revision: 2, zone, rrsets: rrsets.to_vec() };
        let (depot, _put) = mpsc::unbounded_channel();
        let mut folder = Folder::new(Arc::new(OneZone(contents)), Arc::new(depot), key);
        folder.packs_max = packs_max;
        let mut folded = folder.fold(vec![Work { apex, head, kind }]).await;
        assert_eq!(folded.built.len() + folded.failed.len(), 1);
        match folded.failed.pop() {
            Some((_, error)) => Err(error),
            None => Ok(folded.built[0].places.len()),
        }
    }

    #[tokio::test]
    async fn a_zone_of_more_packs_than_a_row_names_fails_alone_and_none_grows_beyond() {
        let txt = |owner: u32| {
            let owner = format!("a{owner}.example").parse().expect("a name");
            Rrset::new(owner, RecordType::TXT, 60, [[7; 250]]).expect("an RRset")
        };
        let apex = "example".parse().expect("a name");
        let mut rrsets = vec![Rrset::new(apex, RecordType::TXT, 60, [[7; 8]]).expect("an RRset")];
        rrsets.extend((0..8_000).map(txt));
        let packs = cut(&rrsets[0].owner, rrsets.clone()).packs.len() as u64;
        assert!(packs > 2, "{packs}");
        for packs_max in [packs, packs + 1] {
            let built = fold(&rrsets, WorkKind::Base, packs_max).await;
            assert_eq!(built.expect("it fits") as u64, packs);
        }
        let failed = fold(&rrsets, WorkKind::Base, packs - 1).await;
        assert!(matches!(failed, Err(ExportError::ZoneTooLarge { .. })), "{failed:?}");
        // A delta is one more pack: where there is no room for it, the zone is written as a whole.
        let bundle = BundleRef { hash: [1; 32], len: 1 << 20 };
        let place = Place { bundle, offset: 0, len: 1 << 20, is_delta: false };
        for (count, expected) in [(packs - 1, packs), (packs, packs)] {
            let places = vec![place; count as usize];
            let changes = vec![Change::Put(rrsets[0].clone())];
            let built = fold(&rrsets, WorkKind::Delta { changes, places }, packs).await;
            assert_eq!(built.expect("it fits") as u64, expected, "{count} packs before");
        }
    }
}
