//! The checker on histories that break one rule each, and on the nearest ones that break none.

use std::collections::BTreeMap;

use crate::checker::{Breach, SILENCE_MAX, STALE_MAX, judge};
use crate::history::{
    Answerer, Ask, Commit, Final, History, MEMBERS, Name, Reading, Round, SLOTS, Seen, Span, Time,
};

const S: Time = 1_000_000;

/// Commits 1 to 9 of a zone, one a second and acknowledged a tenth later; two nodes that always run and hear.
fn history() -> History {
    let commit = |value: u64| Commit {
        zone: 0,
        value,
        base: value - 1,
        began: value * S,
        acknowledged: Some(value * S + S / 10),
    };
    let always = vec![Span { from: 0, to: 100 * S }];
    let node = Answerer { contact: always.clone(), runs: always };
    History { commits: (1..=9).map(commit).collect(), nodes: vec![node; 2], ..History::default() }
}

/// A round at a time: a value for each member, the odd name and the serials that belong to the first one.
fn round(node: usize, at: Time, members: [u64; 4]) -> Round {
    let odd = if members[0] % 2 == 1 { Seen::Value(members[0]) } else { Seen::Absent };
    let serial = Seen::Serial(100 + u32::try_from(members[0]).unwrap());
    let mut seen = vec![(Name::Apex, serial)];
    seen.extend(
        (0..MEMBERS).zip(members).map(|(at, value)| (Name::Member(at), Seen::Value(value))),
    );
    seen.extend([(Name::Odd, odd), (Name::Apex, serial)]);
    let asks = seen.into_iter().zip(0..).map(|((name, seen), step)| {
        let asked = at + step * 1_000;
        Ask { name, asked, answered: asked + 500, seen }
    });
    Round { node, zone: 0, asks: asks.collect() }
}

/// What a node has when a chain of commits 1 to `value` was made.
fn last(node: usize, value: u64) -> Final {
    let slots = (1..=value).map(|value| (value % SLOTS, value));
    let members = vec![Some(value); usize::from(MEMBERS)];
    Final { node, zone: 0, members, slots: slots.collect::<BTreeMap<_, _>>() }
}

fn breaches(history: &History) -> Vec<Breach> {
    judge(history).breaches
}

/// The rounds that one node answered.
fn of_rounds(rounds: &[Round]) -> Vec<Breach> {
    breaches(&History { rounds: rounds.to_vec(), ..history() })
}

#[test]
fn a_history_without_a_fault_is_not_blamed() {
    let mut good = history();
    good.rounds =
        (2..9).flat_map(|at| [0, 1].map(|node| round(node, at * S + S / 2, [at; 4]))).collect();
    good.finals = vec![last(0, 9), last(1, 9)];
    good.readings = vec![Reading { zone: 0, value: 9, asked: 10 * S, answered: 11 * S }];
    let verdict = judge(&good);
    assert_eq!(verdict.breaches, []);
    let values = 7 * 2 * 4 + 3 * 2;
    assert_eq!((verdict.judged, verdict.acknowledged, verdict.unknown), (values, 9, 0));
}

#[test]
fn an_acknowledged_commit_that_no_node_has_in_the_end_is_lost() {
    let mut history = history();
    history.finals = vec![last(0, 9), last(1, 8)];
    let lost = Breach::Lost { zone: 0, value: 9, found: 8, node: Some(1) };
    // The member and the slot both say so.
    assert_eq!(breaches(&history)[0], lost);
    // One that nobody acknowledged may be there or not.
    history.commits[8].acknowledged = None;
    assert_eq!(breaches(&history), []);
}

#[test]
fn an_acknowledged_commit_in_the_midst_is_missed_by_its_slot() {
    let mut history = history();
    history.finals = vec![last(0, 9)];
    history.finals[0].slots.remove(&5);
    assert_eq!(breaches(&history), [Breach::Lost { zone: 0, value: 5, found: 0, node: Some(0) }]);
    // Upon one that was never made nothing was built.
    history.commits[4].acknowledged = None;
    history.commits[5].base = 4;
    assert_eq!(breaches(&history), []);
    history.finals[0].slots.insert(5, 5);
    assert_eq!(
        breaches(&history),
        [Breach::Invented { node: Some(0), zone: 0, value: 5, at: Time::MAX }]
    );
}

#[test]
fn an_acknowledged_commit_of_which_the_next_one_knows_nothing_is_lost() {
    let mut history = history();
    history.commits[5].base = 4;
    assert_eq!(breaches(&history), [Breach::Lost { zone: 0, value: 5, found: 4, node: None }]);
    // It was acknowledged only after the next one was begun.
    history.commits[4].acknowledged = Some(6 * S + 1);
    assert_eq!(breaches(&history), []);
}

#[test]
fn a_store_that_reads_less_than_was_acknowledged_has_lost_it() {
    let read = |value, asked| {
        let readings = vec![Reading { zone: 0, value, asked, answered: asked + S / 10 }];
        breaches(&History { readings, ..history() })
    };
    let acknowledged = 5 * S + S / 10;
    assert_eq!(read(4, acknowledged), [Breach::Lost { zone: 0, value: 5, found: 4, node: None }]);
    assert_eq!(read(4, acknowledged - 1), []);
}

#[test]
fn an_answer_that_was_replaced_before_the_last_five_seconds_of_contact_is_stale() {
    // The first member is asked a millisecond after the serial.
    let at = |first: Time| of_rounds(&[round(0, first - 1_000, [3; 4])]);
    let latest = 4 * S + S / 10 + STALE_MAX;
    assert_eq!(at(latest - 3_000), [], "the last member was within the time");
    let stale = at(latest - 2_000);
    let (node, zone, value) = (0, 0, 3);
    let (at, by) = (latest + 1_000, STALE_MAX + 1_000);
    assert_eq!(stale, [Breach::Stale { node, zone, value, at, by }]);
}

#[test]
fn a_node_that_was_cut_off_may_answer_what_it_has() {
    let mut history = history();
    history.rounds = vec![round(0, 60 * S, [3; 4])];
    assert_ne!(breaches(&history), []);
    // 4.9 s of contact since it was replaced, in two parts.
    let cut = [(0, 6), (50, 53)].map(|(from, to)| Span { from: from * S, to: to * S });
    history.nodes[0].contact = cut.to_vec();
    assert_eq!(breaches(&history), []);
    history.nodes[0].contact[1].to += S / 5;
    assert!(matches!(breaches(&history)[0], Breach::Stale { .. }));
}

#[test]
fn an_answer_that_nobody_had_asked_to_be_written_by_then_is_invented() {
    let invented = of_rounds(&[round(0, 4 * S - 4_000, [4; 4])]);
    assert!(matches!(invented[0], Breach::Invented { value: 4, .. }), "{invented:?}");
    assert_eq!(of_rounds(&[round(0, 4 * S, [4; 4])]), [], "not acknowledged yet, but asked for");
    assert!(matches!(
        of_rounds(&[round(0, 20 * S, [77; 4])])[0],
        Breach::Invented { value: 77, .. }
    ));
}

#[test]
fn a_node_that_answers_less_than_before_went_back_in_contact_or_not() {
    let mut history = history();
    history.nodes[0].contact.clear();
    history.rounds = vec![round(0, 7 * S, [5; 4]), round(0, 8 * S, [4; 4])];
    let back = breaches(&history);
    assert!(back.contains(&Breach::WentBack {
        node: 0,
        zone: 0,
        before: 105,
        after: 104,
        at: 8 * S
    }));
    assert!(back.contains(&Breach::WentBack {
        node: 0,
        zone: 0,
        before: 5,
        after: 4,
        at: 8 * S + 1_000
    }));
    // Another one is another one.
    history.rounds[1].node = 1;
    assert_eq!(breaches(&history), []);
}

#[test]
fn a_name_that_is_behind_another_one_of_its_commit_is_half_a_commit() {
    let half = |breach: &Breach| matches!(breach, Breach::Half { whole: 5, half: Some(4), .. });
    assert!(of_rounds(&[round(0, 5 * S + S / 2, [5, 4, 5, 5])]).iter().all(half));
    assert!(of_rounds(&[round(0, 5 * S + S / 2, [5, 5, 5, 4])]).iter().any(half));
    // A commit that arrives between two questions, whose serial is a later one then.
    let mut between = round(0, 5 * S + S / 2, [4, 4, 5, 5]);
    between.asks[5].seen = Seen::Value(5);
    assert!(of_rounds(&[between.clone()]).iter().any(half), "the serial stood still");
    between.asks[6].seen = Seen::Serial(105);
    assert_eq!(of_rounds(&[between]), []);
}

#[test]
fn a_name_that_is_there_or_not_against_the_rest_is_half_a_commit() {
    let at = 6 * S + S / 2;
    for (value, seen) in [(6, Seen::Value(5)), (5, Seen::Absent), (6, Seen::Value(6))] {
        let mut round = round(0, at, [value; 4]);
        assert_eq!(of_rounds(&[round.clone()]), []);
        round.asks[5].seen = seen;
        let is_half = matches!(of_rounds(&[round])[..], [Breach::Half { .. }, ..]);
        assert_eq!(is_half, seen != Seen::Value(6), "{value} {seen:?}");
    }
    let mut gone = round(0, at, [6; 4]);
    gone.asks[3].seen = Seen::Absent;
    assert!(matches!(of_rounds(&[gone])[0], Breach::Half { half: None, .. }));
}

#[test]
fn a_serial_of_two_states_is_seen_also_at_two_nodes() {
    let mut rounds = [round(0, 5 * S + S / 2, [5; 4]), round(1, 5 * S + S / 2, [4; 4])];
    assert_eq!(of_rounds(&rounds), []);
    for at in [0, 6] {
        rounds[1].asks[at].seen = Seen::Serial(105);
    }
    let two = Breach::TwoStates { node: 1, zone: 0, serial: 105, states: [5, 4] };
    assert_eq!(of_rounds(&rounds), [two]);
}

#[test]
fn a_process_that_runs_and_gives_no_answer_for_too_long_is_silent() {
    let ask = |asked: Time, seen| {
        let asks = vec![Ask { name: Name::Apex, asked, answered: asked + S / 2, seen }];
        Round { node: 0, zone: 0, asks }
    };
    for no_answer in [Seen::Nothing, Seen::Failed(2), Seen::Failed(5)] {
        let silent = |until: Time| {
            let mut history = history();
            history.rounds =
                (0..).map(|step| ask(10 * S + step * S / 2, no_answer)).take(3).collect();
            history.rounds.push(ask(until - S / 2, Seen::Serial(109)));
            history
        };
        let most = 10 * S + SILENCE_MAX;
        assert_eq!(breaches(&silent(most)), []);
        let mut history = silent(most + 1);
        let (node, zone, from, to) = (0, 0, 10 * S, most + 1);
        assert_eq!(breaches(&history), [Breach::Silent { node, zone, from, to }]);
        // It was paused meanwhile.
        let runs = [(0, 11 * S), (11 * S + 1, 100 * S)].map(|(from, to)| Span { from, to });
        history.nodes[0].runs = runs.to_vec();
        assert_eq!(breaches(&history), []);
    }
}
