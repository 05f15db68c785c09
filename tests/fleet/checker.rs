//! Judges a history against the commits that were acknowledged.
//!
//! Commits of a zone make a chain, for each names the value on which alone it is made. So what was made is
//! known: what was acknowledged, and what an acknowledged commit, the store or every node in the end builds upon.
//!
//! **Invariant:** a history in which each rule was kept is never blamed: where times overlap, what favors the
//! nodes is believed.
//! **Not here:** how a history comes about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::history::overlap;
use crate::history::{Ask, Final, History, MEMBERS, Name, Round, SLOTS, Seen, Time, is_within};

/// For how much contact an answer may be out of date.
pub const STALE_MAX: Time = 5_000_000;
/// For how long a process that runs may be without an answer. Longer than a loaded machine leaves it waiting.
pub const SILENCE_MAX: Time = 2_000_000;

/// A rule that was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Breach {
    /// An acknowledged commit is not in the store, or not at a node in the end (`node`).
    Lost { zone: usize, value: u64, found: u64, node: Option<usize> },
    /// A value was seen that no commit had made by then.
    Invented { node: Option<usize>, zone: usize, value: u64, at: Time },
    /// An answer was out of date for too much contact.
    Stale { node: usize, zone: usize, value: u64, at: Time, by: Time },
    /// A node answered with less than before.
    WentBack { node: usize, zone: usize, before: u64, after: u64, at: Time },
    /// A name was behind another one of the same commit.
    Half { node: usize, zone: usize, whole: u64, half: Option<u64>, at: Time },
    /// One serial stands for two states of a zone.
    TwoStates { node: usize, zone: usize, serial: u32, states: [u64; 2] },
    /// A process that ran gave no answer.
    Silent { node: usize, zone: usize, from: Time, to: Time },
}

/// What became of a judgment.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub breaches: Vec<Breach>,
    /// Answers that were judged.
    pub judged: u64,
    /// The most contact for which an answer was out of date, and when that was asked for, of each node.
    pub stalest: Vec<(Time, Time)>,
    /// The longest time without an answer, of each node.
    pub longest_silence: Vec<Time>,
    /// Commits that were acknowledged, and those of which nobody knew.
    pub acknowledged: u64,
    pub unknown: u64,
}

/// Judges all of a history.
pub fn judge(history: &History) -> Verdict {
    let nodes = history.nodes.len();
    let mut verdict = Verdict {
        stalest: vec![(0, 0); nodes],
        longest_silence: vec![0; nodes],
        ..Verdict::default()
    };
    let zones = history.commits.iter().map(|commit| commit.zone + 1).max().unwrap_or(0);
    let chains: Vec<Chain> = (0..zones).map(|zone| Chain::of(history, zone)).collect();
    for commit in &history.commits {
        match commit.acknowledged {
            Some(_) => verdict.acknowledged += 1,
            None => verdict.unknown += 1,
        }
    }
    for (zone, chain) in chains.iter().enumerate() {
        verdict.breaches.extend(lost_on_the_way(history, zone, chain));
        for node in 0..nodes {
            let of = |round: &&Round| (round.node, round.zone) == (node, zone);
            let mut rounds: Vec<&Round> = history.rounds.iter().filter(of).collect();
            rounds.sort_by_key(|round| round.asks.first().map(|ask| ask.asked));
            judge_answers(history, chain, &rounds, &mut verdict);
            judge_order(&rounds, &mut verdict);
            judge_silence(history, &rounds, &mut verdict);
        }
        judge_serials(history, zone, &mut verdict);
    }
    for last in &history.finals {
        verdict.breaches.extend(lost_in_the_end(last, &chains[last.zone]));
    }
    verdict
}

/// What is known of the commits of one zone.
#[derive(Clone, Debug)]
struct Chain {
    /// Every commit's beginning by value, and the value that it names.
    asked: BTreeMap<u64, (Time, u64)>,
    /// When each acknowledged commit was.
    acknowledged: BTreeMap<u64, Time>,
    /// Commits of which it is certain that they were made.
    made: BTreeSet<u64>,
}

impl Chain {
    fn of(history: &History, zone: usize) -> Self {
        let commits = || history.commits.iter().filter(|commit| commit.zone == zone);
        let asked = commits().map(|commit| (commit.value, (commit.began, commit.base)));
        let acknowledged =
            commits().filter_map(|commit| Some((commit.value, commit.acknowledged?)));
        let readings = history.readings.iter().filter(|reading| reading.zone == zone);
        let mut chain =
            Self { asked: asked.collect(), acknowledged: acknowledged.collect(), made: [].into() };
        let acknowledged: Vec<u64> = chain.acknowledged.keys().copied().collect();
        let known = acknowledged.into_iter().chain(readings.map(|reading| reading.value));
        known.for_each(|value| chain.note_made(value));
        chain
    }

    /// Notes that a commit was made, and so all upon which it was built.
    fn note_made(&mut self, mut value: u64) {
        while let Some((_, base)) = self.asked.get(&value)
            && self.made.insert(value)
        {
            value = *base;
        }
    }

    /// Whether a value can have been seen by a time. The last ones may be those of which nobody knows.
    fn can_be_seen(&self, value: u64, by: Time) -> bool {
        let Some((began, _)) = self.asked.get(&value) else { return value == 0 };
        let is_open = self.made.last().is_none_or(|last| value > *last);
        (is_open || self.made.contains(&value)) && *began <= by
    }

    /// When a value had surely ceased to be the newest.
    fn replaced(&self, value: u64) -> Option<Time> {
        self.acknowledged.range(value + 1..).next().map(|(_, at)| *at)
    }
}

/// Finds acknowledged commits that later ones, or the store itself, know nothing of.
fn lost_on_the_way(history: &History, zone: usize, chain: &Chain) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let newest = |by: Time| {
        chain.acknowledged.iter().rev().find(|(_, at)| **at <= by).map_or(0, |(value, _)| *value)
    };
    for commit in history.commits.iter().filter(|commit| commit.zone == zone) {
        let expected = newest(commit.began);
        if commit.acknowledged.is_some() && commit.base < expected {
            let (value, found) = (expected, commit.base);
            breaches.push(Breach::Lost { zone, value, found, node: None });
        }
    }
    for reading in history.readings.iter().filter(|reading| reading.zone == zone) {
        let (value, found) = (newest(reading.asked), reading.value);
        if found < value {
            breaches.push(Breach::Lost { zone, value, found, node: None });
        }
        if !chain.can_be_seen(found, reading.answered) {
            let at = reading.answered;
            breaches.push(Breach::Invented { node: None, zone, value: found, at });
        }
    }
    breaches
}

/// Finds what a node lacks when all is healed and everybody has had the time to hear of it.
fn lost_in_the_end(last: &Final, chain: &Chain) -> Vec<Breach> {
    let (zone, node, at) = (last.zone, Some(last.node), Time::MAX);
    let newest = chain.made.last().copied().unwrap_or(0);
    let found = last.members.iter().flatten().copied().min().unwrap_or(0);
    let mut breaches = Vec::new();
    assert_eq!(last.members.len(), usize::from(MEMBERS), "all members are asked for");
    if let Some(half) = last.members.iter().find(|member| **member != Some(found)) {
        breaches.push(Breach::Half { node: last.node, zone, whole: newest, half: *half, at });
    }
    if found < newest {
        breaches.push(Breach::Lost { zone, value: newest, found, node });
    }
    if !chain.can_be_seen(found, at) {
        breaches.push(Breach::Invented { node, zone, value: found, at });
    }
    let mut below = Chain { made: [].into(), ..chain.clone() };
    below.note_made(found);
    for slot in 0..SLOTS {
        let is_of = |value: &&u64| **value % SLOTS == slot;
        let value = below.made.iter().rev().find(is_of).copied().unwrap_or(0);
        let found = last.slots.get(&slot).copied().unwrap_or(0);
        if found < value {
            breaches.push(Breach::Lost { zone, value, found, node });
        } else if found > value {
            breaches.push(Breach::Invented { node, zone, value: found, at });
        }
    }
    breaches
}

/// Judges each value by itself: it was made, and it was current not long ago.
fn judge_answers(history: &History, chain: &Chain, rounds: &[&Round], verdict: &mut Verdict) {
    for round in rounds {
        let (node, zone) = (round.node, round.zone);
        for ask in &round.asks {
            let Seen::Value(value) = ask.seen else { continue };
            verdict.judged += 1;
            if !chain.can_be_seen(value, ask.answered) {
                let at = ask.answered;
                verdict.breaches.push(Breach::Invented { node: Some(node), zone, value, at });
            }
            let Some(replaced) = chain.replaced(value) else { continue };
            if ask.name == Name::Odd {
                // It goes with an even value; that this one is gone is seen by the members.
                continue;
            }
            let by = overlap(&history.nodes[node].contact, replaced, ask.asked);
            verdict.stalest[node] = verdict.stalest[node].max((by, ask.asked));
            if by > STALE_MAX {
                verdict.breaches.push(Breach::Stale { node, zone, value, at: ask.asked, by });
            }
        }
    }
}

/// Judges values in their order: what was answered before a question was asked is the least that it shows,
/// whichever member it is about.
fn judge_order(rounds: &[&Round], verdict: &mut Verdict) {
    let mut newest: HashMap<Name, u64> = HashMap::new();
    let mut serial = 0;
    let mut last_answered = 0;
    for round in rounds {
        let (node, zone) = (round.node, round.zone);
        for ask in &round.asks {
            assert!(ask.asked >= last_answered, "a node is asked one after the other");
            last_answered = ask.answered;
            let at = ask.asked;
            if let Seen::Serial(now) = ask.seen {
                if now < serial {
                    let (before, after) = (serial.into(), now.into());
                    verdict.breaches.push(Breach::WentBack { node, zone, before, after, at });
                }
                serial = now;
            }
            let whole = newest.values().copied().max().unwrap_or(0);
            if (ask.seen, whole > 0) == (Seen::Absent, true) && ask.name != Name::Odd {
                verdict.breaches.push(Breach::Half { node, zone, whole, half: None, at });
            }
            let Seen::Value(value) = ask.seen else { continue };
            let before = newest.insert(ask.name, value).unwrap_or(0);
            if value < before {
                let after = value;
                verdict.breaches.push(Breach::WentBack { node, zone, before, after, at });
            } else if value < whole {
                let half = Some(value);
                verdict.breaches.push(Breach::Half { node, zone, whole, half, at });
            }
        }
    }
}

/// Judges rounds whose serial was the same before and after: all of one show one state, and a serial is the same
/// state everywhere.
fn judge_serials(history: &History, zone: usize, verdict: &mut Verdict) {
    let mut states: HashMap<u32, u64> = HashMap::new();
    for round in history.rounds.iter().filter(|round| round.zone == zone) {
        let (Some(first), Some(last)) = (round.asks.first(), round.asks.last()) else { continue };
        let (Seen::Serial(serial), Seen::Serial(after)) = (first.seen, last.seen) else { continue };
        if serial != after {
            continue;
        }
        let values = round.asks.iter().filter_map(|ask| match (ask.name, ask.seen) {
            (Name::Member(_), Seen::Value(value)) => Some(value),
            _ => None,
        });
        let Some(value) = values.max() else { continue };
        let node = round.node;
        let known = *states.entry(serial).or_insert(value);
        if known != value {
            let states = [known, value];
            verdict.breaches.push(Breach::TwoStates { node, zone, serial, states });
        }
        for ask in &round.asks {
            if let Some(half) = torn(ask, value) {
                let at = ask.asked;
                verdict.breaches.push(Breach::Half { node, zone, whole: value, half, at });
            }
        }
    }
}

/// Returns what an answer has, beside a state of the zone, that is not of it.
fn torn(ask: &Ask, value: u64) -> Option<Option<u64>> {
    match (ask.name, ask.seen) {
        (Name::Member(_), Seen::Absent) => Some(None),
        (Name::Member(_), Seen::Value(found)) => (found != value).then_some(Some(found)),
        (Name::Odd, Seen::Absent) => (value % 2 == 1).then_some(None),
        (Name::Odd, Seen::Value(found)) => (found != value).then_some(Some(found)),
        _ => None,
    }
}

/// Finds the times in which a process that ran had no answer to what it was asked.
fn judge_silence(history: &History, rounds: &[&Round], verdict: &mut Verdict) {
    let mut began: Option<Time> = None;
    for round in rounds {
        let (node, zone) = (round.node, round.zone);
        for ask in &round.asks {
            let is_answer = !matches!(ask.seen, Seen::Failed(_) | Seen::Nothing);
            let runs = &history.nodes[node].runs;
            if !is_within(runs, began.unwrap_or(ask.asked), ask.answered) {
                // It was killed or paused meanwhile.
                began = None;
                continue;
            }
            let from = began.unwrap_or(ask.asked);
            let len = ask.answered - from;
            verdict.longest_silence[node] = verdict.longest_silence[node].max(len);
            let to = ask.answered;
            match is_answer {
                true => began = None,
                false => began = Some(from),
            }
            if len > SILENCE_MAX {
                verdict.breaches.push(Breach::Silent { node, zone, from, to });
                began = None;
            }
        }
    }
}
