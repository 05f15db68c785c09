//! What a run has seen: the commits that were asked for, what nodes answered, and who could hear of what.
//!
//! All times are microseconds since the run began, by one clock that never steps.
//!
//! **Invariant:** of one zone, values only rise, and one writer makes them one after the other.
//! **Not here:** what of it is wrong (`checker`).

use std::collections::BTreeMap;

/// Microseconds since the run began.
pub type Time = u64;

/// From when until when something held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    pub from: Time,
    pub to: Time,
}

/// A commit that was asked for: every member of its zone gets its value.
#[derive(Clone, Debug)]
pub struct Commit {
    pub zone: usize,
    pub value: u64,
    /// The value on which alone it is made.
    pub base: u64,
    pub began: Time,
    /// When it was acknowledged; none if nobody said whether it was made.
    pub acknowledged: Option<Time>,
}

/// What the store said of a zone when it was asked.
#[derive(Clone, Debug)]
pub struct Reading {
    pub zone: usize,
    pub value: u64,
    pub asked: Time,
    pub answered: Time,
}

/// What was asked for in a zone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Name {
    /// The apex, for its serial.
    Apex,
    /// One of the names that every commit writes.
    Member(u8),
    /// The name that is there when the value is odd, and is not when it is even.
    Odd,
}

/// What came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    Serial(u32),
    Value(u64),
    /// The name is not there.
    Absent,
    /// An RCODE that is no answer.
    Failed(u8),
    /// No reply came in time.
    Nothing,
}

/// One question and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub name: Name,
    pub asked: Time,
    pub answered: Time,
    pub seen: Seen,
}

/// Questions about one zone that a node was asked one after the other, the serial first and last.
#[derive(Clone, Debug)]
pub struct Round {
    pub node: usize,
    pub zone: usize,
    pub asks: Vec<Ask>,
}

/// What a node has of a zone when all is healed; slot S holds the last commit whose value leaves S.
#[derive(Clone, Debug)]
pub struct Final {
    pub node: usize,
    pub zone: usize,
    pub members: Vec<Option<u64>>,
    pub slots: BTreeMap<u64, u64>,
}

/// A node that answers.
#[derive(Clone, Debug, Default)]
pub struct Answerer {
    /// When it could hear of every commit.
    pub contact: Vec<Span>,
    /// When its process ran, and so had to answer.
    pub runs: Vec<Span>,
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub commits: Vec<Commit>,
    pub readings: Vec<Reading>,
    pub nodes: Vec<Answerer>,
    pub rounds: Vec<Round>,
    pub finals: Vec<Final>,
}

/// Names that every commit of a zone writes.
pub const MEMBERS: u8 = 4;
/// Slots of a zone: a commit also writes the one that its value leaves when it is divided by this.
pub const SLOTS: u64 = 32;

/// Returns for how long some spans last between two times.
pub fn overlap(spans: &[Span], from: Time, to: Time) -> Time {
    let within = |span: &Span| span.to.min(to).saturating_sub(span.from.max(from));
    spans.iter().map(within).sum()
}

/// Whether one of the spans holds from one time to another without a break.
pub fn is_within(spans: &[Span], from: Time, to: Time) -> bool {
    spans.iter().any(|span| span.from <= from && to <= span.to)
}
