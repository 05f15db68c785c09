//! When to fold live changes into packs, and where to cut packs: the exporter's pure half.
//!
//! Three tiers. Live changes are folded into a delta pack by count, size or age; many delta packs
//! are merged into one; when the deltas weigh a fraction of the bases, the bases that they touch
//! are written anew. So one changed RRset among a million never rewrites the million.
//! The exporter writes packs first, then the manifest, and removes what was folded last: whatever
//! an edge sees in between leads to the same state.
//!
//! **Invariant:** an owner's RRsets stand in one pack, unless they alone exceed a pack.
//! **Not here:** reading the store and writing entries (`export`).

use crate::feed::items::{ItemRef, PushError};
use crate::feed::manifest::{Manifest, PackKind};
use crate::feed::pack::PackWriter;
use crate::limits::{
    FOLD_AGE_MS, FOLD_DELTA_OCTETS_MIN, FOLD_DELTA_PACKS_MAX, FOLD_DELTA_SHARE, FOLD_LIVE_COUNT,
    FOLD_LIVE_OCTETS, PACK_OCTETS_MAX, PACK_OCTETS_TARGET,
};
use crate::name::{Name, NameError};

/// What stands in the feed beside a zone's manifest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LiveLoad {
    /// How many live keys.
    pub count: u64,
    /// Their octets.
    pub octets: u64,
    /// Milliseconds since the oldest was written.
    pub oldest_age_ms: u64,
}

/// What to do with a zone's live changes and packs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fold {
    /// Nothing yet.
    Wait,
    /// Write the live changes as one more delta.
    AddDelta,
    /// Write all deltas and the live changes as one delta.
    MergeDeltas,
    /// Write the bases anew that deltas and live changes touch, and no delta.
    RewriteBases,
}

/// Decides what to do with a zone now.
pub fn decide(manifest: &Manifest, live: LiveLoad) -> Fold {
    let is_due = live.count >= FOLD_LIVE_COUNT
        || live.octets >= FOLD_LIVE_OCTETS
        || (live.count > 0 && live.oldest_age_ms >= FOLD_AGE_MS);
    if !is_due {
        return Fold::Wait;
    }
    how_to_fold(manifest, live.octets)
}

/// Decides how to fold changes of `octets` octets, now that they are to be folded.
pub fn how_to_fold(manifest: &Manifest, octets: u64) -> Fold {
    let base_octets: u64 = manifest.bases().map(|pack| u64::from(pack.len)).sum();
    let delta_octets: u64 = manifest.deltas().map(|(pack, ..)| u64::from(pack.len)).sum();
    let allowed = (base_octets / FOLD_DELTA_SHARE).max(FOLD_DELTA_OCTETS_MIN);
    if base_octets == 0 || delta_octets.saturating_add(octets) > allowed {
        return Fold::RewriteBases;
    }
    if manifest.deltas().count() >= FOLD_DELTA_PACKS_MAX {
        return Fold::MergeDeltas;
    }
    Fold::AddDelta
}

/// Says for each base pack of the manifest, in order, whether one of `owners` belongs in it.
///
/// A pack holds the names from its first owner to the next pack's; the first also holds any before.
pub fn touched_bases<'a>(
    manifest: &Manifest,
    owners: impl IntoIterator<Item = &'a Name>,
) -> Vec<bool> {
    let firsts: Vec<&Name> = manifest.bases().map(|pack| &pack.first_owner).collect();
    let mut touched = vec![false; firsts.len()];
    for owner in owners {
        // An owner may be split over packs that begin with it: all of them are touched.
        let end = firsts.partition_point(|first| *first <= owner);
        let begin = firsts.partition_point(|first| *first < owner).saturating_sub(1);
        let end = end.max(begin + 1).min(touched.len());
        touched[begin.min(end)..end].iter_mut().for_each(|touched| *touched = true);
    }
    touched
}

/// A pack that was cut off the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CutPack {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Its first owner name.
    pub first_owner: Name,
    /// How many RRsets or changes it holds.
    pub rrset_count: u32,
    /// How many owner names begin in it.
    pub name_count: u64,
}

/// Cuts a stream of RRsets or changes in canonical order into packs.
#[derive(Clone, Debug)]
pub struct PackSplitter {
    /// The zone.
    apex: Name,
    /// Whether delta packs are written.
    kind: SplitKind,
    /// The pack being written.
    writer: PackWriter,
    /// Its first owner name, in wire form.
    first_owner: Vec<u8>,
    /// How many owner names begin in it.
    name_count: u64,
}

/// What a splitter writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SplitKind {
    /// Base packs.
    Base,
    /// Delta packs.
    Delta,
}

/// Why an item cannot enter a stream of packs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// It cannot follow the item before.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The first owner name of a pack is no name.
    #[error(transparent)]
    BadName(#[from] NameError),
}

impl PackSplitter {
    /// Begins with an empty pack.
    pub fn new(apex: Name, kind: SplitKind) -> Self {
        let writer = kind.writer(apex.clone());
        Self { apex, kind, writer, first_owner: Vec::new(), name_count: 0 }
    }

    /// Appends one item; returns the pack before it, if that is full now.
    ///
    /// # Errors
    /// [`SplitError`]; then nothing was appended.
    pub fn push(&mut self, item: ItemRef<'_>) -> Result<Option<CutPack>, SplitError> {
        let owner = item.owner();
        let rdata_len = if let ItemRef::Put(rrset) = item { rrset.rdata.len() } else { 0 };
        let is_new_owner = self.writer.is_empty() || !self.writer.has_owner_before(owner);
        let len = self.writer.len();
        let is_full = (is_new_owner && len + owner.len() + rdata_len > PACK_OCTETS_TARGET)
            || len + owner.len() + rdata_len + ITEM_OVERHEAD > PACK_OCTETS_MAX;
        let cut = if is_full && !self.writer.is_empty() { Some(self.cut()?) } else { None };
        self.writer.push(item)?;
        if self.writer.count() == 1 {
            self.first_owner = owner.to_vec();
        }
        self.name_count += u64::from(is_new_owner);
        Ok(cut)
    }

    /// Returns the last pack; `None` if nothing was pushed.
    ///
    /// # Errors
    /// [`SplitError::BadName`].
    pub fn finish(mut self) -> Result<Option<CutPack>, SplitError> {
        if self.writer.is_empty() { Ok(None) } else { Ok(Some(self.cut()?)) }
    }

    /// Ends the pack and begins the next.
    fn cut(&mut self) -> Result<CutPack, NameError> {
        let first_owner = Name::from_wire(&self.first_owner)?;
        let next = self.kind.writer(self.apex.clone());
        let done = std::mem::replace(&mut self.writer, next);
        let rrset_count = done.count();
        let name_count = std::mem::take(&mut self.name_count);
        let octets = done.finish();
        debug_assert!(octets.len() <= PACK_OCTETS_MAX);
        Ok(CutPack { octets, first_owner, rrset_count, name_count })
    }
}

impl SplitKind {
    /// Begins a pack of this kind.
    fn writer(self, apex: Name) -> PackWriter {
        match self {
            Self::Base => PackWriter::base(apex),
            Self::Delta => PackWriter::delta(apex),
        }
    }

    /// Returns the kind of the packs in a manifest that reaches from revision `from` to `to`.
    pub fn in_manifest(self, from: u64, to: u64) -> PackKind {
        match self {
            Self::Base => PackKind::Base,
            Self::Delta => PackKind::Delta { from, to },
        }
    }
}

/// Octets of an item beside owner name and RDATA, and of a row of the table, at most.
const ITEM_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Revision;
    use crate::feed::manifest::{PackRef, ZoneMode};
    use crate::feed::pack::Pack;
    use crate::limits::RRSET_OCTETS_MAX;
    use crate::record::{RecordType, Rrset};

    fn name(text: &str) -> Name {
        Name::from_text(text).expect(text)
    }

    fn manifest(bases: &[(&str, u32)], deltas: &[u32]) -> Manifest {
        let reference = |number: usize, owner: &str, len, kind| PackRef {
            number: number as u64,
            hash: [0; 32],
            len,
            rrset_count: 1,
            kind,
            first_owner: name(owner),
        };
        let bases = bases
            .iter()
            .enumerate()
            .map(|(n, (owner, len))| reference(n, owner, *len, PackKind::Base));
        let deltas = deltas.iter().enumerate().map(|(n, len)| {
            let kind = PackKind::Delta { from: n as u64, to: n as u64 + 1 };
            reference(1_000 + n, "example", *len, kind)
        });
        Manifest {
            apex: name("example"),
            mode: ZoneMode::Served,
            revision: Revision::new(0, 9),
            serial: 1,
            name_count: 1,
            settings: Vec::new(),
            packs: bases.chain(deltas).collect(),
        }
    }

    #[test]
    fn live_changes_are_folded_by_count_size_or_age() {
        let zone = manifest(&[("example", 1_000_000)], &[]);
        let load = |count, octets, oldest_age_ms| LiveLoad { count, octets, oldest_age_ms };
        for (live, fold) in [
            (load(0, 0, FOLD_AGE_MS * 9), Fold::Wait),
            (load(FOLD_LIVE_COUNT - 1, FOLD_LIVE_OCTETS - 1, FOLD_AGE_MS - 1), Fold::Wait),
            (load(FOLD_LIVE_COUNT, 9, 0), Fold::AddDelta),
            (load(1, 9, FOLD_AGE_MS), Fold::AddDelta),
            (load(1, FOLD_LIVE_OCTETS, 0), Fold::RewriteBases),
        ] {
            assert_eq!(decide(&zone, live), fold, "{live:?}");
        }
    }

    #[test]
    fn deltas_are_merged_when_many_and_rewritten_when_heavy() {
        let few = vec![10; FOLD_DELTA_PACKS_MAX - 1];
        let many = vec![10; FOLD_DELTA_PACKS_MAX];
        let big = 8 << 20;
        let heavy = (u64::from(big) / FOLD_DELTA_SHARE) as u32;
        assert_eq!(how_to_fold(&manifest(&[("example", big)], &few), 10), Fold::AddDelta);
        assert_eq!(how_to_fold(&manifest(&[("example", big)], &many), 10), Fold::MergeDeltas);
        assert_eq!(how_to_fold(&manifest(&[("example", big)], &[heavy]), 0), Fold::AddDelta);
        assert_eq!(how_to_fold(&manifest(&[("example", big)], &[heavy]), 1), Fold::RewriteBases);
        assert_eq!(how_to_fold(&manifest(&[], &[]), 1), Fold::RewriteBases);
    }

    #[test]
    fn only_the_bases_that_hold_an_owner_are_touched() {
        let zone =
            manifest(&[("example", 1), ("d.example", 1), ("m.example", 1), ("m.example", 1)], &[]);
        let touched = |owners: &[&str]| {
            let owners: Vec<Name> = owners.iter().map(|owner| name(owner)).collect();
            touched_bases(&zone, &owners)
        };
        assert_eq!(touched(&["a.example"]), [true, false, false, false]);
        assert_eq!(touched(&["example"]), [true, false, false, false]);
        assert_eq!(touched(&["e.example"]), [false, true, false, false]);
        assert_eq!(touched(&["m.example"]), [false, true, true, true]);
        assert_eq!(touched(&["z.example"]), [false, false, false, true]);
        assert_eq!(touched(&[]), [false; 4]);
        assert!(touched_bases(&manifest(&[], &[]), [&name("a.example")]).is_empty());
    }

    #[test]
    fn packs_are_cut_between_owners_and_hold_everything_once() {
        let mut splitter = PackSplitter::new(name("example"), SplitKind::Base);
        let mut cuts = Vec::new();
        for index in 0..3_000 {
            let owner = name(&format!("a{index:04}.example"));
            for rtype in [RecordType::A, RecordType::TXT] {
                let rrset = Rrset::new(owner.clone(), rtype, 60, [vec![7; 200]]).expect("an RRset");
                cuts.extend(splitter.push(ItemRef::Put(rrset.as_ref())).expect("in order"));
            }
        }
        cuts.extend(splitter.finish().expect("a last pack"));
        assert!(cuts.len() > 2);
        let mut rrsets = 0;
        for cut in &cuts {
            assert!(cut.octets.len() <= PACK_OCTETS_TARGET + 500);
            let pack = Pack::check(&cut.octets).expect("a good pack");
            assert_eq!(
                pack.items().next().map(|item| item.owner() == cut.first_owner.as_wire()),
                Some(true)
            );
            assert_eq!(cut.rrset_count % 2, 0, "an owner was cut");
            assert_eq!(cut.name_count, u64::from(cut.rrset_count / 2));
            rrsets += cut.rrset_count;
        }
        assert_eq!(rrsets, 6_000);
    }

    #[test]
    fn the_largest_rrset_fits_a_pack() {
        let mut records = vec![vec![1; 65_533]; 16];
        records.iter_mut().enumerate().for_each(|(index, record)| record[0] = index as u8);
        records[15].truncate(65_500);
        let owner = name("a.example");
        let mut splitter = PackSplitter::new(name("example"), SplitKind::Base);
        let mut cuts = Vec::new();
        for rtype in [1, 2] {
            let rrset =
                Rrset::new(owner.clone(), RecordType(rtype), 60, &records).expect("an RRset");
            assert!(rrset.rdata.as_octets().len() > RRSET_OCTETS_MAX - 100);
            cuts.extend(splitter.push(ItemRef::Put(rrset.as_ref())).expect("in order"));
        }
        cuts.extend(splitter.finish().expect("a last pack"));
        assert_eq!(cuts.len(), 2);
        assert_eq!(cuts[1].name_count, 0, "the owner began in the pack before");
        assert!(cuts.iter().all(|cut| Pack::check(&cut.octets).is_ok()));
    }
}
