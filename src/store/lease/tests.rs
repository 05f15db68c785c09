//! Contenders for a lease in a world of their own: all orders of a few events, and long random lives.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::contender::{Contender, LeaseRow, LeaseTimes};

/// The lease of the tests.
const LENGTH: Duration = Duration::from_millis(1_200);

/// What one contender waits for.
#[derive(Clone)]
enum Asked {
    /// Nothing.
    Nothing,
    /// The engine has not heard of it: a row to be written in the place of another, or a look.
    Sent(Option<(Option<LeaseRow>, LeaseRow)>),
    /// The engine has done it, and what stood there then was not told yet.
    Done(Option<LeaseRow>),
}

/// An engine and those who want its lease, each at its own pace.
#[derive(Clone)]
struct World {
    began: Instant,
    now: Duration,
    row: Option<LeaseRow>,
    contenders: Vec<(Contender, Asked)>,
    /// Commits whose reply was lost, that may be made yet.
    late: Vec<(Option<LeaseRow>, LeaseRow)>,
    terms: Vec<(u64, usize)>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    /// A contender asks, its request is done, or it is told.
    Step(usize),
    /// A contender's request is lost, or its reply: it is told that nobody knows.
    Lose(usize),
    /// A lost request is done after all.
    Late,
    /// Time goes by.
    Wait,
}

impl World {
    fn new(count: usize) -> Self {
        let times = LeaseTimes::new(LENGTH.as_millis() as u64).unwrap();
        let contender = |at: usize| Contender::new(at as u128 + 1, &format!("n{at}"), times);
        let contenders = (0..count).map(|at| (contender(at), Asked::Nothing)).collect();
        Self {
            began: Instant::now(),
            now: Duration::ZERO,
            row: None,
            contenders,
            late: Vec::new(),
            terms: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.began + self.now
    }

    /// Makes a commit if what it expects stands there.
    fn commit(&mut self, expected: Option<&LeaseRow>, row: LeaseRow) {
        if self.row.as_ref() == expected {
            self.row = Some(row);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Wait => self.now += LENGTH / 6,
            Event::Late => {
                if let Some((expected, row)) = self.late.pop() {
                    self.commit(expected.as_ref(), row);
                }
            }
            Event::Lose(at) => {
                let asked = std::mem::replace(&mut self.contenders[at].1, Asked::Nothing);
                match asked {
                    Asked::Nothing => {}
                    Asked::Sent(commit) => self.late.extend(commit),
                    Asked::Done(_) => {}
                }
                self.contenders[at].0.fail(now);
            }
            Event::Step(at) => {
                let asked = std::mem::replace(&mut self.contenders[at].1, Asked::Nothing);
                let next = match asked {
                    Asked::Nothing => {
                        let contender = &mut self.contenders[at].0;
                        if contender.held_until().is_some_and(|until| until <= now) {
                            contender.run_out(now);
                        }
                        if contender.due(now) > now {
                            return;
                        }
                        let row = contender.ask(now);
                        Asked::Sent(row.map(|row| (contender.seen().cloned(), row)))
                    }
                    Asked::Sent(commit) => {
                        if let Some((expected, row)) = commit {
                            self.commit(expected.as_ref(), row);
                        }
                        Asked::Done(self.row.clone())
                    }
                    Asked::Done(row) => {
                        self.contenders[at].0.take(row, now);
                        Asked::Nothing
                    }
                };
                self.contenders[at].1 = next;
            }
        }
        self.check();
    }

    /// At most one holds the lease, and a term is that of one holder.
    fn check(&mut self) {
        let now = self.now();
        let held = self.contenders.iter().enumerate().filter_map(|(at, (contender, _))| {
            contender.state(now).held.map(|held| (held.term, at))
        });
        let held: Vec<(u64, usize)> = held.collect();
        assert!(held.len() <= 1, "two holders: {held:?}");
        let Some(held) = held.first() else { return };
        match self.terms.iter().find(|(term, _)| *term == held.0) {
            Some((_, holder)) => assert_eq!(*holder, held.1, "two holders of a term"),
            None => {
                let last = self.terms.last().map_or(0, |(term, _)| *term);
                assert!(held.0 > last, "terms rise");
                self.terms.push(*held);
            }
        }
    }

    /// All that may happen, in every order, so many events deep; returns how many worlds were seen, and in how
    /// many of the last ones the lease had gone over.
    fn explore(&self, events: &[Event], depth: u32) -> (u64, u64) {
        if depth == 0 {
            return (1, u64::from(self.terms.len() > 1));
        }
        let (mut worlds, mut gone_over) = (1, 0);
        for event in events {
            let is_idle = |at: usize| matches!(self.contenders[at].1, Asked::Nothing);
            let is_of_no_use = match event {
                Event::Lose(at) => is_idle(*at),
                Event::Late => self.late.is_empty(),
                Event::Step(_) | Event::Wait => false,
            };
            if is_of_no_use {
                continue;
            }
            let mut world = self.clone();
            world.happen(*event);
            let seen = world.explore(events, depth - 1);
            worlds += seen.0;
            gone_over += seen.1;
        }
        (worlds, gone_over)
    }
}

#[test]
fn no_two_hold_it_in_whatever_order_things_happen_around_a_take_over() {
    use Event::{Late, Lose, Step, Wait};
    let mut world = World::new(2);
    // The first holds it; the second has looked often enough, and long ago.
    for event in [Step(0), Step(0), Step(0), Step(0), Step(0), Step(0)] {
        world.happen(event);
    }
    assert_eq!(world.terms, [(1, 0)]);
    for _ in 0..4 {
        for event in [Step(1), Step(1), Step(1), Wait] {
            world.happen(event);
        }
    }
    let events = [Step(0), Step(1), Lose(0), Late, Wait];
    let (worlds, gone_over) = world.explore(&events, 10);
    println!("{worlds} worlds, gone over in {gone_over}");
    assert!(worlds > 200_000 && gone_over > 100);
}

#[test]
fn no_two_hold_it_in_long_lives_of_three() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut holdings = 0;
    for _ in 0..300 {
        let mut world = World::new(3);
        // Some are paused for a while, as by a system that swaps.
        let mut paused = [0_u32; 3];
        for _ in 0..400 {
            let at = rng.random_range(0..3);
            if rng.random_range(0..100) == 0 {
                paused[at] = rng.random_range(0..60);
            }
            paused.iter_mut().for_each(|left| *left = left.saturating_sub(1));
            let event = match rng.random_range(0..12) {
                0..2 => Event::Wait,
                2 => Event::Lose(at),
                3 => Event::Late,
                _ => Event::Step(at),
            };
            let is_paused = paused[at] > 0 && matches!(event, Event::Step(_) | Event::Lose(_));
            if !is_paused {
                world.happen(event);
            }
        }
        holdings += world.terms.len();
    }
    assert!(holdings > 300, "{holdings} holdings");
}

#[test]
fn one_that_gives_it_back_is_followed_at_once_and_one_that_dies_after_the_lease() {
    let mut world = World::new(2);
    let run = |world: &mut World, at: usize, turns: u32| {
        for _ in 0..turns {
            (0..3).for_each(|_| world.happen(Event::Step(at)));
        }
    };
    run(&mut world, 0, 2);
    run(&mut world, 1, 1);
    assert_eq!(world.terms, [(1, 0)]);
    let given_back = world.contenders[0].0.resign().unwrap();
    world.row = Some(given_back);
    world.now += LENGTH / 6;
    run(&mut world, 1, 2);
    assert_eq!(world.terms, [(1, 0), (2, 1)]);
    // The second is heard of no more.
    let died = world.now;
    while world.terms.len() < 3 {
        run(&mut world, 0, 1);
        world.now += LENGTH / 12;
        assert!(world.now < died + LENGTH * 2, "nobody takes it");
    }
    assert!(world.now - died >= LENGTH);
}

#[test]
fn a_holder_that_is_told_late_of_its_beat_raises_it_again_before_it_runs_out() {
    let times = LeaseTimes::new(LENGTH.as_millis() as u64).unwrap();
    let (mut holder, began) = (Contender::new(1, "n", times), Instant::now());
    holder.take(None, began);
    let first = holder.ask(began);
    holder.take(first, began);
    let asked = holder.due(began);
    assert_eq!(asked, began + LENGTH / 5);
    let beat = holder.ask(asked);
    // Its member was silent, and another one says that it was made.
    let told = asked + LENGTH / 2;
    holder.take(beat, told);
    assert_eq!(holder.held_until(), Some(asked + LENGTH * 2 / 3));
    assert_eq!(holder.due(told), told);
    let beat = holder.ask(told);
    holder.take(beat, told);
    assert_eq!(holder.due(told), told + LENGTH / 5);
}

#[test]
fn a_row_reads_back_and_rubbish_is_an_error() {
    for holder in [None, Some(u128::MAX), Some(7)] {
        let row = LeaseRow { holder, name: "a \"node\"".to_owned(), term: u64::MAX, beat: 3 };
        assert_eq!(LeaseRow::decode(&row.encode()).unwrap(), row);
    }
    for octets in [&b""[..], b"{}", br#"{"holder":"7","name":"","term":1,"beat":1}"#] {
        assert!(LeaseRow::decode(octets).is_err());
    }
}

#[test]
fn a_lease_is_neither_too_short_nor_too_long() {
    use crate::limits::{LEASE_MS_MAX, LEASE_MS_MIN};
    for ms in [LEASE_MS_MIN, LEASE_MS_MAX] {
        LeaseTimes::new(ms).unwrap();
    }
    for ms in [0, LEASE_MS_MIN - 1, LEASE_MS_MAX + 1] {
        assert!(LeaseTimes::new(ms).unwrap_err().to_string().contains(&ms.to_string()));
    }
}
