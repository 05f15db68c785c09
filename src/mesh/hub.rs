//! The logs that this node offers, who follows them, and what these say of themselves.
//!
//! **Invariant:** a peer follows a feed once: a new connection takes the place of an older one.
//! **Not here:** the exchange with a follower (`mesh::stream`), what is believed of a report (`mesh::fleet`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use iroh::EndpointId;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::fleet::{Fleet, FleetKey, FleetList, FleetMember, FleetNews, Forgotten};
use super::log::Log;
use super::peers::Peers;
use crate::feed::HistoryId;
use crate::feed::frame::EdgeReport;
use crate::feed::frame::fleet::{FleetEdge, FleetReport};
use crate::limits::{FOLLOWERS_MAX, MOVED_TOLD_MAX};
use crate::ticket::TicketPeer;

/// What a follower shows who claims to be where the log never was.
pub(crate) type Evidence = Vec<Bytes>;

/// A log that is offered.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The log.
    pub(crate) log: Arc<Log>,
    /// Who else can be followed.
    pub(crate) peers: Arc<Peers>,
    /// Where the author of the feed takes evidence of another history; `None` at an edge.
    pub(crate) evidence: Option<mpsc::Sender<Evidence>>,
}

/// All logs that are offered.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<HubState>);

/// What clones of a hub share.
#[derive(Debug)]
struct HubState {
    /// Offers and followers.
    feeds: Mutex<OfferedFeeds>,
    /// Who may have them.
    access: Access,
    /// What is known of those who follow, directly or behind others.
    fleet: Mutex<Fleet>,
    /// Counts changes of what they serve.
    fleet_changed: watch::Sender<u64>,
    /// When the hub began: the fleet counts from there.
    began: Instant,
}

/// Offers and followers.
#[derive(Debug, Default)]
struct OfferedFeeds {
    /// The offers, by namespace.
    offers: HashMap<[u8; 32], Offer>,
    /// Feeds that this node may offer later, and who may have them now.
    later: HashMap<[u8; 32], Vec<TicketPeer>>,
    /// Feeds that were offered and have moved, with what their author says of it; the newest last.
    moved: Vec<([u8; 32], Bytes)>,
    /// Who follows which.
    followers: HashMap<([u8; 32], EndpointId), HubFollower>,
    /// Numbers connections.
    next: u64,
}

/// One that follows.
#[derive(Clone, Debug)]
struct HubFollower {
    /// The number of its connection.
    number: u64,
    /// Ends it.
    stop: CancellationToken,
    /// When it came.
    since: Instant,
    /// Its last report, and when it came.
    report: Option<(EdgeReport, Instant)>,
}

/// What is known of a follower.
#[derive(Clone, Copy, Debug)]
pub struct FollowerInfo {
    /// Its public key.
    pub id: [u8; 32],
    /// For how long it has followed, in milliseconds.
    pub since_ms: u64,
    /// Its last report and how old that is, in milliseconds.
    pub report: Option<(EdgeReport, u64)>,
}

/// The fleet of a feed, compared with its log at this node.
#[derive(Clone, Debug)]
pub struct FleetState {
    /// The history of the log.
    pub history: HistoryId,
    /// The revision that the log leads to.
    pub revision: u64,
    /// The edges, each with the milliseconds for which it has lacked something, at least; `None` where it is not
    /// known what it serves.
    pub members: Vec<(FleetMember, Option<u64>)>,
    /// Edges that are there and not among them.
    pub left_out: u64,
    /// Edges, of any feed, that made room for others since the start.
    pub evicted: u64,
}

/// A follower's place among the others; given up when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    /// Where it is.
    hub: Hub,
    /// Whose it is.
    key: ([u8; 32], EndpointId),
    /// The number of the connection.
    number: u64,
    /// Says when another connection has taken the place.
    pub(super) stop: CancellationToken,
}

impl Default for Hub {
    fn default() -> Self {
        let (feeds, fleet) = (Mutex::default(), Mutex::default());
        let (access, fleet_changed) = (Access::default(), watch::Sender::new(0));
        Self(Arc::new(HubState { feeds, access, fleet, fleet_changed, began: Instant::now() }))
    }
}

impl Hub {
    /// Offers a log, in place of an older one of the same feed.
    pub(crate) fn offer(&self, offer: Offer) {
        let older = self.feeds().offers.insert(offer.log.namespace(), offer);
        if let Some(older) = older {
            older.log.close();
        }
    }

    /// Offers a log no more, and closes it; another one of the same feed that took its place stays.
    pub(crate) fn withdraw(&self, log: &Arc<Log>) {
        let mut feeds = self.feeds();
        let namespace = log.namespace();
        if feeds.offers.get(&namespace).is_some_and(|offer| Arc::ptr_eq(&offer.log, log)) {
            feeds.offers.remove(&namespace);
        }
        drop(feeds);
        log.close();
    }

    /// Who may have the logs, and all else of the feeds.
    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    /// Notes that a feed has moved, as its author says.
    pub(crate) fn note_moved(&self, namespace: [u8; 32], notice: Bytes) {
        let mut feeds = self.feeds();
        feeds.moved.retain(|(known, _)| *known != namespace);
        feeds.moved.push((namespace, notice));
        let over = feeds.moved.len().saturating_sub(MOVED_TOLD_MAX);
        feeds.moved.drain(..over);
    }

    /// What the author says of a feed that has moved.
    pub(super) fn moved(&self, namespace: &[u8; 32]) -> Option<Bytes> {
        let feeds = self.feeds();
        let found = feeds.moved.iter().find(|(known, _)| known == namespace);
        found.map(|(_, notice)| notice.clone())
    }

    /// Forgets that this node may offer a feed later.
    #[cfg(feature = "node")] // who writes a feed
    pub(crate) fn stand_down(&self, namespace: &[u8; 32]) {
        self.feeds().later.remove(namespace);
    }

    /// Notes who may have a feed that this node may offer later.
    pub(crate) fn stand_by(&self, namespace: [u8; 32], peers: Vec<TicketPeer>) {
        self.feeds().later.insert(namespace, peers);
    }

    /// Who may have a feed that this node may offer later; none if it never will.
    pub(super) fn later(&self, namespace: &[u8; 32]) -> Option<Vec<TicketPeer>> {
        self.feeds().later.get(namespace).cloned()
    }

    /// Has all who follow a feed come anew, and hear who else may be followed.
    pub(crate) fn welcome_anew(&self, namespace: &[u8; 32]) {
        let feeds = self.feeds();
        let of_feed = feeds.followers.iter().filter(|((feed, _), _)| feed == namespace);
        of_feed.for_each(|(_, follower)| follower.stop.cancel());
    }

    /// Returns the offer of a feed.
    pub(super) fn find(&self, namespace: &[u8; 32]) -> Option<Offer> {
        self.feeds().offers.get(namespace).cloned()
    }

    /// Every set of peers that offers know of.
    pub(super) fn peers(&self) -> Vec<Arc<Peers>> {
        self.feeds().offers.values().map(|offer| Arc::clone(&offer.peers)).collect()
    }

    /// Takes a place among the followers of a feed; none if there are too many.
    pub(super) fn seat(&self, namespace: [u8; 32], id: EndpointId) -> Option<Seat> {
        let mut feeds = self.feeds();
        let key = (namespace, id);
        let is_full = feeds.followers.len() >= FOLLOWERS_MAX && !feeds.followers.contains_key(&key);
        if is_full {
            return None;
        }
        let number = feeds.next;
        feeds.next += 1;
        let stop = CancellationToken::new();
        let follower =
            HubFollower { number, stop: stop.clone(), since: Instant::now(), report: None };
        if let Some(older) = feeds.followers.insert(key, follower) {
            older.stop.cancel();
        }
        drop(feeds);
        Some(Seat { hub: self.clone(), key, number, stop })
    }

    /// Who follows a feed.
    pub(super) fn followers(&self, namespace: &[u8; 32]) -> Vec<FollowerInfo> {
        let age_ms = |since: Instant| since.elapsed().as_millis() as u64;
        let feeds = self.feeds();
        let of_feed = feeds.followers.iter().filter(|((feed, _), _)| feed == namespace);
        of_feed
            .map(|((_, id), follower)| FollowerInfo {
                id: *id.as_bytes(),
                since_ms: age_ms(follower.since),
                report: follower.report.map(|(report, at)| (report, age_ms(at))),
            })
            .collect()
    }

    /// What of the fleet of a feed came since a count, to be handed on to `to` by `own`; and the next count.
    pub(crate) fn fleet_news(
        &self,
        since: ([u8; 32], u64),
        news: FleetNews,
        ends: ([u8; 32], [u8; 32]),
    ) -> (Vec<FleetEdge>, u64) {
        self.fleet().news(since, news, ends, self.now_ms())
    }

    /// How many edges of a feed are known of, and not here.
    pub(crate) fn fleet_left_out(&self, namespace: [u8; 32]) -> u64 {
        self.fleet().left_out_of(namespace, self.now_ms())
    }

    /// Hears of every change of what an edge serves.
    pub(crate) fn watch_fleet(&self) -> watch::Receiver<u64> {
        self.0.fleet_changed.subscribe()
    }

    /// The fleet of a feed that is offered.
    pub(super) fn fleet_state(&self, namespace: &[u8; 32]) -> Option<FleetState> {
        let log = self.find(namespace)?.log;
        let now_ms = self.now_ms();
        let (FleetList { members, left_out }, evicted) = {
            let mut fleet = self.fleet();
            (fleet.list(*namespace, now_ms), fleet.evicted())
        };
        let with_lag = members.into_iter().map(|member| {
            let (history, served) = (member.edge.history, member.edge.served.revision);
            let lag_ms = (history != HistoryId::default()).then(|| log.lag_ms(history, served));
            (member, lag_ms)
        });
        Some(FleetState {
            history: log.history().unwrap_or_default(),
            revision: log.head().revision,
            members: with_lag.collect(),
            left_out,
            evicted,
        })
    }

    /// Forgets an edge that is silent.
    pub(super) fn forget(&self, namespace: [u8; 32], id: [u8; 32]) -> Forgotten {
        self.fleet().forget((namespace, id), self.now_ms())
    }

    /// Offers and followers.
    fn feeds(&self) -> MutexGuard<'_, OfferedFeeds> {
        self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fleet.
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.0.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the hub began.
    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Seat {
    /// Notes a report of an older version. The follower is seen at `address`; of which history its position is,
    /// the log that it follows shows.
    pub(super) fn report(&self, report: EdgeReport, log: &Log, address: Option<String>) {
        if !self.note(report) {
            return;
        }
        let history = log.history_at(report.served);
        let (hub, key) = (&self.hub, self.fleet_key());
        let now_ms = hub.now_ms();
        let taken = hub.fleet().take_short(key, self.number, (report, history), address, now_ms);
        self.tell(taken);
    }

    /// Notes what the follower says of itself and of those behind it; `own` is this node's key.
    pub(super) fn report_fleet(&self, report: FleetReport, own: [u8; 32], address: Option<String>) {
        let (hub, key) = (&self.hub, self.fleet_key());
        let is_current = match report.edges.iter().find(|edge| edge.id == key.1) {
            Some(edge) => self.note(EdgeReport {
                served: edge.served,
                state: edge.state,
                differing: edge.differing,
                time_ms: 0,
            }),
            None => self.is_current(),
        };
        if is_current {
            let now_ms = hub.now_ms();
            let taken = hub.fleet().take(key, self.number, report, (own, address), now_ms);
            self.tell(taken);
        }
    }

    /// Notes the short form of a report, unless another connection has taken the place.
    fn note(&self, report: EdgeReport) -> bool {
        let mut feeds = self.hub.feeds();
        let follower = feeds.followers.get_mut(&self.key);
        let Some(follower) = follower.filter(|follower| follower.number == self.number) else {
            return false;
        };
        follower.report = Some((report, Instant::now()));
        true
    }

    /// Whether no other connection has taken the place.
    fn is_current(&self) -> bool {
        self.hub.feeds().followers.get(&self.key).is_some_and(|found| found.number == self.number)
    }

    /// The follower in the fleet.
    fn fleet_key(&self) -> FleetKey {
        (self.key.0, *self.key.1.as_bytes())
    }

    /// Wakes those who wait for what edges serve, if that has changed.
    fn tell(&self, has_changed: bool) {
        if has_changed {
            self.hub.0.fleet_changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut feeds = self.hub.feeds();
        if feeds.followers.get(&self.key).is_some_and(|found| found.number == self.number) {
            feeds.followers.remove(&self.key);
        }
        drop(feeds);
        // It stays in the fleet, silent before long.
        self.hub.fleet().leave(self.fleet_key(), self.number);
    }
}
