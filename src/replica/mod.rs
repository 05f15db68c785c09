//! The edge: follows a feed and publishes its zones.
//!
//! An [`AspenDnsClient`] holds what is served: zones of a feed, and static ones beside them. It
//! can be fed by hand, entry by entry; [`AspenDnsClient::follow`] follows the feed of its ticket over
//! the network. Servers and look-ups read what it publishes, without a lock.
//!
//! **Invariant:** no zone goes back to a lower revision; what is served stays served when every
//! peer is gone.
//! **Not here:** what entries mean (`feed`, `sync`), answers to packets (`responder`).

mod apply;
mod archive;
mod behind;
mod builder;
mod document;
mod entries;
mod event;
mod fetch;
mod first_load;
mod follow;
mod following;
mod journal;
mod link;
mod listener;
mod mailbox;
mod moves;
mod opening;
mod progress;
mod silence;
mod supervisor;
mod upstream;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, broadcast, watch};

use crate::feed::Revision;
use crate::feed::frame::RefusedReason;
use crate::lookup::{self, Authorization, MailExchange, Resolution, Service};
use crate::name::Name;
use crate::publish::Reader;
use crate::publish::stage::Stage;
use crate::record::RecordType;
use crate::sync::core::SyncCore;
use crate::sync::mirror::{Mirror, MirrorStats};
use crate::sync::status::{SyncStats, SyncStatus};
use crate::ticket::DnsClientTicket;
use crate::zone::HashSeed;

use behind::Behind;
pub use behind::{BehindReport, FollowMode, FollowModeError};
pub use builder::{AspenDnsClientBuilder, ClientError};
pub use event::DnsEvent;
#[cfg(feature = "node")]
pub(crate) use following::documents_for;
pub use following::{Following, UpstreamInfo, spawn_dns_sync_listener};
pub use opening::ListenerError;
pub use progress::{SyncProgress, WaitError};
pub use silence::Expiry;
use silence::Silence;

/// A cache of zones that is kept up to date, and read without a lock.
#[derive(Debug)]
pub struct AspenDnsClient {
    /// The feed that it was built for, or the one that has taken its place.
    ticket: Mutex<Option<DnsClientTicket>>,
    /// What is served.
    stage: Arc<Stage>,
    /// The reader of look-ups.
    reader: Reader,
    /// The seed of every zone's hashes.
    seed: HashSeed,
    /// The author whose entries are believed.
    author: Option<[u8; 32]>,
    /// What is known of the feed.
    core: Mutex<SyncCore>,
    /// What is known of a feed with a log, once one is followed.
    mirror: Mutex<Option<Mirror>>,
    /// Whether entries are followed, as those of a feed of the first format.
    has_entries: AtomicBool,
    /// Milliseconds without contact after which the edge is stale.
    stale_after_ms: u64,
    /// Zones that are held: they ought to be served and are not.
    held: Mutex<BTreeSet<Name>>,
    /// Whom we follow, as it said of itself.
    upstream: Mutex<Option<UpstreamInfo>>,
    /// Why the feed is not for this edge, where that was said.
    barred: Mutex<Option<RefusedReason>>,
    /// Since when what arrives cannot be kept for a restart, if it cannot.
    unkept_since: Mutex<Option<Instant>>,
    /// Whether what was kept is damaged, and nobody has said since that what is answered is all there is.
    has_damage: AtomicBool,
    /// Held while steps are taken from the core and published.
    driving: Mutex<()>,
    /// Whether a listener drives the core.
    is_followed: AtomicBool,
    /// Wakes the listener when an entry was handed in.
    wake: Notify,
    /// The timestamp of the entry that was handed in last, in microseconds since the client was made.
    handed_us: AtomicU64,
    /// When `now_ms` began.
    began: Instant,
    /// Tells subscribers what changes.
    events: broadcast::Sender<DnsEvent>,
    /// How far the edge is.
    progress: watch::Sender<SyncProgress>,
    /// What the operator calls this edge.
    name: Option<String>,
    /// Queries that were answered in the last second; [`QUERIES_UNKNOWN`] if nobody says.
    queries_per_s: AtomicU32,
    /// What becomes of answers while the author is not heard.
    silence: Silence,
    /// What is wanted of an edge that follows behind on purpose.
    behind: Behind,
    /// What is counted.
    counters: ClientCounters,
}

/// What the client counts, beside what the core does.
#[derive(Debug, Default)]
struct ClientCounters {
    /// Look-ups that found an RRset.
    hits: AtomicU64,
    /// Look-ups that found none.
    misses: AtomicU64,
    /// Records and changes that broke a rule and were left out.
    records_refused: AtomicU64,
    /// Steps that were published.
    steps: AtomicU64,
}

impl ClientCounters {
    /// Counts records that were left out.
    fn refused(&self, count: u64) {
        self.records_refused.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts steps that were published.
    fn published(&self, count: u64) {
        self.steps.fetch_add(count, Ordering::Relaxed);
    }
}

/// Counts of a client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClientStats {
    /// Zones that are served, static ones included.
    pub zones: u64,
    /// RRsets in them.
    pub rrsets: u64,
    /// Look-ups that found an RRset.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Records and changes that broke a rule and were left out.
    pub records_refused: u64,
    /// Steps of zones that were published.
    pub steps: u64,
    /// What the core counts.
    pub sync: SyncStats,
    /// What is counted of a feed with a log.
    pub mirror: MirrorStats,
}

impl AspenDnsClient {
    /// Begins a client.
    pub fn builder() -> AspenDnsClientBuilder {
        AspenDnsClientBuilder::default()
    }

    /// The feed that it was built for, or the one that has taken its place.
    pub fn ticket(&self) -> Option<DnsClientTicket> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What servers read.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Publishes everything that the core has to hand out.
    fn drive(&self) {
        let _driving = self.driving.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now_ms = self.now_ms();
            let batches = self.core().poll_batch(now_ms);
            let Some(batches) = batches else { break };
            let prepared = batches.into_iter().map(|batch| self.prepare(batch)).collect();
            self.settle(self.publish(prepared));
        }
        self.tell_progress();
    }

    /// Tells the core what became of its steps.
    fn settle(&self, applied: Vec<apply::Applied>) {
        let now_ms = self.now_ms();
        let mut core = self.core();
        for step in applied {
            match step.outcome {
                Ok(_) => core.handle_applied(&step.apex, step.revision, now_ms),
                Err(error) => {
                    tracing::error!(apex = %step.apex, revision = %step.revision, %error,
                        "a zone stays as it is: its new version cannot be built");
                    core.handle_refused(&step.apex, step.revision, now_ms);
                }
            }
        }
    }

    /// Answers a question from what is served now, as a query over the network would be answered,
    /// following aliases and wildcards.
    pub fn resolve(&self, qname: &Name, rtype: RecordType) -> Resolution {
        let resolution = lookup::resolve(&self.reader.load(), qname, rtype);
        let count = match resolution.rrset() {
            Some(_) => &self.counters.hits,
            None => &self.counters.misses,
        };
        count.fetch_add(1, Ordering::Relaxed);
        resolution
    }

    /// Looks up IPv4 addresses.
    pub fn lookup_a(&self, qname: &Name) -> Vec<Ipv4Addr> {
        self.resolve(qname, RecordType::A).ipv4()
    }

    /// Looks up IPv6 addresses.
    pub fn lookup_aaaa(&self, qname: &Name) -> Vec<Ipv6Addr> {
        self.resolve(qname, RecordType::AAAA).ipv6()
    }

    /// Looks up the target of an alias.
    pub fn lookup_cname(&self, qname: &Name) -> Option<Name> {
        self.resolve(qname, RecordType::CNAME).names().into_iter().next()
    }

    /// Looks up mail exchanges, best first.
    pub fn lookup_mx(&self, qname: &Name) -> Vec<MailExchange> {
        self.resolve(qname, RecordType::MX).exchanges()
    }

    /// Looks up texts: for each record its strings in order.
    pub fn lookup_txt(&self, qname: &Name) -> Vec<Vec<Vec<u8>>> {
        self.resolve(qname, RecordType::TXT).texts()
    }

    /// Looks up services, lowest priority first.
    pub fn lookup_srv(&self, qname: &Name) -> Vec<Service> {
        self.resolve(qname, RecordType::SRV).services()
    }

    /// Looks up name servers.
    pub fn lookup_ns(&self, qname: &Name) -> Vec<Name> {
        self.resolve(qname, RecordType::NS).names()
    }

    /// Looks up names of an address.
    pub fn lookup_ptr(&self, qname: &Name) -> Vec<Name> {
        self.resolve(qname, RecordType::PTR).names()
    }

    /// Looks up which authorities may issue certificates.
    pub fn lookup_caa(&self, qname: &Name) -> Vec<Authorization> {
        self.resolve(qname, RecordType::CAA).authorizations()
    }

    /// Hears of every change from now on. Who falls behind by more than the channel holds is told
    /// so by the channel, and reads the state anew.
    pub fn subscribe(&self) -> broadcast::Receiver<DnsEvent> {
        self.events.subscribe()
    }

    /// How well the feed is followed.
    pub fn status(&self) -> SyncStatus {
        self.progress.borrow().status
    }

    /// The revision up to which everything that is known to exist is served.
    pub fn revision(&self) -> Revision {
        self.progress.borrow().served
    }

    /// Counts.
    pub fn stats(&self) -> ClientStats {
        let catalog = self.stage.catalog();
        ClientStats {
            zones: catalog.zone_count(),
            rrsets: catalog.zones().map(|zone| zone.rrset_count()).sum(),
            hits: self.counters.hits.load(Ordering::Relaxed),
            misses: self.counters.misses.load(Ordering::Relaxed),
            records_refused: self.counters.records_refused.load(Ordering::Relaxed),
            steps: self.counters.steps.load(Ordering::Relaxed),
            sync: self.core().stats(),
            mirror: self.with_mirror(|mirror| mirror.stats()).unwrap_or_default(),
        }
    }

    /// Milliseconds since the client was made. The core wants no more of a clock.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since the client was made, for the pace.
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The core, for a short while: never across an await.
    fn core(&self) -> MutexGuard<'_, SyncCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where zones are staged: a program's own, published there as those of files ([`Rank::File`]), are served
    /// before the feed's, from one moment to the next and until they are removed.
    ///
    /// [`Rank::File`]: crate::publish::stage::Rank::File
    pub fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    /// Tells subscribers something, if there are any.
    fn send_event(&self, event: DnsEvent) {
        let _ = self.events.send(event);
    }
}

/// Stands for a number of queries that is not known.
const QUERIES_UNKNOWN: u32 = u32::MAX;
