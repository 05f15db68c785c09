//! Who could hear of every commit, and when: what the faults of a run left of the ways between its processes.
//!
//! **Invariant:** a node is in contact only if etcd could make commits, as a member said that the node, or each
//! authority that it hears, had an open way to. How long nodes need to find that way again counts as contact, and so does
//! an edge's full disk: what it answers is in memory. An authority's does not: what is imported is handed on from there.
//! **Not here:** what a node owes who is in contact (`checker`).

use crate::history::{Span, Time};

/// A process of the cast, by its place in it: members of etcd first, then authorities, then edges.
pub type Place = usize;

/// How many there are of each.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub members: usize,
    pub authorities: usize,
    pub edges: usize,
}

/// What changes the ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// The process runs and is ready, or is so no more.
    Runs(Place, bool),
    /// Packets pass from the one to the other, or pass no more.
    Passes(Place, Place, bool),
    /// The member of etcd says that a commit could be made, or says so no more.
    IsWell(Place, bool),
    /// The process has room on its disk, or has none.
    HasRoom(Place, bool),
}

/// What happened when.
pub type Timeline = Vec<(Time, Turn)>;

impl Shape {
    pub fn places(&self) -> usize {
        self.members + self.authorities + self.edges
    }

    pub fn is_member(&self, place: Place) -> bool {
        place < self.members
    }

    /// The places of the same sort.
    pub fn like(&self, place: Place) -> std::ops::Range<Place> {
        let edges = self.members + self.authorities;
        match place {
            _ if self.is_member(place) => 0..self.members,
            _ if self.is_authority(place) => self.members..edges,
            _ => edges..self.places(),
        }
    }

    pub fn is_authority(&self, place: Place) -> bool {
        !self.is_member(place) && place < self.members + self.authorities
    }
}

/// What holds at a time.
struct Ways {
    shape: Shape,
    runs: Vec<bool>,
    is_well: Vec<bool>,
    has_room: Vec<bool>,
    passes: Vec<Vec<bool>>,
}

impl Ways {
    fn linked(&self, one: Place, other: Place) -> bool {
        self.passes[one][other] && self.passes[other][one] && self.runs[one] && self.runs[other]
    }

    /// The members that say that a commit could be made.
    fn well(&self) -> impl Iterator<Item = Place> {
        (0..self.shape.members).filter(|member| self.is_well[*member])
    }

    /// Whether each place is in contact.
    fn contact(&self) -> Vec<bool> {
        let shape = self.shape;
        let authorities: Vec<Place> =
            (0..shape.places()).filter(|place| shape.is_authority(*place)).collect();
        let takes = |authority: &&Place| self.well().any(|member| self.linked(member, **authority));
        let taking: Vec<Place> = authorities.iter().filter(takes).copied().collect();
        let edges = shape.members + shape.authorities..shape.places();
        let mut contact = vec![false; shape.places()];
        for authority in &taking {
            contact[*authority] = true;
        }
        let reaches = |edge: Place, authority: Place| {
            let mut between = edges.clone().filter(|other| *other != edge);
            self.linked(edge, authority)
                || between.any(|other| self.linked(edge, other) && self.linked(other, authority))
        };
        for edge in edges.clone() {
            contact[edge] = !taking.is_empty()
                && self.runs[edge]
                && taking
                    .iter()
                    .all(|authority| self.has_room[*authority] && reaches(edge, *authority));
        }
        contact
    }
}

/// Returns when each place ran, and when it was in contact, until the end.
pub fn spans(shape: Shape, timeline: &Timeline, end: Time) -> (Vec<Vec<Span>>, Vec<Vec<Span>>) {
    let places = shape.places();
    let mut ways = Ways {
        shape,
        runs: vec![false; places],
        is_well: vec![false; places],
        has_room: vec![true; places],
        passes: vec![vec![true; places]; places],
    };
    let mut turns = timeline.clone();
    turns.sort_by_key(|(at, _)| *at);
    let (mut runs, mut contact) = (Spans::new(places), Spans::new(places));
    for (at, turn) in turns {
        match turn {
            Turn::Runs(place, runs) => ways.runs[place] = runs,
            Turn::Passes(from, to, passes) => ways.passes[from][to] = passes,
            Turn::IsWell(place, is_well) => ways.is_well[place] = is_well,
            Turn::HasRoom(place, has_room) => ways.has_room[place] = has_room,
        }
        runs.note(at, &ways.runs);
        contact.note(at, &ways.contact());
    }
    (runs.end(end), contact.end(end))
}

/// Spans of each place in the making.
struct Spans {
    began: Vec<Option<Time>>,
    spans: Vec<Vec<Span>>,
}

impl Spans {
    fn new(places: usize) -> Self {
        Self { began: vec![None; places], spans: vec![Vec::new(); places] }
    }

    fn note(&mut self, at: Time, holds: &[bool]) {
        for (place, holds) in holds.iter().enumerate() {
            match (self.began[place], holds) {
                (None, true) => self.began[place] = Some(at),
                (Some(from), false) => {
                    self.spans[place].push(Span { from, to: at });
                    self.began[place] = None;
                }
                _ => {}
            }
        }
    }

    fn end(mut self, at: Time) -> Vec<Vec<Span>> {
        let nothing = vec![false; self.began.len()];
        self.note(at, &nothing);
        self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { members: 3, authorities: 2, edges: 2 };

    /// Everybody runs, and every member is well.
    fn all_is_well(at: Time) -> Timeline {
        let runs = (0..SHAPE.places()).map(|place| (at, Turn::Runs(place, true)));
        runs.chain((0..SHAPE.members).map(|place| (at, Turn::IsWell(place, true)))).collect()
    }

    /// Who is in contact after some turns, all being well before.
    fn contact(turns: &[Turn]) -> Vec<Place> {
        let mut timeline = all_is_well(0);
        timeline.extend(turns.iter().map(|turn| (1, *turn)));
        let (_, contact) = spans(SHAPE, &timeline, 2);
        let is_now = |place: &Place| contact[*place].last().is_some_and(|span| span.to == 2);
        (0..SHAPE.places()).filter(is_now).collect()
    }

    fn cut(one: Place, other: Place) -> [Turn; 2] {
        [Turn::Passes(one, other, false), Turn::Passes(other, one, false)]
    }

    #[test]
    fn all_hear_of_all_while_nothing_is_wrong() {
        assert_eq!(contact(&[]), [3, 4, 5, 6]);
        assert_eq!(contact(&[Turn::IsWell(0, false)]), [3, 4, 5, 6]);
        assert_eq!(contact(&[Turn::HasRoom(5, false)]), [3, 4, 5, 6], "its answers are in memory");
        assert_eq!(contact(&[Turn::HasRoom(3, false)]), [3, 4], "what is imported waits");
    }

    #[test]
    fn nobody_hears_of_a_commit_while_no_member_that_is_well_can_be_reached() {
        let unwell: Vec<Turn> = (0..3).map(|member| Turn::IsWell(member, false)).collect();
        assert_eq!(contact(&unwell), [0; 0]);
        let dead: Vec<Turn> = (0..3).map(|member| Turn::Runs(member, false)).collect();
        assert_eq!(contact(&dead), [0; 0]);
        let one_way = |authority| (0..3).map(move |at| Turn::Passes(at, authority, false));
        assert_eq!(contact(&one_way(3).chain(one_way(4)).collect::<Vec<_>>()), [0; 0]);
    }

    #[test]
    fn an_authority_that_cannot_take_commits_is_not_needed() {
        assert_eq!(contact(&[Turn::Runs(3, false)]), [4, 5, 6]);
        let alone: Vec<Turn> = (0..3).flat_map(|member| cut(3, member)).collect();
        assert_eq!(contact(&alone), [4, 5, 6]);
    }

    #[test]
    fn an_edge_needs_a_way_to_each_authority_its_own_or_over_another_edge() {
        assert_eq!(contact(&cut(5, 3)), [3, 4, 5, 6], "the other edge passes it on");
        let turns = [cut(5, 3), cut(5, 6)].concat();
        assert_eq!(contact(&turns), [3, 4, 6]);
    }

    #[test]
    fn spans_begin_and_end_with_their_turns() {
        let turn = |at, runs| (at, Turn::Runs(5, runs));
        let mut timeline = all_is_well(10);
        timeline.extend([turn(20, false), turn(30, true)]);
        let expected = [(10, 20), (30, 40)].map(|(from, to)| Span { from, to });
        let (runs, contact) = spans(SHAPE, &timeline, 40);
        assert_eq!((&runs[5][..], &contact[5][..]), (&expected[..], &expected[..]));
    }
}
