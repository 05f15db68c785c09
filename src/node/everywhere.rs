//! Waiting until edges answer a revision.
//!
//! An edge that is waited for is one that was named, or was heard when the wait began. It answers a revision
//! when it says that it serves so much of the history that is written here.
//!
//! **Invariant:** a wait ends by its time; which edges it is about is settled when it begins, but for how many of
//! any: an edge that falls silent meanwhile, or is not known any more, is one that lags. Nothing is said of edges
//! that report to another authority.
//! **Not here:** the node's own answers (`progress`), what is known of edges (`fleet`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fleet::{EdgeStatus, FeedFleet, ID_DIGITS_MIN, feeds, is_named};
use super::state::NodeState;
use crate::feed::frame::fleet::{ALL_EDGES, is_edge_name};
use crate::limits::{EDGES_LOOK_MS, EDGES_NAMED_MAX, EDGES_RETURN_MS};
use crate::mesh::FleetMember;
use crate::store::history::Freeze;
use crate::store::lease::LeaseState;

/// Which edges are waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum WantedEdges {
    /// All that are heard now.
    All,
    /// So many, whichever.
    Count(u32),
    /// These, by name or by key.
    Named(Vec<String>),
}

/// What came of a wait.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct EdgesAnswer {
    /// The revision that was waited for.
    pub(crate) revision: u64,
    /// How many edges were waited for.
    pub(crate) wanted: u64,
    /// How many of these answer it.
    pub(crate) answered: u64,
    /// How many edges are silent now, waited for or not.
    pub(crate) silent: u64,
    /// Those that are heard and follow behind on purpose: they are waited for by name alone.
    pub(crate) behind_on_purpose: Vec<String>,
    /// The edges that do not answer it, though they were waited for; of any so many: all that do not.
    pub(crate) lagging: Vec<LaggingEdge>,
}

/// An edge that does not answer a revision.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LaggingEdge {
    /// Its name, or else its key.
    pub(crate) edge: String,
    /// What is known of it; `None` if it was never heard.
    #[serde(flatten)]
    pub(crate) status: Option<EdgeStatus>,
    /// Whether it was heard when the wait began, and nothing is known of it any more.
    #[serde(skip)]
    pub(crate) is_gone: bool,
}

/// Why it is not known which edges answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum EdgesUnknown {
    /// No edge follows such a node.
    #[error("no edge can follow this node: it neither writes a feed nor follows one")]
    NoFleet,
    /// Another authority on the store writes the feeds.
    #[error("edges report to the authority that writes the feeds now: ask {holder}")]
    Elsewhere {
        /// The key of its endpoint.
        holder: String,
    },
    /// No authority has the turn, as far as is known.
    #[error("edges report to the authority that writes the feeds, and none is known to: ask again")]
    Nobody,
    /// The feeds are frozen: no edge will have it before they are thawed.
    #[error("the feeds are frozen at revision {revision}: no edge gets more until they are thawed")]
    Frozen {
        /// The newest revision of the store by then.
        revision: u64,
    },
    /// It is our turn, but edges are not back yet.
    #[error("this authority has just begun to write the feeds, and edges come back now: ask again")]
    Beginning,
}

/// Which edge of which feed.
type EdgeKey = ([u8; 32], [u8; 32]);

impl FromStr for WantedEdges {
    type Err = ();

    /// Reads `all`, a number from 1 on, or names with commas between.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        if text.eq_ignore_ascii_case(ALL_EDGES) {
            return Ok(Self::All);
        }
        // More digits are the beginning of a key.
        let is_number =
            text.len() < ID_DIGITS_MIN && text.bytes().all(|octet| octet.is_ascii_digit());
        if let Some(count) = text.parse().ok().filter(|_| is_number) {
            return if count > 0 { Ok(Self::Count(count)) } else { Err(()) };
        }
        let mut names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let is_key = |text: &String| {
            (ID_DIGITS_MIN..=64).contains(&text.len())
                && text.bytes().all(|octet| octet.is_ascii_hexdigit())
        };
        let is_bad = names.len() > EDGES_NAMED_MAX
            || names.iter().any(|name| !is_edge_name(name) && !is_key(name));
        if is_bad { Err(()) } else { Ok(Self::Named(names)) }
    }
}

impl EdgesAnswer {
    /// Whether all that was waited for is so.
    pub(crate) fn is_reached(&self) -> bool {
        self.answered >= self.wanted
    }
}

impl fmt::Display for LaggingEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = &self.status else {
            let what = if self.is_gone { "is not known any more" } else { "was never heard" };
            return write!(f, "{} {what}", self.edge);
        };
        write!(f, "{} is at {}", self.edge, status.served_revision)?;
        match (status.behind_revisions, status.lag_ms) {
            (Some(behind), Some(lag_ms)) => write!(f, ", {behind} behind for {lag_ms} ms")?,
            (Some(behind), None) => write!(f, ", {behind} behind")?,
            (None, _) => write!(f, " of another history")?,
        }
        match status.behind_on_purpose_s {
            Some(seconds) if seconds >= 0 => {
                write!(f, ", follows {seconds} s behind on purpose")?;
            }
            Some(_) => write!(f, ", is held on purpose")?,
            None => {}
        }
        if !status.is_heard {
            write!(f, ", silent for {} s", status.heard_ms / 1_000)?;
        }
        Ok(())
    }
}

impl fmt::Display for EdgesAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, wanted, answered, lagging, .. } = self;
        write!(f, "{answered} of {wanted} edges answer revision {revision}")?;
        for (index, edge) in lagging.iter().take(LAGGING_SHOWN_MAX).enumerate() {
            write!(f, "{} {edge}", if index == 0 { ":" } else { ";" })?;
        }
        match lagging.len().saturating_sub(LAGGING_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Waits until edges answer a revision, `until` at most.
///
/// # Errors
/// Every [`EdgesUnknown`]; where authorities write the feeds in turn also if the turn ends meanwhile.
pub(crate) async fn wait(
    node: &NodeState,
    wanted: &WantedEdges,
    revision: u64,
    until: Instant,
) -> Result<EdgesAnswer, EdgesUnknown> {
    let mut news = node.mesh.as_ref().ok_or(EdgesUnknown::NoFleet)?.watch_fleet();
    let mut turn = node.feeds.as_ref().and_then(|feeds| feeds.watch_turn());
    if matches!(wanted, WantedEdges::All) {
        await_return(node, until).await?;
    }
    let settled = heard(&feeds(node).await.ok_or(EdgesUnknown::NoFleet)?);
    // A turn that ended just now leaves none to settle on.
    check_turn(node)?;
    loop {
        news.borrow_and_update();
        let feeds = feeds(node).await.ok_or(EdgesUnknown::NoFleet)?;
        let answer = look(&feeds, wanted, &settled, revision);
        if answer.is_reached() {
            return Ok(answer);
        }
        check_turn(node)?;
        check_freeze(node.freeze(), revision)?;
        if Instant::now() >= until {
            return Ok(answer);
        }
        // Many edges with much news cost a look now and then, not one each.
        let pause = Instant::now() + Duration::from_millis(EDGES_LOOK_MS);
        tokio::select! {
            changed = tokio::time::timeout_at(until, news.changed()) => if changed.is_ok() {
                tokio::time::sleep_until(pause.min(until)).await;
            },
            () = turned(&mut turn) => {}
        }
    }
}

/// Waits until edges are back after a start, or after the begin of a turn, `until` at most.
async fn await_return(node: &NodeState, until: Instant) -> Result<(), EdgesUnknown> {
    loop {
        check_turn(node)?;
        // Edges are back a moment after a start: without it "all" would be none.
        let began_at = node.feeds.as_ref().and_then(|feeds| feeds.began_at());
        let began_at = began_at.map_or(node.started_at, |began_at| began_at.max(node.started_at));
        let returned = Instant::from(began_at + Duration::from_millis(EDGES_RETURN_MS));
        let now = Instant::now();
        if now >= returned {
            return Ok(());
        }
        if now >= until {
            // In a turn that has just begun, edges may still be with the last holder: they are there.
            let is_shared = node.feeds.as_ref().is_some_and(|feeds| feeds.turn_state().is_some());
            return if is_shared { Err(EdgesUnknown::Beginning) } else { Ok(()) };
        }
        tokio::time::sleep_until(until.min(returned)).await;
    }
}

/// Checks that edges report to this node: always, but where authorities write the feeds in turn.
fn check_turn(node: &NodeState) -> Result<(), EdgesUnknown> {
    let (Some(feeds), Some(mesh)) = (&node.feeds, &node.mesh) else { return Ok(()) };
    let Some(turn) = feeds.turn_state() else { return Ok(()) };
    let own = HEXLOWER.encode(&mesh.own_peer().id);
    judge_turn(turn, feeds.began_at().is_some(), &own)
}

/// Checks that edges may get a revision which they do not answer yet.
fn check_freeze(freeze: Option<Freeze>, wanted: u64) -> Result<(), EdgesUnknown> {
    match freeze {
        Some(Freeze { revision, .. }) if revision < wanted => {
            Err(EdgesUnknown::Frozen { revision })
        }
        Some(_) | None => Ok(()),
    }
}

/// Judges whose turn it is, by our key; `has_begun` says whether we write.
fn judge_turn(turn: LeaseState, has_begun: bool, own: &str) -> Result<(), EdgesUnknown> {
    match (turn.held, turn.holder) {
        (Some(_), _) if has_begun => Ok(()),
        (Some(_), _) => Err(EdgesUnknown::Beginning),
        // Our own turn that has run out is nobody's.
        (None, Some(holder)) if holder != own => Err(EdgesUnknown::Elsewhere { holder }),
        (None, _) => Err(EdgesUnknown::Nobody),
    }
}

/// Waits until it is another one's turn; for ever where nobody takes turns.
async fn turned(turn: &mut Option<watch::Receiver<LeaseState>>) {
    let changed = match turn {
        Some(turn) => turn.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// The edges that are heard and follow as fast as they can, with the names that they are told by.
fn heard(feeds: &[FeedFleet]) -> BTreeMap<EdgeKey, String> {
    members(feeds)
        .filter(|(_, member, _)| member.is_heard() && !is_on_purpose(member))
        .map(|(feed, member, _)| (key_of(feed, member), called(member)))
        .collect()
}

/// Whether an edge is behind because its operator wants it so.
fn is_on_purpose(member: &FleetMember) -> bool {
    member.edge.facts.behind_s.is_some()
}

/// Which edge of which feed a member is.
fn key_of(feed: &FeedFleet, member: &FleetMember) -> EdgeKey {
    (feed.namespace, member.edge.id)
}

/// Its name, or else its key.
fn called(member: &FleetMember) -> String {
    member.edge.facts.name.clone().unwrap_or_else(|| HEXLOWER.encode(&member.edge.id))
}

/// Every edge of every feed.
fn members(feeds: &[FeedFleet]) -> impl Iterator<Item = (&FeedFleet, &FleetMember, Option<u64>)> {
    feeds.iter().flat_map(|feed| {
        feed.state.members.iter().map(move |(member, lag_ms)| (feed, member, *lag_ms))
    })
}

/// Looks which of the edges that are waited for answer a revision.
fn look(
    feeds: &[FeedFleet],
    wanted: &WantedEdges,
    settled: &BTreeMap<EdgeKey, String>,
    revision: u64,
) -> EdgesAnswer {
    let mut answer = EdgesAnswer { revision, ..EdgesAnswer::default() };
    answer.silent = members(feeds).filter(|(_, member, _)| !member.is_heard()).count() as u64;
    let on_purpose =
        members(feeds).filter(|(_, member, _)| member.is_heard() && is_on_purpose(member));
    answer.behind_on_purpose = on_purpose.map(|(_, member, _)| called(member)).collect();
    let mut judge = |(feed, member, lag_ms): (&FeedFleet, &FleetMember, Option<u64>)| {
        if feed.answers(member, revision) {
            answer.answered += 1;
        } else {
            let status = feed.edge(member, lag_ms);
            let edge = called(member);
            answer.lagging.push(LaggingEdge { edge, status: Some(status), is_gone: false });
        }
    };
    match wanted {
        WantedEdges::All => {
            members(feeds)
                .filter(|(feed, member, _)| settled.contains_key(&key_of(feed, member)))
                .for_each(judge);
            let known: BTreeSet<EdgeKey> =
                members(feeds).map(|(feed, member, _)| key_of(feed, member)).collect();
            let gone = settled.iter().filter(|(key, _)| !known.contains(*key));
            answer.lagging.extend(gone.map(|(_, edge)| LaggingEdge {
                edge: edge.clone(),
                status: None,
                is_gone: true,
            }));
            answer.wanted = settled.len() as u64;
        }
        WantedEdges::Count(count) => {
            members(feeds).for_each(judge);
            answer.wanted = u64::from(*count);
        }
        WantedEdges::Named(names) => {
            let mut unknown = Vec::new();
            for name in names {
                let named = || members(feeds).filter(|(_, member, _)| is_named(member, name));
                // One that was set up anew has the name of one that is gone.
                let is_any_heard = named().any(|(_, member, _)| member.is_heard());
                let is_meant = |member: &FleetMember| member.is_heard() || !is_any_heard;
                let mut meant = named().filter(|(_, member, _)| is_meant(member)).peekable();
                if meant.peek().is_none() {
                    let edge = name.clone();
                    unknown.push(LaggingEdge { edge, status: None, is_gone: false });
                }
                meant.for_each(&mut judge);
            }
            answer.lagging.append(&mut unknown);
            answer.wanted = answer.answered + answer.lagging.len() as u64;
        }
    }
    answer
}

/// Edges that a sentence names.
const LAGGING_SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests;
