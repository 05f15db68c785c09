//! Reports and time in, the fleet as it is shown out.

use super::*;
use crate::feed::frame::fleet::EdgeFacts;
use crate::feed::segment::Position;

/// The feed.
const FEED: [u8; 32] = [7; 32];
/// This node.
const OWN: [u8; 32] = [0; 32];
/// Whom this node follows.
const UPSTREAM: [u8; 32] = [255; 32];
/// The history.
const HISTORY: HistoryId = HistoryId { epoch: 1, id: 2 };

fn id(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

fn edge(number: u64, revision: u64) -> FleetEdge {
    let served = Position { revision, tag: revision };
    FleetEdge { id: id(number), history: HISTORY, served, ..FleetEdge::default() }
}

/// What another edge tells of one.
fn told(number: u64, revision: u64, age_ms: u32) -> FleetEdge {
    FleetEdge { hops: 1, age_ms, ..edge(number, revision) }
}

/// An edge reports itself and others.
fn report(
    fleet: &mut Fleet,
    from: u64,
    revision: u64,
    others: Vec<FleetEdge>,
    now_ms: i64,
) -> bool {
    report_of(FEED, fleet, (from, revision), others, now_ms)
}

/// An edge of a feed reports itself and others.
fn report_of(
    feed: [u8; 32],
    fleet: &mut Fleet,
    (from, revision): (u64, u64),
    others: Vec<FleetEdge>,
    now_ms: i64,
) -> bool {
    let edges = std::iter::once(edge(from, revision)).chain(others).collect();
    let seen = (OWN, Some("192.0.2.1:53".to_owned()));
    fleet.take((feed, id(from)), from, FleetReport { left_out: 0, edges }, seen, now_ms)
}

/// The edges as `number revision age via`, in the order of their numbers.
fn shown(fleet: &mut Fleet, now_ms: i64) -> String {
    let number = |id: &[u8; 32]| id[..8].iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
    let mut members = fleet.list(FEED, now_ms).members;
    members.sort_unstable_by_key(|member| member.edge.id);
    let text = members.iter().map(|member| {
        let via = member.via.as_ref().map(|via| format!(" via {}", number(via)));
        let silent = if member.is_heard() { "" } else { " silent" };
        let (id, served) = (number(&member.edge.id), member.edge.served.revision);
        format!("{id} at {served} {} ms{silent}{}", member.age_ms, via.unwrap_or_default())
    });
    text.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_edge_behind_an_edge_is_known_by_its_own_key_and_by_who_tells_of_it() {
    let mut fleet = Fleet::default();
    assert!(report(&mut fleet, 1, 5, vec![told(2, 4, 100)], 1_000));
    assert_eq!(shown(&mut fleet, 1_010), "1 at 5 10 ms\n2 at 4 110 ms via 1");
    let member = fleet.list(FEED, 1_010).members.remove(0);
    assert_eq!(member.edge.address.as_deref(), Some("192.0.2.1:53"), "as it is seen");
    assert!(!report(&mut fleet, 1, 5, vec![told(2, 4, 50)], 1_100), "no news");
    assert!(report(&mut fleet, 1, 5, vec![told(2, 5, 50)], 1_200), "one serves more");
    assert!(!report(&mut fleet, 1, 5, vec![told(0, 9, 0)], 1_300), "of this node itself");
    assert_eq!(shown(&mut fleet, 1_300), "1 at 5 0 ms\n2 at 5 150 ms via 1");
    assert!(fleet.list([8; 32], 1_300).members.is_empty(), "another feed");
}

#[test]
fn what_others_say_never_stands_in_for_what_an_edge_says_itself() {
    let mut fleet = Fleet::default();
    report(&mut fleet, 2, 5, Vec::new(), 1_000);
    report(&mut fleet, 1, 5, vec![told(2, 99, 0)], 1_500);
    assert_eq!(shown(&mut fleet, 1_500), "1 at 5 0 ms\n2 at 5 500 ms");
    // It claims to be another one, with no hop between.
    report(&mut fleet, 1, 5, vec![edge(3, 99)], 1_500);
    assert_eq!(shown(&mut fleet, 1_500), "1 at 5 0 ms\n2 at 5 500 ms");
    fleet.leave((FEED, id(2)), 1);
    report(&mut fleet, 1, 5, vec![told(2, 6, 0)], 1_500);
    assert_eq!(shown(&mut fleet, 1_500), "1 at 5 0 ms\n2 at 5 500 ms", "an older connection's end");
    fleet.leave((FEED, id(2)), 2);
    report(&mut fleet, 1, 5, vec![told(2, 4, 600)], 1_500);
    assert_eq!(shown(&mut fleet, 1_500), "1 at 5 0 ms\n2 at 5 500 ms", "it is older");
    report(&mut fleet, 1, 5, vec![told(2, 6, 400)], 1_500);
    assert_eq!(shown(&mut fleet, 1_500), "1 at 5 0 ms\n2 at 6 400 ms via 1", "it has moved there");
    report(&mut fleet, 2, 7, Vec::new(), 1_500);
    assert_eq!(shown(&mut fleet, 1_500), "1 at 5 0 ms\n2 at 7 0 ms", "and is back");
}

#[test]
fn what_goes_round_among_edges_grows_no_younger() {
    let (mut one, mut two) = (Fleet::default(), Fleet::default());
    report(&mut one, 5, 1, Vec::new(), 0);
    one.leave((FEED, id(5)), 5);
    for round in 1..20 {
        let now_ms = round * 1_000;
        let (news, _) = one.news((FEED, 0), FleetNews::Heard, (id(1), id(2)), now_ms);
        report(&mut two, 1, 1, news, now_ms);
        let (news, _) = two.news((FEED, 0), FleetNews::Heard, (id(2), id(1)), now_ms);
        report(&mut one, 2, 1, news, now_ms);
        assert!(shown(&mut one, now_ms).contains(&format!("5 at 1 {now_ms} ms")), "{round}");
    }
    assert!(shown(&mut two, 20_000).contains("5 at 1 20000 ms silent via 1"));
}

#[test]
fn an_edge_that_is_gone_stays_silent_for_a_day_or_until_it_is_forgotten() {
    let mut fleet = Fleet::default();
    report(&mut fleet, 1, 5, vec![told(2, 5, 0)], 0);
    fleet.leave((FEED, id(1)), 1);
    let day = EDGE_FORGET_MS as i64;
    assert_eq!(shown(&mut fleet, 5_000), "1 at 5 5000 ms\n2 at 5 5000 ms via 1");
    assert_eq!(fleet.forget((FEED, id(1)), 5_000), Forgotten::IsHeard);
    assert_eq!(shown(&mut fleet, 5_001), "1 at 5 5001 ms silent\n2 at 5 5001 ms silent via 1");
    assert_eq!(fleet.forget((FEED, id(2)), 6_000), Forgotten::Done);
    assert_eq!(fleet.forget((FEED, id(2)), 6_000), Forgotten::Unknown);
    report(&mut fleet, 3, 5, vec![told(2, 5, 4_000)], 8_000);
    assert!(!shown(&mut fleet, 8_000).contains("2 at"), "of before it was forgotten");
    report(&mut fleet, 3, 5, vec![told(2, 5, 1_000)], 8_000);
    assert!(shown(&mut fleet, 8_000).contains("2 at"), "it was heard again");
    assert!(shown(&mut fleet, day).contains("1 at"));
    assert!(!shown(&mut fleet, day + 1).contains("1 at"));
}

#[test]
fn an_edge_of_an_older_version_is_known_by_less() {
    let mut fleet = Fleet::default();
    let short =
        EdgeReport { served: Position { revision: 4, tag: 4 }, state: 3, differing: 1, time_ms: 9 };
    let key = (FEED, id(1));
    assert!(fleet.take_short(key, 1, (short, None), None, 100));
    assert!(!fleet.take_short(key, 1, (short, None), None, 200));
    assert!(fleet.take_short(key, 1, (short, Some(HISTORY)), None, 300), "its history is known");
    let member = fleet.list(FEED, 300).members.remove(0);
    assert_eq!((member.edge.served.revision, member.edge.history), (4, HISTORY));
    assert_eq!((member.edge.facts, member.edge.differing), (EdgeFacts::default(), 1));
    // One that has said more, and says less until it is told what is taken.
    let facts = EdgeFacts { zones: 3, ..EdgeFacts::default() };
    let full = FleetEdge { facts: facts.clone(), ..edge(1, 5) };
    let full = FleetReport { left_out: 0, edges: vec![full] };
    fleet.take(key, 1, full, (OWN, None), 400);
    fleet.take_short(key, 2, (short, None), None, 500);
    assert_eq!(fleet.list(FEED, 500).members.remove(0).edge.facts, facts);
}

#[test]
fn news_come_once_the_oldest_first_as_many_as_fit() {
    let mut fleet = Fleet::default();
    let count = FLEET_HANDED_ON_MAX as u64 + 2;
    for number in 1..=count {
        report(&mut fleet, number, 1, Vec::new(), 0);
    }
    let ask = |fleet: &Fleet, since, news| {
        let (edges, last) = fleet.news((FEED, since), news, (OWN, UPSTREAM), 10);
        (edges.iter().map(|edge| edge.id).collect::<Vec<_>>(), last)
    };
    let (first, last) = ask(&fleet, 0, FleetNews::Changed);
    assert_eq!(first, (1..=count - 2).map(id).collect::<Vec<_>>());
    let (second, last) = ask(&fleet, last, FleetNews::Changed);
    assert_eq!(second, [id(count - 1), id(count)]);
    assert!(!report(&mut fleet, 4, 1, Vec::new(), 10));
    assert_eq!(ask(&fleet, last, FleetNews::Changed).0, [[0; 32]; 0]);
    assert_eq!(ask(&fleet, last, FleetNews::Heard).0, [id(4)]);
    report(&mut fleet, 5, 2, Vec::new(), 10);
    let (edges, _) = fleet.news((FEED, last), FleetNews::Changed, (OWN, UPSTREAM), 30);
    assert_eq!((edges[0].id, edges[0].hops, edges[0].age_ms), (id(5), 1, 20));
}

#[test]
fn nobody_is_told_of_itself_nor_of_what_came_too_far() {
    let mut fleet = Fleet::default();
    let far = |number, hops| FleetEdge { hops, ..told(number, 1, 0) };
    let others = vec![far(2, FLEET_HOPS_MAX - 1), far(3, FLEET_HOPS_MAX), told(255, 1, 0)];
    report(&mut fleet, 1, 1, others, 0);
    let (edges, _) = fleet.news((FEED, 0), FleetNews::Heard, (id(1), id(255)), 0);
    assert_eq!(edges.iter().map(|edge| edge.id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(edges[0].hops, FLEET_HOPS_MAX);
}

/// Fills the fleet with edges from a number on, as told by some in turn, each feed up to its limit; the last
/// ones are of the feed.
fn fill(fleet: &mut Fleet, first: u64, count: usize, now_ms: i64) {
    let told: Vec<FleetEdge> = (first..).take(count).map(|number| told(number, 1, 0)).collect();
    let vias = told.len().div_ceil(FLEET_EDGES_VIA_MAX);
    for (via, part) in (1..=vias).zip(told.chunks(FLEET_EDGES_VIA_MAX)) {
        let feed =
            [FEED[0] + ((vias - via) * FLEET_EDGES_VIA_MAX / FLEET_EDGES_TOLD_MAX) as u8; 32];
        report_of(feed, fleet, (via as u64, 1), part.to_vec(), now_ms);
    }
}

#[test]
fn at_the_limit_the_longest_silent_go_first_and_none_that_is_heard() {
    let mut fleet = Fleet::default();
    let (vias, first) = (FLEET_EDGES_MAX.div_ceil(FLEET_EDGES_VIA_MAX), 1_000);
    fill(&mut fleet, first, FLEET_EDGES_MAX - vias, 0);
    assert_eq!(fleet.edges.len(), FLEET_EDGES_MAX);
    let last = vias as u64;
    report(&mut fleet, last, 1, vec![told(90_000, 1, 0), told(90_001, 1, 0)], 100);
    report(&mut fleet, last, 1, vec![told(90_000, 1, 0)], 200);
    assert_eq!((fleet.edges.len(), fleet.left_out_of(FEED, 200)), (FLEET_EDGES_MAX, 2));
    assert!(!fleet.edges.contains_key(&(FEED, id(90_000))));
    assert_eq!(fleet.left_out_of(FEED, 5_101), 1, "one of them was not heard again");
    // One that follows us itself always has its place; another one makes room.
    report(&mut fleet, 500, 1, Vec::new(), 300);
    assert!(fleet.edges.contains_key(&(FEED, id(500))));
    assert_eq!((fleet.edges.len(), fleet.evicted()), (FLEET_EDGES_MAX, 1));
    // All but some are silent now: those make room, those heard do not.
    let kept = first + (last - 1) * FLEET_EDGES_VIA_MAX as u64 - 1;
    report(&mut fleet, last - 1, 1, vec![told(kept, 1, 0)], 6_000);
    report(&mut fleet, last, 1, vec![told(90_002, 1, 0)], 6_000);
    assert!(fleet.edges.contains_key(&(FEED, id(90_002))));
    assert!(fleet.edges.contains_key(&(FEED, id(kept))));
    assert_eq!((fleet.edges.len(), fleet.evicted()), (FLEET_EDGES_MAX, 2));
}

#[test]
fn one_follower_tells_of_so_many_and_no_more() {
    let mut fleet = Fleet::default();
    let count = FLEET_EDGES_VIA_MAX as u64;
    let many: Vec<FleetEdge> = (1_000..1_001 + count).map(|number| told(number, 1, 0)).collect();
    report(&mut fleet, 1, 1, many[..many.len() - 1].to_vec(), 0);
    assert_eq!((fleet.edges.len(), fleet.left_out_of(FEED, 0)), (FLEET_EDGES_VIA_MAX + 1, 0));
    report(&mut fleet, 1, 1, many, 0);
    assert_eq!((fleet.edges.len(), fleet.left_out_of(FEED, 0)), (FLEET_EDGES_VIA_MAX + 1, 1));
    let edges = vec![edge(2, 1)];
    let told = FleetReport { left_out: 10, edges };
    fleet.take((FEED, id(2)), 2, told, (OWN, None), 0);
    assert_eq!(fleet.left_out_of(FEED, 0), 11, "with those that others have no room for");
}

#[test]
fn what_is_told_of_one_feed_leaves_room_for_another_one() {
    let mut fleet = Fleet::default();
    let parts = FLEET_EDGES_TOLD_MAX / FLEET_EDGES_VIA_MAX;
    let many = |part: usize| (1_000 * part as u64..).take(FLEET_EDGES_VIA_MAX);
    for part in 1..=parts {
        let others = many(part).map(|number| told(number, 1, 0)).collect();
        report(&mut fleet, part as u64, 1, others, 0);
    }
    assert_eq!((fleet.edges.len(), fleet.left_out_of(FEED, 0)), (FLEET_EDGES_TOLD_MAX + parts, 0));
    report(&mut fleet, 100, 1, vec![told(90_000, 1, 0)], 0);
    assert!(!fleet.edges.contains_key(&(FEED, id(90_000))));
    assert!(fleet.edges.contains_key(&(FEED, id(100))), "who follows us itself is known");
    assert_eq!(fleet.left_out_of(FEED, 0), 1);
    report_of([9; 32], &mut fleet, (100, 1), vec![told(90_000, 1, 0)], 0);
    assert!(fleet.edges.contains_key(&([9; 32], id(90_000))));
}
