//! What a version of the document makes of the zones: its root, its indexes, their rows.
//!
//! A row of a zone that is served at that revision or later changes nothing; one of the same content
//! raises its revision; any other has the zone built. What no row tells of is gone, unless the log has
//! brought it since.
//!
//! **Invariant:** within a history no row takes a zone back, nor brings one back that is gone.
//! **Not here:** which version is taken, and its contents (`mirror::document`).

use std::collections::HashSet;

use bytes::Bytes;

use super::super::Mirror;
use super::super::zone::{Build, Served};
use super::Adopted;
use super::state::{Held, Taking};
use crate::feed::HistoryId;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::index::{BundleRef, Index, IndexRow};
use crate::feed::root::Root;
use crate::feed::segment::{LogStep, LogZone};
use crate::name::Name;
use crate::octets::DecodeError;

impl Mirror {
    /// Takes the root of the version that is being taken.
    pub(super) fn take_root(&mut self, octets: Bytes) {
        let Some(taking) = &mut self.documents.taking else { return };
        let root = match Root::from_octets(&octets) {
            Ok(root) if root.namespace == self.config.namespace => root,
            Ok(_) => {
                self.complain("a root is of another feed".to_owned());
                return self.drop_version();
            }
            Err(error) => {
                self.complain(format!("the root of the document does not read: {error}"));
                return self.drop_version();
            }
        };
        if root.history != taking.history || root.at != taking.at {
            self.complain("a root says something else than its announcement".to_owned());
            return self.drop_version();
        }
        taking.contents.extend(root.indexes.iter().map(|index| index.hash));
        taking.indexes = root.indexes.clone();
        self.documents.edition += 1;
        let is_other = root.history != self.history;
        let key = root.digest_key;
        let (history, term) = (root.history, root.term);
        taking.root = Some((root, octets));
        if is_other {
            self.begin_history(history, term, key);
        }
        if self.documents.taking.as_ref().is_some_and(|taking| taking.indexes.is_empty()) {
            self.end_indexes();
        }
    }

    /// Goes to another history: what is served stays until that of the new one is here, and what was
    /// heard of the old one is over.
    fn begin_history(&mut self, history: HistoryId, term: u64, key: DigestKey) {
        let is_first = self.history == HistoryId::default();
        if !is_first {
            self.stats.histories += 1;
            self.complain(format!(
                "another history of the feed begins ({history}, before it {})",
                self.history
            ));
        }
        (self.history, self.term) = (history, term);
        let is_key_new = self.key != key;
        self.key = key;
        self.position = None;
        self.is_gathering = true;
        self.is_first_load = is_first;
        self.wanting.clear();
        self.absent.clear();
        self.heard = 0;
        self.beat = None;
        (self.sum, self.count, self.revision_max) = (0, 0, 0);
        self.lacking.clear();
        self.differing.clear();
        self.differs_as_a_whole = None;
        self.is_whole_due = false;
        let documents = &mut self.documents;
        documents.unkept = None;
        for (apex, zone) in &mut self.zones {
            zone.queue.clear();
            zone.wants = None;
            zone.handed = None;
            zone.lacking = None;
            zone.leans_on = 0;
            if let Some(build) = zone.build.take() {
                documents.give_up(&build);
            }
            zone.served.revision = 0;
            // With another key nothing can be said of it: it is built anew.
            zone.is_suspect = is_key_new;
            if zone.served.is_there {
                self.sum = self.sum.wrapping_add(self.key.zone(apex, 0, zone.served.digest));
                self.count += 1;
            }
        }
    }

    /// Reads the indexes that have come, as far as it is their turn.
    pub(super) fn take_indexes(&mut self) {
        while let Some(taking) = &mut self.documents.taking
            && let Some(last) = taking.indexes.last()
            && let Some(octets) = taking.early.remove(&last.hash)
        {
            taking.indexes.pop();
            if let Err(error) = self.take_index(&octets) {
                self.complain(format!("an index of the document does not read: {error}"));
                return self.drop_version();
            }
        }
    }

    /// Takes the last index that was not read.
    fn take_index(&mut self, octets: &[u8]) -> Result<(), DecodeError> {
        let index = Index::from_octets(octets)?;
        self.documents.edition += 1;
        for row in index.rows {
            let Some(taking) = &mut self.documents.taking else { break };
            // An index that was read before has a newer one.
            if !taking.seen.insert(row.apex.clone()) {
                continue;
            }
            if let Some(zone) = &row.zone {
                let mark = self.key.zone(&row.apex, row.revision, zone.digest);
                taking.sum = (taking.sum.0.wrapping_add(mark), taking.sum.1 + 1);
            }
            if self.admits(&row.apex) {
                self.take_row(row, &index.bundles);
            }
        }
        if self.documents.taking.as_ref().is_some_and(|taking| taking.indexes.is_empty()) {
            self.end_indexes();
        }
        Ok(())
    }

    /// Takes the row of one zone.
    fn take_row(&mut self, row: IndexRow, bundles: &[BundleRef]) {
        let IndexRow { apex, revision, zone: row } = row;
        let Some(row) = row else {
            if let Some(taking) = &mut self.documents.taking {
                // What is further than the version comes by the log: of a zone that is gone nothing is
                // kept that would tell what comes before that.
                let is_further = revision > taking.at.revision;
                let gone = if is_further { &mut taking.leaving } else { &mut taking.gone };
                gone.insert(apex);
            }
            return;
        };
        let packs: Vec<_> = row
            .packs
            .iter()
            .filter_map(|place| Some((*bundles.get(place.bundle as usize)?, *place)))
            .collect();
        if let Some(taking) = &mut self.documents.taking {
            for (bundle, _) in &packs {
                if taking.contents.insert(bundle.hash) {
                    taking.missing.insert(bundle.hash);
                }
            }
        }
        if self.is_gone_since(&apex, revision) {
            return;
        }
        self.renounce_foreign(&apex, revision);
        let zone = self.zones.entry(apex.clone()).or_default();
        let handed = zone.handed.map_or(0, |handed| handed.revision);
        let known = zone.served.revision.max(handed);
        let is_built = zone.build.as_ref().is_some_and(|build| build.revision >= revision);
        let is_wrong = zone.served.is_there
            && zone.served.revision == revision
            && zone.served.digest != row.digest;
        let is_wanted = revision > known || (revision == known && (zone.is_suspect || is_wrong));
        if is_built || !is_wanted {
            return;
        }
        let is_same = zone.served.is_there && zone.served.digest == row.digest;
        if is_same && !zone.is_suspect && zone.handed.is_none() {
            // The same content at a later revision, or in another history.
            if zone.wanted().is_some_and(|wanted| wanted <= revision) {
                zone.leans_on =
                    self.documents.taking.as_ref().map_or(0, |taking| taking.at.revision);
            }
            let served = Served { revision, digest: row.digest, is_there: true };
            self.serve(&apex, served);
            if let Some(zone) = self.zones.get_mut(&apex) {
                zone.pass(revision);
            }
            self.note_lacking(&apex);
            self.ready.insert(apex);
            return;
        }
        let (digest, names) = (row.digest, row.names);
        let build = Build { revision, digest, names, packs, missing: 0 };
        self.start_build(apex, build);
    }

    /// Takes back what is served of a zone at a revision that its author never had: a version that holds
    /// as far as that has an older one. It is of commits that were lost with the store that was before.
    fn renounce_foreign(&mut self, apex: &Name, revision: u64) {
        let Some(at) = self.documents.taking.as_ref().map(|taking| taking.at.revision) else {
            return;
        };
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let is_foreign =
            zone.served.revision > revision && zone.served.revision <= at && zone.handed.is_none();
        if !is_foreign {
            return;
        }
        let served = Served { revision: 0, ..zone.served };
        zone.queue.retain(|step| step.zone.revision > at);
        zone.wants = None;
        if let Some(build) = zone.build.take() {
            self.documents.give_up(&build);
        }
        self.stats.differed += 1;
        self.complain(format!(
            "{apex} is answered at a revision that its author never had: it is taken anew"
        ));
        self.serve(apex, served);
        self.note_lacking(apex);
    }

    /// Whether the log has removed a zone since the version: of a zone that is gone nothing is kept, so
    /// it is one that nobody knows of although the log has been followed behind its row.
    fn is_gone_since(&self, apex: &Name, revision: u64) -> bool {
        let Some((taking, position)) = self.documents.taking.as_ref().zip(self.position) else {
            return false;
        };
        let is_behind = position.revision > taking.at.revision && revision <= position.revision;
        is_behind && self.zones.get(apex).is_none_or(|zone| zone.begins_behind(revision))
    }

    /// Begins to build a zone.
    fn start_build(&mut self, apex: Name, mut build: Build) {
        let documents = &mut self.documents;
        let mut counted = HashSet::new();
        for (bundle, _) in &build.packs {
            if !counted.insert(bundle.hash) {
                continue;
            }
            let held = documents.bundles.entry(bundle.hash).or_insert_with(|| {
                documents.queue.push_back(*bundle);
                Held::wanted(bundle.len)
            });
            held.users += 1;
            if held.octets.is_none() {
                held.waiting.push(apex.clone());
                build.missing += 1;
            }
        }
        let zone = self.zones.entry(apex.clone()).or_default();
        if let Some(older) = zone.build.take() {
            self.documents.give_up(&older);
        }
        if let Some(zone) = self.zones.get_mut(&apex) {
            zone.build(build);
        }
        self.note_lacking(&apex);
        self.ready.insert(apex);
    }

    /// Notes that a zone is gone at a revision.
    fn remove_zone(&mut self, apex: &Name, revision: u64) {
        let step = LogZone {
            apex: apex.clone(),
            before: 0,
            revision,
            serial: 0,
            digest: Digest::default(),
            step: LogStep::Removed,
        };
        self.push_step(apex, step);
    }

    /// Puts a step into the queue of a zone that is known.
    fn push_step(&mut self, apex: &Name, step: LogZone) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        if let Some(build) = zone.push(step.revision, step) {
            self.documents.give_up(&build);
        }
        self.note_lacking(apex);
        self.ready.insert(apex.clone());
    }

    /// All indexes were read: what none of them has is gone, and the log goes on from here.
    fn end_indexes(&mut self) {
        let Some(taking) = &self.documents.taking else { return };
        let at = taking.at;
        let told = taking.root.as_ref().map(|(root, _)| (root.sum, root.zones));
        if told.is_some_and(|told| told != taking.sum) {
            // What is missing in it would be taken for gone.
            self.complain(
                "the indexes of the document have not the zones that its root says".to_owned(),
            );
            return self.drop_version();
        }
        let gone: Vec<Name> = self
            .zones
            .iter()
            .filter(|(apex, zone)| {
                // One that came by the log behind the version is not in it yet.
                (!taking.seen.contains(*apex) || taking.gone.contains(*apex))
                    && (zone.served.is_there || zone.lacks())
                    && zone.tail().max(zone.wants.unwrap_or(0)) <= at.revision
            })
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in gone {
            if let Some(zone) = self.zones.get_mut(&apex) {
                zone.wants = None;
            }
            self.remove_zone(&apex, at.revision.max(1));
        }
        self.heard = self.heard.max(at.revision);
        if self.position.is_none_or(|position| position.revision < at.revision) {
            self.await_leaving(at.revision);
            self.position = Some(at);
            if let Some(taking) = &mut self.documents.taking {
                taking.is_bridge = true;
            }
        }
        self.drain_line();
        self.finish_taking();
    }

    /// Has zones wait that go behind the version which leads to `at`: it does not say what they are there,
    /// and the log does not say how they come there from what is served.
    fn await_leaving(&mut self, at: u64) {
        let Some(taking) = &mut self.documents.taking else { return };
        for apex in std::mem::take(&mut taking.leaving) {
            if let Some(zone) = self.zones.get_mut(&apex)
                && (zone.served.is_there || zone.lacks())
                && zone.tail() < at
            {
                zone.wants = zone.wants.max(Some(at));
                self.note_lacking(&apex);
            }
        }
    }

    /// Calls the version adopted if all of it is here and served.
    pub(in crate::sync::mirror) fn finish_taking(&mut self) {
        let Some(taking) = &self.documents.taking else { return };
        let is_whole = taking.is_whole()
            && taking.is_kept
            && self.documents.bundles.is_empty()
            && self
                .lacking
                .first_key_value()
                .is_none_or(|(lacking, _)| *lacking > taking.at.revision);
        if !is_whole {
            return;
        }
        let Some(taking) = self.documents.taking.take() else { return };
        self.documents.edition += 1;
        self.documents.adopted = Some((taking.history, taking.at, taking.version.number));
        self.documents.failed.clear();
        let Taking { version, contents, root, .. } = taking;
        self.documents.news = root.map(|(root, _)| Adopted { version, root, contents });
    }

    /// Gives up a version that does not read; the next one is taken.
    pub(super) fn drop_version(&mut self) {
        self.stats.refused += 1;
        self.documents.give_up_version();
        // Asked for again when a later one is announced.
        self.documents.announced = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Hash;
    use crate::feed::index::ZoneRow;
    use crate::feed::root::IndexRef;
    use crate::feed::segment::{
        LogCommit, Position, Segment, SegmentBody, SegmentHead, VersionRef,
    };
    use crate::sync::mirror::MirrorConfig;

    const HISTORY: HistoryId = HistoryId { epoch: 1, id: 1 };

    fn position(revision: u64) -> Position {
        Position { revision, tag: 1 }
    }

    fn take_segment(mirror: &mut Mirror, before: u64, last: u64, body: SegmentBody) {
        let (before, last) = (position(before), position(last));
        let head = SegmentHead { namespace: [0; 32], history: HISTORY, term: 1, before, last };
        mirror.handle_segment(Segment { head, body }, 0);
    }

    /// Has a mirror take a version, which says of one zone that it is there at a revision, or gone.
    fn take_version(mirror: &mut Mirror, at: u64, (revision, is_there): (u64, bool)) {
        let digest = Digest { sum: u128::from(revision), records: 1 };
        let packs = Vec::new();
        let zone = is_there.then_some(ZoneRow { serial: 1, digest, names: 1, packs });
        let row = IndexRow { apex: apex(), revision, zone };
        let index = Index { bundles: Vec::new(), rows: vec![row] }.to_octets().expect("an index");
        let (index_hash, root_hash): (Hash, Hash) = ([at as u8; 32], [at as u8 + 1; 32]);
        let sum = if is_there { mirror.key.zone(&apex(), revision, digest) } else { 0 };
        let indexes = vec![IndexRef { hash: index_hash, len: index.len() as u32, rows: 1 }];
        let (zones, at_position) = (u64::from(is_there), position(at));
        let root = Root {
            history: HISTORY,
            term: 1,
            number: at,
            at: at_position,
            zones,
            sum,
            indexes,
            ..Root::default()
        };
        let root = root.to_octets().expect("a root");
        let version = VersionRef { number: at, hash: root_hash, len: root.len() as u32 };
        take_segment(mirror, at, at, SegmentBody::Version(version));
        mirror.refresh();
        for (hash, octets) in [(root_hash, root), (index_hash, index)] {
            assert_eq!(mirror.poll_wishes(0).first().map(|wish| wish.hash), Some(hash));
            mirror.handle_content(hash, Some(octets.into()));
        }
        mirror.handle_kept(version);
    }

    fn apex() -> Name {
        Name::from_text("example").expect("a name")
    }

    /// Has all steps of a mirror become visible; returns up to where it serves everything, and the zone.
    fn serve_all(mirror: &mut Mirror) -> (u64, Option<u64>) {
        while let Some(batches) = mirror.poll_batch() {
            for batch in batches {
                let handed = mirror.zones[&batch.apex].handed.expect("handed out");
                let is_there = handed.digest != Digest::default();
                mirror.handle_applied(&batch.apex, handed.digest, is_there, 0);
            }
        }
        let served = mirror.status(0).served.revision;
        (served, mirror.zone_digest(&apex()).map(|known| known.0))
    }

    #[test]
    fn a_zone_that_goes_behind_a_version_is_lacking_until_the_log_says_so() {
        // The version holds no further than the one before: others of its zones could not be built.
        let mut mirror = Mirror::new(MirrorConfig::default(), 0);
        take_version(&mut mirror, 20, (20, true));
        assert_eq!(serve_all(&mut mirror), (20, Some(20)));
        take_version(&mut mirror, 65, (85, false));
        // Where the version holds the zone may be another than the one of 20.
        assert_eq!(serve_all(&mut mirror), (20, Some(20)));
        assert!(mirror.poll_adopted().is_some_and(|adopted| adopted.version.number == 20));
        let (revision, serial, digest) = (85, 0, Digest::default());
        let step = LogStep::Removed;
        let gone = LogZone { apex: apex(), before: 53, revision, serial, digest, step };
        let commits = [(70, Vec::new()), (85, vec![gone])]
            .map(|(revision, zones)| LogCommit { at: position(revision), zones });
        take_segment(&mut mirror, 65, 85, SegmentBody::Commits(commits.to_vec()));
        assert_eq!(serve_all(&mut mirror), (85, None));
        assert!(mirror.poll_adopted().is_some_and(|adopted| adopted.version.number == 65));
    }
}
