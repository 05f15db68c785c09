//! Puts a client together: ticket, static zones, static records.
//!
//! **Invariant:** a client that was built serves its static zones at once.
//! **Not here:** reading zones from files (`record::master`, the node).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{Notify, broadcast, watch};

use super::behind::Behind;
use super::progress::SyncProgress;
use super::silence::{Expiry, Silence};
use super::{AspenDnsClient, ClientCounters, QUERIES_UNKNOWN};
use crate::catalog::CatalogChange;
use crate::limits::{CLIENT_EVENTS_MAX, STALE_AFTER_MS};
use crate::name::Name;
use crate::publish::stage::{Rank, Stage};
use crate::record::Rrset;
use crate::sync::complaint::EntryError;
use crate::sync::core::{SyncConfig, SyncCore};
use crate::ticket::DnsClientTicket;
use crate::zone::{BuildError, HashSeed};

/// Why a client is not built, or an entry not taken.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A static zone is no zone.
    #[error("the static zone {apex}: {error}")]
    StaticZone {
        /// Its apex.
        apex: Name,
        /// The rule that it breaks.
        error: BuildError,
    },
    /// An entry breaks a rule.
    #[error("the entry {key}: {error}")]
    Entry {
        /// Its key.
        key: String,
        /// The rule that it breaks.
        error: EntryError,
    },
    /// A log is followed: an entry that is handed in would never be served.
    #[error("the client follows a feed with a log, beside which no entry is taken")]
    Followed,
}

/// A client to be.
#[derive(Debug, Default)]
pub struct AspenDnsClientBuilder {
    /// The feed that the client will follow.
    ticket: Option<DnsClientTicket>,
    /// Zones that are served whatever the feed says.
    static_zones: Vec<(Name, Vec<Rrset>)>,
    /// The seed of every zone's hashes.
    seed: Option<HashSeed>,
    /// Milliseconds of silence after which the client is stale.
    stale_after_ms: Option<u64>,
    /// What the edge is called.
    name: Option<String>,
    /// What becomes of answers while the author is not heard.
    silence: Silence,
    /// For how many milliseconds what comes is held back.
    behind: Behind,
    /// When its clock began, if it goes on with another's.
    began: Option<Instant>,
}

impl AspenDnsClientBuilder {
    /// Names the feed: its author is believed, its zone filter obeyed.
    #[must_use]
    pub fn ticket(mut self, ticket: DnsClientTicket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// Serves a zone whatever the feed says; a synced zone of the same apex is not served.
    #[must_use]
    pub fn static_zone(mut self, apex: Name, rrsets: Vec<Rrset>) -> Self {
        self.static_zones.push((apex, rrsets));
        self
    }

    /// Sets the seed of every zone's hashes, for tests; else it is random.
    #[must_use]
    pub fn seed(mut self, seed: HashSeed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets after how many milliseconds without contact the client is stale.
    #[must_use]
    pub fn stale_after_ms(mut self, stale_after_ms: u64) -> Self {
        self.stale_after_ms = Some(stale_after_ms);
        self
    }

    /// Names the edge for those who look at the fleet of its authority; a text that is no name of an edge
    /// ([`is_edge_name`]) is not told.
    ///
    /// [`is_edge_name`]: crate::feed::frame::fleet::is_edge_name
    #[must_use]
    pub fn name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    /// Sets for how long zones are answered while the feed's author is not heard; else it is for ever. Zones that
    /// have expired are SERVFAIL until it is. This is of a feed with a log.
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.silence.expiry = expiry;
        self
    }

    /// Has the client follow behind on purpose: what comes of the feed is shown when it has been here for so many
    /// milliseconds. This is of a feed with a log.
    #[must_use]
    pub fn follow_behind_ms(mut self, behind_ms: Option<u64>) -> Self {
        self.behind = Behind::new(behind_ms);
        self
    }

    /// Has answers say that they are stale while the client is, to who has EDNS (RFC 8914 section 4.4).
    #[must_use]
    pub fn stale_ede(mut self, tells_stale: bool) -> Self {
        self.silence.tells_stale = tells_stale;
        self
    }

    /// Has the client be of one kind with another, so that what the one has made is of use to the other.
    #[must_use]
    pub(super) fn like(mut self, other: &AspenDnsClient) -> Self {
        self.seed = Some(other.seed);
        self.stale_after_ms = Some(other.stale_after_ms);
        self.name.clone_from(&other.name);
        self.began = Some(other.began);
        self.behind = Behind::beside(&other.behind);
        // Nobody asks it: what silence does to answers is for the other to do.
        let silence_ms = other.with_mirror(|mirror| mirror.contact(other.now_ms()).0);
        self.silence.before_ms = silence_ms.unwrap_or_default();
        self
    }

    /// Builds the client; its static zones are served.
    ///
    /// # Errors
    /// [`ClientError::StaticZone`].
    pub fn build(self) -> Result<Arc<AspenDnsClient>, ClientError> {
        let seed = self.seed.unwrap_or_else(HashSeed::random);
        let stage = Stage::new(seed, Rank::Feed);
        let mut changes = Vec::new();
        for (apex, rrsets) in self.static_zones {
            let built = crate::zone::build(apex.clone(), seed, rrsets);
            let zone = built.map_err(|error| ClientError::StaticZone { apex: apex.clone(), error });
            changes.push(CatalogChange::Put(Arc::new(zone?)));
        }
        stage.publish(Rank::File, changes);
        let config = sync_config(self.ticket.as_ref(), self.stale_after_ms);
        Ok(Arc::new(AspenDnsClient {
            ticket: Mutex::new(self.ticket),
            reader: stage.reader(),
            stage: Arc::new(stage),
            seed,
            author: config.author,
            stale_after_ms: config.stale_after_ms,
            core: Mutex::new(SyncCore::new(config, 0)),
            mirror: Mutex::default(),
            has_entries: AtomicBool::new(true),
            held: Mutex::default(),
            upstream: Mutex::default(),
            barred: Mutex::default(),
            unkept_since: Mutex::default(),
            has_damage: AtomicBool::default(),
            driving: Mutex::new(()),
            is_followed: AtomicBool::new(false),
            wake: Notify::new(),
            handed_us: AtomicU64::new(0),
            began: self.began.unwrap_or_else(Instant::now),
            events: broadcast::channel(CLIENT_EVENTS_MAX).0,
            progress: watch::channel(SyncProgress::default()).0,
            name: self.name,
            queries_per_s: AtomicU32::new(QUERIES_UNKNOWN),
            silence: self.silence,
            behind: self.behind,
            counters: ClientCounters::default(),
        }))
    }
}

/// Returns what the core is to believe and take.
fn sync_config(ticket: Option<&DnsClientTicket>, stale_after_ms: Option<u64>) -> SyncConfig {
    let author = ticket.map(|ticket| ticket.author).filter(|author| *author != [0; 32]);
    SyncConfig {
        author,
        zone_filter: ticket.and_then(|ticket| ticket.zone_filter.clone()),
        stale_after_ms: stale_after_ms.unwrap_or(STALE_AFTER_MS),
        ..SyncConfig::default()
    }
}
