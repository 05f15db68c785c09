//! One zone in the namespace: its manifest, its packs, and the live changes after them.
//!
//! A live change that was written is remembered until a pack holds it. A fold puts the remembered
//! changes into a delta pack, writes the manifest that names it, and only then removes the live
//! entries: at every moment manifest and live entries together make the zone. Packs that no
//! manifest names any more stay for a while, for edges that are still fetching them; then their
//! numbers are used again, so that a namespace does not fill with the marks of deleted keys.
//!
//! **Invariant:** live changes lead from the manifest's revision to `revision` without a gap.
//! **Not here:** when to fold and what came before a restart (`task`, `repair`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use iroh_blobs::Hash;
use iroh_blobs::api::TempTag;

use super::ExportError;
use super::delta::{is_base_due, join};
use super::doc::FeedDoc;
use crate::feed::Revision;
use crate::feed::beat::zone_mark;
use crate::feed::items::item_of;
use crate::feed::key;
use crate::feed::live::{LiveError, live_keys};
use crate::feed::manifest::{Manifest, PackKind, PackRef, ZoneMode};
use crate::feed::pack::{Pack, PackWriter};
use crate::limits::{
    LIVE_AGE_S_MAX, LIVE_ENTRIES_FOLD, PACK_OCTETS_MAX, PACK_OCTETS_TARGET, PACK_RETIRED_S,
};
use crate::name::Name;
use crate::record::{Change, RecordType};
use crate::store::history::ZoneState;

/// A base that was read from the source and put into the blob store.
#[derive(Debug)]
pub(super) struct BuiltBase {
    /// The revision of the source at which it was read.
    pub(super) revision: u64,
    /// The zone's settings at that revision.
    pub(super) zone: ZoneState,
    /// The SOA serial at that revision.
    pub(super) serial: u32,
    /// How many owner names it has.
    pub(super) name_count: u64,
    /// Its packs in order.
    pub(super) packs: Vec<BuiltPack>,
}

/// One pack of a base, not yet named by any entry.
#[derive(Debug)]
pub(super) struct BuiltPack {
    /// Holds the content until an entry names it.
    pub(super) tag: TempTag,
    /// Its length in octets.
    pub(super) len: u32,
    /// How many RRsets it holds.
    pub(super) rrset_count: u32,
    /// Its first owner name.
    pub(super) first_owner: Name,
}

/// What a zone needs after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// A new base: read the zone from the source.
    Base,
}

/// One zone as this exporter has written it.
#[derive(Debug)]
pub(super) struct ZoneFeed {
    /// The zone.
    apex: Name,
    /// The manifest as it stands in the namespace.
    manifest: Option<Manifest>,
    /// The number of the newest revision that the namespace has of the zone.
    revision: u64,
    /// The serial at that revision.
    serial: u32,
    /// Changes after the manifest, the newest of each RRset, with the number of their commit.
    recent: BTreeMap<(Name, RecordType), (u64, Change)>,
    /// Live entries after the manifest.
    live_count: u32,
    /// When the oldest of them was written.
    live_since: Option<Instant>,
    /// A base is being read.
    is_building: bool,
    /// The oldest commit that the namespace does not have; it waits for the base.
    pending_since: Option<u64>,
    /// The oldest revision at which a base is of use: what changed then was not remembered.
    needed: u64,
    /// Numbers of packs that no manifest names any more, and since when.
    retired: HashMap<u64, Instant>,
}

impl ZoneFeed {
    /// A zone that the namespace does not have.
    pub(super) fn absent(apex: Name) -> Self {
        Self {
            apex,
            manifest: None,
            revision: 0,
            serial: 0,
            recent: BTreeMap::new(),
            live_count: 0,
            live_since: None,
            is_building: false,
            pending_since: None,
            needed: 0,
            retired: HashMap::new(),
        }
    }

    /// A zone whose manifest was found in the namespace.
    pub(super) fn found(manifest: Manifest) -> Self {
        let mut zone = Self::absent(manifest.apex.clone());
        zone.revision = manifest.revision.number;
        zone.serial = manifest.serial;
        zone.manifest = Some(manifest);
        zone
    }

    /// Takes in live changes that were found in the namespace after the manifest.
    pub(super) fn adopt(&mut self, number: u64, entry_count: u32, changes: Vec<Change>) {
        self.remember(number, changes);
        self.revision = number;
        self.live_count += entry_count;
        self.live_since.get_or_insert_with(Instant::now);
    }

    /// The number of the newest revision that the namespace has of the zone.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The manifest as it stands in the namespace.
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether the zone is in the namespace and not removed.
    pub(super) fn is_present(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.mode != ZoneMode::Removed)
    }

    /// The oldest commit that the namespace does not have of this zone.
    pub(super) fn pending_since(&self) -> Option<u64> {
        self.pending_since
    }

    /// What the zone adds to the heartbeat's digest.
    pub(super) fn mark(&self, epoch: u64) -> u64 {
        if self.is_present() {
            zone_mark(&self.apex, Revision::new(epoch, self.revision))
        } else {
            0
        }
    }

    /// Notes that the zone must be read anew because of the commit `number`.
    pub(super) fn want_base(&mut self, number: u64) -> Need {
        // A base that was read behind that commit, as at a start, has it already.
        if self.is_present() && !self.is_building && self.revision >= number {
            return Need::Nothing;
        }
        self.needed = number.max(self.needed);
        self.pending_since.get_or_insert(number);
        self.build()
    }

    /// Whether a base is being read.
    pub(super) fn is_building(&self) -> bool {
        self.is_building
    }

    /// Says whether a base must be read; one at a time.
    fn build(&mut self) -> Need {
        if std::mem::replace(&mut self.is_building, true) { Need::Nothing } else { Need::Base }
    }

    /// Whether the live entries should go into a pack now.
    pub(super) fn is_fold_due(&self, now: Instant) -> bool {
        let age = self.live_since.map_or(Duration::ZERO, |since| now - since);
        !self.is_building
            && (self.live_count >= LIVE_ENTRIES_FOLD || age >= Duration::from_secs(LIVE_AGE_S_MAX))
    }

    /// Writes the changes of one commit, or of several, which lead to the commit `number`.
    ///
    /// # Errors
    /// [`ExportError`] of the namespace.
    pub(super) async fn write_changes(
        &mut self,
        doc: &mut FeedDoc,
        revision: Revision,
        changes: Vec<Change>,
    ) -> Result<Need, ExportError> {
        if revision.number <= self.revision {
            return Ok(Need::Nothing);
        }
        if self.pending_since.is_some() {
            self.remember(revision.number, changes);
            return Ok(Need::Nothing);
        }
        let keys = live_keys(&self.apex, revision, self.revision, &changes);
        self.remember(revision.number, changes);
        match keys {
            Ok(keys) if self.is_present() => {
                self.live_count += keys.len() as u32;
                self.live_since.get_or_insert_with(Instant::now);
                for key in keys {
                    doc.put_key(key).await?;
                }
                self.revision = revision.number;
                Ok(Need::Nothing)
            }
            Ok(_) | Err(LiveError::TooLong) => {
                self.pending_since = Some(revision.number);
                if self.is_building {
                    return Ok(Need::Nothing);
                }
                self.fold(doc, revision).await
            }
            Err(error) => {
                tracing::error!(apex = %self.apex, %error, "a commit cannot be exported as it is");
                Ok(self.want_base(revision.number))
            }
        }
    }

    /// Remembers changes until a pack holds them.
    fn remember(&mut self, number: u64, changes: Vec<Change>) {
        for change in changes {
            if let Change::Put(rrset) = &change
                && rrset.rtype == RecordType::SOA
                && rrset.owner == self.apex
            {
                self.serial = super::pack::soa_serial(rrset).unwrap_or(self.serial);
            }
            self.recent.insert((change.owner().clone(), change.rtype()), (number, change));
        }
    }

    /// Puts the remembered changes, which lead to `revision`, into a delta pack and removes the
    /// live entries.
    ///
    /// # Errors
    /// [`ExportError`] of the namespace.
    pub(super) async fn fold(
        &mut self,
        doc: &mut FeedDoc,
        revision: Revision,
    ) -> Result<Need, ExportError> {
        debug_assert!(!self.is_building, "a base that is being read needs what is remembered");
        let manifest = self.manifest.clone().filter(|_| self.is_present());
        let Some(manifest) = manifest else { return Ok(self.build()) };
        let from = manifest.revision.number;
        let Some(octets) = self.delta(from) else { return Ok(self.build()) };
        let mut packs = manifest.packs.clone();
        if revision.number > from {
            let (octets, from, merged) = self.merge(doc, &manifest, octets, from).await;
            packs.truncate(packs.len() - merged);
            let kind = PackKind::Delta { from, to: revision.number };
            let number = self.free_number(&manifest.packs);
            packs.push(self.put_delta(doc, number, kind, octets).await?);
        }
        let manifest = Manifest { revision, serial: self.serial, packs, ..manifest };
        let is_base_due = is_base_due(&manifest);
        self.put_manifest(doc, manifest).await?;
        Ok(if is_base_due { self.build() } else { Need::Nothing })
    }

    /// Puts a base that was read from the source into the namespace.
    ///
    /// # Errors
    /// [`ExportError`] of the namespace.
    pub(super) async fn write_base(
        &mut self,
        doc: &mut FeedDoc,
        epoch: u64,
        base: BuiltBase,
    ) -> Result<Need, ExportError> {
        self.is_building = false;
        if base.revision < self.needed {
            return Ok(self.build());
        }
        self.recent.retain(|_, (number, _)| *number > base.revision);
        let Some(delta) = self.delta(base.revision) else { return Ok(self.build()) };
        let last = self.recent.values().map(|(number, _)| *number).max().unwrap_or(0);
        let to = self.revision.max(base.revision).max(last);
        let soa = (self.apex.clone(), RecordType::SOA);
        if !self.recent.contains_key(&soa) {
            self.serial = base.serial;
        }
        let mut packs = self.put_base(doc, &base).await?;
        if to > base.revision {
            let kind = PackKind::Delta { from: base.revision, to };
            let named = self.manifest.iter().flat_map(|manifest| manifest.packs.iter());
            let taken: Vec<PackRef> = named.chain(&packs).cloned().collect();
            let number = self.free_number(&taken);
            packs.push(self.put_delta(doc, number, kind, delta).await?);
        }
        let manifest = Manifest {
            apex: self.apex.clone(),
            mode: if base.zone.is_enabled { ZoneMode::Served } else { ZoneMode::Disabled },
            revision: Revision::new(epoch, to),
            serial: self.serial,
            name_count: base.name_count,
            settings: base.zone.settings,
            packs,
        };
        self.put_manifest(doc, manifest).await?;
        Ok(Need::Nothing)
    }

    /// Forgets at which revisions the zone stood: another history begins.
    pub(super) fn forget_history(&mut self) {
        self.revision = 0;
        self.recent.clear();
    }

    /// Notes that no base will come: the zone is gone from the source.
    pub(super) fn give_up_base(&mut self) {
        self.is_building = false;
    }

    /// Takes the zone out of the namespace.
    ///
    /// # Errors
    /// [`ExportError`] of the namespace.
    pub(super) async fn remove(
        &mut self,
        doc: &mut FeedDoc,
        revision: Revision,
    ) -> Result<(), ExportError> {
        let number = self.revision.max(revision.number);
        self.needed = number;
        let manifest = Manifest {
            apex: self.apex.clone(),
            mode: ZoneMode::Removed,
            revision: Revision::new(revision.epoch, number),
            serial: 0,
            name_count: 0,
            settings: Vec::new(),
            packs: Vec::new(),
        };
        self.put_manifest(doc, manifest).await?;
        self.retired.clear();
        doc.delete(key::pack_prefix(&self.apex).into_bytes()).await
    }

    /// Writes the octets of a delta pack with all that changed after `from`; none when it would
    /// be too large for one.
    fn delta(&self, from: u64) -> Option<Vec<u8>> {
        let mut writer = PackWriter::delta(self.apex.clone());
        for (number, change) in self.recent.values() {
            if *number <= from {
                continue;
            }
            if writer.push(item_of(change)).is_err() || writer.len() > PACK_OCTETS_MAX {
                return None;
            }
        }
        Some(writer.finish())
    }

    /// Merges a new delta with the small ones before it, so that packs stay few. Returns the
    /// octets, where they begin, and how many packs of the manifest they replace.
    async fn merge(
        &self,
        doc: &FeedDoc,
        manifest: &Manifest,
        newest: Vec<u8>,
        from: u64,
    ) -> (Vec<u8>, u64, usize) {
        let mut merged = (newest, from, 0);
        for (pack, pack_from, _) in manifest.deltas().collect::<Vec<_>>().into_iter().rev() {
            if merged.0.len() + pack.len as usize > PACK_OCTETS_TARGET {
                break;
            }
            let Some(older) = doc.content(Hash::from_bytes(pack.hash)).await else { break };
            let Some(octets) = join(&self.apex, &older, &merged.0) else { break };
            merged = (octets, pack_from, merged.2 + 1);
        }
        merged
    }

    /// Writes the entries of a base's packs; those that stand already are left alone.
    async fn put_base(
        &mut self,
        doc: &mut FeedDoc,
        base: &BuiltBase,
    ) -> Result<Vec<PackRef>, ExportError> {
        let named: Vec<PackRef> =
            self.manifest.iter().flat_map(|manifest| manifest.packs.clone()).collect();
        let mut by_hash: HashMap<[u8; 32], u64> =
            named.iter().map(|pack| (pack.hash, pack.number)).collect();
        let mut packs: Vec<PackRef> = Vec::with_capacity(base.packs.len());
        let mut taken: HashSet<u64> = named.iter().map(|pack| pack.number).collect();
        for pack in &base.packs {
            let hash = *pack.tag.hash().as_bytes();
            let number = match by_hash.remove(&hash) {
                Some(number) => number,
                None => {
                    let number = self.free_number_beside(&taken);
                    let key = key::terminate(&key::pack_key(&self.apex, number));
                    doc.put_hash(key, pack.tag.hash(), u64::from(pack.len)).await?;
                    number
                }
            };
            taken.insert(number);
            packs.push(PackRef {
                number,
                hash,
                len: pack.len,
                rrset_count: pack.rrset_count,
                kind: PackKind::Base,
                first_owner: pack.first_owner.clone(),
            });
        }
        Ok(packs)
    }

    /// Writes the entry of a delta pack.
    async fn put_delta(
        &self,
        doc: &mut FeedDoc,
        number: u64,
        kind: PackKind,
        octets: Vec<u8>,
    ) -> Result<PackRef, ExportError> {
        let mut pack = PackRef {
            number,
            hash: *Hash::new(&octets).as_bytes(),
            len: octets.len() as u32,
            rrset_count: 0,
            kind,
            first_owner: self.apex.clone(),
        };
        if let Ok(proven) = Pack::check(&octets) {
            pack.rrset_count = proven.item_count();
            let first = proven.items().next().map(|item| Name::from_wire(item.owner()));
            if let Some(Ok(first)) = first {
                pack.first_owner = first;
            }
        }
        doc.put(key::terminate(&key::pack_key(&self.apex, number)), octets).await?;
        Ok(pack)
    }

    /// Writes the manifest; then the live entries before it have no use any more.
    async fn put_manifest(
        &mut self,
        doc: &mut FeedDoc,
        manifest: Manifest,
    ) -> Result<(), ExportError> {
        let octets = manifest
            .to_octets()
            .map_err(|error| ExportError::Manifest { apex: self.apex.clone(), error })?;
        doc.put(key::terminate(&key::zone_key(&self.apex)), octets).await?;
        if self.live_count > 0 {
            doc.delete(key::live_prefix(&self.apex)).await?;
        }
        let now = Instant::now();
        let named: HashSet<u64> = manifest.packs.iter().map(|pack| pack.number).collect();
        let before = self.manifest.iter().flat_map(|before| &before.packs);
        let unnamed = before.map(|pack| pack.number).filter(|number| !named.contains(number));
        self.retired.extend(unnamed.map(|number| (number, now)));
        self.recent.clear();
        self.live_count = 0;
        self.live_since = None;
        self.pending_since = None;
        self.revision = manifest.revision.number;
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Returns the lowest number of a pack that neither `taken` nor a fetching edge needs.
    fn free_number(&mut self, taken: &[PackRef]) -> u64 {
        let taken = taken.iter().map(|pack| pack.number).collect();
        self.free_number_beside(&taken)
    }

    /// Returns the lowest number that is not in `taken` and not in use by a fetching edge.
    fn free_number_beside(&mut self, taken: &HashSet<u64>) -> u64 {
        let rest = Duration::from_secs(PACK_RETIRED_S);
        self.retired.retain(|_, since| since.elapsed() < rest);
        let is_free = |number: &u64| !taken.contains(number) && !self.retired.contains_key(number);
        (0..u64::MAX).find(is_free).unwrap_or(u64::MAX)
    }
}
