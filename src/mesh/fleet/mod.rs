//! What a node knows of the edges behind it: those that follow it, and those that they tell of.
//!
//! | report | is believed |
//! |---|---|
//! | of an edge itself, over the connection that its key has opened | always |
//! | of others, while that connection stands | never |
//! | of others, else | if it is younger than what is known |
//!
//! An edge that says nothing any more stays, silent, until it has been so for a day, is forgotten by
//! command, or makes room for another one.
//!
//! **Invariant:** [`FLEET_EDGES_MAX`] edges, [`FLEET_EDGES_VIA_MAX`] of them told by one follower, and
//! [`FLEET_EDGES_TOLD_MAX`] told of one feed; an edge that can be left out is counted; time is the caller's, in
//! spans, and no clock of an edge counts.
//! **Not here:** connections (`mesh::hub`), what is served and how far that is behind (`mesh::log`).

use std::collections::HashMap;

use crate::feed::HistoryId;
use crate::feed::frame::EdgeReport;
use crate::feed::frame::fleet::{FleetEdge, FleetReport};
use crate::limits::{
    EDGE_FORGET_MS, EDGE_SILENT_MS, FLEET_EDGES_MAX, FLEET_EDGES_TOLD_MAX, FLEET_EDGES_VIA_MAX,
    FLEET_FORGOTTEN_MAX, FLEET_HANDED_ON_MAX, FLEET_HOPS_MAX, FLEET_LEFT_OUT_MAX,
};

/// Which edge of which feed: the namespace, and the edge's public key.
pub(super) type FleetKey = ([u8; 32], [u8; 32]);

/// The edges of all feeds.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// What is known of each.
    edges: HashMap<FleetKey, KnownEdge>,
    /// Counts what was heard, so that it can be told what came since.
    count: u64,
    /// When edges were left out, until they would count as silent.
    left_out: HashMap<FleetKey, i64>,
    /// Edges that made room for others.
    evicted: u64,
    /// When edges were forgotten by command.
    forgotten: HashMap<FleetKey, i64>,
}

/// What is known of one edge.
#[derive(Debug)]
struct KnownEdge {
    /// What was said of it last; its age is not kept up.
    edge: FleetEdge,
    /// When it said so, by our time; before we began it is negative.
    heard_ms: i64,
    /// Who told of it; `None` for the edge itself.
    via: Option<[u8; 32]>,
    /// The number of its connection, if that stands.
    connection: Option<u64>,
    /// Edges that it knows of and has no room to tell.
    left_out: u32,
    /// The count when it was heard last.
    heard: u64,
    /// The count when what it serves, its state or its name changed last.
    changed: u64,
}

/// An edge as it is shown.
#[derive(Clone, Debug)]
pub struct FleetMember {
    /// What was said of it last.
    pub edge: FleetEdge,
    /// Who told of it; `None` for the edge itself.
    pub via: Option<[u8; 32]>,
    /// For how many milliseconds nothing was heard of it.
    pub age_ms: u64,
}

/// The edges of one feed.
#[derive(Clone, Debug, Default)]
pub(super) struct FleetList {
    /// The edges, by name, those without one last.
    pub(super) members: Vec<FleetMember>,
    /// Edges that are there and not among them.
    pub(super) left_out: u64,
}

/// What news are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FleetNews {
    /// Whatever was heard.
    Heard,
    /// Only edges that serve something else than before, or in another state.
    Changed,
}

/// What became of an edge that was to be forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forgotten {
    /// It is.
    Done,
    /// It is heard: it would be there again at once.
    IsHeard,
    /// It was not known.
    Unknown,
}

impl FleetMember {
    /// Whether it is heard, and not silent.
    pub fn is_heard(&self) -> bool {
        self.age_ms <= EDGE_SILENT_MS
    }
}

impl Fleet {
    /// Takes what an edge says of itself and of others, over a connection; returns whether anything of it is
    /// served that was not before. `own` is this node's key, `address` where the edge is seen.
    pub(super) fn take(
        &mut self,
        key: FleetKey,
        connection: u64,
        report: FleetReport,
        (own, address): ([u8; 32], Option<String>),
        now_ms: i64,
    ) -> bool {
        let (namespace, id) = key;
        let mut is_news = false;
        for edge in report.edges {
            is_news |= if edge.id == id {
                let edge = FleetEdge { hops: 0, age_ms: 0, address: address.clone(), ..edge };
                self.take_own(key, connection, (edge, report.left_out), now_ms)
            } else if edge.id == own {
                false
            } else {
                self.take_told((namespace, edge.id), id, edge, now_ms)
            };
        }
        is_news
    }

    /// Takes what an edge of an older version says of itself, of the history that the log of this node shows.
    pub(super) fn take_short(
        &mut self,
        key: FleetKey,
        connection: u64,
        (report, history): (EdgeReport, Option<HistoryId>),
        address: Option<String>,
        now_ms: i64,
    ) -> bool {
        let known = self.edges.get(&key).filter(|known| known.via.is_none());
        let (facts, left_out) =
            known.map(|known| (known.edge.facts.clone(), known.left_out)).unwrap_or_default();
        let edge = FleetEdge {
            id: key.1,
            history: history.unwrap_or_default(),
            served: report.served,
            state: report.state,
            differing: report.differing,
            facts,
            address,
            ..FleetEdge::default()
        };
        self.take_own(key, connection, (edge, left_out), now_ms)
    }

    /// Notes that a connection is over.
    pub(super) fn leave(&mut self, key: FleetKey, connection: u64) {
        let known = self.edges.get_mut(&key);
        if let Some(known) = known.filter(|known| known.connection == Some(connection)) {
            known.connection = None;
        }
    }

    /// Returns what came since a count, the oldest news first, [`FLEET_HANDED_ON_MAX`] edges at most, as it is handed
    /// on to `to` by `own`; and the count from which on the rest follows.
    pub(super) fn news(
        &self,
        (namespace, since): ([u8; 32], u64),
        news: FleetNews,
        (own, to): ([u8; 32], [u8; 32]),
        now_ms: i64,
    ) -> (Vec<FleetEdge>, u64) {
        let count_of = |known: &KnownEdge| match news {
            FleetNews::Heard => known.heard,
            FleetNews::Changed => known.changed,
        };
        let wanted = self.edges.iter().filter(|((feed, id), known)| {
            let is_to_tell = known.edge.hops < FLEET_HOPS_MAX && *id != own && *id != to;
            *feed == namespace && count_of(known) > since && is_to_tell
        });
        let mut found: Vec<&KnownEdge> = wanted.map(|(_, known)| known).collect();
        found.sort_unstable_by_key(|known| count_of(known));
        let is_all = found.len() <= FLEET_HANDED_ON_MAX;
        found.truncate(FLEET_HANDED_ON_MAX);
        let last = found.last().filter(|_| !is_all).map_or(self.count, |known| count_of(known));
        let told = found.into_iter().map(|known| FleetEdge {
            hops: known.edge.hops + 1,
            age_ms: u32::try_from(age_of(known, now_ms)).unwrap_or(u32::MAX),
            ..known.edge.clone()
        });
        (told.collect(), last)
    }

    /// The edges of a feed, as they are shown.
    pub(super) fn list(&mut self, namespace: [u8; 32], now_ms: i64) -> FleetList {
        self.forget_old(now_ms);
        let of_feed = self.edges.iter().filter(|((feed, _), _)| *feed == namespace);
        let mut members: Vec<FleetMember> = of_feed
            .map(|(_, known)| FleetMember {
                edge: known.edge.clone(),
                via: known.via,
                age_ms: age_of(known, now_ms),
            })
            .collect();
        members.sort_unstable_by(|a, b| {
            let key = |member: &FleetMember| {
                let name = member.edge.facts.name.clone();
                (name.is_none(), name, member.edge.id)
            };
            key(a).cmp(&key(b))
        });
        FleetList { members, left_out: self.left_out_of(namespace, now_ms) }
    }

    /// How many edges of a feed are known of and not here.
    pub(super) fn left_out_of(&self, namespace: [u8; 32], now_ms: i64) -> u64 {
        let is_now = |at_ms: i64| now_ms - at_ms <= EDGE_SILENT_MS as i64;
        let own = self.left_out.iter().filter(|((feed, _), at)| *feed == namespace && is_now(**at));
        let told = self.edges.iter().filter(|((feed, _), _)| *feed == namespace);
        let told = told.filter(|(_, known)| known.via.is_none() && is_now(known.heard_ms));
        own.count() as u64 + told.map(|(_, known)| u64::from(known.left_out)).sum::<u64>()
    }

    /// Edges that made room for others since the start.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets an edge that is silent.
    pub(super) fn forget(&mut self, key: FleetKey, now_ms: i64) -> Forgotten {
        match self.edges.get(&key) {
            None => Forgotten::Unknown,
            Some(known) if age_of(known, now_ms) <= EDGE_SILENT_MS => Forgotten::IsHeard,
            Some(_) => {
                self.edges.remove(&key);
                if self.forgotten.len() >= FLEET_FORGOTTEN_MAX {
                    let oldest = self.forgotten.iter().min_by_key(|(_, at_ms)| **at_ms);
                    let oldest = oldest.map(|(key, _)| *key);
                    oldest.and_then(|oldest| self.forgotten.remove(&oldest));
                }
                self.forgotten.insert(key, now_ms);
                Forgotten::Done
            }
        }
    }

    /// Takes what an edge says itself, with how many it has no room to tell.
    fn take_own(
        &mut self,
        key: FleetKey,
        connection: u64,
        (edge, left_out): (FleetEdge, u32),
        now_ms: i64,
    ) -> bool {
        self.forgotten.remove(&key);
        if !self.edges.contains_key(&key) {
            self.make_room(true, now_ms);
        }
        self.put(key, edge, now_ms, |known| {
            known.via = None;
            known.connection = Some(connection);
            known.left_out = left_out;
        })
    }

    /// Takes what an edge says of another one.
    fn take_told(&mut self, key: FleetKey, via: [u8; 32], edge: FleetEdge, now_ms: i64) -> bool {
        let heard_ms = now_ms - i64::from(edge.age_ms);
        let is_old = i64::from(edge.age_ms) > EDGE_FORGET_MS as i64
            || self.forgotten.get(&key).is_some_and(|at_ms| heard_ms <= *at_ms);
        if is_old || edge.hops == 0 {
            return false;
        }
        if let Some(known) = self.edges.get(&key) {
            // What it says itself counts; and what goes round among others grows no younger by that.
            if known.connection.is_some() || heard_ms < known.heard_ms {
                return false;
            }
        } else {
            let told = self.edges.values().filter(|known| known.via == Some(via)).count();
            let of_feed = |((feed, _), known): &(&FleetKey, &KnownEdge)| {
                *feed == key.0 && known.via.is_some()
            };
            // Nothing proves that they are there: whoever has a ticket of one feed could fill the table.
            let is_full = told >= FLEET_EDGES_VIA_MAX
                || self.edges.iter().filter(of_feed).count() >= FLEET_EDGES_TOLD_MAX;
            if is_full || !self.make_room(false, now_ms) {
                self.leave_out(key, heard_ms, now_ms);
                return false;
            }
        }
        self.put(key, edge, heard_ms, |known| {
            known.via = Some(via);
            known.left_out = 0;
        })
    }

    /// Puts what is known of an edge in the place of what was; returns whether that changes what it serves.
    fn put(
        &mut self,
        key: FleetKey,
        edge: FleetEdge,
        heard_ms: i64,
        note: impl FnOnce(&mut KnownEdge),
    ) -> bool {
        self.count += 1;
        let count = self.count;
        self.left_out.remove(&key);
        let place =
            |edge: &FleetEdge| (edge.history, edge.served, edge.state, edge.facts.name.clone());
        let mut is_new = false;
        let known = self.edges.entry(key).or_insert_with(|| {
            is_new = true;
            let edge = FleetEdge::default();
            KnownEdge {
                edge,
                heard_ms,
                via: None,
                connection: None,
                left_out: 0,
                heard: 0,
                changed: 0,
            }
        });
        let is_news = is_new || place(&known.edge) != place(&edge);
        known.edge = edge;
        known.heard_ms = heard_ms;
        known.heard = count;
        known.changed = if is_news { count } else { known.changed };
        note(known);
        is_news
    }

    /// Makes room for one more edge; says whether there is. One that is heard makes room only where it
    /// `must` be, and only if it is not followed by us.
    fn make_room(&mut self, must: bool, now_ms: i64) -> bool {
        if self.edges.len() < FLEET_EDGES_MAX {
            return true;
        }
        self.forget_old(now_ms);
        if self.edges.len() < FLEET_EDGES_MAX {
            return true;
        }
        let may_go = self.edges.iter().filter(|(_, known)| known.connection.is_none());
        let oldest = may_go.min_by_key(|(_, known)| known.heard_ms);
        let is_silent = |known: &KnownEdge| age_of(known, now_ms) > EDGE_SILENT_MS;
        let oldest = oldest.filter(|(_, known)| must || is_silent(known)).map(|(key, _)| *key);
        let Some(oldest) = oldest else { return false };
        self.edges.remove(&oldest);
        self.evicted += 1;
        true
    }

    /// Counts an edge that found no room.
    fn leave_out(&mut self, key: FleetKey, heard_ms: i64, now_ms: i64) {
        if self.left_out.len() >= FLEET_LEFT_OUT_MAX {
            self.left_out.retain(|_, at_ms| now_ms - *at_ms <= EDGE_SILENT_MS as i64);
        }
        if self.left_out.len() < FLEET_LEFT_OUT_MAX || self.left_out.contains_key(&key) {
            self.left_out.insert(key, heard_ms);
        }
    }

    /// Forgets what has been silent for long.
    fn forget_old(&mut self, now_ms: i64) {
        let is_old = |at_ms: i64| now_ms - at_ms > EDGE_FORGET_MS as i64;
        self.edges.retain(|_, known| known.connection.is_some() || !is_old(known.heard_ms));
        self.forgotten.retain(|_, at_ms| !is_old(*at_ms));
    }
}

/// For how many milliseconds nothing was heard of an edge.
fn age_of(known: &KnownEdge, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(known.heard_ms)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
