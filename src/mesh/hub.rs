//! The logs that this node offers, and who follows them.
//!
//! **Invariant:** a peer follows a feed once: a new connection takes the place of an older one.
//! **Not here:** the exchange with a follower (`mesh::stream`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use iroh::EndpointId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::peers::Peers;
use crate::feed::frame::EdgeReport;
use crate::limits::FOLLOWERS_MAX;

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
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub(Arc<Mutex<OfferedFeeds>>);

/// Offers and followers.
#[derive(Debug, Default)]
struct OfferedFeeds {
    /// The offers, by namespace.
    offers: HashMap<[u8; 32], Offer>,
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

    /// Offers and followers.
    fn feeds(&self) -> MutexGuard<'_, OfferedFeeds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Notes a report.
    pub(super) fn report(&self, report: EdgeReport) {
        if let Some(follower) = self.hub.feeds().followers.get_mut(&self.key)
            && follower.number == self.number
        {
            follower.report = Some((report, Instant::now()));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut feeds = self.hub.feeds();
        if feeds.followers.get(&self.key).is_some_and(|found| found.number == self.number) {
            feeds.followers.remove(&self.key);
        }
    }
}
