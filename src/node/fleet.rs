//! The edges that follow this node, directly or behind others, as the API, the metrics and the command line show them.
//!
//! **Invariant:** an edge answers a revision only if it says that it serves so much of the history that is
//! written here now; clocks decide nothing.
//! **Not here:** what is believed of a report (`mesh::fleet`), waiting (`node::everywhere`).

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::state::NodeState;
use super::status::sync::{status_of, status_word};
use crate::feed::HistoryId;
use crate::feed::frame::fleet::BEHIND_HELD_S;
use crate::mesh::{FleetMember, FleetState, Forgotten};

/// The edges that are known.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct FleetStatus {
    /// The edges, feed by feed, those with a name first and by it.
    pub(crate) edges: Vec<EdgeStatus>,
    /// How many of them are heard.
    pub(crate) heard: u64,
    /// How many are not.
    pub(crate) silent: u64,
    /// Edges that are there and not among them, since there is a limit.
    pub(crate) left_out: u64,
    /// Silent edges that made room for others since the start.
    pub(crate) evicted: u64,
}

/// An edge at about one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EdgeStatus {
    /// Its public key in hexadecimal digits.
    pub(crate) id: String,
    /// What its operator calls it.
    pub(crate) name: Option<String>,
    /// The version of its program.
    pub(crate) version: Option<String>,
    /// The feed that it follows: `main` with all zones, or one with some.
    pub(crate) feed: String,
    /// Whether it is heard.
    pub(crate) is_heard: bool,
    /// For how many milliseconds nothing was heard of it.
    pub(crate) heard_ms: u64,
    /// How it follows the feed, in a word, as it said last.
    pub(crate) status: &'static str,
    /// The history that it serves.
    pub(crate) history: Option<String>,
    /// The revision up to which it serves everything.
    pub(crate) served_revision: u64,
    /// By how many revisions that is behind; `None` if it is of another history.
    pub(crate) behind_revisions: Option<u64>,
    /// For how many milliseconds it has lacked something, by what is written here; `None` if it is not known
    /// what it serves.
    pub(crate) lag_ms: Option<u64>,
    /// For how many milliseconds it has not heard the author, by itself.
    pub(crate) beat_age_ms: Option<u32>,
    /// Queries that it answered in the last second.
    pub(crate) queries_per_s: Option<u32>,
    /// Zones that it answers.
    pub(crate) zones: u32,
    /// Zones that are its own and answered with SERVFAIL.
    pub(crate) held_zones: u32,
    /// Zones that are not what the author says.
    pub(crate) differing_zones: u32,
    /// What came of the feed and broke a rule since its start.
    pub(crate) refused: u32,
    /// The first of these zones, and why.
    pub(crate) reason: Option<String>,
    /// By how many seconds it follows behind on purpose; -1 if it stays where it is.
    pub(crate) behind_on_purpose_s: Option<i64>,
    /// Where whom it follows sees it: an address, or the URL of a relay.
    pub(crate) address: Option<String>,
    /// The edge that tells of it, by its key; `None` if it follows this node.
    pub(crate) via: Option<String>,
    /// Edges between it and this node.
    pub(crate) hops: u8,
}

/// A feed of this node, and its edges as the mesh knows them.
#[derive(Debug)]
pub(super) struct FeedFleet {
    /// Its name.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: [u8; 32],
    /// Its edges.
    pub(super) state: FleetState,
}

/// Why an edge is not forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ForgetError {
    /// There is none.
    Unknown,
    /// It is heard.
    IsHeard,
}

/// Returns the feeds that edges may follow at this node, each with its edges; none at a node without a mesh.
pub(super) async fn feeds(node: &NodeState) -> Option<Vec<FeedFleet>> {
    let mesh = node.mesh.as_ref()?;
    let mut names = Vec::new();
    if let Some(feeds) = &node.feeds {
        names.extend(feeds.namespaces().await);
    }
    if let Some(ticket) = node.client.as_ref().and_then(|client| client.ticket()) {
        names.push(("main".to_owned(), ticket.namespace));
    }
    let feed = |(name, namespace)| {
        let state = mesh.fleet(&namespace)?;
        Some(FeedFleet { name, namespace, state })
    };
    Some(names.into_iter().filter_map(feed).collect())
}

impl FleetStatus {
    /// Asks the mesh of a node; nothing at a node without one.
    pub(crate) async fn of(node: &NodeState) -> Option<Self> {
        let mut report = Self::default();
        for feed in feeds(node).await? {
            report.left_out += feed.state.left_out;
            report.evicted = feed.state.evicted;
            let members = feed.state.members.iter();
            report.edges.extend(members.map(|(member, lag_ms)| feed.edge(member, *lag_ms)));
        }
        report.heard = report.edges.iter().filter(|edge| edge.is_heard).count() as u64;
        report.silent = report.edges.len() as u64 - report.heard;
        Some(report)
    }
}

impl FeedFleet {
    /// Whether an edge answers a revision, as far as it has told.
    pub(super) fn answers(&self, member: &FleetMember, revision: u64) -> bool {
        self.is_of_history(member) && member.edge.served.revision >= revision
    }

    /// Whether an edge serves what is written now.
    fn is_of_history(&self, member: &FleetMember) -> bool {
        let history = self.state.history;
        history != HistoryId::default() && member.edge.history == history
    }

    /// Shows an edge.
    pub(super) fn edge(&self, member: &FleetMember, lag_ms: Option<u64>) -> EdgeStatus {
        let (edge, facts) = (&member.edge, &member.edge.facts);
        let served = edge.served.revision;
        let is_known = edge.history != HistoryId::default();
        EdgeStatus {
            id: HEXLOWER.encode(&edge.id),
            name: facts.name.clone(),
            version: facts.version.clone(),
            feed: self.name.clone(),
            is_heard: member.is_heard(),
            heard_ms: member.age_ms,
            status: status_of(edge.state).map_or("Unknown", status_word),
            history: is_known.then(|| edge.history.to_string()),
            served_revision: served,
            behind_revisions: self
                .is_of_history(member)
                .then(|| self.state.revision.saturating_sub(served)),
            lag_ms,
            beat_age_ms: edge.beat_age_ms,
            queries_per_s: facts.queries_per_s,
            zones: facts.zones,
            held_zones: facts.held,
            differing_zones: edge.differing,
            refused: facts.refused,
            reason: facts.reason.clone(),
            behind_on_purpose_s: facts.behind_s.map(|behind_s| match behind_s {
                BEHIND_HELD_S => -1,
                behind_s => i64::from(behind_s),
            }),
            address: edge.address.clone(),
            via: member.via.map(|via| HEXLOWER.encode(&via)),
            hops: edge.hops,
        }
    }
}

/// Whether a text names an edge: it is its name, its key in hexadecimal digits, or the first eight or more of these.
pub(super) fn is_named(member: &FleetMember, text: &str) -> bool {
    let is_key = text.len() >= ID_DIGITS_MIN
        && HEXLOWER.encode(&member.edge.id).starts_with(&text.to_ascii_lowercase());
    is_key || member.edge.facts.name.as_deref() == Some(text)
}

/// Forgets the silent edges that a text names; of several that have one name those that are silent. Returns
/// their keys.
///
/// # Errors
/// Every [`ForgetError`].
pub(crate) async fn forget(node: &NodeState, text: &str) -> Result<Vec<String>, ForgetError> {
    let mesh = node.mesh.as_ref().ok_or(ForgetError::Unknown)?;
    let (mut forgotten, mut is_heard) = (Vec::new(), false);
    for feed in feeds(node).await.unwrap_or_default() {
        let named = feed.state.members.iter().filter(|(member, _)| is_named(member, text));
        for (member, _) in named {
            match mesh.forget_edge(&feed.namespace, &member.edge.id) {
                Forgotten::Done => forgotten.push(HEXLOWER.encode(&member.edge.id)),
                Forgotten::IsHeard => is_heard = true,
                Forgotten::Unknown => {}
            }
        }
    }
    match (forgotten.is_empty(), is_heard) {
        (false, _) => Ok(forgotten),
        (true, true) => Err(ForgetError::IsHeard),
        (true, false) => Err(ForgetError::Unknown),
    }
}

/// Digits of a key that name an edge, at least: fewer might be another one's by chance.
pub(super) const ID_DIGITS_MIN: usize = 8;
