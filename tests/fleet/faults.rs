//! What is done to the processes of a fleet, drawn from a seed, and undone after a while.
//!
//! **Invariant:** one seed draws the same faults; each is undone, and a process has one at a time.
//! **Not here:** how a process is ended, or a way is cut (`cast`, `ways`).

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Formatter};
use std::time::{Duration, Instant};

use crate::cast::Cast;
use crate::contact::{Place, Shape, Turn};
use crate::seeded::Seeded;
use crate::ways::Ways;

/// Faults that last at the same time. More would leave nobody in contact for the whole of a run.
const FAULTS_MAX: usize = 2;
/// Between two faults, in milliseconds.
const REST_MS: (u64, u64) = (300, 2_500);
/// How far clocks are stepped, in seconds.
const STEPS_S: [i64; 8] = [-3, 3, -60, 60, -7_200, 7_200, -31_536_000, 31_536_000];

/// What is done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    Kill,
    /// All processes of a sort are killed at once.
    Outage,
    Pause,
    /// Cut off from everybody.
    Isolate,
    /// Cut off from one other process, both ways.
    Cut,
    /// Not heard by one other process.
    Mute,
    Slow,
    Lossy,
    Full,
    Step,
}

/// Every kind, to draw from.
const KINDS: [Kind; 10] = [
    Kind::Kill,
    Kind::Outage,
    Kind::Pause,
    Kind::Isolate,
    Kind::Cut,
    Kind::Mute,
    Kind::Slow,
    Kind::Lossy,
    Kind::Full,
    Kind::Step,
];

/// What every run has first, and how long it lasts in milliseconds: each kind, and processes of each sort; where there
/// is a second one, it follows.
const SCRIPT: [(Kind, Place, Place, u64); 13] = [
    // Both authorities ask this one, and commits are made without it: who writes the feed loses the lease, and who
    // might take it hears as little.
    (Kind::Isolate, 0, 0, 7_000),
    (Kind::Kill, 3, 0, SHORT_MS),
    (Kind::Pause, 0, 0, SHORT_MS),
    (Kind::Isolate, 4, 0, SHORT_MS),
    (Kind::Cut, 6, 3, SHORT_MS),
    (Kind::Mute, 1, 2, SHORT_MS),
    (Kind::Slow, 3, 0, SHORT_MS),
    (Kind::Lossy, 5, 0, SHORT_MS),
    (Kind::Full, 3, 0, SHORT_MS),
    (Kind::Full, 6, 0, SHORT_MS),
    (Kind::Full, 1, 0, SHORT_MS),
    (Kind::Step, 4, 0, SHORT_MS),
    (Kind::Outage, 3, 0, SHORT_MS),
];
/// How long most of those last.
const SHORT_MS: u64 = 1_300;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    kind: Kind,
    place: Place,
    /// Where there is a second one.
    other: Place,
    lasts_ms: u64,
    by_s: i64,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} p{}", self.kind, self.place)?;
        match self.kind {
            Kind::Cut | Kind::Mute => write!(f, " p{}", self.other)?,
            Kind::Step => write!(f, " {} s", self.by_s)?,
            _ => {}
        }
        write!(f, " for {} ms", self.lasts_ms)
    }
}

impl Fault {
    /// Draws a fault.
    pub fn draw(random: &mut Seeded, shape: Shape) -> Self {
        let kind = KINDS[random.below(KINDS.len())];
        let place = match kind {
            // Clocks of members do not go by the library that is stepped.
            Kind::Step => shape.members + random.below(shape.places() - shape.members),
            _ => random.below(shape.places()),
        };
        let other = (place + 1 + random.below(shape.places() - 1)) % shape.places();
        let most_ms = match kind {
            Kind::Kill | Kind::Outage => 4_000,
            Kind::Full => 5_000,
            _ => 8_000,
        };
        let lasts_ms = 500 + random.word() % most_ms;
        let by_s = STEPS_S[random.below(STEPS_S.len())];
        Self { kind, place, other, lasts_ms, by_s }
    }

    /// The faults that every run has.
    fn script() -> impl Iterator<Item = Self> {
        let fault = |(kind, place, other, lasts_ms)| {
            let by_s = STEPS_S[4];
            Self { kind, place, other, lasts_ms, by_s }
        };
        SCRIPT.into_iter().map(fault)
    }

    /// The processes that it is done to.
    fn places(&self, shape: Shape) -> Vec<Place> {
        match self.kind {
            Kind::Cut | Kind::Mute => vec![self.place, self.other],
            Kind::Outage => shape.like(self.place).collect(),
            _ => vec![self.place],
        }
    }

    /// The ways that it is done to.
    fn ways(&self, shape: Shape) -> Vec<(Place, Place)> {
        let both = |other: Place| [(self.place, other), (other, self.place)];
        match self.kind {
            Kind::Mute => vec![(self.place, self.other)],
            Kind::Cut => both(self.other).to_vec(),
            Kind::Isolate | Kind::Slow | Kind::Lossy => {
                (0..shape.places()).filter(|other| *other != self.place).flat_map(both).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Does faults, and undoes them.
pub struct Faults<'a> {
    pub cast: &'a mut Cast,
    pub ways: &'a Ways,
    /// Those that last, and until when.
    lasting: Vec<(Instant, Fault)>,
    /// How many faults hold each way.
    held: HashMap<(Kind, Place, Place), u32>,
    /// How many of each kind there were.
    pub counts: BTreeMap<Kind, u32>,
}

impl<'a> Faults<'a> {
    pub fn new(cast: &'a mut Cast, ways: &'a Ways) -> Self {
        let (lasting, held, counts) = (Vec::new(), HashMap::new(), BTreeMap::new());
        Self { cast, ways, lasting, held, counts }
    }

    /// Does what every run has, one after the other.
    pub fn run_script(&mut self) {
        for fault in Fault::script() {
            self.begin(fault);
            while !self.lasting.is_empty() {
                self.tick();
            }
            // What it has upset settles, so that the next one finds it whole.
            self.rest(Duration::from_millis(700));
        }
    }

    /// Does faults at random for some time.
    pub fn run(&mut self, random: &mut Seeded, lasts: Duration) {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            let shape = self.cast.shape;
            let fault = Fault::draw(random, shape);
            let rest_ms = REST_MS.0 + random.word() % (REST_MS.1 - REST_MS.0);
            self.rest(Duration::from_millis(rest_ms));
            let is_hit = |place: &Place| {
                self.lasting.iter().any(|(_, other)| other.places(shape).contains(place))
            };
            let is_free = !fault.places(shape).iter().any(is_hit);
            if is_free && self.lasting.len() < FAULTS_MAX {
                self.begin(fault);
            }
        }
    }

    /// Undoes all that lasts.
    pub fn end_all(&mut self) {
        for (_, fault) in std::mem::take(&mut self.lasting) {
            self.end(fault);
        }
        self.cast.start_all();
    }

    fn rest(&mut self, lasts: Duration) {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            self.tick();
        }
    }

    fn tick(&mut self) {
        std::thread::sleep(Duration::from_millis(10));
        let now = Instant::now();
        let (over, lasting) = self.lasting.iter().partition(|(until, _)| *until <= now);
        self.lasting = lasting;
        let over: Vec<(Instant, Fault)> = over;
        over.into_iter().for_each(|(_, fault)| self.end(fault));
        self.cast.tend();
    }

    fn begin(&mut self, fault: Fault) {
        let is_possible = match fault.kind {
            Kind::Slow => self.ways.can_be_slow,
            Kind::Step => self.cast.can_step_clocks(),
            _ => true,
        };
        if !is_possible {
            return;
        }
        println!("{:>9} {fault}", self.cast.record.now() / 1_000);
        *self.counts.entry(fault.kind).or_default() += 1;
        match fault.kind {
            Kind::Kill | Kind::Outage => {
                let places = fault.places(self.cast.shape);
                places.into_iter().for_each(|place| self.cast.kill(place));
            }
            Kind::Pause => self.cast.pause(fault.place, true),
            Kind::Full => self.cast.fill(fault.place, true),
            Kind::Step => self.cast.step_clock(fault.place, fault.by_s),
            _ => self.change_ways(fault, true),
        }
        let until = Instant::now() + Duration::from_millis(fault.lasts_ms);
        self.lasting.push((until, fault));
    }

    fn end(&mut self, fault: Fault) {
        match fault.kind {
            Kind::Kill | Kind::Outage => {
                let places = fault.places(self.cast.shape);
                places.into_iter().for_each(|place| self.cast.start(place));
            }
            Kind::Pause => self.cast.pause(fault.place, false),
            Kind::Full => self.cast.fill(fault.place, false),
            Kind::Step => self.cast.step_clock(fault.place, 0),
            _ => self.change_ways(fault, false),
        }
    }

    /// Does something to the ways of a fault, or undoes it where no other fault does the same.
    fn change_ways(&mut self, fault: Fault, is_held: bool) {
        let kind = match fault.kind {
            Kind::Slow | Kind::Lossy => fault.kind,
            _ => Kind::Cut,
        };
        for (from, to) in fault.ways(self.cast.shape) {
            let count = self.held.entry((kind, from, to)).or_default();
            *count = if is_held { *count + 1 } else { *count - 1 };
            if *count != u32::from(is_held) {
                continue;
            }
            match kind {
                Kind::Slow => self.ways.slow(from, to, is_held),
                Kind::Lossy => self.ways.lose(from, to, is_held),
                _ => {
                    // The way is noted as open for no longer than it is.
                    let note = Turn::Passes(from, to, !is_held);
                    if is_held {
                        self.cast.record.note(note);
                    }
                    self.ways.cut(from, to, is_held);
                    if !is_held {
                        self.cast.record.note(note);
                    }
                }
            }
        }
    }
}
