//! Keeps an edge connected: decides when to join the swarm again, and when to reconcile.
//!
//! Nothing below reconnects by itself. After a peer was lost the namespace is left and joined
//! again, which alone makes gossip work again; a plain reconciliation would bring the data of the
//! moment and nothing after it. Besides, everything is reconciled now and then, whatever seems to
//! be the case.
//!
//! **Invariant:** while a peer answers, silence lasts no longer than the retry limits allow.
//! **Not here:** noticing that a peer answers (`link`), what entries mean (`sync`).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use iroh::EndpointId;

use super::link::LinkEvent;
use crate::limits::{
    RECONCILE_MS, REJOIN_MS_MAX, REJOIN_MS_MIN, SILENCE_MS_MAX, SYNC_RETRY_MS_MAX,
    SYNC_RETRY_MS_MIN,
};

/// What to do with the namespace now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// Leave and join again.
    Rejoin,
    /// Reconcile with all peers.
    Reconcile,
}

/// What is known of the connection to the swarm.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// Peers of the ticket that answer.
    links: HashSet<EndpointId>,
    /// Neighbors in the swarm.
    neighbors: HashSet<EndpointId>,
    /// When the namespace was joined last.
    joined_at: Instant,
    /// When an entry arrived last.
    heard_at: Instant,
    /// When to join again, if it was decided.
    rejoin_at: Option<Instant>,
    /// Milliseconds until the next try to join again.
    rejoin_ms: u64,
    /// When to reconcile again because it failed.
    retry_at: Option<Instant>,
    /// Milliseconds until the next try to reconcile.
    retry_ms: u64,
    /// When to reconcile whatever happens.
    reconcile_at: Instant,
}

impl Supervisor {
    /// Begins when the namespace has just been joined.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            links: HashSet::new(),
            neighbors: HashSet::new(),
            joined_at: now,
            heard_at: now,
            rejoin_at: None,
            rejoin_ms: REJOIN_MS_MIN,
            retry_at: None,
            retry_ms: SYNC_RETRY_MS_MIN,
            reconcile_at: now + Duration::from_millis(RECONCILE_MS),
        }
    }

    /// Takes a change of a link to a peer of the ticket.
    pub(super) fn handle_link(&mut self, event: LinkEvent, now: Instant) {
        match event {
            LinkEvent::Up(peer) => {
                self.links.insert(peer);
                // The first link comes up while the first join is under way.
                let is_joining = now - self.joined_at < Duration::from_millis(REJOIN_MS_MIN);
                if !is_joining || self.rejoin_at.is_some() {
                    self.rejoin_at = Some(now);
                }
            }
            LinkEvent::Down(peer) => {
                self.links.remove(&peer);
                self.neighbors.remove(&peer);
            }
        }
    }

    /// Takes a neighbor that has appeared.
    pub(super) fn handle_neighbor_up(&mut self, peer: EndpointId) {
        self.neighbors.insert(peer);
        self.rejoin_ms = REJOIN_MS_MIN;
    }

    /// Takes a neighbor that has left.
    pub(super) fn handle_neighbor_down(&mut self, peer: EndpointId, now: Instant) {
        self.neighbors.remove(&peer);
        if self.neighbors.is_empty() {
            self.plan_rejoin(now);
        }
    }

    /// Takes the news that an entry has arrived.
    pub(super) fn handle_heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.rejoin_ms = REJOIN_MS_MIN;
    }

    /// Takes a reconciliation that ended well.
    pub(super) fn handle_reconciled(&mut self) {
        self.retry_at = None;
        self.retry_ms = SYNC_RETRY_MS_MIN;
    }

    /// Takes a reconciliation that ended with an error.
    pub(super) fn handle_failed(&mut self, now: Instant) {
        if self.retry_at.is_none() {
            self.retry_at = Some(now + Duration::from_millis(self.retry_ms));
            self.retry_ms = (self.retry_ms * 2).min(SYNC_RETRY_MS_MAX);
        }
    }

    /// Takes the news that something was lost on the way.
    pub(super) fn want_reconcile(&mut self) {
        self.retry_at = Some(Instant::now());
    }

    /// Whether any peer of the ticket answers.
    pub(super) fn is_linked(&self) -> bool {
        !self.links.is_empty()
    }

    /// Says what to do now. `has_beat` tells whether the feed has a heartbeat at all.
    pub(super) fn poll(&mut self, now: Instant, has_beat: bool) -> Option<Action> {
        let silence = now - self.heard_at.max(self.joined_at);
        if has_beat && silence > Duration::from_millis(SILENCE_MS_MAX) {
            self.plan_rejoin(now);
        }
        if self.is_linked() && self.rejoin_at.is_some_and(|at| at <= now) {
            self.rejoin_at = None;
            self.rejoin_ms = (self.rejoin_ms * 2).min(REJOIN_MS_MAX);
            self.joined_at = now;
            self.neighbors.clear();
            self.plan_reconcile(now);
            return Some(Action::Rejoin);
        }
        let is_due = self.reconcile_at <= now || self.retry_at.is_some_and(|at| at <= now);
        if is_due {
            self.retry_at = None;
            self.plan_reconcile(now);
            return self.is_linked().then_some(Action::Reconcile);
        }
        None
    }

    /// Plans to join again, if it is not planned.
    fn plan_rejoin(&mut self, now: Instant) {
        let wait = Duration::from_millis(self.rejoin_ms);
        self.rejoin_at.get_or_insert((self.joined_at + wait).max(now));
    }

    /// Plans the next reconciliation. Edges that started together must not come together for ever.
    fn plan_reconcile(&mut self, now: Instant) {
        let jitter_ms = u64::from(rand::random::<u16>()) % (RECONCILE_MS / 2);
        self.reconcile_at = now + Duration::from_millis(RECONCILE_MS + jitter_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(octet: u8) -> EndpointId {
        iroh::SecretKey::from_bytes(&[octet; 32]).public()
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_peer_that_comes_back_is_joined_at_once() {
        let start = Instant::now();
        let mut supervisor = Supervisor::new(start);
        supervisor.handle_link(LinkEvent::Up(peer(1)), after(start, 10));
        assert_eq!(supervisor.poll(after(start, 10), true), None);
        supervisor.handle_link(LinkEvent::Down(peer(1)), after(start, 5_000));
        supervisor.handle_heard(after(start, 5_000));
        assert_eq!(supervisor.poll(after(start, 5_100), true), None);
        supervisor.handle_link(LinkEvent::Up(peer(1)), after(start, 6_000));
        assert_eq!(supervisor.poll(after(start, 6_000), true), Some(Action::Rejoin));
        assert_eq!(supervisor.poll(after(start, 6_001), true), None);
    }

    #[test]
    fn silence_of_a_peer_that_answers_is_ended_by_joining_again_ever_less_often() {
        let start = Instant::now();
        let mut supervisor = Supervisor::new(start);
        supervisor.handle_link(LinkEvent::Up(peer(1)), start);
        let joins = (0..600_u64)
            .map(|step| after(start, step * 100))
            .filter(|now| supervisor.poll(*now, true) == Some(Action::Rejoin))
            .count();
        assert!((5..=12).contains(&joins), "{joins}");
    }

    #[test]
    fn a_feed_without_heartbeat_may_be_silent_and_is_still_reconciled() {
        let start = Instant::now();
        let mut supervisor = Supervisor::new(start);
        supervisor.handle_link(LinkEvent::Up(peer(1)), start);
        let actions: Vec<Action> = (0..1_000_u64)
            .filter_map(|step| supervisor.poll(after(start, step * 100), false))
            .collect();
        assert!(!actions.is_empty() && actions.iter().all(|action| *action == Action::Reconcile));
    }

    #[test]
    fn nothing_is_done_while_no_peer_answers() {
        let start = Instant::now();
        let mut supervisor = Supervisor::new(start);
        supervisor.handle_failed(start);
        for step in 0..1_000_u64 {
            assert_eq!(supervisor.poll(after(start, step * 100), true), None);
        }
    }
}
