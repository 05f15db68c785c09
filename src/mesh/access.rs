//! Who may have what of which feed: the lists of feeds that have one, and feeds that have ended.
//!
//! Asked by the log, by the document engine and by the server of contents alike, each time that somebody asks
//! for something of a feed. A feed of which nothing was said is open to whoever knows of it.
//!
//! **Invariant:** what a feed's list says holds for connections that are open already: who lost something is cut
//! off, or asked for its right with the next thing that it wants.
//! **Not here:** where lists come from (`node`, `replica`), what an endpoint is told (`mesh::stream`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use tokio::sync::watch;

use crate::feed::frame::RefusedReason;
use crate::limits::REFUSED_SHOWN_MAX;

/// Who may have what; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Access(Arc<AccessState>);

/// What clones share.
#[derive(Debug)]
struct AccessState {
    /// The feeds of which something was said.
    feeds: Mutex<HashMap<[u8; 32], FeedAccess>>,
    /// Who asked for what is of several feeds, and may have none.
    strangers: Mutex<FeedAccess>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

/// Who may have a feed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Audience {
    /// Whoever knows of it.
    #[default]
    All,
    /// These endpoints.
    Listed(Arc<BTreeSet<[u8; 32]>>),
    /// Nobody any more.
    #[cfg_attr(not(feature = "node"), allow(dead_code))] // who ends a feed
    Nobody(Ended),
}

/// Why nobody may have a feed any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Its operator has revoked it.
    Revoked,
    /// Its time is over.
    Expired,
}

/// What is known of a feed.
#[derive(Debug, Default)]
struct FeedAccess {
    /// Who may have it.
    audience: Audience,
    /// How often somebody was refused.
    refusals: u64,
    /// Who was refused, and how often: the first [`REFUSED_SHOWN_MAX`].
    refused: BTreeMap<[u8; 32], u64>,
}

/// What was refused of a feed.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// How often somebody was refused.
    pub count: u64,
    /// Who was, and how often: the first [`REFUSED_SHOWN_MAX`].
    pub endpoints: Vec<([u8; 32], u64)>,
}

impl Default for Access {
    fn default() -> Self {
        let (feeds, strangers) = (Mutex::default(), Mutex::default());
        Self(Arc::new(AccessState { feeds, strangers, changed: watch::Sender::new(0) }))
    }
}

impl Audience {
    /// Whether an endpoint is in it.
    ///
    /// # Errors
    /// Why it is not.
    fn admit(&self, id: &[u8; 32]) -> Result<(), RefusedReason> {
        match self {
            Self::All => Ok(()),
            Self::Listed(listed) if listed.contains(id) => Ok(()),
            Self::Listed(_) => Err(RefusedReason::NotListed),
            Self::Nobody(Ended::Revoked) => Err(RefusedReason::Revoked),
            Self::Nobody(Ended::Expired) => Err(RefusedReason::Expired),
        }
    }
}

impl FeedAccess {
    /// Counts a refusal; says whether it is the first of an endpoint, of those that are remembered.
    fn note(&mut self, id: &[u8; 32]) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        if self.refused.len() >= REFUSED_SHOWN_MAX && !self.refused.contains_key(id) {
            return false;
        }
        let count = self.refused.entry(*id).or_default();
        *count = count.saturating_add(1);
        *count == 1
    }
}

impl Access {
    /// Says who may have a feed from now on. One that has ended stays so.
    pub(crate) fn set(&self, namespace: [u8; 32], audience: Audience) {
        let mut feeds = self.feeds();
        let feed = feeds.entry(namespace).or_default();
        if feed.audience == audience || matches!(feed.audience, Audience::Nobody(_)) {
            return;
        }
        feed.audience = audience;
        // Who was let in meanwhile is told once when it is refused again.
        feed.refused.clear();
        drop(feeds);
        self.0.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether an endpoint may have something of a feed; a refusal is counted, and logged once for each endpoint.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn judge(&self, namespace: &[u8; 32], id: &[u8; 32]) -> Result<(), RefusedReason> {
        let mut feeds = self.feeds();
        let Some(feed) = feeds.get_mut(namespace) else { return Ok(()) };
        let judged = feed.audience.admit(id);
        let Err(reason) = judged else { return judged };
        if feed.note(id) {
            tracing::warn!(
                endpoint = HEXLOWER.encode(id),
                namespace = HEXLOWER.encode(&namespace[..8]),
                why = %reason,
                "an endpoint is refused a feed"
            );
        }
        judged
    }

    /// Whether an endpoint may have any feed, where feeds say who may; a refusal is counted, and logged once for each
    /// endpoint.
    pub(super) fn admits_somewhere(&self, id: &[u8; 32]) -> bool {
        let (admitted, all) = self.share_of(id);
        if all == 0 || admitted > 0 {
            return true;
        }
        if self.strangers().note(id) {
            tracing::warn!(
                endpoint = HEXLOWER.encode(id),
                "an endpoint that may have no feed is refused"
            );
        }
        false
    }

    /// Whether an endpoint may have something of a feed, which is not asked for now.
    pub(crate) fn admits(&self, namespace: &[u8; 32], id: &[u8; 32]) -> bool {
        self.feeds().get(namespace).is_none_or(|feed| feed.audience.admit(id).is_ok())
    }

    /// How many feeds of which something was said an endpoint may have, and how many there are.
    pub(super) fn share_of(&self, id: &[u8; 32]) -> (usize, usize) {
        let feeds = self.feeds();
        let admitted = feeds.values().filter(|feed| feed.audience.admit(id).is_ok());
        (admitted.count(), feeds.len())
    }

    /// What was refused of a feed.
    pub(crate) fn refusals(&self, namespace: &[u8; 32]) -> Refusals {
        let feeds = self.feeds();
        let Some(feed) = feeds.get(namespace) else { return Refusals::default() };
        let endpoints = feed.refused.iter().map(|(id, count)| (*id, *count)).collect();
        Refusals { count: feed.refusals, endpoints }
    }

    /// How often somebody was refused anything.
    pub(crate) fn refusal_count(&self) -> u64 {
        let of_feeds: u64 = self.feeds().values().map(|feed| feed.refusals).sum();
        of_feeds.saturating_add(self.strangers().refusals)
    }

    /// Hears of every change.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Who may have nothing.
    fn strangers(&self) -> MutexGuard<'_, FeedAccess> {
        self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feeds.
    fn feeds(&self) -> MutexGuard<'_, HashMap<[u8; 32], FeedAccess>> {
        self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(ids: &[u8]) -> Audience {
        Audience::Listed(Arc::new(ids.iter().map(|id| [*id; 32]).collect()))
    }

    #[test]
    fn a_feed_with_a_list_is_for_those_on_it_and_one_without_for_all() {
        let access = Access::default();
        let feed = [1; 32];
        assert_eq!(access.judge(&feed, &[9; 32]), Ok(()));
        access.set(feed, listed(&[2]));
        assert_eq!(access.judge(&feed, &[2; 32]), Ok(()));
        assert_eq!(access.judge(&feed, &[9; 32]), Err(RefusedReason::NotListed));
        assert_eq!(access.judge(&[3; 32], &[9; 32]), Ok(()), "another feed");
        access.set(feed, listed(&[2, 9]));
        assert_eq!(access.judge(&feed, &[9; 32]), Ok(()));
        access.set(feed, Audience::All);
        assert!(access.admits(&feed, &[8; 32]));
    }

    #[test]
    fn a_feed_that_has_ended_is_for_nobody_whatever_is_said_later() {
        let access = Access::default();
        let feed = [1; 32];
        access.set(feed, Audience::Nobody(Ended::Expired));
        access.set(feed, Audience::All);
        access.set(feed, Audience::Nobody(Ended::Revoked));
        assert_eq!(access.judge(&feed, &[9; 32]), Err(RefusedReason::Expired));
    }

    #[test]
    fn refusals_are_counted_and_those_refused_are_remembered_up_to_a_limit() {
        let access = Access::default();
        let feed = [1; 32];
        access.set(feed, listed(&[]));
        for id in 0..=REFUSED_SHOWN_MAX {
            let _ = access.judge(&feed, &[id as u8; 32]);
            let _ = access.judge(&feed, &[0; 32]);
        }
        let refusals = access.refusals(&feed);
        assert_eq!(refusals.count as usize, 2 * (REFUSED_SHOWN_MAX + 1));
        assert_eq!(refusals.endpoints.len(), REFUSED_SHOWN_MAX);
        assert_eq!(refusals.endpoints[0], ([0; 32], REFUSED_SHOWN_MAX as u64 + 2));
    }

    #[test]
    fn who_may_have_no_feed_is_refused_what_is_of_several_and_counted() {
        let access = Access::default();
        assert!(access.admits_somewhere(&[9; 32]), "nothing is said of any feed");
        access.set([1; 32], listed(&[2]));
        assert!(access.admits_somewhere(&[2; 32]) && !access.admits_somewhere(&[9; 32]));
        assert_eq!(access.refusal_count(), 1);
        access.set([3; 32], Audience::All);
        assert!(access.admits_somewhere(&[9; 32]));
    }
}
