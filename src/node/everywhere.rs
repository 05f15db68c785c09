//! Waiting until edges answer a revision.
//!
//! An edge that is waited for is one that was named, or was heard when the wait began. It answers a revision
//! when it says that it serves so much of the history that is written here.
//!
//! **Invariant:** a wait ends by its time; which edges it is about is settled when it begins, but for how many of
//! any: an edge that falls silent meanwhile is one that lags.
//! **Not here:** the node's own answers (`progress`), what is known of edges (`fleet`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::fleet::{EdgeStatus, FeedFleet, ID_DIGITS_MIN, feeds, is_named};
use super::state::NodeState;
use crate::feed::frame::fleet::ALL_EDGES;
use crate::limits::{EDGES_LOOK_MS, EDGES_NAMED_MAX, EDGES_RETURN_MS};
use crate::mesh::FleetMember;

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
        if let Some(count) = text.parse().ok().filter(|_| text.len() < ID_DIGITS_MIN) {
            return if count > 0 { Ok(Self::Count(count)) } else { Err(()) };
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        let is_bad = names.len() > EDGES_NAMED_MAX || names.iter().any(String::is_empty);
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
        let Some(status) = &self.status else { return write!(f, "{} was never heard", self.edge) };
        write!(f, "{} is at {}", self.edge, status.served_revision)?;
        match (status.behind_revisions, status.lag_ms) {
            (Some(behind), Some(lag_ms)) => write!(f, ", {behind} behind for {lag_ms} ms")?,
            (Some(behind), None) => write!(f, ", {behind} behind")?,
            (None, _) => write!(f, " of another history")?,
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

/// Waits until edges answer a revision, `until` at most; `None` at a node that no edge follows.
pub(crate) async fn wait(
    node: &NodeState,
    wanted: &WantedEdges,
    revision: u64,
    until: Instant,
) -> Option<EdgesAnswer> {
    let mut news = node.mesh.as_ref()?.watch_fleet();
    if matches!(wanted, WantedEdges::All) {
        // Edges are back a moment after a start: without it "all" would be none.
        let returned = node.started_at + Duration::from_millis(EDGES_RETURN_MS);
        tokio::time::sleep_until(until.min(returned.into())).await;
    }
    let heard = heard(&feeds(node).await?);
    loop {
        news.borrow_and_update();
        let answer = look(&feeds(node).await?, wanted, &heard, revision);
        if answer.is_reached() || Instant::now() >= until {
            return Some(answer);
        }
        // Many edges with much news cost a look now and then, not one each.
        let pause = Instant::now() + Duration::from_millis(EDGES_LOOK_MS);
        if tokio::time::timeout_at(until, news.changed()).await.is_ok() {
            tokio::time::sleep_until(pause.min(until)).await;
        }
    }
}

/// The edges that are heard.
fn heard(feeds: &[FeedFleet]) -> BTreeSet<EdgeKey> {
    members(feeds)
        .filter(|(_, member, _)| member.is_heard())
        .map(|(feed, member, _)| (feed.namespace, member.edge.id))
        .collect()
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
    heard: &BTreeSet<EdgeKey>,
    revision: u64,
) -> EdgesAnswer {
    let mut answer = EdgesAnswer { revision, ..EdgesAnswer::default() };
    answer.silent = members(feeds).filter(|(_, member, _)| !member.is_heard()).count() as u64;
    let mut judge = |(feed, member, lag_ms): (&FeedFleet, &FleetMember, Option<u64>)| {
        if feed.answers(member, revision) {
            answer.answered += 1;
        } else {
            let status = feed.edge(member, lag_ms);
            let edge = status.name.clone().unwrap_or_else(|| status.id.clone());
            answer.lagging.push(LaggingEdge { edge, status: Some(status) });
        }
    };
    match wanted {
        WantedEdges::All => {
            let is_wanted = |feed: &FeedFleet, member: &FleetMember| {
                heard.contains(&(feed.namespace, member.edge.id))
            };
            members(feeds).filter(|(feed, member, _)| is_wanted(feed, member)).for_each(judge);
            answer.wanted = answer.answered + answer.lagging.len() as u64;
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
                    unknown.push(LaggingEdge { edge: name.clone(), status: None });
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
mod tests {
    use super::*;
    use crate::feed::HistoryId;
    use crate::feed::frame::fleet::{EdgeFacts, FleetEdge};
    use crate::feed::segment::Position;
    use crate::limits::EDGE_SILENT_MS;
    use crate::mesh::FleetState;

    /// The history that is written.
    const HISTORY: HistoryId = HistoryId { epoch: 2, id: 1 };

    /// An edge: its name, what it serves, of which history, and for how long it was not heard.
    fn member(
        name: &str,
        revision: u64,
        history: HistoryId,
        age_ms: u64,
    ) -> (FleetMember, Option<u64>) {
        let facts = EdgeFacts { name: Some(name.to_owned()), ..EdgeFacts::default() };
        let served = Position { revision, tag: 1 };
        let id = [name.as_bytes()[0] ^ age_ms as u8; 32];
        let edge = FleetEdge { id, history, served, facts, ..FleetEdge::default() };
        (FleetMember { edge, via: None, age_ms }, Some(7))
    }

    /// A feed at revision 9 with an edge that has it, one that lags, one of another history, and a silent one.
    fn feed() -> FeedFleet {
        let older = HistoryId { epoch: 1, id: 1 };
        let members = vec![
            member("a", 9, HISTORY, 0),
            member("b", 8, HISTORY, 0),
            member("c", 99, older, 0),
            member("d", 9, HISTORY, EDGE_SILENT_MS + 1),
        ];
        let state = FleetState { history: HISTORY, revision: 9, members, left_out: 0, evicted: 0 };
        FeedFleet { name: "main".to_owned(), namespace: [1; 32], state }
    }

    /// Looks for edges and returns `answered/wanted`, and those that lag.
    fn check(wanted: &str, revision: u64) -> String {
        let feeds = [feed()];
        let answer = look(&feeds, &wanted.parse().unwrap(), &heard(&feeds), revision);
        assert_eq!(answer.silent, 1);
        let lagging: Vec<String> = answer.lagging.iter().map(|edge| edge.edge.clone()).collect();
        format!("{}/{} {}", answer.answered, answer.wanted, lagging.join(" "))
    }

    #[test]
    fn all_are_those_that_are_heard_and_each_must_serve_this_history() {
        assert_eq!(check("all", 9), "1/3 b c");
        assert_eq!(check("All", 8), "2/3 c");
    }

    #[test]
    fn so_many_may_be_any() {
        assert_eq!(check("1", 9), "2/1 b c");
        assert_eq!(check("4", 9), "2/4 b c");
    }

    #[test]
    fn those_named_are_waited_for_though_they_are_silent_or_unknown() {
        assert_eq!(check("a", 9), "1/1 ");
        assert_eq!(check("a, b", 9), "1/2 b");
        assert_eq!(check("d", 9), "1/1 ");
        assert_eq!(check("d,nobody", 10), "0/2 d nobody");
    }

    #[test]
    fn an_edge_that_was_set_up_anew_is_meant_by_its_name_and_not_the_silent_one() {
        let mut feed = feed();
        feed.state.members.push(member("d", 10, HISTORY, 1));
        let feeds = [feed];
        let answer = look(&feeds, &"d".parse().unwrap(), &heard(&feeds), 10);
        assert_eq!((answer.answered, answer.wanted), (1, 1));
    }

    #[test]
    fn an_edge_that_falls_silent_while_it_is_waited_for_lags() {
        let mut feeds = [feed()];
        let before = heard(&feeds);
        feeds[0].state.members[1].0.age_ms = EDGE_SILENT_MS + 2_000;
        let answer = look(&feeds, &WantedEdges::All, &before, 9);
        assert_eq!((answer.answered, answer.wanted, answer.silent), (1, 3, 2));
        assert_eq!(
            answer.to_string(),
            "1 of 3 edges answer revision 9: b is at 8, 1 behind for 7 ms, silent for 7 s; c is at 99 of \
             another history"
        );
    }

    #[test]
    fn edges_are_all_a_number_or_names() {
        let read = |text: &str| text.parse::<WantedEdges>();
        assert_eq!(read(" all "), Ok(WantedEdges::All));
        assert_eq!(read("2"), Ok(WantedEdges::Count(2)));
        assert_eq!(read("00112233"), Ok(WantedEdges::Named(vec!["00112233".to_owned()])));
        let names = vec!["ams-1".to_owned(), "00112233".to_owned()];
        assert_eq!(read("ams-1, 00112233"), Ok(WantedEdges::Named(names)));
        let most = vec!["a"; EDGES_NAMED_MAX].join(",");
        assert!(read(&most).is_ok());
        for bad in ["", "0", ",", "a,,b", "a,", &format!("{most},a")] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
    }
}
