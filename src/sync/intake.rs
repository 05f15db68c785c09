//! What entries and their contents mean: which are believed, which contents are wanted, what is told.
//!
//! Entries of another author than the feed's are counted and dropped. An emptied entry (what
//! iroh-docs leaves behind a delete) changes nothing in a feed that has a header. One bad entry is
//! counted and complained of once; the rest applies.
//!
//! **Invariant:** what an entry tells is noted even if it is bad besides; what was dropped at a bound
//! is said to be, so that it is asked for again.
//! **Not here:** what follows for the edge (`sync::core`), what contents say (`sync::headed`,
//! `sync::plain`).

use bytes::Bytes;

use crate::feed::Hash;
use crate::feed::key::{self, FeedKey, KeyError, parse_feed_key};
use crate::limits::{BEAT_OCTETS_MAX, MANIFEST_OCTETS_MAX, PACK_OCTETS_MAX};
use crate::name::Name;
use crate::sync::batch::ZoneBatch;
use crate::sync::complaint::{Complaint, Complaints, EntryError};
use crate::sync::entry::{FeedEntry, Origin};
use crate::sync::headed::{HeadedFeed, News};
use crate::sync::history::ZonePlan;
use crate::sync::inbox::Inbox;
use crate::sync::outbox::Planned;
use crate::sync::plain::PlainFeed;
use crate::sync::status::SyncStats;

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

/// Takes entries and contents in.
#[derive(Debug)]
pub(super) struct Intake {
    /// The author whose entries are believed; `None` believes every author.
    author: Option<[u8; 32]>,
    /// The zones to take, with all below them; `None` takes all.
    zone_filter: Option<Vec<Name>>,
    /// What kind of feed it is.
    kind: FeedKind,
    /// Entries that wait for content.
    inbox: Inbox,
    /// What a feed with header has told.
    headed: HeadedFeed,
    /// What a feed without header has told.
    plain: PlainFeed,
    /// What is to be logged.
    complaints: Complaints,
    /// What is counted.
    stats: SyncStats,
}

impl Intake {
    /// Begins with nothing known.
    pub(super) fn new(author: Option<[u8; 32]>, zone_filter: Option<Vec<Name>>) -> Self {
        Self {
            author,
            kind: FeedKind::default(),
            inbox: Inbox::default(),
            headed: HeadedFeed::default(),
            plain: PlainFeed::new(zone_filter.clone().unwrap_or_default()),
            zone_filter,
            complaints: Complaints::default(),
            stats: SyncStats::default(),
        }
    }

    /// Takes one entry and notes what it tells; says whether it is of an author who is believed.
    ///
    /// # Errors
    /// [`EntryError`] for one of theirs that breaks a rule; it is counted and complained of.
    pub(super) fn handle_entry(
        &mut self,
        entry: &FeedEntry<'_>,
        news: &mut News,
    ) -> Result<bool, EntryError> {
        self.stats.entries += 1;
        if self.author.is_some_and(|author| author != entry.author) {
            self.stats.foreign_authors += 1;
            return Ok(false);
        }
        let taken = match parse_feed_key(entry.key) {
            Err(KeyError::NotTerminated) | Ok(FeedKey::Record { .. }) => {
                self.take_plain(entry, news)
            }
            // What a delete leaves behind; a delete of a prefix leaves a key of no kind.
            emptied if entry.len == 0 => {
                self.stats.emptied += 1;
                if let Ok(FeedKey::Pack { apex, .. }) = emptied {
                    // Nobody need wait for it, unless the manifest still names it.
                    self.inbox.forget(entry.key);
                    news.zones.push(apex);
                }
                Ok(())
            }
            Err(error) => Err(EntryError::BadKey(error)),
            Ok(feed_key) => self.take_headed(&feed_key, entry, news),
        };
        taken
            .map(|()| true)
            .inspect_err(|error| self.complain(entry.key, &entry.hash, error.clone()))
    }

    /// Takes an entry of a feed with header.
    fn take_headed(
        &mut self,
        feed_key: &FeedKey<'_>,
        entry: &FeedEntry<'_>,
        news: &mut News,
    ) -> Result<(), EntryError> {
        let (len_max, is_urgent) = match feed_key {
            FeedKey::Header | FeedKey::Beat => (BEAT_OCTETS_MAX, true),
            FeedKey::Zone { apex } => {
                check_form(entry.key, &key::terminate(&key::zone_key(apex)))?;
                if !self.admits(apex) || self.headed.has_manifest(apex, &entry.hash) {
                    self.inbox.forget_older(entry.key, entry.timestamp_us);
                    return Ok(());
                }
                (MANIFEST_OCTETS_MAX, true)
            }
            FeedKey::Pack { apex, number } => {
                check_form(entry.key, &key::terminate(&key::pack_key(apex, *number)))?;
                // What arrived once is on disk.
                if !self.admits(apex) || self.headed.has_stored(&entry.hash) {
                    return Ok(());
                }
                (PACK_OCTETS_MAX, false)
            }
            FeedKey::Live { apex, revision, change } => {
                check_form(entry.key, &key::live_key(apex, *revision, change))?;
                self.become_headed();
                if self.admits(apex) {
                    let is_news = self.headed.handle_live(apex, *revision, change, news)?;
                    self.stats.live += u64::from(is_news);
                }
                return Ok(());
            }
            FeedKey::Root | FeedKey::Record { .. } => return Ok(()),
        };
        self.become_headed();
        news.is_live_beat |= *feed_key == FeedKey::Beat && entry.origin == Origin::Event;
        if entry.len > len_max as u64 {
            return Err(EntryError::TooLong { len: entry.len, max: len_max as u64 });
        }
        match &entry.content {
            Some(octets) => self.headed.handle_value(entry.key, entry.hash, octets, news),
            None => {
                self.want(entry.key, entry.hash, entry.timestamp_us, is_urgent, news);
                Ok(())
            }
        }
    }

    /// Takes an entry in the original system's form.
    fn take_plain(&mut self, entry: &FeedEntry<'_>, news: &mut News) -> Result<(), EntryError> {
        if self.kind == FeedKind::Headed && entry.len == 0 {
            self.stats.emptied += 1;
            return Ok(());
        }
        if self.kind == FeedKind::Headed {
            return Err(EntryError::PlainInFeed);
        }
        let taken = self.plain.handle_entry(entry, self.zone_filter.as_deref());
        news.bound_hits += u64::from(matches!(taken, Err(EntryError::TooManyEntries { .. })));
        let taken = taken?;
        taken.passed.iter().for_each(|key| self.inbox.forget(key));
        self.stats.filtered += u64::from(taken.is_filtered);
        if taken.needs_content {
            match &entry.content {
                Some(octets) => self.plain.handle_value(entry.key, octets)?,
                None => self.want(entry.key, entry.hash, entry.timestamp_us, true, news),
            }
        }
        Ok(())
    }

    /// Takes content that was wanted, or that nobody wants any more, and notes what it tells.
    pub(super) fn handle_content(&mut self, hash: Hash, octets: &Bytes, news: &mut News) {
        self.stats.contents += 1;
        for key in self.inbox.take(&hash) {
            let taken = match parse_feed_key(&key) {
                Err(_) | Ok(FeedKey::Record { .. }) => {
                    let is_headed = self.kind == FeedKind::Headed;
                    if is_headed { Ok(()) } else { self.plain.handle_value(&key, octets) }
                }
                Ok(_) => self.headed.handle_value(&key, hash, octets, news),
            };
            if let Err(error) = taken {
                self.complain(&key, &hash, error);
            }
        }
    }

    /// Notes that content could not be fetched; it will be wanted again.
    pub(super) fn handle_content_failed(&mut self, hash: &Hash, now_ms: u64) {
        self.stats.fetch_failures += 1;
        self.inbox.fail(hash, now_ms);
    }

    /// Wants at once what could not be fetched: a peer has turned up.
    pub(super) fn retry_all(&mut self, now_ms: u64) {
        self.inbox.retry_all(now_ms);
    }

    /// Returns up to `max` hashes whose content is to be fetched now.
    pub(super) fn poll_fetch(&mut self, now_ms: u64, max: usize) -> Vec<Hash> {
        self.inbox.poll_fetch(now_ms, max)
    }

    /// Finds the next step of a zone of a feed with header, and wants the packs that it needs.
    pub(super) fn plan(&mut self, apex: &Name, news: &mut News) -> Planned {
        let Some(plan) = self.headed.plan(apex) else { return Planned::default() };
        let ZonePlan { step, needs, refusal, has_more } = plan;
        for (number, hash) in needs {
            let pack_key = key::terminate(&key::pack_key(apex, number));
            self.want(&pack_key, hash, u64::MAX, false, news);
        }
        if let Some((number, error)) = refusal {
            let pack_key = key::terminate(&key::pack_key(apex, number));
            self.complain(&pack_key, &Hash::default(), EntryError::BadContent(error));
        }
        let batch =
            |(revision, step)| ZoneBatch { apex: apex.clone(), revision, step, proof: None };
        Planned { step: step.map(batch), has_more }
    }

    /// Returns what a feed without header has to publish.
    pub(super) fn poll_plain(&mut self, now_ms: u64) -> Vec<ZoneBatch> {
        self.plain.poll_batch(!self.is_waiting(), now_ms)
    }

    /// Whether zones may be served from when the feed had no header, of which it has none any more.
    pub(super) fn has_passed_zones(&self) -> bool {
        self.kind == FeedKind::Headed && self.plain.zone_count() > 0
    }

    /// Forgets those of them that this feed has, too.
    pub(super) fn forget_taken_over(&mut self) {
        let headed = &self.headed;
        self.plain.forget(|apex| headed.has_handed_out(apex));
    }

    /// Returns the steps that take such zones away; the feed must be known as a whole.
    pub(super) fn remove_passed(&mut self) -> Vec<ZoneBatch> {
        self.forget_taken_over();
        self.plain.remove_all()
    }

    /// What a feed without header has told.
    pub(super) fn plain(&self) -> &PlainFeed {
        &self.plain
    }

    /// What a feed without header has told, to be told of what became of its steps.
    pub(super) fn plain_mut(&mut self) -> &mut PlainFeed {
        &mut self.plain
    }

    /// Returns the next bad entry to log.
    pub(super) fn poll_complaint(&mut self) -> Option<Complaint> {
        self.complaints.poll()
    }

    /// Decides that a feed in which no entry of ours was seen has the original's form. To be asked
    /// once all entries of the replica were handed in.
    pub(super) fn decide_kind(&mut self, now_ms: u64) {
        if self.kind == FeedKind::Unknown && self.plain.has_entries() {
            self.kind = FeedKind::Plain;
            self.plain.begin(now_ms);
        }
    }

    /// What kind of feed it is.
    pub(super) fn kind(&self) -> FeedKind {
        self.kind
    }

    /// What a feed with header has told.
    pub(super) fn headed(&self) -> &HeadedFeed {
        &self.headed
    }

    /// What a feed with header has told, to be told of what was published.
    pub(super) fn headed_mut(&mut self) -> &mut HeadedFeed {
        &mut self.headed
    }

    /// Whether some zones are not taken.
    pub(super) fn is_filtered(&self) -> bool {
        self.zone_filter.is_some()
    }

    /// Whether content is waited for without which nothing is whole.
    pub(super) fn is_waiting(&self) -> bool {
        self.inbox.urgent_count() > 0
    }

    /// Whether no content waits to be asked for, but for what was asked for and has not come.
    pub(super) fn has_asked_for_all(&self) -> bool {
        self.inbox.has_asked_for_all()
    }

    /// Whether a feed without header has nothing to publish; with one there is none.
    pub(super) fn is_plain_idle(&self) -> bool {
        self.kind != FeedKind::Plain || self.plain.is_idle()
    }

    /// Returns when content is to be asked for again, or published without.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        [self.inbox.timeout_ms(), self.plain.timeout_ms()].into_iter().flatten().min()
    }

    /// Returns the counters of what was taken in.
    pub(super) fn stats(&self) -> SyncStats {
        SyncStats {
            waiting: self.inbox.waiting_count(),
            zones: self.headed.zone_count() + self.plain.zone_count(),
            ..self.stats
        }
    }

    /// Makes a key wait for its content.
    fn want(
        &mut self,
        key: &[u8],
        hash: Hash,
        timestamp_us: u64,
        is_urgent: bool,
        news: &mut News,
    ) {
        news.bound_hits += u64::from(!self.inbox.want(key, hash, timestamp_us, is_urgent));
    }

    /// Whether the zone passes the filter; counts it if not.
    fn admits(&mut self, apex: &Name) -> bool {
        let Some(filter) = &self.zone_filter else { return true };
        let is_admitted = filter.iter().any(|zone| apex.is_at_or_below(zone));
        self.stats.filtered += u64::from(!is_admitted);
        is_admitted
    }

    /// Counts a bad entry, and complains of it if that has not been done.
    fn complain(&mut self, key: &[u8], hash: &Hash, error: EntryError) {
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
}

/// Checks that a key has the one form that is written.
fn check_form(key: &[u8], canonical: &[u8]) -> Result<(), EntryError> {
    if key == canonical { Ok(()) } else { Err(EntryError::NotCanonical) }
}
