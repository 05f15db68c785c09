//! Writes the commits of a source as segments of the log, and keeps the book up to date with them.
//!
//! A small zone that is new or replaced travels in the log as a whole, so that it is answered
//! without a fetch; a large one is left to the next version of the document.
//!
//! **Invariant:** the segments written say exactly what the book does.
//! **Not here:** the document (`fold`), when (`task`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use iroh_docs::Author;

use super::FeedConfig;
use super::book::{Book, Head};
use super::pack::cut;
use crate::clock::now_ms;
use crate::feed::HistoryId;
use crate::feed::items::item_of;
use crate::feed::live::coalesce;
use crate::feed::pack::PackWriter;
use crate::feed::segment::{
    LogBeat, LogCommit, LogStep, LogZone, Position, Segment, SegmentBody, SegmentHead, VersionRef,
};
use crate::limits::{
    LOG_COMMIT_ZONES_MAX, LOG_WHOLE_RECORDS_MAX, LOG_ZONE_OCTETS_MAX, SEGMENT_OCTETS_MAX,
    SEGMENT_OCTETS_TARGET,
};
use crate::mesh::log::Log;
use crate::name::Name;
use crate::record::Change;
use crate::store::history::{Commit, ZoneChange, ZoneCommit, ZoneContents, ZoneSource};

/// Who signs the segments of a feed, and what they say of themselves.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    /// The feed.
    pub(super) namespace: [u8; 32],
    /// Its author.
    pub(super) author: Author,
    /// The history.
    pub(super) history: HistoryId,
    /// Counts the exporters of the feed.
    pub(super) term: u64,
}

impl Signer {
    /// Writes and signs a segment.
    fn sign(&self, before: Position, last: Position, body: SegmentBody) -> Bytes {
        let (namespace, history, term) = (self.namespace, self.history, self.term);
        let head = SegmentHead { namespace, history, term, before, last };
        let segment = Segment { head, body };
        segment.to_octets(|octets| self.author.sign(octets).to_bytes()).into()
    }

    /// Writes and signs the heartbeat of a number.
    pub(super) fn beat(&self, count: u64, at: Position, book: &Book, version: u64) -> Bytes {
        self.beat_of(count, at, book.log_sum(), version)
    }

    /// Writes and signs the heartbeat of a number, of zones that come to a sum.
    pub(super) fn beat_of(
        &self,
        count: u64,
        at: Position,
        (sum, zones): (u128, u64),
        version: u64,
    ) -> Bytes {
        let beat = LogBeat { count, time_ms: now_ms(), sum, zones, version };
        self.sign(at, at, SegmentBody::Beat(beat))
    }

    /// Announces a version of the document, which holds at a position.
    pub(super) fn version(&self, at: Position, version: VersionRef) -> Bytes {
        self.sign(at, at, SegmentBody::Version(version))
    }
}

/// Writes the log of a feed.
pub(super) struct Chronicle {
    /// Where small zones are read.
    source: Arc<dyn ZoneSource>,
    /// What the feed carries.
    config: FeedConfig,
    /// Signs the segments.
    pub(super) signer: Signer,
    /// Where they are kept for those who follow.
    log: Arc<Log>,
    /// The position that the log leads to.
    at: Position,
    /// Commits that wait to be written as one segment.
    open: Vec<LogCommit>,
    /// Octets of them.
    open_octets: usize,
    /// Zones that one commit of the log may have.
    pub(super) zones_max: u64,
}

impl Chronicle {
    /// Begins a log after a position.
    pub(super) fn begin(
        source: Arc<dyn ZoneSource>,
        config: FeedConfig,
        signer: Signer,
        log: Arc<Log>,
        at: Position,
    ) -> Self {
        log.begin(signer.history, at);
        let zones_max = LOG_COMMIT_ZONES_MAX;
        Self { source, config, signer, log, at, open: Vec::new(), open_octets: 0, zones_max }
    }

    /// The position that the log leads to.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Writes commits into log and book.
    pub(super) async fn take(&mut self, book: &mut Book, commits: Vec<Commit>) {
        let mut contents = self.read_small(book, &commits).await;
        for commit in commits {
            let at = Position { revision: commit.revision, tag: commit.tag };
            if at.revision <= self.at.revision {
                continue;
            }
            let mut written = LogCommit { at, zones: Vec::new() };
            let mut octets = 0;
            for zone in commit.zones {
                if !self.config.carries(&zone.apex) {
                    continue;
                }
                let whole = contents.remove(&zone.apex);
                written.zones.push(write_zone(book, zone, at.revision, whole, &mut octets));
            }
            let is_long = written.zones.len() as u64 > self.zones_max
                || written.octets() > SEGMENT_OCTETS_MAX - SEGMENT_HEAD_OCTETS_MAX;
            if is_long { self.begin_behind(book, &written) } else { self.push(written) }
        }
        self.flush();
    }

    /// Begins the log anew behind a commit that is too long for it: whoever was told less takes the
    /// document, which is to have all of it.
    fn begin_behind(&mut self, book: &mut Book, commit: &LogCommit) {
        self.flush();
        tracing::warn!(
            zones = commit.zones.len(),
            "a commit is too long for the log: edges have it with the next version of the document"
        );
        commit.zones.iter().for_each(|zone| book.want(&zone.apex));
        self.at = commit.at;
        self.log.begin(self.signer.history, commit.at);
    }

    /// Reads the small zones that travel as a whole.
    async fn read_small(&self, book: &Book, commits: &[Commit]) -> HashMap<Name, ZoneContents> {
        let mut small: Vec<Name> = Vec::new();
        for zone in commits.iter().flat_map(|commit| &commit.zones) {
            let is_whole = match zone.change {
                ZoneChange::Replaced => true,
                ZoneChange::Changes(_) => !follows(book, zone),
                ZoneChange::Removed => false,
            };
            let is_small = zone.digest.records <= LOG_WHOLE_RECORDS_MAX;
            if is_whole && is_small && self.config.carries(&zone.apex) {
                small.push(zone.apex.clone());
            }
        }
        small.sort_unstable();
        small.dedup();
        if small.is_empty() {
            return HashMap::new();
        }
        let contents = match self.source.zones_contents(&small).await {
            Ok(contents) => contents,
            Err(error) => {
                // The document has them as soon as they can be read.
                tracing::warn!(zones = small.len(), %error, "zones that were replaced cannot be read yet");
                Vec::new()
            }
        };
        contents.into_iter().map(|found| (found.zone.apex.clone(), found)).collect()
    }

    /// Appends a commit to the segment that is being written.
    fn push(&mut self, commit: LogCommit) {
        let octets = commit.octets();
        if self.open_octets + octets > SEGMENT_OCTETS_TARGET {
            self.flush();
        }
        self.open_octets += octets;
        self.open.push(commit);
    }

    /// Signs the segment that is being written and hands it out.
    fn flush(&mut self) {
        let commits = std::mem::take(&mut self.open);
        self.open_octets = 0;
        let Some(last) = commits.last().map(|commit| commit.at) else { return };
        let positions: Vec<Position> = commits.iter().map(|commit| commit.at).collect();
        let before = std::mem::replace(&mut self.at, last);
        let octets = self.signer.sign(before, last, SegmentBody::Commits(commits));
        debug_assert!(octets.len() <= SEGMENT_OCTETS_MAX);
        self.log.push(&octets, before, &positions);
    }
}

/// Whether a commit follows on what the book has of the zone.
fn follows(book: &Book, zone: &ZoneCommit) -> bool {
    let head = book.head(&zone.apex);
    head.is_there && zone.prev_revision == Some(head.revision)
}

/// Writes what a commit did to one zone; `octets` counts those of the commit's packs.
fn write_zone(
    book: &mut Book,
    zone: ZoneCommit,
    at: u64,
    whole: Option<ZoneContents>,
    octets: &mut usize,
) -> LogZone {
    let ZoneCommit { apex, serial, digest, .. } = &zone;
    let before = book.head(apex);
    if before.revision >= at {
        if before.is_there {
            // A version that was made before the commit does not say that it has it.
            book.want(apex);
        }
        return written_before(zone, before);
    }
    let follows = follows(book, &zone);
    let told = Head { revision: at, serial: *serial, digest: *digest, is_there: true };
    let mut head = told;
    let apex = apex.clone();
    let room = (SEGMENT_OCTETS_MAX / 2).saturating_sub(*octets).min(LOG_ZONE_OCTETS_MAX);
    let step = match zone.change {
        ZoneChange::Removed => {
            head = Head { serial: 0, is_there: false, ..head };
            book.set_head(&apex, head);
            book.want(&apex);
            LogStep::Removed
        }
        ZoneChange::Changes(changes) if follows => {
            book.set_head(&apex, head);
            match delta(&apex, &changes, room) {
                Some(pack) => {
                    book.remember(&apex, before.revision, changes);
                    LogStep::Changes(pack)
                }
                None => {
                    book.want(&apex);
                    LogStep::Document
                }
            }
        }
        ZoneChange::Changes(_) | ZoneChange::Replaced => {
            // Read later than the commit it may be further; what came in between is in it.
            let found = whole.filter(|found| found.zone.revision >= at);
            let pack = found.and_then(|found| {
                head.revision = found.zone.revision;
                head.serial = found.zone.serial;
                head.digest = found.zone.digest;
                base(found, room)
            });
            if pack.is_none() {
                head = told;
            }
            book.set_head(&apex, head);
            book.want(&apex);
            pack.map_or(LogStep::Document, LogStep::Whole)
        }
    };
    if let LogStep::Changes(pack) | LogStep::Whole(pack) = &step {
        *octets += pack.len();
    }
    let Head { revision, serial, digest, .. } = head;
    LogZone { apex, before: before.revision, revision, serial, digest, step }
}

/// Writes a commit to a zone that the log has already led further.
///
/// Whoever took the log from an exporter before this one may not know how: it goes on behind the
/// commit with which this log has done so.
fn written_before(zone: ZoneCommit, head: Head) -> LogZone {
    let Head { revision, serial, digest, is_there } = head;
    let before = zone.prev_revision.filter(|before| *before < revision).unwrap_or(0);
    let step = if is_there { LogStep::Document } else { LogStep::Removed };
    LogZone { apex: zone.apex, before, revision, serial, digest, step }
}

/// Writes changes as a delta pack of at most `room` octets.
fn delta(apex: &Name, changes: &[Change], room: usize) -> Option<Bytes> {
    let mut writer = PackWriter::delta(apex.clone());
    for change in coalesce(changes) {
        if writer.push(item_of(change)).is_err() || writer.len() > room {
            return None;
        }
    }
    Some(writer.finish().into())
}

/// Writes a zone as one base pack of at most `room` octets.
fn base(found: ZoneContents, room: usize) -> Option<Bytes> {
    let cut = cut(&found.zone.apex, found.rrsets);
    let mut packs = cut.packs.into_iter();
    let (first, second) = (packs.next()?, packs.next());
    let fits = second.is_none() && cut.refused.is_empty() && first.octets.len() <= room;
    fits.then(|| first.octets.into())
}

/// Octets that a segment of one commit takes at most beside the commit's zones.
const SEGMENT_HEAD_OCTETS_MAX: usize = 1 << 10;
