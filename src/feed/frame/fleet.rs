//! What edges say of themselves, and of those that follow them, to whom they follow.
//!
//! One edge says all that is known of it in an item of its own length, so that a later version may say more
//! behind what this one knows. Ages are spans of time, added up on the way: no clock is compared with another.
//!
//! **Invariant:** texts that came from elsewhere hold no control characters; a name is one that could be given.
//! **Not here:** who is believed and for how long (`mesh::fleet`).

use super::{put_history, read_history};
use crate::feed::HistoryId;
use crate::feed::segment::{Position, put_position, read_position};
use crate::limits::{
    EDGE_ADDRESS_OCTETS_MAX, EDGE_ITEM_OCTETS_MAX, EDGE_NAME_OCTETS_MAX, EDGE_REASON_OCTETS_MAX,
    EDGE_VERSION_OCTETS_MAX, FLEET_REPORT_EDGES_MAX,
};
use crate::octets::{DecodeError, OctetReader, put_counted, put_varint};

/// What a follower says of itself and of those behind it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FleetReport {
    /// Edges that the follower knows of and has no room to tell.
    pub left_out: u32,
    /// The edges; the follower itself is the one with its own id.
    pub edges: Vec<FleetEdge>,
}

/// What is known of an edge.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FleetEdge {
    /// Its public key.
    pub id: [u8; 32],
    /// Through how many edges this came; 0 if from the edge itself.
    pub hops: u8,
    /// For how many milliseconds nothing was heard of it.
    pub age_ms: u32,
    /// The history that it serves; all zeros if that is not known.
    pub history: HistoryId,
    /// What it answers with.
    pub served: Position,
    /// Its status, by number.
    pub state: u8,
    /// Zones whose digest differs.
    pub differing: u32,
    /// For how many milliseconds it has not heard the author; `None` if it never has.
    pub beat_age_ms: Option<u32>,
    /// What its node says.
    pub facts: EdgeFacts,
    /// Where it is seen by whom it follows: an address and a port, or the URL of a relay.
    pub address: Option<String>,
}

/// What the node around an edge says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EdgeFacts {
    /// What its operator calls it.
    pub name: Option<String>,
    /// The version of the program.
    pub version: Option<String>,
    /// Queries in the last second; `None` where nobody counts them.
    pub queries_per_s: Option<u32>,
    /// Zones that it answers.
    pub zones: u32,
    /// Zones that are its own and answered with SERVFAIL.
    pub held: u32,
    /// What came of the feed and broke a rule since its start.
    pub refused: u32,
    /// The first zone that is held or refused, and why.
    pub reason: Option<String>,
    /// By how many seconds it follows behind on purpose; [`BEHIND_HELD_S`] if it stays where it is.
    pub behind_s: Option<u32>,
}

/// Whether a text may be the name of an edge: 1 to [`EDGE_NAME_OCTETS_MAX`] letters, digits, dots, hyphens and
/// underscores, the first a letter, so that it can stand in a list and is no number; `all` means every edge.
pub fn is_edge_name(text: &str) -> bool {
    let is_allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
    text.len() <= EDGE_NAME_OCTETS_MAX
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && text.bytes().all(is_allowed)
        && !text.eq_ignore_ascii_case(ALL_EDGES)
}

impl FleetReport {
    /// Appends the body; edges past the limit are counted as left out.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let told = &self.edges[..self.edges.len().min(FLEET_REPORT_EDGES_MAX)];
        let untold = (self.edges.len() - told.len()) as u32;
        put_varint(out, u64::from(self.left_out.saturating_add(untold)));
        put_varint(out, told.len() as u64);
        for edge in told {
            let mut item = Vec::new();
            edge.put(&mut item);
            debug_assert!(item.len() <= EDGE_ITEM_OCTETS_MAX, "no reader takes a longer one");
            put_counted(out, &item);
        }
    }

    /// Reads the body.
    pub(super) fn read(reader: &mut OctetReader<'_>) -> Result<Self, DecodeError> {
        let left_out = reader.varint("edges left out", u64::from(u32::MAX))? as u32;
        let count = reader.varint("count of edges", FLEET_REPORT_EDGES_MAX as u64)?;
        let mut edges = Vec::new();
        for _ in 0..count {
            let item = reader.counted("edge", EDGE_ITEM_OCTETS_MAX)?;
            // What a later version says behind what is known here is passed over.
            edges.push(FleetEdge::read(&mut OctetReader::new(item))?);
        }
        Ok(Self { left_out, edges })
    }
}

impl FleetEdge {
    /// Appends the item.
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        out.push(self.hops);
        out.extend_from_slice(&self.age_ms.to_be_bytes());
        put_history(out, self.history);
        put_position(out, self.served);
        out.push(self.state);
        let facts = &self.facts;
        let beat_age_ms = self.beat_age_ms.unwrap_or(NONE);
        let queries_per_s = facts.queries_per_s.unwrap_or(NONE);
        let numbers =
            [self.differing, beat_age_ms, queries_per_s, facts.zones, facts.held, facts.refused];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        put_text(out, facts.name.as_deref(), EDGE_NAME_OCTETS_MAX);
        put_text(out, facts.version.as_deref(), EDGE_VERSION_OCTETS_MAX);
        put_text(out, facts.reason.as_deref(), EDGE_REASON_OCTETS_MAX);
        put_text(out, self.address.as_deref(), EDGE_ADDRESS_OCTETS_MAX);
        // Older versions end here: what follows is there only where it says something.
        if let Some(behind_s) = facts.behind_s {
            out.push(BEHIND);
            out.extend_from_slice(&behind_s.to_be_bytes());
        }
    }

    /// Reads the item.
    fn read(reader: &mut OctetReader<'_>) -> Result<Self, DecodeError> {
        let known = |number: u32| (number != NONE).then_some(number);
        let mut edge = Self {
            id: reader.array("id of an edge")?,
            hops: reader.u8("hops")?,
            age_ms: reader.u32("age of a report")?,
            history: read_history(reader)?,
            served: read_position(reader)?,
            state: reader.u8("state")?,
            differing: reader.u32("zones that differ")?,
            beat_age_ms: known(reader.u32("age of a heartbeat")?),
            facts: EdgeFacts {
                queries_per_s: known(reader.u32("queries")?),
                zones: reader.u32("zones")?,
                held: reader.u32("zones held")?,
                refused: reader.u32("what was refused")?,
                name: read_text(reader, "name of an edge", EDGE_NAME_OCTETS_MAX)?
                    .filter(|name| is_edge_name(name)),
                version: read_text(reader, "version", EDGE_VERSION_OCTETS_MAX)?,
                reason: read_text(reader, "reason", EDGE_REASON_OCTETS_MAX)?,
                behind_s: None,
            },
            address: read_text(reader, "address", EDGE_ADDRESS_OCTETS_MAX)?,
        };
        // Anything else is of a later version.
        if reader.left() > 4 && reader.u8("what follows")? == BEHIND {
            edge.facts.behind_s = known(reader.u32("seconds behind")?);
        }
        Ok(edge)
    }
}

/// Appends a text, cut to its limit; an empty one is none.
fn put_text(out: &mut Vec<u8>, text: Option<&str>, octets_max: usize) {
    let text = text.unwrap_or_default();
    put_counted(out, &text.as_bytes()[..text.floor_char_boundary(octets_max)]);
}

/// Reads a text. It is shown on terminals: what would steer one becomes a blank.
fn read_text(
    reader: &mut OctetReader<'_>,
    what: &'static str,
    octets_max: usize,
) -> Result<Option<String>, DecodeError> {
    let text = reader.text(what, octets_max)?;
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok((!shown.is_empty()).then_some(shown))
}

/// What stands before the seconds behind.
const BEHIND: u8 = 1;
/// The seconds behind of an edge that stays where it is.
pub const BEHIND_HELD_S: u32 = u32::MAX - 1;
/// What stands for every edge where names are given.
pub const ALL_EDGES: &str = "all";
/// A number that is not known.
const NONE: u32 = u32::MAX;
