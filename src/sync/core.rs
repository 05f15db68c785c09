//! The edge's state machine: entries and content in; batches, wishes and a status out.
//!
//! The caller hands in every entry of its replica (`handle_scan_started`, entries,
//! `handle_scan_complete`) and then each that arrives, in any order and as often as it likes. After
//! every call it may ask `poll_fetch` what to fetch, `poll_batch` what to publish, `poll_status`,
//! `poll_complaint` and `poll_rescan`; `poll_timeout` says when to call `handle_time` at the latest.
//! A batch is published before the next one is asked for, and told by `handle_applied`.
//!
//! Entries of another author than the feed's are counted and dropped. An emptied entry (what
//! iroh-docs leaves behind a delete) changes nothing in a feed that has a header. One bad entry is
//! counted and complained of once; the rest applies.
//!
//! **Invariant:** see `sync`. What waits is bounded; at a bound it is dropped, counted, and asked
//! for again by a rescan.
//! **Not here:** zones' histories (`sync::history`), feeds without header (`sync::plain`), outputs
//! and progress (`sync::output`).

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use crate::feed::Revision;
use crate::feed::beat::{Beat, Header};
use crate::feed::key::{self, FeedKey, KeyError, parse_feed_key};
use crate::feed::live::read_live;
use crate::feed::manifest::Manifest;
use crate::limits::{
    BEAT_OCTETS_MAX, LIVE_HELD_OCTETS_MAX, MANIFEST_OCTETS_MAX, PACK_HELD_OCTETS_MAX,
    PACK_OCTETS_MAX, PACKS_STORED_MAX,
};
use crate::name::Name;
use crate::octets::DecodeError;
use crate::sync::complaint::{Complaints, EntryError};
use crate::sync::entry::{FeedEntry, Origin};
use crate::sync::history::History;
use crate::sync::inbox::{Hash, Inbox};
use crate::sync::output::{Progress, SyncStats};
use crate::sync::plain::PlainFeed;
use crate::sync::status::{StatusClock, StatusEvent, SyncStatus};

/// What an edge wants from its feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyncConfig {
    /// The author whose entries are believed; `None` believes every author, which is right only
    /// for a namespace in the original system's form.
    pub author: Option<[u8; 32]>,
    /// The zones to take, with all below them; `None` takes all.
    pub zone_filter: Option<Vec<Name>>,
    /// Milliseconds without contact after which the status is stale.
    pub stale_after_ms: u64,
    /// Milliseconds that a batch may wait for more to come. With 0 it goes at once; what comes
    /// while the caller publishes makes the next batch.
    pub batch_age_ms: u64,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self { author: None, zone_filter: None, stale_after_ms: 300_000, batch_age_ms: 0 }
    }
}

/// What kind of feed it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum FeedKind {
    /// Not known yet.
    #[default]
    Unknown,
    /// A feed with a header.
    Headed,
    /// The original system's form.
    Plain,
}

/// The edge's state machine. See the module page.
#[derive(Debug)]
pub struct SyncCore {
    /// What the edge wants.
    pub(super) config: SyncConfig,
    /// What kind of feed it is.
    pub(super) kind: FeedKind,
    /// Entries that wait for content.
    pub(super) inbox: Inbox,
    /// Every zone of a feed with header.
    pub(super) zones: HashMap<Name, History>,
    /// Zones that may have a step to hand out.
    pub(super) dirty: BTreeSet<Name>,
    /// When the first of `dirty` became so.
    pub(super) dirty_since_ms: Option<u64>,
    /// Octets of live changes and of packs that wait, over all zones.
    pub(super) held: HeldOctets,
    /// Packs that have arrived once, so that a rescan does not bring all of them again.
    stored: HashSet<Hash>,
    /// Records and zones of a feed without header.
    pub(super) plain: PlainFeed,
    /// The newest header.
    pub(super) header: Option<Header>,
    /// The newest heartbeat.
    pub(super) beat: Option<Beat>,
    /// The status.
    pub(super) clock: StatusClock,
    /// How far everything is.
    pub(super) progress: Progress,
    /// What is to be logged.
    pub(super) complaints: Complaints,
    /// What is counted.
    pub(super) stats: SyncStats,
}

/// Octets that wait, over all zones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeldOctets {
    /// Live changes.
    pub(super) live: usize,
    /// Packs.
    pub(super) packs: usize,
}

impl SyncCore {
    /// Begins with nothing known.
    pub fn new(config: SyncConfig, now_ms: u64) -> Self {
        let clock = StatusClock::new(config.stale_after_ms, now_ms);
        let plain = PlainFeed::new(config.zone_filter.clone().unwrap_or_default());
        Self {
            config,
            kind: FeedKind::default(),
            inbox: Inbox::default(),
            zones: HashMap::new(),
            dirty: BTreeSet::new(),
            dirty_since_ms: None,
            held: HeldOctets::default(),
            stored: HashSet::new(),
            plain,
            header: None,
            beat: None,
            clock,
            progress: Progress::default(),
            complaints: Complaints::default(),
            stats: SyncStats::default(),
        }
    }

    /// Takes one entry.
    pub fn handle_entry(&mut self, entry: &FeedEntry<'_>, now_ms: u64) {
        self.stats.entries += 1;
        if self.config.author.is_some_and(|author| author != entry.author) {
            self.stats.foreign_authors += 1;
            return;
        }
        if entry.origin == Origin::Event {
            self.clock.handle(StatusEvent::Contact, now_ms);
        }
        let taken = match parse_feed_key(entry.key) {
            Err(KeyError::NotTerminated) | Ok(FeedKey::Record { .. }) => {
                self.take_plain(entry, now_ms)
            }
            // What a delete leaves behind; a delete of a prefix leaves a key of no kind.
            emptied if entry.len == 0 => {
                self.stats.emptied += 1;
                if let Ok(FeedKey::Pack { apex, .. }) = emptied {
                    // Nobody need wait for it, unless the manifest still names it.
                    self.inbox.forget(entry.key);
                    self.mark_dirty(apex, now_ms);
                }
                Ok(())
            }
            Err(error) => Err(EntryError::BadKey(error)),
            Ok(feed_key) => self.take_headed(&feed_key, entry, now_ms),
        };
        if let Err(error) = taken {
            self.complain(entry.key, &entry.hash, error);
        }
        self.look(now_ms);
    }

    /// Takes an entry of a feed with header.
    fn take_headed(
        &mut self,
        feed_key: &FeedKey<'_>,
        entry: &FeedEntry<'_>,
        now_ms: u64,
    ) -> Result<(), EntryError> {
        let (len_max, is_urgent) = match feed_key {
            FeedKey::Header | FeedKey::Beat => (BEAT_OCTETS_MAX, true),
            FeedKey::Zone { apex } => {
                check_form(entry.key, &key::terminate(&key::zone_key(apex)))?;
                let known = self.zones.get(apex).and_then(History::manifest_hash);
                if !self.admits(apex) || known == Some(entry.hash) {
                    self.inbox.forget_older(entry.key, entry.timestamp_us);
                    return Ok(());
                }
                (MANIFEST_OCTETS_MAX, true)
            }
            FeedKey::Pack { apex, number } => {
                check_form(entry.key, &key::terminate(&key::pack_key(apex, *number)))?;
                // What arrived once is on disk; whoever needs it again says so.
                if !self.admits(apex) || self.stored.contains(&entry.hash) {
                    return Ok(());
                }
                (PACK_OCTETS_MAX, false)
            }
            FeedKey::Live { apex, revision, change } => {
                check_form(entry.key, &key::live_key(apex, *revision, change))?;
                self.become_headed();
                return self.take_live(apex, *revision, change, now_ms);
            }
            FeedKey::Root | FeedKey::Record { .. } => return Ok(()),
        };
        self.become_headed();
        if *feed_key == FeedKey::Beat && entry.origin == Origin::Event {
            self.progress.note_live_beat();
        }
        if entry.len > len_max as u64 {
            return Err(EntryError::TooLong { len: entry.len, max: len_max as u64 });
        }
        match &entry.content {
            Some(octets) => self.take_value(entry.key, entry.hash, octets, now_ms),
            None => {
                self.want(entry.key, entry.hash, entry.timestamp_us, is_urgent);
                Ok(())
            }
        }
    }

    /// Takes a live change.
    fn take_live(
        &mut self,
        apex: &Name,
        number: u64,
        octets: &[u8],
        now_ms: u64,
    ) -> Result<(), EntryError> {
        if !self.admits(apex) {
            return Ok(());
        }
        let live = read_live(apex, number, octets)?;
        self.progress.hear(live.revision);
        let history = self.zones.entry(apex.clone()).or_default();
        let before = history.live_octets();
        if !history.handle_live(live, octets.len()) {
            return Ok(());
        }
        self.stats.live += 1;
        self.held.live = self.held.live + history.live_octets() - before;
        if self.held.live > LIVE_HELD_OCTETS_MAX && !history.can_follow() {
            self.held.live -= history.live_octets();
            history.drop_live();
            self.hit_bound();
        }
        self.mark_dirty(apex.clone(), now_ms);
        Ok(())
    }

    /// Takes content that was wanted, or that nobody wants any more.
    pub fn handle_content(&mut self, hash: Hash, octets: &Bytes, now_ms: u64) {
        self.stats.contents += 1;
        self.progress.note_content(now_ms);
        for key in self.inbox.take(&hash) {
            let taken = match parse_feed_key(&key) {
                Err(_) | Ok(FeedKey::Record { .. }) => {
                    let is_headed = self.kind == FeedKind::Headed;
                    if is_headed { Ok(()) } else { self.plain.handle_value(&key, octets) }
                }
                Ok(_) => self.take_value(&key, hash, octets, now_ms),
            };
            if let Err(error) = taken {
                self.complain(&key, &hash, error);
            }
        }
        self.look(now_ms);
    }

    /// Takes the content of an entry of a feed with header.
    fn take_value(
        &mut self,
        key: &[u8],
        hash: Hash,
        octets: &Bytes,
        now_ms: u64,
    ) -> Result<(), EntryError> {
        match parse_feed_key(key).map_err(EntryError::BadKey)? {
            FeedKey::Header => {
                let header = Header::from_octets(octets)?;
                let place = |header: &Header| (header.epoch, header.term);
                if self.header.as_ref().is_none_or(|known| place(known) <= place(&header)) {
                    self.header = Some(header);
                }
            }
            FeedKey::Beat => {
                let beat = Beat::from_octets(octets)?;
                self.progress.hear(beat.revision);
                let place = |beat: &Beat| (beat.revision, beat.time_ms);
                if self.beat.is_none_or(|known| place(&known) <= place(&beat)) {
                    self.beat = Some(beat);
                    self.progress.note_beat();
                }
            }
            FeedKey::Zone { apex } => {
                let manifest = Manifest::from_octets(octets)?;
                if manifest.apex != apex {
                    return Err(EntryError::WrongZone { found: manifest.apex });
                }
                self.progress.hear(manifest.revision);
                let history = self.zones.entry(apex.clone()).or_default();
                let before = history.pack_octets();
                let is_news = history.handle_manifest(manifest, hash);
                self.held.packs = self.held.packs + history.pack_octets() - before;
                if is_news {
                    self.mark_dirty(apex, now_ms);
                }
            }
            FeedKey::Pack { apex, .. } => {
                let may_hold = PACK_HELD_OCTETS_MAX.saturating_sub(self.held.packs);
                let history = self.zones.entry(apex.clone()).or_default();
                let before = history.pack_octets();
                let is_kept = history.handle_pack(hash, octets.clone(), may_hold);
                if self.stored.len() >= PACKS_STORED_MAX {
                    self.stored.clear();
                }
                self.stored.insert(hash);
                self.held.packs = self.held.packs + history.pack_octets() - before;
                if is_kept {
                    self.mark_dirty(apex, now_ms);
                }
            }
            FeedKey::Root | FeedKey::Live { .. } | FeedKey::Record { .. } => {}
        }
        Ok(())
    }

    /// Takes an entry in the original system's form.
    fn take_plain(&mut self, entry: &FeedEntry<'_>, now_ms: u64) -> Result<(), EntryError> {
        if self.kind == FeedKind::Headed && entry.len == 0 {
            self.stats.emptied += 1;
            return Ok(());
        }
        if self.kind == FeedKind::Headed {
            return Err(EntryError::PlainInFeed);
        }
        let taken = self.plain.handle_entry(entry, self.config.zone_filter.as_deref())?;
        taken.passed.iter().for_each(|key| self.inbox.forget(key));
        self.stats.filtered += u64::from(taken.is_filtered);
        if taken.needs_content {
            match &entry.content {
                Some(octets) => self.plain.handle_value(entry.key, octets)?,
                None => self.want(entry.key, entry.hash, entry.timestamp_us, true),
            }
        }
        if self.progress.is_reconciled() {
            self.decide_kind(now_ms);
        }
        Ok(())
    }

    /// Notes that content could not be fetched; it will be wanted again.
    pub fn handle_content_failed(&mut self, hash: Hash, now_ms: u64) {
        self.stats.fetch_failures += 1;
        self.inbox.fail(&hash, now_ms);
        self.look(now_ms);
    }

    /// Notes that the caller begins to hand in all entries of its replica.
    pub fn handle_scan_started(&mut self, _now_ms: u64) {
        self.progress.note_scan_started();
    }

    /// Notes that all entries of the replica were handed in.
    pub fn handle_scan_complete(&mut self, now_ms: u64) {
        self.progress.note_scan_complete(now_ms);
        self.decide_kind(now_ms);
        self.look(now_ms);
    }

    /// Notes that a reconciliation with a peer is finished and all its entries were handed in.
    pub fn handle_reconciled(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Contact, now_ms);
        self.progress.note_reconciled();
        self.decide_kind(now_ms);
        self.look(now_ms);
    }

    /// Notes any proof that a peer lives.
    pub fn handle_contact(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Contact, now_ms);
        self.inbox.retry_all(now_ms);
        self.look(now_ms);
    }

    /// Notes that a peer is being connected to.
    pub fn handle_connecting(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Connecting, now_ms);
    }

    /// Notes that the last peer is gone, or that nobody tries any more.
    pub fn handle_lost(&mut self, now_ms: u64) {
        self.clock.handle(StatusEvent::Lost, now_ms);
        self.progress.note_silence();
    }

    /// Returns the status now.
    pub fn status(&self) -> SyncStatus {
        self.clock.status()
    }

    /// Returns the newest header that was read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Returns the newest heartbeat that was read.
    pub fn beat(&self) -> Option<Beat> {
        self.beat
    }

    /// Makes a key wait for its content.
    pub(super) fn want(&mut self, key: &[u8], hash: Hash, timestamp_us: u64, is_urgent: bool) {
        if !self.inbox.want(key, hash, timestamp_us, is_urgent) {
            self.hit_bound();
        }
    }

    /// Counts a bound that was hit: what was dropped must be told again.
    pub(super) fn hit_bound(&mut self) {
        self.stats.bound_hits += 1;
        self.progress.want_rescan();
    }

    /// Whether the zone passes the filter; counts it if not.
    fn admits(&mut self, apex: &Name) -> bool {
        let Some(filter) = &self.config.zone_filter else { return true };
        let is_admitted = filter.iter().any(|zone| apex.is_at_or_below(zone));
        self.stats.filtered += u64::from(!is_admitted);
        is_admitted
    }

    /// Notes that a zone may have a step to hand out.
    pub(super) fn mark_dirty(&mut self, apex: Name, now_ms: u64) {
        self.dirty_since_ms.get_or_insert(now_ms);
        self.progress.note_pending(&apex, now_ms);
        self.dirty.insert(apex);
    }

    /// Counts a bad entry, and complains of it if that has not been done.
    pub(super) fn complain(&mut self, key: &[u8], hash: &Hash, error: EntryError) {
        self.stats.refused += 1;
        self.complaints.add(key, hash, error);
    }

    /// Notes that this is a feed with header; what was read without one is void.
    fn become_headed(&mut self) {
        if self.kind != FeedKind::Headed {
            self.kind = FeedKind::Headed;
            self.plain.become_headed();
        }
    }

    /// Decides that a feed in which no entry of ours was seen has the original's form.
    fn decide_kind(&mut self, now_ms: u64) {
        if self.kind == FeedKind::Unknown && self.progress.is_scanned() && self.plain.has_entries()
        {
            self.kind = FeedKind::Plain;
            self.plain.begin(now_ms);
        }
    }
}

/// Checks that a key has the one form that is written.
fn check_form(key: &[u8], canonical: &[u8]) -> Result<(), EntryError> {
    if key == canonical { Ok(()) } else { Err(EntryError::NotCanonical) }
}

impl From<DecodeError> for EntryError {
    fn from(error: DecodeError) -> Self {
        Self::BadContent(error)
    }
}

impl SyncCore {
    /// Returns the newest revision that is known to exist.
    pub fn heard_revision(&self) -> Revision {
        self.progress.heard()
    }

    /// Returns the revision up to which everything that is known to exist is published.
    pub fn revision(&self) -> Revision {
        self.progress.served()
    }
}
