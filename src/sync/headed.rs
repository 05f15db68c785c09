//! A feed with header: what its contents tell, and every zone's history.
//!
//! **Invariant:** the octets that are counted as held are those that the zones hold, and bounds on them
//! are kept: past the first, live changes that lead nowhere yet are dropped, past the second any that
//! comes; packs whose manifest is not known are not taken.
//! **Not here:** which entries are wanted (`sync::core`), one zone's way (`sync::history`), feeds
//! without header (`sync::plain`).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::feed::Hash;
use crate::feed::Revision;
use crate::feed::beat::{Beat, FeedHeader};
use crate::feed::key::{FeedKey, parse_feed_key};
use crate::feed::live::read_live;
use crate::feed::manifest::Manifest;
use crate::limits::{
    LIVE_CHAIN_OCTETS_MAX, LIVE_HELD_OCTETS_MAX, PACK_HELD_OCTETS_MAX, PACKS_STORED_MAX,
};
use crate::name::Name;
use crate::sync::complaint::EntryError;
use crate::sync::history::{HeldOctets, ZoneHistory, ZonePlan};

/// Everything known of a feed with header.
#[derive(Debug, Default)]
pub(super) struct HeadedFeed {
    /// Every zone.
    zones: HashMap<Name, ZoneHistory>,
    /// What they hold together.
    held: HeldOctets,
    /// Packs that have arrived once, so that a rescan does not bring all of them again.
    stored: HashSet<Hash>,
    /// The newest header.
    header: Option<FeedHeader>,
    /// The newest heartbeat.
    beat: Option<Beat>,
}

/// What entries and their contents have told.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The newest revision that exists.
    pub heard: Revision,
    /// Zones that may have a step now.
    pub zones: Vec<Name>,
    /// Whether a newer heartbeat is here.
    pub is_beat: bool,
    /// Whether a heartbeat comes from somebody who lives, not from the disk.
    pub is_live_beat: bool,
    /// How often something was dropped at a bound.
    pub bound_hits: u64,
}

impl News {
    /// Notes a revision that exists.
    fn hear(&mut self, revision: Revision) {
        self.heard = self.heard.max(revision);
    }
}

impl HeadedFeed {
    /// Whether a manifest with this content was the last of its zone that was read.
    pub(super) fn has_manifest(&self, apex: &Name, hash: &Hash) -> bool {
        self.zones.get(apex).and_then(ZoneHistory::manifest_hash).as_ref() == Some(hash)
    }

    /// Whether a pack has arrived once: whoever needs it again says so.
    pub(super) fn has_stored(&self, hash: &Hash) -> bool {
        self.stored.contains(hash)
    }

    /// Takes a live change, in the octets of its key; says whether it was not known.
    ///
    /// # Errors
    /// [`EntryError::BadContent`].
    pub(super) fn handle_live(
        &mut self,
        apex: &Name,
        number: u64,
        octets: &[u8],
        news: &mut News,
    ) -> Result<bool, EntryError> {
        let live = read_live(apex, number, octets)?;
        news.hear(live.revision);
        let history = self.zones.entry(apex.clone()).or_default();
        let before = history.held();
        if !history.handle_live(live, octets.len()) {
            return Ok(false);
        }
        self.held.replace(before, history.held());
        // A zone that is being built takes its chain in a moment, but that may be long in coming.
        let octets_max =
            if history.can_follow() { LIVE_CHAIN_OCTETS_MAX } else { LIVE_HELD_OCTETS_MAX };
        if self.held.live > octets_max {
            let before = history.held();
            history.drop_live();
            self.held.replace(before, history.held());
            news.bound_hits += 1;
        }
        news.zones.push(apex.clone());
        Ok(true)
    }

    /// Takes the content of an entry.
    ///
    /// # Errors
    /// [`EntryError`]; the entry then says nothing.
    pub(super) fn handle_value(
        &mut self,
        key: &[u8],
        hash: Hash,
        octets: &Bytes,
        news: &mut News,
    ) -> Result<(), EntryError> {
        match parse_feed_key(key).map_err(EntryError::BadKey)? {
            FeedKey::Header => {
                let header = FeedHeader::from_octets(octets)?;
                let place = |header: &FeedHeader| (header.epoch, header.term);
                if self.header.as_ref().is_none_or(|known| place(known) <= place(&header)) {
                    self.header = Some(header);
                }
            }
            FeedKey::Beat => {
                let beat = Beat::from_octets(octets)?;
                news.hear(beat.revision);
                let place = |beat: &Beat| (beat.revision, beat.time_ms);
                if self.beat.is_none_or(|known| place(&known) <= place(&beat)) {
                    self.beat = Some(beat);
                    news.is_beat = true;
                }
            }
            FeedKey::Zone { apex } => {
                let manifest = Manifest::from_octets(octets)?;
                if manifest.apex != apex {
                    return Err(EntryError::WrongZone { found: manifest.apex });
                }
                news.hear(manifest.revision);
                let history = self.zones.entry(apex.clone()).or_default();
                let before = history.held();
                let is_news = history.handle_manifest(manifest, hash);
                self.held.replace(before, history.held());
                news.zones.extend(is_news.then_some(apex));
            }
            FeedKey::Pack { apex, .. } => {
                let may_hold = PACK_HELD_OCTETS_MAX.saturating_sub(self.held.packs);
                let history = self.zones.entry(apex.clone()).or_default();
                let before = history.held();
                let is_kept = history.handle_pack(hash, octets.clone(), may_hold);
                self.held.replace(before, history.held());
                if self.stored.len() >= PACKS_STORED_MAX {
                    self.stored.clear();
                }
                self.stored.insert(hash);
                news.zones.extend(is_kept.then_some(apex));
            }
            FeedKey::Root | FeedKey::Live { .. } | FeedKey::Record { .. } => {}
        }
        Ok(())
    }

    /// Finds a zone's next step, and takes it as handed out; `None` for a zone that is not known.
    pub(super) fn plan(&mut self, apex: &Name) -> Option<ZonePlan> {
        let history = self.zones.get_mut(apex)?;
        let before = history.held();
        let plan = history.plan(apex);
        self.held.replace(before, history.held());
        Some(plan)
    }

    /// Notes that the caller has published a step, and whether the zone is served after it.
    pub(super) fn handle_applied(&mut self, apex: &Name, revision: Revision, is_served: bool) {
        if let Some(history) = self.zones.get_mut(apex) {
            history.handle_applied(revision, is_served);
        }
    }

    /// Notes that the caller could not build a step; says whether the zone is known.
    pub(super) fn handle_refused(&mut self, apex: &Name, revision: Revision) -> bool {
        let Some(history) = self.zones.get_mut(apex) else { return false };
        history.handle_refused(revision);
        true
    }

    /// Whether anything was handed out of a zone.
    pub(super) fn has_handed_out(&self, apex: &Name) -> bool {
        self.zones.get(apex).is_some_and(ZoneHistory::has_handed_out)
    }

    /// Returns the newest header that was read.
    pub(super) fn header(&self) -> Option<&FeedHeader> {
        self.header.as_ref()
    }

    /// Returns the newest heartbeat that was read.
    pub(super) fn beat(&self) -> Option<Beat> {
        self.beat
    }

    /// Returns the digest that a heartbeat at a revision has if the zones here are the author's;
    /// `None` if some zone's revision of then is not known.
    pub(super) fn digest_at(&mut self, revision: Revision) -> Option<u64> {
        let mut zones = self.zones.iter_mut();
        zones.try_fold(0_u64, |sum, (apex, history)| {
            Some(sum.wrapping_add(history.mark_at(apex, revision)?))
        })
    }

    /// Whether so few zones are known that [`HeadedFeed::digest_at`] takes no time to speak of.
    pub(super) fn is_digest_cheap(&self) -> bool {
        self.zones.len() < COMPARE_ZONES_MAX
    }

    /// Whether live changes of a zone wait for something that is not known, rather than for packs.
    pub(super) fn has_gap(&self, apex: &Name) -> bool {
        self.zones.get(apex).is_some_and(ZoneHistory::has_gap)
    }

    /// Returns the highest revision that any zone was published at.
    pub(super) fn published(&self) -> Revision {
        self.zones.values().filter_map(ZoneHistory::published).max().unwrap_or_default()
    }

    /// Returns how many live changes of a zone wait.
    pub(super) fn held_count(&self, apex: &Name) -> u64 {
        self.zones.get(apex).map_or(0, ZoneHistory::held_count)
    }

    /// Returns how many zones are served.
    pub(super) fn zone_count(&self) -> u64 {
        self.zones.values().filter(|history| history.is_served()).count() as u64
    }
}

/// Zones whose marks are summed up after every batch while a heartbeat differs (some 30 us). With
/// more it is done now and then.
const COMPARE_ZONES_MAX: usize = 1_000;
